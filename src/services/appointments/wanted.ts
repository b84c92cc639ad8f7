import type { StoredRules } from '../../domain/appointments/booking-rules.ts';
import { bookableNear, problemOf } from '../../domain/appointments/slots.ts';
import type { RulesNow, WantedStart } from '../../ports/appointments/appointment-store.ts';

/** The rules and the time from which one booking is computed. */
export interface BookingBasis {
  rules: StoredRules;
  /** The database's clock, milliseconds since 1970. */
  now: number;
}

export const basisOf = ({ rules, now }: RulesNow): BookingBasis => ({ rules, now: Date.parse(now) });

export const isoOf = (instant: number): string => new Date(instant).toISOString();

/** How the database is asked for an appointment at this time. */
export function wanted({ rules, now }: BookingBasis, start: number): WantedStart {
  return {
    startsAt: isoOf(start),
    rulesRevision: rules.revision,
    problem: problemOf(rules, start, now),
    alternatives: bookableNear(rules, start, now)
      .filter((other) => other !== start)
      .map(isoOf),
  };
}

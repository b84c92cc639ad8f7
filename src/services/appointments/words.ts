import type { BookingRules } from '../../domain/appointments/booking-rules.ts';
import { dayOf, instantsOf, MAX_DAYS_AHEAD, timeOf, weekdayOf } from '../../domain/appointments/slots.ts';

/**
 * What a tool call is answered: one line for the model, which says it to the caller in its own words and language. Days are written so
 * that the model can use them as arguments.
 */

const WEEKDAYS = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];

/** A time that clocks show twice is told from the other one. */
export function saidTime(instant: number, timeZone: string): string {
  const time = timeOf(instant, timeZone);
  const same = instantsOf(dayOf(instant, timeZone), time, timeZone);
  return same.length > 1 ? `${time} (${same[0] === instant ? 'first' : 'second'})` : time;
}

export const saidDay = (day: string): string => `${WEEKDAYS[weekdayOf(day) - 1]} ${day}`;

/** For example: Monday 2026-11-30 at 14:30. */
export function said(instant: number, timeZone: string): string {
  return `${saidDay(dayOf(instant, timeZone))} at ${saidTime(instant, timeZone)}`;
}

export function saidAll(instants: readonly number[], timeZone: string): string {
  return instants.map((instant) => said(instant, timeZone)).join('; ');
}

/** Why nothing was done, as a predicate of the time that was asked for. */
export function saidProblem(problem: string, rules: BookingRules): string {
  switch (problem) {
    case 'PAST':
      return 'is over';
    case 'TOO_SOON':
      return `is too soon: an appointment must be booked at least ${rules.leadMinutes} minutes before it`;
    case 'TOO_FAR':
      return `is more than ${MAX_DAYS_AHEAD} days ahead`;
    case 'CLOSED':
      return 'is outside the opening hours';
    case 'NOT_A_START':
      return 'is not a time at which appointments begin';
    case 'SKIPPED':
      return 'does not exist: the clocks go forward in that night';
    default:
      return 'is taken';
  }
}

/** One line, whatever is in it. */
export function oneLine(text: string): string {
  return text.replace(/[\s\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').trim();
}

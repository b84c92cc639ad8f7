import { z } from 'zod';
import { type Checked, checked } from '../input.ts';

/** When an organization takes appointments. */

/** Times of day as HH:MM in the organization's time zone. `closes` may be 24:00. */
export interface OpeningHours {
  /** 1 (Monday) to 7. */
  weekday: number;
  opens: string;
  closes: string;
}

export interface BookingRules {
  /** An IANA name. */
  timeZone: string;
  slotMinutes: number;
  /** Appointments at the same time. */
  capacity: number;
  /** How long before its start an appointment can be booked at the latest. */
  leadMinutes: number;
  /** Stays free after each appointment. */
  bufferMinutes: number;
  hours: OpeningHours[];
}

/** The rules as stored. A booking names the revision from which it was computed. */
export interface StoredRules extends BookingRules {
  revision: number;
}

/** The checks of lockstep.booking_rules hold the same limits. */
const LIMITS = {
  slotMinutes: { min: 5, max: 1_440 },
  capacity: { min: 1, max: 100 },
  leadMinutes: { min: 0, max: 43_200 },
  bufferMinutes: { min: 0, max: 1_440 },
} as const;
/** Openings in a week. */
const MAX_OPENINGS = 50;

const number = (name: keyof typeof LIMITS) => {
  const { min, max } = LIMITS[name];
  const error = `${name} must be a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error }).nullish();
};

const TIME = /^(?:[01]\d|2[0-3]):[0-5]\d$/;
const opening = z
  .object({
    weekday: z.int().min(1).max(7, { error: 'weekday must be from 1 (Monday) to 7 (Sunday)' }),
    opens: z.string().regex(TIME, { error: 'opens must be a time of day as HH:MM' }),
    closes: z.string().refine((value) => TIME.test(value) || value === '24:00', {
      error: 'closes must be a time of day as HH:MM, at most 24:00',
    }),
  })
  .refine(({ opens, closes }) => opens < closes, {
    path: ['closes'],
    error: 'closes must be later than opens; hours past midnight belong to the next weekday',
  });

const hours = z
  .array(opening)
  .max(MAX_OPENINGS, { error: `hours can have at most ${MAX_OPENINGS} entries` })
  .superRefine((all, context) => {
    for (const [index, one] of all.entries()) {
      const clash = all
        .slice(0, index)
        .some(
          (other) => other.weekday === one.weekday && other.opens < one.closes && one.opens < other.closes,
        );
      if (clash) {
        context.addIssue({
          code: 'custom',
          path: [index],
          message: 'these hours overlap other hours of the same weekday',
        });
      }
    }
  });

const update = z
  .object({
    timeZone: z
      .string()
      .refine(isTimeZone, { error: 'timeZone must be an IANA time zone, for example Europe/Berlin' })
      .nullish(),
    slotMinutes: number('slotMinutes'),
    capacity: number('capacity'),
    leadMinutes: number('leadMinutes'),
    bufferMinutes: number('bufferMinutes'),
    hours: hours.nullish(),
  })
  .refine((value) => Object.values(value).some((one) => one !== undefined && one !== null), {
    error: 'name at least one rule to change',
  });

/** What is absent or null stays as it is. */
export type BookingRulesUpdate = { [Name in keyof BookingRules]?: BookingRules[Name] | null | undefined };

export const checkBookingRules = (input: unknown): Checked<BookingRulesUpdate> => checked(update, input);

/** A name and not an offset: an offset knows no summer time. */
function isTimeZone(name: string): boolean {
  if (name.length > 64 || !/^[A-Za-z]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

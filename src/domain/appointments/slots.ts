import { Temporal } from 'temporal-polyfill';
import type { BookingRules } from './booking-rules.ts';

/**
 * The arithmetic of slots: which times can be booked by an organization's rules. It knows no booking. Instants are milliseconds since
 * 1970; days are YYYY-MM-DD and times of day HH:MM, both in the organization's time zone.
 */

const MINUTE = 60_000;
const DAY = 86_400_000;
/** Countries change the rules of their time zones, so nothing is booked further ahead. */
export const MAX_DAYS_AHEAD = 366;

/** Why no appointment can start at a time, whatever is booked. */
export type SlotProblem = 'PAST' | 'TOO_SOON' | 'TOO_FAR' | 'CLOSED' | 'NOT_A_START';

function zoned(instant: number, timeZone: string): Temporal.ZonedDateTime {
  return Temporal.Instant.fromEpochMilliseconds(instant).toZonedDateTimeISO(timeZone);
}

export function dayOf(instant: number, timeZone: string): string {
  return zoned(instant, timeZone).toPlainDate().toString();
}

export function timeOf(instant: number, timeZone: string): string {
  return zoned(instant, timeZone).toPlainTime().toString({ smallestUnit: 'minute' });
}

/** 1 (Monday) to 7. */
export function weekdayOf(day: string): number {
  return Temporal.PlainDate.from(day).dayOfWeek;
}

export function addDays(day: string, days: number): string {
  return Temporal.PlainDate.from(day).add({ days }).toString();
}

/**
 * The instants that clocks show as this day and time: none in the hour that is skipped when summer time begins, two in the hour that
 * is repeated when it ends, the first one first.
 */
export function instantsOf(day: string, time: string, timeZone: string): number[] {
  const local = Temporal.PlainDate.from(day).toPlainDateTime(Temporal.PlainTime.from(time));
  const earlier = local.toZonedDateTime(timeZone, { disambiguation: 'earlier' });
  if (!earlier.toPlainDateTime().equals(local)) return [];
  const later = local.toZonedDateTime(timeZone, { disambiguation: 'later' });
  return [...new Set([earlier.epochMilliseconds, later.epochMilliseconds])];
}

/** What `firstAt` has found. To look for alternatives is to ask it for every day of two months, and for each booking again. */
const known = new Map<string, number>();
const MOST_KNOWN = 20_000;

/** When clocks show this time or a later one for the first time on a day: if summer time skips it, the end of what is skipped. */
export function firstAt(day: string, time: string, timeZone: string): number {
  const key = `${day} ${time} ${timeZone}`;
  let instant = known.get(key);
  if (instant !== undefined) return instant;
  [instant] = instantsOf(day, time, timeZone);
  if (instant === undefined) {
    const local = Temporal.PlainDate.from(day).toPlainDateTime(Temporal.PlainTime.from(time));
    const before = local.toZonedDateTime(timeZone, { disambiguation: 'earlier' });
    instant = before.getTimeZoneTransition('next')?.epochMilliseconds ?? before.epochMilliseconds;
  }
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(key, instant);
  return instant;
}

/** The instants of the openings on a day; the end of each is no part of it. */
function openings({ hours, timeZone }: BookingRules, day: string): [number, number][] {
  const at = (time: string) =>
    time === '24:00' ? firstAt(addDays(day, 1), '00:00', timeZone) : firstAt(day, time, timeZone);
  const weekday = weekdayOf(day);
  return hours
    .filter((opening) => opening.weekday === weekday)
    .map(({ opens, closes }): [number, number] => [at(opens), at(closes)])
    .sort(([a], [b]) => a - b);
}

/**
 * The starts of a day's slots: every `slotMinutes` from each opening, as long as the appointment ends before it closes. They are
 * counted in elapsed time, so that a change of the clocks neither drops nor doubles a slot.
 */
export function slotsOf(rules: BookingRules, day: string): number[] {
  const step = rules.slotMinutes * MINUTE;
  const starts: number[] = [];
  for (const [opens, closes] of openings(rules, day)) {
    for (let start = opens; start + step <= closes; start += step) starts.push(start);
  }
  return starts;
}

/** Null: an appointment can start then, unless something else is booked. */
export function problemOf(rules: BookingRules, start: number, now: number): SlotProblem | null {
  if (start <= now) return 'PAST';
  if (start > now + MAX_DAYS_AHEAD * DAY) return 'TOO_FAR';
  const day = dayOf(start, rules.timeZone);
  if (!slotsOf(rules, day).includes(start)) {
    const isOpen = openings(rules, day).some(([opens, closes]) => start >= opens && start < closes);
    return isOpen ? 'NOT_A_START' : 'CLOSED';
  }
  return start < now + rules.leadMinutes * MINUTE ? 'TOO_SOON' : null;
}

/** The starts of a day that can be booked, unless something else is booked. */
export function bookableOf(rules: BookingRules, day: string, now: number): number[] {
  const first = now + rules.leadMinutes * MINUTE;
  return slotsOf(rules, day).filter(
    (start) => start > now && start >= first && start <= now + MAX_DAYS_AHEAD * DAY,
  );
}

/** As `bookableOf`, from `from` on and before `to`. */
export function bookableBetween(rules: BookingRules, from: number, to: number, now: number): number[] {
  const first = Math.max(from, now);
  const end = Math.min(to, now + (MAX_DAYS_AHEAD + 1) * DAY);
  const starts: number[] = [];
  if (first >= end) return starts;
  const last = dayOf(end, rules.timeZone);
  for (let day = dayOf(first, rules.timeZone); day <= last; day = addDays(day, 1)) {
    starts.push(...bookableOf(rules, day, now).filter((start) => start >= from && start < to));
  }
  return starts;
}

/** How far from a wish alternatives are looked for, in days, and how many there are at most. */
const NEAR_DAYS = 28;
const NEAR_STARTS = 300;

/**
 * The starts that can be booked near a time, unless something else is booked: the closest first, and the earlier one of two that are
 * equally close. Near a time that is over, those that come next; near one that is too far ahead, the last ones.
 */
export function bookableNear(rules: BookingRules, wish: number, now: number): number[] {
  const { timeZone } = rules;
  const centre = Math.min(Math.max(wish, now), now + MAX_DAYS_AHEAD * DAY);
  const day = dayOf(centre, timeZone);
  const starts: number[] = [];
  for (let distance = 0; distance <= NEAR_DAYS && starts.length < 2 * NEAR_STARTS; distance += 1) {
    for (const other of new Set([addDays(day, -distance), addDays(day, distance)])) {
      starts.push(...bookableOf(rules, other, now));
    }
  }
  return starts.sort((a, b) => Math.abs(a - centre) - Math.abs(b - centre) || a - b).slice(0, NEAR_STARTS);
}

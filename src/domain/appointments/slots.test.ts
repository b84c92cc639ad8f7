import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { BookingRules } from './booking-rules.ts';
import {
  addDays,
  bookableBetween,
  bookableNear,
  bookableOf,
  dayOf,
  firstAt,
  instantsOf,
  MAX_DAYS_AHEAD,
  problemOf,
  slotsOf,
  timeOf,
} from './slots.ts';

const MINUTE = 60_000;
const at = (iso: string) => Date.parse(iso);
const iso = (instants: number[]) => instants.map((one) => new Date(one).toISOString().slice(0, 16));

const WEEKDAYS = [1, 2, 3, 4, 5, 6, 7];
/** Open around the clock, in Berlin. */
const ALWAYS: BookingRules = {
  ...{ timeZone: 'Europe/Berlin', slotMinutes: 30, capacity: 1, leadMinutes: 60, bufferMinutes: 0 },
  hours: WEEKDAYS.map((weekday) => ({ weekday, opens: '00:00', closes: '24:00' })),
};
const OFFICE: BookingRules = {
  ...ALWAYS,
  hours: [1, 2, 3, 4, 5].flatMap((weekday) => [
    { weekday, opens: '09:00', closes: '12:00' },
    { weekday, opens: '13:00', closes: '16:45' },
  ]),
};
/** A Monday. */
const MONDAY = '2026-11-30';
const NOW = at('2026-11-26T08:00:00Z');

/** Zones that change at an hour or a half, at midnight, or never. */
const ZONES = [
  'Europe/Berlin',
  'America/New_York',
  'Australia/Lord_Howe',
  'Asia/Beirut',
  'America/Santiago',
  'Asia/Kathmandu',
  'UTC',
];
const day = fc.integer({ min: 0, max: 800 }).map((days) => addDays('2026-01-01', days));
const minutes = fc.integer({ min: 0, max: 24 * 60 });
const clock = (minute: number) =>
  `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`;
const rules = fc
  .record({
    timeZone: fc.constantFrom(...ZONES),
    slotMinutes: fc.integer({ min: 5, max: 300 }),
    leadMinutes: fc.integer({ min: 0, max: 3_000 }),
    edges: fc.uniqueArray(minutes, { minLength: 2, maxLength: 6 }),
  })
  .map(({ edges, ...rest }): BookingRules => {
    const sorted = edges.sort((a, b) => a - b);
    const hours = WEEKDAYS.flatMap((weekday) =>
      sorted
        .slice(1)
        .flatMap((closes, i) =>
          i % 2 === 0 ? [{ weekday, opens: clock(sorted[i] ?? 0), closes: clock(closes) }] : [],
        ),
    );
    return { ...rest, capacity: 1, bufferMinutes: 0, hours };
  });

describe('slots of a day', () => {
  test('begin every slotMinutes from each opening and end before it closes', () => {
    expect(iso(slotsOf({ ...OFFICE, slotMinutes: 60 }, MONDAY)).map((one) => one.slice(11))).toEqual(
      // Berlin is one hour ahead of UTC in winter.
      ['08:00', '09:00', '10:00', '12:00', '13:00', '14:00'],
    );
    expect(slotsOf(OFFICE, '2026-11-29')).toEqual([]);
  });

  test('never overlap, lie within the day, and are what the clocks of the zone show', () => {
    fc.assert(
      fc.property(rules, day, (given, on) => {
        const starts = slotsOf(given, on);
        for (const [index, start] of starts.entries()) {
          expect(start - (starts[index - 1] ?? Number.NEGATIVE_INFINITY)).toBeGreaterThanOrEqual(
            given.slotMinutes * MINUTE,
          );
          expect(dayOf(start, given.timeZone)).toBe(on);
          expect(instantsOf(on, timeOf(start, given.timeZone), given.timeZone)).toContain(start);
        }
        const end = firstAt(addDays(on, 1), '00:00', given.timeZone);
        for (const start of starts) expect(start + given.slotMinutes * MINUTE).toBeLessThanOrEqual(end);
      }),
    );
  });

  test('has two slots less on the day with 23 hours and two more on the day with 25', () => {
    expect(slotsOf(ALWAYS, '2026-03-28')).toHaveLength(48);
    const short = slotsOf(ALWAYS, '2026-03-29').map((start) => timeOf(start, ALWAYS.timeZone));
    expect(short).toHaveLength(46);
    expect(short.slice(3, 6)).toEqual(['01:30', '03:00', '03:30']);
    const long = slotsOf(ALWAYS, '2026-10-25').map((start) => timeOf(start, ALWAYS.timeZone));
    expect(long).toHaveLength(50);
    expect(long.slice(4, 9)).toEqual(['02:00', '02:30', '02:00', '02:30', '03:00']);
  });

  test('does not overlap where an opening closes within the skipped hour and the next one opens after it', () => {
    const night = [
      { weekday: 7, opens: '01:00', closes: '02:30' },
      { weekday: 7, opens: '03:00', closes: '05:00' },
    ];
    const starts = slotsOf({ ...ALWAYS, hours: night }, '2026-03-29');
    expect(starts.map((start) => timeOf(start, ALWAYS.timeZone))).toEqual([
      '01:00',
      '01:30',
      '03:00',
      '03:30',
      '04:00',
      '04:30',
    ]);
  });
});

describe('the instants of a local time', () => {
  test.each([
    ['an ordinary time', MONDAY, '14:30', ['2026-11-30T13:30']],
    ['a time that summer time skips', '2026-03-29', '02:30', []],
    ['the end of the skipped hour', '2026-03-29', '03:00', ['2026-03-29T01:00']],
    ['a time that is repeated', '2026-10-25', '02:30', ['2026-10-25T00:30', '2026-10-25T01:30']],
    ['the end of the repeated hour', '2026-10-25', '03:00', ['2026-10-25T02:00']],
  ])('%s', (_name, on, time, expected) => {
    expect(iso(instantsOf(on, time, 'Europe/Berlin'))).toEqual(expected);
  });

  test('each instant is shown as that day and time, and none is left out', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ZONES),
        day,
        fc.integer({ min: 0, max: 1_439 }),
        (timeZone, on, minute) => {
          const found = instantsOf(on, clock(minute), timeZone);
          for (const one of found)
            expect([dayOf(one, timeZone), timeOf(one, timeZone)]).toEqual([on, clock(minute)]);
          // No zone is further than 15 hours from UTC, and every offset is a multiple of 15 minutes.
          const utc = at(`${on}T${clock(minute)}:00Z`);
          const all = Array.from({ length: 121 }, (_, i) => utc + (i - 60) * 15 * MINUTE);
          const shown = all.filter(
            (one) => dayOf(one, timeZone) === on && timeOf(one, timeZone) === clock(minute),
          );
          expect(found).toEqual(shown);
        },
      ),
    );
  });
});

describe('why nothing can be booked', () => {
  test.each([
    ['PAST', '2026-11-26T08:00:00Z'],
    ['TOO_SOON', '2026-11-26T08:30:00Z'],
    ['TOO_FAR', '2027-12-01T08:30:00Z'],
    ['CLOSED', '2026-11-29T10:00:00Z'],
    ['CLOSED', '2026-11-30T11:00:00Z'],
    ['NOT_A_START', '2026-11-30T08:10:00Z'],
    // The last half hour is not a whole slot.
    ['NOT_A_START', '2026-11-30T15:30:00Z'],
    [null, '2026-11-30T08:00:00Z'],
    [null, '2026-11-26T09:00:00Z'],
  ])('%s: %s', (problem, start) => {
    expect(problemOf(OFFICE, at(start), NOW)).toBe(problem);
  });

  test('nothing is a problem exactly for the starts that can be booked', () => {
    fc.assert(
      fc.property(
        rules,
        fc.integer({ min: 0, max: 60 }),
        fc.integer({ min: 0, max: 300 }),
        (given, days, slot) => {
          const on = addDays(dayOf(NOW, given.timeZone), days);
          const all = slotsOf(given, on);
          const start = all[slot % Math.max(1, all.length)];
          if (start === undefined) return;
          expect(problemOf(given, start, NOW) === null).toBe(bookableOf(given, on, NOW).includes(start));
          expect(problemOf(given, start + MINUTE, NOW)).not.toBeNull();
        },
      ),
    );
  });
});

describe('starts that can be booked', () => {
  test('in a period are those that have no problem', () => {
    fc.assert(
      fc.property(
        rules,
        fc.integer({ min: -3_000, max: 3_000 }),
        fc.integer({ min: 0, max: 5_000 }),
        (given, from, length) => {
          const [first, end] = [NOW + from * MINUTE, NOW + (from + length) * MINUTE];
          const found = bookableBetween(given, first, end, NOW);
          const days = [-4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7].map((days) => addDays('2026-11-26', days));
          const expected = days
            .flatMap((on) => slotsOf(given, on))
            .filter((start) => start >= first && start < end && problemOf(given, start, NOW) === null);
          expect(found).toEqual(expected);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('near a time come the closest first', () => {
    expect(iso(bookableNear(OFFICE, at('2026-11-30T09:00:00Z'), NOW).slice(0, 5))).toEqual([
      '2026-11-30T09:00',
      '2026-11-30T08:30',
      '2026-11-30T09:30',
      '2026-11-30T08:00',
      '2026-11-30T10:00',
    ]);
  });

  test('near any time can all be booked, and are in the order of their distance', () => {
    fc.assert(
      fc.property(rules, fc.integer({ min: -100, max: 100 }), (given, days) => {
        const wish = NOW + days * 1_440 * MINUTE;
        const near = bookableNear(given, wish, NOW);
        const distances = near.map((start) => Math.abs(start - Math.max(wish, NOW)));
        expect(distances).toEqual([...distances].sort((a, b) => a - b));
        for (const start of near.slice(0, 20)) expect(problemOf(given, start, NOW)).toBeNull();
      }),
      { numRuns: 30 },
    );
  });

  test('near a time that is over or too far ahead are the next or the last ones', () => {
    expect(iso(bookableNear(OFFICE, at('2020-01-01T00:00:00Z'), NOW)).at(0)).toBe('2026-11-26T09:00');
    const last = bookableNear(OFFICE, 8_640_000_000_000_000, NOW)[0] ?? 0;
    expect(last).toBeLessThanOrEqual(NOW + MAX_DAYS_AHEAD * 1_440 * MINUTE);
    expect(last).toBeGreaterThan(NOW + (MAX_DAYS_AHEAD - 4) * 1_440 * MINUTE);
  });
});

/** Tool calls and bookings in a real Postgres: what is booked, what is refused, and what happens when a request comes twice. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { Temporal } from 'temporal-polyfill';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { APPOINTMENT_TOOLS } from '../../src/domain/appointments/tools.ts';
import { ALWAYS_OPEN, Calendar, day, type ToolCaller } from '../support/appointments.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

let supabase: TestSupabase;
let calendar: Calendar;
beforeAll(async () => {
  supabase = await createTestSupabase();
  calendar = new Calendar(supabase);
});
afterAll(() => supabase?.stop());

const D = day(10);
const E = day(11);
const ANNA = '+12065550101';
const BEN = '+12065550102';
const starts = (booked: { startsAt: string }[]) => booked.map(({ startsAt }) => startsAt.slice(11, 16));

describe('a tool call', () => {
  test('books a slot for the caller, commits before it answers, and answers one line', async () => {
    const orgId = await calendar.organization();
    const caller = await calendar.call(orgId, ANNA);
    const answer = await caller.ask('book_appointment', {
      ...{ date: D, time: '14:30', name: ' Anna  Lind ', notes: 'A check-up' },
      // What the model makes up about the tenant and the caller counts for nothing.
      ...{ orgId: randomUUID(), phone_number: BEN, callId: randomUUID() },
    });
    const weekday = Temporal.PlainDate.from(D).toLocaleString('en', { weekday: 'long' });
    expect(answer).toBe(`Booked: Anna Lind, ${weekday} ${D} at 14:30, until 15:00 (UTC).`);
    expect(await calendar.booked(orgId)).toEqual([
      {
        ...{ id: expect.any(String), callId: caller.call.callId, name: 'Anna Lind', number: ANNA },
        ...{ startsAt: `${D}T14:30:00.000Z`, status: 'SCHEDULED', lane: 1 },
      },
    ]);
    expect(caller.counted).toEqual(['appointment.booked']);
  });

  test('reads arguments that are JSON text, and a time on the 12-hour clock', async () => {
    const orgId = await calendar.organization();
    const caller = await calendar.call(orgId);
    await caller.ask('book_appointment', JSON.stringify({ date: D, time: '2:30 PM', name: 'Anna' }));
    await caller.ask(
      'book_appointment',
      JSON.stringify(JSON.stringify({ date: D, time: '9:00', name: 'Ben' })),
    );
    expect(starts(await calendar.active(orgId))).toEqual(['09:00', '14:30']);
  });

  test('offers the closest free times if the slot is taken', async () => {
    const orgId = await calendar.organization();
    const [first, second] = [await calendar.call(orgId), await calendar.call(orgId)];
    await first.book(D, '10:00', 'Anna');
    await first.book(D, '10:30', 'Anna');
    const answer = await second.book(D, '10:00', 'Ben');
    const at = (time: string) => `${D} at ${time}`;
    expect(answer).toMatch(/^Nothing was changed\. .* at 10:00 is taken\. Offer one of these free times: /);
    expect(answer.match(/\d{4}-\d\d-\d\d at \d\d:\d\d/g)).toEqual([
      at('10:00'),
      at('09:30'),
      at('09:00'),
      at('11:00'),
    ]);
    expect(await calendar.active(orgId)).toHaveLength(2);
  });

  test('says why nothing can be booked at a time, and what is free instead', async () => {
    const orgId = await calendar.organization({
      ...{
        leadMinutes: 3 * 1_440,
        hours: [1, 2, 3, 4, 5, 6, 7].map((weekday) => ({ weekday, opens: '09:00', closes: '12:00' })),
      },
    });
    const caller = await calendar.call(orgId);
    for (const [date, time, reason] of [
      [day(-1), '10:00', 'is over'],
      [day(1), '10:00', 'is too soon: an appointment must be booked at least 4320 minutes before it'],
      [day(500), '10:00', 'is more than 366 days ahead'],
      [D, '12:00', 'is outside the opening hours'],
      [D, '09:10', 'is not a time at which appointments begin'],
    ] as const) {
      const answer = await caller.book(date, time, 'Anna');
      expect(answer).toContain(reason);
      expect(answer).toMatch(/Offer one of these free times: \w+ \d{4}-\d\d-\d\d at (09|10|11):(00|30); /);
    }
    expect(await calendar.booked(orgId)).toEqual([]);
  });

  test('check_availability names the present day, and only times that can be booked', async () => {
    const orgId = await calendar.organization({
      hours: [1, 2, 3, 4, 5, 6, 7].map((weekday) => ({ weekday, opens: '09:00', closes: '11:00' })),
    });
    const caller = await calendar.call(orgId);
    await caller.book(D, '09:30', 'Anna');
    const answer = await caller.check({ date: D });
    expect(answer).toMatch(/^Today is \w+ \d{4}-\d\d-\d\d, it is \d\d:\d\d \(UTC\)\. /);
    expect(answer).toContain(`${D}: 09:00, 10:00, 10:30.`);
    expect(await caller.check({ date: D, time: '09:30' })).toContain(`${D} at 09:00; `);
    expect(await caller.check()).toMatch(/Free times: .*; .*; /);
    expect(await caller.check({ date: day(-3) })).toContain('is over');
    for (const time of ['09:00', '10:00', '10:30']) await caller.book(D, time, 'Anna');
    expect(await caller.check({ date: D })).toMatch(
      new RegExp(`Nothing is free on \\w+ ${D}\\. Free times near it: `),
    );
  });

  test('answers whatever a model sends with one line, and books nothing', async () => {
    const orgId = await calendar.organization();
    const caller = await calendar.call(orgId, ANNA);
    const date = fc.constantFrom<unknown>(
      D,
      '2026-02-30',
      'tomorrow',
      `${D}T10:00:00Z`,
      20_261_130,
      '',
      null,
    );
    const time = fc.constantFrom<unknown>('25:00', 'noon', 10, '13:00 PM', '', null, {}, '10:00:30');
    const given = fc.oneof(
      fc.anything({ withBigInt: false }),
      fc.string({ unit: 'binary' }),
      fc.json(),
      fc.record(
        { date, time, name: fc.anything(), new_date: date, new_time: time, which: fc.anything() },
        { requiredKeys: [] },
      ),
    );
    const tools = fc.constantFrom(
      ...APPOINTMENT_TOOLS.map(({ name }) => name),
      'drop_tables',
      '',
      '__proto__',
    );
    await fc.assert(
      fc.asyncProperty(tools, given, fc.string({ unit: 'binary' }), async (name, asked, id) => {
        const answer = await caller.ask(name, asked, id);
        expect(answer).not.toMatch(/[\n\r\u2028\0]/);
        expect(answer).toMatch(/^(Nothing was changed\. \S|Today is )/);
      }),
      { numRuns: 200 },
    );
    // Text of any kind as a name, and JSON of any depth.
    let deep: unknown = 'x';
    for (let level = 0; level < 10_000; level += 1) deep = [deep];
    expect(await caller.ask('book_appointment', { date: D, time: '10:00', name: deep })).toContain(
      'Nothing was changed',
    );
    expect(await calendar.booked(orgId)).toEqual([]);
    expect(await caller.book(D, '10:00', 'A\u0000\ud800\u2028b\n\u202e')).toMatch(/^Booked: /);
    expect(await caller.book(E, '10:00', 'x'.repeat(5_000))).toMatch(/^Booked: x{200}, /);
    expect(caller.counted).not.toContain('appointment.failed');
  });
});

describe('capacity and buffer', () => {
  test('a slot is booked as often as its capacity, and not once more', async () => {
    const orgId = await calendar.organization({ capacity: 3 });
    for (const name of ['Anna', 'Ben', 'Cleo']) {
      expect(await (await calendar.call(orgId)).book(D, '10:00', name)).toMatch(/^Booked/);
    }
    expect(await (await calendar.call(orgId)).book(D, '10:00', 'Dan')).toContain('is taken');
    expect((await calendar.active(orgId)).map(({ lane }) => lane)).toEqual([1, 2, 3]);
  });

  test('a capacity that was lowered counts what is booked in all lanes', async () => {
    const orgId = await calendar.organization({ capacity: 3 });
    const caller = await calendar.call(orgId);
    for (const name of ['Anna', 'Ben', 'Cleo']) await caller.book(D, '10:00', name);
    await caller.cancel({ name: 'Anna' });
    await calendar.store.setRules(orgId, { capacity: 2 });
    // Lane 1 is free, but two are there.
    expect(await (await calendar.call(orgId)).book(D, '10:00', 'Dan')).toContain('is taken');
    await caller.cancel({ name: 'Cleo' });
    expect(await (await calendar.call(orgId)).book(D, '10:00', 'Dan')).toMatch(/^Booked/);
  });

  test('the buffer after an appointment stays free, in both directions', async () => {
    const orgId = await calendar.organization({ bufferMinutes: 15 });
    const caller = await calendar.call(orgId);
    await caller.book(D, '10:00', 'Anna');
    expect(await caller.book(D, '10:30', 'Ben')).toContain('is taken');
    expect(await caller.book(D, '09:30', 'Ben')).toContain('is taken');
    expect(await caller.book(D, '09:00', 'Ben')).toMatch(/^Booked/);
    expect(await caller.book(D, '11:00', 'Cleo')).toMatch(/^Booked/);
    expect(await caller.check({ date: D, time: '10:30' })).not.toMatch(/at (09:30|10:00|10:30)/);
  });

  test('the table refuses two active bookings that overlap in one lane, whoever writes them', async () => {
    const orgId = await calendar.organization({ bufferMinutes: 15 });
    await (await calendar.call(orgId)).book(D, '10:00', 'Anna');
    const insert = (time: string, lane: number, status = 'SCHEDULED', org = orgId) =>
      supabase.sql`
        insert into public.appointments (org_id, customer_name, starts_at, ends_at, lane, status)
        values (${org}, 'x', ${`${D}T${time}:00Z`}, ${`${D}T${time}:00Z`}::timestamptz + interval '30 minutes', ${lane}, ${status})`.then(
        () => 'inserted',
        (error: unknown) => (error as { constraint_name?: string }).constraint_name,
      );
    expect(await insert('10:00', 1)).toBe('appointments_not_twice');
    expect(await insert('09:31', 1)).toBe('appointments_not_twice');
    expect(await insert('10:44', 1, 'CONFIRMED')).toBe('appointments_not_twice');
    expect(await insert('10:45', 1)).toBe('inserted');
    expect(await insert('10:00', 2)).toBe('inserted');
    expect(await insert('10:00', 1, 'CANCELLED')).toBe('inserted');
    expect(await insert('10:00', 1, 'SCHEDULED', await calendar.organization())).toBe('inserted');
  });

  test('availability lists exactly what a booking then gets', async () => {
    const orgId = await calendar.organization({ capacity: 2, bufferMinutes: 20 });
    const caller = await calendar.call(orgId);
    const times = Array.from(
      { length: 16 },
      (_, i) => `${String(8 + Math.floor(i / 2)).padStart(2, '0')}:${i % 2 === 0 ? '00' : '30'}`,
    );
    let name = 0;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...times), async (time) => {
        const all = times.map((one) => `${D}T${one}:00.000Z`);
        const free = (await calendar.store.freeSlots(orgId, all, 100)).map((one) =>
          new Date(one).toISOString(),
        );
        name += 1;
        const answer = await caller.book(D, time, `Customer ${name}`);
        expect(answer.startsWith('Booked')).toBe(free.includes(`${D}T${time}:00.000Z`));
      }),
      { numRuns: 40 },
    );
    expect((await calendar.active(orgId)).length).toBeGreaterThan(8);
  });
});

describe('a request that comes twice', () => {
  let orgId: string;
  let caller: ToolCaller;
  beforeAll(async () => {
    orgId = await calendar.organization({ capacity: 2 });
  });
  const fresh = async (rules = {}) => {
    orgId = await calendar.organization(rules);
    caller = await calendar.call(orgId, ANNA);
  };

  test('under the same tool call id books once and gets the same answer', async () => {
    await fresh({ capacity: 2 });
    const answer = await caller.book(D, '10:00', 'Anna', 'call_1');
    expect(await caller.book(D, '10:00', 'Anna', 'call_1')).toBe(answer);
    expect(await calendar.booked(orgId)).toHaveLength(1);
  });

  test('under a new tool call id for the same slot and name is the first booking again', async () => {
    await fresh({ capacity: 2 });
    const answer = await caller.book(D, '10:00', 'Anna Lind', 'call_1');
    expect(await caller.book(D, '10:00', '  anna   LIND', 'call_2')).toBe(answer);
    // Also if it could not be booked any more.
    await calendar.store.setRules(orgId, { leadMinutes: 20 * 1_440 });
    expect(await caller.book(D, '10:00', 'Anna Lind', 'call_3')).toBe(answer);
    expect(await calendar.booked(orgId)).toHaveLength(1);
  });

  test('in another call is a booking of its own', async () => {
    await fresh({ capacity: 2 });
    await caller.book(D, '10:00', 'Anna');
    expect(await (await calendar.call(orgId, ANNA)).book(D, '10:00', 'Anna')).toMatch(/^Booked/);
    expect(await calendar.active(orgId)).toHaveLength(2);
  });

  test('two members of a family get a place each in one slot, if there are two', async () => {
    await fresh({ capacity: 2 });
    expect(await caller.book(D, '10:00', 'Anna Lind')).toMatch(/^Booked: Anna/);
    expect(await caller.book(D, '10:00', 'Ben Lind')).toMatch(/^Booked: Ben/);
    expect((await calendar.active(orgId)).map(({ name }) => name)).toEqual(['Anna Lind', 'Ben Lind']);
    await fresh();
    expect(await caller.book(D, '10:00', 'Anna Lind')).toMatch(/^Booked: Anna/);
    expect(await caller.book(D, '10:00', 'Ben Lind')).toContain('is taken');
  });

  test('under the same tool call id with other arguments is not swallowed', async () => {
    await fresh();
    expect(await caller.book(D, '10:00', 'Anna', 'call_1')).toContain('at 10:00');
    expect(await caller.book(D, '11:00', 'Anna', 'call_1')).toMatch(/^Booked: .* at 11:00/);
    expect(await caller.ask('cancel_appointment', { date: D, time: '10:00' }, 'call_1')).toMatch(
      /^Cancelled/,
    );
    expect(starts(await calendar.active(orgId))).toEqual(['11:00']);
  });

  test('after a refusal is refused again, although the slot is free now', async () => {
    await fresh();
    const other = await calendar.call(orgId);
    await other.book(D, '10:00', 'Ben');
    const refused = await caller.book(D, '10:00', 'Anna', 'call_1');
    await other.cancel();
    expect(await caller.book(D, '10:00', 'Anna', 'call_1')).toBe(refused);
    expect(await calendar.active(orgId)).toEqual([]);
    expect(await caller.book(D, '10:00', 'Anna', 'call_2')).toMatch(/^Booked/);
  });

  test('a booking that was cancelled is made again under a new id, and not under the old one', async () => {
    await fresh();
    const answer = await caller.book(D, '10:00', 'Anna', 'call_1');
    expect(await caller.cancel({}, 'call_2')).toMatch(/^Cancelled: Anna/);
    expect(await calendar.active(orgId)).toEqual([]);
    expect(await caller.book(D, '10:00', 'Anna', 'call_1')).toBe(answer);
    expect(await calendar.active(orgId)).toEqual([]);
    expect(await caller.book(D, '10:00', 'Anna', 'call_3')).toBe(answer);
    expect((await calendar.booked(orgId)).map(({ status }) => status).sort()).toEqual([
      'CANCELLED',
      'SCHEDULED',
    ]);
  });

  test('a reschedule that is retried moves once and succeeds each time', async () => {
    await fresh();
    await caller.book(D, '10:00', 'Anna');
    const to = { date: E, time: '11:00' };
    const answer = await caller.move(to, { date: D, time: '10:00' }, 'call_1');
    expect(answer).toMatch(new RegExp(`^Moved: Anna, \\w+ ${E} at 11:00`));
    expect(await caller.move(to, { date: D, time: '10:00' }, 'call_1')).toBe(answer);
    expect(await caller.move(to, { date: D, time: '10:00' }, 'call_2')).toBe(answer);
    expect(await caller.move(to, {}, 'call_3')).toBe(answer);
    expect(await calendar.booked(orgId)).toHaveLength(1);
    // Also if it could not be moved there any more.
    await calendar.store.setRules(orgId, { leadMinutes: 20 * 1_440 });
    expect(await caller.move(to, {}, 'call_5')).toBe(answer);
    await calendar.store.setRules(orgId, { leadMinutes: 0 });
    // Another appointment at the old time is not moved by the next retry.
    await caller.book(D, '10:00', 'Anna');
    expect(await caller.move(to, { date: D, time: '10:00' }, 'call_4')).toBe(answer);
    expect(starts(await calendar.active(orgId))).toEqual(['10:00', '11:00']);
  });

  test('a cancellation that is retried succeeds, and cancels nothing else', async () => {
    await fresh();
    await caller.book(D, '10:00', 'Anna');
    const answer = await caller.cancel({}, 'call_1');
    expect(await caller.cancel({}, 'call_1')).toBe(answer);
    expect(await caller.cancel({}, 'call_2')).toBe(answer);
    expect(await caller.cancel({ date: D, time: '10:00' }, 'call_3')).toBe(answer);
    await caller.book(E, '10:00', 'Anna');
    expect(await caller.cancel({}, 'call_4')).toMatch(new RegExp(`is cancelled already\\. .*${E} at 10:00`));
    expect(starts(await calendar.active(orgId))).toEqual(['10:00']);
    expect(await caller.cancel({ date: E }, 'call_5')).toMatch(/^Cancelled/);
    expect(await calendar.active(orgId)).toEqual([]);
  });

  test('a question is asked again and not answered by what has changed since', async () => {
    await fresh();
    await caller.book(D, '10:00', 'Anna');
    await caller.book(D, '11:00', 'Anna');
    const question = await caller.cancel({}, 'call_1');
    expect(question).toMatch(/These|these appointments: .* at 10:00; .* at 11:00/);
    await caller.cancel({ time: '10:00' }, 'call_2');
    expect(await caller.cancel({}, 'call_1')).toBe(question);
    expect(starts(await calendar.active(orgId))).toEqual(['11:00']);
  });
});

describe('a caller can move and cancel', () => {
  test('an appointment that keeps its old time if the new one is taken', async () => {
    const orgId = await calendar.organization();
    const caller = await calendar.call(orgId);
    await caller.book(D, '10:00', 'Anna');
    await (await calendar.call(orgId)).book(D, '11:00', 'Ben');
    expect(await caller.move({ date: D, time: '11:00' })).toContain('is taken');
    expect(starts(await calendar.active(orgId))).toEqual(['10:00', '11:00']);
    // Its own time is not in its way, nor is its own buffer.
    await calendar.store.setRules(orgId, { bufferMinutes: 30 });
    expect(await caller.move({ date: D, time: '09:30' })).toMatch(/^Moved/);
    expect(await caller.move({ date: D, time: '10:00' })).toMatch(/^Moved/);
  });

  test('what was booked in this call or from the number that calls, and nothing else', async () => {
    const orgId = await calendar.organization({ capacity: 9 });
    const first = await calendar.call(orgId, ANNA);
    await first.book(D, '10:00', 'Anna');
    const again = await calendar.call(orgId, ANNA);
    const strangers = [
      await calendar.call(orgId, BEN),
      await calendar.call(orgId, null),
      await calendar.call(await calendar.organization(), ANNA),
    ];
    for (const stranger of strangers) {
      for (const which of [{}, { date: D }, { date: D, time: '10:00', name: 'Anna', phone_number: ANNA }]) {
        expect(await stranger.cancel(which)).toContain('No such appointment was found');
        expect(await stranger.move({ date: E, time: '10:00' }, which)).toContain(
          'No such appointment was found',
        );
      }
    }
    // Also not by its id.
    const [{ id: appointmentId } = { id: '' }] = await calendar.active(orgId);
    for (const { call } of strangers.slice(0, 2)) {
      const ref = { ...call, key: randomUUID(), function: 'cancel_appointment' };
      const answer = await calendar.store.answer(ref, { action: 'CANCEL', appointmentId });
      expect(answer).toEqual({ outcome: 'NO_APPOINTMENT' });
    }
    expect(starts(await calendar.active(orgId))).toEqual(['10:00']);
    expect(await again.move({ date: D, time: '12:00' })).toMatch(/^Moved: Anna/);
    expect(await first.cancel()).toMatch(/^Cancelled: Anna/);
  });

  test.each(['+266696687', 'anonymous', '+7378742833', ''])(
    'nothing of other callers who hide their number as "%s"',
    async (hidden) => {
      const orgId = await calendar.organization();
      const caller = await calendar.call(orgId, hidden);
      await caller.book(D, '10:00', 'Anna');
      expect(await (await calendar.call(orgId, hidden)).cancel()).toContain('No such appointment was found');
      expect(await caller.cancel()).toMatch(/^Cancelled/);
    },
  );

  test('the one of several that is meant, and is asked if that is not clear', async () => {
    const orgId = await calendar.organization({ capacity: 2 });
    const caller = await calendar.call(orgId, ANNA);
    await caller.book(D, '10:00', 'Anna Lind');
    await caller.book(D, '10:00', 'Ben Lind');
    await caller.book(E, '10:00', 'Anna Lind');
    for (const which of [{}, { date: D }, { time: '10:00' }, { name: 'lind' }, { date: D, time: '10:00' }]) {
      expect(await caller.cancel(which)).toMatch(/The caller has these appointments: .*; /);
      expect(await caller.move({ date: E, time: '15:00' }, which)).toMatch(
        /The caller has these appointments: .*; /,
      );
    }
    expect(await caller.cancel({ date: day(12) })).toMatch(
      /No such appointment was found\. The caller has: .*; .*; /,
    );
    expect(await calendar.active(orgId)).toHaveLength(3);
    expect(await caller.move({ date: E, time: '15:00' }, { name: 'ben' })).toMatch(/^Moved: Ben Lind/);
    expect(await caller.cancel({ date: D })).toMatch(/^Cancelled: Anna Lind/);
  });
});

describe('the two nights of the year', () => {
  const BERLIN = 'Europe/Berlin';
  const now = Temporal.Now.zonedDateTimeISO(BERLIN);
  const changes = [
    now.getTimeZoneTransition('next'),
    now.getTimeZoneTransition('next')?.getTimeZoneTransition('next'),
  ];
  const night = (hour: number) => {
    const found = changes.find((change) => change?.hour === hour);
    if (found === undefined || found === null) throw new Error('Berlin no longer changes its clocks');
    return found.toPlainDate().toString();
  };
  /** 02:00 becomes 03:00, and 03:00 becomes 02:00. */
  const [spring, autumn] = [night(3), night(2)];

  test('a time that summer time skips is refused with alternatives', async () => {
    const orgId = await calendar.organization({ timeZone: BERLIN });
    const caller = await calendar.call(orgId);
    const answer = await caller.book(spring, '02:30', 'Anna');
    expect(answer).toContain(
      'does not exist: the clocks go forward in that night. Offer one of these free times: ',
    );
    expect(answer).toContain(`${spring} at 01:30`);
    expect(answer).toContain(`${spring} at 03:00`);
    await caller.book(D, '10:00', 'Anna');
    expect(await caller.move({ date: spring, time: '02:00' })).toContain('does not exist');
    expect(await calendar.active(orgId)).toHaveLength(1);
    expect(await caller.book(spring, '03:00', 'Ben')).toMatch(/^Booked: .* at 03:00, until 03:30/);
  });

  test('a time that exists twice is asked back, and then booked as the caller says', async () => {
    const orgId = await calendar.organization({ timeZone: BERLIN });
    const caller = await calendar.call(orgId);
    const ask = (given: object) => caller.ask('book_appointment', { date: autumn, time: '02:30', ...given });
    expect(await ask({ name: 'Anna' })).toMatch(/exists twice, .* with which set to first or second\.$/);
    expect(await calendar.active(orgId)).toEqual([]);
    expect(await ask({ name: 'Ben', which: 'second' })).toMatch(
      /^Booked: Ben, .* at 02:30 \(second\), until 03:00/,
    );
    expect(await ask({ name: 'Anna', which: 'first' })).toMatch(
      /^Booked: Anna, .* at 02:30 \(first\), until 02:00 \(second\)/,
    );
    const at = (await calendar.active(orgId)).map(({ startsAt }) => startsAt);
    expect(at).toEqual([`${autumn}T00:30:00.000Z`, `${autumn}T01:30:00.000Z`]);
    expect(await caller.move({ date: autumn, time: '02:00' }, { name: 'Anna' })).toContain('exists twice');
    // An organization that is closed then need not be asked.
    const closed = await calendar.organization({
      timeZone: BERLIN,
      hours: [{ weekday: 1, opens: '09:00', closes: '10:00' }],
    });
    expect(await (await calendar.call(closed)).book(autumn, '02:30', 'Anna')).toContain(
      'outside the opening hours',
    );
  });
});

test('a database that does not answer is said so, and nothing is certain until the model asks again', async () => {
  const orgId = await calendar.organization();
  const caller = await calendar.call(orgId);
  supabase.outage.begin('reset');
  const answers = [
    await caller.book(D, '10:00', 'Anna', 'call_1'),
    await caller.check(),
    await caller.cancel(),
  ];
  supabase.outage.end();
  for (const answer of answers)
    expect(answer).toMatch(/^The calendar did not answer, so it is not certain what happened\./);
  expect(caller.counted).toEqual(['appointment.failed', 'appointment.failed', 'appointment.failed']);
  // The answer of a booking is lost: the model asks again under another id.
  supabase.faults.next('answer_tool_call', 'reset-after');
  supabase.faults.next('answer_tool_call', 'reset-before');
  expect(await caller.book(D, '10:00', 'Anna', 'call_1')).toContain('not certain');
  expect(await caller.book(D, '10:00', 'Anna', 'call_2')).toMatch(/^Booked/);
  expect(await calendar.booked(orgId)).toHaveLength(1);
});

test('what was answered is forgotten after a week, and with its call', async () => {
  const orgId = await calendar.organization();
  const caller = await calendar.call(orgId);
  await caller.book(D, '10:00', 'Anna');
  await supabase.sql`update lockstep.tool_calls set answered_at = now() - interval '8 days' where org_id = ${orgId}`;
  await (await calendar.call(orgId)).cancel();
  const kept = () => supabase.sql`select from lockstep.tool_calls where org_id = ${orgId}`;
  expect(await kept()).toHaveLength(1);
  await supabase.sql`delete from public.call_logs where org_id = ${orgId}`;
  expect(await kept()).toHaveLength(0);
  expect(await calendar.active(orgId)).toMatchObject([{ name: 'Anna', callId: null }]);
});

test('a booking is computed again if the rules change before it is made', async () => {
  const orgId = await calendar.organization();
  const caller = await calendar.call(orgId);
  const { context } = calendar.store;
  let changed = false;
  const spied = {
    ...calendar.store,
    context: async (...given: Parameters<typeof context>) => {
      const found = await context(...given);
      if (!changed) await calendar.store.setRules(orgId, { slotMinutes: 60 });
      changed = true;
      return found;
    },
  };
  const { ToolCaller: Caller } = await import('../support/appointments.ts');
  const answer = await new Caller(spied, caller.call).book(D, '10:30', 'Anna');
  expect(answer).toContain('is not a time at which appointments begin');
  expect(await calendar.booked(orgId)).toEqual([]);
  expect(ALWAYS_OPEN.slotMinutes).toBe(30);
});

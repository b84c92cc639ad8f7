/** Appointments over real HTTP: the booking rules, what is free, and the three mutations of dashboards. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Caller, createTestApp, supabaseConfig, type TestApp } from '../support/app.ts';
import { Calendar, day } from '../support/appointments.ts';
import { createTestSupabase } from '../support/supabase.ts';

const RULES = 'timeZone slotMinutes capacity leadMinutes bufferMinutes hours { weekday opens closes }';
const ERRORS = `
  __typename
  ... on Error { message }
  ... on ValidationError { issues { path message } }
  ... on UnavailableError { retryAfterMs }`;
const UPDATE = `mutation ($input: UpdateBookingRulesInput!) {
  answer: updateBookingRules(input: $input) { ${ERRORS} ... on BookingRulesSuccess { bookingRules { ${RULES} } } } }`;
const CHANGED = `${ERRORS}
  ... on AppointmentSuccess { appointment { id startsAt endsAt status customerName customerNumber notes call { id } } }
  ... on IdempotencyConflictError { saveId }
  ... on RateLimitedError { retryAfterMs }
  ... on OperationPendingError { operation { id status } }`;
const FREE = '... on SlotUnavailableError { alternatives { startsAt endsAt } }';
const CREATE = `mutation ($input: CreateAppointmentInput!) { answer: createAppointment(input: $input) { ${CHANGED} ${FREE} } }`;
const MOVE = `mutation ($input: RescheduleAppointmentInput!) { answer: rescheduleAppointment(input: $input) { ${CHANGED} ${FREE} } }`;
const CANCEL = `mutation ($input: CancelAppointmentInput!) { answer: cancelAppointment(input: $input) { ${CHANGED} } }`;

interface Answer {
  __typename: string;
  message?: string;
  appointment: { id: string; startsAt: string; status: string };
  alternatives: { startsAt: string; endsAt: string }[];
  issues: { path: string; message: string }[];
  operation: { id: string };
}

let lockstep: TestApp;
let caller: Caller;
let calendar: Calendar;
beforeAll(async () => {
  const supabase = await createTestSupabase();
  // Long enough for 50 bookings at once on a slow machine.
  const config = { supabase: { ...supabaseConfig(supabase), timeoutMs: 120_000 } };
  lockstep = await createTestApp({ supabase, config });
  calendar = new Calendar(lockstep.supabase);
});
afterAll(async () => {
  await lockstep?.stop();
  await lockstep?.supabase.stop();
});
beforeEach(async () => {
  caller = await lockstep.newCaller();
});

async function ask(query: string, input: object, by = caller): Promise<Answer> {
  const { answer } = await by.client.request<{ answer: Answer }>(query, { input });
  return answer;
}

const ALL_DAYS = [1, 2, 3, 4, 5, 6, 7];
const hours = (opens: string, closes: string) => ALL_DAYS.map((weekday) => ({ weekday, opens, closes }));
const D = day(10);
const at = (time: string, on = D) => `${on}T${time}:00.000Z`;
const rules = (input: object) => ask(UPDATE, input);
const open = (more: object = {}) =>
  rules({ timeZone: 'UTC', leadMinutes: 0, hours: hours('09:00', '12:00'), ...more });

describe('booking rules', () => {
  test('are office hours in UTC until an organization changes them, each field alone', async () => {
    const read = async () =>
      (await caller.client.request<{ bookingRules: object }>(`{ bookingRules { ${RULES} } }`)).bookingRules;
    const office = [1, 2, 3, 4, 5].map((weekday) => ({ weekday, opens: '09:00', closes: '17:00' }));
    const initial = {
      timeZone: 'UTC',
      slotMinutes: 30,
      capacity: 1,
      leadMinutes: 60,
      bufferMinutes: 0,
      hours: office,
    };
    expect(await read()).toEqual(initial);
    expect(await rules({ timeZone: 'Europe/Berlin', capacity: 3 })).toEqual({
      __typename: 'BookingRulesSuccess',
      bookingRules: { ...initial, timeZone: 'Europe/Berlin', capacity: 3 },
    });
    await rules({ hours: [{ weekday: 7, opens: '10:00', closes: '24:00' }], slotMinutes: 45 });
    expect(await read()).toEqual({
      ...{ ...initial, timeZone: 'Europe/Berlin', capacity: 3, slotMinutes: 45 },
      hours: [{ weekday: 7, opens: '10:00', closes: '24:00' }],
    });
    const other = await lockstep.newCaller();
    const seen = await other.client.request(`{ bookingRules { timeZone capacity } }`);
    expect(seen).toEqual({ bookingRules: { timeZone: 'UTC', capacity: 1 } });
  });

  test.each([
    [{}, 'input'],
    [{ timeZone: 'Mars/Olympus' }, 'input.timeZone'],
    [{ timeZone: '+01:00' }, 'input.timeZone'],
    [{ slotMinutes: 4 }, 'input.slotMinutes'],
    [{ slotMinutes: 1441 }, 'input.slotMinutes'],
    [{ capacity: 0 }, 'input.capacity'],
    [{ leadMinutes: -1 }, 'input.leadMinutes'],
    [{ bufferMinutes: 1441 }, 'input.bufferMinutes'],
    [{ hours: [{ weekday: 0, opens: '09:00', closes: '10:00' }] }, 'input.hours.0.weekday'],
    [{ hours: [{ weekday: 1, opens: '09:60', closes: '10:00' }] }, 'input.hours.0.opens'],
    [{ hours: [{ weekday: 1, opens: '09:00', closes: '24:01' }] }, 'input.hours.0.closes'],
    [{ hours: [{ weekday: 1, opens: '18:00', closes: '09:00' }] }, 'input.hours.0.closes'],
    [
      { hours: [...hours('09:00', '12:00'), { weekday: 3, opens: '11:59', closes: '13:00' }] },
      'input.hours.7',
    ],
  ])('that are wrong are named by their path: %j', async (input, path) => {
    const answer = await rules(input);
    expect(answer).toMatchObject({ __typename: 'ValidationError', issues: [{ path }] });
    expect(await caller.client.request(`{ bookingRules { slotMinutes capacity } }`)).toEqual({
      bookingRules: { slotMinutes: 30, capacity: 1 },
    });
  });
});

describe('availability', () => {
  const AVAILABILITY = `query ($from: DateTime!, $to: DateTime!) { availability(from: $from, to: $to) { startsAt endsAt } }`;
  const available = async (from: string, to: string) =>
    (
      await caller.client.request<{ availability: { startsAt: string; endsAt: string }[] }>(AVAILABILITY, {
        from,
        to,
      })
    ).availability;

  test('lists the slots of a period that are free', async () => {
    await open({ slotMinutes: 60 });
    await ask(CREATE, { startsAt: at('10:00'), customerName: 'Anna' });
    expect(await available(at('00:00'), at('23:59'))).toEqual([
      { startsAt: at('09:00'), endsAt: at('10:00') },
      { startsAt: at('11:00'), endsAt: at('12:00') },
    ]);
    expect(await available(at('09:01'), at('11:00'))).toEqual([]);
    expect(await available(at('23:00'), at('09:00'))).toEqual([]);
    expect(await available(at('09:00', day(-3)), at('12:00', day(-2)))).toEqual([]);
  });

  test('refuses a period of more than 31 days', async () => {
    await expect(available(at('00:00'), at('00:01', day(41)))).rejects.toThrow(/at most 31 days/);
    await open({ slotMinutes: 180 });
    expect(await available(at('00:00', day(11)), at('00:00', day(42)))).toHaveLength(31);
  });
});

describe('an appointment', () => {
  test('is created, moved and cancelled, and its time is free again', async () => {
    await open();
    const input = {
      startsAt: at('10:00'),
      customerName: ' Anna Lind ',
      customerNumber: '+12065550101',
      notes: 'A check-up',
    };
    const { appointment, ...created } = await ask(CREATE, input);
    expect(created).toEqual({ __typename: 'AppointmentSuccess' });
    expect(appointment).toEqual({
      ...{
        id: appointment.id,
        startsAt: expect.stringContaining(`${D}T10:00:00`),
        endsAt: expect.stringContaining(`${D}T10:30:00`),
      },
      ...{
        status: 'SCHEDULED',
        customerName: 'Anna Lind',
        customerNumber: '+12065550101',
        notes: 'A check-up',
        call: null,
      },
    });
    const { id } = appointment;
    expect(await ask(MOVE, { id, startsAt: at('11:00') })).toMatchObject({
      __typename: 'AppointmentSuccess',
      appointment: { id, startsAt: expect.stringContaining('T11:00:00') },
    });
    expect(await ask(CREATE, { ...input, startsAt: at('11:00') })).toMatchObject({
      __typename: 'SlotUnavailableError',
    });
    for (let time = 0; time < 2; time += 1) {
      expect(await ask(CANCEL, { id })).toMatchObject({ appointment: { id, status: 'CANCELLED' } });
    }
    expect(await ask(CREATE, { ...input, startsAt: at('11:00') })).toMatchObject({
      __typename: 'AppointmentSuccess',
    });
    const { appointments } = await caller.client.request<{ appointments: { nodes: { status: string }[] } }>(
      `{ appointments { nodes { status } } }`,
    );
    expect(appointments.nodes.map(({ status }) => status).sort()).toEqual(['CANCELLED', 'SCHEDULED']);
    expect(await ask(MOVE, { id, startsAt: at('09:00') })).toMatchObject({
      __typename: 'ValidationError',
      issues: [{ path: 'input.id', message: expect.stringContaining('is CANCELLED') }],
    });
  });

  test('that cannot be had is refused with its reason and the closest free slots', async () => {
    await open({ slotMinutes: 60 });
    await ask(CREATE, { startsAt: at('10:00'), customerName: 'Anna' });
    const taken = await ask(CREATE, { startsAt: at('10:00'), customerName: 'Ben' });
    expect(taken).toEqual({
      __typename: 'SlotUnavailableError',
      message: 'This time is taken. Nothing was changed. Choose one of `alternatives`.',
      alternatives: [
        { startsAt: at('09:00'), endsAt: at('10:00') },
        { startsAt: at('11:00'), endsAt: at('12:00') },
        { startsAt: at('11:00', day(9)), endsAt: at('12:00', day(9)) },
      ],
    });
    await rules({ leadMinutes: 2 * 1_440 });
    for (const [startsAt, message] of [
      [at('09:00', day(-1)), 'This time is over'],
      [at('10:00', day(1)), 'sooner than the booking rules allow'],
      [at('10:00', day(500)), 'more than 366 days ahead'],
      [at('12:00'), 'outside the opening hours'],
      [at('09:07'), 'No slot begins'],
    ] as const) {
      const answer = await ask(CREATE, { startsAt, customerName: 'Ben' });
      expect(answer).toMatchObject({
        __typename: 'SlotUnavailableError',
        message: expect.stringContaining(message),
      });
      expect(answer.alternatives.length, message).toBe(3);
    }
    expect(await calendar.booked(caller.orgId)).toHaveLength(1);
  });

  test('is not moved if it is not where the caller expects it', async () => {
    await open();
    const { id } = (await ask(CREATE, { startsAt: at('10:00'), customerName: 'Anna' })).appointment;
    const move = { id, startsAt: at('11:00'), expectedStartsAt: at('09:00') };
    expect(await ask(MOVE, move)).toMatchObject({
      __typename: 'ValidationError',
      issues: [{ path: 'input.expectedStartsAt', message: `this appointment starts at ${at('10:00')} now` }],
    });
    expect(await ask(MOVE, { ...move, expectedStartsAt: at('10:00') })).toMatchObject({
      __typename: 'AppointmentSuccess',
    });
  });

  test('of another organization is not found, and its slots are its own', async () => {
    await open();
    const { id } = (await ask(CREATE, { startsAt: at('10:00'), customerName: 'Anna' })).appointment;
    const other = await lockstep.newCaller();
    await ask(UPDATE, { timeZone: 'UTC', hours: hours('09:00', '12:00') }, other);
    for (const [query, input] of [
      [MOVE, { id, startsAt: at('11:00') }],
      [CANCEL, { id }],
      [CANCEL, { id: 'x' }],
    ] as const) {
      expect(await ask(query, input, other)).toMatchObject({
        __typename: 'ValidationError',
        issues: [{ path: 'input.id', message: 'your organization has no appointment with this id' }],
      });
    }
    expect(await ask(CREATE, { startsAt: at('10:00'), customerName: 'Ben' }, other)).toMatchObject({
      __typename: 'AppointmentSuccess',
    });
    expect(await calendar.active(caller.orgId)).toMatchObject([{ id, startsAt: at('10:00') }]);
  });

  test.each([
    [{ customerName: ' ' }, 'input.customerName'],
    [{ customerName: 'x'.repeat(201) }, 'input.customerName'],
    [{ customerName: 'a\u0000' }, 'input.customerName'],
    [{ customerNumber: '2065550101' }, 'input.customerNumber'],
    [{ notes: '' }, 'input.notes'],
    [{ idempotencyKey: '' }, 'input.idempotencyKey'],
  ])('with a wrong value is refused by its path: %j', async (wrong, path) => {
    await open();
    const answer = await ask(CREATE, { startsAt: at('10:00'), customerName: 'Anna', ...wrong });
    expect(answer).toMatchObject({ __typename: 'ValidationError', issues: [{ path }] });
    expect(await calendar.booked(caller.orgId)).toEqual([]);
  });
});

describe('a request that is repeated', () => {
  test('under its idempotency key gets the first answer, whatever has changed since', async () => {
    await open();
    const create = { startsAt: at('10:00'), customerName: 'Anna', idempotencyKey: 'create' };
    const first = await ask(CREATE, create);
    const { id } = first.appointment;
    const move = { id, startsAt: at('11:00'), idempotencyKey: 'move' };
    const moved = await ask(MOVE, move);
    await ask(CANCEL, { id, idempotencyKey: 'cancel' });
    await rules({ leadMinutes: 40 * 1_440 });
    expect(await ask(CREATE, create)).toEqual(first);
    expect(await ask(MOVE, move)).toEqual(moved);
    expect(await calendar.booked(caller.orgId)).toHaveLength(1);
    const conflict = await ask(CREATE, { ...create, customerName: 'Ben' });
    expect(conflict).toMatchObject({ __typename: 'IdempotencyConflictError' });
    expect(await ask(CANCEL, { id, idempotencyKey: 'create' })).toMatchObject({
      __typename: 'IdempotencyConflictError',
    });
  });

  test('after a refusal books, because a refusal does not use the key up', async () => {
    await open();
    const { id } = (await ask(CREATE, { startsAt: at('10:00'), customerName: 'Anna' })).appointment;
    const input = { startsAt: at('10:00'), customerName: 'Ben', idempotencyKey: 'ben' };
    expect(await ask(CREATE, input)).toMatchObject({ __typename: 'SlotUnavailableError' });
    await ask(CANCEL, { id });
    expect(await ask(CREATE, input)).toMatchObject({ __typename: 'AppointmentSuccess' });
  });

  test('because the answer of the database was lost books once', async () => {
    await open();
    lockstep.supabase.faults.next('begin_appointments', 'reset-after');
    lockstep.supabase.faults.next('begin_appointments', 'reset-before');
    expect(await ask(CREATE, { startsAt: at('10:00'), customerName: 'Anna' })).toMatchObject({
      __typename: 'AppointmentSuccess',
    });
    expect(await calendar.booked(caller.orgId)).toHaveLength(1);
  });

  test('too often is told that it may still be made, or that nothing began', async () => {
    await open();
    for (let n = 0; n < 3; n += 1) lockstep.supabase.faults.next('begin_appointments', 'reset-after');
    const pending = await ask(CREATE, { startsAt: at('10:00'), customerName: 'Anna' });
    expect(pending).toMatchObject({ __typename: 'OperationPendingError', operation: { status: 'APPLYING' } });
    const read = await caller.client.request(
      `query ($id: ID!) { operation(id: $id) { status __typename } }`,
      { id: pending.operation.id },
    );
    expect(read).toEqual({ operation: { status: 'COMMITTED', __typename: 'ResourceOperation' } });
    lockstep.supabase.faults.next('booking_rules', 'reset-before');
    expect(await ask(CREATE, { startsAt: at('11:00'), customerName: 'Anna' })).toMatchObject({
      __typename: 'UnavailableError',
    });
    expect(await calendar.booked(caller.orgId)).toHaveLength(1);
  });
});

test('50 users who book the same two places at once get two appointments', async () => {
  await open({ capacity: 2 });
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      ask(CREATE, { startsAt: at('10:00'), customerName: `Customer ${i}` }),
    ),
  );
  const kinds = answers.map(({ __typename }) => __typename);
  expect(kinds.filter((kind) => kind === 'AppointmentSuccess')).toHaveLength(2);
  expect(kinds.filter((kind) => kind === 'SlotUnavailableError')).toHaveLength(48);
});

test('what was booked by a call is the same appointment for users', async () => {
  await open();
  const caller2 = await calendar.call(caller.orgId, '+12065550101');
  await caller2.book(D, '10:00', 'Anna');
  const { appointments } = await caller.client.request<{
    appointments: { nodes: { id: string; call: { id: string } }[] };
  }>(`{ appointments { nodes { id call { id } } } }`);
  expect(appointments.nodes).toMatchObject([{ call: { id: caller2.call.callId } }]);
  const id = appointments.nodes[0]?.id ?? '';
  expect(await ask(MOVE, { id, startsAt: at('11:00') })).toMatchObject({ __typename: 'AppointmentSuccess' });
  // And what a user has booked for a number can be changed by whoever calls from it.
  await ask(CREATE, { startsAt: at('09:00', day(12)), customerName: 'Ben', customerNumber: '+12065550109' });
  expect(await (await calendar.call(caller.orgId, '+12065550109')).cancel()).toMatch(/^Cancelled: Ben/);
  expect(await caller2.cancel()).toMatch(/^Cancelled: Anna, .* at 11:00/);
});

test('each answer is one line in the log, without what the customer said, and one count', async () => {
  await open();
  const from = lockstep.log.length;
  const name = `Somebody ${randomUUID()}`;
  const { id } = (await ask(CREATE, { startsAt: at('10:00'), customerName: name, notes: name })).appointment;
  await ask(CREATE, { startsAt: at('10:00'), customerName: name });
  await ask(MOVE, { id, startsAt: at('11:00') });
  await ask(CANCEL, { id });
  const lines = lockstep.log.slice(from).map((line) => JSON.parse(line) as Record<string, unknown>);
  const own = lines.filter(({ door }) => door === 'api');
  expect(own.map(({ event, action, outcome }) => [event, action, outcome])).toEqual([
    ['appointment.booked', 'BOOK', 'done'],
    ['appointment.refused', 'BOOK', 'unavailable'],
    ['appointment.rescheduled', 'RESCHEDULE', 'done'],
    ['appointment.cancelled', 'CANCEL', 'done'],
  ]);
  for (const line of own) expect(line).toMatchObject({ orgId: caller.orgId, ms: expect.any(Number) });
  expect(lockstep.log.slice(from).join('')).not.toContain(name);
  const metrics = await (await fetch(`${lockstep.origin}/metrics`)).text();
  expect(metrics).toMatch(/lockstep_events_total\{event="appointment\.rescheduled"\} [1-9]/);
});

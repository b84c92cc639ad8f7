import { describe, expect, test } from 'vitest';
import type { AppointmentStore, ToolCallRef } from '../../ports/appointments/appointment-store.ts';
import { DatabaseError } from '../../ports/database.ts';
import type { Log } from '../../ports/system.ts';
import { answerToolCall } from './answer-tool-call.ts';

const NUMBER = '+12065550101';
const rules = {
  ...{ timeZone: 'UTC', slotMinutes: 30, capacity: 1, leadMinutes: 0, bufferMinutes: 0, revision: 4 },
  hours: [{ weekday: 1, opens: '09:00', closes: '17:00' }],
};
const appointment = {
  ...{
    id: 'a',
    callId: 'call',
    customerName: 'Anna Lind',
    customerNumber: NUMBER,
    status: 'SCHEDULED',
    notes: 'secret note',
  },
  ...{
    startsAt: '2026-11-30T09:00:00+00:00',
    endsAt: '2026-11-30T09:30:00+00:00',
    createdAt: '2026-11-26T08:00:00+00:00',
  },
} as const;

async function answered(
  store: Partial<AppointmentStore>,
  toolCall: { id?: string; name?: string; arguments?: unknown } = {},
  msPerCall = 0,
) {
  const logged: { level: string; [name: string]: unknown }[] = [];
  const at = (level: string) => (fields: object, message: string) =>
    void logged.push({ level, ...fields, message });
  const log: Log = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => log,
  };
  const counted: string[] = [];
  const refs: ToolCallRef[] = [];
  let ms = 0;
  const whole = {
    context: async (ref: ToolCallRef) => {
      refs.push(ref);
      return { now: '2026-11-26T08:00:00Z', rules, answer: null, appointments: [], made: [] };
    },
    answer: async () => ({ outcome: 'DONE', appointment }),
    ...store,
  } as AppointmentStore;
  const text = await answerToolCall(
    {
      store: whole,
      clock: {
        now: () => 0,
        monotonic: () => {
          ms += msPerCall;
          return ms;
        },
        sleep: async () => {},
      },
      ids: { uuid: () => 'new' },
      log,
      meter: { count: (event) => void counted.push(event) },
    },
    { orgId: 'org', callId: 'call', callerNumber: NUMBER },
    {
      ...{ id: 'call_1', name: 'book_appointment', ...toolCall },
      arguments:
        'arguments' in toolCall
          ? toolCall.arguments
          : { date: '2026-11-30', time: '09:00', name: 'Anna Lind', notes: 'secret note' },
    },
  );
  return { text, logged, counted, refs };
}

describe('a tool call', () => {
  test('is one line in the log, without a name, a number, a note or a word of the model', async () => {
    const { text, logged, counted } = await answered({});
    expect(text).toMatch(/^Booked: Anna Lind, Monday 2026-11-30 at 09:00/);
    expect(logged).toMatchObject([
      {
        level: 'info',
        event: 'appointment.booked',
        orgId: 'org',
        callId: 'call',
        tool: 'book_appointment',
        outcome: 'done',
      },
    ]);
    expect(counted).toEqual(['appointment.booked']);
    const unknown = await answered({}, { name: 'Anna Lind', arguments: 'Anna Lind' });
    expect(unknown.logged).toMatchObject([{ tool: 'unknown', outcome: 'malformed' }]);
    for (const one of [logged, unknown.logged]) expect(JSON.stringify(one)).not.toMatch(/Lind|secret|\+1206/);
  });

  test('has one key for equal arguments, whatever their order and form, and another for all else', async () => {
    const given = { date: '2026-11-30', time: '09:00', name: 'Anna' };
    const key = async (toolCall: object) =>
      (await answered({}, { arguments: given, ...toolCall })).refs[0]?.key;
    const first = await key({});
    expect(await key({ arguments: { name: 'Anna', time: '09:00', date: '2026-11-30' } })).toBe(first);
    expect(await key({ arguments: JSON.stringify(given) })).toBe(first);
    const others = [
      { id: 'call_2' },
      { arguments: { ...given, name: 'Ben' } },
      { name: 'cancel_appointment' },
    ];
    const keys = await Promise.all(others.map(key));
    expect(new Set([first, ...keys]).size).toBe(4);
  });

  test('is repeated once if the database does not answer, and not if too little time is left', async () => {
    let calls = 0;
    const answer = async () => {
      calls += 1;
      if (calls === 1) throw new DatabaseError('ECONNRESET', true);
      return { outcome: 'DONE', appointment };
    };
    expect((await answered({ answer })).text).toMatch(/^Booked/);
    expect(calls).toBe(2);
    calls = 0;
    const late = await answered({ answer }, {}, 6_000);
    expect(late.text).toContain('not certain what happened');
    expect(calls).toBe(1);
  });

  test.each([
    ['a defect', async () => Promise.reject(new Error('no such function')), 'error'],
    ['an answer of another build', async () => ({ outcome: 'SOMETHING_NEW' }), 'error'],
    ['a database that is away', async () => Promise.reject(new DatabaseError('ECONNREFUSED', false)), 'warn'],
    ['rules that change without end', async () => ({ outcome: 'RULES_CHANGED' }), 'warn'],
  ])('that meets %s is answered, and the operator is told', async (_name, answer, level) => {
    const { text, logged, counted } = await answered({ answer });
    expect(text).toMatch(/^The calendar did not answer, so it is not certain what happened/);
    expect(logged.map((line) => line.level)).toEqual([level, 'info']);
    expect(counted).toEqual(['appointment.failed']);
  });

  test('gives the answer that the same tool call got before, and asks for nothing else', async () => {
    const answer = () => Promise.reject(new Error('nothing may be changed'));
    const context = async () => ({
      ...{ now: '2026-11-26T08:00:00Z', rules, appointments: [], made: [] },
      answer: { outcome: 'DONE', appointment },
    });
    expect((await answered({ answer, context })).text).toMatch(/^Booked: Anna Lind/);
  });
});

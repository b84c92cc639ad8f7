import { expect, test } from 'vitest';
import { Seeded } from '../../../test/sim/random.ts';
import { VapiAccount } from './account.ts';
import { randomCallScript } from './call-generator.ts';
import { CallRunner } from './call-runner.ts';
import { callScript } from './call-script.ts';
import { isObject, type JsonObject } from './json.ts';

const CALLEES = [{ phoneNumberId: 'n1' }, { assistantId: 'a1' }];

/** The scripts of a seed. */
function scripts(seed: number, count: number) {
  const seeded = new Seeded(seed);
  return Array.from({ length: count }, () =>
    randomCallScript({ random: () => seeded.next(), callees: CALLEES, faults: 0.3 }),
  );
}

test('gives the same calls for the same seed, and others for another one', () => {
  expect(scripts(1, 50)).toEqual(scripts(1, 50));
  expect(scripts(1, 50)).not.toEqual(scripts(2, 50));
});

test('gives scripts that can be played, and every kind of fault', () => {
  const parsed = scripts(7, 300).map((script) => callScript.parse(script));
  const kinds = new Set(parsed.flatMap(({ faults }) => faults.map(({ kind }) => kind)));
  expect([...kinds].toSorted()).toEqual([
    ...['duplicated', 'ended-reason', 'large', 'late', 'late-fields', 'lost', 'missing', 'order'],
    ...['second-report', 'tool-call-shape', 'unknown-call', 'unknown-kind'],
  ]);
});

/** Plays the calls of a seed one after the other in virtual time, and returns what was sent. */
async function sentFor(seed: number) {
  let now = Date.UTC(2026, 10, 24);
  let lastId = 0;
  const account = new VapiAccount({
    now: () => now,
    id: () => `00000000-0000-4000-8000-${String(++lastId).padStart(12, '0')}`,
  });
  const tools = ['check_availability', 'book_appointment'].map((name) => ({
    ...{ type: 'function', function: { name } },
  }));
  const assistant = account.assistants.create('org', {
    server: { url: 'https://lockstep.example.test/vapi/events' },
    model: { provider: 'openai', model: 'gpt-4.1-mini', tools },
  });
  const sent: { at: number; message: JsonObject }[] = [];
  const runner = new CallRunner(account, {
    sleep: async (ms) => {
      now += ms;
    },
    deliver: async (_server, message, onAttempted) => {
      sent.push({ at: now, message });
      onAttempted();
      const { toolCallList: calls } = message;
      const results = (Array.isArray(calls) ? calls : []).filter(isObject).map(({ id = '' }) => ({
        ...{ toolCallId: id, result: 'Free times: Monday 2026-11-30 at 14:30; Monday 2026-11-30 at 15:00.' },
      }));
      return { status: 200, body: { results } };
    },
  });
  const seeded = new Seeded(seed);
  const callees = [{ assistantId: assistant.id }];
  for (let index = 0; index < 30; index++) {
    await runner.play(randomCallScript({ random: () => seeded.next(), callees }));
    await runner.idle();
  }
  return { sent, calls: account.callStore.all() };
}

test('plays without HTTP in virtual time, the same way for the same seed', async () => {
  const [one, two] = [await sentFor(3), await sentFor(3)];
  expect(one).toEqual(two);
  expect(one.calls).toHaveLength(30);
  for (const call of one.calls) {
    expect(call.status).toBe('ended');
    const { cost, costBreakdown, costs } = call;
    expect(costBreakdown).toMatchObject({ total: cost });
    const sum = (costs as { cost: number }[]).reduce((all, part) => all + part.cost, 0);
    expect(sum).toBeCloseTo(Number(cost), 8);
  }
  const asked = one.sent.filter(({ message }) => message['type'] === 'tool-calls');
  expect(JSON.stringify(asked)).toContain('2026-11-30');
});

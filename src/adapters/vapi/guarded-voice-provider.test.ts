import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { UNUSED_RESOURCES } from '../../../test/support/unused-resources.ts';
import type { ProviderAssistant, ProviderReply, VoiceProvider } from '../../ports/voice-provider.ts';
import { type BreakerSettings, createCircuit, guardVoiceProvider } from './guarded-voice-provider.ts';

type Reply = ProviderReply<ProviderAssistant>;

const SETTINGS: BreakerSettings = { failures: 3, openMs: 5_000, keyRefusals: 2, keyRetryMs: 10_000 };
const ok: Reply = { kind: 'ok', value: { id: 'a' } };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A Vapi that answers what it is told to, and every provider of one process in front of it. */
function start() {
  const asked: string[] = [];
  const events: string[] = [];
  const opened: number[] = [];
  const limited: (number | null)[] = [];
  const accounts: string[] = [];
  const state = { turn: true, active: true };
  const answers = { write: async (): Promise<Reply> => ok, list: async (): Promise<Reply> => ok };
  const log = {
    debug: () => {},
    info: (fields: object) => void events.push((fields as { event: string }).event),
    warn: () => {},
    error: (fields: object) => void events.push((fields as { event: string }).event),
    child: () => log,
  };
  const meter = { count: (event: string) => void events.push(`counted ${event}`) };
  const circuit = createCircuit(SETTINGS, { meter, log }, (ms) => opened.push(ms));
  const provider = (name: string): VoiceProvider => {
    const ask = (what: string) => async () => {
      asked.push(`${name} ${what}`);
      return answers.write();
    };
    return guardVoiceProvider(
      {
        ...UNUSED_RESOURCES,
        timeoutMs: 1_000,
        createAssistant: ask('create'),
        updateAssistant: ask('update'),
        getAssistant: ask('get'),
        deleteAssistant: ask('delete'),
        listAssistants: async () => {
          asked.push(`${name} list`);
          const reply = await answers.list();
          return reply.kind === 'ok' ? { kind: 'ok', value: [reply.value] } : reply;
        },
      },
      {
        circuit,
        breaker: SETTINGS,
        fingerprint: '12345678',
        onLimited: (ms) => limited.push(ms),
        onAccount: (orgId) => accounts.push(orgId),
        isActive: () => state.active,
        turn: async () => state.turn,
        meter,
        log,
      },
    );
  };
  const answer = (reply: Reply) => {
    answers.write = async () => reply;
  };
  const [voice, other] = [provider('one'), provider('two')];
  return { asked, events, opened, limited, accounts, answers, answer, state, voice, other };
}

const update = (voice: VoiceProvider) => voice.updateAssistant('a', {});
const CIRCUIT_OPEN: Reply = { kind: 'not_sent', code: 'CIRCUIT_OPEN' };
const REFUSED_KEY: Reply = { kind: 'unauthorized', status: 401 };

describe('the circuit', () => {
  test.each<[string, Reply]>([
    ['500', { kind: 'unknown', code: 'HTTP_500' }],
    ['408', { kind: 'unknown', code: 'HTTP_408' }],
    ['a timeout', { kind: 'unknown', code: 'TIMEOUT_REQUEST' }],
    ['a timeout while connecting', { kind: 'not_sent', code: 'TIMEOUT_CONNECT' }],
    ['a reset', { kind: 'unknown', code: 'ECONNRESET' }],
  ])('opens after so many in a row of: %s', async (_what, trouble) => {
    const { voice, answer, asked, opened, events } = start();
    answer(trouble);
    for (let request = 0; request < SETTINGS.failures; request += 1)
      expect(await update(voice)).toEqual(trouble);
    expect(opened).toEqual([SETTINGS.openMs]);
    expect(events).toEqual(['counted vapi.circuit_opened', 'vapi.circuit_opened']);
    answer(ok);
    expect(await update(voice)).toEqual(CIRCUIT_OPEN);
    expect(asked).toHaveLength(SETTINGS.failures);
  });

  test.each<[string, Reply]>([
    ['one tenant’s bad prompt', { kind: 'refused', status: 400, messages: ['no'] }],
    ['a deleted assistant', { kind: 'gone' }],
    ['429', { kind: 'rate_limited', retryAfterMs: null }],
    ['a redirect', { kind: 'unknown', code: 'HTTP_302' }],
    ['a body that cannot be read', { kind: 'unknown', code: 'UNREADABLE_BODY' }],
    ['no connection', { kind: 'not_sent', code: 'ECONNREFUSED' }],
  ])('does not count %s', async (_what, reply) => {
    const { voice, answer, asked, opened } = start();
    answer(reply);
    for (let request = 0; request < 20; request += 1) await update(voice);
    expect(asked).toHaveLength(20);
    expect(opened).toEqual([]);
  });

  test('an answer resets the count of failures', async () => {
    const { voice, answer, opened } = start();
    for (let request = 0; request < 10; request += 1) {
      answer(
        request % 3 === 2
          ? { kind: 'refused', status: 400, messages: [] }
          : { kind: 'unknown', code: 'HTTP_500' },
      );
      await update(voice);
    }
    expect(opened).toEqual([]);
  });

  test('is shared by all keys of the process', async () => {
    const { voice, other, answer, asked } = start();
    answer({ kind: 'unknown', code: 'HTTP_503' });
    await update(voice);
    await update(other);
    await update(voice);
    expect(await update(other)).toEqual(CIRCUIT_OPEN);
    expect(asked).toHaveLength(3);
  });

  test('then sends one probe request; the others are refused at once', async () => {
    const { voice, answer, answers, asked, events } = start();
    answer({ kind: 'unknown', code: 'HTTP_503' });
    for (let request = 0; request < 3; request += 1) await update(voice);
    await vi.advanceTimersByTimeAsync(SETTINGS.openMs);
    const tried = Promise.withResolvers<Reply>();
    answers.write = () => tried.promise;
    const first = update(voice);
    expect(await update(voice)).toEqual(CIRCUIT_OPEN);
    expect(asked).toHaveLength(4);
    tried.resolve(ok);
    expect(await first).toEqual(ok);
    answer(ok);
    expect(await update(voice)).toEqual(ok);
    expect(events).toContain('vapi.circuit_closed');
  });

  test('a failed probe opens it again', async () => {
    const { voice, answer, asked, opened } = start();
    answer({ kind: 'unknown', code: 'HTTP_503' });
    for (let request = 0; request < 3; request += 1) await update(voice);
    await vi.advanceTimersByTimeAsync(SETTINGS.openMs);
    await update(voice);
    expect(await update(voice)).toEqual(CIRCUIT_OPEN);
    expect(asked).toHaveLength(4);
    expect(opened).toHaveLength(2);
  });
});

describe('a key that Vapi refuses', () => {
  /** As many refusals as it takes, and what the read after them is answered. */
  async function revoked() {
    const world = start();
    const { answer, answers, voice, asked } = world;
    answer({ kind: 'unauthorized', status: 403 });
    answers.list = async () => REFUSED_KEY;
    await update(voice);
    await update(voice);
    await vi.advanceTimersByTimeAsync(0);
    expect(asked).toEqual(['one update', 'one update', 'one list']);
    asked.length = 0;
    return world;
  }

  test('is not used again: requests are refused at once, as Vapi refused them', async () => {
    const { voice, asked, events } = await revoked();
    expect(events).toEqual(['counted vapi.key_refused', 'vapi.key_refused']);
    for (const request of [
      () => voice.createAssistant({}),
      () => update(voice),
      () => voice.getAssistant('a'),
      () => voice.deleteAssistant('a'),
      () => voice.listAssistants({}),
    ])
      expect(await request()).toEqual(REFUSED_KEY);
    expect(asked).toEqual([]);
  });

  test('is tried with a read at intervals, and is used again once the read succeeds', async () => {
    const { voice, answer, answers, asked, events } = await revoked();
    await vi.advanceTimersByTimeAsync(3 * SETTINGS.keyRetryMs);
    expect(asked).toEqual(['one list', 'one list', 'one list']);
    expect(await update(voice)).toEqual(REFUSED_KEY);

    answer(ok);
    answers.list = async () => ok;
    await vi.advanceTimersByTimeAsync(SETTINGS.keyRetryMs);
    expect(await update(voice)).toEqual(ok);
    expect(events.at(-1)).toBe('vapi.key_accepted');
    await vi.advanceTimersByTimeAsync(10 * SETTINGS.keyRetryMs);
    expect(asked.slice(3)).toEqual(['one list', 'one update']);
  });

  test('is not tried while another key is active or nothing may be sent', async () => {
    const { asked, state } = await revoked();
    state.turn = false;
    await vi.advanceTimersByTimeAsync(5 * SETTINGS.keyRetryMs);
    state.turn = true;
    state.active = false;
    await vi.advanceTimersByTimeAsync(5 * SETTINGS.keyRetryMs);
    expect(asked).toEqual([]);
    state.active = true;
    await vi.advanceTimersByTimeAsync(SETTINGS.keyRetryMs);
    expect(asked).toEqual(['one list']);
  });

  test('does not affect another key', async () => {
    const { voice, other, answer } = await revoked();
    answer(ok);
    expect(await update(voice)).toEqual(REFUSED_KEY);
    expect(await update(other)).toEqual(ok);
  });

  test('is confirmed by a read, because the content of one tenant may cause a refusal', async () => {
    const { voice, answer, asked, events } = start();
    for (let round = 0; round < 5; round += 1) {
      // The edge in front of Vapi refuses what it takes for an attack.
      answer({ kind: 'unauthorized', status: 403 });
      for (let request = 0; request < 4; request += 1)
        expect(await update(voice)).toEqual({ kind: 'unauthorized', status: 403 });
      answer(ok);
      expect(await update(voice)).toEqual(ok);
    }
    expect(events).toEqual([]);
    // And not one read for each of them.
    expect(asked.filter((one) => one === 'one list').length).toBeLessThanOrEqual(10);
  });

  test('is not judged by a read without an answer', async () => {
    const { voice, answer, answers, events } = start();
    answer(REFUSED_KEY);
    answers.list = async () => ({ kind: 'rate_limited', retryAfterMs: null });
    for (let request = 0; request < 4; request += 1) expect(await update(voice)).toEqual(REFUSED_KEY);
    answers.list = () => Promise.reject(new Error('a defect'));
    for (let request = 0; request < 4; request += 1) expect(await update(voice)).toEqual(REFUSED_KEY);
    answer(ok);
    expect(await update(voice)).toEqual(ok);
    expect(events).toEqual([]);
  });

  test('is used further if refusals are rare', async () => {
    const { voice, answer, asked } = start();
    for (let request = 0; request < 10; request += 1) {
      answer(request % 2 === 0 ? REFUSED_KEY : { kind: 'gone' });
      await update(voice);
    }
    expect(asked).toHaveLength(10);
  });
});

test('reports a 429 and its Retry-After to the rate limiter', async () => {
  const { voice, answer, limited, events } = start();
  answer({ kind: 'rate_limited', retryAfterMs: 7_000 });
  await update(voice);
  answer({ kind: 'rate_limited', retryAfterMs: null });
  await voice.getAssistant('a');
  expect(limited).toEqual([7_000, null]);
  expect(events).toEqual(['counted vapi.rate_limited', 'counted vapi.rate_limited']);
});

test('reports the Vapi organization of an answer, of one assistant or of a list', async () => {
  const { voice, answer, answers, accounts } = start();
  answer({ kind: 'ok', value: { id: 'a', orgId: 'one' } });
  answers.list = async () => ({ kind: 'ok', value: { id: 'a', orgId: 'two' } });
  await voice.getAssistant('a');
  await voice.listAssistants({});
  answer({ kind: 'gone' });
  await voice.getAssistant('a');
  expect(accounts).toEqual(['one', 'two']);
});

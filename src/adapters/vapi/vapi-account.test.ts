/** What a key ring and a guarded provider do is tested beside them. */
import { describe, expect, test } from 'vitest';
import { UNUSED_RESOURCES } from '../../../test/support/unused-resources.ts';
import { Secret } from '../../domain/secret.ts';
import type { Log } from '../../ports/system.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { VapiAccount } from './vapi-account.ts';

type Listed = Awaited<ReturnType<VoiceProvider['listAssistants']>>;

const reads = (orgId: string): Listed => ({ kind: 'ok', value: [{ id: 'an assistant', orgId }] });
const AWAY: Listed = { kind: 'unknown', code: 'HTTP_503' };
const LIMITED: Listed = { kind: 'rate_limited', retryAfterMs: 700 };

const FIRST = new Secret('first');
const SECOND = new Secret('second');
const THIRD = new Secret('third');

/** `lists`: what Vapi answers to each key, by its value. */
function start(lists: Record<string, Listed>, { nextKey = null as Secret | null, permits = true } = {}) {
  const asked: string[] = [];
  const paced: unknown[] = [];
  const events: unknown[] = [];
  const line = (fields: object) => void events.push('event' in fields ? fields.event : fields);
  const log: Log = { debug: line, info: line, warn: line, error: line, child: () => log };
  const unused = () => Promise.reject(new Error('not part of this test'));
  const account = new VapiAccount(
    { key: FIRST, nextKey },
    { failures: 2, openMs: 5_000, keyRefusals: 10, keyRetryMs: 2_000 },
    {
      ...{ log, meter: { count() {} } },
      connect: (key) => ({
        ...UNUSED_RESOURCES,
        timeoutMs: 1_000,
        listAssistants: async () => {
          asked.push(key.reveal());
          return lists[key.reveal()] ?? AWAY;
        },
        ...{
          createAssistant: unused,
          updateAssistant: unused,
          getAssistant: unused,
          deleteAssistant: unused,
        },
      }),
      pacer: {
        turn: async (withinMs) => {
          paced.push({ turn: withinMs });
          return permits;
        },
        pause: (ms) => paced.push({ pause: ms }),
        limited: (retryAfterMs) => paced.push({ limited: retryAfterMs }),
      },
      account: async () => 'ours',
    },
  );
  const runJob = () => account.job.run(new AbortController().signal);
  return { account, lists, asked, paced, events, runJob };
}

describe('the key job', () => {
  test('runs at the retry interval of keys', () => {
    expect(start({}).account.job).toMatchObject({ name: 'key', intervalMs: 2_000 });
  });

  test('discards a key that reads another Vapi organization than the database', async () => {
    const { account, runJob, events } = start({ first: reads('another') });
    expect(account.active).toBe(FIRST);
    expect(await runJob()).toEqual({ kind: 'ran' });
    expect([account.active, account.voice, events]).toEqual([null, null, ['vapi.key_foreign']]);
  });

  test('tries the next key until it is active, and not after that', async () => {
    const { account, lists, asked, runJob } = start({ first: reads('ours') }, { nextKey: SECOND });
    await runJob();
    expect(account.active).toBe(FIRST);
    lists['second'] = reads('ours');
    await runJob();
    expect(account.active).toBe(SECOND);
    asked.length = 0;
    await runJob();
    expect(asked).toEqual([]);
  });

  test('does not try a refused key again', async () => {
    const { account, asked, runJob } = start(
      { first: reads('ours'), second: reads('another') },
      { nextKey: SECOND },
    );
    await runJob();
    asked.length = 0;
    await runJob();
    expect([account.active, asked]).toEqual([FIRST, []]);
  });
});

describe('a key that is given while the server runs', () => {
  test('is active at once if it reads the same Vapi organization', async () => {
    const { account } = start({ first: reads('ours'), second: reads('ours') });
    await account.check();
    expect(await account.rotateTo(SECOND)).toBe('ACTIVE');
    expect(account.active).toBe(SECOND);
  });

  test('replaces a key that still waits to become active', async () => {
    const { account, lists, runJob } = start({ first: reads('ours') }, { nextKey: SECOND });
    await account.check();
    expect(await account.rotateTo(THIRD)).toBe('UNDECIDED');
    lists['second'] = reads('ours');
    lists['third'] = reads('ours');
    await runJob();
    expect(account.active).toBe(THIRD);
  });

  test('is tried even if an earlier one is decided later', async () => {
    const { account, lists, runJob } = start({
      first: reads('ours'),
      second: reads('another'),
      third: AWAY,
    });
    await account.check();
    // The second key is refused after the third one has taken its place.
    const [second, third] = await Promise.all([account.rotateTo(SECOND), account.rotateTo(THIRD)]);
    expect([second, third]).toEqual(['REFUSED', 'UNDECIDED']);
    lists['third'] = reads('ours');
    await runJob();
    expect(account.active).toBe(THIRD);
  });
});

describe('the rate limiter', () => {
  test('gives a permit for each read of the key, within the retry interval', async () => {
    const { account, paced } = start({ first: reads('ours') });
    await account.check();
    expect(paced).toEqual([{ turn: 2_000 }]);
  });

  test('without a permit, nothing is sent', async () => {
    const { account, asked } = start({ first: reads('ours') }, { permits: false });
    await account.check();
    expect(asked).toEqual([]);
  });

  test('hears of a 429, and of the time for which the circuit stays open, for all keys together', async () => {
    const { account, paced, events } = start({ first: AWAY, second: AWAY, third: LIMITED });
    await account.voiceOf(THIRD).listAssistants({ limit: 1 });
    expect(paced).toEqual([{ limited: 700 }]);
    await account.voiceOf(FIRST).listAssistants({ limit: 1 });
    await account.voiceOf(SECOND).listAssistants({ limit: 1 });
    expect(paced).toEqual([{ limited: 700 }, { pause: 5_000 }]);
    expect(events).toEqual(['vapi.circuit_opened']);
    expect(await account.voiceOf(THIRD).listAssistants({ limit: 1 })).toMatchObject({
      kind: 'not_sent',
      code: 'CIRCUIT_OPEN',
    });
  });
});

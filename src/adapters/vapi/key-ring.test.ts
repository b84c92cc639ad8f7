import { describe, expect, test } from 'vitest';
import { UNUSED_RESOURCES } from '../../../test/support/unused-resources.ts';
import { Secret } from '../../domain/secret.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { type KeyHooks, KeyRing } from './key-ring.ts';

type Listed = Awaited<ReturnType<VoiceProvider['listAssistants']>>;

const account = (orgId: string): Listed => ({ kind: 'ok', value: [{ id: 'a', orgId }] });
const EMPTY: Listed = { kind: 'ok', value: [] };
const UNAUTHORIZED: Listed = { kind: 'unauthorized', status: 401 };
const AWAY: Listed = { kind: 'unknown', code: 'HTTP_503' };

/** `lists`: what Vapi answers to each key, by its value. */
function start(lists: Record<string, Listed>, active: string | null = 'old-key') {
  /** The database: which account it belongs to, and whether it answers. */
  const database = { account: null as string | null, away: false };
  const asked: string[] = [];
  const turns = { left: Number.POSITIVE_INFINITY };
  const slow = new Map<string, Promise<void>>();
  const hooks = new Map<string, KeyHooks>();
  const logged: object[] = [];
  const log = {
    debug: () => {},
    info: (fields: object) => void logged.push(fields),
    warn: () => {},
    error: (fields: object) => void logged.push(fields),
    child: () => log,
  };
  const refuse = () => Promise.reject(new Error('only read, to tell the account by'));
  const keys = new KeyRing(
    active === null ? null : new Secret(active),
    (key, given) => {
      hooks.set(key.reveal(), given);
      return {
        ...UNUSED_RESOURCES,
        timeoutMs: 1_000,
        createAssistant: refuse,
        updateAssistant: refuse,
        getAssistant: refuse,
        deleteAssistant: refuse,
        listAssistants: async () => {
          asked.push(key.reveal());
          await slow.get(key.reveal());
          const reply = lists[key.reveal()] ?? UNAUTHORIZED;
          if (reply.kind === 'ok' && reply.value[0] !== undefined)
            given.onAccount(String(reply.value[0]['orgId']));
          return reply;
        },
      };
    },
    {
      log,
      meter: { count: () => {} },
      turn: async () => turns.left-- > 0,
      account: async (seen) => {
        if (database.away) return null;
        database.account ??= seen;
        return database.account;
      },
    },
  );
  return { keys, database, lists, asked, logged, turns, slow, hooks };
}

const next = new Secret('new-key');

describe('the first key', () => {
  test('is not used if it belongs to another account than the database', async () => {
    const { keys, database, logged, lists, asked } = start({
      'old-key': account('two'),
      'new-key': account('two'),
    });
    database.account = 'one';
    await keys.check();
    expect([keys.active, keys.voice]).toEqual([null, null]);
    expect(logged).toMatchObject([{ event: 'vapi.key_foreign' }]);
    await keys.check();
    expect(asked).toEqual(['old-key']);

    // Nor is another one of that account; one of the right account is.
    expect(await keys.rotate(next)).toBe('REFUSED');
    expect(keys.active).toBeNull();
    lists['new-key'] = account('one');
    expect(await keys.rotate(next)).toBe('ACTIVE');
    expect(keys.active).toBe(next);
  });

  test('binds a database without an account as soon as an assistant identifies the account', async () => {
    const { keys, database, asked, hooks } = start({ 'old-key': EMPTY });
    await keys.check();
    await keys.check();
    expect([database.account, asked]).toEqual([null, ['old-key']]);
    // A save makes an assistant.
    hooks.get('old-key')?.onAccount('one');
    await keys.check();
    expect(database.account).toBe('one');
    expect(keys.active).not.toBeNull();
  });

  test('sends nothing until it was compared, and never if it belongs to another account', async () => {
    const { keys, database, lists, asked } = start({ 'old-key': AWAY });
    const { voice } = keys;
    const withheld = { kind: 'not_sent', code: 'KEY_UNCHECKED' };
    const requests = () =>
      Promise.all([
        voice?.createAssistant({}),
        voice?.updateAssistant('a', {}),
        voice?.getAssistant('a'),
        voice?.deleteAssistant('a'),
        voice?.listAssistants({}),
      ]);
    database.account = 'one';
    const checking = keys.check();
    expect(await requests()).toEqual(Array(5).fill(withheld));
    await checking;
    database.away = true;
    lists['old-key'] = account('two');
    await keys.check();
    expect(keys.active).not.toBeNull();
    expect(await requests()).toEqual(Array(5).fill(withheld));
    database.away = false;
    await keys.check();
    expect(keys.active).toBeNull();
    expect(await requests()).toEqual(Array(5).fill(withheld));
    expect(asked).toEqual(['old-key', 'old-key']);
  });

  test.each<[string, Listed]>([
    ['of the right account', account('one')],
    ['of an account without an assistant', EMPTY],
    ['that Vapi refuses, so that saves say so', UNAUTHORIZED],
  ])('%s is let through once it was asked', async (_what, found) => {
    const { keys, database } = start({ 'old-key': found });
    database.account = 'one';
    await keys.check();
    expect(await keys.voice?.listAssistants({})).toEqual(found);
  });
});

describe('the next key', () => {
  test('of the same account becomes the active one', async () => {
    const { keys } = start({ 'old-key': account('one'), 'new-key': account('one') });
    const before = keys.voice;
    expect(await keys.rotate(next)).toBe('ACTIVE');
    expect(keys.active).toBe(next);
    expect(keys.voice).toBe(keys.voiceOf(next));
    expect(keys.voice).not.toBe(before);
  });

  test.each<[string, Listed, Listed, string]>([
    ['of another account', account('one'), account('two'), 'REFUSED'],
    ['that Vapi refuses', account('one'), UNAUTHORIZED, 'REFUSED'],
    ['of an account without an assistant', account('one'), EMPTY, 'UNDECIDED'],
    ['while Vapi is away', account('one'), AWAY, 'UNDECIDED'],
    ['while the active key reads nothing to compare', EMPTY, account('one'), 'UNDECIDED'],
    ['while the active key cannot be asked', AWAY, account('one'), 'UNDECIDED'],
    ['of two accounts without assistants', EMPTY, EMPTY, 'UNDECIDED'],
  ])('%s is not used', async (_what, old, found, rotation) => {
    const { keys } = start({ 'old-key': old, 'new-key': found });
    const { active, voice } = keys;
    expect(await keys.rotate(next)).toBe(rotation);
    expect(keys.active).toBe(active);
    expect(keys.voice).toBe(voice);
  });

  test('becomes active if the active key was revoked after its account was known', async () => {
    const { keys, lists } = start({ 'old-key': account('one'), 'new-key': account('one') });
    await keys.voice?.listAssistants({});
    lists['old-key'] = UNAUTHORIZED;
    expect(await keys.rotate(next)).toBe('ACTIVE');
  });

  test('is checked each time: a key that was revoked since is not used', async () => {
    const { keys, lists } = start({ 'old-key': AWAY, 'new-key': account('one') });
    expect(await keys.rotate(next)).toBe('UNDECIDED');
    lists['old-key'] = account('one');
    lists['new-key'] = UNAUTHORIZED;
    expect(await keys.rotate(next)).toBe('REFUSED');
    lists['new-key'] = AWAY;
    expect(await keys.rotate(next)).not.toBe('ACTIVE');
  });

  test('that is active already changes nothing and sends nothing', async () => {
    const { keys, asked } = start({ 'old-key': account('one') });
    const { active } = keys;
    expect(await keys.rotate(new Secret('old-key'))).toBe('ACTIVE');
    expect(keys.active).toBe(active);
    expect(asked).toEqual([]);
  });

  test('is undecided if there is no active key and no known account', async () => {
    const { keys } = start({ 'new-key': account('one') }, null);
    expect(keys.voice).toBeNull();
    expect(await keys.rotate(next)).toBe('UNDECIDED');
    expect(keys.active).toBeNull();
  });

  test('leaves the provider of the old key to saves that began with it', async () => {
    const { keys } = start({ 'old-key': account('one'), 'new-key': account('one') });
    const old = keys.active;
    const voice = keys.voice;
    await keys.rotate(next);
    expect(old && keys.voiceOf(old)).toBe(voice);
  });

  test('is the later one of two concurrent rotations, however long the earlier one takes', async () => {
    const one = account('one');
    const { keys, slow } = start({ 'old-key': one, 'new-key': one, 'newer-key': one });
    const { promise, resolve } = Promise.withResolvers<void>();
    slow.set('new-key', promise);
    const newer = new Secret('newer-key');
    const both = [keys.rotate(next), keys.rotate(newer)];
    setTimeout(resolve, 10);
    expect(await Promise.all(both)).toEqual(['ACTIVE', 'ACTIVE']);
    expect(keys.active).toBe(newer);
  });

  test('takes a turn for each read; without one, nothing is sent and nothing is decided', async () => {
    const { keys, asked, turns } = start({ 'old-key': account('one'), 'new-key': account('one') });
    turns.left = 0;
    expect(await keys.rotate(next)).toBe('UNDECIDED');
    expect(asked).toEqual([]);
    turns.left = 1;
    expect(await keys.rotate(next)).toBe('UNDECIDED');
    expect(asked).toEqual(['old-key']);
    turns.left = 1;
    expect(await keys.rotate(next)).toBe('ACTIVE');
  });

  test('is logged once for the same verdict, and again for another verdict', async () => {
    const { keys, lists, logged } = start({ 'old-key': EMPTY, 'new-key': EMPTY });
    for (let round = 0; round < 5; round += 1) expect(await keys.rotate(next)).toBe('UNDECIDED');
    expect(logged).toHaveLength(1);
    lists['new-key'] = AWAY;
    for (let round = 0; round < 5; round += 1) expect(await keys.rotate(next)).toBe('UNDECIDED');
    expect(logged).toHaveLength(2);
    expect(await keys.rotate(new Secret('other-key'))).toBe('REFUSED');
    expect(logged).toHaveLength(3);
  });

  test('tells the provider of the old key that it is not active any more', async () => {
    const { keys, hooks } = start({ 'old-key': account('one'), 'new-key': account('one') });
    await keys.rotate(next);
    expect([...hooks].map(([key, { isActive }]) => [key, isActive()])).toEqual([
      ['old-key', false],
      ['new-key', true],
    ]);
  });

  test('is logged by its fingerprint, never by its value', async () => {
    const { keys, logged } = start({ 'old-key': account('one'), 'new-key': account('two') });
    await keys.rotate(next);
    expect(logged).toMatchObject([{ event: 'vapi.key_not_rotated', next: next.fingerprint() }]);
    expect(JSON.stringify(logged)).not.toMatch(/old-key|new-key/);
  });
});

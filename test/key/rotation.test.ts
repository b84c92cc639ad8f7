/** Rotation of the master key without downtime, a key of another account, and a key that is revoked and restored. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { GraphQLClient } from 'graphql-request';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Secret } from '../../src/domain/secret.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import { CANARY_KEY, createTestApp, type TestApp } from '../support/app.ts';
import { gate } from '../support/gate.ts';
import { expectAnswer, type SaveInput, save } from '../support/operations.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';
import { expectLockstep } from '../support/systems.ts';

const NEXT_KEY = 'canary-2b7d4e10-next-key-9f5a';
const WRONG_KEY = 'canary-c4d8a6f3-wrong-account-71e2';
const OTHER_ACCOUNT = '99999999-9999-4999-8999-999999999999';
const BREAKER = { failures: 1_000, openMs: 0, keyRefusals: 2, keyRetryMs: 200 };
const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});

let supabase: TestSupabase;
let vapi: VapiStandIn;
let lockstep: TestApp;
beforeAll(async () => {
  supabase = await createTestSupabase();
  vapi = await startVapiStandIn({ key: CANARY_KEY });
});
afterAll(async () => {
  await vapi?.stop();
  await supabase?.stop();
});
beforeEach(async () => {
  vapi.reset();
  vapi.setKeys([
    { key: CANARY_KEY, name: 'old' },
    { key: NEXT_KEY, name: 'next' },
    { key: WRONG_KEY, name: 'wrong', orgId: OTHER_ACCOUNT },
  ]);
  lockstep = await createTestApp({ supabase, vapi, config: { breaker: BREAKER } });
});
afterEach(() => lockstep.stop());

/** The keys of all writes to assistants so far. */
const writers = () => vapi.requests.filter(({ method }) => method !== 'GET').map(({ key }) => key);

describe('rotation', () => {
  test('needs no downtime: a save in progress ends with the old key, and the next save uses the new key', async () => {
    const [one, two] = [await lockstep.newCaller(), await lockstep.newCaller()];
    expectAnswer(await save(one.client, both('before')), 'UpdateAgentsSuccess');
    const middle = gate();
    vapi.faults.add({ kind: 'hold', match: { bodyIncludes: 'Outbound, during' }, until: middle.until });
    const inFlight = save(one.client, both('during'));
    await middle.reached;

    expect(await lockstep.app.rotateKey(new Secret(NEXT_KEY))).toBe('ACTIVE');
    expectAnswer(await save(two.client, both('after')), 'UpdateAgentsSuccess');
    middle.open();
    expectAnswer(await inFlight, 'UpdateAgentsSuccess');
    expect(writers()).toEqual(['old', 'old', 'old', 'old', 'next', 'next']);
    await expectLockstep(lockstep, one.orgId);
    await expectLockstep(lockstep, two.orgId);

    // The old key can be revoked now.
    vapi.revokeKey(CANARY_KEY);
    expectAnswer(await save(one.client, both('later')), 'UpdateAgentsSuccess');
    expect(await lockstep.app.recover()).toEqual({ taken: 0, finished: 0 });
    expect((await lockstep.app.sweep())?.stopped).toBeNull();
  });

  test('recovery continues with the next key if the old one was revoked during a save', async () => {
    const caller = await lockstep.newCaller();
    expectAnswer(await save(caller.client, both('before')), 'UpdateAgentsSuccess');
    vapi.faults.add({
      kind: 'status-before',
      status: 401,
      times: 20,
      match: { bodyIncludes: 'Inbound, before' },
    });
    vapi.faults.add({ kind: 'reject', match: { bodyIncludes: 'Outbound, bad' }, messages: ['no'] });
    expectAnswer(await save(caller.client, both('bad')), 'SavePendingError');
    vapi.faults.clear();
    vapi.setKeys([{ key: NEXT_KEY, name: 'next' }]);
    expect(await lockstep.app.rotateKey(new Secret(NEXT_KEY))).toBe('ACTIVE');
    await expect.poll(() => lockstep.app.recover(), { timeout: 120_000 }).toEqual({ taken: 1, finished: 1 });
    expect(writers().at(-1)).toBe('next');
    const { agents } = await expectLockstep(lockstep, caller.orgId);
    expect(agents).toMatchObject([{ config: { systemPrompt: 'Inbound, before' } }, {}]);
  });

  test('refuses a key of another account before using it', async () => {
    const caller = await lockstep.newCaller();
    expectAnswer(await save(caller.client, both('before')), 'UpdateAgentsSuccess');
    await somebodyElses();
    const before = vapi.store.all();
    expect(await lockstep.app.rotateKey(new Secret(WRONG_KEY))).toBe('REFUSED');
    expect(vapi.store.all()).toEqual(before);
    const asked = vapi.requests.filter(({ key, userAgent }) => key === 'wrong' && userAgent !== 'test');
    expect(asked.map(({ method, path, query }) => `${method} ${path}?${query}`)).toEqual([
      'GET /assistant?limit=1',
    ]);
    expectAnswer(await save(caller.client, both('after')), 'UpdateAgentsSuccess');
    expect(writers().at(-1)).toBe('old');
    expect(lockstep.log.join('')).toMatch(/vapi\.key_not_rotated/);
    expect(await metrics()).toMatch(/event="vapi.key_not_rotated"} 1/);
  });

  test('activates a key of unknown account as soon as it can identify the account', async () => {
    await lockstep.stop();
    vapi.revokeKey(NEXT_KEY);
    lockstep = await createTestApp({
      supabase,
      vapi,
      recoveryIntervalMs: 3_600_000,
      config: {
        breaker: BREAKER,
        vapi: { baseUrl: vapi.url, key: new Secret(CANARY_KEY), nextKey: new Secret(NEXT_KEY) },
      },
    });
    // No assistant exists yet, so the accounts cannot be distinguished.
    vapi.setKeys([
      { key: CANARY_KEY, name: 'old' },
      { key: NEXT_KEY, name: 'next' },
    ]);
    const caller = await lockstep.newCaller();
    expectAnswer(await save(caller.client, both('first')), 'UpdateAgentsSuccess');
    expect(new Set(writers())).toEqual(new Set(['old']));
    await expect.poll(metrics, { timeout: 120_000 }).toMatch(/event="vapi.key_rotated"} 1/);
    expectAnswer(await save(caller.client, both('second')), 'UpdateAgentsSuccess');
    expect(writers().at(-1)).toBe('next');
  });
});

describe('the only key', () => {
  test('is not used if it belongs to another account than the database; nothing changes, and the log reports it', async () => {
    const caller = await lockstep.newCaller();
    expectAnswer(await save(caller.client, both('before')), 'UpdateAgentsSuccess');
    await lockstep.app.checkKey();
    await lockstep.stop();
    await somebodyElses();
    const before = vapi.store.all();
    const sent = vapi.requests.length;

    lockstep = await createTestApp({ supabase, vapi, vapiKey: WRONG_KEY, config: { breaker: BREAKER } });
    await lockstep.app.checkKey();
    const client = lockstep.clientFor(caller.token);
    for (const recreateIfMissing of [false, true]) {
      const input = { inbound: { systemPrompt: 'With the key of a test account', recreateIfMissing } };
      expectAnswer(await save(client, input), 'VoiceProviderNotConfiguredError');
    }
    expect([await lockstep.app.recover(), await lockstep.app.sweep()]).toEqual([null, null]);
    expect(vapi.requests.slice(sent).map(({ method, query }) => `${method} ${query}`)).toEqual([
      'GET limit=1',
    ]);
    expect(vapi.store.all()).toEqual(before);
    expect(lockstep.log.join('')).toContain('vapi.key_foreign');
    expect(await metrics()).toMatch(/event="vapi.key_foreign"} 1/);
    const { agents } = await expectLockstep(lockstep, caller.orgId);
    expect(agents).toMatchObject([{ revision: 1 }, { revision: 1 }]);

    // The right key works without a restart.
    expect(await lockstep.app.rotateKey(new Secret(CANARY_KEY))).toBe('ACTIVE');
    expectAnswer(await save(client, both('after')), 'UpdateAgentsSuccess');
    expect(writers().at(-1)).toBe('old');
  });
});

describe('a key that Vapi refuses', () => {
  test('makes saves fail at once without changes, sends nothing more to Vapi, is logged, and works again by itself', async () => {
    const [one, two] = [await lockstep.newCaller(), await lockstep.newCaller()];
    expectAnswer(await save(one.client, both('before')), 'UpdateAgentsSuccess');
    vapi.setKeys([]);
    for (const [attempt, caller] of [one, two, one, two, one].entries()) {
      const answer = expectAnswer(await save(caller.client, both('revoked')), 'SaveFailedError');
      expect(answer).toMatchObject({ reason: 'VAPI_UNAUTHORIZED', save: { status: 'ROLLED_BACK' } });
      expect(answer.save.results.map(({ vapiSynced }) => vapiSynced)).toEqual([false, false]);
      // The refusals of the first save, and the read after them.
      if (attempt === 0) await expect.poll(metrics).toMatch(/event="vapi.key_refused"} 1/);
    }
    // The two writes of the first save. Since then only occasional reads.
    expect(vapi.requests.filter(({ status, method }) => status === 401 && method !== 'GET')).toHaveLength(2);
    expect(await metrics()).toMatch(/event="vapi.key_refused"} 1/);
    expect(lockstep.log.join('')).toContain(`"key":"${new Secret(CANARY_KEY).fingerprint()}"`);
    await expectLockstep(lockstep, one.orgId);

    vapi.setKeys([{ key: CANARY_KEY, name: 'old' }]);
    await expect.poll(() => lockstep.log.join(''), { timeout: 120_000 }).toContain('vapi.key_accepted');
    expectAnswer(await save(two.client, both('again')), 'UpdateAgentsSuccess');
    const { agents } = await expectLockstep(lockstep, one.orgId);
    expect(agents).toMatchObject([{ revision: 1 }, { revision: 1 }]);
  });
});

describe('the process', () => {
  let child: ChildProcess | undefined;
  let folder: string | undefined;
  afterEach(async () => {
    child?.kill('SIGKILL');
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  test('reads its key files again on SIGHUP: a next key that is late, wrong, right, already active, and missing', async () => {
    folder = await mkdtemp(join(tmpdir(), 'lockstep-key-'));
    const [file, nextFile] = [join(folder, 'key'), join(folder, 'next')];
    await writeFile(file, `${CANARY_KEY}\n`);
    child = spawn(process.execPath, [resolve(import.meta.dirname, '../../src/main.ts')], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        PATH: process.env['PATH'],
        PORT: '0',
        SUPABASE_URL: supabase.url,
        SUPABASE_PUBLISHABLE_KEY: supabase.publishableKey,
        SUPABASE_SECRET_KEY: supabase.secretKey,
        SUPABASE_JWT_SECRET: supabase.jwtSecret,
        VAPI_BASE_URL: vapi.url,
        VAPI_PRIVATE_KEY_FILE: file,
        VAPI_PRIVATE_KEY_NEXT_FILE: nextFile,
      },
    });
    const running = child;
    const seen: Record<string, unknown>[] = [];
    createInterface({ input: running.stdout ?? expect.fail() }).on('line', (line) =>
      seen.push(JSON.parse(line)),
    );
    const read = () => seen.filter(({ msg }) => msg === 'a key was read').map(({ rotation }) => rotation);
    const listening = () => seen.find(({ msg }) => msg === 'listening');
    await expect.poll(listening, { timeout: 120_000 }).toBeDefined();
    const { token } = await lockstep.newCaller();
    const client = new GraphQLClient(`${listening()?.['url']}/graphql`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const writer = async (what: string) => {
      expectAnswer(await save(client, both(what)), 'UpdateAgentsSuccess');
      return writers().at(-1);
    };
    const hangUp = async (rotations: string[]) => {
      running.kill('SIGHUP');
      await expect.poll(read, { timeout: 120_000 }).toEqual(rotations);
    };

    expect(await writer('before')).toBe('old');
    await somebodyElses();
    await writeFile(nextFile, WRONG_KEY);
    await hangUp(['REFUSED']);
    expect(await writer('a wrong one')).toBe('old');
    await writeFile(nextFile, NEXT_KEY);
    await hangUp(['REFUSED', 'ACTIVE']);
    expect(await writer('the right one')).toBe('next');
    await hangUp(['REFUSED', 'ACTIVE', 'ACTIVE']);
    expect(await writer('the same again')).toBe('next');
    expect(seen.filter(({ event }) => event === 'vapi.key_rotated')).toHaveLength(1);

    // An empty file, or a key that is too short to redact, does not replace the working key.
    await rm(nextFile);
    for (const [index, content] of ['', 'shorter'].entries()) {
      await writeFile(file, content);
      running.kill('SIGHUP');
      const unread = () => seen.filter(({ msg }) => msg === 'no key could be read').length;
      await expect.poll(unread, { timeout: 120_000 }).toBe(index + 1);
    }
    expect(await writer('still')).toBe('next');
    // Back to the first file, because it is the only one left.
    await writeFile(file, CANARY_KEY);
    await hangUp(['REFUSED', 'ACTIVE', 'ACTIVE', 'ACTIVE']);
    expect(await writer('back')).toBe('old');
    expect(JSON.stringify(seen)).not.toMatch(/canary-|shorter/);
  });
});

/** An assistant that identifies the other account. */
async function somebodyElses(): Promise<void> {
  await fetch(`${vapi.url}/assistant`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${WRONG_KEY}`,
      'user-agent': 'test',
      'content-type': 'application/json',
    },
    body: '{"name":"Somebody else’s"}',
  });
}

async function metrics(): Promise<string> {
  return (await fetch(`${lockstep.origin}/metrics`)).text();
}

/** A save that Vapi does not let us undo: shown, locked, and ended by a person once both systems can be equal again. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { createRpcVapiAccount } from '../../src/adapters/supabase/rpc-vapi-account.ts';
import { createVoiceProvider } from '../../src/adapters/vapi/got-voice-provider.ts';
import { type AgentConfig, type AgentRole, defaultConfig } from '../../src/domain/agents/agent-config.ts';
import { Secret } from '../../src/domain/secret.ts';
import type { JsonObject } from '../../src/local/vapi/assistant-store.ts';
import { DEFAULT_VAPI_ORG_ID } from '../../src/local/vapi/server.ts';
import type { BeginUpdate } from '../../src/ports/agents/save-journal.ts';
import { MAPPING_VERSION, renderAssistant } from '../../src/services/agents/render.ts';
import { lateTimeMs, type SagaSettings } from '../../src/services/saga/settings.ts';
import { type Settlement, settleSaga } from '../../src/services/saga/settle.ts';
import { SAGA_KINDS } from '../../src/services/saga-kinds.ts';
import { CANARY_KEY, type Caller, createTestApp, supabaseConfig, type TestApp } from '../support/app.ts';
import { both, prompt, saveWhenFree, strike } from '../support/faulty.ts';
import { type AgentSave, expectAnswer, readAgents, readSave, save } from '../support/operations.ts';
import { expectLockstep, systemsOf } from '../support/systems.ts';

const SETTINGS: SagaSettings = {
  requestTimeoutMs: 500,
  lateMs: 200,
  leaseMs: 3_000,
  deadlineMs: 6_000,
  answerMs: 2_500,
};

let lockstep: TestApp;
let caller: Caller;
let orgId: string;
beforeAll(async () => {
  lockstep = await createTestApp({ settings: SETTINGS });
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  caller = await lockstep.newCaller();
  orgId = caller.orgId;
});

/** Outbound is rejected, and Vapi does not take inbound's old configuration back. */
async function needsAttention(): Promise<AgentSave> {
  expectAnswer(await save(caller.client, both(orgId, 'old')), 'UpdateAgentsSuccess');
  // As a server does on its timer: now there are assistants to tell the account by.
  await lockstep.app.checkKey();
  strike(lockstep.vapi, { kind: 'reject', messages: ['no'] }, orgId, 'Outbound', 'new');
  strike(lockstep.vapi, { kind: 'reject', messages: ['that voice is gone'] }, orgId, 'Inbound', 'old');
  const told = expectAnswer(await save(caller.client, both(orgId, 'new')), 'SavePendingError');
  expect(told.save.status).toBe('NEEDS_ATTENTION');
  return told.save;
}

/** As an operator, or `npm run settle`, does it. */
function settle(
  saveId: string,
  status: 'COMMITTED' | 'ROLLED_BACK',
  { of = orgId, key = CANARY_KEY }: { of?: string; key?: string } = {},
): Promise<Settlement> {
  const voice = createVoiceProvider(new Secret(key), {
    baseUrl: lockstep.vapi.url,
    timeoutMs: SETTINGS.requestTimeoutMs,
    log: { debug() {}, info() {}, warn() {}, error() {}, child: () => ({}) as never },
  });
  const client = createServiceClient(supabaseConfig(lockstep.supabase));
  const account = () => createRpcVapiAccount(client)('');
  const ports = { journal: createRpcJournal(client), voice, kinds: SAGA_KINDS, settings: SETTINGS, account };
  return settleSaga(ports, of, saveId, status);
}

const idOf = async (role: 'INBOUND' | 'OUTBOUND') =>
  (await systemsOf(lockstep, orgId)).agents.find((agent) => agent.role === role)?.vapi_assistant_id ?? '';

/** What a person does in the Vapi dashboard, who sees no metadata there. */
async function putByHand(role: 'INBOUND' | 'OUTBOUND', content: string): Promise<void> {
  const id = await idOf(role);
  const model = lockstep.vapi.store.get(DEFAULT_VAPI_ORG_ID, id)?.['model'];
  const side = role === 'INBOUND' ? 'Inbound' : 'Outbound';
  const messages = [{ role: 'system', content: prompt(orgId, side, content) }];
  lockstep.vapi.dashboardEdit(id, { model: { ...(model as JsonObject), messages } });
}

describe('a save that needs attention', () => {
  test('is shown, counted and logged, and locks its organization until an operator ends it', async () => {
    const { id } = await needsAttention();
    const events = lockstep.log.filter((line) => line.includes('"event":"save.needs_attention"'));
    expect(events.map((line) => JSON.parse(line))).toMatchObject([{ saveId: id, orgId }]);
    const metrics = await (await fetch(`${lockstep.origin}/metrics`)).text();
    expect(metrics).toContain('event="save.needs_attention"} 1');

    const before = await systemsOf(lockstep, orgId);
    await lockstep.supabase.sql`
      update public.sagas set started_at = started_at - interval '1 day', deadline_at = now() - interval '1 day'
      where id = ${id}`;
    expect(await lockstep.app.recover()).toEqual({ taken: 0, finished: 0 });
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 0, repaired: 0, orphansDeleted: 0 });
    expect(await systemsOf(lockstep, orgId)).toEqual(before);
    expect(await readSave(caller.client, id)).toMatchObject({ status: 'NEEDS_ATTENTION', finishedAt: null });
    expect(await readAgents(caller.client)).toMatchObject({
      INBOUND: { systemPrompt: prompt(orgId, 'Inbound', 'old'), sync: { status: 'NEEDS_ATTENTION' } },
      OUTBOUND: { sync: { status: 'NEEDS_ATTENTION' } },
    });
    expect(await save(caller.client, both(orgId, 'next'))).toMatchObject({
      __typename: 'SaveInProgressError',
      saveId: id,
      status: 'NEEDS_ATTENTION',
      retryAfterMs: null,
    });
  });

  test.for([
    ['ROLLED_BACK', 'old', { INBOUND: 'model.messages' }],
    ['COMMITTED', 'new', { OUTBOUND: 'model.messages' }],
  ] as const)(
    '%s: refused while Vapi holds other content, done when it holds the %s content',
    async ([status, content, differing]) => {
      const { id } = await needsAttention();
      const before = await systemsOf(lockstep, orgId);
      const [role, path] = Object.entries(differing)[0] as ['INBOUND' | 'OUTBOUND', string];
      expect(await settle(id, status)).toEqual({
        outcome: 'NOT_SETTLED',
        reasons: [expect.stringContaining(`${role}: Vapi holds other content at ${path}`)],
      });
      expect(await systemsOf(lockstep, orgId)).toEqual(before);
      expect(await readSave(caller.client, id)).toMatchObject({ status: 'NEEDS_ATTENTION' });

      await putByHand(role, content);
      expect(await settle(id, status)).toMatchObject({ outcome: status, saga: { id, status } });
      const closed = await readSave(caller.client, id);
      const committed = status === 'COMMITTED';
      expect(closed).toMatchObject({
        status,
        finishedAt: expect.any(String),
        results: [
          { success: committed, vapiSynced: committed, dbUpdated: committed },
          { success: committed, vapiSynced: committed, dbUpdated: committed },
        ],
      });
      // The fence, then the organization is free again.
      const refused = expectAnswer(await save(caller.client, both(orgId, 'next')), 'SaveInProgressError');
      expect(refused).toMatchObject({ saveId: id, status });
      expect(refused.retryAfterMs).toBeLessThanOrEqual(lateTimeMs(SETTINGS));
      // What a hand has written carries the stamp of another save: the sweep writes it once more, as a save.
      await expect
        .poll(async () => (await lockstep.app.sweep())?.repaired, { timeout: 120_000, interval: 100 })
        .toBe(1);
      const { agents } = await expectLockstep(lockstep, orgId);
      expect(agents.map(({ config }) => config.systemPrompt)).toEqual([
        prompt(orgId, 'Inbound', content),
        prompt(orgId, 'Outbound', content),
      ]);
      await saveWhenFree(caller, both(orgId, 'next'));
      await expectLockstep(lockstep, orgId);
    },
  );

  test('a deleted assistant needs no undo: the save closes, and the agent is missing', async () => {
    const { id } = await needsAttention();
    lockstep.vapi.dashboardDelete(await idOf('INBOUND'));
    expect(await settle(id, 'COMMITTED')).toMatchObject({ outcome: 'NOT_SETTLED' });
    expect(await settle(id, 'ROLLED_BACK')).toMatchObject({ outcome: 'ROLLED_BACK' });
    expect(await readAgents(caller.client)).toMatchObject({
      INBOUND: { revision: 1, sync: { status: 'MISSING' } },
      OUTBOUND: { revision: 1, sync: { status: 'IN_SYNC' } },
    });
    const input = both(orgId, 'next');
    await saveWhenFree(caller, { ...input, inbound: { ...input.inbound, recreateIfMissing: true } });
    await expectLockstep(lockstep, orgId);
  });

  test('of a creation: refused while its assistant exists, done when that is deleted', async () => {
    strike(lockstep.vapi, { kind: 'reject', messages: ['no'] }, orgId, 'Outbound', 'new');
    lockstep.vapi.faults.add({ kind: 'reject', match: { method: 'DELETE' }, messages: ['in use'] });
    const told = expectAnswer(await save(caller.client, both(orgId, 'new')), 'SavePendingError');
    expect(told.save.status).toBe('NEEDS_ATTENTION');
    expect(await settle(told.save.id, 'ROLLED_BACK')).toEqual({
      outcome: 'NOT_SETTLED',
      reasons: [expect.stringContaining('INBOUND: what this save created still exists in Vapi')],
    });
    lockstep.vapi.dashboardDelete(told.save.results[0]?.assistantId ?? '');
    // Nothing is there now by which the account could be told from another one.
    expect(await settle(told.save.id, 'ROLLED_BACK')).toEqual({
      outcome: 'NOT_SETTLED',
      reasons: [expect.stringContaining('no assistant at all')],
    });
    lockstep.vapi.store.create(DEFAULT_VAPI_ORG_ID, { name: 'somebody else' });
    expect(await settle(told.save.id, 'ROLLED_BACK')).toMatchObject({ outcome: 'ROLLED_BACK' });
    expect(await expectLockstep(lockstep, orgId)).toMatchObject({ agents: [], assistants: [] });
    await saveWhenFree(caller, both(orgId, 'next'));
    await expectLockstep(lockstep, orgId);
  });

  test('is not settled if Vapi cannot be read', async () => {
    const { id } = await needsAttention();
    for (const status of ['COMMITTED', 'ROLLED_BACK'] as const) {
      expect(await settle(id, status, { key: 'wrong' })).toEqual({
        outcome: 'NOT_SETTLED',
        reasons: [expect.stringContaining('unauthorized')],
      });
    }
    lockstep.vapi.faults.add({
      ...{ kind: 'status-before', status: 500, times: Infinity },
      match: { method: 'GET', path: new RegExp(`^/assistant/${await idOf('INBOUND')}`) },
    });
    expect(await settle(id, 'ROLLED_BACK')).toEqual({
      outcome: 'NOT_SETTLED',
      reasons: ['INBOUND: Vapi could not be asked (unknown)'],
    });
    expect(await readSave(caller.client, id)).toMatchObject({ status: 'NEEDS_ATTENTION' });
  });

  test('is not settled with the key of another Vapi account, in which everything looks deleted', async () => {
    const { id } = await needsAttention();
    const key = 'a-key-of-the-staging-account';
    const staging = randomUUID();
    lockstep.vapi.setKeys([{ key: CANARY_KEY }, { key, orgId: staging }]);
    for (const why of ['no assistant at all', 'another Vapi account']) {
      expect(await settle(id, 'ROLLED_BACK', { key })).toEqual({
        outcome: 'NOT_SETTLED',
        reasons: [expect.stringContaining(why)],
      });
      lockstep.vapi.store.create(staging, { name: 'a trial' });
    }
    expect(await readSave(caller.client, id)).toMatchObject({ status: 'NEEDS_ATTENTION' });
    expect(await readAgents(caller.client)).toMatchObject({
      INBOUND: { sync: { status: 'NEEDS_ATTENTION' } },
    });
    // Nor is it told whose the database is by an operator's key, where no server has seen it yet.
    await lockstep.supabase.sql`update lockstep.deployment set vapi_org_id = null`;
    for (const one of [key, CANARY_KEY]) {
      expect(await settle(id, 'ROLLED_BACK', { key: one })).toMatchObject({
        outcome: 'NOT_SETTLED',
        reasons: [expect.stringContaining('start the server')],
      });
    }
    await lockstep.supabase.sql`update lockstep.deployment set vapi_org_id = ${DEFAULT_VAPI_ORG_ID}`;
    lockstep.vapi.setKeys([{ key: CANARY_KEY }]);
  });

  test('is settled once, also by concurrent calls', async () => {
    const { id } = await needsAttention();
    await putByHand('INBOUND', 'old');
    const all = await Promise.all(Array.from({ length: 4 }, () => settle(id, 'ROLLED_BACK')));
    expect(all.some(({ outcome }) => outcome === 'ROLLED_BACK')).toBe(true);
    expect(await settle(id, 'ROLLED_BACK')).toEqual({
      outcome: 'NOT_SETTLED',
      reasons: [expect.stringContaining('ROLLED_BACK: there is nothing to settle')],
    });
    expect(await settle(id, 'COMMITTED')).toMatchObject({ outcome: 'NOT_SETTLED' });
    expect(await readSave(caller.client, id)).toMatchObject({ status: 'ROLLED_BACK' });
  });
});

describe('an open save that recovery does not end', () => {
  const journal = () => createRpcJournal(createServiceClient(supabaseConfig(lockstep.supabase)));
  const update = (role: AgentRole, what: string): BeginUpdate => ({
    ...{ role, agentId: null, newAgentId: randomUUID(), expectedRevision: null, recreateIfMissing: false },
    patch: { systemPrompt: prompt(orgId, role === 'INBOUND' ? 'Inbound' : 'Outbound', what) },
    defaults: defaultConfig(role),
  });

  /** As by a server that has died since: nothing was sent. */
  async function begin(leaseMs: number) {
    const begun = await journal().begin(orgId, randomUUID(), 'a server that died', {
      ...{ idempotencyKey: null, requestHash: 'h', cause: 'USER', actor: null, leaseMs, deadlineMs: 600_000 },
      mappingVersion: MAPPING_VERSION,
      updates: [update('INBOUND', 'new'), update('OUTBOUND', 'new')],
    });
    if (begun.outcome !== 'BEGUN') throw new Error(`it is ${begun.outcome}`);
    return begun;
  }
  const times = (saveId: string) => lockstep.supabase.sql`
    update public.sagas set lease_until = least(lease_until, now()), quarantine_until = least(quarantine_until, now())
    where id = ${saveId}`;
  const statusOf = async (saveId: string) => (await readSave(caller.client, saveId))?.status;

  async function old(): Promise<void> {
    expectAnswer(await save(caller.client, both(orgId, 'old')), 'UpdateAgentsSuccess');
    await lockstep.app.checkKey();
  }

  test.for(['APPLYING', 'ROLLING_BACK'] as const)(
    '%s: is first taken over, and ends when no request can be under way',
    async (status) => {
      await old();
      const { id, results } = (await begin(60_000)).saga;
      const ref = { orgId, sagaId: id, epoch: 1 };
      const failure = { reason: 'VAPI_REJECTED', message: 'no', retryable: false } as const;
      const rest = { results, missing: [], ambiguous: false, lateMs: 0 };
      if (status === 'ROLLING_BACK')
        await journal().abort(ref, { ...rest, failure, leaseMs: 60_000, nothingApplied: false });

      const alive = await settle(id, 'ROLLED_BACK');
      expect(alive).toMatchObject({
        outcome: 'NOT_SETTLED',
        reasons: [expect.stringMatching(/^a server is working on this save .*; try again in (60|5\d) s$/)],
      });
      expect('retryAfterMs' in alive && alive.retryAfterMs).toBeLessThanOrEqual(60_000);
      expect(await statusOf(id)).toBe(status);
      await times(id);

      // Nothing is taken from recovery with a key that cannot end it.
      expect(await settle(id, 'ROLLED_BACK', { key: 'wrong' })).toMatchObject({ outcome: 'NOT_SETTLED' });
      expect(await statusOf(id)).toBe(status);

      expect(await settle(id, 'ROLLED_BACK')).toEqual({
        outcome: 'NOT_SETTLED',
        reasons: [expect.stringContaining('may still be applied; try again in 1 s')],
        retryAfterMs: lateTimeMs(SETTINGS),
      });
      expect(await statusOf(id)).toBe('NEEDS_ATTENTION');
      expect(await journal().commit(ref, { parts: [], ambiguous: false, lateMs: 0 })).toMatchObject({
        outcome: 'STALE',
      });
      expect(
        await journal().hold(ref, { results, ambiguous: false, quarantineMs: 0, lookAfterMs: 0 }),
      ).toMatchObject({
        outcome: 'STALE',
      });
      await times(id);
      expect(await lockstep.app.recover()).toEqual({ taken: 0, finished: 0 });

      expect(await settle(id, 'COMMITTED')).toMatchObject({
        outcome: 'NOT_SETTLED',
        reasons: [expect.stringContaining('INBOUND: Vapi holds other content'), expect.anything()],
      });
      expect(await settle(id, 'ROLLED_BACK')).toMatchObject({ outcome: 'ROLLED_BACK', saga: { id } });
      await saveWhenFree(caller, both(orgId, 'next'));
      await expectLockstep(lockstep, orgId);
    },
  );

  test('of a creation: finds its assistant by the stamp, and keeps or refuses it', async () => {
    const { saga: begun, images, deployment } = await begin(0);
    const made = images.map((image) => {
      const of = {
        deployment,
        orgId,
        agentId: image.resourceId,
        role: image.key as AgentRole,
        saveId: begun.id,
        revision: 1,
      };
      const document = renderAssistant(
        begun.mappingVersion,
        image.after.content as unknown as AgentConfig,
        of,
        image.after.context,
      );
      return lockstep.vapi.store.create(DEFAULT_VAPI_ORG_ID, document as never).id;
    });
    const twin = lockstep.vapi.store.create(
      DEFAULT_VAPI_ORG_ID,
      lockstep.vapi.store.get(DEFAULT_VAPI_ORG_ID, made[0] ?? '') as never,
    ).id;
    await lockstep.app.checkKey();
    expect(await settle(begun.id, 'COMMITTED')).toMatchObject({ retryAfterMs: expect.any(Number) });
    await times(begun.id);
    expect(await settle(begun.id, 'COMMITTED')).toEqual({
      outcome: 'NOT_SETTLED',
      reasons: [
        expect.stringMatching(/^INBOUND: this save created more than one resource; delete all but one of /),
      ],
    });
    lockstep.vapi.dashboardDelete(twin);
    expect(await settle(begun.id, 'ROLLED_BACK')).toMatchObject({
      reasons: [expect.stringContaining('still exists'), expect.stringContaining('still exists')],
    });
    expect(await settle(begun.id, 'COMMITTED')).toMatchObject({ outcome: 'COMMITTED' });
    const { agents } = await expectLockstep(lockstep, orgId);
    expect(agents.map(({ vapi_assistant_id }) => vapi_assistant_id)).toEqual(made);
  });
});

test('refuses a save that does not exist, is closed, or belongs to another organization', async () => {
  const { id } = await needsAttention();
  const stranger = await lockstep.newCaller();
  for (const [of, saveId] of [
    [orgId, randomUUID()],
    [stranger.orgId, id],
  ] as const) {
    expect(await settle(saveId, 'ROLLED_BACK', { of })).toEqual({
      outcome: 'NOT_SETTLED',
      reasons: ['there is no such save'],
    });
  }
  const other = expectAnswer(await save(stranger.client, both(stranger.orgId, 'new')), 'UpdateAgentsSuccess');
  for (const status of ['COMMITTED', 'ROLLED_BACK'] as const) {
    expect(await settle(other.save.id, status, { of: stranger.orgId })).toMatchObject({
      outcome: 'NOT_SETTLED',
      reasons: [expect.stringContaining('the save is COMMITTED')],
    });
  }
});

describe('npm run settle', () => {
  const script = resolve(import.meta.dirname, '..', '..', 'scripts', 'settle-save.ts');
  function run(
    args: string[],
    environment: Record<string, string>,
  ): Promise<{ code: number; out: string; err: string }> {
    const child = spawn(process.execPath, [script, ...args], {
      env: { PATH: process.env['PATH'], ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString();
    });
    return new Promise((done, fail) => {
      child.once('error', fail);
      child.once('close', (code) => done({ code: code ?? -1, out, err }));
    });
  }
  const environment = () => ({
    SUPABASE_URL: lockstep.supabase.url,
    SUPABASE_PUBLISHABLE_KEY: lockstep.supabase.publishableKey,
    SUPABASE_SECRET_KEY: lockstep.supabase.secretKey,
    SUPABASE_JWT_SECRET: lockstep.supabase.jwtSecret,
    VAPI_BASE_URL: lockstep.vapi.url,
    VAPI_PRIVATE_KEY: CANARY_KEY,
    LOG_LEVEL: 'trace',
  });

  test('names the fields that differ in Vapi, ends the save when none differs, and never shows the key', async () => {
    const { id } = await needsAttention();
    const args = ['--org', orgId, '--save', id, '--to', 'ROLLED_BACK'];
    const refused = await run(args, environment());
    expect(refused).toMatchObject({
      code: 1,
      err: expect.stringContaining('INBOUND: Vapi holds other content'),
    });
    await putByHand('INBOUND', 'old');
    const done = await run(args, environment());
    expect(done).toEqual({ code: 0, out: expect.stringContaining(`Save ${id} is ROLLED_BACK.`), err: '' });
    expect(await readSave(caller.client, id)).toMatchObject({ status: 'ROLLED_BACK' });
    expect(JSON.stringify([refused, done])).not.toContain(CANARY_KEY);
    expect(JSON.stringify([refused, done])).not.toContain(lockstep.supabase.secretKey);
  });

  test('prints the usage for wrong options, exit code 64', async () => {
    const [org, id] = [randomUUID(), randomUUID()];
    const wrong = [
      [],
      ['--org', org, '--to', 'COMMITTED'],
      ['--org', org, '--save', id, '--to', 'APPLYING'],
      ['--org', 'north', '--save', 'last', '--to', 'COMMITTED'],
      ['--force'],
    ];
    const usage = 'usage: npm run settle -- --org ID --save ID --to COMMITTED|ROLLED_BACK [--wait]';
    for (const answer of await Promise.all(wrong.map((args) => run(args, environment())))) {
      expect(answer).toEqual({ code: 64, out: '', err: expect.stringContaining(usage) });
    }
  });

  test('names the missing variables without the server’s environment, exit code 78', async () => {
    const args = ['--org', randomUUID(), '--save', randomUUID(), '--to', 'COMMITTED'];
    const { VAPI_PRIVATE_KEY: _key, ...keyless } = environment();
    expect(await run(args, {})).toMatchObject({ code: 78, err: expect.stringContaining('SUPABASE_URL') });
    expect(await run(args, keyless)).toMatchObject({
      code: 78,
      err: expect.stringContaining('VAPI_PRIVATE_KEY'),
    });
    const wrong = { ...environment(), SAVE_LEASE_MS: 'soon' };
    expect(await run(args, wrong)).toMatchObject({ code: 78, err: expect.stringContaining('SAVE_LEASE_MS') });
  });

  test('reports that the database cannot be reached, exit code 1', async () => {
    const args = ['--org', randomUUID(), '--save', randomUUID(), '--to', 'COMMITTED'];
    lockstep.supabase.outage.begin('503');
    const away = await run(args, environment()).finally(() => lockstep.supabase.outage.end());
    expect(away).toEqual({
      code: 1,
      out: '',
      err: expect.stringMatching(/^The database did not answer \(PGRST001\)\..*again.*\n$/),
    });
  });
});

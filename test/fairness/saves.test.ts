/** Saves that must wait, or may not begin: through the whole server, and the executor with a clock that jumps. */
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createServiceClient, type ServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { systemClock, systemIds, systemRandom } from '../../src/adapters/system/system.ts';
import { createVoiceProvider } from '../../src/adapters/vapi/got-voice-provider.ts';
import type { AppConfig } from '../../src/app.ts';
import { Secret } from '../../src/domain/secret.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import type { Admission } from '../../src/ports/admission.ts';
import type { Clock, Log } from '../../src/ports/system.ts';
import type { PaceSettings } from '../../src/services/admission/pacer.ts';
import { ANY_AGENTS, buildTransactionalUpdates } from '../../src/services/agents/build.ts';
import { executeTransactionalAgentUpdate } from '../../src/services/agents/execute.ts';
import { CANARY_KEY, createTestApp, supabaseConfig, TEST_SETTINGS, type TestApp } from '../support/app.ts';
import { expectAnswer, type SaveInput, save } from '../support/operations.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';
import { databaseCalls, expectLockstep, forgetRequests, vapiCalls } from '../support/systems.ts';

/** Plenty, unless a test says less. */
const PLENTY: PaceSettings = {
  requestsPerSecond: 1_000,
  burst: 1_000,
  reserve: 4,
  recoveryMs: 60_000,
  waitMs: 0,
  savesPerMinute: 1_000,
  inProgress: 32,
};
const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});

let supabase: TestSupabase;
let vapi: VapiStandIn;
const undo: (() => Promise<void>)[] = [];
beforeAll(async () => {
  supabase = await createTestSupabase();
  vapi = await startVapiStandIn({ key: CANARY_KEY });
  return async () => {
    await vapi.stop();
    await supabase.stop();
  };
});
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
  vapi.reset();
});

async function start(pace: Partial<PaceSettings>, config: Partial<AppConfig> = {}): Promise<TestApp> {
  const lockstep = await createTestApp({
    supabase,
    vapi,
    config: { pace: { ...PLENTY, ...pace }, ...config },
  });
  undo.push(lockstep.stop);
  return lockstep;
}

async function metric(lockstep: TestApp, line: string): Promise<number> {
  const text = await (await fetch(`${lockstep.origin}/metrics`)).text();
  return Number(
    text
      .split('\n')
      .find((one) => one.startsWith(`${line} `))
      ?.split(' ')[1] ?? 0,
  );
}

describe('a save that may not begin', () => {
  test('over the account’s budget is refused with a retry time, without a request to the database or to Vapi', async () => {
    const lockstep = await start({ requestsPerSecond: 1, burst: 2, reserve: 0 });
    const [one, two] = [await lockstep.newCaller(), await lockstep.newCaller()];
    await forgetRequests(lockstep);
    expectAnswer(await save(one.client, both('first')), 'UpdateAgentsSuccess');
    // Turns, admission and all: what a save costs stays what it was.
    expect(databaseCalls(lockstep)).toEqual(['POST rpc/begin_agents', 'POST rpc/saga_commit']);
    expect(vapiCalls(lockstep)).toHaveLength(2);

    const refused = expectAnswer(await save(two.client, both('second')), 'RateLimitedError');
    expect(refused.retryAfterMs).toBeGreaterThanOrEqual(1_000);
    expect(refused.message).toMatch(/nothing was touched/);
    expect(databaseCalls(lockstep)).toHaveLength(2);
    expect(vapiCalls(lockstep)).toHaveLength(2);
    expect(await supabase.sql`select from public.agent_saves where org_id = ${two.orgId}`).toHaveLength(0);
    expect(await metric(lockstep, 'lockstep_events_total{event="admission.refused"}')).toBe(1);
    expect(await metric(lockstep, 'lockstep_vapi_requests_per_second')).toBe(1);
  });

  test('waits for its permit if that comes soon enough', async () => {
    const lockstep = await start({ requestsPerSecond: 20, burst: 2, reserve: 0, waitMs: 20_000 });
    const callers = await Promise.all([1, 2, 3, 4].map(() => lockstep.newCaller()));
    const answers = await Promise.all(callers.map(({ client }) => save(client, both('at once'))));
    for (const answer of answers) expectAnswer(answer, 'UpdateAgentsSuccess');
  });

  test('over the organization’s budget is refused while others save', async () => {
    const lockstep = await start({ savesPerMinute: 2 });
    const [one, two] = [await lockstep.newCaller(), await lockstep.newCaller()];
    const idempotencyKey = 'the first';
    const first = expectAnswer(
      await save(one.client, { ...both('1'), idempotencyKey }),
      'UpdateAgentsSuccess',
    );
    expectAnswer(await save(one.client, both('2')), 'UpdateAgentsSuccess');
    await forgetRequests(lockstep);
    const refused = expectAnswer(await save(one.client, both('3')), 'RateLimitedError');
    expect(refused.retryAfterMs).toBeGreaterThan(1_000);
    expect(vapiCalls(lockstep)).toEqual([]);
    expectAnswer(await save(two.client, both('1')), 'UpdateAgentsSuccess');
    // What has begun is answered still.
    const again = expectAnswer(
      await save(one.client, { ...both('1'), idempotencyKey }),
      'UpdateAgentsSuccess',
    );
    expect(again.save.id).toBe(first.save.id);
    const { agents } = await expectLockstep(lockstep, one.orgId);
    expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
  });

  test('counts one budget of an organization on all replicas, across restarts', async () => {
    const replicas = [await start({ savesPerMinute: 3 }), await start({ savesPerMinute: 3 })];
    const caller = await (replicas[0] ?? expect.fail()).newCaller();
    const answers: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      for (const replica of replicas) {
        const answer = await save(replica.clientFor(caller.token), both(`round ${round}`));
        answers.push(answer.__typename);
      }
    }
    expect(answers.filter((one) => one === 'UpdateAgentsSuccess')).toHaveLength(3);
    expect(answers.filter((one) => one === 'RateLimitedError')).toHaveLength(3);
    const restarted = await start({ savesPerMinute: 3 });
    expectAnswer(await save(restarted.clientFor(caller.token), both('again')), 'RateLimitedError');
  });

  test('returns the permits that a refusal by the database did not need', async () => {
    const lockstep = await start({ requestsPerSecond: 1, burst: 2, reserve: 0 });
    const caller = await lockstep.newCaller();
    const stale = { inbound: { systemPrompt: 'P', expectedRevision: 7 } };
    for (let attempt = 0; attempt < 5; attempt += 1)
      expectAnswer(await save(caller.client, stale), 'RevisionConflictError');
    expectAnswer(await save(caller.client, both('good')), 'UpdateAgentsSuccess');
  });
});

describe('what has begun', () => {
  test('is undone from the reserve even if the account’s budget is used up', async () => {
    const lockstep = await start({ requestsPerSecond: 1, burst: 2, reserve: 1 });
    const caller = await lockstep.newCaller();
    // Through another server, so that nothing is used up here.
    const other = await start({});
    expectAnswer(await save(other.clientFor(caller.token), both('old')), 'UpdateAgentsSuccess');
    vapi.faults.add({ kind: 'reject', match: { bodyIncludes: 'Outbound, new' }, messages: ['no'] });
    const answer = expectAnswer(await save(caller.client, both('new')), 'SaveFailedError');
    expect(answer).toMatchObject({ reason: 'VAPI_REJECTED', save: { status: 'ROLLED_BACK' } });
    // Two saves of two, and the one that was undone.
    expect(vapiCalls(lockstep)).toHaveLength(5);
    expectAnswer(await save(caller.client, both('third')), 'RateLimitedError');
    const { agents } = await expectLockstep(lockstep, caller.orgId);
    expect(agents).toMatchObject([{ config: { systemPrompt: 'Inbound, old' } }, {}]);
  });

  test('429 with Retry-After stops all organizations: the next one is refused before its save begins', async () => {
    const lockstep = await start({});
    const [one, two] = [await lockstep.newCaller(), await lockstep.newCaller()];
    vapi.faults.add({ kind: 'status-before', status: 429, headers: { 'retry-after': '60' }, times: 2 });
    expect(expectAnswer(await save(one.client, both('1')), 'SaveFailedError').reason).toBe(
      'VAPI_RATE_LIMITED',
    );
    const before = vapiCalls(lockstep).length;
    const refused = expectAnswer(await save(two.client, both('1')), 'RateLimitedError');
    expect(refused.retryAfterMs).toBeGreaterThan(30_000);
    expect(vapiCalls(lockstep)).toHaveLength(before);
    expect(await metric(lockstep, 'lockstep_vapi_requests_per_second')).toBeLessThan(600);
    expect(await metric(lockstep, 'lockstep_events_total{event="vapi.rate_limited"}')).toBe(2);
  });

  test('no save begins while Vapi does not answer; refused content of one organization stops no other', async () => {
    const breaker = { failures: 2, openMs: 3_600_000, keyRefusals: 2, keyRetryMs: 3_600_000 };
    const lockstep = await start({}, { breaker });
    const [one, two] = [await lockstep.newCaller(), await lockstep.newCaller()];
    expectAnswer(await save(two.client, both('1')), 'UpdateAgentsSuccess');
    vapi.faults.add({ kind: 'reject', match: { bodyIncludes: 'bad' }, messages: ['no'], times: 20 });
    for (let attempt = 0; attempt < 10; attempt += 1)
      expectAnswer(await save(one.client, both('bad')), 'SaveFailedError');
    expectAnswer(await save(two.client, both('2')), 'UpdateAgentsSuccess');

    vapi.faults.clear();
    vapi.faults.add({ kind: 'status-before', status: 503, times: Number.POSITIVE_INFINITY });
    expectAnswer(await save(one.client, both('3')), 'SavePendingError');
    const asked = vapiCalls(lockstep).length;
    const refused = expectAnswer(await save(two.client, both('3')), 'RateLimitedError');
    expect(refused.retryAfterMs).toBeGreaterThan(60_000);
    expect(vapiCalls(lockstep)).toHaveLength(asked);
    expect(await metric(lockstep, 'lockstep_events_total{event="vapi.circuit_opened"}')).toBe(1);
  });
});

test('two replicas that save as fast as they can keep to the one limit', async () => {
  const pace = { requestsPerSecond: 10, burst: 4, reserve: 2, waitMs: 1_000 };
  const running = [await start(pace), await start(pace)];
  const callers = await Promise.all([1, 2, 3].map(() => (running[0] ?? expect.fail()).newCaller()));
  await forgetRequests(running[0] ?? expect.fail());
  for (const { app } of running) app.start();
  let over = false;
  const answers = new Map<string, number>();
  const hammer = running.flatMap((replica) =>
    callers.map(async ({ token }) => {
      const client = replica.clientFor(token);
      while (!over) {
        const { __typename } = await save(client, both('again'));
        answers.set(__typename, (answers.get(__typename) ?? 0) + 1);
      }
    }),
  );
  // As many as the burst and five seconds' worth.
  const enough = () => vapi.requests.length >= 60;
  await expect.poll(enough, { timeout: 120_000 }).toBe(true);
  over = true;
  await Promise.all(hammer);
  expect(answers.get('UpdateAgentsSuccess')).toBeGreaterThan(5);
  const at = vapi.requests.map((request) => request.at).sort((a, b) => a - b);
  let worst = 0;
  for (const [first, from] of at.entries()) {
    for (const [last, to] of at.slice(first).entries()) {
      worst = Math.max(worst, last + 1 - (pace.requestsPerSecond * (to - from)) / 1_000);
    }
  }
  // Between its turn and its sending a save asks the database: those of all six callers may come out of that together.
  expect(worst).toBeLessThanOrEqual(pace.burst + pace.reserve + 6 * 2);
});

describe('the lease', () => {
  /** The executor on the real database and the stand-in, with a clock that tests may set forward, and turns as they say. */
  async function execute(admission: (jump: (ms: number) => void) => Partial<Admission>) {
    const orgId = await supabase.createOrganization();
    let ahead = 0;
    const clock: Clock = {
      now: () => systemClock.now() + ahead,
      monotonic: () => systemClock.monotonic() + ahead,
      sleep: systemClock.sleep,
    };
    const jump = (ms: number) => {
      ahead += ms;
    };
    const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
    const client = createServiceClient(supabaseConfig(supabase));
    const work: Promise<unknown>[] = [];
    const outcome = await executeTransactionalAgentUpdate<ServiceClient>(
      client,
      buildTransactionalUpdates(
        orgId,
        ANY_AGENTS,
        { config: { systemPrompt: 'P' }, expectedRevision: null, recreateIfMissing: false },
        null,
      ),
      new Secret(CANARY_KEY),
      {
        actor: 'a user',
        ports: {
          openJournal: createRpcJournal,
          openVoiceProvider: (key) =>
            createVoiceProvider(key, {
              baseUrl: vapi.url,
              timeoutMs: TEST_SETTINGS.requestTimeoutMs,
              log,
            }),
          admission: {
            savesPerMinute: 1_000,
            admit: async () => ({ admitted: true, unused: () => {}, done: () => {} }),
            turn: async () => true,
            ...admission(jump),
          },
          clock,
          ids: systemIds,
          random: systemRandom,
          log,
          meter: { count: () => {} },
          settings: { ...TEST_SETTINGS, answerMs: 100_000 },
          owner: systemIds.uuid(),
          track: (one) => void work.push(one),
        },
      },
    );
    await Promise.all(work);
    return { outcome, writes: vapi.requests.map(({ method }) => method) };
  }

  test('starts the lease after the wait for a permit, however long that was', async () => {
    const { outcome, writes } = await execute((jump) => ({
      admit: async () => {
        jump(50_000);
        return { admitted: true, unused: () => {}, done: () => {} };
      },
    }));
    expect(outcome.kind).toBe('committed');
    expect(writes).toEqual(['POST']);
  });

  test('is checked after the wait for a permit, right before the write; a write after its end is not sent', async () => {
    // Certainly not applied: to be repeated, if there is still time.
    vapi.faults.add({ kind: 'status-before', status: 429, headers: { 'retry-after': '0' }, times: 1 });
    let asked = 0;
    const { outcome, writes } = await execute((jump) => ({
      turn: async (withinMs) => {
        asked += 1;
        expect(withinMs).toBeLessThanOrEqual(TEST_SETTINGS.leaseMs - TEST_SETTINGS.requestTimeoutMs);
        jump(TEST_SETTINGS.leaseMs);
        return true;
      },
    }));
    expect(asked).toBe(1);
    expect(writes).toEqual(['POST']);
    expect(outcome).toMatchObject({ kind: 'failed', failure: { reason: 'VAPI_RATE_LIMITED' } });
  });

  test('does not repeat a request that gets no permit in time', async () => {
    vapi.faults.add({ kind: 'status-before', status: 429, headers: { 'retry-after': '0' }, times: 1 });
    const { outcome, writes } = await execute(() => ({ turn: async () => false }));
    expect(writes).toEqual(['POST']);
    expect(outcome).toMatchObject({ kind: 'failed', failure: { reason: 'VAPI_RATE_LIMITED' } });
  });
});

test('a caller who leaves does not leave a turn behind', async () => {
  const lockstep = await start({ requestsPerSecond: 1, burst: 2, reserve: 0, waitMs: 60_000 });
  const [one, two] = [await lockstep.newCaller(), await lockstep.newCaller()];
  expectAnswer(await save(one.client, both('1')), 'UpdateAgentsSuccess');
  const leaving = new AbortController();
  const left = fetch(lockstep.url, {
    method: 'POST',
    headers: { authorization: `Bearer ${two.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      query: 'mutation { updateAgents(input: { inbound: { systemPrompt: "P" } }) { __typename } }',
    }),
    signal: leaving.signal,
  }).catch((error: unknown) => error);
  await expect.poll(() => metric(lockstep, 'lockstep_vapi_waiting')).toBe(1);
  leaving.abort();
  await left;
  // It was asked for, so it is made: nobody can tell a caller who left from an answer that got lost.
  await expect.poll(() => metric(lockstep, 'lockstep_vapi_waiting'), { timeout: 120_000 }).toBe(0);
  await expect
    .poll(
      async () =>
        (
          await supabase.sql`
          select from public.agent_saves where org_id = ${two.orgId} and status = 'COMMITTED'`
        ).length,
      { timeout: 120_000 },
    )
    .toBe(1);
});

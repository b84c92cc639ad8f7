/** A save that Vapi does not take: both systems end as they were, and the caller is told the truth of each agent. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Secret } from '../../src/domain/secret.ts';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import { CANARY_KEY, type Caller, createTestApp, PATIENT_SETTINGS, type TestApp } from '../support/app.ts';
import { barrier, gate } from '../support/gate.ts';
import { closedPort } from '../support/network.ts';
import { expectAnswer, readAgents, readSave, type SaveInput, save } from '../support/operations.ts';
import {
  databaseCalls,
  expectLockstep,
  forgetRequests,
  type Systems,
  systemsOf,
  vapiCalls,
} from '../support/systems.ts';

let lockstep: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp({ settings: PATIENT_SETTINGS });
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  lockstep.supabase.faults.clear();
  caller = await lockstep.newCaller();
});

const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}`, firstMessage: `Hello, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});

/** Both agents saved once; from here on requests count. */
async function savedBefore(): Promise<Systems> {
  expectAnswer(await save(caller.client, both('before')), 'UpdateAgentsSuccess');
  await forgetRequests(lockstep);
  return systemsOf(lockstep, caller.orgId);
}
const failed = async (input: SaveInput) => expectAnswer(await save(caller.client, input), 'SaveFailedError');
/** Strikes what this test sends for a role, not the undo, which sends the old content. */
const strike = (role: 'Inbound' | 'Outbound', fault: FaultInput) =>
  lockstep.vapi.faults.add({ ...fault, match: { bodyIncludes: `${role}, after` } });
const REJECT: FaultInput = { kind: 'reject', messages: ['model.model must be a good one'] };
const rolledBack = ['POST rpc/begin_agents', 'POST rpc/saga_abort', 'POST rpc/saga_rolled_back'];

describe('one agent is rejected', () => {
  test.each([
    ['Inbound', 'Outbound'],
    ['Outbound', 'Inbound'],
  ] as const)(
    '[2.3] [2.26] %s: leaves its sibling, the database and the history exactly as before',
    async (bad, good) => {
      const before = await savedBefore();
      strike(bad, REJECT);
      const answer = await failed(both('after'));
      expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
      await expectLockstep(lockstep, caller.orgId);

      const idOf = (role: string) => before.agents.find((agent) => agent.role === role.toUpperCase());
      // The rejected one got one request; its sibling the change, and then its undo.
      expect(vapiCalls(lockstep).sort()).toEqual(
        [bad, good, good].map((role) => `PATCH /assistant/${idOf(role)?.vapi_assistant_id}`).sort(),
      );
      expect(databaseCalls(lockstep)).toEqual(rolledBack);
      // [2.12] and the answer says of each what is true of it.
      const result = (role: string, error: unknown) => ({
        role: role.toUpperCase(),
        agentId: idOf(role)?.id,
        success: false,
        vapiSynced: false,
        dbUpdated: false,
        assistantId: idOf(role)?.vapi_assistant_id,
        error,
      });
      expect(answer).toMatchObject({
        reason: 'VAPI_REJECTED',
        retryable: false,
        save: { status: 'ROLLED_BACK', finishedAt: expect.any(String) },
      });
      expect(answer.message).toContain('model.model must be a good one');
      expect(
        [bad, good].map((role) => answer.save.results.find((one) => one.role === role.toUpperCase())),
      ).toEqual([
        result(bad, expect.stringContaining('model.model must be a good one')),
        result(good, expect.stringContaining('the other agent')),
      ]);
      expect(await readSave(caller.client, answer.save.id)).toEqual(answer.save);
      expect(await readAgents(caller.client)).toMatchObject({
        INBOUND: { systemPrompt: 'Inbound, before', revision: 1, sync: { status: 'IN_SYNC' } },
        OUTBOUND: { systemPrompt: 'Outbound, before', revision: 1, sync: { status: 'IN_SYNC' } },
      });
    },
  );

  test('records the direction in the database before anything is undone', async () => {
    await savedBefore();
    strike('Outbound', REJECT);
    const atTheUndo: unknown[] = [];
    lockstep.vapi.faults.add({
      kind: 'hold',
      match: { bodyIncludes: 'Inbound, before' },
      until: async () => {
        const open = await lockstep.supabase.sql`
          select status, failure ->> 'reason' as reason from public.agent_saves
          where org_id = ${caller.orgId} and finished_at is null`;
        atTheUndo.push(...open);
      },
    });
    await failed(both('after'));
    expect(atTheUndo).toEqual([{ status: 'ROLLING_BACK', reason: 'VAPI_REJECTED' }]);
  });

  test('the undo sends the committed content with its own stamp', async () => {
    await savedBefore();
    const first = await lockstep.supabase
      .sql`select last_save_id from public.agents where org_id = ${caller.orgId}`;
    strike('Outbound', REJECT);
    await failed(both('after'));
    expect(lockstep.vapi.requests.at(-1)?.body).toMatchObject({
      firstMessage: 'Hello, before',
      model: { messages: [{ content: 'Inbound, before' }] },
      metadata: { lockstep: { saveId: first[0]?.['last_save_id'], revision: 1, role: 'INBOUND' } },
    });
  });

  test('waits for the sibling, which was applied, and never cancels it', async () => {
    const before = await savedBefore();
    strike('Outbound', REJECT);
    const answeredBeforeTheSibling: string[] = [];
    lockstep.vapi.faults.add({
      kind: 'hold',
      match: { bodyIncludes: 'Inbound, after' },
      until: async () => {
        await expect
          .poll(() => lockstep.vapi.requests.some(({ status }) => status === 400), { timeout: 120_000 })
          .toBe(true);
        // Nothing more is to happen now, which no event tells: time for what would be a mistake.
        await sleep(100);
        answeredBeforeTheSibling.push(...databaseCalls(lockstep));
      },
    });
    await failed(both('after'));
    expect(answeredBeforeTheSibling).toEqual(['POST rpc/begin_agents']);
    expect(lockstep.vapi.requests.map(({ status }) => status)).toEqual(
      expect.arrayContaining([400, 200, 200]),
    );
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
  });

  test('the next save finds no lock', async () => {
    await savedBefore();
    strike('Outbound', REJECT);
    await failed(both('after'));
    expectAnswer(await save(caller.client, both('later')), 'UpdateAgentsSuccess');
    expect((await expectLockstep(lockstep, caller.orgId)).agents).toMatchObject([
      { revision: 2, config: { systemPrompt: 'Inbound, later' } },
      { revision: 2, config: { systemPrompt: 'Outbound, later' } },
    ]);
  });
});

describe('nothing was applied', () => {
  test('closes at once if both are rejected, without another request to Vapi', async () => {
    const before = await savedBefore();
    strike('Inbound', REJECT);
    strike('Outbound', { kind: 'reject', messages: ['nor this'] });
    const answer = await failed(both('after'));
    expect(vapiCalls(lockstep)).toHaveLength(2);
    expect(databaseCalls(lockstep)).toEqual(['POST rpc/begin_agents', 'POST rpc/saga_abort']);
    expect(answer).toMatchObject({
      save: {
        status: 'ROLLED_BACK',
        results: [
          { role: 'INBOUND', vapiSynced: false, error: expect.stringContaining('a good one') },
          { role: 'OUTBOUND', vapiSynced: false, error: expect.stringContaining('nor this') },
        ],
      },
    });
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
  });

  test('reports VAPI_UNAVAILABLE as retryable if Vapi cannot be reached', async () => {
    const before = await savedBefore();
    const unreachable = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      // The guard leaves half a second for tries.
      settings: { leaseMs: 2_500 },
      config: { vapi: { baseUrl: `http://127.0.0.1:${await closedPort()}`, key: new Secret(CANARY_KEY) } },
    });
    try {
      const answer = await save(unreachable.clientFor(caller.token), both('after'));
      expect(expectAnswer(answer, 'SaveFailedError')).toMatchObject({
        reason: 'VAPI_UNAVAILABLE',
        retryable: true,
        save: { results: [{ vapiSynced: false }, { vapiSynced: false }] },
      });
      expect(databaseCalls(lockstep)).toEqual(['POST rpc/begin_agents', 'POST rpc/saga_abort']);
      expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
    } finally {
      await unreachable.stop();
    }
  });

  test('reports VAPI_RATE_LIMITED at once for a long Retry-After, and waits for a short one', async () => {
    const before = await savedBefore();
    for (const role of ['Inbound', 'Outbound'] as const) {
      strike(role, { kind: 'status-before', status: 429, headers: { 'retry-after': '60' } });
    }
    expect(await failed(both('after'))).toMatchObject({ reason: 'VAPI_RATE_LIMITED', retryable: true });
    expect(vapiCalls(lockstep)).toHaveLength(2);
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);

    strike('Inbound', { kind: 'status-before', status: 429, headers: { 'retry-after': '0' } });
    expectAnswer(await save(caller.client, both('after')), 'UpdateAgentsSuccess');
    expect(vapiCalls(lockstep)).toHaveLength(2 + 3);
    await expectLockstep(lockstep, caller.orgId);
  });
});

describe('[2.6] [2.17] a refusal is final: one request, no new assistant, the same id', () => {
  test.each([
    [400, 'VAPI_REJECTED'],
    [401, 'VAPI_UNAUTHORIZED'],
    [403, 'VAPI_UNAUTHORIZED'],
    [404, 'ASSISTANT_MISSING'],
    [409, 'VAPI_REJECTED'],
    [422, 'VAPI_REJECTED'],
  ])('%i: %s', async (status, reason) => {
    const before = await savedBefore();
    strike('Inbound', { kind: 'status-before', status, body: { message: 'no', statusCode: status } });
    const answer = await failed({ inbound: both('after').inbound ?? {} });
    expect(answer).toMatchObject({ reason, retryable: false });
    expect(vapiCalls(lockstep)).toEqual([`PATCH /assistant/${before.agents[0]?.vapi_assistant_id}`]);
    const after = await systemsOf(lockstep, caller.orgId);
    expect(after.assistants).toEqual(before.assistants);
    expect(after.agents.map((agent) => agent.vapi_assistant_id)).toEqual(
      before.agents.map((agent) => agent.vapi_assistant_id),
    );
  });

  test('survives an HTML page and an empty body instead of JSON', async () => {
    await savedBefore();
    strike('Inbound', { kind: 'status-before', status: 403, body: 'error code: 1010' });
    expect(await failed(both('after'))).toMatchObject({ reason: 'VAPI_UNAUTHORIZED' });
    strike('Inbound', { kind: 'status-before', status: 400, body: '<html>No</html>' });
    expect(await failed(both('after'))).toMatchObject({ reason: 'VAPI_REJECTED' });
    await expectLockstep(lockstep, caller.orgId);
  });
});

describe('[2.11] judges an answer by its content, not by its status', () => {
  test.each<[string, FaultInput]>([
    [
      'the prompt is another',
      { kind: 'wrong-body', path: 'model.messages.0.content', value: 'Inbound, afterwards' },
    ],
    ['a field is missing', { kind: 'wrong-body', path: 'firstMessage' }],
    ['a number was rounded', { kind: 'wrong-body', path: 'maxDurationSeconds', value: 601 }],
    ['tools have crept in', { kind: 'wrong-body', path: 'model.toolIds', value: ['x'] }],
    ['the stamp is not ours', { kind: 'wrong-body', path: 'metadata.lockstep.saveId', value: 'x' }],
  ])('%s', async (_what, fault) => {
    const before = await savedBefore();
    strike('Inbound', fault);
    const answer = await failed(both('after'));
    expect(answer).toMatchObject({ reason: 'VAPI_ANSWER_DIFFERED', retryable: true });
    expect(answer.save.results[0]?.error).toContain(
      fault.kind === 'wrong-body' ? fault.path.split('.')[0] : '',
    );
    // What differed has been applied, so it is undone like its sibling.
    expect(vapiCalls(lockstep)).toHaveLength(4);
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
  });
});

test('[2.11] a commit that finds no row to change is not a success', async () => {
  await savedBefore();
  const middle = gate();
  lockstep.vapi.faults.add({ kind: 'hold', match: { bodyIncludes: 'Inbound, after' }, until: middle.until });
  const running = save(caller.client, both('after'));
  await middle.reached;
  // Nothing but a superuser past every guard can do this: the commit then matches nothing.
  await lockstep.supabase.sql`
    update public.agents set revision = revision + 5 where org_id = ${caller.orgId} and role = 'INBOUND'`;
  middle.open();
  const { save: pending } = expectAnswer(await running, 'SavePendingError');
  expect(pending.results).toMatchObject([{ success: false }, { success: false }]);
  // The other agent of the same save was not written either.
  expect((await systemsOf(lockstep, caller.orgId)).agents[1]).toMatchObject({
    revision: 1,
    config: { systemPrompt: 'Outbound, before' },
  });
  expect(lockstep.log.join()).toContain('is no longer at revision 1');
});

describe('creating', () => {
  test('one is rejected: deletes the other; no assistant, row or history remains', async () => {
    lockstep.supabase.requests.reset();
    strike('Outbound', REJECT);
    const answer = await failed(both('after'));
    expect(lockstep.vapi.store.all()).toEqual([]);
    expect(await systemsOf(lockstep, caller.orgId)).toEqual({
      assistants: [],
      agents: [],
      revisions: [],
      observed: [],
    });
    expect(vapiCalls(lockstep)).toEqual([
      'POST /assistant',
      'POST /assistant',
      // Nothing is deleted before it has shown the stamp of this save.
      expect.stringMatching(/^GET \/assistant\//),
      expect.stringMatching(/^DELETE \/assistant\//),
    ]);
    expect(databaseCalls(lockstep)).toEqual(rolledBack);
    expect(answer.save.results).toMatchObject([
      { role: 'INBOUND', success: false, vapiSynced: false, dbUpdated: false, assistantId: null },
      { role: 'OUTBOUND', success: false, vapiSynced: false, dbUpdated: false, assistantId: null },
    ]);
    expect(await readAgents(caller.client)).toEqual({});
    expectAnswer(await save(caller.client, both('later')), 'UpdateAgentsSuccess');
    expect((await expectLockstep(lockstep, caller.orgId)).agents).toMatchObject([
      { revision: 1 },
      { revision: 1 },
    ]);
  });

  test('a new sibling is rejected: the existing one is as before', async () => {
    expectAnswer(await save(caller.client, { inbound: both('before').inbound ?? {} }), 'UpdateAgentsSuccess');
    const before = await systemsOf(lockstep, caller.orgId);
    lockstep.vapi.faults.add({ kind: 'hold', times: 2, until: barrier(2) });
    strike('Outbound', REJECT);
    await failed(both('after'));
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
  });

  test('an existing sibling is rejected: the new one is deleted', async () => {
    expectAnswer(await save(caller.client, { inbound: both('before').inbound ?? {} }), 'UpdateAgentsSuccess');
    const before = await systemsOf(lockstep, caller.orgId);
    strike('Inbound', REJECT);
    await failed(both('after'));
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
  });
});

test('Vapi refuses the undo: answers SavePendingError, and locks the organization until an operator ends the save', async () => {
  await savedBefore();
  strike('Outbound', REJECT);
  lockstep.vapi.faults.add({
    kind: 'reject',
    match: { bodyIncludes: 'Inbound, before' },
    messages: ['never'],
  });
  const answer = expectAnswer(await save(caller.client, both('after')), 'SavePendingError');
  expect(answer).toMatchObject({
    retryAfterMs: null,
    save: {
      status: 'NEEDS_ATTENTION',
      finishedAt: null,
      results: [
        { role: 'INBOUND', success: false, dbUpdated: false, error: expect.stringContaining('never') },
        { role: 'OUTBOUND', success: false, vapiSynced: false, dbUpdated: false },
      ],
    },
  });
  // Its content is in Vapi: never "not there".
  expect(answer.save.results[0]?.vapiSynced).not.toBe(false);
  expect(await readAgents(caller.client)).toMatchObject({
    INBOUND: { sync: { status: 'NEEDS_ATTENTION' } },
    OUTBOUND: { sync: { status: 'NEEDS_ATTENTION' } },
  });
  expect(expectAnswer(await save(caller.client, both('later')), 'SaveInProgressError')).toMatchObject({
    saveId: answer.save.id,
    status: 'NEEDS_ATTENTION',
    retryAfterMs: null,
  });
});

/** Someone deleted an assistant in the Vapi dashboard. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
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
let before: Systems;
let [inboundId, outboundId]: string[] = [];
beforeAll(async () => {
  lockstep = await createTestApp();
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  caller = await lockstep.newCaller();
  expectAnswer(await save(caller.client, both('before')), 'UpdateAgentsSuccess');
  before = await systemsOf(lockstep, caller.orgId);
  [inboundId, outboundId] = before.agents.map((agent) => agent.vapi_assistant_id);
  lockstep.vapi.dashboardDelete(outboundId ?? '');
  await forgetRequests(lockstep);
});

const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});
const recreate = (what: string): SaveInput => ({
  ...both(what),
  outbound: { systemPrompt: `Outbound, ${what}`, recreateIfMissing: true },
});
const failed = async (input: SaveInput) => expectAnswer(await save(caller.client, input), 'SaveFailedError');
const withoutMissing = ({
  missing_since: _missing,
  checked_at: _checked,
  ...agent
}: Record<string, unknown>) => agent;

test('[2.6] a save that finds it reports it, leaves the sibling unchanged, creates nothing and keeps the id', async () => {
  const answer = await failed(both('after'));
  expect(answer).toMatchObject({
    reason: 'ASSISTANT_MISSING',
    retryable: false,
    save: {
      status: 'ROLLED_BACK',
      results: [
        { role: 'INBOUND', success: false, vapiSynced: false, dbUpdated: false },
        {
          role: 'OUTBOUND',
          success: false,
          vapiSynced: false,
          dbUpdated: false,
          error: expect.stringContaining('recreateIfMissing'),
        },
      ],
    },
  });
  expect(vapiCalls(lockstep).sort()).toEqual(
    [
      `PATCH /assistant/${inboundId}`,
      `PATCH /assistant/${inboundId}`,
      `PATCH /assistant/${outboundId}`,
    ].sort(),
  );
  const after = await systemsOf(lockstep, caller.orgId);
  expect(after.assistants).toEqual(before.assistants.filter(({ id }) => id === inboundId));
  expect(after.agents[0]).toEqual(before.agents[0]);
  expect(withoutMissing({ ...after.agents[1] })).toEqual(withoutMissing({ ...before.agents[1] }));
  expect(after.revisions).toEqual(before.revisions);
  expect(await readAgents(caller.client)).toMatchObject({
    INBOUND: { sync: { status: 'IN_SYNC' }, systemPrompt: 'Inbound, before' },
    OUTBOUND: { sync: { status: 'MISSING' }, systemPrompt: 'Outbound, before', vapiAssistantId: outboundId },
  });
});

test('a save after it is known is refused before the sibling is touched, and a repeated request returns the same answer', async () => {
  await failed(both('after'));
  await forgetRequests(lockstep);
  const idempotencyKey = 'again';
  const answer = await failed({ ...both('again'), idempotencyKey });
  expect(answer).toMatchObject({
    reason: 'ASSISTANT_MISSING',
    save: {
      results: [
        {
          role: 'INBOUND',
          vapiSynced: false,
          dbUpdated: false,
          error: expect.stringContaining('Not attempted'),
        },
        { role: 'OUTBOUND', vapiSynced: false, dbUpdated: false },
      ],
    },
  });
  expect(vapiCalls(lockstep)).toEqual([]);
  expect(databaseCalls(lockstep)).toEqual(['POST rpc/begin_agents']);
  expect(await readSave(caller.client, answer.save.id)).toEqual(answer.save);
  expect(await save(caller.client, { ...both('again'), idempotencyKey })).toEqual(answer);
});

test('the sibling alone can be saved', async () => {
  await failed(both('after'));
  const answer = await save(caller.client, { inbound: { systemPrompt: 'Inbound, alone' } });
  expect(expectAnswer(answer, 'UpdateAgentsSuccess').agents).toMatchObject([{ revision: 2 }]);
});

test('[2.7] with permission, one new assistant is created for the same agent', async () => {
  await failed(both('after'));
  await forgetRequests(lockstep);
  const { agents } = expectAnswer(await save(caller.client, recreate('anew')), 'UpdateAgentsSuccess');
  expect(vapiCalls(lockstep).sort()).toEqual([`PATCH /assistant/${inboundId}`, 'POST /assistant']);
  expect(agents).toMatchObject([
    { id: before.agents[0]?.id, vapiAssistantId: inboundId, revision: 2 },
    { id: before.agents[1]?.id, revision: 2, sync: { status: 'IN_SYNC' } },
  ]);
  expect(agents[1]?.vapiAssistantId).not.toBe(outboundId);
  // One assistant an agent, and the sync is whole again.
  await expectLockstep(lockstep, caller.orgId);
  expect(await readAgents(caller.client)).toMatchObject({
    INBOUND: { sync: { status: 'IN_SYNC' } },
    OUTBOUND: { sync: { status: 'IN_SYNC' } },
  });
});

test('the new assistant is deleted when the sibling is rejected, and the agent stays missing', async () => {
  await failed(both('after'));
  const known = await systemsOf(lockstep, caller.orgId);
  lockstep.vapi.faults.add({ kind: 'reject', match: { bodyIncludes: 'Inbound, anew' }, messages: ['no'] });
  expect(await failed(recreate('anew'))).toMatchObject({ reason: 'VAPI_REJECTED' });
  expect(await systemsOf(lockstep, caller.orgId)).toEqual(known);
  expect((await readAgents(caller.client)).OUTBOUND).toMatchObject({ sync: { status: 'MISSING' } });
});

test('permission to create a new assistant changes nothing while the assistant exists', async () => {
  const input = { inbound: { systemPrompt: 'P', recreateIfMissing: true } };
  const { agents } = expectAnswer(await save(caller.client, input), 'UpdateAgentsSuccess');
  expect(agents).toMatchObject([{ vapiAssistantId: inboundId, revision: 2 }]);
  expect(vapiCalls(lockstep)).toEqual([`PATCH /assistant/${inboundId}`]);
});

test('[2.6] with permission, a save that finds the deletion creates exactly one new assistant', async () => {
  const answer = expectAnswer(await save(caller.client, recreate('anew')), 'UpdateAgentsSuccess');
  expect(answer.agents).toMatchObject([
    { role: 'INBOUND', vapiAssistantId: inboundId, revision: 2 },
    { role: 'OUTBOUND', systemPrompt: 'Outbound, anew', revision: 2, sync: { status: 'IN_SYNC' } },
  ]);
  const after = await systemsOf(lockstep, caller.orgId);
  expect(after.assistants.map(({ id }) => id).sort()).toEqual(
    answer.agents.map(({ vapiAssistantId }) => vapiAssistantId).sort(),
  );
  expect(vapiCalls(lockstep).filter((call) => call.startsWith('POST'))).toHaveLength(1);
});

test('[2.6] with permission and a refused sibling, no new assistant is left, and the deletion is recorded', async () => {
  lockstep.vapi.faults.add({ match: { method: 'PATCH', path: inboundId }, kind: 'reject', messages: ['no'] });
  expect(await failed(recreate('refused'))).toMatchObject({ reason: 'VAPI_REJECTED' });
  const after = await systemsOf(lockstep, caller.orgId);
  expect(after.assistants).toEqual(before.assistants.filter(({ id }) => id === inboundId));
  expect(after.revisions).toEqual(before.revisions);
  expect(await readAgents(caller.client)).toMatchObject({
    INBOUND: { sync: { status: 'IN_SYNC' } },
    OUTBOUND: { sync: { status: 'MISSING' } },
  });
});

test('[2.7] with permission and a creation without an answer, recovery finds the one new assistant', async () => {
  lockstep.vapi.faults.add({ match: { method: 'POST' }, kind: 'reset-after' });
  expectAnswer(await save(caller.client, recreate('lost')), 'SavePendingError');
  await expect
    .poll(
      async () => {
        await lockstep.app.recover();
        return (await readAgents(caller.client)).OUTBOUND?.sync.status;
      },
      { timeout: 120_000 },
    )
    .toBe('IN_SYNC');
  const after = await systemsOf(lockstep, caller.orgId);
  expect(after.assistants).toHaveLength(2);
  expect(after.agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
});

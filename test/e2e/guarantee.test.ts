/**
 * [2.26] The guarantee itself is run: one system fails in the middle of a save, at every step that it has, and then both are
 * looked at, whole, beside what the caller was told.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { readSave, type SaveAnswer, type SaveInput, save } from '../support/operations.ts';
import type { Fault } from '../support/supabase.ts';
import { databaseCalls, expectLockstep, forgetRequests, systemsOf, vapiCalls } from '../support/systems.ts';

let lockstep: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp({ recoveryIntervalMs: 100 });
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  lockstep.supabase.faults.clear();
  caller = await lockstep.newCaller();
});

const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});
const STARTS = ['both agents exist', 'neither agent exists', 'one agent exists'] as const;

async function start(from: (typeof STARTS)[number]): Promise<void> {
  const before = both('before');
  if (from === 'both agents exist') await save(caller.client, before);
  if (from === 'one agent exists') await save(caller.client, { inbound: before.inbound ?? null });
  await forgetRequests(lockstep);
}

/** Saves, and then holds both systems, once at rest, against what was told. */
async function saveAndLook(): Promise<SaveAnswer> {
  const before = await systemsOf(lockstep, caller.orgId);
  const answer = await save(caller.client, both('after'));
  let committed = answer.__typename === 'UpdateAgentsSuccess';
  if (answer.__typename === 'SavePendingError') {
    const { id } = answer.save;
    await expect
      .poll(async () => (await readSave(caller.client, id))?.finishedAt ?? null, { timeout: 120_000 })
      .not.toBeNull();
    committed = (await readSave(caller.client, id))?.status === 'COMMITTED';
  }
  const after = await expectLockstep(lockstep, caller.orgId);
  if (committed) {
    expect(after.agents.map(({ role, config }) => `${role} ${config.systemPrompt}`)).toEqual([
      'INBOUND Inbound, after',
      'OUTBOUND Outbound, after',
    ]);
    for (const agent of after.agents) {
      const old = before.agents.find(({ id }) => id === agent.id);
      expect(agent.revision).toBe((old?.revision ?? 0) + 1);
      expect(agent.vapi_assistant_id).toBe(old?.vapi_assistant_id ?? agent.vapi_assistant_id);
    }
  } else {
    expect(after).toEqual(before);
  }
  return answer;
}

describe.each(STARTS)('%s', (from) => {
  describe('Vapi fails', () => {
    const faults: FaultInput[] = [
      { kind: 'reject', messages: ['no'] },
      { kind: 'status-before', status: 401 },
      { kind: 'status-before', status: 429, headers: { 'retry-after': '60' } },
      { kind: 'wrong-body', path: 'model.messages.0.content', value: 'else' },
    ];
    test.each(
      faults.flatMap((fault) =>
        (['Inbound', 'Outbound'] as const).map((role) => ({ role, ...fault, fault })),
      ),
    )('[2.3] [2.26] $kind for $role: told as failed, and nothing is left', async ({ role, fault }) => {
      await start(from);
      lockstep.vapi.faults.add({ ...fault, match: { bodyIncludes: `${role}, after` } });
      expect((await saveAndLook()).__typename).toBe('SaveFailedError');
      expect(lockstep.vapi.faults.list()).toEqual([]);
    });
  });

  describe('[2.2] the database fails', () => {
    const faults: Fault[] = ['reset-before', 'reset-after', { status: 503, body: { code: 'PGRST001' } }];
    test.each(faults.flatMap((fault) => ['begin_agents', 'saga_commit'].map((step) => ({ step, fault }))))(
      '[2.26] $fault at $step: told as saved, and saved once',
      async ({ step, fault }) => {
        await start(from);
        lockstep.supabase.faults.next(step, fault);
        expect((await saveAndLook()).__typename).toBe('UpdateAgentsSuccess');
        expect(databaseCalls(lockstep).filter((call) => call.endsWith(step))).toHaveLength(2);
        expect(vapiCalls(lockstep).filter((call) => !call.startsWith('GET'))).toHaveLength(2);
      },
    );
  });

  describe('both fail', () => {
    const faults: Fault[] = ['reset-before', 'reset-after', { status: 503, body: { code: 'PGRST001' } }];
    test.each(faults.flatMap((fault) => ['saga_abort', 'saga_rolled_back'].map((step) => ({ step, fault }))))(
      '[2.26] a rejection, then $fault at $step: told as failed, and nothing is left',
      async ({ step, fault }) => {
        await start(from);
        lockstep.vapi.faults.add({
          kind: 'reject',
          match: { bodyIncludes: 'Outbound, after' },
          messages: ['no'],
        });
        lockstep.supabase.faults.next(step, fault);
        expect((await saveAndLook()).__typename).toBe('SaveFailedError');
        expect(databaseCalls(lockstep).filter((call) => call.endsWith(step))).toHaveLength(2);
      },
    );
  });
});

describe('[2.5] a change without an answer may have been applied', () => {
  test('applied: sends the same bytes again, and commits', async () => {
    await start('both agents exist');
    lockstep.vapi.faults.add({ kind: 'hang-after', match: { bodyIncludes: 'Inbound, after' } });
    expect((await saveAndLook()).__typename).toBe('UpdateAgentsSuccess');
    const sent = lockstep.vapi.requests.filter(({ body }) => JSON.stringify(body).includes('Inbound, after'));
    expect(sent.map(({ status }) => status)).toEqual([null, 200]);
    expect(JSON.stringify(sent[1]?.body)).toBe(JSON.stringify(sent[0]?.body));
  });

  test('applied late, after its repetition was answered: does no harm, because the next save waits', async () => {
    await start('both agents exist');
    lockstep.vapi.faults.add({
      kind: 'late',
      ms: 60_000,
      answer: 'reset',
      match: { bodyIncludes: 'Inbound, after' },
    });
    expect((await saveAndLook()).__typename).toBe('UpdateAgentsSuccess');
    const next = await save(caller.client, both('next'));
    expect(next).toMatchObject({ __typename: 'SaveInProgressError', status: 'COMMITTED' });
    expect(lockstep.vapi.applyLate()).toBe(1);
    await expectLockstep(lockstep, caller.orgId);
  });
});

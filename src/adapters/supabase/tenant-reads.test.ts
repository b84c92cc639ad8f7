import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { supabaseConfig } from '../../../test/support/app.ts';
import { createTestSupabase, type TestSupabase } from '../../../test/support/supabase.ts';
import { AGENT_ROLES, type AgentRole, defaultConfig } from '../../domain/agents/agent-config.ts';
import { saveOf } from '../../domain/agents/save.ts';
import { DatabaseError, type SaveJournal } from '../../ports/agents/save-journal.ts';
import type { SagaRef } from '../../ports/saga-journal.ts';
import type { TenantReads } from '../../ports/tenant-reads.ts';
import { createCallerClient, createServiceClient } from './clients.ts';
import { createRpcJournal } from './rpc-journal.ts';
import { createTenantReads } from './tenant-reads.ts';

let supabase: TestSupabase;
let journal: SaveJournal;
beforeAll(async () => {
  supabase = await createTestSupabase();
  journal = createRpcJournal(createServiceClient(supabaseConfig(supabase)));
});
afterAll(() => supabase?.stop());
afterEach(() => supabase.outage.end());

/** A new organization, and what one of its users sees. */
async function tenant(): Promise<{ orgId: string; reads: TenantReads }> {
  const orgId = await supabase.createOrganization('Seen');
  const user = await supabase.createUser({ orgId });
  const { accessToken } = await supabase.signIn(user.email, user.password);
  return { orgId, reads: createTenantReads(createCallerClient(supabaseConfig(supabase), accessToken)) };
}

async function begin(orgId: string, roles: readonly AgentRole[]): Promise<SagaRef> {
  const sagaId = randomUUID();
  const outcome = await journal.begin(orgId, sagaId, 'me', {
    ...{ idempotencyKey: null, requestHash: 'hash', cause: 'USER', actor: null, mappingVersion: 1 },
    ...{ leaseMs: 60_000, deadlineMs: 120_000 },
    updates: roles.map((role) => ({
      ...{ role, agentId: null, newAgentId: randomUUID(), expectedRevision: null, recreateIfMissing: false },
      ...{ patch: { systemPrompt: `${role}: 漢字 "quoted"` }, defaults: defaultConfig(role) },
    })),
  });
  expect(outcome.outcome).toBe('BEGUN');
  return { orgId, sagaId, epoch: 1 };
}

function commit(ref: SagaRef, roles: readonly AgentRole[]) {
  const parts = roles.map((role) => ({ key: role, remoteId: `${ref.sagaId}-${role}`, observed: {} }));
  return journal.commit(ref, { parts, ambiguous: false, lateMs: 0 });
}

test('reading tells of agents and saves exactly what the save told', async () => {
  const { orgId, reads } = await tenant();
  expect(await reads.organization()).toEqual({ id: orgId, name: 'Seen', driftPolicy: 'REVERT' });
  expect([await reads.agents(), await reads.openSave()]).toEqual([[], null]);

  const ref = await begin(orgId, AGENT_ROLES);
  const running = await reads.save(ref.sagaId);
  expect(running).toMatchObject({ id: ref.sagaId, status: 'APPLYING', epoch: 1, finishedAt: null });
  expect(await reads.openSave()).toEqual({ save: running, roles: ['INBOUND', 'OUTBOUND'] });
  // Nothing of it is there before Vapi has answered.
  expect(await reads.agents()).toEqual([]);

  const told = await commit(ref, AGENT_ROLES);
  if (told.outcome !== 'COMMITTED') throw new Error(told.outcome);
  expect(await reads.agents()).toEqual(told.rows);
  expect(await reads.save(ref.sagaId)).toEqual(saveOf(told.saga));
  expect(await reads.openSave()).toBeNull();

  const one = await begin(orgId, ['OUTBOUND']);
  expect(await reads.openSave()).toMatchObject({ save: { id: one.sagaId }, roles: ['OUTBOUND'] });
});

test('another organization is not there: its save by its id, its agents, its name', async () => {
  const [ours, theirs] = [await tenant(), await tenant()];
  const ref = await begin(theirs.orgId, ['INBOUND']);
  expect([await ours.reads.save(ref.sagaId), await ours.reads.openSave()]).toEqual([null, null]);
  await commit(ref, ['INBOUND']);
  expect(await ours.reads.agents()).toEqual([]);
  expect(await ours.reads.organization()).toMatchObject({ id: ours.orgId });
  expect(await theirs.reads.agents()).toHaveLength(1);
});

test('while the database is away every read says so', async () => {
  const { reads } = await tenant();
  supabase.outage.begin('reset');
  for (const read of [reads.organization, reads.agents, reads.openSave, () => reads.save(randomUUID())]) {
    await expect(read()).rejects.toBeInstanceOf(DatabaseError);
  }
});

/** What each function of the database changes, row by row: every condition, every time, every mark. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { createRpcSweepStore } from '../../src/adapters/supabase/rpc-sweep-store.ts';
import { createRpcVapiAccount } from '../../src/adapters/supabase/rpc-vapi-account.ts';
import { type AgentRole, defaultConfig } from '../../src/domain/agents/agent-config.ts';
import type { BeginRequest, BeginUpdate, SaveJournal } from '../../src/ports/agents/save-journal.ts';
import type { SweepStore } from '../../src/ports/agents/sweep-store.ts';
import { supabaseConfig } from '../support/app.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

/** No test lasts so long. */
const FAR = 3_600_000;
/** Longer than any age in these tests. */
const RETENTION_DAYS = 90;
const FAILURE = { reason: 'VAPI_REJECTED' as const, message: 'no', retryable: false };

let supabase: TestSupabase;
let journal: SaveJournal;
let store: SweepStore;
let account: (seen: string) => Promise<string | null>;
let orgId: string;
beforeAll(async () => {
  supabase = await createTestSupabase();
  const client = createServiceClient(supabaseConfig(supabase));
  journal = createRpcJournal(client);
  store = createRpcSweepStore(client);
  account = createRpcVapiAccount(client);
});
afterAll(() => supabase?.stop());
beforeEach(async () => {
  orgId = await supabase.createOrganization();
});

const update = (over: Partial<BeginUpdate> = {}): BeginUpdate => ({
  ...{ role: 'INBOUND', agentId: null, newAgentId: randomUUID(), patch: { systemPrompt: 'P' } },
  ...{ defaults: defaultConfig('INBOUND'), expectedRevision: null, recreateIfMissing: false },
  ...over,
});
const both = (): BeginUpdate[] => [update(), update({ role: 'OUTBOUND' })];

function begin(over: Partial<BeginRequest> = {}, saveId: string = randomUUID(), owner = 'one') {
  return journal.begin(orgId, saveId, owner, {
    ...{ idempotencyKey: null, requestHash: 'x', cause: 'USER', actor: null, mappingVersion: 1 },
    ...{ leaseMs: FAR, deadlineMs: FAR, updates: [update()] },
    ...over,
  });
}

async function begun(over: Partial<BeginRequest> = {}) {
  const answer = await begin(over);
  if (answer.outcome !== 'BEGUN') throw new Error(answer.outcome);
  return { ...answer, ref: { orgId, sagaId: answer.saga.id, epoch: 1 } };
}

const answered = (key: AgentRole, remoteId: string = randomUUID(), observed = {}) => ({
  ...{ key, remoteId, observed },
});
type Ref = { orgId: string; sagaId: string; epoch: number };
const commit = (ref: Ref, parts = [answered('INBOUND')], ambiguous = false, lateMs = 0) =>
  journal.commit(ref, { parts, ambiguous, lateMs });
const abort = (ref: Ref, over: Partial<Parameters<SaveJournal['abort']>[1]> = {}) =>
  journal.abort(ref, {
    ...{ failure: FAILURE, results: [], missing: [], ambiguous: false, lateMs: FAR, leaseMs: FAR },
    ...{ nothingApplied: false, ...over },
  });
const rolledBack = (ref: Ref, over: Partial<Parameters<SaveJournal['rolledBack']>[1]> = {}) =>
  journal.rolledBack(ref, { results: [], missing: [], ambiguous: false, lateMs: FAR, ...over });
const attention = (ref: Ref, ambiguous = false) =>
  journal.needsAttention(ref, { results: [], failure: FAILURE, ambiguous, lateMs: FAR });
const takeOver = (ref: Ref, owner = 'two') => journal.takeover(orgId, ref.sagaId, owner, FAR);

/** Two agents, saved: the save, and what the assistants are called. */
async function saved(updates: BeginUpdate[] = both()) {
  const { ref } = await begun({ updates });
  const parts = updates.map(({ role }) => answered(role));
  const done = await commit(ref, parts);
  if (done.outcome !== 'COMMITTED') throw new Error(done.outcome);
  return { ref, assistants: parts.map(({ remoteId }) => remoteId) };
}

const takeOverTwice = async (ref: Ref) => {
  for (const owner of ['two', 'three']) {
    await lapse(ref.sagaId);
    await takeOver(ref, owner);
  }
};
const lapse = (saveId: string) =>
  supabase.sql`update public.sagas set lease_until = now() - interval '1 second' where id = ${saveId}`;
const lapseQuarantine = (saveId: string) =>
  supabase.sql`update public.sagas set quarantine_until = now() where id = ${saveId}`;

async function agentRow(role: AgentRole = 'INBOUND') {
  const [row] = await supabase.sql`
    select *, checked_at > now() - interval '1 hour' as checked, last_synced_at > now() - interval '1 hour' as synced
    from public.agents where org_id = ${orgId} and role = ${role}`;
  return row ?? {};
}
async function saveRow(saveId: string) {
  const [row] = await supabase.sql`
    select *, lease_until > clock_timestamp() as leased, lease_until is null as no_lease,
      quarantine_until > clock_timestamp() as quarantined, quarantine_until is null as no_quarantine
    from public.sagas where id = ${saveId}`;
  return row ?? {};
}
async function fenced(): Promise<boolean> {
  const [row] = await supabase.sql<{ fenced: boolean }[]>`
    select exists (select from lockstep.fences where org_id = ${orgId} and key = 'agents' and until > clock_timestamp())
      as fenced`;
  return row?.fenced ?? false;
}
const revisions = async () => {
  const [row] = await supabase.sql<{ count: number }[]>`
    select count(*)::integer from public.agent_revisions where org_id = ${orgId}`;
  return row?.count;
};

describe('saga_commit', () => {
  test('replaces everything that was known of the agent before', async () => {
    await saved();
    await supabase.sql`
      update public.agents set drift = '[{"path": "name"}]', adoptable = '{"name": "x"}', missing_since = now(),
        checked_at = now() - interval '1 day', last_synced_at = now() - interval '1 day'
      where org_id = ${orgId}`;
    const { ref } = await begun({
      mappingVersion: 2,
      updates: [update({ patch: { systemPrompt: 'Q' }, recreateIfMissing: true })],
    });
    const assistantId = randomUUID();
    await commit(ref, [answered('INBOUND', assistantId, { name: 'seen' })]);
    const row = await agentRow();
    expect(row).toMatchObject({
      ...{ revision: 2, last_save_id: ref.sagaId, mapping_version: 2, vapi_assistant_id: assistantId },
      ...{ drift: [], adoptable: null, missing_since: null, checked: true, synced: true },
      config: { systemPrompt: 'Q' },
    });
    const [observed] =
      await supabase.sql`select document from lockstep.observed where agent_id = ${row['id']}`;
    expect(observed).toEqual({ document: { name: 'seen' } });
  });

  test.each([
    ['at another revision', supabaseSet('revision = revision + 1')],
    ['of another save', supabaseSet('last_save_id = gen_random_uuid()')],
  ])('is refused if the agent is %s than the save saw', async (_what, change) => {
    await saved();
    const { ref } = await begun();
    await change();
    await expect(commit(ref)).rejects.toThrow();
    expect(await saveRow(ref.sagaId)).toMatchObject({ status: 'APPLYING' });
  });

  test.each([
    ['an assistant', [answered('INBOUND', '')]],
    ['what Vapi answered', [{ ...answered('INBOUND'), observed: null as unknown as object }]],
    ['anything of the agent', [answered('OUTBOUND')]],
  ])('is refused if it does not show %s', async (_what, agents) => {
    const { ref } = await begun();
    await expect(commit(ref, agents as ReturnType<typeof answered>[])).rejects.toThrow();
  });

  test('makes a revision only if the configuration changes', async () => {
    await saved();
    expect(await revisions()).toBe(2);
    await commit((await begun({ updates: [update({ patch: {} })] })).ref);
    expect([await revisions(), (await agentRow())['revision']]).toEqual([2, 1]);
    await commit((await begun({ updates: [update({ patch: { name: 'N' } })] })).ref);
    expect([await revisions(), (await agentRow())['revision']]).toEqual([3, 2]);
  });

  test.each([true, false])('leaves a fence if one of its requests is ambiguous: %s', async (ambiguous) => {
    const { ref } = await begun();
    await commit(ref, [answered('INBOUND')], ambiguous, FAR);
    expect(await fenced()).toBe(ambiguous);
    expect(await saveRow(ref.sagaId)).toMatchObject({ status: 'COMMITTED', ambiguous });
    const next = await begin();
    expect(next.outcome).toBe(ambiguous ? 'IN_PROGRESS' : 'BEGUN');
  });

  test('never lowers a fence', async () => {
    const { ref } = await begun();
    await supabase.sql`
      insert into lockstep.fences values (${orgId}, 'agents', now() + interval '1 hour', ${ref.sagaId})`;
    await commit(ref, [answered('INBOUND')], true, 0);
    expect(await fenced()).toBe(true);
  });

  test('is repeated with the same answer, and is stale from any other status', async () => {
    const { ref } = await begun();
    const agents = [answered('INBOUND')];
    const first = await commit(ref, agents);
    expect(await commit(ref, agents)).toEqual(first);
    const next = (await begun()).ref;
    await abort(next);
    expect(await commit(next)).toMatchObject({ outcome: 'STALE', saga: { status: 'ROLLING_BACK' } });
  });

  test('is answered to a repetition with the assistant of that save, also if the revision is older', async () => {
    const { assistants } = await saved();
    await supabase.sql`update public.agents set missing_since = now() where org_id = ${orgId}`;
    const request = {
      idempotencyKey: 'k',
      updates: [update({ patch: {}, recreateIfMissing: true })],
    };
    const { ref } = await begun(request);
    const anew = answered('INBOUND');
    await commit(ref, [anew]);
    const again = await begin(request);
    if (again.outcome !== 'REPLAY') throw new Error(again.outcome);
    expect(again.rows).toMatchObject([{ assistantId: anew.remoteId, revision: 1, missing: false }]);
    expect(assistants).not.toContain(anew.remoteId);
  });
});

describe('saga_hold', () => {
  test('ends the lease, so that recovery need not wait for it', async () => {
    const { ref } = await begun();
    await journal.hold(ref, { results: [], ambiguous: false, quarantineMs: 0, lookAfterMs: 0 });
    expect(await saveRow(ref.sagaId)).toMatchObject({ leased: false, no_quarantine: true, ambiguous: false });
    expect(await takeOver(ref)).toMatchObject({ outcome: 'TAKEN', quarantined: false });
  });

  test('stores a quarantine, and that something is ambiguous for good', async () => {
    const { ref } = await begun();
    await journal.hold(ref, { results: [], ambiguous: true, quarantineMs: FAR, lookAfterMs: 0 });
    expect(await saveRow(ref.sagaId)).toMatchObject({ leased: false, quarantined: true, ambiguous: true });
    await journal.hold(ref, { results: [], ambiguous: false, quarantineMs: FAR, lookAfterMs: 0 });
    expect(await saveRow(ref.sagaId)).toMatchObject({ quarantined: true, ambiguous: true });
    expect(await takeOver(ref)).toEqual({ outcome: 'NOT_DUE' });
    await lapseQuarantine(ref.sagaId);
    expect(await takeOver(ref)).toMatchObject({ outcome: 'TAKEN', quarantined: true });
  });

  test('never lowers a quarantine', async () => {
    const { ref } = await begun();
    await journal.hold(ref, { results: [], ambiguous: true, quarantineMs: 2 * FAR, lookAfterMs: 0 });
    const before = await saveRow(ref.sagaId);
    for (const quarantineMs of [FAR, 0]) {
      await journal.hold(ref, { results: [], ambiguous: true, quarantineMs, lookAfterMs: 0 });
      expect(await saveRow(ref.sagaId)).toMatchObject({ quarantine_until: before['quarantine_until'] });
    }
    await abort(ref, { ambiguous: true });
    expect(await saveRow(ref.sagaId)).toMatchObject({ quarantine_until: before['quarantine_until'] });
  });

  test('keeps recovery away until it makes sense to look again, which is no quarantine', async () => {
    const { ref } = await begun();
    await journal.hold(ref, { results: [], ambiguous: true, quarantineMs: 0, lookAfterMs: FAR });
    expect(await saveRow(ref.sagaId)).toMatchObject({ leased: false, no_quarantine: true });
    expect(await takeOver(ref)).toEqual({ outcome: 'NOT_DUE' });
    expect(await journal.due(100_000)).not.toContainEqual({ orgId, sagaId: ref.sagaId });
    const [view] = await supabase.sql`
      select not_before > clock_timestamp() as waits from public.agent_saves where id = ${ref.sagaId}`;
    expect(view).toEqual({ waits: true });
    await supabase.sql`update public.sagas set look_at = now() where id = ${ref.sagaId}`;
    expect(await takeOver(ref)).toMatchObject({ outcome: 'TAKEN', quarantined: false });
  });

  test('leaves a save alone that needs attention', async () => {
    const { ref } = await begun();
    await abort(ref);
    await attention(ref);
    const held = await journal.hold(ref, { results: [], ambiguous: false, quarantineMs: 0, lookAfterMs: 0 });
    expect(held).toMatchObject({ outcome: 'STALE', saga: { status: 'NEEDS_ATTENTION' } });
  });
});

describe('saga_takeover', () => {
  test('fences the last owner off; from the second takeover on, what the owners sent is ambiguous', async () => {
    const { ref } = await begun();
    expect(await takeOver(ref)).toEqual({ outcome: 'NOT_DUE' });
    await lapse(ref.sagaId);
    expect(await takeOver(ref)).toMatchObject({ outcome: 'TAKEN', once: true, pastDeadline: false });
    expect(await saveRow(ref.sagaId)).toMatchObject({
      ...{ epoch: 2, owner: 'two', ambiguous: false, leased: true, no_quarantine: true },
    });
    expect(await commit(ref)).toMatchObject({ outcome: 'STALE' });
    await lapse(ref.sagaId);
    expect(await takeOver(ref)).toMatchObject({ outcome: 'TAKEN', once: false });
    expect(await saveRow(ref.sagaId)).toMatchObject({ epoch: 3, ambiguous: true });
  });

  test('says nothing of one request each if the first owner recorded an ambiguous one', async () => {
    const { ref } = await begun();
    await journal.hold(ref, {
      results: [],
      ambiguous: true,
      quarantineMs: 0,
      lookAfterMs: 0,
      keepsLease: true,
    });
    expect(await saveRow(ref.sagaId)).toMatchObject({ epoch: 1, leased: true, ambiguous: true });
    await lapse(ref.sagaId);
    expect(await takeOver(ref)).toMatchObject({ once: false });
    expect(await saveRow(ref.sagaId)).toMatchObject({ ambiguous: true });
  });

  test('says that the deadline is over, and that a quarantine counts once', async () => {
    const { ref } = await begun();
    await supabase.sql`
      update public.sagas set deadline_at = now() - interval '1 second', quarantine_until = now() - interval '1 second',
        lease_until = now() - interval '1 second' where id = ${ref.sagaId}`;
    expect(await takeOver(ref)).toMatchObject({ pastDeadline: true, quarantined: true });
    await lapse(ref.sagaId);
    expect(await takeOver(ref)).toMatchObject({ pastDeadline: true, quarantined: false });
  });

  test('does not wait for the lock of the organization', async () => {
    const { ref } = await begun();
    await lapse(ref.sagaId);
    await supabase.sql.begin(async (sql) => {
      await sql`select from lockstep.organization_locks where org_id = ${orgId} for update`;
      expect(await takeOver(ref)).toEqual({ outcome: 'BUSY' });
    });
  });

  test.each(['COMMITTED', 'NEEDS_ATTENTION'])('finds nothing to do in a save that is %s', async (status) => {
    const { ref } = await begun();
    if (status === 'COMMITTED') await commit(ref);
    else {
      await abort(ref);
      await attention(ref);
    }
    await lapse(ref.sagaId);
    expect(await takeOver(ref)).toEqual({ outcome: 'NOT_DUE' });
  });
});

test('saga_due names the save that was touched longest ago first', async () => {
  const first = (await begun()).ref.sagaId;
  const other = orgId;
  orgId = await supabase.createOrganization();
  const second = (await begun()).ref.sagaId;
  await supabase.sql`
    update public.sagas set lease_until = now() - interval '1 hour' where id = ${second}`;
  await lapse(first);
  const ours = async (limit: number) =>
    (await journal.due(limit)).filter((due) => [other, orgId].includes(due.orgId)).map((due) => due.sagaId);
  expect(await ours(100_000)).toEqual([second, first]);
});

describe('saga_abort', () => {
  test('of a save whose requests were all answered keeps the lease for the undo', async () => {
    const { ref } = await begun();
    expect(await abort(ref)).toMatchObject({ outcome: 'ROLLING_BACK' });
    expect(await saveRow(ref.sagaId)).toMatchObject({
      ...{ leased: true, no_quarantine: true, ambiguous: false, finished_at: null },
      failure: FAILURE,
    });
  });

  test('of an ambiguous save stores the quarantine and ends the lease', async () => {
    const { ref } = await begun();
    expect(await abort(ref, { ambiguous: true, nothingApplied: true })).toMatchObject({
      outcome: 'ROLLING_BACK',
    });
    expect(await saveRow(ref.sagaId)).toMatchObject({ leased: false, quarantined: true, ambiguous: true });
  });

  test('of a save that was taken over twice is ambiguous, whatever its owner knows', async () => {
    const { ref } = await begun();
    await takeOverTwice(ref);
    expect(await abort({ ...ref, epoch: 3 }, { nothingApplied: true })).toMatchObject({
      outcome: 'ROLLING_BACK',
    });
    expect(await saveRow(ref.sagaId)).toMatchObject({ quarantined: true, ambiguous: true });
  });

  test('at once closes the save, and marks the missing agent and no other', async () => {
    await saved();
    const { ref } = await begun({ updates: both() });
    const closed = await abort(ref, { nothingApplied: true, missing: ['OUTBOUND'] });
    expect(closed).toMatchObject({ outcome: 'ROLLED_BACK' });
    expect(await saveRow(ref.sagaId)).toMatchObject({ no_lease: true, finished_at: expect.any(Date) });
    expect((await agentRow('OUTBOUND'))['missing_since']).toBeInstanceOf(Date);
    expect((await agentRow('INBOUND'))['missing_since']).toBeNull();
  });

  test('marks nothing as missing before everything is undone', async () => {
    await saved();
    const { ref } = await begun({ updates: both() });
    await abort(ref, { missing: ['OUTBOUND'] });
    expect((await agentRow('OUTBOUND'))['missing_since']).toBeNull();
  });
});

describe('saga_rolled_back', () => {
  test.each([
    ['nothing is ambiguous', false, false],
    ['its undo is ambiguous', true, false],
    ['it was taken over twice', false, true],
  ])('if %s: ambiguous undo %s, taken over twice %s', async (_what, ambiguous, taken) => {
    const { ref } = await begun();
    await abort(ref);
    if (taken) await takeOverTwice(ref);
    await rolledBack(taken ? { ...ref, epoch: 3 } : ref, { ambiguous });
    expect(await fenced()).toBe(ambiguous || taken);
    expect(await saveRow(ref.sagaId)).toMatchObject({
      ...{ status: 'ROLLED_BACK', ambiguous: ambiguous || taken, no_lease: true, no_quarantine: true },
    });
  });

  test('marks an agent as missing since the first time that it was found so', async () => {
    await saved();
    await supabase.sql`
      update public.agents set missing_since = '2026-01-01T00:00:00Z' where org_id = ${orgId} and role = 'INBOUND'`;
    await supabase.sql`
      update public.agents set checked_at = now() - interval '1 day' where org_id = ${orgId}`;
    const { ref } = await begun({ updates: [update({ role: 'OUTBOUND' })] });
    // As a save that was begun before the sweep found it.
    await supabase.sql`
      insert into lockstep.saga_parts (saga_id, org_id, key, resource, resource_id, remote_id, before_revision, after_content,
        after_revision)
      select ${ref.sagaId}, org_id, role, 'agent', id, vapi_assistant_id, revision, config, revision from public.agents
      where org_id = ${orgId} and role = 'INBOUND'`;
    await abort(ref);
    await rolledBack(ref, { missing: ['INBOUND', 'OUTBOUND'] });
    expect(await agentRow('INBOUND')).toMatchObject({
      missing_since: new Date('2026-01-01T00:00:00Z'),
      checked: true,
    });
    expect((await agentRow('OUTBOUND'))['missing_since']).toBeInstanceOf(Date);
  });

  test('does not mark an agent that has another assistant by now', async () => {
    await saved();
    const { ref } = await begun({ updates: both() });
    await supabase.sql`
      update public.agents set vapi_assistant_id = 'another ' || id where org_id = ${orgId} and role = 'INBOUND'`;
    await abort(ref);
    await rolledBack(ref, { missing: ['INBOUND'] });
    expect((await agentRow('INBOUND'))['missing_since']).toBeNull();
  });
});

describe('saga_needs_attention and saga_settle', () => {
  test.each([
    ['nothing is ambiguous', false, false],
    ['its undo is ambiguous', true, false],
    ['it was taken over twice', false, true],
  ])('%s: ambiguous undo %s, taken over twice %s', async (_what, ambiguous, taken) => {
    const begun1 = (await begun()).ref;
    await abort(begun1);
    if (taken) await takeOverTwice(begun1);
    const ref = { ...begun1, epoch: taken ? 3 : 1 };
    await attention(ref, ambiguous);
    const waits = ambiguous || taken;
    expect(await saveRow(ref.sagaId)).toMatchObject({
      ambiguous: waits,
      no_lease: true,
      no_quarantine: !waits,
    });
    const inspected = await journal.inspect(orgId, ref.sagaId);
    if (inspected.outcome !== 'FOUND') throw new Error(inspected.outcome);
    if (waits) expect(inspected.notBeforeMs).toBeGreaterThan(0);
    else expect(inspected.notBeforeMs).toBe(0);
    const settle = () => journal.settle(ref, 'ROLLED_BACK', { results: [], missing: [], lateMs: FAR });
    expect((await settle()).outcome).toBe(waits ? 'TOO_EARLY' : 'ROLLED_BACK');
    if (waits) {
      await lapseQuarantine(ref.sagaId);
      expect((await settle()).outcome).toBe('ROLLED_BACK');
    }
    expect(await fenced()).toBe(true);
    expect(await saveRow(ref.sagaId)).toMatchObject({ status: 'ROLLED_BACK', no_lease: true });
  });

  test('shows an operator how long a server still works on a save', async () => {
    const { ref } = await begun({ leaseMs: 600_000 });
    const working = await journal.inspect(orgId, ref.sagaId);
    if (working.outcome !== 'FOUND') throw new Error(working.outcome);
    // Whole milliseconds, rounded up.
    expect(working.leaseMs).toBeGreaterThan(0);
    expect(working.leaseMs).toBeLessThanOrEqual(600_000);
    await lapse(ref.sagaId);
    expect(await journal.inspect(orgId, ref.sagaId)).toMatchObject({ leaseMs: 0 });
    await attention(ref);
    expect(await journal.inspect(orgId, ref.sagaId)).toMatchObject({ leaseMs: null });
  });

  test('settles nothing that recovery is still undoing', async () => {
    const { ref } = await begun();
    await abort(ref);
    expect(await journal.settle(ref, 'ROLLED_BACK', { results: [], missing: [], lateMs: 0 })).toMatchObject({
      outcome: 'STALE',
    });
  });

  test('settles with the agents that are missing', async () => {
    await saved();
    const { ref } = await begun({ updates: both() });
    await abort(ref);
    await attention(ref);
    await journal.settle(ref, 'ROLLED_BACK', { results: [], missing: ['INBOUND'], lateMs: 0 });
    expect((await agentRow('INBOUND'))['missing_since']).toBeInstanceOf(Date);
    expect((await agentRow('OUTBOUND'))['missing_since']).toBeNull();
  });
});

describe('begin_agents', () => {
  test('is answered again as begun only to its owner, before anything else has happened', async () => {
    const id = randomUUID();
    expect((await begin({}, id)).outcome).toBe('BEGUN');
    expect((await begin({}, id)).outcome).toBe('BEGUN');
    expect((await begin({}, id, 'two')).outcome).toBe('REPLAY');
    await lapse(id);
    await journal.takeover(orgId, id, 'one', FAR);
    expect((await begin({}, id)).outcome).toBe('REPLAY');
    const next = (await begun({ leaseMs: FAR }).catch(() => undefined))?.ref;
    expect(next).toBeUndefined();
    await commit({ orgId, sagaId: id, epoch: 2 });
    const last = randomUUID();
    await supabase.sql`delete from lockstep.fences where org_id = ${orgId}`;
    expect((await begin({}, last)).outcome).toBe('BEGUN');
    await commit({ orgId, sagaId: last, epoch: 1 });
    expect((await begin({}, last)).outcome).toBe('REPLAY');
  });

  test('waits beside a save that needs attention, and names no time', async () => {
    const { ref } = await begun();
    expect(await begin()).toMatchObject({ outcome: 'IN_PROGRESS', retryAfterMs: expect.any(Number) });
    await abort(ref);
    expect(await begin()).toMatchObject({ outcome: 'IN_PROGRESS', status: 'ROLLING_BACK' });
    await attention(ref);
    expect(await begin()).toEqual({
      ...{ outcome: 'IN_PROGRESS', sagaId: ref.sagaId, status: 'NEEDS_ATTENTION', retryAfterMs: null },
    });
  });

  test('waits behind a fence, and names when it is over, never a time before now', async () => {
    const { ref } = await begun();
    await commit(ref, [answered('INBOUND')], true, FAR);
    const answer = await begin();
    if (answer.outcome !== 'IN_PROGRESS') throw new Error(answer.outcome);
    expect(answer.retryAfterMs).toBeGreaterThan(FAR / 2);
    expect(answer.retryAfterMs).toBeLessThanOrEqual(FAR);
  });

  test('counts the lease from when it has the lock', async () => {
    await saved();
    const id = randomUUID();
    let answer: ReturnType<typeof begin> | undefined;
    let released: Date | undefined;
    await supabase.sql.begin(async (sql) => {
      await sql`select from lockstep.organization_locks where org_id = ${orgId} for update`;
      answer = begin({}, id);
      const waiting = async () => {
        const [row] = await supabase.sql<{ count: number }[]>`
          select count(*)::integer from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`;
        return row?.count;
      };
      await expect.poll(waiting).toBe(1);
      [{ released } = { released: undefined }] = await sql<
        { released: Date }[]
      >`select clock_timestamp() as released`;
    });
    expect((await answer)?.outcome).toBe('BEGUN');
    const [row] = await supabase.sql`
      select started_at >= ${released ?? null} as after_lock, lease_until - started_at = ${FAR} * interval '1 ms' as whole
      from public.agent_saves where id = ${id}`;
    expect(row).toEqual({ after_lock: true, whole: true });
  });

  test('of two at the same moment, one waits for the other and sees its save', async () => {
    await saved();
    const answers = await Promise.all([begin(), begin(), begin(), begin()]);
    expect(answers.map(({ outcome }) => outcome).sort()).toEqual([
      ...['BEGUN', 'IN_PROGRESS', 'IN_PROGRESS', 'IN_PROGRESS'],
    ]);
  });

  test('refuses an agent of another id, also if there is none yet', async () => {
    const agentId = randomUUID();
    expect((await begin({ updates: [update({ agentId })] })).outcome).toBe('NO_AGENT');
    await saved();
    expect((await begin({ updates: [update({ agentId })] })).outcome).toBe('NO_AGENT');
    const { id } = await agentRow();
    expect((await begin({ updates: [update({ agentId: String(id) })] })).outcome).toBe('BEGUN');
  });

  test('compares the expected revision, which is 0 for an agent that does not exist', async () => {
    const expecting = async (expectedRevision: number) =>
      (await begin({ updates: [update({ expectedRevision })] })).outcome;
    expect(await expecting(1)).toBe('REVISION_CONFLICT');
    await saved([update({ expectedRevision: 0 })]);
    expect(await expecting(0)).toBe('REVISION_CONFLICT');
    expect(await expecting(2)).toBe('REVISION_CONFLICT');
    expect(await expecting(1)).toBe('BEGUN');
  });

  test('compares the expected save, which a save that kept the revision outdates', async () => {
    const { ref } = await saved([update()]);
    const expecting = async (expectedSaveId: string) =>
      (await begin({ updates: [update({ expectedRevision: 1, expectedSaveId })] })).outcome;
    expect(await expecting(randomUUID())).toBe('REVISION_CONFLICT');
    await commit((await begun({ updates: [update({ patch: {} })] })).ref);
    expect(await expecting(ref.sagaId)).toBe('REVISION_CONFLICT');
    expect(await expecting(String((await agentRow())['last_save_id']))).toBe('BEGUN');
  });

  test('merges the change into what is stored, and defaults under both', async () => {
    await saved([update({ patch: { systemPrompt: 'P', name: 'Kept' } })]);
    await supabase.sql`update public.agents set config = config - 'language' where org_id = ${orgId}`;
    const { images } = await begun({ updates: [update({ patch: { firstMessage: 'Hello' } })] });
    expect(images[0]?.after.content).toEqual({
      ...defaultConfig('INBOUND'),
      ...{ systemPrompt: 'P', name: 'Kept', firstMessage: 'Hello', language: 'en' },
    });
  });

  test('refuses a new agent without a prompt', async () => {
    expect(await begin({ updates: [update({ patch: { name: 'N' } })] })).toEqual({
      outcome: 'INCOMPLETE',
      missing: [{ role: 'INBOUND', field: 'systemPrompt' }],
    });
  });

  test('makes a missing assistant anew with leave, and refuses both agents without', async () => {
    await saved();
    await supabase.sql`
      update public.agents set missing_since = now() where org_id = ${orgId} and role = 'INBOUND'`;
    const refused = await begin({ updates: both() });
    if (refused.outcome !== 'REFUSED') throw new Error(refused.outcome);
    expect(refused.saga).toMatchObject({ status: 'ROLLED_BACK', failure: { reason: 'RESOURCE_MISSING' } });
    expect(await saveRow(refused.saga.id)).toMatchObject({ no_lease: true });
    const { images } = await begun({ updates: [update({ recreateIfMissing: true })] });
    expect(images).toMatchObject([{ remoteId: null, recreate: true, before: { revision: 1 } }]);
  });

  test('stores who asked, why, and until when recovery tries to finish it', async () => {
    const { ref, saga } = await begun({ actor: 'somebody', cause: 'ADOPT', leaseMs: 1_000, deadlineMs: FAR });
    expect(saga).toMatchObject({ kind: 'agents', cause: 'ADOPT' });
    const [row] = await supabase.sql`
      select actor, kind, owner, deadline_at - started_at = ${FAR} * interval '1 ms' as deadline,
        lease_until - started_at = interval '1 s' as lease from public.agent_saves where id = ${ref.sagaId}`;
    expect(row).toEqual({ actor: 'somebody', kind: 'ADOPT', owner: 'one', deadline: true, lease: true });
  });

  test('gives a key to one save, and to one request', async () => {
    const first = await begun({ idempotencyKey: 'k' });
    expect(await begin({ idempotencyKey: 'k' })).toMatchObject({
      outcome: 'REPLAY',
      saga: { id: first.saga.id },
    });
    expect(await begin({ idempotencyKey: 'k', requestHash: 'y' })).toEqual({
      outcome: 'IDEMPOTENCY_CONFLICT',
      sagaId: first.saga.id,
    });
    orgId = await supabase.createOrganization();
    expect((await begin({ idempotencyKey: 'k', requestHash: 'y' })).outcome).toBe('BEGUN');
  });
});

describe('what the sweep looks up and notes', () => {
  const note = async (over: object = {}) => {
    const row = await agentRow();
    return store.note([
      {
        ...{ orgId, agentId: String(row['id']), revision: Number(row['revision']) },
        ...{ saveId: String(row['last_save_id']), state: 'SAME' as const, ...over },
      },
    ]);
  };
  const looked = async () => {
    const [agent] = await store.lookup([String((await agentRow())['vapi_assistant_id'])]);
    return agent;
  };

  test.each(['APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION', 'fenced'])(
    'says nothing of an organization whose save is %s',
    async (status) => {
      await saved();
      expect(await looked()).toMatchObject({ busy: false, missing: false, policy: 'REVERT' });
      const { ref } = await begun({ updates: [update({ role: 'OUTBOUND' })] });
      if (status === 'ROLLING_BACK' || status === 'NEEDS_ATTENTION') await abort(ref);
      if (status === 'NEEDS_ATTENTION') await attention(ref);
      if (status === 'fenced') await commit(ref, [answered('OUTBOUND')], true, FAR);
      expect(await looked()).toMatchObject({ busy: true });
      expect(await note({ state: 'MISSING' })).toEqual([]);
      expect((await agentRow())['missing_since']).toBeNull();
    },
  );

  test('says that an agent is missing, in the look-up and on the page', async () => {
    await saved();
    await note({ state: 'MISSING' });
    expect(await looked()).toMatchObject({ missing: true });
    const rows = (await store.page(null, 100_000)).filter((row) => row.orgId === orgId);
    expect(rows.map(({ missing }) => missing).sort()).toEqual([false, true]);
  });

  test('gives every agent on one page only, in order', async () => {
    await saved();
    const all = await store.page(null, 100_000);
    const [first, second] = all;
    expect(await store.page(first?.agentId ?? null, 1)).toEqual([second]);
    expect(all.map(({ agentId }) => agentId)).toEqual(all.map(({ agentId }) => agentId).sort());
  });

  test.each([
    ['revision', { revision: 7 }],
    ['save', { saveId: randomUUID() }],
    ['organization', { orgId: randomUUID() }],
  ])('is not noted of another %s', async (_what, over) => {
    await saved();
    expect(await note({ state: 'MISSING', ...over })).toEqual([]);
    expect((await agentRow())['missing_since']).toBeNull();
  });

  test('is what was seen last: drifted, missing, or the same', async () => {
    await saved();
    const seen = async () => {
      const { drift, adoptable, missing_since: since } = await agentRow();
      return { drift, adoptable, missing: since !== null };
    };
    const drift = [{ path: 'name', ours: 'a', theirs: 'b' }];
    expect(await note({ state: 'DRIFTED', drift, adoptable: { name: 'b' } })).toHaveLength(1);
    expect(await seen()).toEqual({ drift, adoptable: { name: 'b' }, missing: false });
    await note({ state: 'DRIFTED', drift, adoptable: null });
    expect(await seen()).toEqual({ drift, adoptable: null, missing: false });
    await note({ state: 'DRIFTED', drift, adoptable: { name: 'b' } });
    await note({ state: 'MISSING' });
    expect(await seen()).toEqual({ drift: [], adoptable: null, missing: true });
    await note({ state: 'SAME' });
    expect(await seen()).toEqual({ drift: [], adoptable: null, missing: false });
  });

  test('waits for a save that is just beginning, and then does not count', async () => {
    await saved();
    const { ref } = await begun();
    // As if the beginning had not committed yet: the lock is held, the save not to be seen.
    await supabase.sql`delete from lockstep.saga_keys where saga_id = ${ref.sagaId}`;
    let noted: Promise<string[]> | undefined;
    await supabase.sql.begin(async (sql) => {
      await sql`select from lockstep.organization_locks where org_id = ${orgId} for update`;
      await sql`insert into lockstep.saga_keys values (${orgId}, 'agents', ${ref.sagaId})`;
      noted = note({ state: 'MISSING' });
      noted.catch(() => {});
      const waiting = async () => {
        const [row] = await supabase.sql<{ count: number }[]>`
          select count(*)::integer from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`;
        return row?.count;
      };
      const done = noted.then(() => 1);
      await expect.poll(() => Promise.race([waiting(), done])).toBe(1);
    });
    expect(await noted).toEqual([]);
  });
});

describe('sweep_orphans', () => {
  /** A save that made both assistants and was rolled back, and the stamp that its inbound one carries. */
  async function candidate() {
    const { ref, images, deployment } = await begun({ updates: both() });
    await abort(ref);
    await rolledBack(ref);
    const agentId = images.find(({ key }) => key === 'INBOUND')?.resourceId ?? '';
    return {
      ...{ deployment, orgId, saveId: ref.sagaId, agentId, role: 'INBOUND' as const, revision: 1 },
      assistantId: randomUUID(),
    };
  }

  test('names what a save made and did not keep', async () => {
    const one = await candidate();
    expect(await store.orphans([one], 0)).toEqual([one.assistantId]);
  });

  test.each<[string, object]>([
    ['deployment', { deployment: randomUUID() }],
    ['organization', { orgId: randomUUID() }],
    ['save', { saveId: randomUUID() }],
    ['agent', { agentId: randomUUID() }],
    ['role', { role: 'OUTBOUND' }],
  ])('leaves the assistant of another %s alone', async (_what, over) => {
    expect(await store.orphans([{ ...(await candidate()), ...over }], 0)).toEqual([]);
  });

  test('leaves an assistant alone whose save closed a moment ago', async () => {
    expect(await store.orphans([await candidate()], FAR)).toEqual([]);
  });

  test('leaves the assistants of agents and of their history alone', async () => {
    const one = await candidate();
    const { assistants } = await saved();
    const [kept = ''] = assistants;
    expect(await store.orphans([{ ...one, assistantId: kept }], 0)).toEqual([]);
    await supabase.sql`delete from public.agent_revisions where org_id = ${orgId}`;
    expect(await store.orphans([{ ...one, assistantId: kept }], 0)).toEqual([]);
    await supabase.sql`
      insert into public.agent_revisions select id, revision, org_id, role, config, vapi_assistant_id, last_save_id, now()
      from public.agents where org_id = ${orgId}`;
    await supabase.sql`
      update public.agents set vapi_assistant_id = 'another ' || id where org_id = ${orgId}`;
    expect(await store.orphans([{ ...one, assistantId: kept }], 0)).toEqual([]);
  });

  test('leaves copies alone: of a save that kept all that it made, or that only changed an assistant', async () => {
    const first = await begun();
    const { deployment } = first;
    await abort(first.ref, { nothingApplied: true });
    const { ref } = await saved();
    const row = await agentRow();
    const copy = {
      ...{ deployment, orgId, saveId: ref.sagaId, agentId: String(row['id']), role: 'INBOUND' as const },
      ...{ revision: 1, assistantId: randomUUID() },
    };
    expect(await store.orphans([copy], 0)).toEqual([]);
    const changed = (await begun({ updates: [update({ patch: { name: 'N' } })] })).ref;
    await abort(changed);
    await rolledBack(changed);
    expect(await store.orphans([{ ...copy, saveId: changed.sagaId }], 0)).toEqual([]);
    const anew = (await begun({ updates: [update({ recreateIfMissing: true })] })).ref;
    await abort(anew);
    await rolledBack(anew);
    expect(await store.orphans([{ ...copy, saveId: anew.sagaId }], 0)).toEqual([copy.assistantId]);
  });
});

test('sweep_listed says whether a save is open or fenced, and whether the row of the agent says something else than "in step"', async () => {
  const { ref, assistants } = await saved([update()]);
  const agentId = String((await agentRow())['id']);
  const listed = async () => (await store.listed(assistants))[0];
  const note = (state: 'SAME' | 'UNCONFIRMED', saveId = ref.sagaId) =>
    store.note([{ orgId, agentId, revision: 1, saveId, state }]);
  expect(await listed()).toMatchObject({ busy: false, news: false });
  // Of a save that is not its last one.
  await note('UNCONFIRMED', randomUUID());
  expect(await listed()).toMatchObject({ news: false });
  await note('UNCONFIRMED');
  expect(await listed()).toMatchObject({ news: true });
  await note('SAME');
  expect(await listed()).toMatchObject({ news: false });

  const { ref: open } = await begun();
  expect(await listed()).toMatchObject({ busy: true });
  await abort(open, { nothingApplied: true });
  await supabase.sql`
    insert into lockstep.fences (org_id, key, until, saga_id) values (${orgId}, 'agents', now() - interval '1 second', ${open.sagaId})`;
  expect(await listed()).toMatchObject({ busy: false });
});

describe('saga_cleanup', () => {
  const age = (saveId: string, hours: number) => supabase.sql`
    update public.sagas set finished_at = now() - ${hours} * interval '1 hour' where id = ${saveId}`;

  test('forgets keys and images 72 hours after the end, once', async () => {
    const { ref } = await begun({ idempotencyKey: 'k' });
    await commit(ref);
    await age(ref.sagaId, 71.9);
    expect(await store.cleanup(100, RETENTION_DAYS)).toBe(0);
    await age(ref.sagaId, 72.1);
    expect(await store.cleanup(100, RETENTION_DAYS)).toBe(1);
    expect(await store.cleanup(100, RETENTION_DAYS)).toBe(0);
    expect(await saveRow(ref.sagaId)).toMatchObject({ idempotency_key: null });
    const images = await supabase.sql`
      select before_content, after_content from lockstep.saga_parts where saga_id = ${ref.sagaId}`;
    expect([...images]).toEqual([{ before_content: null, after_content: {} }]);
  });

  test('is done by a role that cannot even see a save that closed less than 72 hours ago', async () => {
    const { ref } = await begun();
    await commit(ref);
    const seen = async () => {
      const rows = await supabase.sql.begin(async (sql) => {
        await sql`set local role lockstep_janitor`;
        const saves = await sql`select id from public.sagas where id = ${ref.sagaId}`;
        const images = await sql`select saga_id from lockstep.saga_parts where saga_id = ${ref.sagaId}`;
        return [saves.length, images.length];
      });
      return rows;
    };
    await age(ref.sagaId, 71.9);
    expect(await seen()).toEqual([0, 0]);
    await age(ref.sagaId, 72.1);
    expect(await seen()).toEqual([1, 1]);
  });

  test('deletes a save that made no revision once its retention is over, and never one of the history', async () => {
    const { ref: history } = await begun();
    await commit(history);
    const { ref } = await begun();
    await abort(ref, { nothingApplied: true });
    // What other tests have left.
    await store.cleanup(100, RETENTION_DAYS);
    const ids = async () => {
      const rows = await supabase.sql<{ id: string }[]>`select id from public.sagas where org_id = ${orgId}`;
      return rows.map(({ id }) => id).sort();
    };
    const both = [history.sagaId, ref.sagaId].sort();
    for (const id of both) await age(id, 24 * RETENTION_DAYS - 1);
    expect(await store.cleanup(100, RETENTION_DAYS)).toBe(2);
    expect(await store.cleanup(100, RETENTION_DAYS)).toBe(0);
    expect(await ids()).toEqual(both);
    for (const id of both) await age(id, 24 * RETENTION_DAYS + 1);
    await supabase.sql.begin(async (sql) => {
      await sql`select from public.sagas where id = ${ref.sagaId} for update`;
      expect(await store.cleanup(100, RETENTION_DAYS)).toBe(0);
    });
    expect(await store.cleanup(100, RETENTION_DAYS)).toBe(1);
    expect(await ids()).toEqual([history.sagaId]);
    await supabase.sql.begin(async (sql) => {
      await sql`set local role lockstep_janitor`;
      await sql`delete from public.sagas where id = ${history.sagaId}`;
    });
    expect(await ids()).toEqual([history.sagaId]);
  });

  test('skips what another cleanup has locked', async () => {
    const { ref } = await begun();
    await commit(ref);
    // What other tests have left.
    await store.cleanup(100, RETENTION_DAYS);
    await age(ref.sagaId, 100);
    await supabase.sql.begin(async (sql) => {
      await sql`select from public.sagas where id = ${ref.sagaId} for update`;
      expect(await store.cleanup(100, RETENTION_DAYS)).toBe(0);
    });
    expect(await store.cleanup(100, RETENTION_DAYS)).toBe(1);
  });
});

test('set_drift_policy changes one organization, and says whether there is such a one', async () => {
  const other = await supabase.createOrganization();
  expect(await store.setDriftPolicy(orgId, 'ADOPT')).toBe(true);
  expect(await store.setDriftPolicy(randomUUID(), 'ADOPT')).toBe(false);
  const rows = await supabase.sql<{ id: string; drift_policy: string }[]>`
    select id, drift_policy from public.organizations where id in (${orgId}, ${other})`;
  expect(new Map(rows.map((row) => [row.id, row.drift_policy]))).toEqual(
    new Map([
      [orgId, 'ADOPT'],
      [other, 'REVERT'],
    ]),
  );
});

test('vapi_account binds the database to the first account that is seen, and to no other', async () => {
  await supabase.sql`update lockstep.deployment set vapi_org_id = null`;
  expect(await account('')).toBeNull();
  expect(await account('first')).toBe('first');
  expect(await account('second')).toBe('first');
  expect(await account('')).toBe('first');
});

/** A change of the organization's agents, behind the back of the save functions. */
function supabaseSet(assignment: string) {
  return () => supabase.sql.unsafe(`update public.agents set ${assignment} where org_id = '${orgId}'`);
}

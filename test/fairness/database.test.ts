/** What the database counts for all replicas together: saves of an organization, and the replicas themselves. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { createRpcReplicaRegistry } from '../../src/adapters/supabase/rpc-replica-registry.ts';
import { createRpcSweepStore } from '../../src/adapters/supabase/rpc-sweep-store.ts';
import { defaultConfig } from '../../src/domain/agents/agent-config.ts';
import type { ReplicaRegistry } from '../../src/ports/admission.ts';
import type { BeginOutcome, BeginRequest, SaveJournal } from '../../src/ports/agents/save-journal.ts';
import type { SweepStore } from '../../src/ports/agents/sweep-store.ts';
import { MAPPING_VERSION } from '../../src/services/agents/render.ts';
import { supabaseConfig } from '../support/app.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

let supabase: TestSupabase;
let journal: SaveJournal;
let registry: ReplicaRegistry;
let sweepStore: SweepStore;
beforeAll(async () => {
  supabase = await createTestSupabase();
  const client = createServiceClient(supabaseConfig(supabase));
  journal = createRpcJournal(client);
  registry = createRpcReplicaRegistry(client);
  sweepStore = createRpcSweepStore(client);
});
afterAll(() => supabase?.stop());

const OWNER = randomUUID();
const LIMIT = { saves: 3, perMs: 60_000 };

function request(change: Partial<BeginRequest> = {}): BeginRequest {
  return {
    idempotencyKey: null,
    requestHash: 'same',
    cause: 'USER',
    actor: 'a user',
    limit: LIMIT,
    leaseMs: 60_000,
    deadlineMs: 120_000,
    mappingVersion: MAPPING_VERSION,
    updates: [
      {
        role: 'INBOUND',
        agentId: null,
        newAgentId: randomUUID(),
        patch: { systemPrompt: 'P' },
        defaults: defaultConfig('INBOUND'),
        expectedRevision: null,
        recreateIfMissing: false,
      },
    ],
    ...change,
  };
}

/** Begins a save, and ends it at once. */
async function begin(
  orgId: string,
  change: Partial<BeginRequest> = {},
  end: 'abort' | 'commit' = 'abort',
): Promise<BeginOutcome> {
  const saveId = randomUUID();
  const answer = await journal.begin(orgId, saveId, OWNER, request(change));
  if (answer.outcome !== 'BEGUN') return answer;
  const ref = { orgId, sagaId: saveId, epoch: 1 };
  if (end === 'commit') {
    const parts = [{ key: 'INBOUND', remoteId: randomUUID(), observed: {} }];
    await journal.commit(ref, { parts, ambiguous: false, lateMs: 0 });
    return answer;
  }
  await journal.abort(ref, {
    failure: { reason: 'VAPI_REJECTED', message: 'no', retryable: false },
    results: answer.saga.results,
    missing: [],
    ambiguous: false,
    lateMs: 0,
    leaseMs: 1_000,
    nothingApplied: true,
  });
  return answer;
}

describe('the saves that an organization may begin', () => {
  test('allows this many saves, then refuses with the time until the oldest of them no longer counts', async () => {
    const orgId = await supabase.createOrganization();
    for (let save = 0; save < LIMIT.saves; save += 1) expect((await begin(orgId)).outcome).toBe('BEGUN');
    // The first of the three was fifty seconds ago.
    await supabase.sql`
      update public.sagas set started_at = started_at - interval '50 seconds'
      where id = (select id from public.agent_saves where org_id = ${orgId} order by started_at limit 1)`;
    const refused = await begin(orgId);
    if (refused.outcome !== 'RATE_LIMITED') expect.fail(refused.outcome);
    expect(refused.retryAfterMs).toBeGreaterThan(0);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(10_000);
    const [{ saves } = { saves: 0 }] = await supabase.sql<{ saves: number }[]>`
      select count(*)::integer as saves from public.agent_saves where org_id = ${orgId}`;
    expect(saves).toBe(LIMIT.saves);

    await supabase.sql`
      update public.sagas set started_at = started_at - interval '11 seconds' where org_id = ${orgId}`;
    expect((await begin(orgId)).outcome).toBe('BEGUN');
    expect((await begin(orgId)).outcome).toBe('RATE_LIMITED');
  });

  test('are counted without reading the organization’s history', async () => {
    const orgId = await supabase.createOrganization();
    expect((await begin(orgId)).outcome).toBe('BEGUN');
    await supabase.sql`
      insert into public.sagas select (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid(),
          'started_at', s.started_at - n * interval '1 hour'))).*
        from public.sagas s, generate_series(1, 5000) n where s.org_id = ${orgId}`;
    await supabase.sql`analyze public.sagas`;
    // In one transaction, whose own counters are exact at once.
    const read = await supabase.sql.begin(async (sql) => {
      await sql`select public.begin_agents(${orgId}, ${randomUUID()}, ${OWNER}, ${JSON.stringify({
        ...{ requestHash: 'same', cause: 'USER', actor: 'a user', limit: LIMIT, leaseMs: 60_000 },
        ...{ deadlineMs: 120_000, confirmMs: 0, mappingVersion: MAPPING_VERSION },
        updates: [
          {
            ...{ role: 'INBOUND', newAgentId: randomUUID(), patch: { systemPrompt: 'P' } },
            ...{ defaults: defaultConfig('INBOUND'), recreateIfMissing: false },
          },
        ],
      })}::text::jsonb)`;
      const [{ rows } = { rows: 0 }] = await sql<{ rows: number }[]>`
        select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::integer as rows
        from pg_stat_xact_user_tables where relname = 'sagas'`;
      return rows;
    });
    expect(read).toBeLessThan(100);
  });

  test('admits one of two concurrent saves if only one more is allowed', async () => {
    const orgId = await supabase.createOrganization();
    const first = await begin(orgId, { limit: undefined }, 'commit');
    expect(first.outcome).toBe('BEGUN');
    const ask = () => begin(orgId, { limit: { saves: 2, perMs: 60_000 } });
    let answers: Promise<BeginOutcome[]> | undefined;
    await supabase.sql.begin(async (sql) => {
      await sql`select from lockstep.organization_locks where org_id = ${orgId} for update`;
      answers = Promise.all([ask(), ask()]);
      const blocked = async () => {
        const [{ count } = { count: 0 }] = await supabase.sql<{ count: number }[]>`
          select count(*)::integer from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`;
        return count;
      };
      await expect.poll(blocked, { timeout: 120_000 }).toBe(2);
    });
    expect((await answers)?.map(({ outcome }) => outcome).sort()).toEqual(['BEGUN', 'RATE_LIMITED']);
  });

  test('does not count the saves of another organization, or saves that no user asked for', async () => {
    const orgId = await supabase.createOrganization();
    const other = await supabase.createOrganization();
    for (let save = 0; save < LIMIT.saves; save += 1) {
      expect((await begin(other)).outcome).toBe('BEGUN');
      expect((await begin(orgId, { actor: null, cause: 'REVERT', limit: undefined })).outcome).toBe('BEGUN');
    }
    expect((await begin(orgId)).outcome).toBe('BEGUN');
    expect((await begin(other)).outcome).toBe('RATE_LIMITED');
  });

  test('answers a save that began earlier, even over the limit', async () => {
    const orgId = await supabase.createOrganization();
    const idempotencyKey = 'the first';
    const first = await begin(orgId, { idempotencyKey });
    for (let save = 1; save < LIMIT.saves; save += 1) await begin(orgId);
    expect((await begin(orgId)).outcome).toBe('RATE_LIMITED');
    const again = await begin(orgId, { idempotencyKey });
    expect(again).toMatchObject({
      outcome: 'REPLAY',
      saga: { id: first.outcome === 'BEGUN' && first.saga.id },
    });
    expect(await begin(orgId, { idempotencyKey, requestHash: 'other' })).toMatchObject({
      outcome: 'IDEMPOTENCY_CONFLICT',
    });
    // A refusal uses no key up.
    expect((await begin(orgId, { idempotencyKey: 'new' })).outcome).toBe('RATE_LIMITED');
    await supabase.sql`update public.sagas set started_at = started_at - interval '2 minutes' where org_id = ${orgId}`;
    expect((await begin(orgId, { idempotencyKey: 'new' })).outcome).toBe('BEGUN');
  });

  test('does not count a save against itself if it is begun again because its answer was lost', async () => {
    const orgId = await supabase.createOrganization();
    const sagaId = randomUUID();
    const limit = { saves: 1, perMs: 60_000 };
    const first = await journal.begin(orgId, sagaId, OWNER, request({ limit }));
    expect(first.outcome).toBe('BEGUN');
    expect(await journal.begin(orgId, sagaId, OWNER, request({ limit }))).toEqual(first);
  });

  test('limits nothing without a limit; reports an organization that does not exist', async () => {
    const orgId = await supabase.createOrganization();
    for (let save = 0; save <= LIMIT.saves; save += 1)
      expect((await begin(orgId, { limit: undefined })).outcome).toBe('BEGUN');
    expect((await begin(randomUUID())).outcome).toBe('NO_ORGANIZATION');
  });
});

describe('the replicas', () => {
  const beat = async (replica: string) => {
    const { replicas, known } = await registry.beat(replica, 5_000);
    return { replicas, known };
  };

  test("receive the database's time, and the start of the last complete sweep of any replica", async () => {
    const first = await registry.beat(randomUUID(), 5_000);
    expect(first.sweptAt).toBeNull();
    const [clock] = await supabase.sql<{ ms: number }[]>`
      select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`;
    const second = await registry.beat(randomUUID(), 5_000);
    expect(clock?.ms).toBeGreaterThanOrEqual(first.now - 1);
    expect(clock?.ms).toBeLessThanOrEqual(second.now + 1);
    const swept = await sweepStore.done(60_000);
    // An older walk that ends later does not set the time back.
    expect(await sweepStore.done(120_000)).toBe(swept);
    expect((await registry.beat(randomUUID(), 5_000)).sweptAt).toBe(swept);
    await supabase.sql`delete from lockstep.replicas`;
  });

  test('are counted while their heartbeats arrive; a new replica counts once all others have sent a heartbeat', async () => {
    const [a, b, c] = [randomUUID(), randomUUID(), randomUUID()];
    expect(await beat(a)).toEqual({ replicas: 1, known: true });
    expect(await beat(b)).toEqual({ replicas: 2, known: false });
    expect(await beat(b)).toEqual({ replicas: 2, known: false });
    expect(await beat(a)).toEqual({ replicas: 2, known: true });
    expect(await beat(b)).toEqual({ replicas: 2, known: true });
    expect(await beat(c)).toEqual({ replicas: 3, known: false });
    expect(await beat(a)).toEqual({ replicas: 3, known: true });
    expect(await beat(c)).toEqual({ replicas: 3, known: false });
    expect(await beat(b)).toEqual({ replicas: 3, known: true });
    expect(await beat(c)).toEqual({ replicas: 3, known: true });

    // A has been silent for too long: the others share its part, and it begins anew.
    await supabase.sql`update lockstep.replicas set seen_at = seen_at - interval '6 seconds' where id = ${a}`;
    expect(await beat(b)).toEqual({ replicas: 2, known: true });
    expect(await beat(a)).toEqual({ replicas: 3, known: false });
  });

  test('that join at the same moment both learn that they are two', async () => {
    await supabase.sql`delete from lockstep.replicas`;
    const answers = await Promise.all(Array.from({ length: 8 }, () => beat(randomUUID())));
    expect(answers.map(({ replicas }) => replicas).sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(answers.filter(({ known }) => known)).toEqual([{ replicas: 1, known: true }]);
  });
});

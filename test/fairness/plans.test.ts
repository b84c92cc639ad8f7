/**
 * No query of the product reads more than it answers, however much there is: no scan of a whole table, and a bounded number of
 * rows. It counts rows and not time: what the statements really read, functions included, by Postgres's own counters.
 */
import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

/** Tables of a row or a few, which are read whole. */
const SMALL = ['deployment', 'event_server', 'leases', 'replicas', 'sweeps'];
const ORGANIZATIONS = 3_000;
const CALLS = 20_000;
const LIMIT = 51;

let supabase: TestSupabase;
let our: { orgId: string; agentId: string; phoneId: string; deepCall: { value: string; id: string } };

beforeAll(async () => {
  supabase = await createTestSupabase();
  const { sql } = supabase;
  const orgId = randomUUID();
  await sql.begin(async (tx) => {
    // Foreign keys are not looked at: this is about reading.
    await tx.unsafe(`set local session_replication_role = replica`);
    await tx.unsafe(`
      insert into public.organizations (id, name) select gen_random_uuid(), 'Other' from generate_series(1, ${ORGANIZATIONS});
      insert into public.organizations (id, name) values ('${orgId}', 'Ours');
      insert into public.agents (id, org_id, role, config, vapi_assistant_id, revision, last_save_id, mapping_version,
          last_synced_at, checked_at)
        select gen_random_uuid(), o.id, r, '{"systemPrompt": "P"}', gen_random_uuid(), 1, gen_random_uuid(), 1, now(), now()
        from public.organizations o, unnest('{INBOUND,OUTBOUND}'::text[]) r;
      insert into lockstep.observed (agent_id, org_id, document) select id, org_id, '{"name": "x"}' from public.agents;
      insert into lockstep.organization_locks (org_id) select id from public.organizations;
      insert into lockstep.fences (org_id, key, until, saga_id)
        select id, 'agents', now() - interval '1 hour', gen_random_uuid() from public.organizations;
      insert into public.sagas (id, org_id, request_hash, kind, cause, actor, status, epoch, deadline_at, mapping_version, results,
          started_at, finished_at, forgotten, in_history)
        select gen_random_uuid(), o.id, 'h', 'agents', 'USER', 'somebody', 'COMMITTED', 1, now(), 1, '[]', now() - n * interval '1 hour',
          now() - n * interval '1 hour', true, true
        from public.organizations o, generate_series(100, 101) n;
      insert into public.sagas (id, org_id, request_hash, kind, cause, actor, status, epoch, deadline_at, mapping_version, results,
          started_at, finished_at, forgotten, in_history)
        select gen_random_uuid(), '${orgId}', 'h', 'agents', 'USER', 'somebody', 'COMMITTED', 1, now(), 1, '[]',
          now() - n * interval '10 minutes', now() - n * interval '10 minutes', n > 600, true
        -- Some of them are to be forgotten: 432 are 72 hours.
        from generate_series(20, 6000) n;
      insert into public.sagas (id, org_id, request_hash, kind, cause, status, epoch, lease_until, deadline_at, mapping_version,
          results, started_at)
        select gen_random_uuid(), id, 'h', 'agents', 'USER', 'APPLYING', 1, now() + interval '1 hour', now(), 1, '[]', now()
        from public.organizations where id <> '${orgId}';
      insert into lockstep.saga_keys (org_id, key, saga_id)
        select org_id, 'agents', id from public.sagas where status = 'APPLYING';
      insert into lockstep.saga_parts (saga_id, org_id, key, resource, resource_id, before_revision, after_content, after_revision)
        select id, org_id, 'INBOUND', 'agent', gen_random_uuid(), 0, '{"name": "x"}', 1 from public.sagas;
      insert into public.agent_revisions (agent_id, revision, org_id, role, config, vapi_assistant_id, save_id, created_at)
        select a.id, n, a.org_id, a.role, '{}', a.vapi_assistant_id, gen_random_uuid(), now()
        from public.agents a, generate_series(1, 3000) n where a.org_id = '${orgId}';
      insert into public.phone_numbers (org_id, number, provider, state, vapi_phone_number_id, agent_id)
        select '${orgId}', '+1555' || lpad(n::text, 7, '0'), 'vapi', 'ACTIVE', 'vapi-' || n,
          case when n = 1 then (select id from public.agents where org_id = '${orgId}' and role = 'INBOUND') end
        from generate_series(1, 3000) n;
      insert into public.call_logs (org_id, agent_id, phone_number_id, direction, started_at, ended_at, outcome)
        select '${orgId}', a.id, p.id, 'OUTBOUND', now() - n * interval '1 minute', now() - n * interval '1 minute', 'COMPLETED'
        from generate_series(1, ${CALLS}) n,
          (select id from public.agents where org_id = '${orgId}' and role = 'OUTBOUND') a,
          (select id from public.phone_numbers order by number limit 1) p;
      insert into public.call_logs (org_id, direction, started_at, ended_at, outcome)
        select o.id, 'INBOUND', now() - n * interval '1 minute', now(), 'BUSY'
        from public.organizations o, generate_series(1, 3) n;
      insert into public.appointments (org_id, customer_name, starts_at, ends_at, status)
        select '${orgId}', 'C', now() + n * interval '1 minute', now() + (n + 1) * interval '1 minute', 'SCHEDULED'
        from generate_series(1, 5000) n;
      insert into public.knowledge_base_documents (org_id, name, content_type, size_bytes, state)
        select '${orgId}', 'D', 'text/plain', 1, 'READY' from generate_series(1, 5000) n;
    `);
  });
  await sql`analyze`;
  const [found] = await sql<{ agentId: string; phoneId: string; value: string; id: string }[]>`
    select c.agent_id as "agentId", c.phone_number_id as "phoneId", to_jsonb(c) ->> 'started_at' as value, c.id
    from public.call_logs c where org_id = ${orgId} order by started_at offset ${CALLS / 2} limit 1`;
  if (found === undefined) throw new Error('no call');
  our = {
    orgId,
    agentId: found.agentId,
    phoneId: found.phoneId,
    deepCall: { value: found.value, id: found.id },
  };
}, 120_000);
afterAll(() => supabase?.stop());

interface Reading {
  /** Tables that were read whole. */
  scanned: string[];
  /** Rows that were fetched, of all tables. */
  rows: number;
  answered: number;
}

type Query = (tx: postgres.TransactionSql) => Promise<readonly unknown[]>;
class Undo extends Error {}

/** What each of these statements of this role reads. Nothing of it stays. */
async function readings(
  role: 'authenticated' | 'service_role',
  queries: Query[],
  prepare: Query = async () => [],
): Promise<Reading[]> {
  const found: Reading[] = [];
  await supabase.sql
    .begin(async (tx) => {
      // Of this connection, and also of transactions before this one: the difference counts.
      const counters = async () =>
        new Map(
          (
            await tx<{ name: string; scans: number; rows: number }[]>`
              select relname as name, seq_scan::integer as scans,
                (seq_tup_read + coalesce(idx_tup_fetch, 0))::integer as rows
              from pg_stat_xact_user_tables where schemaname in ('public', 'lockstep')`
          ).map((row) => [row.name, row]),
        );
      await prepare(tx);
      const claims = JSON.stringify({ role, app_metadata: { org_id: our.orgId } });
      await tx`select set_config('request.jwt.claims', ${claims}, true)`;
      await tx.unsafe(`set local role ${role}`);
      let before = await counters();
      for (const query of queries) {
        const answered = (await query(tx)).length;
        const after = await counters();
        const read = [...after.values()]
          .filter(({ name }) => !SMALL.includes(name))
          .map(({ name, scans, rows }) => ({
            name,
            scans: scans - (before.get(name)?.scans ?? 0),
            rows: rows - (before.get(name)?.rows ?? 0),
          }));
        before = after;
        found.push({
          scanned: read.filter(({ scans }) => scans > 0).map(({ name }) => name),
          rows: read.reduce((sum, { rows }) => sum + rows, 0),
          answered,
        });
      }
      throw new Undo();
    })
    .catch((error: unknown) => {
      if (!(error instanceof Undo)) throw error;
    });
  return found;
}

async function reading(
  role: 'authenticated' | 'service_role',
  query: Query,
  prepare?: Query,
): Promise<Reading> {
  const [found] = await readings(role, [query], prepare);
  if (found === undefined) throw new Error('nothing was read');
  return found;
}

const pageOf =
  (list: string, filter: object, window: object): Query =>
  (tx) =>
    tx`select * from public.list_page(${list}, ${JSON.stringify(filter)}::text::jsonb,
      ${JSON.stringify({ limit: LIMIT, ...window })}::text::jsonb)`;

/** A list as the reads ask for it (src/adapters/supabase/tenant-reads.ts). */
const page = (list: string, filter: object, window: object) =>
  reading('authenticated', pageOf(list, filter, window));

describe('a page of calls', () => {
  const windows = () => ({
    'the newest': { ascending: false },
    'the oldest': { ascending: true },
    'deep in the list, forward': { ascending: false, below: our.deepCall },
    'deep in the list, backward': { ascending: true, above: our.deepCall },
  });
  const one = <T>(...values: T[]) => values;
  const filters = one(false, true).flatMap((agent) =>
    one(false, true).flatMap((phone) =>
      one(null, 'INBOUND', 'OUTBOUND').flatMap((direction) =>
        one(null, ['BUSY'], ['BUSY', 'FAILED'], ['COMPLETED', 'BUSY']).map((outcomes) => ({
          ...{ agent, phone, direction, outcomes },
          range: outcomes !== null && phone,
        })),
      ),
    ),
  );

  test('with any combination of filters reads at most one page of each range', async () => {
    const choices = filters.flatMap((choice) =>
      Object.entries(windows()).map(([where, window]) => ({ ...choice, where, window })),
    );
    const found = await readings(
      'authenticated',
      choices.map(({ agent, phone, direction, outcomes, range, window }) =>
        pageOf(
          'call_logs',
          {
            agentId: agent ? our.agentId : null,
            phoneNumberId: phone ? our.phoneId : undefined,
            direction,
            values: outcomes,
            ...(range ? { from: '2020-01-01T00:00:00Z', before: our.deepCall.value } : {}),
          },
          window,
        ),
      ),
    );
    const bad = choices.flatMap((choice, nth) => {
      const { scanned = ['nothing'], rows = 0, answered = 0 } = found[nth] ?? {};
      // The merge looks at one row of each range more than it needs.
      return scanned.length > 0 || rows > answered + 14 ? [{ ...choice, scanned, rows, answered }] : [];
    });
    expect(bad).toEqual([]);
    expect(choices.length).toBe(48 * 4);
  });

  test('returns rows in this test, so that the count of reads means something', async () => {
    const full = {
      agentId: our.agentId,
      phoneNumberId: our.phoneId,
      direction: 'OUTBOUND',
      values: ['COMPLETED'],
    };
    expect((await page('call_logs', full, { ascending: false })).answered).toBe(LIMIT);
    expect(
      (await page('call_logs', { values: ['FAILED', 'NO_ANSWER'] }, { ascending: false })).answered,
    ).toBe(0);
  });
});

describe('a page', () => {
  test.each<[string, string, object]>([
    ['appointments of no status', 'appointments', {}],
    ['appointments of two statuses that there are not', 'appointments', { values: ['CANCELLED', 'NO_SHOW'] }],
    ['appointments of a call', 'appointments', { callId: randomUUID() }],
    ['phone numbers', 'phone_numbers', {}],
    ['phone numbers that belong to an agent', 'phone_numbers', { attached: true }],
    ['phone numbers that belong to none', 'phone_numbers', { attached: false }],
    ['phone numbers of an agent', 'phone_numbers', { agentId: randomUUID() }],
    ['phone numbers of two states that there are not', 'phone_numbers', { values: ['MISSING', 'FAILED'] }],
    ['attached phone numbers of a state', 'phone_numbers', { attached: true, values: ['ACTIVE', 'BLOCKED'] }],
    ['free phone numbers of a state', 'phone_numbers', { attached: false, values: ['ACTIVE', 'MISSING'] }],
    ['phone numbers of an agent and a state', 'phone_numbers', { agentId: randomUUID(), values: ['ACTIVE'] }],
    ['documents of no state', 'knowledge_base_documents', {}],
    [
      'documents of two states that there are not',
      'knowledge_base_documents',
      { values: ['UPLOADING', 'FAILED'] },
    ],
  ])('of %s reads no more than it answers, in both directions', async (_what, list, filter) => {
    for (const ascending of [true, false]) {
      const { scanned, rows, answered } = await page(list, filter, { ascending });
      expect({ scanned, ascending }).toEqual({ scanned: [], ascending });
      expect(rows).toBeLessThanOrEqual(answered + 5);
    }
  });
});

describe('a read of an organization', () => {
  test.each<[string, string]>([
    ['its agents', `select * from public.agents order by role`],
    [
      'its open save',
      `select * from public.agent_saves where status in ('APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION')`,
    ],
    ['a save by its id', `select * from public.agent_saves where id = '${randomUUID()}'`],
    ['its own row', `select id, name, drift_policy from public.organizations`],
    [
      'calls by their ids',
      `select * from public.call_logs where id in ('${randomUUID()}', '${randomUUID()}')`,
    ],
  ])('%s', async (_what, query) => {
    const { scanned, rows } = await reading('authenticated', (tx) => tx.unsafe(query));
    expect(scanned).toEqual([]);
    expect(rows).toBeLessThanOrEqual(5);
  });
});

describe('the work of the server', () => {
  const service = (query: string) => reading('service_role', (tx) => tx.unsafe(query));
  /** What every call for a save reads besides: the organization, its lock, its agents, what it writes. */
  const A_SAVE = 60;

  test('finds abandoned saves among thousands in progress without reading the others', async () => {
    const { scanned, rows } = await service('select * from public.saga_due(20)');
    expect({ scanned, rows }).toEqual({ scanned: [], rows: 0 });
  });

  test('begins a save of an organization with a long history, and takes it over', async () => {
    const request = JSON.stringify({
      ...{ requestHash: 'h', cause: 'USER', actor: 'somebody', limit: { saves: 300, perMs: 60_000 } },
      ...{ idempotencyKey: 'k', leaseMs: 0, deadlineMs: 0, mappingVersion: 1 },
      updates: [
        {
          ...{ role: 'INBOUND', newAgentId: randomUUID(), patch: {}, defaults: {}, recreateIfMissing: false },
        },
      ],
    });
    const saveId = randomUUID();
    const { scanned, rows } = await reading('service_role', async (tx) => {
      await tx`select public.begin_agents(${our.orgId}, ${saveId}, 'me', ${request}::text::jsonb)`;
      return tx`select public.saga_takeover(${our.orgId}, ${saveId}, 'me', 1000)`;
    });
    expect(scanned).toEqual([]);
    expect(rows).toBeLessThan(A_SAVE);
  });

  test('cleans up a batch without reading more than that, and then nothing at all', async () => {
    const cleanup: Query = (tx) => tx`select public.saga_cleanup(100, 30)`;
    const [batch, , nothing] = await readings('service_role', [
      cleanup,
      (tx) => tx`select public.saga_cleanup(10000, 30)`,
      cleanup,
    ]);
    expect(batch?.scanned).toEqual([]);
    // The save twice, its image and the save that the image's policy asks for twice, a revision of it.
    expect(batch?.rows).toBeLessThanOrEqual(100 * 7);
    expect(nothing).toEqual({ scanned: [], rows: 0, answered: 1 });
  });

  test('looks up a page of assistants among all organizations, and each of its agents once', async () => {
    const ids = await supabase.sql<
      { id: string }[]
    >`select vapi_assistant_id as id from public.agents limit 1000`;
    const list = ids.map(({ id }) => id);
    for (const name of ['sweep_lookup', 'sweep_listed'] as const) {
      const { scanned, rows } = await reading(
        'service_role',
        (tx) => tx`select ${tx.unsafe(`public.${name}`)}(${list}::text[])`,
      );
      expect({ name, scanned }).toEqual({ name, scanned: [] });
      // The agent, what was observed, its policy, its open save or its lock.
      expect(rows).toBeLessThanOrEqual(5 * list.length);
    }
  });

  test('reads a page of agents in the middle of them', async () => {
    const [middle] = await supabase.sql<
      { id: string }[]
    >`select id from public.agents order by id offset 3000 limit 1`;
    for (const after of [`'${middle?.id}'`, 'null']) {
      const { scanned, rows, answered } = await service(`select * from public.sweep_page(${after}, 100)`);
      expect({ scanned, answered }).toEqual({ scanned: [], answered: 100 });
      expect(rows).toBeLessThanOrEqual(101);
    }
  });

  test('asks whether an assistant is an orphan without reading the history of its agent', async () => {
    const [row] = await supabase.sql<{ id: string; deployment: string }[]>`
      select s.id, (select id from lockstep.deployment) as deployment from public.sagas s
      where org_id = ${our.orgId} and not forgotten limit 1`;
    const candidate = JSON.stringify([
      {
        ...{ deployment: row?.deployment, orgId: our.orgId, saveId: row?.id, agentId: our.agentId },
        ...{ role: 'OUTBOUND', assistantId: 'somebody' },
      },
    ]);
    // Of a save that might have made it.
    const { scanned, rows } = await reading(
      'service_role',
      (tx) => tx`select public.sweep_orphans(${candidate}::text::jsonb, 0)`,
      async (tx) => {
        await tx`update public.sagas set status = 'ROLLED_BACK' where id = ${row?.id ?? ''}`;
        return tx`update lockstep.saga_parts set key = 'OUTBOUND', resource_id = ${our.agentId} where saga_id = ${row?.id ?? ''}`;
      },
    );
    expect(scanned).toEqual([]);
    expect(rows).toBeLessThan(20);
  });

  test('finds phone numbers to poll, to attach and to sweep without reading the others', async () => {
    for (const query of ['phone_number_activation_due(50)', 'phone_number_attachment_due(50)'])
      expect(await service(`select public.${query}`)).toMatchObject({ scanned: [], rows: 0 });
    const { scanned, rows } = await service('select public.phone_number_page(null, 100)');
    expect(scanned).toEqual([]);
    expect(rows).toBeLessThanOrEqual(101);
    const listed = await service(`select public.phone_number_listed('{vapi-7,vapi-8,vapi-9}')`);
    expect(listed.scanned).toEqual([]);
    expect(listed.rows).toBeLessThanOrEqual(12);
  });

  test('notes what a sweep found, of twenty agents', async () => {
    const agents = await supabase.sql`
      select org_id as "orgId", id as "agentId", revision, last_save_id as "saveId", 'SAME' as state from public.agents limit 20`;
    const { scanned, rows } = await reading(
      'service_role',
      (tx) => tx`select public.sweep_note(${JSON.stringify(agents)}::text::jsonb)`,
    );
    expect(scanned).toEqual([]);
    expect(rows).toBeLessThan(20 * 6);
  });
});

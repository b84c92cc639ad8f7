import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { createRpcSweepStore } from '../../src/adapters/supabase/rpc-sweep-store.ts';
import { Secret } from '../../src/domain/secret.ts';
import type { TestSupabase } from '../support/supabase.ts';
import { DEPLOYMENT_OF, type JournalUnderTest, type Tables, type Time } from './journal-conformance.ts';
import { JournalModel, portsOf } from './journal-model.ts';

/** The two journals that the conformance suite compares. */

/** The functions on a real Postgres, through the adapter that production uses. */
export async function realJournal(supabase: TestSupabase): Promise<JournalUnderTest> {
  const { sql } = supabase;
  const client = createServiceClient({
    url: supabase.url,
    publishableKey: supabase.publishableKey,
    secretKey: new Secret(supabase.secretKey),
    jwks: null,
    jwtSecret: new Secret(supabase.jwtSecret),
    timeoutMs: 20_000,
  });
  const journal = createRpcJournal(client);
  const [deployment] = await sql<{ id: string }[]>`select id from lockstep.deployment`;
  DEPLOYMENT_OF.set(journal, deployment?.id ?? '');
  const time = (column: string) =>
    sql.unsafe(
      `case when ${column} > clock_timestamp() then 'ahead' when ${column} is not null then 'past' end`,
    );
  return {
    name: 'Postgres',
    journal,
    sweepStore: createRpcSweepStore(client),
    createOrganization: async (id) => {
      await sql`insert into public.organizations (id, name) values (${id}, 'Conformance')`;
    },
    setDriftPolicy: async (orgId, policy) => {
      const [row] = await sql<{ set: boolean }[]>`select public.set_drift_policy(${orgId}, ${policy}) as set`;
      return row?.set ?? false;
    },
    age: async (orgIds, ms) => {
      await sql`
        update public.sagas set finished_at = finished_at - ${ms} * interval '1 millisecond'
        where org_id = any (${orgIds}::uuid[])`;
    },
    tables: async (orgIds) => {
      const [row] = await sql<{ tables: Tables }[]>`
        select jsonb_build_object(
          'agents', (select coalesce(jsonb_agg(jsonb_build_object('id', id, 'orgId', org_id, 'role', role, 'config', config,
              'assistantId', vapi_assistant_id, 'revision', revision, 'lastSaveId', last_save_id,
              'mappingVersion', mapping_version, 'drift', drift, 'adoptable', adoptable,
              'missing', missing_since is not null) order by org_id, role), '[]')
            from public.agents where org_id = any (${orgIds}::uuid[])),
          'saves', (select coalesce(jsonb_agg(jsonb_build_object('id', id, 'orgId', org_id, 'key', idempotency_key,
              'hash', request_hash, 'kind', kind, 'cause', cause, 'status', status, 'epoch', epoch, 'owner', owner,
              'lease', ${time('lease_until')}, 'quarantine', ${time('quarantine_until')}, 'look', ${time('look_at')}, 'deadline', ${time('deadline_at')},
              'ambiguous', ambiguous, 'pivotSent', pivot_sent, 'handedOver', handed_over, 'mappingVersion', mapping_version, 'results', results, 'failure', failure,
              'finished', finished_at is not null) order by id), '[]')
            from public.sagas where org_id = any (${orgIds}::uuid[])),
          'revisions', (select coalesce(jsonb_agg(jsonb_build_object('agentId', agent_id, 'orgId', org_id,
              'revision', revision, 'role', role, 'config', config, 'assistantId', vapi_assistant_id, 'saveId', save_id)
              order by org_id, role, revision), '[]')
            from public.agent_revisions where org_id = any (${orgIds}::uuid[])),
          'images', (select coalesce(jsonb_agg(jsonb_build_object('sagaId', saga_id, 'orgId', org_id, 'key', key,
              'resource', resource, 'resourceId', resource_id, 'remoteId', remote_id, 'before', before_content,
              'beforeRevision', before_revision, 'after', after_content, 'afterRevision', after_revision,
              'beforeContext', case when before_content is not null then before_context end, 'afterContext', after_context)
              order by saga_id, key), '[]')
            from lockstep.saga_parts where org_id = any (${orgIds}::uuid[])),
          'observed', (select coalesce(jsonb_agg(jsonb_build_object('agentId', agent_id, 'orgId', org_id,
              'document', document) order by agent_id), '[]')
            from lockstep.observed where org_id = any (${orgIds}::uuid[])),
          'locks', (select coalesce(jsonb_agg(jsonb_build_object('orgId', org_id) order by org_id), '[]')
            from lockstep.organization_locks where org_id = any (${orgIds}::uuid[])),
          'keys', (select coalesce(jsonb_agg(jsonb_build_object('orgId', org_id, 'key', key, 'sagaId', saga_id)
              order by org_id, key), '[]')
            from lockstep.saga_keys where org_id = any (${orgIds}::uuid[])),
          'fences', (select coalesce(jsonb_agg(jsonb_build_object('orgId', org_id, 'key', key, 'until', ${time('until')},
              'sagaId', saga_id) order by org_id, key), '[]')
            from lockstep.fences where org_id = any (${orgIds}::uuid[]))) as tables`;
      if (row === undefined) throw new Error('no answer');
      return row.tables;
    },
  };
}

/** The model. Its clock moves with every look at it, so that a time that is set is over at the next call, as in Postgres. */
export function modelJournal(deployment: string): JournalUnderTest & { model: JournalModel } {
  let clock = Date.parse('2026-01-01T00:00:00Z');
  const model = new JournalModel({ now: () => ++clock, deployment });
  const { journal, sweepStore } = portsOf(model);
  DEPLOYMENT_OF.set(journal, deployment);
  const time = (at: number | null): Time => (at === null ? null : at > clock ? 'ahead' : 'past');
  const by =
    <T>(...keys: (keyof T)[]) =>
    (a: T, b: T) => {
      for (const key of keys) if (a[key] !== b[key]) return a[key] < b[key] ? -1 : 1;
      return 0;
    };
  return {
    name: 'model',
    model,
    journal,
    sweepStore,
    createOrganization: async (id) => model.createOrganization(id),
    setDriftPolicy: async (orgId, policy) => model.setDriftPolicy(orgId, policy),
    age: async (orgIds, ms) => {
      for (const save of orgIds.flatMap((orgId) => model.savesOf(orgId)))
        if (save.finishedAt !== null) save.finishedAt -= ms;
    },
    tables: async (orgIds) => {
      const orgs = [...orgIds].sort();
      const agents = orgs.flatMap((orgId) => model.agentsOf(orgId));
      const saves = orgs.flatMap((orgId) => model.savesOf(orgId)).sort(by('id'));
      return {
        agents: agents.map((row) => ({
          id: row.id,
          orgId: row.orgId,
          role: row.role,
          config: row.config,
          assistantId: row.assistantId,
          revision: row.revision,
          lastSaveId: row.lastSaveId,
          mappingVersion: row.mappingVersion,
          drift: row.drift,
          adoptable: row.adoptable,
          missing: row.missingSince !== null,
        })),
        saves: saves.map((row) => ({
          id: row.id,
          orgId: row.orgId,
          key: row.idempotencyKey,
          hash: row.requestHash,
          kind: row.kind,
          cause: row.cause,
          status: row.status,
          epoch: row.epoch,
          owner: row.owner,
          lease: time(row.leaseUntil),
          quarantine: time(row.quarantineUntil),
          look: time(row.lookAt),
          deadline: time(row.deadlineAt),
          ambiguous: row.ambiguous,
          pivotSent: row.pivotSent,
          handedOver: row.handedOver,
          mappingVersion: row.mappingVersion,
          results: row.results,
          failure: row.failure,
          finished: row.finishedAt !== null,
        })),
        revisions: agents
          .flatMap((agent) => model.revisionsOf(agent.id))
          .map(({ createdAt: _createdAt, ...row }) => ({ ...row })),
        images: saves
          .flatMap((save) => [...model.imagesOf(save.id)].sort(by('key')))
          .map((row) => ({
            sagaId: row.sagaId,
            orgId: row.orgId,
            key: row.key,
            resource: row.resource,
            resourceId: row.resourceId,
            remoteId: row.remoteId,
            before: row.before?.content ?? null,
            beforeRevision: row.beforeRevision,
            after: row.after.content,
            afterRevision: row.after.revision,
            beforeContext: row.before?.context ?? null,
            afterContext: row.after.context,
          })),
        observed: [...agents].sort(by('id')).flatMap((agent) => {
          const document = model.observedOf(agent.id);
          return document === undefined ? [] : [{ agentId: agent.id, orgId: agent.orgId, document }];
        }),
        locks: orgs.filter((orgId) => model.hasLock(orgId)).map((orgId) => ({ orgId })),
        keys: orgs.flatMap((orgId) =>
          model.openSaves
            .filter((save) => save.orgId === orgId)
            .flatMap(({ id, keys }) => keys.map((key) => ({ orgId, key, sagaId: id }))),
        ),
        fences: orgs.flatMap((orgId) =>
          model.fencesOf(orgId).map(({ key, until, sagaId }) => ({ orgId, key, until: time(until), sagaId })),
        ),
      };
    },
  };
}

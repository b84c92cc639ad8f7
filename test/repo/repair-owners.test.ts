import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { repairSql } from '../../scripts/repair-owners.ts';
import { type LocalSupabase, startLocalSupabase } from '../../src/local/supabase/supabase.ts';

// Roles belong to the cluster, so this test cannot share the Postgres of the run.
let supabase: LocalSupabase;
let admin: postgres.Sql;
let migrated: string;
let before: string[];
let owners: string[];

beforeAll(async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'lockstep-repair-'));
  supabase = await startLocalSupabase({ dataDir, durable: false });
  admin = postgres(supabase.adminDatabaseUrl, { max: 1, onnotice: () => {} });
  migrated = await repairSql(supabase.databaseUrl);
  before = await rights();
  const roles = await admin<{ name: string }[]>`
    select rolname as name from pg_roles where rolname like 'lockstep%' order by rolname`;
  owners = roles.map(({ name }) => name);
});
afterAll(async () => {
  await admin?.end();
  await supabase?.stop();
  await supabase?.postgres.destroy();
});

/** Roles, owners, rights and policies, as the catalogue has them. Who granted a right does not matter. */
async function rights(): Promise<string[]> {
  const rows = await admin<{ line: string }[]>`
    select format('role %s %s %s', rolname, rolcanlogin, rolbypassrls) as line from pg_roles where rolname like 'lockstep%'
    union all select format('schema %s: %s', nspname, split_part(a::text, '/', 1))
      from pg_namespace, unnest(nspacl) a where nspname in ('public', 'lockstep')
    union all select format('table %s: %s %s %s %s', oid::regclass, relowner::regrole, relrowsecurity, relforcerowsecurity, split_part(a::text, '/', 1))
      from pg_class left join unnest(relacl) a on true where relnamespace in ('public'::regnamespace, 'lockstep'::regnamespace) and relkind = 'r'
    union all select format('column %s.%s: %s', attrelid::regclass, attname, split_part(a::text, '/', 1))
      from pg_attribute join pg_class c on c.oid = attrelid, unnest(attacl) a
      where relnamespace in ('public'::regnamespace, 'lockstep'::regnamespace)
    union all select format('function %s: %s %s', oid::regprocedure, proowner::regrole, split_part(a::text, '/', 1))
      from pg_proc left join unnest(proacl) a on true where pronamespace in ('public'::regnamespace, 'lockstep'::regnamespace)
    union all select format('policy %s', p) from pg_policies p where schemaname in ('public', 'lockstep')
    order by line`;
  return rows.map(({ line }) => line);
}

/** As the role that runs migrations on a hosted project, which is not a superuser. */
async function repair(): Promise<void> {
  const sql = postgres(supabase.databaseUrl, { max: 1, onnotice: () => {} });
  await sql.unsafe(migrated).finally(() => sql.end());
}

/** Leaves what a dump leaves that is restored where our roles do not exist: the restoring role owns everything. */
async function loseRoles(): Promise<void> {
  for (const role of owners) {
    await admin.unsafe(`reassign owned by ${role} to postgres; drop owned by ${role}; drop role ${role}`);
  }
  // The default privileges of a project open each table and function that is created.
  await admin.unsafe(`
    grant all on all tables in schema public to anon, authenticated, service_role;
    grant execute on all functions in schema public, lockstep to public, anon, authenticated, service_role;
    grant usage on schema lockstep to public`);
}

describe('npm run repair:owners', () => {
  test('changes nothing in a database that is in order', async () => {
    await repair();
    expect(await rights()).toEqual(before);
  });

  test('restores roles, owners, rights and policies after a restore that lost them', async () => {
    expect(owners).toContain('lockstep_saves');
    await loseRoles();
    const broken = await rights();
    expect(broken).not.toEqual(before);
    expect(broken).toContain('function begin_agents(uuid,uuid,text,jsonb): postgres anon=X');
    await repair();
    expect(await rights()).toEqual(before);
    expect(await repairSql(supabase.databaseUrl)).toBe(migrated);
  });

  test('restores rights that were changed while the roles stayed', async () => {
    await admin.unsafe(`
      alter function lockstep.begin_agents(uuid, uuid, text, jsonb) owner to postgres;
      alter table public.agents no force row level security;
      revoke select on public.agent_saves from authenticated;
      grant truncate on public.call_logs to anon;
      drop policy agents_own on public.agents`);
    expect(await rights()).not.toEqual(before);
    await repair();
    expect(await rights()).toEqual(before);
  });
});

/**
 * Checks every table, policy, function and foreign key of ours in the catalogue: the checks of Supabase's advisor
 * (https://github.com/supabase/splinter, by lint number) and our own. Each check must also find a planted violation.
 */
import type postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

/** Migrations create objects only in these schemas. */
const OURS = `('public', 'lockstep')`;
/** The roles of a request with the publishable key. `public` stands for every role. */
const CLIENTS = `array['anon', 'authenticated', 'public']`;

/** Only the save functions write these, under policies that include the organization. A composite key would slow down each save. */
const WITHOUT_ORGANIZATION_IN_KEY = [
  'agent_revisions_agent_id_fkey',
  'agent_revisions_save_id_fkey',
  'observed_agent_id_fkey',
  'saga_keys_saga_id_fkey',
  'saga_parts_saga_id_fkey',
];

interface Check {
  name: string;
  /** Each row is a finding in one column. */
  find: string;
  /** Creates one violation that the check must find. */
  plant: string;
  finding: string;
}

const POLICIES = `
  select p.schemaname || '.' || p.tablename || ' ' || p.policyname as name, p.cmd, p.permissive,
    p.roles::text[] as roles, coalesce(p.qual, '') || ' ' || coalesce(p.with_check, '') as expression,
    lower(regexp_replace(coalesce(p.qual, ''), '[\\s()]', '', 'g')) as qual,
    lower(regexp_replace(coalesce(p.with_check, ''), '[\\s()]', '', 'g')) as with_check
  from pg_policies p where p.schemaname in ${OURS}`;

const CHECKS: Check[] = [
  {
    name: 'no table without forced row-level security (lint 0013 and more)',
    find: `
      select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ${OURS} and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)`,
    plant: 'create table public.planted (id int); alter table public.planted enable row level security',
    finding: 'planted',
  },
  {
    name: 'no table that tells no organization',
    find: `
      select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'public' and c.relkind in ('r', 'p') and c.relname <> 'organizations'
        and not exists (select from pg_attribute a join pg_constraint k on k.conrelid = c.oid and k.contype = 'f'
          and k.confrelid = 'public.organizations'::regclass and k.conkey = array[a.attnum]
          where a.attrelid = c.oid and a.attname = 'org_id' and a.attnotnull)`,
    plant: 'create table public.planted (id int, org_id uuid references public.organizations)',
    finding: 'planted',
  },
  {
    name: 'no view, materialized view or foreign table that escapes the policies (lints 0010, 0016, 0017)',
    find: `
      select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ${OURS} and (c.relkind in ('m', 'f')
        or (c.relkind = 'v' and not coalesce('security_invoker=true' = any (c.reloptions), false)))`,
    plant: 'create view public.planted as select * from public.agents',
    finding: 'planted',
  },
  {
    name: 'no function with a mutable search path (lint 0011)',
    find: `
      select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname in ${OURS} and not coalesce('search_path=""' = any (p.proconfig), false)`,
    plant: `create function public.planted() returns int language sql set search_path = public as 'select 1'`,
    finding: 'planted()',
  },
  {
    name: 'no claim or setting that a policy looks up for every row (lint 0003)',
    find: `
      select name from (${POLICIES}) as p
      where regexp_count(expression, '(auth\\.(uid|jwt|role|email)|current_setting)\\(')
        <> regexp_count(expression, 'SELECT (auth\\.(uid|jwt|role|email)|current_setting)\\(')`,
    plant: `create policy planted on public.agents for select to authenticated
      using (org_id = nullif(auth.jwt() -> 'app_metadata' ->> 'org_id', '')::uuid)`,
    finding: 'public.agents planted',
  },
  {
    name: 'no definer function that a client may execute (lints 0028, 0029)',
    find: `
      select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname in ${OURS} and p.prosecdef
        and (has_function_privilege('anon', p.oid, 'EXECUTE') or has_function_privilege('authenticated', p.oid, 'EXECUTE'))`,
    // A migration that revokes only from public leaves the default privileges of a project.
    plant: `create function public.planted() returns int language sql security definer set search_path = '' as 'select 1';
      revoke execute on function public.planted() from public`,
    finding: 'planted()',
  },
  {
    // One, which runs with the rights of its caller and can only read.
    name: 'no function that a client may execute, except the pages of lists and the usage of calls',
    find: `
      select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname in ${OURS} and (p.prosecdef or p.provolatile = 'v' or p.proname not in ('list_page', 'call_usage'))
        and (has_function_privilege('anon', p.oid, 'EXECUTE') or has_function_privilege('authenticated', p.oid, 'EXECUTE'))`,
    plant: `create function public.planted() returns int language sql set search_path = '' as 'select 1'`,
    finding: 'planted()',
  },
  {
    name: 'no definer function whose owner has more rights than it needs',
    find: `
      select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      join pg_roles o on o.oid = p.proowner
      where n.nspname in ${OURS} and p.prosecdef
        and (o.rolsuper or o.rolbypassrls or o.rolcanlogin or o.rolcreaterole or o.rolcreatedb)`,
    plant: `create function public.planted() returns int language sql security definer set search_path = '' as 'select 1'`,
    finding: 'planted()',
  },
  {
    name: 'no policy that is always true (lint 0024, and for SELECT too)',
    find: `
      select name from (${POLICIES}) as p
      where permissive = 'PERMISSIVE' and (qual in ('true', '1=1') or with_check in ('true', '1=1')
        or (qual = '' and cmd <> 'INSERT') or (with_check = '' and cmd = 'INSERT'))`,
    plant: 'create policy planted on public.agents for select to authenticated using ((true))',
    finding: 'public.agents planted',
  },
  {
    name: 'no policy for clients that does not compare the organization with the verified claim',
    find: `
      select name from (${POLICIES}) as p
      where roles && ${CLIENTS}
        and regexp_replace(expression, '\\s+', ' ', 'g') !~ $re$^\\((org_id|id) = \\( SELECT \\(NULLIF\\(\\(\\(\\( SELECT auth\\.jwt\\(\\) AS jwt\\) -> 'app_metadata'::text\\) ->> 'org_id'::text\\), ''::text\\)\\)::uuid AS "nullif"\\)\\) $$re$`,
    plant: `create policy planted on public.agents for select to authenticated
      using (org_id = (select ((select auth.jwt()) -> 'user_metadata' ->> 'org_id')::uuid))`,
    finding: 'public.agents planted',
  },
  {
    name: 'no policy for everybody, and none for the service role, which would not heed it',
    find: `select name from (${POLICIES}) as p where roles && array['public', 'anon', 'service_role']`,
    plant: 'create policy planted on public.agents for select using (id is not null)',
    finding: 'public.agents planted',
  },
  {
    name: 'no policy for the owner of the save functions that does not hold the organization',
    find: `
      select name from (${POLICIES}) as p
      where 'lockstep_saves' = any (roles) and name not like 'lockstep.deployment %'
        and expression not like '%lockstep.org_id%'`,
    plant: 'create policy planted on public.agents for select to lockstep_saves using (revision > 0)',
    finding: 'public.agents planted',
  },
  {
    name: 'no foreign key without an index (lint 0001)',
    find: `
      select k.conname from pg_constraint k join pg_class c on c.oid = k.conrelid
      join pg_namespace n on n.oid = c.relnamespace
      where k.contype = 'f' and n.nspname in ${OURS} and not exists (
        select from pg_index i where i.indrelid = k.conrelid and i.indisvalid and i.indpred is null
          and (string_to_array(i.indkey::text, ' ')::smallint[])[1:cardinality(k.conkey)] @> k.conkey)`,
    plant: `create table public.planted (org_id uuid references public.organizations)`,
    finding: 'planted_org_id_fkey',
  },
  {
    name: 'no policy without an index that begins with its organization',
    find: `
      select distinct c.oid::regclass::text from pg_policy p join pg_class c on c.oid = p.polrelid
      join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id'
      where n.nspname in ${OURS} and not exists (
        select from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indpred is null and i.indkey[0] = a.attnum)`,
    plant: `create table public.planted (org_id uuid);
      create policy planted on public.planted for select to authenticated using (org_id is null)`,
    finding: 'planted',
  },
  {
    name: 'no reference from one table of an organization to another that leaves the organization out',
    find: `
      select k.conname from pg_constraint k
      join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute own on own.attrelid = k.conrelid and own.attname = 'org_id'
      join pg_attribute theirs on theirs.attrelid = k.confrelid and theirs.attname = 'org_id'
      where k.contype = 'f' and n.nspname in ${OURS}
        and not exists (select from generate_subscripts(k.conkey, 1) as i
          where k.conkey[i] = own.attnum and k.confkey[i] = theirs.attnum)
        and k.conname <> all (array[${WITHOUT_ORGANIZATION_IN_KEY.map((name) => `'${name}'`).join(', ')}])`,
    plant: 'create table public.planted (org_id uuid, agent_id uuid references public.agents (id))',
    finding: 'planted_agent_id_fkey',
  },
  {
    name: 'no table of ours in a publication, which would not apply policies to deletes',
    find: `
      select pubname || ' ' || schemaname || '.' || tablename from pg_publication_tables where schemaname in ${OURS}
      union all select pubname from pg_publication where puballtables
      union all select p.pubname || ' ' || n.nspname from pg_publication_namespace s
        join pg_publication p on p.oid = s.pnpubid join pg_namespace n on n.oid = s.pnnspid where n.nspname in ${OURS}`,
    plant: 'alter publication supabase_realtime add table public.call_logs',
    finding: 'supabase_realtime public.call_logs',
  },
  {
    name: 'no statistics of values that tell of one organization, which estimated counts would give away',
    find: `
      select c.oid::regclass || '.' || a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'm') and a.attnum > 0 and not a.attisdropped
        and a.attstattarget is distinct from 0 and a.atttypid <> 'timestamptz'::regtype
        and not exists (select from pg_constraint k where k.conrelid = c.oid and k.contype = 'c'
          and k.conkey = array[a.attnum] and pg_get_constraintdef(k.oid) like '%= ANY (ARRAY[%')`,
    plant: 'alter table public.call_logs alter column customer_number set statistics default',
    finding: 'call_logs.customer_number',
  },
  {
    name: "no rights for clients on whatever will be made, beside a project's own in public",
    find: `
      select coalesce(n.nspname, 'anywhere') || ' ' || d.defaclobjtype::text || ' ' || coalesce(r.rolname, 'everybody')
      from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
      cross join lateral aclexplode(d.defaclacl) as a left join pg_roles r on r.oid = a.grantee
      where (a.grantee = 0 or r.rolname = any (${CLIENTS} || array['service_role', 'authenticator']))
        and n.nspname is distinct from 'public'`,
    plant: 'alter default privileges in schema lockstep grant select on tables to authenticated',
    finding: 'lockstep r authenticated',
  },
  {
    name: 'no function that a caller could have set any setting with',
    find: `
      select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname in ${OURS}
        and regexp_count(p.prosrc, 'set_config\\s*\\(') <> regexp_count(p.prosrc, $re$set_config\\('lockstep\\.org_id',$re$)`,
    plant: `create function public.planted(p_name text, p_value text) returns text language sql set search_path = ''
      as 'select set_config(p_name, p_value, true)'`,
    finding: 'planted(text,text)',
  },
  {
    name: 'no rule, and no trigger of ours, that would act with other rights',
    find: `
      select c.oid::regclass || ' ' || t.tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid
      join pg_namespace n on n.oid = c.relnamespace join pg_proc p on p.oid = t.tgfoid
      where n.nspname in ${OURS} and not t.tgisinternal and p.prosecdef
      union all select schemaname || '.' || tablename || ' ' || rulename from pg_rules where schemaname in ${OURS}`,
    plant: 'create rule planted as on delete to public.agents do instead nothing',
    finding: 'public.agents planted',
  },
];

let supabase: TestSupabase;
beforeAll(async () => {
  supabase = await createTestSupabase();
});
afterAll(() => supabase?.stop());

async function findings(sql: postgres.Sql | postgres.TransactionSql, { find }: Check): Promise<string[]> {
  const rows = await sql.unsafe<Record<string, string>[]>(find);
  return rows.map((row) => String(Object.values(row)[0])).sort();
}

describe('the migrated database has no violation', () => {
  test.each(CHECKS)('$name', async (check) => {
    expect(await findings(supabase.sql, check)).toEqual([]);
  });
});

describe('finds a planted violation', () => {
  test.each(CHECKS)('$name', async (check) => {
    const undo = new Error('undo');
    let found: string[] = [];
    await supabase.sql
      .begin(async (tx) => {
        // Plants it as the role that runs migrations.
        await tx`set local role postgres`;
        await tx.unsafe(check.plant);
        found = await findings(tx, check);
        throw undo;
      })
      .catch((error: unknown) => {
        if (error !== undo) throw error;
      });
    expect(found).toEqual([check.finding]);
  });
});

test('the catalogue has objects to check', async () => {
  const [counts] = await supabase.sql<
    { tables: number; policies: number; functions: number; keys: number }[]
  >`
    select
      (select count(*)::int from pg_class where relnamespace in ('public'::regnamespace, 'lockstep'::regnamespace)
        and relkind in ('r', 'p')) as tables,
      (select count(*)::int from pg_policies where schemaname in ('public', 'lockstep')) as policies,
      (select count(*)::int from pg_proc where pronamespace in ('public'::regnamespace, 'lockstep'::regnamespace)) as functions,
      (select count(*)::int from pg_constraint where contype = 'f'
        and connamespace in ('public'::regnamespace, 'lockstep'::regnamespace)) as keys`;
  expect(counts?.tables).toBeGreaterThanOrEqual(12);
  console.log(
    `isolation, catalogue: ${CHECKS.length} checks over ${counts?.tables} tables, ${counts?.policies} policies, ` +
      `${counts?.functions} functions and ${counts?.keys} foreign keys: nothing found`,
  );
});

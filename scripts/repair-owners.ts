/**
 * `npm run --silent repair:owners > repair.sql`: SQL that gives a restored database the roles, owners, grants and policies of
 * Lockstep. Roles belong to the cluster and not to a database, so a dump that is restored into another project lacks them, and
 * with them the function owners and the policies that name them.
 *
 * The SQL is read from the catalogue of an embedded Postgres that has the migrations of this checkout. So it cannot differ from them.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { startLocalSupabase } from '../src/local/supabase/supabase.ts';

/** Our own roles first: a grant or a policy can name only a role that exists. */
const ROLES = `
  select format(
    'do $$ begin if not exists (select from pg_catalog.pg_roles where rolname = %L) then create role %I nologin; end if; end $$;',
    rolname, rolname) || E'\\n' || format('grant %I to current_user;', rolname) as line
  from pg_catalog.pg_roles where rolname like 'lockstep\\_%' order by rolname`;

/** Everyone who could hold a right that the migrations did not give. A project's default privileges do give some. */
const EVERYONE = `
  select string_agg(quote_ident(rolname), ', ' order by rolname) as line from pg_catalog.pg_roles
  where rolname in ('anon', 'authenticated', 'service_role') or rolname like 'lockstep\\_%'`;

const SCHEMAS = `
  select format('revoke all on schema %I from public, %s;', n.nspname, $1::text) as line
  from pg_catalog.pg_namespace n where n.nspname = 'lockstep'
  union all (
    select format('grant %s on schema %I to %s;', a.privilege_type, n.nspname,
      case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
    from pg_catalog.pg_namespace n, aclexplode(n.nspacl) a
    where n.nspname = 'lockstep' and a.grantee <> n.nspowner
    order by a.grantee::regrole::text, a.privilege_type)`;

/** Objects of an extension are not ours. */
const OURS = (catalogue: string, alias: string) => `
  ${alias}.${catalogue === 'pg_proc' ? 'pronamespace' : 'relnamespace'} in ('public'::regnamespace, 'lockstep'::regnamespace)
  and not exists (select from pg_catalog.pg_depend d
    where d.classid = '${catalogue}'::regclass and d.objid = ${alias}.oid and d.deptype = 'e')`;

const TABLES = `
  select line from (
    select c.oid::regclass::text as name, 1 as step,
      format('revoke all on table %s from public, %s;', c.oid::regclass, $1::text)
      || case when c.relrowsecurity then format(E'\\nalter table %s enable row level security;', c.oid::regclass) else '' end
      || case when c.relforcerowsecurity then format(E'\\nalter table %s force row level security;', c.oid::regclass) else '' end
      as line
    from pg_catalog.pg_class c where c.relkind in ('r', 'p', 'v', 'm') and ${OURS('pg_class', 'c')}
    union all
    select c.oid::regclass::text, 2, format('grant %s on table %s to %s;', a.privilege_type, c.oid::regclass,
      case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
    from pg_catalog.pg_class c, aclexplode(c.relacl) a
    where c.relkind in ('r', 'p', 'v', 'm') and ${OURS('pg_class', 'c')} and a.grantee <> c.relowner
    union all
    select c.oid::regclass::text, 3, format('grant %s (%s) on table %s to %s;', a.privilege_type,
      string_agg(quote_ident(t.attname), ', ' order by t.attnum), c.oid::regclass,
      case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
    from pg_catalog.pg_class c
    join pg_catalog.pg_attribute t on t.attrelid = c.oid and not t.attisdropped, aclexplode(t.attacl) a
    where c.relkind in ('r', 'p', 'v', 'm') and ${OURS('pg_class', 'c')} and a.grantee <> c.relowner
    group by c.oid, a.privilege_type, a.grantee
    union all
    select c.oid::regclass::text, 4, format(E'drop policy if exists %I on %s;\\ncreate policy %I on %s as %s for %s to %s%s%s;',
      p.polname, c.oid::regclass, p.polname, c.oid::regclass,
      case when p.polpermissive then 'permissive' else 'restrictive' end,
      case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
      (select string_agg(case r when 0 then 'public' else r::regrole::text end, ', ' order by r::regrole::text)
        from unnest(p.polroles) r),
      coalesce(E'\\n  using (' || pg_get_expr(p.polqual, p.polrelid) || ')', ''),
      coalesce(E'\\n  with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''))
    from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid where ${OURS('pg_class', 'c')}
  ) statements order by name, step, line`;

/** Rights before the owner, as in the migrations. The owner keeps its own right. */
const FUNCTIONS = `
  select line from (
    select p.oid::regprocedure::text as name, 1 as step,
      format('revoke all on function %s from public, %s;', p.oid::regprocedure,
        (select string_agg(r, ', ') from unnest(string_to_array($1::text, ', ')) r where r <> o.rolname)) as line
    from pg_catalog.pg_proc p join pg_catalog.pg_roles o on o.oid = p.proowner where ${OURS('pg_proc', 'p')}
    union all
    select p.oid::regprocedure::text, 2, format('grant %s on function %s to %s;', a.privilege_type, p.oid::regprocedure,
      case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
    from pg_catalog.pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    where ${OURS('pg_proc', 'p')} and a.grantee <> p.proowner
    union all
    select p.oid::regprocedure::text, 3, format('alter function %s owner to %s;', p.oid::regprocedure,
      case when o.rolname like 'lockstep\\_%' then quote_ident(o.rolname) else 'current_user' end)
    from pg_catalog.pg_proc p join pg_catalog.pg_roles o on o.oid = p.proowner where ${OURS('pg_proc', 'p')}
  ) statements order by name, step, line`;

/** The SQL that gives another database the roles, owners, grants and policies of the one at this address. */
export async function repairSql(databaseUrl: string): Promise<string> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    // Every name is then written with its schema.
    await client.query(`set search_path = ''`);
    const lines = async (query: string, values: string[] = []) =>
      (await client.query<{ line: string }>(query, values)).rows.map(({ line }) => line);
    const [everyone = ''] = await lines(EVERYONE);
    const owners = everyone
      .split(', ')
      .filter((role) => role.startsWith('lockstep_'))
      .join(', ');
    return [
      '-- Made by `npm run repair:owners`. Run it as the role that runs the migrations. It may be run again.',
      'begin;',
      `set local search_path = '';`,
      'set local client_min_messages = warning;',
      ...(await lines(ROLES)),
      ...(await lines(SCHEMAS, [everyone])),
      ...(await lines(TABLES, [everyone])),
      // A new owner needs this for the moment in which it becomes the owner.
      `grant create on schema public, lockstep to ${owners};`,
      ...(await lines(FUNCTIONS, [everyone])),
      `revoke create on schema public, lockstep from ${owners};`,
      'commit;',
      '',
    ].join('\n');
  } finally {
    await client.end();
  }
}

if (import.meta.main) {
  const dataDir = await mkdtemp(join(tmpdir(), 'lockstep-repair-'));
  const supabase = await startLocalSupabase({ dataDir, durable: false });
  try {
    process.stdout.write(await repairSql(supabase.databaseUrl));
  } finally {
    await supabase.stop();
    await supabase.postgres.destroy();
    await rm(dataDir, { recursive: true, force: true });
  }
}

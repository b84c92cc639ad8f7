/**
 * Tries every table and every function with every role and every verb: through the REST API with the publishable key and a real
 * token, and again in SQL. The lists come from the catalogue. Everything that is not on an allow-list below must be refused.
 */
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createTestApp, type TestApp } from '../support/app.ts';
import {
  asAuthenticator,
  become,
  createOwner,
  digestOf,
  type Owner,
  ROLES,
  type Role,
} from './organizations.ts';

/** Signed-in users and the service role may read these tables. Nobody may write to a table or read another one. */
const READABLE = [
  'agent_revisions',
  'agent_saves',
  'agents',
  'appointments',
  'call_contents',
  'call_logs',
  'knowledge_base_documents',
  'organizations',
  'phone_numbers',
  'sagas',
];
/** The service role may call these functions. No other role may call a function. */
const CALLABLE = [
  'agents_stale',
  'answer_tool_call',
  'begin_agents',
  'begin_appointments',
  'begin_documents',
  'begin_phone_numbers',
  'begin_query_tool',
  'booking_rules',
  'call_event_store',
  'call_events_apply',
  'call_events_quarantined',
  'call_events_retry',
  'call_events_take',
  'call_ledger',
  'call_walk_back',
  'call_walk_done',
  'call_walks_state',
  'calls_claim',
  'calls_give_up',
  'calls_waiting',
  'document_content',
  'event_context',
  'file_orphans',
  'free_slots',
  'knowledge_base_due',
  'knowledge_base_note',
  'knowledge_base_page',
  'lease_release',
  'lease_take',
  'observe_calls',
  'phone_number_activation_due',
  'phone_number_attachment_due',
  'phone_number_listed',
  'phone_number_note',
  'phone_number_page',
  'phone_number_stamps',
  'query_tool_orphans',
  'query_tool_repair',
  'query_tools_page',
  'replica_beat',
  'saga_abort',
  'saga_cleanup',
  'saga_commit',
  'saga_due',
  'saga_hold',
  'saga_inspect',
  'saga_needs_attention',
  'saga_rolled_back',
  'saga_settle',
  'saga_takeover',
  'set_allowance',
  'set_booking_rules',
  'set_drift_policy',
  'set_event_server',
  'sweep_done',
  'sweep_listed',
  'sweep_lookup',
  'sweep_note',
  'sweep_orphans',
  'sweep_page',
  'tool_call_context',
  'vapi_account',
];

/** Run with the rights of their caller, and read. */
const CALLABLE_BY_USERS = ['call_usage', 'list_page'];
/** Each of the service's, and those by either user. */
const ALLOWED_CALLS = CALLABLE.length + 2 * CALLABLE_BY_USERS.length;

const VERBS = ['select', 'insert', 'update', 'delete'] as const;
type Verb = (typeof VERBS)[number] | 'truncate';

interface Table {
  schema: string;
  name: string;
  columns: string[];
}

interface Routine {
  schema: string;
  name: string;
  arguments: { name: string; type: string }[];
}

let lockstep: TestApp;
let a: Owner;
let b: Owner;
let tables: Table[];
let routines: Routine[];

beforeAll(async () => {
  // The embedded REST layer prints every refused request.
  vi.spyOn(console, 'error').mockImplementation(() => {});
  lockstep = await createTestApp();
  [a, b] = await Promise.all([createOwner(lockstep, 'A'), createOwner(lockstep, 'B')]);
  const { sql } = lockstep.supabase;
  tables = await sql<Table[]>`
    select n.nspname as schema, c.relname as name,
      array(select attname::text from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped order by attnum) as columns
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    order by 1, 2`;
  routines = await sql<Routine[]>`
    select n.nspname as schema, p.proname as name,
      coalesce((select jsonb_agg(jsonb_build_object('name', p.proargnames[i], 'type', format_type(t, null)) order by i)
        from unnest(p.proargtypes::oid[]) with ordinality as x (t, i)), '[]') as arguments
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1, 2`;
});
afterAll(async () => {
  vi.restoreAllMocks();
  await lockstep?.stop();
});

function mayTable({ schema, name }: Table, role: Role, verb: Verb): boolean {
  return schema === 'public' && verb === 'select' && role !== 'anonymous' && READABLE.includes(name);
}

function mayCall({ schema, name }: Routine, role: Role): boolean {
  if (schema !== 'public') return false;
  return role === 'service'
    ? CALLABLE.includes(name)
    : role !== 'anonymous' && CALLABLE_BY_USERS.includes(name);
}

function ownerOf(role: Role): Owner {
  return role === 'user of B' ? b : a;
}

/** The column with the organization. Each of our tables has one. */
function organizationOf(table: Table): string {
  return table.name === 'organizations' ? 'id' : 'org_id';
}

async function rest(
  role: Role,
  method: string,
  path: string,
  schema: string,
  body?: object,
): Promise<{ status: number; body: unknown }> {
  const { url, publishableKey, secretKey } = lockstep.supabase;
  const response = await fetch(`${url}/rest/v1/${path}`, {
    method,
    headers: {
      apikey: role === 'service' ? secretKey : publishableKey,
      ...(role === 'user of A' || role === 'user of B'
        ? { authorization: `Bearer ${ownerOf(role).token}` }
        : {}),
      ...(schema === 'public' ? {} : { 'accept-profile': schema, 'content-profile': schema }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? null : JSON.parse(text) };
}

/** True if a missing right or an unexposed schema caused the refusal, and not a policy or another error. */
function isRefused({ status, body }: { status: number; body: unknown }, schema: string): boolean {
  const { code, message } = {
    code: '',
    message: '',
    ...(body as { code?: string; message?: string } | null),
  };
  return schema === 'public'
    ? (status === 401 || status === 403) && isDenied(`${code} ${message}`)
    : status === 406 && code === 'PGRST106';
}

function isDenied(error: string): boolean {
  // A view cannot be truncated by anybody.
  return /^42501 permission denied for (table|view|function|schema) |^42809 "\w+" is not a table$/.test(
    error,
  );
}

test('every name on the allow-lists exists, and every readable table has rows of both organizations', async () => {
  const publicTables = tables.filter(({ schema }) => schema === 'public').map(({ name }) => name);
  expect(publicTables).toEqual(expect.arrayContaining(READABLE));
  expect(routines.filter(({ schema }) => schema === 'public').map(({ name }) => name)).toEqual(
    expect.arrayContaining(CALLABLE),
  );
  for (const table of tables.filter(({ schema }) => schema === 'public')) {
    const column = organizationOf(table);
    const rows = await lockstep.supabase.sql.unsafe<{ org: string }[]>(
      `select distinct ${column} as org from public.${table.name}`,
    );
    const organizations = rows.map(({ org }) => org);
    expect(organizations, `${table.name}: createOwner must give every organization a row`).toEqual(
      expect.arrayContaining([a.orgId, b.orgId]),
    );
  }
});

test('REST refuses every combination of table, role and verb that is not on the allow-list', async () => {
  const { sql } = lockstep.supabase;
  const before = await digestOf(sql);
  // Whoever writes these columns of a view, or a generated one, is refused whatever their rights.
  const views = await sql<{ name: string; columns: string[] }[]>`
    select c.table_schema || '.' || c.table_name as name, array_agg(c.column_name::text) as columns
    from information_schema.columns c join information_schema.views using (table_schema, table_name)
    where c.is_updatable = 'NO' and table_schema in ('public', 'lockstep') group by 1
    union all
    select table_schema || '.' || table_name, array_agg(column_name::text) from information_schema.columns
    where is_generated = 'ALWAYS' and table_schema = 'public' group by 1`;
  const computed = new Map(views.map(({ name, columns }) => [name, columns]));
  const wrong: string[] = [];
  let refused = 0;
  let allowed = 0;
  let seen = 0;
  for (const table of tables) {
    const ours = table.schema === 'public' || table.schema === 'lockstep';
    const organization = organizationOf(table);
    const hasOrganization = table.columns.includes(organization);
    for (const role of ROLES) {
      const own = ownerOf(role).orgId;
      const [row = {}] =
        ours && hasOrganization
          ? await sql.unsafe<Record<string, unknown>[]>(
              `select to_jsonb(t) as row from ${table.schema}.${table.name} t where ${organization} = '${a.orgId}' limit 1`,
            )
          : [];
      // A valid row: only the missing right can refuse it.
      const body = {
        ...(row['row'] as object | undefined),
        ...(hasOrganization ? { [organization]: own } : { id: own }),
      };
      for (const column of computed.get(`${table.schema}.${table.name}`) ?? [])
        Reflect.deleteProperty(body, column);
      const where = hasOrganization ? `?${organization}=eq.${a.orgId}` : '?limit=1';
      const answers: Record<(typeof VERBS)[number], { status: number; body: unknown }> = {
        select: await rest(role, 'GET', `${table.name}?limit=1000`, table.schema),
        insert: await rest(role, 'POST', table.name, table.schema, body),
        update: await rest(role, 'PATCH', `${table.name}${where}`, table.schema, body),
        delete: await rest(role, 'DELETE', `${table.name}${where}`, table.schema),
      };
      for (const verb of VERBS) {
        const what = `${role} ${verb} ${table.schema}.${table.name}: ${answers[verb].status}`;
        if (!mayTable(table, role, verb)) {
          refused += 1;
          if (!isRefused(answers[verb], table.schema)) wrong.push(`${what}, expected a refusal`);
          continue;
        }
        allowed += 1;
        const rows = answers[verb].body as Record<string, unknown>[];
        if (answers[verb].status !== 200 || rows.length === 0) wrong.push(`${what}, expected rows`);
        else if (role !== 'service') {
          seen += rows.length;
          const foreign = rows.filter((found) => found[organization] !== own);
          if (foreign.length > 0) wrong.push(`${what}, and ${foreign.length} rows of others`);
        }
      }
      if (role === 'user of B' && mayTable(table, role, 'select')) {
        const asked = await rest(role, 'GET', `${table.name}${where}`, table.schema);
        if (JSON.stringify(asked.body) !== '[]') wrong.push(`${role} finds rows of A in ${table.name}`);
      }
    }
  }
  expect(wrong).toEqual([]);
  expect(await digestOf(sql)).toEqual(before);
  expect(refused + allowed).toBe(tables.length * ROLES.length * VERBS.length);
  console.log(
    `isolation, REST: ${tables.length} tables x ${ROLES.length} roles x ${VERBS.length} verbs = ${refused + allowed} ` +
      `attempts, ${allowed} allowed, ${refused} refused; ${seen} rows read by users, none of another organization`,
  );
});

test('SQL refuses every combination of table, role and verb that is not on the allow-list', async () => {
  const before = await digestOf(lockstep.supabase.sql);
  const authenticator = asAuthenticator(lockstep.supabase);
  const verbs = [...VERBS, 'truncate'] as const;
  const wrong: string[] = [];
  let refused = 0;
  let allowed = 0;
  try {
    for (const table of tables) {
      const name = `${table.schema}.${table.name}`;
      const organization = organizationOf(table);
      const statements: Record<Verb, string> = {
        select: `select * from ${name}`,
        insert: `insert into ${name} default values`,
        update: `update ${name} set ${table.columns[0]} = null`,
        delete: `delete from ${name}`,
        truncate: `truncate ${name}`,
      };
      for (const role of ROLES) {
        for (const verb of verbs) {
          const what = `${role} ${verb} ${name}`;
          const outcome = await inSql(authenticator, role, statements[verb]);
          if (!mayTable(table, role, verb)) {
            refused += 1;
            if (typeof outcome !== 'string' || !isDenied(outcome)) {
              wrong.push(`${what}: ${JSON.stringify(outcome)?.slice(0, 80)}`);
            }
            continue;
          }
          allowed += 1;
          if (typeof outcome === 'string' || outcome.length === 0) wrong.push(`${what}: ${outcome}`);
          else if (role !== 'service' && outcome.some((row) => row[organization] !== ownerOf(role).orgId)) {
            wrong.push(`${what}: rows of others`);
          }
        }
      }
    }
  } finally {
    await authenticator.end();
  }
  expect(wrong).toEqual([]);
  expect(await digestOf(lockstep.supabase.sql)).toEqual(before);
  expect(refused + allowed).toBe(tables.length * ROLES.length * verbs.length);
  console.log(
    `isolation, SQL: ${tables.length} tables x ${ROLES.length} roles x ${verbs.length} verbs = ${refused + allowed} ` +
      `attempts, ${allowed} allowed, ${refused} refused`,
  );
});

/** The rights of clients on tables, columns, sequences and schemas, in every schema. */
async function rightsOf(sql: postgres.Sql | postgres.TransactionSql): Promise<string[]> {
  const rights = await sql<{ granted: string }[]>`
    with clients as (select rolname from pg_roles where rolname in ('anon', 'authenticated', 'service_role', 'authenticator')),
    relations as (
      select c.oid, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S'))
    select r.rolname || ' ' || lower(v) || ' ' || c.oid::regclass::text as granted
    from relations c cross join clients r
    cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN']) as v
    where c.relkind <> 'S' and has_table_privilege(r.rolname, c.oid, v)
    union
    select r.rolname || ' ' || lower(v) || ' a column of ' || c.oid::regclass::text
    from relations c cross join clients r
    cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) as v
    where c.relkind <> 'S' and has_any_column_privilege(r.rolname, c.oid, v) and not has_table_privilege(r.rolname, c.oid, v)
    union
    select r.rolname || ' ' || lower(v) || ' sequence ' || c.oid::regclass::text
    from relations c cross join clients r cross join unnest(array['USAGE', 'SELECT', 'UPDATE']) as v
    -- What is no sequence must not reach the function.
    where case when c.relkind = 'S' then has_sequence_privilege(r.rolname, c.oid, v) else false end
    union
    select r.rolname || ' ' || lower(v) || ' schema ' || n.nspname
    from pg_namespace n cross join clients r cross join unnest(array['USAGE', 'CREATE']) as v
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and has_schema_privilege(r.rolname, n.oid, v)
    order by 1`;
  return rights.map(({ granted }) => granted);
}

/** Every project has these: functions that policies use, and functions of extensions. None has rows of an organization. */
const USABLE_SCHEMAS = ['auth', 'extensions', 'public'];

test('clients have no other right on a table, a column, a sequence or a schema', async () => {
  const { sql } = lockstep.supabase;
  const clients = ['anon', 'authenticated', 'service_role'];
  expect(await rightsOf(sql)).toEqual(
    [
      ...['authenticated', 'service_role'].flatMap((role) =>
        READABLE.map((table) => `${role} select ${table}`),
      ),
      ...clients.flatMap((role) => USABLE_SCHEMAS.map((schema) => `${role} usage schema ${schema}`)),
      // Every role has this right.
      'authenticator usage schema public',
    ].sort(),
  );

  const members = await sql<{ member: string; of: string }[]>`
    select m.rolname as member, o.rolname as of from pg_roles m cross join pg_roles o
    where m.rolname in ('anon', 'authenticated', 'service_role', 'authenticator')
      and o.rolname not in ('anon', 'authenticated', 'service_role', 'authenticator')
      and (pg_has_role(m.rolname, o.oid, 'MEMBER') or pg_has_role(m.rolname, o.oid, 'USAGE'))`;
  expect(members).toEqual([]);
});

test('finds a table that a later migration creates and does not close to clients', async () => {
  const { sql } = lockstep.supabase;
  const before = new Set(await rightsOf(sql));
  const found = async (migration: string) => {
    const undo = new Error('undo');
    let after: string[] = [];
    await sql
      .begin(async (tx) => {
        await tx`set local role postgres`;
        await tx.unsafe(migration);
        after = await rightsOf(tx);
        throw undo;
      })
      .catch((error: unknown) => {
        if (error !== undo) throw error;
      });
    return after.filter((right) => !before.has(right));
  };
  const table = await found(`
    create table public.planted (id bigint generated always as identity, org_id uuid);
    alter table public.planted enable row level security; alter table public.planted force row level security`);
  expect(table).toEqual(
    expect.arrayContaining([
      'anon select planted',
      'authenticated truncate planted',
      'authenticated usage sequence planted_id_seq',
    ]),
  );
  expect(await found('create view public.planted as select 1 as one')).toContain('anon select planted');
  expect(await found('grant select (config) on public.agents to anon')).toEqual([
    'anon select a column of agents',
  ]);
  expect(await found('grant usage on schema lockstep to authenticated')).toEqual([
    'authenticated usage schema lockstep',
  ]);
  expect(await found('create schema planted; grant all on schema planted to anon')).toEqual([
    'anon create schema planted',
    'anon usage schema planted',
  ]);
});

/** A value for each type of argument, as the address of a call writes it. */
const VALUES: Record<string, string> = {
  uuid: '00000000-0000-4000-8000-000000000001',
  text: 'x',
  bigint: '1',
  integer: '1',
  jsonb: '[]',
  'timestamp with time zone': '2026-01-01',
};

test('REST refuses every combination of function and role that is not on the allow-list', async () => {
  const before = await digestOf(lockstep.supabase.sql);
  const wrong: string[] = [];
  let refused = 0;
  let allowed = 0;
  for (const routine of routines) {
    const nulls = Object.fromEntries(routine.arguments.map(({ name }) => [name, null]));
    const query = routine.arguments
      .map(
        ({ name, type }) =>
          `${name}=${type.endsWith('[]') ? `{${VALUES[type.slice(0, -2)] ?? ''}}` : (VALUES[type] ?? '')}`,
      )
      .join('&');
    for (const role of ROLES) {
      const what = `${role} calls ${routine.schema}.${routine.name}`;
      const posted = await rest(role, 'POST', `rpc/${routine.name}`, routine.schema, nulls);
      if (mayCall(routine, role)) {
        allowed += 1;
        const code = (posted.body as { code?: string } | null)?.code;
        if (isRefused(posted, 'public') || code?.startsWith('PGRST'))
          wrong.push(`${what}: ${posted.status} ${code}`);
        continue;
      }
      refused += 1;
      if (!isRefused(posted, routine.schema)) wrong.push(`${what}: ${posted.status}`);
      const got = await rest(role, 'GET', `rpc/${routine.name}?${query}`, routine.schema);
      if (!isRefused(got, routine.schema)) wrong.push(`${what} by GET: ${got.status}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(await digestOf(lockstep.supabase.sql)).toEqual(before);
  expect(allowed).toBe(ALLOWED_CALLS);
  console.log(
    `isolation, REST: ${routines.length} functions x ${ROLES.length} roles = ${refused + allowed} calls, ` +
      `${allowed} allowed, ${refused} refused`,
  );
});

test.each(['call_logs', 'appointments', 'knowledge_base_documents', 'phone_numbers'])(
  'a page of %s has every row of the caller and none of another organization',
  async (list) => {
    for (const role of ['user of A', 'user of B'] as const) {
      const page = (filter: object, window: object = {}) =>
        rest(role, 'POST', 'rpc/list_page', 'public', {
          ...{ p_list: list, p_filter: filter, p_window: { ascending: true, limit: 1000, ...window } },
        });
      const own = await lockstep.supabase.sql<{ id: string }[]>`
        select id from ${lockstep.supabase.sql(`public.${list}`)} where org_id = ${ownerOf(role).orgId}`;
      const rows = (await page({})).body as { id: string }[];
      expect(rows.map(({ id }) => id).sort()).toEqual(own.map(({ id }) => id).sort());
      expect(rows.length).toBeGreaterThan(0);
      // Whatever a caller puts there is a value and no part of the statement.
      for (const filter of [{ agentId: `x') or true --` }, { callId: `' or true --` }])
        expect((await page(filter)).status).toBe(400);
      const above = { value: `'), now()) or true --`, id: '00000000-0000-4000-8000-000000000001' };
      const beyond = await page({}, { above });
      if (beyond.status !== 400) expect((beyond.body as object[]).length).toBeLessThanOrEqual(own.length);
    }
  },
);

test('list_page refuses every list that is not one of the four', async () => {
  for (const list of ['agents', 'organizations', 'agent_saves', `call_logs where true --`, null]) {
    const answer = await rest('user of A', 'POST', 'rpc/list_page', 'public', {
      ...{ p_list: list, p_filter: {}, p_window: { ascending: true, limit: 1 } },
    });
    expect(answer.status).toBe(400);
  }
});

test('SQL refuses every combination of function and role that is not on the allow-list', async () => {
  const ours = routines.filter(({ schema }) => schema === 'public' || schema === 'lockstep');
  const authenticator = asAuthenticator(lockstep.supabase);
  const wrong: string[] = [];
  let refused = 0;
  let allowed = 0;
  try {
    for (const routine of ours) {
      const nulls = routine.arguments.map(({ type }) => `null::${type}`).join(', ');
      for (const role of ROLES) {
        const outcome = await inSql(
          authenticator,
          role,
          `select ${routine.schema}.${routine.name}(${nulls})`,
        );
        const may = mayCall(routine, role);
        if (may) allowed += 1;
        else refused += 1;
        if ((typeof outcome === 'string' && isDenied(outcome)) === may)
          wrong.push(`${role} ${routine.name}: ${JSON.stringify(outcome)}`);
      }
    }
  } finally {
    await authenticator.end();
  }
  expect(wrong).toEqual([]);
  expect(allowed).toBe(ALLOWED_CALLS);
  console.log(
    `isolation, SQL: ${ours.length} functions x ${ROLES.length} roles = ${refused + allowed} calls, ` +
      `${allowed} allowed, ${refused} refused`,
  );
});

test('the private schema cannot be reached by a profile, by embedding or by a qualified name', async () => {
  const hidden = tables.filter(({ schema }) => schema === 'lockstep');
  expect(hidden.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      'saga_parts',
      'saga_keys',
      'fences',
      'observed',
      'organization_locks',
      'deployment',
    ]),
  );
  const leaks: string[] = [];
  let tried = 0;
  for (const { name } of hidden) {
    for (const parent of READABLE) {
      for (const select of [
        `*,${name}(*)`,
        `*,lockstep.${name}(*)`,
        `*,x:${name}!inner(*)`,
        `...${name}(*)`,
      ]) {
        const answer = await rest(
          'user of A',
          'GET',
          `${parent}?select=${encodeURIComponent(select)}`,
          'public',
        );
        tried += 1;
        if (answer.status < 400) leaks.push(`${parent}?select=${select}: ${answer.status}`);
      }
    }
    for (const path of [name, `lockstep.${name}`, `%22lockstep%22.%22${name}%22`, `public.${name}`]) {
      for (const role of ROLES) {
        const answer = await rest(role, 'GET', path, 'public');
        tried += 1;
        if (answer.status < 400) leaks.push(`${role} GET ${path}: ${answer.status}`);
      }
    }
  }
  expect(leaks).toEqual([]);
  console.log(`isolation: ${hidden.length} hidden tables, ${tried} other ways to them tried, none open`);
});

test('a client cannot select another organization by a setting, a header or other claims', async () => {
  const authenticator = asAuthenticator(lockstep.supabase);
  const own = { role: 'authenticated', sub: b.userId, app_metadata: { org_id: b.orgId } };
  const organizationsSeen = async (claims: object, setting = '') =>
    authenticator
      .begin(async (tx) => {
        await become(tx, 'authenticated', claims);
        if (setting !== '') await tx`select set_config('lockstep.org_id', ${setting}, false)`;
        const rows = await tx<{ org_id: string }[]>`
          select id as org_id from public.organizations union select org_id from public.agents
          union select org_id from public.agent_saves union select org_id from public.call_logs`;
        return rows.map((row) => row.org_id);
      })
      .catch((error: unknown) => (error instanceof postgres.PostgresError ? error.code : String(error)));
  try {
    expect(await organizationsSeen(own)).toEqual([b.orgId]);
    expect(await organizationsSeen(own, a.orgId)).toEqual([b.orgId]);
    for (const claims of [
      {},
      { app_metadata: {} },
      { app_metadata: null },
      { app_metadata: { org_id: null } },
      { app_metadata: { org_id: '' } },
      { org_id: a.orgId },
      { user_metadata: { org_id: a.orgId } },
      { app_metadata: { user_metadata: { org_id: a.orgId } } },
    ]) {
      expect(await organizationsSeen(claims, a.orgId), JSON.stringify(claims)).toEqual([]);
    }
    for (const org_id of ['x', '%', `${a.orgId}' or true --`, [a.orgId, b.orgId]]) {
      expect(await organizationsSeen({ app_metadata: { org_id } }), JSON.stringify(org_id)).toBe('22P02');
    }
  } finally {
    await authenticator.end();
  }

  const { url, publishableKey } = lockstep.supabase;
  const headers = { apikey: publishableKey, authorization: `Bearer ${b.token}` };
  const ids = async (path: string, extra: Record<string, string>) => {
    const response = await fetch(`${url}/rest/v1/${path}`, { headers: { ...headers, ...extra } });
    return (await response.text()).includes(a.orgId);
  };
  for (const extra of [
    { 'lockstep.org_id': a.orgId },
    { 'lockstep-org-id': a.orgId },
    { 'x-org-id': a.orgId },
    { prefer: `params=single-object, lockstep.org_id=${a.orgId}` },
    { 'x-supabase-role': 'service_role' },
    { role: 'service_role' },
  ]) {
    expect(await ids('organizations', extra), JSON.stringify(extra)).toBe(false);
    expect(await ids('agents', extra), JSON.stringify(extra)).toBe(false);
  }
  for (const path of ['rpc/set_config', 'rpc/pg_catalog.set_config']) {
    const answer = await rest('user of B', 'POST', path, 'public', {
      setting_name: 'lockstep.org_id',
      new_value: a.orgId,
      is_local: false,
    });
    expect(answer.status).toBe(404);
  }
});

/** Rows, or the SQLSTATE and message of the error. Rolls the statement back. */
async function inSql(
  authenticator: postgres.Sql,
  role: Role,
  statement: string,
): Promise<Record<string, unknown>[] | string> {
  let rows: Record<string, unknown>[] = [];
  const undo = new Error('undo');
  try {
    await authenticator.begin(async (tx) => {
      const claims = { sub: ownerOf(role).userId, app_metadata: { org_id: ownerOf(role).orgId } };
      if (role === 'anonymous') await become(tx, 'anon', { role: 'anon' });
      else if (role === 'service') await become(tx, 'service_role', { role: 'service_role' });
      else await become(tx, 'authenticated', { role: 'authenticated', ...claims });
      rows = await tx.unsafe(statement);
      throw undo;
    });
  } catch (error) {
    if (error !== undo) {
      return error instanceof postgres.PostgresError ? `${error.code} ${error.message}` : String(error);
    }
  }
  return rows;
}

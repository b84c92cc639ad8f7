import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@supabase/supabase-js';
import { SignJWT } from 'jose';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createTestSupabase, type TestSupabase } from '../../../test/support/supabase.ts';
import { applyMigrations } from './migrations.ts';
import { serveSupabase } from './serve.ts';
import { startLocalSupabase } from './supabase.ts';

const NORTH = '00000000-0000-4000-8000-00000000000a';
const SOUTH = '00000000-0000-4000-8000-00000000000b';

let supabase: TestSupabase;
beforeAll(async () => {
  supabase = await createTestSupabase();
});
afterAll(() => supabase?.stop());

function claims(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<
    string,
    unknown
  >;
}

function fetchRest(path: string, headers: Record<string, string>): Promise<Response> {
  return fetch(`${supabase.url}${path}`, { headers });
}

describe('Auth', () => {
  test('a demo user signs in and the token has the claims of hosted Auth', async () => {
    const { accessToken, client } = await supabase.signIn('owner@north.example', 'lockstep-demo');
    expect(claims(accessToken)).toMatchObject({
      iss: `${supabase.url}/auth/v1`,
      aud: 'authenticated',
      role: 'authenticated',
      sub: '00000000-0000-4000-8000-0000000000a1',
      email: 'owner@north.example',
      app_metadata: { provider: 'email', providers: ['email'], org_id: NORTH },
      aal: 'aal1',
      session_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      exp: expect.any(Number),
      iat: expect.any(Number),
    });
    const { data } = await client.auth.getUser();
    expect(data.user?.app_metadata['org_id']).toBe(NORTH);
  });

  test('a wrong password is refused', async () => {
    await expect(supabase.signIn('owner@north.example', 'wrong')).rejects.toMatchObject({
      code: 'invalid_credentials',
    });
  });

  test('a refreshed token has the current organization', async () => {
    const user = await supabase.createUser({ orgId: NORTH });
    const { client } = await supabase.signIn(user.email, user.password);
    const first = await client.auth.refreshSession();
    expect(claims(first.data.session?.access_token ?? '')['app_metadata']).toMatchObject({ org_id: NORTH });

    await supabase.sql`
      update auth.users set raw_app_meta_data = raw_app_meta_data || ${supabase.sql.json({ org_id: SOUTH })}
      where id = ${user.id}`;
    const second = await client.auth.refreshSession();
    expect(claims(second.data.session?.access_token ?? '')['app_metadata']).toMatchObject({ org_id: SOUTH });
  });

  test('a user cannot set app_metadata, neither by a sign-up nor by an update', async () => {
    const signup = await fetch(`${supabase.url}/auth/v1/signup`, {
      method: 'POST',
      headers: { apikey: supabase.publishableKey, 'content-type': 'application/json' },
      body: JSON.stringify({
        email: 'thief@test.example',
        password: 'thief-password',
        data: { org_id: NORTH, app_metadata: { org_id: NORTH } },
        app_metadata: { org_id: NORTH },
        raw_app_meta_data: { org_id: NORTH },
      }),
    });
    const session = (await signup.json()) as { access_token: string };
    expect(claims(session.access_token)['app_metadata']).toEqual({ provider: 'email', providers: ['email'] });

    const { client } = await supabase.signIn('thief@test.example', 'thief-password');
    await client.auth.updateUser({ data: { org_id: NORTH } });
    const update = await fetch(`${supabase.url}/auth/v1/user`, {
      method: 'PUT',
      headers: {
        apikey: supabase.publishableKey,
        authorization: `Bearer ${session.access_token}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ app_metadata: { org_id: NORTH }, raw_app_meta_data: { org_id: NORTH } }),
    });
    expect(update.status).toBe(200);

    const refreshed = await client.auth.refreshSession();
    const after = claims(refreshed.data.session?.access_token ?? '');
    expect(after['app_metadata']).toEqual({ provider: 'email', providers: ['email'] });
    expect(after['user_metadata']).toMatchObject({ org_id: NORTH });
    const [row] = await supabase.sql`
      select raw_app_meta_data as app, jsonb_typeof(raw_app_meta_data) as type from auth.users
      where email = 'thief@test.example'`;
    expect(row).toEqual({ app: { provider: 'email', providers: ['email'] }, type: 'object' });
    expect((await client.from('organizations').select()).data).toEqual([]);
  });

  test('the redirect of an emailed link also carries the claims', async () => {
    const user = await supabase.createUser({ orgId: NORTH });
    await supabase.sql`
      update auth.users set recovery_token = 'hash-of-a-mailed-token', recovery_sent_at = now() where id = ${user.id}`;
    const response = await fetch(
      `${supabase.url}/auth/v1/verify?type=recovery&token=hash-of-a-mailed-token`,
      {
        redirect: 'manual',
      },
    );
    const fragment = new URLSearchParams(response.headers.get('location')?.split('#')[1]);
    expect(claims(fragment.get('access_token') ?? '')['app_metadata']).toMatchObject({ org_id: NORTH });
  });
});

describe('REST', () => {
  test('row-level security uses app_metadata and shows only the own organization', async () => {
    const { client } = await supabase.signIn('owner@south.example', 'lockstep-demo');
    const { data, error } = await client.from('organizations').select('id, name, created_at');
    expect(error).toBeNull();
    expect(data).toEqual([
      {
        id: SOUTH,
        name: 'South Realty',
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+\+00:00$/),
      },
    ]);
  });

  test('the service role can call a function that the migrations close to users', async () => {
    const service = createClient(supabase.url, supabase.secretKey, { auth: { persistSession: false } });
    expect(await service.rpc('saga_due', { p_limit: 1 })).toMatchObject({ data: [], error: null });
    const { client } = await supabase.signIn('owner@north.example', 'lockstep-demo');
    expect((await client.rpc('saga_due', { p_limit: 1 })).error).toMatchObject({ code: '42501' });
  });

  test('refuses a request without a key, with a wrong key, with a malformed token and with another signature', async () => {
    const path = '/rest/v1/organizations';
    const apikey = supabase.publishableKey;
    const forged = await new SignJWT({ role: 'service_role' })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(new TextEncoder().encode('another secret, thirty-two bytes long'));
    expect((await fetchRest(path, {})).status).toBe(401);
    expect((await fetchRest(path, { apikey: 'sb_secret_wrong' })).status).toBe(401);
    expect((await fetchRest(path, { authorization: `Bearer ${supabase.secretKey}` })).status).toBe(401);
    expect((await fetchRest(path, { apikey, authorization: 'Bearer rubbish' })).status).toBe(401);
    expect((await fetchRest(path, { apikey, authorization: `Bearer ${forged}` })).status).toBe(401);
    expect((await fetchRest('/_system/introspect', {})).status).toBe(404);
  });

  test('refuses a correctly signed token whose role is not one of the three API roles', async () => {
    const token = await new SignJWT({ role: 'postgres', sub: '00000000-0000-4000-8000-0000000000a1' })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(supabase.jwtSecret));
    const response = await fetchRest('/rest/v1/organizations', {
      apikey: supabase.publishableKey,
      authorization: `Bearer ${token}`,
    });
    expect(response.status).toBe(403);
  });

  test('an error keeps its SQLSTATE and has the status that PostgREST gives', async () => {
    await supabase.sql.unsafe(`
      create function public.fail_with(p_code text) returns void language plpgsql as
        $$ begin raise exception using errcode = p_code, message = 'told to', detail = 'why', hint = 'what now'; end $$;
      grant execute on function public.fail_with to service_role;
    `);
    await supabase.reloadSchema();
    const service = createClient(supabase.url, supabase.secretKey, { auth: { persistSession: false } });
    const statuses = {
      P0001: 400,
      '23514': 400,
      '40001': 500,
      '40P01': 500,
      '57014': 500,
      '55P03': 500,
      XX000: 500,
    };
    for (const [code, status] of Object.entries(statuses)) {
      const answer = await service.rpc('fail_with', { p_code: code });
      expect({ status: answer.status, error: answer.error }).toMatchObject({
        status,
        error: { code, message: 'told to', details: 'why', hint: 'what now' },
      });
    }
  });
});

describe('rights, as on a hosted project', () => {
  test('serving requests restores no right that the migrations revoked', async () => {
    const { client } = await supabase.signIn('owner@north.example', 'lockstep-demo');
    await client.from('agents').select();
    const [row] = await supabase.sql`
      select has_table_privilege('authenticated', 'public.agents', 'insert') as insert,
             has_table_privilege('service_role', 'public.agents', 'update') as service,
             has_table_privilege('anon', 'public.agents', 'select') as anon`;
    expect(row).toEqual({ insert: false, service: false, anon: false });
  });

  test('role postgres has the rights that migrations need', async () => {
    const sql = postgres(supabase.postgresDatabaseUrl, { max: 1, onnotice: () => {} });
    try {
      await sql.unsafe(`
        create schema probe;
        create role probe_owner nologin;
        grant probe_owner to postgres;
        grant create on schema public to probe_owner;
        create table public.probe (id uuid primary key default extensions.gen_random_uuid(),
          user_id uuid references auth.users (id) on delete cascade);
        create function public.probe_function() returns int language sql as 'select 1';
        alter function public.probe_function() owner to probe_owner;
        revoke create on schema public from probe_owner;
        insert into auth.users (id, email) values (gen_random_uuid(), 'probe@test.example');
      `);
      const [row] = await sql`
        select has_table_privilege('anon', 'public.probe', 'insert, truncate') as anon,
               has_table_privilege('authenticated', 'public.probe', 'delete') as authenticated,
               has_table_privilege('service_role', 'public.probe', 'update') as service,
               has_function_privilege('anon', 'public.probe_function()', 'execute') as function`;
      expect(row).toEqual({ anon: true, authenticated: true, service: true, function: true });
    } finally {
      await sql.unsafe('drop owned by probe_owner; drop role probe_owner').catch(() => {});
      await sql.end();
    }
  });

  test('role postgres is not a superuser', async () => {
    const sql = postgres(supabase.postgresDatabaseUrl, { max: 1, onnotice: () => {} });
    try {
      const [role] = await sql`
        select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname = current_user`;
      expect(role).toEqual({ rolsuper: false, rolbypassrls: true, rolcreaterole: true, rolcreatedb: true });
      const beyond = [
        'create table auth.mine (id int)',
        'alter table auth.users add column mine int',
        "alter system set work_mem = '1MB'",
        'create extension file_fdw',
        "copy (select 1) to '/tmp/lockstep-probe'",
        'set role supabase_admin',
        'set session_replication_role = replica',
      ];
      for (const statement of beyond)
        await expect(sql.unsafe(statement), statement).rejects.toThrow(/denied|must be/);
    } finally {
      await sql.end();
    }
  });

  test('the shipped migrations ran as role postgres', async () => {
    const owners = await supabase.sql`
      select distinct pg_get_userbyid(relowner) as owner from pg_class
      where relkind = 'r' and relnamespace in ('public'::regnamespace, 'lockstep'::regnamespace)
        and relname not in ('probe')`;
    expect(owners).toEqual([{ owner: 'postgres' }]);
  });
});

describe('migrations', () => {
  let dir: string;
  const context = { dataDir: 'DATA', log: () => {} };
  const apply = () => applyMigrations(supabase.postgresDatabaseUrl, dir, context);
  let other: TestSupabase;
  beforeAll(async () => {
    other = await createTestSupabase();
    dir = await mkdtemp(join(tmpdir(), 'lockstep-migrations-'));
    // The clone has the repository's migrations on record, but their files are not in this folder.
    await supabase.sql`delete from supabase_migrations.schema_migrations`;
  });
  afterAll(async () => {
    await other?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  test('are applied once, in order, and recorded as the Supabase CLI does', async () => {
    await writeFile(join(dir, '20990101000002_second.sql'), 'insert into public.steps values (2);');
    await writeFile(
      join(dir, '20990101000001_first.sql'),
      "create table public.steps (n int); -- a ';' here\ninsert into public.steps values (1);",
    );
    await writeFile(join(dir, 'README.md'), 'not a migration');
    await apply();
    await apply();
    expect(await supabase.sql`select n from public.steps`).toEqual([{ n: 1 }, { n: 2 }]);
    const rows = await supabase.sql`
      select version, name, cardinality(statements) as n from supabase_migrations.schema_migrations order by version`;
    expect(rows).toEqual([
      { version: '20990101000001', name: 'first', n: 2 },
      { version: '20990101000002', name: 'second', n: 1 },
    ]);
  });

  test('a failing migration reports file, line and reason, and is rolled back', async () => {
    const file = join(dir, '20990101000003_third.sql');
    const fail = async (text: string) => {
      await writeFile(file, text);
      return apply().then(
        () => 'applied',
        (error: Error) => error.message,
      );
    };
    expect(await fail('create table public.half (n int);\n\n-- why\nselect nothing_such;')).toContain(
      `${file}:4: column "nothing_such" does not exist (42703)`,
    );
    // An error without a position is reported at the first line of its statement.
    expect(
      await fail('create table public.half (n int);\n\n-- why\ncreate table public.steps (n int);'),
    ).toContain(`${file}:4: relation "steps" already exists (42P07)`);
    expect(await fail('create table auth.mine (n int);')).toContain(':1: permission denied for schema auth');
    expect(await supabase.sql`select to_regclass('public.half') as half`).toEqual([{ half: null }]);
    await rm(file);
  });

  test('the first migration refuses a project in which a table name is in use, names it, and changes nothing', async () => {
    const { sql, postgresDatabaseUrl } = other;
    await sql.unsafe(`
      set client_min_messages = error;
      drop schema lockstep cascade;
      drop table public.organizations, public.agents, public.sagas, public.agent_revisions, public.phone_numbers,
        public.knowledge_base_documents, public.call_contents, public.call_logs, public.appointments cascade;
      delete from supabase_migrations.schema_migrations;
      create table public.agents (commission numeric);
    `);
    const migrations = join(import.meta.dirname, '..', '..', '..', 'supabase', 'migrations');
    const refusal = await applyMigrations(postgresDatabaseUrl, migrations, context).then(
      () => 'applied',
      (error: Error) => error.message,
    );
    expect(refusal).toContain(
      'Lockstep cannot be installed in this project: these names are in use already: public.agents. Nothing was changed.',
    );
    const [after] = await sql`
      select to_regnamespace('lockstep') as schema, to_regclass('public.organizations') as organizations,
        (select count(*)::int from supabase_migrations.schema_migrations) as applied`;
    expect(after).toEqual({ schema: null, organizations: null, applied: 0 });
  });

  test('reports a migration that was changed or removed after it was applied', async () => {
    const second = join(dir, '20990101000002_second.sql');
    await writeFile(second, 'insert into public.steps values (22);');
    await expect(apply()).rejects.toThrow(
      'Migration 20990101000002_second.sql was changed after it was applied. Local data: put the change in a new ' +
        'migration, or delete DATA and start afresh.',
    );
    await rm(second);
    await expect(apply()).rejects.toThrow(
      'Migration 20990101000002_second.sql was applied, but its file is missing',
    );
  });
});

test('the seed can run again, and sets the column that GoTrue needs if it exists', async () => {
  const seed = await readFile(join(import.meta.dirname, '..', '..', '..', 'supabase', 'seed.sql'), 'utf8');
  const sql = postgres(supabase.postgresDatabaseUrl, { max: 1, onnotice: () => {} });
  const demo = () => supabase.sql`select * from auth.users where email like 'owner@%' order by email`;
  try {
    const before = await demo();
    await sql.unsafe(seed);
    expect(await demo()).toEqual(before);
    await supabase.sql`alter table auth.users add column instance_id uuid`;
    await sql.unsafe(seed);
    for (const user of await demo()) expect(user['instance_id']).toBe('00000000-0000-0000-0000-000000000000');
  } finally {
    await sql.end();
  }
});

describe('the harness', () => {
  const path = '/rest/v1/organizations';
  const call = () => fetchRest(path, { apikey: supabase.secretKey }).then((response) => response.status);
  afterEach(() => {
    supabase.faults.clear();
    supabase.outage.end();
  });

  test('records REST calls', async () => {
    supabase.requests.reset();
    await call();
    await supabase.createUser();
    expect(supabase.requests.all).toEqual([{ method: 'GET', path }]);
  });

  test('injects faults, each once', async () => {
    const insert = (name: string) =>
      fetch(`${supabase.url}/rest/v1/rpc/add_organization`, {
        method: 'POST',
        headers: { apikey: supabase.secretKey, 'content-type': 'application/json' },
        body: JSON.stringify({ p_name: name }),
      });
    await supabase.sql.unsafe(`
      create function public.add_organization(p_name text) returns void language sql security definer as
        'insert into public.organizations (name) values (p_name)';
      grant execute on function public.add_organization to service_role;
    `);
    await supabase.reloadSchema();
    const exists = async (name: string) =>
      (await supabase.sql`select from public.organizations where name = ${name}`).length === 1;

    supabase.faults.next('add_organization', 'reset-before');
    supabase.faults.next('add_organization', 'reset-after');
    supabase.faults.next(/rpc/, { status: 503, body: { code: 'PGRST001' } });
    supabase.faults.next((request) => request.method === 'POST', { answerAfterMs: 50 });
    await expect(insert('before')).rejects.toThrow('fetch failed');
    expect(await exists('before')).toBe(false);
    await expect(insert('after')).rejects.toThrow('fetch failed');
    expect(await exists('after')).toBe(true);
    expect((await insert('status')).status).toBe(503);
    expect(await exists('status')).toBe(false);
    expect((await insert('late')).status).toBe(204);
    expect((await insert('normal')).status).toBe(204);
  });

  test('simulates an outage', async () => {
    supabase.outage.begin('503');
    expect(await call()).toBe(503);
    supabase.outage.begin('reset');
    await expect(call()).rejects.toThrow('fetch failed');
    supabase.outage.begin('hang');
    const hanging = call();
    supabase.outage.end();
    expect(await hanging).toBe(200);
  });
});

test('reports a port that is in use with the code EADDRINUSE, so that the embedded server can use another', async () => {
  const port = Number(new URL(supabase.url).port);
  const started = serveSupabase({
    adminUrl: supabase.databaseUrl,
    restUrl: supabase.databaseUrl,
    keys: supabase,
    port,
    log: () => {},
  });
  await expect(started).rejects.toMatchObject({
    code: 'EADDRINUSE',
    message: `Port ${port} on 127.0.0.1 is already in use: choose another`,
  });
});

test('requests fail fast with 5xx while Postgres is down, and work again when it is back', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'lockstep-outage-'));
  const crashes: string[] = [];
  const local = await startLocalSupabase({
    dataDir,
    durable: false,
    onCrash: (reason) => crashes.push(reason),
  });
  try {
    const client = createClient(local.url, local.publishableKey, { auth: { persistSession: false } });
    await client.auth.signInWithPassword({ email: 'owner@north.example', password: 'lockstep-demo' });
    const { data } = await client.auth.getSession();
    // Not through supabase-js, which repeats a request up to three times after a 503.
    const ask = (path: string, apikey: string, more: RequestInit = {}) =>
      fetch(`${local.url}${path}`, {
        ...more,
        headers: { apikey, 'content-type': 'application/json', ...more.headers },
      });
    const rows = () => ask('/rest/v1/organizations', local.secretKey);
    const due = () =>
      ask('/rest/v1/rpc/saga_due', local.secretKey, { method: 'POST', body: '{"p_limit":1}' });
    const authorization = `Bearer ${data.session?.access_token}`;
    const own = () => ask('/rest/v1/organizations', local.publishableKey, { headers: { authorization } });
    const user = () => ask('/auth/v1/user', local.publishableKey, { headers: { authorization } });
    for (const call of [rows, due, own, user]) expect((await call()).status).toBe(200);

    // During calls, then without any server.
    const during = [rows, due, own, rows, due, own].map((call) => call());
    await local.postgres.kill();
    for (const answer of await Promise.all(during)) expect([200, 503]).toContain(answer.status);
    const start = performance.now();
    for (const call of [rows, due, own, user, rows]) expect((await call()).status).toBe(503);
    // They did not wait for a connection, which takes two seconds each.
    expect(performance.now() - start).toBeLessThan(10_000);

    await local.postgres.restart();
    for (const call of [rows, due, own, user]) expect((await call()).status).toBe(200);
    expect(crashes).toEqual([]);

    const pid = local.postgres.pid() ?? 0;
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => crashes).toEqual([expect.stringContaining('signal SIGKILL')]);
    await local.postgres.restart();
    expect((await rows()).status).toBe(200);
  } finally {
    await local.stop();
    await local.stop();
    await local.postgres.destroy();
    await rm(dataDir, { recursive: true, force: true });
  }
});

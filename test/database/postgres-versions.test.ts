/**
 * The migrations on each major version of Postgres that Supabase runs or ran, as a role with as few rights as possible: first one that
 * creates the schema `lockstep` and its roles itself, then one for which an administrator has made them, and which has no right but
 * CREATE and USAGE on the schema `public` (and USAGE on `auth`, whose functions the policies call).
 */
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { provision } from '../../src/local/supabase/hosted-project.ts';
import { type EmbeddedPostgres, startPostgres } from '../../src/local/supabase/postgres.ts';

const MIGRATIONS = resolve(import.meta.dirname, '../../supabase/migrations');
/** Undefined: the version of the embedded Supabase. */
const VERSIONS = [
  { version: 15, major: 15 },
  { version: 17, major: 17 },
  { version: 18, major: undefined },
] as const;

describe.each(VERSIONS)('Postgres $version', ({ version, major }) => {
  let dataDir: string;
  let server: EmbeddedPostgres;
  let migrations: string[];

  beforeAll(async () => {
    const names = (await readdir(MIGRATIONS)).filter((name) => name.endsWith('.sql')).sort();
    migrations = await Promise.all(names.map((name) => readFile(join(MIGRATIONS, name), 'utf8')));
    dataDir = await mkdtemp(join(tmpdir(), 'lockstep-version-'));
    // Postgres runs as another user if this process runs as root.
    await chmod(dataDir, 0o711);
    server = await startPostgres({ dataDir, durable: false, ...(major === undefined ? {} : { major }) });
    await provision(server);
  });
  afterAll(async () => {
    await server?.destroy();
    await rm(dataDir, { recursive: true, force: true });
  });

  async function connected<T>(user: string, database: string, use: (sql: postgres.Sql) => Promise<T>) {
    const sql = postgres(server.url(database, user), { max: 1, onnotice: () => {} });
    return use(sql).finally(() => sql.end());
  }
  const asAdministrator = <T>(database: string, use: (sql: postgres.Sql) => Promise<T>) =>
    connected('supabase_admin', database, use);

  /** A project of its own, and a role without rights except on the schemas `public` and `auth`. */
  async function createProject(name: string): Promise<void> {
    await asAdministrator('template1', (sql) => sql.unsafe(`create database ${name} template postgres`));
    await asAdministrator(name, (sql) =>
      sql.unsafe(`
        create role ${name} login password '${server.password}';
        grant create, usage on schema public to ${name};
        grant usage on schema auth to ${name};
        -- As a hosted project opens what its role "postgres" creates.
        alter default privileges for role ${name} in schema public grant all on tables to anon, authenticated, service_role;
        alter default privileges for role ${name} in schema public grant all on functions to anon, authenticated, service_role`),
    );
  }

  const migrate = (name: string) =>
    connected(name, name, (sql) =>
      sql.begin(async (tx) => {
        for (const migration of migrations) await tx.unsafe(migration);
      }),
    );

  /** One save, as the server makes it, and who may see it. */
  async function expectOneSaveToWork(name: string): Promise<void> {
    await asAdministrator(name, async (sql) => {
      const [orgId, other, sagaId, agentId] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
      await sql`insert into public.organizations (id, name) values (${orgId}, 'One'), (${other}, 'Other')`;
      const as = <T>(role: string, org: string, use: (tx: postgres.TransactionSql) => Promise<T>) =>
        sql.begin(async (tx) => {
          await tx.unsafe(`set local role ${role}`);
          const claims = JSON.stringify({ app_metadata: { org_id: org } });
          await tx`select set_config('request.jwt.claims', ${claims}, true)`;
          return use(tx);
        });
      const request = {
        ...{ requestHash: 'h', cause: 'USER', leaseMs: 60_000, deadlineMs: 60_000, mappingVersion: 1 },
        updates: [
          {
            ...{ role: 'INBOUND', newAgentId: agentId, recreateIfMissing: false },
            ...{ defaults: { systemPrompt: 'p' }, patch: {} },
          },
        ],
      };
      const begin = (tx: postgres.TransactionSql) => tx<{ answer: { outcome: string } }[]>`
        select public.begin_agents(${orgId}, ${sagaId}, 'owner', ${tx.json(request)}) as answer`;
      const commit = { parts: [{ key: 'INBOUND', remoteId: 'assistant', observed: {} }], ambiguous: false };

      const [begun] = await as('service_role', orgId, begin);
      expect(begun?.answer).toMatchObject({ outcome: 'BEGUN' });
      const [committed] = await as(
        'service_role',
        orgId,
        (tx) => tx<{ answer: { outcome: string } }[]>`
          select public.saga_commit(${orgId}, ${sagaId}, 1, ${tx.json(commit)}) as answer`,
      );
      expect(committed?.answer).toMatchObject({ outcome: 'COMMITTED' });
      const seen = (tx: postgres.TransactionSql) => tx`select id from public.agents`;
      expect(await as('authenticated', orgId, seen)).toEqual([{ id: agentId }]);
      expect(await as('authenticated', other, seen)).toEqual([]);
      await expect(as('authenticated', orgId, begin)).rejects.toThrow(
        'permission denied for function begin_agents',
      );
      await expect(as('anon', orgId, seen)).rejects.toThrow('permission denied for table agents');
    });
  }

  test('is the version that runs', async () => {
    const [row] = await asAdministrator('postgres', (sql) => sql`show server_version`);
    expect(row?.['server_version']).toMatch(new RegExp(`^${version}\\.`));
  });

  test('accepts the migrations from a role that may create schemas and roles, and a save works', async () => {
    await createProject('creator');
    await asAdministrator('creator', (sql) =>
      sql.unsafe('alter role creator createrole; grant create on database creator to creator'),
    );
    await migrate('creator');
    await expectOneSaveToWork('creator');
  });

  test('accepts the migrations from a role that may use and create in the schema public only, and a save works', async () => {
    await createProject('limited');
    await asAdministrator('limited', async (sql) => {
      // The roles of the test before: roles belong to the cluster.
      const roles = await sql<
        { name: string }[]
      >`select rolname as name from pg_roles where rolname like 'lockstep\\_%'`;
      expect(roles.length).toBeGreaterThan(0);
      await sql.unsafe(`
        create schema lockstep authorization limited;
        create extension btree_gist with schema extensions;
        grant ${roles.map(({ name }) => name).join(', ')} to limited`);
    });
    await migrate('limited');
    await expectOneSaveToWork('limited');
  });

  test('refuses a role that may not become the owner of the functions, with the statement that helps', async () => {
    await createProject('stranger');
    await asAdministrator('stranger', (sql) => sql.unsafe('create schema lockstep authorization stranger'));
    await expect(migrate('stranger')).rejects.toMatchObject({
      message: expect.stringContaining('The role stranger must be a member of the role lockstep_saves'),
      hint: expect.stringContaining('grant lockstep_saves to stranger'),
    });
  });

  test('refuses a role that may not create the extension that is missing, with the statement that helps', async () => {
    await createProject('bare');
    await asAdministrator('bare', async (sql) => {
      const roles = await sql<
        { name: string }[]
      >`select rolname as name from pg_roles where rolname like 'lockstep\\_%'`;
      await sql.unsafe(`
        create schema lockstep authorization bare;
        grant ${roles.map(({ name }) => name).join(', ')} to bare`);
    });
    await expect(migrate('bare')).rejects.toMatchObject({
      message:
        'The extension btree_gist is missing, and the role bare may not create it. Nothing was changed.',
      hint: 'As an administrator: create extension btree_gist with schema extensions.',
    });
  });

  test('refuses to install where a table or the schema of Lockstep exists, names each, and changes nothing', async () => {
    const names = await asAdministrator('creator', async (sql) => {
      const rows = await sql<{ name: string }[]>`
        select relname as name from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') order by relname`;
      return rows.map(({ name }) => name);
    });
    expect(names).toContain('agents');
    await createProject('taken');
    await asAdministrator('taken', (sql) =>
      sql.unsafe(
        `create schema lockstep; ${names.map((name) => `create table public.${name} ()`).join(';')}`,
      ),
    );
    await expect(migrate('taken')).rejects.toMatchObject({
      message: `Lockstep cannot be installed in this project: these names are in use already: ${names
        .map((name) => `public.${name}`)
        .join(', ')}, the schema lockstep. Nothing was changed.`,
      hint: expect.stringContaining('Rename'),
    });
  });
});

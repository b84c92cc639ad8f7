/**
 * The embedded local Supabase: a real Postgres with the roles and rights of a hosted project, under @supabase/lite's REST
 * and Auth. For development and tests; production is a Supabase project.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { basename, join, resolve } from 'node:path';
import { inspect } from 'node:util';
import { App, getAuthSchemaSql, splitSqlStatements } from '@supabase/lite';
import { PostgresConnection } from '@supabase/lite/postgres';
import { jwtVerify, SignJWT } from 'jose';
import postgres from 'postgres';
import { leasePool } from './lease-pool.ts';
import { type EmbeddedPostgres, startPostgres } from './postgres.ts';

export interface LocalSupabaseOptions {
  /** Contains the database, the keys and the password; created if missing. */
  readonly dataDir: string;
  /** Port of REST and Auth on 127.0.0.1. 0 or absent: any free port. */
  readonly port?: number;
  readonly postgresPort?: number;
  /** Default: `supabase/migrations` of this repository. */
  readonly migrationsDir?: string;
  /** Default: `supabase/seed.sql` of this repository. If the file does not exist, nothing is seeded. */
  readonly seedFile?: string;
  /** `false` turns fsync off: for tests only. */
  readonly durable?: boolean;
  readonly log?: (line: string) => void;
  /** Called when Postgres ends unexpectedly. */
  readonly onCrash?: (reason: string) => void;
}

export interface SupabaseKeys {
  readonly publishableKey: string;
  readonly secretKey: string;
  readonly jwtSecret: string;
}

export interface LocalSupabase extends SupabaseKeys {
  readonly url: string;
  /** As role `postgres`, with exactly the rights that a hosted project gives. */
  readonly databaseUrl: string;
  /** As the superuser. */
  readonly adminDatabaseUrl: string;
  readonly postgres: EmbeddedPostgres;
  /** REST reads tables and functions at its start. This makes it read them again. */
  readonly reloadSchema: () => Promise<void>;
  /** Clean and idempotent. */
  readonly stop: () => Promise<void>;
}

/** Starts everything, applies new migrations, and seeds once. On failure the error is one clear sentence. */
export async function startLocalSupabase(options: LocalSupabaseOptions): Promise<LocalSupabase> {
  const log = options.log ?? (() => {});
  const dataDir = resolve(options.dataDir);
  const server = await startPostgres({
    dataDir,
    ...(options.postgresPort === undefined ? {} : { port: options.postgresPort }),
    ...(options.durable === undefined ? {} : { durable: options.durable }),
    log,
    onCrash: options.onCrash ?? log,
  });
  try {
    const keys = await readOrMakeKeys(dataDir);
    await provision(server);
    const databaseUrl = server.url('postgres', 'postgres');
    await applyMigrations(databaseUrl, options.migrationsDir ?? repositoryFile('supabase/migrations'), {
      dataDir,
      log,
    });
    await applySeed(databaseUrl, options.seedFile ?? repositoryFile('supabase/seed.sql'), log);
    const api = await serveSupabase({
      adminUrl: server.url(),
      restUrl: server.url('postgres', 'authenticator'),
      keys,
      port: options.port ?? 0,
      log,
    });
    return {
      ...keys,
      url: api.url,
      databaseUrl,
      adminDatabaseUrl: server.url(),
      postgres: server,
      reloadSchema: api.reloadSchema,
      stop: async () => {
        await api.stop();
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

function repositoryFile(path: string): string {
  return resolve(import.meta.dirname, '..', '..', '..', path);
}

/** Created once per data directory, in the form of the keys of a hosted project. */
export function makeKeys(): SupabaseKeys {
  const random = (bytes: number) => randomBytes(bytes).toString('base64url');
  return {
    publishableKey: `sb_publishable_${random(24)}`,
    secretKey: `sb_secret_${random(24)}`,
    jwtSecret: random(48),
  };
}

async function readOrMakeKeys(dataDir: string): Promise<SupabaseKeys> {
  const file = join(dataDir, 'keys.json');
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as SupabaseKeys;
  const keys = makeKeys();
  await mkdir(dataDir, { recursive: true });
  await writeFile(`${file}.new`, JSON.stringify(keys), { mode: 0o600 });
  await rename(`${file}.new`, file);
  return keys;
}

// ---------------------------------------------------------------------------------------------------------------------
// The state of a hosted project before the first migration

/**
 * Roles, schemas and rights as in github.com/supabase/postgres (migrations/db: init-scripts, demote-postgres,
 * set_authenticator_timeout, grant_predefined_roles_to_postgres, alter_api_roles_for_inherit). Auth's tables are lite's.
 * In one transaction, once.
 */
export async function provision(server: EmbeddedPostgres): Promise<void> {
  const sql = connect(server.url());
  try {
    const [done] = await sql`select from pg_roles where rolname = 'authenticator'`;
    if (done) return;
    await sql.begin((tx) => tx.unsafe(provisionSql(server.password)));
  } finally {
    await sql.end();
  }
}

function provisionSql(password: string): string {
  return `
create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;
create role authenticator login noinherit password '${password}';
grant anon, authenticated, service_role to authenticator;
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';

-- Runs the migrations. No superuser, as on a hosted project.
create role postgres login createrole createdb replication bypassrls password '${password}';
grant anon, authenticated, service_role, authenticator, pg_monitor, pg_read_all_data, pg_signal_backend
  to postgres with admin option;
alter role postgres set search_path = "$user", public, extensions;
alter database postgres owner to postgres;

create schema extensions;
create extension pgcrypto with schema extensions;
create extension "uuid-ossp" with schema extensions;
grant all on schema extensions to postgres;
grant usage on schema extensions to anon, authenticated, service_role;

grant usage on schema public to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on sequences to postgres, anon, authenticated, service_role;

set local client_min_messages = error;
create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;

${getAuthSchemaSql()}
create function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;
create function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )
$$;
create function auth.email() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
  )
$$;
create function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;
grant usage on schema auth to postgres, anon, authenticated, service_role;
grant all on all tables in schema auth to postgres;
grant all on all sequences in schema auth to postgres;
grant all on all routines in schema auth to postgres;
`;
}

// ---------------------------------------------------------------------------------------------------------------------
// Migrations and seed, as the Supabase CLI applies and records them

/** Applies the new files of `dir` in name order, each in one transaction, as the role of `databaseUrl`. */
export async function applyMigrations(
  databaseUrl: string,
  dir: string,
  context: { readonly dataDir: string; readonly log: (line: string) => void },
): Promise<void> {
  const files = (await readdir(dir)).filter((file) => /^\d+_.*\.sql$/.test(file)).sort();
  const sql = connect(databaseUrl, context.log);
  try {
    await sql.unsafe(`
      set client_min_messages = warning;
      create schema if not exists supabase_migrations;
      create table if not exists supabase_migrations.schema_migrations (
        version text not null primary key, statements text[], name text
      );
      create table if not exists supabase_migrations.seed_files (path text not null primary key, hash text not null);
    `);
    const rows = await sql<{ version: string; name: string; statements: string[] }[]>`
      select version, name, statements from supabase_migrations.schema_migrations order by version`;
    const applied = new Map(rows.map((row) => [row.version, row]));
    const advice = `Local data: put the change in a new migration, or delete ${context.dataDir} and start afresh.`;
    for (const file of files) {
      const text = await readFile(join(dir, file), 'utf8');
      const version = file.slice(0, file.indexOf('_'));
      const name = file.slice(version.length + 1, -'.sql'.length);
      const statements = splitSqlStatements(text);
      const before = applied.get(version);
      applied.delete(version);
      if (before) {
        if (before.statements.join('\n') === statements.join('\n')) continue;
        throw new Error(`Migration ${file} was changed after it was applied. ${advice}`);
      }
      await sql.begin(async (tx) => {
        await execute(tx, text, statements, join(dir, file));
        await tx`insert into supabase_migrations.schema_migrations (version, name, statements)
          values (${version}, ${name}, ${statements})`;
      });
      context.log(`Applied migration ${file}`);
    }
    const [missing] = applied.values();
    if (missing) {
      throw new Error(
        `Migration ${missing.version}_${missing.name}.sql was applied, but its file is missing in ${dir}. ${advice}`,
      );
    }
  } finally {
    await sql.end();
  }
}

/** Runs the seed once, and records that under its file name. */
export async function applySeed(
  databaseUrl: string,
  file: string,
  log: (line: string) => void,
): Promise<void> {
  if (!existsSync(file)) return;
  const text = await readFile(file, 'utf8');
  const path = `supabase/${basename(file)}`;
  const sql = connect(databaseUrl, log);
  try {
    await sql.begin(async (tx) => {
      const [done] = await tx`select from supabase_migrations.seed_files where path = ${path}`;
      if (done) return;
      await execute(tx, text, splitSqlStatements(text), file);
      await tx`insert into supabase_migrations.seed_files (path, hash)
        values (${path}, encode(sha256(${Buffer.from(text)}), 'hex'))`;
      log(`Seeded from ${path}`);
    });
  } finally {
    await sql.end();
  }
}

/** Runs one statement at a time. Most errors of Postgres have no position, so the line of the statement is all that can be reported. */
async function execute(
  tx: postgres.TransactionSql,
  text: string,
  statements: readonly string[],
  file: string,
): Promise<void> {
  let from = 0;
  for (const statement of statements) {
    const start = text.indexOf(statement, from);
    from = start < 0 ? from : start + statement.length;
    try {
      await tx.unsafe(statement);
    } catch (error) {
      if (!(error instanceof postgres.PostgresError)) throw error;
      const comments = /^(?:\s+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)*/.exec(statement)?.[0].length ?? 0;
      const offset = Math.max(start, 0) + (error.position ? Number(error.position) - 1 : comments);
      const line = text.slice(0, offset).split('\n').length;
      const more = [error.detail, error.hint, error.where].filter(Boolean).join(' | ');
      throw new Error(`${file}:${line}: ${error.message} (${error.code})${more ? ` | ${more}` : ''}`);
    }
  }
}

function connect(url: string, log?: (line: string) => void): postgres.Sql {
  return postgres(url, {
    max: 1,
    connect_timeout: 120,
    onnotice: (notice) => log?.(`postgres: ${notice['message']}`),
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// REST and Auth over HTTP

/** May inspect a request, and delay or replace its answer. `undefined` closes the connection without an answer. */
export type Intercept = (request: Request, proceed: () => Promise<Response>) => Promise<Response | undefined>;

export interface ServeOptions {
  readonly adminUrl: string;
  /** As role `authenticator`. */
  readonly restUrl: string;
  readonly keys: SupabaseKeys;
  readonly port: number;
  readonly log: (line: string) => void;
  readonly intercept?: Intercept;
}

export interface ServedSupabase {
  readonly url: string;
  readonly reloadSchema: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

/** Serves `/rest/v1` and `/auth/v1` of a provisioned database on 127.0.0.1. */
export async function serveSupabase(options: ServeOptions): Promise<ServedSupabase> {
  const { keys, log } = options;
  const admin = await liteConnection(options.adminUrl, 4, log);
  const rest = await liteConnection(options.restUrl, 10, log).catch(async (error: unknown) => {
    await admin.close();
    throw error;
  });
  // Otherwise lite would, at its first request (ensureRlsContext), grant everything on every table with row-level security to
  // anon, authenticated and service_role, and would serve other tables as the role that it is connected with. A hosted project
  // does neither: PostgREST connects as `authenticator`, which can only switch to one of these three roles.
  Object.assign(rest, { rlsState: 'active' });
  admin.withContext = rest.withContext.bind(rest);
  admin.normalizeDbError = toPostgrestError;

  let handle: (request: Request) => Promise<Response>;
  const server = createServer((incoming, outgoing) => {
    void answer(incoming, outgoing, (request) =>
      options.intercept ? options.intercept(request, () => handle(request)) : handle(request),
    ).catch((error: unknown) => {
      log(`supabase: ${String(error)}`);
      if (!outgoing.headersSent) outgoing.writeHead(500, { 'content-type': 'application/json' });
      outgoing.end('{"message":"Internal server error"}');
    });
  });
  server.keepAliveTimeout = 65_000;

  const stop = async () => {
    server.close();
    server.closeAllConnections();
    await Promise.all([admin.driver.end({ timeout: 1 }), rest.driver.end({ timeout: 1 })]);
  };
  try {
    const port = await listen(server, options.port);
    const url = `http://127.0.0.1:${port}`;
    const app = new App({
      connection: admin,
      // False: a malformed token is refused, as on a hosted project, and does not count as absent. The publishable key needs no token.
      api: { enabled: true, schemas: ['public'], anonymous_enabled: false, external_url: url },
      auth: {
        enabled: true,
        jwt_secret: keys.jwtSecret,
        publishable_key: keys.publishableKey,
        secret_key: keys.secretKey,
        site_url: url,
        email: { enable_signup: true, enable_confirmations: false },
      },
      db: { migrations: { enabled: false } },
      studio: { enabled: false },
      options: {
        server: { admin: false, disableStudio: true },
        drivers: {
          email: {
            send: async (mail: { to: unknown; subject: string; text?: string }) =>
              log(`auth mail to ${String(mail.to)}: ${mail.text ?? mail.subject}`),
          },
        },
      },
    } as unknown as ConstructorParameters<typeof App>[0]);
    await app.init();
    // Read now: during an outage the schema would be empty, and every table would be "not found".
    const schema = await admin.introspect({ useCache: true });
    if (schema.tables.length === 0) throw new Error('The database cannot be read (see the lines above)');
    handle = (request) => route((input) => app.fetch(input), admin, url, keys.jwtSecret, request);
    return {
      url,
      reloadSchema: async () => {
        await admin.clearSchemaCache();
        await admin.introspect({ useCache: true });
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Lite's connection with our own pool behind `driver.reserve`, which all statements of lite use. */
async function liteConnection(
  url: string,
  max: number,
  log: (line: string) => void,
): Promise<PostgresConnection> {
  const connection = openConnection(url, 2, log);
  const { driver } = connection;
  const { end } = driver;
  try {
    // Reads the database's array types. Every new connection would read them again, and the driver leaves the error
    // unhandled if it is lost meanwhile, which ends the process.
    await driver`select`;
  } catch (error) {
    await end();
    throw error;
  }
  const { parsers, serializers } = driver.options;
  Object.assign(driver.options, { fetch_types: false });
  const pool = leasePool(max, (onclose) => {
    const client = openConnection(url, 1, log, onclose).driver;
    Object.assign(client.options.parsers, parsers);
    Object.assign(client.options.serializers, serializers);
    Object.assign(client.options, { fetch_types: false });
    return client;
  });
  Object.assign(driver, {
    reserve: pool.lease,
    end: async (how?: { timeout?: number }) => {
      await Promise.all([end(how), pool.end(how)]);
    },
  });
  return connection;
}

function openConnection(
  url: string,
  max: number,
  log: (line: string) => void,
  onclose: () => void = () => {},
): PostgresConnection {
  return new PostgresConnection({
    url,
    postgresOptions: {
      max,
      onclose,
      idle_timeout: 20,
      // Generous: a slow machine needs seconds to connect, and a stopped database refuses at once.
      connect_timeout: 30,
      // No growing delays, so that the first request after an outage connects at once.
      backoff: () => 0.05,
      onnotice: (notice: postgres.Notice) => log(`postgres: ${notice['message']}`),
      types: {
        // Auth passes JSON as text. Stringified again, it would be stored as a jsonb string instead of an object.
        jsonb: {
          to: 3802,
          from: [3802],
          serialize: (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value)),
          parse: (text: string) => JSON.parse(text) as unknown,
        },
        // PostgREST returns times in Postgres's own JSON form: 2026-01-02T03:04:05.6+00:00.
        timestamptz: { to: 1184, from: [1184], serialize: String, parse: isoTime },
        timestamp: { to: 1114, from: [1114], serialize: String, parse: isoTime },
      },
    },
  });
}

function isoTime(text: string): string {
  return text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00');
}

async function route(
  lite: (request: Request) => Promise<Response>,
  admin: PostgresConnection,
  url: string,
  jwtSecret: string,
  request: Request,
): Promise<Response> {
  const { pathname } = new URL(request.url);
  // Lite's own admin routes (/_system) need no key, so they are not served.
  const isAuth = pathname.startsWith('/auth/v1/');
  if (!isAuth && !pathname.startsWith('/rest/v1/')) return new Response('Not found', { status: 404 });
  const response = await lite(request);
  // Lite looks up the session outside of its error mapping.
  if (response.status === 500 && response.headers.get('content-type')?.startsWith('text/plain')) {
    return Response.json(DATABASE_DOWN, { status: 503 });
  }
  return isAuth ? withHostedClaims(response, (token) => hostedToken(admin, url, jwtSecret, token)) : response;
}

/** Replaces the access token of a response, in its body or in the fragment of its redirect. */
async function withHostedClaims(
  response: Response,
  sign: (token: string) => Promise<string>,
): Promise<Response> {
  const location = response.headers.get('location');
  const fragment = new URLSearchParams(location?.split('#')[1] ?? '');
  const fragmentToken = fragment.get('access_token');
  if (location && fragmentToken) {
    fragment.set('access_token', await sign(fragmentToken));
    const headers = new Headers(response.headers);
    headers.set('location', `${location.split('#')[0]}#${fragment}`);
    return new Response(null, { status: response.status, headers });
  }
  if (!response.ok || !response.headers.get('content-type')?.includes('application/json')) return response;
  const body = (await response.json()) as { access_token?: unknown } | null;
  if (typeof body?.access_token === 'string') body.access_token = await sign(body.access_token);
  const headers = new Headers(response.headers);
  headers.delete('content-length');
  return new Response(JSON.stringify(body), { status: response.status, headers });
}

/**
 * Lite 0.10 omits the metadata in its tokens. These are the claims of hosted Auth
 * (https://supabase.com/docs/guides/auth/jwt-fields), read from the row of the user and never from the request.
 */
async function hostedToken(
  admin: PostgresConnection,
  url: string,
  jwtSecret: string,
  token: string,
): Promise<string> {
  const secret = new TextEncoder().encode(jwtSecret);
  const { payload } = await jwtVerify(token, secret, { algorithms: ['HS256'] });
  const lease = await admin.driver.reserve();
  const rows = await lease
    .unsafe<
      {
        app: object | null;
        own: object | null;
        phone: string | null;
        anonymous: boolean;
        aal: string | null;
      }[]
    >(
      `select u.raw_app_meta_data as app, u.raw_user_meta_data as own, u.phone, u.is_anonymous as anonymous, s.aal
       from auth.users u left join auth.sessions s on s.id = $2::uuid where u.id = $1::uuid`,
      [String(payload.sub), String(payload['session_id'])],
    )
    .finally(() => lease.release());
  const user = rows[0];
  if (!user) throw new Error(`The user ${payload.sub} of a new session does not exist`);
  return new SignJWT({
    ...payload,
    iss: `${url}/auth/v1`,
    phone: user.phone ?? '',
    app_metadata: user.app ?? {},
    user_metadata: user.own ?? {},
    aal: user.aal ?? 'aal1',
    is_anonymous: user.anonymous,
  })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .sign(secret);
}

// ---------------------------------------------------------------------------------------------------------------------
// Errors in the form of PostgREST

const DATABASE_DOWN = {
  code: 'PGRST001',
  message: 'Database client error. Retrying the connection.',
  details: null,
  hint: null,
};

/** The errors that lite maps itself. It would answer all others with 500 `SUP`, without the SQLSTATE. */
const MAPPED_BY_LITE = /^(42|22|21|55|PT|PGRST|23502|23503|23505|25006)/;

/**
 * Converts errors that lite does not know to a raised `PGRST`, the only form in which lite keeps code, message, detail, hint and
 * status. Statuses: https://docs.postgrest.org/en/stable/references/errors.html
 */
function toPostgrestError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = (error as { code?: unknown }).code;
  if (!(error instanceof postgres.PostgresError)) {
    // Errors of the driver: it could not connect, or lost the connection.
    if (typeof code === 'string' && /^(CONNECT|E[A-Z]{3,})/.test(code)) return raised(DATABASE_DOWN, 503);
    return error;
  }
  if (MAPPED_BY_LITE.test(error.code)) {
    const { code, message, detail, hint } = error;
    return { code, message, detail, hint, ...inOneLine(`${code} ${message}`) };
  }
  const body = {
    code: error.code,
    message: error.message,
    details: error.detail ?? null,
    hint: error.hint ?? null,
  };
  if (/^(57P0[123]|08)/.test(error.code)) return raised(DATABASE_DOWN, 503);
  if (/^53/.test(error.code)) return raised(body, 503);
  if (/^(28|0L|0P)/.test(error.code)) return raised(body, 403);
  const internal = /^(09|25|2D|38|39|3B|40|54|57|58|F0|HV|P0(?!001)|XX)/.test(error.code);
  return raised(body, internal ? 500 : 400);
}

function raised(body: object, status: number): object {
  const message = JSON.stringify(body);
  return { code: 'PGRST', message, detail: JSON.stringify({ status, headers: {} }), ...inOneLine(message) };
}

/** Lite prints every error with console.error. */
function inOneLine(text: string): object {
  return { [inspect.custom]: () => `REST error ${text}` };
}

// ---------------------------------------------------------------------------------------------------------------------
// node:http to fetch and back

async function answer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  handle: (request: Request) => Promise<Response | undefined>,
): Promise<void> {
  // Dashboards call from the browser, and lite's Auth does not list the headers that they may send.
  outgoing.setHeader('access-control-allow-origin', '*');
  if (incoming.method === 'OPTIONS' && incoming.headers['access-control-request-method']) {
    outgoing.writeHead(204, {
      'access-control-allow-methods': 'GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD',
      'access-control-allow-headers': incoming.headers['access-control-request-headers'] ?? '*',
      'access-control-max-age': '86400',
    });
    outgoing.end();
    return;
  }
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) {
    for (const one of Array.isArray(value) ? value : [value ?? '']) headers.append(name, one);
  }
  const method = incoming.method ?? 'GET';
  const response = await handle(
    new Request(`http://${incoming.headers.host ?? '127.0.0.1'}${incoming.url ?? '/'}`, {
      method,
      headers,
      ...(method === 'GET' || method === 'HEAD' ? {} : { body: Buffer.concat(chunks) }),
    }),
  );
  if (!response) {
    incoming.socket.resetAndDestroy();
    return;
  }
  outgoing.statusCode = response.status;
  for (const [name, value] of response.headers) if (name !== 'set-cookie') outgoing.setHeader(name, value);
  outgoing.setHeader('set-cookie', response.headers.getSetCookie());
  outgoing.end(Buffer.from(await response.arrayBuffer()));
}

function listen(server: ReturnType<typeof createServer>, port: number): Promise<number> {
  return new Promise((done, fail) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      fail(
        error.code === 'EADDRINUSE'
          ? Object.assign(new Error(`Port ${port} on 127.0.0.1 is already in use: choose another`), {
              code: error.code,
            })
          : error,
      );
    });
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      done(typeof address === 'object' && address ? address.port : port);
    });
  });
}

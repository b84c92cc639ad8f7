/** A Supabase of its own for each test file: a clone of the migrated and seeded template, behind real REST and Auth. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient, type SupabaseClient } from '@supabase/supabase-js';
import postgres from 'postgres';
import { inject } from 'vitest';
import { makeKeys, type SupabaseKeys } from '../../src/local/supabase/keys.ts';
import { SUPERUSER } from '../../src/local/supabase/postgres.ts';
import { serveSupabase } from '../../src/local/supabase/serve.ts';

/** Seconds: on a starved machine a connection to the one Postgres of the run takes its time. */
const CONNECT_TIMEOUT_S = 120;

export interface RecordedRequest {
  readonly method: string;
  /** Without the query, such as `/rest/v1/rpc/begin_agents`. */
  readonly path: string;
}

/** A text is looked for in the path. */
export type RequestMatcher = string | RegExp | ((request: RecordedRequest) => boolean);

export type Fault =
  /** The connection is cut before, or after, the call takes effect. */
  | 'reset-before'
  | 'reset-after'
  /** Answered in place of the call, which has no effect. */
  | { readonly status: number; readonly body?: unknown }
  /** The call takes effect after this time. */
  | { readonly delayMs: number }
  /** The call takes effect at once; its answer comes after this time. */
  | { readonly answerAfterMs: number };

/** How Supabase fails: `key-refused` for the requests with the secret key, the others for every request. */
export type Outage = 'reset' | '503' | 'hang' | 'key-refused';

export interface CreateUser {
  readonly email?: string;
  readonly password?: string;
  readonly orgId?: string;
  readonly appMetadata?: Record<string, unknown>;
  readonly userMetadata?: Record<string, unknown>;
}

export interface TestUser {
  readonly id: string;
  readonly email: string;
  readonly password: string;
}

export interface TestSupabase extends SupabaseKeys {
  readonly url: string;
  /** As the superuser. */
  readonly databaseUrl: string;
  /** As role `postgres`, which runs migrations on a hosted project. */
  readonly postgresDatabaseUrl: string;
  /** The superuser's client, for assertions. */
  readonly sql: postgres.Sql;
  readonly createOrganization: (name?: string) => Promise<string>;
  readonly createUser: (user?: CreateUser) => Promise<TestUser>;
  /** Through Auth; the client then carries the user's token. */
  readonly signIn: (
    email: string,
    password: string,
  ) => Promise<{ accessToken: string; client: SupabaseClient }>;
  /** REST calls since the last reset. */
  readonly requests: { readonly all: readonly RecordedRequest[]; readonly reset: () => void };
  readonly faults: {
    /** Strikes the next REST call that matches, once. Several queue up. */
    readonly next: (matcher: RequestMatcher, fault: Fault) => void;
    /** Forgets those that did not strike. */
    readonly clear: () => void;
  };
  readonly outage: {
    /** From now: every request is cut off, answered 503 as PostgREST does without a database, or left hanging. */
    readonly begin: (kind?: Outage) => void;
    /** Hanging requests go on. */
    readonly end: () => void;
  };
  /** After the test has changed tables or functions. */
  readonly reloadSchema: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

export async function createTestSupabase(): Promise<TestSupabase> {
  const server = inject('postgres');
  const url = (database: string, user: string) =>
    `postgres://${user}:${server.password}@127.0.0.1:${server.port}/${database}`;
  const database = `test_${randomUUID().replaceAll('-', '')}`;
  const onCluster = async (statement: string) => {
    const sql = postgres(url('postgres', SUPERUSER), { max: 1, connect_timeout: CONNECT_TIMEOUT_S });
    await sql.unsafe(statement).finally(() => sql.end());
  };
  await onCluster(`create database ${database} template lockstep_template owner postgres`);

  const keys = makeKeys();
  const requests: RecordedRequest[] = [];
  const faults: { matches: (request: RecordedRequest) => boolean; fault: Fault }[] = [];
  let outage: { kind: Outage; over: Promise<void>; end: () => void } | undefined;

  const api = await serveSupabase({
    adminUrl: url(database, SUPERUSER),
    restUrl: url(database, 'authenticator'),
    keys,
    port: 0,
    log: () => {},
    intercept: async (request, proceed) => {
      if (outage?.kind === 'reset') return undefined;
      if (outage?.kind === '503') {
        return Response.json({ code: 'PGRST001', message: 'Database client error.' }, { status: 503 });
      }
      // As a hosted project's gateway answers a secret key that was revoked.
      if (outage?.kind === 'key-refused' && request.headers.get('apikey') === keys.secretKey) {
        return Response.json({ message: 'Invalid API key' }, { status: 401 });
      }
      if (outage?.kind === 'hang') await outage.over;
      const { pathname } = new URL(request.url);
      if (!pathname.startsWith('/rest/v1/')) return proceed();
      const recorded = { method: request.method, path: pathname };
      requests.push(recorded);
      const index = faults.findIndex(({ matches }) => matches(recorded));
      const fault = index < 0 ? undefined : faults.splice(index, 1)[0]?.fault;
      if (fault === undefined) return proceed();
      if (fault === 'reset-before') return undefined;
      if (fault === 'reset-after') {
        await proceed();
        return undefined;
      }
      if ('status' in fault) {
        return new Response(fault.body === undefined ? null : JSON.stringify(fault.body), {
          status: fault.status,
          headers: { 'content-type': 'application/json' },
        });
      }
      if ('delayMs' in fault) {
        await sleep(fault.delayMs);
        return proceed();
      }
      const response = await proceed();
      await sleep(fault.answerAfterMs);
      return response;
    },
  });
  const sql = postgres(url(database, SUPERUSER), {
    max: 4,
    connect_timeout: CONNECT_TIMEOUT_S,
    onnotice: () => {},
  });
  let stopped: Promise<void> | undefined;

  return {
    ...keys,
    url: api.url,
    databaseUrl: url(database, SUPERUSER),
    postgresDatabaseUrl: url(database, 'postgres'),
    sql,
    createOrganization: async (name = 'Test Organization') => {
      const id = randomUUID();
      await sql`insert into public.organizations (id, name) values (${id}, ${name})`;
      return id;
    },
    createUser: async (user = {}) => {
      const id = randomUUID();
      const { email = `${id}@test.example`, password = 'test-password' } = user;
      const appMetadata = {
        provider: 'email',
        providers: ['email'],
        ...(user.orgId === undefined ? {} : { org_id: user.orgId }),
        ...user.appMetadata,
      };
      // bcrypt at its lowest cost: a sign-in then costs a test next to nothing.
      await sql`
        insert into auth.users (id, email, encrypted_password, email_confirmed_at, raw_app_meta_data, raw_user_meta_data)
        values (
          ${id}, ${email}, extensions.crypt(${password}, extensions.gen_salt('bf', 4)), now(),
          ${sql.json(appMetadata as postgres.JSONValue)}, ${sql.json((user.userMetadata ?? {}) as postgres.JSONValue)}
        )`;
      await sql`
        insert into auth.identities (id, provider, provider_id, user_id, identity_data)
        values (${id}, 'email', ${id}, ${id}, ${sql.json({ sub: id, email })})`;
      return { id, email, password };
    },
    signIn: async (email, password) => {
      const client = createClient(api.url, keys.publishableKey, {
        auth: { persistSession: false, autoRefreshToken: false },
      });
      const { data, error } = await client.auth.signInWithPassword({ email, password });
      if (error) throw error;
      return { accessToken: data.session.access_token, client };
    },
    requests: {
      all: requests,
      reset: () => {
        requests.length = 0;
      },
    },
    faults: {
      next: (matcher, fault) => {
        const matches =
          typeof matcher === 'function'
            ? matcher
            : ({ path }: RecordedRequest) =>
                typeof matcher === 'string' ? path.includes(matcher) : matcher.test(path);
        faults.push({ matches, fault });
      },
      clear: () => {
        faults.length = 0;
      },
    },
    outage: {
      begin: (kind = 'reset') => {
        outage?.end();
        let end = () => {};
        const over = new Promise<void>((done) => {
          end = done;
        });
        outage = { kind, over, end };
      },
      end: () => {
        outage?.end();
        outage = undefined;
      },
    },
    reloadSchema: api.reloadSchema,
    stop: () => {
      stopped ??= (async () => {
        outage?.end();
        await api.stop();
        await sql.end({ timeout: 1 });
        await onCluster(`drop database ${database} with (force)`);
      })();
      return stopped;
    },
  };
}

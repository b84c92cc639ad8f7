/** The whole server in the test's own process: real Postgres, real REST and Auth, real HTTP, a Vapi stand-in. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import { GraphQLClient } from 'graphql-request';
import type { SupabaseConfig } from '../../src/adapters/supabase/clients.ts';
import { createLogger } from '../../src/adapters/system/logger.ts';
import { type App, type AppConfig, createApp } from '../../src/app.ts';
import { Secret } from '../../src/domain/secret.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import type { SagaSettings } from '../../src/services/saga/settings.ts';
import { formsOf, rowsHolding, watchAnswers } from './canary.ts';
import { createTestSupabase, type TestSupabase } from './supabase.ts';

/** The master key of every test: whatever holds it, or a form of it, has leaked it. */
export const CANARY_KEY = 'canary-7f3a9c51-master-key-0b8e';

/** Short enough for tests, long enough that a slow machine does not change what happens. */
export const TEST_SETTINGS: SagaSettings = {
  leaseMs: 6_000,
  deadlineMs: 12_000,
  answerMs: 5_000,
  lateMs: 200,
  requestTimeoutMs: 1_500,
};

/** For tests that hold a save in its middle: however slow the machine is meanwhile, no deadline passes. */
export const PATIENT_SETTINGS: SagaSettings = {
  ...TEST_SETTINGS,
  requestTimeoutMs: 10_000,
  leaseMs: 20_000,
  deadlineMs: 30_000,
  answerMs: 15_000,
};

export interface TestAppOptions {
  settings?: Partial<SagaSettings>;
  /** Default: recovery does not run by itself. */
  recoveryIntervalMs?: number;
  /** Default: the sweep does not run by itself. */
  reconcileIntervalMs?: number;
  /** Null: the server has no key. */
  vapiKey?: string | null;
  /** Changes of the configuration that no option above covers. */
  config?: Partial<AppConfig>;
  /** Share these between several servers: replicas. */
  supabase?: TestSupabase;
  vapi?: VapiStandIn;
}

export interface Caller {
  orgId: string;
  userId: string;
  token: string;
  client: GraphQLClient;
}

export interface TestApp {
  /** The GraphQL endpoint. */
  url: string;
  origin: string;
  app: App;
  supabase: TestSupabase;
  vapi: VapiStandIn;
  /** Every line logged so far, at trace: without the redaction by value, so that what is not in here was never about to be logged. */
  log: string[];
  /** A new organization with one user, signed in through real Auth. */
  newCaller(name?: string): Promise<Caller>;
  clientFor(token: string): GraphQLClient;
  /** Throws where its master key was in an answer, a log line or a row, or a prompt in a log line. */
  stop(): Promise<void>;
}

export async function createTestApp(options: TestAppOptions = {}): Promise<TestApp> {
  const supabase = options.supabase ?? (await createTestSupabase());
  const vapi = options.vapi ?? (await startVapiStandIn({ key: CANARY_KEY }));
  const log: string[] = [];
  const key = options.vapiKey === undefined ? CANARY_KEY : options.vapiKey;
  const app = createApp({
    supabase: supabaseConfig(supabase),
    vapi: { baseUrl: vapi.url, key: key === null ? null : new Secret(key) },
    settings: { ...TEST_SETTINGS, ...options.settings },
    recoveryIntervalMs: options.recoveryIntervalMs ?? 3_600_000,
    reconcileIntervalMs: options.reconcileIntervalMs ?? 0,
    saveRetentionDays: 90,
    corsOrigins: [],
    // Faults are what tests are about: no breaker hides them, unless a test asks for it.
    breaker: {
      failures: Number.POSITIVE_INFINITY,
      openMs: 0,
      keyRefusals: Number.POSITIVE_INFINITY,
      keyRetryMs: 60_000,
    },
    log: createLogger('trace', [], lines(log)),
    ...options.config,
  });
  const forms = formsOf(key ?? CANARY_KEY);
  const leaks = watchAnswers(app.server, forms);
  app.server.listen(0, '127.0.0.1');
  await once(app.server, 'listening');
  if (options.recoveryIntervalMs !== undefined || options.reconcileIntervalMs !== undefined) {
    await app.checkKey();
    app.start();
  }
  const origin = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  const url = `${origin}/graphql`;
  const clientFor = (token: string) =>
    new GraphQLClient(url, { headers: { authorization: `Bearer ${token}` } });
  return {
    url,
    origin,
    app,
    supabase,
    vapi,
    log,
    clientFor,
    newCaller: async (name) => {
      const orgId = await supabase.createOrganization(name);
      const user = await supabase.createUser({ orgId });
      const { accessToken } = await supabase.signIn(user.email, user.password);
      return { orgId, userId: user.id, token: accessToken, client: clientFor(accessToken) };
    },
    stop: async () => {
      await app.stop(5_000);
      const rows = await rowsHolding(supabase.sql, forms);
      leaks.push(...rows.filter(({ holding }) => holding > 0).map(({ table }) => table));
      leaks.push(...log.filter((line) => forms.some((form) => line.includes(form))));
      const prompts = await promptsIn(supabase);
      leaks.push(...log.filter((line) => prompts.some((prompt) => line.includes(prompt))));
      if (options.vapi === undefined) await vapi.stop();
      if (options.supabase === undefined) await supabase.stop();
      if (leaks.length > 0) throw new Error(`a secret was found in:\n${leaks.join('\n')}`);
    },
  };
}

/** Those that are long enough to be told from other text, as they stand in a line of JSON. */
async function promptsIn({ sql }: TestSupabase): Promise<string[]> {
  const rows = await sql<{ text: string }[]>`
    select distinct x.value as text
    from lockstep.saga_parts p, jsonb_each_text(p.after_content) x
    where x.key in ('systemPrompt', 'firstMessage') and length(x.value) between 8 and 1000`;
  return rows.map(({ text }) => JSON.stringify(text).slice(1, -1));
}

/** How a server reaches this Supabase. */
export function supabaseConfig(supabase: TestSupabase): SupabaseConfig {
  return {
    url: supabase.url,
    publishableKey: supabase.publishableKey,
    secretKey: new Secret(supabase.secretKey),
    jwks: null,
    jwtSecret: new Secret(supabase.jwtSecret),
    timeoutMs: 2_000,
  };
}

function lines(into: string[]): Writable {
  return new Writable({
    write: (chunk, _encoding, done) => {
      into.push(String(chunk));
      done();
    },
  });
}

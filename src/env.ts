import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import type { SupabaseConfig } from './adapters/supabase/clients.ts';
import { LEAST_SECRET } from './adapters/system/logger.ts';
import type { BreakerSettings } from './adapters/vapi/guarded-voice-provider.ts';
import { resolveMasterKey } from './adapters/vapi/master-key.ts';
import { Secret } from './domain/secret.ts';
import { EDGE_DEFAULTS, type EdgeOptions } from './server/edge.ts';
import type { WebhookSettings } from './server/webhook.ts';
import type { PaceSettings } from './services/admission/pacer.ts';
import type { CallWalkSettings } from './services/calls/walk.ts';
import { type SagaSettings, settingsProblems } from './services/saga/settings.ts';

/**
 * The process's environment, read once, here. Every problem is told at once, by the variable's name and never by its value.
 */

export interface Config {
  host: string;
  port: number;
  corsOrigins: string[];
  logLevel: string;
  /** Null: start the embedded one. */
  supabase: SupabaseConfig | null;
  vapi: {
    /** Null: Vapi itself, or in embedded mode the stand-in. */
    baseUrl: string | null;
    key: Secret | null;
    nextKey: Secret | null;
    /** Read again on SIGHUP. */
    files: { key: string | undefined; nextKey: string | undefined };
  };
  /** Null: Vapi sends no events. */
  webhook: WebhookSettings | null;
  settings: SagaSettings;
  pace: PaceSettings;
  breaker: BreakerSettings;
  edge: EdgeOptions;
  /** How long an idle connection stays open, milliseconds. */
  keepAliveMs: number;
  recoveryIntervalMs: number;
  /** 0: drift is not looked for. */
  reconcileIntervalMs: number;
  calls: CallWalkSettings;
  saveRetentionDays: number;
}

export interface EnvProblem {
  variable: string;
  problem: string;
}

export const VAPI_BASE_URL = 'https://api.vapi.ai';
/** Deadline of one request to the database, milliseconds. Well under a lease, so that a transition can be repeated in it. */
export const DATABASE_TIMEOUT_MS = 5_000;

/** As SUPABASE_URL: the embedded Supabase, asked for by name. */
const LOCAL = 'local';

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

const wholeNumber = (min: number, max: number) => {
  const problem = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,9}$/, problem)
    .transform(Number)
    .refine((value) => value >= min && value <= max, problem);
};
const onOff = z.enum(['on', 'off'], 'must be on or off').optional();
const DAY = 86_400_000;
const ms = (min: number) => wholeNumber(min, DAY);

const webAddress = z
  .string()
  .refine((value) => {
    const url = URL.parse(value);
    return (
      url !== null &&
      (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))) &&
      // The log names addresses.
      url.username + url.password === ''
    );
  }, 'must be an https address (http only on this machine), without a name or password in it')
  .transform((value) => value.replace(/\/+$/, ''));
const projectAddress = webAddress.refine(
  (value) => !/\/(rest|auth)\/v1$/.test(value),
  'must be the address of the project, without /rest/v1 or /auth/v1 at its end',
);

const publicAddress = webAddress.refine(
  (value) => !/[?#]/.test(value),
  'must be the address that /vapi/events is appended to, without a query or a fragment',
);
// It signs, or goes into a header.
const webhookSecret = z
  .string()
  .regex(/^[\x21-\x7e]{16,512}$/, 'must be 16 to 512 visible ASCII characters without spaces');
const headerName = z
  .string()
  .regex(/^[\w!#$%&'*+.^`|~-]{1,100}$/, 'must be the name of an HTTP header')
  .transform((value) => value.toLowerCase());

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname);
}

/** Every variable that there is; .env.example and the README's table are checked against it. */
export const variables = {
  HOST: z.string().default('127.0.0.1'),
  PORT: wholeNumber(0, 65_535).default(4_000),
  SUPABASE_URL: projectAddress.optional(),
  SUPABASE_PUBLISHABLE_KEY: z.string().optional(),
  SUPABASE_SECRET_KEY: z.string().min(LEAST_SECRET, `must be at least ${LEAST_SECRET} characters`).optional(),
  SUPABASE_JWKS_URL: webAddress.optional(),
  SUPABASE_JWKS: z
    .string()
    .transform((value, context) => {
      const parsed = keySet.safeParse(jsonOrNull(value));
      if (parsed.success) return parsed.data;
      context.addIssue(
        'must be a JSON Web Key Set of public keys: {"keys": [...]} (a shared secret belongs in SUPABASE_JWT_SECRET)',
      );
      return z.NEVER;
    })
    .optional(),
  SUPABASE_JWT_SECRET: z.string().min(32, 'must be at least 32 characters').optional(),
  VAPI_PRIVATE_KEY: z.string().optional(),
  VAPI_PRIVATE_KEY_FILE: z.string().optional(),
  VAPI_PRIVATE_KEY_NEXT: z.string().optional(),
  VAPI_PRIVATE_KEY_NEXT_FILE: z.string().optional(),
  VAPI_BASE_URL: webAddress.optional(),
  PUBLIC_URL: publicAddress.optional(),
  VAPI_WEBHOOK_SECRET: webhookSecret.optional(),
  VAPI_WEBHOOK_SECRET_PREVIOUS: webhookSecret.optional(),
  VAPI_WEBHOOK_CREDENTIAL_ID: z.uuid('must be the id of a Vapi credential, a UUID').optional(),
  VAPI_WEBHOOK_SIGNATURE_HEADER: headerName.default('x-signature'),
  VAPI_WEBHOOK_TIMESTAMP_HEADER: headerName.default('x-timestamp'),
  VAPI_TIMEOUT_MS: ms(100).default(10_000),
  SAVE_LEASE_MS: ms(100).default(17_000),
  SAVE_DEADLINE_MS: ms(100).default(120_000),
  SAVE_ANSWER_MS: ms(100).default(12_000),
  VAPI_LATE_MS: ms(0).default(22_000),
  RECOVERY_INTERVAL_MS: ms(50).default(5_000),
  RECONCILE_INTERVAL_MS: ms(0).default(300_000),
  CALLS_POLL_INTERVAL_MS: ms(0).default(60_000),
  CALLS_LIST_LAG_MS: ms(0).default(60_000),
  SAVE_RETENTION_DAYS: wholeNumber(3, 36_500).default(90),
  VAPI_REQUESTS_PER_SECOND: wholeNumber(1, 10_000).default(50),
  VAPI_BURST: wholeNumber(2, 10_000).default(100),
  VAPI_RESERVE: wholeNumber(0, 1_000).default(4),
  VAPI_RATE_RECOVERY_MS: ms(1_000).default(60_000),
  VAPI_BREAKER_FAILURES: wholeNumber(1, 10_000).default(10),
  VAPI_BREAKER_MS: ms(0).default(5_000),
  VAPI_KEY_RETRY_MS: ms(100).default(2_000),
  SAVE_WAIT_MS: ms(0).default(5_000),
  SAVES_IN_PROGRESS: wholeNumber(1, 10_000).default(32),
  ORG_SAVES_PER_MINUTE: wholeNumber(1, 100_000).default(300),
  HTTP_MAX_BODY_BYTES: wholeNumber(1_024, 100_000_000).default(EDGE_DEFAULTS.maxBodyBytes),
  GRAPHQL_MAX_TOKENS: wholeNumber(100, 1_000_000).default(EDGE_DEFAULTS.maxTokens),
  GRAPHQL_MAX_DEPTH: wholeNumber(1, 1_000).default(EDGE_DEFAULTS.maxDepth),
  GRAPHQL_MAX_ALIASES: wholeNumber(0, 10_000).default(EDGE_DEFAULTS.maxAliases),
  GRAPHQL_MAX_COMPLEXITY: wholeNumber(100, 100_000_000).default(EDGE_DEFAULTS.maxComplexity),
  GRAPHQL_INTROSPECTION: onOff,
  GRAPHIQL: onOff,
  HTTP_KEEP_ALIVE_MS: wholeNumber(1_000, 3_600_000).default(75_000),
  GRAPHQL_DOCUMENTS_FILE: z.string().optional(),
  CORS_ORIGINS: z
    .string()
    .transform((value) => value.split(',').map((origin) => origin.trim()))
    .refine(
      (origins) => origins.every((origin) => URL.parse(origin)?.origin === origin),
      'must be origins such as https://app.example.com, separated by commas',
    )
    .default([]),
  LOG_LEVEL: z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`).default('info'),
};

/** Taken out of the environment once they are read: child processes and crash reports show it. */
export const SECRET_VARIABLES = [
  'SUPABASE_SECRET_KEY',
  'SUPABASE_JWT_SECRET',
  'VAPI_PRIVATE_KEY',
  'VAPI_PRIVATE_KEY_NEXT',
  'VAPI_WEBHOOK_SECRET',
  'VAPI_WEBHOOK_SECRET_PREVIOUS',
] as const;

/** Public keys only: this variable is not treated as a secret. */
const keySet = z
  .looseObject({ keys: z.array(z.looseObject({ kty: z.string() })).min(1) })
  .refine(({ keys }) => keys.every((key) => key.kty !== 'oct' && !('d' in key)));

const environment = z.object(variables);

/** The variables of the protocol's times. */
const TIMES = {
  SAVE_LEASE_MS: true,
  SAVE_DEADLINE_MS: true,
  SAVE_ANSWER_MS: true,
  VAPI_LATE_MS: true,
  VAPI_TIMEOUT_MS: true,
  RECONCILE_INTERVAL_MS: true,
  CALLS_POLL_INTERVAL_MS: true,
  CALLS_LIST_LAG_MS: true,
} as const;

const SETTING_VARIABLES: Readonly<Record<keyof SagaSettings, keyof typeof TIMES>> = {
  leaseMs: 'SAVE_LEASE_MS',
  deadlineMs: 'SAVE_DEADLINE_MS',
  answerMs: 'SAVE_ANSWER_MS',
  lateMs: 'VAPI_LATE_MS',
  requestTimeoutMs: 'VAPI_TIMEOUT_MS',
};

function settingsOf(times: Record<keyof typeof TIMES, number>): SagaSettings {
  const settings = Object.entries(SETTING_VARIABLES).map(([setting, variable]) => [setting, times[variable]]);
  return Object.fromEntries(settings) as SagaSettings;
}

/**
 * Reads the environment. An empty variable is an unset one. `envFile`: a .env file is a part of it. Whoever has one, or runs in
 * production, does not get the embedded Supabase for want of a SUPABASE_URL, but by asking for it (`SUPABASE_URL=local`).
 */
export function loadEnv(
  source: Record<string, string | undefined>,
  { envFile = false }: { envFile?: boolean } = {},
): { config: Config } | { problems: EnvProblem[] } {
  const given = Object.fromEntries(
    Object.keys(variables)
      .map((name) => [name, source[name]?.trim()] as const)
      .filter(([, value]) => value !== undefined && value !== ''),
  );
  const production = source['NODE_ENV']?.trim() === 'production';
  const local = given['SUPABASE_URL'] === LOCAL;
  if (local) delete given['SUPABASE_URL'];
  const parsed = environment.safeParse(given);
  const problems: EnvProblem[] = (parsed.error?.issues ?? []).map((issue) => ({
    variable: String(issue.path[0]),
    problem: issue.message,
  }));

  problems.push(...unknownNames(source), ...keyProblems(given));
  if (given['SUPABASE_URL'] === undefined && production) {
    problems.push({
      variable: 'SUPABASE_URL',
      problem: 'is needed with NODE_ENV=production: the embedded Supabase is for development and tests',
    });
  } else if (given['SUPABASE_URL'] === undefined && !local && envFile) {
    problems.push({
      variable: 'SUPABASE_URL',
      problem: `is not set, although there is a .env file: set it there, or SUPABASE_URL=${LOCAL} to run everything on this machine`,
    });
  }

  // Which variables go together is told by their presence alone, so that it is told even beside other problems.
  const has = (name: keyof typeof variables) => given[name] !== undefined;
  if (has('SUPABASE_URL')) {
    for (const name of ['SUPABASE_PUBLISHABLE_KEY', 'SUPABASE_SECRET_KEY'] as const) {
      if (!has(name)) problems.push({ variable: name, problem: 'is needed with SUPABASE_URL' });
    }
  } else {
    for (const name of [
      'SUPABASE_PUBLISHABLE_KEY',
      'SUPABASE_SECRET_KEY',
      'SUPABASE_JWKS_URL',
      'SUPABASE_JWKS',
      'SUPABASE_JWT_SECRET',
    ] as const) {
      if (has(name)) problems.push({ variable: name, problem: 'means nothing without SUPABASE_URL' });
    }
  }
  const keySources = (['SUPABASE_JWKS_URL', 'SUPABASE_JWKS', 'SUPABASE_JWT_SECRET'] as const).filter(has);
  for (const name of keySources.slice(1))
    problems.push({ variable: name, problem: `is set beside ${keySources[0]}: set one of them` });

  const master = resolveMasterKey({ value: given['VAPI_PRIVATE_KEY'], file: given['VAPI_PRIVATE_KEY_FILE'] });
  if ('problem' in master) {
    problems.push({
      variable: has('VAPI_PRIVATE_KEY_FILE') ? 'VAPI_PRIVATE_KEY_FILE' : 'VAPI_PRIVATE_KEY',
      problem: master.problem,
    });
  }

  const next = resolveMasterKey({
    value: given['VAPI_PRIVATE_KEY_NEXT'],
    // It may come later, with the rotation.
    file: existing(given['VAPI_PRIVATE_KEY_NEXT_FILE']),
    name: 'VAPI_PRIVATE_KEY_NEXT',
  });
  if ('problem' in next) {
    problems.push({
      variable: has('VAPI_PRIVATE_KEY_NEXT_FILE') ? 'VAPI_PRIVATE_KEY_NEXT_FILE' : 'VAPI_PRIVATE_KEY_NEXT',
      problem: next.problem,
    });
  }
  if (!has('VAPI_PRIVATE_KEY') && !has('VAPI_PRIVATE_KEY_FILE')) {
    for (const name of ['VAPI_PRIVATE_KEY_NEXT', 'VAPI_PRIVATE_KEY_NEXT_FILE'] as const) {
      if (has(name)) problems.push({ variable: name, problem: 'means nothing without VAPI_PRIVATE_KEY' });
    }
  }
  for (const name of ['VAPI_WEBHOOK_SECRET', 'VAPI_WEBHOOK_CREDENTIAL_ID'] as const) {
    if (has('PUBLIC_URL') && !has(name)) {
      problems.push({
        variable: name,
        problem: 'is needed with PUBLIC_URL: without it, anybody could send events to this server',
      });
    }
  }
  for (const name of [
    'VAPI_WEBHOOK_SECRET',
    'VAPI_WEBHOOK_SECRET_PREVIOUS',
    'VAPI_WEBHOOK_CREDENTIAL_ID',
  ] as const) {
    if (has(name) && !has('PUBLIC_URL'))
      problems.push({ variable: name, problem: 'means nothing without PUBLIC_URL' });
  }
  const headers = environment
    .pick({ VAPI_WEBHOOK_SIGNATURE_HEADER: true, VAPI_WEBHOOK_TIMESTAMP_HEADER: true })
    .safeParse(given).data;
  if (
    headers !== undefined &&
    headers.VAPI_WEBHOOK_SIGNATURE_HEADER === headers.VAPI_WEBHOOK_TIMESTAMP_HEADER
  ) {
    problems.push({
      variable: 'VAPI_WEBHOOK_TIMESTAMP_HEADER',
      problem: 'must differ from VAPI_WEBHOOK_SIGNATURE_HEADER',
    });
  }
  const documents = readDocuments(given['GRAPHQL_DOCUMENTS_FILE']);
  if (typeof documents === 'string') {
    problems.push({ variable: 'GRAPHQL_DOCUMENTS_FILE', problem: documents });
  }

  // Told as well where something else is wrong, if the times themselves can be read.
  const times = environment.pick(TIMES).safeParse(given);
  const settings = times.success ? settingsOf(times.data) : null;
  for (const { setting, problem } of settings === null ? [] : settingsProblems(settings)) {
    problems.push({
      variable: SETTING_VARIABLES[setting],
      problem: problem.replace(
        /\b[a-z]+[A-Za-z]*Ms\b/g,
        (name) => SETTING_VARIABLES[name as keyof SagaSettings],
      ),
    });
  }
  if (
    problems.length > 0 ||
    !parsed.success ||
    settings === null ||
    'problem' in master ||
    'problem' in next ||
    typeof documents === 'string'
  ) {
    return { problems };
  }
  const env = parsed.data;

  const url = env.SUPABASE_URL;
  return {
    config: {
      host: env.HOST,
      port: env.PORT,
      corsOrigins: env.CORS_ORIGINS,
      logLevel: env.LOG_LEVEL,
      supabase:
        url === undefined
          ? null
          : {
              url,
              publishableKey: env.SUPABASE_PUBLISHABLE_KEY ?? '',
              secretKey: new Secret(env.SUPABASE_SECRET_KEY ?? ''),
              jwks:
                env.SUPABASE_JWT_SECRET === undefined
                  ? (env.SUPABASE_JWKS ??
                    new URL(env.SUPABASE_JWKS_URL ?? `${url}/auth/v1/.well-known/jwks.json`))
                  : null,
              jwtSecret: env.SUPABASE_JWT_SECRET === undefined ? null : new Secret(env.SUPABASE_JWT_SECRET),
              timeoutMs: DATABASE_TIMEOUT_MS,
            },
      vapi: {
        baseUrl: env.VAPI_BASE_URL ?? null,
        key: master.key,
        nextKey: next.key,
        files: { key: env.VAPI_PRIVATE_KEY_FILE, nextKey: env.VAPI_PRIVATE_KEY_NEXT_FILE },
      },
      webhook: webhookOf(env),
      settings,
      pace: {
        requestsPerSecond: env.VAPI_REQUESTS_PER_SECOND,
        burst: env.VAPI_BURST,
        reserve: env.VAPI_RESERVE,
        recoveryMs: env.VAPI_RATE_RECOVERY_MS,
        waitMs: env.SAVE_WAIT_MS,
        inProgress: env.SAVES_IN_PROGRESS,
        savesPerMinute: env.ORG_SAVES_PER_MINUTE,
      },
      breaker: {
        failures: env.VAPI_BREAKER_FAILURES,
        openMs: env.VAPI_BREAKER_MS,
        keyRefusals: 2,
        keyRetryMs: env.VAPI_KEY_RETRY_MS,
      },
      edge: {
        maxBodyBytes: env.HTTP_MAX_BODY_BYTES,
        maxTokens: env.GRAPHQL_MAX_TOKENS,
        maxDepth: env.GRAPHQL_MAX_DEPTH,
        maxAliases: env.GRAPHQL_MAX_ALIASES,
        maxComplexity: env.GRAPHQL_MAX_COMPLEXITY,
        // Anybody can ask for both, so a hosted installation has to ask for them.
        introspection: (env.GRAPHQL_INTROSPECTION ?? (url === undefined ? 'on' : 'off')) === 'on',
        graphiql: (env.GRAPHIQL ?? (url === undefined ? 'on' : 'off')) === 'on',
        persistedDocuments: documents,
      },
      keepAliveMs: env.HTTP_KEEP_ALIVE_MS,
      recoveryIntervalMs: env.RECOVERY_INTERVAL_MS,
      reconcileIntervalMs: env.RECONCILE_INTERVAL_MS,
      calls: { callsPollIntervalMs: env.CALLS_POLL_INTERVAL_MS, callsListLagMs: env.CALLS_LIST_LAG_MS },
      saveRetentionDays: env.SAVE_RETENTION_DAYS,
    },
  };
}

function webhookOf(env: z.infer<typeof environment>): WebhookSettings | null {
  const { PUBLIC_URL: publicUrl, VAPI_WEBHOOK_CREDENTIAL_ID: credentialId } = env;
  if (publicUrl === undefined || credentialId === undefined) return null;
  return {
    ...{ publicUrl, credentialId },
    secrets: [env.VAPI_WEBHOOK_SECRET, env.VAPI_WEBHOOK_SECRET_PREVIOUS]
      .filter((secret) => secret !== undefined)
      .map((secret) => new Secret(secret)),
    signatureHeader: env.VAPI_WEBHOOK_SIGNATURE_HEADER,
    timestampHeader: env.VAPI_WEBHOOK_TIMESTAMP_HEADER,
  };
}

/** A variable with one of these beginnings is meant for Lockstep. */
const PREFIXES = /^(SUPABASE|VAPI|SAVE|GRAPHQL|GRAPHIQL|RECOVERY|RECONCILE)_/;
/** Read by the Supabase CLI, which is used beside Lockstep. */
const OF_THE_SUPABASE_CLI = new Set([
  ...['SUPABASE_ACCESS_TOKEN', 'SUPABASE_DB_PASSWORD', 'SUPABASE_PROJECT_ID', 'SUPABASE_PROJECT_REF'],
  ...['SUPABASE_WORKDIR', 'SUPABASE_INTERNAL_IMAGE_REGISTRY'],
]);

/** A misspelt name would leave a default in force without a word. */
function unknownNames(source: Record<string, string | undefined>): EnvProblem[] {
  return Object.keys(source)
    .filter(
      (name) => PREFIXES.test(name) && !Object.hasOwn(variables, name) && !OF_THE_SUPABASE_CLI.has(name),
    )
    .map((name) => ({
      variable: name,
      problem: `is no variable of Lockstep: did you mean ${RENAMED[name] ?? nearestVariable(name)}?`,
    }));
}

/** Names that other documents use for the same thing. */
const RENAMED: Readonly<Record<string, keyof typeof variables>> = {
  SUPABASE_ANON_KEY: 'SUPABASE_PUBLISHABLE_KEY',
  SUPABASE_SERVICE_ROLE_KEY: 'SUPABASE_SECRET_KEY',
  SUPABASE_SERVICE_KEY: 'SUPABASE_SECRET_KEY',
  VAPI_API_KEY: 'VAPI_PRIVATE_KEY',
  VAPI_KEY: 'VAPI_PRIVATE_KEY',
  VAPI_TOKEN: 'VAPI_PRIVATE_KEY',
  VAPI_WEBHOOK_URL: 'PUBLIC_URL',
  VAPI_SERVER_URL: 'PUBLIC_URL',
  VAPI_PUBLIC_URL: 'PUBLIC_URL',
};

function nearestVariable(name: string): string {
  const known = Object.keys(variables).map((one) => ({ one, distance: editDistance(name, one) }));
  return known.reduce((best, other) => (other.distance < best.distance ? other : best)).one;
}

/** Levenshtein's: how many letters must be put in, taken out or replaced. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, n) => n);
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...to].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/** The kind of a Supabase key can be read off it, so that the two are not mixed up. */
function keyProblems(given: Record<string, string | undefined>): EnvProblem[] {
  const problems: EnvProblem[] = [];
  const kinds = [
    ['SUPABASE_SECRET_KEY', 'sb_publishable_', 'service_role', 'the secret key (sb_secret_...)'],
    ['SUPABASE_PUBLISHABLE_KEY', 'sb_secret_', 'anon', 'the publishable key (sb_publishable_...)'],
  ] as const;
  for (const [variable, wrongPrefix, role, wanted] of kinds) {
    const key = given[variable] ?? '';
    const found = roleOf(key);
    if (key.startsWith(wrongPrefix)) {
      problems.push({ variable, problem: `is of the wrong kind (${wrongPrefix}...): give ${wanted}` });
    } else if (found !== undefined && found !== role) {
      problems.push({ variable, problem: `is a JWT that has not the role ${role}: give ${wanted}` });
    }
  }
  return problems;
}

/** The role in a legacy key, which is a JWT; undefined where it is none. */
function roleOf(key: string): unknown {
  const [, payload, signature, ...more] = key.split('.');
  if (payload === undefined || signature === undefined || more.length > 0) return undefined;
  const claims = jsonOrNull(Buffer.from(payload, 'base64url').toString());
  return typeof claims === 'object' && claims !== null && 'role' in claims ? claims.role : undefined;
}

/** The file's name, if there is such a file. */
export function existing(file: string | undefined): string | undefined {
  return file !== undefined && existsSync(file) ? file : undefined;
}

/** The documents by id, null where no file is named, or what is wrong with it. Whether they fit the schema is seen later. */
function readDocuments(file: string | undefined): ReadonlyMap<string, string> | null | string {
  if (file === undefined) return null;
  try {
    const parsed = z.record(z.string().min(1), z.string()).safeParse(jsonOrNull(readFileSync(file, 'utf8')));
    return parsed.success && Object.keys(parsed.data).length > 0
      ? new Map(Object.entries(parsed.data))
      : 'must name a file that holds a JSON object of documents by id: {"<id>": "query …"}';
  } catch (error) {
    return `names a file that cannot be read (${error instanceof Error && 'code' in error ? error.code : 'unknown error'})`;
  }
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

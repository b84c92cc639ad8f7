import { z } from 'zod';
import type { SupabaseConfig } from './adapters/supabase/clients.ts';
import { resolveMasterKey } from './adapters/vapi/master-key.ts';
import { Secret } from './domain/secret.ts';
import { type SaveSettings, settingsProblems } from './services/saves/settings.ts';

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
  };
  settings: SaveSettings;
  recoveryIntervalMs: number;
  /** 0: drift is not looked for. */
  reconcileIntervalMs: number;
}

export interface EnvProblem {
  variable: string;
  problem: string;
}

export const VAPI_BASE_URL = 'https://api.vapi.ai';
/** Deadline of one request to the database, milliseconds. Well under a lease, so that a transition can be repeated in it. */
export const DATABASE_TIMEOUT_MS = 5_000;

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

const wholeNumber = (min: number, max: number) => {
  const problem = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,9}$/, problem)
    .transform(Number)
    .refine((value) => value >= min && value <= max, problem);
};
const DAY = 86_400_000;
const ms = (min: number) => wholeNumber(min, DAY);

const webAddress = z
  .string()
  .refine((value) => {
    const url = URL.parse(value);
    return (
      url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname)))
    );
  }, 'must be an https address (http only on this machine)')
  .transform((value) => value.replace(/\/+$/, ''));

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
}

/** Every variable that there is; .env.example and the README's table are checked against it. */
export const variables = {
  HOST: z.string().default('127.0.0.1'),
  PORT: wholeNumber(0, 65_535).default(4_000),
  SUPABASE_URL: webAddress.optional(),
  SUPABASE_PUBLISHABLE_KEY: z.string().optional(),
  SUPABASE_SECRET_KEY: z.string().optional(),
  SUPABASE_JWKS_URL: webAddress.optional(),
  SUPABASE_JWKS: z
    .string()
    .transform((value, context) => {
      const parsed = keySet.safeParse(jsonOrNull(value));
      if (parsed.success) return parsed.data;
      context.addIssue('must be a JSON Web Key Set: {"keys": [...]}');
      return z.NEVER;
    })
    .optional(),
  SUPABASE_JWT_SECRET: z.string().min(32, 'must be at least 32 characters').optional(),
  VAPI_PRIVATE_KEY: z.string().optional(),
  VAPI_PRIVATE_KEY_FILE: z.string().optional(),
  VAPI_BASE_URL: webAddress.optional(),
  VAPI_TIMEOUT_MS: ms(100).default(10_000),
  SAVE_LEASE_MS: ms(100).default(30_000),
  SAVE_DEADLINE_MS: ms(100).default(120_000),
  SAVE_ANSWER_MS: ms(100).default(12_000),
  VAPI_LATE_MS: ms(0).default(22_000),
  RECOVERY_INTERVAL_MS: ms(50).default(5_000),
  RECONCILE_INTERVAL_MS: ms(0).default(300_000),
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

const keySet = z.looseObject({ keys: z.array(z.looseObject({ kty: z.string() })).min(1) });

const SETTING_VARIABLES: Readonly<Record<keyof SaveSettings, string>> = {
  leaseMs: 'SAVE_LEASE_MS',
  deadlineMs: 'SAVE_DEADLINE_MS',
  answerMs: 'SAVE_ANSWER_MS',
  lateMs: 'VAPI_LATE_MS',
  requestTimeoutMs: 'VAPI_TIMEOUT_MS',
  confirmMs: 'RECONCILE_INTERVAL_MS',
};

/** Reads the environment. An empty variable is an unset one. */
export function loadEnv(
  source: Record<string, string | undefined>,
): { config: Config } | { problems: EnvProblem[] } {
  const given = Object.fromEntries(
    Object.keys(variables)
      .map((name) => [name, source[name]?.trim()] as const)
      .filter(([, value]) => value !== undefined && value !== ''),
  );
  const parsed = z.object(variables).safeParse(given);
  const problems: EnvProblem[] = (parsed.error?.issues ?? []).map((issue) => ({
    variable: String(issue.path[0]),
    problem: issue.message,
  }));

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

  if (!parsed.success || 'problem' in master) return { problems };
  const env = parsed.data;
  const settings: SaveSettings = {
    leaseMs: env.SAVE_LEASE_MS,
    deadlineMs: env.SAVE_DEADLINE_MS,
    answerMs: env.SAVE_ANSWER_MS,
    lateMs: env.VAPI_LATE_MS,
    requestTimeoutMs: env.VAPI_TIMEOUT_MS,
    confirmMs: env.RECONCILE_INTERVAL_MS,
  };
  problems.push(
    ...settingsProblems(settings).map(({ setting, problem }) => ({
      variable: SETTING_VARIABLES[setting],
      problem,
    })),
  );
  if (problems.length > 0) return { problems };

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
      vapi: { baseUrl: env.VAPI_BASE_URL ?? null, key: master.key },
      settings,
      recoveryIntervalMs: env.RECOVERY_INTERVAL_MS,
      reconcileIntervalMs: env.RECONCILE_INTERVAL_MS,
    },
  };
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

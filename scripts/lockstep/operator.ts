/** What the commands of an operator have in common. */
import { createServiceClient, type ServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createLogger } from '../../src/adapters/system/logger.ts';
import { createVoiceProvider } from '../../src/adapters/vapi/got-voice-provider.ts';
import type { Secret } from '../../src/domain/secret.ts';
import { loadEnv, VAPI_BASE_URL } from '../../src/env.ts';
import type { Log } from '../../src/ports/system.ts';
import type { VoiceProvider } from '../../src/ports/voice-provider.ts';
import type { SagaSettings } from '../../src/services/saga/settings.ts';

export const EX_USAGE = 64;
export const EX_CONFIG = 78;

/** The options of a command are wrong. */
export class UsageError extends Error {}

/** What a command works with: the rights of the server. */
export interface Operator {
  client: ServiceClient;
  /** Null: no command that needs Vapi can run. */
  vapi: { key: Secret; voice: VoiceProvider } | null;
  settings: SagaSettings;
  log: Log;
}

/** As `Operator`, with Vapi. */
export type VapiOperator = Operator & { vapi: NonNullable<Operator['vapi']> };

export interface Command {
  usage: string;
  /** Throws `UsageError`. Returns the work, which returns the exit code, and throws `MissingVariableError`. */
  parse(args: string[]): (operator: Operator, print: (line: string) => void) => Promise<number>;
}

/** The environment lacks a variable that this command needs. */
export class MissingVariableError extends Error {}

/** Throws `MissingVariableError`. */
export function withVapi(operator: Operator): VapiOperator {
  const { vapi } = operator;
  if (vapi === null) {
    throw new MissingVariableError('VAPI_PRIVATE_KEY is needed: the same environment as the server has');
  }
  return { ...operator, vapi };
}

export function openOperator(environment: NodeJS.ProcessEnv): Operator | { problems: string[] } {
  const loaded = loadEnv(environment);
  if ('problems' in loaded) {
    return { problems: loaded.problems.map(({ variable, problem }) => `${variable} ${problem}`) };
  }
  const { supabase, vapi, settings, logLevel } = loaded.config;
  if (supabase === null) {
    return { problems: ['SUPABASE_URL is needed: the same environment as the server has'] };
  }
  const { key } = vapi;
  const log = createLogger(logLevel, key === null ? [supabase.secretKey] : [key, supabase.secretKey]);
  const baseUrl = vapi.baseUrl ?? VAPI_BASE_URL;
  const timeoutMs = settings.requestTimeoutMs;
  return {
    client: createServiceClient(supabase),
    vapi: key === null ? null : { key, voice: createVoiceProvider(key, { baseUrl, timeoutMs, log }) },
    settings,
    log,
  };
}

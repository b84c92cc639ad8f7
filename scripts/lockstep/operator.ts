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
  key: Secret;
  voice: VoiceProvider;
  settings: SagaSettings;
  log: Log;
}

export interface Command {
  usage: string;
  /** Throws `UsageError`. Returns the work, which returns the exit code. */
  parse(args: string[]): (operator: Operator, print: (line: string) => void) => Promise<number>;
}

export function openOperator(environment: NodeJS.ProcessEnv): Operator | { problems: string[] } {
  const loaded = loadEnv(environment);
  if ('problems' in loaded) {
    return { problems: loaded.problems.map(({ variable, problem }) => `${variable} ${problem}`) };
  }
  const { supabase, vapi, settings, logLevel } = loaded.config;
  if (supabase === null || vapi.key === null) {
    return {
      problems: ['SUPABASE_URL and VAPI_PRIVATE_KEY are needed: the same environment as the server has'],
    };
  }
  const log = createLogger(logLevel, [vapi.key, supabase.secretKey]);
  return {
    client: createServiceClient(supabase),
    key: vapi.key,
    voice: createVoiceProvider(vapi.key, {
      baseUrl: vapi.baseUrl ?? VAPI_BASE_URL,
      timeoutMs: settings.requestTimeoutMs,
      log,
    }),
    settings,
    log,
  };
}

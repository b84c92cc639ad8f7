import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { SupabaseConfig } from '../adapters/supabase/clients.ts';
import { Secret } from '../domain/secret.ts';
import { type LocalSupabase, startLocalSupabase } from './supabase/supabase.ts';
import { keptKey } from './vapi/kept-key.ts';
import { startVapiStandIn } from './vapi/server.ts';

/** The local Supabase and the Vapi stand-in of a server that is started without configuration. */

export interface EmbeddedOptions {
  /** Contains all local data. */
  dataDir: string;
  /** Timeout of one request to the database, milliseconds. */
  databaseTimeoutMs: number;
  /** Null: start no stand-in. */
  standIn: { key: Secret | null } | null;
  log(line: string): void;
  /** Called when Postgres ended unexpectedly, after the attempt to start it again. */
  onDatabaseEnd(reason: string, restarted: boolean): void;
}

export interface Embedded {
  supabase: SupabaseConfig;
  /** Null if no stand-in was started. `credential`: the one that it signs events with. */
  vapi: { baseUrl: string; key: Secret; credential: { id: string; secret: Secret } } | null;
  /** The demo organizations' users, and the headers of each once signed in. */
  demo: {
    users: typeof DEMO_USERS;
    headersOf(email: string): Promise<Record<string, string>>;
  };
  stop(): Promise<void>;
}

/** As supabase/seed.sql makes them. */
export const DEMO_USERS = [
  { email: 'owner@north.example', organization: 'North Dental' },
  { email: 'owner@south.example', organization: 'South Realty' },
] as const;
const DEMO_PASSWORD = 'lockstep-demo';

const SUPABASE_PORT = 54_321;
const VAPI_PORT = 4_010;
/** Of the credential with which the stand-in signs events. Always the same, so that no start moves the agents. */
const CREDENTIAL_ID = '10c0571e-0000-4000-8000-000000000001';

export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const { log } = options;
  let stopping = false;
  const restart = async (reason: string): Promise<void> => {
    if (stopping) return;
    const restarted = await supabase.postgres.restart().then(
      () => true,
      (error: unknown) => {
        log(String(error));
        return false;
      },
    );
    options.onDatabaseEnd(reason, restarted);
  };
  const supabase: LocalSupabase = await onUsualPort(SUPABASE_PORT, (port) =>
    startLocalSupabase({
      dataDir: join(options.dataDir, 'supabase'),
      port,
      log,
      onCrash: (reason) => void restart(reason),
    }),
  );
  const key = options.standIn?.key?.reveal() ?? keptKey(join(options.dataDir, 'vapi-key'));
  // As a person would have made it in the dashboard.
  const credential = { id: CREDENTIAL_ID, secret: new Secret(randomBytes(24).toString('base64url')) };
  const standIn =
    options.standIn === null
      ? null
      : await onUsualPort(VAPI_PORT, (port) =>
          startVapiStandIn({
            ...{ port, key, dataFile: join(options.dataDir, 'vapi.jsonl'), log },
            credentials: [{ id: credential.id, secret: credential.secret.reveal(), scheme: 'hmac' }],
          }),
        );
  return {
    supabase: {
      url: supabase.url,
      publishableKey: supabase.publishableKey,
      secretKey: new Secret(supabase.secretKey),
      jwks: null,
      jwtSecret: new Secret(supabase.jwtSecret),
      timeoutMs: options.databaseTimeoutMs,
    },
    vapi: standIn === null ? null : { baseUrl: standIn.url, key: new Secret(key), credential },
    demo: {
      users: DEMO_USERS,
      headersOf: async (email) => {
        const response = await fetch(`${supabase.url}/auth/v1/token?grant_type=password`, {
          method: 'POST',
          headers: { apikey: supabase.publishableKey, 'content-type': 'application/json' },
          body: JSON.stringify({ email, password: DEMO_PASSWORD }),
        });
        const session = (await response.json()) as { access_token?: string };
        return { authorization: `Bearer ${session.access_token ?? '<access token>'}` };
      },
    },
    stop: async () => {
      stopping = true;
      await Promise.all([standIn?.stop(), supabase.stop()]);
    },
  };
}

/** Uses the usual port, so that bookmarks and scripts keep working, or any free port if that one is in use. */
async function onUsualPort<T>(port: number, start: (port: number) => Promise<T>): Promise<T> {
  try {
    return await start(port);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error;
    return start(0);
  }
}

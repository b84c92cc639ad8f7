import { createAdminClient } from '@supabase/server/core';
import { createClient, type SupabaseClient } from '@supabase/supabase-js';
import type { JSONWebKeySet } from 'jose';
import type { Secret } from '../../domain/secret.ts';
import type { Database } from './database.types.ts';

/** A client that acts for one caller: row-level security decides what it sees. */
export type CallerClient = SupabaseClient<Database> & { readonly scope?: 'caller' };
/** The client of the service role, for the save functions and nothing else. */
export type ServiceClient = SupabaseClient<Database> & { readonly scope?: 'service' };

/** Where the Supabase project is, and what it takes to talk to it. */
export interface SupabaseConfig {
  url: string;
  publishableKey: string;
  secretKey: Secret;
  /** Keys that sign user tokens: a key set, or where to fetch it. Null with `jwtSecret`. */
  jwks: JSONWebKeySet | URL | null;
  /** Legacy projects sign HS256 with one shared secret. */
  jwtSecret: Secret | null;
  /** Deadline of one request to the database, milliseconds. */
  timeoutMs: number;
}

/** Codes that our fetch puts into an answer of its own where the network gave none. */
export const NOT_SENT = 'LOCKSTEP_NOT_SENT';
export const NO_ANSWER = 'LOCKSTEP_NO_ANSWER';

/** Errors of the connection's set-up (undici and Node): the request never left this machine. */
const SETUP_ERRORS = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  // A certificate is judged before anything is sent.
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

/**
 * fetch with a deadline, whose failures are answers. supabase-js turns a thrown error into a message without a code, and
 * whether a request was sent at all decides what may be told to a caller. 599: no status that a server would send. A connection
 * that breaks, or is too slow, in the middle of a body needs no code of its own: supabase-js reports it with the status 0.
 */
function boundedFetch(timeoutMs: number): typeof fetch {
  return async (input, init) => {
    try {
      const deadline = AbortSignal.timeout(timeoutMs);
      const signal = init?.signal ? AbortSignal.any([init.signal, deadline]) : deadline;
      // A redirect would carry the keys in the `apikey` header wherever it points.
      return await fetch(input, { ...init, signal, redirect: 'manual' });
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      const code = typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : '';
      return Response.json(
        {
          code: SETUP_ERRORS.has(code) ? NOT_SENT : NO_ANSWER,
          message: code || 'no answer',
          details: null,
          hint: null,
        },
        { status: 599 },
      );
    }
  };
}

function supabaseOptions(config: SupabaseConfig) {
  return {
    global: { fetch: boundedFetch(config.timeoutMs) },
    // The library would repeat a read that was answered 503 for seven seconds, or for as long as a Retry-After says.
    db: { retry: false },
  };
}

/** For one verified token. With `accessToken`, the library makes no client for Auth: that would be most of the cost. */
export function createCallerClient(config: SupabaseConfig, token: string): CallerClient {
  const client = createClient<Database>(config.url, config.publishableKey, {
    ...supabaseOptions(config),
    accessToken: () => Promise.resolve(token),
  });
  // In its place the library puts an object that throws whatever is read of it, and so would whoever prints the client.
  return Object.defineProperty(client, 'auth', { enumerable: false });
}

/** One for the process. */
export function createServiceClient(config: SupabaseConfig): ServiceClient {
  return createAdminClient<Database>({
    env: {
      url: config.url,
      publishableKeys: { default: config.publishableKey },
      secretKeys: { default: config.secretKey.reveal() },
      jwks: config.jwks,
    },
    supabaseOptions: supabaseOptions(config),
  });
}

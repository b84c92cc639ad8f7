import { createServiceClient, NO_ANSWER, NOT_SENT, type SupabaseConfig } from './clients.ts';

/** The result of one request to the configured Supabase project with the secret key. It never contains a key. */
export type Preflight =
  | { state: 'ready' }
  /** Somebody must correct the environment or the project; a retry does not help. */
  | { state: 'misconfigured'; variable: string; problem: string }
  /** The problem may disappear without a correction. */
  | { state: 'unreachable'; problem: string };

/** Connection failures that the address or its certificate causes, so that a retry does not help. */
const WRONG_ADDRESS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'there is no host of that name',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not signed by an authority that this machine trusts',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not signed by an authority that this machine trusts',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not signed by an authority that this machine trusts',
};
const NO_SUCH_FUNCTION = 'PGRST202';
const NO_PRIVILEGE = '42501';

export async function preflight(config: SupabaseConfig): Promise<Preflight> {
  const database = await checkDatabase(config);
  return database.state === 'ready' ? checkSigningKeys(config) : database;
}

/** Tests the REST layer, the secret key, the migrations and the database with one request that reads no rows. */
async function checkDatabase(config: SupabaseConfig): Promise<Preflight> {
  const { host } = new URL(config.url);
  const { error, status } = await createServiceClient(config).rpc('saga_due', { p_limit: 0 });
  if (error === null) return { state: 'ready' };
  const { code, message } = error;
  if (code === NOT_SENT || code === NO_ANSWER) return connectionFailed('SUPABASE_URL', host, message);
  if (status === 401 || code === NO_PRIVILEGE || (status === 403 && !code)) {
    return {
      state: 'misconfigured',
      variable: 'SUPABASE_SECRET_KEY',
      problem: `is refused by ${host} (HTTP ${status}): copy the secret key (sb_secret_...) of this very project, or its legacy service_role key`,
    };
  }
  if (code === NO_SUCH_FUNCTION) {
    return {
      state: 'misconfigured',
      variable: 'SUPABASE_URL',
      problem: `names ${host}, whose database lacks the tables and functions of Lockstep: apply supabase/migrations to it (supabase db push)`,
    };
  }
  if (status === 429 || status >= 500) {
    return { state: 'unreachable', problem: `${host} answers ${code ? `${code}, ` : ''}HTTP ${status}` };
  }
  return {
    state: 'misconfigured',
    variable: 'SUPABASE_URL',
    problem: `names ${host}, which does not answer as the REST API of a Supabase project (HTTP ${status}): it must look like https://<project>.supabase.co`,
  };
}

/** A project that still signs with its shared secret publishes no keys, so Lockstep would refuse every token. */
async function checkSigningKeys({ jwks, timeoutMs }: SupabaseConfig): Promise<Preflight> {
  if (!(jwks instanceof URL)) return { state: 'ready' };
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(jwks, { signal: AbortSignal.timeout(timeoutMs) });
    body = await response.json().catch(() => null);
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    const code = typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : '';
    return connectionFailed('SUPABASE_JWKS_URL', jwks.host, code);
  }
  if (response.status === 429 || response.status >= 500) {
    return {
      state: 'unreachable',
      problem: `${jwks.host} answers HTTP ${response.status} for the signing keys`,
    };
  }
  const keys = typeof body === 'object' && body !== null && 'keys' in body ? body.keys : undefined;
  if (!response.ok || !Array.isArray(keys)) {
    return {
      state: 'misconfigured',
      variable: 'SUPABASE_JWKS_URL',
      problem: `must lead to a JSON Web Key Set, and ${jwks.host} answers none (HTTP ${response.status}): unset it to use the project's own`,
    };
  }
  if (keys.length > 0) return { state: 'ready' };
  return {
    state: 'misconfigured',
    variable: 'SUPABASE_JWT_SECRET',
    problem: `is needed: ${jwks.host} publishes no signing keys, so its tokens are signed with the legacy shared secret (HS256). Copy the JWT secret of the project, or migrate it to signing keys`,
  };
}

function connectionFailed(variable: string, host: string, code: string): Preflight {
  const wrong = WRONG_ADDRESS[code];
  return wrong === undefined
    ? { state: 'unreachable', problem: `${host} cannot be reached (${code || 'no answer'})` }
    : { state: 'misconfigured', variable, problem: `names ${host}, and ${wrong}: correct the address` };
}

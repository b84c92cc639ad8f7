import { createSecretKey, hash } from 'node:crypto';
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  type JSONWebKeySet,
  type JWKSCacheInput,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwksCache,
  jwtVerify,
} from 'jose';
import { isUuid } from '../../domain/uuid.ts';
import type { TokenVerdict, TokenVerifier } from '../../ports/auth.ts';
import type { SupabaseConfig } from './clients.ts';

/** Supabase Auth puts this into the tokens of signed-in users. */
const AUDIENCE = 'authenticated';
/** Accepted tokens whose verdict is kept. The one that was used longest ago is dropped first. */
const MOST_KEPT = 5_000;

/** The project's keys, and what identifies the set that is in use now. Null: the set is too old, and must be fetched first. */
interface Keys {
  verify(token: string): Promise<JWTPayload>;
  current(): object | null;
}

/** A verified token, in the whole seconds that tokens are written in. It holds for as long as the key set does. */
interface Kept {
  verdict: TokenVerdict;
  keys: object;
  notBefore: number;
  expires: number;
}

/** The key set cannot be had, so nothing is known of the token. */
class KeysUnavailableError extends Error {}

/**
 * Verifies a user's access token: signature, issuer, audience, expiry, a subject and the role of a signed-in user. One family
 * of keys, pinned by the configuration: the project's JWKS (ES256 or RS256), or a legacy project's shared secret (HS256).
 *
 * The verdict of an accepted token is kept under its hash until the token expires, and only for the key set that verified it:
 * when the set is fetched again, or is due to be, every token is verified again. So a removed key ends when the set does.
 */
export function createTokenVerifier(config: SupabaseConfig, mostKept = MOST_KEPT): TokenVerifier {
  const keys = keysOf(config);
  const accepted = new Map<string, Kept>();

  function recall(id: string): TokenVerdict | undefined {
    const kept = accepted.get(id);
    if (kept === undefined) return undefined;
    accepted.delete(id);
    const now = Math.floor(Date.now() / 1_000);
    if (kept.keys !== keys.current() || now >= kept.expires || now < kept.notBefore) return undefined;
    // Put in anew: the map stays in the order of use.
    accepted.set(id, kept);
    return kept.verdict;
  }

  function keep(id: string, kept: Kept): void {
    accepted.set(id, kept);
    for (const oldest of accepted.keys()) {
      if (accepted.size <= mostKept) return;
      accepted.delete(oldest);
    }
  }

  return {
    verify: async (token) => {
      // The token itself is not kept: whoever reads the memory or a dump of it must not find tokens that are good.
      const id = hash('sha256', token, 'base64');
      const known = recall(id);
      if (known !== undefined) return known;
      const before = keys.current();
      let claims: JWTPayload;
      try {
        claims = await keys.verify(token);
      } catch (error) {
        return { problem: error instanceof KeysUnavailableError ? 'unavailable' : 'bad_token' };
      }
      const verdict = verdictOf(claims);
      // If the set has changed meanwhile, it is not known which one verified the token.
      if (before !== null && before === keys.current() && typeof claims.exp === 'number' && isGood(verdict)) {
        keep(id, { verdict, keys: before, notBefore: claims.nbf ?? 0, expires: claims.exp });
      }
      return verdict;
    },
  };
}

function isGood(verdict: TokenVerdict): boolean {
  return !('problem' in verdict) || verdict.problem === 'no_organization';
}

function keysOf({ url, jwks, jwtSecret }: SupabaseConfig): Keys {
  const expected = { issuer: `${url}/auth/v1`, audience: AUDIENCE };
  const payloadOf = async (verified: Promise<{ payload: JWTPayload }>) => (await verified).payload;
  if (jwtSecret !== null) {
    const secret = createSecretKey(jwtSecret.reveal(), 'utf8');
    return {
      verify: (token) => payloadOf(jwtVerify(token, secret, { ...expected, algorithms: ['HS256'] })),
      current: () => secret,
    };
  }
  if (jwks instanceof URL) {
    const cache: Partial<{ jwks: JSONWebKeySet; uat: number }> = {};
    const remote = createRemoteJWKSet(jwks, { [jwksCache]: cache as JWKSCacheInput });
    const key = orUnavailable(remote);
    return {
      verify: (token) => payloadOf(jwtVerify(token, key, expected)),
      // A new object with every fetch.
      current: () => (remote.fresh ? (cache.jwks ?? null) : null),
    };
  }
  const local = createLocalJWKSet(jwks ?? { keys: [] });
  const key: JWTVerifyGetKey = (header, token) => local(named(header), token);
  return { verify: (token) => payloadOf(jwtVerify(token, key, expected)), current: () => local };
}

/** Supabase names the key in every token. */
function named<Header extends { kid?: string | undefined }>(header: Header): Header {
  if (header.kid === undefined) throw new errors.JWKSNoMatchingKey();
  return header;
}

/** Tells what is wrong with a token from what is wrong with the endpoint. */
function orUnavailable(keySet: JWTVerifyGetKey): JWTVerifyGetKey {
  return async (header, token) => {
    named(header);
    try {
      return await keySet(header, token);
    } catch (error) {
      const isAboutToken =
        error instanceof errors.JWKSNoMatchingKey ||
        error instanceof errors.JWKSMultipleMatchingKeys ||
        error instanceof errors.JOSENotSupported;
      throw isAboutToken
        ? error
        : new KeysUnavailableError('the signing keys cannot be had', { cause: error });
    }
  };
}

/** Nothing but `app_metadata` names the organization: users can write `user_metadata` themselves. */
function verdictOf(claims: JWTPayload): TokenVerdict {
  if (
    typeof claims.sub !== 'string' ||
    claims.sub === '' ||
    typeof claims.exp !== 'number' ||
    claims['role'] !== AUDIENCE
  ) {
    return { problem: 'bad_token' };
  }
  const metadata = claims['app_metadata'];
  const orgId =
    typeof metadata === 'object' && metadata !== null && 'org_id' in metadata ? metadata.org_id : undefined;
  if (!isUuid(orgId)) return { problem: 'no_organization' };
  return { userId: claims.sub, orgId: orgId.toLowerCase() };
}

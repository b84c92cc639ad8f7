import { verifyCredentials } from '@supabase/server/core';
import { type JWTPayload, jwtVerify } from 'jose';
import { isUuid } from '../../domain/uuid.ts';
import type { TokenVerdict, TokenVerifier } from '../../ports/auth.ts';
import type { SupabaseConfig } from './clients.ts';

/** Supabase Auth puts this into the tokens of signed-in users. */
const AUDIENCE = 'authenticated';

/**
 * Verifies a user's access token: signature, issuer, audience, expiry, a subject and the role of a signed-in user. One family
 * of keys, pinned by the configuration: the project's JWKS (ES256 or RS256), or a legacy project's shared secret (HS256).
 */
export function createTokenVerifier(config: SupabaseConfig): TokenVerifier {
  const issuer = `${config.url}/auth/v1`;
  return {
    verify: async (token) => {
      const verified =
        config.jwtSecret === null ? await byJwks(token) : await byShared(token, config.jwtSecret.reveal());
      return verified === null || 'problem' in verified
        ? (verified ?? { problem: 'bad_token' })
        : verdictOf(verified.claims);
    },
  };

  async function byJwks(token: string): Promise<{ claims: JWTPayload } | { problem: 'unavailable' } | null> {
    const { data, error } = await verifyCredentials(
      { token, apikey: null },
      { auth: 'user', issuer, audience: AUDIENCE, env: { url: config.url, jwks: config.jwks } },
    );
    if (error !== null) return error.status >= 500 ? { problem: 'unavailable' } : null;
    return data.jwtClaims === null ? null : { claims: { ...data.jwtClaims } };
  }

  async function byShared(token: string, secret: string): Promise<{ claims: JWTPayload } | null> {
    try {
      const { payload } = await jwtVerify(token, new TextEncoder().encode(secret), {
        algorithms: ['HS256'],
        issuer,
        audience: AUDIENCE,
      });
      return { claims: payload };
    } catch {
      return null;
    }
  }
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

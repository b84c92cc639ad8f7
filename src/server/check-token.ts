import { bearerToken } from '../context.ts';
import { RefusedTokenError, type TokenVerifier } from '../ports/auth.ts';

/** MEMBER: a valid token of a member of an organization. ANONYMOUS: no token, or a valid one without an organization. */
export type TokenCheck = 'MEMBER' | 'ANONYMOUS' | RefusedTokenError;

/** Returns what an Authorization header says about the caller, before anything of the request's body is read. */
export function createTokenCheck(verifier: TokenVerifier) {
  return async (authorization: string | undefined): Promise<TokenCheck> => {
    if (authorization === undefined) return 'ANONYMOUS';
    const token = bearerToken(authorization);
    if (token === undefined) return new RefusedTokenError(false);
    const verdict = await verifier.verify(token);
    if (!('problem' in verdict)) return 'MEMBER';
    if (verdict.problem === 'no_organization') return 'ANONYMOUS';
    return new RefusedTokenError(verdict.problem === 'unavailable');
  };
}

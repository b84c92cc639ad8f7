import { describe, expect, test } from 'vitest';
import { RefusedTokenError, type TokenVerdict } from '../ports/auth.ts';
import { createTokenCheck } from './check-token.ts';

/** Checks a header, with a verifier of this verdict. */
async function check(authorization: string | undefined, verdict?: TokenVerdict) {
  const verified: string[] = [];
  const result = await createTokenCheck({
    verify: async (token) => {
      verified.push(token);
      if (verdict === undefined) throw new Error('not part of this test');
      return verdict;
    },
  })(authorization);
  return { result, verified };
}

describe('a caller', () => {
  test('without a token is anonymous', async () => {
    expect(await check(undefined)).toEqual({ result: 'ANONYMOUS', verified: [] });
  });

  test.each(['', 'a-token', 'Basic a-token', 'Bearer', 'Bearer one two'])(
    'with the header "%s" is refused, and no token is verified',
    async (authorization) => {
      const { result, verified } = await check(authorization);
      expect([result, verified]).toEqual([new RefusedTokenError(false), []]);
    },
  );

  test('with a valid token of an organization is a member', async () => {
    const verdict = { userId: 'user', orgId: 'org' };
    expect(await check('Bearer a-token', verdict)).toEqual({ result: 'MEMBER', verified: ['a-token'] });
  });

  test('with a valid token without an organization is anonymous', async () => {
    expect((await check('Bearer a-token', { problem: 'no_organization' })).result).toBe('ANONYMOUS');
  });

  test.each([
    ['bad_token', false],
    ['unavailable', true],
  ] as const)('with a token of the verdict %s is refused', async (problem, unavailable) => {
    const { result } = await check('Bearer a-token', { problem });
    expect(result).toBeInstanceOf(RefusedTokenError);
    expect(result).toMatchObject({ unavailable });
  });
});

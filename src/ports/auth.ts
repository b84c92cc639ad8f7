/** Who calls, as a verified token says it; or why there is no telling. */
export type TokenVerdict =
  | { userId: string; orgId: string }
  | { problem: 'bad_token' | 'no_organization' | 'unavailable' };

export interface TokenVerifier {
  /** Never throws for what a token holds. */
  verify(token: string): Promise<TokenVerdict>;
}

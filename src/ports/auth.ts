/** Who calls, as a verified token says it; or why there is no telling. */
export type TokenVerdict =
  | { userId: string; orgId: string }
  | { problem: 'bad_token' | 'no_organization' | 'unavailable' };

export interface TokenVerifier {
  /** Never throws for what a token holds. */
  verify(token: string): Promise<TokenVerdict>;
}

/** A token was sent, and it cannot be accepted: never treated as if there were none. */
export class RefusedTokenError extends Error {
  /** True: the token may be good, but the keys to check it cannot be had now. */
  readonly unavailable: boolean;
  constructor(unavailable: boolean) {
    super(
      unavailable
        ? 'Your access token cannot be checked at the moment.'
        : 'Your access token is not valid: it is malformed, expired, or not from this project. Sign in again.',
    );
    this.unavailable = unavailable;
  }
}

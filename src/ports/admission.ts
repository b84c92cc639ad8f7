/** The voice provider's one account, shared among all organizations. */
export interface Admission {
  /** Saves that one organization may begin in a minute, whatever replica it asks; the database counts them. */
  readonly savesPerMinute: number;
  /**
   * Waits for the organization's turn to send so many requests, before its save begins; `withinMs` at most, where given. Refused:
   * nothing began, and nothing is owed.
   */
  admit(orgId: string, requests: number, withinMs?: number): Promise<Admitted | Refused>;
  /**
   * A turn for a request that finishes or undoes what has begun: served before everything else, and from a reserve. False: there
   * is none within `withinMs`.
   */
  turn(withinMs: number): Promise<boolean>;
}

export interface Admitted {
  admitted: true;
  /** Gives the turns back: nothing was sent. */
  unused(): void;
  /** What was admitted is over, and the next may begin. */
  done(): void;
}

export interface Refused {
  admitted: false;
  retryAfterMs: number;
  /** The database that shares the account did not answer: it is not known whether there is too much. */
  unreachable?: true;
}

/** Which replicas share the account now. May throw `DatabaseError`. */
export interface ReplicaRegistry {
  /**
   * Says that this replica lives, for `ttlMs`. Answers how many do, itself included, and whether all of them have heard of it:
   * until then they still share everything among themselves.
   */
  beat(replica: string, ttlMs: number): Promise<Beat>;
}

export interface Beat {
  replicas: number;
  known: boolean;
  /** The database's clock, milliseconds since 1970. */
  now: number;
  /** When the last complete sweep of any replica began; null: there was none. */
  sweptAt: string | null;
}

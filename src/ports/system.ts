/** Time, ids, randomness and logging as the services see them, so that a fault can be replayed from a seed. */

export interface Clock {
  /** Wall clock, milliseconds since 1970. */
  now(): number;
  /** Monotonic clock, milliseconds since some fixed moment of this process. */
  monotonic(): number;
  /** Resolves after `ms`, or as soon as `signal` aborts; never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Ids {
  /** A fresh random UUID. */
  uuid(): string;
}

export interface Random {
  /** A number in [0, 1), for jitter only. */
  next(): number;
}

/** Structured log. Fields hold ids, counts and codes; never a prompt, a key or a token. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}

import { createHmac } from 'node:crypto';
import { inspect } from 'node:util';

const REDACTED = '[redacted]';

/**
 * A value that no sink may hold. Its string, JSON and inspect forms are `[redacted]`; `reveal()` is for the adapter that
 * puts it on the wire, at the last moment, and for nothing else.
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  equals(other: Secret): boolean {
    return this.#value === other.#value;
  }

  /** Names the secret in logs without telling it: 8 hex digits of an HMAC. */
  fingerprint(): string {
    return createHmac('sha256', 'lockstep-fingerprint').update(this.#value).digest('hex').slice(0, 8);
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}

import type { Beat, ReplicaRegistry } from '../../ports/admission.ts';
import type { Clock } from '../../ports/system.ts';

/** How often a replica says that it lives; and how long it counts after it has last done so. Milliseconds. */
export const BEAT_MS = 1_000;
export const REPLICA_TTL_MS = 3_000;

/**
 * Says that this replica lives, and takes its part of the account: what the living share evenly. Nothing, until all of them know
 * of it: they have given nothing up for it yet. Throws `DatabaseError`, and the part stays what it was, for as long as it was given.
 */
export async function takeShare(
  registry: ReplicaRegistry,
  share: (part: number, until: number) => void,
  clock: Clock,
  replica: string,
): Promise<Beat> {
  const from = clock.monotonic();
  const beat = await registry.beat(replica, REPLICA_TTL_MS);
  share(beat.known ? 1 / beat.replicas : 0, from + REPLICA_TTL_MS);
  return beat;
}

/** How long one reading of the database's clock counts. A newer one may say less: its answer took longer. */
const READING_MS = 60_000;

/** The database's clock, as heard of in its answers: never ahead of it, and behind it by no more than an answer's way. */
export class DatabaseClock {
  readonly #clock: Clock;
  /** What the database's clock is ahead of the monotonic clock of this process, at least; and when that was heard. */
  #reading: { ahead: number; at: number } | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** An answer has come that was written when the database's clock showed this time. */
  heard(time: number): void {
    const at = this.#clock.monotonic();
    const old = this.#reading;
    if (old === null || time - at > old.ahead || at - old.at > READING_MS)
      this.#reading = { ahead: time - at, at };
  }

  /** Milliseconds since 1970; null where nothing was heard yet. */
  now(): number | null {
    return this.#reading === null ? null : this.#clock.monotonic() + this.#reading.ahead;
  }
}

import type { Clock } from '../ports/system.ts';

interface ReadinessPorts {
  clock: Clock;
  /** Aborted when the server begins to stop. It is not ready from then on. */
  stopping: AbortSignal;
  /** A call that needs everything that a save needs. */
  probe(): Promise<unknown>;
  /** Receives the result of each probe. */
  database: { works(): void; fails(error: unknown): void };
}

/** Probes may come from many load balancers: the database is asked at most once in this time, milliseconds. */
const CACHE_MS = 1_000;

/** Returns whether a load balancer may send requests to this server. */
export function createReadiness({
  clock,
  stopping,
  probe,
  database,
}: ReadinessPorts): () => Promise<boolean> {
  let last: { at: number; ready: Promise<boolean> } | undefined;
  return () => {
    if (stopping.aborted) return Promise.resolve(false);
    if (last === undefined || clock.monotonic() - last.at > CACHE_MS) {
      const ready = probe().then(
        () => {
          database.works();
          return true;
        },
        (error: unknown) => {
          database.fails(error);
          return false;
        },
      );
      last = { at: clock.monotonic(), ready };
    }
    return last.ready;
  };
}

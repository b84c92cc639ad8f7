import type { Clock } from '../../src/ports/system.ts';

interface Sleeper {
  at: number;
  wake(): void;
}

/** Time that passes only when it is told to: a minute of it takes as long as what happens in it. */
export class VirtualClock implements Clock {
  #now = 0;
  readonly #sleepers = new Set<Sleeper>();

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const sleeper: Sleeper = {
        at: this.#now + Math.max(0, ms),
        wake: () => {
          this.#sleepers.delete(sleeper);
          signal?.removeEventListener('abort', sleeper.wake);
          resolve();
        },
      };
      if (signal?.aborted) {
        resolve();
        return;
      }
      signal?.addEventListener('abort', sleeper.wake);
      this.#sleepers.add(sleeper);
    });
  }

  /** Goes on to that time; everything that is due before happens in order, each with all that follows from it. */
  async until(at: number): Promise<void> {
    for (;;) {
      await settled();
      let next: Sleeper | undefined;
      for (const sleeper of this.#sleepers)
        if (sleeper.at <= at && (next === undefined || sleeper.at < next.at)) next = sleeper;
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      next.wake();
    }
    this.#now = at;
  }
}

/** After every promise that could be kept by now. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

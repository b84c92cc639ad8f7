import type { Server } from 'node:http';
import type { Clock, Log } from '../ports/system.ts';

type Closing = Pick<Server, 'close' | 'closeIdleConnections' | 'closeAllConnections'>;

/** Keeps track of the work that outlives its request, and stops the server when that work is done. */
export class Shutdown {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  constructor({ clock, log }: { clock: Clock; log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Aborted when the server begins to stop. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Registers work that `stop` waits for. */
  track(work: Promise<unknown>): void {
    const tracked = work
      .catch((error: unknown) => this.#log.error({ err: error }, 'a save failed unexpectedly'))
      .finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }

  /** Waits at most `drainMs` milliseconds for the tracked work and for open requests, then closes every connection. */
  async stop(server: Closing, drainMs: number): Promise<void> {
    this.#stopping.abort();
    await Promise.race([this.#drain(server), this.#clock.sleep(drainMs)]);
    server.close();
    server.closeAllConnections();
    if (this.#running.size > 0) {
      this.#log.warn({ saves: this.#running.size }, 'leaving saves to recovery');
    }
  }

  async #drain(server: Closing): Promise<void> {
    // The server still accepts connections meanwhile, so that a probe receives "not ready" instead of a refused connection.
    await this.#rest();
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    server.closeIdleConnections();
    await closed;
    // Work that requests began before the server was closed.
    await this.#rest();
  }

  async #rest(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}

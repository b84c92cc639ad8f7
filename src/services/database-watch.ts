import { KeyRefusedError } from '../ports/agents/save-journal.ts';
import type { Log } from '../ports/system.ts';
import type { Meter } from '../ports/telemetry.ts';

interface WatchPorts {
  log: Log;
  meter: Meter;
  /** The host of the database, for the log. */
  host: string;
}

/**
 * Logs once that the database cannot be used and why, and once that it can be used again. Callers only learn that it is away:
 * the log tells an operator which variable to correct.
 */
export class DatabaseWatch {
  readonly #ports: WatchPorts;
  /** Of the last failure; undefined while the database works. */
  #event: 'database.key_refused' | 'database.unreachable' | undefined;

  constructor(ports: WatchPorts) {
    this.#ports = ports;
  }

  works(): void {
    if (this.#event === undefined) return;
    this.#event = undefined;
    const { log, host } = this.#ports;
    log.info({ event: 'database.reachable', host }, 'the database can be used again');
  }

  fails(error: unknown): void {
    const { log, meter, host } = this.#ports;
    const event = error instanceof KeyRefusedError ? 'database.key_refused' : 'database.unreachable';
    if (event === this.#event) return;
    this.#event = event;
    meter.count(event);
    if (error instanceof KeyRefusedError) {
      const { variable } = error;
      log.error(
        { event, variable, host },
        `${variable} is refused by ${host}: no save can begin. Make the key valid again, or set a valid one and restart.`,
      );
    } else {
      log.error({ event, host, err: error }, 'the database cannot be used: no save can begin');
    }
  }
}

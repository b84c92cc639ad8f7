import type { ReplicaRegistry } from '../../ports/admission.ts';
import { DatabaseError } from '../../ports/database.ts';
import type { Job } from '../../ports/jobs.ts';
import type { Clock } from '../../ports/system.ts';
import { BEAT_MS, DatabaseClock, takeShare } from './replicas.ts';

interface HeartbeatPorts {
  registry: ReplicaRegistry;
  clock: Clock;
  /** Receives this replica's share of the rate, and the monotonic time at which the share expires. */
  share(part: number, until: number): void;
  /** Receives the result of each heartbeat. */
  database: { works(): void; fails(error: DatabaseError): void };
  /** Names this replica. */
  owner: string;
}

/** Records that this replica lives, and keeps what the database's answers report: its clock, and the last complete sweep. */
export class Heartbeat {
  readonly #ports: HeartbeatPorts;
  readonly #databaseClock: DatabaseClock;
  /** When the last complete sweep of any replica began, on the database's clock. Null: not known, or there was none. */
  sweptAt: string | null = null;

  constructor(ports: HeartbeatPorts) {
    this.#ports = ports;
    this.#databaseClock = new DatabaseClock(ports.clock);
  }

  readonly job: Job = {
    name: 'replica',
    intervalMs: BEAT_MS,
    run: async () => {
      await this.beat();
      return { kind: 'ran' };
    },
  };

  /** The database's clock, milliseconds since 1970, never ahead of it. Null: not known. */
  databaseTime(): number | null {
    return this.#databaseClock.now();
  }

  /** One heartbeat. False: the database could not be reached, so the share stays what it was until it expires. */
  async beat(): Promise<boolean> {
    const { registry, share, clock, owner, database } = this.#ports;
    try {
      const heard = await takeShare(registry, share, clock, owner);
      database.works();
      this.#databaseClock.heard(heard.now);
      this.sweptAt = heard.sweptAt;
      return true;
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      database.fails(error);
      return false;
    }
  }
}

import { DatabaseError } from '../ports/database.ts';
import type { Job, JobEnd, JobRunner } from '../ports/jobs.ts';
import type { Clock, Log } from '../ports/system.ts';

interface RunnerPorts {
  clock: Clock;
  log: Log;
  /** Aborted when the process stops: no run begins after that, and no pause goes on. */
  stopping: AbortSignal;
  /** Receives the life of each job, which ends after the last run and the release of the lease. */
  track(life: Promise<void>): void;
}

/** Runs jobs in this process, each in a loop of its own. */
export function createJobRunner(ports: RunnerPorts): JobRunner {
  return { start: (job) => ports.track(live(job, ports)) };
}

async function live(job: Job, { clock, log, stopping }: RunnerPorts): Promise<void> {
  /** The last failure. An outage is logged once and not at every try. */
  let failing: string | undefined;
  while (!stopping.aborted) {
    let end: JobEnd | { kind: 'failed' };
    try {
      end = await job.run(stopping);
      if (failing !== undefined) log.info({ work: job.name }, 'background work succeeds again');
      failing = undefined;
    } catch (error) {
      const away = error instanceof DatabaseError;
      const failure = away ? error.code : String(error);
      if (failure !== failing) {
        log.warn({ ...(away ? { code: failure } : { err: error }), work: job.name }, 'background work fails');
      }
      failing = failure;
      end = { kind: 'failed' };
    }
    await clock.sleep(pauseMs(job, end), stopping);
  }
  // If the database is away, the lease expires by itself.
  await job.release?.().catch(() => {});
}

function pauseMs({ intervalMs, retryMs = intervalMs }: Job, end: JobEnd | { kind: 'failed' }): number {
  switch (end.kind) {
    case 'ran':
      return intervalMs;
    case 'not_leader':
      return Math.min(intervalMs, end.leaseExpiresInMs);
    case 'failed':
    case 'skipped':
      return Math.min(intervalMs, retryMs);
  }
}

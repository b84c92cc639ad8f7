/** Background work that is repeated forever. Every job tolerates a second runner, in this process or in another one. */
export interface Job {
  /** Names the job in the log. */
  readonly name: string;
  /** Pause between two runs, milliseconds. The first run begins at once. */
  readonly intervalMs: number;
  /** Pause after a run that failed or was skipped, milliseconds. The interval, if that is shorter or if this is absent. */
  readonly retryMs?: number;
  /** One run. It ends early when `stopping` is aborted. A run that throws has failed, and the job runs again. */
  run(stopping: AbortSignal): Promise<JobEnd>;
  /** Releases the lease of the job when the process stops, so that another process can run the job at once. */
  release?(): Promise<void>;
}

export type JobEnd =
  | { kind: 'ran' }
  /** Something that the job needs is absent, such as the key. */
  | { kind: 'skipped' }
  /** Another process holds the lease of the job. It may be dead, so the job runs again when the lease expires. */
  | { kind: 'not_leader'; leaseExpiresInMs: number };

/** Runs jobs until the process stops. */
export interface JobRunner {
  start(job: Job): void;
}

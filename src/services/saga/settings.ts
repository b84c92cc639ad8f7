/** The times of the protocol, milliseconds. */
export interface SagaSettings {
  /** How long a saga may go without a sign of life before recovery takes it. */
  leaseMs: number;
  /** After this, recovery stops going forward and goes back. */
  deadlineMs: number;
  /** An undecided saga is answered as pending after this. */
  answerMs: number;
  /** How long after its timeout a request may still be applied. Assumed; to be measured on a live account. */
  lateMs: number;
  /** The deadline of one request to Vapi. */
  requestTimeoutMs: number;
}

/** Between the guard and the write: what a process may reasonably lose to its event loop. */
export const GUARD_MARGIN_MS = 1_000;

/** Will a request that is sent this long after the lease began have ended while the lease still holds? */
export function fitsLease(
  elapsedMs: number,
  { requestTimeoutMs, leaseMs }: Pick<SagaSettings, 'requestTimeoutMs' | 'leaseMs'>,
): boolean {
  return elapsedMs + requestTimeoutMs + GUARD_MARGIN_MS < leaseMs;
}

/** More than any call of the database takes: its client gives up after five seconds (src/env.ts). */
const SLOW_DATABASE_MS = 6_000;

/**
 * The lease of whoever takes a saga over. One owner must be able to do all that cannot be divided between two: find the resource
 * gone, look for what an earlier owner made, write. If every step took its whole time and the lease ended in between, the
 * next owner would begin at the beginning, and so on for ever (test/explorer shows it). The database is given what a
 * save needs it to be anyway, or no save could begin.
 */
export function recoveryLeaseMs({ leaseMs, requestTimeoutMs }: SagaSettings): number {
  const databaseMs = Math.min(leaseMs - requestTimeoutMs - GUARD_MARGIN_MS, SLOW_DATABASE_MS);
  return Math.max(leaseMs, databaseMs + 3 * requestTimeoutMs + GUARD_MARGIN_MS);
}

/** How long a request without an answer must be reckoned with: its own deadline, then what the provider may still do. */
export function lateTimeMs(settings: SagaSettings): number {
  return settings.requestTimeoutMs + settings.lateMs;
}

/**
 * Combinations under which a saga could not end, each with the reason, in which settings are named and never quoted. Empty = fine.
 * A quarantine may be longer than the lease: it is stored, and recovery takes the saga with a fresh lease after it.
 */
export function settingsProblems(settings: SagaSettings): { setting: keyof SagaSettings; problem: string }[] {
  const problems: { setting: keyof SagaSettings; problem: string }[] = [];
  if (settings.leaseMs <= settings.requestTimeoutMs + GUARD_MARGIN_MS) {
    problems.push({
      setting: 'leaseMs',
      problem: `must be more than requestTimeoutMs and a margin of ${GUARD_MARGIN_MS} together: one request to Vapi must fit inside a lease, or no save could ever send anything`,
    });
  }
  if (settings.deadlineMs <= settings.leaseMs) {
    problems.push({
      setting: 'deadlineMs',
      problem:
        'must be more than leaseMs: recovery would turn every abandoned save back without trying to finish it',
    });
  }
  return problems;
}

import type { SaveKind } from '../../domain/agents/save.ts';
import type { Admission } from '../../ports/admission.ts';
import type { SweepStore } from '../../ports/agents/sweep-store.ts';
import type { Job, JobEnd } from '../../ports/jobs.ts';
import type { SagaJournal } from '../../ports/saga-journal.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import { takingTurns } from '../admission/taking-turns.ts';
import type { SagaPorts } from '../saga/execute.ts';
import type { SagaDefinition } from '../saga/participant.ts';
import { type RecoveryRound, recoverSagas } from '../saga/recovery.ts';
import { lateTimeMs } from '../saga/settings.ts';
import type { TransactionalAgentUpdate } from './build.ts';
import { type SweepReport, sweep } from './drift/sweep.ts';
import type { SaveOutcome } from './execute.ts';

/** Pause after a sweep that failed or was skipped, milliseconds. */
const SWEEP_RETRY_MS = 10_000;
/** How long a request of the sweep may wait for a permit, milliseconds. */
const SWEEP_WAIT_MS = 30_000;
/** Pause between two cleanups, milliseconds, and how many saves one statement of a cleanup handles. */
const CLEANUP_INTERVAL_MS = 600_000;
const CLEANUP_BATCH = 500;

export interface AgentJobPorts<Voice extends Assistants = Assistants> {
  /** Of sagas of every kind. */
  journal: SagaJournal;
  /** The kinds of sagas that recovery can carry on. */
  kinds: readonly SagaDefinition<Voice>[];
  store: SweepStore;
  /** The provider of the active key. Null: there is no key, so recovery and the sweep are skipped. */
  voice(): Voice | null;
  executor: SagaPorts;
  /** The rate limiter. Absent: the rate is not limited. */
  admission: Admission | undefined;
  /** Lets the other work of the process run before it resolves. */
  pause(): Promise<void>;
  /** An ordinary save of the service's own, with the active key. */
  save(update: TransactionalAgentUpdate, kind: SaveKind): Promise<SaveOutcome>;
  /** Receives the time at which a complete sweep began, on the database's clock. */
  onSwept(at: string): void;
}

export interface AgentJobSettings {
  recoveryIntervalMs: number;
  /** 0: nothing looks for drift. */
  reconcileIntervalMs: number;
  /** Closed saves that made no revision are deleted after so many days. */
  saveRetentionDays: number;
}

/** The background work that agents need: recovery of abandoned saves, the sweep for drift, and the cleanup of old saves. */
export class AgentJobs<Voice extends Assistants = Assistants> {
  readonly #ports: AgentJobPorts<Voice>;
  readonly #settings: AgentJobSettings;
  #cleanedAt: number;

  constructor(ports: AgentJobPorts<Voice>, settings: AgentJobSettings) {
    this.#ports = ports;
    this.#settings = settings;
    this.#cleanedAt = ports.executor.clock.monotonic();
  }

  get jobs(): Job[] {
    const { recoveryIntervalMs, reconcileIntervalMs } = this.#settings;
    const recovery: Job = {
      name: 'recovery',
      intervalMs: recoveryIntervalMs,
      run: async (stopping) => ({ kind: (await this.recover(stopping)) === null ? 'skipped' : 'ran' }),
    };
    const cleanup: Job = {
      name: 'cleanup',
      intervalMs: CLEANUP_INTERVAL_MS,
      run: async (stopping) => {
        await this.cleanUp(stopping);
        return { kind: 'ran' };
      },
    };
    const reconciliation: Job = {
      name: 'sweep',
      intervalMs: reconcileIntervalMs,
      retryMs: SWEEP_RETRY_MS,
      run: async (stopping) => endOf(await this.sweep(stopping)),
      release: () => this.#ports.store.releaseLease(this.#ports.executor.owner),
    };
    return reconcileIntervalMs > 0 ? [recovery, cleanup, reconciliation] : [recovery, cleanup];
  }

  /** One round of recovery. Null: there is no key. Throws `DatabaseError`. */
  async recover(stopping: AbortSignal): Promise<RecoveryRound | null> {
    const { journal, kinds, executor } = this.#ports;
    const voice = this.#ports.voice();
    return voice === null ? null : recoverSagas(journal, voice, kinds, executor, stopping);
  }

  /** One sweep. Null: there is no key. Throws `DatabaseError`. */
  async sweep(stopping: AbortSignal): Promise<SweepReport | null> {
    const { store, executor, admission, pause, save, onSwept } = this.#ports;
    const { clock, log, meter, owner, settings } = executor;
    const voice = this.#ports.voice();
    if (voice === null) return null;
    const report = await sweep({
      ...{ store, clock, pause, stopping, log, meter, owner, save },
      voice: admission === undefined ? voice : takingTurns(voice, admission, 'sweep', SWEEP_WAIT_MS),
      leaseMs: sweepLeaseMs(this.#settings.reconcileIntervalMs),
      // Well past everything that a late request of a closed save could still do.
      orphanAgeMs: 2 * lateTimeMs(settings),
    });
    if (report.walkedAt !== null) onSwept(report.walkedAt);
    if (report.stopped !== 'NOT_LEADER') log.info({ event: 'sweep.done', ...report }, 'swept');
    return report;
  }

  /** Deletes idempotency keys, images and saves that are past their retention, until none is left. Throws `DatabaseError`. */
  async cleanUp(stopping: AbortSignal): Promise<void> {
    const { store, executor } = this.#ports;
    while (!stopping.aborted && (await store.cleanup(CLEANUP_BATCH, this.#settings.saveRetentionDays)) > 0);
    if (!stopping.aborted) this.#cleanedAt = executor.clock.monotonic();
  }

  /** Milliseconds since the last complete cleanup, or since the start if there was none. */
  cleanupAgeMs(): number {
    return this.#ports.executor.clock.monotonic() - this.#cleanedAt;
  }
}

function endOf(report: SweepReport | null): JobEnd {
  if (report === null) return { kind: 'skipped' };
  const { retryAfterMs } = report;
  return retryAfterMs === null ? { kind: 'ran' } : { kind: 'not_leader', leaseExpiresInMs: retryAfterMs };
}

/** Short compared with the interval, because the lease of a killed process must expire. Long compared with one step of the sweep. */
function sweepLeaseMs(reconcileIntervalMs: number): number {
  return reconcileIntervalMs === 0 ? 30_000 : Math.min(30_000, Math.max(5_000, reconcileIntervalMs / 10));
}

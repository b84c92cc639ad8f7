import type { Admission } from '../../ports/admission.ts';
import type { Job, JobEnd } from '../../ports/jobs.ts';
import type { KnowledgeBaseStore } from '../../ports/knowledge-base/knowledge-base-store.ts';
import type { Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { RemoteFiles, RemoteResources } from '../../ports/voice-provider.ts';
import { takingTurns } from '../admission/taking-turns.ts';
import { type KnowledgeSweepReport, sweepKnowledgeBase } from './sweep.ts';
import { type KnowledgeBaseSagas, workOnKnowledgeBase } from './work.ts';

export interface KnowledgeBaseJobPorts {
  store: KnowledgeBaseStore;
  sagas: KnowledgeBaseSagas;
  /** The provider of the active key. Null: there is no key, so the jobs are skipped. */
  voice(): { readonly files: RemoteFiles; readonly tools: RemoteResources } | null;
  /** The rate limiter. Absent: the rate is not limited. */
  admission: Admission | undefined;
  log: Log;
  meter: Meter;
  /** Names this process; one replica does the work at a time. */
  owner: string;
  /** How long what a closed saga has left is left alone before it is called an orphan, milliseconds. */
  orphanAgeMs: number;
}

export interface KnowledgeBaseJobSettings {
  /** Pause between two looks at what is due, as of recovery, milliseconds. */
  recoveryIntervalMs: number;
  /** 0: nothing looks for files and tools that were deleted or edited in Vapi. */
  reconcileIntervalMs: number;
}

const WORK = 'knowledge-base';
const SWEEP = 'knowledge-base-sweep';
/** The lease of a process that was killed must expire. Sagas that outlive it do no harm: each checks that it is still to be done. */
const LEASE_MS = 30_000;
const RETRY_MS = 10_000;
/** How long a request in the background may wait for a permit, milliseconds. */
const WAIT_MS = 30_000;

/** The background work of the knowledge base: what is due, and the sweep of files and tools. */
export class KnowledgeBaseJobs {
  readonly #ports: KnowledgeBaseJobPorts;
  readonly #settings: KnowledgeBaseJobSettings;

  constructor(ports: KnowledgeBaseJobPorts, settings: KnowledgeBaseJobSettings) {
    this.#ports = ports;
    this.#settings = settings;
  }

  get jobs(): Job[] {
    const { recoveryIntervalMs, reconcileIntervalMs } = this.#settings;
    const work = this.#leased(WORK, recoveryIntervalMs, (stopping) => this.work(stopping));
    const sweep = this.#leased(SWEEP, reconcileIntervalMs, (stopping) => this.sweep(stopping));
    return reconcileIntervalMs > 0 ? [work, sweep] : [work];
  }

  #leased(name: string, intervalMs: number, run: (stopping: AbortSignal) => Promise<unknown>): Job {
    const { store, owner } = this.#ports;
    const lease = store.lease(name);
    return {
      ...{ name, intervalMs, retryMs: RETRY_MS },
      run: async (stopping): Promise<JobEnd> => {
        if (this.#ports.voice() === null) return { kind: 'skipped' };
        const leaseExpiresInMs = await lease.takeLease(owner, LEASE_MS);
        if (leaseExpiresInMs > 0) return { kind: 'not_leader', leaseExpiresInMs };
        return { kind: (await run(stopping)) === null ? 'skipped' : 'ran' };
      },
      release: () => lease.releaseLease(owner),
    };
  }

  /** Does what is due now. Returns how much that was; null: there is no key. Throws `DatabaseError`. */
  async work(stopping: AbortSignal): Promise<number | null> {
    const voice = this.#voice(WORK);
    if (voice === null) return null;
    return workOnKnowledgeBase({ ...this.#ports, files: voice.files }, stopping);
  }

  /** One sweep. Null: there is no key. Throws `DatabaseError`. */
  async sweep(stopping: AbortSignal): Promise<KnowledgeSweepReport | null> {
    const voice = this.#voice(SWEEP);
    if (voice === null) return null;
    return sweepKnowledgeBase({ ...this.#ports, files: voice.files, tools: voice.tools }, stopping);
  }

  /** Each request takes its turn. The sagas take turns of their own. */
  #voice(name: string) {
    const voice = this.#ports.voice();
    const { admission } = this.#ports;
    if (voice === null || admission === undefined) return voice;
    const { files, tools } = voice;
    return takingTurns({ files, tools }, admission, name, WAIT_MS);
  }
}

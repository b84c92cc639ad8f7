import type { SaveKind } from '../../domain/agents/save.ts';
import type { Admission } from '../../ports/admission.ts';
import type { EventServer, RenderStore, StaleAgent } from '../../ports/agents/render-store.ts';
import type { SweepStore } from '../../ports/agents/sweep-store.ts';
import type { Job, JobEnd } from '../../ports/jobs.ts';
import type { Clock, Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import { takingTurns } from '../admission/taking-turns.ts';
import type { TransactionalAgentUpdate } from './build.ts';
import { look } from './drift/look.ts';
import type { SaveOutcome } from './execute.ts';
import { MAPPING_VERSION } from './render.ts';

/** How many agents one round renders at most: a new mapping version concerns all agents, and saves by users come first. */
const AT_ONCE = 20;
/** How long a request may wait for a permit, milliseconds. */
const WAIT_MS = 30_000;
/** Longer than one agent takes. The lease is renewed before each. */
const LEASE_MS = 60_000;
/** How long an agent is left alone whose save failed, milliseconds: Vapi most likely refuses it again. */
const FAILED_WAIT_MS = 600_000;

export interface RenderJobPorts {
  renders: RenderStore;
  store: SweepStore;
  /** The provider of the active key. Null: there is no key, so the job is skipped. */
  voice(): Assistants | null;
  /** Where this server is to receive the events of calls; null: nowhere. Asked once it listens. */
  eventServer(): EventServer | null;
  /** The rate limiter. Absent: the rate is not limited. */
  admission: Admission | undefined;
  /** An ordinary save of the service's own, with the active key. */
  save(update: TransactionalAgentUpdate, kind: SaveKind): Promise<SaveOutcome>;
  clock: Pick<Clock, 'monotonic'>;
  log: Log;
  meter: Meter;
  /** Names this process; one replica renders at a time. */
  owner: string;
}

export interface RenderReport {
  /** Null: the round went through. Otherwise for how long another replica holds the lease, milliseconds. */
  leaseExpiresInMs: number | null;
  rendered: number;
  /** Agents that were left as they are: edited in Vapi, being saved, refused, or Vapi could not be read. */
  left: number;
}

/**
 * Saves agents again whose document would be rendered differently now: by a newer mapping version, or because something besides
 * their configuration has changed, such as the organization's tool or the address of this server. Such a save changes no configuration and no revision.
 *
 * Only an agent that Vapi shows unchanged is saved: what somebody edited there is for the sweep, by the organization's drift policy.
 * A save by a user wins: this one names the save that it has seen.
 */
export class RenderJob {
  readonly #ports: RenderJobPorts;
  readonly #intervalMs: number;
  readonly #failedAt = new Map<string, number>();
  /** Where the next round begins, so that agents that are left do not keep the others from their turn. */
  #after: string | null = null;
  #announced = false;

  constructor(ports: RenderJobPorts, intervalMs: number) {
    this.#ports = ports;
    this.#intervalMs = intervalMs;
  }

  get job(): Job {
    const { renders, owner } = this.#ports;
    return {
      name: 'render',
      intervalMs: this.#intervalMs,
      run: async (stopping) => endOf(await this.round(stopping)),
      release: () => renders.releaseLease(owner),
    };
  }

  /** One round. Null: there is no key. Throws `DatabaseError`. */
  async round(stopping: AbortSignal): Promise<RenderReport | null> {
    const { renders, admission, owner } = this.#ports;
    await this.#announce();
    const active = this.#ports.voice();
    if (active === null) return null;
    const voice = admission === undefined ? active : takingTurns(active, admission, 'render', WAIT_MS);
    const report: RenderReport = { leaseExpiresInMs: null, rendered: 0, left: 0 };
    const isLeader = async () => {
      const waitMs = await renders.takeLease(owner, LEASE_MS);
      if (waitMs > 0) report.leaseExpiresInMs = waitMs;
      return waitMs === 0;
    };
    if (!(await isLeader())) return report;
    const page = await renders.stale(MAPPING_VERSION, this.#after, AT_ONCE);
    this.#after = page.length < AT_ONCE ? null : (page.at(-1)?.agentId ?? null);
    for (const agent of page) {
      if (this.#hasJustFailed(agent)) continue;
      if (stopping.aborted || !(await isLeader())) break;
      if (await this.#render(voice, agent)) report.rendered += 1;
      else report.left += 1;
    }
    return report;
  }

  /**
   * Once in the life of a process: while two replicas have different settings, such as during a deployment, the one that started last
   * decides, and agents are not moved back and forth.
   */
  async #announce(): Promise<void> {
    if (this.#announced) return;
    const server = this.#ports.eventServer();
    if (await this.#ports.renders.setEventServer(server)) {
      this.#ports.log.info(
        { event: 'vapi.event_server', url: server?.url ?? null },
        server === null ? 'agents send no events any more' : 'agents send their events here from now on',
      );
    }
    this.#announced = true;
  }

  #hasJustFailed({ agentId }: StaleAgent): boolean {
    const failedAt = this.#failedAt.get(agentId);
    if (failedAt === undefined) return false;
    if (this.#ports.clock.monotonic() - failedAt < FAILED_WAIT_MS) return true;
    this.#failedAt.delete(agentId);
    return false;
  }

  /** Returns true if the agent was saved. */
  async #render(voice: Assistants, agent: StaleAgent): Promise<boolean> {
    const { store, clock, log, meter } = this.#ports;
    const { orgId, agentId, role, revision, saveId } = agent;
    const verdict = await look({ store, voice }, agent);
    if (verdict.kind !== 'same') {
      log.debug({ agentId, verdict: verdict.kind }, 'not rendered this time');
      return false;
    }
    const outcome = await this.#ports.save(
      {
        ...{ orgId, agentId, role, payload: {}, recreateIfMissing: false },
        ...{ expectedRevision: revision, expectedSaveId: saveId },
      },
      'RENDER',
    );
    if (outcome.kind === 'committed') {
      meter.count('agent.rendered');
      log.info({ event: 'agent.rendered', orgId, agentId, role, saveId: outcome.save.id }, 'rendered anew');
      return true;
    }
    if (outcome.kind === 'failed') this.#failedAt.set(agentId, clock.monotonic());
    log.info({ agentId, outcome: outcome.kind }, 'not rendered this time');
    return false;
  }
}

function endOf(report: RenderReport | null): JobEnd {
  if (report === null) return { kind: 'skipped' };
  const { leaseExpiresInMs } = report;
  return leaseExpiresInMs === null ? { kind: 'ran' } : { kind: 'not_leader', leaseExpiresInMs };
}

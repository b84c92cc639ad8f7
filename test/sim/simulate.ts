import { AGENT_ROLES, type AgentConfig, type AgentRole } from '../../src/domain/agents/agent-config.ts';
import type { AgentRecord } from '../../src/domain/agents/save.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { ANY_AGENTS, buildTransactionalUpdates } from '../../src/services/agents/build.ts';
import { adoptOrRevert } from '../../src/services/agents/drift/settle-drift.ts';
import { AGENT_SAGA } from '../../src/services/agents/participant.ts';
import { renderAssistant } from '../../src/services/agents/render.ts';
import { ValidationError } from '../../src/services/errors.ts';
import { lateTimeMs } from '../../src/services/saga/settings.ts';
import { settleSaga } from '../../src/services/saga/settle.ts';
import type { Violation } from './checks.ts';
import { portsOf, type SaveRow } from './journal-model.ts';
import type { Act, FaultAct, Plan } from './plan.ts';
import { type Call, type Counts, type FaultSource, type Planted, type Strike, World } from './world.ts';

/** src/services/agents/drift/sweep.ts: how long a sweep is one replica's. */
const SWEEP_LEASE_MS = 60_000;

/** One run: first faults, and what must hold under them; then none, and everything must come to rest in time. */

export interface Run {
  plan: Plan;
  violation: Violation | null;
  counts: Counts;
  /** Acts that struck something, by kind. */
  fired: Record<string, number>;
  sum: string;
  log: string[];
  /** Virtual milliseconds from the end of the faults until everything was at rest; null = there was a violation before. */
  restAfterMs: number | null;
}

export async function simulate(
  planned: Plan,
  options: { planted?: Planted; keepLog?: boolean } = {},
): Promise<Run> {
  const isSwept = options.planted?.background?.sweep !== false;
  const plan = isSwept ? planned : withoutPeople(planned);
  const faults = new PlannedFaults(plan);
  const world = new World({
    seed: plan.seed,
    settings: plan.settings,
    replicas: plan.replicas,
    organizations: plan.organizations,
    recoveryIntervalMs: plan.recoveryIntervalMs,
    reconcileIntervalMs: plan.reconcileIntervalMs,
    bounded: plan.bounded,
    ...(plan.skew === undefined ? {} : { skew: plan.skew }),
    faults,
    ...(options.planted === undefined ? {} : { planted: options.planted }),
    ...(options.keepLog === undefined ? {} : { keepLog: options.keepLog }),
  });
  faults.world = world;
  for (const act of plan.acts) if (act.act !== 'fault') world.act(act.at, () => perform(world, act));

  await world.runUntil(plan.faultsUntil);
  const restAfterMs = await comeToRest(world, plan, faults);
  if (world.violation === null) world.checks.atTheEnd();
  return {
    plan,
    violation: world.violation,
    counts: world.counts,
    fired: faults.fired,
    sum: world.sum,
    log: world.log,
    restAfterMs,
  };
}

/** Why runs in which nothing was violated prove nothing all the same; null = they count. */
export function vacuity(counts: Pick<Counts, 'strikes' | 'told'>): string | null {
  if (counts.strikes === 0) return 'no fault struck anything';
  return (counts.told['committed'] ?? 0) === 0 ? 'nothing was acknowledged' : null;
}

/** What people do in the Vapi dashboard is for the sweep to see: without one, nothing of the kind happens. */
function withoutPeople(plan: Plan): Plan {
  const acts = plan.acts.filter(({ act }) => act !== 'edit' && act !== 'remove' && act !== 'settle-drift');
  return { ...plan, reconcileIntervalMs: 0, acts };
}

/** No more faults: within how long everything must be at rest, and one sweep later without a difference. */
async function comeToRest(world: World, plan: Plan, faults: PlannedFaults): Promise<number | null> {
  const { settings, recoveryIntervalMs, reconcileIntervalMs } = plan;
  faults.over = true;
  world.isQuiet = true;
  world.record('the faults are over');
  for (const name of world.replicaNames) {
    world.resume(name);
    world.boot(name);
  }
  // Every answer first; then forward until the deadline, twice a quarantine (an unknown POST, then the undo), a lease for
  // each owner on the way.
  const bound =
    settings.answerMs +
    settings.deadlineMs +
    3 * lateTimeMs(settings) +
    6 * settings.leaseMs +
    8 * recoveryIntervalMs +
    longestDelay(plan);
  const from = world.elapsed;
  const atRest = () =>
    world.inFlight === 0 &&
    (world.model.lastFence ?? 0) <= world.model.now &&
    world.model.openSaves.every(({ status }) => status === 'NEEDS_ATTENTION');
  await world.runUntil(from + settings.answerMs);
  await world.runUntil(from + bound, atRest);
  if (world.violation !== null) return null;
  const restAfterMs = atRest() ? world.elapsed - from : null;
  if (restAfterMs === null)
    world.checks.violate('nothing is open past its time', `not at rest ${bound} ms after the last fault`);
  await world.runUntil(world.elapsed + lateTimeMs(settings), () => world.model.openSaves.length === 0);
  for (const save of world.model.openSaves) if (save.status === 'NEEDS_ATTENTION') await operate(world, save);
  await world.runUntil(world.elapsed + lateTimeMs(settings));
  if (reconcileIntervalMs > 0) {
    await sweepOnce();
    for (const orgId of world.orgIds) world.checks.restOf(orgId, true);
    // What a save made and did not keep is left alone until it is old enough.
    await world.runUntil(world.elapsed + 2 * lateTimeMs(settings) + 1);
    await sweepOnce();
  }
  return restAfterMs;

  /** One whole sweep from now on. A leader that died keeps the others waiting for its lease. */
  async function sweepOnce(): Promise<void> {
    const now = world.elapsed;
    await world.runUntil(now + SWEEP_LEASE_MS + 3 * reconcileIntervalMs + settings.leaseMs, () =>
      world.sweeps.some((began) => began >= now),
    );
    if (world.sweeps.every((began) => began < now))
      world.checks.violate('nothing is open past its time', 'nobody sweeps');
  }
}
function longestDelay(plan: Plan): number {
  return Math.max(
    0,
    ...plan.acts.map((act) => {
      if (act.act !== 'fault') return 0;
      return 'ms' in act.strike ? act.strike.ms : 0;
    }),
  );
}

function configOf({ content }: { content: JsonObject }): AgentConfig {
  return content as unknown as AgentConfig;
}

/** What an operator does with a save that needs attention: puts Vapi right by hand, one way or the other, and says so. */
async function operate(world: World, save: SaveRow): Promise<void> {
  const images = world.model.imagesOf(save.id).map((image) => ({
    ...image,
    madeId: image.remoteId ?? save.results.find(({ key }) => key === image.key)?.remoteId ?? null,
  }));
  const isThere = (id: string | null) => world.store.all().some((assistant) => assistant.id === id);
  // What somebody has deleted cannot be committed any more.
  const to =
    save.startedAt % 2 === 0 && images.every(({ madeId }) => isThere(madeId)) ? 'COMMITTED' : 'ROLLED_BACK';
  for (const image of images) {
    const assistantId = image.madeId;
    if (assistantId === null || !isThere(assistantId)) continue;
    const stamp = {
      deployment: world.model.deployment,
      orgId: save.orgId,
      agentId: image.resourceId,
      role: image.key as AgentRole,
    };
    if (to === 'COMMITTED') {
      const { revision, context } = image.after;
      const config = configOf(image.after);
      const document = renderAssistant(
        save.mappingVersion,
        config,
        { ...stamp, saveId: save.id, revision },
        context,
      );
      world.edit(assistantId, document);
    } else if (image.remoteId === null || image.before === null) {
      world.remove(assistantId);
    } else {
      const { mappingVersion, sagaId, revision, context } = image.before;
      const config = configOf(image.before);
      const document = renderAssistant(
        mappingVersion,
        config,
        { ...stamp, saveId: sagaId, revision },
        context,
      );
      world.edit(assistantId, document);
    }
  }
  const voice = {
    getAssistant: async (id: string) => {
      const found = world.store.all().find((assistant) => assistant.id === id);
      return found === undefined ? { kind: 'gone' } : { kind: 'ok', value: found };
    },
    listAssistants: async () => ({ kind: 'ok', value: [{ id: 'of-somebody-else', orgId: 'vapi' }] }),
  };
  const ports = { journal: portsOf(world.model).journal, settings: world.settings };
  const settlement = await settleSaga(
    { ...ports, kinds: [AGENT_SAGA], voice: voice as never, account: async () => 'vapi' },
    save.orgId,
    save.id,
    to,
  );
  world.checks.databaseCalled(save.orgId, 'settle');
  world.record(`an operator settles ${save.id}: ${JSON.stringify(settlement)}`);
}

function perform(world: World, act: Exclude<Act, FaultAct>): void {
  const orgId = 'org' in act ? (world.orgIds[act.org] ?? '') : '';
  switch (act.act) {
    case 'save': {
      const payload = (role: AgentRole) => {
        const config = act.changes[role];
        if (config === undefined) return null;
        const revision = world.model.agentsOf(orgId).find((agent) => agent.role === role)?.revision ?? 0;
        return {
          config,
          expectedRevision:
            act.expected === 'none' ? null : act.expected === 'current' ? revision : revision + 1,
          recreateIfMissing: act.recreateIfMissing,
        };
      };
      const updates = buildTransactionalUpdates(orgId, ANY_AGENTS, payload('INBOUND'), payload('OUTBOUND'));
      void world
        .save(act.replica, updates, { idempotencyKey: act.key, actor: 'somebody' })
        .then((outcome) => {
          if (outcome?.kind !== 'in_progress' || act.insist === 0 || world.isQuiet) return;
          world.act(act.everyMs, () => perform(world, { ...act, insist: act.insist - 1 }));
        });
      return;
    }
    case 'edit': {
      const assistantId = world.assistantOf(orgId, act.role);
      if (assistantId === null) return;
      const current = world.store.all().find(({ id }) => id === assistantId);
      const model = (current?.['model'] ?? {}) as object;
      const metadata = (current?.['metadata'] ?? {}) as object;
      world.edit(
        assistantId,
        act.what === 'name'
          ? { name: 'Edited by hand' }
          : act.what === 'tools'
            ? { model: { ...model, toolIds: ['tool'] } as never }
            : act.what === 'metadata'
              ? { metadata: { ...metadata, team: 'sales' } as never }
              : { metadata: {} },
      );
      return;
    }
    case 'remove': {
      const assistantId = world.assistantOf(orgId, act.role);
      if (assistantId !== null) world.remove(assistantId);
      return;
    }
    case 'settle-drift': {
      const agents = AGENT_ROLES.flatMap((role) => {
        const row = world.model.agentsOf(orgId).find((agent) => agent.role === role);
        return row === undefined ? [] : [{ ...row, lastSyncedAt: null, checkedAt: null, missing: false }];
      }) satisfies AgentRecord[];
      try {
        const { update, kind } = adoptOrRevert(orgId, agents, act);
        void world.save(act.replica, [update], { kind });
      } catch (error) {
        if (!(error instanceof ValidationError)) throw error;
      }
      return;
    }
    case 'policy':
      world.model.setDriftPolicy(orgId, act.policy);
      return;
    case 'crash':
      world.crash(act.replica);
      world.act(act.downMs, () => world.boot(act.replica));
      return;
    case 'pause':
      world.pause(act.replica);
      world.act(act.ms, () => world.resume(act.replica));
      return;
    case 'clock':
      world.stepClock(act.replica, act.ms);
      return;
  }
}

class PlannedFaults implements FaultSource {
  world: World | null = null;
  over = false;
  readonly fired: Record<string, number> = {};
  readonly #acts: { act: FaultAct; left: number }[];

  constructor(plan: Plan) {
    this.#acts = plan.acts
      .filter((act): act is FaultAct => act.act === 'fault')
      .map((act) => ({ act, left: 'times' in act ? act.times : Number.POSITIVE_INFINITY }));
  }

  strike(call: Call): Strike | null {
    if (this.over) return null;
    for (const one of this.#acts) {
      const { act } = one;
      if (
        one.left === 0 ||
        act.at > call.at ||
        ('forMs' in act && act.at + act.forMs < call.at) ||
        act.system !== call.system ||
        (act.op !== null && act.op !== call.op) ||
        (act.replica !== null && act.replica !== call.replica) ||
        (act.org !== null && this.world?.orgIds[act.org] !== call.orgId) ||
        !strikes(act.strike, call)
      ) {
        continue;
      }
      one.left -= 1;
      const { strike } = act;
      const name = `${act.system} ${strike.what}`;
      this.fired[name] = (this.fired[name] ?? 0) + 1;
      if (strike.what.startsWith('crash')) {
        const { replica } = call;
        this.world?.act(this.world.settings.leaseMs / 2, () => this.world?.boot(replica));
      }
      return strike;
    }
    return null;
  }
}

/** A look cannot be rejected or get a wrong body. */
function strikes(strike: Strike, call: Call): boolean {
  return !(
    (strike.what === 'rejected' || strike.what === 'wrong-body') &&
    call.system === 'vapi' &&
    (call.op === 'GET' || call.op === 'LIST' || (strike.what === 'wrong-body' && call.op === 'DELETE'))
  );
}

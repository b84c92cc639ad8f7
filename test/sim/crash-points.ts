import type { AgentRole } from '../../src/domain/agents/agent-config.ts';
import { ANY_AGENTS, buildTransactionalUpdates } from '../../src/services/agents/build.ts';
import { lateTimeMs, type SagaSettings } from '../../src/services/saga/settings.ts';
import type { Violation } from './checks.ts';
import { type Call, type FaultSource, type Strike, World } from './world.ts';

/**
 * The plug is pulled at every call of every port: before it, after its effect but before its answer, and while it is on its
 * way, to take effect as late as can be. Recovery then is killed at each of its own calls likewise, and a third process finds what is left. The calls number themselves, so a call
 * that is added to the product is a crash point the same day.
 */
export interface Scenario {
  name: string;
  /** Saved, undisturbed, before the save under test. */
  before: AgentRole[];
  /** Whose assistant somebody deletes after that, and one save has noticed. */
  missing?: AgentRole;
  /** Whose assistant somebody deletes after that, and the save under test is the first to notice. */
  deleted?: AgentRole;
  roles: AgentRole[];
  /** What Vapi does to the save under test: by operation, and which of its calls, counted from 1. */
  vapi?: { op: 'POST' | 'PATCH' | 'DELETE'; nth: number; strike: Strike }[];
  settings?: Partial<SagaSettings>;
}

const LATE: Strike = { what: 'late', ms: 15_000 };
const BOTH: AgentRole[] = ['INBOUND', 'OUTBOUND'];

export const SCENARIOS: Scenario[] = [
  { name: 'two agents are changed', before: BOTH, roles: BOTH },
  { name: 'two agents are made', before: [], roles: BOTH },
  { name: 'one is made, one is changed', before: ['INBOUND'], roles: BOTH },
  { name: 'a missing assistant is made anew', before: BOTH, missing: 'OUTBOUND', roles: BOTH },
  {
    name: 'an assistant turns out to be gone and is made anew',
    before: BOTH,
    deleted: 'OUTBOUND',
    roles: BOTH,
  },
  {
    name: 'an assistant turns out to be gone, its creation gets no answer',
    before: BOTH,
    deleted: 'OUTBOUND',
    roles: BOTH,
    vapi: [{ op: 'POST', nth: 1, strike: LATE }],
  },
  {
    name: 'an assistant turns out to be gone, its creation is rejected',
    before: BOTH,
    deleted: 'OUTBOUND',
    roles: BOTH,
    vapi: [{ op: 'POST', nth: 1, strike: { what: 'rejected' } }],
  },
  {
    name: 'an assistant turns out to be gone and is made anew, its sibling is rejected',
    before: BOTH,
    deleted: 'OUTBOUND',
    roles: BOTH,
    vapi: [{ op: 'PATCH', nth: 1, strike: { what: 'rejected' } }],
  },
  {
    name: 'the second change is rejected',
    before: BOTH,
    roles: BOTH,
    vapi: [{ op: 'PATCH', nth: 2, strike: { what: 'rejected' } }],
  },
  {
    name: 'the second creation is rejected',
    before: [],
    roles: BOTH,
    vapi: [{ op: 'POST', nth: 2, strike: { what: 'rejected' } }],
  },
  {
    name: 'a change gets no answer and is applied late',
    before: BOTH,
    roles: BOTH,
    vapi: [{ op: 'PATCH', nth: 1, strike: LATE }],
  },
  {
    name: 'a creation gets no answer and is applied late',
    before: [],
    roles: BOTH,
    vapi: [{ op: 'POST', nth: 1, strike: LATE }],
  },
  {
    name: 'a creation gets no answer and is lost',
    before: [],
    roles: BOTH,
    vapi: [{ op: 'POST', nth: 2, strike: { what: 'hang-before' } }],
  },
  {
    name: 'a creation gets no answer, its sibling is rejected',
    before: [],
    roles: BOTH,
    vapi: [
      { op: 'POST', nth: 1, strike: LATE },
      { op: 'POST', nth: 2, strike: { what: 'rejected' } },
    ],
  },
  {
    name: 'a change gets no answer, its sibling is rejected',
    before: BOTH,
    roles: BOTH,
    vapi: [
      { op: 'PATCH', nth: 1, strike: LATE },
      { op: 'PATCH', nth: 2, strike: { what: 'rejected' } },
      { op: 'PATCH', nth: 3, strike: LATE },
    ],
  },
  {
    name: 'the undo of a change gets no answer',
    before: BOTH,
    roles: BOTH,
    vapi: [
      { op: 'PATCH', nth: 2, strike: { what: 'rejected' } },
      { op: 'PATCH', nth: 3, strike: LATE },
    ],
  },
  {
    name: 'the undo of a creation gets no answer',
    before: [],
    roles: BOTH,
    vapi: [
      { op: 'POST', nth: 1, strike: { what: 'wrong-body' } },
      { op: 'DELETE', nth: 1, strike: { what: 'reset-before' } },
    ],
  },
  {
    name: 'no request arrives',
    before: BOTH,
    roles: BOTH,
    vapi: [1, 2, 3, 4, 5, 6].map((nth) => ({ op: 'PATCH', nth, strike: { what: 'not-sent' } })),
  },
];

/** As delivered, but for a recovery that looks every ten seconds. */
const SETTINGS: SagaSettings = {
  leaseMs: 17_000,
  deadlineMs: 120_000,
  answerMs: 12_000,
  lateMs: 22_000,
  requestTimeoutMs: 10_000,
};
const RECOVERY_MS = 10_000;

interface CrashPoint {
  nth: number;
  side: 'crash-before' | 'crash-after' | 'crash-late';
}

export interface CrashReport {
  cases: number;
  /** Calls of the save under test, and the most that one recovery of it made. */
  calls: number;
  recoveryCalls: number;
  /** How the saves under test ended. */
  ends: Record<string, number>;
  violation: (Violation & { case: string; log: string[] }) | null;
}

export async function pullThePlug(scenario: Scenario): Promise<CrashReport> {
  const report: CrashReport = { cases: 0, calls: 0, recoveryCalls: 0, ends: {}, violation: null };
  const whole = await run(scenario, null, null);
  report.calls = whole.calls;
  for (const first of points(whole.calls)) {
    const once = await run(scenario, first, null);
    note(once, first, null);
    report.recoveryCalls = Math.max(report.recoveryCalls, once.recoveryCalls);
    for (const second of points(once.recoveryCalls)) note(await run(scenario, first, second), first, second);
    if (report.violation !== null) break;
  }
  return report;

  function note(one: Awaited<ReturnType<typeof run>>, first: CrashPoint, second: CrashPoint | null): void {
    report.cases += 1;
    report.ends[one.end] = (report.ends[one.end] ?? 0) + 1;
    if (one.world.violation === null || report.violation !== null) return;
    const told = (point: CrashPoint | null) => (point === null ? 'none' : `${point.side} call ${point.nth}`);
    report.violation = {
      ...one.world.violation,
      case: `${scenario.name}; first process: ${told(first)}; recovery: ${told(second)}`,
      log: one.world.log,
    };
  }
}

function points(calls: number): CrashPoint[] {
  return Array.from({ length: calls }, (_, index) => index + 1).flatMap((nth) => [
    { nth, side: 'crash-before' as const },
    { nth, side: 'crash-after' as const },
    { nth, side: 'crash-late' as const },
  ]);
}

async function run(
  scenario: Scenario,
  first: CrashPoint | null,
  second: CrashPoint | null,
): Promise<{ world: World; calls: number; recoveryCalls: number; end: string }> {
  const faults = new CrashFaults(scenario, first, second);
  const settings = { ...SETTINGS, ...scenario.settings };
  const world = new World({
    seed: 1,
    settings,
    replicas: 3,
    organizations: 1,
    recoveryIntervalMs: 0,
    reconcileIntervalMs: 0,
    bounded: true,
    latency: false,
    keepLog: true,
    faults,
  });
  const [orgId = ''] = world.orgIds;
  const updates = (roles: AgentRole[], prompt: string) => {
    const payload = (role: AgentRole) =>
      roles.includes(role)
        ? {
            config: { systemPrompt: `${prompt} ${role}` },
            expectedRevision: null,
            recreateIfMissing: prompt === 'new',
          }
        : null;
    return buildTransactionalUpdates(orgId, ANY_AGENTS, payload('INBOUND'), payload('OUTBOUND'));
  };
  const save = (replica: string, roles: AgentRole[], prompt: string, key: string | null) => {
    world.act(0, () => void world.save(replica, updates(roles, prompt), { idempotencyKey: key }));
    return world.runUntil(world.elapsed + settings.answerMs);
  };

  if (scenario.before.length > 0) await save('r3', scenario.before, 'old', null);
  if (scenario.missing !== undefined) {
    world.remove(world.assistantOf(orgId, scenario.missing) ?? '');
    await save('r3', [scenario.missing], 'refused', null);
  }

  if (scenario.deleted !== undefined) world.remove(world.assistantOf(orgId, scenario.deleted) ?? '');

  faults.watched = 'r1';
  const lapses = world.elapsed + settings.leaseMs;
  await save('r1', scenario.roles, 'new', 'the key');
  // The moment at which somebody else may take it, with requests of the first still on their way.
  await world.runUntil(lapses + 1);
  faults.watched = 'r2';
  await recoverUntilRest('r2');
  faults.watched = null;
  await recoverUntilRest('r3');
  await world.runUntil(world.elapsed + lateTimeMs(settings));
  const end =
    world.model.savesOf(orgId).find(({ idempotencyKey }) => idempotencyKey === 'the key')?.status ??
    'never begun';
  // The caller asks again: the same answer, or the save at last.
  await save('r3', scenario.roles, 'new', 'the key');
  await world.runUntil(world.elapsed + lateTimeMs(settings));
  if (world.violation === null) world.checks.atTheEnd();
  return { world, calls: faults.counted['r1'] ?? 0, recoveryCalls: faults.counted['r2'] ?? 0, end };

  async function recoverUntilRest(replica: string): Promise<void> {
    const until = world.elapsed + settings.deadlineMs + 4 * lateTimeMs(settings) + 4 * settings.leaseMs;
    while (
      world.isAlive(replica) &&
      (world.model.openSaves.length > 0 || world.inFlight > 0) &&
      world.elapsed < until &&
      world.violation === null
    ) {
      let isOver = false;
      world.act(0, () => void world.recover(replica).then(() => (isOver = true)));
      await world.runUntil(until, () => isOver || !world.isAlive(replica));
      await world.runUntil(world.elapsed + RECOVERY_MS);
    }
  }
}

class CrashFaults implements FaultSource {
  /** Whose calls are counted now. */
  watched: 'r1' | 'r2' | null = null;
  readonly counted: Record<string, number> = {};
  readonly #scenario: Scenario;
  readonly #points: Record<string, CrashPoint | null>;
  readonly #lateMs = lateTimeMs(SETTINGS) - 1;
  readonly #ops: Record<string, number> = {};

  constructor(scenario: Scenario, first: CrashPoint | null, second: CrashPoint | null) {
    this.#scenario = scenario;
    this.#points = { r1: first, r2: second };
  }

  strike(call: Call): Strike | null {
    if (call.replica !== this.watched) return null;
    const nth = (this.counted[call.replica] ?? 0) + 1;
    this.counted[call.replica] = nth;
    const point = this.#points[call.replica];
    // As late as a request can be applied.
    if (point?.nth === nth)
      return point.side === 'crash-late' ? { what: point.side, ms: this.#lateMs } : { what: point.side };
    // What goes wrong at Vapi goes wrong for the first process only; the plug is what recovery has to fear.
    if (call.replica !== 'r1' || call.system !== 'vapi') return null;
    const ofOp = (this.#ops[call.op] ?? 0) + 1;
    this.#ops[call.op] = ofOp;
    return (
      this.#scenario.vapi?.find(({ op, nth: wanted }) => op === call.op && wanted === ofOp)?.strike ?? null
    );
  }
}

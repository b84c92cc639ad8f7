import type { AgentRole } from '../../src/domain/agents/agent-config.ts';
import { GUARD_MARGIN_MS, type SagaSettings } from '../../src/services/saga/settings.ts';
import { Seeded } from './random.ts';
import type { Call, Strike } from './world.ts';

/** One run of the simulation as data: made from a seed, and small enough to read once it is shrunk. */
export interface Plan {
  seed: number;
  settings: SagaSettings;
  recoveryIntervalMs: number;
  /** 0: nobody sweeps. */
  reconcileIntervalMs: number;
  replicas: number;
  organizations: number;
  /** Every request is applied or dead within its timeout and `lateMs`. */
  bounded: boolean;
  /** How far clocks are off, milliseconds: Vapi's, and those of the replicas in the order of their names. Absent: not at all. */
  skew?: { vapi: number; replicas: readonly number[] };
  /** When the faults end, milliseconds since the start. */
  faultsUntil: number;
  acts: Act[];
}

export type AgentChange = { name?: string; systemPrompt?: string; firstMessage?: string | null };

/** What somebody does, or what goes wrong; `at` in milliseconds since the start. */
export type Act =
  | {
      at: number;
      act: 'save';
      replica: string;
      org: number;
      changes: Partial<Record<AgentRole, AgentChange>>;
      key: string | null;
      /** As seen in the dashboard at that moment. */
      expected: 'none' | 'current' | 'stale';
      recreateIfMissing: boolean;
      /** How often the caller asks again while another save is open, and how long it waits each time. */
      insist: number;
      everyMs: number;
    }
  | { at: number; act: 'edit'; org: number; role: AgentRole; what: 'name' | 'tools' | 'metadata' | 'stamp' }
  | { at: number; act: 'remove'; org: number; role: AgentRole }
  | {
      at: number;
      act: 'settle-drift';
      replica: string;
      org: number;
      role: AgentRole;
      resolution: 'REVERT' | 'ADOPT';
    }
  | { at: number; act: 'policy'; org: number; policy: 'REVERT' | 'ADOPT' }
  | { at: number; act: 'crash'; replica: string; downMs: number }
  | { at: number; act: 'pause'; replica: string; ms: number }
  | { at: number; act: 'clock'; replica: string; ms: number }
  | FaultAct;

/** Strikes the calls that match from `at` on, `times` of them, or all of them for `forMs`. */
export type FaultAct = {
  at: number;
  act: 'fault';
  system: Call['system'];
  op: string | null;
  replica: string | null;
  org: number | null;
  strike: Strike;
} & ({ times: number } | { forMs: number });

const ROLES = ['INBOUND', 'OUTBOUND'] as const;

/** Settings that differ in what is longer than what. */
const SETTINGS: readonly [SettingsChoice, ...SettingsChoice[]] = [
  // As delivered.
  {
    leaseMs: 17_000,
    deadlineMs: 120_000,
    answerMs: 12_000,
    lateMs: 22_000,
    requestTimeoutMs: 10_000,
    recovery: 5_000,
  },
  // A quarantine longer than the lease, and than the deadline.
  {
    leaseMs: 9_000,
    deadlineMs: 20_000,
    answerMs: 4_000,
    lateMs: 40_000,
    requestTimeoutMs: 2_000,
    recovery: 3_000,
  },
  // Quick, as the tests of real processes have it.
  { leaseMs: 4_000, deadlineMs: 8_000, answerMs: 3_000, lateMs: 200, requestTimeoutMs: 1_000, recovery: 500 },
  // A lease that has room for several attempts, and recovery that looks rarely.
  {
    leaseMs: 60_000,
    deadlineMs: 61_000,
    answerMs: 20_000,
    lateMs: 5_000,
    requestTimeoutMs: 3_000,
    recovery: 20_000,
  },
];
type SettingsChoice = SagaSettings & { recovery: number };

/** Some that mean something, or any that are accepted at start. */
function chooseSettings(random: Seeded): SettingsChoice {
  if (random.chance(0.6)) return random.pick(SETTINGS);
  const requestTimeoutMs = random.pick([300, 1_000, 3_000, 10_000] as const);
  const roomMs = random.pick([200, 1_000, 3_000, 10_000, 40_000] as const);
  const leaseMs = requestTimeoutMs + GUARD_MARGIN_MS + roomMs;
  return {
    requestTimeoutMs,
    leaseMs,
    deadlineMs: leaseMs + random.pick([1, 1_000, 20_000, 120_000] as const),
    answerMs: random.pick([500, 3_000, 20_000, 60_000] as const),
    lateMs: random.pick([101, 1_000, 10_000, 60_000] as const),
    recovery: random.pick([50, 500, 5_000, 20_000] as const),
  };
}

/** What an installation is run with, where a plan does not choose for itself. */
export interface Installation {
  settings: SagaSettings;
  recoveryIntervalMs: number;
  reconcileIntervalMs: number;
}

export function makePlan(seed: number, installation?: Installation): Plan {
  const random = new Seeded(seed);
  const chosen = chooseSettings(random);
  const { recovery, ...times } =
    installation === undefined
      ? chosen
      : { ...installation.settings, recovery: installation.recoveryIntervalMs };
  const bounded = random.chance(0.7);
  const replicas = random.int(2, 3);
  const organizations = random.int(1, 3);
  const swept = bounded && random.chance(0.3) ? 0 : 4 * recovery + random.int(0, times.leaseMs);
  const reconcileIntervalMs = installation?.reconcileIntervalMs ?? swept;
  const faultsUntil = random.int(2, 5) * times.leaseMs + random.int(0, times.deadlineMs);
  // A draw that nothing uses any more: without it every seed would make another plan.
  random.chance(0.5);
  const plan: Plan = {
    seed,
    settings: times,
    recoveryIntervalMs: recovery,
    reconcileIntervalMs,
    replicas,
    organizations,
    bounded,
    faultsUntil,
    acts: [],
  };
  const replica = () => `r${random.int(1, replicas)}`;
  const org = () => random.int(0, organizations - 1);
  const when = () => random.int(0, faultsUntil);

  // Saves come in bursts: two tabs, a retry, a colleague.
  const bursts = random.int(2, 6);
  for (let burst = 0; burst < bursts; burst += 1) {
    const start = burst === 0 ? random.int(0, 200) : when();
    const target = org();
    const tabs = random.int(1, 3);
    for (let tab = 0; tab < tabs; tab += 1) {
      const roles = random.weighted<readonly AgentRole[]>([
        [6, ROLES],
        [1, ['INBOUND']],
        [1, ['OUTBOUND']],
      ]);
      const save: Extract<Act, { act: 'save' }> = {
        at: start + tab * random.pick([0, 5, 50, 2_000] as const),
        act: 'save',
        replica: replica(),
        org: target,
        changes: Object.fromEntries(
          roles.map((role) => [
            role,
            random.chance(0.08)
              ? {}
              : {
                  systemPrompt: `Prompt ${seed}.${burst}.${tab} ${role}`,
                  ...(random.chance(0.3) ? { name: `Name ${burst}.${tab}` } : {}),
                  ...(random.chance(0.2) ? { firstMessage: random.chance(0.5) ? null : 'Hello' } : {}),
                },
          ]),
        ),
        key: random.chance(0.5) ? `key ${burst} ${random.chance(0.8) ? tab : 0}` : null,
        expected: random.weighted([
          [6, 'none'],
          [2, 'current'],
          [1, 'stale'],
        ]),
        recreateIfMissing: random.chance(0.3),
        insist: random.chance(0.5) ? random.int(1, 12) : 0,
        everyMs: random.int(100, times.leaseMs / 3),
      };
      plan.acts.push(save);
      // Again, as a client does that got no answer: at once, soon, or much later.
      if (save.key !== null && random.chance(0.6)) {
        const again = random.int(1, 2);
        for (let index = 0; index < again; index += 1)
          plan.acts.push({
            ...save,
            at: save.at + random.pick([0, 300, 5_000, times.leaseMs] as const),
            replica: replica(),
          });
      }
    }
  }

  if (reconcileIntervalMs > 0) {
    for (let left = random.int(0, 2); left > 0; left -= 1) {
      plan.acts.push({
        at: when(),
        act: 'edit',
        org: org(),
        role: random.pick(ROLES),
        what: random.pick(['name', 'tools', 'metadata', 'stamp'] as const),
      });
    }
    if (random.chance(0.3))
      plan.acts.push({ at: when(), act: 'remove', org: org(), role: random.pick(ROLES) });
    // Where writes may be late without bound, what is adopted must be a person's edit.
    if (random.chance(bounded ? 0.3 : 0.7))
      plan.acts.push({
        at: random.int(0, faultsUntil / 3),
        act: 'policy',
        org: org(),
        policy: random.chance(0.7) ? 'ADOPT' : 'REVERT',
      });
    if (random.chance(0.2)) {
      const resolution = random.pick(['REVERT', 'ADOPT'] as const);
      plan.acts.push({
        at: when(),
        act: 'settle-drift',
        replica: replica(),
        org: org(),
        role: random.pick(ROLES),
        resolution,
      });
    }
  }

  for (let left = random.int(1, 10); left > 0; left -= 1) plan.acts.push(vapiFault());
  for (let left = random.int(0, 4); left > 0; left -= 1) plan.acts.push(databaseFault());
  for (let left = random.int(0, 3); left > 0; left -= 1) {
    plan.acts.push({
      at: aroundSave(),
      act: 'crash',
      replica: replica(),
      downMs: random.int(0, 2 * times.leaseMs),
    });
  }
  for (let left = random.int(0, 3); left > 0; left -= 1) {
    // Mostly just longer than the lease, so that it comes back while somebody else is at it.
    const ms = random.chance(0.6)
      ? times.leaseMs + random.int(0, 3 * recovery)
      : random.int(1, 3 * times.leaseMs);
    plan.acts.push({ at: aroundSave(), act: 'pause', replica: replica(), ms });
  }
  if (random.chance(0.3)) {
    const ms = random.pick([-3_600_000, -2_000, 1_000, 3_600_000] as const);
    plan.acts.push({ at: when(), act: 'clock', replica: replica(), ms });
  }
  for (const act of plan.acts) act.at = Math.min(Math.max(act.at, 0), faultsUntil);
  plan.acts.sort((a, b) => a.at - b.at);
  return plan;

  /** Near a save, where it hurts; or when its lease ends, and somebody else takes it. */
  function aroundSave(): number {
    const saves = plan.acts.filter(({ act }) => act === 'save') as [Act, ...Act[]];
    const { at } = random.pick(saves);
    return random.weighted([
      [6, Math.max(0, at + random.int(-20, 150))],
      [2, at + times.leaseMs + random.int(0, 2 * recovery)],
      [2, when()],
    ]);
  }

  function scope() {
    return {
      at: aroundSave(),
      act: 'fault' as const,
      replica: random.chance(0.2) ? replica() : null,
      org: random.chance(0.4) ? org() : null,
      ...(random.chance(0.85)
        ? {
            times: random.weighted([
              [5, 1],
              [3, 2],
              [1, 5],
            ] as const),
          }
        : { forMs: random.int(100, times.leaseMs) }),
    };
  }

  function vapiFault(): FaultAct {
    const op = random.weighted<string | null>([
      [4, 'POST'],
      [5, 'PATCH'],
      [1, 'DELETE'],
      [1, 'LIST'],
      [1, 'GET'],
      [3, null],
    ]);
    const late = () =>
      bounded
        ? random.chance(0.5)
          ? times.lateMs - 100
          : random.int(0, times.lateMs - 100)
        : random.pick([0, times.lateMs, times.leaseMs, 5 * times.leaseMs] as const);
    const most = times.requestTimeoutMs + (bounded ? times.lateMs - 100 : 3 * times.leaseMs);
    // Mostly as late as can be.
    const inFlight = () => (random.chance(0.6) ? most - random.int(0, 200) : random.int(0, most));
    const strike = random.weighted<Strike>([
      [3, { what: 'late', ms: late(), cut: random.chance(0.4) }],
      [2, { what: 'hang-after' }],
      [2, { what: 'reset-after' }],
      [2, { what: 'status-after' }],
      [2, { what: 'status-before' }],
      [2, { what: 'reset-before' }],
      [1, { what: 'hang-before' }],
      [2, { what: 'limited', retryAfterMs: random.chance(0.5) ? null : random.int(0, times.leaseMs) }],
      [2, { what: 'not-sent' }],
      [3, { what: 'rejected' }],
      [1, { what: 'unauthorized' }],
      [1, { what: 'wrong-body' }],
      [2, { what: 'latency', ms: random.int(0, most) }],
      [2, { what: 'crash-before' }],
      [2, { what: 'crash-after' }],
      [3, { what: 'crash-late', ms: inFlight() }],
    ]);
    // A revoked key refuses everything, for a while.
    if (strike.what === 'unauthorized' && random.chance(0.7)) {
      return {
        at: when(),
        act: 'fault',
        system: 'vapi',
        op: null,
        replica: null,
        org: null,
        forMs: random.int(1, times.deadlineMs),
        strike,
      };
    }
    return { ...scope(), system: 'vapi', op, strike };
  }

  function databaseFault(): FaultAct {
    const op = random.weighted<string | null>([
      [2, 'begin'],
      [3, 'commit'],
      [2, 'abort'],
      [1, 'rolledBack'],
      [1, 'hold'],
      [2, 'takeover'],
      [3, null],
    ]);
    const strike = random.weighted<Strike>([
      [3, { what: 'reset-after' }],
      [2, { what: 'reset-before' }],
      [2, { what: 'not-sent' }],
      [1, { what: 'hang-after' }],
      [2, { what: 'late', ms: random.int(0, 2 * times.leaseMs) }],
      [1, { what: 'latency', ms: random.int(0, 4_000) }],
      [2, { what: 'crash-before' }],
      [2, { what: 'crash-after' }],
      [1, { what: 'crash-late', ms: random.int(0, 2 * times.leaseMs) }],
    ]);
    return { ...scope(), system: 'database', op, strike };
  }
}

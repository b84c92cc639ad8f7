import { GUARD_MARGIN_MS, type SagaSettings, settingsProblems } from '../../src/services/saga/settings.ts';
import { quoted, table } from '../support/figures.ts';
import { type Exploration, explore } from './explore.ts';
import { type Safeguard, type Scope, type TickingClock, World } from './world.ts';

/** What is explored: scopes small enough for every test run, and larger ones for `npm run sim -- --explore`. */

const EVERYTHING = { rejects: true, differs: true, refusesUndo: true } as const;
const BOTH = [
  [0, 1],
  [0, 1],
];
/** A quarantine as long as three requests, a lease with room for two, a deadline right after it. */
const CLOCK: TickingClock = {
  requestTimeoutMs: 1_000,
  lateMs: 2_000,
  leaseMs: 4_000,
  deadlineMs: 5_000,
  databaseMs: 1_000,
};

export const SHORT: Scope[] = [
  { name: 'two agents, two saves', agents: 2, saves: BOTH, recoverers: 1, ...EVERYTHING },
  { name: 'two agents, two saves, two recoverers', agents: 2, saves: BOTH, recoverers: 2, ...EVERYTHING },
  {
    name: 'one agent, two saves, owners that do not know that they are none any more',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 1,
    keepsStale: true,
    ...EVERYTHING,
  },
  {
    name: 'two agents, two saves, and an operator who ends them',
    agents: 2,
    saves: [[0, 1], [0]],
    recoverers: 1,
    operator: true,
    ...EVERYTHING,
  },
  {
    name: 'one agent is made, and an operator ends the save',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 1,
    creation: true,
    operator: true,
    keepsStale: true,
  },
  { name: 'two agents are made', agents: 2, saves: BOTH, recoverers: 1, creation: true, ...EVERYTHING },
  {
    name: 'one agent is made, two recoverers',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 2,
    creation: true,
    ...EVERYTHING,
  },
  {
    name: 'a person deletes an assistant, and there is leave to make it anew',
    agents: 2,
    saves: [[0, 1], [0]],
    recoverers: 1,
    deletes: true,
    recreates: true,
    ...EVERYTHING,
  },
  {
    name: 'no bound on delays, and a sweep',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 1,
    unbounded: true,
    sweeps: true,
    ...EVERYTHING,
  },
  {
    name: 'no bound on delays, and a sweep: an agent is made',
    agents: 1,
    saves: [[0]],
    recoverers: 1,
    creation: true,
    unbounded: true,
    sweeps: true,
    ...EVERYTHING,
  },
  {
    name: 'in seconds: one agent, one save, and an operator who ends it',
    agents: 1,
    saves: [[0]],
    recoverers: 1,
    operator: true,
    clock: CLOCK,
    ...EVERYTHING,
  },
  {
    name: 'in seconds: one agent is made',
    agents: 1,
    saves: [[0]],
    recoverers: 1,
    creation: true,
    clock: CLOCK,
  },
];

const LONG: Scope[] = [
  {
    name: 'two agents, a save of both and one of the first, owners that do not know',
    agents: 2,
    saves: [[0, 1], [0]],
    recoverers: 1,
    keepsStale: true,
    rejects: true,
  },
  {
    name: 'one agent, two saves, two recoverers, owners that do not know',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 2,
    keepsStale: true,
    ...EVERYTHING,
  },
  {
    name: 'two agents are made, two recoverers',
    agents: 2,
    saves: BOTH,
    recoverers: 2,
    creation: true,
    ...EVERYTHING,
  },
  {
    name: 'a person deletes an assistant of two saves’, two recoverers',
    agents: 2,
    saves: BOTH,
    recoverers: 2,
    deletes: true,
    recreates: true,
    ...EVERYTHING,
  },
  {
    name: 'no bound on delays, and a sweep: an agent is made, two saves',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 1,
    creation: true,
    unbounded: true,
    sweeps: true,
    ...EVERYTHING,
  },
  {
    name: 'no bound on delays, and a sweep: two agents',
    agents: 2,
    saves: BOTH,
    recoverers: 1,
    unbounded: true,
    sweeps: true,
  },
  {
    name: 'in seconds: one agent is made, everything',
    agents: 1,
    saves: [[0]],
    recoverers: 1,
    creation: true,
    clock: CLOCK,
    ...EVERYTHING,
  },
  {
    name: 'in seconds: one agent, one save, two recoverers',
    agents: 1,
    saves: [[0]],
    recoverers: 2,
    clock: CLOCK,
    ...EVERYTHING,
  },
  {
    name: 'in seconds: one agent, two saves',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 1,
    clock: CLOCK,
    rejects: true,
  },
];

/** With each safeguard switched off: the smallest scope that shows what it is for. */
const WITHOUT: Record<Safeguard, Scope> = {
  fence: { name: 'no fence after an ambiguous close', agents: 1, saves: [[0], [0]], recoverers: 1 },
  quarantine: {
    name: 'no quarantine before an undo',
    agents: 2,
    saves: [[0, 1]],
    recoverers: 1,
    rejects: true,
  },
  unknown: { name: 'a timeout counts as a failure', agents: 1, saves: [[0]], recoverers: 1 },
  epoch: { name: 'no look at the epoch at the commit', agents: 1, saves: [[0], [0]], recoverers: 1 },
  sweep: {
    name: 'no bound on delays, and no sweep',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 1,
    unbounded: true,
  },
  settle: {
    name: 'an operator ends a save while a request may still be applied',
    agents: 1,
    saves: [[0]],
    recoverers: 1,
    operator: true,
  },
  record: {
    name: 'an owner repeats a request and does not record it',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 1,
  },
  once: {
    name: 'a look at the stamp is believed whatever the last owners may have sent',
    agents: 1,
    saves: [[0], [0]],
    recoverers: 1,
  },
};

export function withoutSafeguard(safeguard: Safeguard): Exploration {
  return explore(new World({ ...WITHOUT[safeguard], without: safeguard }));
}

/** The same scope with the safeguard on. */
export function withSafeguard(safeguard: Safeguard): Exploration {
  const scope = WITHOUT[safeguard];
  return explore(new World(safeguard === 'sweep' ? { ...scope, sweeps: true } : scope));
}

export interface Settings {
  settings: SagaSettings;
  databaseMs: number;
}

/**
 * Settings that are accepted at start, in whole seconds, each with every database that is quick enough for a save to begin at
 * all: what is left of a lease after one request and the margin.
 */
export function acceptedSettings(most: { requestTimeoutS: number; leaseS: number }): Settings[] {
  const found: Settings[] = [];
  for (let timeout = 1; timeout <= most.requestTimeoutS; timeout += 1) {
    for (let lease = 1; lease <= most.leaseS; lease += 1) {
      for (const [deadline, late] of [
        [lease + 1, 0],
        [lease + 1, 9],
        [3 * lease, 1],
      ] as const) {
        const settings: SagaSettings = {
          requestTimeoutMs: timeout * 1_000,
          leaseMs: lease * 1_000,
          deadlineMs: deadline * 1_000,
          lateMs: late * 1_000,
          answerMs: 1_000,
        };
        if (settingsProblems(settings).length > 0) continue;
        const roomMs = settings.leaseMs - settings.requestTimeoutMs - GUARD_MARGIN_MS;
        for (let databaseMs = 1_000; databaseMs < roomMs && databaseMs <= 5_000; databaseMs += 1_000)
          found.push({ settings, databaseMs });
      }
    }
  }
  return found;
}

/** Two recoverers, and everything is answered as slowly as it may be: does every save end? */
export function exploreSlow({ settings, databaseMs }: Settings): Exploration[] {
  const { requestTimeoutMs, leaseMs, deadlineMs, lateMs } = settings;
  const clock: TickingClock = { requestTimeoutMs, leaseMs, deadlineMs, lateMs, databaseMs };
  const scope = { agents: 1, saves: [[0]], recoverers: 2, clock, onlySlow: true } as const;
  const told = `timeout ${requestTimeoutMs}, lease ${leaseMs}, deadline ${deadlineMs}, late ${lateMs}, database ${databaseMs}`;
  return (
    [
      { ...scope, name: `slow update: ${told}` },
      { ...scope, name: `slow creation: ${told}`, creation: true },
      { ...scope, name: `slow recreation: ${told}`, recreates: true, deletes: true },
    ] satisfies readonly object[]
  ).map((one) => explore(new World({ ...one, saves: [[0]] })));
}

export function tellExploration({ name, states, steps, terminals, violation }: Exploration): string {
  const found = violation === null ? '0 violations' : `VIOLATION: ${violation.problem}`;
  return `${name}: ${states} states, ${steps} steps, ${terminals} terminals, ${found}`;
}

export function tellTrace({ name, violation }: Exploration): string {
  if (violation === null) return `${name}: nothing found`;
  return [
    `${name}: ${violation.problem}`,
    ...violation.trace.map((step, index) => `  ${index + 1}. ${step}`),
  ].join('\n');
}

/** Explores all large scopes, telling as it goes. Answers whether all is as it should be. */
export function exploreAll(tell: (line: string) => void): boolean {
  let fine = true;
  const rows: (string | number)[][] = [];
  for (const scope of LONG) {
    const found = explore(new World(scope));
    fine &&= found.complete && found.violation === null;
    rows.push([found.name, found.states, found.steps, found.terminals, found.violation === null ? 0 : 1]);
    tell(tellExploration(found));
    if (found.violation !== null) tell(tellTrace(found));
  }
  const settings = acceptedSettings({ requestTimeoutS: 3, leaseS: 12 });
  const slow = settings.flatMap(exploreSlow);
  const stuck = slow.filter(({ violation }) => violation !== null);
  fine &&= stuck.length === 0;
  const states = slow.reduce((sum, one) => sum + one.states, 0);
  const told = `- ${settings.length} combinations that are accepted at start: ${slow.length} worlds, ${states} states, ${stuck.length} do not end`;
  tell(told);
  for (const one of stuck.slice(0, 3)) tell(tellTrace(one));
  const figures = [...table(['world', 'states', 'steps', 'terminals', 'violations'], rows), '', told];
  if (quoted('large worlds', figures).join() !== figures.join())
    tell('docs/correctness.md has other figures; UPDATE_FIGURES=1 writes these');
  return fine;
}

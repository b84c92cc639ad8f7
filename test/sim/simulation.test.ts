import { afterAll, describe, expect, test } from 'vitest';
import { loadEnv } from '../../src/env.ts';
import { settingsProblems } from '../../src/services/saga/settings.ts';
import { recordFigures, table } from '../support/figures.ts';
import { BUGS } from './bugs.ts';
import type { Plan } from './plan.ts';
import { makePlan } from './plan.ts';
import { shrink } from './shrink.ts';
import { type Run, simulate, vacuity } from './simulate.ts';

/** Seeds of every test run; `npm run sim` goes on from there. */
const SEEDS = Number(process.env['SIM_RUNS'] ?? 400);

const quiet: Plan = {
  ...makePlan(1),
  bounded: true,
  organizations: 2,
  replicas: 2,
  faultsUntil: 60_000,
  acts: [],
};

const told = (run: Run) =>
  run.violation === null
    ? 'nothing'
    : `seed ${run.plan.seed}: ${run.violation.invariant}: ${run.violation.detail}\nreplay: npm run sim -- --seed ${run.plan.seed} --runs 1 --log`;

describe('the services in a simulated world', () => {
  test(`${SEEDS} seeds: safety under faults, then rest`, async () => {
    const all = { calls: 0, strikes: 0, crashes: 0, takeovers: 0, lateWrites: 0 };
    const fired: Record<string, number> = {};
    const answers: Record<string, number> = {};
    let longest = 0;
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const run = await simulate(makePlan(seed));
      expect(settingsProblems(run.plan.settings)).toEqual([]);
      expect(told(run)).toBe('nothing');
      expect(run.restAfterMs, `seed ${seed} comes to rest`).not.toBeNull();
      longest = Math.max(longest, run.restAfterMs ?? 0);
      for (const name of Object.keys(all) as (keyof typeof all)[]) all[name] += run.counts[name];
      for (const [name, count] of Object.entries(run.fired)) fired[name] = (fired[name] ?? 0) + count;
      for (const [name, count] of Object.entries(run.counts.told))
        answers[name] = (answers[name] ?? 0) + count;
    }
    const figures = [
      `- ${SEEDS} seeds: ${all.calls} calls, ${all.strikes} struck by ${Object.keys(fired).length} kinds of faults,`,
      `  ${all.crashes} crashes, ${all.takeovers} takeovers, ${all.lateWrites} writes applied late, 0 violations`,
      `- told: ${Object.entries(answers)
        .map(([kind, count]) => `${kind} ${count}`)
        .join(', ')}`,
      `- at rest ${longest} virtual milliseconds after the last fault at most`,
    ];
    console.log(`simulation:\n${figures.join('\n')}`);
    if (process.env['SIM_RUNS'] === undefined) recordFigures('simulation', figures);
    expect(vacuity({ strikes: all.strikes, told: answers })).toBeNull();
    // Nor would a world in which only some of it goes wrong.
    expect(all.strikes / SEEDS).toBeGreaterThan(2);
    expect(all.crashes / SEEDS).toBeGreaterThan(1);
    expect(all.takeovers / SEEDS).toBeGreaterThan(0.5);
    expect(all.lateWrites).toBeGreaterThan(0);
    for (const kind of [
      'committed',
      'failed',
      'pending',
      'in_progress',
      'revision_conflict',
      'idempotency_conflict',
    ])
      expect(answers[kind] ?? 0, kind).toBeGreaterThan(0);
    for (const system of ['vapi', 'database'])
      for (const what of [
        'not-sent',
        'reset-before',
        'reset-after',
        'hang-after',
        'late',
        'latency',
        'crash-before',
        'crash-after',
      ])
        expect(fired[`${system} ${what}`] ?? 0, `${system} ${what}`).toBeGreaterThan(0);
    for (const what of [
      'limited',
      'rejected',
      'unauthorized',
      'wrong-body',
      'status-before',
      'status-after',
      'hang-before',
    ])
      expect(fired[`vapi ${what}`] ?? 0, `vapi ${what}`).toBeGreaterThan(0);
  }, 300_000);

  test('clocks that differ by minutes, also the one of Vapi, change nothing that must hold', async () => {
    const MINUTES = 60_000;
    let takeovers = 0;
    for (let seed = 1; seed <= 60; seed += 1) {
      const skew = { vapi: (seed % 2 === 0 ? 9 : -9) * MINUTES, replicas: [7 * MINUTES, -8 * MINUTES, 0] };
      const run = await simulate({ ...makePlan(seed), skew });
      expect(told(run)).toBe('nothing');
      expect(run.restAfterMs, `seed ${seed} comes to rest`).not.toBeNull();
      takeovers += run.counts.takeovers;
    }
    expect(takeovers).toBeGreaterThan(30);
  });

  test('every setting at its production default', async () => {
    const delivered = loadEnv({});
    if (!('config' in delivered)) throw new Error('the defaults are refused');
    const { settings, recoveryIntervalMs, reconcileIntervalMs } = delivered.config;
    expect(reconcileIntervalMs).toBeGreaterThan(0);
    const all = { strikes: 0, takeovers: 0, told: {} as Record<string, number> };
    for (let seed = 1; seed <= 40; seed += 1) {
      const run = await simulate(makePlan(seed, { settings, recoveryIntervalMs, reconcileIntervalMs }));
      expect(told(run)).toBe('nothing');
      expect(run.restAfterMs, `seed ${seed} comes to rest`).not.toBeNull();
      all.strikes += run.counts.strikes;
      all.takeovers += run.counts.takeovers;
      for (const [kind, count] of Object.entries(run.counts.told))
        all.told[kind] = (all.told[kind] ?? 0) + count;
    }
    expect(vacuity(all)).toBeNull();
    expect(all.takeovers).toBeGreaterThan(20);
  });

  test('the same seed gives the same run, line by line', async () => {
    for (const seed of [3, 14, 159]) {
      const [one, two] = [
        await simulate(makePlan(seed), { keepLog: true }),
        await simulate(makePlan(seed), { keepLog: true }),
      ];
      expect(two.log).toEqual(one.log);
      expect(two.sum).toBe(one.sum);
      expect(one.log.length).toBeGreaterThan(100);
    }
    const sums = await Promise.all([1, 2, 3].map(async (seed) => (await simulate(makePlan(seed))).sum));
    expect(new Set(sums).size).toBe(3);
  });

  test('where nothing goes wrong, a save costs two database calls and one Vapi call an agent', async () => {
    const save = (at: number, org: number, roles: ('INBOUND' | 'OUTBOUND')[]): Plan['acts'][number] => ({
      at,
      act: 'save',
      replica: 'r1',
      org,
      changes: Object.fromEntries(roles.map((role) => [role, { systemPrompt: `at ${at}` }])),
      key: null,
      expected: 'none',
      recreateIfMissing: false,
      insist: 0,
      everyMs: 1_000,
    });
    const cost = async (acts: Plan['acts']) => {
      const run = await simulate({ ...quiet, acts, recoveryIntervalMs: 0, reconcileIntervalMs: 0 });
      expect(told(run)).toBe('nothing');
      expect(run.counts.told).toEqual({ committed: acts.length });
      return [run.counts.database, run.counts.vapi];
    };
    expect(await cost([save(0, 0, ['INBOUND', 'OUTBOUND'])])).toEqual([2, 2]);
    expect(await cost([save(0, 0, ['INBOUND', 'OUTBOUND']), save(1_000, 0, ['OUTBOUND'])])).toEqual([4, 3]);
    expect(await cost([save(0, 0, ['INBOUND', 'OUTBOUND']), save(0, 1, ['INBOUND', 'OUTBOUND'])])).toEqual([
      4, 4,
    ]);
  });
});

describe('tests of the tests', () => {
  test.each(Object.entries(BUGS))(
    '%s turns the simulation red',
    async (name, { planted, seed, breaks, tells }) => {
      const run = await simulate(makePlan(seed), { planted });
      console.log(`planted: ${name} (${tells}): seed ${seed}, ${run.violation?.invariant ?? 'NOT FOUND'}`);
      expect(run.violation?.invariant, 'npm run sim -- --table finds another seed').toBe(breaks);
      // It is the bug that was found, and not something else about the seed.
      expect((await simulate(makePlan(seed))).violation).toBeNull();
    },
  );

  afterAll(() => {
    const rows = Object.entries(BUGS).map(([name, { tells, seed, breaks }]) => [
      `\`${name}\``,
      tells,
      seed,
      breaks,
    ]);
    const figures = table(['planted bug', 'what goes wrong', 'seed', 'what it breaks'], rows);
    recordFigures('planted bugs', figures);
  });

  test('shrinking keeps what breaks, and drops acts', async () => {
    const bug = BUGS['sends-until-the-lease-ends'];
    if (bug === undefined) throw new Error('no such bug');
    const whole = await simulate(makePlan(bug.seed), { planted: bug.planted });
    const { run, kept } = await shrink(whole, bug.planted);
    expect(run.violation?.invariant).toBe(bug.breaks);
    expect(kept.length).toBeLessThan(whole.plan.acts.length);
    expect(run.log.join('\n')).toContain('VIOLATION');
  });

  test('a run in which no fault fires, or nothing is acknowledged, does not count', async () => {
    const run = await simulate(quiet);
    expect(run.violation).toBeNull();
    expect(vacuity(run.counts)).toBe('no fault struck anything');
    expect(vacuity({ strikes: 1, told: { failed: 3 } })).toBe('nothing was acknowledged');
  });
});

import { describe, expect, test } from 'vitest';
import { BUGS } from './bugs.ts';
import { pullThePlug, SCENARIOS } from './crash-points.ts';
import { makePlan } from './plan.ts';
import { simulate } from './simulate.ts';

/** A fixed set, so that a red run is the same everywhere; `npm run sim` goes on from there. */
const SEEDS = 500;
const LONG_MS = 120_000;

describe('the plug is pulled at every call, and again at every call of the recovery', () => {
  test.each(SCENARIOS)(
    '$name',
    async (scenario) => {
      const report = await pullThePlug(scenario);
      console.log(`${scenario.name}: ${report.cases} cases, ended ${JSON.stringify(report.ends)}`);
      expect(report.violation).toBeNull();
      // It enumerates itself: two sides of every call, each with every call of what comes after.
      expect(report.cases).toBeGreaterThan(report.calls * 2);
    },
    LONG_MS,
  );
});

describe('seeded runs', () => {
  test(
    `${SEEDS} seeds: safe under all faults, at rest soon after them`,
    async () => {
      const total = { calls: 0, strikes: 0, crashes: 0, takeovers: 0, lateWrites: 0, committed: 0 };
      for (let seed = 1; seed <= SEEDS; seed += 1) {
        const run = await simulate(makePlan(seed));
        expect(run.violation, `replay with: npm run sim -- --seed ${seed} --runs 1 --log`).toBeNull();
        for (const key of ['calls', 'strikes', 'crashes', 'takeovers', 'lateWrites'] as const) {
          total[key] += run.counts[key];
        }
        total.committed += run.counts.told['committed'] ?? 0;
      }
      console.log(`${SEEDS} seeds, 0 violations: ${JSON.stringify(total)}`);
      // A run in which nothing went wrong, or nothing was acknowledged, would prove nothing.
      for (const [what, count] of Object.entries(total)) expect(count, what).toBeGreaterThan(100);
    },
    LONG_MS,
  );

  test('a seed gives the same log, to the byte', async () => {
    for (const seed of [1, 7, 42]) {
      const [first, second] = [
        await simulate(makePlan(seed), { keepLog: true }),
        await simulate(makePlan(seed), { keepLog: true }),
      ];
      expect(first.log.length).toBeGreaterThan(100);
      expect(second.log.join('\n')).toBe(first.log.join('\n'));
    }
  });
});

describe('tests of the tests: each planted bug is found by the seed on record', () => {
  test.each(Object.entries(BUGS))('%s', async (_name, { planted, seed, breaks }) => {
    const plan = makePlan(seed);
    expect((await simulate(plan)).violation).toBeNull();
    expect((await simulate(plan, { planted })).violation?.invariant).toBe(breaks);
  });
});

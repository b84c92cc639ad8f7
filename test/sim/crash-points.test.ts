import { afterAll, describe, expect, test } from 'vitest';
import { recordFigures } from '../support/figures.ts';
import { pullThePlug, SCENARIOS } from './crash-points.ts';

describe('the plug is pulled at every call of every port, and at every call of the recovery after that', () => {
  let cases = 0;
  const ends: Record<string, number> = {};

  test.each(SCENARIOS)(
    '$name',
    async (scenario) => {
      const report = await pullThePlug(scenario);
      cases += report.cases;
      for (const [status, count] of Object.entries(report.ends)) ends[status] = (ends[status] ?? 0) + count;
      const { violation } = report;
      expect(
        violation === null
          ? 'nothing'
          : [violation.case, violation.invariant, violation.detail, ...violation.log].join('\n'),
      ).toBe('nothing');
      // Two calls of the database and one of Vapi for each agent, at least: each dies before and after.
      expect(report.calls).toBeGreaterThanOrEqual(2 + scenario.roles.length);
      expect(report.recoveryCalls).toBeGreaterThanOrEqual(4);
      expect(report.cases).toBeGreaterThan(2 * report.calls + 2 * report.recoveryCalls);
    },
    600_000,
  );

  afterAll(() => {
    const told = Object.entries(ends).map(([status, count]) => `${status} ${count}`);
    const figures = [`- ${cases} cases in ${SCENARIOS.length} scenarios (${told.join(', ')}), 0 violations`];
    console.log(`crash points: ${figures[0]}`);
    recordFigures('crash points', figures);
  });
});

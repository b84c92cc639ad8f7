import { describe, expect, test } from 'vitest';
import { explore } from './explore.ts';
import {
  acceptedSettings,
  exploreSlow,
  SHORT,
  tellExploration,
  tellTrace,
  withoutSafeguard,
  withSafeguard,
} from './figures.ts';
import { SAFEGUARDS, type Scope, World } from './world.ts';

describe('everything that the protocol allows', () => {
  test.each(SHORT)(
    '$name',
    (scope: Scope) => {
      const found = explore(new World(scope));
      console.log(tellExploration(found));
      expect(found.violation === null ? 'nothing' : tellTrace(found)).toBe('nothing');
      expect(found.complete).toBe(true);
      // A world in which nothing can go wrong would prove nothing.
      expect(found.states).toBeGreaterThan(1_000);
      expect(found.terminals).toBeGreaterThan(1);
    },
    120_000,
  );
});

describe('each safeguard is needed', () => {
  test.each(SAFEGUARDS)('%s', (safeguard) => {
    const off = withoutSafeguard(safeguard);
    console.log(tellTrace(off));
    expect(off.violation?.problem).toMatch(/Postgres holds|nobody keeps/);
    expect(withSafeguard(safeguard).violation).toBeNull();
  });
});

describe('every save ends, however slow everything is', () => {
  const settings = acceptedSettings({ requestTimeoutS: 2, leaseS: 6 });

  test(`${settings.length} combinations that are accepted at start`, () => {
    const slow = settings.flatMap(exploreSlow);
    const stuck = slow.filter(({ violation }) => violation !== null);
    const states = slow.reduce((sum, one) => sum + one.states, 0);
    console.log(
      `slow worlds: ${settings.length} settings, ${slow.length} worlds, ${states} states, ${stuck.length} do not end`,
    );
    expect(stuck.map(tellTrace)).toEqual([]);
  }, 120_000);

  test('a database that is slower than what a lease leaves is seen to go round in circles', () => {
    const [one] = settings;
    if (one === undefined) throw new Error('no settings');
    const found = exploreSlow({ ...one, databaseMs: one.settings.leaseMs });
    expect(found.some(({ violation }) => violation?.problem.includes('circles') === true)).toBe(true);
  });
});

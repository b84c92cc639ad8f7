import { afterAll, describe, expect, test } from 'vitest';
import { DATABASE_TIMEOUT_MS, loadEnv } from '../../src/env.ts';
import { recordFigures, table } from '../support/figures.ts';
import { type Exploration, explore } from './explore.ts';
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
  const explored: Exploration[] = [];

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
      explored.push(found);
    },
    600_000,
  );

  afterAll(() => {
    const rows = explored.map(({ name, states, steps, terminals }) => [name, states, steps, terminals, 0]);
    const figures = table(['world', 'states', 'steps', 'terminals', 'violations'], rows);
    recordFigures('explorer', figures);
  });
});

describe('each safeguard is needed', () => {
  const traces: string[] = [];

  test.each(SAFEGUARDS)('%s', (safeguard) => {
    const off = withoutSafeguard(safeguard);
    console.log(tellTrace(off));
    expect(off.violation?.problem).toMatch(/Postgres holds|nobody keeps/);
    expect(withSafeguard(safeguard).violation).toBeNull();
    traces.push(tellTrace(off));
  });

  afterAll(() => {
    const figures = ['```text', ...traces.join('\n').split('\n'), '```'];
    recordFigures('safeguards', figures);
  });
});

describe('every save ends, however slow everything is', () => {
  const settings = acceptedSettings({ requestTimeoutS: 2, leaseS: 6 });
  const delivered = loadEnv({});
  if (!('config' in delivered)) throw new Error('the defaults are refused');
  const asDelivered = { settings: delivered.config.settings, databaseMs: DATABASE_TIMEOUT_MS };
  const told: string[] = [];

  test.each([
    [`${settings.length} combinations that are accepted at start`, settings],
    ['the settings as delivered', [asDelivered]],
  ])(
    '%s',
    (name, chosen) => {
      const slow = chosen.flatMap(exploreSlow);
      const stuck = slow.filter(({ violation }) => violation !== null);
      const states = slow.reduce((sum, one) => sum + one.states, 0);
      told.push(`- ${name}: ${slow.length} worlds, ${states} states, ${stuck.length} do not end`);
      console.log(`slow worlds: ${told.at(-1)}`);
      expect(stuck.map(tellTrace)).toEqual([]);
    },
    600_000,
  );

  afterAll(() => {
    recordFigures('slow worlds', told);
  });

  test('a database that is slower than what a lease leaves is seen to go round in circles', () => {
    const [one] = settings;
    if (one === undefined) throw new Error('no settings');
    const found = exploreSlow({ ...one, databaseMs: one.settings.leaseMs });
    expect(found.some(({ violation }) => violation?.problem.includes('circles') === true)).toBe(true);
  });
});

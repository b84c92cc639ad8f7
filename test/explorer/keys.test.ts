import { afterAll, describe, expect, test } from 'vitest';
import { recordFigures, table } from '../support/figures.ts';
import { type Exploration, explore } from './explore.ts';
import { tellExploration, tellTrace } from './figures.ts';
import { KEYS_SAFEGUARDS, type KeysSafeguard, type KeysScope, KeysWorld } from './keys-world.ts';

const OVERLAPPING: KeysScope = {
  name: 'two sagas with a key in common, a sweep, and a person who edits',
  resources: [[1]],
  sagas: [
    { keys: [0, 1], resource: 0, rejects: true },
    { keys: [1], resource: 0, steady: true },
  ],
  recoverers: 1,
  edits: true,
};
const DISJOINT: KeysScope = {
  name: 'two sagas without a key in common, a sweep, and a person who edits',
  resources: [[0], [1]],
  sagas: [
    { keys: [0], resource: 0 },
    { keys: [1], resource: 1, steady: true },
  ],
  recoverers: 1,
  edits: true,
};
const CONTEXTS: KeysScope = {
  name: 'two sagas in two render contexts, and a job that renders anew',
  resources: [[0]],
  sagas: [
    { keys: [0], resource: 0, rejects: true },
    { keys: [0], resource: 0, steady: true },
  ],
  recoverers: 1,
  contexts: true,
};

describe('sagas beside each other end, and both systems agree', () => {
  const explored: Exploration[] = [];

  test.each([OVERLAPPING, DISJOINT, CONTEXTS])('$name', (scope) => {
    const found = explore(new KeysWorld(scope));
    console.log(tellExploration(found));
    expect(found.violation === null ? 'nothing' : tellTrace(found)).toBe('nothing');
    expect(found.complete).toBe(true);
    expect(found.states).toBeGreaterThan(1_000);
    explored.push(found);
  });

  afterAll(() => {
    const rows = explored.map(({ name, states, steps, terminals }) => [name, states, steps, terminals, 0]);
    recordFigures('keys explorer', table(['world', 'states', 'steps', 'terminals', 'violations'], rows));
  });
});

test('two sagas are open at once where they have no key in common, and only there', () => {
  const two = (scope: KeysScope) =>
    explore(new KeysWorld({ ...scope, looksForTwo: true })).violation?.problem;
  expect(two(DISJOINT)).toBe('two sagas are open');
  expect(two({ ...OVERLAPPING, edits: false })).toBeUndefined();
});

describe('each safeguard of keys and contexts is needed', () => {
  const WITHOUT: [KeysSafeguard, KeysScope, RegExp][] = [
    ['lock', { ...OVERLAPPING, edits: false }, /hold the same key/],
    ['fence of every key', OVERLAPPING, /Postgres holds/],
    ['context of the image', CONTEXTS, /Postgres holds/],
  ];

  test('every safeguard is switched off once', () => {
    expect(new Set(WITHOUT.map(([without]) => without))).toEqual(new Set(KEYS_SAFEGUARDS));
  });

  test.each(WITHOUT)('%s', (without, scope, problem) => {
    const off = explore(new KeysWorld({ ...scope, without }));
    console.log(tellTrace(off));
    expect(off.violation?.problem).toMatch(problem);
  });
});

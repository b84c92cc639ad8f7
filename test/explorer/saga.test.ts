import { afterAll, describe, expect, test } from 'vitest';
import { recordFigures, table } from '../support/figures.ts';
import { type Exploration, explore } from './explore.ts';
import { tellExploration, tellTrace } from './figures.ts';
import {
  type PartScope,
  SAGA_SAFEGUARDS,
  type SagaSafeguard,
  type SagaScope,
  SagaWorld,
} from './saga-world.ts';

const part = (key: string, stage: number, more: Partial<PartScope> = {}): PartScope => ({
  ...{ key, stage, pivot: false, lookOnly: false, action: 'replace' },
  ...more,
});

const TOOL_THEN_AGENT: SagaScope = {
  name: 'a tool is created, then an agent names it',
  parts: [part('tool', 0, { action: 'create' }), part('agent', 1, { needs: 0, rejects: true })],
  recoverers: 1,
};
const TOOL_THEN_AGENTS: SagaScope = {
  name: 'a tool is created, then two agents name it',
  parts: [
    part('tool', 0, { action: 'create' }),
    part('inbound', 1, { needs: 0, rejects: true }),
    part('outbound', 1, { needs: 0 }),
  ],
  recoverers: 1,
};
const PURCHASE: SagaScope = {
  name: 'a number is bought in the last stage, and a look may miss it',
  parts: [
    part('agent', 0),
    part('number', 1, { action: 'create', pivot: true, lookOnly: true, rejects: true, looksMiss: true }),
  ],
  recoverers: 1,
};
const REMOVAL: SagaScope = {
  name: 'a file is removed in the last stage',
  parts: [
    part('tool', 0, { rejects: true }),
    part('file', 1, { action: 'remove', pivot: true, rejects: true }),
  ],
  recoverers: 1,
};
const IMPORT: SagaScope = {
  name: 'a creation needs a secret that is not stored',
  parts: [
    part('number', 0, { action: 'create', lookOnly: true, rejects: true }),
    part('agent', 1, { needs: 0 }),
  ],
  recoverers: 1,
};
const PURCHASE_ALONE: SagaScope = {
  name: 'a number is bought, and nothing else, and a look may miss it',
  parts: [
    part('number', 0, { action: 'create', pivot: true, lookOnly: true, rejects: true, looksMiss: true }),
  ],
  recoverers: 2,
};
const WORLDS = [PURCHASE_ALONE, TOOL_THEN_AGENT, TOOL_THEN_AGENTS, PURCHASE, REMOVAL, IMPORT];

describe('a saga of several stages ends, and both systems agree', () => {
  const explored: Exploration[] = [];

  test.each(WORLDS)(
    '$name',
    (scope) => {
      const found = explore(new SagaWorld(scope));
      console.log(tellExploration(found));
      expect(found.violation === null ? 'nothing' : tellTrace(found)).toBe('nothing');
      expect(found.complete).toBe(true);
      expect(found.states).toBeGreaterThan(500);
      explored.push(found);
    },
    600_000,
  );

  afterAll(() => {
    const rows = explored.map(({ name, states, steps, terminals }) => [name, states, steps, terminals, 0]);
    recordFigures('saga explorer', table(['world', 'states', 'steps', 'terminals', 'violations'], rows));
  });
});

describe('each safeguard of stages and pivots is needed', () => {
  const WITHOUT: [SagaSafeguard, SagaScope, RegExp][] = [
    ['stage order', TOOL_THEN_AGENT, /names tool, which does not exist/],
    ['undo order', TOOL_THEN_AGENT, /names tool, which does not exist/],
    ['pivot rule', REMOVAL, /the saga is ROLLED_BACK, and file is not/],
    ['single purchase', PURCHASE, /bought twice/],
    ['single purchase', PURCHASE_ALONE, /bought twice/],
    ['quarantine', TOOL_THEN_AGENT, /and tool is not/],
    ['announcement', REMOVAL, /the saga is ROLLED_BACK, and file is not/],
    ['announcement', PURCHASE, /the saga is ROLLED_BACK, and number is not/],
    ['record of the last owner', TOOL_THEN_AGENT, /the saga is .*, and .* is not/],
  ];

  test('every safeguard is switched off once', () => {
    expect(new Set(WITHOUT.map(([without]) => without))).toEqual(new Set(SAGA_SAFEGUARDS));
  });

  const CASES = WITHOUT.map(([without, scope, problem]) => ({ without, scope, problem, world: scope.name }));

  test.each(CASES)('$without, where $world', ({ without, scope, problem }) => {
    const off = explore(new SagaWorld({ ...scope, without }));
    console.log(tellTrace(off));
    expect(off.violation?.problem).toMatch(problem);
  });
});

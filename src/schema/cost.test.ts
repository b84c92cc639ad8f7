import { expect, test } from 'vitest';
import { fieldCost, READ_COST } from './cost.ts';

const list = { name: 'calls', args: [{ name: 'first' }, { name: 'last' }] };

test.each([
  [{ first: 100 }, 100],
  [{ last: 100 }, 100],
  [{ first: null, last: 50 }, 50],
  [{}, 20],
])('a page costs what its rows cost, from either end: %j', (args, multiplier) => {
  expect(fieldCost(args, {}, list)).toEqual({ field: READ_COST, multiplier });
});

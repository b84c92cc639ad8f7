import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { MUTANTS } from './list.ts';
import { misplaced } from './misplaced.ts';

const ROOT = resolve(import.meta.dirname, '../..');

it('finds the text of every planted bug exactly once, and the tests that must catch it', async () => {
  expect(await misplaced(ROOT, MUTANTS)).toEqual([]);
});

it('reports a planted bug whose text or test is gone', async () => {
  const gone = {
    id: 'gone',
    file: 'package.json',
    breaks: 'nothing',
    find: 'a text that is not there',
    replace: '',
    tests: ['test/no.test.ts'],
  };
  expect(await misplaced(ROOT, [{ ...gone, tests: ['package.json', 'package.json'] }])).toEqual([
    'gone: its text stands 0 times in package.json',
    'gone: names a test twice',
  ]);
  expect(await misplaced(ROOT, [gone, gone])).toEqual([
    'gone: its text stands 0 times in package.json',
    'gone: there is no test/no.test.ts',
    'gone: the id is used twice',
    'gone: its text stands 0 times in package.json',
    'gone: there is no test/no.test.ts',
  ]);
});

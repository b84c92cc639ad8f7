import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Mutant } from './plant.ts';

/** What no longer fits the source: a text that does not stand exactly once in its file, a test that is gone, an id used twice. */
export async function misplaced(root: string, mutants: readonly Mutant[]): Promise<string[]> {
  const wrong: string[] = [];
  const ids = new Set<string>();
  for (const { id, file, find, replace, tests } of mutants) {
    if (ids.has(id)) wrong.push(`${id}: the id is used twice`);
    ids.add(id);
    if (find === replace) wrong.push(`${id}: changes nothing`);
    const text = await readFile(join(root, file), 'utf8').catch(() => '');
    const found = text.split(find).length - 1;
    if (found !== 1) wrong.push(`${id}: its text stands ${found} times in ${file}`);
    if (tests.length === 0) wrong.push(`${id}: names no test`);
    if (new Set(tests).size < tests.length) wrong.push(`${id}: names a test twice`);
    for (const test of tests)
      await access(join(root, test)).catch(() => wrong.push(`${id}: there is no ${test}`));
  }
  return wrong;
}

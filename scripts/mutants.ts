/**
 * Planted bugs: does a test see them?
 *
 *   npm run mutants                          every planted bug of test/mutants/list.ts
 *   npm run mutants -- --id pacer-refund     one or several of them (--id may be repeated)
 *   npm run mutants -- --file pacer          those of the files whose path contains the text
 *   npm run mutants -- --shard 1/4           a quarter of them
 *   npm run mutants -- --jobs 2              two at a time (default: one)
 *   npm run mutants -- --check               only whether every text still stands exactly once in its file
 *
 * Each bug is written into a copy of the repository, and the tests that must catch it are run there. They must pass without
 * it. Exit code 1 if fewer than 95 of 100 are caught, or if a text is not found exactly once.
 */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { MUTANTS } from '../test/mutants/list.ts';
import { misplaced } from '../test/mutants/misplaced.ts';
import type { Mutant } from '../test/mutants/plant.ts';
import { Runner } from './mutants-runner.ts';

const LEAST_RATE = 0.95;
const ROOT = resolve(import.meta.dirname, '..');
const COPIED = /^(src|test|scripts|supabase|docs|bench|[^/]+\.(json|ts|md|graphql)|\.[^/]+\.example)$/;

const { values } = parseArgs({
  options: {
    id: { type: 'string', multiple: true },
    file: { type: 'string' },
    shard: { type: 'string', default: '1/1' },
    jobs: { type: 'string', default: '1' },
    check: { type: 'boolean', default: false },
  },
});

const wrong = await misplaced(ROOT, MUTANTS);
for (const line of wrong) console.error(line);
if (wrong.length > 0) process.exitCode = 1;
else if (values.check) console.log(`${MUTANTS.length} planted bugs, each in its place`);
else await runAll(chosen());

function chosen(): Mutant[] {
  const [part = 1, parts = 1] = values.shard.split('/').map(Number);
  const unknown = values.id?.find((id) => !MUTANTS.some((one) => one.id === id));
  if (unknown !== undefined) throw new Error(`there is no planted bug ${unknown}`);
  return MUTANTS.filter(
    (one) => (values.id === undefined || values.id.includes(one.id)) && one.file.includes(values.file ?? ''),
  ).filter((_, index) => index % parts === part - 1);
}

async function runAll(mutants: readonly Mutant[]): Promise<void> {
  const waiting = [...mutants];
  let caught = 0;
  await Promise.all(
    Array.from({ length: Math.max(1, Number(values.jobs)) }, async () => {
      const copy = await mkdtemp(join(tmpdir(), 'mutants-'));
      await cp(ROOT, copy, {
        recursive: true,
        filter: (path) => path === ROOT || COPIED.test(path.slice(ROOT.length + 1).split('/')[0] ?? ''),
      });
      await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
      const runner = new Runner(copy);
      try {
        for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
          if (await isCaught(copy, mutant, runner)) caught += 1;
        }
      } finally {
        runner.stop();
        await rm(copy, { recursive: true, force: true });
      }
    }),
  );
  const rate = caught / mutants.length;
  console.log(`${caught} of ${mutants.length} planted bugs caught (${Math.round(rate * 100)} %)`);
  process.exitCode = rate >= LEAST_RATE ? 0 : 1;
}

async function isCaught(copy: string, mutant: Mutant, runner: Runner): Promise<boolean> {
  const { id, file, find, replace, breaks, tests } = mutant;
  await runner.prove(tests);
  const path = join(copy, file);
  const text = await readFile(path, 'utf8');
  await writeFile(
    path,
    text.replace(find, () => replace),
  );
  const began = performance.now();
  const red = await runner.fails(tests, file);
  const seconds = ((performance.now() - began) / 1_000).toFixed(0);
  await writeFile(path, text);
  await runner.changed(file);
  console.log(`${red ? 'caught  ' : 'SURVIVED'} ${id} (${seconds} s)${red ? '' : `: ${breaks}`}`);
  return red;
}

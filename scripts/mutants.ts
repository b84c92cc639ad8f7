/**
 * Planted bugs: does a test see them?
 *
 *   npm run mutants                          every planted bug of test/mutants/list.ts
 *   npm run mutants -- --id pacer-refund     one or several of them (--id may be repeated)
 *   npm run mutants -- --file pacer          those of the files whose path contains the text
 *   npm run mutants -- --shard 1/4           a quarter of them
 *   npm run mutants -- --check               only whether every text still stands exactly once in its file
 *
 * Each bug is written into a copy of the repository, and the tests that must catch it are run there. Exit code 1 when fewer
 * than 95 of 100 are caught, or when a text is not found exactly once.
 */
import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { MUTANTS, type Mutant } from '../test/mutants/list.ts';
import { misplaced } from '../test/mutants/misplaced.ts';

const LEAST_RATE = 0.95;
/** Longer than any of the named tests takes. A bug that makes its test hang is caught too. */
const MOST_MS = 300_000;
const ROOT = resolve(import.meta.dirname, '..');
const COPIED = /^(src|test|scripts|supabase|docs|bench|[^/]+\.(json|ts|md|graphql)|\.[^/]+\.example)$/;

const { values } = parseArgs({
  options: {
    id: { type: 'string', multiple: true },
    file: { type: 'string' },
    shard: { type: 'string', default: '1/1' },
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
  const copy = await mkdtemp(join(tmpdir(), 'mutants-'));
  try {
    await cp(ROOT, copy, {
      recursive: true,
      filter: (path) => path === ROOT || COPIED.test(path.slice(ROOT.length + 1).split('/')[0] ?? ''),
    });
    await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    let caught = 0;
    for (const mutant of mutants) {
      const path = join(copy, mutant.file);
      const text = await readFile(path, 'utf8');
      await writeFile(
        path,
        text.replace(mutant.find, () => mutant.replace),
      );
      const began = performance.now();
      const red = await fails(copy, mutant.tests);
      const seconds = ((performance.now() - began) / 1_000).toFixed(0);
      await writeFile(path, text);
      if (red) caught += 1;
      console.log(
        `${red ? 'caught  ' : 'SURVIVED'} ${mutant.id} (${seconds} s)${red ? '' : `: ${mutant.breaks}`}`,
      );
    }
    const rate = caught / mutants.length;
    console.log(`${caught} of ${mutants.length} planted bugs caught (${Math.round(rate * 100)} %)`);
    process.exitCode = rate >= LEAST_RATE ? 0 : 1;
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

/** Whether a test fails. A run that finds no test at all is an error of the list, not a bug caught. */
function fails(copy: string, tests: readonly string[]): Promise<boolean> {
  const child = spawn(
    process.execPath,
    [join(copy, 'node_modules/vitest/vitest.mjs'), 'run', '--bail', '1', ...tests],
    { cwd: copy, stdio: ['ignore', 'pipe', 'pipe'], timeout: MOST_MS },
  );
  let told = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      told += chunk;
    });
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('close', (code) => {
      if (told.includes('No test files found')) failed(new Error(`no such test: ${tests.join(', ')}`));
      else done(code !== 0);
    });
  });
}

/** Runs tests of a copy of the repository when scripts/mutants-runner.ts asks for it, and answers whether one of them failed. */
import { join } from 'node:path';
import { createVitest } from 'vitest/node';

const [root = '.'] = process.argv.slice(2);
const vitest = await createVitest('test', { root, watch: false, bail: 1, reporters: [{}] });
await vitest.standalone();

process.on('message', ({ tests, changed }: { tests?: string[]; changed?: string }) => {
  if (changed !== undefined) vitest.invalidateFile(join(root, changed));
  if (tests !== undefined) void run(tests);
});

// Whoever asked is gone: end everything that the tests have started.
process.on('disconnect', () => process.kill(-process.pid, 'SIGKILL'));

async function run(tests: string[]): Promise<void> {
  const found = await vitest.globTestSpecifications(tests.map((one) => join(root, one)));
  const { testModules, unhandledErrors } = await vitest.runTestSpecifications(found);
  const failed =
    found.length !== tests.length ||
    unhandledErrors.length > 0 ||
    testModules.some((one) => !one.ok() || [...one.children.allTests('failed')].length > 0);
  process.send?.({ failed });
}

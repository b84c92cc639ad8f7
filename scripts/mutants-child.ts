/** Runs tests of a copy of the repository when scripts/mutants-runner.ts asks for it, and answers whether one of them failed. */
import { join } from 'node:path';
import { createVitest, type TestCase } from 'vitest/node';

const [root = '.'] = process.argv.slice(2);
let cancelled: Promise<void> | undefined;
// Not Vitest's own `bail`: what it cancels may be the next run, when this one has ended meanwhile.
const reporter = {
  onTestCaseResult: (test: TestCase) => {
    if (test.result().state === 'failed') cancelled ??= vitest.cancelCurrentRun('test-failure');
  },
};
const vitest = await createVitest('test', { root, watch: false, reporters: [reporter] });
await vitest.standalone();

process.on('message', ({ tests, changed }: { tests?: string[]; changed?: string }) => {
  if (changed !== undefined) vitest.invalidateFile(join(root, changed));
  if (tests !== undefined) void run(tests);
});
// Whoever asked is gone: end everything that the tests have started.
process.on('disconnect', () => process.kill(-process.pid, 'SIGKILL'));

async function run(tests: string[]): Promise<void> {
  cancelled = undefined;
  const found = await vitest.globTestSpecifications(tests.map((one) => join(root, one)));
  if (found.length !== tests.length) throw new Error(`no such test: ${tests.join(', ')}`);
  const result = await vitest.runTestSpecifications(found);
  await cancelled;
  const { unhandledErrors } = result;
  // Vitest answers what it knows of earlier runs as well.
  const ran = new Set(found.map(({ moduleId }) => moduleId));
  const testModules = result.testModules.filter(({ moduleId }) => ran.has(moduleId));
  const states = testModules.flatMap(({ children }) =>
    [...children.allTests()].map((one) => one.result().state),
  );
  const suites = testModules.flatMap((module) => [module, ...module.children.allSuites()]);
  const failed =
    states.includes('failed') ||
    unhandledErrors.length > 0 ||
    suites.some((suite) => suite.errors().length > 0);
  if (!failed && !states.includes('passed')) throw new Error(`nothing was run: ${tests.join(', ')}`);
  process.send?.({ failed });
}

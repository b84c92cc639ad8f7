import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import type { Reporter } from 'vitest/node';

/**
 * One plain line for whoever reads a log by machine. What failed without being a test counts as well: a file that could not
 * be loaded, a suite whose set-up failed, an error that nothing caught.
 */
const totals: Reporter = {
  onTestRunEnd: (modules, unhandled) => {
    const states = modules.flatMap(({ children }) =>
      [...children.allTests()].map((one) => one.result().state),
    );
    const count = (state: string) => states.filter((one) => one === state).length;
    const suites = modules.flatMap((module) => [module, ...module.children.allSuites()]);
    const failed =
      count('failed') + suites.filter((suite) => suite.errors().length > 0).length + unhandled.length;
    console.log(`${count('passed')} passed, ${failed} failed, ${count('skipped')} skipped`);
  },
};

export default defineConfig({
  resolve: {
    // The file that Node takes. Vite would give our own code graphql's ES module build, and the libraries have the other:
    // two copies, whose classes are not instances of each other.
    alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }],
  },
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    // One Postgres for the whole run; every test file clones its own database from a migrated template.
    globalSetup: ['test/support/global-setup.ts'],
    // Limits against a test that hangs, not measures of speed: no test may fail because the machine is slow.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 120_000 } },
    // Much of a test is waiting for Postgres and sockets: on two cores, two files at once (Vitest's own choice is one).
    maxWorkers: Math.max(2, availableParallelism() - 1),
    reporters: ['default', totals],
  },
});

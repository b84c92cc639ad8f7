import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import type { Reporter } from 'vitest/node';
import { noPostgres } from './test/support/no-postgres.ts';

/** The tests of the protocol's model: no Postgres, but minutes of processor time. */
const MODEL = ['test/explorer/**/*.test.ts', 'test/sim/**/*.test.ts'];

/** The tests that use a real Postgres, in this process or in a child process. All others are unit tests. */
const POSTGRES = [
  'src/adapters/supabase/{preflight,rpc-journal,tenant-reads}.test.ts',
  'src/local/supabase/supabase.test.ts',
  'test/{database,e2e,edge,isolation,process}/**/*.test.ts',
  'test/fairness/{database,plans,reads,saves}.test.ts',
  'test/key/{canary,rotation}.test.ts',
  'test/local-supabase-process.test.ts',
  'test/repo/{bench,database-types,repair-owners}.test.ts',
  'test/sim/{journal-conformance,resources}.test.ts',
];

/**
 * Prints the totals on one line that a program can read. A file that cannot be loaded, a suite whose set-up fails and an
 * uncaught error count as failures too.
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
    projects: [
      {
        extends: true,
        plugins: [noPostgres()],
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: [...MODEL, ...POSTGRES],
        },
      },
      {
        extends: true,
        plugins: [noPostgres()],
        test: { name: 'model', include: MODEL, exclude: POSTGRES },
      },
      {
        extends: true,
        test: {
          name: 'postgres',
          include: POSTGRES,
          // One Postgres for the whole run; every test file clones its own database from a migrated template.
          globalSetup: ['test/support/global-setup.ts'],
        },
      },
    ],
    // These limits stop a test that hangs. They do not measure speed: no test may fail because the machine is slow.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 120_000 } },
    // Tests spend much of their time waiting for Postgres and sockets, so two files run at once on two cores (Vitest's default is one).
    maxWorkers: Math.max(2, availableParallelism() - 1),
    reporters: ['default', totals],
  },
});

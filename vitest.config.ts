import { defineConfig } from 'vitest/config';

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
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});

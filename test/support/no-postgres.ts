/** Keeps the tests that run without Postgres away from it: a test that imports one of these modules fails at once. */
import { relative, resolve } from 'node:path';
import type { Plugin } from 'vitest/config';

const ROOT = resolve(import.meta.dirname, '..', '..');
/** What connects to a Postgres, and what starts one. Everything else that uses Postgres imports one of these. */
const FORBIDDEN = new Set([
  'pg',
  'postgres',
  '@supabase/lite',
  '@supabase/lite/postgres',
  'src/local/supabase/postgres.ts',
]);

/** Imports of types are erased before a plugin sees them, so they stay allowed. */
export function noPostgres(): Plugin {
  return {
    name: 'no-postgres',
    enforce: 'pre',
    resolveId(source, importer) {
      const path = source.startsWith('.') ? resolve(importer ?? ROOT, '..', source) : source;
      // Vite writes a path either from the root of the file system or, after a slash, from the root of the repository.
      const module = (path.startsWith(ROOT) ? relative(ROOT, path) : path.replace(/^\//, '')).replaceAll(
        '\\',
        '/',
      );
      if (!FORBIDDEN.has(module)) return null;
      throw new Error(
        `${relative(ROOT, importer ?? '')} imports ${module}, but this test runs without Postgres. ` +
          'A test that needs Postgres belongs to the project "postgres": add its file to POSTGRES in vitest.config.ts.',
      );
    },
  };
}

/**
 * Writes src/adapters/supabase/database.types.ts from the live schema: the migrations applied to the embedded Postgres, then
 * Supabase's own generator (the engine behind `supabase gen types`), without Docker.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateTypescript, sortGeneratorMetadata } from '@supabase/postgrest-typegen/generation';
import { introspect } from '@supabase/postgrest-typegen/introspection';
import pg from 'pg';
import { startLocalSupabase } from '../src/local/supabase/supabase.ts';

const FILE = new URL('../src/adapters/supabase/database.types.ts', import.meta.url);

/** The types of the database at this address, as a TypeScript module. */
export async function databaseTypes(databaseUrl: string): Promise<string> {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 1 });
  try {
    const metadata = await introspect(pool, { includedSchemas: ['public'] });
    const types = await generateTypescript(sortGeneratorMetadata(metadata));
    return `// Generated from the live schema by \`npm run types\`; do not edit.\n${types}`;
  } finally {
    await pool.end();
  }
}

export async function committedTypes(): Promise<string> {
  return readFile(FILE, 'utf8');
}

if (import.meta.main) {
  const dataDir = await mkdtemp(join(tmpdir(), 'lockstep-types-'));
  const supabase = await startLocalSupabase({ dataDir, durable: false });
  try {
    await writeFile(FILE, await databaseTypes(supabase.adminDatabaseUrl));
  } finally {
    await supabase.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

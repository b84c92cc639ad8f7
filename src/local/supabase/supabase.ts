/**
 * The embedded local Supabase: a real Postgres with the roles and rights of a hosted project, under @supabase/lite's REST
 * and Auth. For development and tests; production is a Supabase project.
 */
import { resolve } from 'node:path';
import { provision } from './hosted-project.ts';
import { readOrMakeKeys, type SupabaseKeys } from './keys.ts';
import { applyMigrations, applySeed } from './migrations.ts';
import { type EmbeddedPostgres, startPostgres } from './postgres.ts';
import { serveSupabase } from './serve.ts';

export interface LocalSupabaseOptions {
  /** Contains the database, the keys and the password; created if missing. */
  readonly dataDir: string;
  /** Port of REST and Auth on 127.0.0.1. 0 or absent: any free port. */
  readonly port?: number;
  readonly postgresPort?: number;
  /** Default: `supabase/migrations` of this repository. */
  readonly migrationsDir?: string;
  /** Default: `supabase/seed.sql` of this repository. If the file does not exist, nothing is seeded. */
  readonly seedFile?: string;
  /** `false` turns fsync off: for tests only. */
  readonly durable?: boolean;
  readonly log?: (line: string) => void;
  /** Called when Postgres ends unexpectedly. */
  readonly onCrash?: (reason: string) => void;
}

export interface LocalSupabase extends SupabaseKeys {
  readonly url: string;
  /** As role `postgres`, with exactly the rights that a hosted project gives. */
  readonly databaseUrl: string;
  /** As the superuser. */
  readonly adminDatabaseUrl: string;
  readonly postgres: EmbeddedPostgres;
  /** REST reads tables and functions at its start. This makes it read them again. */
  readonly reloadSchema: () => Promise<void>;
  /** Clean and idempotent. */
  readonly stop: () => Promise<void>;
}

/** Starts everything, applies new migrations, and seeds once. On failure the error is one clear sentence. */
export async function startLocalSupabase(options: LocalSupabaseOptions): Promise<LocalSupabase> {
  const log = options.log ?? (() => {});
  const dataDir = resolve(options.dataDir);
  const server = await startPostgres({
    dataDir,
    ...(options.postgresPort === undefined ? {} : { port: options.postgresPort }),
    ...(options.durable === undefined ? {} : { durable: options.durable }),
    log,
    onCrash: options.onCrash ?? log,
  });
  try {
    const keys = await readOrMakeKeys(dataDir);
    await provision(server);
    const databaseUrl = server.url('postgres', 'postgres');
    await applyMigrations(databaseUrl, options.migrationsDir ?? repositoryFile('supabase/migrations'), {
      dataDir,
      log,
    });
    await applySeed(databaseUrl, options.seedFile ?? repositoryFile('supabase/seed.sql'), log);
    const api = await serveSupabase({
      adminUrl: server.url(),
      restUrl: server.url('postgres', 'authenticator'),
      keys,
      port: options.port ?? 0,
      log,
    });
    return {
      ...keys,
      url: api.url,
      databaseUrl,
      adminDatabaseUrl: server.url(),
      postgres: server,
      reloadSchema: api.reloadSchema,
      stop: async () => {
        await api.stop();
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

function repositoryFile(path: string): string {
  return resolve(import.meta.dirname, '..', '..', '..', path);
}

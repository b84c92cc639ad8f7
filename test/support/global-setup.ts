import { spawn } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import postgres from 'postgres';
import type { TestProject } from 'vitest/node';
import { provision } from '../../src/local/supabase/hosted-project.ts';
import { applyMigrations, applySeed } from '../../src/local/supabase/migrations.ts';
import { type EmbeddedPostgres, startPostgres } from '../../src/local/supabase/postgres.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Of the run's one Postgres: for createTestSupabase(). */
    postgres: { readonly port: number; readonly password: string; readonly logFile: string };
  }
}

/** One Postgres for the run; the migrations and the seed are applied once, to the template that every clone is made of. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dataDir = await mkdtemp(join(tmpdir(), 'lockstep-test-'));
  // Postgres runs as another user when this runs as root.
  await chmod(dataDir, 0o711);
  const undo: (() => Promise<void>)[] = [() => rm(dataDir, { recursive: true, force: true })];
  const teardown = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const server = await startPostgres({ dataDir, durable: false });
    undo.push(server.destroy);
    undo.push(cleanUpAfterUs(server, dataDir));
    await provision(server);
    const supabase = resolve(import.meta.dirname, '..', '..', 'supabase');
    const databaseUrl = server.url('postgres', 'postgres');
    await applyMigrations(databaseUrl, join(supabase, 'migrations'), { dataDir, log: () => {} });
    await applySeed(databaseUrl, join(supabase, 'seed.sql'), () => {});
    const sql = postgres(server.url('template1'), { max: 1, connect_timeout: 120 });
    await sql`create database lockstep_template template postgres owner postgres`.finally(() => sql.end());
    const logFile = join(server.home, 'postgres.log');
    project.provide('postgres', { port: server.port, password: server.password, logFile });
    return teardown;
  } catch (error) {
    await teardown();
    throw error;
  }
}

/** Ends the server and removes its files if this process goes without teardown (kill -9); returns how to call that off. */
function cleanUpAfterUs(server: EmbeddedPostgres, dataDir: string): () => Promise<void> {
  const script = 'cat >/dev/null; kill -QUIT "$0"; sleep 1; rm -rf "$@"';
  const guard = spawn('sh', ['-c', script, String(server.pid()), dataDir, server.home], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.unref();
  return async () => {
    if (guard.pid) process.kill(-guard.pid);
  };
}

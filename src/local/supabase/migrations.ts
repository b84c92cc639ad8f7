import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { splitSqlStatements } from '@supabase/lite';
import postgres from 'postgres';
import { connect } from './connect.ts';

/** Migrations and seed, as the Supabase CLI applies and records them. */

/** Applies the new files of `dir` in name order, each in one transaction, as the role of `databaseUrl`. */
export async function applyMigrations(
  databaseUrl: string,
  dir: string,
  context: { readonly dataDir: string; readonly log: (line: string) => void },
): Promise<void> {
  const files = (await readdir(dir)).filter((file) => /^\d+_.*\.sql$/.test(file)).sort();
  const sql = connect(databaseUrl, context.log);
  try {
    await sql.unsafe(`
      set client_min_messages = warning;
      create schema if not exists supabase_migrations;
      create table if not exists supabase_migrations.schema_migrations (
        version text not null primary key, statements text[], name text
      );
      create table if not exists supabase_migrations.seed_files (path text not null primary key, hash text not null);
    `);
    const rows = await sql<{ version: string; name: string; statements: string[] }[]>`
      select version, name, statements from supabase_migrations.schema_migrations order by version`;
    const applied = new Map(rows.map((row) => [row.version, row]));
    const advice = `Local data: put the change in a new migration, or delete ${context.dataDir} and start afresh.`;
    for (const file of files) {
      const text = await readFile(join(dir, file), 'utf8');
      const version = file.slice(0, file.indexOf('_'));
      const name = file.slice(version.length + 1, -'.sql'.length);
      const statements = splitSqlStatements(text);
      const before = applied.get(version);
      applied.delete(version);
      if (before) {
        if (before.statements.join('\n') === statements.join('\n')) continue;
        throw new Error(`Migration ${file} was changed after it was applied. ${advice}`);
      }
      await sql.begin(async (tx) => {
        await execute(tx, text, statements, join(dir, file));
        await tx`insert into supabase_migrations.schema_migrations (version, name, statements)
          values (${version}, ${name}, ${statements})`;
      });
      context.log(`Applied migration ${file}`);
    }
    const [missing] = applied.values();
    if (missing) {
      throw new Error(
        `Migration ${missing.version}_${missing.name}.sql was applied, but its file is missing in ${dir}. ${advice}`,
      );
    }
  } finally {
    await sql.end();
  }
}

/** Runs the seed once, and records that under its file name. */
export async function applySeed(
  databaseUrl: string,
  file: string,
  log: (line: string) => void,
): Promise<void> {
  if (!existsSync(file)) return;
  const text = await readFile(file, 'utf8');
  const path = `supabase/${basename(file)}`;
  const sql = connect(databaseUrl, log);
  try {
    await sql.begin(async (tx) => {
      const [done] = await tx`select from supabase_migrations.seed_files where path = ${path}`;
      if (done) return;
      await execute(tx, text, splitSqlStatements(text), file);
      await tx`insert into supabase_migrations.seed_files (path, hash)
        values (${path}, encode(sha256(${Buffer.from(text)}), 'hex'))`;
      log(`Seeded from ${path}`);
    });
  } finally {
    await sql.end();
  }
}

/** Runs one statement at a time. Most errors of Postgres have no position, so the line of the statement is all that can be reported. */
async function execute(
  tx: postgres.TransactionSql,
  text: string,
  statements: readonly string[],
  file: string,
): Promise<void> {
  let from = 0;
  for (const statement of statements) {
    const start = text.indexOf(statement, from);
    from = start < 0 ? from : start + statement.length;
    try {
      await tx.unsafe(statement);
    } catch (error) {
      if (!(error instanceof postgres.PostgresError)) throw error;
      const comments = /^(?:\s+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)*/.exec(statement)?.[0].length ?? 0;
      const offset = Math.max(start, 0) + (error.position ? Number(error.position) - 1 : comments);
      const line = text.slice(0, offset).split('\n').length;
      const more = [error.detail, error.hint, error.where].filter(Boolean).join(' | ');
      throw new Error(`${file}:${line}: ${error.message} (${error.code})${more ? ` | ${more}` : ''}`);
    }
  }
}

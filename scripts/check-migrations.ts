/**
 * Released migrations never change: a database that has applied one would not notice. `supabase/released-migrations.sha256` lists them,
 * a line each, in the form of `sha256sum`. `npm run check` compares; `npm run migrations:freeze` adds the migrations that are new.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

const INSTEAD = 'Restore it, and add a new migration instead.';

interface Migration {
  readonly name: string;
  readonly sha256: string;
}

/** Each problem in one sentence. A migration that is not released yet may change, and comes after all that are. */
export function checkMigrations(released: readonly Migration[], present: readonly Migration[]): string[] {
  const found = new Map(present.map(({ name, sha256 }) => [name, sha256]));
  const names = new Set(released.map(({ name }) => name));
  const last = [...names].sort().at(-1) ?? '';
  return [
    ...released.flatMap(({ name, sha256 }) => {
      if (!found.has(name)) return [`The released migration ${name} is missing. ${INSTEAD}`];
      return found.get(name) === sha256 ? [] : [`The released migration ${name} was changed. ${INSTEAD}`];
    }),
    ...present
      .filter(({ name }) => !names.has(name) && name < last)
      .map(
        ({ name }) =>
          `The new migration ${name} comes before the released ${last}. Give it a timestamp above all others.`,
      ),
  ];
}

export function parseReleased(text: string): Migration[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, sha256, name] = /^([0-9a-f]{64}) {2}(\S+\.sql)$/.exec(line) ?? [];
      if (sha256 === undefined || name === undefined)
        throw new Error(`This is not a line of sha256sum: ${line}`);
      return { name, sha256 };
    });
}

export function formatReleased(migrations: readonly Migration[]): string {
  return migrations.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join('');
}

export async function readMigrations(folder: string): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
  return Promise.all(
    names.map(async (name) => ({
      name,
      sha256: createHash('sha256')
        .update(await readFile(join(folder, name)))
        .digest('hex'),
    })),
  );
}

if (import.meta.main) {
  const supabase = resolve(import.meta.dirname, '..', 'supabase');
  const list = join(supabase, 'released-migrations.sha256');
  const released = parseReleased(await readFile(list, 'utf8'));
  const present = await readMigrations(join(supabase, 'migrations'));
  const problems = checkMigrations(released, present);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  else if (process.argv.includes('--freeze')) {
    await writeFile(list, formatReleased(present));
    console.log(
      `${present.length - released.length} migrations were added to the ${released.length} released`,
    );
  } else console.log(`${released.length} of ${present.length} migrations are released, and none was changed`);
}

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import {
  checkMigrations,
  formatReleased,
  parseReleased,
  readMigrations,
} from '../../scripts/check-migrations.ts';

async function migrations(files: Record<string, string>) {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-migrations-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return readMigrations(folder);
}

const RELEASED = { '1_create_a.sql': 'create table a ();', '2_create_b.sql': 'create table b ();' };

test('accepts released migrations that did not change, and new ones after them', async () => {
  const present = await migrations({ ...RELEASED, '3_create_c.sql': 'create table c ();' });
  expect(checkMigrations(await migrations(RELEASED), present)).toEqual([]);
  expect(checkMigrations([], present)).toEqual([]);
});

test('refuses a released migration that was changed or removed, and asks for a new one instead', async () => {
  const present = await migrations({ '1_create_a.sql': 'create table a (id int);' });
  expect(checkMigrations(await migrations(RELEASED), present)).toEqual([
    'The released migration 1_create_a.sql was changed. Restore it, and add a new migration instead.',
    'The released migration 2_create_b.sql is missing. Restore it, and add a new migration instead.',
  ]);
});

test('refuses a new migration whose timestamp is not above those of the released', async () => {
  const present = await migrations({ ...RELEASED, '1_create_c.sql': 'create table c ();' });
  expect(checkMigrations(await migrations(RELEASED), present)).toEqual([
    'The new migration 1_create_c.sql comes before the released 2_create_b.sql. Give it a timestamp above all others.',
  ]);
});

test('reads the list that it writes, and refuses a line of another form', async () => {
  const released = await migrations(RELEASED);
  const list = formatReleased(released);
  // As `sha256sum` prints it.
  expect(list.split('\n')[0]).toBe(
    '0db38149e0c353608ccb4a4dfc5867eeca6c9eb16f56c7e30595fdb1a85d4700  1_create_a.sql',
  );
  expect(parseReleased(list)).toEqual(released);
  expect(parseReleased('')).toEqual([]);
  expect(() => parseReleased('1_create_a.sql\n')).toThrow('not a line of sha256sum: 1_create_a.sql');
});

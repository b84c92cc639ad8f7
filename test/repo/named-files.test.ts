/** Every file and folder that the documents name is there. */
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');
const TOP = ['src', 'test', 'scripts', 'docs', 'bench', 'supabase'];
const DOCUMENTS = [...['README.md', 'CONTRIBUTING.md'], ...globSync('docs/**/*.md', { cwd: ROOT })];
/** Made by a command that a document shows. */
const MADE = ['repair.sql'];
const FILES = [...readdirSync(ROOT), ...TOP.flatMap((top) => globSync(`${top}/**/*`, { cwd: ROOT }))];

/** Paths that begin in a folder of the repository, and names of files of ours. `a/{b,c}.ts` are two. */
function namedIn(text: string): string[] {
  const words = text.replaceAll(/https?:\/\/\S+/g, '').match(/[\w@.{},*/-]+/g) ?? [];
  return words
    .map((word) => word.replace(/^[.,]+(?=\w)|[.,/]+$/g, ''))
    .filter(
      (word) => TOP.some((top) => word.startsWith(`${top}/`)) || /^[\w{][\w./{},*-]*\.(ts|sql)$/.test(word),
    );
}

function isThere(named: string): boolean {
  if (MADE.includes(named)) return true;
  // A name without its folder is the name of any file, and "sim/checks.ts" is the end of a path.
  return (
    globSync(named, { cwd: ROOT }).length > 0 ||
    FILES.some((file) => file === named || file.endsWith(`/${named}`))
  );
}

describe('the files that a document names exist', () => {
  test.each(DOCUMENTS)('%s', (document) => {
    const named = [...new Set(namedIn(readFileSync(join(ROOT, document), 'utf8')))];
    expect(named.filter((path) => !isThere(path))).toEqual([]);
  });

  test('a file that does not exist is seen', () => {
    const text = 'See `src/domain/saga.ts`, src/nowhere.ts, and test/{sim,nowhere}/checks.ts.';
    expect(namedIn(text).filter((path) => !isThere(path))).toEqual(['src/nowhere.ts']);
  });
});

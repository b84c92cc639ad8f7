import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { loadEnv, variables } from '../../src/env.ts';

const read = (name: string) => readFile(new URL(`../../${name}`, import.meta.url), 'utf8');

/** `# NAME=value` in the order of the file. */
function examples(text: string): [name: string, value: string][] {
  return [...text.matchAll(/^# ?([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(([, name = '', value = '']) => [
    name,
    value,
  ]);
}

/** The variables in the first column of Markdown tables: each in backticks, several to a cell. */
function tabled(markdown: string): string[] {
  return [...markdown.matchAll(/^\|([^|]*)\|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([A-Z][A-Z0-9_]*)`/g)].map(([, name = '']) => name),
  );
}

const known = Object.keys(variables).sort();

test('.env.example has every variable, commented out and explained', async () => {
  const text = await read('.env.example');
  const shown = examples(text);
  expect(shown.map(([name]) => name).sort()).toEqual(known);
  expect(text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))).toEqual([]);
  for (const [, paragraph = ''] of text.matchAll(/(?:^|\n\n)([^]+?)(?=\n\n|$)/g)) {
    expect(paragraph).toMatch(/^# [A-Z][a-z]/);
  }
});

test('the values in .env.example are the defaults, and no others', async () => {
  const shown = examples(await read('.env.example')).filter(([, value]) => value !== '');
  const withDefault = Object.entries(variables).filter(
    ([, schema]) => schema.safeParse(undefined).data !== undefined,
  );
  // An empty list of origins has no way to be written but as nothing.
  expect(shown.map(([name]) => name).sort()).toEqual(
    withDefault
      .map(([name]) => name)
      .filter((name) => name !== 'CORS_ORIGINS')
      .sort(),
  );
  expect(loadEnv(Object.fromEntries(shown))).toEqual(loadEnv({}));
});

test("the README's table has every variable", async () => {
  expect(existsSync(new URL('../../README.md', import.meta.url)), 'there is no README.md').toBe(true);
  expect(tabled(await read('README.md')).sort()).toEqual(known);
});

test('both are read as they are written', () => {
  expect(examples('# text A=1\n# PORT=4000\n#HOST=\n')).toEqual([
    ['PORT', '4000'],
    ['HOST', ''],
  ]);
  expect(tabled('| variable | `X` |\n|---|---|\n| `HOST`, `PORT` | of `C` |\n| `A_B` or `C` | |')).toEqual([
    'HOST',
    'PORT',
    'A_B',
    'C',
  ]);
});

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

/** The rows of the Markdown tables that are headed "variable", by the names in backticks in their first cell. */
function tabled(markdown: string): [name: string, row: string][] {
  const tables = markdown.matchAll(/^\| *variable *\|.*\n((?:\|.*(?:\n|$))*)/gim);
  return [...tables].flatMap(([, rows = '']) =>
    [...rows.matchAll(/^\|([^|]*)\|.*$/gm)].flatMap(([row, cell = '']) =>
      [...cell.matchAll(/`([A-Z][A-Z0-9_]*)`/g)].map(([, name = '']): [string, string] => [name, row]),
    ),
  );
}

const known = Object.keys(variables).sort();

test('.env.example has every variable, commented out and explained', async () => {
  const text = await read('.env.example');
  const shown = examples(text);
  expect(shown.map(([name]) => name).sort()).toEqual(known);
  expect(text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))).toEqual([]);
  for (const paragraph of text.split('\n\n')) expect(paragraph).toMatch(/^# [A-Z][a-z]/);
});

/** As one writes it into an environment. */
const defaults = Object.entries(variables)
  .map(([name, schema]) => [name, schema.safeParse(undefined).data] as const)
  .filter(([, value]) => typeof value === 'string' || typeof value === 'number')
  .map(([name, value]) => [name, String(value)] as const);

test('the values in .env.example are the defaults, and no others', async () => {
  const shown = examples(await read('.env.example')).filter(([, value]) => value !== '');
  expect(shown.toSorted()).toEqual(defaults.toSorted());
  expect(loadEnv(Object.fromEntries(shown))).toEqual(loadEnv({}));
});

test("the README's table has every variable, with its default", async () => {
  const rows = tabled(await read('README.md'));
  expect(rows.map(([name]) => name).sort()).toEqual(known);
  const byName = new Map(rows);
  for (const [name, value] of defaults) expect(byName.get(name)).toContain(`\`${value}\` |`);
});

test('both are read as they are written', () => {
  expect(examples('# text A=1\n# PORT=4000\n#HOST=\n')).toEqual([
    ['PORT', '4000'],
    ['HOST', ''],
  ]);
  const hosts = '| `HOST`, `PORT` | of `C` |';
  const table = `| Variable | \`X\` |\n|---|---|\n${hosts}\n| \`A_B\` | |`;
  expect(
    tabled(`| status |\n|---|\n| \`COMMITTED\` |\n\n${table}\n\n| code |\n|---|\n| \`FORBIDDEN\` |\n`),
  ).toEqual([
    ['HOST', hosts],
    ['PORT', hosts],
    ['A_B', '| `A_B` | |'],
  ]);
});

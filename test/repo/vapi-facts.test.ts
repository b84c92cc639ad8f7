import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = new URL('../../', import.meta.url).pathname;
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

test('every fact about Vapi that the code names is in docs/vapi.md, once', () => {
  const facts = read('docs/vapi.md');
  const headings = [...facts.matchAll(/^## (.*)$/gm)].map(([, title = '']) =>
    title.toLowerCase().replaceAll(' ', '-'),
  );
  const anchors = [...headings, ...[...facts.matchAll(/<a id="([^"]+)">/g)].map(([, id = '']) => id)];
  expect(anchors.filter((one, index) => anchors.indexOf(one) !== index)).toEqual([]);

  const files = ['src', 'test', 'docs', 'supabase/migrations'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => /\.(ts|md|sql)$/.test(path))
      .map((path) => join(folder, path)),
  );
  const named = files.flatMap((path) =>
    [...read(path).matchAll(/vapi\.md#([a-z0-9-]+)/g)].map(([, anchor = '']) => ({ path, anchor })),
  );
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter(({ anchor }) => !anchors.includes(anchor))).toEqual([]);
});

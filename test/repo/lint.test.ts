import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..', '..');
const BAD = `import { work } from './work.ts';
export function run(value: any): void {
  work();
  console.log(value!, process.env['LEVEL']);
}
export class Held {
  constructor(readonly value: string) {}
}
`;
const FILES = {
  'src/services/work.ts': 'export async function work(): Promise<void> {}\n',
  'src/services/bad.ts': BAD,
  'src/adapters/bad.ts': BAD.replace('./work.ts', '../services/work.ts'),
  // Programs on the command line may print, and read the environment.
  'scripts/tool.ts': "console.log(process.env['LEVEL']);\n",
};
const BROKEN = [
  'lint/nursery/noFloatingPromises',
  'lint/style/noNonNullAssertion',
  'lint/style/noParameterProperties',
  'lint/style/noProcessEnv',
  'lint/suspicious/noConsole',
  'lint/suspicious/noExplicitAny',
];

let planted: string;
beforeAll(() => {
  planted = mkdtempSync(join(tmpdir(), 'lockstep-lint-'));
  cpSync(join(root, 'biome.json'), join(planted, 'biome.json'));
  for (const [path, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(planted, path)), { recursive: true });
    writeFileSync(join(planted, path), text);
  }
});
afterAll(() => rmSync(planted, { recursive: true, force: true }));

test('the linter finds what it is there for, where it is wanted', () => {
  const { stdout, stderr } = spawnSync(
    join(root, 'node_modules', '.bin', 'biome'),
    ['lint', '--reporter=github', '--vcs-enabled=false', '--max-diagnostics=none'],
    { cwd: planted, encoding: 'utf8' },
  );
  const annotations = stdout.matchAll(/title=(lint\/[\w/]+),file=[^,]*?((?:src|scripts)\/[^,]+),/g);
  const found = [...annotations].map(([, rule, file]) => `${file} ${rule}`);
  const expected = ['src/adapters/bad.ts', 'src/services/bad.ts'].flatMap((file) =>
    BROKEN.map((rule) => `${file} ${rule}`),
  );
  expect(found.sort(), stderr).toEqual(expected.sort());
});

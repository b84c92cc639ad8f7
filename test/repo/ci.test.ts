import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

/** Stands in for npm: says what it was asked, prints what vitest would, and fails where it is told to. */
const NPM = `#!/usr/bin/env bash
echo "npm $*"
if [ "$1" = test ]; then
  printf '\\x1b[2m Test Files \\x1b[22m 1 passed (1)\\n\\x1b[2m      Tests \\x1b[22m 5 passed (5)\\n5 passed, 0 failed, 0 skipped\\n'
fi
[ "$1" != "$FAILING" ]
`;

let bin: string;
beforeAll(() => {
  bin = mkdtempSync(join(tmpdir(), 'lockstep-ci-'));
  writeFileSync(join(bin, 'npm'), NPM);
  chmodSync(join(bin, 'npm'), 0o755);
});
afterAll(() => rmSync(bin, { recursive: true, force: true }));

function ci(failing: string) {
  const { status, stdout } = spawnSync(resolve(import.meta.dirname, '..', '..', '.ci', 'run'), {
    env: { PATH: `${bin}:${process.env['PATH']}`, FAILING: failing },
    encoding: 'utf8',
  });
  return { status, lines: stdout.trim().split('\n') };
}

test('the test command of the README, then the checks, then a summary', () => {
  const { status, lines } = ci('nothing');
  expect(lines.filter((line) => line.startsWith('npm '))).toEqual(['npm ci', 'npm test', 'npm run check']);
  expect(lines.slice(-4)).toEqual([
    ' Test Files  1 passed (1)',
    '      Tests  5 passed (5)',
    'Static checks: passed',
    '5 passed, 0 failed, 0 skipped',
  ]);
  expect(status).toBe(0);
});

test.each(['ci', 'test', 'run'])('npm %s fails: so does the whole, whatever else went well', (step) => {
  const { status, lines } = ci(step);
  expect(status).not.toBe(0);
  expect(lines).toContain('npm run check');
  expect(lines.includes('npm test')).toBe(step !== 'ci');
  expect(lines.includes('The tests did not run to their end.')).toBe(step === 'ci');
  expect(lines.includes('Static checks: FAILED')).toBe(step === 'run');
});

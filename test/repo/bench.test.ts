import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const NAMES = [
  'function.validate',
  'function.canonical_json',
  'function.render',
  'function.compare',
  'function.observed_form',
  'sql.begin_agents',
  'sql.saga_commit',
  ...['save', 'read', 'list'].flatMap((what) =>
    ['throughput', 'latency', 'cpu', 'cpu_ratio'].map((figure) => `server.${what}.${figure}`),
  ),
  'edge.save.heap',
  'edge.pipelined.memory',
  'edge.pipelined.health',
  'edge.refused.cpu',
  'edge.refused_anonymous.cpu',
  'start.first',
  'start.again',
  'local.save',
  'start.memory',
  'start.memory.postgres',
];
const hasProc = existsSync('/proc/self/smaps_rollup');

test('the benchmarks run, and print a line of JSON per figure', { timeout: 600_000 }, async () => {
  const main = resolve(import.meta.dirname, '..', '..', 'bench', 'main.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [main, '--scale', '0.002'], {
    timeout: 590_000,
  });
  const figures = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { name: string; value: number; unit: string });
  expect(figures.map(({ name }) => name)).toEqual(
    NAMES.filter((name) => hasProc || !/\.(cpu.*|memory.*)$|pipelined/.test(name)),
  );
  for (const figure of figures)
    expect(figure).toMatchObject({ value: expect.any(Number), unit: expect.any(String) });
  // Of a few requests, CPU time (in hundredths of a second) and memory can be none.
  for (const { name, value } of figures)
    if (!/\.cpu|pipelined|heap/.test(name)) expect(value).toBeGreaterThan(0);
});

/** docs/operations.md names every metric and event that the server has, and no others. */
import { once } from 'node:events';
import { glob, readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createLogger } from '../../src/adapters/system/logger.ts';
import { type App, createApp } from '../../src/app.ts';
import { Secret } from '../../src/domain/secret.ts';
import { COUNTED, SAVE_ENDED_BY, SAVE_ENDINGS } from '../../src/ports/telemetry.ts';

const ROOT = new URL('../../', import.meta.url);

let app: App;
let exported: string;
let document: string;
beforeAll(async () => {
  // Nothing of it is called: no database and no Vapi is needed to read the metrics.
  app = createApp({
    supabase: {
      ...{ url: 'http://127.0.0.1:9', publishableKey: 'p', secretKey: new Secret('secret-key') },
      ...{ jwks: null, jwtSecret: new Secret('jwt-secret'), timeoutMs: 1_000 },
    },
    vapi: { baseUrl: 'http://127.0.0.1:9', key: null },
    settings: { leaseMs: 6_000, deadlineMs: 12_000, answerMs: 5_000, lateMs: 200, requestTimeoutMs: 1_500 },
    pace: {
      ...{ requestsPerSecond: 50, burst: 100, reserve: 4, recoveryMs: 60_000, waitMs: 5_000 },
      ...{ savesPerMinute: 300, inProgress: 32 },
    },
    breaker: { failures: 10, openMs: 5_000, keyRefusals: 2, keyRetryMs: 2_000 },
    recoveryIntervalMs: 5_000,
    reconcileIntervalMs: 0,
    saveRetentionDays: 90,
    corsOrigins: [],
    log: createLogger('silent', []),
  });
  app.server.listen(0, '127.0.0.1');
  await once(app.server, 'listening');
  const { port } = app.server.address() as AddressInfo;
  exported = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  document = await readFile(new URL('docs/operations.md', ROOT), 'utf8');
});
afterAll(() => app.stop(0));

/** The section under this heading. */
const section = (heading: string) => {
  const [, after = ''] = document.split(`\n## ${heading}\n`);
  return after.split('\n## ')[0] ?? '';
};
/** Of each row of the section's table, the names in backticks in the first cell, and the row. */
const rowsOf = (heading: string): [names: string[], row: string][] =>
  [...section(heading).matchAll(/^\|([^|]*)\|.*$/gm)]
    .map(([row, cell = '']): [string[], string] => [
      [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name),
      row,
    ])
    .filter(([names]) => names.length > 0);
const sorted = (names: Iterable<string>) => [...new Set(names)].sort();

describe('metrics', () => {
  const exportedNames = () =>
    sorted([...exported.matchAll(/^# TYPE (lockstep_\w+) /gm)].map(([, name = '']) => name));

  test('the table has every metric of Lockstep, and no other', () => {
    expect(exportedNames().length).toBeGreaterThan(5);
    expect(sorted(rowsOf('Metrics').flatMap(([names]) => names))).toEqual(exportedNames());
  });

  test('the section has every outcome and every value of `by`', () => {
    for (const value of [...SAVE_ENDINGS, ...SAVE_ENDED_BY])
      expect(section('Metrics')).toContain(`\`${value}\``);
  });

  test('every alert is about a series that exists', () => {
    const series = exported.split('\n').filter((line) => line.startsWith('lockstep_'));
    const alerts = rowsOfAlerts();
    expect(alerts.length).toBeGreaterThan(5);
    for (const expression of alerts) {
      const [, name = '', labels = ''] = /(lockstep_\w+)(?:\{([^}]*)\})?/.exec(expression) ?? [];
      const wanted = [...labels.matchAll(/(\w+)=~?"([^"]*)"/g)].flatMap(([, label = '', values = '']) =>
        values.split('|').map((value) => `${label}="${value}"`),
      );
      for (const pair of wanted.length === 0 ? [''] : wanted) {
        const found = series.some((line) => /^\w+/.exec(line)?.[0] === name && line.includes(pair));
        expect(found, `${expression}: ${name} ${pair}`).toBe(true);
      }
    }
  });

  /** A cell may hold an escaped `|`. */
  const rowsOfAlerts = () =>
    [...section('Alerts').matchAll(/^\| `([^`]+)` \|/gm)].map(([, expression = '']) =>
      expression.replaceAll('\\|', '|'),
    );
});

describe('events', () => {
  const documented = () => rowsOf('The log');

  test('the table has every event of the log and of the counter, and no other', async () => {
    const used = new Set<string>(COUNTED);
    for await (const path of glob('src/**/*.ts', { cwd: ROOT })) {
      if (path.endsWith('.test.ts') || path.startsWith('src/local/')) continue;
      const text = await readFile(new URL(path, ROOT), 'utf8');
      for (const [, event = ''] of text.matchAll(
        /'((?:save|vapi|sweep|number|call(?!\.deleted')|database|admission)\.[a-z_]+)'/g,
      )) {
        used.add(event);
      }
    }
    expect(sorted(documented().flatMap(([names]) => names))).toEqual(sorted(used));
  });

  test('the table marks the events that are counted', () => {
    const marked = documented().filter(([, row]) => / \| yes \| /.test(row));
    expect(sorted(marked.flatMap(([names]) => names))).toEqual(sorted(COUNTED));
  });
});

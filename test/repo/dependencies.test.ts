import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test } from 'vitest';
import { auditVerdict } from '../../scripts/audit.ts';
import {
  checkDependencies,
  type Lock,
  type LockedPackage,
  type Manifest,
} from '../../scripts/check-dependencies.ts';

const integrity = 'sha512-abc';
const VAPI = 'node_modules/@vapi-ai/server-sdk';

const manifest = (changes: Manifest = {}): Manifest => ({
  dependencies: { graphql: '16.15.0', node: '24.21.0' },
  devDependencies: { '@vapi-ai/server-sdk': '2.0.1' },
  allowScripts: { node: true },
  ...changes,
});

const lock = (changes: Record<string, Partial<LockedPackage>> = {}): Lock => {
  const packages: Lock['packages'] = {
    '': { version: '0.1.0' },
    'node_modules/graphql': { version: '16.15.0', license: 'MIT', integrity },
    'node_modules/node': { version: '24.21.0', license: 'MIT', integrity, hasInstallScript: true },
    [VAPI]: { version: '2.0.1', integrity, dev: true },
  };
  for (const [path, change] of Object.entries(changes)) packages[path] = { ...packages[path], ...change };
  return { lockfileVersion: 3, packages };
};

const added = (entry: Partial<LockedPackage>) => ({
  'node_modules/added': { version: '1.0.0', license: 'MIT', integrity, ...entry },
});

describe('the locked dependencies', () => {
  test('nothing to complain about', () => {
    expect(checkDependencies(manifest(), lock())).toEqual([]);
  });

  test.each<[string, string, Manifest, Lock]>([
    [
      'a range',
      'graphql is wanted as "^16.15.0", not as one version',
      manifest({ dependencies: { graphql: '^16.15.0', node: '24.21.0' } }),
      lock({ 'node_modules/graphql': { version: '^16.15.0' } }),
    ],
    [
      'another version than wanted',
      'graphql is wanted as 16.15.0 and locked as 16.14.0',
      manifest(),
      lock({ 'node_modules/graphql': { version: '16.14.0' } }),
    ],
    [
      'wanted, not locked',
      'pino is wanted as 1.0.0 and locked as nothing',
      manifest({ dependencies: { pino: '1.0.0' } }),
      lock(),
    ],
    [
      'a range under another name',
      'other is wanted as "npm:added@^1.0.0", not as one version',
      manifest({ dependencies: { other: 'npm:added@^1.0.0' } }),
      lock({ 'node_modules/other': { name: 'added', version: '^1.0.0', license: 'MIT', integrity } }),
    ],
    [
      'another package than wanted under a name',
      'other is wanted as npm:added@1.0.0 and locked as npm:wrong@1.0.0',
      manifest({ dependencies: { other: 'npm:added@1.0.0' } }),
      lock({ 'node_modules/other': { name: 'wrong', version: '1.0.0', license: 'MIT', integrity } }),
    ],
    [
      'from somewhere else',
      'node_modules/added comes from git+ssh://git@example.com/a/b.git#c, not from the registry',
      manifest(),
      lock(added({ resolved: 'git+ssh://git@example.com/a/b.git#c' })),
    ],
    [
      'no integrity',
      'added@1.0.0 has no sha512 integrity',
      manifest(),
      lock(added({ integrity: 'sha1-abc' })),
    ],
    [
      "a platform's package is left out",
      'added@1.0.0 may need added-darwin, which is not locked',
      manifest(),
      lock({
        ...added({
          optionalDependencies: { 'added-darwin': '1.0.0', 'added-linux': '1.0.0', nested: '1.0.0' },
        }),
        'node_modules/added-linux': { version: '1.0.0', license: 'MIT', integrity },
        'node_modules/added/node_modules/nested': { version: '1.0.0', license: 'MIT', integrity },
      }),
    ],
    [
      'a licence',
      'added@1.0.0 is under GPL-3.0, which is not on the list',
      manifest(),
      lock(added({ license: 'GPL-3.0' })),
    ],
    [
      'a licence with a condition',
      'added@1.0.0 is under MIT AND GPL-3.0, which is not on the list',
      manifest(),
      lock(added({ license: 'MIT AND GPL-3.0' })),
    ],
    [
      'a licence that is for tools only',
      'added@1.0.0 is under MPL-2.0, which is not on the list',
      manifest(),
      lock(added({ license: 'MPL-2.0' })),
    ],
    [
      'no licence',
      'added@1.0.0 declares no licence',
      manifest(),
      lock({ 'node_modules/added': { version: '1.0.0', integrity, dev: true } }),
    ],
    [
      'no licence, excepted, but shipped',
      '@vapi-ai/server-sdk@2.0.1 declares no licence',
      manifest(),
      lock({ [VAPI]: { dev: false } }),
    ],
    [
      'an exception without need',
      '@vapi-ai/server-sdk needs no exception for its licence any more',
      manifest(),
      lock({ [VAPI]: { license: 'MIT' } }),
    ],
    [
      'an install script',
      "added runs a script at install and is not in package.json's allowScripts",
      manifest(),
      lock(added({ hasInstallScript: true })),
    ],
    [
      'a permission without need',
      'allowScripts names added, which runs no script at install',
      manifest({ allowScripts: { node: true, added: true } }),
      lock(added({})),
    ],
    [
      'two graphqls',
      'there must be exactly one graphql, and there are 2: node_modules/graphql, node_modules/a/node_modules/graphql',
      manifest(),
      lock({ 'node_modules/a/node_modules/graphql': { version: '15.0.0', license: 'MIT', integrity } }),
    ],
    [
      'a second graphql under another name',
      'there must be exactly one graphql, and there are 2: node_modules/graphql, node_modules/other',
      manifest(),
      lock({ 'node_modules/other': { name: 'graphql', version: '17.0.0', license: 'MIT', integrity } }),
    ],
  ])('%s', (_what, problem, wanted, locked) => {
    expect(checkDependencies(wanted, locked)).toEqual([problem]);
  });

  test('one version of a package may be wanted under another name', () => {
    const wanted = manifest({ dependencies: { other: 'npm:added@1.0.0' } });
    const other = { name: 'added', version: '1.0.0', license: 'MIT', integrity };
    expect(checkDependencies(wanted, lock({ 'node_modules/other': other }))).toEqual([]);
  });

  test('a choice of licences needs one that is allowed; tools may be under MPL-2.0', () => {
    expect(checkDependencies(manifest(), lock(added({ license: '(GPL-3.0 OR MIT)' })))).toEqual([]);
    expect(checkDependencies(manifest(), lock(added({ license: 'MPL-2.0', dev: true })))).toEqual([]);
  });
});

describe('the audit', () => {
  const report = (counts: Record<string, number>, vulnerabilities = {}) =>
    JSON.stringify({ auditReportVersion: 2, vulnerabilities, metadata: { vulnerabilities: counts } });

  test('nothing, or nothing grave, is known', () => {
    expect(auditVerdict(report({ low: 0, moderate: 0, high: 0, critical: 0, total: 0 }))).toEqual({
      ok: true,
      text: 'Known vulnerabilities: 0 low, 0 moderate, 0 high, 0 critical.',
    });
    expect(auditVerdict(report({ moderate: 2, high: 0, critical: 0 })).ok).toBe(true);
  });

  test.each(['high', 'critical'])('a %s one fails, by name', (severity) => {
    expect(auditVerdict(report({ [severity]: 1 }, { added: { severity } }))).toEqual({
      ok: false,
      text: `Known vulnerabilities: 1 ${severity}.\n  ${severity}: added`,
    });
  });

  test('the audit fails and says that nothing was checked where the registry has no audit endpoint', () => {
    // As npm 11 prints it for a registry that refuses the request.
    const output = JSON.stringify({
      message: '405 Method Not Allowed - POST https://registry.example/-/npm/v1/security/advisories/bulk',
      method: 'POST',
      uri: 'https://registry.example/-/npm/v1/security/advisories/bulk',
      statusCode: 405,
      body: '',
      error: { summary: '', detail: '' },
    });
    expect(auditVerdict(output)).toEqual({
      ok: false,
      text: 'https://registry.example offers no audit endpoint (HTTP 405): nothing was checked. Run it against a registry that does (npm_config_registry=<address>).',
    });
  });

  test('trouble is not an all-clear', () => {
    expect(auditVerdict('')).toMatchObject({ ok: false });
    expect(auditVerdict('npm error code ENOLOCK')).toMatchObject({ ok: false });
    expect(auditVerdict(JSON.stringify({ message: '503 Service Unavailable', statusCode: 503 }))).toEqual({
      ok: false,
      text: 'npm audit failed: 503 Service Unavailable',
    });
    expect(
      auditVerdict(JSON.stringify({ message: 'request to … failed', error: { code: 'ENOTFOUND' } })).ok,
    ).toBe(false);
  });

  /** `npm run audit` against a registry on this machine, which has this to say of what is locked. */
  async function audit(status: number, advisories: object) {
    const asked: string[] = [];
    const registry = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      request.resume();
      const bulk = request.url?.endsWith('/advisories/bulk');
      const versions = { '15.1.3': { name: 'prom-client', version: '15.1.3' } };
      const answer = bulk ? advisories : { name: 'prom-client', 'dist-tags': { latest: '15.1.3' }, versions };
      response
        .writeHead(bulk ? status : 200, { 'content-type': 'application/json' })
        .end(JSON.stringify(answer));
    }).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const cache = await mkdtemp(join(tmpdir(), 'lockstep-audit-'));
    onTestFinished(async () => {
      registry.closeAllConnections();
      registry.close();
      await rm(cache, { recursive: true, force: true });
    });
    const child = spawn(process.execPath, ['scripts/audit.ts'], {
      env: {
        ...process.env,
        npm_config_registry: `http://127.0.0.1:${(registry.address() as AddressInfo).port}`,
        npm_config_cache: cache,
        npm_config_fetch_retries: '0',
      },
    });
    const [out, error, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'exit'),
    ]);
    expect(asked[0]).toBe('POST /-/npm/v1/security/advisories/bulk');
    return { code: code as number, said: out + error };
  }

  test('run where a registry knows something: fails, by name', async () => {
    const about = { id: 1, url: 'https://example.com/1', title: 'Planted', cwe: [], cvss: { score: 9 } };
    const known = { 'prom-client': [{ ...about, severity: 'critical', vulnerable_versions: '<=15.1.3' }] };
    const { code, said } = await audit(200, known);
    expect([code, said]).toEqual([1, expect.stringContaining('\n  critical: prom-client')]);
  });

  test('run where it knows nothing, where it has no such endpoint, and where it is in trouble', async () => {
    const [clean, none, trouble] = await Promise.all([audit(200, {}), audit(404, {}), audit(503, {})]);
    expect([clean.code, clean.said]).toEqual([
      0,
      expect.stringMatching(/^Known vulnerabilities: .*0 critical/),
    ]);
    expect([none.code, none.said]).toEqual([1, expect.stringMatching(/HTTP 404\): nothing was checked/)]);
    expect([trouble.code, trouble.said]).toEqual([1, expect.stringMatching(/^npm audit failed/)]);
  });
});

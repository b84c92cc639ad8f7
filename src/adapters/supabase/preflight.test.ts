import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { closedPort } from '../../../test/support/network.ts';
import { createTestSupabase, type TestSupabase } from '../../../test/support/supabase.ts';
import { Secret } from '../../domain/secret.ts';
import type { SupabaseConfig } from './clients.ts';
import { preflight } from './preflight.ts';

let supabase: TestSupabase;
beforeAll(async () => {
  supabase = await createTestSupabase();
});
afterAll(() => supabase?.stop());

const config = (changes: Partial<SupabaseConfig> = {}): SupabaseConfig => ({
  url: supabase.url,
  publishableKey: supabase.publishableKey,
  secretKey: new Secret(supabase.secretKey),
  jwks: null,
  jwtSecret: new Secret(supabase.jwtSecret),
  timeoutMs: 60_000,
  ...changes,
});

/** A server on this machine that always answers this. */
async function answering(status: number, body: unknown): Promise<string> {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('a configured project with the migrations is ready', async () => {
  expect(await preflight(config())).toEqual({ state: 'ready' });
});

test.each<[string, () => string]>([
  ['an unknown secret key', () => 'sb_secret_of_another_project'],
  ['the publishable key in place of the secret one', () => supabase.publishableKey],
])('reports %s as a wrong SUPABASE_SECRET_KEY, with the host and without the key', async (_what, key) => {
  const found = await preflight(config({ secretKey: new Secret(key()) }));
  expect(found).toMatchObject({ state: 'misconfigured', variable: 'SUPABASE_SECRET_KEY' });
  expect(JSON.stringify(found)).toContain(new URL(supabase.url).host);
  expect(JSON.stringify(found)).not.toContain(key());
});

test('reports missing migrations and the command that applies them', async () => {
  const url = await answering(404, {
    code: 'PGRST202',
    message: 'Could not find the function',
    details: null,
    hint: null,
  });
  expect(await preflight(config({ url }))).toMatchObject({
    ...{ state: 'misconfigured', variable: 'SUPABASE_URL' },
    problem: expect.stringContaining('supabase db push'),
  });
});

test('reports a host that is not a Supabase project as a wrong SUPABASE_URL', async () => {
  for (const status of [301, 404, 405]) {
    const url = await answering(status, 'hello');
    expect(await preflight(config({ url }))).toMatchObject({
      state: 'misconfigured',
      variable: 'SUPABASE_URL',
    });
  }
});

test('reports an unknown host name as a wrong SUPABASE_URL or, without a name server, as unreachable', async () => {
  const found = await preflight(config({ url: 'https://no-such-project.invalid' }));
  expect(JSON.stringify(found)).toContain('no-such-project.invalid');
  expect(found.state).not.toBe('ready');
});

test('reports a stopped database as unreachable and not as a configuration error', async () => {
  const away = `http://127.0.0.1:${await closedPort()}`;
  expect(await preflight(config({ url: away }))).toMatchObject({ state: 'unreachable' });
  const down = await answering(503, { code: 'PGRST001', message: 'x', details: null, hint: null });
  expect(await preflight(config({ url: down }))).toMatchObject({ state: 'unreachable' });
});

test('a project without published keys needs SUPABASE_JWT_SECRET', async () => {
  const jwks = new URL(await answering(200, { keys: [] }));
  expect(await preflight(config({ jwks, jwtSecret: null }))).toMatchObject({
    ...{ state: 'misconfigured', variable: 'SUPABASE_JWT_SECRET' },
    problem: expect.stringContaining('HS256'),
  });
});

test('accepts published keys, refuses an address without a key set, and reports an unreachable one', async () => {
  const keys = new URL(await answering(200, { keys: [{ kty: 'EC' }] }));
  expect(await preflight(config({ jwks: keys, jwtSecret: null }))).toEqual({ state: 'ready' });
  const none = new URL(await answering(404, 'not here'));
  expect(await preflight(config({ jwks: none, jwtSecret: null }))).toMatchObject({
    ...{ state: 'misconfigured', variable: 'SUPABASE_JWKS_URL' },
  });
  const away = new URL(`http://127.0.0.1:${await closedPort()}/`);
  expect(await preflight(config({ jwks: away, jwtSecret: null }))).toMatchObject({ state: 'unreachable' });
});

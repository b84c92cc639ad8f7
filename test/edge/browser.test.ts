/** A page of another site can neither change anything nor read anything through a visitor's browser. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { databaseCalls, forgetRequests, vapiCalls } from '../support/systems.ts';

const DASHBOARD = 'https://app.example.com';
const ADMIN = 'https://admin.example.com';
const EVIL = 'https://evil.example';

let lockstep: TestApp;
let closed: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp({ config: { corsOrigins: [DASHBOARD, ADMIN] } });
  closed = await createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi });
  caller = await lockstep.newCaller();
});
afterAll(async () => {
  await closed?.stop();
  await lockstep?.stop();
});
beforeEach(() => forgetRequests(lockstep));

const MUTATION = 'mutation { updateAgents(input: { inbound: { systemPrompt: "P" } }) { __typename } }';
const corsHeaders = (response: Response) =>
  [...response.headers].filter(([name]) => name.startsWith('access-control-'));

describe('CORS', () => {
  const preflight = (url: string, origin: string) =>
    fetch(url, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });

  test.each([DASHBOARD, ADMIN])('allows a listed origin to send its token: %s', async (origin) => {
    const asked = await preflight(lockstep.url, origin);
    expect(asked.status).toBe(204);
    expect(Object.fromEntries(corsHeaders(asked))).toEqual({
      'access-control-allow-origin': origin,
      'access-control-allow-methods': 'POST, GET, OPTIONS',
      'access-control-allow-headers':
        'authorization, content-type, graphql-require-preflight, apollo-require-preflight',
      'access-control-expose-headers': 'x-request-id',
      'access-control-max-age': '600',
    });
    const answered = await fetch(lockstep.url, {
      method: 'POST',
      headers: { origin, authorization: `Bearer ${caller.token}`, 'content-type': 'application/json' },
      body: '{"query":"{ organization { id } }"}',
    });
    expect(await answered.json()).toEqual({ data: { organization: { id: caller.orgId } } });
    expect(answered.headers.get('access-control-allow-origin')).toBe(origin);
    expect(answered.headers.get('vary')).toMatch(/Origin/i);
  });

  test.each([
    EVIL,
    'null',
    'http://app.example.com',
    'https://app.example.com.evil.example',
    'https://app.example.com:8443',
    'https://APP.example.com',
    '*',
  ])('allows no other origin: %s', async (origin) => {
    for (const url of [lockstep.url, closed.url]) {
      expect(corsHeaders(await preflight(url, origin))).toEqual([]);
      for (const accept of ['application/json', 'text/html']) {
        const answered = await fetch(`${url}?query=${encodeURIComponent('{ __typename }')}`, {
          headers: { origin, accept },
        });
        expect(answered.status).toBe(200);
        expect(corsHeaders(answered)).toEqual([]);
      }
    }
  });

  test('allows no origin if CORS_ORIGINS is not set', async () => {
    expect(corsHeaders(await preflight(closed.url, DASHBOARD))).toEqual([]);
  });

  test('only a listed origin can read the body of an HTTP error', async () => {
    for (const path of ['/health', '/ready', '/metrics', '/nothing']) {
      const answered = await fetch(`${lockstep.origin}${path}`, { headers: { origin: EVIL } });
      expect(corsHeaders(answered)).toEqual([]);
    }
  });
});

describe('requests that a browser sends without a preflight request', () => {
  // https://fetch.spec.whatwg.org/#cors-safelisted-request-header
  const form = new FormData();
  form.append('operations', JSON.stringify({ query: MUTATION }));
  form.append('map', '{}');
  const posted = (type: string, body = JSON.stringify({ query: MUTATION })): RequestInit => ({
    method: 'POST',
    headers: { 'content-type': type },
    body,
  });
  test.each<[string, RequestInit]>([
    [
      'a form',
      {
        method: 'POST',
        body: new URLSearchParams({ query: MUTATION }),
      },
    ],
    ['a form with a file', { method: 'POST', body: form }],
    ['a form that is JSON in disguise', posted('text/plain')],
    ['a form that names JSON as a parameter', posted('text/plain; application/json')],
    ['two content types in one', posted('text/plain, application/json')],
    ['two content types, the other way round', posted('application/json, text/plain')],
    ['a document as it is', posted('application/graphql', MUTATION)],
    ['no content type', { method: 'POST', body: new Blob([JSON.stringify({ query: MUTATION })]) }],
  ])('answers %s with 415 and runs nothing, even with a token', async (_what, init) => {
    const headers = new Headers(init.headers);
    headers.set('authorization', `Bearer ${caller.token}`);
    const response = await fetch(lockstep.url, { ...init, headers });
    expect(response.status).toBe(415);
    expect(await response.json()).toMatchObject({
      errors: [{ extensions: { code: 'UNSUPPORTED_MEDIA_TYPE' } }],
    });
    expect(databaseCalls(lockstep)).toEqual([]);
    expect(vapiCalls(lockstep)).toEqual([]);
  });

  test.each<[string, Record<string, string>]>([
    ['GET', { query: MUTATION }],
    [
      'GET, selected by operationName',
      { query: `query Q { __typename } ${MUTATION.replace('mutation', 'mutation M')}`, operationName: 'M' },
    ],
  ])('answers a mutation by %s with 405 and runs nothing', async (_what, parameters) => {
    for (const accept of ['application/json', 'application/graphql-response+json', 'text/event-stream']) {
      const response = await fetch(`${lockstep.url}?${new URLSearchParams(parameters)}`, {
        headers: { authorization: `Bearer ${caller.token}`, accept },
      });
      expect(response.status).toBe(405);
    }
    expect(databaseCalls(lockstep)).toEqual([]);
    expect(vapiCalls(lockstep)).toEqual([]);
  });

  test('answers a query by GET, which changes nothing and carries no cookie', async () => {
    const url = `${lockstep.url}?${new URLSearchParams({ query: '{ organization { id } }' })}`;
    const anonymous = await fetch(url, { headers: { cookie: `sb-access-token=${caller.token}` } });
    expect(await anonymous.json()).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] });
    expect(anonymous.headers.get('set-cookie')).toBeNull();
    const known = await fetch(url, { headers: { authorization: `Bearer ${caller.token}` } });
    expect(await known.json()).toEqual({ data: { organization: { id: caller.orgId } } });
  });

  test.each([
    ['variables', '{'],
    ['extensions', 'x'],
  ])('answers an address whose %s are not JSON with 400', async (name, value) => {
    const response = await fetch(
      `${lockstep.url}?${new URLSearchParams({ query: '{ __typename }', [name]: value })}`,
    );
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      errors: [{ message: 'The variables or extensions are no JSON.', extensions: { code: 'BAD_REQUEST' } }],
    });
    expect(lockstep.log.join('')).not.toMatch(/unexpected error/);
  });
});

test('forbids caches, frames and content sniffing on every answer', async () => {
  for (const [path, cacheControl] of [
    // The page is the same for every visitor and contains no token. A browser may cache it and must revalidate it.
    ['/graphql', 'no-cache'],
    ...['/graphql?query={__typename}', '/health', '/metrics', '/', '/nothing'].map((at) => [at, 'no-store']),
  ] as const) {
    const { headers } = await fetch(`${lockstep.origin}${path}`, {
      headers: { accept: path === '/graphql' ? 'text/html' : '*/*' },
      redirect: 'manual',
    });
    expect(Object.fromEntries(headers)).toMatchObject({
      'cache-control': cacheControl,
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
    });
  }
});

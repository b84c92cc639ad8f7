import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { JsonObject } from './assistant-store.ts';
import { DEFAULT_VAPI_ORG_ID, startVapiStandIn, type VapiStandIn } from './server.ts';

const KEY = 'key-for-tests';
const UNKNOWN_ID = '00000000-0000-4000-8000-000000000001';

let standIn: VapiStandIn;
beforeAll(async () => {
  standIn = await startVapiStandIn({ key: KEY });
});
beforeEach(() => {
  standIn.reset();
  standIn.setKeys([{ key: KEY }]);
});
afterAll(() => standIn.stop());

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: JsonObject; headers: Headers }> {
  const response = await fetch(standIn.url + path, {
    method,
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', ...headers },
    body: body === undefined || typeof body === 'string' ? (body ?? null) : JSON.stringify(body),
  });
  const text = await response.text();
  return {
    status: response.status,
    body: response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text,
    headers: response.headers,
  };
}

async function create(fields: JsonObject = {}): Promise<string> {
  return String((await call('POST', '/assistant', fields)).body['id']);
}

describe('PATCH', () => {
  test('replaces the stored value of a top-level key whole, and keeps absent keys', async () => {
    const model = {
      provider: 'openai',
      model: 'gpt-4o',
      toolIds: ['t'],
      messages: [{ role: 'system', content: 'x' }],
    };
    const id = await create({ name: 'a', firstMessage: 'b', model });
    const { status, body } = await call('PATCH', `/assistant/${id}`, {
      model: { provider: 'openai', model: 'gpt-5' },
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({ name: 'a', firstMessage: 'b' });
    expect(body['model']).toEqual({ provider: 'openai', model: 'gpt-5' });
    expect((await call('GET', `/assistant/${id}`)).body).toEqual(body);
  });

  test('stores and returns null, and omits fields that were never set', async () => {
    const id = await create({ firstMessage: 'b', voicemailMessage: 'c' });
    expect(
      (await call('PATCH', `/assistant/${id}`, { firstMessage: null, server: null })).body,
    ).toMatchObject({
      firstMessage: null,
      server: null,
      voicemailMessage: 'c',
    });
    expect((await call('GET', `/assistant/${id}`)).body).not.toHaveProperty('name');
  });

  test('never returns the secret of the server, and deletes it together with the server', async () => {
    const id = await create({ server: { url: 'https://a.example', secret: 'hush' } });
    const path = `/assistant/${id}`;
    expect((await call('GET', path)).body).toMatchObject({
      server: { url: 'https://a.example' },
      isServerUrlSecretSet: true,
    });
    expect(JSON.stringify(standIn.store.all())).not.toContain('hush');
    expect((await call('PATCH', path, { name: 'a' })).body).toMatchObject({ isServerUrlSecretSet: true });
    const replaced = await call('PATCH', path, { server: { url: 'https://b.example' } });
    expect(replaced.body).toMatchObject({
      isServerUrlSecretSet: false,
      server: { url: 'https://b.example' },
    });
  });

  test('refuses an assistant exactly as GET returned it', async () => {
    const id = await create({ name: 'a' });
    const { body: read } = await call('GET', `/assistant/${id}`);
    const { status, body } = await call('PATCH', `/assistant/${id}`, read);
    expect(status).toBe(400);
    expect(body).toEqual({
      message: ['id', 'orgId', 'createdAt', 'updatedAt', 'isServerUrlSecretSet'].map(
        (name) => `property ${name} should not exist`,
      ),
      error: 'Bad Request',
      statusCode: 400,
    });
  });
});

describe('lists', () => {
  let many: VapiStandIn;
  const start = Date.UTC(2026, 0, 1);
  let now = start;
  beforeAll(async () => {
    many = await startVapiStandIn({ key: KEY, clock: () => now });
    for (let index = 0; index < 1203; index++) {
      // Each millisecond has three assistants, so that pages end between equal times.
      now = start + Math.floor(index / 3);
      many.store.create(DEFAULT_VAPI_ORG_ID, { name: `n${index}` });
    }
  });
  afterAll(() => many.stop());
  const list = async (query: string) => {
    const response = await fetch(`${many.url}/assistant?${query}`, {
      headers: { authorization: `Bearer ${KEY}` },
    });
    return { status: response.status, body: JSON.parse(await response.text()) };
  };

  test('return 100 assistants by default, newest first', async () => {
    const { body } = await list('');
    expect(body).toHaveLength(100);
    expect(body[0].name).toBe('n1202');
    expect((await list('limit=1000')).body).toHaveLength(1000);
    expect((await list('limit=0')).body).toEqual([]);
  });

  test('a walk back with createdAtLe finds every assistant', async () => {
    const seen = new Set<string>();
    let query = 'limit=50';
    for (;;) {
      const { body } = await list(query);
      const before = seen.size;
      for (const { id } of body) seen.add(id);
      if (seen.size === before) break;
      query = `limit=50&createdAtLe=${encodeURIComponent(body.at(-1).createdAt)}`;
    }
    expect(seen.size).toBe(1203);
  });

  test.each([
    ['createdAtGt', 1, 3 * 399],
    ['createdAtGe', 1, 3 * 400],
    ['createdAtLt', 1, 3],
    ['createdAtLe', 1, 6],
    ['updatedAtGt', 400, 0],
    ['updatedAtGe', 400, 3],
  ])('%s', async (filter, offset, count) => {
    const at = new Date(start + offset).toISOString();
    const all = new Set<string>();
    const { body } = await list(`limit=1000&${filter}=${at}`);
    for (const { id } of body) all.add(id);
    expect(all.size).toBe(Math.min(count, 1000));
  });

  test('filter by updatedAt, which strictly increases even if the clock stands still', async () => {
    const [first] = many.store.all();
    if (!first) throw new Error('no assistant');
    now = start;
    const one = many.store.patch(first.orgId, first.id, { name: 'x' });
    const two = many.store.patch(first.orgId, first.id, { name: 'x' });
    expect([one?.updatedAt, two?.updatedAt].map((time) => Date.parse(time ?? ''))).toEqual([
      start + 1,
      start + 2,
    ]);
    expect(two?.createdAt).toBe(first.createdAt);
  });

  test.each([
    ['limit=1001', 'limit must not be greater than 1000'],
    ['limit=-1', 'limit must not be less than 0'],
    ['limit=ten', 'limit must be a number conforming to the specified constraints'],
    ['createdAtGt=soon', 'createdAtGt must be a Date instance'],
    ['page=2', 'property page should not exist'],
  ])('%s is refused', async (query, message) => {
    expect(await list(query)).toEqual({
      status: 400,
      body: { message: [message], error: 'Bad Request', statusCode: 400 },
    });
  });
});

describe('keys', () => {
  test('a request without a key is refused for its missing header', async () => {
    const response = await fetch(`${standIn.url}/assistant`);
    expect(response.status).toBe(401);
    expect(await response.json()).toEqual({
      message: 'Missing Authorization Header.',
      error: 'Unauthorized',
      statusCode: 401,
    });
  });

  test('a revoked key is refused, and another key keeps working', async () => {
    standIn.setKeys([
      { key: KEY, name: 'old' },
      { key: 'next', name: 'new' },
    ]);
    const id = await create();
    standIn.revokeKey(KEY);
    const refused = await call('PATCH', `/assistant/${id}`, { name: 'x' });
    expect(refused).toMatchObject({
      status: 401,
      body: {
        message: expect.stringMatching(/^Invalid Key\. Hot tip, /),
        error: 'Unauthorized',
        statusCode: 401,
      },
    });
    expect(
      (await call('GET', `/assistant/${id}`, undefined, { authorization: 'Bearer next' })).body,
    ).not.toHaveProperty('name');
    expect(standIn.requests.map(({ key, status }) => [key, status])).toEqual([
      ['old', 201],
      [null, 401],
      ['new', 200],
    ]);
    expect(JSON.stringify(standIn.requests)).not.toContain(KEY);
  });

  test('a key of another Vapi organization sees no assistant of the first', async () => {
    standIn.setKeys([{ key: KEY }, { key: 'other', orgId: UNKNOWN_ID }]);
    const id = await create();
    const other = { authorization: 'Bearer other' };
    for (const method of ['GET', 'PATCH', 'DELETE']) {
      expect(
        (await call(method, `/assistant/${id}`, method === 'PATCH' ? {} : undefined, other)).status,
      ).toBe(404);
    }
    expect((await call('GET', '/assistant', undefined, other)).body).toEqual([]);
    expect((await call('POST', '/assistant', {}, other)).body).toMatchObject({ orgId: UNKNOWN_ID });
  });
});

describe('refusals', () => {
  test('answers a request without a User-Agent like Cloudflare, in plain text', async () => {
    expect(await call('GET', '/assistant', undefined, { 'user-agent': '' })).toMatchObject({
      status: 403,
      body: 'error code: 1010',
    });
  });

  test('refuses invalid JSON, and JSON that is not an object', async () => {
    for (const body of ['{', '[]', '1', 'null', '"x"', `${'['.repeat(600)}${']'.repeat(600)}`]) {
      expect(await call('POST', '/assistant', body)).toMatchObject({
        status: 400,
        body: { message: expect.any(String), error: 'Bad Request', statusCode: 400 },
      });
    }
    const deep = `{"metadata":{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}}`;
    expect((await call('POST', '/assistant', deep)).status).toBe(400);
    expect(standIn.store.all()).toEqual([]);
  });

  test('refuses a body of more than 10 MB', async () => {
    const { status } = await call('POST', '/assistant', { firstMessage: 'x'.repeat(10 * 1024 * 1024) });
    expect(status).toBe(413);
    expect((await call('POST', '/assistant', { firstMessage: 'x'.repeat(5 * 1024 * 1024) })).status).toBe(
      201,
    );
  });

  test('answers 404 for unknown ids and routes', async () => {
    expect((await call('GET', `/assistant/${UNKNOWN_ID}`)).body).toMatchObject({
      error: 'Not Found',
      statusCode: 404,
    });
    expect((await call('GET', '/assistant/first')).status).toBe(400);
    expect((await call('PUT', `/assistant/${UNKNOWN_ID}`, {})).status).toBe(404);
    expect((await call('GET', '/')).status).toBe(404);
    expect((await call('GET', '//')).status).toBe(404);
  });

  test('refuses a body as a whole', async () => {
    const id = await create({ name: 'a' });
    expect((await call('PATCH', `/assistant/${id}`, { firstMessage: 'b', tools: [] })).status).toBe(400);
    expect((await call('GET', `/assistant/${id}`)).body).not.toHaveProperty('firstMessage');
  });
});

test('GET has a weak ETag that changes with the content', async () => {
  const id = await create({ name: 'a' });
  const tag = async () => (await call('GET', `/assistant/${id}`)).headers.get('etag');
  const before = await tag();
  expect(before).toMatch(/^W\/"[0-9a-f]+-.+"$/);
  expect(await tag()).toBe(before);
  await call('PATCH', `/assistant/${id}`, { name: 'b' });
  expect(await tag()).not.toBe(before);
});

test('returns nested keys in the order of jsonb', async () => {
  const { body } = await call('POST', '/assistant', {
    metadata: { b: 1, aaa: 2, aa: [{ z: 1, y: 2 }], é: 3, a: 4 },
  });
  expect(JSON.stringify(body['metadata'])).toBe('{"a":4,"b":1,"aa":[{"y":2,"z":1}],"é":3,"aaa":2}');
});

test('random JSON is accepted or refused without an internal error, and accepted JSON is returned', async () => {
  const known = fc.constantFrom(
    'name',
    'model',
    'voice',
    'server',
    'metadata',
    'hooks',
    'endCallPhrases',
    '__proto__',
  );
  const json = fc.jsonValue({ maxDepth: 4 });
  const body = fc.oneof(
    json,
    fc.dictionary(fc.oneof(known, fc.string()), json),
    fc.record({ metadata: fc.dictionary(fc.string(), json), firstMessage: fc.string() }),
    fc.record({ model: fc.dictionary(fc.constantFrom('provider', 'model', 'messages', 'tools'), json) }),
  );
  const id = await create();
  await fc.assert(
    fc.asyncProperty(body, fc.constantFrom('POST', 'PATCH'), async (value, method) => {
      const path = method === 'POST' ? '/assistant' : `/assistant/${id}`;
      const answer = await call(method, path, JSON.stringify(value));
      expect([200, 201, 400]).toContain(answer.status);
      if (answer.status === 400) return;
      const { body: read } = await call('GET', `/assistant/${answer.body['id']}`);
      expect(read).toEqual(answer.body);
      const sent = JSON.parse(JSON.stringify(value));
      for (const [key, item] of Object.entries(sent)) if (key !== 'server') expect(read[key]).toEqual(item);
    }),
    { numRuns: 400 },
  );
});

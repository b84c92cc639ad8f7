import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { closedPort } from '../../../test/support/network.ts';
import type { JsonObject } from '../../domain/json.ts';
import { Secret } from '../../domain/secret.ts';
import type { FaultInput, FaultKind } from '../../local/vapi/faults.ts';
import { startVapiStandIn, type VapiStandIn } from '../../local/vapi/server.ts';
import type { Log } from '../../ports/system.ts';
import type { ProviderReply, VoiceProvider } from '../../ports/voice-provider.ts';
import { createVoiceProvider } from './got-voice-provider.ts';

const KEY = 'canary-key-4b1d-8c2e';
const PROMPT = 'canary prompt: you answer calls';
const DOCUMENT: JsonObject = {
  name: 'Front desk',
  firstMessage: null,
  model: { provider: 'openai', model: 'gpt-4.1', messages: [{ role: 'system', content: PROMPT }] },
  metadata: { lockstep: { revision: 1 } },
};
const ID = '00000000-0000-4000-8000-000000000001';
const METHODS = [
  'createAssistant',
  'updateAssistant',
  'getAssistant',
  'deleteAssistant',
  'listAssistants',
] as const;
type Method = (typeof METHODS)[number];

/** Everything that was logged or answered in a test; whatever holds the key there has leaked it. */
const seen: unknown[] = [];
const log: Log = {
  debug: (...line) => void seen.push(line),
  info: (...line) => void seen.push(line),
  warn: (...line) => void seen.push(line),
  error: (...line) => void seen.push(line),
  child: () => log,
};

/** Patient, so that a slow machine changes nothing; tests of the deadline name a shorter one. */
function provider(baseUrl: string, timeoutMs = 20_000): VoiceProvider {
  return createVoiceProvider(new Secret(KEY), { baseUrl, timeoutMs, log });
}

async function ask(voice: VoiceProvider, method: Method, id = ID): Promise<ProviderReply<unknown>> {
  const calls: Record<Method, () => Promise<ProviderReply<unknown>>> = {
    createAssistant: () => voice.createAssistant(DOCUMENT),
    updateAssistant: () => voice.updateAssistant(id, DOCUMENT),
    getAssistant: () => voice.getAssistant(id),
    deleteAssistant: () => voice.deleteAssistant(id),
    listAssistants: () => voice.listAssistants({}),
  };
  const reply = await calls[method]();
  seen.push(reply);
  return reply;
}

afterEach(() => {
  const text = inspect(seen.splice(0), { depth: null, showHidden: true, maxStringLength: null });
  expect(text).not.toContain(KEY);
  expect(text).not.toContain(Buffer.from(KEY).toString('base64').slice(4, -4));
});

describe('against the stand-in', () => {
  let vapi: VapiStandIn;
  let voice: VoiceProvider;
  let id: string;
  beforeAll(async () => {
    vapi = await startVapiStandIn({ key: KEY });
    voice = provider(vapi.url);
  });
  afterAll(() => vapi?.stop());
  beforeEach(() => {
    vapi.reset();
    ({ id } = vapi.store.create('11111111-1111-4111-8111-111111111111', DOCUMENT));
  });

  test('creates, reads, updates, lists and deletes; a deleted assistant is missing', async () => {
    const created = await voice.createAssistant(DOCUMENT);
    expect(created).toMatchObject({ kind: 'ok', value: DOCUMENT });
    const made = created.kind === 'ok' ? created.value.id : '';
    expect(await voice.updateAssistant(made, { name: 'Other' })).toMatchObject({
      kind: 'ok',
      value: { ...DOCUMENT, id: made, name: 'Other' },
    });
    expect(await voice.getAssistant(made)).toMatchObject({ kind: 'ok', value: { name: 'Other' } });
    const listed = await voice.listAssistants({ limit: 1_000 });
    expect(listed.kind === 'ok' && listed.value.map((one) => one.id).sort()).toEqual([id, made].sort());
    expect(await voice.deleteAssistant(made)).toMatchObject({ kind: 'ok', value: { id: made } });
    for (const method of ['updateAssistant', 'getAssistant', 'deleteAssistant'] as const) {
      expect(await ask(voice, method, made)).toEqual({ kind: 'gone' });
    }
  });

  test('sends exactly the document, with the key and a User-Agent', async () => {
    await voice.createAssistant(DOCUMENT);
    await voice.updateAssistant(id, DOCUMENT);
    await voice.listAssistants({ limit: 7, createdAtGe: '2026-01-01T00:00:00.000Z' });
    expect(vapi.requests.map(({ method, path, query, body }) => ({ method, path, query, body }))).toEqual([
      { method: 'POST', path: '/assistant', query: '', body: DOCUMENT },
      { method: 'PATCH', path: `/assistant/${id}`, query: '', body: DOCUMENT },
      {
        ...{ method: 'GET', path: '/assistant', body: undefined },
        query: 'limit=7&createdAtGe=2026-01-01T00%3A00%3A00.000Z',
      },
    ]);
    for (const { key, userAgent } of vapi.requests) {
      expect(key).toBe('key-1');
      expect(userAgent).toMatch(/^lockstep\//);
    }
  });

  const refused = (status: number, message = `HTTP ${status}`) => ({
    kind: 'refused',
    status,
    messages: [message],
  });
  const unknown = (code: string | RegExp) => ({
    kind: 'unknown',
    code: typeof code === 'string' ? code : (expect.stringMatching(code) as string),
  });
  const timedOut = unknown(/^TIMEOUT_(SOCKET|RESPONSE|READ|REQUEST)$/);
  const status = (code: number): FaultInput => ({ kind: 'status-before', status: code });

  /** The meaning of each answer of Vapi to a request. `applied` is what the stand-in did. */
  const table: Record<FaultKind, { fault: FaultInput; reply: object; applied: boolean }[]> = {
    latency: [
      { fault: { kind: 'latency', ms: 50 }, reply: { kind: 'ok' }, applied: true },
      { fault: { kind: 'latency', ms: 60_000 }, reply: timedOut, applied: false },
    ],
    hold: [{ fault: { kind: 'hold', until: () => new Promise(() => {}) }, reply: timedOut, applied: false }],
    'reset-before': [{ fault: { kind: 'reset-before' }, reply: unknown('ECONNRESET'), applied: false }],
    'reset-after': [{ fault: { kind: 'reset-after' }, reply: unknown('ECONNRESET'), applied: true }],
    'status-before': [
      ...[400, 402, 409, 410, 413, 418, 422].map((code) => ({
        ...{ fault: status(code), reply: refused(code), applied: false },
      })),
      ...[401, 403].map((code) => ({
        ...{ fault: status(code), reply: { kind: 'unauthorized', status: code }, applied: false },
      })),
      { fault: status(404), reply: { kind: 'gone' }, applied: false },
      { fault: status(429), reply: { kind: 'rate_limited', retryAfterMs: null }, applied: false },
      {
        fault: { kind: 'status-before', status: 429, headers: { 'retry-after': '21' } },
        reply: { kind: 'rate_limited', retryAfterMs: 21_000 },
        applied: false,
      },
      ...[408, 500, 502, 503, 504, 520, 529].map((code) => ({
        ...{ fault: status(code), reply: unknown(`HTTP_${code}`), applied: false },
      })),
    ],
    'status-after': [408, 500, 503, 504].map((code) => ({
      ...{ fault: { kind: 'status-after', status: code }, reply: unknown(`HTTP_${code}`), applied: true },
    })),
    'html-502': (['before', 'after'] as const).map((when) => ({
      ...{ fault: { kind: 'html-502', when }, reply: unknown('HTTP_502'), applied: when === 'after' },
    })),
    'empty-body': [{ fault: { kind: 'empty-body' }, reply: unknown('UNREADABLE_BODY'), applied: true }],
    'garbled-body': [{ fault: { kind: 'garbled-body' }, reply: unknown('UNREADABLE_BODY'), applied: true }],
    'slow-body': [
      { fault: { kind: 'slow-body', ms: 50 }, reply: { kind: 'ok' }, applied: true },
      { fault: { kind: 'slow-body', ms: 60_000 }, reply: timedOut, applied: true },
    ],
    'hang-before': [{ fault: { kind: 'hang-before' }, reply: timedOut, applied: false }],
    'hang-after': [{ fault: { kind: 'hang-after' }, reply: timedOut, applied: true }],
    late: [
      { fault: { kind: 'late', ms: 60_000, answer: 'hang' }, reply: timedOut, applied: false },
      { fault: { kind: 'late', ms: 60_000, answer: 'reset' }, reply: unknown('ECONNRESET'), applied: false },
      { fault: { kind: 'late', ms: 60_000, answer: 504 }, reply: unknown('HTTP_504'), applied: false },
    ],
    'wrong-body': [
      {
        fault: { kind: 'wrong-body', path: 'name', value: 'Something else' },
        reply: { kind: 'ok', value: { name: 'Something else' } },
        applied: true,
      },
    ],
    reject: [
      {
        fault: { kind: 'reject', messages: ['name is wrong', 'voice.provider must be one of …'] },
        reply: {
          kind: 'refused',
          status: 400,
          messages: ['name is wrong', 'voice.provider must be one of …'],
        },
        applied: false,
      },
    ],
  };

  test.each(Object.values(table).flat())('$fault → $reply', async ({ fault, reply, applied }) => {
    vapi.faults.add(fault);
    const asked = reply === timedOut ? provider(vapi.url, 800) : voice;
    expect(await ask(asked, 'updateAssistant', id)).toMatchObject(reply);
    // Nothing repeats it: that is its caller's decision.
    expect(vapi.requests).toHaveLength(1);
    expect(vapi.requests[0]?.appliedAt !== null).toBe(applied);
  });

  test("returns Vapi's own messages, each with its path", async () => {
    expect(await voice.updateAssistant(id, { name: 'x'.repeat(41), tools: [] })).toEqual({
      kind: 'refused',
      status: 400,
      messages: ['property tools should not exist', 'name must be shorter than or equal to 40 characters'],
    });
  });

  test('reports a refused key', async () => {
    vapi.setKeys([{ key: 'another' }]);
    for (const method of METHODS) {
      expect(await ask(voice, method, id)).toEqual({ kind: 'unauthorized', status: 401 });
    }
    vapi.setKeys([{ key: KEY }]);
  });

  test.each([
    '..',
    '.',
    '',
    '../assistant',
    'a/b',
    '%2e%2e',
    'a?b',
    'a#b',
    'a b',
    'é',
    'x'.repeat(101),
    `${ID}\n`,
  ])('sends no request for a malformed assistant id: %j', async (wrong) => {
    for (const method of ['updateAssistant', 'getAssistant', 'deleteAssistant'] as const) {
      expect(await ask(voice, method, wrong)).toMatchObject({ kind: 'refused' });
    }
    expect(vapi.requests).toEqual([]);
  });
});

/** A server that does what the stand-in cannot; closed after the test. */
const closers: (() => Promise<unknown>)[] = [];
afterEach(() => Promise.all(closers.splice(0).map((close) => close())));

async function listening(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function httpServer(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    request.resume().on('end', () => answer(request, response));
  });
  const port = await listening(server);
  closers.push(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  });
  return { url: `http://127.0.0.1:${port}`, port, requests };
}

async function tcpServer(connected: (socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    connected(socket);
  });
  const port = await listening(server);
  closers.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
  });
  return { url: `http://127.0.0.1:${port}`, port, sockets };
}

/** One fixed answer to everything. */
const answering = (status: number, body: string | Buffer, headers: Record<string, string> = {}) =>
  httpServer((_request, response) => response.writeHead(status, headers).end(body));

const json = JSON.stringify({ id: ID, ...DOCUMENT });

describe('an unusable 2xx answer is an unknown outcome', () => {
  test.each<[string, string]>([
    ['HTML', '<html><body>It works!</body></html>'],
    ['nothing', ''],
    ['white space', ' \r\n'],
    ['null', 'null'],
    ['a text', '"ok"'],
    ['an array', `[${json}]`],
    ['no id', JSON.stringify(DOCUMENT)],
    ['an empty id', JSON.stringify({ ...DOCUMENT, id: '' })],
    ['a number for an id', JSON.stringify({ ...DOCUMENT, id: 7 })],
    ['an id that would be another path', JSON.stringify({ ...DOCUMENT, id: '../tool/1' })],
    ['an envelope', JSON.stringify({ data: { id: ID } })],
    ['JSON that breaks off', json.slice(0, -5)],
    ['JSON and more', `${json}{}`],
  ])('%s', async (_name, body) => {
    const server = await answering(200, body, { 'content-type': 'application/json' });
    for (const method of ['createAssistant', 'updateAssistant', 'getAssistant', 'deleteAssistant'] as const) {
      expect(await ask(provider(server.url), method)).toEqual({ kind: 'unknown', code: 'UNREADABLE_BODY' });
    }
    expect(server.requests).toHaveLength(4);
  });

  test('reports an unknown outcome when the body is nested too deeply', async () => {
    const levels = 100_000;
    const body = `{"id":"${ID}","x":${'['.repeat(levels)}${']'.repeat(levels)}}`;
    const server = await answering(200, body);
    expect(await ask(provider(server.url), 'updateAssistant')).toEqual({
      kind: 'unknown',
      code: 'UNREADABLE_BODY',
    });
  });

  test('stops reading and reports an unknown outcome when the body is too large', async () => {
    const server = await answering(200, JSON.stringify({ id: ID, x: 'x'.repeat(6_000_000) }));
    expect(await ask(provider(server.url), 'updateAssistant')).toEqual({
      kind: 'unknown',
      code: 'BODY_TOO_LARGE',
    });
  });

  test('returns field names and values without NUL or half a surrogate pair', async () => {
    const server = await answering(200, `{"id":"${ID}","a\\u0000":["b\\ud83d"]}`);
    expect(await ask(provider(server.url), 'updateAssistant')).toEqual({
      kind: 'ok',
      value: { id: ID, 'a\ufffd': ['b\ufffd'] },
    });
  });

  test.each([
    ['an emoji at the bound', `${'x'.repeat(299)}\u{1f600} and more`, 'x'.repeat(299)],
    ['a NUL', 'a\0b', 'a\ufffdb'],
    ['half a surrogate pair', 'a\ud83d', 'a\ufffd'],
  ])('returns a refusal that Postgres can store: %s', async (_name, message, expected) => {
    const server = await answering(400, JSON.stringify({ message }));
    expect(await ask(provider(server.url), 'updateAssistant')).toEqual({
      kind: 'refused',
      status: 400,
      messages: [expected],
    });
  });

  test.each([json, '{}', `[${json}, {}]`, '[null]'])('for a list: %s', async (body) => {
    const server = await answering(200, body);
    expect(await ask(provider(server.url), 'listAssistants')).toEqual({
      kind: 'unknown',
      code: 'UNREADABLE_BODY',
    });
  });

  test.each([200, 201, 202])(
    '%i with an assistant in it is one; unknown fields are welcome',
    async (status) => {
      const server = await answering(status, JSON.stringify({ id: ID, new: { from: 'Vapi' } }));
      expect(await ask(provider(server.url), 'createAssistant')).toEqual({
        kind: 'ok',
        value: { id: ID, new: { from: 'Vapi' } },
      });
    },
  );

  test('204, which has no assistant, is an unknown outcome', async () => {
    const server = await answering(204, '');
    expect(await ask(provider(server.url), 'deleteAssistant')).toMatchObject({ kind: 'unknown' });
  });

  test('a compressed answer is read, and a corrupt one is an unknown outcome', async () => {
    const headers = { 'content-encoding': 'gzip' };
    const good = await answering(200, gzipSync(json), headers);
    expect(await ask(provider(good.url), 'updateAssistant')).toMatchObject({ kind: 'ok', value: DOCUMENT });
    const broken = await answering(200, gzipSync(json).subarray(0, 40), headers);
    expect(await ask(provider(broken.url), 'updateAssistant')).toMatchObject({ kind: 'unknown' });
  });
});

describe('other statuses', () => {
  test.each([301, 302, 303, 304, 307, 308])(
    '%i is not followed: nobody else gets the key',
    async (status) => {
      const elsewhere = await answering(200, json);
      const server = await answering(status, '', { location: `${elsewhere.url}/assistant` });
      for (const method of METHODS) {
        expect(await ask(provider(server.url), method)).toEqual({ kind: 'unknown', code: `HTTP_${status}` });
      }
      expect(server.requests).toHaveLength(METHODS.length);
      expect(elsewhere.requests).toEqual([]);
    },
  );

  test('a 404 for a create means a wrong address, not a deleted assistant', async () => {
    const server = await answering(404, '<h1>Not Found</h1>');
    expect(await ask(provider(server.url), 'createAssistant')).toEqual({
      kind: 'refused',
      status: 404,
      messages: ['HTTP 404'],
    });
    expect(await ask(provider(server.url), 'updateAssistant')).toEqual({ kind: 'gone' });
  });

  test.each([400, 401, 404, 408, 409, 422, 429, 500, 502, 503, 504])(
    '%i is asked for once, by every method',
    async (status) => {
      const server = await answering(status, '{}', { 'retry-after': '0' });
      for (const method of METHODS) await ask(provider(server.url), method);
      expect(server.requests).toHaveLength(METHODS.length);
    },
  );

  test.each<[string, string, string[]]>([
    ['a list of messages', '{"message":["a","b"],"error":"Bad Request","statusCode":400}', ['a', 'b']],
    ['one message', '{"message":"a"}', ['a']],
    ['no message', '{"error":"assistant_pinned"}', ['HTTP 400']],
    ['something else for a message', '{"message":{"a":1}}', ['HTTP 400']],
    ['HTML', '<h1>no</h1>', ['HTTP 400']],
    ['nothing', '', ['HTTP 400']],
    ['an array', '["a"]', ['HTTP 400']],
  ])('returns the messages of a refusal: %s', async (_name, body, messages) => {
    const server = await answering(400, body);
    expect(await ask(provider(server.url), 'updateAssistant')).toEqual({
      kind: 'refused',
      status: 400,
      messages,
    });
  });

  test('bounds the messages of a refusal, and removes a key that a gateway repeats', async () => {
    const echo = await httpServer((request, response) => {
      const said = `you sent ${request.headers.authorization} ${'x'.repeat(1_000)}`;
      response.writeHead(400).end(JSON.stringify({ message: Array(50).fill(said) }));
    });
    const reply = await ask(provider(echo.url), 'updateAssistant');
    if (reply.kind !== 'refused') throw new Error(reply.kind);
    expect(reply.messages).toHaveLength(10);
    for (const message of reply.messages) {
      expect(message).toMatch(/^you sent Bearer \[redacted\] x+$/);
      expect(message).toHaveLength(300);
    }
  });
});

describe('Retry-After', () => {
  async function told(header: string | undefined): Promise<number | null> {
    const server = await answering(429, '{}', header === undefined ? {} : { 'retry-after': header });
    const reply = await ask(provider(server.url), 'updateAssistant');
    if (reply.kind !== 'rate_limited') throw new Error(reply.kind);
    return reply.retryAfterMs;
  }

  test.each<[string | undefined, number | null]>([
    [undefined, null],
    ['21', 21_000],
    ['0', 0],
    ['1.5', 1_500],
    [' 7 ', 7_000],
    ['100000', 600_000],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    ['Fri, 31 Dec 9999 23:59:59 GMT', 600_000],
    ['', null],
    ['-5', null],
    ['soon', null],
    ['in 5 minutes', null],
    ['Infinity', null],
    ['0x10', null],
    ['2026-01-01T00:00:00Z', null],
    ['1, 2', null],
  ])('%j → %j', async (header, ms) => {
    expect(await told(header)).toBe(ms);
  });

  test('a date counts from now', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-01-01T00:00:00Z') });
    try {
      expect(await told('Thu, 01 Jan 2026 00:00:42 GMT')).toBe(42_000);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('reports that nothing was sent', () => {
  test('if nothing listens on the port', async () => {
    const voice = provider(`http://127.0.0.1:${await closedPort()}`);
    for (const method of METHODS) {
      expect(await ask(voice, method)).toEqual({ kind: 'not_sent', code: 'ECONNREFUSED' });
    }
  });

  test('if the host name does not exist (RFC 6761)', async () => {
    const reply = await ask(provider('http://vapi.invalid'), 'updateAssistant');
    expect(reply).toMatchObject({ kind: 'not_sent', code: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/) });
  });

  test('if the TLS port serves plain HTTP', async () => {
    const server = await answering(200, json);
    const reply = await ask(provider(`https://127.0.0.1:${server.port}`), 'updateAssistant');
    expect(reply).toMatchObject({ kind: 'not_sent' });
    expect(server.requests).toEqual([]);
  });

  test('if the TLS handshake never ends', async () => {
    const server = await tcpServer((socket) => socket.resume());
    const reply = await ask(provider(`https://127.0.0.1:${server.port}`, 300), 'updateAssistant');
    expect(reply).toMatchObject({ kind: 'not_sent', code: expect.stringMatching(/^TIMEOUT_/) });
  });

  test.each<[string, (socket: Socket) => void]>([
    ['resets', (socket) => socket.resetAndDestroy()],
    ['closes', (socket) => socket.end()],
  ])('if the TLS port %s during the handshake', async (_name, hangUp) => {
    const server = await tcpServer((socket) => socket.once('data', () => hangUp(socket)));
    const reply = await ask(provider(`https://127.0.0.1:${server.port}`), 'updateAssistant');
    expect(reply).toEqual({ kind: 'not_sent', code: 'ECONNRESET' });
  });

  test('if the TLS server has no certificate', async () => {
    let secured = 0;
    const server = createTlsServer({}, () => {
      secured += 1;
    });
    server.on('tlsClientError', () => {});
    const port = await listening(server);
    closers.push(() => new Promise((done) => server.close(done)));
    expect(await ask(provider(`https://127.0.0.1:${port}`), 'updateAssistant')).toMatchObject({
      kind: 'not_sent',
    });
    expect(secured).toBe(0);
  });
});

describe('reports an unknown outcome', () => {
  test('if the connection is reset after the request was read', async () => {
    const server = await httpServer((_request, response) => response.socket?.resetAndDestroy());
    for (const method of METHODS) {
      expect(await ask(provider(server.url), method)).toEqual({ kind: 'unknown', code: 'ECONNRESET' });
    }
    expect(server.requests).toHaveLength(METHODS.length);
  });

  test('if a reused connection is reset', async () => {
    let served = 0;
    const server = await httpServer((_request, response) => {
      served += 1;
      if (served === 1) response.end(json);
      else response.socket?.resetAndDestroy();
    });
    const voice = provider(server.url);
    expect(await ask(voice, 'updateAssistant')).toMatchObject({ kind: 'ok' });
    expect(await ask(voice, 'updateAssistant')).toEqual({ kind: 'unknown', code: 'ECONNRESET' });
    expect(server.requests).toHaveLength(2);
  });

  test('if the connection is closed without an answer', async () => {
    const server = await tcpServer((socket) => socket.once('data', () => socket.end()));
    expect(await ask(provider(server.url), 'updateAssistant')).toEqual({
      kind: 'unknown',
      code: 'ECONNRESET',
    });
  });

  test.each<[string, string]>([
    ['no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n\r\n'],
    ['a header that cannot be', 'HTTP/1.1 200 OK\r\nbad header\0: x\r\n\r\n'],
    ['headers without an end', `HTTP/1.1 200 OK\r\n${'x-flood: x\r\n'.repeat(20_000)}`],
  ])('if the answer is %s', async (_name, bytes) => {
    const server = await tcpServer((socket) => socket.once('data', () => socket.end(bytes)));
    expect(await ask(provider(server.url), 'updateAssistant')).toMatchObject({ kind: 'unknown' });
  });

  test('if the connection closes during the body', async () => {
    const server = await httpServer((_request, response) => {
      response.writeHead(200, { 'content-length': String(json.length) });
      response.write(json.slice(0, 20), () => response.destroy());
    });
    expect(await ask(provider(server.url), 'updateAssistant')).toMatchObject({ kind: 'unknown' });
  });
});

describe('every request ends', () => {
  test('without an answer, the socket is destroyed at the timeout, so that nothing is sent after it', async () => {
    const server = await tcpServer((socket) => socket.resume());
    const reply = await ask(provider(server.url, 1_000), 'updateAssistant');
    expect(reply).toMatchObject({ kind: 'unknown', code: expect.stringMatching(/^TIMEOUT_/) });
    const [socket] = server.sockets;
    if (socket === undefined) throw new Error('nobody came');
    if (!socket.destroyed) await once(socket, 'close');
  });

  test('if the server does not read the request', async () => {
    const server = await tcpServer((socket) => socket.pause());
    const large = { ...DOCUMENT, metadata: { filler: 'x'.repeat(16 * 1024 * 1024) } };
    const reply = await provider(server.url, 3_000).updateAssistant(ID, large);
    seen.push(reply);
    expect(reply).toMatchObject({ kind: 'unknown', code: expect.stringMatching(/^TIMEOUT_/) });
  });

  test.each<[string, (response: ServerResponse) => void]>([
    ['headers', (response) => response.socket?.write('HTTP/1.1 200 OK\r\nx-drip: ')],
    ['a body', (response) => response.write('{"id":"')],
  ])('if the server sends %s byte by byte, each byte in time', async (_name, begin) => {
    const server = await httpServer((_request, response) => {
      begin(response);
      const drip = setInterval(() => response.socket?.write('x'), 20);
      response.socket?.on('error', () => {}).on('close', () => clearInterval(drip));
    });
    const reply = await ask(provider(server.url, 1_500), 'updateAssistant');
    expect(reply).toMatchObject({ kind: 'unknown' });
  });

  test('phases that each end in time do not exceed the timeout together', async () => {
    const server = await httpServer((_request, response) => {
      setTimeout(() => response.writeHead(200).write(json.slice(0, 5)), 1_000);
      setTimeout(() => response.end(json.slice(5)), 2_000);
    });
    const reply = await ask(provider(server.url, 1_500), 'updateAssistant');
    expect(reply).toMatchObject({ kind: 'unknown', code: 'TIMEOUT_REQUEST' });
  });

  test('exposes the timeout that callers calculate with', () => {
    expect(provider('http://127.0.0.1:1', 1_234).timeoutMs).toBe(1_234);
  });
});

describe('the address', () => {
  test.each(['', '/', '/vapi', '/vapi/'])('of a proxy with the path %j keeps it', async (path) => {
    const server = await answering(200, json);
    const voice = provider(`${server.url}${path}`);
    await ask(voice, 'createAssistant');
    await ask(voice, 'getAssistant');
    const prefix = path.replace(/\/$/, '');
    expect(server.requests).toEqual([`POST ${prefix}/assistant`, `GET ${prefix}/assistant/${ID}`]);
  });
});

test('logs the method, the path template and a code of a failure, and no id or prompt', async () => {
  const server = await answering(500, PROMPT);
  seen.length = 0;
  await provider(server.url).updateAssistant(ID, DOCUMENT);
  expect(seen).toHaveLength(1);
  const line = inspect(seen, { depth: null });
  expect(line).toContain('PATCH /assistant/{id}');
  expect(line).toContain('HTTP_500');
  for (const secret of [ID, PROMPT, String(server.port)]) expect(line).not.toContain(secret);
});

import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { gate } from '../../test/support/gate.ts';
import type { AppContext } from '../context.ts';
import { RefusedTokenError } from '../ports/auth.ts';
import type { Log } from '../ports/system.ts';
import { EDGE_DEFAULTS } from './edge.ts';
import { createGraphiqlPage } from './graphiql.ts';
import { createGraphql } from './graphql.ts';
import { createHttpServer, type HttpTimeouts } from './http.ts';
import { createRoutes, type RouteOptions } from './routes.ts';

const MAX = 1_000;
const JSON_TYPE = { 'content-type': 'application/json' };

interface Fetched {
  method: string;
  url: string;
  headers: Headers;
  body: string;
  requestId: string;
}

interface Options extends Partial<RouteOptions> {
  /** What GraphQL answers. */
  answer?: (request: Request) => Response | Promise<Response>;
  timeouts?: Partial<HttpTimeouts>;
}

/** The server on a free port, with a GraphQL that notes what it is asked and answers as it is told. */
async function serve({ answer = () => Response.json({ data: null }), timeouts, ...options }: Options = {}) {
  const fetched: Fetched[] = [];
  const logged: { fields: object; message: string }[] = [];
  const log: Log = {
    ...{ debug: () => {}, info: () => {}, warn: () => {} },
    error: (fields, message) => void logged.push({ fields, message }),
    child: () => log,
  };
  let ids = 0;
  const routes = createRoutes({
    graphql: {
      fetch: async (address, init, { requestId }) => {
        const request = new Request(address, init);
        const { method, url, headers } = request;
        fetched.push({ method, url, headers, body: await request.clone().text(), requestId });
        return answer(request);
      },
    },
    ready: () => Promise.resolve(true),
    checkToken: () => Promise.resolve('MEMBER'),
    metrics: () => Promise.resolve({ contentType: 'text/plain; version=0.0.4', body: 'lockstep_x 1\n' }),
    maxBodyBytes: MAX,
    ...options,
  });
  const server = createHttpServer({
    routes,
    newRequestId: () => {
      ids += 1;
      return `request-${ids}`;
    },
    log,
    timeouts: { headers: 10_000, request: 20_000, idle: 30_000, keepAlive: 5_000, ...timeouts },
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  });
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  return {
    origin,
    port,
    fetched,
    logged,
    server,
    ask: (path: string, init?: RequestInit) => fetch(origin + path, init),
  };
}

type Served = Awaited<ReturnType<typeof serve>>;

/** A connection of one's own. `said` is all that the server says until it hangs up; a reset is an error. */
function dial({ port }: Served): { socket: Socket; said: Promise<string> } {
  const socket = connect(port, '127.0.0.1');
  const said = text(socket);
  said.catch(() => {});
  return { socket, said };
}

async function say(served: Served, bytes: string | Buffer): Promise<string> {
  const { socket, said } = dial(served);
  socket.write(bytes);
  return said;
}

/** The server works, whatever was done to it. */
async function expectAlive(served: Served): Promise<void> {
  expect((await served.ask('/health')).status).toBe(200);
}

const post = (headers: string, body = '') =>
  `POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${headers}\r\n\r\n${body}`;

describe('what it serves', () => {
  test('/health reports that the process is alive', async () => {
    const answer = await (await serve()).ask('/health');
    expect([answer.status, await answer.json()]).toEqual([200, { status: 'ok' }]);
  });

  test.each([
    [true, 200],
    [false, 503],
  ])('/ready: %s is %i', async (ready, status) => {
    const answer = await (await serve({ ready: () => Promise.resolve(ready) })).ask('/ready');
    expect([answer.status, await answer.json()]).toEqual([status, { ready }]);
  });

  test('/metrics returns the Prometheus text format', async () => {
    const answer = await (await serve()).ask('/metrics');
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4');
    expect(await answer.text()).toBe('lockstep_x 1\n');
  });

  test('/ redirects to GraphiQL', async () => {
    const answer = await (await serve()).ask('/', { redirect: 'manual' });
    expect([answer.status, answer.headers.get('location')]).toEqual([302, '/graphql']);
  });

  test.each([
    '/nothing',
    '/graphql/',
    '/graphqlx',
    '/GRAPHQL',
    '/%67raphql',
    '//graphql',
    '/health/x',
    '/.env',
    '/..',
  ])('%s is 404, and GraphQL is not asked', async (path) => {
    const served = await serve();
    const answer = await say(served, `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 404 /);
    expect(answer).toContain('{"error":"not found"}');
    expect(served.fetched).toEqual([]);
  });

  test.each(['*', 'http://elsewhere.example/graphql'])('answers 404 for the address %s', async (address) => {
    const served = await serve();
    expect(await say(served, `OPTIONS ${address} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 404 /,
    );
    expect(served.fetched).toEqual([]);
  });

  test('passes the request to GraphQL unchanged, and its answer to the caller unchanged', async () => {
    const served = await serve({
      answer: () => new Response('{"data":{"a":"漢"}}', { status: 207, headers: { 'x-answer': 'yes' } }),
    });
    const answer = await served.ask('/graphql?operationName=A%20B', {
      method: 'POST',
      headers: { ...JSON_TYPE, authorization: 'Bearer token', 'x-own': 'é' },
      body: '{"query":"{ 漢 }"}',
    });
    expect([answer.status, await answer.text(), answer.headers.get('x-answer')]).toEqual([
      ...[207, '{"data":{"a":"漢"}}', 'yes'],
    ]);
    const [request] = served.fetched;
    expect(request).toMatchObject({ method: 'POST', body: '{"query":"{ 漢 }"}' });
    expect(new URL(request?.url ?? '').search).toBe('?operationName=A%20B');
    expect(request?.headers.get('authorization')).toBe('Bearer token');
    expect(request?.headers.get('x-own')).toBe('é');
  });

  test('every answer has a request id and the security headers', async () => {
    const served = await serve();
    for (const [n, path] of ['/health', '/nothing', '/graphql?query={a}', '/metrics'].entries()) {
      const { headers } = await served.ask(path);
      expect(headers.get('x-request-id')).toBe(`request-${n + 1}`);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('x-frame-options')).toBe('DENY');
      expect(headers.get('content-security-policy')).toBe("default-src 'none'; frame-ancestors 'none'");
      expect(headers.get('referrer-policy')).toBe('no-referrer');
      expect(headers.has('x-powered-by')).toBe(false);
    }
    expect(served.fetched.map(({ requestId }) => requestId)).toEqual(['request-3']);
  });

  test('no answer may be cached, even if the handler allows it', async () => {
    const served = await serve({
      answer: () => new Response('x', { headers: { 'cache-control': 'public, max-age=60' } }),
    });
    expect((await served.ask('/graphql?query={a}')).headers.get('cache-control')).toBe('no-store');
  });

  test('keeps both of two headers with the same name', async () => {
    const served = await serve();
    const headers =
      'authorization: Bearer one\r\nauthorization: Bearer two\r\nconnection: close\r\ncontent-length: 2';
    await say(served, post(headers, '{}'));
    expect(served.fetched[0]?.headers.get('authorization')).toBe('Bearer one, Bearer two');
  });

  test('answers several requests on one connection, sequential and pipelined', async () => {
    const served = await serve({ answer: async (request) => new Response(await request.text()) });
    const one = (n: number, more = '') => post(`content-length: 3${more}`, `"${n}"`);
    const answers = await say(served, one(1) + one(2) + one(3, '\r\nconnection: close'));
    expect([...answers.matchAll(/"\d"/g)].map(([body]) => body)).toEqual(['"1"', '"2"', '"3"']);
  });
});

describe('methods', () => {
  test.each(['/health', '/ready', '/metrics', '/graphql?query={a}', '/nothing'])(
    'answers HEAD %s like GET, without the body',
    async (path) => {
      const served = await serve();
      const [head, get] = [await served.ask(path, { method: 'HEAD' }), await served.ask(path)];
      expect(head.status).toBe(get.status);
      expect(head.headers.get('content-type')).toBe(get.headers.get('content-type'));
      expect(await head.text()).toBe('');
      expect(await get.text()).not.toBe('');
    },
  );

  test.each(['PUT', 'PATCH', 'DELETE', 'TRACE', 'PROPFIND', 'QUERY'])(
    'refuses the method %s everywhere',
    async (method) => {
      const served = await serve();
      for (const path of ['/graphql', '/health', '/metrics', '/nothing']) {
        const answer = await say(
          served,
          `${method} ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
        );
        expect(answer).toMatch(/^HTTP\/1\.1 405 /);
        expect(answer).toMatch(/^allow: GET, HEAD, POST, OPTIONS\r$/im);
        expect(answer).toContain('"METHOD_NOT_ALLOWED"');
      }
      expect([served.fetched, served.logged]).toEqual([[], []]);
    },
  );

  test('closes the connection on CONNECT', async () => {
    const served = await serve();
    expect(await say(served, 'CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n')).toBe('');
    await expectAlive(served);
  });

  test.each([
    ...['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', ''],
    ...['application/jsonx', 'application/json, text/plain', 'text/plain; application/json'],
  ])('what a form of another site could send is refused: %j', async (type) => {
    const served = await serve();
    const headers = type === '' ? '' : `content-type: ${type}\r\n`;
    const answer = await say(
      served,
      `POST /graphql HTTP/1.1\r\nhost: x\r\n${headers}content-length: 2\r\nconnection: close\r\n\r\n{}`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 415 /);
    expect(served.fetched).toEqual([]);
  });

  test.each(['application/json', 'application/json; charset=utf-8', 'Application/JSON ;x=y'])(
    'accepts JSON as %s',
    async (type) => {
      const served = await serve();
      const answer = await served.ask('/graphql', {
        method: 'POST',
        body: '{}',
        headers: { 'content-type': type },
      });
      expect(answer.status).toBe(200);
    },
  );
});

describe('a body that is too large', () => {
  const chunked = (body: string) => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

  test.each<[string, (size: number) => string]>([
    ['with its length', (size) => post(`content-length: ${size}\r\nconnection: close`, 'x'.repeat(size))],
    [
      'in chunks',
      (size) => post('transfer-encoding: chunked\r\nconnection: close', chunked('x'.repeat(size))),
    ],
  ])('%s: the limit itself is taken, one byte more is 413', async (_name, bytes) => {
    const served = await serve();
    expect(await say(served, bytes(MAX))).toMatch(/^HTTP\/1\.1 200 /);
    expect(served.fetched.map(({ body }) => body.length)).toEqual([MAX]);
    const answer = await say(served, bytes(MAX + 1));
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toContain('"PAYLOAD_TOO_LARGE"');
    expect(answer).toContain(`larger than the limit of ${MAX} bytes`);
    expect(served.fetched).toHaveLength(1);
    expect(served.logged).toEqual([]);
  });

  test('is refused before it is received if its length is declared', async () => {
    const served = await serve();
    const { socket } = dial(served);
    socket.write(post('content-length: 100000000'));
    const [first] = (await once(socket, 'data')) as [Buffer];
    expect(String(first)).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  test.each([
    ['with its length', `content-length: ${32 * 1024 * 1024}`, (chunk: string) => chunk, ''],
    [
      'in chunks',
      'transfer-encoding: chunked',
      (chunk: string) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`,
      '0\r\n\r\n',
    ],
  ])(
    '%s, from a client that sends it all before it listens: told, and the connection answers on',
    async (...of) => {
      const [, header, wrap, end] = of;
      const served = await serve();
      const socket = connect(served.port, '127.0.0.1');
      socket.pause();
      socket.write(post(header));
      const chunk = wrap('x'.repeat(1024 * 1024));
      for (let n = 0; n < 32; n += 1) if (!socket.write(chunk)) await once(socket, 'drain');
      socket.write(`${end}GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
      const answers = await text(socket);
      expect([...answers.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => status)).toEqual([
        '413',
        '200',
      ]);
    },
  );

  test('that never ends times out like every slow request', async () => {
    const served = await serve({ timeouts: { headers: 200, request: 400 } });
    const { socket, said } = dial(served);
    socket.on('error', () => {}).write(post('transfer-encoding: chunked'));
    const flood = setInterval(() => socket.write(`400\r\n${'x'.repeat(1_024)}\r\n`), 5);
    await said.catch(() => '');
    clearInterval(flood);
    await expectAlive(served);
  });

  test('in chunks of one byte takes no more memory than its bytes', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const used = () => {
      collect();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const served = await serve({ maxBodyBytes: 1_000_000 });
    const accepted = once(served.server, 'connection') as Promise<[Socket]>;
    const { socket } = dial(served);
    socket.write(post('transfer-encoding: chunked'));
    const [theirs] = await accepted;
    const before = used();
    for (let n = 0; n < 40; n += 1) {
      if (!socket.write('1\r\nx\r\n'.repeat(10_000))) await once(socket, 'drain');
    }
    await expect.poll(() => theirs.bytesRead).toBe(socket.bytesWritten);
    // 170 MB, were they kept as they come.
    expect(used() - before).toBeLessThan(20_000_000);
    socket.destroy();
  });

  test('beyond the number that may be held at once is refused with 503 until others have ended', async () => {
    const served = await serve();
    const uploads = Array.from({ length: 64 }, () => dial(served));
    for (const { socket } of uploads) socket.write(post(`content-length: ${MAX}`, 'x'.repeat(MAX - 1)));
    const ask = () => served.ask('/graphql', { method: 'POST', headers: JSON_TYPE, body: 'x'.repeat(MAX) });
    await vi.waitFor(async () => {
      const answer = await ask();
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
      expect(await answer.json()).toMatchObject({ errors: [{ extensions: { code: 'OVERLOADED' } }] });
    }, 20_000);
    // What is small finds room still, and what needs none is answered.
    await expectAlive(served);
    for (const { socket } of uploads) socket.destroy();
    await expect.poll(async () => (await ask()).status).toBe(200);
  });

  test('a client that leaves after it was refused', async () => {
    const served = await serve();
    const { socket, said } = dial(served);
    socket.write(post('content-length: 100000000', 'x'.repeat(5_000)));
    await once(socket, 'data');
    socket.resetAndDestroy();
    await said.catch(() => {});
    await expectAlive(served);
    expect(served.logged).toEqual([]);
  });

  test.each(['-1', '1e3', '0x10', 'many', '3, 4', '99999999999999999999'])(
    'refuses an invalid length: %s',
    async (length) => {
      const served = await serve();
      expect(await say(served, post(`content-length: ${length}\r\nconnection: close`, '{}'))).toMatch(
        /^HTTP\/1\.1 (400|413) /,
      );
      expect(served.fetched).toEqual([]);
    },
  );

  test('refuses two lengths, or a length with chunks, because they could hide a second request', async () => {
    for (const headers of [
      'content-length: 2\r\ncontent-length: 3',
      'content-length: 2\r\ntransfer-encoding: chunked',
    ]) {
      const served = await serve();
      expect(await say(served, post(`${headers}\r\nconnection: close`, '0\r\n\r\n'))).toMatch(
        /^HTTP\/1\.1 400 /,
      );
      expect(served.fetched).toEqual([]);
    }
  });
});

describe('clients that leave', () => {
  test.each(['content-length: 500', 'transfer-encoding: chunked'])(
    'during the upload (%s): nothing runs, and nothing is logged as an error',
    async (header) => {
      const served = await serve();
      for (const leave of ['end', 'resetAndDestroy'] as const) {
        const { socket, said } = dial(served);
        socket.write(post(header, header.startsWith('content') ? '{"query":' : '4\r\n{"qu\r\n'));
        await expect.poll(() => connections(served)).toBe(1);
        socket[leave]();
        await said.catch(() => {});
        await expect.poll(() => connections(served)).toBe(0);
      }
      expect([served.fetched, served.logged]).toEqual([[], []]);
      await expectAlive(served);
    },
  );

  test('before the answer: the work continues to its end', async () => {
    const answer = gate();
    let done = false;
    const served = await serve({
      answer: async () => {
        await answer.until();
        done = true;
        return Response.json({});
      },
    });
    const { socket } = dial(served);
    socket.write(post('content-length: 2', '{}'));
    await answer.reached;
    socket.resetAndDestroy();
    await expect.poll(() => connections(served)).toBe(0);
    answer.open();
    await expect.poll(() => done).toBe(true);
    await expectAlive(served);
    expect(served.logged).toEqual([]);
  });
});

const connections = ({ server }: Served) =>
  new Promise<number>((resolve, reject) =>
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
  );

describe('slow clients are cut off', () => {
  test('times out headers that do not end', async () => {
    const served = await serve({ timeouts: { headers: 200, request: 120_000, idle: 120_000 } });
    expect(await say(served, 'POST /graphql HTTP/1.1\r\nhost: x\r\nx-slow: ')).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('times out headers that arrive slowly, each byte in time', async () => {
    const served = await serve({ timeouts: { headers: 300, request: 120_000, idle: 120_000 } });
    const { socket, said } = dial(served);
    socket.write('POST /graphql HTTP/1.1\r\nhost: x\r\nx-slow: ');
    const drip = setInterval(() => socket.write('x'), 20);
    socket.on('error', () => {}).on('close', () => clearInterval(drip));
    expect(await said.catch(() => 'HTTP/1.1 408 ')).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('times out a body that does not end', async () => {
    const served = await serve({ timeouts: { headers: 200, request: 400 } });
    expect(await say(served, post('content-length: 500', '{'))).toMatch(/^HTTP\/1\.1 408 /);
    expect([served.fetched, served.logged]).toEqual([[], []]);
  });

  test('does not hold a connection forever if the answer never comes', async () => {
    const served = await serve({ answer: () => new Promise(() => {}), timeouts: { idle: 200 } });
    expect(await say(served, post('content-length: 2', '{}'))).toBe('');
    await expectAlive(served);
  });
});

describe('floods', () => {
  test.each<[string, string]>([
    ['one long header', `x-flood: ${'x'.repeat(20_000)}\r\n`],
    ['many headers', 'x-flood: x\r\n'.repeat(5_000)],
  ])('%s: 431', async (_name, headers) => {
    const served = await serve();
    const { socket, said } = dial(served);
    socket.write(`GET /health HTTP/1.1\r\nhost: x\r\n${headers}\r\n`);
    expect(await said).toMatch(/^HTTP\/1\.1 431 /);
    await expectAlive(served);
  });

  test('answers 431 for an address that is too long', async () => {
    const served = await serve();
    expect(await say(served, `GET /graphql?query=${'x'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    );
  });

  test('accepts a token of four kilobytes', async () => {
    const served = await serve();
    const answer = await served.ask('/graphql', {
      headers: { authorization: `Bearer ${'x'.repeat(4_096)}` },
    });
    expect(answer.status).toBe(200);
  });
});

describe('what is no HTTP', () => {
  test.each([
    'garbage\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    'GET /graphql HTTP/1.1\r\n\r\n',
    'GET /health HTTP/1.1\r\nhost: x\r\nbad header: x\r\n\r\n',
    'GET /health HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n',
    'GET /hea lth HTTP/1.1\r\nhost: x\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  ])('%j: 400, and hung up', async (bytes) => {
    const served = await serve();
    const answer = await say(served, Buffer.from(bytes, 'latin1'));
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).not.toMatch(/at .*[/(]|\.ts|Error/);
    await expectAlive(served);
  });

  test('survives any bytes, also after a valid beginning, without a stack trace or an error in the log', async () => {
    const served = await serve();
    const beginnings = fc.constantFrom(
      '',
      'GET /graphql',
      'POST /graphql HTTP/1.1\r\n',
      post('x: y'),
      post('content-length: 9'),
    );
    await fc.assert(
      fc.asyncProperty(beginnings, fc.uint8Array({ maxLength: 300 }), async (beginning, bytes) => {
        const { socket, said } = dial(served);
        socket.end(Buffer.concat([Buffer.from(beginning), bytes]));
        expect(await said.catch(() => '')).not.toMatch(/\.ts:\d+|node:internal/);
      }),
      { numRuns: 200 },
    );
    await expectAlive(served);
    expect(served.logged).toEqual([]);
  });
});

describe('streams', () => {
  test('sends each part as soon as it exists', async () => {
    const second = gate();
    const encoder = new TextEncoder();
    const served = await serve({
      answer: () =>
        new Response(
          new ReadableStream<Uint8Array>({
            async pull(controller) {
              controller.enqueue(encoder.encode('event: next\n\n'));
              await second.until();
              controller.enqueue(encoder.encode('event: complete\n\n'));
              controller.close();
            },
          }),
          { headers: { 'content-type': 'text/event-stream' } },
        ),
    });
    const answer = await served.ask('/graphql?query={a}');
    const reader = answer.body?.getReader();
    const part = async () => new TextDecoder().decode((await reader?.read())?.value);
    expect(answer.headers.get('content-type')).toBe('text/event-stream');
    expect(await part()).toBe('event: next\n\n');
    second.open();
    expect(await part()).toBe('event: complete\n\n');
    expect((await reader?.read())?.done).toBe(true);
  });

  test('does not begin for a caller that has left', async () => {
    const middle = gate();
    const cancelled = Promise.withResolvers<void>();
    const served = await serve({
      answer: async () => {
        await middle.until();
        return new Response(
          new ReadableStream<Uint8Array>({
            pull: () => new Promise(() => {}),
            cancel: () => cancelled.resolve(),
          }),
        );
      },
    });
    const { socket } = dial(served);
    socket.write('GET /graphql?query={a} HTTP/1.1\r\nhost: x\r\n\r\n');
    await middle.reached;
    socket.resetAndDestroy();
    await expect.poll(() => connections(served)).toBe(0);
    middle.open();
    await cancelled.promise;
    expect(served.logged).toEqual([]);
  });

  test('ends when the reader leaves', async () => {
    const cancelled = Promise.withResolvers<void>();
    const served = await serve({
      answer: () =>
        new Response(
          new ReadableStream<Uint8Array>({
            start: (controller) => controller.enqueue(new TextEncoder().encode('first')),
            pull: () => new Promise(() => {}),
            cancel: () => cancelled.resolve(),
          }),
        ),
    });
    const { socket } = dial(served);
    socket.write('GET /graphql?query={a} HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(socket, 'data');
    socket.destroy();
    await cancelled.promise;
  });

  test('closes the connection if the stream breaks, so that it does not look complete', async () => {
    const served = await serve({
      answer: () =>
        new Response(
          new ReadableStream<Uint8Array>({
            pull(controller) {
              controller.enqueue(new TextEncoder().encode('first'));
              controller.error(new Error('canary of the inside'));
            },
          }),
        ),
    });
    const { said, socket } = dial(served);
    socket.write('GET /graphql?query={a} HTTP/1.1\r\nhost: x\r\n\r\n');
    const answer = await said.catch(() => '');
    expect(answer).not.toContain('canary');
    expect(answer).not.toContain('\r\n0\r\n\r\n');
    await expectAlive(served);
  });
});

describe('errors', () => {
  const broken = () => Promise.reject(new Error('canary of the inside'));

  test.each<[string, string, Options]>([
    ['GraphQL', '/graphql?query={a}', { answer: broken }],
    ['readiness', '/ready', { ready: broken }],
    ['metrics', '/metrics', { metrics: broken }],
  ])('inside %s: 500 with an id that finds it in the log, and nothing else', async (_name, path, options) => {
    const served = await serve(options);
    const answer = await served.ask(path);
    expect(answer.status).toBe(500);
    const body = (await answer.json()) as object;
    expect(body).toEqual({
      errors: [
        {
          message: 'Unexpected error.',
          extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId: 'request-1' },
        },
      ],
    });
    expect(answer.headers.get('x-request-id')).toBe('request-1');
    expect(served.logged).toEqual([
      {
        fields: {
          requestId: 'request-1',
          err: expect.objectContaining({ message: 'canary of the inside' }) as Error,
        },
        message: 'a request could not be answered',
      },
    ]);
    await expectAlive(served);
  });
});

describe('CORS', () => {
  const LISTED = 'https://app.example.com';
  async function withOrigins(...corsOrigins: string[]) {
    const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };
    const graphql = createGraphql({
      corsOrigins,
      log,
      edge: EDGE_DEFAULTS,
      createContext: () => Promise.resolve({ caller: { problem: 'no_token' } } as AppContext),
    });
    const served = await serve({ graphql, maxBodyBytes: 10_000 });
    return (origin: string, method: 'OPTIONS' | 'POST') => raw(served, origin, method);
  }

  /** Not fetch: it does not let one say `Origin`. */
  async function raw(served: Served, origin: string, method: string) {
    const preflight = {
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
    };
    const request = httpRequest(`${served.origin}/graphql`, {
      method,
      agent: new Agent(),
      headers: { origin, ...(method === 'OPTIONS' ? preflight : JSON_TYPE) },
    });
    request.end(method === 'OPTIONS' ? '' : '{"query":"{ __typename }"}');
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return { status: response.statusCode, headers: response.headers, body: await text(response) };
  }

  const cors = (headers: IncomingHttpHeaders) =>
    Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control-')));

  test.each([[[LISTED]], [['https://other.example', LISTED]]])(
    'a listed origin (of %j) may ask',
    async (origins) => {
      const ask = await withOrigins(...origins);
      const preflight = await ask(LISTED, 'OPTIONS');
      expect([preflight.status, preflight.body]).toEqual([204, '']);
      expect(cors(preflight.headers)).toEqual({
        'access-control-allow-origin': LISTED,
        'access-control-allow-methods': 'POST, GET, OPTIONS',
        'access-control-allow-headers':
          'authorization, content-type, graphql-require-preflight, apollo-require-preflight',
        'access-control-expose-headers': 'x-request-id',
        'access-control-max-age': '600',
      });
      const answer = await ask(LISTED, 'POST');
      expect([answer.status, JSON.parse(answer.body)]).toEqual([200, { data: { __typename: 'Query' } }]);
      expect(answer.headers['access-control-allow-origin']).toBe(LISTED);
      expect(answer.headers.vary).toMatch(/origin/i);
    },
  );

  const others = [
    ...['https://evil.example', 'null', 'https://app.example.com.evil.example', 'http://app.example.com'],
    ...['https://app.example.com:8443', 'https://APP.example.com', 'https://sub.app.example.com', '*'],
  ];
  test.each([[[]], [[LISTED]], [[LISTED, 'https://other.example']]])(
    'any other origin (than %j) is told nothing of CORS',
    async (origins: string[]) => {
      const ask = await withOrigins(...origins);
      for (const origin of [...others, ...(origins.includes(LISTED) ? [] : [LISTED])]) {
        for (const method of ['OPTIONS', 'POST'] as const) {
          const { headers } = await ask(origin, method);
          expect(cors(headers)).toEqual({});
          expect(headers.vary).toMatch(/origin/i);
        }
      }
    },
  );
});

describe('what one connection and one caller may cost', () => {
  const get = 'GET /graphql?query={a} HTTP/1.1\r\nhost: x\r\n\r\n';

  test('begins one pipelined request at a time, and closes the connection after its bound', async () => {
    let under = 0;
    let most = 0;
    const served = await serve({
      answer: async () => {
        under += 1;
        most = Math.max(most, under);
        await new Promise((done) => setImmediate(done));
        under -= 1;
        return Response.json({});
      },
    });
    const answers = await say(served, get.repeat(200));
    expect(most).toBe(1);
    expect(answers.match(/HTTP\/1\.1 200/g)).toHaveLength(17);
    expect(answers.match(/^connection: close\r$/gim)).toHaveLength(1);
    expect(served.fetched).toHaveLength(17);
    await expectAlive(served);
  });

  test('begins no pipelined request of a client that has left', async () => {
    const first = gate();
    const served = await serve({
      answer: async () => {
        await first.until();
        return Response.json({});
      },
    });
    const { socket } = dial(served);
    socket.write(get.repeat(5));
    await first.reached;
    socket.resetAndDestroy();
    await expect.poll(() => connections(served)).toBe(0);
    first.open();
    await expectAlive(served);
    expect(served.fetched).toHaveLength(1);
  });

  test('sends one buffer of the GraphiQL page, and 304 to a browser that has it', async () => {
    const served = await serve({ page: createGraphiqlPage(['{ a }'], []) });
    const html = { accept: 'text/html' };
    const page = await served.ask('/graphql', { headers: html });
    const etag = page.headers.get('etag') ?? '';
    expect(page.headers.get('content-encoding')).toBe('gzip');
    expect(etag).toMatch(/^"[\w-]{43}"$/);
    expect((await served.ask('/graphql', { headers: { ...html, 'if-none-match': etag } })).status).toBe(304);
    expect(served.fetched).toEqual([]);
  });

  test('refuses a large body of a caller without a valid token before it is read', async () => {
    const served = await serve({ maxBodyBytes: 1_000_000, checkToken: () => Promise.resolve('ANONYMOUS') });
    const send = (size: number) =>
      served.ask('/graphql', { method: 'POST', headers: JSON_TYPE, body: JSON.stringify('x'.repeat(size)) });
    expect((await send(16_000)).status).toBe(200);
    expect((await send(20_000)).status).toBe(413);
    expect(served.fetched).toHaveLength(1);
  });

  test.each([
    [401, 'UNAUTHENTICATED', false],
    [503, 'UNAVAILABLE', true],
  ])('answers %i to a large body whose token is not accepted: %s', async (status, code, unavailable) => {
    const refused = new RefusedTokenError(unavailable);
    const served = await serve({ maxBodyBytes: 1_000_000, checkToken: () => Promise.resolve(refused) });
    const body = JSON.stringify('x'.repeat(20_000));
    const answer = await served.ask('/graphql', { method: 'POST', headers: JSON_TYPE, body });
    expect(answer.status).toBe(status);
    expect(await answer.json()).toMatchObject({ errors: [{ extensions: { code } }] });
    expect(served.fetched).toEqual([]);
  });

  test.each([
    ['keys', JSON.stringify(Object.fromEntries(Array.from({ length: 6_000 }, (_, n) => [n, 0])))],
    ['levels', `${'['.repeat(40)}${']'.repeat(40)}`],
  ])('refuses a body with too many %s before it is parsed', async (_what, body) => {
    const served = await serve({ maxBodyBytes: 1_000_000 });
    const answer = await served.ask('/graphql', { method: 'POST', headers: JSON_TYPE, body });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ errors: [{ extensions: { code: 'BODY_TOO_COMPLEX' } }] });
    expect(served.fetched).toEqual([]);
  });

  test('closes the connection when it refuses a request while draining', async () => {
    const served = await serve({ draining: () => true });
    const answer = await say(served, get);
    expect(answer).toMatch(/^HTTP\/1\.1 503 /);
    expect(answer).toMatch(/^connection: close\r$/im);
  });

  test('answers a request that timed out in the documented form', async () => {
    const served = await serve({ timeouts: { headers: 200, request: 400 } });
    const answer = await say(served, 'GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ');
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer).toContain('"code":"REQUEST_TIMEOUT"');
  });

  test('rejects a request with two Host headers', async () => {
    const served = await serve();
    expect(await say(served, 'GET /health HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n')).toMatch(
      /^HTTP\/1\.1 400 /,
    );
  });

  test('rejects a body with a content encoding', async () => {
    const served = await serve();
    const headers = { ...JSON_TYPE, 'content-encoding': 'gzip' };
    expect((await served.ask('/graphql', { method: 'POST', headers, body: '{}' })).status).toBe(415);
    expect(served.fetched).toEqual([]);
  });

  test('accepts the media type in any case and passes it on in lower case', async () => {
    const served = await serve();
    const headers = { 'content-type': 'APPLICATION/JSON' };
    await served.ask('/graphql', { method: 'POST', headers, body: '{}' });
    expect(served.fetched[0]?.headers.get('content-type')).toBe('application/json');
  });

  test('keeps an idle connection for as long as it is configured', async () => {
    const { server } = await serve({ timeouts: { keepAlive: 75_000, headers: 80_000, request: 90_000 } });
    expect([server.keepAliveTimeout, server.headersTimeout]).toEqual([75_000, 80_000]);
  });
});

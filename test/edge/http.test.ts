/** Slow, broken and hostile HTTP, byte by byte: the server keeps running, reveals nothing internal and changes nothing. */
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { digestOf } from '../isolation/organizations.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { expectAnswer, save } from '../support/operations.ts';

let lockstep: TestApp;
let caller: Caller;
let port: number;
beforeAll(async () => {
  // The idle limit also ends a save that takes longer, so it leaves room for a slow machine.
  lockstep = await createTestApp({ config: { timeouts: { headers: 300, request: 600, idle: 10_000 } } });
  ({ port } = lockstep.app.server.address() as AddressInfo);
  caller = await lockstep.newCaller();
  const answer = await save(caller.client, { inbound: { systemPrompt: 'P' } });
  expectAnswer(answer, 'UpdateAgentsSuccess');
});
afterAll(() => lockstep?.stop());

/** Internal text: a stack, a file, a library, a statement, an unexpected error. */
const INSIDE =
  /\n\s+at |\bat \S+ \(|\bat file:|node_modules|node:internal|\.[jt]s:\d|SyntaxError|TypeError|ERR_|HPE_|Unexpected token|postgres|select .* from|INTERNAL_SERVER_ERROR|correlationId/i;

interface Exchange {
  /** All received bytes until the connection closed. */
  text: string;
  /** The server closed the connection before the client ended it. */
  cut: boolean;
}

/** Sends these bytes and collects the answer. With `end: false` the client does not end the connection. */
async function exchange(bytes: Buffer | string, { end = true } = {}): Promise<Exchange> {
  const socket = connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  // A reset counts as an answer.
  socket.on('error', () => {});
  const closed = once(socket, 'close').catch(() => {});
  socket.write(bytes);
  if (end) socket.end();
  const over = await Promise.race([closed.then(() => true), sleep(20_000, false, { ref: false })]);
  socket.destroy();
  return { text: Buffer.concat(chunks).toString('latin1'), cut: over };
}

/** The status of the final answer; "100 Continue" is not final. */
const statusOf = ({ text }: Exchange) =>
  Number(/^(?:HTTP\/1\.1 100 Continue\r\n\r\n)?HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
const post = (body: string, headers = '') =>
  `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const QUERY = '{"query":"{ __typename }"}';

async function expectWell() {
  expect((await fetch(`${lockstep.origin}/health`)).status).toBe(200);
  const { organization } = await caller.client.request<{ organization: { id: string } }>(
    '{ organization { id } }',
  );
  expect(organization.id).toBe(caller.orgId);
}

/** A hundred megabytes, compressed to a hundred thousand bytes. */
function packed(): Buffer {
  const body = gzipSync(`{"query":"{ __typename }","variables":{"a":"${'a'.repeat(100_000_000)}"}}`);
  const head =
    'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n';
  return Buffer.concat([Buffer.from(`${head}Content-Length: ${body.length}\r\n\r\n`), body]);
}

describe('malformed requests', () => {
  const chunked = (body: string) =>
    `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${body}`;
  const deep = (depth: number) =>
    `{"query":"{ __typename }","variables":{"a":${'['.repeat(depth)}${']'.repeat(depth)}}}`;

  test.each<[string, Buffer | string, number[]]>([
    // Any HTTP version, without a query.
    ['HTTP/0.9', 'GET /graphql\r\n\r\n', [200, 400]],
    ['HTTP/9.9', 'GET /health HTTP/9.9\r\nHost: x\r\n\r\n', [400, 505]],
    ['only empty lines', '\r\n\r\n\r\n', [0, 400]],
    ['TLS on a plain port', Buffer.from('16030100c8010000c40303', 'hex'), [400]],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400, 505]],
    ['no host', 'GET /health HTTP/1.1\r\n\r\n', [400]],
    [
      'two lengths',
      `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n${QUERY}`,
      [400],
    ],
    [
      'a length and chunks',
      `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      [400],
    ],
    ['a negative length', `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n${QUERY}`, [400]],
    [
      'a length that is larger than any number',
      `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n`,
      [400],
    ],
    [
      'a length of 2^53',
      `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9007199254740993\r\n\r\n`,
      [413],
    ],
    [
      'a length that is larger than the body',
      `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n${QUERY}`,
      [0, 400],
    ],
    ['chunks without a valid size', chunked('zz\r\nabc\r\n0\r\n\r\n'), [400]],
    ['a chunk size that is larger than any number', chunked('ffffffffffffffffff\r\n'), [400]],
    ['a chunk that breaks off', chunked('ff\r\nabc'), [0, 400]],
    ['a chunk that is longer than its size', chunked('1\r\nabcdef\r\n0\r\n\r\n'), [400]],
    [
      'an unknown encoding',
      'POST /graphql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n',
      [400, 501, 415],
    ],
    ['a NUL in a header', 'GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n', [400]],
    ['a NUL in the address', 'GET /health\0 HTTP/1.1\r\nHost: x\r\n\r\n', [400]],
    ['a header without a name', 'GET /health HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n', [400]],
    ['a header over two lines', 'GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n', [200, 400]],
    ['a header that ends in LF', 'GET /health HTTP/1.1\nHost: x\n\n', [200, 400]],
    ['an unknown method', 'BREW /graphql HTTP/1.1\r\nHost: x\r\n\r\n', [400]],
    ['TRACE', 'TRACE /graphql HTTP/1.1\r\nHost: x\r\n\r\n', [405]],
    ['TRACE of another path', 'TRACE /health HTTP/1.1\r\nHost: x\r\n\r\n', [405]],
    ['HTTP/1.0', 'GET /graphql?query={__typename} HTTP/1.0\r\n\r\n', [200]],
    [
      'HTTP/2 by upgrade',
      'GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n',
      [200],
    ],
    ...[
      ...[
        'Transfer-Encoding: xchunked',
        'Transfer-Encoding : chunked',
        'Transfer-Encoding: chunked, identity',
      ],
      ...['Transfer-Encoding: "chunked"', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity'],
      ...[
        'Transfer-Encoding: chunked\r\nContent-Length: 6',
        'Content-Length: 6\r\nTransfer-Encoding:\x0bchunked',
      ],
      ...[
        'Content-Length: 6\r\nTransfer-Encoding: identity',
        'Content-Length: +6',
        'Content-Length: 6,6',
        'Content-Length: 0x6',
      ],
    ].map((header): [string, string, number[]] => [
      `what two servers could read as two requests: ${JSON.stringify(header)}`,
      `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${header}\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n`,
      [400],
    ]),
    ['chunks that end in LF', chunked('1a\n{"query":"{ __typename }"}\n0\n\n'), [400]],
    ['an extension of a chunk that ends in LF', chunked(`1a;\n${QUERY}\r\n0\r\n\r\n`), [400]],
    [
      'an extension of a chunk of 100 KB',
      chunked(`1a;${'x'.repeat(100_000)}\r\n${QUERY}\r\n0\r\n\r\n`),
      [413],
    ],
    [
      'more headers than the server keeps, with a token after them',
      `GET /health HTTP/1.1\r\nHost: x\r\n${'a:\r\n'.repeat(1_100)}Authorization: Bearer x\r\n\r\n`,
      [431],
    ],
    [
      'an expectation of a body that is too large',
      'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 3000000\r\n\r\n',
      [413],
    ],
    ['a compressed body, which is not decompressed', packed(), [415]],
    ['CONNECT', 'CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n', [0, 400, 404]],
    [
      'an upgrade',
      'GET /health HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
      [200],
    ],
    ['an absolute address', 'GET http://evil.example/graphql HTTP/1.1\r\nHost: x\r\n\r\n', [404]],
    ['a path outside of the root', 'GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n', [404]],
    ['an invalid address', 'GET //[::1 HTTP/1.1\r\nHost: x\r\n\r\n', [400, 404]],
    ['half an escape', 'GET /graphql?query=%E0%A4%A HTTP/1.1\r\nHost: x\r\n\r\n', [400, 200]],
    [
      'an address of 16 KB',
      `GET /graphql?query=${'a'.repeat(16_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
      [400, 200, 431],
    ],
    ['a header of 20 KB', `GET /health HTTP/1.1\r\nHost: x\r\nX-A: ${'a'.repeat(20_000)}\r\n\r\n`, [431]],
    [
      'two thousand headers',
      `GET /health HTTP/1.1\r\nHost: x\r\n${Array.from({ length: 2_000 }, (_, n) => `X-${n}: a\r\n`).join('')}\r\n`,
      [431],
    ],
    [
      'an expectation',
      `POST /graphql HTTP/1.1\r\nHost: x\r\nExpect: the-impossible\r\nContent-Length: 0\r\n\r\n`,
      [417],
    ],
    [
      'invalid UTF-8',
      Buffer.concat([
        Buffer.from(
          'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"query":"',
        ),
        Buffer.from([0xc3, 0x28]),
      ]),
      [400],
    ],
    ['a NUL in the body', post('{"query":"\0"}'), [400]],
    ['JSON nested thousands deep', post(deep(5_000)), [400]],
    ['JSON nested a hundred thousand deep', post(deep(100_000)), [413]],
    ['JSON nested a million deep', post(deep(1_000_000)), [413]],
    [
      'JSON with the prototype',
      post('{"query":"{ __typename }","__proto__":{"a":1},"variables":{"__proto__":{"b":2}}}'),
      [400, 200],
    ],
    ['JSON with a key twice', post('{"query":"{ __typename }","query":"{ nothing }"}'), [200, 400]],
    [
      'a number that is larger than any number',
      post('{"query":"{ __typename }","variables":{"a":1e999}}'),
      [200],
    ],
    ['a document of a NUL', post('{"query":"\\u0000"}'), [200, 400]],
    [
      'a document of half a pair',
      post('{"query":"{ agent(role: INBOUND) { id } } # \\ud800"}'),
      [200, 400, 401],
    ],
    [
      'an operation named after the prototype',
      post('{"query":"{ __typename }","operationName":"__proto__"}'),
      [200, 400],
    ],
    ['a token with a line break in it', post(QUERY, 'Authorization: Bearer a\r\n b\r\n'), [401, 200, 400]],
    [
      'a token of 15 KB',
      post('{"query":"{ organization { id } }"}', `Authorization: Bearer ${'a'.repeat(15_000)}\r\n`),
      [401],
    ],
    ['an accept header that takes nothing', post(QUERY, 'Accept: image/png\r\n'), [406]],
  ])('are answered with an error or safely: %s', async (_what, bytes, expected) => {
    const before = await digestOf(lockstep.supabase.sql);
    const answer = await exchange(bytes);
    expect(answer.cut).toBe(true);
    expect(expected).toContain(statusOf(answer));
    expect(answer.text).not.toMatch(INSIDE);
    expect(await digestOf(lockstep.supabase.sql)).toEqual(before);
    await expectWell();
  });

  test('rejects a request with two Authorization headers, even if one is valid or both are equal', async () => {
    const good = `Bearer ${caller.token}`;
    const query = '{"query":"{ organization { id } }"}';
    const with_ = (...values: string[]) =>
      exchange(
        post(
          query,
          ['Connection: close', ...values.map((value) => `Authorization: ${value}`), ''].join('\r\n'),
        ),
        {
          end: false,
        },
      );
    expect(statusOf(await with_(good))).toBe(200);
    for (const values of [
      ...[
        [good, 'Bearer bad'],
        ['Bearer bad', good],
        [good, good],
        [good, ''],
        ['', good],
        [good, 'Basic eDp5'],
      ],
      ...[
        [`${good},`],
        [`${good}, ${good}`],
        [''],
        ['Bearer'],
        ['Bearer '],
        [`Bearer ${good}`],
        [caller.token],
      ],
    ]) {
      const answer = await with_(...values);
      expect(statusOf(answer), JSON.stringify(values)).toBe(401);
      expect(answer.text).toContain('"UNAUTHENTICATED"');
    }
  });

  test('HEAD answers like GET without a body, and is refused for a save', async () => {
    const saving = 'mutation%7BupdateAgents(input:%7B%7D)%7B__typename%7D%7D';
    for (const [query, status] of [
      ['%7B__typename%7D', 200],
      [saving, 405],
    ] as const) {
      const answer = await exchange(`HEAD /graphql?query=${query} HTTP/1.1\r\nHost: x\r\n\r\n`);
      expect(statusOf(answer)).toBe(status);
      expect(answer.text).toMatch(/\r\n\r\n$/);
    }
  });

  test('answers pipelined requests in order and independently', async () => {
    const { text } = await exchange(post(QUERY) + post('nonsense') + post(QUERY));
    expect(text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400', 'HTTP/1.1 200']);
  });

  test('closes a connection with hundreds of unanswered requests', async () => {
    const { cut, text } = await exchange('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(900), {
      end: false,
    });
    expect(cut).toBe(true);
    expect(text.match(/HTTP\/1\.1 \d{3}/g)?.length ?? 0).toBeLessThanOrEqual(17);
    await expectWell();
  });

  test('refuses JSON that is nested too deeply, also with a valid token', async () => {
    const { text } = await exchange(post(deep(100_000), `Authorization: Bearer ${caller.token}\r\n`));
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain('"BODY_TOO_COMPLEX"');
    await expectWell();
  });

  test('reads a large body only with a valid token', async () => {
    const query = `{"query":"{ organization { id } } # ${'x'.repeat(20_000)}"}`;
    for (const [authorization, status] of [
      [undefined, 413],
      [caller.token, 401],
      ['Bearer ', 401],
      [`Bearer ${caller.token}x`, 401],
      [`Bearer ${caller.token}`, 200],
    ] as const) {
      const header = authorization === undefined ? '' : `Authorization: ${authorization}\r\n`;
      const answer = await exchange(post(query, `Connection: close\r\n${header}`), { end: false });
      expect(statusOf(answer), authorization).toBe(status);
    }
  });

  test('does not run a request that is hidden in the body of another request', async () => {
    const hidden = 'GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n';
    for (const bytes of [
      `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
      `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
    ]) {
      const { text } = await exchange(bytes);
      expect(text.match(/HTTP\/1\.1 \d{3}/g)).toHaveLength(1);
    }
  });

  test('generated requests never crash the server, reveal nothing internal and change nothing', async () => {
    const piece = fc.constantFrom(
      ...['GET', 'POST', 'PUT', 'OPTIONS', 'HEAD', 'DELETE', 'get', ' ', '\r\n', '\n', '\r', '\0', ':', '\t'],
      ...[
        '/graphql',
        '/graphql?query={__typename}',
        '/',
        '/ready',
        '*',
        '/%00',
        '/\u00e9',
        'HTTP/1.1',
        'HTTP/1.0',
      ],
      ...[
        'Host: x',
        'Content-Length: 5',
        'Content-Length: 26',
        'Transfer-Encoding: chunked',
        'Connection: close',
      ],
      ...['Content-Type: application/json', 'Accept: */*', 'Expect: 100-continue', 'Authorization: Bearer x'],
      ...['Content-Encoding: gzip', 'Range: bytes=0-0', 'If-None-Match: *', 'Cookie: a=b', 'Origin: null'],
      ...[
        QUERY,
        '5\r\nabcde\r\n',
        '0\r\n\r\n',
        '{"query":',
        '[]',
        'null',
        '"',
        '{"query":"mutation{updateAgents',
      ],
    );
    const noise = fc
      .uint8Array({ minLength: 1, maxLength: 12 })
      .map((bytes) => Buffer.from(bytes).toString('latin1'));
    // Mostly valid parts, some replaced by invalid ones.
    const line = (expected: string) =>
      fc.oneof(
        { weight: 40, arbitrary: fc.constant(expected) },
        { weight: 1, arbitrary: piece },
        { weight: 1, arbitrary: noise },
      );
    const request = fc
      .tuple(
        line('POST'),
        line(' '),
        line('/graphql'),
        line(' HTTP/1.1\r\n'),
        line('Host: x\r\n'),
        line('Content-Type: application/json\r\n'),
        line('Content-Length: 26\r\n'),
        fc.oneof(
          { weight: 2, arbitrary: fc.constant('') },
          {
            weight: 1,
            arbitrary: fc
              .array(fc.oneof(piece, noise), { minLength: 1, maxLength: 4 })
              .map((parts) => parts.join('')),
          },
        ),
        line('\r\n'),
        line(QUERY),
      )
      .map((parts) => parts.join(''));
    const before = await digestOf(lockstep.supabase.sql);
    const statuses = new Map<number, number>();
    let sent = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), async (requests) => {
        sent += requests.length;
        const answer = await exchange(Buffer.from(requests.join(''), 'latin1'));
        expect(answer.cut).toBe(true);
        expect(answer.text).not.toMatch(INSIDE);
        const status = statusOf(answer);
        expect(status).toBeLessThan(500);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }),
      { numRuns: 1_500 },
    );
    expect(statuses.get(200)).toBeGreaterThan(20);
    expect(statuses.get(400)).toBeGreaterThan(20);
    expect(await digestOf(lockstep.supabase.sql)).toEqual(before);
    await expectWell();
    console.log(
      `edge, HTTP: ${sent} generated requests, answers by status ${JSON.stringify(Object.fromEntries([...statuses].sort()))}; none from inside, nothing changed`,
    );
  });
});

describe('slow clients', () => {
  const drip = async (bytes: string): Promise<Exchange & { sent: number }> => {
    const socket: Socket = connect(port, '127.0.0.1');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', () => {});
    let open = true;
    void once(socket, 'close').then(
      () => {
        open = false;
      },
      () => {},
    );
    let sent = 0;
    for (const byte of bytes) {
      if (!open) break;
      socket.write(byte);
      sent += 1;
      await sleep(50);
    }
    socket.destroy();
    return { text: Buffer.concat(chunks).toString('latin1'), cut: !open, sent };
  };

  test('closes a connection whose headers arrive byte by byte', async () => {
    const { cut, text, sent } = await drip(`GET /health HTTP/1.1\r\nHost: x\r\n${'X-A: a\r\n'.repeat(200)}`);
    expect(cut).toBe(true);
    expect(sent).toBeLessThan(200);
    expect(text === '' || text.startsWith('HTTP/1.1 408')).toBe(true);
  });

  test('closes a connection whose body arrives byte by byte', async () => {
    const bytes = `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n`;
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(bytes);
    const timer = setInterval(() => socket.write('a'), 100);
    await closed.finally(() => clearInterval(timer));
    expect(socket.bytesWritten).toBeLessThan(bytes.length + 5_000);
  });

  test('closes a connection on which the client sends nothing', async () => {
    expect((await exchange('', { end: false })).cut).toBe(true);
  });

  test('closes the connection of a client that never reads its answers', async () => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    const ended = new Promise<void>((resolve) => {
      lockstep.app.server.once('timeout', () => resolve());
    });
    socket.pause();
    // Far more than both kernels can buffer: nine megabytes each.
    socket.write('GET /graphql HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n'.repeat(5));
    await ended.catch(() => {});
    socket.destroy();
    await expectWell();
  });
});

test('a stopping server waits for slow clients no longer than its drain time', async () => {
  const stopping = await createTestApp({
    supabase: lockstep.supabase,
    vapi: lockstep.vapi,
    // None of these connections would end by itself.
    config: { timeouts: { headers: 60_000, request: 60_000, idle: 60_000 } },
  });
  const at = (stopping.app.server.address() as AddressInfo).port;
  const gone = ['GET /', 'GET / HTTP/1.1\r\nX-A: ', post('a'.repeat(100_000)).slice(0, -99_999)].map(
    (bytes) => {
      const socket = connect(at, '127.0.0.1');
      socket.on('error', () => {}).write(bytes);
      const drip = setInterval(() => socket.write('a'), 20);
      return new Promise<void>((resolve) => {
        socket.once('close', () => {
          clearInterval(drip);
          resolve();
        });
      });
    },
  );
  await expect
    .poll(() => new Promise((resolve) => stopping.app.server.getConnections((_error, n) => resolve(n))))
    .toBe(3);
  await stopping.app.stop(300);
  await Promise.all(gone);
});

describe('clients that disconnect', () => {
  test('a thousand clients that disconnect at any point of their request leave no resource behind', async () => {
    const before = await digestOf(lockstep.supabase.sql);
    const whole = post('{"query":"{ organization { id } }"}', `Authorization: Bearer ${caller.token}\r\n`);
    const error = vi.spyOn(process, 'emitWarning');
    for (let round = 0; round < 50; round += 1) {
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          const socket = connect(port, '127.0.0.1');
          socket.on('error', () => {});
          await once(socket, 'connect');
          socket.write(whole.slice(0, Math.ceil((whole.length * (index + 1)) / 20)));
          socket.resetAndDestroy();
        }),
      );
    }
    const connections = () =>
      new Promise<number>((resolve, reject) =>
        lockstep.app.server.getConnections((problem, count) => (problem ? reject(problem) : resolve(count))),
      );
    await expect.poll(connections, { timeout: 120_000 }).toBeLessThan(10);
    expect(error).not.toHaveBeenCalled();
    expect(await digestOf(lockstep.supabase.sql)).toEqual(before);
    expect(lockstep.log.join('')).not.toMatch(/could not be answered|unexpected error/);
    await expectWell();
  });
});

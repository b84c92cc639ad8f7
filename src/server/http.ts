import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type Duplex, pipeline, Readable } from 'node:stream';
import { RefusedTokenError } from '../ports/auth.ts';
import type { Log } from '../ports/system.ts';
import { DEMO_HEADERS_PATH } from './graphiql.ts';
import type { ServerContext } from './graphql.ts';

export interface HttpOptions {
  /** Makes the request by itself, in a form that costs less than the platform's. */
  graphql: {
    fetch(url: string, request: GraphqlRequest, context: ServerContext): Response | Promise<Response>;
  };
  /** Sends the GraphiQL page. Absent: there is none. */
  page?: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  /** The headers of a signed-in demo user, for the GraphiQL page; in local mode only. Without an email: of the first one. */
  demoHeaders?: ((email: string | null) => Promise<Record<string, string> | null>) | undefined;
  /** What this Authorization header says about the caller. Never throws. */
  checkToken(authorization: string | undefined): Promise<TokenCheck>;
  /** False while draining, or when the database cannot be reached. */
  ready(): Promise<boolean>;
  /** True: what is running is answered, and nothing new is begun. */
  draining?(): boolean;
  /** Prometheus text. */
  metrics(): Promise<{ contentType: string; body: string }>;
  newRequestId(): string;
  log: Log;
  /** Bytes of a request's body; more is answered 413. */
  maxBodyBytes: number;
  timeouts: HttpTimeouts;
}

export interface GraphqlRequest {
  method: string;
  headers: Record<string, string>;
  body: Buffer<ArrayBuffer> | null;
}

/** MEMBER: a valid token of a member of an organization. ANONYMOUS: no token, or a valid one without an organization. */
export type TokenCheck = 'MEMBER' | 'ANONYMOUS' | RefusedTokenError;

/** Milliseconds after which a slow client is cut off. */
export interface HttpTimeouts {
  /** Until a request's headers are there. */
  headers: number;
  /** Until the whole request is there. */
  request: number;
  /** Without a byte in either direction; longer than any answer takes. */
  idle: number;
  /** A connection between two requests. Longer than the load balancer's, or it sends requests to a connection that closes. */
  keepAlive: number;
}

/** Bytes of a request's headers; more is answered 431. A token is one or two thousand. */
const MAX_HEADER_BYTES = 16 * 1024;
const METHODS = new Set(['GET', 'HEAD', 'POST', 'OPTIONS']);
/** So many bodies of the greatest size may be on their way at once: what is held for callers of whom nothing is known yet. */
const BODIES = 64;

/** Bytes of a body from a caller without a valid token: enough for introspection. */
const MAX_ANONYMOUS_BODY_BYTES = 16 * 1024;
/** Requests that one connection may have under way. The last of them is answered with "connection: close". */
const MAX_PIPELINED = 16;
/** Requests past that bound before the connection is cut off. */
const MAX_IGNORED = 256;
/** Values and levels of a JSON body. A save has about fifty values on eight levels. */
const MAX_JSON_VALUES = 5_000;
const MAX_JSON_DEPTH = 32;

interface Serving extends HttpOptions {
  readBody(request: IncomingMessage, most: number): Promise<Body>;
}

/**
 * HTTP around GraphQL. It reads the body itself, so that its size is bounded whatever a client says about it, and slow or
 * silent clients are cut off by Node's own timeouts.
 */
export function createHttpServer(options: HttpOptions): Server {
  const { timeouts } = options;
  const serving: Serving = { ...options, readBody: bodyReader(options.maxBodyBytes) };
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: timeouts.headers,
      requestTimeout: timeouts.request,
      connectionsCheckingInterval: Math.min(1_000, timeouts.headers),
      keepAliveTimeout: timeouts.keepAlive,
      // Node drops the second of two `authorization` or `content-type` headers: whoever stands before us might read that one.
      joinDuplicateHeaders: true,
    },
    (request, response) => {
      const requestId = options.newRequestId();
      for (const [name, value] of Object.entries(SAFE_HEADERS)) response.setHeader(name, value);
      response.setHeader('x-request-id', requestId);
      inTurn(request, response, () => {
        answer(request, response, requestId, serving).catch((error: unknown) => {
          options.log.error({ requestId, err: error }, 'a request could not be answered');
          if (!response.headersSent) refuse(response, 500, 'INTERNAL_SERVER_ERROR', 'Unexpected error.');
          else response.destroy();
        });
      });
    },
  );
  server.on('clientError', refuseUnreadable);
  server.setTimeout(timeouts.idle);
  server.maxRequestsPerSocket = 1_000;
  return server;
}

interface Pipeline {
  waiting: { response: ServerResponse; begin: () => void }[];
  busy: boolean;
  ignored: number;
}
const pipelines = new WeakMap<Duplex, Pipeline>();

/**
 * Answers the requests of one connection one after the other, as HTTP/1.1 orders the responses. Node reads all pipelined
 * requests at once: without this, one connection could start work without bound. A request whose client has left is not begun.
 */
function inTurn({ socket }: IncomingMessage, response: ServerResponse, begin: () => void): void {
  const line: Pipeline = pipelines.get(socket) ?? { waiting: [], busy: false, ignored: 0 };
  pipelines.set(socket, line);
  if (line.waiting.length >= MAX_PIPELINED) {
    const last = line.waiting.at(-1)?.response;
    if (last !== undefined) last.shouldKeepAlive = false;
    line.ignored += 1;
    if (line.ignored > MAX_IGNORED) socket.destroy();
    return;
  }
  if (line.ignored > 0) return;
  const next = () => {
    const following = line.waiting.shift();
    line.busy = following !== undefined && !socket.destroyed;
    if (following === undefined || socket.destroyed) return;
    following.response.once('close', next);
    following.begin();
  };
  line.waiting.push({ response, begin });
  if (!line.busy) next();
}

const UNREADABLE: Record<string, readonly [status: string, code: string, message: string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'REQUEST_TIMEOUT', 'The request did not arrive in time.'],
  HPE_HEADER_OVERFLOW: [
    '431 Request Header Fields Too Large',
    'HEADERS_TOO_LARGE',
    'The headers are too large.',
  ],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [
    '413 Payload Too Large',
    'PAYLOAD_TOO_LARGE',
    'The chunk extensions are too large.',
  ],
};
const MALFORMED = ['400 Bad Request', 'BAD_REQUEST', 'The request is not valid HTTP.'] as const;

/** Node would answer these without a body. */
function refuseUnreadable(
  error: NodeJS.ErrnoException,
  socket: Duplex & { _httpMessage?: ServerResponse },
): void {
  // A response under way cannot be told from this one.
  if (!socket.writable || socket._httpMessage?.headersSent === true) {
    socket.destroy();
    return;
  }
  const [status, code, message] = UNREADABLE[error.code ?? ''] ?? MALFORMED;
  const body = JSON.stringify({ errors: [{ message, extensions: { code } }] });
  const headers = Object.entries(SAFE_HEADERS).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = `content-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`;
  socket.end(`HTTP/1.1 ${status}\r\n${headers.join('')}${length}connection: close\r\n\r\n${body}`, () =>
    socket.destroy(),
  );
}

/** For every answer: nothing of it is kept by a cache, framed, or taken for something else than it says. */
const SAFE_HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  // GraphiQL has one of its own.
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  vary: 'Origin',
};

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  options: Serving,
): Promise<void> {
  const method = request.method ?? 'GET';
  if (!METHODS.has(method)) {
    response.setHeader('allow', [...METHODS].join(', '));
    return refuse(response, 405, 'METHOD_NOT_ALLOWED', `${method} is not for this server.`);
  }
  if ((request.headersDistinct['host']?.length ?? 0) > 1) {
    response.setHeader('connection', 'close');
    return refuse(response, 400, 'BAD_REQUEST', 'Send one Host header.');
  }
  const path = (request.url ?? '/').split('?', 1)[0];
  switch (path) {
    case DEMO_HEADERS_PATH:
      return demoHeaders(request, response, options);
    case '/graphql':
      return graphql(request, response, requestId, options);
    case '/':
      response.writeHead(302, { location: '/graphql' }).end();
      return;
    case '/health':
      return plain(response, 200, { status: 'ok' });
    case '/ready': {
      const ready = await options.ready();
      return plain(response, ready ? 200 : 503, { ready });
    }
    case '/metrics': {
      const { contentType, body } = await options.metrics();
      response.writeHead(200, { 'content-type': contentType }).end(body);
      return;
    }
    default:
      return plain(response, 404, { error: 'not found' });
  }
}

async function demoHeaders(
  { url }: IncomingMessage,
  response: ServerResponse,
  options: Serving,
): Promise<void> {
  const email = URL.parse(url ?? '', 'http://localhost')?.searchParams.get('user') ?? null;
  const headers = (await options.demoHeaders?.(email)) ?? null;
  if (headers === null) plain(response, 404, { error: 'not found' });
  else plain(response, 200, headers);
}

async function graphql(
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  options: Serving,
): Promise<void> {
  if (options.draining?.()) {
    // Whoever asks again comes to another server.
    response.setHeader('connection', 'close').setHeader('retry-after', '1');
    return refuse(response, 503, 'SHUTTING_DOWN', 'This server is shutting down; nothing began.');
  }
  // HEAD is GET without the body, which Node leaves away.
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET');
  if (method === 'GET' && options.page !== undefined && request.headers.accept?.includes('text/html')) {
    return options.page(request, response);
  }
  // The only type that a browser asks us about before it sends it for another site (CORS); a form, for one, is just sent.
  if (method === 'POST' && !isJson(request.headers['content-type'])) {
    return refuse(response, 415, 'UNSUPPORTED_MEDIA_TYPE', 'Send "content-type: application/json".');
  }
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    return refuse(response, 415, 'UNSUPPORTED_CONTENT_ENCODING', 'Send the body without a content encoding.');
  }
  // Before the body is read: without a token, nobody makes this server hold or parse a large one.
  const caller = method === 'POST' ? await options.checkToken(request.headers.authorization) : 'ANONYMOUS';
  const most =
    caller === 'MEMBER' ? options.maxBodyBytes : Math.min(options.maxBodyBytes, MAX_ANONYMOUS_BODY_BYTES);
  const body = method === 'POST' ? await options.readBody(request, most) : null;
  if (body === 'GONE') return;
  if (body === 'TOO_LARGE') {
    // With another token the body might be taken, so the token is what the caller has to know about.
    if (caller instanceof RefusedTokenError) {
      return caller.unavailable
        ? refuse(response, 503, 'UNAVAILABLE', caller.message)
        : refuse(response, 401, 'UNAUTHENTICATED', caller.message);
    }
    const whose = most === options.maxBodyBytes ? '' : ' without a valid access token';
    const message = `The request's body is larger than the limit of ${most} bytes${whose}.`;
    return refuse(response, 413, 'PAYLOAD_TOO_LARGE', message);
  }
  if (body === 'NO_ROOM') {
    response.setHeader('retry-after', '1');
    return refuse(response, 503, 'OVERLOADED', 'Too much is being sent to this server; nothing began.');
  }
  if (body !== null && !isBounded(body)) {
    const message = `The request's body has more than ${MAX_JSON_VALUES} values or ${MAX_JSON_DEPTH} levels.`;
    return refuse(response, 400, 'BODY_TOO_COMPLEX', message);
  }
  const address = URL.parse(request.url ?? '/graphql', 'http://localhost');
  if (address === null) return refuse(response, 400, 'BAD_REQUEST', 'The address cannot be read.');

  const answered = await options.graphql.fetch(
    address.href,
    { method, headers: headersOf(request), body },
    { requestId },
  );
  for (const [name, value] of answered.headers) response.setHeader(name, value);
  // Yoga lets caches keep a stream.
  response.setHeader('cache-control', SAFE_HEADERS['cache-control']);
  if (isJsonAnswer(answered)) {
    const text = await answered.text();
    response.setHeader('content-length', Buffer.byteLength(text));
    response.writeHead(answered.status).end(text);
    return;
  }
  response.writeHead(answered.status);
  if (answered.body === null) {
    response.end();
    return;
  }
  // A stream (server-sent events) goes out as it comes. A caller who leaves ends it, and it is cut off where it breaks.
  const stream = readableOf(answered.body);
  if (response.destroyed) stream.destroy();
  else pipeline(stream, response, () => {});
}

/** Not Readable.from(): it cannot end a stream of which it awaits a part, and a silent stream would live for ever. */
function readableOf(body: ReadableStream<Uint8Array>): Readable {
  const reader = body.getReader();
  return new Readable({
    read() {
      reader.read().then(
        ({ done, value }) => this.push(done ? null : value),
        (error: Error) => this.destroy(error),
      );
    },
    destroy(error, done) {
      reader.cancel(error).catch(() => {});
      done(error);
    },
  });
}

/** Counts the values and levels of JSON without parsing it: what exceeds the limits costs one pass over its bytes. */
function isBounded(json: Uint8Array): boolean {
  let depth = 0;
  let values = 0;
  let inString = false;
  for (let at = 0; at < json.length; at += 1) {
    const byte = json[at];
    if (inString) {
      if (byte === 0x5c) at += 1;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x2c) values += 1;
    else if (byte === 0x7b || byte === 0x5b) {
      values += 1;
      depth += 1;
    } else if (byte === 0x7d || byte === 0x5d) depth -= 1;
    if (depth > MAX_JSON_DEPTH || values > MAX_JSON_VALUES) return false;
  }
  return true;
}

function isJson(contentType: string | undefined): boolean {
  return /^application\/json\s*(;|$)/i.test(contentType ?? '') && contentType?.includes(',') !== true;
}

/** The whole of it, or why not. */
type Body = Buffer<ArrayBuffer> | 'TOO_LARGE' | 'NO_ROOM' | 'GONE';

/**
 * After a refusal the rest of a body is read and dropped, for as long as a request may take: a caller that is hung up on while
 * it sends may never see the answer.
 */
function bodyReader(greatest: number): Serving['readBody'] {
  /** Bytes that may still be held, of all requests together. */
  let room = BODIES * greatest;
  return (request, most) =>
    new Promise((resolve) => {
      // Grows with what has come, whatever was announced. Not a list of chunks: of a byte each, they take 400 times their size.
      let held = Buffer.alloc(0);
      let size = 0;
      const end = (body: Body) => {
        request.removeAllListeners('data').resume();
        room += held.length;
        held = Buffer.alloc(0);
        resolve(body);
      };
      if (Number(request.headers['content-length'] ?? 0) > most) return end('TOO_LARGE');
      request.on('data', (chunk: Buffer) => {
        const needed = size + chunk.length;
        if (needed > most) return end('TOO_LARGE');
        if (needed > held.length) {
          const grown = Buffer.allocUnsafe(Math.min(most, Math.max(needed, 2 * held.length)));
          room -= grown.length - held.length;
          held.copy(grown, 0, 0, size);
          held = grown;
          if (room < 0) return end('NO_ROOM');
        }
        chunk.copy(held, size);
        size = needed;
      });
      request.on('end', () => end(held.subarray(0, size)));
      request.on('error', () => end('GONE'));
      request.on('close', () => end('GONE'));
    });
}

function headersOf({ method, headers }: IncomingMessage): Record<string, string> {
  const sent: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) sent[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  // Media types are case-insensitive; Yoga compares them literally.
  if (method === 'POST') sent['content-type'] = 'application/json';
  return sent;
}

/** One that is complete: no stream. */
function isJsonAnswer({ headers }: Response): boolean {
  return /^application\/(graphql-response\+)?json\b/.test(headers.get('content-type') ?? '');
}

/** In the form of a GraphQL answer: clients look for errors there. */
function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  const correlationId = status >= 500 ? { correlationId: response.getHeader('x-request-id') } : {};
  plain(response, status, { errors: [{ message, extensions: { code, ...correlationId } }] });
}

function plain(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
}

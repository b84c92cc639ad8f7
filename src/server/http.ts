import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Log } from '../ports/system.ts';
import { plain, refuse, SAFE_HEADERS } from './responses.ts';

/** Answers a request. A handler that throws is answered 500. */
export type Handler = (
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
) => void | Promise<void>;

/** By path, without the query string. */
export type Routes = ReadonlyMap<string, Handler>;

export interface HttpOptions {
  routes: Routes;
  newRequestId(): string;
  log: Log;
  timeouts: HttpTimeouts;
}

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

/** A minute is the usual idle timeout of load balancers: a connection here outlives it. Node wants the headers' time above it. */
const SLOW_CLIENTS: Omit<HttpTimeouts, 'idle'> = { keepAlive: 75_000, headers: 80_000, request: 90_000 };

/** The timeouts of a server whose slowest answer takes so many milliseconds, without a byte before it. */
export function timeoutsFor(slowestAnswerMs: number, changes: Partial<HttpTimeouts> = {}): HttpTimeouts {
  return { ...SLOW_CLIENTS, idle: slowestAnswerMs + SLOW_CLIENTS.request, ...changes };
}

/** Bytes of a request's headers; more is answered 431. A token is one or two thousand. */
const MAX_HEADER_BYTES = 16 * 1024;
const METHODS = new Set(['GET', 'HEAD', 'POST', 'OPTIONS']);
/** Requests that one connection may have under way. The last of them is answered with "connection: close". */
const MAX_PIPELINED = 16;
/** Requests past that bound before the connection is cut off. */
const MAX_IGNORED = 256;

/** HTTP around the routes. Node's own timeouts cut off slow and silent clients. */
export function createHttpServer(options: HttpOptions): Server {
  const { timeouts, routes } = options;
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
        answer(request, response, requestId, routes).catch((error: unknown) => {
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

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  routes: Routes,
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
  const [path = '/'] = (request.url ?? '/').split('?', 1);
  const handle = routes.get(path);
  if (handle === undefined) return plain(response, 404, { error: 'not found' });
  return handle(request, response, requestId);
}

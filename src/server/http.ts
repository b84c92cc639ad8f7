import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { Log } from '../ports/system.ts';
import type { ServerContext } from './graphql.ts';

export interface HttpOptions {
  graphql: { fetch(request: Request, context: ServerContext): Response | Promise<Response> };
  /** False while draining, or when the database cannot be reached. */
  ready(): Promise<boolean>;
  /** Prometheus text. */
  metrics(): Promise<{ contentType: string; body: string }>;
  newRequestId(): string;
  log: Log;
  /** Bytes of a request's body; more is answered 413. */
  maxBodyBytes: number;
}

/** The largest body: two prompts of the greatest length with every character escaped, and room for the rest. */
export const MAX_BODY_BYTES = 2 * 1024 * 1024;

class BodyTooLarge extends Error {}

/**
 * HTTP around GraphQL. It reads the body itself, so that its size is bounded whatever a client says about it, and slow or
 * silent clients are cut off by Node's own timeouts.
 */
export function createHttpServer(options: HttpOptions): Server {
  const server = createServer(
    { maxHeaderSize: 16 * 1024, headersTimeout: 10_000, requestTimeout: 30_000, keepAliveTimeout: 5_000 },
    (request, response) => {
      answer(request, response, options).catch((error: unknown) => {
        options.log.error({ err: error }, 'a request could not be answered');
        if (!response.headersSent) plain(response, 500, { error: 'internal error' });
        else response.destroy();
      });
    },
  );
  server.maxRequestsPerSocket = 1_000;
  return server;
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: HttpOptions,
): Promise<void> {
  const path = (request.url ?? '/').split('?', 1)[0];
  switch (path) {
    case '/graphql':
      return graphql(request, response, options);
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

async function graphql(
  request: IncomingMessage,
  response: ServerResponse,
  options: HttpOptions,
): Promise<void> {
  const requestId = options.newRequestId();
  response.setHeader('x-request-id', requestId);
  let body: Buffer<ArrayBuffer> | null | undefined;
  try {
    body =
      request.method === 'GET' || request.method === 'HEAD'
        ? null
        : await read(request, options.maxBodyBytes);
  } catch (error) {
    if (!(error instanceof BodyTooLarge)) throw error;
    response.setHeader('connection', 'close');
    const message = `The request's body is larger than ${options.maxBodyBytes} bytes.`;
    return plain(response, 413, { errors: [{ message, extensions: { code: 'PAYLOAD_TOO_LARGE' } }] });
  }
  if (body === undefined) return;
  const address = URL.parse(request.url ?? '/graphql', 'http://localhost');
  if (address === null) return plain(response, 400, { error: 'bad address' });

  const answered = await options.graphql.fetch(
    new Request(address, { method: request.method ?? 'GET', headers: headersOf(request), body }),
    { requestId },
  );
  for (const [name, value] of answered.headers) response.setHeader(name, value);
  response.writeHead(answered.status);
  if (answered.body === null || request.method === 'HEAD') {
    response.end();
    return;
  }
  // A stream (server-sent events) goes out as it comes; a caller who leaves ends it.
  const stream = Readable.from(answered.body as unknown as AsyncIterable<Uint8Array>);
  response.on('close', () => stream.destroy());
  stream.on('error', () => response.destroy());
  stream.pipe(response);
}

/** The whole body; undefined where the caller left before its end. Throws `BodyTooLarge`, with the connection still usable. */
function read(request: IncomingMessage, most: number): Promise<Buffer<ArrayBuffer> | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const tooLarge = () => {
      request.removeAllListeners('data');
      request.resume();
      reject(new BodyTooLarge());
    };
    if (Number(request.headers['content-length'] ?? 0) > most) return tooLarge();
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > most) tooLarge();
      else chunks.push(chunk);
    });
    request.on('end', () => resolve(Buffer.concat(chunks)));
    request.on('error', () => resolve(undefined));
    request.on('close', () => resolve(undefined));
  });
}

function headersOf(request: IncomingMessage): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== undefined) headers.append(name, one);
  }
  return headers;
}

function plain(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
}

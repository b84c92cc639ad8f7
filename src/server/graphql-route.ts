import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline, Readable } from 'node:stream';
import { RefusedTokenError } from '../ports/auth.ts';
import { createBodyReader, isBounded, JSON_LIMITS, type ReadBody } from './body.ts';
import type { TokenCheck } from './check-token.ts';
import type { ServerContext } from './graphql.ts';
import type { Handler } from './http.ts';
import {
  hasFewParts,
  isMultipart,
  MAX_UPLOAD_BODY_BYTES,
  MAX_UPLOADS,
  PREFLIGHT_HEADERS,
} from './multipart.ts';
import { refuse, SAFE_HEADERS } from './responses.ts';

export interface GraphqlRouteOptions {
  /** Makes the request by itself, in a form that costs less than the platform's. */
  graphql: {
    fetch(url: string, request: GraphqlRequest, context: ServerContext): Response | Promise<Response>;
  };
  /** Sends the GraphiQL page. Absent: there is none. */
  page?: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  /** What this Authorization header says about the caller. Never throws. */
  checkToken(authorization: string | undefined): Promise<TokenCheck>;
  /** True: requests in progress are finished, and no new one is accepted. */
  draining?(): boolean;
  /** Bytes of a request's body; more is answered 413. */
  maxBodyBytes: number;
}

export interface GraphqlRequest {
  method: string;
  headers: Record<string, string>;
  body: Buffer<ArrayBuffer> | null;
}

/** Bytes of a body from a caller without a valid token: enough for introspection. */
const MAX_ANONYMOUS_BODY_BYTES = 16 * 1024;

/** /graphql: refuses what is cheap to refuse, and passes everything else on. */
export function createGraphqlRoute(options: GraphqlRouteOptions): Handler {
  const readBody = createBodyReader(options.maxBodyBytes);
  const readUpload = createBodyReader(MAX_UPLOAD_BODY_BYTES);
  let uploads = 0;
  return async (request, response, requestId) => {
    const isUpload = request.method === 'POST' && isMultipart(request.headers['content-type']);
    if (!isUpload) return answer(request, response, requestId, { ...options, readBody });
    if (uploads >= MAX_UPLOADS) return overloaded(response);
    uploads += 1;
    try {
      await answer(request, response, requestId, { ...options, readBody: readUpload });
    } finally {
      uploads -= 1;
    }
  };
}

function overloaded(response: ServerResponse): void {
  response.setHeader('retry-after', '1');
  refuse(response, 503, 'OVERLOADED', 'Too much is being sent to this server; nothing began.');
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  options: GraphqlRouteOptions & { readBody: ReadBody },
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
  const contentType = request.headers['content-type'] ?? '';
  const isUpload = method === 'POST' && isMultipart(contentType);
  if (isUpload && !PREFLIGHT_HEADERS.some((name) => (request.headers[name] ?? '') !== '')) {
    // A form of another site is just sent, without being asked about first.
    const message = `Send "${PREFLIGHT_HEADERS[0]}: 1" with a multipart request.`;
    return refuse(response, 415, 'UNSUPPORTED_MEDIA_TYPE', message);
  }
  // The only other type that a browser asks us about before it sends it for another site (CORS).
  if (method === 'POST' && !isUpload && !isJson(contentType)) {
    return refuse(response, 415, 'UNSUPPORTED_MEDIA_TYPE', 'Send "content-type: application/json".');
  }
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    return refuse(response, 415, 'UNSUPPORTED_CONTENT_ENCODING', 'Send the body without a content encoding.');
  }
  // Before the body is read: without a token, nobody makes this server hold or parse a large one.
  const caller = method === 'POST' ? await options.checkToken(request.headers.authorization) : 'ANONYMOUS';
  if (isUpload && caller !== 'MEMBER') return refuseCaller(response, caller);
  const most = isUpload
    ? MAX_UPLOAD_BODY_BYTES
    : caller === 'MEMBER'
      ? options.maxBodyBytes
      : Math.min(options.maxBodyBytes, MAX_ANONYMOUS_BODY_BYTES);
  const body = method === 'POST' ? await options.readBody(request, most) : null;
  if (body === 'GONE') return;
  if (body === 'TOO_LARGE') {
    // With another token the body might be taken, so the token is what the caller has to know about.
    if (caller instanceof RefusedTokenError) return refuseCaller(response, caller);
    const whose = caller === 'MEMBER' ? '' : ' without a valid access token';
    const message = `The request's body is larger than the limit of ${most} bytes${whose}.`;
    return refuse(response, 413, 'PAYLOAD_TOO_LARGE', message);
  }
  if (body === 'NO_ROOM') return overloaded(response);
  if (isUpload && body !== null && !hasFewParts(contentType, body)) {
    return refuse(response, 400, 'BAD_REQUEST', 'The multipart body has no boundary, or too many parts.');
  }
  if (!isUpload && body !== null && !isBounded(body)) {
    const message = `The request's body has more than ${JSON_LIMITS}.`;
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

/** Before anything of its body is read: without a token, nobody sends this server a file. */
function refuseCaller(response: ServerResponse, caller: Exclude<TokenCheck, 'MEMBER'>): void {
  if (!(caller instanceof RefusedTokenError)) {
    refuse(response, 401, 'UNAUTHENTICATED', 'Sign in first: send "Authorization: Bearer <access token>".');
  } else if (caller.unavailable) refuse(response, 503, 'UNAVAILABLE', caller.message);
  else refuse(response, 401, 'UNAUTHENTICATED', caller.message);
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

function isJson(contentType: string | undefined): boolean {
  return /^application\/json\s*(;|$)/i.test(contentType ?? '') && contentType?.includes(',') !== true;
}

function headersOf({ method, headers }: IncomingMessage): Record<string, string> {
  const sent: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) sent[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  // Media types are case-insensitive; Yoga compares them literally.
  if (method === 'POST' && !isMultipart(headers['content-type'])) sent['content-type'] = 'application/json';
  return sent;
}

/** One that is complete: no stream. */
function isJsonAnswer({ headers }: Response): boolean {
  return /^application\/(graphql-response\+)?json\b/.test(headers.get('content-type') ?? '');
}

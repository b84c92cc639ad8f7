/**
 * The Vapi stand-in: a real HTTP server that behaves as Vapi's assistant API is documented to, and fails as told.
 *
 * Besides the API it serves `/__stand-in/…` to callers on this machine, without a key and never struck by faults:
 * - `POST /__stand-in/faults` adds a fault (see `faults.ts`; 201 `{id}`), `GET` lists those not used up, `DELETE` clears
 * - `GET /__stand-in/requests` shows the requests received, `DELETE` forgets them
 * - `POST /__stand-in/dashboard/:id` edits an assistant by hand (shallow merge), `DELETE` deletes it by hand
 * - `PUT /__stand-in/keys` replaces the accepted keys: `[{key, name?, orgId?}]`
 * - `POST /__stand-in/late` applies at once what was to be applied late, and answers with how much that was
 * - `POST /__stand-in/reset` forgets assistants, faults and requests
 */
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import { type AcceptedKey, type Answered, type ApiRequest, answerRequest, error, keyOf } from './api.ts';
import { type Assistant, AssistantStore, type Json, type JsonObject } from './assistant-store.ts';
import { type FaultKind, Faults } from './faults.ts';
import { type Journal, openJournal } from './journal.ts';

/** The Vapi organization of a key that names none. */
export const DEFAULT_VAPI_ORG_ID = '11111111-1111-4111-8111-111111111111';
/** Vapi's own limit is not documented. */
const MAX_BODY_BYTES = 10 * 1024 * 1024;
const MAX_RECORDED = 10_000;

export interface VapiStandInOptions {
  /** 0 (the default) = any free port. */
  readonly port?: number;
  /** 127.0.0.1 when absent. */
  readonly host?: string;
  /** The key accepted at first; generated when absent. */
  readonly key?: string;
  /** Keeps the assistants across restarts; without it they live in memory. */
  readonly dataFile?: string;
  /** Epoch milliseconds. */
  readonly clock?: () => number;
  /** Makes UUIDs. */
  readonly ids?: () => string;
  /** Told one line for each request and fault; never a key or a body. */
  readonly log?: (line: string) => void;
}

/** `name` when absent: `key-1`, `key-2`, … by position; `orgId`: `DEFAULT_VAPI_ORG_ID`. */
interface KeyInput {
  readonly key: string;
  readonly name?: string | undefined;
  readonly orgId?: string | undefined;
}

interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  /** Without the question mark. */
  readonly query: string;
  /** Parsed where it is JSON, else text. */
  readonly body: unknown;
  /** The name of the accepted key that it carried, null if none. */
  readonly key: string | null;
  readonly userAgent: string | null;
  /** When it was received, epoch milliseconds. */
  readonly at: number;
  /** The status sent; null while there is none, and for ever if there never is. */
  status: number | null;
  /** When it changed an assistant, epoch milliseconds; null if it did not. */
  appliedAt: number | null;
  fault: FaultKind | null;
}

export interface VapiStandIn {
  readonly url: string;
  readonly port: number;
  /** The first key accepted. */
  readonly key: string;
  readonly store: AssistantStore;
  /** Oldest first; the last 10,000. */
  readonly requests: readonly RecordedRequest[];
  readonly faults: Faults;
  /** Replaces the accepted keys. */
  setKeys(keys: readonly KeyInput[]): void;
  /** From now on this key is refused with 401. */
  revokeKey(key: string): void;
  /** A person's edit in the Vapi dashboard: shallow merge, not validated. Throws for an unknown id. */
  dashboardEdit(id: string, fields: JsonObject): Assistant;
  /** Throws for an unknown id. */
  dashboardDelete(id: string): Assistant;
  /** Applies now what was to be applied late, in the order in which it was received; returns how much that was. */
  applyLate(): number;
  /** Forgets assistants, faults, requests and what was to be applied late; the keys stay. */
  reset(): void;
  /** Closes every socket, drops what was to be applied late. May be called again. */
  stop(): Promise<void>;
}

export async function startVapiStandIn(options: VapiStandInOptions = {}): Promise<VapiStandIn> {
  const { host = '127.0.0.1', clock = Date.now, ids, log = () => {} } = options;
  const key = options.key ?? randomBytes(24).toString('hex');
  const faults = new Faults();
  const requests: RecordedRequest[] = [];
  const late = new Map<NodeJS.Timeout, () => void>();
  const delays = new Set<NodeJS.Timeout>();
  let keys: readonly AcceptedKey[] = named([{ key }]);
  let journal: Journal | undefined;
  const store = new AssistantStore({
    now: clock,
    ...(ids ? { id: ids } : {}),
    onChange: (change) => journal?.append(change),
  });

  const server = createServer((request, response) => {
    serve(request, response).catch((problem: unknown) => {
      if (request.destroyed && !request.complete)
        return log('the client left before its request was complete');
      log(`internal error: ${problem instanceof Error ? problem.stack : problem}`);
      if (!response.headersSent)
        send(response, 500, error('Internal server error', 'Internal Server Error', 500));
    });
  });
  // A client decides how long an idle connection lives: one that the server closes first can be a reset for the client.
  server.keepAliveTimeout = 60_000;

  const loaded = Promise.withResolvers<void>();

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    await loaded.promise;
    // Not `new URL`: it throws on some of what clients can send.
    const [path = '/', ...query] = (incoming.url ?? '/').split('?');
    const text = await readText(incoming);
    if (path.startsWith('/__stand-in/')) {
      if (!isLoopback(incoming))
        return send(response, 403, error('Only from this machine', 'Forbidden', 403));
      const [status, body] = control(incoming.method ?? '', path, text ?? '');
      await journal?.flushed();
      return send(response, status, body);
    }
    await serveApi(incoming, response, { path, query: query.join('?') }, text);
  }

  async function serveApi(
    incoming: IncomingMessage,
    response: ServerResponse,
    { path, query }: { path: string; query: string },
    text: string | undefined,
  ): Promise<void> {
    const { authorization, 'user-agent': userAgent } = incoming.headers;
    const method = incoming.method ?? 'GET';
    const request: ApiRequest = {
      method,
      path,
      query: new URLSearchParams(query),
      body: text ?? { tooLarge: true },
      authorization,
      userAgent,
    };
    const body = parsed(text);
    const { delayMs, holds, strike } = faults.take({
      method,
      pathAndQuery: query === '' ? path : `${path}?${query}`,
      text: text ?? '',
      body,
    });
    const record: RecordedRequest = {
      method,
      path,
      query,
      body,
      key: keyOf(keys, authorization)?.name ?? null,
      userAgent: userAgent ?? null,
      at: clock(),
      status: null,
      appliedAt: null,
      fault: strike?.kind ?? (delayMs > 0 ? 'latency' : holds.length > 0 ? 'hold' : null),
    };
    if (requests.push(record) > MAX_RECORDED) requests.shift();

    // Who may do what is decided on arrival, even where the effect comes later.
    const acceptedKeys = keys;
    const apply = (): Answered => {
      const alter =
        strike?.kind === 'wrong-body' ? (fields: JsonObject) => altered(fields, strike) : undefined;
      const answered = answerRequest(store, acceptedKeys, request, alter);
      if (answered.applied) record.appliedAt = clock();
      return answered;
    };
    const reply = (status: number, content: Json, headers: Record<string, string> = {}) => {
      record.status = status;
      log(`${method} ${path} ${status}${record.fault === null ? '' : ` (${record.fault})`}`);
      send(response, status, content, headers);
    };
    const noReply = () => log(`${method} ${path} no answer (${record.fault})`);
    const reset = () => {
      noReply();
      incoming.socket.resetAndDestroy();
    };

    if (delayMs > 0) await delay(delayMs, delays);
    await Promise.all(holds.map((until) => until()));
    switch (strike?.kind) {
      case 'reset-before':
        return reset();
      case 'hang-before':
        return noReply();
      case 'status-before':
        return reply(strike.status, strike.body, strike.headers);
      case 'reject':
        return reply(400, error(strike.messages, 'Bad Request', 400));
      case 'late':
        later(strike.ms, apply);
        if (strike.answer === 'reset') return reset();
        return strike.answer === 'hang' ? noReply() : reply(strike.answer, gatewayPage(strike.answer), HTML);
      case 'html-502':
        if (strike.when === 'before') return reply(502, gatewayPage(502), HTML);
    }
    const { answer } = apply();
    // Whoever sees an effect, even through a later GET, must find it again after kill -9.
    await journal?.flushed();
    switch (strike?.kind) {
      case 'reset-after':
        return reset();
      case 'hang-after':
        return noReply();
      case 'status-after':
        return reply(strike.status, strike.body, strike.headers);
      case 'html-502':
        return reply(502, gatewayPage(502), HTML);
      case 'empty-body':
        return reply(answer.status, '', JSON_TYPE);
      case 'garbled-body': {
        const whole = JSON.stringify(answer.body);
        return reply(answer.status, whole.slice(0, Math.ceil(whole.length / 2)), JSON_TYPE);
      }
      default:
        return reply(answer.status, answer.body, method === 'GET' ? { etag: weakEtag(answer.body) } : {});
    }
  }

  function later(ms: number, apply: () => Answered): void {
    const run = () => {
      late.delete(timer);
      const { answer } = apply();
      log(`late application: ${answer.status}`);
      journal?.flushed().catch((problem: unknown) => log(`data file: ${problem}`));
    };
    const timer = setTimeout(run, ms);
    late.set(timer, run);
  }

  function control(method: string, path: string, text: string): [number, Json] {
    const [, , what, id = ''] = path.split('/');
    const done: [number, Json] = [200, {}];
    try {
      switch (`${method} ${what}`) {
        case 'POST faults':
          return [201, { id: faults.add(JSON.parse(text)) }];
        case 'GET faults':
          return [200, faults.list()];
        case 'DELETE faults':
          faults.clear();
          return done;
        case 'GET requests':
          return [200, JSON.parse(JSON.stringify(requests))];
        case 'DELETE requests':
          requests.length = 0;
          return done;
        case 'POST dashboard':
          return [200, standIn.dashboardEdit(id, z.record(z.string(), z.json()).parse(JSON.parse(text)))];
        case 'DELETE dashboard':
          return [200, standIn.dashboardDelete(id)];
        case 'PUT keys':
          standIn.setKeys(keyInputs.parse(JSON.parse(text)));
          return done;
        case 'POST late':
          return [200, { applied: standIn.applyLate() }];
        case 'POST reset':
          standIn.reset();
          return done;
        default:
          return [404, error(`Cannot ${method} ${path}`, 'Not Found', 404)];
      }
    } catch (problem) {
      return [400, error(problem instanceof Error ? problem.message : 'cannot be read', 'Bad Request', 400)];
    }
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, host, resolve);
  });
  // Only now: were the port taken by a stand-in that is running, its data file must not be touched.
  try {
    if (options.dataFile !== undefined) journal = await openJournal(options.dataFile, store);
  } catch (problem) {
    server.close();
    server.closeAllConnections();
    throw problem;
  }
  loaded.resolve();
  const { port } = server.address() as AddressInfo;
  let stopped: Promise<void> | undefined;

  async function stop(): Promise<void> {
    for (const timer of [...late.keys(), ...delays]) clearTimeout(timer);
    late.clear();
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
    await journal?.close();
  }

  const standIn: VapiStandIn = {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    key,
    store,
    requests,
    faults,
    setKeys: (inputs) => {
      keys = named(inputs);
    },
    revokeKey: (revoked) => {
      keys = keys.filter((accepted) => accepted.key !== revoked);
    },
    dashboardEdit: (id, fields) => store.dashboardEdit(id, fields) ?? unknown(id),
    dashboardDelete: (id) => store.dashboardDelete(id) ?? unknown(id),
    applyLate: () => {
      const waiting = [...late];
      for (const [timer, run] of waiting) {
        clearTimeout(timer);
        run();
      }
      return waiting.length;
    },
    reset: () => {
      for (const timer of late.keys()) clearTimeout(timer);
      late.clear();
      store.clear();
      faults.clear();
      requests.length = 0;
    },
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
  return standIn;
}

const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' };
const HTML = { 'content-type': 'text/html' };

const keyInputs = z.array(
  z.strictObject({ key: z.string().min(1), name: z.string().optional(), orgId: z.string().optional() }),
);

function named(inputs: readonly KeyInput[]): AcceptedKey[] {
  return inputs.map(({ key, name, orgId }, index) => ({
    key,
    name: name ?? `key-${index + 1}`,
    orgId: orgId ?? DEFAULT_VAPI_ORG_ID,
  }));
}

/** The whole body as text; undefined when it is longer than `MAX_BODY_BYTES`, which is then read but not kept. */
async function readText(incoming: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming) {
    bytes += chunk.length;
    if (bytes <= MAX_BODY_BYTES) chunks.push(chunk);
    else chunks.length = 0;
  }
  return bytes > MAX_BODY_BYTES ? undefined : Buffer.concat(chunks).toString('utf8');
}

function send(
  response: ServerResponse,
  status: number,
  content: Json,
  headers: Record<string, string> = {},
): void {
  const asText = typeof content === 'string';
  const body = asText ? content : JSON.stringify(content);
  response.writeHead(status, {
    ...(asText ? { 'content-type': 'text/plain; charset=UTF-8' } : JSON_TYPE),
    'content-length': Buffer.byteLength(body),
    ...headers,
  });
  response.end(body);
}

function parsed(text: string | undefined): unknown {
  try {
    return text ? JSON.parse(text) : undefined;
  } catch {
    return text;
  }
}

/** The body with another value at a dotted path, or without that field. */
function altered(body: JsonObject, { path, value }: { path: string; value?: Json | undefined }): JsonObject {
  const copy: JsonObject = structuredClone(body);
  const steps = path.split('.');
  const last = steps.pop() ?? '';
  let target: unknown = copy;
  for (const step of steps) target = (target as Record<string, unknown> | undefined | null)?.[step];
  if (typeof target !== 'object' || target === null) return copy;
  if (value !== undefined) Object.assign(target, { [last]: value });
  else if (Array.isArray(target)) target.splice(Number(last), 1);
  else Reflect.deleteProperty(target, last);
  return copy;
}

function weakEtag(body: Json): string {
  const text = JSON.stringify(body);
  const digest = createHash('sha1').update(text).digest('base64').slice(0, 27);
  return `W/"${Buffer.byteLength(text).toString(16)}-${digest}"`;
}

function gatewayPage(status: number): string {
  return `<html><head><title>${status}</title></head><body><center><h1>${status}</h1></center><hr></body></html>`;
}

function isLoopback({ socket }: IncomingMessage): boolean {
  return /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/.test(socket.remoteAddress ?? '');
}

function delay(ms: number, timers: Set<NodeJS.Timeout>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      resolve();
    }, ms);
    timers.add(timer);
  });
}

function unknown(id: string): never {
  throw new Error(`The stand-in has no assistant ${id}`);
}

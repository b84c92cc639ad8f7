/**
 * The Vapi stand-in: a real HTTP server that behaves like the documented API of Vapi for assistants, phone numbers, files and tools, and fails as programmed.
 *
 * It also serves `/__stand-in/…` to callers on this machine, without a key and without faults:
 * - `POST /__stand-in/faults` adds a fault (see `faults.ts`; 201 `{id}`), `GET` lists those not used up, `DELETE` clears
 * - `GET /__stand-in/requests` lists the received requests, `DELETE` clears them
 * - `POST /__stand-in/dashboard/:id` edits a resource of any kind like the dashboard (shallow merge), `DELETE` deletes it
 * - `POST /__stand-in/publish/:id` publishes the draft of an assistant, `POST /__stand-in/restore/:id` `{version}` restores a version, and
 *   `GET /__stand-in/versions/:id` lists its versions (see `versions.ts`)
 * - `GET /__stand-in/settings` returns the settings (see `settings.ts`), `PATCH` changes those in the body
 * - `PUT /__stand-in/keys` replaces the accepted keys: `[{key, name?, orgId?}]`
 * - `PUT /__stand-in/credentials` replaces the credentials that webhooks are signed with (see `webhooks.ts`)
 * - `GET /__stand-in/deliveries` lists the attempts to deliver a webhook, `DELETE` clears them
 * - `POST /__stand-in/calls` plays a call (see `call-script.ts`) and returns it with its tool calls at its end; with `wait: false` its id at once
 * - `GET /__stand-in/callees` lists the assistants that can be called, with their tools and their numbers
 * - `GET /__stand-in/calls/:id` returns a call, and what was said so far
 * - `POST /__stand-in/events` `{server, message}` sends one webhook, signed like any other
 * - `POST /__stand-in/late` applies all pending late writes at once, and returns their number
 * - `POST /__stand-in/reset` clears resources, faults and requests, and restores the settings
 */
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import { VapiAccount } from './account.ts';
import { type AcceptedKey, type Answered, type ApiRequest, answerRequest, error, keyOf } from './api.ts';
import type { Assistant, AssistantStore } from './assistant-store.ts';
import { CallRunner, type PlayedCall } from './call-runner.ts';
import type { CallScriptInput } from './call-script.ts';
import type { CallStore } from './calls.ts';
import { type DataFile, openDataFile } from './data-file.ts';
import { type FaultKind, Faults } from './faults.ts';
import type { FileStore } from './files.ts';
import { readForm } from './form.ts';
import { isObject, type Json, type JsonObject } from './json.ts';
import type { PhoneNumberStore } from './phone-numbers.ts';
import type { Resource } from './resource-store.ts';
import type { Settings, SettingsInput } from './settings.ts';
import type { ToolStore } from './tools.ts';
import type { AssistantVersion } from './versions.ts';
import {
  type Delivery,
  type DeliveryAnswer,
  sendWebhook,
  type WebhookCredentialInput,
  type WebhookPorts,
  webhookCredentials,
} from './webhooks.ts';

/** The Vapi organization of a key without one. */
export const DEFAULT_VAPI_ORG_ID = '11111111-1111-4111-8111-111111111111';
/** Vapi does not document its limits. The setting `maxFileBytes` refuses a file earlier. */
const MAX_BODY_BYTES = 10 * 1024 * 1024;
const MAX_FORM_BYTES = 64 * 1024 * 1024;
const MAX_RECORDED = 10_000;
/** Longer timers would expire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export interface VapiStandInOptions {
  /** 0 (the default): any free port. */
  readonly port?: number;
  /** 127.0.0.1 when absent. */
  readonly host?: string;
  /** The first accepted key; generated if absent. */
  readonly key?: string;
  /** Keeps the resources across restarts. Without it they are only in memory. */
  readonly dataFile?: string;
  /** What webhooks are signed with, by the id that a server names. */
  readonly credentials?: readonly WebhookCredentialInput[];
  /** Until `configure` changes them, and again after `reset`. */
  readonly settings?: SettingsInput;
  /** Epoch milliseconds. */
  readonly clock?: () => number;
  /** Makes UUIDs. */
  readonly ids?: () => string;
  /** Receives one line for each request and fault, never a key or a body. */
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
  /** Parsed if it is JSON. A form has its fields, and of a file its name, type, size and SHA-256. Otherwise text. */
  readonly body: unknown;
  /** The name of the accepted key in the request, null if none. */
  readonly key: string | null;
  readonly userAgent: string | null;
  /** The time of receipt, epoch milliseconds. */
  readonly at: number;
  /** The sent status; null before the answer, and if there is none. */
  status: number | null;
  /** The time at which it changed a resource, epoch milliseconds; null if it did not. */
  appliedAt: number | null;
  fault: FaultKind | null;
}

export interface VapiStandIn {
  readonly url: string;
  readonly port: number;
  /** The first accepted key. */
  readonly key: string;
  /** The assistants. */
  readonly store: AssistantStore;
  readonly phoneNumbers: PhoneNumberStore;
  readonly files: FileStore;
  readonly tools: ToolStore;
  readonly calls: CallStore;
  readonly settings: Settings;
  /** Oldest first; the last 10,000. */
  readonly requests: readonly RecordedRequest[];
  readonly faults: Faults;
  /** Replaces the accepted keys. */
  setKeys(keys: readonly KeyInput[]): void;
  /** Refuses this key with 401 from now on. */
  revokeKey(key: string): void;
  /** Replaces the credentials that webhooks are signed with. */
  setCredentials(credentials: readonly WebhookCredentialInput[]): void;
  /** Plays a call to its end (see `call-script.ts`). Messages that are sent later are not waited for. */
  playCall(script: CallScriptInput): Promise<PlayedCall>;
  /** Starts to play a call, and returns its id. */
  startCall(script: CallScriptInput): string;
  /** Resolves at the end of a call that is being played. */
  callFinished(id: string): Promise<PlayedCall>;
  /** Resolves when no call is played and no message is to be sent. */
  callsIdle(): Promise<void>;
  /** The attempts to deliver a webhook, oldest first; the last 10,000. */
  readonly deliveries: readonly Delivery[];
  /** Sends one webhook, signed and repeated as the server says. */
  deliver(server: JsonObject, message: JsonObject): Promise<DeliveryAnswer>;
  /** Changes the settings that are given (see `settings.ts`). Throws for an unknown setting or value. */
  configure(settings: SettingsInput): Settings;
  /** An edit of any resource in the Vapi dashboard: a shallow merge without validation. Throws for an unknown id. */
  dashboardEdit(id: string, fields: JsonObject): Resource;
  /** Publishes the draft of an assistant in the dashboard (see `versions.ts`). Throws if there is none. */
  publishDraft(assistantId: string): Assistant;
  /** Restores a version of an assistant in the dashboard. Throws for an unknown one. */
  restoreVersion(assistantId: string, version: string): Assistant;
  /** Oldest first. */
  versions(assistantId: string): AssistantVersion[];
  /** Throws for an unknown id. */
  dashboardDelete(id: string): Resource;
  /** Applies all pending late writes in their order of arrival, and returns their number. */
  applyLate(): number;
  /** Clears resources, faults, requests and pending late writes, and restores the settings. The keys stay. */
  reset(): void;
  /** Closes every socket and drops pending late writes. May be called again. */
  stop(): Promise<void>;
}

export async function startVapiStandIn(options: VapiStandInOptions = {}): Promise<VapiStandIn> {
  const { host = '127.0.0.1', clock = Date.now, ids, log = () => {} } = options;
  const key = options.key ?? randomBytes(24).toString('hex');
  const faults = new Faults();
  const requests: RecordedRequest[] = [];
  const late = new Map<NodeJS.Timeout, () => void>();
  const delays = new Set<NodeJS.Timeout>();
  const deliveries: Delivery[] = [];
  const stopping = new AbortController();
  let credentials = webhookCredentials.parse(options.credentials ?? []);
  let keys: readonly AcceptedKey[] = named([{ key }]);
  let dataFile: DataFile | undefined;
  const account = new VapiAccount({
    now: clock,
    ...(ids ? { id: ids } : {}),
    ...(options.settings ? { settings: options.settings } : {}),
    onChange: (change) => dataFile?.append(change),
    onCall: (call) => runner.created(call),
  });

  const webhooks: WebhookPorts = {
    credentials: () => credentials,
    settings: () => account.settings,
    now: clock,
    sleep: (ms) => delay(ms, delays),
    onDelivery: (delivery) => {
      if (deliveries.push(delivery) > MAX_RECORDED) deliveries.shift();
      log(`webhook ${delivery.type} ${delivery.status ?? 'no answer'}`);
    },
    signal: stopping.signal,
  };
  const runner = new CallRunner(account, {
    sleep: (ms) => delay(ms, delays),
    deliver: async (receiver, message, onAttempted) => {
      // The receiver of a message must find the call in the API, even after kill -9.
      await dataFile?.flushed();
      // A call does not go on while the stand-in stops: it goes on after the next start.
      const attempted = () => stopping.signal.aborted || onAttempted();
      const answer = await sendWebhook(webhooks, receiver, message, attempted);
      return stopping.signal.aborted ? new Promise(() => {}) : answer;
    },
  });

  const server = createServer((request, response) => {
    serve(request, response).catch((problem: unknown) => {
      if (request.destroyed && !request.complete)
        return log('the client disconnected before its request was complete');
      log(`internal error: ${problem instanceof Error ? problem.stack : problem}`);
      if (!response.headersSent)
        send(response, 500, error('Internal server error', 'Internal Server Error', 500));
    });
  });
  // The client decides how long an idle connection stays open: if the server closes it first, the client may see a reset.
  server.keepAliveTimeout = 60_000;

  const loaded = Promise.withResolvers<void>();

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    await loaded.promise;
    // Clients may take Vapi's clock from this header.
    response.setHeader('date', new Date(clock()).toUTCString());
    // Not `new URL`, which throws on some addresses that clients can send.
    const [path = '/', ...query] = (incoming.url ?? '/').split('?');
    const bytes = await readBytes(incoming);
    if (path.startsWith('/__stand-in/')) {
      if (!isLoopback(incoming))
        return send(response, 403, error('Only from this machine', 'Forbidden', 403));
      const [status, body] = await control(incoming.method ?? '', path, bytes?.toString() ?? '');
      await dataFile?.flushed();
      return send(response, status, body);
    }
    await serveApi(incoming, response, { path, query: query.join('?') }, bytes);
  }

  async function serveApi(
    incoming: IncomingMessage,
    response: ServerResponse,
    { path, query }: { path: string; query: string },
    bytes: Buffer | undefined,
  ): Promise<void> {
    const { authorization, origin, 'user-agent': userAgent, 'content-type': contentType } = incoming.headers;
    const text = bytes?.toString();
    const form = bytes && (await readForm(contentType, bytes));
    const method = incoming.method ?? 'GET';
    const request: ApiRequest = {
      method,
      path,
      query: new URLSearchParams(query),
      body: form ?? text ?? { tooLarge: true },
      authorization,
      userAgent,
      origin,
    };
    const body = form?.form ?? parsed(text);
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

    // The key is checked on arrival, even if the effect comes later.
    const acceptedKeys = keys;
    const apply = (): Answered => {
      const alter =
        strike?.kind === 'wrong-body' ? (fields: JsonObject) => altered(fields, strike) : undefined;
      const answered = answerRequest(account, acceptedKeys, request, alter);
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
    // A caller that sees an effect, even through a later GET, must see it again after kill -9.
    await dataFile?.flushed();
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
      case 'slow-body': {
        const whole = Buffer.from(JSON.stringify(answer.body));
        const half = Math.ceil(whole.length / 2);
        response.writeHead(answer.status, { ...JSON_TYPE, 'content-length': whole.length });
        response.write(whole.subarray(0, half));
        await delay(strike.ms, delays);
        record.status = answer.status;
        return void response.end(whole.subarray(half));
      }
      default:
        return reply(answer.status, answer.body, {
          ...(method === 'GET' ? { etag: weakEtag(answer.body) } : {}),
          ...answer.headers,
        });
    }
  }

  function later(ms: number, apply: () => Answered): void {
    const run = () => {
      late.delete(timer);
      const { answer } = apply();
      log(`late application: ${answer.status}`);
      dataFile?.flushed().catch((problem: unknown) => log(`data file: ${problem}`));
    };
    const timer = setTimeout(run, ms);
    late.set(timer, run);
  }

  async function control(method: string, path: string, text: string): Promise<[number, Json]> {
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
          return [200, standIn.dashboardEdit(id, jsonObject.parse(JSON.parse(text)))];
        case 'DELETE dashboard':
          return [200, standIn.dashboardDelete(id)];
        case 'POST publish':
          return [200, standIn.publishDraft(id)];
        case 'POST restore': {
          const { version } = z.strictObject({ version: z.string() }).parse(JSON.parse(text));
          return [200, standIn.restoreVersion(id, version)];
        }
        case 'GET versions':
          return [200, standIn.versions(id)];
        case 'GET settings':
          return [200, standIn.settings];
        case 'PATCH settings':
          return [200, standIn.configure(JSON.parse(text))];
        case 'PUT keys':
          standIn.setKeys(keyInputs.parse(JSON.parse(text)));
          return done;
        case 'PUT credentials':
          standIn.setCredentials(JSON.parse(text));
          return done;
        case 'GET deliveries':
          return [200, JSON.parse(JSON.stringify(deliveries))];
        case 'DELETE deliveries':
          deliveries.length = 0;
          return done;
        case 'POST calls': {
          const { wait = true, ...script } = JSON.parse(text);
          const started = standIn.startCall(script);
          if (!wait) return [201, { id: started }];
          return [200, JSON.parse(JSON.stringify(await standIn.callFinished(started)))];
        }
        case 'GET callees':
          return [200, callees(account)];
        case 'GET calls': {
          const call = account.callStore.find(id) ?? unknown(id);
          return [200, { call: account.calls.shown(call), messages: runner.messages(id) }];
        }
        case 'POST events': {
          const event = z.strictObject({ server: jsonObject, message: jsonObject }).parse(JSON.parse(text));
          const { status, body = null } = await standIn.deliver(event.server, event.message);
          return [200, { status, body: body as Json }];
        }
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
  // Only now: if a running stand-in uses the port, its data file must stay untouched.
  try {
    if (options.dataFile !== undefined) dataFile = await openDataFile(options.dataFile, account);
  } catch (problem) {
    server.close();
    server.closeAllConnections();
    throw problem;
  }
  loaded.resolve();
  void delay(account.settings.resumeCallsAfterMs, delays).then(() => runner.resume());
  const { port } = server.address() as AddressInfo;
  let stopped: Promise<void> | undefined;

  async function stop(): Promise<void> {
    stopping.abort();
    for (const timer of [...late.keys(), ...delays]) clearTimeout(timer);
    late.clear();
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
    await dataFile?.close();
  }

  const standIn: VapiStandIn = {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    key,
    store: account.assistants,
    phoneNumbers: account.phoneNumbers,
    files: account.files,
    tools: account.tools,
    calls: account.callStore,
    get settings() {
      return account.settings;
    },
    requests,
    faults,
    setCredentials: (inputs) => {
      credentials = webhookCredentials.parse(inputs);
    },
    playCall: (script) => runner.play(script),
    startCall: (script) => runner.start(script),
    callFinished: (id) => runner.finished(id),
    callsIdle: () => runner.idle(),
    deliveries,
    deliver: (receiver, message) => sendWebhook(webhooks, receiver, message),
    configure: (settings) => account.configure(settings),
    setKeys: (inputs) => {
      keys = named(inputs);
    },
    revokeKey: (revoked) => {
      keys = keys.filter((accepted) => accepted.key !== revoked);
    },
    dashboardEdit: (id, fields) => account.dashboardEdit(id, fields) ?? unknown(id),
    publishDraft: (id) => account.versions.publish(id),
    restoreVersion: (id, version) => account.versions.restore(id, version),
    versions: (id) => account.versions.of(id),
    dashboardDelete: (id) => account.dashboardDelete(id) ?? unknown(id),
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
      account.reset();
      faults.clear();
      requests.length = 0;
      deliveries.length = 0;
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

/** Assistants of every Vapi organization, oldest first. */
function callees(account: VapiAccount): Json {
  const numbers = account.phoneNumbers.all();
  return account.assistants.all().map(({ id, name = null, model }) => {
    const tools = isObject(model) && Array.isArray(model['tools']) ? model['tools'].filter(isObject) : [];
    return {
      ...{ assistantId: id, name },
      tools: tools.flatMap(({ function: described }) =>
        isObject(described) ? (described['name'] ?? []) : [],
      ),
      numbers: numbers.flatMap((one) => (one['assistantId'] === id ? (one['number'] ?? []) : [])),
    };
  });
}

const jsonObject = z.record(z.string(), z.json());

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

/** The whole body. Undefined if it is longer than `MAX_BODY_BYTES`; the rest is then read and dropped. */
async function readBytes(incoming: IncomingMessage): Promise<Buffer | undefined> {
  const isForm = incoming.headers['content-type']?.startsWith('multipart/');
  const most = isForm ? MAX_FORM_BYTES : MAX_BODY_BYTES;
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming) {
    bytes += chunk.length;
    if (bytes <= most) chunks.push(chunk);
    else chunks.length = 0;
  }
  return bytes > most ? undefined : Buffer.concat(chunks);
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

/** Returns the body with another value at a dotted path, or without that field. */
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
    const timer = setTimeout(
      () => {
        timers.delete(timer);
        resolve();
      },
      Math.min(ms, MAX_TIMER_MS),
    );
    timers.add(timer);
  });
}

function unknown(id: string): never {
  throw new Error(`The stand-in has no resource ${id}`);
}

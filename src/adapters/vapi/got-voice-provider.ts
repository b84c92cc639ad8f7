import got, { type Delays, type Got, RequestError, type Response, TimeoutError } from 'got';
import { z } from 'zod';
import { isJsonObject, type Json, type JsonObject } from '../../domain/json.ts';
import { Secret } from '../../domain/secret.ts';
import { boundedText, storableJson } from '../../domain/text.ts';
import type { Log } from '../../ports/system.ts';
import type {
  FileUpload,
  ProviderReply,
  RemoteCalls,
  RemoteFiles,
  RemoteResource,
  RemoteResources,
  VoiceProvider,
} from '../../ports/voice-provider.ts';
import { around } from '../../ports/voice-provider.ts';
import { redactor } from '../system/logger.ts';

export interface VapiOptions {
  /** For example `https://api.vapi.ai`. */
  baseUrl: string;
  /** Timeout of one request, milliseconds, including connection and body. */
  timeoutMs: number;
  /** Timeout of the upload of a file, milliseconds. */
  uploadTimeoutMs?: number;
  log: Log;
}

const UPLOAD_TIMEOUT_MS = 60_000;
/** The purpose with which files for query tools are uploaded and listed (docs/vapi.md#files). */
const FILE_PURPOSE = 'assistant';

/** Vapi's edge refuses requests without a User-Agent (docs/vapi.md#user-agent). */
const USER_AGENT = 'lockstep/0.1 (+https://www.npmjs.com/package/got)';

/** One segment of a path. Ids are UUIDs (docs/vapi.md#ids); `..`, a slash or an empty segment would name another resource. */
const ID = /^[A-Za-z0-9_-]{1,100}$/;

/**
 * The most bytes of a body that are read. An assistant with the longest accepted prompt needs less than 1 MB, even if every character
 * is escaped. A list has up to 1,000 assistants.
 */
const MAX_BODY_BYTES = 4 * 2 ** 20;
const MAX_LIST_BYTES = 256 * 2 ** 20;

/** Accepts unknown fields, and requires the fields that we rely on. */
const resourceAnswer = z.looseObject({ id: z.string().regex(ID) });
const resourceList = z.array(resourceAnswer);
const errorAnswer = z.looseObject({ message: z.union([z.string(), z.array(z.string())]) });

/** Describes a failed request for the log, without headers, body, or any address other than the path template. */
class VapiRequestError extends Error {
  override readonly name = 'VapiRequestError';
  readonly method: string;
  readonly pathTemplate: string;
  readonly status: number | null;
  readonly code: string;

  constructor(method: string, pathTemplate: string, status: number | null, code: string) {
    super(`${method} ${pathTemplate}: ${status ?? code}`);
    this.method = method;
    this.pathTemplate = pathTemplate;
    this.status = status;
    this.code = code;
  }
}

/**
 * Vapi over HTTP. Only this function reveals the key, for each request. It never retries: retries of the library would ignore
 * the lease, and only the caller knows whether a repetition is harmless.
 */
export function createVoiceProvider(key: Secret, options: VapiOptions): VoiceProvider {
  const client: Got = got.extend({
    prefixUrl: options.baseUrl,
    retry: { limit: 0 },
    followRedirect: false,
    throwHttpErrors: false,
    responseType: 'text',
    headers: { 'user-agent': USER_AGENT, accept: 'application/json' },
    timeout: timeouts(options.timeoutMs),
  });

  const redact = redactor([key]);

  async function call<T>(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    pathTemplate: string,
    shape: z.ZodType<T>,
    extra: Extra = {},
  ): Promise<ProviderReply<T>> {
    const reply = await attempt();
    if (reply.kind !== 'ok') {
      const error = new VapiRequestError(
        method,
        pathTemplate,
        'status' in reply ? reply.status : null,
        'code' in reply ? reply.code : reply.kind,
      );
      options.log.debug(
        { err: { message: error.message, code: error.code }, outcome: reply.kind },
        'vapi request',
      );
    }
    return reply;

    async function attempt(): Promise<ProviderReply<T>> {
      const tooLarge = new AbortController();
      const { secrets = [], dated = false, ...sent } = extra;
      try {
        const request = client(path, {
          method,
          ...sent,
          headers: { authorization: `Bearer ${key.reveal()}` },
          signal: tooLarge.signal,
        });
        const most = shape === (resourceList as unknown) ? MAX_LIST_BYTES : MAX_BODY_BYTES;
        void request.on('downloadProgress', ({ transferred }) => {
          if (transferred > most) tooLarge.abort();
        });
        if (secrets.length === 0) {
          const response = await request;
          const answered = read(method, response, shape, redact);
          const at = dated ? httpDate(response.headers.date) : null;
          return answered.kind === 'ok' && at !== null ? { ...answered, at } : answered;
        }
        // Vapi may repeat these in an answer as well, under any name.
        return read(method, await request, shape, redactor([key, ...secrets]), true);
      } catch (error) {
        // Vapi received the request, so it may have applied it.
        if (tooLarge.signal.aborted) return { kind: 'unknown', code: 'BODY_TOO_LARGE' };
        return failed(error);
      }
    }
  }

  /** The methods of one kind of resource. */
  function resources(collection: string): RemoteResources {
    const one = (method: 'GET' | 'PATCH' | 'DELETE', id: string, extra: Extra = {}): Reply => {
      if (!ID.test(id)) {
        return Promise.resolve({ kind: 'refused', status: 400, messages: ['this is no id of a resource'] });
      }
      return call(method, `${collection}/${id}`, `/${collection}/{id}`, resourceAnswer, extra) as Reply;
    };
    return {
      timeoutMs: options.timeoutMs,
      create: (document) =>
        call('POST', collection, `/${collection}`, resourceAnswer, {
          json: document,
          secrets: carrierSecrets(document),
        }) as Reply,
      update: (id, document) => one('PATCH', id, { json: document, secrets: carrierSecrets(document) }),
      get: (id) => one('GET', id),
      remove: (id) => one('DELETE', id),
      list: (query) =>
        call('GET', collection, `/${collection}`, resourceList, {
          searchParams: { ...query } as Record<string, string | number>,
        }) as Promise<ProviderReply<RemoteResource[]>>,
    };
  }

  const assistants = resources('assistant');
  const files = resources('file');
  const uploadTimeoutMs = options.uploadTimeoutMs ?? UPLOAD_TIMEOUT_MS;
  return {
    timeoutMs: options.timeoutMs,
    createAssistant: assistants.create,
    updateAssistant: assistants.update,
    getAssistant: assistants.get,
    deleteAssistant: assistants.remove,
    listAssistants: assistants.list,
    phoneNumbers: withoutFields(resources('phone-number'), CARRIER_SECRETS),
    files: withoutFields(
      {
        timeoutMs: options.timeoutMs,
        uploadTimeoutMs,
        upload: (file) =>
          call('POST', 'file', '/file', resourceAnswer, {
            body: formOf(file),
            timeout: timeouts(uploadTimeoutMs),
          }) as Reply,
        get: files.get,
        remove: files.remove,
        list: () =>
          call('GET', 'file', '/file', resourceList, {
            searchParams: { purpose: FILE_PURPOSE },
          }) as Promise<ProviderReply<RemoteResource[]>>,
      } satisfies RemoteFiles,
      FILE_ADDRESSES,
    ),
    tools: resources('tool'),
    calls: withoutFields(
      {
        timeoutMs: options.timeoutMs,
        list: (query) =>
          call('GET', 'call', '/call', resourceList, {
            searchParams: { ...query } as Record<string, string | number>,
            dated: true,
          }) as Promise<ProviderReply<RemoteResource[]>>,
      } satisfies RemoteCalls,
      CARRIER_SECRETS,
    ),
  };
}

/** `request` bounds the whole request. The other timeouts report earlier and more precisely where it hangs. */
function timeouts(ms: number): Delays {
  return {
    lookup: Math.min(2_000, ms),
    connect: Math.min(3_000, ms),
    secureConnect: Math.min(3_000, ms),
    socket: ms,
    send: ms,
    response: ms,
    read: ms,
    request: ms,
  };
}

interface Extra {
  json?: JsonObject;
  body?: FormData;
  searchParams?: Record<string, string | number>;
  timeout?: Delays;
  /** True: the reply says when Vapi answered. */
  dated?: boolean;
  /** Besides the key: removed from every text that Vapi answers. */
  secrets?: Secret[];
}

/** The fields in which Vapi takes, and repeats, the secrets of a carrier's account (docs/vapi.md#carrier-secrets). */
const CARRIER_SECRETS = ['twilioAuthToken', 'twilioApiKey', 'twilioApiSecret'];
/** The fields with addresses at which anybody can read a file (docs/vapi.md#file-urls). */
const FILE_ADDRESSES = ['url', 'parsedTextUrl'];

function carrierSecrets(document: JsonObject): Secret[] {
  return CARRIER_SECRETS.flatMap((name) => {
    const value = document[name];
    return typeof value === 'string' && value !== '' ? [new Secret(value)] : [];
  });
}

/** Leaves these fields out of every answer, at any depth, so that nothing behind this can keep them. */
function withoutFields<Api extends object>(api: Api, names: readonly string[]): Api {
  const clean = (value: Json): Json => {
    if (Array.isArray(value)) return value.map(clean);
    if (!isJsonObject(value)) return value;
    const kept = Object.entries(value).filter(([name]) => !names.includes(name));
    return Object.fromEntries(kept.map(([name, member]) => [name, clean(member)]));
  };
  return around(api, async (request) => {
    const reply = await request();
    return reply.kind === 'ok'
      ? { ...reply, value: clean(reply.value as Json) as typeof reply.value }
      : reply;
  });
}

function formOf({ name, contentType, content, metadata }: FileUpload): FormData {
  const form = new FormData();
  form.set('file', new Blob([content], { type: contentType }), name);
  form.set('purpose', FILE_PURPOSE);
  form.set('metadata', JSON.stringify(metadata));
  return form;
}

/** zod's loose object and the port's JSON object are the same at run time: the body was parsed from JSON. */
type Reply = Promise<ProviderReply<RemoteResource>>;

function read<T>(
  method: string,
  { statusCode: status, headers, body }: Response<string>,
  shape: z.ZodType<T>,
  redact: (text: string) => string,
  redactAnswers = false,
): ProviderReply<T> {
  if (status >= 200 && status < 300) {
    const parsed = shape.safeParse(jsonOrNull(body, redactAnswers ? redact : undefined));
    // Vapi applied the request, but its result cannot be read: the same as no answer.
    return parsed.success ? { kind: 'ok', value: parsed.data } : { kind: 'unknown', code: 'UNREADABLE_BODY' };
  }
  // A create cannot find a resource missing: a 404 means that this address accepts no creates.
  if (status === 404 && method !== 'POST') return { kind: 'gone' };
  if (status === 401 || status === 403) return { kind: 'unauthorized', status };
  if (status === 429) return { kind: 'rate_limited', retryAfterMs: retryAfterMs(headers['retry-after']) };
  if (status >= 400 && status < 500 && status !== 408)
    return { kind: 'refused', status, messages: messages(status, body, redact) };
  return { kind: 'unknown', code: `HTTP_${status}` };
}

function failed(error: unknown): { kind: 'not_sent' | 'unknown'; code: string } {
  if (!(error instanceof RequestError)) throw error;
  return {
    kind: wasNeverSent(error) ? 'not_sent' : 'unknown',
    code: error instanceof TimeoutError ? `TIMEOUT_${error.event.toUpperCase()}` : error.code,
  };
}

/**
 * True if the connection or its TLS handshake never succeeded. Then nothing of the request can have been sent, whatever the
 * error is. got records both times, also for a reused connection.
 */
function wasNeverSent({ timings, options }: RequestError): boolean {
  if (timings === undefined || timings.upload !== undefined) return false;
  const secure = new URL(options.url ?? '').protocol === 'https:';
  return (secure ? timings.secureConnect : timings.connect) === undefined;
}

/** Null: the body is not JSON, or it is nested too deeply. `change` is applied to every text in it. */
function jsonOrNull(body: string, change?: (text: string) => string): unknown {
  const reviver =
    change && ((_name: string, value: unknown) => (typeof value === 'string' ? change(value) : value));
  try {
    return storableJson(JSON.parse(body, reviver)) ?? null;
  } catch {
    return null;
  }
}

/**
 * Vapi's own messages (docs/vapi.md#error-body), or the status if the body is HTML, empty or unknown. A gateway may repeat the
 * request, and the text reaches callers and the database. So the key is removed from it.
 */
function messages(status: number, body: string, redact: (text: string) => string): string[] {
  const json = jsonOrNull(body);
  const parsed = isJsonObject(json) ? errorAnswer.safeParse(json) : undefined;
  if (!parsed?.success) return [`HTTP ${status}`];
  const { message } = parsed.data;
  return (Array.isArray(message) ? message : [message])
    .slice(0, 10)
    .map((line) => boundedText(redact(line), 300));
}

/** The forms of RFC 9110: seconds, or a date. Date.parse alone would accept almost any text as a date. */
const SECONDS = /^\d+(\.\d+)?$/;
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** Milliseconds since 1970. Null if the header is absent or invalid. */
function httpDate(header: string | undefined): number | null {
  return header !== undefined && HTTP_DATE.test(header) ? Date.parse(header) : null;
}

/** Milliseconds, at most ten minutes. Null if the header is absent or invalid. */
function retryAfterMs(header: string | undefined): number | null {
  const text = header?.trim() ?? '';
  const ms = SECONDS.test(text) ? Number(text) * 1_000 : (httpDate(text) ?? Number.NaN) - Date.now();
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), 600_000);
}

import got, { type Got, RequestError, type Response, TimeoutError } from 'got';
import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../domain/json.ts';
import type { Secret } from '../../domain/secret.ts';
import { boundedText, storableJson } from '../../domain/text.ts';
import type { Log } from '../../ports/system.ts';
import type {
  AssistantListQuery,
  ProviderAssistant,
  ProviderReply,
  VoiceProvider,
} from '../../ports/voice-provider.ts';
import { redactor } from '../system/logger.ts';

export interface VapiOptions {
  /** For example `https://api.vapi.ai`. */
  baseUrl: string;
  /** Deadline of one request, milliseconds, connection and body included. */
  timeoutMs: number;
  log: Log;
}

/** Vapi's edge refuses requests without one (Vapi API facts 3.7). */
const USER_AGENT = 'lockstep/0.1 (+https://www.npmjs.com/package/got)';

/** One segment of a path: ids are UUIDs (facts 1.3), and `..`, a slash or nothing at all would name another resource. */
const ASSISTANT_ID = /^[A-Za-z0-9_-]{1,100}$/;

/**
 * Where reading a body stops. An assistant with the longest prompt that we accept takes less than 1 MB, also if every character
 * of it is escaped; a list holds up to 1,000 assistants.
 */
const MAX_BODY_BYTES = 4 * 2 ** 20;
const MAX_LIST_BYTES = 256 * 2 ** 20;

/** Unknown fields are welcome inward; what we rely on must be there. */
const assistantAnswer = z.looseObject({ id: z.string().regex(ASSISTANT_ID) });
const assistantList = z.array(assistantAnswer);
const errorAnswer = z.looseObject({ message: z.union([z.string(), z.array(z.string())]) });

/** What went wrong with one request, fit for a log: no header, no body, no address beyond the path's template. */
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
 * Vapi over HTTP. The key is revealed here, for each request, and nowhere else. No retries: the library's would be invisible to
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
    // `request` bounds the whole; the others say earlier, and more exactly, where it hangs.
    timeout: {
      lookup: Math.min(2_000, options.timeoutMs),
      connect: Math.min(3_000, options.timeoutMs),
      secureConnect: Math.min(3_000, options.timeoutMs),
      socket: options.timeoutMs,
      send: options.timeoutMs,
      response: options.timeoutMs,
      read: options.timeoutMs,
      request: options.timeoutMs,
    },
  });

  const redact = redactor([key]);

  async function call<T>(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    pathTemplate: string,
    shape: z.ZodType<T>,
    extra: { json?: JsonObject; searchParams?: Record<string, string | number> } = {},
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
      try {
        const request = client(path, {
          method,
          ...extra,
          headers: { authorization: `Bearer ${key.reveal()}` },
          signal: tooLarge.signal,
        });
        const most = extra.searchParams === undefined ? MAX_BODY_BYTES : MAX_LIST_BYTES;
        void request.on('downloadProgress', ({ transferred }) => {
          if (transferred > most) tooLarge.abort();
        });
        return read(method, await request, shape, redact);
      } catch (error) {
        // Vapi received the request, so it may have been carried out.
        if (tooLarge.signal.aborted) return { kind: 'unknown', code: 'BODY_TOO_LARGE' };
        return failed(error);
      }
    }
  }

  function onAssistant(
    method: 'GET' | 'PATCH' | 'DELETE',
    id: string,
    extra: { json?: JsonObject } = {},
  ): Reply {
    if (!ASSISTANT_ID.test(id)) {
      return Promise.resolve({ kind: 'refused', status: 400, messages: ['this is no id of an assistant'] });
    }
    return call(method, `assistant/${id}`, '/assistant/{id}', assistantAnswer, extra) as Reply;
  }

  return {
    timeoutMs: options.timeoutMs,
    createAssistant: (document) =>
      call('POST', 'assistant', '/assistant', assistantAnswer, { json: document }) as Reply,
    updateAssistant: (id, document) => onAssistant('PATCH', id, { json: document }),
    getAssistant: (id) => onAssistant('GET', id),
    deleteAssistant: (id) => onAssistant('DELETE', id),
    listAssistants: (query: AssistantListQuery) =>
      call('GET', 'assistant', '/assistant', assistantList, {
        searchParams: { ...query } as Record<string, string | number>,
      }) as Promise<ProviderReply<ProviderAssistant[]>>,
  };
}

/** zod's loose object and the port's JSON object are the same at run time: the body was parsed from JSON. */
type Reply = Promise<ProviderReply<ProviderAssistant>>;

function read<T>(
  method: string,
  { statusCode: status, headers, body }: Response<string>,
  shape: z.ZodType<T>,
  redact: (text: string) => string,
): ProviderReply<T> {
  if (status >= 200 && status < 300) {
    const parsed = shape.safeParse(jsonOrNull(body));
    // It was done, but what was done cannot be read: as good as no answer.
    return parsed.success ? { kind: 'ok', value: parsed.data } : { kind: 'unknown', code: 'UNREADABLE_BODY' };
  }
  // Where something is to be made there is nothing that could be gone: that address does not take it.
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
 * Whether the connection, or its TLS handshake, never came about: nothing of the request can have left then, whatever the
 * error is called. got notes both moments, also for a connection that was used before.
 */
function wasNeverSent({ timings, options }: RequestError): boolean {
  if (timings === undefined || timings.upload !== undefined) return false;
  const secure = new URL(options.url ?? '').protocol === 'https:';
  return (secure ? timings.secureConnect : timings.connect) === undefined;
}

/** Null: the body is not JSON, or is nested too deeply. */
function jsonOrNull(body: string): unknown {
  try {
    return storableJson(JSON.parse(body)) ?? null;
  } catch {
    return null;
  }
}

/**
 * Vapi's own words (facts 3.1), or the status where the body is HTML, empty or something else. A gateway may repeat the request
 * that it got, and what it says reaches callers and the database: the key is taken out.
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

/** As RFC 9110 writes it: seconds, or a date. Date.parse alone would read a date out of almost any text. */
const SECONDS = /^\d+(\.\d+)?$/;
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** Milliseconds, capped at ten minutes; null where the header is absent or unreadable. */
function retryAfterMs(header: string | undefined): number | null {
  const text = header?.trim() ?? '';
  const ms = SECONDS.test(text)
    ? Number(text) * 1_000
    : HTTP_DATE.test(text)
      ? Date.parse(text) - Date.now()
      : Number.NaN;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), 600_000);
}

import got, { type Got, HTTPError, ParseError, RequestError, TimeoutError } from 'got';
import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../domain/json.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Log } from '../../ports/system.ts';
import type {
  AssistantListQuery,
  ProviderAssistant,
  ProviderReply,
  VoiceProvider,
} from '../../ports/voice-provider.ts';

export interface VapiOptions {
  /** For example `https://api.vapi.ai`. */
  baseUrl: string;
  /** Deadline of one request, milliseconds, connection and body included. */
  timeoutMs: number;
  log: Log;
}

/** Vapi's edge refuses requests without one (Vapi API facts 3.7). */
const USER_AGENT = 'lockstep/0.1 (+https://www.npmjs.com/package/got)';

/** Errors of the connection's set-up: the request never left this machine. */
const NOT_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'ERR_SSL_WRONG_VERSION_NUMBER',
]);
/** Deadlines of phases that end before the first byte of the request is written. */
const TIMEOUTS_BEFORE_SENDING = new Set(['lookup', 'connect', 'secureConnect', 'socket-connect']);

/** Unknown fields are welcome inward; what we rely on must be there. */
const assistantAnswer = z.looseObject({ id: z.string().min(1) });
const assistantList = z.array(assistantAnswer);
const errorAnswer = z.looseObject({ message: z.union([z.string(), z.array(z.string())]) });

/** What went wrong with one request, fit for a log: no header, no body, no address beyond the path's template. */
export class VapiRequestError extends Error {
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
      try {
        const response = await client(path, {
          method,
          ...extra,
          headers: { authorization: `Bearer ${key.reveal()}` },
        });
        return read(response.statusCode, response.headers['retry-after'], response.body, shape);
      } catch (error) {
        return failed(error);
      }
    }
  }

  return {
    timeoutMs: options.timeoutMs,
    createAssistant: (document) =>
      call('POST', 'assistant', '/assistant', assistantAnswer, { json: document }) as Reply,
    updateAssistant: (id, document) =>
      call('PATCH', assistantPath(id), '/assistant/{id}', assistantAnswer, { json: document }) as Reply,
    getAssistant: (id) => call('GET', assistantPath(id), '/assistant/{id}', assistantAnswer) as Reply,
    deleteAssistant: (id) => call('DELETE', assistantPath(id), '/assistant/{id}', assistantAnswer) as Reply,
    listAssistants: (query: AssistantListQuery) =>
      call('GET', 'assistant', '/assistant', assistantList, {
        searchParams: { ...query } as Record<string, string | number>,
      }) as Promise<ProviderReply<ProviderAssistant[]>>,
  };
}

/** zod's loose object and the port's JSON object are the same at run time: the body was parsed from JSON. */
type Reply = Promise<ProviderReply<ProviderAssistant>>;

function assistantPath(id: string): string {
  return `assistant/${encodeURIComponent(id)}`;
}

function read<T>(
  status: number,
  retryAfter: string | undefined,
  body: string,
  shape: z.ZodType<T>,
): ProviderReply<T> {
  if (status >= 200 && status < 300) {
    const parsed = shape.safeParse(jsonOrNull(body));
    // It was done, but what was done cannot be read: as good as no answer.
    return parsed.success ? { kind: 'ok', value: parsed.data } : { kind: 'unknown', code: 'UNREADABLE_BODY' };
  }
  if (status === 404) return { kind: 'gone' };
  if (status === 401 || status === 403) return { kind: 'unauthorized', status };
  if (status === 429) return { kind: 'rate_limited', retryAfterMs: retryAfterMs(retryAfter) };
  if (status >= 400 && status < 500 && status !== 408)
    return { kind: 'refused', status, messages: messages(status, body) };
  return { kind: 'unknown', code: `HTTP_${status}` };
}

function failed(error: unknown): { kind: 'not_sent' | 'unknown'; code: string } {
  if (error instanceof TimeoutError) {
    return {
      kind: TIMEOUTS_BEFORE_SENDING.has(error.event) ? 'not_sent' : 'unknown',
      code: `TIMEOUT_${error.event.toUpperCase()}`,
    };
  }
  if (error instanceof HTTPError || error instanceof ParseError) return { kind: 'unknown', code: error.code };
  if (error instanceof RequestError) {
    return { kind: NOT_SENT.has(error.code) ? 'not_sent' : 'unknown', code: error.code };
  }
  throw error;
}

function jsonOrNull(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

/** Vapi's own words (facts 3.1), or the status where the body is HTML, empty or something else. */
function messages(status: number, body: string): string[] {
  const json = jsonOrNull(body);
  const parsed = isJsonObject(json) ? errorAnswer.safeParse(json) : undefined;
  if (!parsed?.success) return [`HTTP ${status}`];
  const { message } = parsed.data;
  return (Array.isArray(message) ? message : [message]).map((line) => line.slice(0, 300)).slice(0, 10);
}

/** Seconds or an HTTP date, capped at ten minutes; null where absent or unreadable. */
function retryAfterMs(header: string | undefined): number | null {
  if (header === undefined) return null;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1_000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 600_000) : null;
}

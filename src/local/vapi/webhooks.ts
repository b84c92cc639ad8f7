/**
 * Sends server messages as Vapi does (docs/vapi.md#webhooks): to the one chosen server, signed as its credential says, and repeated
 * only as its `backoffPlan` says.
 */
import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { isObject, type Json, type JsonObject } from './json.ts';
import type { Settings } from './settings.ts';

const credentialSchema = z.strictObject({
  /** What `server.credentialId` names. */
  id: z.string().min(1),
  secret: z.string().min(1),
  /** `hmac` signs `{timestamp}.{body}`; `bearer` and `secret-header` send the secret itself. */
  scheme: z.enum(['hmac', 'bearer', 'secret-header']),
  signatureHeader: z.string().default('x-signature'),
  timestampHeader: z.string().default('x-timestamp'),
  /** Nobody outside Vapi knows which it is. */
  timestampUnit: z.enum(['s', 'ms']).default('s'),
});
/** Throws `ZodError` for anything else. */
export const webhookCredentials = z.array(credentialSchema);
export type WebhookCredentialInput = z.input<typeof credentialSchema>;
type WebhookCredential = z.output<typeof credentialSchema>;

/** One attempt to deliver a message. */
export interface Delivery {
  readonly type: string;
  readonly callId: string | null;
  readonly url: string;
  /** From 1. */
  readonly attempt: number;
  /** Null if there was no answer. */
  readonly status: number | null;
  readonly bytes: number;
  readonly at: number;
}

export interface DeliveryAnswer {
  /** Of the last attempt; null if there was no answer. */
  readonly status: number | null;
  /** Parsed if it is JSON; otherwise text. */
  readonly body: unknown;
}

export interface WebhookPorts {
  credentials(): readonly WebhookCredential[];
  settings(): Settings;
  now(): number;
  sleep(ms: number): Promise<void>;
  /** Called after every attempt. */
  onDelivery(delivery: Delivery): void;
  /** Aborts the requests that wait for an answer. */
  readonly signal: AbortSignal;
}

/** The kinds that an assistant without `serverMessages` sends. */
const DEFAULT_SERVER_MESSAGES = [
  ...['conversation-update', 'end-of-call-report', 'function-call', 'hang', 'speech-update', 'status-update'],
  ...['tool-calls', 'transfer-destination-request', 'handoff-destination-request', 'user-interrupted'],
  'assistant.started',
];
const ASSISTANT_REQUEST_MS = 7_500;

/** What a message can be sent to, as far as a call has it. */
export interface Receivers {
  readonly tool?: JsonObject | undefined;
  readonly assistant?: JsonObject | undefined;
  readonly phoneNumber?: JsonObject | undefined;
}

/**
 * The server of the tool, else of the assistant, else of the number. Undefined if none has an address, or if the assistant does not list
 * this kind of message: a tool with its own server depends on that list too. Only `assistant-request` does not.
 */
export function chosenServer(
  type: string,
  { tool, assistant, phoneNumber }: Receivers,
): JsonObject | undefined {
  const listed = assistant?.['serverMessages'] ?? DEFAULT_SERVER_MESSAGES;
  if (type !== 'assistant-request' && assistant && !(Array.isArray(listed) && listed.includes(type))) {
    return undefined;
  }
  for (const owner of [tool, assistant, phoneNumber]) {
    const server = owner?.['server'];
    if (isObject(server) && typeof server['url'] === 'string') return server;
    const older = owner?.['serverUrl'];
    if (typeof older === 'string') return { url: older };
  }
  return undefined;
}

/**
 * Sends `{ message }` to this server, and repeats it if the server's plan says so. Never throws. `onAttempted` is called after each attempt.
 */
export async function sendWebhook(
  ports: WebhookPorts,
  server: JsonObject,
  message: JsonObject,
  onAttempted: () => unknown = () => {},
): Promise<DeliveryAnswer> {
  const { webhookRetryAfterTimeout, toolCallRetries, webhookRetrySignature } = ports.settings();
  const url = String(server['url']);
  const type = String(message['type']);
  const call = message['call'];
  const callId = isObject(call) && typeof call['id'] === 'string' ? call['id'] : null;
  const body = JSON.stringify({ message });
  const plan = type === 'tool-calls' && toolCallRetries === 'never' ? undefined : server['backoffPlan'];
  const timeoutMs =
    type === 'assistant-request' ? ASSISTANT_REQUEST_MS : seconds(server['timeoutSeconds'], 20);
  let headers = headersOf(ports, server, body);
  for (let attempt = 1; ; attempt++) {
    const outcome = await post(url, headers, body, timeoutMs, ports.signal);
    const bytes = Buffer.byteLength(body);
    ports.onDelivery({ type, callId, url, attempt, status: outcome.status, bytes, at: ports.now() });
    onAttempted();
    const isFinal = outcome.status === null && outcome.timedOut && webhookRetryAfterTimeout === 'never';
    const wait = ports.signal.aborted || isFinal ? undefined : waitBefore(plan, attempt, outcome.status);
    if (wait === undefined) return outcome;
    await ports.sleep(wait);
    if (webhookRetrySignature === 'new') headers = headersOf(ports, server, body);
  }
}

/** How long to wait before the next attempt, milliseconds; undefined if there is none. */
function waitBefore(plan: Json | undefined, attempt: number, status: number | null): number | undefined {
  if (!isObject(plan) || (status !== null && status >= 200 && status < 300)) return undefined;
  const excluded = plan['excludedStatusCodes'];
  if (Array.isArray(excluded) && status !== null && excluded.map(Number).includes(status)) return undefined;
  if (attempt > Number(plan['maxRetries'] ?? 0)) return undefined;
  const factor = plan['type'] === 'exponential' ? 2 ** (attempt - 1) : 1;
  return Number(plan['baseDelaySeconds'] ?? 0) * 1000 * factor;
}

function headersOf(ports: WebhookPorts, server: JsonObject, body: string): Record<string, string> {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  const credential = ports.credentials().find(({ id }) => id === server['credentialId']);
  if (typeof server['secret'] === 'string') headers['x-vapi-secret'] = server['secret'];
  switch (credential?.scheme) {
    case 'bearer':
      headers['authorization'] = `Bearer ${credential.secret}`;
      break;
    case 'secret-header':
      headers['x-vapi-secret'] = credential.secret;
      break;
    case 'hmac': {
      const now = ports.now();
      const timestamp = String(credential.timestampUnit === 's' ? Math.floor(now / 1000) : now);
      headers[credential.timestampHeader.toLowerCase()] = timestamp;
      headers[credential.signatureHeader.toLowerCase()] = createHmac('sha256', credential.secret)
        .update(`${timestamp}.${body}`)
        .digest('hex');
    }
  }
  // Static headers override those of the credential (docs/vapi.md#webhook-authentication).
  const own = server['headers'];
  for (const [name, value] of Object.entries(isObject(own) ? own : {})) {
    headers[name.toLowerCase()] = String(value);
  }
  return headers;
}

async function post(
  url: string,
  headers: Record<string, string>,
  body: string,
  timeoutMs: number,
  stopped: AbortSignal,
): Promise<DeliveryAnswer & { timedOut: boolean }> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    // A redirect loses the message, as with Vapi.
    const response = await fetch(url, {
      ...{ method: 'POST', headers, body, redirect: 'manual' },
      signal: AbortSignal.any([timeout, stopped]),
    });
    return { status: response.status, body: parsed(await response.text()), timedOut: false };
  } catch {
    return { status: null, body: undefined, timedOut: timeout.aborted };
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const seconds = (value: Json | undefined, otherwise: number) =>
  (typeof value === 'number' ? value : otherwise) * 1000;

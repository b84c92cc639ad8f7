import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Secret } from '../domain/secret.ts';
import type { EventServer } from '../ports/agents/render-store.ts';

/** The path at which Vapi's events are received. */
export const EVENTS_PATH = '/vapi/events';

/** Where Vapi sends events, and how a request proves that it comes from Vapi. */
export interface WebhookSettings {
  /** The address of this server as Vapi reaches it, without a slash at its end. Null: the address that it listens on. */
  publicUrl: string | null;
  /** The Vapi credential that carries the first secret. No secret is written into an assistant or a row. */
  credentialId: string;
  /** Each of them is accepted, so that the secret can be rotated. */
  secrets: readonly Secret[];
  /** Names of headers, in lower case. */
  signatureHeader: string;
  timestampHeader: string;
}

/** Where Vapi is to send events. The server listens. */
export function eventServerOf({ publicUrl, credentialId }: WebhookSettings, server: Server): EventServer {
  return { url: `${publicUrl ?? addressOf(server)}${EVENTS_PATH}`, credentialId };
}

function addressOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo;
  // A server that listens on every address is reached at this one.
  if (address === '0.0.0.0' || address === '::') return `http://127.0.0.1:${port}`;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

/** A signature is good for so long before and after its time, milliseconds: what is older may be a replay. */
const TOLERANCE_MS = 5 * 60_000;

type Settings = Pick<WebhookSettings, 'secrets' | 'signatureHeader' | 'timestampHeader'>;

/** Whether a request says anything that could prove where it comes from. One that does not is refused before its body is read. */
export function isSigned(headers: IncomingHttpHeaders, { signatureHeader }: Settings): boolean {
  return [headers.authorization, headers['x-vapi-secret'], headers[signatureHeader]].some(
    (value) => value !== undefined && value !== '',
  );
}

/**
 * Whether Vapi sent this request, which then proves that it knows one of the secrets: by a bearer token, by the header X-Vapi-Secret, or
 * by a signature of the time and the raw body (docs/vapi.md#webhook-authentication).
 */
export function isFromVapi(
  headers: IncomingHttpHeaders,
  body: Uint8Array,
  { secrets, signatureHeader, timestampHeader }: Settings,
  nowMs: number,
): boolean {
  const bearer = /^Bearer (\S+)$/i.exec(headers.authorization ?? '')?.[1];
  const plain = one(headers['x-vapi-secret']);
  const signature = one(headers[signatureHeader])?.replace(/^sha256=/, '');
  const timestamp = one(headers[timestampHeader]);
  // Every way is tried with every secret, so that the time says nothing of which one was close.
  return secrets
    .map(
      (secret) =>
        [bearer, plain].filter((sent) => sent !== undefined && isEqual(sent, secret.reveal())).length > 0 ||
        (signature !== undefined &&
          timestamp !== undefined &&
          isRecent(timestamp, nowMs) &&
          isEqual(signature.toLowerCase(), signatureOf(secret, timestamp, body))),
    )
    .includes(true);
}

function signatureOf(secret: Secret, timestamp: string, body: Uint8Array): string {
  return createHmac('sha256', secret.reveal()).update(`${timestamp}.`).update(body).digest('hex');
}

/** Which unit Vapi uses is not documented; no time of ours in seconds is one in milliseconds. */
function isRecent(timestamp: string, nowMs: number): boolean {
  if (!/^\d{9,14}$/.test(timestamp)) return false;
  const ms = timestamp.length < 12 ? Number(timestamp) * 1_000 : Number(timestamp);
  return Math.abs(nowMs - ms) <= TOLERANCE_MS;
}

/** In a time that depends on neither text. */
function isEqual(sent: string, expected: string): boolean {
  const digest = (text: string) => createHmac('sha256', 'length').update(text).digest();
  return timingSafeEqual(digest(sent), digest(expected));
}

function one(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : undefined;
}

import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Secret } from '../domain/secret.ts';
import type { EventServer } from '../ports/agents/render-store.ts';

/** The path at which Vapi's events are received. */
const EVENTS_PATH = '/vapi/events';

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

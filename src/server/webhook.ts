import type { Secret } from '../domain/secret.ts';

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

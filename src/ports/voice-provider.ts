import type { JsonObject } from '../domain/json.ts';

/** The voice provider as the services see it: its resources by id, and one of seven meanings for every answer. */

/** A resource as the provider answered it: whatever we sent, and what it added. */
export interface RemoteResource extends JsonObject {
  id: string;
}

/** An assistant as the provider answered it. */
export type ProviderAssistant = RemoteResource;

/**
 * What one request to the provider came to. Only `unknown` leaves open whether it took effect: timeouts, resets after
 * sending, 5xx, 408 and unreadable bodies.
 */
export type ProviderReply<T> =
  /** at: when the provider answered, milliseconds since 1970, on its own clock; only where the caller may ask for it. */
  | { kind: 'ok'; value: T; at?: number }
  | { kind: 'refused'; status: number; messages: string[] }
  | { kind: 'gone' }
  | { kind: 'unauthorized'; status: number }
  | { kind: 'rate_limited'; retryAfterMs: number | null }
  | { kind: 'not_sent'; code: string }
  | { kind: 'unknown'; code: string };

/** The reply with another value in it. */
export function mapped<T, U>(reply: ProviderReply<T>, change: (value: T) => U): ProviderReply<U> {
  return reply.kind === 'ok' ? { kind: 'ok', value: change(reply.value) } : reply;
}

/** Bounds of a list, inclusive, ISO-8601 timestamps; at most 1000 come back, newest first. */
export interface ListQuery {
  limit?: number;
  createdAtGe?: string;
  createdAtLe?: string;
}

/**
 * The assistants of the account. No method of the provider throws for anything that the provider or the network does, none retries,
 * and each ends within its timeout: a retry is the caller's decision, because only it knows whether a repetition is harmless.
 */
export interface Assistants {
  /** The timeout of one request, milliseconds. */
  readonly timeoutMs: number;
  createAssistant(document: JsonObject): Promise<ProviderReply<ProviderAssistant>>;
  updateAssistant(id: string, document: JsonObject): Promise<ProviderReply<ProviderAssistant>>;
  getAssistant(id: string): Promise<ProviderReply<ProviderAssistant>>;
  deleteAssistant(id: string): Promise<ProviderReply<ProviderAssistant>>;
  listAssistants(query: ListQuery): Promise<ProviderReply<ProviderAssistant[]>>;
}

/** One kind of resource of the account, other than assistants; for the methods see `Assistants`. */
export interface RemoteResources {
  /** The timeout of one request, milliseconds. */
  readonly timeoutMs: number;
  create(document: JsonObject): Promise<ProviderReply<RemoteResource>>;
  update(id: string, document: JsonObject): Promise<ProviderReply<RemoteResource>>;
  get(id: string): Promise<ProviderReply<RemoteResource>>;
  remove(id: string): Promise<ProviderReply<RemoteResource>>;
  list(query: ListQuery): Promise<ProviderReply<RemoteResource[]>>;
}

/** A file to upload. Its content, purpose and metadata never change afterwards (docs/vapi.md#files). */
export interface FileUpload {
  /** ASCII, at most 40 characters. */
  name: string;
  contentType: string;
  content: Uint8Array<ArrayBuffer>;
  metadata: JsonObject;
}

export interface RemoteFiles extends Pick<RemoteResources, 'timeoutMs' | 'get' | 'remove'> {
  /** The timeout of one upload, milliseconds. */
  readonly uploadTimeoutMs: number;
  upload(file: FileUpload): Promise<ProviderReply<RemoteResource>>;
  /** All files of the account that were uploaded for assistants: Vapi has no pages of files. */
  list(): Promise<ProviderReply<RemoteResource[]>>;
}

/** Calls. `list` may also be bounded by their last change, and says when the provider answered. */
export interface RemoteCalls extends Pick<RemoteResources, 'timeoutMs'> {
  list(query: ListQuery & { updatedAtGe?: string }): Promise<ProviderReply<RemoteResource[]>>;
}

export interface VoiceProvider extends Assistants {
  /** Without the carrier secrets that Vapi repeats in its answers. */
  readonly phoneNumbers: RemoteResources;
  readonly files: RemoteFiles;
  readonly tools: RemoteResources;
  /** Without the secrets of carriers and of tools that Vapi repeats in its answers. */
  readonly calls: RemoteCalls;
}

/** The same API with this around each of its requests. */
export function around<Api extends object>(
  api: Api,
  through: <T>(request: () => Promise<ProviderReply<T>>) => Promise<ProviderReply<T>>,
): Api {
  const wrapped = Object.entries(api).map(([name, member]) => {
    if (typeof member === 'function') {
      return [name, (...given: unknown[]) => through(() => member.apply(api, given))];
    }
    return [name, typeof member === 'object' && member !== null ? around(member, through) : member];
  });
  return Object.fromEntries(wrapped) as Api;
}

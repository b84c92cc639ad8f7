import type { JsonObject } from '../domain/json.ts';

/** The voice provider as the services see it: assistants by id, and one of seven meanings for every answer. */

/** An assistant as the provider answered it: whatever we sent, and what it added. */
export interface ProviderAssistant extends JsonObject {
  id: string;
}

/**
 * What one request to the provider came to. Only `unknown` leaves open whether it took effect: timeouts, resets after
 * sending, 5xx, 408 and unreadable bodies.
 */
export type ProviderReply<T> =
  | { kind: 'ok'; value: T }
  | { kind: 'refused'; status: number; messages: string[] }
  | { kind: 'gone' }
  | { kind: 'unauthorized'; status: number }
  | { kind: 'rate_limited'; retryAfterMs: number | null }
  | { kind: 'not_sent'; code: string }
  | { kind: 'unknown'; code: string };

/** Bounds of a list, inclusive, ISO-8601 timestamps; at most 1000 come back, newest first. */
export interface AssistantListQuery {
  limit?: number;
  createdAtGe?: string;
  createdAtLe?: string;
}

/**
 * No method throws for anything that the provider or the network does, none retries, and each ends within `timeoutMs`: a
 * retry is the caller's decision, because only it knows whether a repetition is harmless.
 */
export interface VoiceProvider {
  /** The deadline of one request, milliseconds. */
  readonly timeoutMs: number;
  createAssistant(document: JsonObject): Promise<ProviderReply<ProviderAssistant>>;
  updateAssistant(id: string, document: JsonObject): Promise<ProviderReply<ProviderAssistant>>;
  getAssistant(id: string): Promise<ProviderReply<ProviderAssistant>>;
  deleteAssistant(id: string): Promise<ProviderReply<ProviderAssistant>>;
  listAssistants(query: AssistantListQuery): Promise<ProviderReply<ProviderAssistant[]>>;
}

/** The provider with this around each of its requests. */
export function around(
  voice: VoiceProvider,
  through: <T>(request: () => Promise<ProviderReply<T>>) => Promise<ProviderReply<T>>,
): VoiceProvider {
  return {
    timeoutMs: voice.timeoutMs,
    createAssistant: (document) => through(() => voice.createAssistant(document)),
    updateAssistant: (id, document) => through(() => voice.updateAssistant(id, document)),
    getAssistant: (id) => through(() => voice.getAssistant(id)),
    deleteAssistant: (id) => through(() => voice.deleteAssistant(id)),
    listAssistants: (query) => through(() => voice.listAssistants(query)),
  };
}

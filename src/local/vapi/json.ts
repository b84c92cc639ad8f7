/** JSON as the stand-in stores and returns it: frozen, so that a caller cannot change the store through an answer. */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A frozen copy with the key order of Postgres `jsonb` (shorter keys first, then bytewise), as real answers seem to have it.
 * So a client that compares JSON text fails here too.
 */
export function jsonbOrder(value: JsonObject): JsonObject;
export function jsonbOrder(value: Json): Json;
export function jsonbOrder(value: Json): Json {
  if (Array.isArray(value)) return Object.freeze(value.map((item: Json) => jsonbOrder(item)));
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(
    ([key, item]) => [key, jsonbOrder(item), Buffer.from(key)] as const,
  );
  entries.sort(([, , a], [, , b]) => a.length - b.length || Buffer.compare(a, b));
  // Object.fromEntries defines properties, so a key named __proto__ stays a key.
  return Object.freeze(Object.fromEntries(entries.map(([key, item]) => [key, item])));
}

export function frozen<T extends Json>(value: T): T {
  if (Array.isArray(value)) return Object.freeze(value.map(frozen)) as unknown as T;
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, frozen(item)] as const);
  return Object.freeze(Object.fromEntries(entries)) as T;
}

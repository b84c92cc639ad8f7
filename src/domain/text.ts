import type { Json } from './json.ts';

/** Text and JSON from outside, made safe to store: Postgres rejects a NUL and half a surrogate pair in jsonb. */

/** Deeper JSON than this is not an answer that we know. Vapi's own documents stay below 20 levels. */
export const MAX_DEPTH = 64;

/** Replaces, and does not remove, what Postgres rejects: text that differed from ours must still differ. */
function wellFormed(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\uFFFD');
}

/** Well-formed, without NUL, and at most `most` UTF-16 units long. Never cuts a surrogate pair in half. */
export function boundedText(text: string, most: number): string {
  const safe = wellFormed(text);
  return safe.length <= most ? safe : safe.slice(0, most).replace(/[\uD800-\uDBFF]$/, '');
}

/**
 * A value that `JSON.parse` returned, with every string and field name well-formed and without NUL. `undefined` if it is nested
 * deeper than `MAX_DEPTH`: recursive code, such as a comparison, must never walk such a value.
 */
export function storableJson(value: unknown): Json | undefined {
  const tooDeep = Symbol('too deep');
  const walk = (part: unknown, depth: number): Json => {
    if (depth > MAX_DEPTH) throw tooDeep;
    if (typeof part === 'string') return wellFormed(part);
    if (Array.isArray(part)) return part.map((member) => walk(member, depth + 1));
    if (typeof part === 'object' && part !== null) {
      return Object.fromEntries(
        Object.entries(part).map(([key, member]) => [wellFormed(key), walk(member, depth + 1)]),
      );
    }
    return part as Json;
  };
  try {
    return walk(value, 0);
  } catch (error) {
    if (error !== tooDeep) throw error;
    return undefined;
  }
}

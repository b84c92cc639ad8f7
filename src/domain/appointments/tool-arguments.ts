import { Temporal } from 'temporal-polyfill';
import { isE164 } from '../input.ts';
import { isJsonObject, type JsonObject } from '../json.ts';
import { boundedText, storableJson } from '../text.ts';

/** The arguments of a tool call. A model wrote them, so they may be anything. */

/** The arguments as an object; null: they are not one. Some models send JSON text, some send it encoded twice. */
export function readArguments(raw: unknown): JsonObject | null {
  let value = raw;
  for (let layer = 0; layer < 2 && typeof value === 'string'; layer += 1) {
    try {
      value = JSON.parse(value) as unknown;
    } catch {
      return null;
    }
  }
  const safe = storableJson(value);
  return isJsonObject(safe) ? safe : null;
}

/** Undefined: there is none. Null: it is not a day. */
export function readDay(value: unknown): string | null | undefined {
  if (isAbsent(value)) return undefined;
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\d$/.test(value.trim())) return null;
  try {
    return Temporal.PlainDate.from(value.trim(), { overflow: 'reject' }).toString();
  } catch {
    return null;
  }
}

/** HH:MM. Undefined: there is none. Null: it is not a time of day. */
export function readTime(value: unknown): string | null | undefined {
  if (isAbsent(value)) return undefined;
  if (typeof value !== 'string') return null;
  const [, hour = '', minute = '', half] =
    /^(\d{1,2}):([0-5]\d)(?::00)?\s*(am|pm)?$/i.exec(value.trim()) ?? [];
  if (hour === '') return null;
  const hours = Number(hour);
  if (half === undefined) return hours < 24 ? `${hour.padStart(2, '0')}:${minute}` : null;
  if (hours < 1 || hours > 12) return null;
  const inDay = (hours % 12) + (half.toLowerCase() === 'pm' ? 12 : 0);
  return `${String(inDay).padStart(2, '0')}:${minute}`;
}

/** Trimmed, and at most `most` characters long. Undefined: there is none. Null: it is not text. */
export function readText(value: unknown, most: number): string | null | undefined {
  if (isAbsent(value)) return undefined;
  if (typeof value !== 'string') return null;
  return boundedText(value.replace(/\s+/g, ' ').trim(), most).trim();
}

/** Models send an empty text or null for an argument that they leave out. */
function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === 'string' && value.trim() === '');
}

/** The numbers that carriers put in the place of one that the caller hides: the words on the keys of a phone. */
const HIDDEN = new Set(['+266696687', '+7378742833', '+2562533', '+8656696', '+86282452253']);

/** The number if it identifies the caller. All who hide theirs would have the same one. */
export function identifyingNumber(number: string | null): string | null {
  return number !== null && isE164(number) && !HIDDEN.has(number) ? number : null;
}

import type { FieldDrift } from '../../../domain/agents/save.ts';
import { isJsonObject, type Json, type JsonObject, jsonEqual } from '../../../domain/json.ts';

/** The difference between what Vapi answered to our last save and what it holds now, field by field. */

/** `maxTokens` is none. */
const SECRET_NAME =
  /secret|(?<!max)token|passw|passphrase|authorization|bearer|cookie|credential|signature|(api|private|access|signing|encryption)[-_]?key/i;
/** Whatever a header is called, it may hold one. */
const HEADERS = /headers(?=[.[]|$)/i;
/** What reads as one wherever it stands: after a scheme, in an address, a JSON Web Token, the common prefixes of keys. */
const SECRET_TEXT = new RegExp(
  [
    /(?<=\b(?:bearer|basic) )[\w.~+/=-]{8,}/,
    /(?<=:\/\/[^\s/@:]*:)[^\s/@]+(?=@)/,
    /(?<=[?&][\w-]*(?:token|key|secret|signature|sig|password|pwd)=)[^\s&#"]+/,
    /\beyJ[\w-]{8,}\.eyJ[\w-]+\.[\w-]+/,
    /\b(?:sk|rk|whsec|gh[opsu]|xox[abeprs])[-_][\w-]{10,}/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'gi',
);
const REDACTED = '[redacted]';

/** Every place where the two differ, at the deepest path that says it; secrets redacted on both sides. */
export function fieldDrift(ours: JsonObject, theirs: JsonObject): FieldDrift[] {
  const found: FieldDrift[] = [];
  walk('', ours, theirs, found);
  return found;
}

function walk(path: string, ours: Json, theirs: Json, found: FieldDrift[]): void {
  if (jsonEqual(ours, theirs)) return;
  if (isJsonObject(ours) && isJsonObject(theirs)) {
    for (const key of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
      walk(path === '' ? key : `${path}.${key}`, ours[key] ?? null, theirs[key] ?? null, found);
    }
  } else if (Array.isArray(ours) && Array.isArray(theirs) && ours.length === theirs.length) {
    for (const [index, value] of ours.entries())
      walk(`${path}[${index}]`, value, theirs[index] ?? null, found);
  } else {
    // A name anywhere above makes everything below it a secret: `headers.authorization[0]`.
    const hide = SECRET_NAME.test(path) || HEADERS.test(path);
    found.push({
      path,
      ours: hide && ours !== null ? REDACTED : redacted(ours),
      theirs: hide && theirs !== null ? REDACTED : redacted(theirs),
    });
  }
}

/** The value with everything inside it hidden that goes by the name of a secret, or reads as one. */
function redacted(value: Json): Json {
  if (Array.isArray(value)) return value.map(redacted);
  if (typeof value === 'string') return value.replaceAll(SECRET_TEXT, REDACTED);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key,
      member !== null && (SECRET_NAME.test(key) || HEADERS.test(key)) ? REDACTED : redacted(member),
    ]),
  );
}

/** Something inside it goes by the name of a secret, or reads as one. */
export function holdsSecret(value: Json): boolean {
  return !jsonEqual(value, redacted(value));
}

import pino, { type DestinationStream } from 'pino';
import type { Secret } from '../../domain/secret.ts';
import type { Log } from '../../ports/system.ts';

const REDACTED = '[redacted]';

/** Fields that contain a credential at any path, down to `err.options.headers.authorization`. */
const CREDENTIAL_KEYS = [
  ...['authorization', 'Authorization', 'cookie', 'apikey', 'apiKey', 'password', 'secret'],
  ...['token', 'access_token', 'refresh_token'],
];

/** Shorter forms would match words that are unrelated to a secret. So a secret needs at least this many characters. */
export const LEAST_SECRET = 8;

/** Every form of a secret in text: plain, hex, base64, base64url, URL-encoded, and each of these inside JSON. */
export function secretForms(secrets: readonly Secret[]): string[] {
  const forms = secrets.flatMap((secret) => {
    const value = secret.reveal().toWellFormed();
    const base64 = base64Forms(Buffer.from(value));
    // The length of the secret itself decides: the hex form of a short secret is long, but such secrets are not redacted.
    const hex = value.length < LEAST_SECRET ? '' : Buffer.from(value).toString('hex');
    const plain = [
      ...[value, hex, hex.toUpperCase(), ...base64],
      ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
    ];
    // The line is JSON, its values may be JSON, and so may the values in these.
    return [...plain, ...plain.flatMap(urlForms)].flatMap((text) =>
      [0, 1, 2, 3].map((depth) => inJson(text, depth)),
    );
  });
  // The longest form first: if a secret contains another one, the rest of it would still reveal something.
  return [...new Set(forms)]
    .filter((form) => form.length >= LEAST_SECRET)
    .sort((a, b) => b.length - a.length);
}

/** Base64 has three alignments. Returns, for each, the characters that depend only on these bytes and not on their neighbours. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].map((offset) =>
    Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6)),
  );
}

/** The forms in an address and in a form field, with upper-case and lower-case hexadecimal digits. */
function urlForms(text: string): string[] {
  return [encodeURIComponent(text), new URLSearchParams([['', text]]).toString().slice(1)].flatMap((form) => [
    form,
    form.replace(/%[0-9A-F]{2}/g, (digits) => digits.toLowerCase()),
  ]);
}

function inJson(text: string, depth: number): string {
  return depth === 0 ? text : inJson(JSON.stringify(text).slice(1, -1), depth - 1);
}

/** Returns a function that removes the secrets from a text, in every form. Create it once, because there are many forms. */
export function redactor(secrets: readonly Secret[]): (text: string) => string {
  const forms = secretForms(secrets);
  const visible = forms.map((form) => form.replaceAll(INVISIBLE, ''));
  return (text) => {
    const left = forms.reduce((rest, form) => rest.replaceAll(form, REDACTED), text);
    return left.search(INVISIBLE) < 0 ? left : redactSpread(left, visible);
  };
}

/** Invisible characters. A reader still recognizes a secret that contains some of them. */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\uFFFD]/gu;

/** Redacts secrets that contain invisible characters. All other text keeps its invisible characters. */
function redactSpread(text: string, forms: readonly string[]): string {
  const shown = text.replaceAll(INVISIBLE, '');
  if (!forms.some((form) => form.length >= LEAST_SECRET && shown.includes(form))) return text;
  // The position in `text` of each code unit of `shown`.
  const at: number[] = [];
  let end = 0;
  for (const { 0: hidden, index } of text.matchAll(INVISIBLE)) {
    for (; end < index; end += 1) at.push(end);
    end = index + hidden.length;
  }
  for (; end < text.length; end += 1) at.push(end);

  const secret = new Uint8Array(text.length);
  for (const form of forms) {
    if (form.length < LEAST_SECRET) continue;
    for (let from = shown.indexOf(form); from >= 0; from = shown.indexOf(form, from + 1)) {
      secret.fill(1, at[from], (at[from + form.length - 1] ?? text.length - 1) + 1);
    }
  }
  let left = '';
  for (let unit = 0; unit < text.length; unit += 1) {
    if (secret[unit] === 0) left += text[unit];
    else if (secret[unit - 1] !== 1) left += REDACTED;
  }
  return left;
}

/**
 * The log of the process: JSON lines by pino, redacted by path and finally by value.
 * `secrets` may grow: a key that is added later is redacted from then on.
 */
export function createLogger(
  level: string,
  secrets: readonly Secret[],
  destination: DestinationStream = pino.destination({ dest: 1, sync: true }),
): Log {
  let known = secrets.length;
  let redact = redactor(secrets);
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: {
        paths: CREDENTIAL_KEYS.flatMap((key) => [key, `*.${key}`, `*.*.${key}`, `*.*.*.${key}`]),
        censor: REDACTED,
      },
      hooks: {
        streamWrite: (line) => {
          if (secrets.length !== known) {
            known = secrets.length;
            redact = redactor(secrets);
          }
          return redact(line);
        },
      },
    },
    destination,
  );
  return logger as unknown as Log;
}

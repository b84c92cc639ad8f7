import pino, { type DestinationStream } from 'pino';
import type { Secret } from '../../domain/secret.ts';
import type { Log } from '../../ports/system.ts';

const REDACTED = '[redacted]';

/** Fields that hold a credential wherever they turn up, down to `err.options.headers.authorization`. */
const CREDENTIAL_KEYS = [
  ...['authorization', 'Authorization', 'cookie', 'apikey', 'apiKey', 'password', 'secret'],
  ...['token', 'access_token', 'refresh_token'],
];

/** Shorter forms would strike words that have nothing to do with a secret; so a secret has at least as many characters. */
export const LEAST_SECRET = 8;

/** Every form in which a secret could turn up in text: plain, hex, base64, base64url, URL-encoded, and each of these inside JSON. */
export function secretForms(secrets: readonly Secret[]): string[] {
  const forms = secrets.flatMap((secret) => {
    const value = secret.reveal().toWellFormed();
    const base64 = base64Forms(Buffer.from(value));
    // Its own length decides: the hex form of a short secret is long, but secrets that short are not redacted.
    const hex = value.length < LEAST_SECRET ? '' : Buffer.from(value).toString('hex');
    const plain = [
      ...[value, hex, hex.toUpperCase(), ...base64],
      ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
    ];
    // The line itself is JSON, and what it holds may be, and what that holds.
    return [...plain, ...plain.flatMap(urlForms)].flatMap((text) =>
      [0, 1, 2, 3].map((depth) => inJson(text, depth)),
    );
  });
  // The longest first: what is left of a secret that holds another one would still tell of it.
  return [...new Set(forms)]
    .filter((form) => form.length >= LEAST_SECRET)
    .sort((a, b) => b.length - a.length);
}

/** Base64 has three alignments. Of each, the characters that hold bits of these bytes only, whatever stands around them. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].map((offset) =>
    Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6)),
  );
}

/** As a part of an address and as a field of a form, in either case of the hexadecimal digits. */
function urlForms(text: string): string[] {
  return [encodeURIComponent(text), new URLSearchParams([['', text]]).toString().slice(1)].flatMap((form) => [
    form,
    form.replace(/%[0-9A-F]{2}/g, (digits) => digits.toLowerCase()),
  ]);
}

function inJson(text: string, depth: number): string {
  return depth === 0 ? text : inJson(JSON.stringify(text).slice(1, -1), depth - 1);
}

/** Takes the secrets out of a text, in every form. To be made once: the forms are many. */
export function redactor(secrets: readonly Secret[]): (text: string) => string {
  const forms = secretForms(secrets);
  const visible = forms.map((form) => form.replaceAll(INVISIBLE, ''));
  return (text) => {
    const left = forms.reduce((rest, form) => rest.replaceAll(form, REDACTED), text);
    return left.search(INVISIBLE) < 0 ? left : redactSpread(left, visible);
  };
}

/** Characters that a reader does not see, so that a secret with some of them inside is still the secret. */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\uFFFD]/gu;

/** Redacts the secrets that have invisible characters inside. Everything else keeps its invisible characters. */
function redactSpread(text: string, forms: readonly string[]): string {
  const shown = text.replaceAll(INVISIBLE, '');
  if (!forms.some((form) => form.length >= LEAST_SECRET && shown.includes(form))) return text;
  // Where each unit of `shown` stands in `text`.
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
 * The process's log: JSON lines by pino, redacted by path and, last of all, by value: a line that holds a secret loses it.
 * `secrets` may grow: a key that comes later counts from then on.
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

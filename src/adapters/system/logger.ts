import pino, { type DestinationStream } from 'pino';
import type { Secret } from '../../domain/secret.ts';
import type { Log } from '../../ports/system.ts';

const REDACTED = '[redacted]';

/** Fields that hold a credential wherever they turn up. */
const CREDENTIAL_KEYS = ['authorization', 'apikey', 'apiKey', 'password', 'secret', 'token', 'access_token'];

/**
 * Every form in which a secret could turn up in text. Base64 has three alignments; the middle of each is what does not depend
 * on what stands around it.
 */
export function secretForms(secrets: readonly Secret[]): string[] {
  return secrets.flatMap((secret) => {
    const value = secret.reveal();
    const bytes = Buffer.from(value);
    const base64 = [0, 1, 2].map((offset) => {
      const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64');
      return text.slice(
        Math.ceil((offset * 4) / 3) + (offset === 0 ? 0 : 1),
        Math.floor(((bytes.length + offset) * 4) / 3 / 4) * 4 - 4,
      );
    });
    const url = encodeURIComponent(value);
    const forms = [
      value,
      url,
      ...base64,
      ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
    ];
    return [...new Set(forms)].filter((form) => form.length >= 8);
  });
}

/** The process's log: JSON lines by pino, redacted by path and, last of all, by value: a line that holds a secret loses it. */
export function createLogger(
  level: string,
  secrets: readonly Secret[],
  destination: DestinationStream = pino.destination({ dest: 1, sync: true }),
): Log {
  const forms = secretForms(secrets);
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: CREDENTIAL_KEYS.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: REDACTED },
      hooks: {
        streamWrite: (line) => forms.reduce((text, form) => text.replaceAll(form, REDACTED), line),
      },
    },
    destination,
  );
  return logger as unknown as Log;
}

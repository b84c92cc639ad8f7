import { any, bool, free, list, num, oneOf, shape, text } from '../rules.ts';

export const texts = list(text);
export const metadata = free;
export const jsonSchema = free;

/** `secret` was removed from the specification in May 2025 and is still accepted. It is never returned. */
export const server = shape({
  url: text,
  timeoutSeconds: num(1, 300),
  headers: free,
  credentialId: text,
  staticIpAddressesEnabled: bool,
  encryptedPaths: texts,
  secret: text,
  backoffPlan: shape({
    'type!': oneOf('fixed', 'exponential'),
    'maxRetries!': num(0, 10),
    'baseDelaySeconds!': num(0, 10),
    excludedStatusCodes: list(any),
  }),
});

/** Changes every value of a table. */
export function map<T>(
  table: Readonly<Record<string, T>>,
  change: (value: T, key: string) => T,
): Record<string, T> {
  return Object.fromEntries(Object.entries(table).map(([key, value]) => [key, change(value, key)]));
}

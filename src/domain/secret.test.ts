import { format, inspect, stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { Secret } from './secret.ts';

const VALUE = 'canary-5d1f-secret-value';
const secret = new Secret(VALUE);

class Holder {
  readonly key = secret;
  readonly nested = { list: [secret], map: new Map([['key', secret]]), set: new Set([secret]) };
}

/** Every way in which a value turns into text without anybody asking for it. */
const sinks: [string, () => string][] = [
  ['String()', () => String(secret)],
  ['a template', () => `${secret}`],
  ['concatenation', () => `Bearer ${secret}`.concat(secret as unknown as string)],
  ['join', () => [secret, secret].join()],
  ['JSON.stringify', () => JSON.stringify({ secret, nested: [{ secret }] })],
  ['JSON.stringify of an instance', () => JSON.stringify(new Holder())],
  ['util.inspect', () => inspect(secret)],
  ['util.inspect, nested', () => inspect(new Holder(), { depth: null })],
  [
    'util.inspect, everything shown',
    () => inspect(new Holder(), { depth: null, showHidden: true, getters: true }),
  ],
  ['util.inspect without its custom form', () => inspect(secret, { customInspect: false, showHidden: true })],
  ['util.format', () => format('%s %o %O %j %d', secret, secret, secret, secret, secret)],
  ['Object.entries', () => JSON.stringify([Object.entries(secret), Object.getOwnPropertyNames(secret)])],
  ['own symbols', () => String(Object.getOwnPropertySymbols(secret).length)],
  ['structuredClone', () => inspect(structuredClone(secret), { showHidden: true })],
  ['spreading', () => inspect({ ...secret }, { showHidden: true })],
  ["an error's message", () => new Error(`refused ${secret}`).message],
  ["an error's cause", () => inspect(new Error('refused', { cause: { secret } }), { showHidden: true })],
  ["an error's stack", () => stripVTControlCharacters(String(new Error(`${secret}`).stack))],
  ['a number', () => String(Number(secret))],
  ['a regular expression', () => String(new RegExp(secret as unknown as string))],
];

describe('no sink holds the value', () => {
  test.each(sinks)('%s', (_name, text) => {
    expect(text()).not.toContain(VALUE);
  });

  test('what stands there instead says so', () => {
    expect([`${secret}`, JSON.stringify(secret), inspect(secret)]).toEqual([
      '[redacted]',
      '"[redacted]"',
      '[redacted]',
    ]);
  });
});

test('reveal() gives the value, and only to whoever asks for it', () => {
  expect(secret.reveal()).toBe(VALUE);
});

test('the fingerprint names a key without telling it: the same for the same, another for another', () => {
  expect(secret.fingerprint()).toMatch(/^[0-9a-f]{8}$/);
  expect(new Secret(VALUE).fingerprint()).toBe(secret.fingerprint());
  expect(new Secret(`${VALUE}x`).fingerprint()).not.toBe(secret.fingerprint());
  expect(VALUE).not.toContain(secret.fingerprint());
});

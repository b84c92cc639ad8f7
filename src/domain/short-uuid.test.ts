import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shortUuid, uuidOfShort } from './short-uuid.ts';

test('a UUID has one short form of 22 characters, which names it again', () => {
  fc.assert(
    fc.property(fc.uuid(), (uuid) => {
      const short = shortUuid(uuid);
      expect(short).toMatch(/^[A-Za-z0-9_-]{22}$/);
      expect(uuidOfShort(short)).toBe(uuid);
    }),
  );
});

test.each([
  '',
  'x',
  `${shortUuid('00000000-0000-4000-8000-000000000000')}A`,
  'AAAAAAAAAAAAAAAAAAAAA/',
  'AAAAAAAAAAAAAAAAAAAAAB',
])('text that is not the short form of a UUID names none: %j', (text) => {
  expect(uuidOfShort(text)).toBeNull();
});

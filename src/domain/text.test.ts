import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { boundedText, MAX_DEPTH, storableJson } from './text.ts';

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 60 })
    .map((units) => String.fromCharCode(...units)),
  fc
    .array(fc.constantFrom('\0', '\uD83D', '\uDE00', '😀', 'a'), { maxLength: 60 })
    .map((parts) => parts.join('')),
);

describe('boundedText', () => {
  test('returns well-formed text without NUL within the bound, for any string and any bound', () => {
    fc.assert(
      fc.property(anyText, fc.nat(60), (text, most) => {
        const bounded = boundedText(text, most);
        expect(bounded.isWellFormed()).toBe(true);
        expect(bounded).not.toContain('\0');
        expect(bounded.length).toBeLessThanOrEqual(most);
      }),
    );
  });

  test('keeps ordinary text, and drops a character that does not fit whole', () => {
    expect(boundedText('name must be shorter 😀', 100)).toBe('name must be shorter 😀');
    expect(boundedText(`${'x'.repeat(299)}😀`, 300)).toBe('x'.repeat(299));
  });
});

describe('storableJson', () => {
  test('makes every string and field name storable, and changes nothing else', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), anyText, (value, text) => {
        const safe = storableJson({ value, [text]: text });
        // Half a surrogate pair appears as an escape in JSON.stringify.
        expect(JSON.stringify(safe)).not.toMatch(/(?<!\\)(\\\\)*\\u(0000|d[89a-f])/i);
      }),
    );
    const ordinary = { a: [1, true, null, { b: 'text 😀' }] };
    expect(storableJson(ordinary)).toEqual(ordinary);
  });

  test('does not make text equal to ours that was not equal', () => {
    expect(storableJson('pro\0mpt')).not.toBe('prompt');
  });

  test('returns undefined for a value that is nested too deeply, without a stack overflow', () => {
    const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels)) as unknown;
    expect(storableJson(nested(MAX_DEPTH))).toBeDefined();
    expect(storableJson(nested(MAX_DEPTH + 2))).toBeUndefined();
    expect(storableJson(nested(100_000))).toBeUndefined();
  });
});

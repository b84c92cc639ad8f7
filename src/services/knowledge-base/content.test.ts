/** What an uploaded file is: its content decides, and its name only between kinds of text. test/e2e/knowledge-base.test.ts uploads them. */
import { describe, expect, test } from 'vitest';
import { contentTypeOf } from './content.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const PDF = bytes('%PDF-1.7\n%%EOF\n');

describe('the media type of a file', () => {
  test.each([
    ['prices.pdf', PDF, 'application/pdf'],
    ['prices.txt', PDF, 'application/pdf'],
    ['prices.csv', bytes('a,b\n1,2\n'), 'text/csv'],
    ['prices.json', bytes('{"a": 1}'), 'application/json'],
    ['prices', bytes('Open from nine to five.'), 'text/plain'],
  ])('%s', (name, content, contentType) => {
    expect(contentTypeOf(name, content)).toEqual({ contentType });
  });

  test.each([
    ['text with the name of a PDF', 'prices.pdf', bytes('Open from nine to five.')],
    ['no JSON', 'prices.json', bytes('{"a": ')],
    ['a program', 'prices.txt', Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0)],
    ['an archive', 'prices.docx', Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0, 0, 0)],
    ['nothing', 'prices.txt', new Uint8Array()],
  ])('is refused: %s', (_what, name, content) => {
    expect(contentTypeOf(name, content)).toEqual({ problem: expect.any(String) });
  });
});

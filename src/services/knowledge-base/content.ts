/**
 * What a file that somebody uploads is, by its content. Only what is listed here is accepted: PDF and DOCX by what stands in them, and
 * text that is valid UTF-8 without control characters. So no executable, archive or image passes, whatever it is called. A library
 * that recognises hundreds of formats would parse hostile bytes for each of them, and cannot tell one kind of text from another.
 */

const DOCX = 'application/vnd.openxmlformats-officedocument.wordprocessingml.document';

/** Of the name that the file gets in Vapi. */
export const EXTENSIONS: Readonly<Record<string, string>> = {
  'text/plain': 'txt',
  'text/markdown': 'md',
  'text/csv': 'csv',
  'application/json': 'json',
  'application/pdf': 'pdf',
  [DOCX]: 'docx',
};

/** What the name decides: how text is to be read. */
const TEXT_TYPES: Readonly<Record<string, string>> = {
  txt: 'text/plain',
  md: 'text/markdown',
  csv: 'text/csv',
  json: 'application/json',
};

export const MAX_DOCUMENT_BYTES = 5 * 2 ** 20;

export const ACCEPTED = 'TXT, MD, CSV, JSON, PDF and DOCX files';

/** The media type of a file, or why it is not accepted. */
export function contentTypeOf(
  name: string,
  content: Uint8Array,
): { contentType: string } | { problem: string } {
  if (content.length === 0) return { problem: 'The file is empty.' };
  if (content.length > MAX_DOCUMENT_BYTES) {
    return { problem: `The file is larger than the limit of ${MAX_DOCUMENT_BYTES / 2 ** 20} MB.` };
  }
  const extension = /\.([A-Za-z0-9]+)$/.exec(name)?.[1]?.toLowerCase() ?? 'txt';
  const wanted =
    TEXT_TYPES[extension] ?? (extension === 'pdf' ? 'application/pdf' : extension === 'docx' ? DOCX : null);
  if (wanted === null) return { problem: `Only ${ACCEPTED} are accepted.` };
  const found = sniffed(content);
  if (found === null) {
    return { problem: `The content of this file is not what its name says. Only ${ACCEPTED} are accepted.` };
  }
  // The content decides between binary formats, and the name between kinds of text.
  if (found !== 'text') return { contentType: found };
  if (!Object.values(TEXT_TYPES).includes(wanted)) {
    return { problem: `The content of this file is not what its name says: it is text, not .${extension}.` };
  }
  if (wanted === 'application/json' && !isJson(content)) return { problem: 'The file is not valid JSON.' };
  return { contentType: wanted };
}

function sniffed(content: Uint8Array): string | null {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  if (bytes.subarray(0, 5).toString('latin1') === '%PDF-') return 'application/pdf';
  if (bytes.subarray(0, 4).toString('latin1') === 'PK\x03\x04') {
    const entries = zipEntries(bytes);
    const isDocx = entries.has('[Content_Types].xml') && entries.has('word/document.xml');
    // With macros it is a program.
    return isDocx && !entries.has('word/vbaProject.bin') ? DOCX : null;
  }
  return isText(bytes) ? 'text' : null;
}

/** Tab, line feed, form feed and carriage return are the only control characters of text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this looks for.
const CONTROL = /[\x00-\x08\x0b\x0e-\x1f\x7f]/;

function isText(bytes: Buffer): boolean {
  try {
    return !CONTROL.test(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return false;
  }
}

function isJson(content: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder().decode(content));
    return true;
  } catch {
    return false;
  }
}

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
/** A comment of the greatest length may follow. */
const MAX_END_BYTES = 22 + 0xffff;
/** A document of Word has some dozens. */
const MAX_ENTRIES = 10_000;

/** The names in the central directory of a ZIP archive; nothing is unpacked. */
function zipEntries(bytes: Buffer): Set<string> {
  const names = new Set<string>();
  let end = bytes.length - 22;
  const first = Math.max(0, bytes.length - MAX_END_BYTES);
  while (end >= first && bytes.readUInt32LE(end) !== END_OF_DIRECTORY) end -= 1;
  if (end < first) return names;
  let at = bytes.readUInt32LE(end + 16);
  while (names.size < MAX_ENTRIES && at + 46 <= bytes.length && bytes.readUInt32LE(at) === DIRECTORY_ENTRY) {
    const length = bytes.readUInt16LE(at + 28);
    names.add(bytes.subarray(at + 46, at + 46 + length).toString('utf8'));
    at += 46 + length + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return names;
}

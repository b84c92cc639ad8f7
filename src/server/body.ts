import type { IncomingMessage } from 'node:http';

/** How many bodies of the greatest size the server holds at once, unless a route says otherwise: memory for callers of whom nothing is known yet. */
const BODIES = 64;
/** Values and levels of a JSON body. A save has about fifty values on eight levels. */
const MAX_JSON_VALUES = 5_000;
const MAX_JSON_DEPTH = 32;
export const JSON_LIMITS = `${MAX_JSON_VALUES} values or ${MAX_JSON_DEPTH} levels`;

/** The whole body, or why it was not read. GONE: the client left. */
export type Body = Buffer<ArrayBuffer> | 'TOO_LARGE' | 'NO_ROOM' | 'GONE';
/** Reads the body of a request, of `most` bytes at most. */
export type ReadBody = (request: IncomingMessage, most: number) => Promise<Body>;

/**
 * After a refusal the rest of a body is read and dropped, for as long as a request may take: a caller that is hung up on while
 * it sends may never see the answer.
 */
export function createBodyReader(greatest: number, bodies = BODIES): ReadBody {
  /** Bytes that may still be held, of all requests together. */
  let room = bodies * greatest;
  return (request, most) =>
    new Promise((resolve) => {
      // Grows with what has come, whatever was announced. Not a list of chunks: of a byte each, they take 400 times their size.
      let held = Buffer.alloc(0);
      let size = 0;
      const end = (body: Body) => {
        request.removeAllListeners('data').resume();
        room += held.length;
        held = Buffer.alloc(0);
        resolve(body);
      };
      if (Number(request.headers['content-length'] ?? 0) > most) return end('TOO_LARGE');
      request.on('data', (chunk: Buffer) => {
        const needed = size + chunk.length;
        if (needed > most) return end('TOO_LARGE');
        if (needed > held.length) {
          const grown = Buffer.allocUnsafe(Math.min(most, Math.max(needed, 2 * held.length)));
          room -= grown.length - held.length;
          held.copy(grown, 0, 0, size);
          held = grown;
          if (room < 0) return end('NO_ROOM');
        }
        chunk.copy(held, size);
        size = needed;
      });
      request.on('end', () => end(held.subarray(0, size)));
      request.on('error', () => end('GONE'));
      request.on('close', () => end('GONE'));
    });
}

/** Counts the values and levels of JSON without parsing it: what exceeds the limits costs one pass over its bytes. */
export function isBounded(json: Uint8Array): boolean {
  let depth = 0;
  let values = 0;
  let inString = false;
  for (let at = 0; at < json.length; at += 1) {
    const byte = json[at];
    if (inString) {
      if (byte === 0x5c) at += 1;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x2c) values += 1;
    else if (byte === 0x7b || byte === 0x5b) {
      values += 1;
      depth += 1;
    } else if (byte === 0x7d || byte === 0x5d) depth -= 1;
    if (depth > MAX_JSON_DEPTH || values > MAX_JSON_VALUES) return false;
  }
  return true;
}

import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** The stand-in's key: created once and kept in this file, which only its owner can read. */
export function keptKey(file: string): string {
  mkdirSync(dirname(file), { recursive: true });
  if (!existsSync(file)) {
    // A link makes the file appear complete or not at all, and lets only one of two processes create the key.
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, `local-vapi-${randomBytes(24).toString('hex')}\n`, { mode: 0o600 });
    try {
      linkSync(draft, file);
    } catch (problem) {
      if ((problem as NodeJS.ErrnoException).code !== 'EEXIST') throw problem;
    } finally {
      unlinkSync(draft);
    }
  }
  return readFileSync(file, 'utf8').trim();
}

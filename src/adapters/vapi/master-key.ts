import { readFileSync } from 'node:fs';
import { Secret } from '../../domain/secret.ts';
import { LEAST_SECRET } from '../system/logger.ts';

/**
 * Resolves the master key from a value or a file at start-up. Null: no key is configured.
 * A problem never contains the value.
 */
export function resolveMasterKey(source: {
  value: string | undefined;
  file: string | undefined;
  /** The name of the variable, for the message. */
  name?: string;
}): { key: Secret | null } | { problem: string } {
  const { value, file, name = 'VAPI_PRIVATE_KEY' } = source;
  if (value !== undefined && file !== undefined) return { problem: `is set beside ${name}: set one of them` };
  if (file === undefined) return value === undefined ? { key: null } : checked(value);
  try {
    const read = checked(readFileSync(file, 'utf8').trim());
    return 'problem' in read ? { problem: `names a file whose content ${read.problem}` } : read;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    return { problem: `names a file that cannot be read (${code})` };
  }
}

function checked(value: string): { key: Secret } | { problem: string } {
  // The key goes into a header: other characters would fail at the first save or split the header. And log lines are searched for it.
  if (!/^[\x21-\x7e]{1,512}$/.test(value) || value.length < LEAST_SECRET) {
    return { problem: `must be ${LEAST_SECRET} to 512 visible ASCII characters without spaces` };
  }
  return { key: new Secret(value) };
}

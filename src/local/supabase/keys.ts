import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface SupabaseKeys {
  readonly publishableKey: string;
  readonly secretKey: string;
  readonly jwtSecret: string;
}

/** Created once per data directory, in the form of the keys of a hosted project. */
export function makeKeys(): SupabaseKeys {
  const random = (bytes: number) => randomBytes(bytes).toString('base64url');
  return {
    publishableKey: `sb_publishable_${random(24)}`,
    secretKey: `sb_secret_${random(24)}`,
    jwtSecret: random(48),
  };
}

/** Returns the keys of a data directory, and creates them at the first start. */
export async function readOrMakeKeys(dataDir: string): Promise<SupabaseKeys> {
  const file = join(dataDir, 'keys.json');
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as SupabaseKeys;
  const keys = makeKeys();
  await mkdir(dataDir, { recursive: true });
  await writeFile(`${file}.new`, JSON.stringify(keys), { mode: 0o600 });
  await rename(`${file}.new`, file);
  return keys;
}

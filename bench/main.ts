/** `npm run bench`: every benchmark, one line of JSON per figure. `--scale 0.1`: a tenth of the counts, for a first look. */
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { benchFunctions } from './functions.ts';
import { benchLocal } from './local.ts';
import { benchServer } from './server.ts';
import { benchSql } from './sql.ts';

const { values } = parseArgs({ options: { scale: { type: 'string', default: '1' } } });
const scale = Number(values.scale);
if (!(scale > 0)) throw new Error('--scale must be a number above 0');
const count = (full: number) => Math.max(1, Math.round(full * scale));

console.error(
  `${cpus()[0]?.model ?? 'CPU'}, ${availableParallelism()} cores, Node ${process.version}, ${process.platform}`,
);
const folder = await mkdtemp(join(tmpdir(), 'lockstep-bench-'));
// Postgres runs as another user when this runs as root.
await chmod(folder, 0o711);
const subfolder = async (name: string) => {
  await mkdir(join(folder, name), { mode: 0o711 });
  return join(folder, name);
};
try {
  benchFunctions(count(50));
  await benchSql(await subfolder('sql'), count(500));
  await benchServer(await subfolder('server'), count(3_000));
  await benchLocal(await subfolder('local'), count(100));
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** `npm run bench`: every benchmark, one line of JSON per figure. `--scale 0.1`: a tenth of the counts, for a first look.
 * `--only server`: one of them. */
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { benchEdge } from './edge.ts';
import { benchFunctions } from './functions.ts';
import { benchBrownout, benchLoad } from './load.ts';
import { benchLocal } from './local.ts';
import { benchServer } from './server.ts';
import { benchSql } from './sql.ts';

const { values } = parseArgs({
  options: { scale: { type: 'string', default: '1' }, only: { type: 'string' } },
});
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
const benchmarks: Record<string, () => Promise<void> | void> = {
  functions: () => benchFunctions(count(50)),
  sql: async () => benchSql(await subfolder('sql'), count(500)),
  server: async () => benchServer(await subfolder('server'), count(3_000)),
  edge: async () => benchEdge(await subfolder('edge'), count(200)),
  local: async () => benchLocal(await subfolder('local'), count(100)),
};
/** Only when asked for: they take minutes. */
const long: typeof benchmarks = {
  load: async () => benchLoad(await subfolder('load'), scale),
  brownout: async () => benchBrownout(await subfolder('brownout'), scale),
};
const all = { ...benchmarks, ...long };
const chosen =
  values.only === undefined
    ? Object.values(benchmarks)
    : Object.entries(all).flatMap(([name, run]) => (name === values.only ? [run] : []));
if (chosen.length === 0) throw new Error(`--only must be one of ${Object.keys(all).join(', ')}`);
try {
  for (const run of chosen) await run();
} finally {
  await rm(folder, { recursive: true, force: true });
}

/**
 * The simulation, for as long as you like.
 *
 *   npm run sim                                       5000 seeds, from 1
 *   npm run sim -- --seed 42 --runs 1000              1000 seeds, from 42
 *   npm run sim -- --seed 42 --runs 1 --log           one seed, every line of it
 *   npm run sim -- --seed 42 --keep 0,3,7 --log       one seed with only these of its acts, as shrinking leaves it
 *   npm run sim -- --bug no-fence                     with a planted bug (test/sim/bugs.ts): which seeds find it
 *   npm run sim -- --table                            the first seed that finds each planted bug
 *   npm run sim -- --explore                          the explorer's large scopes (a quarter of an hour)
 *
 * A seed that fails is run again with fewer and fewer acts, and the command that replays what is left is printed. Exit code 1.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { BUGS, type Bug } from '../test/sim/bugs.ts';
import { makePlan } from '../test/sim/plan.ts';
import { keep, shrink } from '../test/sim/shrink.ts';
import { type Run, simulate, vacuity } from '../test/sim/simulate.ts';
import { quoted } from '../test/support/figures.ts';

interface Share {
  from: number;
  step: number;
  until: number;
  bug: string | null;
}

interface Told {
  runs: number;
  calls: number;
  strikes: number;
  crashes: number;
  takeovers: number;
  lateWrites: number;
  told: Record<string, number>;
  fired: Record<string, number>;
  longestRestMs: number;
  failed: { seed: number; invariant: string; detail: string }[];
}

const DEFAULT_RUNS = 5_000;
const MOST_FAILED = 20;

if (isMainThread) await main();
else parentPort?.postMessage(await runShare(workerData as Share));

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      runs: { type: 'string' },
      bug: { type: 'string' },
      keep: { type: 'string' },
      log: { type: 'boolean', default: false },
      table: { type: 'boolean', default: false },
      explore: { type: 'boolean', default: false },
    },
  });
  const seed = Number(values.seed);
  if (values.table) return table();
  if (values.explore) {
    const { exploreAll } = await import('../test/explorer/figures.ts');
    process.exitCode = exploreAll(console.log) ? 0 : 1;
    return;
  }
  const bug = bugNamed(values.bug);
  if (values.keep !== undefined || (values.log && Number(values.runs ?? 1) === 1)) {
    const plan =
      values.keep === undefined
        ? makePlan(seed)
        : keep(seed, values.keep.split(',').filter(Boolean).map(Number));
    const run = await simulate(plan, { keepLog: true, ...(bug === null ? {} : { planted: bug.planted }) });
    print(run);
    process.exitCode = run.violation === null ? 0 : 1;
    return;
  }

  const began = performance.now();
  const runs = Number(values.runs ?? DEFAULT_RUNS);
  const workers = Math.min(availableParallelism(), runs);
  const shares = Array.from(
    { length: workers },
    (_, index): Share => ({
      from: seed + index,
      step: workers,
      until: seed + runs,
      bug: values.bug ?? null,
    }),
  );
  const told = (await Promise.all(shares.map(inWorker))).reduce(add);
  const seconds = (performance.now() - began) / 1_000;
  const figures = [
    `- ${told.runs} seeds: ${told.calls} calls, ${told.strikes} of them struck, ${told.crashes} crashes, ` +
      `${told.takeovers} takeovers, ${told.lateWrites} writes applied late, ${told.failed.length} violations`,
    `- told: ${entries(told.told)}`,
    `- faults: ${entries(told.fired)}`,
    `- at rest ${told.longestRestMs} virtual milliseconds after the last fault at most`,
  ];
  console.log(`${runs} runs in ${seconds.toFixed(1)} s`);
  for (const line of figures) console.log(line);
  if (
    seed === 1 &&
    runs === DEFAULT_RUNS &&
    bug === null &&
    quoted('long run', figures).join() !== figures.join()
  )
    console.log('docs/correctness.md has other figures; UPDATE_FIGURES=1 writes these');
  const failed = told.failed.sort((a, b) => a.seed - b.seed);
  if (failed.length === 0) {
    const empty = vacuity(told);
    console.log(empty === null ? 'no violation' : `no violation, and no proof: ${empty}`);
    if (empty !== null) process.exitCode = 1;
    return;
  }
  process.exitCode = 1;
  console.log(`${failed.length >= MOST_FAILED ? `${MOST_FAILED} or more` : failed.length} seeds fail:`);
  for (const one of failed.slice(0, MOST_FAILED))
    console.log(`  ${one.seed}: ${one.invariant}: ${one.detail.slice(0, 200)}`);
  const [first] = failed;
  if (first === undefined) return;
  const run = await simulate(makePlan(first.seed), bug === null ? {} : { planted: bug.planted });
  const { run: shrunk, kept, tried } = await shrink(run, bug?.planted);
  console.log(
    `\nseed ${first.seed} with ${kept.length} of its ${run.plan.acts.length} acts, after ${tried} tries:`,
  );
  print(shrunk);
  const flag = values.bug === undefined ? '' : ` --bug ${values.bug}`;
  console.log(`\nreplay: npm run sim -- --seed ${first.seed} --keep ${kept.join(',')}${flag} --log`);
}

function bugNamed(name: string | undefined | null): Bug | null {
  if (name === undefined || name === null) return null;
  const bug = BUGS[name];
  if (bug === undefined) throw new Error(`no such bug; there are ${Object.keys(BUGS).join(', ')}`);
  return bug;
}

async function table(): Promise<void> {
  for (const [name, bug] of Object.entries(BUGS)) {
    let seed = 1;
    let run = await simulate(makePlan(seed), { planted: bug.planted });
    while (run.violation === null && seed < 5_000) {
      seed += 1;
      run = await simulate(makePlan(seed), { planted: bug.planted });
    }
    const before = `was ${bug.seed}, ${bug.breaks}`;
    console.log(
      run.violation === null
        ? `${name}: not found (${before})`
        : `${name}: seed ${seed}, breaks '${run.violation.invariant}' (${before})`,
    );
  }
}

function inWorker(share: Share): Promise<Told> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: share });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

async function runShare(share: Share): Promise<Told> {
  const bug = bugNamed(share.bug);
  let told = nothing();
  for (let seed = share.from; seed < share.until && told.failed.length < MOST_FAILED; seed += share.step) {
    const run = await simulate(makePlan(seed), bug === null ? {} : { planted: bug.planted });
    const { violation, counts, fired, restAfterMs } = run;
    told = add(told, {
      runs: 1,
      calls: counts.calls,
      strikes: counts.strikes,
      crashes: counts.crashes,
      takeovers: counts.takeovers,
      lateWrites: counts.lateWrites,
      told: counts.told,
      fired,
      longestRestMs: restAfterMs ?? 0,
      failed: violation === null ? [] : [{ seed, invariant: violation.invariant, detail: violation.detail }],
    });
  }
  return told;
}

function nothing(): Told {
  const none = { runs: 0, calls: 0, strikes: 0, crashes: 0, takeovers: 0, lateWrites: 0, longestRestMs: 0 };
  return { ...none, told: {}, fired: {}, failed: [] };
}

function add(a: Told, b: Told): Told {
  return {
    runs: a.runs + b.runs,
    calls: a.calls + b.calls,
    strikes: a.strikes + b.strikes,
    crashes: a.crashes + b.crashes,
    takeovers: a.takeovers + b.takeovers,
    lateWrites: a.lateWrites + b.lateWrites,
    told: sum(a.told, b.told),
    fired: sum(a.fired, b.fired),
    longestRestMs: Math.max(a.longestRestMs, b.longestRestMs),
    failed: [...a.failed, ...b.failed],
  };
}

function sum(a: Record<string, number>, b: Record<string, number>): Record<string, number> {
  const both = { ...a };
  for (const [name, count] of Object.entries(b)) both[name] = (both[name] ?? 0) + count;
  return both;
}

function entries(counts: Record<string, number>): string {
  return Object.entries(counts)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}

function print(run: Run): void {
  console.log(JSON.stringify({ ...run.plan, acts: undefined }));
  for (const act of run.plan.acts) console.log(`  ${JSON.stringify(act)}`);
  for (const line of run.log) console.log(line);
  console.log(`sum ${run.sum}`);
  console.log(
    run.violation === null ? 'no violation' : `VIOLATION ${run.violation.invariant}: ${run.violation.detail}`,
  );
}

/** Purchases, imports, releases, uploads and publications in a simulated world, on a real Postgres (see resource-world.ts). */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordFigures, table } from '../support/figures.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';
import { RESOURCE_BUGS } from './resource-bugs.ts';
import { type ResourceRun, simulateResources } from './resource-simulation.ts';
import { type Adapters, openAdapters } from './resource-world.ts';

/** Seeds of every test run. RESOURCE_SEED and RESOURCE_RUNS choose others; RESOURCE_LOG prints every line of a failing one. */
const SEEDS = Number(process.env['RESOURCE_RUNS'] ?? 30);
const FIRST = Number(process.env['RESOURCE_SEED'] ?? 61);
const isUsual = process.env['RESOURCE_RUNS'] === undefined && process.env['RESOURCE_SEED'] === undefined;

let supabase: TestSupabase;
let adapters: Adapters;
beforeAll(async () => {
  supabase = await createTestSupabase();
  adapters = await openAdapters(supabase);
});
afterAll(async () => {
  await adapters?.close();
  await supabase?.stop();
});

function told({ seed, violation, log }: ResourceRun): string {
  if (violation === null) return 'nothing';
  const replay = `RESOURCE_SEED=${seed} RESOURCE_RUNS=1 RESOURCE_LOG=1 npx vitest run test/sim/resources.test.ts`;
  const lines = process.env['RESOURCE_LOG'] === undefined ? '' : `\n${log.join('\n')}`;
  return `seed ${seed}: ${violation.invariant}: ${violation.detail}\nreplay: ${replay}${lines}`;
}

describe('phone numbers and the knowledge base in a simulated world', () => {
  test(`${SEEDS} seeds: safety under faults, then rest`, async () => {
    const all: Record<string, number> = {};
    for (let seed = FIRST; seed < FIRST + SEEDS; seed += 1) {
      const run = await simulateResources(supabase, adapters, seed);
      expect(told(run)).toBe('nothing');
      for (const [name, count] of Object.entries(run.counts)) all[name] = (all[name] ?? 0) + count;
    }
    const of = (name: string) => all[name] ?? 0;
    const faults = Object.entries(all).filter(([name]) => name.startsWith('fault: '));
    const begun = ['buy', 'import', 'update', 'release', 'upload', 'remove', 'save'];
    const figures = [
      `- ${SEEDS} seeds: ${of('calls')} calls, ${faults.reduce((sum, [, count]) => sum + count, 0)} struck by ${faults.length} kinds of faults,`,
      `  ${of('crashes')} crashes, ${of('pauses')} pauses longer than a lease, ${of('save.taken_over')} takeovers, 0 violations`,
      `- asked for: ${begun.map((name) => `${name} ${of(`begun: ${name}`)}`).join(', ')}`,
      `- ${of('save.needs_attention')} sagas ended with a person, ${of('number.settled')} purchases were found later and settled`,
    ];
    console.log(`resources:\n${figures.join('\n')}\n${JSON.stringify(all)}`);
    if (!isUsual) return;
    recordFigures('resource simulation', figures);
    // A world in which nothing goes wrong, or nothing is done, would prove nothing.
    for (const name of [...begun.map((one) => `begun: ${one}`), 'crashes', 'pauses', 'save.taken_over'])
      expect(of(name), name).toBeGreaterThan(5);
    for (const name of ['knowledge.published', 'knowledge.deleted', 'number.attached', 'agent.rendered'])
      expect(of(name), name).toBeGreaterThan(5);
    for (const name of ['number.drifted', 'number.missing', 'number.settled', 'knowledge.remade'])
      expect(of(name), name).toBeGreaterThan(0);
    for (const fault of ['crash-before', 'crash-after', 'crash-late', 'lost', 'unanswered'])
      for (const system of ['vapi', 'database'])
        expect(of(`fault: ${system} ${fault}`), fault).toBeGreaterThan(0);
    for (const fault of ['late', 'refused', 'limited'])
      expect(of(`fault: vapi ${fault}`), fault).toBeGreaterThan(0);
  });

  test.each(Object.entries(RESOURCE_BUGS))(
    '%s turns it red',
    async (name, { planted, seed, breaks, tells }) => {
      const search = Number(process.env['RESOURCE_SEARCH'] ?? 1);
      let run = await simulateResources(supabase, adapters, seed, planted);
      for (let next = 1; next < search && run.violation?.invariant !== breaks; next += 1)
        run = await simulateResources(supabase, adapters, next, planted);
      console.log(
        `planted: ${name} (${tells}): seed ${run.seed}, ${run.violation?.invariant ?? 'NOT FOUND'}`,
      );
      expect(run.violation?.invariant, 'RESOURCE_SEARCH=50 finds another seed').toBe(breaks);
    },
  );

  afterAll(() => {
    if (!isUsual) return;
    const rows = Object.entries(RESOURCE_BUGS).map(([name, { tells, seed, breaks }]) => [
      ...[`\`${name}\``, tells, seed, breaks],
    ]);
    recordFigures(
      'planted resource bugs',
      table(['planted bug', 'what goes wrong', 'seed', 'what it breaks'], rows),
    );
  });
});

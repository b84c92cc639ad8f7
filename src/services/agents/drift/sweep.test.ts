/** How a sweep keeps its lease, and where it stops: with a clock moved by hand. What it finds and does is tested in test/e2e. */
import { describe, expect, test } from 'vitest';
import { defaultConfig } from '../../../domain/agents/agent-config.ts';
import type { SweepAgent } from '../../../ports/agents/sweep-store.ts';
import type { Log } from '../../../ports/system.ts';
import { type SweepReport, sweep } from './sweep.ts';

/** As many as are looked at one by one, among those of organizations that are just saving. */
const AGENTS = 30;
const CONFIG = { ...defaultConfig('INBOUND'), systemPrompt: 'You answer calls.' };
const agents = Array.from(
  { length: 10 * AGENTS },
  (_, nth): SweepAgent => ({
    ...{
      orgId: 'an organization',
      agentId: `agent-${nth}`,
      role: 'INBOUND',
      assistantId: `assistant-${nth}`,
    },
    ...{ revision: 1, saveId: 'a save', config: CONFIG, observed: {} },
    ...{ missing: false, policy: 'REVERT', busy: nth >= AGENTS, mappingVersion: 1, context: {} },
  }),
);

/** A sweep of one page. Each look takes its time, and finds that the assistant is edited, or gone and not in the list. */
async function run(
  found: 'edited' | 'gone',
  lookMs: number,
  { loseAt, stopAt }: { loseAt?: number; stopAt?: number } = {},
): Promise<{ report: SweepReport; looks: number; leases: number[] }> {
  let now = 5_000;
  let looks = 0;
  const leases: number[] = [];
  const stopping = new AbortController();
  const unused = () => Promise.reject(new Error('not part of this test'));
  const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const report = await sweep({
    store: {
      takeLease: async () => {
        leases.push(now);
        return loseAt === undefined || looks < loseAt ? 0 : 7_000;
      },
      listed: async (ids) =>
        agents
          .filter(({ assistantId }) => ids.includes(assistantId))
          .map((agent) => ({ ...agent, hash: 'other', news: false })),
      done: async () => 'the time of the walk',
      lookup: async (ids) => agents.filter(({ assistantId }) => ids.includes(assistantId)),
      page: async () => agents,
      note: async (notes) => notes.map(({ agentId }) => agentId),
      ...{ releaseLease: unused, orphans: unused, setDriftPolicy: unused, cleanup: unused },
    },
    voice: {
      timeoutMs: 1,
      listAssistants: async ({ limit }) => ({
        kind: 'ok',
        value: agents
          .slice(found === 'gone' ? AGENTS : 0)
          .map(({ assistantId: id }) => ({ id }))
          .slice(0, limit),
      }),
      getAssistant: async (id) => {
        looks += 1;
        now += lookMs;
        if (looks === stopAt) stopping.abort();
        return found === 'gone' ? { kind: 'gone' } : { kind: 'ok', value: { id } };
      },
      ...{ createAssistant: unused, updateAssistant: unused, deleteAssistant: unused },
    },
    pause: async () => {},
    clock: { now: () => now, monotonic: () => now, sleep: unused },
    stopping: stopping.signal,
    ...{ meter: { count() {} }, log, owner: 'this process', leaseMs: 60_000, orphanAgeMs: 0 },
    save: async () => ({ kind: 'no_organization' }),
  });
  return { report, looks, leases };
}

describe.each(['edited', 'gone'] as const)('one page of assistants that are %s', (found) => {
  test('renews the lease long before it ends, however long a page takes', async () => {
    const { report, looks, leases } = await run(found, 10_000);
    expect({ stopped: report.stopped, looks }).toEqual({ stopped: null, looks: AGENTS });
    const end = 5_000 + AGENTS * 10_000;
    const gaps = [...leases, end].slice(1).map((at, nth) => at - (leases[nth] ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(30_000);
  });

  test('asks the database for the lease once if the sweep takes no time', async () => {
    expect((await run(found, 10)).leases).toHaveLength(1);
  });

  test('stops when another replica has taken the lease', async () => {
    const { report, looks } = await run(found, 60_000, { loseAt: 3 });
    expect({ stopped: report.stopped, looks }).toEqual({ stopped: 'NOT_LEADER', looks: 3 });
    expect(report.retryAfterMs).toBe(7_000);
  });

  test('stops when the server stops', async () => {
    const { report, looks } = await run(found, 10, { stopAt: 3 });
    expect({ stopped: report.stopped, looks }).toEqual({ stopped: 'STOPPING', looks: 3 });
  });
});

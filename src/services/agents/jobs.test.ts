/** When the jobs of agents run, and on what. What a sweep and a round of recovery do is tested beside them. */
import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { DatabaseError } from '../../ports/database.ts';
import type { Job } from '../../ports/jobs.ts';
import type { Log } from '../../ports/system.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import { type AgentJobPorts, type AgentJobSettings, AgentJobs } from './jobs.ts';

const SETTINGS: AgentJobSettings = {
  ...{ recoveryIntervalMs: 5_000, reconcileIntervalMs: 60_000, saveRetentionDays: 90 },
};

const ID = '11111111-1111-4111-8111-111111111111';
/** It carries our stamp, and no agent refers to it. */
const ASSISTANT = {
  id: ID,
  metadata: {
    lockstep: { deployment: ID, orgId: ID, agentId: ID, saveId: ID, role: 'INBOUND', revision: 1 },
  },
};

interface World {
  settings?: Partial<AgentJobSettings>;
  key?: boolean;
  /** How long another process holds the lease of the sweep, milliseconds. */
  leaseMs?: number;
  /** How many saves each call of the cleanup handles. Negative: the process stops meanwhile. NaN: the database is away. */
  cleanups?: number[];
  limited?: boolean;
}

function start({ settings, key = true, leaseMs = 0, cleanups = [], limited = false }: World = {}) {
  const clock = new VirtualClock();
  const calls: unknown[] = [];
  const logged: object[] = [];
  const line = (fields: object) => void logged.push(fields);
  const log: Log = { debug: line, info: line, warn: line, error: line, child: () => log };
  const stopping = new AbortController();
  const voice = { listAssistants: async () => ({ kind: 'ok', value: [ASSISTANT] }) };
  const ports = {
    journal: {
      due: async (limit: number) => {
        calls.push({ due: limit });
        return [];
      },
    },
    store: {
      takeLease: async (owner: string, ms: number) => {
        calls.push({ owner, ms });
        return leaseMs;
      },
      releaseLease: async (owner: string) => void calls.push({ released: owner }),
      listed: async () => [],
      orphans: async (_candidates: unknown, ageMs: number) => {
        calls.push({ orphansOlderThan: ageMs });
        return [];
      },
      page: async () => [],
      note: async () => [],
      done: async () => '2026-01-01T00:00:00Z',
      cleanup: async (limit: number, days: number) => {
        calls.push({ limit, days });
        const next = cleanups.shift() ?? 0;
        if (Number.isNaN(next)) throw new DatabaseError('AWAY', false);
        if (next < 0) stopping.abort();
        return Math.abs(next);
      },
    },
    kinds: [],
    voice: () => (key ? (voice as unknown as Assistants) : null),
    executor: {
      ...{ clock, log, meter: { count() {} }, owner: 'this process' },
      settings: {
        leaseMs: 30_000,
        deadlineMs: 60_000,
        answerMs: 8_000,
        lateMs: 200,
        requestTimeoutMs: 1_500,
      },
    },
    admission: limited
      ? {
          admit: async (name: string, requests: number, withinMs: number) => {
            calls.push({ name, requests, withinMs });
            return { admitted: true, unused() {}, done() {} };
          },
        }
      : undefined,
    pause: async () => {},
    save: () => Promise.reject(new Error('not part of this test')),
    onSwept: (at: string) => calls.push({ sweptAt: at }),
  } as unknown as AgentJobPorts;
  const jobs = new AgentJobs(ports, { ...SETTINGS, ...settings });
  const job = (name: string): Job => {
    const found = jobs.jobs.find((one) => one.name === name);
    if (found === undefined) throw new Error(`there is no job ${name}`);
    return found;
  };
  return { jobs, job, run: (name: string) => job(name).run(stopping.signal), calls, logged, clock, stopping };
}

test('there are three jobs, and no sweep if its interval is zero', () => {
  const names = ({ jobs }: ReturnType<typeof start>) => jobs.jobs.map(({ name }) => name);
  expect(names(start())).toEqual(['recovery', 'cleanup', 'sweep']);
  expect(names(start({ settings: { reconcileIntervalMs: 0 } }))).toEqual(['recovery', 'cleanup']);
});

describe('recovery', () => {
  test('runs at its interval, and looks for abandoned saves', async () => {
    const { job, run, calls } = start();
    expect(job('recovery').intervalMs).toBe(5_000);
    expect(await run('recovery')).toEqual({ kind: 'ran' });
    expect(calls).toEqual([{ due: expect.any(Number) }]);
  });

  test('is skipped without a key', async () => {
    const { run, calls } = start({ key: false });
    expect([await run('recovery'), calls]).toEqual([{ kind: 'skipped' }, []]);
  });
});

describe('the sweep', () => {
  test('runs at its interval, and ten seconds after a run that failed or was skipped', () => {
    expect(start().job('sweep')).toMatchObject({ intervalMs: 60_000, retryMs: 10_000 });
  });

  test('is skipped without a key', async () => {
    const { run, calls, logged } = start({ key: false });
    expect([await run('sweep'), calls, logged]).toEqual([{ kind: 'skipped' }, [], []]);
  });

  test('reports and logs a complete walk', async () => {
    const { run, calls, logged } = start();
    expect(await run('sweep')).toEqual({ kind: 'ran' });
    expect(calls).toContainEqual({ sweptAt: '2026-01-01T00:00:00Z' });
    expect(logged).toMatchObject([{ event: 'sweep.done', stopped: null }]);
  });

  test('is tried again when the lease of another process expires, and logs nothing', async () => {
    const { run, calls, logged } = start({ leaseMs: 1_234 });
    expect(await run('sweep')).toEqual({ kind: 'not_leader', leaseExpiresInMs: 1_234 });
    expect([calls.length, logged]).toEqual([1, []]);
  });

  test('releases its lease on shutdown', async () => {
    const { job, calls } = start();
    await job('sweep').release?.();
    expect(calls).toEqual([{ released: 'this process' }]);
  });

  test.each([
    [60_000, 6_000],
    [10_000, 5_000],
    [3_600_000, 30_000],
    [0, 30_000],
  ])('of an interval of %i ms holds its lease for %i ms', async (reconcileIntervalMs, ms) => {
    const { jobs, calls, stopping } = start({ settings: { reconcileIntervalMs } });
    await jobs.sweep(stopping.signal);
    expect(calls[0]).toEqual({ owner: 'this process', ms });
  });

  test('takes a permit for each request, if the rate is limited', async () => {
    const { run, calls } = start({ limited: true });
    await run('sweep');
    expect(calls).toContainEqual({ name: 'sweep', requests: 1, withinMs: 30_000 });
  });

  test('deletes an orphan only after twice the time in which a request may arrive late', async () => {
    const { run, calls } = start();
    await run('sweep');
    expect(calls).toContainEqual({ orphansOlderThan: 2 * (1_500 + 200) });
  });
});

describe('the cleanup', () => {
  test('runs every ten minutes, also if nothing looks for drift', () => {
    expect(start({ settings: { reconcileIntervalMs: 0 } }).job('cleanup').intervalMs).toBe(600_000);
  });

  test('goes on until nothing is left', async () => {
    const { run, calls } = start({ cleanups: [500, 1, 0, 7] });
    expect(await run('cleanup')).toEqual({ kind: 'ran' });
    expect(calls).toEqual([1, 2, 3].map(() => ({ limit: 500, days: 90 })));
  });

  test('ends after the current batch on shutdown, and does not count as complete', async () => {
    const { run, jobs, calls, clock } = start({ cleanups: [500, -500, 500] });
    await clock.until(1_000);
    await run('cleanup');
    expect([calls.length, jobs.cleanupAgeMs()]).toEqual([2, 1_000]);
  });

  test('its age counts from the start, and then from the last complete cleanup', async () => {
    const { run, jobs, clock } = start();
    await clock.until(1_000);
    expect(jobs.cleanupAgeMs()).toBe(1_000);
    await run('cleanup');
    await clock.until(1_700);
    expect(jobs.cleanupAgeMs()).toBe(700);
  });

  test('its age goes on if the database fails', async () => {
    const { run, jobs, clock } = start({ cleanups: [500, Number.NaN] });
    await clock.until(1_000);
    await expect(run('cleanup')).rejects.toThrow(DatabaseError);
    expect(jobs.cleanupAgeMs()).toBe(1_000);
  });
});

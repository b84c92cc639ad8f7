import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { DatabaseError } from '../ports/database.ts';
import type { Job, JobEnd } from '../ports/jobs.ts';
import type { Log } from '../ports/system.ts';
import { createJobRunner } from './jobs.ts';

/** Runs a job on a virtual clock. Each run ends as the next entry of `ends` says; after the last one, as the last one says. */
function run(ends: (JobEnd | Error)[], job: Partial<Job> = {}) {
  const clock = new VirtualClock();
  const stopping = new AbortController();
  const runs: number[] = [];
  const logged: [level: string, fields: object, message: string][] = [];
  const line = (level: string) => (fields: object, message: string) =>
    void logged.push([level, fields, message]);
  const log: Log = {
    ...{ debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') },
    child: () => log,
  };
  const lives: Promise<void>[] = [];
  const runner = createJobRunner({
    ...{ clock, log, stopping: stopping.signal },
    track: (life) => void lives.push(life),
  });
  runner.start({
    name: 'work',
    intervalMs: 1_000,
    run: async () => {
      const end = ends[Math.min(runs.length, ends.length - 1)] ?? { kind: 'ran' };
      runs.push(clock.now());
      if (end instanceof Error) throw end;
      return end;
    },
    ...job,
  });
  const [life = Promise.resolve()] = lives;
  return { clock, runs, logged, stop: () => stopping.abort(), life, stopping: stopping.signal };
}

const RAN: JobEnd = { kind: 'ran' };
const SKIPPED: JobEnd = { kind: 'skipped' };
const notLeader = (leaseExpiresInMs: number): JobEnd => ({ kind: 'not_leader', leaseExpiresInMs });
const away = (code = 'ECONNREFUSED') => new DatabaseError(code, false);

describe('the runner starts the next run', () => {
  test.each<{ after: string; end: JobEnd | Error; retryMs?: number; pauseMs: number }>([
    { after: 'an interval after a run', end: RAN, retryMs: 10, pauseMs: 1_000 },
    { after: 'an interval after a skipped run', end: SKIPPED, pauseMs: 1_000 },
    { after: 'an interval after a failed run', end: away(), pauseMs: 1_000 },
    { after: 'the retry pause after a skipped run', end: SKIPPED, retryMs: 10, pauseMs: 10 },
    { after: 'the retry pause after a failed run', end: away(), retryMs: 10, pauseMs: 10 },
    {
      after: 'an interval after a failed run, if the retry pause is longer',
      end: away(),
      retryMs: 9_000,
      pauseMs: 1_000,
    },
    { after: 'when the lease of another process expires', end: notLeader(70), pauseMs: 70 },
    {
      after: 'an interval later, if the lease of another process is longer',
      end: notLeader(9_000),
      pauseMs: 1_000,
    },
  ])('$after', async ({ end, retryMs, pauseMs }) => {
    const { clock, runs } = run([end], retryMs === undefined ? {} : { retryMs });
    await clock.until(2 * pauseMs);
    expect(runs).toEqual([0, pauseMs, 2 * pauseMs]);
  });

  test('only after the one before it has ended', async () => {
    const ended = Promise.withResolvers<JobEnd>();
    let runs = 0;
    const { clock } = run([], {
      run: () => {
        runs += 1;
        return ended.promise;
      },
    });
    await clock.until(5_000);
    expect(runs).toBe(1);
    ended.resolve(RAN);
    await clock.until(5_999);
    expect(runs).toBe(1);
    await clock.until(6_000);
    expect(runs).toBe(2);
  });
});

describe('a job that fails', () => {
  test('runs again, and is logged once until the failure changes', async () => {
    const { clock, runs, logged } = run([away(), away(), away('TIMEOUT'), new Error('a defect'), RAN]);
    await clock.until(5_000);
    expect(runs).toHaveLength(6);
    expect(logged).toEqual([
      ['warn', { work: 'work', code: 'ECONNREFUSED' }, 'background work fails'],
      ['warn', { work: 'work', code: 'TIMEOUT' }, 'background work fails'],
      ['warn', { work: 'work', err: new Error('a defect') }, 'background work fails'],
      ['info', { work: 'work' }, 'background work succeeds again'],
    ]);
  });

  test('is logged again if it fails after a success', async () => {
    const { clock, logged } = run([away(), RAN, away()]);
    await clock.until(2_000);
    expect(logged.map(([level]) => level)).toEqual(['warn', 'info', 'warn']);
  });
});

describe('on shutdown', () => {
  test('a pause ends at once, no further run begins, and the lease is released', async () => {
    const released: number[] = [];
    const { clock, runs, stop } = run([RAN], { release: async () => void released.push(clock.now()) });
    await clock.until(1_500);
    expect(released).toEqual([]);
    stop();
    // Not `await life`: a job that goes on sleeping would hang the test.
    await clock.until(1_500);
    expect([runs, released]).toEqual([[0, 1_000], [1_500]]);
    await clock.until(10_000);
    expect(runs).toHaveLength(2);
  });

  test('the run in progress is told to stop, and the lease is released only after it has ended', async () => {
    const order: string[] = [];
    const ended = Promise.withResolvers<JobEnd>();
    const { stop, life } = run([], {
      run: (stopping) => {
        stopping.addEventListener('abort', () => order.push('aborted'));
        return ended.promise;
      },
      release: async () => void order.push('released'),
    });
    stop();
    order.push('run ends');
    ended.resolve(RAN);
    await life;
    expect(order).toEqual(['aborted', 'run ends', 'released']);
  });

  test('the job ends even if the database cannot release the lease', async () => {
    const { stop, life, logged } = run([RAN], { release: () => Promise.reject(away()) });
    stop();
    await expect(life).resolves.toBeUndefined();
    expect(logged).toEqual([]);
  });
});

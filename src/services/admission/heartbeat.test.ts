import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import type { Beat } from '../../ports/admission.ts';
import { DatabaseError } from '../../ports/database.ts';
import { Heartbeat } from './heartbeat.ts';
import { REPLICA_TTL_MS } from './replicas.ts';

const BEAT: Beat = { replicas: 4, known: true, now: 1_700_000_000_000, sweptAt: '2026-01-01T00:00:00Z' };
const AWAY = new DatabaseError('ECONNREFUSED', false);

/** A heartbeat; each beat ends as the next of these. */
function start(...beats: (Beat | Error)[]) {
  const clock = new VirtualClock();
  const shares: number[][] = [];
  const reported: unknown[] = [];
  const heartbeat = new Heartbeat({
    registry: {
      beat: async (replica) => {
        expect(replica).toBe('this replica');
        const beat = beats.shift();
        if (beat === undefined) throw new Error('not part of this test');
        if (beat instanceof Error) throw beat;
        return beat;
      },
    },
    ...{ clock, owner: 'this replica' },
    share: (...share) => shares.push(share),
    database: { works: () => reported.push('works'), fails: (error) => reported.push(error) },
  });
  return { clock, heartbeat, shares, reported };
}

test('beats once a second', async () => {
  const { heartbeat } = start(BEAT);
  expect(heartbeat.job).toMatchObject({ name: 'replica', intervalMs: 1_000 });
  expect(await heartbeat.job.run(new AbortController().signal)).toEqual({ kind: 'ran' });
});

describe('a beat that the database answers', () => {
  test('passes the share on, and keeps the time of the last sweep and of the database', async () => {
    const { heartbeat, shares, reported, clock } = start(BEAT);
    expect([heartbeat.sweptAt, heartbeat.databaseTime()]).toEqual([null, null]);
    expect(await heartbeat.beat()).toBe(true);
    await clock.until(500);
    expect(shares).toEqual([[1 / 4, REPLICA_TTL_MS]]);
    expect([heartbeat.sweptAt, heartbeat.databaseTime()]).toEqual([BEAT.sweptAt, BEAT.now + 500]);
    expect(reported).toEqual(['works']);
  });
});

describe('a beat that the database does not answer', () => {
  test('reports the outage, and keeps the share and what was known', async () => {
    const { heartbeat, shares, reported } = start(BEAT, AWAY);
    await heartbeat.beat();
    expect(await heartbeat.beat()).toBe(false);
    expect([shares.length, heartbeat.sweptAt, reported]).toEqual([1, BEAT.sweptAt, ['works', AWAY]]);
  });

  test('does not fail the job, because the database watch logs the outage', async () => {
    const { heartbeat } = start(AWAY);
    expect(await heartbeat.job.run(new AbortController().signal)).toEqual({ kind: 'ran' });
  });
});

test('a defect fails the job, and is not reported as an outage', async () => {
  const { heartbeat, reported } = start(new Error('a defect'));
  await expect(heartbeat.job.run(new AbortController().signal)).rejects.toThrow('a defect');
  expect(reported).toEqual([]);
});

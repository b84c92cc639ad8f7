import { expect, test } from 'vitest';
import type { Clock } from '../../ports/system.ts';
import { DatabaseClock, REPLICA_TTL_MS, takeShare } from './replicas.ts';

function clocks() {
  let mono = 100;
  const unused = () => {
    throw new Error('not part of this test');
  };
  const clock: Clock = { now: unused, monotonic: () => mono, sleep: unused };
  const database = new DatabaseClock(clock);
  /** The database's clock, an hour ahead; an answer is written now and comes after `ms`. */
  const real = () => 3_600_000 + mono;
  const answer = (ms: number, time = real()) => {
    mono += ms;
    database.heard(time);
  };
  return { database, real, answer, pass: (ms: number) => (mono += ms) };
}

test('the time of the database is unknown until the database has answered', () => {
  expect(clocks().database.now()).toBeNull();
});

test('the time is never ahead, and is behind by no more than the fastest answer took', () => {
  const { database, real, answer, pass } = clocks();
  for (const ms of [400, 20, 5_000, 90]) {
    answer(ms);
    pass(1_000);
  }
  expect(real() - (database.now() ?? 0)).toBe(20);
});

test('accepts a clock that was set back after one minute', () => {
  const { database, real, answer, pass } = clocks();
  answer(10);
  pass(30_000);
  answer(10, real() - 7_000);
  expect(real() - (database.now() ?? 0)).toBe(10);
  pass(31_000);
  answer(10, real() - 7_000);
  expect(real() - (database.now() ?? 0)).toBe(7_010);
});

/** One beat that the database answers after so long. */
async function beat(answer: { replicas: number; known: boolean }, answerMs: number) {
  let now = 10_000;
  const shares: [part: number, until: number][] = [];
  const asked: unknown[] = [];
  await takeShare(
    {
      beat: async (...args) => {
        asked.push(args);
        now += answerMs;
        return { ...answer, now: 0, sweptAt: null };
      },
    },
    (...share) => shares.push(share),
    { now: () => now, monotonic: () => now, sleep: async () => {} },
    'this replica',
  );
  return { shares, asked };
}

test('a replica keeps its share, from before the beat was sent, for as long as the others count it', async () => {
  const { shares, asked } = await beat({ replicas: 4, known: true }, 2_900);
  expect(asked).toEqual([['this replica', REPLICA_TTL_MS]]);
  expect(shares).toEqual([[1 / 4, 10_000 + REPLICA_TTL_MS]]);
});

test('a replica has no share until all the others know of it', async () => {
  expect((await beat({ replicas: 4, known: false }, 0)).shares).toEqual([[0, 10_000 + REPLICA_TTL_MS]]);
});

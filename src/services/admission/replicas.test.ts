import { expect, test } from 'vitest';
import { REPLICA_TTL_MS, takeShare } from './replicas.ts';

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
        return answer;
      },
    },
    (...share) => shares.push(share),
    { now: () => now, monotonic: () => now, sleep: async () => {} },
    'this replica',
  );
  return { shares, asked };
}

test('a replica has its share for as long as the others count it, from before the beat was sent', async () => {
  const { shares, asked } = await beat({ replicas: 4, known: true }, 2_900);
  expect(asked).toEqual([['this replica', REPLICA_TTL_MS]]);
  expect(shares).toEqual([[1 / 4, 10_000 + REPLICA_TTL_MS]]);
});

test('a replica of which not all the others know has no share yet', async () => {
  expect((await beat({ replicas: 4, known: false }, 0)).shares).toEqual([[0, 10_000 + REPLICA_TTL_MS]]);
});

import { expect, test } from 'vitest';
import { type NotSettled, settleWhenPossible } from './settle.ts';

const early: NotSettled = { outcome: 'NOT_SETTLED', reasons: ['too early'], retryAfterMs: 7 };
const differs: NotSettled = { outcome: 'NOT_SETTLED', reasons: ['other content'] };

test('attempts to settle again when the refusal said, until only a change by hand can help', async () => {
  const answers = [early, { ...early, retryAfterMs: 9 }, differs];
  const slept: number[] = [];
  const reported: string[][] = [];
  const settlement = await settleWhenPossible(
    async () => answers.shift() as NotSettled,
    async (ms) => slept.push(ms),
    (reasons) => reported.push(reasons),
  );
  expect(settlement).toBe(differs);
  expect(slept).toEqual([7, 9]);
  expect(reported).toEqual([['too early'], ['too early']]);
});

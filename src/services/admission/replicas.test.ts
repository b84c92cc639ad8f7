import { expect, test } from 'vitest';
import type { Clock } from '../../ports/system.ts';
import { DatabaseClock } from './replicas.ts';

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

test("the database's clock is unknown until it was heard", () => {
  expect(clocks().database.now()).toBeNull();
});

test('it is never ahead, and behind by no more than the fastest answer took', () => {
  const { database, real, answer, pass } = clocks();
  for (const ms of [400, 20, 5_000, 90]) {
    answer(ms);
    pass(1_000);
  }
  expect(real() - (database.now() ?? 0)).toBe(20);
});

test('a clock that was set back is believed after a minute', () => {
  const { database, real, answer, pass } = clocks();
  answer(10);
  pass(30_000);
  answer(10, real() - 7_000);
  expect(real() - (database.now() ?? 0)).toBe(10);
  pass(31_000);
  answer(10, real() - 7_000);
  expect(real() - (database.now() ?? 0)).toBe(7_010);
});

/** Turns that come back, and what the pacer keeps of an organization: in virtual time. */
import { expect, test } from 'vitest';
import { Pacer } from '../../src/services/admission/pacer.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

function start() {
  const clock = new VirtualClock();
  const pacer = new Pacer(
    {
      ...{ requestsPerSecond: 1, burst: 2, reserve: 0, recoveryMs: 60_000, waitMs: 60_000 },
      savesPerMinute: 1_000,
      inProgress: 32,
    },
    { clock, meter: { count() {} } },
  );
  return { clock, pacer };
}

test('turns that were not used wake the next save at once', async () => {
  const { clock, pacer } = start();
  const first = await pacer.admit('a', 2);
  let admitted = false;
  void pacer.admit('b', 2).then((answer) => {
    admitted = answer.admitted;
  });
  await clock.until(10);
  expect(admitted).toBe(false);
  if (first.admitted) first.unused();
  await clock.until(11);
  expect(admitted).toBe(true);
});

test('exactly eight saves of one organization may wait', async () => {
  const { clock, pacer } = start();
  await pacer.admit('other', 2);
  for (let nth = 0; nth < 9; nth += 1) void pacer.admit('a', 2);
  await clock.until(1);
  expect(pacer.state.waiting).toBe(8);
});

test('a save leaves its place if it is not admitted within the time that its caller gives', async () => {
  const { clock, pacer } = start();
  await pacer.admit('a', 2);
  const refused = pacer.admit('b', 2, 500);
  await clock.until(501);
  expect(await refused).toMatchObject({ admitted: false });
  expect(pacer.state.waiting).toBe(0);
});

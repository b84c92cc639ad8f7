/** Turns that come back, and what the pacer keeps of an organization: in virtual time. */
import { expect, test, vi } from 'vitest';
import { Pacer } from '../../src/services/admission/pacer.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

function start(inProgress = 32) {
  const clock = new VirtualClock();
  const pacer = new Pacer(
    {
      ...{ requestsPerSecond: 1, burst: 2, reserve: 0, recoveryMs: 60_000, waitMs: 60_000 },
      savesPerMinute: 1_000,
      inProgress,
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

test('nothing is kept of an organization that neither waits nor has had a turn just now', async () => {
  const put = vi.spyOn(Map.prototype, 'set');
  try {
    const { clock, pacer } = start();
    const first = await pacer.admit('a', 2);
    const refused = pacer.admit('late', 2, 1);
    await clock.until(2);
    expect(await refused).toMatchObject({ admitted: false });
    if (first.admitted) first.done();
    await clock.until(60_000);
    await pacer.admit('b', 2);
    const kept = new Set(put.mock.contexts as Map<unknown, unknown>[]);
    expect([...kept].filter((map) => map.has('a') || map.has('late'))).toEqual([]);
    expect([...kept].some((map) => map.has('b'))).toBe(true);
  } finally {
    put.mockRestore();
  }
});

test('a save that is over twice makes room for one', async () => {
  const { clock, pacer } = start(1);
  const first = await pacer.admit('a', 1);
  let begun = 0;
  for (const orgId of ['b', 'c']) {
    void pacer.admit(orgId, 1).then(() => {
      begun += 1;
    });
  }
  await clock.until(10_000);
  expect(begun).toBe(0);
  if (first.admitted) {
    first.done();
    first.done();
  }
  await clock.until(20_000);
  expect(begun).toBe(1);
});

test('a later and shorter pause does not shorten the first one', async () => {
  const { clock, pacer } = start();
  pacer.pause(10_000);
  pacer.pause(1_000);
  let admitted = false;
  void pacer.admit('a', 1).then((answer) => {
    admitted = answer.admitted;
  });
  await clock.until(9_999);
  expect(admitted).toBe(false);
  await clock.until(10_001);
  expect(admitted).toBe(true);
});

test('a caller that cannot wait as long as the pause is refused at once, with the time until it is over', async () => {
  const { clock, pacer } = start();
  pacer.pause(10_000);
  const refused = pacer.admit('a', 1, 5_000);
  await clock.until(1);
  expect(await refused).toEqual({ admitted: false, retryAfterMs: 10_000 });
});

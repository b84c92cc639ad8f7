import { describe, expect, test } from 'vitest';
import { systemClock, systemIds, systemRandom } from './system.ts';

describe('the clock', () => {
  test('sleeps at least the requested time on its monotonic clock', async () => {
    const from = systemClock.monotonic();
    await systemClock.sleep(20);
    // Timers are whole milliseconds, and the clock is finer.
    expect(systemClock.monotonic() - from).toBeGreaterThan(19);
  });

  test('an abort before or during a sleep ends it without a rejection', async () => {
    await systemClock.sleep(3_600_000, AbortSignal.abort());
    const during = new AbortController();
    const sleeping = systemClock.sleep(3_600_000, during.signal);
    during.abort();
    await expect(sleeping).resolves.toBeUndefined();
  });

  test('now is the wall clock', () => {
    expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1_000);
  });
});

test('ids are random UUIDs, jitter is in [0, 1)', () => {
  const ids = Array.from({ length: 1_000 }, () => systemIds.uuid());
  expect(new Set(ids).size).toBe(1_000);
  for (const id of ids)
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  for (let n = 0; n < 1_000; n += 1) {
    const next = systemRandom.next();
    expect(next >= 0 && next < 1).toBe(true);
  }
});

import { expect, test } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { createReadiness } from './readiness.ts';

function start() {
  const clock = new VirtualClock();
  const stopping = new AbortController();
  const state = { away: false, probes: 0 };
  const reported: unknown[] = [];
  const ready = createReadiness({
    ...{ clock, stopping: stopping.signal },
    probe: async () => {
      state.probes += 1;
      if (state.away) throw new Error('away');
    },
    database: { works: () => reported.push('works'), fails: (error) => reported.push(error) },
  });
  return { clock, state, reported, ready, stop: () => stopping.abort() };
}

test('reports what the database answers, to the caller and to the database watch', async () => {
  const { clock, state, reported, ready } = start();
  expect(await ready()).toBe(true);
  state.away = true;
  await clock.until(1_001);
  expect(await ready()).toBe(false);
  state.away = false;
  await clock.until(2_002);
  expect(await ready()).toBe(true);
  expect(reported).toEqual(['works', new Error('away'), 'works']);
});

test('asks the database once a second, however many ask', async () => {
  const { clock, state, ready } = start();
  await Promise.all([ready(), ready()]);
  await clock.until(1_000);
  await ready();
  expect(state.probes).toBe(1);
  await clock.until(1_001);
  await ready();
  expect(state.probes).toBe(2);
});

test('a server that stops is not ready, even if it was a moment ago, and does not ask the database', async () => {
  const { clock, state, ready, stop } = start();
  expect(await ready()).toBe(true);
  stop();
  expect(await ready()).toBe(false);
  await clock.until(5_000);
  expect([await ready(), state.probes]).toEqual([false, 1]);
});

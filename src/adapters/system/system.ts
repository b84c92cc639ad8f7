import { randomUUID } from 'node:crypto';
import { setTimeout as timeout } from 'node:timers/promises';
import type { Clock, Ids, Random } from '../../ports/system.ts';

/** The real clock, ids and randomness. Nothing in src/services reads them in any other way. */

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: async (ms, signal) => {
    // An aborted sleep is an ended one: the caller looks at its own state next.
    await timeout(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  },
};

export const systemIds: Ids = { uuid: () => randomUUID() };

export const systemRandom: Random = { next: () => Math.random() };

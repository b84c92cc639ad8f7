import { randomUUID } from 'node:crypto';
import type { Clock, Ids, Random } from '../../ports/system.ts';

/** The real clock, ids and randomness. Nothing in src/services reads them in any other way. */

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  // Not node:timers/promises: it makes an error for every sleep that is aborted, which is nearly every one of a save.
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal?.addEventListener('abort', end);
    }),
};

export const systemIds: Ids = { uuid: () => randomUUID() };

export const systemRandom: Random = { next: () => Math.random() };

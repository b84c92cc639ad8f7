import type { Forward, Undo } from '../../src/services/saga/protocol.ts';

/** What the worlds of the explorer keep as small numbers: the place in a list, or one of these codes. */

export const FORWARDS: readonly Forward[] = [
  ...(['pending', 'applied', 'differed', 'rejected', 'missing', 'unauthorized'] as const),
  ...(['rate_limited', 'unreachable', 'unknown', 'lost'] as const),
];
export const UNDOS: readonly Undo[] = ['pending', 'done', 'missing', 'refused', 'blocked', 'unknown'];

/** A process: looking for work, at work, or dead. */
export const IDLE = 0;
export const RUNNING = 1;
export const DEAD = 2;
/** A request in flight: none, since before the quarantine or fence, or since then. */
export const NONE = 0;
export const OLD = 1;
export const RECENT = 2;

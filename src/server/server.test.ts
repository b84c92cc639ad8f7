import { expect, test } from 'vitest';
import type { Log } from '../ports/system.ts';
import { SAVE_COST } from '../schema/cost.ts';
import { createServer } from './server.ts';

const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const unused = () => Promise.reject(new Error('not part of this test'));

/** A server that does not listen, whose requests may make saves up to this cost. A save takes ten seconds. */
const serverOf = (maxComplexity: number, timeouts?: { keepAlive: number }) =>
  createServer({
    createContext: unused,
    verifier: { verify: unused },
    ready: unused,
    stopping: new AbortController().signal,
    metrics: { text: unused },
    events: null,
    newRequestId: () => 'a request',
    ...{ log, slowestSaveMs: 10_000, corsOrigins: [], edge: { maxComplexity }, timeouts, demo: undefined },
  });

test.each([
  ['one save', SAVE_COST, 10_000],
  ['three saves, one after the other', 4 * SAVE_COST - 1, 30_000],
  ['less than a save', 1, 10_000],
])(
  'a connection outlives the slowest request and the slowest answer of a request that may cost %s',
  (_cost, most, answerMs) => {
    const server = serverOf(most);
    expect(server.requestTimeout).toBe(90_000);
    expect(server.timeout).toBe(90_000 + answerMs);
  },
);

test('a configured timeout replaces the default', () => {
  const { keepAliveTimeout, headersTimeout } = serverOf(SAVE_COST, { keepAlive: 5_000 });
  expect([keepAliveTimeout, headersTimeout]).toEqual([5_000, 80_000]);
});

import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import type { Log } from '../ports/system.ts';
import { Shutdown } from './shutdown.ts';

/** A shutdown on a virtual clock, and a server whose connections close when `disconnect` is called, or when they are cut off. */
function start() {
  const clock = new VirtualClock();
  const logged: object[] = [];
  const line = (fields: object, message: string) => void logged.push({ ...fields, message });
  const log: Log = { debug: line, info: line, warn: line, error: line, child: () => log };
  const did: string[] = [];
  const closing: (() => void)[] = [];
  const disconnect = () => {
    for (const done of closing.splice(0)) done();
  };
  const server = {
    close: (done?: () => void) => {
      did.push('close');
      if (done !== undefined) closing.push(done);
    },
    closeIdleConnections: () => void did.push('close idle connections'),
    closeAllConnections: () => {
      did.push('close all connections');
      disconnect();
    },
  } as unknown as Parameters<Shutdown['stop']>[0];
  const shutdown = new Shutdown({ clock, log });
  const stop = (drainMs = 20_000) => {
    const state = { stopped: false };
    void shutdown.stop(server, drainMs).then(() => {
      state.stopped = true;
    });
    return state;
  };
  return { clock, logged, did, disconnect, shutdown, stop };
}

describe('a server that stops', () => {
  test('says so at once, before anything is closed', () => {
    const { shutdown, stop, did } = start();
    expect(shutdown.stopping.aborted).toBe(false);
    stop();
    expect([shutdown.stopping.aborted, did]).toEqual([true, []]);
  });

  test('accepts connections until the tracked work is done, and then waits for open requests', async () => {
    const { shutdown, stop, did, clock, disconnect, logged } = start();
    const work = Promise.withResolvers<void>();
    shutdown.track(work.promise);
    const state = stop();
    await clock.until(1_000);
    expect(did).toEqual([]);
    work.resolve();
    await clock.until(2_000);
    expect([did, state.stopped]).toEqual([['close', 'close idle connections'], false]);
    disconnect();
    await clock.until(3_000);
    expect([state.stopped, logged]).toEqual([true, []]);
  });

  test('waits for work that begins while other work ends, and for work of the last requests', async () => {
    const { shutdown, stop, clock, did, disconnect } = start();
    const [first, second, last] = [1, 2, 3].map(() => Promise.withResolvers<void>());
    if (first === undefined || second === undefined || last === undefined) throw new Error('not possible');
    shutdown.track(first.promise.then(() => shutdown.track(second.promise)));
    const state = stop();
    first.resolve();
    await clock.until(1);
    expect(did).toEqual([]);
    second.resolve();
    await clock.until(2);
    shutdown.track(last.promise);
    disconnect();
    await clock.until(3);
    expect(state.stopped).toBe(false);
    last.resolve();
    await clock.until(4);
    expect(state.stopped).toBe(true);
  });

  test('leaves work to recovery, and cuts connections off, when the time is over', async () => {
    const { shutdown, stop, clock, did, logged } = start();
    shutdown.track(new Promise(() => {}));
    shutdown.track(new Promise(() => {}));
    const state = stop(20_000);
    await clock.until(19_999);
    expect(state.stopped).toBe(false);
    await clock.until(20_000);
    await clock.until(20_001);
    expect([state.stopped, did]).toEqual([true, ['close', 'close all connections']]);
    expect(logged).toEqual([{ saves: 2, message: 'leaving saves to recovery' }]);
  });
});

test('logs work that fails, and does not wait for it any longer', async () => {
  const { shutdown, stop, clock, disconnect, logged } = start();
  shutdown.track(Promise.reject(new Error('a defect')));
  const state = stop();
  await clock.until(1);
  disconnect();
  await clock.until(2);
  expect(state.stopped).toBe(true);
  expect(logged).toEqual([{ err: new Error('a defect'), message: 'a save failed unexpectedly' }]);
});

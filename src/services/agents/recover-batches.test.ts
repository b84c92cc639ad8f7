import { expect, test } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import type { ExecutorPorts } from '../agents/execute.ts';
import { recoverSagas } from '../saga/recovery.ts';
import { AGENT_SAGA } from './participant.ts';

/** A database with so many abandoned saves. What `takeover` answers true to is no longer due. */
function abandoned(saves: number, takeover: (saveId: string) => boolean) {
  let due = Array.from({ length: saves }, (_, index) => ({ orgId: `org ${index}`, sagaId: `save ${index}` }));
  const asked: string[] = [];
  let running = 0;
  let mostRunning = 0;
  let looks = 0;
  const journal = {
    due: async (limit: number) => {
      looks += 1;
      return due.slice(0, limit);
    },
    takeover: async (_orgId: string, saveId: string) => {
      asked.push(saveId);
      running += 1;
      mostRunning = Math.max(mostRunning, running);
      await new Promise(setImmediate);
      running -= 1;
      if (!takeover(saveId)) return { outcome: 'BUSY' };
      due = due.filter((one) => one.sagaId !== saveId);
      return { outcome: 'NOT_DUE' };
    },
  } as unknown as SaveJournal;
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const ports = {
    clock: { now: () => 0, monotonic: () => 0, sleep: () => new Promise(() => {}) },
    settings: { leaseMs: 30_000, requestTimeoutMs: 10_000 },
    ...{ owner: 'me', log, meter: { count: () => {} } },
  } as unknown as ExecutorPorts<null>;
  const round = (stopping?: AbortSignal) =>
    recoverSagas(journal, {} as Assistants, [AGENT_SAGA], ports, stopping);
  return { round, asked, most: () => mostRunning, looks: () => looks };
}

test('one round looks at every abandoned save, twenty at a time', async () => {
  const { round, asked, most } = abandoned(205, () => true);
  await round();
  expect(new Set(asked).size).toBe(205);
  expect(asked.length).toBe(205);
  expect(most()).toBe(20);
});

test('one round looks only once at saves that stay due', async () => {
  const { round, asked } = abandoned(30, () => false);
  await round();
  expect(asked.length).toBe(30);
});

test('a save that cannot be carried on does not end the round', async () => {
  const { round, asked } = abandoned(45, (saveId) => {
    if (saveId === 'save 3') throw new Error('broken');
    return true;
  });
  await round();
  expect(new Set(asked).size).toBe(45);
});

test('takes no more saves once the server stops', async () => {
  const stopping = new AbortController();
  const { round, asked } = abandoned(100, () => {
    stopping.abort();
    return true;
  });
  await round(stopping.signal);
  expect(asked.length).toBe(20);
});

test('looks for no more saves once the server stops', async () => {
  const stopping = new AbortController();
  const { round, asked, looks } = abandoned(150, () => {
    if (asked.length === 100) stopping.abort();
    return true;
  });
  await round(stopping.signal);
  expect([asked.length, looks()]).toEqual([100, 1]);
});

/**
 * A database with abandoned saves, each of which keeps whoever takes it for so long, by a clock of its own. `busyUntil`: another
 * replica has it, and ends it then.
 */
function lasting(saves: { dueAt: number; lastsMs: number; busyUntil?: number }[]) {
  const clock = new VirtualClock();
  let due = saves.map((save, index) => ({ ...save, orgId: `org ${index}`, sagaId: `save ${index}` }));
  const endedAt = new Map<string, number>();
  const journal = {
    due: async (limit: number) => {
      due = due.filter(({ busyUntil = Infinity }) => clock.now() < busyUntil);
      return due.filter(({ dueAt }) => dueAt <= clock.now()).slice(0, limit);
    },
    takeover: async (_orgId: string, saveId: string) => {
      const one = due.find((save) => save.sagaId === saveId);
      if (one?.busyUntil !== undefined) return { outcome: 'BUSY' };
      due = due.filter((save) => save !== one);
      await clock.sleep(one?.lastsMs ?? 0);
      endedAt.set(saveId, clock.now());
      return { outcome: 'NOT_DUE' };
    },
  } as unknown as SaveJournal;
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const ports = {
    ...{ clock, owner: 'me', log, meter: { count: () => {} } },
    settings: { leaseMs: 17_000, requestTimeoutMs: 10_000 },
  } as unknown as ExecutorPorts<null>;
  const round = recoverSagas(journal, {} as Assistants, [AGENT_SAGA], ports);
  return { clock, round, endedAt };
}

test('the slowest save delays no other: 200 saves end within 1.5 times what batches of twenty need', async () => {
  const { clock, round, endedAt } = lasting(
    Array.from({ length: 200 }, (_, index) => ({ dueAt: 0, lastsMs: index % 50 === 0 ? 30_000 : 1_000 })),
  );
  // 196 saves of a second on the sixteen places that four slow ones leave.
  await clock.until(1.5 * (196 / 16) * 1_000);
  expect(endedAt.size).toBe(196);
  await clock.until(60_000);
  await round;
  expect(endedAt.size).toBe(200);
});

test('takes a save that becomes due while a slow one goes on', async () => {
  const { clock, round, endedAt } = lasting([
    { dueAt: 0, lastsMs: 30_000 },
    { dueAt: 3_500, lastsMs: 100 },
    { dueAt: 9_500, lastsMs: 100 },
  ]);
  await clock.until(29_000);
  expect(Object.fromEntries(endedAt)).toEqual({ 'save 1': 4_100, 'save 2': 10_200 });
  await clock.until(31_000);
  await round;
  expect(endedAt.size).toBe(3);
});

test('looks again while a slow save goes on, also if another replica has all others that it found', async () => {
  const { clock, round, endedAt } = lasting([
    { dueAt: 0, lastsMs: 30_000 },
    ...Array.from({ length: 100 }, () => ({ dueAt: 0, lastsMs: 0, busyUntil: 5_000 })),
    { dueAt: 5_500, lastsMs: 100 },
  ]);
  await clock.until(8_000);
  expect([...endedAt.keys()]).toEqual(['save 101']);
  await clock.until(31_000);
  await round;
});

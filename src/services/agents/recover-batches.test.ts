import { expect, test } from 'vitest';
import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import type { ExecutorPorts } from '../agents/execute.ts';
import { recoverAbandonedSaves } from './recover.ts';

/** A database with so many abandoned saves. What `takeover` answers true to is no longer due. */
function abandoned(saves: number, takeover: (saveId: string) => boolean) {
  let due = Array.from({ length: saves }, (_, index) => ({ orgId: `org ${index}`, saveId: `save ${index}` }));
  const asked: string[] = [];
  let running = 0;
  let mostRunning = 0;
  const journal = {
    due: async (limit: number) => due.slice(0, limit),
    takeover: async (_orgId: string, saveId: string) => {
      asked.push(saveId);
      running += 1;
      mostRunning = Math.max(mostRunning, running);
      await new Promise(setImmediate);
      running -= 1;
      if (!takeover(saveId)) return { outcome: 'BUSY' };
      due = due.filter((one) => one.saveId !== saveId);
      return { outcome: 'NOT_DUE' };
    },
  } as unknown as SaveJournal;
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const ports = {
    clock: { now: () => 0, monotonic: () => 0 },
    settings: { leaseMs: 30_000, requestTimeoutMs: 10_000 },
    ...{ owner: 'me', log, meter: { count: () => {} } },
  } as unknown as ExecutorPorts<null>;
  const round = (stopping?: AbortSignal) =>
    recoverAbandonedSaves(journal, {} as VoiceProvider, ports, stopping);
  return { round, asked, most: () => mostRunning };
}

test('one round looks at every abandoned save, twenty at a time, while batches come back full', async () => {
  const { round, asked, most } = abandoned(205, () => true);
  await round();
  expect(new Set(asked).size).toBe(205);
  expect(asked.length).toBe(205);
  expect(most()).toBe(20);
});

test('one round looks only once at saves that stay due', async () => {
  const { round, asked } = abandoned(30, () => false);
  await round();
  expect(asked.length).toBe(20);
});

test('a save that cannot be carried on does not end the round', async () => {
  const { round, asked } = abandoned(45, (saveId) => {
    if (saveId === 'save 3') throw new Error('broken');
    return true;
  });
  await round();
  expect(new Set(asked).size).toBe(45);
});

test('a round ends after its batch when the server stops', async () => {
  const { round, asked } = abandoned(100, () => true);
  await round(AbortSignal.abort());
  expect(asked.length).toBe(20);
});

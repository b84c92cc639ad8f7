import { expect, test } from 'vitest';
import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { recoverAbandonedSaves } from '../saga/recovery.ts';

test('counts and logs a save that cannot be carried on, and still looks at the others of the round', async () => {
  const looked: string[] = [];
  const counted: string[] = [];
  const logged: object[] = [];
  const journal = {
    due: async () => [
      { orgId: 'org-1', saveId: 'broken' },
      { orgId: 'org-2', saveId: 'other' },
    ],
    takeover: async (_orgId: string, saveId: string) => {
      looked.push(saveId);
      if (saveId === 'broken') throw new Error('the database refuses it');
      return { outcome: 'NOT_DUE' };
    },
  } as unknown as SaveJournal;
  const ports = {
    clock: { now: () => 0, monotonic: () => 0, sleep: () => new Promise(() => {}) },
    settings: { leaseMs: 30_000, requestTimeoutMs: 10_000 },
    meter: { count: (event: string) => counted.push(event) },
    log: { error: (fields: object) => logged.push(fields), warn() {}, info() {} },
  } as unknown as Parameters<typeof recoverAbandonedSaves>[2];
  await recoverAbandonedSaves(journal, {} as VoiceProvider, ports);
  expect(looked).toEqual(['broken', 'other']);
  expect(counted).toEqual(['save.stuck']);
  expect(logged).toMatchObject([{ saveId: 'broken', orgId: 'org-1', event: 'save.stuck' }]);
});

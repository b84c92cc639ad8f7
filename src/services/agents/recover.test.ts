import { describe, expect, test } from 'vitest';
import { defaultConfig } from '../../domain/agents/agent-config.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { PartImage, SagaRecord } from '../../domain/saga.ts';
import { DatabaseError, type SaveJournal } from '../../ports/agents/save-journal.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import { recoverSagas } from '../saga/recovery.ts';
import { recoveryLeaseMs } from '../saga/settings.ts';
import { AGENT_SAGA } from './participant.ts';

test('counts and logs a save that cannot be carried on, and still looks at the others of the round', async () => {
  const looked: string[] = [];
  const counted: string[] = [];
  const logged: object[] = [];
  const journal = {
    due: async () => [
      { orgId: 'org-1', sagaId: 'broken' },
      { orgId: 'org-2', sagaId: 'other' },
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
  } as unknown as Parameters<typeof recoverSagas>[3];
  await recoverSagas(journal, {} as Assistants, [AGENT_SAGA], ports);
  expect(looked).toEqual(['broken', 'other']);
  expect(counted).toEqual(['save.stuck']);
  expect(logged).toMatchObject([{ saveId: 'broken', orgId: 'org-1', event: 'save.stuck' }]);
});

describe('a save that was taken over', () => {
  const saga = (id: string): SagaRecord => ({
    ...{ id, status: 'APPLYING', epoch: 2, kind: 'agents', cause: 'USER', ambiguous: true },
    ...{ mappingVersion: 1, results: [] },
    ...{ failure: null, startedAt: '2026-01-01T00:00:00.000Z', finishedAt: null },
  });
  const content = { ...defaultConfig('INBOUND'), systemPrompt: 'P' } as unknown as JsonObject;
  const before = { content, revision: 1, sagaId: 'x', mappingVersion: 1, context: {} };
  const image: PartImage = {
    ...{ key: 'INBOUND', resource: 'agent', resourceId: 'agent', remoteId: 'assistant', recreate: false },
    ...{ before, after: { content, revision: 2, context: {} } },
  };

  /** Recovers one save whose takeover takes so long. */
  async function recover(takeoverMs: number, commit: 'COMMITTED' | 'away' = 'COMMITTED') {
    let now = 0;
    const requests: string[] = [];
    const calls: { name: string; request: unknown }[] = [];
    const transition =
      (name: string, finishedAt: string | null) => async (_ref: unknown, request: unknown) => {
        calls.push({ name, request });
        if (commit === 'away' && name === 'commit') throw new DatabaseError('AWAY', true);
        const status = name === 'commit' ? 'COMMITTED' : 'APPLYING';
        return { outcome: status, saga: { ...saga('s'), status, finishedAt }, rows: [] };
      };
    const journal = {
      due: async () => [{ orgId: 'org', sagaId: 's' }],
      takeover: async () => {
        now += takeoverMs;
        return {
          ...{ outcome: 'TAKEN', saga: saga('s'), images: [image], deployment: 'd' },
          ...{ quarantined: false, pastDeadline: false },
        };
      },
      commit: transition('commit', '2026-01-01T00:00:01.000Z'),
      hold: transition('hold', null),
    } as unknown as SaveJournal;
    const voice = {
      timeoutMs: 10_000,
      updateAssistant: async (id: string, document: object) => {
        requests.push(id);
        return { kind: 'ok', value: { ...document, id } };
      },
    } as unknown as Assistants;
    const ports = {
      clock: {
        now: () => now,
        monotonic: () => now,
        sleep: () => new Promise(() => {}),
      },
      random: { next: () => 0.5 },
      settings: { leaseMs: 30_000, requestTimeoutMs: 10_000, lateMs: 22_000 },
      meter: { count() {} },
      log: { error() {}, warn() {}, info() {} },
      owner: 'me',
    } as unknown as Parameters<typeof recoverSagas>[3];
    return { round: await recoverSagas(journal, voice, [AGENT_SAGA], ports), requests, calls };
  }

  test('is committed as ambiguous, because requests of its last owner may still be applied', async () => {
    const { round, requests, calls } = await recover(1_000);
    expect(round).toEqual({ taken: 1, finished: 1 });
    expect(requests).toEqual(['assistant']);
    expect(calls).toMatchObject([{ name: 'commit', request: { ambiguous: true } }]);
  });

  test('is written only while the lease lasts, counted from before the takeover', async () => {
    const leaseMs = recoveryLeaseMs({
      ...{ leaseMs: 30_000, requestTimeoutMs: 10_000, lateMs: 0, deadlineMs: 0, answerMs: 0 },
    });
    expect((await recover(leaseMs - 11_001)).requests).toHaveLength(1);
    const { round, requests, calls } = await recover(leaseMs - 11_000);
    expect({ round, requests }).toEqual({ round: { taken: 1, finished: 0 }, requests: [] });
    expect(calls.map(({ name }) => name)).toEqual(['hold']);
  });
});

test('looks at the other saves of the round if the database does not answer one takeover', async () => {
  const looked: string[] = [];
  const journal = {
    due: async () => ['away', 'other'].map((sagaId) => ({ orgId: sagaId, sagaId })),
    takeover: async (_orgId: string, saveId: string) => {
      looked.push(saveId);
      if (saveId === 'away') throw new DatabaseError('AWAY', true);
      await new Promise(setImmediate);
      return { outcome: 'NOT_DUE' };
    },
  } as unknown as SaveJournal;
  const ports = {
    clock: { now: () => 0, monotonic: () => 0, sleep: () => new Promise(() => {}) },
    settings: { leaseMs: 30_000, requestTimeoutMs: 10_000 },
    meter: { count() {} },
    log: { error() {}, warn() {}, info() {} },
  } as unknown as Parameters<typeof recoverSagas>[3];
  expect(await recoverSagas(journal, {} as Assistants, [AGENT_SAGA], ports)).toEqual({
    taken: 0,
    finished: 0,
  });
  expect(looked).toEqual(['away', 'other']);
});

import { expect, test } from 'vitest';
import type { SagaFailure, SagaRecord, SagaStatus } from '../../domain/saga.ts';
import { Secret } from '../../domain/secret.ts';
import type { BeginSaga } from '../../ports/saga-journal.ts';
import type { Log } from '../../ports/system.ts';
import { executeSaga, outcomeOf, type SagaExecutorPorts } from './execute.ts';
import type { SagaDefinition } from './participant.ts';
import type { RunJournal } from './run.ts';

const failure: SagaFailure = { reason: 'VAPI_REJECTED', message: 'No.', retryable: false };

test.each<[SagaStatus, SagaFailure | null, object]>([
  ['COMMITTED', null, { kind: 'committed', rows: ['row'] }],
  ['ROLLED_BACK', failure, { kind: 'failed', failure }],
  ['ROLLED_BACK', null, { kind: 'failed', failure: { reason: 'VAPI_UNAVAILABLE', retryable: true } }],
  ['APPLYING', null, { kind: 'pending', retryAfterMs: 1_000 }],
  ['ROLLING_BACK', failure, { kind: 'pending', retryAfterMs: 1_000 }],
  ['NEEDS_ATTENTION', failure, { kind: 'pending', retryAfterMs: null }],
])('the record of a saga as an outcome: %s, %j', (status, why, outcome) => {
  const saga: SagaRecord = {
    ...{ id: 's', status, epoch: 1, kind: 'probe', cause: 'USER', ambiguous: false, mappingVersion: 1 },
    ...{ results: [], failure: why, startedAt: '2026-01-01T00:00:00Z', finishedAt: null },
  };
  expect(outcomeOf(saga, ['row'])).toMatchObject({ ...outcome, saga });
});

test('begins a saga with what its start says, and answers why it did not begin', async () => {
  const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const ports = {
    openJournal: () => ({}) as RunJournal<never>,
    openVoiceProvider: () => ({}),
    clock: { now: () => 0, monotonic: () => 0, sleep: () => new Promise<void>(() => {}) },
    ids: { uuid: () => 'saga' },
    random: { next: () => 0.5 },
    log,
    meter: { count() {} },
    settings: { leaseMs: 1, deadlineMs: 2, answerMs: 3, lateMs: 4, requestTimeoutMs: 5 },
    owner: 'me',
    track() {},
  } satisfies SagaExecutorPorts<null, RunJournal<never>, object>;
  const begins: [sagaId: string, owner: string, BeginSaga][] = [];
  const outcome = await executeSaga(
    null,
    {
      ...{ orgId: 'org', definition: { name: 'probe' } as SagaDefinition<object>, requests: 1 },
      ...{ mappingVersion: 7, idempotencyKey: 'key', request: { a: 1 }, cause: 'REVERT', actor: null },
      begin: async (_journal, ...begin) => {
        begins.push(begin);
        return { outcome: 'NO_NUMBER', id: 'n' };
      },
    },
    new Secret('canary-key'),
    ports,
  );
  expect(outcome).toEqual({ kind: 'refused', refusal: { outcome: 'NO_NUMBER', id: 'n' } });
  expect(begins).toEqual([
    [
      'saga',
      'me',
      {
        ...{ idempotencyKey: 'key', requestHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string },
        ...{ cause: 'REVERT', actor: null, limit: undefined, notAfter: undefined },
        ...{ leaseMs: 1, deadlineMs: 2, mappingVersion: 7 },
      },
    ],
  ]);
});

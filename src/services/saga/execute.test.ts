import { expect, test } from 'vitest';
import type { SagaFailure, SagaRecord, SagaStatus } from '../../domain/saga.ts';
import { outcomeOf } from './execute.ts';

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

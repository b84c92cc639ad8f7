import { describe, expect, test } from 'vitest';
import { defaultConfig } from '../../domain/agent-config.ts';
import type { AgentRecord, SaveRecord, SaveStatus } from '../../domain/save.ts';
import * as errors from '../errors.ts';
import { answerOf } from './answer.ts';
import { outcomeOf, type SaveOutcome } from './execute.ts';

function record(status: SaveStatus, failure: SaveRecord['failure'] = null): SaveRecord {
  return {
    ...{ id: 's', status, epoch: 1, kind: 'USER', ambiguous: false, mappingVersion: 1, results: [], failure },
    ...{ startedAt: '2026-01-01T00:00:00Z', finishedAt: null },
  };
}

const agent: AgentRecord = {
  ...{ id: 'a', role: 'INBOUND', assistantId: 'x', revision: 1, missing: false, drift: [], adoptable: null },
  ...{ lastSyncedAt: null, checkedAt: null, config: { ...defaultConfig('INBOUND'), systemPrompt: 'p' } },
};
const failure = { reason: 'VAPI_REJECTED', message: 'Vapi refused it: name', retryable: false } as const;

function thrown(outcome: SaveOutcome): unknown {
  try {
    answerOf(outcome);
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

/** Every outcome but `committed`, and the error that its caller gets, with all that it tells. */
const refusals: [SaveOutcome, abstract new (...args: never[]) => Error, object][] = [
  [
    { kind: 'failed', save: record('ROLLED_BACK'), failure },
    errors.SaveFailedError,
    { message: failure.message, reason: failure.reason, retryable: false, save: record('ROLLED_BACK') },
  ],
  [
    { kind: 'pending', save: record('APPLYING'), retryAfterMs: 7 },
    errors.SavePendingError,
    { save: record('APPLYING'), retryAfterMs: 7 },
  ],
  [{ kind: 'revision_conflict', agents: [agent] }, errors.RevisionConflictError, { agents: [agent] }],
  [
    { kind: 'in_progress', saveId: 's', status: 'APPLYING', retryAfterMs: 7 },
    errors.SaveInProgressError,
    {
      saveId: 's',
      status: 'APPLYING',
      retryAfterMs: 7,
      message: expect.stringContaining('try again') as string,
    },
  ],
  [
    { kind: 'in_progress', saveId: 's', status: 'NEEDS_ATTENTION', retryAfterMs: null },
    errors.SaveInProgressError,
    { retryAfterMs: null, message: expect.stringContaining('a person') as string },
  ],
  [{ kind: 'idempotency_conflict', saveId: 's' }, errors.IdempotencyConflictError, { saveId: 's' }],
  [
    {
      kind: 'incomplete',
      missing: [
        { role: 'INBOUND', field: 'systemPrompt' },
        { role: 'OUTBOUND', field: 'systemPrompt' },
      ],
    },
    errors.ValidationError,
    {
      issues: [
        { path: 'input.inbound.systemPrompt', message: 'the first save of an agent needs systemPrompt' },
        { path: 'input.outbound.systemPrompt', message: 'the first save of an agent needs systemPrompt' },
      ],
      message: '2 values are wrong; nothing was sent or written.',
    },
  ],
  [
    { kind: 'no_agent', role: 'OUTBOUND' },
    errors.ValidationError,
    { issues: [{ path: 'input.outbound', message: 'there is no such agent in your organization' }] },
  ],
  [{ kind: 'no_organization' }, errors.NoOrganizationError, {}],
  [{ kind: 'rate_limited', retryAfterMs: 7 }, errors.RateLimitedError, { retryAfterMs: 7 }],
  [{ kind: 'unavailable', retryAfterMs: null }, errors.UnavailableError, { retryAfterMs: null }],
  [{ kind: 'not_configured' }, errors.VoiceProviderNotConfiguredError, {}],
];

describe('answerOf', () => {
  test('what was committed', () => {
    const save = record('COMMITTED');
    expect(answerOf({ kind: 'committed', save, agents: [agent] })).toEqual({ save, agents: [agent] });
  });

  test.each(refusals)('%o', (outcome, Expected, told) => {
    const error = thrown(outcome);
    expect(error).toBeInstanceOf(Expected);
    expect(error).toBeInstanceOf(errors.DomainError);
    expect(error).toMatchObject(told);
    expect((error as Error).message).not.toBe('');
  });
});

describe('outcomeOf: a save as an answer', () => {
  test.each<[SaveStatus, SaveRecord['failure'], object]>([
    ['COMMITTED', null, { kind: 'committed', agents: [agent] }],
    ['ROLLED_BACK', failure, { kind: 'failed', failure }],
    ['ROLLED_BACK', null, { kind: 'failed', failure: { reason: 'VAPI_UNAVAILABLE', retryable: true } }],
    ['APPLYING', null, { kind: 'pending', retryAfterMs: 1_000 }],
    ['ROLLING_BACK', failure, { kind: 'pending', retryAfterMs: 1_000 }],
    ['NEEDS_ATTENTION', failure, { kind: 'pending', retryAfterMs: null }],
  ])('%s, %j', (status, why, outcome) => {
    const save = record(status, why);
    expect(outcomeOf(save, [agent])).toMatchObject({ ...outcome, save });
  });
});

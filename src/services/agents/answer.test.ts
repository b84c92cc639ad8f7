import { describe, expect, test } from 'vitest';
import { defaultConfig } from '../../domain/agents/agent-config.ts';
import type { AgentRecord, SaveRecord, SaveStatus } from '../../domain/agents/save.ts';
import * as errors from '../errors.ts';
import { answerOf } from './answer.ts';
import type { SaveOutcome } from './execute.ts';

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
      message: expect.stringContaining('save again after') as string,
    },
  ],
  [
    { kind: 'in_progress', saveId: 's', status: 'NEEDS_ATTENTION', retryAfterMs: null },
    errors.SaveInProgressError,
    { retryAfterMs: null, message: expect.stringContaining('an operator must settle') as string },
  ],
  [
    { kind: 'in_progress', saveId: 's', status: 'COMMITTED', retryAfterMs: 7 },
    errors.SaveInProgressError,
    { retryAfterMs: 7, message: expect.stringContaining('has ended') as string },
  ],
  [
    { kind: 'pending', save: record('NEEDS_ATTENTION'), retryAfterMs: null },
    errors.SavePendingError,
    { retryAfterMs: null, message: expect.stringContaining('an operator must settle') as string },
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
      message:
        '2 values are wrong; nothing was sent or written. Correct input.inbound.systemPrompt, input.outbound.systemPrompt.',
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
    const told = { save, revisions: [agent], replay: false };
    expect(answerOf({ kind: 'committed', save, agents: [agent] })).toEqual(told);
    expect(answerOf({ kind: 'committed', save, agents: [agent], replay: true })).toEqual({
      ...told,
      replay: true,
    });
  });

  test.each(refusals)('%o', (outcome, Expected, told) => {
    const error = thrown(outcome);
    expect(error).toBeInstanceOf(Expected);
    expect(error).toBeInstanceOf(errors.DomainError);
    expect(error).toMatchObject(told);
    expect((error as Error).message).not.toBe('');
  });
});

describe('a refusal by Vapi that names fields', () => {
  const refusedFor = (role: 'INBOUND' | 'OUTBOUND', error: string | null) => {
    const result = { role, agentId: 'a', success: false, vapiSynced: false, dbUpdated: false };
    const save: SaveRecord = {
      ...record('ROLLED_BACK'),
      results: [{ ...result, assistantId: null, error, revision: null }],
    };
    return (thrown({ kind: 'failed', save, failure }) as errors.SaveFailedError).issues;
  };

  test.each([
    ['model.messages[0].content must be shorter', 'systemPrompt'],
    ['model.messages.0.content must be shorter', 'systemPrompt'],
    ['model.model must be one of', 'model.name'],
    ['model.temperature must not be greater than 2', 'model.temperature'],
    ['voice.voiceId must be a string', 'voice.voiceId'],
    ['voice must be an object', 'voice'],
    ['transcriber.language must be one of', 'language'],
    ['name must be shorter than or equal to 40 characters', 'name'],
  ])('names the input field for %j', (message, field) => {
    expect(refusedFor('OUTBOUND', `Vapi refused it: ${message}`)).toEqual([
      { path: `input.outbound.${field}`, message },
    ]);
  });

  test('lists every field, and leaves out messages that name no input field', () => {
    const issues = refusedFor(
      'INBOUND',
      'Vapi refused it: name is wrong; property x is wrong; voice is wrong',
    );
    expect(issues.map((issue) => issue.path)).toEqual(['input.inbound.name', 'input.inbound.voice']);
    expect(refusedFor('INBOUND', 'Vapi refused our key.')).toEqual([]);
    expect(refusedFor('INBOUND', null)).toEqual([]);
  });
});

test('a conflict with expectedRevision 0 says that the agent exists, and at which revision', () => {
  const conflict: SaveOutcome = { kind: 'revision_conflict', agents: [agent] };
  expect(() => answerOf(conflict, [{ role: 'INBOUND', expectedRevision: 0 }])).toThrow(
    'The INBOUND agent already exists, at revision 1.',
  );
  expect(() => answerOf(conflict, [{ role: 'INBOUND', expectedRevision: 4 }])).toThrow(
    'saved in the meantime',
  );
});

test('an error that does not begin as a refusal by Vapi names no field, whatever it says', () => {
  const error = 'Not refused now: name must be shorter';
  const results = [
    {
      ...{ role: 'INBOUND' as const, agentId: 'a', success: false, vapiSynced: false, dbUpdated: false },
      ...{ assistantId: null, error, revision: null },
    },
  ];
  const told = thrown({ kind: 'failed', save: { ...record('ROLLED_BACK'), results }, failure });
  expect(told).toMatchObject({ issues: [] });
});

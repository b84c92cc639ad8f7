import { describe, expect, test } from 'vitest';
import type { SaveRecord, SaveStatus } from '../domain/agents/save.ts';
import * as errors from './errors.ts';

const STATUSES: SaveStatus[] = ['APPLYING', 'COMMITTED', 'ROLLING_BACK', 'ROLLED_BACK', 'NEEDS_ATTENTION'];
const isClosed = (status: SaveStatus) => status === 'COMMITTED' || status === 'ROLLED_BACK';

function record(status: SaveStatus): SaveRecord {
  return {
    ...{ id: 's', status, epoch: 1, kind: 'USER', ambiguous: false, mappingVersion: 1, results: [] },
    ...{ failure: null, startedAt: '2026-01-01T00:00:00Z', finishedAt: null },
  };
}

describe('a message agrees with its status', () => {
  const OPEN_WORDS = /in progress|still open|not over|continues|being undone/;

  test.each(STATUSES)('SaveInProgressError beside %s', (status) => {
    const { message } = new errors.SaveInProgressError('s', status, 7);
    if (status === 'NEEDS_ATTENTION') expect(message).toMatch(/operator must settle/);
    else expect(OPEN_WORDS.test(message)).toBe(!isClosed(status));
    if (status === 'ROLLING_BACK') expect(message).toMatch(/being undone/);
    expect(message).toMatch(/Nothing was changed/);
  });

  test.each(STATUSES)('SavePendingError beside %s', (status) => {
    const { message } = new errors.SavePendingError(record(status), 7);
    if (status === 'NEEDS_ATTENTION') expect(message).toMatch(/operator must settle/);
    else expect(OPEN_WORDS.test(message)).toBe(!isClosed(status));
    if (status === 'ROLLING_BACK') expect(message).toMatch(/being undone/);
  });
});

describe('a message names the field and the fix', () => {
  const issue = (path: string) => ({ path, message: 'must not be empty' });
  const all: [errors.DomainError, field: string, fix: RegExp][] = [
    [new errors.ValidationError([issue('input.inbound.name')]), 'input.inbound.name', /Correct/],
    [
      new errors.ValidationError([issue('input.inbound.name'), issue('input.outbound.voice')]),
      'input.outbound.voice',
      /Correct/,
    ],
    [new errors.RevisionConflictError([]), '`expectedRevision`', /save again/],
    ...STATUSES.map((status): [errors.DomainError, string, RegExp] =>
      status === 'NEEDS_ATTENTION'
        ? [new errors.SaveInProgressError('s', status, null), '`saveId`', /operator must settle/]
        : [new errors.SaveInProgressError('s', status, 7), '`retryAfterMs`', /save again/],
    ),
    ...STATUSES.map((status): [errors.DomainError, string, RegExp] => [
      new errors.SavePendingError(record(status), 7),
      '`agentSave`',
      /Query/,
    ]),
    [new errors.IdempotencyConflictError('s'), '`idempotencyKey`', /use a new key/],
    [new errors.RateLimitedError(7), '`retryAfterMs`', /Save again/],
    [new errors.UnavailableError(7), '`retryAfterMs`', /Try again/],
    [new errors.VoiceProviderNotConfiguredError(), 'VAPI_PRIVATE_KEY', /must set/],
    [new errors.NoOrganizationError(), '`app_metadata.org_id`', /must create/],
  ];

  test.each(all)('%s', ({ message }, field, fix) => {
    expect(message).toContain(field);
    expect(message).toMatch(fix);
  });

  test('a message about many values names the first paths and refers to the others', () => {
    const paths = Array.from({ length: 8 }, (_, index) => `input.inbound.field${index}`);
    const { message } = new errors.ValidationError(paths.map(issue));
    expect(message).toMatch(/^8 values are wrong/);
    expect(message).toContain('field4 and the other paths of `issues`');
  });
});

import type { AgentRole } from '../domain/agents/agent-config.ts';
import type { AgentRecord, SaveFailure, SaveRecord, SaveStatus } from '../domain/agents/save.ts';
import type { ValidationIssue } from '../domain/input.ts';

import type { OperationRecord, SagaFailure, SagaStatus } from '../domain/saga.ts';

/**
 * Expected failures: part of the interface, each a class of its own, with a message that is safe to show to the caller.
 * Anything else that is thrown is a defect, and is masked at the edge.
 */
export abstract class DomainError extends Error {}

/** `issues` has all of them. */
const NAMED_PATHS = 5;

export class ValidationError extends DomainError {
  readonly issues: ValidationIssue[];
  constructor(issues: ValidationIssue[]) {
    const [first] = issues;
    const paths = issues.slice(0, NAMED_PATHS).map(({ path }) => path);
    super(
      issues.length === 1 && first !== undefined
        ? `One value is wrong; nothing was sent or written. Correct ${first.path}: ${first.message}.`
        : `${issues.length} values are wrong; nothing was sent or written. Correct ${paths.join(', ')}` +
            `${issues.length > paths.length ? ' and the other paths of `issues`' : ''}.`,
    );
    this.issues = issues;
  }
}

export class RevisionConflictError extends DomainError {
  readonly agents: AgentRecord[];
  /** `mustNotExist`: the roles that the caller expected at revision 0. */
  constructor(agents: AgentRecord[], mustNotExist: readonly AgentRole[] = []) {
    const existing = agents.filter((agent) => mustNotExist.includes(agent.role));
    super(
      existing.length > 0
        ? `${existing.map(({ role, revision }) => `The ${role} agent already exists, at revision ${revision}.`).join(' ')} ` +
            'Nothing was changed. Save again with that `expectedRevision`, or without one.'
        : 'An agent is not at its `expectedRevision`: it was saved in the meantime. Nothing was changed. ' +
            'Look at `agents`, which are the current ones, and save again with their `revision`.',
    );
    this.agents = agents;
  }
}

/** What hinders this save is an earlier one, and `status` is that one's. */
function inProgress(status: SaveStatus): string {
  switch (status) {
    case 'NEEDS_ATTENTION':
      return (
        'An earlier save of this organization (`saveId`) cannot end by itself: an operator must settle it. ' +
        'Nothing was changed, and nothing can be saved until then.'
      );
    case 'COMMITTED':
    case 'ROLLED_BACK':
      return (
        'The last save of this organization has ended, but one of its requests may still reach Vapi. ' +
        'Nothing was changed; save again after `retryAfterMs`.'
      );
    case 'ROLLING_BACK':
      return 'Another save of this organization is being undone. Nothing was changed; save again after `retryAfterMs`.';
    case 'APPLYING':
      return 'Another save of this organization is in progress. Nothing was changed; save again after `retryAfterMs`.';
  }
}

export class SaveInProgressError extends DomainError {
  readonly saveId: string;
  readonly status: SaveStatus;
  readonly retryAfterMs: number | null;
  constructor(saveId: string, status: SaveStatus, retryAfterMs: number | null) {
    super(inProgress(status));
    this.saveId = saveId;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

export class IdempotencyConflictError extends DomainError {
  readonly saveId: string;
  constructor(saveId: string) {
    super(
      '`idempotencyKey` belongs to a save with other input (`saveId`). Nothing was changed; use a new key for a new change.',
    );
    this.saveId = saveId;
  }
}

export class SaveFailedError extends DomainError {
  readonly save: SaveRecord;
  readonly reason: SaveFailure['reason'];
  readonly retryable: boolean;
  /** What Vapi refused, by the path of the input field. Empty where Vapi names no field that the caller can set. */
  readonly issues: ValidationIssue[];
  constructor(save: SaveRecord, failure: SaveFailure, issues: ValidationIssue[] = []) {
    super(failure.message);
    this.save = save;
    this.reason = failure.reason;
    this.retryable = failure.retryable;
    this.issues = issues;
  }
}

function pending(status: SaveStatus): string {
  const ask = 'Query `agentSave` with the id of `save` to learn how it ends.';
  switch (status) {
    case 'NEEDS_ATTENTION':
      return (
        'Vapi refuses to restore the previous configuration, so an operator must settle this save. ' +
        'Until then this organization cannot save. Query `agentSave` with the id of `save`.'
      );
    case 'ROLLING_BACK':
      return `The save is being undone, and that continues in the background. ${ask}`;
    case 'APPLYING':
      return `The save continues in the background, and may still end either way. ${ask}`;
    case 'COMMITTED':
    case 'ROLLED_BACK':
      return 'The save has ended. Query `agentSave` with the id of `save` to learn how.';
  }
}

export class SavePendingError extends DomainError {
  readonly save: SaveRecord;
  readonly retryAfterMs: number | null;
  constructor(save: SaveRecord, retryAfterMs: number | null) {
    super(pending(save.status));
    this.save = save;
    this.retryAfterMs = retryAfterMs;
  }
}

/** What hinders this operation is an earlier one, and `status` is that one's. */
function inTheWay(status: SagaStatus): string {
  switch (status) {
    case 'NEEDS_ATTENTION':
      return (
        'An earlier operation on the same resource (`operationId`) cannot end by itself: an operator must settle it. ' +
        'Nothing was changed, and the resource cannot be changed until then.'
      );
    case 'COMMITTED':
    case 'ROLLED_BACK':
      return (
        'The last operation on the same resource has ended, but one of its requests may still reach Vapi. ' +
        'Nothing was changed; try again after `retryAfterMs`.'
      );
    case 'ROLLING_BACK':
      return 'Another operation on the same resource is being undone. Nothing was changed; try again after `retryAfterMs`.';
    case 'APPLYING':
      return 'Another operation on the same resource is in progress. Nothing was changed; try again after `retryAfterMs`.';
  }
}

export class OperationInProgressError extends DomainError {
  readonly operationId: string;
  readonly retryAfterMs: number | null;
  constructor(operationId: string, status: SagaStatus, retryAfterMs: number | null) {
    super(inTheWay(status));
    this.operationId = operationId;
    this.retryAfterMs = retryAfterMs;
  }
}

export class OperationFailedError extends DomainError {
  readonly operation: OperationRecord;
  readonly retryable: boolean;
  constructor(operation: OperationRecord, failure: Pick<SagaFailure, 'message' | 'retryable'>) {
    super(failure.message);
    this.operation = operation;
    this.retryable = failure.retryable;
  }
}

export class OperationPendingError extends DomainError {
  readonly operation: OperationRecord;
  readonly retryAfterMs: number | null;
  constructor(operation: OperationRecord, retryAfterMs: number | null) {
    const ask = 'Query `operation` with the id of `operation` to learn how it ends.';
    super(
      operation.status === 'NEEDS_ATTENTION'
        ? 'The operation cannot end by itself, so an operator must settle it. Query `operation` with the id of `operation`.'
        : `The operation continues in the background, and may still end either way. ${ask}`,
    );
    this.operation = operation;
    this.retryAfterMs = retryAfterMs;
  }
}

export class AllowanceExceededError extends DomainError {
  readonly allowance: number;
  readonly used: number;
  /** `what`: in the plural, such as "phone numbers". */
  constructor(what: string, allowance: number, used: number) {
    super(
      `Your organization may have ${allowance} ${what} and has ${used}. Nothing was changed. ` +
        'Remove one, or ask the operator for a larger allowance.',
    );
    this.allowance = allowance;
    this.used = used;
  }
}

export class RateLimitedError extends DomainError {
  readonly retryAfterMs: number | null;
  constructor(retryAfterMs: number | null) {
    super('Too many saves at the moment; nothing was touched. Save again after `retryAfterMs`.');
    this.retryAfterMs = retryAfterMs;
  }
}

export class UnavailableError extends DomainError {
  readonly retryAfterMs: number | null;
  constructor(
    retryAfterMs: number | null,
    message = 'The database cannot be used at the moment; nothing began. Try again after `retryAfterMs`.',
  ) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

export class VoiceProviderNotConfiguredError extends DomainError {
  constructor() {
    super(
      'This server has no key for the voice provider, so nothing can be saved. An operator must set VAPI_PRIVATE_KEY.',
    );
  }
}

/** The caller's organization does not exist, or is not theirs. */
export class NoOrganizationError extends DomainError {
  constructor() {
    super(
      'Your organization does not exist here. An operator must create the one that `app_metadata.org_id` of your token names.',
    );
  }
}

export class AreaCodeUnavailableError extends DomainError {
  /** What Vapi suggests instead. */
  readonly suggestions: string[];
  constructor(suggestions: string[]) {
    super(
      `Vapi has no number with this area code at the moment. Nothing was bought. ${
        suggestions.length === 0 ? 'Try another area code' : `Try one of ${suggestions.join(', ')}`
      }, with a new idempotency key.`,
    );
    this.suggestions = suggestions;
  }
}

export class NumberTakenError extends DomainError {
  constructor() {
    super(
      'This phone number is in use at Vapi already, here or in another Vapi account. Nothing was imported. ' +
        'Remove it there first, and import it with a new idempotency key.',
    );
  }
}

/** A time at which an appointment can begin, and when it then ends. ISO-8601. */
export interface SlotTimes {
  startsAt: string;
  endsAt: string;
}

export class SlotUnavailableError extends DomainError {
  readonly alternatives: SlotTimes[];
  /** `reason`: a main clause without a full stop. */
  constructor(reason: string, alternatives: SlotTimes[]) {
    super(
      `${reason}. Nothing was changed. ${
        alternatives.length > 0 ? 'Choose one of `alternatives`.' : 'No time near it is free either.'
      }`,
    );
    this.alternatives = alternatives;
  }
}

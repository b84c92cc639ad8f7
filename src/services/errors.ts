import type { ValidationIssue } from '../domain/agent-config.ts';
import type { AgentRecord, SaveFailure, SaveRecord, SaveStatus } from '../domain/save.ts';

/**
 * Expected failures: part of the interface, each a class of its own, with a message that is safe to show to the caller.
 * Anything else that is thrown is a defect, and is masked at the edge.
 */
export abstract class DomainError extends Error {}

export class ValidationError extends DomainError {
  readonly issues: ValidationIssue[];
  constructor(issues: ValidationIssue[]) {
    super(
      issues.length === 1
        ? 'One value is wrong; nothing was sent or written.'
        : `${issues.length} values are wrong; nothing was sent or written.`,
    );
    this.issues = issues;
  }
}

export class RevisionConflictError extends DomainError {
  readonly agents: AgentRecord[];
  constructor(agents: AgentRecord[]) {
    super(
      'An agent is not at the expected revision: someone else saved it. Look at the current agents and save again.',
    );
    this.agents = agents;
  }
}

export class SaveInProgressError extends DomainError {
  readonly saveId: string;
  readonly status: SaveStatus;
  readonly retryAfterMs: number | null;
  constructor(saveId: string, status: SaveStatus, retryAfterMs: number | null) {
    super(
      status === 'NEEDS_ATTENTION'
        ? 'An earlier save of this organization needs a person to settle it; until then nothing can be saved.'
        : 'Another save of this organization is not over yet; try again shortly.',
    );
    this.saveId = saveId;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

export class IdempotencyConflictError extends DomainError {
  readonly saveId: string;
  constructor(saveId: string) {
    super('This idempotency key belongs to a save with other input; use a new key for a new change.');
    this.saveId = saveId;
  }
}

export class SaveFailedError extends DomainError {
  readonly save: SaveRecord;
  readonly reason: SaveFailure['reason'];
  readonly retryable: boolean;
  constructor(save: SaveRecord, failure: SaveFailure) {
    super(failure.message);
    this.save = save;
    this.reason = failure.reason;
    this.retryable = failure.retryable;
  }
}

export class SavePendingError extends DomainError {
  readonly save: SaveRecord;
  readonly retryAfterMs: number | null;
  constructor(save: SaveRecord, retryAfterMs: number | null) {
    super('The save is not decided yet and is being settled in the background; ask for it by its id.');
    this.save = save;
    this.retryAfterMs = retryAfterMs;
  }
}

export class RateLimitedError extends DomainError {
  readonly retryAfterMs: number | null;
  constructor(retryAfterMs: number | null) {
    super('Too many saves at the moment; nothing was touched. Try again later.');
    this.retryAfterMs = retryAfterMs;
  }
}

export class UnavailableError extends DomainError {
  readonly retryAfterMs: number | null;
  constructor(
    retryAfterMs: number | null,
    message = 'The database cannot be reached; nothing began. Try again later.',
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
    super('Your organization does not exist here.');
  }
}

import type { AgentRole, ValidationIssue } from '../domain/agents/agent-config.ts';
import type { AgentRecord, SaveFailure, SaveRecord, SaveStatus } from '../domain/agents/save.ts';

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
  /** `mustNotExist`: the roles that the caller expected at revision 0. */
  constructor(agents: AgentRecord[], mustNotExist: readonly AgentRole[] = []) {
    const existing = agents.filter((agent) => mustNotExist.includes(agent.role));
    super(
      existing.length > 0
        ? `${existing.map(({ role, revision }) => `The ${role} agent already exists, at revision ${revision}.`).join(' ')} ` +
            'Nothing was changed. Save again with that expectedRevision, or without one.'
        : 'An agent is not at the expected revision: it was saved in the meantime. Nothing was changed. ' +
            'Look at the current agents and save again.',
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
        : status === 'COMMITTED' || status === 'ROLLED_BACK'
          ? 'The last save of this organization has ended, but one of its requests may still reach Vapi. ' +
            'Nothing was changed; try again after retryAfterMs.'
          : 'Another save of this organization is still open. Nothing was changed; try again after retryAfterMs.',
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

export class SavePendingError extends DomainError {
  readonly save: SaveRecord;
  readonly retryAfterMs: number | null;
  constructor(save: SaveRecord, retryAfterMs: number | null) {
    super(
      save.status === 'NEEDS_ATTENTION'
        ? 'Vapi refuses to restore the previous configuration, so an operator must settle this save. ' +
            'Until then this organization cannot save. Ask for the save by its id.'
        : 'The save is still in progress and continues in the background; ask for it by its id.',
    );
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

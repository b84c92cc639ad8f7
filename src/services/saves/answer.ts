import type { AgentRole } from '../../domain/agent-config.ts';
import type { AgentRecord, SaveRecord } from '../../domain/save.ts';
import {
  IdempotencyConflictError,
  NoOrganizationError,
  RateLimitedError,
  RevisionConflictError,
  SaveFailedError,
  SaveInProgressError,
  SavePendingError,
  UnavailableError,
  ValidationError,
  VoiceProviderNotConfiguredError,
} from '../errors.ts';
import type { SaveOutcome } from './execute.ts';

/** What a caller is told of a save that was made. */
export interface SaveAnswer {
  save: SaveRecord;
  agents: AgentRecord[];
}

/** From the executor's outcome to the caller's answer. Throws the `DomainError` that the outcome stands for. */
export function answerOf(outcome: SaveOutcome): SaveAnswer {
  switch (outcome.kind) {
    case 'committed':
      return { save: outcome.save, agents: outcome.agents };
    case 'failed':
      throw new SaveFailedError(outcome.save, outcome.failure);
    case 'pending':
      throw new SavePendingError(outcome.save, outcome.retryAfterMs);
    case 'revision_conflict':
      throw new RevisionConflictError(outcome.agents);
    case 'in_progress':
      throw new SaveInProgressError(outcome.saveId, outcome.status, outcome.retryAfterMs);
    case 'idempotency_conflict':
      throw new IdempotencyConflictError(outcome.saveId);
    case 'incomplete':
      throw new ValidationError(
        outcome.missing.map(({ role, field }) => ({
          path: `input.${inputFieldOf(role)}.${field}`,
          message: `the first save of an agent needs ${field}`,
        })),
      );
    case 'no_agent':
      throw new ValidationError([
        {
          path: `input.${inputFieldOf(outcome.role)}`,
          message: 'there is no such agent in your organization',
        },
      ]);
    case 'no_organization':
      throw new NoOrganizationError();
    case 'rate_limited':
      throw new RateLimitedError(outcome.retryAfterMs);
    case 'unavailable':
      throw new UnavailableError(outcome.retryAfterMs);
    case 'not_configured':
      throw new VoiceProviderNotConfiguredError();
  }
}

function inputFieldOf(role: AgentRole): 'inbound' | 'outbound' {
  return role === 'INBOUND' ? 'inbound' : 'outbound';
}

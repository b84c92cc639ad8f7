import type { SagaRecord } from '../../domain/saga.ts';
import {
  IdempotencyConflictError,
  NoOrganizationError,
  OperationFailedError,
  OperationInProgressError,
  OperationPendingError,
  RateLimitedError,
  UnavailableError,
  VoiceProviderNotConfiguredError,
} from '../errors.ts';
import type { SagaOutcome } from './execute.ts';

/** What a caller learns of a saga that was committed. */
export interface OperationAnswer<Row> {
  operation: SagaRecord;
  /** As the saga left them. */
  rows: Row[];
  /** An earlier request made the saga: the rows may have changed since. */
  replay: boolean;
}

/**
 * From the outcome of a saga to the caller's answer. Throws the `DomainError` that the outcome stands for; `refused` returns the
 * error of a refusal that only this kind of saga has.
 */
export function operationAnswer<Row, Refusal>(
  outcome: SagaOutcome<Row, Refusal>,
  refused: (refusal: Refusal) => Error,
): OperationAnswer<Row> {
  switch (outcome.kind) {
    case 'committed':
      return { operation: outcome.saga, rows: outcome.rows, replay: outcome.replay === true };
    case 'failed':
      throw new OperationFailedError(outcome.saga, outcome.failure);
    case 'pending':
      throw new OperationPendingError(outcome.saga, outcome.retryAfterMs);
    case 'in_progress':
      throw new OperationInProgressError(outcome.sagaId, outcome.status, outcome.retryAfterMs);
    case 'idempotency_conflict':
      throw new IdempotencyConflictError(outcome.sagaId);
    case 'refused':
      throw refused(outcome.refusal);
    default:
      throw notBegun(outcome);
  }
}

/** Why a saga of any kind did not begin. Returns the `DomainError` that the outcome stands for. */
export function notBegun(
  outcome: Extract<
    SagaOutcome<never, never>,
    { kind: 'no_organization' | 'rate_limited' | 'unavailable' | 'not_configured' }
  >,
): Error {
  switch (outcome.kind) {
    case 'no_organization':
      return new NoOrganizationError();
    case 'rate_limited':
      return new RateLimitedError(outcome.retryAfterMs);
    case 'unavailable':
      return new UnavailableError(outcome.retryAfterMs);
    case 'not_configured':
      return new VoiceProviderNotConfiguredError();
  }
}

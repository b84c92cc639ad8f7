import type { JsonObject } from './json.ts';

/**
 * A saga is what one mutation wants to be true in both systems. It consists of parts, each of which is one remote resource.
 * These are the words of every saga, whatever its parts are.
 */

export type SagaStatus = 'APPLYING' | 'COMMITTED' | 'ROLLING_BACK' | 'ROLLED_BACK' | 'NEEDS_ATTENTION';

/** What a part does to its remote resource. */
export type PartAction = 'create' | 'replace' | 'remove';

export const SAGA_FAILURE_REASONS = [
  'VAPI_REJECTED',
  'VAPI_ANSWER_DIFFERED',
  'VAPI_UNAVAILABLE',
  'VAPI_RATE_LIMITED',
  'VAPI_UNAUTHORIZED',
  'RESOURCE_MISSING',
  'OUTCOME_UNKNOWN',
] as const;
export type SagaFailureReason = (typeof SAGA_FAILURE_REASONS)[number];

export interface SagaFailure {
  reason: SagaFailureReason;
  message: string;
  retryable: boolean;
}

/** What a saga came to for one part. `null` means not known yet. */
export interface PartResult {
  /** Names the part within its saga. */
  key: string;
  /** Our id of the resource. */
  resourceId: string;
  success: boolean;
  /** Is this saga's content in Vapi now? */
  vapiSynced: boolean | null;
  /** Is this saga's content in the database now? */
  dbUpdated: boolean | null;
  /** Vapi's id of the resource. */
  remoteId: string | null;
  error: string | null;
  /** The revision that the saga made or confirmed; null unless it committed. */
  revision: number | null;
}

/**
 * What an owner that gives a saga up records of one part: all that any owner may have sent for it until then. The next owner relies on
 * it. An owner that died recorded nothing, and the absence of a record proves nothing.
 */
export interface PartRecord {
  action: PartAction;
  /** The one that was to be replaced was gone. */
  gone: boolean;
  remoteId: string | null;
  /** Vapi answered that it has the new content. */
  applied: boolean;
  /** How the part was undone; null: it was not. */
  undone: 'done' | 'missing' | null;
  /** Some request may have changed the resource. */
  touched: boolean;
  /** Some request may still be applied. */
  ambiguous: boolean;
}

export interface SagaRecord {
  id: string;
  status: SagaStatus;
  epoch: number;
  /** What kind of change it is: names its functions in the database and its participants here. */
  kind: string;
  /** Who or what asked for it. The engine does not read it. */
  cause: string;
  ambiguous: boolean;
  mappingVersion: number;
  results: PartResult[];
  failure: SagaFailure | null;
  /** ISO-8601. */
  startedAt: string;
  finishedAt: string | null;
}

/** What a user sees of a saga of any kind. */
export type OperationRecord = Pick<SagaRecord, 'id' | 'status' | 'startedAt' | 'finishedAt'>;

/** What a saga found and what it wants, for one part: enough to finish it or to undo it. */
export interface PartImage {
  key: string;
  /** What kind of resource it is, which decides the participant. */
  resource: string;
  resourceId: string;
  /** Null: the remote resource is to be created. */
  remoteId: string | null;
  /** Permission to create a new remote resource if the one named here turns out to be gone. */
  recreate: boolean;
  /**
   * The committed content and its stamp; null where there was none. `context`: what was rendered into the document besides the
   * content, such as the id of another remote resource. Recovery must send the same bytes, so it is stored and not looked up again.
   */
  before: {
    content: JsonObject;
    revision: number;
    sagaId: string;
    mappingVersion: number;
    context: JsonObject;
  } | null;
  after: { content: JsonObject; revision: number; context: JsonObject };
}

import type { JsonObject } from '../domain/json.ts';
import type {
  PartImage,
  PartRecord,
  PartResult,
  SagaFailure,
  SagaRecord,
  SagaStatus,
} from '../domain/saga.ts';

/** The journal of sagas: one method for each transition, each of them one transaction in the database. */

/** What a saga holds once it has begun or was taken over. */
export interface OpenSaga {
  saga: SagaRecord;
  images: PartImage[];
  /** Names this deployment in stamps. */
  deployment: string;
}

/**
 * A transition that took place, was repeated, or came too late (`STALE`: another epoch or status; `NO_SAGA`). `TOO_EARLY`, of
 * `settle` only: a request of the saga may still be applied, until `notBeforeMs` from now. `rows`: what a commit wrote.
 */
export type TransitionOutcome<Row = unknown> =
  | {
      outcome: SagaStatus | 'HELD' | 'STALE' | 'TOO_EARLY';
      saga: SagaRecord;
      rows?: Row[] | undefined;
      notBeforeMs?: number | undefined;
    }
  | { outcome: 'NO_SAGA' };

/** So many sagas of one organization that users asked for, in so many milliseconds. */
export interface SagaLimit {
  saves: number;
  perMs: number;
}

/** What every kind of saga begins with. */
export interface BeginSaga {
  idempotencyKey: string | null;
  requestHash: string;
  /** Who or what asked for it. */
  cause: string;
  actor: string | null;
  /**
   * On the database's clock (ISO 8601): after this moment nothing begins, because the caller has given up. Absent: that clock is not
   * known.
   */
  notAfter?: string | undefined;
  /** Absent: the organization may begin as many sagas as it likes. */
  limit?: SagaLimit | undefined;
  leaseMs: number;
  deadlineMs: number;
  mappingVersion: number;
}

/** What the begin of any kind of saga can answer; each kind adds refusals of its own. */
export type BeginSagaOutcome<Row> =
  | ({ outcome: 'BEGUN' } & OpenSaga)
  /** `rows`: as the saga left them. */
  | { outcome: 'REPLAY' | 'REFUSED'; saga: SagaRecord; rows: Row[] }
  | { outcome: 'NO_ORGANIZATION' | 'TOO_LATE' }
  | { outcome: 'IDEMPOTENCY_CONFLICT'; sagaId: string }
  | { outcome: 'IN_PROGRESS'; sagaId: string; status: SagaStatus; retryAfterMs: number | null }
  | { outcome: 'RATE_LIMITED'; retryAfterMs: number };

export interface CommittedPart {
  key: string;
  remoteId: string;
  /** The normal form of what Vapi answered, without the stamp. */
  observed: JsonObject;
}

export interface TakenSaga extends OpenSaga {
  outcome: 'TAKEN';
  /** Nobody but its first owner had it, and that one recorded nothing ambiguous: it sent at most one request for each part. */
  once: boolean;
  /** The last owner recorded a quarantine, and it is over. */
  quarantined: boolean;
  pastDeadline: boolean;
  /** By key: what the last owner recorded when it gave the saga up; null: it recorded nothing. */
  handedOver: Record<string, PartRecord> | null;
  /** An owner recorded that it was about to send the pivot. An owner of a saga of several stages always does so first. */
  pivotSent: boolean;
}

/** Which saga, and the fencing token under which the caller holds it. */
export interface SagaRef {
  orgId: string;
  sagaId: string;
  epoch: number;
}

/**
 * Every method may throw `DatabaseError` and nothing else that is expected. Each is idempotent for its arguments, so after
 * an error of unknown outcome it may be called again.
 */
export interface SagaJournal<Row = unknown> {
  commit(
    ref: SagaRef,
    request: { parts: CommittedPart[]; ambiguous: boolean; lateMs: number },
  ): Promise<TransitionOutcome<Row>>;
  abort(
    ref: SagaRef,
    request: {
      failure: SagaFailure;
      results: PartResult[];
      missing: string[];
      ambiguous: boolean;
      lateMs: number;
      leaseMs: number;
      nothingApplied: boolean;
      /** By key; kept only if the lease is given up. */
      handedOver?: Record<string, PartRecord> | undefined;
    },
  ): Promise<TransitionOutcome<Row>>;
  rolledBack(
    ref: SagaRef,
    request: { results: PartResult[]; missing: string[]; ambiguous: boolean; lateMs: number },
  ): Promise<TransitionOutcome<Row>>;
  needsAttention(
    ref: SagaRef,
    request: { results: PartResult[]; failure: SagaFailure; ambiguous: boolean; lateMs: number },
  ): Promise<TransitionOutcome<Row>>;
  hold(
    ref: SagaRef,
    request: {
      results: PartResult[];
      ambiguous: boolean;
      /** Until then something that was sent may still be applied: the next owner comes after that, and may rely on it. 0 = none. */
      quarantineMs: number;
      /** The next owner comes only then, because nothing would come of it before. */
      lookAfterMs: number;
      /** Only records: the caller stays the owner. */
      keepsLease?: boolean;
      /** The pivot is about to be sent. */
      pivotSent?: boolean;
      /** By key. */
      handedOver?: Record<string, PartRecord> | undefined;
    },
  ): Promise<TransitionOutcome<Row>>;
  due(limit: number): Promise<{ orgId: string; sagaId: string }[]>;
  takeover(
    orgId: string,
    sagaId: string,
    owner: string,
    leaseMs: number,
  ): Promise<TakenSaga | { outcome: 'BUSY' | 'NOT_DUE' }>;
  /** What a saga found and wanted, for whoever settles it. */
  inspect(
    orgId: string,
    sagaId: string,
  ): Promise<
    | ({
        outcome: 'FOUND';
        /** Above zero: a request of the saga may still be applied, so what Vapi shows now proves nothing. */
        notBeforeMs: number;
        /** Above zero: the saga has an owner, which may still end it. */
        leaseMs: number | null;
      } & OpenSaga)
    | { outcome: 'NO_SAGA' }
  >;
  settle(
    ref: SagaRef,
    status: 'COMMITTED' | 'ROLLED_BACK',
    request: {
      parts?: CommittedPart[];
      results?: PartResult[];
      /** Keys of parts whose remote resource is gone; for ROLLED_BACK. */
      missing?: string[];
      lateMs: number;
    },
  ): Promise<TransitionOutcome<Row>>;
}

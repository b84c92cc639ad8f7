import type { AgentConfig, AgentConfigPatch, AgentRole } from '../../domain/agents/agent-config.ts';
import type {
  AgentRecord,
  SaveFailure,
  SaveImage,
  SaveKind,
  SaveRecord,
  SaveStatus,
  TransactionResult,
} from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';

export { DatabaseError, KeyRefusedError, ValueRefusedError } from '../database.ts';

/** The journal of saves: one method for each transition, each of them one transaction in the database. */

export interface BeginUpdate {
  role: AgentRole;
  /** Refused where the organization's agent of this role has another id; null = whatever it is. */
  agentId: string | null;
  /** The id that the agent gets if there is none yet. */
  newAgentId: string;
  patch: AgentConfigPatch;
  /** Under the stored configuration: what a new agent starts with, and what an older one lacks. */
  defaults: Omit<AgentConfig, 'systemPrompt'>;
  expectedRevision: number | null;
  /** As `expectedRevision`, and it notices a save that kept the revision too. */
  expectedSaveId?: string | undefined;
  recreateIfMissing: boolean;
}

export interface BeginRequest {
  idempotencyKey: string | null;
  requestHash: string;
  kind: SaveKind;
  actor: string | null;
  /**
   * On the database's clock (ISO 8601): after this moment nothing begins, because the caller has given up. Absent: that clock is not
   * known.
   */
  notAfter?: string | undefined;
  /** Absent: the organization may begin as many saves as it likes. */
  limit?: SaveLimit | undefined;
  leaseMs: number;
  deadlineMs: number;
  mappingVersion: number;
  updates: BeginUpdate[];
}

/** So many saves of one organization that users asked for, in so many milliseconds. */
export interface SaveLimit {
  saves: number;
  perMs: number;
}

export type BeginOutcome =
  | { outcome: 'BEGUN'; save: SaveRecord; images: SaveImage[]; deployment: string }
  | { outcome: 'REPLAY' | 'REFUSED_MISSING'; save: SaveRecord; agents: AgentRecord[] }
  | { outcome: 'NO_ORGANIZATION' | 'TOO_LATE' }
  | { outcome: 'IDEMPOTENCY_CONFLICT'; saveId: string }
  | { outcome: 'IN_PROGRESS'; saveId: string; status: SaveStatus; retryAfterMs: number | null }
  | { outcome: 'NO_AGENT'; role: AgentRole }
  | { outcome: 'REVISION_CONFLICT'; agents: AgentRecord[] }
  | { outcome: 'INCOMPLETE'; missing: { role: AgentRole; field: string }[] }
  | { outcome: 'RATE_LIMITED'; retryAfterMs: number };

/**
 * A transition that took place, was repeated, or came too late (`STALE`: another epoch or status; `NO_SAVE`). `TOO_EARLY`, of
 * `settle` only: a request of the save may still be applied, until `notBeforeMs` from now.
 */
export type TransitionOutcome =
  | {
      outcome: SaveStatus | 'HELD' | 'STALE' | 'TOO_EARLY';
      save: SaveRecord;
      agents?: AgentRecord[] | undefined;
      notBeforeMs?: number | null | undefined;
    }
  | { outcome: 'NO_SAVE' };

export interface CommittedAgent {
  role: AgentRole;
  assistantId: string;
  /** The normal form of what the provider answered, without the stamp. */
  observed: JsonObject;
}

export interface TakenSave {
  outcome: 'TAKEN';
  save: SaveRecord;
  images: SaveImage[];
  deployment: string;
  /** Nobody but its first owner had it, and that one recorded nothing ambiguous: it sent one request at most for an agent. */
  once: boolean;
  /** A stored quarantine is over. */
  quarantined: boolean;
  pastDeadline: boolean;
}

/** Which save, and the fencing token under which the caller holds it. */
export interface SaveRef {
  orgId: string;
  saveId: string;
  epoch: number;
}

/**
 * Every method may throw `DatabaseError` and nothing else that is expected. Each is idempotent for its arguments, so after
 * an error of unknown fate it may be called again.
 */
export interface SaveJournal {
  begin(orgId: string, saveId: string, owner: string, request: BeginRequest): Promise<BeginOutcome>;
  commit(
    ref: SaveRef,
    request: { agents: CommittedAgent[]; ambiguous: boolean; lateMs: number },
  ): Promise<TransitionOutcome>;
  abort(
    ref: SaveRef,
    request: {
      failure: SaveFailure;
      results: TransactionResult[];
      missing: AgentRole[];
      ambiguous: boolean;
      lateMs: number;
      leaseMs: number;
      nothingApplied: boolean;
    },
  ): Promise<TransitionOutcome>;
  rolledBack(
    ref: SaveRef,
    request: { results: TransactionResult[]; missing: AgentRole[]; ambiguous: boolean; lateMs: number },
  ): Promise<TransitionOutcome>;
  needsAttention(
    ref: SaveRef,
    request: { results: TransactionResult[]; failure: SaveFailure; ambiguous: boolean; lateMs: number },
  ): Promise<TransitionOutcome>;
  hold(
    ref: SaveRef,
    request: {
      results: TransactionResult[];
      ambiguous: boolean;
      notBeforeMs: number;
      /** Only records: the caller stays the owner. */
      keepsLease?: boolean;
    },
  ): Promise<TransitionOutcome>;
  due(limit: number): Promise<{ orgId: string; saveId: string }[]>;
  takeover(
    orgId: string,
    saveId: string,
    owner: string,
    leaseMs: number,
  ): Promise<TakenSave | { outcome: 'BUSY' | 'NOT_DUE' }>;
  /** What a save found and wanted, for whoever settles it. */
  inspect(
    orgId: string,
    saveId: string,
  ): Promise<
    | {
        outcome: 'FOUND';
        save: SaveRecord;
        images: SaveImage[];
        deployment: string;
        /** Above zero: a request of the save may still be applied, so what Vapi shows now proves nothing. */
        notBeforeMs: number | null;
        /** Above zero: the save has an owner, which may still end it. */
        leaseMs: number | null;
      }
    | { outcome: 'NO_SAVE' }
  >;
  settle(
    ref: SaveRef,
    status: 'COMMITTED' | 'ROLLED_BACK',
    request: {
      agents?: CommittedAgent[];
      results?: TransactionResult[];
      /** Agents whose assistant is gone; for ROLLED_BACK. */
      missing?: AgentRole[];
      lateMs: number;
    },
  ): Promise<TransitionOutcome>;
}

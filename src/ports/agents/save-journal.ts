import type { AgentConfig, AgentConfigPatch, AgentRole } from '../../domain/agents/agent-config.ts';
import type { AgentRecord, SaveKind } from '../../domain/agents/save.ts';
import type { SagaRecord, SagaStatus } from '../../domain/saga.ts';
import type { OpenSaga, SagaJournal } from '../saga-journal.ts';

export { DatabaseError, KeyRefusedError, ValueRefusedError } from '../database.ts';

/** The journal of saves of agents: that of sagas, and how a save begins. */

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
  cause: SaveKind;
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
  | ({ outcome: 'BEGUN' } & OpenSaga)
  /** `rows`: the agents as the save left them. */
  | { outcome: 'REPLAY' | 'REFUSED'; saga: SagaRecord; rows: AgentRecord[] }
  | { outcome: 'NO_ORGANIZATION' | 'TOO_LATE' }
  | { outcome: 'IDEMPOTENCY_CONFLICT'; sagaId: string }
  | { outcome: 'IN_PROGRESS'; sagaId: string; status: SagaStatus; retryAfterMs: number | null }
  | { outcome: 'NO_AGENT'; role: AgentRole }
  | { outcome: 'REVISION_CONFLICT'; agents: AgentRecord[] }
  | { outcome: 'INCOMPLETE'; missing: { role: AgentRole; field: string }[] }
  | { outcome: 'RATE_LIMITED'; retryAfterMs: number };

/** As `SagaJournal`: `begin` may throw `DatabaseError`, and is idempotent by the saga's id and the owner. */
export interface SaveJournal extends SagaJournal<AgentRecord> {
  begin(orgId: string, sagaId: string, owner: string, request: BeginRequest): Promise<BeginOutcome>;
}

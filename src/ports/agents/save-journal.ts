import type { AgentConfig, AgentConfigPatch, AgentRole } from '../../domain/agents/agent-config.ts';
import type { AgentRecord, SaveKind } from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { BeginSaga, BeginSagaOutcome, SagaJournal } from '../saga-journal.ts';

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
  /** The new agent takes over an assistant that Lockstep did not create; `content`: its managed fields, as Vapi answered them. */
  adopt?: { assistantId: string; content: JsonObject } | undefined;
}

export interface BeginRequest extends BeginSaga {
  cause: SaveKind;
  updates: BeginUpdate[];
}

/** Why a save of agents did not begin, where no other kind of saga has this reason. */
export type BeginRefusal =
  | { outcome: 'NO_AGENT'; role: AgentRole }
  | { outcome: 'REVISION_CONFLICT'; agents: AgentRecord[] }
  | { outcome: 'INCOMPLETE'; missing: { role: AgentRole; field: string }[] };

export type BeginOutcome = BeginSagaOutcome<AgentRecord> | BeginRefusal;

/** As `SagaJournal`: `begin` may throw `DatabaseError`, and is idempotent by the saga's id and the owner. */
export interface SaveJournal extends SagaJournal<AgentRecord> {
  begin(orgId: string, sagaId: string, owner: string, request: BeginRequest): Promise<BeginOutcome>;
}

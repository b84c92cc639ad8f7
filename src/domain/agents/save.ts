import type { Json } from '../json.ts';
import type { SagaFailure, SagaRecord, SagaStatus } from '../saga.ts';
import type { AgentConfig, AgentConfigPatch, AgentRole } from './agent-config.ts';

/** The words of a save: statuses, results, failures, and an agent as the database holds it. */

/** The kind of saga that changes agents. */
export const AGENTS = 'agents';

export type SaveStatus = SagaStatus;
/**
 * Who asked: a user, or the sweep on behalf of the organization's drift policy. RENDER: nobody; the same configuration is rendered
 * differently now.
 */
export type SaveKind = 'USER' | 'REVERT' | 'ADOPT' | 'RENDER';

export const SAVE_FAILURE_REASONS = [
  'VAPI_REJECTED',
  'VAPI_ANSWER_DIFFERED',
  'VAPI_UNAVAILABLE',
  'VAPI_RATE_LIMITED',
  'VAPI_UNAUTHORIZED',
  'ASSISTANT_MISSING',
] as const;
export type SaveFailureReason = (typeof SAVE_FAILURE_REASONS)[number];

export interface SaveFailure {
  reason: SaveFailureReason;
  message: string;
  retryable: boolean;
}

/** What a save came to for one agent. `null` means not known yet. */
export interface TransactionResult {
  role: AgentRole;
  agentId: string;
  success: boolean;
  /** Is this save's content in Vapi now? */
  vapiSynced: boolean | null;
  /** Is this save's content in the database now? */
  dbUpdated: boolean | null;
  assistantId: string | null;
  error: string | null;
  /** The revision that the save made or confirmed; null unless it committed. */
  revision: number | null;
}

export interface SaveRecord {
  id: string;
  status: SaveStatus;
  epoch: number;
  kind: SaveKind;
  ambiguous: boolean;
  mappingVersion: number;
  results: TransactionResult[];
  failure: SaveFailure | null;
  startedAt: string;
  finishedAt: string | null;
}

export interface FieldDrift {
  path: string;
  ours: Json;
  theirs: Json;
}

/** An agent as the database holds it. Times are ISO-8601. */
export interface AgentRecord {
  id: string;
  role: AgentRole;
  config: AgentConfig;
  assistantId: string | null;
  revision: number;
  lastSyncedAt: string | null;
  checkedAt: string | null;
  drift: FieldDrift[];
  missing: boolean;
  /** The change that would make the drift ours; null where there is none, or where it cannot be said in a configuration. */
  adoptable: AgentConfigPatch | null;
}

/** A saga of agents in the words of its clients: a part is an agent, its key is the role. */
export function saveOf({ kind: _agents, cause, results, failure, ...saga }: SagaRecord): SaveRecord {
  return {
    ...saga,
    kind: cause as SaveKind,
    results: results.map(({ key, resourceId, remoteId, ...rest }) => ({
      ...{ role: key as AgentRole, agentId: resourceId, assistantId: remoteId },
      ...rest,
    })),
    failure: failure === null ? null : failureOf(failure),
  };
}

/** An agent has no pivot and can be created again, so that its outcome never stays unknown. */
export function failureOf({ reason, ...rest }: SagaFailure): SaveFailure {
  switch (reason) {
    case 'RESOURCE_MISSING':
      return { reason: 'ASSISTANT_MISSING', ...rest };
    case 'OUTCOME_UNKNOWN':
      throw new Error('the outcome of a save of agents cannot stay unknown');
    default:
      return { reason, ...rest };
  }
}

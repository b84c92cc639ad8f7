import type { Json } from '../json.ts';
import type { AgentConfig, AgentConfigPatch, AgentRole } from './agent-config.ts';

/** The words of a save: statuses, results, failures, and an agent as the database holds it. */

export type SaveStatus = 'APPLYING' | 'COMMITTED' | 'ROLLING_BACK' | 'ROLLED_BACK' | 'NEEDS_ATTENTION';
/** Who asked: a user, or the sweep on behalf of the organization's drift policy. */
export type SaveKind = 'USER' | 'REVERT' | 'ADOPT';

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

/** What a save found and what it wants, for one agent: enough to finish it or to undo it. */
export interface SaveImage {
  role: AgentRole;
  agentId: string;
  /** Null: the assistant is to be created. */
  assistantId: string | null;
  /** Leave to make a new one, should the assistant turn out to be gone. */
  recreate: boolean;
  /** The committed content and its stamp; null where there was no agent. */
  before: { config: AgentConfig; revision: number; saveId: string; mappingVersion: number } | null;
  after: { config: AgentConfig; revision: number };
}

import type { AgentConfig, AgentConfigPatch, AgentRole } from '../../domain/agents/agent-config.ts';
import type { FieldDrift } from '../../domain/agents/save.ts';
import type { Stamp } from '../../domain/agents/stamp.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { Lease } from '../lease.ts';

/** What reconciliation may look at and note, across organizations. All methods may throw `DatabaseError`. */

export const DRIFT_POLICIES = ['REVERT', 'ADOPT', 'REPORT'] as const;
/** What the sweep does with an edit made in the Vapi dashboard. REPORT only shows it. */
export type DriftPolicy = (typeof DRIFT_POLICIES)[number];

/** An agent as the sweep sees it: what Vapi should hold. */
export interface SweepAgent {
  orgId: string;
  agentId: string;
  role: AgentRole;
  assistantId: string;
  revision: number;
  /** The agent's last committed save: the only one whose stamp is current. */
  saveId: string;
  config: AgentConfig;
  /** How the document was rendered: with this version, and with this besides the configuration. */
  mappingVersion: number;
  context: JsonObject;
  /** The normal form of what Vapi answered to that save. */
  observed: JsonObject | null;
  missing: boolean;
  policy: DriftPolicy;
  /** A save is open or fenced: a difference says nothing now. */
  busy: boolean;
}

/** What the sweep needs to see that an assistant holds what it should: a hash in place of the documents. */
export interface ListedAgent {
  orgId: string;
  agentId: string;
  assistantId: string;
  revision: number;
  saveId: string;
  /** These two decide the normal form. */
  mappingVersion: number;
  context: JsonObject;
  /** SHA-256 of `jsonbText` of the normal form of what Vapi answered to that save. */
  hash: string | null;
  /** The agent's row does not say that it is in step, so it is worth a note that it is. */
  news: boolean;
  busy: boolean;
}

export interface SweepPageRow {
  orgId: string;
  agentId: string;
  assistantId: string;
  revision: number;
  saveId: string;
  missing: boolean;
}

/** What was seen of an agent at this revision. It counts only while that is still its revision and no save is open. */
export interface SweepNote {
  orgId: string;
  agentId: string;
  revision: number;
  saveId: string;
  /** UNCONFIRMED: the sweep could not judge the agent, so the time of the sweep does not count for it. */
  state: 'SAME' | 'DRIFTED' | 'MISSING' | 'UNCONFIRMED';
  drift?: FieldDrift[];
  /** The change that makes the edit ours; null where there is none. */
  adoptable?: AgentConfigPatch | null;
}

/** The lease is that of the replica that sweeps. */
export interface SweepStore extends Lease {
  /** Whole configurations: for a few assistants. */
  lookup(assistantIds: string[]): Promise<SweepAgent[]>;
  /** Hashes: for pages of assistants. */
  listed(assistantIds: string[]): Promise<ListedAgent[]>;
  page(afterAgentId: string | null, limit: number): Promise<SweepPageRow[]>;
  /** Answers the ids of the agents whose note counted. */
  note(notes: SweepNote[]): Promise<string[]>;
  /** A walk over all assistants that began `agoMs` ago is complete. Answers that moment on the database's clock. */
  done(agoMs: number): Promise<string>;
  /** Of unreferenced assistants: those that a closed save of this deployment made and did not keep. */
  orphans(candidates: (Stamp & { assistantId: string })[], ageMs: number): Promise<string[]>;
  /** False: there is no such organization. */
  setDriftPolicy(orgId: string, policy: DriftPolicy): Promise<boolean>;
  /**
   * Forgets keys and images that are past their retention, and deletes saves that closed more than `keepDays` ago and made no
   * revision, up to `limit` of each. Answers how many saves that were.
   */
  cleanup(limit: number, keepDays: number): Promise<number>;
}

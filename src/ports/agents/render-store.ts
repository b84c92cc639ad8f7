import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { Lease } from '../lease.ts';

/** An agent whose document would be rendered differently now. */
export interface StaleAgent {
  orgId: string;
  agentId: string;
  role: AgentRole;
  assistantId: string;
  revision: number;
  saveId: string;
}

/** What the job that renders agents anew may look at, across organizations. All methods may throw `DatabaseError`. */
export interface RenderStore extends Lease {
  /**
   * Agents in step whose mapping version is older than this one, or whose context has changed since they were rendered; by id, at most
   * `limit`.
   */
  stale(mappingVersion: number, afterAgentId: string | null, limit: number): Promise<StaleAgent[]>;
}

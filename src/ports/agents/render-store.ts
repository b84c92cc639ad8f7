import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { JsonObject } from '../../domain/json.ts';
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

/** Where Vapi sends the events of calls, and the Vapi credential that proves that they come from Vapi. */
export interface EventServer {
  url: string;
  credentialId: string;
}

/** What the job that renders agents anew may look at, across organizations. All methods may throw `DatabaseError`. */
export interface RenderStore extends Lease {
  /** What every agent names from now on; null: none does any more. Returns whether that is news. */
  setEventServer(server: EventServer | null): Promise<boolean>;
  /** What the context of every agent says of it. */
  eventContext(): Promise<JsonObject>;
  /**
   * Agents in step whose mapping version is older than this one, or whose context has changed since they were rendered; by id, at most
   * `limit`.
   */
  stale(mappingVersion: number, afterAgentId: string | null, limit: number): Promise<StaleAgent[]>;
}

import type { AgentRole } from './agent-config.ts';

/** Who an assistant belongs to and which save wrote it. Lives in `metadata.lockstep`, and travels with the content. */
export interface Stamp {
  deployment: string;
  orgId: string;
  agentId: string;
  role: AgentRole;
  saveId: string;
  revision: number;
}

import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { AgentRecord, SaveStatus } from '../../domain/agents/save.ts';

export const AGENT_SYNC_STATUSES = [
  'NEVER_SYNCED',
  'IN_SYNC',
  'SAVING',
  'DRIFTED',
  'MISSING',
  'NEEDS_ATTENTION',
] as const;
export type AgentSyncStatus = (typeof AGENT_SYNC_STATUSES)[number];

/** Where several are true, the first of: NEEDS_ATTENTION, SAVING, MISSING, DRIFTED, NEVER_SYNCED, IN_SYNC. */
export function syncStatus(
  agent: AgentRecord,
  open: { status: SaveStatus; roles: AgentRole[] } | null,
): AgentSyncStatus {
  if (open?.roles.includes(agent.role))
    return open.status === 'NEEDS_ATTENTION' ? 'NEEDS_ATTENTION' : 'SAVING';
  if (agent.missing) return 'MISSING';
  if (agent.drift.length > 0) return 'DRIFTED';
  return agent.lastSyncedAt === null ? 'NEVER_SYNCED' : 'IN_SYNC';
}

import type { AgentConfigPatch, AgentPayload, AgentRole } from '../../domain/agents/agent-config.ts';

/** One agent's part of a save. It has no place for a key: whoever holds updates can send nothing to Vapi. */
export interface TransactionalAgentUpdate {
  orgId: string;
  /** Null: whatever agent the organization has in this role, or a new one; the database decides, under its lock. */
  agentId: string | null;
  role: AgentRole;
  /** The partial change; merged into what is stored when the save begins. */
  payload: AgentConfigPatch;
  expectedRevision: number | null;
  /** The save that the agent must still be of; for a repair, which a save that kept the revision outdates as well. */
  expectedSaveId?: string | undefined;
  recreateIfMissing: boolean;
}

/** The agents that the caller knows; null = not known, or not there yet. */
export type AgentMap = Readonly<Record<AgentRole, string | null>>;

/** For a caller that knows no agent: asking first would cost a read, and could be outdated before the lock is taken. */
export const ANY_AGENTS: AgentMap = { INBOUND: null, OUTBOUND: null };

/** From validated payloads to the updates of one save; a role without a payload is not named. Pure. */
export function buildTransactionalUpdates(
  orgId: string,
  agentMap: AgentMap,
  inboundPayload: AgentPayload | null,
  outboundPayload: AgentPayload | null,
): TransactionalAgentUpdate[] {
  const update = (role: AgentRole, payload: AgentPayload | null): TransactionalAgentUpdate[] =>
    payload === null
      ? []
      : [
          {
            orgId,
            agentId: agentMap[role],
            role,
            payload: payload.config,
            expectedRevision: payload.expectedRevision,
            recreateIfMissing: payload.recreateIfMissing,
          },
        ];
  return [...update('INBOUND', inboundPayload), ...update('OUTBOUND', outboundPayload)];
}

import type { AgentRole } from '../../domain/agent-config.ts';
import type { AgentRecord, SaveKind } from '../../domain/save.ts';
import { ValidationError } from '../errors.ts';
import type { TransactionalAgentUpdate } from '../saves/build.ts';

/**
 * The save that settles an agent's drift as its organization wants it. Pure. Throws `ValidationError` where there is no such
 * agent, or no change that would say the edit in our configuration.
 */
export function adoptOrRevert(
  orgId: string,
  agents: AgentRecord[],
  wish: { role: AgentRole; resolution: 'REVERT' | 'ADOPT'; expectedRevision?: number | null | undefined },
): { update: TransactionalAgentUpdate; kind: SaveKind } {
  const agent = agents.find(({ role }) => role === wish.role);
  if (agent === undefined) refuse('input.role', 'there is no such agent in your organization');
  if (wish.resolution === 'ADOPT' && agent.adoptable === null) {
    refuse(
      'input.resolution',
      agent.drift.length === 0
        ? 'there is nothing to adopt: no edit has been found'
        : 'the edit cannot be said in an agent configuration; revert it, or make the change here',
    );
  }
  return {
    kind: wish.resolution,
    update: {
      orgId,
      agentId: agent.id,
      role: agent.role,
      payload: wish.resolution === 'ADOPT' ? (agent.adoptable ?? {}) : {},
      // What is adopted was found at this revision: another one has other drift.
      expectedRevision: wish.expectedRevision ?? agent.revision,
      recreateIfMissing: false,
    },
  };
}

function refuse(path: string, message: string): never {
  throw new ValidationError([{ path, message }]);
}

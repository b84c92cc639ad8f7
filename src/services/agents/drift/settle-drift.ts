import type { AgentRole } from '../../../domain/agents/agent-config.ts';
import type { AgentRecord, SaveKind } from '../../../domain/agents/save.ts';
import { RateLimitedError, UnavailableError, ValidationError } from '../../errors.ts';
import type { TransactionalAgentUpdate } from '../build.ts';
import type { SaveOptions, SaveOutcome } from '../execute.ts';
import type { Verdict } from './look.ts';

export interface DriftWish {
  role: AgentRole;
  resolution: 'REVERT' | 'ADOPT';
  expectedRevision?: number | null | undefined;
  idempotencyKey?: string | null | undefined;
}

export interface SettleDriftPorts {
  /** Reads the agent's assistant from Vapi now and notes what it found. Null: the server has no key. */
  look(orgId: string, assistantId: string): Promise<Verdict | null>;
  save(update: TransactionalAgentUpdate, options: SaveOptions): Promise<SaveOutcome>;
}

const RETRY_MS = 2_000;
/** No agent that exists is at this revision, so a save that expects it can only replay an earlier one or be refused. */
const NO_REVISION = 0;

/**
 * Resolves one agent's drift by an ordinary save: looks at Vapi first, then reverts the edit or adopts exactly what it saw.
 * Throws the `DomainError` of a refusal before the save began.
 */
export async function settleDrift(
  ports: SettleDriftPorts,
  orgId: string,
  agents: AgentRecord[],
  wish: DriftWish,
): Promise<SaveOutcome> {
  // The content of an adoption depends on what Vapi holds, so the request, and not the update, identifies a repetition.
  const request = {
    role: wish.role,
    resolution: wish.resolution,
    expectedRevision: wish.expectedRevision ?? null,
  };
  const save = ({ update, kind }: ReturnType<typeof adoptOrRevert>) =>
    ports.save(update, {
      kind,
      idempotencyKey: wish.idempotencyKey ?? null,
      request: { settleDrift: request },
    });
  const known = agents.find(({ role }) => role === wish.role);
  if (known === undefined || known.assistantId === null) return save(adoptOrRevert(orgId, agents, wish));

  const verdict = await ports.look(orgId, known.assistantId);
  // Reverting needs no look: the save writes, and Vapi's answer verifies it.
  const drift = verdict?.kind === 'drifted' || verdict?.kind === 'stale' ? verdict : null;
  const current = {
    ...known,
    revision: drift?.agent.revision ?? known.revision,
    drift: drift?.drift ?? [],
    adoptable: verdict?.kind === 'drifted' ? verdict.adoptable : null,
  };
  const revision = wish.expectedRevision ?? current.revision;
  if (wish.resolution === 'REVERT') {
    return save(adoptOrRevert(orgId, [current], { ...wish, expectedRevision: revision }));
  }
  if (verdict?.kind === 'drifted' && verdict.adoptable !== null && revision === current.revision) {
    return save(adoptOrRevert(orgId, [current], wish));
  }

  // Nothing can be adopted now. The same request may have adopted it before, and another save may be in progress.
  const outcome = await save({
    ...adoptOrRevert(orgId, [current], { ...wish, resolution: 'REVERT', expectedRevision: NO_REVISION }),
    kind: 'ADOPT',
  });
  if (outcome.kind !== 'revision_conflict' || verdict === null || verdict.kind === 'saving') return outcome;
  if (revision !== current.revision) return outcome;
  if (verdict.kind === 'unreadable') throw unreadable(verdict.reply);
  if (verdict.kind === 'missing')
    refuse('input.role', 'the assistant was deleted in Vapi; save with recreateIfMissing');
  if (verdict.kind === 'stale') {
    refuse('input.resolution', 'what Vapi holds is not an edit of the current revision; revert it');
  }
  adoptOrRevert(orgId, [current], wish);
  return outcome;
}

/**
 * The save that resolves an agent's drift as its organization wishes. Pure. Throws `ValidationError` if there is no such
 * agent, or if the agent configuration has no field for the edit.
 */
export function adoptOrRevert(
  orgId: string,
  agents: AgentRecord[],
  wish: DriftWish,
): { update: TransactionalAgentUpdate; kind: SaveKind } {
  const agent = agents.find(({ role }) => role === wish.role);
  if (agent === undefined) refuse('input.role', 'there is no such agent in your organization');
  if (wish.resolution === 'ADOPT' && agent.adoptable === null) {
    refuse(
      'input.resolution',
      agent.drift.length === 0
        ? 'there is nothing to adopt: Vapi holds what the agent says'
        : 'the agent configuration has no field for the edit; revert it, or make the change here',
    );
  }
  return {
    kind: wish.resolution,
    update: {
      orgId,
      agentId: agent.id,
      role: agent.role,
      payload: wish.resolution === 'ADOPT' ? (agent.adoptable ?? {}) : {},
      // The edit was found at this revision; another revision has other drift.
      expectedRevision: wish.expectedRevision ?? agent.revision,
      recreateIfMissing: false,
    },
  };
}

function unreadable(reply: Extract<Verdict, { kind: 'unreadable' }>['reply']): Error {
  if (reply.kind === 'rate_limited') return new RateLimitedError(reply.retryAfterMs);
  return new UnavailableError(
    RETRY_MS,
    'Vapi cannot be read at the moment; nothing was changed. Try again after `retryAfterMs`.',
  );
}

function refuse(path: string, message: string): never {
  throw new ValidationError([{ path, message }]);
}

import type { AgentConfig, AgentRole } from '../../domain/agents/agent-config.ts';
import type {
  AgentRecord,
  SaveFailure,
  SaveImage,
  SaveRecord,
  TransactionResult,
} from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { PartImage, PartResult, SagaFailure, SagaRecord } from '../../domain/saga.ts';
import type {
  SaveJournal,
  SaveRef,
  TransitionOutcome as SaveTransition,
} from '../../ports/agents/save-journal.ts';
import type { OpenSaga, SagaJournal, SagaRef, TransitionOutcome } from '../../ports/saga-journal.ts';

/** A save of agents in the words of the engine, and back: a part is an agent, its key is the role. */

export function sagaJournalOf(journal: SaveJournal): SagaJournal<AgentRecord> {
  const told = { results: (results: PartResult[]) => results.map(resultOf) };
  return {
    commit: async (ref, { parts, ...rest }) =>
      transitionOf(await journal.commit(refOf(ref), { ...rest, agents: parts.map(agentOf) })),
    abort: async (ref, { results, failure, missing, ...rest }) =>
      transitionOf(
        await journal.abort(refOf(ref), {
          ...rest,
          results: told.results(results),
          failure: failureOf(failure),
          missing: missing as AgentRole[],
        }),
      ),
    rolledBack: async (ref, { results, missing, ...rest }) =>
      transitionOf(
        await journal.rolledBack(refOf(ref), {
          ...rest,
          results: told.results(results),
          missing: missing as AgentRole[],
        }),
      ),
    needsAttention: async (ref, { results, failure, ...rest }) =>
      transitionOf(
        await journal.needsAttention(refOf(ref), {
          ...rest,
          results: told.results(results),
          failure: failureOf(failure),
        }),
      ),
    hold: async (ref, { results, ...rest }) =>
      transitionOf(await journal.hold(refOf(ref), { ...rest, results: told.results(results) })),
    due: async (limit) => (await journal.due(limit)).map(({ orgId, saveId }) => ({ orgId, sagaId: saveId })),
    takeover: async (orgId, sagaId, owner, leaseMs) => {
      const taken = await journal.takeover(orgId, sagaId, owner, leaseMs);
      return taken.outcome === 'TAKEN' ? { ...taken, ...openSagaOf(taken) } : taken;
    },
    inspect: async (orgId, sagaId) => {
      const found = await journal.inspect(orgId, sagaId);
      return found.outcome === 'FOUND' ? { ...found, ...openSagaOf(found) } : { outcome: 'NO_SAGA' };
    },
    settle: async (ref, status, { parts, results, missing, lateMs }) =>
      transitionOf(
        await journal.settle(refOf(ref), status, {
          ...(parts === undefined ? {} : { agents: parts.map(agentOf) }),
          ...(results === undefined ? {} : { results: told.results(results) }),
          missing: (missing ?? []) as AgentRole[],
          lateMs,
        }),
      ),
  };
}

export function openSagaOf(begun: { save: SaveRecord; images: SaveImage[]; deployment: string }): OpenSaga {
  return { saga: sagaOf(begun.save), images: begun.images.map(imageOf), deployment: begun.deployment };
}

function sagaOf(save: SaveRecord): SagaRecord {
  return {
    ...save,
    results: save.results.map(({ role, agentId, assistantId, ...rest }) => ({
      ...{ key: role, resourceId: agentId, remoteId: assistantId },
      ...rest,
    })),
    failure:
      save.failure === null
        ? null
        : {
            ...save.failure,
            reason: save.failure.reason === 'ASSISTANT_MISSING' ? 'RESOURCE_MISSING' : save.failure.reason,
          },
  };
}

export function saveOf(saga: SagaRecord): SaveRecord {
  return {
    ...saga,
    kind: saga.kind as SaveRecord['kind'],
    results: saga.results.map(resultOf),
    failure: saga.failure === null ? null : failureOf(saga.failure),
  };
}

function resultOf({ key, resourceId, remoteId, ...rest }: PartResult): TransactionResult {
  return { role: key as AgentRole, agentId: resourceId, assistantId: remoteId, ...rest };
}

/** An agent has no pivot and can be created again, so that its outcome never stays unknown. */
function failureOf({ reason, ...rest }: SagaFailure): SaveFailure {
  switch (reason) {
    case 'RESOURCE_MISSING':
      return { reason: 'ASSISTANT_MISSING', ...rest };
    case 'OUTCOME_UNKNOWN':
      throw new Error('the outcome of a save of agents cannot stay unknown');
    default:
      return { reason, ...rest };
  }
}

function agentOf({ key, remoteId, observed }: { key: string; remoteId: string; observed: JsonObject }) {
  return { role: key as AgentRole, assistantId: remoteId, observed };
}

function imageOf({ role, agentId, assistantId, recreate, before, after }: SaveImage): PartImage {
  return {
    ...{ key: role, resource: 'agent', resourceId: agentId, remoteId: assistantId, recreate },
    before: before && {
      content: contentOf(before.config),
      revision: before.revision,
      sagaId: before.saveId,
      mappingVersion: before.mappingVersion,
    },
    after: { content: contentOf(after.config), revision: after.revision },
  };
}

function contentOf(config: AgentConfig): JsonObject {
  return config as unknown as JsonObject;
}

function refOf({ sagaId, ...rest }: SagaRef): SaveRef {
  return { saveId: sagaId, ...rest };
}

function transitionOf(answer: SaveTransition): TransitionOutcome<AgentRecord> {
  if (answer.outcome === 'NO_SAVE') return { outcome: 'NO_SAGA' };
  const { save, agents, ...rest } = answer;
  return { ...rest, saga: sagaOf(save), rows: agents };
}

import { type AgentRole, defaultConfig } from '../../domain/agents/agent-config.ts';
import {
  type AgentRecord,
  failureOf,
  type SaveFailure,
  type SaveKind,
  type SaveRecord,
  type SaveStatus,
  saveOf,
} from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { Secret } from '../../domain/secret.ts';
import type { BeginRefusal, SaveJournal } from '../../ports/agents/save-journal.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import { executeSaga, type SagaExecutorPorts, type SagaOutcome } from '../saga/execute.ts';
import type { TransactionalAgentUpdate } from './build.ts';
import { AGENT_SAGA } from './participant.ts';
import { MAPPING_VERSION } from './render.ts';

/** What the executor works with. */
export type ExecutorPorts<Db> = SagaExecutorPorts<Db, SaveJournal, Assistants>;

/** How one save is to be made; the key is not among it. */
export interface SaveOptions {
  idempotencyKey?: string | null;
  kind?: SaveKind;
  /** Who asked, for the journal: the user's id. */
  actor?: string | null;
  /** What identifies a repetition under the same idempotency key. Default: the updates. */
  request?: JsonObject;
  /** The agent, which must be new, takes over this assistant. `content`: its managed fields, as Vapi answered. For an operator only. */
  adopt?: { assistantId: string; content: JsonObject };
}

/** The save's fate, or why it did not begin. */
export type SaveOutcome =
  /** `replay`: an earlier request made the save, so `agents`, which are as the save left them, may have changed since. */
  | { kind: 'committed'; save: SaveRecord; agents: AgentRecord[]; replay?: true }
  | { kind: 'failed'; save: SaveRecord; failure: SaveFailure; replay?: true }
  | { kind: 'pending'; save: SaveRecord; retryAfterMs: number | null }
  | { kind: 'revision_conflict'; agents: AgentRecord[] }
  | { kind: 'in_progress'; saveId: string; status: SaveStatus; retryAfterMs: number | null }
  | { kind: 'idempotency_conflict'; saveId: string }
  | { kind: 'incomplete'; missing: { role: AgentRole; field: string }[] }
  | { kind: 'no_organization' }
  | { kind: 'no_agent'; role: AgentRole }
  | { kind: 'rate_limited'; retryAfterMs: number | null }
  | { kind: 'unavailable'; retryAfterMs: number | null }
  | { kind: 'not_configured' };

/**
 * Saves one organization's agents in both systems, or in neither (see `executeSaga`). Two database calls and one Vapi call per agent
 * where all goes well.
 */
export async function executeTransactionalAgentUpdate<Db>(
  supabase: Db,
  updates: TransactionalAgentUpdate[],
  vapiApiKey: Secret | null,
  { ports, ...options }: SaveOptions & { ports: ExecutorPorts<Db> },
): Promise<SaveOutcome> {
  const [first] = updates;
  if (first === undefined || updates.some((update) => update.orgId !== first.orgId)) {
    throw new Error('a save names at least one agent, all of one organization');
  }
  const { orgId } = first;
  const cause = options.kind ?? 'USER';
  const outcome = await executeSaga(
    supabase,
    {
      ...{ orgId, definition: AGENT_SAGA, cause, mappingVersion: MAPPING_VERSION },
      about: { roles: updates.map(({ role }) => role) },
      requests: updates.length,
      idempotencyKey: options.idempotencyKey ?? null,
      request: options.request ?? named(updates),
      actor: options.actor ?? null,
      begin: (journal: SaveJournal, sagaId, owner, request) =>
        journal.begin(orgId, sagaId, owner, {
          ...{ ...request, cause },
          updates: updates.map((update) => ({
            role: update.role,
            agentId: update.agentId,
            newAgentId: ports.ids.uuid(),
            patch: update.payload,
            defaults: defaultConfig(update.role),
            expectedRevision: update.expectedRevision,
            expectedSaveId: update.expectedSaveId,
            recreateIfMissing: update.recreateIfMissing,
            adopt: options.adopt,
          })),
        }),
    },
    vapiApiKey,
    ports,
  );
  return saveOutcomeOf(outcome);
}

/** A saga of agents in the words of its clients. */
function saveOutcomeOf(outcome: SagaOutcome<AgentRecord, BeginRefusal>): SaveOutcome {
  switch (outcome.kind) {
    case 'committed': {
      const { saga, rows, ...rest } = outcome;
      return { ...rest, save: saveOf(saga), agents: rows };
    }
    case 'failed': {
      const { saga, failure, ...rest } = outcome;
      return { ...rest, save: saveOf(saga), failure: failureOf(failure) };
    }
    case 'pending': {
      const { saga, ...rest } = outcome;
      return { ...rest, save: saveOf(saga) };
    }
    case 'in_progress': {
      const { sagaId, ...rest } = outcome;
      return { ...rest, saveId: sagaId };
    }
    case 'idempotency_conflict':
      return { kind: 'idempotency_conflict', saveId: outcome.sagaId };
    case 'refused':
      return refusedSave(outcome.refusal);
    default:
      return outcome;
  }
}

function refusedSave(refusal: BeginRefusal): SaveOutcome {
  switch (refusal.outcome) {
    case 'NO_AGENT':
      return { kind: 'no_agent', role: refusal.role };
    case 'REVISION_CONFLICT':
      return { kind: 'revision_conflict', agents: refusal.agents };
    case 'INCOMPLETE':
      return { kind: 'incomplete', missing: refusal.missing };
  }
}

/** What a save asks for. */
function named(updates: TransactionalAgentUpdate[]): object {
  return updates.map(({ role, payload, expectedRevision, recreateIfMissing }) => ({
    role,
    payload,
    expectedRevision,
    recreateIfMissing,
  }));
}

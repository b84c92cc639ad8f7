import type { AgentRecord } from '../../src/domain/agents/save.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import type { BeginOutcome, BeginRequest, SaveJournal } from '../../src/ports/agents/save-journal.ts';
import type { SagaRef, TransitionOutcome } from '../../src/ports/saga-journal.ts';
import type { Assistants, ProviderAssistant, ProviderReply } from '../../src/ports/voice-provider.ts';
import { stampOf } from '../../src/services/agents/compare.ts';
import type { Invariant } from './checks.ts';
import { JournalModel } from './journal-model.ts';
import { CANARY, type Planted, type World } from './world.ts';

/**
 * Tests of the tests: defects planted between the services and the simulated ports, each of which must turn the simulation
 * red. "Line" numbers a defect that was found in a product which does this job without a protocol (docs/correctness.md).
 */
export interface Bug {
  /** What goes wrong in the product that has it. */
  tells: string;
  planted: Planted;
  /** A seed that finds it, and what that run breaks. `npm run sim -- --table` finds them anew. */
  seed: number;
  breaks: Invariant;
}

type Reply = ProviderReply<ProviderAssistant>;

/** A save that is open, as whoever watches the database sees it: what is sent under another stamp is an undo. */
function isUndo(world: World, document: JsonObject): boolean {
  const stamp = stampOf(document);
  return stamp !== null && world.model.openSaveOf(stamp.orgId)?.id !== stamp.saveId;
}

function isAnswered(reply: Reply): boolean {
  return reply.kind === 'ok';
}

/** Writes whose fate is unknown come back as this instead. */
function unknownAs(voice: Assistants, instead: Reply): Assistants {
  const told = async (reply: Promise<Reply>) => {
    const known = await reply;
    return known.kind === 'unknown' ? instead : known;
  };
  return {
    ...voice,
    createAssistant: (document) => told(voice.createAssistant(document)),
    updateAssistant: (id, document) => told(voice.updateAssistant(id, document)),
  };
}

class WithoutLock extends JournalModel {
  protected override blockingSaveOf(): undefined {
    return undefined;
  }
}

class WithoutUniqueRole extends WithoutLock {
  protected override refusesSecondOfRole(): boolean {
    return false;
  }
}

class WithoutEpochs extends JournalModel {
  override commit(
    ref: SagaRef,
    request: Parameters<SaveJournal['commit']>[1],
  ): TransitionOutcome<AgentRecord> {
    return super.commit({ ...ref, epoch: this.save(ref.sagaId)?.epoch ?? ref.epoch }, request);
  }
}

class SkipsARevision extends JournalModel {
  override commit(
    ref: SagaRef,
    request: Parameters<SaveJournal['commit']>[1],
  ): TransitionOutcome<AgentRecord> {
    const answer = super.commit(ref, request);
    for (const [id, row] of this.agents)
      if (row.lastSaveId === ref.sagaId) this.agents.set(id, { ...row, revision: row.revision + 1 });
    return answer;
  }
}

class KeepsHalf extends JournalModel {
  override commit(
    ref: SagaRef,
    request: Parameters<SaveJournal['commit']>[1],
  ): TransitionOutcome<AgentRecord> {
    const before = this.agentsOf(ref.orgId).find(({ role }) => role === 'OUTBOUND');
    const answer = super.commit(ref, request);
    if (before !== undefined) this.agents.set(before.id, before);
    return answer;
  }
}

class RowsBeforeVapi extends JournalModel {
  override begin(orgId: string, saveId: string, owner: string, request: BeginRequest): BeginOutcome {
    const begun = super.begin(orgId, saveId, owner, request);
    if (begun.outcome !== 'BEGUN') return begun;
    for (const { role, newAgentId, defaults } of request.updates) {
      if (this.agentsOf(orgId).some((agent) => agent.role === role)) continue;
      this.agents.set(newAgentId, {
        id: newAgentId,
        orgId,
        role,
        config: { ...defaults, systemPrompt: '' },
        assistantId: '',
        revision: 0,
        lastSaveId: saveId,
        mappingVersion: 1,
        lastSyncedAt: 0,
        checkedAt: 0,
        drift: [],
        adoptable: null,
        missingSince: null,
        unconfirmed: false,
      });
    }
    return begun;
  }
}

const at = (journal: SaveJournal, change: Partial<SaveJournal>): SaveJournal => ({ ...journal, ...change });

export const BUGS: Record<string, Bug> = {
  // Safeguards of the protocol, switched off.
  'no-fence': {
    tells: 'the next save begins while a request of the last one may still be applied',
    planted: {
      journal: (journal) =>
        at(journal, {
          commit: (ref, request) => journal.commit(ref, { ...request, lateMs: 0 }),
          rolledBack: (ref, request) => journal.rolledBack(ref, { ...request, lateMs: 0 }),
        }),
    },
    seed: 38,
    breaks: 'both systems are equal at rest',
  },
  'no-quarantine': {
    tells: 'undoes while the request that it undoes may still be applied',
    planted: {
      journal: (journal) =>
        at(journal, {
          abort: (ref, request) => journal.abort(ref, { ...request, lateMs: 0 }),
          hold: (ref, request) =>
            journal.hold(ref, { ...request, quarantineMs: Math.min(1, request.quarantineMs) }),
        }),
    },
    seed: 14,
    breaks: 'no orphan past its age',
  },
  'timeout-is-failure': {
    tells: 'line 5: a request without an answer counts as one without an effect',
    planted: { voice: (voice) => unknownAs(voice, { kind: 'refused', status: 408, messages: ['timeout'] }) },
    seed: 3,
    breaks: 'no orphan past its age',
  },
  'no-epoch-check': {
    tells: 'an owner whose save was taken over commits it all the same',
    planted: { model: WithoutEpochs },
    seed: 98,
    breaks: 'no transition with an old epoch',
  },
  'no-sweep': {
    tells: 'nothing repairs what was applied later than any bound',
    planted: { background: { sweep: false } },
    seed: 76,
    breaks: 'both systems are equal at rest',
  },

  // Defects of a product without a protocol.
  'pushes-the-old-row': {
    tells: 'line 1: Vapi gets what the database held before the save',
    planted: {
      voice: (voice, world) => ({
        ...voice,
        updateAssistant: async (id, document) => {
          const stamp = stampOf(document);
          const row = world.model.agentsOf(stamp?.orgId ?? '').find((agent) => agent.id === stamp?.agentId);
          const old = world.store.all().find((assistant) => assistant.id === id) as JsonObject | undefined;
          if (row === undefined || old === undefined || isUndo(world, document))
            return voice.updateAssistant(id, document);
          const reply = await voice.updateAssistant(id, { ...document, model: old['model'] ?? null });
          return reply.kind === 'ok' ? { kind: 'ok', value: { ...reply.value, ...document } } : reply;
        },
      }),
    },
    seed: 3,
    breaks: 'both systems are equal at rest',
  },
  'forgets-after-a-crash': {
    tells: 'line 2: nobody finishes what a dead process began',
    planted: { background: { recovery: false } },
    seed: 2,
    breaks: 'nothing is open past its time',
  },
  'leaves-the-sibling': {
    tells: 'line 3: the other agent failed, and this one stays live',
    planted: {
      voice: (voice, world) => ({
        ...voice,
        updateAssistant: async (id, document) =>
          isUndo(world, document)
            ? { kind: 'ok', value: { ...document, id } }
            : voice.updateAssistant(id, document),
      }),
    },
    seed: 6,
    breaks: 'both systems are equal at rest',
  },
  'no-lock': {
    tells: 'line 4: two saves of one organization at once',
    planted: { model: WithoutLock },
    seed: 1,
    breaks: 'one open save an organization',
  },
  'creates-on-any-error': {
    tells: 'line 6: a PATCH that fails makes a new assistant, and the old one is orphaned',
    planted: {
      voice: (voice) => ({
        ...voice,
        updateAssistant: async (id, document) => {
          const reply = await voice.updateAssistant(id, document);
          return isAnswered(reply) ? reply : voice.createAssistant(document);
        },
      }),
    },
    seed: 10,
    breaks: 'no orphan past its age',
  },
  'retries-the-create': {
    tells: 'line 7: a POST without an answer is sent again',
    planted: {
      voice: (voice) => ({
        ...voice,
        createAssistant: async (document) => {
          const reply = await voice.createAssistant(document);
          return reply.kind === 'unknown' ? voice.createAssistant(document) : reply;
        },
      }),
    },
    seed: 14,
    breaks: 'no orphan past its age',
  },
  'first-save-told-failed': {
    tells: 'line 8: a guard that never matches reports failure after both systems changed',
    planted: {
      journal: (journal) =>
        at(journal, {
          commit: async (ref, request) => {
            const answer = await journal.commit(ref, request);
            if (answer.outcome !== 'COMMITTED' || answer.saga.results.every(({ revision }) => revision !== 1))
              return answer;
            const results = answer.saga.results.map((result) => ({
              ...result,
              success: false,
              vapiSynced: false,
              dbUpdated: false,
            }));
            return { outcome: 'STALE', saga: { ...answer.saga, status: 'ROLLED_BACK', results } };
          },
        }),
    },
    seed: 1,
    breaks: 'what was told is true',
  },
  'rows-before-vapi': {
    tells: 'line 9: rows are there before Vapi was asked',
    planted: { model: RowsBeforeVapi },
    seed: 1,
    breaks: 'agents change only in a commit',
  },
  'two-agents-a-role': {
    tells: 'line 10: two first saves make two agents of one role',
    planted: { model: WithoutUniqueRole },
    seed: 1,
    breaks: 'one open save an organization',
  },
  'believes-the-id': {
    tells: 'line 11: an answer counts as right because its id is',
    planted: {
      voice: (voice) => {
        const believed = async (document: JsonObject, reply: Promise<Reply>): Promise<Reply> => {
          const told = await reply;
          return told.kind === 'ok' ? { kind: 'ok', value: { ...told.value, ...document } } : told;
        };
        return {
          ...voice,
          createAssistant: (document) => believed(document, voice.createAssistant(document)),
          updateAssistant: (id, document) => believed(document, voice.updateAssistant(id, document)),
        };
      },
    },
    seed: 6,
    breaks: 'a commit has a matching answer for every agent',
  },
  'constant-flags': {
    tells: 'line 12: the flags of a result do not depend on what happened',
    planted: {
      outcome: (outcome) =>
        outcome.kind !== 'committed'
          ? outcome
          : {
              ...outcome,
              save: {
                ...outcome.save,
                results: outcome.save.results.map((result) => ({ ...result, dbUpdated: false })),
              },
            },
    },
    seed: 1,
    breaks: 'what was told is true',
  },

  // What else the invariants are for.
  'adopts-nothing': {
    tells: 'creation is tried again without a look at what an earlier owner made',
    planted: {
      voice: (voice) => ({
        ...voice,
        listAssistants: async (query) =>
          query.createdAtGe === undefined ? voice.listAssistants(query) : { kind: 'ok', value: [] },
      }),
    },
    seed: 3,
    breaks: 'no orphan past its age',
  },
  'sends-until-the-lease-ends': {
    tells: 'the guard forgets how long a request may take',
    planted: { voice: (voice) => ({ ...voice, timeoutMs: -1_000 }) },
    seed: 4,
    breaks: 'no write outside the lease',
  },
  'forgets-keys': {
    tells: 'a request that is repeated makes a second save',
    planted: {
      journal: (journal) =>
        at(journal, {
          begin: (orgId, saveId, owner, request) =>
            journal.begin(orgId, saveId, owner, { ...request, idempotencyKey: null }),
        }),
    },
    seed: 2,
    breaks: 'one answer per idempotency key',
  },
  'commits-half': {
    tells: 'a commit that leaves one of its agents out',
    planted: {
      journal: (journal, world) =>
        at(journal, {
          commit: (ref, request) => {
            const images = world.model.imagesOf(ref.sagaId);
            if (images.length > 1) images.pop();
            return journal.commit(ref, request);
          },
        }),
    },
    seed: 1,
    breaks: 'no orphan past its age',
  },
  'keeps-half': {
    tells: 'a commit writes one of its two agents',
    planted: { model: KeepsHalf },
    seed: 3,
    breaks: 'both agents of a save or none',
  },
  'skips-a-revision': {
    tells: 'a commit counts twice',
    planted: { model: SkipsARevision },
    seed: 1,
    breaks: 'a revision rises by one, and only with the configuration',
  },
  'rewrites-history': {
    tells: 'a save that is over changes',
    planted: {
      journal: (journal, world) =>
        at(journal, {
          commit: async (ref, request) => {
            const answer = await journal.commit(ref, request);
            const save = world.model.save(ref.sagaId);
            if (save !== undefined) save.ambiguous = !save.ambiguous;
            return answer;
          },
        }),
    },
    seed: 1,
    breaks: 'what is closed stays closed',
  },
  'undoes-unannounced': {
    tells: 'something is undone before the journal says so',
    planted: {
      journal: (journal) =>
        at(journal, {
          abort: async (ref, request) => {
            if (request.nothingApplied || request.ambiguous) return journal.abort(ref, request);
            const begun = await journal.abort({ ...ref, epoch: -1 }, request);
            return begun.outcome === 'STALE'
              ? { ...begun, outcome: 'ROLLING_BACK', saga: { ...begun.saga, status: 'ROLLING_BACK' } }
              : begun;
          },
        }),
    },
    seed: 4,
    breaks: 'the direction is recorded before the undo',
  },
  'writes-to-a-neighbour': {
    tells: "another organization's assistant is written to",
    planted: {
      voice: (voice, world) => ({
        ...voice,
        updateAssistant: (id, document) => {
          const orgId = stampOf(document)?.orgId;
          const other = world.orgIds.find(
            (one) => one !== orgId && world.assistantOf(one, 'INBOUND') !== null,
          );
          return voice.updateAssistant(
            (other === undefined ? null : world.assistantOf(other, 'INBOUND')) ?? id,
            document,
          );
        },
      }),
    },
    seed: 3,
    breaks: 'no write to another organization',
  },
  'tells-the-key': {
    tells: 'the master key ends up in the journal',
    planted: {
      journal: (journal) =>
        at(journal, {
          abort: (ref, request) =>
            journal.abort(ref, { ...request, failure: { ...request.failure, message: `401 for ${CANARY}` } }),
        }),
    },
    seed: 1,
    breaks: 'no secret in a sink',
  },
};

import type { AgentRole } from '../../src/domain/agents/agent-config.ts';
import { canonicalJson, type JsonObject, jsonEqual } from '../../src/domain/json.ts';
import type { Assistant, AssistantStore } from '../../src/local/vapi/assistant-store.ts';
import { stampOf } from '../../src/services/agents/compare.ts';
import type { SaveOutcome } from '../../src/services/agents/execute.ts';
import { renderAssistant } from '../../src/services/agents/render.ts';
import { isClosed } from '../../src/services/saga/protocol.ts';
import { GUARD_MARGIN_MS } from '../../src/services/saga/settings.ts';
import type { AgentRow, JournalChange, JournalModel, SaveRow } from './journal-model.ts';

/**
 * What must hold, looked at from outside: the checks see the two stores as they are, what was sent and what was told, and
 * nothing of what the code under test believes.
 */

export const INVARIANTS = [
  'one open save an organization',
  'both agents of a save or none',
  'a commit has a matching answer for every agent',
  'agents change only in a commit',
  'a revision rises by one, and only with the configuration',
  'what is closed stays closed',
  'one answer per idempotency key',
  'no transition with an old epoch',
  'no write outside the lease',
  'no write to another organization',
  'the direction is recorded before the undo',
  'no secret in a sink',
  'both systems are equal at rest',
  'what was told is true',
  'nothing is open past its time',
  'only what a person did is adopted',
  'no orphan past its age',
  'one assistant an agent',
  'every caller gets an answer in time',
  'no unexpected error',
  'the happy path costs two database calls and one Vapi call an agent',
  'something happened',
] as const;
export type Invariant = (typeof INVARIANTS)[number];

export interface Violation {
  invariant: Invariant;
  detail: string;
  /** Virtual milliseconds since the start. */
  at: number;
}

/** What a sender knows of the save that it acts for: when its lease began at the earliest, by its own two clocks. */
export interface SenderLease {
  saveId: string;
  epoch: number;
  leaseFrom: { wall: number; monotonic: number };
  leaseMs: number;
}

export interface Write {
  kind: 'POST' | 'PATCH' | 'DELETE';
  /** Null for POST. */
  assistantId: string | null;
  document: JsonObject | null;
  /** Null: not on behalf of a save (the sweep's deletions). */
  lease: SenderLease | null;
  /** The sender's clocks now. */
  now: { wall: number; monotonic: number };
}

export interface ChecksOptions {
  model: JournalModel;
  store: AssistantStore;
  requestTimeoutMs: number;
  orphanAgeMs: number;
  /** A request that was sent is applied or dead in time; then both systems are equal whenever no save is open. */
  bounded: boolean;
  /** No sink may hold it. */
  secret: string;
  /** Virtual milliseconds since the start. */
  elapsed: () => number;
  /** Told of the first violation and of no other. */
  onViolation: (violation: Violation) => void;
}

interface Told {
  saveIds: Set<string>;
  key: string | null;
  orgId: string;
  outcome: SaveOutcome;
}

export class Checks {
  violation: Violation | null = null;
  readonly #options: ChecksOptions;
  /** Which organization an assistant was made for. */
  readonly #owners = new Map<string, string>();
  /** `save role assistant` that Vapi holds, or held, exactly as sent. */
  readonly #matched = new Set<string>();
  /** Looked at when the whole transaction is over. */
  readonly #justCommitted: SaveRow[] = [];
  readonly #closed = new Map<string, string>();
  readonly #agents = new Map<string, string>();
  readonly #told: Told[] = [];
  readonly #answersByKey = new Map<string, string>();
  /** Assistants that a person has touched, or whose deletion nobody has noticed yet: equality is the sweep's business. */
  readonly #dirty = new Set<string>();
  /** `assistant save`: edited by a person while it held what this save wrote, whether or not that was committed yet. */
  readonly #edited = new Set<string>();

  constructor(options: ChecksOptions) {
    this.#options = options;
  }

  violate(invariant: Invariant, detail: string): void {
    if (this.violation !== null) return;
    this.violation = { invariant, detail, at: this.#options.elapsed() };
    this.#options.onViolation(this.violation);
  }

  ownerOf(assistantId: string): string | null {
    return this.#owners.get(assistantId) ?? null;
  }

  /** A line on its way into the log, or anything else that somebody may read. */
  sink(text: string): void {
    if (text.includes(this.#options.secret)) this.violate('no secret in a sink', text.slice(0, 200));
  }

  /** After every change of a save. */
  journalChanged(change: JournalChange): void {
    const { model } = this.#options;
    const { orgId, saveId, from, to, op } = change;
    const save = model.save(saveId);
    if (save === undefined) return;
    if (change.epoch !== save.epoch)
      this.violate('no transition with an old epoch', `${op} of ${saveId} by epoch ${change.epoch}`);
    const open = model.openSaves.filter((one) => one.orgId === orgId);
    if (open.length > 1)
      this.violate('one open save an organization', `${open.map(({ id }) => id).join(', ')} of ${orgId}`);
    if (from !== null && isClosed(from))
      this.violate('what is closed stays closed', `${saveId} went from ${from} to ${to}`);
    if (op === 'begin' && save.cause === 'ADOPT' && to === 'APPLYING') {
      for (const { key, remoteId, before } of model.imagesOf(saveId))
        if (!this.#edited.has(`${remoteId} ${before?.sagaId}`))
          this.violate('only what a person did is adopted', `${saveId} of ${key}`);
    }
    if (to === 'COMMITTED' && from !== null) this.#justCommitted.push(save);
    if (isClosed(to)) this.#closed.set(saveId, canonicalJson(save));
  }

  #committed(save: SaveRow): void {
    const { model } = this.#options;
    const images = model.imagesOf(save.id);
    for (const image of images) {
      const row = model.agentsOf(save.orgId).find(({ id }) => id === image.resourceId);
      if (row === undefined || row.lastSaveId !== save.id) {
        this.violate('both agents of a save or none', `${save.id} did not write ${image.key}`);
        continue;
      }
      if (row.revision !== image.after.revision)
        this.violate(
          'a revision rises by one, and only with the configuration',
          `${image.key} from ${image.beforeRevision} to ${row.revision}`,
        );
      if (!this.#matched.has(`${save.id} ${image.key} ${row.assistantId}`))
        this.violate('a commit has a matching answer for every agent', `${save.id} ${image.key}`);
    }
    for (const agent of model.agentsOf(save.orgId)) {
      if (agent.lastSaveId === save.id && !images.some(({ resourceId }) => resourceId === agent.id))
        this.violate(
          'both agents of a save or none',
          `${save.id} wrote ${agent.role}, which it does not name`,
        );
    }
  }

  /** After every call of the database, with whether it moved a save there. */
  databaseCalled(orgId: string | null, op: string): void {
    if (orgId === null) return;
    const { model } = this.#options;
    for (const save of this.#justCommitted.splice(0)) this.#committed(save);
    const now = model
      .agentsOf(orgId)
      .map((agent) => `${agent.id} ${agent.revision} ${agent.lastSaveId} ${agent.assistantId}`)
      .join();
    const before = this.#agents.get(orgId) ?? '';
    if (now !== before) {
      this.#agents.set(orgId, now);
      if (op !== 'commit' && op !== 'settle')
        this.violate('agents change only in a commit', `${op} changed the agents of ${orgId}`);
      for (const agent of model.agentsOf(orgId)) {
        const history = model.revisionsOf(agent.id).map(({ revision }) => revision);
        if (history.some((revision, index) => revision !== index + 1) || history.length !== agent.revision)
          this.violate(
            'a revision rises by one, and only with the configuration',
            `${agent.id}: ${history.join()}`,
          );
      }
    }
    this.restOf(orgId);
  }

  /** Before a write leaves its sender. */
  writeStarts(write: Write): void {
    const { model, store, requestTimeoutMs } = this.#options;
    const stamp = write.document === null ? null : stampOf(write.document);
    const target =
      write.assistantId === null ? undefined : store.all().find(({ id }) => id === write.assistantId);
    const { lease } = write;
    if (lease === null) {
      // The sweep deletes what the journal shows to be nobody's, and writes nothing else.
      const targetStamp = target === undefined ? null : stampOf(target as JsonObject);
      const maker = targetStamp === null ? undefined : model.save(targetStamp.saveId);
      const isKept = model.organizationIds.some((orgId) =>
        model.agentsOf(orgId).some(({ assistantId }) => assistantId === write.assistantId),
      );
      if (
        write.kind !== 'DELETE' ||
        isKept ||
        (target !== undefined && (maker === undefined || !isClosed(maker.status)))
      ) {
        this.violate('no write outside the lease', `${write.kind} ${write.assistantId} on behalf of no save`);
      }
      return;
    }
    const elapsed = Math.max(
      write.now.wall - lease.leaseFrom.wall,
      write.now.monotonic - lease.leaseFrom.monotonic,
    );
    if (elapsed + requestTimeoutMs + GUARD_MARGIN_MS > lease.leaseMs)
      this.violate(
        'no write outside the lease',
        `${write.kind} ${elapsed} ms into a lease of ${lease.leaseMs} ms`,
      );

    const save = model.save(lease.saveId);
    if (save === undefined) {
      this.violate('no write outside the lease', 'for a save that never began');
      return;
    }
    const owner = write.assistantId === null ? undefined : this.#owners.get(write.assistantId);
    if ((owner !== undefined && owner !== save.orgId) || (stamp !== null && stamp.orgId !== save.orgId))
      this.violate(
        'no write to another organization',
        `${write.kind} ${write.assistantId} for ${save.orgId}`,
      );
    if (save.epoch !== lease.epoch) {
      // Somebody else took it: impossible while the sender's lease lasts.
      this.violate(
        'no write outside the lease',
        `epoch ${lease.epoch} of ${save.id}, which is at ${save.epoch}`,
      );
    }
    const isOurs =
      (stamp ?? (target === undefined ? null : stampOf(target as JsonObject)))?.saveId === save.id;
    const isForward = write.kind !== 'DELETE' && isOurs;
    // Several of one stamp: all but one go, whatever the direction.
    const isDuplicate = write.kind === 'DELETE' && isOurs && save.status === 'APPLYING';
    const allowed = isForward || isDuplicate ? save.status === 'APPLYING' : save.status === 'ROLLING_BACK';
    if (!allowed)
      this.violate(
        'the direction is recorded before the undo',
        `${write.kind} ${write.assistantId} ${isForward ? 'forward' : 'back'} while ${save.id} is ${save.status}`,
      );
  }

  /** After a write took effect. */
  written(kind: Write['kind'], document: JsonObject | null, after: Assistant): void {
    const stamp = document === null ? null : stampOf(document);
    if (kind === 'POST' && stamp !== null) this.#owners.set(after.id, stamp.orgId);
    this.#dirty.delete(after.id);
    if (document !== null) this.#match(document, after);
    const orgId = this.#owners.get(after.id);
    if (orgId !== undefined) this.restOf(orgId);
  }

  #match(document: JsonObject, after: Assistant): void {
    const stamp = stampOf(document);
    if (stamp !== null && holds(after, document))
      this.#matched.add(`${stamp.saveId} ${stamp.role} ${after.id}`);
  }

  /** A person did something in the dashboard. */
  touched(assistantId: string, edit?: { fields: JsonObject; after: Assistant }): void {
    this.#dirty.add(assistantId);
    if (edit === undefined) return;
    this.#edited.add(`${assistantId} ${stampOf(edit.after as JsonObject)?.saveId}`);
    this.#match(edit.fields, edit.after);
  }

  /** Whenever no save of an organization is open, both systems hold the same. `strict`: whatever people did, after the sweep. */
  restOf(orgId: string, strict = false): void {
    const { model, bounded } = this.#options;
    if ((!bounded && !strict) || model.openSaveOf(orgId) !== undefined) return;
    for (const agent of model.agentsOf(orgId)) {
      if (!strict && this.#dirty.has(agent.assistantId)) continue;
      const difference = this.#difference(agent);
      if (difference !== null)
        this.violate('both systems are equal at rest', `${orgId} ${agent.role}: ${difference}`);
    }
    if (strict || bounded) this.#noOrphans(orgId, strict);
  }

  #difference(agent: AgentRow): string | null {
    const { model, store } = this.#options;
    const assistant = store.all().find(({ id }) => id === agent.assistantId);
    if (agent.missingSince !== null)
      return assistant === undefined ? null : 'said to be missing, and is there';
    if (assistant === undefined) return 'its assistant does not exist';
    // Shown, and left to the organization.
    if (agent.drift.length > 0) return null;
    const stamp = {
      deployment: model.deployment,
      orgId: agent.orgId,
      agentId: agent.id,
      role: agent.role,
      saveId: agent.lastSaveId,
      revision: agent.revision,
    };
    const document = renderAssistant(agent.mappingVersion, agent.config, stamp, {});
    const wrong = Object.keys(document).filter((key) => !jsonEqual(document[key], assistant[key]));
    if (wrong.length === 0) return null;
    return `${wrong
      .map((key) => `${key} is ${JSON.stringify(assistant[key])} and not ${JSON.stringify(document[key])}`)
      .join('; ')
      .slice(0, 500)}`;
  }

  /** Assistants of an organization that no agent keeps: none, or none past the age at which the sweep deletes them. */
  #noOrphans(orgId: string, afterSweep: boolean): void {
    const { model, store, orphanAgeMs } = this.#options;
    const agents = model.agentsOf(orgId);
    const live = new Map<string, number>();
    for (const assistant of store.all()) {
      const stamp = stampOf(assistant as JsonObject);
      if (this.#owners.get(assistant.id) !== orgId) continue;
      if (stamp !== null) live.set(stamp.agentId, (live.get(stamp.agentId) ?? 0) + 1);
      if (agents.some(({ assistantId }) => assistantId === assistant.id)) continue;
      // A person has destroyed the stamp: nobody can know any more whose it was.
      if (stamp === null || this.#dirty.has(assistant.id)) continue;
      const age = (model.save(stamp.saveId)?.finishedAt ?? null) === null ? 0 : this.#ageOf(stamp.saveId);
      if (!afterSweep || age > orphanAgeMs)
        this.violate('no orphan past its age', `${assistant.id} of ${stamp.saveId}`);
    }
    for (const [agentId, count] of live)
      if (count > 1 && !afterSweep) this.violate('one assistant an agent', `${count} of ${agentId}`);
  }

  #ageOf(saveId: string): number {
    const { model } = this.#options;
    return model.now - (model.save(saveId)?.finishedAt ?? 0);
  }

  /** What a caller was told, and under which ids the save can have begun. */
  told(told: Told): void {
    this.#told.push(told);
    const { model } = this.#options;
    const { outcome, key, orgId } = told;
    if (outcome.kind === 'committed') {
      const save = model.save(outcome.save.id);
      if (save?.status !== 'COMMITTED')
        this.violate('what was told is true', `${outcome.save.id} is no commit`);
      for (const agent of outcome.agents) {
        const kept = model.revisionsOf(agent.id).find(({ revision }) => revision === agent.revision);
        if (
          kept === undefined ||
          !jsonEqual(kept.config, agent.config) ||
          kept.assistantId !== agent.assistantId
        )
          this.violate('what was told is true', `revision ${agent.revision} of ${agent.role} is other`);
      }
      const named = outcome.save.results.map(({ role }) => role).sort();
      if (!jsonEqual(named, outcome.agents.map(({ role }) => role).sort()) || named.length === 0)
        this.violate('what was told is true', `${outcome.save.id} told of other agents than it names`);
      if (outcome.save.results.some((result) => !(result.success && result.vapiSynced && result.dbUpdated)))
        this.violate(
          'what was told is true',
          `flags of ${outcome.save.id}: ${JSON.stringify(outcome.save.results)}`,
        );
    }
    if (outcome.kind === 'failed') {
      if (model.save(outcome.save.id)?.status !== 'ROLLED_BACK')
        this.violate('what was told is true', `${outcome.save.id} was told failed`);
      if (outcome.save.results.some((result) => result.success || result.vapiSynced || result.dbUpdated))
        this.violate(
          'what was told is true',
          `flags of ${outcome.save.id}: ${JSON.stringify(outcome.save.results)}`,
        );
    }
    if (key !== null && (outcome.kind === 'committed' || outcome.kind === 'failed')) {
      const { id, results } = outcome.save;
      const answer = canonicalJson({ kind: outcome.kind, id, results, agents: agentsTold(outcome) });
      const known = this.#answersByKey.get(`${orgId} ${key}`);
      if (known !== undefined && known !== answer)
        this.violate('one answer per idempotency key', `${key}: ${known} and ${answer}`);
      this.#answersByKey.set(`${orgId} ${key}`, answer);
    }
  }

  /** At the end, when everything has had its time. */
  atTheEnd(): void {
    const { model, store } = this.#options;
    for (const save of model.openSaves)
      this.violate('nothing is open past its time', `${save.id} is ${save.status}`);
    for (const orgId of model.organizationIds) this.restOf(orgId, true);
    for (const [saveId, was] of this.#closed) {
      if (canonicalJson(model.save(saveId)) !== was)
        this.violate('what is closed stays closed', `${saveId} changed after its end`);
    }
    for (const orgId of model.organizationIds) {
      this.sink(JSON.stringify([model.agentsOf(orgId), model.savesOf(orgId)]));
    }
    for (const { outcome, saveIds } of this.#told) {
      const saveId = 'save' in outcome ? outcome.save.id : null;
      const save = saveId === null ? undefined : model.save(saveId);
      if (outcome.kind === 'committed' && save?.status !== 'COMMITTED')
        this.violate('what was told is true', `${saveId} was told committed and is ${save?.status}`);
      if (outcome.kind === 'failed' || (outcome.kind === 'pending' && save?.status === 'ROLLED_BACK')) {
        const kept = model
          .agentsOf(save?.orgId ?? '')
          .some((agent) => model.revisionsOf(agent.id).some((revision) => revision.saveId === saveId));
        const inVapi = store.all().some((assistant) => stampOf(assistant as JsonObject)?.saveId === saveId);
        if (kept || inVapi)
          this.violate(
            'what was told is true',
            `${saveId} was rolled back and is ${kept ? 'kept' : 'in Vapi'}`,
          );
      }
      if (outcome.kind === 'unavailable' || outcome.kind === 'rate_limited') {
        for (const id of saveIds)
          if (model.save(id) !== undefined)
            this.violate('what was told is true', `${id} began and was told not to`);
      }
    }
  }
}

function agentsTold(outcome: SaveOutcome): { role: AgentRole; revision: number }[] {
  return outcome.kind === 'committed' ? outcome.agents.map(({ role, revision }) => ({ role, revision })) : [];
}

/** Byte for byte what was sent, as far as it was sent. */
function holds(assistant: Assistant, document: JsonObject): boolean {
  return Object.keys(document).every((key) => jsonEqual(document[key], assistant[key]));
}

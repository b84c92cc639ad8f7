import { createHash } from 'node:crypto';
import type { AgentConfig, AgentConfigPatch, AgentRole } from '../../src/domain/agents/agent-config.ts';
import type { AgentRecord, FieldDrift, SaveKind } from '../../src/domain/agents/save.ts';
import { AGENTS } from '../../src/domain/agents/save.ts';
import { type JsonObject, jsonbText, jsonEqual } from '../../src/domain/json.ts';
import type {
  PartImage,
  PartRecord,
  PartResult,
  SagaFailure,
  SagaRecord,
  SagaStatus,
} from '../../src/domain/saga.ts';
import type { BeginOutcome, BeginRequest, SaveJournal } from '../../src/ports/agents/save-journal.ts';
import type { DriftPolicy, SweepNote, SweepStore } from '../../src/ports/agents/sweep-store.ts';
import type { CommittedPart, SagaRef, TakenSaga, TransitionOutcome } from '../../src/ports/saga-journal.ts';
import { isClosed } from '../../src/services/saga/protocol.ts';
import {
  abortStep,
  beginControl,
  commitStep,
  holdStep,
  isDue,
  needsAttentionStep,
  rolledBackStep,
  type SaveControl,
  type Step,
  settleStep,
  takeoverStep,
} from './journal-machine.ts';

/**
 * The database in memory: the functions of sagas and of agents, and those of the sweep, of supabase/migrations, line by line, over an
 * injected clock. Every method is one transaction and takes effect at once; the conformance suite holds each to the SQL.
 */

export interface AgentRow {
  id: string;
  orgId: string;
  role: AgentRole;
  config: AgentConfig;
  assistantId: string;
  revision: number;
  lastSaveId: string;
  mappingVersion: number;
  lastSyncedAt: number;
  checkedAt: number;
  drift: FieldDrift[];
  adoptable: AgentConfigPatch | null;
  missingSince: number | null;
  unconfirmed: boolean;
}

export interface SaveRow extends SaveControl {
  id: string;
  orgId: string;
  idempotencyKey: string | null;
  requestHash: string;
  kind: string;
  cause: SaveKind;
  actor: string | null;
  owner: string;
  /** What it changes: while it is open, no other saga of the organization has one of these. */
  keys: readonly string[];
  mappingVersion: number;
  results: PartResult[];
  failure: SagaFailure | null;
  handedOver: Record<string, PartRecord> | null;
  startedAt: number;
  finishedAt: number | null;
}

export interface RevisionRow {
  agentId: string;
  orgId: string;
  revision: number;
  role: AgentRole;
  config: AgentConfig;
  assistantId: string;
  saveId: string;
  createdAt: number;
}

/** What the cleanup has forgotten has no `before`, and an empty `after`. */
export interface ImageRow extends PartImage {
  sagaId: string;
  orgId: string;
  beforeRevision: number;
}

/** Until then a request of a closed saga may still be applied, so that no other saga may take this key. */
export interface FenceRow {
  key: string;
  until: number;
  sagaId: string;
}

/** What just happened to a save, for whoever checks. `epoch` is what the caller held, not what the row has. */
export interface JournalChange {
  op: 'begin' | 'commit' | 'abort' | 'rolledBack' | 'needsAttention' | 'hold' | 'takeover' | 'settle';
  orgId: string;
  saveId: string;
  epoch: number;
  from: SagaStatus | null;
  to: SagaStatus;
}

export interface JournalModelOptions {
  /** Milliseconds since 1970. */
  now: () => number;
  deployment: string;
  /** Told of each change, after it. */
  onChange?: (change: JournalChange) => void;
}

const ROLES: readonly AgentRole[] = ['INBOUND', 'OUTBOUND'];
/** The key of saves of agents. */
const KEYS = [AGENTS];
const RETENTION_MS = 72 * 3_600_000;
const DAY_MS = 86_400_000;

export class JournalModel {
  readonly deployment: string;
  readonly #now: () => number;
  readonly #onChange: (change: JournalChange) => void;
  readonly #organizations = new Map<string, { driftPolicy: DriftPolicy }>();
  /** Organizations that have a row to lock. */
  readonly #locks = new Set<string>();
  readonly #fences = new Map<string, FenceRow[]>();
  protected readonly agents = new Map<string, AgentRow>();
  readonly #saves = new Map<string, SaveRow>();
  readonly #revisions: RevisionRow[] = [];
  protected readonly images = new Map<string, ImageRow[]>();
  readonly #forgotten = new Set<string>();
  readonly #observed = new Map<string, JsonObject>();
  #sweepLease: { owner: string; until: number } | null = null;

  constructor({ now, deployment, onChange = () => {} }: JournalModelOptions) {
    this.#now = now;
    this.deployment = deployment;
    this.#onChange = onChange;
  }

  createOrganization(id: string, driftPolicy: DriftPolicy = 'REVERT'): void {
    this.#organizations.set(id, { driftPolicy });
  }

  setDriftPolicy(orgId: string, driftPolicy: DriftPolicy): boolean {
    const found = this.#enter(orgId);
    if (found) this.#organizations.set(orgId, { driftPolicy });
    return found;
  }

  get now(): number {
    return this.#now();
  }

  // What is there, for whoever checks. Rows are replaced, never changed, except a save's.

  get organizationIds(): string[] {
    return [...this.#organizations.keys()];
  }

  /** In the order of roles. */
  agentsOf(orgId: string): AgentRow[] {
    return ROLES.flatMap((role) => this.#agentOf(orgId, role) ?? []);
  }

  save(id: string): SaveRow | undefined {
    return this.#saves.get(id);
  }

  /** In the order in which they began. */
  savesOf(orgId: string): SaveRow[] {
    return [...this.#saves.values()].filter((save) => save.orgId === orgId);
  }

  get openSaves(): SaveRow[] {
    return [...this.#saves.values()].filter((save) => !isClosed(save.status));
  }

  openSaveOf(orgId: string): SaveRow | undefined {
    for (const save of this.#saves.values()) if (save.orgId === orgId && !isClosed(save.status)) return save;
    return undefined;
  }

  /** The open saga that has one of these keys: the primary key of the table of keys, for a test of the tests to leave out. */
  protected blockingSaveOf(orgId: string, keys: readonly string[]): SaveRow | undefined {
    return this.openSaves.find((save) => save.orgId === orgId && save.keys.some((key) => keys.includes(key)));
  }

  /** The unique key (organization, role), likewise. */
  protected refusesSecondOfRole(): boolean {
    return true;
  }

  revisionsOf(agentId: string): RevisionRow[] {
    return this.#revisions.filter((revision) => revision.agentId === agentId);
  }

  imagesOf(saveId: string): ImageRow[] {
    return this.images.get(saveId) ?? [];
  }

  observedOf(agentId: string): JsonObject | undefined {
    return this.#observed.get(agentId);
  }

  hasLock(orgId: string): boolean {
    return this.#locks.has(orgId);
  }

  fencesOf(orgId: string): FenceRow[] {
    return this.#fences.get(orgId) ?? [];
  }

  /** The longest fence of all organizations; null = none. */
  get lastFence(): number | null {
    const fences = [...this.#fences.values()].flat();
    return fences.length === 0 ? null : Math.max(...fences.map(({ until }) => until));
  }

  // The functions of sagas.

  begin(orgId: string, saveId: string, owner: string, request: BeginRequest): BeginOutcome {
    const isFirst = !this.#locks.has(orgId);
    try {
      return this.#begin(orgId, saveId, owner, request);
    } catch (error) {
      // What fails is rolled back whole.
      if (isFirst) this.#locks.delete(orgId);
      throw error;
    }
  }

  #begin(orgId: string, saveId: string, owner: string, request: BeginRequest): BeginOutcome {
    if (!this.#enter(orgId)) return { outcome: 'NO_ORGANIZATION' };
    const now = this.#now();
    let known = this.#find(orgId, saveId);
    if (known === undefined && request.idempotencyKey !== null) {
      known = this.savesOf(orgId).find((save) => save.idempotencyKey === request.idempotencyKey);
      if (known !== undefined && known.requestHash !== request.requestHash)
        return { outcome: 'IDEMPOTENCY_CONFLICT', sagaId: known.id };
    }
    if (known !== undefined) {
      return known.id === saveId && known.owner === owner && known.epoch === 1 && known.status === 'APPLYING'
        ? this.#begun(known)
        : { outcome: 'REPLAY', saga: sagaJson(known), rows: this.#agentsLeftBy(known) };
    }
    const limited = this.#limited(orgId, request);
    if (limited !== null) return { outcome: 'RATE_LIMITED', retryAfterMs: limited };

    if (request.notAfter !== undefined && now > Date.parse(request.notAfter)) return { outcome: 'TOO_LATE' };

    const open = this.blockingSaveOf(orgId, KEYS);
    if (open !== undefined) {
      return {
        outcome: 'IN_PROGRESS',
        sagaId: open.id,
        status: open.status,
        retryAfterMs: this.#retryAfterMs(open, now),
      };
    }
    const [fence] = this.fencesOf(orgId)
      .filter(({ key, until }) => KEYS.includes(key) && until > now)
      .sort((a, b) => b.until - a.until);
    if (fence !== undefined) {
      const fencing = this.#saves.get(fence.sagaId);
      if (fencing === undefined) throw new Error('a fence without its saga');
      return {
        outcome: 'IN_PROGRESS',
        sagaId: fencing.id,
        status: fencing.status,
        retryAfterMs: this.#msUntil(fence.until),
      };
    }

    const current: AgentRow[] = [];
    const images: ImageRow[] = [];
    const incomplete: { role: AgentRole; field: string }[] = [];
    const missing: AgentRole[] = [];
    let stale = false;
    for (const update of [...request.updates].sort((a, b) => (a.role < b.role ? -1 : 1))) {
      const agent = this.#agentOf(orgId, update.role);
      if (update.agentId !== null && agent?.id !== update.agentId)
        return { outcome: 'NO_AGENT', role: update.role };
      if (agent !== undefined) current.push(agent);
      if (update.expectedRevision !== null && update.expectedRevision !== (agent?.revision ?? 0))
        stale = true;
      if (update.expectedSaveId != null && update.expectedSaveId !== agent?.lastSaveId) stale = true;
      const stored = { ...update.defaults, ...agent?.config };
      const after = { ...stored, ...update.patch } as AgentConfig;
      if (after.systemPrompt == null) incomplete.push({ role: update.role, field: 'systemPrompt' });
      const isMissing = agent !== undefined && agent.missingSince !== null;
      if (isMissing && !update.recreateIfMissing) missing.push(update.role);
      const beforeRevision = agent?.revision ?? 0;
      // A default that the stored configuration lacks is no change.
      const isKept = agent !== undefined && jsonEqual(stored, after);
      const content = contentOf(after);
      images.push({
        sagaId: saveId,
        orgId,
        key: update.role,
        resource: 'agent',
        resourceId: agent?.id ?? update.newAgentId,
        remoteId: agent === undefined || isMissing ? null : agent.assistantId,
        recreate: update.recreateIfMissing,
        before:
          agent === undefined
            ? null
            : {
                content: contentOf(agent.config),
                revision: agent.revision,
                sagaId: agent.lastSaveId,
                mappingVersion: agent.mappingVersion,
                context: {},
              },
        beforeRevision,
        // The next revision where the configuration changes, the same one where it does not.
        after: { content, revision: isKept ? beforeRevision : beforeRevision + 1, context: {} },
      });
    }
    if (stale) return { outcome: 'REVISION_CONFLICT', agents: current.map(agentJson) };
    if (incomplete.length > 0) return { outcome: 'INCOMPLETE', missing: incomplete };

    if (this.#saves.has(saveId)) throw new Error('the id of a save of another organization');
    const refused = missing.length > 0;
    const save: SaveRow = {
      ...beginControl(now, request),
      id: saveId,
      orgId,
      idempotencyKey: request.idempotencyKey,
      requestHash: request.requestHash,
      kind: AGENTS,
      cause: request.cause,
      actor: request.actor,
      owner,
      keys: KEYS,
      mappingVersion: request.mappingVersion,
      results: images.map((image): PartResult => {
        const result: PartResult = {
          key: image.key,
          resourceId: image.resourceId,
          success: false,
          vapiSynced: null,
          dbUpdated: false,
          remoteId: image.remoteId,
          error: null,
          revision: null,
        };
        if (refused) {
          const error = missing.some((role) => role === image.key)
            ? 'The assistant was deleted in Vapi; save with recreateIfMissing: true to make a new one.'
            : "Not attempted: the other agent's assistant was deleted in Vapi.";
          return { ...result, vapiSynced: false, error };
        }
        return result;
      }),
      failure: refused
        ? {
            reason: 'RESOURCE_MISSING',
            message: 'An assistant was deleted in Vapi; nothing was changed.',
            retryable: false,
          }
        : null,
      handedOver: null,
      startedAt: now,
      finishedAt: null,
    };
    if (refused) {
      save.status = 'ROLLED_BACK';
      save.leaseUntil = null;
      save.finishedAt = now;
    } else {
      this.images.set(saveId, images);
    }
    this.#saves.set(saveId, save);
    this.#changed('begin', save, 1, null);
    if (refused) return { outcome: 'REFUSED', saga: sagaJson(save), rows: [] };
    return this.#begun(save);
  }

  /** How long until the organization may begin one more save; null = it may now. */
  #limited(orgId: string, { limit }: BeginRequest): number | null {
    if (limit == null) return null;
    const since = this.#now() - limit.perMs;
    const oldest = this.savesOf(orgId)
      .filter((save) => save.actor !== null && save.startedAt > since)
      .sort((a, b) => b.startedAt - a.startedAt)[limit.saves - 1];
    return oldest === undefined ? null : this.#msUntil(oldest.startedAt + limit.perMs);
  }

  commit(
    ref: SagaRef,
    request: { parts: CommittedPart[]; ambiguous: boolean; lateMs: number },
  ): TransitionOutcome<AgentRecord> {
    return this.#transition('commit', ref, (save) => commitStep(save, ref.epoch, request), {
      write: (save) => this.#applyCommit(save, request.parts),
    });
  }

  abort(ref: SagaRef, request: Parameters<SaveJournal['abort']>[1]): TransitionOutcome<AgentRecord> {
    return this.#transition('abort', ref, (save) => abortStep(save, ref.epoch, request, this.#now()), {
      write: (save) => {
        save.results = request.results;
        save.failure = request.failure;
        save.handedOver = save.ambiguous ? (request.handedOver ?? null) : null;
        if (isClosed(save.status)) this.#noteMissing(save.id, request.missing);
        return [];
      },
    });
  }

  rolledBack(
    ref: SagaRef,
    request: Parameters<SaveJournal['rolledBack']>[1],
  ): TransitionOutcome<AgentRecord> {
    return this.#transition('rolledBack', ref, (save) => rolledBackStep(save, ref.epoch, request), {
      write: (save) => {
        save.results = request.results;
        this.#noteMissing(save.id, request.missing);
        return [];
      },
    });
  }

  needsAttention(
    ref: SagaRef,
    request: Parameters<SaveJournal['needsAttention']>[1],
  ): TransitionOutcome<AgentRecord> {
    return this.#transition(
      'needsAttention',
      ref,
      (save) => needsAttentionStep(save, ref.epoch, request, this.#now()),
      {
        write: (save) => {
          save.results = request.results;
          save.failure = request.failure;
          return [];
        },
      },
    );
  }

  hold(ref: SagaRef, request: Parameters<SaveJournal['hold']>[1]): TransitionOutcome<AgentRecord> {
    return this.#transition('hold', ref, (save) => holdStep(save, ref.epoch, request, this.#now()), {
      write: (save) => {
        save.results = request.results;
        save.handedOver = request.handedOver ?? null;
        return [];
      },
      outcome: 'HELD',
    });
  }

  settle(
    ref: SagaRef,
    status: 'COMMITTED' | 'ROLLED_BACK',
    request: Parameters<SaveJournal['settle']>[2],
  ): TransitionOutcome<AgentRecord> {
    return this.#transition(
      'settle',
      ref,
      (save) => settleStep(save, ref.epoch, status, request.lateMs, this.#now()),
      {
        write: (save) => {
          if (status === 'COMMITTED') return this.#applyCommit(save, request.parts ?? []);
          if (request.results === undefined) throw new Error('a save that is rolled back has results');
          save.results = request.results;
          this.#noteMissing(save.id, request.missing ?? []);
          return [];
        },
      },
    );
  }

  due(limit: number): { orgId: string; sagaId: string }[] {
    const now = this.#now();
    return [...this.#saves.values()]
      .filter((save) => isDue(save, now))
      .sort((a, b) => (a.leaseUntil ?? -Infinity) - (b.leaseUntil ?? -Infinity) || 0)
      .slice(0, limit)
      .map((save) => ({ orgId: save.orgId, sagaId: save.id }));
  }

  takeover(
    orgId: string,
    saveId: string,
    owner: string,
    leaseMs: number,
  ): TakenSaga | { outcome: 'BUSY' | 'NOT_DUE' } {
    // Nothing is concurrent here: busy is only an organization that never had a save.
    if (!this.#locks.has(orgId)) return { outcome: 'BUSY' };
    const save = this.#find(orgId, saveId);
    const taken = save === undefined ? null : takeoverStep(save, leaseMs, this.#now());
    if (save === undefined || taken === null) return { outcome: 'NOT_DUE' };
    const { status: from, handedOver } = save;
    Object.assign(save, taken.control, { owner, handedOver: null });
    this.#changed('takeover', save, save.epoch, from);
    return {
      outcome: 'TAKEN',
      saga: sagaJson(save),
      images: this.#imagesJson(save.id),
      deployment: this.deployment,
      once: taken.once,
      quarantined: taken.quarantined,
      pastDeadline: taken.pastDeadline,
      handedOver,
      pivotSent: save.pivotSent,
    };
  }

  inspect(orgId: string, saveId: string): Awaited<ReturnType<SaveJournal['inspect']>> {
    this.#enter(orgId);
    const save = this.#find(orgId, saveId);
    if (save === undefined) return { outcome: 'NO_SAGA' };
    return {
      outcome: 'FOUND',
      saga: sagaJson(save),
      images: this.#imagesJson(saveId),
      deployment: this.deployment,
      notBeforeMs: this.#msUntil(save.quarantineUntil ?? 0),
      leaseMs: save.leaseUntil === null ? null : this.#msUntil(save.leaseUntil),
    };
  }

  // The sweep's functions.

  takeLease(owner: string, ms: number): number {
    const now = this.#now();
    if (this.#sweepLease !== null && this.#sweepLease.owner !== owner && this.#sweepLease.until > now)
      return this.#sweepLease.until - now;
    this.#sweepLease = { owner, until: now + ms };
    return 0;
  }

  releaseLease(owner: string): void {
    if (this.#sweepLease?.owner === owner) this.#sweepLease.until = this.#now();
  }

  lookup(assistantIds: string[]): Awaited<ReturnType<SweepStore['lookup']>> {
    const wanted = new Set(assistantIds);
    return [...this.agents.values()]
      .filter((agent) => wanted.has(agent.assistantId))
      .map((agent) => ({
        orgId: agent.orgId,
        agentId: agent.id,
        role: agent.role,
        assistantId: agent.assistantId,
        revision: agent.revision,
        saveId: agent.lastSaveId,
        config: agent.config,
        mappingVersion: agent.mappingVersion,
        context: {},
        observed: this.#observed.get(agent.id) ?? null,
        missing: agent.missingSince !== null,
        policy: this.#organizations.get(agent.orgId)?.driftPolicy ?? 'REVERT',
        busy: this.#isBusy(agent.orgId),
      }));
  }

  listed(assistantIds: string[]): Awaited<ReturnType<SweepStore['listed']>> {
    const wanted = new Set(assistantIds);
    return [...this.agents.values()]
      .filter((agent) => wanted.has(agent.assistantId))
      .map((agent) => {
        const observed = this.#observed.get(agent.id);
        return {
          orgId: agent.orgId,
          agentId: agent.id,
          assistantId: agent.assistantId,
          revision: agent.revision,
          saveId: agent.lastSaveId,
          mappingVersion: agent.mappingVersion,
          context: {},
          hash:
            observed === undefined ? null : createHash('sha256').update(jsonbText(observed)).digest('hex'),
          news: agent.missingSince !== null || agent.unconfirmed || agent.drift.length > 0,
          busy: this.#isBusy(agent.orgId),
        };
      });
  }

  page(afterAgentId: string | null, limit: number): Awaited<ReturnType<SweepStore['page']>> {
    return [...this.agents.values()]
      .filter((agent) => afterAgentId === null || agent.id > afterAgentId)
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .slice(0, limit)
      .map((agent) => ({
        orgId: agent.orgId,
        agentId: agent.id,
        assistantId: agent.assistantId,
        revision: agent.revision,
        saveId: agent.lastSaveId,
        missing: agent.missingSince !== null,
      }));
  }

  note(notes: SweepNote[]): string[] {
    const noted: string[] = [];
    for (const note of [...notes].sort((a, b) => (a.orgId < b.orgId ? -1 : a.orgId > b.orgId ? 1 : 0))) {
      if (!this.#enter(note.orgId)) continue;
      const agent = this.agents.get(note.agentId);
      if (
        agent === undefined ||
        agent.orgId !== note.orgId ||
        agent.revision !== note.revision ||
        agent.lastSaveId !== note.saveId ||
        (note.state !== 'UNCONFIRMED' && this.#isBusy(note.orgId))
      ) {
        continue;
      }
      noted.push(agent.id);
      if (note.state === 'UNCONFIRMED') {
        this.agents.set(agent.id, { ...agent, unconfirmed: true });
        continue;
      }
      const now = this.#now();
      this.agents.set(agent.id, {
        ...agent,
        checkedAt: now,
        drift: note.state === 'DRIFTED' ? (note.drift ?? []) : [],
        adoptable: note.state === 'DRIFTED' ? (note.adoptable ?? null) : null,
        missingSince: note.state === 'MISSING' ? (agent.missingSince ?? now) : null,
        unconfirmed: false,
      });
    }
    return noted;
  }

  /** The end of a complete walk; nothing in here looks at its time. */
  done(agoMs: number): string {
    return iso(this.#now() - agoMs);
  }

  orphans(candidates: Parameters<SweepStore['orphans']>[0], ageMs: number): string[] {
    return candidates
      .filter((one) => {
        const save = this.#find(one.orgId, one.saveId);
        return (
          one.deployment === this.deployment &&
          save !== undefined &&
          save.finishedAt !== null &&
          save.finishedAt < this.#now() - ageMs &&
          (save.status === 'ROLLED_BACK' || save.ambiguous) &&
          this.imagesOf(save.id).some(
            (image) =>
              image.key === one.role &&
              image.resourceId === one.agentId &&
              (image.remoteId === null || image.recreate),
          ) &&
          !this.agentsOf(one.orgId).some((agent) => agent.assistantId === one.assistantId) &&
          !this.#revisions.some(
            (revision) => revision.orgId === one.orgId && revision.assistantId === one.assistantId,
          )
        );
      })
      .map((one) => one.assistantId);
  }

  cleanup(limit: number, keepDays: number): number {
    const expired = (save: SaveRow | undefined) =>
      save?.finishedAt != null && save.finishedAt < this.#now() - RETENTION_MS;
    const saves = [...this.#saves.values()]
      .filter((save) => !this.#forgotten.has(save.id) && expired(save))
      .sort((a, b) => (a.finishedAt ?? 0) - (b.finishedAt ?? 0))
      .slice(0, limit);
    for (const save of saves) {
      this.#forgotten.add(save.id);
      save.idempotencyKey = null;
      const rows = this.images.get(save.id);
      if (rows !== undefined)
        this.images.set(
          save.id,
          rows.map((row) => ({ ...row, before: null, after: { ...row.after, content: {} } })),
        );
    }
    const old = [...this.#saves.values()]
      .filter(
        (save) =>
          this.#forgotten.has(save.id) &&
          !this.#revisions.some((revision) => revision.saveId === save.id) &&
          (save.finishedAt ?? Infinity) < this.#now() - keepDays * DAY_MS,
      )
      .sort((a, b) => (a.finishedAt ?? 0) - (b.finishedAt ?? 0))
      .slice(0, limit);
    for (const save of old) {
      this.#saves.delete(save.id);
      this.images.delete(save.id);
    }
    return saves.length + old.length;
  }

  // What they are made of.

  /** As the function does it: the organization's lock row exists from its first call on. */
  #enter(orgId: string): boolean {
    if (!this.#organizations.has(orgId)) return false;
    this.#locks.add(orgId);
    return true;
  }

  /** As row-level security lets the function see it: a save of another organization is no save. */
  #find(orgId: string, saveId: string): SaveRow | undefined {
    const save = this.#saves.get(saveId);
    return save?.orgId === orgId ? save : undefined;
  }

  #agentOf(orgId: string, role: AgentRole): AgentRow | undefined {
    for (const agent of this.agents.values()) if (agent.orgId === orgId && agent.role === role) return agent;
    return undefined;
  }

  #isBusy(orgId: string): boolean {
    return (
      this.openSaves.some((save) => save.orgId === orgId && save.keys.includes(AGENTS)) ||
      this.fencesOf(orgId).some(({ key, until }) => key === AGENTS && until > this.#now())
    );
  }

  /** When a caller who meets this open save should try again. */
  #retryAfterMs(save: SaveRow, now: number): number | null {
    if (save.status === 'NEEDS_ATTENTION') return null;
    const notBefore = Math.max(save.quarantineUntil ?? 0, save.lookAt ?? 0);
    if (notBefore > now) return this.#msUntil(notBefore);
    const left = save.epoch > 1 && save.leaseUntil !== null ? this.#msUntil(save.leaseUntil) : Infinity;
    return Math.max(250, Math.min(5_000, Math.floor((now - save.startedAt) / 2), left));
  }

  #msUntil(then: number): number {
    return Math.max(0, Math.ceil(then - this.#now()));
  }

  #begun(save: SaveRow): BeginOutcome {
    return {
      outcome: 'BEGUN',
      saga: sagaJson(save),
      images: this.#imagesJson(save.id),
      deployment: this.deployment,
    };
  }

  #imagesJson(saveId: string): PartImage[] {
    return this.imagesOf(saveId).map(
      ({ sagaId: _sagaId, orgId: _orgId, beforeRevision: _before, ...image }) => image,
    );
  }

  #transition(
    op: JournalChange['op'],
    ref: SagaRef,
    step: (save: SaveControl) => Step,
    take: {
      /** Answers the agents that it changed. */
      write: (save: SaveRow) => AgentRecord[];
      outcome?: 'HELD';
    },
  ): TransitionOutcome<AgentRecord> {
    this.#enter(ref.orgId);
    const save = this.#find(ref.orgId, ref.sagaId);
    if (save === undefined) return { outcome: 'NO_SAGA' };
    const taken = step(save);
    if (taken.kind === 'stale')
      return { outcome: 'STALE', saga: sagaJson(save), rows: this.#agentsLeftBy(save) };
    if (taken.kind === 'too early')
      return {
        ...{ outcome: 'TOO_EARLY', saga: sagaJson(save), rows: [] },
        notBeforeMs: this.#msUntil(save.quarantineUntil ?? 0),
      };
    if (taken.kind === 'repeated')
      return { outcome: save.status, saga: sagaJson(save), rows: this.#agentsLeftBy(save) };
    const from = save.status;
    // Written on a copy, because whatever fails in here is rolled back whole.
    const next = { ...save, ...taken.control };
    if (isClosed(next.status)) next.finishedAt = this.#now();
    const rows = take.write(next);
    Object.assign(save, next);
    if (taken.fenceMs !== null) this.#raiseFences(save, taken.fenceMs);
    this.#changed(op, save, ref.epoch, from);
    return {
      outcome: take.outcome ?? save.status,
      saga: sagaJson(save),
      rows,
    };
  }

  #applyCommit(save: SaveRow, seen: CommittedPart[]): AgentRecord[] {
    const now = this.#now();
    // Row by row, on a copy: one refusal takes all of them back.
    const agents = new Map(this.agents);
    const rows: AgentRow[] = [];
    for (const image of this.imagesOf(save.id)) {
      const role = image.key as AgentRole;
      const answer = seen.find(({ key }) => key === role);
      if (answer === undefined || answer.remoteId === '')
        throw new Error(`saga ${save.id}: no matching answer for ${role}`);
      const stored = agents.get(image.resourceId);
      if (
        (stored?.revision ?? 0) !== image.beforeRevision ||
        (stored !== undefined && stored.lastSaveId !== image.before?.sagaId)
      )
        throw new Error(`saga ${save.id}: ${role} is no longer at revision ${image.beforeRevision}`);
      for (const other of agents.values()) {
        if (other.id === image.resourceId) continue;
        if (other.assistantId === answer.remoteId) throw new Error('two agents with one assistant');
        if (other.orgId === save.orgId && other.role === role) throw new Error('two agents of one role');
      }
      const row: AgentRow = {
        id: image.resourceId,
        orgId: save.orgId,
        role,
        config: image.after.content as unknown as AgentConfig,
        assistantId: answer.remoteId,
        revision: image.after.revision,
        lastSaveId: save.id,
        mappingVersion: save.mappingVersion,
        lastSyncedAt: now,
        checkedAt: now,
        drift: [],
        adoptable: null,
        missingSince: null,
        unconfirmed: false,
      };
      agents.set(row.id, row);
      rows.push(row);
    }
    for (const row of rows) {
      this.agents.set(row.id, row);
      const answer = seen.find(({ key }) => key === row.role);
      if (answer !== undefined) this.#observed.set(row.id, answer.observed);
      const isKept = this.#revisions.some(
        ({ agentId, revision }) => agentId === row.id && revision === row.revision,
      );
      if (isKept) continue;
      this.#revisions.push({
        agentId: row.id,
        orgId: row.orgId,
        revision: row.revision,
        role: row.role,
        config: row.config,
        assistantId: row.assistantId,
        saveId: save.id,
        createdAt: now,
      });
    }
    save.failure = null;
    save.finishedAt = now;
    save.results = rows.map((row) => ({
      key: row.role,
      resourceId: row.id,
      success: true,
      vapiSynced: true,
      dbUpdated: true,
      remoteId: row.assistantId,
      error: null,
      revision: row.revision,
    }));
    return rows.map(agentJson);
  }

  /** A closed saga gives its keys back: those that a late request of it may still change, behind a fence. */
  #raiseFences({ orgId, id: sagaId, keys }: SaveRow, lateMs: number): void {
    const before = this.fencesOf(orgId);
    const raised = keys.map((key): FenceRow => {
      const until = before.find((fence) => fence.key === key)?.until ?? -Infinity;
      return { key, until: Math.max(until, this.#now() + lateMs), sagaId };
    });
    this.#fences.set(orgId, [...before.filter(({ key }) => !keys.includes(key)), ...raised]);
  }

  /** Known of the assistant that the save named, not of a later one. */
  #noteMissing(saveId: string, keys: string[]): void {
    const now = this.#now();
    for (const image of this.imagesOf(saveId)) {
      const agent = this.agents.get(image.resourceId);
      if (!keys.includes(image.key) || agent === undefined || agent.assistantId !== image.remoteId) continue;
      this.agents.set(agent.id, { ...agent, missingSince: agent.missingSince ?? now, checkedAt: now });
    }
  }

  /** The agents as this save left them, whatever came later. */
  #agentsLeftBy(save: SaveRow): AgentRecord[] {
    const at = save.finishedAt === null ? '' : iso(save.finishedAt);
    return save.results
      .flatMap((result) =>
        this.#revisions
          .filter(
            (revision) => revision.agentId === result.resourceId && revision.revision === result.revision,
          )
          .map((revision) => ({ ...revision, assistantId: result.remoteId ?? '' })),
      )
      .sort((a, b) => (a.role < b.role ? -1 : 1))
      .map((revision) => ({
        id: revision.agentId,
        role: revision.role,
        config: revision.config,
        assistantId: revision.assistantId,
        revision: revision.revision,
        lastSyncedAt: at,
        checkedAt: at,
        drift: [],
        missing: false,
        adoptable: null,
      }));
  }

  #changed(op: JournalChange['op'], save: SaveRow, epoch: number, from: SagaStatus | null): void {
    this.#onChange({ op, orgId: save.orgId, saveId: save.id, epoch, from, to: save.status });
  }
}

/** The model behind the services' two ports; every call takes effect at once. */
export function portsOf(model: JournalModel): { journal: SaveJournal; sweepStore: SweepStore } {
  return {
    journal: {
      begin: async (...args) => model.begin(...args),
      commit: async (...args) => model.commit(...args),
      abort: async (...args) => model.abort(...args),
      rolledBack: async (...args) => model.rolledBack(...args),
      needsAttention: async (...args) => model.needsAttention(...args),
      hold: async (...args) => model.hold(...args),
      due: async (...args) => model.due(...args),
      takeover: async (...args) => model.takeover(...args),
      inspect: async (...args) => model.inspect(...args),
      settle: async (...args) => model.settle(...args),
    },
    sweepStore: {
      takeLease: async (...args) => model.takeLease(...args),
      releaseLease: async (...args) => model.releaseLease(...args),
      lookup: async (...args) => model.lookup(...args),
      listed: async (...args) => model.listed(...args),
      done: async (...args) => model.done(...args),
      page: async (...args) => model.page(...args),
      note: async (...args) => model.note(...args),
      orphans: async (...args) => model.orphans(...args),
      setDriftPolicy: async (...args) => model.setDriftPolicy(...args),
      cleanup: async (...args) => model.cleanup(...args),
    },
  };
}

function contentOf(config: AgentConfig): JsonObject {
  return config as unknown as JsonObject;
}

function sagaJson(save: SaveRow): SagaRecord {
  return {
    id: save.id,
    status: save.status,
    epoch: save.epoch,
    kind: save.kind,
    cause: save.cause,
    ambiguous: save.ambiguous,
    mappingVersion: save.mappingVersion,
    results: save.results,
    failure: save.failure,
    startedAt: iso(save.startedAt),
    finishedAt: save.finishedAt === null ? null : iso(save.finishedAt),
  };
}

function agentJson(agent: AgentRow): AgentRecord {
  return {
    id: agent.id,
    role: agent.role,
    config: agent.config,
    assistantId: agent.assistantId,
    revision: agent.revision,
    lastSyncedAt: iso(agent.lastSyncedAt),
    checkedAt: iso(agent.checkedAt),
    drift: agent.drift,
    missing: agent.missingSince !== null,
    adoptable: agent.adoptable,
  };
}

function iso(time: number): string {
  return new Date(time).toISOString();
}

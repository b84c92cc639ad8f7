import { createHash } from 'node:crypto';
import type { AgentConfig, AgentConfigPatch, AgentRole } from '../../src/domain/agents/agent-config.ts';
import type {
  AgentRecord,
  FieldDrift,
  SaveFailure,
  SaveImage,
  SaveKind,
  SaveRecord,
  SaveStatus,
  TransactionResult,
} from '../../src/domain/agents/save.ts';
import { type JsonObject, jsonbText, jsonEqual } from '../../src/domain/json.ts';
import type {
  BeginOutcome,
  BeginRequest,
  CommittedAgent,
  SaveJournal,
  SaveRef,
  TakenSave,
  TransitionOutcome,
} from '../../src/ports/agents/save-journal.ts';
import type { DriftPolicy, SweepNote, SweepStore } from '../../src/ports/agents/sweep-store.ts';
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
 * The database of saves in memory: the save functions and the sweep's functions of supabase/migrations, line by line, over an
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
  kind: SaveKind;
  actor: string | null;
  owner: string;
  mappingVersion: number;
  results: TransactionResult[];
  failure: SaveFailure | null;
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

export interface ImageRow {
  saveId: string;
  orgId: string;
  role: AgentRole;
  agentId: string;
  assistantId: string | null;
  recreate: boolean;
  before: SaveImage['before'];
  beforeRevision: number;
  /** Null: forgotten by the cleanup. */
  afterConfig: AgentConfig | null;
}

export interface LockRow {
  fenceUntil: number | null;
  fenceSaveId: string | null;
}

/** What just happened to a save, for whoever checks. `epoch` is what the caller held, not what the row has. */
export interface JournalChange {
  op: 'begin' | 'commit' | 'abort' | 'rolledBack' | 'needsAttention' | 'hold' | 'takeover' | 'settle';
  orgId: string;
  saveId: string;
  epoch: number;
  from: SaveStatus | null;
  to: SaveStatus;
}

export interface JournalModelOptions {
  /** Milliseconds since 1970. */
  now: () => number;
  deployment: string;
  /** Told of each change, after it. */
  onChange?: (change: JournalChange) => void;
}

const ROLES: readonly AgentRole[] = ['INBOUND', 'OUTBOUND'];
const RETENTION_MS = 72 * 3_600_000;
const DAY_MS = 86_400_000;

export class JournalModel {
  readonly deployment: string;
  readonly #now: () => number;
  readonly #onChange: (change: JournalChange) => void;
  readonly #organizations = new Map<string, { driftPolicy: DriftPolicy }>();
  readonly #locks = new Map<string, LockRow>();
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

  /** The unique index on open saves, for a test of the tests to leave out. */
  protected blockingSaveOf(orgId: string): SaveRow | undefined {
    return this.openSaveOf(orgId);
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

  lockOf(orgId: string): LockRow | undefined {
    return this.#locks.get(orgId);
  }

  /** The longest fence of all organizations; null = none. */
  get lastFence(): number | null {
    const fences = [...this.#locks.values()].flatMap((lock) => lock.fenceUntil ?? []);
    return fences.length === 0 ? null : Math.max(...fences);
  }

  // The save functions.

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
    const limited = this.#limited(orgId, saveId, request);
    if (limited !== null) return { outcome: 'RATE_LIMITED', retryAfterMs: limited };
    const now = this.#now();
    let known = this.#find(orgId, saveId);
    if (known === undefined && request.idempotencyKey !== null) {
      known = this.savesOf(orgId).find((save) => save.idempotencyKey === request.idempotencyKey);
      if (known !== undefined && known.requestHash !== request.requestHash)
        return { outcome: 'IDEMPOTENCY_CONFLICT', saveId: known.id };
    }
    if (known !== undefined) {
      return known.id === saveId && known.owner === owner && known.epoch === 1 && known.status === 'APPLYING'
        ? this.#begun(known)
        : { outcome: 'REPLAY', save: saveJson(known), agents: this.#saveAgents(known) };
    }

    if (request.notAfter !== undefined && now > Date.parse(request.notAfter)) return { outcome: 'TOO_LATE' };

    const open = this.blockingSaveOf(orgId);
    if (open !== undefined) {
      return {
        outcome: 'IN_PROGRESS',
        saveId: open.id,
        status: open.status,
        retryAfterMs: this.#retryAfterMs(open, now),
      };
    }
    const lock = this.#locks.get(orgId);
    if (lock?.fenceUntil != null && lock.fenceUntil > now) {
      const fencing = this.#saves.get(lock.fenceSaveId ?? '');
      if (fencing === undefined) throw new Error('a fence without its save');
      return {
        outcome: 'IN_PROGRESS',
        saveId: fencing.id,
        status: fencing.status,
        retryAfterMs: this.#msUntil(lock.fenceUntil),
      };
    }

    const current: AgentRow[] = [];
    const images: (ImageRow & { afterConfig: AgentConfig })[] = [];
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
      const after = { ...update.defaults, ...agent?.config, ...update.patch } as AgentConfig;
      if (after.systemPrompt == null) incomplete.push({ role: update.role, field: 'systemPrompt' });
      const isMissing = agent !== undefined && agent.missingSince !== null;
      if (isMissing && !update.recreateIfMissing) missing.push(update.role);
      images.push({
        saveId,
        orgId,
        role: update.role,
        agentId: agent?.id ?? update.newAgentId,
        assistantId: agent === undefined || isMissing ? null : agent.assistantId,
        recreate: update.recreateIfMissing,
        before:
          agent === undefined
            ? null
            : {
                config: agent.config,
                revision: agent.revision,
                saveId: agent.lastSaveId,
                mappingVersion: agent.mappingVersion,
              },
        beforeRevision: agent?.revision ?? 0,
        afterConfig: after,
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
      kind: request.kind,
      actor: request.actor,
      owner,
      mappingVersion: request.mappingVersion,
      results: images.map((image): TransactionResult => {
        const result: TransactionResult = {
          role: image.role,
          agentId: image.agentId,
          success: false,
          vapiSynced: null,
          dbUpdated: false,
          assistantId: image.assistantId,
          error: null,
          revision: null,
        };
        if (refused) {
          const error = missing.includes(image.role)
            ? 'The assistant was deleted in Vapi; save with recreateIfMissing: true to make a new one.'
            : "Not attempted: the other agent's assistant was deleted in Vapi.";
          return { ...result, vapiSynced: false, error };
        }
        return result;
      }),
      failure: refused
        ? {
            reason: 'ASSISTANT_MISSING',
            message: 'An assistant was deleted in Vapi; nothing was changed.',
            retryable: false,
          }
        : null,
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
    if (refused) return { outcome: 'REFUSED_MISSING', save: saveJson(save), agents: [] };
    return this.#begun(save);
  }

  /** How long until the organization may begin one more save; null = it may now, or this save is known already. */
  #limited(orgId: string, saveId: string, { limit, idempotencyKey }: BeginRequest): number | null {
    if (limit == null) return null;
    const saves = this.savesOf(orgId);
    if (
      saves.some(
        (save) => save.id === saveId || (idempotencyKey !== null && save.idempotencyKey === idempotencyKey),
      )
    )
      return null;
    const since = this.#now() - limit.perMs;
    const oldest = saves
      .filter((save) => save.actor !== null && save.startedAt > since)
      .sort((a, b) => b.startedAt - a.startedAt)[limit.saves - 1];
    return oldest === undefined ? null : this.#msUntil(oldest.startedAt + limit.perMs);
  }

  commit(
    ref: SaveRef,
    request: { agents: CommittedAgent[]; ambiguous: boolean; lateMs: number },
  ): TransitionOutcome {
    return this.#transition('commit', ref, (save) => commitStep(save, ref.epoch, request), {
      write: (save) => this.#applyCommit(save, request.agents),
    });
  }

  abort(ref: SaveRef, request: Parameters<SaveJournal['abort']>[1]): TransitionOutcome {
    return this.#transition('abort', ref, (save) => abortStep(save, ref.epoch, request, this.#now()), {
      write: (save) => {
        save.results = request.results;
        save.failure = request.failure;
        if (isClosed(save.status)) this.#noteMissing(save.id, request.missing);
        return [];
      },
      notBefore: true,
    });
  }

  rolledBack(ref: SaveRef, request: Parameters<SaveJournal['rolledBack']>[1]): TransitionOutcome {
    return this.#transition('rolledBack', ref, (save) => rolledBackStep(save, ref.epoch, request), {
      write: (save) => {
        save.results = request.results;
        this.#noteMissing(save.id, request.missing);
        return [];
      },
    });
  }

  needsAttention(ref: SaveRef, request: Parameters<SaveJournal['needsAttention']>[1]): TransitionOutcome {
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

  hold(ref: SaveRef, request: Parameters<SaveJournal['hold']>[1]): TransitionOutcome {
    return this.#transition('hold', ref, (save) => holdStep(save, ref.epoch, request, this.#now()), {
      write: (save) => {
        save.results = request.results;
        return [];
      },
      outcome: 'HELD',
    });
  }

  settle(
    ref: SaveRef,
    status: 'COMMITTED' | 'ROLLED_BACK',
    request: Parameters<SaveJournal['settle']>[2],
  ): TransitionOutcome {
    return this.#transition(
      'settle',
      ref,
      (save) => settleStep(save, ref.epoch, status, request.lateMs, this.#now()),
      {
        write: (save) => {
          if (status === 'COMMITTED') return this.#applyCommit(save, request.agents ?? []);
          if (request.results === undefined) throw new Error('a save that is rolled back has results');
          save.results = request.results;
          this.#noteMissing(save.id, request.missing ?? []);
          return [];
        },
      },
    );
  }

  due(limit: number): { orgId: string; saveId: string }[] {
    const now = this.#now();
    return [...this.#saves.values()]
      .filter((save) => isDue(save, now))
      .sort((a, b) => (a.leaseUntil ?? -Infinity) - (b.leaseUntil ?? -Infinity) || 0)
      .slice(0, limit)
      .map((save) => ({ orgId: save.orgId, saveId: save.id }));
  }

  takeover(
    orgId: string,
    saveId: string,
    owner: string,
    leaseMs: number,
  ): TakenSave | { outcome: 'BUSY' | 'NOT_DUE' } {
    // Nothing is concurrent here: busy is only an organization that never had a save.
    if (!this.#locks.has(orgId)) return { outcome: 'BUSY' };
    const save = this.#find(orgId, saveId);
    const taken = save === undefined ? null : takeoverStep(save, leaseMs, this.#now());
    if (save === undefined || taken === null) return { outcome: 'NOT_DUE' };
    const from = save.status;
    Object.assign(save, taken.control, { owner });
    this.#changed('takeover', save, save.epoch, from);
    return {
      outcome: 'TAKEN',
      save: saveJson(save),
      images: this.#imagesJson(save.id),
      deployment: this.deployment,
      once: taken.once,
      quarantined: taken.quarantined,
      pastDeadline: taken.pastDeadline,
    };
  }

  inspect(orgId: string, saveId: string): Awaited<ReturnType<SaveJournal['inspect']>> {
    this.#enter(orgId);
    const save = this.#find(orgId, saveId);
    if (save === undefined) return { outcome: 'NO_SAVE' };
    return {
      outcome: 'FOUND',
      save: saveJson(save),
      images: this.#imagesJson(saveId),
      deployment: this.deployment,
      notBeforeMs: save.notBefore === null ? null : this.#msUntil(save.notBefore),
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
              image.role === one.role &&
              image.agentId === one.agentId &&
              (image.assistantId === null || image.recreate),
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
          rows.map((row) => ({ ...row, before: null, afterConfig: null })),
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
    if (!this.#locks.has(orgId)) this.#locks.set(orgId, { fenceUntil: null, fenceSaveId: null });
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
      this.openSaveOf(orgId) !== undefined || (this.#locks.get(orgId)?.fenceUntil ?? -Infinity) > this.#now()
    );
  }

  /** When a caller who meets this open save should try again. */
  #retryAfterMs(save: SaveRow, now: number): number | null {
    if (save.status === 'NEEDS_ATTENTION') return null;
    if (save.notBefore !== null && save.notBefore > now) return this.#msUntil(save.notBefore);
    const left = save.epoch > 1 && save.leaseUntil !== null ? this.#msUntil(save.leaseUntil) : Infinity;
    return Math.max(250, Math.min(5_000, Math.floor((now - save.startedAt) / 2), left));
  }

  #msUntil(then: number): number {
    return Math.max(0, Math.ceil(then - this.#now()));
  }

  #begun(save: SaveRow): BeginOutcome {
    return {
      outcome: 'BEGUN',
      save: saveJson(save),
      images: this.#imagesJson(save.id),
      deployment: this.deployment,
    };
  }

  #imagesJson(saveId: string): SaveImage[] {
    return this.imagesOf(saveId).map((image) => ({
      role: image.role,
      agentId: image.agentId,
      assistantId: image.assistantId,
      recreate: image.recreate,
      before: image.before,
      after: { config: image.afterConfig ?? ({} as AgentConfig), revision: afterRevision(image) },
    }));
  }

  #transition(
    op: JournalChange['op'],
    ref: SaveRef,
    step: (save: SaveControl) => Step,
    take: {
      /** Answers the agents that it changed. */
      write: (save: SaveRow) => AgentRecord[];
      outcome?: 'HELD';
      notBefore?: true;
    },
  ): TransitionOutcome {
    this.#enter(ref.orgId);
    const save = this.#find(ref.orgId, ref.saveId);
    if (save === undefined) return { outcome: 'NO_SAVE' };
    const notBeforeMs = () => (save.notBefore === null ? null : this.#msUntil(save.notBefore));
    const taken = step(save);
    if (taken.kind === 'stale')
      return { outcome: 'STALE', save: saveJson(save), agents: this.#saveAgents(save) };
    if (taken.kind === 'too early')
      return { outcome: 'TOO_EARLY', save: saveJson(save), agents: [], notBeforeMs: notBeforeMs() };
    if (taken.kind === 'repeated') {
      return {
        outcome: save.status,
        save: saveJson(save),
        agents: this.#saveAgents(save),
        notBeforeMs: notBeforeMs(),
      };
    }
    const from = save.status;
    // Written on a copy, because whatever fails in here is rolled back whole.
    const next = { ...save, ...taken.control };
    if (isClosed(next.status)) next.finishedAt = this.#now();
    const agents = take.write(next);
    Object.assign(save, next);
    if (taken.fenceMs !== null) this.#raiseFence(ref.orgId, save.id, taken.fenceMs);
    this.#changed(op, save, ref.epoch, from);
    return {
      outcome: take.outcome ?? save.status,
      save: saveJson(save),
      agents,
      ...(take.notBefore ? { notBeforeMs: notBeforeMs() } : {}),
    };
  }

  #applyCommit(save: SaveRow, seen: CommittedAgent[]): AgentRecord[] {
    const now = this.#now();
    // Row by row, on a copy: one refusal takes all of them back.
    const agents = new Map(this.agents);
    const rows: AgentRow[] = [];
    for (const image of this.imagesOf(save.id)) {
      const answer = seen.find(({ role }) => role === image.role);
      if (answer === undefined || answer.assistantId === '' || image.afterConfig === null)
        throw new Error(`save ${save.id}: no matching answer for ${image.role}`);
      const stored = agents.get(image.agentId);
      if (
        (stored?.revision ?? 0) !== image.beforeRevision ||
        (stored !== undefined && stored.lastSaveId !== image.before?.saveId)
      )
        throw new Error(`save ${save.id}: ${image.role} is no longer at revision ${image.beforeRevision}`);
      for (const other of agents.values()) {
        if (other.id === image.agentId) continue;
        if (other.assistantId === answer.assistantId) throw new Error('two agents with one assistant');
        if (other.orgId === save.orgId && other.role === image.role)
          throw new Error('two agents of one role');
      }
      const row: AgentRow = {
        id: image.agentId,
        orgId: save.orgId,
        role: image.role,
        config: image.afterConfig,
        assistantId: answer.assistantId,
        revision: afterRevision(image),
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
      const answer = seen.find(({ role }) => role === row.role);
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
      role: row.role,
      agentId: row.id,
      success: true,
      vapiSynced: true,
      dbUpdated: true,
      assistantId: row.assistantId,
      error: null,
      revision: row.revision,
    }));
    return rows.map(agentJson);
  }

  #raiseFence(orgId: string, saveId: string, lateMs: number): void {
    const lock = this.#locks.get(orgId);
    if (lock === undefined) return;
    lock.fenceUntil = Math.max(lock.fenceUntil ?? -Infinity, this.#now() + lateMs);
    lock.fenceSaveId = saveId;
  }

  /** Known of the assistant that the save named, not of a later one. */
  #noteMissing(saveId: string, roles: AgentRole[]): void {
    const now = this.#now();
    for (const image of this.imagesOf(saveId)) {
      const agent = this.agents.get(image.agentId);
      if (!roles.includes(image.role) || agent === undefined || agent.assistantId !== image.assistantId)
        continue;
      this.agents.set(agent.id, { ...agent, missingSince: agent.missingSince ?? now, checkedAt: now });
    }
  }

  /** The agents as this save left them, whatever came later. */
  #saveAgents(save: SaveRow): AgentRecord[] {
    const at = save.finishedAt === null ? '' : iso(save.finishedAt);
    return save.results
      .flatMap((result) =>
        this.#revisions
          .filter((revision) => revision.agentId === result.agentId && revision.revision === result.revision)
          .map((revision) => ({ ...revision, assistantId: result.assistantId ?? '' })),
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

  #changed(op: JournalChange['op'], save: SaveRow, epoch: number, from: SaveStatus | null): void {
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

/** The revision that a save makes: the next one where the configuration changes, the same one where it does not. */
export function afterRevision({ before, beforeRevision, afterConfig }: ImageRow): number {
  const isKept = before !== null && afterConfig !== null && jsonEqual(before.config, afterConfig);
  return isKept ? beforeRevision : beforeRevision + 1;
}

function saveJson(save: SaveRow): SaveRecord {
  return {
    id: save.id,
    status: save.status,
    epoch: save.epoch,
    kind: save.kind,
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

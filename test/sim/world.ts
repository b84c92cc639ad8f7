import type { AgentRole } from '../../src/domain/agents/agent-config.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { Secret } from '../../src/domain/secret.ts';
import { AssistantStore, type JsonObject as StoredJson } from '../../src/local/vapi/assistant-store.ts';
import { DatabaseError, type SaveJournal } from '../../src/ports/agents/save-journal.ts';
import type { SweepStore } from '../../src/ports/agents/sweep-store.ts';
import type { SagaRef } from '../../src/ports/saga-journal.ts';
import type { Clock, Log } from '../../src/ports/system.ts';
import type { Assistants, ProviderAssistant, ProviderReply } from '../../src/ports/voice-provider.ts';
import type { TransactionalAgentUpdate } from '../../src/services/agents/build.ts';
import { sweep } from '../../src/services/agents/drift/sweep.ts';
import {
  type ExecutorPorts,
  executeTransactionalAgentUpdate,
  type SaveOptions,
  type SaveOutcome,
} from '../../src/services/agents/execute.ts';
import { AGENT_SAGA } from '../../src/services/agents/participant.ts';
import { recoverSagas } from '../../src/services/saga/recovery.ts';
import { lateTimeMs, type SagaSettings } from '../../src/services/saga/settings.ts';
import { Checks, type SenderLease, type Violation, type Write } from './checks.ts';
import { JournalModel } from './journal-model.ts';
import { Seeded } from './random.ts';
import { Scheduler, type Timer } from './scheduler.ts';

/**
 * The simulated world: the services of src/services as they are, between a database, a voice provider and clocks that are
 * simulated. Replicas live in it, die, are paused and come back; every call is one that can go wrong.
 */

/** One call of a port, on its way. */
export interface Call {
  system: 'database' | 'vapi';
  op: string;
  replica: string;
  orgId: string | null;
  /** Milliseconds since the start. */
  at: number;
}

export type Strike =
  /** The process dies before the call, or right after its effect. */
  | { what: 'crash-before' | 'crash-after' }
  /** The process dies once the call is on its way; it takes effect this long after. */
  | { what: 'crash-late'; ms: number }
  /** No effect, and the caller knows it. */
  | { what: 'not-sent' }
  /** No effect, or the effect and no answer; the caller knows neither. */
  | { what: 'reset-before' | 'reset-after' | 'status-before' | 'status-after' | 'hang-before' | 'hang-after' }
  /** The effect takes place this long after the deadline of the call; the caller is cut off then, or at once. */
  | { what: 'late'; ms: number; cut?: boolean }
  /** This much slower than usual, before the effect. */
  | { what: 'latency'; ms: number }
  // Vapi only.
  | { what: 'limited'; retryAfterMs: number | null }
  | { what: 'rejected' }
  | { what: 'unauthorized' }
  /** It takes something else than what was sent, and says so. */
  | { what: 'wrong-body' };

export interface FaultSource {
  strike(call: Call): Strike | null;
}

/** The layers between the services and the simulated ports: where a test of the tests plants its bug. */
export interface Planted {
  journal?(journal: SaveJournal, world: World): SaveJournal;
  voice?(voice: Assistants, world: World): Assistants;
  outcome?(outcome: SaveOutcome, world: World): SaveOutcome;
  model?: typeof JournalModel;
  /** What replicas do by themselves; both unless said otherwise. */
  background?: { recovery?: false; sweep?: false };
}

export interface WorldOptions {
  seed: number;
  settings: SagaSettings;
  replicas: number;
  organizations: number;
  recoveryIntervalMs: number;
  /** 0: nobody sweeps. */
  reconcileIntervalMs: number;
  bounded: boolean;
  /** How far clocks are off: Vapi's, and those of the replicas in the order of their names. */
  skew?: { vapi: number; replicas: readonly number[] };
  faults: FaultSource;
  planted?: Planted;
  /** Keep every line, and not only their sum. */
  keepLog?: boolean;
  /** False: a call takes no time, except where a fault says otherwise. */
  latency?: boolean;
}

const START = Date.parse('2026-11-23T00:00:00Z');
const VAPI_ORG = 'vapi-organization';
const DB_TIMEOUT_MS = 2_000;
export const CANARY = 'canary-5e1f0a-master-key';
const KEY = new Secret(CANARY);

/** One life of a replica, from its start to its death. */
class Life {
  readonly name: string;
  readonly owner: string;
  readonly bornAt: number;
  /** Its own, so that what one replica does changes as little as possible for the others when a plan shrinks. */
  readonly random: Seeded;
  alive = true;
  /** What will happen when the process goes on; null while it runs. */
  held: (() => void)[] | null = null;
  /** How far its wall clock is off. */
  wallOffset = 0;

  constructor(name: string, owner: string, bornAt: number, random: Seeded) {
    this.random = random;
    this.name = name;
    this.owner = owner;
    this.bornAt = bornAt;
  }
}

/** What one request, or one round of recovery, holds: which lease its writes stand on. */
class Sender {
  /** By organization. */
  readonly leases = new Map<string, SenderLease>();
  /** When a lease that is not yet given was first asked for. */
  readonly asked = new Map<string, { wall: number; monotonic: number }>();
  readonly saveIds = new Set<string>();
}

export interface Counts {
  calls: number;
  database: number;
  vapi: number;
  strikes: number;
  crashes: number;
  takeovers: number;
  lateWrites: number;
  told: Record<string, number>;
}

export class World {
  readonly scheduler = new Scheduler(START);
  readonly model: JournalModel;
  readonly store: AssistantStore;
  readonly checks: Checks;
  readonly settings: SagaSettings;
  readonly orgIds: string[];
  readonly log: string[] = [];
  readonly counts: Counts = {
    calls: 0,
    database: 0,
    vapi: 0,
    strikes: 0,
    crashes: 0,
    takeovers: 0,
    lateWrites: 0,
    told: {},
  };
  /** Sweeps that went through, by when they began. */
  readonly sweeps: number[] = [];
  /** Nobody begins anything new. */
  isQuiet = false;
  /** What is on its way and has not taken effect. */
  inFlight = 0;
  faults: FaultSource;
  readonly #options: WorldOptions;
  readonly #random: Seeded;
  readonly #replicas = new Map<string, Life>();
  /** Under which epoch the caller of the database holds the save, whatever it said. */
  #heldEpoch: number | null = null;
  #sum = 0x811c9dc5;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.settings = options.settings;
    this.faults = options.faults;
    this.#random = new Seeded(options.seed ^ 0x5eed);
    const Model = options.planted?.model ?? JournalModel;
    this.model = new Model({
      now: () => this.scheduler.now,
      deployment: this.#random.uuid(),
      onChange: (change) => {
        if (change.op === 'takeover') this.counts.takeovers += 1;
        this.record(
          `  save ${short(change.saveId)} ${change.op} ${change.from ?? ''}>${change.to} epoch ${change.epoch}`,
        );
        this.checks.journalChanged({ ...change, epoch: this.#heldEpoch ?? change.epoch });
      },
    });
    const vapiSkew = options.skew?.vapi ?? 0;
    this.store = new AssistantStore({
      now: () => this.scheduler.now + vapiSkew,
      id: () => this.#random.uuid(),
    });
    this.checks = new Checks({
      model: this.model,
      store: this.store,
      requestTimeoutMs: options.settings.requestTimeoutMs,
      orphanAgeMs: 2 * lateTimeMs(options.settings),
      bounded: options.bounded,
      secret: CANARY,
      elapsed: () => this.elapsed,
      onViolation: (violation) => this.record(`VIOLATION ${violation.invariant}: ${violation.detail}`),
    });
    this.orgIds = Array.from({ length: options.organizations }, () => this.#random.uuid());
    for (const orgId of this.orgIds) this.model.createOrganization(orgId);
    for (let index = 1; index <= options.replicas; index += 1) this.boot(`r${index}`);
  }

  get elapsed(): number {
    return this.scheduler.now - START;
  }

  get violation(): Violation | null {
    return this.checks.violation;
  }

  /** Equal for runs whose every line is equal. */
  get sum(): string {
    return (this.#sum >>> 0).toString(16).padStart(8, '0');
  }

  record(line: string): void {
    const whole = `${this.elapsed} ${line}`;
    this.checks.sink(whole);
    let sum = this.#sum;
    for (let index = 0; index < whole.length; index += 1)
      sum = Math.imul(sum ^ whole.charCodeAt(index), 0x01000193);
    this.#sum = sum;
    if (this.#options.keepLog) this.log.push(whole);
  }

  /** Runs until this many milliseconds after the start, or to the first violation. */
  async runUntil(elapsed: number, stop: () => boolean = () => false): Promise<void> {
    await this.scheduler.runUntil(START + elapsed, () => this.violation !== null || stop());
  }

  /** Something that somebody does. */
  act(ms: number, run: () => void): void {
    this.#after(ms, () => {
      run();
      this.scheduler.woke();
    });
  }

  #after(ms: number, run: () => void): Timer {
    return this.scheduler.at(this.scheduler.now + ms, run);
  }

  // Replicas.

  get replicaNames(): string[] {
    return [...this.#replicas.keys()];
  }

  isAlive(name: string): boolean {
    return this.#replicas.get(name)?.alive ?? false;
  }

  /** Starts a replica, or starts it again. */
  boot(name: string): void {
    if (this.isAlive(name)) return;
    const life = new Life(
      name,
      this.#random.uuid(),
      this.scheduler.now,
      new Seeded(this.#random.int(0, 2 ** 31)),
    );
    life.wallOffset = this.#options.skew?.replicas[Number(name.slice(1)) - 1] ?? 0;
    this.#replicas.set(name, life);
    this.record(`${name} starts`);
    const { recoveryIntervalMs, reconcileIntervalMs, planted } = this.#options;
    if (recoveryIntervalMs > 0 && planted?.background?.recovery !== false)
      void this.#forever(life, recoveryIntervalMs, () => this.recover(name));
    if (reconcileIntervalMs > 0 && planted?.background?.sweep !== false)
      void this.#forever(life, reconcileIntervalMs, () => this.sweep(name));
  }

  /** Pulls the plug: nothing of this life runs again. What it has sent is on its way all the same. */
  crash(name: string): void {
    const life = this.#replicas.get(name);
    if (!life?.alive) return;
    life.alive = false;
    life.held = null;
    this.counts.crashes += 1;
    this.record(`${name} dies`);
  }

  /** Stops the process where it waits; its clocks go on. */
  pause(name: string): void {
    const life = this.#replicas.get(name);
    if (life?.alive && life.held === null) {
      life.held = [];
      this.record(`${name} pauses`);
    }
  }

  resume(name: string): void {
    const life = this.#replicas.get(name);
    const held = life?.held ?? null;
    if (life === undefined || held === null) return;
    life.held = null;
    this.record(`${name} goes on`);
    for (const go of held) this.#after(0, () => this.#deliver(life, go));
  }

  stepClock(name: string, ms: number): void {
    const life = this.#replicas.get(name);
    if (life !== undefined) life.wallOffset += ms;
    this.record(`${name} clock steps by ${ms}`);
  }

  /** Like src/server/jobs.ts: at once, then again and again with this pause. */
  async #forever(life: Life, pauseMs: number, work: () => Promise<unknown>): Promise<void> {
    const clock = this.#clock(life);
    // Replicas that start together do not stay together.
    await clock.sleep(this.#random.int(0, pauseMs));
    for (;;) {
      await work().catch((error: unknown) => {
        if (!(error instanceof DatabaseError)) this.checks.violate('no unexpected error', String(error));
      });
      await clock.sleep(pauseMs);
    }
  }

  // What replicas do.

  /** One save, as the GraphQL mutation makes it. The promise never ends if the replica dies. */
  async save(
    name: string,
    updates: TransactionalAgentUpdate[],
    options: SaveOptions = {},
  ): Promise<SaveOutcome | null> {
    const life = this.#replicas.get(name);
    const [first] = updates;
    if (!life?.alive || first === undefined) return null;
    return this.#execute(life, first.orgId, updates, options);
  }

  async #execute(
    life: Life,
    orgId: string,
    updates: TransactionalAgentUpdate[],
    options: SaveOptions,
  ): Promise<SaveOutcome> {
    const sender = new Sender();
    const from = this.scheduler.now;
    let pausedMeanwhile = life.held !== null;
    const watch = this.#after(this.settings.answerMs, () => {
      pausedMeanwhile ||= life.held !== null;
    });
    const outcome = await executeTransactionalAgentUpdate(null, updates, KEY, {
      ...options,
      ports: this.#ports(life, sender),
    }).catch((error: unknown) => {
      this.checks.violate('no unexpected error', String(error));
      throw error;
    });
    watch.cancel();
    const told = this.#options.planted?.outcome?.(outcome, this) ?? outcome;
    this.counts.told[told.kind] = (this.counts.told[told.kind] ?? 0) + 1;
    this.record(`${life.name} told ${told.kind}${'save' in told ? ` ${short(told.save.id)}` : ''}`);
    this.checks.told({ outcome: told, orgId, key: options.idempotencyKey ?? null, saveIds: sender.saveIds });
    if (!pausedMeanwhile && this.scheduler.now - from > this.settings.answerMs + 1)
      this.checks.violate('every caller gets an answer in time', `after ${this.scheduler.now - from} ms`);
    return told;
  }

  async recover(name: string): Promise<void> {
    const life = this.#replicas.get(name);
    if (!life?.alive) return;
    const sender = new Sender();
    const ports = this.#ports(life, sender);
    await recoverSagas(ports.openJournal(null), ports.openVoiceProvider(KEY), [AGENT_SAGA], ports);
  }

  async sweep(name: string): Promise<void> {
    const life = this.#replicas.get(name);
    if (!life?.alive) return;
    const ports = this.#ports(life, new Sender());
    const store = this.#sweepStore(life);
    const from = this.elapsed;
    const report = await sweep({
      store,
      voice: ports.openVoiceProvider(KEY),
      clock: ports.clock,
      pause: async () => {},
      log: ports.log,
      meter: ports.meter,
      owner: life.owner,
      leaseMs: 60_000,
      save: (update, kind) => this.#execute(life, update.orgId, [update], { kind }),
      orphanAgeMs: 2 * lateTimeMs(this.settings),
    });
    this.record(`${name} swept ${JSON.stringify(report)}`);
    if (report.stopped === null) this.sweeps.push(from);
    if (report.stopped !== 'NOT_LEADER') await store.cleanup(100, 90);
  }

  // What people do in the Vapi dashboard.

  assistantOf(orgId: string, role: AgentRole): string | null {
    return this.model.agentsOf(orgId).find((agent) => agent.role === role)?.assistantId ?? null;
  }

  edit(assistantId: string, fields: StoredJson): void {
    const after = this.store.dashboardEdit(assistantId, fields);
    if (after === undefined) return;
    this.checks.touched(assistantId, { fields: fields as JsonObject, after });
    this.record(`somebody edits ${short(assistantId)}: ${Object.keys(fields).join()}`);
  }

  remove(assistantId: string): void {
    if (this.store.dashboardDelete(assistantId) === undefined) return;
    this.checks.touched(assistantId);
    this.record(`somebody deletes ${short(assistantId)}`);
  }

  // The ports.

  #ports(life: Life, sender: Sender): ExecutorPorts<null> {
    const { planted } = this.#options;
    const journal = this.#journal(life, sender);
    const voice = this.#voice(life, sender);
    return {
      openJournal: () => planted?.journal?.(journal, this) ?? journal,
      openVoiceProvider: () => planted?.voice?.(voice, this) ?? voice,
      clock: this.#clock(life),
      ids: { uuid: () => this.#random.uuid() },
      random: { next: () => life.random.next() },
      log: this.#log(life, {}),
      meter: { count: (event) => this.record(`${life.name} counts ${event}`) },
      settings: this.settings,
      owner: life.owner,
      track: (work) => {
        work.catch((error: unknown) => this.checks.violate('no unexpected error', String(error)));
      },
    };
  }

  #log(life: Life, context: object): Log {
    const write = (level: string) => (fields: object, message: string) => {
      const err = (fields as { err?: unknown }).err;
      this.record(
        `${life.name} ${level} ${message} ${JSON.stringify({ ...context, ...fields, err: String(err ?? '') })}`,
      );
      if (level === 'error' && err !== undefined)
        this.checks.violate('no unexpected error', `${message}: ${err}`);
    };
    return {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      child: (fields) => this.#log(life, { ...context, ...fields }),
    };
  }

  #clock(life: Life): Clock {
    const { wall, monotonic } = {
      wall: () => this.#instant(life).wall,
      monotonic: () => this.#instant(life).monotonic,
    };
    return {
      now: wall,
      monotonic,
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          const timer = this.#after(ms, () => this.#deliver(life, resolve));
          signal?.addEventListener('abort', () => {
            timer.cancel();
            resolve();
          });
        }),
    };
  }

  #instant(life: Life): { wall: number; monotonic: number } {
    return { wall: this.scheduler.now + life.wallOffset, monotonic: this.scheduler.now - life.bornAt };
  }

  /** Lets a process take something in: at once, when it goes on, or never. */
  #deliver(life: Life, go: () => void): void {
    if (!life.alive) return;
    if (life.held !== null) {
      life.held.push(go);
      return;
    }
    go();
    this.scheduler.woke();
  }

  #latency(life: Life): number {
    return this.#options.latency === false ? 0 : life.random.int(1, 40);
  }

  #strike(life: Life, system: Call['system'], op: string, orgId: string | null): Strike | null {
    this.counts.calls += 1;
    this.counts[system] += 1;
    const strike = this.faults.strike({ system, op, replica: life.name, orgId, at: this.elapsed });
    if (strike !== null) this.counts.strikes += 1;
    this.record(`${life.name} ${op}${strike === null ? '' : ` (${strike.what})`}`);
    if (strike?.what === 'crash-before') this.crash(life.name);
    return strike;
  }

  /** Something on its way that takes effect at a time, whatever becomes of who sent it. */
  #travel(ms: number, effect: () => void): void {
    this.inFlight += 1;
    this.#after(ms, () => {
      this.inFlight -= 1;
      if (this.violation === null) effect();
    });
  }

  #database<T>(life: Life, op: string, orgId: string | null, effect: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const strike = this.#strike(life, 'database', op, orgId);
      if (!life.alive) return;
      const there = this.#latency(life) + (strike?.what === 'latency' ? strike.ms : 0);
      const back = this.#latency(life);
      const fail = (code: string, sent: boolean, ms: number) =>
        this.#after(ms, () => this.#deliver(life, () => reject(new DatabaseError(code, sent))));
      const take = (ms: number, answer: (value: T) => void = () => {}) =>
        this.#travel(ms, () => {
          let value: T;
          try {
            value = effect();
          } catch (error) {
            this.record(`  the database refuses ${op}: ${error}`);
            this.#after(back, () => this.#deliver(life, () => reject(error)));
            return;
          }
          this.checks.databaseCalled(orgId, op);
          if (strike?.what === 'crash-after') this.crash(life.name);
          answer(value);
        });
      switch (strike?.what) {
        case 'not-sent':
          fail('LOCKSTEP_NOT_SENT', false, there);
          return;
        case 'status-before':
        case 'reset-before':
          fail('LOCKSTEP_NO_ANSWER', true, there);
          return;
        case 'status-after':
        case 'reset-after':
          take(there);
          fail('LOCKSTEP_NO_ANSWER', true, there + back);
          return;
        case 'hang-before':
          fail('LOCKSTEP_NO_ANSWER', true, DB_TIMEOUT_MS);
          return;
        case 'hang-after':
          take(there);
          fail('LOCKSTEP_NO_ANSWER', true, DB_TIMEOUT_MS);
          return;
        case 'late':
          take(DB_TIMEOUT_MS + strike.ms);
          fail('LOCKSTEP_NO_ANSWER', true, strike.cut ? there + back : DB_TIMEOUT_MS);
          return;
        case 'crash-late':
          take(strike.ms);
          this.crash(life.name);
          return;
        default: {
          const tooLate =
            there + back > DB_TIMEOUT_MS ? fail('LOCKSTEP_NO_ANSWER', true, DB_TIMEOUT_MS) : null;
          take(there, (value) => {
            if (tooLate === null) this.#after(back, () => this.#deliver(life, () => resolve(value)));
          });
        }
      }
    });
  }

  #journal(life: Life, sender: Sender): SaveJournal {
    const { model } = this;
    const call = <T>(op: string, orgId: string | null, effect: () => T) =>
      this.#database(life, op, orgId, effect);
    const transition = <T>(op: string, { orgId, sagaId: saveId }: SagaRef, effect: () => T) => {
      const held = sender.leases.get(orgId);
      const heldEpoch = held?.saveId === saveId ? held.epoch : null;
      return this.#database(life, op, orgId, () => {
        this.#heldEpoch = heldEpoch;
        try {
          return effect();
        } finally {
          this.#heldEpoch = null;
        }
      });
    };
    const asked = (saveId: string) => {
      const known = sender.asked.get(saveId) ?? this.#instant(life);
      sender.asked.set(saveId, known);
      return known;
    };
    return {
      begin: async (orgId, saveId, owner, request) => {
        const leaseFrom = asked(saveId);
        sender.saveIds.add(saveId);
        const answer = await call('begin', orgId, () => model.begin(orgId, saveId, owner, request));
        if (answer.outcome === 'BEGUN')
          sender.leases.set(orgId, { saveId, epoch: answer.saga.epoch, leaseFrom, leaseMs: request.leaseMs });
        return answer;
      },
      takeover: async (orgId, saveId, owner, leaseMs) => {
        const leaseFrom = this.#instant(life);
        const answer = await call('takeover', orgId, () => model.takeover(orgId, saveId, owner, leaseMs));
        if (answer.outcome === 'TAKEN')
          sender.leases.set(orgId, { saveId, epoch: answer.saga.epoch, leaseFrom, leaseMs });
        return answer;
      },
      abort: async (ref, request) => {
        const leaseFrom = asked(`${ref.sagaId} abort`);
        const answer = await transition('abort', ref, () => model.abort(ref, request));
        if (answer.outcome === 'ROLLING_BACK')
          sender.leases.set(ref.orgId, {
            ...{ saveId: ref.sagaId, epoch: ref.epoch, leaseFrom, leaseMs: request.leaseMs },
          });
        return answer;
      },
      commit: (ref, request) => transition('commit', ref, () => model.commit(ref, request)),
      rolledBack: (ref, request) => transition('rolledBack', ref, () => model.rolledBack(ref, request)),
      needsAttention: (ref, request) =>
        transition('needsAttention', ref, () => model.needsAttention(ref, request)),
      hold: (ref, request) => transition('hold', ref, () => model.hold(ref, request)),
      settle: (ref, to, request) => transition('settle', ref, () => model.settle(ref, to, request)),
      inspect: (orgId, saveId) => call('inspect', orgId, () => model.inspect(orgId, saveId)),
      due: (limit) => call('due', null, () => model.due(limit)),
    };
  }

  #sweepStore(life: Life): SweepStore {
    const { model } = this;
    const call = <T>(op: string, effect: () => T) => this.#database(life, op, null, effect);
    return {
      takeLease: (owner, ms) => call('takeLease', () => model.takeLease(owner, ms)),
      releaseLease: (owner) => call('releaseLease', () => model.releaseLease(owner)),
      lookup: (ids) => call('lookup', () => model.lookup(ids)),
      listed: (ids) => call('listed', () => model.listed(ids)),
      done: (agoMs) => call('done', () => model.done(agoMs)),
      page: (after, limit) => call('page', () => model.page(after, limit)),
      note: (notes) => call('note', () => model.note(notes)),
      orphans: (candidates, ageMs) => call('orphans', () => model.orphans(candidates, ageMs)),
      setDriftPolicy: (orgId, policy) => call('setDriftPolicy', () => model.setDriftPolicy(orgId, policy)),
      cleanup: (limit, keepDays) => call('cleanup', () => model.cleanup(limit, keepDays)),
    };
  }

  #voice(life: Life, sender: Sender): Assistants {
    const { store } = this;
    const ok = (value: object | undefined): ProviderReply<ProviderAssistant> =>
      value === undefined ? { kind: 'gone' } : { kind: 'ok', value: value as ProviderAssistant };
    const leaseFor = (orgId: string | null) => (orgId === null ? null : (sender.leases.get(orgId) ?? null));
    const write = (
      kind: Write['kind'],
      assistantId: string | null,
      document: JsonObject | null,
      effect: (document: StoredJson) => object | undefined,
    ) => {
      const orgId = this.#orgOf(assistantId, document);
      this.checks.writeStarts({
        kind,
        assistantId,
        document,
        lease: leaseFor(orgId),
        now: this.#instant(life),
      });
      return this.#vapi(life, kind, orgId, (strike) => {
        const sent = (document ?? {}) as StoredJson;
        const taken = strike?.what === 'wrong-body' ? { ...sent, name: 'Something else' } : sent;
        const after = effect(taken);
        this.record(
          `  vapi ${kind} ${short(String((after as { id?: string } | undefined)?.id ?? assistantId))}`,
        );
        if (after !== undefined) this.checks.written(kind, document, after as never);
        return ok(after);
      });
    };
    return {
      timeoutMs: this.settings.requestTimeoutMs,
      createAssistant: (document) =>
        write('POST', null, document, (fields) => store.create(VAPI_ORG, fields)),
      updateAssistant: (id, document) =>
        write('PATCH', id, document, (fields) => store.patch(VAPI_ORG, id, fields)),
      deleteAssistant: (id) => write('DELETE', id, null, () => store.delete(VAPI_ORG, id)),
      getAssistant: (id) => this.#vapi(life, 'GET', this.#orgOf(id, null), () => ok(store.get(VAPI_ORG, id))),
      listAssistants: (query) =>
        this.#vapi(life, 'LIST', null, () => {
          const time = (text: string | undefined) => (text === undefined ? {} : Date.parse(text));
          const bounds = Object.fromEntries(
            (['createdAtGe', 'createdAtLe'] as const).flatMap((name) =>
              query[name] === undefined ? [] : [[name, time(query[name])]],
            ),
          );
          const found = store.list(VAPI_ORG, {
            ...bounds,
            ...(query.limit === undefined ? {} : { limit: query.limit }),
          });
          return { kind: 'ok', value: found as object as ProviderAssistant[] };
        }),
    };
  }

  #orgOf(assistantId: string | null, document: JsonObject | null): string | null {
    const stamp = (fields: object | undefined) =>
      (fields as { metadata?: { lockstep?: { orgId?: string } } } | undefined)?.metadata?.lockstep?.orgId ??
      null;
    return stamp(document ?? undefined) ?? (assistantId === null ? null : this.checks.ownerOf(assistantId));
  }

  #vapi<T>(
    life: Life,
    op: string,
    orgId: string | null,
    effect: (strike: Strike | null) => ProviderReply<T>,
  ): Promise<ProviderReply<T>> {
    return new Promise((resolve) => {
      const strike = this.#strike(life, 'vapi', op, orgId);
      if (!life.alive) return;
      const { requestTimeoutMs } = this.settings;
      const there = this.#latency(life) + (strike?.what === 'latency' ? strike.ms : 0);
      const back = this.#latency(life);
      const answer = (reply: ProviderReply<T>, ms: number) =>
        this.#after(ms, () => this.#deliver(life, () => resolve(reply)));
      const unknown = (code: string, ms: number) => answer({ kind: 'unknown', code }, ms);
      const take = (ms: number, then: (reply: ProviderReply<T>) => void = () => {}) =>
        this.#travel(ms, () => {
          if (ms > requestTimeoutMs) this.counts.lateWrites += 1;
          const reply = effect(strike);
          if (strike?.what === 'crash-after') this.crash(life.name);
          then(reply);
        });
      switch (strike?.what) {
        case 'not-sent':
          answer({ kind: 'not_sent', code: 'ECONNREFUSED' }, there);
          return;
        case 'reset-before':
          unknown('ECONNRESET', there + back);
          return;
        case 'reset-after':
          take(there);
          unknown('ECONNRESET', there + back);
          return;
        case 'status-before':
          unknown('HTTP_502', there + back);
          return;
        case 'status-after':
          take(there);
          unknown('HTTP_502', there + back);
          return;
        case 'hang-before':
          unknown('TIMEOUT_REQUEST', requestTimeoutMs);
          return;
        case 'hang-after':
          take(there);
          unknown('TIMEOUT_REQUEST', requestTimeoutMs);
          return;
        case 'late':
          take(requestTimeoutMs + strike.ms);
          if (strike.cut) unknown('ECONNRESET', there + back);
          else unknown('TIMEOUT_REQUEST', requestTimeoutMs);
          return;
        case 'crash-late':
          take(strike.ms);
          this.crash(life.name);
          return;
        case 'limited':
          answer({ kind: 'rate_limited', retryAfterMs: strike.retryAfterMs }, there + back);
          return;
        case 'rejected':
          answer({ kind: 'refused', status: 400, messages: ['no'] }, there + back);
          return;
        case 'unauthorized':
          answer({ kind: 'unauthorized', status: 401 }, there + back);
          return;
        default: {
          const isTooLate = there + back > requestTimeoutMs;
          if (isTooLate) unknown('TIMEOUT_REQUEST', requestTimeoutMs);
          take(there, (reply) => {
            if (!isTooLate) answer(reply, back);
          });
        }
      }
    });
  }
}

function short(id: string): string {
  return id.slice(0, 8);
}

import type { SaveStatus } from '../../src/domain/agents/save.ts';
import {
  type Answer,
  afterSend,
  afterUndo,
  type Decision,
  decide,
  type Forward,
  isClosed,
  type PartProgress,
  type SagaProgress,
  type Undo,
} from '../../src/services/saga/protocol.ts';
import { fitsLease, lateTimeMs, recoveryLeaseMs } from '../../src/services/saga/settings.ts';
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
} from '../sim/journal-machine.ts';
import { FORWARDS, UNDOS } from './codes.ts';
import type { Emit, Explorable } from './explore.ts';
import type { Field } from './states.ts';

/**
 * The protocol in an abstract world of one organization: what its own pure functions decide (src/services/saga/protocol.ts),
 * what the database allows (the machine that the conformance suite holds to the SQL), and everything that a network, a provider
 * and a scheduler can do in between. A content is the number of the save that wrote it; 0 is what was there before.
 *
 * Two clocks. The *ordering* clock knows no durations: a lease may lapse at any moment (that is, when somebody takes the save) and
 * a deadline have passed then; a quarantine or a fence ends when what was under way at its start has been applied or is dead.
 * The *ticking* clock counts seconds and uses the production code's own arithmetic.
 */
export interface Scope {
  name: string;
  agents: 1 | 2;
  /** Which agents each save names. */
  saves: number[][];
  recoverers: number;
  /** The agents have no assistant yet. */
  creation?: boolean;
  /** What Vapi may do besides answering, failing to be reached, and not answering. */
  rejects?: boolean;
  differs?: boolean;
  refusesUndo?: boolean;
  /** A person may delete one assistant in the dashboard; `recreates`: the saves have leave to make it anew. */
  deletes?: boolean;
  recreates?: boolean;
  /** An operator may take a save from its owners as soon as its lease has lapsed, and end it by hand. */
  operator?: boolean;
  /** A request may be applied at any time, however late; then a sweep repairs. */
  unbounded?: boolean;
  sweeps?: boolean;
  clock?: TickingClock;
  /**
   * An owner whose save was taken from it goes on until the database refuses it. Otherwise it stops at once, which is the
   * same for everybody else: its lease is over, so it sends nothing, and its epoch is old, so it changes nothing.
   */
  keepsStale?: boolean;
  /** The safeguard that is switched off. */
  without?: Safeguard;
  /** Nothing goes wrong but time: everything is answered, as slowly as it may be. */
  onlySlow?: boolean;
}

/** Whole seconds. */
export interface TickingClock {
  requestTimeoutMs: number;
  lateMs: number;
  leaseMs: number;
  deadlineMs: number;
  /** The longest that a call of the database takes. */
  databaseMs: number;
}

export const SAFEGUARDS = [
  'fence',
  'quarantine',
  'unknown',
  'epoch',
  'sweep',
  'settle',
  'record',
  'once',
] as const;
export type Safeguard = (typeof SAFEGUARDS)[number];

const KEYS: readonly string[] = ['INBOUND', 'OUTBOUND'];
const STATUSES: readonly (SaveStatus | null)[] = [
  null,
  'APPLYING',
  'ROLLING_BACK',
  'NEEDS_ATTENTION',
  'COMMITTED',
  'ROLLED_BACK',
];

/** An assistant: not made yet, deleted, or there with a content (2 + content). */
const UNUSED = 0;
const DELETED = 1;
const THERE = 2;
/** A process: not begun or looking for work, at work, or gone for good. */
const IDLE = 0;
const ASKING = 1;
const RUNNING = 2;
const GONE = 3;
/** Which assistant a target has: not looked for, none, or slot + 2. */
const UNLOOKED = 0;
const NO_SLOT = 1;
const SECOND = 1_000;

/** What a process waits for an answer to; the ticking clock only. */
const WAITS = ['nothing', 'look', 'list', 'write', 'delete', 'undo', 'undo-list', 'undo-delete'] as const;
type Wait = (typeof WAITS)[number];

interface TargetFields {
  forward: number;
  undo: number;
  touched: number;
  ambiguous: number;
  slot: number;
  /** The assistant that was to be changed turned out to be gone. */
  gone: number;
  /** Assistants that were seen and are to be deleted, as bits. */
  seen: number;
  /** Whether a save that was taken over shows its stamp: 0 nobody has looked, 1 no, 2 yes. */
  looked: number;
}

interface ProcessFields {
  phase: number;
  save: number;
  status: number;
  /** Its epoch is the save's. */
  current: number;
  /** Ordering clock: 1 while the lease may be relied on. Ticking: seconds since before it was asked for. */
  guard: number;
  /** Ticking clock: how long its lease is. */
  lease: number;
  taken: number;
  /** The first owner: it has not recorded that it sends something twice. A later one: the first owner had not. */
  once: number;
  quarantined: number;
  pastDeadline: number;
  targets: TargetFields[];
  /** Ticking clock: for which answer it waits, how long that request may still be applied, and how long it may take. */
  wait: number;
  /** Seconds since it asked the database for what it asks now. */
  asked: number;
  waitTtl: number;
  slack: number;
}

interface SaveFields {
  status: number;
  lease: number;
  /** 0 none that the last owner recorded, 1 over, 2 and more running. */
  quarantine: number;
  ambiguous: number;
  /** Somebody has taken it from its first owner. */
  taken: number;
  deadline: number;
  before: number[];
  slot: number[];
  /** Of a repair: which agents it names, as bits. */
  names: number;
}

export class World implements Explorable {
  readonly scope: Scope;
  readonly fields: Field[] = [];
  /** Saves of users are 1 to this; one more row is the sweep's. */
  readonly userSaves: number;
  readonly #agents: number;
  readonly #slots: number;
  readonly #lease: number;
  readonly #recoveryLease: number;
  /** How long the protocol reckons with a request, and how long the world takes to apply it. */
  readonly #late: number;
  readonly #ttl: number;
  readonly #deadline: number;
  readonly #fence: number;
  /** A person has deleted an assistant. */
  readonly #removed: number;
  readonly #db: number[] = [];
  readonly #dbSlot: number[] = [];
  readonly #slotOf: number[][] = [];
  /** In flight, by agent: PATCH by slot and content, POST by save, DELETE by slot. 0 = none. */
  readonly #patch: number[][][] = [];
  readonly #post: number[][][] = [];
  readonly #delete: number[][] = [];
  readonly #flights: number[] = [];
  /** Of a PATCH under way: there may be more than one of these bytes. By the field of the flight. */
  readonly #several = new Map<number, number>();
  readonly #saves: SaveFields[] = [];
  readonly #processes: ProcessFields[] = [];
  readonly #names: string[] = [];
  readonly #g: Uint8Array;
  readonly #decisions = new Map<number, Decision>();

  constructor(scope: Scope) {
    this.scope = scope;
    this.userSaves = scope.saves.length;
    this.#agents = scope.agents;
    const makes = scope.creation === true || scope.recreates === true;
    // One for each save, and two to lose.
    this.#slots = makes ? this.userSaves + 2 : 1;
    const { clock } = scope;
    const settings = clock === undefined ? null : { ...clock, answerMs: 0 };
    const seconds = (ms: number) => Math.round(ms / SECOND);
    this.#lease = clock === undefined ? 1 : seconds(clock.leaseMs);
    this.#recoveryLease = settings === null ? 1 : seconds(recoveryLeaseMs(settings));
    this.#late = settings === null ? 1 : seconds(lateTimeMs(settings));
    this.#ttl = clock === undefined ? 1 : seconds(clock.requestTimeoutMs + clock.lateMs);
    this.#deadline = clock === undefined ? 1 : seconds(clock.deadlineMs);
    // What was there, what each save writes, and what Vapi makes of it if it takes something else.
    const contents = 1 + 2 * (this.userSaves + 1);
    // Ordering clock: under way since before the quarantine or fence (1), or since then (2).
    const flight = clock === undefined ? 2 : this.#ttl;

    this.#fence = this.#field('fence', Math.max(1, this.#late));
    this.#removed = this.#field('removed', 1);
    const rows = this.userSaves + (scope.sweeps ? 1 : 0);
    for (let a = 0; a < this.#agents; a += 1) {
      this.#db.push(this.#field(`db ${a}`, contents));
      this.#dbSlot.push(this.#field(`row ${a}`, this.#slots));
      this.#slotOf.push(this.#each(this.#slots, (k) => this.#field(`slot ${a} ${k}`, contents + THERE)));
      this.#patch.push(
        this.#each(this.#slots, (k) =>
          this.#each(this.userSaves + 1, (c) => {
            const patch = this.#flight(`patch ${a} ${k} ${c}`, flight);
            this.#several.set(patch, this.#field(`several ${a} ${k} ${c}`, 1));
            return patch;
          }),
        ),
      );
      this.#post.push(
        this.#each(this.userSaves + 1, (s) =>
          makes && s > 0
            ? [this.#flight(`post ${a} ${s}`, flight), this.#flight(`post ${a} ${s}`, flight)]
            : [],
        ),
      );
      this.#delete.push(
        makes ? this.#each(this.#slots, (k) => this.#flight(`delete ${a} ${k}`, flight)) : [],
      );
    }
    for (let i = 0; i < rows; i += 1) {
      this.#saves.push({
        status: this.#field(`status ${i}`, STATUSES.length - 1),
        lease: this.#field(`lease ${i}`, this.#recoveryLease),
        quarantine: this.#field(`quarantine ${i}`, this.#late + 1),
        ambiguous: this.#field(`ambiguous ${i}`, 1),
        taken: this.#field(`taken ${i}`, 1),
        deadline: this.#field(`deadline ${i}`, this.#deadline),
        before: this.#each(this.#agents, (a) => this.#field(`before ${i} ${a}`, contents)),
        slot: this.#each(this.#agents, (a) => this.#field(`image ${i} ${a}`, this.#slots)),
        names: this.#field(`names ${i}`, 3),
      });
      this.#names.push(i < this.userSaves ? `C${i + 1}` : 'Sweep');
    }
    for (let r = 0; r < scope.recoverers; r += 1) this.#names.push(`R${r + 1}`);
    for (const name of this.#names) {
      this.#processes.push({
        phase: this.#field(`${name} phase`, GONE),
        save: this.#field(`${name} save`, rows),
        status: this.#field(`${name} status`, STATUSES.length - 1),
        current: this.#field(`${name} current`, 1),
        guard: this.#field(`${name} guard`, clock === undefined ? 1 : this.#recoveryLease + 1),
        lease: clock === undefined ? -1 : this.#field(`${name} lease`, this.#recoveryLease),
        taken: this.#field(`${name} taken`, 1),
        once: this.#field(`${name} once`, 1),
        quarantined: this.#field(`${name} quarantined`, 1),
        pastDeadline: this.#field(`${name} past`, 1),
        targets: this.#each(this.#agents, (a) => ({
          forward: this.#field(`${name} forward ${a}`, FORWARDS.length - 1),
          undo: this.#field(`${name} undo ${a}`, UNDOS.length - 1),
          touched: this.#field(`${name} touched ${a}`, 1),
          ambiguous: this.#field(`${name} ambiguous ${a}`, 1),
          slot: this.#field(`${name} slot ${a}`, this.#slots + 1),
          gone: this.#field(`${name} gone ${a}`, 1),
          seen: this.#field(`${name} seen ${a}`, 2 ** this.#slots - 1),
          looked: this.#field(`${name} looked ${a}`, 2),
        })),
        wait: clock === undefined ? -1 : this.#field(`${name} wait`, WAITS.length - 1),
        asked: clock === undefined ? -1 : this.#field(`${name} asked`, this.#recoveryLease + 1),
        waitTtl: clock === undefined ? -1 : this.#field(`${name} ttl`, this.#ttl),
        slack: clock === undefined ? -1 : this.#field(`${name} slack`, 255),
      });
    }
    this.#g = new Uint8Array(this.fields.length);
  }

  #field(name: string, max: number): number {
    return this.fields.push({ name, max }) - 1;
  }

  #flight(name: string, max: number): number {
    const index = this.#field(name, max);
    this.#flights.push(index);
    return index;
  }

  #each<T>(count: number, make: (index: number) => T): T[] {
    return Array.from({ length: count }, (_, index) => make(index));
  }

  initial(): Uint8Array {
    const f = new Uint8Array(this.fields.length);
    for (let a = 0; a < this.#agents; a += 1) {
      if (this.scope.creation) continue;
      f[this.#dbSlot[a] as number] = 1;
      f[this.#slotOf[a]?.[0] as number] = THERE;
    }
    return f;
  }

  /** The state after the last emitted step. */
  get next(): Uint8Array {
    return this.#g;
  }

  // Reading.

  #control(f: Uint8Array, i: number): SaveControl {
    const row = this.#saves[i] as SaveFields;
    const quarantine = f[row.quarantine] as number;
    return {
      status: STATUSES[f[row.status] as number] as SaveStatus,
      epoch: 1 + (f[row.taken] as number),
      leaseUntil: f[row.lease] as number,
      quarantineUntil: quarantine === 0 ? null : quarantine - 1,
      lookAt: null,
      pivotSent: false,
      ambiguous: f[row.ambiguous] === 1,
      deadlineAt: f[row.deadline] as number,
    };
  }

  #isOpen(f: Uint8Array, i: number): boolean {
    const status = STATUSES[f[(this.#saves[i] as SaveFields).status] as number];
    return status != null && !isClosed(status);
  }

  #openSave(f: Uint8Array): number {
    for (let i = 0; i < this.#saves.length; i += 1) if (this.#isOpen(f, i)) return i;
    return -1;
  }

  #namesAgent(f: Uint8Array, i: number, a: number): boolean {
    if (i < this.userSaves) return this.scope.saves[i]?.includes(a) ?? false;
    return ((f[(this.#saves[i] as SaveFields).names] as number) & (1 << a)) !== 0;
  }

  /** What a save wants for an agent: its own content, or for a repair what the database holds. */
  #after(f: Uint8Array, i: number, a: number): number {
    return i < this.userSaves ? i + 1 : (f[(this.#saves[i] as SaveFields).before[a] as number] as number);
  }

  #creates(f: Uint8Array, i: number, a: number): boolean {
    return f[(this.#saves[i] as SaveFields).slot[a] as number] === 0;
  }

  #progress(f: Uint8Array, p: number): SagaProgress {
    const process = this.#processes[p] as ProcessFields;
    const i = f[process.save] as number;
    const parts: PartProgress[] = [];
    for (let a = 0; a < this.#agents; a += 1)
      if (this.#namesAgent(f, i, a)) parts.push(this.#target(f, p, a));
    return {
      status: STATUSES[f[process.status] as number] as SaveStatus,
      parts,
      taken: f[process.taken] === 1,
      once: f[process.once] === 1,
      quarantined: f[process.quarantined] === 1,
      pastDeadline: f[process.pastDeadline] === 1,
      released: false,
    };
  }

  #target(f: Uint8Array, p: number, a: number): PartProgress {
    const process = this.#processes[p] as ProcessFields;
    const target = process.targets[a] as TargetFields;
    const gone = f[target.gone] === 1;
    return {
      ...{ key: KEYS[a] as string, stage: 0, pivot: false, lookOnly: false },
      action: gone || this.#creates(f, f[process.save] as number, a) ? 'create' : 'replace',
      recreate: this.scope.recreates === true,
      gone,
      forward: FORWARDS[f[target.forward] as number] as Forward,
      undo: UNDOS[f[target.undo] as number] as Undo,
      touched: f[target.touched] === 1,
      ambiguous: f[target.ambiguous] === 1,
      seen: f[target.looked] === 0 ? undefined : f[target.looked] === 2,
    };
  }

  /** The production code's decision, remembered: there are few different questions. */
  #decide(f: Uint8Array, p: number): Decision {
    const process = this.#processes[p] as ProcessFields;
    let key = f[process.status] as number;
    key =
      key * 16 +
      (f[process.once] as number) * 8 +
      (f[process.taken] as number) * 4 +
      (f[process.quarantined] as number) * 2 +
      (f[process.pastDeadline] as number);
    const i = f[process.save] as number;
    for (let a = 0; a < this.#agents; a += 1) {
      const target = process.targets[a] as TargetFields;
      const named = this.#namesAgent(f, i, a) ? 1 : 0;
      key = key * 9 + (f[target.forward] as number);
      key = key * 6 + (f[target.undo] as number);
      key =
        key * 16 +
        named * 8 +
        (this.#creates(f, i, a) ? 4 : 0) +
        (f[target.touched] as number) * 2 +
        (f[target.ambiguous] as number);
      key = key * 6 + (f[target.looked] as number) * 2 + (f[target.gone] as number);
    }
    let decision = this.#decisions.get(key);
    if (decision === undefined) {
      decision = decide(this.#progress(f, p));
      this.#decisions.set(key, decision);
    }
    return decision;
  }

  #maySend(f: Uint8Array, p: number): boolean {
    const process = this.#processes[p] as ProcessFields;
    const guard = f[process.guard] as number;
    const { clock } = this.scope;
    if (clock === undefined) return guard === 1;
    const leaseMs = (f[process.lease] as number) * SECOND;
    return fitsLease(guard * SECOND, { requestTimeoutMs: clock.requestTimeoutMs, leaseMs });
  }

  /** Is anything applied or dead only later? */
  isQuiet(f: Uint8Array): boolean {
    return this.#flights.every((flight) => f[flight] === 0);
  }

  /** Nobody is at work, nothing is open, fenced or under way. */
  isAtRest(f: Uint8Array): boolean {
    return (
      this.#openSave(f) < 0 &&
      f[this.#fence] === 0 &&
      this.isQuiet(f) &&
      this.#processes.every(({ phase }) => (f[phase] as number) === IDLE || f[phase] === GONE)
    );
  }

  /** What is wrong with a state; null = nothing. */
  problem(f: Uint8Array): string | null {
    let open = 0;
    for (let i = 0; i < this.#saves.length; i += 1) if (this.#isOpen(f, i)) open += 1;
    if (open > 1) return 'two saves are open';
    // Without a bound on delays, equality is the sweep's business: it holds at rest.
    if (open === 0 && (!this.scope.unbounded || this.isAtRestForGood(f))) return this.difference(f);
    return null;
  }

  /** Nothing can happen any more that would make the two systems differ or agree. */
  isAtRestForGood(f: Uint8Array): boolean {
    if (!this.isAtRest(f)) return false;
    return !this.scope.sweeps || !this.#hasWorkForSweep(f);
  }

  difference(f: Uint8Array): string | null {
    for (let a = 0; a < this.#agents; a += 1) {
      const row = f[this.#dbSlot[a] as number] as number;
      const held = f[this.#db[a] as number] as number;
      for (let k = 0; k < this.#slots; k += 1) {
        const slot = f[this.#slotOf[a]?.[k] as number] as number;
        if (row === k + 1) {
          // What a person deleted is the sweep's to find, and shown as missing.
          if (slot === DELETED && (f[this.#removed] === 1 || this.scope.unbounded)) continue;
          if (slot !== THERE + held)
            return `agent ${a}: Postgres holds ${held}, Vapi ${slot < THERE ? 'nothing' : slot - THERE}`;
        } else if (slot >= THERE) {
          return `agent ${a}: an assistant that nobody keeps, with ${slot - THERE}`;
        }
      }
    }
    return null;
  }

  // Steps.

  /** Everything that can happen next, each into `next`. */
  expand(f: Uint8Array, emit: Emit): void {
    const { scope } = this;
    this.#begins(f, emit);
    for (let p = 0; p < this.#processes.length; p += 1) {
      const { phase } = this.#processes[p] as ProcessFields;
      if (f[phase] === RUNNING) this.#run(f, p, emit);
      if (f[phase] === ASKING) this.#asked(f, p, emit);
      if (f[phase] === RUNNING || f[phase] === ASKING) {
        // Somebody must die, or nobody would ever recover anything.
        if (!scope.onlySlow || p < this.userSaves) {
          this.#copy(f);
          this.#end(this.#g, p);
          emit(false, 'crash', p, -1, '');
        }
      }
    }
    this.#takeovers(f, emit);
    this.#flightsLand(f, emit);
    if (scope.clock === undefined) this.#timePasses(f, emit);
    else this.#tick(f, emit);
    this.#settles(f, emit);
    if (scope.operator) this.#operatorTakes(f, emit);
    if (scope.deletes && f[this.#removed] === 0) this.#removals(f, emit);
    if (scope.sweeps) this.#sweepDeletes(f, emit);
  }

  #copy(f: Uint8Array): Uint8Array {
    this.#g.set(f);
    return this.#g;
  }

  #begins(f: Uint8Array, emit: Emit): void {
    if (this.#openSave(f) >= 0) return;
    if ((f[this.#fence] as number) > 0 && this.scope.without !== 'fence') return;
    for (let i = 0; i < this.#saves.length; i += 1) {
      const process = this.#processes[i] as ProcessFields;
      if (f[process.phase] !== IDLE) continue;
      const isRepair = i >= this.userSaves;
      let names = 0;
      if (isRepair) {
        for (let a = 0; a < this.#agents; a += 1) if (this.#differs(f, a)) names |= 1 << a;
        if (names === 0) continue;
      }
      const g = this.#copy(f);
      if (this.scope.clock !== undefined) {
        g[process.phase] = ASKING;
        g[process.save] = i;
        this.#giveSlack(g, i, this.scope.clock.databaseMs);
        emit(true, 'asks to begin', i, -1, '');
        continue;
      }
      this.#begin(g, i, names);
      emit(true, 'begins', i, -1, '');
    }
  }

  #begin(g: Uint8Array, i: number, names: number): void {
    const row = this.#saves[i] as SaveFields;
    const control = beginControl(0, { leaseMs: this.#lease, deadlineMs: this.#deadline });
    this.#write(g, i, control);
    g[row.names] = names;
    for (let a = 0; a < this.#agents; a += 1) {
      if (!this.#namesAgent(g, i, a)) continue;
      g[row.before[a] as number] = g[this.#db[a] as number] as number;
      g[row.slot[a] as number] = g[this.#dbSlot[a] as number] as number;
    }
    this.#start(g, i, i, { taken: false, once: true, quarantined: false, pastDeadline: false });
  }

  /** A process holds a save from now on. */
  #start(
    g: Uint8Array,
    p: number,
    i: number,
    held: { taken: boolean; once: boolean; quarantined: boolean; pastDeadline: boolean },
  ): void {
    const process = this.#processes[p] as ProcessFields;
    for (const [q, other] of this.#processes.entries())
      if (q !== p && g[other.phase] === RUNNING && g[other.save] === i) g[other.current] = 0;
    g[process.phase] = RUNNING;
    g[process.save] = i;
    g[process.status] = g[(this.#saves[i] as SaveFields).status] as number;
    g[process.current] = 1;
    if (this.scope.clock === undefined) g[process.guard] = 1;
    else g[process.lease] = held.taken ? this.#recoveryLease : this.#lease;
    g[process.taken] = held.taken ? 1 : 0;
    g[process.once] = held.once ? 1 : 0;
    g[process.quarantined] = held.quarantined ? 1 : 0;
    g[process.pastDeadline] = held.pastDeadline ? 1 : 0;
    for (let a = 0; a < this.#agents; a += 1) {
      if (!this.#namesAgent(g, i, a)) continue;
      const target = process.targets[a] as TargetFields;
      const image = g[(this.#saves[i] as SaveFields).slot[a] as number] as number;
      g[target.touched] = held.taken ? 1 : 0;
      g[target.slot] = image > 0 ? image + 1 : held.taken ? UNLOOKED : NO_SLOT;
    }
    this.#compute(g, p);
  }

  /** It waits for nothing: what it does next, it does at once. */
  #compute(g: Uint8Array, p: number): void {
    if (this.scope.clock === undefined) return;
    const process = this.#processes[p] as ProcessFields;
    g[process.wait] = 0;
    g[process.waitTtl] = 0;
    g[process.slack] = 0;
    const { do: next } = this.#decide(g, p);
    // A transition is a call of the database, under way from now on.
    if (next !== 'look' && next !== 'send' && next !== 'undo')
      this.#giveSlack(g, p, this.scope.clock.databaseMs);
    g[process.asked] = 0;
  }

  #giveSlack(g: Uint8Array, p: number, ms: number): void {
    g[(this.#processes[p] as ProcessFields).slack] = Math.round(ms / SECOND);
  }

  /** Gone for good, or looking for work again; what it waited for is on its way all the same. */
  #end(g: Uint8Array, p: number): void {
    const process = this.#processes[p] as ProcessFields;
    this.#abandonWait(g, p);
    const isUser = p < this.userSaves;
    const { phase, save, status, current, guard, taken, once, quarantined, pastDeadline } = process;
    const { lease, wait, asked, waitTtl, slack } = process;
    for (const field of [
      save,
      status,
      current,
      guard,
      lease,
      taken,
      once,
      quarantined,
      pastDeadline,
      wait,
      asked,
      waitTtl,
      slack,
    ])
      if (field >= 0) g[field] = 0;
    for (const target of process.targets) for (const field of Object.values(target) as number[]) g[field] = 0;
    g[phase] = isUser ? GONE : IDLE;
  }

  #write(g: Uint8Array, i: number, control: SaveControl): void {
    const row = this.#saves[i] as SaveFields;
    g[row.status] = STATUSES.indexOf(control.status);
    g[row.lease] = Math.max(0, control.leaseUntil ?? 0);
    // One that lies before the end of the lease is of an earlier owner, and counts for nothing any more.
    const isOld = (control.quarantineUntil ?? 0) < (control.leaseUntil ?? 0) || isClosed(control.status);
    g[row.quarantine] = control.quarantineUntil === null || isOld ? 0 : control.quarantineUntil + 1;
    g[row.ambiguous] = control.ambiguous ? 1 : 0;
    g[row.taken] = control.epoch > 1 ? 1 : 0;
    g[row.deadline] = control.deadlineAt;
    if (isClosed(control.status)) {
      g[row.deadline] = 0;
      g[row.taken] = 0;
      g[row.ambiguous] = 0;
      // Nobody looks at them again.
      for (const field of [...row.before, ...row.slot, row.names]) g[field] = 0;
    }
  }

  /** A transition of the database. Answers whether the process goes on with the save. */
  #transition(g: Uint8Array, p: number, i: number, step: Step): boolean {
    const process = this.#processes[p] as ProcessFields;
    if (step.kind === 'stale' || step.kind === 'too early') return false;
    if (step.kind === 'moved') {
      const before = this.#control(g, i);
      const control = { ...step.control };
      const { quarantineUntil } = control;
      if (quarantineUntil !== null && quarantineUntil > 0 && before.quarantineUntil !== quarantineUntil) {
        if (this.scope.without === 'quarantine') control.quarantineUntil = 0;
        else this.#markUnderWay(g);
      }
      this.#write(g, i, control);
      if (step.fenceMs !== null && this.scope.without !== 'fence') {
        g[this.#fence] = Math.max(g[this.#fence] as number, step.fenceMs);
        this.#markUnderWay(g);
      }
    }
    g[process.status] = g[(this.#saves[i] as SaveFields).status] as number;
    return true;
  }

  /** A quarantine or a fence begins: it waits for what is under way now. */
  #markUnderWay(g: Uint8Array): void {
    if (this.scope.clock !== undefined) return;
    for (const flight of this.#flights) if ((g[flight] as number) > 0) g[flight] = 1;
  }

  #run(f: Uint8Array, p: number, emit: Emit): void {
    const process = this.#processes[p] as ProcessFields;
    if (this.scope.clock !== undefined && f[process.wait] !== 0) {
      this.#answers(f, p, emit);
      return;
    }
    const i = f[process.save] as number;
    const decision = this.#decide(f, p);
    const epoch = f[process.current] === 1 ? this.#control(f, i).epoch : 0;
    const late = this.#late;
    const transition = (
      kind: string,
      step: (control: SaveControl) => Step,
      goesOn: (g: Uint8Array) => boolean,
    ) => {
      const g = this.#copy(f);
      const held = this.#transition(g, p, i, step(this.#control(g, i)));
      if (!held || !goesOn(g)) this.#end(g, p);
      else this.#compute(g, p);
      emit(true, held ? kind : `${kind} (too late)`, p, -1, '');
    };
    switch (decision.do) {
      case 'look':
      case 'send':
      case 'undo':
        for (const key of decision.keys) this.#act(f, p, KEYS.indexOf(key), decision.do, emit);
        break;
      case 'commit': {
        const { ambiguous } = decision;
        transition(
          'commits',
          (control) => {
            const step = commitStep(control, this.scope.without === 'epoch' ? control.epoch : epoch, {
              ambiguous,
              lateMs: late,
            });
            if (step.kind === 'moved') this.#commitAgents(this.#g, p, i);
            return step;
          },
          () => false,
        );
        break;
      }
      case 'abort': {
        const { ambiguous, nothingApplied } = decision;
        transition(
          'aborts',
          (control) =>
            abortStep(control, epoch, { ambiguous, nothingApplied, lateMs: late, leaseMs: this.#lease }, 0),
          (g) => {
            if (ambiguous || STATUSES[g[process.status] as number] !== 'ROLLING_BACK') return false;
            // The lease is new; by its own clock it began when the process asked.
            g[process.guard] = this.scope.clock === undefined ? 1 : (g[process.asked] as number);
            if (process.lease >= 0) g[process.lease] = this.#lease;
            return true;
          },
        );
        break;
      }
      case 'close':
        transition(
          'closes',
          (control) => rolledBackStep(control, epoch, { ambiguous: decision.ambiguous, lateMs: late }),
          () => false,
        );
        break;
      case 'attention':
        transition(
          'needs attention',
          (control) => needsAttentionStep(control, epoch, { ambiguous: decision.ambiguous, lateMs: late }, 0),
          () => false,
        );
        break;
      case 'hand_over': {
        const { ambiguous, quarantine } = decision;
        transition(
          quarantine ? 'holds for the quarantine' : 'holds',
          (control) =>
            holdStep(control, epoch, { ambiguous, quarantineMs: quarantine ? late : 0, lookAfterMs: 0 }, 0),
          () => false,
        );
        break;
      }
      case 'stop':
        break;
    }
    this.#resend(f, p, decision, emit);
  }

  #commitAgents(g: Uint8Array, p: number, i: number): void {
    const process = this.#processes[p] as ProcessFields;
    for (let a = 0; a < this.#agents; a += 1) {
      if (!this.#namesAgent(g, i, a)) continue;
      g[this.#db[a] as number] = this.#after(g, i, a);
      g[this.#dbSlot[a] as number] = (g[(process.targets[a] as TargetFields).slot] as number) - 1;
    }
  }

  /** One more attempt of what may be repeated, while nothing else has been decided yet. */
  #resend(f: Uint8Array, p: number, decision: Decision, emit: Emit): void {
    if (this.scope.onlySlow || !this.#maySend(f, p)) return;
    const process = this.#processes[p] as ProcessFields;
    const i = f[process.save] as number;
    const isForward = STATUSES[f[process.status] as number] === 'APPLYING';
    // Before its first owner sends anything a second time that got no answer, the journal knows.
    const isUnrecorded = f[process.taken] === 0 && f[process.once] === 1 && this.scope.without !== 'record';
    for (let a = 0; a < this.#agents; a += 1) {
      if (!this.#namesAgent(f, i, a)) continue;
      const target = process.targets[a] as TargetFields;
      const agent = this.#target(f, p, a);
      const { forward, undo } = agent;
      const request = (f[target.slot] as number) > NO_SLOT ? 'PATCH' : 'POST';
      // Where the last answer was no answer: a look that failed, with the slot unlooked for, is not repeated.
      const isOpen = forward === 'unknown' && f[target.slot] !== UNLOOKED;
      if (isForward && (decision.do === 'hand_over' || decision.do === 'abort')) {
        const isRepeat = isOpen && afterSend(agent, 'unknown', request).again;
        if (isUnrecorded && agent.ambiguous && (isRepeat || forward === 'unreachable')) {
          this.#record(f, p, emit);
          continue;
        }
        if (isRepeat || (forward === 'unreachable' && afterSend(agent, 'not_sent', request).again))
          this.#act(f, p, a, 'send', emit, false);
      }
      if (!isForward && decision.do === 'hand_over' && (undo === 'unknown' || undo === 'blocked'))
        this.#act(f, p, a, 'undo', emit, false);
    }
  }

  #record(f: Uint8Array, p: number, emit: Emit): void {
    const process = this.#processes[p] as ProcessFields;
    const i = f[process.save] as number;
    const g = this.#copy(f);
    const control = this.#control(g, i);
    const epoch = g[process.current] === 1 ? control.epoch : 0;
    const request = { ambiguous: true, quarantineMs: 0, lookAfterMs: 0, keepsLease: true };
    if (this.#transition(g, p, i, holdStep(control, epoch, request, 0))) g[process.once] = 0;
    else this.#end(g, p);
    emit(false, 'records that it sends again', p, -1, '');
  }

  /** One agent's next request, forward or back. */
  #act(
    f: Uint8Array,
    p: number,
    a: number,
    direction: 'look' | 'send' | 'undo',
    emit: Emit,
    good = true,
  ): void {
    const process = this.#processes[p] as ProcessFields;
    const target = process.targets[a] as TargetFields;
    const { clock } = this.scope;
    const isOrdering = clock === undefined;
    const mayStill = this.#maySend(f, p);
    // Without durations, the time that is left may be too short at any moment.
    if (!mayStill || (isOrdering && good)) {
      const g = this.#copy(f);
      if (direction === 'look') g[target.looked] = 1;
      else if (direction === 'undo') g[target.undo] = UNDOS.indexOf('blocked');
      else {
        const isLooking = f[target.slot] === UNLOOKED || f[target.seen] !== 0;
        g[target.forward] = FORWARDS.indexOf(isLooking ? 'unknown' : 'unreachable');
      }
      this.#compute(g, p);
      emit(good && !mayStill, 'has no time left for', p, a, direction);
      if (!mayStill) return;
    }
    const wait = this.#nextRequest(f, p, a, direction);
    if (isOrdering) {
      this.#fates(f, p, a, wait, emit, good);
      return;
    }
    const g = this.#copy(f);
    g[process.wait] = WAITS.indexOf(wait);
    g[process.waitTtl] = this.#ttl;
    this.#giveSlack(g, p, clock.requestTimeoutMs);
    emit(good, 'sends', p, a, wait);
  }

  #nextRequest(f: Uint8Array, p: number, a: number, direction: 'look' | 'send' | 'undo'): Wait {
    if (direction === 'look') return 'look';
    const process = this.#processes[p] as ProcessFields;
    const target = process.targets[a] as TargetFields;
    const creates = this.#target(f, p, a).action === 'create';
    if (direction === 'send') {
      if (f[target.slot] === UNLOOKED) return 'list';
      return f[target.seen] === 0 ? 'write' : 'delete';
    }
    if (!creates) return 'undo';
    if (f[target.seen] !== 0) return 'undo-delete';
    // Its own first owner knows what it made; everybody else must look.
    return f[process.taken] === 1 || (f[target.slot] as number) <= NO_SLOT ? 'undo-list' : 'undo-delete';
  }

  /** The ticking clock: the answer to what a process waits for, at any moment until the timeout. */
  #answers(f: Uint8Array, p: number, emit: Emit): void {
    const process = this.#processes[p] as ProcessFields;
    // With one agent, what is waited for is that agent's.
    this.#fates(f, p, 0, WAITS[f[process.wait] as number] as Wait, emit, true);
  }

  /** What can become of one request. */
  #fates(f: Uint8Array, p: number, a: number, wait: Wait, emit: Emit, good: boolean): void {
    const { scope } = this;
    const process = this.#processes[p] as ProcessFields;
    const target = process.targets[a] as TargetFields;
    const i = f[process.save] as number;
    const step = (isGood: boolean, what: string, change: (g: Uint8Array) => unknown) => {
      const g = this.#copy(f);
      change(g);
      if (scope.clock !== undefined && g[process.phase] === RUNNING) this.#compute(g, p);
      emit(isGood && good, wait, p, a, what);
    };

    if (wait === 'look') {
      step(true, 'answered', (g) => {
        const creates = this.#target(g, p, a).action === 'create';
        const own = (g[target.slot] as number) - 2;
        const shown: number[] = [];
        for (let k = 0; k < this.#slots; k += 1) {
          if (!creates && k !== own) continue;
          // A repair has the content of an earlier save here, so that its own stamp cannot be told from that one's.
          if (i < this.userSaves && this.#isStampedBy(g[this.#slotOf[a]?.[k] as number] as number, i))
            shown.push(k);
        }
        g[target.looked] = shown.length > 0 ? 2 : 1;
        const [only] = shown;
        if (only === undefined || shown.length > 1) return;
        g[target.slot] = only + 2;
        if (g[this.#slotOf[a]?.[only] as number] === THERE + this.#after(g, i, a))
          g[target.forward] = FORWARDS.indexOf('applied');
      });
      if (!scope.onlySlow) step(false, 'not answered', (g) => (g[target.looked] = 1));
      return;
    }

    if (wait === 'list' || wait === 'undo-list') {
      step(true, 'answered', (g) => {
        let seen = 0;
        for (let k = 0; k < this.#slots; k += 1)
          if (this.#isStampedBy(g[this.#slotOf[a]?.[k] as number] as number, i)) seen |= 1 << k;
        if (wait === 'undo-list') {
          g[target.seen] = seen;
          if (seen === 0) g[target.undo] = UNDOS.indexOf('done');
          return;
        }
        const oldest = seen === 0 ? -1 : 31 - Math.clz32(seen & -seen);
        g[target.slot] = oldest < 0 ? NO_SLOT : oldest + 2;
        g[target.seen] = oldest < 0 ? 0 : seen & ~(1 << oldest);
      });
      if (scope.onlySlow) return;
      step(false, 'not answered', (g) => {
        if (wait === 'list') g[target.forward] = FORWARDS.indexOf('unknown');
        else g[target.undo] = UNDOS.indexOf('blocked');
      });
      return;
    }

    if (wait === 'delete' || wait === 'undo-delete') {
      const own = (f[target.slot] as number) - 2;
      const seen = f[target.seen] as number;
      const k = seen === 0 ? own : 31 - Math.clz32(seen & -seen);
      const learn = (g: Uint8Array, answer: Answer) => {
        if (wait === 'delete') {
          if (answer === 'matches') g[target.seen] = seen & ~(1 << k);
          else g[target.forward] = FORWARDS.indexOf('unknown');
          return;
        }
        const left = seen & ~(1 << k);
        if (answer === 'matches' && left !== 0) {
          g[target.seen] = left;
          return;
        }
        const blocked = { ...this.#target(g, p, a), undo: undoOrBlocked(this.#target(g, p, a).undo) };
        const learned = afterUndo(blocked, answer, 'DELETE');
        g[target.undo] = UNDOS.indexOf(learned.undo);
        g[target.ambiguous] = learned.ambiguous ? 1 : 0;
        g[target.seen] = 0;
      };
      step(true, 'answered', (g) => {
        g[this.#slotOf[a]?.[k] as number] = DELETED;
        learn(g, 'matches');
      });
      if (scope.onlySlow) return;
      step(false, 'not sent', (g) => learn(g, 'not_sent'));
      step(false, 'not answered', (g) => {
        this.#fly(g, p, this.#delete[a]?.[k] as number);
        learn(g, 'unknown');
      });
      if (scope.refusesUndo && wait === 'undo-delete') step(false, 'refused', (g) => learn(g, 'refused'));
      return;
    }

    const back = wait === 'undo';
    const content = back
      ? (f[(this.#saves[i] as SaveFields).before[a] as number] as number)
      : this.#after(f, i, a);
    const slot = (f[target.slot] as number) - 2;
    const request = slot < 0 ? 'POST' : 'PATCH';
    // Assistants cannot be told apart without end: the last one is kept for a request that is answered.
    const spare = slot >= 0 ? 0 : this.#spareSlots(f, a);
    const isDeleted = slot >= 0 && f[this.#slotOf[a]?.[slot] as number] === DELETED;
    const learn = (g: Uint8Array, answer: Answer) => {
      const agent = this.#target(g, p, a);
      if (back) {
        const learned = afterUndo({ ...agent, undo: undoOrBlocked(agent.undo) }, answer, 'PATCH');
        g[target.undo] = UNDOS.indexOf(learned.undo);
        g[target.ambiguous] = learned.ambiguous ? 1 : 0;
        if (learned.gone === true) this.#isGone(g, p, a);
      } else {
        const learned = afterSend(agent, answer, request);
        g[target.forward] = FORWARDS.indexOf(learned.forward);
        g[target.touched] = learned.touched ? 1 : 0;
        g[target.ambiguous] = learned.ambiguous ? 1 : 0;
        if (learned.gone === true) this.#isGone(g, p, a);
      }
    };
    const apply = (g: Uint8Array, written: number) => {
      if (slot >= 0) g[this.#slotOf[a]?.[slot] as number] = THERE + written;
      else {
        const made = this.#freeSlot(g, a);
        if (made < 0) return false;
        g[this.#slotOf[a]?.[made] as number] = THERE + written;
        g[target.slot] = made + 2;
      }
      return true;
    };
    if (isDeleted) {
      step(true, 'gone', (g) => learn(g, 'gone'));
    } else if (slot >= 0 || spare >= 1) {
      step(true, 'answered', (g) => {
        apply(g, content);
        learn(g, 'matches');
      });
      if (scope.differs && (slot >= 0 || spare >= 2)) {
        step(false, 'answered with other content', (g) => {
          apply(g, this.#somethingElse(i));
          learn(g, 'differs');
        });
      }
    }
    if (scope.onlySlow) return;
    step(false, 'not sent', (g) => learn(g, 'not_sent'));
    if (slot >= 0 || spare >= 2) {
      step(false, 'not answered', (g) => {
        if (slot < 0) {
          const free = this.#post[a]?.[i + 1]?.find((post) => g[post] === 0);
          if (free !== undefined) this.#fly(g, p, free);
        } else if (!isDeleted) this.#fly(g, p, this.#patch[a]?.[slot]?.[content] as number);
        learn(g, scope.without === 'unknown' ? 'refused' : 'unknown');
      });
    }
    if (back ? scope.refusesUndo : scope.rejects) step(false, 'refused', (g) => learn(g, 'refused'));
  }

  /** Slots that are neither used nor spoken for by a POST under way. */
  #spareSlots(f: Uint8Array, a: number): number {
    let spare = 0;
    for (const slot of this.#slotOf[a] ?? []) if (f[slot] === UNUSED) spare += 1;
    for (const posts of this.#post[a] ?? [])
      for (const post of posts) if ((f[post] as number) > 0) spare -= 1;
    return spare;
  }

  /** From now on the save makes a new assistant, unless an earlier owner has. */
  #isGone(g: Uint8Array, p: number, a: number): void {
    const process = this.#processes[p] as ProcessFields;
    const target = process.targets[a] as TargetFields;
    g[target.gone] = 1;
    g[target.slot] = g[process.taken] === 1 ? UNLOOKED : NO_SLOT;
  }

  /** Other content, under the stamp of the save all the same. */
  #somethingElse(i: number): number {
    return this.userSaves + 1 + i;
  }

  #isStampedBy(slot: number, i: number): boolean {
    return slot === THERE + i + 1 || slot === THERE + this.#somethingElse(i);
  }

  #freeSlot(f: Uint8Array, a: number): number {
    for (let k = 0; k < this.#slots; k += 1) if (f[this.#slotOf[a]?.[k] as number] === UNUSED) return k;
    return -1;
  }

  #patchesTo(a: number, k: number): number[] {
    return this.#patch[a]?.[k] ?? [];
  }

  /** A request without an answer may be applied from now on. */
  #fly(g: Uint8Array, p: number, flight: number): void {
    const several = this.#several.get(flight);
    if (several !== undefined && (g[flight] as number) > 0) g[several] = 1;
    if (this.scope.clock !== undefined) {
      const ttl = g[(this.#processes[p] as ProcessFields).waitTtl] as number;
      g[flight] = Math.max(g[flight] as number, ttl);
      return;
    }
    const waiting =
      (g[this.#fence] as number) > 0 || this.#saves.some(({ quarantine }) => (g[quarantine] as number) > 1);
    if (g[flight] === 0) g[flight] = waiting ? 2 : 1;
    else if (waiting) g[flight] = 2;
  }

  /** The process is gone; its request is not. */
  #abandonWait(g: Uint8Array, p: number): void {
    const process = this.#processes[p] as ProcessFields;
    if (this.scope.clock === undefined || g[process.wait] === 0) return;
    const wait = WAITS[g[process.wait] as number] as Wait;
    const target = process.targets[0] as TargetFields;
    const i = g[process.save] as number;
    const slot = (g[target.slot] as number) - 2;
    if (wait === 'delete' || wait === 'undo-delete') {
      const seen = g[target.seen] as number;
      this.#fly(g, p, this.#delete[0]?.[seen === 0 ? slot : 31 - Math.clz32(seen & -seen)] as number);
    } else if (wait === 'write' || wait === 'undo') {
      const content =
        wait === 'undo'
          ? (g[(this.#saves[i] as SaveFields).before[0] as number] as number)
          : this.#after(g, i, 0);
      if (slot >= 0) this.#fly(g, p, this.#patch[0]?.[slot]?.[content] as number);
      else this.#fly(g, p, this.#post[0]?.[i + 1]?.[0] as number);
    }
  }

  /** What is not under way is not there twice. */
  #forgetDead(g: Uint8Array): void {
    for (const [flight, several] of this.#several) if (g[flight] === 0) g[several] = 0;
  }

  #takeovers(f: Uint8Array, emit: Emit): void {
    const i = this.#openSave(f);
    if (i < 0) return;
    for (let r = 0; r < this.scope.recoverers; r += 1) {
      const p = this.#saves.length + r;
      const process = this.#processes[p] as ProcessFields;
      if (f[process.phase] !== IDLE) continue;
      if (this.scope.clock === undefined) {
        this.#lapse(f, p, i, emit);
        continue;
      }
      if (!isDue(this.#control(f, i), 0)) continue;
      const g = this.#copy(f);
      g[process.phase] = ASKING;
      g[process.save] = i;
      this.#giveSlack(g, p, this.scope.clock.databaseMs);
      emit(true, 'asks to take over', p, -1, String(i + 1));
    }
  }

  /** The ordering clock: the lease lapses, perhaps the deadline has passed, and somebody takes the save. */
  #lapse(f: Uint8Array, p: number, i: number, emit: Emit): void {
    const row = this.#saves[i] as SaveFields;
    const hasOwner = this.#processes.some(
      ({ phase, save, current }) => f[phase] === RUNNING && f[save] === i && f[current] === 1,
    );
    for (const isPast of f[row.deadline] === 0 ? [true] : [false, true]) {
      const g = this.#copy(f);
      g[row.lease] = 0;
      if (isPast) g[row.deadline] = 0;
      if (!isDue(this.#control(g, i), 0)) return;
      // The guard is stricter than the lease: its owner has stopped sending by now.
      for (const other of this.#processes)
        if (g[other.phase] === RUNNING && g[other.save] === i) g[other.guard] = 0;
      this.#takeOver(g, p, i);
      if (!this.scope.keepsStale && this.scope.without !== 'epoch') {
        for (const [q, other] of this.#processes.entries())
          if (q !== p && g[other.phase] === RUNNING && g[other.save] === i) this.#end(g, q);
      }
      emit(!hasOwner, isPast ? 'takes over, past its deadline,' : 'takes over', p, -1, String(i + 1));
    }
  }

  #takeOver(g: Uint8Array, p: number, i: number): boolean {
    if (!this.#isOpen(g, i)) return false;
    const taken = takeoverStep(this.#control(g, i), this.#recoveryLease, 0);
    if (taken === null) return false;
    const once = taken.once || this.scope.without === 'once';
    this.#write(g, i, once ? { ...taken.control, ambiguous: false } : taken.control);
    this.#start(g, p, i, { ...taken, taken: true, once });
    return true;
  }

  /** The ticking clock: a save that was asked for begins, or is taken over. */
  #asked(f: Uint8Array, p: number, emit: Emit): void {
    const process = this.#processes[p] as ProcessFields;
    const i = f[process.save] as number;
    const g = this.#copy(f);
    if (p >= this.#saves.length) {
      const isTaken = this.#takeOver(g, p, i);
      if (!isTaken) this.#end(g, p);
      emit(true, isTaken ? 'takes over' : 'is too late for', p, -1, String(i + 1));
      return;
    }
    const isBlocked =
      this.#openSave(f) >= 0 || ((f[this.#fence] as number) > 0 && this.scope.without !== 'fence');
    if (isBlocked) {
      g[process.phase] = IDLE;
      g[process.save] = 0;
      g[process.guard] = 0;
      g[process.slack] = 0;
      emit(true, 'is told to wait', p, -1, '');
      return;
    }
    this.#begin(g, i, 0);
    emit(true, 'begins', p, -1, '');
  }

  /** What nobody waits for any more is applied, or is lost. */
  #flightsLand(f: Uint8Array, emit: Emit): void {
    const isEndless = this.scope.unbounded === true;
    for (let a = 0; a < this.#agents; a += 1) {
      for (let k = 0; k < this.#slots; k += 1) {
        const slot = this.#slotOf[a]?.[k] as number;
        for (const [content, flight] of this.#patchesTo(a, k).entries()) {
          if (f[flight] === 0) continue;
          const several = this.#several.get(flight) as number;
          if ((f[slot] as number) >= THERE && (f[slot] !== THERE + content || f[several] === 0)) {
            const g = this.#copy(f);
            g[slot] = THERE + content;
            // One of several of the same bytes: it stays under way.
            if (g[several] === 0) g[flight] = 0;
            emit(false, 'late PATCH', -1, a, String(content));
          }
          if (isEndless) {
            const g = this.#copy(f);
            g[flight] = 0;
            g[several] = 0;
            emit(true, 'a PATCH is dead', -1, a, String(content));
          }
        }
        const removal = this.#delete[a]?.[k];
        if (removal !== undefined && (f[removal] as number) > 0) {
          if ((f[slot] as number) >= THERE) {
            const g = this.#copy(f);
            g[slot] = DELETED;
            emit(false, 'late DELETE', -1, a, String(k));
          }
          if (isEndless) {
            this.#copy(f)[removal] = 0;
            emit(true, 'a DELETE is dead', -1, a, String(k));
          }
        }
      }
      for (const [save, posts] of (this.#post[a] as number[][]).entries()) {
        for (const flight of posts) {
          if (f[flight] === 0) continue;
          const made = this.#freeSlot(f, a);
          if (made >= 0) {
            const g = this.#copy(f);
            g[flight] = 0;
            g[this.#slotOf[a]?.[made] as number] = THERE + save;
            emit(false, 'late POST', -1, a, String(save));
          }
          if (isEndless) {
            this.#copy(f)[flight] = 0;
            emit(true, 'a POST is dead', -1, a, String(save));
          }
        }
      }
    }
  }

  /** The ordering clock: what was under way when a quarantine or fence began is dead when it ends, unless it was applied. */
  #timePasses(f: Uint8Array, emit: Emit): void {
    const { unbounded } = this.scope;
    const over = (field: number, to: number, kind: string, who: number) => {
      const g = this.#copy(f);
      g[field] = to;
      if (!unbounded) for (const flight of this.#flights) if (g[flight] === 1) g[flight] = 0;
      this.#forgetDead(g);
      emit(true, kind, who, -1, '');
    };
    for (const [i, row] of this.#saves.entries())
      if ((f[row.quarantine] as number) > 1) over(row.quarantine, 1, 'the quarantine is over of', i);
    if ((f[this.#fence] as number) > 0) over(this.#fence, 0, 'the fence is over', -1);
  }

  /** The ticking clock: one second, for everything. Good if nobody has had his time. */
  #tick(f: Uint8Array, emit: Emit): void {
    const g = this.#copy(f);
    let good = true;
    const down = (field: number, least = 0) => {
      if ((g[field] as number) > least) g[field] = (g[field] as number) - 1;
    };
    down(this.#fence);
    for (const flight of this.#flights) down(flight);
    this.#forgetDead(g);
    for (const row of this.#saves) {
      down(row.lease);
      down(row.deadline);
      down(row.quarantine, (g[row.quarantine] as number) > 0 ? 1 : 0);
    }
    for (const process of this.#processes) {
      if (g[process.phase] !== RUNNING && g[process.phase] !== ASKING) continue;
      if (g[process.slack] === 0) {
        // A request has its deadline, however slow the process: nobody waits longer.
        if ((g[process.wait] as number) > 0) return;
        good = false;
      }
      down(process.slack);
      down(process.waitTtl);
      for (const field of [process.guard, process.asked])
        g[field] = Math.min(this.#recoveryLease + 1, (g[field] as number) + 1);
    }
    if (g.every((value, index) => value === f[index])) return;
    if (good || !this.scope.onlySlow) emit(good, 'a second passes', -1, -1, '');
  }

  /** A person puts Vapi right, one way or the other, and settles the save. */
  #settles(f: Uint8Array, emit: Emit): void {
    for (let i = 0; i < this.#saves.length; i += 1) {
      if (STATUSES[f[(this.#saves[i] as SaveFields).status] as number] !== 'NEEDS_ATTENTION') continue;
      for (const to of ['ROLLED_BACK', 'COMMITTED'] as const) {
        const g = this.#copy(f);
        let possible = true;
        for (let a = 0; a < this.#agents; a += 1) {
          if (!this.#namesAgent(g, i, a)) continue;
          const row = this.#saves[i] as SaveFields;
          const image = g[row.slot[a] as number] as number;
          let kept = -1;
          for (let k = 0; k < this.#slots; k += 1) {
            const slot = this.#slotOf[a]?.[k] as number;
            if ((g[slot] as number) < THERE) continue;
            if (to === 'ROLLED_BACK') {
              if (image === k + 1) g[slot] = THERE + (g[row.before[a] as number] as number);
              else g[slot] = DELETED;
            } else if (kept < 0 && (image === k + 1 || this.#isStampedBy(g[slot] as number, i))) {
              kept = k;
              g[slot] = THERE + this.#after(g, i, a);
            }
          }
          if (to !== 'COMMITTED') continue;
          possible &&= kept >= 0;
          g[this.#db[a] as number] = this.#after(g, i, a);
          g[this.#dbSlot[a] as number] = kept + 1;
        }
        const control = this.#control(g, i);
        const step = settleStep(control, control.epoch, to, this.#late, 0);
        if (!possible || step.kind !== 'moved') continue;
        this.#write(g, i, step.control);
        g[this.#fence] = Math.max(g[this.#fence] as number, step.fenceMs ?? 0);
        this.#markUnderWay(g);
        emit(true, 'a person settles', i, -1, to);
      }
    }
  }

  /** An operator takes the save over and marks it as theirs (settle.ts); what they do about it follows, like for any such save. */
  #operatorTakes(f: Uint8Array, emit: Emit): void {
    const i = this.#openSave(f);
    if (i < 0) return;
    const g = this.#copy(f);
    const row = this.#saves[i] as SaveFields;
    if (this.scope.clock === undefined) g[row.lease] = 0;
    const taken = takeoverStep(this.#control(g, i), this.#recoveryLease, 0);
    if (taken === null) return;
    const { epoch } = taken.control;
    const step = needsAttentionStep(taken.control, epoch, { ambiguous: true, lateMs: this.#late }, 0);
    if (step.kind !== 'moved') throw new Error(`an operator cannot take a save: ${step.kind}`);
    this.#write(
      g,
      i,
      this.scope.without === 'settle' ? { ...step.control, quarantineUntil: null } : step.control,
    );
    this.#markUnderWay(g);
    for (const [p, process] of this.#processes.entries()) {
      if (g[process.phase] !== RUNNING || g[process.save] !== i) continue;
      g[process.current] = 0;
      if (this.scope.clock === undefined) g[process.guard] = 0;
      if (!this.scope.keepsStale) this.#end(g, p);
    }
    emit(false, 'an operator takes', i, -1, '');
  }

  #removals(f: Uint8Array, emit: Emit): void {
    for (let a = 0; a < this.#agents; a += 1) {
      for (let k = 0; k < this.#slots; k += 1) {
        const slot = this.#slotOf[a]?.[k] as number;
        if ((f[slot] as number) < THERE) continue;
        const g = this.#copy(f);
        g[slot] = DELETED;
        g[this.#removed] = 1;
        emit(false, 'a person deletes', -1, a, String(k));
      }
    }
  }

  #differs(f: Uint8Array, a: number): boolean {
    const row = f[this.#dbSlot[a] as number] as number;
    if (row === 0) return false;
    const slot = f[this.#slotOf[a]?.[row - 1] as number] as number;
    return slot >= THERE && slot !== THERE + (f[this.#db[a] as number] as number);
  }

  #hasWorkForSweep(f: Uint8Array): boolean {
    for (let a = 0; a < this.#agents; a += 1) {
      if (this.#differs(f, a)) return true;
      for (let k = 0; k < this.#slots; k += 1)
        if (f[this.#dbSlot[a] as number] !== k + 1 && (f[this.#slotOf[a]?.[k] as number] as number) >= THERE)
          return true;
    }
    return false;
  }

  /** What a closed save made and did not keep. */
  #sweepDeletes(f: Uint8Array, emit: Emit): void {
    if (this.#openSave(f) >= 0 || (f[this.#fence] as number) > 0) return;
    for (let a = 0; a < this.#agents; a += 1) {
      for (let k = 0; k < this.#slots; k += 1) {
        const slot = this.#slotOf[a]?.[k] as number;
        if (f[this.#dbSlot[a] as number] === k + 1 || (f[slot] as number) < THERE) continue;
        this.#copy(f)[slot] = DELETED;
        emit(true, 'the sweep deletes', -1, a, String(k));
      }
    }
  }

  /** One step in words. */
  tell(kind: string, who: number, agent: number, what: string): string {
    const name =
      who < 0
        ? ''
        : kind.endsWith(' of') || kind === 'a person settles' || kind === 'an operator takes'
          ? `save ${who + 1}`
          : (this.#names[who] ?? '');
    const said = agent < 0 ? what : `${KEYS[agent]} ${what}`;
    if (kind.endsWith(' of')) return `${kind} ${name}`;
    if (kind === 'an operator takes') return `${kind} ${name}`;
    if (kind === 'a person settles') return `${kind} ${name}: ${what}`;
    return [name, kind, said].filter((word) => word !== '').join(' ');
  }

  /** A state in words, for a trace. */
  show(f: Uint8Array): string {
    const parts: string[] = [];
    for (const [index, { name }] of this.fields.entries())
      if (f[index] !== 0) parts.push(`${name}=${f[index]}`);
    return parts.join(' ');
  }
}

/** As the runner has it: what was not tried counts as blocked from the first attempt on. */
function undoOrBlocked(undo: Undo): Undo {
  return undo === 'pending' ? 'blocked' : undo;
}

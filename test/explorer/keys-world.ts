import type { SagaStatus } from '../../src/domain/saga.ts';
import {
  type Answer,
  afterSend,
  afterUndo,
  decide,
  type Forward,
  isClosed,
  type PartProgress,
  type SagaProgress,
  startOf,
  type Undo,
} from '../../src/services/saga/protocol.ts';
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
  takeoverStep,
} from '../sim/journal-machine.ts';
import { DEAD, FORWARDS, IDLE, NONE, OLD, RECENT, RUNNING, UNDOS } from './codes.ts';
import type { Emit, Explorable } from './explore.ts';
import type { Field } from './states.ts';

/**
 * Several sagas of one organization in an abstract world, each with a set of lock keys and one resource that it changes in place; beside
 * them a job that begins a saga of its own where a row and Vapi differ, or where a row was rendered with another context than the one
 * of now. Decisions and steps are those of the production code and of the conformance suite, as in saga-world.ts, and so is the clock.
 *
 * A value is what a saga wrote and the context with which it was rendered. Value 0 was there before, in context 0.
 */
export interface KeysScope {
  name: string;
  /** The lock keys under which each resource is changed by the job. */
  resources: number[][];
  /** Of users. */
  sagas: {
    keys: number[];
    resource: number;
    /** Vapi may refuse it for good, and its deadline may pass. */
    rejects?: boolean;
    /** Vapi answers it. Its owner may die all the same. */
    steady?: boolean;
  }[];
  recoverers: number;
  /** A person may edit the first resource once; a sweep puts back what the row says. */
  edits?: boolean;
  /** The context of the first resource changes once; a job renders it anew. */
  contexts?: boolean;
  without?: KeysSafeguard;
  /** Asked of the explorer: is there a state in which two sagas are open? */
  looksForTwo?: boolean;
}

export const KEYS_SAFEGUARDS = ['lock', 'fence of every key', 'context of the image'] as const;
export type KeysSafeguard = (typeof KEYS_SAFEGUARDS)[number];

const STATUSES: readonly (SagaStatus | null)[] = [
  ...([null, 'APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION', 'COMMITTED', 'ROLLED_BACK'] as const),
];
const PLAN = { key: 'part', stage: 0, pivot: false, lookOnly: false } as const;

interface SagaFields {
  status: number;
  lease: number;
  quarantine: number;
  ambiguous: number;
  late: number;
  taken: number;
  before: number;
  after: number;
  forward: number;
  back: number;
}

interface ProcessFields {
  phase: number;
  saga: number;
  current: number;
  guard: number;
  taken: number;
  once: number;
  quarantined: number;
  pastDeadline: number;
  status: number;
  forward: number;
  undo: number;
  touched: number;
  ambiguous: number;
  sure: number;
  seen: number;
}

export class KeysWorld implements Explorable {
  readonly scope: KeysScope;
  readonly fields: Field[] = [];
  /** The job's own saga is the last one. */
  readonly #job: number;
  readonly #edited: number;
  readonly #context: number;
  /** What the job has seen: 0 nothing, else the number of the saga that wrote the row, and one. */
  readonly #looked: number;
  readonly #rows: number[];
  /** Which saga wrote the row last, from 1. */
  readonly #last: number[];
  readonly #vapi: number[];
  /** Which saga's stamp Vapi shows, from 1. */
  readonly #stamps: number[];
  readonly #fences: number[];
  readonly #sagas: SagaFields[];
  readonly #processes: ProcessFields[];
  readonly #g: Uint8Array;

  constructor(scope: KeysScope) {
    this.scope = scope;
    this.#job = scope.sagas.length;
    const values = 2 * (this.#job + 2);
    const keys = 1 + Math.max(...scope.resources.flat(), ...scope.sagas.flatMap((saga) => saga.keys));
    this.#edited = this.#field('edited', 1);
    this.#context = this.#field('context', 1);
    this.#looked = this.#field('looked', this.#job + 2);
    this.#rows = scope.resources.map((_, r) => this.#field(`row ${r}`, values));
    this.#last = scope.resources.map((_, r) => this.#field(`last ${r}`, this.#job + 1));
    this.#vapi = scope.resources.map((_, r) => this.#field(`vapi ${r}`, values));
    this.#stamps = scope.resources.map((_, r) => this.#field(`stamp ${r}`, this.#job + 1));
    this.#fences = Array.from({ length: keys }, (_, k) => this.#field(`fence ${k}`, 1));
    const hasJob = scope.edits === true || scope.contexts === true;
    this.#sagas = Array.from({ length: this.#job + (hasJob ? 1 : 0) }, (_, i) => ({
      status: this.#field(`${i} status`, STATUSES.length - 1),
      lease: this.#field(`${i} lease`, 1),
      quarantine: this.#field(`${i} quarantine`, 2),
      ambiguous: this.#field(`${i} ambiguous`, 1),
      late: this.#field(`${i} past deadline`, 1),
      taken: this.#field(`${i} taken`, 1),
      before: this.#field(`${i} before`, values),
      after: this.#field(`${i} after`, values),
      forward: this.#field(`${i} forward in flight`, RECENT),
      back: this.#field(`${i} back in flight`, RECENT),
    }));
    this.#processes = Array.from({ length: this.#sagas.length + scope.recoverers }, (_, p) => ({
      phase: this.#field(`p${p} phase`, DEAD),
      saga: this.#field(`p${p} saga`, this.#job),
      current: this.#field(`p${p} current`, 1),
      guard: this.#field(`p${p} guard`, 1),
      taken: this.#field(`p${p} taken`, 1),
      once: this.#field(`p${p} once`, 1),
      quarantined: this.#field(`p${p} quarantined`, 1),
      pastDeadline: this.#field(`p${p} past`, 1),
      status: this.#field(`p${p} status`, STATUSES.length - 1),
      forward: this.#field(`p${p} forward`, FORWARDS.length - 1),
      undo: this.#field(`p${p} undo`, UNDOS.length - 1),
      touched: this.#field(`p${p} touched`, 1),
      ambiguous: this.#field(`p${p} ambiguous part`, 1),
      sure: this.#field(`p${p} sure`, 1),
      seen: this.#field(`p${p} seen`, 2),
    }));
    this.#g = new Uint8Array(this.fields.length);
  }

  #field(name: string, max: number): number {
    return this.fields.push({ name, max }) - 1;
  }

  get next(): Uint8Array {
    return this.#g;
  }

  initial(): Uint8Array {
    return new Uint8Array(this.fields.length);
  }

  // Reading.

  #saga(i: number): SagaFields {
    return this.#sagas[i] as SagaFields;
  }

  #process(p: number): ProcessFields {
    return this.#processes[p] as ProcessFields;
  }

  #at(fields: readonly number[], index: number): number {
    return fields[index] as number;
  }

  #resourceOf(i: number): number {
    return this.scope.sagas[i]?.resource ?? 0;
  }

  #keysOf(i: number): readonly number[] {
    return this.scope.sagas[i]?.keys ?? (this.scope.resources[0] as number[]);
  }

  #statusOf(f: Uint8Array, i: number): SagaStatus | null {
    return STATUSES[f[this.#saga(i).status] as number] ?? null;
  }

  #isOpen(f: Uint8Array, i: number): boolean {
    const status = this.#statusOf(f, i);
    return status !== null && !isClosed(status);
  }

  #open(f: Uint8Array): number[] {
    return this.#sagas.map((_, i) => i).filter((i) => this.#isOpen(f, i));
  }

  /** Held by an open saga, or behind a fence. */
  #isBusy(f: Uint8Array, keys: readonly number[]): boolean {
    return (
      keys.some((key) => f[this.#at(this.#fences, key)] === 1) ||
      this.#open(f).some((i) => this.#keysOf(i).some((key) => keys.includes(key)))
    );
  }

  #isQuiet(f: Uint8Array): boolean {
    return this.#sagas.every(({ forward, back }) => f[forward] === 0 && f[back] === 0);
  }

  /** What a person's edit leaves in Vapi. */
  #isEdit(value: number): boolean {
    return value >> 1 === this.#job + 1;
  }

  #hasWork(f: Uint8Array): boolean {
    const row = f[this.#at(this.#rows, 0)] as number;
    const { edits, contexts } = this.scope;
    return (
      (edits === true && f[this.#at(this.#vapi, 0)] !== row) ||
      (contexts === true && (row & 1) !== (f[this.#context] as number))
    );
  }

  isAtRest(f: Uint8Array): boolean {
    return (
      this.#open(f).every((i) => this.#statusOf(f, i) === 'NEEDS_ATTENTION') &&
      this.#isQuiet(f) &&
      this.#fences.every((fence) => f[fence] === 0) &&
      !this.#hasWork(f)
    );
  }

  problem(f: Uint8Array): string | null {
    const open = this.#open(f);
    if (this.scope.looksForTwo === true) return open.length > 1 ? 'two sagas are open' : null;
    for (const i of open)
      for (const j of open)
        if (i < j && this.#keysOf(i).some((key) => this.#keysOf(j).includes(key)))
          return `sagas ${i} and ${j} hold the same key`;
    for (const r of this.scope.resources.keys()) {
      if (open.some((i) => this.#resourceOf(i) === r)) continue;
      const [row, vapi] = [f[this.#at(this.#rows, r)] as number, f[this.#at(this.#vapi, r)] as number];
      // What a person did is the sweep's business.
      if (row !== vapi && !this.#isEdit(vapi))
        return `resource ${r}: Postgres holds ${tellValue(row)}, Vapi ${tellValue(vapi)}`;
    }
    return null;
  }

  // What may happen.

  expand(f: Uint8Array, emit: Emit): void {
    this.#begins(f, emit);
    if (this.#sagas.length > this.#job) this.#jobLooks(f, emit);
    for (let p = 0; p < this.#processes.length; p += 1) {
      const { phase } = this.#process(p);
      if (f[phase] === RUNNING) {
        this.#run(f, p, emit);
        this.#change(f, emit, false, 'dies', p, -1, (g) => this.#end(g, p));
      } else if (f[phase] === IDLE && p >= this.#sagas.length) this.#takeOvers(f, p, emit);
    }
    for (const i of this.#sagas.keys()) {
      this.#lapse(f, i, emit);
      this.#flightsLand(f, i, emit);
      const { quarantine, late } = this.#saga(i);
      if (f[quarantine] === 2 && !this.#hasOldFlight(f, [i]))
        this.#change(f, emit, true, 'the quarantine ends of', -1, i, (g) => {
          g[quarantine] = 1;
        });
      if (this.scope.sagas[i]?.rejects === true && this.#isOpen(f, i) && f[late] === 0)
        this.#change(f, emit, false, 'the deadline passes of', -1, i, (g) => {
          g[late] = 1;
        });
    }
    for (const [key, fence] of this.#fences.entries()) {
      const owners = [...this.#sagas.keys()].filter((i) => this.#keysOf(i).includes(key));
      if (f[fence] === 1 && !this.#hasOldFlight(f, owners))
        this.#change(f, emit, true, `the fence ends of key ${key}`, -1, -1, (g) => {
          g[fence] = 0;
        });
    }
    const { edits, contexts } = this.scope;
    if (edits === true && f[this.#edited] === 0)
      this.#change(f, emit, false, 'a person edits the first resource', -1, -1, (g) => {
        g[this.#edited] = 1;
        const vapi = this.#at(this.#vapi, 0);
        g[vapi] = 2 * (this.#job + 1) + ((f[vapi] as number) & 1);
      });
    if (contexts === true && f[this.#context] === 0)
      this.#change(f, emit, false, 'the context changes', -1, -1, (g) => {
        g[this.#context] = 1;
      });
  }

  #change(
    f: Uint8Array,
    emit: Emit,
    good: boolean,
    kind: string,
    who: number,
    saga: number,
    change: (g: Uint8Array) => void,
  ): void {
    this.#g.set(f);
    change(this.#g);
    emit(good, kind, who, saga, '');
  }

  #mayBegin(f: Uint8Array, i: number): boolean {
    return !this.#isBusy(f, this.#keysOf(i)) || this.scope.without === 'lock';
  }

  #begins(f: Uint8Array, emit: Emit): void {
    for (let i = 0; i < this.#job; i += 1) {
      if (f[this.#saga(i).status] !== 0 || !this.#mayBegin(f, i)) continue;
      this.#change(f, emit, true, 'begins', i, i, (g) => this.#begin(g, i, i + 1));
    }
  }

  /** `config`: what it writes; it is rendered with the context of now. */
  #begin(g: Uint8Array, i: number, config: number): void {
    const saga = this.#saga(i);
    const row = g[this.#at(this.#rows, this.#resourceOf(i))] as number;
    this.#write(g, i, beginControl(0, { leaseMs: 1, deadlineMs: 1 }));
    g[saga.late] = 0;
    g[saga.before] = row;
    // Only the first resource has a context.
    g[saga.after] = 2 * config + (this.#resourceOf(i) === 0 ? (g[this.#context] as number) : 0);
    this.#start(g, i, i, { taken: false, once: true, quarantined: false, pastDeadline: false });
  }

  /** The job looks at the first resource; then it begins a saga, if nobody has written the row since. */
  #jobLooks(f: Uint8Array, emit: Emit): void {
    const [looked, last] = [this.#looked, this.#at(this.#last, 0)];
    const keys = this.#keysOf(this.#job);
    const isIdle = !this.#isOpen(f, this.#job) && f[this.#process(this.#job).phase] !== RUNNING;
    if (f[looked] === 0) {
      const judges = !this.#isBusy(f, keys);
      if (isIdle && judges && this.#hasWork(f))
        this.#change(f, emit, true, 'the job sees a difference', -1, -1, (g) => {
          g[looked] = 1 + (f[last] as number);
        });
      return;
    }
    if (!isIdle || !this.#mayBegin(f, this.#job)) return;
    const isCurrent = f[looked] === 1 + (f[last] as number);
    this.#change(f, emit, true, isCurrent ? 'the job begins' : 'the job gives way', -1, -1, (g) => {
      g[looked] = 0;
      if (isCurrent) this.#begin(g, this.#job, (g[this.#at(this.#rows, 0)] as number) >> 1);
    });
  }

  #start(
    g: Uint8Array,
    p: number,
    i: number,
    held: { taken: boolean; once: boolean; quarantined: boolean; pastDeadline: boolean },
  ): void {
    for (const process of this.#processes)
      if (g[process.phase] === RUNNING && g[process.saga] === i) g[process.current] = g[process.guard] = 0;
    const process = this.#process(p);
    const part = { ...PLAN, action: 'replace' } as const;
    const start = startOf(part, [part], { taken: held.taken, record: undefined, pivotSent: false });
    g[process.phase] = RUNNING;
    g[process.saga] = i;
    g[process.current] = g[process.guard] = 1;
    g[process.taken] = held.taken ? 1 : 0;
    g[process.once] = held.once ? 1 : 0;
    g[process.quarantined] = held.quarantined ? 1 : 0;
    g[process.pastDeadline] = held.pastDeadline ? 1 : 0;
    g[process.status] = g[this.#saga(i).status] as number;
    g[process.forward] = FORWARDS.indexOf(start.forward);
    g[process.undo] = UNDOS.indexOf(start.undo);
    g[process.touched] = start.touched ? 1 : 0;
    g[process.ambiguous] = start.ambiguous ? 1 : 0;
    g[process.sure] = start.known === true ? 1 : 0;
    g[process.seen] = 0;
  }

  #end(g: Uint8Array, p: number): void {
    const { phase, ...known } = this.#process(p);
    for (const field of Object.values(known)) g[field] = 0;
    // The job begins again, and a recoverer is started again.
    g[phase] = p < this.#job ? DEAD : IDLE;
  }

  #progress(f: Uint8Array, p: number): SagaProgress & { parts: [PartProgress] } {
    const process = this.#process(p);
    return {
      status: STATUSES[f[process.status] as number] as SagaStatus,
      parts: [
        {
          ...PLAN,
          action: 'replace',
          forward: FORWARDS[f[process.forward] as number] as Forward,
          undo: UNDOS[f[process.undo] as number] as Undo,
          touched: f[process.touched] === 1,
          ambiguous: f[process.ambiguous] === 1,
          known: f[process.sure] === 1,
          seen: f[process.seen] === 0 ? undefined : f[process.seen] === 2,
        },
      ],
      taken: f[process.taken] === 1,
      once: f[process.once] === 1,
      quarantined: f[process.quarantined] === 1,
      pastDeadline: f[process.pastDeadline] === 1,
      released: false,
    };
  }

  #run(f: Uint8Array, p: number, emit: Emit): void {
    const process = this.#process(p);
    const i = f[process.saga] as number;
    const progress = this.#progress(f, p);
    const decision = decide(progress);
    const control = this.#control(f, i);
    const epoch = f[process.current] === 1 ? control.epoch : 0;
    const late = 1;
    const transition = (kind: string, step: Step, goesOn: boolean) =>
      this.#change(f, emit, true, kind, p, i, (g) => {
        if (!this.#record(g, p, i, step) || !goesOn || !this.#isOpen(g, i)) this.#end(g, p);
      });
    switch (decision.do) {
      case 'look': {
        const r = this.#resourceOf(i);
        const isStamped = f[this.#at(this.#stamps, r)] === 1 + i;
        const holds = isStamped && f[this.#at(this.#vapi, r)] === f[this.#saga(i).after];
        this.#change(f, emit, true, isStamped ? 'sees the stamp of' : 'sees no stamp of', p, i, (g) => {
          g[process.seen] = isStamped ? 2 : 1;
          if (holds) g[process.forward] = FORWARDS.indexOf('applied');
        });
        return;
      }
      case 'send':
      case 'undo':
        this.#send(f, p, i, progress.parts[0], decision.do, emit);
        return;
      case 'commit':
        transition(
          'commits',
          commitStep(control, epoch, { ambiguous: decision.ambiguous, lateMs: late }),
          false,
        );
        return;
      case 'abort': {
        const { ambiguous, nothingApplied } = decision;
        const step = abortStep(control, epoch, { ambiguous, nothingApplied, lateMs: late, leaseMs: 1 }, 0);
        transition('aborts', step, !ambiguous);
        return;
      }
      case 'close':
        transition(
          'closes',
          rolledBackStep(control, epoch, { ambiguous: decision.ambiguous, lateMs: late }),
          false,
        );
        return;
      case 'attention': {
        const request = { ambiguous: decision.ambiguous, lateMs: late };
        transition('needs attention', needsAttentionStep(control, epoch, request, 0), false);
        return;
      }
      case 'hand_over': {
        const { ambiguous, quarantine } = decision;
        const request = { ambiguous, quarantineMs: quarantine ? late : 0, lookAfterMs: 0 };
        transition('holds', holdStep(control, epoch, request, 0), false);
        return;
      }
      case 'announce':
      case 'stop':
        return;
    }
  }

  #control(f: Uint8Array, i: number): SaveControl {
    const saga = this.#saga(i);
    const quarantine = f[saga.quarantine] as number;
    return {
      status: this.#statusOf(f, i) as SagaStatus,
      epoch: 1 + (f[saga.taken] as number),
      leaseUntil: f[saga.lease] as number,
      quarantineUntil: quarantine === 0 ? null : quarantine - 1,
      lookAt: null,
      ambiguous: f[saga.ambiguous] === 1,
      pivotSent: false,
      deadlineAt: f[saga.late] === 1 ? 0 : 1,
    };
  }

  #write(g: Uint8Array, i: number, control: SaveControl): void {
    const saga = this.#saga(i);
    g[saga.status] = STATUSES.indexOf(control.status);
    g[saga.lease] = control.leaseUntil === null ? 0 : Math.min(1, control.leaseUntil);
    g[saga.ambiguous] = control.ambiguous ? 1 : 0;
    g[saga.taken] = control.epoch > 1 ? 1 : 0;
    g[saga.quarantine] = control.quarantineUntil === null ? 0 : control.quarantineUntil > 0 ? 2 : 1;
    if (!isClosed(control.status)) return;
    // Nobody looks at these again.
    for (const field of [saga.lease, saga.quarantine, saga.ambiguous, saga.late, saga.taken]) g[field] = 0;
  }

  /** False: another process holds the saga. */
  #record(g: Uint8Array, p: number, i: number, step: Step): boolean {
    if (step.kind !== 'moved') return false;
    const saga = this.#saga(i);
    const before = this.#control(g, i);
    this.#write(g, i, step.control);
    const { status, quarantineUntil } = step.control;
    const isFenced = step.fenceMs !== null;
    if (isFenced || (quarantineUntil !== null && quarantineUntil !== before.quarantineUntil))
      for (const flight of [saga.forward, saga.back]) if (g[flight] === RECENT) g[flight] = OLD;
    const keys = this.scope.without === 'fence of every key' ? this.#keysOf(i).slice(0, 1) : this.#keysOf(i);
    if (isFenced) for (const key of keys) g[this.#at(this.#fences, key)] = 1;
    if (status === 'COMMITTED') {
      g[this.#at(this.#rows, this.#resourceOf(i))] = g[saga.after] as number;
      g[this.#at(this.#last, this.#resourceOf(i))] = 1 + i;
    }
    g[this.#process(p).status] = g[saga.status] as number;
    return true;
  }

  /** One attempt, with everything that can become of it. */
  #send(
    f: Uint8Array,
    p: number,
    i: number,
    part: PartProgress,
    direction: 'send' | 'undo',
    emit: Emit,
  ): void {
    const process = this.#process(p);
    const saga = this.#saga(i);
    const learn = (g: Uint8Array, answer: Answer) => {
      if (direction === 'undo') {
        const { undo, ambiguous } = afterUndo(part, answer, 'PATCH');
        g[process.undo] = UNDOS.indexOf(undo === 'pending' ? 'blocked' : undo);
        g[process.ambiguous] = ambiguous ? 1 : 0;
        return;
      }
      const { forward, touched, ambiguous } = afterSend(part, answer, 'PATCH');
      g[process.forward] = FORWARDS.indexOf(forward);
      g[process.touched] = touched ? 1 : 0;
      g[process.ambiguous] = ambiguous ? 1 : 0;
    };
    const name = direction === 'undo' ? 'undoes' : 'writes';
    if (f[process.guard] === 0) {
      this.#change(f, emit, true, `has no time: ${name}`, p, i, (g) => {
        if (direction === 'undo') g[process.undo] = UNDOS.indexOf('blocked');
        else g[process.forward] = FORWARDS.indexOf(part.ambiguous ? 'unknown' : 'unreachable');
      });
      return;
    }
    const apply = (g: Uint8Array) => this.#apply(g, i, direction);
    this.#change(f, emit, true, `${name} and is answered:`, p, i, (g) => {
      apply(g);
      learn(g, 'matches');
    });
    if (i === this.#job || this.scope.sagas[i]?.steady === true) return;
    this.#change(f, emit, false, `${name} and is not answered:`, p, i, (g) => {
      apply(g);
      learn(g, 'unknown');
    });
    this.#change(f, emit, false, `${name}, and it is lost:`, p, i, (g) => learn(g, 'unknown'));
    this.#change(f, emit, false, `cannot reach Vapi: ${name}`, p, i, (g) => learn(g, 'not_sent'));
    const flight = direction === 'undo' ? saga.back : saga.forward;
    if (f[flight] === NONE)
      this.#change(f, emit, false, `${name}, and it is still on its way:`, p, i, (g) => {
        g[flight] = RECENT;
        learn(g, 'unknown');
      });
    if (direction === 'send' && this.scope.sagas[i]?.rejects === true)
      this.#change(f, emit, false, `${name} and is refused:`, p, i, (g) => learn(g, 'refused'));
  }

  #apply(g: Uint8Array, i: number, direction: 'send' | 'undo'): void {
    const saga = this.#saga(i);
    const before = g[saga.before] as number;
    // Rendered with the context that the image has, whatever the context is now.
    const undone =
      this.scope.without === 'context of the image' ? (before & ~1) + (g[this.#context] as number) : before;
    const r = this.#resourceOf(i);
    g[this.#at(this.#vapi, r)] = direction === 'undo' ? undone : (g[saga.after] as number);
    g[this.#at(this.#stamps, r)] = direction === 'undo' ? (g[this.#at(this.#last, r)] as number) : 1 + i;
  }

  #flightsLand(f: Uint8Array, i: number, emit: Emit): void {
    const { forward, back } = this.#saga(i);
    for (const flight of [forward, back]) {
      if (f[flight] === NONE) continue;
      this.#change(f, emit, true, 'a request arrives late of', -1, i, (g) => {
        g[flight] = NONE;
        this.#apply(g, i, flight === back ? 'undo' : 'send');
      });
      this.#change(f, emit, true, 'a request is lost of', -1, i, (g) => {
        g[flight] = NONE;
      });
    }
  }

  #hasOldFlight(f: Uint8Array, sagas: readonly number[]): boolean {
    return sagas.some((i) => {
      const { forward, back } = this.#saga(i);
      return f[forward] === OLD || f[back] === OLD;
    });
  }

  /** The lease ends, and whoever had it sends nothing more. */
  #lapse(f: Uint8Array, i: number, emit: Emit): void {
    if (!this.#isOpen(f, i) || f[this.#saga(i).lease] === 0) return;
    const p = this.#processes.findIndex(
      ({ phase, saga, current }) => f[phase] === RUNNING && f[saga] === i && f[current] === 1,
    );
    // The lease of a dead process ends by itself.
    this.#change(f, emit, p < 0, 'the lease lapses of', -1, i, (g) => {
      g[this.#saga(i).lease] = 0;
      if (p >= 0) g[this.#process(p).guard] = 0;
    });
  }

  #takeOvers(f: Uint8Array, p: number, emit: Emit): void {
    for (const i of this.#open(f)) {
      const control = this.#control(f, i);
      const taken = isDue(control, 0) ? takeoverStep(control, 1, 0) : null;
      if (taken === null) continue;
      this.#change(f, emit, true, 'takes over', p, i, (g) => {
        const { once, quarantined, pastDeadline } = taken;
        // A quarantine that is over lies before the end of the new lease.
        this.#write(g, i, { ...taken.control, quarantineUntil: null });
        this.#start(g, p, i, { taken: true, once, quarantined, pastDeadline });
      });
    }
  }

  tell(kind: string, who: number, saga: number, _what: string): string {
    const name = who < 0 ? '' : who < this.#sagas.length ? `owner ${who}` : 'a recoverer';
    return [name, kind, saga < 0 ? '' : `saga ${saga}`].filter((word) => word !== '').join(' ');
  }
}

function tellValue(value: number): string {
  return `${value >> 1} in context ${value & 1}`;
}

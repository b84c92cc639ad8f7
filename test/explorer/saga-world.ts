import type { SagaStatus } from '../../src/domain/saga.ts';
import {
  type Answer,
  afterSend,
  afterUndo,
  type Decision,
  decide,
  type Forward,
  isClosed,
  type PartPlan,
  type PartProgress,
  type Request,
  recordOf,
  type SagaProgress,
  startOf,
  type Undo,
} from '../../src/services/saga/protocol.ts';
import {
  abortStep,
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
 * One saga of several parts in an abstract world: stages, pivots, and creations that only their first owner may send. The decisions
 * are those of the production code, and the journal's steps are those that the conformance suite compares with the SQL. The clock
 * knows only an order: a lease may lapse at any moment, and a quarantine ends when what was in flight at its start has landed or is lost.
 */
export interface SagaScope {
  name: string;
  parts: PartScope[];
  recoverers: number;
  without?: SagaSafeguard;
}

export interface PartScope extends PartPlan {
  action: 'create' | 'replace' | 'remove';
  /** Vapi may refuse it for good, forward and back. */
  rejects?: boolean;
  /** A look may miss a resource that exists. */
  looksMiss?: boolean;
  /** While this part holds its new content, the part of this index must exist in Vapi. */
  needs?: number;
}

export const SAGA_SAFEGUARDS = [
  'stage order',
  'undo order',
  'pivot rule',
  'single purchase',
  'quarantine',
  'announcement',
  'record of the last owner',
] as const;
export type SagaSafeguard = (typeof SAGA_SAFEGUARDS)[number];

const STATUSES: readonly SagaStatus[] = [
  ...(['APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION', 'COMMITTED', 'ROLLED_BACK'] as const),
];

/** The most resources that a world counts for one part. */
const MOST = 3;

interface TargetFields {
  forward: number;
  undo: number;
  touched: number;
  ambiguous: number;
  /** The process knows a remote resource. */
  known: number;
  /** 0: it has not looked for the stamp; 1: it saw none; 2: it saw the stamp. */
  seen: number;
  /** It knows all that any owner may have sent. */
  sure: number;
  /** A hand-over said that the new content is there. */
  handedOver: number;
}

interface ProcessFields {
  phase: number;
  current: number;
  guard: number;
  taken: number;
  once: number;
  quarantined: number;
  pastDeadline: number;
  status: number;
  announced: number;
  targets: TargetFields[];
}

interface RemoteFields {
  /** `replace`: 1 = the new content. `create`: how many there are. `remove`: 1 = it is gone. */
  state: number;
  /** `create`: how many were ever created. */
  ever: number;
  forward: number;
  second: number;
  back: number;
}

export class SagaWorld implements Explorable {
  readonly scope: SagaScope;
  readonly fields: Field[] = [];
  readonly #status = this.#field('status', 4);
  readonly #lease = this.#field('lease', 1);
  /** 0 none that the last owner recorded, 1 over, 2 running. */
  readonly #quarantine = this.#field('quarantine', 2);
  readonly #ambiguous = this.#field('ambiguous', 1);
  readonly #late = this.#field('past deadline', 1);
  /** Somebody has taken the saga over from its first owner. */
  readonly #taken = this.#field('taken', 1);
  readonly #pivotSent = this.#field('pivot sent', 1);
  /** Which process recorded what it knows when it gave the saga up, from 1: it stands still, so what it knows is the record. 0 none. */
  readonly #handedBy: number;
  readonly #remotes: RemoteFields[];
  readonly #processes: ProcessFields[];
  #g: Uint8Array;

  constructor(scope: SagaScope) {
    this.scope = scope;
    this.#remotes = scope.parts.map(({ key }) => ({
      state: this.#field(`${key} state`, MOST),
      ever: this.#field(`${key} ever`, MOST),
      forward: this.#field(`${key} forward in flight`, RECENT),
      second: this.#field(`${key} second in flight`, RECENT),
      back: this.#field(`${key} back in flight`, RECENT),
    }));
    this.#handedBy = this.#field('handed over by', 1 + scope.recoverers);
    this.#processes = Array.from({ length: 1 + scope.recoverers }, (_, p) => ({
      phase: this.#field(`${p} phase`, DEAD),
      current: this.#field(`${p} current`, 1),
      guard: this.#field(`${p} guard`, 1),
      taken: this.#field(`${p} taken`, 1),
      once: this.#field(`${p} once`, 1),
      quarantined: this.#field(`${p} quarantined`, 1),
      pastDeadline: this.#field(`${p} past`, 1),
      status: this.#field(`${p} status`, 4),
      announced: this.#field(`${p} announced`, 1),
      targets: scope.parts.map(({ key }) => ({
        forward: this.#field(`${p} ${key} forward`, FORWARDS.length - 1),
        undo: this.#field(`${p} ${key} undo`, UNDOS.length - 1),
        touched: this.#field(`${p} ${key} touched`, 1),
        ambiguous: this.#field(`${p} ${key} ambiguous`, 1),
        known: this.#field(`${p} ${key} known`, 1),
        seen: this.#field(`${p} ${key} seen`, 2),
        sure: this.#field(`${p} ${key} sure`, 1),
        handedOver: this.#field(`${p} ${key} handed over`, 1),
      })),
    }));
    this.#g = new Uint8Array(this.fields.length);
  }

  #field(name: string, max: number): number {
    return this.fields.push({ name, max }) - 1;
  }

  get next(): Uint8Array {
    return this.#g;
  }

  /** The owner has begun: the journal holds the saga, and nothing was sent. */
  initial(): Uint8Array {
    const f = new Uint8Array(this.fields.length);
    f[this.#lease] = 1;
    const [owner] = this.#processes as [ProcessFields];
    f[owner.phase] = RUNNING;
    f[owner.current] = 1;
    f[owner.guard] = 1;
    this.#start(f, f, 0, false);
    return f;
  }

  /** What a process knows when it begins. `before`: the state until now, in which the last owner may have recorded what it knew. */
  #start(before: Uint8Array, g: Uint8Array, p: number, taken: boolean): void {
    const process = this.#process(p);
    const by = taken ? (before[this.#handedBy] as number) - 1 : -1;
    const pivotSent = before[this.#pivotSent] === 1;
    g[process.announced] = pivotSent ? 1 : 0;
    for (const [i, target] of process.targets.entries()) {
      const part = this.#part(i);
      const last = by < 0 ? undefined : this.#progress(before, by, i);
      const record = last === undefined ? null : recordOf(this.#saga(before, by), last);
      const known = record === null ? part.action !== 'create' : this.#knows(before, by, i);
      const start = startOf(part, this.scope.parts, { taken, record: record ?? undefined, pivotSent });
      g[target.forward] = FORWARDS.indexOf(start.forward);
      g[target.undo] = UNDOS.indexOf(start.undo);
      g[target.touched] = start.touched ? 1 : 0;
      g[target.ambiguous] = start.ambiguous ? 1 : 0;
      g[target.known] = known ? 1 : 0;
      g[target.seen] = 0;
      g[target.sure] = start.known === true ? 1 : 0;
      g[target.handedOver] = start.handedOver === true ? 1 : 0;
    }
  }

  /** A process is gone, and what it knew with it. */
  #end(g: Uint8Array, p: number): void {
    const { phase, targets, ...known } = this.#process(p);
    for (const field of [...Object.values(known), ...targets.flatMap((target) => Object.values(target))]) {
      g[field as number] = 0;
    }
    g[phase] = p === 0 ? DEAD : IDLE;
  }

  #knows(f: Uint8Array, p: number, i: number): boolean {
    return f[(this.#process(p).targets[i] as TargetFields).known] === 1;
  }

  #process(p: number): ProcessFields {
    return this.#processes[p] as ProcessFields;
  }

  #part(i: number): PartScope {
    return this.scope.parts[i] as PartScope;
  }

  #remote(i: number): RemoteFields {
    return this.#remotes[i] as RemoteFields;
  }

  // What must hold.

  #statusOf(f: Uint8Array): SagaStatus {
    return STATUSES[f[this.#status] as number] as SagaStatus;
  }

  #inFlight(f: Uint8Array): boolean {
    return this.#remotes.some(
      ({ forward, second, back }) => f[forward] !== NONE || f[second] !== NONE || f[back] !== NONE,
    );
  }

  isAtRest(f: Uint8Array): boolean {
    const status = this.#statusOf(f);
    return isClosed(status) || status === 'NEEDS_ATTENTION';
  }

  problem(f: Uint8Array): string | null {
    for (const [i, part] of this.scope.parts.entries()) {
      const { state, ever } = this.#remote(i);
      if (part.lookOnly && (f[ever] as number) > 1) return `${part.key} was bought twice`;
      if (part.needs !== undefined && f[state] === 1 && f[this.#remote(part.needs).state] === 0) {
        return `${part.key} names ${this.#part(part.needs).key}, which does not exist`;
      }
    }
    const status = this.#statusOf(f);
    if (!isClosed(status) || this.#inFlight(f)) return null;
    const expected = status === 'COMMITTED' ? 1 : 0;
    const wrong = this.scope.parts.find((_, i) => f[this.#remote(i).state] !== expected);
    return wrong === undefined ? null : `the saga is ${status}, and ${wrong.key} is not`;
  }

  // What may happen.

  expand(f: Uint8Array, emit: Emit): void {
    for (let p = 0; p < this.#processes.length; p += 1) {
      const { phase } = this.#process(p);
      if (f[phase] === RUNNING) {
        this.#run(f, p, emit);
        // A recoverer is started again.
        this.#change(f, emit, false, 'dies', p, -1, '', (g) => {
          this.#end(g, p);
        });
      } else if (f[phase] === IDLE && p > 0) this.#takeOver(f, p, emit);
    }
    this.#lapse(f, emit);
    this.#flightsLand(f, emit);
    if (f[this.#quarantine] === 2 && !this.#hasOldFlight(f)) {
      this.#change(f, emit, true, 'the quarantine ends', -1, -1, '', (g) => {
        g[this.#quarantine] = 1;
      });
    }
    if (f[this.#late] === 0) {
      this.#change(f, emit, false, 'the deadline passes', -1, -1, '', (g) => {
        g[this.#late] = 1;
      });
    }
  }

  #change(
    f: Uint8Array,
    emit: Emit,
    good: boolean,
    kind: string,
    who: number,
    part: number,
    what: string,
    change: (g: Uint8Array) => void,
  ): void {
    this.#g = f.slice();
    change(this.#g);
    emit(good, kind, who, part, what);
  }

  #progress(f: Uint8Array, p: number, i: number): PartProgress {
    const { key, stage, pivot, lookOnly, action } = this.#part(i);
    const target = this.#process(p).targets[i] as TargetFields;
    const { without } = this.scope;
    const isBack = STATUSES[f[this.#process(p).status] as number] === 'ROLLING_BACK';
    const isFlat = without === (isBack ? 'undo order' : 'stage order');
    return {
      ...{ key, action, stage: isFlat ? 0 : stage },
      pivot: pivot && without !== 'pivot rule',
      lookOnly: lookOnly && without !== 'single purchase',
      forward: FORWARDS[f[target.forward] as number] as Forward,
      undo: UNDOS[f[target.undo] as number] as Undo,
      touched: f[target.touched] === 1,
      ambiguous: f[target.ambiguous] === 1,
      seen: f[target.seen] === 0 ? undefined : f[target.seen] === 2,
      known: f[target.sure] === 1,
      handedOver: f[target.handedOver] === 1,
      announced: f[this.#process(p).announced] === 1 || without === 'announcement',
    };
  }

  #decide(f: Uint8Array, p: number): Decision {
    return decide(this.#saga(f, p));
  }

  #saga(f: Uint8Array, p: number): SagaProgress {
    const process = this.#process(p);
    return {
      status: STATUSES[f[process.status] as number] as SagaStatus,
      parts: this.scope.parts.map((_, i) => this.#progress(f, p, i)),
      taken: f[process.taken] === 1,
      once: f[process.once] === 1,
      quarantined: f[process.quarantined] === 1,
      pastDeadline: f[process.pastDeadline] === 1,
      released: false,
    };
  }

  #run(f: Uint8Array, p: number, emit: Emit): void {
    const process = this.#process(p);
    const decision = this.#decide(f, p);
    const epoch = f[process.current] === 1 ? this.#control(f).epoch : 0;
    const transition = (kind: string, step: (control: SaveControl) => Step, goesOn: boolean) =>
      this.#change(f, emit, true, kind, p, -1, '', (g) => {
        const held = this.#record(g, p, step(this.#control(g)));
        if (held) g[this.#handedBy] = goesOn || this.isAtRest(g) ? 0 : p + 1;
        if (!held || this.isAtRest(g)) this.#end(g, p);
        // What it knows stands still, as its record.
        else if (!goesOn) g[process.phase] = p === 0 ? DEAD : IDLE;
      });
    const late = 1;
    switch (decision.do) {
      case 'look':
        for (const key of decision.keys) {
          this.#look(
            f,
            p,
            this.scope.parts.findIndex((part) => part.key === key),
            emit,
          );
        }
        return;
      case 'announce': {
        const request = {
          ambiguous: false,
          quarantineMs: 0,
          lookAfterMs: 0,
          keepsLease: true,
          pivotSent: true,
        };
        this.#change(f, emit, true, 'announces the pivot', p, -1, '', (g) => {
          if (this.#record(g, p, holdStep(this.#control(g), epoch, request, 0))) g[process.announced] = 1;
          else this.#end(g, p);
        });
        return;
      }
      case 'send':
      case 'undo':
        for (const key of decision.keys) {
          const i = this.scope.parts.findIndex((part) => part.key === key);
          this.#act(f, p, i, decision.do, emit);
        }
        return;
      case 'commit':
        transition(
          'commits',
          (c) => commitStep(c, epoch, { ambiguous: decision.ambiguous, lateMs: late }),
          false,
        );
        return;
      case 'abort': {
        const { ambiguous, nothingApplied } = decision;
        const request = { ambiguous, nothingApplied, lateMs: late, leaseMs: 1 };
        transition('aborts', (c) => abortStep(c, epoch, request, 0), !ambiguous);
        return;
      }
      case 'close':
        transition(
          'closes',
          (c) => rolledBackStep(c, epoch, { ambiguous: decision.ambiguous, lateMs: late }),
          false,
        );
        return;
      case 'attention':
        transition(
          'needs attention',
          (c) => needsAttentionStep(c, epoch, { ambiguous: decision.ambiguous, lateMs: late }, 0),
          false,
        );
        return;
      case 'hand_over': {
        const { ambiguous, quarantine } = decision;
        transition(
          quarantine ? 'holds for the quarantine' : 'holds',
          (c) => holdStep(c, epoch, { ambiguous, quarantineMs: quarantine ? late : 0, lookAfterMs: 0 }, 0),
          false,
        );
        return;
      }
      case 'stop':
        return;
    }
  }

  #control(f: Uint8Array): SaveControl {
    const quarantine = f[this.#quarantine] as number;
    return {
      status: this.#statusOf(f),
      epoch: 1 + (f[this.#taken] as number),
      leaseUntil: f[this.#lease] as number,
      quarantineUntil: quarantine === 0 ? null : quarantine - 1,
      lookAt: null,
      ambiguous: f[this.#ambiguous] === 1,
      pivotSent: f[this.#pivotSent] === 1,
      deadlineAt: f[this.#late] === 1 ? 0 : 1,
    };
  }

  /** False: another process holds the saga. */
  #record(g: Uint8Array, p: number, step: Step): boolean {
    if (step.kind !== 'moved') return false;
    const { control } = step;
    const before = this.#control(g);
    g[this.#status] = STATUSES.indexOf(control.status);
    g[this.#lease] = control.leaseUntil === null ? 0 : Math.min(1, control.leaseUntil);
    g[this.#ambiguous] = control.ambiguous ? 1 : 0;
    g[this.#pivotSent] = control.pivotSent ? 1 : 0;
    const quarantine = control.quarantineUntil === null ? 0 : control.quarantineUntil > 0 ? 2 : 1;
    const begins = quarantine === 2 && before.quarantineUntil !== control.quarantineUntil;
    g[this.#quarantine] = begins && this.scope.without === 'quarantine' ? 1 : quarantine;
    if (begins) {
      for (const { forward, second, back } of this.#remotes)
        for (const flight of [forward, second, back]) if (g[flight] === RECENT) g[flight] = OLD;
    }
    g[this.#process(p).status] = g[this.#status] as number;
    return true;
  }

  /** Looks whether the resource shows the stamp of this saga. A removal leaves none. */
  #look(f: Uint8Array, p: number, i: number, emit: Emit): void {
    const target = this.#process(p).targets[i] as TargetFields;
    const { action, looksMiss } = this.#part(i);
    const shown = action === 'remove' ? 0 : (f[this.#remote(i).state] as number);
    if (shown > 0) {
      this.#change(f, emit, true, 'sees the stamp on', p, i, '', (g) => {
        g[target.seen] = 2;
        if (shown > 1 && f[target.known] === 0) return;
        g[target.known] = 1;
        g[target.forward] = FORWARDS.indexOf('applied');
      });
    }
    // Nothing is there, the look misses it, or it is not answered.
    this.#change(f, emit, shown === 0 || looksMiss === true, 'sees no stamp on', p, i, '', (g) => {
      g[target.seen] = 1;
    });
  }

  /** One attempt for one part, with everything that can become of it. */
  #act(f: Uint8Array, p: number, i: number, direction: 'send' | 'undo', emit: Emit): void {
    const process = this.#process(p);
    const target = process.targets[i] as TargetFields;
    const part = this.#progress(f, p, i);
    const { rejects } = this.#part(i);
    if (f[process.guard] === 0) {
      this.#change(f, emit, true, 'has no time for', p, i, '', (g) => {
        if (direction === 'undo') g[target.undo] = UNDOS.indexOf('blocked');
        else g[target.forward] = FORWARDS.indexOf(part.ambiguous ? 'unknown' : 'unreachable');
      });
      return;
    }
    const creates = part.action === 'create';
    const remote = this.#remote(i);
    const exists = (f[remote.state] as number) > 0;
    if (direction === 'send' && creates && f[process.taken] === 1 && f[target.known] === 0) {
      // The look: it shows what is there now.
      if (exists) {
        this.#change(f, emit, true, 'finds', p, i, '', (g) => {
          g[target.known] = 1;
          g[remote.state] = 1;
        });
        if (this.#part(i).looksMiss !== true) return;
      }
      if (part.lookOnly) {
        this.#change(f, emit, !exists, 'does not find', p, i, '', (g) => {
          g[target.forward] = FORWARDS.indexOf('lost');
        });
        return;
      }
    }
    const request: Request =
      direction === 'undo'
        ? creates
          ? 'DELETE'
          : 'PATCH'
        : part.action === 'remove'
          ? 'DELETE'
          : creates && f[target.known] === 0
            ? 'POST'
            : 'PATCH';
    const learn = (g: Uint8Array, answer: Answer) => this.#learn(g, target, part, answer, request, direction);
    // Nothing brings back what is removed.
    if (direction === 'undo' && part.action === 'remove' && exists) {
      this.#change(f, emit, true, 'cannot undo the removal of', p, i, '', (g) => learn(g, 'gone'));
      return;
    }
    const name = `${direction === 'undo' ? 'undoes by' : 'sends'} ${request}`;
    this.#change(f, emit, true, name, p, i, 'and is answered', (g) => {
      this.#apply(g, i, request, direction);
      learn(g, request === 'DELETE' && direction === 'send' && f[remote.state] === 1 ? 'gone' : 'matches');
    });
    this.#change(f, emit, false, name, p, i, 'which takes effect unanswered', (g) => {
      this.#apply(g, i, request, direction);
      learn(g, 'unknown');
    });
    this.#change(f, emit, false, name, p, i, 'which is lost', (g) => learn(g, 'unknown'));
    this.#change(f, emit, false, name, p, i, 'and cannot reach Vapi', (g) => learn(g, 'not_sent'));
    const flight = this.#freeFlight(f, i, direction);
    // The content of what was found and is filled again does not matter here.
    const fills = creates && request === 'PATCH';
    if (flight !== null && !fills) {
      this.#change(f, emit, false, name, p, i, 'which is still on its way', (g) => {
        g[flight] = RECENT;
        learn(g, 'unknown');
      });
    }
    if (rejects === true)
      this.#change(f, emit, false, name, p, i, 'and is refused', (g) => learn(g, 'refused'));
  }

  #freeFlight(f: Uint8Array, i: number, direction: 'send' | 'undo'): number | null {
    const { forward, second, back } = this.#remote(i);
    if (direction === 'undo') return f[back] === NONE ? back : null;
    if (f[forward] === NONE) return forward;
    return this.#part(i).action === 'create' && f[second] === NONE ? second : null;
  }

  #learn(
    g: Uint8Array,
    target: TargetFields,
    part: PartProgress,
    answer: Answer,
    request: Request,
    direction: 'send' | 'undo',
  ): void {
    if (direction === 'undo') {
      if (request === 'POST') throw new Error('nothing is undone by a POST');
      const { undo, ambiguous } = afterUndo(part, answer, request);
      // A look that finds nothing more to undo is as good as an answer; what did not take effect is tried again later.
      g[target.undo] = UNDOS.indexOf(undo === 'pending' ? 'blocked' : undo);
      g[target.ambiguous] = ambiguous ? 1 : 0;
      return;
    }
    const { forward, touched, ambiguous } = afterSend(part, answer, request);
    g[target.forward] = FORWARDS.indexOf(forward);
    g[target.touched] = touched ? 1 : 0;
    g[target.ambiguous] = ambiguous ? 1 : 0;
    if (forward === 'applied') g[target.known] = 1;
  }

  /** What a request does to the resource. */
  #apply(g: Uint8Array, i: number, request: Request, direction: 'send' | 'undo'): void {
    const { state, ever } = this.#remote(i);
    if (direction === 'undo') g[state] = 0;
    else if (request === 'POST') {
      g[state] = Math.min(MOST, (g[state] as number) + 1);
      g[ever] = Math.min(MOST, (g[ever] as number) + 1);
    } else g[state] = 1;
  }

  #flightsLand(f: Uint8Array, emit: Emit): void {
    for (const [i, part] of this.scope.parts.entries()) {
      const { forward, second, back } = this.#remote(i);
      const request: Request =
        part.action === 'create' ? 'POST' : part.action === 'remove' ? 'DELETE' : 'PATCH';
      for (const flight of [forward, second]) {
        if (f[flight] === NONE) continue;
        this.#change(f, emit, true, `a ${request} arrives late`, -1, i, '', (g) => {
          g[flight] = NONE;
          this.#apply(g, i, request, 'send');
        });
        this.#change(f, emit, true, `a ${request} is lost`, -1, i, '', (g) => {
          g[flight] = NONE;
        });
      }
      if (f[back] === NONE) continue;
      this.#change(f, emit, true, 'an undo arrives late', -1, i, '', (g) => {
        g[back] = NONE;
        this.#apply(g, i, 'PATCH', 'undo');
      });
    }
  }

  #hasOldFlight(f: Uint8Array): boolean {
    return this.#remotes.some(
      ({ forward, second, back }) => f[forward] === OLD || f[second] === OLD || f[back] === OLD,
    );
  }

  /** The lease ends, and whoever had it sends nothing more. */
  #lapse(f: Uint8Array, emit: Emit): void {
    if (f[this.#lease] === 0) return;
    const p = this.#processes.findIndex(({ phase, current }) => f[phase] === RUNNING && f[current] === 1);
    // The lease of a dead process ends by itself.
    this.#change(f, emit, p < 0, 'the lease lapses', p, -1, '', (g) => {
      g[this.#lease] = 0;
      if (p >= 0) g[this.#process(p).guard] = 0;
    });
  }

  #takeOver(f: Uint8Array, p: number, emit: Emit): void {
    const control = this.#control(f);
    if (!isDue(control, 0)) return;
    const taken = takeoverStep(control, 1, 0);
    if (taken === null) return;
    this.#change(f, emit, true, 'takes the saga over', p, -1, '', (g) => {
      for (const { current, guard } of this.#processes) g[current] = g[guard] = 0;
      const process = this.#process(p);
      g[this.#lease] = 1;
      // It lies before the end of the new lease.
      g[this.#quarantine] = 0;
      g[this.#ambiguous] = taken.control.ambiguous ? 1 : 0;
      g[this.#taken] = 1;
      g[process.once] = taken.once ? 1 : 0;
      g[process.phase] = RUNNING;
      g[process.current] = g[process.guard] = g[process.taken] = 1;
      g[process.quarantined] = taken.quarantined ? 1 : 0;
      g[process.pastDeadline] = taken.pastDeadline ? 1 : 0;
      g[process.status] = g[this.#status] as number;
      this.#start(f, g, p, true);
      if (this.scope.without === 'record of the last owner') return;
      const by = (f[this.#handedBy] as number) - 1;
      if (by >= 0 && by !== p) this.#end(g, by);
      g[this.#handedBy] = 0;
    });
  }

  tell(kind: string, who: number, part: number, what: string): string {
    const name = who < 0 ? '' : who === 0 ? 'the owner' : `recoverer ${who}`;
    const key = part < 0 ? '' : this.#part(part).key;
    return [name, kind, key, what].filter((word) => word !== '').join(' ');
  }
}

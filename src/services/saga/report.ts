import type { SagaRecord } from '../../domain/saga.ts';
import type { Clock, Log } from '../../ports/system.ts';
import {
  SAVE_ENDINGS,
  type SaveEndedBy,
  type SaveEnding,
  type SaveMeter,
  type SavePhase,
} from '../../ports/telemetry.ts';
import { around } from '../../ports/voice-provider.ts';
import type { RunJournal } from './run.ts';

/**
 * One line in the log and one count for every answer about a saga, and for every end after the answer. No content of any resource.
 * The names say "save" for every kind of saga, because operators' alerts rely on them.
 */

interface ReportPorts {
  clock: Pick<Clock, 'monotonic'>;
  log: Log;
  saves?: SaveMeter | undefined;
}

/** Which saga it is, for the log. */
export interface Reported {
  orgId: string;
  /** Names the kind of saga. */
  saga: string;
  /** Who or what asked for it. */
  kind: string;
  [name: string]: unknown;
}

/** How a saga ended, or why it did not begin. */
export interface Ended {
  kind: string;
  saga?: SagaRecord;
  /** The saga that this one met. */
  sagaId?: string;
  replay?: true;
}

/** Worth a look by an operator if it happens often. */
const WARNED: readonly SaveEnding[] = ['failed', 'pending', 'needs_attention', 'unavailable', 'defect'];

export class SagaReport {
  readonly #ports: ReportPorts;
  readonly #about: Reported;
  readonly #from: number;
  readonly #watches = new Map<SavePhase, Stopwatch>();

  constructor(ports: ReportPorts, about: Reported) {
    this.#ports = ports;
    this.#about = about;
    this.#from = ports.clock.monotonic();
  }

  /** Counts the time of this work as time of the phase. Work side by side counts once. */
  time<T>(phase: SavePhase, work: () => Promise<T>): Promise<T> {
    let watch = this.#watches.get(phase);
    if (watch === undefined) {
      watch = new Stopwatch(this.#ports.clock);
      this.#watches.set(phase, watch);
    }
    return watch.time(work);
  }

  journal<Row>(journal: RunJournal<Row>): RunJournal<Row> {
    const commit = <T>(work: () => Promise<T>) => this.time('commit', work);
    return {
      commit: (...args) => commit(() => journal.commit(...args)),
      abort: (...args) => commit(() => journal.abort(...args)),
      rolledBack: (...args) => commit(() => journal.rolledBack(...args)),
      needsAttention: (...args) => commit(() => journal.needsAttention(...args)),
      hold: (...args) => commit(() => journal.hold(...args)),
    };
  }

  voice<Api extends object>(voice: Api): Api {
    return around(voice, (request) => this.time('vapi', request));
  }

  ended(by: SaveEndedBy, outcome: Ended, sagaId?: string): void {
    const { clock, log, saves } = this.#ports;
    const ending = endingOf(outcome);
    const totalMs = clock.monotonic() - this.#from;
    const phases = new Map<SavePhase, number>();
    for (const [phase, watch] of this.#watches) phases.set(phase, watch.ms());
    saves?.ended({ saga: this.#about.saga, by, ending, totalMs, phases });
    const fields = {
      event: eventOf(ending),
      saveId: outcome.sagaId ?? sagaId,
      ...this.#about,
      by,
      outcome: ending,
      ...(outcome.saga === undefined ? {} : recorded(outcome.saga)),
      ms: {
        ...Object.fromEntries([...phases].map(([phase, ms]) => [phase, Math.round(ms)])),
        total: Math.round(totalMs),
      },
    };
    if (WARNED.includes(ending)) log.warn(fields, `save ${ending}`);
    else log.info(fields, `save ${ending}`);
  }
}

function recorded(saga: SagaRecord): object {
  const { id, status, epoch, ambiguous, failure, results, startedAt, finishedAt } = saga;
  return {
    saveId: id,
    status,
    epoch,
    ambiguous,
    ...(failure === null ? {} : { reason: failure.reason }),
    ...(status === 'COMMITTED'
      ? { revisions: Object.fromEntries(results.map(({ key, revision }) => [key, revision])) }
      : {}),
    // By the database's clock: how long nothing else could change the same resources.
    ...(finishedAt === null ? {} : { openMs: Date.parse(finishedAt) - Date.parse(startedAt) }),
  };
}

function endingOf({ kind, saga, replay }: Ended): SaveEnding {
  if (replay === true) return 'replayed';
  if (kind === 'pending' && saga?.status === 'NEEDS_ATTENTION') return 'needs_attention';
  // A refusal of one kind of saga alone has no count of its own, unless it is listed.
  return SAVE_ENDINGS.find((known) => known === kind) ?? 'refused';
}

function eventOf(ending: SaveEnding): 'save.ended' | 'save.pending' | 'save.refused' {
  switch (ending) {
    case 'committed':
    case 'replayed':
    case 'failed':
      return 'save.ended';
    case 'pending':
    case 'needs_attention':
    case 'defect':
      return 'save.pending';
    default:
      return 'save.refused';
  }
}

/** The time in which at least one of its works was in progress. */
class Stopwatch {
  readonly #clock: Pick<Clock, 'monotonic'>;
  #running = 0;
  #since = 0;
  #ms = 0;

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
  }

  async time<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running === 0) this.#since = this.#clock.monotonic();
    this.#running += 1;
    try {
      return await work();
    } finally {
      this.#ms = this.ms();
      this.#since = this.#clock.monotonic();
      this.#running -= 1;
    }
  }

  ms(): number {
    return this.#ms + (this.#running === 0 ? 0 : this.#clock.monotonic() - this.#since);
  }
}

import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { SaveKind, SaveRecord } from '../../domain/agents/save.ts';
import type { Clock, Log } from '../../ports/system.ts';
import type { SaveEndedBy, SaveEnding, SaveMeter, SavePhase } from '../../ports/telemetry.ts';
import { type Assistants, around } from '../../ports/voice-provider.ts';
import type { RunJournal } from '../saga/run.ts';

/** One line in the log and one count for every answer about a save, and for every end after the answer. No content of an agent. */

interface ReportPorts {
  clock: Pick<Clock, 'monotonic'>;
  log: Log;
  saves?: SaveMeter | undefined;
}

interface Reported {
  orgId: string;
  roles: AgentRole[];
  kind: SaveKind;
}

/** What a report takes from the executor's outcome. */
interface Ended {
  kind: SaveEnding;
  save?: SaveRecord;
  /** The save that this one met. */
  saveId?: string;
  replay?: true;
}

/** Worth a look by an operator if it happens often. */
const WARNED: readonly SaveEnding[] = ['failed', 'pending', 'needs_attention', 'unavailable', 'defect'];

export class SaveReport {
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

  voice(voice: Assistants): Assistants {
    return around(voice, (request) => this.time('vapi', request));
  }

  ended(by: SaveEndedBy, outcome: Ended, saveId?: string): void {
    const { clock, log, saves } = this.#ports;
    const ending = endingOf(outcome);
    const totalMs = clock.monotonic() - this.#from;
    const phases = new Map<SavePhase, number>();
    for (const [phase, watch] of this.#watches) phases.set(phase, watch.ms());
    saves?.ended({ by, ending, totalMs, phases });
    const fields = {
      event: eventOf(ending),
      saveId: outcome.saveId ?? saveId,
      ...this.#about,
      by,
      outcome: ending,
      ...(outcome.save === undefined ? {} : recorded(outcome.save)),
      ms: {
        ...Object.fromEntries([...phases].map(([phase, ms]) => [phase, Math.round(ms)])),
        total: Math.round(totalMs),
      },
    };
    if (WARNED.includes(ending)) log.warn(fields, `save ${ending}`);
    else log.info(fields, `save ${ending}`);
  }
}

function recorded(save: SaveRecord): object {
  const { id, status, epoch, ambiguous, failure, results, startedAt, finishedAt } = save;
  return {
    saveId: id,
    status,
    epoch,
    ambiguous,
    ...(failure === null ? {} : { reason: failure.reason }),
    ...(status === 'COMMITTED'
      ? { revisions: Object.fromEntries(results.map(({ role, revision }) => [role, revision])) }
      : {}),
    // By the database's clock: how long the organization could make no other save.
    ...(finishedAt === null ? {} : { openMs: Date.parse(finishedAt) - Date.parse(startedAt) }),
  };
}

function endingOf({ kind, save, replay }: Ended): SaveEnding {
  if (replay === true) return 'replayed';
  return kind === 'pending' && save?.status === 'NEEDS_ATTENTION' ? 'needs_attention' : kind;
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

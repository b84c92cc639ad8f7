import { observeEvent } from '../../domain/calls/observation.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { CallStore, CallsWaiting, EventEnds } from '../../ports/calls/call-store.ts';
import type { Job } from '../../ports/jobs.ts';
import type { Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { AnswerToolCalls } from './tool-calls.ts';

/** The kinds of events that say what became of a call. Vapi sends others only if somebody else asks it to. */
const KINDS = new Set(['status-update', 'end-of-call-report', 'call.deleted']);
/** How many events one transaction applies. */
const AT_ONCE = 50;
/** How many remote ids one round looks at, and how much it gives up. */
const CLAIMED_AT_ONCE = 200;
const INTERVAL_MS = 1_000;
const LOOK_INTERVAL_MS = 15_000;

export interface CallInboxPorts {
  store: CallStore;
  answerToolCalls: AnswerToolCalls;
  log: Log;
  meter: Meter;
  /** Receives work that goes on after its request was answered, so that a stopping server waits for it. */
  track(work: Promise<unknown>): void;
}

const NOTHING: CallsWaiting = { pending: 0, oldestMs: 0, quarantined: 0, held: 0, heldOldestMs: 0 };

/** The events of calls: each is stored and answered, and applied to its call afterwards, by any replica. */
export class CallInbox {
  readonly #ports: CallInboxPorts;
  #running: Promise<EventEnds> | null = null;
  #again = false;
  /** As of the last look; for the metrics. */
  waiting: CallsWaiting = NOTHING;

  constructor(ports: CallInboxPorts) {
    this.#ports = ports;
  }

  get jobs(): Job[] {
    return [
      {
        name: 'call events',
        intervalMs: INTERVAL_MS,
        run: async (stopping) => {
          await this.project(stopping);
          return { kind: 'ran' };
        },
      },
      {
        name: 'held calls',
        intervalMs: LOOK_INTERVAL_MS,
        run: async () => {
          await this.#ports.store.giveUp(CLAIMED_AT_ONCE);
          this.waiting = await this.#ports.store.waiting();
          return { kind: 'ran' };
        },
      },
    ];
  }

  /**
   * Takes in the message of an event. Returns the body of the answer: the results of tool calls, or nothing. When it returns, the event is
   * not lost. Throws `DatabaseError` and `ValueRefusedError`.
   */
  async receive(message: JsonObject): Promise<object> {
    const { store, answerToolCalls, meter, log } = this.#ports;
    const kind = String(message['type'] ?? '').slice(0, 100);
    if (kind === 'tool-calls') return answerToolCalls(message);
    const observation = KINDS.has(kind) ? observeEvent(message) : null;
    if (observation === null) {
      meter.count('call.event_ignored');
      log.debug({ event: 'call.event_ignored', kind }, 'an event says nothing of a call');
      return {};
    }
    await store.storeEvent(kind, observation);
    meter.count('call.event_stored');
    this.#projectSoon();
    return {};
  }

  /** At once, and not at the next interval: somebody may be looking at the call. A failure is for the job, which tries again. */
  #projectSoon(): void {
    const running = this.#running;
    const round = this.project(new AbortController().signal);
    if (running === null) this.#ports.track(round.catch(() => {}));
  }

  /**
   * Applies the events that are due, until none is left, and shows the calls that waited for an id. Returns what became of the events of
   * this round; one that runs already goes on until it has seen what was stored before. Throws `DatabaseError`.
   */
  project(stopping: AbortSignal): Promise<EventEnds> {
    this.#again = true;
    this.#running ??= this.#project(stopping).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #project(stopping: AbortSignal): Promise<EventEnds> {
    const { store, log } = this.#ports;
    const ends: EventEnds = {};
    while (this.#again && !stopping.aborted) {
      this.#again = false;
      const { due, alone, quarantined } = await store.takeEvents(AT_ONCE);
      if (due.length + alone.length + quarantined === AT_ONCE) this.#again = true;
      add(ends, { QUARANTINED: quarantined });
      if (due.length > 0) add(ends, await store.applyEvents(due));
      for (const id of alone) add(ends, await store.applyEvents([id]));
      if (this.#again) continue;
      const claimed = await store.claim(CLAIMED_AT_ONCE);
      if (claimed > 0) log.info({ event: 'call.claimed', claimed }, 'calls that were held are shown');
    }
    this.#report(ends);
    return ends;
  }

  #report(ends: EventEnds): void {
    const { meter, log } = this.#ports;
    const { SHOWN = 0, HELD = 0, FOREIGN = 0, WITHDRAWN = 0, FAILED = 0, QUARANTINED = 0 } = ends;
    if (SHOWN > 0) meter.count('call.event_applied', SHOWN);
    if (HELD + FOREIGN > 0) meter.count('call.event_held', HELD + FOREIGN);
    if (FAILED > 0) meter.count('call.event_failed', FAILED);
    if (WITHDRAWN > 0) {
      meter.count('call.withdrawn', WITHDRAWN);
      log.error({ event: 'call.withdrawn', WITHDRAWN }, 'calls name several organizations; nobody sees them');
    }
    if (QUARANTINED > 0) {
      meter.count('call.event_quarantined', QUARANTINED);
      log.error(
        { event: 'call.event_quarantined', QUARANTINED },
        'events cannot be applied; docs/operations.md says how to look at them and to try them again',
      );
    }
  }
}

function add(ends: EventEnds, more: EventEnds): void {
  for (const [end, count] of Object.entries(more) as [keyof EventEnds, number][]) {
    if (count > 0) ends[end] = (ends[end] ?? 0) + count;
  }
}

import type { JsonObject } from '../../domain/json.ts';
import type {
  PartImage,
  PartRecord,
  PartResult,
  SagaFailure,
  SagaFailureReason,
  SagaRecord,
  SagaStatus,
} from '../../domain/saga.ts';
import type { Admission } from '../../ports/admission.ts';
import { DatabaseError, ValueRefusedError } from '../../ports/database.ts';
import type { SagaJournal, SagaRef, TransitionOutcome } from '../../ports/saga-journal.ts';
import type { Clock, Log, Random } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { ProviderReply } from '../../ports/voice-provider.ts';
import type { Found, Part, SagaKind, Written } from './participant.ts';
import {
  type Answer,
  afterSend,
  afterUndo,
  type Decision,
  decide,
  isClosed,
  type PartPlan,
  type PartProgress,
  type Request,
  recordOf,
  type SagaProgress,
  startOf,
  TRANSITIONS,
} from './protocol.ts';
import { fitsLease, lateTimeMs, type SagaSettings } from './settings.ts';
import { stampedResources } from './stamped.ts';
import { NO_TIME, NOT_STORABLE, toldForward, toldUndo } from './told.ts';
import { backoffMs, sendRetryMs, undoRetryMs } from './waits.ts';

/**
 * Carries a begun saga to its end, or to the point where another owner must go on. The same code serves the request that began
 * the saga and the recovery that took it over: protocol.ts decides, this file acts.
 */

/** The transitions of a saga that has begun. */
export type RunJournal<Row> = Pick<
  SagaJournal<Row>,
  'commit' | 'abort' | 'rolledBack' | 'needsAttention' | 'hold'
>;

export interface RunPorts<Row> {
  journal: RunJournal<Row>;
  /** Absent: requests take no turns. */
  admission?: Admission | undefined;
  clock: Clock;
  random: Random;
  log: Log;
  meter: Meter;
  settings: SagaSettings;
}

/** A saga and the right to act on it. */
export interface HeldSaga {
  orgId: string;
  saga: SagaRecord;
  images: PartImage[];
  deployment: string;
  /** Both clocks, read before the first attempt to get the lease: the lease cannot have begun earlier. */
  leaseFrom: Instant;
  leaseMs: number;
  taken: boolean;
  /** Taken over from its first owner, which recorded no second request for any part (see `SagaProgress.once`). */
  once: boolean;
  quarantined: boolean;
  pastDeadline: boolean;
  /** What the last owner recorded when it gave the saga up, and whether one announced the pivot (see `TakenSaga`). */
  handedOver?: Record<string, PartRecord> | null;
  pivotSent?: boolean;
}

export interface Instant {
  wall: number;
  monotonic: number;
}

export function instant(clock: Clock): Instant {
  return { wall: clock.now(), monotonic: clock.monotonic() };
}

/** Where a run left its saga. `rows`: what was committed; empty unless it is COMMITTED. */
export interface RunEnd<Row> {
  saga: SagaRecord;
  rows: Row[];
}

/** One part of a running saga: the protocol's view of it, and what acting on it needs. */
interface Target extends PartProgress {
  image: PartImage;
  part: Part;
  /** Known only once Vapi has answered, where the saga creates the resource. */
  remoteId: string | null;
  observed: JsonObject | null;
  error: string | null;
  /** A write is on its way, forward or back: what Vapi holds at this moment is not known. */
  sending: boolean;
}

/** A saga keeps its organization waiting for no longer than this because Vapi limits our requests, milliseconds. */
const LONGEST_WAIT_MS = 60_000;

export class SagaRun<Row> {
  readonly #ports: RunPorts<Row>;
  readonly #held: HeldSaga;
  readonly #kind: SagaKind;
  readonly #ref: SagaRef;
  readonly #targets: Target[];
  /** Whose first request had its turn before the saga began. */
  readonly #admitted: Set<Target>;
  #saga: SagaRecord;
  #leaseFrom: Instant;
  #leaseMs: number;
  #released = false;
  #lookAfterMs = 0;
  #recording: Promise<void> | null = null;
  #committing = false;
  #rows: Row[] = [];

  constructor(ports: RunPorts<Row>, kind: SagaKind, held: HeldSaga) {
    this.#ports = ports;
    this.#kind = kind;
    this.#held = held;
    this.#saga = held.saga;
    this.#leaseFrom = held.leaseFrom;
    this.#leaseMs = held.leaseMs;
    this.#ref = { orgId: held.orgId, sagaId: held.saga.id, epoch: held.saga.epoch };
    const { orgId, deployment } = held;
    const { id: sagaId, mappingVersion } = held.saga;
    const parts = held.images.map((image) => {
      const part = kind.open({ deployment, orgId, sagaId, mappingVersion }, image);
      const { stage, pivot, lookOnly } = part;
      return { image, part, plan: { key: image.key, stage, pivot, lookOnly } };
    });
    const plans = parts.map(({ plan }) => plan);
    this.#targets = parts.map(({ image, part, plan }) => this.#target(image, part, plan, plans));
    this.#admitted = new Set(held.taken ? [] : this.#targets);
  }

  #target(image: PartImage, part: Part, plan: PartPlan, plans: PartPlan[]): Target {
    const { saga, taken, handedOver, pivotSent = false } = this.#held;
    const action = part.removes ? 'remove' : image.remoteId === null ? 'create' : 'replace';
    const record = handedOver?.[image.key];
    const start = startOf({ ...plan, action }, plans, { taken, record, pivotSent });
    return {
      ...{ ...plan, ...start, recreate: image.recreate },
      ...{ image, part, remoteId: record === undefined ? image.remoteId : record.remoteId, sending: false },
      observed: start.forward === 'applied' ? {} : null,
      error: saga.results.find((result) => result.key === image.key)?.error ?? null,
    };
  }

  /** The saga as it is known at this moment, for a caller who cannot wait for its end. */
  get current(): SagaRecord {
    if (isClosed(this.#saga.status)) return this.#saga;
    return {
      ...this.#saga,
      results: this.#results().map((result) => ({
        ...result,
        // A commit without an answer may have happened.
        dbUpdated: this.#committing ? null : result.dbUpdated,
      })),
    };
  }

  /** Runs to the end, or until the lease is given up. Bounded by the lease; never throws for what Vapi or the network does. */
  async run(): Promise<RunEnd<Row>> {
    for (;;) {
      const decision = decide(this.#progress());
      if (decision.do === 'stop') return { saga: this.current, rows: this.#rows };
      await this.#carryOut(decision);
    }
  }

  #progress(): SagaProgress {
    return {
      status: this.#saga.status,
      parts: this.#targets,
      taken: this.#held.taken,
      once: this.#held.once,
      quarantined: this.#held.quarantined,
      pastDeadline: this.#held.pastDeadline,
      released: this.#released,
    };
  }

  #carryOut(decision: Exclude<Decision, { do: 'stop' }>): Promise<unknown> {
    switch (decision.do) {
      case 'look':
        return Promise.all(this.#chosen(decision.keys).map((target) => this.#look(target)));
      case 'announce':
        return this.#announce(decision);
      case 'send':
        // All at once, and all to the end: a part is never cancelled, because its outcome must be known.
        return Promise.all(this.#chosen(decision.keys).map((target) => this.#send(target)));
      case 'undo':
        return Promise.all(this.#chosen(decision.keys).map((target) => this.#undo(target)));
      case 'commit':
        return this.#commit(decision);
      case 'abort':
        return this.#abort(decision);
      case 'close':
        return this.#close(decision);
      case 'attention':
        return this.#attention(decision);
      case 'hand_over':
        return this.#handOver(decision);
    }
  }

  #chosen(keys: string[]): Target[] {
    return this.#targets.filter((target) => keys.includes(target.key));
  }

  get #lateMs(): number {
    return lateTimeMs(this.#ports.settings);
  }

  async #commit({ ambiguous }: Decision & { do: 'commit' }): Promise<void> {
    this.#committing = true;
    const parts = this.#targets.map(({ key, remoteId, observed }) => {
      if (remoteId === null || observed === null) {
        throw new Error(`saga ${this.#ref.sagaId}: ${key} is to be committed without an answer`);
      }
      return { key, remoteId, observed };
    });
    await this.#transition('commit', () =>
      this.#ports.journal.commit(this.#ref, { parts, ambiguous, lateMs: this.#lateMs }),
    );
  }

  async #abort(decision: Decision & { do: 'abort' }): Promise<void> {
    const { missing, ambiguous, nothingApplied } = decision;
    const { leaseMs } = this.#ports.settings;
    const leaseFrom = instant(this.#ports.clock);
    const failure = this.#failure(decision.reason);
    const withheld = `${this.#kind.words.notMade} ${NOT_STORABLE}`;
    await this.#transition('abort', (words) =>
      this.#ports.journal.abort(this.#ref, {
        failure: words ? failure : { ...failure, message: withheld },
        results: this.#told(words, nothingApplied ? 'ROLLED_BACK' : 'ROLLING_BACK'),
        ...{ missing, ambiguous, nothingApplied, leaseMs, lateMs: this.#lateMs },
        handedOver: this.#records(words),
      }),
    );
    this.#leaseFrom = leaseFrom;
    this.#leaseMs = leaseMs;
    // The quarantine is stored, not slept: recovery undoes it, after that.
    if (ambiguous) this.#released = true;
  }

  async #close({ missing, ambiguous }: Decision & { do: 'close' }): Promise<void> {
    await this.#transition('close', (words) =>
      this.#ports.journal.rolledBack(this.#ref, {
        results: this.#told(words, 'ROLLED_BACK'),
        ...{ missing, ambiguous, lateMs: this.#lateMs },
      }),
    );
  }

  async #attention({ reason, ambiguous }: Decision & { do: 'attention' }): Promise<void> {
    const failure: SagaFailure = {
      ...(this.#saga.failure ?? this.#failure(reason)),
      message: this.#kind.words.needsAttention,
      retryable: false,
    };
    await this.#transition('attention', (words) =>
      this.#ports.journal.needsAttention(this.#ref, {
        results: this.#told(words),
        ...{ failure, ambiguous, lateMs: this.#lateMs },
      }),
    );
    // Another owner has it, or recovery will: no person is needed yet.
    if (this.#saga.status !== 'NEEDS_ATTENTION') return;
    this.#ports.meter.count('save.needs_attention');
    this.#ports.log.error(
      { saveId: this.#ref.sagaId, orgId: this.#ref.orgId, event: 'save.needs_attention' },
      'a save cannot be ended and needs a person',
    );
  }

  /** The journal knows that a pivot may have been sent, before it is: an owner that dies can say nothing any more. */
  async #announce({ keys }: Decision & { do: 'announce' }): Promise<void> {
    await this.#transition('announce', (words) =>
      this.#ports.journal.hold(this.#ref, {
        ...{ results: this.#told(words), ambiguous: false, quarantineMs: 0, lookAfterMs: 0 },
        ...{ keepsLease: true, pivotSent: true },
      }),
    );
    for (const target of this.#chosen(keys)) target.announced = true;
  }

  /** What the next owner may rely on. Without words from Vapi nothing is recorded, because the ids are among them. */
  #records(words: boolean): Record<string, PartRecord> | undefined {
    if (!words) return undefined;
    const records = this.#targets.flatMap((target) => {
      const record = recordOf(this.#progress(), target);
      return record === null ? [] : [[target.key, { ...record, remoteId: target.remoteId }] as const];
    });
    return records.length === 0 ? undefined : Object.fromEntries(records);
  }

  async #handOver({ ambiguous, quarantine }: Decision & { do: 'hand_over' }): Promise<void> {
    await this.#transition('hold', (words) =>
      this.#ports.journal.hold(this.#ref, {
        results: this.#told(words),
        ambiguous,
        quarantineMs: quarantine ? this.#lateMs : 0,
        lookAfterMs: this.#lookAfterMs,
        handedOver: this.#records(words),
      }),
    );
    this.#released = true;
  }

  /**
   * One transition, repeated while its outcome is unknown: it is idempotent by id and epoch. If the database stays away for a
   * whole lease, the saga is left to recovery, which finds everything it needs in the journal. What Vapi answered is in some
   * transitions as text. No text may keep a saga open, so where the database refuses a value, `call` is told to leave it out.
   */
  async #transition(name: string, call: (words: boolean) => Promise<TransitionOutcome<Row>>): Promise<void> {
    const { clock, log, settings } = this.#ports;
    const { sagaId: saveId } = this.#ref;
    const from = instant(clock);
    let words = true;
    for (let attempt = 0; ; attempt += 1) {
      try {
        this.#learn(name, await call(words));
        return;
      } catch (error) {
        if (error instanceof ValueRefusedError && words) {
          words = false;
          log.error(
            { saveId, transition: name, event: 'save.words_refused', err: error },
            'the database refused the text of a transition; it is repeated without',
          );
          continue;
        }
        if (!(error instanceof DatabaseError)) throw error;
        log.warn({ saveId, transition: name, code: error.code, attempt }, 'the database did not answer');
        if (elapsed(clock, from) > settings.leaseMs) {
          this.#released = true;
          return;
        }
        await clock.sleep(backoffMs(attempt, 50, 2_000, this.#ports.random.next()));
      }
    }
  }

  /** Takes in what a transition came to. Throws where the journal and the protocol disagree. */
  #learn(transition: string, answer: TransitionOutcome<Row>): void {
    const { sagaId: saveId } = this.#ref;
    if (answer.outcome === 'NO_SAGA') throw new Error(`saga ${saveId} is not in the journal`);
    const [from, to] = [this.#saga.status, answer.saga.status];
    if (answer.outcome === 'STALE') {
      // Another owner has it now; what it has become is the truth.
      this.#ports.log.warn({ saveId, transition, status: to }, 'lost the save to another owner');
      this.#released = true;
    } else if (from !== to && !TRANSITIONS[from].includes(to)) {
      throw new Error(`saga ${saveId} went from ${from} to ${to}, which the protocol does not know`);
    }
    this.#saga = answer.saga;
    this.#rows = to === 'COMMITTED' ? (answer.rows ?? []) : [];
  }

  /** The lease still holds when a request sent now has ended, by the slower-judging of the two clocks. */
  #guard({ part }: Target, waitMs = 0): boolean {
    return fitsLease(elapsed(this.#ports.clock, this.#leaseFrom) + waitMs, {
      requestTimeoutMs: part.timeoutMs,
      leaseMs: this.#leaseMs,
    });
  }

  /** A turn for one more request, and then the guard: nothing may queue between that and the write. */
  async #cleared(target: Target): Promise<boolean> {
    const { admission, clock } = this.#ports;
    const leftMs = this.#leaseMs - elapsed(clock, this.#leaseFrom) - target.part.timeoutMs;
    if (admission !== undefined && !(await admission.turn(leftMs))) return false;
    return this.#guard(target);
  }

  /** Carries one part forward, again and again while that is harmless and the lease allows it. */
  async #send(target: Target): Promise<void> {
    if (target.action === 'create' && this.#held.taken && target.remoteId === null) {
      if (!(await this.#adopt(target))) return;
    }
    target.forward = 'unreachable';
    for (let attempt = 0; ; attempt += 1) {
      if (target.ambiguous && !(await this.#recorded())) return;
      if (!(this.#admitted.delete(target) ? this.#guard(target) : await this.#cleared(target))) return;
      target.sending = true;
      const [request, reply] = await this.#sendOnce(target);
      target.sending = false;
      if (!this.#learnForward(target, request, reply)) return;
      const waitMs = sendRetryMs(reply, attempt, this.#ports.random.next());
      this.#leaveWait(target, reply, waitMs);
      if (!this.#guard(target, waitMs)) return;
      await this.#ports.clock.sleep(waitMs);
    }
  }

  /** A wait that Vapi wants and that no longer fits into the lease: whoever takes the saga over need not come before it is over. */
  #leaveWait(target: Target, reply: ProviderReply<unknown>, waitMs: number): void {
    if (reply.kind !== 'rate_limited' || this.#guard(target, waitMs)) return;
    this.#lookAfterMs = Math.max(this.#lookAfterMs, Math.min(waitMs, LONGEST_WAIT_MS));
  }

  /**
   * Records, before a request without an answer is repeated, that more than one request for a part may be under way. Recovery
   * may then not conclude from the stamp that none is (see `SagaProgress.once`). Returns false if the saga has another owner.
   */
  async #recorded(): Promise<boolean> {
    // Every later owner assumes it anyway.
    if (this.#held.taken) return true;
    this.#recording ??= this.#transition('record', (words) =>
      this.#ports.journal.hold(this.#ref, {
        ...{ results: this.#told(words), ambiguous: true, quarantineMs: 0, lookAfterMs: 0, keepsLease: true },
      }),
    );
    await this.#recording;
    return !this.#released;
  }

  /** Looks whether Vapi shows the stamp of this saga for a part, and whether it shows the new content too. */
  async #look(target: Target): Promise<void> {
    target.seen = false;
    let found: Found | undefined;
    if (target.action === 'create' && target.remoteId === null) {
      const stamped = await this.#stamped(target);
      if (stamped.kind !== 'ok') return;
      target.seen = stamped.value.length > 0;
      // Of several, #adopt chooses one.
      if (stamped.value.length === 1) found = stamped.value[0];
    } else {
      if (target.remoteId === null || !(await this.#cleared(target))) return;
      const reply = await target.part.look(target.remoteId);
      if (reply.kind !== 'ok' || !reply.value.stamped) return;
      target.seen = true;
      found = reply.value;
    }
    if (found === undefined || target.action === 'remove') return;
    target.remoteId = found.remoteId;
    if (found.holds === null || found.holds.differing.length > 0) return;
    target.observed = found.holds.observed;
    target.forward = 'applied';
    target.error = null;
  }

  async #sendOnce({ action, part, remoteId }: Target): Promise<[Request, ProviderReply<Written | unknown>]> {
    if (action === 'remove') {
      if (remoteId === null) throw new Error('there is nothing to remove');
      return ['DELETE', await part.remove(remoteId)];
    }
    return remoteId === null ? ['POST', await part.create()] : ['PATCH', await part.replace(remoteId)];
  }

  /** Takes a reply in. True: the same bytes may be sent again. */
  #learnForward(target: Target, request: Request, reply: ProviderReply<Written | unknown>): boolean {
    if (request === 'DELETE') target.observed = {};
    else if (reply.kind === 'ok') {
      const { remoteId, observed } = reply.value as Written;
      target.remoteId = remoteId;
      target.observed = observed;
    }
    if (reply.kind === 'unauthorized') this.#ports.meter.count('vapi.unauthorized');
    const { answer, error } = toldForward(reply, this.#kind.words);
    const { again, ...progress } = afterSend(target, answer, request);
    target.error = progress.forward === 'applied' ? null : error;
    if (progress.gone === true) target.remoteId = null;
    Object.assign(target, progress);
    return again;
  }

  /**
   * An earlier owner may have created the resource, with only the stamp to tell. Found: it is ours to fill; several: the
   * oldest stays. False: nothing may be created now, because Vapi could not be asked, or because only the first owner may.
   */
  async #adopt(target: Target): Promise<boolean> {
    const found = await this.#stamped(target);
    if (found.kind !== 'ok') {
      target.forward = 'unknown';
      target.error = 'Vapi could not be asked whether it exists already.';
      return false;
    }
    const [oldest, ...others] = found.value;
    for (const other of others) {
      if (!(await this.#cleared(target))) return this.#undecided(target);
      const reply = await target.part.remove(other.remoteId);
      if (reply.kind !== 'ok' && reply.kind !== 'gone') return this.#undecided(target);
    }
    target.remoteId = oldest?.remoteId ?? null;
    if (oldest === undefined && target.lookOnly) {
      target.forward = 'lost';
      target.error = 'Vapi does not show what this save asked for, and it must not be asked for twice.';
      return false;
    }
    return true;
  }

  #undecided(target: Target): false {
    target.forward = 'unknown';
    return false;
  }

  #stamped(target: Target): Promise<ProviderReply<Found[]>> {
    return stampedResources(target.part, this.#saga.startedAt, () => this.#cleared(target));
  }

  /** Puts back what the database says, wherever this saga may have changed it. */
  async #undo(target: Target): Promise<void> {
    target.undo = 'blocked';
    for (let attempt = 0; ; attempt += 1) {
      const creates = target.action === 'create';
      // What a creation needs is asked for one by one.
      if (!(creates ? this.#guard(target) : await this.#cleared(target))) return;
      target.sending = true;
      const waitMs = await (creates ? this.#undoCreate(target, attempt) : this.#restore(target, attempt));
      target.sending = false;
      if (waitMs === null || !this.#guard(target, waitMs)) return;
      await this.#ports.clock.sleep(waitMs);
    }
  }

  /** As `#undo`, once. Returns how long to wait before the next attempt, milliseconds; null = there is none. */
  async #restore(target: Target, attempt: number): Promise<number | null> {
    if (target.remoteId === null || target.image.before === null) {
      throw new Error('there is nothing to go back to');
    }
    const reply = await target.part.restore(target.remoteId);
    const { answer, error } = toldUndo(reply);
    target.error = error ?? target.error;
    return this.#learnUndo(target, answer, reply, attempt, 'PATCH');
  }

  async #undoCreate(target: Target, attempt: number): Promise<number | null> {
    const made = await this.#made(target);
    if (made.kind !== 'ok') {
      // A look changes nothing, whatever became of it.
      const asked = made.kind === 'unauthorized' || made.kind === 'rate_limited' ? made.kind : 'not_sent';
      return this.#learnUndo(target, asked, made, attempt, 'DELETE');
    }
    const ids = made.value.map(({ remoteId }) => remoteId);
    // Known from here on, so that a refusal can name what is left.
    target.remoteId = ids[0] ?? null;
    for (const id of ids) {
      if (!(await this.#cleared(target))) return null;
      const reply = await target.part.remove(id);
      if (reply.kind !== 'ok' && reply.kind !== 'gone') {
        const { answer, error } = toldUndo(reply);
        target.error = error ?? target.error;
        return this.#learnUndo(target, answer, reply, attempt, 'DELETE');
      }
    }
    target.undo = 'done';
    return null;
  }

  /**
   * What this saga has created for this part, as its stamp shows. What an answer called it is not enough to delete by: it may be
   * somebody else's.
   */
  async #made(target: Target): Promise<ProviderReply<Found[]>> {
    const made: Found[] = [];
    if (target.remoteId !== null) {
      if (!(await this.#cleared(target))) return { kind: 'not_sent', code: 'LEASE' };
      const reply = await target.part.look(target.remoteId);
      if (reply.kind !== 'ok' && reply.kind !== 'gone') return reply;
      if (reply.kind === 'ok' && reply.value.stamped) made.push(reply.value);
      // An earlier owner may have created another.
      if ((reply.kind === 'gone' || made.length > 0) && !this.#held.taken) return { kind: 'ok', value: made };
    }
    const found = await this.#stamped(target);
    if (found.kind !== 'ok') return found;
    const others = found.value.filter(({ remoteId }) => remoteId !== made[0]?.remoteId);
    return { kind: 'ok', value: [...made, ...others] };
  }

  #learnUndo(
    target: Target,
    answer: Answer,
    reply: ProviderReply<unknown>,
    attempt: number,
    request: 'PATCH' | 'DELETE',
  ): number | null {
    if (reply.kind === 'unauthorized') this.#ports.meter.count('vapi.unauthorized');
    const { again, ...progress } = afterUndo(target, answer, request);
    if (progress.gone === true) target.remoteId = null;
    Object.assign(target, progress);
    if (!again) return null;
    const waitMs = undoRetryMs(reply, answer, attempt, this.#ports.random.next());
    this.#leaveWait(target, reply, waitMs);
    return waitMs;
  }

  #failure(reason: SagaFailureReason): SagaFailure {
    const told = this.#targets.find((target) => target.error !== null)?.error ?? NO_TIME;
    return {
      reason,
      message: `${this.#kind.words.notMade} ${told}`,
      retryable:
        reason === 'VAPI_UNAVAILABLE' || reason === 'VAPI_RATE_LIMITED' || reason === 'VAPI_ANSWER_DIFFERED',
    };
  }

  /** What is true of each part now, or will be once the saga has this status. */
  #results(status: SagaStatus = this.#saga.status): PartResult[] {
    const silent = this.#targets.every((target) => target.error === null);
    const untold = (target: Target) =>
      silent && target.forward !== 'applied' ? NO_TIME : this.#kind.words.otherFailed;
    return this.#targets.map((target) => ({
      key: target.key,
      resourceId: target.image.resourceId,
      success: false,
      vapiSynced: inVapi(target, status),
      dbUpdated: false,
      remoteId: status === 'ROLLED_BACK' && target.action === 'create' ? null : target.remoteId,
      error: target.error ?? (status === 'APPLYING' ? null : untold(target)),
      revision: null,
    }));
  }

  /** The results for the journal; without words: nothing in them that Vapi wrote. */
  #told(words: boolean, status?: SagaStatus): PartResult[] {
    const results = this.#results(status);
    if (words) return results;
    const ours = new Set(this.#targets.map((target) => target.image.remoteId));
    const withheld = `${this.#kind.words.notMade} ${NOT_STORABLE}`;
    return results.map((result) => ({
      ...result,
      remoteId: ours.has(result.remoteId) ? result.remoteId : null,
      error: result.error === null ? null : withheld,
    }));
  }
}

/** Is the saga's content in Vapi, once the saga has this status? Null: that is not known. */
function inVapi(target: Target, status: SagaStatus): boolean | null {
  if (status === 'ROLLED_BACK' || target.undo === 'done' || target.undo === 'missing') return false;
  if (target.sending) return null;
  if (target.forward === 'applied' && !target.ambiguous) return true;
  return target.touched || target.forward === 'pending' ? null : false;
}

function elapsed(clock: Clock, from: Instant): number {
  return Math.max(clock.now() - from.wall, clock.monotonic() - from.monotonic);
}

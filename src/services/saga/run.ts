import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type {
  AgentRecord,
  SaveFailure,
  SaveFailureReason,
  SaveImage,
  SaveRecord,
  SaveStatus,
  TransactionResult,
} from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import { boundedText } from '../../domain/text.ts';
import type { Admission } from '../../ports/admission.ts';
import {
  DatabaseError,
  type SaveJournal,
  type SaveRef,
  type TransitionOutcome,
  ValueRefusedError,
} from '../../ports/agents/save-journal.ts';
import type { Clock, Log, Random } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { ProviderAssistant, ProviderReply, VoiceProvider } from '../../ports/voice-provider.ts';
import { differences, observedForm } from '../agents/compare.ts';
import { renderAssistant } from '../agents/render.ts';
import { isStamped, stampedAssistants } from '../agents/stamped.ts';
import {
  type AgentProgress,
  type Answer,
  afterSend,
  afterUndo,
  type Decision,
  decide,
  isClosed,
  type SaveProgress,
  TRANSITIONS,
} from './protocol.ts';
import { fitsLease, lateTimeMs, type SagaSettings } from './settings.ts';

/**
 * Carries a begun save to its end, or to the point where another owner must go on. The same code serves the request that began
 * the save and the recovery that took it over: protocol.ts decides, this file acts.
 */

export interface RunPorts {
  journal: SaveJournal;
  voice: VoiceProvider;
  /** Absent: requests take no turns. */
  admission?: Admission | undefined;
  clock: Clock;
  random: Random;
  log: Log;
  meter: Meter;
  settings: SagaSettings;
}

/** A save and the right to act on it. */
export interface HeldSave {
  orgId: string;
  save: SaveRecord;
  images: SaveImage[];
  deployment: string;
  /** Both clocks, read before the first attempt to get the lease: the lease cannot have begun earlier. */
  leaseFrom: Instant;
  leaseMs: number;
  taken: boolean;
  /** Its first owner recorded no second request for an agent (see `SaveProgress.once`). */
  once: boolean;
  quarantined: boolean;
  pastDeadline: boolean;
}

export interface Instant {
  wall: number;
  monotonic: number;
}

export function instant(clock: Clock): Instant {
  return { wall: clock.now(), monotonic: clock.monotonic() };
}

/** Where a run left its save. `agents` only where it is COMMITTED. */
export interface RunEnd {
  save: SaveRecord;
  agents: AgentRecord[];
}

/** One agent of a running save: the protocol's view of it, and what acting on it needs. */
interface Target extends AgentProgress {
  image: SaveImage;
  /** The complete document that this save puts into Vapi. */
  after: JsonObject;
  /** Known only once Vapi has answered, where the save creates the assistant. */
  assistantId: string | null;
  observed: JsonObject | null;
  error: string | null;
  /** A write is on its way, forward or back: what Vapi holds at this moment is not known. */
  sending: boolean;
}

/** Begins the error of an agent that Vapi refused; Vapi's messages follow. */
export const REFUSED = 'Vapi refused it: ';

/** Why a save was not made where no answer says why. */
const NO_TIME = 'Vapi could not be reached in time.';
/** In place of text that the database refuses. */
const WITHHELD = 'The save was not made. What Vapi answered cannot be stored.';

export class SaveRun {
  readonly #ports: RunPorts;
  readonly #held: HeldSave;
  readonly #ref: SaveRef;
  readonly #targets: Target[];
  /** Whose first request had its turn before the save began. */
  readonly #admitted: Set<Target>;
  #save: SaveRecord;
  #leaseFrom: Instant;
  #leaseMs: number;
  #released = false;
  #recording: Promise<void> | null = null;
  #committing = false;
  #agents: AgentRecord[] = [];

  constructor(ports: RunPorts, held: HeldSave) {
    this.#ports = ports;
    this.#held = held;
    this.#save = held.save;
    this.#leaseFrom = held.leaseFrom;
    this.#leaseMs = held.leaseMs;
    this.#ref = { orgId: held.orgId, saveId: held.save.id, epoch: held.save.epoch };
    this.#targets = held.images.map((image) => ({
      image,
      role: image.role,
      creates: image.assistantId === null,
      recreate: image.recreate,
      forward: 'pending',
      undo: 'pending',
      touched: held.taken,
      ambiguous: false,
      after: renderAssistant(held.save.mappingVersion, image.after.config, {
        deployment: held.deployment,
        orgId: held.orgId,
        agentId: image.agentId,
        role: image.role,
        saveId: held.save.id,
        revision: image.after.revision,
      }),
      assistantId: image.assistantId,
      observed: null,
      sending: false,
      error: held.save.results.find((result) => result.role === image.role)?.error ?? null,
    }));
    this.#admitted = new Set(held.taken ? [] : this.#targets);
  }

  /** The save as it is known at this moment, for a caller who cannot wait for its end. */
  get current(): SaveRecord {
    if (isClosed(this.#save.status)) return this.#save;
    return {
      ...this.#save,
      results: this.#results().map((result) => ({
        ...result,
        // A commit without an answer may have happened.
        dbUpdated: this.#committing ? null : result.dbUpdated,
      })),
    };
  }

  /** Runs to the end, or until the lease is given up. Bounded by the lease; never throws for what Vapi or the network does. */
  async run(): Promise<RunEnd> {
    for (;;) {
      const decision = decide(this.#progress());
      if (decision.do === 'stop') return { save: this.current, agents: this.#agents };
      await this.#carryOut(decision);
    }
  }

  #progress(): SaveProgress {
    return {
      status: this.#save.status,
      agents: this.#targets,
      taken: this.#held.taken,
      once: this.#held.once,
      quarantined: this.#held.quarantined,
      pastDeadline: this.#held.pastDeadline,
      released: this.#released,
    };
  }

  async #carryOut(decision: Exclude<Decision, { do: 'stop' }>): Promise<void> {
    const { journal, settings } = this.#ports;
    const lateMs = lateTimeMs(settings);
    switch (decision.do) {
      case 'look':
        await Promise.all(this.#chosen(decision.roles).map((target) => this.#look(target)));
        return;
      case 'send':
        // All at once, and all to the end: a sibling is never cancelled, because its outcome must be known.
        await Promise.all(this.#chosen(decision.roles).map((target) => this.#send(target)));
        return;
      case 'undo':
        await Promise.all(this.#chosen(decision.roles).map((target) => this.#undo(target)));
        return;
      case 'commit': {
        this.#committing = true;
        const agents = this.#targets.map((target) => {
          if (target.assistantId === null || target.observed === null) {
            throw new Error(`save ${this.#ref.saveId}: ${target.role} is to be committed without an answer`);
          }
          return { role: target.role, assistantId: target.assistantId, observed: target.observed };
        });
        await this.#transition('commit', () =>
          journal.commit(this.#ref, { agents, ambiguous: decision.ambiguous, lateMs }),
        );
        return;
      }
      case 'abort': {
        const leaseFrom = instant(this.#ports.clock);
        const failure = this.#failure(decision.reason);
        await this.#transition('abort', (words) =>
          journal.abort(this.#ref, {
            failure: words ? failure : { ...failure, message: WITHHELD },
            results: this.#told(words, decision.nothingApplied ? 'ROLLED_BACK' : 'ROLLING_BACK'),
            missing: decision.missing,
            ambiguous: decision.ambiguous,
            lateMs,
            leaseMs: settings.leaseMs,
            nothingApplied: decision.nothingApplied,
          }),
        );
        this.#leaseFrom = leaseFrom;
        this.#leaseMs = settings.leaseMs;
        // The quarantine is stored, not slept: recovery undoes it, after that.
        if (decision.ambiguous) this.#released = true;
        return;
      }
      case 'close':
        await this.#transition('close', (words) =>
          journal.rolledBack(this.#ref, {
            results: this.#told(words, 'ROLLED_BACK'),
            missing: decision.missing,
            ambiguous: decision.ambiguous,
            lateMs,
          }),
        );
        return;
      case 'attention': {
        const failure: SaveFailure = {
          ...(this.#save.failure ?? this.#failure('VAPI_REJECTED')),
          message: 'Vapi refuses to take the previous configuration back. A person must settle this save.',
          retryable: false,
        };
        await this.#transition('attention', (words) =>
          journal.needsAttention(this.#ref, {
            results: this.#told(words),
            failure,
            ambiguous: decision.ambiguous,
            lateMs,
          }),
        );
        // Another owner has it, or recovery will: no person is needed yet.
        if (this.#save.status !== 'NEEDS_ATTENTION') return;
        this.#ports.meter.count('save.needs_attention');
        this.#ports.log.error(
          { saveId: this.#ref.saveId, orgId: this.#ref.orgId, event: 'save.needs_attention' },
          'a save cannot be undone and needs a person',
        );
        return;
      }
      case 'hand_over':
        await this.#transition('hold', (words) =>
          journal.hold(this.#ref, {
            results: this.#told(words),
            ambiguous: decision.ambiguous,
            notBeforeMs: decision.quarantine ? lateMs : 0,
          }),
        );
        this.#released = true;
        return;
    }
  }

  #chosen(roles: AgentRole[]): Target[] {
    return this.#targets.filter((target) => roles.includes(target.role));
  }

  /**
   * One transition, repeated while its fate is unknown: it is idempotent by id and epoch. If the database stays away for a
   * whole lease, the save is left to recovery, which finds everything it needs in the journal. What Vapi answered is in some
   * transitions as text. No text may keep a save open, so where the database refuses a value, `call` is told to leave it out.
   */
  async #transition(name: string, call: (words: boolean) => Promise<TransitionOutcome>): Promise<void> {
    const { clock, log, settings } = this.#ports;
    const before = this.#save.status;
    const from = instant(clock);
    let words = true;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const answer = await call(words);
        if (answer.outcome === 'NO_SAVE') throw new Error(`save ${this.#ref.saveId} is not in the journal`);
        if (answer.outcome === 'STALE') {
          // Another owner has it now; what it has become is the truth.
          log.warn(
            { saveId: this.#ref.saveId, transition: name, status: answer.save.status },
            'lost the save to another owner',
          );
          this.#released = true;
        } else if (answer.save.status !== before) {
          this.#assertAllowed(before, answer.save.status);
        }
        this.#save = answer.save;
        this.#agents = answer.save.status === 'COMMITTED' ? (answer.agents ?? []) : [];
        return;
      } catch (error) {
        if (error instanceof ValueRefusedError && words) {
          words = false;
          log.error(
            { saveId: this.#ref.saveId, transition: name, event: 'save.words_refused', err: error },
            'the database refused the text of a transition; it is repeated without',
          );
          continue;
        }
        if (!(error instanceof DatabaseError)) throw error;
        log.warn(
          { saveId: this.#ref.saveId, transition: name, code: error.code, attempt },
          'the database did not answer',
        );
        if (elapsed(clock, from) > settings.leaseMs) {
          this.#released = true;
          return;
        }
        await clock.sleep(this.#backoff(attempt, 50, 2_000));
      }
    }
  }

  #assertAllowed(from: SaveStatus, to: SaveStatus): void {
    const isAnOperators = from === 'APPLYING' && to === 'NEEDS_ATTENTION';
    if (isAnOperators || !TRANSITIONS[from].includes(to)) {
      throw new Error(
        `save ${this.#ref.saveId} went from ${from} to ${to}, which the protocol does not know`,
      );
    }
  }

  /** The lease still holds when a request sent now has ended, by the slower-judging of the two clocks. */
  #guard(waitMs = 0): boolean {
    const { clock, voice } = this.#ports;
    return fitsLease(elapsed(clock, this.#leaseFrom) + waitMs, {
      requestTimeoutMs: voice.timeoutMs,
      leaseMs: this.#leaseMs,
    });
  }

  /** A turn for one more request, and then the guard: nothing may queue between that and the write. */
  async #cleared(): Promise<boolean> {
    const { admission, clock, voice } = this.#ports;
    const leftMs = this.#leaseMs - elapsed(clock, this.#leaseFrom) - voice.timeoutMs;
    if (admission !== undefined && !(await admission.turn(leftMs))) return false;
    return this.#guard();
  }

  #backoff(attempt: number, baseMs: number, mostMs: number): number {
    const full = Math.min(mostMs, baseMs * 2 ** Math.min(attempt, 16));
    return Math.round(full / 2 + (full / 2) * this.#ports.random.next());
  }

  /** As told, but never at once, whatever was told; slower each time where nothing was. */
  #afterLimit(toldMs: number | null, attempt: number): number {
    return toldMs === null
      ? this.#backoff(attempt, 2_000, 60_000)
      : Math.max(toldMs, this.#backoff(attempt, 250, 5_000));
  }

  /** Puts one agent's content into Vapi, again and again while that is harmless and the lease allows it. */
  async #send(target: Target): Promise<void> {
    if (target.creates && this.#held.taken && target.assistantId === null) {
      if (!(await this.#adopt(target))) return;
    }
    target.forward = 'unreachable';
    for (let attempt = 0; ; attempt += 1) {
      if (target.ambiguous && !(await this.#recorded())) return;
      if (!(this.#admitted.delete(target) ? this.#guard() : await this.#cleared())) return;
      target.sending = true;
      const reply =
        target.assistantId === null
          ? await this.#ports.voice.createAssistant(target.after)
          : await this.#ports.voice.updateAssistant(target.assistantId, target.after);
      target.sending = false;
      const waitMs = this.#learnForward(target, reply, attempt);
      if (waitMs === null || !this.#guard(waitMs)) return;
      await this.#ports.clock.sleep(waitMs);
    }
  }

  /**
   * Records, before a request without an answer is repeated, that more than one request for an agent may be under way: recovery
   * may then not conclude from the stamp that nothing is (see `SaveProgress.once`). False: the save is lost.
   */
  async #recorded(): Promise<boolean> {
    // Every later owner reckons with it anyway.
    if (this.#held.taken) return true;
    this.#recording ??= this.#transition('record', (words) =>
      this.#ports.journal.hold(this.#ref, {
        ...{ results: this.#told(words), ambiguous: true, notBeforeMs: 0, keepsLease: true },
      }),
    );
    await this.#recording;
    return !this.#released;
  }

  /** Looks whether Vapi shows the stamp of this save on the agent's assistant, and whether it shows the content too. */
  async #look(target: Target): Promise<void> {
    target.seen = false;
    let found: ProviderAssistant | undefined;
    if (target.creates) {
      const stamped = await this.#stamped(target);
      if (stamped.kind !== 'ok') return;
      target.seen = stamped.value.length > 0;
      // Of several, #adopt chooses one.
      if (stamped.value.length !== 1) return;
      found = stamped.value[0];
    } else {
      if (target.assistantId === null || !(await this.#cleared())) return;
      const reply = await this.#ports.voice.getAssistant(target.assistantId);
      if (reply.kind !== 'ok' || !this.#isStamped(reply.value, target)) return;
      target.seen = true;
      found = reply.value;
    }
    if (found === undefined) return;
    target.assistantId = found.id;
    if (differences(target.after, found).length > 0) return;
    target.observed = observedForm(found);
    target.forward = 'applied';
    target.error = null;
  }

  /** Takes a reply in. Answers how long to wait before the same bytes may be sent again; null = do not. */
  #learnForward(target: Target, reply: ProviderReply<ProviderAssistant>, attempt: number): number | null {
    const request = target.assistantId === null ? 'POST' : 'PATCH';
    let answer: Answer;
    let waitMs = this.#backoff(attempt, 250, 5_000);
    switch (reply.kind) {
      case 'ok': {
        target.assistantId = reply.value.id;
        target.observed = observedForm(reply.value);
        const found = differences(target.after, reply.value);
        answer = found.length === 0 ? 'matches' : 'differs';
        target.error = found.length === 0 ? null : `Vapi answered with other content at ${pathsOf(found)}.`;
        break;
      }
      case 'refused':
        answer = reply.kind;
        target.error = `${REFUSED}${boundedText(reply.messages.join('; '), 500)}`;
        break;
      case 'gone':
        answer = reply.kind;
        target.error =
          'The assistant was deleted in Vapi; save with recreateIfMissing: true to make a new one.';
        break;
      case 'unauthorized':
        answer = reply.kind;
        this.#ports.meter.count('vapi.unauthorized');
        target.error = 'Vapi refused our key.';
        break;
      case 'rate_limited':
        answer = reply.kind;
        waitMs = this.#afterLimit(reply.retryAfterMs, attempt);
        target.error = 'Vapi is limiting our requests.';
        break;
      case 'not_sent':
        answer = reply.kind;
        target.error = `Vapi cannot be reached (${reply.code}).`;
        break;
      case 'unknown':
        answer = reply.kind;
        target.error = `Vapi did not answer (${reply.code}); whether it took the change is not known yet.`;
        break;
    }
    const { again, ...progress } = afterSend(target, answer, request);
    if (progress.gone === true) target.assistantId = null;
    Object.assign(target, progress);
    return again ? waitMs : null;
  }

  /**
   * An earlier owner may have created the assistant, with only the stamp to tell. Found: it is ours to fill; several: the
   * oldest stays. False: Vapi could not be asked, so nothing may be created now.
   */
  async #adopt(target: Target): Promise<boolean> {
    const found = await this.#stamped(target);
    if (found.kind !== 'ok') {
      target.forward = 'unknown';
      target.error = 'Vapi could not be asked whether the assistant exists already.';
      return false;
    }
    const [oldest, ...others] = found.value;
    for (const other of others) {
      if (!(await this.#cleared())) return this.#undecided(target);
      const reply = await this.#ports.voice.deleteAssistant(other.id);
      if (reply.kind !== 'ok' && reply.kind !== 'gone') return this.#undecided(target);
    }
    target.assistantId = oldest?.id ?? null;
    return true;
  }

  #undecided(target: Target): false {
    target.forward = 'unknown';
    return false;
  }

  #isStamped(assistant: ProviderAssistant, target: Target): boolean {
    return isStamped(assistant, this.#ref.saveId, target.image.agentId);
  }

  #stamped(target: Target): Promise<ProviderReply<ProviderAssistant[]>> {
    const { saveId } = this.#ref;
    const of = { saveId, agentId: target.image.agentId, startedAt: this.#save.startedAt };
    return stampedAssistants(this.#ports.voice, of, () => this.#cleared());
  }

  /** Puts back what the database says, wherever this save may have changed it. */
  async #undo(target: Target): Promise<void> {
    target.undo = 'blocked';
    for (let attempt = 0; ; attempt += 1) {
      // What a creation needs is asked for one by one.
      if (!(target.creates ? this.#guard() : await this.#cleared())) return;
      target.sending = true;
      const waitMs = target.creates
        ? await this.#undoCreate(target, attempt)
        : await this.#undoUpdate(target, attempt);
      target.sending = false;
      if (waitMs === null || !this.#guard(waitMs)) return;
      await this.#ports.clock.sleep(waitMs);
    }
  }

  async #undoUpdate(target: Target, attempt: number): Promise<number | null> {
    const { before } = target.image;
    if (target.assistantId === null || before === null) throw new Error('there is nothing to go back to');
    const document = renderAssistant(before.mappingVersion, before.config, {
      deployment: this.#held.deployment,
      orgId: this.#held.orgId,
      agentId: target.image.agentId,
      role: target.role,
      saveId: before.saveId,
      revision: before.revision,
    });
    const reply = await this.#ports.voice.updateAssistant(target.assistantId, document);
    if (reply.kind !== 'ok') return this.#learnUndo(target, reply.kind, reply, attempt, 'PATCH');
    const found = differences(document, reply.value);
    if (found.length > 0) {
      target.error = `Vapi answered the previous configuration with other content at ${pathsOf(found)}.`;
    }
    return this.#learnUndo(target, found.length === 0 ? 'matches' : 'differs', reply, attempt, 'PATCH');
  }

  /**
   * What this save has made for this agent, as its stamp shows. What an answer called it is not enough to delete by: it may be
   * somebody else's.
   */
  async #made(target: Target): Promise<ProviderReply<ProviderAssistant[]>> {
    const made: ProviderAssistant[] = [];
    if (target.assistantId !== null) {
      if (!(await this.#cleared())) return { kind: 'not_sent', code: 'LEASE' };
      const reply = await this.#ports.voice.getAssistant(target.assistantId);
      if (reply.kind !== 'ok' && reply.kind !== 'gone') return reply;
      if (reply.kind === 'ok' && this.#isStamped(reply.value, target)) made.push(reply.value);
      // An earlier owner may have made another.
      if ((reply.kind === 'gone' || made.length > 0) && !this.#held.taken) return { kind: 'ok', value: made };
    }
    const found = await this.#stamped(target);
    if (found.kind !== 'ok') return found;
    const others = found.value.filter(({ id }) => id !== made[0]?.id);
    return { kind: 'ok', value: [...made, ...others] };
  }

  async #undoCreate(target: Target, attempt: number): Promise<number | null> {
    const made = await this.#made(target);
    if (made.kind !== 'ok') {
      // A look changes nothing, whatever became of it.
      const asked = made.kind === 'unauthorized' || made.kind === 'rate_limited' ? made.kind : 'not_sent';
      return this.#learnUndo(target, asked, made, attempt, 'DELETE');
    }
    const ids = made.value.map((assistant) => assistant.id);
    // Known from here on, so that a refusal can name what is left.
    target.assistantId = ids[0] ?? null;
    for (const id of ids) {
      if (!(await this.#cleared())) return null;
      const reply = await this.#ports.voice.deleteAssistant(id);
      if (reply.kind !== 'ok' && reply.kind !== 'gone')
        return this.#learnUndo(target, reply.kind, reply, attempt, 'DELETE');
    }
    target.undo = 'done';
    return null;
  }

  /** As `#learnForward`. */
  #learnUndo(
    target: Target,
    answer: Answer,
    reply: ProviderReply<unknown>,
    attempt: number,
    request: 'PATCH' | 'DELETE',
  ): number | null {
    if (reply.kind === 'refused') {
      target.error = `Vapi refused to take the previous configuration back: ${boundedText(reply.messages.join('; '), 500)}`;
    }
    if (reply.kind === 'unauthorized') this.#ports.meter.count('vapi.unauthorized');
    const { again, ...progress } = afterUndo(target, answer, request);
    if (progress.gone === true) target.assistantId = null;
    Object.assign(target, progress);
    if (!again) return null;
    if (reply.kind === 'rate_limited') return this.#afterLimit(reply.retryAfterMs, attempt);
    return answer === 'not_sent' ? this.#backoff(attempt, 500, 10_000) : this.#backoff(attempt, 250, 5_000);
  }

  #failure(reason: SaveFailureReason): SaveFailure {
    const told = this.#targets.find((target) => target.error !== null)?.error ?? NO_TIME;
    return {
      reason,
      message: `The save was not made. ${told}`,
      retryable:
        reason === 'VAPI_UNAVAILABLE' || reason === 'VAPI_RATE_LIMITED' || reason === 'VAPI_ANSWER_DIFFERED',
    };
  }

  /** What is true of each agent now, or will be once the save has this status. */
  #results(status: SaveStatus = this.#save.status): TransactionResult[] {
    const silent = this.#targets.every((target) => target.error === null);
    return this.#targets.map((target) => ({
      role: target.role,
      agentId: target.image.agentId,
      success: false,
      vapiSynced: this.#inVapi(target, status),
      dbUpdated: false,
      assistantId: status === 'ROLLED_BACK' && target.creates ? null : target.assistantId,
      error: target.error ?? (status === 'APPLYING' ? null : untold(target)),
      revision: null,
    }));

    /** The error of an agent that has none of its own. */
    function untold(target: Target): string {
      return silent && target.forward !== 'applied'
        ? NO_TIME
        : 'Not kept: the other agent could not be saved.';
    }
  }

  /** The results for the journal; without words: nothing in them that Vapi wrote. */
  #told(words: boolean, status?: SaveStatus): TransactionResult[] {
    const results = this.#results(status);
    if (words) return results;
    const ours = new Set(this.#targets.map((target) => target.image.assistantId));
    return results.map((result) => ({
      ...result,
      assistantId: ours.has(result.assistantId) ? result.assistantId : null,
      error: result.error === null ? null : WITHHELD,
    }));
  }

  #inVapi(target: Target, status: SaveStatus): boolean | null {
    if (status === 'ROLLED_BACK' || target.undo === 'done' || target.undo === 'missing') return false;
    if (target.sending) return null;
    if (target.forward === 'applied' && !target.ambiguous) return true;
    return target.touched || target.forward === 'pending' ? null : false;
  }
}

function pathsOf(found: { path: string }[]): string {
  return boundedText(found.map((entry) => entry.path).join(', '), 500);
}

function elapsed(clock: Clock, from: Instant): number {
  return Math.max(clock.now() - from.wall, clock.monotonic() - from.monotonic);
}

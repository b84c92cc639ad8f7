import { sagaOfName, stampedName } from '../../domain/phone-numbers/stamp.ts';
import type { Admission } from '../../ports/admission.ts';
import type { Job, JobEnd } from '../../ports/jobs.ts';
import type {
  ListedNumber,
  NumberNote,
  NumberRef,
  PhoneNumberStore,
  StampedAttempt,
} from '../../ports/phone-numbers/phone-number-store.ts';
import type { Clock, Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { RemoteResource } from '../../ports/voice-provider.ts';
import { takingTurns } from '../admission/taking-turns.ts';
import type { Settlement } from '../saga/settle.ts';
import { leaseKeeper, listedPages, requireBelievable, type SweepStop, SweepStopped } from '../sweeping.ts';
import type { ChangePhoneNumber } from './change.ts';
import { shownOf } from './document.ts';
import type { Numbers } from './participant.ts';

/** How long a request of these jobs may wait for a permit, milliseconds. */
const WAIT_MS = 30_000;
/** How many numbers one run polls, or attaches. */
const AT_ONCE = 50;
/** Vapi activates a number within some minutes. Milliseconds. */
const ACTIVATION_LATE_MS = 10 * 60_000;
/** How many rows are read at once. */
const PAGE = 1_000;
const SWEEP_LEASE_MS = 60_000;
const SWEEP_RETRY_MS = 10_000;

export interface PhoneNumberJobPorts {
  store: PhoneNumberStore;
  /** The provider of the active key. Null: there is no key, so nothing runs. */
  voice(): Numbers | null;
  /** The rate limiter. Absent: the rate is not limited. */
  admission: Admission | undefined;
  change: ChangePhoneNumber;
  /**
   * Settles a saga as committed, if Vapi shows exactly what it wants. `vapiOrgId`: the account that shows the stamp of this saga, which
   * nobody else knows. So it is the account of this database, even if no assistant has shown that yet.
   */
  settle(orgId: string, sagaId: string, vapiOrgId: string): Promise<Settlement>;
  clock: Pick<Clock, 'monotonic'>;
  log: Log;
  meter: Meter;
  /** Names this process. */
  owner: string;
}

export interface PhoneNumberJobSettings {
  recoveryIntervalMs: number;
  /** 0: nothing compares the numbers with Vapi. */
  reconcileIntervalMs: number;
}

export interface NumberSweepReport {
  stopped: SweepStop | null;
  retryAfterMs: number | null;
  listed: number;
  reverted: number;
  missing: number;
  settled: number;
  orphansDeleted: number;
}

/**
 * The background work that phone numbers need. Each job is level-triggered: it compares what a row wants with what is, so that a crash
 * forgets nothing. Whatever changes Vapi is an ordinary saga.
 */
export class PhoneNumberJobs {
  readonly #ports: PhoneNumberJobPorts;
  readonly #settings: PhoneNumberJobSettings;

  constructor(ports: PhoneNumberJobPorts, settings: PhoneNumberJobSettings) {
    this.#ports = ports;
    this.#settings = settings;
  }

  get jobs(): Job[] {
    const { recoveryIntervalMs: intervalMs, reconcileIntervalMs } = this.#settings;
    const ended = (count: number | null): JobEnd => ({ kind: count === null ? 'skipped' : 'ran' });
    const activation: Job = {
      name: 'phone number activation',
      intervalMs,
      run: async (stopping) => ended(await this.activate(stopping)),
    };
    const attachment: Job = {
      name: 'phone number attachment',
      intervalMs,
      run: async (stopping) => ended(await this.attach(stopping)),
    };
    const sweep: Job = {
      name: 'phone number sweep',
      intervalMs: reconcileIntervalMs,
      retryMs: SWEEP_RETRY_MS,
      run: async (stopping) => {
        const report = await this.sweep(stopping);
        if (report === null) return { kind: 'skipped' };
        return report.retryAfterMs === null
          ? { kind: 'ran' }
          : { kind: 'not_leader', leaseExpiresInMs: report.retryAfterMs };
      },
      release: () => this.#ports.store.releaseLease(this.#ports.owner),
    };
    return reconcileIntervalMs > 0 ? [activation, attachment, sweep] : [activation, attachment];
  }

  #voice(): Numbers | null {
    const { admission } = this.#ports;
    const voice = this.#ports.voice();
    return voice === null || admission === undefined
      ? voice
      : { phoneNumbers: takingTurns(voice.phoneNumbers, admission, 'phone numbers', WAIT_MS) };
  }

  /**
   * Asks Vapi once about each number that is not active yet. No lock is held meanwhile. Returns how many have become active; null: there
   * is no key. Throws `DatabaseError`.
   */
  async activate(stopping: AbortSignal): Promise<number | null> {
    const { store, log, meter } = this.#ports;
    const voice = this.#voice();
    if (voice === null) return null;
    let activated = 0;
    for (const due of await store.activationDue(AT_ONCE)) {
      if (stopping.aborted) break;
      const { orgId, id, remoteId, ageMs } = due;
      const reply = await voice.phoneNumbers.get(remoteId);
      // One that Vapi does not show is for the sweep to judge: a number may be new.
      if (reply.kind !== 'ok') continue;
      const shown = shownOf(reply.value);
      const failure = ageMs < ACTIVATION_LATE_MS ? undefined : lateWords(shown.status);
      const [noted] = await store.note([{ orgId, id, remoteId, seen: 'SHOWN', ...shown, failure }]);
      if (noted?.state !== 'ACTIVE') continue;
      activated += 1;
      meter.count('number.activated');
      log.info({ event: 'number.activated', orgId, phoneNumberId: id, ageMs }, 'a phone number is active');
    }
    return activated;
  }

  /**
   * Begins the saga of each number whose attachment is not what it should be. Returns how many were committed; null: there is no key.
   * Throws `DatabaseError`.
   */
  async attach(stopping: AbortSignal): Promise<number | null> {
    const { store, change, log, meter } = this.#ports;
    if (this.#ports.voice() === null) return null;
    let attached = 0;
    for (const { orgId, id, purpose } of await store.attachmentDue(AT_ONCE)) {
      if (stopping.aborted) break;
      const outcome = await change(
        orgId,
        { action: 'UPDATE', phoneNumberId: id, purpose },
        { idempotencyKey: null, actor: null, cause: purpose === 'WISH' ? 'USER' : 'REVERT' },
      );
      const fields = { orgId, phoneNumberId: id, purpose, outcome: outcome.kind };
      if (outcome.kind === 'committed') {
        attached += 1;
        meter.count('number.attached');
        log.info({ event: 'number.attached', ...fields }, 'a phone number is attached');
      } else if (outcome.kind === 'failed') {
        meter.count('number.not_attached');
        log.warn({ event: 'number.not_attached', ...fields }, 'a phone number could not be attached');
      }
    }
    return attached;
  }

  /**
   * Compares the numbers of all organizations with what Vapi lists. It costs the pages of that list, and a look at what is not in it.
   * Null: there is no key. Throws `DatabaseError`; everything that Vapi does is in the report.
   */
  async sweep(stopping: AbortSignal): Promise<NumberSweepReport | null> {
    const { log, meter } = this.#ports;
    const voice = this.#voice();
    if (voice === null) return null;
    const keepLease = leaseKeeper({ ...this.#ports, leaseMs: SWEEP_LEASE_MS, stopping });
    const report: NumberSweepReport = {
      ...{ stopped: null, retryAfterMs: null },
      ...{ listed: 0, reverted: 0, missing: 0, settled: 0, orphansDeleted: 0 },
    };
    try {
      const seen = new Map<string, RemoteResource>();
      for await (const page of listedPages(voice.phoneNumbers, keepLease)) {
        for (const number of page) seen.set(number.id, number);
        await this.#judge(voice, page, report);
      }
      report.listed = seen.size;
      await this.#findMissing(voice, seen, keepLease, report);
      meter.count('number.sweep_done');
    } catch (error) {
      if (!(error instanceof SweepStopped)) throw error;
      report.stopped = error.why;
      report.retryAfterMs = error.retryAfterMs;
      if (error.why !== 'NOT_LEADER' && error.why !== 'STOPPING') {
        meter.count('number.sweep_stopped');
        log.error({ event: 'number.sweep_stopped', why: error.why }, 'the sweep of phone numbers stopped');
      }
    }
    if (report.stopped !== 'NOT_LEADER')
      log.info({ event: 'number.sweep_done', ...report }, 'swept the phone numbers');
    return report;
  }

  async #judge(voice: Numbers, numbers: RemoteResource[], report: NumberSweepReport): Promise<void> {
    const { store } = this.#ports;
    const rows = new Map(
      (await store.listed(numbers.map(({ id }) => id))).map((row) => [row.remoteId, row] as const),
    );
    const notes: NumberNote[] = [];
    const drifted: ListedNumber[] = [];
    const stamped = new Map<string, RemoteResource>();
    for (const number of numbers) {
      const row = rows.get(number.id);
      const sagaId = sagaOfName(number['name']);
      if (row === undefined) {
        if (sagaId !== null) stamped.set(sagaId, number);
        continue;
      }
      // What is released or being released is not ours to judge.
      if (row.state === 'RELEASING' || row.state === 'RELEASED') continue;
      const shown = shownOf(number);
      if (isNews(row, shown)) {
        notes.push({ orgId: row.orgId, id: row.id, remoteId: row.remoteId, seen: 'SHOWN', ...shown });
      }
      if (!row.busy && row.state !== 'MISSING' && isDrifted(row, number)) drifted.push(row);
    }
    await store.note(notes);
    for (const row of drifted) await this.#revert(row, report);
    for (const attempt of await store.stamps([...stamped.keys()])) {
      const number = stamped.get(attempt.sagaId);
      if (number !== undefined) await this.#resolve(voice, attempt, number, report);
    }
  }

  /** Whatever the policy of the organization is: a number that points elsewhere may be answered by another organization's agent. */
  async #revert({ orgId, id }: ListedNumber, report: NumberSweepReport): Promise<void> {
    const { change, log, meter } = this.#ports;
    const outcome = await change(
      orgId,
      { action: 'UPDATE', phoneNumberId: id, purpose: 'REPOINT' },
      { idempotencyKey: null, actor: null, cause: 'REVERT' },
    );
    if (outcome.kind === 'committed') report.reverted += 1;
    meter.count('number.drifted');
    log.warn(
      { event: 'number.drifted', orgId, phoneNumberId: id, outcome: outcome.kind },
      'a phone number was changed in Vapi; its attachment is put back',
    );
  }

  async #resolve(
    voice: Numbers,
    { orgId, id, sagaId, verdict, requestedNumber, provider }: StampedAttempt,
    number: RemoteResource,
    report: NumberSweepReport,
  ): Promise<void> {
    const { settle, log, meter } = this.#ports;
    const fields = { orgId, phoneNumberId: id, saveId: sagaId, remoteId: number.id };
    if (verdict === 'SETTLE') {
      const settlement = await settle(orgId, sagaId, String(number['orgId'] ?? ''));
      if (settlement.outcome !== 'COMMITTED') return;
      report.settled += 1;
      meter.count('number.settled');
      log.info(
        { event: 'number.settled', ...fields },
        'a number that nobody could find out about has shown up',
      );
      return;
    }
    if (verdict === 'LATE') {
      meter.count('number.late_purchase');
      log.error(
        { event: 'number.late_purchase', ...fields },
        'a purchase that has failed left a number in Vapi; only a person may delete it',
      );
      return;
    }
    // Only what that very import made: its stamp, its provider, and its digits, unless Vapi masks them.
    const { digits } = shownOf(number);
    if (number['provider'] !== provider || (digits !== null && digits !== requestedNumber)) return;
    const now = await voice.phoneNumbers.get(number.id);
    if (now.kind !== 'ok' || now.value['name'] !== stampedName(sagaId)) return;
    const reply = await voice.phoneNumbers.remove(number.id);
    if (reply.kind !== 'ok') return;
    report.orphansDeleted += 1;
    meter.count('number.orphan_deleted');
    log.info({ event: 'number.orphan_deleted', ...fields }, 'deleted what a failed import left in Vapi');
  }

  async #findMissing(
    voice: Numbers,
    seen: ReadonlyMap<string, unknown>,
    keepLease: () => Promise<void>,
    report: NumberSweepReport,
  ): Promise<void> {
    const { store, log, meter } = this.#ports;
    const missing: NumberRef[] = [];
    let all = 0;
    for (let after: string | null = null; ; ) {
      await keepLease();
      const page: NumberRef[] = await store.page(after, PAGE);
      all += page.length;
      missing.push(...page.filter(({ remoteId }) => !seen.has(remoteId)));
      if (page.length < PAGE) break;
      after = page.at(-1)?.id ?? null;
    }
    requireBelievable(missing.length, all);
    for (const { orgId, id, remoteId } of missing) {
      await keepLease();
      // A list may lag behind.
      const reply = await voice.phoneNumbers.get(remoteId);
      if (reply.kind !== 'gone') continue;
      const noted = await store.note([{ orgId, id, remoteId, seen: 'GONE' }]);
      if (noted.length === 0) continue;
      report.missing += 1;
      meter.count('number.missing');
      log.warn({ event: 'number.missing', orgId, phoneNumberId: id }, 'a phone number was deleted in Vapi');
    }
  }
}

function isNews(row: ListedNumber, { status, digits }: { status: string; digits: string | null }): boolean {
  const state =
    status === 'blocked'
      ? 'BLOCKED'
      : status === 'active' && (digits ?? row.number) !== null
        ? 'ACTIVE'
        : 'ACTIVATING';
  return state !== row.state || (digits !== null && digits !== row.number);
}

/** The name is a managed field, too: without our stamp, the next saga could not be told from this one. */
function isDrifted(row: ListedNumber, number: RemoteResource): boolean {
  const assistantId = number['assistantId'] ?? null;
  const isRenamed = row.sagaId !== null && number['name'] !== stampedName(row.sagaId);
  return (
    isRenamed ||
    assistantId !== row.assistantId ||
    (row.wantedAssistantId ?? row.assistantId) !== row.assistantId
  );
}

function lateWords(status: string): string {
  return status === 'active'
    ? 'Vapi calls this number active, but shows no digits of it. An operator should look into the Vapi account.'
    : 'Vapi has not activated this number yet. This is checked again by itself.';
}

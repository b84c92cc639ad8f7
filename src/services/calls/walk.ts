import { type Observation, observeCall } from '../../domain/calls/observation.ts';
import type { Admission } from '../../ports/admission.ts';
import type { CallWalkName, CallWalkStore } from '../../ports/calls/call-store.ts';
import type { Job } from '../../ports/jobs.ts';
import type { Clock, Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { RemoteCalls, RemoteResource } from '../../ports/voice-provider.ts';
import { takingTurns } from '../admission/taking-turns.ts';
import { leaseKeeper, readable, type SweepStop, SweepStopped } from '../sweeping.ts';

/** A call in the list has its whole conversation, so a page is kept small. */
const PAGE = 100;
const LEASE_MS = 60_000;
const RETRY_MS = 10_000;
/** How long a request may wait for a permit, milliseconds. */
const WAIT_MS = 30_000;
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
/** How far a walk reads before the beginning of the one before it: clocks differ, and a list may lag. */
const OVERLAP_MS = 10 * MINUTE;
/** How far the first walk, and the daily one, reads back. */
const BACK_MS = 7 * DAY;

export interface CallWalkPorts {
  store: CallWalkStore;
  /** The provider of the active key. Null: there is no key, so nothing is walked. */
  voice(): { readonly calls: RemoteCalls } | null;
  /** The rate limiter. Absent: the rate is not limited. */
  admission: Admission | undefined;
  clock: Pick<Clock, 'now' | 'monotonic'>;
  log: Log;
  meter: Meter;
  /** Names this process. */
  owner: string;
}

export interface CallWalkSettings {
  /** 0: calls are known from events only. */
  callsPollIntervalMs: number;
  /** How long Vapi is assumed to take until its list shows a change, milliseconds. */
  callsListLagMs: number;
}

export interface CallWalkReport {
  walk: CallWalkName;
  /** UNSORTED: the list is not in the order of creation, or a page has one time only, so that what follows cannot be asked for. */
  stopped: SweepStop | 'UNSORTED' | null;
  retryAfterMs: number | null;
  /** Calls that were listed, and how many of them no event had reported. */
  listed: number;
  found: number;
  /** Calls that an earlier walk should have found. */
  late: number;
  /** Calls that the database does not take. */
  refused: number;
  completeThrough: string | null;
}

/** Reads Vapi's list of calls, so that the log is complete even if every event was lost. */
export class CallWalk {
  readonly #ports: CallWalkPorts;
  readonly #settings: CallWalkSettings;

  constructor(ports: CallWalkPorts, settings: CallWalkSettings) {
    this.#ports = ports;
    this.#settings = settings;
  }

  get jobs(): Job[] {
    const { callsPollIntervalMs: intervalMs } = this.#settings;
    const { store, owner } = this.#ports;
    if (intervalMs === 0) return [];
    return [
      {
        ...{ name: 'walk over calls', intervalMs, retryMs: Math.min(intervalMs, RETRY_MS) },
        run: async (stopping) => {
          const reports = await this.due(stopping);
          if (reports === null) return { kind: 'skipped' };
          const waiting = reports.find(({ retryAfterMs }) => retryAfterMs !== null);
          if (waiting === undefined) return { kind: 'ran' };
          return { kind: 'not_leader', leaseExpiresInMs: waiting.retryAfterMs ?? LEASE_MS };
        },
        release: () => store.releaseLease(owner),
      },
    ];
  }

  /** Walks by change, and once a day by creation. Null: there is no key. Throws `DatabaseError`. */
  async due(stopping?: AbortSignal): Promise<CallWalkReport[] | null> {
    const { store, clock } = this.#ports;
    const changed = await this.walk('CHANGED', stopping);
    if (changed === null) return null;
    const { walkedAt } = (await store.walks()).CREATED;
    const isDue = walkedAt === null || clock.now() - Date.parse(walkedAt) >= DAY;
    const created = isDue && changed.stopped === null ? await this.walk('CREATED', stopping) : null;
    return created === null ? [changed] : [changed, created];
  }

  /** One walk, now. Null: there is no key. Throws `DatabaseError`; everything that Vapi does is in the report. */
  async walk(name: CallWalkName, stopping?: AbortSignal): Promise<CallWalkReport | null> {
    const { store, log, meter } = this.#ports;
    const calls = this.#calls();
    if (calls === null) return null;
    const report: CallWalkReport = {
      ...{ walk: name, stopped: null, retryAfterMs: null, completeThrough: null },
      ...{ listed: 0, found: 0, late: 0, refused: 0 },
    };
    try {
      const proceed = leaseKeeper({ ...this.#ports, leaseMs: LEASE_MS, stopping });
      await proceed();
      const walks = await store.walks();
      const previous = walks[name].walkedAt;
      const { completeThrough } = walks.CHANGED;
      const through = completeThrough === null ? Number.NEGATIVE_INFINITY : Date.parse(completeThrough);
      const takeIn = (page: readonly RemoteResource[], atMs: number) =>
        this.#takeIn(page, atMs, through, report);
      const walkedAt = await this.#pages(calls, name, previous, proceed, takeIn);
      // Something in the list is not in the database, so that nothing is complete. The next walk reads it again.
      if (report.refused === 0) {
        report.completeThrough = await store.walkDone(
          name,
          previous,
          walkedAt,
          this.#settings.callsListLagMs,
        );
      }
      meter.count('call.walk_done');
    } catch (error) {
      if (error instanceof SweepStopped) {
        report.stopped = error.why;
        report.retryAfterMs = error.retryAfterMs;
      } else if (error instanceof UnsortedError) report.stopped = 'UNSORTED';
      else throw error;
      if (report.stopped !== 'NOT_LEADER' && report.stopped !== 'STOPPING') {
        meter.count('call.walk_stopped');
        log.error({ event: 'call.walk_stopped', ...report }, 'the walk over the calls stopped');
      }
      return report;
    }
    log.debug({ event: 'call.walk_done', ...report }, 'walked over the calls');
    return report;
  }

  #calls(): Pick<RemoteCalls, 'list'> | null {
    const { admission } = this.#ports;
    const voice = this.#ports.voice();
    if (voice === null) return null;
    return admission === undefined ? voice.calls : takingTurns(voice.calls, admission, 'calls', WAIT_MS);
  }

  /** Reads all pages, newest first, and takes in each. Returns when the walk began, on Vapi's clock. */
  async #pages(
    calls: Pick<RemoteCalls, 'list'>,
    name: CallWalkName,
    walkedAt: string | null,
    proceed: () => Promise<void>,
    takeIn: (page: readonly RemoteResource[], atMs: number) => Promise<void>,
  ): Promise<string> {
    const { clock } = this.#ports;
    const from =
      name === 'CREATED' || walkedAt === null ? clock.now() - BACK_MS : Date.parse(walkedAt) - OVERLAP_MS;
    const since = new Date(from).toISOString();
    const bound = name === 'CHANGED' ? { updatedAtGe: since } : { createdAtGe: since };
    const seen = new Set<string>();
    let began: number | null = null;
    let before: string | undefined;
    for (;;) {
      await proceed();
      const reply = await calls.list({
        ...{ ...bound, limit: PAGE },
        ...(before === undefined ? {} : { createdAtLe: before }),
      });
      const page = readable(reply);
      // Without the time of Vapi's answer, our own clock less what it may be ahead.
      const at = (reply.kind === 'ok' ? reply.at : undefined) ?? clock.now() - OVERLAP_MS / 2;
      began ??= at;
      const times = page.map(({ createdAt }) => Date.parse(String(createdAt)));
      if (times.some((time, i) => Number.isNaN(time) || time > (times[i - 1] ?? time)))
        throw new UnsortedError();
      await takeIn(
        page.filter(({ id }) => !seen.has(id)),
        at,
      );
      for (const { id } of page) seen.add(id);
      if (page.length < PAGE) return new Date(began).toISOString();
      if (times[0] === times.at(-1)) throw new UnsortedError();
      before = String(page.at(-1)?.['createdAt']);
    }
  }

  /** `through`: the completeThrough that this walk began with. */
  async #takeIn(
    page: readonly RemoteResource[],
    atMs: number,
    through: number,
    report: CallWalkReport,
  ): Promise<void> {
    const { store, meter, log } = this.#ports;
    const records = new Map(page.map((record) => [record.id, record]));
    const observations = [...records.values()]
      .map((record) => observeCall(record, { from: 'LIST', atMs }))
      .filter((observation) => observation !== null);
    const answers = await store.observe(observations);
    report.listed += page.length;
    report.refused += page.length - observations.length;
    for (const [i, answer] of answers.entries()) {
      const { vapiCallId } = observations[i] as Observation;
      if (answer.state === 'REFUSED') {
        report.refused += 1;
        meter.count('call.not_storable');
        log.error({ event: 'call.not_storable', vapiCallId, error: answer.error }, 'a call cannot be stored');
      } else if (answer.isNew) {
        report.found += 1;
        meter.count('call.found');
        const changedAt = Date.parse(String(records.get(vapiCallId)?.['updatedAt']));
        if (!(changedAt <= through)) continue;
        report.late += 1;
        await store.walkBack(new Date(changedAt).toISOString());
        meter.count('call.walk_late');
        log.error(
          { event: 'call.walk_late', walk: report.walk, vapiCallId },
          'Vapi listed a call later than CALLS_LIST_LAG_MS allows; completeThrough was too late',
        );
      }
    }
  }
}

class UnsortedError extends Error {}

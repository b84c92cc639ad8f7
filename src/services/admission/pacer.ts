import type { Admission, Admitted, Refused } from '../../ports/admission.ts';
import type { Clock } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import { BEAT_MS } from './replicas.ts';

/** How the account is shared. Requests are those to the voice provider; all figures are for all replicas together. */
export interface PaceSettings {
  /** At most; less while the provider says that it is too much. */
  requestsPerSecond: number;
  /** Requests that may go out at once after a quiet time. */
  burst: number;
  /** Requests, beside the burst, that only finishing and undoing may use. */
  reserve: number;
  /** From nothing back to the full rate, after the provider said that it was too much, milliseconds. */
  recoveryMs: number;
  /** How long a save may wait for its turn before it is refused, milliseconds. */
  waitMs: number;
  savesPerMinute: number;
  /** Saves of this replica in progress at once; more wait before they begin, so that what begins can also end. */
  inProgress: number;
}

/** The rate never falls below this share of the full one, or nothing would tell that it may rise again. */
const LEAST = 0.02;
/** Answers of one moment count once: they are one piece of news. */
const SAME_NEWS_MS = 1_000;
/** Saves of one organization that may wait; more are refused at once. */
const MOST_WAITING = 8;
/** No turn is said to be further away: by then the rate has recovered. */
const MOST_TOLD_MS = 60_000;
/** A replica that joins has its share after a beat of each other one and one of its own. */
const JOINING_MS = 2 * BEAT_MS;

/** How a wait ended. `no_share`: this replica has no share of the account, and cannot reach the database to ask for one. */
type Waited = 'granted' | 'late' | 'no_share';

interface Waiting {
  requests: number;
  end(how: Waited): void;
}

interface PacerPorts {
  clock: Clock;
  meter: Meter;
  /** Asks for this replica's share anew, which comes by `share`. False: nobody answered. Absent: a share holds for ever. */
  renew?: (() => Promise<boolean>) | undefined;
}

interface Next {
  queue: Waiting[];
  waiting: Waiting;
  /** Absent: what finishes or undoes. */
  orgId?: string;
}

/**
 * A token bucket with a queue that is fair to organizations. Who had a turn longest ago is next; whoever had one just now finds
 * only what a full bucket would lose, so that one who asks without end never uses up what the others come for. What finishes or
 * undoes a save goes first, and has a reserve.
 */
export class Pacer implements Admission {
  readonly #settings: PaceSettings;
  readonly #clock: Clock;
  readonly #meter: Meter;
  readonly #renew: PacerPorts['renew'];
  readonly #organizations = new Map<string, Waiting[]>();
  /** Who had a turn just now, and when; oldest first. */
  readonly #recent = new Map<string, number>();
  readonly #finishing: Waiting[] = [];
  #share = 1;
  #shareUntil = Number.POSITIVE_INFINITY;
  #renewing = false;
  #inProgress = 0;
  #tokens: number;
  #filledAt: number;
  #limited: { factor: number; at: number };
  #pausedUntil = 0;
  #wake: AbortController | undefined;

  constructor(settings: PaceSettings, ports: PacerPorts) {
    this.#settings = settings;
    this.#clock = ports.clock;
    this.#meter = ports.meter;
    this.#renew = ports.renew;
    this.#filledAt = this.#clock.monotonic();
    this.#limited = { factor: 1, at: this.#filledAt };
    this.#tokens = this.#capacity(this.#filledAt);
  }

  get savesPerMinute(): number {
    return this.#settings.savesPerMinute;
  }

  async admit(
    orgId: string,
    requests: number,
    withinMs: number = this.#settings.waitMs,
  ): Promise<Admitted | Refused> {
    const queue = this.#organizations.get(orgId) ?? [];
    if (this.#pauseMs() > withinMs || queue.length >= MOST_WAITING) return this.#refusal(orgId, requests);
    this.#organizations.set(orgId, queue);
    const waited = await this.#wait(queue, requests, withinMs);
    if (queue.length === 0 && this.#organizations.get(orgId) === queue) this.#organizations.delete(orgId);
    if (waited === 'no_share') {
      this.#meter.count('admission.refused');
      return { admitted: false, retryAfterMs: JOINING_MS, unreachable: true };
    }
    if (waited === 'late') return this.#refusal(orgId, requests);
    let isDone = false;
    return {
      admitted: true,
      unused: () => {
        this.#tokens += requests;
        this.#pump();
      },
      done: () => {
        if (isDone) return;
        isDone = true;
        this.#inProgress -= 1;
        this.#pump();
      },
    };
  }

  async turn(withinMs: number): Promise<boolean> {
    if (withinMs <= 0 || this.#pauseMs() > withinMs) return false;
    return (await this.#wait(this.#finishing, 1, withinMs)) === 'granted';
  }

  /** The provider said that it was too much: slower from now on, and nothing at all for as long as it says. */
  limited(retryAfterMs: number | null): void {
    const now = this.#clock.monotonic();
    this.#fill();
    if (now - this.#limited.at >= SAME_NEWS_MS || this.#limited.factor === 1) {
      this.#limited = { factor: Math.max(LEAST, this.#factor(now) / 2), at: now };
    }
    this.pause(retryAfterMs ?? 0);
  }

  /** Nothing is sent for so long. */
  pause(ms: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#clock.monotonic() + ms);
    this.#pump();
  }

  /** This replica's part of the account, 0 to 1; until then, by the monotonic clock, it is nobody else's. */
  share(part: number, until = Number.POSITIVE_INFINITY): void {
    this.#fill();
    this.#share = part;
    this.#shareUntil = until;
    this.#pump();
  }

  /** What operators watch. */
  get state(): { requestsPerSecond: number; waiting: number } {
    let waiting = this.#finishing.length;
    for (const queue of this.#organizations.values()) waiting += queue.length;
    return { requestsPerSecond: this.#rate(this.#clock.monotonic()) * 1_000, waiting };
  }

  #pauseMs(): number {
    return Math.max(0, this.#pausedUntil - this.#clock.monotonic());
  }

  /** The burst falls with the rate: what was saved up must not go out at the old pace. */
  #capacity(now: number): number {
    return (this.#settings.burst * this.#factor(now) + this.#settings.reserve) * this.#share;
  }

  #factor(now: number): number {
    const { factor, at } = this.#limited;
    return Math.min(1, factor + (now - at) / this.#settings.recoveryMs);
  }

  /** Requests a millisecond. */
  #rate(now: number): number {
    return (this.#settings.requestsPerSecond / 1_000) * this.#share * this.#factor(now);
  }

  #fill(): void {
    const now = this.#clock.monotonic();
    // The rate of the earlier end: it only rises in between, and a little less is safe.
    this.#tokens = Math.min(
      this.#capacity(now),
      this.#tokens + (now - this.#filledAt) * this.#rate(this.#filledAt),
    );
    this.#filledAt = now;
  }

  /** After `withinMs` it is late, and out of the queue. */
  async #wait(queue: Waiting[], requests: number, withinMs: number): Promise<Waited> {
    const over = new AbortController();
    let ended: Waited | undefined;
    const waiting: Waiting = {
      requests,
      end: (how) => {
        ended = how;
        over.abort();
      },
    };
    queue.push(waiting);
    this.#pump();
    if (ended === undefined) await this.#clock.sleep(withinMs, over.signal);
    if (ended !== undefined) return ended;
    queue.splice(queue.indexOf(waiting), 1);
    this.#pump();
    return 'late';
  }

  /** Grants whatever there is enough for, and comes back when there will be enough for the next. */
  #pump(): void {
    this.#wake?.abort();
    this.#wake = undefined;
    const now = this.#clock.monotonic();
    this.#fill();
    for (;;) {
      const next = this.#next(now);
      if (next === undefined) return;
      if (next.orgId !== undefined && now >= this.#shareUntil && this.#renew !== undefined) {
        void this.#renewThenPump(this.#renew);
        return;
      }
      // `done` comes back.
      if (next.orgId !== undefined && this.#inProgress >= this.#settings.inProgress) return;
      const inMs = Math.max(this.#pauseMs(), next.inMs);
      if (inMs > 0) {
        this.#comeBack(inMs);
        return;
      }
      this.#grant(next, now);
    }
  }

  #grant({ queue, waiting, orgId }: Next, now: number): void {
    queue.shift();
    this.#tokens -= waiting.requests;
    if (orgId !== undefined) {
      // Put in anew, so that the map stays in the order of turns.
      this.#recent.delete(orgId);
      this.#recent.set(orgId, now);
      this.#inProgress += 1;
    }
    waiting.end('granted');
  }

  /** Nobody has heard of this replica for so long that the others may have its share: no save begins before that is known. */
  async #renewThenPump(renew: () => Promise<boolean>): Promise<void> {
    if (this.#renewing) return;
    this.#renewing = true;
    const answered = await renew();
    this.#renewing = false;
    if (!answered) {
      // The others may have its share by now, so nothing is granted: a slow database must not lift the limit.
      for (const queue of this.#organizations.values()) {
        for (const waiting of queue.splice(0)) waiting.end('no_share');
      }
    }
    this.#pump();
  }

  #comeBack(inMs: number): void {
    if (!Number.isFinite(inMs)) return;
    const wake = new AbortController();
    this.#wake = wake;
    void this.#clock.sleep(Math.ceil(inMs), wake.signal).then(() => {
      if (!wake.signal.aborted) this.#pump();
    });
  }

  /** Who is next, and in how many milliseconds there is enough for it. */
  #next(now: number): (Next & { inMs: number }) | undefined {
    const [finishing] = this.#finishing;
    if (finishing !== undefined) {
      return { queue: this.#finishing, waiting: finishing, inMs: this.#until(finishing.requests) };
    }
    this.#forget(now);
    let next: { orgId: string; queue: Waiting[]; last: number } | undefined;
    for (const [orgId, queue] of this.#organizations) {
      const last = this.#recent.get(orgId) ?? Number.NEGATIVE_INFINITY;
      if (queue.length > 0 && (next === undefined || last < next.last)) next = { orgId, queue, last };
    }
    const [waiting] = next?.queue ?? [];
    if (next === undefined || waiting === undefined) return undefined;
    return { ...next, waiting, inMs: this.#enough(next.orgId, waiting.requests, now) };
  }

  /** In how many milliseconds there is enough for such a save of that organization, if it is next. */
  #enough(orgId: string, requests: number, now: number): number {
    const windowMs = this.#forget(now);
    const last = this.#recent.get(orgId);
    const enoughMs = this.#until(requests + this.#settings.reserve * this.#share);
    return last === undefined
      ? enoughMs
      : Math.min(this.#until(Number.POSITIVE_INFINITY), Math.max(last + windowMs - now, enoughMs));
  }

  /** Forgets turns that are no longer "just now": as long ago as an empty bucket takes to fill. Answers how long that is. */
  #forget(now: number): number {
    const windowMs = (this.#settings.burst * 1_000) / this.#settings.requestsPerSecond;
    for (const [orgId, at] of this.#recent) {
      if (now - at < windowMs) break;
      this.#recent.delete(orgId);
    }
    return windowMs;
  }

  /** As of the last `#fill`. More than a full bucket is never asked for: what is whole is sent whole, and paid for after. */
  #until(tokens: number): number {
    // A replica that has no share yet has nothing to fill.
    if (this.#share === 0) return Number.POSITIVE_INFINITY;
    const missing = Math.min(tokens, this.#capacity(this.#filledAt)) - this.#tokens;
    return missing <= 1e-6 ? 0 : missing / this.#rate(this.#filledAt);
  }

  /** When another try would be admitted, if nobody else came: after the pause, and after everybody who is waiting now. */
  #refusal(orgId: string, requests: number): Refused {
    this.#meter.count('admission.refused');
    this.#fill();
    const turnMs = this.#share === 0 ? JOINING_MS : this.#turnMs(orgId, requests, this.#filledAt);
    const ms = this.#pauseMs() + Math.min(turnMs, MOST_TOLD_MS);
    return { admitted: false, retryAfterMs: Math.max(1_000, Math.ceil(ms)) };
  }

  #turnMs(orgId: string, requests: number, now: number): number {
    let before = this.#finishing.length;
    for (const queue of this.#organizations.values()) {
      for (const waiting of queue) before += waiting.requests;
    }
    if (before === 0) return this.#enough(orgId, requests, now);
    // They leave no full bucket behind.
    const windowMs = this.#forget(now);
    const own = requests + this.#settings.reserve * this.#share;
    const turnMs = (this.#recent.get(orgId) ?? Number.NEGATIVE_INFINITY) + windowMs - now;
    return Math.max(0, turnMs, (before + own - this.#tokens) / this.#rate(now));
  }
}

import type { Admission, Admitted, Refused } from '../../ports/admission.ts';
import type { Clock } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';

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
}

/** The rate never falls below this share of the full one, or nothing would tell that it may rise again. */
const LEAST = 0.02;
/** Answers of one moment count once: they are one piece of news. */
const SAME_NEWS_MS = 1_000;
/** Saves of one organization that may wait; more are refused at once. */
const MOST_WAITING = 8;

interface Waiting {
  requests: number;
  grant(): void;
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
  readonly #organizations = new Map<string, Waiting[]>();
  /** Who had a turn just now, and when; oldest first. */
  readonly #recent = new Map<string, number>();
  readonly #finishing: Waiting[] = [];
  #share = 1;
  #tokens: number;
  #filledAt: number;
  #limited: { factor: number; at: number };
  #pausedUntil = 0;
  #wake: AbortController | undefined;

  constructor(settings: PaceSettings, ports: { clock: Clock; meter: Meter }) {
    this.#settings = settings;
    this.#clock = ports.clock;
    this.#meter = ports.meter;
    this.#filledAt = this.#clock.monotonic();
    this.#limited = { factor: 1, at: this.#filledAt };
    this.#tokens = this.#capacity;
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
    if (this.#pauseMs() > withinMs || queue.length >= MOST_WAITING) return this.#refusal();
    this.#organizations.set(orgId, queue);
    const granted = await this.#wait(queue, requests, withinMs);
    if (queue.length === 0 && this.#organizations.get(orgId) === queue) this.#organizations.delete(orgId);
    if (!granted) return this.#refusal();
    return {
      admitted: true,
      unused: () => {
        this.#tokens += requests;
        this.#pump();
      },
    };
  }

  async turn(withinMs: number): Promise<boolean> {
    if (withinMs <= 0 || this.#pauseMs() > withinMs) return false;
    return this.#wait(this.#finishing, 1, withinMs);
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

  /** This replica's part of the account, 0 to 1. */
  share(part: number): void {
    this.#fill();
    this.#share = part;
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

  get #capacity(): number {
    return (this.#settings.burst + this.#settings.reserve) * this.#share;
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
      this.#capacity,
      this.#tokens + (now - this.#filledAt) * this.#rate(this.#filledAt),
    );
    this.#filledAt = now;
  }

  /** True once granted; false after `withinMs`, and then it is out of the queue. */
  async #wait(queue: Waiting[], requests: number, withinMs: number): Promise<boolean> {
    const over = new AbortController();
    let granted = false;
    const waiting: Waiting = {
      requests,
      grant: () => {
        granted = true;
        over.abort();
      },
    };
    queue.push(waiting);
    this.#pump();
    if (!granted) await this.#clock.sleep(withinMs, over.signal);
    if (granted) return true;
    queue.splice(queue.indexOf(waiting), 1);
    this.#pump();
    return false;
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
      const inMs = Math.max(this.#pauseMs(), next.inMs);
      if (inMs > 0) {
        this.#comeBack(inMs);
        return;
      }
      next.queue.shift();
      this.#tokens -= next.waiting.requests;
      if (next.orgId !== undefined) {
        // Put in anew, so that the map stays in the order of turns.
        this.#recent.delete(next.orgId);
        this.#recent.set(next.orgId, now);
      }
      next.waiting.grant();
    }
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
  #next(
    now: number,
  ): { queue: Waiting[]; waiting: Waiting; orgId?: string | undefined; inMs: number } | undefined {
    const [finishing] = this.#finishing;
    if (finishing !== undefined) {
      return { queue: this.#finishing, waiting: finishing, inMs: this.#until(finishing.requests, now) };
    }
    const windowMs = this.#forget(now);
    let next: { orgId: string; queue: Waiting[]; last: number } | undefined;
    for (const [orgId, queue] of this.#organizations) {
      const last = this.#recent.get(orgId) ?? Number.NEGATIVE_INFINITY;
      if (queue.length > 0 && (next === undefined || last < next.last)) next = { orgId, queue, last };
    }
    const [waiting] = next?.queue ?? [];
    if (next === undefined || waiting === undefined) return undefined;
    const enoughMs = this.#until(
      Math.min(waiting.requests + this.#settings.reserve * this.#share, this.#capacity),
      now,
    );
    const inMs = this.#recent.has(next.orgId)
      ? Math.min(this.#until(this.#capacity, now), Math.max(next.last + windowMs - now, enoughMs))
      : enoughMs;
    return { ...next, waiting, inMs };
  }

  /** Forgets turns that are no longer "just now": as long ago as an empty bucket takes to fill. Answers how long that is. */
  #forget(now: number): number {
    const rate = this.#rate(now);
    const windowMs = rate > 0 ? (this.#settings.burst * this.#share) / rate : Number.POSITIVE_INFINITY;
    for (const [orgId, at] of this.#recent) {
      if (now - at < windowMs) break;
      this.#recent.delete(orgId);
    }
    return windowMs;
  }

  #until(tokens: number, now: number): number {
    // A replica that has no share yet has nothing to fill.
    if (this.#share === 0) return Number.POSITIVE_INFINITY;
    const missing = tokens - this.#tokens;
    return missing <= 1e-6 ? 0 : missing / this.#rate(now);
  }

  /** When it may be worth another try: after the pause, and after everybody who is waiting now. */
  #refusal(): Refused {
    this.#meter.count('admission.refused');
    const now = this.#clock.monotonic();
    let requests = 1;
    for (const queue of this.#organizations.values()) {
      for (const waiting of queue) requests += waiting.requests;
    }
    const rate = this.#rate(now);
    const turns = rate > 0 ? requests / rate : 1_000;
    const ms = this.#pauseMs() + Math.min(turns, 60_000);
    return { admitted: false, retryAfterMs: Math.max(1_000, Math.ceil(ms)) };
  }
}

import type { Clock } from '../../ports/system.ts';
import { ReadsLimitedError, type TenantReads } from '../../ports/tenant-reads.ts';

/** `forget`: every later read goes to the database again. A mutation begins with it: an earlier one may have changed the rows. */
export type SharedReads = TenantReads & { forget(): void };

/**
 * The reads of one request. The same read with the same arguments goes to the database once, whatever a document calls it.
 * Each read that does go there passes through `admit`. `open` runs with the first read: a save that reads nothing needs no client.
 */
export function shareReads(
  open: () => TenantReads,
  admit: <T>(read: () => Promise<T>) => Promise<T>,
): SharedReads {
  let opened: TenantReads | undefined;
  const answers = new Map<string, Promise<unknown>>();
  const shared = <Args extends unknown[], T>(
    name: keyof TenantReads,
    read: (reads: TenantReads, ...args: Args) => Promise<T>,
  ) => {
    return (...args: Args): Promise<T> => {
      const key = `${name}${JSON.stringify(args)}`;
      const known = answers.get(key) as Promise<T> | undefined;
      if (known !== undefined) return known;
      const answer = admit(() => {
        opened ??= open();
        return read(opened, ...args);
      });
      answers.set(key, answer);
      return answer;
    };
  };
  return {
    forget: () => answers.clear(),
    organization: shared('organization', (reads) => reads.organization()),
    agents: shared('agents', (reads) => reads.agents()),
    save: shared('save', (reads, id: string) => reads.save(id)),
    operation: shared('operation', (reads, id: string) => reads.operation(id)),
    openSave: shared('openSave', (reads) => reads.openSave()),
    phoneNumbers: shared('phoneNumbers', (reads, ...list: Parameters<TenantReads['phoneNumbers']>) =>
      reads.phoneNumbers(...list),
    ),
    documents: shared('documents', (reads, ...list: Parameters<TenantReads['documents']>) =>
      reads.documents(...list),
    ),
    calls: shared('calls', (reads, ...list: Parameters<TenantReads['calls']>) => reads.calls(...list)),
    appointments: shared('appointments', (reads, ...list: Parameters<TenantReads['appointments']>) =>
      reads.appointments(...list),
    ),
    phoneNumbersById: shared('phoneNumbersById', (reads, ids: readonly string[]) =>
      reads.phoneNumbersById(ids),
    ),
    documentsById: shared('documentsById', (reads, ids: readonly string[]) => reads.documentsById(ids)),
    callContentsById: shared('callContentsById', (reads, ids: readonly string[]) =>
      reads.callContentsById(ids),
    ),
    savesById: shared('savesById', (reads, ids: readonly string[]) => reads.savesById(ids)),
    callsById: shared('callsById', (reads, ids: readonly string[]) => reads.callsById(ids)),
    appointmentsById: shared('appointmentsById', (reads, ids: readonly string[]) =>
      reads.appointmentsById(ids),
    ),
  };
}

export interface ReadLimits {
  /** Reads of one organization that run at the same time. */
  perOrganization: number;
  /** Reads of all organizations that run at the same time. The saga journal does not pass through here. */
  total: number;
  /** Reads of one organization that may wait. One more is refused. */
  waiting: number;
  /** A read that has waited longer is refused when its turn comes, milliseconds. */
  waitMs: number;
}

export const READ_LIMITS: ReadLimits = { perOrganization: 6, total: 24, waiting: 100, waitMs: 5_000 };
const RETRY_AFTER_MS = 1_000;

interface Waiter {
  since: number;
  start(): void;
  refuse(error: Error): void;
}

/** Bounds the reads that run at the same time, so that one organization cannot take the database from the others. */
export class ReadGate {
  readonly #limits: ReadLimits;
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #running = new Map<string, number>();
  /** Organizations in the order of their turns; an organization that was served moves to the end. */
  readonly #waiting = new Map<string, Waiter[]>();
  #total = 0;

  constructor(limits: ReadLimits, clock: Pick<Clock, 'monotonic'>) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Throws `ReadsLimitedError` without having read anything. */
  async run<T>(orgId: string, read: () => Promise<T>): Promise<T> {
    if (!this.#waiting.has(orgId) && this.#hasRoom(orgId)) this.#take(orgId);
    else await this.#wait(orgId);
    try {
      return await read();
    } finally {
      this.#release(orgId);
    }
  }

  #hasRoom(orgId: string): boolean {
    const { perOrganization, total } = this.#limits;
    return this.#total < total && (this.#running.get(orgId) ?? 0) < perOrganization;
  }

  #take(orgId: string): void {
    this.#total += 1;
    this.#running.set(orgId, (this.#running.get(orgId) ?? 0) + 1);
  }

  #wait(orgId: string): Promise<void> {
    const queue = this.#waiting.get(orgId) ?? [];
    if (queue.length >= this.#limits.waiting) throw new ReadsLimitedError(RETRY_AFTER_MS);
    this.#waiting.set(orgId, queue);
    return new Promise((start, refuse) => {
      queue.push({ since: this.#clock.monotonic(), start, refuse });
    });
  }

  #release(orgId: string): void {
    this.#total -= 1;
    const running = (this.#running.get(orgId) ?? 1) - 1;
    if (running === 0) this.#running.delete(orgId);
    else this.#running.set(orgId, running);
    while (this.#startNext());
  }

  /** False: nothing that waits may start now. */
  #startNext(): boolean {
    for (const [orgId, queue] of this.#waiting) {
      if (!this.#hasRoom(orgId)) continue;
      const next = queue.shift();
      this.#waiting.delete(orgId);
      if (queue.length > 0) this.#waiting.set(orgId, queue);
      if (next === undefined) return true;
      if (this.#clock.monotonic() - next.since > this.#limits.waitMs) {
        next.refuse(new ReadsLimitedError(RETRY_AFTER_MS));
      } else {
        this.#take(orgId);
        next.start();
      }
      return true;
    }
    return false;
  }
}

import type { Lease } from '../ports/lease.ts';
import type { Clock } from '../ports/system.ts';
import type { ProviderReply, RemoteResource, RemoteResources } from '../ports/voice-provider.ts';

/** What the sweeps of all features have in common: why they stop, their lease, and what they do not believe. */

export type SweepStop =
  | 'NOT_LEADER'
  | 'STOPPING'
  | 'VAPI_UNAVAILABLE'
  | 'VAPI_UNAUTHORIZED'
  | 'TOO_MANY_MISSING';

/** Ends a sweep. What it has noted until then stays. */
export class SweepStopped extends Error {
  readonly why: SweepStop;
  /** NOT_LEADER: when the lease of the other replica lapses unless it is renewed, milliseconds. Otherwise null. */
  readonly retryAfterMs: number | null;
  constructor(why: SweepStop, retryAfterMs: number | null = null) {
    super(why);
    this.why = why;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Returns what is called before each step of a sweep: it ends the sweep if another replica sweeps now, or if this one stops. It renews the
 * lease after a quarter of it. Throws `SweepStopped` and `DatabaseError`.
 */
export function leaseKeeper({
  store,
  owner,
  leaseMs,
  clock,
  stopping,
}: {
  store: Pick<Lease, 'takeLease'>;
  owner: string;
  leaseMs: number;
  clock: Pick<Clock, 'monotonic'>;
  stopping?: AbortSignal | undefined;
}): () => Promise<void> {
  let askedAt = Number.NEGATIVE_INFINITY;
  return async () => {
    if (stopping?.aborted) throw new SweepStopped('STOPPING');
    const now = clock.monotonic();
    if (now - askedAt < leaseMs / 4) return;
    const waitMs = await store.takeLease(owner, leaseMs);
    if (waitMs > 0) throw new SweepStopped('NOT_LEADER', waitMs);
    askedAt = now;
  };
}

/** As many resources may be gone at once and be believed. */
const BELIEVABLE_MISSING = 3;

/** Throws `SweepStopped` if so many of all resources are missing that the key is probably wrong: more than three, and more than a fifth. */
export function requireBelievable(missing: number, all: number): void {
  if (missing > BELIEVABLE_MISSING && missing > all / 5) throw new SweepStopped('TOO_MANY_MISSING');
}

/** The value, or the end of this sweep: what cannot be read cannot be judged. */
export function readable<T>(reply: ProviderReply<T>): T {
  return reply.kind === 'ok' ? reply.value : unreadable(reply);
}

export function unreadable({ kind }: { kind: ProviderReply<never>['kind'] }): never {
  throw new SweepStopped(kind === 'unauthorized' ? 'VAPI_UNAUTHORIZED' : 'VAPI_UNAVAILABLE');
}

/** Vapi's largest page (docs/vapi.md#list-limit). */
const PAGE = 1_000;

/**
 * Yields all resources of one kind, a page at a time, newest first, each resource once. It walks back in time with an overlap, because a
 * page has no cursor (docs/vapi.md#list-paging). `proceed` is called before each request. Throws `SweepStopped`.
 */
export async function* listedPages(
  resources: Pick<RemoteResources, 'list'>,
  proceed: () => void | Promise<void>,
): AsyncGenerator<RemoteResource[]> {
  const seen = new Set<string>();
  let before: string | undefined;
  for (;;) {
    await proceed();
    const bound = before === undefined ? {} : { createdAtLe: before };
    const page = readable(await resources.list({ limit: PAGE, ...bound }));
    const fresh = page.filter(({ id }) => !seen.has(id));
    for (const { id } of fresh) seen.add(id);
    yield fresh;
    if (page.length < PAGE || fresh.length === 0) return;
    before = page.map((resource) => String(resource['createdAt'])).sort()[0];
  }
}

/** Points of a save at which something can happen to whoever makes it: a request, held on either side of its effect. */
import { vi } from 'vitest';
import { prompt, type Side } from '../support/faulty.ts';
import { lost, type PassingRequest, rpc } from '../support/proxy.ts';
import type { Organization } from './clients.ts';
import { PATIENCE_MS, type Replica, TIMES, type World } from './harness.ts';

/** Later than this, a request that got no answer is dead: that is what the servers are told. */
const LATE_MS = TIMES.VAPI_TIMEOUT_MS + TIMES.VAPI_LATE_MS;

export interface Trap {
  readonly at: 'rest' | 'vapi';
  readonly when: 'before' | 'after';
  readonly match: (world: World, organization: Organization) => (request: PassingRequest) => boolean;
}

export interface Caught {
  /** Every request has arrived where it is held. */
  readonly reached: Promise<void>;
  /** They go on; those that have been held for longer than a request to Vapi can be late are lost, unless all shall go on. */
  readonly release: (all?: 'all') => void;
  /** They are lost. */
  readonly drop: () => void;
}

type When = Trap['when'];

/** A call of a database function for the organization. */
export const calling = (name: string, when: When): Trap => ({
  at: 'rest',
  when,
  match: (_world, { orgId }) => rpc(name, orgId),
});

/** A request that puts this content into Vapi. */
export const putting = (method: 'POST' | 'PATCH', side: Side, what: string, when: When): Trap => ({
  at: 'vapi',
  when,
  match:
    (_world, { orgId }) =>
    ({ method: sent, body }) =>
      sent === method && body.includes(prompt(orgId, side, what)),
});

/** A request that deletes one of the organization's assistants. */
export const deleting = (when: When): Trap => ({
  at: 'vapi',
  when,
  match:
    ({ vapi }, { orgId }) =>
    ({ method, path }) =>
      method === 'DELETE' &&
      vapi.store
        .all()
        .some(({ id, metadata }) => path.endsWith(id) && JSON.stringify(metadata).includes(orgId)),
});

/** A look at all assistants, for whichever organization. */
export const listing = (when: When): Trap => ({
  at: 'vapi',
  when,
  match:
    () =>
    ({ method, path }) =>
      method === 'GET' && path === '/assistant',
});

/**
 * Holds the next such request of each of these replicas, or, where `times` is infinite, every one until they are let go: whoever
 * gets no answer in time sends it again, and then does not get past this point. `reached` when each trap has caught one, whosever
 * it is.
 */
export function catchAt(
  world: World,
  replicas: readonly Replica[],
  organization: Organization,
  name: string,
  traps: readonly Trap[],
  times = 1,
): Caught {
  const opened = Promise.withResolvers<'all' | undefined>();
  let isOpen = false;
  const open = (how: () => void) => {
    isOpen = true;
    how();
  };
  // Dropped with nobody waiting is no error.
  opened.promise.catch(() => undefined);
  const waiting = traps.map((trap) => {
    let caught = 0;
    const hold = async () => {
      caught += 1;
      const since = performance.now();
      const all = await opened.promise;
      if (trap.at === 'vapi' && all === undefined && performance.now() - since > LATE_MS) await lost();
    };
    const isMatch = trap.match(world, organization);
    const match = (request: PassingRequest) => !isOpen && isMatch(request);
    for (const replica of replicas) replica[trap.at].add({ match, times, [trap.when]: hold });
    return () => caught > 0;
  });
  const reached = vi.waitFor(
    () => {
      const missing = waiting.flatMap((isCaught, index) => (isCaught() ? [] : [index]));
      if (missing.length > 0) throw new Error(`${name}: trap ${missing.join(', ')} has caught nothing`);
    },
    { timeout: PATIENCE_MS, interval: 20 },
  );
  // Seen by whoever waits for it.
  reached.catch(() => undefined);
  return {
    reached,
    release: (all) => open(() => opened.resolve(all)),
    drop: () => open(() => opened.reject(new Error('dropped'))),
  };
}

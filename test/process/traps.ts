/** Points of a save at which something can happen to whoever makes it: a request, held on either side of its effect. */
import { vi } from 'vitest';
import { prompt, type Side } from '../support/faulty.ts';
import { type PassingRequest, rpc } from '../support/proxy.ts';
import type { Organization } from './clients.ts';
import { PATIENCE_MS, type Replica, type World } from './harness.ts';

export interface Trap {
  readonly at: 'rest' | 'vapi';
  readonly when: 'before' | 'after';
  readonly match: (world: World, organization: Organization) => (request: PassingRequest) => boolean;
}

export interface Caught {
  /** Every request has arrived where it is held. */
  readonly reached: Promise<void>;
  /** They go on. */
  readonly release: () => void;
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

/** Holds the next such request of each of these replicas; `reached` when each trap has caught one, whosever it is. */
export function catchAt(
  world: World,
  replicas: readonly Replica[],
  organization: Organization,
  name: string,
  traps: readonly Trap[],
): Caught {
  const opened = Promise.withResolvers<void>();
  // Dropped with nobody waiting is no error.
  opened.promise.catch(() => undefined);
  const waiting = traps.map((trap) => {
    let caught = 0;
    for (const replica of replicas) {
      replica[trap.at].add({
        match: trap.match(world, organization),
        [trap.when]: () => {
          caught += 1;
          return opened.promise;
        },
      });
    }
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
  return { reached, release: () => opened.resolve(), drop: () => opened.reject(new Error('dropped')) };
}

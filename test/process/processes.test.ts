/**
 * Real processes: two servers, a Postgres, and Vapi's stand-in over HTTP. Whatever is killed or stopped wherever, both
 * systems are equal afterwards, and everybody was told the truth.
 */
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import { CANARY_KEY } from '../support/app.ts';
import { prompt, type Side, strike } from '../support/faulty.ts';
import { type PassingRequest, rpc } from '../support/proxy.ts';
import { busyOrganization, type Fate, Organization } from './clients.ts';
import { PATIENCE_MS, type Replica, TIMES, World } from './harness.ts';
import { calling, catchAt, deleting, listing, putting, type Trap } from './traps.ts';

// Longer than all waits of the harness together, so that a wait that fails reports what it waited for.
vi.setConfig({ testTimeout: 900_000, hookTimeout: 900_000 });

/** Until it is over: whoever gets no answer in time asks again. */
const REJECT: FaultInput = { kind: 'reject', messages: ['no'], times: Infinity };
const rejecting = ({ orgId }: Organization) => strike(world.vapi, REJECT, orgId, 'Outbound', 'after');

let world: World;
let busy: Awaited<ReturnType<typeof busyOrganization>>;
beforeAll(async () => {
  world = await World.start();
  busy = await busyOrganization(world);
});
afterAll(async () => {
  await busy?.stop().catch(() => undefined);
  await world?.stop();
});

type When = Trap['when'];

/** Where something happens to a save. */
interface Place {
  readonly name: string;
  /** Both agents exist, or neither; or both, and somebody has deleted the inbound assistant. */
  readonly from: 'saved' | 'new' | 'deleted';
  /** Vapi rejects outbound, until this place is reached. */
  readonly isRejected?: boolean;
  readonly traps: (when: When) => readonly Trap[];
  /** How it may end. */
  readonly ends: readonly Fate[];
}

beforeEach(async () => {
  await Promise.all(world.replicas.map((replica) => replica.restore()));
});

interface Point {
  readonly name: string;
  readonly place: Place;
  readonly traps: readonly Trap[];
  /** Held before its effect, the request never arrives. */
  readonly lost: boolean;
  /** How it may end. */
  readonly ends: readonly Fate[];
}

/** Each of these, after the effect of its requests and before it; and then it has one after all, or never. */
function pointsOf(places: readonly Place[]): Point[] {
  return places.flatMap((place) => {
    const { name, ends } = place;
    const [before, after] = [place.traps('before'), place.traps('after')];
    return [
      { name: `${name}: after its effect`, place, traps: after, lost: false, ends: ends.slice(0, 1) },
      { name: `${name}: before its effect, which comes late`, place, traps: before, lost: false, ends },
      { name: `${name}: before its effect, which never comes`, place, traps: before, lost: true, ends },
    ];
  });
}

async function prepared(points: readonly Point[]): Promise<Map<Point, Organization>> {
  const made = await Promise.all(
    points.map(async (point) => {
      const { from } = point.place;
      const organization = await (from === 'new' ? Organization.make(world) : Organization[from](world));
      return [point, organization] as const;
    }),
  );
  return new Map(made);
}

/** Every save is told its end, the same wherever it is asked for, and both systems hold it. */
async function expectEnds(
  organizations: Map<Point, Organization>,
  replicas: readonly Replica[] = world.replicas,
): Promise<void> {
  await Promise.all(
    [...organizations].map(async ([{ name, ends }, organization]) => {
      const end = await organization.settled('after', replicas);
      expect([name, ends.includes(end) ? 'ends well' : end]).toEqual([name, 'ends well']);
      await organization.expectKept();
    }),
  );
}

const SIDES: readonly Side[] = ['Inbound', 'Outbound'];
const saved = { from: 'saved', ends: ['committed'] } as const;
const made = { from: 'new', ends: ['committed'] } as const;
const deleted = { from: 'deleted', ends: ['committed'] } as const;
const rejected = { isRejected: true, ends: ['rolled back'] } as const;

const OWNER: readonly Place[] = [
  { ...saved, name: 'begin_agents', traps: (when) => [calling('begin_agents', when)] },
  ...SIDES.map((side) => ({
    ...saved,
    name: `PATCH of ${side}`,
    traps: (when: When) => [putting('PATCH', side, 'after', when)],
  })),
  {
    ...saved,
    name: 'both PATCHes',
    traps: (when) => SIDES.map((side) => putting('PATCH', side, 'after', when)),
  },
  { ...saved, name: 'saga_commit', traps: (when) => [calling('saga_commit', when)] },
  {
    ...saved,
    ...rejected,
    name: 'saga_abort',
    traps: (when) => [calling('saga_abort', when)],
    // Until the direction is recorded, the save may still be made: nobody else has seen the rejection.
    ends: ['rolled back', 'committed'],
  },
  {
    ...saved,
    ...rejected,
    name: 'the undoing PATCH',
    traps: (when) => [putting('PATCH', 'Inbound', 'before', when)],
  },
  { ...saved, ...rejected, name: 'saga_rolled_back', traps: (when) => [calling('saga_rolled_back', when)] },
  ...SIDES.map((side) => ({
    ...made,
    name: `POST of ${side}`,
    traps: (when: When) => [putting('POST', side, 'after', when)],
  })),
  {
    ...made,
    name: 'both POSTs',
    traps: (when) => SIDES.map((side) => putting('POST', side, 'after', when)),
  },
  { ...made, name: 'saga_commit of a creation', traps: (when) => [calling('saga_commit', when)] },
  { ...made, ...rejected, name: 'the undoing DELETE', traps: (when) => [deleting(when)] },
  ...(['PATCH', 'POST'] as const).map((method) => ({
    ...deleted,
    name: `${method} in place of a deleted assistant`,
    traps: (when: When) => [putting(method, 'Inbound', 'after', when)],
  })),
  {
    ...deleted,
    name: 'saga_commit of an assistant made anew',
    traps: (when) => [calling('saga_commit', when)],
  },
];

/** A save of each of these at A, each held where it says. */
async function caughtAtA(points: readonly Point[]) {
  const organizations = await prepared(points);
  return { organizations, ...(await holdAtA(organizations)) };
}

async function holdAtA(organizations: Map<Point, Organization>) {
  const [a, b] = world.replicas;
  // On a slow machine some come to their points only after their lease: it must be A that goes on with them.
  const reached = Promise.withResolvers<void>();
  let isReached = false;
  const isLooking = rpc('saga_due');
  b.rest.add({
    match: (request) => !isReached && isLooking(request),
    times: Infinity,
    before: () => reached.promise,
  });
  const rejections: number[] = [];
  const caught = [...organizations].map(([point, organization]) => {
    if (point.place.isRejected) rejections.push(rejecting(organization));
    const held = catchAt(world, [a], organization, point.name, point.traps, Infinity);
    void organization.ask('after', a);
    return { point, ...held };
  });
  await Promise.all(caught.map((one) => one.reached));
  for (const id of rejections) world.vapi.faults.remove(id);
  isReached = true;
  reached.resolve();
  /** What was on its way arrives now, or never. */
  const letGo = (all?: 'all') => {
    for (const { point, release, drop } of caught) point.lost ? drop() : release(all);
  };
  return { letGo };
}

test('a server is killed at every point of a save: the other one ends its saves', async () => {
  const [a, b] = world.replicas;
  const { organizations, letGo } = await caughtAtA(pointsOf(OWNER));
  await a.kill();
  letGo();
  expect(await b.probe('/ready')).toBe(200);
  await a.start();
  await expectEnds(organizations);
});

/** How a save comes to be abandoned, for recovery to be killed at it. */
interface Abandoned extends Place {
  readonly left: Place;
  /** The owner recorded that it repeats a request: whoever takes the save over sends everything again. */
  readonly isRepeated?: true;
}

const byName = (name: string): Place => {
  const found = OWNER.find((place) => place.name === name);
  if (found === undefined) throw new Error(name);
  return found;
};
const repeated = { isRepeated: true } as const;
const changing = { ...saved, ...repeated, left: byName('PATCH of Inbound') };
const turning = { ...saved, ...rejected, left: byName('saga_abort') };
const creating = { ...made, ...repeated, left: byName('saga_commit of a creation') };

const RECOVERER: readonly Abandoned[] = [
  { ...changing, name: 'saga_takeover', traps: (when) => [calling('saga_takeover', when)] },
  {
    ...changing,
    name: 'PATCH of Inbound',
    traps: (when) => [putting('PATCH', 'Inbound', 'after', when)],
  },
  { ...changing, name: 'saga_commit', traps: (when) => [calling('saga_commit', when)] },
  {
    ...changing,
    ...rejected,
    name: 'saga_abort',
    traps: (when) => [calling('saga_abort', when)],
    ends: ['rolled back', 'committed'],
  },
  { ...turning, name: 'the undoing PATCH', traps: (when) => [putting('PATCH', 'Inbound', 'before', when)] },
  { ...turning, name: 'saga_rolled_back', traps: (when) => [calling('saga_rolled_back', when)] },
  { ...turning, from: 'new', name: 'the undoing DELETE', traps: (when) => [deleting(when)] },
  { ...creating, name: 'saga_hold, for the quarantine', traps: (when) => [calling('saga_hold', when)] },
  { ...creating, name: 'the look for stamps', traps: (when) => [listing(when)] },
  {
    ...creating,
    name: 'PATCH of what was adopted',
    traps: (when) => [putting('PATCH', 'Inbound', 'after', when)],
  },
  { ...creating, name: 'saga_commit of what was adopted', traps: (when) => [calling('saga_commit', when)] },
  {
    ...{ ...made, ...repeated },
    left: byName('both POSTs'),
    name: 'the second POST',
    traps: (when) => [putting('POST', 'Inbound', 'after', when)],
  },
];
/** Reached by the first takeover, at once; the others by a second one, after a quarantine. */
const isDirect = ({ left }: Abandoned) => [changing, turning].some((one) => one.left === left);

test('both servers are killed at every point of recovery: they end the saves after their restart', async () => {
  const [a, b] = world.replicas;
  // Left behind first: as if the last request before the kill had not arrived, except that the direction is recorded.
  const leaving = RECOVERER.flatMap((place) =>
    pointsOf([place]).map((point) => {
      const { left } = place;
      const turned = left === turning.left;
      const traps = left.traps(turned ? 'after' : 'before');
      const owner: Point = {
        name: `left at ${left.name}, for ${point.name}`,
        place: { ...left, from: place.from },
        traps,
        lost: !turned,
        ends: point.ends,
      };
      return { place, point, owner };
    }),
  );
  // Nobody takes anything over before every trap is set, however long that takes.
  await a.kill();
  await a.start({ SAVE_LEASE_MS: String(2 * PATIENCE_MS) });
  const { organizations, letGo } = await caughtAtA(leaving.map(({ owner }) => owner));
  await a.kill();
  letGo();

  const rejections: number[] = [];
  const caught = leaving.map(({ place, point, owner }) => {
    const organization = organizations.get(owner);
    if (organization === undefined) throw new Error(owner.name);
    // The recoverer is the one to see it rejected.
    if (place.isRejected && !place.left.isRejected) rejections.push(rejecting(organization));
    return { point, organization, ...catchAt(world, [a, b], organization, point.name, point.traps) };
  });
  const orgsOf = (left: typeof leaving) =>
    world.supabase.sql(left.map(({ owner }) => organizations.get(owner)?.orgId ?? ''));
  // The leases end, of those that are reached at once a little later: everything is then held at about the same time. The
  // long one of whoever is saved all the while ends with them, should A have been at it.
  await world.supabase.sql`
    update public.sagas
    set lease_until = clock_timestamp() + interval '1 millisecond' * case
      when org_id in ${orgsOf(leaving.filter(({ place }) => isDirect(place)))} then ${TIMES.VAPI_TIMEOUT_MS + TIMES.VAPI_LATE_MS}::integer
      else 0 end,
      ambiguous = ambiguous or org_id in ${orgsOf(leaving.filter(({ place }) => place.isRepeated === true))}
    where finished_at is null
      and (org_id in ${orgsOf(leaving)} or lease_until > clock_timestamp() + interval '1 minute')`;
  await a.start();
  await Promise.all(caught.map(({ reached }) => reached));
  for (const id of rejections) world.vapi.faults.remove(id);
  await Promise.all([a.kill(), b.kill()]);
  for (const { point, release, drop } of caught) (point.lost ? drop : release)();
  await Promise.all([a.start(), b.start()]);
  await expectEnds(new Map(caught.map(({ point, organization }) => [point, organization])));
});

test('ignores the writes of a process that resumes after its lease expired', async () => {
  const [a, b] = world.replicas;
  const points = pointsOf(OWNER).filter(({ lost }) => !lost);
  const { organizations, letGo } = await caughtAtA(points);
  a.child.signal('SIGSTOP');
  // The other one ends everything, and makes one more save of each.
  await expectEnds(organizations, [b]);
  await Promise.all(
    [...organizations.values()].map(async (organization) => {
      expect(await organization.settled('next', [b])).toBe('committed');
      await organization.expectKept();
    }),
  );

  // Whatever the stopped one sends from now on, except for the organization that is saved all the while.
  const isOurs = ({ method, body }: PassingRequest) => method !== 'GET' && /: (before|after)\./.test(body);
  const sent = a.vapi.add({ match: isOurs, times: Infinity, before: async () => undefined });
  // Later than any bound.
  letGo('all');
  a.child.signal('SIGCONT');
  // A shutdown waits for everything that was running.
  a.child.signal('SIGTERM');
  expect(await a.child.exited).toEqual({ code: 0, signal: null });
  expect(sent()).toBe(0);

  // The database was told by its functions; Vapi can refuse no stale write, so those that came late are there.
  const stale: string[] = [];
  for (const [{ name, traps }, organization] of organizations) {
    const kept = await organization.expectKept().then(
      () => true,
      () => false,
    );
    if (traps.some(({ at }) => at === 'rest')) expect([name, kept]).toEqual([name, true]);
    else if (!kept) stale.push(name);
  }
  expect(stale).not.toEqual([]);
  // The next sweep repairs them.
  await a.start({ RECONCILE_INTERVAL_MS: '300' });
  await vi.waitFor(
    async () => {
      for (const organization of organizations.values()) {
        await organization.expectKept({ mayBeRepaired: true });
      }
    },
    { timeout: PATIENCE_MS, interval: 300 },
  );
  // Without it from here on: nothing else shall need it.
  await a.kill();
});

test('a server is killed where Vapi refuses the undo: locks the organization until an operator ends the save', async () => {
  const [a, b] = world.replicas;
  const place: Place = {
    ...saved,
    ...rejected,
    name: 'saga_needs_attention',
    traps: (when) => [calling('saga_needs_attention', when)],
  };
  const points = pointsOf([place]);
  const organizations = await prepared(points);
  for (const { orgId } of organizations.values()) {
    const refuse: FaultInput = { kind: 'reject', messages: ['that voice is gone'], times: Infinity };
    strike(world.vapi, refuse, orgId, 'Inbound', 'before');
  }
  const { letGo } = await holdAtA(organizations);
  await a.kill();
  letGo();
  const open = async () =>
    (
      await world.supabase.sql<{ orgId: string; id: string; status: string }[]>`
        select org_id as "orgId", id, status from public.agent_saves
        where finished_at is null and org_id in ${world.supabase.sql([...organizations.values()].map(({ orgId }) => orgId))}`
    ).map((row) => ({ ...row }));
  const attention = points.map(() => expect.objectContaining({ status: 'NEEDS_ATTENTION' }));
  await expect.poll(open, { timeout: PATIENCE_MS }).toEqual(attention);
  world.vapi.faults.clear();
  const settling = (await open()).map(async ({ orgId, id }) => {
    // By hand: what Vapi has refused until now.
    const undo = world.vapi.requests.findLast(
      ({ status, body }) =>
        status === 400 && JSON.stringify(body).includes(prompt(orgId, 'Inbound', 'before')),
    );
    await fetch(`${world.vapi.url}${undo?.path}`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${CANARY_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify(undo?.body),
    });
    await vi.waitFor(
      async () => {
        const args = ['--org', orgId, '--save', id, '--to', 'ROLLED_BACK'];
        const command = world.spawn(['scripts/settle-save.ts', ...args], b.environment);
        expect(await command.exited, command.err).toEqual({ code: 0, signal: null });
      },
      { timeout: PATIENCE_MS, interval: 500 },
    );
  });
  await Promise.all(settling);
  await a.start();
  await expectEnds(organizations);
});

/** Every place, in one of its three ways, which differ from place to place. */
function third(offset: number): Point[] {
  return OWNER.flatMap((place, index) => {
    const points = pointsOf([place]);
    return points.slice((index + offset) % 3, ((index + offset) % 3) + 1);
  });
}

/** Its owner lives, and may have so little left of its lease when it learns that it has begun that it sends nothing. */
const outlived = (points: readonly Point[]) =>
  points.map((point): Point => {
    const isBegin = point.place.name === 'begin_agents';
    return isBegin ? { ...point, ends: ['committed', 'rolled back'] } : point;
  });

test('every connection is cut, at every point of a save: the same server ends it', async () => {
  const [a] = world.replicas;
  const { organizations, letGo } = await caughtAtA(outlived(third(0)));
  a.rest.cut();
  a.vapi.cut();
  letGo();
  // Now the database's own: of both servers, in whatever they are doing.
  await world.supabase.sql`
    select pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator'`;
  await expectEnds(organizations);
});

test('Postgres is killed at every point of a save and restarted: every save is reported as it ended', async () => {
  const { organizations, letGo } = await caughtAtA(outlived(third(1)));
  await world.killPostgres();
  letGo();
  for (const replica of world.replicas) {
    await expect.poll(() => replica.probe('/ready'), { timeout: PATIENCE_MS }).toBe(503);
    expect(await replica.probe('/health')).toBe(200);
  }
  await world.startDatabase();
  for (const replica of world.replicas) {
    await expect.poll(() => replica.probe('/ready'), { timeout: PATIENCE_MS }).toBe(200);
    expect(replica.child.isRunning).toBe(true);
  }
  await expectEnds(organizations);
});

test('everything is killed at every point of a save: the saves end after the next start', async () => {
  const [a, b] = world.replicas;
  const { organizations, letGo } = await caughtAtA(third(2));
  await Promise.all([a.kill(), b.kill(), world.killPostgres()]);
  letGo();
  await world.startDatabase();
  await Promise.all([a.start(), b.start()]);
  await expectEnds(organizations);
});

test('SIGTERM: finishes and answers the running save, fails the readiness probe, and begins nothing new', async () => {
  const [a] = world.replicas;
  const [running, late] = [await Organization.saved(world), await Organization.saved(world)];
  const held = catchAt(world, [a], running, 'saga_commit', [calling('saga_commit', 'before')]);
  const answer = running.ask('after', a);
  await held.reached;
  a.child.signal('SIGTERM');
  await expect.poll(() => a.probe('/ready'), { timeout: PATIENCE_MS }).toBe(503);
  expect(await a.probe('/health')).toBe(200);
  const refused = await fetch(`${a.origin}/graphql`, { method: 'POST' });
  expect(refused.status).toBe(503);
  expect(await refused.json()).toMatchObject({ errors: [{ extensions: { code: 'SHUTTING_DOWN' } }] });
  expect(await late.ask('after', a)).toBeNull();
  expect(a.child.isRunning).toBe(true);
  held.release();
  expect(await answer).toMatchObject({ __typename: 'UpdateAgentsSuccess' });
  expect(await a.child.exited).toEqual({ code: 0, signal: null });
  expect(await running.settled('after')).toBe('committed');
  await running.expectKept();
  const { agents } = await late.expectKept();
  expect(agents[0]?.revision).toBe(1);
});

test('a second signal ends the process at once; the other server ends its save', async () => {
  const [a] = world.replicas;
  const organization = await Organization.saved(world);
  const held = catchAt(world, [a], organization, 'saga_commit', [calling('saga_commit', 'before')]);
  const answer = organization.ask('after', a);
  await held.reached;
  a.child.signal('SIGINT');
  await expect.poll(() => a.probe('/ready'), { timeout: PATIENCE_MS }).toBe(503);
  a.child.signal('SIGTERM');
  expect(await a.child.exited).toEqual({ code: 130, signal: null });
  expect(await answer).toBeNull();
  held.drop();
  expect(await organization.settled('after')).toBe('committed');
  await organization.expectKept();
});

test('every answer given during all of this matches the final state', async () => {
  await expect.poll(busy.committed, { timeout: PATIENCE_MS }).toBeGreaterThan(20);
  const organization = await busy.stop();
  const { agents } = await organization.expectKept();
  expect(agents[0]?.revision).toBe(busy.committed() + 1);
});

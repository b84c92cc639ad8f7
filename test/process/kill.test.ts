/**
 * Real processes: two servers, a Postgres, and Vapi's stand-in over HTTP. Whatever is killed or stopped wherever, both
 * systems are equal afterwards, and everybody was told the truth.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import { type Side, strike } from '../support/faulty.ts';
import { busyOrganization, type Fate, Organization } from './clients.ts';
import { PATIENCE_MS, World } from './harness.ts';
import {
  type Caught,
  calling,
  callingForAll,
  catchAt,
  deleting,
  listing,
  putting,
  type Trap,
} from './traps.ts';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

const REJECT: FaultInput = { kind: 'reject', messages: ['no'] };

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
  /** Both agents exist, or neither. */
  readonly from: 'saved' | 'new';
  /** Vapi rejects outbound, once. */
  readonly rejected?: boolean;
  readonly traps: (when: When) => readonly Trap[];
  readonly end: Fate;
  /** Where it matters: the end if the request never arrives. */
  readonly endIfLost?: Fate;
}

interface Point {
  readonly name: string;
  readonly place: Place;
  readonly traps: readonly Trap[];
  /** Held before its effect, the request never arrives. */
  readonly lost: boolean;
  readonly end: Fate;
}

/** Each of these, after the effect of its requests and before it; and then it has one after all, or never. */
function pointsOf(places: readonly Place[]): Point[] {
  return places.flatMap((place) => {
    const { name, end, endIfLost = end } = place;
    const [before, after] = [place.traps('before'), place.traps('after')];
    return [
      { name: `${name}: after its effect`, place, traps: after, lost: false, end },
      { name: `${name}: before its effect, which comes late`, place, traps: before, lost: false, end },
      {
        name: `${name}: before its effect, which never comes`,
        place,
        traps: before,
        lost: true,
        end: endIfLost,
      },
    ];
  });
}

async function prepared(points: readonly Point[]): Promise<Map<Point, Organization>> {
  const made = await Promise.all(
    points.map(async (point) => {
      const organization = await (point.from === 'saved'
        ? Organization.saved(world)
        : Organization.make(world));
      if (point.rejected) strike(world.vapi, REJECT, organization.orgId, 'Outbound', 'after');
      return [point, organization] as const;
    }),
  );
  return new Map(made);
}

/** Every save is told its end, the same wherever it is asked for, and both systems hold it. */
async function expectEnds(organizations: Map<Point, Organization>): Promise<void> {
  await Promise.all(
    [...organizations].map(async ([{ name, end }, organization]) => {
      expect([name, await organization.settled('after')]).toEqual([name, end]);
      await organization.expectKept();
    }),
  );
}

const SIDES: readonly Side[] = ['Inbound', 'Outbound'];
const saved = { from: 'saved', end: 'committed' } as const;
const made = { from: 'new', end: 'committed' } as const;
const rejected = { rejected: true, end: 'rolled back' } as const;

const OWNER: readonly Place[] = [
  { ...saved, name: 'save_begin', traps: (when) => [calling('save_begin', when)] },
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
  { ...saved, name: 'save_commit', traps: (when) => [calling('save_commit', when)] },
  {
    ...saved,
    ...rejected,
    name: 'save_abort',
    traps: (when) => [calling('save_abort', when)],
    // Until the direction is recorded, the save may still be made.
    endIfLost: 'committed',
  },
  {
    ...saved,
    ...rejected,
    name: 'the undoing PATCH',
    traps: (when) => [putting('PATCH', 'Inbound', 'before', when)],
  },
  { ...saved, ...rejected, name: 'save_rolled_back', traps: (when) => [calling('save_rolled_back', when)] },
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
  { ...made, name: 'save_commit of a creation', traps: (when) => [calling('save_commit', when)] },
  { ...made, ...rejected, name: 'the undoing DELETE', traps: (when) => [deleting(when)] },
];

test('a server is killed at every point of a save; the other one ends what it had begun', async () => {
  const [a, b] = world.replicas;
  const organizations = await prepared(pointsOf(OWNER));
  const caught = [...organizations].map(([point, organization]) => {
    const held = catchAt(world, [a], organization, point.name, point.traps);
    organization.ask('after', a);
    return { point, ...held };
  });
  await Promise.all(caught.map(({ reached }) => reached));
  await a.kill();
  // What was on its way arrives after the death of its sender.
  for (const { point, release, drop } of caught) (point.lost ? drop : release)();
  expect(await b.probe('/ready')).toBe(200);
  await a.start();
  await expectEnds(organizations);
});

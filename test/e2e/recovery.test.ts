/** What was not finished: taken up by whoever is there, carried on or undone, and never twice. Two replicas throughout. */
import { randomUUID } from 'node:crypto';
import type { GraphQLClient } from 'graphql-request';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import type { SagaSettings } from '../../src/services/saga/settings.ts';
import { CANARY_KEY, createTestApp, supabaseConfig, type TestApp } from '../support/app.ts';
import { both, ended, makeBoth, prompt, saveWhenFree, strike, writes } from '../support/faulty.ts';
import { gate } from '../support/gate.ts';
import { expectAnswer, readAgents, readSave, save } from '../support/operations.ts';
import { accessToken, type HttpProxy, lost, rpc, startProxy } from '../support/proxy.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';
import { expectLockstep, type Systems, systemsOf } from '../support/systems.ts';

const SETTINGS: SagaSettings = {
  requestTimeoutMs: 1_500,
  lateMs: 1_000,
  // The guard leaves 4.5 seconds for tries.
  leaseMs: 7_000,
  // Later than any second takeover.
  deadlineMs: 60_000,
  answerMs: 7_000,
};
const REJECT: FaultInput = { kind: 'reject', messages: ['no'] };

// They mostly wait.
vi.setConfig({ maxConcurrency: 6, testTimeout: 300_000 });
const PATIENTLY = { timeout: 120_000 };

/** A server that looks for abandoned saves all the time, and its own way to the database. */
interface Replica extends TestApp {
  proxy: HttpProxy;
}

let supabase: TestSupabase;
let vapi: VapiStandIn;
let one: Replica;
let two: Replica;
beforeAll(async () => {
  supabase = await createTestSupabase();
  vapi = await startVapiStandIn({ key: CANARY_KEY });
  [one, two] = await Promise.all([startReplica(SETTINGS), startReplica(SETTINGS)]);
});
afterAll(async () => {
  await Promise.all([one.stop(), two.stop()]);
  await vapi.stop();
  await supabase.stop();
});

/** `recovers: false`: it leaves abandoned saves to the others. */
async function startReplica(
  settings: SagaSettings,
  { of = supabase, recovers = true }: { of?: TestSupabase; recovers?: boolean } = {},
): Promise<Replica> {
  const proxy = await startProxy(of.url);
  const app = await createTestApp({
    settings,
    supabase: of,
    vapi,
    ...(recovers ? { recoveryIntervalMs: 50 } : {}),
    config: { supabase: { ...supabaseConfig(of), url: proxy.url } },
  });
  const stop = async () => {
    await app.stop();
    await proxy.stop();
  };
  return { ...app, proxy, stop };
}

/** An organization of its own for each test, so that they can run at the same time. */
class Organization {
  readonly orgId: string;
  readonly replica: Replica;
  readonly client: GraphQLClient;

  constructor(orgId: string, replica: Replica, client: GraphQLClient) {
    this.orgId = orgId;
    this.replica = replica;
    this.client = client;
  }

  static async make(replica = one): Promise<Organization> {
    const orgId = await replica.supabase.createOrganization();
    return new Organization(orgId, replica, await clientOf(orgId, replica));
  }

  static async saved(replica = one): Promise<Organization> {
    const organization = await Organization.make(replica);
    await makeBoth(organization, both(organization.orgId, 'before'));
    return organization;
  }

  /** The same organization at another replica. */
  at(replica: Replica): Promise<GraphQLClient> {
    return clientOf(this.orgId, replica);
  }

  /** A save that is in doubt. */
  async pending(what: string): Promise<string> {
    return expectAnswer(await save(this.client, both(this.orgId, what)), 'SavePendingError').save.id;
  }

  /** One whose creation got no answer. */
  async abandoned(): Promise<string> {
    this.strike({ kind: 'reset-after' }, 'Inbound', 'after');
    return this.pending('after');
  }

  strike(fault: FaultInput, side: 'Inbound' | 'Outbound', what: string): number {
    return strike(vapi, fault, this.orgId, side, what);
  }

  /** Its saves are taken over by the other replica, and not by luck. */
  leaveToTwo(): void {
    one.proxy.add({ match: rpc('saga_takeover', this.orgId), times: Infinity, before: lost });
  }

  writes(side: 'Inbound' | 'Outbound', what: string) {
    return writes(vapi, this.orgId, side, what);
  }

  /** The first request with this content takes effect when the test says so; its sender waits no longer than ever. */
  late(side: 'Inbound' | 'Outbound', what: string): () => Promise<void> {
    const late = gate();
    this.strike({ kind: 'hold', until: late.until }, side, what);
    return async () => {
      late.open();
      await expect.poll(() => this.writes(side, what)[0]?.appliedAt, PATIENTLY).not.toBeNull();
    };
  }

  systems(): Promise<Systems> {
    return systemsOf(this.replica, this.orgId);
  }

  /** Both systems hold this, and nothing is open. */
  async expectHolds(what: string | null): Promise<Systems> {
    const systems = await expectLockstep(this.replica, this.orgId);
    const prompts = systems.agents.map(({ config }) => config.systemPrompt);
    const sides = ['Inbound', 'Outbound'] as const;
    expect(prompts).toEqual(what === null ? [] : sides.map((side) => prompt(this.orgId, side, what)));
    return systems;
  }

  async openSave(): Promise<{ id: string; status: string; epoch: number; quarantineMs: number } | undefined> {
    const [open] = await this.replica.supabase.sql<
      { id: string; status: string; epoch: number; quarantineMs: number }[]
    >`select id, status, epoch,
        coalesce(extract(epoch from not_before - clock_timestamp()) * 1000, 0)::int as "quarantineMs"
      from public.agent_saves where org_id = ${this.orgId} and finished_at is null`;
    return open;
  }
}

async function clientOf(orgId: string, replica: Replica): Promise<GraphQLClient> {
  const caller = { orgId, userId: randomUUID() };
  return replica.clientFor(await accessToken(replica.supabase, replica.proxy.url, caller));
}

describe.concurrent('a request that takes effect late', () => {
  test('inside the fence: the next save has waited, so the late request does not overtake it', async () => {
    const org = await Organization.saved();
    const arrive = org.late('Inbound', 'one');
    // The second attempt succeeds; the first is still on its way.
    expectAnswer(await save(org.client, both(org.orgId, 'one')), 'UpdateAgentsSuccess');
    const refused = expectAnswer(await save(org.client, both(org.orgId, 'two')), 'SaveInProgressError');
    expect(refused).toMatchObject({ status: 'COMMITTED' });
    await arrive();
    await org.expectHolds('one');
    await saveWhenFree(org, both(org.orgId, 'two'));
    await org.expectHolds('two');
  });

  test('inside the quarantine: the undo has waited, so it is applied last', async () => {
    const org = await Organization.saved();
    const arrive = org.late('Inbound', 'one');
    org.strike({ kind: 'hang-before', times: Infinity, match: { nth: 2 } }, 'Inbound', 'one');
    org.strike(REJECT, 'Outbound', 'one');
    const saveId = await org.pending('one');
    await expect
      .poll(() => org.openSave(), { ...PATIENTLY, interval: 20 })
      .toMatchObject({
        id: saveId,
        status: 'ROLLING_BACK',
        quarantineMs: expect.toSatisfy((ms) => ms < 1_500),
      });
    await arrive();
    expect(await ended(org, saveId)).toMatchObject({ status: 'ROLLED_BACK' });
    await org.expectHolds('before');
    // The fence: an undo may be late as well.
    const refused = expectAnswer(await save(org.client, both(org.orgId, 'two')), 'SaveInProgressError');
    expect(refused).toMatchObject({ saveId, status: 'ROLLED_BACK' });
    await saveWhenFree(org, both(org.orgId, 'two'));
    await org.expectHolds('two');
  });
});

describe.concurrent('recovery continues after the database did not answer', () => {
  const LOST = (['before', 'after'] as const).map((when) => ({ when }));
  /** At either replica: whichever takes the save. */
  const lose = (org: Organization, step: string, when: 'before' | 'after') => {
    const text = step === 'saga_due' ? '' : org.orgId;
    const struck = [one, two].map(({ proxy }) => proxy.add({ match: rpc(step, text), [when]: lost }));
    return () => expect(Math.max(...struck.map((times) => times()))).toBe(1);
  };

  test.for(LOST)('handing over, lost $when it is done', async ({ when }) => {
    const org = await Organization.make();
    const expectLost = lose(org, 'saga_hold', when);
    const saveId = await org.abandoned();
    expect(await ended(org, saveId)).toMatchObject({ status: 'COMMITTED' });
    expectLost();
    await org.expectHolds('after');
  });

  test.for(
    ['saga_due', 'saga_takeover', 'saga_commit'].flatMap((step) => LOST.map((rest) => ({ step, ...rest }))),
  )('going forward, $step, lost $when it is done', async ({ step, when }) => {
    const org = await Organization.make();
    const saveId = await org.abandoned();
    const expectLost = lose(org, step, when);
    expect(await ended(org, saveId)).toMatchObject({ status: 'COMMITTED' });
    expectLost();
    await org.expectHolds('after');
  });

  test.for(
    ['saga_abort', 'saga_takeover', 'saga_rolled_back'].flatMap((step) =>
      LOST.map((rest) => ({ step, ...rest })),
    ),
  )('turning back, $step, lost $when it is done', async ({ step, when }) => {
    const org = await Organization.make();
    const saveId = await org.abandoned();
    org.strike(REJECT, 'Outbound', 'after');
    const expectLost = lose(org, step, when);
    expect(await ended(org, saveId)).toMatchObject({ status: 'ROLLED_BACK' });
    expectLost();
    await org.expectHolds(null);
  });

  test('a rejected save is undone when Vapi is back', async () => {
    const org = await Organization.saved();
    const before = await org.systems();
    let away = true;
    const reach = async () => (away ? lost() : undefined);
    for (const { proxy } of [one, two]) {
      const match = rpc('saga_rolled_back', org.orgId);
      proxy.add({ match, times: Infinity, before: reach });
    }
    org.strike(REJECT, 'Outbound', 'after');
    const saveId = await org.pending('after');
    expect(await org.openSave()).toMatchObject({ id: saveId, status: 'ROLLING_BACK' });
    away = false;
    expect(await ended(org, saveId)).toMatchObject({ status: 'ROLLED_BACK' });
    expect(await org.systems()).toEqual(before);
  });

  test.for(['saga_commit', 'saga_rolled_back'])(
    'asks again if the answer of %s comes after its deadline',
    async (step) => {
      const org = await Organization.saved();
      // A lease in which a request to the database can last to its deadline, 2 seconds here, and be repeated.
      const long = { ...SETTINGS, leaseMs: 12_000, answerMs: 12_000 };
      const patient = await startReplica(long, { recovers: false });
      try {
        const stuck = gate();
        patient.proxy.add({ match: rpc(step, org.orgId), after: stuck.until });
        if (step === 'saga_rolled_back') org.strike(REJECT, 'Outbound', 'after');
        const answer = await save(await org.at(patient), both(org.orgId, 'after'));
        const isCommit = step === 'saga_commit';
        expect(answer.__typename).toBe(isCommit ? 'UpdateAgentsSuccess' : 'SaveFailedError');
        await org.expectHolds(isCommit ? 'after' : 'before');
        stuck.open();
      } finally {
        await patient.stop();
      }
    },
  );

  test('the key finds a save of which it is unknown whether it began', async () => {
    const org = await Organization.make();
    one.proxy.add({ match: rpc('begin_agents', org.orgId), times: 3, after: lost });
    const input = { ...both(org.orgId, 'after'), idempotencyKey: randomUUID() };
    const told = expectAnswer(await save(org.client, input), 'SavePendingError');
    expect(await ended(org, told.save.id)).toMatchObject({ status: 'COMMITTED' });
    const again = expectAnswer(await save(await org.at(two), input), 'UpdateAgentsSuccess');
    expect(again).toMatchObject({ save: { id: told.save.id }, agents: [{ revision: 1 }, { revision: 1 }] });
    await org.expectHolds('after');
  });
});

describe.concurrent('two owners', () => {
  test('one loses its lease before it commits: the other commits once, and both return the same answer', async () => {
    const org = await Organization.saved();
    const stuck = gate();
    one.proxy.add({ match: rpc('saga_commit', org.orgId), times: Infinity, before: stuck.until });
    org.leaveToTwo();
    const answer = save(org.client, both(org.orgId, 'after'));
    await stuck.reached;
    const saveId = (await org.openSave())?.id ?? '';
    expect(await ended(org, saveId)).toMatchObject({ status: 'COMMITTED' });
    stuck.open();
    // Its own commit is refused by the epoch, with what the save has become.
    const told = await answer;
    expect(told).toMatchObject({ save: { id: saveId } });
    expect(['UpdateAgentsSuccess', 'SavePendingError']).toContain(told.__typename);
    const { agents } = await org.expectHolds('after');
    expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
  });

  test('the epoch stops an owner that wants to roll back after its lease while another goes forward', async () => {
    const org = await Organization.saved();
    // The first owner sees outbound rejected, once, and is stuck on its way to say so.
    org.strike(REJECT, 'Outbound', 'after');
    const stuck = gate();
    one.proxy.add({ match: rpc('saga_abort', org.orgId), times: Infinity, before: stuck.until });
    const answer = save(org.client, both(org.orgId, 'after'));
    await stuck.reached;
    // Whoever takes over has seen inbound applied, and is now in the middle of sending outbound again.
    const sending = gate();
    org.strike({ kind: 'hold', until: sending.until }, 'Outbound', 'after');
    await sending.reached;
    stuck.open();
    const told = expectAnswer(await answer, 'SavePendingError');
    expect(told.save.status).toBe('APPLYING');
    sending.open();
    expect(await ended(org, told.save.id)).toMatchObject({ status: 'COMMITTED' });
    await org.expectHolds('after');
    // Nothing was undone.
    expect(org.writes('Inbound', 'before')).toHaveLength(1);
  });

  test('exactly one replica takes over a save', async () => {
    const org = await Organization.make();
    const saveId = await org.abandoned();
    await ended(org, saveId);
    const takeovers = [one, two]
      .flatMap(({ log }) => log)
      .filter((line) => line.includes(saveId) && line.includes('taking over'))
      .map((line) => (JSON.parse(line) as { epoch: number }).epoch)
      .sort();
    expect(takeovers).toEqual([2]);
    expect(org.writes('Inbound', 'after').map(({ method }) => method)).toEqual(['POST', 'PATCH']);
    await org.expectHolds('after');
  });

  test('the same key at the other replica returns the same save, while it is undecided and afterwards', async () => {
    const org = await Organization.saved();
    const input = { ...both(org.orgId, 'after'), idempotencyKey: randomUUID() };
    const stuck = gate();
    one.proxy.add({ match: rpc('saga_commit', org.orgId), times: Infinity, before: stuck.until });
    org.leaveToTwo();
    const first = save(org.client, input);
    await stuck.reached;
    const client = await org.at(two);
    const second = save(client, input);
    const saveId = (await org.openSave())?.id ?? '';
    await ended(org, saveId);
    stuck.open();
    const after = expectAnswer(await save(client, input), 'UpdateAgentsSuccess');
    expect(after.save).toMatchObject({ id: saveId, status: 'COMMITTED' });
    for (const told of await Promise.all([first, second])) {
      if (told.__typename === 'UpdateAgentsSuccess') expect(told).toEqual(after);
      else expect(expectAnswer(told, 'SavePendingError').save.id).toBe(saveId);
    }
    // And after a restart.
    const restarted = await startReplica(SETTINGS, { recovers: false });
    try {
      expect(await save(await org.at(restarted), input)).toEqual(after);
    } finally {
      await restarted.stop();
    }
    const { agents } = await org.expectHolds('after');
    expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
  });
});

describe.concurrent('a save ends with any accepted settings', () => {
  const SHORT: SagaSettings = {
    requestTimeoutMs: 1_000,
    leaseMs: 5_000,
    deadlineMs: 5_100,
    // Longer than the lease, and than the deadline.
    lateMs: 5_500,
    answerMs: 5_000,
  };
  // Not among the others: they would do its work.
  let alone: TestSupabase;
  let short: Replica;
  beforeAll(async () => {
    alone = await createTestSupabase();
    short = await startReplica(SHORT, { of: alone });
  });
  afterAll(async () => {
    await short.stop();
    await alone.stop();
  });

  test('a quarantine longer than the lease: undone', async () => {
    const org = await Organization.saved(short);
    org.strike({ kind: 'reset-after', times: Infinity }, 'Inbound', 'after');
    org.strike(REJECT, 'Outbound', 'after');
    expect(await ended(org, await org.pending('after'))).toMatchObject({ status: 'ROLLED_BACK' });
    await org.expectHolds('before');
  });

  test('a quarantine longer than the lease and the deadline: created', async () => {
    const org = await Organization.make(short);
    // Past its deadline by far; one attempt forward all the same.
    expect(await ended(org, await org.abandoned())).toMatchObject({ status: 'COMMITTED' });
    await org.expectHolds('after');
  });

  test('a save that cannot be continued does not delay the recovery of others', async () => {
    const poisoned = await Organization.make();
    const stuck = await poisoned.abandoned();
    await supabase.sql`update public.sagas set mapping_version = 99 where id = ${stuck}`;
    const org = await Organization.make();
    expect(await ended(org, await org.abandoned())).toMatchObject({ status: 'COMMITTED' });
    await expect
      .poll(() => [...one.log, ...two.log].filter((line) => line.includes(stuck)).join(''), PATIENTLY)
      .toContain('unknown mapping version 99');
    expect(await readSave(poisoned.client, stuck)).toMatchObject({ status: 'APPLYING' });
    await supabase.sql`update public.sagas set mapping_version = 1 where id = ${stuck}`;
    expect(await ended(poisoned, stuck)).toMatchObject({ status: 'COMMITTED' });
    await poisoned.expectHolds('after');
  });
});

// One at a time: a sweep looks at every organization.
describe('the next sweep finds what no protocol can exclude', () => {
  const lateWrites = async () => {
    const text = await (await fetch(`${one.origin}/metrics`)).text();
    return Number(/event="vapi.late_write"} (\d+)/.exec(text)?.[1] ?? 0);
  };

  test.for(['committed', 'rolled back'])(
    'repairs and counts a change that arrives later than every bound, its save %s',
    async (how) => {
      const org = await Organization.saved();
      const arrive = org.late('Inbound', 'one');
      if (how === 'committed') {
        expectAnswer(await save(org.client, both(org.orgId, 'one')), 'UpdateAgentsSuccess');
      } else {
        org.strike({ kind: 'hang-before', times: Infinity, match: { nth: 2 } }, 'Inbound', 'one');
        org.strike(REJECT, 'Outbound', 'one');
        expect((await ended(org, await org.pending('one'))).status).toBe('ROLLED_BACK');
      }
      await saveWhenFree(org, both(org.orgId, 'two'));
      const counted = await lateWrites();
      await arrive();
      expect(JSON.stringify((await org.systems()).assistants)).toContain(prompt(org.orgId, 'Inbound', 'one'));

      expect(await one.app.sweep()).toMatchObject({ repaired: 1, drifted: 0, adopted: 0 });
      await org.expectHolds('two');
      expect(await lateWrites()).toBe(counted + 1);
    },
  );

  test.for(['committed', 'rolled back'])(
    'deletes the assistant of a creation that arrives later than every bound, its save %s',
    async (how) => {
      const org = await Organization.make();
      const arrive = org.late('Inbound', 'one');
      if (how === 'rolled back') org.strike(REJECT, 'Outbound', 'one');
      const end = await ended(org, await org.pending('one'));
      expect(end.status).toBe(how === 'committed' ? 'COMMITTED' : 'ROLLED_BACK');
      await arrive();
      const kept = how === 'committed' ? 2 : 0;
      expect((await org.systems()).assistants).toHaveLength(kept + 1);
      // Left alone until the save has been closed for longer than any late request of its own.
      expect(await one.app.sweep()).toMatchObject({ orphansDeleted: 0 });
      await expect.poll(async () => (await one.app.sweep())?.orphansDeleted, PATIENTLY).toBe(1);
      await org.expectHolds(how === 'committed' ? 'one' : null);
    },
  );

  test('of two assistants with the stamp, recovery keeps the oldest and deletes the other', async () => {
    const org = await Organization.make();
    const arrive = org.late('Inbound', 'one');
    // Recovery does not find it, makes it again, and that answer is lost as well.
    org.strike({ kind: 'reset-after', match: { nth: 2 } }, 'Inbound', 'one');
    const saveId = await org.pending('one');
    const made = async () =>
      (await org.systems()).assistants.filter((assistant) =>
        JSON.stringify(assistant).includes(prompt(org.orgId, 'Inbound', 'one')),
      );
    await expect.poll(async () => (await made()).length, PATIENTLY).toBe(1);
    const oldest = (await made())[0]?.['id'];
    await arrive();
    expect(await made()).toHaveLength(2);
    expect(await ended(org, saveId)).toMatchObject({ status: 'COMMITTED' });
    expect(org.writes('Inbound', 'one').map(({ method }) => method)).toEqual(['POST', 'POST', 'PATCH']);
    const { agents } = await org.expectHolds('one');
    expect(agents[0]?.vapi_assistant_id).toBe(oldest);
  });

  test('finds the assistant of an earlier owner behind any number of newer ones', async () => {
    const org = await Organization.make();
    const saveId = await org.abandoned();
    const [made] = (await org.systems()).assistants;
    // Many in the same millisecond: a page ends in the middle of them.
    const strangers = Array.from({ length: 2_500 }, () =>
      String(vapi.store.create(String(made?.['orgId']), { name: 'somebody else' })['id']),
    );
    expect(await ended(org, saveId)).toMatchObject({ status: 'COMMITTED' });
    expect(org.writes('Inbound', 'after').map(({ method }) => method)).toEqual(['POST', 'PATCH']);
    await org.expectHolds('after');
    for (const id of strangers) vapi.dashboardDelete(id);
  });

  test('an assistant is made anew, its answer lost: undone, it is as missing as before; done, adopted', async () => {
    const org = await Organization.saved();
    const missing = (await org.systems()).agents[0]?.vapi_assistant_id ?? '';
    vapi.dashboardDelete(missing);
    await one.app.sweep();
    const anew = async (what: string) => {
      const input = both(org.orgId, what);
      const wanted = { ...input, inbound: { ...input.inbound, recreateIfMissing: true } };
      return expectAnswer(await save(org.client, wanted), 'SavePendingError').save.id;
    };

    org.strike({ kind: 'reset-after' }, 'Inbound', 'one');
    org.strike(REJECT, 'Outbound', 'one');
    expect(await ended(org, await anew('one'))).toMatchObject({ status: 'ROLLED_BACK' });
    expect((await org.systems()).assistants).toHaveLength(1);
    expect((await readAgents(org.client)).INBOUND).toMatchObject({
      vapiAssistantId: missing,
      revision: 1,
      sync: { status: 'MISSING' },
    });

    // Once, however often the save is refused because the fence of the first still stands.
    org.strike({ kind: 'reset-after' }, 'Inbound', 'two');
    const saveId = await vi.waitFor(() => anew('two'), { ...PATIENTLY, interval: 100 });
    expect(await ended(org, saveId)).toMatchObject({ status: 'COMMITTED' });
    const { agents } = await org.expectHolds('two');
    expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
    expect(agents[0]?.vapi_assistant_id).not.toBe(missing);
  });
});

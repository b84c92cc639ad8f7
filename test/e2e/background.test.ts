/** What a server does beside its requests: it shares its account, cleans up, comes back after an outage, and stops. */
import { gql } from 'graphql-request';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { AppConfig } from '../../src/app.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import type { PaceSettings } from '../../src/services/admission/pacer.ts';
import {
  CANARY_KEY,
  createTestApp,
  PATIENT_SETTINGS,
  type TestApp,
  type TestAppOptions,
} from '../support/app.ts';
import { both, ended, strike } from '../support/faulty.ts';
import { gate } from '../support/gate.ts';
import { expectAnswer, save } from '../support/operations.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

const PLENTY: PaceSettings = {
  ...{ requestsPerSecond: 1_000, burst: 1_000, reserve: 4, recoveryMs: 60_000, waitMs: 60_000 },
  ...{ savesPerMinute: 1_000, inProgress: 32 },
};

let supabase: TestSupabase;
let vapi: VapiStandIn;
const running: TestApp[] = [];
beforeAll(async () => {
  supabase = await createTestSupabase();
  vapi = await startVapiStandIn({ key: CANARY_KEY });
});
afterEach(async () => {
  for (const app of running.splice(0)) await app.stop();
  supabase.faults.clear();
  vapi.reset();
});
afterAll(async () => {
  await vapi?.stop();
  await supabase?.stop();
});

async function start(
  pace: Partial<PaceSettings> | null,
  { config, ...options }: TestAppOptions = {},
): Promise<TestApp> {
  const shared: Partial<AppConfig> = pace === null ? {} : { pace: { ...PLENTY, ...pace } };
  const app = await createTestApp({
    ...{ supabase, vapi, settings: PATIENT_SETTINGS, ...options },
    config: { ...shared, ...config },
  });
  running.push(app);
  return app;
}

async function waiting({ origin }: TestApp): Promise<number> {
  const text = await (await fetch(`${origin}/metrics`)).text();
  return Number(/^lockstep_vapi_waiting (\d+)$/m.exec(text)?.[1] ?? 0);
}

const SETTLE = gql`
  mutation ($input: SettleDriftInput!) {
    settleDrift(input: $input) { __typename }
  }
`;

test.each(['sweep', 'settleDrift'] as const)(
  'a request of %s to Vapi waits for its permit, as a save does',
  async (what) => {
    const app = await start({ inProgress: 1 });
    const [first, second] = [await app.newCaller(), await app.newCaller()];
    expectAnswer(await save(second.client, both(second.orgId, 'old')), 'UpdateAgentsSuccess');
    const middle = gate();
    strike(vapi, { kind: 'hold', until: middle.until }, first.orgId, 'Inbound', 'held');
    const saved = save(first.client, both(first.orgId, 'held'));
    await middle.reached;
    const looks = () => vapi.requests.filter(({ method }) => method === 'GET').length;
    const before = looks();
    const work =
      what === 'sweep'
        ? app.app.sweep()
        : second.client.request(SETTLE, { input: { role: 'INBOUND', resolution: 'ADOPT' } });
    const went = work.then(() => 'went' as const);
    await expect.poll(() => Promise.race([went, waiting(app)]), { interval: 20 }).toBe(1);
    expect(looks()).toBe(before);
    middle.open();
    expectAnswer(await saved, 'UpdateAgentsSuccess');
    await work;
    expect(looks()).toBeGreaterThan(before);
  },
);

test('the journal names the user who resolved a drift, and whose saves per minute it counts among', async () => {
  const app = await start({});
  const { client, orgId, userId } = await app.newCaller();
  expectAnswer(await save(client, both(orgId, 'old')), 'UpdateAgentsSuccess');
  await client.request(SETTLE, { input: { role: 'INBOUND', resolution: 'REVERT' } });
  const rows = await supabase.sql`
    select kind, actor from public.agent_saves where org_id = ${orgId} order by started_at`;
  expect([...rows]).toEqual([
    { kind: 'USER', actor: userId },
    { kind: 'REVERT', actor: userId },
  ]);
});

test('a replica begins no save before it has its share of the account', async () => {
  for (let beat = 0; beat < 200; beat += 1) {
    supabase.faults.next('/rest/v1/rpc/replica_beat', { status: 503, body: { code: 'PGRST002' } });
  }
  const app = await start({ waitMs: 300 }, { recoveryIntervalMs: 3_600_000 });
  const { client, orgId } = await app.newCaller();
  const answer = await save(client, both(orgId, 'early'));
  expect(['RateLimitedError', 'UnavailableError']).toContain(answer.__typename);
  supabase.faults.clear();
  await expect
    .poll(async () => (await save(client, both(orgId, 'early'))).__typename, { interval: 200 })
    .toBe('UpdateAgentsSuccess');
});

test('a cleanup continues until everything that has expired is deleted', async () => {
  const app = await start(null);
  const { client, orgId } = await app.newCaller();
  expectAnswer(await save(client, both(orgId, 'old')), 'UpdateAgentsSuccess');
  await supabase.sql`
    insert into public.sagas select (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid(),
        'idempotency_key', 'key ' || n, 'finished_at', now() - interval '100 hours'))).*
      from public.sagas s, generate_series(1, 1100) n where s.org_id = ${orgId}`;
  await app.app.cleanUp();
  const [left] = await supabase.sql`
    select count(*)::integer from public.agent_saves where org_id = ${orgId} and idempotency_key is not null`;
  expect(left).toEqual({ count: 0 });
});

test('background work continues after an outage of the database', async () => {
  const app = await start(null, { recoveryIntervalMs: 50 });
  const logged = (message: string) => () =>
    app.log.some((line) => line.includes('"work":"recovery"') && line.includes(message));
  supabase.outage.begin('503');
  try {
    await expect.poll(logged('background work fails')).toBe(true);
  } finally {
    supabase.outage.end();
  }
  await expect.poll(logged('background work succeeds again')).toBe(true);
});

test('a server that stops is not ready, and waits for saves that continue after their answer', async () => {
  const app = await start(null, { settings: { ...PATIENT_SETTINGS, answerMs: 200 } });
  const caller = await app.newCaller();
  const middle = gate();
  strike(vapi, { kind: 'hold', until: middle.until }, caller.orgId, 'Inbound', 'held');
  const { save: pending } = expectAnswer(
    await save(caller.client, both(caller.orgId, 'held')),
    'SavePendingError',
  );
  await middle.reached;
  expect((await fetch(`${app.origin}/ready`)).status).toBe(200);
  const stopped = app.app.stop(60_000);
  const ready = await fetch(`${app.origin}/ready`);
  expect([ready.status, await ready.json()]).toEqual([503, { ready: false }]);
  middle.open();
  await stopped;
  const [row] = await supabase.sql`select status from public.agent_saves where id = ${pending.id}`;
  expect(row).toEqual({ status: 'COMMITTED' });
  const other = await start(null);
  expect(await ended({ client: other.clientFor(caller.token) }, pending.id)).toMatchObject({
    status: 'COMMITTED',
  });
});

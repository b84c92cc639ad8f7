/** Reads of one organization do not take the database from another one, nor from its saves. */
import { gql } from 'graphql-request';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { READ_LIMITS } from '../../src/services/reads/share-reads.ts';
import { type Caller, createTestApp, supabaseConfig, type TestApp } from '../support/app.ts';
import { gate } from '../support/gate.ts';
import { accessToken, type HttpProxy, startProxy } from '../support/proxy.ts';

let lockstep: TestApp;
let proxy: HttpProxy;
let greedy: Caller;
let other: Caller;
beforeAll(async () => {
  const first = await createTestApp();
  await first.app.stop(0);
  proxy = await startProxy(first.supabase.url);
  lockstep = await createTestApp({
    supabase: first.supabase,
    vapi: first.vapi,
    config: { supabase: { ...supabaseConfig(first.supabase), url: proxy.url, timeoutMs: 60_000 } },
  });
  const callerOf = async (): Promise<Caller> => {
    const caller = await lockstep.newCaller();
    const token = await accessToken(first.supabase, proxy.url, caller);
    return { ...caller, token, client: lockstep.clientFor(token) };
  };
  [greedy, other] = [await callerOf(), await callerOf()];
});
afterEach(() => proxy.clear());
afterAll(async () => {
  await lockstep?.stop();
  await proxy?.stop();
  await lockstep?.vapi.stop();
  await lockstep?.supabase.stop();
});

const times = (n: number, field: (index: number) => string) =>
  Array.from({ length: n }, (_, i) => field(i)).join(' ');

test('reads a row once per request, whatever its aliases', async () => {
  lockstep.supabase.requests.reset();
  await greedy.client.request(`{ ${times(10, (n) => `o${n}: organization { id }`)}
    ${times(5, (n) => `a${n}: agents { id sync { status } }`)} ${times(5, (n) => `r${n}: agent(role: INBOUND) { id }`)}
    ${times(5, (n) => `c${n}: calls(first: 3) { nodes { id } }`)}
    ${times(5, (n) => `s${n}: agentSave(id: "00000000-0000-4000-8000-000000000000") { id }`)} }`);
  expect(lockstep.supabase.requests.all.map(({ path }) => path).sort()).toEqual([
    // The open save, and the save of that id.
    '/rest/v1/agent_saves',
    '/rest/v1/agent_saves',
    '/rest/v1/agents',
    '/rest/v1/organizations',
    '/rest/v1/rpc/list_page',
  ]);
});

test('another organization reads and saves while all reads of one organization wait; excess reads are refused', async () => {
  const held = gate();
  let arrived = 0;
  proxy.add({
    match: ({ path }) => path === '/rest/v1/rpc/list_page',
    times: Number.POSITIVE_INFINITY,
    before: () => {
      arrived += 1;
      return held.until();
    },
  });
  const page = (n: number) => `c${n}: calls(first: ${n + 1}) { nodes { id } }`;
  const reads = Array.from({ length: 20 }, () =>
    greedy.client.request(`{ ${times(30, page)} }`).then(
      () => null,
      (error: { response: { errors: { extensions: { code: string; retryAfterMs: number } }[] } }) =>
        error.response.errors[0]?.extensions,
    ),
  );
  await expect.poll(() => arrived).toBe(READ_LIMITS.perOrganization);

  expect(await other.client.request('{ organization { id } }')).toEqual({
    organization: { id: other.orgId },
  });
  const save = gql`mutation { updateAgents(input: { inbound: { systemPrompt: "You answer calls." } }) { __typename } }`;
  for (const { client } of [other, greedy]) {
    expect(await client.request(save)).toEqual({ updateAgents: { __typename: 'UpdateAgentsSuccess' } });
  }
  expect(arrived).toBe(READ_LIMITS.perOrganization);
  held.open();
  const refused = (await Promise.all(reads)).filter((one) => one !== null);
  expect(refused.length).toBeGreaterThan(0);
  for (const one of refused) expect(one).toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 1_000 });
});

test('the ledger of calls takes its turn among the reads of its organization', async () => {
  const held = gate();
  let arrived = 0;
  proxy.add({
    match: ({ path }) => path === '/rest/v1/rpc/call_ledger',
    times: Number.POSITIVE_INFINITY,
    before: () => {
      arrived += 1;
      return held.until();
    },
  });
  const ledger = (n: number) => `l${n}: callLedger(from: "2026-01-${10 + n}T00:00:00Z") { stored }`;
  const most = READ_LIMITS.perOrganization;
  const asked = greedy.client.request<object>(`{ ${times(most + 5, ledger)} }`);
  await expect.poll(() => arrived).toBe(most);
  // Answered after the others would have arrived: it takes the same way.
  await other.client.request('{ organization { id } }');
  expect(arrived).toBe(most);
  held.open();
  expect(Object.keys(await asked)).toHaveLength(most + 5);
});

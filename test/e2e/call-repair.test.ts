/** The log of calls against the calls that the stand-in lists: complete whatever became of the events, and honest about how far. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Secret } from '../../src/domain/secret.ts';
import type { CallScriptInput } from '../../src/local/vapi/call-script.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { save } from '../support/operations.ts';

const SECRET = 'events-secret-1f0c9b7a';
const CREDENTIAL = randomUUID();

let lockstep: TestApp;
let caller: Caller;
let assistantId: string;
beforeAll(async () => {
  lockstep = await createTestApp({
    config: {
      calls: { callsPollIntervalMs: 3_600_000, callsListLagMs: 60_000 },
      webhook: {
        publicUrl: 'https://lockstep.example.test',
        credentialId: CREDENTIAL,
        secrets: [new Secret(SECRET)],
        signatureHeader: 'x-signature',
        timestampHeader: 'x-timestamp',
      },
    },
  });
  lockstep.vapi.setCredentials([{ id: CREDENTIAL, secret: SECRET, scheme: 'hmac' }]);
  caller = await lockstep.newCaller();
  await save(caller.client, { inbound: { systemPrompt: 'Answer.' } });
  const [agent] = await lockstep.supabase.sql<{ id: string }[]>`
    select vapi_assistant_id as id from public.agents where org_id = ${caller.orgId}`;
  assistantId = agent?.id ?? '';
  // Where this server really listens.
  await fetch(`${lockstep.vapi.url}/assistant/${assistantId}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${lockstep.vapi.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      server: { url: `${lockstep.origin}/vapi/events`, credentialId: CREDENTIAL, timeoutSeconds: 20 },
      serverMessages: ['status-update', 'end-of-call-report', 'tool-calls'],
    }),
  });
});
afterAll(() => lockstep?.stop());

const play = async (script: CallScriptInput = {}): Promise<string> => {
  const { call } = await lockstep.vapi.playCall({ assistantId, customer: null, ...script });
  await lockstep.vapi.callsIdle();
  await lockstep.app.applyCallEvents();
  return String(call['id']);
};
const LOST: CallScriptInput = { faults: [{ kind: 'lost', event: '*' }] };

async function rowOf(vapiCallId: string): Promise<Record<string, unknown> | undefined> {
  const [row] = await lockstep.supabase.sql`
    select l.*, c.transcript, c.analysis from public.call_logs l left join public.call_contents c on c.call_id = l.id
    where vapi_call_id = ${vapiCallId}`;
  return row;
}

test('a call of the stand-in arrives in the log, signed as Vapi signs', async () => {
  const id = await play();
  expect(await rowOf(id)).toMatchObject({ org_id: caller.orgId, outcome: 'COMPLETED', channel: 'WEB' });
  expect((await rowOf(id))?.['transcript']).not.toBeNull();
});

test('a call whose events are all lost is as complete as one whose events came, in every field that the list has', async () => {
  const cost = 0.2147;
  const came = await play({ cost });
  const lost = await play({ cost, ...LOST });
  expect(await rowOf(lost)).toBeUndefined();
  const reports = await lockstep.app.walkCalls();
  expect(reports?.map(({ stopped }) => stopped)).toEqual([null, null]);
  const fields = async (id: string) => {
    const [row] = await lockstep.supabase.sql`
      select direction, channel, outcome, ended_reason, cost_usd, cost_parts, summary, analysis, agent_id,
        (select jsonb_agg(m - 'secondsFromStart') from jsonb_array_elements(transcript) m) as words
      from public.call_logs l join public.call_contents c on c.call_id = l.id where vapi_call_id = ${id}`;
    return row;
  };
  const expected = await fields(came);
  expect(expected?.['words']).not.toEqual([]);
  expect(await fields(lost)).toEqual(expected);
  expect(await rowOf(lost)).toMatchObject({ outcome: 'COMPLETED', cost_usd: '0.2147' });
});

test('every call is found, also where the list has several pages', async () => {
  const ids = await Promise.all(
    Array.from(
      { length: 130 },
      async () =>
        (await lockstep.vapi.playCall({ assistantId, customer: null, steps: [], ...LOST })).call['id'],
    ),
  );
  const [report] = (await lockstep.app.walkCalls()) ?? [];
  expect(report).toMatchObject({ stopped: null, found: 130, late: 0, refused: 0 });
  const [found] = await lockstep.supabase.sql<{ n: number }[]>`
    select count(*)::int as n from public.call_logs where vapi_call_id in ${lockstep.supabase.sql(ids.map(String))}`;
  expect(found?.n).toBe(130);
});

test('a server that is started walks over the list by itself', async () => {
  const other = await createTestApp({
    ...{ supabase: lockstep.supabase, vapi: lockstep.vapi, recoveryIntervalMs: 3_600_000 },
    config: { calls: { callsPollIntervalMs: 50, callsListLagMs: 60_000 } },
  });
  try {
    const id = await play(LOST);
    await expect.poll(() => rowOf(id), { timeout: 60_000 }).toBeDefined();
  } finally {
    await other.stop();
  }
});

const LEDGER = '{ callLedger { completeThrough expected stored } }';
interface Ledger {
  callLedger: { completeThrough: string | null; expected: number; stored: number };
}

describe('completeThrough', () => {
  const through = async () => (await caller.client.request<Ledger>(LEDGER)).callLedger.completeThrough;

  test('rises with each whole walk, and stays behind it by the time that Vapi may take', async () => {
    const before = Date.now();
    await lockstep.app.walkCalls();
    const at = Date.parse((await through()) ?? '');
    // The Date header has whole seconds.
    expect(at).toBeGreaterThanOrEqual(before - 61_000);
    expect(at).toBeLessThanOrEqual(Date.now() - 60_000);
  });

  test('does not rise with a walk of which a page fails', async () => {
    const before = await through();
    lockstep.vapi.faults.add({
      kind: 'status-before',
      status: 500,
      match: { method: 'GET', path: '/call' },
      times: 1,
    });
    const [report] = (await lockstep.app.walkCalls()) ?? [];
    expect(report).toMatchObject({ stopped: 'VAPI_UNAVAILABLE', completeThrough: null });
    expect(await through()).toBe(before);
  });

  test('does not go beyond an event that waits in quarantine, or a call that is held', async () => {
    const { sql } = lockstep.supabase;
    await sql`insert into lockstep.call_events (kind, vapi_call_id, facts, content, quarantined, received_at)
      values ('status-update', 'poison', '{}', '{}', true, now() - interval '2 hours')`;
    await lockstep.app.walkCalls();
    expect(Date.parse((await through()) ?? '')).toBeLessThan(Date.now() - 7_000_000);
    await sql`delete from lockstep.call_events`;
    await sql`insert into lockstep.call_facts (vapi_call_id, created_at) values ('held', now() - interval '3 hours')`;
    await lockstep.app.walkCalls();
    expect(Date.parse((await through()) ?? '')).toBeLessThan(Date.now() - 10_000_000);
    await sql`delete from lockstep.call_facts where vapi_call_id = 'held'`;
    await lockstep.app.walkCalls();
    expect(Date.parse((await through()) ?? '')).toBeGreaterThan(Date.now() - 300_000);
  });

  test('goes back when Vapi lists a call later than was assumed, and stays further behind from then on', async () => {
    const id = await play(LOST);
    await lockstep.supabase.sql`
      update lockstep.call_walks set complete_through = now() + interval '5 minutes', walked_at = now() + interval '5 minutes' where name = 'CHANGED'`;
    const [report] = (await lockstep.app.walkCalls()) ?? [];
    expect(report).toMatchObject({ late: 1, stopped: null });
    expect(await rowOf(id)).toBeDefined();
    expect(Date.parse((await through()) ?? '')).toBeLessThan(Date.now() - 240_000);
    expect(lockstep.log.some((line) => line.includes('call.walk_late'))).toBe(true);
    await lockstep.supabase.sql`update lockstep.call_walks set lag = '0'`;
  });
});

test('the ledger counts the calls of the organization that are stored and those that should be', async () => {
  await lockstep.app.walkCalls();
  const stranger = await lockstep.newCaller();
  expect((await stranger.client.request<Ledger>(LEDGER)).callLedger).toMatchObject({
    expected: 0,
    stored: 0,
  });
  const period = `{ callLedger(from: "2026-01-01T00:00:00Z", to: "2100-01-01T00:00:00Z") { completeThrough expected stored } }`;
  const before = (await caller.client.request<Ledger>(period)).callLedger;
  expect(before.stored).toBeGreaterThan(130);
  expect(before.expected).toBe(before.stored);
  const withdrawn = await play();
  await lockstep.supabase.sql`
    insert into lockstep.remote_ids (resource, remote_id, org_id, resource_id) values ('number', 'contradiction', ${stranger.orgId}, gen_random_uuid())`;
  await lockstep.supabase.sql`
    update lockstep.call_facts set facts = facts || '{"number:contradiction": [1]}' where vapi_call_id = ${withdrawn}`;
  await lockstep.supabase
    .sql`select public.observe_calls(${lockstep.supabase.sql.json([{ vapiCallId: withdrawn, facts: {}, content: {} }])})`;
  expect((await caller.client.request<Ledger>(period)).callLedger).toMatchObject({
    expected: before.expected + 1,
    stored: before.stored,
  });
  expect(await rowOf(withdrawn)).toBeUndefined();
});

test('usage adds up what the calls of the organization cost, by day, agent and number', async () => {
  const one = await lockstep.newCaller();
  const { sql } = lockstep.supabase;
  await sql`insert into public.call_logs (org_id, direction, started_at, ended_at, outcome, cost_usd) values
    (${one.orgId}, 'INBOUND', '2026-11-01T10:00:00Z', '2026-11-01T10:01:40Z', 'COMPLETED', 0.1),
    (${one.orgId}, 'INBOUND', '2026-11-01T23:59:00Z', '2026-11-02T00:00:20Z', 'COMPLETED', 0.2),
    (${one.orgId}, 'INBOUND', null, null, 'NO_ANSWER', null),
    (${one.orgId}, 'INBOUND', '2026-11-02T10:00:00Z', null, null, null)`;
  const usage = (by: string) =>
    one.client.request<{ callUsage: object[] }>(
      `{ callUsage(from: "2026-11-01T00:00:00Z", to: "2026-11-03T00:00:00Z", by: ${by}) { key calls seconds costUsd } }`,
    );
  expect((await usage('DAY')).callUsage).toEqual([
    { key: '2026-11-01', calls: 2, seconds: 180, costUsd: 0.3 },
    { key: '2026-11-02', calls: 1, seconds: 0, costUsd: 0 },
  ]);
  expect((await usage('NUMBER')).callUsage).toEqual([{ key: '-', calls: 3, seconds: 180, costUsd: 0.3 }]);
  expect((await usage('AGENT')).callUsage).toEqual([{ key: '-', calls: 3, seconds: 180, costUsd: 0.3 }]);
  await expect(
    one.client.request(
      '{ callUsage(from: "2020-01-01T00:00:00Z", to: "2026-11-03T00:00:00Z", by: DAY) { key } }',
    ),
  ).rejects.toThrow('at most 400 days apart');
});

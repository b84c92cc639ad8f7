/** The events of calls over real HTTP: which requests are accepted, what they are answered, and what the organization sees. */
import { createHmac, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/domain/json.ts';
import { Secret } from '../../src/domain/secret.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { callOf, endOfCallReport, statusUpdate, toolCalls } from '../support/calls.ts';
import { save } from '../support/operations.ts';

const SECRET = 'events-secret-1f0c9b7a';
const PREVIOUS = 'events-secret-before-52c4';

let lockstep: TestApp;
let caller: Caller;
let assistantId: string;
beforeAll(async () => {
  lockstep = await createTestApp({
    config: {
      webhook: {
        publicUrl: 'https://lockstep.example.test',
        credentialId: randomUUID(),
        secrets: [new Secret(SECRET), new Secret(PREVIOUS)],
        signatureHeader: 'x-signature',
        timestampHeader: 'x-timestamp',
      },
    },
  });
  caller = await lockstep.newCaller();
  await save(caller.client, { inbound: { systemPrompt: 'Answer.' } });
  const [agent] = await lockstep.supabase.sql<{ id: string }[]>`
    select vapi_assistant_id as id from public.agents where org_id = ${caller.orgId} and role = 'INBOUND'`;
  assistantId = agent?.id ?? '';
});
afterAll(() => lockstep?.stop());
afterEach(() => lockstep.supabase.faults.clear());

const bearer = { authorization: `Bearer ${SECRET}` };
function send(message: JsonObject | string, headers: Record<string, string> = bearer): Promise<Response> {
  const body = typeof message === 'string' ? message : JSON.stringify({ message });
  return fetch(`${lockstep.origin}/vapi/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  });
}
function signed(message: JsonObject, { secret = SECRET, at = Date.now(), unit = 1 } = {}): Promise<Response> {
  const body = JSON.stringify({ message });
  const timestamp = String(Math.floor(at / unit));
  const signature = createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex');
  return send(body, { 'x-signature': signature, 'x-timestamp': timestamp });
}
const own = () => callOf({ type: 'webCall', assistantId, customer: {} });
const stored = async (id: string) =>
  (
    await lockstep.supabase.sql`
    select vapi_call_id from lockstep.call_events where vapi_call_id = ${id}
    union all select vapi_call_id from lockstep.call_facts where vapi_call_id = ${id}`
  ).length;

describe('an event', () => {
  test.each([
    ['a bearer token', (m: JsonObject) => send(m)],
    ['the header X-Vapi-Secret', (m: JsonObject) => send(m, { 'x-vapi-secret': SECRET })],
    ['the secret from before the rotation', (m: JsonObject) => send(m, { 'x-vapi-secret': PREVIOUS })],
    ['a signature of the time in milliseconds', (m: JsonObject) => signed(m)],
    ['a signature of the time in seconds', (m: JsonObject) => signed(m, { unit: 1_000 })],
    [
      'a signature by the secret from before the rotation',
      (m: JsonObject) => signed(m, { secret: PREVIOUS }),
    ],
  ])('is accepted with %s', async (_way, by) => {
    const call = own();
    const response = await by(statusUpdate(call, 'in-progress', 9));
    expect([response.status, await response.json()]).toEqual([200, {}]);
    expect(await stored(call.id)).toBe(1);
  });

  test.each([
    ['nothing', (m: JsonObject) => send(m, {})],
    ['another bearer token', (m: JsonObject) => send(m, { authorization: 'Bearer another-secret' })],
    ['the access token of a user', (m: JsonObject) => send(m, { authorization: `Bearer ${caller.token}` })],
    ['another secret', (m: JsonObject) => send(m, { 'x-vapi-secret': `${SECRET}x` })],
    ['a signature by another secret', (m: JsonObject) => signed(m, { secret: 'another-secret' })],
    ['a signature that is ten minutes old', (m: JsonObject) => signed(m, { at: Date.now() - 600_000 })],
    ['a signature of the future', (m: JsonObject) => signed(m, { at: Date.now() + 600_000 })],
    ['a signature without its time', (m: JsonObject) => send(m, { 'x-signature': 'ab'.repeat(32) })],
    [
      'the signature of another body',
      async (m: JsonObject) => {
        const timestamp = String(Date.now());
        const signature = createHmac('sha256', SECRET).update(`${timestamp}.{}`).digest('hex');
        return send(m, { 'x-signature': signature, 'x-timestamp': timestamp });
      },
    ],
  ])('is refused with %s', async (_way, by) => {
    const call = own();
    expect((await by(endOfCallReport(call))).status).toBe(401);
    expect(await stored(call.id)).toBe(0);
  });
});

test('events are refused by a server that is not configured for them', async () => {
  const other = await createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi });
  try {
    const response = await fetch(`${other.origin}/vapi/events`, {
      method: 'POST',
      headers: bearer,
      body: '{}',
    });
    expect(response.status).toBe(404);
  } finally {
    await other.stop();
  }
});

test.each([
  ['no JSON', 'nonsense', 400],
  ['JSON without a message', '{"call":{}}', 400],
  ['a message that is none', '{"message":[1]}', 400],
  ['a body that is too deep', `{"message":${'['.repeat(5_000)}${']'.repeat(5_000)}}`, 400],
  ['a kind that nobody knows', '{"message":{"type":"something-new","call":{"id":"x"}}}', 200],
  ['a report without a call', '{"message":{"type":"end-of-call-report"}}', 200],
  ['a call whose id is none', '{"message":{"type":"end-of-call-report","call":{"id":"../x"}}}', 200],
])('an event with %s takes nothing down', async (_what, body, status) => {
  expect((await send(body)).status).toBe(status);
});

test('an event of more than 10 MB is refused, and one of 5 MB is not', async () => {
  const large = (bytes: number) => ({ ...endOfCallReport(own()), filler: 'x'.repeat(bytes) });
  expect((await send(large(5_000_000))).status).toBe(200);
  expect((await send(large(10 * 2 ** 20))).status).toBe(413);
});

test('an event that the database cannot store is answered 503, so that Vapi sends it again', async () => {
  const call = own();
  lockstep.supabase.faults.next('rpc/call_event_store', { status: 503 });
  expect((await send(endOfCallReport(call))).status).toBe(503);
  expect((await send(endOfCallReport(call))).status).toBe(200);
  await lockstep.app.applyCallEvents();
  expect(await stored(call.id)).toBe(1);
});

const CALL = /* GraphQL */ `
  query ($filter: CallFilter) {
    calls(first: 50, filter: $filter) {
      nodes {
        vapiCallId status channel direction startedAt endedAt durationSeconds outcome endedReason summary costUsd
        costParts { name usd }
        transcript { role text secondsFromStart }
        analysis { successEvaluation structuredData }
        agent { role }
        agentSave { id status }
        agentRevision
      }
    }
  }
`;
interface Seen {
  calls: { nodes: Record<string, unknown>[] };
}

test('a call that is reported is in the log of its organization, with what was said and the revision that spoke, and in no other', async () => {
  const [save] = await lockstep.supabase.sql<{ id: string; deployment: string }[]>`
    select s.id, (select id from lockstep.deployment) as deployment from public.sagas s where org_id = ${caller.orgId}`;
  const lockstepStamp = {
    deployment: save?.deployment ?? '',
    orgId: caller.orgId,
    saveId: save?.id ?? '',
    revision: 1,
  };
  const call = { ...own(), metadata: { lockstep: lockstepStamp } };
  await signed(statusUpdate(call, 'in-progress', 9));
  await lockstep.app.applyCallEvents();
  const running = (await caller.client.request<Seen>(CALL)).calls.nodes.find(
    ({ vapiCallId }) => vapiCallId === call.id,
  );
  expect(running).toMatchObject({
    status: 'IN_PROGRESS',
    outcome: null,
    costUsd: null,
    transcript: null,
    durationSeconds: null,
  });
  await signed(endOfCallReport(call));
  await lockstep.app.applyCallEvents();
  const seen = (await caller.client.request<Seen>(CALL)).calls.nodes.find(
    ({ vapiCallId }) => vapiCallId === call.id,
  );
  expect(seen).toEqual({
    ...{ vapiCallId: call.id, status: 'ENDED', channel: 'WEB', direction: 'INBOUND', durationSeconds: 159 },
    ...{ startedAt: '2026-11-24T16:02:19.000Z', endedAt: '2026-11-24T16:04:57.700Z' },
    ...{ outcome: 'COMPLETED', endedReason: 'customer-ended-call', summary: 'The caller booked a cleaning.' },
    costUsd: 0.2147,
    costParts: expect.arrayContaining([{ name: 'total', usd: 0.2147 }]),
    transcript: [
      { role: 'assistant', text: 'North Dental, how can I help?', secondsFromStart: 0.9 },
      { role: 'customer', text: 'I need a cleaning.', secondsFromStart: 4.8 },
    ],
    analysis: { successEvaluation: 'true', structuredData: null },
    agent: { role: 'INBOUND' },
    agentSave: { id: save?.id, status: 'COMMITTED' },
    agentRevision: 1,
  });
  const stranger = await lockstep.newCaller();
  expect((await stranger.client.request<Seen>(CALL)).calls.nodes).toEqual([]);
});

test('a revision that another organization has, or that no save has made, is not shown', async () => {
  const call = {
    ...own(),
    metadata: { lockstep: { deployment: randomUUID(), saveId: randomUUID(), revision: 7 } },
  };
  await signed(endOfCallReport(call));
  await lockstep.app.applyCallEvents();
  const seen = (await caller.client.request<Seen>(CALL)).calls.nodes.find(
    ({ vapiCallId }) => vapiCallId === call.id,
  );
  expect(seen).toMatchObject({ agentSave: null, agentRevision: null });
});

test('the tool calls of a call that nobody knows are answered in their order, each with one line', async () => {
  const asked = [
    {
      id: 'call_1',
      type: 'function',
      function: { name: 'check_availability', arguments: '{"day":"tomorrow"}' },
    },
    { id: 'call_2', name: 'book_appointment', parameters: { name: 'Ana' } },
  ];
  const response = await signed(toolCalls(callOf({ assistantId: randomUUID(), type: 'webCall' }), asked));
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({
    results: [
      { toolCallId: 'call_1', name: 'check_availability', result: expect.stringMatching(/^.+$/) },
      { toolCallId: 'call_2', name: 'book_appointment', result: expect.stringMatching(/^.+$/) },
    ],
  });
});

test('a tool call in a call of the organization books an appointment of that call, once however often it comes', async () => {
  const call = own();
  const day = new Date(Date.now() + 14 * 86_400_000);
  // Monday, when the default rules are open.
  day.setUTCDate(day.getUTCDate() + ((8 - day.getUTCDay()) % 7));
  const date = day.toISOString().slice(0, 10);
  const given = JSON.stringify({ date, time: '10:00', name: 'Ana Ruiz' });
  const asked = toolCalls(call, [
    { id: 'call_1', type: 'function', function: { name: 'book_appointment', arguments: given } },
  ]);
  const answers = [await signed(asked), await signed(asked)].map((response) => response.json());
  const [first, second] = await Promise.all(answers);
  expect(first).toEqual({
    results: [
      {
        toolCallId: 'call_1',
        name: 'book_appointment',
        result: expect.stringMatching(/^Booked: Ana Ruiz, Monday .+$/),
      },
    ],
  });
  expect(second).toEqual(first);
  const booked = await lockstep.supabase.sql`
    select l.vapi_call_id, a.starts_at from public.appointments a join public.call_logs l on l.id = a.call_id
    where a.org_id = ${caller.orgId}`;
  expect(booked).toEqual([{ vapi_call_id: call.id, starts_at: new Date(`${date}T10:00:00Z`) }]);
});

/** What the functions of calls change in the database: the merge, whose a call is, the inbox and its quarantine. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createCallStore } from '../../src/adapters/supabase/rpc-calls.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { defaultConfig } from '../../src/domain/agents/agent-config.ts';
import { type Observation, observeCall, observeEvent } from '../../src/domain/calls/observation.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import type { SaveJournal } from '../../src/ports/agents/save-journal.ts';
import type { CallStore } from '../../src/ports/calls/call-store.ts';
import { supabaseConfig } from '../support/app.ts';
import { type CallOf, callOf, endOfCallReport, listedOf, recordOf, statusUpdate } from '../support/calls.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

const FAR = 3_600_000;

let supabase: TestSupabase;
let store: CallStore;
let journal: SaveJournal;
let orgId: string;
beforeAll(async () => {
  supabase = await createTestSupabase();
  const client = createServiceClient(supabaseConfig(supabase));
  store = createCallStore(client);
  journal = createRpcJournal(client);
});
afterAll(() => supabase?.stop());
beforeEach(async () => {
  orgId = await supabase.createOrganization();
  await supabase.sql`delete from lockstep.call_events`;
});

/** Whose a remote resource is, as the journal of sagas records it. */
async function record(resource: 'assistant' | 'number', remoteId: string, org = orgId): Promise<string> {
  await supabase.sql`
    insert into lockstep.remote_ids (resource, remote_id, org_id, resource_id) values (${resource}, ${remoteId}, ${org}, ${randomUUID()})`;
  return remoteId;
}

/** A call at a number and an assistant of the organization. */
async function ownCall(over: Partial<CallOf> = {}): Promise<CallOf> {
  return callOf({
    assistantId: await record('assistant', randomUUID()),
    phoneNumberId: await record('number', randomUUID()),
    ...over,
  });
}

const observed = (message: JsonObject): Observation => {
  const observation = observeEvent(message);
  if (observation === null) throw new Error('the message says nothing of a call');
  return observation;
};
const listed = (record: JsonObject, atMs = 1): Observation => {
  const observation = observeCall(record, { from: 'LIST', atMs });
  if (observation === null) throw new Error('this is no call');
  return observation;
};
const see = async (...observations: Observation[]) => (await store.observe(observations)).at(-1);

async function logOf({ id }: CallOf) {
  const [row] = await supabase.sql`
    select l.*, c.transcript, c.analysis from public.call_logs l left join public.call_contents c on c.call_id = l.id
    where l.vapi_call_id = ${id}`;
  return row;
}
const factsOf = async ({ id }: CallOf) =>
  (await supabase.sql`select * from lockstep.call_facts where vapi_call_id = ${id}`)[0];

describe('the merge of observations', () => {
  const anyFact = fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 2 }), fc.jsonValue());
  const anyFacts = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), anyFact);
  const merge = async (one: object, other: object): Promise<object> => {
    const [row] = await supabase.sql<{ merged: object }[]>`
      select lockstep.merge_facts(${supabase.sql.json(one as never)}, ${supabase.sql.json(other as never)}) as merged`;
    return row?.merged ?? {};
  };

  test('is commutative, associative and idempotent, whatever the facts are', async () => {
    // Text that Postgres refuses is made storable before it is observed.
    const storable = anyFacts.filter((facts) => !/\\u0000|\\ud[89a-f]/i.test(JSON.stringify(facts)));
    await fc.assert(
      fc.asyncProperty(storable, storable, storable, async (a, b, c) => {
        expect(await merge(a, b)).toEqual(await merge(b, a));
        expect(await merge(await merge(a, b), c)).toEqual(await merge(a, await merge(b, c)));
        const ab = await merge(a, b);
        expect(await merge(ab, a)).toEqual(ab);
        expect(await merge(ab, ab)).toEqual(ab);
      }),
      { numRuns: 150 },
    );
  });

  test('gives the same row for every order of the events of a call, with repetitions, and after losses and one look at the list', async () => {
    const stories = (call: CallOf): JsonObject[] => [
      statusUpdate(call, 'ringing', 1),
      statusUpdate(call, 'in-progress', 9),
      statusUpdate(call, 'forwarding', 100),
      statusUpdate(call, 'ended', 167, { endedReason: 'assistant-forwarded-call' }),
      endOfCallReport(call, 170),
      endOfCallReport(call, 171, { cost: 0.3, analysis: { summary: 'A later summary.' } }),
    ];
    const plain = (row: Record<string, unknown> | undefined) => {
      // How far a call came before its end is in the events only.
      const { id: _id, vapi_call_id: _call, progress: _progress, ...rest } = row ?? {};
      return rest;
    };
    const assistantId = await record('assistant', randomUUID());
    const phoneNumberId = await record('number', randomUUID());
    const newCall = () => callOf({ assistantId, phoneNumberId });
    const told = async (order: readonly number[], poll: boolean) => {
      const call = newCall();
      const events = stories(call);
      for (const index of order) await see(observed(events[index] as JsonObject));
      if (poll) await see(listed(listedOf(call, 300, { cost: 0.3 })));
      return plain(await logOf(call));
    };
    const all = [0, 1, 2, 3, 4, 5];
    const expected = await told(all, false);
    expect(expected).toMatchObject({
      cost_usd: '0.3',
      summary: 'A later summary.',
      ended_reason: 'customer-ended-call',
    });
    const polled = await told(all, true);
    const order = fc.shuffledSubarray([...all, ...all], { minLength: 0 });
    await fc.assert(
      fc.asyncProperty(order, async (some) => {
        expect(await told([...some, ...all.filter((index) => !some.includes(index))], false)).toEqual(
          expected,
        );
        expect(await told(some, true)).toEqual(polled);
      }),
      { numRuns: 12 },
    );
  });

  test('keeps the status from going back, whatever comes late', async () => {
    const call = await ownCall();
    await see(observed(endOfCallReport(call)), observed(statusUpdate(call, 'ringing', 1)));
    expect(await logOf(call)).toMatchObject({ outcome: 'COMPLETED', progress: 'RINGING' });
    await see(
      observed(statusUpdate(call, 'in-progress', 9)),
      observed(statusUpdate(call, 'some-new-status', 10)),
    );
    expect(await logOf(call)).toMatchObject({ outcome: 'COMPLETED', progress: 'IN_PROGRESS' });
  });

  test('takes no cost from before the end, and takes a later report that says less for no loss', async () => {
    const call = await ownCall();
    await see(observed(statusUpdate(call, 'in-progress', 9)));
    expect(await logOf(call)).toMatchObject({ cost_usd: null, outcome: null });
    await see(observed(endOfCallReport(call, 170)));
    await see(listed(recordOf(call, 180, { status: 'ended', endedReason: 'customer-ended-call' })));
    expect(await logOf(call)).toMatchObject({ cost_usd: '0', summary: 'The caller booked a cleaning.' });
    await see(listed(listedOf(call, 190)));
    expect(await logOf(call)).toMatchObject({ cost_usd: '0.2147' });
  });
});

describe('whose a call is', () => {
  test('is found by the number and the assistant of the call', async () => {
    const call = await ownCall();
    expect(await see(observed(endOfCallReport(call)))).toMatchObject({
      state: 'SHOWN',
      orgId,
      customerNumber: '+14155550187',
    });
    expect(await logOf(call)).toMatchObject({
      ...{ org_id: orgId, direction: 'INBOUND', channel: 'PHONE', outcome: 'COMPLETED', cost_usd: '0.2147' },
      ...{ cost_parts: { transport: 0.0213, vapi: 0.1322, llm: 0.0612, total: 0.2147 }, has_recording: true },
      ...{ summary: 'The caller booked a cleaning.', analysis: { successEvaluation: 'true' } },
      transcript: [
        { role: 'assistant', text: 'North Dental, how can I help?', secondsFromStart: 0.9 },
        { role: 'customer', text: 'I need a cleaning.', secondsFromStart: 4.8 },
      ],
    });
  });

  test('stores nothing of the secrets that an event carries', async () => {
    const call = await ownCall();
    await store.storeEvent('end-of-call-report', observed(endOfCallReport(call)));
    await store.applyEvents((await store.takeEvents(10)).due);
    const [found] = await supabase.sql`
      select count(*)::int as n from lockstep.call_facts f, public.call_logs l
      where (f.facts::text || to_jsonb(l)::text) like '%canary-carrier-token%'`;
    expect(found).toEqual({ n: 0 });
  });

  test('is not known while the number of a phone call, or the assistant of a browser call, is unknown', async () => {
    const assistantId = await record('assistant', randomUUID());
    const strange = callOf({ assistantId, phoneNumberId: randomUUID() });
    expect(await see(observed(endOfCallReport(strange)))).toMatchObject({ state: 'HELD' });
    const web = callOf({ type: 'webCall', assistantId: randomUUID(), customer: {} });
    expect(await see(observed(endOfCallReport(web)))).toMatchObject({ state: 'HELD' });
    expect(await see(observed(endOfCallReport({ ...web, id: randomUUID(), assistantId })))).toMatchObject({
      state: 'SHOWN',
      orgId,
    });
    expect(await logOf(strange)).toBeUndefined();
  });

  test('is not chosen by what the call says of itself', async () => {
    const metadata = { lockstep: { deployment: randomUUID(), orgId, saveId: randomUUID(), revision: 1 } };
    const call = callOf({ type: 'webCall', assistantId: randomUUID(), metadata });
    expect(await see(observed(endOfCallReport(call)))).toMatchObject({ state: 'HELD' });
    const other = await supabase.createOrganization();
    const theirs = callOf({
      type: 'webCall',
      assistantId: await record('assistant', randomUUID(), other),
      metadata,
    });
    expect(await see(observed(endOfCallReport(theirs)))).toMatchObject({ state: 'SHOWN', orgId: other });
  });

  test('is told once the id is recorded, by a save that commits after the event, with all that was said', async () => {
    const assistantId = randomUUID();
    const phoneNumberId = await record('number', randomUUID());
    const call = callOf({ assistantId, phoneNumberId, type: 'webCall' });
    await see(observed(endOfCallReport(call)));
    expect(await logOf(call)).toBeUndefined();
    const sagaId = randomUUID();
    const began = await journal.begin(orgId, sagaId, 'one', {
      ...{ idempotencyKey: null, requestHash: 'x', cause: 'USER', actor: null, mappingVersion: 1 },
      ...{ leaseMs: FAR, deadlineMs: FAR },
      updates: [
        {
          ...{ role: 'INBOUND', agentId: null, newAgentId: randomUUID(), patch: { systemPrompt: 'P' } },
          ...{ defaults: defaultConfig('INBOUND'), expectedRevision: null, recreateIfMissing: false },
        },
      ],
    });
    expect(began.outcome).toBe('BEGUN');
    const parts = [{ key: 'INBOUND', remoteId: assistantId, observed: {} }];
    await journal.commit({ orgId, sagaId, epoch: 1 }, { parts, ambiguous: false, lateMs: 0 });
    expect(await store.claim(100)).toBe(1);
    const log = await logOf(call);
    expect(log).toMatchObject({ org_id: orgId, summary: 'The caller booked a cleaning.' });
    expect(log?.['transcript']).toHaveLength(2);
    expect(log?.['agent_id']).not.toBeNull();
    expect(await store.claim(100)).toBe(0);
  });

  test('is remembered of an assistant whose save was rolled back', async () => {
    const assistantId = randomUUID();
    const sagaId = randomUUID();
    const began = await journal.begin(orgId, sagaId, 'one', {
      ...{ idempotencyKey: null, requestHash: 'x', cause: 'USER', actor: null, mappingVersion: 1 },
      ...{ leaseMs: FAR, deadlineMs: FAR },
      updates: [
        {
          ...{ role: 'INBOUND', agentId: null, newAgentId: randomUUID(), patch: { systemPrompt: 'P' } },
          ...{ defaults: defaultConfig('INBOUND'), expectedRevision: null, recreateIfMissing: false },
        },
      ],
    });
    if (began.outcome !== 'BEGUN') throw new Error(began.outcome);
    await journal.abort(
      { orgId, sagaId, epoch: 1 },
      {
        failure: { reason: 'VAPI_REJECTED', message: 'no', retryable: false },
        results: began.saga.results.map((result) => ({ ...result, remoteId: assistantId, vapiSynced: true })),
        ...{ missing: [], ambiguous: false, lateMs: FAR, leaseMs: FAR, nothingApplied: false },
      },
    );
    const call = callOf({ type: 'webCall', assistantId });
    expect(await see(observed(endOfCallReport(call)))).toMatchObject({ state: 'SHOWN', orgId });
    expect(await logOf(call)).toMatchObject({ agent_id: null });
  });

  test('is withdrawn when its events name two organizations, in either order, and nobody sees it', async () => {
    const other = await supabase.createOrganization();
    const theirs = await record('number', randomUUID(), other);
    const mine = await ownCall();
    const inTheirs = { ...mine, phoneNumberId: theirs };
    expect(await see(observed(statusUpdate(mine, 'ringing', 1)))).toMatchObject({ state: 'SHOWN' });
    expect(await see(observed(endOfCallReport(inTheirs)))).toMatchObject({ state: 'WITHDRAWN' });
    expect(await logOf(mine)).toBeUndefined();
    const reversed = { ...inTheirs, id: randomUUID() };
    expect(await see(observed(endOfCallReport(reversed)))).toMatchObject({ state: 'WITHDRAWN' });
    expect(await factsOf(mine)).toMatchObject({ org_id: null, content: null });
  });

  test('is given up after a day without our stamp, with what was said, and can still be told later', async () => {
    const foreign = callOf({ assistantId: randomUUID(), phoneNumberId: randomUUID() });
    const [deployment] = await supabase.sql<{ id: string }[]>`select id from lockstep.deployment`;
    const metadata = { lockstep: { deployment: deployment?.id ?? '', saveId: randomUUID(), revision: 1 } };
    const stamped = callOf({ assistantId: randomUUID(), phoneNumberId: randomUUID(), metadata });
    await see(observed(endOfCallReport(foreign)), observed(endOfCallReport(stamped)));
    await supabase.sql`update lockstep.call_facts set first_seen_at = now() - interval '23 hours' where vapi_call_id in (${foreign.id}, ${stamped.id})`;
    await store.giveUp(100);
    expect((await factsOf(foreign))?.['state']).toBe('HELD');
    await supabase.sql`update lockstep.call_facts set first_seen_at = now() - interval '25 hours' where vapi_call_id in (${foreign.id}, ${stamped.id})`;
    await store.giveUp(100);
    expect(await factsOf(foreign)).toMatchObject({ state: 'FOREIGN', content: null });
    expect(await factsOf(stamped)).toMatchObject({ state: 'HELD' });
    expect(await see(observed(endOfCallReport(foreign)))).toMatchObject({ state: 'FOREIGN' });
    expect(await factsOf(foreign)).toMatchObject({ content: null });
    await record('number', foreign.phoneNumberId ?? '');
    await store.claim(100);
    expect(await logOf(foreign)).toMatchObject({ org_id: orgId, outcome: 'COMPLETED', cost_usd: '0.2147' });
  });
});

describe('what is kept of a call', () => {
  test.each([
    ['FULL', 'The caller booked a cleaning.', 2, { successEvaluation: 'true' }],
    ['SUMMARY', 'The caller booked a cleaning.', undefined, { successEvaluation: 'true' }],
    ['NONE', null, undefined, null],
  ])('follows the setting %s of the organization', async (setting, summary, messages, analysis) => {
    await supabase.sql`update public.organizations set call_content = ${setting} where id = ${orgId}`;
    const call = await ownCall();
    const event = observed(endOfCallReport(call));
    await store.storeEvent('end-of-call-report', event);
    const [stored] =
      await supabase.sql`select content from lockstep.call_events where vapi_call_id = ${call.id}`;
    expect(Object.keys(stored?.['content'] as object)).toEqual(
      setting === 'FULL'
        ? ['summary', 'analysis', 'transcript']
        : setting === 'SUMMARY'
          ? ['summary', 'analysis']
          : [],
    );
    await store.applyEvents((await store.takeEvents(10)).due);
    await see(listed(listedOf(call)));
    const log = await logOf(call);
    expect(log).toMatchObject({ summary, analysis });
    expect(log?.['transcript']?.length).toBe(messages);
  });

  test('is gone when Vapi says that the call was deleted, and no later event brings it back', async () => {
    const call = await ownCall();
    await see(observed(endOfCallReport(call)));
    await see(observed({ type: 'call.deleted', call: recordOf(call, 400) }));
    expect(await logOf(call)).toMatchObject({
      summary: null,
      transcript: null,
      cost_usd: '0.2147',
      outcome: 'COMPLETED',
    });
    await see(observed(endOfCallReport(call, 500)), listed(listedOf(call, 600)));
    const log = await logOf(call);
    expect(log).toMatchObject({ summary: null, transcript: null });
    expect(log?.['content_removed_at']).not.toBeNull();
  });
});

describe('the inbox', () => {
  const BAD = (): Observation => ({
    vapiCallId: randomUUID(),
    // What a defect of ours could store: this is no moment.
    facts: { 'number:x': [1], startedAt: [1, 0, 0, 0, 'not a time'] },
    content: {},
  });
  async function poison(): Promise<Observation> {
    const number = await record('number', randomUUID());
    return { ...BAD(), facts: { [`number:${number}`]: [1], startedAt: [1, 0, 0, 0, 'not a time'] } };
  }
  const again = () => supabase.sql`update lockstep.call_events set next_at = now() - interval '1 second'`;

  test('applies each event once, and keeps none that is applied', async () => {
    const calls = [await ownCall(), await ownCall()];
    for (const call of calls) await store.storeEvent('end-of-call-report', observed(endOfCallReport(call)));
    const taken = await store.takeEvents(10);
    expect(taken).toMatchObject({ alone: [], quarantined: 0 });
    expect(taken.due).toHaveLength(2);
    expect((await store.takeEvents(10)).due).toEqual([]);
    expect(await store.applyEvents(taken.due)).toEqual({ SHOWN: 2 });
    expect(await store.applyEvents(taken.due)).toEqual({});
    expect(await supabase.sql`select from lockstep.call_events`).toHaveLength(0);
  });

  test('puts an event that cannot be applied into quarantine after five attempts, and applies the others meanwhile', async () => {
    const good = await ownCall();
    await store.storeEvent('status-update', await poison());
    await store.storeEvent('end-of-call-report', observed(endOfCallReport(good)));
    expect(await store.applyEvents((await store.takeEvents(10)).due)).toEqual({ FAILED: 1, SHOWN: 1 });
    for (const end of ['FAILED', 'FAILED', 'FAILED', 'QUARANTINED']) {
      expect((await store.takeEvents(10)).alone).toEqual([]);
      await again();
      const { due, alone } = await store.takeEvents(10);
      expect([due.length, alone.length]).toEqual([0, 1]);
      expect(await store.applyEvents(alone)).toEqual({ [end]: 1 });
    }
    await again();
    expect(await store.takeEvents(10)).toEqual({ due: [], alone: [], quarantined: 0 });
    const [event, ...more] = await store.quarantined(10);
    expect(more).toEqual([]);
    expect(event).toMatchObject({
      kind: 'status-update',
      attempts: 5,
      error: expect.stringContaining('timestamp'),
    });
    expect(await store.waiting()).toMatchObject({ pending: 0, quarantined: 1 });
    expect(await store.retryQuarantined([event?.id ?? ''])).toBe(1);
    expect((await store.takeEvents(10)).due).toHaveLength(1);
  });

  test('puts an event into quarantine that kills whoever applies it', async () => {
    await store.storeEvent('end-of-call-report', observed(endOfCallReport(await ownCall())));
    for (let attempt = 1; attempt <= 5; attempt += 1) {
      const { due, alone } = await store.takeEvents(10);
      expect([due.length, alone.length]).toEqual(attempt === 1 ? [1, 0] : [0, 1]);
      await again();
    }
    expect(await store.takeEvents(10)).toEqual({ due: [], alone: [], quarantined: 1 });
    expect(await store.retryQuarantined(null)).toBe(1);
  });

  test('forgets after a week what was said in an event that stays in quarantine', async () => {
    const call = await ownCall();
    await store.storeEvent('end-of-call-report', observed(endOfCallReport(call)));
    await supabase.sql`update lockstep.call_events set quarantined = true, received_at = now() - interval '6 days'`;
    await store.giveUp(10);
    expect(await supabase.sql`select content <> '{}' as kept from lockstep.call_events`).toEqual([
      { kept: true },
    ]);
    await supabase.sql`update lockstep.call_events set received_at = now() - interval '8 days'`;
    await store.giveUp(10);
    expect(await supabase.sql`select content <> '{}' as kept from lockstep.call_events`).toEqual([
      { kept: false },
    ]);
  });

  test('answers each observation by itself: one that the database refuses takes nothing with it', async () => {
    const [one, two] = [await ownCall(), await ownCall()];
    const answers = await store.observe([
      observed(endOfCallReport(one)),
      await poison(),
      observed(endOfCallReport(two)),
    ]);
    expect(answers.map(({ state }) => state)).toEqual(['SHOWN', 'REFUSED', 'SHOWN']);
  });
});

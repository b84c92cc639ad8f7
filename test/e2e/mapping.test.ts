/** How the same configuration comes to be rendered differently: by a newer mapping version, or because its context has changed. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { defaultConfig } from '../../src/domain/agents/agent-config.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { Secret } from '../../src/domain/secret.ts';
import { DEFAULT_VAPI_ORG_ID } from '../../src/local/vapi/server.ts';
import type { WebhookSettings } from '../../src/server/webhook.ts';
import { type Caller, createTestApp, supabaseConfig, type TestApp } from '../support/app.ts';
import { gate } from '../support/gate.ts';
import { expectAnswer, readAgents, type SaveInput, save } from '../support/operations.ts';
import { expectLockstep, systemsOf, vapiCalls } from '../support/systems.ts';

let lockstep: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp();
  await context(null);
});
afterAll(() => lockstep?.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  await lockstep.supabase.sql`update public.agents set missing_since = now()`;
  caller = await lockstep.newCaller();
});

/** From now on, an agent that uses the knowledge base has this tool. */
async function context(toolId: string | null): Promise<void> {
  const found = toolId === null ? '{}' : JSON.stringify({ toolId });
  await lockstep.supabase.sql.unsafe(`
    create or replace function lockstep.agent_context(p_org_id uuid, p_config jsonb) returns jsonb
    language sql stable set search_path = '' as $$
      select lockstep.event_context() || case when p_config @> '{"useKnowledgeBase": true}' then '${found}'::jsonb else '{}'::jsonb end;
    $$`);
}

const both: SaveInput = {
  inbound: { systemPrompt: 'Inbound, as ever' },
  outbound: { systemPrompt: 'Outbound, as ever' },
};
const committed = async (input: SaveInput) =>
  expectAnswer(await save(caller.client, input), 'UpdateAgentsSuccess');
const assistant = (id: string | null | undefined): JsonObject =>
  (lockstep.vapi.store.get(DEFAULT_VAPI_ORG_ID, id ?? '') ?? {}) as JsonObject;
const modelOf = (id: string | null | undefined) => assistant(id)['model'] as JsonObject;
const rows = async () => (await systemsOf(lockstep, caller.orgId)).agents;
const versions = async () => (await rows()).map(({ mapping_version }) => mapping_version);

/** As a build left them that knew no other version. What Vapi holds is the same, because nothing of version 2 is used. */
async function savedByVersion1(): Promise<{ INBOUND: string; OUTBOUND: string }> {
  const { agents } = await committed(both);
  const { sql } = lockstep.supabase;
  const added = '{transferTo,endCall,voicemailMessage,useKnowledgeBase,bookAppointments}';
  for (const table of ['public.agents', 'public.agent_revisions']) {
    await sql`update ${sql.unsafe(table)} set config = config - ${added}::text[] where org_id = ${caller.orgId}`;
  }
  await sql`update public.agents set mapping_version = 1 where org_id = ${caller.orgId}`;
  const [inbound, outbound] = agents.map(({ vapiAssistantId }) => String(vapiAssistantId));
  return { INBOUND: inbound ?? '', OUTBOUND: outbound ?? '' };
}

describe('an agent that mapping version 1 saved', () => {
  test('is in step without a save, and a field that version 1 does not manage is no drift', async () => {
    const ids = await savedByVersion1();
    lockstep.vapi.dashboardEdit(ids.INBOUND, { voicemailMessage: 'By hand' });
    expect(await lockstep.app.sweep()).toMatchObject({ stopped: null, same: 2, drifted: 0, repaired: 0 });
    expect(await readAgents(caller.client)).toMatchObject({
      INBOUND: { transferTo: [], endCall: false, sync: { status: 'IN_SYNC', drift: [] } },
    });
    expect(await versions()).toEqual([1, 1]);
    lockstep.vapi.dashboardEdit(ids.INBOUND, { name: 'By hand' });
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 1, repaired: 1 });
    expect(assistant(ids.INBOUND)['name']).toBe('Inbound agent');
  });

  test('is moved by the next save of a user', async () => {
    const ids = await savedByVersion1();
    await committed({ inbound: { endCall: true } });
    expect(await versions()).toEqual([2, 1]);
    expect(modelOf(ids.INBOUND)['tools']).toEqual([{ type: 'endCall' }]);
    await expectLockstep(lockstep, caller.orgId);
  });

  test('is moved by the job, which keeps its configuration, its revision and its history', async () => {
    await savedByVersion1();
    const before = await systemsOf(lockstep, caller.orgId);
    expect(await lockstep.app.render()).toEqual({ leaseExpiresInMs: null, rendered: 2, left: 0 });
    const after = await expectLockstep(lockstep, caller.orgId);
    expect(await versions()).toEqual([2, 2]);
    expect(after.revisions).toEqual(before.revisions);
    expect(after.agents).toMatchObject(before.agents.map(({ revision, config }) => ({ revision, config })));
    const saves = await lockstep.supabase.sql`
      select kind, actor, status from public.agent_saves where org_id = ${caller.orgId} and kind <> 'USER'`;
    expect([...saves]).toEqual(
      Array.from({ length: 2 }, () => ({ kind: 'RENDER', actor: null, status: 'COMMITTED' })),
    );
    expect(await lockstep.app.render()).toEqual({ leaseExpiresInMs: null, rendered: 0, left: 0 });
  });

  test('is put back whole if its first save under version 2 is rolled back', async () => {
    await savedByVersion1();
    const before = await systemsOf(lockstep, caller.orgId);
    lockstep.vapi.faults.add({
      ...{ kind: 'reject', messages: ['model.tools[0].destinations[0].number must be a phone number'] },
      match: { bodyIncludes: 'Emergencies' },
    });
    const failed = await save(caller.client, {
      inbound: { voicemailMessage: 'Call back.', endCall: true, systemPrompt: 'New' },
      outbound: { transferTo: [{ number: '+14155550142', description: 'Emergencies' }] },
    });
    expect(expectAnswer(failed, 'SaveFailedError')).toMatchObject({
      reason: 'VAPI_REJECTED',
      issues: [{ path: 'input.outbound.transferTo' }],
    });
    const after = await systemsOf(lockstep, caller.orgId);
    // The sibling had been given a voicemail message that version 1 does not name.
    expect(after).toEqual(before);
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 0, repaired: 0 });
  });

  test.each([1, 2])('is recovered from a save of version %i that its server did not end', async (version) => {
    const ids = await savedByVersion1();
    const journal = createRpcJournal(createServiceClient(supabaseConfig(lockstep.supabase)));
    const begun = await journal.begin(caller.orgId, randomUUID(), 'a server that died', {
      ...{ idempotencyKey: null, requestHash: 'h', cause: 'USER', actor: null, mappingVersion: version },
      ...{ leaseMs: 0, deadlineMs: 600_000 },
      updates: [
        {
          ...{ role: 'INBOUND', agentId: null, newAgentId: randomUUID(), expectedRevision: null },
          ...{ recreateIfMissing: false, patch: { name: 'Renamed', endCall: true } },
          defaults: defaultConfig('INBOUND'),
        },
      ],
    });
    expect(begun.outcome).toBe('BEGUN');
    expect(await lockstep.app.recover()).toEqual({ taken: 1, finished: 1 });
    expect(await versions()).toEqual([version, 1]);
    expect(assistant(ids.INBOUND)).toMatchObject({ name: 'Renamed' });
    expect('tools' in modelOf(ids.INBOUND)).toBe(version === 2);
    await expectLockstep(lockstep, caller.orgId);
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 0, repaired: 0 });
    // Nobody may save before its late requests are dead.
    await lockstep.supabase.sql`delete from lockstep.fences`;
    expect(await lockstep.app.render()).toMatchObject({ rendered: 3 - version });
    expect(modelOf(ids.INBOUND)['tools']).toEqual([{ type: 'endCall' }]);
    await expectLockstep(lockstep, caller.orgId);
  });
});

describe('the job that renders agents anew', () => {
  test('gives the tool to the agents that use the knowledge base, as soon as it exists, and takes it away again', async () => {
    const { agents } = await committed({ ...both, inbound: { ...both.inbound, useKnowledgeBase: true } });
    const [inbound, outbound] = agents.map(({ vapiAssistantId }) => vapiAssistantId);
    expect(modelOf(inbound)).not.toHaveProperty('toolIds');
    const [first, second] = [randomUUID(), randomUUID()];
    for (const toolId of [first, second]) {
      await context(toolId);
      // The row says what was rendered, so that the sweep finds nothing wrong meanwhile.
      expect(await lockstep.app.sweep()).toMatchObject({ drifted: 0, repaired: 0 });
      expect(await lockstep.app.render()).toMatchObject({ rendered: 1, left: 0 });
      expect(modelOf(inbound)).toMatchObject({
        toolIds: [toolId],
        messages: [
          { content: 'Inbound, as ever' },
          { content: expect.stringContaining('search_knowledge_base') },
        ],
      });
      expect(modelOf(outbound)).not.toHaveProperty('toolIds');
      await expectLockstep(lockstep, caller.orgId);
    }
    await context(null);
    expect(await lockstep.app.render()).toMatchObject({ rendered: 1 });
    expect(modelOf(inbound)).not.toHaveProperty('toolIds');
    expect(await rows()).toMatchObject([{ context: {}, revision: 1 }, { revision: 1 }]);
    await expectLockstep(lockstep, caller.orgId);
  });

  test('an undo restores the tool that the agent had, not the one that it has now', async () => {
    const [before, now] = [randomUUID(), randomUUID()];
    await context(before);
    const { agents } = await committed({ inbound: { ...both.inbound, useKnowledgeBase: true } });
    const id = agents[0]?.vapiAssistantId;
    await context(now);
    lockstep.vapi.faults.add({ kind: 'reject', messages: ['no'], match: { bodyIncludes: 'Outbound' } });
    const input = { inbound: { systemPrompt: 'New' }, outbound: { systemPrompt: 'Outbound' } };
    expectAnswer(await save(caller.client, input), 'SaveFailedError');
    expect(modelOf(id)).toMatchObject({ toolIds: [before] });
    await expectLockstep(lockstep, caller.orgId);
    await context(null);
  });

  test.each(['REPORT', 'ADOPT', 'REVERT'])(
    'leaves an edit to the sweep if the organization wants to %s it',
    async (policy) => {
      const ids = await savedByVersion1();
      await lockstep.supabase
        .sql`update public.organizations set drift_policy = ${policy} where id = ${caller.orgId}`;
      lockstep.vapi.dashboardEdit(ids.INBOUND, { name: 'By hand' });
      expect(await lockstep.app.render()).toMatchObject({ rendered: 1, left: 1 });
      expect(assistant(ids.INBOUND)['name']).toBe('By hand');
      expect(await versions()).toEqual([1, 2]);
      // It is known to be edited: no round looks at it again.
      expect(await lockstep.app.render()).toMatchObject({ rendered: 0, left: 0 });
      await lockstep.app.sweep();
      expect(assistant(ids.INBOUND)['name']).toBe(policy === 'REVERT' ? 'Inbound agent' : 'By hand');
      expect(await versions()).toEqual([policy === 'REPORT' ? 1 : 2, 2]);
    },
  );

  test('gives way to a save by a user', async () => {
    const ids = await savedByVersion1();
    const looking = gate();
    lockstep.vapi.faults.add({
      ...{ kind: 'hold', until: looking.until },
      match: { method: 'GET', path: `/assistant/${ids.INBOUND}` },
    });
    const round = lockstep.app.render();
    await looking.reached;
    await committed({ inbound: { name: 'By a user' } });
    looking.open();
    expect(await round).toMatchObject({ rendered: 1, left: 1 });
    expect(assistant(ids.INBOUND)['name']).toBe('By a user');
    await expectLockstep(lockstep, caller.orgId);
  });

  test('leaves an agent alone for a while if Vapi refuses it, and goes on with the others', async () => {
    const ids = await savedByVersion1();
    lockstep.vapi.faults.add({
      ...{ kind: 'reject', messages: ['no'], times: Infinity },
      match: { method: 'PATCH', path: `/assistant/${ids.INBOUND}` },
    });
    expect(await lockstep.app.render()).toMatchObject({ rendered: 1, left: 1 });
    const from = vapiCalls(lockstep).length;
    expect(await lockstep.app.render()).toMatchObject({ rendered: 0, left: 0 });
    expect(vapiCalls(lockstep)).toHaveLength(from);
    expect(await versions()).toEqual([1, 2]);
    lockstep.vapi.faults.clear();
    await lockstep.supabase.sql`update public.agents set mapping_version = 2`;
  });

  test('runs on one replica at a time', async () => {
    await savedByVersion1();
    await lockstep.supabase.sql`
      insert into lockstep.leases (name, owner, until) values ('render', 'another replica', now() + interval '1 minute')
      on conflict (name) do update set owner = excluded.owner, until = excluded.until`;
    const report = await lockstep.app.render();
    expect(report).toMatchObject({ rendered: 0, left: 0 });
    expect(report?.leaseExpiresInMs).toBeGreaterThan(0);
    await lockstep.supabase.sql`delete from lockstep.leases where name = 'render'`;
    expect(await lockstep.app.render()).toMatchObject({ rendered: 2 });
  });
});

describe('the server that receives the events of calls', () => {
  const FIRST = 'https://lockstep.example.com';
  const CREDENTIAL = '3f7d1b9a-5c2e-4806-9d4f-a1b2c3d4e5f6';
  const SERVER = {
    ...{ url: `${FIRST}/vapi/events`, timeoutSeconds: 20, credentialId: CREDENTIAL },
    backoffPlan: {
      ...{ type: 'exponential', maxRetries: 3, baseDelaySeconds: 1 },
      excludedStatusCodes: [400, 401, 403, 404, 413, 422],
    },
  };
  const MESSAGES = ['status-update', 'end-of-call-report', 'tool-calls'];
  let started: TestApp[] = [];

  /** A server with this address, on the same systems, and as a client sees it. */
  async function startWith(
    publicUrl: string | null,
    change: Partial<WebhookSettings> = {},
  ): Promise<TestApp> {
    const webhook: WebhookSettings = {
      ...{ publicUrl, credentialId: CREDENTIAL, secrets: [new Secret('webhook-secret-now')] },
      ...{ signatureHeader: 'x-signature', timestampHeader: 'x-timestamp', ...change },
    };
    return startServer(webhook);
  }
  async function startServer(webhook: WebhookSettings | null): Promise<TestApp> {
    const { supabase, vapi } = lockstep;
    const server = await createTestApp({ supabase, vapi, config: { webhook } });
    started.push(server);
    return server;
  }
  beforeEach(() => lockstep.supabase.sql`delete from lockstep.event_server`);
  afterEach(async () => {
    await Promise.all(started.map((server) => server.stop()));
    started = [];
    await lockstep.supabase.sql`delete from lockstep.event_server`;
  });
  /** Each of them in turn has the lease, as if the one before it had stopped. */
  const turn = () => lockstep.supabase.sql`delete from lockstep.leases`;
  const render = async ({ app }: TestApp) => turn().then(() => app.render());
  const sweep = async ({ app }: TestApp) => turn().then(() => app.sweep());
  const idsOf = async () => (await rows()).map(({ vapi_assistant_id }) => vapi_assistant_id);

  test('is named by every agent as soon as the job has moved it, without a new revision', async () => {
    await committed(both);
    const before = await systemsOf(lockstep, caller.orgId);
    const server = await startWith(FIRST);
    expect(await sweep(server)).toMatchObject({ same: 2, drifted: 0, repaired: 0 });
    expect(await render(server)).toMatchObject({ rendered: 2, left: 0 });
    const after = await expectLockstep(lockstep, caller.orgId);
    expect(after.revisions).toEqual(before.revisions);
    for (const id of await idsOf())
      expect(assistant(id)).toMatchObject({ server: SERVER, serverMessages: MESSAGES });
    expect(await render(server)).toMatchObject({ rendered: 0, left: 0 });
    expect(await sweep(server)).toMatchObject({ same: 2, drifted: 0, repaired: 0 });
    // A new agent names it at once.
    const stranger = await lockstep.newCaller();
    expectAnswer(await save(stranger.client, both), 'UpdateAgentsSuccess');
    const [made] = (await expectLockstep(lockstep, stranger.orgId)).assistants;
    expect(made).toMatchObject({ server: SERVER });
  });

  test.each<[string, string, Partial<WebhookSettings>]>([
    ['its address', 'https://elsewhere.example.com', {}],
    ['its credential', FIRST, { credentialId: '10c0571e-0000-4000-8000-000000000002' }],
  ])('moves the agents when %s changes', async (_what, publicUrl, change) => {
    await committed(both);
    await render(await startWith(FIRST));
    const moved = await startWith(publicUrl, change);
    expect(await render(moved)).toMatchObject({ rendered: 2, left: 0 });
    for (const id of await idsOf()) {
      expect(assistant(id)['server']).toEqual({ ...SERVER, url: `${publicUrl}/vapi/events`, ...change });
    }
    await expectLockstep(lockstep, caller.orgId);
  });

  test('is cleared in Vapi when it is unset, and stays managed', async () => {
    await committed(both);
    await render(await startWith(FIRST));
    const without = await startServer(null);
    expect(await render(without)).toMatchObject({ rendered: 2, left: 0 });
    const [id = ''] = await idsOf();
    for (const one of await idsOf()) {
      expect(assistant(one)['server'] ?? null).toBeNull();
      expect(assistant(one)['serverMessages'] ?? null).toBeNull();
    }
    await expectLockstep(lockstep, caller.orgId);
    expect(await render(without)).toMatchObject({ rendered: 0, left: 0 });
    lockstep.vapi.dashboardEdit(id, { server: { url: 'https://somebody.example' } });
    expect(await sweep(without)).toMatchObject({ drifted: 1, repaired: 1 });
    expect(assistant(id)['server'] ?? null).toBeNull();
  });

  test('is left alone while this deployment has never named one', async () => {
    const without = await startServer(null);
    await committed(both);
    const [id = ''] = await idsOf();
    const theirs = { server: { url: 'https://somebody.example' }, serverMessages: ['hang'] };
    lockstep.vapi.dashboardEdit(id, theirs);
    expect(await render(without)).toMatchObject({ rendered: 0, left: 0 });
    expect(await sweep(without)).toMatchObject({ same: 2, drifted: 0, repaired: 0 });
    await committed({ inbound: { name: 'Renamed' } });
    expect(assistant(id)).toMatchObject(theirs);
  });

  test.each<[string, JsonObject]>([
    ['another server', { server: { url: 'https://somebody.example' } }],
    ['no server', { server: null }],
    ['no tool calls', { serverMessages: ['status-update'] }],
  ])('is put back when somebody sets %s, whether edits are reverted or adopted', async (_what, edit) => {
    await committed(both);
    const server = await startWith(FIRST);
    await render(server);
    const [id = ''] = await idsOf();
    const { sql } = lockstep.supabase;
    await sql`update public.organizations set drift_policy = 'ADOPT' where id = ${caller.orgId}`;
    lockstep.vapi.dashboardEdit(id, edit);
    expect(await sweep(server)).toMatchObject({ drifted: 1, adopted: 0, repaired: 0 });
    await sql`update public.organizations set drift_policy = 'REVERT' where id = ${caller.orgId}`;
    expect(await sweep(server)).toMatchObject({ drifted: 1, repaired: 1 });
    expect(assistant(id)).toMatchObject({ server: SERVER, serverMessages: MESSAGES });
    await expectLockstep(lockstep, caller.orgId);
  });

  test('is taken away again by an undo of the save that brought it', async () => {
    await committed(both);
    const before = await systemsOf(lockstep, caller.orgId);
    const server = await startWith(FIRST);
    await lockstep.supabase.sql`select public.set_event_server(${`${FIRST}/vapi/events`}, ${CREDENTIAL})`;
    lockstep.vapi.faults.add({ kind: 'reject', messages: ['no'], match: { bodyIncludes: 'Refused' } });
    const failed = await save(caller.client, { inbound: { name: 'New' }, outbound: { name: 'Refused' } });
    expectAnswer(failed, 'SaveFailedError');
    const after = await expectLockstep(lockstep, caller.orgId);
    expect(after.agents).toEqual(before.agents);
    for (const id of await idsOf())
      expect([assistant(id)['server'] ?? null, assistant(id)['serverMessages'] ?? null]).toEqual([
        null,
        null,
      ]);
    expect(await sweep(server)).toMatchObject({ drifted: 0, repaired: 0 });
  });

  test.each([1, 2])('is recovered from a save of version %i that its server did not end', async (version) => {
    const ids = await savedByVersion1();
    await lockstep.supabase.sql`select public.set_event_server(${`${FIRST}/vapi/events`}, ${CREDENTIAL})`;
    const journal = createRpcJournal(createServiceClient(supabaseConfig(lockstep.supabase)));
    const begun = await journal.begin(caller.orgId, randomUUID(), 'a server that died', {
      ...{ idempotencyKey: null, requestHash: 'h', cause: 'USER', actor: null, mappingVersion: version },
      ...{ leaseMs: 0, deadlineMs: 600_000 },
      updates: [
        {
          ...{ role: 'INBOUND', agentId: null, newAgentId: randomUUID(), expectedRevision: null },
          ...{ recreateIfMissing: false, patch: { name: 'Renamed' }, defaults: defaultConfig('INBOUND') },
        },
      ],
    });
    expect(begun.outcome).toBe('BEGUN');
    // Where events go by now is not what this save was to write.
    await lockstep.supabase
      .sql`select public.set_event_server('https://elsewhere.example.com/vapi/events', ${CREDENTIAL})`;
    expect(await lockstep.app.recover()).toEqual({ taken: 1, finished: 1 });
    expect(assistant(ids.INBOUND)['server'] ?? null).toEqual(version === 2 ? SERVER : null);
    await expectLockstep(lockstep, caller.orgId);
    expect(await sweep(lockstep)).toMatchObject({ drifted: 0, repaired: 0 });
  });

  test('is announced once by each process, so that replicas with different settings do not move agents back and forth', async () => {
    await committed(both);
    const [old, next] = [await startWith(FIRST), await startWith('https://elsewhere.example.com')];
    expect(await render(old)).toMatchObject({ rendered: 2 });
    expect(await render(next)).toMatchObject({ rendered: 2 });
    expect(await render(old)).toMatchObject({ rendered: 0 });
    expect(await render(next)).toMatchObject({ rendered: 0 });
    for (const id of await idsOf())
      expect(assistant(id)['server']).toMatchObject({ url: 'https://elsewhere.example.com/vapi/events' });
  });

  test('is the address that the server listens on if none is set and Vapi is on this machine', async () => {
    await committed(both);
    const server = await startWith(null);
    await render(server);
    for (const id of await idsOf())
      expect(assistant(id)['server']).toMatchObject({ url: `${server.origin}/vapi/events` });
  });

  test('answers for the appointments of an agent that may book, and only then the model has the tools', async () => {
    const server = await startWith(FIRST);
    await turn();
    await server.app.render();
    const client = server.clientFor(caller.token);
    const { agents } = expectAnswer(
      await save(client, { ...both, inbound: { ...both.inbound, bookAppointments: true } }),
      'UpdateAgentsSuccess',
    );
    expect(agents).toMatchObject([{ bookAppointments: true }, { bookAppointments: false }]);
    const [inbound = '', outbound = ''] = await idsOf();
    const names = (id: string) =>
      ((modelOf(id)['tools'] ?? []) as { function: { name: string } }[]).map((tool) => tool.function.name);
    const four = ['check_availability', 'book_appointment', 'reschedule_appointment', 'cancel_appointment'];
    expect([names(inbound), names(outbound)]).toEqual([four, []]);
    await expectLockstep(lockstep, caller.orgId);
    // Without the server, nobody would answer.
    const without = await startServer(null);
    expect(await render(without)).toMatchObject({ rendered: 2 });
    expect(names(inbound)).toEqual([]);
    expect((await readAgents(caller.client)).INBOUND?.bookAppointments).toBe(true);
    await expectLockstep(lockstep, caller.orgId);
    expect(await render(await startWith(FIRST))).toMatchObject({ rendered: 2 });
    expect(names(inbound)).toEqual(four);
  });
});

/** One save, as a dashboard makes it: both systems hold exactly that. */
import {
  buildClientSchema,
  type GraphQLObjectType,
  getIntrospectionQuery,
  getNamedType,
  type IntrospectionQuery,
  isObjectType,
  isUnionType,
  parse,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DEFAULT_VAPI_ORG_ID } from '../../src/local/vapi/server.ts';
import { type Caller, createTestApp, PATIENT_SETTINGS, type TestApp } from '../support/app.ts';
import { barrier, gate } from '../support/gate.ts';
import { expectAnswer, readAgents, readSave, SAVE, type SaveInput, save } from '../support/operations.ts';
import { databaseCalls, expectLockstep, systemsOf, vapiCalls } from '../support/systems.ts';

const MANAGED = [
  'firstMessage',
  'firstMessageMode',
  'maxDurationSeconds',
  'metadata',
  'model',
  'name',
  'transcriber',
  'voice',
  'voicemailDetection',
  'voicemailMessage',
];

let lockstep: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp({ settings: PATIENT_SETTINGS });
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  caller = await lockstep.newCaller();
  lockstep.supabase.requests.reset();
});

const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});
const committed = async (input: SaveInput) =>
  expectAnswer(await save(caller.client, input), 'UpdateAgentsSuccess');
const assistant = (id: string | null): Record<string, unknown> | undefined =>
  lockstep.vapi.store.get(DEFAULT_VAPI_ORG_ID, id ?? '');

describe('what it costs', () => {
  test('makes two database calls and one concurrent Vapi call for each agent, for creations and changes', async () => {
    // Each request waits at Vapi until the other has come: one after the other would never end.
    lockstep.vapi.faults.add({ kind: 'hold', times: 2, until: barrier(2) });
    await committed(both('first'));
    expect(databaseCalls(lockstep)).toEqual(['POST rpc/begin_agents', 'POST rpc/saga_commit']);
    expect(vapiCalls(lockstep)).toEqual(['POST /assistant', 'POST /assistant']);

    lockstep.supabase.requests.reset();
    lockstep.vapi.faults.add({ kind: 'hold', times: 2, until: barrier(2) });
    const { agents } = await committed(both('second'));
    expect(databaseCalls(lockstep)).toEqual(['POST rpc/begin_agents', 'POST rpc/saga_commit']);
    expect(vapiCalls(lockstep).slice(2).sort()).toEqual(
      agents.map(({ vapiAssistantId }) => `PATCH /assistant/${vapiAssistantId}`).sort(),
    );
  });

  test('the document of these tests selects every field of every answer', async () => {
    const schema = buildClientSchema(
      await caller.client.request<IntrospectionQuery>(getIntrospectionQuery()),
    );
    const selected = new Set<string>();
    const info = new TypeInfo(schema);
    visit(
      parse(SAVE),
      visitWithTypeInfo(info, {
        Field: (node) => void selected.add(`${info.getParentType()?.name}.${node.name.value}`),
      }),
    );
    const missing: string[] = [];
    const seen = new Set<GraphQLObjectType>();
    const look = (type: unknown) => {
      if (isUnionType(type)) for (const member of type.getTypes()) look(member);
      if (!isObjectType(type) || seen.has(type)) return;
      seen.add(type);
      for (const field of Object.values(type.getFields())) {
        // Fields with arguments are further questions, not part of the answer.
        if (field.args.length > 0) continue;
        const owners = [type, ...type.getInterfaces()].map((owner) => `${owner.name}.${field.name}`);
        if (!owners.some((owner) => selected.has(owner))) missing.push(`${type.name}.${field.name}`);
        look(getNamedType(field.type));
      }
    };
    look(getNamedType(schema.getMutationType()?.getFields()['updateAgents']?.type));
    expect(seen.size).toBeGreaterThan(10);
    expect(missing).toEqual([]);
  });
});

describe('what it leaves for operators', () => {
  const sample = (metrics: string, name: string) =>
    Number(
      metrics
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.slice(name.length),
    );
  const metricsNow = async () => (await fetch(`${lockstep.origin}/metrics`)).text();

  test('writes one log line, one count by outcome, and a duration for each phase', async () => {
    const from = lockstep.log.length;
    const before = await metricsNow();
    const { save: made } = await committed(both('logged'));
    await save(caller.client, { inbound: { name: '' } });
    await save(caller.client, { inbound: { expectedRevision: 7, systemPrompt: 'Inbound, refused' } });
    const lines = lockstep.log
      .slice(from)
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ event }) => String(event).startsWith('save.'));
    expect(lines).toMatchObject([
      {
        ...{ event: 'save.ended', outcome: 'committed', by: 'request', saveId: made.id },
        ...{ orgId: caller.orgId, revisions: { INBOUND: 1, OUTBOUND: 1 }, requestId: expect.any(String) },
        ms: expect.objectContaining({ begin: expect.any(Number), vapi: expect.any(Number) }),
      },
      { event: 'save.refused', outcome: 'invalid', orgId: caller.orgId },
      { event: 'save.refused', outcome: 'revision_conflict', orgId: caller.orgId },
    ]);
    const after = await metricsNow();
    const rise = (name: string) => sample(after, name) - sample(before, name);
    for (const outcome of ['committed', 'invalid', 'revision_conflict']) {
      expect(rise(`lockstep_saves_total{by="request",outcome="${outcome}"}`), outcome).toBe(1);
    }
    expect(rise('lockstep_save_phase_seconds_count{phase="vapi"}')).toBe(1);
    expect(rise('lockstep_save_phase_seconds_count{phase="begin"}')).toBe(2);
    expect(rise('lockstep_save_phase_seconds_count{phase="total"}')).toBe(3);
  });
});

describe('what it does', () => {
  test('[2.1] each of three saves writes its own content to both systems, not that of the save before', async () => {
    for (const [index, what] of ['one', 'two', 'three'].entries()) {
      const answer = await committed(both(what));
      const { agents, assistants } = await expectLockstep(lockstep, caller.orgId);
      expect(agents.map(({ config }) => config.systemPrompt)).toEqual([
        `Inbound, ${what}`,
        `Outbound, ${what}`,
      ]);
      expect(agents.map(({ revision }) => revision)).toEqual([index + 1, index + 1]);
      for (const agent of answer.agents) {
        expect(agent).toMatchObject({ revision: index + 1, sync: { status: 'IN_SYNC', drift: [] } });
        expect(assistants.find(({ id }) => id === agent.vapiAssistantId)).toMatchObject({
          model: { messages: [{ role: 'system', content: agent.systemPrompt }] },
        });
      }
      expect(answer.agents.map(({ systemPrompt }) => systemPrompt)).toEqual([
        `Inbound, ${what}`,
        `Outbound, ${what}`,
      ]);
    }
  });

  test('every field of the input reaches both systems and is returned', async () => {
    const inbound = {
      name: 'Front desk',
      systemPrompt: 'You answer. „Zahnärzte“ 🦷',
      firstMessage: 'North Dental, how can I help?',
      voice: { provider: '11labs', voiceId: 'sarah', stability: 0.4, similarityBoost: 0.75 },
      model: { provider: 'anthropic', name: 'claude-sonnet', temperature: 0.3, maxTokens: 500 },
      language: 'pt-BR',
      maxDurationSeconds: 900,
      transferTo: [
        { number: '+14155550142', description: 'Emergencies', message: 'One moment.' },
        { number: '+14155550187', description: 'Billing', message: null },
      ],
      endCall: true,
      voicemailMessage: 'Please call us back.',
      // Without a document it changes nothing in Vapi.
      useKnowledgeBase: true,
      bookAppointments: false,
    };
    const { agents } = await committed({ inbound });
    expect(agents).toEqual([
      {
        ...inbound,
        operatorToolIds: [],
        id: expect.any(String),
        role: 'INBOUND',
        vapiAssistantId: expect.any(String),
        revision: 1,
        lastSyncedAt: expect.any(String),
        sync: { status: 'IN_SYNC', checkedAt: expect.any(String), drift: [] },
      },
    ]);
    expect(assistant(agents[0]?.vapiAssistantId ?? null)).toMatchObject({
      name: 'Front desk',
      firstMessage: 'North Dental, how can I help?',
      model: {
        provider: 'anthropic',
        model: 'claude-sonnet',
        temperature: 0.3,
        maxTokens: 500,
        messages: [{ role: 'system', content: 'You answer. „Zahnärzte“ 🦷' }],
        tools: [
          {
            type: 'transferCall',
            destinations: [
              {
                type: 'number',
                number: '+14155550142',
                description: 'Emergencies',
                message: 'One moment.',
              },
              { type: 'number', number: '+14155550187', description: 'Billing' },
            ],
          },
          { type: 'endCall' },
        ],
      },
      voicemailMessage: 'Please call us back.',
      voicemailDetection: { provider: 'vapi' },
      voice: { provider: '11labs', voiceId: 'sarah', stability: 0.4, similarityBoost: 0.75 },
      transcriber: { language: 'pt-BR' },
      maxDurationSeconds: 900,
    });
    expect(await readAgents(caller.client)).toEqual({ INBOUND: agents[0] });
    await expectLockstep(lockstep, caller.orgId);
  });

  test('the answer equals what reads return afterwards: agents, and the save by its id', async () => {
    const answer = await committed(both('read back'));
    expect(await readAgents(caller.client)).toEqual(
      Object.fromEntries(answer.agents.map((agent) => [agent.role, agent])),
    );
    expect(await readSave(caller.client, answer.save.id)).toEqual(answer.save);
    expect(answer.save).toMatchObject({ status: 'COMMITTED', finishedAt: expect.any(String) });
  });

  test('[2.8] the first save of a new agent succeeds, with or without an expected revision', async () => {
    expect((await committed({ inbound: { systemPrompt: 'New' } })).agents).toMatchObject([{ revision: 1 }]);
    const guarded = { outbound: { systemPrompt: 'New', expectedRevision: 0 } };
    expect((await committed(guarded)).agents).toMatchObject([{ revision: 1 }]);
    await expectLockstep(lockstep, caller.orgId);
  });

  test('[2.9] a role that is not named is not written, whether both are new or both exist', async () => {
    await committed({ inbound: { systemPrompt: 'Only me' } });
    expect(await expectLockstep(lockstep, caller.orgId)).toMatchObject({
      agents: [{ role: 'INBOUND' }],
      assistants: [{}],
      revisions: [{}],
    });
    expect(vapiCalls(lockstep)).toEqual(['POST /assistant']);

    await committed({ outbound: { systemPrompt: 'Me too' } });
    const before = await expectLockstep(lockstep, caller.orgId);
    const untouched = assistant(before.agents[0]?.vapi_assistant_id ?? null);
    const { agents } = await committed({ outbound: { systemPrompt: 'Me again' } });
    const after = await expectLockstep(lockstep, caller.orgId);
    expect(agents.map(({ role }) => role)).toEqual(['OUTBOUND']);
    expect(after.agents[0]).toEqual(before.agents[0]);
    // Whole, Vapi's own `updatedAt` included.
    expect(assistant(before.agents[0]?.vapi_assistant_id ?? null)).toEqual(untouched);
    expect(vapiCalls(lockstep).slice(2)).toEqual([`PATCH /assistant/${agents[0]?.vapiAssistantId}`]);
  });

  test('[2.14] [2.15] a save of one field sends the complete model and keeps all of it', async () => {
    const { agents } = await committed({
      inbound: {
        systemPrompt: 'The prompt',
        model: { provider: 'openai', name: 'gpt-4o', temperature: 0.2, maxTokens: 321 },
        voice: { provider: '11labs', voiceId: 'sarah', stability: 0.1 },
        maxDurationSeconds: 1200,
      },
    });
    const id = agents[0]?.vapiAssistantId ?? '';
    const before = assistant(id);
    await committed({ inbound: { name: 'Renamed' } });
    const sent = lockstep.vapi.requests.at(-1)?.body as Record<string, unknown>;
    expect(Object.keys(sent).sort()).toEqual(MANAGED);
    expect(sent['model']).toEqual({
      provider: 'openai',
      model: 'gpt-4o',
      temperature: 0.2,
      maxTokens: 321,
      messages: [{ role: 'system', content: 'The prompt' }],
    });
    expect(assistant(id)).toEqual({
      ...before,
      name: 'Renamed',
      metadata: expect.anything(),
      updatedAt: expect.anything(),
    });
    expect((await readAgents(caller.client)).INBOUND).toMatchObject({
      name: 'Renamed',
      model: { temperature: 0.2, maxTokens: 321 },
      voice: { stability: 0.1 },
      maxDurationSeconds: 1200,
    });
  });

  test('takes tools and voicemail back, one by one', async () => {
    const transferTo = [{ number: '+14155550142', description: 'Emergencies' }];
    const { agents } = await committed({
      inbound: { systemPrompt: 'P', transferTo, endCall: true, voicemailMessage: 'Call back.' },
    });
    const id = agents[0]?.vapiAssistantId ?? '';
    const toolTypes = () => {
      const { tools } = (assistant(id)?.['model'] ?? {}) as { tools?: { type: string }[] };
      return tools?.map(({ type }) => type);
    };
    expect(toolTypes()).toEqual(['transferCall', 'endCall']);
    await committed({ inbound: { transferTo: [] } });
    expect(toolTypes()).toEqual(['endCall']);
    await committed({ inbound: { endCall: false } });
    expect(toolTypes()).toBeUndefined();
    expect(assistant(id)).toMatchObject({ voicemailMessage: 'Call back.' });
    await committed({ inbound: { voicemailMessage: null } });
    expect(assistant(id)).toMatchObject({ voicemailMessage: null, voicemailDetection: null });
    await expectLockstep(lockstep, caller.orgId);
  });

  test('keeps fields that Lockstep does not manage, and replaces managed fields whole', async () => {
    const { agents } = await committed(both('first'));
    const id = agents[0]?.vapiAssistantId ?? '';
    lockstep.vapi.dashboardEdit(id, {
      endCallMessage: 'Goodbye',
      model: {
        provider: 'openai',
        model: 'gpt-4.1',
        toolIds: ['44444444-4444-4444-8444-444444444444'],
      },
    });
    await committed(both('second'));
    expect(assistant(id)).toMatchObject({ endCallMessage: 'Goodbye' });
    expect(assistant(id)?.['model']).not.toHaveProperty('toolIds');
    await expectLockstep(lockstep, caller.orgId);
  });

  test('null clears the first message; the agent then waits for the caller', async () => {
    await committed({ inbound: { systemPrompt: 'Me', firstMessage: 'Hello' } });
    const { agents } = await committed({ inbound: { firstMessage: null } });
    expect(agents).toMatchObject([{ firstMessage: null }]);
    expect(assistant(agents[0]?.vapiAssistantId ?? null)).toMatchObject({
      firstMessage: null,
      firstMessageMode: 'assistant-waits-for-user',
    });
    await expectLockstep(lockstep, caller.orgId);
  });

  test('[2.12] the result flags report what happened: true after a successful write', async () => {
    const answer = await committed(both('true'));
    expect(answer.save.results).toEqual(
      answer.agents.map(({ id, role, vapiAssistantId }) => ({
        role,
        agentId: id,
        success: true,
        vapiSynced: true,
        dbUpdated: true,
        assistantId: vapiAssistantId,
        error: null,
      })),
    );
  });

  test('[2.1] writes nothing to the database before Vapi has answered; reads show the save in progress', async () => {
    await committed(both('old'));
    const before = await systemsOf(lockstep, caller.orgId);
    lockstep.supabase.requests.reset();
    const middle = gate();
    lockstep.vapi.faults.add({ kind: 'hold', match: { bodyIncludes: 'Outbound' }, until: middle.until });
    const running = save(caller.client, both('new'));
    await middle.reached;
    const during = await systemsOf(lockstep, caller.orgId);
    expect({ ...during, assistants: [] }).toEqual({ ...before, assistants: [] });
    expect(await readAgents(caller.client)).toMatchObject({
      INBOUND: { systemPrompt: 'Inbound, old', revision: 1, sync: { status: 'SAVING' } },
      OUTBOUND: { systemPrompt: 'Outbound, old', revision: 1, sync: { status: 'SAVING' } },
    });
    expect(databaseCalls(lockstep)).not.toContain('POST rpc/saga_commit');
    middle.open();
    expectAnswer(await running, 'UpdateAgentsSuccess');
    expect((await readAgents(caller.client)).INBOUND).toMatchObject({
      revision: 2,
      sync: { status: 'IN_SYNC' },
    });
    await expectLockstep(lockstep, caller.orgId);
  });

  test('every request to Vapi has the key and a User-Agent, and no read-only field', async () => {
    await committed(both('one'));
    await committed(both('two'));
    expect(lockstep.vapi.requests).toHaveLength(4);
    for (const { key, userAgent, body } of lockstep.vapi.requests) {
      expect({ key, userAgent }).toEqual({ key: 'key-1', userAgent: expect.stringMatching(/^lockstep/) });
      expect(Object.keys(body as object).sort()).toEqual(MANAGED);
    }
  });
});

describe('a save without changes', () => {
  test('is sent and verified like any other, and keeps its revision and its history', async () => {
    const first = await committed(both('same'));
    lockstep.supabase.requests.reset();
    const again = await committed(both('same'));
    expect(databaseCalls(lockstep)).toEqual(['POST rpc/begin_agents', 'POST rpc/saga_commit']);
    expect(vapiCalls(lockstep)).toHaveLength(4);
    expect(again.agents).toMatchObject([{ revision: 1 }, { revision: 1 }]);
    expect(again.save.id).not.toBe(first.save.id);
    const rows = await lockstep.supabase.sql`
      select last_save_id from public.agents where org_id = ${caller.orgId}`;
    expect(rows.map((row) => row['last_save_id'])).toEqual([again.save.id, again.save.id]);
    const revisions = await lockstep.supabase.sql`
      select revision from public.agent_revisions where org_id = ${caller.orgId}`;
    expect(revisions).toHaveLength(2);
    await expectLockstep(lockstep, caller.orgId);
    // A change of one agent raises the revision of that one.
    const half = { ...both('same'), outbound: { systemPrompt: 'Other' } };
    expect((await committed(half)).agents).toMatchObject([
      { revision: 1 },
      { revision: 2, systemPrompt: 'Other' },
    ]);
  });

  test('overwrites an edit made in the Vapi dashboard, seen or not, when it answers COMMITTED', async () => {
    const { agents } = await committed(both('same'));
    const id = String(agents[0]?.vapiAssistantId);
    const edit = () => lockstep.vapi.store.patch(DEFAULT_VAPI_ORG_ID, id, { name: 'Edited by hand' });
    const ours = assistant(id)?.['name'];
    edit();
    const again = await committed(both('same'));
    expect(again.save.status).toBe('COMMITTED');
    expect(assistant(id)?.['name']).toBe(ours);
    // Known drift is cleared as well.
    edit();
    await lockstep.supabase.sql`
      update public.agents set drift = '[{"path": "name", "ours": "a", "theirs": "b"}]', checked_at = now()
      where org_id = ${caller.orgId} and role = 'INBOUND'`;
    expect((await committed(both('same'))).agents[0]).toMatchObject({
      revision: 1,
      sync: { status: 'IN_SYNC' },
    });
    expect(assistant(id)?.['name']).toBe(ours);
    await expectLockstep(lockstep, caller.orgId);
  });
});

describe('an agent that was saved before a field existed', () => {
  test("gets the field's default with its next save", async () => {
    await committed(both('old'));
    await lockstep.supabase.sql`
      update public.agents set config = config - 'maxDurationSeconds' where org_id = ${caller.orgId}`;
    await committed({ ...both('old'), inbound: { systemPrompt: 'Newer' } });
    const rows = await lockstep.supabase.sql`
      select config ? 'maxDurationSeconds' as has from public.agents
      where org_id = ${caller.orgId} and role = 'INBOUND'`;
    expect(rows).toMatchObject([{ has: true }]);
    await expectLockstep(lockstep, caller.orgId);
  });

  test('is read with the default, and a save that changes nothing keeps its revision', async () => {
    await committed(both('old'));
    await lockstep.supabase.sql`
      update public.agents set config = config - '{transferTo,endCall,voicemailMessage,useKnowledgeBase,bookAppointments}'::text[]
      where org_id = ${caller.orgId}`;
    await lockstep.supabase.sql`
      update public.agent_revisions set config = config - '{transferTo,endCall,voicemailMessage,useKnowledgeBase,bookAppointments}'::text[]
      where org_id = ${caller.orgId}`;
    const defaults = {
      ...{ transferTo: [], endCall: false, voicemailMessage: null },
      ...{ useKnowledgeBase: false, bookAppointments: false },
    };
    expect((await readAgents(caller.client)).INBOUND).toMatchObject(defaults);
    expect(await committed({ ...both('old'), inbound: { endCall: false } })).toMatchObject({
      agents: [
        { ...defaults, revision: 1 },
        { ...defaults, revision: 1 },
      ],
      revisions: [
        { ...defaults, revision: 1 },
        { ...defaults, revision: 1 },
      ],
    });
    await expectLockstep(lockstep, caller.orgId);
  });
});

import { gql } from 'graphql-request';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/domain/json.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';

const SAVE = gql`
  mutation ($input: UpdateAgentsInput!) {
    updateAgents(input: $input) {
      __typename
      ... on UpdateAgentsSuccess { agents { role revision vapiAssistantId } }
      ... on SaveFailedError { reason }
      ... on Error { message }
    }
  }
`;
const READ = gql`
  {
    agents {
      role name systemPrompt revision vapiAssistantId
      sync { status checkedAt drift { path ours theirs } }
    }
  }
`;
const SETTLE = gql`
  mutation ($input: SettleDriftInput!) {
    settleDrift(input: $input) {
      __typename
      ... on UpdateAgentsSuccess { agents { role name revision sync { status } } }
      ... on ValidationError { issues { path message } }
      ... on Error { message }
    }
  }
`;

interface ReadAgent {
  role: string;
  name: string;
  systemPrompt: string;
  revision: number;
  vapiAssistantId: string;
  sync: { status: string; checkedAt: string; drift: { path: string; ours: unknown; theirs: unknown }[] };
}

describe('the sweep', () => {
  let lockstep: TestApp;
  let caller: Caller;
  beforeAll(async () => {
    lockstep = await createTestApp();
  });
  afterAll(() => lockstep.stop());
  afterEach(() => lockstep.vapi.faults.clear());

  const saved = async () => {
    caller = await lockstep.newCaller();
    await caller.client.request(SAVE, {
      input: { inbound: { systemPrompt: 'In', name: 'Reception' }, outbound: { systemPrompt: 'Out' } },
    });
    return inbound();
  };
  const agents = async () => (await caller.client.request<{ agents: ReadAgent[] }>(READ)).agents;
  const inbound = async () => {
    const [agent] = await agents();
    if (agent === undefined) throw new Error('no agent');
    return agent;
  };
  const stored = (id: string) =>
    lockstep.vapi.store.all().find((assistant) => assistant['id'] === id) as JsonObject;
  const policy = (value: string) =>
    lockstep.supabase.sql`update public.organizations set drift_policy = ${value} where id = ${caller.orgId}`;

  test('confirms what is equal, with one list call for all organizations', async () => {
    const before = await saved();
    await saved();
    const from = lockstep.vapi.requests.length;
    const rows = () => lockstep.supabase.sql`select id, xmin::text from public.agents order by id`;
    const written = await rows();
    const report = await lockstep.app.sweep();
    expect(report).toMatchObject({ stopped: null, drifted: 0, repaired: 0, missing: 0 });
    // One time for all of them, and no write to any.
    expect(await rows()).toEqual(written);
    expect(report?.same).toBeGreaterThanOrEqual(4);
    expect(lockstep.vapi.requests.slice(from).map(({ method, path }) => `${method} ${path}`)).toEqual([
      'GET /assistant',
    ]);
    const after = await inbound();
    expect(after.sync.status).toBe('IN_SYNC');
    expect(Date.parse(after.sync.checkedAt)).toBeGreaterThan(Date.parse(before.sync.checkedAt));
    // The time of the sweep does not count for an agent that it could not judge.
    await lockstep.supabase.sql`update public.agents set unconfirmed = true`;
    const own = Date.parse((await inbound()).sync.checkedAt);
    expect(own).toBeLessThan(Date.parse(after.sync.checkedAt));
    expect(await lockstep.app.sweep()).toMatchObject({ stopped: null });
    expect(Date.parse((await inbound()).sync.checkedAt)).toBeGreaterThan(own);
  });

  test('reads an account of any size page by page, each assistant once', async () => {
    const agent = await saved();
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'Edited by hand' });
    const { orgId } = stored(agent.vapiAssistantId);
    // Many in the same millisecond: a page ends in the middle of them.
    const strangers = Array.from({ length: 2_500 }, () =>
      String(lockstep.vapi.store.create(String(orgId), { name: 'somebody else' })['id']),
    );
    const from = lockstep.vapi.requests.length;
    expect(await lockstep.app.sweep()).toMatchObject({
      stopped: null,
      drifted: 1,
      repaired: 1,
      missing: 0,
      unreferenced: strangers.length,
    });
    const lists = lockstep.vapi.requests.slice(from).filter(({ path }) => path === '/assistant');
    // The first page is small: how large the assistants are is known after it.
    expect(lists).toHaveLength(4);
    for (const id of strangers) lockstep.vapi.dashboardDelete(id);
  });

  test('reverts an edit made in the Vapi dashboard by default, and keeps the revision', async () => {
    const agent = await saved();
    const before = stored(agent.vapiAssistantId);
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, {
      name: 'Edited by hand',
      endCallMessage: 'not ours',
    });
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 1, repaired: 1 });
    expect(stored(agent.vapiAssistantId)).toMatchObject({ name: 'Reception', model: before['model'] });
    expect(await inbound()).toMatchObject({ revision: 1, sync: { status: 'IN_SYNC', drift: [] } });
  });

  test('shows drift field by field, with secrets hidden, until a user resolves it either way', async () => {
    const agent = await saved();
    await policy('ADOPT');
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, {
      model: {
        provider: 'openai',
        model: 'gpt-4.1',
        messages: [{ role: 'system', content: 'In' }],
        tools: [
          {
            type: 'function',
            function: { name: 'x' },
            server: { url: 'https://x.example', secret: 'hunter2-hunter2' },
          },
        ],
      },
    });
    // Tools cannot be said in our configuration: it is shown, not adopted.
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 1, adopted: 0, repaired: 0 });
    const drifted = await inbound();
    expect(drifted).toMatchObject({ revision: 1, sync: { status: 'DRIFTED' } });
    expect(drifted.sync.drift.map(({ path }) => path)).toEqual(['model.tools']);
    expect(JSON.stringify(drifted)).not.toContain('hunter2');
    const adopt = { input: { role: 'INBOUND', resolution: 'ADOPT' } };
    expect(await caller.client.request(SETTLE, adopt)).toMatchObject({
      settleDrift: { __typename: 'ValidationError', issues: [{ path: 'input.resolution' }] },
    });
    const revert = { input: { role: 'INBOUND', resolution: 'REVERT' } };
    expect(await caller.client.request(SETTLE, revert)).toMatchObject({
      settleDrift: {
        __typename: 'UpdateAgentsSuccess',
        agents: [{ revision: 1, sync: { status: 'IN_SYNC' } }],
      },
    });
    expect(stored(agent.vapiAssistantId)['model']).not.toHaveProperty('tools');
  });

  describe('tools of an agent', () => {
    const DESK = { number: '+14155550142', description: 'The front desk' };
    const FOREIGN = '44444444-4444-4444-8444-444444444444';
    const modelOf = (id: string) => stored(id)['model'] as JsonObject;
    const transfer = { type: 'transferCall', destinations: [{ type: 'number', ...DESK }] };
    const withTools = async () => {
      await saved();
      await caller.client.request(SAVE, { input: { inbound: { transferTo: [DESK], endCall: true } } });
      return (await inbound()).vapiAssistantId;
    };
    const edit = (id: string, change: JsonObject) =>
      lockstep.vapi.dashboardEdit(id, { model: { ...modelOf(id), ...change } });

    test.each<[string, JsonObject]>([
      ['a tool by its id', { toolIds: [FOREIGN] }],
      ['a pinned tool', { toolRefs: [{ toolId: FOREIGN, version: 'v1' }] }],
      ['another inline tool', { tools: [transfer, { type: 'endCall' }, { type: 'dtmf' }] }],
      ['another destination', { tools: [{ ...transfer, destinations: [] }, { type: 'endCall' }] }],
      [
        'another number',
        {
          tools: [
            { ...transfer, destinations: [{ type: 'number', ...DESK, number: '+14155550199' }] },
            { type: 'endCall' },
          ],
        },
      ],
      [
        'words that are spoken',
        {
          tools: [
            { ...transfer, messages: [{ type: 'request-start', content: 'Hm.' }] },
            { type: 'endCall' },
          ],
        },
      ],
      ['no tools', { tools: [] }],
    ])('%s is drift, and is reverted', async (_what, change) => {
      const id = await withTools();
      const ours = structuredClone(modelOf(id));
      edit(id, change);
      expect(await lockstep.app.sweep()).toMatchObject({ drifted: 1, repaired: 1 });
      expect(modelOf(id)).toEqual(ours);
      expect(ours).toMatchObject({ tools: [transfer, { type: 'endCall' }] });
    });

    test('what Vapi adds to a tool is no drift', async () => {
      const id = await withTools();
      const added = { id: FOREIGN, createdAt: '2026-01-01T00:00:00.000Z', async: false, messages: [] };
      const destinations = [{ type: 'number', ...DESK, numberE164CheckEnabled: true }];
      edit(id, {
        tools: [
          { ...transfer, ...added, destinations },
          { type: 'endCall', ...added },
        ],
      });
      expect(await lockstep.app.sweep()).toMatchObject({ drifted: 0, repaired: 0 });
    });

    test('the policy ADOPT takes what a configuration can say, and never a tool from elsewhere', async () => {
      const id = await withTools();
      await policy('ADOPT');
      edit(id, { tools: [transfer] });
      lockstep.vapi.dashboardEdit(id, {
        voicemailMessage: 'Call back.',
        voicemailDetection: { provider: 'vapi' },
      });
      expect(await lockstep.app.sweep()).toMatchObject({ drifted: 1, adopted: 1 });
      expect(
        await caller.client.request('{ agent(role: INBOUND) { endCall voicemailMessage revision } }'),
      ).toEqual({ agent: { endCall: false, voicemailMessage: 'Call back.', revision: 3 } });
      edit(id, { toolIds: [FOREIGN] });
      expect(await lockstep.app.sweep()).toMatchObject({ drifted: 1, adopted: 0, repaired: 0 });
      expect(await settle({ resolution: 'ADOPT' })).toMatchObject({
        settleDrift: { __typename: 'ValidationError' },
      });
      await settle({ resolution: 'REVERT' });
      expect(modelOf(id)).not.toHaveProperty('toolIds');
    });
  });

  const settle = (input: object) =>
    caller.client.request<{ settleDrift: object }>(SETTLE, { input: { role: 'INBOUND', ...input } });
  const setPolicy = (value: string) =>
    caller.client.request(
      gql`
        mutation ($policy: DriftPolicy!) {
          setDriftPolicy(policy: $policy) {
            __typename
            ... on SetDriftPolicySuccess { policy }
          }
        }
      `,
      { policy: value },
    );

  test('settleDrift adopts an edit that no sweep has seen', async () => {
    const agent = await saved();
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'Front desk' });
    expect(await settle({ resolution: 'ADOPT' })).toMatchObject({
      settleDrift: { agents: [{ name: 'Front desk', revision: 2, sync: { status: 'IN_SYNC' } }] },
    });
    expect(stored(agent.vapiAssistantId)['name']).toBe('Front desk');
  });

  test('settleDrift adopts what Vapi holds now, not what an earlier sweep saw', async () => {
    const agent = await saved();
    await setPolicy('REPORT');
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'First edit' });
    await lockstep.app.sweep();
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'Second edit' });
    expect(await settle({ resolution: 'ADOPT' })).toMatchObject({
      settleDrift: { agents: [{ name: 'Second edit', revision: 2 }] },
    });
  });

  test('settleDrift reverts an edit that no sweep has seen', async () => {
    const agent = await saved();
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'Front desk' });
    expect(await settle({ resolution: 'REVERT' })).toMatchObject({
      settleDrift: { agents: [{ name: 'Reception', revision: 1 }] },
    });
    expect(stored(agent.vapiAssistantId)['name']).toBe('Reception');
  });

  test('settleDrift refuses to adopt if Vapi holds what the agent says, and changes nothing', async () => {
    await saved();
    expect(await settle({ resolution: 'ADOPT' })).toMatchObject({
      settleDrift: { __typename: 'ValidationError', issues: [{ path: 'input.resolution' }] },
    });
    expect(await inbound()).toMatchObject({ revision: 1 });
  });

  test('settleDrift returns the same answer for a repeated idempotency key', async () => {
    const agent = await saved();
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'Front desk' });
    const adopt = { resolution: 'ADOPT', idempotencyKey: 'adopt it once' };
    const first = await settle(adopt);
    expect(first).toMatchObject({ settleDrift: { agents: [{ name: 'Front desk', revision: 2 }] } });
    expect(await settle(adopt)).toEqual(first);
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'Edited once more' });
    expect(await settle(adopt)).toEqual(first);
    expect(stored(agent.vapiAssistantId)['name']).toBe('Edited once more');
    expect(await settle({ ...adopt, resolution: 'REVERT' })).toMatchObject({
      settleDrift: { __typename: 'IdempotencyConflictError' },
    });
    expect(await inbound()).toMatchObject({ revision: 2 });
    expect(await settle({ resolution: 'REVERT', idempotencyKey: '' })).toMatchObject({
      settleDrift: { __typename: 'ValidationError', issues: [{ path: 'input.idempotencyKey' }] },
    });
    await settle({ resolution: 'REVERT' });
  });

  test.each(['ADOPT', 'REVERT'])('settleDrift refuses to %s at another revision', async (resolution) => {
    const agent = await saved();
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'Front desk' });
    for (const expectedRevision of [2, 7]) {
      expect(await settle({ resolution, expectedRevision })).toMatchObject({
        settleDrift: { __typename: 'RevisionConflictError' },
      });
    }
    expect(stored(agent.vapiAssistantId)['name']).toBe('Front desk');
    expect(await settle({ resolution, expectedRevision: 1 })).toMatchObject({
      settleDrift: { __typename: 'UpdateAgentsSuccess' },
    });
  });

  test('settleDrift adopts nothing while Vapi cannot be read', async () => {
    await saved();
    lockstep.vapi.faults.add({ kind: 'status-before', match: { method: 'GET' }, status: 503 });
    expect(await settle({ resolution: 'ADOPT' })).toMatchObject({
      settleDrift: { __typename: 'UnavailableError', message: expect.stringContaining('Vapi') },
    });
    expect(await inbound()).toMatchObject({ revision: 1 });
  });

  test('REPORT shows an edit and changes nothing, also if the edit destroyed the stamp', async () => {
    const agent = await saved();
    expect(await setPolicy('REPORT')).toEqual({
      setDriftPolicy: { __typename: 'SetDriftPolicySuccess', policy: 'REPORT' },
    });
    expect(await caller.client.request('{ organization { driftPolicy } }')).toEqual({
      organization: { driftPolicy: 'REPORT' },
    });
    const writes = () => lockstep.vapi.requests.filter(({ method }) => method !== 'GET').length;
    const before = writes();
    for (const edit of [{ name: 'By hand' }, { name: 'By hand again', metadata: {} }]) {
      lockstep.vapi.dashboardEdit(agent.vapiAssistantId, edit);
      expect(await lockstep.app.sweep()).toMatchObject({ drifted: 1, repaired: 0, adopted: 0 });
      expect((await inbound()).sync).toMatchObject({
        status: 'DRIFTED',
        drift: [{ path: 'name', ours: 'Reception', theirs: edit.name }],
      });
    }
    expect(writes()).toBe(before);
    await settle({ resolution: 'REVERT' });
    expect(stored(agent.vapiAssistantId)['name']).toBe('Reception');
  });

  test('a reverted edit leaves a log line that names its save', async () => {
    const agent = await saved();
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'By hand' });
    const from = lockstep.log.length;
    await lockstep.app.sweep();
    const lines = lockstep.log.slice(from).filter((line) => line.includes('"event":"sweep.repaired"'));
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { orgId: caller.orgId, role: 'INBOUND', kind: 'REVERT', saveId: expect.any(String) },
    ]);
  });

  test('adopts an edit that our configuration can say, foreign metadata included, where the organization wants that', async () => {
    const agent = await saved();
    await policy('ADOPT');
    const { lockstep: stamp } = stored(agent.vapiAssistantId)['metadata'] as { lockstep: JsonObject };
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, {
      name: 'Front desk',
      firstMessage: 'Hi!',
      firstMessageMode: 'assistant-speaks-first',
      metadata: { lockstep: stamp, crm: 'A-17' },
    });
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 1, adopted: 1 });
    expect(await inbound()).toMatchObject({ name: 'Front desk', revision: 2, sync: { status: 'IN_SYNC' } });
    expect(stored(agent.vapiAssistantId)).toMatchObject({
      name: 'Front desk',
      firstMessage: 'Hi!',
      metadata: { crm: 'A-17' },
    });
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 0, repaired: 0 });
  });

  test('repairs a stale stamp, which is our own late write, and never adopts it', async () => {
    const agent = await saved();
    await policy('ADOPT');
    const old = structuredClone(stored(agent.vapiAssistantId));
    await caller.client.request(SAVE, { input: { inbound: { name: 'Second' } } });
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, {
      name: old['name'] ?? null,
      metadata: old['metadata'] ?? null,
    });
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 0, adopted: 0, repaired: 1 });
    expect(stored(agent.vapiAssistantId)['name']).toBe('Second');
    expect(await (await fetch(`${lockstep.origin}/metrics`)).text()).toContain(
      'lockstep_events_total{event="vapi.late_write"} 1',
    );
  });

  test('shows a deleted assistant as missing and does not create it again', async () => {
    const agent = await saved();
    lockstep.vapi.dashboardDelete(agent.vapiAssistantId);
    expect(await lockstep.app.sweep()).toMatchObject({ missing: 1 });
    expect((await inbound()).sync.status).toBe('MISSING');
    expect(await lockstep.app.sweep()).toMatchObject({ missing: 0 });
    expect(
      await caller.client.request(SAVE, { input: { inbound: { recreateIfMissing: true } } }),
    ).toMatchObject({ updateAgents: { __typename: 'UpdateAgentsSuccess' } });
    expect((await inbound()).sync.status).toBe('IN_SYNC');
  });

  test('repairs in one sweep an assistant that was marked missing and exists with a stale stamp', async () => {
    const agent = await saved();
    const old = structuredClone(stored(agent.vapiAssistantId));
    await caller.client.request(SAVE, { input: { inbound: { name: 'Second' } } });
    lockstep.vapi.faults.add({ kind: 'status-before', match: { method: 'PATCH' }, status: 404 });
    expect(await caller.client.request(SAVE, { input: { inbound: { name: 'Third' } } })).toMatchObject({
      updateAgents: { reason: 'ASSISTANT_MISSING' },
    });
    expect((await inbound()).sync.status).toBe('MISSING');
    lockstep.vapi.dashboardEdit(agent.vapiAssistantId, {
      name: old['name'] ?? null,
      metadata: old['metadata'] ?? null,
    });
    expect(await lockstep.app.sweep()).toMatchObject({ repaired: 1 });
    expect(stored(agent.vapiAssistantId)['name']).toBe('Second');
    expect(await inbound()).toMatchObject({ revision: 2, sync: { status: 'IN_SYNC' } });
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 0, repaired: 0, missing: 0 });
  });

  test('deletes only what a closed save of this deployment made and did not keep', async () => {
    const agent = await saved();
    const { lockstep: stamp } = stored(agent.vapiAssistantId)['metadata'] as { lockstep: JsonObject };
    const {
      id: _id,
      createdAt: _c,
      updatedAt: _u,
      orgId,
      latestVersion: _l,
      isServerUrlSecretSet: _s,
      ...document
    } = stored(agent.vapiAssistantId);
    const copy = (changed: JsonObject) =>
      String(
        lockstep.vapi.store.create(String(orgId), {
          ...document,
          metadata: { lockstep: { ...stamp, ...changed } },
        })['id'],
      );
    // A second POST of the save that made the agent, as one without an answer leaves it behind.
    const orphan = copy({});
    const others = [
      copy({ deployment: '99999999-9999-4999-8999-999999999999' }),
      copy({ saveId: '99999999-9999-4999-8999-999999999999' }),
      copy({ orgId: 'no uuid' }),
      String(lockstep.vapi.store.create(String(orgId), { name: 'somebody else' })['id']),
    ];
    await lockstep.supabase.sql`update public.sagas set finished_at = finished_at - interval '1 hour'`;
    const left = () => lockstep.vapi.store.all().map((assistant) => assistant['id']);
    // Every request of that save was answered: it kept all that it made, and a copy is a person's, stamp and all.
    expect(await lockstep.app.sweep()).toMatchObject({ orphansDeleted: 0, unreferenced: 5 });
    expect(left()).toEqual(expect.arrayContaining([orphan, ...others, agent.vapiAssistantId]));
    await lockstep.supabase
      .sql`update public.sagas set ambiguous = true where id = ${String(stamp['saveId'])}`;
    expect(await lockstep.app.sweep()).toMatchObject({ orphansDeleted: 1, unreferenced: 4 });
    expect(left()).not.toContain(orphan);
    expect(left()).toEqual(expect.arrayContaining([...others, agent.vapiAssistantId]));
    for (const id of others) lockstep.vapi.dashboardDelete(id);
  });

  test('stops, and changes nothing, when the key is refused or belongs to another account', async () => {
    const agent = await saved();
    await saved();
    await saved();
    lockstep.vapi.faults.add({
      match: { method: 'GET' },
      kind: 'status-before',
      status: 401,
      times: Infinity,
    });
    expect(await lockstep.app.sweep()).toMatchObject({ stopped: 'VAPI_UNAUTHORIZED', missing: 0 });
    lockstep.vapi.faults.clear();
    lockstep.vapi.setKeys([{ key: lockstep.vapi.key, orgId: '22222222-2222-4222-8222-222222222222' }]);
    expect(await lockstep.app.sweep()).toMatchObject({ stopped: 'TOO_MANY_MISSING', missing: 0 });
    lockstep.vapi.setKeys([{ key: lockstep.vapi.key }]);
    expect(agent.sync.status).toBe('IN_SYNC');
    expect(await lockstep.app.sweep()).toMatchObject({ stopped: null, missing: 0 });
  });

  test('one replica sweeps at a time', async () => {
    const second = await createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi });
    const reports = await Promise.all([lockstep.app.sweep(), second.app.sweep()]);
    expect(reports.map((report) => report?.stopped).sort()).toEqual(['NOT_LEADER', null].sort());
    await second.stop();
  });

  describe('with the default interval of five minutes', () => {
    const replica = () =>
      createTestApp({
        supabase: lockstep.supabase,
        vapi: lockstep.vapi,
        reconcileIntervalMs: 300_000,
      });
    // The other tests sweep from this process and keep the lease.
    beforeEach(async () => {
      await lockstep.supabase.sql`delete from lockstep.leases`;
    });
    /** Waits for a sweep that ran by itself; far below the interval, and below the lease of a sweep. */
    const expectName = (id: string, name: string) =>
      expect.poll(() => stored(id)['name'], { timeout: 120_000 }).toBe(name);

    test('a replica sweeps at once when it replaces one that was stopped', async () => {
      const agent = await saved();
      const id = agent.vapiAssistantId;
      const first = await replica();
      lockstep.vapi.dashboardEdit(id, { name: 'Edited while the first replica ran' });
      await expect
        .poll(() => first.log.some((line) => line.includes('"event":"sweep.done"')), { timeout: 120_000 })
        .toBe(true);
      await first.stop();
      lockstep.vapi.dashboardEdit(id, { name: 'Edited while no replica ran' });
      const second = await replica();
      await expectName(id, 'Reception');
      await second.stop();
    });

    test('a replica sweeps as soon as the lease of a killed one has expired', async () => {
      const agent = await saved();
      lockstep.vapi.dashboardEdit(agent.vapiAssistantId, { name: 'Edited by hand' });
      await lockstep.supabase.sql`select public.lease_take('sweep', 'a process that was killed', 3000)`;
      const next = await replica();
      await expectName(agent.vapiAssistantId, 'Reception');
      await next.stop();
    });
  });

  test('keys and images are deleted after 72 hours, and not before, however many there are', async () => {
    caller = await lockstep.newCaller();
    const input = { inbound: { systemPrompt: 'In' }, idempotencyKey: 'k' };
    await caller.client.request(SAVE, { input });
    // More than one go forgets.
    await lockstep.supabase.sql`
      insert into public.sagas (id, org_id, idempotency_key, request_hash, kind, cause, status, epoch, deadline_at,
        mapping_version, results, started_at, finished_at)
      select gen_random_uuid(), ${caller.orgId}, 'k' || n, '', 'agents', 'USER', 'ROLLED_BACK', 1, now(), 1, '[]', now(), now()
      from generate_series(1, 1200) n`;
    const age = (hours: number) =>
      lockstep.supabase
        .sql`update public.sagas set finished_at = now() - ${`${hours} hours`}::interval where org_id = ${caller.orgId}`;
    const left = async () => {
      const [found] = await lockstep.supabase.sql`
        select count(s.idempotency_key)::int as keys, jsonb_agg(p.after_content) filter (where p.saga_id is not null) as images
        from public.sagas s left join lockstep.saga_parts p on p.saga_id = s.id where s.org_id = ${caller.orgId}`;
      return found;
    };
    await age(71);
    await lockstep.app.cleanUp();
    expect(await left()).toMatchObject({ keys: 1_201, images: [{ systemPrompt: 'In' }] });
    await age(73);
    // Two replicas at once are not in each other's way.
    const second = await createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi });
    await Promise.all([lockstep.app.cleanUp(), second.app.cleanUp()]);
    await second.stop();
    expect(await left()).toMatchObject({ keys: 0, images: [{}] });
  });

  test('a cleanup with nothing to do reads by an index, however many saves there are', async () => {
    caller = await lockstep.newCaller();
    const { sql } = lockstep.supabase;
    await sql`
      insert into public.sagas (id, org_id, idempotency_key, request_hash, kind, cause, status, epoch, deadline_at,
        mapping_version, results, started_at, finished_at)
      select gen_random_uuid(), ${caller.orgId}, 'many' || n, '', 'agents', 'USER', 'ROLLED_BACK', 1, now(), 1, '[]', now(), now()
      from generate_series(1, 20000) n`;
    await sql`
      insert into lockstep.saga_parts (saga_id, org_id, key, resource, resource_id, before_revision, after_content,
        after_revision)
      select id, org_id, 'INBOUND', 'agent', gen_random_uuid(), 0, '{"name": "x"}', 1 from public.sagas
      where org_id = ${caller.orgId}`;
    await sql`analyze public.sagas`;
    await sql`analyze lockstep.saga_parts`;
    await lockstep.app.cleanUp();
    // Pages that one call touches: counts work and not time. Reading every save takes more than 500.
    const touched = await sql.begin(async (tx) => {
      await tx`set local role service_role`;
      const [row] = await tx`explain (analyze, buffers, format json) select public.saga_cleanup(500, 90)`;
      const plans: { Plan: Record<string, number> }[] = row?.['QUERY PLAN'] ?? [];
      const plan = plans[0]?.Plan ?? {};
      return (plan['Shared Hit Blocks'] ?? 0) + (plan['Shared Read Blocks'] ?? 0);
    });
    expect(touched).toBeLessThan(300);
  });

  test('also while the sweep is turned off', async () => {
    caller = await lockstep.newCaller();
    await caller.client.request(SAVE, { input: { inbound: { systemPrompt: 'In' }, idempotencyKey: 'k' } });
    await lockstep.supabase
      .sql`update public.sagas set finished_at = now() - interval '73 hours' where org_id = ${caller.orgId}`;
    const keys = async () => {
      const saves = await lockstep.supabase
        .sql`select idempotency_key from public.agent_saves where org_id = ${caller.orgId}`;
      return saves.map((save) => save['idempotency_key'] as string | null);
    };
    expect(await keys()).toEqual(['k']);
    const { app, stop } = await createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi });
    app.start();
    await expect.poll(keys, { timeout: 120_000 }).toEqual([null]);
    await stop();
  });
});

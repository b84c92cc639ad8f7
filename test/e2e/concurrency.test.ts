/** Saves side by side: of one organization, and of two. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Caller, createTestApp, PATIENT_SETTINGS, type TestApp } from '../support/app.ts';
import { gate } from '../support/gate.ts';
import { expectAnswer, readSave, type SaveInput, save } from '../support/operations.ts';
import { expectLockstep, forgetRequests, systemsOf, vapiCalls } from '../support/systems.ts';

let lockstep: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp({ settings: PATIENT_SETTINGS });
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  caller = await lockstep.newCaller();
});

const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});
const committed = async (input: SaveInput) =>
  expectAnswer(await save(caller.client, input), 'UpdateAgentsSuccess');

describe('[2.4] two saves of one organization', () => {
  test('the second receives SaveInProgressError, and changes nothing', async () => {
    await committed(both('before'));
    await forgetRequests(lockstep);
    const middle = gate();
    lockstep.vapi.faults.add({
      kind: 'hold',
      match: { bodyIncludes: 'first' },
      times: 2,
      until: middle.until,
    });
    const first = save(caller.client, both('first'));
    await middle.reached;
    const second = expectAnswer(await save(caller.client, both('second')), 'SaveInProgressError');
    expect(second).toMatchObject({ status: 'APPLYING', retryAfterMs: expect.any(Number) });
    expect(second.retryAfterMs).toBeGreaterThan(0);
    expect(await readSave(caller.client, second.saveId)).toMatchObject({
      status: 'APPLYING',
      finishedAt: null,
    });
    middle.open();
    expect(expectAnswer(await first, 'UpdateAgentsSuccess').save.id).toBe(second.saveId);
    expect(vapiCalls(lockstep)).toHaveLength(2);
    expect((await expectLockstep(lockstep, caller.orgId)).agents).toMatchObject([
      { revision: 2, config: { systemPrompt: 'Inbound, first' } },
      { revision: 2, config: { systemPrompt: 'Outbound, first' } },
    ]);
  });

  test('exclude each other even if they name different agents', async () => {
    const middle = gate();
    lockstep.vapi.faults.add({ kind: 'hold', until: middle.until });
    const first = save(caller.client, { inbound: { systemPrompt: 'P' } });
    await middle.reached;
    const second = await save(caller.client, { outbound: { systemPrompt: 'P' } });
    expectAnswer(second, 'SaveInProgressError');
    middle.open();
    expectAnswer(await first, 'UpdateAgentsSuccess');
  });

  test('ten concurrent saves from two replicas are never mixed or lost, and have one order in both systems', async () => {
    const replica = await createTestApp({
      settings: PATIENT_SETTINGS,
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
    });
    try {
      await committed(both('save 0'));
      await forgetRequests(lockstep);
      const clients = [caller.client, replica.clientFor(caller.token)];
      const answers = await Promise.all(
        Array.from({ length: 10 }, async (_, index) => {
          for (;;) {
            const client = clients[index % 2] ?? caller.client;
            const answer = await save(client, both(`save ${index + 1}`));
            if (answer.__typename !== 'SaveInProgressError')
              return expectAnswer(answer, 'UpdateAgentsSuccess');
            await sleep(20);
          }
        }),
      );
      const { agents, revisions } = await expectLockstep(lockstep, caller.orgId);
      expect(agents).toMatchObject([{ revision: 11 }, { revision: 11 }]);
      // Both agents of every revision come from the same save.
      const prompts = (role: string) =>
        revisions
          .filter((revision) => revision['role'] === role)
          .map(({ config }) => (config as { systemPrompt: string }).systemPrompt.split(', ')[1]);
      expect(prompts('INBOUND')).toEqual(prompts('OUTBOUND'));
      expect(prompts('INBOUND').toSorted()).toEqual(
        Array.from({ length: 11 }, (_, index) => `save ${index}`).toSorted(),
      );
      // Vapi got them in the order in which the database has them.
      const sent = lockstep.vapi.requests.map(
        ({ body }) => (body as { metadata: { lockstep: { revision: number } } }).metadata.lockstep.revision,
      );
      expect(sent).toEqual(sent.toSorted((a, b) => a - b));
      expect(sent).toHaveLength(20);
      // Each was told of its own content.
      for (const [index, answer] of answers.entries()) {
        expect(answer.agents.map((agent) => agent.systemPrompt)).toEqual([
          `Inbound, save ${index + 1}`,
          `Outbound, save ${index + 1}`,
        ]);
      }
    } finally {
      await replica.stop();
    }
  });

  test('[2.10] two concurrent first saves create one agent and one assistant for each role', async () => {
    const answers = await Promise.all([save(caller.client, both('a')), save(caller.client, both('b'))]);
    expect(answers.filter(({ __typename }) => __typename === 'UpdateAgentsSuccess').length).toBeGreaterThan(
      0,
    );
    for (const { __typename } of answers)
      expect(['UpdateAgentsSuccess', 'SaveInProgressError']).toContain(__typename);
    expect((await expectLockstep(lockstep, caller.orgId)).agents.map(({ role }) => role)).toEqual([
      'INBOUND',
      'OUTBOUND',
    ]);
  });

  test('[2.10] the database refuses a second agent of a role, and a second agent for one assistant', async () => {
    await committed(both('one'));
    const stranger = await lockstep.newCaller();
    const { sql } = lockstep.supabase;
    const copy = (orgId: string, role: string, assistantId: string) => sql`
      insert into public.agents (id, org_id, role, config, vapi_assistant_id, revision, last_save_id, mapping_version,
        last_synced_at, checked_at)
      select gen_random_uuid(), ${orgId}, ${role}, config, coalesce(nullif(${assistantId}, ''), vapi_assistant_id),
        1, last_save_id, mapping_version, now(), now()
      from public.agents where org_id = ${caller.orgId} and role = 'INBOUND'`;
    await expect(copy(caller.orgId, 'INBOUND', 'another-assistant')).rejects.toThrow(
      'agents_org_id_role_key',
    );
    await expect(copy(stranger.orgId, 'INBOUND', '')).rejects.toThrow('agents_vapi_assistant_id_key');
  });
});

describe('two organizations', () => {
  test('do not wait for each other', async () => {
    const neighbour = await lockstep.newCaller();
    const middle = gate();
    lockstep.vapi.faults.add({
      kind: 'hold',
      match: { bodyIncludes: 'slow' },
      times: 2,
      until: middle.until,
    });
    const slow = save(caller.client, both('slow'));
    await middle.reached;
    expectAnswer(await save(neighbour.client, both('quick')), 'UpdateAgentsSuccess');
    await expectLockstep(lockstep, neighbour.orgId);
    middle.open();
    expectAnswer(await slow, 'UpdateAgentsSuccess');
    await expectLockstep(lockstep, caller.orgId);
  });

  test('never mix', async () => {
    const callers = await Promise.all(Array.from({ length: 6 }, () => lockstep.newCaller()));
    const answers = await Promise.all(callers.map(({ client, orgId }) => save(client, both(orgId))));
    for (const [index, { orgId }] of callers.entries()) {
      const answer = answers[index];
      expect(answer?.__typename).toBe('UpdateAgentsSuccess');
      const { agents } = await expectLockstep(lockstep, orgId);
      expect(agents.map(({ config }) => config.systemPrompt)).toEqual([
        `Inbound, ${orgId}`,
        `Outbound, ${orgId}`,
      ]);
    }
    expect(lockstep.vapi.store.all()).toHaveLength(12);
  });
});

describe('expectedRevision', () => {
  test('an outdated revision of either agent is refused with the current agents, and changes neither', async () => {
    await committed(both('one'));
    const { agents } = await committed(both('two'));
    await forgetRequests(lockstep);
    const before = await systemsOf(lockstep, caller.orgId);
    for (const stale of [
      { inbound: { systemPrompt: 'P', expectedRevision: 1 }, outbound: { systemPrompt: 'P' } },
      { inbound: { systemPrompt: 'P' }, outbound: { systemPrompt: 'P', expectedRevision: 3 } },
      {
        inbound: { systemPrompt: 'P', expectedRevision: 0 },
        outbound: { systemPrompt: 'P', expectedRevision: 2 },
      },
    ]) {
      const answer = expectAnswer(await save(caller.client, stale), 'RevisionConflictError');
      expect(answer.agents).toEqual(agents);
    }
    expect(vapiCalls(lockstep)).toEqual([]);
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
  });

  test('the current revision is accepted', async () => {
    await committed(both('one'));
    const { agents } = await committed({
      inbound: { systemPrompt: 'P', expectedRevision: 1 },
      outbound: { systemPrompt: 'P', expectedRevision: 1 },
    });
    expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
  });

  test('[2.8] of an agent that does not exist is 0', async () => {
    const stale = await save(caller.client, { inbound: { systemPrompt: 'P', expectedRevision: 1 } });
    expect(expectAnswer(stale, 'RevisionConflictError').agents).toEqual([]);
    expect(vapiCalls(lockstep)).toEqual([]);
    await committed({ inbound: { systemPrompt: 'P', expectedRevision: 0 } });
    const again = await save(caller.client, { inbound: { systemPrompt: 'Q', expectedRevision: 0 } });
    expect(expectAnswer(again, 'RevisionConflictError').agents).toMatchObject([{ revision: 1 }]);
  });

  test('one of two saves that read the same revision succeeds', async () => {
    await committed(both('one'));
    const race = async (what: string) => {
      for (;;) {
        const answer = await save(caller.client, { inbound: { systemPrompt: what, expectedRevision: 1 } });
        if (answer.__typename !== 'SaveInProgressError') return answer.__typename;
        await sleep(20);
      }
    };
    expect((await Promise.all([race('a'), race('b'), race('c')])).sort()).toEqual([
      'RevisionConflictError',
      'RevisionConflictError',
      'UpdateAgentsSuccess',
    ]);
    expect((await expectLockstep(lockstep, caller.orgId)).agents[0]).toMatchObject({ revision: 2 });
  });
});

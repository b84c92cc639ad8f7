/** Every answer that Vapi may give, or not give, seen through the whole stack: what the caller is told, and what is there. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import type { SagaSettings } from '../../src/services/saga/settings.ts';
import { type Caller, createTestApp, PATIENT_SETTINGS, type TestApp } from '../support/app.ts';
import { both, ended, makeBoth, prompt, saveWhenFree, strike, writes } from '../support/faulty.ts';
import { gate } from '../support/gate.ts';
import { expectAnswer, readAgents, readSave, save } from '../support/operations.ts';
import { expectLockstep, systemsOf } from '../support/systems.ts';

const SETTINGS: SagaSettings = {
  requestTimeoutMs: 1_500,
  lateMs: 500,
  // The guard leaves 5 seconds for tries.
  leaseMs: 7_500,
  deadlineMs: 12_000,
  answerMs: 7_000,
};
const LATE_MS = SETTINGS.requestTimeoutMs + SETTINGS.lateMs;

/** Outcomes that leave open whether the request took effect; `applied` says what the stand-in does then. */
const UNKNOWN: { what: string; fault: FaultInput; applied: boolean }[] = [
  { what: 'no answer, applied', fault: { kind: 'hang-after' }, applied: true },
  { what: 'no answer, not applied', fault: { kind: 'hang-before' }, applied: false },
  { what: 'no answer in time, applied after that', fault: { kind: 'latency', ms: 1_800 }, applied: true },
  { what: 'reset, applied', fault: { kind: 'reset-after' }, applied: true },
  { what: 'reset, not applied', fault: { kind: 'reset-before' }, applied: false },
  { what: '500, applied', fault: { kind: 'status-after', status: 500 }, applied: true },
  { what: '503, not applied', fault: { kind: 'status-before', status: 503 }, applied: false },
  { what: '408, applied', fault: { kind: 'status-after', status: 408 }, applied: true },
  { what: 'HTML 502, applied', fault: { kind: 'html-502', when: 'after' }, applied: true },
  { what: 'HTML 502, not applied', fault: { kind: 'html-502', when: 'before' }, applied: false },
  { what: 'garbled 2xx', fault: { kind: 'garbled-body' }, applied: true },
  { what: 'empty 2xx', fault: { kind: 'empty-body' }, applied: true },
  { what: 'reset, applied late', fault: { kind: 'late', ms: 300, answer: 'reset' }, applied: true },
  { what: '504, applied late', fault: { kind: 'late', ms: 300, answer: 504 }, applied: true },
];

const REJECT: FaultInput = { kind: 'reject', messages: ['no'] };

/** One of each kind, for where the way of not knowing makes no difference any more. */
const SOME_UNKNOWN = UNKNOWN.filter(({ what }) =>
  [
    'no answer in time, applied after that',
    'reset, not applied',
    'garbled 2xx',
    '504, applied late',
  ].includes(what),
);

// They mostly wait.
vi.setConfig({ maxConcurrency: 6, testTimeout: 300_000 });

let lockstep: TestApp;
beforeAll(async () => {
  lockstep = await createTestApp({ settings: SETTINGS, recoveryIntervalMs: 50 });
});
afterAll(() => lockstep.stop());

/** Late requests of this save may still be on their way, so the next one has had to wait until they are dead. */
async function expectFence(
  caller: Caller,
  saveId: string,
  status: 'COMMITTED' | 'ROLLED_BACK',
): Promise<void> {
  const { sql } = lockstep.supabase;
  const refused = await save(caller.client, both(caller.orgId, 'next'));
  // On a slow machine the fence may be over by now.
  if (refused.__typename === 'SaveInProgressError') {
    expect(refused).toMatchObject({ saveId, status });
    expect(refused.retryAfterMs).toBeLessThanOrEqual(LATE_MS);
  }
  await saveWhenFree(caller, both(caller.orgId, 'next'));
  const [fence] = await sql`
    select f.saga_id as "saveId", f.until >= closed.finished_at + ${LATE_MS} * interval '1 millisecond' as far,
      f.until <= (select min(started_at) from public.sagas
        where org_id = f.org_id and started_at > closed.finished_at) as kept
    from lockstep.fences f join public.sagas closed on closed.id = ${saveId}
    where f.org_id = ${caller.orgId} and f.key = 'agents'`;
  expect(fence).toEqual({ saveId, far: true, kept: true });
  await expectLockstep(lockstep, caller.orgId);
}

async function savedBefore(): Promise<Caller> {
  const caller = await lockstep.newCaller();
  await makeBoth(caller, both(caller.orgId, 'before'));
  return caller;
}

describe.concurrent('going forward, unknown once', () => {
  test.for(UNKNOWN)(
    'changing: $what: sends the same bytes again, then leaves a fence',
    async ({ fault, applied }) => {
      const caller = await savedBefore();
      const { orgId, client } = caller;
      strike(lockstep.vapi, fault, orgId, 'Inbound', 'after');
      const answer = await save(client, both(orgId, 'after'));
      const { agents, save: saved } = expectAnswer(answer, 'UpdateAgentsSuccess');
      expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
      const [first, ...again] = writes(lockstep.vapi, orgId, 'Inbound', 'after');
      expect(again.length).toBeGreaterThan(0);
      for (const { method, body } of again)
        expect({ method, body }).toEqual({ method: 'PATCH', body: first?.body });
      await expectFence(caller, saved.id, 'COMMITTED');
      expect(first?.appliedAt !== null).toBe(applied);
      await expectLockstep(lockstep, orgId);
    },
  );

  test.for(UNKNOWN)(
    'creating: $what: never sends a second POST blindly, and ends with one assistant',
    async ({ fault, applied }) => {
      const caller = await lockstep.newCaller();
      const { orgId, client } = caller;
      strike(lockstep.vapi, fault, orgId, 'Inbound', 'first');
      const told = expectAnswer(await save(client, both(orgId, 'first')), 'SavePendingError');
      expect(told.save).toMatchObject({
        status: 'APPLYING',
        finishedAt: null,
        results: [
          { role: 'INBOUND', success: false, vapiSynced: null, dbUpdated: false, assistantId: null },
          { role: 'OUTBOUND', success: false, vapiSynced: true, dbUpdated: false },
        ],
      });
      expect(told.retryAfterMs).toBeGreaterThan(0);
      expect(await readAgents(client)).toEqual({});
      expect(await ended(caller, told.save.id)).toMatchObject({ status: 'COMMITTED' });

      const sent = writes(lockstep.vapi, orgId, 'Inbound', 'first');
      const [first, ...again] = sent;
      expect(first?.appliedAt !== null).toBe(applied);
      // Adopted by its stamp where it is there, made again where it is not.
      expect(again[0]?.method).toBe(applied ? 'PATCH' : 'POST');
      expect(again[0]?.at).toBeGreaterThanOrEqual((first?.at ?? 0) + LATE_MS);
      expect(again[0]?.body).toEqual(first?.body);
      expect((await expectLockstep(lockstep, orgId)).agents).toMatchObject([
        { revision: 1 },
        { revision: 1 },
      ]);
      await saveWhenFree(caller, both(orgId, 'second'));
      await expectLockstep(lockstep, orgId);
    },
  );
});

describe.concurrent('going forward, unknown repeatedly', () => {
  test.for([
    ['applied all the time', { kind: 'status-after', status: 500 }],
    ['never applied', { kind: 'status-before', status: 500 }],
  ] satisfies [string, FaultInput][])(
    '%s: answers SavePendingError while it is undecided, then reports its end',
    async ([_what, fault]) => {
      const caller = await savedBefore();
      const { orgId, client } = caller;
      const id = strike(lockstep.vapi, { ...fault, times: Infinity }, orgId, 'Inbound', 'after');
      const told = expectAnswer(await save(client, both(orgId, 'after')), 'SavePendingError');
      expect(told.save).toMatchObject({
        status: 'APPLYING',
        results: [
          { success: false, vapiSynced: null, dbUpdated: false },
          { success: false, vapiSynced: true, dbUpdated: false },
        ],
      });
      expect(await readAgents(client)).toMatchObject({
        INBOUND: { systemPrompt: prompt(orgId, 'Inbound', 'before'), sync: { status: 'SAVING' } },
      });
      lockstep.vapi.faults.remove(id);
      expect(await ended(caller, told.save.id)).toMatchObject({
        status: 'COMMITTED',
        results: [
          { success: true, vapiSynced: true, dbUpdated: true, error: null },
          { success: true, vapiSynced: true, dbUpdated: true, error: null },
        ],
      });
      await expectLockstep(lockstep, orgId);
    },
  );

  test.for([
    ['applied all the time', { kind: 'status-after', status: 500 }],
    ['never applied', { kind: 'status-before', status: 500 }],
  ] satisfies [string, FaultInput][])(
    '%s, past the deadline: rolls back after a quarantine',
    async ([_what, fault]) => {
      const caller = await savedBefore();
      const { orgId, client } = caller;
      strike(lockstep.vapi, { ...fault, times: Infinity }, orgId, 'Inbound', 'after');
      const told = expectAnswer(await save(client, both(orgId, 'after')), 'SavePendingError');
      const end = await ended(caller, told.save.id);
      expect(end).toMatchObject({
        status: 'ROLLED_BACK',
        results: [
          { success: false, vapiSynced: false, dbUpdated: false, error: expect.stringContaining('HTTP_500') },
          { success: false, vapiSynced: false, dbUpdated: false },
        ],
      });
      expect(Date.parse(end.finishedAt ?? '') - Date.parse(end.startedAt)).toBeGreaterThan(
        SETTINGS.deadlineMs,
      );
      const lastForward = writes(lockstep.vapi, orgId, 'Inbound', 'after').at(-1)?.at ?? 0;
      const undo = writes(lockstep.vapi, orgId, 'Inbound', 'before').at(-1);
      expect(undo?.at).toBeGreaterThanOrEqual(lastForward + LATE_MS);
      expect((await expectLockstep(lockstep, orgId)).agents).toMatchObject([
        { revision: 1 },
        { revision: 1 },
      ]);
      await saveWhenFree(caller, both(orgId, 'later'));
      await expectLockstep(lockstep, orgId);
    },
  );
});

describe.concurrent('going forward, not applied for now', () => {
  test.for([
    ['with Retry-After', { 'retry-after': '1' }],
    ['without Retry-After', {}],
  ] as const)('429 %s: waits, and nothing is ambiguous', async ([_what, headers]) => {
    const { orgId, client } = await savedBefore();
    const limit: FaultInput = { kind: 'status-before', status: 429, headers };
    strike(lockstep.vapi, limit, orgId, 'Inbound', 'after');
    expectAnswer(await save(client, both(orgId, 'after')), 'UpdateAgentsSuccess');
    const [first, second] = writes(lockstep.vapi, orgId, 'Inbound', 'after');
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(990);
    // No fence.
    expectAnswer(await save(client, both(orgId, 'next')), 'UpdateAgentsSuccess');
    await expectLockstep(lockstep, orgId);
  });

  test('429 until the lease leaves no room: VAPI_RATE_LIMITED, closed at once', async () => {
    const { orgId, client } = await savedBefore();
    const before = await systemsOf(lockstep, orgId);
    for (const side of ['Inbound', 'Outbound'] as const) {
      const limit: FaultInput = { kind: 'status-before', status: 429, headers: { 'retry-after': '1' } };
      strike(lockstep.vapi, { ...limit, times: Infinity }, orgId, side, 'after');
    }
    expect(expectAnswer(await save(client, both(orgId, 'after')), 'SaveFailedError')).toMatchObject({
      reason: 'VAPI_RATE_LIMITED',
      retryable: true,
      save: { status: 'ROLLED_BACK', results: [{ vapiSynced: false }, { vapiSynced: false }] },
    });
    expect(writes(lockstep.vapi, orgId, 'Inbound', 'after').length).toBeGreaterThan(1);
    expect(writes(lockstep.vapi, orgId, 'Inbound', 'before')).toHaveLength(1);
    expect(await systemsOf(lockstep, orgId)).toEqual(before);
    // Nothing was touched, so nothing stands in the way.
    expectAnswer(await save(client, both(orgId, 'next')), 'UpdateAgentsSuccess');
  });

  test('429 for one until the lease leaves no room: undoes the other', async () => {
    const { orgId, client } = await savedBefore();
    const before = await systemsOf(lockstep, orgId);
    const limit: FaultInput = { kind: 'status-before', status: 429, headers: { 'retry-after': '600' } };
    strike(lockstep.vapi, limit, orgId, 'Inbound', 'after');
    expect(expectAnswer(await save(client, both(orgId, 'after')), 'SaveFailedError')).toMatchObject({
      reason: 'VAPI_RATE_LIMITED',
    });
    expect(await systemsOf(lockstep, orgId)).toEqual(before);
  });

  test.for([401, 403])(
    '%i while creating: creates nothing, and deletes the sibling',
    async (status, { expect }) => {
      const { orgId, client } = await lockstep.newCaller();
      const refuse: FaultInput = { kind: 'status-before', status };
      strike(lockstep.vapi, { ...refuse, times: Infinity }, orgId, 'Inbound', 'first');
      const told = expectAnswer(await save(client, both(orgId, 'first')), 'SaveFailedError');
      expect(told).toMatchObject({ reason: 'VAPI_UNAUTHORIZED', save: { status: 'ROLLED_BACK' } });
      expect(writes(lockstep.vapi, orgId, 'Inbound', 'first')).toHaveLength(1);
      expect(await systemsOf(lockstep, orgId)).toMatchObject({ assistants: [], agents: [] });
    },
  );

  test('recovery waits while the key is refused, and loses no id', async () => {
    const caller = await savedBefore();
    const { orgId, client } = caller;
    const ids = (await systemsOf(lockstep, orgId)).agents.map((agent) => agent.vapi_assistant_id);
    const broken = strike(lockstep.vapi, { kind: 'html-502', times: Infinity }, orgId, 'Inbound', 'after');
    const told = expectAnswer(await save(client, both(orgId, 'after')), 'SavePendingError');
    const refuse: FaultInput = { kind: 'status-before', status: 401, times: Infinity };
    const revoked = strike(lockstep.vapi, refuse, orgId, 'Outbound', 'after');
    lockstep.vapi.faults.remove(broken);
    const tries = () => writes(lockstep.vapi, orgId, 'Outbound', 'after').length;
    await expect.poll(tries, { timeout: 120_000 }).toBeGreaterThan(2);
    expect(await readSave(client, told.save.id)).toMatchObject({ status: 'APPLYING' });
    lockstep.vapi.faults.remove(revoked);
    expect(await ended(caller, told.save.id)).toMatchObject({ status: 'COMMITTED' });
    const { agents } = await expectLockstep(lockstep, orgId);
    expect(agents.map((agent) => agent.vapi_assistant_id)).toEqual(ids);
  });
});

describe.concurrent('one unknown, the other rejected', () => {
  test.for(SOME_UNKNOWN)('$what: pending, quarantined, undone, fenced', async ({ fault, applied }) => {
    const caller = await savedBefore();
    const { orgId, client } = caller;
    const before = await systemsOf(lockstep, orgId);
    strike(lockstep.vapi, fault, orgId, 'Inbound', 'after');
    // Whatever else is tried of it gets no answer either: it stays unknown to the end.
    const again = { kind: 'hang-before', times: Infinity, match: { nth: 2 } } as const;
    strike(lockstep.vapi, again, orgId, 'Inbound', 'after');
    strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'after');
    const told = expectAnswer(await save(client, both(orgId, 'after')), 'SavePendingError');
    expect(told.save.status).toMatch(/^(APPLYING|ROLLING_BACK)$/);
    expect(told.save).toMatchObject({
      finishedAt: null,
      results: [
        { role: 'INBOUND', success: false, vapiSynced: null, dbUpdated: false },
        { role: 'OUTBOUND', success: false, vapiSynced: false, dbUpdated: false },
      ],
    });
    expect(await ended(caller, told.save.id)).toMatchObject({
      status: 'ROLLED_BACK',
      results: [
        { vapiSynced: false, dbUpdated: false },
        { vapiSynced: false, dbUpdated: false, error: expect.stringContaining('Vapi refused it: no') },
      ],
    });
    expect(await systemsOf(lockstep, orgId)).toEqual(before);
    const sent = writes(lockstep.vapi, orgId, 'Inbound', 'after');
    expect(sent[0]?.appliedAt !== null).toBe(applied);
    // Not before everything that was sent must be dead.
    expect(writes(lockstep.vapi, orgId, 'Inbound', 'before').at(-1)?.at).toBeGreaterThanOrEqual(
      (sent.at(-1)?.at ?? 0) + LATE_MS,
    );
    await expectFence(caller, told.save.id, 'ROLLED_BACK');
  });

  test.for(SOME_UNKNOWN)('creating, $what: leaves nothing', async ({ fault, applied }) => {
    const caller = await lockstep.newCaller();
    const { orgId, client } = caller;
    strike(lockstep.vapi, fault, orgId, 'Inbound', 'first');
    strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'first');
    const told = expectAnswer(await save(client, both(orgId, 'first')), 'SavePendingError');
    expect(told.save.status).toBe('ROLLING_BACK');
    expect(await ended(caller, told.save.id)).toMatchObject({
      status: 'ROLLED_BACK',
      results: [{ assistantId: null }, { assistantId: null }],
    });
    const [post, ...more] = writes(lockstep.vapi, orgId, 'Inbound', 'first');
    expect(post?.appliedAt !== null).toBe(applied);
    expect(more).toEqual([]);
    expect(await systemsOf(lockstep, orgId)).toMatchObject({ assistants: [], agents: [], revisions: [] });
    await saveWhenFree(caller, both(orgId, 'second'));
    await expectLockstep(lockstep, orgId);
  });
});

describe.concurrent('undoing, which is a write like any other', () => {
  /** Outbound is rejected, so inbound, which was applied, has to be put back: with these faults. */
  async function undoMeets(fault: FaultInput) {
    const caller = await savedBefore();
    const { orgId, client } = caller;
    const before = await systemsOf(lockstep, orgId);
    strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'after');
    const struck = strike(lockstep.vapi, fault, orgId, 'Inbound', 'before');
    const answer = await save(client, both(orgId, 'after'));
    // The first was the save that made it.
    const undos = () => writes(lockstep.vapi, orgId, 'Inbound', 'before').slice(1);
    return { caller, orgId, client, before, struck, answer, undos };
  }

  test.for(SOME_UNKNOWN)('$what: the same bytes again, then a fence', async ({ fault, applied }) => {
    const { caller, orgId, before, answer, undos } = await undoMeets(fault);
    const told = expectAnswer(answer, 'SaveFailedError');
    expect(told).toMatchObject({ reason: 'VAPI_REJECTED', save: { status: 'ROLLED_BACK' } });
    expect(await systemsOf(lockstep, orgId)).toEqual(before);
    const [first, ...again] = undos();
    expect(again.length).toBeGreaterThan(0);
    for (const { body } of again) expect(body).toEqual(first?.body);
    await expectFence(caller, told.save.id, 'ROLLED_BACK');
    expect(first?.appliedAt !== null).toBe(applied);
    await expectLockstep(lockstep, orgId);
  });

  test.for<[string, FaultInput, boolean | null]>([
    // Refused, so what was applied is still there; without an answer that is not known.
    ['401', { kind: 'status-before', status: 401 }, true],
    ['403', { kind: 'status-before', status: 403 }, true],
    ['429', { kind: 'status-before', status: 429, headers: { 'retry-after': '1' } }, true],
    ['no answer, ever', { kind: 'hang-before' }, null],
    ['500, ever', { kind: 'status-after', status: 500 }, null],
  ])('%s: held, and tried again until it is done', async ([_what, fault, vapiSynced]) => {
    const { caller, orgId, before, struck, answer, undos } = await undoMeets({ ...fault, times: Infinity });
    const told = expectAnswer(answer, 'SavePendingError');
    expect(told.save).toMatchObject({
      status: 'ROLLING_BACK',
      finishedAt: null,
      results: [
        { success: false, vapiSynced, dbUpdated: false },
        { success: false, vapiSynced: false, dbUpdated: false },
      ],
    });
    const tries = undos().length;
    await expect.poll(() => undos().length, { timeout: 120_000 }).toBeGreaterThan(tries + 1);
    lockstep.vapi.faults.remove(struck);
    expect(await ended(caller, told.save.id)).toMatchObject({ status: 'ROLLED_BACK' });
    expect(await systemsOf(lockstep, orgId)).toEqual(before);
    await saveWhenFree(caller, both(orgId, 'next'));
    await expectLockstep(lockstep, orgId);
  });

  test('404: has nothing to restore, and shows the agent as missing', async () => {
    const { client, answer } = await undoMeets({ kind: 'status-before', status: 404 });
    expect(expectAnswer(answer, 'SaveFailedError')).toMatchObject({ save: { status: 'ROLLED_BACK' } });
    expect(await readAgents(client)).toMatchObject({
      INBOUND: { revision: 1, sync: { status: 'MISSING' } },
      OUTBOUND: { revision: 1, sync: { status: 'IN_SYNC' } },
    });
  });

  test.for<[string, FaultInput]>([
    ['400', { kind: 'reject', messages: ['never'] }],
    ['422', { kind: 'status-before', status: 422 }],
    ['2xx with other content', { kind: 'wrong-body', path: 'name', value: 'Something else' }],
  ])('%s: only a person can end it', async ([_what, fault]) => {
    const { client, answer } = await undoMeets(fault);
    expect(expectAnswer(answer, 'SavePendingError')).toMatchObject({
      retryAfterMs: null,
      save: { status: 'NEEDS_ATTENTION', finishedAt: null },
    });
    expect(await readAgents(client)).toMatchObject({
      INBOUND: { revision: 1, sync: { status: 'NEEDS_ATTENTION' } },
    });
  });
});

// One at a time: a DELETE carries nothing that says whose it is.
describe('undoing a creation', () => {
  /** Outbound is rejected, so inbound's new assistant has to be deleted: with this fault. */
  async function deleteMeets(fault: FaultInput) {
    const caller = await lockstep.newCaller();
    const { orgId, client } = caller;
    strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'first');
    const from = lockstep.vapi.requests.length;
    const struck = lockstep.vapi.faults.add({ ...fault, match: { method: 'DELETE' } });
    const answer = await save(client, both(orgId, 'first'));
    const deletes = () => lockstep.vapi.requests.slice(from).filter(({ method }) => method === 'DELETE');
    return { caller, orgId, from, struck, answer, deletes };
  }
  const NOTHING = { assistants: [], agents: [], revisions: [], observed: [] };

  test.for(SOME_UNKNOWN)('$what: repeats the deletion until the assistant is deleted', async ({ fault }) => {
    const { caller, orgId, from, answer } = await deleteMeets(fault);
    expect(expectAnswer(answer, 'SaveFailedError')).toMatchObject({ save: { status: 'ROLLED_BACK' } });
    // A look comes first each time, and may show that it is gone already.
    const methods = lockstep.vapi.requests.slice(from).map(({ method }) => method);
    expect(methods.slice(methods.indexOf('DELETE') + 1)).toContain('GET');
    expect(await systemsOf(lockstep, orgId)).toEqual(NOTHING);
    await saveWhenFree(caller, both(orgId, 'second'));
    await expectLockstep(lockstep, orgId);
  });

  test('404, because somebody has deleted it: done', async () => {
    const { orgId, answer } = await deleteMeets({
      kind: 'hold',
      until: async () => {
        const { path } = lockstep.vapi.requests.at(-1) ?? { path: '' };
        lockstep.vapi.dashboardDelete(path.slice('/assistant/'.length));
      },
    });
    expectAnswer(answer, 'SaveFailedError');
    expect(await systemsOf(lockstep, orgId)).toEqual(NOTHING);
  });

  test('401: waits, and tries again', async () => {
    const refused: FaultInput = { kind: 'status-before', status: 401, times: Infinity };
    const { caller, orgId, struck, answer, deletes } = await deleteMeets(refused);
    const told = expectAnswer(answer, 'SavePendingError');
    expect(told.save.status).toBe('ROLLING_BACK');
    await expect.poll(() => deletes().length, { timeout: 120_000 }).toBeGreaterThan(2);
    lockstep.vapi.faults.remove(struck);
    expect(await ended(caller, told.save.id)).toMatchObject({ status: 'ROLLED_BACK' });
    expect(await systemsOf(lockstep, orgId)).toEqual(NOTHING);
  });

  test('400: needs an operator, and names the assistant that is left', async () => {
    const { orgId, answer } = await deleteMeets({ kind: 'reject', messages: ['never'] });
    const [left] = (await systemsOf(lockstep, orgId)).assistants;
    expect(expectAnswer(answer, 'SavePendingError')).toMatchObject({
      retryAfterMs: null,
      save: { status: 'NEEDS_ATTENTION', results: [{ assistantId: left?.['id'] }, { assistantId: null }] },
    });
  });
});

describe('what a caller receives in time', () => {
  test('undecided after SAVE_ANSWER_MS: SavePendingError, then the end', async () => {
    const caller = await savedBefore();
    const { orgId, client } = caller;
    // Its own server: an answer earlier than a request's deadline.
    const hasty = await createTestApp({
      settings: { ...PATIENT_SETTINGS, answerMs: 2_000 },
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
    });
    try {
      const middle = gate();
      strike(lockstep.vapi, { kind: 'hold', until: middle.until }, orgId, 'Inbound', 'after');
      const answer = await save(hasty.clientFor(caller.token), both(orgId, 'after'));
      const told = expectAnswer(answer, 'SavePendingError');
      expect(told.save).toMatchObject({
        status: 'APPLYING',
        results: [{ success: false, vapiSynced: null, dbUpdated: false }, { success: false }],
      });
      expect(await readSave(client, told.save.id)).toMatchObject({ id: told.save.id, status: 'APPLYING' });
      middle.open();
      expect(await ended(caller, told.save.id)).toMatchObject({ status: 'COMMITTED' });
      await expectLockstep(lockstep, orgId);
    } finally {
      await hasty.stop();
    }
  });
});

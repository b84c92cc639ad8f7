/** The same key and the same input: one save, one answer. */
import { randomUUID } from 'node:crypto';
import { Kind, parse, print, type SelectionNode, visit } from 'graphql';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Caller, createTestApp, PATIENT_SETTINGS, type TestApp } from '../support/app.ts';
import { gate } from '../support/gate.ts';
import {
  type Agent,
  type AgentRevision,
  expectAnswer,
  readSave,
  SAVE,
  type SaveAnswer,
  type SaveInput,
  save,
} from '../support/operations.ts';
import { databaseCalls, expectLockstep, forgetRequests, systemsOf, vapiCalls } from '../support/systems.ts';

let lockstep: TestApp;
let caller: Caller;
let idempotencyKey: string;
beforeAll(async () => {
  lockstep = await createTestApp({ settings: PATIENT_SETTINGS });
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  lockstep.supabase.faults.clear();
  caller = await lockstep.newCaller();
  idempotencyKey = randomUUID();
  await forgetRequests(lockstep);
});

const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});
const committed = async (input: SaveInput) =>
  expectAnswer(await save(caller.client, input), 'UpdateAgentsSuccess');
const asRevision = ({ id, lastSyncedAt, sync: _sync, ...content }: Agent): AgentRevision => ({
  ...content,
  agentId: id,
  savedAt: lastSyncedAt,
});

/** Every selection with `__typename`, as those clients send it. */
const withTypeNames = (document: string): string =>
  print(
    visit(parse(document), {
      SelectionSet: (node) => ({
        ...node,
        selections: [
          { kind: Kind.FIELD, name: { kind: Kind.NAME, value: '__typename' } },
          ...node.selections,
        ] satisfies SelectionNode[],
      }),
    }),
  );

/** As Apollo, urql and Relay keep answers: an object with a type and an id is one entry, and the last answer about it counts. */
class NormalizedCache {
  readonly #entries = new Map<string, object>();
  readonly #revisions = new Map<string, number[]>();

  write(value: unknown): void {
    if (typeof value !== 'object' || value === null) return;
    const { __typename, id, revision } = value as Record<string, unknown>;
    if (typeof __typename === 'string' && typeof id === 'string') {
      const key = `${__typename}:${id}`;
      this.#entries.set(key, { ...this.#entries.get(key), ...value });
      if (typeof revision === 'number') {
        this.#revisions.set(id, [...(this.#revisions.get(id) ?? []), revision]);
      }
    }
    for (const part of Object.values(value)) this.write(part);
  }

  read(type: string, id: string): object | undefined {
    return this.#entries.get(`${type}:${id}`);
  }

  /** By id, the revisions in the order in which they were written. */
  get revisionsSeen(): [string, number[]][] {
    return [...this.#revisions];
  }
}
const savesOf = async (orgId: string) => {
  const [row] = await lockstep.supabase.sql<{ count: number }[]>`
    select count(*)::int from public.agent_saves where org_id = ${orgId}`;
  return row?.count;
};

describe('the same key, the same input', () => {
  test('a repeated save returns the same answer, sends nothing and writes nothing', async () => {
    const first = await committed({ ...both('one'), idempotencyKey });
    await forgetRequests(lockstep);
    const before = await systemsOf(lockstep, caller.orgId);
    expect(await save(caller.client, { ...both('one'), idempotencyKey })).toEqual(first);
    expect(databaseCalls(lockstep)).toEqual(['POST rpc/begin_agents', 'GET agents', 'GET agent_saves']);
    expect(vapiCalls(lockstep)).toEqual([]);
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
  });

  test('a repeated save returns what it left as revisions, and the agents as they are now', async () => {
    const first = await committed({ ...both('one'), idempotencyKey });
    expect(first.revisions).toEqual(first.agents.map(asRevision));
    const second = await committed(both('two'));
    const again = expectAnswer(
      await save(caller.client, { ...both('one'), idempotencyKey }),
      'UpdateAgentsSuccess',
    );
    expect(again).toEqual({ ...first, agents: second.agents });
    expect((await expectLockstep(lockstep, caller.orgId)).agents).toMatchObject([
      { revision: 2, config: { systemPrompt: 'Inbound, two' } },
      { revision: 2 },
    ]);
  });

  test('a repeated save lists only the agents that it names', async () => {
    await committed(both('before'));
    const input = { inbound: { systemPrompt: 'Inbound, one' }, idempotencyKey };
    await committed(input);
    const { agents, revisions } = expectAnswer(await save(caller.client, input), 'UpdateAgentsSuccess');
    expect(agents.map(({ role }) => role)).toEqual(['INBOUND']);
    expect(revisions.map(({ role }) => role)).toEqual(['INBOUND']);
  });

  test('a repeated save reads the agents after the saves before it in the same document', async () => {
    const input = { ...both('one'), idempotencyKey };
    const first = await committed(input);
    const one =
      'updateAgents(input: $one) { ... on UpdateAgentsSuccess { agents { revision sync { status } } } }';
    const two = 'updateAgents(input: $two) { __typename }';
    const { before, after } = await caller.client.request<Record<'before' | 'after', unknown>>(
      `mutation ($one: UpdateAgentsInput!, $two: UpdateAgentsInput!) { before: ${one} two: ${two} after: ${one} }`,
      { one: input, two: both('two') },
    );
    const at = (revision: number) => first.agents.map(() => ({ revision, sync: { status: 'IN_SYNC' } }));
    expect(before).toEqual({ agents: at(1) });
    expect(after).toEqual({ agents: at(2) });
  });

  test('no answer moves a normalized cache back to older content', async () => {
    const cache = new NormalizedCache();
    const remember = async (input: SaveInput) => {
      const answer = await caller.client.request<{ updateAgents: SaveAnswer }>(withTypeNames(SAVE), {
        input,
      });
      expectAnswer(answer.updateAgents, 'UpdateAgentsSuccess');
      cache.write(answer);
    };
    await remember({ ...both('one'), idempotencyKey });
    await remember(both('two'));
    await remember({ ...both('one'), idempotencyKey });
    const { agents } = await caller.client.request<{ agents: Agent[] }>(
      '{ agents { __typename id name systemPrompt revision } }',
    );
    for (const agent of agents) {
      const cached = cache.read('Agent', agent.id);
      expect(cached).toMatchObject({ systemPrompt: agent.systemPrompt, revision: 2 });
    }
    expect(cache.revisionsSeen).toEqual(agents.map(({ id }) => [id, [1, 2, 2]]));
  });

  test('input in another order, or with explicit defaults, is the same input', async () => {
    const first = await committed({ inbound: { name: 'A', systemPrompt: 'P' }, idempotencyKey });
    const again = {
      idempotencyKey,
      outbound: null,
      inbound: { recreateIfMissing: false, systemPrompt: 'P', name: 'A' },
    };
    expect(await save(caller.client, again)).toEqual(first);
  });

  test('after a failure returns the same failure, without a request to Vapi', async () => {
    await committed(both('before'));
    lockstep.vapi.faults.add({ kind: 'reject', match: { bodyIncludes: 'Outbound, bad' }, messages: ['no'] });
    const input = { ...both('bad'), idempotencyKey };
    const first = expectAnswer(await save(caller.client, input), 'SaveFailedError');
    await forgetRequests(lockstep);
    expect(await save(caller.client, input)).toEqual(first);
    expect(vapiCalls(lockstep)).toEqual([]);
    // With a key of its own the same change is another save.
    expect((await committed({ ...both('bad'), idempotencyKey: randomUUID() })).agents).toHaveLength(2);
  });

  test('[2.7] while the first runs, all wait for its answer, and each agent gets one assistant', async () => {
    const input = { ...both('together'), idempotencyKey };
    const middle = gate();
    lockstep.vapi.faults.add({ kind: 'hold', times: 2, until: middle.until });
    const first = save(caller.client, input);
    await middle.reached;
    const others = Array.from({ length: 4 }, () => save(caller.client, input));
    await expect
      .poll(() => databaseCalls(lockstep).filter((call) => call === 'POST rpc/begin_agents').length, {
        timeout: 120_000,
      })
      .toBeGreaterThanOrEqual(5);
    middle.open();
    const answer = expectAnswer(await first, 'UpdateAgentsSuccess');
    for (const other of await Promise.all(others)) expect(other).toEqual(answer);
    expect(vapiCalls(lockstep)).toEqual(['POST /assistant', 'POST /assistant']);
    expect(await savesOf(caller.orgId)).toBe(1);
    await expectLockstep(lockstep, caller.orgId);
  });

  test('[2.7] concurrent requests with one key make one save', async () => {
    const input = { ...both('race'), idempotencyKey };
    const [first, ...others] = await Promise.all(Array.from({ length: 6 }, () => save(caller.client, input)));
    expect(first?.__typename).toBe('UpdateAgentsSuccess');
    for (const other of others) expect(other).toEqual(first);
    expect(vapiCalls(lockstep)).toHaveLength(2);
    expect(await savesOf(caller.orgId)).toBe(1);
  });

  test('[2.7] recovery finishes a creation whose answer was lost with one assistant, and the retry returns that', async () => {
    const quick = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      recoveryIntervalMs: 100,
    });
    try {
      const client = quick.clientFor(caller.token);
      // Both POSTs are applied, and nobody hears of it.
      lockstep.vapi.faults.add({ kind: 'reset-after', match: { method: 'POST' }, times: 2 });
      const input = { ...both('lost'), idempotencyKey };
      const { save: pending } = expectAnswer(await save(client, input), 'SavePendingError');
      expect(pending.results).toMatchObject([
        { success: false, vapiSynced: null, dbUpdated: false },
        { success: false, vapiSynced: null, dbUpdated: false },
      ]);
      await expect
        .poll(async () => (await readSave(client, pending.id))?.status, { timeout: 120_000 })
        .toBe('COMMITTED');
      const answer = expectAnswer(await save(client, input), 'UpdateAgentsSuccess');
      expect(answer.save.id).toBe(pending.id);
      expect(answer.agents).toMatchObject([{ revision: 1 }, { revision: 1 }]);
      expect(vapiCalls(lockstep).filter((call) => call.startsWith('POST'))).toHaveLength(2);
      expect(lockstep.vapi.store.all()).toHaveLength(2);
      await expectLockstep(lockstep, caller.orgId);

      const lines = quick.log
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter(({ saveId, outcome }) => saveId === pending.id && outcome !== undefined);
      expect(lines.map(({ event, by, outcome }) => [event, by, outcome])).toEqual([
        ['save.pending', 'request', 'pending'],
        ['save.ended', 'recovery', 'committed'],
        ['save.ended', 'request', 'replayed'],
      ]);
      expect(lines[1]).toMatchObject({
        orgId: caller.orgId,
        revisions: { INBOUND: 1, OUTBOUND: 1 },
        openMs: expect.any(Number),
        ms: { vapi: expect.any(Number), commit: expect.any(Number), total: expect.any(Number) },
      });
    } finally {
      await quick.stop();
    }
  });

  test('a second replica returns the same answer for the same key', async () => {
    const first = await committed({ ...both('one'), idempotencyKey });
    const replica = await createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi });
    try {
      const client = replica.clientFor(caller.token);
      expect(await save(client, { ...both('one'), idempotencyKey })).toEqual(first);
    } finally {
      await replica.stop();
    }
  });

  test('a save without changes keeps its answer as well', async () => {
    await committed(both('same'));
    const input = { ...both('same'), idempotencyKey };
    const first = await save(caller.client, input);
    expectAnswer(first, 'UpdateAgentsSuccess');
    const { agents } = await committed(both('other'));
    expect(await save(caller.client, input)).toEqual({ ...first, agents });
  });
});

describe('the same key, other input', () => {
  test.each<[string, SaveInput]>([
    ['another value', { inbound: { systemPrompt: 'Other' } }],
    ['null where nothing was said', { inbound: { systemPrompt: 'P', firstMessage: null } }],
    ['another role', { outbound: { systemPrompt: 'P' } }],
    ['one more role', { inbound: { systemPrompt: 'P' }, outbound: { systemPrompt: 'P' } }],
    ['another guard', { inbound: { systemPrompt: 'P', expectedRevision: 1 } }],
    ['another leave', { inbound: { systemPrompt: 'P', recreateIfMissing: true } }],
  ])('%s: IdempotencyConflictError, with the save that has the key', async (_what, other) => {
    const first = await committed({ inbound: { systemPrompt: 'P' }, idempotencyKey });
    await forgetRequests(lockstep);
    const before = await systemsOf(lockstep, caller.orgId);
    const answer = await save(caller.client, { ...other, idempotencyKey });
    expect(expectAnswer(answer, 'IdempotencyConflictError').saveId).toBe(first.save.id);
    expect(vapiCalls(lockstep)).toEqual([]);
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
  });

  test('conflicts while the save with that key is still running', async () => {
    const middle = gate();
    lockstep.vapi.faults.add({ kind: 'hold', until: middle.until });
    const first = save(caller.client, { inbound: { systemPrompt: 'P' }, idempotencyKey });
    await middle.reached;
    const other = await save(caller.client, { inbound: { systemPrompt: 'Q' }, idempotencyKey });
    expectAnswer(other, 'IdempotencyConflictError');
    middle.open();
    expectAnswer(await first, 'UpdateAgentsSuccess');
  });

  test('the same key of another organization is another key', async () => {
    await committed({ ...both('one'), idempotencyKey });
    const stranger = await lockstep.newCaller();
    const answer = await save(stranger.client, { ...both('two'), idempotencyKey });
    expectAnswer(answer, 'UpdateAgentsSuccess');
  });
});

describe('a refusal before the save began does not consume the key', () => {
  test.each<[string, SaveInput, string]>([
    ['a wrong value', { inbound: { systemPrompt: '' } }, 'ValidationError'],
    ['a first save without a prompt', { inbound: { name: 'No prompt' } }, 'ValidationError'],
    ['a stale guard', { inbound: { systemPrompt: 'P', expectedRevision: 7 } }, 'RevisionConflictError'],
  ])('%s', async (_what, input, refusal) => {
    expect((await save(caller.client, { ...input, idempotencyKey })).__typename).toBe(refusal);
    expect(await savesOf(caller.orgId)).toBe(0);
    await committed({ ...both('good'), idempotencyKey });
    expect(await savesOf(caller.orgId)).toBe(1);
  });

  test('another save in progress', async () => {
    const middle = gate();
    lockstep.vapi.faults.add({ kind: 'hold', until: middle.until });
    const first = save(caller.client, { inbound: { systemPrompt: 'P' } });
    await middle.reached;
    const input = { ...both('second'), idempotencyKey };
    expectAnswer(await save(caller.client, input), 'SaveInProgressError');
    middle.open();
    expectAnswer(await first, 'UpdateAgentsSuccess');
    expect((await committed(input)).agents).toMatchObject([{ revision: 2 }, { revision: 1 }]);
  });

  test('no key for the voice provider', async () => {
    const keyless = await createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi, vapiKey: null });
    try {
      const input = { ...both('one'), idempotencyKey };
      const refused = await save(keyless.clientFor(caller.token), input);
      expectAnswer(refused, 'VoiceProviderNotConfiguredError');
      await committed({ ...both('other'), idempotencyKey });
    } finally {
      await keyless.stop();
    }
  });
});

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { supabaseConfig } from '../../../test/support/app.ts';
import { closedPort } from '../../../test/support/network.ts';
import { createTestSupabase, type Fault, type TestSupabase } from '../../../test/support/supabase.ts';
import { type AgentConfig, type AgentRole, defaultConfig } from '../../domain/agents/agent-config.ts';
import type { AgentRecord } from '../../domain/agents/save.ts';
import type { PartImage, PartResult, SagaFailure, SagaRecord } from '../../domain/saga.ts';
import { Secret } from '../../domain/secret.ts';
import {
  type BeginOutcome,
  type BeginRequest,
  DatabaseError,
  KeyRefusedError,
  type SaveJournal,
} from '../../ports/agents/save-journal.ts';
import type { SagaRef } from '../../ports/saga-journal.ts';
import { createServiceClient, NO_ANSWER, NOT_SENT } from './clients.ts';
import { createRpcJournal, databaseError } from './rpc-journal.ts';
import { createRpcSweepStore } from './rpc-sweep-store.ts';

describe('databaseError', () => {
  const told = (code: string | undefined, status: number) => {
    const error = databaseError({ code: code as string, message: 'said by the database' }, status);
    return error instanceof DatabaseError ? { code: error.code, sent: error.sent } : error.message;
  };

  test.each<[string, number]>([
    [NOT_SENT, 599],
    ['PGRST000', 503],
    ['PGRST001', 503],
    ['PGRST002', 503],
    ['PGRST003', 504],
    ['40001', 500],
    ['40P01', 500],
    ['53300', 503],
    ['53100', 500],
    ['55P03', 500],
    ['57014', 500],
  ])('%s (%i): it certainly did not happen', (code, status) => {
    expect(told(code, status)).toEqual({ code, sent: false });
  });

  test.each<[string | undefined, number, string]>([
    [NO_ANSWER, 599, NO_ANSWER],
    ['', 0, NO_ANSWER],
    ['57P01', 500, '57P01'],
    ['57P02', 500, '57P02'],
    ['57P03', 503, '57P03'],
    ['08006', 503, '08006'],
    ['SUP', 500, 'SUP'],
    ['XX000', 500, 'XX000'],
    [undefined, 500, 'HTTP_500'],
    [undefined, 502, 'HTTP_502'],
    ['', 503, 'HTTP_503'],
    [undefined, 504, 'HTTP_504'],
    [undefined, 408, 'HTTP_408'],
  ])('%s (%i): it may have happened', (code, status, named) => {
    expect(told(code, status)).toEqual({ code: named, sent: true });
  });

  test('a gateway that limits requests has let nothing through', () => {
    expect(told(undefined, 429)).toEqual({ code: 'HTTP_429', sent: false });
  });

  test.each<[string | undefined, number]>([
    ['PGRST301', 401],
    [undefined, 401],
    [undefined, 403],
  ])('%s (%i): the key is refused, nothing happened, and the error names the variable', (code, status) => {
    expect(told(code, status)).toEqual({ code: 'KEY_REFUSED', sent: false });
    const error = databaseError({ code: code as string, message: 'said by the gateway' }, status);
    expect(error).toBeInstanceOf(KeyRefusedError);
    expect((error as KeyRefusedError).variable).toBe('SUPABASE_SECRET_KEY');
  });

  test.each<[string | undefined, number]>([
    ['P0001', 400],
    ['23505', 409],
    ['23514', 400],
    ['42501', 403],
    ['42883', 404],
    ['PGRST202', 404],
    [undefined, 404],
    [undefined, 413],
  ])('%s (%i) will be the same next time: a defect, not an outage', (code, status) => {
    expect(told(code, status)).toBe(
      `the database refused a call with ${code ?? status}: said by the database`,
    );
  });

  test.each(['22P02', '22001', '22021'])(
    '%s: what the database quotes there stays out of the error',
    (code) => {
      expect(told(code, 400)).toBe(`the database refused a value with ${code}`);
    },
  );
});

// What the port's types say, for values that come from SQL: exactly these members, of these types.
const role = z.enum(['INBOUND', 'OUTBOUND']);
const voice = z.strictObject({
  ...{ provider: z.string(), voiceId: z.string() },
  ...{ stability: z.number().nullable(), similarityBoost: z.number().nullable() },
});
const model = z.strictObject({
  ...{ provider: z.string(), name: z.string() },
  ...{ temperature: z.number().nullable(), maxTokens: z.number().nullable() },
});
const config = z.strictObject({
  ...{ name: z.string(), systemPrompt: z.string(), firstMessage: z.string().nullable() },
  ...{ voice, model, language: z.string(), maxDurationSeconds: z.number() },
  transferTo: z.array(
    z.strictObject({ number: z.string(), description: z.string(), message: z.string().nullable() }),
  ),
  ...{ endCall: z.boolean(), voicemailMessage: z.string().nullable(), useKnowledgeBase: z.boolean() },
  bookAppointments: z.boolean(),
});
const time = z.iso.datetime({ offset: true });
const uuid = z.guid();
const result = z.strictObject({
  ...{ key: z.string(), resourceId: uuid, success: z.boolean(), vapiSynced: z.boolean().nullable() },
  ...{ dbUpdated: z.boolean().nullable(), remoteId: z.string().nullable(), error: z.string().nullable() },
  revision: z.int().nullable(),
});
const failure = z.strictObject({
  reason: z.enum([
    ...(['VAPI_REJECTED', 'VAPI_ANSWER_DIFFERED', 'VAPI_UNAVAILABLE'] as const),
    ...(['VAPI_RATE_LIMITED', 'VAPI_UNAUTHORIZED', 'RESOURCE_MISSING', 'OUTCOME_UNKNOWN'] as const),
  ]),
  message: z.string(),
  retryable: z.boolean(),
});
const saga = z.strictObject({
  id: uuid,
  status: z.enum(['APPLYING', 'COMMITTED', 'ROLLING_BACK', 'ROLLED_BACK', 'NEEDS_ATTENTION']),
  ...{ epoch: z.int(), kind: z.string(), cause: z.string(), ambiguous: z.boolean() },
  ...{ mappingVersion: z.int(), results: z.array(result), failure: failure.nullable() },
  ...{ startedAt: time, finishedAt: time.nullable() },
});
const agent = z.strictObject({
  ...{ id: uuid, role, config, assistantId: z.string(), revision: z.int(), missing: z.boolean() },
  ...{ lastSyncedAt: time, checkedAt: time, drift: z.array(z.never()), adoptable: z.null() },
});
const image = z.strictObject({
  ...{ key: z.string(), resource: z.string(), resourceId: uuid },
  ...{ remoteId: z.string().nullable(), recreate: z.boolean() },
  before: z
    .strictObject({
      ...{ content: config, revision: z.int(), sagaId: uuid, mappingVersion: z.int() },
      context: z.strictObject({}),
    })
    .nullable(),
  after: z.strictObject({ content: config, revision: z.int(), context: z.strictObject({}) }),
});

test('the shapes of these tests are those of the port (checked by the compiler)', () => {
  expectTypeOf<z.output<typeof saga>>().toEqualTypeOf<SagaRecord>();
  expectTypeOf<z.output<typeof result>>().toEqualTypeOf<PartResult>();
  expectTypeOf<z.output<typeof failure>>().toEqualTypeOf<SagaFailure>();
  expectTypeOf<z.output<typeof agent>>().toExtend<AgentRecord>();
  expectTypeOf<keyof z.output<typeof agent>>().toEqualTypeOf<keyof AgentRecord>();
  expectTypeOf<keyof z.output<typeof image>>().toEqualTypeOf<keyof PartImage>();
});

describe('against real functions', () => {
  let supabase: TestSupabase;
  let journal: SaveJournal;
  beforeAll(async () => {
    supabase = await createTestSupabase();
    journal = createRpcJournal(createServiceClient(supabaseConfig(supabase)));
  });
  afterAll(() => supabase?.stop());
  afterEach(() => {
    supabase.outage.end();
    supabase.faults.clear();
  });

  const CONFIG: AgentConfig = { ...defaultConfig('INBOUND'), systemPrompt: 'You answer calls.' };

  function request(
    over: Partial<BeginRequest> = {},
    roles: AgentRole[] = ['INBOUND', 'OUTBOUND'],
  ): BeginRequest {
    return {
      ...{ idempotencyKey: null, requestHash: 'hash', cause: 'USER', actor: 'somebody', mappingVersion: 1 },
      ...{ leaseMs: 60_000, deadlineMs: 120_000 },
      updates: roles.map((name) => ({
        ...{ role: name, agentId: null, newAgentId: randomUUID(), expectedRevision: null },
        patch: { systemPrompt: 'You answer calls.' },
        defaults: defaultConfig(name),
        recreateIfMissing: false,
      })),
      ...over,
    };
  }

  async function begun(over: Partial<BeginRequest> = {}, roles?: AgentRole[]) {
    const orgId = await supabase.createOrganization();
    const ref: SagaRef = { orgId, sagaId: randomUUID(), epoch: 1 };
    const outcome = await journal.begin(orgId, ref.sagaId, 'me', request(over, roles));
    return { ref, outcome };
  }

  const answers = (assistant: string) =>
    (['INBOUND', 'OUTBOUND'] as const).map((name) => ({
      ...{ key: name, remoteId: `${assistant}-${name}`, observed: { name: 'seen' } },
    }));
  const results = (ref: SagaRef): PartResult[] => [
    {
      ...{ key: 'INBOUND', resourceId: ref.sagaId, success: false, vapiSynced: null, dbUpdated: false },
      ...{ remoteId: null, error: 'no', revision: null },
    },
  ];
  const why: SagaFailure = { reason: 'VAPI_REJECTED', message: 'refused', retryable: false };

  async function committed(over: Partial<BeginRequest> = {}) {
    const { ref } = await begun(over);
    const outcome = await journal.commit(ref, { parts: answers(ref.sagaId), ambiguous: false, lateMs: 0 });
    return { ref, outcome };
  }

  const keys = (value: object) => Object.keys(value).sort();

  test('begin and commit, each with exactly what the port says, and each the same when it is repeated', async () => {
    const { ref, outcome } = await begun();
    if (outcome.outcome !== 'BEGUN') throw new Error(outcome.outcome);
    expect(keys(outcome)).toEqual(['deployment', 'images', 'outcome', 'saga']);
    expect(saga.parse(outcome.saga)).toMatchObject({
      id: ref.sagaId,
      status: 'APPLYING',
      epoch: 1,
      finishedAt: null,
    });
    expect(z.array(image).length(2).parse(outcome.images)).toEqual(
      (['INBOUND', 'OUTBOUND'] as const).map((name) => ({
        ...{
          key: name,
          resource: 'agent',
          resourceId: expect.any(String) as string,
          remoteId: null,
          before: null,
          recreate: false,
        },
        after: {
          content: { ...defaultConfig(name), systemPrompt: CONFIG.systemPrompt },
          ...{ revision: 1, context: {} },
        },
      })),
    );
    expect(uuid.parse(outcome.deployment)).toBe(outcome.deployment);
    expect(await journal.begin(ref.orgId, ref.sagaId, 'me', request())).toEqual(outcome);

    const commit = { parts: answers(ref.sagaId), ambiguous: false, lateMs: 0 };
    const done = await journal.commit(ref, commit);
    if (done.outcome !== 'COMMITTED') throw new Error(done.outcome);
    expect(saga.parse(done.saga)).toMatchObject({
      status: 'COMMITTED',
      finishedAt: expect.any(String) as string,
    });
    expect(z.array(agent).length(2).parse(done.rows)).toMatchObject([
      { role: 'INBOUND', revision: 1, assistantId: `${ref.sagaId}-INBOUND`, config: CONFIG },
      { role: 'OUTBOUND', revision: 1, assistantId: `${ref.sagaId}-OUTBOUND` },
    ]);
    const again = await journal.commit(ref, commit);
    expect(again).toMatchObject({ outcome: 'COMMITTED', saga: done.saga, rows: done.rows });

    const next = await journal.begin(ref.orgId, randomUUID(), 'me', request({}, ['OUTBOUND']));
    if (next.outcome !== 'BEGUN') throw new Error(next.outcome);
    expect(z.array(image).parse(next.images)).toMatchObject([
      {
        ...{ key: 'OUTBOUND', remoteId: `${ref.sagaId}-OUTBOUND` },
        before: { revision: 1, sagaId: ref.sagaId, mappingVersion: 1, context: {} },
        after: { revision: 1 },
      },
    ]);
  });

  test('why nothing begins: every refusal is a value with exactly what the port says', async () => {
    const { ref } = await committed({ idempotencyKey: 'key' });
    const begin = (over: Partial<BeginRequest>, roles?: AgentRole[]): Promise<BeginOutcome> =>
      journal.begin(ref.orgId, randomUUID(), 'me', request(over, roles));
    const [update] = request().updates;
    if (update === undefined) throw new Error('no update');

    expect(await journal.begin(randomUUID(), randomUUID(), 'me', request())).toEqual({
      outcome: 'NO_ORGANIZATION',
    });
    expect(await begin({ idempotencyKey: 'key', requestHash: 'other' })).toEqual({
      outcome: 'IDEMPOTENCY_CONFLICT',
      sagaId: ref.sagaId,
    });
    const replay = await begin({ idempotencyKey: 'key' });
    if (replay.outcome !== 'REPLAY') throw new Error(replay.outcome);
    expect(keys(replay)).toEqual(['outcome', 'rows', 'saga']);
    expect([saga.parse(replay.saga).id, z.array(agent).parse(replay.rows).length]).toEqual([ref.sagaId, 2]);

    expect(await begin({ updates: [{ ...update, agentId: randomUUID() }] })).toEqual({
      outcome: 'NO_AGENT',
      role: 'INBOUND',
    });
    const stale = await begin({ updates: [{ ...update, expectedRevision: 7 }] });
    if (stale.outcome !== 'REVISION_CONFLICT') throw new Error(stale.outcome);
    expect(keys(stale)).toEqual(['agents', 'outcome']);
    expect(z.array(agent).parse(stale.agents)).toMatchObject([{ role: 'INBOUND', revision: 1 }]);

    const other = await supabase.createOrganization();
    expect(
      await journal.begin(
        other,
        randomUUID(),
        'me',
        request({ updates: [{ ...update, patch: { name: 'A' } }] }),
      ),
    ).toEqual({ outcome: 'INCOMPLETE', missing: [{ role: 'INBOUND', field: 'systemPrompt' }] });

    const open = await begin({});
    expect(open.outcome).toBe('BEGUN');
    expect(await begin({})).toEqual({
      outcome: 'IN_PROGRESS',
      sagaId: 'saga' in open ? open.saga.id : '',
      status: 'APPLYING',
      retryAfterMs: expect.any(Number) as number,
    });
  });

  test('an assistant that is known to be gone: refused, and told again by the same key', async () => {
    const { ref } = await committed();
    const next = { ...ref, sagaId: randomUUID() };
    await journal.begin(ref.orgId, next.sagaId, 'me', request());
    const closed = await journal.abort(next, {
      ...{ failure: { ...why, reason: 'RESOURCE_MISSING' }, results: results(next), missing: ['INBOUND'] },
      ...{ ambiguous: false, lateMs: 0, leaseMs: 60_000, nothingApplied: true },
    });
    expect(closed).toMatchObject({ outcome: 'ROLLED_BACK' });
    const refused = await journal.begin(ref.orgId, randomUUID(), 'me', request());
    if (refused.outcome !== 'REFUSED') throw new Error(refused.outcome);
    expect(saga.parse(refused.saga)).toMatchObject({
      status: 'ROLLED_BACK',
      failure: { reason: 'RESOURCE_MISSING' },
    });
    expect(refused.rows).toEqual([]);
  });

  test('back: abort, then rolled back; repeated each says the same; with another epoch nothing moves', async () => {
    const { ref } = await begun();
    const abort = {
      ...{ failure: why, results: results(ref), missing: [], ambiguous: false, lateMs: 0 },
      ...{ leaseMs: 60_000, nothingApplied: false },
    };
    expect(await journal.abort({ ...ref, epoch: 2 }, abort)).toMatchObject({ outcome: 'STALE' });
    expect(await journal.abort({ ...ref, sagaId: randomUUID() }, abort)).toEqual({ outcome: 'NO_SAGA' });
    for (let repeat = 0; repeat < 2; repeat += 1) {
      const turned = await journal.abort(ref, abort);
      if (turned.outcome !== 'ROLLING_BACK') throw new Error(turned.outcome);
      expect(saga.parse(turned.saga)).toMatchObject({ failure: why, results: results(ref) });
    }
    const close = { results: results(ref), missing: [], ambiguous: false, lateMs: 0 };
    for (let repeat = 0; repeat < 2; repeat += 1) {
      const done = await journal.rolledBack(ref, close);
      if (done.outcome !== 'ROLLED_BACK') throw new Error(done.outcome);
      expect(saga.parse(done.saga).finishedAt).not.toBeNull();
    }
    const late = await journal.commit(ref, { parts: answers('late'), ambiguous: false, lateMs: 0 });
    expect(late).toMatchObject({ outcome: 'STALE', saga: { status: 'ROLLED_BACK' } });
  });

  test('abandoned: due, taken once with a new epoch, held, and handed to a person, who settles it', async () => {
    const { ref } = await begun({ leaseMs: 1, deadlineMs: 2 });
    const { orgId, sagaId } = ref;
    await expect.poll(() => journal.due(1_000)).toContainEqual({ orgId, sagaId });
    const taken = await journal.takeover(ref.orgId, ref.sagaId, 'other', 60_000);
    if (taken.outcome !== 'TAKEN') throw new Error(taken.outcome);
    expect(keys(taken)).toEqual([
      'deployment',
      'handedOver',
      'images',
      'once',
      'outcome',
      'pastDeadline',
      'pivotSent',
      'quarantined',
      'saga',
    ]);
    expect(saga.parse(taken.saga)).toMatchObject({ epoch: 2, ambiguous: false });
    expect(z.array(image).parse(taken.images)).toHaveLength(2);
    expect([taken.once, taken.quarantined, taken.pastDeadline]).toEqual([true, false, true]);
    expect(await journal.takeover(ref.orgId, ref.sagaId, 'third', 60_000)).toEqual({ outcome: 'NOT_DUE' });

    const held = { ...ref, epoch: 2 };
    const hold = await journal.hold(held, {
      results: results(ref),
      ambiguous: true,
      quarantineMs: 0,
      lookAfterMs: 60_000,
    });
    expect(hold).toMatchObject({ outcome: 'HELD', saga: { status: 'APPLYING' } });
    expect(await journal.due(1_000)).not.toContainEqual({ orgId: ref.orgId, sagaId: ref.sagaId });

    const abort = {
      ...{ failure: why, results: results(ref), missing: [], ambiguous: true, lateMs: 0 },
      ...{ leaseMs: 60_000, nothingApplied: false },
    };
    expect(await journal.abort(held, abort)).toMatchObject({ outcome: 'ROLLING_BACK' });
    const attention = await journal.needsAttention(held, {
      results: results(ref),
      failure: why,
      ambiguous: false,
      lateMs: 0,
    });
    if (attention.outcome !== 'NEEDS_ATTENTION') throw new Error(attention.outcome);
    expect(saga.parse(attention.saga).finishedAt).toBeNull();

    const found = await journal.inspect(ref.orgId, ref.sagaId);
    if (found.outcome !== 'FOUND') throw new Error(found.outcome);
    expect([saga.parse(found.saga).status, z.array(image).parse(found.images).length]).toEqual([
      'NEEDS_ATTENTION',
      2,
    ]);
    expect(await journal.inspect(ref.orgId, randomUUID())).toEqual({ outcome: 'NO_SAGA' });

    const settled = await journal.settle(held, 'COMMITTED', { parts: answers(ref.sagaId), lateMs: 60_000 });
    if (settled.outcome !== 'COMMITTED') throw new Error(settled.outcome);
    expect(z.array(agent).parse(settled.rows)).toHaveLength(2);
    // Late requests may still arrive: a fence.
    expect(await journal.begin(ref.orgId, randomUUID(), 'me', request())).toMatchObject({
      outcome: 'IN_PROGRESS',
      sagaId: ref.sagaId,
      status: 'COMMITTED',
      retryAfterMs: expect.any(Number) as number,
    });
  });

  test('tells a caller who meets an open save when to try again: by its age, or when recovery may go on', async () => {
    const { ref } = await begun({ leaseMs: 60_000 });
    const retryAfterMs = async (at: string) => {
      await supabase.sql`
        update public.sagas set started_at = now() - ${at}::interval where id = ${ref.sagaId}`;
      const refused = await journal.begin(ref.orgId, randomUUID(), 'me', request());
      return refused.outcome === 'IN_PROGRESS' ? refused.retryAfterMs : refused.outcome;
    };
    const lease = (to: string) => supabase.sql`
      update public.sagas set lease_until = now() + ${to}::interval where id = ${ref.sagaId}`;
    // From the future: none of the time that this test takes counts.
    expect(await retryAfterMs('-1 hour')).toBe(250);
    expect(await retryAfterMs('1 hour')).toBe(5_000);
    const half = Number(await retryAfterMs('4 seconds'));
    expect(half).toBeGreaterThanOrEqual(2_000);
    expect(half).toBeLessThanOrEqual(5_000);

    await lease('-1 second');
    expect(await journal.takeover(ref.orgId, ref.sagaId, 'other', 600_000)).toMatchObject({ once: true });
    expect(await retryAfterMs('1 hour')).toBe(5_000);
    await lease('-1 second');
    expect(await retryAfterMs('1 hour')).toBe(250);
    const hold = { results: results(ref), ambiguous: true, quarantineMs: 600_000, lookAfterMs: 0 };
    await journal.hold({ ...ref, epoch: 2 }, hold);
    expect(await retryAfterMs('1 hour')).toBeGreaterThan(500_000);
  });

  test('a commit that does not show an answer for every part is a defect, and changes nothing', async () => {
    const { ref } = await begun();
    const [inbound] = answers('a');
    const commit = journal.commit(ref, {
      ...{ parts: inbound === undefined ? [] : [inbound], ambiguous: false, lateMs: 0 },
    });
    const error = await commit.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(DatabaseError);
    const [row] = await supabase.sql`select status from public.agent_saves where id = ${ref.sagaId}`;
    expect(row).toEqual({ status: 'APPLYING' });
  });

  describe('when the database, or the way to it, is away', () => {
    const error = (work: Promise<unknown>) =>
      work.then(
        () => expect.fail('it was answered'),
        (thrown: unknown) => thrown,
      );
    const impatient = () =>
      createRpcJournal(createServiceClient({ ...supabaseConfig(supabase), timeoutMs: 300 }));

    test.each([
      ['reset', { code: NO_ANSWER, sent: true }],
      ['503', { code: 'PGRST001', sent: false }],
      ['hang', { code: NO_ANSWER, sent: true }],
    ] as const)('%s, whichever function is called', async (kind, told) => {
      const { ref } = await begun();
      supabase.outage.begin(kind);
      const away = kind === 'hang' ? impatient() : journal;
      const transition = { results: [], missing: [], ambiguous: false, lateMs: 0 };
      for (const work of [
        () => away.begin(ref.orgId, ref.sagaId, 'me', request()),
        () => away.commit(ref, { parts: [], ambiguous: false, lateMs: 0 }),
        () => away.abort(ref, { ...transition, failure: why, leaseMs: 1, nothingApplied: false }),
        () => away.rolledBack(ref, transition),
        () => away.needsAttention(ref, { results: [], failure: why, ambiguous: false, lateMs: 0 }),
        () => away.hold(ref, { results: [], ambiguous: false, quarantineMs: 0, lookAfterMs: 0 }),
        () => away.settle(ref, 'ROLLED_BACK', { results: [], lateMs: 0 }),
        () => away.takeover(ref.orgId, ref.sagaId, 'me', 1),
        () => away.inspect(ref.orgId, ref.sagaId),
        () => away.due(1),
      ]) {
        const thrown = await error(work());
        expect(thrown).toBeInstanceOf(DatabaseError);
        expect(thrown).toMatchObject(told);
      }
    });

    test('nobody listens: it was certainly not sent', async () => {
      const url = `http://127.0.0.1:${await closedPort()}`;
      const nowhere = createRpcJournal(createServiceClient({ ...supabaseConfig(supabase), url }));
      expect(await error(nowhere.due(1))).toMatchObject({
        name: 'DatabaseError',
        code: NOT_SENT,
        sent: false,
      });
    });

    test.each<[string, Fault, object]>([
      ['a gateway without a body', { status: 502 }, { code: 'HTTP_502', sent: true }],
      [
        'a gateway in its own words',
        { status: 504, body: { message: 'upstream' } },
        { code: 'HTTP_504', sent: true },
      ],
      [
        'a limit of the gateway',
        { status: 429, body: { message: 'slow down' } },
        { code: 'HTTP_429', sent: false },
      ],
      [
        'a serialization failure',
        { status: 500, body: { code: '40001', message: '' } },
        { code: '40001', sent: false },
      ],
      ['no outcome', { status: 200, body: { saga: {} } }, { code: 'UNREADABLE_ANSWER', sent: true }],
      ['null', { status: 200, body: null }, { code: 'UNREADABLE_ANSWER', sent: true }],
    ])('answered by %s', async (_name, fault, told) => {
      const orgId = await supabase.createOrganization();
      supabase.faults.next('begin_agents', fault);
      const thrown = await error(journal.begin(orgId, randomUUID(), 'me', request()));
      expect(thrown).toMatchObject({ name: 'DatabaseError', ...told });
    });

    /** A journal whose Supabase answers everything like this; `asked` holds the headers of every request. */
    async function answeredBy(answer: (response: ServerResponse) => void) {
      const asked: IncomingHttpHeaders[] = [];
      const server = createServer((incoming, response) => {
        asked.push(incoming.headers);
        incoming.resume().on('end', () => answer(response));
      }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      onTestFinished(() => {
        server.closeAllConnections();
        server.close();
      });
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      return {
        url,
        asked,
        journal: createRpcJournal(createServiceClient({ ...supabaseConfig(supabase), url })),
      };
    }

    test.each(['<html>Welcome to the hotel</html>', '', '{"outcome":"BEG'])(
      'answered 200, and no JSON: %j',
      async (body) => {
        const captive = await answeredBy((response) => response.end(body));
        expect(await error(captive.journal.begin(randomUUID(), randomUUID(), 'me', request()))).toMatchObject(
          {
            ...{ name: 'DatabaseError', code: 'UNREADABLE_ANSWER', sent: true },
          },
        );
      },
    );

    test('an answer of another form is no answer, whatever was asked: recovery tries again', async () => {
      const bodies = [
        'null',
        '7',
        '"COMMITTED"',
        '{"outcome":"DONE"}',
        '{"outcome":"BEGUN"}',
        '{"outcome":"TAKEN"}',
      ];
      bodies.push(
        '{"outcome":"COMMITTED"}',
        '{"outcome":"COMMITTED","saga":{"id":7}}',
        '{"outcome":"FOUND"}',
      );
      bodies.push('[{"org_id":7}]', '[null]', '{}');
      let body = '';
      const strange = await answeredBy((response) =>
        response.writeHead(200, { 'content-type': 'application/json' }).end(body),
      );
      const sweepStore = createRpcSweepStore(
        createServiceClient({ ...supabaseConfig(supabase), url: strange.url }),
      );
      const orgId = randomUUID();
      const ref = { orgId, sagaId: randomUUID(), epoch: 1 };
      const rest = { results: [], missing: [], ambiguous: false, lateMs: 0 };
      const asked: (() => Promise<unknown>)[] = [
        () => strange.journal.begin(orgId, ref.sagaId, 'me', request()),
        () => strange.journal.commit(ref, { parts: [], ...rest }),
        () => strange.journal.abort(ref, { ...rest, failure: why, leaseMs: 1, nothingApplied: false }),
        () => strange.journal.rolledBack(ref, rest),
        () => strange.journal.needsAttention(ref, { ...rest, failure: why }),
        () => strange.journal.hold(ref, { ...rest, quarantineMs: 0, lookAfterMs: 0 }),
        () => strange.journal.settle(ref, 'COMMITTED', rest),
        () => strange.journal.inspect(orgId, ref.sagaId),
        () => strange.journal.takeover(orgId, ref.sagaId, 'me', 1),
        () => strange.journal.due(1),
        () => sweepStore.lookup(['a']),
        () => sweepStore.page(null, 1),
        () => sweepStore.orphans([], 0),
        () => sweepStore.note([{ orgId, agentId: orgId, saveId: orgId, revision: 1, state: 'SAME' }]),
        () => sweepStore.setDriftPolicy(orgId, 'REVERT'),
      ];
      for (body of bodies) {
        for (const ask of asked) {
          expect(await error(ask()), `${ask} answered ${body}`).toMatchObject({
            ...{ name: 'DatabaseError', code: 'UNREADABLE_ANSWER', sent: true },
          });
        }
      }
      for (body of ['null', '{}', '"7"']) {
        for (const ask of [() => sweepStore.takeLease('me', 1), () => sweepStore.cleanup(1, 90)]) {
          expect(await error(ask())).toMatchObject({ code: 'UNREADABLE_ANSWER' });
        }
      }
    });

    test.each([301, 302, 307, 308])(
      'a redirect (%i) is not followed: nobody else gets the key',
      async (status) => {
        const elsewhere = await answeredBy((response) => response.end('[]'));
        const moved = await answeredBy((response) =>
          response.writeHead(status, { location: elsewhere.url }).end(),
        );
        expect(String(await error(moved.journal.due(1)))).toContain(`refused a call with ${status}`);
        expect([moved.asked.length, elsewhere.asked.length]).toEqual([1, 0]);
        expect(moved.asked[0]?.['apikey']).toBe(supabase.secretKey);
      },
    );

    test('the answer was lost: asked again, it is the same save', async () => {
      const orgId = await supabase.createOrganization();
      const saveId = randomUUID();
      supabase.faults.next('begin_agents', 'reset-after');
      const asked = request();
      expect(await error(journal.begin(orgId, saveId, 'me', asked))).toMatchObject({ sent: true });
      expect(await journal.begin(orgId, saveId, 'me', asked)).toMatchObject({
        outcome: 'BEGUN',
        saga: { id: saveId },
      });
      const rows = await supabase.sql`select id from public.sagas where org_id = ${orgId}`;
      expect(rows).toHaveLength(1);
    });

    test('one call is one request: nothing repeats it behind our back', async () => {
      const orgId = await supabase.createOrganization();
      supabase.requests.reset();
      supabase.faults.next('begin_agents', { status: 503, body: { code: 'PGRST002', message: '' } });
      await error(journal.begin(orgId, randomUUID(), 'me', request()));
      expect(supabase.requests.all).toHaveLength(1);
    });

    test('a wrong service key is refused under the name of its variable, without its value', async () => {
      const secretKey = new Secret('sb_secret_canary-of-somebody-else');
      const stranger = createRpcJournal(createServiceClient({ ...supabaseConfig(supabase), secretKey }));
      const thrown = await error(stranger.due(1));
      expect(thrown).toMatchObject({ code: 'KEY_REFUSED', variable: 'SUPABASE_SECRET_KEY', sent: false });
      expect(String(thrown)).not.toContain('canary');
    });
  });
});

/**
 * A kind of saga that no feature has: three stages, of which the last is a pivot, with functions of its own in a real Postgres and a
 * remote system in memory. The first owner dies at every point, and recovery must bring both sides to the same state.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal, createSagaJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { systemClock } from '../../src/adapters/system/system.ts';
import { defaultConfig } from '../../src/domain/agents/agent-config.ts';
import { type JsonObject, jsonEqual } from '../../src/domain/json.ts';
import type { PartImage } from '../../src/domain/saga.ts';
import type { OpenSaga, SagaJournal } from '../../src/ports/saga-journal.ts';
import type { Log } from '../../src/ports/system.ts';
import type { ProviderReply } from '../../src/ports/voice-provider.ts';
import type {
  Found,
  Inspected,
  Part,
  SagaIdentity,
  SagaKind,
  Written,
} from '../../src/services/saga/participant.ts';
import { recoverAbandonedSagas } from '../../src/services/saga/recovery.ts';
import { instant, type RunPorts, SagaRun } from '../../src/services/saga/run.ts';
import { supabaseConfig } from '../support/app.ts';
import { Life } from '../support/life.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

/** Nothing of a kind but this: no function of the journal is changed. */
const KIND = `
  create table lockstep.probe (
    org_id uuid not null,
    key text not null,
    resource_id uuid not null,
    remote_id text not null,
    content jsonb not null,
    revision integer not null,
    saga_id uuid not null,
    context jsonb not null default '{}',
    missing boolean not null default false,
    stuck boolean not null default false,
    primary key (org_id, key)
  );
  grant select, insert, update, delete on lockstep.probe to lockstep_saves;

  create function lockstep.begin_probe(p_org_id uuid, p_saga_id uuid, p_owner text, p_request jsonb) returns jsonb
  language plpgsql security definer set search_path = '' as $$
  declare
    v_keys constant text[] := '{probe,probe.file}';
    v_parts lockstep.saga_parts[];
    v_answer jsonb;
  begin
    v_answer := lockstep.may_begin(p_org_id, p_saga_id, p_owner, 'probe', v_keys, p_request);
    if v_answer is null then
      select array_agg(row(p_saga_id, p_org_id, w ->> 'key', w ->> 'key', coalesce(r.resource_id, gen_random_uuid()), r.remote_id, false,
          r.content, coalesce(r.revision, 0), r.saga_id, case when r.key is null then null else 1 end,
          w -> 'content', coalesce(r.revision, 0) + 1, coalesce(r.context, '{}'), coalesce(w -> 'context', '{}'))::lockstep.saga_parts)
        into v_parts from jsonb_array_elements(p_request -> 'parts') as w
        left join lockstep.probe r on r.org_id = p_org_id and r.key = w ->> 'key';
      v_answer := lockstep.begin_saga(p_org_id, p_saga_id, p_owner, 'probe', v_keys, p_request, v_parts, null);
    end if;
    perform lockstep.leave();
    return v_answer;
  end
  $$;

  create function lockstep.apply_probe(s public.sagas, p_parts jsonb) returns jsonb
  language plpgsql set search_path = '' as $$
  begin
    insert into lockstep.probe (org_id, key, resource_id, remote_id, content, revision, saga_id, context)
      select p.org_id, p.key, p.resource_id, a ->> 'remoteId', p.after_content, p.after_revision, s.id, p.after_context
        from lockstep.saga_parts p join jsonb_array_elements(p_parts) as a on a ->> 'key' = p.key
        where p.saga_id = s.id
      on conflict (org_id, key) do update set remote_id = excluded.remote_id, content = excluded.content,
        revision = excluded.revision, saga_id = excluded.saga_id, context = excluded.context, stuck = false;
    delete from lockstep.probe where org_id = s.org_id and content = '{"removed": true}';
    return lockstep.rows_probe(s);
  end
  $$;

  create function lockstep.close_probe(s public.sagas, p_missing jsonb) returns void
  language sql set search_path = '' as $$
    update lockstep.probe set missing = missing or p_missing ? key, stuck = s.status = 'NEEDS_ATTENTION' where org_id = s.org_id;
  $$;

  create function lockstep.rows_probe(s public.sagas) returns jsonb
  language sql stable set search_path = '' as $$
    select coalesce(jsonb_agg(key order by key), '[]') from lockstep.probe where org_id = s.org_id and saga_id = s.id;
  $$;

  select lockstep.own_functions('lockstep_saves', exposed => '{begin_probe}', internal => '{apply_probe,close_probe,rows_probe}');
`;

const FAR = 3_600_000;
const SETTINGS = {
  ...{ leaseMs: FAR, deadlineMs: 2 * FAR, answerMs: FAR, lateMs: FAR, requestTimeoutMs: 10_000 },
};
/** A tool that is new, an agent that names it, and a file that goes once nothing names it. */
const STAGES: Readonly<Record<string, number>> = { tool: 0, agent: 1, file: 2 };
const WANTED: Readonly<Record<string, JsonObject>> = {
  tool: { name: 'tool' },
  agent: { name: 'agent', tool: true },
  file: { removed: true },
};
const OLD: Readonly<Record<string, JsonObject>> = { agent: { name: 'agent' }, file: { name: 'file' } };

interface Resource {
  key: string;
  content: JsonObject;
  sagaId: string;
}

/** The remote system: what it contains, what was asked of it, and what it refuses. */
class Remote {
  readonly resources = new Map<string, Resource>();
  readonly writes: string[] = [];
  /** Refuses this content for good. */
  refuses: JsonObject | null = null;
  /** Requests for this part are lost. Called for each of them. */
  lost: { key: string; told: () => void } | null = null;
  #last = 0;

  put(id: string | null, resource: Resource): ProviderReply<Written> {
    if (this.lost?.key === resource.key) {
      this.lost.told();
      return { kind: 'unknown', code: 'TIMEOUT' };
    }
    if (this.refuses !== null && jsonEqual(this.refuses, resource.content))
      return { kind: 'refused', status: 400, messages: ['no'] };
    if (id !== null && !this.resources.has(id)) return { kind: 'gone' };
    const remoteId = id ?? `${resource.key} ${++this.#last}`;
    this.resources.set(remoteId, resource);
    return { kind: 'ok', value: { remoteId, observed: resource.content, differing: [] } };
  }

  remove(id: string): ProviderReply<unknown> {
    return this.resources.delete(id) ? { kind: 'ok', value: {} } : { kind: 'gone' };
  }
}

class ProbePart implements Part {
  readonly timeoutMs = SETTINGS.requestTimeoutMs;
  readonly lookOnly = false;
  readonly stage: number;
  readonly pivot: boolean;
  readonly removes: boolean;
  readonly #of: { remote: Remote; life: Life; saga: SagaIdentity; image: PartImage };

  constructor(of: { remote: Remote; life: Life; saga: SagaIdentity; image: PartImage }) {
    this.#of = of;
    this.stage = STAGES[of.image.key] ?? 0;
    this.removes = of.image.after.content['removed'] === true;
    this.pivot = this.removes;
  }

  #write<T>(method: string, effect: () => T): Promise<T> {
    const { remote, life, image } = this.#of;
    return life.do(`${method} ${image.key}`, () => {
      remote.writes.push(`${method} ${image.key}`);
      return effect();
    });
  }

  #put(method: string, id: string | null, content: JsonObject, sagaId: string) {
    const { remote, image } = this.#of;
    return this.#write(method, () => remote.put(id, { key: image.key, content, sagaId }));
  }

  create() {
    return this.#put('POST', null, this.#of.image.after.content, this.#of.saga.sagaId);
  }

  replace(id: string) {
    return this.#put('PATCH', id, this.#of.image.after.content, this.#of.saga.sagaId);
  }

  restore(id: string) {
    const { before } = this.#of.image;
    if (before === null) throw new Error('there is nothing to restore');
    return this.#put('PATCH', id, before.content, before.sagaId);
  }

  remove(id: string) {
    return this.#write('DELETE', () => this.#of.remote.remove(id));
  }

  async look(id: string): Promise<ProviderReply<Found>> {
    const found = this.#of.remote.resources.get(id);
    return found === undefined ? { kind: 'gone' } : { kind: 'ok', value: this.#found(id, found) };
  }

  async list(): Promise<ProviderReply<Found[]>> {
    return {
      kind: 'ok',
      value: [...this.#of.remote.resources].map(([id, resource]) => this.#found(id, resource)),
    };
  }

  async inspect(id: string): Promise<ProviderReply<Inspected>> {
    const { remote, image } = this.#of;
    const found = remote.resources.get(id);
    if (found === undefined) return { kind: 'gone' };
    const differs = (content: JsonObject) => (jsonEqual(found.content, content) ? [] : ['content']);
    return {
      kind: 'ok',
      value: {
        ...{ remoteId: id, observed: found.content, differsFromAfter: differs(image.after.content) },
        differsFromBefore: differs(image.before?.content ?? {}),
      },
    };
  }

  #found(remoteId: string, { key, content, sagaId }: Resource): Found {
    const { saga, image } = this.#of;
    const stamped = sagaId === saga.sagaId && key === image.key;
    const differing = jsonEqual(content, image.after.content) ? [] : ['content'];
    return {
      ...{ remoteId, createdAt: '', stamped },
      holds: stamped ? { remoteId, observed: content, differing } : null,
    };
  }
}

let supabase: TestSupabase;
let journal: SagaJournal;
beforeAll(async () => {
  supabase = await createTestSupabase();
  await supabase.sql.unsafe(KIND);
  journal = createSagaJournal(createServiceClient(supabaseConfig(supabase)), z.unknown());
});
afterAll(() => supabase?.stop());

const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const ports: Omit<RunPorts<unknown>, 'journal'> = {
  ...{ clock: systemClock, log, settings: SETTINGS },
  ...{ random: { next: () => 0.5 }, meter: { count() {} } },
};

function kindOf(remote: Remote, life: Life): SagaKind {
  return {
    words: { notMade: 'Not made.', gone: 'Gone.', otherFailed: 'Not kept.', needsAttention: 'Stuck.' },
    open: (saga, image) => new ProbePart({ remote, life, saga, image }),
  };
}

/** An organization whose agent and file exist on both sides. */
async function organization(): Promise<{ orgId: string; remote: Remote }> {
  const orgId = await supabase.createOrganization();
  const remote = new Remote();
  for (const [key, content] of Object.entries(OLD)) {
    const sagaId = randomUUID();
    remote.resources.set(`${key} of before`, { key, content, sagaId });
    await supabase.sql`
      insert into lockstep.probe (org_id, key, resource_id, remote_id, content, revision, saga_id)
      values (${orgId}, ${key}, ${randomUUID()}, ${`${key} of before`}, ${supabase.sql.json(content as never)}, 1, ${sagaId})`;
  }
  return { orgId, remote };
}

async function begin(
  orgId: string,
  sagaId: string,
  keys = Object.keys(WANTED),
  context: JsonObject = {},
): Promise<OpenSaga> {
  const request = {
    ...{ requestHash: 'h', cause: 'USER', leaseMs: FAR, deadlineMs: 2 * FAR, mappingVersion: 1 },
    parts: keys.map((key) => ({ key, content: WANTED[key], context })),
  };
  const [row] = await supabase.sql<{ answer: OpenSaga & { outcome: string } }[]>`
    select public.begin_probe(${orgId}, ${sagaId}, 'one', ${JSON.stringify(request)}::text::jsonb) as answer`;
  if (row?.answer.outcome !== 'BEGUN') throw new Error(row?.answer.outcome);
  return row.answer;
}

/** As its first owner, until it ends or its owner dies. */
async function firstOwner(
  { orgId, remote }: { orgId: string; remote: Remote },
  sagaId: string,
  keys: string[],
  life: Life,
  clock = systemClock,
): Promise<void> {
  const work = async () => {
    const leaseFrom = instant(systemClock);
    const open = await life.do('begin', () => begin(orgId, sagaId, keys));
    const run = new SagaRun({ ...ports, clock, journal: life.journal(journal) }, kindOf(remote, life), {
      ...{ orgId, saga: open.saga, images: open.images, deployment: open.deployment },
      ...{ leaseFrom, leaseMs: FAR, taken: false, once: false, quarantined: false, pastDeadline: false },
    });
    await run.run();
  };
  await Promise.race([work(), life.died]);
}

async function statusOf(sagaId: string): Promise<string | null> {
  const [row] = await supabase.sql<
    { status: string }[]
  >`select status from public.sagas where id = ${sagaId}`;
  return row?.status ?? null;
}

/** Every lease and quarantine ends, and recovery looks; until the saga is over. */
async function recover(sagaId: string, remote: Remote, dead: Life): Promise<void> {
  for (let round = 0; round < 5; round += 1) {
    const status = await statusOf(sagaId);
    if (status !== 'APPLYING' && status !== 'ROLLING_BACK') break;
    await supabase.sql`
      update public.sagas set lease_until = least(lease_until, now()),
        quarantine_until = case when quarantine_until > now() then now() else quarantine_until end
      where id = ${sagaId}`;
    await recoverAbandonedSagas<unknown>(
      journal,
      () => ({ kind: kindOf(remote, new Life()), journal, ended: () => {} }),
      { ...ports, owner: 'two' },
    );
    if (round === 0) dead.land();
  }
  dead.land();
}

/** What both sides contain of an organization, to compare with what they should. */
async function sidesOf(orgId: string, remote: Remote) {
  const rows = await supabase.sql<{ key: string; id: string; content: JsonObject; missing: boolean }[]>`
    select key, remote_id as id, content, missing from lockstep.probe where org_id = ${orgId} order by key`;
  const held = [...remote.resources].map(([id, { key, content }]) => ({ key, id, content, missing: false }));
  const [left] = await supabase.sql<{ keys: number }[]>`
    select count(*)::integer as keys from lockstep.saga_keys where org_id = ${orgId}`;
  return { database: [...rows], remote: held.sort((a, b) => (a.key < b.key ? -1 : 1)), keys: left?.keys };
}

const COMMITTED = ['agent', 'tool'].map((key) => ({
  ...{ key, id: expect.any(String) as string, content: WANTED[key], missing: false },
}));
const ROLLED_BACK = ['agent', 'file'].map((key) => ({
  ...{ key, id: `${key} of before`, content: OLD[key], missing: false },
}));

async function expectAgreement(
  orgId: string,
  sagaId: string,
  remote: Remote,
  status: string | null,
): Promise<void> {
  expect(await statusOf(sagaId)).toBe(status);
  const sides = await sidesOf(orgId, remote);
  expect(sides.database).toEqual(sides.remote);
  expect(sides).toMatchObject({ database: status === 'COMMITTED' ? COMMITTED : ROLLED_BACK, keys: 0 });
}

interface Scenario {
  what: string;
  parts: string[];
  refuses: JsonObject | null;
  ops: string[];
  status: string;
}
const SCENARIOS: Scenario[] = [
  {
    what: 'a saga that Vapi accepts',
    parts: ['tool', 'agent', 'file'],
    refuses: null,
    // The journal says that the pivot may have been sent, before it is.
    ops: ['begin', 'POST tool', 'PATCH agent', 'hold', 'DELETE file', 'commit'],
    status: 'COMMITTED',
  },
  {
    what: 'a saga of two stages, the second of which Vapi refuses',
    parts: ['tool', 'agent'],
    refuses: WANTED['agent'] ?? null,
    ops: ['begin', 'POST tool', 'PATCH agent', 'abort', 'DELETE tool', 'rolledBack'],
    status: 'ROLLED_BACK',
  },
  {
    what: 'a saga with a pivot after a stage that Vapi refuses',
    parts: ['tool', 'agent', 'file'],
    refuses: WANTED['agent'] ?? null,
    ops: ['begin', 'POST tool', 'PATCH agent', 'abort', 'DELETE tool', 'rolledBack'],
    status: 'ROLLED_BACK',
  },
];

describe.each(SCENARIOS)('$what', ({ parts, refuses, ops, status }) => {
  test('goes through its stages in order, and ends on both sides', async () => {
    const { orgId, remote } = await organization();
    remote.refuses = refuses;
    const life = new Life();
    const sagaId = randomUUID();
    await firstOwner({ orgId, remote }, sagaId, parts, life);
    expect(life.steps).toEqual(ops);
    await expectAgreement(orgId, sagaId, remote, status);
  });

  const points = ops.flatMap((op, nth) =>
    (['before', 'after', 'late'] as const)
      .filter((when) => when !== 'late' || /^[A-Z]/.test(op))
      .map((when) => ({ op, nth, when })),
  );
  test.each(points)('whose owner dies: $op, $when it takes effect', async ({ op, nth, when }) => {
    const { orgId, remote } = await organization();
    remote.refuses = refuses;
    const life = new Life({ nth, when });
    const sagaId = randomUUID();
    await firstOwner({ orgId, remote }, sagaId, parts, life);
    expect(life.steps.at(-1)).toBe(op);
    await recover(sagaId, remote, life);
    await expectAgreement(orgId, sagaId, remote, op === 'begin' && when === 'before' ? null : status);
    // Whoever acts, the pivot is sent only when every stage before it is applied.
    const pivot = remote.writes.indexOf('DELETE file');
    if (pivot >= 0) {
      expect(remote.writes.slice(0, pivot)).toEqual(expect.arrayContaining(['POST tool', 'PATCH agent']));
    }
    expect(remote.writes.filter((write) => write === 'POST tool').length).toBeLessThanOrEqual(1);
  });
});

test('what an owner hands over is not sent again, and the next owner knows what was not sent', async () => {
  const { orgId, remote } = await organization();
  const [life, sagaId] = [new Life(), randomUUID()];
  // Its lease is over when it knows that the second request gets no answer.
  let late = 0;
  remote.lost = {
    key: 'agent',
    told: () => {
      late = FAR;
    },
  };
  const clock = {
    ...systemClock,
    ...{ now: () => systemClock.now() + late, monotonic: () => systemClock.monotonic() + late },
  };
  await firstOwner({ orgId, remote }, sagaId, ['tool', 'agent', 'file'], life, clock);
  expect(life.steps).toEqual(['begin', 'POST tool', 'PATCH agent', 'hold']);
  remote.lost = null;
  remote.refuses = WANTED['agent'] ?? null;
  await recover(sagaId, remote, life);
  // Forward and back: the agent. The tool is only looked at, and the file was never sent.
  expect(remote.writes).toEqual(['POST tool', 'PATCH agent', 'PATCH agent', 'PATCH agent', 'DELETE tool']);
  await expectAgreement(orgId, sagaId, remote, 'ROLLED_BACK');
});

describe('the kind of a saga', () => {
  const rows = (orgId: string) => supabase.sql<{ key: string; stuck: boolean; context: JsonObject }[]>`
    select key, stuck, context from lockstep.probe where org_id = ${orgId} order by key`;

  test('is told that the saga needs attention, and again when an operator has ended it', async () => {
    const { orgId } = await organization();
    const { saga } = await begin(orgId, randomUUID());
    const ref = { orgId, sagaId: saga.id, epoch: saga.epoch };
    const failure = { reason: 'OUTCOME_UNKNOWN' as const, message: 'Stuck.', retryable: false };
    const halt = { results: saga.results, failure, ambiguous: false, lateMs: 0 };
    expect((await journal.needsAttention(ref, halt)).outcome).toBe('NEEDS_ATTENTION');
    expect((await rows(orgId)).map(({ stuck }) => stuck)).toEqual([true, true]);
    const end = { results: saga.results, missing: [], lateMs: 0 };
    expect((await journal.settle(ref, 'ROLLED_BACK', end)).outcome).toBe('ROLLED_BACK');
    expect((await rows(orgId)).map(({ stuck }) => stuck)).toEqual([false, false]);
  });

  test('receives with each image the context that was rendered, and the one to render', async () => {
    const { orgId } = await organization();
    const seen = { parts: [{ key: 'agent', remoteId: 'agent of before', observed: {} }], lateMs: 0 };
    const commit = (sagaId: string) =>
      journal.commit({ orgId, sagaId, epoch: 1 }, { ...seen, ambiguous: false });
    const [first, second] = [randomUUID(), randomUUID()];
    const begun = await begin(orgId, first, ['agent'], { tool: 'one' });
    expect(begun.images).toMatchObject([{ before: { context: {} }, after: { context: { tool: 'one' } } }]);
    expect((await commit(first)).outcome).toBe('COMMITTED');
    const { images } = await begin(orgId, second, ['agent']);
    expect(images).toMatchObject([{ before: { context: { tool: 'one' } }, after: { context: {} } }]);
    await supabase.sql`update public.sagas set lease_until = now() where id = ${second}`;
    expect(await journal.takeover(orgId, second, 'two', FAR)).toMatchObject({ outcome: 'TAKEN', images });
  });
});

describe('keys', () => {
  const agents = (orgId: string, sagaId: string = randomUUID()) =>
    createRpcJournal(createServiceClient(supabaseConfig(supabase))).begin(orgId, sagaId, 'one', {
      ...{ idempotencyKey: null, requestHash: 'h', cause: 'USER', actor: null, mappingVersion: 1 },
      ...{ leaseMs: FAR, deadlineMs: FAR },
      updates: [
        {
          ...{ role: 'INBOUND', agentId: null, newAgentId: randomUUID(), patch: { systemPrompt: 'P' } },
          ...{ defaults: defaultConfig('INBOUND'), expectedRevision: null, recreateIfMissing: false },
        },
      ],
    });

  test('of an open saga are refused to another one, and no others are', async () => {
    const { orgId } = await organization();
    const sagaId = randomUUID();
    await begin(orgId, sagaId);
    const rows = await supabase.sql`
      select key, saga_id from lockstep.saga_keys where org_id = ${orgId} order by key`;
    expect([...rows]).toEqual(['probe', 'probe.file'].map((key) => ({ key, saga_id: sagaId })));
    await expect(begin(orgId, randomUUID())).rejects.toThrow('IN_PROGRESS');
    const [busy] = await supabase.sql`select lockstep.is_busy(${orgId}, 'agents') as agents`;
    expect(busy).toEqual({ agents: false });
    expect((await agents(orgId)).outcome).toBe('BEGUN');
  });

  test('are each given to one open saga by the database itself', async () => {
    const { orgId } = await organization();
    await begin(orgId, randomUUID());
    const another = randomUUID();
    await begin((await organization()).orgId, another);
    await expect(
      supabase.sql`insert into lockstep.saga_keys values (${orgId}, 'probe', ${another})`,
    ).rejects.toMatchObject({ code: '23505' });
  });

  test('behind a fence are refused, also if it is one of several, and no others are', async () => {
    const { orgId } = await organization();
    await supabase.sql`
      insert into lockstep.fences values (${orgId}, 'probe.file', now() + interval '1 hour', ${randomUUID()})`;
    await expect(begin(orgId, randomUUID())).rejects.toThrow('IN_PROGRESS');
    expect((await agents(orgId)).outcome).toBe('BEGUN');
  });

  test('a saga of one kind is not answered to another one', async () => {
    const { orgId } = await organization();
    const sagaId = randomUUID();
    await begin(orgId, sagaId);
    expect(await agents(orgId, sagaId)).toEqual({ outcome: 'IDEMPOTENCY_CONFLICT', sagaId });
  });
});

/**
 * Deliberately wrong service code: it has the key of the service role, and passes ids of one organization together with another
 * organization. The database refuses it.
 */
import { randomUUID } from 'node:crypto';
import { createClient } from '@supabase/supabase-js';
import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { defaultConfig } from '../../src/domain/agents/agent-config.ts';
import type { BeginRequest, SaveJournal } from '../../src/ports/agents/save-journal.ts';
import type { SagaRef } from '../../src/ports/saga-journal.ts';
import { MAPPING_VERSION } from '../../src/services/agents/render.ts';
import { createTestApp, supabaseConfig, type TestApp } from '../support/app.ts';
import { createOwner, digestOf, type Owner } from './organizations.ts';

let lockstep: TestApp;
let sql: postgres.Sql;
let journal: SaveJournal;
let a: Owner;
let b: Owner;
/** An organization without agents. */
let c: string;
/** An open save of A, begun by `owner`. */
let open: { id: string; owner: string };

beforeAll(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  lockstep = await createTestApp();
  ({ sql } = lockstep.supabase);
  journal = createRpcJournal(createServiceClient(supabaseConfig(lockstep.supabase)));
  [a, b] = await Promise.all([createOwner(lockstep, 'A'), createOwner(lockstep, 'B')]);
  c = await lockstep.supabase.createOrganization('C');
  open = { id: randomUUID(), owner: randomUUID() };
  expect(await journal.begin(a.orgId, open.id, open.owner, change())).toMatchObject({ outcome: 'BEGUN' });
});
afterAll(async () => {
  vi.restoreAllMocks();
  await lockstep?.stop();
});

function change(update: Partial<BeginRequest['updates'][number]> = {}): BeginRequest {
  return {
    idempotencyKey: null,
    requestHash: randomUUID(),
    cause: 'USER',
    actor: null,
    leaseMs: 600_000,
    deadlineMs: 600_000,
    mappingVersion: MAPPING_VERSION,
    updates: [
      {
        role: 'INBOUND',
        agentId: null,
        newAgentId: randomUUID(),
        patch: { systemPrompt: 'Overwritten' },
        defaults: defaultConfig('INBOUND'),
        expectedRevision: null,
        recreateIfMissing: false,
        ...update,
      },
    ],
  };
}

/** Texts and ids of A from every table, to assert that an answer contains none of them. */
async function rowsOf(orgId: string): Promise<string> {
  const tables = await sql<{ name: string; column: string }[]>`
    select c.oid::regclass::text as name, a.attname as column from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace in ('public'::regnamespace, 'lockstep'::regnamespace) and c.relkind in ('r', 'p')
      and (a.attname = 'org_id' or (c.relname = 'organizations' and a.attname = 'id')) order by 1`;
  const rows: unknown[] = [];
  for (const { name, column } of tables) {
    rows.push(
      name,
      await sql.unsafe(`select to_jsonb(t) as row from ${name} t where ${column} = '${orgId}' order by 1`),
    );
  }
  return JSON.stringify(rows);
}

function expectNothingOfA(answer: unknown): void {
  const text = JSON.stringify(answer) ?? '';
  expect(text).not.toMatch(/Secret of A|Overwritten/);
  for (const id of [a.orgId, a.agents.INBOUND, ...a.assistants]) expect(text).not.toContain(id);
}

describe('the save functions', () => {
  let before: string;
  beforeEach(async () => {
    before = await rowsOf(a.orgId);
  });

  test("refuse an update with A's agent in a save of B", async () => {
    const id = randomUUID();
    const answer = await journal.begin(b.orgId, id, 'x', change({ agentId: a.agents.INBOUND }));
    expect(answer).toEqual({ outcome: 'NO_AGENT', role: 'INBOUND' });
    expect(await sql`select from public.agent_saves where id = ${id}`).toHaveLength(0);
    expect(await rowsOf(a.orgId)).toBe(before);
  });

  test("reveal nothing of A if the owner of A's open save begins it again for B", async () => {
    const answer = await journal
      .begin(b.orgId, open.id, open.owner, change())
      .catch((error: unknown) => String(error));
    expect(answer).toMatch(/23505/);
    expectNothingOfA(answer);
    expect(await rowsOf(a.orgId)).toBe(before);
  });

  test("do not answer B with A's closed save", async () => {
    const answer = await journal
      .begin(b.orgId, a.save, 'x', change())
      .catch((error: unknown) => String(error));
    expect(answer).toMatch(/23505/);
    expectNothingOfA(answer);
    expect(await rowsOf(a.orgId)).toBe(before);
  });

  test("find no save for any transition of A's save in the name of B", async () => {
    const ref: SagaRef = { orgId: b.orgId, sagaId: open.id, epoch: 1 };
    const parts = [{ key: 'INBOUND', remoteId: b.assistants[0] ?? '', observed: {} }];
    const failure = { reason: 'VAPI_REJECTED' as const, message: 'x', retryable: false };
    const rest = { results: [], missing: [], ambiguous: true, lateMs: 60_000 };
    const answers = {
      commit: await journal.commit(ref, { parts, ambiguous: true, lateMs: 60_000 }),
      abort: await journal.abort(ref, { ...rest, failure, leaseMs: 1_000, nothingApplied: true }),
      rolledBack: await journal.rolledBack(ref, rest),
      needsAttention: await journal.needsAttention(ref, { ...rest, failure }),
      hold: await journal.hold(ref, { results: [], ambiguous: true, quarantineMs: 60_000, lookAfterMs: 0 }),
      committed: await journal.settle(ref, 'COMMITTED', { parts, lateMs: 60_000 }),
      undone: await journal.settle(ref, 'ROLLED_BACK', { results: [], lateMs: 60_000 }),
      inspect: await journal.inspect(b.orgId, open.id),
    };
    for (const [what, answer] of Object.entries(answers))
      expect(answer, what).toEqual({ outcome: 'NO_SAGA' });
    expect(await rowsOf(a.orgId)).toBe(before);
    // B is neither locked nor fenced because of A.
    expect(await journal.begin(b.orgId, randomUUID(), 'x', change({ expectedRevision: 99 }))).toMatchObject({
      outcome: 'REVISION_CONFLICT',
    });
  });

  test("do not take over A's abandoned save in the name of B", async () => {
    await sql`update public.sagas set lease_until = now() - interval '1 minute' where id = ${open.id}`;
    before = await rowsOf(a.orgId);
    expect(await journal.takeover(b.orgId, open.id, 'thief', 60_000)).toEqual({ outcome: 'NOT_DUE' });
    expect(await journal.takeover(randomUUID(), open.id, 'thief', 60_000)).toEqual({ outcome: 'BUSY' });
    expect(await rowsOf(a.orgId)).toBe(before);
    await sql`update public.sagas set lease_until = now() + interval '1 hour' where id = ${open.id}`;
  });

  test("refuse a commit that would write A's agent or use A's assistant, and leave nothing behind", async () => {
    for (const { newAgentId, assistantId } of [
      { newAgentId: a.agents.INBOUND, assistantId: 'an-assistant-of-c' },
      { newAgentId: randomUUID(), assistantId: a.assistants[0] ?? '' },
    ]) {
      const id = randomUUID();
      const begun = await journal.begin(c, id, 'x', change({ newAgentId }));
      expect(begun).toMatchObject({ outcome: 'BEGUN' });
      const ref = { orgId: c, sagaId: id, epoch: 1 };
      const committed = await journal
        .commit(ref, {
          parts: [{ key: 'INBOUND', remoteId: assistantId, observed: {} }],
          ambiguous: false,
          lateMs: 0,
        })
        .catch((error: unknown) => String(error));
      // The agent is not new, or another agent has the assistant.
      expect(committed).toMatch(/no longer at revision 0|refused a call with 23505.*vapi_assistant_id/);
      expect(await rowsOf(a.orgId)).toBe(before);
      expect(await sql`select from public.agents where org_id = ${c}`).toHaveLength(0);
      expect(await sql`select status from public.agent_saves where id = ${id}`).toEqual([
        { status: 'APPLYING' },
      ]);
      const failure = { reason: 'VAPI_REJECTED' as const, message: 'x', retryable: false };
      const rest = { results: [], missing: [], ambiguous: false, lateMs: 0, leaseMs: 1_000 };
      expect(await journal.abort(ref, { ...rest, failure, nothingApplied: true })).toMatchObject({
        outcome: 'ROLLED_BACK',
      });
    }
  });

  test('reset the organization at their end, also within one transaction', async () => {
    await sql.begin(async (tx) => {
      await tx`set local role service_role`;
      await tx`select public.saga_inspect(${b.orgId}, ${b.save})`;
      await tx`select public.set_drift_policy(${b.orgId}, 'REVERT')`;
      await tx`select public.begin_phone_numbers(${b.orgId}, ${randomUUID()}, 'one',
        ${JSON.stringify({ action: 'RELEASE', phoneNumberId: randomUUID() })}::text::jsonb)`;
      await tx`select public.phone_number_note(${JSON.stringify([{ orgId: b.orgId }])}::text::jsonb)`;
      await tx`select public.set_allowance(${b.orgId}, 5, null, null)`;
      const none = '{"starts": []}';
      await tx`select public.booking_rules(${b.orgId}), public.set_booking_rules(${b.orgId}, '{}')`;
      await tx`select public.free_slots(${b.orgId}, ${none}::text::jsonb), public.begin_appointments(${b.orgId},
        ${randomUUID()}, 'one', '{"action": "CANCEL"}')`;
      await tx`select public.tool_call_context(${b.orgId}, ${randomUUID()}, '{}'), public.answer_tool_call(${b.orgId},
        ${b.calls[0] ?? ''}, '{"key": "x", "function": "x", "action": "NOTE", "answer": {}}')`;
      const [left] = await tx`select current_setting('lockstep.org_id', true) as org`;
      expect(left).toEqual({ org: '' });
    });
  });
});

test('no function of the service role reveals or changes anything of A if it receives the organization of B and ids of A', async () => {
  const service = createClient(lockstep.supabase.url, lockstep.supabase.secretKey, {
    auth: { persistSession: false },
  });
  const functions = await sql<{ name: string; arguments: { name: string; type: string }[] }[]>`
    select p.proname as name, (select jsonb_agg(jsonb_build_object('name', p.proargnames[i], 'type', format_type(t, null)) order by i)
      from unnest(p.proargtypes::oid[]) with ordinality as x (t, i)) as arguments
    from pg_proc p where p.pronamespace = 'public'::regnamespace and has_function_privilege('service_role', p.oid, 'EXECUTE')
      and 'p_org_id' = any (p.proargnames) order by 1`;
  expect(functions.length).toBeGreaterThanOrEqual(11);
  const before = await rowsOf(a.orgId);
  const request = {
    ...change({ agentId: a.agents.INBOUND }),
    ...{ action: 'UPDATE', phoneNumberId: a.phoneNumbers[0], role: 'OUTBOUND', documentId: a.documents[0] },
    parts: [{ key: 'INBOUND', remoteId: a.assistants[0], observed: {} }],
    results: [],
    failure: { reason: 'VAPI_REJECTED', message: 'x', retryable: false },
    missing: ['INBOUND', 'OUTBOUND'],
    ambiguous: false,
    lateMs: 0,
    quarantineMs: 0,
    lookAfterMs: 0,
    nothingApplied: true,
    ...{ appointmentId: a.appointments[0], callerNumber: '+12065550101', key: 'key', function: 'x' },
    ...{
      startsAt: '2027-01-01T10:00:00Z',
      customerName: 'x',
      rulesRevision: 1,
      alternatives: [],
      starts: [],
      limit: 1,
    },
  };
  let calls = 0;
  for (const { name, arguments: parameters } of functions) {
    for (const savedBy of [open.id, a.save]) {
      const values: Record<string, unknown> = {
        p_org_id: b.orgId,
        p_saga_id: savedBy,
        p_owner: open.owner,
        p_document_id: a.documents[0],
        p_call_id: a.calls[0],
        p_epoch: 1,
        p_lease_ms: 1_000,
        p_request: request,
        p_numbers: 5,
        p_documents: 5,
        p_bytes: 5,
        p_policy: 'ADOPT',
        p_status: 'COMMITTED',
        ...{ p_from: '2026-01-01T00:00:00Z', p_to: '2027-01-01T00:00:00Z' },
      };
      const unknown = parameters.filter((parameter) => !(parameter.name in values));
      expect(unknown, `${name}: give its arguments values of A`).toEqual([]);
      const given = Object.fromEntries(
        parameters.map((parameter) => [parameter.name, values[parameter.name]]),
      );
      const { data, error } = await service.rpc(name, given);
      calls += 1;
      expectNothingOfA(data);
      expectNothingOfA(error);
    }
  }
  expect(await rowsOf(a.orgId)).toBe(before);
  console.log(
    `isolation: ${functions.length} functions with an organization, ${calls} calls with another one's ids`,
  );
});

test("a note of the sweep about A's agent in the name of B has no effect", async () => {
  const [agent] = await sql`select revision, last_save_id from public.agents where id = ${b.agents.OUTBOUND}`;
  const [target] =
    await sql`select revision, last_save_id from public.agents where id = ${a.agents.OUTBOUND}`;
  const note = (orgId: string, agentId: string, row: postgres.Row | undefined) => ({
    orgId,
    agentId,
    revision: row?.['revision'],
    saveId: row?.['last_save_id'],
    state: 'MISSING',
  });
  const before = await rowsOf(a.orgId);
  const service = createClient(lockstep.supabase.url, lockstep.supabase.secretKey, {
    auth: { persistSession: false },
  });
  const { data } = await service.rpc('sweep_note', {
    p_notes: [note(b.orgId, a.agents.OUTBOUND, target), note(b.orgId, b.agents.OUTBOUND, agent)],
  });
  expect(data).toEqual([b.agents.OUTBOUND]);
  expect(await rowsOf(a.orgId)).toBe(before);
});

describe('phone numbers', () => {
  async function begin(orgId: string, phoneNumberId: string, request: object): Promise<unknown> {
    const service = createClient(lockstep.supabase.url, lockstep.supabase.secretKey, {
      auth: { persistSession: false },
    });
    const { data, error } = await service.rpc('begin_phone_numbers', {
      p_org_id: orgId,
      p_saga_id: randomUUID(),
      p_owner: 'wrong',
      p_request: {
        ...{ requestHash: 'h', cause: 'USER', leaseMs: 1_000, deadlineMs: 2_000, mappingVersion: 1 },
        ...{ phoneNumberId, ...request },
      },
    });
    return error ?? data;
  }

  test('no saga of one organization changes a number of another one, or attaches one to its agent', async () => {
    const before = await rowsOf(a.orgId);
    const ofA = a.phoneNumbers[0] ?? '';
    await sql`update public.phone_numbers set vapi_phone_number_id = 'of-b' where id = ${b.phoneNumbers[1] ?? ''}`;
    for (const id of [ofA, randomUUID()]) {
      for (const request of [
        ...(['INBOUND', 'OUTBOUND', null] as const).map((role) => ({ action: 'UPDATE', role })),
        ...['WISH', 'REPOINT'].map((purpose) => ({ action: 'UPDATE', purpose })),
        { action: 'UPDATE', label: 'Mine' },
        { action: 'RELEASE' },
      ]) {
        expect(await begin(b.orgId, id, request)).toEqual({ outcome: 'NO_PHONE_NUMBER' });
        expect(await begin(randomUUID(), id, request)).toEqual({ outcome: 'NO_ORGANIZATION' });
      }
    }
    // The id of a new number is chosen by the service: one that exists is not taken over.
    const taken = await begin(b.orgId, ofA, { action: 'BUY', areaCode: '206', label: 'Mine' });
    expect(taken).toMatchObject({ code: '23505' });
    expect(await begin(b.orgId, b.phoneNumbers[1] ?? '', { action: 'UPDATE', role: 'SIDEWAYS' })).toEqual({
      outcome: 'NO_AGENT',
      role: 'SIDEWAYS',
    });
    expect(await rowsOf(a.orgId)).toBe(before);
  });

  test("a note about A's number in the name of B has no effect", async () => {
    const ofA = a.phoneNumbers[1] ?? '';
    await sql`update public.phone_numbers set vapi_phone_number_id = 'second-of-a' where id = ${ofA}`;
    const before = await rowsOf(a.orgId);
    const service = createClient(lockstep.supabase.url, lockstep.supabase.secretKey, {
      auth: { persistSession: false },
    });
    const note = { orgId: b.orgId, id: ofA, remoteId: 'second-of-a' };
    const { data } = await service.rpc('phone_number_note', {
      p_notes: [
        { ...note, seen: 'GONE' },
        { ...note, seen: 'SHOWN', status: 'active', digits: '+4930999999' },
      ],
    });
    expect(data).toEqual([]);
    expect(await rowsOf(a.orgId)).toBe(before);
  });

  test('two organizations cannot own the same number, and two rows cannot have the same number in Vapi', async () => {
    const [held] = await sql`select number from public.phone_numbers where id = ${a.phoneNumbers[0] ?? ''}`;
    const insert = (number: string, vapiId: string | null) =>
      sql`insert into public.phone_numbers (org_id, number, provider, state, vapi_phone_number_id)
        values (${b.orgId}, ${number}, 'vapi', 'ACTIVE', ${vapiId})`.then(
        () => 'inserted',
        (error: unknown) => (error instanceof postgres.PostgresError ? error.constraint_name : String(error)),
      );
    expect(await insert(String(held?.['number']), null)).toBe('phone_numbers_number_key');
    await sql`update public.phone_numbers set vapi_phone_number_id = 'of-a' where id = ${a.phoneNumbers[0] ?? ''}`;
    expect(await insert('+4930123456', 'of-a')).toBe('phone_numbers_vapi_phone_number_id_key');
  });
});

describe('appointments', () => {
  const service = () =>
    createClient(lockstep.supabase.url, lockstep.supabase.secretKey, { auth: { persistSession: false } });
  const booking = {
    ...{ startsAt: '2027-01-04T10:00:00Z', customerName: 'Mine', alternatives: [] },
    ...{ key: 'key', function: 'book_appointment' },
  };

  async function revision(): Promise<number> {
    const { data } = await service().rpc('booking_rules', { p_org_id: b.orgId });
    return (data as { rules: { revision: number } }).rules.revision;
  }

  test('no change of one organization concerns an appointment of another one, through either door', async () => {
    const before = await rowsOf(a.orgId);
    for (const appointmentId of a.appointments) {
      for (const action of ['RESCHEDULE', 'CANCEL']) {
        const p_request = {
          ...booking,
          action,
          appointmentId,
          requestHash: 'h',
          cause: 'USER',
          mappingVersion: 1,
        };
        const begun = await service().rpc('begin_appointments', {
          ...{ p_org_id: b.orgId, p_saga_id: randomUUID(), p_owner: 'wrong', p_request },
        });
        expect(begun.data).toEqual({ outcome: 'NO_APPOINTMENT' });
        const call = { p_org_id: b.orgId, p_call_id: b.calls[0] };
        const answered = await service().rpc('answer_tool_call', {
          ...{ ...call, p_request: { ...p_request, key: randomUUID() } },
        });
        expect(answered.data).toEqual({ outcome: 'NO_APPOINTMENT' });
      }
    }
    expect(await rowsOf(a.orgId)).toBe(before);
  });

  test("a tool call in A's call in the name of B learns nothing of it and books nothing", async () => {
    const before = await rowsOf(a.orgId);
    const call = { p_org_id: b.orgId, p_call_id: a.calls[0] };
    const context = await service().rpc('tool_call_context', { ...call, p_request: { key: 'key' } });
    expect(context.data).toMatchObject({ answer: null, appointments: [], made: [] });
    const p_request = {
      ...booking,
      action: 'BOOK',
      appointmentId: randomUUID(),
      rulesRevision: await revision(),
    };
    const answered = await service().rpc('answer_tool_call', { ...call, p_request });
    expect(answered.error).toMatchObject({ code: '23503' });
    expect(await rowsOf(a.orgId)).toBe(before);
  });

  test('no argument of a function puts two bookings into one place', async () => {
    const outcomes: unknown[] = [];
    for (const tenant of [
      {},
      { lane: 7, capacity: 9, p_lane: 2, blockedUntil: null, endsAt: booking.startsAt },
    ]) {
      for (const startsAt of [booking.startsAt, '2027-01-04T10:10:00Z']) {
        const { data } = await service().rpc('answer_tool_call', {
          ...{ p_org_id: b.orgId, p_call_id: b.calls[1] },
          p_request: {
            ...{
              ...booking,
              ...tenant,
              startsAt,
              action: 'BOOK',
              appointmentId: randomUUID(),
              rulesRevision: await revision(),
            },
            ...{ key: randomUUID(), customerName: randomUUID() },
          },
        });
        outcomes.push((data as { outcome: string }).outcome);
      }
    }
    expect(outcomes).toEqual(['DONE', 'UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE']);
  });
});

test('the foreign keys that include the organization refuse a row of A that refers to a row of B, whoever writes it', async () => {
  const references = await sql<{ table: string; column: string; target: string; name: string }[]>`
    select k.conrelid::regclass::text as table, k.confrelid::regclass::text as target, k.conname as name,
      (select attname from pg_attribute where attrelid = k.conrelid and attnum = any (k.conkey) and attname <> 'org_id') as column
    from pg_constraint k
    where k.contype = 'f' and k.connamespace = 'public'::regnamespace and cardinality(k.conkey) = 2
      and exists (select from pg_attribute where attrelid = k.conrelid and attnum = any (k.conkey) and attname = 'org_id')
    order by 1, 2`;
  expect(references.map(({ table, column }) => `${table}.${column}`)).toEqual(
    expect.arrayContaining([
      'appointments.call_id',
      'call_contents.call_id',
      'call_logs.agent_id',
      'call_logs.phone_number_id',
      'phone_numbers.agent_id',
    ]),
  );
  for (const { table, column, target, name } of references) {
    // As the superuser, whom no policy and no missing right stops.
    const refused = await sql
      .unsafe(
        // One row, and one that nothing refers to where there is one: this must not be refused as a duplicate.
        `update ${table} set ${column} = (select t.id from ${target} t where t.org_id = '${b.orgId}'
            order by exists (select from ${table} x where x.${column} = t.id) limit 1)
          where ctid = (select ctid from ${table} where org_id = '${a.orgId}' limit 1)`,
      )
      .catch((error: unknown) => error);
    expect(refused, `${table}.${column}`).toMatchObject({ code: '23503', constraint_name: name });
  }
  console.log(`isolation: ${references.length} references that carry the organization, none can leave it`);
});

describe('the owner of the save functions', () => {
  test('reads and changes only rows of the organization that is set, and none if none is set', async () => {
    const tables = await sql<{ name: string; column: string; columns: string[] }[]>`
      select c.oid::regclass::text as name, a.attname as column,
        array(select x.attname::text from pg_attribute x where x.attrelid = c.oid and x.attnum > 0 and not x.attisdropped
          and x.attgenerated = ''
          and has_column_privilege('lockstep_saves', c.oid, x.attnum, 'UPDATE')) as columns
      from pg_class c join pg_attribute a on a.attrelid = c.oid
      where c.relnamespace in ('public'::regnamespace, 'lockstep'::regnamespace) and c.relkind in ('r', 'p')
        and (a.attname = 'org_id' or (c.relname = 'organizations' and a.attname = 'id'))
        and has_table_privilege('lockstep_saves', c.oid, 'SELECT') order by 1`;
    expect(tables.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        'agents',
        'sagas',
        'agent_revisions',
        'lockstep.saga_parts',
        'lockstep.saga_keys',
        'lockstep.fences',
        'lockstep.observed',
        'lockstep.allowances',
        'lockstep.booking_rules',
        'lockstep.tool_calls',
        'appointments',
        'phone_numbers',
      ]),
    );
    // So that each table has a row of both.
    await sql`insert into lockstep.saga_keys values (${a.orgId}, 'one', ${a.save}), (${b.orgId}, 'one', ${b.save})`;
    await sql`
      insert into lockstep.fences values (${a.orgId}, 'one', now(), ${a.save}), (${b.orgId}, 'one', now(), ${b.save})`;
    await sql`insert into lockstep.allowances (org_id) values (${a.orgId}), (${b.orgId}) on conflict do nothing`;
    const before = await digestOf(sql);
    const as = async <T>(
      orgId: string | null,
      run: (tx: postgres.TransactionSql) => Promise<T>,
    ): Promise<T> => {
      const undo = new Error('undo');
      let answer: { value: T } | undefined;
      await sql
        .begin(async (tx) => {
          if (orgId !== null) await tx`select set_config('lockstep.org_id', ${orgId}, true)`;
          await tx`set local role lockstep_saves`;
          answer = { value: await run(tx) };
          throw undo;
        })
        .catch((error: unknown) => {
          if (error !== undo) throw error;
        });
      if (answer === undefined) throw new Error('nothing ran');
      return answer.value;
    };
    let attempts = 0;
    for (const { name, column, columns } of tables) {
      const seen = await as(b.orgId, (tx) => tx.unsafe(`select distinct ${column} as org from ${name}`));
      expect(seen, name).toEqual([{ org: b.orgId }]);
      for (const none of [null, '']) {
        expect(await as(none, (tx) => tx.unsafe(`select from ${name}`)), name).toHaveLength(0);
      }
      attempts += 3;
      for (const changed of columns) {
        const update = await as(b.orgId, (tx) =>
          tx.unsafe(`update ${name} set ${changed} = ${changed} where ${column} = '${a.orgId}'`),
        );
        expect(update.count, `${name}.${changed}`).toBe(0);
        attempts += 1;
      }
      if (columns.includes(column)) {
        const given = await as(b.orgId, (tx) =>
          tx.unsafe(`update ${name} set ${column} = '${a.orgId}'`),
        ).catch((error: unknown) => error);
        expect(given, `${name}: given away`).toMatchObject({ code: '42501' });
        attempts += 1;
      }
      const planted = await as(b.orgId, (tx) =>
        tx.unsafe(`insert into ${name} (${column}) values ('${a.orgId}')`),
      ).catch((error: unknown) => error);
      expect(planted, `${name}: planted`).toMatchObject({ code: '42501' });
      attempts += 1;
      if (['lockstep.saga_keys', 'lockstep.document_contents', 'lockstep.tool_calls'].includes(name)) {
        const left = await as(b.orgId, async (tx) => {
          await tx.unsafe(`delete from ${name}`);
          await tx`reset role`;
          return tx.unsafe(`select from ${name} where org_id = '${a.orgId}'`);
        });
        expect(left, `${name}: deleted`).not.toHaveLength(0);
      } else {
        await expect(as(b.orgId, (tx) => tx.unsafe(`delete from ${name}`))).rejects.toMatchObject({
          code: '42501',
        });
      }
      await expect(as(b.orgId, (tx) => tx.unsafe(`truncate ${name}`))).rejects.toMatchObject({
        code: '42501',
      });
      attempts += 2;
    }
    expect(await digestOf(sql)).toEqual(before);
    console.log(
      `isolation: ${tables.length} tables, ${attempts} attempts as the owner of the save functions`,
    );
  });
});

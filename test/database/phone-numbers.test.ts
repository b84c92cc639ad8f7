/** What the functions of phone numbers change in the database: every state, every refusal, every note of the jobs. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal, createSagaJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { type AgentRole, defaultConfig } from '../../src/domain/agents/agent-config.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import type { SagaJournal, SagaRef } from '../../src/ports/saga-journal.ts';
import { supabaseConfig } from '../support/app.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

/** No test lasts so long. */
const FAR = 3_600_000;
const REFUSED = { reason: 'VAPI_REJECTED' as const, message: 'It was not made. No stock.', retryable: false };
const DELETED = 'The number was deleted in Vapi. Release it here, too.';

let supabase: TestSupabase;
let journal: SagaJournal;
let orgId: string;
beforeAll(async () => {
  supabase = await createTestSupabase();
  journal = createSagaJournal(createServiceClient(supabaseConfig(supabase)), z.unknown());
});
afterAll(() => supabase?.stop());
beforeEach(async () => {
  orgId = await supabase.createOrganization();
});

interface Answer extends JsonObject {
  outcome: string;
}
interface Wish {
  action: 'BUY' | 'IMPORT' | 'UPDATE' | 'RELEASE';
  phoneNumberId?: string;
  [key: string]: unknown;
}

async function rpc<T>(name: string, ...args: unknown[]): Promise<T> {
  const given = args.map((_, i) => `$${i + 1}`).join(', ');
  const [row] = await supabase.sql.unsafe<{ answer: T }[]>(
    `select public.${name}(${given}) as answer`,
    args as never[],
  );
  return row?.answer as T;
}

const buy = (over: object = {}): Wish => ({
  ...{ action: 'BUY', phoneNumberId: randomUUID(), areaCode: '206', label: 'Front desk' },
  ...over,
});
const bring = (number: string, over: object = {}): Wish => ({
  ...{ action: 'IMPORT', phoneNumberId: randomUUID(), provider: 'twilio', number, label: 'Recall' },
  ...over,
});
const update = (phoneNumberId: string, over: object): Wish => ({ action: 'UPDATE', phoneNumberId, ...over });

function begin(wish: Wish, sagaId: string = randomUUID(), org = orgId): Promise<Answer> {
  const request = { requestHash: 'h', cause: 'USER', leaseMs: FAR, deadlineMs: 2 * FAR, mappingVersion: 1 };
  return rpc('begin_phone_numbers', org, sagaId, 'one', { ...request, ...wish });
}

async function begun(wish: Wish, org = orgId): Promise<SagaRef & { images: JsonObject[] }> {
  const sagaId = randomUUID();
  const answer = await begin(wish, sagaId, org);
  if (answer.outcome !== 'BEGUN') throw new Error(answer.outcome);
  return { orgId: org, sagaId, epoch: 1, images: answer['images'] as JsonObject[] };
}

const shown = (status: string, digits: string | null = null) => ({ status, digits });
const commit = (ref: SagaRef, observed: JsonObject, remoteId: string = randomUUID()) =>
  journal.commit(ref, { parts: [{ key: 'number', remoteId, observed }], ambiguous: false, lateMs: 0 });
const fail = (ref: SagaRef, missing: string[] = [], failure: typeof REFUSED = REFUSED) =>
  journal.abort(ref, {
    ...{ failure, results: [], missing, ambiguous: false, lateMs: FAR, leaseMs: FAR },
    nothingApplied: true,
  });
const attention = (ref: SagaRef, message = 'Nobody can tell.') =>
  journal.needsAttention(ref, {
    ...{ results: [], failure: { ...REFUSED, message }, ambiguous: false, lateMs: FAR },
  });

async function rowOf(id: string | undefined): Promise<Record<string, unknown>> {
  const [row] = await supabase.sql`select * from public.phone_numbers where id = ${id ?? ''}`;
  return { ...row };
}

let digits = 0;
function newDigits(): string {
  digits += 1;
  return `+1206555${String(digits).padStart(4, '0')}`;
}

/** A number that is active in Vapi. */
async function active(org = orgId): Promise<{ id: string; remoteId: string; number: string }> {
  const [id, remoteId, number] = [randomUUID(), randomUUID(), newDigits()];
  await commit(await begun(buy({ phoneNumberId: id }), org), shown('active', number), remoteId);
  return { id, remoteId, number };
}

/** An agent with an assistant of this name. */
async function agent(
  role: AgentRole,
  assistantId: string = randomUUID(),
): Promise<{ id: string; assistantId: string }> {
  const saves = createRpcJournal(createServiceClient(supabaseConfig(supabase)));
  const sagaId = randomUUID();
  const answer = await saves.begin(orgId, sagaId, 'one', {
    ...{ idempotencyKey: null, requestHash: 'h', cause: 'USER', actor: null, mappingVersion: 1 },
    ...{ leaseMs: FAR, deadlineMs: FAR },
    updates: [
      {
        ...{ role, agentId: null, newAgentId: randomUUID(), patch: { systemPrompt: `${Math.random()}` } },
        ...{ defaults: defaultConfig(role), expectedRevision: null, recreateIfMissing: true },
      },
    ],
  });
  if (answer.outcome !== 'BEGUN') throw new Error(answer.outcome);
  await saves.commit(
    { orgId, sagaId, epoch: 1 },
    { parts: [{ key: role, remoteId: assistantId, observed: {} }], ambiguous: false, lateMs: 0 },
  );
  return { id: answer.images[0]?.resourceId ?? '', assistantId };
}

async function keys(): Promise<string[]> {
  const rows = await supabase.sql<{ key: string }[]>`
    select key from lockstep.saga_keys where org_id = ${orgId} order by key`;
  return rows.map(({ key }) => key);
}

describe('a purchase', () => {
  test('is a row at once, takes its keys, and becomes a number of Vapi when it is committed', async () => {
    const id = randomUUID();
    const ref = await begun(buy({ phoneNumberId: id, role: 'INBOUND' }));
    expect(await rowOf(id)).toMatchObject({
      ...{
        org_id: orgId,
        state: 'PROVISIONING',
        number: null,
        label: 'Front desk',
        provider: 'vapi',
        area_code: '206',
      },
      ...{ wanted_role: 'INBOUND', agent_id: null, last_saga_id: ref.sagaId, failure: null },
    });
    expect(await keys()).toEqual([`number:${id}`, 'purchase']);
    expect(ref.images).toEqual([
      expect.objectContaining({
        ...{ key: 'number', resource: 'phone_number', resourceId: id, remoteId: null, before: null },
        after: expect.objectContaining({
          content: { action: 'BUY', provider: 'vapi', areaCode: '206', assistantId: null },
        }),
      }),
    ]);
    expect(await commit(ref, shown('activating'), 'vapi-1')).toMatchObject({
      outcome: 'COMMITTED',
      rows: [
        {
          id,
          state: 'ACTIVATING',
          number: null,
          label: 'Front desk',
          provider: 'vapi',
          agentId: null,
          failure: null,
        },
      ],
    });
    expect(await rowOf(id)).toMatchObject({
      vapi_phone_number_id: 'vapi-1',
      attached_assistant_id: null,
      wanted_role: 'INBOUND',
    });
    expect(await keys()).toEqual([]);
  });

  test.each([
    { status: 'active', number: '+12065550999', state: 'ACTIVE' },
    { status: 'active', number: null, state: 'ACTIVATING' },
    { status: 'activating', number: '+12065550998', state: 'ACTIVATING' },
    { status: 'blocked', number: '+12065550997', state: 'BLOCKED' },
  ])('is $state if Vapi shows it as $status with the digits $number', async ({ status, number, state }) => {
    const id = randomUUID();
    await commit(await begun(buy({ phoneNumberId: id })), shown(status, number));
    expect(await rowOf(id)).toMatchObject({ state, number });
  });

  test('that is rolled back is FAILED, in the words of its saga', async () => {
    const id = randomUUID();
    expect(await fail(await begun(buy({ phoneNumberId: id })))).toMatchObject({
      outcome: 'ROLLED_BACK',
      rows: [],
    });
    expect(await rowOf(id)).toMatchObject({
      state: 'FAILED',
      failure: REFUSED.message,
      vapi_phone_number_id: null,
    });
    expect(await keys()).toEqual([]);
  });

  test.each(['COMMITTED', 'ROLLED_BACK'] as const)(
    'that needs attention is UNKNOWN in words until it is settled as %s, and keeps its keys',
    async (end) => {
      const id = randomUUID();
      const ref = await begun(buy({ phoneNumberId: id }));
      await attention(ref);
      expect(await rowOf(id)).toMatchObject({ state: 'UNKNOWN', failure: 'Nobody can tell.' });
      expect(await keys()).toEqual([`number:${id}`, 'purchase']);
      expect(await begin(buy())).toMatchObject({
        outcome: 'IN_PROGRESS',
        sagaId: ref.sagaId,
        status: 'NEEDS_ATTENTION',
      });
      const parts = [{ key: 'number', remoteId: 'found', observed: shown('activating') }];
      await journal.settle(ref, end, { parts, results: [], missing: [], lateMs: 0 });
      expect(await rowOf(id)).toMatchObject(
        end === 'COMMITTED'
          ? { state: 'ACTIVATING', failure: null, vapi_phone_number_id: 'found' }
          : { state: 'FAILED', failure: 'It has turned out that Vapi did not make this number.' },
      );
      expect(await keys()).toEqual([]);
    },
  );

  test('is refused while another one of the organization is open, and not while one of another organization is', async () => {
    const ref = await begun(buy());
    expect(await begin(buy())).toMatchObject({
      outcome: 'IN_PROGRESS',
      sagaId: ref.sagaId,
      status: 'APPLYING',
    });
    expect((await begin(buy(), randomUUID(), await supabase.createOrganization())).outcome).toBe('BEGUN');
    // An import has nothing to do with it.
    expect((await begin(bring(newDigits()))).outcome).toBe('BEGUN');
    await commit(ref, shown('activating'));
    expect((await begin(buy())).outcome).toBe('BEGUN');
  });

  test('is answered once more under its idempotency key, with the number as it is now', async () => {
    const wish = buy({ idempotencyKey: 'k' });
    const ref = await begun(wish);
    expect(await begin(buy({ idempotencyKey: 'k' }))).toMatchObject({ outcome: 'REPLAY', rows: [] });
    await commit(ref, shown('activating'), 'vapi-r');
    await note({
      id: wish.phoneNumberId ?? '',
      remoteId: 'vapi-r',
      seen: 'SHOWN',
      status: 'active',
      digits: newDigits(),
    });
    expect(await begin(buy({ idempotencyKey: 'k' }))).toMatchObject({
      outcome: 'REPLAY',
      rows: [{ id: wish.phoneNumberId, state: 'ACTIVE' }],
    });
    expect(await begin(buy({ idempotencyKey: 'k', requestHash: 'other' }))).toMatchObject({
      outcome: 'IDEMPOTENCY_CONFLICT',
    });
    const [{ rows } = { rows: 0 }] = await supabase.sql<{ rows: number }[]>`
      select count(*)::int as rows from public.phone_numbers where org_id = ${orgId}`;
    expect(rows).toBe(1);
  });
});

describe('an import', () => {
  test('has the digits that it asked for once Vapi has taken it, also if Vapi shows them masked', async () => {
    const [id, number] = [randomUUID(), newDigits()];
    const ref = await begun(bring(number, { phoneNumberId: id }));
    expect(await rowOf(id)).toMatchObject({
      state: 'PROVISIONING',
      number: null,
      provider: 'twilio',
      requested_number: number,
    });
    expect(await keys()).toEqual([`number:${id}`]);
    expect(ref.images[0]).toMatchObject({
      after: { content: { action: 'IMPORT', provider: 'twilio', number, assistantId: null } },
    });
    await commit(ref, shown('active'));
    expect(await rowOf(id)).toMatchObject({ state: 'ACTIVE', number });
  });

  test('that only asks for a number, or failed, keeps nobody from it', async () => {
    const number = newDigits();
    const other = await supabase.createOrganization();
    const first = await begun(bring(number));
    const second = await begun(bring(number), other);
    await fail(first);
    expect(await commit(second, shown('active', number))).toMatchObject({
      outcome: 'COMMITTED',
      rows: [{ number, state: 'ACTIVE' }],
    });
    const third = await begun(bring(number));
    await fail(third);
  });

  test('waits for its digits while another row still has them, and gets them when that one has lost them', async () => {
    const held = await active(await supabase.createOrganization());
    const [id, remoteId] = [randomUUID(), randomUUID()];
    await commit(
      await begun(bring(held.number, { phoneNumberId: id })),
      shown('active', held.number),
      remoteId,
    );
    expect(await rowOf(id)).toMatchObject({
      state: 'ACTIVATING',
      number: null,
      failure: expect.stringContaining('still has the digits'),
    });
    const see = () => note({ id, remoteId, seen: 'SHOWN', status: 'active', digits: held.number });
    await see();
    expect(await rowOf(id)).toMatchObject({ state: 'ACTIVATING', number: null });
    await supabase.sql`update public.phone_numbers set state = 'MISSING', failure = 'x' where id = ${held.id}`;
    await see();
    expect(await rowOf(id)).toMatchObject({ state: 'ACTIVE', number: held.number, failure: null });
  });
});

describe('the allowance', () => {
  test('is five numbers, of which those that are released or have failed do not count', async () => {
    for (let n = 0; n < 4; n += 1) await active();
    const unknown = await begun(bring(newDigits()));
    await attention(unknown);
    for (const wish of [buy(), bring(newDigits())]) {
      expect(await begin(wish)).toEqual({ outcome: 'ALLOWANCE_EXCEEDED', allowance: 5, used: 5 });
      expect(await rowOf(wish.phoneNumberId)).toEqual({});
    }
    await journal.settle(unknown, 'ROLLED_BACK', { results: [], missing: [], lateMs: 0 });
    const { id } = await active();
    expect((await begin(buy())).outcome).toBe('ALLOWANCE_EXCEEDED');
    await commit(await begun({ action: 'RELEASE', phoneNumberId: id }), {});
    expect((await begin(buy())).outcome).toBe('BEGUN');
  });

  test('is what the operator has set, for one organization, and what is not named stays', async () => {
    expect(await rpc('set_allowance', orgId, 1, null, null)).toEqual({
      numbers: 1,
      documents: 50,
      bytes: 52_428_800,
    });
    expect(await rpc('set_allowance', orgId, null, 7, 1000)).toEqual({
      numbers: 1,
      documents: 7,
      bytes: 1000,
    });
    expect(await rpc('set_allowance', randomUUID(), 1, null, null)).toBeNull();
    await active();
    expect(await begin(buy())).toEqual({ outcome: 'ALLOWANCE_EXCEEDED', allowance: 1, used: 1 });
    expect((await begin(buy(), randomUUID(), await supabase.createOrganization())).outcome).toBe('BEGUN');
  });

  test('is not exceeded by two that begin at the same time', async () => {
    await rpc('set_allowance', orgId, 1, null, null);
    const answers = await Promise.all([begin(bring(newDigits())), begin(bring(newDigits()))]);
    expect(answers.map(({ outcome }) => outcome).sort()).toEqual(['ALLOWANCE_EXCEEDED', 'BEGUN']);
  });
});

describe('an update', () => {
  test('attaches, re-attaches and detaches a number under the key of the agents too', async () => {
    const { id, remoteId } = await active();
    const inbound = await agent('INBOUND');
    const ref = await begun(update(id, { role: 'INBOUND', label: 'Desk' }));
    expect(await keys()).toEqual(['agents', `number:${id}`]);
    expect(ref.images[0]).toMatchObject({
      ...{ remoteId, before: { content: { assistantId: null }, sagaId: expect.any(String) } },
      after: {
        content: { action: 'UPDATE', assistantId: inbound.assistantId, agentId: inbound.id, label: 'Desk' },
      },
    });
    expect(await rowOf(id)).toMatchObject({ agent_id: null, label: 'Front desk' });
    await commit(ref, shown('active'), remoteId);
    expect(await rowOf(id)).toMatchObject({
      ...{
        agent_id: inbound.id,
        attached_assistant_id: inbound.assistantId,
        label: 'Desk',
        last_saga_id: ref.sagaId,
        state: 'ACTIVE',
      },
    });
    const outbound = await agent('OUTBOUND');
    await commit(await begun(update(id, { role: 'OUTBOUND' })), shown('active'), remoteId);
    expect(await rowOf(id)).toMatchObject({
      agent_id: outbound.id,
      attached_assistant_id: outbound.assistantId,
      label: 'Desk',
    });
    await commit(await begun(update(id, { role: null })), shown('active'), remoteId);
    expect(await rowOf(id)).toMatchObject({ agent_id: null, attached_assistant_id: null, label: 'Desk' });
  });

  test('of the label alone leaves the attachment, the wish and the agents alone', async () => {
    const { id, remoteId } = await active();
    const { assistantId } = await agent('INBOUND');
    await commit(await begun(update(id, { role: 'INBOUND' })), shown('active'), remoteId);
    await agent('INBOUND', 'a new one');
    await supabase.sql`update public.phone_numbers set wanted_role = 'OUTBOUND' where id = ${id}`;
    const ref = await begun(update(id, { label: null }));
    expect(await keys()).toEqual([`number:${id}`]);
    expect(ref.images[0]).toMatchObject({ after: { content: { label: null, assistantId } } });
    await commit(ref, shown('active'), remoteId);
    expect(await rowOf(id)).toMatchObject({
      label: null,
      attached_assistant_id: assistantId,
      wanted_role: 'OUTBOUND',
    });
  });

  test('waits for a save of the agents, and a save waits for it, unless it is of the label alone', async () => {
    const { id } = await active();
    await agent('INBOUND');
    const attaching = await begun(update(id, { role: 'INBOUND' }));
    await expect(agent('INBOUND')).rejects.toThrow('IN_PROGRESS');
    await fail(attaching);
    await supabase.sql`insert into lockstep.saga_keys values (${orgId}, 'agents', ${attaching.sagaId})`;
    expect(await begin(update(id, { role: null }))).toMatchObject({ outcome: 'IN_PROGRESS' });
    expect((await begin(update(id, { label: 'Desk' }))).outcome).toBe('BEGUN');
  });

  test('that is rolled back changes nothing of the row', async () => {
    const { id } = await active();
    await agent('INBOUND');
    const before = await rowOf(id);
    await fail(await begun(update(id, { role: 'INBOUND', label: 'x' })));
    expect(await rowOf(id)).toEqual({ ...before, checked_at: expect.any(Date) });
  });

  test('that finds no number in Vapi makes the row MISSING', async () => {
    const { id } = await active();
    await fail(await begun(update(id, { label: 'x' })), ['number'], { ...REFUSED });
    expect(await rowOf(id)).toMatchObject({ state: 'MISSING', failure: DELETED });
    expect(await begin(update(id, { label: 'x' }))).toEqual({ outcome: 'NOT_POSSIBLE', state: 'MISSING' });
  });

  test('that needs attention leaves the state and says so in words, until it is settled', async () => {
    const { id } = await active();
    const ref = await begun(update(id, { label: 'x' }));
    await attention(ref, 'A person must decide.');
    expect(await rowOf(id)).toMatchObject({
      state: 'ACTIVE',
      failure: 'A person must decide.',
      label: 'Front desk',
    });
    await journal.settle(ref, 'ROLLED_BACK', { results: [], missing: [], lateMs: 0 });
    expect(await rowOf(id)).toMatchObject({ state: 'ACTIVE', failure: null });
  });

  test.each([
    ['PROVISIONING', null],
    ['FAILED', 'x'],
    ['UNKNOWN', 'x'],
    ['RELEASED', null],
    ['RELEASING', null],
    ['MISSING', 'x'],
  ])('is refused of a number that is %s', async (state, failure) => {
    const { id } = await active();
    await supabase.sql`
      update public.phone_numbers set state = ${state}, failure = ${failure}, released_at = ${state === 'RELEASED' ? new Date() : null}
      where id = ${id}`;
    expect(await begin(update(id, { label: 'x' }))).toEqual({ outcome: 'NOT_POSSIBLE', state });
  });

  test('is refused without such a number, such an agent, or its assistant', async () => {
    const { id } = await active();
    expect(await begin(update(randomUUID(), { label: 'x' }))).toEqual({ outcome: 'NO_PHONE_NUMBER' });
    expect(
      await begin(update(id, { label: 'x' }), randomUUID(), await supabase.createOrganization()),
    ).toEqual({
      outcome: 'NO_PHONE_NUMBER',
    });
    expect(await begin(update(id, { role: 'OUTBOUND' }))).toEqual({ outcome: 'NO_AGENT', role: 'OUTBOUND' });
    const { id: agentId } = await agent('INBOUND');
    await supabase.sql`update public.agents set missing_since = now() where id = ${agentId}`;
    expect(await begin(update(id, { role: 'INBOUND' }))).toEqual({
      outcome: 'AGENT_MISSING',
      role: 'INBOUND',
    });
    // A number of ours that was never in Vapi, such as a demo one.
    await supabase.sql`update public.phone_numbers set vapi_phone_number_id = null where id = ${id}`;
    expect(await begin(update(id, { label: 'x' }))).toEqual({ outcome: 'NOT_POSSIBLE', state: 'ACTIVE' });
  });
});

describe('a release', () => {
  test('is RELEASING at once, and RELEASED when Vapi has deleted the number; the row stays', async () => {
    const { id, remoteId, number } = await active();
    await agent('INBOUND');
    await commit(await begun(update(id, { role: 'INBOUND' })), shown('active'), remoteId);
    const ref = await begun({ action: 'RELEASE', phoneNumberId: id });
    expect(await keys()).toEqual([`number:${id}`]);
    expect(ref.images[0]).toMatchObject({
      remoteId,
      after: { content: { action: 'RELEASE', provider: 'vapi' } },
    });
    expect(await rowOf(id)).toMatchObject({ state: 'RELEASING' });
    expect(await commit(ref, {}, remoteId)).toMatchObject({
      rows: [{ id, state: 'RELEASED', agentId: null, number }],
    });
    expect(await rowOf(id)).toMatchObject({
      released_at: expect.any(Date),
      attached_assistant_id: null,
      number,
    });
    expect(await begin({ action: 'RELEASE', phoneNumberId: id })).toEqual({
      outcome: 'NOT_POSSIBLE',
      state: 'RELEASED',
    });
  });

  test('that Vapi refuses leaves the number as it was', async () => {
    const { id } = await active();
    await fail(await begun({ action: 'RELEASE', phoneNumberId: id }));
    expect(await rowOf(id)).toMatchObject({ state: 'ACTIVE', failure: null });
  });

  test('that needs attention stays RELEASING, and says so in words', async () => {
    const { id } = await active();
    await attention(await begun({ action: 'RELEASE', phoneNumberId: id }), 'A person must decide.');
    expect(await rowOf(id)).toMatchObject({ state: 'RELEASING', failure: 'A person must decide.' });
  });

  test('of a number that is missing closes it, also if another row has its digits by now', async () => {
    const lost = await active();
    await supabase.sql`update public.phone_numbers set state = 'MISSING', failure = 'x' where id = ${lost.id}`;
    const other = await supabase.createOrganization();
    await commit(await begun(bring(lost.number), other), shown('active', lost.number));
    const ref = await begun({ action: 'RELEASE', phoneNumberId: lost.id });
    expect(await rowOf(lost.id)).toMatchObject({ state: 'MISSING' });
    await commit(ref, {}, lost.remoteId);
    expect(await rowOf(lost.id)).toMatchObject({ state: 'RELEASED', number: lost.number });
  });
});

interface Note {
  id: string;
  remoteId: string;
  seen: 'SHOWN' | 'GONE';
  status?: string;
  digits?: string | null;
  failure?: string;
}
async function note(...notes: Note[]): Promise<{ id: string; state: string }[]> {
  const [row] = await supabase.sql<{ answer: { id: string; state: string }[] }[]>`
    select public.phone_number_note(${JSON.stringify(notes.map((one) => ({ orgId, ...one })))}::text::jsonb) as answer`;
  return row?.answer ?? [];
}

describe('a note', () => {
  async function activating() {
    const [id, remoteId] = [randomUUID(), randomUUID()];
    await commit(await begun(buy({ phoneNumberId: id })), shown('activating'), remoteId);
    return { id, remoteId };
  }

  test('makes a number active once Vapi shows it as active with its digits, and says why not until then', async () => {
    const { id, remoteId } = await activating();
    const number = newDigits();
    expect(
      await note({ id, remoteId, seen: 'SHOWN', status: 'active', digits: null, failure: 'No digits.' }),
    ).toEqual([{ id, state: 'ACTIVATING' }]);
    expect(await rowOf(id)).toMatchObject({ number: null, failure: 'No digits.' });
    expect(
      await note({ id, remoteId, seen: 'SHOWN', status: 'active', digits: number, failure: 'No digits.' }),
    ).toEqual([{ id, state: 'ACTIVE' }]);
    expect(await rowOf(id)).toMatchObject({ number, failure: null });
  });

  test('never loses digits that Vapi masks later', async () => {
    const { id, remoteId, number } = await active();
    await note({ id, remoteId, seen: 'SHOWN', status: 'active', digits: null });
    expect(await rowOf(id)).toMatchObject({ number, state: 'ACTIVE' });
    await note({ id, remoteId, seen: 'SHOWN', status: 'blocked', digits: null });
    expect(await rowOf(id)).toMatchObject({ number, state: 'BLOCKED' });
    await expect(
      supabase.sql`update public.phone_numbers set number = '+120****0001' where id = ${id}`,
    ).rejects.toMatchObject({ code: '23514' });
  });

  test('makes a number MISSING, unless a saga of it is open or fenced, and ACTIVE again if it shows', async () => {
    const { id, remoteId, number } = await active();
    const ref = await begun(update(id, { label: 'x' }));
    expect(await note({ id, remoteId, seen: 'GONE' })).toEqual([]);
    await fail(ref);
    await supabase.sql`
      insert into lockstep.fences values (${orgId}, ${`number:${id}`}, now() + interval '1 hour', ${ref.sagaId})`;
    expect(await note({ id, remoteId, seen: 'GONE' })).toEqual([]);
    await supabase.sql`delete from lockstep.fences where org_id = ${orgId}`;
    expect(await note({ id, remoteId, seen: 'GONE' })).toEqual([{ id, state: 'MISSING' }]);
    expect(await rowOf(id)).toMatchObject({ number, failure: DELETED });
    expect(await note({ id, remoteId, seen: 'SHOWN', status: 'active', digits: null })).toEqual([
      { id, state: 'ACTIVE' },
    ]);
    expect(await rowOf(id)).toMatchObject({ number, failure: null });
  });

  test('about another number of Vapi, or one that is being released, has no effect', async () => {
    const { id, remoteId } = await active();
    const before = await rowOf(id);
    expect(await note({ id, remoteId: 'another', seen: 'GONE' })).toEqual([]);
    expect(await rowOf(id)).toEqual(before);
    await begun({ action: 'RELEASE', phoneNumberId: id });
    expect(await note({ id, remoteId, seen: 'SHOWN', status: 'active', digits: '+12069999999' })).toEqual([]);
    expect(await rowOf(id)).toMatchObject({ state: 'RELEASING', number: before['number'] });
  });
});

describe('what is due', () => {
  type Due = { id: string; purpose?: string }[];
  const due = async (name: string): Promise<Due> => {
    const all = await rpc<(Due[number] & { orgId: string })[]>(name, 1000);
    return all.filter((one) => one.orgId === orgId);
  };

  test('to be polled: numbers that Vapi has and has not activated, often at first and seldom later', async () => {
    const id = randomUUID();
    const ref = await begun(buy({ phoneNumberId: id }));
    expect(await due('phone_number_activation_due')).toEqual([]);
    await commit(ref, shown('activating'), 'polled');
    expect(await due('phone_number_activation_due')).toEqual([
      { orgId, id, remoteId: 'polled', ageMs: expect.any(Number) },
    ]);
    await supabase.sql`update public.phone_numbers set created_at = now() - interval '1 hour', checked_at = now() where id = ${id}`;
    expect(await due('phone_number_activation_due')).toEqual([]);
    await supabase.sql`update public.phone_numbers set checked_at = now() - interval '6 minutes' where id = ${id}`;
    expect(await due('phone_number_activation_due')).toHaveLength(1);
    await supabase.sql`update public.phone_numbers set state = 'ACTIVE', number = ${newDigits()} where id = ${id}`;
    expect(await due('phone_number_activation_due')).toEqual([]);
  });

  test('to be attached: a wish whose agent exists, once the number is active, and not again once it is attached', async () => {
    const [id, remoteId] = [randomUUID(), randomUUID()];
    await commit(await begun(buy({ phoneNumberId: id, role: 'INBOUND' })), shown('activating'), remoteId);
    const { id: agentId, assistantId } = await agent('INBOUND');
    expect(await due('phone_number_attachment_due')).toEqual([]);
    expect(await begin(update(id, { purpose: 'WISH' }))).toEqual({ outcome: 'NOTHING_TO_DO' });
    await note({ id, remoteId, seen: 'SHOWN', status: 'active', digits: newDigits() });
    expect(await due('phone_number_attachment_due')).toEqual([{ orgId, id, purpose: 'WISH' }]);
    const ref = await begun(update(id, { purpose: 'WISH' }));
    expect(await keys()).toEqual(['agents', `number:${id}`]);
    expect(await due('phone_number_attachment_due')).toEqual([]);
    await commit(ref, shown('active'), remoteId);
    expect(await rowOf(id)).toMatchObject({
      agent_id: agentId,
      attached_assistant_id: assistantId,
      wanted_role: null,
    });
    expect(await due('phone_number_attachment_due')).toEqual([]);
    expect(await begin(update(id, { purpose: 'WISH' }))).toEqual({ outcome: 'NOTHING_TO_DO' });
  });

  test('to be attached: not a wish for an agent that does not exist or has no assistant', async () => {
    const { id } = await active();
    await supabase.sql`update public.phone_numbers set wanted_role = 'INBOUND' where id = ${id}`;
    expect(await due('phone_number_attachment_due')).toEqual([]);
    const { id: agentId } = await agent('INBOUND');
    await supabase.sql`update public.agents set missing_since = now() where id = ${agentId}`;
    expect(await due('phone_number_attachment_due')).toEqual([]);
  });

  test('a wish that Vapi refuses is given up, and the row says why; one that could not be sent is tried again later', async () => {
    const { id } = await active();
    await agent('INBOUND');
    await supabase.sql`update public.phone_numbers set wanted_role = 'INBOUND' where id = ${id}`;
    await fail(await begun(update(id, { purpose: 'WISH' })), [], {
      ...REFUSED,
      reason: 'VAPI_UNAVAILABLE' as never,
    });
    expect(await rowOf(id)).toMatchObject({ wanted_role: 'INBOUND', failure: REFUSED.message });
    expect(await due('phone_number_attachment_due')).toEqual([]);
    await supabase.sql`update public.phone_numbers set checked_at = now() - interval '11 minutes' where id = ${id}`;
    expect(await due('phone_number_attachment_due')).toHaveLength(1);
    await fail(await begun(update(id, { purpose: 'WISH' })));
    expect(await rowOf(id)).toMatchObject({ wanted_role: null, failure: REFUSED.message, state: 'ACTIVE' });
  });

  test('to be attached: a number whose agent has a new assistant', async () => {
    const { id, remoteId } = await active();
    await agent('INBOUND');
    await commit(await begun(update(id, { role: 'INBOUND' })), shown('active'), remoteId);
    expect(await due('phone_number_attachment_due')).toEqual([]);
    const { assistantId } = await agent('INBOUND', 'a new assistant');
    expect(await due('phone_number_attachment_due')).toEqual([{ orgId, id, purpose: 'REPOINT' }]);
    await commit(await begun(update(id, { purpose: 'REPOINT' })), shown('active'), remoteId);
    expect(await rowOf(id)).toMatchObject({ attached_assistant_id: assistantId });
    expect(await due('phone_number_attachment_due')).toEqual([]);
  });
});

describe('what the sweep asks', () => {
  const mine = (rows: { orgId: string }[]) => rows.filter((row) => row.orgId === orgId);

  test('which rows have the numbers that Vapi lists', async () => {
    const { id, remoteId, number } = await active();
    const row = await rowOf(id);
    const seen = {
      ...{
        orgId,
        id,
        remoteId,
        state: 'ACTIVE',
        number,
        assistantId: null,
        sagaId: row['last_saga_id'],
        wantedAssistantId: null,
        busy: false,
      },
    };
    expect(await rpc('phone_number_listed', [remoteId, 'unknown'])).toEqual([seen]);
    await begun(update(id, { label: 'x' }));
    expect(await rpc('phone_number_listed', [remoteId])).toEqual([{ ...seen, busy: true }]);
  });

  test('which assistant a number should point at', async () => {
    const { id, remoteId } = await active();
    const { assistantId } = await agent('INBOUND');
    await commit(await begun(update(id, { role: 'INBOUND' })), shown('active'), remoteId);
    expect(await rpc('phone_number_listed', [remoteId])).toMatchObject([
      { assistantId, wantedAssistantId: assistantId, busy: false },
    ]);
    await agent('INBOUND', `${assistantId}, anew`);
    expect(await rpc('phone_number_listed', [remoteId])).toMatchObject([
      { assistantId, wantedAssistantId: `${assistantId}, anew` },
    ]);
  });

  test('which numbers there should be, page by page', async () => {
    const all = [await active(), await active()];
    const [released, provisioning] = [await active(), randomUUID()];
    await commit(await begun({ action: 'RELEASE', phoneNumberId: released.id }), {}, released.remoteId);
    await begun(buy({ phoneNumberId: provisioning }));
    const sorted = all
      .map(({ id, remoteId }) => ({ orgId, id, remoteId }))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
    expect(mine(await rpc('phone_number_page', null, 1000))).toEqual(sorted);
    expect(mine(await rpc('phone_number_page', sorted[0]?.id, 1000))).toEqual(sorted.slice(1));
  });

  test('whose stamps these are that no row has: one to settle, one that may be deleted, one for a person', async () => {
    const ids = {
      unknown: randomUUID(),
      imported: randomUUID(),
      bought: randomUUID(),
      open: randomUUID(),
      kept: randomUUID(),
    };
    const asked = newDigits();
    const refs = {
      imported: await begun(bring(asked, { phoneNumberId: ids.imported })),
      bought: await begun(buy({ phoneNumberId: ids.bought })),
    };
    await fail(refs.imported);
    await fail(refs.bought);
    const unknown = await begun(buy({ phoneNumberId: ids.unknown }));
    await attention(unknown);
    const open = await begun(bring(newDigits(), { phoneNumberId: ids.open }));
    const kept = await begun(bring(newDigits(), { phoneNumberId: ids.kept }));
    await commit(kept, shown('active'));
    const sagas = [refs.imported, refs.bought, unknown, open, kept].map(({ sagaId }) => sagaId);
    const stamps = await rpc<{ id: string }[]>('phone_number_stamps', [...sagas, randomUUID()]);
    const of = (
      id: string,
      sagaId: string,
      verdict: string,
      provider: string,
      requestedNumber: string | null,
    ) => ({
      ...{ orgId, id, sagaId, verdict, provider, requestedNumber },
    });
    expect(stamps.sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual(
      [
        of(ids.unknown, unknown.sagaId, 'SETTLE', 'vapi', null),
        of(ids.imported, refs.imported.sagaId, 'ORPHAN', 'twilio', asked),
        of(ids.bought, refs.bought.sagaId, 'LATE', 'vapi', null),
      ].sort((a, b) => (a.id < b.id ? -1 : 1)),
    );
    // A request of the failed import may still be applied.
    await supabase.sql`
      insert into lockstep.fences values (${orgId}, ${`number:${ids.imported}`}, now() + interval '1 hour', ${refs.imported.sagaId})`;
    expect(await rpc('phone_number_stamps', [refs.imported.sagaId])).toEqual([]);
  });
});

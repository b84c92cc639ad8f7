/** Phone numbers through the API: bought, imported, attached, released; every answer, and what both systems contain afterwards. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { gql } from 'graphql-request';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { stampedName } from '../../src/domain/phone-numbers/stamp.ts';
import { DEFAULT_VAPI_ORG_ID } from '../../src/local/vapi/server.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { changeNumber, numberOf, numbersOf } from '../support/phone-numbers.ts';

let lockstep: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp();
});
afterAll(() => lockstep?.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  lockstep.vapi.configure({ numberActivationMs: 3_600_000 });
  // Vapi has forgotten the numbers of the test before.
  await lockstep.supabase.sql`
    update public.phone_numbers set state = 'RELEASED', released_at = now() where vapi_phone_number_id is not null and released_at is null`;
  caller = await lockstep.newCaller();
});

/** Twilio's own form of an account and a token; they are of nobody. */
const TWILIO = {
  twilioAccountSid: 'ACTESTONLY00000000000000000000000',
  twilioAuthToken: 'canary-carrier-token-5d1f',
};
let line = 1_000;
function newDigits(): string {
  line += 1;
  return `+1415555${line}`;
}
const buy = (over: object = {}, by = caller) =>
  changeNumber(by, 'buyPhoneNumber', {
    ...{ areaCode: '628', label: 'Front desk', idempotencyKey: randomUUID(), ...over },
  });
const bring = (over: object = {}, by = caller) =>
  changeNumber(by, 'importPhoneNumber', {
    ...{ ...TWILIO, number: newDigits(), label: 'Recall', idempotencyKey: randomUUID(), ...over },
  });
const update = (input: object, by = caller) => changeNumber(by, 'updatePhoneNumber', input);
const release = (input: object, by = caller) => changeNumber(by, 'releasePhoneNumber', input);

const inVapi = () => lockstep.vapi.phoneNumbers.all();
const requests = (method: string) =>
  lockstep.vapi.requests.filter((one) => one.method === method && one.path.startsWith('/phone-number'));

async function saveAgents(by = caller): Promise<{ INBOUND: string; OUTBOUND: string }> {
  const { updateAgents } = await by.client.request<{
    updateAgents: { agents: { role: 'INBOUND' | 'OUTBOUND'; vapiAssistantId: string }[] };
  }>(gql`
    mutation {
      updateAgents(input: { inbound: { systemPrompt: "In." }, outbound: { systemPrompt: "Out." } }) {
        ... on UpdateAgentsSuccess { agents { role vapiAssistantId } }
      }
    }
  `);
  const of = (role: string) => updateAgents.agents.find((one) => one.role === role)?.vapiAssistantId ?? '';
  return { INBOUND: of('INBOUND'), OUTBOUND: of('OUTBOUND') };
}

describe('a purchase', () => {
  test('is answered as ACTIVATING, with one request to Vapi, which carries the stamp of the operation', async () => {
    const answer = await buy();
    expect(answer).toMatchObject({
      __typename: 'PhoneNumberSuccess',
      phoneNumber: {
        state: 'ACTIVATING',
        number: null,
        label: 'Front desk',
        provider: 'vapi',
        agent: null,
        failure: null,
      },
      operation: { status: 'COMMITTED' },
    });
    expect(inVapi()).toMatchObject([
      { provider: 'vapi', numberDesiredAreaCode: '628', name: stampedName(answer.operation?.id ?? '') },
    ]);
    expect(requests('POST')).toHaveLength(1);
    expect(await numbersOf(caller)).toEqual([answer.phoneNumber]);
    const { operation } = await caller.client.request<{ operation: object }>(
      'query ($id: ID!) { operation(id: $id) { __typename id status } }',
      { id: answer.operation?.id },
    );
    expect(operation).toEqual({
      ...{ __typename: 'ResourceOperation', id: answer.operation?.id, status: 'COMMITTED' },
    });
  });

  test('of an area code without stock is refused with the codes that Vapi suggests, also if it is repeated', async () => {
    const wish = { areaCode: '212', idempotencyKey: 'k' };
    const answer = await buy(wish);
    expect(answer).toEqual({
      __typename: 'AreaCodeUnavailableError',
      message: expect.stringContaining('Try one of 562, 662, 716'),
      suggestions: ['562', '662', '716'],
    });
    expect(await buy(wish)).toEqual(answer);
    expect(requests('POST')).toHaveLength(1);
    expect(await numbersOf(caller)).toMatchObject([
      { state: 'FAILED', failure: expect.stringContaining('was not bought') },
    ]);
  });

  test('under the same key is made once, and answered with the number as it is now', async () => {
    const wish = { idempotencyKey: 'once' };
    const [first, second] = await Promise.all([buy(wish), buy(wish)]);
    expect(second).toEqual(first);
    expect(inVapi()).toHaveLength(1);
    expect(await buy({ ...wish, areaCode: '206' })).toMatchObject({ __typename: 'IdempotencyConflictError' });
  });

  test('whose answer is lost is never sent again: it is pending, and recovery finds the number', async () => {
    lockstep.vapi.faults.add({ kind: 'reset-after', match: { method: 'POST', path: '/phone-number' } });
    const answer = await buy();
    expect(answer).toMatchObject({ __typename: 'OperationPendingError', operation: { status: 'APPLYING' } });
    expect(await numbersOf(caller)).toMatchObject([{ state: 'PROVISIONING' }]);
    await recovered(answer.operation?.id);
    expect(await numbersOf(caller)).toMatchObject([{ state: 'ACTIVATING', failure: null }]);
    expect(requests('POST')).toHaveLength(1);
    expect(inVapi()).toHaveLength(1);
  });

  test('that nobody can find out about is UNKNOWN, in words, and is not bought again', async () => {
    lockstep.vapi.faults.add({ kind: 'reset-before', match: { method: 'POST', path: '/phone-number' } });
    const wish = { idempotencyKey: 'lost' };
    const { operation } = await buy(wish);
    await recovered(operation?.id);
    expect(await numbersOf(caller)).toMatchObject([
      { state: 'UNKNOWN', number: null, failure: expect.stringContaining('An operator must look into') },
    ]);
    expect(await buy(wish)).toMatchObject({
      ...{
        __typename: 'OperationPendingError',
        operation: { status: 'NEEDS_ATTENTION' },
        retryAfterMs: null,
      },
    });
    expect(await buy()).toMatchObject({ __typename: 'OperationInProgressError', operationId: operation?.id });
    expect(requests('POST')).toHaveLength(1);
  });

  test('that exceeds the allowance is refused, and nothing is sent', async () => {
    await lockstep.supabase.sql`select public.set_allowance(${caller.orgId}, 1, null, null)`;
    await buy();
    expect(await buy()).toEqual({
      ...{ __typename: 'AllowanceExceededError', allowance: 1, used: 1 },
      message: expect.stringContaining('1 phone numbers'),
    });
    expect(await bring()).toMatchObject({ __typename: 'AllowanceExceededError' });
    expect(requests('POST')).toHaveLength(1);
  });
});

/** Every lease and quarantine ends, and recovery looks, until the operation is over. */
async function recovered(sagaId: string | undefined): Promise<void> {
  const { sql } = lockstep.supabase;
  for (let round = 0; round < 6; round += 1) {
    await sql`
      update public.sagas set lease_until = now(), look_at = null,
        quarantine_until = case when quarantine_until > now() then now() else quarantine_until end
      where id = ${sagaId ?? ''} and status in ('APPLYING', 'ROLLING_BACK')`;
    await lockstep.app.recover();
  }
}

describe('an import', () => {
  test('sends the token to Vapi once, and connects the number', async () => {
    const number = newDigits();
    const answer = await bring({ number });
    expect(answer).toMatchObject({
      __typename: 'PhoneNumberSuccess',
      phoneNumber: { number, state: 'ACTIVE', label: 'Recall', provider: 'twilio' },
    });
    expect(inVapi()).toMatchObject([{ provider: 'twilio', number, ...TWILIO }]);
  });

  test('is the same under its key whatever the token is, which is in no row and in no line of the log', async () => {
    const wish = { number: newDigits(), idempotencyKey: 'i' };
    const answer = await bring(wish);
    expect(await bring({ ...wish, twilioAuthToken: 'another-token' })).toEqual(answer);
    expect(requests('POST')).toHaveLength(1);
    const tables = await lockstep.supabase.sql<{ text: string }[]>`
      select to_jsonb(s)::text as text from public.sagas s union all select to_jsonb(p)::text from lockstep.saga_parts p
      union all select to_jsonb(n)::text from public.phone_numbers n`;
    const all = [...tables.map(({ text }) => text), ...lockstep.log].join('\n');
    expect(all).toContain(wish.number);
    expect(all).not.toContain(TWILIO.twilioAuthToken);
  });

  test('of a number that is in use is refused, and names nothing of whoever has it', async () => {
    const number = newDigits();
    await bring({ number }, await lockstep.newCaller('Other'));
    const [theirs] = inVapi();
    const answer = await bring({ number, idempotencyKey: 'taken' });
    expect(answer).toEqual({
      __typename: 'NumberTakenError',
      message: expect.stringContaining('in use at Vapi already'),
    });
    expect(await bring({ number, idempotencyKey: 'taken' })).toEqual(answer);
    const rows = await numbersOf(caller);
    expect(rows).toMatchObject([
      { state: 'FAILED', number: null, failure: expect.stringContaining('already in use') },
    ]);
    expect(JSON.stringify([answer, rows])).not.toContain(theirs?.id);
    expect(inVapi()).toEqual([theirs]);
  });

  test('whose answer is lost is found by recovery, without the token', async () => {
    const number = newDigits();
    lockstep.vapi.faults.add({ kind: 'reset-after', match: { method: 'POST', path: '/phone-number' } });
    const { operation } = await bring({ number });
    await recovered(operation?.id);
    expect(await numbersOf(caller)).toMatchObject([{ state: 'ACTIVE', number }]);
    expect(requests('POST')).toHaveLength(1);
  });

  test('that did not arrive has failed, and asks for the token again', async () => {
    lockstep.vapi.faults.add({ kind: 'reset-before', match: { method: 'POST', path: '/phone-number' } });
    const wish = { number: newDigits(), idempotencyKey: 'gone' };
    const { operation } = await bring(wish);
    await recovered(operation?.id);
    expect(await bring(wish)).toMatchObject({
      ...{ __typename: 'OperationFailedError', retryable: true },
      message: expect.stringContaining('with the token and a new idempotency key'),
    });
    expect(await numbersOf(caller)).toMatchObject([{ state: 'FAILED' }]);
    expect(requests('POST')).toHaveLength(1);
    expect(await bring({ ...wish, idempotencyKey: 'again' })).toMatchObject({
      __typename: 'PhoneNumberSuccess',
    });
  });
});

describe('an update', () => {
  test('attaches a number to an agent of the organization, moves it, and detaches it', async () => {
    const { phoneNumber } = await bring();
    const id = phoneNumber?.id ?? '';
    expect(await update({ id, role: 'INBOUND' })).toMatchObject({
      ...{
        __typename: 'ValidationError',
        issues: [{ path: 'input.role', message: expect.stringContaining('INBOUND') }],
      },
    });
    const assistants = await saveAgents();
    for (const role of ['INBOUND', 'OUTBOUND'] as const) {
      const answer = await update({ id, role });
      expect(answer).toMatchObject({
        __typename: 'PhoneNumberSuccess',
        phoneNumber: { agent: { role }, label: 'Recall' },
      });
      expect(inVapi()).toMatchObject([
        { assistantId: assistants[role], name: stampedName(answer.operation?.id ?? '') },
      ]);
    }
    expect(await update({ id, role: null })).toMatchObject({ phoneNumber: { agent: null } });
    expect(inVapi()[0]?.['assistantId'] ?? null).toBeNull();
  });

  test('of the label alone leaves the attachment', async () => {
    const { phoneNumber } = await bring();
    const id = phoneNumber?.id ?? '';
    const { INBOUND } = await saveAgents();
    await update({ id, role: 'INBOUND' });
    expect(await update({ id, label: 'Desk' })).toMatchObject({
      phoneNumber: { label: 'Desk', agent: { role: 'INBOUND' } },
    });
    expect(inVapi()).toMatchObject([{ assistantId: INBOUND }]);
    expect(await update({ id })).toMatchObject({ __typename: 'ValidationError' });
  });

  test('that Vapi refuses changes nothing in either system', async () => {
    const { phoneNumber } = await bring();
    await saveAgents();
    const before = inVapi();
    lockstep.vapi.faults.add({
      kind: 'reject',
      messages: ['no'],
      match: { method: 'PATCH', path: '/phone-number' },
    });
    expect(await update({ id: phoneNumber?.id, role: 'INBOUND' })).toMatchObject({
      ...{ __typename: 'OperationFailedError', retryable: false },
    });
    expect(inVapi()).toEqual(before);
    expect(await numbersOf(caller)).toEqual([phoneNumber]);
  });
});

test('a number of another organization is not found, whatever is asked of it', async () => {
  const other = await lockstep.newCaller('Other');
  const { phoneNumber } = await bring({}, other);
  await saveAgents();
  const id = phoneNumber?.id ?? '';
  const before = inVapi();
  for (const one of [id, randomUUID(), 'no id']) {
    const notFound = {
      __typename: 'ValidationError',
      issues: [{ path: 'input.id', message: 'there is no such phone number in your organization' }],
    };
    expect(await update({ id: one, role: 'INBOUND' })).toMatchObject(notFound);
    expect(await update({ id: one, label: 'Mine' })).toMatchObject(notFound);
    expect(await release({ id: one })).toMatchObject(notFound);
  }
  expect(await numberOf(caller, id)).toBeNull();
  expect(inVapi()).toEqual(before);
});

test('a release deletes the number in Vapi, keeps the row, and frees its place', async () => {
  await lockstep.supabase.sql`select public.set_allowance(${caller.orgId}, 1, null, null)`;
  const { phoneNumber } = await bring();
  const id = phoneNumber?.id ?? '';
  const answer = await release({ id, idempotencyKey: 'r' });
  expect(answer).toMatchObject({ phoneNumber: { id, state: 'RELEASED', number: phoneNumber?.number } });
  expect(inVapi()).toEqual([]);
  expect(await release({ id, idempotencyKey: 'r' })).toEqual(answer);
  expect(await release({ id })).toMatchObject({
    issues: [{ path: 'input.id', message: 'the number was released' }],
  });
  expect(await buy()).toMatchObject({ __typename: 'PhoneNumberSuccess' });
});

test.each([
  ['buyPhoneNumber', { areaCode: '12', label: '', idempotencyKey: 'k' }, ['input.areaCode', 'input.label']],
  [
    'buyPhoneNumber',
    { areaCode: '112', label: 'x', idempotencyKey: ' ' },
    ['input.areaCode', 'input.idempotencyKey'],
  ],
  [
    'importPhoneNumber',
    { number: '0415', twilioAccountSid: 'x', twilioAuthToken: 'a b', label: 'x', idempotencyKey: 'k' },
    ['input.number', 'input.twilioAccountSid', 'input.twilioAuthToken'],
  ],
] as const)('%s names every value that is wrong', async (name, input, paths) => {
  const answer = await changeNumber(caller, name, input);
  expect(answer.issues?.map(({ path }) => path)).toEqual(paths);
  expect(JSON.stringify(answer)).not.toContain('a b');
  expect(lockstep.vapi.requests).toEqual([]);
});

describe('the jobs', () => {
  const work = () => lockstep.app.workOnPhoneNumbers();
  const sweep = () => lockstep.app.sweepPhoneNumbers();
  const activateNow = () => lockstep.vapi.configure({ numberActivationMs: 0 });

  test('follow a purchase from ACTIVATING to ACTIVE, and attach it to the agent that was asked for', async () => {
    const { phoneNumber } = await buy({ role: 'INBOUND' });
    const id = phoneNumber?.id ?? '';
    await work();
    expect(await numberOf(caller, id)).toMatchObject({ state: 'ACTIVATING', number: null, agent: null });
    activateNow();
    await work();
    expect(await numberOf(caller, id)).toMatchObject({
      ...{ state: 'ACTIVE', number: expect.stringMatching(/^\+1628555\d{4}$/), agent: null },
    });
    const { INBOUND } = await saveAgents();
    await work();
    expect(await numberOf(caller, id)).toMatchObject({ agent: { role: 'INBOUND' }, failure: null });
    expect(inVapi()).toMatchObject([{ assistantId: INBOUND }]);
    const before = requests('PATCH').length;
    await work();
    expect(requests('PATCH')).toHaveLength(before);
  });

  test('do not take a number for active that Vapi shows without digits, and say so', async () => {
    lockstep.vapi.configure({ numberActivation: 'half-provisioned', numberActivationMs: 0 });
    const { phoneNumber } = await buy();
    await lockstep.supabase.sql`
      update public.phone_numbers set created_at = now() - interval '1 hour', checked_at = null where org_id = ${caller.orgId}`;
    await work();
    expect(await numberOf(caller, phoneNumber?.id ?? '')).toMatchObject({
      ...{ state: 'ACTIVATING', number: null, failure: expect.stringContaining('shows no digits') },
    });
  });

  test('say why a role that was asked for could not be attached', async () => {
    activateNow();
    const { phoneNumber } = await bring({ role: 'OUTBOUND' });
    await saveAgents();
    lockstep.vapi.faults.add({
      ...{ kind: 'reject', messages: ['no such thing'], match: { method: 'PATCH', path: '/phone-number' } },
    });
    await work();
    expect(await numberOf(caller, phoneNumber?.id ?? '')).toMatchObject({
      ...{ state: 'ACTIVE', agent: null, failure: expect.stringContaining('no such thing') },
    });
    const before = requests('PATCH').length;
    await work();
    expect(requests('PATCH')).toHaveLength(before);
  });

  test('point a number at the assistant that replaced a deleted one', async () => {
    const { phoneNumber } = await bring();
    const { INBOUND } = await saveAgents();
    await update({ id: phoneNumber?.id, role: 'INBOUND' });
    lockstep.vapi.dashboardDelete(INBOUND);
    await caller.client.request(gql`
      mutation { updateAgents(input: { inbound: { systemPrompt: "Anew.", recreateIfMissing: true } }) { __typename } }
    `);
    const [row] = await lockstep.supabase.sql`
      select vapi_assistant_id as id from public.agents where org_id = ${caller.orgId} and role = 'INBOUND'`;
    expect(row?.['id']).not.toBe(INBOUND);
    expect(inVapi()).toMatchObject([{ assistantId: INBOUND }]);
    await work();
    expect(inVapi()).toMatchObject([{ assistantId: row?.['id'] }]);
  });

  test('put back what somebody changed in Vapi, also for another assistant of ours', async () => {
    const { phoneNumber } = await bring();
    const { INBOUND, OUTBOUND } = await saveAgents();
    const answer = await update({ id: phoneNumber?.id, role: 'INBOUND' });
    const id = inVapi()[0]?.id ?? '';
    for (const edit of [{ assistantId: OUTBOUND }, { assistantId: null }, { name: 'Mine' }]) {
      lockstep.vapi.dashboardEdit(id, edit);
      expect(await sweep()).toMatchObject({ stopped: null, reverted: 1 });
      const [number] = inVapi();
      expect(number).toMatchObject({ assistantId: INBOUND, name: expect.stringMatching(/^ls1\./) });
    }
    expect(answer.operation?.status).toBe('COMMITTED');
    expect(await sweep()).toMatchObject({ reverted: 0, missing: 0 });
  });

  test('report a number that was deleted in Vapi as MISSING, and release it', async () => {
    const { phoneNumber } = await bring();
    lockstep.vapi.dashboardDelete(inVapi()[0]?.id ?? '');
    expect(await sweep()).toMatchObject({ missing: 1 });
    expect(await numberOf(caller, phoneNumber?.id ?? '')).toMatchObject({ state: 'MISSING' });
    expect(await release({ id: phoneNumber?.id })).toMatchObject({ phoneNumber: { state: 'RELEASED' } });
  });

  test('find a purchase that nobody could find out about, and settle it as committed', async () => {
    await saveAgents();
    await lockstep.app.checkKey();
    lockstep.vapi.faults.add({
      ...{ kind: 'late', ms: 3_600_000, answer: 'reset' },
      match: { method: 'POST', path: '/phone-number' },
    });
    const { operation } = await buy();
    await recovered(operation?.id);
    expect(await numbersOf(caller)).toMatchObject([{ state: 'UNKNOWN' }]);
    lockstep.vapi.applyLate();
    await lockstep.supabase
      .sql`update public.sagas set quarantine_until = now() where id = ${operation?.id ?? ''}`;
    expect(await sweep()).toMatchObject({ settled: 1 });
    expect(await numbersOf(caller)).toMatchObject([{ state: 'ACTIVATING', failure: null }]);
    expect(inVapi()).toHaveLength(1);
  });

  test('settle such a purchase as committed although nobody has an agent yet, and no assistant shows the account', async () => {
    const { sql } = lockstep.supabase;
    const [known] = await sql<{ id: string | null }[]>`select vapi_org_id as id from lockstep.deployment`;
    await sql`update lockstep.deployment set vapi_org_id = null`;
    try {
      expect(lockstep.vapi.store.all()).toEqual([]);
      lockstep.vapi.faults.add({
        ...{ kind: 'late', ms: 3_600_000, answer: 'reset' },
        match: { method: 'POST', path: '/phone-number' },
      });
      const { operation } = await buy();
      await recovered(operation?.id);
      expect(await numbersOf(caller)).toMatchObject([{ state: 'UNKNOWN' }]);
      lockstep.vapi.applyLate();
      await sql`update public.sagas set quarantine_until = now() where id = ${operation?.id ?? ''}`;
      expect(await sweep()).toMatchObject({ settled: 1 });
      expect(await numbersOf(caller)).toMatchObject([{ state: 'ACTIVATING', failure: null }]);
      // Its stamp has shown which account it is. From now on the key of another one is refused.
      const [seen] = await sql<{ id: string }[]>`select vapi_org_id as id from lockstep.deployment`;
      expect(seen?.id).toBe(DEFAULT_VAPI_ORG_ID);
    } finally {
      await sql`update lockstep.deployment set vapi_org_id = ${known?.id ?? DEFAULT_VAPI_ORG_ID}`;
    }
  });

  test('delete what a failed import left in Vapi, and never what a failed purchase left', async () => {
    const sql = lockstep.supabase.sql;
    await bring();
    activateNow();
    await buy();
    // As if both had failed, and arrived late.
    await sql`
      update public.phone_numbers set state = 'FAILED', failure = 'x', vapi_phone_number_id = null where org_id = ${caller.orgId}`;
    await sql`delete from lockstep.fences where org_id = ${caller.orgId}`;
    expect(inVapi()).toHaveLength(2);
    expect(await sweep()).toMatchObject({ orphansDeleted: 1 });
    expect(inVapi()).toMatchObject([{ provider: 'vapi' }]);
    expect(lockstep.log.filter((line) => line.includes('number.late_purchase'))).toHaveLength(1);
  });

  test('never touch a number that no row has, or one whose digits are not those of the import', async () => {
    const { operation } = await bring();
    const [number] = inVapi();
    lockstep.vapi.dashboardEdit(number?.id ?? '', { number: '+14155550001' });
    await lockstep.supabase.sql`
      update public.phone_numbers set state = 'FAILED', failure = 'x', vapi_phone_number_id = null where org_id = ${caller.orgId}`;
    expect(operation?.status).toBe('COMMITTED');
    expect(await sweep()).toMatchObject({ orphansDeleted: 0 });
    lockstep.vapi.dashboardEdit(number?.id ?? '', { name: 'Reception' });
    expect(await sweep()).toMatchObject({ orphansDeleted: 0, reverted: 0 });
    expect(inVapi()).toHaveLength(1);
  });
});

describe('the command of an operator', () => {
  const script = resolve(import.meta.dirname, '..', '..', 'scripts', 'lockstep.ts');
  const run = (...args: string[]) =>
    promisify(execFile)(process.execPath, [script, ...args], {
      env: {
        ...{ PATH: process.env['PATH'], SUPABASE_URL: lockstep.supabase.url },
        ...{ SUPABASE_SECRET_KEY: lockstep.supabase.secretKey },
        ...{ SUPABASE_PUBLISHABLE_KEY: lockstep.supabase.publishableKey },
        SUPABASE_JWT_SECRET: lockstep.supabase.jwtSecret,
      },
    }).then(
      ({ stdout }) => ({ code: 0, out: stdout, err: '' }),
      ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({
        code,
        out: stdout,
        err: stderr,
      }),
    );

  test('sets the allowance of one organization', async () => {
    const set = await run('org', 'allow', caller.orgId, '--numbers', '2', '--json');
    expect(set).toMatchObject({ code: 0, err: '' });
    expect(JSON.parse(set.out)).toEqual({ org: caller.orgId, numbers: 2, documents: 50, bytes: 52_428_800 });
    await buy();
    await bring();
    expect(await buy()).toMatchObject({ __typename: 'AllowanceExceededError', allowance: 2, used: 2 });
    const other = await run('org', 'allow', randomUUID(), '--numbers', '2');
    expect(other).toMatchObject({ code: 1, err: expect.stringContaining('There is no organization') });
    expect(await run('org', 'allow', caller.orgId, '--numbers', '-1')).toMatchObject({ code: 64 });
    expect(await run('org', 'allow', 'x')).toMatchObject({ code: 64 });
  });
});

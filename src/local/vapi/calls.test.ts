import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { differencesFrom, hasOpenApi } from '../../../test/support/vapi-openapi.ts';
import { callCreate, callDelete, callUpdate, webCallCreate } from './fields/call.ts';
import type { JsonObject } from './json.ts';
import { DEFAULT_VAPI_ORG_ID, startVapiStandIn, type VapiStandIn } from './server.ts';

const KEY = 'key-for-tests';
const OTHER_KEY = 'key-of-another-vapi-organization';
const OTHER_ORG = '22222222-2222-4222-8222-222222222222';
const UNKNOWN_ID = '00000000-0000-4000-8000-000000000001';
const DAY_MS = 86_400_000;
const SETTINGS = { numberActivationMs: 0, outboundCalls: 'held' } as const;
const TWILIO = {
  provider: 'twilio',
  number: '+14155550142',
  twilioAccountSid: 'ACTESTONLY00000000000000000000000',
  twilioAuthToken: 'test-only-token',
};
const CUSTOMER = { number: '+14155550187', name: 'Ana Ruiz', externalId: 'contact-4711' };

let now = Date.UTC(2026, 10, 24, 12);
let standIn: VapiStandIn;
beforeAll(async () => {
  standIn = await startVapiStandIn({ key: KEY, clock: () => now, settings: SETTINGS });
  standIn.setKeys([{ key: KEY }, { key: OTHER_KEY, orgId: OTHER_ORG }]);
});
let assistantId: string;
let phoneNumberId: string;
beforeEach(async () => {
  standIn.reset();
  assistantId = (await call('POST', '/assistant', { name: 'inbound' })).body.id;
  phoneNumberId = (await call('POST', '/phone-number', TWILIO)).body.id;
});
afterAll(() => standIn.stop());

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: ReturnType<typeof JSON.parse>; date: string | null }> {
  const response = await fetch(standIn.url + path, {
    method,
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', ...headers },
    body: body === undefined ? null : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, body: JSON.parse(text), date: response.headers.get('date') };
}
const dial = (fields: JsonObject = {}) =>
  call('POST', '/call', { assistantId, phoneNumberId, customer: CUSTOMER, ...fields });
const listed = async (query = '') =>
  (await call('GET', `/call${query}`)).body.map(({ id }: { id: string }) => id);
const refused = (message: unknown) => ({
  status: 400,
  body: { message, error: 'Bad Request', statusCode: 400 },
});
/** Ends the call as if it had been played. */
const end = (id: string) => standIn.calls.amend(id, { status: 'ended' });

describe('POST /call', () => {
  test('answers 201 with the call that is queued, what was given, no cost and the free lines', async () => {
    const overrides = { metadata: { lockstep: { saveId: 'a' } }, variableValues: { name: 'Ana' } };
    const { status, body } = await dial({
      name: 'ls1.k0Yx9uQmT7mB2c8eRr4Wdw',
      assistantOverrides: overrides,
    });
    expect(status).toBe(201);
    expect(body).toMatchObject({
      ...{ orgId: DEFAULT_VAPI_ORG_ID, type: 'outboundPhoneCall', status: 'queued', cost: 0 },
      ...{ name: 'ls1.k0Yx9uQmT7mB2c8eRr4Wdw', assistantId, phoneNumberId, customer: CUSTOMER },
      ...{ assistantOverrides: overrides, phoneCallProvider: 'twilio', phoneCallTransport: 'pstn' },
      transport: { provider: 'twilio', accountSid: TWILIO.twilioAccountSid },
      subscriptionLimits: { concurrencyBlocked: false, concurrencyLimit: 10, remainingConcurrentCalls: 9 },
      createdAt: new Date(now).toISOString(),
    });
    const { subscriptionLimits: _limits, ...stored } = body;
    expect((await call('GET', `/call/${body.id}`)).body).toEqual(stored);
    expect((await call('GET', '/call')).body).toEqual([stored]);
  });

  test.each<[string, JsonObject, unknown]>([
    ['an idempotency key', { idempotencyKey: 'a' }, ['property idempotencyKey should not exist']],
    ['metadata', { metadata: {} }, ['property metadata should not exist']],
    [
      'an unknown override',
      { assistantOverrides: { foo: 1 } },
      ['assistantOverrides.property foo should not exist'],
    ],
    ['a long name', { name: 'a'.repeat(41) }, ['name must be shorter than or equal to 40 characters']],
    [
      'a number without a country code',
      { customer: { number: '4155550187' } },
      [
        'customer.number must be a valid phone number in the E.164 format. Hot tip, you may be missing the country code (Eg. US: +1).',
      ],
    ],
    [
      'an unknown assistant',
      { assistantId: UNKNOWN_ID },
      `Couldn't Get Assistant. \`assistantId\` ${UNKNOWN_ID} Does Not Exist.`,
    ],
    ['an unknown number', { phoneNumberId: UNKNOWN_ID }, expect.stringContaining('Does Not Exist.')],
  ])('refuses %s', async (_name, fields, message) => {
    expect(await dial(fields)).toMatchObject(refused(message));
    expect(await listed()).toEqual([]);
  });

  test('refuses a call without an assistant, a number or a customer', async () => {
    for (const name of ['assistantId', 'phoneNumberId', 'customer']) {
      const body: Record<string, unknown> = { assistantId, phoneNumberId, customer: CUSTOMER };
      delete body[name];
      expect(await call('POST', '/call', body)).toMatchObject(refused(expect.any(String)));
    }
  });

  test('accepts a number that is not E.164 if its check is off', async () => {
    expect(await dial({ customer: { number: '100', numberE164CheckEnabled: false } })).toMatchObject({
      status: 201,
    });
  });

  test('refuses the eleventh call of the day and an international call from a bought number', async () => {
    standIn.configure({ concurrencyLimit: 100 });
    const bought = await call('POST', '/phone-number', { provider: 'vapi', numberDesiredAreaCode: '628' });
    const from = { phoneNumberId: bought.body.id };
    expect(await dial({ ...from, customer: { number: '+442079460000' } })).toMatchObject(
      refused('Free Vapi numbers do not support international calls'),
    );
    for (let made = 0; made < 10; made++) expect(await dial(from)).toMatchObject({ status: 201 });
    expect(await dial(from)).toMatchObject(
      refused(
        "Couldn't Start Call. Numbers Bought On Vapi Have A Daily Outbound Call Limit. Import Your Own Twilio Numbers To Scale Without Limits.",
      ),
    );
    expect(await dial()).toMatchObject({ status: 201 });
    now += DAY_MS;
    expect(await dial(from)).toMatchObject({ status: 201 });
  });

  test('refuses a number that is not active', async () => {
    standIn.configure({ numberActivation: 'never' });
    const bought = await call('POST', '/phone-number', { provider: 'vapi', numberDesiredAreaCode: '628' });
    expect(await dial({ phoneNumberId: bought.body.id })).toMatchObject(
      refused(expect.stringContaining('Is Not Active')),
    );
  });

  test('says that the call waits when no line is free, and counts calls of every organization', async () => {
    standIn.configure({ concurrencyLimit: 1 });
    const { body: first } = await dial();
    const blocked = { concurrencyBlocked: true, concurrencyLimit: 1, remainingConcurrentCalls: 0 };
    const second = await dial();
    expect(second).toMatchObject({ status: 201, body: { status: 'queued', subscriptionLimits: blocked } });
    // A call that waits takes no line.
    end(first.id);
    expect((await dial()).body.subscriptionLimits.concurrencyBlocked).toBe(false);
  });

  test('refuses the call when no line is free, if the settings say so', async () => {
    standIn.configure({ concurrencyLimit: 1, overConcurrency: 'refused' });
    expect((await dial()).status).toBe(201);
    expect(await dial()).toMatchObject(refused('Over Concurrency Limit'));
  });

  test('makes a call for each of several customers', async () => {
    const customers = [{ number: '+14155550101' }, { number: '+14155550102' }];
    const body = { assistantId, phoneNumberId, customers };
    const answer = await call('POST', '/call', body);
    expect(answer).toMatchObject({
      status: 201,
      body: { results: customers.map((customer) => ({ customer })), errors: [] },
    });
    expect(answer.body.results[0]).not.toHaveProperty('customers');
    expect(
      (await call('POST', '/call', { ...body, customers: [{ number: '4155550101' }] })).body.message[0],
    ).toMatch(/^customers\.0\.number must be a valid phone number/);
  });

  test('is scheduled if it has a plan', async () => {
    const plan = { earliestAt: new Date(now + DAY_MS).toISOString() };
    expect((await dial({ schedulePlan: plan })).body).toMatchObject({
      status: 'scheduled',
      schedulePlan: plan,
    });
  });
});

describe('GET /call', () => {
  test('filters by id, assistant, number and times, newest first', async () => {
    const { body: other } = await call('POST', '/assistant', {});
    const first = (await dial()).body;
    now += 1000;
    const second = (await dial({ assistantId: other.id })).body;
    now += 1000;
    const third = (await dial()).body;
    expect(await listed()).toEqual([third.id, second.id, first.id]);
    expect(await listed(`?id=${second.id}`)).toEqual([second.id]);
    expect(await listed(`?assistantId=${assistantId}`)).toEqual([third.id, first.id]);
    expect(await listed(`?assistantId=${assistantId}&limit=1`)).toEqual([third.id]);
    expect(await listed(`?phoneNumberId=${UNKNOWN_ID}`)).toEqual([]);
    expect(await listed(`?createdAtGt=${first.createdAt}&createdAtLe=${second.createdAt}`)).toEqual([
      second.id,
    ]);
    standIn.calls.amend(first.id, { status: 'ringing' });
    const { updatedAt } = (await call('GET', `/call/${first.id}`)).body;
    expect(await listed(`?updatedAtGe=${updatedAt}`)).toEqual([third.id, first.id]);
    expect(await listed('?limit=0')).toEqual([]);
  });

  test('returns 100 calls if no limit is given, at most 1000, and no unknown filter', async () => {
    for (let made = 0; made < 101; made++) standIn.calls.create(DEFAULT_VAPI_ORG_ID, { status: 'ended' });
    expect(await listed()).toHaveLength(100);
    expect(await listed('?limit=1000')).toHaveLength(101);
    expect(await call('GET', '/call?limit=1001')).toMatchObject(
      refused(['limit must not be greater than 1000']),
    );
    expect(await call('GET', '/call?status=ended')).toMatchObject(
      refused(['property status should not exist']),
    );
  });

  test('drops calls that are older than the retention', async () => {
    const { body: old } = await dial();
    now += 15 * DAY_MS;
    expect(await listed()).toEqual([old.id]);
    standIn.configure({ callRetentionDays: 14 });
    const { body: young } = await dial();
    expect(await listed()).toEqual([young.id]);
  });

  test('shows no call of another Vapi organization', async () => {
    const { body } = await dial();
    const other = { authorization: `Bearer ${OTHER_KEY}` };
    expect((await call('GET', '/call', undefined, other)).body).toEqual([]);
    expect((await call('GET', `/call/${body.id}`, undefined, other)).status).toBe(404);
  });

  test('shows no content without data retention, and new links to a recording in each answer', async () => {
    const { body } = await dial();
    standIn.calls.amend(body.id, {
      artifact: { transcript: 'AI: Hello', recordingUrl: 'https://storage.example.test/rec/a.wav' },
      analysis: { summary: 'A call.' },
      messages: [],
    });
    const get = async () => (await call('GET', `/call/${body.id}`)).body;
    const [one, two] = [await get(), await get()];
    expect(one.artifact.presignedMonoUrl).toMatch(/^https:\/\/storage\.example\.test\/rec\/a\.wav\?sig=/);
    expect(one.artifact.presignedMonoUrl).not.toBe(two.artifact.presignedMonoUrl);
    standIn.configure({ zeroDataRetention: true });
    for (const name of ['artifact', 'analysis', 'messages']) expect(await get()).not.toHaveProperty(name);
  });

  test("has the stand-in's own clock in the Date header", async () => {
    expect((await call('GET', '/call')).date).toBe(new Date(now).toUTCString());
  });
});

describe('one call', () => {
  test('PATCH changes its name and nothing else', async () => {
    const { body } = await dial();
    const path = `/call/${body.id}`;
    expect(await call('PATCH', path, { name: 'b' })).toMatchObject({
      status: 200,
      body: { id: body.id, name: 'b' },
    });
    expect(await call('PATCH', path, { status: 'ended' })).toMatchObject(
      refused(['property status should not exist']),
    );
  });

  test('DELETE answers the call, and it is gone', async () => {
    const { body } = await dial();
    const path = `/call/${body.id}`;
    expect(await call('DELETE', path)).toMatchObject({ status: 200, body: { id: body.id } });
    for (const method of ['GET', 'DELETE']) expect((await call(method, path)).status).toBe(404);
    const { body: another } = await dial();
    expect((await call('DELETE', '/call', { ids: [another.id] })).status).toBe(200);
    expect(await call('DELETE', '/call', {})).toMatchObject(refused(['ids must be an array']));
    expect(await listed()).toEqual([]);
  });
});

describe('POST /call/web', () => {
  const web = (fields: JsonObject = {}, headers: Record<string, string> = {}) =>
    call('POST', '/call/web', { assistantId, ...fields }, headers);
  const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  function token(claims: JsonObject, key = KEY): Record<string, string> {
    const content = `${encoded({ alg: 'HS256', typ: 'JWT' })}.${encoded({ orgId: DEFAULT_VAPI_ORG_ID, ...claims })}`;
    const signature = createHmac('sha256', key).update(content).digest('base64url');
    return { authorization: `Bearer ${content}.${signature}` };
  }

  test('answers 201 with the address to join, for the private key', async () => {
    const { status, body } = await web({ assistantOverrides: { maxDurationSeconds: 60 } });
    expect(status).toBe(201);
    expect(body).toMatchObject({
      ...{ type: 'webCall', status: 'queued', assistantId, cost: 0 },
      assistantOverrides: { maxDurationSeconds: 60 },
      webCallUrl: expect.stringContaining(body.id),
    });
    expect(await listed()).toEqual([body.id]);
    expect(await web({ phoneNumberId })).toMatchObject(refused(['property phoneNumberId should not exist']));
    expect(await web({ assistantId: UNKNOWN_ID })).toMatchObject(refused(expect.any(String)));
  });

  test('accepts a token that the private key signed, with its restrictions', async () => {
    const restrictions = { allowedOrigins: ['https://a.example'], allowedAssistantIds: [assistantId] };
    const limited = token({ token: { tag: 'public', restrictions } });
    const origin = { ...limited, origin: 'https://a.example' };
    expect((await web({ assistantOverrides: { name: 'b' } }, origin)).status).toBe(201);
    const forbidden = (message: string) => ({
      status: 403,
      body: { message, error: 'Forbidden', statusCode: 403 },
    });
    expect(await web({}, { ...limited, origin: 'https://b.example' })).toMatchObject(
      forbidden("Key doesn't allow origin 'https://b.example'"),
    );
    expect(await web({ assistantId: UNKNOWN_ID }, origin)).toMatchObject(
      forbidden(`Key doesn't allow assistantId '${UNKNOWN_ID}'`),
    );
    const transient = await call('POST', '/call/web', { assistant: {} }, origin);
    expect(transient.status).toBe(403);
    // Beside the token instead of inside it, restrictions have no effect.
    expect((await web({}, token({ token: { tag: 'public' }, restrictions }))).status).toBe(201);
  });

  test('refuses a token that is expired, of another key or organization, and every token elsewhere', async () => {
    const good = token({ token: { tag: 'public' } });
    expect((await web({}, good)).status).toBe(201);
    for (const bad of [
      token({ exp: now / 1000 - 1 }),
      token({}, OTHER_KEY),
      token({ orgId: OTHER_ORG }),
      { authorization: `${good['authorization']}A` },
    ]) {
      expect((await web({}, bad)).status).toBe(401);
    }
    expect((await call('GET', '/call', undefined, good)).status).toBe(401);
  });
});

describe.skipIf(!hasOpenApi)("against Vapi's own OpenAPI (skipped where that file is not present)", () => {
  test.each([
    ['CreateCallDTO', callCreate],
    ['CreateWebCallDTO', webCallCreate],
    ['UpdateCallDTO', callUpdate],
    ['DeleteCallDTO', callDelete],
  ] as const)('%s has the same keys and limits', (name, rule) => {
    expect(differencesFrom(name, rule)).toEqual([]);
  });
});

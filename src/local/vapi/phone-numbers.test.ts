import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { differencesFrom, hasOpenApi } from '../../../test/support/vapi-openapi.ts';
import { phoneNumberCreate, phoneNumberUpdate } from './fields/phone-number.ts';
import type { JsonObject } from './json.ts';
import { caseOf } from './rules.ts';
import { DEFAULT_VAPI_ORG_ID, startVapiStandIn, type VapiStandIn } from './server.ts';

const KEY = 'key-for-tests';
const OTHER_KEY = 'key-of-another-vapi-organization';
const OTHER_ORG = '22222222-2222-4222-8222-222222222222';
const UNKNOWN_ID = '00000000-0000-4000-8000-000000000001';
const ACCOUNT_SID = 'ACTESTONLY00000000000000000000000';
const IMPORT = {
  provider: 'twilio',
  number: '+14155550142',
  twilioAccountSid: ACCOUNT_SID,
  twilioAuthToken: 'test-only-token',
};
const BUY = { provider: 'vapi', numberDesiredAreaCode: '628', name: 'ls1.Zr1mW5nXQ3yKf0aP8tLcUg' };

let now = Date.UTC(2026, 0, 1);
let standIn: VapiStandIn;
beforeAll(async () => {
  standIn = await startVapiStandIn({ key: KEY, clock: () => now, settings: { numberActivationMs: 60_000 } });
  standIn.setKeys([{ key: KEY }, { key: OTHER_KEY, orgId: OTHER_ORG }]);
});
beforeEach(() => standIn.reset());
afterAll(() => standIn.stop());

async function call(
  method: string,
  path: string,
  body?: unknown,
  key = KEY,
): Promise<{ status: number; body: ReturnType<typeof JSON.parse> }> {
  const response = await fetch(standIn.url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
  });
  return { status: response.status, body: JSON.parse(await response.text()) };
}
const buy = async (fields: JsonObject = {}) =>
  (await call('POST', '/phone-number', { ...BUY, ...fields })).body;
const bring = async (fields: JsonObject = {}) =>
  (await call('POST', '/phone-number', { ...IMPORT, ...fields })).body;
const get = async (id: string) => (await call('GET', `/phone-number/${id}`)).body;
const refused = (message: unknown) => ({
  status: 400,
  body: { message, error: 'Bad Request', statusCode: 400 },
});

describe('a purchase', () => {
  test('answers without digits; the number is active with digits of its area when its time is over', async () => {
    const { status, body } = await call('POST', '/phone-number', BUY);
    expect(status).toBe(201);
    expect(body).toMatchObject({ ...BUY, orgId: DEFAULT_VAPI_ORG_ID, status: 'activating' });
    expect(body).not.toHaveProperty('number');
    now += 59_999;
    expect(await get(body.id)).toEqual(body);
    now += 1;
    const active = await get(body.id);
    expect(active).toMatchObject({ status: 'active', number: expect.stringMatching(/^\+1628555\d{4}$/) });
    expect(active.updatedAt > body.updatedAt).toBe(true);
    expect((await call('GET', '/phone-number')).body).toEqual([active]);
  });

  test('never assigns the same digits twice', async () => {
    standIn.configure({ numberActivationMs: 0 });
    const numbers = [await buy(), await buy(), await buy()].map(({ number }) => number);
    expect(new Set(numbers).size).toBe(3);
  });

  test.each([
    ['never', { status: 'activating' }, ['number', 'sipUri']],
    ['blocked', { status: 'blocked' }, ['number', 'sipUri']],
    ['half-provisioned', { status: 'active' }, ['number', 'sipUri']],
    ['sip-only', { status: 'active', sipUri: expect.stringMatching(/^sip:/) }, ['number']],
  ] as const)('can end otherwise: %s', async (numberActivation, expected, absent) => {
    standIn.configure({ numberActivation });
    const { id } = await buy();
    now += 60_000;
    const number = await get(id);
    expect(number).toMatchObject(expected);
    for (const name of absent) expect(number).not.toHaveProperty(name);
  });

  test('a number that waited is activated when the setting changes', async () => {
    standIn.configure({ numberActivation: 'never', numberActivationMs: 0 });
    const { id } = await buy();
    expect(await get(id)).toMatchObject({ status: 'activating' });
    standIn.configure({ numberActivation: 'active' });
    expect(await get(id)).toMatchObject({ status: 'active', number: expect.any(String) });
  });

  test('without an area code ends as a SIP address without digits', async () => {
    const { body } = await call('POST', '/phone-number', { provider: 'vapi' });
    now += 60_000;
    expect(await get(body.id)).toMatchObject({ status: 'active', sipUri: expect.stringMatching(/^sip:/) });
    expect(await get(body.id)).not.toHaveProperty('number');
  });

  test('is refused for an area code without stock, with a hint, and for more numbers than are free', async () => {
    expect(await call('POST', '/phone-number', { ...BUY, numberDesiredAreaCode: '212' })).toEqual(
      refused('This area code is currently not available. Hint: Try one of 562, 662, 716.'),
    );
    for (let index = 0; index < 5; index++) await buy();
    expect(await call('POST', '/phone-number', BUY)).toEqual(
      refused(expect.stringMatching(/limit of 5 free/)),
    );
    // An import and another Vapi organization have places of their own.
    expect((await call('POST', '/phone-number', IMPORT)).status).toBe(201);
    expect((await call('POST', '/phone-number', BUY, OTHER_KEY)).status).toBe(201);
    const [first] = standIn.phoneNumbers.all();
    await call('DELETE', `/phone-number/${first?.id}`);
    expect((await call('POST', '/phone-number', BUY)).status).toBe(201);
  });
});

describe('an import', () => {
  test('is active at once, and every answer repeats its secrets', async () => {
    const { status, body } = await call('POST', '/phone-number', IMPORT);
    expect(status).toBe(201);
    expect(body).toMatchObject({ ...IMPORT, status: 'active' });
    expect(await get(body.id)).toMatchObject(IMPORT);
    expect((await call('GET', '/phone-number')).body).toMatchObject([IMPORT]);
    expect((await call('PATCH', `/phone-number/${body.id}`, { name: 'a' })).body).toMatchObject(IMPORT);
    expect((await call('DELETE', `/phone-number/${body.id}`)).body).toMatchObject(IMPORT);
  });

  test('of the same digits is refused, in other words for another Vapi organization', async () => {
    const { id } = await bring();
    expect(await call('POST', '/phone-number', IMPORT)).toEqual(
      refused(expect.stringContaining(`Existing Phone Number ${id}`)),
    );
    const elsewhere = await call('POST', '/phone-number', IMPORT, OTHER_KEY);
    expect(elsewhere).toEqual(refused(expect.stringContaining('already in use')));
    expect(JSON.stringify(elsewhere)).not.toContain(id);
    expect(standIn.phoneNumbers.all()).toHaveLength(1);
  });

  test('of a number that the carrier’s account does not have is refused', async () => {
    expect(await call('POST', '/phone-number', { ...IMPORT, number: '+15005550001' })).toEqual(
      refused(expect.stringContaining('Number Not Found on Twilio')),
    );
  });
});

describe('refuses', () => {
  test.each<[string, JsonObject, string[]]>([
    [
      'no provider',
      {},
      ['provider must be one of the following values: vapi, twilio, vonage, telnyx, byo-phone-number'],
    ],
    ['metadata', { ...BUY, metadata: {} }, ['property metadata should not exist']],
    [
      'a long name',
      { ...BUY, name: 'x'.repeat(41) },
      ['name must be shorter than or equal to 40 characters'],
    ],
    [
      'a short area code',
      { ...BUY, numberDesiredAreaCode: '41' },
      ['numberDesiredAreaCode must be longer than or equal to 3 characters'],
    ],
    ['digits in a purchase', { ...BUY, number: '+14155550142' }, ['property number should not exist']],
    [
      'a number without country code',
      { ...IMPORT, number: '4155550142' },
      [
        'number must be a valid phone number in the E.164 format. Hot tip, you may be missing the country code (Eg. US: +1).',
      ],
    ],
    [
      'an import without account',
      { provider: 'twilio', number: '+14155550142' },
      ['twilioAccountSid must be a string'],
    ],
  ])('a POST with %s', async (_name, body, messages) => {
    expect(await call('POST', '/phone-number', body)).toEqual(refused(messages));
    expect(standIn.phoneNumbers.all()).toEqual([]);
  });

  test.each(['id', 'orgId', 'createdAt', 'status', 'number', 'numberDesiredAreaCode'])(
    'a PATCH of a bought number with %s',
    async (name) => {
      const { id } = await buy();
      expect(await call('PATCH', `/phone-number/${id}`, { [name]: '628' })).toMatchObject(
        refused(expect.arrayContaining([`property ${name} should not exist`])),
      );
    },
  );

  test('a PATCH with another provider, and unknown ids', async () => {
    const { id } = await buy();
    expect(await call('PATCH', `/phone-number/${id}`, { provider: 'twilio' })).toEqual(
      refused(expect.stringContaining('vapi')),
    );
    for (const method of ['GET', 'PATCH', 'DELETE']) {
      const body = method === 'PATCH' ? {} : undefined;
      expect((await call(method, `/phone-number/${UNKNOWN_ID}`, body)).status).toBe(404);
      expect((await call(method, `/phone-number/${id}`, body, OTHER_KEY)).status).toBe(404);
    }
  });
});

describe('PATCH', () => {
  test('keeps absent fields, with and without provider; null removes a field', async () => {
    const { id } = await buy({ assistantId: UNKNOWN_ID });
    const named = await call('PATCH', `/phone-number/${id}`, { provider: 'vapi', name: 'b' });
    expect(named.body).toMatchObject({ name: 'b', assistantId: UNKNOWN_ID });
    const detached = await call('PATCH', `/phone-number/${id}`, { assistantId: null });
    expect(detached.body).toMatchObject({ name: 'b' });
    expect(detached.body).not.toHaveProperty('assistantId');
    expect(await get(id)).toEqual(detached.body);
  });

  test('replaces a server whole', async () => {
    const { id } = await buy({ server: { url: 'https://a.example', headers: { a: 'b' } } });
    const { body } = await call('PATCH', `/phone-number/${id}`, { server: { url: 'https://b.example' } });
    expect(body.server).toEqual({ url: 'https://b.example' });
  });

  test('has settings for what nobody knows', async () => {
    const { id } = await buy({
      assistantId: UNKNOWN_ID,
      server: { url: 'https://a.example', headers: { a: 'b' } },
    });
    const patch = (body: JsonObject) => call('PATCH', `/phone-number/${id}`, body);
    standIn.configure({ numberNull: 'stored' });
    expect((await patch({ assistantId: null })).body).toMatchObject({ assistantId: null });
    standIn.configure({ numberNull: 'refused', numberServerHeaders: 'hidden' });
    expect(await patch({ assistantId: null })).toEqual(refused(['assistantId must be a string']));
    expect((await get(id)).server).toEqual({ url: 'https://a.example' });
    standIn.configure({ numberProviderInPatch: 'required' });
    expect(await patch({ name: 'x' })).toMatchObject({ status: 400 });
    standIn.configure({ unknownAssistantId: 'refused' });
    expect(await patch({ provider: 'vapi', assistantId: UNKNOWN_ID })).toEqual(
      refused(`Couldn't Get Assistant. \`assistantId\` ${UNKNOWN_ID} Does Not Exist.`),
    );
    standIn.reset();
    expect(standIn.settings).toMatchObject({ numberNull: 'removes', numberActivationMs: 60_000 });
  });
});

test('with masked digits, only the answer to the POST has them', async () => {
  standIn.configure({ maskDigits: true });
  const { id, number } = await bring();
  expect(number).toBe(IMPORT.number);
  expect((await get(id)).number).toBe('+141****0142');
  expect((await call('GET', '/phone-number')).body[0].number).toBe('+141****0142');
});

test('the deletion of an assistant leaves its id in a number, or detaches it, as the setting says', async () => {
  for (const [numbersOfDeletedAssistant, left] of [
    ['kept', true],
    ['detached', false],
  ] as const) {
    standIn.configure({ numbersOfDeletedAssistant });
    const assistant = (await call('POST', '/assistant', {})).body;
    const { id } = await buy({ assistantId: assistant.id });
    await call('DELETE', `/assistant/${assistant.id}`);
    expect('assistantId' in (await get(id))).toBe(left);
  }
});

describe('lists', () => {
  test('GET /v2/phone-number finds a part of a name, a number or a SIP address, without regard to case', async () => {
    const bought = await buy({ name: 'ls1.AbC' });
    now += 1;
    const imported = await bring({ name: 'Front desk' });
    const search = async (query: string) => (await call('GET', `/v2/phone-number?${query}`)).body;
    expect((await search('')).results).toEqual([imported, bought]);
    expect((await search('search=1.abc')).results).toEqual([bought]);
    expect((await search('search=4155550')).results).toEqual([imported]);
    expect(await search('limit=1&page=2&sortOrder=ASC')).toEqual({
      results: [imported],
      metadata: {
        itemsPerPage: 1,
        totalItems: 2,
        currentPage: 2,
        totalPages: 2,
        hasNextPage: false,
        sortOrder: 'ASC',
      },
    });
    expect(await call('GET', `/v2/phone-number?search=${'x'.repeat(101)}&limit=1001`)).toEqual(
      refused([
        'limit must not be greater than 1000',
        'search must be shorter than or equal to 100 characters',
      ]),
    );
  });

  test('leave out new resources while they lag; GET by id does not', async () => {
    standIn.configure({ listLagMs: 5_000 });
    const { id } = await bring();
    const assistant = (await call('POST', '/assistant', {})).body;
    const listed = async () => [
      (await call('GET', '/phone-number')).body.length,
      (await call('GET', '/v2/phone-number')).body.results.length,
      (await call('GET', '/assistant')).body.length,
    ];
    expect(await listed()).toEqual([0, 0, 0]);
    expect(await get(id)).toMatchObject({ id });
    expect((await call('GET', `/assistant/${assistant.id}`)).status).toBe(200);
    now += 5_000;
    expect(await listed()).toEqual([1, 1, 1]);
  });

  test.each(['credential', 'squad', 'eval/simulation', 'eval/simulation/suite'])(
    'GET /%s is empty, as the synchronisation tool of Vapi expects it',
    async (path) => expect(await call('GET', `/${path}`)).toEqual({ status: 200, body: [] }),
  );
  test.each(['structured-output', 'eval'])('GET /%s is an empty page', async (path) =>
    expect(await call('GET', `/${path}`)).toMatchObject({ status: 200, body: { results: [] } }),
  );
});

describe('faults', () => {
  test('a purchase whose answer is lost is in the list', async () => {
    standIn.faults.add({ kind: 'reset-after', match: { method: 'POST', path: '^/phone-number$' } });
    // The fault is for another resource.
    expect((await call('POST', '/assistant', {})).status).toBe(201);
    await expect(call('POST', '/phone-number', BUY)).rejects.toThrow();
    expect((await call('GET', '/v2/phone-number?search=ls1.')).body.results).toMatchObject([BUY]);
  });

  test('a purchase can take effect after its client has given up', async () => {
    standIn.faults.add({ kind: 'late', ms: 3_600_000, answer: 504, match: { path: '^/phone-number$' } });
    await fetch(`${standIn.url}/phone-number`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}` },
      body: JSON.stringify(BUY),
    });
    expect(standIn.phoneNumbers.all()).toEqual([]);
    expect(standIn.applyLate()).toBe(1);
    expect(standIn.phoneNumbers.all()).toMatchObject([BUY]);
  });
});

test('another process reads and changes the settings, and edits numbers like the dashboard', async () => {
  const { id } = await buy();
  const control = (method: string, path: string, body?: JsonObject) =>
    call(method, `/__stand-in/${path}`, body);
  expect((await control('PATCH', 'settings', { areaCodesWithoutStock: ['628'] })).body).toMatchObject({
    areaCodesWithoutStock: ['628'],
    freeNumbers: 5,
  });
  expect((await control('GET', 'settings')).body).toEqual(standIn.settings);
  expect((await call('POST', '/phone-number', BUY)).status).toBe(400);
  expect((await control('PATCH', 'settings', { unheard: 1 })).status).toBe(400);
  expect((await control('POST', `dashboard/${id}`, { assistantId: UNKNOWN_ID })).body).toMatchObject({
    id,
    assistantId: UNKNOWN_ID,
  });
  expect((await control('DELETE', `dashboard/${id}`)).status).toBe(200);
  expect((await call('GET', `/phone-number/${id}`)).status).toBe(404);
});

describe.skipIf(!hasOpenApi)("against Vapi's own OpenAPI (skipped where that file is not present)", () => {
  test.each([
    ['vapi', 'Vapi'],
    ['twilio', 'Twilio'],
    ['vonage', 'Vonage'],
    ['telnyx', 'Telnyx'],
    ['byo-phone-number', 'Byo'],
  ])('the bodies of %s have the same keys and limits', (provider, name) => {
    const [create, update] = [caseOf(phoneNumberCreate, provider), caseOf(phoneNumberUpdate, provider)];
    if (!create || !update) throw new Error(`no rules for ${provider}`);
    expect(differencesFrom(`Create${name}PhoneNumberDTO`, create)).toEqual([]);
    expect(differencesFrom(`Update${name}PhoneNumberDTO`, { ...update, required: [] })).toEqual([]);
  });
});

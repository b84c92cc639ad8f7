import { afterAll, beforeAll, expect, test } from 'vitest';
import { createVoiceProvider } from '../../src/adapters/vapi/got-voice-provider.ts';
import { type AgentConfig, defaultConfig } from '../../src/domain/agents/agent-config.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { Secret } from '../../src/domain/secret.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import type { Log } from '../../src/ports/system.ts';
import { renderAssistant } from '../../src/services/agents/render.ts';
import { QUERY_TOOL_MAPPING_VERSION, renderQueryTool } from '../../src/services/knowledge-base/query-tool.ts';
import { NUMBER_MAPPING_VERSION } from '../../src/services/phone-numbers/document.ts';
import { type Carrier, phoneNumberSaga } from '../../src/services/phone-numbers/participant.ts';
import { type Sample, typeProblems } from './type-check.ts';

/**
 * Every document that we send must have the request type of Vapi's official SDK, and every answer of the stand-in the response type.
 * A new document or answer is one line. The last argument names what the SDK does not know; docs/vapi.md says why we rely on it.
 */

const ID = '00000000-0000-4000-8000-000000000001';
const STAMP = { deployment: ID, orgId: ID, agentId: ID, role: 'INBOUND' as const, saveId: ID, revision: 7 };
const PLAIN: AgentConfig = { ...defaultConfig('INBOUND'), systemPrompt: 'You answer calls.' };
const RICH: AgentConfig = {
  ...PLAIN,
  firstMessage: 'Hello!',
  voice: { provider: '11labs', voiceId: 'sarah', stability: 0.5, similarityBoost: 0 },
  model: { provider: 'openai', name: 'gpt-4.1-mini', temperature: 0.2, maxTokens: 250 },
  transferTo: [
    { number: '+14155550142', description: 'Emergencies', message: 'One moment.' },
    { number: '+14155550187', description: 'Billing', message: null },
  ],
  endCall: true,
  voicemailMessage: 'Please call us back.',
  useKnowledgeBase: true,
  bookAppointments: true,
};
const EVENTS = { url: 'https://lockstep.example.com/vapi/events', credentialId: ID };
const AGENT = renderAssistant(2, RICH, STAMP, { toolId: ID });
const QUERY_TOOL = renderQueryTool(QUERY_TOOL_MAPPING_VERSION, [ID], ID);
const BOUGHT = { provider: 'vapi', numberDesiredAreaCode: '628', name: 'ls1.Zr1mW5nXQ3yKf0aP8tLcUg' };
const TWILIO = {
  provider: 'twilio',
  number: '+14155550142',
  twilioAccountSid: 'ACTESTONLY00000000000000000000000',
  twilioAuthToken: 'test-only-token',
  name: 'ls1.HpMbVzQ0S2iYq7sD1xWn3A',
};

const sample = (title: string, type: string, value: object, beyond: string[] = []): Sample => ({
  ...{ title, type, value, beyond },
});

async function documents(): Promise<Sample[]> {
  const assistant = 'Vapi.CreateAssistantDto';
  const update = "Omit<Vapi.UpdateAssistantDto, 'id'>";
  // Null unsets a field (docs/vapi.md#null-unsets).
  const nulls = ['firstMessage', 'voicemailMessage', 'voicemailDetection'];
  const number = 'Vapi.CreatePhoneNumbersRequest';
  const numberUpdate = 'Vapi.UpdatePhoneNumbersRequestBody';
  const twilio = { provider: 'twilio', number: TWILIO.number };
  const carrier = { accountSid: TWILIO.twilioAccountSid, token: new Secret(TWILIO.twilioAuthToken) };
  return [
    sample('an agent of version 1', assistant, renderAssistant(1, PLAIN, STAMP, {}), ['firstMessage']),
    sample('an agent of version 1 with everything', assistant, renderAssistant(1, RICH, STAMP, {})),
    sample('an agent of version 2', assistant, renderAssistant(2, PLAIN, STAMP, {}), nulls),
    // The SDK takes the kinds of backoff, and status codes, for objects.
    sample('an agent that names a server', assistant, renderAssistant(2, PLAIN, STAMP, { server: EVENTS }), [
      ...[...nulls, 'server'],
    ]),
    sample('an agent of version 2 with everything', assistant, AGENT),
    sample(
      'an agent that names no server any more',
      assistant,
      renderAssistant(2, RICH, STAMP, { server: null }),
      [...['server', 'serverMessages']],
    ),
    sample('an update of an agent', update, AGENT),
    sample('a purchase', number, await ofNumber('create', { action: 'BUY', areaCode: '628' })),
    sample('an import', number, await ofNumber('create', { action: 'IMPORT', ...twilio }, carrier)),
    sample('an attachment', numberUpdate, await ofNumber('replace', { action: 'UPDATE', assistantId: ID })),
    sample('a detachment', numberUpdate, await ofNumber('replace', { action: 'UPDATE' }), ['assistantId']),
    // The file itself is a stream or a path for the SDK.
    sample('an upload', "Omit<Vapi.CreateFileDto, 'file'>", await uploadedForm(), ['file']),
    sample('the query tool', 'Vapi.CreateToolsRequest', QUERY_TOOL, ['function']),
    sample('an update of the query tool', 'Vapi.UpdateToolsRequestBody', QUERY_TOOL, ['function']),
  ];
}

async function answers(): Promise<Sample[]> {
  const secret = ['isServerUrlSecretSet'];
  const agent = await call('POST', '/assistant', AGENT);
  const bought = await call('POST', '/phone-number', BOUGHT);
  vapi.configure({ numberActivation: 'never' });
  const activating = await call('POST', '/phone-number', BOUGHT);
  const imported = await call('POST', '/phone-number', TWILIO);
  const number = `/phone-number/${imported['id']}`;
  const form = new FormData();
  form.set('file', new Blob(['We are open.'], { type: 'text/plain' }), 'a.txt');
  form.set('purpose', 'assistant');
  form.set('metadata', '{"lockstep":{}}');
  const file = await call('POST', '/file', form);
  const tool = await call('POST', '/tool', QUERY_TOOL);
  const one = `/tool/${tool['id']}`;
  const attached = await call('PATCH', number, { assistantId: ID });
  const detached = await call('PATCH', number, { assistantId: null });
  const page = await call('GET', '/v2/phone-number?search=HpMbVz');
  vapi.configure({ outboundCalls: 'held' });
  const dialled = await call('POST', '/call', {
    ...{ assistantId: agent['id'] ?? '', phoneNumberId: imported['id'] ?? '', name: 'ls1.a' },
    customer: { number: '+14155550187', externalId: 'contact-4711' },
    assistantOverrides: { variableValues: { name: 'Ana' } },
  });
  const browser = await call('POST', '/call/web', { assistantId: agent['id'] ?? '' });
  const { call: ended } = await vapi.playCall({ callId: String(dialled['id']) });
  return [
    sample('POST /assistant', 'Vapi.Assistant', agent, secret),
    sample('GET /assistant/{id}', 'Vapi.Assistant', await call('GET', `/assistant/${agent['id']}`), secret),
    sample('a number that is active', 'Vapi.CreatePhoneNumbersResponse', bought, ['providerResourceId']),
    sample('a number that is activating', 'Vapi.CreatePhoneNumbersResponse', activating),
    sample('a number that is imported', 'Vapi.CreatePhoneNumbersResponse', imported),
    sample('PATCH /phone-number/{id}', 'Vapi.UpdatePhoneNumbersResponse', attached),
    sample('PATCH /phone-number/{id} with null', 'Vapi.UpdatePhoneNumbersResponse', detached),
    sample('GET /phone-number/{id}', 'Vapi.GetPhoneNumbersResponse', await call('GET', number)),
    sample('GET /v2/phone-number', 'Vapi.PhoneNumberPaginatedResponse', page),
    sample('DELETE /phone-number/{id}', 'Vapi.DeletePhoneNumbersResponse', await call('DELETE', number)),
    sample('POST /call', 'Vapi.Call', dialled, ['subscriptionLimits']),
    sample('POST /call/web', 'Vapi.Call', browser, ['webCallUrl']),
    sample('a call that is over', 'Vapi.Call', ended),
    sample('POST /file', 'Vapi.File_', file),
    sample('PATCH /file/{id}', 'Vapi.File_', await call('PATCH', `/file/${file['id']}`, { name: 'b.txt' })),
    sample('POST /tool', 'Vapi.CreateToolsResponse', tool, ['function']),
    sample('PATCH /tool/{id}', 'Vapi.UpdateToolsResponse', await call('PATCH', one, {}), ['function']),
    sample('GET /tool/{id}', 'Vapi.GetToolsResponse', await call('GET', one), ['function']),
    sample('DELETE /tool/{id}', 'Vapi.DeleteToolsResponse', await call('DELETE', one), ['function']),
  ];
}

function mistakes(): Sample[] {
  const type = 'Vapi.CreatePhoneNumbersRequest';
  const { twilioAccountSid: _sid, ...incomplete } = TWILIO;
  return [
    sample('a provider', type, { ...BOUGHT, provider: 'nobody' }),
    sample('the type of a field', type, { ...BOUGHT, name: 7 }),
    sample('a missing field', type, incomplete),
    sample('an unknown property', type, { ...BOUGHT, metadata: {} }),
    sample('a nested provider', 'Vapi.CreateAssistantDto', { model: { provider: 'elevenlabs', model: 'x' } }),
    sample('an unknown type', 'Vapi.NoSuchType', {}),
  ];
}

let vapi: VapiStandIn;
let sent: Sample[];
let answered: Sample[];
let wrong: Sample[];
/** Each sample once more for each field that its check leaves out, with this field. */
let strict: Sample[];
let problems: Map<Sample, string[]>;
beforeAll(async () => {
  vapi = await startVapiStandIn({ settings: { numberActivationMs: 0, fileProcessingMs: 0 } });
  [sent, answered, wrong] = [await documents(), await answers(), mistakes()];
  strict = [...sent, ...answered].flatMap(({ title, beyond = [], ...rest }) =>
    beyond.map((name) => ({
      ...rest,
      title: `${title}: ${name}`,
      beyond: beyond.filter((one) => one !== name),
    })),
  );
  // One program for all, because the compiler reads the whole SDK for each.
  const samples = [...sent, ...answered, ...wrong, ...strict];
  const found = typeProblems(samples);
  problems = new Map(samples.map((one, index) => [one, found[index] ?? ['not checked']]));
});
afterAll(() => vapi?.stop());

/** By title, so that a failure names what does not fit. */
const problemsOf = (samples: readonly Sample[]) =>
  Object.fromEntries(samples.map((one) => [one.title, problems.get(one)]));
const none = (samples: readonly Sample[]) => Object.fromEntries(samples.map(({ title }) => [title, []]));
const accepted = (samples: readonly Sample[]) =>
  samples.filter((one) => problems.get(one)?.length === 0).map(({ title }) => title);

test('every document that we send has the request type of the official SDK', () => {
  expect(problemsOf(sent)).toEqual(none(sent));
});

test('every answer of the stand-in has the response type of the official SDK', () => {
  expect(problemsOf(answered)).toEqual(none(answered));
});

test('the check finds a wrong provider, a wrong type, a missing field and a property that does not exist', () => {
  expect(accepted(wrong)).toEqual([]);
});

test('the check leaves out only fields that are there and that the SDK would refuse', () => {
  for (const { value, beyond = [] } of [...sent, ...answered]) {
    expect(Object.keys(value)).toEqual(expect.arrayContaining([...beyond]));
  }
  expect(accepted(strict)).toEqual([]);
});

/** What the saga of a phone number gives to the provider. */
async function ofNumber(
  write: 'create' | 'replace',
  content: JsonObject,
  carrier: Carrier | null = null,
): Promise<JsonObject> {
  const given: JsonObject[] = [];
  const take = (document: JsonObject) => {
    given.push(document);
    return Promise.resolve({ kind: 'unknown' as const, code: 'NOT_SENT' });
  };
  const never = () => Promise.reject(new Error('not of this write'));
  const phoneNumbers = {
    ...{ timeoutMs: 1, get: never, remove: never, list: never },
    ...{ create: take, update: (_id: string, document: JsonObject) => take(document) },
  };
  const part = phoneNumberSaga(carrier)
    .open({ phoneNumbers })
    .open(
      { deployment: ID, orgId: ID, sagaId: ID, mappingVersion: NUMBER_MAPPING_VERSION },
      {
        ...{ key: 'number', resource: 'phone_number', resourceId: ID, remoteId: null, recreate: false },
        before: null,
        after: { content: { provider: 'vapi', assistantId: null, ...content }, revision: 1, context: {} },
      },
    );
  await (write === 'create' ? part.create() : part.replace(ID));
  const [document] = given;
  if (document === undefined) throw new Error('nothing was sent');
  return document;
}

/** The form of an upload, as the stand-in received it. */
async function uploadedForm(): Promise<JsonObject> {
  const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const voice = createVoiceProvider(new Secret(vapi.key), { baseUrl: vapi.url, timeoutMs: 20_000, log });
  await voice.files.upload({
    ...{ name: 'ls1-AAAAAAAAAAAAAAAAAAAAAA.txt', contentType: 'text/plain' },
    ...{ content: new Uint8Array(Buffer.from('We are open.')), metadata: { lockstep: { documentId: ID } } },
  });
  return vapi.requests.at(-1)?.body as JsonObject;
}

async function call(method: string, path: string, body?: JsonObject | FormData): Promise<JsonObject> {
  const response = await fetch(vapi.url + path, {
    method,
    headers: { authorization: `Bearer ${vapi.key}` },
    body: body === undefined || body instanceof FormData ? (body ?? null) : JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return JSON.parse(await response.text());
}

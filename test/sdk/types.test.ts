import { afterAll, beforeAll, expect, test } from 'vitest';
import { type AgentConfig, defaultConfig } from '../../src/domain/agents/agent-config.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import { renderAssistant } from '../../src/services/agents/render.ts';
import { QUERY_TOOL_MAPPING_VERSION, renderQueryTool } from '../../src/services/knowledge-base/query-tool.ts';
import { type Sample, typeProblems } from './type-check.ts';

/**
 * Every document that we send must have the request type of Vapi's official SDK, and every answer of the stand-in the response type.
 * A new document or answer is one line in `requests` or `answers`. `beyond` names what the SDK does not know, and why is in docs/vapi.md.
 */

const ID = '00000000-0000-4000-8000-000000000001';
const STAMP = {
  deployment: ID,
  orgId: ID,
  agentId: ID,
  role: 'INBOUND' as const,
  saveId: ID,
  revision: 7,
};
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
};
const QUERY_TOOL = renderQueryTool(QUERY_TOOL_MAPPING_VERSION, [ID], ID);
const TWILIO = {
  provider: 'twilio',
  number: '+14155550142',
  twilioAccountSid: 'ACTESTONLY00000000000000000000000',
  twilioAuthToken: 'test-only-token',
  name: 'ls1.HpMbVzQ0S2iYq7sD1xWn3A',
};
const BOUGHT = { provider: 'vapi', numberDesiredAreaCode: '628', name: 'ls1.Zr1mW5nXQ3yKf0aP8tLcUg' };

/** Null unsets a field (docs/vapi.md#null-unsets). */
const ASSISTANT = 'Vapi.CreateAssistantDto';
const ASSISTANT_UPDATE = "Omit<Vapi.UpdateAssistantDto, 'id'>";
const NULLS = ['firstMessage', 'voicemailMessage', 'voicemailDetection'];
const requests: Sample[] = [
  {
    title: 'an agent of version 1',
    type: ASSISTANT,
    value: renderAssistant(1, PLAIN, STAMP, {}),
    beyond: ['firstMessage'],
  },
  {
    title: 'an agent of version 1 with everything',
    type: ASSISTANT,
    value: renderAssistant(1, RICH, STAMP, {}),
  },
  {
    title: 'an agent of version 2',
    type: ASSISTANT,
    value: renderAssistant(2, PLAIN, STAMP, {}),
    beyond: NULLS,
  },
  {
    title: 'an agent of version 2 with everything',
    type: ASSISTANT,
    value: renderAssistant(2, RICH, STAMP, { toolId: ID }),
  },
  {
    title: 'an update of an agent',
    type: ASSISTANT_UPDATE,
    value: renderAssistant(2, RICH, STAMP, { toolId: ID }),
  },
  { title: 'the query tool', type: 'Vapi.CreateToolsRequest', value: QUERY_TOOL, beyond: ['function'] },
  {
    title: 'an update of the query tool',
    type: 'Vapi.UpdateToolsRequestBody',
    value: QUERY_TOOL,
    beyond: ['function'],
  },
  { title: 'a purchase of a number', type: 'Vapi.CreatePhoneNumbersRequest', value: BOUGHT },
  { title: 'an import of a number', type: 'Vapi.CreatePhoneNumbersRequest', value: TWILIO },
];

const { twilioAccountSid: _sid, ...INCOMPLETE } = TWILIO;
const IMPORT = 'Vapi.CreatePhoneNumbersRequest';
const wrong: Sample[] = [
  { title: 'provider', type: IMPORT, value: { ...BOUGHT, provider: 'nobody' } },
  { title: 'type of a field', type: IMPORT, value: { ...BOUGHT, name: 7 } },
  { title: 'missing field', type: IMPORT, value: INCOMPLETE },
  { title: 'unknown property', type: IMPORT, value: { ...BOUGHT, metadata: {} } },
  { title: 'null', type: ASSISTANT, value: renderAssistant(2, PLAIN, STAMP, {}) },
  { title: 'nested provider', type: ASSISTANT, value: { model: { provider: 'elevenlabs', model: 'x' } } },
  { title: 'unknown type', type: 'Vapi.NoSuchType', value: {} },
];

let vapi: VapiStandIn;
/** Each sample once more for each field that its check ignores, with this field. */
let strict: Sample[] = [];
let problems: Map<Sample, string[]>;
const answers: Sample[] = [];
beforeAll(async () => {
  vapi = await startVapiStandIn({ settings: { numberActivationMs: 0, fileProcessingMs: 0 } });
  const [number, tool] = ['PhoneNumbers', 'Tools'];
  const add = (title: string, type: string, value: JsonObject, beyond: string[] = []) =>
    void answers.push({ title, type, value, beyond });

  const secret = ['isServerUrlSecretSet'];
  const agent = await call('POST', '/assistant', renderAssistant(2, RICH, STAMP, { toolId: ID }));
  add('POST /assistant', 'Vapi.Assistant', agent, secret);
  add('GET /assistant/{id}', 'Vapi.Assistant', await call('GET', `/assistant/${agent['id']}`), secret);

  const bought = await call('POST', '/phone-number', BOUGHT);
  add('POST /phone-number, active', `Vapi.Create${number}Response`, bought, ['providerResourceId']);
  vapi.configure({ numberActivation: 'never' });
  add(
    'POST /phone-number, activating',
    `Vapi.Create${number}Response`,
    await call('POST', '/phone-number', BOUGHT),
  );
  const imported = await call('POST', '/phone-number', TWILIO);
  add('POST /phone-number, imported', `Vapi.Create${number}Response`, imported);
  const path = `/phone-number/${imported['id']}`;
  add(
    'PATCH /phone-number/{id}',
    `Vapi.Update${number}Response`,
    await call('PATCH', path, { assistantId: ID }),
  );
  add(
    'PATCH /phone-number/{id}, detached',
    `Vapi.Update${number}Response`,
    await call('PATCH', path, { assistantId: null }),
  );
  add('GET /phone-number/{id}', `Vapi.Get${number}Response`, await call('GET', path));
  const page = await call('GET', '/v2/phone-number?search=HpMbVz');
  add('GET /v2/phone-number', 'Vapi.PhoneNumberPaginatedResponse', page);
  add('DELETE /phone-number/{id}', `Vapi.Delete${number}Response`, await call('DELETE', path));

  const form = new FormData();
  form.set('file', new Blob(['We are open.'], { type: 'text/plain' }), 'a.txt');
  form.set('purpose', 'assistant');
  form.set('metadata', '{"lockstep":{}}');
  const file = await call('POST', '/file', form);
  add('POST /file', 'Vapi.File_', file);
  add('PATCH /file/{id}', 'Vapi.File_', await call('PATCH', `/file/${file['id']}`, { name: 'b.txt' }));

  const made = await call('POST', '/tool', QUERY_TOOL);
  add('POST /tool', `Vapi.Create${tool}Response`, made, ['function']);
  add('PATCH /tool/{id}', `Vapi.Update${tool}Response`, await call('PATCH', `/tool/${made['id']}`, {}), [
    'function',
  ]);
  add('GET /tool/{id}', `Vapi.Get${tool}Response`, await call('GET', `/tool/${made['id']}`), ['function']);

  strict = [...requests, ...answers].flatMap(({ beyond = [], ...sample }) =>
    beyond.map((name) => ({
      ...sample,
      title: `${sample.title}: ${name}`,
      beyond: beyond.filter((one) => one !== name),
    })),
  );
  // One program for all, because the compiler reads the whole SDK for each.
  const samples = [...requests, ...answers, ...wrong, ...strict];
  const found = typeProblems(samples);
  problems = new Map(samples.map((sample, index) => [sample, found[index] ?? []]));
});
afterAll(() => vapi?.stop());

async function call(method: string, path: string, body?: JsonObject | FormData): Promise<JsonObject> {
  const response = await fetch(vapi.url + path, {
    method,
    headers: { authorization: `Bearer ${vapi.key}` },
    body: body === undefined || body instanceof FormData ? (body ?? null) : JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return JSON.parse(await response.text());
}

/** By title, so that a failure names what does not fit. */
const problemsOf = (samples: readonly Sample[]) =>
  Object.fromEntries(samples.map((sample) => [sample.title, problems.get(sample) ?? ['not checked']]));
const none = (samples: readonly Sample[]) => Object.fromEntries(samples.map(({ title }) => [title, []]));
const accepted = (samples: readonly Sample[]) =>
  samples.filter((sample) => problems.get(sample)?.length === 0).map(({ title }) => title);

test('every document that we send has the request type of the official SDK', () => {
  expect(problemsOf(requests)).toEqual(none(requests));
});

test('every answer of the stand-in has the response type of the official SDK', () => {
  expect(answers.length).toBeGreaterThan(10);
  expect(problemsOf(answers)).toEqual(none(answers));
});

test('the check finds a wrong provider, a wrong type, a missing field and a property that does not exist', () => {
  expect(accepted(wrong)).toEqual([]);
});

test('the check ignores only fields that are there and that the SDK would refuse', () => {
  for (const { value, beyond = [] } of [...requests, ...answers]) {
    expect(Object.keys(value)).toEqual(expect.arrayContaining([...beyond]));
  }
  expect(accepted(strict)).toEqual([]);
});

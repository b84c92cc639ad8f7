import { VapiClient, VapiError } from '@vapi-ai/server-sdk';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';

/** The official SDK speaks to the stand-in over HTTP: what its methods send is accepted, and they can read what it answers. */

const KEY = 'key-for-tests';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const UNKNOWN_ID = '00000000-0000-4000-8000-000000000001';

let standIn: VapiStandIn;
let client: VapiClient;
beforeAll(async () => {
  standIn = await startVapiStandIn({ key: KEY });
  client = sdk(KEY);
});
beforeEach(() => standIn.reset());
afterAll(() => standIn.stop());
const sdk = (token: string) => new VapiClient({ token, baseUrl: standIn.url, maxRetries: 0 });

test('assistants: creates, reads, updates, lists and deletes', async () => {
  const { assistants } = client;
  const created = await assistants.create({
    name: 'Front desk',
    firstMessage: 'Hello',
    model: { provider: 'openai', model: 'gpt-4o', messages: [{ role: 'system', content: 'Be kind.' }] },
    voice: { provider: '11labs', voiceId: 'sarah', stability: 0.5 },
    transcriber: { provider: 'deepgram', model: 'nova-3', language: 'en' },
    server: { url: 'https://hooks.example', timeoutSeconds: 20 },
    metadata: { lockstep: { orgId: 'o' } },
  });
  const { id } = created;
  expect(created).toMatchObject({
    name: 'Front desk',
    id: expect.stringMatching(UUID),
    voice: { stability: 0.5 },
  });
  expect(await assistants.get({ id })).toEqual(created);
  const updated = await assistants.update({ id, firstMessage: 'Hi' });
  expect(updated).toMatchObject({ name: 'Front desk', firstMessage: 'Hi' });
  expect(await assistants.list({ limit: 5 })).toEqual([updated]);
  expect(await assistants.delete({ id })).toEqual(updated);
  expect(await assistants.list({})).toEqual([]);
});

test('phone numbers: buys, imports, reads, updates, lists, searches and deletes', async () => {
  const { phoneNumbers } = client;
  const bought = await phoneNumbers.create({ provider: 'vapi', numberDesiredAreaCode: '628', name: 'ls1.a' });
  expect(bought).toMatchObject({ provider: 'vapi', status: 'activating' });
  const { id } = bought;
  standIn.configure({ numberActivationMs: 0 });
  const active = await phoneNumbers.get({ id });
  expect(active).toMatchObject({ status: 'active', number: expect.stringMatching(/^\+1628/) });
  const imported = await phoneNumbers.create({
    provider: 'twilio',
    number: '+14155550142',
    twilioAccountSid: 'ACTESTONLY00000000000000000000000',
    twilioAuthToken: 'test-only-token',
    smsEnabled: false,
  });
  const updated = await phoneNumbers.update({ id, body: { provider: 'vapi', assistantId: UNKNOWN_ID } });
  expect(updated).toMatchObject({ name: 'ls1.a', assistantId: UNKNOWN_ID });
  const listed = await phoneNumbers.list({ limit: 1_000 });
  expect(listed).toHaveLength(2);
  expect(listed).toEqual(expect.arrayContaining([imported, updated]));
  const page = await phoneNumbers.phoneNumberControllerFindAllPaginated({ search: 'LS1.', limit: 1 });
  expect(page).toMatchObject({ results: [{ id }], metadata: { totalItems: 1, hasNextPage: false } });
  expect(await phoneNumbers.delete({ id })).toEqual(updated);
  expect(await phoneNumbers.list({})).toEqual([imported]);
});

test('files: uploads, reads, renames, lists and deletes', async () => {
  const { files } = client;
  const created = await files.create({
    file: { data: Buffer.from('We are open.'), filename: 'hours.txt', contentType: 'text/plain' },
    purpose: 'assistant',
    metadata: JSON.stringify({ lockstep: { documentId: 'd' } }),
  });
  const { id } = created;
  expect(created).toMatchObject({
    object: 'file',
    status: 'processing',
    name: 'hours.txt',
    bytes: 12,
    metadata: { lockstep: { documentId: 'd' } },
  });
  standIn.configure({ fileProcessingMs: 0 });
  expect(await files.get({ id })).toMatchObject({ status: 'done' });
  const renamed = await files.update({ id, name: 'other.txt' });
  expect(renamed).toMatchObject({ name: 'other.txt', originalName: 'hours.txt' });
  expect(await files.list({ purpose: 'assistant' })).toEqual([renamed]);
  expect(await files.delete({ id })).toEqual(renamed);
  expect(await files.list({ purpose: 'assistant' })).toEqual([]);
});

test('tools: creates, reads, updates, lists and deletes', async () => {
  const { tools } = client;
  const base = {
    name: 'ls1-a',
    provider: 'google' as const,
    description: 'Opening hours',
    fileIds: [UNKNOWN_ID],
  };
  const created = await tools.create({ type: 'query', knowledgeBases: [base] });
  const { id } = created;
  expect(created).toMatchObject({ type: 'query', knowledgeBases: [base] });
  expect(await tools.get({ id })).toEqual(created);
  const knowledgeBases = [{ ...base, name: 'ls1-b', fileIds: [] }];
  const updated = await tools.update({ id, body: { type: 'query', knowledgeBases } });
  expect(updated).toMatchObject({ knowledgeBases });
  expect(await tools.list({ limit: 5 })).toEqual([updated]);
  expect(await tools.delete({ id })).toEqual(updated);
  expect(await tools.list({})).toEqual([]);
});

test('calls: makes, reads, renames, lists and deletes', async () => {
  const { calls } = client;
  standIn.configure({ outboundCalls: 'held' });
  const assistant = await client.assistants.create({ name: 'Outbound' });
  const number = await client.phoneNumbers.create({
    ...{ provider: 'twilio', number: '+14155550142', twilioAuthToken: 'test-only-token' },
    twilioAccountSid: 'ACTESTONLY00000000000000000000000',
  });
  const created = await calls.create({
    ...{ assistantId: assistant.id, phoneNumberId: number.id, name: 'ls1.a' },
    customer: { number: '+14155550187', externalId: 'contact-4711' },
    assistantOverrides: { variableValues: { name: 'Ana' } },
  });
  expect(created).toMatchObject({ type: 'outboundPhoneCall', status: 'queued', cost: 0, name: 'ls1.a' });
  const id = String('id' in created ? created.id : undefined);
  expect(await calls.get({ id })).toMatchObject({ customer: { externalId: 'contact-4711' } });
  expect(await calls.update({ id, name: 'ls1.b' })).toMatchObject({ id, name: 'ls1.b' });
  await standIn.playCall({ callId: id });
  const ended = await calls.get({ id });
  expect(ended).toMatchObject({ status: 'ended', endedReason: 'customer-ended-call', analysis: {} });
  const own = { assistantId: assistant.id, limit: 1_000 };
  expect(await calls.list({ ...own, updatedAtGe: ended.updatedAt })).toMatchObject([
    { id, cost: ended.cost },
  ]);
  expect(await calls.list({ ...own, updatedAtGt: ended.updatedAt })).toEqual([]);
  expect(await calls.delete({ id })).toMatchObject({ id });
  await expect(calls.get({ id })).rejects.toMatchObject({ statusCode: 404 });
});

describe('errors', () => {
  test('can be read: missing resources, refused keys, validation and policy', async () => {
    const failure = await client.assistants.update({ id: UNKNOWN_ID }).catch((problem: unknown) => problem);
    expect(failure).toBeInstanceOf(VapiError);
    expect(failure).toMatchObject({ statusCode: 404, body: { error: 'Not Found', statusCode: 404 } });
    await expect(sdk('other').phoneNumbers.list({})).rejects.toMatchObject({ statusCode: 401 });
    await expect(
      client.phoneNumbers.create({ provider: 'vapi', numberDesiredAreaCode: '1' }),
    ).rejects.toMatchObject({
      statusCode: 400,
      body: { message: ['numberDesiredAreaCode must be longer than or equal to 3 characters'] },
    });
    await expect(
      client.phoneNumbers.create({ provider: 'vapi', numberDesiredAreaCode: '212' }),
    ).rejects.toMatchObject({
      statusCode: 400,
      body: { message: expect.stringMatching(/^This area code is currently not available\. Hint: /) },
    });
    for (const missing of [
      client.phoneNumbers.get({ id: UNKNOWN_ID }),
      client.files.delete({ id: UNKNOWN_ID }),
      client.tools.update({ id: UNKNOWN_ID, body: { type: 'query' } }),
    ]) {
      await expect(missing).rejects.toMatchObject({ statusCode: 404 });
    }
  });

  test('a tool that an assistant pins to a version is refused with 409', async () => {
    const { id } = await client.tools.create({ type: 'endCall' });
    await client.assistants.create({
      model: { provider: 'openai', model: 'gpt-4o', toolRefs: [{ toolId: id, version: 'v1' }] },
    });
    await expect(client.tools.delete({ id })).rejects.toMatchObject({
      statusCode: 409,
      body: { error: 'tool_pinned' },
    });
  });
});

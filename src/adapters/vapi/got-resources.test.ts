import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../domain/json.ts';
import { Secret } from '../../domain/secret.ts';
import type { FaultInput } from '../../local/vapi/faults.ts';
import { startVapiStandIn, type VapiStandIn } from '../../local/vapi/server.ts';
import type { Log } from '../../ports/system.ts';
import type { ProviderReply, VoiceProvider } from '../../ports/voice-provider.ts';
import { createVoiceProvider } from './got-voice-provider.ts';

/** The adapter's phone numbers, files and tools against the stand-in; got-voice-provider.test.ts has what holds for every request. */

const KEY = 'canary-key-4b1d-8c2e';
const TOKEN = 'canary"token-77aa-1f';
const API_SECRET = 'canary-api-secret-0c3d';
const ID = '00000000-0000-4000-8000-000000000001';
const NUMBER: JsonObject = {
  provider: 'twilio',
  number: '+14155550142',
  name: 'ls1.HpMbVzQ0S2iYq7sD1xWn3A',
  twilioAccountSid: 'ACTESTONLY00000000000000000000000',
  twilioAuthToken: TOKEN,
};
const { twilioAuthToken: _token, ...SHOWN } = NUMBER;
const CONTENT = new Uint8Array([...Buffer.from('Opening hours: née\r\n--boundary\r\n'), 0, 255, 254, 13, 10]);
const FILE = {
  name: 'ls1-Jb7vC2nMS0eXq9wD4hZtRA.pdf',
  contentType: 'application/pdf',
  content: CONTENT,
  metadata: { lockstep: { deployment: 'd', documentId: 'é"' } },
};
const TOOL: JsonObject = {
  type: 'query',
  function: { name: 'search_knowledge_base' },
  knowledgeBases: [{ name: 'ls1-a', provider: 'google', description: 'b', fileIds: [ID] }],
};

/** Everything that was logged or answered in a test; whatever holds a secret there has leaked it. */
const seen: unknown[] = [];
const note = (...line: unknown[]) => void seen.push(line);
const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };
afterEach(() => {
  const text = inspect(seen.splice(0), { depth: null, showHidden: true, maxStringLength: null });
  for (const secret of [KEY, TOKEN, JSON.stringify(TOKEN).slice(1, -1), API_SECRET]) {
    expect(text).not.toContain(secret);
    expect(text).not.toContain(Buffer.from(secret).toString('base64').slice(4, -4));
  }
});

let vapi: VapiStandIn;
let voice: VoiceProvider;
beforeAll(async () => {
  vapi = await startVapiStandIn({ key: KEY });
  voice = provider();
});
beforeEach(() => vapi.reset());
afterAll(() => vapi?.stop());

/** Patient, so that a slow machine changes nothing; tests of the deadline name a shorter one. */
function provider(timeouts: { timeoutMs?: number; uploadTimeoutMs?: number } = {}): VoiceProvider {
  return createVoiceProvider(new Secret(KEY), { baseUrl: vapi.url, timeoutMs: 20_000, log, ...timeouts });
}

async function ok<T>(reply: Promise<ProviderReply<T>>): Promise<T> {
  const given = await reply;
  seen.push(given);
  if (given.kind !== 'ok') throw new Error(`${given.kind}: ${JSON.stringify(given)}`);
  return given.value;
}

const sent = () => vapi.requests.map(({ method, path, query, body }) => ({ method, path, query, body }));
const unknown = (code: RegExp) => ({ kind: 'unknown', code: expect.stringMatching(code) });
const timedOut = unknown(/^TIMEOUT_(SOCKET|RESPONSE|READ|REQUEST)$/);

describe('phone numbers', () => {
  test('are created, read, updated, listed and deleted, and no answer has a secret of the carrier', async () => {
    const numbers = voice.phoneNumbers;
    const made = await ok(
      numbers.create({ ...NUMBER, twilioApiKey: 'SKcanary-key', twilioApiSecret: API_SECRET }),
    );
    expect(made).toMatchObject({ ...SHOWN, status: 'active' });
    const path = `/phone-number/${made.id}`;
    const answers = [
      made,
      await ok(numbers.update(made.id, { assistantId: ID })),
      await ok(numbers.get(made.id)),
      ...(await ok(numbers.list({ limit: 7 }))),
      await ok(numbers.remove(made.id)),
    ];
    expect(answers).toHaveLength(5);
    for (const answer of answers) {
      expect(answer).toMatchObject({ id: made.id, ...SHOWN });
      for (const name of ['twilioAuthToken', 'twilioApiKey', 'twilioApiSecret'])
        expect(answer).not.toHaveProperty(name);
    }
    // Vapi was given them, and repeated them.
    expect(sent()).toMatchObject([
      { method: 'POST', path: '/phone-number', body: { twilioAuthToken: TOKEN } },
      { method: 'PATCH', path, body: { assistantId: ID } },
      { method: 'GET', path },
      { method: 'GET', path: '/phone-number', query: 'limit=7' },
      { method: 'DELETE', path },
    ]);
    for (const reply of [
      numbers.get(made.id),
      numbers.update(made.id, { provider: 'twilio' }),
      numbers.remove(made.id),
    ]) {
      expect(await reply).toEqual({ kind: 'gone' });
    }
  });

  const bad: FaultInput = {
    kind: 'reject',
    messages: [
      `twilioAuthToken ${TOKEN} is wrong`,
      `{"twilioAuthToken":${JSON.stringify(TOKEN)}}`,
      `Basic ${Buffer.from(`AC:${TOKEN}`).toString('base64')}`,
    ],
  };
  test('a refusal never repeats a secret of the carrier', async () => {
    const { id } = vapi.phoneNumbers.create('11111111-1111-4111-8111-111111111111', NUMBER);
    for (const write of [
      () => voice.phoneNumbers.create(NUMBER),
      () => voice.phoneNumbers.update(id, { provider: 'twilio', twilioAuthToken: TOKEN }),
    ]) {
      vapi.faults.add(bad);
      const reply = await write();
      seen.push(reply);
      expect(reply).toMatchObject({ kind: 'refused', messages: { length: 3 } });
      expect(inspect(reply)).toContain('[redacted]');
    }
  });

  test('an answer never repeats a secret of the carrier under another name', async () => {
    vapi.faults.add({ kind: 'wrong-body', path: 'name', value: `token ${TOKEN}` });
    vapi.faults.add({
      kind: 'wrong-body',
      path: 'server',
      value: { headers: { a: [TOKEN] }, twilioAuthToken: 'x' },
    });
    expect(await ok(voice.phoneNumbers.create(NUMBER))).toMatchObject({ name: 'token [redacted]' });
    const { server } = await ok(voice.phoneNumbers.create({ ...NUMBER, number: '+14155550143' }));
    expect(server).toEqual({ headers: { a: ['[redacted]'] } });
  });

  test('an area code without stock is a refusal with the words of Vapi, and a purchase answers without digits', async () => {
    const buy = (area: string) =>
      voice.phoneNumbers.create({ provider: 'vapi', numberDesiredAreaCode: area });
    expect(await buy('212')).toEqual({
      kind: 'refused',
      status: 400,
      messages: ['This area code is currently not available. Hint: Try one of 562, 662, 716.'],
    });
    const bought = await ok(buy('628'));
    expect(bought).toMatchObject({ status: 'activating' });
    expect(bought).not.toHaveProperty('number');
  });

  test.each<[FaultInput, object, number]>([
    [{ kind: 'reset-after' }, unknown(/^ECONNRESET$/), 1],
    [{ kind: 'status-after', status: 504 }, unknown(/^HTTP_504$/), 1],
    [{ kind: 'late', ms: 60_000, answer: 502 }, unknown(/^HTTP_502$/), 0],
    [{ kind: 'status-before', status: 429 }, { kind: 'rate_limited' }, 0],
  ])('a purchase is sent once, whatever the answer: %j', async (fault, reply, applied) => {
    vapi.faults.add(fault);
    expect(await voice.phoneNumbers.create({ provider: 'vapi', numberDesiredAreaCode: '628' })).toMatchObject(
      reply,
    );
    expect(vapi.requests).toHaveLength(1);
    expect(vapi.phoneNumbers.all()).toHaveLength(applied);
  });
});

describe('files', () => {
  test('are uploaded as a multipart form with every byte, read, listed and deleted, and no answer has an address', async () => {
    const made = await ok(voice.files.upload(FILE));
    expect(made).toMatchObject({
      status: 'processing',
      name: FILE.name,
      originalName: FILE.name,
      mimetype: 'application/pdf',
      bytes: CONTENT.length,
      purpose: 'assistant',
      metadata: FILE.metadata,
    });
    vapi.configure({ fileProcessingMs: 0 });
    const answers = [
      made,
      await ok(voice.files.get(made.id)),
      ...(await ok(voice.files.list())),
      await ok(voice.files.remove(made.id)),
    ];
    expect(answers.map(({ status }) => status)).toEqual(['processing', 'done', 'done', 'done']);
    for (const answer of answers) {
      expect(answer).not.toHaveProperty('url');
      expect(answer).not.toHaveProperty('parsedTextUrl');
    }
    expect(sent()).toEqual([
      {
        ...{ method: 'POST', path: '/file', query: '' },
        body: {
          file: {
            ...{ name: FILE.name, type: FILE.contentType, bytes: CONTENT.length },
            sha256: createHash('sha256').update(CONTENT).digest('hex'),
          },
          purpose: 'assistant',
          metadata: JSON.stringify(FILE.metadata),
        },
      },
      { method: 'GET', path: `/file/${made.id}`, query: '', body: undefined },
      { method: 'GET', path: '/file', query: 'purpose=assistant', body: undefined },
      { method: 'DELETE', path: `/file/${made.id}`, query: '', body: undefined },
    ]);
    expect(await voice.files.get(made.id)).toEqual({ kind: 'gone' });
  });

  test('an upload has its own timeout, also for the silence before the answer', async () => {
    expect(voice.files.uploadTimeoutMs).toBe(60_000);
    vapi.faults.add({ kind: 'latency', ms: 1_500, times: 2 });
    const impatient = provider({ timeoutMs: 500 });
    expect(await impatient.files.upload(FILE)).toMatchObject({ kind: 'ok' });
    expect(await impatient.files.list()).toMatchObject(timedOut);
  });

  test.each<[FaultInput, object, number]>([
    [{ kind: 'hang-after' }, timedOut, 1],
    [{ kind: 'slow-body', ms: 60_000 }, timedOut, 1],
    [{ kind: 'reset-after' }, unknown(/^ECONNRESET$/), 1],
    [{ kind: 'reset-before' }, unknown(/^(ECONNRESET|EPIPE)$/), 0],
    [{ kind: 'status-after', status: 500 }, unknown(/^HTTP_500$/), 1],
    [{ kind: 'html-502' }, unknown(/^HTTP_502$/), 0],
    [{ kind: 'garbled-body' }, unknown(/^UNREADABLE_BODY$/), 1],
    [{ kind: 'late', ms: 60_000, answer: 'hang' }, timedOut, 0],
    [{ kind: 'reject', messages: 'Invalid file' }, { kind: 'refused', messages: ['Invalid file'] }, 0],
  ])('an upload is sent once, whatever the answer: %j', async (fault, reply, applied) => {
    vapi.faults.add(fault);
    const asked = reply === timedOut ? provider({ uploadTimeoutMs: 800 }) : voice;
    expect(await asked.files.upload(FILE)).toMatchObject(reply);
    expect(vapi.requests).toHaveLength(1);
    expect(vapi.files.all()).toHaveLength(applied);
    // A late upload arrives complete.
    if (fault.kind === 'late') {
      vapi.applyLate();
      expect(vapi.files.all()).toMatchObject([{ bytes: CONTENT.length, metadata: FILE.metadata }]);
    }
  });
});

test('tools are created, read, updated, listed and deleted', async () => {
  const made = await ok(voice.tools.create(TOOL));
  expect(made).toMatchObject(TOOL);
  const knowledgeBases = [{ name: 'ls1-b', provider: 'google', description: 'b', fileIds: [] }];
  expect(await ok(voice.tools.update(made.id, { knowledgeBases }))).toMatchObject({
    ...TOOL,
    knowledgeBases,
  });
  const read = await ok(voice.tools.get(made.id));
  expect(await ok(voice.tools.list({ limit: 1_000 }))).toEqual([read]);
  expect(await ok(voice.tools.remove(made.id))).toEqual(read);
  expect(await voice.tools.get(made.id)).toEqual({ kind: 'gone' });
  expect(sent().map(({ method, path, query }) => `${method} ${path} ${query}`)).toEqual([
    'POST /tool ',
    `PATCH /tool/${made.id} `,
    `GET /tool/${made.id} `,
    'GET /tool limit=1000',
    `DELETE /tool/${made.id} `,
    `GET /tool/${made.id} `,
  ]);
});

const methods: Record<string, (asked: VoiceProvider, id: string) => Promise<ProviderReply<unknown>>> = {
  'phoneNumbers.get': (asked, id) => asked.phoneNumbers.get(id),
  'phoneNumbers.update': (asked, id) => asked.phoneNumbers.update(id, {}),
  'phoneNumbers.remove': (asked, id) => asked.phoneNumbers.remove(id),
  'files.get': (asked, id) => asked.files.get(id),
  'files.remove': (asked, id) => asked.files.remove(id),
  'tools.get': (asked, id) => asked.tools.get(id),
  'tools.update': (asked, id) => asked.tools.update(id, {}),
  'tools.remove': (asked, id) => asked.tools.remove(id),
};
test.each(Object.entries(methods))(
  '%s sends no request for an id that would name another resource',
  async (_name, ask) => {
    for (const id of ['../assistant', '..', '', 'a/b', 'a?b']) {
      expect(await ask(voice, id)).toMatchObject({ kind: 'refused' });
    }
    expect(vapi.requests).toEqual([]);
  },
);

test('a refused key is reported by every method', async () => {
  vapi.setKeys([{ key: 'another' }]);
  const all = [
    ...Object.values(methods).map((ask) => ask(voice, ID)),
    voice.phoneNumbers.create(NUMBER),
    voice.phoneNumbers.list({}),
    voice.files.upload(FILE),
    voice.files.list(),
    voice.tools.create(TOOL),
    voice.tools.list({}),
  ];
  for (const reply of await Promise.all(all)) expect(reply).toEqual({ kind: 'unauthorized', status: 401 });
  vapi.setKeys([{ key: KEY }]);
});

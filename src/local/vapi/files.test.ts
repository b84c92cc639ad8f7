import { createHash } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { JsonObject } from './json.ts';
import { DEFAULT_VAPI_ORG_ID, startVapiStandIn, type VapiStandIn } from './server.ts';

const KEY = 'key-for-tests';
const UNKNOWN_ID = '00000000-0000-4000-8000-000000000001';
const TEXT = 'We are open from nine to five.';
const METADATA = { lockstep: { documentId: 'd' } };

let now = Date.UTC(2026, 0, 1);
let standIn: VapiStandIn;
beforeAll(async () => {
  standIn = await startVapiStandIn({ key: KEY, clock: () => now, settings: { fileProcessingMs: 60_000 } });
});
beforeEach(() => standIn.reset());
afterAll(() => standIn.stop());

async function call(
  method: string,
  path: string,
  body: BodyInit | null = null,
): Promise<{ status: number; body: ReturnType<typeof JSON.parse> }> {
  const headers = { authorization: `Bearer ${KEY}` };
  const response = await fetch(standIn.url + path, { method, headers, body });
  return { status: response.status, body: JSON.parse(await response.text()) };
}

/** `null` leaves a part out. */
function upload({
  name = 'ls1-Jb7vC2nMS0eXq9wD4hZtRA.txt',
  text = TEXT,
  purpose = 'assistant',
  metadata = JSON.stringify(METADATA),
}: {
  name?: string;
  text?: string | null;
  purpose?: string | null;
  metadata?: string | null;
} = {}) {
  const form = new FormData();
  if (text !== null) form.set('file', new Blob([text], { type: 'text/plain' }), name);
  if (purpose !== null) form.set('purpose', purpose);
  if (metadata !== null) form.set('metadata', metadata);
  return call('POST', '/file', form);
}
const refused = (message: unknown) => ({
  status: 400,
  body: { message, error: 'Bad Request', statusCode: 400 },
});

describe('an upload', () => {
  test('answers a file that is processing; it is done when its time is over', async () => {
    const { status, body } = await upload();
    expect(status).toBe(201);
    expect(body).toMatchObject({
      orgId: DEFAULT_VAPI_ORG_ID,
      object: 'file',
      status: 'processing',
      name: 'ls1-Jb7vC2nMS0eXq9wD4hZtRA.txt',
      originalName: 'ls1-Jb7vC2nMS0eXq9wD4hZtRA.txt',
      bytes: TEXT.length,
      purpose: 'assistant',
      mimetype: 'text/plain',
      metadata: METADATA,
      url: expect.stringMatching(/^https:/),
    });
    expect((await call('GET', `/file/${body.id}`)).body).toEqual(body);
    now += 60_000;
    expect((await call('GET', `/file/${body.id}`)).body).toMatchObject({
      status: 'done',
      parsedTextBytes: 30,
    });
  });

  test('can fail, without a reason, or never end', async () => {
    standIn.configure({ fileOutcome: 'failed', fileProcessingMs: 0 });
    const { body: failed } = await upload();
    expect(failed).toMatchObject({ status: 'failed' });
    standIn.configure({ fileOutcome: 'never' });
    const { body: stuck } = await upload();
    expect((await call('GET', `/file/${stuck.id}`)).body).toMatchObject({ status: 'processing' });
  });

  test('twice makes two files', async () => {
    const ids = [(await upload()).body.id, (await upload()).body.id];
    expect(new Set(ids).size).toBe(2);
  });

  test('is recorded with its size and hash, without its content', async () => {
    await upload();
    const sha256 = createHash('sha256').update(TEXT).digest('hex');
    expect(standIn.requests[0]?.body).toEqual({
      file: { name: 'ls1-Jb7vC2nMS0eXq9wD4hZtRA.txt', type: 'text/plain', bytes: TEXT.length, sha256 },
      purpose: 'assistant',
      metadata: JSON.stringify(METADATA),
    });
  });

  test.each<[string, Parameters<typeof upload>[0], unknown]>([
    ['without a file', { text: null }, ['file must be an object']],
    ['that is empty', { text: '' }, expect.stringMatching(/^Invalid file/)],
    [
      'with an unknown purpose',
      { purpose: 'fun' },
      ['purpose must be one of the following values: assistant, composer-attachment, knowledge-base-v2'],
    ],
    ['with metadata that is not JSON', { metadata: '{' }, ['metadata must be a JSON object']],
    ['with metadata that is not an object', { metadata: '[]' }, ['metadata must be a JSON object']],
    [
      'with long metadata',
      { metadata: JSON.stringify({ a: 'x'.repeat(4096) }) },
      ['metadata must be shorter than or equal to 4096 characters'],
    ],
  ])('%s is refused', async (_name, given, message) => {
    expect(await upload(given)).toEqual(refused(message));
    expect(standIn.files.all()).toEqual([]);
  });

  test('that is not a form is refused', async () => {
    expect(await call('POST', '/file', '{"file":{"name":"a"}}')).toEqual(
      refused(expect.stringMatching(/^Invalid file/)),
    );
  });

  test('of a large file or with a long name does as the settings say', async () => {
    standIn.configure({ maxFileBytes: 29 });
    expect(await upload()).toEqual(refused(expect.stringMatching(/more than 29 bytes/)));
    standIn.configure({ maxFileBytes: 30 });
    const name = `${'x'.repeat(50)}.txt`;
    expect((await upload({ name })).body).toMatchObject({ name: 'x'.repeat(40), originalName: name });
    standIn.configure({ longFileNames: 'refused' });
    expect((await upload({ name })).status).toBe(400);
  });
});

describe('the list', () => {
  test('needs a purpose, and has every file with it', async () => {
    const ids: string[] = [];
    for (let index = 0; index < 101; index++) {
      ids.push(standIn.files.create(DEFAULT_VAPI_ORG_ID, { purpose: 'assistant' }).id);
    }
    await upload({ purpose: null });
    const { body } = await call('GET', '/file?purpose=assistant');
    expect(body.map(({ id }: { id: string }) => id).sort()).toEqual(ids.sort());
    expect((await call('GET', '/file?purpose=knowledge-base-v2')).body).toEqual([]);
    expect(await call('GET', '/file')).toEqual(refused(['purpose must be a string']));
    expect((await call('GET', '/file?purpose=assistant&limit=5')).status).toBe(400);
    standIn.configure({ fileListWithoutPurpose: 'all' });
    expect((await call('GET', '/file')).body).toHaveLength(102);
  });

  test('leaves out new files while it lags', async () => {
    standIn.configure({ listLagMs: 1_000 });
    const { body } = await upload();
    expect((await call('GET', '/file?purpose=assistant')).body).toEqual([]);
    now += 1_000;
    expect((await call('GET', '/file?purpose=assistant')).body).toEqual([body]);
  });
});

test('PATCH takes the name alone', async () => {
  const { id } = (await upload()).body;
  const patch = (body: JsonObject) => call('PATCH', `/file/${id}`, JSON.stringify(body));
  expect((await patch({ name: 'other' })).body).toMatchObject({ name: 'other', metadata: METADATA });
  expect(await patch({ metadata: {} })).toEqual(refused(['property metadata should not exist']));
  expect(await patch({ name: '' })).toEqual(refused(['name must be longer than or equal to 1 characters']));
});

test('DELETE answers the deleted file, whose id stays in the tools that name it, or refuses as the setting says', async () => {
  const file = (await upload()).body;
  const knowledgeBases = [{ name: 'a', provider: 'google', description: 'b', fileIds: [file.id] }];
  const tool = standIn.tools.create(DEFAULT_VAPI_ORG_ID, { type: 'query', knowledgeBases });
  standIn.configure({ fileInUse: 'refused' });
  expect((await call('DELETE', `/file/${file.id}`)).status).toBe(400);
  standIn.configure({ fileInUse: 'deleted' });
  expect(await call('DELETE', `/file/${file.id}`)).toEqual({ status: 200, body: file });
  expect((await call('GET', `/tool/${tool.id}`)).body).toMatchObject({ knowledgeBases });
  for (const id of [file.id, UNKNOWN_ID]) expect((await call('GET', `/file/${id}`)).status).toBe(404);
});

test('faults apply to uploads too, and can be selected by the content', async () => {
  standIn.faults.add({
    kind: 'status-after',
    status: 504,
    match: { path: '^/file$', bodyIncludes: 'nine to five' },
  });
  expect((await upload({ text: 'something else' })).status).toBe(201);
  expect((await upload()).status).toBe(504);
  standIn.faults.add({ kind: 'wrong-body', path: 'metadata.lockstep.documentId', value: 'changed' });
  expect((await upload()).body).toMatchObject({ metadata: { lockstep: { documentId: 'changed' } } });
  expect(standIn.files.all()).toHaveLength(3);
});

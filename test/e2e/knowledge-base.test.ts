/** Documents over real HTTP: uploaded, read by Vapi, published, found twice, refused, removed. The jobs run when a test says so. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { stampedName } from '../../src/domain/phone-numbers/stamp.ts';
import { DEFAULT_VAPI_ORG_ID } from '../../src/local/vapi/server.ts';
import { QUERY_TOOL_MAPPING_VERSION, renderQueryTool } from '../../src/services/knowledge-base/query-tool.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';

const ANSWER = `
  __typename
  ... on KnowledgeBaseDocumentSuccess { document { id name contentType sizeBytes state failure } operation { id status } }
  ... on Error { message }
  ... on ValidationError { issues { path message } }
  ... on OperationFailedError { retryable operation { id status } }
  ... on IdempotencyConflictError { saveId }
`;
const UPLOAD = `mutation ($input: UploadKnowledgeBaseDocumentInput!) {
  answer: uploadKnowledgeBaseDocument(input: $input) { ${ANSWER} ... on AllowanceExceededError { allowance used } } }`;
const REMOVE = `mutation ($input: RemoveKnowledgeBaseDocumentInput!) {
  answer: removeKnowledgeBaseDocument(input: $input) { ${ANSWER} } }`;
const READ = `query ($id: ID!) { knowledgeBaseDocument(id: $id) { name state failure } }`;

interface Answer {
  __typename: string;
  message?: string;
  document?: { id: string; name: string; contentType: string; sizeBytes: number; state: string };
  operation?: { id: string; status: string };
  issues?: { path: string; message: string }[];
}

let lockstep: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp();
});
afterAll(() => lockstep?.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  lockstep.vapi.configure({ fileProcessingMs: 0 });
  // What other tests have left is not in Vapi any more.
  const { sql } = lockstep.supabase;
  await sql`update public.knowledge_base_documents set state = 'REMOVED', vapi_file_id = null, check_at = null`;
  await sql`delete from lockstep.query_tools`;
  caller = await lockstep.newCaller();
});

const PREFLIGHT = { 'graphql-require-preflight': '1' };

function formOf(name: string, content: string | Uint8Array<ArrayBuffer>, input: object = {}): FormData {
  const form = new FormData();
  form.set('operations', JSON.stringify({ query: UPLOAD, variables: { input: { ...input, file: null } } }));
  form.set('map', JSON.stringify({ 0: ['variables.input.file'] }));
  form.set('0', new Blob([content]), name);
  return form;
}

const send = (body: FormData, headers: Record<string, string> = {}) =>
  fetch(lockstep.url, {
    method: 'POST',
    headers: { authorization: `Bearer ${caller.token}`, ...PREFLIGHT, ...headers },
    body,
  });

async function upload(
  name: string,
  content: string | Uint8Array<ArrayBuffer>,
  input: object = {},
): Promise<Answer> {
  const response = await send(formOf(name, content, input));
  const { data, errors } = (await response.json()) as { data?: { answer: Answer } | null; errors?: unknown };
  if (!data) throw new Error(JSON.stringify(errors));
  return data.answer;
}

async function uploaded(name: string, content: string | Uint8Array<ArrayBuffer>) {
  const { document, operation, ...rest } = await upload(name, content);
  if (document === undefined || operation === undefined) throw new Error(JSON.stringify(rest));
  return { document, operation };
}

async function remove(id: string, input: object = {}, by = caller): Promise<Answer> {
  const { answer } = await by.client.request<{ answer: Answer }>(REMOVE, { input: { id, ...input } });
  return answer;
}

async function stateOf(id: string, by = caller): Promise<string | null> {
  const { knowledgeBaseDocument } = await by.client.request<{
    knowledgeBaseDocument: { state: string } | null;
  }>(READ, { id });
  return knowledgeBaseDocument?.state ?? null;
}

/** Everything that is to be looked at later is due now. Then the job runs. */
async function work(): Promise<void> {
  const { sql } = lockstep.supabase;
  await sql`update public.knowledge_base_documents set check_at = now() where check_at is not null`;
  await sql`update lockstep.query_tools set check_at = now() where check_at is not null`;
  await lockstep.app.workOnKnowledgeBase();
}

const listed = () =>
  [...lockstep.vapi.tools.all()].map(({ id, knowledgeBases }) => ({
    id,
    fileIds: (knowledgeBases as { fileIds: string[] }[]).flatMap(({ fileIds }) => fileIds),
  }));
const fileIds = () => [...lockstep.vapi.files.all()].map(({ id }) => id);

const HOURS = 'Open from nine to five.';

describe('a document', () => {
  test('is PROCESSING when it is uploaded, READY once Vapi has read it, and published in one tool', async () => {
    lockstep.vapi.configure({ fileProcessingMs: 3_600_000 });
    const { document, operation } = await uploaded('Hours.txt', HOURS);
    expect(document).toEqual({
      ...{ id: document.id, name: 'Hours.txt', contentType: 'text/plain', sizeBytes: HOURS.length },
      ...{ state: 'PROCESSING', failure: null },
    });
    expect(operation.status).toBe('COMMITTED');
    await work();
    expect(await stateOf(document.id)).toBe('PROCESSING');
    expect(listed()).toEqual([]);

    lockstep.vapi.configure({ fileProcessingMs: 0 });
    await work();
    expect(await stateOf(document.id)).toBe('READY');
    expect(listed()).toEqual([{ id: expect.any(String), fileIds: fileIds() }]);
    const { operation: read } = await caller.client.request<{ operation: unknown }>(
      'query ($id: ID!) { operation(id: $id) { __typename id status } }',
      { id: operation.id },
    );
    expect(read).toEqual({ __typename: 'ResourceOperation', id: operation.id, status: 'COMMITTED' });
  });

  test('never shows the address of its file, or Vapi’s id of it', async () => {
    const response = await send(formOf('Hours.txt', HOURS));
    const text = await response.text();
    for (const id of fileIds()) expect(text).not.toContain(id);
    expect(text).not.toContain('http');
  });

  test('with the same content is the existing one, whatever it is called', async () => {
    const { document } = await uploaded('Hours.txt', HOURS);
    const again = await upload('Copy.md', HOURS);
    expect(again).toMatchObject({
      ...{ __typename: 'KnowledgeBaseDocumentSuccess', operation: { status: 'COMMITTED' } },
      document: { id: document.id, name: 'Hours.txt' },
    });
    expect(fileIds()).toHaveLength(1);
  });

  test('is uploaded once for one idempotency key, and the same answer is given again', async () => {
    const input = { idempotencyKey: 'key', name: 'Opening hours' };
    const first = await upload('Hours.txt', HOURS, input);
    expect(await upload('Hours.txt', HOURS, input)).toEqual(first);
    expect(fileIds()).toHaveLength(1);
    expect(await upload('Hours.txt', 'Other content.', input)).toMatchObject({
      ...{ __typename: 'IdempotencyConflictError', saveId: first.operation?.id },
    });
  });

  test('that Vapi refuses has failed, and the same key gives the same answer', async () => {
    lockstep.vapi.faults.add({ kind: 'reject', messages: 'no', match: { method: 'POST', path: '/file' } });
    const first = await upload('Hours.txt', HOURS, { idempotencyKey: 'key' });
    expect(first).toMatchObject({ __typename: 'OperationFailedError', operation: { status: 'ROLLED_BACK' } });
    expect(await upload('Hours.txt', HOURS, { idempotencyKey: 'key' })).toEqual(first);
    expect(fileIds()).toEqual([]);
  });

  test('is removed from the tool first, and from Vapi then; the last one takes the tool with it', async () => {
    const { document: stays } = await uploaded('Prices.csv', 'a,b\n1,2\n');
    const { document: goes } = await uploaded('Hours.txt', HOURS);
    await work();
    const [tool] = listed();
    expect(tool?.fileIds).toHaveLength(2);

    expect(await remove(goes.id, { idempotencyKey: 'key' })).toMatchObject({
      ...{ document: { id: goes.id, state: 'REMOVING' }, operation: { status: 'COMMITTED' } },
    });
    await work();
    expect(await stateOf(goes.id)).toBe('REMOVED');
    expect(listed()).toEqual([{ id: tool?.id, fileIds: fileIds() }]);
    expect(fileIds()).toHaveLength(1);
    expect(await remove(goes.id, { idempotencyKey: 'key' })).toMatchObject({
      document: { state: 'REMOVING' },
    });
    expect(await remove(goes.id)).toMatchObject({ document: { state: 'REMOVED' } });

    await remove(stays.id);
    await work();
    expect(await stateOf(stays.id)).toBe('REMOVED');
    expect([listed(), fileIds()]).toEqual([[], []]);
  });

  test('of another organization is not found', async () => {
    const { document } = await uploaded('Hours.txt', HOURS);
    const stranger = await lockstep.newCaller();
    expect(await stateOf(document.id, stranger)).toBeNull();
    for (const id of [document.id, 'x']) {
      expect(await remove(id, {}, stranger)).toMatchObject({
        ...{ __typename: 'ValidationError', issues: [{ path: 'input.id' }] },
      });
    }
    expect(await stateOf(document.id)).toBe('PROCESSING');
  });

  test('beyond the allowance is refused', async () => {
    await lockstep.supabase.sql`
      insert into lockstep.allowances (org_id, numbers, documents, bytes) values (${caller.orgId}, 5, 1, 1000)`;
    expect(await upload('Long.txt', 'x'.repeat(1_001))).toMatchObject({
      ...{ __typename: 'AllowanceExceededError', allowance: 1_000, used: 0 },
    });
    await uploaded('Hours.txt', HOURS);
    expect(await upload('Prices.csv', 'a,b')).toMatchObject({
      ...{ __typename: 'AllowanceExceededError', allowance: 1, used: 1 },
    });
    expect(fileIds()).toHaveLength(1);
  });

  test('whose file somebody deletes in Vapi is uploaded again from our bytes', async () => {
    const { document } = await uploaded('Hours.txt', HOURS);
    await work();
    const [deleted = ''] = fileIds();
    lockstep.vapi.dashboardDelete(deleted);
    await lockstep.app.sweepKnowledgeBase();
    expect(await stateOf(document.id)).toBe('MISSING');
    await work();
    await work();
    expect(await stateOf(document.id)).toBe('READY');
    expect(fileIds()).not.toEqual([deleted]);
    expect(listed()).toEqual([{ id: expect.any(String), fileIds: fileIds() }]);
  });
});

test('the sweep asks for two lists, and for nothing of a single organization', async () => {
  for (const name of ['One', 'Two', 'Three']) {
    caller = await lockstep.newCaller();
    await uploaded(`${name}.txt`, name);
  }
  await work();
  const before = lockstep.vapi.requests.length;
  expect(await lockstep.app.sweepKnowledgeBase()).toMatchObject({
    stopped: null,
    missingFiles: 0,
    repairedTools: 0,
  });
  expect(lockstep.vapi.requests.slice(before).map(({ method, path }) => `${method} ${path}`)).toEqual([
    'GET /file',
    'GET /tool',
  ]);
});

describe('refuses', () => {
  test.each([
    ['an executable', 'Report.pdf', new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0])],
    ['an executable that is called text', 'Notes.txt', new Uint8Array([0x4d, 0x5a, 0x90, 0, 3])],
    [
      'an archive that is called a document of Word',
      'Plan.docx',
      new Uint8Array([0x50, 0x4b, 3, 4, 0, 0, 0, 0]),
    ],
    ['text that is called a PDF', 'Plan.pdf', 'plain text'],
    ['what no document is called', 'run.exe', 'plain text'],
    ['JSON that is none', 'data.json', '{'],
    ['an empty file', 'Notes.txt', ''],
    ['a file that is too large', 'Notes.txt', 'x'.repeat(5 * 2 ** 20 + 1)],
  ])('%s', async (_what, name, content) => {
    expect(await upload(name, content)).toMatchObject({
      ...{ __typename: 'ValidationError', issues: [{ path: 'input.file' }] },
    });
    expect(lockstep.vapi.requests).toEqual([]);
  });

  test('a multipart request without the header that a form of another site cannot send', async () => {
    const response = await fetch(lockstep.url, {
      ...{ method: 'POST', headers: { authorization: `Bearer ${caller.token}` } },
      body: formOf('Hours.txt', HOURS),
    });
    expect(response.status).toBe(415);
    expect(fileIds()).toEqual([]);
  });

  test.each([
    ['no token', ''],
    ['a token that is not valid', 'Bearer x.y.z'],
  ])('a multipart request with %s before it reads the body', async (_what, authorization) => {
    // Nothing of the body is ever sent: only a server that does not wait for it can answer.
    const request = httpRequest(lockstep.url, {
      method: 'POST',
      headers: {
        ...{ 'content-type': 'multipart/form-data; boundary=x', 'content-length': 1_000, ...PREFLIGHT },
        ...(authorization === '' ? {} : { authorization }),
      },
    });
    request.on('error', () => {});
    request.flushHeaders();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    request.destroy();
    expect(response.statusCode).toBe(401);
  });

  test('a multipart body that is larger than a document, and JSON of that size as before', async () => {
    const response = await send(formOf('Notes.txt', 'x'.repeat(7 * 2 ** 20)));
    expect(response.status).toBe(413);
    const json = await fetch(lockstep.url, {
      method: 'POST',
      headers: { authorization: `Bearer ${caller.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query: '{ __typename }', variables: { x: 'x'.repeat(3 * 2 ** 20) } }),
    });
    expect(json.status).toBe(413);
  });

  const query = `mutation { __typename }`;
  test.each<[string, Record<string, string | Blob>]>([
    ['without operations', { map: '{"0": ["variables.file"]}', 0: new Blob(['x']) }],
    ['whose operations are a list', { operations: '[]', map: '{}', 0: new Blob(['x']) }],
    [
      'whose operations are nested too deeply',
      { operations: '['.repeat(100), map: '{}', 0: new Blob(['x']) },
    ],
    ['without a map', { operations: JSON.stringify({ query }), 0: new Blob(['x']) }],
    ['that maps no file', { operations: JSON.stringify({ query }), map: '{"1": ["variables.file"]}' }],
    [
      'that maps the file to what is not a variable',
      {
        operations: JSON.stringify({ query, extensions: { x: null } }),
        map: '{"0": ["extensions.x"]}',
        0: new Blob(['x']),
      },
    ],
    [
      'that maps the file to a property of every object',
      {
        operations: JSON.stringify({ query, variables: {} }),
        map: '{"0": ["variables.__proto__.x"]}',
        0: new Blob(['x']),
      },
    ],
    ['of many parts', Object.fromEntries([...Array(20).keys()].map((n) => [`field ${n}`, 'x']))],
  ])('a multipart body %s', async (_what, fields) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    const response = await send(form);
    expect(response.status).toBe(400);
  });

  test('a file in a JSON request', async () => {
    await expect(caller.client.request(UPLOAD, { input: { file: { name: 'x', size: 1 } } })).rejects.toThrow(
      /multipart/,
    );
  });
});

describe('the sweeps of 1,000 organizations, each with a number, a file and a tool', () => {
  /** What is in step, in both systems. */
  async function inStep(count: number): Promise<void> {
    const { vapi, supabase } = lockstep;
    const rows = Array.from({ length: count }, (_, nth) => {
      const [orgId, documentId, sagaId] = [randomUUID(), randomUUID(), randomUUID()];
      const file = vapi.files.create(DEFAULT_VAPI_ORG_ID, {
        purpose: 'assistant',
        metadata: { lockstep: { deployment: randomUUID(), orgId, documentId, sagaId } },
      });
      const tool = vapi.tools.create(
        DEFAULT_VAPI_ORG_ID,
        renderQueryTool(QUERY_TOOL_MAPPING_VERSION, [file.id], sagaId) as never,
      );
      const digits = `+1415${5_000_000 + nth}`;
      const number = vapi.phoneNumbers.create(DEFAULT_VAPI_ORG_ID, {
        ...{ provider: 'twilio', number: digits, name: stampedName(sagaId) },
      });
      return { orgId, documentId, sagaId, fileId: file.id, toolId: tool.id, numberId: number.id, digits };
    });
    await supabase.sql`
      with r as (select * from jsonb_to_recordset(${supabase.sql.json(rows)}) as r ("orgId" uuid, "documentId" uuid, "sagaId" uuid,
          "fileId" text, "toolId" text, "numberId" text, digits text)),
        o as (insert into public.organizations (id, name) select "orgId", 'One of many' from r),
        n as (insert into public.phone_numbers (org_id, number, provider, state, vapi_phone_number_id, last_saga_id, mapping_version)
          select "orgId", digits, 'twilio', 'ACTIVE', "numberId", "sagaId", 1 from r),
        d as (insert into public.knowledge_base_documents (id, org_id, name, content_type, size_bytes, state, vapi_file_id, last_saga_id,
            was_ready) select "documentId", "orgId", 'a.txt', 'text/plain', 1, 'READY', "fileId", "sagaId", true from r)
      insert into lockstep.query_tools (org_id, tool_id, file_ids, revision, last_saga_id, mapping_version)
        select "orgId", "toolId", array["fileId"], 1, "sagaId", 1 from r`;
  }

  test('cost the lists of Vapi and a few database calls, and none for an organization', async () => {
    await inStep(1_000);
    const { vapi, app, supabase } = lockstep;
    supabase.requests.reset();
    expect(await app.sweepPhoneNumbers()).toMatchObject({ stopped: null, listed: 1_000, missing: 0 });
    expect(await app.sweepKnowledgeBase()).toMatchObject({
      ...{ stopped: null, files: 1_000, tools: 1_000, missingFiles: 0, repairedTools: 0 },
    });
    // A full page of 1,000 does not say whether it was the last one. Vapi has no pages of files.
    expect(vapi.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      ...['GET /phone-number', 'GET /phone-number', 'GET /file', 'GET /tool', 'GET /tool'],
    ]);
    const calls = supabase.requests.all.map(({ path }) => path.slice('/rest/v1/rpc/'.length));
    expect(calls.length).toBeLessThan(20);
  });
});

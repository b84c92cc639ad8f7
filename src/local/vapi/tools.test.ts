import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { differencesFrom, hasOpenApi } from '../../../test/support/vapi-openapi.ts';
import { tool as toolRule } from './fields/tool.ts';
import { fileUpdate } from './files.ts';
import type { JsonObject } from './json.ts';
import { caseOf } from './rules.ts';
import { startVapiStandIn, type VapiStandIn } from './server.ts';

const KEY = 'key-for-tests';
const UNKNOWN_ID = '00000000-0000-4000-8000-000000000001';
const BASE = { name: 'ls1-a', provider: 'google', description: 'Opening hours', fileIds: [UNKNOWN_ID] };
const QUERY = { type: 'query', function: { name: 'search_knowledge_base' }, knowledgeBases: [BASE] };

let standIn: VapiStandIn;
beforeAll(async () => {
  standIn = await startVapiStandIn({ key: KEY });
});
beforeEach(() => standIn.reset());
afterAll(() => standIn.stop());

async function call(
  method: string,
  path: string,
  body?: JsonObject,
): Promise<{ status: number; body: ReturnType<typeof JSON.parse> }> {
  const response = await fetch(standIn.url + path, {
    method,
    headers: { authorization: `Bearer ${KEY}` },
    body: body === undefined ? null : JSON.stringify(body),
  });
  return { status: response.status, body: JSON.parse(await response.text()) };
}
const create = async (fields: JsonObject = QUERY): Promise<string> =>
  (await call('POST', '/tool', fields)).body.id;
const refused = (message: unknown) => ({
  status: 400,
  body: { message, error: 'Bad Request', statusCode: 400 },
});

test('a query tool is created, read, listed and deleted', async () => {
  const { status, body } = await call('POST', '/tool', QUERY);
  expect(status).toBe(201);
  expect(body).toMatchObject(QUERY);
  expect(body).not.toHaveProperty('latestVersion');
  expect((await call('GET', `/tool/${body.id}`)).body).toEqual(body);
  expect((await call('GET', '/tool?limit=1000')).body).toEqual([body]);
  expect(await call('DELETE', `/tool/${body.id}`)).toEqual({ status: 200, body });
  expect((await call('GET', `/tool/${body.id}`)).status).toBe(404);
});

test('PATCH keeps absent fields and replaces knowledgeBases whole', async () => {
  const id = await create();
  const knowledgeBases = [{ ...BASE, name: 'ls1-b', fileIds: [] }];
  for (const body of [{ knowledgeBases }, { type: 'query', knowledgeBases }]) {
    expect((await call('PATCH', `/tool/${id}`, body)).body).toMatchObject({ ...QUERY, knowledgeBases });
  }
});

describe('refuses', () => {
  test.each<[string, JsonObject, unknown]>([
    ['no type', {}, [expect.stringMatching(/^type must be one of the following values: apiRequest, /)]],
    [
      'the tool of a knowledge base, which Vapi makes by itself',
      { type: 'knowledgeBase' },
      [expect.stringMatching(/^type must be one of/)],
    ],
    ['an unknown key', { ...QUERY, metadata: {} }, ['property metadata should not exist']],
    [
      'an incomplete knowledge base',
      { type: 'query', knowledgeBases: [{ name: 'a' }] },
      [
        'knowledgeBases.0.provider must be one of the following values: google',
        'knowledgeBases.0.description must be a string',
        'knowledgeBases.0.fileIds must be an array',
      ],
    ],
  ])('a POST with %s', async (_name, body, message) => {
    expect(await call('POST', '/tool', body)).toEqual(refused(message));
  });

  test('a PATCH with another type, an incomplete knowledge base or a read-only key', async () => {
    const id = await create();
    expect(await call('PATCH', `/tool/${id}`, { type: 'endCall' })).toEqual(refused(expect.any(String)));
    expect(await call('PATCH', `/tool/${id}`, { knowledgeBases: [{ ...BASE, fileIds: 'x' }] })).toEqual(
      refused(['knowledgeBases.0.fileIds must be an array']),
    );
    expect(await call('PATCH', `/tool/${id}`, { orgId: 'x' })).toEqual(
      refused(['property orgId should not exist']),
    );
    expect((await call('PATCH', `/tool/${UNKNOWN_ID}`, {})).status).toBe(404);
  });

  test('unknown and empty file ids, if the settings say so', async () => {
    standIn.configure({ unknownFileIds: 'refused', emptyFileIds: 'refused' });
    const empty = { ...QUERY, knowledgeBases: [{ ...BASE, fileIds: [] }] };
    expect(await call('POST', '/tool', QUERY)).toEqual(refused(expect.stringContaining(UNKNOWN_ID)));
    expect(await call('POST', '/tool', empty)).toEqual(refused(expect.any(String)));
    const id = await create({ type: 'query' });
    expect((await call('PATCH', `/tool/${id}`, { knowledgeBases: [BASE] })).status).toBe(400);
  });
});

test('the function of a query tool is kept, dropped or refused, as the setting says', async () => {
  standIn.configure({ queryToolFunction: 'dropped' });
  expect((await call('POST', '/tool', QUERY)).body).not.toHaveProperty('function');
  standIn.configure({ queryToolFunction: 'refused' });
  expect(await call('POST', '/tool', QUERY)).toEqual(refused(['property function should not exist']));
  // That of a function tool is its own field.
  expect((await call('POST', '/tool', { type: 'function', function: { name: 'a' } })).body).toMatchObject({
    function: { name: 'a' },
  });
});

test('DELETE leaves the id in the assistants that list the tool, and refuses a tool that is pinned to a version', async () => {
  const id = await create();
  const model = { provider: 'openai', model: 'gpt-4.1' };
  const listed = (await call('POST', '/assistant', { model: { ...model, toolIds: [id] } })).body;
  const pinning = (
    await call('POST', '/assistant', { model: { ...model, toolRefs: [{ toolId: id, version: 'v1' }] } })
  ).body;
  expect(await call('DELETE', `/tool/${id}`)).toEqual({
    status: 409,
    body: { error: 'tool_pinned', message: expect.any(String) },
  });
  await call('DELETE', `/assistant/${pinning.id}`);
  expect((await call('DELETE', `/tool/${id}`)).status).toBe(200);
  expect((await call('GET', `/assistant/${listed.id}`)).body.model.toolIds).toEqual([id]);
});

describe.skipIf(!hasOpenApi)("against Vapi's own OpenAPI (skipped where that file is not present)", () => {
  test.each([
    ['query', 'Query'],
    ['function', 'Function'],
    ['transferCall', 'TransferCall'],
    ['endCall', 'EndCall'],
  ])('the bodies of a %s tool have the same keys and limits', (type, name) => {
    const rule = caseOf(toolRule, type);
    if (!rule) throw new Error(`no rules for ${type}`);
    expect(differencesFrom(`Create${name}ToolDTO`, rule)).toEqual([]);
    expect(differencesFrom(`Update${name}ToolDTO`, { ...rule, required: [] })).toEqual([]);
  });

  test('a PATCH of a file has the same keys and limits', () => {
    expect(differencesFrom('UpdateFileDTO', fileUpdate)).toEqual([]);
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JsonObject } from './json.ts';
import { startVapiStandIn, type VapiStandIn } from './server.ts';

const KEY = 'key-for-tests';
const stamp = (revision: number) => ({ metadata: { lockstep: { revision } } });

let folder: string;
let standIn: VapiStandIn;
const start = () =>
  startVapiStandIn({
    ...{ key: KEY, dataFile: join(folder, 'vapi.jsonl') },
    settings: { assistantVersions: true },
  });
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vapi-stand-in-'));
  standIn = await start();
});
afterEach(async () => {
  await standIn.stop();
  await rm(folder, { recursive: true, force: true });
});

async function call(method: string, path: string, body?: JsonObject): Promise<ReturnType<typeof JSON.parse>> {
  const response = await fetch(standIn.url + path, {
    method,
    headers: { authorization: `Bearer ${KEY}` },
    body: body ? JSON.stringify(body) : null,
  });
  return response.json();
}
const create = async (fields: JsonObject = stamp(1)): Promise<string> =>
  (await call('POST', '/assistant', fields)).id;
const get = (id: string) => call('GET', `/assistant/${id}`);
const patch = (id: string, fields: JsonObject) => call('PATCH', `/assistant/${id}`, fields);

test('without the mode, an assistant has no version and a dashboard edit is live at once', async () => {
  standIn.configure({ assistantVersions: false });
  const id = await create();
  standIn.dashboardEdit(id, { firstMessage: 'Hi' });
  expect(await get(id)).toMatchObject({ firstMessage: 'Hi' });
  expect(await get(id)).not.toHaveProperty('latestVersion');
  expect(standIn.versions(id)).toEqual([]);
});

describe('a write through the API', () => {
  test('is live at once and a new version, unless it changes nothing', async () => {
    const created = await call('POST', '/assistant', stamp(1));
    expect(created).toMatchObject({ ...stamp(1), latestVersion: 'v1' });
    const { id } = created;
    expect(await patch(id, stamp(2))).toMatchObject({ ...stamp(2), latestVersion: 'v2' });
    expect(await patch(id, stamp(2))).toMatchObject({ latestVersion: 'v2' });
    expect(await get(id)).toMatchObject({ ...stamp(2), latestVersion: 'v2' });
    expect(standIn.versions(id)).toMatchObject([
      { version: 'v1', parentVersion: null, createdBy: null, content: stamp(1) },
      { version: 'v2', parentVersion: 'v1', createdBy: null, content: stamp(2) },
    ]);
  });

  test('of an assistant that is older than the mode makes its earlier content the first version', async () => {
    standIn.configure({ assistantVersions: false });
    const id = await create();
    standIn.configure({ assistantVersions: true });
    expect(await patch(id, stamp(2))).toMatchObject({ latestVersion: 'v2' });
    expect(standIn.versions(id)[0]).toMatchObject({ version: 'v1', content: stamp(1) });
  });

  test('keeps a pending draft, or discards it if the settings say so', async () => {
    const id = await create();
    standIn.dashboardEdit(id, { firstMessage: 'draft' });
    await patch(id, stamp(2));
    // The draft began before the write, and undoes it.
    expect(standIn.publishDraft(id)).toMatchObject({
      ...stamp(1),
      firstMessage: 'draft',
      latestVersion: 'v3',
    });
    standIn.configure({ draftAfterApiWrite: 'discarded' });
    standIn.dashboardEdit(id, { firstMessage: 'another' });
    await patch(id, stamp(3));
    expect(() => standIn.publishDraft(id)).toThrow('has no draft');
  });
});

describe('an edit in the dashboard', () => {
  test('is not live until it is published', async () => {
    const id = await create({ ...stamp(1), firstMessage: 'a' });
    const before = await get(id);
    expect(standIn.dashboardEdit(id, { firstMessage: 'b' })).toMatchObject({ baseVersion: 'v1' });
    standIn.dashboardEdit(id, { name: 'c' });
    expect(await get(id)).toEqual(before);
    expect(await call('GET', '/assistant')).toEqual([before]);
    const published = await call('POST', `/__stand-in/publish/${id}`);
    expect(published).toMatchObject({ ...stamp(1), firstMessage: 'b', name: 'c', latestVersion: 'v2' });
    expect(published.updatedAt > before.updatedAt).toBe(true);
    expect(await get(id)).toEqual(published);
    expect(standIn.versions(id).at(-1)).toMatchObject({ createdBy: 'person@example.test' });
  });

  test('that is older than the latest version is refused, if the settings say so', async () => {
    standIn.configure({ staleDraft: 'refused' });
    const id = await create();
    standIn.dashboardEdit(id, { name: 'c' });
    await patch(id, stamp(2));
    expect(() => standIn.publishDraft(id)).toThrow('is based on v1');
    expect(await get(id)).toMatchObject(stamp(2));
  });
});

test('a restore makes an old version live at once, with its old stamp and without newer fields', async () => {
  const id = await create();
  await patch(id, { ...stamp(2), firstMessage: 'new' });
  const restored = await call('POST', `/__stand-in/restore/${id}`, { version: 'v1' });
  expect(restored).toMatchObject({ ...stamp(1), latestVersion: 'v3' });
  expect(restored).not.toHaveProperty('firstMessage');
  expect(await get(id)).toEqual(restored);
  const listed = await call('GET', `/__stand-in/versions/${id}`);
  expect(listed.at(-1)).toMatchObject({ version: 'v3', restoredFromVersion: 'v1' });
  expect(() => standIn.restoreVersion(id, 'v9')).toThrow('has no version v9');
});

test('versions and the draft survive a restart, and end with their assistant', async () => {
  const id = await create();
  standIn.dashboardEdit(id, { name: 'c' });
  const before = standIn.versions(id);
  // Waits until the edit is in the file.
  await call('GET', `/__stand-in/versions/${id}`);
  await standIn.stop();
  standIn = await start();
  expect(standIn.versions(id)).toEqual(before);
  expect(standIn.publishDraft(id)).toMatchObject({ name: 'c', latestVersion: 'v2' });
  await call('DELETE', `/assistant/${id}`);
  expect(standIn.versions(id)).toEqual([]);
});

test('a call speaks with the latest version or with the one that it names, and says which', async () => {
  const id = await create({ ...stamp(1), firstMessage: 'old' });
  await patch(id, { ...stamp(2), firstMessage: 'new' });
  const latest = await standIn.playCall({ assistantId: id });
  expect(latest.call).toMatchObject({
    assistantVersion: 'v2',
    artifact: { transcript: expect.stringMatching(/^AI: new/) },
  });
  const pinned = async (assistantVersion: string) => {
    const { id: callId } = await call('POST', '/call/web', { assistantId: id, assistantVersion });
    return (await standIn.playCall({ callId })).call;
  };
  expect(await pinned('v1')).toMatchObject({
    assistantVersion: 'v1',
    artifact: { transcript: expect.stringMatching(/^AI: old/) },
  });
  expect(await pinned('v9')).toMatchObject({ endedReason: 'call.start.assistant-version-error-validation' });
});

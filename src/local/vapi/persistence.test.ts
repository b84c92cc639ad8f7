import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DEFAULT_VAPI_ORG_ID, startVapiStandIn, type VapiStandIn } from './server.ts';

const KEY = 'key-for-tests';

let folder: string;
let dataFile: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vapi-stand-in-'));
  dataFile = join(folder, 'inner', 'vapi.jsonl');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('the data file', () => {
  async function withStandIn<T>(use: (standIn: VapiStandIn) => T | Promise<T>): Promise<T> {
    const standIn = await startVapiStandIn({ key: KEY, dataFile });
    return Promise.resolve(use(standIn)).finally(() => standIn.stop());
  }

  test('restores all assistants in order, with nulls and with the fact that a secret is set', async () => {
    const before = await withStandIn(({ store }) => {
      const one = store.create(DEFAULT_VAPI_ORG_ID, {
        name: 'one',
        server: { url: 'https://a.example', secret: 'hush' },
      });
      const two = store.create(DEFAULT_VAPI_ORG_ID, { name: 'two', metadata: { é: [1, null] } });
      store.create('other', { name: 'three' });
      store.patch(DEFAULT_VAPI_ORG_ID, one.id, { name: null });
      store.dashboardDelete(two.id);
      store.dashboardEdit(one.id, { firstMessage: 'by hand' });
      return store.all();
    });
    expect(before).toHaveLength(2);
    const after = await withStandIn(({ store }) => store.all());
    expect(after).toEqual(before);
    expect(after[0]).toMatchObject({ name: null, isServerUrlSecretSet: true, firstMessage: 'by hand' });
    // Opening compacts the file to one line per assistant.
    expect((await readFile(dataFile, 'utf8')).trim().split('\n')).toHaveLength(2);
    expect(await readFile(dataFile, 'utf8')).not.toContain('hush');
    await withStandIn((standIn) => standIn.reset());
    expect(await withStandIn(({ store }) => store.all())).toEqual([]);
  });

  test('drops an incomplete last line, and does not append to it', async () => {
    const name = (standIn: VapiStandIn) => standIn.store.all().map((assistant) => assistant['name']);
    await withStandIn(({ store }) => store.create(DEFAULT_VAPI_ORG_ID, { name: 'whole' }));
    const line = (await readFile(dataFile, 'utf8')).trim();
    await appendFile(dataFile, line.slice(0, line.length / 2));
    expect(
      await withStandIn((standIn) => {
        standIn.store.create(DEFAULT_VAPI_ORG_ID, { name: 'next' });
        return name(standIn);
      }),
    ).toEqual(['whole', 'next']);
    expect(await withStandIn(name)).toEqual(['whole', 'next']);
  });

  test('reports a broken line that is not the last one', async () => {
    await withStandIn(({ store }) => store.create(DEFAULT_VAPI_ORG_ID, { name: 'whole' }));
    const text = await readFile(dataFile, 'utf8');
    await writeFile(dataFile, `{"op":\n${text}`);
    await expect(startVapiStandIn({ dataFile })).rejects.toThrow(/vapi\.jsonl:1 /);
    expect(await readFile(dataFile, 'utf8')).toContain(text);
    await writeFile(dataFile, '{"op":"put","assistant":{"id":"of another format"}}\n');
    await expect(startVapiStandIn({ dataFile })).rejects.toThrow(/delete the file/);
  });

  test('keeps phone numbers, and a number that waited for its activation becomes active after a restart', async () => {
    const fields = { provider: 'vapi', numberDesiredAreaCode: '628', name: 'ls1.x' };
    const waiting = await withStandIn(({ phoneNumbers }) => phoneNumbers.create(DEFAULT_VAPI_ORG_ID, fields));
    expect(waiting).toMatchObject({ status: 'activating' });
    const settings = { numberActivationMs: 0 };
    const again = await startVapiStandIn({ key: KEY, dataFile, settings });
    const active = again.phoneNumbers.all();
    await again.stop();
    expect(active).toMatchObject([
      { ...fields, id: waiting.id, status: 'active', number: expect.any(String) },
    ]);
    // Its digits are on disk too.
    expect(await withStandIn(({ phoneNumbers }) => phoneNumbers.all())).toEqual(active);
  });

  test('a second stand-in on the same port does not touch the file of the first; one on another port takes the file over and stops the first', async () => {
    await withStandIn(async (first) => {
      const create = async () => {
        const headers = { authorization: `Bearer ${KEY}` };
        return (await fetch(`${first.url}/assistant`, { method: 'POST', headers, body: '{}' })).status;
      };
      await expect(startVapiStandIn({ port: first.port, dataFile })).rejects.toMatchObject({
        code: 'EADDRINUSE',
      });
      expect(await create()).toBe(201);
      const second = await startVapiStandIn({ dataFile });
      expect(second.store.all()).toHaveLength(1);
      expect(await create()).toBe(500);
      await second.stop();
    }).catch((problem: unknown) => expect(String(problem)).toMatch(/another stand-in opened/));
    expect(await withStandIn(({ store }) => store.all())).toHaveLength(1);
  });

  test('keeps late writes too', async () => {
    await withStandIn(async (standIn) => {
      const { id } = standIn.store.create(DEFAULT_VAPI_ORG_ID, { name: 'before' });
      standIn.faults.add({ kind: 'late', ms: 60_000, answer: 504 });
      const headers = { authorization: `Bearer ${KEY}` };
      await fetch(`${standIn.url}/assistant/${id}`, { method: 'PATCH', headers, body: '{"name":"late"}' });
      standIn.applyLate();
    });
    expect(await withStandIn(({ store }) => store.all())).toMatchObject([{ name: 'late' }]);
  });
});

describe('as its own process', () => {
  const running: ChildProcess[] = [];
  afterEach(() => {
    for (const child of running.splice(0)) child.kill('SIGKILL');
  });

  async function start(...options: string[]): Promise<{ child: ChildProcess; url: string; key: string }> {
    const script = new URL('./cli.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, '--port', '0', ...options], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    running.push(child);
    if (!child.stdout) throw new Error('no stdout');
    const [line] = await once(createInterface(child.stdout), 'line');
    return { child, ...JSON.parse(line) };
  }

  test('kill -9 during writes loses no answered write', async () => {
    const { child, url, key } = await start();
    const headers = { authorization: `Bearer ${key}` };
    const answered: string[] = [];
    const write = async () => {
      for (;;) {
        const response = await fetch(`${url}/assistant`, { method: 'POST', headers, body: '{"name":"x"}' });
        const { id } = JSON.parse(await response.text());
        answered.push(id);
        if (answered.length === 60) child.kill('SIGKILL');
      }
    };
    await Promise.allSettled([write(), write(), write(), write()]);
    expect(answered.length).toBeGreaterThanOrEqual(60);

    const again = await start();
    expect(again.key).toBe(key);
    const response = await fetch(`${again.url}/assistant?limit=1000`, { headers });
    const found = new Set<string>(JSON.parse(await response.text()).map(({ id }: { id: string }) => id));
    expect(answered.filter((id) => !found.has(id))).toEqual([]);
    again.child.kill('SIGTERM');
    expect(await once(again.child, 'exit')).toEqual([0, null]);
  });

  test('accepts a key, or creates one and does not print it', async () => {
    const given = await start('--key', 'mine', '--data', 'a.jsonl');
    expect(given.key).toBe('mine');
    const [one, two] = await Promise.all([start('--data', 'b.jsonl'), start('--data', 'c.jsonl')]);
    expect(one.key).toBe(two.key);
    expect((await stat(join(folder, '.local/vapi-key'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, 'b.jsonl'))).isFile()).toBe(true);
  });

  test('exits with code 64 for an unknown option', async () => {
    const script = new URL('./cli.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, '--port', 'x'], { cwd: folder, stdio: 'ignore' });
    expect(await once(child, 'exit')).toEqual([64, null]);
  });
});

/**
 * Two canaries, the master key and the next one, through good saves, faults, recovery, sweeps and a rotation: whatever comes out
 * of the server is searched for them, in forms that are worked out here and not by the product.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Secret } from '../../src/domain/secret.ts';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { SAVE } from '../support/operations.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

/** Of characters that every encoding changes. */
const KEY = 'canary/7f3a9c51+master=key%&0b8e~!';
const NEXT_KEY = 'canary/2b7d4e10+next=key%&9f5a~!"<';
/** What an operator put into an assistant, in the Vapi dashboard. */
const TOOL_SECRET = 'whsec_4c1d8f77a2e9';
const PROMPT = 'prompt-marker-91e7';

/** Plain, URL-encoded, base64 and base64url at each alignment, hexadecimal, and inside JSON. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const forms = [
    secret,
    encodeURIComponent(secret),
    bytes.toString('hex'),
    JSON.stringify(secret).slice(1, -1),
  ];
  for (const before of [0, 1, 2]) {
    // Of each alignment, the characters that no neighbour has a part in.
    const whole = Buffer.concat([Buffer.alloc(before), bytes, Buffer.alloc(3)]);
    const from = before === 0 ? 0 : before + 1;
    const to = Math.floor(((before + bytes.length) * 4) / 3);
    forms.push(whole.toString('base64').slice(from, to), whole.toString('base64url').slice(from, to));
  }
  return [...new Set(forms)];
}

const FORMS = [...formsOf(KEY), ...formsOf(NEXT_KEY)];
/** By the kind of thing that comes out of a server: the texts of that kind. */
const sinks = new Map<string, string[]>();
const into = (sink: string, ...texts: string[]) =>
  void sinks.set(sink, [...(sinks.get(sink) ?? []), ...texts]);
const leaks = (secrets: readonly string[], from = sinks) =>
  [...from].flatMap(([sink, texts]) =>
    secrets.filter((form) => texts.some((text) => text.includes(form))).map((form) => `${sink}: ${form}`),
  );

let supabase: TestSupabase;
let vapi: VapiStandIn;
let lockstep: TestApp;
beforeAll(async () => {
  vi.spyOn(console, 'error').mockImplementation((...words) => into('standard error', inspect(words)));
  vi.spyOn(console, 'log').mockImplementation((...words) => into('standard output', inspect(words)));
  supabase = await createTestSupabase();
  vapi = await startVapiStandIn({ key: KEY });
  vapi.setKeys([{ key: KEY }, { key: NEXT_KEY }]);
  lockstep = await createTestApp({
    supabase,
    vapi,
    vapiKey: KEY,
    logLevel: 'trace',
    config: {
      pace: {
        requestsPerSecond: 1_000,
        burst: 1_000,
        reserve: 4,
        recoveryMs: 1_000,
        waitMs: 0,
        savesPerMinute: 1_000,
      },
    },
  });
  await everything();
});
afterAll(async () => {
  vi.restoreAllMocks();
  await lockstep?.stop();
  await vapi?.stop();
  await supabase?.stop();
});

async function ask(caller: Caller, query: string, variables: object = {}): Promise<string> {
  const response = await fetch(lockstep.url, {
    method: 'POST',
    headers: { authorization: `Bearer ${caller.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const text = await response.text();
  into('answers', inspect([...response.headers]), text);
  return text;
}
const saving = (caller: Caller, what: string) =>
  ask(caller, SAVE, {
    input: {
      inbound: { systemPrompt: `${PROMPT} ${what}` },
      outbound: { systemPrompt: `${PROMPT} out ${what}` },
    },
  });
const DRIFT = '{ agents { role sync { status drift { path ours theirs } } } }';

/** Whatever the server can be made to do, and everything that it says meanwhile. */
async function everything(): Promise<void> {
  // A gateway that repeats what it was sent, in every way that it might be read.
  const echo = `Authorization: Bearer ${KEY} refused`;
  const faults: FaultInput[] = [
    { kind: 'reject', messages: [echo, ...formsOf(KEY).filter((form) => !/^[0-9a-f]+$/.test(form))] },
    { kind: 'status-before', status: 400, body: { message: echo } },
    { kind: 'status-before', status: 401, body: { message: echo } },
    { kind: 'status-before', status: 403, body: echo },
    { kind: 'status-before', status: 404, body: echo },
    { kind: 'status-before', status: 429, body: { message: echo } },
    { kind: 'status-after', status: 500, body: echo },
    { kind: 'html-502' },
    { kind: 'reset-after' },
    { kind: 'reset-before' },
    { kind: 'hang-before' },
    { kind: 'empty-body' },
    { kind: 'garbled-body' },
    { kind: 'wrong-body', path: 'name', value: 'Other' },
    { kind: 'late', ms: 50 },
  ];
  for (const fault of faults) {
    const caller = await lockstep.newCaller();
    await saving(caller, 'first');
    vapi.faults.add({ ...fault, times: 2 } as FaultInput);
    await saving(caller, fault.kind);
    vapi.faults.clear();
    await ask(caller, DRIFT);
  }
  const caller = await lockstep.newCaller();
  await saving(caller, 'before the outages');
  for (const kind of ['reset', '503'] as const) {
    supabase.outage.begin(kind);
    await saving(caller, kind);
    supabase.outage.end();
  }
  supabase.faults.next('save_commit', { status: 400, body: { code: '22P02', message: echo } });
  await saving(caller, 'a refusal of the database');
  for (const path of ['/', '/health', '/ready', '/metrics', '/nothing', '/graphql?query={'])
    into(
      'other addresses',
      await (await fetch(`${lockstep.origin}${path}`, { headers: { accept: 'text/html' } })).text(),
    );

  // An operator writes secrets into assistants; one organization reverts such edits, the other would adopt them.
  const [revert, adopt] = [await lockstep.newCaller(), await lockstep.newCaller()];
  await saving(revert, 'to be reverted');
  await saving(adopt, 'to be adopted');
  await supabase.sql`select public.set_drift_policy(${adopt.orgId}, 'ADOPT')`;
  for (const assistant of vapi.store.all()) {
    const { metadata, model } = assistant as unknown as { metadata: object; model: object };
    vapi.dashboardEdit(String(assistant['id']), {
      metadata: { ...metadata, crmApiKey: TOOL_SECRET },
      model: {
        ...model,
        tools: [
          {
            type: 'function',
            server: { url: 'https://x.example', secret: TOOL_SECRET, headers: { 'x-a': TOOL_SECRET } },
          },
        ],
      } as never,
    });
  }
  await lockstep.app.sweep();
  for (const one of [revert, adopt]) await ask(one, DRIFT);
  await ask(
    adopt,
    'mutation { settleDrift(input: { role: INBOUND, resolution: ADOPT }) { __typename ... on Error { message } } }',
  );
  await lockstep.app.recover();

  vapi.setKeys([{ key: NEXT_KEY }]);
  await saving(caller, 'with a key that was revoked');
  expect(await lockstep.app.rotateKey(new Secret(NEXT_KEY))).toBe('ACTIVE');
  await saving(caller, 'with the next key');
  expect(vapi.requests.at(-1)).toMatchObject({ key: 'key-1', status: 200 });

  into('log at trace', ...lockstep.log);
  into('metrics', await (await fetch(`${lockstep.origin}/metrics`)).text());
  into('requests to Vapi but for the header', JSON.stringify(vapi.requests));
  into(
    'assistants in Vapi',
    JSON.stringify(vapi.store.all().map((one) => ({ ...one, model: null, metadata: null }))),
  );
  into(
    'debugger',
    inspect(lockstep.app, { depth: 30, showHidden: true, getters: true }),
    String(lockstep.app),
  );
  const tables = await supabase.sql<{ name: string; public: boolean }[]>`
    select c.oid::regclass::text as name, n.nspname = 'public' as public from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm') and n.nspname not in ('pg_catalog', 'information_schema')`;
  for (const table of tables) {
    const rows = await supabase.sql.unsafe<{ row: string }[]>(`select t::text as row from ${table.name} t`);
    into(table.public ? 'rows that clients read' : 'other rows', ...rows.map(({ row }) => row));
  }
  expect(tables.length).toBeGreaterThan(20);
}

test('the control: every form of a key would be found, wherever it stood', () => {
  for (const secret of [KEY, NEXT_KEY]) {
    for (const around of ['', 'a', 'ab', 'abc']) {
      const text = `${around}${secret}${around}`;
      for (const written of [
        text,
        encodeURIComponent(text),
        Buffer.from(text).toString('base64'),
        Buffer.from(text).toString('base64url'),
        Buffer.from(text).toString('hex'),
        JSON.stringify({ text }),
      ])
        expect(leaks(FORMS, new Map([['control', [`x ${written} y`]]])), written).not.toEqual([]);
    }
  }
  expect(vapi.requests.filter(({ key }) => key === 'key-1').length).toBeGreaterThan(50);
});

test('neither key is in any sink', () => {
  expect(leaks(FORMS)).toEqual([]);
  const searched = [...sinks].map(([sink, texts]) => `${sink} (${texts.join('').length} characters)`);
  expect(sinks.size).toBeGreaterThanOrEqual(9);
  vi.mocked(console.log).mockRestore();
  console.log(
    `key: ${FORMS.length} forms of 2 keys in ${sinks.size} kinds of sinks: ${searched.join(', ')}; none found`,
  );
});

test('no prompt is in the log, at any level', () => {
  const log = sinks.get('log at trace') ?? [];
  expect(
    log.filter((line) => line.includes('"level":10') || line.includes('"level":20')).length,
  ).toBeGreaterThan(5);
  expect(log.filter((line) => line.includes(PROMPT))).toEqual([]);
});

test('secrets inside assistants are in nothing that an organization reads: not in drift, not in history', () => {
  const read = new Map(
    [...sinks].filter(([sink]) => /answers|rows that clients read|log|metrics/.test(sink)),
  );
  expect([...read.values()].flat().join('')).toMatch(/crmApiKey/);
  expect([...read.values()].flat().join('')).toMatch(/\[redacted\]/);
  expect(leaks([TOOL_SECRET], read)).toEqual([]);
});

describe('a crash', () => {
  test.each([
    ['an exception that nobody caught', "throw new Error('planted')"],
    [
      'a promise that nobody caught',
      "Promise.reject(Object.assign(new Error('planted'), { env: process.env }))",
    ],
  ])('%s prints no key, and its report has none', async (_what, code) => {
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-crash-'));
    try {
      const preload = join(folder, 'preload.mjs');
      await writeFile(preload, `process.on('SIGUSR2', () => { ${code} });`);
      const child = spawn(
        process.execPath,
        [
          ...['--import', preload, '--trace-uncaught', '--report-uncaught-exception'],
          ...[`--report-directory=${folder}`, resolve(import.meta.dirname, '../../src/main.ts')],
        ],
        {
          stdio: ['ignore', 'pipe', 'pipe'],
          env: {
            PATH: process.env['PATH'],
            PORT: '0',
            LOG_LEVEL: 'trace',
            SUPABASE_URL: supabase.url,
            SUPABASE_PUBLISHABLE_KEY: supabase.publishableKey,
            SUPABASE_SECRET_KEY: supabase.secretKey,
            SUPABASE_JWT_SECRET: supabase.jwtSecret,
            VAPI_BASE_URL: vapi.url,
            VAPI_PRIVATE_KEY: KEY,
            VAPI_PRIVATE_KEY_NEXT: NEXT_KEY,
          },
        },
      );
      const output: string[] = [];
      for (const stream of [child.stdout, child.stderr])
        createInterface({ input: stream }).on('line', (line) => output.push(line));
      const closed = new Promise<number | null>((done) => child.once('close', (status) => done(status)));
      await expect.poll(() => output.join(''), { timeout: 30_000 }).toContain('listening');
      child.kill('SIGUSR2');
      expect(await closed).not.toBe(0);
      expect(output.join('\n')).toContain('planted');
      const reports = (await readdir(folder)).filter((name) => name.startsWith('report.'));
      expect(reports).toHaveLength(1);
      const report = await readFile(join(folder, reports[0] ?? ''), 'utf8');
      // It shows the environment; what was secret in there has been taken out.
      expect(report).toContain('VAPI_BASE_URL');
      const crash = new Map([
        ['output', output],
        ['report', [report]],
      ]);
      expect(leaks([...FORMS, supabase.secretKey, supabase.jwtSecret], crash)).toEqual([]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

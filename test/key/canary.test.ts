/**
 * Two canary keys, the master key and the next one, pass through saves, faults, recovery, sweeps and a rotation, and the token of a carrier's
 * account through imports of numbers. This test searches all output of the server for them, in forms that the test computes without the
 * product.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { createTokenVerifier } from '../../src/adapters/supabase/auth.ts';
import { createCallerClient, createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcAppointments } from '../../src/adapters/supabase/rpc-appointments.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { createTenantReads } from '../../src/adapters/supabase/tenant-reads.ts';
import { createLogger } from '../../src/adapters/system/logger.ts';
import { systemClock, systemIds, systemRandom } from '../../src/adapters/system/system.ts';
import { createVoiceProvider } from '../../src/adapters/vapi/got-voice-provider.ts';
import { KeyRing } from '../../src/adapters/vapi/key-ring.ts';
import { createContextFactory } from '../../src/context.ts';
import { Secret } from '../../src/domain/secret.ts';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import { Appointments } from '../../src/services/appointments/change.ts';
import { READ_LIMITS, ReadGate } from '../../src/services/reads/share-reads.ts';
import { type Caller, createTestApp, supabaseConfig, TEST_SETTINGS, type TestApp } from '../support/app.ts';
import { formsOf } from '../support/canary.ts';
import { closedPort } from '../support/network.ts';
import { SAVE } from '../support/operations.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

/** Consists of characters that every encoding changes. */
const KEY = 'canary/7f3a9c51+master=key%&0b8e~!';
const NEXT_KEY = 'canary/2b7d4e10+next=key%&9f5a~!"<';
/** Secrets that an operator wrote into an assistant in the Vapi dashboard. */
const TOOL_SECRET = 'whsec_4c1d8f77a2e9';
/** Of the carrier's account that numbers are imported from. Only Vapi gets it, and only in the request that imports a number. */
const CARRIER_TOKEN = 'canary/5d1f8e02+carrier=token%&7a3c~!"<';
const PROMPT = 'prompt-marker-91e7';
const GREETING = 'greeting-marker-8ae2';

const CARRIER_FORMS = formsOf(CARRIER_TOKEN);
const FORMS = [...formsOf(KEY), ...formsOf(NEXT_KEY), ...CARRIER_FORMS];
/** The collected texts by kind of output. */
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
  // Logs every statement of this database with its values.
  await supabase.sql.unsafe(
    `alter database ${new URL(supabase.databaseUrl).pathname.slice(1)} set log_min_duration_statement = 0`,
  );
  await supabase.sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()`;
  vapi = await startVapiStandIn({ key: KEY });
  vapi.setKeys([{ key: KEY }, { key: NEXT_KEY }]);
  lockstep = await createTestApp({
    supabase,
    vapi,
    vapiKey: KEY,
    config: {
      pace: {
        requestsPerSecond: 1_000,
        burst: 1_000,
        reserve: 4,
        recoveryMs: 1_000,
        waitMs: 0,
        savesPerMinute: 1_000,
        inProgress: 32,
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

async function ask(
  caller: Pick<Caller, 'token'>,
  query: string,
  variables: object = {},
  url = lockstep.url,
): Promise<string> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${caller.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  tokens.add(caller.token);
  const text = await response.text();
  into('answers', inspect([...response.headers]), text);
  return text;
}
const saving = (caller: Caller, what: string) =>
  ask(caller, SAVE, {
    input: {
      inbound: { systemPrompt: `${PROMPT} ${what}`, firstMessage: `${GREETING} ${what}` },
      outbound: { systemPrompt: `${PROMPT} out ${what}` },
    },
  });
let digits = 1_000;
function importing(caller: Caller): Promise<string> {
  digits += 1;
  return ask(caller, IMPORT, {
    input: {
      ...{ number: `+1415555${digits}`, label: 'Imported', idempotencyKey: `import ${digits}` },
      ...{ twilioAccountSid: 'ACTESTONLY00000000000000000000000', twilioAuthToken: CARRIER_TOKEN },
    },
  });
}
const IMPORT = `mutation ($input: ImportPhoneNumberInput!) {
  importPhoneNumber(input: $input) {
    __typename
    ... on PhoneNumberSuccess { phoneNumber { id state number } }
    ... on Error { message }
    ... on OperationFailedError { operation { id status } }
  }
}`;
const tokens = new Set<string>();
/** The faults that this test injected. */
let faultsRun = 0;
const DRIFT = '{ agents { role sync { status drift { path ours theirs } } } }';

/** A gateway that repeats a secret of the request, in every encoding, and everything else that a request can meet. */
function faultsThatRepeat(secret: string): FaultInput[] {
  const echo = `Authorization: Bearer ${secret} refused`;
  return [
    { kind: 'reject', messages: [echo, ...formsOf(secret).filter((form) => !/^[0-9a-f]+$/.test(form))] },
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
    { kind: 'wrong-body', path: 'name', value: secret },
    { kind: 'late', ms: 50 },
  ];
}

/** Imports of numbers, with faults and recovery. Vapi repeats the token in its answers and lists. */
async function imports(): Promise<void> {
  const caller = await lockstep.newCaller();
  expect(await importing(caller)).toContain('"ACTIVE"');
  for (const fault of faultsThatRepeat(CARRIER_TOKEN)) {
    const another = await lockstep.newCaller();
    vapi.faults.add({ ...fault, match: { path: '/phone-number' } } as FaultInput);
    await importing(another);
    faultsRun += 1;
    vapi.faults.clear();
    await ask(another, '{ phoneNumbers { nodes { id state number failure } } }');
  }
  expect(await importing({ ...caller, token: 'no token' })).toContain('UNAUTHENTICATED');
  await ask(caller, IMPORT, { input: { twilioAuthToken: CARRIER_TOKEN } });
  await ask(caller, IMPORT, {
    input: { number: 'nonsense', label: '', twilioAccountSid: CARRIER_TOKEN, twilioAuthToken: CARRIER_TOKEN },
  });
  // Recovery and the sweep see the numbers as Vapi lists them, with the token.
  await supabase.sql`update public.sagas set lease_until = now(), quarantine_until = null where finished_at is null`;
  await lockstep.app.recover();
  await lockstep.app.sweepPhoneNumbers();
  expect(JSON.stringify(vapi.phoneNumbers.all())).toContain(JSON.stringify(CARRIER_TOKEN).slice(1, -1));
}

/** Runs every function of the server and collects all output meanwhile. */
async function everything(): Promise<void> {
  for (const fault of faultsThatRepeat(KEY)) {
    const caller = await lockstep.newCaller();
    await saving(caller, 'first');
    vapi.faults.add({ ...fault, times: 2 } as FaultInput);
    await saving(caller, fault.kind);
    faultsRun += 1;
    vapi.faults.clear();
    await ask(caller, DRIFT);
  }
  await imports();
  const caller = await lockstep.newCaller();
  await saving(caller, 'before the outages');
  for (const kind of ['reset', '503'] as const) {
    supabase.outage.begin(kind);
    await saving(caller, kind);
    faultsRun += 1;
    supabase.outage.end();
  }
  supabase.faults.next('saga_commit', {
    ...{ status: 400, body: { code: '22P02', message: `Authorization: Bearer ${KEY} refused` } },
  });
  await saving(caller, 'a refusal of the database');
  faultsRun += 1;
  const unreachable = await createTestApp({
    supabase,
    vapi,
    vapiKey: KEY,
    settings: { leaseMs: 2_500 },
    config: { vapi: { baseUrl: `http://127.0.0.1:${await closedPort()}`, key: new Secret(KEY) } },
  });
  const nowhere = await lockstep.newCaller();
  const input = { inbound: { systemPrompt: `${PROMPT} nowhere` } };
  expect(await ask(nowhere, SAVE, { input }, unreachable.url)).toContain('VAPI_UNAVAILABLE');
  faultsRun += 1;
  into('log at trace', ...unreachable.log);
  await unreachable.stop();
  expect(await ask({ token: KEY }, '{ agents { id } }')).toContain('UNAUTHENTICATED');
  expect(await ask(caller, '{ agents { ')).toContain('Syntax Error');
  for (const path of ['/', '/health', '/ready', '/metrics', '/nothing', '/graphql?query={'])
    into(
      'other addresses',
      await (await fetch(`${lockstep.origin}${path}`, { headers: { accept: 'text/html' } })).text(),
    );

  // An operator writes secrets into assistants. One organization reverts such edits; the other has the policy ADOPT.
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

  faultsRun += 1;

  into('log at trace', ...lockstep.log);
  into('metrics', await (await fetch(`${lockstep.origin}/metrics`)).text());
  into(
    'requests to Vapi but for the header',
    // The token is expected in the body of an import, and nowhere else.
    JSON.stringify(
      vapi.requests.map((one) =>
        one.method === 'POST' && one.path === '/phone-number' ? { ...one, body: null } : one,
      ),
    ),
  );
  // The secrets that the operator wrote above are expected there.
  into(
    'assistants in Vapi',
    JSON.stringify(vapi.store.all().map((one) => ({ ...one, model: null, metadata: null }))),
  );
  await objects(caller);
  const tables = await supabase.sql<{ name: string; public: boolean }[]>`
    select c.oid::regclass::text as name, n.nspname = 'public' as public from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm') and n.nspname not in ('pg_catalog', 'information_schema')`;
  for (const table of tables) {
    const rows = await supabase.sql.unsafe<{ row: string }[]>(
      `select to_jsonb(t)::text as row from ${table.name} t`,
    );
    into(table.public ? 'rows that clients read' : 'other rows', ...rows.map(({ row }) => row));
  }
  expect(tables.length).toBeGreaterThan(20);
  into('Postgres’s own log, statements and values', await readFile(inject('postgres').logFile, 'utf8'));
}

const unused = () => Promise.reject(new Error('not part of this test'));

/** Prints every object that holds a key, directly or indirectly, as a debugger, a crash report or a careless log line would. */
async function objects(caller: Caller): Promise<void> {
  const config = supabaseConfig(supabase);
  const key = new Secret(NEXT_KEY);
  const log = createLogger('silent', []);
  const meter = { count: () => {} };
  const voice = createVoiceProvider(key, { baseUrl: vapi.url, timeoutMs: 1_000, log });
  const ring = new KeyRing(key, () => voice, {
    log,
    meter,
    turn: async () => true,
    account: async () => null,
  });
  const serviceClient = createServiceClient(config);
  const callerClient = createCallerClient(config, caller.token);
  const createContext = createContextFactory({
    verifier: createTokenVerifier(config),
    readGate: new ReadGate(READ_LIMITS, systemClock),
    openReads: () => createTenantReads(callerClient),
    serviceClient,
    vapiApiKey: key,
    executorPorts: {
      openJournal: createRpcJournal,
      openVoiceProvider: (one) => ring.voiceOf(one),
      clock: systemClock,
      ids: systemIds,
      random: systemRandom,
      log,
      meter,
      settings: TEST_SETTINGS,
      owner: 'a test',
      track: () => {},
    },
    knowledgeBase: { upload: unused, remove: unused },
    callLedger: unused,
    receivesEvents: false,
    appointments: new Appointments({
      ...{ store: createRpcAppointments(serviceClient), clock: systemClock, ids: systemIds, log, meter },
      owner: 'a test',
    }),
    reconciliation: { look: async () => null, setDriftPolicy: async () => false },
    changePhoneNumber: async () => ({ kind: 'not_configured' }),
    ids: systemIds,
    log,
  });
  const context = await createContext(
    new Request(lockstep.url, { headers: { authorization: `Bearer ${caller.token}` } }),
  );
  expect(context.vapiApiKey?.reveal()).toBe(NEXT_KEY);
  vapi.setKeys([{ key: NEXT_KEY }]);
  const replies: unknown[] = [];
  for (const kind of ['reset-before', 'reset-after', 'hang-before', 'garbled-body', 'html-502'] as const) {
    vapi.faults.add({ kind });
    replies.push(await voice.getAssistant('x'), await voice.getAssistant('x'));
    vapi.faults.clear();
  }
  const thrown = await voice
    .createAssistant({ loop: { toJSON: () => expect.fail('planted') } } as never)
    .catch((error: unknown) => error);
  const printed: Record<string, unknown> = {
    'the context of a request': context,
    'the clients of Supabase': { serviceClient, callerClient },
    'the client of Vapi, and the ring of its keys': { voice, ring, key },
    'what that client answers and throws': { replies, thrown },
    'the application': lockstep.app,
  };
  for (const [name, object] of Object.entries(printed)) {
    // Some of these objects are circular.
    const seen = new WeakSet<object>();
    into(
      name,
      inspect(object, { depth: Number.POSITIVE_INFINITY, showHidden: true, getters: true }),
      inspect(new Error('wrapped', { cause: object }), { depth: Number.POSITIVE_INFINITY }),
      `${object}`,
      JSON.stringify(object, (_name, value: unknown) => {
        if (typeof value !== 'object' || value === null) return value;
        if (seen.has(value)) return '[seen]';
        seen.add(value);
        return value;
      }) ?? '',
    );
  }
}

test('control: the search finds every form of a key at every position', () => {
  for (const secret of [KEY, NEXT_KEY, CARRIER_TOKEN]) {
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

test('no output contains either key, or the token of a carrier', () => {
  expect([...sinks.keys()].sort()).toEqual([
    'Postgres’s own log, statements and values',
    'answers',
    'assistants in Vapi',
    'log at trace',
    'metrics',
    'other addresses',
    'other rows',
    'requests to Vapi but for the header',
    'rows that clients read',
    'the application',
    'the client of Vapi, and the ring of its keys',
    'the clients of Supabase',
    'the context of a request',
    'what that client answers and throws',
  ]);
  // Controls: each sink contains what its name says.
  expect(sinks.get('Postgres’s own log, statements and values')?.join('')).toMatch(
    new RegExp(`begin_agents.*${PROMPT}`, 's'),
  );
  expect(sinks.get('the clients of Supabase')?.join('')).toContain('SupabaseClient');
  expect(sinks.get('the context of a request')?.join('')).toContain(String(new Secret('')));
  expect(leaks(FORMS)).toEqual([]);
  vi.mocked(console.log).mockRestore();
  console.log(
    `key: ${FORMS.length} forms of 2 keys and a carrier's token, ${faultsRun} faults, ${sinks.size} kinds of sinks and 4 of two crashes; none found`,
  );
});

test('the log contains no prompt, first message, token or database key, at any level', () => {
  const log = sinks.get('log at trace') ?? [];
  expect(
    log.filter((line) => line.includes('"level":10') || line.includes('"level":20')).length,
  ).toBeGreaterThan(5);
  const secrets = [PROMPT, GREETING, supabase.secretKey, supabase.jwtSecret, ...tokens];
  expect(tokens.size).toBeGreaterThan(15);
  expect(log.filter((line) => secrets.some((secret) => line.includes(secret)))).toEqual([]);
});

test('an organization reads no secret of an assistant, neither in drift nor in history', () => {
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
    ['an unhandled rejection', "Promise.reject(Object.assign(new Error('planted'), { env: process.env }))"],
  ])('%s prints no key, and its crash report contains none', async (_what, code) => {
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
      await expect.poll(() => output.join(''), { timeout: 120_000 }).toContain('listening');
      child.kill('SIGUSR2');
      expect(await closed).not.toBe(0);
      expect(output.join('\n')).toContain('planted');
      const reports = (await readdir(folder)).filter((name) => name.startsWith('report.'));
      expect(reports).toHaveLength(1);
      const report = await readFile(join(folder, reports[0] ?? ''), 'utf8');
      // The report includes the environment, from which the secrets were deleted.
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

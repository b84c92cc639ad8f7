/** The master key is in no sink: not in an answer, a log, a row, an error, or what a debugger would print. */
import { Writable } from 'node:stream';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTokenVerifier } from '../../src/adapters/supabase/auth.ts';
import { createCallerClient, createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { createTenantReads } from '../../src/adapters/supabase/tenant-reads.ts';
import { createLogger, secretForms } from '../../src/adapters/system/logger.ts';
import { systemClock, systemIds, systemRandom } from '../../src/adapters/system/system.ts';
import { createVoiceProvider } from '../../src/adapters/vapi/got-voice-provider.ts';
import { createContextFactory } from '../../src/context.ts';
import { Secret } from '../../src/domain/secret.ts';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import {
  CANARY_KEY,
  type Caller,
  createTestApp,
  supabaseConfig,
  TEST_SETTINGS,
  type TestApp,
} from '../support/app.ts';
import { closedPort } from '../support/network.ts';
import { SAVE, type SaveInput } from '../support/operations.ts';
import { dumpDatabase } from '../support/systems.ts';

const FORMS = secretForms([new Secret(CANARY_KEY)]);
/** Stand for what an organization would not like to find in a log. */
const PROMPT = 'prompt-marker-5c1d';
const GREETING = 'greeting-marker-8ae2';

let lockstep: TestApp;
let caller: Caller;
/** At trace, and with no redaction by value: what is in here was really about to be logged. */
const log: string[] = [];
/** Every answer, headers included. */
const answers: string[] = [];
const sink = new Writable({
  write: (chunk, _encoding, done) => {
    log.push(String(chunk));
    done();
  },
});

const input = (what: string): SaveInput => ({
  inbound: { systemPrompt: `${PROMPT} inbound ${what}`, firstMessage: `${GREETING} ${what}` },
  outbound: { systemPrompt: `${PROMPT} outbound ${what}`, recreateIfMissing: what === 'recreate' },
});

async function ask(url: string, token: string, body: unknown): Promise<string> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  answers.push(inspect(response.headers), text);
  return text;
}
/** A save of an organization of its own: what is unknown of one does not hold up the next. */
async function saving(what: string, fault?: FaultInput, url = lockstep.url): Promise<string> {
  caller = await lockstep.newCaller();
  lockstep.vapi.faults.clear();
  const body = (text: string) => ({ query: SAVE, variables: { input: input(text) } });
  if (fault !== undefined) {
    await ask(lockstep.url, caller.token, body('before'));
    lockstep.vapi.faults.add({ ...fault, match: { bodyIncludes: `${PROMPT} inbound ${what}` } });
  }
  return ask(url, caller.token, body(what));
}

beforeAll(async () => {
  lockstep = await createTestApp({ config: { log: createLogger('trace', [], sink) } });
  expect(await saving('first')).toContain('UpdateAgentsSuccess');

  // Whatever can go wrong with Vapi; one that repeats what it was sent, as a gateway's error page may, included.
  const faults: [FaultInput, string][] = [
    [{ kind: 'reject', messages: [`bad header: Bearer ${CANARY_KEY}`, CANARY_KEY] }, 'VAPI_REJECTED'],
    [{ kind: 'status-before', status: 400, body: `authorization: Bearer ${CANARY_KEY}` }, 'VAPI_REJECTED'],
    [
      { kind: 'status-before', status: 401, body: { message: `Invalid Key ${CANARY_KEY}` } },
      'VAPI_UNAUTHORIZED',
    ],
    [{ kind: 'status-before', status: 404, body: { message: CANARY_KEY } }, 'ASSISTANT_MISSING'],
    [{ kind: 'status-before', status: 500, body: { message: CANARY_KEY } }, 'UpdateAgentsSuccess'],
    [{ kind: 'wrong-body', path: 'name', value: CANARY_KEY }, 'VAPI_ANSWER_DIFFERED'],
    [{ kind: 'reset-before' }, 'UpdateAgentsSuccess'],
    [{ kind: 'garbled-body' }, 'UpdateAgentsSuccess'],
    [{ kind: 'hang-before' }, 'UpdateAgentsSuccess'],
  ];
  for (const [fault, told] of faults) expect(await saving('struck', fault)).toContain(told);
  lockstep.vapi.faults.clear();

  // Vapi unreachable, the database in trouble, a defect, bad tokens, bad input.
  const unreachable = await createTestApp({
    supabase: lockstep.supabase,
    vapi: lockstep.vapi,
    settings: { leaseMs: 2_500 },
    config: {
      log: createLogger('trace', [], sink),
      vapi: { baseUrl: `http://127.0.0.1:${await closedPort()}`, key: new Secret(CANARY_KEY) },
    },
  });
  expect(await saving('unreachable', undefined, unreachable.url)).toContain('VAPI_UNAVAILABLE');
  await unreachable.stop();
  lockstep.supabase.faults.next('save_begin', {
    status: 400,
    body: { code: '42883', message: 'no function' },
  });
  expect(await saving('defect')).toContain('INTERNAL_SERVER_ERROR');
  lockstep.supabase.faults.next('save_commit', 'reset-after');
  expect(await saving('lost commit')).toContain('UpdateAgentsSuccess');
  lockstep.supabase.outage.begin('503');
  expect(await ask(lockstep.url, caller.token, { query: '{ agents { id } }' })).toContain('UNAVAILABLE');
  lockstep.supabase.outage.end();
  expect(await ask(lockstep.url, 'garbage', { query: '{ agents { id } }' })).toContain('UNAUTHENTICATED');
  expect(await ask(lockstep.url, CANARY_KEY, { query: '{ agents { id } }' })).toContain('UNAUTHENTICATED');
  expect(await ask(lockstep.url, caller.token, { query: '{ agents { ' })).toContain('Syntax Error');
  expect(
    await ask(lockstep.url, caller.token, { query: '{ agents { id sync { drift { path ours theirs } } } }' }),
  ).toContain('drift');
  await lockstep.app.recover();
  await lockstep.app.sweep();
  for (const path of ['/metrics', '/ready', '/health', '/graphql', '/nothing']) {
    const response = await fetch(`${lockstep.origin}${path}`, { headers: { accept: 'text/html' } });
    answers.push(inspect(response.headers), await response.text());
  }
});
afterAll(() => lockstep.stop());

/** Where a form of the key stands in a text; empty = nowhere. */
function leaks(sinkName: string, texts: Iterable<string>): string[] {
  return [...texts].flatMap((text) =>
    FORMS.filter((form) => text.includes(form)).map(
      (form) => `${sinkName}: ${text.slice(Math.max(0, text.indexOf(form) - 80)).slice(0, 200)}`,
    ),
  );
}

describe('the master key', () => {
  test('the control: the key went to Vapi, and every form of it would be found', () => {
    expect(lockstep.vapi.requests.length).toBeGreaterThan(30);
    expect(lockstep.vapi.requests.every(({ key }) => key === 'key-1')).toBe(true);
    const basic = Buffer.from(`user:${CANARY_KEY}`).toString('base64');
    for (const text of [CANARY_KEY, encodeURIComponent(CANARY_KEY), basic])
      expect(leaks('', [`x ${text} y`])).not.toEqual([]);
    expect(log.length).toBeGreaterThan(10);
    expect(answers.length).toBeGreaterThan(40);
  });

  test('is in no answer', () => {
    expect(leaks('answer', answers)).toEqual([]);
  });

  test('is in no log line, even before the redaction by value', () => {
    expect(leaks('log', log)).toEqual([]);
  });

  test('is in no row of any table', async () => {
    const dump = await dumpDatabase(lockstep);
    expect([...dump.keys()]).toEqual(
      expect.arrayContaining([
        'public.agents',
        'public.agent_saves',
        'lockstep.save_images',
        'lockstep.observed',
      ]),
    );
    expect([...dump.values()].flat().length).toBeGreaterThan(50);
    for (const [table, rows] of dump) expect(leaks(table, rows)).toEqual([]);
  });

  test('is in nothing that a debugger, a crash report or a log of an object would print', async () => {
    const supabase = supabaseConfig(lockstep.supabase);
    const key = new Secret(CANARY_KEY);
    const logger = createLogger('silent', [], sink);
    const serviceClient = createServiceClient(supabase);
    const voice = createVoiceProvider(key, { baseUrl: lockstep.vapi.url, timeoutMs: 1_000, log: logger });
    const createContext = createContextFactory({
      verifier: createTokenVerifier(supabase),
      openReads: (token) => createTenantReads(createCallerClient(supabase, token)),
      serviceClient,
      vapiApiKey: key,
      executorPorts: {
        openJournal: createRpcJournal,
        openVoiceProvider: () => voice,
        clock: systemClock,
        ids: systemIds,
        random: systemRandom,
        log: logger,
        meter: { count: () => {} },
        settings: TEST_SETTINGS,
        owner: 'a test',
        track: () => {},
      },
      ids: systemIds,
      log: logger,
    });
    const request = new Request(lockstep.url, { headers: { authorization: `Bearer ${caller.token}` } });
    const context = await createContext(request);
    expect(context.vapiApiKey?.reveal()).toBe(CANARY_KEY);

    lockstep.vapi.faults.add({ kind: 'reset-before', times: 2 });
    const replies = [await voice.getAssistant('x'), await voice.createAssistant({})];
    lockstep.vapi.faults.clear();
    const objects = { key, context, voice, replies, app: lockstep.app, config: { vapi: { key } } };
    for (const [name, object] of Object.entries(objects)) {
      const printed = [
        inspect(object, { depth: Number.POSITIVE_INFINITY, showHidden: true, getters: true }),
        `${object}`,
        inspect(new Error('wrapped', { cause: object }), { depth: Number.POSITIVE_INFINITY }),
      ];
      // Some of these refer to themselves, as a logger of objects would meet them.
      const seen = new WeakSet<object>();
      printed.push(
        JSON.stringify(object, (_name, value: unknown) => {
          if (typeof value !== 'object' || value === null) return value;
          if (seen.has(value)) return '[seen]';
          seen.add(value);
          return value;
        }),
      );
      expect(leaks(name, printed)).toEqual([]);
    }
  });
});

describe('[2.23] what belongs to an organization', () => {
  test('its prompts and greetings are in no log line', () => {
    expect(log.filter((line) => line.includes(PROMPT) || line.includes(GREETING))).toEqual([]);
  });

  test('tokens and database keys are in no log line', () => {
    const { secretKey, jwtSecret } = lockstep.supabase;
    const secrets = [secretKey, jwtSecret, caller.token, caller.token.split('.')[2] ?? ''];
    expect(log.filter((line) => secrets.some((secret) => line.includes(secret)))).toEqual([]);
  });
});

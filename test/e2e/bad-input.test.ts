/** Bad input: told where it is wrong, all of it at once; nothing sent to Vapi, nothing written. */
import { request } from 'node:http';
import fc from 'fast-check';
import { ClientError } from 'graphql-request';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { checkSaveInput } from '../../src/domain/agents/agent-config.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { agentConfigs } from '../support/arbitraries.ts';
import {
  type AgentInput,
  expectAnswer,
  readAgents,
  SAVE,
  type SaveInput,
  save,
} from '../support/operations.ts';
import {
  databaseCalls,
  dumpDatabase,
  expectLockstep,
  forgetRequests,
  vapiCalls,
} from '../support/systems.ts';

let lockstep: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp();
  caller = await lockstep.newCaller();
  const input = {
    inbound: { systemPrompt: 'P', firstMessage: 'Hello' },
    outbound: { systemPrompt: 'P' },
  };
  expectAnswer(await save(caller.client, input), 'UpdateAgentsSuccess');
});
afterAll(() => lockstep.stop());
beforeEach(() => forgetRequests(lockstep));

/** Not one request to the database, none to Vapi. */
function expectNothingHappened() {
  expect(databaseCalls(lockstep)).toEqual([]);
  expect(vapiCalls(lockstep)).toEqual([]);
}

async function issuesOf(input: SaveInput): Promise<{ path: string; message: string }[]> {
  return expectAnswer(await save(caller.client, input), 'ValidationError').issues;
}

const long = (length: number) => 'x'.repeat(length);
const vapiVoice = { provider: 'vapi', voiceId: 'Elliot' };
const gpt = { provider: 'openai', name: 'gpt-4.1' };
const DESK = { number: '+14155550142', description: 'The front desk' };

describe('one wrong value: a ValidationError that names it', () => {
  const ofAnAgent: [string, AgentInput, string, RegExp][] = [
    ['a name over 40 characters', { name: long(41) }, 'name', /41 characters.*40/],
    ['an empty name', { name: '' }, 'name', /empty/],
    ['a blank name', { name: ' \n' }, 'name', /empty/],
    ['a prompt just over the limit', { systemPrompt: long(100_001) }, 'systemPrompt', /100001.*100000/],
    ['an empty prompt', { systemPrompt: '' }, 'systemPrompt', /empty/],
    ['a NUL', { systemPrompt: 'a\0b' }, 'systemPrompt', /cannot be stored/],
    ['half of a surrogate pair', { systemPrompt: 'a\ud83db' }, 'systemPrompt', /cannot be stored/],
    ['the other half', { firstMessage: '\udca9' }, 'firstMessage', /cannot be stored/],
    ['a NUL in a name', { name: '\0' }, 'name', /cannot be stored/],
    ['a first message over the limit', { firstMessage: long(4001) }, 'firstMessage', /4001.*4000/],
    ['an empty first message', { firstMessage: '' }, 'firstMessage', /empty/],
    ['a call of 9 seconds', { maxDurationSeconds: 9 }, 'maxDurationSeconds', /10 to 43200/],
    ['a call of 43201 seconds', { maxDurationSeconds: 43_201 }, 'maxDurationSeconds', /10 to 43200/],
    ['a negative call', { maxDurationSeconds: -1 }, 'maxDurationSeconds', /10 to 43200/],
    ['a language that is a word', { language: 'english' }, 'language', /BCP 47/],
    ['a language with markup', { language: 'en; drop' }, 'language', /BCP 47/],
    ['an empty language', { language: '' }, 'language', /empty/],
    [
      'a provider’s brand name',
      { voice: { provider: 'elevenlabs', voiceId: 'a' } },
      'voice.provider',
      /11labs/,
    ],
    [
      'a voice server',
      { voice: { provider: 'custom-voice', voiceId: 'a' } },
      'voice.provider',
      /not supported/,
    ],
    ['no voice id', { voice: { provider: 'vapi', voiceId: '' } }, 'voice.voiceId', /empty/],
    ['a long voice id', { voice: { provider: 'vapi', voiceId: long(201) } }, 'voice.voiceId', /201.*200/],
    [
      'stability where there is none',
      { voice: { ...vapiVoice, stability: 0.5 } },
      'voice.stability',
      /vapi.*stability/,
    ],
    [
      'similarityBoost where there is none',
      { voice: { provider: 'azure', voiceId: 'a', similarityBoost: 0 } },
      'voice.similarityBoost',
      /azure.*similarityBoost/,
    ],
    [
      'stability over 1',
      { voice: { provider: '11labs', voiceId: 'a', stability: 1.01 } },
      'voice.stability',
      /0 to 1/,
    ],
    [
      'similarityBoost under 0',
      { voice: { provider: '11labs', voiceId: 'a', similarityBoost: -0.1 } },
      'voice.similarityBoost',
      /0 to 1/,
    ],
    ['a hot model', { model: { ...gpt, temperature: 2.1 } }, 'model.temperature', /0 to 2/],
    ['few tokens', { model: { ...gpt, maxTokens: 49 } }, 'model.maxTokens', /50 to 10000/],
    ['many tokens', { model: { ...gpt, maxTokens: 10_001 } }, 'model.maxTokens', /50 to 10000/],
    ['a model server', { model: { provider: 'custom-llm', name: 'a' } }, 'model.provider', /not supported/],
    ['no model name', { model: { provider: 'openai', name: ' ' } }, 'model.name', /empty/],
    [
      'a destination that is no number',
      { transferTo: [{ number: '555-0142', description: 'D' }] },
      'transferTo.0.number',
      /E\.164/,
    ],
    [
      'a number without a plus',
      { transferTo: [{ number: '14155550142', description: 'D' }] },
      'transferTo.0.number',
      /E\.164/,
    ],
    [
      'a destination without words',
      { transferTo: [{ ...DESK, description: ' ' }] },
      'transferTo.0.description',
      /empty/,
    ],
    [
      'a long description',
      { transferTo: [{ ...DESK, description: long(1001) }] },
      'transferTo.0.description',
      /1001.*1000/,
    ],
    [
      'a long message before a transfer',
      { transferTo: [{ ...DESK, message: long(1001) }] },
      'transferTo.0.message',
      /1001.*1000/,
    ],
    ['the same number twice', { transferTo: [DESK, DESK] }, 'transferTo.1.number', /twice/],
    [
      'many destinations',
      { transferTo: Array.from({ length: 21 }, (_, n) => ({ ...DESK, number: `+141555501${10 + n}` })) },
      'transferTo',
      /21.*20/,
    ],
    ['no destinations at all', { transferTo: null }, 'transferTo', /null/],
    ['neither true nor false', { endCall: null }, 'endCall', /null/],
    ['neither true nor false', { useKnowledgeBase: null }, 'useKnowledgeBase', /null/],
    ['neither true nor false', { bookAppointments: null }, 'bookAppointments', /null/],
    ['booking without a server for events', { bookAppointments: true }, 'bookAppointments', /PUBLIC_URL/],
    ['an empty voicemail', { voicemailMessage: '' }, 'voicemailMessage', /empty/],
    ['a long voicemail', { voicemailMessage: long(1001) }, 'voicemailMessage', /1001.*1000/],
    ['a negative revision', { expectedRevision: -1 }, 'expectedRevision', /0 to/],
    ['no name at all', { name: null }, 'name', /null/],
    ['no prompt at all', { systemPrompt: null }, 'systemPrompt', /null/],
    ['no voice at all', { voice: null }, 'voice', /null/],
    ['no model at all', { model: null }, 'model', /null/],
    ['no language at all', { language: null }, 'language', /null/],
    ['no duration at all', { maxDurationSeconds: null }, 'maxDurationSeconds', /null/],
    ['no guard at all', { expectedRevision: null }, 'expectedRevision', /null/],
  ];
  test.each(ofAnAgent)('%s', async (_what, agent, path, message) => {
    for (const role of ['inbound', 'outbound'] as const) {
      const issues = await issuesOf({ [role]: agent });
      expect([...new Set(issues.map((issue) => issue.path))]).toEqual([`input.${role}.${path}`]);
      expect(issues[0]?.message).toMatch(message);
    }
    expectNothingHappened();
  });

  test.each<[string, SaveInput, string]>([
    ['nothing', {}, 'input'],
    ['both roles null', { inbound: null, outbound: null }, 'input'],
    ['a key alone', { idempotencyKey: 'k' }, 'input'],
    ['an empty key', { inbound: { name: 'N' }, idempotencyKey: '' }, 'input.idempotencyKey'],
    ['a long key', { inbound: { name: 'N' }, idempotencyKey: long(201) }, 'input.idempotencyKey'],
    ['a key with a NUL', { inbound: { name: 'N' }, idempotencyKey: 'a\0' }, 'input.idempotencyKey'],
  ])('of the whole input: %s', async (_what, input, path) => {
    expect(await issuesOf(input)).toEqual([{ path, message: expect.any(String) }]);
    expectNothingHappened();
  });

  test('[2.24] returns it as a result, never as a server error', async () => {
    const response = await post({ query: SAVE, variables: { input: { inbound: { name: '' } } } });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      data: { updateAgents: expect.objectContaining({ __typename: 'ValidationError' }) },
    });
  });

  test('the message does not repeat a long value', async () => {
    const response = await post({
      query: SAVE,
      variables: { input: { inbound: { systemPrompt: long(100_001) } } },
    });
    expect((await response.text()).length).toBeLessThan(1_000);
  });
});

test('reports all problems together, each with its path', async () => {
  const paths = (
    await issuesOf({
      inbound: {
        name: long(41),
        systemPrompt: '\0',
        voice: { provider: 'vapi', voiceId: '', stability: 0.5, similarityBoost: 0.5 },
        model: { provider: 'custom-llm', name: '', temperature: 3, maxTokens: 1 },
        maxDurationSeconds: 1,
        language: null,
      },
      outbound: { firstMessage: '', voice: { provider: 'elevenlabs', voiceId: '' }, expectedRevision: -1 },
      idempotencyKey: '',
    })
  ).map(({ path }) => path);
  expect([...new Set(paths)].sort()).toEqual([
    'input.idempotencyKey',
    'input.inbound.language',
    'input.inbound.maxDurationSeconds',
    'input.inbound.model.maxTokens',
    'input.inbound.model.name',
    'input.inbound.model.provider',
    'input.inbound.model.temperature',
    'input.inbound.name',
    'input.inbound.systemPrompt',
    'input.inbound.voice.similarityBoost',
    'input.inbound.voice.stability',
    'input.inbound.voice.voiceId',
    'input.outbound.expectedRevision',
    'input.outbound.firstMessage',
    'input.outbound.voice.provider',
    'input.outbound.voice.voiceId',
  ]);
  expectNothingHappened();
});

describe('the first save of an agent', () => {
  test('needs a prompt: names every role that lacks one, and writes nothing', async () => {
    const stranger = await lockstep.newCaller();
    const before = await dumpDatabase(lockstep);
    const answer = await save(stranger.client, { inbound: {}, outbound: { name: 'Name only' } });
    expect(expectAnswer(answer, 'ValidationError').issues).toEqual([
      { path: 'input.inbound.systemPrompt', message: expect.any(String) },
      { path: 'input.outbound.systemPrompt', message: expect.any(String) },
    ]);
    expect(vapiCalls(lockstep)).toEqual([]);
    // Only the organization's lock was looked at.
    const after = await dumpDatabase(lockstep);
    for (const [table, rows] of before) {
      if (table !== 'lockstep.organization_locks') expect(after.get(table), table).toEqual(rows);
    }
  });
});

describe('values at the limits are saved', () => {
  test('a prompt of 100,000 characters, each of which JSON escapes; a name of 40; a call of 43,200 seconds', async () => {
    const input = { name: long(40), systemPrompt: '\u0001'.repeat(100_000), maxDurationSeconds: 43_200 };
    const { agents } = expectAnswer(
      await save(caller.client, {
        inbound: input,
        outbound: { ...input, firstMessage: `${'\n'.repeat(3_999)}x` },
      }),
      'UpdateAgentsSuccess',
    );
    expect(agents).toMatchObject([input, input]);
    await expectLockstep(lockstep, caller.orgId);
  });

  test('null clears the first message, and nothing else', async () => {
    const { agents } = expectAnswer(
      await save(caller.client, { inbound: { systemPrompt: 'P', name: 'N', firstMessage: null } }),
      'UpdateAgentsSuccess',
    );
    expect(agents).toMatchObject([{ firstMessage: null, systemPrompt: 'P', name: 'N' }]);
  });
});

function post(body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(lockstep.url, {
    method: 'POST',
    headers: { authorization: `Bearer ${caller.token}`, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' || body instanceof ReadableStream ? body : JSON.stringify(body),
    ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
  } as RequestInit);
}

interface GraphqlBody {
  data?: unknown;
  errors?: { message: string; locations?: unknown[]; extensions?: { code?: string } }[];
}

describe('input outside the schema is a GraphQL error that names the place', () => {
  const variables: [string, unknown, RegExp][] = [
    ['an unknown field', { inbound: { nam: 'N' } }, /input\.inbound.*"nam"/],
    ['an unknown field at the top', { sideways: {} }, /"sideways"/],
    [
      'an unknown field of a voice',
      { inbound: { voice: { ...vapiVoice, pitch: 1 } } },
      /input\.inbound\.voice.*"pitch"/,
    ],
    [
      'text for a number',
      { inbound: { maxDurationSeconds: 'ten' } },
      /input\.inbound\.maxDurationSeconds.*"ten"/,
    ],
    ['a fraction for a whole number', { inbound: { maxDurationSeconds: 10.5 } }, /maxDurationSeconds.*10\.5/],
    [
      'a number beyond 32 bits',
      { inbound: { expectedRevision: 2_147_483_648 } },
      /expectedRevision.*2147483648/,
    ],
    ['a number for text', { inbound: { name: 7 } }, /input\.inbound\.name/],
    ['text for an agent', { inbound: 'P' }, /input\.inbound/],
    [
      'a voice without its id',
      { inbound: { voice: { provider: 'vapi' } } },
      /voiceId.*required|voiceId.*not provided/,
    ],
    ['null for the input', null, /input/],
  ];
  test.each(variables)('%s', async (_what, input, message) => {
    const error = await caller.client.request(SAVE, { input }).catch((thrown: unknown) => thrown);
    if (!(error instanceof ClientError)) throw new Error(`no error, but ${JSON.stringify(error)}`);
    const [first, ...others] = error.response.errors ?? [];
    expect(others).toEqual([]);
    expect(first?.message).toMatch(message);
    expect(first?.locations).toEqual([{ line: expect.any(Number), column: expect.any(Number) }]);
    expect(error.response.status).toBeLessThan(500);
    expectNothingHappened();
  });

  test.each([
    ['no GraphQL', 'mutation {', /Syntax Error/],
    ['an unknown operation', 'mutation { saveAll }', /saveAll/],
    ['an unknown field of the answer', 'mutation { updateAgents(input: {}) { id } }', /"id"/],
    ['an unknown argument', 'mutation { updateAgents(orgId: 1, input: {}) { __typename } }', /orgId/],
    ['no input', 'mutation { updateAgents { __typename } }', /input/],
  ])('%s', async (_what, query, message) => {
    const response = await post({ query });
    const { errors, data } = (await response.json()) as GraphqlBody;
    expect(errors?.[0]?.message).toMatch(message);
    expect(errors?.[0]?.locations).toHaveLength(1);
    expect(data).toBeUndefined();
    expect(response.status).toBeLessThan(500);
    expectNothingHappened();
  });
});

describe('input outside HTTP is refused with the reason', () => {
  test.each<[string, string, Record<string, string>, number]>([
    ['a body that is no JSON', 'mutation { hello }', {}, 400],
    ['JSON that breaks off', '{"query": "{ __typename }', {}, 400],
    ['an empty body', '', {}, 400],
    ['JSON that is no object', '"{ __typename }"', {}, 400],
    ['JSON null', 'null', {}, 400],
    ['a body without a query', '{"variables":{}}', {}, 200],
    ['a batch', '[{"query":"{ __typename }"}]', {}, 400],
    ['text', '{"query":"{ __typename }"}', { 'content-type': 'text/plain' }, 415],
    ['XML', '<query/>', { 'content-type': 'application/xml' }, 415],
  ])('%s', async (_what, body, headers, status) => {
    const response = await post(body, headers);
    const text = await response.text();
    expect(response.status, text).toBe(status);
    if (text !== '') {
      expect((JSON.parse(text) as GraphqlBody).errors?.[0]?.message.length).toBeGreaterThan(5);
      expect(text).not.toMatch(/INTERNAL_SERVER_ERROR|\bat .*\.[jt]s:/);
    }
    expectNothingHappened();
  });

  test('a mutation by GET', async () => {
    const query = 'mutation { updateAgents(input: { inbound: { name: "N" } }) { __typename } }';
    const response = await fetch(`${lockstep.url}?query=${encodeURIComponent(query)}`, {
      headers: { authorization: `Bearer ${caller.token}`, accept: 'application/json' },
    });
    expect(response.status).toBe(405);
    expectNothingHappened();
  });

  test('answers 413 for a body far over the limit, with or without a declared length', async () => {
    const body = JSON.stringify({
      query: SAVE,
      variables: { input: { inbound: { systemPrompt: long(3_000_000) } } },
    });
    const told = await post(body);
    expect(told.status).toBe(413);
    expect((await told.json()) as GraphqlBody).toMatchObject({
      errors: [{ extensions: { code: 'PAYLOAD_TOO_LARGE' } }],
    });

    const streamed = await new Promise<number | undefined>((resolve, reject) => {
      const outgoing = request(
        lockstep.url,
        {
          method: 'POST',
          headers: {
            authorization: `Bearer ${caller.token}`,
            'content-type': 'application/json',
            'transfer-encoding': 'chunked',
          },
        },
        (incoming) => {
          incoming.resume();
          resolve(incoming.statusCode);
        },
      );
      outgoing.on('error', reject);
      outgoing.end(body);
    });
    expect(streamed).toBe(413);
    expectNothingHappened();
    // And the server goes on.
    expect((await readAgents(caller.client)).INBOUND).toBeDefined();
  });
});

describe('generated input', () => {
  /** JSON of any shape, with the schema's own words among its keys, so that it gets somewhere. */
  const words = fc.constantFrom(
    ...['inbound', 'outbound', 'idempotencyKey', 'name', 'systemPrompt', 'firstMessage', 'voice', 'provider'],
    ...['voiceId', 'stability', 'model', 'language', 'maxDurationSeconds', 'expectedRevision', '__proto__'],
  );
  const anyJson = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      fc.oneof(fc.string({ unit: 'binary' }), fc.integer(), fc.double(), fc.boolean(), fc.constant(null)),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.oneof({ weight: 5, arbitrary: words }, fc.string()), tie('value'), { maxKeys: 5 }),
    ),
  })).value;

  test('any JSON as the input causes no internal error, no request and no write', async () => {
    const code = /INTERNAL_SERVER_ERROR|correlationId|node_modules|\.ts:/;
    let refusedBySchema = 0;
    await fc.assert(
      fc.asyncProperty(anyJson, async (input) => {
        // By chance it may be a change that is right, such as `{"inbound": {}}`.
        fc.pre('issues' in checkSaveInput(input));
        // A lone half of a pair is written as an escape, as a client would.
        const response = await post({ query: SAVE, variables: { input } });
        const text = await response.text();
        expect(response.status, text).toBeLessThan(500);
        expect(text).not.toMatch(code);
        const { data, errors } = JSON.parse(text) as GraphqlBody & {
          data?: { updateAgents: { __typename: string } };
        };
        if (errors === undefined) expect(data?.updateAgents.__typename).toBe('ValidationError');
        else refusedBySchema += 1;
      }),
      { numRuns: 150 },
    );
    expect(refusedBySchema).toBeGreaterThan(10);
    expectNothingHappened();
  });

  test('input of the right types is saved or refused with the reason, whatever its values', async () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc.constantFrom('en', 'vapi', '11labs', 'P'),
    );
    const number = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true, min: -3, max: 3 }),
      fc.constant(0.5),
    );
    const whole = fc.oneof(fc.integer(), fc.integer({ min: 0, max: 50_000 }));
    const agent = fc.record(
      {
        name: fc.option(text),
        systemPrompt: fc.option(text),
        firstMessage: fc.option(text),
        voice: fc.option(
          fc.record(
            {
              provider: text,
              voiceId: text,
              stability: fc.option(number),
              similarityBoost: fc.option(number),
            },
            { requiredKeys: ['provider', 'voiceId'] },
          ),
        ),
        language: fc.option(text),
        maxDurationSeconds: fc.option(whole),
        recreateIfMissing: fc.option(fc.boolean()),
      },
      { requiredKeys: [] },
    );
    const inputs = fc.record({ inbound: fc.option(agent), outbound: fc.option(agent) }, { requiredKeys: [] });
    const seen = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(inputs, async (input) => {
        await forgetRequests(lockstep);
        const answer = await save(caller.client, input);
        seen.set(answer.__typename, (seen.get(answer.__typename) ?? 0) + 1);
        if (answer.__typename === 'ValidationError') return expectNothingHappened();
        // What only Vapi knows to be wrong, such as a provider that there is not, comes back as its refusal.
        if (answer.__typename === 'SaveFailedError') expect(answer.reason).toBe('VAPI_REJECTED');
        else expectAnswer(answer, 'UpdateAgentsSuccess');
        await expectLockstep(lockstep, caller.orgId);
      }),
      { numRuns: 120 },
    );
    expect(seen.get('ValidationError')).toBeGreaterThan(10);
  });

  /** This server receives no events. */
  const unbooked = agentConfigs().map((config) => ({ ...config, bookAppointments: false }));

  test('everything that the rules allow is saved and returned as it was sent', async () => {
    await fc.assert(
      fc.asyncProperty(unbooked, unbooked, async (inbound, outbound) => {
        const { agents } = expectAnswer(
          await save(caller.client, { inbound, outbound }),
          'UpdateAgentsSuccess',
        );
        expect(agents).toMatchObject([inbound, outbound]);
        await expectLockstep(lockstep, caller.orgId);
      }),
      { numRuns: 25 },
    );
  });
});

/** The limits of one document: a larger one is refused before it runs, and the documents of dashboards stay well below. */
import { readFile } from 'node:fs/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { getIntrospectionQuery } from 'graphql';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EDGE_DEFAULTS } from '../../src/server/edge.ts';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { SAVE } from '../support/operations.ts';
import { databaseCalls, forgetRequests, vapiCalls } from '../support/systems.ts';

interface Answer {
  status: number;
  text: string;
  data?: Record<string, unknown> | null;
  errors?: { message: string; extensions?: { code?: string } }[];
}

let lockstep: TestApp;
/** The same server without introspection. */
let hidden: TestApp;
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp();
  hidden = await createTestApp({
    supabase: lockstep.supabase,
    vapi: lockstep.vapi,
    config: { edge: { introspection: false, graphiql: false } },
  });
  caller = await lockstep.newCaller();
});
afterAll(async () => {
  await hidden?.stop();
  await lockstep?.stop();
});
beforeEach(() => forgetRequests(lockstep));

async function ask(
  query: string,
  more: { variables?: object | undefined; operationName?: string | undefined } = {},
  url = lockstep.url,
): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${caller.token}`,
      'content-type': 'application/json',
      accept: 'application/graphql-response+json',
    },
    body: JSON.stringify({ query, ...more }),
  });
  const text = await response.text();
  return { ...(JSON.parse(text) as Omit<Answer, 'status' | 'text'>), status: response.status, text };
}

function expectNothingHappened() {
  expect(databaseCalls(lockstep)).toEqual([]);
  expect(vapiCalls(lockstep)).toEqual([]);
}

function expectRefusal(answer: Answer, code: string, message: string | RegExp) {
  expect(answer.errors, answer.text.slice(0, 500)).toEqual([
    expect.objectContaining({
      message: typeof message === 'string' ? message : expect.stringMatching(message),
      extensions: { code },
    }),
  ]);
  expect(answer.status).toBe(400);
  expect(answer.data ?? null).toBeNull();
}

const times = (n: number, make: (index: number) => string) =>
  Array.from({ length: n }, (_, index) => make(index)).join(' ');
const saving = (alias: string) =>
  `${alias}: updateAgents(input: { inbound: { systemPrompt: "${alias}" } }) { __typename }`;

describe('saves are expensive', () => {
  test.each<[string, string]>([
    ['as aliases', `mutation { ${times(100, (n) => saving(`a${n}`))} }`],
    [
      'in a fragment',
      `mutation { ...Saves } fragment Saves on Mutation { ${times(100, (n) => saving(`a${n}`))} }`,
    ],
    [
      'a few in each of many fragments',
      `mutation { ${times(25, (n) => `...F${n}`)} }
       ${times(25, (n) => `fragment F${n} on Mutation { ${times(4, (m) => saving(`a${n}_${m}`))} }`)}`,
    ],
    ['in inline fragments', `mutation { ${times(100, (n) => `... on Mutation { ${saving(`a${n}`)} }`)} }`],
    [
      'behind a condition that could exclude them',
      `mutation ($yes: Boolean = true) { ${times(100, (n) => `... @include(if: $yes) { ${saving(`a${n}`)} }`)} }`,
    ],
    [
      'as settleDrift',
      `mutation { ${times(100, (n) => `a${n}: settleDrift(input: { role: INBOUND, resolution: REVERT }) { __typename }`)} }`,
    ],
    ['just more than the limit', `mutation { ${times(4, (n) => saving(`a${n}`))} }`],
    [
      'in the selected operation, after a cheap one',
      `query Cheap { __typename } mutation Dear { ${times(4, (n) => saving(`a${n}`))} }`,
    ],
  ])('refuses a hundred saves before any of them runs: %s', async (_what, query) => {
    const answer = await ask(query, query.includes('Dear') ? { operationName: 'Dear' } : {});
    expect(answer.status, answer.text).toBe(400);
    expect(answer.data ?? null).toBeNull();
    expect(answer.errors).toHaveLength(1);
    expect(answer.errors?.[0]?.message).toMatch(/complexity|[Aa]liases|tokens/);
    expectNothingHappened();
  });

  test('accepts one save with all fields of its answer, with room for two more saves', async () => {
    const answer = await ask(SAVE, { variables: { input: { inbound: { systemPrompt: 'P' } } } });
    expect(answer.data, answer.text).toMatchObject({
      updateAgents: { __typename: 'UpdateAgentsSuccess' },
    });
    const three = await ask(`mutation { ${times(3, (n) => saving(`a${n}`))} }`);
    expect(three.errors).toBeUndefined();
  });
});

/** All data that a dashboard shows on one page. */
const DASHBOARD = `
  query Dashboard($calls: Int!, $after: String) {
    organization { id name }
    agents {
      id role name systemPrompt firstMessage language maxDurationSeconds vapiAssistantId revision lastSyncedAt
      voice { provider voiceId stability similarityBoost }
      model { provider name temperature maxTokens }
      sync { status checkedAt drift { path ours theirs } }
    }
    calls(first: $calls, after: $after, order: NEWEST_FIRST) {
      pageInfo { hasNextPage endCursor }
      edges {
        cursor
        node {
          id direction customerNumber customerName startedAt endedAt durationSeconds outcome endedReason summary costUsd
          agent { id role name }
          phoneNumber { id number }
        }
      }
    }
    missed: calls(first: 10, filter: { outcomes: [NO_ANSWER] }) { nodes { id startedAt } }
    appointments(first: 20) { nodes { id startsAt status } pageInfo { hasNextPage endCursor } }
    phoneNumbers(first: 20) { nodes { id number agent { id role } } }
    knowledgeBaseDocuments(first: 20) { nodes { id name state } }
  }`;

describe('reads', () => {
  test('the page of a dashboard costs at most half of the limit', async () => {
    const half = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      config: {
        edge: {
          maxComplexity: EDGE_DEFAULTS.maxComplexity / 2,
          maxTokens: EDGE_DEFAULTS.maxTokens / 2,
          maxAliases: EDGE_DEFAULTS.maxAliases / 2,
        },
      },
    });
    try {
      const answer = await ask(DASHBOARD, { variables: { calls: 100 } }, half.url);
      expect(answer.errors, answer.text).toBeUndefined();
      expect(answer.status).toBe(200);
    } finally {
      await half.stop();
    }
  });

  test('a field of a list is counted for each row', async () => {
    const list = (n: number) => `a${n}: calls(first: 100) { nodes { agent { sync { drift { path } } } } }`;
    expect((await ask(`{ ${times(4, list)} }`)).errors).toBeUndefined();
    const answer = await ask(`{ ${times(16, list)} }`);
    expect(answer.errors?.map(({ message }) => message)).toEqual([expect.stringMatching(/complexity/)]);
    expect(answer.status).toBe(400);
  });

  test.each(['first', 'last'])('a page of %s: 100 costs what its hundred rows cost', async (end) => {
    const list = (n: number) => `a${n}: calls(${end}: 100) { nodes { agent { sync { drift { path } } } } }`;
    expect((await ask(`{ ${times(4, list)} }`)).errors).toBeUndefined();
    expect((await ask(`{ ${times(16, list)} }`)).errors?.[0]?.message).toMatch(/complexity/);
  });

  test('the page size in a variable counts, also when the same document is sent again with another size', async () => {
    const query =
      'query ($first: Int!) { calls(first: $first) { nodes { agent { sync { drift { path ours theirs } } } } } }';
    expect((await ask(query, { variables: { first: 10 } })).errors).toBeUndefined();
    // The same document, which is in the validation cache by now.
    const answer = await ask(query, { variables: { first: 1_000_000 } });
    expect(answer.errors?.[0]?.message).toMatch(/complexity/);
    expectReads(1);
    expect((await ask(query, { variables: { first: 10 } })).errors).toBeUndefined();
  });

  test('refuses a document that is nested too deeply', async () => {
    const shallow = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      config: { edge: { maxDepth: 4 } },
    });
    try {
      const four = '{ calls(first: 1) { nodes { agent { id } } } }';
      const five = '{ calls(first: 1) { nodes { agent { voice { provider } } } } }';
      expect((await ask(four, {}, shallow.url)).errors).toBeUndefined();
      expectRefusal(
        await ask(five, {}, shallow.url),
        'QUERY_DEPTH',
        "The document's depth, 5, exceeds the limit of 4.",
      );
      expect((await ask(five)).errors).toBeUndefined();
    } finally {
      await shallow.stop();
    }
  });

  test('refuses a document with too many tokens without parsing the rest', async () => {
    const answer = await ask(`{ ${'__typename '.repeat(3_000)} }`);
    expectRefusal(answer, 'QUERY_TOKENS', 'The document has more tokens than the limit of 2000.');
  });

  test('refuses too many aliases, and counts those of a fragment for each use', async () => {
    expect((await ask(`{ ${times(30, (n) => `a${n}: organization { id }`)} }`)).errors).toBeUndefined();
    await forgetRequests(lockstep);
    for (const query of [
      `{ ${times(31, (n) => `a${n}: organization { id }`)} }`,
      `{ o: organization { ...F } p: organization { ...F } q: organization { ...F } }
       fragment F on Organization { ${times(15, (n) => `a${n}: id`)} }`,
    ]) {
      const answer = await ask(query);
      expectRefusal(answer, 'QUERY_ALIASES', /^Aliases limit of 30 exceeded, found (31|48)\.$/);
    }
    expectNothingHappened();
  });

  test('refuses an alias of a thousand characters, which every row of the answer would repeat', async () => {
    const named = (length: number) => `{ calls(first: 100) { nodes { ${'a'.repeat(length)}: id } } }`;
    expect((await ask(named(100))).errors).toBeUndefined();
    expectRefusal(
      await ask(named(101)),
      'QUERY_NAME',
      "The document's length of a name, 101, exceeds the limit of 100.",
    );
  });

  test('refuses a prompt for every row of a page, because the answer would not fit into memory', async () => {
    const prompts = (aliases: number) =>
      `{ calls(first: 100) { nodes { agent { ${times(aliases, (n) => `p${n}: systemPrompt`)} } } } }`;
    expect((await ask(prompts(1))).errors).toBeUndefined();
    expectRefusal(
      await ask(prompts(30)),
      'QUERY_COMPLEXITY',
      /^The document's complexity, \d+, exceeds the limit of 20000\.$/,
    );
  });

  test('refuses many repetitions of one field without comparing them pair by pair', async () => {
    expectRefusal(await ask(`{ ${'organization{id} '.repeat(499)} }`), 'QUERY_OVERLAPS', /too often/);
  });

  test.each([
    ['unknown directives', `{ __typename ${'@a'.repeat(990)} }`],
    ['one directive too often', `{ __typename ${'@include(if: true) '.repeat(280)} }`],
    ['unknown fields', `{ ${times(1_900, (n) => `nothing${n}`)} }`],
    [
      'unknown variables in an operation of a long name',
      `query ${'Q'.repeat(1_000_000)} { ${times(90, (n) => `a${n}: call(id: $v${n}) { id }`)} }`,
    ],
    ['many operations', `${times(490, (n) => `query Q${n} { x }`)}`],
  ])('reports at most five short errors: %s', async (_what, query) => {
    const answer = await ask(query, { operationName: query.includes('Q1 ') ? 'Q1' : undefined });
    expect(answer.status).toBe(400);
    // The last error says that there are more.
    expect(answer.errors?.length).toBeLessThanOrEqual(6);
    expect(answer.text.length).toBeLessThan(20_000);
    expectNothingHappened();
  });

  test('refuses a fragment that contains itself, and fragments that contain each other', async () => {
    for (const query of [
      '{ ...A } fragment A on Query { ...A }',
      '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
      // Each contains the next one twice. Counted one by one, these would be two to the power of sixty fields.
      `{ ...F0 } ${times(60, (n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`)} fragment F60 on Query { __typename }`,
    ]) {
      const answer = await ask(query);
      expect(answer.status).toBe(400);
      expect(answer.errors?.length).toBeGreaterThan(0);
    }
    expectNothingHappened();
  });

  test('accepts the introspection query of common clients', async () => {
    for (const options of [{}, { descriptions: true, specifiedByUrl: true, inputValueDeprecation: true }]) {
      const answer = await ask(getIntrospectionQuery(options));
      expect(answer.errors, answer.text.slice(0, 300)).toBeUndefined();
    }
  });
});

/** How many lists were read from the database. */
function expectReads(most: number) {
  expect(databaseCalls(lockstep).filter((call) => call === 'GET call_logs').length).toBeLessThanOrEqual(most);
}

describe('variables', () => {
  const keys = (n: number) => Array.from({ length: n }, (_, index) => `"k${index}": 1`).join();
  const long = 'x'.repeat(1_000_000);
  /** The body exceeds the limit for callers without a token, so these have one. */
  const post = (url: string, input: string) =>
    fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${caller.token}`,
        'content-type': 'application/json',
        accept: 'application/graphql-response+json',
      },
      body: `{"query": ${JSON.stringify(SAVE)}, "variables": {"input": ${input}}}`,
    });

  test.each([
    ['a hundred thousand unknown keys', `{${keys(100_000)}}`],
    ['lists, two hundred thousand deep', `{"inbound": ${'['.repeat(200_000)}${']'.repeat(200_000)}}`],
  ])('refuses %s before parsing it', async (_what, input) => {
    const response = await post(lockstep.url, input);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      errors: [
        {
          message: "The request's body has more than 5000 values or 32 levels.",
          extensions: { code: 'BODY_TOO_COMPLEX' },
        },
      ],
    });
    expectNothingHappened();
  });

  test.each<[string, string]>([
    ['four thousand unknown keys', `{${keys(4_000)}}`],
    ['two hundred of them beside a long text', `{"inbound": {"systemPrompt": "${long}", ${keys(200)}}}`],
    ['a long text where there should be none', `{"inbound": "${long}"}`],
    ['a text that looks like a message', `{"inbound": "${' Did you mean '.repeat(100_000)}"}`],
    ['keys of the prototype', '{"__proto__": {"inbound": {"systemPrompt": "P"}}, "constructor": 1}'],
    ['lists, twenty deep', `{"inbound": ${'['.repeat(20)}${']'.repeat(20)}}`],
  ])('answers %s with a few short errors and runs nothing', async (_what, input) => {
    for (const url of [lockstep.url, hidden.url]) {
      const response = await post(url, input);
      const text = await response.text();
      expect(response.status).toBe(400);
      const { errors } = JSON.parse(text) as Answer;
      expect(errors?.[0]?.extensions?.code).toBe('BAD_USER_INPUT');
      expect(errors?.length).toBeLessThanOrEqual(6);
      expect(text.length).toBeLessThan(10_000);
      // The error begins with the problem and ends with the place.
      expect(errors?.[0]?.message).toMatch(
        /^Variable "\$input" got invalid value .*(at "input\.inbound"|is not defined by type)/s,
      );
    }
    expectNothingHappened();
  });
});

describe('the document cache', () => {
  test('does not keep a long document: a thousand of them would fill the memory', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const used = () => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    const before = used();
    for (let index = 0; index < 30; index += 1) {
      // Few tokens, and different text each time.
      const answer = await ask(`query Long { organization { id } } # ${index} ${'x'.repeat(1_000_000)}`);
      expect(answer.status).toBe(200);
      const broken = await ask(`{ # ${index} ${'x'.repeat(1_000_000)}`);
      expect(broken.status).toBe(400);
    }
    // If they were kept: 60 MB.
    expect(used() - before).toBeLessThan(25_000_000);
  });
});

describe('more than one operation in a request', () => {
  test.each<[string, string]>([
    ['a batch', '[{"query":"{ __typename }"},{"query":"{ __typename }"}]'],
    ['a batch of one', '[{"query":"{ __typename }"}]'],
    ['an empty batch', '[]'],
  ])('refuses %s', async (_what, body) => {
    const response = await fetch(lockstep.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    expect(response.status).toBe(400);
    expect(((await response.json()) as Answer).errors).toHaveLength(1);
  });
});

describe('with introspection turned off', () => {
  const documents = new Map([
    ['dashboard', DASHBOARD],
    ['save', SAVE],
  ]);
  test('the schema can be neither queried nor guessed', async () => {
    const answer = await ask(getIntrospectionQuery(), {}, hidden.url);
    expect(answer.data ?? null).toBeNull();
    expect(answer.errors?.[0]?.message).toMatch(/introspection/i);
    const guesses: [string, object][] = [
      ['{ organizatio { id } }', {}],
      ['{ agents { nam } }', {}],
      ['{ agent(role: INBOUN) { id } }', {}],
      ['{ agents { ... on Agen { id } } }', {}],
      [SAVE, { input: { inboun: {} } }],
      [SAVE, { input: { inbound: { voice: { provider: 'vapi', voiceI: 'a', voiceId: 'b' } } } }],
    ];
    for (const [query, variables] of guesses) {
      const open = await ask(query, { variables });
      expect(open.text).toMatch(/Did you mean/);
      const guess = await ask(query, { variables }, hidden.url);
      expect(guess.errors?.length).toBeGreaterThan(0);
      expect(guess.text).not.toMatch(/Did you mean/);
    }
    // Known fields are still answered, including their type names.
    expect((await ask('{ organization { __typename id } }', {}, hidden.url)).data).toMatchObject({
      organization: { __typename: 'Organization' },
    });
  });

  test('introspection is for everybody or for nobody, signed in or not', async () => {
    const introspect = async (url: string, headers: Record<string, string>) => {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ query: '{ __schema { queryType { name } } }' }),
      });
      const { data } = (await response.json()) as { data?: { __schema: object } | null };
      return data?.__schema ?? null;
    };
    for (const headers of [{}, { authorization: `Bearer ${caller.token}` }]) {
      expect(await introspect(lockstep.url, headers)).toEqual({ queryType: { name: 'Query' } });
      expect(await introspect(hidden.url, headers)).toBeNull();
    }
  });

  test('there is no GraphiQL', async () => {
    const headers = { accept: 'text/html' };
    expect(await (await fetch(lockstep.url, { headers })).text()).toMatch(/<title>Lockstep/);
    const response = await fetch(hidden.url, { headers });
    expect(response.headers.get('content-type') ?? '').not.toMatch(/html/);
    expect(await response.text()).not.toMatch(/<html|graphiql/i);
  });

  describe('only persisted documents', () => {
    let persisted: TestApp;
    beforeAll(async () => {
      persisted = await createTestApp({
        supabase: lockstep.supabase,
        vapi: lockstep.vapi,
        config: { edge: { persistedDocuments: documents } },
      });
    });
    afterAll(() => persisted?.stop());
    const post = async (body: object): Promise<Answer> => {
      const response = await fetch(persisted.url, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${caller.token}`,
          'content-type': 'application/json',
          accept: 'application/graphql-response+json',
        },
        body: JSON.stringify(body),
      });
      const text = await response.text();
      return { ...(JSON.parse(text) as Answer), status: response.status, text };
    };

    test('are answered, with the parameter of GraphQL over HTTP or of Apollo', async () => {
      const variables = { calls: 5 };
      expect((await post({ documentId: 'dashboard', variables })).data).toMatchObject({
        organization: { id: caller.orgId },
      });
      const extensions = { persistedQuery: { version: 1, sha256Hash: 'dashboard' } };
      expect((await post({ extensions, variables })).errors).toBeUndefined();
      const input = { inbound: { systemPrompt: 'Persisted' } };
      expect((await post({ documentId: 'save', variables: { input } })).data).toMatchObject({
        updateAgents: { __typename: 'UpdateAgentsSuccess' },
      });
    });

    test.each<[string, string, object]>([
      ['a document', 'PERSISTED_QUERY_ONLY', { query: '{ __typename }' }],
      ['introspection', 'PERSISTED_QUERY_ONLY', { query: getIntrospectionQuery() }],
      [
        'a document beside an id',
        'PERSISTED_QUERY_ONLY',
        { query: 'mutation { updateAgents(input: {}) { __typename } }', documentId: 'dashboard' },
      ],
      ['an unknown id', 'PERSISTED_QUERY_NOT_IN_LIST', { documentId: 'nobody’s' }],
      ['an id from the prototype', 'PERSISTED_QUERY_NOT_IN_LIST', { documentId: 'constructor' }],
      [
        'an id that is not a string',
        'PERSISTED_QUERY_ID_REQUIRED',
        { documentId: { toString: 'dashboard' } },
      ],
      ['nothing', 'PERSISTED_QUERY_ID_REQUIRED', {}],
    ])('%s is refused with %s', async (_what, code, body) => {
      expectRefusal(await post(body), code, /id/);
      expectNothingHappened();
    });

    test('are answered by GET, except a save', async () => {
      const get = (parameters: Record<string, string>) =>
        fetch(`${persisted.url}?${new URLSearchParams(parameters)}`, {
          headers: { authorization: `Bearer ${caller.token}`, accept: 'application/graphql-response+json' },
        });
      const variables = '{"calls": 5, "input": {"inbound": {"systemPrompt": "By GET"}}}';
      const answered = await get({ documentId: 'dashboard', variables });
      expect(await answered.json()).toMatchObject({ data: { organization: { id: caller.orgId } } });
      await forgetRequests(lockstep);
      expect((await get({ documentId: 'save', variables })).status).toBe(405);
      expect((await get({ documentId: 'other' })).status).toBe(400);
      expect((await get({ query: '{ __typename }' })).status).toBe(400);
      expectNothingHappened();
    });

    test('the server serves no GraphiQL, which could send only refused documents', async () => {
      const response = await fetch(persisted.url, { headers: { accept: 'text/html' } });
      expect(response.headers.get('content-type') ?? '').not.toMatch(/html/);
    });

    test('the variables of a persisted document count toward its cost', async () => {
      const answer = await post({ documentId: 'dashboard', variables: { calls: 10_000 } });
      expectRefusal(answer, 'QUERY_COMPLEXITY', /exceeds the limit/);
      expectNothingHappened();
    });

    test.each([
      ['does not fit the schema', '{ nothing }', /Cannot query field "nothing"/],
      ['is not GraphQL', '{', /Syntax Error/],
      ['has too many aliases', `{ ${times(31, (n) => `a${n}: organization { id }`)} }`, /Aliases limit/],
      ['has too many tokens', `{ ${times(2_000, () => '__typename')} }`, /tokens/],
    ])(
      'a document that %s stops the server at start-up, and the error names it',
      async (_what, text, message) => {
        const config = { edge: { persistedDocuments: new Map([['bad one', text]]) } };
        const started = createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi, config });
        await expect(started).rejects.toThrow(/GRAPHQL_DOCUMENTS_FILE: "bad one"/);
        await expect(started).rejects.toThrow(message);
      },
    );
  });
});

test('these tests ran against the published schema', async () => {
  const published = await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8');
  const { data } = await ask('{ __schema { mutationType { fields { name } } } }');
  const { fields } = (data as { __schema: { mutationType: { fields: { name: string }[] } } }).__schema
    .mutationType;
  for (const { name } of fields) expect(published).toContain(`  ${name}(`);
  // Every mutation is expensive: a new one must declare its cost.
  expect(fields.map(({ name }) => name).sort()).toEqual([
    'buyPhoneNumber',
    'cancelAppointment',
    'createAppointment',
    'importPhoneNumber',
    'releasePhoneNumber',
    'removeKnowledgeBaseDocument',
    'rescheduleAppointment',
    'setDriftPolicy',
    'settleDrift',
    'updateAgents',
    'updateBookingRules',
    'updatePhoneNumber',
    'uploadKnowledgeBaseDocument',
  ]);
});

/** What one document may ask for: refused before anything of it runs, with room for what dashboards ask. */
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
let caller: Caller;
beforeAll(async () => {
  lockstep = await createTestApp();
  caller = await lockstep.newCaller();
});
afterAll(() => lockstep?.stop());
beforeEach(() => forgetRequests(lockstep));

async function ask(
  query: string,
  more: { variables?: object; operationName?: string } = {},
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

const times = (n: number, make: (index: number) => string) =>
  Array.from({ length: n }, (_, index) => make(index)).join(' ');
const saving = (alias: string) =>
  `${alias}: updateAgents(input: { inbound: { systemPrompt: "${alias}" } }) { __typename }`;

describe('saves are dear', () => {
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
      'where a condition may leave them out',
      `mutation ($yes: Boolean = true) { ${times(100, (n) => `... @include(if: $yes) { ${saving(`a${n}`)} }`)} }`,
    ],
    [
      'settling drift',
      `mutation { ${times(100, (n) => `a${n}: settleDrift(input: { role: INBOUND, resolution: REVERT }) { __typename }`)} }`,
    ],
    ['just more than the limit', `mutation { ${times(4, (n) => saving(`a${n}`))} }`],
    [
      'in the operation that is chosen, behind a cheap one',
      `query Cheap { __typename } mutation Dear { ${times(4, (n) => saving(`a${n}`))} }`,
    ],
  ])('a hundred of them are refused before anything runs: %s', async (_what, query) => {
    const answer = await ask(query, query.includes('Dear') ? { operationName: 'Dear' } : {});
    expect(answer.status, answer.text).toBe(400);
    expect(answer.data ?? null).toBeNull();
    expect(answer.errors).toHaveLength(1);
    expect(answer.errors?.[0]?.message).toMatch(/complexity|[Aa]liases|tokens/);
    expectNothingHappened();
  });

  test('one save, with every field of its answer, passes with room for two more', async () => {
    const answer = await ask(SAVE, { variables: { input: { inbound: { systemPrompt: 'P' } } } });
    expect(answer.data, answer.text).toMatchObject({
      updateAgents: { __typename: 'UpdateAgentsSuccess' },
    });
    const three = await ask(`mutation { ${times(3, (n) => saving(`a${n}`))} }`);
    expect(three.errors).toBeUndefined();
  });
});

/** Everything that a dashboard shows on one page. */
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

describe('reading', () => {
  test('a dashboard’s whole page passes, with half of what is allowed to spare', async () => {
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

  test('what is asked of every row counts for each', async () => {
    const list = (n: number) =>
      `a${n}: calls(first: 100) { nodes { agent { sync { drift { path ours theirs } } } } }`;
    expect((await ask(`{ ${times(4, list)} }`)).errors).toBeUndefined();
    const answer = await ask(`{ ${times(8, list)} }`);
    expect(answer.errors?.map(({ message }) => message)).toEqual([expect.stringMatching(/complexity/)]);
    expect(answer.status).toBe(400);
  });

  test('a page size in a variable counts as it is, in one document after the other', async () => {
    const query =
      'query ($first: Int!) { calls(first: $first) { nodes { agent { sync { drift { path ours theirs } } } } } }';
    expect((await ask(query, { variables: { first: 10 } })).errors).toBeUndefined();
    // The same document, which by now is kept as valid.
    const answer = await ask(query, { variables: { first: 1_000_000 } });
    expect(answer.errors?.[0]?.message).toMatch(/complexity/);
    expectReads(1);
    expect((await ask(query, { variables: { first: 10 } })).errors).toBeUndefined();
  });

  test('depth', async () => {
    const shallow = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      config: { edge: { maxDepth: 4 } },
    });
    try {
      const four = '{ calls(first: 1) { nodes { agent { id } } } }';
      const five = '{ calls(first: 1) { nodes { agent { voice { provider } } } } }';
      expect((await ask(four, {}, shallow.url)).errors).toBeUndefined();
      expect((await ask(five, {}, shallow.url)).errors?.[0]?.message).toMatch(/depth of 5 exceeds/);
      expect((await ask(five)).errors).toBeUndefined();
    } finally {
      await shallow.stop();
    }
  });

  test('tokens: told without reading on', async () => {
    const answer = await ask(`{ ${'__typename '.repeat(3_000)} }`);
    expect(answer.errors?.[0]?.message).toMatch(/more tha[nt] 2000 tokens/);
    expect(answer.status).toBe(400);
  });

  test('aliases, those of a fragment once for each use', async () => {
    expect((await ask(`{ ${times(30, (n) => `a${n}: __typename`)} }`)).errors).toBeUndefined();
    for (const query of [
      `{ ${times(31, (n) => `a${n}: organization { id }`)} }`,
      `{ o: organization { ...F } p: organization { ...F } q: organization { ...F } }
       fragment F on Organization { ${times(15, (n) => `a${n}: id`)} }`,
    ]) {
      const answer = await ask(query);
      expect(answer.errors?.map(({ message }) => message)).toEqual([expect.stringMatching(/Aliases limit/)]);
      expect(answer.status).toBe(400);
    }
    expectNothingHappened();
  });

  test('a fragment that holds itself, or many that hold each other', async () => {
    for (const query of [
      '{ ...A } fragment A on Query { ...A }',
      '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
      // Each holds the next twice: two to the power of sixty fields, were they counted one by one.
      `{ ...F0 } ${times(60, (n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`)} fragment F60 on Query { __typename }`,
    ]) {
      const answer = await ask(query);
      expect(answer.status).toBe(400);
      expect(answer.errors?.length).toBeGreaterThan(0);
    }
    expectNothingHappened();
  });

  test('the limits leave room for introspection as clients do it', async () => {
    for (const options of [{}, { descriptions: true, specifiedByUrl: true, inputValueDeprecation: true }]) {
      const answer = await ask(getIntrospectionQuery(options));
      expect(answer.errors, answer.text.slice(0, 300)).toBeUndefined();
    }
  });
});

/** So many lists were read from the database, whatever else. */
function expectReads(most: number) {
  expect(databaseCalls(lockstep).filter((call) => call === 'GET call_logs').length).toBeLessThanOrEqual(most);
}

describe('what is kept of documents', () => {
  test('a long one is not: a thousand of those would fill the memory of the server', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const used = () => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    const before = used();
    for (let index = 0; index < 30; index += 1) {
      // Of few tokens, and different each time.
      const answer = await ask(`query Long { organization { id } } # ${index} ${'x'.repeat(1_000_000)}`);
      expect(answer.status).toBe(200);
      const broken = await ask(`{ # ${index} ${'x'.repeat(1_000_000)}`);
      expect(broken.status).toBe(400);
    }
    // 60 MB, were they kept.
    expect(used() - before).toBeLessThan(25_000_000);
  });
});

describe('more than one operation in a request', () => {
  test.each<[string, string]>([
    ['a batch', '[{"query":"{ __typename }"},{"query":"{ __typename }"}]'],
    ['a batch of one', '[{"query":"{ __typename }"}]'],
    ['an empty batch', '[]'],
  ])('%s is refused', async (_what, body) => {
    const response = await fetch(lockstep.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    expect(response.status).toBe(400);
    expect(((await response.json()) as Answer).errors).toHaveLength(1);
  });
});

describe('where the operator says so', () => {
  const documents = new Map([
    ['dashboard', DASHBOARD],
    ['save', SAVE],
  ]);
  let closed: TestApp;
  beforeAll(async () => {
    closed = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      config: { edge: { introspection: false, graphiql: false } },
    });
  });
  afterAll(() => closed?.stop());

  test('the schema cannot be asked for, nor guessed', async () => {
    const answer = await ask(getIntrospectionQuery(), {}, closed.url);
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
      const guess = await ask(query, { variables }, closed.url);
      expect(guess.errors?.length).toBeGreaterThan(0);
      expect(guess.text).not.toMatch(/Did you mean/);
    }
    // And what is known is answered still, its type included.
    expect((await ask('{ organization { __typename id } }', {}, closed.url)).data).toMatchObject({
      organization: { __typename: 'Organization' },
    });
  });

  test('there is no GraphiQL', async () => {
    const headers = { accept: 'text/html' };
    expect(await (await fetch(lockstep.url, { headers })).text()).toMatch(/<title>Lockstep/);
    const response = await fetch(closed.url, { headers });
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
        headers: { authorization: `Bearer ${caller.token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const text = await response.text();
      return { ...(JSON.parse(text) as Answer), status: response.status, text };
    };

    test('are answered, by the parameter of GraphQL over HTTP or by Apollo’s', async () => {
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

    test.each<[string, object]>([
      ['a document', { query: '{ __typename }' }],
      [
        'a document beside an id',
        { query: 'mutation { updateAgents(input: {}) { __typename } }', documentId: 'dashboard' },
      ],
      ['an unknown id', { documentId: 'nobody’s' }],
      ['an id from the prototype', { documentId: 'constructor' }],
      ['an id that is no text', { documentId: { toString: 'dashboard' } }],
      ['nothing', {}],
    ])('%s is refused', async (_what, body) => {
      const answer = await post(body);
      expect(answer.errors, answer.text).toHaveLength(1);
      expect(answer.data ?? null).toBeNull();
      expect(answer.status).toBeLessThan(500);
      expect(answer.text).not.toMatch(/INTERNAL/);
      expectNothingHappened();
    });

    test('a list that does not fit the schema stops the server at its start', async () => {
      const config = { edge: { persistedDocuments: new Map([['bad', '{ nothing }']]) } };
      await expect(
        createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi, config }),
      ).rejects.toThrow(/persisted document bad/);
    });
  });
});

test('the schema that is published is the one that these tests ran against', async () => {
  const published = await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8');
  const { data } = await ask('{ __schema { mutationType { fields { name } } } }');
  const { fields } = (data as { __schema: { mutationType: { fields: { name: string }[] } } }).__schema
    .mutationType;
  for (const { name } of fields) expect(published).toContain(`  ${name}(`);
  // Every one of them is dear: a new mutation must say what it costs.
  expect(fields.map(({ name }) => name).sort()).toEqual(['settleDrift', 'updateAgents']);
});

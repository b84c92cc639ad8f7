/** Documents and variables generated from the schema: valid, nearly valid and invalid. */
import fc from 'fast-check';
import {
  type GraphQLArgument,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLNamedOutputType,
  type GraphQLOutputType,
  getNamedType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  isRequiredArgument,
  isRequiredInputField,
  isUnionType,
} from 'graphql';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { schema } from '../../src/schema/index.ts';
import { createOwner, digestOf, type Owner } from '../isolation/organizations.ts';
import { createTestApp, type TestApp } from '../support/app.ts';
import { vapiCalls } from '../support/systems.ts';

let lockstep: TestApp;
let owner: Owner;
beforeAll(async () => {
  // The embedded REST layer prints every refused request.
  vi.spyOn(console, 'error').mockImplementation(() => {});
  lockstep = await createTestApp();
  owner = await createOwner(lockstep, 'A');
});
afterAll(async () => {
  vi.restoreAllMocks();
  await lockstep?.stop();
});

const INSIDE =
  /\n\s+at |\bat \S+ \(|\bat file:|node_modules|node:internal|\.[jt]s:\d|PGRST|SQLSTATE|postgres|relation "|column "|INTERNAL_SERVER_ERROR|correlationId/i;

type Gen = fc.GeneratorValue;

/** How often an invalid value replaces a valid one. */
const oneIn = (g: Gen, n: number) => g(fc.integer, { min: 1, max: n }) === 1;

const text = fc.oneof(
  fc.constantFrom(
    '',
    'a',
    '0',
    '-1',
    'null',
    '00000000-0000-4000-8000-00000000000a',
    '2026-01-01T00:00:00Z',
    '%',
    "'",
  ),
  fc.string({ unit: 'binary', maxLength: 20 }).filter((value) => value.isWellFormed()),
);
const scalar = fc.oneof(
  text,
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.boolean(),
  fc.constant(null),
  fc.constantFrom(2 ** 31, -(2 ** 31), Number.MAX_SAFE_INTEGER, 1e308),
);
const junk = fc.oneof(
  scalar,
  fc.array(scalar, { maxLength: 3 }),
  fc.dictionary(text, scalar, { maxKeys: 3 }),
);

/** A value of this type, sometimes invalid. `ids` are ids of existing rows. */
function inputFor(type: GraphQLInputType, g: Gen, ids: string[], depth = 0): unknown {
  if (oneIn(g, 60)) return g(() => junk);
  if (isNonNullType(type)) return inputFor(type.ofType, g, ids, depth);
  if (oneIn(g, 8)) return null;
  if (isListType(type)) {
    return Array.from({ length: g(fc.integer, { min: 0, max: 2 }) }, () =>
      inputFor(type.ofType, g, ids, depth),
    );
  }
  if (isEnumType(type)) return g(() => fc.constantFrom(...type.getValues().map(({ name }) => name)));
  if (isInputObjectType(type)) {
    const fields = Object.values(type.getFields()).filter(
      (field) => isRequiredInputField(field) || (depth < 3 && oneIn(g, 2)),
    );
    return Object.fromEntries(
      fields.map((field: GraphQLInputField) => [field.name, inputFor(field.type, g, ids, depth + 1)]),
    );
  }
  switch (type.name) {
    case 'Int':
      return g(() =>
        fc.oneof(
          { weight: 8, arbitrary: fc.integer({ min: 1, max: 100 }) },
          { weight: 1, arbitrary: fc.constantFrom(0, -1, 101, 2 ** 31 - 1, -(2 ** 31)) },
        ),
      );
    case 'Float':
      return g(() => fc.double({ noNaN: true, noDefaultInfinity: true }));
    case 'Boolean':
      return g(() => fc.boolean());
    case 'ID':
      return g(() => fc.oneof(fc.constantFrom(...ids), fc.uuid(), text));
    case 'DateTime': {
      const dates = fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true });
      const right = dates.map((date) => date.toISOString());
      return g(() => fc.oneof({ weight: 8, arbitrary: right }, { weight: 1, arbitrary: text }));
    }
    default:
      return g(() => text);
  }
}

/** Formats a value as a GraphQL literal, in which enum values are not quoted. */
function literal(value: unknown, type: GraphQLInputType): string {
  const named = getNamedType(type);
  if (isEnumType(named) && typeof value === 'string' && /^[A-Z_]+$/.test(value)) return value;
  if (Array.isArray(value)) return `[${value.map((one) => literal(one, type)).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = isInputObjectType(named) ? named.getFields() : {};
    const parts = Object.entries(value)
      .filter(([name]) => /^[A-Za-z_]\w*$/.test(name))
      .map(([name, member]) => `${name}: ${literal(member, fields[name]?.type ?? named)}`);
    return `{${parts.join(', ')}}`;
  }
  return JSON.stringify(value);
}

interface Draft {
  g: Gen;
  ids: string[];
  variables: { definition: string; name: string; value: unknown }[];
  fragments: string[];
  /** How many more fields the document may have. */
  budget: number;
}

function argumentsOf(args: readonly GraphQLArgument[], draft: Draft): string {
  const { g, ids, variables } = draft;
  // The server refuses an invented cursor.
  const chosen = args.filter(
    (arg) => isRequiredArgument(arg) || oneIn(g, /^(after|before|last)$/.test(arg.name) ? 20 : 3),
  );
  const written = chosen.map((arg) => {
    const value = inputFor(arg.type, g, ids);
    if (oneIn(g, 2)) return `${arg.name}: ${literal(value, arg.type)}`;
    const name = `v${variables.length}`;
    variables.push({ name, definition: `$${name}: ${arg.type}`, value });
    return `${arg.name}: $${name}`;
  });
  if (oneIn(g, 40)) written.push(`${g(() => fc.constantFrom('orgId', 'where', 'limit'))}: 1`);
  return written.length === 0 ? '' : `(${written.join(', ')})`;
}

function selectionOf(type: GraphQLNamedOutputType, draft: Draft, depth: number): string {
  const { g } = draft;
  const parts: string[] = [];
  if (isUnionType(type) || (!isObjectType(type) && isCompositeType(type))) {
    const types = schema.getPossibleTypes(type).filter(() => oneIn(g, 2));
    for (const one of types) parts.push(`... on ${one.name} ${selectionOf(one, draft, depth - 1)}`);
    parts.push('__typename');
  } else if (isObjectType(type)) {
    const fields = type.getFields();
    const names = Object.keys(fields).filter(
      (name) => !isCompositeType(getNamedType(fields[name]?.type)) || (depth > 0 && draft.budget > 0),
    );
    if (names.length === 0) parts.push('__typename');
    const most = Math.min(names.length, Math.max(1, Math.min(5, draft.budget)));
    const chosen = g(() => fc.subarray(names, { minLength: Math.min(1, most), maxLength: most }));
    for (const field of chosen.flatMap((name) => fields[name] ?? [])) {
      draft.budget -= 1;
      const alias = oneIn(g, 6)
        ? `${g(() => fc.constantFrom('a', 'b', 'id', '__proto__', 'constructor'))}: `
        : '';
      const directive = oneIn(g, 12)
        ? ` @${g(() => fc.constantFrom('include', 'skip'))}(if: ${g(() => fc.boolean())})`
        : '';
      parts.push(
        `${alias}${field.name}${argumentsOf(field.args, draft)}${directive}${below(field.type, draft, depth)}`,
      );
    }
    if (oneIn(g, 40))
      parts.push(g(() => fc.constantFrom('nothing', 'org_id', '__schema { types { name } }')));
  }
  if (oneIn(g, 10)) {
    const name = `F${draft.fragments.length}`;
    draft.fragments.push(`fragment ${name} on ${type.name} { ${parts.join(' ')} }`);
    return `{ ...${name} __typename }`;
  }
  return `{ ${parts.join(' ')} }`;
}

function below(type: GraphQLOutputType, draft: Draft, depth: number): string {
  const named = getNamedType(type);
  return isCompositeType(named) ? ` ${selectionOf(named, draft, depth - 1)}` : '';
}

function draftOf(operation: 'query' | 'mutation', g: Gen, ids: string[]) {
  const draft: Draft = { g, ids, variables: [], fragments: [], budget: 40 };
  const type = operation === 'query' ? schema.getQueryType() : schema.getMutationType();
  if (!type) throw new Error('the schema has none');
  const selection = selectionOf(type, draft, g(fc.integer, { min: 1, max: 5 }));
  const { variables } = draft;
  const head =
    variables.length === 0 ? '' : ` Q(${variables.map(({ definition }) => definition).join(', ')})`;
  return {
    query: `${operation}${head} ${selection} ${draft.fragments.join(' ')}`,
    variables: Object.fromEntries(variables.map(({ name, value }) => [name, value])),
  };
}

async function post(body: object, token: string | null) {
  const response = await fetch(lockstep.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json',
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  });
  const answer = await response.text();
  return {
    status: response.status,
    answer,
    body: JSON.parse(answer) as { data?: unknown; errors?: unknown[] },
  };
}

test('a generated query of a signed-in caller is answered or refused, never fails unexpectedly and changes nothing', async () => {
  const before = await digestOf(lockstep.supabase.sql);
  const asked = vapiCalls(lockstep).length;
  const ids = [...owner.calls, ...owner.appointments, ...owner.phoneNumbers, ...owner.documents, owner.save];
  let answered = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.gen(), async (g) => {
      const asking = draftOf('query', g, ids);
      const { status, answer, body } = await post(asking, owner.token);
      expect(status, `${JSON.stringify(asking)}: ${answer}`).toBeLessThan(500);
      expect(answer).not.toMatch(INSIDE);
      if (body.errors === undefined) answered += 1;
      else refused += 1;
    }),
    { numRuns: 400, endOnFailure: true },
  );
  // The generator must produce both kinds.
  expect(answered).toBeGreaterThan(40);
  expect(refused).toBeGreaterThan(60);
  expect(await digestOf(lockstep.supabase.sql)).toEqual(before);
  expect(vapiCalls(lockstep)).toHaveLength(asked);
  console.log(
    `edge, GraphQL: ${answered + refused} generated queries, ${answered} answered, ${refused} refused`,
  );
});

test('a generated mutation of a caller without permission is refused, sends nothing and changes nothing', async () => {
  const { supabase } = lockstep;
  const user = await supabase.createUser();
  const { accessToken } = await supabase.signIn(user.email, user.password);
  const before = await digestOf(supabase.sql);
  const asked = vapiCalls(lockstep).length;
  let generated = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.gen(), fc.constantFrom(null, accessToken, `${owner.token}x`), async (g, token) => {
      generated += 1;
      const { status, answer, body } = await post(draftOf('mutation', g, [owner.agents.INBOUND]), token);
      expect(status, answer).toBeLessThan(500);
      // If its conditions exclude every field, the document has nothing to refuse.
      if (status === 200)
        expect(Object.values(body.data ?? {}).filter((one) => one !== 'Mutation')).toEqual([]);
      else expect(body.errors?.length).toBeGreaterThan(0);
      refused += status === 200 ? 0 : 1;
      expect(answer).not.toMatch(INSIDE);
    }),
    { numRuns: 600, endOnFailure: true },
  );
  expect(refused).toBeGreaterThan(500);
  expect(await digestOf(supabase.sql)).toEqual(before);
  expect(vapiCalls(lockstep)).toHaveLength(asked);
  console.log(
    `edge, GraphQL: ${generated} generated mutations without a right, ${refused} refused, the others empty`,
  );
});

test('text that is nearly GraphQL never causes an unexpected error', async () => {
  const before = await digestOf(lockstep.supabase.sql);
  const token = fc.constantFrom(
    ...[
      '{',
      '}',
      '(',
      ')',
      '[',
      ']',
      ':',
      '=',
      '!',
      '|',
      '&',
      '$',
      '@',
      '...',
      '"',
      '"""',
      '#',
      '\\',
      '\0',
      '\n',
      ',',
    ],
    ...[
      'query',
      'mutation',
      'subscription',
      'fragment',
      'on',
      'null',
      'true',
      'updateAgents',
      'agents',
      'id',
      'type',
    ],
    ...[
      '__schema',
      '__type',
      '__typename',
      '$v',
      '0',
      '-1',
      '1e999',
      '0x1',
      'é',
      '\u{1f9b7}',
      '\ufeff',
      '\u2028',
    ],
  );
  let generated = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.array(token, { maxLength: 40 }).map((tokens) => tokens.join(' ')),
        fc.array(token, { maxLength: 40 }).map((tokens) => tokens.join('')),
        fc.string({ unit: 'binary', maxLength: 60 }),
        // A valid document with a piece cut out.
        fc.tuple(fc.nat(120), fc.nat(40)).map(([at, length]) => {
          const good =
            'query Q($n: Int = 1) { calls(first: $n) { nodes { id ...F } } } fragment F on Call { agent { id } }';
          return good.slice(0, at) + good.slice(at + length);
        }),
      ),
      fc.option(junk),
      fc.option(text),
      async (query, variables, operationName) => {
        generated += 1;
        const { status, answer } = await post({ query, variables, operationName }, owner.token);
        expect(status, answer).toBeLessThan(500);
        expect(answer).not.toMatch(INSIDE);
      },
    ),
    { numRuns: 1_200, endOnFailure: true },
  );
  expect(await digestOf(lockstep.supabase.sql)).toEqual(before);
  console.log(`edge, GraphQL: ${generated} texts that are nearly GraphQL`);
});

test('variables of any shape receive a short error for every operation that has variables, and change nothing', async () => {
  const before = await digestOf(lockstep.supabase.sql);
  const asked = vapiCalls(lockstep).length;
  const key = fc.oneof(
    fc.constantFrom(...['inbound', 'outbound', 'voice', 'role', 'resolution', 'first', 'filter', 'outcomes']),
    fc.constantFrom(
      ...['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'length', '0', ''],
    ),
    fc.string({ unit: 'binary', maxLength: 8 }),
  );
  const { value: json } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 6 },
      fc.oneof(scalar, fc.constantFrom('x'.repeat(6_000), ' Did you mean '.repeat(400), 'INBOUND')),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.array(fc.tuple(key, tie('value')), { maxLength: 6 }),
    ),
  }));
  // Not fc.dictionary(): in JSON text, `__proto__` is an ordinary key, but in a JavaScript object it is not.
  const written = (value: unknown): string => {
    if (!Array.isArray(value)) return JSON.stringify(value);
    const members = value as unknown[];
    if (
      members.length > 0 &&
      members.every((one) => Array.isArray(one) && one.length === 2 && typeof one[0] === 'string')
    ) {
      return `{${(members as [string, unknown][]).map(([name, one]) => `${JSON.stringify(name)}:${written(one)}`).join()}}`;
    }
    return `[${members.map(written).join()}]`;
  };
  const operations = [
    'mutation ($v: UpdateAgentsInput!) { updateAgents(input: $v) { __typename } }',
    'mutation ($v: SettleDriftInput!) { settleDrift(input: $v) { __typename } }',
    'query ($v: CallFilter) { calls(filter: $v) { nodes { id } } }',
    'query ($v: AppointmentFilter) { appointments(filter: $v) { nodes { id } } }',
    'query ($v: Int) { calls(first: $v) { nodes { id } } }',
    'query ($v: ID!) { agentSave(id: $v) { id } }',
  ];
  let generated = 0;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...operations), json, async (query, value) => {
      generated += 1;
      // Without a token, the server validates the variables before it asks for authentication, and reports nothing else.
      const body = `{"query":${JSON.stringify(query)},"variables":{"v":${written(value)}}}`;
      const response = await fetch(lockstep.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json' },
        body,
      });
      const answer = await response.text();
      // A caller without a token may send at most 16 KiB.
      const isTooLarge = Buffer.byteLength(body) > 16 * 1024;
      expect(isTooLarge ? [413] : [400, 401], answer).toContain(response.status);
      expect(answer).not.toMatch(INSIDE);
      expect(answer.length).toBeLessThan(20_000);
    }),
    { numRuns: 1_000, endOnFailure: true },
  );
  expect(await digestOf(lockstep.supabase.sql)).toEqual(before);
  expect(vapiCalls(lockstep)).toHaveLength(asked);
  console.log(`edge, GraphQL: ${generated} generated variables`);
});

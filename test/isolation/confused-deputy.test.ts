/**
 * Sends another organization's ids and cursors in every argument that takes one. The answer must equal the answer for an id that does not
 * exist, and nothing may reach Vapi. The arguments are read from the schema, so a new one cannot be forgotten.
 */
import { randomUUID } from 'node:crypto';
import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isUnionType,
} from 'graphql';
import { gql } from 'graphql-request';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { schema } from '../../src/schema/index.ts';
import { createTestApp, type TestApp } from '../support/app.ts';
import { createOwner, digestOf, type Owner } from './organizations.ts';

/** An argument of an operation that takes an id or a cursor. */
interface Target {
  /** Such as `Query.organization.calls(filter.agentId)`. */
  name: string;
  kind: 'id' | 'cursor';
  /** The whole operation with the value in this argument. */
  operation(value: string): string;
}

type Step = { field: GraphQLField<unknown, unknown>; on: string };

const targets: Target[] = [];
for (const root of [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]) {
  if (root != null) walk(root, root, []);
}

/** Every field with arguments, with the shortest path to its type. */
function walk(
  root: GraphQLObjectType,
  type: GraphQLObjectType,
  path: Step[],
  seen = new Set<string>(),
): void {
  if (seen.has(type.name)) return;
  seen.add(type.name);
  const fields = Object.values(type.getFields());
  for (const field of fields) {
    for (const argument of field.args) collect(root, [...path, { field, on: type.name }], argument, []);
  }
  for (const field of fields) {
    const result = getNamedType(field.type);
    const members = isUnionType(result) ? result.getTypes() : isObjectType(result) ? [result] : [];
    for (const member of members) walk(root, member, [...path, { field, on: type.name }], seen);
  }
}

/** The parts of an argument that take an id or a cursor, at any depth of an input object. */
function collect(
  root: GraphQLObjectType,
  path: Step[],
  at: GraphQLArgument | GraphQLInputField,
  inside: (GraphQLArgument | GraphQLInputField)[],
): void {
  const trail = [...inside, at];
  const type = getNamedType(at.type);
  if (isInputObjectType(type)) {
    if (inside.some((outer) => getNamedType(outer.type) === type)) return;
    for (const field of Object.values(type.getFields())) collect(root, path, field, trail);
    return;
  }
  const isCursor = type.name === 'String' && /^(after|before)$|cursor/i.test(at.name);
  const isId =
    type.name === 'ID' || (type.name === 'String' && /Ids?$/.test(at.name) && !/voiceId/.test(at.name));
  if (!isCursor && !isId) return;
  targets.push({
    name: `${root.name}.${path.map(({ field }) => field.name).join('.')}(${trail.map(({ name }) => name).join('.')})`,
    kind: isCursor ? 'cursor' : 'id',
    operation: (value) => {
      const keyword = root === schema.getMutationType() ? 'mutation' : 'query';
      // Cursors are near the root of the selection, and related objects have their own ids.
      return `${keyword} ${write(path, trail, value, isCursor ? 3 : 4)}`;
    },
  });
}

function write(
  [step, ...rest]: Step[],
  trail: (GraphQLArgument | GraphQLInputField)[],
  value: string,
  depth: number,
): string {
  if (step === undefined) return '';
  const given = step.field.args
    .filter((argument) => (rest.length === 0 && argument === trail[0]) || isRequired(argument))
    .map((argument) =>
      rest.length === 0 && argument === trail[0]
        ? `${argument.name}: ${literalOf(argument.type, trail.slice(1), value)}`
        : `${argument.name}: ${literalOf(argument.type, [], value)}`,
    );
  const result = getNamedType(step.field.type);
  const next = rest[0];
  const selection =
    next === undefined
      ? selectionOf(step.field.type, depth)
      : isUnionType(result)
        ? `{ __typename ... on ${next.on} ${write(rest, trail, value, depth)} }`
        : write(rest, trail, value, depth);
  return `{ ${step.field.name}${given.length > 0 ? `(${given.join(', ')})` : ''} ${selection} }`;
}

function isRequired(input: GraphQLArgument | GraphQLInputField): boolean {
  return isNonNullType(input.type) && input.defaultValue === undefined;
}

/** Optional fields without which a mutation asks for nothing, so that its id would not be looked at. */
const NEEDED: Readonly<Record<string, string>> = { 'UpdatePhoneNumberInput.label': '"Main"' };

/** A literal of this type, with the value at the end of the path and valid values in all required fields. */
function literalOf(
  type: GraphQLInputType,
  trail: (GraphQLArgument | GraphQLInputField)[],
  value: string | undefined,
): string {
  if (isNonNullType(type)) return literalOf(type.ofType, trail, value);
  if (isListType(type)) return `[${literalOf(type.ofType, trail, value)}]`;
  if (isInputObjectType(type)) {
    const [wanted, ...rest] = trail;
    const fields = Object.values(type.getFields())
      .filter((field) => field === wanted || isRequired(field) || `${type.name}.${field.name}` in NEEDED)
      .map((field) => {
        const needed = NEEDED[`${type.name}.${field.name}`];
        return `${field.name}: ${needed ?? literalOf(field.type, field === wanted ? rest : [], value)}`;
      });
    return `{ ${fields.join(', ')} }`;
  }
  if (isEnumType(type)) return type.getValues()[0]?.name ?? '';
  return (
    { Int: '1', Float: '1', Boolean: 'true', DateTime: '"2026-01-01T00:00:00Z"' }[type.name] ??
    JSON.stringify(value)
  );
}

/** Selects all fields without arguments, down to a depth. */
function selectionOf(type: GraphQLOutputType, depth: number): string {
  const named = getNamedType(type);
  if (isLeafType(named)) return '';
  if (isUnionType(named)) {
    const members = named.getTypes().map((member) => `... on ${member.name} ${selectionOf(member, depth)}`);
    return `{ __typename ${members.join(' ')} }`;
  }
  if (!isObjectType(named)) return '{ __typename }';
  const fields = Object.values(named.getFields())
    .filter((field) => field.args.length === 0 && (isLeafType(getNamedType(field.type)) || depth > 1))
    .map((field) => `${field.name} ${selectionOf(field.type, depth - 1)}`);
  return `{ __typename ${fields.join(' ')} }`;
}

let lockstep: TestApp;
let a: Owner;
let b: Owner;
let attacks = 0;

beforeAll(async () => {
  lockstep = await createTestApp();
  [a, b] = await Promise.all([createOwner(lockstep, 'A'), createOwner(lockstep, 'B')]);
});
afterAll(async () => {
  console.log(
    `isolation: ${targets.length} arguments that take an id or a cursor, ${attacks} attacks, no leak`,
  );
  await lockstep?.stop();
});

async function ask(owner: Owner, operation: string): Promise<string> {
  const response = await fetch(lockstep.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${owner.token}` },
    body: JSON.stringify({ query: operation }),
  });
  return `${response.status} ${await response.text()}`;
}

/** The objects of an organization by type. */
function belongings(owner: Owner): Record<string, string> {
  const { agents, assistants, phoneNumbers, documents, calls, appointments } = owner;
  return {
    organization: owner.orgId,
    user: owner.userId,
    'inbound agent': agents.INBOUND,
    'outbound agent': agents.OUTBOUND,
    assistant: assistants[0] ?? '',
    save: owner.save,
    'phone number': phoneNumbers[0] ?? '',
    document: documents[0] ?? '',
    call: calls[0] ?? '',
    appointment: appointments[0] ?? '',
  };
}

/** The answer without the id that was sent, because an error may repeat it. */
function without(answer: string, value: string): string {
  return answer.replaceAll(value, '<the value>');
}

/** Asserts that an answer contains nothing of A. */
function expectNothingOf(owner: Owner, answer: string): void {
  expect(answer).not.toMatch(/(Secret|Number|Document|Customer|Summary)[^"]* of A\b/);
  for (const id of Object.values(belongings(owner))) expect(answer).not.toContain(id);
}

test('finds these arguments in the schema', () => {
  expect(targets.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      'Query.agentSave(id)',
      'Query.call(id)',
      'Query.appointment(id)',
      'Query.phoneNumber(id)',
      'Query.knowledgeBaseDocument(id)',
      'Query.calls(filter.agentId)',
      'Query.calls(filter.phoneNumberId)',
      'Query.calls(after)',
      'Query.calls(before)',
      'Query.appointments(filter.callId)',
      'Query.organization.phoneNumbers(filter.agentId)',
      'Query.organization.knowledgeBaseDocuments(after)',
    ]),
  );
});

describe.each(targets.filter(({ kind }) => kind === 'id'))('$name', ({ name, operation }) => {
  test("answers B's request with an id of A like a request with an id that does not exist", async () => {
    const before = await digestOf(lockstep.supabase.sql);
    const reached = lockstep.vapi.requests.length;
    const unknown = randomUUID();
    const expected = without(await ask(b, operation(unknown)), unknown);
    for (const [what, id] of Object.entries(belongings(a))) {
      const answer = without(await ask(b, operation(id)), id);
      attacks += 1;
      expect(answer, what).toBe(expected);
      expectNothingOf(a, answer);
    }
    expect(lockstep.vapi.requests.length).toBe(reached);
    expect(await digestOf(lockstep.supabase.sql)).toEqual(before);
  });

  test("answers an organization's own id differently, so the argument has an effect", async () => {
    const unknown = randomUUID();
    const nothing = without(await ask(a, operation(unknown)), unknown);
    const answers = await Promise.all(
      Object.values(belongings(a)).map(async (id) => without(await ask(a, operation(id)), id)),
    );
    expect(answers.filter((answer) => answer !== nothing).length).toBeGreaterThan(0);
  });

  test('finds nothing for a malformed id, or refuses it in a filter with the name of the field', async () => {
    const expected = await ask(b, operation(randomUUID()));
    for (const value of [
      'x',
      '',
      '0',
      `${b.save} `,
      `${b.save}'`,
      '*',
      '%',
      `in.(${a.save})`,
      `eq.${a.save}`,
      '../agents',
    ]) {
      attacks += 1;
      const answer = await ask(b, operation(value));
      // The error names the field: an empty page would hide the caller's mistake.
      if (name.includes('filter.')) expect(answer, JSON.stringify(value)).toContain('must be a UUID');
      else expect(answer, JSON.stringify(value)).toBe(expected);
    }
  });
});

const UUIDS = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

describe.each(targets.filter(({ kind }) => kind === 'cursor'))('$name', ({ operation }) => {
  /** All cursors of the list that this organization receives from the field. */
  async function cursorsOf(owner: Owner): Promise<string[]> {
    // A refused cursor has no list in its answer, so this query has no cursor.
    const whole = operation('x').replace(/\((after|before): "x"\)/, '');
    return [...(await ask(owner, whole)).matchAll(/"cursor":"([^"]+)"/g)].map(([, cursor]) => cursor ?? '');
  }

  test("answers B's request with a cursor of A like a request with the cursor of a row that does not exist", async () => {
    const reached = lockstep.vapi.requests.length;
    const cursors = await cursorsOf(a);
    expect(cursors.length).toBeGreaterThan(1);
    for (const cursor of cursors) {
      const place = Buffer.from(cursor, 'base64url').toString();
      const imaginary = Buffer.from(place.replace(UUIDS, randomUUID())).toString('base64url');
      expect(imaginary).not.toBe(cursor);
      const answer = await ask(b, operation(cursor));
      attacks += 1;
      expect(answer).toMatch(/^200 /);
      expect(answer).toBe(await ask(b, operation(imaginary)));
      expectNothingOf(a, answer);
    }
    expect(lockstep.vapi.requests.length).toBe(reached);
  });

  test("applies an organization's own cursors, so the argument has an effect", async () => {
    const cursors = await cursorsOf(b);
    const lengths = await Promise.all(
      cursors.map(async (cursor) => [...(await ask(b, operation(cursor))).matchAll(/"cursor":/g)].length),
    );
    expect(lengths.sort((x, y) => x - y)).toEqual(cursors.map((_, index) => index));
  });

  test('answers an invented or changed cursor with BAD_USER_INPUT and reads nothing', async () => {
    const [cursor = ''] = await cursorsOf(b);
    const [tag, value, id] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as [
      string,
      string,
      string,
    ];
    const encode = (json: unknown) =>
      Buffer.from(typeof json === 'string' ? json : JSON.stringify(json)).toString('base64url');
    for (const forged of [
      '',
      'x',
      `${cursor}=`,
      ` ${cursor}`,
      cursor.slice(0, -2),
      cursor.repeat(200),
      encode('null'),
      encode('{}'),
      encode([tag, value]),
      encode([tag, value, id, id]),
      encode([value, id, tag]),
      encode(['other:asc', value, id]),
      encode([tag?.replace(/asc|desc/, (order) => (order === 'asc' ? 'desc' : 'asc')), value, id]),
      encode([tag, 'x', id]),
      encode([tag, '', id]),
      encode([tag, '0000-01-01T00:00:00+00:00', id]),
      encode([tag, '2026-02-30T00:00:00+00:00', id]),
      encode([tag, '2026-01-01T00:00:00Z"', id]),
      encode([tag, `${value}","id.gt.${id}`, id]),
      encode([tag, `${value}\\`, id]),
      encode([tag, value, 'x']),
      encode([tag, value, `${id})`]),
      encode([tag, value, null]),
      encode([tag, 1, id]),
      Buffer.from(JSON.stringify([tag, value, id], null, 1)).toString('base64url'),
    ]) {
      lockstep.supabase.requests.reset();
      const answer = await ask(b, operation(forged));
      attacks += 1;
      expect(answer, forged).toMatch(/^400 .*"code":"BAD_USER_INPUT"/);
      const lists = lockstep.supabase.requests.all.filter(({ path }) => path !== '/rest/v1/organizations');
      expect(lists, forged).toEqual([]);
    }
  });
});

const SAVE = gql`
  mutation ($input: UpdateAgentsInput!) {
    updateAgents(input: $input) {
      __typename
      ... on UpdateAgentsSuccess { save { id } agents { id systemPrompt } }
      ... on Error { message }
    }
  }
`;

test("a save of B with A's idempotency key is B's own save and does not return A's answer", async () => {
  const answer = await b.client.request<object>(SAVE, {
    input: { idempotencyKey: a.idempotencyKey, inbound: { systemPrompt: 'Secret of A, inbound' } },
  });
  expect(answer).toMatchObject({
    updateAgents: { __typename: 'UpdateAgentsSuccess', agents: [{ id: b.agents.INBOUND }] },
  });
  expect(JSON.stringify(answer)).not.toContain(a.save);
});

test('saves and settleDrift of B change no assistant and no row of A, whatever A is doing', async () => {
  const rowsOfA = () =>
    lockstep.supabase.sql`
      select to_jsonb(x) as row from public.agents x where org_id = ${a.orgId}
      union all select to_jsonb(x) from public.agent_saves x where org_id = ${a.orgId}
      union all select to_jsonb(x) from public.agent_revisions x where org_id = ${a.orgId}`;
  const before = await rowsOfA();
  const reached = lockstep.vapi.requests.length;
  await b.client.request(SAVE, { input: { inbound: { name: 'B in' }, outbound: { name: 'B out' } } });
  await b.client.request(gql`
    mutation {
      settleDrift(input: { role: INBOUND, resolution: REVERT }) { __typename }
    }
  `);
  const requests = lockstep.vapi.requests.slice(reached);
  expect(requests.length).toBeGreaterThan(2);
  for (const { path } of requests) {
    expect(b.assistants.map((id) => `/assistant/${id}`)).toContain(path);
  }
  expect(await rowsOfA()).toEqual(before);
});

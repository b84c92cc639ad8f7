import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { buildSchema } from 'graphql';
import { describe, expect, test } from 'vitest';
import { contractBreaches, schemaChanges } from '../../scripts/schema-changes.ts';
import { printSortedSchema, schema } from './index.ts';

const COMMITTED = new URL('../../schema.graphql', import.meta.url);
const CONTRACT = new URL('../../../shared/contract.graphql', import.meta.url);

/** The text after a change, which must be one. */
function changed(text: string, from: string | RegExp, to: string): string {
  const after = text.replace(from, to);
  expect(after).not.toBe(text);
  return after;
}

describe('schema.graphql', () => {
  const current = printSortedSchema();

  test('is the schema, to the letter', async () => {
    const committed = await readFile(COMMITTED, 'utf8');
    const changes = committed === current ? [] : await schemaChanges(committed, current);
    expect(current, `npm run schema writes it. What changes for clients:\n${changes.join('\n')}`).toBe(
      committed,
    );
  });

  test.each([
    [
      /(type Agent \{[^}]*) {2}vapiAssistantId: String\n/,
      "BREAKING: Field 'vapiAssistantId' was removed from object type 'Agent'",
    ],
    [
      /(union UpdateAgentsResult = .*)SaveFailedError \| /,
      "BREAKING: Member 'SaveFailedError' was removed from Union type 'UpdateAgentsResult'",
    ],
    [
      /(enum SaveStatus \{\n {2}APPLYING\n) {2}COMMITTED\n/,
      "BREAKING: Enum value 'COMMITTED' was removed from enum 'SaveStatus'",
    ],
    [
      /(type Agent \{[^}]* {2}name: String)!/,
      "BREAKING: Field 'Agent.name' changed type from 'String!' to 'String'",
    ],
  ])('%s: what is taken away is named', async (from, message) => {
    const changes = await schemaChanges(current, changed(current, from, '$1'));
    expect(changes[0]).toBe(message);
    expect(changes.slice(1).filter((line) => line.startsWith('BREAKING'))).toEqual([]);
  });

  test('breaking changes stand before the others', async () => {
    const before = 'type Query { a: Int b: Int }';
    expect(await schemaChanges(before, 'type Query { b: Int c: Int }')).toEqual([
      "BREAKING: Field 'a' was removed from object type 'Query'",
      "safe: Field 'c' was added to object type 'Query'",
    ]);
  });
});

describe('the contract', () => {
  const contract = `
    interface Error { message: String! }
    type Query { agent(role: Role!, deep: Boolean = false): Agent agents: [Agent!]! }
    type Agent { id: ID! name: String }
    enum Role { INBOUND OUTBOUND }
    input Change { name: String recreate: Boolean = false }
    union Result = Agent | Refusal
    type Refusal implements Error { message: String! }
    type Mutation { change(input: Change!): Result! }
    type Alone { id: ID! }
  `;
  const breaches = (from: string, to: string) =>
    contractBreaches(buildSchema(contract), buildSchema(changed(contract, from, to)));

  test.each([
    ['type Agent { id: ID!', 'type Agent { id: ID! more: Int!'],
    ['Agent | Refusal', 'Agent | Refusal | Other type Other { id: ID! }'],
    ['INBOUND OUTBOUND', 'INBOUND OUTBOUND BOTH'],
    ['role: Role!', 'role: Role! more: Int'],
    ['input Change {', 'input Change { more: Int'],
    ['type Agent {', 'interface Node { id: ID! } type Agent implements Node {'],
    ['type Agent {', '"An agent." type Agent {'],
  ])('a schema may hold more than %j', async (from, to) => {
    expect(await breaches(from, to)).toEqual([]);
  });

  test.each([
    ['a type', 'type Alone { id: ID! }', ''],
    ['a field', ' name: String }', ' }'],
    ['the type of a field', 'name: String }', 'name: Int }'],
    ['less nullable', 'name: String }', 'name: String! }'],
    ['more nullable', 'agents: [Agent!]!', 'agents: [Agent!]'],
    ['an argument', ', deep: Boolean = false', ''],
    ['the type of an argument', 'role: Role!', 'role: Role'],
    ['the default of an argument', 'deep: Boolean = false', 'deep: Boolean = true'],
    ['no default of an argument', 'deep: Boolean = false', 'deep: Boolean'],
    ['an argument that must be given', 'role: Role!', 'role: Role! more: Int!'],
    ['an input field', 'name: String recreate', 'recreate'],
    ['the default of an input field', 'recreate: Boolean = false', 'recreate: Boolean = true'],
    ['no default of an input field', 'recreate: Boolean = false', 'recreate: Boolean'],
    ['an input field that must be given', 'input Change {', 'input Change { more: Int!'],
    ['an enum value', 'INBOUND OUTBOUND', 'INBOUND'],
    ['a member of a union', 'Agent | Refusal', 'Agent'],
    ['an interface', 'type Refusal implements Error', 'type Refusal'],
    ['the kind of a type', 'union Result = Agent | Refusal', 'type Result { id: ID! }'],
  ])('%s is missed', async (_what, from, to) => {
    expect(await breaches(from, to)).toHaveLength(1);
  });

  test.skipIf(!existsSync(CONTRACT))(
    `is a part of the schema${existsSync(CONTRACT) ? '' : ' (SKIPPED: there is no contract.graphql beside this repository)'}`,
    async () => {
      const given = buildSchema(await readFile(CONTRACT, 'utf8'));
      expect(Object.keys(given.getTypeMap()).length).toBeGreaterThan(30);
      expect(await contractBreaches(given, schema)).toEqual([]);
    },
  );
});

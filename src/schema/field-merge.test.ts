import { buildSchema, type GraphQLSchema, isAbstractType } from 'graphql';
import { expect, test } from 'vitest';
import { schema } from './index.ts';

/**
 * Fields that a client cannot select in several members of one union or interface without aliases: GraphQL refuses two types,
 * nullability included, under one name (https://spec.graphql.org/October2021/#sec-Field-Selection-Merging).
 */
function conflicts(of: GraphQLSchema): string[] {
  return Object.values(of.getTypeMap())
    .filter(isAbstractType)
    .flatMap((abstract) => {
      const types = new Map<string, Map<string, string[]>>();
      for (const member of of.getPossibleTypes(abstract)) {
        for (const field of Object.values(member.getFields())) {
          const byType = types.get(field.name) ?? new Map<string, string[]>();
          types.set(field.name, byType);
          byType.set(String(field.type), [...(byType.get(String(field.type)) ?? []), member.name]);
        }
      }
      return [...types]
        .filter(([, byType]) => byType.size > 1)
        .map(
          ([name, byType]) =>
            `${abstract.name}.${name}: ${[...byType].map(([type, members]) => `${type} in ${members.join(', ')}`).join('; ')}`,
        );
    });
}

test('a field name has one type in all members of a union and in all implementations of an interface', () => {
  expect(schema.getPossibleTypes(schema.getType('UpdateAgentsResult') as never).length).toBeGreaterThan(5);
  expect(conflicts(schema)).toEqual([]);
});

test('a difference in type or in nullability is found', () => {
  const bad = buildSchema(`
    type A { id: ID! at: Int same: [A!]! }
    type B { id: String! at: Int! same: [A!]! }
    type C { id: ID! }
    union U = A | B | C
    type Query { u: U }
  `);
  expect(conflicts(bad)).toEqual(['U.id: ID! in A, C; String! in B', 'U.at: Int in A; Int! in B']);
});

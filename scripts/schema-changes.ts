import { type Change, CriticalityLevel, diff } from '@graphql-inspector/core';
import { buildSchema, type GraphQLSchema } from 'graphql';

const LABEL: Readonly<Record<CriticalityLevel, string>> = {
  [CriticalityLevel.Breaking]: 'BREAKING',
  [CriticalityLevel.Dangerous]: 'dangerous',
  [CriticalityLevel.NonBreaking]: 'safe',
};
const ORDER = Object.keys(LABEL);

/** What clients of the old schema (SDL) meet in the new one, a line each, the breaking ones first. */
export async function schemaChanges(before: string, after: string): Promise<string[]> {
  const changes = await diff(buildSchema(before), buildSchema(after));
  return changes
    .toSorted((a, b) => ORDER.indexOf(a.criticality.level) - ORDER.indexOf(b.criticality.level))
    .map(({ criticality, message }) => `${LABEL[criticality.level]}: ${message}`);
}

/** Additions that nobody has to know of. */
const ADDITIONS = new Set<Change['type']>([
  'TYPE_ADDED',
  'FIELD_ADDED',
  'ENUM_VALUE_ADDED',
  'UNION_MEMBER_ADDED',
  'OBJECT_TYPE_INTERFACE_ADDED',
  'DIRECTIVE_ADDED',
]);

/** Where the schema lacks, or says otherwise, what the contract says; empty = the contract is a part of it. */
export async function contractBreaches(contract: GraphQLSchema, schema: GraphQLSchema): Promise<string[]> {
  const changes = await diff(contract, schema);
  return changes
    .filter(({ type, criticality }) => {
      if (ADDITIONS.has(type) || type.includes('DESCRIPTION') || type.startsWith('DIRECTIVE_USAGE_'))
        return false;
      // More arguments and input fields are welcome as long as nobody has to give them.
      const mayBeOptional = type === 'INPUT_FIELD_ADDED' || type === 'FIELD_ARGUMENT_ADDED';
      return !(mayBeOptional && criticality.level !== CriticalityLevel.Breaking);
    })
    .map(({ message }) => message);
}

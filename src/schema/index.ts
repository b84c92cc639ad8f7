import './agent.ts';
import './appointment.ts';
import './call.ts';
import './document.ts';
import './errors.ts';
import './organization.ts';
import './phone-number.ts';
import './save.ts';
import './set-drift-policy.ts';
import './settle-drift.ts';
import './update-agents.ts';
import { lexicographicSortSchema, printSchema } from 'graphql';
import { builder } from './builder.ts';

/** The whole schema. Loading this module defines every type; building it checks them. */
export const schema = builder.toSchema();

/** The schema as text, sorted: what schema.graphql holds. */
export function printSortedSchema(): string {
  return `${printSchema(lexicographicSortSchema(schema))}\n`;
}

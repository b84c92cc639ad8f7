import './agents/agent.ts';
import './appointments/appointment.ts';
import './appointments/booking-rules.ts';
import './appointments/change-appointments.ts';
import './calls/call.ts';
import './calls/ledger.ts';
import './knowledge-base/change-documents.ts';
import './knowledge-base/document.ts';
import './errors.ts';
import './organizations/organization.ts';
import './phone-numbers/change.ts';
import './phone-numbers/phone-number.ts';
import './agents/save.ts';
import './agents/set-drift-policy.ts';
import './agents/settle-drift.ts';
import './agents/update-agents.ts';
import { lexicographicSortSchema, printSchema } from 'graphql';
import { builder } from './builder.ts';

/** The whole schema. Loading this module defines every type; building it checks them. */
export const schema = builder.toSchema();

/** The schema as text, sorted: what schema.graphql holds. */
export function printSortedSchema(): string {
  return `${printSchema(lexicographicSortSchema(schema))}\n`;
}

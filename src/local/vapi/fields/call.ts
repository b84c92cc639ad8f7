/** The bodies of `/call` and `/call/web`. A test compares them with Vapi's own description. */
import { any, bool, free, list, type Rules, shape, str, text } from '../rules.ts';
import { assistantFields, specified } from '../validate.ts';
import { tool } from './tool.ts';

const nullable = { ...text, nullable: true } as const;
const overrides = shape({ ...assistantFields, variableValues: free, 'tools:append': list(tool) });
const customer = shape({
  numberE164CheckEnabled: bool,
  extension: str(10),
  assistantOverrides: overrides,
  squadOverrides: overrides,
  number: str(40, 3),
  sipUri: text,
  name: str(40),
  email: str(40),
  externalId: str(40),
});
const speaker: Rules = {
  assistantVersion: nullable,
  assistantId: text,
  assistant: specified,
  assistantOverrides: overrides,
  squadId: text,
  squad: free,
  squadOverrides: overrides,
  workflowId: text,
  workflow: free,
  workflowOverrides: free,
};

export const callCreate = shape({
  ...speaker,
  transport: any,
  customers: list(customer),
  name: str(40),
  schedulePlan: shape({ 'earliestAt!': text, latestAt: text }),
  phoneNumberId: text,
  phoneNumber: free,
  customerId: text,
  customer,
});
export const webCallCreate = shape({ ...speaker, roomDeleteOnUserLeaveEnabled: bool });
export const callUpdate = shape({ name: str(40) });
export const callDelete = shape({ ids: list(text) });

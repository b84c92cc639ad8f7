export const PHONE_NUMBER_STATES = [
  'PROVISIONING',
  'ACTIVATING',
  'ACTIVE',
  'BLOCKED',
  'RELEASING',
  'RELEASED',
  'MISSING',
  'FAILED',
  'UNKNOWN',
] as const;
export type PhoneNumberState = (typeof PHONE_NUMBER_STATES)[number];

/** A phone number as the database holds it. Times are ISO-8601. */
export interface PhoneNumberRecord {
  id: string;
  /** E.164. Null until Vapi has shown it. */
  number: string | null;
  label: string | null;
  provider: string;
  state: PhoneNumberState;
  /** What went wrong, in words. */
  failure: string | null;
  agentId: string | null;
  createdAt: string;
}

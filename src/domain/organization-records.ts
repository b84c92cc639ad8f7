/** What an organization owns besides its agents, as the database holds it. Times are ISO-8601. */

export interface PhoneNumberRecord {
  id: string;
  /** E.164. */
  number: string;
  label: string | null;
  provider: string;
  agentId: string | null;
  createdAt: string;
}

export const DOCUMENT_STATES = ['PENDING', 'PROCESSING', 'READY', 'FAILED'] as const;
export type DocumentState = (typeof DOCUMENT_STATES)[number];

export interface DocumentRecord {
  id: string;
  name: string;
  contentType: string;
  sizeBytes: number;
  state: DocumentState;
  failure: string | null;
  createdAt: string;
}

export const CALL_DIRECTIONS = ['INBOUND', 'OUTBOUND'] as const;
export type CallDirection = (typeof CALL_DIRECTIONS)[number];

export const CALL_OUTCOMES = [
  'COMPLETED',
  'TRANSFERRED',
  'VOICEMAIL',
  'NO_ANSWER',
  'BUSY',
  'FAILED',
] as const;
export type CallOutcome = (typeof CALL_OUTCOMES)[number];

export interface CallRecord {
  id: string;
  agentId: string | null;
  phoneNumberId: string | null;
  direction: CallDirection;
  customerNumber: string | null;
  customerName: string | null;
  startedAt: string;
  /** Null, like the outcome: the call is not over. */
  endedAt: string | null;
  outcome: CallOutcome | null;
  endedReason: string | null;
  summary: string | null;
  costUsd: number | null;
}

export const APPOINTMENT_STATUSES = ['SCHEDULED', 'CONFIRMED', 'COMPLETED', 'CANCELLED', 'NO_SHOW'] as const;
export type AppointmentStatus = (typeof APPOINTMENT_STATUSES)[number];

export interface AppointmentRecord {
  id: string;
  callId: string | null;
  customerName: string;
  customerNumber: string | null;
  startsAt: string;
  endsAt: string;
  status: AppointmentStatus;
  notes: string | null;
  createdAt: string;
}

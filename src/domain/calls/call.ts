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

/** A call as the database holds it. Times are ISO-8601. */
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

export const CALL_DIRECTIONS = ['INBOUND', 'OUTBOUND'] as const;
export type CallDirection = (typeof CALL_DIRECTIONS)[number];

export const CALL_CHANNELS = ['PHONE', 'WEB'] as const;
export type CallChannel = (typeof CALL_CHANNELS)[number];

/** How far a call has come, before its end. */
export const CALL_PROGRESS = [
  'REQUESTED',
  'UNKNOWN',
  'QUEUED',
  'RINGING',
  'IN_PROGRESS',
  'FORWARDING',
] as const;
export type CallProgress = (typeof CALL_PROGRESS)[number];
export const CALL_STATUSES = [...CALL_PROGRESS, 'ENDED'] as const;

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
  vapiCallId: string | null;
  agentId: string | null;
  phoneNumberId: string | null;
  direction: CallDirection;
  channel: CallChannel;
  progress: CallProgress;
  customerNumber: string | null;
  customerName: string | null;
  createdAt: string;
  startedAt: string | null;
  /** Its place in lists: when it started, or was created. */
  listedAt: string;
  endedAt: string | null;
  /** Null: the call is not over. */
  outcome: CallOutcome | null;
  endedReason: string | null;
  summary: string | null;
  costUsd: number | null;
  costParts: Record<string, number>;
  /** What the stamp of the assistant said. The save may not have been committed. */
  agentSaveId: string | null;
  stampedRevision: number | null;
  contentRemovedAt: string | null;
}

/** What was said in a call. */
export interface CallContent {
  /** Of the call. */
  id: string;
  transcript: { role: string; text: string; secondsFromStart: number | null }[] | null;
  analysis: { successEvaluation?: string; structuredData?: object } | null;
}

/** Vapi's words for an end that is no failure (docs/vapi.md#ended-reasons). */
const OUTCOMES: readonly [RegExp, CallOutcome][] = [
  [/^(customer-did-not-answer|call\.forwarding\.no-answer)$/, 'NO_ANSWER'],
  [/^(customer-busy|call\.forwarding\.operator-busy)$/, 'BUSY'],
  [/^voicemail$/, 'VOICEMAIL'],
  [/^(assistant-forwarded-call|call\.ringing\.hook-executed-transfer)$/, 'TRANSFERRED'],
  [/^customer-ended-call/, 'COMPLETED'],
  [
    /^(assistant-ended-call.*|assistant-said-end-call-phrase|silence-timed-out|exceeded-max-duration|manually-canceled)$/,
    'COMPLETED',
  ],
];

/** The outcome of a call that ended for this reason. The set of reasons is open: what is not known is a failure. */
export function outcomeOf(reason: string): CallOutcome {
  return OUTCOMES.find(([pattern]) => pattern.test(reason))?.[1] ?? 'FAILED';
}

export const CALL_USAGE_GROUPINGS = ['DAY', 'AGENT', 'NUMBER'] as const;
export type CallUsageGrouping = (typeof CALL_USAGE_GROUPINGS)[number];

export interface CallUsage {
  /** The day as YYYY-MM-DD, or the id of the agent or the number; `-` if the calls have none. */
  key: string;
  calls: number;
  seconds: number;
  costUsd: number;
}

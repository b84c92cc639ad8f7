/** Calls as Vapi reports them: the messages of its events, and the entries of its list. */
import { randomUUID } from 'node:crypto';
import type { JsonObject } from '../../src/domain/json.ts';

export interface CallOf {
  id: string;
  type: 'inboundPhoneCall' | 'outboundPhoneCall' | 'webCall';
  assistantId?: string | undefined;
  phoneNumberId?: string | undefined;
  customer?: JsonObject;
  metadata?: JsonObject;
}

export const callOf = (over: Partial<CallOf> = {}): CallOf => ({
  id: randomUUID(),
  type: 'inboundPhoneCall',
  customer: { number: '+14155550187', name: 'Ana Ruiz' },
  ...over,
});

const START = Date.UTC(2026, 10, 24, 16, 2, 11);
const at = (seconds: number) => new Date(START + seconds * 1_000).toISOString();

/** Vapi's record of the call, some seconds after it was created. */
export function recordOf(call: CallOf, seconds: number, over: JsonObject = {}): JsonObject {
  const { metadata: _metadata, ...rest } = call;
  const record: JsonObject = { orgId: 'vapi-org', createdAt: at(0), updatedAt: at(seconds), cost: 0 };
  for (const [name, value] of Object.entries({ ...rest, ...over }))
    if (value !== undefined) record[name] = value;
  return record;
}

const ENDED = { status: 'ended', endedReason: 'customer-ended-call', startedAt: at(8), endedAt: at(166.7) };
const COST = { transport: 0.0213, vapi: 0.1322, llm: 0.0612, total: 0.2147 };
const WORDS = {
  analysis: { summary: 'The caller booked a cleaning.', successEvaluation: 'true' },
  artifact: {
    recordingUrl: 'https://storage.example.test/rec.wav',
    messages: [
      { role: 'system', message: 'You answer calls.' },
      { role: 'bot', message: 'North Dental, how can I help?', secondsFromStart: 0.9 },
      { role: 'user', message: 'I need a cleaning.', secondsFromStart: 4.8 },
    ],
  },
};

/** As the list of calls shows a call that is over, some seconds after it was created. */
export const listedOf = (call: CallOf, seconds = 200, over: JsonObject = {}): JsonObject =>
  recordOf(call, seconds, { ...ENDED, cost: 0.2147, costBreakdown: COST, ...WORDS, ...over });

const envelope = (call: CallOf, record: JsonObject): JsonObject => ({
  call: record,
  ...(call.assistantId === undefined
    ? {}
    : {
        assistant: {
          id: call.assistantId,
          ...(call.metadata === undefined ? {} : { metadata: call.metadata }),
        },
      }),
  ...(call.phoneNumberId === undefined
    ? {}
    : { phoneNumber: { id: call.phoneNumberId, twilioAuthToken: 'canary-carrier-token' } }),
  ...(call.customer === undefined ? {} : { customer: call.customer }),
});

export const statusUpdate = (
  call: CallOf,
  status: string,
  seconds: number,
  over: JsonObject = {},
): JsonObject => ({
  type: 'status-update',
  timestamp: START + seconds * 1_000,
  status,
  ...envelope(call, recordOf(call, seconds, { status, ...(seconds > 8 ? { startedAt: at(8) } : {}) })),
  ...over,
});

export const endOfCallReport = (call: CallOf, seconds = 170, over: JsonObject = {}): JsonObject => ({
  ...{ type: 'end-of-call-report', timestamp: START + seconds * 1_000, ...ENDED, status: undefined as never },
  ...{ cost: 0.2147, costBreakdown: COST, ...WORDS },
  ...envelope(call, recordOf(call, seconds, ENDED)),
  ...over,
});

export const toolCalls = (
  call: CallOf,
  calls: JsonObject[],
  seconds = 60,
  over: JsonObject = {},
): JsonObject => ({
  type: 'tool-calls',
  timestamp: START + seconds * 1_000,
  toolCallList: calls,
  ...envelope(call, recordOf(call, seconds, { status: 'in-progress', startedAt: at(8) })),
  ...over,
});

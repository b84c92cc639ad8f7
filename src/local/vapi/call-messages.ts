/** The messages of a call, in the shapes of real deliveries (docs/vapi.md#webhooks), and what faults make of them. Without I/O. */
import { artifactOf } from './call-report.ts';
import type { CallFault, CallScript } from './call-script.ts';
import { isObject, type Json, type JsonObject } from './json.ts';

/** What every message of a call carries. */
export interface Envelope {
  readonly at: number;
  /** As GET shows it. */
  readonly call: JsonObject;
  readonly assistant: JsonObject | undefined;
  /** As stored: with the secrets of its carrier, as in real deliveries. */
  readonly phoneNumber: JsonObject | undefined;
  /** Everything that was said so far. */
  readonly messages: readonly JsonObject[];
}

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: JsonObject;
  /** The whole tool, as the assistant has it. */
  readonly definition: JsonObject;
}

/** Fields of a call that only the report has, and there beside the call. */
const NOT_IN_MESSAGES = ['artifact', 'messages', 'analysis', 'cost', 'costs', 'costBreakdown', 'monitor'];

export function envelope(type: string, on: Envelope, fields: JsonObject = {}): JsonObject {
  const { at, call, assistant, phoneNumber, messages } = on;
  const { customer, assistantVersion } = call;
  return {
    type,
    timestamp: at,
    ...fields,
    call: without(call, NOT_IN_MESSAGES),
    ...(assistant ? { assistant } : {}),
    ...(phoneNumber ? { phoneNumber } : {}),
    ...(customer === undefined ? {} : { customer }),
    ...(assistantVersion === undefined ? {} : { assistantVersion }),
    artifact: isObject(fields['artifact']) ? fields['artifact'] : { messages },
  };
}

export function statusUpdate(on: Envelope, faults: readonly CallFault[]): JsonObject {
  const { status = '', endedReason } = on.call;
  const message = envelope('status-update', on, {
    status,
    ...(status === 'ended' && endedReason !== undefined ? { endedReason } : {}),
  });
  return status === 'ended' ? withReasonAt(message, faults) : message;
}

/** `full`: despite the faults that leave something out. */
export function report(on: Envelope, faults: readonly CallFault[], full = false): JsonObject {
  const { call } = on;
  const { startedAt, endedAt, endedReason, cost, costs, costBreakdown, analysis } = call;
  const artifact = isObject(call['artifact']) ? call['artifact'] : artifactOf(String(call['id']), []);
  const durationMs =
    typeof startedAt === 'string' && typeof endedAt === 'string'
      ? Date.parse(endedAt) - Date.parse(startedAt)
      : 0;
  const large = faults.find(({ kind }) => kind === 'large');
  const padding = large?.kind === 'large' ? { role: 'tool', content: 'x'.repeat(large.bytes) } : undefined;
  const known = {
    ...{ endedReason, startedAt, endedAt, cost, costs, costBreakdown, analysis: analysis ?? {} },
    ...{ durationMs, durationSeconds: durationMs / 1000, durationMinutes: durationMs / 60_000 },
    ...{ transcript: artifact['transcript'], recordingUrl: artifact['recordingUrl'] },
    ...{ stereoRecordingUrl: artifact['stereoRecordingUrl'] },
    summary: isObject(analysis) ? analysis['summary'] : undefined,
    artifact: padding ? { ...artifact, messagesOpenAIFormatted: [padding] } : artifact,
  };
  const message = withReasonAt(envelope('end-of-call-report', on, defined(known)), faults);
  return full ? message : withoutMissing(message, faults);
}

const BELONGING: Readonly<Record<string, readonly string[]>> = {
  analysis: ['analysis', 'summary'],
  cost: ['cost', 'costs', 'costBreakdown'],
  startedAt: ['startedAt', 'durationMs', 'durationSeconds', 'durationMinutes'],
  customer: ['customer'],
};

function withoutMissing(message: JsonObject, faults: readonly CallFault[]): JsonObject {
  const names = faults.flatMap((fault) => {
    if (fault.kind === 'missing' || fault.kind === 'late-fields') return fault.fields;
    return fault.kind === 'second-report' ? ['analysis', 'cost'] : [];
  });
  const dropped = names.flatMap((name) => BELONGING[name] ?? []);
  const { call } = message;
  const rest = without(message, dropped);
  return isObject(call) ? { ...rest, call: without(call, dropped) } : rest;
}

function withReasonAt(message: JsonObject, faults: readonly CallFault[]): JsonObject {
  const fault = faults.find(({ kind }) => kind === 'ended-reason');
  if (fault?.kind !== 'ended-reason') return message;
  if (fault.at === 'call') return without(message, ['endedReason']);
  const { call } = message;
  return isObject(call) ? { ...message, call: without(call, ['endedReason']) } : message;
}

type Shape = Extract<CallFault, { kind: 'tool-call-shape' }>['shape'];

export function toolCalls(
  on: Envelope,
  calls: readonly ToolCall[],
  faults: readonly CallFault[],
): JsonObject {
  const fault = faults.find(({ kind }) => kind === 'tool-call-shape');
  const shape = fault?.kind === 'tool-call-shape' ? fault.shape : 'specification';
  return envelope('tool-calls', on, {
    toolCallList: calls.map((call) => shaped(call, shape)),
    toolWithToolCallList: calls.map((call) => ({ ...call.definition, toolCall: shaped(call, shape) })),
  });
}

export function shaped({ id, name, arguments: given }: ToolCall, shape: Shape = 'specification'): JsonObject {
  switch (shape) {
    case 'specification':
      return { id, type: 'function', function: { name, arguments: JSON.stringify(given) } };
    case 'object-arguments':
      return { id, type: 'function', function: { name, arguments: given } };
    case 'flat':
      return { id, name, arguments: given };
    case 'flat-parameters':
      return { id, name, parameters: given };
  }
}

/** What the model hears of each tool call; null: nothing that counts, so "No result returned" (docs/vapi.md#tool-call-answers). */
export function heardOf(
  { status, body }: { status: number | null; body: unknown },
  ids: readonly string[],
): (string | null)[] {
  const results = status === 200 && isObject(body) ? body['results'] : undefined;
  return ids.map((id) => {
    const own = Array.isArray(results)
      ? results.find((result) => isObject(result) && result['toolCallId'] === id)
      : undefined;
    const text: Json | undefined = own?.error ?? own?.result;
    return typeof text === 'string' && !/[\r\n]/.test(text) ? text : null;
  });
}

/** The arguments with what an earlier answer gave; undefined if no answer has it. */
export function resolvedArguments(given: JsonObject, answers: readonly string[]): JsonObject | undefined {
  const resolved = Object.entries(given).map(([name, value]) => [name, resolve(value, answers)] as const);
  if (resolved.some(([, value]) => value === undefined)) return undefined;
  return defined(Object.fromEntries(resolved));
}

function resolve(value: Json, answers: readonly string[]): Json | undefined {
  if (!isObject(value) || typeof value['$answer'] !== 'string') return value;
  const pattern = new RegExp(value['$answer'], 'g');
  const nth = typeof value['nth'] === 'number' ? value['nth'] : 0;
  for (const answer of answers.toReversed()) {
    const found = [...answer.matchAll(pattern)];
    const match = found[nth % Math.max(1, found.length)];
    if (match) return match[1] ?? match[0];
  }
  return undefined;
}

/** What an outcome other than `answered` ends with. */
export const OUTCOMES: Readonly<Record<Exclude<CallScript['outcome'], 'answered'>, string>> = {
  'not-answered': 'customer-did-not-answer',
  voicemail: 'voicemail',
  busy: 'customer-busy',
  failed: 'twilio-failed-to-connect-call',
};

function defined(fields: Readonly<Record<string, Json | undefined>>): JsonObject {
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

export function without(fields: JsonObject, names: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
}

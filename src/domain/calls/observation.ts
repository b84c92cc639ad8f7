import { createHash } from 'node:crypto';
import { isJsonObject, type Json, type JsonObject } from '../json.ts';
import { boundedText } from '../text.ts';
import { isUuid } from '../uuid.ts';
import { type CallOutcome, type CallProgress, outcomeOf } from './call.ts';

/**
 * What one event, or one entry of Vapi's list of calls, says of a call. Only what is named here is taken over: an event carries the
 * carrier's secrets and those of other tools (docs/vapi.md#webhook-content), and whatever is not read cannot be stored.
 */

/**
 * A fact is worth as much as the members before its value say, the first of them first: the greater of two facts wins
 * (lockstep.merge_facts). So the order in which observations come does not matter.
 */
export type Fact = readonly [...rank: number[], value: Json];

export interface Observation {
  vapiCallId: string;
  facts: Record<string, Fact>;
  /** What the facts `summary`, `transcript` and `analysis` name by its hash. */
  content: JsonObject;
}

/** Where an observation comes from. */
export interface Source {
  /** At the same `updatedAt`, a list wins over an event, which may have been sent earlier. */
  from: 'EVENT' | 'LIST';
  /** When the list was asked for, milliseconds, on Vapi's clock; 0 for an event. */
  atMs: number;
}

/** The longest content that is kept. What is beyond is cut off. */
const CALL_LIMITS = {
  summary: 20_000,
  messages: 2_000,
  message: 10_000,
  analysisText: 20_000,
} as const;

/** Maps, and not objects: a word from outside, such as "constructor", must not find what every object inherits. */
const PROGRESS: ReadonlyMap<string, readonly [rank: number, CallProgress]> = new Map([
  ['scheduled', [1, 'QUEUED']],
  ['queued', [1, 'QUEUED']],
  ['ringing', [2, 'RINGING']],
  ['in-progress', [3, 'IN_PROGRESS']],
  ['forwarding', [4, 'FORWARDING']],
]);

const SPEAKERS: ReadonlyMap<string, string> = new Map([
  ['bot', 'assistant'],
  ['assistant', 'assistant'],
  ['user', 'customer'],
  ['customer', 'customer'],
]);

/**
 * What the message of an event says of its call, or null if it names none. Never throws, whatever the message is. Some fields stand in the
 * message, some in its call, some in both (docs/vapi.md#event-fields); if both have a field, the message wins.
 */
export function observeEvent(message: JsonObject): Observation | null {
  const call = objectAt(message, 'call');
  if (call === null) return null;
  const { endedReason, startedAt, endedAt, cost, costBreakdown, analysis, artifact, customer } = message;
  const said = { endedReason, startedAt, endedAt, cost, costBreakdown, analysis, artifact, customer };
  const merged: JsonObject = { ...call };
  for (const [name, value] of Object.entries(said))
    if (value !== undefined && value !== null) merged[name] = value;
  if (message['type'] === 'status-update' && typeof message['status'] === 'string')
    merged['status'] = message['status'];
  if (message['type'] === 'end-of-call-report') merged['status'] = 'ended';
  const summary = message['summary'];
  if (typeof summary === 'string' && objectAt(merged, 'analysis')?.['summary'] === undefined) {
    merged['analysis'] = { ...objectAt(merged, 'analysis'), summary };
  }
  const observation = observeCall(merged, { from: 'EVENT', atMs: 0 });
  if (observation === null) return null;
  const { facts } = observation;
  const ids: [string, unknown][] = [
    ['assistant', objectAt(message, 'assistant')?.['id']],
    ['number', objectAt(message, 'phoneNumber')?.['id']],
  ];
  for (const [resource, id] of ids) if (isId(id)) facts[`${resource}:${id}`] = [1];
  const stamp = stampOf(objectAt(message, 'assistant')) ?? stampOf(objectAt(call, 'assistantOverrides'));
  if (stamp !== null) facts['stamp'] = [stamp];
  if (message['type'] === 'call.deleted') facts['deleted'] = [1];
  return observation;
}

/** What Vapi's record of a call says, or null if it is none. Never throws. */
export function observeCall(call: JsonObject, { from, atMs }: Source): Observation | null {
  const { id } = call;
  if (!isId(id)) return null;
  const status = typeof call['status'] === 'string' ? call['status'] : '';
  const reason = textAt(call, 'endedReason', 200);
  const endedAt = instantAt(call, 'endedAt');
  const ended = status === 'ended' || reason !== null || endedAt !== null;
  const updatedAt = instantAt(call, 'updatedAt');
  const rank = [ended ? 1 : 0, updatedAt === null ? 0 : Date.parse(updatedAt), from === 'LIST' ? 1 : 0, atMs];
  const facts: Record<string, Fact> = {};
  const content: JsonObject = {};
  const note = (name: string, value: Json | null | undefined) => {
    if (value !== null && value !== undefined) facts[name] = [...rank, value];
  };
  const keep = (name: string, value: Json | null) => {
    if (value === null) return;
    content[name] = value;
    note(name, createHash('sha256').update(JSON.stringify(value)).digest('hex'));
  };

  const progress = PROGRESS.get(status);
  if (progress !== undefined) facts['progress'] = [...progress];
  if (ended) facts['ended'] = [1];
  for (const [resource, field] of [
    ['assistant', 'assistantId'],
    ['number', 'phoneNumberId'],
  ] as const) {
    const remoteId = call[field];
    if (isId(remoteId)) facts[`${resource}:${remoteId}`] = [1];
  }
  switch (call['type']) {
    case 'webCall':
    case 'vapi.websocketCall':
      note('channel', 'WEB');
      break;
    case 'outboundPhoneCall':
      note('direction', 'OUTBOUND');
      break;
  }
  const customer = objectAt(call, 'customer');
  note(
    'customerNumber',
    customer === null ? null : (sizedAt(customer, 'number', 3, 40) ?? sizedAt(customer, 'sipUri', 3, 40)),
  );
  note('customerName', customer === null ? null : sizedAt(customer, 'name', 1, 200));
  note('name', textAt(call, 'name', 40));
  note('createdAt', instantAt(call, 'createdAt'));
  note('startedAt', instantAt(call, 'startedAt'));
  note('endedAt', endedAt);
  note('endedReason', reason === null ? null : { reason, outcome: outcomeOf(reason) satisfies CallOutcome });
  // Vapi says 0 from the beginning (docs/vapi.md#call-cost).
  if (ended) {
    const parts = objectAt(call, 'costBreakdown');
    const cost = amount(call['cost']) ?? amount(parts?.['total']);
    note('cost', cost);
    const amounts = Object.entries(parts ?? {}).filter(([name, value]) => isCostPart(name, value));
    if (amounts.length > 0) note('costParts', Object.fromEntries(amounts.slice(0, 30)));
  }
  const artifact = objectAt(call, 'artifact');
  const analysis = objectAt(call, 'analysis');
  keep('summary', analysis === null ? null : textAt(analysis, 'summary', CALL_LIMITS.summary));
  keep('transcript', transcriptOf(artifact?.['messages'] ?? call['messages']));
  keep('analysis', analysisOf(analysis));
  if (['recordingUrl', 'stereoRecordingUrl', 'recording'].some((name) => artifact?.[name] != null))
    facts['recording'] = [1];
  return { vapiCallId: id, facts, content };
}

/** The stamp that a save has put into the assistant: which save, and which revision of the configuration. */
function stampOf(assistant: JsonObject | null): JsonObject | null {
  const stamp = objectAt(objectAt(assistant ?? {}, 'metadata') ?? {}, 'lockstep');
  if (stamp === null) return null;
  const { deployment, saveId, revision } = stamp;
  if (typeof deployment !== 'string' || !isUuid(deployment)) return null;
  const known =
    typeof saveId === 'string' && isUuid(saveId) && Number.isInteger(revision) && Number(revision) > 0;
  const save = known && Number(revision) < 2 ** 31 ? { saveId, revision: revision as number } : {};
  return { deployment, ...save };
}

function transcriptOf(messages: Json | undefined): Json | null {
  if (!Array.isArray(messages)) return null;
  const said = messages.slice(0, 2 * CALL_LIMITS.messages).flatMap((message) => {
    if (!isJsonObject(message)) return [];
    const role = SPEAKERS.get(String(message['role']));
    const text =
      textAt(message, 'message', CALL_LIMITS.message) ?? textAt(message, 'content', CALL_LIMITS.message);
    if (role === undefined || text === null) return [];
    const seconds = message['secondsFromStart'];
    return [
      {
        role,
        text,
        secondsFromStart: typeof seconds === 'number' && Number.isFinite(seconds) ? seconds : null,
      },
    ];
  });
  return said.length === 0 ? null : said.slice(0, CALL_LIMITS.messages);
}

function analysisOf(analysis: JsonObject | null): Json | null {
  if (analysis === null) return null;
  const kept: JsonObject = {};
  const { successEvaluation, structuredData } = analysis;
  if (typeof successEvaluation === 'string')
    kept['successEvaluation'] = boundedText(successEvaluation, 1_000);
  if (isJsonObject(structuredData) && JSON.stringify(structuredData).length <= CALL_LIMITS.analysisText) {
    kept['structuredData'] = structuredData;
  }
  return Object.keys(kept).length === 0 ? null : kept;
}

function objectAt(value: JsonObject, name: string): JsonObject | null {
  const member = value[name];
  return isJsonObject(member) ? member : null;
}

/** Null if it is no text, or empty. */
function textAt(value: JsonObject, name: string, most: number): string | null {
  const member = value[name];
  const text = typeof member === 'string' ? boundedText(member, most) : '';
  return text.trim() === '' ? null : text;
}

/** Null if it is shorter or longer than that: half a number is none. */
function sizedAt(value: JsonObject, name: string, least: number, most: number): string | null {
  const text = textAt(value, name, most + 1);
  return text !== null && text.length >= least && text.length <= most ? text : null;
}

/** ISO-8601 in UTC. Null if it is no moment of our time: the database takes more than a client can read. */
function instantAt(value: JsonObject, name: string): string | null {
  const member = value[name];
  const ms = typeof member === 'string' ? Date.parse(member) : Number.NaN;
  return ms >= Date.UTC(2000, 0) && ms < Date.UTC(2200, 0) ? new Date(ms).toISOString() : null;
}

/** US dollars. */
function amount(value: Json | undefined): number | null {
  return typeof value === 'number' && value >= 0 && value < 1e9 ? value : null;
}

function isCostPart(name: string, value: Json): boolean {
  return /^[A-Za-z]{1,40}$/.test(name) && amount(value) !== null;
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && /^[A-Za-z0-9_-]{1,100}$/.test(value);
}

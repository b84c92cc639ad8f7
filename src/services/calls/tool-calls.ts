import { observeEvent } from '../../domain/calls/observation.ts';
import { isJsonObject, type Json, type JsonObject } from '../../domain/json.ts';
import type { CallStore } from '../../ports/calls/call-store.ts';
import type { Clock, Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { CallerOfTool, ToolCall } from '../appointments/answer-tool-call.ts';

/** Returns one line of text. Never throws. */
export type AnswerToolCall = (call: CallerOfTool, toolCall: ToolCall) => Promise<string>;
/** The body of the answer to the message of an event of kind tool-calls. Throws `DatabaseError` only if nothing was done. */
export type AnswerToolCalls = (message: JsonObject) => Promise<{ results: ToolResult[] }>;

/** As Vapi reads it (docs/vapi.md#tool-call-answers). */
export interface ToolResult {
  toolCallId: string;
  name: string;
  result: string;
}

export interface ToolCallPorts {
  store: Pick<CallStore, 'observe'>;
  answer: AnswerToolCall;
  clock: Pick<Clock, 'monotonic'>;
  log: Log;
  meter: Meter;
}

/** In one message. A model asks for one or two. */
const MOST = 16;
const NOT_OURS = 'I cannot reach the calendar for this call.';

/**
 * Answers the tool calls of one message, in their order. The organization, the call and the caller's number are those that the database
 * finds for the ids of the message; nothing that the model says chooses them.
 */
export function createAnswerToolCalls({ store, answer, clock, log, meter }: ToolCallPorts): AnswerToolCalls {
  return async (message) => {
    const startedAt = clock.monotonic();
    const toolCalls = toolCallsOf(message);
    const observation = observeEvent(message);
    const [seen] = observation === null ? [] : await store.observe([observation]);
    const results: ToolResult[] = [];
    // One after the other: the second may depend on the first.
    for (const toolCall of toolCalls) {
      let result = NOT_OURS;
      if (seen?.state === 'SHOWN') {
        const call = { orgId: seen.orgId, callId: seen.callId, callerNumber: seen.customerNumber };
        result = await answer(call, toolCall);
      }
      results.push({ toolCallId: toolCall.id, name: toolCall.name, result });
    }
    meter.count('call.tool_answered', results.length);
    log.info(
      {
        event: 'call.tool_answered',
        tools: toolCalls.map(({ name }) => name),
        ...(seen?.state === 'SHOWN'
          ? { orgId: seen.orgId, callId: seen.callId }
          : { state: seen?.state ?? null }),
        ms: Math.round(clock.monotonic() - startedAt),
      },
      'answered tool calls',
    );
    return { results };
  };
}

/** The tool calls of a message, in any of the forms in which Vapi sends them (docs/vapi.md#tool-call-shapes). */
function toolCallsOf(message: JsonObject): ToolCall[] {
  const { toolCallList, toolWithToolCallList, toolCalls } = message;
  const wrapped = Array.isArray(toolWithToolCallList)
    ? toolWithToolCallList.map((tool) => (isJsonObject(tool) ? (tool['toolCall'] ?? null) : null))
    : [];
  const lists = [toolCallList, toolCalls, wrapped].filter((list) => Array.isArray(list) && list.length > 0);
  return ((lists[0] ?? []) as Json[]).slice(0, MOST).flatMap((entry) => {
    if (!isJsonObject(entry)) return [];
    const called = isJsonObject(entry['function']) ? entry['function'] : entry;
    const { id } = entry;
    const { name } = called;
    if (typeof id !== 'string' || id === '' || id.length > 200) return [];
    if (typeof name !== 'string' || !/^[\w-]{1,80}$/.test(name)) return [];
    return [{ id, name, arguments: called['arguments'] ?? called['parameters'] ?? {} }];
  });
}

/** What happens in a call that the stand-in plays: the lines, the tool calls, the outcome and the faults. It is JSON. */
import { z } from 'zod';

const ms = z.number().min(0).max(86_400_000);
const jsonObject = z.record(z.string(), z.json());

/** An argument `{ $answer: regex, nth? }` is the nth match in the latest answer that has one: the first group, else the whole match. */
const toolCall = z.strictObject({
  tool: z.string().min(1),
  arguments: jsonObject.default({}),
  /** The id of the tool call; made if absent. */
  id: z.string().optional(),
});
/**
 * In a text, `{firstMessage}` stands for that of the assistant, `{answer}` for the latest answer of a tool, and any other name in
 * braces for what `fill` finds, as an argument. If an answer lacks one of those, `otherwise` is said, or nothing.
 */
const line = z.strictObject({ fill: jsonObject.optional(), otherwise: z.string().optional() });
const stepSchema = z.union([
  line.extend({ bot: z.string() }),
  line.extend({ user: z.string() }),
  /** `again`: whether the model asks once more, with a new id. */
  toolCall.extend({ again: z.enum(['never', 'if-unanswered', 'always']).default('if-unanswered') }),
  /** Several tool calls in one message. */
  z.strictObject({ tools: z.array(toolCall).min(1) }),
  z.strictObject({ waitMs: ms }),
]);

/** `*`: every message but tool calls. */
const event = z.enum([
  ...(['status-update:ringing', 'status-update:in-progress', 'status-update:forwarding'] as const),
  ...(['status-update:ended', 'end-of-call-report', 'tool-calls', '*'] as const),
]);
const lateField = z.enum(['analysis', 'cost']);
const faultSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('lost'), event }),
  /** The copies differ in their links to the recording. Those of a tool call are sent at once. */
  z.strictObject({
    kind: z.literal('duplicated'),
    event,
    copies: z.int().min(2).max(100).default(2),
    apartMs: ms.default(0),
  }),
  /** The call goes on meanwhile. Not for tool calls. */
  z.strictObject({ kind: z.literal('late'), event, ms }),
  /** `reversed`: everything but tool calls is sent after the end, the latest first. */
  z.strictObject({ kind: z.literal('order'), order: z.enum(['report-first', 'reversed']) }),
  /** One message more, of this type. */
  z.strictObject({ kind: z.literal('unknown-kind'), type: z.string().default('assistant.mood-changed') }),
  /** One message more, about a call that nothing lists. */
  z.strictObject({ kind: z.literal('unknown-call'), callId: z.string() }),
  /** The report has at least this many bytes. */
  z.strictObject({ kind: z.literal('large'), bytes: z.int().min(1).max(50_000_000).default(5_000_000) }),
  z.strictObject({
    kind: z.literal('tool-call-shape'),
    shape: z.enum(['specification', 'object-arguments', 'flat', 'flat-parameters']),
  }),
  /** Where a message has the reason of the end. Both if absent. */
  z.strictObject({ kind: z.literal('ended-reason'), at: z.enum(['message', 'call']) }),
  /** What the report leaves out. `GET /call` has it. */
  z.strictObject({
    kind: z.literal('missing'),
    fields: z.array(z.enum(['startedAt', 'analysis', 'cost', 'customer'])).min(1),
  }),
  /** The report leaves them out, and `GET /call` has them only `ms` after the report. */
  z.strictObject({ kind: z.literal('late-fields'), fields: z.array(lateField).min(1), ms }),
  /** The report has neither analysis nor cost; `ms` later there is a second one, which has both. */
  z.strictObject({ kind: z.literal('second-report'), ms: ms.default(0) }),
]);

const customer = z.strictObject({
  number: z.string().optional(),
  sipUri: z.string().optional(),
  name: z.string().optional(),
  externalId: z.string().optional(),
});

const DEFAULT_STEPS = [
  { bot: '{firstMessage}' },
  { user: 'Hello, are you open on Thursday?' },
  { bot: 'Yes, we are. Goodbye.' },
];

export const callScript = z.strictObject({
  /** A call that `POST /call` or `POST /call/web` made. Otherwise a call comes in. */
  callId: z.string().optional(),
  /** The number that is called. */
  phoneNumberId: z.string().optional(),
  /** Without a number: over the number that has this assistant, or from a browser if none has. */
  assistantId: z.string().optional(),
  /** Absent: a caller with a number. Null: an anonymous one. */
  customer: customer.nullable().default({ number: '+14155550187' }),
  steps: z
    .array(stepSchema)
    .max(1000)
    .default(DEFAULT_STEPS.map((step) => ({ ...step }))),
  outcome: z.enum(['answered', 'not-answered', 'voicemail', 'busy', 'failed']).default('answered'),
  /** Instead of the reason that the outcome has. */
  endedReason: z.string().optional(),
  /** How long it rings, how long each line takes, and the time from the end to the report. */
  ringMs: ms.default(0),
  stepMs: ms.default(0),
  reportMs: ms.default(0),
  /** In US dollars; otherwise by duration, tokens and characters. */
  cost: z.number().min(0).optional(),
  /** Null: the call is not analysed. */
  analysis: jsonObject.nullable().optional(),
  faults: z.array(faultSchema).default([]),
});

export type CallScript = z.output<typeof callScript>;
export type CallScriptInput = z.input<typeof callScript>;
export type CallStep = z.output<typeof stepSchema>;
export type CallFault = z.output<typeof faultSchema>;
export type ToolCallStep = z.output<typeof toolCall>;

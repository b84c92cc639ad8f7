/**
 * Everything about the stand-in that a test or a demonstration can switch. Most of it is what nobody outside Vapi knows
 * (docs/vapi.md#unknown): the default is the assumption that the code makes, the other values are what Vapi could do instead.
 */
import { z } from 'zod';

const ms = z.number().min(0);

const settingsSchema = z.strictObject({
  /** For how long lists leave out a new resource. */
  listLagMs: ms.default(0),

  /** Time from the purchase of a number until it has digits and is active. 0: the answer to the purchase has them. */
  numberActivationMs: ms.default(3_000),
  /**
   * What becomes of a bought number when that time is over: `active`; `never` stays activating; `blocked`; `half-provisioned` is
   * active and has no digits; `sip-only` is active and has a SIP address instead, as numbers without an area code always have.
   */
  numberActivation: z.enum(['active', 'never', 'blocked', 'half-provisioned', 'sip-only']).default('active'),
  /** Area codes that a purchase is refused for. */
  areaCodesWithoutStock: z.array(z.string()).default(['212']),
  /** The area codes that such a refusal suggests. */
  suggestedAreaCodes: z.array(z.string()).default(['562', '662', '716']),
  /** How many bought numbers a Vapi organization can have. Lower it to try that a release does not give a place back. */
  freeNumbers: z.number().int().min(0).default(5),
  /** Numbers that an import is refused for, because the carrier's account does not have them. The default is Twilio's own test number. */
  numbersNotAtCarrier: z.array(z.string()).default(['+15005550001']),
  /** Whether GET and lists hide the middle of the digits. The answer to a POST never does. */
  maskDigits: z.boolean().default(false),
  /** What null does to a field of a number in a PATCH. */
  numberNull: z.enum(['removes', 'stored', 'refused']).default('removes'),
  /** Whether a PATCH of a number must repeat the provider. */
  numberProviderInPatch: z.enum(['optional', 'required']).default('optional'),
  /** Whether answers about a number have the headers of its server. */
  numberServerHeaders: z.enum(['shown', 'hidden']).default('shown'),
  /** What a number does with the id of an assistant that does not exist. */
  unknownAssistantId: z.enum(['accepted', 'refused']).default('accepted'),
  /** What the deletion of an assistant does to the numbers that refer to it. */
  numbersOfDeletedAssistant: z.enum(['kept', 'detached']).default('kept'),

  /** Time from an upload until the file is parsed. 0: the answer to the upload says so. */
  fileProcessingMs: ms.default(2_000),
  /** What becomes of an uploaded file when that time is over. */
  fileOutcome: z.enum(['done', 'failed', 'never']).default('done'),
  /** The largest file, bytes. */
  maxFileBytes: z
    .number()
    .int()
    .min(1)
    .default(10 * 1024 * 1024),
  /** What an upload does with a file name of more than 40 characters. */
  longFileNames: z.enum(['truncated', 'refused']).default('truncated'),
  /** What a list of files without `purpose` answers. */
  fileListWithoutPurpose: z.enum(['refused', 'all']).default('refused'),
  /** What DELETE does with a file that a tool names. If it is deleted, its id stays in the tool. */
  fileInUse: z.enum(['deleted', 'refused']).default('deleted'),

  /** What a tool does with the id of a file that does not exist. */
  unknownFileIds: z.enum(['accepted', 'refused']).default('accepted'),
  /** What a tool does with a knowledge base without files. */
  emptyFileIds: z.enum(['accepted', 'refused']).default('accepted'),
  /** What a query tool does with `function`. `dropped`: accepted, and in no answer. */
  queryToolFunction: z.enum(['kept', 'dropped', 'refused']).default('kept'),

  /** Whether the account has assistant versions: edits in the dashboard are then drafts (see `versions.ts`). */
  assistantVersions: z.boolean().default(false),
  /** What a write through the API does to a pending draft of the assistant. */
  draftAfterApiWrite: z.enum(['kept', 'discarded']).default('kept'),
  /** What publishing does with a draft that is older than the latest version. `published`: it undoes what was written since. */
  staleDraft: z.enum(['published', 'refused']).default('published'),

  /** How many calls the account can have at once, over all Vapi organizations. */
  concurrencyLimit: z.number().int().min(0).default(10),
  /**
   * What `POST /call` does when no line is free: `waits` until there is one; `fails`: it is made, and ends with an error;
   * `refused` with 400.
   */
  overConcurrency: z.enum(['waits', 'fails', 'refused']).default('waits'),
  /** How many calls a bought number can make in a day, UTC. */
  freeNumberDailyCalls: z.number().int().min(0).default(10),
  /** For how many days lists have a call; null: for ever. */
  callRetentionDays: z.number().min(0).nullable().default(null),
  /** Whether answers about a call leave out its messages, artifact and analysis. */
  zeroDataRetention: z.boolean().default(false),
  /** Whether an outbound call is played by itself. `held`: only when `POST /__stand-in/calls` names it. */
  outboundCalls: z.enum(['played', 'held']).default('played'),
  /** Time from `POST /call` until the number rings. */
  outboundDelayMs: ms.default(1_000),
  /** What becomes of an outbound call that is played by itself. */
  outboundOutcome: z.enum(['answered', 'not-answered', 'voicemail', 'busy', 'failed']).default('answered'),
  /** Time from the start of the stand-in until it goes on with the calls that were on when it was killed. */
  resumeCallsAfterMs: ms.default(3_000),
  /** Whether `updatedAt` of a call moves when its cost and analysis are added after its end. */
  lateCallFields: z.enum(['move-updatedAt', 'keep-updatedAt']).default('move-updatedAt'),

  /** Whether a `backoffPlan` repeats a webhook that timed out. */
  webhookRetryAfterTimeout: z.enum(['as-planned', 'never']).default('as-planned'),
  /** Whether a `backoffPlan` repeats tool calls. */
  toolCallRetries: z.enum(['as-planned', 'never']).default('as-planned'),
  /** Whether a repeated webhook has a new timestamp and signature. */
  webhookRetrySignature: z.enum(['new', 'same']).default('new'),
});

export type Settings = z.output<typeof settingsSchema>;
/** Absent settings keep their value. */
export type SettingsInput = Partial<z.input<typeof settingsSchema>>;

/** Throws `ZodError` for an unknown setting or value. */
export function changedSettings(before: Settings | undefined, input: SettingsInput): Settings {
  return settingsSchema.parse({ ...before, ...input });
}

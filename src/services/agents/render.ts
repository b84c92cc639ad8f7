import type { AgentConfig, TransferDestination } from '../../domain/agents/agent-config.ts';
import type { Stamp } from '../../domain/agents/stamp.ts';
import { APPOINTMENT_TOOLS } from '../../domain/appointments/tools.ts';
import { isJsonObject, type JsonObject } from '../../domain/json.ts';
import { SEARCH_TOOL } from '../../domain/knowledge-base/document.ts';

/**
 * From an agent's configuration to the complete set of assistant fields that Lockstep manages, and nothing else.
 *
 * Every save sends the same complete set, because a PATCH replaces each top-level field that it names and keeps the
 * others (docs/vapi.md#patch-replaces-top-level-fields). A partial `model` would erase the prompt. An undo is the same set with older content.
 *
 * `context` is what goes into the document besides the configuration. It is stored with every image and every agent, so that the
 * same bytes can be sent again and a comparison never depends on what has changed since.
 */
type Render = (config: AgentConfig, stamp: Stamp, context: JsonObject) => JsonObject;

interface Mapping {
  /** Every top-level field that a document of this version and context holds. The sweep compares these and no others. */
  fields(context: JsonObject): readonly string[];
  render: Render;
}

const FIELDS_V1 = [
  'name',
  'firstMessage',
  'firstMessageMode',
  'model',
  'voice',
  'transcriber',
  'maxDurationSeconds',
  'metadata',
];

const renderV1 = (config: AgentConfig, stamp: Stamp) => ({
  name: config.name,
  // Null unsets the field (docs/vapi.md#null-unsets). The mode then says explicitly who speaks first.
  firstMessage: config.firstMessage,
  firstMessageMode: config.firstMessage === null ? 'assistant-waits-for-user' : 'assistant-speaks-first',
  model: {
    provider: config.model.provider,
    model: config.model.name,
    messages: [{ role: 'system', content: config.systemPrompt }],
    ...present({ temperature: config.model.temperature, maxTokens: config.model.maxTokens }),
  },
  voice: {
    provider: config.voice.provider,
    voiceId: config.voice.voiceId,
    ...present({ stability: config.voice.stability, similarityBoost: config.voice.similarityBoost }),
    // Two providers ask for one field more than the rest (official OpenAPI, NeuphonicVoice and SesameVoice).
    ...(config.voice.provider === 'neuphonic' ? { language: config.language } : {}),
    ...(config.voice.provider === 'sesame' ? { model: 'csm-1b' } : {}),
  },
  transcriber: { provider: 'deepgram', model: 'nova-3', language: config.language },
  maxDurationSeconds: config.maxDurationSeconds,
  metadata: { ...config.extraMetadata, lockstep: { ...stamp } },
});

const FIELDS_V2 = [...FIELDS_V1, 'voicemailMessage', 'voicemailDetection'];
/** Managed as soon as the deployment has named a server for events, and for ever after: an old one must be unset. */
const EVENT_FIELDS = ['server', 'serverMessages'];

/** Never phone-call-control, with which Vapi stops to end calls by itself (docs/vapi.md#webhook-kinds). */
const SERVER_MESSAGES = ['status-update', 'end-of-call-report', 'tool-calls'];

/** The model does not call a tool that no prompt names (docs/vapi.md#tools-must-be-named). The tenant's own prompt stays as it is. */
const SEARCH_PROMPT =
  `You have the tool ${SEARCH_TOOL}. It searches the documents of this business. Call it before you answer a question about ` +
  'the business, its services, prices or policies. If it finds nothing, say that you do not know.';

const BOOKING_PROMPT =
  `You can book, move and cancel appointments with the tools ${APPOINTMENT_TOOLS.map(({ name }) => name).join(', ')}. ` +
  `Call ${APPOINTMENT_TOOLS[0]?.name} before you offer a time. Say that an appointment is booked, moved or cancelled only if the ` +
  'result of the tool says so.';

/** Only a server that receives events answers these tools. Without one, the model would promise what nobody books. */
function books(config: AgentConfig, { server }: JsonObject): boolean {
  return config.bookAppointments && isJsonObject(server ?? null);
}

function renderV2(config: AgentConfig, stamp: Stamp, context: JsonObject): JsonObject {
  const v1 = renderV1(config, stamp);
  const search = typeof context['toolId'] === 'string' ? [context['toolId']] : [];
  const toolIds = [...search, ...(config.operatorToolIds ?? [])];
  const tools: JsonObject[] = [];
  if (config.transferTo.length > 0) {
    tools.push({ type: 'transferCall', destinations: config.transferTo.map(destination) });
  }
  if (config.endCall) tools.push({ type: 'endCall' });
  const booking = books(config, context);
  // Without a server of their own, they are asked of the one of the assistant (docs/vapi.md#webhook-server).
  if (booking) tools.push(...APPOINTMENT_TOOLS.map((tool) => ({ type: 'function', function: { ...tool } })));
  return {
    ...v1,
    model: {
      ...v1.model,
      messages: [
        ...v1.model.messages,
        ...(search.length > 0 ? [{ role: 'system', content: SEARCH_PROMPT }] : []),
        ...(booking ? [{ role: 'system', content: BOOKING_PROMPT }] : []),
      ],
      // Left out where there are none: a model without them erases them (docs/vapi.md#model-erases-tools).
      ...(tools.length > 0 ? { tools } : {}),
      ...(toolIds.length > 0 ? { toolIds } : {}),
    },
    voicemailMessage: config.voicemailMessage,
    // Without detection, the message would never be spoken (docs/vapi.md#voicemail-detection).
    voicemailDetection: config.voicemailMessage === null ? null : { provider: 'vapi' },
    ...events(context),
  };
}

/** Where Vapi sends the events of the agent's calls; nothing if the context does not say. */
function events({ server }: JsonObject): JsonObject {
  if (server === undefined) return {};
  if (!isJsonObject(server)) return { server: null, serverMessages: null };
  const { url = null, credentialId = null } = server;
  return {
    server: {
      // Vapi waits so long for the answer to a tool call.
      ...{ url, timeoutSeconds: 20, credentialId },
      // Without a plan, Vapi sends each event once (docs/vapi.md#webhook-retries). What this server refuses, it refuses again.
      backoffPlan: {
        ...{ type: 'exponential', maxRetries: 3, baseDelaySeconds: 1 },
        excludedStatusCodes: [400, 401, 403, 404, 413, 422],
      },
    },
    serverMessages: SERVER_MESSAGES,
  };
}

function destination({ number, description, message }: TransferDestination): JsonObject {
  return { type: 'number', number, description, ...(message === null ? {} : { message }) };
}

/** Old versions stay for as long as a journal entry or an agent refers to them: recovery must send the same bytes. */
const MAPPINGS = new Map<number, Mapping>([
  [1, { fields: () => FIELDS_V1, render: renderV1 }],
  [
    2,
    {
      fields: (context) => ('server' in context ? [...FIELDS_V2, ...EVENT_FIELDS] : FIELDS_V2),
      render: renderV2,
    },
  ],
]);

/** The version that new saves use. */
export const MAPPING_VERSION = 2;

/** Does this build know the version? If not, a newer build wrote the document, and only that build can judge it. */
export function isKnownMapping(version: number): boolean {
  return MAPPINGS.has(version);
}

/** The complete managed document. Pure; throws on a mapping version that this build does not know. */
export function renderAssistant(
  version: number,
  config: AgentConfig,
  stamp: Stamp,
  context: JsonObject,
): JsonObject {
  return mapping(version).render(config, stamp, context);
}

/** The top-level fields of a document of this version and context. Throws on a mapping version that this build does not know. */
export function managedFields(version: number, context: JsonObject): readonly string[] {
  return mapping(version).fields(context);
}

function mapping(version: number): Mapping {
  const known = MAPPINGS.get(version);
  if (known === undefined)
    throw new Error(`unknown mapping version ${version}: a newer build wrote this save`);
  return known;
}

/** The members that have a value: inside `model` and `voice`, an absent key is how "not set" is said. */
function present<T extends Record<string, number | null>>(members: T): { [key: string]: number } {
  return Object.fromEntries(
    Object.entries(members).filter((entry): entry is [string, number] => entry[1] !== null),
  );
}

import {
  type AgentConfig,
  type AgentConfigPatch,
  isValidConfig,
} from '../../../domain/agents/agent-config.ts';
import type { Stamp } from '../../../domain/agents/stamp.ts';
import { APPOINTMENT_TOOLS } from '../../../domain/appointments/tools.ts';
import { isJsonObject, type Json, type JsonObject, jsonEqual } from '../../../domain/json.ts';
import { observedForm } from '../compare.ts';
import { MAPPING_VERSION, renderAssistant } from '../render.ts';
import { holdsSecret } from './drift.ts';

/**
 * The change that makes an edit of the Vapi dashboard ours: the configuration that renders to exactly what Vapi holds. Null
 * where there is none: the edit touches something that a configuration cannot say, and only a revert can settle it.
 */
export function adoptablePatch(
  current: AgentConfig,
  assistant: JsonObject,
  stamp: Stamp,
  context: JsonObject,
): AgentConfigPatch | null {
  // By the version of the save that would adopt it: what is there must be what that save sends.
  const held = observedForm(MAPPING_VERSION, context, assistant);
  const found = configOf(current, held, context);
  // A secret would stand in the configuration and in its history, which everybody of the organization reads.
  if (!isValidConfig(found) || holdsSecret(found.extraMetadata ?? {})) return null;
  // The proof, and not the reading, decides: what we would send is what is there.
  const sent = renderAssistant(MAPPING_VERSION, found, stamp, context);
  const rendered = observedForm(MAPPING_VERSION, context, sent);
  if (!jsonEqual(rendered, held)) return null;
  const patch = Object.fromEntries(
    Object.entries(found).filter(([key, value]) => !jsonEqual(value, current[key as keyof AgentConfig])),
  ) as AgentConfigPatch;
  return Object.keys(patch).length === 0 ? null : patch;
}

/**
 * The configuration that comes closest to a document. A field that it cannot read keeps its current value. Which tools from
 * elsewhere the agent has is never read: they are an operator's decision, because a tool may hold another organization's secrets.
 */
export function configOf(current: AgentConfig, document: JsonObject, context: JsonObject): AgentConfig {
  const model = object(document['model']);
  const voice = object(document['voice']);
  const { name, firstMessage, maxDurationSeconds = 600, voicemailMessage } = document;
  const metadata = object(document['metadata']);
  const extra =
    Object.keys(metadata).length > 0 || current.extraMetadata !== undefined
      ? { extraMetadata: metadata }
      : {};
  return {
    ...current,
    name: textOr(current.name, name),
    systemPrompt: textOr(current.systemPrompt, object(list(model['messages'])[0])['content']),
    firstMessage: textOr(null, firstMessage),
    voice: {
      provider: textOr(current.voice.provider, voice['provider']),
      voiceId: textOr(current.voice.voiceId, voice['voiceId']),
      stability: numberOrNull(voice['stability']),
      similarityBoost: numberOrNull(voice['similarityBoost']),
    },
    model: {
      provider: textOr(current.model.provider, model['provider']),
      name: textOr(current.model.name, model['model']),
      temperature: numberOrNull(model['temperature']),
      maxTokens: numberOrNull(model['maxTokens']),
    },
    language: textOr(current.language, object(document['transcriber'])['language']),
    maxDurationSeconds: numberOrNull(maxDurationSeconds) ?? current.maxDurationSeconds,
    ...toolsOf(list(model['tools'])),
    voicemailMessage: textOr(null, voicemailMessage),
    bookAppointments: isJsonObject(context['server'] ?? null)
      ? hasAppointmentTools(list(model['tools']))
      : current.bookAppointments,
    ...extra,
  };
}

function toolsOf(tools: Json[]): Pick<AgentConfig, 'transferTo' | 'endCall'> {
  const types = tools.map((tool) => object(tool)['type']);
  const destinations = list(object(tools[types.indexOf('transferCall')])['destinations']).map(object);
  return {
    transferTo: destinations.map(({ number, description, message }) => ({
      number: textOr('', number),
      description: textOr('', description),
      message: textOr(null, message),
    })),
    endCall: types.includes('endCall'),
  };
}

/** Without a server for events, an agent that may book has no such tools either, so that their absence says nothing. */
function hasAppointmentTools(tools: Json[]): boolean {
  const names = tools.map((tool) => object(object(tool)['function'])['name']);
  return APPOINTMENT_TOOLS.every(({ name }) => names.includes(name));
}

function object(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

function list(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

function textOr<Otherwise>(otherwise: Otherwise, value: Json | undefined): string | Otherwise {
  return typeof value === 'string' ? value : otherwise;
}

function numberOrNull(value: Json | undefined): number | null {
  return typeof value === 'number' ? value : null;
}

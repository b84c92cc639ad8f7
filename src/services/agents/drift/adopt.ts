import {
  type AgentConfig,
  type AgentConfigPatch,
  isValidConfig,
} from '../../../domain/agents/agent-config.ts';
import type { Stamp } from '../../../domain/agents/stamp.ts';
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
): AgentConfigPatch | null {
  const found = configOf(current, observedForm(assistant));
  if (found === null || !isValidConfig(found)) return null;
  // The proof, and not the reading, decides: what we would send is what is there.
  const rendered = observedForm(renderAssistant(MAPPING_VERSION, found, stamp));
  if (!jsonEqual(rendered, observedForm(assistant))) return null;
  const patch = Object.fromEntries(
    Object.entries(found).filter(([key, value]) => !jsonEqual(value, current[key as keyof AgentConfig])),
  ) as AgentConfigPatch;
  return Object.keys(patch).length === 0 ? null : patch;
}

function configOf(current: AgentConfig, document: JsonObject): AgentConfig | null {
  const model = object(document['model']);
  const voice = object(document['voice']);
  const [message, ...more] = Array.isArray(model['messages']) ? model['messages'] : [];
  const systemPrompt = object(message)['content'];
  const language = object(document['transcriber'])['language'];
  const { name, firstMessage = null, maxDurationSeconds = 600 } = document;
  if (
    more.length > 0 ||
    !isText(systemPrompt) ||
    !isText(name) ||
    !isText(language) ||
    !isText(model['provider']) ||
    !isText(model['model']) ||
    !isText(voice['provider']) ||
    !isText(voice['voiceId']) ||
    !(firstMessage === null || isText(firstMessage)) ||
    typeof maxDurationSeconds !== 'number'
  ) {
    return null;
  }
  const metadata = object(document['metadata']);
  // It would come to stand in the configuration and in its history, which everybody of the organization reads.
  if (holdsSecret(metadata)) return null;
  const extra =
    Object.keys(metadata).length > 0 || current.extraMetadata !== undefined
      ? { extraMetadata: metadata }
      : {};
  return {
    name,
    systemPrompt,
    firstMessage,
    voice: {
      provider: voice['provider'],
      voiceId: voice['voiceId'],
      stability: numberOrNull(voice['stability']),
      similarityBoost: numberOrNull(voice['similarityBoost']),
    },
    model: {
      provider: model['provider'],
      name: model['model'],
      temperature: numberOrNull(model['temperature']),
      maxTokens: numberOrNull(model['maxTokens']),
    },
    language,
    maxDurationSeconds,
    ...extra,
  };
}

function object(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

function isText(value: Json | undefined): value is string {
  return typeof value === 'string';
}

function numberOrNull(value: Json | undefined): number | null {
  return typeof value === 'number' ? value : null;
}

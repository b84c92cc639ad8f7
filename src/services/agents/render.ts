import type { AgentConfig } from '../../domain/agents/agent-config.ts';
import type { Stamp } from '../../domain/agents/stamp.ts';
import type { JsonObject } from '../../domain/json.ts';

/**
 * From an agent's configuration to the complete set of assistant fields that Lockstep manages, and nothing else.
 *
 * Every save sends the same complete set, because a PATCH replaces each top-level field that it names and keeps the
 * others (docs/vapi.md#patch-replaces-top-level-fields). A partial `model` would erase the prompt. An undo is the same set with older content.
 */

/** Every top-level field that a rendered document holds, in every mapping version so far. */
export const MANAGED_FIELDS = [
  'name',
  'firstMessage',
  'firstMessageMode',
  'model',
  'voice',
  'transcriber',
  'maxDurationSeconds',
  'metadata',
] as const;

function renderV1(config: AgentConfig, stamp: Stamp): JsonObject {
  return {
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
  };
}

/** Old versions stay for as long as a journal entry or an agent refers to them: recovery must send the same bytes. */
const MAPPINGS = new Map<number, (config: AgentConfig, stamp: Stamp) => JsonObject>([[1, renderV1]]);

/** The version that new saves use. */
export const MAPPING_VERSION = 1;

/** The complete managed document. Pure; throws on a mapping version that this build does not know. */
export function renderAssistant(version: number, config: AgentConfig, stamp: Stamp): JsonObject {
  const render = MAPPINGS.get(version);
  if (render === undefined)
    throw new Error(`unknown mapping version ${version}: a newer build wrote this save`);
  return render(config, stamp);
}

/** The members that have a value: inside `model` and `voice`, an absent key is how "not set" is said. */
function present<T extends Record<string, number | null>>(members: T): { [key: string]: number } {
  return Object.fromEntries(
    Object.entries(members).filter((entry): entry is [string, number] => entry[1] !== null),
  );
}

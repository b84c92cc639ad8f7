/** Generated configurations: everything that the rules of src/domain/agents/agent-config.ts allow, and nothing else. */
import fc from 'fast-check';
import {
  type AgentConfig,
  type AgentPayload,
  LIMITS,
  type Model,
  type TransferDestination,
  type Voice,
} from '../../src/domain/agents/agent-config.ts';
import type { Stamp } from '../../src/domain/agents/stamp.ts';

/** Text that can be stored: whole code points, no NUL. `max` counts UTF-16 code units. */
export const storableText = (max: number) =>
  fc
    .string({ unit: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...'aZ 09-_"\\\n\'é漢') }, codePoint) })
    .map((text) => text.slice(0, max))
    .filter((text) => text.trim() !== '' && text.isWellFormed());

const codePoint = fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }).filter((unit) => unit !== '\0');

/** The voice providers of the official OpenAPI, without `custom-voice`, which needs a server of one's own. */
export const VOICE_PROVIDERS = [
  ...['11labs', 'azure', 'cartesia', 'deepgram', 'hume', 'inworld', 'lmnt', 'microsoft', 'minimax'],
  ...[
    'neuphonic',
    'openai',
    'playht',
    'rime-ai',
    'sesame',
    'smallest-ai',
    'tavus',
    'vapi',
    'wellsaid',
    'xai',
  ],
] as const;

/** The model providers of the official OpenAPI, without `custom-llm`, which needs a server of one's own. */
export const MODEL_PROVIDERS = [
  ...['anthropic', 'anthropic-bedrock', 'anyscale', 'cerebras', 'deep-seek', 'deepinfra', 'google', 'groq'],
  ...['inflection-ai', 'minimax', 'openai', 'openrouter', 'perplexity-ai', 'together-ai', 'vapi', 'xai'],
] as const;

const share = fc.double({ min: 0, max: 1, noNaN: true });

/** What may be said of names that Vapi lists in its OpenAPI; absent: any text within our limits. */
export interface Names {
  voiceId?(provider: string): fc.Arbitrary<string>;
  model?(provider: string): fc.Arbitrary<string>;
  language?: fc.Arbitrary<string>;
}

function voices(names: Names = {}): fc.Arbitrary<Voice> {
  return fc.constantFrom(...VOICE_PROVIDERS).chain((provider) => {
    const tuned = provider === '11labs' ? fc.option(share) : fc.constant(null);
    return fc.record({
      provider: fc.constant<string>(provider),
      voiceId: names.voiceId?.(provider) ?? storableText(LIMITS.voiceId),
      stability: tuned,
      similarityBoost: tuned,
    });
  });
}

function models(names: Names = {}): fc.Arbitrary<Model> {
  return fc.constantFrom(...MODEL_PROVIDERS).chain((provider) =>
    fc.record({
      provider: fc.constant<string>(provider),
      name: names.model?.(provider) ?? storableText(LIMITS.modelName),
      temperature: fc.option(fc.double({ min: 0, max: 2, noNaN: true })),
      maxTokens: provider === 'vapi' ? fc.constant(null) : fc.option(fc.integer({ min: 50, max: 10_000 })),
    }),
  );
}

const destinations: fc.Arbitrary<TransferDestination> = fc.record({
  number: fc.stringMatching(/^\+[1-9]\d{6,14}$/),
  description: storableText(LIMITS.transferDescription),
  message: fc.option(storableText(LIMITS.transferMessage)),
});

export function agentConfigs(names: Names = {}): fc.Arbitrary<AgentConfig> {
  return fc.record({
    name: storableText(LIMITS.name),
    systemPrompt: storableText(2_000),
    firstMessage: fc.option(storableText(LIMITS.firstMessage)),
    voice: voices(names),
    model: models(names),
    language: names.language ?? fc.constantFrom('en', 'pt-BR', 'zh-Hant-TW', 'es-419', 'yue', 'multi'),
    maxDurationSeconds: fc.integer({ min: LIMITS.minDurationSeconds, max: LIMITS.maxDurationSeconds }),
    transferTo: fc.uniqueArray(destinations, { maxLength: 4, selector: ({ number }) => number }),
    endCall: fc.boolean(),
    voicemailMessage: fc.option(storableText(LIMITS.voicemailMessage)),
    useKnowledgeBase: fc.boolean(),
    bookAppointments: fc.boolean(),
  });
}

/** A change as its caller may send it: any of the fields, and the save's conditions. */
export const agentChanges = fc
  .tuple(
    agentConfigs(),
    fc.subarray([
      ...['name', 'systemPrompt', 'firstMessage', 'voice', 'model', 'language'],
      ...['transferTo', 'endCall', 'voicemailMessage', 'useKnowledgeBase', 'bookAppointments'],
    ]),
    fc.record(
      { expectedRevision: fc.integer({ min: 0, max: 2_147_483_647 }), recreateIfMissing: fc.boolean() },
      { requiredKeys: [] },
    ),
  )
  .map(([config, fields, conditions]) => ({
    ...Object.fromEntries(Object.entries(config).filter(([field]) => fields.includes(field))),
    ...conditions,
  }));

export const stamps: fc.Arbitrary<Stamp> = fc.record({
  deployment: fc.uuid(),
  orgId: fc.uuid(),
  agentId: fc.uuid(),
  role: fc.constantFrom('INBOUND', 'OUTBOUND'),
  saveId: fc.uuid(),
  revision: fc.integer({ min: 1, max: 1_000_000 }),
});

export const payloads: fc.Arbitrary<AgentPayload> = fc.record({
  config: agentConfigs(),
  expectedRevision: fc.option(fc.nat()),
  recreateIfMissing: fc.boolean(),
});

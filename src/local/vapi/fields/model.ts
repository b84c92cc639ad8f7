import { bool, free, list, num, oneOf, type Rules, shape, str, tagged, text } from '../rules.ts';
import { map, server, texts } from './shared.ts';
import { tool } from './tool.ts';

const message = shape({
  'content!': { is: 'string', max: 100_000_000, nullable: true },
  'role!': oneOf('assistant', 'function', 'user', 'system', 'tool'),
});
/** `systemPrompt` and `functions` are older forms. Live assistants have them, although the specification does not. */
const modelBase: Rules = {
  messages: list(message),
  tools: list(tool),
  toolIds: texts,
  toolRefs: list(shape({ 'toolId!': text, 'version!': text })),
  knowledgeBase: tagged('provider', { 'custom-knowledge-base': { 'server!': server } }),
  temperature: num(0, 2),
  emotionRecognitionEnabled: bool,
  numFastTurns: num(0),
  systemPrompt: text,
  functions: list(free),
};
const thinking = shape({ 'type!': oneOf('enabled'), 'budgetTokens!': num(1024, 100_000) });
/** By provider: its fields in addition to `modelBase`. */
const MODELS: Readonly<Record<string, Rules>> = {
  anthropic: { 'model!': text, thinking },
  'anthropic-bedrock': { 'model!': text, thinking },
  anyscale: { 'model!': text },
  cerebras: { 'model!': text },
  'custom-llm': {
    'model!': text,
    'url!': text,
    metadataSendMode: oneOf('off', 'variable', 'destructured'),
    headers: free,
    wordLevelConfidenceEnabled: bool,
    timeoutSeconds: num(0, 300),
  },
  'deep-seek': { 'model!': text },
  deepinfra: { 'model!': text },
  google: {
    'model!': text,
    realtimeConfig: shape({
      topP: num(),
      topK: num(),
      presencePenalty: num(),
      frequencyPenalty: num(),
      speechConfig: free,
    }),
  },
  groq: { 'model!': text },
  'inflection-ai': { 'model!': text },
  minimax: { 'model!': text },
  openai: {
    'model!': text,
    fallbackModels: texts,
    toolStrictCompatibilityMode: oneOf(
      'strip-parameters-with-unsupported-validation',
      'strip-unsupported-validation',
    ),
    promptCacheRetention: oneOf('in_memory', '24h'),
    promptCacheKey: str(64),
    reasoningEffort: text,
  },
  openrouter: { 'model!': text },
  'perplexity-ai': { 'model!': text },
  'together-ai': { 'model!': text },
  vapi: { model: text, version: text, workflowId: text, workflow: free },
  xai: { 'model!': text },
};
const maxTokens = num(50, 10_000);
export const model = tagged(
  'provider',
  map(MODELS, (keys, provider) => ({ ...modelBase, ...(provider === 'vapi' ? {} : { maxTokens }), ...keys })),
);

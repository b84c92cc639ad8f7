import { bool, either, list, num, type Rules, shape, str, tagged, text } from '../rules.ts';
import { map, server, texts } from './shared.ts';

const share = num(0, 1);
const named = { model: text, language: text };
/** By provider; `transcriber` adds `fallbackPlan`. */
const TRANSCRIBERS: Readonly<Record<string, Rules>> = {
  '11labs': {
    ...named,
    silenceThresholdSeconds: num(0.3, 3),
    confidenceThreshold: num(0.1, 0.9),
    minSpeechDurationMs: num(50, 2000),
    minSilenceDurationMs: num(50, 2000),
  },
  'assembly-ai': {
    language: text,
    confidenceThreshold: share,
    formatTurns: bool,
    endOfTurnConfidenceThreshold: share,
    minEndOfTurnSilenceWhenConfident: num(0),
    wordFinalizationMaxWaitTime: num(0),
    maxTurnSilence: num(0),
    vadAssistedEndpointingEnabled: bool,
    mode: text,
    prompt: str(1750),
    agentContext: str(1750),
    languageCodes: texts,
    speechModel: text,
    realtimeUrl: text,
    wordBoost: list(str(2500)),
    keytermsPrompt: list(str(50)),
    endUtteranceSilenceThreshold: num(),
    disablePartialTranscripts: bool,
  },
  azure: {
    language: text,
    segmentationStrategy: text,
    segmentationSilenceTimeoutMs: num(100, 5000),
    segmentationMaximumTimeMs: num(20_000, 70_000),
  },
  cartesia: named,
  'custom-transcriber': { 'server!': server },
  deepgram: {
    ...named,
    smartFormat: bool,
    mipOptOut: bool,
    numerals: bool,
    profanityFilter: bool,
    redaction: texts,
    confidenceThreshold: share,
    eotThreshold: num(0.5, 0.9),
    eotTimeoutMs: num(500, 10_000),
    languages: texts,
    keywords: texts,
    keyterm: texts,
    endpointing: num(10, 500),
  },
  gladia: {
    ...named,
    languageBehaviour: text,
    languages: texts,
    transcriptionHint: str(600),
    prosody: bool,
    audioEnhancer: bool,
    confidenceThreshold: share,
    endpointing: num(0.01, 10),
    speechThreshold: share,
    customVocabularyEnabled: bool,
    customVocabularyConfig: shape({
      'vocabulary!': list(
        either(text, shape({ 'value!': text, pronunciations: texts, intensity: share, language: text })),
      ),
      defaultIntensity: share,
    }),
    region: text,
    receivePartialTranscripts: bool,
  },
  google: named,
  openai: { 'model!': text, language: text },
  soniox: {
    ...named,
    languages: texts,
    languageHintsStrict: bool,
    maxEndpointDelayMs: num(500, 3000),
    customVocabulary: texts,
    contextGeneral: list(shape({ 'key!': str(undefined, 1), 'value!': str(undefined, 1) })),
  },
  speechmatics: {
    ...named,
    operatingPoint: text,
    region: text,
    enableDiarization: bool,
    maxDelay: num(500, 10_000),
    'customVocabulary!': list(shape({ 'content!': str(undefined, 1), soundsLike: texts })),
    numeralStyle: text,
    endOfTurnSensitivity: share,
    removeDisfluencies: bool,
    minimumSpeechDuration: num(0, 5),
  },
  talkscriber: named,
  vapi: { version: text, language: text, languages: texts, keywords: texts, turnTaking: text },
  xai: named,
};
const { vapi: ownTranscriber = {}, ...otherTranscribers } = TRANSCRIBERS;
const fallbackTranscribers = {
  fallbackPlan: shape({ transcribers: list(tagged('provider', otherTranscribers)) }),
};
export const transcriber = tagged('provider', {
  ...map(otherTranscribers, (keys) => ({ ...keys, ...fallbackTranscribers })),
  vapi: ownTranscriber,
});

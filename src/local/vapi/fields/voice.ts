import { any, bool, either, list, num, oneOf, type Rules, shape, str, tagged, text } from '../rules.ts';
import { map, server, texts } from './shared.ts';

export const regexOptions = list(
  shape({ 'type!': oneOf('ignore-case', 'whole-word', 'multi-line'), 'enabled!': bool }),
);
const chunkPlan = shape({
  enabled: bool,
  minCharacters: num(1, 80),
  punctuationBoundaries: texts,
  formatPlan: shape({
    enabled: bool,
    numberToDigitsCutoff: num(0),
    replacements: list(
      tagged('type', {
        exact: { replaceAllEnabled: bool, 'key!': text, 'value!': str(1000) },
        regex: { 'regex!': text, options: regexOptions, 'value!': str(1000) },
      }),
    ),
    formattersEnabled: texts,
  }),
});

/** By provider; `voice` adds `fallbackPlan`. */
const VOICES: Readonly<Record<string, Rules>> = {
  '11labs': {
    'voiceId!': text,
    model: text,
    language: text,
    stability: num(0, 1),
    similarityBoost: num(0, 1),
    style: num(0, 1),
    useSpeakerBoost: bool,
    speed: num(0.7, 1.2),
    optimizeStreamingLatency: num(0, 4),
    enableSsmlParsing: bool,
    autoMode: bool,
    pronunciationDictionaryLocators: list(shape({ 'pronunciationDictionaryId!': text, versionId: text })),
  },
  azure: { 'voiceId!': text, speed: num(0.5, 2) },
  cartesia: {
    'voiceId!': text,
    model: text,
    language: text,
    experimentalControls: shape({ speed: either(text, num(-1, 1)), emotion: text }),
    generationConfig: shape({
      speed: num(0.6, 1.5),
      volume: num(0.5, 2),
      experimental: shape({ accentLocalization: num(0, 1) }),
    }),
    pronunciationDictId: text,
  },
  'custom-voice': { 'server!': server, voiceId: text },
  deepgram: { 'voiceId!': text, model: text, mipOptOut: bool },
  hume: { 'voiceId!': text, model: text, isCustomHumeVoice: bool, description: text },
  inworld: {
    'voiceId!': str(120),
    model: text,
    languageCode: text,
    temperature: num(0.1, 2),
    speakingRate: num(0.5, 1.5),
  },
  lmnt: { 'voiceId!': text, speed: num(0.25, 2), language: text },
  microsoft: { 'voiceId!': text, style: text, styleDegree: num(0.01, 2), role: text, speed: num(0.5, 2) },
  minimax: {
    'voiceId!': text,
    model: text,
    emotion: text,
    subtitleType: text,
    pitch: num(-12, 12),
    speed: num(0.5, 2),
    volume: num(0.5, 2),
    region: text,
    languageBoost: text,
    textNormalizationEnabled: bool,
  },
  // The specification says that its language is an object, the documentation that it is a string.
  neuphonic: { 'voiceId!': text, model: text, 'language!': any, speed: num(0.25, 2) },
  openai: { 'voiceId!': text, model: text, instructions: str(10_000), speed: num(0.25, 4) },
  playht: {
    'voiceId!': text,
    speed: num(0.1, 5),
    temperature: num(0.1, 2),
    emotion: text,
    voiceGuidance: num(1, 6),
    styleGuidance: num(1, 30),
    textGuidance: num(1, 2),
    model: text,
    language: text,
  },
  'rime-ai': {
    'voiceId!': text,
    model: text,
    speed: num(0.1),
    pauseBetweenBrackets: bool,
    phonemizeBetweenBrackets: bool,
    reduceLatency: bool,
    inlineSpeedAlpha: text,
    language: text,
  },
  sesame: { 'voiceId!': text, 'model!': text },
  'smallest-ai': { 'voiceId!': text, model: text, speed: num() },
  tavus: {
    'voiceId!': text,
    personaId: text,
    callbackUrl: text,
    conversationName: text,
    conversationalContext: text,
    customGreeting: text,
    properties: shape({
      maxCallDuration: num(),
      participantLeftTimeout: num(),
      participantAbsentTimeout: num(),
      enableRecording: bool,
      enableTranscription: bool,
      applyGreenscreen: bool,
      language: text,
      recordingS3BucketName: text,
      recordingS3BucketRegion: text,
      awsAssumeRoleArn: text,
    }),
  },
  vapi: {
    'voiceId!': text,
    version: either(text, num()),
    speed: num(0.25, 2),
    language: text,
    pronunciationDictionary: list(
      shape({ 'pronunciationDictId!': text, versionId: text, provider: oneOf('cartesia', '11labs') }),
    ),
  },
  wellsaid: { 'voiceId!': text, model: text, enableSsml: bool, libraryIds: texts },
  xai: { 'voiceId!': str(120), language: text, speed: num(0.7, 1.5) },
};
const spoken = map(VOICES, (keys) => ({ cachingEnabled: bool, chunkPlan, ...keys }));
/** A voice of minimax cannot be a fallback, and a voice of Vapi accepts none. */
const { minimax: _minimax, ...otherVoices } = spoken;
const fallbackVoices = { fallbackPlan: shape({ 'voices!': list(tagged('provider', otherVoices)) }) };
export const voice = tagged(
  'provider',
  map(spoken, (keys, provider) => (provider === 'vapi' ? keys : { ...keys, ...fallbackVoices })),
);

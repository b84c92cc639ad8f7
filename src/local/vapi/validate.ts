/**
 * The assistant bodies that Vapi accepts: keys, types and stated limits. Refuses unknown keys at every level that is
 * described here (docs/vapi.md#unknown-properties). Accepts any string as the name of a model, a voice or a language, because
 * those lists grow weekly.
 */
import type { JsonObject } from './assistant-store.ts';
import {
  any,
  bool,
  checkShape,
  either,
  free,
  list,
  num,
  oneOf,
  type Rules,
  shape,
  str,
  tagged,
  text,
  url,
} from './rules.ts';

const texts = list(text);
const metadata = free;
const jsonSchema = free;

/** `secret` was removed from the specification in May 2025 and is still accepted. It is never returned. */
const server = shape({
  url: text,
  timeoutSeconds: num(1, 300),
  headers: free,
  credentialId: text,
  staticIpAddressesEnabled: bool,
  encryptedPaths: texts,
  secret: text,
  backoffPlan: shape({
    'type!': oneOf('fixed', 'exponential'),
    'maxRetries!': num(0, 10),
    'baseDelaySeconds!': num(0, 10),
    excludedStatusCodes: list(any),
  }),
});

// --- voice ---

const regexOptions = list(
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
const voice = tagged(
  'provider',
  map(spoken, (keys, provider) => (provider === 'vapi' ? keys : { ...keys, ...fallbackVoices })),
);

// --- transcriber ---

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
const transcriber = tagged('provider', {
  ...map(otherTranscribers, (keys) => ({ ...keys, ...fallbackTranscribers })),
  vapi: ownTranscriber,
});

// --- model ---

const content = { contents: list(free), content: str(1000), conditions: list(free) };
const ended = { ...content, role: oneOf('assistant', 'system'), endCallAfterSpokenEnabled: bool };
const toolBase = {
  messages: list(
    tagged('type', {
      'request-start': { ...content, blocking: bool },
      'request-complete': ended,
      'request-failed': ended,
      'request-response-delayed': { ...content, timingMilliseconds: num(100, 120_000) },
    }),
  ),
  rejectionPlan: shape({ conditions: list(free) }),
};
const variableExtractionPlan = shape({ schema: jsonSchema, aliases: list(free) });
const parameters = list(shape({ 'key!': text, 'value!': any }));
const functionRule = shape({
  'name!': str(64, 1),
  strict: bool,
  description: text,
  parameters: shape({ 'type!': oneOf('object'), 'properties!': free, required: texts }),
});
/** By type; every tool also accepts `messages` and `rejectionPlan`. */
const TOOLS: Readonly<Record<string, Rules>> = {
  apiRequest: {
    name: str(40, 1),
    'method!': oneOf('POST', 'GET', 'PUT', 'PATCH', 'DELETE'),
    timeoutSeconds: num(1, 300),
    credentialId: text,
    encryptedPaths: texts,
    parameters,
    description: text,
    'url!': text,
    body: jsonSchema,
    headers: jsonSchema,
    backoffPlan: free,
    variableExtractionPlan,
  },
  bash: { 'subType!': text, server, 'name!': text },
  code: {
    async: bool,
    server,
    'code!': str(50_000),
    environmentVariables: list(free),
    timeoutSeconds: num(1, 30),
    credentialId: text,
    variableExtractionPlan,
    function: functionRule,
  },
  computer: {
    'subType!': text,
    server,
    'name!': text,
    'displayWidthPx!': num(),
    'displayHeightPx!': num(),
    displayNumber: num(),
  },
  dtmf: { sipInfoDtmfEnabled: bool },
  endCall: {},
  function: { async: bool, server, variableExtractionPlan, parameters, function: functionRule },
  'gohighlevel.calendar.availability.check': {},
  'gohighlevel.calendar.event.create': {},
  'gohighlevel.contact.create': {},
  'gohighlevel.contact.get': {},
  'google.calendar.availability.check': {},
  'google.calendar.event.create': {},
  'google.sheets.row.append': {},
  handoff: { defaultResult: text, destinations: list(free), function: functionRule },
  mcp: { server, toolMessages: list(free), metadata: shape({ protocol: oneOf('sse', 'shttp') }) },
  query: {
    knowledgeBases: list(
      shape({
        'name!': text,
        'provider!': oneOf('google'),
        model: text,
        'description!': text,
        'fileIds!': texts,
      }),
    ),
  },
  'slack.message.send': {},
  sipRequest: {
    'verb!': oneOf('INFO', 'MESSAGE', 'NOTIFY'),
    headers: jsonSchema,
    body: either(text, jsonSchema),
  },
  sms: {},
  textEditor: { 'subType!': text, server, 'name!': text },
  transferCall: { destinations: list(free) },
  voicemail: { beepDetectionEnabled: bool },
};

const message = shape({
  'content!': { is: 'string', max: 100_000_000, nullable: true },
  'role!': oneOf('assistant', 'function', 'user', 'system', 'tool'),
});
/** `systemPrompt` and `functions` are older forms. Live assistants have them, although the specification does not. */
const modelBase: Rules = {
  messages: list(message),
  tools: list(
    tagged(
      'type',
      map(TOOLS, (keys) => ({ ...toolBase, ...keys })),
    ),
  ),
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
const model = tagged(
  'provider',
  map(MODELS, (keys, provider) => ({ ...modelBase, ...(provider === 'vapi' ? {} : { maxTokens }), ...keys })),
);

// --- the rest ---

const voicemail = {
  beepMaxAwaitSeconds: num(0, 30),
  backoffPlan: shape({ startAtSeconds: num(0), frequencySeconds: num(2.5), maxRetries: num(1, 10) }),
  type: oneOf('audio', 'transcript'),
};
const summaryPlan: Rules = { messages: list(free), enabled: bool, timeoutSeconds: num(1, 60) };
const structuredDataPlan = shape({ ...summaryPlan, schema: jsonSchema });
const consent: Rules = {
  'message!': str(1000),
  voice,
  firstMessageMode: oneOf('assistant-speaks-first', 'assistant-waits-for-user'),
};
const endpointingRule: Rules = { 'regex!': text, regexOptions, 'timeoutSeconds!': num(0, 15) };

const FIELDS: Rules = {
  name: str(40),
  firstMessage: text,
  firstMessageInterruptionsEnabled: bool,
  firstMessageMode: oneOf(
    'assistant-speaks-first',
    'assistant-speaks-first-with-model-generated-message',
    'assistant-waits-for-user',
  ),
  model,
  voice,
  transcriber,
  server,
  metadata,
  clientMessages: list(
    oneOf(
      ...['conversation-update', 'assistant.speechStarted', 'function-call', 'function-call-result', 'hang'],
      ...['language-changed', 'metadata', 'model-output', 'speech-update', 'status-update', 'transcript'],
      ...[
        'tool-calls',
        'tool-calls-result',
        'tool.completed',
        'transfer-update',
        'user-interrupted',
        'voice-input',
      ],
      ...['workflow.node.started', 'assistant.started'],
    ),
  ),
  serverMessages: list(
    oneOf(
      ...['assistant.started', 'assistant.speechStarted', 'conversation-update', 'end-of-call-report'],
      ...['function-call', 'hang', 'language-changed', 'language-change-detected', 'model-output'],
      ...['phone-call-control', 'speech-update', 'status-update', 'transcript'],
      ...['transcript[transcriptType="final"]', 'tool-calls', 'transfer-destination-request'],
      ...[
        'handoff-destination-request',
        'transfer-update',
        'user-interrupted',
        'voice-input',
        'chat.created',
      ],
      ...['chat.deleted', 'session.created', 'session.updated', 'session.deleted', 'call.deleted'],
      ...['call.delete.failed', 'call.artifact.upload'],
    ),
  ),
  maxDurationSeconds: num(10, 43_200),
  backgroundSound: either(oneOf('off', 'office'), url),
  modelOutputInMessagesEnabled: bool,
  voicemailDetection: either(
    oneOf('off'),
    tagged('provider', {
      google: voicemail,
      openai: voicemail,
      vapi: voicemail,
      twilio: {
        voicemailDetectionTypes: texts,
        enabled: bool,
        machineDetectionTimeout: num(3, 59),
        machineDetectionSpeechThreshold: num(1000, 6000),
        machineDetectionSpeechEndThreshold: num(500, 5000),
        machineDetectionSilenceTimeout: num(2000, 10_000),
      },
    }),
  ),
  voicemailMessage: str(1000),
  endCallMessage: str(1000),
  endCallPhrases: list(str(140, 2)),
  transportConfigurations: list(
    tagged('provider', {
      twilio: { timeout: num(1, 600), record: bool, recordingChannels: oneOf('mono', 'dual') },
    }),
  ),
  observabilityPlan: tagged('provider', {
    langfuse: { promptName: text, promptVersion: num(1), traceName: text, 'tags!': texts, metadata },
  }),
  credentials: list(free),
  credentialIds: texts,
  hooks: list(
    shape({ 'on!': str(1000), 'do!': list(free), filters: list(free), options: free, name: str(1000) }),
  ),
  compliancePlan: shape({
    hipaaEnabled: bool,
    pciEnabled: bool,
    securityFilterPlan: shape({
      enabled: bool,
      filters: list(free),
      mode: oneOf('sanitize', 'reject', 'replace'),
      replacementText: text,
    }),
    recordingConsentPlan: tagged('type', {
      'stay-on-line': { ...consent, waitSeconds: num(1, 6) },
      verbal: { ...consent, declineTool: free, declineToolId: text },
    }),
  }),
  backgroundSpeechDenoisingPlan: shape({
    smartDenoisingPlan: shape({ enabled: bool }),
    fourierDenoisingPlan: shape({
      enabled: bool,
      mediaDetectionEnabled: bool,
      staticThreshold: num(-80, 0),
      baselineOffsetDb: num(-30, -5),
      windowSizeMs: num(1000, 30_000),
      baselinePercentile: num(1, 99),
    }),
  }),
  analysisPlan: shape({
    minMessagesThreshold: num(0),
    summaryPlan: shape(summaryPlan),
    structuredDataPlan,
    structuredDataMultiPlan: list(shape({ 'key!': text, 'plan!': structuredDataPlan })),
    successEvaluationPlan: shape({ ...summaryPlan, rubric: text }),
    outcomeIds: texts,
  }),
  artifactPlan: shape({
    recordingEnabled: bool,
    recordingFormat: oneOf('wav;l16', 'mp3'),
    recordingUseCustomStorageEnabled: bool,
    videoRecordingEnabled: bool,
    fullMessageHistoryEnabled: bool,
    pcapEnabled: bool,
    pcapS3PathPrefix: text,
    pcapUseCustomStorageEnabled: bool,
    loggingEnabled: bool,
    loggingUseCustomStorageEnabled: bool,
    transcriptPlan: shape({ enabled: bool, assistantName: text, userName: text }),
    recordingPath: text,
    structuredOutputIds: texts,
    structuredOutputs: list(free),
    scorecardIds: texts,
    scorecards: list(free),
    loggingPath: text,
  }),
  startSpeakingPlan: shape({
    waitSeconds: num(0, 5),
    smartEndpointingEnabled: either(bool, oneOf('livekit')),
    smartEndpointingPlan: tagged('provider', {
      vapi: {},
      livekit: { waitFunction: text },
      'custom-endpointing-model': { server },
    }),
    customEndpointingRules: list(
      tagged('type', {
        assistant: endpointingRule,
        customer: endpointingRule,
        both: {
          'assistantRegex!': text,
          assistantRegexOptions: regexOptions,
          'customerRegex!': text,
          customerRegexOptions: regexOptions,
          'timeoutSeconds!': num(0, 15),
        },
      }),
    ),
    transcriptionEndpointingPlan: shape({
      onPunctuationSeconds: num(0, 3),
      onNoPunctuationSeconds: num(0, 3),
      onNumberSeconds: num(0, 3),
    }),
  }),
  stopSpeakingPlan: shape({
    numWords: num(0, 10),
    voiceSeconds: num(0, 0.5),
    backoffSeconds: num(0, 10),
    acknowledgementPhrases: list(str(240)),
    interruptionPhrases: list(str(240)),
  }),
  monitorPlan: shape({
    listenEnabled: bool,
    listenAuthenticationEnabled: bool,
    controlEnabled: bool,
    controlAuthenticationEnabled: bool,
    monitorIds: texts,
  }),
  keypadInputPlan: shape({
    enabled: bool,
    timeoutSeconds: num(0, 10),
    delimiters: oneOf('#', '*', ''),
  }),
};

/** Removed from the specification, still accepted. */
const LEGACY_FIELDS: Rules = {
  silenceTimeoutSeconds: num(10, 3600),
  serverUrl: text,
  serverUrlSecret: text,
  endCallFunctionEnabled: bool,
  backgroundDenoisingEnabled: bool,
  recordingEnabled: bool,
  hipaaEnabled: bool,
  messagePlan: free,
};

/** The fields of the specification. A test compares them with Vapi's own description. */
export const specified = shape(FIELDS);
const assistant = shape({ ...FIELDS, ...LEGACY_FIELDS });

/**
 * Returns every problem of a create or an update, in Vapi's wording; an empty list means that the body is accepted. Create and update
 * accept the same fields, none of which is required. Read-only keys are refused like unknown ones (docs/vapi.md#read-only-keys);
 * that `latestVersion` is one of them is an assumption.
 */
export function validateAssistant(fields: JsonObject): string[] {
  const problems: string[] = [];
  // null unsets a top-level field (docs/vapi.md#null-unsets). Nobody knows whether Vapi accepts it deeper, so the stand-in refuses it
  // there: a client must not depend on it.
  const given = Object.entries(fields).filter(
    ([name, value]) => value !== null || !Object.hasOwn(assistant.keys, name),
  );
  checkShape(assistant, Object.fromEntries(given), '', problems);
  return problems;
}

function map<T>(table: Readonly<Record<string, T>>, change: (value: T, key: string) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(table).map(([key, value]) => [key, change(value, key)]));
}

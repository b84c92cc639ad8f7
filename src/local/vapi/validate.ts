/**
 * The assistant bodies that Vapi accepts: keys, types and stated limits. Refuses unknown keys at every level that is
 * described here (docs/vapi.md#unknown-properties). Accepts any string as the name of a model, a voice or a language, because
 * those lists grow weekly.
 */
import { model } from './fields/model.ts';
import { jsonSchema, metadata, server, texts } from './fields/shared.ts';
import { transcriber } from './fields/transcriber.ts';
import { regexOptions, voice } from './fields/voice.ts';
import type { JsonObject } from './json.ts';
import {
  bodyProblems,
  bool,
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
  withoutNulls,
} from './rules.ts';

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

export const assistantFields: Rules = {
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
export const specified = shape(assistantFields);
const assistant = shape({ ...assistantFields, ...LEGACY_FIELDS });

/**
 * Returns every problem of a create or an update, in Vapi's wording; an empty list means that the body is accepted. Create and update
 * accept the same fields, none of which is required. Read-only keys are refused like unknown ones (docs/vapi.md#read-only-keys);
 * that `latestVersion` is one of them is an assumption.
 */
export function validateAssistant(fields: JsonObject): string[] {
  return bodyProblems(assistant, withoutNulls(assistant, fields));
}

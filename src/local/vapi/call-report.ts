/** What Vapi makes of a call after its end: transcript, cost and analysis. Without I/O. */
import { isObject, type Json, type JsonObject } from './json.ts';

const STORAGE = 'https://storage.example.test/rec';
/** A hundredth of a cent. Costs are counted in whole ones, so that the parts always add up to the total. */
const UNITS = 10_000;
const SUMMARY_UNITS = 2;
/** By minute: transport, transcriber and Vapi. By 1,000 characters: voice. By 1,000 tokens: model. */
const RATES = { transport: 80, stt: 100, vapi: 500, tts: 200, llm: 20 };

export interface Spoken {
  readonly messages: readonly JsonObject[];
  readonly durationMs: number;
  readonly transport: string;
  readonly assistant: JsonObject;
  /** In US dollars. */
  readonly cost?: number | undefined;
  /** Null: not analysed. */
  readonly analysis?: JsonObject | null | undefined;
}

function transcriptOf(messages: readonly JsonObject[]): string {
  return messages
    .filter(({ role }) => role === 'bot' || role === 'user')
    .map(({ role, message }) => `${role === 'bot' ? 'AI' : 'User'}: ${message}\n`)
    .join('');
}

export function artifactOf(id: string, messages: readonly JsonObject[]): JsonObject {
  return {
    transcript: transcriptOf(messages),
    messages,
    recordingUrl: `${STORAGE}/${id}.wav`,
    stereoRecordingUrl: `${STORAGE}/${id}-stereo.wav`,
    variableValues: {},
  };
}

export function analysisOf({ messages, analysis }: Spoken): JsonObject {
  const said = messages.filter(({ role }) => role === 'user');
  // Vapi analyses no call of fewer than two messages.
  if (analysis === null || said.length === 0) return {};
  const results = messages.filter(({ role }) => role === 'tool_call_result').map(({ name }) => String(name));
  const tools = results.length > 0 ? ` The assistant used ${[...new Set(results)].join(', ')}.` : '';
  return (
    analysis ?? {
      summary: `The caller said: "${said[0]?.['message']}"${tools}`,
      structuredData: {},
      successEvaluation: 'true',
    }
  );
}

/** `cost`, `costBreakdown` and `costs` of a call. A call that was never connected costs nothing. */
export function costsOf(spoken: Spoken): { cost: number; costBreakdown: JsonObject; costs: JsonObject[] } {
  const { messages, durationMs, transport, assistant } = spoken;
  const minutes = durationMs / 60_000;
  const characters = lengthOf(messages, 'bot');
  const promptTokens = Math.ceil((lengthOf(messages, 'system') + lengthOf(messages, 'user')) / 4);
  const completionTokens = Math.ceil(characters / 4);
  let summary = Object.keys(analysisOf(spoken)).length > 0 ? SUMMARY_UNITS : 0;
  const parts = {
    transport: Math.round(minutes * RATES.transport),
    stt: Math.round(minutes * RATES.stt),
    llm: Math.round(((promptTokens + completionTokens) / 1000) * RATES.llm),
    tts: Math.round((characters / 1000) * RATES.tts),
    vapi: Math.round(minutes * RATES.vapi),
  };
  const sum = () => Object.values(parts).reduce((a, b) => a + b, summary);
  if (spoken.cost !== undefined) {
    const wanted = Math.round(spoken.cost * UNITS);
    if (wanted < sum() - parts.vapi) {
      Object.assign(parts, { transport: 0, stt: 0, llm: 0, tts: 0 });
      summary = 0;
    }
    parts.vapi = wanted - (sum() - parts.vapi);
  }
  const usd = (units: number) => units / UNITS;
  const part = (name: 'transcriber' | 'model' | 'voice'): Json =>
    isObject(assistant[name]) ? assistant[name] : {};
  const tokens = { promptTokens, completionTokens };
  const costBreakdown = {
    ...Object.fromEntries(Object.entries(parts).map(([name, units]) => [name, usd(units)])),
    total: usd(sum()),
    llmPromptTokens: promptTokens,
    llmCompletionTokens: completionTokens,
    ttsCharacters: characters,
    analysisCostBreakdown: { summary: usd(summary) },
  };
  const costs = [
    { type: 'transport', provider: transport, minutes, cost: usd(parts.transport) },
    { type: 'transcriber', transcriber: part('transcriber'), minutes, cost: usd(parts.stt) },
    { type: 'model', model: part('model'), ...tokens, cost: usd(parts.llm) },
    { type: 'voice', voice: part('voice'), characters, cost: usd(parts.tts) },
    { type: 'vapi', subType: 'normal', minutes, cost: usd(parts.vapi) },
    {
      type: 'analysis',
      analysisType: 'summary',
      model: {},
      promptTokens: 0,
      completionTokens: 0,
      cost: usd(summary),
    },
  ];
  return { cost: usd(sum()), costBreakdown, costs };
}

const lengthOf = (messages: readonly JsonObject[], role: string) =>
  messages
    .filter((message) => message['role'] === role)
    .reduce((sum, { message }) => sum + String(message).length, 0);

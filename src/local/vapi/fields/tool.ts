import { any, bool, either, free, list, num, oneOf, type Rules, shape, str, tagged, text } from '../rules.ts';
import { jsonSchema, map, server, texts } from './shared.ts';

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

export const tool = tagged(
  'type',
  map(TOOLS, (keys) => ({ ...toolBase, ...keys })),
);

import { describe, expect, test } from 'vitest';
import { differencesFrom, hasOpenApi } from '../../../test/support/vapi-openapi.ts';
import type { JsonObject } from './json.ts';
import { specified, validateAssistant } from './validate.ts';

describe('the messages of a refusal', () => {
  const cases: [string, JsonObject, string[]][] = [
    ['unknown key', { tools: [] }, ['property tools should not exist']],
    [
      'unknown key inside',
      { voice: { provider: 'openai', voiceId: 'alloy', enableSsmlParsing: true } },
      ['voice.property enableSsmlParsing should not exist'],
    ],
    ['name', { name: 'x'.repeat(41) }, ['name must be shorter than or equal to 40 characters']],
    ['duration', { maxDurationSeconds: 43_201 }, ['maxDurationSeconds must not be greater than 43200']],
    [
      'half a second',
      { stopSpeakingPlan: { voiceSeconds: 0.6 } },
      ['stopSpeakingPlan.voiceSeconds must not be greater than 0.5'],
    ],
    ['silence', { silenceTimeoutSeconds: 5 }, ['silenceTimeoutSeconds must not be less than 10']],
    [
      'elevenlabs',
      { voice: { provider: 'elevenlabs', voiceId: 'x' } },
      [expect.stringMatching(/^voice\.provider must be one of the following values: 11labs, /)],
    ],
    [
      'model without provider',
      { model: { messages: [] } },
      [expect.stringMatching(/^model\.provider must be one of the following values: .*openai/)],
    ],
    ['model without model', { model: { provider: 'openai' } }, ['model.model must be a string']],
    [
      'everything at once, in the order of the rules',
      {
        name: 7,
        firstMessage: 8,
        endCallPhrases: ['a', 'b'],
        model: { provider: 'openai', model: 'm', toolIds: [1] },
      },
      [
        'name must be a string',
        'firstMessage must be a string',
        'model.each value in toolIds must be a string',
        'each value in endCallPhrases must be longer than or equal to 2 characters',
      ],
    ],
    [
      'role of a message',
      {
        model: {
          provider: 'openai',
          model: 'm',
          messages: [
            { role: 'system', content: 'a' },
            { role: 'boss', content: null },
          ],
        },
      },
      ['model.messages.1.role must be one of the following values: assistant, function, user, system, tool'],
    ],
    [
      'null inside',
      { model: { provider: 'openai', model: 'm', temperature: null } },
      [expect.stringMatching(/^model\.temperature must be a number/)],
    ],
    ['null of an unknown key', { tools: null }, ['property tools should not exist']],
    [
      'own property of every object',
      JSON.parse('{"constructor":1,"__proto__":2,"voice":{"provider":"toString"}}'),
      expect.arrayContaining([
        'property constructor should not exist',
        'property __proto__ should not exist',
      ]),
    ],
    [
      'sound',
      { backgroundSound: 'rain' },
      ['backgroundSound must be one of the following values: off, office'],
    ],
    [
      'server',
      { server: { url: 'https://x.example', timeoutSeconds: 301 } },
      ['server.timeoutSeconds must not be greater than 300'],
    ],
  ];
  test.each(cases)('%s', (_name, body, problems) => {
    expect(validateAssistant(body)).toEqual(problems);
  });

  test.each(['id', 'orgId', 'createdAt', 'updatedAt', 'latestVersion', 'isServerUrlSecretSet'])(
    'the read-only %s is refused',
    (name) => {
      expect(validateAssistant({ [name]: null })).toEqual([`property ${name} should not exist`]);
    },
  );

  test('null unsets any field', () => {
    expect(
      validateAssistant(Object.fromEntries(Object.keys(specified.keys).map((name) => [name, null]))),
    ).toEqual([]);
  });

  test('accepts any name of a model, a voice and a language, and any metadata', () => {
    const body: JsonObject = {
      model: {
        provider: 'openai',
        model: 'gpt-99',
        toolIds: [],
        messages: [{ role: 'system', content: 'Hi' }],
      },
      voice: { provider: '11labs', voiceId: 'someone', model: 'eleven_v9', stability: 1, speed: 0.7 },
      transcriber: { provider: 'deepgram', model: 'nova-9', language: 'xx' },
      server: { url: 'https://x.example', timeoutSeconds: 20, headers: { a: 'b' }, secret: 's' },
      backgroundSound: 'https://x.example/rain.mp3',
      metadata: { lockstep: { any: ['thing', null, { deep: 1 }] } },
    };
    expect(validateAssistant(body)).toEqual([]);
  });
});

describe.skipIf(!hasOpenApi)("against Vapi's own OpenAPI (skipped where that file is not present)", () => {
  test.each(['CreateAssistantDTO', 'UpdateAssistantDTO'])(
    '%s takes the same keys, providers and limits',
    (name) => {
      expect(differencesFrom(name, specified)).toEqual([]);
    },
  );
});

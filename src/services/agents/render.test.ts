import { existsSync, readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  agentConfigs,
  MODEL_PROVIDERS,
  type Names,
  stamps,
  storableText,
  VOICE_PROVIDERS,
} from '../../../test/support/arbitraries.ts';
import { type AgentConfig, checkSaveInput, defaultConfig, LIMITS } from '../../domain/agents/agent-config.ts';
import type { Stamp } from '../../domain/agents/stamp.ts';
import { APPOINTMENT_TOOLS } from '../../domain/appointments/tools.ts';
import { isJsonObject, type Json, type JsonObject } from '../../domain/json.ts';
import { validateAssistant } from '../../local/vapi/validate.ts';
import { isKnownMapping, MAPPING_VERSION, managedFields, renderAssistant } from './render.ts';

const STAMP: Stamp = {
  deployment: '00000000-0000-4000-8000-0000000000d0',
  orgId: '00000000-0000-4000-8000-00000000000a',
  agentId: '00000000-0000-4000-8000-0000000000a1',
  role: 'INBOUND',
  saveId: '00000000-0000-4000-8000-0000000000e1',
  revision: 7,
};

const CONFIG: AgentConfig = {
  name: 'Front desk',
  systemPrompt: 'You answer calls.\nBe kind.',
  firstMessage: 'Hello!',
  voice: { provider: '11labs', voiceId: 'sarah', stability: 0.5, similarityBoost: 0 },
  model: { provider: 'anthropic', name: 'claude-sonnet-4-20250514', temperature: 0, maxTokens: 250 },
  language: 'pt-BR',
  maxDurationSeconds: 900,
  transferTo: [
    { number: '+14155550142', description: 'Emergencies', message: 'One moment.' },
    { number: '+14155550187', description: 'Billing', message: null },
  ],
  endCall: true,
  voicemailMessage: 'Please call us back.',
  useKnowledgeBase: true,
  bookAppointments: true,
};
/** Nothing that mapping version 1 does not have. */
const PLAIN = {
  ...{ transferTo: [], endCall: false, voicemailMessage: null },
  ...{ useKnowledgeBase: false, bookAppointments: false },
};
const TOOL_ID = '00000000-0000-4000-8000-0000000000f1';

const render = (change: Partial<AgentConfig> = {}, context: JsonObject = {}) =>
  renderAssistant(MAPPING_VERSION, { ...CONFIG, ...change }, STAMP, context);

const SERVER = { url: 'https://lockstep.example.com/vapi/events', credentialId: TOOL_ID };
const contexts = fc.constantFrom<JsonObject>(
  {},
  { toolId: TOOL_ID },
  { server: SERVER },
  { server: null },
  { toolId: TOOL_ID, server: SERVER },
);
const versions = fc.constantFrom(1, 2);

describe('mapping version 1 is never changed: saves in the journal are sent again with the same bytes', () => {
  test('everything that a configuration can say', () => {
    expect(
      JSON.stringify(renderAssistant(1, CONFIG, STAMP, { toolId: TOOL_ID }), null, 1),
    ).toMatchInlineSnapshot(`
      "{
       "name": "Front desk",
       "firstMessage": "Hello!",
       "firstMessageMode": "assistant-speaks-first",
       "model": {
        "provider": "anthropic",
        "model": "claude-sonnet-4-20250514",
        "messages": [
         {
          "role": "system",
          "content": "You answer calls.\\nBe kind."
         }
        ],
        "temperature": 0,
        "maxTokens": 250
       },
       "voice": {
        "provider": "11labs",
        "voiceId": "sarah",
        "stability": 0.5,
        "similarityBoost": 0
       },
       "transcriber": {
        "provider": "deepgram",
        "model": "nova-3",
        "language": "pt-BR"
       },
       "maxDurationSeconds": 900,
       "metadata": {
        "lockstep": {
         "deployment": "00000000-0000-4000-8000-0000000000d0",
         "orgId": "00000000-0000-4000-8000-00000000000a",
         "agentId": "00000000-0000-4000-8000-0000000000a1",
         "role": "INBOUND",
         "saveId": "00000000-0000-4000-8000-0000000000e1",
         "revision": 7
        }
       }
      }"
    `);
  });

  test('nothing but the defaults: what is not set is not there, and the caller speaks first', () => {
    const config = { ...defaultConfig('OUTBOUND'), systemPrompt: 'You place calls.' };
    expect(JSON.stringify(renderAssistant(1, config, STAMP, {}), null, 1)).toMatchInlineSnapshot(`
      "{
       "name": "Outbound agent",
       "firstMessage": null,
       "firstMessageMode": "assistant-waits-for-user",
       "model": {
        "provider": "openai",
        "model": "gpt-4.1",
        "messages": [
         {
          "role": "system",
          "content": "You place calls."
         }
        ]
       },
       "voice": {
        "provider": "vapi",
        "voiceId": "Elliot"
       },
       "transcriber": {
        "provider": "deepgram",
        "model": "nova-3",
        "language": "en"
       },
       "maxDurationSeconds": 600,
       "metadata": {
        "lockstep": {
         "deployment": "00000000-0000-4000-8000-0000000000d0",
         "orgId": "00000000-0000-4000-8000-00000000000a",
         "agentId": "00000000-0000-4000-8000-0000000000a1",
         "role": "INBOUND",
         "saveId": "00000000-0000-4000-8000-0000000000e1",
         "revision": 7
        }
       }
      }"
    `);
  });

  const voice = { voiceId: 'v', stability: null, similarityBoost: null };
  test.each<[string, JsonObject]>([
    ['11labs', { provider: '11labs', voiceId: 'v' }],
    ['azure', { provider: 'azure', voiceId: 'v' }],
    ['cartesia', { provider: 'cartesia', voiceId: 'v' }],
    ['deepgram', { provider: 'deepgram', voiceId: 'v' }],
    ['hume', { provider: 'hume', voiceId: 'v' }],
    ['inworld', { provider: 'inworld', voiceId: 'v' }],
    ['lmnt', { provider: 'lmnt', voiceId: 'v' }],
    ['microsoft', { provider: 'microsoft', voiceId: 'v' }],
    ['minimax', { provider: 'minimax', voiceId: 'v' }],
    ['neuphonic', { provider: 'neuphonic', voiceId: 'v', language: 'pt-BR' }],
    ['openai', { provider: 'openai', voiceId: 'v' }],
    ['playht', { provider: 'playht', voiceId: 'v' }],
    ['rime-ai', { provider: 'rime-ai', voiceId: 'v' }],
    ['sesame', { provider: 'sesame', voiceId: 'v', model: 'csm-1b' }],
    ['smallest-ai', { provider: 'smallest-ai', voiceId: 'v' }],
    ['tavus', { provider: 'tavus', voiceId: 'v' }],
    ['vapi', { provider: 'vapi', voiceId: 'v' }],
    ['wellsaid', { provider: 'wellsaid', voiceId: 'v' }],
    ['xai', { provider: 'xai', voiceId: 'v' }],
    ['one that Vapi will add', { provider: 'one that Vapi will add', voiceId: 'v' }],
  ])('a voice of %s', (provider, expected) => {
    const document = renderAssistant(1, { ...CONFIG, voice: { ...voice, provider } }, STAMP, {});
    expect(document['voice']).toStrictEqual(expected);
  });

  test('the stability of a voice and the limits of a model are there exactly where they are set, 0 included', () => {
    const { voice, model } = CONFIG;
    expect(render({ voice: { ...voice, stability: 0, similarityBoost: null } })['voice']).toStrictEqual({
      provider: '11labs',
      voiceId: 'sarah',
      stability: 0,
    });
    expect(
      render({ ...PLAIN, model: { ...model, temperature: null, maxTokens: 50 } })['model'],
    ).toStrictEqual({
      provider: 'anthropic',
      model: 'claude-sonnet-4-20250514',
      messages: [{ role: 'system', content: CONFIG.systemPrompt }],
      maxTokens: 50,
    });
  });

  test("metadata that others wrote stays beside the stamp, and can't take its place", () => {
    const extraMetadata = { crm: { id: 7 }, lockstep: 'forged' };
    expect(render({ extraMetadata })['metadata']).toStrictEqual({ crm: { id: 7 }, lockstep: { ...STAMP } });
  });
});

describe('mapping version 2 is never changed either', () => {
  const modelOf = (document: JsonObject) => JSON.stringify(document['model'], null, 1);

  test('adds tools, the knowledge base and voicemail to version 1, and changes nothing else of it', () => {
    const { model: _one, ...v1 } = renderAssistant(1, CONFIG, STAMP, {});
    const { model, voicemailMessage, voicemailDetection, ...rest } = render({}, { toolId: TOOL_ID });
    expect(JSON.stringify(rest)).toBe(JSON.stringify(v1));
    expect({ voicemailMessage, voicemailDetection }).toEqual({
      voicemailMessage: 'Please call us back.',
      voicemailDetection: { provider: 'vapi' },
    });
    expect(modelOf({ model: model ?? null })).toMatchInlineSnapshot(`
      "{
       "provider": "anthropic",
       "model": "claude-sonnet-4-20250514",
       "messages": [
        {
         "role": "system",
         "content": "You answer calls.\\nBe kind."
        },
        {
         "role": "system",
         "content": "You have the tool search_knowledge_base. It searches the documents of this business. Call it before you answer a question about the business, its services, prices or policies. If it finds nothing, say that you do not know."
        }
       ],
       "temperature": 0,
       "maxTokens": 250,
       "tools": [
        {
         "type": "transferCall",
         "destinations": [
          {
           "type": "number",
           "number": "+14155550142",
           "description": "Emergencies",
           "message": "One moment."
          },
          {
           "type": "number",
           "number": "+14155550187",
           "description": "Billing"
          }
         ]
        },
        {
         "type": "endCall"
        }
       ],
       "toolIds": [
        "00000000-0000-4000-8000-0000000000f1"
       ]
      }"
    `);
  });

  test('renders the same model as version 1 for an agent that has nothing of this, and unsets voicemail', () => {
    const document = render(PLAIN);
    expect(JSON.stringify(document)).toBe(
      JSON.stringify({
        ...renderAssistant(1, { ...CONFIG, ...PLAIN }, STAMP, {}),
        ...{ voicemailMessage: null, voicemailDetection: null },
      }),
    );
  });

  test('uses the knowledge base only if the context has its tool, and leaves the prompt of the tenant as it is', () => {
    const messages = (context: JsonObject) => (render({}, context)['model'] as JsonObject)['messages'];
    const own = { role: 'system', content: CONFIG.systemPrompt };
    expect(messages({})).toEqual([own]);
    expect(messages({ toolId: TOOL_ID })).toEqual([
      own,
      { role: 'system', content: expect.stringContaining('search_knowledge_base') as string },
    ]);
    expect(render({}, {})['model']).not.toHaveProperty('toolIds');
  });

  test('keeps the tools that an operator gave to the agent, after its own', () => {
    const operatorToolIds = ['00000000-0000-4000-8000-0000000000f2'];
    expect(render({ operatorToolIds }, { toolId: TOOL_ID })['model']).toMatchObject({
      toolIds: [TOOL_ID, ...operatorToolIds],
    });
    expect(render({ operatorToolIds })['model']).toMatchObject({
      messages: [{ content: CONFIG.systemPrompt }],
      toolIds: operatorToolIds,
    });
  });
});

describe('the tools for appointments', () => {
  const modelOf = (context: JsonObject, change: Partial<AgentConfig> = {}) =>
    render({ ...PLAIN, bookAppointments: true, ...change }, context)['model'] as JsonObject;

  test('are rendered inline, without a server of their own, and named in the prompt', () => {
    const { tools, messages, ...rest } = modelOf({ server: SERVER });
    const { messages: own, ...plain } = render(PLAIN)['model'] as JsonObject;
    expect(rest).toEqual(plain);
    expect(tools).toEqual(APPOINTMENT_TOOLS.map((tool) => ({ type: 'function', function: tool })));
    expect(JSON.stringify((messages as Json[])[1])).toMatchInlineSnapshot(
      `"{"role":"system","content":"You can book, move and cancel appointments with the tools check_availability, book_appointment, reschedule_appointment, cancel_appointment. Call check_availability before you offer a time. Say that an appointment is booked, moved or cancelled only if the result of the tool says so."}"`,
    );
    expect((messages as Json[]).slice(0, 1)).toEqual(own);
  });

  test('stand after the other tools', () => {
    const { tools } = modelOf({ server: SERVER }, { endCall: true });
    expect((tools as JsonObject[]).map(({ type }) => type)).toEqual([
      'endCall',
      ...Array(4).fill('function'),
    ]);
  });

  test('are left out without a server that receives events: nobody would book', () => {
    for (const context of [{}, { server: null }, { toolId: TOOL_ID }])
      expect(modelOf(context)).not.toHaveProperty('tools');
    expect(modelOf({ server: SERVER }, { bookAppointments: false })).not.toHaveProperty('tools');
  });
});

describe('the server that receives events', () => {
  test('is rendered with its credential, retries and the messages that it needs, and changes nothing else', () => {
    const { server, serverMessages, ...rest } = render(PLAIN, { server: SERVER });
    expect(JSON.stringify(rest)).toBe(JSON.stringify(render(PLAIN)));
    expect(JSON.stringify({ server, serverMessages }, null, 1)).toMatchInlineSnapshot(`
      "{
       "server": {
        "url": "https://lockstep.example.com/vapi/events",
        "timeoutSeconds": 20,
        "credentialId": "00000000-0000-4000-8000-0000000000f1",
        "backoffPlan": {
         "type": "exponential",
         "maxRetries": 3,
         "baseDelaySeconds": 1,
         "excludedStatusCodes": [
          400,
          401,
          403,
          404,
          413,
          422
         ]
        }
       },
       "serverMessages": [
        "status-update",
        "end-of-call-report",
        "tool-calls"
       ]
      }"
    `);
  });

  test('is unset if there is none any more, and not named if there never was one', () => {
    expect(render({}, { server: null })).toMatchObject({ server: null, serverMessages: null });
    expect(Object.keys(render())).not.toContain('server');
    expect(Object.keys(renderAssistant(1, CONFIG, STAMP, { server: SERVER }))).not.toContain('server');
  });
});

describe('the complete set of managed fields, every time', () => {
  test('whatever the configuration, and nothing read-only', () => {
    fc.assert(
      fc.property(agentConfigs(), stamps, contexts, versions, (config, stamp, context, version) => {
        const document = renderAssistant(version, config, stamp, context);
        expect(Object.keys(document).sort()).toEqual([...managedFields(version, context)].sort());
        expect(document['metadata']).toEqual({ lockstep: stamp });
        expect(Object.values(document)).not.toContain(undefined);
      }),
    );
  });

  test('the same for the same, and its arguments are left alone', () => {
    fc.assert(
      fc.property(agentConfigs(), stamps, (config, stamp) => {
        const before = JSON.stringify([config, stamp]);
        const document = renderAssistant(1, config, stamp, {});
        document['metadata'] = null;
        expect(JSON.stringify([config, stamp])).toBe(before);
        expect(renderAssistant(1, config, stamp, {})['metadata']).toEqual({ lockstep: stamp });
      }),
    );
  });

  test.each([0, 3, -1, 1.5, Number.NaN])('mapping version %d is not known here, and says so', (version) => {
    expect(() => renderAssistant(version, CONFIG, STAMP, {})).toThrow(`unknown mapping version ${version}`);
    expect(() => managedFields(version, {})).toThrow(`unknown mapping version ${version}`);
    expect(isKnownMapping(version)).toBe(false);
  });

  test('new saves use a version that exists', () => {
    expect(() => render()).not.toThrow();
  });
});

describe('Vapi takes what is rendered', () => {
  test("the stand-in's strict rules refuse no valid configuration", () => {
    fc.assert(
      fc.property(agentConfigs(), stamps, contexts, (config, stamp, context) => {
        expect(checkSaveInput({ inbound: config })).toHaveProperty('input');
        expect(validateAssistant(renderAssistant(MAPPING_VERSION, config, stamp, context))).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });
});

const openApi = new URL('../../../../shared/vapi/openapi.json', import.meta.url);

interface Schema extends JsonObject {
  properties: { [name: string]: Schema };
}

describe.skipIf(!existsSync(openApi))(
  "Vapi's own OpenAPI takes what is rendered (skipped where that file is not present)",
  () => {
    const schemas = existsSync(openApi) ? readSchemas() : {};
    const ajv = new Ajv({ strict: false, validateFormats: false }).addSchema(
      { components: { schemas: strict(schemas) as JsonObject } },
      'vapi',
    );
    function problems(name: string, document: JsonObject): unknown[] {
      const validate = ajv.getSchema(`vapi#/components/schemas/${name}`);
      if (validate === undefined) throw new Error(`there is no ${name}`);
      return validate(document) === true ? [] : (validate.errors ?? [name]);
    }
    const bodies = ['CreateAssistantDTO', 'UpdateAssistantDTO'];

    /** A top-level null unsets a field (docs/vapi.md#null-unsets). The OpenAPI description cannot express that, so nulls are left out. */
    const sent = (document: JsonObject) =>
      Object.fromEntries(Object.entries(document).filter(([, value]) => value !== null));

    test.each(bodies)('%s takes every valid configuration', (name) => {
      fc.assert(
        fc.property(agentConfigs(specifiedNames(schemas)), stamps, contexts, (config, stamp, context) => {
          expect(checkSaveInput({ inbound: config })).toHaveProperty('input');
          expect(problems(name, sent(renderAssistant(MAPPING_VERSION, config, stamp, context)))).toEqual([]);
        }),
        { numRuns: 300 },
      );
    });

    test.each(bodies)('%s refuses what is wrong, so that the test above can fail', (name) => {
      const document = sent(render());
      const { voice, model } = document as { voice: JsonObject; model: JsonObject };
      expect(problems(name, document)).toEqual([]);
      for (const wrong of [
        { ...document, tools: [] },
        { ...document, id: STAMP.agentId },
        { ...document, name: 'x'.repeat(41) },
        { ...document, maxDurationSeconds: 9 },
        { ...document, voice: { ...voice, provider: 'elevenlabs' } },
        { ...document, voice: { ...voice, provider: 'openai' } },
        { ...document, model: { ...model, messages: [{ role: 'boss', content: '' }] } },
        { ...document, model: { ...model, temperature: 2.1 } },
        { ...document, transcriber: { provider: 'deepgram', language: 'xx' } },
      ]) {
        expect(problems(name, wrong)).not.toEqual([]);
      }
    });

    test('our providers are those of the OpenAPI, but for the two that need a server of their own', () => {
      const providers = (field: string) =>
        variants(schemas, field)
          .flatMap((schema) => listed(schema, 'provider'))
          .sort();
      expect(providers('voice')).toEqual([...VOICE_PROVIDERS, 'custom-voice'].sort());
      expect(providers('model')).toEqual([...MODEL_PROVIDERS, 'custom-llm'].sort());
    });

    test('every language that the transcriber is listed with can be said', () => {
      for (const language of languages(schemas)) {
        expect(checkSaveInput({ inbound: { language } })).toHaveProperty('input');
      }
    });
  },
);

type Schemas = Record<string, Schema>;

function readSchemas(): Schemas {
  const document = JSON.parse(readFileSync(openApi, 'utf8')) as { components: { schemas: Schemas } };
  const { schemas } = document.components;
  // Typed as an object there, described as "the language (ISO 639-1)" with the example "en": a text.
  const neuphonic = schemas['NeuphonicVoice']?.properties['language'];
  if (neuphonic !== undefined) neuphonic['type'] = 'string';
  // Typed as objects there, with texts and numbers for examples.
  const { type, excludedStatusCodes } = schemas['BackoffPlan']?.properties ?? {};
  if (type !== undefined) type['type'] = 'string';
  // Written with the slashes of a literal, which no name has.
  const functionName = schemas['OpenAIFunction']?.properties['name'];
  if (functionName !== undefined) functionName['pattern'] = '^[a-zA-Z0-9_-]{1,64}$';
  if (excludedStatusCodes !== undefined) excludedStatusCodes['items'] = { type: 'number' };
  return schemas;
}

/**
 * The same schemas as JSON Schema, as strict as the API: it refuses unknown properties at every level (docs/vapi.md#unknown-properties);
 * `nullable` is a type; `oneOf` lists presets beside "any string", so several may match.
 */
function strict(value: Json): Json {
  if (Array.isArray(value)) return value.map(strict);
  if (!isJsonObject(value)) return value;
  const { nullable, oneOf, discriminator: _discriminator, ...rest } = value;
  // A list whose members are of an enum is described as if the list itself were.
  if (rest['type'] === 'array' && Array.isArray(rest['enum']) && isJsonObject(rest['items'] ?? null)) {
    rest['items'] = { ...(rest['items'] as JsonObject), enum: rest['enum'] };
    delete rest['enum'];
  }
  // "Any of no presets", beside "any text".
  if (Array.isArray(rest['enum']) && rest['enum'].length === 0) delete rest['enum'];
  return {
    ...Object.fromEntries(Object.entries(rest).map(([key, member]) => [key, strict(member)])),
    ...(oneOf === undefined ? {} : { anyOf: strict(oneOf) }),
    ...(nullable === true && typeof rest['type'] === 'string' ? { type: [rest['type'], 'null'] } : {}),
    ...(isJsonObject(rest['properties'] ?? null) && rest['type'] === 'object'
      ? { additionalProperties: false }
      : {}),
  };
}

/** The alternatives of a field of an assistant, one a provider. */
function variants(schemas: Schemas, field: string): Schema[] {
  const oneOf = schemas['CreateAssistantDTO']?.properties[field]?.['oneOf'] ?? [];
  return (oneOf as { $ref: string }[]).map(({ $ref }) => schemas[$ref.split('/').at(-1) ?? ''] as Schema);
}

/** What a property may be; undefined where the schema lists nothing. */
function listed(schema: Schema | undefined, property: string): string[] | undefined {
  return schema?.properties[property]?.['enum'] as string[] | undefined;
}

const languages = (schemas: Schemas) => listed(schemas['DeepgramTranscriber'], 'language') ?? [];

/** The names that the OpenAPI lists where it lists any. It grows weekly, so the product passes any name through. */
function specifiedNames(schemas: Schemas): Names {
  const named = (field: string, property: string, max: number) => (provider: string) => {
    const schema = variants(schemas, field).find((variant) =>
      listed(variant, 'provider')?.includes(provider),
    );
    const names = listed(schema, property);
    return names === undefined ? storableText(max) : fc.constantFrom(...names);
  };
  return {
    voiceId: named('voice', 'voiceId', LIMITS.voiceId),
    model: named('model', 'model', LIMITS.modelName),
    language: fc.constantFrom(...languages(schemas)),
  };
}

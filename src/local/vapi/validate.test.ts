import { existsSync, readFileSync } from 'node:fs';
import { beforeEach, describe, expect, test } from 'vitest';
import type { JsonObject } from './assistant-store.ts';
import type { Rule } from './rules.ts';
import { specified, validateAssistant } from './validate.ts';

const openApi = new URL('../../../../shared/vapi/openapi.json', import.meta.url);

interface Schema {
  type?: string;
  $ref?: string;
  nullable?: boolean;
  properties?: Record<string, Schema>;
  required?: string[];
  enum?: unknown[];
  items?: Schema;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
}

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

/** Accepted although the specification does not name them. */
const BEYOND = new Set(['secret', 'systemPrompt', 'functions']);

describe.skipIf(!existsSync(openApi))(
  "against Vapi's own OpenAPI (skipped where that file is not present)",
  () => {
    const schemas: Record<string, Schema> = existsSync(openApi)
      ? JSON.parse(readFileSync(openApi, 'utf8')).components.schemas
      : {};

    function resolve(schema: Schema): Schema {
      const only = schema.allOf?.length === 1 ? schema.allOf[0] : undefined;
      if (only) return resolve(only);
      return schema.$ref === undefined ? schema : resolve(schemas[schema.$ref.split('/').at(-1) ?? ''] ?? {});
    }

    // Plans occur in many places and need to be compared only once.
    const compared = new Map<Rule, Set<Schema>>();
    beforeEach(() => compared.clear());

    /** Walks through the rules and the specification in parallel; `differences` collects where they disagree. */
    function compare(rule: Rule, given: Schema, path: string, differences: string[]): void {
      const schema = resolve(given);
      const before = compared.get(rule) ?? new Set();
      if (before.has(schema)) return;
      compared.set(rule, before.add(schema));
      const variants = (schema.oneOf ?? schema.anyOf ?? [schema]).map(resolve);
      const differ = (what: string, ours: unknown, theirs: unknown) => {
        if (JSON.stringify(ours) !== JSON.stringify(theirs)) {
          differences.push(`${path}: ${what} ${JSON.stringify(ours)}, specified ${JSON.stringify(theirs)}`);
        }
      };
      switch (rule.is) {
        case 'shape': {
          const keys = Object.keys(rule.keys).filter((key) => !BEYOND.has(key));
          const properties = Object.assign({}, ...variants.map((variant) => variant.properties ?? {}));
          differ('keys', keys.sort(), Object.keys(properties).sort());
          const [only] = variants;
          if (variants.length === 1)
            differ('required', [...rule.required].sort(), [...(only?.required ?? [])].sort());
          for (const key of keys) {
            const [inner, theirs] = [rule.keys[key], properties[key]];
            if (inner && theirs) compare(inner, theirs, `${path}.${key}`, differences);
          }
          return;
        }
        case 'tagged': {
          const byTag = new Map<string, Schema>();
          for (const variant of variants.filter(({ properties }) => properties)) {
            const values = resolve(variant.properties?.[rule.tag] ?? {}).enum ?? [];
            // Each endpointing plan lists every provider, so the name of the schema decides.
            const tag = values.length === 1 ? values[0] : values[byTag.size];
            byTag.set(String(tag), variant);
          }
          differ(`values of ${rule.tag}`, Object.keys(rule.cases).sort(), [...byTag.keys()].sort());
          for (const [tag, theirs] of byTag) {
            const inner = rule.cases[tag];
            const { [rule.tag]: _tag, ...rest } = theirs.properties ?? {};
            const { [rule.tag]: _own, ...keys } = inner?.keys ?? {};
            const without = (names: readonly string[] = []) => names.filter((name) => name !== rule.tag);
            expect(theirs.required).toContain(rule.tag);
            if (inner) {
              const bare: Rule = { is: 'shape', keys, required: without(inner.required) };
              compare(
                bare,
                { properties: rest, required: without(theirs.required) },
                `${path}<${tag}>`,
                differences,
              );
            }
          }
          return;
        }
        case 'either':
          differ(
            'number of kinds',
            new Set(rule.rules.map(kind)).size,
            new Set(variants.map(({ type }) => type)).size,
          );
          for (const inner of rule.rules) {
            const theirs = variants.filter(({ type }) => type === kind(inner));
            if (inner.is !== 'string')
              compare(
                inner,
                inner.is === 'tagged' ? { oneOf: theirs } : (theirs[0] ?? {}),
                path,
                differences,
              );
          }
          return;
        case 'list':
          differ('type', 'array', schema.type);
          if (schema.items && rule.of.is !== 'free' && rule.of.is !== 'any') {
            compare(rule.of, schema.items, `${path}[]`, differences);
          }
          return;
        case 'number':
          expect(['number', 'integer']).toContain(schema.type);
          differ('limits', [rule.min, rule.max], [schema.minimum, schema.maximum]);
          return;
        case 'string':
          differ('nullable', rule.nullable ?? false, schema.nullable ?? false);
          if (variants.length === 1) {
            if (rule.min !== 1 || schema.minLength) differ('min', rule.min, schema.minLength);
            differ('max', rule.max, schema.maxLength);
          }
          if (rule.oneOf) differ('values', [...rule.oneOf].sort(), [...(schema.enum ?? [])].sort());
          return;
        case 'boolean':
          differ('type', 'boolean', schema.type);
          return;
        default:
          differ('type', rule.is === 'free' ? 'object' : schema.type, schema.type);
      }
    }

    function kind(rule: Rule): string {
      if (rule.is === 'list') return 'array';
      return rule.is === 'string' || rule.is === 'number' || rule.is === 'boolean' ? rule.is : 'object';
    }

    test.each(['CreateAssistantDTO', 'UpdateAssistantDTO'])(
      '%s takes the same keys, providers and limits',
      (name) => {
        const differences: string[] = [];
        compare(specified, { $ref: `#/components/schemas/${name}` }, '', differences);
        expect(differences).toEqual([]);
      },
    );
  },
);

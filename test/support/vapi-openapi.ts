/** Compares the stand-in's rules with Vapi's own OpenAPI description, which is not part of this repository. */
import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { Rule } from '../../src/local/vapi/rules.ts';

const openApi = new URL('../../../shared/vapi/openapi.json', import.meta.url);

/** Tests against the description are skipped where the file is not present. */
export const hasOpenApi = existsSync(openApi);

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

const schemas: Record<string, Schema> = hasOpenApi
  ? JSON.parse(readFileSync(openApi, 'utf8')).components.schemas
  : {};

/** Accepted although the specification does not name them. */
const BEYOND = new Set(['secret', 'systemPrompt', 'functions']);

/** Where the rule disagrees with the schema of this name; an empty list if nowhere. */
export function differencesFrom(name: string, rule: Rule): string[] {
  const differences: string[] = [];
  compared.clear();
  compare(rule, { $ref: `#/components/schemas/${name}` }, '', differences);
  return differences;
}

function resolve(schema: Schema): Schema {
  const only = schema.allOf?.length === 1 ? schema.allOf[0] : undefined;
  if (only) return resolve(only);
  return schema.$ref === undefined ? schema : resolve(schemas[schema.$ref.split('/').at(-1) ?? ''] ?? {});
}

// Plans occur in many places and need to be compared only once.
const compared = new Map<Rule, Set<Schema>>();

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
          compare(inner, inner.is === 'tagged' ? { oneOf: theirs } : (theirs[0] ?? {}), path, differences);
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

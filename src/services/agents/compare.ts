import type { FieldDrift } from '../../domain/agents/save.ts';
import type { Stamp } from '../../domain/agents/stamp.ts';
import { isJsonObject, type Json, type JsonObject, jsonEqual } from '../../domain/json.ts';
import { isUuid } from '../../domain/uuid.ts';
import { managedFields } from './render.ts';

/**
 * The one comparator: does an assistant, as Vapi answered it, hold what we sent? Asymmetric: every leaf that was sent must be
 * there; what Vapi adds is ignored, except where an absent key is how we erase something.
 */

/** The meaning of an absent field: Vapi does not fill in defaults (docs/vapi.md#absent-means-default). */
const DEFAULTS: Readonly<Record<string, Json>> = {
  maxDurationSeconds: 600,
  firstMessageMode: 'assistant-speaks-first',
  voicemailDetection: 'off',
};

/** A PATCH of the whole `model` erases these if they are not sent (docs/vapi.md#model-erases-tools), so their presence is a difference. */
const ERASED_IF_NOT_SENT = ['model.toolIds', 'model.tools', 'model.toolRefs', 'model.knowledgeBase'] as const;

/** Every place where `answered` is not what was sent; empty = it matches. */
export function differences(sent: JsonObject, answered: JsonObject): FieldDrift[] {
  const found: FieldDrift[] = [];
  for (const [key, value] of Object.entries(sent)) compare(key, value, answered[key], found);
  for (const path of ERASED_IF_NOT_SENT) {
    const theirs = at(answered, path);
    if (at(sent, path) === undefined && !isEmpty(theirs))
      found.push({ path, ours: null, theirs: theirs ?? null });
  }
  return found;
}

function compare(path: string, ours: Json, theirs: Json | undefined, found: FieldDrift[]): void {
  const actual = theirs ?? DEFAULTS[path] ?? null;
  if (isJsonObject(ours) && isJsonObject(actual)) {
    for (const [key, value] of Object.entries(ours)) compare(`${path}.${key}`, value, actual[key], found);
  } else if (Array.isArray(ours) && Array.isArray(actual) && ours.length === actual.length) {
    for (const [index, value] of ours.entries()) compare(`${path}[${index}]`, value, actual[index], found);
  } else if (Array.isArray(ours) || isJsonObject(ours) || (ours ?? DEFAULTS[path] ?? null) !== actual) {
    found.push({ path, ours, theirs: actual });
  }
}

function at(document: JsonObject, path: string): Json | undefined {
  let value: Json | undefined = document;
  for (const key of path.split('.')) value = isJsonObject(value) ? value[key] : undefined;
  return value;
}

function isEmpty(value: Json | undefined): boolean {
  return value === undefined || value === null || (Array.isArray(value) && value.length === 0);
}

/**
 * The normal form of what Vapi answered: the managed fields of this mapping version and context, without nulls, without our stamp,
 * and without what Vapi adds to an inline tool.
 */
export function observedForm(version: number, context: JsonObject, answered: JsonObject): JsonObject {
  const form: JsonObject = {};
  for (const field of managedFields(version, context)) {
    const value = withoutNulls(answered[field]);
    if (value === undefined) continue;
    // Version 1 has no tools, and what it stored must stay comparable.
    if (field === 'model' && version > 1) form[field] = withPlainTools(value);
    else if (field !== 'metadata') form[field] = value;
    else if (isJsonObject(value)) {
      const { lockstep: _stamp, ...foreign } = value;
      if (Object.keys(foreign).length > 0) form[field] = foreign;
    }
  }
  return form;
}

const TOOL_LISTS = ['tools', 'toolIds', 'toolRefs'];
/** An inline tool has no id of ours: what Vapi gives it, it may give anew with each answer. */
const ADDED_TO_TOOLS = ['id', 'orgId', 'createdAt', 'updatedAt', 'latestVersion'];
/** Documented defaults: a tool or a destination that has them is the same without them. */
const TOOL_DEFAULTS: JsonObject = { async: false, messages: [] };
const DESTINATION_DEFAULTS: JsonObject = {
  numberE164CheckEnabled: true,
  transferPlan: { mode: 'blind-transfer' },
};

function withPlainTools(model: Json): Json {
  if (!isJsonObject(model)) return model;
  // No tools at all and an empty list of them are the same.
  const plain = without(model, (key, value) => TOOL_LISTS.includes(key) && isEmpty(value));
  return Array.isArray(plain['tools']) ? { ...plain, tools: plain['tools'].map(plainTool) } : plain;
}

function plainTool(tool: Json): Json {
  if (!isJsonObject(tool)) return tool;
  const plain = without(
    tool,
    (key, value) => ADDED_TO_TOOLS.includes(key) || isDefault(TOOL_DEFAULTS, key, value),
  );
  if (!Array.isArray(plain['destinations'])) return plain;
  const destinations = plain['destinations'].map((one) =>
    isJsonObject(one) ? without(one, (key, value) => isDefault(DESTINATION_DEFAULTS, key, value)) : one,
  );
  return { ...plain, destinations };
}

function isDefault(defaults: JsonObject, key: string, value: Json): boolean {
  return defaults[key] !== undefined && jsonEqual(defaults[key], value);
}

function without(object: JsonObject, leaveOut: (key: string, value: Json) => boolean): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key, value]) => !leaveOut(key, value)));
}

function withoutNulls(value: Json | undefined): Json | undefined {
  if (value === null || value === undefined) return undefined;
  if (Array.isArray(value)) return value.map((member) => withoutNulls(member) ?? null);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, member]) => [key, withoutNulls(member)] as const)
      .filter((entry): entry is [string, Json] => entry[1] !== undefined),
  );
}

/** The stamp that an assistant carries; null where it has none of ours, or one that does not read as such. */
export function stampOf(assistant: JsonObject): Stamp | null {
  const metadata = assistant['metadata'];
  const stamp = isJsonObject(metadata) ? metadata['lockstep'] : undefined;
  if (!isJsonObject(stamp)) return null;
  const { deployment, orgId, agentId, role, saveId, revision } = stamp;
  if (
    !isUuid(deployment) ||
    !isUuid(orgId) ||
    !isUuid(agentId) ||
    (role !== 'INBOUND' && role !== 'OUTBOUND') ||
    !isUuid(saveId) ||
    typeof revision !== 'number'
  ) {
    return null;
  }
  return { deployment, orgId, agentId, role, saveId, revision };
}

/** Tools as Vapi keeps them: a PATCH replaces a list such as `knowledgeBases` whole (docs/vapi.md#tools). */
import type { Endpoint } from './endpoint.ts';
import { tool } from './fields/tool.ts';
import { isObject, type Json, type JsonObject } from './json.ts';
import { type Changes, type Resource, ResourceStore, type StoreOptions } from './resource-store.ts';
import { bodyProblems, caseOf, shape, str, type Tagged, text, withoutNulls } from './rules.ts';
import type { Settings } from './settings.ts';

export interface Tool extends Resource {
  readonly type: string;
}

/** Query tools take a name and a description, although the specification does not say so (docs/vapi.md#query-tool-function). */
const queryFunction = shape({ 'name!': str(64, 1), description: text });
const withFunction: Tagged = {
  ...tool,
  cases: {
    ...tool.cases,
    query: {
      is: 'shape',
      required: ['type'],
      keys: { ...tool.cases['query']?.keys, function: queryFunction },
    },
  },
};

export class ToolStore extends ResourceStore<Tool> {
  readonly #settings: () => Settings;

  constructor(settings: () => Settings, options: StoreOptions = {}) {
    super(options);
    this.#settings = settings;
  }

  names(orgId: string, fileId: string): boolean {
    return this.stored().some((one) => one.orgId === orgId && fileIds(one).includes(fileId));
  }

  protected override changes(current: Tool | undefined, fields: JsonObject): Changes {
    const { function: named, ...rest } = super.changes(current, fields);
    const isQuery = (current?.type ?? fields['type']) === 'query';
    const dropped = named === undefined || (isQuery && this.#settings().queryToolFunction === 'dropped');
    return dropped ? rest : { ...rest, function: named };
  }
}

/** `fileExists` and `isPinned` look into the other stores of the account. */
export function toolEndpoint(
  store: ToolStore,
  settings: () => Settings,
  fileExists: (orgId: string, id: string) => boolean,
  isPinned: (tool: Tool) => boolean,
): Endpoint<Tool> {
  const rules = () => (settings().queryToolFunction === 'refused' ? tool : withFunction);
  // The wording of these refusals is ours.
  const badFiles = (orgId: string, body: JsonObject): string | undefined => {
    const { unknownFileIds, emptyFileIds } = settings();
    const unknown = fileIds(body).find((id) => !fileExists(orgId, id));
    if (unknownFileIds === 'refused' && unknown !== undefined) return `File ${unknown} Does Not Exist.`;
    const empty = knowledgeBases(body).some(
      (one) => Array.isArray(one['fileIds']) && one['fileIds'].length === 0,
    );
    return emptyFileIds === 'refused' && empty ? 'fileIds should not be empty' : undefined;
  };

  return {
    noun: 'Tool',
    store,
    createProblems: (body) => bodyProblems(rules(), body),
    patchProblems: (body, current) => {
      const rule = caseOf(rules(), current?.type ?? body['type']);
      if (rule === undefined) return [];
      // An update has the fields of a create, and requires none of them.
      return bodyProblems({ ...rule, required: [] }, withoutNulls(rule, body)).filter(
        (problem) => !problem.startsWith('type '),
      );
    },
    refuseCreate: badFiles,
    refusePatch: (current, body) => {
      const { type = current.type } = body;
      return type === current.type ? badFiles(current.orgId, body) : `type of this tool is ${current.type}`;
    },
    refuseDelete: (current) =>
      isPinned(current)
        ? { status: 409, message: 'This tool is pinned by an assistant.', error: 'tool_pinned' }
        : undefined,
  };
}

function knowledgeBases(body: JsonObject): JsonObject[] {
  const bases: Json | undefined = body['knowledgeBases'];
  return Array.isArray(bases) ? bases.filter(isObject) : [];
}

function fileIds(body: JsonObject): string[] {
  return knowledgeBases(body).flatMap(
    (one) => (Array.isArray(one['fileIds']) ? one['fileIds'] : []) as string[],
  );
}

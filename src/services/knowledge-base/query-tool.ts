import { isJsonObject, type JsonObject } from '../../domain/json.ts';
import { SEARCH_TOOL } from '../../domain/knowledge-base/document.ts';
import type { PartImage } from '../../domain/saga.ts';
import { shortUuid, uuidOfShort } from '../../domain/short-uuid.ts';
import {
  mapped,
  type ProviderReply,
  type RemoteResource,
  type RemoteResources,
} from '../../ports/voice-provider.ts';
import { differences } from '../agents/compare.ts';
import type {
  Found,
  Inspected,
  Page,
  Part,
  SagaDefinition,
  SagaIdentity,
  SagaKind,
  Written,
} from '../saga/participant.ts';

/** The kind of saga that publishes the documents of an organization in its query tool. */
const QUERY_TOOL = 'query_tool';

/** How a list of files is rendered. An old version never changes: recovery must send the same bytes. */
export const QUERY_TOOL_MAPPING_VERSION = 1;

/** The tool that the saga `sagaId` writes. The name of the knowledge base is its stamp (docs/vapi.md#query-tools). */
export function renderQueryTool(version: number, fileIds: readonly string[], sagaId: string): JsonObject {
  if (version !== 1) throw new Error(`this build does not know version ${version} of the query tool`);
  return {
    type: 'query',
    function: {
      name: SEARCH_TOOL,
      description: 'Searches the documents of this organization for what the caller asks about.',
    },
    knowledgeBases: [
      {
        provider: 'google',
        name: `ls1-${shortUuid(sagaId)}`,
        description:
          'Documents that this organization has uploaded, such as opening hours, prices and rules.',
        fileIds: [...fileIds].sort(),
      },
    ],
  };
}

/** The saga that wrote a tool last; null: the tool has no stamp of ours. */
export function queryToolStampOf(tool: JsonObject): string | null {
  const bases = tool['knowledgeBases'];
  const [base] = Array.isArray(bases) ? bases : [];
  const name = isJsonObject(base) ? base['name'] : undefined;
  return typeof name === 'string' && name.startsWith('ls1-') ? uuidOfShort(name.slice(4)) : null;
}

/** Where a tool, as Vapi answered it, is not what was sent; empty: it matches. The order of files has no meaning. */
export function queryToolDifferences(sent: JsonObject, answered: JsonObject): string[] {
  return differences(sent, observedForm(answered)).map(({ path }) => path);
}

/** What the sagas of query tools need of the provider. */
export type ToolVoice = { readonly tools: RemoteResources };

export const QUERY_TOOL_SAGA: SagaDefinition<ToolVoice> = {
  name: QUERY_TOOL,
  open: ({ tools }) => queryToolSaga(tools),
};

/** How the list of an organization lives in Vapi. */
export function queryToolSaga(tools: RemoteResources): SagaKind {
  return {
    words: {
      notMade: 'The documents were not published.',
      gone: 'The query tool was deleted in Vapi.',
      otherFailed: 'Not kept: another part failed.',
      needsAttention:
        'Vapi refuses the query tool, or does not say what became of it. An operator must settle this operation.',
    },
    open: (saga, image) => new QueryToolPart(tools, saga, image),
  };
}

class QueryToolPart implements Part {
  readonly stage = 0;
  readonly pivot: boolean;
  readonly lookOnly = false;
  readonly removes: boolean;
  readonly timeoutMs: number;
  readonly #tools: RemoteResources;
  readonly #saga: SagaIdentity;
  readonly #image: PartImage;
  readonly #after: JsonObject;

  constructor(tools: RemoteResources, saga: SagaIdentity, image: PartImage) {
    this.removes = image.after.content['removed'] === true;
    this.pivot = this.removes;
    this.timeoutMs = tools.timeoutMs;
    this.#tools = tools;
    this.#saga = saga;
    this.#image = image;
    this.#after = renderQueryTool(saga.mappingVersion, filesOf(image.after.content), saga.sagaId);
  }

  /** The committed tool; null where there was none. */
  #before(): JsonObject | null {
    const { before } = this.#image;
    if (before === null) return null;
    return renderQueryTool(before.mappingVersion, filesOf(before.content), before.sagaId);
  }

  async create(): Promise<ProviderReply<Written>> {
    return written(this.#after, await this.#tools.create(this.#after));
  }

  async replace(remoteId: string): Promise<ProviderReply<Written>> {
    return written(this.#after, await this.#tools.update(remoteId, this.#after));
  }

  async restore(remoteId: string): Promise<ProviderReply<Written>> {
    const before = this.#before();
    if (before === null) throw new Error('a tool that is new has no previous list');
    return written(before, await this.#tools.update(remoteId, before));
  }

  remove(remoteId: string): Promise<ProviderReply<unknown>> {
    return this.#tools.remove(remoteId);
  }

  async look(remoteId: string): Promise<ProviderReply<Found>> {
    return mapped(await this.#tools.get(remoteId), (tool) => this.#found(tool));
  }

  async list(page: Page): Promise<ProviderReply<Found[]>> {
    return mapped(await this.#tools.list({ ...page }), (all) => all.map((tool) => this.#found(tool)));
  }

  async inspect(remoteId: string): Promise<ProviderReply<Inspected>> {
    // The content decides, not whose stamp it has: a person writes no stamps.
    const paths = (sent: JsonObject, tool: RemoteResource) =>
      queryToolDifferences(sent, tool).filter((path) => path !== 'knowledgeBases[0].name');
    return mapped(await this.#tools.get(remoteId), (tool) => ({
      remoteId: tool.id,
      observed: observedForm(tool),
      differsFromAfter: this.removes ? ['tool'] : paths(this.#after, tool),
      differsFromBefore: paths(this.#before() ?? {}, tool),
    }));
  }

  #found(tool: RemoteResource): Found {
    const stamped = queryToolStampOf(tool) === this.#saga.sagaId;
    return {
      ...{ remoteId: tool.id, createdAt: String(tool['createdAt']), stamped },
      holds: stamped ? contentOf(this.#after, tool) : null,
    };
  }
}

function filesOf(content: JsonObject): string[] {
  return content['fileIds'] as string[];
}

function written(sent: JsonObject, reply: ProviderReply<RemoteResource>): ProviderReply<Written> {
  return mapped(reply, (tool) => contentOf(sent, tool));
}

function contentOf(sent: JsonObject, tool: RemoteResource): Written {
  return { remoteId: tool.id, observed: observedForm(tool), differing: queryToolDifferences(sent, tool) };
}

/** What we write of a tool, with its files in our order. */
function observedForm(tool: JsonObject): JsonObject {
  const bases = tool['knowledgeBases'];
  return {
    type: tool['type'] ?? null,
    function: tool['function'] ?? null,
    knowledgeBases: Array.isArray(bases)
      ? bases.map((base) =>
          isJsonObject(base) && Array.isArray(base['fileIds'])
            ? { ...base, fileIds: [...base['fileIds']].sort() }
            : base,
        )
      : null,
  };
}

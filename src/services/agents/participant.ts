import { type AgentRole, upcast } from '../../domain/agents/agent-config.ts';
import { AGENTS } from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { PartImage } from '../../domain/saga.ts';
import {
  type Assistants,
  mapped,
  type ProviderAssistant,
  type ProviderReply,
} from '../../ports/voice-provider.ts';
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
import { differences, observedForm, stampOf } from './compare.ts';
import { renderAssistant } from './render.ts';

export const AGENT_SAGA: SagaDefinition<Assistants> = {
  name: AGENTS,
  about: (images) => ({ roles: images.map(({ key }) => key) }),
  open: agentSaga,
};

/** How an agent lives in Vapi: as an assistant that holds the whole managed document and the stamp of its save. */
function agentSaga(voice: Assistants): SagaKind {
  return {
    words: {
      notMade: 'The save was not made.',
      gone: 'The assistant was deleted in Vapi; save with recreateIfMissing: true to make a new one.',
      otherFailed: 'Not kept: the other agent could not be saved.',
      needsAttention: 'Vapi refuses to take the previous configuration back. A person must settle this save.',
    },
    open: (saga, image) => new AgentPart(voice, saga, image),
  };
}

/** In place of a mapping version: the content is a document, as Vapi answered it before Lockstep took the assistant over. */
const AS_FOUND = 0;

/** What an image says about one document. */
type Committed = NonNullable<PartImage['before']>;

class AgentPart implements Part {
  readonly stage = 0;
  readonly pivot = false;
  readonly lookOnly = false;
  readonly removes = false;
  readonly timeoutMs: number;
  readonly #voice: Assistants;
  readonly #saga: SagaIdentity;
  readonly #image: PartImage;
  /** The complete document that the save puts into Vapi. */
  readonly #after: JsonObject;

  constructor(voice: Assistants, saga: SagaIdentity, image: PartImage) {
    this.timeoutMs = voice.timeoutMs;
    this.#voice = voice;
    this.#saga = saga;
    this.#image = image;
    const { mappingVersion, sagaId } = saga;
    this.#after = this.#document({ ...image.after, mappingVersion, sagaId });
  }

  #document({ mappingVersion, content, context, sagaId: saveId, revision }: Committed): JsonObject {
    const { deployment, orgId } = this.#saga;
    const { resourceId: agentId, key } = this.#image;
    const role = key as AgentRole;
    const stamp = { deployment, orgId, agentId, role, saveId, revision };
    return renderAssistant(mappingVersion, upcast(role, content), stamp, context);
  }

  /**
   * The committed document, with null for each field that only the new one names: an undo must clear what a newer mapping version
   * has written, because a PATCH keeps what it does not name. Null where there was no agent.
   */
  #before(): JsonObject | null {
    const { before } = this.#image;
    if (before === null) return null;
    const named = Object.keys(this.#after);
    if (before.mappingVersion === AS_FOUND) {
      // Only what this save has written. What Vapi shows of a field may lack a secret that only Vapi holds.
      return Object.fromEntries(named.map((field) => [field, before.content[field] ?? null]));
    }
    const cleared = Object.fromEntries(named.map((field) => [field, null]));
    return { ...cleared, ...this.#document(before) };
  }

  async create(): Promise<ProviderReply<Written>> {
    return this.#written(this.#after, await this.#voice.createAssistant(this.#after));
  }

  async replace(remoteId: string): Promise<ProviderReply<Written>> {
    return this.#written(this.#after, await this.#voice.updateAssistant(remoteId, this.#after));
  }

  async restore(remoteId: string): Promise<ProviderReply<Written>> {
    const before = this.#before();
    if (before === null) throw new Error('an agent that is new has no previous configuration');
    return this.#written(before, await this.#voice.updateAssistant(remoteId, before));
  }

  remove(remoteId: string): Promise<ProviderReply<ProviderAssistant>> {
    return this.#voice.deleteAssistant(remoteId);
  }

  async look(remoteId: string): Promise<ProviderReply<Found>> {
    return mapped(await this.#voice.getAssistant(remoteId), (assistant) => this.#found(assistant));
  }

  async list(page: Page): Promise<ProviderReply<Found[]>> {
    return mapped(await this.#voice.listAssistants(page), (all) =>
      all.map((assistant) => this.#found(assistant)),
    );
  }

  async inspect(remoteId: string): Promise<ProviderReply<Inspected>> {
    return mapped(await this.#voice.getAssistant(remoteId), (assistant) => ({
      remoteId: assistant.id,
      observed: this.#observed(assistant),
      differsFromAfter: contentPaths(this.#after, assistant),
      differsFromBefore: contentPaths(this.#before() ?? {}, assistant),
    }));
  }

  #found(assistant: ProviderAssistant): Found {
    const stamp = stampOf(assistant);
    const stamped = stamp?.saveId === this.#saga.sagaId && stamp.agentId === this.#image.resourceId;
    return {
      ...{ remoteId: assistant.id, createdAt: String(assistant['createdAt']), stamped },
      holds: stamped ? this.#content(this.#after, assistant) : null,
    };
  }

  #written(sent: JsonObject, reply: ProviderReply<ProviderAssistant>): ProviderReply<Written> {
    return mapped(reply, (assistant) => this.#content(sent, assistant));
  }

  #content(sent: JsonObject, assistant: ProviderAssistant): Written {
    return {
      remoteId: assistant.id,
      observed: this.#observed(assistant),
      differing: differences(sent, assistant).map(({ path }) => path),
    };
  }

  /** What a commit stores: the sweep compares it by the mapping version of the save. */
  #observed(assistant: ProviderAssistant): JsonObject {
    return observedForm(this.#saga.mappingVersion, this.#image.after.context, assistant);
  }
}

/** The content decides, not whose stamp it carries: a person writes no stamps. The sweep sees that one, and writes it anew. */
function contentPaths(document: JsonObject, assistant: ProviderAssistant): string[] {
  return differences(document, assistant)
    .map(({ path }) => path)
    .filter((path) => !/^metadata\.lockstep(\.|$)/.test(path));
}

import type { AgentConfig, AgentRole } from '../../domain/agents/agent-config.ts';
import { AGENTS } from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { PartImage } from '../../domain/saga.ts';
import type { Assistants, ProviderAssistant, ProviderReply } from '../../ports/voice-provider.ts';
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
    const { content, revision } = image.after;
    this.#after = this.#document(saga.mappingVersion, content, { saveId: saga.sagaId, revision });
  }

  #document(version: number, content: JsonObject, of: { saveId: string; revision: number }): JsonObject {
    const { deployment, orgId } = this.#saga;
    return renderAssistant(version, content as unknown as AgentConfig, {
      ...{ deployment, orgId, agentId: this.#image.resourceId, role: this.#image.key as AgentRole },
      ...of,
    });
  }

  /** The committed document; null where there was no agent. */
  #before(): JsonObject | null {
    const { before } = this.#image;
    if (before === null) return null;
    const { mappingVersion, content, sagaId: saveId, revision } = before;
    return this.#document(mappingVersion, content, { saveId, revision });
  }

  async create(): Promise<ProviderReply<Written>> {
    return written(this.#after, await this.#voice.createAssistant(this.#after));
  }

  async replace(remoteId: string): Promise<ProviderReply<Written>> {
    return written(this.#after, await this.#voice.updateAssistant(remoteId, this.#after));
  }

  async restore(remoteId: string): Promise<ProviderReply<Written>> {
    const before = this.#before();
    if (before === null) throw new Error('an agent that is new has no previous configuration');
    return written(before, await this.#voice.updateAssistant(remoteId, before));
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
      observed: observedForm(assistant),
      differsFromAfter: contentPaths(this.#after, assistant),
      differsFromBefore: contentPaths(this.#before() ?? {}, assistant),
    }));
  }

  #found(assistant: ProviderAssistant): Found {
    const stamp = stampOf(assistant);
    const stamped = stamp?.saveId === this.#saga.sagaId && stamp.agentId === this.#image.resourceId;
    return {
      ...{ remoteId: assistant.id, createdAt: String(assistant['createdAt']), stamped },
      holds: stamped ? contentOf(this.#after, assistant) : null,
    };
  }
}

function written(sent: JsonObject, reply: ProviderReply<ProviderAssistant>): ProviderReply<Written> {
  return mapped(reply, (assistant) => contentOf(sent, assistant));
}

function contentOf(sent: JsonObject, assistant: ProviderAssistant): Written {
  return {
    remoteId: assistant.id,
    observed: observedForm(assistant),
    differing: differences(sent, assistant).map(({ path }) => path),
  };
}

/** The content decides, not whose stamp it carries: a person writes no stamps. The sweep sees that one, and writes it anew. */
function contentPaths(document: JsonObject, assistant: ProviderAssistant): string[] {
  return differences(document, assistant)
    .map(({ path }) => path)
    .filter((path) => !/^metadata\.lockstep(\.|$)/.test(path));
}

function mapped<T, U>(reply: ProviderReply<T>, change: (value: T) => U): ProviderReply<U> {
  return reply.kind === 'ok' ? { kind: 'ok', value: change(reply.value) } : reply;
}

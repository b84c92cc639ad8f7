/**
 * Assistant versions as a mode of the stand-in (docs/vapi.md#versions): with the setting `assistantVersions`, an edit in the dashboard is a draft
 * until it is published, every write through the API is a new version that is live at once, and a restore makes an old version live
 * again. Vapi has no public route for drafts and versions, so there is none here.
 */
import { createHash } from 'node:crypto';
import type { Assistant, AssistantStore } from './assistant-store.ts';
import type { JsonObject } from './json.ts';
import type { Changes, Resource, ResourceStore } from './resource-store.ts';
import type { Settings } from './settings.ts';

/** A version with its whole content. It is never changed. */
export interface AssistantVersion extends Resource {
  readonly assistantId: string;
  /** `v1`, `v2` and so on. */
  readonly version: string;
  readonly configHash: string;
  readonly content: JsonObject;
}

/** An edit in the dashboard that is not live yet. */
export interface AssistantDraft extends Resource {
  readonly assistantId: string;
  /** The version that it was made from. */
  readonly baseVersion: string;
  readonly content: JsonObject;
}

const NOT_CONTENT = ['id', 'orgId', 'createdAt', 'updatedAt', 'latestVersion', 'isServerUrlSecretSet'];

export class AssistantVersions {
  readonly #assistants: AssistantStore;
  readonly #versions: ResourceStore<AssistantVersion>;
  readonly #drafts: ResourceStore<AssistantDraft>;
  readonly #settings: () => Settings;

  constructor(
    assistants: AssistantStore,
    versions: ResourceStore<AssistantVersion>,
    drafts: ResourceStore<AssistantDraft>,
    settings: () => Settings,
  ) {
    this.#assistants = assistants;
    this.#versions = versions;
    this.#drafts = drafts;
    this.#settings = settings;
  }

  /** Oldest first. */
  of(assistantId: string): AssistantVersion[] {
    return this.#versions.all().filter((one) => one.assistantId === assistantId);
  }

  draftOf(assistantId: string): AssistantDraft | undefined {
    return this.#drafts.all().find((one) => one.assistantId === assistantId);
  }

  /** The content of a version. */
  contentOf(assistantId: string, version: string): JsonObject | undefined {
    return this.of(assistantId).find((one) => one.version === version)?.content;
  }

  /** After a write through the API: it is live, and a version. Returns the assistant with its label. */
  written(after: Assistant, before: Assistant | undefined): Assistant {
    if (!this.#settings().assistantVersions) return after;
    if (before) this.#baseline(before);
    const draft = this.draftOf(after.id);
    if (draft && this.#settings().draftAfterApiWrite === 'discarded') this.#drafts.dashboardDelete(draft.id);
    return this.#version(after);
  }

  /** An edit in the dashboard: it changes the draft, which begins as what is live. */
  edit(assistant: Assistant, fields: JsonObject): AssistantDraft {
    const draft = this.draftOf(assistant.id);
    if (draft) {
      const content = { ...draft.content, ...fields };
      return this.#drafts.amend(draft.id, { content }) ?? draft;
    }
    const { version } = this.#baseline(assistant);
    return this.#drafts.create(assistant.orgId, {
      ...{ assistantId: assistant.id, baseVersion: version, createdBy: 'person@example.test' },
      content: { ...contentOf(assistant), ...fields },
    });
  }

  /** Makes the draft live, as the setting `staleDraft` says if something else was published since it was begun. */
  publish(assistantId: string): Assistant {
    const draft = this.draftOf(assistantId);
    if (!draft) throw new Error(`The assistant ${assistantId} has no draft`);
    const latest = this.of(assistantId).at(-1);
    if (this.#settings().staleDraft === 'refused' && latest?.version !== draft.baseVersion) {
      throw new Error(
        `The draft is based on ${draft.baseVersion}, and the latest version is ${latest?.version}`,
      );
    }
    this.#drafts.dashboardDelete(draft.id);
    return this.#version(this.#live(assistantId, draft.content), { createdBy: 'person@example.test' });
  }

  /** Makes the content of an old version live at once, as a new version: its stamp is that of the old one. */
  restore(assistantId: string, version: string): Assistant {
    const content = this.contentOf(assistantId, version);
    if (!content) throw new Error(`The assistant ${assistantId} has no version ${version}`);
    return this.#version(this.#live(assistantId, content), {
      ...{ restoredFromVersion: version, createdBy: 'person@example.test' },
    });
  }

  /** Versions and drafts end with their assistant. */
  deleted(assistantId: string): void {
    for (const { id } of this.of(assistantId)) this.#versions.dashboardDelete(id);
    const draft = this.draftOf(assistantId);
    if (draft) this.#drafts.dashboardDelete(draft.id);
  }

  /** The latest version; the first one if the assistant has none, as one that is older than the mode. */
  #baseline(assistant: Assistant): AssistantVersion {
    const latest = this.of(assistant.id).at(-1);
    if (latest) return latest;
    this.#version(assistant);
    return this.#baseline(assistant);
  }

  /** Keeps the content as a new version, unless it is that of the latest one. */
  #version(assistant: Assistant, by: JsonObject = { createdBy: null }): Assistant {
    const { id, orgId } = assistant;
    const content = contentOf(assistant);
    const configHash = createHash('sha256').update(JSON.stringify(content)).digest('hex');
    const before = this.of(id).at(-1);
    if (before?.configHash === configHash) return assistant;
    const version = `v${this.of(id).length + 1}`;
    const parentVersion = before?.version ?? null;
    this.#versions.create(orgId, { assistantId: id, version, parentVersion, configHash, content, ...by });
    return this.#assistants.amend(id, { latestVersion: version }, true) ?? assistant;
  }

  /** Replaces the whole content of the assistant. */
  #live(assistantId: string, content: JsonObject): Assistant {
    const current = this.#assistants.find(assistantId);
    if (!current) throw new Error(`The stand-in has no assistant ${assistantId}`);
    const removed = Object.keys(contentOf(current)).map((name) => [name, undefined] as const);
    const changes: Changes = { ...Object.fromEntries(removed), ...content };
    return this.#assistants.amend(assistantId, changes) ?? current;
  }
}

function contentOf(assistant: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(assistant).filter(([name]) => !NOT_CONTENT.includes(name)));
}

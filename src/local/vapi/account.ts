/**
 * Everything that the stand-in keeps: the stores of a Vapi account by kind of resource, and the settings. Without I/O: the caller
 * provides clock and ids.
 */
import { type Assistant, AssistantStore } from './assistant-store.ts';
import { type Call, type CallEndpoint, CallStore, callEndpoint } from './calls.ts';
import type { Endpoint } from './endpoint.ts';
import { FileStore, fileEndpoint } from './files.ts';
import { isObject, type JsonObject } from './json.ts';
import { type PhoneNumber, PhoneNumberStore, phoneNumberEndpoint } from './phone-numbers.ts';
import { type Resource, ResourceStore, type StoreChange, type StoreOptions } from './resource-store.ts';
import { changedSettings, type Settings, type SettingsInput } from './settings.ts';
import { ToolStore, toolEndpoint } from './tools.ts';
import { validateAssistant } from './validate.ts';
import { type AssistantDraft, type AssistantVersion, AssistantVersions } from './versions.ts';

/** Also the paths of the API. */
export const RESOURCES = ['assistant', 'phone-number', 'file', 'tool', 'call'] as const;
export type ResourceName = (typeof RESOURCES)[number];

/** Also kept, and without a path. */
export const KEPT = [...RESOURCES, 'assistant-version', 'assistant-draft'] as const;
type KeptName = (typeof KEPT)[number];

export type AccountChange = StoreChange & { readonly of: KeptName };

export interface AccountOptions extends Pick<StoreOptions, 'now' | 'id'> {
  readonly settings?: SettingsInput;
  /** Called after every change, in order. */
  readonly onChange?: (change: AccountChange) => void;
  /** Called for every call that an API request made. */
  readonly onCall?: (call: Call) => void;
}

export class VapiAccount {
  readonly assistants: AssistantStore;
  readonly phoneNumbers: PhoneNumberStore;
  readonly files: FileStore;
  readonly tools: ToolStore;
  readonly numbers: Endpoint<PhoneNumber>;
  readonly callStore: CallStore;
  readonly calls: CallEndpoint;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly endpoints: Readonly<Record<ResourceName, Endpoint>>;
  readonly versions: AssistantVersions;
  readonly #kept: Readonly<Record<KeptName, ResourceStore>>;
  readonly #initial: Settings;
  #settings: Settings;

  constructor({ settings = {}, onChange = () => {}, onCall = () => {}, ...base }: AccountOptions = {}) {
    this.now = base.now ?? Date.now;
    this.#initial = changedSettings(undefined, settings);
    this.#settings = this.#initial;
    const current = () => this.#settings;
    const options = (of: KeptName): StoreOptions => ({
      ...base,
      listLagMs: () => this.#settings.listLagMs,
      onChange: (change) => onChange({ of, ...change }),
    });
    this.assistants = new AssistantStore(options('assistant'));
    this.phoneNumbers = new PhoneNumberStore(current, options('phone-number'));
    this.files = new FileStore(current, options('file'));
    this.tools = new ToolStore(current, options('tool'));
    this.numbers = phoneNumberEndpoint(
      this.phoneNumbers,
      current,
      (orgId, id) => this.assistants.get(orgId, id) !== undefined,
    );
    const versions = new ResourceStore<AssistantVersion>(options('assistant-version'));
    const drafts = new ResourceStore<AssistantDraft>(options('assistant-draft'));
    this.versions = new AssistantVersions(this.assistants, versions, drafts, current);
    this.callStore = new CallStore(options('call'));
    this.calls = callEndpoint(this.callStore, {
      now: this.now,
      settings: current,
      assistantExists: (orgId, id) => this.assistants.get(orgId, id) !== undefined,
      phoneNumber: (orgId, id) => this.phoneNumbers.get(orgId, id),
      onCreated: onCall,
    });
    this.endpoints = {
      assistant: {
        noun: 'Assistant',
        store: this.assistants,
        createProblems: validateAssistant,
        patchProblems: validateAssistant,
        written: (after, before) =>
          this.versions.written(after as Assistant, before as Assistant | undefined),
        deleted: ({ orgId, id }) => {
          this.versions.deleted(id);
          this.#detachNumbers(orgId, id);
        },
      },
      'phone-number': this.numbers as Endpoint,
      file: fileEndpoint(this.files, current, (orgId, id) => this.tools.names(orgId, id)) as Endpoint,
      tool: toolEndpoint(
        this.tools,
        current,
        (orgId, id) => this.files.get(orgId, id) !== undefined,
        (tool) => this.#isPinned(tool),
      ) as Endpoint,
      call: this.calls as Endpoint,
    };
    const { assistant, 'phone-number': number, file, tool, call } = this.endpoints;
    this.#kept = {
      ...{ assistant: assistant.store, 'phone-number': number.store, file: file.store, tool: tool.store },
      ...{ call: call.store, 'assistant-version': versions, 'assistant-draft': drafts },
    };
  }

  get settings(): Settings {
    return this.#settings;
  }

  /** Changes the settings that are given. Throws `ZodError` for an unknown setting or value. */
  configure(input: SettingsInput): Settings {
    this.#settings = changedSettings(this.#settings, input);
    return this.#settings;
  }

  /**
   * An edit in the dashboard, of a resource of any kind: a shallow merge without validation. Undefined: no such resource. With
   * versions, that of an assistant changes its draft, which is then returned.
   */
  dashboardEdit(id: string, fields: JsonObject): Resource | undefined {
    const assistant = this.#settings.assistantVersions ? this.assistants.find(id) : undefined;
    if (assistant) return this.versions.edit(assistant, fields);
    return this.#first((store) => store.dashboardEdit(id, fields));
  }

  dashboardDelete(id: string): Resource | undefined {
    this.versions.deleted(id);
    return this.#first((store) => store.dashboardDelete(id));
  }

  /** Clears every store, and restores the settings with which the account began. */
  reset(): void {
    for (const name of KEPT) this.#kept[name].clear();
    this.#settings = this.#initial;
  }

  /** The changes that make this content out of nothing. */
  content(): AccountChange[] {
    return KEPT.flatMap((of) =>
      this.#kept[of].all().map((resource): AccountChange => ({ of, op: 'put', resource })),
    );
  }

  /** Applies a recorded change without calling `onChange`. */
  replay(change: AccountChange): void {
    this.#kept[change.of].replay(change);
  }

  #first(find: (store: ResourceStore) => Resource | undefined): Resource | undefined {
    for (const name of RESOURCES) {
      const found = find(this.#kept[name]);
      if (found) return found;
    }
    return undefined;
  }

  /** Only a version pin refuses the deletion of a tool; an id in `toolIds` is left dangling. */
  #isPinned({ orgId, id }: Resource): boolean {
    return this.assistants.all().some(({ orgId: owner, model }) => {
      const refs = owner === orgId && isObject(model) ? model['toolRefs'] : undefined;
      return Array.isArray(refs) && refs.some((ref) => isObject(ref) && ref['toolId'] === id);
    });
  }

  #detachNumbers(orgId: string, assistantId: string): void {
    if (this.#settings.numbersOfDeletedAssistant === 'kept') return;
    for (const number of this.phoneNumbers.all()) {
      if (number.orgId === orgId && number['assistantId'] === assistantId) {
        this.phoneNumbers.dashboardEdit(number.id, { assistantId: null });
      }
    }
  }
}

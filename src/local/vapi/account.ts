/**
 * Everything that the stand-in keeps: the stores of a Vapi account by kind of resource, and the settings. Without I/O: the caller
 * provides clock and ids.
 */
import { AssistantStore } from './assistant-store.ts';
import { type Call, type CallEndpoint, CallStore, callEndpoint } from './calls.ts';
import type { Endpoint } from './endpoint.ts';
import { FileStore, fileEndpoint } from './files.ts';
import { isObject, type JsonObject } from './json.ts';
import { type PhoneNumber, PhoneNumberStore, phoneNumberEndpoint } from './phone-numbers.ts';
import type { Resource, ResourceStore, StoreChange, StoreOptions } from './resource-store.ts';
import { changedSettings, type Settings, type SettingsInput } from './settings.ts';
import { ToolStore, toolEndpoint } from './tools.ts';
import { validateAssistant } from './validate.ts';

/** Also the paths of the API. */
export const RESOURCES = ['assistant', 'phone-number', 'file', 'tool', 'call'] as const;
export type ResourceName = (typeof RESOURCES)[number];

export type AccountChange = StoreChange & { readonly of: ResourceName };

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
  readonly #initial: Settings;
  #settings: Settings;

  constructor({ settings = {}, onChange = () => {}, onCall = () => {}, ...base }: AccountOptions = {}) {
    this.now = base.now ?? Date.now;
    this.#initial = changedSettings(undefined, settings);
    this.#settings = this.#initial;
    const current = () => this.#settings;
    const options = (of: ResourceName): StoreOptions => ({
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
        deleted: ({ orgId, id }) => this.#detachNumbers(orgId, id),
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
  }

  get settings(): Settings {
    return this.#settings;
  }

  /** Changes the settings that are given. Throws `ZodError` for an unknown setting or value. */
  configure(input: SettingsInput): Settings {
    this.#settings = changedSettings(this.#settings, input);
    return this.#settings;
  }

  /** An edit in the dashboard, of a resource of any kind: a shallow merge without validation. Undefined: no such resource. */
  dashboardEdit(id: string, fields: JsonObject): Resource | undefined {
    return this.#first((store) => store.dashboardEdit(id, fields));
  }

  dashboardDelete(id: string): Resource | undefined {
    return this.#first((store) => store.dashboardDelete(id));
  }

  /** Clears every store, and restores the settings with which the account began. */
  reset(): void {
    for (const name of RESOURCES) this.#store(name).clear();
    this.#settings = this.#initial;
  }

  /** The changes that make this content out of nothing. */
  content(): AccountChange[] {
    return RESOURCES.flatMap((of) =>
      this.#store(of)
        .all()
        .map((resource): AccountChange => ({ of, op: 'put', resource })),
    );
  }

  /** Applies a recorded change without calling `onChange`. */
  replay(change: AccountChange): void {
    this.#store(change.of).replay(change);
  }

  #store(name: ResourceName): ResourceStore {
    return this.endpoints[name].store;
  }

  #first(find: (store: ResourceStore) => Resource | undefined): Resource | undefined {
    for (const name of RESOURCES) {
      const found = find(this.#store(name));
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

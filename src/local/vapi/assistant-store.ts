/**
 * Behaves like Vapi's store of assistants, without I/O. Its caller provides clock and ids, so that the HTTP stand-in
 * and a deterministic simulation run the same code.
 *
 * Callers validate the input (see `validate.ts`); only the dashboard methods accept any content.
 * Returned objects are frozen and shared, so a caller cannot change the store through them.
 */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** An assistant as GET shows it. Times are ISO-8601 with milliseconds, UTC. */
export interface Assistant extends JsonObject {
  readonly id: string;
  readonly orgId: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly latestVersion: null;
  readonly isServerUrlSecretSet: boolean;
}

export interface ListQuery {
  /** 0 to 1000; 100 when absent. */
  readonly limit?: number;
  /** Bounds in epoch milliseconds. */
  readonly createdAtGt?: number;
  readonly createdAtLt?: number;
  readonly createdAtGe?: number;
  readonly createdAtLe?: number;
  readonly updatedAtGt?: number;
  readonly updatedAtLt?: number;
  readonly updatedAtGe?: number;
  readonly updatedAtLe?: number;
}

export type StoreChange =
  | { readonly op: 'put'; readonly assistant: Assistant }
  | { readonly op: 'delete'; readonly id: string }
  | { readonly op: 'clear' };

export interface StoreOptions {
  /** Epoch milliseconds. */
  readonly now?: () => number;
  /** Makes UUIDs. */
  readonly id?: () => string;
  /** Called after every change, in order. */
  readonly onChange?: (change: StoreChange) => void;
}

export class AssistantStore {
  readonly #now: () => number;
  readonly #id: () => string;
  readonly #onChange: (change: StoreChange) => void;
  /** In order of creation. */
  readonly #assistants = new Map<string, Assistant>();

  constructor({ now = Date.now, id = () => crypto.randomUUID(), onChange = () => {} }: StoreOptions = {}) {
    this.#now = now;
    this.#id = id;
    this.#onChange = onChange;
  }

  create(orgId: string, fields: JsonObject): Assistant {
    const at = new Date(this.#now()).toISOString();
    const base = { id: this.#id(), orgId, createdAt: at, updatedAt: at };
    return this.#put({ ...base, latestVersion: null, isServerUrlSecretSet: false }, fields);
  }

  /**
   * Merges shallowly: a top-level key replaces the stored value whole, and an absent key keeps it
   * (docs/vapi.md#patch-replaces-top-level-fields). Stores and returns null as null (docs/vapi.md#null-unsets). `undefined`: no such
   * assistant.
   */
  patch(orgId: string, id: string, fields: JsonObject): Assistant | undefined {
    const current = this.get(orgId, id);
    return current && this.#put(current, fields);
  }

  get(orgId: string, id: string): Assistant | undefined {
    const found = this.#assistants.get(id);
    return found?.orgId === orgId ? found : undefined;
  }

  /** Returns the deleted assistant (docs/vapi.md#status-codes). */
  delete(orgId: string, id: string): Assistant | undefined {
    const current = this.get(orgId, id);
    if (current) this.#drop(id);
    return current;
  }

  /** Newest first. The order of two assistants of the same millisecond is not documented (docs/vapi.md#list-order). */
  list(orgId: string, query: ListQuery = {}): Assistant[] {
    const within = (time: string, gt?: number, lt?: number, ge?: number, le?: number) => {
      const at = Date.parse(time);
      return !(
        (gt !== undefined && at <= gt) ||
        (lt !== undefined && at >= lt) ||
        (ge !== undefined && at < ge) ||
        (le !== undefined && at > le)
      );
    };
    return [...this.#assistants.values()]
      .reverse()
      .filter(
        (a) =>
          a.orgId === orgId &&
          within(a.createdAt, query.createdAtGt, query.createdAtLt, query.createdAtGe, query.createdAtLe) &&
          within(a.updatedAt, query.updatedAtGt, query.updatedAtLt, query.updatedAtGe, query.updatedAtLe),
      )
      .sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt))
      .slice(0, query.limit ?? 100);
  }

  /** Every assistant of every Vapi organization, oldest first. */
  all(): Assistant[] {
    return [...this.#assistants.values()];
  }

  /** An edit that a person makes and publishes in the Vapi dashboard: a shallow merge without validation. */
  dashboardEdit(id: string, fields: JsonObject): Assistant | undefined {
    const current = this.#assistants.get(id);
    return current && this.#put(current, fields);
  }

  dashboardDelete(id: string): Assistant | undefined {
    const current = this.#assistants.get(id);
    if (current) this.#drop(id);
    return current;
  }

  clear(): void {
    this.#assistants.clear();
    this.#onChange({ op: 'clear' });
  }

  /** Applies a recorded change without calling `onChange`. */
  replay(change: StoreChange): void {
    if (change.op === 'put') this.#assistants.set(change.assistant.id, frozen(change.assistant) as Assistant);
    else if (change.op === 'delete') this.#assistants.delete(change.id);
    else this.#assistants.clear();
  }

  #put(current: Assistant, fields: JsonObject): Assistant {
    const { id, orgId, createdAt } = current;
    const isNew = !this.#assistants.has(id);
    // updatedAt strictly increases, even if the clock stands still or goes back.
    const at = isNew ? Date.parse(createdAt) : Math.max(this.#now(), Date.parse(current.updatedAt) + 1);
    const assistant: Assistant = Object.freeze({
      ...current,
      ...withoutSecret(current.isServerUrlSecretSet, fields),
      ...{ id, orgId, createdAt, updatedAt: new Date(at).toISOString(), latestVersion: null },
    });
    this.#assistants.set(id, assistant);
    this.#onChange({ op: 'put', assistant });
    return assistant;
  }

  #drop(id: string): void {
    this.#assistants.delete(id);
    this.#onChange({ op: 'delete', id });
  }
}

/**
 * `server.secret` (and its older form `serverUrlSecret`) is write-only; an answer only shows whether one is set.
 * An answer does *not* hide a secret inside `model.tools[].server`, as seen in real answers.
 */
function withoutSecret(wasSet: boolean, fields: JsonObject): JsonObject & { isServerUrlSecretSet: boolean } {
  const { server, serverUrlSecret, ...rest } = jsonbOrder(fields) as JsonObject;
  let isSet = wasSet;
  const visible: Record<string, Json> = { ...rest };
  if (serverUrlSecret !== undefined) isSet = typeof serverUrlSecret === 'string';
  if (server !== undefined) {
    // `server` is replaced whole like every top-level key, together with its secret.
    const { secret, ...shown } = isObject(server) ? server : {};
    isSet = typeof secret === 'string';
    visible['server'] = isObject(server) ? Object.freeze(shown) : server;
  }
  return { ...visible, isServerUrlSecretSet: isSet };
}

/**
 * A frozen copy with the key order of Postgres `jsonb` (shorter keys first, then bytewise), as real answers seem to have it.
 * So a client that compares JSON text fails here too.
 */
function jsonbOrder(value: Json): Json {
  if (Array.isArray(value)) return Object.freeze(value.map(jsonbOrder));
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(
    ([key, item]) => [key, jsonbOrder(item), Buffer.from(key)] as const,
  );
  entries.sort(([, , a], [, , b]) => a.length - b.length || Buffer.compare(a, b));
  // Object.fromEntries defines properties, so a key named __proto__ stays a key.
  return Object.freeze(Object.fromEntries(entries.map(([key, item]) => [key, item])));
}

function frozen(value: Json): Json {
  if (Array.isArray(value)) return Object.freeze(value.map(frozen));
  if (!isObject(value)) return value;
  return Object.freeze(Object.fromEntries(Object.entries(value).map(([key, item]) => [key, frozen(item)])));
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

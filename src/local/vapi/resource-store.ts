/**
 * Behaves like Vapi's store of one kind of resource, without I/O. Its caller provides clock and ids, so that the HTTP stand-in
 * and a deterministic simulation run the same code.
 *
 * Callers validate the input (see `api.ts`); only the dashboard methods accept any content.
 */
import { frozen, type Json, type JsonObject, jsonbOrder } from './json.ts';

/** A resource as GET shows it. Times are ISO-8601 with milliseconds, UTC. */
export interface Resource extends JsonObject {
  readonly id: string;
  readonly orgId: string;
  readonly createdAt: string;
  readonly updatedAt: string;
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
  | { readonly op: 'put'; readonly resource: Resource }
  | { readonly op: 'delete'; readonly id: string }
  | { readonly op: 'clear' };

export interface StoreOptions {
  /** Epoch milliseconds. */
  readonly now?: () => number;
  /** Makes UUIDs. */
  readonly id?: () => string;
  /** Called after every change, in order. */
  readonly onChange?: (change: StoreChange) => void;
  /** For how long a list leaves out a new resource, milliseconds. */
  readonly listLagMs?: () => number;
}

/** Fields to merge into a resource. `undefined` removes the field. */
export type Changes = Readonly<Record<string, Json | undefined>>;

export class ResourceStore<R extends Resource = Resource> {
  readonly #now: () => number;
  readonly #id: () => string;
  readonly #onChange: (change: StoreChange) => void;
  readonly #listLagMs: () => number;
  /** In order of creation. */
  readonly #resources = new Map<string, R>();

  constructor({
    now = Date.now,
    id = () => crypto.randomUUID(),
    onChange = () => {},
    listLagMs = () => 0,
  }: StoreOptions = {}) {
    this.#now = now;
    this.#id = id;
    this.#onChange = onChange;
    this.#listLagMs = listLagMs;
  }

  create(orgId: string, fields: JsonObject): R {
    const at = new Date(this.#now()).toISOString();
    const base: Resource = { id: this.#id(), orgId, createdAt: at, updatedAt: at };
    return this.#settled(this.#put(base as R, this.changes(undefined, fields)));
  }

  /**
   * Merges shallowly: a top-level key replaces the stored value whole, and an absent key keeps it
   * (docs/vapi.md#patch-replaces-top-level-fields). `undefined`: no such resource.
   */
  patch(orgId: string, id: string, fields: JsonObject): R | undefined {
    const current = this.get(orgId, id);
    return current && this.#put(current, this.changes(current, fields));
  }

  get(orgId: string, id: string): R | undefined {
    const found = this.#resources.get(id);
    return found?.orgId === orgId ? this.#settled(found) : undefined;
  }

  /** The resource of any Vapi organization. */
  find(id: string): R | undefined {
    const found = this.#resources.get(id);
    return found && this.#settled(found);
  }

  /** A change that Vapi makes by itself. `updatedAt` stays as it is if `quiet` is true. */
  amend(id: string, changes: Changes, quiet = false): R | undefined {
    const current = this.#resources.get(id);
    return current && this.#put(current, changes, quiet);
  }

  /** Returns the deleted resource (docs/vapi.md#status-codes). */
  delete(orgId: string, id: string): R | undefined {
    const current = this.get(orgId, id);
    if (current) this.#drop(id);
    return current;
  }

  /** Newest first. The order of two resources of the same millisecond is not documented (docs/vapi.md#list-order). */
  list(orgId: string, query: ListQuery = {}): R[] {
    const within = (time: string, gt?: number, lt?: number, ge?: number, le?: number) => {
      const at = Date.parse(time);
      return !(
        (gt !== undefined && at <= gt) ||
        (lt !== undefined && at >= lt) ||
        (ge !== undefined && at < ge) ||
        (le !== undefined && at > le)
      );
    };
    const listedUntil = this.#now() - this.#listLagMs();
    return this.all()
      .reverse()
      .filter(
        (a) =>
          a.orgId === orgId &&
          Date.parse(a.createdAt) <= listedUntil &&
          within(a.createdAt, query.createdAtGt, query.createdAtLt, query.createdAtGe, query.createdAtLe) &&
          within(a.updatedAt, query.updatedAtGt, query.updatedAtLt, query.updatedAtGe, query.updatedAtLe),
      )
      .sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt))
      .slice(0, query.limit ?? 100);
  }

  /** Every resource of every Vapi organization, oldest first. */
  all(): R[] {
    return [...this.#resources.values()].map((resource) => this.#settled(resource));
  }

  /** An edit that a person makes and publishes in the Vapi dashboard: a shallow merge without validation. */
  dashboardEdit(id: string, fields: JsonObject): R | undefined {
    const current = this.#resources.get(id);
    return current && this.#put(current, this.changes(current, fields));
  }

  dashboardDelete(id: string): R | undefined {
    const current = this.#resources.get(id);
    if (current) this.#drop(id);
    return current;
  }

  clear(): void {
    this.#resources.clear();
    this.#onChange({ op: 'clear' });
  }

  /** Applies a recorded change without calling `onChange`. */
  replay(change: StoreChange): void {
    if (change.op === 'put') this.#resources.set(change.resource.id, frozen(change.resource) as R);
    else if (change.op === 'delete') this.#resources.delete(change.id);
    else this.#resources.clear();
  }

  /** As stored, without what is due. */
  protected stored(): R[] {
    return [...this.#resources.values()];
  }

  /** What a create (without `current`) or a write stores of its fields. Null is stored as null (docs/vapi.md#null-unsets). */
  protected changes(_current: R | undefined, fields: JsonObject): Changes {
    return jsonbOrder(fields);
  }

  /** What has happened to the resource by itself by now, such as an activation; undefined if nothing. */
  protected due(_resource: R, _now: number): Changes | undefined {
    return undefined;
  }

  #settled(resource: R): R {
    const due = this.due(resource, this.#now());
    return due === undefined ? resource : this.#put(resource, due);
  }

  #put(current: R, changes: Changes, quiet = false): R {
    const { id, orgId, createdAt } = current;
    const isNew = !this.#resources.has(id);
    // updatedAt strictly increases, even if the clock stands still or goes back.
    const before = Date.parse(current.updatedAt);
    const at = isNew || quiet ? before : Math.max(this.#now(), before + 1);
    const merged = { ...current, ...changes, id, orgId, createdAt, updatedAt: new Date(at).toISOString() };
    const kept = Object.entries(merged).filter(([, value]) => value !== undefined);
    const resource = Object.freeze(Object.fromEntries(kept)) as R;
    this.#resources.set(id, resource);
    this.#onChange({ op: 'put', resource });
    return resource;
  }

  #drop(id: string): void {
    this.#resources.delete(id);
    this.#onChange({ op: 'delete', id });
  }
}

/** What the API needs to know about one kind of resource: how it is stored, checked, refused and shown. */
import type { JsonObject } from './json.ts';
import type { Resource, ResourceStore } from './resource-store.ts';

/** An answer other than 2xx. */
export interface Refusal {
  readonly status: number;
  readonly body: JsonObject;
}

export interface Endpoint<R extends Resource = Resource> {
  /** In the message of a 404. */
  readonly noun: string;
  readonly store: ResourceStore<R>;
  /** Every problem of a create's body, in Vapi's wording. */
  createProblems(body: JsonObject): string[];
  /** Every problem of a PATCH's body. Without `current`, the resource does not exist: the answer is then a 404 if the body has none. */
  patchProblems(body: JsonObject, current: R | undefined): string[];
  /** Why a create with a valid body is refused; Vapi answers policy in one string. */
  refuseCreate?(orgId: string, body: JsonObject): string | undefined;
  refusePatch?(current: R, body: JsonObject): string | undefined;
  refuseDelete?(current: R): Refusal | undefined;
  /** Called after a DELETE. */
  deleted?(resource: R): void;
  /** The resource as every answer but that of its create shows it. */
  shown?(resource: R): JsonObject;
}

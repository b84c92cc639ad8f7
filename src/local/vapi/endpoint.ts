/** What the API needs to know about one kind of resource: how it is stored, checked, refused and shown. */
import type { JsonObject } from './json.ts';
import type { Resource, ResourceStore } from './resource-store.ts';

export interface Endpoint<R extends Resource = Resource> {
  /** In the message of a 404. */
  readonly noun: string;
  readonly store: ResourceStore<R>;
  /** True if a create has a multipart body instead of JSON. */
  readonly isForm?: true;
  /** Every problem of a create's body, in Vapi's wording. */
  createProblems(body: JsonObject): string[];
  /** Every problem of a PATCH's body. Without `current`, the resource does not exist: the answer is then a 404 if the body has none. */
  patchProblems(body: JsonObject, current: R | undefined): string[];
  /** Why a create with a valid body is refused; Vapi answers policy in one string. */
  refuseCreate?(orgId: string, body: JsonObject): string | undefined;
  refusePatch?(current: R, body: JsonObject): string | undefined;
  /** With `error`, the body has no `statusCode`. */
  refuseDelete?(current: R): { status: number; message: string; error?: string } | undefined;
  /** The fields that a create's body stands for, if they are not the body itself. */
  fields?(body: JsonObject): JsonObject;
  /** Creates and returns the answer, if it is not the resource itself. */
  create?(orgId: string, body: JsonObject): JsonObject;
  /** The list, or why its query is refused, if it is not by `limit` and times. */
  list?(orgId: string, query: URLSearchParams): R[] | { problems: string[] };
  /** Called after a create and a PATCH. Returns what the answer shows. */
  written?(after: R, before: R | undefined): R;
  /** Called after a DELETE. */
  deleted?(resource: R): void;
  /** The resource as every answer but that of its create shows it. */
  shown?(resource: R): JsonObject;
}

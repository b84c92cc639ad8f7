/** Vapi's store of assistants: `server.secret` is write-only. */
import { isObject, type Json, type JsonObject, jsonbOrder } from './json.ts';
import { type Changes, type Resource, ResourceStore } from './resource-store.ts';

export type { JsonObject } from './json.ts';

/** Without `latestVersion`, which is absent where nothing was published as a version (docs/vapi.md#versions). */
export interface Assistant extends Resource {
  readonly isServerUrlSecretSet: boolean;
}

export class AssistantStore extends ResourceStore<Assistant> {
  protected override changes(current: Assistant | undefined, fields: JsonObject): Changes {
    return withoutSecret(current?.isServerUrlSecretSet ?? false, fields);
  }
}

/**
 * `server.secret` (and its older form `serverUrlSecret`) is write-only; an answer only shows whether one is set.
 * An answer does *not* hide a secret inside `model.tools[].server`, as seen in real answers.
 */
function withoutSecret(wasSet: boolean, fields: JsonObject): JsonObject {
  const { server, serverUrlSecret, ...rest } = jsonbOrder(fields);
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

/**
 * Maps one request to the Vapi API to one answer and its effect on the store, synchronously and without I/O.
 * docs/vapi.md#errors describes the error bodies.
 */
import {
  type AssistantStore,
  isObject,
  type Json,
  type JsonObject,
  type ListQuery,
} from './assistant-store.ts';
import { validateAssistant } from './validate.ts';

export interface ApiRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string | { readonly tooLarge: true };
  readonly authorization: string | undefined;
  readonly userAgent: string | undefined;
}

interface ApiAnswer {
  readonly status: number;
  /** A string is sent as plain text, anything else as JSON. */
  readonly body: Json;
}

export interface AcceptedKey {
  readonly key: string;
  /** The name under which requests with this key are recorded. The key itself is never recorded. */
  readonly name: string;
  /** The Vapi organization. Assistants of other organizations do not exist for this key (docs/vapi.md#key-is-one-organization). */
  readonly orgId: string;
}

export interface Answered {
  readonly answer: ApiAnswer;
  /** True if the request changed the store. */
  readonly applied: boolean;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const MAX_DEPTH = 500;

export function keyOf(
  keys: readonly AcceptedKey[],
  authorization: string | undefined,
): AcceptedKey | undefined {
  const token = /^Bearer +(.+)$/i.exec(authorization ?? '')?.[1];
  return keys.find(({ key }) => key === token);
}

/** `alter` changes a write after its validation, so that the store applies other content than the request had. */
export function answerRequest(
  store: AssistantStore,
  keys: readonly AcceptedKey[],
  request: ApiRequest,
  alter: Alter = (body) => body,
): Answered {
  // Cloudflare is in front of the API and answers first, in plain text (docs/vapi.md#user-agent).
  if (!request.userAgent) return refused(403, 'error code: 1010');
  if (typeof request.body !== 'string') {
    return refused(413, error('request entity too large', 'Payload Too Large', 413));
  }
  if (!request.authorization) {
    return refused(401, error('Missing Authorization Header.', 'Unauthorized', 401));
  }
  const key = keyOf(keys, request.authorization);
  if (!key) return refused(401, error(INVALID_KEY, 'Unauthorized', 401));

  const { method } = request;
  const [resource, id, ...rest] = request.path.split('/').filter((segment) => segment !== '');
  const allowed = id === undefined ? ['GET', 'POST'] : ['GET', 'PATCH', 'DELETE'];
  if (resource !== 'assistant' || rest.length > 0 || !allowed.includes(method)) {
    return refused(404, error(`Cannot ${method} ${request.path}`, 'Not Found', 404));
  }
  return id === undefined
    ? onCollection(store, key.orgId, request, request.body, alter)
    : onOne(store, key.orgId, id, method, request.body, alter);
}

type Alter = (body: JsonObject) => JsonObject;

function onCollection(
  store: AssistantStore,
  orgId: string,
  { method, query }: ApiRequest,
  body: string,
  alter: Alter,
): Answered {
  if (method === 'GET') {
    const wanted = readListQuery(query);
    return wanted.problems.length > 0 ? invalid(wanted.problems) : read(store.list(orgId, wanted.query));
  }
  const sent = readWrite(body);
  if ('refusal' in sent) return sent.refusal;
  return { answer: { status: 201, body: store.create(orgId, alter(sent.fields)) }, applied: true };
}

function onOne(
  store: AssistantStore,
  orgId: string,
  rawId: string,
  method: string,
  body: string,
  alter: Alter,
): Answered {
  // Vapi does not document its answer to an id that is not a UUID. Its framework's UUID check answers 400, and a 404
  // here would make a client's bug look like a deleted assistant.
  if (!UUID.test(rawId))
    return refused(400, error('Validation failed (uuid is expected)', 'Bad Request', 400));
  const id = rawId.toLowerCase();
  const missing = refused(404, error(`Couldn't Find Assistant. Id: ${id}`, 'Not Found', 404));
  if (method === 'GET') {
    const found = store.get(orgId, id);
    return found ? read(found) : missing;
  }
  if (method === 'DELETE') {
    const deleted = store.delete(orgId, id);
    return deleted ? { ...read(deleted), applied: true } : missing;
  }
  // Validation precedes the look-up, as in Vapi's framework: an invalid body is a 400 even for a missing id.
  const sent = readWrite(body);
  if ('refusal' in sent) return sent.refusal;
  const patched = store.patch(orgId, id, alter(sent.fields));
  return patched ? { ...read(patched), applied: true } : missing;
}

export function error(message: string | readonly string[], name: string, statusCode: number): JsonObject {
  return { message, error: name, statusCode };
}

const INVALID_KEY =
  'Invalid Key. Hot tip, you may be using the private key instead of the public key, or vice versa.';

const refused = (status: number, body: Json): Answered => ({ answer: { status, body }, applied: false });
const invalid = (problems: readonly string[]) => refused(400, error(problems, 'Bad Request', 400));
const read = (body: Json): Answered => ({ answer: { status: 200, body }, applied: false });

function readWrite(body: string): { fields: JsonObject } | { refusal: Answered } {
  const fields = readBody(body);
  if (typeof fields === 'string') return { refusal: refused(400, error(fields, 'Bad Request', 400)) };
  const problems = validateAssistant(fields);
  return problems.length > 0 ? { refusal: invalid(problems) } : { fields };
}

function readListQuery(params: URLSearchParams): { query: ListQuery; problems: string[] } {
  const query: Record<string, number> = {};
  const problems: string[] = [];
  for (const [name, text] of params) {
    if (name === 'limit') {
      const limit = text.trim() === '' ? Number.NaN : Number(text);
      if (Number.isNaN(limit)) {
        problems.push('limit must be a number conforming to the specified constraints');
      } else if (limit < 0) problems.push('limit must not be less than 0');
      // Nobody knows whether Vapi refuses or clamps a larger limit. The stand-in refuses, as for other documented maximums.
      else if (limit > 1000) problems.push('limit must not be greater than 1000');
      query['limit'] = Math.floor(limit);
    } else if (/^(created|updated)At(Gt|Lt|Ge|Le)$/.test(name)) {
      query[name] = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
      if (Number.isNaN(query[name])) problems.push(`${name} must be a Date instance`);
    } else problems.push(`property ${name} should not exist`);
  }
  return { query, problems };
}

/** The fields of a body, or its problem. A missing body counts as one without fields. */
function readBody(text: string): JsonObject | string {
  if (text === '') return {};
  try {
    const value: Json = JSON.parse(text);
    if (!isObject(value)) return 'Body must be a JSON object';
    return depth(text) > MAX_DEPTH ? 'Body is nested too deeply' : value;
  } catch (problem) {
    return problem instanceof SyntaxError ? problem.message : 'Body cannot be read';
  }
}

/** The nesting depth of valid JSON text, counted in the text because walking the value could overflow the stack. */
function depth(text: string): number {
  let now = 0;
  let most = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/g)) {
    if (token === '[' || token === '{') most = Math.max(most, ++now);
    else if (token === ']' || token === '}') now--;
  }
  return most;
}

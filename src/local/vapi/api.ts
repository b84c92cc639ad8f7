/**
 * Maps one request to the Vapi API to one answer and its effect on the account, synchronously and without I/O.
 * docs/vapi.md#errors describes the error bodies.
 */
import { RESOURCES, type ResourceName, type VapiAccount } from './account.ts';
import type { Endpoint } from './endpoint.ts';
import { callDelete } from './fields/call.ts';
import type { Form } from './form.ts';
import { isObject, type Json, type JsonObject } from './json.ts';
import { readListQuery } from './list-query.ts';
import { type NumberSearch, searchNumbers } from './phone-numbers.ts';
import { readToken, refusalOf } from './public-token.ts';
import type { Resource, ResourceStore } from './resource-store.ts';
import { bodyProblems } from './rules.ts';

export interface ApiRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string | Form | { readonly tooLarge: true };
  readonly authorization: string | undefined;
  readonly userAgent: string | undefined;
  readonly origin?: string | undefined;
}

interface ApiAnswer {
  readonly status: number;
  /** A string is sent as plain text, anything else as JSON. */
  readonly body: Json;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface AcceptedKey {
  readonly key: string;
  /** The name under which requests with this key are recorded. The key itself is never recorded. */
  readonly name: string;
  /** The Vapi organization. Resources of other organizations do not exist for this key (docs/vapi.md#key-is-one-organization). */
  readonly orgId: string;
}

export interface Answered {
  readonly answer: ApiAnswer;
  /** True if the request changed the account. */
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
  account: VapiAccount,
  keys: readonly AcceptedKey[],
  request: ApiRequest,
  alter: Alter = (body) => body,
): Answered {
  // Cloudflare is in front of the API and answers first, in plain text (docs/vapi.md#user-agent).
  if (!request.userAgent) return refused(403, 'error code: 1010');
  if (typeof request.body === 'object' && 'tooLarge' in request.body) {
    return refused(413, error('request entity too large', 'Payload Too Large', 413));
  }
  if (!request.authorization) {
    return refused(401, error('Missing Authorization Header.', 'Unauthorized', 401));
  }
  const { method, path, query } = request;
  const segments = path.split('/').filter((segment) => segment !== '');
  const route = segments.join('/');
  const key = keyOf(keys, request.authorization);
  const isWebCall = method === 'POST' && route === 'call/web';
  const token = isWebCall && !key ? tokenOf(account, keys, request.authorization) : undefined;
  if (isWebCall && (key ?? token)) return onWebCall(account, key ?? token, request, alter);
  if (!key) return refused(401, error(INVALID_KEY, 'Unauthorized', 401));

  const noRoute = refused(404, error(`Cannot ${method} ${path}`, 'Not Found', 404));
  if (method === 'DELETE' && route === 'call') return deleteCalls(account, key.orgId, request);
  if (method === 'GET' && Object.hasOwn(EMPTY, route)) return read(EMPTY[route] ?? []);
  if (method === 'GET' && route === 'v2/phone-number') return search(account, key.orgId, query);
  const [name = '', id, ...rest] = segments;
  if (method === 'GET' && name === 'call' && rest.length === 1 && RECORDINGS[rest[0] ?? '']) {
    return recording(account, key.orgId, id ?? '', rest[0] ?? '');
  }
  const allowed = id === undefined ? ['GET', 'POST'] : ['GET', 'PATCH', 'DELETE'];
  if (!isResource(name) || rest.length > 0 || !allowed.includes(method)) return noRoute;
  const endpoint = account.endpoints[name];
  return id === undefined
    ? onCollection(endpoint, key.orgId, request, alter)
    : onOne(endpoint, key.orgId, id, request, alter);
}

type Alter = (body: JsonObject) => JsonObject;

const isResource = (name: string): name is ResourceName => RESOURCES.some((known) => known === name);

/** What Vapi's own synchronisation tool asks for besides assistants and tools. The stand-in has none of them. */
const NO_PAGE = { results: [], metadata: { itemsPerPage: 100, totalItems: 0, currentPage: 1 } };
const EMPTY: Readonly<Record<string, Json>> = {
  credential: [],
  squad: [],
  'structured-output': NO_PAGE,
  eval: NO_PAGE,
  'eval/simulation': [],
  'eval/simulation/personality': [],
  'eval/simulation/scenario': [],
  'eval/simulation/suite': [],
};

function onCollection(endpoint: Endpoint, orgId: string, request: ApiRequest, alter: Alter): Answered {
  const { store } = endpoint;
  if (request.method === 'GET') {
    const listed = endpoint.list?.(orgId, request.query) ?? listBy(store, orgId, request.query);
    if ('problems' in listed) return invalid(listed.problems);
    return read(listed.map((one) => shownBy(endpoint, one)));
  }
  const body = readBody(request, endpoint.isForm);
  if (typeof body === 'string') return bad(body);
  const problems = endpoint.createProblems(body);
  if (problems.length > 0) return invalid(problems);
  const refusal = endpoint.refuseCreate?.(orgId, body);
  if (refusal !== undefined) return bad(refusal);
  const fields = alter(endpoint.fields?.(body) ?? body);
  const created =
    endpoint.create?.(orgId, fields) ?? written(endpoint, store.create(orgId, fields), undefined);
  return { answer: { status: 201, body: created }, applied: true };
}

/** With the private key, or with a token for browsers. */
function onWebCall(
  account: VapiAccount,
  by: { orgId: string; claims?: JsonObject } | undefined,
  request: ApiRequest,
  alter: Alter,
): Answered {
  const { calls } = account;
  const body = readBody(request);
  if (typeof body === 'string') return bad(body);
  const problems = calls.webCallProblems(body);
  if (by === undefined || problems.length > 0) return invalid(problems);
  const forbidden = by.claims && refusalOf(by.claims, request.origin, body);
  if (forbidden !== undefined) return refused(403, error(forbidden, 'Forbidden', 403));
  const refusal = calls.refuseWebCall(by.orgId, body);
  if (refusal !== undefined) return bad(refusal);
  return { answer: { status: 201, body: calls.createWebCall(by.orgId, alter(body)) }, applied: true };
}

function tokenOf(account: VapiAccount, keys: readonly AcceptedKey[], authorization = '') {
  const text = authorization.replace(/^Bearer +/i, '');
  for (const { key, orgId } of keys) {
    const claims = readToken(text, key, account.now());
    if (claims?.['orgId'] === orgId) return { orgId, claims };
  }
  return undefined;
}

/** By the last part of the path: the field of the artifact that has the address. */
const RECORDINGS: Readonly<Record<string, string>> = {
  'mono-recording': 'recordingUrl',
  'stereo-recording': 'stereoRecordingUrl',
};

/** A redirect to a link that is valid for a short time (docs/vapi.md#recordings). */
function recording(account: VapiAccount, orgId: string, id: string, kind: string): Answered {
  const call = account.callStore.get(orgId, id.toLowerCase());
  const { artifact } = call ? account.calls.shown(call) : {};
  const url = isObject(artifact) ? artifact[RECORDINGS[kind] ?? ''] : undefined;
  if (typeof url !== 'string') return refused(404, error("Couldn't Find Recording.", 'Not Found', 404));
  const location = `${url}?sig=${crypto.randomUUID()}`;
  return { answer: { status: 302, body: {}, headers: { location } }, applied: false };
}

/** Several calls at once. Vapi does it later and answers with nothing that is documented. */
function deleteCalls(account: VapiAccount, orgId: string, request: ApiRequest): Answered {
  const body = readBody(request);
  if (typeof body === 'string') return bad(body);
  const problems = bodyProblems(callDelete, body);
  const { ids } = body;
  if (problems.length > 0 || !Array.isArray(ids)) return invalid([...problems, 'ids must be an array']);
  for (const id of ids) account.calls.store.delete(orgId, String(id));
  return { ...read({}), applied: true };
}

function listBy(store: ResourceStore, orgId: string, params: URLSearchParams) {
  const { query, problems } = readListQuery(params);
  return problems.length > 0 ? { problems } : store.list(orgId, query);
}

function onOne(
  endpoint: Endpoint,
  orgId: string,
  rawId: string,
  request: ApiRequest,
  alter: Alter,
): Answered {
  const { method } = request;
  // Vapi does not document its answer to an id that is not a UUID. Its framework's UUID check answers 400, and a 404
  // here would make a client's bug look like a deleted resource.
  if (!UUID.test(rawId)) return bad('Validation failed (uuid is expected)');
  const id = rawId.toLowerCase();
  const { store, noun } = endpoint;
  const current = store.get(orgId, id);
  const missing = refused(404, error(`Couldn't Find ${noun}. Id: ${id}`, 'Not Found', 404));
  if (method === 'GET') return current ? read(shownBy(endpoint, current)) : missing;
  if (method === 'DELETE') {
    if (!current) return missing;
    const refusal = endpoint.refuseDelete?.(current);
    if (refusal) return refusedDelete(refusal);
    store.delete(orgId, id);
    endpoint.deleted?.(current);
    return { ...read(shownBy(endpoint, current)), applied: true };
  }
  // Validation precedes the look-up, as in Vapi's framework: an invalid body is a 400 even for a missing id.
  const body = readBody(request);
  if (typeof body === 'string') return bad(body);
  const problems = endpoint.patchProblems(body, current);
  if (problems.length > 0) return invalid(problems);
  if (!current) return missing;
  const refusal = endpoint.refusePatch?.(current, body);
  if (refusal !== undefined) return bad(refusal);
  const patched = written(endpoint, store.patch(orgId, id, alter(body)) ?? current, current);
  return { ...read(shownBy(endpoint, patched)), applied: true };
}

function search(account: VapiAccount, orgId: string, params: URLSearchParams): Answered {
  const own = ['search', 'page', 'sortOrder', 'sortBy'];
  const { query, problems } = readListQuery(
    new URLSearchParams([...params].filter(([name]) => !own.includes(name))),
  );
  const page = Number(params.get('page') ?? 1);
  const text = params.get('search') ?? '';
  const sortOrder = params.get('sortOrder') ?? 'DESC';
  if (text.length > 100) problems.push('search must be shorter than or equal to 100 characters');
  if (!(page >= 1)) problems.push('page must not be less than 1');
  if (!['ASC', 'DESC'].includes(sortOrder)) {
    problems.push('sortOrder must be one of the following values: ASC, DESC');
  }
  if (problems.length > 0) return invalid(problems);
  const wanted: NumberSearch = { ...query, search: text, page, sortOrder };
  return read(searchNumbers(account.numbers, orgId, wanted));
}

export function error(message: string | readonly string[], name: string, statusCode: number): JsonObject {
  return { message, error: name, statusCode };
}

const INVALID_KEY =
  'Invalid Key. Hot tip, you may be using the private key instead of the public key, or vice versa.';

const refused = (status: number, body: Json): Answered => ({ answer: { status, body }, applied: false });
const bad = (message: string) => refused(400, error(message, 'Bad Request', 400));
const invalid = (problems: readonly string[]) => refused(400, error(problems, 'Bad Request', 400));
const read = (body: Json): Answered => ({ answer: { status: 200, body }, applied: false });

const written = (endpoint: Endpoint, after: Resource, before: Resource | undefined) =>
  endpoint.written?.(after, before) ?? after;
const shownBy = (endpoint: Endpoint, resource: Resource) => endpoint.shown?.(resource) ?? resource;

function refusedDelete({
  status,
  message,
  error: name,
}: NonNullable<ReturnType<NonNullable<Endpoint['refuseDelete']>>>): Answered {
  return refused(
    status,
    name === undefined ? error(message, 'Bad Request', status) : { error: name, message },
  );
}

/** The fields of a body, or its problem. A missing body counts as one without fields, and so does a form where JSON belongs. */
function readBody({ body }: ApiRequest, isForm = false): JsonObject | string {
  if (isForm)
    return typeof body === 'object' && 'form' in body
      ? body.form
      : 'Invalid file: expected multipart/form-data.';
  const text = typeof body === 'string' ? body : '';
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

import { GraphQLError } from 'graphql';
import type { Plugin } from 'graphql-yoga';
import { MAX_DOCUMENT_BYTES } from '../services/knowledge-base/content.ts';
import { isBounded, JSON_LIMITS } from './body.ts';

/**
 * The requests that upload a file (https://github.com/jaydenseric/graphql-multipart-request-spec): the form fields "operations" and
 * "map", and one file. Stricter than a form may be, because all of it stands in memory.
 */

/** A document, and room for the other fields. */
export const MAX_UPLOAD_BODY_BYTES = MAX_DOCUMENT_BYTES + 2 ** 20;
/** Uploads that are read and carried out at once: each stands in memory several times. */
export const MAX_UPLOADS = 8;
const MAX_PARTS = 10;
/** Cross-site forms cannot set these, and a browser asks first (CORS) before a script may. Clients know one or the other. */
export const PREFLIGHT_HEADERS = ['graphql-require-preflight', 'apollo-require-preflight'];

export function isMultipart(contentType: string | undefined): boolean {
  return /^multipart\/form-data\s*;/i.test(contentType ?? '');
}

/** Whether a body has few parts, counted without parsing it. */
export function hasFewParts(contentType: string, body: Buffer): boolean {
  const [, quoted, plain] = /;\s*boundary=(?:"([^"]+)"|([^\s;"]+))/i.exec(contentType) ?? [];
  const boundary = quoted ?? plain;
  if (boundary === undefined) return false;
  let parts = 0;
  for (let at = body.indexOf(`--${boundary}`); at >= 0; at = body.indexOf(`--${boundary}`, at + 1)) {
    parts += 1;
    // The last boundary ends the body.
    if (parts > MAX_PARTS + 1) return false;
  }
  return true;
}

/** Reads the requests that upload a file. The route has bounded them. */
export const multipartRequests: Plugin = {
  onRequestParse({ request, setRequestParser }) {
    if (isMultipart(request.headers.get('content-type') ?? undefined)) setRequestParser(parsedForm);
  },
};

async function parsedForm(request: Request): Promise<Record<string, unknown>> {
  const form = await request.formData().catch(() => {
    throw wrong('The multipart body cannot be read.');
  });
  const operations = jsonField(form, 'operations');
  const [entry, ...others] = Object.entries(jsonField(form, 'map'));
  if (entry === undefined || others.length > 0) throw wrong('"map" must name one file.');
  const [field, paths] = entry;
  const file = form.get(field);
  if (file === null || typeof file === 'string') throw wrong('"map" names a file that is not in the form.');
  const [path, ...rest] = Array.isArray(paths) ? paths : [];
  if (typeof path !== 'string' || rest.length > 0) throw wrong('"map" must name one variable for the file.');
  put(operations, path, file);
  return operations;
}

function jsonField(form: FormData, name: string): Record<string, unknown> {
  const text = form.get(name);
  if (typeof text !== 'string') throw wrong(`The form field "${name}" is missing.`);
  if (!isBounded(Buffer.from(text))) throw wrong(`The form field "${name}" has more than ${JSON_LIMITS}.`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {}
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(`The form field "${name}" must be a JSON object.`);
  }
  return value as Record<string, unknown>;
}

/** Puts the file where the specification wants a null. */
function put(operations: Record<string, unknown>, path: string, file: unknown): void {
  const names = path.split('.');
  const last = names.pop() ?? '';
  let at: unknown = operations;
  for (const name of names) at = own(at, name);
  if (names[0] !== 'variables' || own(at, last) !== null) {
    throw wrong('"map" must name a variable that is null in "operations".');
  }
  (at as Record<string, unknown>)[last] = file;
}

function own(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

function wrong(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'BAD_REQUEST', http: { status: 400 } } });
}

/** A multipart body, as far as the API needs it: the uploaded file without its content, and the text fields. */
import { createHash } from 'node:crypto';
import type { JsonObject } from './json.ts';

/** Each field by its name. A file is `{ name, type, bytes, sha256 }`, anything else is text. */
export interface Form {
  readonly form: JsonObject;
}

/** Undefined if the body is not a readable form. */
export async function readForm(contentType: string | undefined, body: Buffer): Promise<Form | undefined> {
  if (!contentType?.startsWith('multipart/form-data')) return undefined;
  const response = new Response(new Uint8Array(body), { headers: { 'content-type': contentType } });
  const data = await response.formData().catch(() => undefined);
  if (data === undefined) return undefined;
  const fields = [...data].map(async ([name, value]) => [name, await fieldOf(value)] as const);
  return { form: Object.fromEntries(await Promise.all(fields)) };
}

async function fieldOf(value: string | File): Promise<string | JsonObject> {
  if (typeof value === 'string') return value;
  const sha256 = createHash('sha256')
    .update(await value.bytes())
    .digest('hex');
  return { name: value.name, type: value.type, bytes: value.size, sha256 };
}

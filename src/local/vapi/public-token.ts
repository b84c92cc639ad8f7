/** Tokens that a browser may hold: a JWT that is signed with the private key and starts browser calls only (docs/vapi.md#public-tokens). */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { isObject, type JsonObject } from './json.ts';

/** The claims of a token that this key signed and that has not expired. */
export function readToken(text: string, key: string, now: number): JsonObject | undefined {
  const [head = '', claims = '', signature = '', ...rest] = text.split('.');
  if (rest.length > 0 || parsed(head)?.['alg'] !== 'HS256') return undefined;
  const expected = createHmac('sha256', key).update(`${head}.${claims}`).digest();
  const given = Buffer.from(signature, 'base64url');
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const content = parsed(claims);
  const exp = content?.['exp'];
  return typeof exp === 'number' && exp * 1000 <= now ? undefined : content;
}

/**
 * Why a token does not allow this browser call. Only restrictions inside `token` count. They bind the assistant and the origin,
 * and never the overrides.
 */
export function refusalOf(
  claims: JsonObject,
  origin: string | undefined,
  body: JsonObject,
): string | undefined {
  const token = isObject(claims['token']) ? claims['token'] : {};
  const restrictions = isObject(token['restrictions']) ? token['restrictions'] : {};
  const { enabled, allowedOrigins, allowedAssistantIds, allowTransientAssistant } = restrictions;
  if (enabled === false) return undefined;
  if (Array.isArray(allowedOrigins) && !allowedOrigins.includes(origin ?? '')) {
    return `Key doesn't allow origin '${origin ?? ''}'`;
  }
  const { assistantId } = body;
  if (typeof assistantId !== 'string') {
    const isAllowed = allowTransientAssistant ?? allowedAssistantIds === undefined;
    // The wording is ours.
    return isAllowed ? undefined : "Key doesn't allow transient assistant";
  }
  const isListed = !Array.isArray(allowedAssistantIds) || allowedAssistantIds.includes(assistantId);
  return isListed ? undefined : `Key doesn't allow assistantId '${assistantId}'`;
}

function parsed(part: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

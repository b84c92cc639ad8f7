import type { ServerResponse } from 'node:http';

/** Headers of every answer: no cache keeps it, no other site frames it, and no browser guesses another type. */
export const SAFE_HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  // GraphiQL has one of its own.
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  vary: 'Origin',
};

/** A refusal in the form of a GraphQL answer, because clients look for errors there. */
export function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  const correlationId = status >= 500 ? { correlationId: response.getHeader('x-request-id') } : {};
  plain(response, status, { errors: [{ message, extensions: { code, ...correlationId } }] });
}

/** JSON without any form of GraphQL. */
export function plain(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
}

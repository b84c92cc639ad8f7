import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { renderGraphiQL } from '@graphql-yoga/render-graphiql';

/** Where the page gets the demo user's headers. The route exists only if the server knows a demo user. */
export const DEMO_HEADERS_PATH = '/graphiql/demo-headers';

/**
 * Signs requests in as the demo user unless the headers editor holds a token of its own. The token is fetched again every
 * five minutes, and it is never part of the page, which may be cached.
 */
const SIGN_IN = `
const send = window.fetch.bind(window);
let session;
window.fetch = async (input, init = {}) => {
  const headers = new Headers(init.headers);
  if (!/^Bearer [^<\\s]+$/.test(headers.get('authorization') ?? '')) {
    if (session === undefined || Date.now() - session.at > 300000) {
      session = { at: Date.now(), headers: send('${DEMO_HEADERS_PATH}').then((answer) => answer.json()) };
      session.headers.catch(() => { session = undefined; });
    }
    for (const [name, value] of Object.entries(await session.headers)) headers.set(name, value);
  }
  return send(input, { ...init, headers });
};`;

/**
 * The GraphiQL page. It is nine megabytes, so it is rendered and compressed once, when a browser first asks for it. Every
 * response shares the same buffers.
 */
export function createGraphiqlPage(tabs: readonly string[], demo: boolean) {
  let rendered: ReturnType<typeof render> | undefined;
  return (request: IncomingMessage, response: ServerResponse): void => {
    rendered ??= render(tabs, demo);
    const { etag, policy, plain, gzip } = rendered;
    response.setHeader('content-security-policy', policy);
    // Browsers keep the page and ask whether it has changed.
    response.setHeader('cache-control', 'no-cache');
    response.setHeader('etag', etag);
    response.setHeader('vary', 'Origin, Accept, Accept-Encoding');
    if (request.headers['if-none-match']?.includes(etag)) {
      response.writeHead(304).end();
      return;
    }
    const accepted = request.headers['accept-encoding'];
    const zipped = /\bgzip\b(?!\s*;\s*q=0(?:\.0*)?(?:\s*,|\s*$))/i.test(String(accepted ?? ''));
    const body = zipped ? gzip : plain;
    if (zipped) response.setHeader('content-encoding', 'gzip');
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-length': body.length });
    response.end(body);
  };
}

function render(tabs: readonly string[], demo: boolean) {
  const headers = JSON.stringify(demo ? {} : { authorization: 'Bearer <access token>' }, null, 2);
  const html = renderGraphiQL({
    title: 'Lockstep',
    defaultTabs: tabs.map((query) => ({ query, headers })),
    defaultHeaders: headers,
    headers,
  }).replace('<script>', () => `<script>${demo ? SIGN_IN : ''}`);
  const script = html.slice(html.indexOf('<script>') + '<script>'.length, html.lastIndexOf('</script>'));
  const hash = createHash('sha256').update(script.replaceAll('\r\n', '\n')).digest('base64');
  const policy = [
    ...["default-src 'none'", `script-src 'sha256-${hash}'`, 'worker-src blob:', "connect-src 'self'"],
    ...["style-src 'unsafe-inline'", 'font-src data:', 'img-src data:'],
    ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ].join('; ');
  const plain = Buffer.from(html);
  const etag = `"${createHash('sha256').update(plain).digest('base64url')}"`;
  return { etag, policy, plain, gzip: gzipSync(plain) };
}

import type { createServer, IncomingMessage, ServerResponse } from 'node:http';

/** From node:http to fetch, and back. */

/** Answers one request by a fetch handler. `undefined` closes the connection without an answer. */
export async function answer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  handle: (request: Request) => Promise<Response | undefined>,
): Promise<void> {
  // Dashboards call from the browser, and lite's Auth does not list the headers that they may send.
  outgoing.setHeader('access-control-allow-origin', '*');
  if (incoming.method === 'OPTIONS' && incoming.headers['access-control-request-method']) {
    outgoing.writeHead(204, {
      'access-control-allow-methods': 'GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD',
      'access-control-allow-headers': incoming.headers['access-control-request-headers'] ?? '*',
      'access-control-max-age': '86400',
    });
    outgoing.end();
    return;
  }
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) {
    for (const one of Array.isArray(value) ? value : [value ?? '']) headers.append(name, one);
  }
  const method = incoming.method ?? 'GET';
  const response = await handle(
    new Request(`http://${incoming.headers.host ?? '127.0.0.1'}${incoming.url ?? '/'}`, {
      method,
      headers,
      ...(method === 'GET' || method === 'HEAD' ? {} : { body: Buffer.concat(chunks) }),
    }),
  );
  if (!response) {
    incoming.socket.resetAndDestroy();
    return;
  }
  outgoing.statusCode = response.status;
  for (const [name, value] of response.headers) if (name !== 'set-cookie') outgoing.setHeader(name, value);
  outgoing.setHeader('set-cookie', response.headers.getSetCookie());
  outgoing.end(Buffer.from(await response.arrayBuffer()));
}

/** Listens on 127.0.0.1 and returns the port. */
export function listen(server: ReturnType<typeof createServer>, port: number): Promise<number> {
  return new Promise((done, fail) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      fail(
        error.code === 'EADDRINUSE'
          ? Object.assign(new Error(`Port ${port} on 127.0.0.1 is already in use: choose another`), {
              code: error.code,
            })
          : error,
      );
    });
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      done(typeof address === 'object' && address ? address.port : port);
    });
  });
}

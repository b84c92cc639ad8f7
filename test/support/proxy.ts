/** An HTTP proxy between a server and what it talks to: requests can be held on either side of their effect, or lost. */
import { createServer, type IncomingMessage, type ServerResponse, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SignJWT } from 'jose';

export interface PassingRequest {
  readonly method: string;
  readonly path: string;
  readonly body: string;
}

export interface Rule {
  readonly match: (request: PassingRequest) => boolean;
  /** How many requests it applies to; default: one. */
  readonly times?: number;
  /** Settles before the request is passed on; cuts its connection where it rejects. */
  readonly before?: () => Promise<unknown>;
  /** Likewise, before its answer is. */
  readonly after?: () => Promise<unknown>;
}

export interface HttpProxy {
  readonly url: string;
  /** The result tells how often it has applied. */
  readonly add: (rule: Rule) => () => number;
  readonly clear: () => void;
  /** Cuts every connection, in both directions, as a failing network would; new ones are taken. */
  readonly cut: () => void;
  readonly stop: () => Promise<void>;
}

/** A call of one of the database's functions whose arguments name this organization (or whatever the text is). */
export function rpc(name: string, text = ''): Rule['match'] {
  return ({ path, body }) => path === `/rest/v1/rpc/${name}` && body.includes(text);
}

/** For a rule: the connection is cut at this point, and its client learns nothing. */
export async function lost(): Promise<never> {
  throw new Error('lost');
}

/** A user's token as Auth would issue it at this address: a server checks the issuer, and sees the proxy as its project. */
export function accessToken(
  { jwtSecret }: { jwtSecret: string },
  projectUrl: string,
  { orgId, userId }: { orgId: string; userId: string },
): Promise<string> {
  return new SignJWT({ role: 'authenticated', app_metadata: { org_id: orgId } })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setSubject(userId)
    .setIssuer(`${projectUrl}/auth/v1`)
    .setAudience('authenticated')
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(jwtSecret));
}

export async function startProxy(target: string): Promise<HttpProxy> {
  const { hostname, port } = new URL(target);
  let rules: { rule: Rule; struck: number }[] = [];
  const outgoing = new Set<ReturnType<typeof send>>();
  const server = createServer((incoming, response) => {
    pass(incoming, response).catch(() => incoming.socket.resetAndDestroy());
  });
  server.keepAliveTimeout = 60_000;

  async function pass(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { method = 'GET', url = '/', headers } = incoming;
    const passing = { method, path: url.split('?', 1)[0] ?? url, body: body.toString() };
    const found = rules.find(({ rule, struck }) => struck < (rule.times ?? 1) && rule.match(passing));
    if (found) found.struck += 1;
    await found?.rule.before?.();
    const answer = await forward(method, url, headers, body);
    await found?.rule.after?.();
    response.writeHead(answer.status, answer.headers).end(answer.body);
  }

  function forward(method: string, path: string, headers: IncomingMessage['headers'], body: Buffer) {
    return new Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }>(
      (resolve, reject) => {
        const request = send({ hostname, port, method, path, headers, agent: false }, (answer) => {
          const chunks: Buffer[] = [];
          answer.on('data', (chunk: Buffer) => chunks.push(chunk));
          answer.on('error', reject);
          answer.on('end', () => {
            const { 'transfer-encoding': _chunked, connection: _ours, ...rest } = answer.headers;
            resolve({ status: answer.statusCode ?? 502, headers: rest, body: Buffer.concat(chunks) });
          });
        });
        outgoing.add(request);
        request.on('close', () => outgoing.delete(request));
        request.on('error', reject);
        request.end(body);
      },
    );
  }

  const cut = () => {
    server.closeAllConnections();
    for (const request of outgoing) request.destroy(new Error('cut'));
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    add: (rule) => {
      const added = { rule, struck: 0 };
      rules.push(added);
      return () => added.struck;
    },
    clear: () => {
      rules = [];
    },
    cut,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}

import { createServer } from 'node:http';
import { App } from '@supabase/lite';
import type { PostgresConnection } from '@supabase/lite/postgres';
import { answer, listen } from './fetch-server.ts';
import { hostedToken, withHostedClaims } from './hosted-claims.ts';
import type { SupabaseKeys } from './keys.ts';
import { liteConnection } from './lite-connection.ts';
import { DATABASE_DOWN, toPostgrestError } from './postgrest-errors.ts';

/** REST and Auth over HTTP. */

/** May inspect a request, and delay or replace its answer. `undefined` closes the connection without an answer. */
export type Intercept = (request: Request, proceed: () => Promise<Response>) => Promise<Response | undefined>;

export interface ServeOptions {
  readonly adminUrl: string;
  /** As role `authenticator`. */
  readonly restUrl: string;
  readonly keys: SupabaseKeys;
  readonly port: number;
  readonly log: (line: string) => void;
  readonly intercept?: Intercept;
}

export interface ServedSupabase {
  readonly url: string;
  readonly reloadSchema: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

/** Serves `/rest/v1` and `/auth/v1` of a provisioned database on 127.0.0.1. */
export async function serveSupabase(options: ServeOptions): Promise<ServedSupabase> {
  const { keys, log } = options;
  const admin = await liteConnection(options.adminUrl, 4, log);
  const rest = await liteConnection(options.restUrl, 10, log).catch(async (error: unknown) => {
    await admin.close();
    throw error;
  });
  // Otherwise lite would, at its first request (ensureRlsContext), grant everything on every table with row-level security to
  // anon, authenticated and service_role, and would serve other tables as the role that it is connected with. A hosted project
  // does neither: PostgREST connects as `authenticator`, which can only switch to one of these three roles.
  Object.assign(rest, { rlsState: 'active' });
  admin.withContext = rest.withContext.bind(rest);
  admin.normalizeDbError = toPostgrestError;

  let handle: (request: Request) => Promise<Response>;
  const server = createServer((incoming, outgoing) => {
    void answer(incoming, outgoing, (request) =>
      options.intercept ? options.intercept(request, () => handle(request)) : handle(request),
    ).catch((error: unknown) => {
      log(`supabase: ${String(error)}`);
      if (!outgoing.headersSent) outgoing.writeHead(500, { 'content-type': 'application/json' });
      outgoing.end('{"message":"Internal server error"}');
    });
  });
  server.keepAliveTimeout = 65_000;

  const stop = async () => {
    server.close();
    server.closeAllConnections();
    await Promise.all([admin.driver.end({ timeout: 1 }), rest.driver.end({ timeout: 1 })]);
  };
  try {
    const port = await listen(server, options.port);
    const url = `http://127.0.0.1:${port}`;
    const app = new App({
      connection: admin,
      // False: a malformed token is refused, as on a hosted project, and does not count as absent. The publishable key needs no token.
      api: { enabled: true, schemas: ['public'], anonymous_enabled: false, external_url: url },
      auth: {
        enabled: true,
        jwt_secret: keys.jwtSecret,
        publishable_key: keys.publishableKey,
        secret_key: keys.secretKey,
        site_url: url,
        email: { enable_signup: true, enable_confirmations: false },
      },
      db: { migrations: { enabled: false } },
      studio: { enabled: false },
      options: {
        server: { admin: false, disableStudio: true },
        drivers: {
          email: {
            send: async (mail: { to: unknown; subject: string; text?: string }) =>
              log(`auth mail to ${String(mail.to)}: ${mail.text ?? mail.subject}`),
          },
        },
      },
    } as unknown as ConstructorParameters<typeof App>[0]);
    await app.init();
    // Read now: during an outage the schema would be empty, and every table would be "not found".
    const schema = await admin.introspect({ useCache: true });
    if (schema.tables.length === 0) throw new Error('The database cannot be read (see the lines above)');
    handle = (request) => route((input) => app.fetch(input), admin, url, keys.jwtSecret, request);
    return {
      url,
      reloadSchema: async () => {
        await admin.clearSchemaCache();
        await admin.introspect({ useCache: true });
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function route(
  lite: (request: Request) => Promise<Response>,
  admin: PostgresConnection,
  url: string,
  jwtSecret: string,
  request: Request,
): Promise<Response> {
  const { pathname } = new URL(request.url);
  // Lite's own admin routes (/_system) need no key, so they are not served.
  const isAuth = pathname.startsWith('/auth/v1/');
  if (!isAuth && !pathname.startsWith('/rest/v1/')) return new Response('Not found', { status: 404 });
  const response = await lite(request);
  // Lite looks up the session outside of its error mapping.
  if (response.status === 500 && response.headers.get('content-type')?.startsWith('text/plain')) {
    return Response.json(DATABASE_DOWN, { status: 503 });
  }
  return isAuth ? withHostedClaims(response, (token) => hostedToken(admin, url, jwtSecret, token)) : response;
}

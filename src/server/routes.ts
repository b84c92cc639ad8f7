import { DEMO_HEADERS_PATH } from './graphiql.ts';
import { createGraphqlRoute, type GraphqlRouteOptions } from './graphql-route.ts';
import type { Handler, Routes } from './http.ts';
import { plain } from './responses.ts';
import { EVENTS_PATH } from './webhook.ts';

export interface RouteOptions extends GraphqlRouteOptions {
  /** The headers of a signed-in demo user, for the GraphiQL page; in local mode only. Without an email: of the first one. */
  demoHeaders?: ((email: string | null) => Promise<Record<string, string> | null>) | undefined;
  /** False while draining, or when the database cannot be reached. */
  ready(): Promise<boolean>;
  /** Absent: Vapi sends no events. */
  events?: Handler | undefined;
  /** Prometheus text. */
  metrics(): Promise<{ contentType: string; body: string }>;
}

/** All paths that this server serves, and their handlers. A new route is added here and nowhere else. */
export function createRoutes(options: RouteOptions): Routes {
  const redirect: Handler = (_request, response) => {
    response.writeHead(302, { location: '/graphql' }).end();
  };
  const health: Handler = (_request, response) => plain(response, 200, { status: 'ok' });
  const ready: Handler = async (_request, response) => {
    const isReady = await options.ready();
    plain(response, isReady ? 200 : 503, { ready: isReady });
  };
  const metrics: Handler = async (_request, response) => {
    const { contentType, body } = await options.metrics();
    response.writeHead(200, { 'content-type': contentType }).end(body);
  };
  const demoHeaders: Handler = async ({ url }, response) => {
    const email = URL.parse(url ?? '', 'http://localhost')?.searchParams.get('user') ?? null;
    const headers = (await options.demoHeaders?.(email)) ?? null;
    if (headers === null) plain(response, 404, { error: 'not found' });
    else plain(response, 200, headers);
  };
  return new Map([
    ...(options.events === undefined ? [] : ([[EVENTS_PATH, options.events]] as const)),
    ['/', redirect],
    ['/graphql', createGraphqlRoute(options)],
    ['/health', health],
    ['/ready', ready],
    ['/metrics', metrics],
    [DEMO_HEADERS_PATH, demoHeaders],
  ]);
}

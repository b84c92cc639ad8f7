import type { Server } from 'node:http';
import type { AppContext } from '../context.ts';
import type { TokenVerifier } from '../ports/auth.ts';
import type { Log } from '../ports/system.ts';
import { SAVE_COST } from '../schema/cost.ts';
import { createTokenCheck } from './check-token.ts';
import { EDGE_DEFAULTS, type EdgeOptions } from './edge.ts';
import { createEventsRoute, type EventsRouteOptions } from './events-route.ts';
import { createDemoHeaders, createGraphiqlPage, type Demo } from './graphiql.ts';
import { createGraphql, EXAMPLES } from './graphql.ts';
import { createHttpServer, type HttpTimeouts, timeoutsFor } from './http.ts';
import type { Metrics } from './metrics.ts';
import { createRoutes } from './routes.ts';

export interface ServerOptions {
  createContext(request: Request, requestId: string): Promise<AppContext>;
  verifier: TokenVerifier;
  ready(): Promise<boolean>;
  /** Aborted when the server begins to stop: it finishes requests in progress and accepts no new ones. */
  stopping: AbortSignal;
  metrics: Pick<Metrics, 'text'>;
  /** Null: Vapi sends no events. */
  events: Omit<EventsRouteOptions, 'log'> | null;
  newRequestId(): string;
  log: Log;
  /** How long a save may take until its request is answered, milliseconds. */
  slowestSaveMs: number;
  corsOrigins: string[];
  edge: Partial<EdgeOptions> | undefined;
  timeouts: Partial<HttpTimeouts> | undefined;
  /** Users as whom GraphiQL can sign in; in local mode only. */
  demo: Demo | undefined;
}

/** The HTTP server with all its routes. It does not listen yet. */
export function createServer(options: ServerOptions): Server {
  const { stopping, log, demo } = options;
  const edge = { ...EDGE_DEFAULTS, ...options.edge };
  const graphiql = edge.graphiql && edge.persistedDocuments === null;
  // One request may make so many saves, one after the other, and the server sends nothing before the last one is answered.
  const savesOfARequest = Math.max(1, Math.floor(edge.maxComplexity / SAVE_COST));
  return createHttpServer({
    routes: createRoutes({
      graphql: createGraphql({
        createContext: options.createContext,
        corsOrigins: options.corsOrigins,
        ...{ edge, log },
      }),
      page: graphiql ? createGraphiqlPage(EXAMPLES, demo?.users ?? []) : undefined,
      demoHeaders: createDemoHeaders(demo),
      checkToken: createTokenCheck(options.verifier),
      ready: options.ready,
      draining: () => stopping.aborted,
      metrics: options.metrics.text,
      events: options.events === null ? undefined : createEventsRoute({ ...options.events, log }),
      maxBodyBytes: edge.maxBodyBytes,
    }),
    newRequestId: options.newRequestId,
    log,
    timeouts: timeoutsFor(savesOfARequest * options.slowestSaveMs, options.timeouts),
  });
}

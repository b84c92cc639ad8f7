import { GraphQLError, type GraphQLErrorOptions } from 'graphql';
import { createYoga } from 'graphql-yoga';
import type { AppContext } from '../context.ts';
import { DatabaseError, KeyRefusedError } from '../ports/agents/save-journal.ts';
import { RefusedTokenError } from '../ports/auth.ts';
import type { Log } from '../ports/system.ts';
import { ReadsLimitedError } from '../ports/tenant-reads.ts';
import { schema } from '../schema/index.ts';
import { NoOrganizationError } from '../services/errors.ts';
import { documentCache, type EdgeOptions, edgePlugins } from './edge.ts';
import { PREFLIGHT_HEADERS } from './multipart.ts';

export interface GraphqlOptions {
  createContext(request: Request, requestId: string): Promise<AppContext>;
  corsOrigins: string[];
  edge: EdgeOptions;
  log: Log;
}

/** What the HTTP server hands to each request. */
export interface ServerContext {
  requestId: string;
}

const EXAMPLE = `# Lockstep: both voice agents in one save, in Vapi and in the database, or in neither.
# Run it (Ctrl+Enter), then change a value and run it again.
mutation SaveBothAgents {
  updateAgents(input: {
    inbound: {
      systemPrompt: "You answer the phone of a dental practice. Be brief and kind."
      firstMessage: "North Dental, how can I help?"
    }
    outbound: {
      systemPrompt: "You call patients to confirm tomorrow's appointments."
    }
  }) {
    __typename
    ... on UpdateAgentsSuccess {
      save { id status }
      agents { role name revision vapiAssistantId lastSyncedAt sync { status } }
    }
    ... on ValidationError { message issues { path message } }
    ... on SavePendingError { message save { id status } }
    ... on SaveFailedError { message reason retryable save { results { role vapiSynced error } } }
    ... on Error { message }
  }
}
`;

const EXAMPLE_QUERY = `query ReadAgents {
  organization { id name }
  agents { role name systemPrompt firstMessage voice { provider voiceId } revision sync { status checkedAt } }
}
`;

const EXAMPLE_LISTS = `# What the organization owns besides its agents: pages of at most 100, newest calls first.
query LastCalls {
  calls(first: 10, filter: { direction: INBOUND, outcomes: [COMPLETED, TRANSFERRED] }) {
    nodes { startedAt durationSeconds outcome customerName summary phoneNumber { number } agent { role } }
    pageInfo { hasNextPage endCursor }
  }
  appointments(first: 5, filter: { statuses: [SCHEDULED, CONFIRMED] }) {
    nodes { startsAt status customerName call { summary } }
  }
  phoneNumbers { nodes { number label } }
  knowledgeBaseDocuments { nodes { name state } }
}
`;

/** The operations that GraphiQL opens with. */
export const EXAMPLES = [EXAMPLE, EXAMPLE_QUERY, EXAMPLE_LISTS];

/** GraphQL over HTTP at /graphql: thin, with everything that is not expected masked behind the request's id. */
export function createGraphql(options: GraphqlOptions) {
  return createYoga<ServerContext, AppContext>({
    schema,
    graphqlEndpoint: '/graphql',
    landingPage: false,
    batching: false,
    multipart: false,
    logging: false,
    // The HTTP server has bounded it, and Yoga's own limit would be another one beside it.
    maxRequestBodySize: false,
    plugins: edgePlugins(options.edge, schema),
    parserAndValidationCache: documentCache(),
    // An origin that is not listed is answered as if there were no CORS; Yoga takes an empty list for every origin.
    cors: (request) => {
      const origin = request.headers.get('origin');
      if (origin === null || !options.corsOrigins.includes(origin)) return false;
      // No cookies anywhere: a listed dashboard needs its headers and nothing else.
      return {
        origin: [origin],
        methods: ['POST', 'GET', 'OPTIONS'],
        allowedHeaders: ['authorization', 'content-type', ...PREFLIGHT_HEADERS],
        exposedHeaders: ['x-request-id'],
        credentials: false,
        maxAge: 600,
      };
    },
    context: async ({ request, requestId }) => {
      try {
        return await options.createContext(request, requestId);
      } catch (error) {
        throw error instanceof RefusedTokenError ? refusal(error) : error;
      }
    },
    maskedErrors: {
      isDev: false,
      maskError: (error, message) => masked(error, message, options.log),
    },
    graphiql: false,
  });
}

function refusal({ message, unavailable }: RefusedTokenError, at: GraphQLErrorOptions = {}): GraphQLError {
  return new GraphQLError(message, {
    ...at,
    extensions: unavailable
      ? { code: 'UNAVAILABLE', http: { status: 503 } }
      : { code: 'UNAUTHENTICATED', http: { status: 401 } },
  });
}

/**
 * What a caller sees of an error: GraphQL's own errors as they are, the few that we know under their code, and of everything
 * else an id under which the log tells the rest.
 */
function masked(error: unknown, message: string, log: Log): Error {
  const original = error instanceof GraphQLError ? error.originalError : error;
  if (error instanceof GraphQLError && (original === undefined || original instanceof GraphQLError))
    return error;
  const at = error instanceof GraphQLError ? { nodes: error.nodes ?? null, path: error.path ?? null } : {};
  if (original instanceof RefusedTokenError) {
    log.warn(
      {},
      'the database refused a token that was accepted here: it has expired since, or their keys differ',
    );
    return refusal(original, at);
  }
  if (original instanceof NoOrganizationError) {
    return new GraphQLError(original.message, {
      ...at,
      extensions: { code: 'FORBIDDEN', http: { status: 403 } },
    });
  }
  if (original instanceof ReadsLimitedError) {
    return new GraphQLError(original.message, {
      ...at,
      extensions: { code: 'RATE_LIMITED', retryAfterMs: original.retryAfterMs, http: { status: 429 } },
    });
  }
  if (original instanceof DatabaseError) {
    const variable = original instanceof KeyRefusedError ? { variable: original.variable } : {};
    log.warn({ code: original.code, ...variable }, 'the database did not answer a read');
    return new GraphQLError('The database cannot be reached. Try again shortly.', {
      ...at,
      extensions: { code: 'UNAVAILABLE', http: { status: 503 } },
    });
  }
  const correlationId = crypto.randomUUID();
  log.error({ correlationId, err: original }, 'unexpected error');
  // Outside of all fields: there is no answer beside it.
  const http = error instanceof GraphQLError && error.path !== undefined ? {} : { http: { status: 500 } };
  return new GraphQLError(message, {
    ...at,
    extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId, ...http },
  });
}

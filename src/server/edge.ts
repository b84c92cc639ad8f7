import { maxAliasesRule } from '@escape.tech/graphql-armor-max-aliases';
import {
  defaultExtractPersistedOperationId,
  usePersistedOperations,
} from '@graphql-yoga/plugin-persisted-operations';
import { createComplexityRule } from '@pothos/plugin-complexity';
import {
  type DocumentNode,
  type ExecutionArgs,
  GraphQLError,
  type GraphQLSchema,
  NoSchemaIntrospectionCustomRule,
  parse,
  validate,
} from 'graphql';
import { createLRUCache, type Plugin } from 'graphql-yoga';

/** What a document may ask for, and what of the schema it may ask. */
export interface EdgeOptions {
  /** Bytes of a request's body; more is answered 413. */
  maxBodyBytes: number;
  /** Lexical tokens of a document, counted while it is parsed. */
  maxTokens: number;
  /** Levels of fields within fields. */
  maxDepth: number;
  /** Aliases of a document, those of a fragment once for each use. */
  maxAliases: number;
  /** Cost of an operation as src/schema/cost.ts counts it. */
  maxComplexity: number;
  introspection: boolean;
  graphiql: boolean;
  /** Only these documents, by id. Null: any document. */
  persistedDocuments: ReadonlyMap<string, string> | null;
}

export const EDGE_DEFAULTS: EdgeOptions = {
  // Two prompts of the greatest length with every character escaped, and room for the rest.
  maxBodyBytes: 2 * 1024 * 1024,
  maxTokens: 2_000,
  maxDepth: 12,
  maxAliases: 30,
  maxComplexity: 20_000,
  introspection: true,
  graphiql: true,
  persistedDocuments: null,
};

/** Fields of one operation, those of a fragment once for each use. Aliases, tokens and cost bound it first. */
const MAX_BREADTH = 1_000;
/** Parsed documents that are kept: 200 of the size that a dashboard sends, and never a long one with values written into it. */
const KEPT_DOCUMENTS = 200;
const KEPT_DOCUMENT_CHARS = 8_000;

/** Everything that a document must pass before anything of it runs. */
export function edgePlugins(options: EdgeOptions, schema: GraphQLSchema): Plugin[] {
  return [
    readableRequests,
    limits(options),
    ...(options.introspection ? [] : [hiddenSchema]),
    ...(options.persistedDocuments === null ? [] : [persistedDocuments(options.persistedDocuments, schema)]),
  ];
}

/** Yoga's own cache keeps a thousand documents of any length, and a thousand more that cannot be parsed. */
export function documentCache() {
  const kept = createLRUCache<DocumentNode>({ max: KEPT_DOCUMENTS });
  return {
    documentCache: {
      get: (text: string) => kept.get(text),
      set: (text: string, document: DocumentNode) => {
        if (text.length <= KEPT_DOCUMENT_CHARS) kept.set(text, document);
      },
    },
    errorCache: { get: () => undefined, set: () => {} },
  };
}

/** What is no JSON is the caller's mistake, also in an address; Yoga repeats the parser's words, or takes it for a defect. */
const readableRequests: Plugin = {
  onRequestParse({ requestParser, setRequestParser }) {
    if (requestParser === undefined) return;
    setRequestParser(async (request) => {
      try {
        return await requestParser(request);
      } catch (error) {
        if (error instanceof GraphQLError && error.extensions['originalError'] === undefined) throw error;
        throw new GraphQLError(
          error instanceof GraphQLError ? error.message : 'The variables or extensions are no JSON.',
          { extensions: { code: 'BAD_REQUEST', http: { status: 400 } } },
        );
      }
    });
  },
};

function limits({ maxTokens, maxDepth, maxAliases, maxComplexity }: EdgeOptions): Plugin {
  const aliases = maxAliasesRule({
    n: maxAliases,
    propagateOnRejection: false,
    onReject: [(context, error) => context?.reportError(error)],
  });
  return {
    onParse: ({ parseFn, setParseFn }) =>
      setParseFn((source, parseOptions) => parseFn(source, { ...parseOptions, maxTokens })),
    onValidate: ({ addValidationRule }) => addValidationRule(aliases),
    // Not among the rules of the validation: that one is kept for a document, and here its variables count.
    onExecute: ({ args, setResultAndStopExecution }) => {
      const { schema, document, variableValues, operationName, contextValue } = args as ExecutionArgs;
      const cost = createComplexityRule({
        variableValues: variableValues ?? {},
        operationName: operationName ?? null,
        context: contextValue as object,
        maxComplexity,
        maxDepth,
        maxBreadth: MAX_BREADTH,
      });
      const errors = validate(schema, document, [cost]);
      if (errors.length > 0) setResultAndStopExecution({ errors: errors.map(asRefusal) });
    },
  };
}

/** 400, or 200 where the caller wants `application/json`: as for every document that is not valid. */
function asRefusal({ message, nodes, extensions }: GraphQLError): GraphQLError {
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    extensions: { code: 'BAD_USER_INPUT', ...extensions, http: { spec: true, status: 400 } },
  });
}

/** No introspection, and no names of fields and types offered for those that were guessed wrong. */
const hiddenSchema: Plugin = {
  onValidate: ({ addValidationRule }) => addValidationRule(NoSchemaIntrospectionCustomRule),
  onExecutionResult: ({ result }) => {
    for (const one of [result].flat()) {
      if (one === undefined || !('errors' in one)) continue;
      for (const error of one.errors ?? [])
        (error as { message: string }).message = error.message.replace(/ Did you mean .*\?/s, '');
    }
  },
};

/** Throws where a document of the list is not one of this schema: at start, not when it is asked for. */
function persistedDocuments(documents: ReadonlyMap<string, string>, schema: GraphQLSchema): Plugin {
  for (const [id, text] of documents) {
    const [error] = validate(schema, parse(text));
    if (error !== undefined) throw new Error(`the persisted document ${id} is not valid: ${error.message}`);
  }
  return usePersistedOperations({
    allowArbitraryOperations: false,
    // GraphQL over HTTP's own parameter, and the one that Apollo and Relay clients send.
    extractPersistedOperationId: (params, request, context) => {
      const { documentId } = params as { documentId?: unknown };
      return typeof documentId === 'string'
        ? documentId
        : defaultExtractPersistedOperationId(params, request, context);
    },
    getPersistedOperation: (id) => documents.get(id) ?? null,
  }) as Plugin;
}

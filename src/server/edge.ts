import { maxAliasesRule } from '@escape.tech/graphql-armor-max-aliases';
import {
  defaultExtractPersistedOperationId,
  usePersistedOperations,
} from '@graphql-yoga/plugin-persisted-operations';
import { complexityFromQuery } from '@pothos/plugin-complexity';
import {
  type ASTVisitor,
  type DocumentNode,
  type ExecutionArgs,
  GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  getVariableValues,
  Kind,
  NoSchemaIntrospectionCustomRule,
  parse,
  specifiedRules,
  type ValidationContext,
  validate,
} from 'graphql';
import { createLRUCache, type Plugin } from 'graphql-yoga';
import { multipartRequests } from './multipart.ts';

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
  /** Only these documents, by id, and no GraphiQL, where one writes others. Null: any document. */
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

/** Characters of a name: the caller's own, an alias for one, are in the answer again with every row. */
const MAX_NAME_CHARS = 100;
/** Errors of a document or of its variables that are told, and characters of each: they repeat what was sent, up to all of it. */
const MAX_ERRORS = 5;
const MAX_MESSAGE_CHARS = 1_000;
/** Parsed documents that are kept: 200 of the size that a dashboard sends, and never a long one with values written into it. */
const KEPT_DOCUMENTS = 200;
const KEPT_DOCUMENT_CHARS = 8_000;

/** Everything that a document must pass before anything of it runs. */
export function edgePlugins(options: EdgeOptions, schema: GraphQLSchema): Plugin[] {
  return [
    multipartRequests,
    readableRequests,
    shortMessages,
    limits(options),
    ...(options.persistedDocuments === null
      ? []
      : [persistedDocuments(options.persistedDocuments, options, schema)]),
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

/** A message shows what is wrong at its beginning, and where at its end. */
const shortMessages: Plugin = {
  onResultProcess({ result }) {
    for (const one of [result].flat()) {
      for (const error of 'errors' in one ? (one.errors ?? []) : []) {
        const { message } = error;
        if (message.length <= MAX_MESSAGE_CHARS) continue;
        const half = MAX_MESSAGE_CHARS / 2 - 3;
        (error as { message: string }).message = `${message.slice(0, half)} [...] ${message.slice(-half)}`;
      }
    }
  },
};

function limits(options: EdgeOptions): Plugin {
  const { maxTokens, maxDepth, maxComplexity } = options;
  const told = { maxErrors: MAX_ERRORS, hideSuggestions: !options.introspection };
  const rules = documentRules(options);
  return {
    onParse: ({ parseFn, setParseFn }) =>
      setParseFn((source, parseOptions) => {
        try {
          return parseFn(source, { ...parseOptions, maxTokens });
        } catch (error) {
          if (!(error instanceof GraphQLError && /^Syntax Error: Document contains more/.test(error.message)))
            throw error;
          throw refusal('QUERY_TOKENS', `The document has more tokens than the limit of ${maxTokens}.`);
        }
      }),
    onValidate: ({ setValidationFn }) =>
      setValidationFn((schema, document) =>
        validate(schema, document, rules, told).map((error) =>
          error.message === 'Validation aborted.' ? tooManyOverlaps() : error,
        ),
      ),
    // Not among the rules of the validation: that one is kept for a document, and here its variables count.
    onExecute: ({ args, setResultAndStopExecution }) => {
      const { schema, document, variableValues, operationName, contextValue } = args as ExecutionArgs;
      const chosen = getOperationAST(document, operationName);
      // Looked for before anything runs.
      if (chosen === null || chosen === undefined) return;
      const variables = variableValues ?? {};
      // First, and not all of them: who counts what is wrong in a hundred thousand values runs out of memory.
      const { errors } = getVariableValues(schema, chosen.variableDefinitions ?? [], variables, told);
      if (errors !== undefined) {
        const wrong = errors.map(({ message, nodes }) =>
          refusal('BAD_USER_INPUT', withoutValue(message), nodes),
        );
        return setResultAndStopExecution({ errors: wrong });
      }
      const definitions = document.definitions.filter(
        (definition) => definition.kind !== Kind.OPERATION_DEFINITION || definition === chosen,
      );
      const { complexity, depth } = complexityFromQuery(
        { ...document, definitions },
        { schema, variables, ctx: contextValue as object },
      );
      const refused = [
        ...exceeding('QUERY_COMPLEXITY', 'complexity', complexity, maxComplexity),
        ...exceeding('QUERY_DEPTH', 'depth', depth, maxDepth),
      ];
      if (refused.length > 0) setResultAndStopExecution({ errors: refused });
    },
  };
}

/** What can be said of a document without its variables. */
function documentRules({ maxAliases, introspection }: EdgeOptions) {
  const aliases = maxAliasesRule({
    n: maxAliases,
    // The rule's own default does not count `__typename`.
    allowList: [],
    propagateOnRejection: false,
    onReject: [
      (context, { message }) =>
        context?.reportError(refusal('QUERY_ALIASES', message.replace('Syntax Error: ', ''))),
    ],
  });
  const names = (context: ValidationContext): ASTVisitor => ({
    Name: ({ value }) => {
      for (const error of exceeding('QUERY_NAME', 'length of a name', value.length, MAX_NAME_CHARS))
        context.reportError(error);
    },
  });
  return [...specifiedRules, aliases, names, ...(introspection ? [] : [NoSchemaIntrospectionCustomRule])];
}

/** GraphQL's own limit, which it does not explain: to compare them takes time with the square of their number. */
const tooManyOverlaps = () =>
  refusal('QUERY_OVERLAPS', 'The document selects the same fields too often to be compared with each other.');

function exceeding(code: string, what: string, value: number, limit: number): GraphQLError[] {
  return value > limit
    ? [refusal(code, `The document's ${what}, ${value}, exceeds the limit of ${limit}.`)]
    : [];
}

/** GraphQL quotes the whole input, which may hold the token of a carrier's account. The path says which value is meant. */
function withoutValue(message: string): string {
  const quotes = ' got invalid value ';
  const value = message.indexOf(quotes);
  const end = message.lastIndexOf('; ');
  if (value < 0 || end < value) return message;
  const path = / at "[^"]*"$/.exec(message.slice(Math.max(value, end - MAX_MESSAGE_CHARS), end))?.[0] ?? '';
  return `${message.slice(0, value)}${quotes}(not shown)${path}${message.slice(end)}`;
}

/** 400, or 200 where the caller wants `application/json`: as for every document that is not valid. */
function refusal(code: string, message: string, nodes?: GraphQLError['nodes']): GraphQLError {
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    extensions: { code, http: { spec: true, status: 400 } },
  });
}

const ONLY_BY_ID =
  'This server answers documents that it knows, by their id: send "documentId", and no "query".';

/** Throws where a document of the list would be refused whenever it is asked for: at start, not then. */
function persistedDocuments(
  documents: ReadonlyMap<string, string>,
  options: EdgeOptions,
  schema: GraphQLSchema,
): Plugin {
  const rules = documentRules(options);
  for (const [id, text] of documents) {
    try {
      const [error] = validate(schema, parse(text, { maxTokens: options.maxTokens }), rules);
      if (error !== undefined) throw error;
    } catch (error) {
      throw new Error(`GRAPHQL_DOCUMENTS_FILE: "${id}" cannot be answered: ${(error as Error).message}`);
    }
  }
  return usePersistedOperations({
    allowArbitraryOperations: false,
    // GraphQL over HTTP's own parameter, and the one that Apollo and Relay clients send.
    extractPersistedOperationId: (params, request, context) => {
      const { documentId } =
        request.method === 'GET'
          ? { documentId: new URL(request.url).searchParams.get('documentId') }
          : (params as { documentId?: unknown });
      return typeof documentId === 'string'
        ? documentId
        : defaultExtractPersistedOperationId(params, request, context);
    },
    getPersistedOperation: (id) => documents.get(id) ?? null,
    customErrors: {
      notFound: () => refusal('PERSISTED_QUERY_NOT_IN_LIST', 'This server has no document of this id.'),
      keyNotFound: () => refusal('PERSISTED_QUERY_ID_REQUIRED', ONLY_BY_ID),
      persistedQueryOnly: () => refusal('PERSISTED_QUERY_ONLY', ONLY_BY_ID),
    },
  }) as Plugin;
}

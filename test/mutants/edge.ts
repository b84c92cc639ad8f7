import { type Mutant, plant } from './plant.ts';

/** Planted bugs of the edge: HTTP, the limits of documents, the context, the schema, lists, the environment and start. */

const HTTP = ['src/server/http.test.ts', 'test/edge/http.test.ts'];
const LIMITS = ['test/edge/limits.test.ts'];
const ERRORS = [
  'test/edge/errors.test.ts',
  'test/e2e/database-away.test.ts',
  'test/isolation/tokens.test.ts',
];
const BROWSER = ['test/edge/browser.test.ts', 'src/server/http.test.ts'];
const ENV = ['src/env.test.ts'];
const CONTEXT = ['src/context.test.ts', 'test/isolation/tokens.test.ts'];
const LISTS = ['test/e2e/organization-data.test.ts'];
const APP = ['test/e2e/background.test.ts'];
const AGENT_JOBS = ['src/services/agents/jobs.test.ts'];
const LOOK_NOW = ['src/services/agents/drift/look-now.test.ts'];
const HEARTBEAT = ['src/services/admission/heartbeat.test.ts'];
const SERVER = ['src/server/server.test.ts'];
const SHUTDOWN = ['src/server/shutdown.test.ts'];
const JOBS = ['src/server/jobs.test.ts'];
const READINESS = ['src/server/readiness.test.ts'];
const CHECK_TOKEN = ['src/server/check-token.test.ts'];
const ACCOUNT = ['src/adapters/vapi/vapi-account.test.ts'];

export const EDGE: readonly Mutant[] = [
  ...plant('src/server/http.ts', HTTP, [
    [
      'two-hosts',
      'A request with two Host headers is answered.',
      "if ((request.headersDistinct['host']?.length ?? 0) > 1) {",
      'if (false) {',
    ],
    [
      'pipeline-unbounded',
      'One connection begins any number of requests.',
      'if (line.waiting.length >= MAX_PIPELINED) {',
      'if (line.waiting.length >= 1e6) {',
    ],
    [
      'pipeline-side-by-side',
      'Requests of one connection are worked on at the same time.',
      'if (!line.busy) next();',
      'next();',
    ],
    [
      'pipeline-of-gone',
      'A request is begun for a client that is gone.',
      'if (following === undefined || socket.destroyed) return;',
      'if (following === undefined) return;',
    ],
    [
      'duplicate-headers',
      'Of two Authorization headers the first one counts.',
      'joinDuplicateHeaders: true,',
      'joinDuplicateHeaders: false,',
    ],
    [
      'request-id-not-sent',
      'A caller cannot name its request.',
      "response.setHeader('x-request-id', requestId);",
      '',
    ],
    ['idle-timeout', 'A silent connection is never closed.', 'server.setTimeout(timeouts.idle);', ''],
    [
      'keep-alive-default',
      'The server closes idle connections before the load balancer does.',
      'keepAliveTimeout: timeouts.keepAlive,',
      '',
    ],
    [
      'slow-headers',
      'A client that drips headers is never cut off.',
      'headersTimeout: timeouts.headers,',
      'headersTimeout: 0,',
    ],
    [
      'slow-body',
      'A client that drips its body is never cut off.',
      'requestTimeout: timeouts.request,',
      'requestTimeout: 0,',
    ],
    ['any-method', 'Any method is answered.', 'if (!METHODS.has(method)) {', 'if (false) {'],
  ]),
  ...plant('src/server/graphql-route.ts', HTTP, [
    [
      'draining-keeps-connection',
      'A load balancer goes on sending requests to a server that stops.',
      "response.setHeader('connection', 'close').setHeader('retry-after', '1');",
      "response.setHeader('retry-after', '1');",
    ],
    [
      'draining-without-retry',
      'A caller of a server that stops is not told when to come back.',
      "response.setHeader('connection', 'close').setHeader('retry-after', '1');",
      "response.setHeader('connection', 'close');",
    ],
    [
      'draining-begins',
      'A server that stops begins new work.',
      'if (options.draining?.()) {',
      'if (false) {',
    ],
    [
      'form-accepted',
      'A form of another site sends a mutation.',
      "if (method === 'POST' && !isUpload && !isJson(contentType)) {",
      "if (method === 'POST' && !isUpload && contentType === '') {",
    ],
    [
      'json-in-list',
      'A type that only begins like JSON is accepted.',
      "&& contentType?.includes(',') !== true",
      '',
    ],
    [
      'encoding-ignored',
      'A compressed body is read as if it were not.',
      "if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {",
      'if (false) {',
    ],
    [
      'anonymous-large-body',
      'Anybody makes the server read and parse a large body.',
      'Math.min(options.maxBodyBytes, MAX_ANONYMOUS_BODY_BYTES)',
      'options.maxBodyBytes',
    ],
    [
      'cacheable',
      'A cache may keep the answer of a tenant.',
      "response.setHeader('cache-control', SAFE_HEADERS['cache-control']);",
      '',
    ],
    [
      'refused-token-as-413',
      'A caller with a bad token is told that the body is too large.',
      'if (caller instanceof RefusedTokenError) return refuseCaller(response, caller);',
      '',
    ],
  ]),
  ...plant('src/server/body.ts', HTTP, [
    [
      'body-unbounded',
      'A body in chunks is read whatever its size.',
      "if (needed > most) return end('TOO_LARGE');",
      '',
    ],
    [
      'body-announced',
      'A body that says that it is too large is read all the same.',
      "if (Number(request.headers['content-length'] ?? 0) > most) return end('TOO_LARGE');",
      '',
    ],
    ['body-room-kept', 'What a body took is never given back.', 'room += held.length;', ''],
    [
      'body-room-unbounded',
      'Any number of bodies is held at once.',
      "if (room < 0) return end('NO_ROOM');",
      '',
    ],
    ['json-depth', 'JSON of any depth is parsed.', 'depth > MAX_JSON_DEPTH || ', ''],
    ['json-values', 'JSON with any number of values is parsed.', ' || values > MAX_JSON_VALUES', ''],
    [
      'json-in-strings',
      'Brackets inside a prompt count as levels.',
      'if (byte === 0x5c) at += 1;\n      else if (byte === 0x22) inString = false;',
      'inString = false;',
    ],
    [
      'json-escaped-quote',
      'A prompt with an escaped quotation mark is refused.',
      'if (byte === 0x5c) at += 1;\n      else if',
      'if',
    ],
  ]),
  ...plant('src/server/responses.ts', HTTP, [
    ['framed', 'Another site may frame the answers.', "'x-frame-options': 'DENY',", ''],
  ]),
  ...plant('src/server/edge.ts', LIMITS, [
    [
      'tokens-unbounded',
      'A document of any length is parsed.',
      'return parseFn(source, { ...parseOptions, maxTokens });',
      'return parseFn(source, parseOptions);',
    ],
    [
      'complexity-unbounded',
      'An operation of any cost is run.',
      "...exceeding('QUERY_COMPLEXITY', 'complexity', complexity, maxComplexity),",
      '',
    ],
    [
      'depth-unbounded',
      'An operation of any depth is run.',
      "...exceeding('QUERY_DEPTH', 'depth', depth, maxDepth),",
      '',
    ],
    [
      'limit-inclusive',
      'An operation that costs exactly the limit is refused.',
      'return value > limit\n',
      'return value >= limit\n',
    ],
    ['aliases-of-typename', 'Any number of aliases of __typename is answered.', 'allowList: [],', ''],
    [
      'names-unbounded',
      'A long alias is in the answer with every row.',
      '[...specifiedRules, aliases, names, ',
      '[...specifiedRules, aliases, ',
    ],
    [
      'introspection-open',
      'The schema is told where the operator does not want that.',
      '...(introspection ? [] : [NoSchemaIntrospectionCustomRule])',
      '',
    ],
    [
      'suggestions-open',
      'Fields are suggested where the schema is not to be told.',
      'hideSuggestions: !options.introspection',
      'hideSuggestions: false',
    ],
    [
      'errors-unbounded',
      'A request is answered with a hundred thousand errors.',
      'const MAX_ERRORS = 5;',
      'const MAX_ERRORS = 100_000;',
    ],
    [
      'messages-unbounded',
      'A message repeats a value of any length.',
      'if (message.length <= MAX_MESSAGE_CHARS) continue;',
      'if (message.length > 0) continue;',
    ],
    [
      'arbitrary-documents',
      'A document that is not on the list is run.',
      'allowArbitraryOperations: false,',
      'allowArbitraryOperations: true,',
    ],
    [
      'long-documents-kept',
      'Long documents are kept in memory.',
      'if (text.length <= KEPT_DOCUMENT_CHARS) kept.set(text, document);',
      'kept.set(text, document);',
    ],
    [
      'operation-of-others',
      'A document is charged for operations that are not run.',
      '(definition) => definition.kind !== Kind.OPERATION_DEFINITION || definition === chosen,',
      '(definition) => definition.kind !== Kind.OPERATION_DEFINITION || definition !== undefined,',
    ],
  ]),
  ...plant('src/schema/cost.ts', LIMITS, [
    [
      'cost-without-last',
      'The last hundred rows cost as much as twenty.',
      "const rows = args['first'] ?? args['last'] ?? DEFAULT_PAGE_SIZE;",
      "const rows = args['first'] ?? DEFAULT_PAGE_SIZE;",
    ],
    [
      'cost-without-rows',
      'What is asked of each row counts once.',
      "multiplier: typeof rows === 'number' ? rows : DEFAULT_PAGE_SIZE };",
      'multiplier: 1 };',
    ],
    [
      'cost-of-save',
      'A document may hold twenty saves.',
      'export const SAVE_COST = 6_000;',
      'export const SAVE_COST = 600;',
    ],
    [
      'cost-of-prompt',
      'A prompt costs as much as any other field.',
      'export const PROMPT_COST = 100;',
      'export const PROMPT_COST = 1;',
    ],
    [
      'cost-of-read',
      'A field that asks the database costs as much as any other.',
      'export const READ_COST = 100;',
      'export const READ_COST = 1;',
    ],
  ]),
  ...plant('src/server/graphql.ts', ERRORS, [
    [
      'unmasked',
      'A caller sees the words of an unexpected error.',
      "return new GraphQLError(message, {\n    ...at,\n    extensions: { code: 'INTERNAL_SERVER_ERROR'",
      "return new GraphQLError(String(original), {\n    ...at,\n    extensions: { code: 'INTERNAL_SERVER_ERROR'",
    ],
    [
      'away-internal',
      'A database that is away is an unexpected error.',
      'if (original instanceof DatabaseError) {',
      'if (false as boolean) {',
    ],
    [
      'unlogged',
      'An unexpected error is not in the log.',
      "log.error({ correlationId, err: original }, 'unexpected error');",
      '',
    ],
    [
      'token-expired-internal',
      'A token that expired on the way is an unexpected error.',
      'if (original instanceof RefusedTokenError) {',
      'if (false as boolean) {',
    ],
  ]),
  ...plant('src/server/graphql.ts', BROWSER, [
    [
      'cors-any-origin',
      'Every site may ask with the token of its visitor.',
      'if (origin === null || !options.corsOrigins.includes(origin)) return false;',
      'if (origin === null) return false;',
    ],
    ['cors-credentials', 'A listed site may send cookies.', 'credentials: false,', 'credentials: true,'],
    [
      'cors-request-id',
      'A listed site cannot read the id of its request.',
      "exposedHeaders: ['x-request-id'],",
      '',
    ],
    [
      'batching',
      'One request holds any number of operations.',
      'batching: false,',
      'batching: { limit: 100 },',
    ],
  ]),
  ...plant('src/context.ts', CONTEXT, [
    [
      'bad-token-anonymous',
      'A bad token counts as none.',
      "throw new RefusedTokenError(verdict.problem === 'unavailable');",
      "return { ...rest, caller: { problem: 'no_token' } };",
    ],
    [
      'keys-away-refused',
      'A caller is told to sign in again where the keys cannot be fetched.',
      "new RefusedTokenError(verdict.problem === 'unavailable')",
      'new RefusedTokenError(false)',
    ],
    [
      'reads-ungated',
      'The reads of an organization are not bounded.',
      'deps.readGate.run(verdict.orgId, read);',
      'read();',
    ],
    [
      'bearer-with-spaces',
      'Two tokens in one header are read as one.',
      '/^Bearer ([^\\s]+)$/i',
      '/^Bearer ([^\\s]+)/i',
    ],
  ]),
  ...plant(
    'src/schema/builder.ts',
    ['test/isolation/tokens.test.ts', 'src/context.test.ts'],
    [
      [
        'no-organization-signed-out',
        'A user without an organization is told to sign in.',
        "throw caller.problem === 'no_token'\n",
        'throw caller.problem !== undefined\n',
      ],
    ],
  ),
  ...plant(
    'src/schema/agents/update-agents.ts',
    ['test/isolation/tokens.test.ts', 'test/e2e/idempotency.test.ts'],
    [
      [
        'save-without-actor',
        'The journal does not say who saved, and no limit counts it.',
        'actor: userId,',
        '',
      ],
      [
        'save-without-key',
        'The idempotency key is not passed on.',
        'idempotencyKey,\n          actor',
        'actor',
      ],
    ],
  ),
  ...plant('src/schema/calls/call.ts', LISTS, [
    [
      'duration-floor',
      'The duration of a call is rounded down.',
      'Math.round((Date.parse(endedAt)',
      'Math.floor((Date.parse(endedAt)',
    ],
  ]),
  ...plant(
    'src/schema/agents/save.ts',
    ['test/isolation/confused-deputy.test.ts', 'test/e2e/save.test.ts'],
    [
      [
        'save-by-any-id',
        'A malformed id of a save is an unexpected error.',
        'return isUuid(id) ? reads.save(id) : null;',
        'return reads.save(id);',
      ],
    ],
  ),
  ...plant('src/services/reads/connection.ts', LISTS, [
    [
      'cursor-any-order',
      'A cursor of one order is taken in the other.',
      "return `${name}:${descending ? 'desc' : 'asc'}`;",
      'return name;',
    ],
    ['cursor-any-list', 'A cursor of another list is taken.', 'tag === tagOf(listing) &&', ''],
    [
      'cursor-any-value',
      'A cursor with any text in it goes into the filter.',
      'listing.isValue(value) &&',
      '',
    ],
    ['cursor-any-id', 'A cursor with any id in it goes into the filter.', 'isUuid(id) &&\n', ''],
    [
      'cursor-spelling',
      'A cursor that nobody gave out is taken.',
      ' &&\n    encodeCursor(listing, { value, id }) === cursor;',
      ';',
    ],
    [
      'page-both-ends',
      'first and last are taken together.',
      'if (first !== null && last !== null) throw',
      'if (false) throw',
    ],
    [
      'page-of-zero',
      'A page of no rows is answered.',
      'value < 1 || value > MAX_PAGE_SIZE',
      'value < 0 || value > MAX_PAGE_SIZE',
    ],
    [
      'page-over-limit',
      'A page of 101 rows is answered.',
      'value < 1 || value > MAX_PAGE_SIZE',
      'value < 1 || value > MAX_PAGE_SIZE + 1',
    ],
    [
      'page-no-next',
      'The last full page says that there is another one.',
      'const more = rows.length > size;',
      'const more = rows.length >= size;',
    ],
    ['page-not-turned', 'The last rows come in the wrong order.', 'if (window.fromEnd) page.reverse();', ''],
    [
      'page-previous',
      'A page after a cursor says that there is none before it.',
      'window.fromEnd ? more : window.after !== null',
      'window.fromEnd ? more : false',
    ],
    [
      'page-next-of-last',
      'The last rows before a cursor say that none follow.',
      'window.fromEnd ? window.before !== null : more',
      'window.fromEnd ? false : more',
    ],
    [
      'page-before-only',
      'The page before a cursor begins at the start of the list.',
      'fromEnd: last !== null || (first === null && after === null && before !== null),',
      'fromEnd: last !== null,',
    ],
    [
      'page-default-size',
      'A page holds 21 rows where nothing is said.',
      'export const DEFAULT_PAGE_SIZE = 20;',
      'export const DEFAULT_PAGE_SIZE = 21;',
    ],
  ]),
  ...plant('src/services/reads/lists.ts', LISTS, [
    [
      'calls-direction-in-cursor',
      'Calls in the other order begin at the wrong end.',
      "descending: order === 'NEWEST_FIRST',\n    isValue: isInstant,\n    positionOf: ({ listedAt, id })",
      'descending: true,\n    isValue: isInstant,\n    positionOf: ({ listedAt, id })',
    ],
    [
      'appointments-direction',
      'Appointments in the other order begin at the wrong end.',
      "descending: order === 'LATEST_FIRST',",
      'descending: false,',
    ],
    [
      'calls-of-no-outcome',
      'A choice among no outcomes lists every call.',
      'filter.outcomes?.length === 0\n      ? none()',
      'filter.outcomes === null\n      ? none()',
    ],
    [
      'filter-any-id',
      'A malformed id in a filter is an unexpected error.',
      'if (id != null && !isUuid(id)) throw',
      'if (false) throw',
    ],
  ]),
  ...plant('src/services/reads/loaders.ts', LISTS, [
    [
      'loader-in-order',
      'A row that is gone shifts the rows of the others.',
      'return ids.map((id) => rows.get(id) ?? null);',
      'return [...rows.values()];',
    ],
    [
      'loader-any-id',
      'A malformed id is an unexpected error.',
      '(isUuid(id) ? loader.load(id.toLowerCase()) : null)',
      'loader.load(id.toLowerCase())',
    ],
    ['loader-case', 'An id in capitals finds nothing.', 'loader.load(id.toLowerCase())', 'loader.load(id)'],
  ]),
  ...plant(
    'src/services/agents/sync-status.ts',
    ['src/services/agents/sync-status.test.ts'],
    [
      [
        'status-of-sibling',
        'A save of one agent shows at both.',
        'if (open?.roles.includes(agent.role))',
        'if (open !== null)',
      ],
      [
        'status-drifted-first',
        'A missing agent is shown as drifted.',
        "if (agent.missing) return 'MISSING';\n  if (agent.drift.length > 0) return 'DRIFTED';",
        "if (agent.drift.length > 0) return 'DRIFTED';\n  if (agent.missing) return 'MISSING';",
      ],
    ],
  ),
  ...plant(
    'src/domain/input.ts',
    ['src/domain/agents/agent-config.test.ts'],
    [
      [
        'input-code-points',
        'The limits count code points.',
        '.refine((value) => value.length <= max, {',
        '.refine((value) => [...value].length <= max, {',
      ],
      [
        'input-nul',
        'A text with a NUL is accepted.',
        "value.isWellFormed() && !value.includes('\\0')",
        'value.isWellFormed()',
      ],
      [
        'input-half-pair',
        'A text with half a surrogate pair is accepted.',
        "value.isWellFormed() && !value.includes('\\0')",
        "!value.includes('\\0')",
      ],
      ['input-blank', 'A prompt of spaces is accepted.', "value.trim() !== ''", "value !== ''"],
    ],
  ),
  ...plant(
    'src/domain/agents/agent-config.ts',
    ['src/domain/agents/agent-config.test.ts'],
    [
      ['input-name-limit', 'A name is accepted that Vapi refuses.', 'name: 40,', 'name: 41,'],
      [
        'input-duration',
        'A duration of nine seconds is accepted.',
        'minDurationSeconds: 10,',
        'minDurationSeconds: 9,',
      ],
      [
        'input-temperature',
        'A temperature above Vapi’s limit is accepted.',
        "number('model.temperature', 0, 2)",
        "number('model.temperature', 0, 3)",
      ],
      [
        'input-stability-of-others',
        'A stability is accepted for a voice that has none.',
        'if (context.value[field] != null) {',
        "if (context.value[field] != null && field !== 'stability') {",
      ],
      [
        'input-nobody',
        'A save that names no agent begins.',
        'context.value.inbound == null && context.value.outbound == null',
        'context.value.inbound === null && context.value.outbound === null',
      ],
      [
        'input-language',
        'Any text is a language.',
        '/^([a-z]{2,3}(-[A-Za-z0-9]{2,8})*|multi)$/.test(value)',
        '/^([a-z]{2,3}(-[A-Za-z0-9]{2,8})*|multi)/.test(value)',
      ],
      [
        'input-custom-llm',
        'A provider is accepted that needs a server of its own.',
        "value !== 'custom-llm'",
        "value !== ''",
      ],
      [
        'input-undefined',
        'A field that was left out is cleared.',
        'Object.entries(config).filter(([, value]) => value !== undefined),',
        'Object.entries(config),',
      ],
      [
        'input-leave-by-default',
        'A missing assistant is made anew without leave.',
        'recreateIfMissing: recreateIfMissing ?? false,',
        'recreateIfMissing: recreateIfMissing ?? true,',
      ],
    ],
  ),
  ...plant('src/env.ts', ENV, [
    [
      'env-http',
      'An address without TLS is accepted for another machine.',
      "(url.protocol === 'http:' && isLoopback(url.hostname))",
      "url.protocol === 'http:'",
    ],
    [
      'env-loopback',
      'A host that only begins like this machine counts as this machine.',
      '/^127(\\.\\d+){3}$/.test(hostname)',
      '/^127\\./.test(hostname)',
    ],
    [
      'env-password',
      'An address with a password comes into the log.',
      "url.username + url.password === ''",
      "url.username !== 'root'",
    ],
    [
      'env-cors',
      'An origin with a path is accepted and never matches.',
      'origins.every((origin) => URL.parse(origin)?.origin === origin)',
      'origins.some((origin) => URL.parse(origin)?.origin === origin)',
    ],
    [
      'env-production',
      'Production starts the embedded database because a variable is missing.',
      "if (given['SUPABASE_URL'] === undefined && production) {",
      "if (given['SUPABASE_URL'] === undefined && production && envFile) {",
    ],
    [
      'env-file',
      'A .env file without SUPABASE_URL starts the embedded database silently.',
      "given['SUPABASE_URL'] === undefined && !local && envFile",
      "given['SUPABASE_URL'] === undefined && local && envFile",
    ],
    [
      'env-misspelt',
      'A misspelt variable leaves a default in force.',
      'problems.push(...unknownNames(source), ...keyProblems(given));',
      'problems.push(...keyProblems(given));',
    ],
    [
      'env-key-kind',
      'The publishable key is taken as the secret one.',
      'problems.push(...unknownNames(source), ...keyProblems(given));',
      'problems.push(...unknownNames(source));',
    ],
    [
      'env-key-needed',
      'A project without its secret key starts.',
      "for (const name of ['SUPABASE_PUBLISHABLE_KEY', 'SUPABASE_SECRET_KEY'] as const) {\n      if (!has(name))",
      "for (const name of ['SUPABASE_PUBLISHABLE_KEY'] as const) {\n      if (!has(name))",
    ],
    [
      'env-two-key-sources',
      'Of two sources of signing keys one is used silently.',
      'for (const name of keySources.slice(1))',
      'for (const name of keySources.slice(2))',
    ],
    [
      'env-private-jwks',
      'A private key is accepted where public ones are asked for.',
      "key.kty !== 'oct' && !('d' in key)",
      "key.kty !== 'oct'",
    ],
    [
      'env-shared-jwks',
      'A shared secret is accepted as a public key.',
      "key.kty !== 'oct' && !('d' in key)",
      "!('d' in key)",
    ],
    [
      'env-times-together',
      'Times are accepted under which no save can end.',
      'settings === null ? [] : settingsProblems(settings)',
      'settings === null ? settingsProblems(settings as never) : []',
    ],
    [
      'env-introspection',
      'A hosted installation tells its schema unless it is asked not to.',
      "introspection: (env.GRAPHQL_INTROSPECTION ?? (url === undefined ? 'on' : 'off')) === 'on',",
      "introspection: (env.GRAPHQL_INTROSPECTION ?? 'on') === 'on',",
    ],
    [
      'env-graphiql',
      'A hosted installation shows GraphiQL unless it is asked not to.',
      "graphiql: (env.GRAPHIQL ?? (url === undefined ? 'on' : 'off')) === 'on',",
      "graphiql: (env.GRAPHIQL ?? 'on') === 'on',",
    ],
    [
      'env-number',
      'A number outside of its bounds is accepted.',
      '.refine((value) => value >= min && value <= max, problem);',
      '.refine((value) => value >= min, problem);',
    ],
    [
      'env-secret-stays',
      'A child process sees the master key in its environment.',
      "  'VAPI_PRIVATE_KEY',\n  'VAPI_PRIVATE_KEY_NEXT',\n  'VAPI_WEBHOOK_SECRET',",
      "  'VAPI_PRIVATE_KEY_NEXT',\n  'VAPI_WEBHOOK_SECRET',",
    ],
    [
      'env-swapped-pace',
      'The burst and the reserve change places.',
      'burst: env.VAPI_BURST,\n        reserve: env.VAPI_RESERVE,',
      'burst: env.VAPI_RESERVE,\n        reserve: env.VAPI_BURST,',
    ],
    [
      'env-project-path',
      'An address with /rest/v1 is accepted.',
      '!/\\/(rest|auth)\\/v1$/.test(value)',
      'value !== ""',
    ],
  ]),
  ...plant('src/server/routes.ts', HTTP, [
    [
      'ready-always',
      'A server without its database says that it is ready.',
      'plain(response, isReady ? 200 : 503, { ready: isReady });',
      'plain(response, 200, { ready: isReady });',
    ],
  ]),
  ...plant('src/services/agents/jobs.ts', AGENT_JOBS, [
    [
      'sweep-without-turns',
      'The sweep uses the account as if nobody else did.',
      "admission === undefined ? voice : takingTurns(voice, admission, 'sweep', SWEEP_WAIT_MS)",
      'voice',
    ],
    [
      'cleanup-one-batch',
      'The cleanup forgets 500 saves in ten minutes and no more.',
      '(await store.cleanup(CLEANUP_BATCH, this.#settings.saveRetentionDays)) > 0',
      '(await store.cleanup(CLEANUP_BATCH, this.#settings.saveRetentionDays)) < 0',
    ],
    [
      'cleanup-goes-on',
      'The cleanup of a server that stops goes on.',
      'while (!stopping.aborted && ',
      'while (',
    ],
    [
      'cleanup-always-complete',
      'A cleanup that was cut short counts as complete.',
      'if (!stopping.aborted) this.#cleanedAt',
      'this.#cleanedAt',
    ],
    [
      'stop-keeps-lease',
      'After a restart nothing sweeps until the lease expires.',
      'release: () => this.#ports.store.releaseLease(this.#ports.executor.owner),',
      '',
    ],
    [
      'sweep-waits-an-interval',
      'After "not the leader" the next try is a whole interval later.',
      "retryAfterMs === null ? { kind: 'ran' }",
      "retryAfterMs !== undefined ? { kind: 'ran' }",
    ],
    [
      'sweep-skipped-an-interval',
      'A sweep that failed or was skipped is tried again a whole interval later.',
      'retryMs: SWEEP_RETRY_MS,',
      '',
    ],
    [
      'sweep-without-interval',
      'The sweep runs although it is turned off.',
      'reconcileIntervalMs > 0 ? [recovery, cleanup, reconciliation]',
      'reconcileIntervalMs >= 0 ? [recovery, cleanup, reconciliation]',
    ],
    [
      'sweep-long-lease',
      'After a crash nothing sweeps for half a minute, however short the interval is.',
      'Math.max(5_000, reconcileIntervalMs / 10)',
      'Math.max(30_000, reconcileIntervalMs / 10)',
    ],
    [
      'swept-at-forgotten',
      'Agents are not known to be in step until the next heartbeat.',
      'if (report.walkedAt !== null) onSwept(report.walkedAt);',
      '',
    ],
    [
      'orphans-at-once',
      'An assistant is deleted while its save may still be answered late.',
      'orphanAgeMs: 2 * lateTimeMs(settings),',
      'orphanAgeMs: 0,',
    ],
  ]),
  ...plant('src/services/agents/drift/look-now.ts', LOOK_NOW, [
    [
      'look-without-turns',
      'settleDrift looks at Vapi without a permit.',
      'limit === undefined ? voice',
      'limit !== undefined ? voice',
    ],
    [
      'look-at-others',
      'A caller has the assistant of another organization read.',
      "if (agent?.orgId !== orgId) return { kind: 'saving' };",
      'if (agent === undefined) return null;',
    ],
  ]),
  ...plant('src/services/admission/heartbeat.ts', HEARTBEAT, [
    [
      'outage-unreported',
      'Nothing is logged when the database does not answer heartbeats.',
      'database.fails(error);',
      '',
    ],
    ['outage-unended', 'The log never says that the database answers again.', 'database.works();', ''],
    [
      'defect-is-outage',
      'A defect in the heartbeat is reported as an outage of the database.',
      'if (!(error instanceof DatabaseError)) throw error;\n      database.fails(error);',
      'database.fails(error as DatabaseError);',
    ],
  ]),
  ...plant('src/server/server.ts', SERVER, [
    [
      'idle-of-one-save',
      'A request with several saves is cut off before it is answered.',
      'timeoutsFor(savesOfARequest * options.slowestSaveMs,',
      'timeoutsFor(options.slowestSaveMs,',
    ],
    [
      'idle-of-no-save',
      'A connection is cut off in the middle of a save if the cost of a request is bounded below that of a save.',
      'Math.max(1, Math.floor(edge.maxComplexity / SAVE_COST))',
      'Math.floor(edge.maxComplexity / SAVE_COST)',
    ],
    [
      'timeouts-unconfigured',
      'A configured timeout has no effect.',
      'options.slowestSaveMs, options.timeouts)',
      'options.slowestSaveMs)',
    ],
  ]),
  ...plant('src/server/shutdown.ts', SHUTDOWN, [
    [
      'stop-leaves-saves',
      'A server that stops does not wait for its saves.',
      'while (this.#running.size > 0) await Promise.all(this.#running);',
      '',
    ],
    [
      'stop-leaves-last-saves',
      'A server that stops does not wait for the saves of its last requests.',
      'while (this.#running.size > 0) await',
      'if (this.#running.size > 0) await',
    ],
    [
      'stop-closes-first',
      'A probe is refused instead of told that the server is not ready.',
      'await this.#rest();\n    const closed',
      'const closed',
    ],
    [
      'stop-for-ever',
      'A server that stops waits for ever.',
      'await Promise.race([this.#drain(server), this.#clock.sleep(drainMs)]);',
      'await this.#drain(server);',
    ],
    [
      'stop-keeps-connections',
      'A server that stops keeps its connections.',
      'server.closeAllConnections();',
      '',
    ],
  ]),
  ...plant('src/server/jobs.ts', JOBS, [
    [
      'background-ends',
      'Background work that fails once never runs again.',
      "end = { kind: 'failed' };\n    }",
      'return;\n    }',
    ],
    [
      'outage-logged-each-time',
      'An outage fills the log.',
      'if (failure !== failing) {',
      'if (failure !== undefined) {',
    ],
    [
      'outage-end-unlogged',
      'The log does not say when background work succeeds again.',
      "if (failing !== undefined) log.info({ work: job.name }, 'background work succeeds again');",
      '',
    ],
    [
      'not-leader-late',
      'After the death of the leader nobody leads for a whole interval.',
      'Math.min(intervalMs, end.leaseExpiresInMs)',
      'intervalMs',
    ],
    [
      'pause-past-stop',
      'A server that stops waits for the next run of each job.',
      'await clock.sleep(pauseMs(job, end), stopping);',
      'await clock.sleep(pauseMs(job, end));',
    ],
    [
      'job-keeps-lease',
      'After a restart nothing leads until the lease expires.',
      'await job.release?.().catch(() => {});',
      '',
    ],
  ]),
  ...plant('src/server/readiness.ts', READINESS, [
    [
      'ready-while-draining',
      'A server that stops says that it is ready.',
      'if (stopping.aborted) return Promise.resolve(false);',
      '',
    ],
    [
      'ready-cached-for-ever',
      'A server says that it is ready although its database is down.',
      'clock.monotonic() - last.at > CACHE_MS',
      'clock.monotonic() - last.at > 1e9',
    ],
    [
      'ready-unshared',
      'Each probe of each load balancer asks the database.',
      'if (last === undefined || clock.monotonic() - last.at > CACHE_MS) {',
      '{',
    ],
  ]),
  ...plant('src/server/check-token.ts', CHECK_TOKEN, [
    [
      'no-organization-is-member',
      'A token without an organization may send a large body.',
      "if (verdict.problem === 'no_organization') return 'ANONYMOUS';",
      "if (verdict.problem === 'no_organization') return 'MEMBER';",
    ],
    [
      'unavailable-is-refused',
      'While keys cannot be read, a good token is called invalid.',
      "new RefusedTokenError(verdict.problem === 'unavailable')",
      'new RefusedTokenError(false)',
    ],
  ]),
  ...plant('src/adapters/vapi/vapi-account.ts', ACCOUNT, [
    [
      'rotation-forgets-newer',
      'A key that is given while another one is refused is never tried.',
      "if (rotation !== 'UNDECIDED' && this.#nextKey === candidate) this.#nextKey = null;",
      "if (rotation !== 'UNDECIDED') this.#nextKey = null;",
    ],
    [
      'refused-key-again',
      'A refused key is tried again at every interval.',
      "if (rotation !== 'UNDECIDED' && this.#nextKey",
      "if (rotation === 'ACTIVE' && this.#nextKey",
    ],
    [
      'key-job-without-check',
      'A key that could not be compared at start is never compared.',
      'await this.check();\n        await',
      'await',
    ],
    [
      'circuit-without-pause',
      'Saves that wait for a permit are refused one by one while the circuit is open.',
      '(ms) => pacer?.pause(ms)',
      '() => {}',
    ],
    [
      'limit-unheard',
      'A 429 does not slow the rate.',
      'onLimited: (retryAfterMs) => pacer?.limited(retryAfterMs),',
      'onLimited: () => {},',
    ],
  ]),
  ...plant('src/app.ts', APP, [
    [
      'replica-without-share',
      'A replica begins with the share of the whole account.',
      'pacer?.share(0, 0);',
      '',
    ],
  ]),
  ...plant(
    'src/main.ts',
    ['test/process/processes.test.ts'],
    [
      [
        'headers-before-keep-alive',
        'Idle connections are cut off before their time.',
        'headers: config.keepAliveMs + 5_000,',
        'headers: 5_000,',
      ],
    ],
  ),
  ...plant(
    'src/services/agents/drift/look-now.ts',
    ['src/services/agents/drift/look-now.test.ts'],
    [
      [
        'look-of-others',
        'A look at the assistant of another organization is answered.',
        "if (agent?.orgId !== orgId) return { kind: 'saving' };",
        "if (agent === undefined) return { kind: 'saving' };",
      ],
    ],
  ),
];

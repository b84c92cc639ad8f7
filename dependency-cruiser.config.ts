import type { IConfiguration, IForbiddenRuleType } from 'dependency-cruiser';

/**
 * The layers, one way: schema → services → ports → domain; adapters implement ports; src/app.ts, src/main.ts and src/env.ts
 * compose. Each rule says what a layer may see; everything else is refused. Tests are free, and are not looked at.
 */

const OURS = '^(src|test|scripts|bench)/';

/** Of our own modules, files matching `from` may import those matching `allowed`, and no others. */
const layer = (name: string, from: string, allowed: string[], comment: string): IForbiddenRuleType => ({
  name,
  comment,
  severity: 'error',
  from: { path: from },
  to: { path: OURS, pathNot: allowed },
});

/** Of packages and Node's own modules, files matching `from` may import those named, and no others. */
const packages = (name: string, from: string, allowed: string[], comment: string): IForbiddenRuleType => ({
  name,
  comment,
  severity: 'error',
  from: { path: from },
  to: {
    pathNot: [
      OURS,
      ...allowed.map((one) =>
        one.startsWith('node:') ? `^(node:)?${one.slice('node:'.length)}$` : `^node_modules/${one}/`,
      ),
    ],
  },
});

/** They put the graph together, and so see every layer. */
const COMPOSE = '^src/(app|main|env)\\.ts$';

const forbidden: IForbiddenRuleType[] = [
  layer('domain', '^src/domain/', ['^src/domain/'], 'The domain imports nothing of ours.'),
  packages(
    'domain-packages',
    '^src/domain/',
    ['zod', 'temporal-polyfill', 'node:crypto', 'node:util'],
    'The domain is pure: zod for shapes, hashes, the arithmetic of time zones, nothing else.',
  ),
  layer('ports', '^src/ports/', ['^src/(ports|domain)/'], 'Ports speak of the domain only.'),
  packages('ports-packages', '^src/ports/', [], 'A port that names a library is an adapter.'),
  layer(
    'services',
    '^src/services/',
    ['^src/(services|ports|domain)/'],
    'Services see ports and the domain, so that a simulation can run them whole.',
  ),
  packages(
    'services-packages',
    '^src/services/',
    ['node:crypto', 'zod', 'dataloader'],
    'Services know no GraphQL, no supabase-js, no HTTP: shapes, hashes and batches.',
  ),
  layer(
    'schema',
    '^src/schema/',
    ['^src/(schema|services|ports|domain)/', '^src/context\\.ts$'],
    'The schema asks services; what it needs of the world is in the context.',
  ),
  packages(
    'schema-packages',
    '^src/schema/',
    ['graphql', 'graphql-scalars', '@pothos/[^/]+'],
    'The schema reaches no database, no network, no environment.',
  ),
  layer('adapters', '^src/adapters/', ['^src/(adapters|ports|domain)/'], 'Adapters implement ports.'),
  {
    name: 'adapters-packages',
    comment: 'What an adapter knows of GraphQL, it knows wrongly.',
    severity: 'error',
    from: { path: '^src/adapters/' },
    to: { path: '^node_modules/(graphql|graphql-[^/]+|@pothos/[^/]+|@graphql-yoga/[^/]+)/' },
  },
  layer(
    'server',
    '^src/server/',
    ['^src/(server|schema|services|ports|domain)/', '^src/context\\.ts$'],
    'The HTTP edge is given what it serves.',
  ),
  layer(
    'context',
    '^src/context\\.ts$',
    ['^src/(services|ports|domain)/'],
    'The context is made of ports, not of adapters.',
  ),
  {
    name: 'composition',
    comment: 'Only src/app.ts, src/main.ts and src/env.ts know which adapters there are.',
    severity: 'error',
    from: { path: '^src/', pathNot: ['^src/(adapters|local)/', COMPOSE] },
    to: { path: '^src/adapters/' },
  },
  {
    name: 'secrets',
    comment:
      'Who can name a secret can be given one: the chain from the environment to the adapters that use it.',
    severity: 'error',
    from: {
      path: '^src/',
      pathNot: [
        COMPOSE,
        '^src/context\\.ts$',
        '^src/services/(saga|agents|knowledge-base)/execute\\.ts$',
        // The token of a carrier, for one import, and the key.
        '^(src/services/phone-numbers/(change|participant)|src/schema/phone-numbers/change)\\.ts$',
        // The secrets that events are signed with.
        '^src/server/webhook\\.ts$',
        '^src/adapters/(vapi|supabase|system)/',
        '^src/local/embedded\\.ts$',
      ],
    },
    to: { path: '^src/domain/secret\\.ts$' },
  },
  {
    name: 'local-types',
    comment: "The local Supabase says where it is in the adapter's own terms: a type, and nothing that runs.",
    severity: 'error',
    from: { path: '^src/local/' },
    to: { path: '^src/adapters/', dependencyTypesNot: ['type-only'] },
  },
  layer(
    'local',
    '^src/local/',
    ['^src/(local|domain)/', '^src/adapters/supabase/clients\\.ts$'],
    'The local Supabase and the Vapi stand-in know nothing of the server.',
  ),
  {
    name: 'not-to-local',
    comment: 'Development only: src/main.ts loads src/local when it is needed, and nothing else ever does.',
    severity: 'error',
    from: { path: '^src/', pathNot: ['^src/local/', '^src/main\\.ts$'] },
    to: { path: '^src/local/' },
  },
  {
    name: 'main-loads-local-late',
    comment: 'A static import would need development dependencies in production.',
    severity: 'error',
    from: { path: '^src/main\\.ts$' },
    to: { path: '^src/local/', dynamic: false, dependencyTypesNot: ['type-only'] },
  },
  {
    name: 'not-to-composition',
    comment: 'The composition root is at the top.',
    severity: 'error',
    from: { path: '^src/', pathNot: COMPOSE },
    to: { path: COMPOSE },
  },
  {
    name: 'not-to-tests',
    comment: 'The product does not need its tests, scripts or benchmarks.',
    severity: 'error',
    from: { path: '^src/' },
    to: { path: '^(test|scripts|bench)/' },
  },
  {
    name: 'no-development-dependency',
    comment: 'What the server runs on is in `dependencies`. src/local is development.',
    severity: 'error',
    from: { path: '^src/', pathNot: '^src/local/' },
    to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
  },
  {
    name: 'no-circular',
    comment: 'Modules that need each other are one module.',
    severity: 'error',
    from: { path: OURS },
    to: { circular: true },
  },
  {
    name: 'resolvable',
    comment: 'An import of nothing.',
    severity: 'error',
    from: { path: OURS },
    to: { couldNotResolve: true },
  },
];

const config: IConfiguration = {
  forbidden,
  options: {
    // Imports of types count as well: a layer that names another's types depends on it.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    exclude: { path: '\\.test\\.ts$' },
    doNotFollow: { path: '^node_modules/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};

export default config;

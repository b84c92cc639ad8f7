import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { ICruiseResult } from 'dependency-cruiser';
import { afterAll, beforeAll, expect, test } from 'vitest';
import config from '../../dependency-cruiser.config.ts';

/** A small repository in which every rule is broken once, and most of what is allowed is done as well. */
const FILES: Record<string, string> = {
  'src/domain/fine.ts':
    "import { createHash } from 'node:crypto'; import { z } from 'zod'; export { createHash, z };",
  'src/domain/secret.ts': 'export class Secret {}',
  'src/services/names-secret.ts':
    "import type { Secret } from '../domain/secret.ts'; export type X = Secret;",
  'src/domain/sees-port.ts': "import type { Port } from '../ports/fine.ts'; export type X = Port;",
  'src/domain/reads-files.ts': "import { readFileSync } from 'node:fs'; export { readFileSync };",
  'src/ports/fine.ts': "import { z } from '../domain/fine.ts'; export interface Port { z: typeof z }",
  'src/ports/sees-service.ts': "import type { Service } from '../services/fine.ts'; export type X = Service;",
  'src/ports/names-got.ts': "import type got from 'got'; export type X = typeof got;",
  'src/services/fine.ts':
    "import { createHash } from 'node:crypto'; import type { Port } from '../ports/fine.ts'; export type Service = [Port]; export { createHash };",
  'src/services/sees-schema.ts': "import { schema } from '../schema/fine.ts'; export { schema };",
  'src/services/uses-graphql.ts': "import { GraphQLError } from 'graphql'; export { GraphQLError };",
  'src/services/uses-pino.ts': "import type pino from 'pino'; export type X = typeof pino;",
  'src/services/serves-http.ts': "import { createServer } from 'node:http'; export { createServer };",
  'src/services/reads-environment.ts': "import { env } from 'node:process'; export { env };",
  'src/services/ring-1.ts': "import { two } from './ring-2.ts'; export const one = () => two;",
  'src/services/ring-2.ts': "import { one } from './ring-1.ts'; export const two = () => one;",
  'src/services/asks-nothing.ts': "import { nothing } from './no-such-file.ts'; export { nothing };",
  'src/services/uses-support.ts': "import { support } from '../../test/support/fine.ts'; export { support };",
  'src/services/fine.test.ts': "import { got } from '../adapters/fine.ts'; export { got };",
  'src/schema/fine.ts':
    "import { graphql } from 'graphql'; import builder from '@pothos/core'; import '../services/fine.ts'; import type { C } from '../context.ts'; export const schema = [graphql, builder]; export type X = C;",
  'src/schema/sees-adapter.ts': "import { got } from '../adapters/fine.ts'; export { got };",
  'src/schema/uses-supabase.ts': "import type { S } from '@supabase/supabase-js'; export type X = S;",
  'src/adapters/fine.ts':
    "import got from 'got'; import type { Port } from '../ports/fine.ts'; export { got }; export type X = Port;",
  'src/adapters/supabase/clients.ts': 'export interface Config { url: string } export const client = 1;',
  'src/adapters/sees-service.ts':
    "import type { Service } from '../services/fine.ts'; export type X = Service;",
  'src/adapters/uses-graphql.ts': "import { GraphQLError } from 'graphql'; export { GraphQLError };",
  'src/adapters/uses-development.ts': "import pg from 'pg'; export { pg };",
  'src/server/fine.ts':
    "import { schema } from '../schema/fine.ts'; import type { C } from '../context.ts'; export { schema }; export type X = C;",
  'src/server/sees-adapter.ts':
    "import { client } from '../adapters/supabase/clients.ts'; export { client };",
  'src/server/sees-app.ts': "import { app } from '../app.ts'; export { app };",
  'src/context.ts':
    "import type { Service } from './services/fine.ts'; import { client } from './adapters/supabase/clients.ts'; export type C = Service; export { client };",
  'src/env.ts': "import type { Config } from './adapters/supabase/clients.ts'; export type X = Config;",
  'src/app.ts':
    "import { got } from './adapters/fine.ts'; import { schema } from './server/fine.ts'; import { embedded } from './local/fine.ts'; export const app = [got, schema, embedded];",
  'src/main.ts':
    "import { app } from './app.ts'; import type { Embedded } from './local/fine.ts'; import { embedded } from './local/fine.ts'; export const run = async (): Promise<Embedded[]> => [app, embedded, (await import('./local/late.ts')).late];",
  'src/local/fine.ts':
    "import type { Config } from '../adapters/supabase/clients.ts'; import pg from 'pg'; export type Embedded = Config | unknown; export const embedded = pg;",
  'src/local/late.ts': 'export const late = 1;',
  'src/local/runs-adapter.ts': "import { client } from '../adapters/supabase/clients.ts'; export { client };",
  'src/local/sees-service.ts': "import type { Service } from '../services/fine.ts'; export type X = Service;",
  'test/support/fine.ts': "import { app } from '../../src/app.ts'; export const support = app;",
  'tsconfig.json':
    '{ "compilerOptions": { "module": "nodenext", "allowImportingTsExtensions": true, "noEmit": true } }',
  'package.json': JSON.stringify({
    name: 'planted',
    type: 'module',
    dependencies: {
      got: '1',
      pino: '1',
      zod: '1',
      graphql: '1',
      '@pothos/core': '1',
      '@supabase/supabase-js': '1',
    },
    devDependencies: { pg: '1' },
  }),
};
const PACKAGES = ['got', 'pino', 'zod', 'graphql', '@pothos/core', '@supabase/supabase-js', 'pg'];

const EXPECTED = [
  'adapters: src/adapters/sees-service.ts → src/services/fine.ts',
  'adapters-packages: src/adapters/uses-graphql.ts → node_modules/graphql/index.js',
  'composition: src/context.ts → src/adapters/supabase/clients.ts',
  'composition: src/schema/sees-adapter.ts → src/adapters/fine.ts',
  'composition: src/server/sees-adapter.ts → src/adapters/supabase/clients.ts',
  'context: src/context.ts → src/adapters/supabase/clients.ts',
  'domain: src/domain/sees-port.ts → src/ports/fine.ts',
  'domain-packages: src/domain/reads-files.ts → fs',
  'local: src/local/sees-service.ts → src/services/fine.ts',
  'local-types: src/local/runs-adapter.ts → src/adapters/supabase/clients.ts',
  'main-loads-local-late: src/main.ts → src/local/fine.ts',
  'no-circular: src/services/ring-1.ts → src/services/ring-2.ts',
  'no-development-dependency: src/adapters/uses-development.ts → node_modules/pg/index.js',
  'not-to-composition: src/server/sees-app.ts → src/app.ts',
  'not-to-local: src/app.ts → src/local/fine.ts',
  'not-to-tests: src/services/uses-support.ts → test/support/fine.ts',
  'ports: src/ports/sees-service.ts → src/services/fine.ts',
  'ports-packages: src/ports/names-got.ts → node_modules/got/index.js',
  'resolvable: src/services/asks-nothing.ts → ./no-such-file.ts',
  'schema: src/schema/sees-adapter.ts → src/adapters/fine.ts',
  'schema-packages: src/schema/uses-supabase.ts → node_modules/@supabase/supabase-js/index.js',
  'secrets: src/services/names-secret.ts → src/domain/secret.ts',
  'server: src/server/sees-adapter.ts → src/adapters/supabase/clients.ts',
  'server: src/server/sees-app.ts → src/app.ts',
  'services: src/services/sees-schema.ts → src/schema/fine.ts',
  'services: src/services/uses-support.ts → test/support/fine.ts',
  'services-packages: src/services/asks-nothing.ts → ./no-such-file.ts',
  'services-packages: src/services/reads-environment.ts → process',
  'services-packages: src/services/serves-http.ts → http',
  'services-packages: src/services/uses-graphql.ts → node_modules/graphql/index.js',
  'services-packages: src/services/uses-pino.ts → node_modules/pino/index.js',
];

let planted: string;

beforeAll(async () => {
  planted = await mkdtemp(join(tmpdir(), 'lockstep-layers-'));
  for (const name of PACKAGES) {
    FILES[`node_modules/${name}/package.json`] = JSON.stringify({ name, version: '1.0.0', main: 'index.js' });
    FILES[`node_modules/${name}/index.js`] = 'module.exports = {};';
  }
  for (const [path, text] of Object.entries(FILES)) {
    await mkdir(dirname(join(planted, path)), { recursive: true });
    await writeFile(join(planted, path), text);
  }
});
afterAll(() => rm(planted, { recursive: true, force: true }));

test('every layer rule finds what breaks it, and nothing else', async () => {
  const root = resolve(import.meta.dirname, '..', '..');
  const { stdout } = await promisify(execFile)(
    join(root, 'node_modules', '.bin', 'depcruise'),
    ['--config', join(root, 'dependency-cruiser.config.ts'), '--output-type', 'json', 'src', 'test'],
    { cwd: planted, maxBuffer: 16 * 1024 * 1024 },
  );
  const { summary } = JSON.parse(stdout) as ICruiseResult;
  const found = summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`);
  expect(found.sort()).toEqual(EXPECTED.sort());
  expect(new Set(summary.violations.map(({ rule }) => rule.name))).toEqual(
    new Set(config.forbidden?.map(({ name }) => name)),
  );
});

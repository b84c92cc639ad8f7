import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkSource, type Finding, MAY_REVEAL, readSource } from '../../scripts/check-source.ts';

const rulesBroken = (path: string, text: string): Finding['rule'][] =>
  checkSource([{ path, text }]).map(({ rule }) => rule);

test('our own source breaks none', async () => {
  const files = await readSource(resolve(import.meta.dirname, '..', '..'));
  expect(files.length).toBeGreaterThan(40);
  expect(checkSource(files)).toEqual([]);
  const paths = files.map(({ path }) => path);
  expect([...MAY_REVEAL.keys()].filter((path) => !paths.includes(path))).toEqual([]);
});

test('a finding says where', () => {
  expect(checkSource([{ path: 'src/services/a.ts', text: 'const a = 1;\nconst b = Date.now();' }])).toEqual([
    { rule: 'replayable', path: 'src/services/a.ts', line: 2, message: 'the time comes from the port Clock' },
  ]);
});

describe('the service client and the key are arguments of the executor, and nothing else', () => {
  test.each([
    'executeTransactionalAgentUpdate(context.serviceClient, updates, context.vapiApiKey, {})',
    "executeTransactionalAgentUpdate(context['serviceClient'], updates, context.vapiApiKey)",
    'const { caller, log } = context; log.info({}, String(caller))',
  ])('allowed: %s', (text) => {
    expect(rulesBroken('src/schema/a.ts', text)).toEqual([]);
  });

  test.each([
    'context.serviceClient.from("agents").select()',
    'readAgents(context.serviceClient)',
    "readAgents(context['serviceClient'])",
    'context.log.info({ key: context.vapiApiKey }, "key")',
    'const { vapiApiKey } = context',
    'const { vapiApiKey: key } = context',
    'const key = context.vapiApiKey; executeTransactionalAgentUpdate(client, updates, key)',
    'executeTransactionalAgentUpdate(context.vapiApiKey, updates, key)',
    'executeTransactionalAgentUpdate(client, updates, context.serviceClient)',
    'other.executeTransactionalAgentUpdate(context.serviceClient)',
    'function f({ serviceClient }: AppContext) { return serviceClient; }',
    'const name = "vapiApiKey"; context[name]',
    'send({ ...context })',
    'const { caller, ...rest } = context',
  ])('refused: %s', (text) => {
    expect(rulesBroken('src/schema/a.ts', text)).toEqual(['executor-only']);
  });

  test('only the factory makes them members of the context', () => {
    const text = 'const rest = { serviceClient: deps.serviceClient, vapiApiKey: deps.vapiApiKey };';
    expect(rulesBroken('src/context.ts', text)).toEqual([]);
    expect(rulesBroken('src/server/graphql.ts', text)).toEqual(['executor-only', 'executor-only']);
    expect(rulesBroken('src/context.ts', 'const rest = { log: deps.vapiApiKey };')).toEqual([
      'executor-only',
    ]);
  });
});

describe('a secret is revealed by those on the list only', () => {
  test.each(['key.reveal()', "key['reveal']()", 'const { reveal } = key', 'keys.map((key) => key.reveal)'])(
    '%s',
    (text) => {
      expect(rulesBroken('src/services/a.ts', text)).toEqual(['reveal']);
      expect(rulesBroken('src/adapters/vapi/other.ts', text)).toEqual(['reveal']);
      expect(rulesBroken('src/adapters/vapi/got-voice-provider.ts', text)).toEqual([]);
      expect(rulesBroken('src/services/a.test.ts', text)).toEqual([]);
    },
  );

  test('an entry that is no longer needed is taken off', () => {
    expect(rulesBroken('src/adapters/vapi/got-voice-provider.ts', 'const a = 1;')).toEqual(['reveal']);
  });
});

describe('services, ports and the domain can be replayed from a seed', () => {
  test.each([
    'const at = clock.now();',
    'const text = new Date(clock.now()).toISOString();',
    'const ms = Date.parse(text);',
    "const day = Temporal.PlainDate.from('2026-11-30');",
    'const most = Math.max(1, 2);',
    'const isDate = value instanceof Date;',
    "import { createHash } from 'node:crypto'; createHash('sha256');",
    'interface Options { performance: number; setTimeout?: Date }',
    'const options = { process: 1, performance: ports.performance };',
    'type When = Date | globalThis.Event;',
  ])('allowed: %s', (text) => {
    expect(rulesBroken('src/services/a.ts', text)).toEqual([]);
  });

  test.each([
    'const at = Date.now();',
    'const at = new Date();',
    'const at = Date();',
    'const { now } = Date;',
    'const later = [Date].map((one) => one.now());',
    'const chance = Math.random();',
    'const { random } = Math;',
    'setTimeout(() => {}, 1);',
    'const wait = setTimeout;',
    'setInterval(() => {}, 1);',
    'const id = crypto.randomUUID();',
    'const at = performance.now();',
    'const level = process.env.LEVEL;',
    'const at = globalThis.Date.now();',
    "import { randomUUID } from 'node:crypto';",
    "import { createHash, randomBytes as createHmac } from 'node:crypto';",
    "import * as hashes from 'node:crypto';",
    "import hashes from 'crypto';",
    'function wait(sleep = setTimeout) { return sleep; }',
    'const at = Temporal.Now.instant();',
    'const world = Temporal;',
  ])('refused: %s', (text) => {
    for (const layer of ['services/saga', 'services/agents', 'ports', 'domain']) {
      expect(rulesBroken(`src/${layer}/a.ts`, text)).toEqual(['replayable']);
    }
    expect(rulesBroken('src/adapters/system/system.ts', text)).toEqual([]);
    expect(rulesBroken('src/services/a.test.ts', text)).toEqual([]);
  });
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { closedPort } from '../test/support/network.ts';
import { type Config, type EnvProblem, loadEnv, variables } from './env.ts';

type Name = keyof typeof variables;
type Environment = Partial<Record<Name, string>>;

function configOf(environment: Environment): Config {
  const loaded = loadEnv(environment);
  if ('problems' in loaded) throw new Error(JSON.stringify(loaded.problems));
  return loaded.config;
}

function problemsOf(environment: Environment): EnvProblem[] {
  const loaded = loadEnv(environment);
  return 'problems' in loaded ? loaded.problems : [];
}

const named = (environment: Environment) => problemsOf(environment).map(({ variable }) => variable);

const HOSTED: Environment = {
  SUPABASE_URL: 'https://project.supabase.co',
  SUPABASE_PUBLISHABLE_KEY: 'sb_publishable_abc',
  SUPABASE_SECRET_KEY: 'sb_secret_abc',
};
const CREDENTIAL = '3f7d1b9a-5c2e-4806-9d4f-a1b2c3d4e5f6';
const WEBHOOK: Environment = {
  PUBLIC_URL: 'https://lockstep.example.com',
  VAPI_WEBHOOK_SECRET: 'webhook-secret-now',
  VAPI_WEBHOOK_CREDENTIAL_ID: CREDENTIAL,
};
const JWKS = JSON.stringify({ keys: [{ kty: 'EC', kid: 'k', crv: 'P-256', x: 'x', y: 'y' }] });
const SHARED = 'a shared secret of at least 32 characters';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-env-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function file(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

describe('nothing set', () => {
  test('the defaults of the contract', () => {
    expect(configOf({})).toMatchObject({
      ...{ host: '127.0.0.1', port: 4_000, corsOrigins: [], logLevel: 'info', supabase: null },
      vapi: { baseUrl: null, key: null, nextKey: null },
      webhook: null,
      settings: {
        ...{ requestTimeoutMs: 10_000, leaseMs: 17_000, deadlineMs: 120_000, answerMs: 12_000 },
        ...{ lateMs: 22_000 },
      },
      ...{ recoveryIntervalMs: 5_000, reconcileIntervalMs: 300_000, saveRetentionDays: 90 },
    });
  });

  test.each(Object.keys(variables) as Name[])('%s: empty, or nothing but space, is unset', (name) => {
    for (const value of ['', ' ', '\t\n']) expect(loadEnv({ [name]: value })).toEqual(loadEnv({}));
  });

  test('what is not a variable of ours is not looked at', () => {
    const others = { PATH: '/bin', SUPABASE_ACCESS_TOKEN: 'x', HTTP_PROXY: 'x', vapi_private_key: 'x' };
    expect(loadEnv(others)).toEqual(loadEnv({}));
  });
});

describe('everything set', () => {
  test('each variable reaches its place, without the space around it', () => {
    const config = configOf({
      ...HOSTED,
      ...{ HOST: ' 0.0.0.0 ', PORT: '0', LOG_LEVEL: 'trace', SUPABASE_JWKS: JWKS },
      CORS_ORIGINS: 'https://app.example.com, http://localhost:5173',
      ...{ VAPI_PRIVATE_KEY: ' key-of-vapi\n', VAPI_BASE_URL: 'https://api.eu.vapi.ai/' },
      ...{ VAPI_TIMEOUT_MS: '1000', SAVE_LEASE_MS: '4000', SAVE_DEADLINE_MS: '8000', SAVE_ANSWER_MS: '3000' },
      ...{ VAPI_LATE_MS: '0', RECOVERY_INTERVAL_MS: '50', RECONCILE_INTERVAL_MS: '0' },
    });
    expect(config).toMatchObject({
      ...{ host: '0.0.0.0', port: 0, logLevel: 'trace', reconcileIntervalMs: 0, recoveryIntervalMs: 50 },
      corsOrigins: ['https://app.example.com', 'http://localhost:5173'],
      supabase: {
        ...{ url: 'https://project.supabase.co', publishableKey: 'sb_publishable_abc', jwtSecret: null },
        jwks: JSON.parse(JWKS) as object,
      },
      vapi: { baseUrl: 'https://api.eu.vapi.ai' },
      settings: {
        ...{ requestTimeoutMs: 1_000, leaseMs: 4_000, deadlineMs: 8_000, answerMs: 3_000 },
        ...{ lateMs: 0 },
      },
    });
    expect(config.vapi.key?.reveal()).toBe('key-of-vapi');
    expect(config.supabase?.secretKey.reveal()).toBe('sb_secret_abc');
  });

  test("the project's keys: its own endpoint, another one, a list, or the legacy secret", () => {
    const { supabase } = configOf(HOSTED);
    expect(String(supabase?.jwks)).toBe('https://project.supabase.co/auth/v1/.well-known/jwks.json');
    const elsewhere = configOf({ ...HOSTED, SUPABASE_JWKS_URL: 'https://keys.example/jwks.json' });
    expect(String(elsewhere.supabase?.jwks)).toBe('https://keys.example/jwks.json');
    expect(configOf({ ...HOSTED, SUPABASE_JWKS: JWKS }).supabase?.jwks).toEqual(JSON.parse(JWKS));
    const legacy = configOf({ ...HOSTED, SUPABASE_JWT_SECRET: SHARED }).supabase;
    expect([legacy?.jwks, legacy?.jwtSecret?.reveal()]).toEqual([null, SHARED]);
  });

  test('an address loses the slash at its end: the issuer of tokens has none', () => {
    expect(configOf({ ...HOSTED, SUPABASE_URL: 'https://project.supabase.co//' }).supabase?.url).toBe(
      'https://project.supabase.co',
    );
  });

  test('the webhook has the address, the credential, and both secrets while one is rotated', () => {
    const { webhook } = configOf({
      ...HOSTED,
      ...WEBHOOK,
      PUBLIC_URL: 'https://lockstep.example.com/voice/',
    });
    expect(webhook).toMatchObject({
      ...{ publicUrl: 'https://lockstep.example.com/voice', credentialId: CREDENTIAL },
      ...{ signatureHeader: 'x-signature', timestampHeader: 'x-timestamp' },
    });
    expect(webhook?.secrets.map((secret) => secret.reveal())).toEqual(['webhook-secret-now']);
    const rotated = configOf({
      ...{ ...HOSTED, ...WEBHOOK, VAPI_WEBHOOK_SECRET_PREVIOUS: 'webhook-secret-then' },
      ...{ VAPI_WEBHOOK_SIGNATURE_HEADER: 'X-My-Signature', VAPI_WEBHOOK_TIMESTAMP_HEADER: 'X-My-Time' },
    }).webhook;
    expect(rotated?.secrets.map((secret) => secret.reveal())).toEqual([
      'webhook-secret-now',
      'webhook-secret-then',
    ]);
    expect(rotated).toMatchObject({ signatureHeader: 'x-my-signature', timestampHeader: 'x-my-time' });
  });

  test('a hosted project without a Vapi key starts: reads work, saves are refused', () => {
    expect(configOf(HOSTED).vapi.key).toBeNull();
  });

  test('no secret shows in the configuration', () => {
    const config = configOf({
      ...{ ...HOSTED, ...WEBHOOK, SUPABASE_JWT_SECRET: SHARED, VAPI_PRIVATE_KEY: 'key-of-vapi' },
      VAPI_WEBHOOK_SECRET_PREVIOUS: 'webhook-secret-then',
    });
    const shown = `${inspect(config, { depth: null, showHidden: true })}${JSON.stringify(config)}`;
    const secrets = [
      'sb_secret_abc',
      SHARED,
      'key-of-vapi',
      ...['webhook-secret-now', 'webhook-secret-then'],
    ];
    for (const secret of secrets) expect(shown).not.toContain(secret);
  });
});

describe('wrong values', () => {
  const wrong: [Name, string[]][] = [
    ['PORT', ['-1', '65536', 'http', '4000.5', '0x10', '1e3', '４０００']],
    ['VAPI_TIMEOUT_MS', ['99', '86400001', '10s', '-1', '']],
    ['SAVE_LEASE_MS', ['99', '86400001', 'long']],
    ['SAVE_DEADLINE_MS', ['99', '86400001', '2 minutes']],
    ['SAVE_ANSWER_MS', ['99', '86400001', 'soon']],
    ['VAPI_LATE_MS', ['-1', '86400001', 'never']],
    ['RECOVERY_INTERVAL_MS', ['49', '86400001', 'often']],
    ['RECONCILE_INTERVAL_MS', ['-1', '86400001', 'off']],
    ['SAVE_RETENTION_DAYS', ['2', '36501', '90d']],
    [
      'SUPABASE_URL',
      ['project.supabase.co', 'http://project.supabase.co', 'ftp://x', 'https://', 'http://10.0.0.1'],
    ],
    [
      'SUPABASE_JWKS_URL',
      [
        'http://keys.example/jwks.json',
        'file:///etc/jwks.json',
        '/jwks.json',
        'https://me:word@keys.example',
      ],
    ],
    [
      'VAPI_BASE_URL',
      ['api.vapi.ai', 'http://api.vapi.ai', 'http://127.evil.example', 'http://localhost.evil.example'],
    ],
    [
      'SUPABASE_JWKS',
      [
        ...['{', '[]', '{"keys":[]}', '{"keys":[{}]}', 'null', '"keys"'],
        // Secrets: of a legacy project, and the private half of a pair.
        ...[
          '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}',
          '{"keys":[{"kty":"EC","crv":"P-256","d":"c2VjcmV0"}]}',
        ],
      ],
    ],
    ['SUPABASE_JWT_SECRET', ['short']],
    // Shorter than eight: the log could not lose it.
    ['VAPI_PRIVATE_KEY', ['two words', 'läuft-läuft', 'line\nbreak', '1234567', `${'x'.repeat(513)}`]],
    ['VAPI_PRIVATE_KEY_NEXT', ['1234567']],
    [
      'CORS_ORIGINS',
      ['*', 'null', 'app.example.com', 'https://app.example.com/', 'https://a.example,,https://b.example'],
    ],
    ['LOG_LEVEL', ['INFO', 'verbose', '3']],
    [
      'PUBLIC_URL',
      [
        ...['lockstep.example.com', 'http://lockstep.example.com', 'https://me:word@lockstep.example.com'],
        ...['https://lockstep.example.com/?x=1', 'https://lockstep.example.com/#x'],
      ],
    ],
    ['VAPI_WEBHOOK_SECRET', ['fifteen-letters', 'a secret with spaces', 'läuft-läuft-läuft-läuft']],
    ['VAPI_WEBHOOK_SECRET_PREVIOUS', ['fifteen-letters']],
    ['VAPI_WEBHOOK_CREDENTIAL_ID', ['my-credential', '3f7d1b9a']],
    ['VAPI_WEBHOOK_SIGNATURE_HEADER', ['x signature', 'x-signature:', 'x\nsignature']],
    ['VAPI_WEBHOOK_TIMESTAMP_HEADER', ['x timestamp']],
  ];

  test.each(
    wrong.flatMap(([name, values]) => values.filter((v) => v !== '').map((v): [Name, string] => [name, v])),
  )('%s %j', (name, value) => {
    const found = problemsOf({ ...HOSTED, ...WEBHOOK, [name]: value });
    expect(new Set(found.map(({ variable }) => variable))).toEqual(new Set([name]));
    for (const { problem } of found) expect(problem).toMatch(/^(must|names|is|means) .+/);
  });

  test('a service key that the log could not lose is refused as well', () => {
    expect(problemsOf({ ...HOSTED, SUPABASE_SECRET_KEY: 'sb_secr' })).toEqual([
      { variable: 'SUPABASE_SECRET_KEY', problem: 'must be at least 8 characters' },
    ]);
  });

  test.each(['http://127.0.0.1:54321', 'http://localhost:54321', 'http://[::1]:54321', 'https://x.example'])(
    'an address on this machine, or over TLS: %s',
    (url) => {
      expect(
        problemsOf({ ...HOSTED, SUPABASE_URL: url, VAPI_BASE_URL: url, SUPABASE_JWKS_URL: url }),
      ).toEqual([]);
    },
  );

  test('all problems at once: by name, and nothing of a value anywhere', () => {
    const environment = Object.fromEntries(wrong.map(([name]) => [name, `canary ${name.toLowerCase()} \n`]));
    const { SUPABASE_JWKS: _one, SUPABASE_JWKS_URL: _other, ...rest } = environment;
    const found = problemsOf({ ...rest, SUPABASE_JWT_SECRET: 'canary' });
    const names = wrong.map(([name]) => name).filter((name) => !/JWKS/.test(name));
    expect([...new Set(found.map(({ variable }) => variable))].sort()).toEqual(
      [...names, 'SUPABASE_PUBLISHABLE_KEY', 'SUPABASE_SECRET_KEY'].sort(),
    );
    expect(JSON.stringify(found)).not.toContain('canary');
  });
});

const jwt = (role: string) => `e30.${Buffer.from(JSON.stringify({ role })).toString('base64url')}.signature`;

describe('what is easily mistaken', () => {
  test.each([
    ['SUPABASE_SECRT_KEY', 'SUPABASE_SECRET_KEY'],
    ['SUPABASE_SERVICE_ROLE_KEY', 'SUPABASE_SECRET_KEY'],
    ['SUPABASE_ANON_KEY', 'SUPABASE_PUBLISHABLE_KEY'],
    ['VAPI_KEY', 'VAPI_PRIVATE_KEY'],
    ['SAVE_LEASE', 'SAVE_LEASE_MS'],
    ['GRAPHQL_MAX_DEPHT', 'GRAPHQL_MAX_DEPTH'],
  ])('the unknown name %s is refused, and %s is proposed', (name, known) => {
    const loaded = loadEnv({ ...HOSTED, [name]: 'canary' });
    expect(loaded).toEqual({
      problems: [{ variable: name, problem: expect.stringMatching(new RegExp(`did you mean ${known}\\?$`)) }],
    });
  });

  test.each<[string, Environment, Name]>([
    [
      'a publishable key as the secret one',
      { SUPABASE_SECRET_KEY: 'sb_publishable_abc' },
      'SUPABASE_SECRET_KEY',
    ],
    ['a JWT of another role as the secret key', { SUPABASE_SECRET_KEY: jwt('anon') }, 'SUPABASE_SECRET_KEY'],
    [
      'a secret key as the publishable one',
      { SUPABASE_PUBLISHABLE_KEY: 'sb_secret_abc' },
      'SUPABASE_PUBLISHABLE_KEY',
    ],
    [
      'a JWT of the service role as the publishable key',
      { SUPABASE_PUBLISHABLE_KEY: jwt('service_role') },
      'SUPABASE_PUBLISHABLE_KEY',
    ],
    ['the address of the REST API', { SUPABASE_URL: 'https://project.supabase.co/rest/v1/' }, 'SUPABASE_URL'],
  ])('%s is refused', (_what, environment, variable) => {
    expect(named({ ...HOSTED, ...environment })).toEqual([variable]);
  });

  test('legacy keys of the right roles are accepted', () => {
    const keys = { SUPABASE_SECRET_KEY: jwt('service_role'), SUPABASE_PUBLISHABLE_KEY: jwt('anon') };
    expect(named({ ...HOSTED, ...keys })).toEqual([]);
  });

  test.each([
    ['local', {}, true, true],
    ['local, switched off', { GRAPHQL_INTROSPECTION: 'off', GRAPHIQL: 'off' }, false, false],
    ['hosted', HOSTED, false, false],
    ['hosted, switched on', { ...HOSTED, GRAPHQL_INTROSPECTION: 'on', GRAPHIQL: 'on' }, true, true],
    ['hosted, introspection alone', { ...HOSTED, GRAPHQL_INTROSPECTION: 'on' }, true, false],
  ])('decides on introspection and GraphiQL: %s', (_where, environment, introspection, graphiql) => {
    expect(loadEnv(environment)).toMatchObject({ config: { edge: { introspection, graphiql } } });
  });

  test('production without SUPABASE_URL is refused, also where the local one is asked for', () => {
    for (const more of [{}, { SUPABASE_URL: 'local' }])
      expect(loadEnv({ NODE_ENV: 'production', ...more })).toMatchObject({
        problems: [{ variable: 'SUPABASE_URL' }],
      });
    expect(loadEnv({ NODE_ENV: 'production', ...HOSTED })).toHaveProperty('config');
  });

  test('a .env file without SUPABASE_URL does not start the embedded Supabase unless it says local', () => {
    expect(loadEnv({}, { envFile: true })).toMatchObject({ problems: [{ variable: 'SUPABASE_URL' }] });
    expect(loadEnv({ SUPABASE_URL: 'local' }, { envFile: true })).toEqual(loadEnv({}));
  });
});

describe('what goes together', () => {
  test('a Supabase project needs both of its keys', () => {
    expect(problemsOf({ SUPABASE_URL: 'https://project.supabase.co' })).toEqual([
      { variable: 'SUPABASE_PUBLISHABLE_KEY', problem: 'is needed with SUPABASE_URL' },
      { variable: 'SUPABASE_SECRET_KEY', problem: 'is needed with SUPABASE_URL' },
    ]);
  });

  test.each<[Name, string]>([
    ['SUPABASE_PUBLISHABLE_KEY', 'k'],
    ['SUPABASE_SECRET_KEY', 'sb_secret_abc'],
    ['SUPABASE_JWKS_URL', 'https://keys.example'],
    ['SUPABASE_JWKS', JWKS],
    ['SUPABASE_JWT_SECRET', SHARED],
  ])('%s means nothing without a project', (name, value) => {
    expect(problemsOf({ [name]: value })).toEqual([
      { variable: name, problem: 'means nothing without SUPABASE_URL' },
    ]);
  });

  test('an address for events needs the secret and the credential', () => {
    expect(problemsOf({ ...HOSTED, PUBLIC_URL: 'https://lockstep.example.com' })).toEqual(
      ['VAPI_WEBHOOK_SECRET', 'VAPI_WEBHOOK_CREDENTIAL_ID'].map((variable) => ({
        variable,
        problem: 'is needed with PUBLIC_URL: without it, anybody could send events to this server',
      })),
    );
  });

  test.each<[Name, string]>([
    ['VAPI_WEBHOOK_SECRET', 'webhook-secret-now'],
    ['VAPI_WEBHOOK_SECRET_PREVIOUS', 'webhook-secret-then'],
    ['VAPI_WEBHOOK_CREDENTIAL_ID', CREDENTIAL],
  ])('%s means nothing without an address for events', (name, value) => {
    expect(problemsOf({ ...HOSTED, [name]: value })).toEqual([
      { variable: name, problem: 'means nothing without PUBLIC_URL' },
    ]);
  });

  test('the signature and its time have different headers', () => {
    expect(problemsOf({ ...HOSTED, ...WEBHOOK, VAPI_WEBHOOK_TIMESTAMP_HEADER: 'X-Signature' })).toEqual([
      {
        variable: 'VAPI_WEBHOOK_TIMESTAMP_HEADER',
        problem: 'must differ from VAPI_WEBHOOK_SIGNATURE_HEADER',
      },
    ]);
  });

  test('one source of the keys that sign tokens; every other one is told', () => {
    const environment = {
      ...HOSTED,
      ...{ SUPABASE_JWKS_URL: 'https://keys.example', SUPABASE_JWKS: JWKS, SUPABASE_JWT_SECRET: SHARED },
    };
    expect(problemsOf(environment)).toEqual([
      { variable: 'SUPABASE_JWKS', problem: 'is set beside SUPABASE_JWKS_URL: set one of them' },
      { variable: 'SUPABASE_JWT_SECRET', problem: 'is set beside SUPABASE_JWKS_URL: set one of them' },
    ]);
  });
});

describe('impossible times are refused with a sentence that says why', () => {
  test('a lease that cannot hold one request', () => {
    expect(problemsOf({ SAVE_LEASE_MS: '11000', VAPI_TIMEOUT_MS: '10000' })).toEqual([
      {
        variable: 'SAVE_LEASE_MS',
        problem:
          'must be more than VAPI_TIMEOUT_MS and a margin of 1000 together: one request to Vapi must fit inside a lease, or no save could ever send anything',
      },
    ]);
    expect(problemsOf({ SAVE_LEASE_MS: '11001', VAPI_TIMEOUT_MS: '10000' })).toEqual([]);
  });

  test('a timeout that is too long for the default lease is told as well', () => {
    expect(named({ VAPI_TIMEOUT_MS: '29000' })).toEqual(['SAVE_LEASE_MS']);
  });

  test('a deadline within the lease', () => {
    expect(problemsOf({ SAVE_DEADLINE_MS: '17000' })).toEqual([
      {
        variable: 'SAVE_DEADLINE_MS',
        problem:
          'must be more than SAVE_LEASE_MS: recovery would turn every abandoned save back without trying to finish it',
      },
    ]);
  });

  test('both, and beside every other problem; the values are not in the sentences', () => {
    const found = problemsOf({
      ...{ SAVE_LEASE_MS: '4567', SAVE_DEADLINE_MS: '3456', VAPI_TIMEOUT_MS: '5678' },
      ...{ PORT: 'x', VAPI_PRIVATE_KEY_FILE: join(folder, 'nowhere') },
    });
    expect(found.map(({ variable }) => variable).sort()).toEqual(
      ['PORT', 'SAVE_DEADLINE_MS', 'SAVE_LEASE_MS', 'VAPI_PRIVATE_KEY_FILE'].sort(),
    );
    expect(JSON.stringify(found)).not.toMatch(/4567|3456|5678|6678|nowhere/);
  });

  test('where a time itself cannot be read, nothing is said of what follows from it', () => {
    expect(named({ SAVE_LEASE_MS: 'long', VAPI_TIMEOUT_MS: '86400000' })).toEqual(['SAVE_LEASE_MS']);
  });
});

describe('the file of the master key', () => {
  test.each(['file-key', 'file-key\n', '\r\nfile-key \n\n'])(
    'is read, without the space around it: %j',
    async (content) => {
      const config = configOf({ VAPI_PRIVATE_KEY_FILE: await file('key', content) });
      expect(config.vapi.key?.reveal()).toBe('file-key');
    },
  );

  test('is missing, a folder, empty, or holds something else: told by name, never by path or content', async () => {
    await mkdir(join(folder, 'folder'), { recursive: true });
    const cases: [string, string][] = [
      [join(folder, 'canary-missing'), 'names a file that cannot be read (ENOENT)'],
      [join(folder, 'folder'), 'names a file that cannot be read (EISDIR)'],
      [await file('empty', '\n'), 'names a file whose content must be 8 to 512 visible ASCII'],
      [
        await file('two', 'canary one\ncanary two\n'),
        'names a file whose content must be 8 to 512 visible ASCII',
      ],
    ];
    for (const [path, problem] of cases) {
      const found = problemsOf({ VAPI_PRIVATE_KEY_FILE: path });
      expect(found).toEqual([
        { variable: 'VAPI_PRIVATE_KEY_FILE', problem: expect.stringContaining(problem) as string },
      ]);
      expect(JSON.stringify(found)).not.toMatch(/canary|lockstep-env/);
    }
  });

  test.skipIf(process.getuid?.() === 0)(
    'may not be read (skipped for root, who may read everything)',
    async () => {
      const path = await file('forbidden', 'file-key');
      await chmod(path, 0o000);
      expect(problemsOf({ VAPI_PRIVATE_KEY_FILE: path })).toEqual([
        { variable: 'VAPI_PRIVATE_KEY_FILE', problem: 'names a file that cannot be read (EACCES)' },
      ]);
    },
  );

  test('beside the key itself', async () => {
    const path = await file('key', 'file-key');
    expect(problemsOf({ VAPI_PRIVATE_KEY: 'the-key', VAPI_PRIVATE_KEY_FILE: path })).toEqual([
      { variable: 'VAPI_PRIVATE_KEY_FILE', problem: 'is set beside VAPI_PRIVATE_KEY: set one of them' },
    ]);
  });
});

describe('the file of persisted documents', () => {
  test('is an object of documents by id; without one, any document is answered', async () => {
    const path = await file('documents.json', '{"a": "{ organization { id } }", "b": "{ agents { id } }"}');
    expect(configOf({ GRAPHQL_DOCUMENTS_FILE: path }).edge.persistedDocuments).toEqual(
      new Map([
        ['a', '{ organization { id } }'],
        ['b', '{ agents { id } }'],
      ]),
    );
    expect(configOf({}).edge.persistedDocuments).toBeNull();
  });

  test.each(['', 'query { a }', '["{ a }"]', '{"a": {"query": "{ a }"}}', '{"": "{ a }"}', '{}', 'null'])(
    'holds something else: %j',
    async (content) => {
      const path = await file('wrong-documents.json', content);
      const [problem, ...others] = problemsOf({ GRAPHQL_DOCUMENTS_FILE: path });
      expect(others).toEqual([]);
      expect(problem?.variable).toBe('GRAPHQL_DOCUMENTS_FILE');
      expect(problem?.problem).toMatch(/must name a file that holds a JSON object of documents by id/);
    },
  );

  test('is missing, or a folder', () => {
    for (const [path, code] of [
      [join(folder, 'none.json'), 'ENOENT'],
      [folder, 'EISDIR'],
    ] as const) {
      expect(problemsOf({ GRAPHQL_DOCUMENTS_FILE: path })).toEqual([
        { variable: 'GRAPHQL_DOCUMENTS_FILE', problem: `names a file that cannot be read (${code})` },
      ]);
    }
  });
});

describe('the process', () => {
  /** `node src/main.ts` with this environment and nothing else. */
  async function start(environment: Record<string, string>) {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
      cwd: folder,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [out, err, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'exit'),
    ]);
    return { out, err, code: code as number };
  }

  test('ends with EX_CONFIG (78) and every problem on stderr, by name and never by value', async () => {
    const { out, err, code } = await start({
      ...{ PORT: 'canary-port', SUPABASE_URL: 'canary-url', SUPABASE_SECRET_KEY: 'canary-secret' },
      ...{ VAPI_PRIVATE_KEY: 'canary key with spaces', SAVE_LEASE_MS: '1234' },
    });
    expect([code, out]).toEqual([78, '']);
    const lines = err.trim().split('\n');
    expect(lines[0]).toBe('Lockstep cannot start; the environment is wrong:');
    expect(
      lines
        .slice(1)
        .map((line) => line.trim().split(' ')[0])
        .sort(),
    ).toEqual([...['PORT', 'SAVE_LEASE_MS', 'SUPABASE_PUBLISHABLE_KEY', 'SUPABASE_URL', 'VAPI_PRIVATE_KEY']]);
    expect(err).toContain('one request to Vapi must fit inside a lease');
    expect(err).not.toMatch(/canary|1234|at .*\.ts/);
  });

  test('ends with 78 and one sentence without a stack where the port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const port = String((other.address() as AddressInfo).port);
    try {
      const { err, code } = await start({
        ...HOSTED,
        ...{
          SUPABASE_URL: `http://127.0.0.1:${await closedPort()}`,
          SUPABASE_JWT_SECRET: SHARED,
          PORT: port,
        },
      });
      expect(code).toBe(78);
      expect(err).toBe(
        `Lockstep cannot start: PORT ${port} on 127.0.0.1 is already in use: stop what listens there, or set another PORT.\n`,
      );
    } finally {
      other.close();
    }
  });

  test('ends with 78 and one sentence that names variable and host where the key is refused', async () => {
    const project = createServer((request, response) => {
      request.resume();
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"message":"Invalid API key"}');
    }).listen(0, '127.0.0.1');
    await once(project, 'listening');
    const host = `127.0.0.1:${(project.address() as AddressInfo).port}`;
    try {
      const { err, code } = await start({
        ...HOSTED,
        SUPABASE_URL: `http://${host}`,
        SUPABASE_JWT_SECRET: SHARED,
      });
      expect(code).toBe(78);
      expect(err).toMatch(
        new RegExp(`^Lockstep cannot start: SUPABASE_SECRET_KEY is refused by ${host} .*\\.\n$`),
      );
    } finally {
      project.closeAllConnections();
      project.close();
    }
  });
});

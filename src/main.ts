import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createLogger } from './adapters/system/logger.ts';
import { resolveMasterKey } from './adapters/vapi/master-key.ts';
import { createApp } from './app.ts';
import type { Secret } from './domain/secret.ts';
import {
  type Config,
  DATABASE_TIMEOUT_MS,
  existing,
  loadEnv,
  SECRET_VARIABLES,
  VAPI_BASE_URL,
} from './env.ts';
import type { Embedded } from './local/embedded.ts';

/** The process: environment in, server up, signals handled. */

/** sysexits(3): something in the configuration is wrong. */
const EX_CONFIG = 78;
/** How long a shutdown waits for what is running. What is not done then is recovery's. */
const DRAIN_MS = 20_000;

const loaded = loadEnv(process.env);
for (const name of SECRET_VARIABLES) delete process.env[name];
if ('problems' in loaded) {
  console.error('Lockstep cannot start; the environment is wrong:');
  for (const { variable, problem } of loaded.problems) console.error(`  ${variable} ${problem}`);
  process.exit(EX_CONFIG);
}
await main(loaded.config).catch((error: unknown) => {
  console.error(`Lockstep cannot start: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
});

async function main(config: Config): Promise<void> {
  const embedded = config.supabase === null ? await startEmbedded(config) : null;
  const supabase = config.supabase ?? embedded?.supabase;
  if (supabase === undefined) throw new Error('there is no database');
  const { nextKey } = config.vapi;
  const vapi = embedded?.vapi ?? { baseUrl: config.vapi.baseUrl ?? VAPI_BASE_URL, key: config.vapi.key };

  const secrets = [vapi.key, nextKey, supabase.secretKey, supabase.jwtSecret].filter(
    (secret): secret is Secret => secret !== null,
  );
  const log = createLogger(config.logLevel, secrets);
  const app = createApp({
    supabase,
    vapi: { ...vapi, nextKey },
    settings: config.settings,
    pace: config.pace,
    breaker: config.breaker,
    edge: config.edge,
    timeouts: {
      keepAlive: config.keepAliveMs,
      // Node wants the time for headers above it, and the one for the whole request above that.
      headers: config.keepAliveMs + 5_000,
      request: config.keepAliveMs + 15_000,
    },
    recoveryIntervalMs: config.recoveryIntervalMs,
    reconcileIntervalMs: config.reconcileIntervalMs,
    corsOrigins: config.corsOrigins,
    log,
    exampleHeaders: embedded !== null && isLoopback(config.host) ? embedded.exampleHeaders : undefined,
  });

  await app.checkKey();
  app.server.listen(config.port, config.host);
  await once(app.server, 'listening');
  app.start();
  const { port } = app.server.address() as AddressInfo;
  const url = `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`;
  log.info(
    { url, vapi: vapi.baseUrl, vapiKey: vapi.key?.fingerprint() ?? 'none', embedded: embedded !== null },
    'listening',
  );
  if (vapi.key === null) log.warn({}, 'no VAPI_PRIVATE_KEY: reads work, saves are refused');
  if (embedded !== null) console.log(welcome(url, embedded));

  const { files } = config.vapi;
  if (files.key !== undefined || files.nextKey !== undefined) {
    process.on('SIGHUP', () => {
      const file = existing(files.nextKey) ?? files.key;
      const read = resolveMasterKey({ value: undefined, file });
      if ('problem' in read || read.key === null) {
        log.error({ file, problem: 'problem' in read ? read.problem : 'is gone' }, 'no key could be read');
        return;
      }
      const { key } = read;
      // Before it is used: the log cuts out what is on this list.
      if (!secrets.some((known) => known.equals(key))) secrets.push(key);
      void app
        .rotateKey(key)
        .then((rotation) => log.info({ file, vapiKey: key.fingerprint(), rotation }, 'a key was read'))
        .catch((error: unknown) =>
          log.error({ file, err: error }, 'a key was read, and could not be compared'),
        );
    });
  }

  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      // The second one means now.
      if (stopping) process.exit(130);
      stopping = true;
      log.info({ signal }, 'stopping');
      void app
        .stop(DRAIN_MS)
        .then(() => embedded?.stop())
        .then(() => process.exit(0));
    });
  }
}

async function startEmbedded(config: Config): Promise<Embedded> {
  // Loaded only here: an installation without development dependencies serves a hosted project.
  const { startEmbedded: start } = await import('./local/embedded.ts').catch(() => {
    throw new Error(
      'SUPABASE_URL is not set, and the local Supabase is not installed (it is a development dependency).',
    );
  });
  console.log('Starting a local Supabase and a local Vapi stand-in (the first time takes a few seconds) ...');
  return start({
    dataDir: '.local',
    databaseTimeoutMs: DATABASE_TIMEOUT_MS,
    standIn: config.vapi.baseUrl === null ? { key: config.vapi.key } : null,
    log: (line) => {
      if (config.logLevel === 'debug' || config.logLevel === 'trace') console.error(line);
    },
  });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function welcome(url: string, { supabase, vapi }: Embedded): string {
  return `
Lockstep is ready.

  GraphiQL   ${url}/graphql   (opens signed in, with an example to run)
  Supabase   ${supabase.url}   publishable key ${supabase.publishableKey}
  Vapi       ${vapi === null ? 'as VAPI_BASE_URL says' : `${vapi.baseUrl}   (a stand-in; nothing leaves this machine)`}
  Sign in    owner@north.example or owner@south.example, password lockstep-demo

Paste this to save both agents of North Dental and see them answered:

  TOKEN=$(curl -s '${supabase.url}/auth/v1/token?grant_type=password' -H 'apikey: ${supabase.publishableKey}' \\
    -H 'content-type: application/json' -d '{"email":"owner@north.example","password":"lockstep-demo"}' \\
    | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
  curl -s '${url}/graphql' -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \\
    -d '{"query":"mutation { updateAgents(input: { inbound: { systemPrompt: \\"You answer calls.\\" }, outbound: { systemPrompt: \\"You place calls.\\" } }) { __typename ... on UpdateAgentsSuccess { agents { role revision vapiAssistantId } } ... on Error { message } } }"}'

Stop with Ctrl+C; the data stays in .local/.
`;
}

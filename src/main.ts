import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DestinationStream } from 'pino';
import type { SupabaseConfig } from './adapters/supabase/clients.ts';
import { preflight } from './adapters/supabase/preflight.ts';
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
import type { Log } from './ports/system.ts';
import type { WebhookSettings } from './server/webhook.ts';

/** The process: environment in, server up, signals handled. */

/** Somebody has to correct a variable; the message names it. */
class ConfigurationError extends Error {}

/** sysexits(3): something in the configuration is wrong. */
const EX_CONFIG = 78;
/** How long a shutdown waits for what is running. What is not done then is recovery's. */
const DRAIN_MS = 20_000;
const PREFLIGHT_RETRY_MS = 5_000;

/** For what happens before there is a log. */
let report = (line: string): void => console.error(line);

// `npm start` has Node read .env, whose values give way to those of the real environment.
const loaded = loadEnv(process.env, {
  envFile: process.execArgv.includes('--env-file-if-exists=.env') && existsSync('.env'),
});
for (const name of SECRET_VARIABLES) delete process.env[name];
if ('problems' in loaded) {
  console.error('Lockstep cannot start; the environment is wrong:');
  for (const { variable, problem } of loaded.problems) console.error(`  ${variable} ${problem}`);
  process.exit(EX_CONFIG);
}
/** What a signal does: while starting, the process ends at once (the embedded Postgres is stopped on the way out). */
let onSignal = (signal: NodeJS.Signals): void => process.exit(signal === 'SIGINT' ? 130 : 143);
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => onSignal(signal));
await main(loaded.config).catch((error: unknown) => {
  console.error(`Lockstep cannot start: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(error instanceof ConfigurationError ? EX_CONFIG : 1);
});

async function main(config: Config): Promise<void> {
  const embedded = config.supabase === null ? await startEmbedded(config) : null;
  const supabase = config.supabase ?? embedded?.supabase;
  if (supabase === undefined) throw new Error('there is no database');
  const { nextKey } = config.vapi;
  const vapi = embedded?.vapi ?? { baseUrl: config.vapi.baseUrl ?? VAPI_BASE_URL, key: config.vapi.key };
  const webhook = config.webhook ?? (embedded?.vapi ? localWebhook(embedded.vapi.credential) : null);

  const secrets = [
    ...[vapi.key, nextKey, supabase.secretKey, supabase.jwtSecret],
    ...(webhook?.secrets ?? []),
  ].filter((secret): secret is Secret => secret !== null);
  const log = createLogger(config.logLevel, secrets, await destination());
  report = (line) => log.error({}, line);
  const checked = config.supabase === null ? null : await preflight(config.supabase);
  if (checked?.state === 'misconfigured')
    throw new ConfigurationError(`${checked.variable} ${checked.problem}.`);
  const app = createApp({
    supabase,
    vapi: { baseUrl: vapi.baseUrl, key: vapi.key, nextKey },
    webhook,
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
    calls: config.calls,
    saveRetentionDays: config.saveRetentionDays,
    corsOrigins: config.corsOrigins,
    log,
    demo: embedded !== null && isLoopback(config.host) ? embedded.demo : undefined,
  });

  await app.checkKey();
  app.server.listen(config.port, config.host);
  await once(app.server, 'listening').catch((error: NodeJS.ErrnoException) => {
    throw listenError(error, config);
  });
  app.start();
  const { port } = app.server.address() as AddressInfo;
  const url = `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`;
  log.info(
    { url, vapi: vapi.baseUrl, vapiKey: vapi.key?.fingerprint() ?? 'none', embedded: embedded !== null },
    'listening',
  );
  if (vapi.key === null) log.warn({}, 'no VAPI_PRIVATE_KEY: reads work, saves are refused');
  if (checked?.state === 'unreachable' && config.supabase !== null) {
    log.warn({ problem: checked.problem }, 'the database cannot be reached: trying again until it can');
    void untilReachable(config.supabase, log);
  }
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
  onSignal = (signal) => {
    // The second one means now.
    if (stopping) process.exit(130);
    stopping = true;
    log.info({ signal }, 'stopping');
    void app
      .stop(DRAIN_MS)
      .then(() => embedded?.stop())
      .then(() => process.exit(0));
  };
}

/** For a person at a terminal, readable lines; otherwise undefined, which means JSON. */
async function destination(): Promise<DestinationStream | undefined> {
  // Not installed without development dependencies.
  const terminal = await import('./local/terminal-log.ts').catch(() => undefined);
  return terminal?.isForTerminal(process.stdout, process.env) ? terminal.terminalLog() : undefined;
}

/** Ends the process where what answers at last shows that the configuration is wrong. */
async function untilReachable(supabase: SupabaseConfig, log: Log): Promise<void> {
  for (;;) {
    await sleep(PREFLIGHT_RETRY_MS, undefined, { ref: false });
    const found = await preflight(supabase);
    if (found.state === 'ready') {
      log.info({}, 'the database can be reached');
      return;
    }
    if (found.state === 'misconfigured') {
      log.error({ variable: found.variable }, `${found.variable} ${found.problem}`);
      process.exit(EX_CONFIG);
    }
  }
}

function listenError(error: NodeJS.ErrnoException, { host, port }: Config): Error {
  switch (error.code) {
    case 'EADDRINUSE':
      return new ConfigurationError(
        `PORT ${port} on ${host} is already in use: stop what listens there, or set another PORT.`,
      );
    case 'EACCES':
      return new ConfigurationError(`PORT ${port} may not be opened by this user: set one above 1023.`);
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new ConfigurationError(
        `HOST ${host} is no address of this machine: set 127.0.0.1, or 0.0.0.0 for all of them.`,
      );
    default:
      return error;
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
    onDatabaseEnd: (reason, restarted) => {
      report(
        `${reason}. ${restarted ? 'It was started again.' : 'It cannot be started again: Lockstep ends.'}`,
      );
      if (!restarted) process.exit(1);
    },
    log: (line) => {
      if (config.logLevel === 'debug' || config.logLevel === 'trace') console.error(line);
    },
  });
}

/** The stand-in is on this machine, so that it reaches the address that the server listens on. */
function localWebhook({ id, secret }: { id: string; secret: Secret }): WebhookSettings {
  return {
    ...{ publicUrl: null, credentialId: id, secrets: [secret] },
    ...{ signatureHeader: 'x-signature', timestampHeader: 'x-timestamp' },
  };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function welcome(url: string, { supabase, vapi }: Embedded): string {
  return `
Lockstep is ready.

  GraphiQL   ${url}/graphql   (signed in as either demo user, with examples to run)
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

import type { Server } from 'node:http';
import { createTokenVerifier } from './adapters/supabase/auth.ts';
import {
  createCallerClient,
  createServiceClient,
  type ServiceClient,
  type SupabaseConfig,
} from './adapters/supabase/clients.ts';
import { createRpcJournal } from './adapters/supabase/rpc-journal.ts';
import { createRpcSweepStore } from './adapters/supabase/rpc-sweep-store.ts';
import { createTenantReads } from './adapters/supabase/tenant-reads.ts';
import { systemClock, systemIds, systemRandom } from './adapters/system/system.ts';
import { createVoiceProvider } from './adapters/vapi/got-voice-provider.ts';
import { type AppContext, createContextFactory } from './context.ts';
import type { Secret } from './domain/secret.ts';
import type { Log } from './ports/system.ts';
import { createGraphql } from './server/graphql.ts';
import { createHttpServer, MAX_BODY_BYTES } from './server/http.ts';
import { createMetrics } from './server/metrics.ts';
import { type SweepReport, sweep } from './services/reconciliation/sweep.ts';
import { type ExecutorPorts, executeTransactionalAgentUpdate } from './services/saves/execute.ts';
import { type RecoveryRound, recoverAbandonedSaves } from './services/saves/recovery.ts';
import { lateTimeMs, type SaveSettings } from './services/saves/settings.ts';

/** Everything that a server needs, resolved: nothing in here looks at the environment. */
export interface AppConfig {
  supabase: SupabaseConfig;
  vapi: { baseUrl: string; key: Secret | null };
  settings: SaveSettings;
  recoveryIntervalMs: number;
  /** 0: drift is not looked for. */
  reconcileIntervalMs: number;
  corsOrigins: string[];
  log: Log;
  exampleHeaders?: (() => Promise<Record<string, string>>) | undefined;
}

export interface App {
  server: Server;
  /** Starts the background work: recovery and the sweep, now and then on their timers. */
  start(): void;
  /** One round of recovery, now. Null: there is no key to work with. */
  recover(): Promise<RecoveryRound | null>;
  /** One sweep, now. Null: there is no key to work with. */
  sweep(): Promise<SweepReport | null>;
  /** Takes no more work, lets running saves end within `drainMs`, and closes. */
  stop(drainMs: number): Promise<void>;
}

const READINESS_CACHE_MS = 1_000;
/** Saves whose keys and images are forgotten in one go, after a sweep. */
const CLEANUP_BATCH = 500;

/** The composition root: builds the real graph, once. */
export function createApp(config: AppConfig): App {
  const { log, settings, vapi } = config;
  const serviceClient = createServiceClient(config.supabase);
  const journal = createRpcJournal(serviceClient);
  const metrics = createMetrics();
  const running = new Set<Promise<unknown>>();
  const openVoiceProvider = (key: Secret) =>
    createVoiceProvider(key, { baseUrl: vapi.baseUrl, timeoutMs: settings.requestTimeoutMs, log });
  // One for all saves, so that connections are shared.
  const voice = vapi.key === null ? null : openVoiceProvider(vapi.key);

  const executorPorts: ExecutorPorts<ServiceClient> = {
    openJournal: (supabase) => (supabase === serviceClient ? journal : createRpcJournal(supabase)),
    openVoiceProvider: (key) => (voice !== null && key === vapi.key ? voice : openVoiceProvider(key)),
    clock: systemClock,
    ids: systemIds,
    random: systemRandom,
    log,
    meter: metrics.meter,
    settings,
    owner: systemIds.uuid(),
    track: (work) => {
      const tracked = work
        .catch((error: unknown) => log.error({ err: error }, 'a save failed unexpectedly'))
        .finally(() => running.delete(tracked));
      running.add(tracked);
    },
  };

  const createContext = createContextFactory<ServiceClient>({
    verifier: createTokenVerifier(config.supabase),
    openReads: (token) => createTenantReads(createCallerClient(config.supabase, token)),
    serviceClient,
    vapiApiKey: vapi.key,
    executorPorts,
    ids: systemIds,
    log,
  });

  let draining = false;
  let readiness: { at: number; ready: Promise<boolean> } | undefined;
  const ready = () => {
    if (draining) return Promise.resolve(false);
    if (readiness === undefined || systemClock.monotonic() - readiness.at > READINESS_CACHE_MS) {
      // Asks for nothing, but goes all the way: the REST layer, the service key, the migrations, the database.
      readiness = {
        at: systemClock.monotonic(),
        ready: journal.due(0).then(
          () => true,
          () => false,
        ),
      };
    }
    return readiness.ready;
  };

  const server = createHttpServer({
    graphql: createGraphql({
      createContext: createContext as (request: Request, requestId: string) => Promise<AppContext>,
      corsOrigins: config.corsOrigins,
      log,
      exampleHeaders: config.exampleHeaders,
    }),
    ready,
    metrics: metrics.text,
    newRequestId: systemIds.uuid,
    log,
    maxBodyBytes: MAX_BODY_BYTES,
  });

  const stopping = new AbortController();
  /** Background work: at once, then again and again with this pause, whatever happened. */
  async function forever(name: string, pauseMs: number, work: () => Promise<unknown>): Promise<void> {
    while (!stopping.signal.aborted) {
      await work().catch((error: unknown) =>
        log.warn({ err: error, work: name }, 'background work failed this time'),
      );
      await systemClock.sleep(pauseMs, stopping.signal);
    }
  }
  const sweepStore = createRpcSweepStore(serviceClient);
  const recoverOnce = async () =>
    voice === null ? null : recoverAbandonedSaves(journal, voice, executorPorts);
  const sweepOnce = async () => {
    if (voice === null) return null;
    const report = await sweep({
      store: sweepStore,
      voice,
      clock: systemClock,
      log,
      meter: metrics.meter,
      owner: executorPorts.owner,
      save: (update, kind) =>
        executeTransactionalAgentUpdate(serviceClient, [update], vapi.key, {
          kind,
          alwaysWrite: true,
          ports: executorPorts,
        }),
      // Well past everything that a late request of a closed save could still do.
      orphanAgeMs: 2 * lateTimeMs(settings),
    });
    if (report.stopped === 'NOT_LEADER') return report;
    log.info({ event: 'sweep', ...report }, 'swept');
    await sweepStore.cleanup(CLEANUP_BATCH);
    return report;
  };

  return {
    server,
    start: () => {
      executorPorts.track(forever('recovery', config.recoveryIntervalMs, recoverOnce));
      if (config.reconcileIntervalMs > 0) {
        executorPorts.track(forever('sweep', config.reconcileIntervalMs, sweepOnce));
      }
    },
    recover: recoverOnce,
    sweep: sweepOnce,
    stop: async (drainMs) => {
      draining = true;
      stopping.abort();
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      });
      const drained = Promise.all([closed, ...running]);
      await Promise.race([drained, systemClock.sleep(drainMs)]);
      server.closeAllConnections();
      if (running.size > 0) log.warn({ saves: running.size }, 'leaving saves to recovery');
    },
  };
}

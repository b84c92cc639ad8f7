import type { Server } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { createTokenVerifier } from './adapters/supabase/auth.ts';
import {
  createCallerClient,
  createServiceClient,
  type ServiceClient,
  type SupabaseConfig,
} from './adapters/supabase/clients.ts';
import { createRpcJournal } from './adapters/supabase/rpc-journal.ts';
import { createRpcReplicaRegistry } from './adapters/supabase/rpc-replica-registry.ts';
import { createRpcSweepStore } from './adapters/supabase/rpc-sweep-store.ts';
import { createRpcVapiAccount } from './adapters/supabase/rpc-vapi-account.ts';
import { createTenantReads } from './adapters/supabase/tenant-reads.ts';
import { systemClock, systemIds, systemRandom } from './adapters/system/system.ts';
import { createVoiceProvider } from './adapters/vapi/got-voice-provider.ts';
import {
  type BreakerSettings,
  createCircuit,
  guardVoiceProvider,
} from './adapters/vapi/guarded-voice-provider.ts';
import { KeyRing, type Rotation } from './adapters/vapi/key-ring.ts';
import { type AppContext, bearerToken, createContextFactory } from './context.ts';
import type { Secret } from './domain/secret.ts';
import { DatabaseError } from './ports/agents/save-journal.ts';
import { RefusedTokenError } from './ports/auth.ts';
import type { Log } from './ports/system.ts';
import { SAVE_COST } from './schema/cost.ts';
import { EDGE_DEFAULTS, type EdgeOptions } from './server/edge.ts';
import { createGraphiqlPage, type DemoUser } from './server/graphiql.ts';
import { createGraphql, EXAMPLES } from './server/graphql.ts';
import { createHttpServer, type HttpTimeouts } from './server/http.ts';
import { createMetrics } from './server/metrics.ts';
import { Pacer, type PaceSettings } from './services/admission/pacer.ts';
import { BEAT_MS, DatabaseClock, takeShare } from './services/admission/replicas.ts';
import { takingTurns } from './services/admission/taking-turns.ts';
import { look, type Verdict } from './services/agents/drift/look.ts';
import { type SweepReport, sweep } from './services/agents/drift/sweep.ts';
import { type ExecutorPorts, executeTransactionalAgentUpdate } from './services/agents/execute.ts';
import { recoverAbandonedSaves } from './services/agents/recover.ts';
import { DatabaseWatch } from './services/database-watch.ts';
import { READ_LIMITS, ReadGate } from './services/reads/share-reads.ts';
import type { RecoveryRound } from './services/saga/recovery.ts';
import { lateTimeMs, type SagaSettings } from './services/saga/settings.ts';

/** Everything that a server needs, resolved: nothing in here looks at the environment. */
export interface AppConfig {
  supabase: SupabaseConfig;
  vapi: {
    baseUrl: string;
    key: Secret | null;
    /** The active one, as soon as it is seen to read the same Vapi organization. */
    nextKey?: Secret | null;
  };
  settings: SagaSettings;
  /** Absent: the account is not shared out, whatever is asked of it. */
  pace?: PaceSettings | undefined;
  breaker: BreakerSettings;
  edge?: Partial<EdgeOptions> | undefined;
  timeouts?: Partial<HttpTimeouts> | undefined;
  recoveryIntervalMs: number;
  /** 0: drift is not looked for. */
  reconcileIntervalMs: number;
  /** Closed saves that made no revision are deleted after so many days. */
  saveRetentionDays: number;
  corsOrigins: string[];
  log: Log;
  /** Users as whom GraphiQL can sign in, and the headers of each; in local mode only. */
  demo?: Demo | undefined;
}

export interface Demo {
  users: readonly DemoUser[];
  headersOf(email: string): Promise<Record<string, string>>;
}

export interface App {
  server: Server;
  /** Starts the background work: recovery, the sweep and the cleanup, now and then on their timers. */
  start(): void;
  /** Gives the key up if it is of another Vapi account than the database; before the first save, where Vapi can be asked. */
  checkKey(): Promise<void>;
  /** One round of recovery, now. Null: there is no key to work with. */
  recover(): Promise<RecoveryRound | null>;
  /** One sweep, now. Null: there is no key to work with. */
  sweep(): Promise<SweepReport | null>;
  /** Forgets idempotency keys and images that are past their retention, now; whether drift is looked for or not. */
  cleanUp(): Promise<void>;
  /** Makes this the active key, now or as soon as it is seen to read the same Vapi organization. */
  rotateKey(next: Secret): Promise<Rotation>;
  /** Takes no more work, lets running saves end within `drainMs`, and closes. */
  stop(drainMs: number): Promise<void>;
}

const READINESS_CACHE_MS = 1_000;
/** A minute is the usual idle timeout of load balancers: a connection here outlives it. Node wants the headers' time above it. */
const SLOW_CLIENTS: Omit<HttpTimeouts, 'idle'> = { keepAlive: 75_000, headers: 80_000, request: 90_000 };
/** How long a request of the sweep may wait for its turn, milliseconds. */
const SWEEP_WAIT_MS = 30_000;
/** How soon a sweep that could not begin is tried again, milliseconds. */
const SWEEP_RETRY_MS = 10_000;
/** How often what is past its retention is forgotten, milliseconds, and of how many saves in one go. */
const CLEANUP_INTERVAL_MS = 600_000;
const CLEANUP_BATCH = 500;

/** Short beside the interval, because a killed process keeps the sweep until its lease lapses; long beside one step. */
function sweepLeaseMs(reconcileIntervalMs: number): number {
  return reconcileIntervalMs === 0 ? 30_000 : Math.min(30_000, Math.max(5_000, reconcileIntervalMs / 10));
}

/** The composition root: builds the real graph, once. */
export function createApp(config: AppConfig): App {
  const { log, settings, vapi } = config;
  const serviceClient = createServiceClient(config.supabase);
  const journal = createRpcJournal(serviceClient);
  const sweepStore = createRpcSweepStore(serviceClient);
  const metrics = createMetrics();
  const running = new Set<Promise<unknown>>();
  const { meter } = metrics;

  const owner = systemIds.uuid();
  const registry = createRpcReplicaRegistry(serviceClient);
  const database = new DatabaseWatch({ log, meter, host: new URL(config.supabase.url).host });
  const databaseClock = new DatabaseClock(systemClock);
  /** When the last complete sweep of any replica began. */
  let sweptAt: string | null = null;
  /** False: without the database no save begins either. */
  const beat = (): Promise<boolean> =>
    takeShare(registry, (...share) => pacer?.share(...share), systemClock, owner).then(
      (heard) => {
        database.works();
        databaseClock.heard(heard.now);
        sweptAt = heard.sweptAt;
        return true;
      },
      (error: unknown) => {
        if (!(error instanceof DatabaseError)) throw error;
        database.fails(error);
        return false;
      },
    );
  // Ends with the deadline of a database call. Saves that wait meanwhile are refused when their own time is over.
  const renew = () => beat().catch(() => false);
  const pacer = config.pace && new Pacer(config.pace, { clock: systemClock, meter, renew });
  const circuit = createCircuit(config.breaker, { meter, log }, (ms) => pacer?.pause(ms));
  const turn = async () => (await pacer?.turn(config.breaker.keyRetryMs)) ?? true;
  const keys = new KeyRing(
    vapi.key,
    (key, hooks) =>
      guardVoiceProvider(
        createVoiceProvider(key, { baseUrl: vapi.baseUrl, timeoutMs: settings.requestTimeoutMs, log }),
        {
          circuit,
          breaker: config.breaker,
          fingerprint: key.fingerprint(),
          onLimited: (retryAfterMs) => pacer?.limited(retryAfterMs),
          ...hooks,
          turn,
          meter,
          log,
        },
      ),
    { log, meter, turn, account: createRpcVapiAccount(serviceClient) },
  );
  let nextKey = vapi.nextKey ?? null;
  const rotate = async (): Promise<Rotation> => {
    const candidate = nextKey;
    if (candidate === null) return 'ACTIVE';
    const rotation = await keys.rotate(candidate);
    if (rotation !== 'UNDECIDED' && nextKey === candidate) nextKey = null;
    return rotation;
  };

  const executorPorts: ExecutorPorts<ServiceClient> = {
    openJournal: (supabase) => (supabase === serviceClient ? journal : createRpcJournal(supabase)),
    openVoiceProvider: (key) => keys.voiceOf(key),
    admission: pacer,
    databaseTime: () => databaseClock.now(),
    clock: systemClock,
    ids: systemIds,
    random: systemRandom,
    log,
    meter,
    saves: metrics.saves,
    settings,
    owner,
    track: (work) => {
      const tracked = work
        .catch((error: unknown) => log.error({ err: error }, 'a save failed unexpectedly'))
        .finally(() => running.delete(tracked));
      running.add(tracked);
    },
  };

  const verifier = createTokenVerifier(config.supabase);

  /** For a caller who waits: with the organization's own permits. */
  const lookNow = async (orgId: string, assistantId: string): Promise<Verdict | null> => {
    if (keys.voice === null) return null;
    const voice =
      pacer === undefined || config.pace === undefined
        ? keys.voice
        : takingTurns(keys.voice, pacer, orgId, config.pace.waitMs);
    const [agent] = await sweepStore.lookup([assistantId]);
    return agent?.orgId === orgId ? look({ store: sweepStore, voice }, agent) : { kind: 'saving' };
  };

  const createContext = createContextFactory<ServiceClient>({
    verifier,
    readGate: new ReadGate(READ_LIMITS, systemClock),
    openReads: (token) => createTenantReads(createCallerClient(config.supabase, token), () => sweptAt),
    serviceClient,
    get vapiApiKey() {
      return keys.active;
    },
    executorPorts,
    reconciliation: {
      look: (orgId, assistantId) => lookNow(orgId, assistantId),
      setDriftPolicy: (orgId, policy) => sweepStore.setDriftPolicy(orgId, policy),
    },
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
          () => {
            database.works();
            return true;
          },
          (error: unknown) => {
            database.fails(error);
            return false;
          },
        ),
      };
    }
    return readiness.ready;
  };

  const edge = { ...EDGE_DEFAULTS, ...config.edge };
  const savesAtOnce = Math.max(1, Math.floor(edge.maxComplexity / SAVE_COST));
  const server = createHttpServer({
    graphql: createGraphql({
      createContext: createContext as (request: Request, requestId: string) => Promise<AppContext>,
      corsOrigins: config.corsOrigins,
      edge,
      log,
    }),
    page:
      edge.graphiql && edge.persistedDocuments === null
        ? createGraphiqlPage(EXAMPLES, config.demo?.users ?? [])
        : undefined,
    demoHeaders: async (email) => {
      const users = config.demo?.users ?? [];
      const user = email === null ? users[0] : users.find((one) => one.email === email);
      return user === undefined || config.demo === undefined ? null : config.demo.headersOf(user.email);
    },
    checkToken: async (authorization) => {
      if (authorization === undefined) return 'ANONYMOUS';
      const token = bearerToken(authorization);
      if (token === undefined) return new RefusedTokenError(false);
      const verdict = await verifier.verify(token);
      if (!('problem' in verdict)) return 'MEMBER';
      if (verdict.problem === 'no_organization') return 'ANONYMOUS';
      return new RefusedTokenError(verdict.problem === 'unavailable');
    },
    ready,
    draining: () => draining,
    metrics: metrics.text,
    newRequestId: systemIds.uuid,
    log,
    maxBodyBytes: edge.maxBodyBytes,
    timeouts: {
      ...SLOW_CLIENTS,
      // Nothing is heard from saves, one after the other, while they wait for their turns and for their answers.
      idle: savesAtOnce * ((config.pace?.waitMs ?? 0) + settings.answerMs) + SLOW_CLIENTS.request,
      ...config.timeouts,
    },
  });
  if (pacer !== undefined) {
    const rate = 'Requests a second that this replica may send to Vapi now.';
    metrics.gauge('lockstep_vapi_requests_per_second', rate, () => pacer.state.requestsPerSecond);
    const waiting = 'Saves and requests that wait for their turn at Vapi.';
    metrics.gauge('lockstep_vapi_waiting', waiting, () => pacer.state.waiting);
  }

  const stopping = new AbortController();
  /** Background work: runs at once, then again after each pause, also after a failure. */
  async function forever(
    name: string,
    pauseMs: number | (() => number),
    work: () => Promise<unknown>,
  ): Promise<void> {
    /** What it failed with last time: an outage is one line and not one for each try. */
    let failing: string | undefined;
    while (!stopping.signal.aborted) {
      try {
        await work();
        if (failing !== undefined) log.info({ work: name }, 'background work succeeds again');
        failing = undefined;
      } catch (error) {
        const away = error instanceof DatabaseError;
        const failure = away ? error.code : String(error);
        if (failure !== failing) {
          log.warn({ ...(away ? { code: failure } : { err: error }), work: name }, 'background work fails');
        }
        failing = failure;
      }
      await systemClock.sleep(typeof pauseMs === 'number' ? pauseMs : pauseMs(), stopping.signal);
    }
  }
  const recoverOnce = async () =>
    keys.voice === null ? null : recoverAbandonedSaves(journal, keys.voice, executorPorts, stopping.signal);
  const sweepOnce = async () => {
    if (keys.voice === null) return null;
    const voice = pacer === undefined ? keys.voice : takingTurns(keys.voice, pacer, 'sweep', SWEEP_WAIT_MS);
    const report = await sweep({
      store: sweepStore,
      voice,
      clock: systemClock,
      pause: () => setImmediate(),
      stopping: stopping.signal,
      log,
      meter,
      owner,
      leaseMs: sweepLeaseMs(config.reconcileIntervalMs),
      save: (update, kind) =>
        executeTransactionalAgentUpdate(serviceClient, [update], keys.active, {
          kind,
          ports: executorPorts,
        }),
      // Well past everything that a late request of a closed save could still do.
      orphanAgeMs: 2 * lateTimeMs(settings),
    });
    sweptAt = report.walkedAt ?? sweptAt;
    if (report.stopped !== 'NOT_LEADER') log.info({ event: 'sweep.done', ...report }, 'swept');
    return report;
  };
  /** Sweeps at start and then at every interval; sooner if this attempt could not take place. */
  async function sweepForever(): Promise<void> {
    let pauseMs = 0;
    await forever(
      'sweep',
      () => pauseMs,
      async () => {
        pauseMs = Math.min(config.reconcileIntervalMs, SWEEP_RETRY_MS);
        const report = await sweepOnce();
        if (report !== null) pauseMs = config.reconcileIntervalMs;
        // Another process has the lease. It may be dead, so try again when its lease lapses.
        if (report?.retryAfterMs != null) pauseMs = Math.min(pauseMs, report.retryAfterMs);
      },
    );
    // A process that replaces this one sweeps at once. If the database is away, the lease lapses by itself.
    await sweepStore.releaseLease(owner).catch(() => {});
  }
  const cleanUp = async () => {
    while (
      !stopping.signal.aborted &&
      (await sweepStore.cleanup(CLEANUP_BATCH, config.saveRetentionDays)) > 0
    );
    if (!stopping.signal.aborted) cleanedAt = systemClock.monotonic();
  };
  let cleanedAt = systemClock.monotonic();
  metrics.gauge(
    'lockstep_cleanup_age_seconds',
    'Seconds since the last complete cleanup, or since the start if there was none.',
    () => (systemClock.monotonic() - cleanedAt) / 1_000,
  );

  return {
    server,
    start: () => {
      if (pacer !== undefined) {
        // None until the first beat, and as if it had lapsed: a save that comes first asks for the share itself.
        pacer.share(0, 0);
        executorPorts.track(forever('replica', BEAT_MS, beat));
      }
      const turnKey = async () => {
        await keys.check();
        await rotate();
      };
      if (vapi.key !== null) executorPorts.track(forever('key', config.breaker.keyRetryMs, turnKey));
      executorPorts.track(forever('recovery', config.recoveryIntervalMs, recoverOnce));
      executorPorts.track(forever('cleanup', CLEANUP_INTERVAL_MS, cleanUp));
      if (config.reconcileIntervalMs > 0) {
        executorPorts.track(sweepForever());
      }
    },
    checkKey: () =>
      keys.check().catch((error: unknown) => log.error({ err: error }, 'the key could not be compared')),
    recover: recoverOnce,
    sweep: sweepOnce,
    cleanUp,
    rotateKey: (next) => {
      nextKey = next;
      return rotate();
    },
    stop: async (drainMs) => {
      draining = true;
      stopping.abort();
      const rest = async () => {
        while (running.size > 0) await Promise.all(running);
      };
      const drained = (async () => {
        // The door stays open meanwhile, so that a probe is told and not refused.
        await rest();
        const closed = new Promise<void>((resolve) => {
          server.close(() => resolve());
        });
        server.closeIdleConnections();
        await closed;
        // What began while the door was still open.
        await rest();
      })();
      await Promise.race([drained, systemClock.sleep(drainMs)]);
      server.close();
      server.closeAllConnections();
      if (running.size > 0) log.warn({ saves: running.size }, 'leaving saves to recovery');
    },
  };
}

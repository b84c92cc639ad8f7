import type { Server } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { createTokenVerifier } from './adapters/supabase/auth.ts';
import {
  createCallerClient,
  createServiceClient,
  type ServiceClient,
  type SupabaseConfig,
} from './adapters/supabase/clients.ts';
import { createRpcAppointments } from './adapters/supabase/rpc-appointments.ts';
import { createCallStore, createCallWalkStore } from './adapters/supabase/rpc-calls.ts';
import { createAnyJournal, createRpcJournal } from './adapters/supabase/rpc-journal.ts';
import {
  createRpcDocumentJournal,
  createRpcQueryToolJournal,
} from './adapters/supabase/rpc-knowledge-base-journals.ts';
import { createRpcKnowledgeBaseStore } from './adapters/supabase/rpc-knowledge-base-store.ts';
import { createPhoneNumberJournal, createPhoneNumberStore } from './adapters/supabase/rpc-phone-numbers.ts';
import { createRpcReplicaRegistry } from './adapters/supabase/rpc-replica-registry.ts';
import { createRpcRenderStore, createRpcSweepStore } from './adapters/supabase/rpc-sweep-store.ts';
import { createRpcVapiAccount } from './adapters/supabase/rpc-vapi-account.ts';
import { createTenantReads } from './adapters/supabase/tenant-reads.ts';
import { systemClock as clock, systemIds as ids, systemRandom as random } from './adapters/system/system.ts';
import { createVoiceProvider } from './adapters/vapi/got-voice-provider.ts';
import type { BreakerSettings } from './adapters/vapi/guarded-voice-provider.ts';
import type { Rotation } from './adapters/vapi/key-ring.ts';
import { VapiAccount } from './adapters/vapi/vapi-account.ts';
import { type AppContext, createContextFactory } from './context.ts';
import type { SaveKind } from './domain/agents/save.ts';
import type { Secret } from './domain/secret.ts';
import type { EventEnds } from './ports/calls/call-store.ts';
import type { Log } from './ports/system.ts';
import type { EdgeOptions } from './server/edge.ts';
import type { Demo } from './server/graphiql.ts';
import type { HttpTimeouts } from './server/http.ts';
import { createJobRunner } from './server/jobs.ts';
import { addCallGauges, addGauges, createMetrics } from './server/metrics.ts';
import { createReadiness } from './server/readiness.ts';
import { createServer } from './server/server.ts';
import { Shutdown } from './server/shutdown.ts';
import { eventServerOf, type WebhookSettings } from './server/webhook.ts';
import { Heartbeat } from './services/admission/heartbeat.ts';
import { Pacer, type PaceSettings } from './services/admission/pacer.ts';
import type { TransactionalAgentUpdate } from './services/agents/build.ts';
import { lookNow } from './services/agents/drift/look-now.ts';
import type { SweepReport } from './services/agents/drift/sweep.ts';
import { type ExecutorPorts, executeTransactionalAgentUpdate } from './services/agents/execute.ts';
import { type AgentJobSettings, AgentJobs } from './services/agents/jobs.ts';
import { RenderJob, type RenderReport } from './services/agents/render-job.ts';
import { answerToolCall } from './services/appointments/answer-tool-call.ts';
import { Appointments } from './services/appointments/change.ts';
import { CallInbox } from './services/calls/inbox.ts';
import { createAnswerToolCalls } from './services/calls/tool-calls.ts';
import { CallWalk, type CallWalkReport, type CallWalkSettings } from './services/calls/walk.ts';
import { DatabaseWatch } from './services/database-watch.ts';
import { KnowledgeBase } from './services/knowledge-base/execute.ts';
import { type KnowledgeBaseJobSettings, KnowledgeBaseJobs } from './services/knowledge-base/jobs.ts';
import type { KnowledgeSweepReport } from './services/knowledge-base/sweep.ts';
import { type ChangePhoneNumber, changePhoneNumber } from './services/phone-numbers/change.ts';
import { type NumberSweepReport, PhoneNumberJobs } from './services/phone-numbers/jobs.ts';
import { READ_LIMITS, ReadGate } from './services/reads/share-reads.ts';
import type { RecoveryRound } from './services/saga/recovery.ts';
import { lateTimeMs, type SagaSettings } from './services/saga/settings.ts';
import { settleSaga } from './services/saga/settle.ts';
import { recoverableKinds, SAGA_KINDS } from './services/saga-kinds.ts';

/** Everything that a server needs, resolved: nothing in here looks at the environment. */
export interface AppConfig extends AgentJobSettings, KnowledgeBaseJobSettings {
  supabase: SupabaseConfig;
  vapi: {
    baseUrl: string;
    key: Secret | null;
    /** The active one, as soon as it is seen to read the same Vapi organization. */
    nextKey?: Secret | null;
  };
  /** Absent or null: Vapi sends no events to this server. */
  webhook?: WebhookSettings | null | undefined;
  /** Absent: calls are known from events only. */
  calls?: CallWalkSettings | undefined;
  settings: SagaSettings;
  /** Absent: the rate of requests to Vapi is not limited, whatever is asked of it. */
  pace?: PaceSettings | undefined;
  breaker: BreakerSettings;
  edge?: Partial<EdgeOptions> | undefined;
  timeouts?: Partial<HttpTimeouts> | undefined;
  corsOrigins: string[];
  log: Log;
  /** Users as whom GraphiQL can sign in; in local mode only. */
  demo?: Demo | undefined;
}

export interface App {
  server: Server;
  /** Starts the background jobs. Each runs now, and then again after each interval. */
  start(): void;
  /** Gives the key up if it is of another Vapi account than the database; before the first save, where Vapi can be asked. */
  checkKey(): Promise<void>;
  /** One round of recovery, now. Null: there is no key to work with. */
  recover(): Promise<RecoveryRound | null>;
  /** One sweep, now. Null: there is no key to work with. */
  sweep(): Promise<SweepReport | null>;
  /** Renders stale agents anew, one round, now. Null: there is no key to work with. */
  render(): Promise<RenderReport | null>;
  /** Does what is due in the knowledge bases, now. Returns how much that was; null: there is no key to work with. */
  workOnKnowledgeBase(): Promise<number | null>;
  /** One sweep of files and tools, now. Null: there is no key to work with. */
  sweepKnowledgeBase(): Promise<KnowledgeSweepReport | null>;
  /** Polls the numbers that are not active, and attaches those that should be, now. */
  workOnPhoneNumbers(): Promise<void>;
  /** One sweep of the phone numbers, now. Null: there is no key to work with. */
  sweepPhoneNumbers(): Promise<NumberSweepReport | null>;
  /** Applies the events of calls that are due, now. */
  applyCallEvents(): Promise<EventEnds>;
  /** Reads Vapi's list of calls, now. Null: there is no key to work with. */
  walkCalls(): Promise<CallWalkReport[] | null>;
  /** Forgets idempotency keys and images that are past their retention, now; whether drift is looked for or not. */
  cleanUp(): Promise<void>;
  /** Makes this the active key, now or as soon as it is seen to read the same Vapi organization. */
  rotateKey(next: Secret): Promise<Rotation>;
  /** Takes no more work, lets running saves end within `drainMs`, and closes. */
  stop(drainMs: number): Promise<void>;
}

/** The composition root: builds the real graph, once. */
export function createApp(config: AppConfig): App {
  const { log, settings, vapi, breaker, pace } = config;
  const serviceClient = createServiceClient(config.supabase);
  const journal = createRpcJournal(serviceClient);
  const sagas = createAnyJournal(serviceClient);
  const store = createRpcSweepStore(serviceClient);
  const documents = createRpcKnowledgeBaseStore(serviceClient);
  const verifier = createTokenVerifier(config.supabase);
  const metrics = createMetrics();
  const { meter } = metrics;
  const owner = ids.uuid();
  const shutdown = new Shutdown({ clock, log });
  const { stopping } = shutdown;

  const database = new DatabaseWatch({ log, meter, host: new URL(config.supabase.url).host });
  const registry = createRpcReplicaRegistry(serviceClient);
  const share: Pacer['share'] = (...given) => pacer?.share(...given);
  const heartbeat = new Heartbeat({ registry, clock, share, database, owner });
  // Ends with the deadline of a database call. Saves that wait meanwhile are refused when their own time is over.
  const renew = () => heartbeat.beat().catch(() => false);
  const pacer = pace && new Pacer(pace, { clock, meter, renew });

  const connect = (key: Secret) =>
    createVoiceProvider(key, {
      baseUrl: vapi.baseUrl,
      timeoutMs: settings.requestTimeoutMs,
      // The lease, the quarantine and the fence are reckoned from the time limit of a request, so an upload has the same one.
      uploadTimeoutMs: settings.requestTimeoutMs,
      log,
    });
  const account = new VapiAccount({ key: vapi.key, nextKey: vapi.nextKey ?? null }, breaker, {
    ...{ log, meter, connect, pacer },
    account: createRpcVapiAccount(serviceClient),
  });

  const executorPorts: ExecutorPorts<ServiceClient> = {
    openJournal: (supabase) => (supabase === serviceClient ? journal : createRpcJournal(supabase)),
    openVoiceProvider: (key) => account.voiceOf(key),
    admission: pacer,
    databaseTime: () => heartbeat.databaseTime(),
    saves: metrics.saves,
    track: (work) => shutdown.track(work),
    ...{ clock, ids, random, log, meter, settings, owner },
  };
  /** Nobody asked for it: a repair of the sweep, or an agent that is rendered anew. */
  const saveForService = (update: TransactionalAgentUpdate, kind: SaveKind) =>
    executeTransactionalAgentUpdate(serviceClient, [update], account.active, {
      kind,
      ports: executorPorts,
    });
  const numberJournal = createPhoneNumberJournal(serviceClient);
  const changeNumber: ChangePhoneNumber = (orgId, change, options) =>
    changePhoneNumber(serviceClient, orgId, change, account.active, {
      ...options,
      ports: {
        ...executorPorts,
        openJournal: () => numberJournal,
        openVoiceProvider: (key) => account.voiceOf(key),
      },
    });
  const background = new AgentJobs(
    {
      ...{
        journal: sagas,
        kinds: recoverableKinds(documents.content),
        store,
        executor: executorPorts,
        admission: pacer,
      },
      voice: () => account.voice,
      pause: () => setImmediate(),
      save: saveForService,
      onSwept: (at) => {
        heartbeat.sweptAt = at;
      },
    },
    config,
  );
  const rendering = new RenderJob(
    {
      ...{ store, renders: createRpcRenderStore(serviceClient), admission: pacer },
      ...{ clock, log, meter, owner, save: saveForService },
      voice: () => account.voice,
      eventServer: () => (config.webhook ? eventServerOf(config.webhook, server) : null),
    },
    config.recoveryIntervalMs,
  );
  const { openJournal: _saves, ...sagaPorts } = executorPorts;
  const knowledgeBase = new KnowledgeBase<ServiceClient>(serviceClient, () => account.active, {
    ...sagaPorts,
    openDocuments: createRpcDocumentJournal,
    openQueryTools: createRpcQueryToolJournal,
    openVoiceProvider: (key) => account.voiceOf(key),
    contents: documents.content,
  });
  const knowledgeBaseJobs = new KnowledgeBaseJobs(
    {
      ...{ store: documents, sagas: knowledgeBase, admission: pacer, log, meter, owner },
      voice: () => account.voice,
      orphanAgeMs: 2 * lateTimeMs(settings),
    },
    config,
  );
  const numberJobs = new PhoneNumberJobs(
    {
      ...{ store: createPhoneNumberStore(serviceClient), admission: pacer, clock, log, meter, owner },
      voice: () => account.voice,
      change: changeNumber,
      settle: async (orgId, sagaId, vapiOrgId) => {
        const voice = account.voice;
        if (voice === null) return { outcome: 'NOT_SETTLED', reasons: ['there is no key'] };
        const seen = createRpcVapiAccount(serviceClient);
        const settlePorts = {
          journal: sagas,
          voice,
          kinds: SAGA_KINDS,
          settings,
          account: () => seen(vapiOrgId),
        };
        return settleSaga(settlePorts, orgId, sagaId, 'COMMITTED');
      },
    },
    config,
  );
  const appointmentStore = createRpcAppointments(serviceClient);
  const appointments = new Appointments({
    ...{ store: appointmentStore, admission: pacer, clock, ids, log, meter, owner },
    databaseTime: () => heartbeat.databaseTime(),
  });
  const calls = createCallStore(serviceClient);
  const inbox = new CallInbox({
    ...{ store: calls, log, meter, track: executorPorts.track },
    answerToolCalls: createAnswerToolCalls({
      ...{ store: calls, clock, log, meter },
      answer: (call, toolCall) =>
        answerToolCall({ store: appointmentStore, clock, ids, log, meter }, call, toolCall),
    }),
  });
  const callWalk = new CallWalk(
    {
      ...{ store: createCallWalkStore(serviceClient), admission: pacer, clock, log, meter, owner },
      voice: () => account.voice,
    },
    config.calls ?? { callsPollIntervalMs: 0, callsListLagMs: 0 },
  );
  addGauges(metrics, pacer, () => background.cleanupAgeMs());
  addCallGauges(metrics, () => inbox.waiting);

  const limit = pacer && pace && { admission: pacer, waitMs: pace.waitMs };
  const createContext = createContextFactory<ServiceClient>({
    ...{ verifier, serviceClient, executorPorts, knowledgeBase, appointments, ids, log },
    readGate: new ReadGate(READ_LIMITS, clock),
    openReads: (token) =>
      createTenantReads(createCallerClient(config.supabase, token), () => heartbeat.sweptAt),
    get vapiApiKey() {
      return account.active;
    },
    changePhoneNumber: changeNumber,
    callLedger: calls.ledger,
    receivesEvents: Boolean(config.webhook),
    reconciliation: {
      look: (orgId, assistantId) => lookNow({ store, limit, voice: () => account.voice }, orgId, assistantId),
      setDriftPolicy: (orgId, policy) => store.setDriftPolicy(orgId, policy),
    },
  });

  const server = createServer({
    createContext: createContext as (request: Request, requestId: string) => Promise<AppContext>,
    // Asks for nothing, but goes all the way: the REST layer, the service key, the migrations, the database.
    ready: createReadiness({ clock, stopping, probe: () => journal.due(0), database }),
    newRequestId: ids.uuid,
    slowestSaveMs: (pace?.waitMs ?? 0) + settings.answerMs,
    events: config.webhook
      ? { ...{ webhook: config.webhook, clock, meter }, receive: (message) => inbox.receive(message) }
      : null,
    ...{ verifier, stopping, metrics, log },
    ...{ corsOrigins: config.corsOrigins, edge: config.edge, timeouts: config.timeouts, demo: config.demo },
  });

  const runner = createJobRunner({ clock, log, stopping, track: executorPorts.track });
  return {
    server,
    start: () => {
      // None until the first beat, and as if it had expired: a save that comes first asks for the share itself.
      pacer?.share(0, 0);
      if (pacer !== undefined) runner.start(heartbeat.job);
      if (vapi.key !== null) runner.start(account.job);
      for (const job of [
        ...background.jobs,
        rendering.job,
        ...knowledgeBaseJobs.jobs,
        ...numberJobs.jobs,
        ...inbox.jobs,
        ...callWalk.jobs,
      ])
        runner.start(job);
    },
    checkKey: () =>
      account.check().catch((error: unknown) => log.error({ err: error }, 'the key could not be compared')),
    recover: () => background.recover(stopping),
    sweep: () => background.sweep(stopping),
    render: () => rendering.round(stopping),
    workOnKnowledgeBase: () => knowledgeBaseJobs.work(stopping),
    sweepKnowledgeBase: () => knowledgeBaseJobs.sweep(stopping),
    workOnPhoneNumbers: async () => {
      await numberJobs.activate(stopping);
      await numberJobs.attach(stopping);
    },
    sweepPhoneNumbers: () => numberJobs.sweep(stopping),
    applyCallEvents: () => inbox.project(stopping),
    walkCalls: () => callWalk.due(stopping),
    cleanUp: () => background.cleanUp(stopping),
    rotateKey: (next) => account.rotateTo(next),
    stop: (drainMs) => shutdown.stop(server, drainMs),
  };
}

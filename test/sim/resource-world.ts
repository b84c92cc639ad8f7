import { createHash } from 'node:crypto';
import postgres from 'postgres';
import type { ServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createAnyJournal, createRpcJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import {
  createRpcDocumentJournal,
  createRpcQueryToolJournal,
} from '../../src/adapters/supabase/rpc-knowledge-base-journals.ts';
import { createRpcKnowledgeBaseStore } from '../../src/adapters/supabase/rpc-knowledge-base-store.ts';
import {
  createPhoneNumberJournal,
  createPhoneNumberStore,
} from '../../src/adapters/supabase/rpc-phone-numbers.ts';
import { createRpcRenderStore, createRpcSweepStore } from '../../src/adapters/supabase/rpc-sweep-store.ts';
import type { SaveKind } from '../../src/domain/agents/save.ts';
import { isJsonObject, type JsonObject } from '../../src/domain/json.ts';
import { sagaOfName } from '../../src/domain/phone-numbers/stamp.ts';
import { Secret } from '../../src/domain/secret.ts';
import { VapiAccount } from '../../src/local/vapi/account.ts';
import { answerRequest } from '../../src/local/vapi/api.ts';
import { DatabaseError } from '../../src/ports/database.ts';
import type { PhoneNumberChange } from '../../src/ports/phone-numbers/phone-number-journal.ts';
import type { Log } from '../../src/ports/system.ts';
import type { ProviderReply, RemoteResource, VoiceProvider } from '../../src/ports/voice-provider.ts';
import type { TransactionalAgentUpdate } from '../../src/services/agents/build.ts';
import { stampOf } from '../../src/services/agents/compare.ts';
import { type ExecutorPorts, executeTransactionalAgentUpdate } from '../../src/services/agents/execute.ts';
import { AgentJobs } from '../../src/services/agents/jobs.ts';
import { RenderJob } from '../../src/services/agents/render-job.ts';
import { KnowledgeBase } from '../../src/services/knowledge-base/execute.ts';
import { fileStampOf } from '../../src/services/knowledge-base/file.ts';
import { KnowledgeBaseJobs } from '../../src/services/knowledge-base/jobs.ts';
import { queryToolStampOf } from '../../src/services/knowledge-base/query-tool.ts';
import { type ChangeOptions, changePhoneNumber } from '../../src/services/phone-numbers/change.ts';
import { PhoneNumberJobs } from '../../src/services/phone-numbers/jobs.ts';
import type { SagaDefinition } from '../../src/services/saga/participant.ts';
import { lateTimeMs, type SagaSettings } from '../../src/services/saga/settings.ts';
import { settleSaga } from '../../src/services/saga/settle.ts';
import { recoverableKinds, SAGA_KINDS } from '../../src/services/saga-kinds.ts';
import type { TestSupabase } from '../support/supabase.ts';
import { Seeded } from './random.ts';

/**
 * The services of phone numbers, the knowledge base and agents as they are, on a real Postgres, with the stand-in's account as Vapi.
 * One call at a time takes effect, in an order that a seed determines. Time is virtual: the database's clock cannot be moved, so
 * every time that it has stored is moved back instead. All durations are a hundred times the production ones, so that the seconds
 * that a slow machine takes mean nothing.
 */

export const SETTINGS: SagaSettings = {
  ...{ requestTimeoutMs: 1_000_000, leaseMs: 1_700_000, lateMs: 2_200_000 },
  ...{ deadlineMs: 12_000_000, answerMs: 1_200_000 },
};
const LATE_MS = lateTimeMs(SETTINGS);
const VAPI_ORG = '11111111-1111-4111-8111-111111111111';
const KEY = new Secret('key-of-the-simulation');
const START = Date.parse('2026-11-23T00:00:00Z');
const NEVER = new AbortController().signal;

export interface ResourceViolation {
  invariant: string;
  detail: string;
}

/** Where a test of the tests plants its bug. */
export interface PlantedInResources {
  voice?(voice: VoiceProvider, world: ResourceWorld): VoiceProvider;
  kinds?(kinds: readonly SagaDefinition[]): readonly SagaDefinition[];
  /** Jobs that nobody runs. */
  without?: readonly (typeof JOBS)[number][];
}

export const JOBS = [
  'recover',
  'numbers',
  'documents',
  'render',
  'sweep',
  'sweepNumbers',
  'sweepDocuments',
] as const;

interface Waiting {
  replica: Replica;
  system: 'database' | 'vapi';
  op: string;
  take(fault: Fault): Promise<void>;
}
type Fault =
  | 'none'
  | 'crash-before'
  | 'crash-after'
  | 'crash-late'
  | 'lost'
  | 'unanswered'
  | 'late'
  | 'refused'
  | 'limited';

/** A request on its way that takes effect later. */
interface Flight {
  at: number;
  land(): Promise<void>;
}

/** One process, from its start to its death. */
interface Replica {
  name: string;
  owner: string;
  isAlive: boolean;
  /** It takes nothing in before this time: a process that was stopped. */
  heldUntil: number;
  /** How far its wall clock is off: minutes. */
  skewMs: number;
  services: Services;
}

interface Services {
  save(update: TransactionalAgentUpdate, kind: SaveKind): Promise<unknown>;
  saveAs(updates: TransactionalAgentUpdate[], idempotencyKey: string | null): Promise<unknown>;
  change(orgId: string, change: PhoneNumberChange, options: ChangeOptions): Promise<{ kind: string }>;
  knowledge: KnowledgeBase<null>;
  jobs: Record<(typeof JOBS)[number], () => Promise<unknown>>;
}

export class ResourceWorld {
  readonly random: Seeded;
  readonly account: VapiAccount;
  readonly orgIds: string[];
  readonly log: string[] = [];
  readonly counts: Record<string, number> = {};
  /** Chance of a fault of one call. */
  faultRate = 0;
  /** Every request is applied, or dead, in time. */
  readonly bounded: boolean;
  violation: ResourceViolation | null = null;
  elapsed = 0;
  readonly replicas: Replica[] = [];
  readonly #supabase: TestSupabase;
  readonly #planted: PlantedInResources;
  readonly #adapters: Adapters;
  #waiting: Waiting[] = [];
  #timers: { at: number; replica: Replica; run: () => void }[] = [];
  #flights: Flight[] = [];
  /** Not yet taken off the times that the database has stored. */
  #notShifted = 0;
  readonly #vapiSkewMs: number;
  readonly #orgOfSaga = new Map<string, string>();
  readonly #orgOfAssistant = new Map<string, string>();
  readonly #orgOfNumber = new Map<string, string>();
  /** How many requests of a purchase or import may have taken effect. */
  readonly #bought = new Map<string, number>();
  /** What a person has deleted or changed in Vapi. */
  readonly touched = new Set<string>();

  constructor(supabase: TestSupabase, adapters: Adapters, seed: number, planted: PlantedInResources = {}) {
    this.#supabase = supabase;
    this.#adapters = adapters;
    this.#planted = planted;
    this.random = new Seeded(seed);
    this.bounded = this.random.chance(0.7);
    this.#vapiSkewMs = this.random.pick([-300_000, 0, 300_000] as const);
    this.account = new VapiAccount({
      now: () => this.#vapiNow(),
      id: () => this.random.uuid(),
      settings: { freeNumbers: 1_000, numberActivationMs: 60_000, fileProcessingMs: 60_000 },
    });
    // Whoever settles a saga compares the account by any assistant in it.
    this.account.assistants.create(VAPI_ORG, { name: 'of somebody else' });
    this.orgIds = [this.random.uuid(), this.random.uuid()];
    for (const name of ['r1', 'r2']) this.boot(name);
  }

  async begin(): Promise<void> {
    await this.#supabase.sql`truncate public.organizations, lockstep.leases cascade`;
    for (const id of this.orgIds)
      await this.#supabase.sql`insert into public.organizations (id, name) values (${id}, 'An organization')`;
  }

  record(line: string): void {
    this.log.push(`${this.elapsed} ${line}`);
  }

  violate(invariant: string, detail: string): void {
    if (this.violation !== null) return;
    this.violation = { invariant, detail };
    this.record(`VIOLATION ${invariant}: ${detail}`);
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  // Processes.

  boot(name: string): void {
    if (this.replicas.some((one) => one.name === name && one.isAlive)) return;
    const replica: Replica = {
      ...{ name, owner: this.random.uuid(), isAlive: true, heldUntil: 0 },
      skewMs: this.random.pick([0, -420_000, 240_000] as const),
      services: null as never,
    };
    replica.services = this.#servicesOf(replica);
    this.replicas.push(replica);
    this.record(`${name} starts`);
  }

  replica(): Replica {
    const alive = this.replicas.filter(({ isAlive }) => isAlive);
    return this.random.pick(alive as [Replica, ...Replica[]]);
  }

  #crash(replica: Replica): void {
    replica.isAlive = false;
    this.#waiting = this.#waiting.filter((one) => one.replica !== replica);
    this.#timers = this.#timers.filter((one) => one.replica !== replica);
    this.#count('crashes');
    this.record(`${replica.name} dies`);
    this.boot(replica.name);
  }

  crash(): void {
    this.#crash(this.replica());
  }

  /** Stops a process for longer than its lease. */
  pause(): void {
    const replica = this.replica();
    replica.heldUntil = this.elapsed + SETTINGS.leaseMs + this.random.int(1, SETTINGS.leaseMs);
    this.#count('pauses');
    this.record(`${replica.name} pauses`);
  }

  resumeAll(): void {
    for (const replica of this.replicas) replica.heldUntil = 0;
  }

  /** Something that a process does beside everything else. */
  start(what: string, work: (services: Services) => Promise<unknown>): void {
    const replica = this.replica();
    this.record(`${replica.name} begins ${what}`);
    this.#count(`begun: ${what.split(' ')[0]}`);
    work(replica.services).then(
      (answer) => {
        const kind = (answer as { kind?: string } | null)?.kind;
        if (kind !== undefined) this.#count(`told: ${kind}`);
        this.record(`${replica.name} ends ${what}: ${JSON.stringify(answer)?.slice(0, 300)}`);
      },
      (error: unknown) => {
        if (!(error instanceof DatabaseError)) this.violate('no unexpected error', `${what}: ${error}`);
      },
    );
  }

  startJob(job: (typeof JOBS)[number]): void {
    if (this.#planted.without?.includes(job) === true) return;
    this.start(job, ({ jobs }) => jobs[job]());
  }

  // Time, and one call after the other.

  /** Lets up to so many calls take effect, also those that wait for a time. Stops when nothing is left to happen. */
  async steps(most: number): Promise<void> {
    for (let left = most; left > 0 && this.violation === null; left -= 1) {
      await settled();
      const ready = this.#waiting.filter(({ replica }) => replica.heldUntil <= this.elapsed);
      if (ready.length === 0) {
        const next = this.#timers
          .filter(({ replica }) => replica.heldUntil <= this.elapsed)
          .reduce<number | null>((least, { at }) => (least === null || at < least ? at : least), null);
        if (next === null) return;
        await this.advance(Math.max(0, next - this.elapsed));
        continue;
      }
      const one = this.random.pick(ready as [Waiting, ...Waiting[]]);
      this.#waiting = this.#waiting.filter((other) => other !== one);
      const fault = this.#faultOf(one);
      this.record(`${one.replica.name} ${one.op}${fault === 'none' ? '' : ` (${fault})`}`);
      this.#count('calls');
      if (fault !== 'none') this.#count(`fault: ${one.system} ${fault}`);
      await one.take(fault);
    }
    await settled();
  }

  async advance(ms: number): Promise<void> {
    const until = this.elapsed + ms;
    for (;;) {
      const flight = this.#flights.reduce<Flight | null>(
        (first, one) => (one.at <= until && (first === null || one.at < first.at) ? one : first),
        null,
      );
      if (flight === null) break;
      this.#move(flight.at);
      this.#flights = this.#flights.filter((one) => one !== flight);
      await flight.land();
    }
    this.#move(until);
    const due = this.#timers.filter(({ at, replica }) => at <= until && replica.heldUntil <= until);
    this.#timers = this.#timers.filter((one) => !due.includes(one));
    for (const { run } of due) run();
    await settled();
  }

  /** Lets everything that is still on its way arrive. */
  async land(): Promise<void> {
    await this.advance(Math.max(0, ...this.#flights.map(({ at }) => at - this.elapsed)));
  }

  #move(to: number): void {
    if (to <= this.elapsed) return;
    this.#notShifted += to - this.elapsed;
    this.elapsed = to;
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#timers.length === 0 && this.#flights.length === 0;
  }

  async #databaseTime(): Promise<void> {
    if (this.#notShifted === 0) return;
    const ms = this.#notShifted;
    this.#notShifted = 0;
    await this.#adapters.moveBack(ms);
  }

  #vapiNow(): number {
    return START + this.elapsed + this.#vapiSkewMs;
  }

  /** A time of Vapi, on the scale of the times that the database has stored. */
  #shown(time: string): string {
    return new Date(Date.parse(time) - START - this.elapsed + Date.now()).toISOString();
  }

  #asked(time: string): string {
    return new Date(Date.parse(time) - Date.now() + START + this.elapsed).toISOString();
  }

  #faultOf({ system, op }: Waiting): Fault {
    // A purchase is where a fault hurts most.
    const weight = op === 'POST /phone-number' ? 3 : 1;
    if (!this.random.chance(weight * this.faultRate)) return 'none';
    if (system === 'database') {
      return this.random.pick([
        ...(['crash-before', 'crash-after', 'crash-late', 'lost', 'unanswered', 'unanswered'] as const),
      ] as const);
    }
    const isWrite = !/^(GET|LIST)/.test(op);
    const fault = this.random.pick([
      ...(['crash-before', 'crash-after', 'crash-late', 'crash-late', 'lost', 'lost', 'unanswered'] as const),
      ...(['late', 'late', 'refused', 'limited'] as const),
    ] as const);
    return fault === 'refused' && !isWrite ? 'lost' : fault;
  }

  #call<T>(
    replica: Replica,
    system: Waiting['system'],
    op: string,
    effect: () => Promise<T>,
    failed: (fault: Fault) => { value: T } | { error: unknown },
    sent: () => void = () => {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!replica.isAlive) return;
      const fail = (fault: Fault) => {
        const end = failed(fault);
        if ('value' in end) resolve(end.value);
        else reject(end.error);
      };
      const silent = () =>
        effect()
          .then(() => {})
          .catch(() => {});
      const late = () => {
        const most = system === 'database' ? 5_000 : this.bounded ? LATE_MS : 4 * LATE_MS;
        const at = this.elapsed + (this.random.chance(0.5) ? most - 1_000 : this.random.int(0, most - 1_000));
        this.#flights.push({
          at,
          land: async () => {
            this.record(`  ${op} arrives late`);
            await silent();
          },
        });
      };
      this.#waiting.push({
        ...{ replica, system, op },
        take: async (fault) => {
          if (fault !== 'crash-before' && fault !== 'refused' && fault !== 'limited') sent();
          switch (fault) {
            case 'crash-before':
              this.#crash(replica);
              return;
            case 'crash-after':
              await silent();
              this.#crash(replica);
              return;
            case 'crash-late':
              late();
              this.#crash(replica);
              return;
            case 'late':
              late();
              fail(fault);
              return;
            case 'unanswered':
              await silent();
              fail(fault);
              return;
            case 'lost':
            case 'refused':
            case 'limited':
              fail(fault);
              return;
            case 'none':
              await effect().then(resolve, reject);
          }
        },
      });
    });
  }

  // The ports of one process.

  #database<Api extends object>(replica: Replica, api: Api): Api {
    const wrapped = Object.entries(api).map(([name, member]) => [
      name,
      // A lease is an object of its own.
      name === 'lease'
        ? (job: string) => this.#database(replica, member(job))
        : (...given: unknown[]) => {
            if (name === 'begin') this.#orgOfSaga.set(String(given[1]), String(given[0]));
            return this.#call<unknown>(
              ...([replica, 'database', name] as const),
              async () => {
                await this.#databaseTime();
                return member.apply(api, given);
              },
              (fault) => ({ error: new DatabaseError('LOCKSTEP_NO_ANSWER', fault !== 'refused') }),
            );
          },
    ]);
    return Object.fromEntries(wrapped) as Api;
  }

  #vapi(replica: Replica, method: string, path: string, body: unknown = '', query: JsonObject = {}) {
    type Reply = ProviderReply<RemoteResource>;
    const effect = async (): Promise<Reply> => {
      await this.#before(method, path, body);
      const params = new URLSearchParams();
      for (const [name, value] of Object.entries(query))
        params.set(name, name.startsWith('createdAt') ? this.#asked(String(value)) : String(value));
      const { answer } = answerRequest(this.account, [{ key: 'k', name: 'k', orgId: VAPI_ORG }], {
        ...{ method, path, query: params, authorization: 'Bearer k', userAgent: 'simulation' },
        body: (isJsonObject(body) && 'form' in body
          ? body
          : body === ''
            ? ''
            : JSON.stringify(body)) as string,
      });
      const { status } = answer;
      if (status === 404) return { kind: 'gone' };
      if (status >= 400) {
        const { message } = answer.body as { message: string | string[] };
        return { kind: 'refused', status, messages: [message].flat() };
      }
      const shown = JSON.parse(JSON.stringify(answer.body)) as RemoteResource | RemoteResource[];
      for (const one of [shown].flat()) {
        one['createdAt'] = this.#shown(String(one['createdAt']));
        delete one['twilioAuthToken'];
      }
      if (method !== 'GET') await this.#after(method, path, shown as RemoteResource, body);
      return { kind: 'ok', value: shown as RemoteResource };
    };
    const failed = (fault: Fault): { value: Reply } => ({
      value:
        fault === 'refused'
          ? { kind: 'refused', status: 400, messages: ['no'] }
          : fault === 'limited'
            ? { kind: 'rate_limited', retryAfterMs: 1_000 }
            : { kind: 'unknown', code: 'ECONNRESET' },
    });
    const name = method === 'GET' && path.split('/').length === 2 ? 'LIST' : method;
    const sent = () => {
      if (method !== 'POST' || path !== '/phone-number') return;
      const stamp = sagaOfName((body as JsonObject)['name']) ?? 'none';
      const times = (this.#bought.get(stamp) ?? 0) + 1;
      this.#bought.set(stamp, times);
      if (times > 1) this.violate('at most one number a purchase or import', `saga ${stamp}: ${times} POSTs`);
    };
    return this.#call<Reply>(replica, 'vapi', `${name} ${path.slice(0, 24)}`, effect, failed, sent);
  }

  #voice(replica: Replica): VoiceProvider {
    const ask = (...given: [method: string, path: string, body?: unknown, query?: JsonObject]) =>
      this.#vapi(replica, ...given);
    const resources = (name: string) => ({
      timeoutMs: SETTINGS.requestTimeoutMs,
      create: (document: JsonObject) => ask('POST', `/${name}`, document),
      update: (id: string, document: JsonObject) => ask('PATCH', `/${name}/${id}`, document),
      get: (id: string) => ask('GET', `/${name}/${id}`),
      remove: (id: string) => ask('DELETE', `/${name}/${id}`),
      list: (query: object) =>
        ask('GET', `/${name}`, '', query as JsonObject) as Promise<ProviderReply<never>> as Promise<
          ProviderReply<RemoteResource[]>
        >,
    });
    const assistants = resources('assistant');
    const files = resources('file');
    const voice: VoiceProvider = {
      timeoutMs: SETTINGS.requestTimeoutMs,
      createAssistant: assistants.create,
      updateAssistant: assistants.update,
      getAssistant: assistants.get,
      deleteAssistant: assistants.remove,
      listAssistants: assistants.list,
      phoneNumbers: resources('phone-number'),
      tools: resources('tool'),
      calls: resources('call'),
      files: {
        timeoutMs: SETTINGS.requestTimeoutMs,
        uploadTimeoutMs: SETTINGS.requestTimeoutMs,
        get: files.get,
        remove: files.remove,
        upload: ({ name, contentType, content, metadata }) => {
          const sha256 = createHash('sha256').update(content).digest('hex');
          const file = { name, type: contentType, bytes: content.byteLength, sha256 };
          return ask('POST', '/file', {
            form: { file, purpose: 'assistant', metadata: JSON.stringify(metadata) },
          });
        },
        list: () => files.list({ purpose: 'assistant' }),
      },
    };
    return this.#planted.voice?.(voice, this) ?? voice;
  }

  #servicesOf(replica: Replica): Services {
    const { client } = this.#adapters;
    const wrap = <Api extends object>(api: Api): Api => this.#database(replica, api);
    const voice = this.#voice(replica);
    const saves = wrap(createRpcJournal(client));
    const sagas = wrap(createAnyJournal(client));
    const numbers = wrap(createPhoneNumberJournal(client));
    const documentJournal = wrap(createRpcDocumentJournal(client));
    const toolJournal = wrap(createRpcQueryToolJournal(client));
    const store = wrap(createRpcSweepStore(client));
    const renders = wrap(createRpcRenderStore(client));
    const numberStore = wrap(createPhoneNumberStore(client));
    const documents = wrap(createRpcKnowledgeBaseStore(client));
    const log = this.#log(replica);
    const meter = { count: (event: string) => this.#count(event) };
    const clock = {
      now: () => START + this.elapsed + replica.skewMs,
      monotonic: () => this.elapsed,
      sleep: (ms: number, signal?: AbortSignal) =>
        new Promise<void>((resolve) => {
          if (!replica.isAlive) return;
          const timer = { at: this.elapsed + Math.ceil(ms), replica, run: resolve };
          this.#timers.push(timer);
          signal?.addEventListener('abort', () => {
            this.#timers = this.#timers.filter((one) => one !== timer);
            resolve();
          });
        }),
    };
    const { owner } = replica;
    const executor: ExecutorPorts<null> = {
      ...{ clock, log, meter, owner, settings: SETTINGS },
      openJournal: () => saves,
      openVoiceProvider: () => voice,
      ids: { uuid: () => this.random.uuid() },
      random: { next: () => this.random.next() },
      track: (work) => {
        work.catch((error: unknown) => {
          if (!(error instanceof DatabaseError)) this.violate('no unexpected error', String(error));
        });
      },
    };
    const { openJournal: _saves, ...sagaPorts } = executor;
    const save = (update: TransactionalAgentUpdate, kind: SaveKind) =>
      executeTransactionalAgentUpdate(null, [update], KEY, { kind, ports: executor });
    const change = (orgId: string, wish: PhoneNumberChange, options: ChangeOptions) =>
      changePhoneNumber(null, orgId, wish, KEY, {
        ...options,
        ports: { ...executor, openJournal: () => numbers, openVoiceProvider: () => voice },
      });
    const knowledge = new KnowledgeBase<null>(null, () => KEY, {
      ...sagaPorts,
      openDocuments: () => documentJournal,
      openQueryTools: () => toolJournal,
      openVoiceProvider: () => voice,
      contents: documents.content,
    });
    const settings = { recoveryIntervalMs: 1_000, reconcileIntervalMs: 60_000, saveRetentionDays: 30 };
    const kinds = recoverableKinds(documents.content);
    const agentJobs = new AgentJobs(
      {
        ...{
          journal: sagas,
          kinds: this.#planted.kinds?.(kinds) ?? kinds,
          store,
          executor,
          admission: undefined,
        },
        ...{ voice: () => voice, pause: async () => {}, save, onSwept: () => {} },
      },
      settings,
    );
    const rendering = new RenderJob(
      {
        ...{ store, renders, admission: undefined, clock, log, meter, owner, save },
        ...{ voice: () => voice, eventServer: () => null },
      },
      1_000,
    );
    const documentJobs = new KnowledgeBaseJobs(
      {
        ...{ store: documents, sagas: knowledge, admission: undefined, log, meter, owner },
        ...{ voice: () => voice, orphanAgeMs: 2 * LATE_MS },
      },
      settings,
    );
    const numberJobs = new PhoneNumberJobs(
      {
        ...{ store: numberStore, admission: undefined, clock, log, meter, owner, change },
        voice: () => voice,
        settle: (orgId, sagaId) =>
          settleSaga(
            { journal: sagas, voice, kinds: SAGA_KINDS, settings: SETTINGS, account: async () => VAPI_ORG },
            orgId,
            sagaId,
            'COMMITTED',
          ),
      },
      settings,
    );
    return {
      ...{ save, change, knowledge },
      saveAs: (updates, idempotencyKey) =>
        executeTransactionalAgentUpdate(null, updates, KEY, {
          idempotencyKey,
          actor: 'somebody',
          ports: executor,
        }),
      jobs: {
        recover: () => agentJobs.recover(NEVER),
        numbers: async () => {
          await numberJobs.activate(NEVER);
          await numberJobs.attach(NEVER);
        },
        documents: () => documentJobs.work(NEVER),
        render: () => rendering.round(NEVER),
        sweep: () => agentJobs.sweep(NEVER),
        sweepNumbers: () => numberJobs.sweep(NEVER),
        sweepDocuments: () => documentJobs.sweep(NEVER),
      },
    };
  }

  #log(replica: Replica): Log {
    const write = (level: string) => (fields: object, message: string) => {
      const { err, event, ...ids } = fields as { err?: unknown; event?: string };
      if (level !== 'debug')
        this.record(`${replica.name} ${level} ${message} ${JSON.stringify({ event, ...ids })}`);
      if (level === 'error' && err !== undefined) this.violate('no unexpected error', `${message}: ${err}`);
    };
    const log: Log = {
      ...{ debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') },
      child: () => log,
    };
    return log;
  }

  // What must hold whenever a write takes effect.

  async #before(method: string, path: string, body: unknown): Promise<void> {
    const [, kind = '', id = ''] = path.split('/');
    if (method === 'POST' || method === 'PATCH') {
      if (kind === 'phone-number') {
        const { assistantId, name } = body as JsonObject;
        const orgId = this.#orgOfNumber.get(id) ?? this.#orgOfSaga.get(sagaOfName(name) ?? '');
        const pointsAt = this.#orgOfAssistant.get(String(assistantId));
        if (typeof assistantId === 'string' && (pointsAt === undefined || pointsAt !== orgId))
          this.violate(
            'no number points at the assistant of another organization',
            `${id || 'a new number'} of ${orgId} at ${assistantId} of ${pointsAt}`,
          );
      }
      if (kind === 'tool') this.#listsOwnFiles(body as JsonObject);
    }
    if (method === 'DELETE' && kind === 'phone-number') {
      const number = this.account.phoneNumbers.all().find((one) => one.id === id);
      const [row] = await this.#supabase.sql<{ state: string }[]>`
        select state from public.phone_numbers where vapi_phone_number_id = ${id}`;
      if (
        number?.provider === 'vapi' &&
        row?.state !== 'RELEASING' &&
        row?.state !== 'MISSING' &&
        this.bounded
      )
        this.violate('a number that was bought is deleted by its release only', `${id}: ${row?.state}`);
    }
    if (method === 'DELETE' && kind === 'tool' && this.bounded) {
      const user = this.account.assistants
        .all()
        .find((one) => JSON.stringify(one['model'] ?? {}).includes(id));
      if (user !== undefined && !this.touched.has(user.id))
        this.violate('no agent names a tool that Lockstep deleted', `${user.id} names ${id}`);
    }
    if (method === 'DELETE' && kind === 'file' && this.bounded) {
      const user = this.account.tools
        .all()
        .find((one) => JSON.stringify(one['knowledgeBases'] ?? []).includes(id));
      if (user !== undefined && !this.touched.has(user.id))
        this.violate('no tool lists a file that Lockstep deleted', `${user.id} lists ${id}`);
    }
  }

  #listsOwnFiles(document: JsonObject): void {
    const orgId = this.#orgOfSaga.get(queryToolStampOf(document as never) ?? '');
    for (const fileId of listedFiles(document)) {
      const file = this.account.files.all().find((one) => one.id === fileId);
      const owner = file === undefined ? undefined : fileStampOf(file as JsonObject)?.orgId;
      if (file !== undefined && owner !== orgId)
        this.violate(
          'a tool lists files of its own organization',
          `${fileId} of ${owner} in a tool of ${orgId}`,
        );
      if (file === undefined && !this.touched.has(fileId) && this.bounded)
        this.violate('no tool lists a file that Lockstep deleted', `a tool of ${orgId} lists ${fileId}`);
    }
  }

  async #after(method: string, path: string, shown: RemoteResource, body: unknown): Promise<void> {
    const kind = path.split('/')[1];
    if (kind === 'assistant' && method === 'POST') {
      const orgId = stampOf(body as JsonObject)?.orgId;
      if (orgId !== undefined) this.#orgOfAssistant.set(shown.id, orgId);
    }
    if (kind === 'phone-number' && method === 'POST') {
      const orgId = this.#orgOfSaga.get(sagaOfName(shown['name']) ?? '');
      if (orgId !== undefined) this.#orgOfNumber.set(shown.id, orgId);
    }
  }

  ownerOfAssistant(id: string): string | undefined {
    return this.#orgOfAssistant.get(id);
  }
}

export function listedFiles(tool: JsonObject): string[] {
  const bases = tool['knowledgeBases'];
  return Array.isArray(bases)
    ? bases.flatMap((base) =>
        isJsonObject(base) && Array.isArray(base['fileIds']) ? (base['fileIds'] as string[]) : [],
      )
    : [];
}

/** A macrotask later, twice: every promise that was resolved until now has run what waits for it. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 2; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

export interface Adapters {
  client: ServiceClient;
  /** Moves every time that the database has stored back by so much: as if its clock had gone on. */
  moveBack(ms: number): Promise<void>;
  close(): Promise<void>;
}

export async function openAdapters(supabase: TestSupabase): Promise<Adapters> {
  const columns = await supabase.sql<{ name: string; changes: string }[]>`
    select format('%I.%I', c.table_schema, c.table_name) as name,
        string_agg(format('%1$I = %1$I - v.ms', c.column_name), ', ') as changes
      from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
     where c.table_schema in ('public', 'lockstep') and c.data_type = 'timestamp with time zone'
       and t.table_type = 'BASE TABLE' and c.is_generated = 'NEVER'
     group by 1 order by 1`;
  const statements = (ms: number) =>
    columns
      .map(
        ({ name, changes }) =>
          `update ${name} set ${changes} from (select interval '${Math.round(ms)} milliseconds' as ms) as v;`,
      )
      .join('\n');
  const direct = postgres(supabase.databaseUrl, { max: 1, connect_timeout: 120, onnotice: () => {} });
  return {
    client: await directClient(direct),
    close: () => direct.end({ timeout: 1 }),
    moveBack: async (ms) => {
      // Whatever triggers and foreign keys say.
      await supabase.sql.begin((sql) =>
        sql.unsafe(`set local session_replication_role = replica; ${statements(ms)}`),
      );
    },
  };
}

/** Calls the functions as the service role does, without HTTP: a fifth of the time. */
async function directClient(sql: postgres.Sql): Promise<ServiceClient> {
  const functions = await sql<{ name: string; call: string }[]>`
    select p.proname as name, format('select %s as data from public.%I(%s) as f',
        case when p.proretset then $$coalesce(jsonb_agg(to_jsonb(f)), '[]')$$ else 'to_jsonb(f)' end, p.proname,
        (select string_agg(format(case
            when a.type = 'jsonb'::regtype then $$%I => nullif($1::jsonb -> %L, 'null')$$
            when a.type::text like '%[]' then $$%I => array(select jsonb_array_elements_text($1::jsonb -> %L))::$$ || a.type
            else $$%I => ($1::jsonb ->> %L)::$$ || a.type end, a.name, a.name), ', ')
          from unnest(p.proargnames[1:p.pronargs], p.proargtypes::oid[]::regtype[]) as a (name, type))) as call
      from pg_proc p where p.pronamespace = 'public'::regnamespace and p.pronargs > 0`;
  await sql`set role service_role`;
  const calls = new Map(functions.map(({ name, call }) => [name, call]));
  const rpc = (name: string, given: object) =>
    sql
      .unsafe<{ data: unknown }[]>(calls.get(name) ?? '', [sql.json(given as never)], { prepare: true })
      .then(
        ([row]) => ({ data: row?.data ?? null, error: null, status: 200 }),
        (error: unknown) => {
          if (!(error instanceof postgres.PostgresError)) throw error;
          return { data: null, error: { code: error.code, message: error.message }, status: 400 };
        },
      );
  return { rpc } as unknown as ServiceClient;
}

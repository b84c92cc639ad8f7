import { createHash } from 'node:crypto';
import { type AgentRole, defaultConfig } from '../../domain/agents/agent-config.ts';
import {
  type AgentRecord,
  type SaveFailure,
  type SaveKind,
  type SaveRecord,
  type SaveStatus,
  saveOf,
} from '../../domain/agents/save.ts';
import { canonicalJson, type JsonObject } from '../../domain/json.ts';
import type { SagaRecord } from '../../domain/saga.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Admission, Admitted } from '../../ports/admission.ts';
import {
  type BeginOutcome,
  DatabaseError,
  type SaveJournal,
  type SaveLimit,
} from '../../ports/agents/save-journal.ts';
import type { Clock, Ids, Log, Random } from '../../ports/system.ts';
import type { Meter, SaveEndedBy, SaveMeter } from '../../ports/telemetry.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import { isClosed } from '../saga/protocol.ts';
import { instant, type RunJournal, type RunPorts, SagaRun } from '../saga/run.ts';
import type { SagaSettings } from '../saga/settings.ts';
import type { TransactionalAgentUpdate } from './build.ts';
import { agentSaga } from './participant.ts';
import { MAPPING_VERSION } from './render.ts';
import { SaveReport } from './report.ts';

/** What the executor works with. `Db` is whatever the journal's adapter needs: supabase-js's service client in production. */
export interface ExecutorPorts<Db> {
  openJournal(supabase: Db): SaveJournal;
  openVoiceProvider(vapiApiKey: Secret): Assistants;
  /** The database's clock, milliseconds since 1970, never ahead of it. Null or absent: not known. */
  databaseTime?: (() => number | null) | undefined;
  /** Shares the provider's account among all organizations. Absent: nothing is limited. */
  admission?: Admission | undefined;
  clock: Clock;
  ids: Ids;
  random: Random;
  log: Log;
  meter: Meter;
  /** Absent: nothing is measured. */
  saves?: SaveMeter | undefined;
  settings: SagaSettings;
  /** Names this process in the journal. */
  owner: string;
  /** Told of work that goes on after its caller was answered, so that a shutdown can wait for it. */
  track(work: Promise<unknown>): void;
}

/** How one save is to be made; the key is not among it. */
export interface SaveOptions {
  idempotencyKey?: string | null;
  kind?: SaveKind;
  /** Who asked, for the journal: the user's id. */
  actor?: string | null;
  /** What identifies a repetition under the same idempotency key. Default: the updates. */
  request?: JsonObject;
}

/** The save's fate, or why it did not begin. */
export type SaveOutcome =
  /** `replay`: an earlier request made the save, so `agents`, which are as the save left them, may have changed since. */
  | { kind: 'committed'; save: SaveRecord; agents: AgentRecord[]; replay?: true }
  | { kind: 'failed'; save: SaveRecord; failure: SaveFailure; replay?: true }
  | { kind: 'pending'; save: SaveRecord; retryAfterMs: number | null }
  | { kind: 'revision_conflict'; agents: AgentRecord[] }
  | { kind: 'in_progress'; saveId: string; status: SaveStatus; retryAfterMs: number | null }
  | { kind: 'idempotency_conflict'; saveId: string }
  | { kind: 'incomplete'; missing: { role: AgentRole; field: string }[] }
  | { kind: 'no_organization' }
  | { kind: 'no_agent'; role: AgentRole }
  | { kind: 'rate_limited'; retryAfterMs: number | null }
  | { kind: 'unavailable'; retryAfterMs: number | null }
  | { kind: 'not_configured' };

const PENDING_RETRY_MS = 1_000;
const UNAVAILABLE_RETRY_MS = 2_000;
const BEGIN_ATTEMPTS = 3;
/** Less than the five seconds after which the database's client gives up (src/env.ts): the answer of a save that began is heard. */
const BEGIN_WITHIN_MS = 4_000;
const UNLIMITED: Admitted = { admitted: true, unused: () => {}, done: () => {} };

/**
 * Saves one organization's agents in both systems, or in neither. Two database calls and one Vapi call per agent where all
 * goes well. It answers within `settings.answerMs`; a save that is still undecided then goes on by itself.
 *
 * The only function of the request path that is given the master key. It does not depend on the caller's connection or token:
 * once begun, a save is finished or undone whatever becomes of the caller.
 */
export async function executeTransactionalAgentUpdate<Db>(
  supabase: Db,
  updates: TransactionalAgentUpdate[],
  vapiApiKey: Secret | null,
  options: SaveOptions & { ports: ExecutorPorts<Db> },
): Promise<SaveOutcome> {
  const { ports } = options;
  const [first] = updates;
  if (first === undefined || updates.some((update) => update.orgId !== first.orgId)) {
    throw new Error('a save names at least one agent, all of one organization');
  }
  const report = new SaveReport(ports, {
    orgId: first.orgId,
    roles: updates.map(({ role }) => role),
    kind: options.kind ?? 'USER',
  });
  const refused = (outcome: SaveOutcome): SaveOutcome => {
    report.ended('request', outcome);
    return outcome;
  };
  if (vapiApiKey === null) return refused({ kind: 'not_configured' });

  const journal = ports.openJournal(supabase);
  // Before the save begins: what cannot be set up must not leave one behind.
  const voice = ports.openVoiceProvider(vapiApiKey);
  const arrived = ports.clock.monotonic();
  const admitted = await report.time('waiting', () => admittedInTime(ports, first.orgId, updates.length));
  if (!admitted.admitted) {
    const { retryAfterMs, unreachable } = admitted;
    return refused({ kind: unreachable === true ? 'unavailable' : 'rate_limited', retryAfterMs });
  }
  const { unused, done } = admitted;
  const saveId = ports.ids.uuid();
  const leaseFrom = instant(ports.clock);
  const unseen = unseenSave(saveId, leaseFrom.wall);
  let known = () => unseen;

  async function save(orgId: string): Promise<SaveOutcome> {
    const ask = () => begin(journal, orgId, saveId, updates, options);
    const begun = await report.time('begin', ask).catch((error: unknown) => {
      unused();
      throw error;
    });
    if (begun.outcome !== 'BEGUN') unused();
    if (!('saga' in begun)) return refusalOf(begun, unseen);
    known = () => saveOf(begun.saga);
    try {
      if (begun.outcome !== 'BEGUN') {
        if (isClosed(begun.saga.status)) return replayOf(known(), begun.rows);
        const until = arrived + ports.settings.answerMs;
        return await awaitEnd(known(), ask, ports.clock, until, (running) => {
          known = () => running;
        });
      }
      const run = new SagaRun(runPorts(ports, report.journal(journal)), agentSaga(report.voice(voice)), {
        ...{ orgId, ...begun, leaseFrom, leaseMs: ports.settings.leaseMs },
        ...{ taken: false, once: false, quarantined: false, pastDeadline: false },
      });
      known = () => saveOf(run.current);
      const end = await run.run();
      return outcomeOf(saveOf(end.saga), end.rows);
    } catch (error) {
      // A defect, but the save has begun and may still end either way: recovery settles it once its lease has lapsed.
      ports.log.error({ saveId, err: error }, 'a save stopped where none should');
      return { kind: 'pending', save: known(), retryAfterMs: PENDING_RETRY_MS };
    }
  }

  let by: SaveEndedBy = 'request';
  let isOver = false;
  const ended = (outcome: SaveOutcome | { kind: 'defect' }) => {
    isOver = true;
    done();
    report.ended(by, outcome, saveId);
  };
  const work = save(first.orgId).then(
    (outcome) => {
      ended(outcome);
      return outcome;
    },
    (error: unknown) => {
      ended({ kind: 'defect' });
      throw error;
    },
  );
  ports.track(work);
  const answered = new AbortController();
  const tooLate = ports.clock
    // From the arrival: waiting for a turn counts.
    .sleep(Math.max(0, arrived + ports.settings.answerMs - ports.clock.monotonic()), answered.signal)
    .then((): SaveOutcome | Promise<SaveOutcome> => {
      // A save that has just closed is not pending: its answer comes in a moment.
      if (isOver || isClosed(known().status)) return work;
      const pending: SaveOutcome = { kind: 'pending', save: known(), retryAfterMs: PENDING_RETRY_MS };
      report.ended(by, pending, saveId);
      by = 'background';
      return pending;
    });
  return Promise.race([work, tooLate]).finally(() => answered.abort('answered'));
}

/** Returns permits for the save. Refuses it, and returns the permits, if they come too late for an answer within `answerMs`. */
async function admittedInTime<Db>(
  { admission, clock, settings }: ExecutorPorts<Db>,
  orgId: string,
  requests: number,
): ReturnType<Admission['admit']> {
  if (admission === undefined) return UNLIMITED;
  const turn = admission.admit(orgId, requests);
  const come = new AbortController();
  const late = clock.sleep(settings.answerMs, come.signal).then(() => null);
  const admitted = await Promise.race([turn, late]).finally(() => come.abort('come'));
  if (admitted !== null) return admitted;
  turn.then(
    (unwanted) => {
      if (!unwanted.admitted) return;
      unwanted.unused();
      unwanted.done();
    },
    () => {},
  );
  return { admitted: false, retryAfterMs: PENDING_RETRY_MS };
}

/** Why nothing began, or that it is not known whether something did. */
function refusalOf(begun: Exclude<Begun, { saga: SagaRecord }>, unseen: SaveRecord): SaveOutcome {
  switch (begun.outcome) {
    case 'UNREACHABLE':
    // Nothing began, and nothing that is still on its way will.
    case 'TOO_LATE':
      return { kind: 'unavailable', retryAfterMs: UNAVAILABLE_RETRY_MS };
    case 'FATE_UNKNOWN':
      // It may have begun: never "failed" of what may still commit. Recovery finds it, if it did.
      return { kind: 'pending', save: unseen, retryAfterMs: PENDING_RETRY_MS };
    case 'NO_ORGANIZATION':
      return { kind: 'no_organization' };
    case 'IDEMPOTENCY_CONFLICT':
      return { kind: 'idempotency_conflict', saveId: begun.sagaId };
    case 'IN_PROGRESS':
      return {
        kind: 'in_progress',
        saveId: begun.sagaId,
        status: begun.status,
        retryAfterMs: begun.retryAfterMs,
      };
    case 'NO_AGENT':
      return { kind: 'no_agent', role: begun.role };
    case 'REVISION_CONFLICT':
      return { kind: 'revision_conflict', agents: begun.agents };
    case 'INCOMPLETE':
      return { kind: 'incomplete', missing: begun.missing };
    case 'RATE_LIMITED':
      return { kind: 'rate_limited', retryAfterMs: begun.retryAfterMs };
  }
}

/** The ports of a run of this journal; none of them holds the key. */
function runPorts(
  ports: Omit<RunPorts<AgentRecord>, 'journal'>,
  journal: RunJournal<AgentRecord>,
): RunPorts<AgentRecord> {
  const { admission, clock, random, log, meter, settings } = ports;
  return { journal, admission, clock, random, log, meter, settings };
}

type Begun = BeginOutcome | { outcome: 'UNREACHABLE' } | { outcome: 'FATE_UNKNOWN' };

/**
 * Begins, again if the answer was lost: the database knows the save by its id and owner. All attempts have one deadline. After it,
 * one more call asks what became of the save; it can begin nothing, and so adds little load to a database that is slow already.
 */
async function begin<Db>(
  journal: SaveJournal,
  orgId: string,
  saveId: string,
  updates: TransactionalAgentUpdate[],
  { ports, ...options }: SaveOptions & { ports: ExecutorPorts<Db> },
): Promise<Begun> {
  const { clock, settings } = ports;
  const request = {
    idempotencyKey: options.idempotencyKey ?? null,
    requestHash: requestHash(options.request ?? named(updates)),
    cause: options.kind ?? 'USER',
    actor: options.actor ?? null,
    limit: limitOf(ports.admission, options),
    notAfter: deadlineOf(ports.databaseTime?.() ?? null),
    leaseMs: settings.leaseMs,
    deadlineMs: settings.deadlineMs,
    mappingVersion: MAPPING_VERSION,
    updates: updates.map((update) => ({
      role: update.role,
      agentId: update.agentId,
      newAgentId: ports.ids.uuid(),
      patch: update.payload,
      defaults: defaultConfig(update.role),
      expectedRevision: update.expectedRevision,
      expectedSaveId: update.expectedSaveId,
      recreateIfMissing: update.recreateIfMissing,
    })),
  };
  const from = clock.monotonic();
  let sent = false;
  let onlyAsks = false;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await journal.begin(orgId, saveId, ports.owner, request);
    } catch (error) {
      if (!(error instanceof DatabaseError)) {
        if (!sent) throw error;
        // This attempt did not begin anything, but an earlier one may have.
        ports.log.error({ saveId, err: error }, 'the database refused to say what became of a save');
        return { outcome: 'FATE_UNKNOWN' };
      }
      sent ||= error.sent;
      ports.log.warn(
        { saveId, transition: 'begin', code: error.code, attempt },
        'the database did not answer',
      );
      const elapsed = clock.monotonic() - from;
      const late = elapsed >= BEGIN_WITHIN_MS;
      const isOver = attempt >= BEGIN_ATTEMPTS || elapsed >= settings.answerMs || onlyAsks;
      // Without a deadline in the call, a late repeat could begin a save whose caller has given up.
      if (isOver || (late && request.notAfter === undefined))
        return { outcome: sent ? 'FATE_UNKNOWN' : 'UNREACHABLE' };
      onlyAsks = late;
      await clock.sleep(100 * attempt);
    }
  }
}

function deadlineOf(databaseTime: number | null): string | undefined {
  return databaseTime === null ? undefined : new Date(databaseTime + BEGIN_WITHIN_MS).toISOString();
}

/**
 * The same request is running already, here or elsewhere: its answer is ours too, if it comes in time. Asking again is
 * harmless, because the idempotency key (or the save's id) decides what is found. `until` is by the monotonic clock.
 */
async function awaitEnd(
  running: SaveRecord,
  ask: () => Promise<Begun>,
  clock: Clock,
  until: number,
  learn: (running: SaveRecord) => void,
): Promise<SaveOutcome> {
  let save = running;
  for (let waitMs = 100; clock.monotonic() + waitMs < until; waitMs = Math.min(waitMs * 2, 1_000)) {
    await clock.sleep(waitMs);
    const again = await ask();
    if (again.outcome !== 'REPLAY') break;
    save = saveOf(again.saga);
    learn(save);
    if (isClosed(save.status)) return replayOf(save, again.rows);
  }
  return outcomeOf(save, []);
}

/** Of a closed save. */
function replayOf(save: SaveRecord, agents: AgentRecord[]): SaveOutcome {
  const outcome = outcomeOf(save, agents);
  return outcome.kind === 'committed' || outcome.kind === 'failed' ? { ...outcome, replay: true } : outcome;
}

/** A save's record as an answer. */
export function outcomeOf(save: SaveRecord, agents: AgentRecord[]): SaveOutcome {
  if (save.status === 'COMMITTED') return { kind: 'committed', save, agents };
  if (save.status === 'ROLLED_BACK') {
    const failure = save.failure ?? {
      reason: 'VAPI_UNAVAILABLE' as const,
      message: 'The save was not made.',
      retryable: true,
    };
    return { kind: 'failed', save, failure };
  }
  return { kind: 'pending', save, retryAfterMs: save.status === 'NEEDS_ATTENTION' ? null : PENDING_RETRY_MS };
}

/** For what users ask for; the sweep's repairs are bounded by what was edited. */
function limitOf(admission: Admission | undefined, { actor }: SaveOptions): SaveLimit | undefined {
  if (admission === undefined || actor === undefined || actor === null) return undefined;
  return { saves: admission.savesPerMinute, perMs: 60_000 };
}

/** What a save asks for. The order of keys has no meaning. */
function named(updates: TransactionalAgentUpdate[]): object {
  return updates.map(({ role, payload, expectedRevision, recreateIfMissing }) => ({
    role,
    payload,
    expectedRevision,
    recreateIfMissing,
  }));
}

function requestHash(request: object): string {
  return createHash('sha256').update(canonicalJson(request)).digest('hex');
}

/** What can be said of a save before the database has answered. */
function unseenSave(id: string, startedAt: number): SaveRecord {
  return {
    id,
    status: 'APPLYING',
    epoch: 1,
    kind: 'USER',
    ambiguous: false,
    mappingVersion: MAPPING_VERSION,
    results: [],
    failure: null,
    startedAt: new Date(startedAt).toISOString(),
    finishedAt: null,
  };
}

import { createHash } from 'node:crypto';
import { canonicalJson } from '../../domain/json.ts';
import type { SagaFailure, SagaRecord, SagaStatus } from '../../domain/saga.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Admission, Admitted } from '../../ports/admission.ts';
import { DatabaseError } from '../../ports/database.ts';
import type { BeginSaga, BeginSagaOutcome, SagaLimit } from '../../ports/saga-journal.ts';
import type { Clock, Ids, Log, Random } from '../../ports/system.ts';
import type { Meter, SaveEndedBy, SaveMeter } from '../../ports/telemetry.ts';
import type { SagaDefinition } from './participant.ts';
import { isClosed } from './protocol.ts';
import { type Ended, SagaReport } from './report.ts';
import { instant, type RunJournal, type RunPorts, SagaRun } from './run.ts';
import type { SagaSettings } from './settings.ts';

/** What every executor works with, whatever kind of saga it makes. */
export interface SagaPorts {
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

/**
 * And what depends on the kind of saga. `Db` is whatever the journal's adapter needs: supabase-js's service client in production.
 * `Voice`: what the participants of the kind need of the provider.
 */
export interface SagaExecutorPorts<Db, Journal, Voice> extends SagaPorts {
  openJournal(supabase: Db): Journal;
  openVoiceProvider(vapiApiKey: Secret): Voice;
}

/** One saga to be made; the key is not among it. */
export interface SagaStart<Row, Refusal, Journal, Voice> {
  orgId: string;
  definition: SagaDefinition<Voice>;
  /** Further fields of its line in the log. */
  about?: Record<string, unknown>;
  /** How many requests to Vapi it sends where all goes well. */
  requests: number;
  mappingVersion: number;
  idempotencyKey: string | null;
  /** What identifies a repetition under the same idempotency key. The order of keys has no meaning. No secrets. */
  request: object;
  cause: string;
  /** Who asked, for the journal: the user's id. Null: nobody, so that no limit counts it. */
  actor: string | null;
  /** May throw `DatabaseError`; idempotent by the saga's id and the owner. */
  begin(
    journal: Journal,
    sagaId: string,
    owner: string,
    request: BeginSaga,
  ): Promise<BeginSagaOutcome<Row> | Refusal>;
}

/** The saga's fate, or why it did not begin. */
export type SagaOutcome<Row, Refusal> =
  /** `replay`: an earlier request made the saga, so `rows`, which are as it left them, may have changed since. */
  | { kind: 'committed'; saga: SagaRecord; rows: Row[]; replay?: true }
  | { kind: 'failed'; saga: SagaRecord; failure: SagaFailure; replay?: true }
  | { kind: 'pending'; saga: SagaRecord; retryAfterMs: number | null }
  | { kind: 'in_progress'; sagaId: string; status: SagaStatus; retryAfterMs: number | null }
  | { kind: 'idempotency_conflict'; sagaId: string }
  | { kind: 'no_organization' }
  | { kind: 'rate_limited'; retryAfterMs: number | null }
  | { kind: 'unavailable'; retryAfterMs: number | null }
  | { kind: 'not_configured' }
  /** For a reason that only this kind of saga has. */
  | { kind: 'refused'; refusal: Refusal };

const PENDING_RETRY_MS = 1_000;
const UNAVAILABLE_RETRY_MS = 2_000;
const BEGIN_ATTEMPTS = 3;
/** Less than the five seconds after which the database's client gives up (src/env.ts): the answer of a saga that began is heard. */
const BEGIN_WITHIN_MS = 4_000;
const UNLIMITED: Admitted = { admitted: true, unused: () => {}, done: () => {} };

/**
 * Makes one saga true in both systems, or in neither. Two database calls where all goes well, and the requests of its parts to Vapi.
 * It answers within `settings.answerMs`; a saga that is still undecided then goes on by itself.
 *
 * The only code of the request path that is given the master key. It does not depend on the caller's connection or token: once
 * begun, a saga is finished or undone whatever becomes of the caller.
 */
export async function executeSaga<
  Db,
  Row,
  Refusal extends { outcome: string },
  Journal extends RunJournal<Row>,
  Voice extends object,
>(
  supabase: Db,
  start: SagaStart<Row, Refusal, Journal, Voice>,
  vapiApiKey: Secret | null,
  ports: SagaExecutorPorts<Db, Journal, Voice>,
): Promise<SagaOutcome<Row, Refusal>> {
  const { orgId, definition } = start;
  type Outcome = SagaOutcome<Row, Refusal>;
  const report = new SagaReport(ports, {
    ...{ orgId, saga: definition.name, ...start.about, kind: start.cause },
  });
  const refused = (outcome: Outcome): Outcome => {
    report.ended('request', endedOf(outcome));
    return outcome;
  };
  if (vapiApiKey === null) return refused({ kind: 'not_configured' });

  const journal = ports.openJournal(supabase);
  // Before the saga begins: what cannot be set up must not leave one behind.
  const voice = ports.openVoiceProvider(vapiApiKey);
  const arrived = ports.clock.monotonic();
  const admitted = await report.time('waiting', () => admittedInTime(ports, orgId, start.requests));
  if (!admitted.admitted) {
    const { retryAfterMs, unreachable } = admitted;
    return refused({ kind: unreachable === true ? 'unavailable' : 'rate_limited', retryAfterMs });
  }
  const { unused, done } = admitted;
  const sagaId = ports.ids.uuid();
  const leaseFrom = instant(ports.clock);
  const unseen = unseenSaga(sagaId, leaseFrom.wall, start);
  let known = () => unseen;

  async function make(): Promise<Outcome> {
    const ask = () => begin(journal, sagaId, start, ports);
    const begun = await report.time('begin', ask).catch((error: unknown) => {
      unused();
      throw error;
    });
    if (begun.outcome !== 'BEGUN') unused();
    if (!isSaga<Row, Refusal>(begun)) return refusalOf<Row, Refusal>(begun, unseen);
    known = () => begun.saga;
    try {
      if (begun.outcome !== 'BEGUN') {
        if (isClosed(begun.saga.status)) return replayOf(begun.saga, begun.rows);
        // Only a person can end it, so waiting for its end would only delay the answer.
        if (begun.saga.status === 'NEEDS_ATTENTION') return outcomeOf(begun.saga, []);
        const until = arrived + ports.settings.answerMs;
        return await awaitEnd(begun.saga, ask, ports.clock, until, (running) => {
          known = () => running;
        });
      }
      const run = new SagaRun(
        runPorts(ports, report.journal(journal)),
        definition.open(report.voice(voice)),
        {
          ...{ orgId, ...begun, leaseFrom, leaseMs: ports.settings.leaseMs },
          ...{ taken: false, once: false, quarantined: false, pastDeadline: false },
        },
      );
      known = () => run.current;
      const end = await run.run();
      return outcomeOf(end.saga, end.rows);
    } catch (error) {
      // A defect, but the saga has begun and may still end either way: recovery settles it once its lease has lapsed.
      ports.log.error({ saveId: sagaId, err: error }, 'a saga stopped where none should');
      return { kind: 'pending', saga: known(), retryAfterMs: PENDING_RETRY_MS };
    }
  }

  let by: SaveEndedBy = 'request';
  let isOver = false;
  const ended = (outcome: Ended) => {
    isOver = true;
    done();
    report.ended(by, outcome, sagaId);
  };
  const work = make().then(
    (outcome) => {
      ended(endedOf(outcome));
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
    .then((): Outcome | Promise<Outcome> => {
      // A saga that has just closed is not pending: its answer comes in a moment.
      if (isOver || isClosed(known().status)) return work;
      const pending: Outcome = { kind: 'pending', saga: known(), retryAfterMs: PENDING_RETRY_MS };
      report.ended(by, pending, sagaId);
      by = 'background';
      return pending;
    });
  return Promise.race([work, tooLate]).finally(() => answered.abort('answered'));
}

/** Returns permits for the saga. Refuses it, and returns the permits, if they come too late for an answer within `answerMs`. */
async function admittedInTime(
  { admission, clock, settings }: SagaPorts,
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

type Begun<Row, Refusal> =
  | BeginSagaOutcome<Row>
  | Refusal
  | { outcome: 'UNREACHABLE' }
  | { outcome: 'FATE_UNKNOWN' };
type WithSaga<Row> = Extract<BeginSagaOutcome<Row>, { saga: SagaRecord }>;

function isSaga<Row, Refusal>(begun: Begun<Row, Refusal>): begun is WithSaga<Row> {
  const { outcome } = begun as { outcome: string };
  return outcome === 'BEGUN' || outcome === 'REPLAY' || outcome === 'REFUSED';
}

/** Why nothing began, or that it is not known whether something did. */
function refusalOf<Row, Refusal extends { outcome: string }>(
  answer: Begun<Row, Refusal>,
  unseen: SagaRecord,
): SagaOutcome<Row, Refusal> {
  const begun = answer as
    | Exclude<BeginSagaOutcome<Row>, { saga: SagaRecord }>
    | { outcome: 'UNREACHABLE' | 'FATE_UNKNOWN' };
  switch (begun.outcome) {
    case 'UNREACHABLE':
    // Nothing began, and nothing that is still on its way will.
    case 'TOO_LATE':
      return { kind: 'unavailable', retryAfterMs: UNAVAILABLE_RETRY_MS };
    case 'FATE_UNKNOWN':
      // It may have begun: never "failed" of what may still commit. Recovery finds it, if it did.
      return { kind: 'pending', saga: unseen, retryAfterMs: PENDING_RETRY_MS };
    case 'NO_ORGANIZATION':
      return { kind: 'no_organization' };
    case 'IDEMPOTENCY_CONFLICT':
      return { kind: 'idempotency_conflict', sagaId: begun.sagaId };
    case 'IN_PROGRESS': {
      const { sagaId, status, retryAfterMs } = begun;
      return { kind: 'in_progress', sagaId, status, retryAfterMs };
    }
    case 'RATE_LIMITED':
      return { kind: 'rate_limited', retryAfterMs: begun.retryAfterMs };
    default:
      return { kind: 'refused', refusal: answer as Refusal };
  }
}

/** The ports of a run of this journal; none of them holds the key. */
function runPorts<Row>(ports: SagaPorts, journal: RunJournal<Row>): RunPorts<Row> {
  const { admission, clock, random, log, meter, settings } = ports;
  return { journal, admission, clock, random, log, meter, settings };
}

/**
 * Begins, again if the answer was lost: the database knows the saga by its id and owner. All attempts have one deadline. After it,
 * one more call asks what became of the saga; it can begin nothing, and so adds little load to a database that is slow already.
 */
async function begin<Row, Refusal, Journal, Voice>(
  journal: Journal,
  sagaId: string,
  start: SagaStart<Row, Refusal, Journal, Voice>,
  ports: SagaPorts,
): Promise<Begun<Row, Refusal>> {
  const { clock, settings } = ports;
  const request: BeginSaga = {
    idempotencyKey: start.idempotencyKey,
    requestHash: requestHash(start.request),
    cause: start.cause,
    actor: start.actor,
    limit: limitOf(ports.admission, start.actor),
    notAfter: deadlineOf(ports.databaseTime?.() ?? null),
    leaseMs: settings.leaseMs,
    deadlineMs: settings.deadlineMs,
    mappingVersion: start.mappingVersion,
  };
  const from = clock.monotonic();
  let sent = false;
  let onlyAsks = false;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start.begin(journal, sagaId, ports.owner, request);
    } catch (error) {
      if (!(error instanceof DatabaseError)) {
        if (!sent) throw error;
        // This attempt did not begin anything, but an earlier one may have.
        ports.log.error({ saveId: sagaId, err: error }, 'the database refused to say what became of a saga');
        return { outcome: 'FATE_UNKNOWN' };
      }
      sent ||= error.sent;
      ports.log.warn(
        { saveId: sagaId, transition: 'begin', code: error.code, attempt },
        'the database did not answer',
      );
      const elapsed = clock.monotonic() - from;
      const late = elapsed >= BEGIN_WITHIN_MS;
      const isOver = attempt >= BEGIN_ATTEMPTS || elapsed >= settings.answerMs || onlyAsks;
      // Without a deadline in the call, a late repeat could begin a saga whose caller has given up.
      if (isOver || (late && request.notAfter === undefined))
        return { outcome: sent ? 'FATE_UNKNOWN' : 'UNREACHABLE' };
      onlyAsks = late;
      await clock.sleep(100 * attempt);
    }
  }
}

/** When a begin is too late, on the database's clock. */
export function deadlineOf(databaseTime: number | null): string | undefined {
  return databaseTime === null ? undefined : new Date(databaseTime + BEGIN_WITHIN_MS).toISOString();
}

/**
 * The same request is running already, here or elsewhere: its answer is ours too, if it comes in time. Asking again is
 * harmless, because the idempotency key (or the saga's id) decides what is found. `until` is by the monotonic clock.
 */
async function awaitEnd<Row, Refusal>(
  running: SagaRecord,
  ask: () => Promise<Begun<Row, Refusal>>,
  clock: Clock,
  until: number,
  learn: (running: SagaRecord) => void,
): Promise<SagaOutcome<Row, never>> {
  let saga = running;
  for (let waitMs = 100; clock.monotonic() + waitMs < until; waitMs = Math.min(waitMs * 2, 1_000)) {
    await clock.sleep(waitMs);
    const again = await ask();
    if (!isSaga<Row, Refusal>(again) || again.outcome !== 'REPLAY') break;
    saga = again.saga;
    learn(saga);
    if (isClosed(saga.status)) return replayOf(saga, again.rows);
  }
  return outcomeOf(saga, []);
}

/** Of a closed saga. */
function replayOf<Row>(saga: SagaRecord, rows: Row[]): SagaOutcome<Row, never> {
  const outcome = outcomeOf(saga, rows);
  return outcome.kind === 'committed' || outcome.kind === 'failed' ? { ...outcome, replay: true } : outcome;
}

/** Returns what the record of a saga says about its end. */
export function outcomeOf<Row>(
  saga: SagaRecord,
  rows: Row[],
): Extract<SagaOutcome<Row, never>, { saga: SagaRecord }> {
  if (saga.status === 'COMMITTED') return { kind: 'committed', saga, rows };
  if (saga.status === 'ROLLED_BACK') {
    const failure = saga.failure ?? {
      reason: 'VAPI_UNAVAILABLE' as const,
      message: 'The save was not made.',
      retryable: true,
    };
    return { kind: 'failed', saga, failure };
  }
  return { kind: 'pending', saga, retryAfterMs: saga.status === 'NEEDS_ATTENTION' ? null : PENDING_RETRY_MS };
}

function endedOf<Row, Refusal extends { outcome: string }>(outcome: SagaOutcome<Row, Refusal>): Ended {
  return outcome.kind === 'refused' ? { kind: outcome.refusal.outcome.toLowerCase() } : outcome;
}

/** For what users ask for; repairs of the sweep and of jobs are bounded by what there is to repair. */
export function limitOf(admission: Admission | undefined, actor: string | null): SagaLimit | undefined {
  return admission === undefined || actor === null
    ? undefined
    : { saves: admission.savesPerMinute, perMs: 60_000 };
}

/** Equal for requests that mean the same: the order of keys has no meaning. */
export function requestHash(request: object): string {
  return createHash('sha256').update(canonicalJson(request)).digest('hex');
}

/** What can be said of a saga before the database has answered. */
function unseenSaga(
  id: string,
  startedAt: number,
  start: { definition: { name: string }; cause: string; mappingVersion: number },
): SagaRecord {
  return {
    ...{ id, status: 'APPLYING', epoch: 1, kind: start.definition.name, cause: start.cause },
    ...{ ambiguous: false, mappingVersion: start.mappingVersion, results: [], failure: null },
    ...{ startedAt: new Date(startedAt).toISOString(), finishedAt: null },
  };
}

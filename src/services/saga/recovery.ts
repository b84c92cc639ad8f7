import { DatabaseError } from '../../ports/database.ts';
import type { SagaJournal, TakenSaga } from '../../ports/saga-journal.ts';
import { outcomeOf, type SagaPorts } from './execute.ts';
import type { SagaDefinition, SagaKind } from './participant.ts';
import { SagaReport } from './report.ts';
import { instant, type RunEnd, type RunJournal, type RunPorts, SagaRun } from './run.ts';
import { recoveryLeaseMs } from './settings.ts';

/** How many abandoned sagas are carried on at once. */
const AT_ONCE = 20;
/** How many are looked up at once. A full answer means that there may be more. */
const LOOK_AHEAD = 100;
/** While sagas are carried on, how often others that have become due meanwhile are looked up, milliseconds. */
const LOOK_AGAIN_MS = 1_000;

export interface RecoveryRound {
  taken: number;
  finished: number;
}

/**
 * One round of recovery for sagas of these kinds. One of another kind is counted and logged as stuck, and stays for a build that knows
 * its kind. Throws `DatabaseError`.
 */
export function recoverSagas<Voice extends object>(
  journal: SagaJournal,
  voice: Voice,
  kinds: readonly SagaDefinition<Voice>[],
  ports: SagaPorts,
  stopping?: AbortSignal,
): Promise<RecoveryRound> {
  return recoverAbandonedSagas(
    journal,
    (orgId, { saga, images }) => {
      const definition = kinds.find(({ name }) => name === saga.kind);
      if (definition === undefined) throw new Error(`no participant is known for sagas of kind ${saga.kind}`);
      const report = new SagaReport(ports, {
        ...{ orgId, saga: saga.kind, ...definition.about?.(images), kind: saga.cause },
      });
      return {
        kind: definition.open(report.voice(voice)),
        journal: report.journal(journal),
        ended: (end) => report.ended('recovery', outcomeOf(end.saga, end.rows)),
      };
    },
    ports,
    stopping,
  );
}

/** How a saga that was taken over is carried on. */
export interface Continuation<Row> {
  kind: SagaKind;
  journal: RunJournal<Row>;
  /** Told where the run left the saga. */
  ended(end: RunEnd<Row>): void;
}

/**
 * One round of recovery: takes over sagas whose owner has gone, and carries each to its end or to the next point where it must wait.
 * Up to `AT_ONCE` run side by side, since they are of different organizations. When one ends, the next one is taken over, so that
 * one that Vapi keeps waiting does not delay the others. Any number of replicas may run it at once: the takeover's epoch decides
 * who acts. Throws `DatabaseError`.
 */
export async function recoverAbandonedSagas<Row>(
  journal: SagaJournal<Row>,
  open: (orgId: string, taken: TakenSaga) => Continuation<Row>,
  ports: Omit<RunPorts<Row>, 'journal'> & { owner: string },
  stopping?: AbortSignal,
): Promise<RecoveryRound> {
  const round: RecoveryRound = { taken: 0, finished: 0 };
  const running = new Set<Promise<void>>();
  // What another replica works on, or what could not be carried on, is still due: not at once again.
  const lookedAt = new Map<string, number>();
  const waiting: { orgId: string; sagaId: string }[] = [];
  let isMore = true;
  for (;;) {
    if (isMore && waiting.length === 0 && stopping?.aborted !== true) {
      const now = ports.clock.monotonic();
      const due = await journal.due(LOOK_AHEAD);
      const fresh = due.filter(({ sagaId }) => now - (lookedAt.get(sagaId) ?? -Infinity) >= LOOK_AGAIN_MS);
      for (const { sagaId } of fresh) lookedAt.set(sagaId, now);
      waiting.push(...fresh);
      isMore = due.length === LOOK_AHEAD && fresh.length > 0;
    }
    while (running.size < AT_ONCE && stopping?.aborted !== true) {
      const next = waiting.shift();
      if (next === undefined) break;
      const work: Promise<void> = recover(next.orgId, next.sagaId).finally(() => running.delete(work));
      running.add(work);
    }
    if (running.size === 0) return round;
    if (isMore || running.size === AT_ONCE) await Promise.race(running);
    else isMore = await pausedFor(LOOK_AGAIN_MS);
  }

  /** Waits until something that is running has ended, or for this time at most. Returns true if the time is over. */
  async function pausedFor(ms: number): Promise<boolean> {
    const ended = new AbortController();
    const paused = ports.clock.sleep(ms, ended.signal).then(() => true);
    return Promise.race([paused, ...[...running].map((work) => work.then(() => false))]).finally(() =>
      ended.abort('ended'),
    );
  }

  async function recover(orgId: string, sagaId: string): Promise<void> {
    try {
      const leaseFrom = instant(ports.clock);
      const leaseMs = recoveryLeaseMs(ports.settings);
      const taken = await journal.takeover(orgId, sagaId, ports.owner, leaseMs);
      if (taken.outcome !== 'TAKEN') return;
      round.taken += 1;
      ports.meter.count('save.taken_over');
      const { epoch, status } = taken.saga;
      ports.log.info({ saveId: sagaId, epoch, status }, 'taking over an abandoned save');
      const { kind, journal: transitions, ended } = open(orgId, taken);
      const run = new SagaRun({ ...ports, journal: transitions }, kind, {
        ...taken,
        ...{ orgId, leaseFrom, leaseMs, taken: true },
      });
      const end = await run.run();
      if (end.saga.finishedAt !== null) round.finished += 1;
      ended(end);
    } catch (error) {
      if (error instanceof DatabaseError) {
        ports.log.warn({ saveId: sagaId, code: error.code }, 'the database did not answer recovery');
      } else {
        // Recovery tries again once the lease has lapsed, but the same defect will most likely stop it again.
        ports.meter.count('save.stuck');
        ports.log.error(
          { saveId: sagaId, orgId, event: 'save.stuck', err: error },
          'an abandoned save could not be carried on',
        );
      }
    }
  }
}

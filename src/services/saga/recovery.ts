import { DatabaseError } from '../../ports/database.ts';
import type { SagaJournal, TakenSaga } from '../../ports/saga-journal.ts';
import type { SagaKind } from './participant.ts';
import { instant, type RunEnd, type RunJournal, type RunPorts, SagaRun } from './run.ts';
import { recoveryLeaseMs } from './settings.ts';

/** How many abandoned sagas are carried on at once. A full batch means that there may be more. */
const BATCH = 20;

export interface RecoveryRound {
  taken: number;
  finished: number;
}

/** How a saga that was taken over is carried on. */
export interface Continuation<Row> {
  kind: SagaKind;
  journal: RunJournal<Row>;
  /** Told where the run left the saga. */
  ended(end: RunEnd<Row>): void;
}

/**
 * One round of recovery: takes sagas whose owner has gone, batch by batch until a batch is not full, and carries each to its end
 * or to the next point where it must wait. Any number of replicas may run it at once: the takeover's epoch decides who acts.
 * Throws `DatabaseError`.
 */
export async function recoverAbandonedSagas<Row>(
  journal: SagaJournal<Row>,
  open: (orgId: string, taken: TakenSaga) => Continuation<Row>,
  ports: Omit<RunPorts<Row>, 'journal'> & { owner: string },
  stopping?: AbortSignal,
): Promise<RecoveryRound> {
  const round: RecoveryRound = { taken: 0, finished: 0 };
  const seen = new Set<string>();
  for (;;) {
    const due = await journal.due(BATCH);
    // Once a round: what another replica is at, or what could not be carried on, is still due.
    const fresh = due.filter(({ sagaId }) => !seen.has(sagaId));
    for (const { sagaId } of fresh) seen.add(sagaId);
    // Side by side: they are of different organizations, and one that Vapi keeps waiting must not keep the others.
    await Promise.all(fresh.map(({ orgId, sagaId }) => recover(orgId, sagaId)));
    if (due.length < BATCH || fresh.length === 0 || stopping?.aborted === true) return round;
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

import type { SaveJournal } from '../../ports/save-journal.ts';
import { DatabaseError } from '../../ports/save-journal.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { type ExecutorPorts, runPorts } from './execute.ts';
import { instant, SaveRun } from './run.ts';

/** How many abandoned saves one round looks at. */
const BATCH = 20;

export interface RecoveryRound {
  taken: number;
  finished: number;
}

/**
 * One round of recovery: takes saves whose owner has gone, and carries each to its end or to the next point where it must
 * wait. Any number of replicas may run it at once: the takeover's epoch decides who acts. Throws `DatabaseError`.
 */
export async function recoverAbandonedSaves<Db>(
  journal: SaveJournal,
  voice: VoiceProvider,
  ports: Omit<ExecutorPorts<Db>, 'openJournal' | 'openVoiceProvider'>,
): Promise<RecoveryRound> {
  const round: RecoveryRound = { taken: 0, finished: 0 };
  for (const { orgId, saveId } of await journal.due(BATCH)) {
    try {
      const leaseFrom = instant(ports.clock);
      const taken = await journal.takeover(orgId, saveId, ports.owner, ports.settings.leaseMs);
      if (taken.outcome !== 'TAKEN') continue;
      round.taken += 1;
      ports.meter.count('save.taken_over');
      ports.log.info(
        { saveId, epoch: taken.save.epoch, status: taken.save.status },
        'taking over an abandoned save',
      );
      const run = new SaveRun(runPorts(ports, journal, voice), { ...taken, orgId, leaseFrom, taken: true });
      const end = await run.run();
      if (end.save.finishedAt !== null) round.finished += 1;
      ports.log.info({ saveId, status: end.save.status }, 'left an abandoned save');
    } catch (error) {
      // One organization's trouble must not keep the others waiting.
      if (!(error instanceof DatabaseError))
        ports.log.error({ saveId, err: error }, 'an abandoned save could not be carried on');
      else ports.log.warn({ saveId, code: error.code }, 'the database did not answer recovery');
    }
  }
  return round;
}

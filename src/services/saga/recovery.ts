import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import { DatabaseError } from '../../ports/agents/save-journal.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { type ExecutorPorts, outcomeOf, runPorts } from '../agents/execute.ts';
import { SaveReport } from '../agents/report.ts';
import { instant, SaveRun } from './run.ts';
import { recoveryLeaseMs } from './settings.ts';

/** How many abandoned saves are carried on at once. A full batch means that there may be more. */
const BATCH = 20;

export interface RecoveryRound {
  taken: number;
  finished: number;
}

/**
 * One round of recovery: takes saves whose owner has gone, batch by batch until a batch is not full, and carries each to its end or to the next point where it must
 * wait. Any number of replicas may run it at once: the takeover's epoch decides who acts. Throws `DatabaseError`.
 */
export async function recoverAbandonedSaves<Db>(
  journal: SaveJournal,
  voice: VoiceProvider,
  ports: Omit<ExecutorPorts<Db>, 'openJournal' | 'openVoiceProvider'>,
  stopping?: AbortSignal,
): Promise<RecoveryRound> {
  const round: RecoveryRound = { taken: 0, finished: 0 };
  const seen = new Set<string>();
  for (;;) {
    const due = await journal.due(BATCH);
    // Once a round: what another replica is at, or what could not be carried on, is still due.
    const fresh = due.filter(({ saveId }) => !seen.has(saveId));
    for (const { saveId } of fresh) seen.add(saveId);
    // Side by side: they are of different organizations, and one that Vapi keeps waiting must not keep the others.
    await Promise.all(fresh.map(({ orgId, saveId }) => recover(orgId, saveId)));
    if (due.length < BATCH || fresh.length === 0 || stopping?.aborted === true) return round;
  }

  async function recover(orgId: string, saveId: string): Promise<void> {
    try {
      const leaseFrom = instant(ports.clock);
      const leaseMs = recoveryLeaseMs(ports.settings);
      const taken = await journal.takeover(orgId, saveId, ports.owner, leaseMs);
      if (taken.outcome !== 'TAKEN') return;
      round.taken += 1;
      ports.meter.count('save.taken_over');
      const { epoch, status } = taken.save;
      ports.log.info({ saveId, epoch, status }, 'taking over an abandoned save');
      const report = new SaveReport(ports, {
        orgId,
        roles: taken.images.map(({ role }) => role),
        kind: taken.save.kind,
      });
      const run = new SaveRun(runPorts(ports, report.journal(journal), report.voice(voice)), {
        ...taken,
        ...{ orgId, leaseFrom, leaseMs, taken: true },
      });
      const end = await run.run();
      if (end.save.finishedAt !== null) round.finished += 1;
      report.ended('recovery', outcomeOf(end.save, end.agents));
    } catch (error) {
      if (error instanceof DatabaseError) {
        ports.log.warn({ saveId, code: error.code }, 'the database did not answer recovery');
      } else {
        // Recovery tries again once the lease has lapsed, but the same defect will most likely stop it again.
        ports.meter.count('save.stuck');
        ports.log.error(
          { saveId, orgId, event: 'save.stuck', err: error },
          'an abandoned save could not be carried on',
        );
      }
    }
  }
}

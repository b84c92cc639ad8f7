import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import { DatabaseError } from '../../ports/agents/save-journal.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { type ExecutorPorts, runPorts } from '../agents/execute.ts';
import { instant, SaveRun } from './run.ts';
import { recoveryLeaseMs } from './settings.ts';

/** How many abandoned saves are carried on at once. */
const AT_ONCE = 20;
/** How many are looked up at once. A full answer means that there may be more. */
const LOOK_AHEAD = 100;
/** While saves are carried on, how often others that have become due meanwhile are looked up. */
const LOOK_AGAIN_MS = 1_000;

export interface RecoveryRound {
  taken: number;
  finished: number;
}

/**
 * One round of recovery: takes saves whose owner has gone and carries each to its end or to the next point where it must wait.
 * Up to `AT_ONCE` side by side, since they are of different organizations; whenever one is done, the next one is taken, so that
 * one that Vapi keeps waiting does not keep the others. Any number of replicas may run it at once: the takeover's epoch decides
 * who acts. Throws `DatabaseError`.
 */
export async function recoverAbandonedSaves<Db>(
  journal: SaveJournal,
  voice: VoiceProvider,
  ports: Omit<ExecutorPorts<Db>, 'openJournal' | 'openVoiceProvider'>,
  stopping?: AbortSignal,
): Promise<RecoveryRound> {
  const round: RecoveryRound = { taken: 0, finished: 0 };
  const running = new Set<Promise<void>>();
  // What another replica works on, or what could not be carried on, is still due: not at once again.
  const lookedAt = new Map<string, number>();
  const waiting: { orgId: string; saveId: string }[] = [];
  let isMore = true;
  for (;;) {
    if (isMore && waiting.length === 0 && stopping?.aborted !== true) {
      const now = ports.clock.monotonic();
      const due = await journal.due(LOOK_AHEAD);
      const fresh = due.filter(({ saveId }) => now - (lookedAt.get(saveId) ?? -Infinity) >= LOOK_AGAIN_MS);
      for (const { saveId } of fresh) lookedAt.set(saveId, now);
      waiting.push(...fresh);
      isMore = due.length === LOOK_AHEAD && fresh.length > 0;
    }
    while (running.size < AT_ONCE && stopping?.aborted !== true) {
      const next = waiting.shift();
      if (next === undefined) break;
      const work: Promise<void> = recover(next.orgId, next.saveId).finally(() => running.delete(work));
      running.add(work);
    }
    if (running.size === 0) return round;
    if (isMore || running.size === AT_ONCE) await Promise.race(running);
    else isMore = await pausedFor(LOOK_AGAIN_MS);
  }

  /** Waits until something that is running has ended, for so long at most. True: it took that long. */
  async function pausedFor(ms: number): Promise<boolean> {
    const ended = new AbortController();
    const paused = ports.clock.sleep(ms, ended.signal).then(() => true);
    return Promise.race([paused, ...[...running].map((work) => work.then(() => false))]).finally(() =>
      ended.abort(),
    );
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
      const run = new SaveRun(runPorts(ports, journal, voice), {
        ...taken,
        ...{ orgId, leaseFrom, leaseMs, taken: true },
      });
      const end = await run.run();
      if (end.save.finishedAt !== null) round.finished += 1;
      ports.log.info({ saveId, status: end.save.status }, 'left an abandoned save');
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

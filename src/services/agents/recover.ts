import type { AgentRole } from '../../domain/agents/agent-config.ts';
import { type SaveKind, saveOf } from '../../domain/agents/save.ts';
import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import { type RecoveryRound, recoverAbandonedSagas } from '../saga/recovery.ts';
import { type ExecutorPorts, outcomeOf } from './execute.ts';
import { AGENTS, agentSaga } from './participant.ts';
import { SaveReport } from './report.ts';

/** One round of recovery for saves of agents. Throws `DatabaseError`. */
export function recoverAbandonedSaves<Db>(
  journal: SaveJournal,
  voice: Assistants,
  ports: Omit<ExecutorPorts<Db>, 'openJournal' | 'openVoiceProvider'>,
  stopping?: AbortSignal,
): Promise<RecoveryRound> {
  return recoverAbandonedSagas(
    journal,
    (orgId, { saga, images }) => {
      if (saga.kind !== AGENTS) throw new Error(`no participant is known for sagas of kind ${saga.kind}`);
      const report = new SaveReport(ports, {
        orgId,
        roles: images.map(({ key }) => key as AgentRole),
        kind: saga.cause as SaveKind,
      });
      return {
        kind: agentSaga(report.voice(voice)),
        journal: report.journal(journal),
        ended: (end) => report.ended('recovery', outcomeOf(saveOf(end.saga), end.rows)),
      };
    },
    ports,
    stopping,
  );
}

import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { SaveKind } from '../../domain/agents/save.ts';
import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { type RecoveryRound, recoverAbandonedSagas } from '../saga/recovery.ts';
import { type ExecutorPorts, outcomeOf } from './execute.ts';
import { agentSaga } from './participant.ts';
import { SaveReport } from './report.ts';
import { sagaJournalOf, saveOf } from './saga-journal.ts';

/** One round of recovery for saves of agents. Throws `DatabaseError`. */
export function recoverAbandonedSaves<Db>(
  journal: SaveJournal,
  voice: VoiceProvider,
  ports: Omit<ExecutorPorts<Db>, 'openJournal' | 'openVoiceProvider'>,
  stopping?: AbortSignal,
): Promise<RecoveryRound> {
  const sagas = sagaJournalOf(journal);
  return recoverAbandonedSagas(
    sagas,
    (orgId, { saga, images }) => {
      const report = new SaveReport(ports, {
        orgId,
        roles: images.map(({ key }) => key as AgentRole),
        kind: saga.kind as SaveKind,
      });
      return {
        kind: agentSaga(report.voice(voice)),
        journal: report.journal(sagas),
        ended: (end) => report.ended('recovery', outcomeOf(saveOf(end.saga), end.rows)),
      };
    },
    ports,
    stopping,
  );
}

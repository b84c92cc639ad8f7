import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { type RecoveryRound, recoverAbandonedSagas } from '../saga/recovery.ts';
import { type ExecutorPorts, runPorts } from './execute.ts';
import { agentSaga } from './participant.ts';

/** One round of recovery for saves of agents. Throws `DatabaseError`. */
export function recoverAbandonedSaves<Db>(
  journal: SaveJournal,
  voice: VoiceProvider,
  ports: Omit<ExecutorPorts<Db>, 'openJournal' | 'openVoiceProvider'>,
  stopping?: AbortSignal,
): Promise<RecoveryRound> {
  const { journal: sagas, ...rest } = runPorts(ports, journal);
  return recoverAbandonedSagas(sagas, agentSaga(voice), { ...rest, owner: ports.owner }, stopping);
}

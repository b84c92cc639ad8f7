import { type SaveRecord, saveOf } from '../../domain/agents/save.ts';
import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import type { SagaSettings } from '../saga/settings.ts';
import { type NotSettled, settleSaga } from '../saga/settle.ts';
import { agentSaga } from './participant.ts';

/** What settling came to. */
export type Settlement = { outcome: 'COMMITTED' | 'ROLLED_BACK'; save: SaveRecord } | NotSettled;

/** Ends an open save of agents, as `settleSaga` does. Throws `DatabaseError`. */
export async function settleSave(
  ports: {
    journal: SaveJournal;
    voice: Assistants;
    settings: SagaSettings;
    /** The Vapi organization that the database belongs to; null: not known. */
    account(): Promise<string | null>;
  },
  orgId: string,
  saveId: string,
  status: 'COMMITTED' | 'ROLLED_BACK',
): Promise<Settlement> {
  const settled = await settleSaga(
    {
      journal: ports.journal,
      kind: agentSaga(ports.voice),
      settings: ports.settings,
      unreliable: async () => otherAccount(ports.voice, await ports.account()),
    },
    orgId,
    saveId,
    status,
  );
  return 'saga' in settled ? { outcome: settled.outcome, save: saveOf(settled.saga) } : settled;
}

/** Why what this key reads is not known to be the Vapi organization of this database; null: it is. */
async function otherAccount(voice: Assistants, account: string | null): Promise<string | null> {
  const listed = await voice.listAssistants({ limit: 1 });
  if (listed.kind !== 'ok') return `Vapi could not be asked (${listed.kind})`;
  const seen = listed.value[0]?.['orgId'];
  if (account === null)
    return 'the database does not know yet which Vapi account it belongs to: start the server';
  if (seen === undefined) {
    return 'the key shows no assistant at all, so it may be of another Vapi account; make any assistant there to tell';
  }
  return seen === account ? null : 'the key reads another Vapi account than the one of this database';
}

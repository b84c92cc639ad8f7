import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { SaveImage, SaveRecord, TransactionResult } from '../../domain/agents/save.ts';
import type { Stamp } from '../../domain/agents/stamp.ts';
import type { CommittedAgent, SaveJournal } from '../../ports/agents/save-journal.ts';
import type { ProviderAssistant, VoiceProvider } from '../../ports/voice-provider.ts';
import { differences, observedForm } from '../agents/compare.ts';
import { renderAssistant } from '../agents/render.ts';
import { lateTimeMs, type SagaSettings } from './settings.ts';

/** What settling came to; `differs` tells what Vapi holds instead, per agent. */
export type Settlement =
  | { outcome: 'COMMITTED' | 'ROLLED_BACK'; save: SaveRecord }
  | { outcome: 'NOT_SETTLED'; reasons: string[] };

/**
 * Ends a save that needs attention, as an operator asks, but only if Vapi shows that very content now: every agent's new one
 * for COMMITTED, every agent's old one (or no assistant at all) for ROLLED_BACK. Nothing is sent to Vapi but reads, and only what
 * the Vapi organization of this database shows counts: in another one everything looks deleted.
 * Throws `DatabaseError`.
 */
export async function settleSave(
  ports: {
    journal: SaveJournal;
    voice: VoiceProvider;
    settings: SagaSettings;
    /** The Vapi organization that the database belongs to; null: not known. */
    account(): Promise<string | null>;
  },
  orgId: string,
  saveId: string,
  status: 'COMMITTED' | 'ROLLED_BACK',
): Promise<Settlement> {
  const { journal, voice, settings } = ports;
  const inspected = await journal.inspect(orgId, saveId);
  if (inspected.outcome === 'NO_SAVE') return { outcome: 'NOT_SETTLED', reasons: ['there is no such save'] };
  const { save, images, deployment } = inspected;
  if (save.status !== 'NEEDS_ATTENTION') {
    return { outcome: 'NOT_SETTLED', reasons: [`the save is ${save.status}: there is nothing to settle`] };
  }

  // Before the first look: what Vapi shows now may be overwritten before it is settled.
  if ((inspected.notBeforeMs ?? 0) > 0) return tooEarly(inspected.notBeforeMs ?? 0);

  const strange = await elsewhere(voice, await ports.account());
  if (strange !== null) return { outcome: 'NOT_SETTLED', reasons: [strange] };

  const agents: CommittedAgent[] = [];
  const results: TransactionResult[] = [];
  const missing: AgentRole[] = [];
  const reasons: string[] = [];
  for (const image of images) {
    const made = resultOf(save, image)?.assistantId ?? null;
    // With leave, a save may have made a new assistant in place of one that was gone.
    const created = image.assistantId === null || (made !== null && made !== image.assistantId);
    const assistantId = created ? made : image.assistantId;
    const reply = assistantId === null ? null : await voice.getAssistant(assistantId);
    if (reply !== null && reply.kind !== 'ok' && reply.kind !== 'gone') {
      reasons.push(`${image.role}: Vapi could not be asked (${reply.kind})`);
      continue;
    }
    const found = reply?.kind === 'ok' ? reply.value : null;
    const reason =
      status === 'COMMITTED' ? differsFromNew(image, found) : differsFromOld(image, found, created);
    if (reason !== null) reasons.push(`${image.role}: ${reason}`);
    if (found !== null)
      agents.push({ role: image.role, assistantId: found.id, observed: observedForm(found) });
    if (image.assistantId !== null && (created || found === null)) missing.push(image.role);
    const before = resultOf(save, image);
    if (before !== undefined) results.push({ ...before, vapiSynced: false, dbUpdated: false });
  }
  if (reasons.length > 0) return { outcome: 'NOT_SETTLED', reasons };

  const answer = await journal.settle({ orgId, saveId, epoch: save.epoch }, status, {
    agents,
    results,
    missing,
    lateMs: lateTimeMs(settings),
  });
  if (answer.outcome === 'TOO_EARLY') return tooEarly(answer.notBeforeMs ?? 0);
  if (answer.outcome !== status || !('save' in answer)) {
    return { outcome: 'NOT_SETTLED', reasons: ['somebody else settled it meanwhile'] };
  }
  return { outcome: status, save: answer.save };

  function stamp(image: SaveImage, of: { saveId: string; revision: number }): Stamp {
    return { deployment, orgId, agentId: image.agentId, role: image.role, ...of };
  }

  function differsFromNew(image: SaveImage, found: ProviderAssistant | null): string | null {
    if (found === null) return 'the assistant does not exist';
    const document = renderAssistant(
      save.mappingVersion,
      image.after.config,
      stamp(image, { saveId, revision: image.after.revision }),
    );
    return told(differences(document, found).map((entry) => entry.path));
  }

  function differsFromOld(
    image: SaveImage,
    found: ProviderAssistant | null,
    created: boolean,
  ): string | null {
    if (created) return found === null ? null : 'the assistant that this save made still exists';
    // Somebody has deleted it: nothing of this save is left there, and nobody could ever put the old content back.
    if (found === null || image.before === null) return null;
    const { config, mappingVersion, ...of } = image.before;
    return told(
      differences(renderAssistant(mappingVersion, config, stamp(image, of)), found).map(
        (entry) => entry.path,
      ),
    );
  }
}

/** Why what this key reads is not known to be the Vapi organization of this database; null: it is. */
async function elsewhere(voice: VoiceProvider, account: string | null): Promise<string | null> {
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

function tooEarly(ms: number): Settlement {
  return {
    outcome: 'NOT_SETTLED',
    reasons: [`a request of this save may still be applied; try again in ${Math.ceil(ms / 1_000)} s`],
  };
}

/** The content decides, not whose stamp it carries: a person writes no stamps. The sweep sees that one, and writes it anew. */
function told(differing: string[]): string | null {
  const paths = differing.filter((path) => !/^metadata\.lockstep(\.|$)/.test(path));
  return paths.length === 0 ? null : `Vapi holds other content at ${paths.join(', ')}`;
}

function resultOf(save: SaveRecord, image: SaveImage): TransactionResult | undefined {
  return save.results.find((result) => result.role === image.role);
}

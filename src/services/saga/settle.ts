import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { SaveFailure, SaveImage, SaveRecord, TransactionResult } from '../../domain/agents/save.ts';
import type { Stamp } from '../../domain/agents/stamp.ts';
import type { CommittedAgent, SaveJournal } from '../../ports/agents/save-journal.ts';
import type { ProviderAssistant, VoiceProvider } from '../../ports/voice-provider.ts';
import { differences, observedForm } from '../agents/compare.ts';
import { renderAssistant } from '../agents/render.ts';
import { stampedAssistants } from '../agents/stamped.ts';
import { isClosed } from './protocol.ts';
import { lateTimeMs, type SagaSettings } from './settings.ts';

/** What settling came to. `retryAfterMs`: the same call may succeed then; absent: only once something has been changed by hand. */
export type Settlement =
  | { outcome: 'COMMITTED' | 'ROLLED_BACK'; save: SaveRecord }
  | { outcome: 'NOT_SETTLED'; reasons: string[]; retryAfterMs?: number };

const BUSY_RETRY_MS = 1_000;
/** Of a save that had not failed when an operator took it. */
const ENDED_BY_HAND: SaveFailure = {
  reason: 'VAPI_UNAVAILABLE',
  message: 'The save was not made: an operator ended it.',
  retryable: false,
};
/** Names an operator in the journal. */
const OWNER = 'settle';

/**
 * Ends an open save, as an operator asks, but only if Vapi shows that very content now: every agent's new one for COMMITTED, every
 * agent's old one (or no assistant at all) for ROLLED_BACK. Nothing is sent to Vapi but reads, and only what the Vapi
 * organization of this database shows counts: in another one everything looks deleted.
 *
 * A save that does not need attention yet is first taken from recovery: it gets a new epoch and NEEDS_ATTENTION, so that no
 * earlier owner can record anything more. It is refused while an owner is at work, and while a request may still be applied.
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
  if (isClosed(save.status)) {
    return { outcome: 'NOT_SETTLED', reasons: [`the save is ${save.status}: there is nothing to settle`] };
  }
  if ((inspected.leaseMs ?? 0) > 0) return inUse(inspected.leaseMs ?? 0);
  // Before the first look: what Vapi shows now may be overwritten before it is settled.
  if ((inspected.notBeforeMs ?? 0) > 0) return tooEarly(inspected.notBeforeMs ?? 0);

  const strange = await elsewhere(voice, await ports.account());
  if (strange !== null) return { outcome: 'NOT_SETTLED', reasons: [strange] };

  if (save.status !== 'NEEDS_ATTENTION') return takeFromRecovery();

  const agents: CommittedAgent[] = [];
  const results: TransactionResult[] = [];
  const missing: AgentRole[] = [];
  const reasons: string[] = [];
  for (const image of images) {
    const before = resultOf(save, image);
    let made = before?.assistantId ?? null;
    // With leave, a save may have made a new assistant in place of one that was gone.
    if (image.assistantId === null || image.recreate) {
      const of = { saveId, agentId: image.agentId, startedAt: save.startedAt };
      const stamped = await stampedAssistants(voice, of);
      if (stamped.kind !== 'ok') {
        reasons.push(`${image.role}: Vapi could not be asked (${stamped.kind})`);
        continue;
      }
      const others = stamped.value.filter(({ id }) => id !== image.assistantId && id !== made);
      const known = made !== null && made !== image.assistantId;
      if (others.length > (known ? 0 : 1)) {
        const ids = others.map(({ id }) => id).join(', ');
        reasons.push(`${image.role}: this save made more than one assistant; delete all but one of ${ids}`);
        continue;
      }
      if (!known) made = others[0]?.id ?? made;
    }
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
    if (before !== undefined) {
      const error = before.error ?? 'Not kept: an operator ended the save.';
      results.push({ ...before, vapiSynced: false, dbUpdated: false, error });
    }
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

  async function takeFromRecovery(): Promise<Settlement> {
    const taken = await journal.takeover(orgId, saveId, OWNER, settings.leaseMs);
    if (taken.outcome !== 'TAKEN') return inUse(BUSY_RETRY_MS);
    const lateMs = lateTimeMs(settings);
    const { epoch, results, failure } = taken.save;
    const halted = await journal.needsAttention(
      { orgId, saveId, epoch },
      { results, failure: failure ?? ENDED_BY_HAND, ambiguous: true, lateMs },
    );
    return halted.outcome === 'NEEDS_ATTENTION' ? tooEarly(lateMs) : inUse(BUSY_RETRY_MS);
  }

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

/** Attempts to settle again, each time when the last refusal said, until the save is settled or only a change by hand can help. */
export async function settleWhenPossible(
  attempt: () => Promise<Settlement>,
  sleep: (ms: number) => Promise<unknown>,
  report: (reasons: string[]) => void,
): Promise<Settlement> {
  for (;;) {
    const settlement = await attempt();
    if (settlement.outcome !== 'NOT_SETTLED' || settlement.retryAfterMs === undefined) return settlement;
    report(settlement.reasons);
    await sleep(settlement.retryAfterMs);
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
    retryAfterMs: ms,
  };
}

function inUse(ms: number): Settlement {
  return {
    outcome: 'NOT_SETTLED',
    reasons: [
      `a server is working on this save and may still end it; try again in ${Math.ceil(ms / 1_000)} s`,
    ],
    retryAfterMs: ms,
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

import type { PartImage, PartResult, SagaFailure, SagaRecord } from '../../domain/saga.ts';
import type { CommittedPart, SagaJournal } from '../../ports/saga-journal.ts';
import type { Assistants, VoiceProvider } from '../../ports/voice-provider.ts';
import type { Inspected, SagaDefinition } from './participant.ts';
import { isClosed } from './protocol.ts';
import { lateTimeMs, type SagaSettings } from './settings.ts';
import { stampedResources } from './stamped.ts';

/** `retryAfterMs`: the same call may succeed then; absent: only after something has been changed by hand. */
export interface NotSettled {
  outcome: 'NOT_SETTLED';
  reasons: string[];
  retryAfterMs?: number;
}

/** What shows which account a key reads. */
type AccountLook = Pick<Assistants, 'listAssistants'> & Partial<Pick<VoiceProvider, 'phoneNumbers'>>;

/** What settling came to. */
export type Settlement = { outcome: 'COMMITTED' | 'ROLLED_BACK'; saga: SagaRecord } | NotSettled;

const BUSY_RETRY_MS = 1_000;
/** Of a saga that had not failed when an operator took it over. */
const ENDED_BY_HAND: SagaFailure = {
  reason: 'VAPI_UNAVAILABLE',
  message: 'The save was not made: an operator ended it.',
  retryable: false,
};
/** Names an operator in the journal. */
const OWNER = 'settle';

/**
 * Ends an open saga, as an operator asks, but only if Vapi shows that very content now: every part's new one for COMMITTED, every
 * part's old one (or no resource at all) for ROLLED_BACK. Nothing is sent to Vapi but reads, and only what the Vapi organization
 * of this database shows counts: in another one everything looks deleted.
 *
 * A saga that does not need attention yet is first taken over from recovery: it gets a new epoch and NEEDS_ATTENTION, so that no
 * earlier owner can record anything more. This is refused while an owner is at work, and while a request may still be applied.
 * Throws `DatabaseError`.
 */
export async function settleSaga<Voice extends AccountLook>(
  ports: {
    journal: SagaJournal;
    voice: Voice;
    /** The kinds of sagas that this build knows. */
    kinds: readonly SagaDefinition<Voice>[];
    settings: SagaSettings;
    /** The Vapi organization that the database belongs to; null: not known. */
    account(): Promise<string | null>;
  },
  orgId: string,
  sagaId: string,
  status: 'COMMITTED' | 'ROLLED_BACK',
): Promise<Settlement> {
  const { journal, settings } = ports;
  const inspected = await journal.inspect(orgId, sagaId);
  if (inspected.outcome === 'NO_SAGA') return { outcome: 'NOT_SETTLED', reasons: ['there is no such save'] };
  const { saga, images, deployment } = inspected;
  if (isClosed(saga.status)) {
    return { outcome: 'NOT_SETTLED', reasons: [`the save is ${saga.status}: there is nothing to settle`] };
  }
  if ((inspected.leaseMs ?? 0) > 0) return inUse(inspected.leaseMs ?? 0);
  // Before the first look: what Vapi shows now may be overwritten before it is settled.
  if (inspected.notBeforeMs > 0) return tooEarly(inspected.notBeforeMs);

  const unreliable = await otherAccount(ports.voice, await ports.account());
  if (unreliable !== null) return { outcome: 'NOT_SETTLED', reasons: [unreliable] };
  if (saga.status !== 'NEEDS_ATTENTION') return takeFromRecovery();

  const definition = ports.kinds.find(({ name }) => name === saga.kind);
  if (definition === undefined) throw new Error(`no participant is known for sagas of kind ${saga.kind}`);
  const kind = definition.open(ports.voice);
  const identity = { deployment, orgId, sagaId, mappingVersion: saga.mappingVersion };
  const parts: CommittedPart[] = [];
  const results: PartResult[] = [];
  const missing: string[] = [];
  const reasons: string[] = [];
  for (const image of images) {
    const result = saga.results.find(({ key }) => key === image.key);
    const part = kind.open(identity, image);
    let made = result?.remoteId ?? null;
    // With permission, a saga may have created a new resource in place of one that was gone.
    if (image.remoteId === null || image.recreate) {
      const stamped = await stampedResources(part, saga.startedAt);
      if (stamped.kind !== 'ok') {
        reasons.push(`${image.key}: Vapi could not be asked (${stamped.kind})`);
        continue;
      }
      const others = stamped.value.filter(({ remoteId }) => remoteId !== image.remoteId && remoteId !== made);
      const isKnown = made !== null && made !== image.remoteId;
      if (others.length > (isKnown ? 0 : 1)) {
        const ids = others.map(({ remoteId }) => remoteId).join(', ');
        reasons.push(`${image.key}: this save created more than one resource; delete all but one of ${ids}`);
        continue;
      }
      if (!isKnown) made = others[0]?.remoteId ?? made;
    }
    const created = image.remoteId === null || (made !== null && made !== image.remoteId);
    const remoteId = created ? made : image.remoteId;
    const reply = remoteId === null ? null : await part.inspect(remoteId);
    if (reply !== null && reply.kind !== 'ok' && reply.kind !== 'gone') {
      reasons.push(`${image.key}: Vapi could not be asked (${reply.kind})`);
      continue;
    }
    const found = reply?.kind === 'ok' ? reply.value : null;
    if (part.removes) {
      const isGone = found === null;
      if (isGone !== (status === 'COMMITTED')) {
        reasons.push(
          `${image.key}: ${isGone ? 'it does not exist in Vapi any more' : 'it still exists in Vapi'}`,
        );
      }
      parts.push({ key: image.key, remoteId: image.remoteId ?? '', observed: {} });
      if (result !== undefined) results.push(undone(result));
      continue;
    }
    const reason = status === 'COMMITTED' ? differsFromNew(found) : differsFromOld(image, found, created);
    if (reason !== null) reasons.push(`${image.key}: ${reason}`);
    if (found !== null) parts.push({ key: image.key, remoteId: found.remoteId, observed: found.observed });
    if (image.remoteId !== null && (created || found === null)) missing.push(image.key);
    if (result !== undefined) results.push(undone(result));
  }
  if (reasons.length > 0) return { outcome: 'NOT_SETTLED', reasons };

  const answer = await journal.settle({ orgId, sagaId, epoch: saga.epoch }, status, {
    ...{ parts, results, missing, lateMs: lateTimeMs(settings) },
  });
  if (answer.outcome === 'TOO_EARLY') return tooEarly(answer.notBeforeMs ?? 0);
  if (answer.outcome !== status || !('saga' in answer)) {
    return { outcome: 'NOT_SETTLED', reasons: ['somebody else settled it meanwhile'] };
  }
  return { outcome: status, saga: answer.saga };

  async function takeFromRecovery(): Promise<NotSettled> {
    const taken = await journal.takeover(orgId, sagaId, OWNER, settings.leaseMs);
    if (taken.outcome !== 'TAKEN') return inUse(BUSY_RETRY_MS);
    const lateMs = lateTimeMs(settings);
    const { epoch, results, failure } = taken.saga;
    const halted = await journal.needsAttention(
      { orgId, sagaId, epoch },
      { results, failure: failure ?? ENDED_BY_HAND, ambiguous: true, lateMs },
    );
    return halted.outcome === 'NEEDS_ATTENTION' ? tooEarly(lateMs) : inUse(BUSY_RETRY_MS);
  }
}

/**
 * Tries to settle again, each time after the wait that the last refusal named, until the saga is settled or only a change by hand
 * can help. Returns the last settlement.
 */
export async function settleWhenPossible<Settled>(
  attempt: () => Promise<Settled | NotSettled>,
  sleep: (ms: number) => Promise<unknown>,
  report: (reasons: string[]) => void,
): Promise<Settled | NotSettled> {
  for (;;) {
    const settlement = await attempt();
    if (!isNotSettled(settlement) || settlement.retryAfterMs === undefined) return settlement;
    report(settlement.reasons);
    await sleep(settlement.retryAfterMs);
  }
}

function isNotSettled(settlement: unknown): settlement is NotSettled {
  return (settlement as NotSettled).outcome === 'NOT_SETTLED';
}

function undone(result: PartResult): PartResult {
  const error = result.error ?? 'Not kept: an operator ended the save.';
  return { ...result, vapiSynced: false, dbUpdated: false, error };
}

function differsFromNew(found: Inspected | null): string | null {
  if (found === null) return 'it does not exist in Vapi';
  return told(found.differsFromAfter);
}

function differsFromOld(image: PartImage, found: Inspected | null, created: boolean): string | null {
  if (created) return found === null ? null : 'what this save created still exists in Vapi';
  // Somebody has deleted it: nothing of this saga is left there, and nobody could ever put the old content back.
  if (found === null || image.before === null) return null;
  return told(found.differsFromBefore);
}

function tooEarly(ms: number): NotSettled {
  return {
    outcome: 'NOT_SETTLED',
    reasons: [`a request of this save may still be applied; try again in ${Math.ceil(ms / 1_000)} s`],
    retryAfterMs: ms,
  };
}

function inUse(ms: number): NotSettled {
  return {
    outcome: 'NOT_SETTLED',
    reasons: [
      `a server is working on this save and may still end it; try again in ${Math.ceil(ms / 1_000)} s`,
    ],
    retryAfterMs: ms,
  };
}

function told(differing: string[]): string | null {
  return differing.length === 0 ? null : `Vapi holds other content at ${differing.join(', ')}`;
}

/** Why what this key reads is not known to be the Vapi organization of this database; null: it is. */
async function otherAccount(voice: AccountLook, account: string | null): Promise<string | null> {
  const listed = await voice.listAssistants({ limit: 1 });
  if (listed.kind !== 'ok') return `Vapi could not be asked (${listed.kind})`;
  let seen = listed.value[0]?.['orgId'];
  if (seen === undefined && voice.phoneNumbers !== undefined) {
    // An organization may buy a number before anybody has an agent. Every resource says which account it is in.
    const numbers = await voice.phoneNumbers.list({ limit: 1 });
    if (numbers.kind !== 'ok') return `Vapi could not be asked (${numbers.kind})`;
    seen = numbers.value[0]?.['orgId'];
  }
  if (account === null)
    return 'the database does not know yet which Vapi account it belongs to: start the server';
  if (seen === undefined) {
    return 'the key shows no assistant at all and no phone number, so it may be of another Vapi account; make any assistant there to tell';
  }
  return seen === account ? null : 'the key reads another Vapi account than the one of this database';
}

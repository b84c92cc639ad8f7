import type { PartImage, PartResult, SagaRecord } from '../../domain/saga.ts';
import type { CommittedPart, SagaJournal } from '../../ports/saga-journal.ts';
import type { Inspected, SagaKind } from './participant.ts';
import { lateTimeMs, type SagaSettings } from './settings.ts';

/** What settling came to. */
export type Settlement =
  | { outcome: 'COMMITTED' | 'ROLLED_BACK'; saga: SagaRecord }
  | { outcome: 'NOT_SETTLED'; reasons: string[] };

/**
 * Ends a saga that needs attention, as an operator asks, but only if Vapi shows that very content now: every part's new one
 * for COMMITTED, every part's old one (or no resource at all) for ROLLED_BACK. Nothing is sent to Vapi but reads, and only what
 * the Vapi organization of this database shows counts: in another one everything looks deleted.
 * Throws `DatabaseError`.
 */
export async function settleSaga(
  ports: {
    journal: SagaJournal;
    kind: SagaKind;
    settings: SagaSettings;
    /** Why what Vapi shows proves nothing, such as a key of another Vapi organization; null: it proves something. */
    unreliable(): Promise<string | null>;
  },
  orgId: string,
  sagaId: string,
  status: 'COMMITTED' | 'ROLLED_BACK',
): Promise<Settlement> {
  const { journal, kind, settings } = ports;
  const inspected = await journal.inspect(orgId, sagaId);
  if (inspected.outcome === 'NO_SAGA') return { outcome: 'NOT_SETTLED', reasons: ['there is no such save'] };
  const { saga, images, deployment } = inspected;
  if (saga.status !== 'NEEDS_ATTENTION') {
    return { outcome: 'NOT_SETTLED', reasons: [`the save is ${saga.status}: there is nothing to settle`] };
  }

  // Before the first look: what Vapi shows now may be overwritten before it is settled.
  if ((inspected.notBeforeMs ?? 0) > 0) return tooEarly(inspected.notBeforeMs ?? 0);

  const unreliable = await ports.unreliable();
  if (unreliable !== null) return { outcome: 'NOT_SETTLED', reasons: [unreliable] };

  const identity = { deployment, orgId, sagaId, mappingVersion: saga.mappingVersion };
  const parts: CommittedPart[] = [];
  const results: PartResult[] = [];
  const missing: string[] = [];
  const reasons: string[] = [];
  for (const image of images) {
    const result = saga.results.find(({ key }) => key === image.key);
    const made = result?.remoteId ?? null;
    // With permission, a saga may have created a new resource in place of one that was gone.
    const created = image.remoteId === null || (made !== null && made !== image.remoteId);
    const remoteId = created ? made : image.remoteId;
    const reply = remoteId === null ? null : await kind.open(identity, image).inspect(remoteId);
    if (reply !== null && reply.kind !== 'ok' && reply.kind !== 'gone') {
      reasons.push(`${image.key}: Vapi could not be asked (${reply.kind})`);
      continue;
    }
    const found = reply?.kind === 'ok' ? reply.value : null;
    const reason = status === 'COMMITTED' ? differsFromNew(found) : differsFromOld(image, found, created);
    if (reason !== null) reasons.push(`${image.key}: ${reason}`);
    if (found !== null) parts.push({ key: image.key, remoteId: found.remoteId, observed: found.observed });
    if (image.remoteId !== null && (created || found === null)) missing.push(image.key);
    if (result !== undefined) results.push({ ...result, vapiSynced: false, dbUpdated: false });
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

function tooEarly(ms: number): Settlement {
  return {
    outcome: 'NOT_SETTLED',
    reasons: [`a request of this save may still be applied; try again in ${Math.ceil(ms / 1_000)} s`],
  };
}

function told(differing: string[]): string | null {
  return differing.length === 0 ? null : `Vapi holds other content at ${differing.join(', ')}`;
}

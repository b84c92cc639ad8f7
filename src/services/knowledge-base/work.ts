import type {
  DueDocument,
  FileNote,
  KnowledgeBaseStore,
} from '../../ports/knowledge-base/knowledge-base-store.ts';
import type { Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { RemoteFiles } from '../../ports/voice-provider.ts';

/**
 * The work that nobody waits for: it asks Vapi whether files are read, makes missing files again, publishes the lists and deletes
 * files. What is to be done stands on the rows, so that a crash forgets nothing, and each saga checks under its lock that it is still
 * to be done. So any number of replicas may do it at once.
 */

/** The sagas that the work begins; each returns what became of it. */
export interface KnowledgeBaseSagas {
  document(orgId: string, documentId: string, action: 'REMAKE' | 'DELETE'): Promise<{ kind: string }>;
  publish(orgId: string): Promise<{ kind: string }>;
}

export interface WorkPorts {
  store: KnowledgeBaseStore;
  files: Pick<RemoteFiles, 'get'>;
  sagas: KnowledgeBaseSagas;
  log: Log;
  meter: Meter;
}

/** How much is looked up at once. */
const BATCH = 100;
/** What is done makes other work due, such as the publication of a document that is READY. So many times it is looked up again. */
const ROUNDS = 5;

/** Does what is due now, until nothing is left. Returns how much that was. Throws `DatabaseError`. */
export async function workOnKnowledgeBase(ports: WorkPorts, stopping?: AbortSignal): Promise<number> {
  const done = new Set<string>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = done.size;
    const { documents, tools } = await ports.store.due(BATCH);
    const fresh = (key: string) => stopping?.aborted !== true && !done.has(key) && done.add(key);
    await poll(
      ports,
      documents.filter(({ state, documentId }) => state === 'PROCESSING' && fresh(`poll ${documentId}`)),
    );
    for (const { orgId, documentId, state } of documents) {
      if (state === 'PROCESSING' || !fresh(`${state} ${documentId}`)) continue;
      const action = state === 'MISSING' ? 'REMAKE' : 'DELETE';
      const { kind } = await ports.sagas.document(orgId, documentId, action);
      // Every other outcome is in the line of the saga.
      if (kind !== 'committed') continue;
      const event = action === 'REMAKE' ? 'knowledge.remade' : 'knowledge.deleted';
      ports.meter.count(event);
      ports.log.info(
        { event, orgId, documentId },
        action === 'REMAKE' ? 'uploaded the file of a document again' : 'deleted the file of a document',
      );
    }
    for (const orgId of tools) {
      if (!fresh(`tool ${orgId} ${round}`)) continue;
      await publish(ports, orgId);
    }
    if (done.size === before) break;
  }
  return done.size;
}

async function publish({ sagas, log, meter }: WorkPorts, orgId: string): Promise<void> {
  const { kind } = await sagas.publish(orgId);
  if (kind === 'committed') {
    meter.count('knowledge.published');
    log.info({ event: 'knowledge.published', orgId }, 'published the documents of an organization');
  } else if (kind === 'failed') {
    meter.count('knowledge.not_published');
    log.warn(
      { event: 'knowledge.not_published', orgId },
      'the documents of an organization could not be published; a job tries again',
    );
  }
}

/** Asks Vapi for files that it reads. What cannot be asked counts as not read yet, so that it is asked for less and less often. */
async function poll(ports: WorkPorts, documents: DueDocument[]): Promise<void> {
  const notes: FileNote[] = [];
  for (const { orgId, documentId, fileId } of documents) {
    if (fileId === null) continue;
    const reply = await ports.files.get(fileId);
    const seen =
      reply.kind === 'ok' ? seenIn(reply.value['status']) : reply.kind === 'gone' ? 'MISSING' : 'PROCESSING';
    notes.push({ orgId, documentId, fileId, seen });
  }
  await noteFiles(ports, notes);
}

/** The set of statuses is open (docs/vapi.md#files): what is not known is not read yet. */
function seenIn(status: unknown): FileNote['seen'] {
  if (status === 'done' || status === 'indexed') return 'READY';
  return status === 'failed' ? 'FAILED' : 'PROCESSING';
}

/** Notes what was seen of files, and reports what changed. */
export async function noteFiles(
  { store, log, meter }: Pick<WorkPorts, 'store' | 'log' | 'meter'>,
  notes: FileNote[],
): Promise<number> {
  if (notes.length === 0) return 0;
  const changed = await store.note(notes);
  for (const { documentId, state } of changed) {
    switch (state) {
      case 'READY':
        meter.count('knowledge.ready');
        log.info({ event: 'knowledge.ready', documentId }, 'Vapi has read a document');
        break;
      case 'FAILED':
        meter.count('knowledge.failed');
        log.warn({ event: 'knowledge.failed', documentId }, 'Vapi could not read a document');
        break;
      default:
        meter.count('knowledge.missing');
        log.warn(
          { event: 'knowledge.missing', documentId },
          'the file of a document was deleted in Vapi; it is made again',
        );
    }
  }
  return changed.length;
}

import { createHash } from 'node:crypto';
import type { DocumentRecord } from '../../domain/knowledge-base/document.ts';
import type { Secret } from '../../domain/secret.ts';
import type {
  DocumentJournal,
  DocumentRefusal,
  DocumentWish,
  QueryToolJournal,
  QueryToolRefusal,
} from '../../ports/knowledge-base/knowledge-base-journal.ts';
import { executeSaga, type SagaOutcome, type SagaPorts } from '../saga/execute.ts';
import { type ContentSource, documentDefinition, type FileVoice } from './file.ts';
import { QUERY_TOOL_MAPPING_VERSION, QUERY_TOOL_SAGA, type ToolVoice } from './query-tool.ts';
import type { KnowledgeBaseSagas } from './work.ts';

/** How files are rendered: their metadata and their name. */
const FILE_MAPPING_VERSION = 1;

/** `Db`: whatever the journals' adapters need: supabase-js's service client in production. */
export interface KnowledgeBasePorts<Db> extends SagaPorts {
  openDocuments(supabase: Db): DocumentJournal;
  openQueryTools(supabase: Db): QueryToolJournal;
  openVoiceProvider(vapiApiKey: Secret): FileVoice & ToolVoice;
  contents: ContentSource;
}

/** Who asks, for the journal. */
export interface Asked {
  orgId: string;
  userId: string;
  idempotencyKey: string | null;
}

/** A file that was checked (see content.ts). */
export interface NewDocument {
  name: string;
  contentType: string;
  content: Uint8Array<ArrayBuffer>;
}

export type DocumentOutcome = SagaOutcome<DocumentRecord, DocumentRefusal>;

/** The sagas of the knowledge base, for users and for the jobs. Never throws for what Vapi or the network does. */
export class KnowledgeBase<Db> implements KnowledgeBaseSagas {
  readonly #supabase: Db;
  readonly #key: () => Secret | null;
  readonly #ports: KnowledgeBasePorts<Db>;

  /** `key`: the active one, at the time of the call. */
  constructor(supabase: Db, key: () => Secret | null, ports: KnowledgeBasePorts<Db>) {
    this.#supabase = supabase;
    this.#key = key;
    this.#ports = ports;
  }

  /** Stores a document with its content, and uploads its file. */
  upload(asked: Asked, { name, contentType, content }: NewDocument): Promise<DocumentOutcome> {
    const sha256 = createHash('sha256').update(content).digest('hex');
    return this.#make(
      asked,
      {
        ...{ action: 'UPLOAD', documentId: this.#ports.ids.uuid(), name, contentType },
        content: Buffer.from(content).toString('base64'),
      },
      // Without the new id, and without the bytes.
      { action: 'UPLOAD', name, contentType, sha256 },
      // The bytes are here: nothing has to be read back.
      () => content,
    );
  }

  /** Notes that a document is not wanted any more. Jobs take it out of the published list, and then delete its file. */
  remove(asked: Asked, documentId: string): Promise<DocumentOutcome> {
    return this.#make(asked, { action: 'REMOVE', documentId }, { action: 'REMOVE', documentId });
  }

  async document(orgId: string, documentId: string, action: 'REMAKE' | 'DELETE'): Promise<{ kind: string }> {
    let contents = this.#ports.contents;
    if (action === 'REMAKE') {
      const content = await contents(orgId, documentId);
      if (content !== null) contents = () => content;
    }
    const asked = { orgId, userId: null, idempotencyKey: null };
    return kindOf(await this.#make(asked, { action, documentId }, { action, documentId }, contents));
  }

  async publish(orgId: string): Promise<{ kind: string }> {
    const { openDocuments, openQueryTools, contents, ...ports } = this.#ports;
    const outcome = await executeSaga<Db, unknown, QueryToolRefusal, QueryToolJournal, ToolVoice>(
      this.#supabase,
      {
        ...{ orgId, definition: QUERY_TOOL_SAGA, mappingVersion: QUERY_TOOL_MAPPING_VERSION, requests: 1 },
        ...{ idempotencyKey: null, request: { action: 'PUBLISH' }, cause: 'REVERT', actor: null },
        begin: (journal, sagaId, owner, request) => journal.begin(orgId, sagaId, owner, request),
      },
      this.#key(),
      { ...ports, openJournal: openQueryTools },
    );
    return kindOf(outcome);
  }

  #make(
    { orgId, userId, idempotencyKey }: Omit<Asked, 'userId'> & { userId: string | null },
    wish: DocumentWish,
    identity: object,
    contents: ContentSource = this.#ports.contents,
  ): Promise<DocumentOutcome> {
    const { openDocuments, openQueryTools, contents: _stored, ...ports } = this.#ports;
    return executeSaga<Db, DocumentRecord, DocumentRefusal, DocumentJournal, FileVoice>(
      this.#supabase,
      {
        ...{ orgId, definition: documentDefinition(contents), mappingVersion: FILE_MAPPING_VERSION },
        about: { action: wish.action },
        ...{ requests: 1, idempotencyKey, request: { kind: 'documents', ...identity } },
        // Jobs put into Vapi what the database says.
        ...{ cause: userId === null ? 'REVERT' : 'USER', actor: userId },
        begin: (journal, sagaId, owner, request) =>
          journal.begin(orgId, sagaId, owner, { ...request, ...wish }),
      },
      this.#key(),
      { ...ports, openJournal: openDocuments },
    );
  }
}

function kindOf(outcome: { kind: string; refusal?: { outcome: string } }): { kind: string } {
  return { kind: outcome.refusal?.outcome.toLowerCase() ?? outcome.kind };
}

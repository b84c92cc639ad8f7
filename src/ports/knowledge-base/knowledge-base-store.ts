import type { DocumentState } from '../../domain/knowledge-base/document.ts';
import type { Lease } from '../lease.ts';

/** What the jobs of the knowledge base may look at and note, across organizations. All methods may throw `DatabaseError`. */

export interface DueDocument {
  orgId: string;
  documentId: string;
  /** Null: there is no file, which is to be made. */
  fileId: string | null;
  state: Extract<DocumentState, 'PROCESSING' | 'MISSING' | 'REMOVING' | 'FAILED'>;
}

/** What was seen of a file. It counts only while the document has this file and no saga of it is open or fenced. */
export interface FileNote {
  orgId: string;
  documentId: string;
  fileId: string;
  seen: 'READY' | 'FAILED' | 'PROCESSING' | 'MISSING';
}

/** A file that should be in Vapi. */
export interface HeldFile {
  orgId: string;
  documentId: string;
  fileId: string;
  /** Its content is wanted: if the file is gone, it is made again. */
  wanted: boolean;
  /** A saga of the document is open or fenced: a difference proves nothing now. */
  busy: boolean;
}

/** A query tool that should be in Vapi. */
export interface HeldTool {
  orgId: string;
  toolId: string;
  fileIds: string[];
  /** The saga that wrote it last: the only one whose stamp is current. */
  sagaId: string;
  mappingVersion: number;
  busy: boolean;
}

export interface KnowledgeBaseStore {
  /** What is to be done now, up to `limit` of each: documents, and organizations whose list is to be published. */
  due(limit: number): Promise<{ documents: DueDocument[]; tools: string[] }>;
  /** Returns the documents whose state changed. */
  note(notes: FileNote[]): Promise<{ documentId: string; state: DocumentState }[]>;
  /** The bytes of a document; null: nobody wants them any more. */
  content(orgId: string, documentId: string): Promise<Uint8Array<ArrayBuffer> | null>;
  /** Has the tool written again, unless another saga than this one has written it, or may be about to. */
  repairTool(orgId: string, sagaId: string): Promise<boolean>;
  files(afterDocumentId: string | null, limit: number): Promise<HeldFile[]>;
  tools(afterOrgId: string | null, limit: number): Promise<HeldTool[]>;
  /** Of files and tools that no row holds: those that a closed saga of this deployment made and did not keep. */
  fileOrphans(
    candidates: { deployment: string; orgId: string; documentId: string; sagaId: string; fileId: string }[],
    ageMs: number,
  ): Promise<string[]>;
  toolOrphans(candidates: { sagaId: string; toolId: string }[], ageMs: number): Promise<string[]>;
  /** The lease of one of the jobs. */
  lease(job: string): Lease;
}

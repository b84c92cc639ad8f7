import type { DocumentRecord } from '../../domain/knowledge-base/document.ts';
import type { BeginSaga, BeginSagaOutcome, SagaJournal } from '../saga-journal.ts';

/** How the sagas of the knowledge base begin. Each begin may throw `DatabaseError`, and is idempotent by the saga's id and the owner. */

export type DocumentWish =
  /** `content`: base64. */
  | { action: 'UPLOAD'; documentId: string; name: string; contentType: string; content: string }
  /** REMOVE is what a user wishes; the others are what jobs do about it. */
  | { action: 'REMOVE' | 'REMAKE' | 'DELETE'; documentId: string };

export type DocumentRefusal =
  | { outcome: 'NO_DOCUMENT' | 'NOT_DUE' }
  | { outcome: 'ALLOWANCE_EXCEEDED'; of: 'documents' | 'bytes'; allowance: number; used: number };

export interface DocumentJournal extends SagaJournal<DocumentRecord> {
  begin(
    orgId: string,
    sagaId: string,
    owner: string,
    request: BeginSaga & DocumentWish,
  ): Promise<BeginSagaOutcome<DocumentRecord> | DocumentRefusal>;
}

/** NOTHING: the tool is as it should be. WAITING: for agents that still name the tool, or for a file that is being made again. */
export type QueryToolRefusal = { outcome: 'NOTHING' | 'WAITING' };

export interface QueryToolJournal extends SagaJournal {
  begin(
    orgId: string,
    sagaId: string,
    owner: string,
    request: BeginSaga,
  ): Promise<BeginSagaOutcome<unknown> | QueryToolRefusal>;
}

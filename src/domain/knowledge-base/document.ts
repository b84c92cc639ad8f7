export const DOCUMENT_STATES = ['PENDING', 'PROCESSING', 'READY', 'FAILED'] as const;
export type DocumentState = (typeof DOCUMENT_STATES)[number];

/** A document of the knowledge base as the database holds it. Times are ISO-8601. */
export interface DocumentRecord {
  id: string;
  name: string;
  contentType: string;
  sizeBytes: number;
  state: DocumentState;
  failure: string | null;
  createdAt: string;
}

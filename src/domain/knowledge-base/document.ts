/**
 * UPLOADING: its file is on its way to Vapi. PROCESSING: Vapi reads it. REMOVING: it is not used for new calls, and its file is being
 * deleted. MISSING: somebody deleted its file in Vapi; it is made again.
 */
export const DOCUMENT_STATES = [
  ...(['UPLOADING', 'PROCESSING', 'READY', 'FAILED', 'REMOVING', 'REMOVED', 'MISSING'] as const),
] as const;
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

/**
 * Names the function of every organization's query tool. The prompts of agents name the tool by it (mapping version 2 of agents, version 1
 * of the tool), so it never changes.
 */
export const SEARCH_TOOL = 'search_knowledge_base';

import { z } from 'zod';
import { DOCUMENT_STATES } from '../../domain/knowledge-base/document.ts';
import type { KnowledgeBaseStore } from '../../ports/knowledge-base/knowledge-base-store.ts';
import { ids } from './answers.ts';
import type { ServiceClient } from './clients.ts';
import { inBatches, parsed } from './rpc-journal.ts';
import { leaseOf } from './rpc-lease.ts';

const dueAnswer = z.object({
  documents: z.array(
    z.object({
      orgId: z.string(),
      documentId: z.string(),
      fileId: z.string().nullable(),
      state: z.enum(['PROCESSING', 'MISSING', 'REMOVING', 'FAILED']),
    }),
  ),
  tools: ids,
});
const notedAnswer = z.array(z.object({ documentId: z.string(), state: z.enum(DOCUMENT_STATES) }));
const filesAnswer = z.array(
  z.object({
    org_id: z.string(),
    document_id: z.string(),
    file_id: z.string(),
    wanted: z.boolean(),
    busy: z.boolean(),
  }),
);
const toolsAnswer = z.array(
  z.object({
    org_id: z.string(),
    tool_id: z.string(),
    file_ids: ids,
    saga_id: z.string(),
    mapping_version: z.number(),
    busy: z.boolean(),
  }),
);

/** The functions of the knowledge base in supabase/migrations over supabase-js: one `rpc` each, no logic. */
export function createRpcKnowledgeBaseStore(supabase: ServiceClient): KnowledgeBaseStore {
  return {
    due: (limit) => parsed(dueAnswer, supabase.rpc('knowledge_base_due', { p_limit: limit })),
    note: (notes) =>
      inBatches(notes, (some) => parsed(notedAnswer, supabase.rpc('knowledge_base_note', { p_notes: some }))),
    content: async (orgId, documentId) => {
      const content = await parsed(
        z.string().nullable(),
        supabase.rpc('document_content', { p_org_id: orgId, p_document_id: documentId }),
      );
      return content === null ? null : new Uint8Array(Buffer.from(content, 'base64'));
    },
    repairTool: (orgId, sagaId) =>
      parsed(z.boolean(), supabase.rpc('query_tool_repair', { p_org_id: orgId, p_saga_id: sagaId })),
    files: async (after, limit) => {
      // The generated type knows no null for an argument; the function does.
      const rows = await parsed(
        filesAnswer,
        supabase.rpc('knowledge_base_page', { p_after: after as string, p_limit: limit }),
      );
      return rows.map((row) => ({
        orgId: row.org_id,
        documentId: row.document_id,
        fileId: row.file_id,
        wanted: row.wanted,
        busy: row.busy,
      }));
    },
    tools: async (after, limit) => {
      const rows = await parsed(
        toolsAnswer,
        supabase.rpc('query_tools_page', { p_after: after as string, p_limit: limit }),
      );
      return rows.map((row) => ({
        orgId: row.org_id,
        toolId: row.tool_id,
        fileIds: row.file_ids,
        sagaId: row.saga_id,
        mappingVersion: row.mapping_version,
        busy: row.busy,
      }));
    },
    fileOrphans: (candidates, ageMs) =>
      parsed(ids, supabase.rpc('file_orphans', { p_candidates: candidates, p_age_ms: ageMs })),
    toolOrphans: (candidates, ageMs) =>
      parsed(ids, supabase.rpc('query_tool_orphans', { p_candidates: candidates, p_age_ms: ageMs })),
    lease: (job) => leaseOf(supabase, job),
  };
}

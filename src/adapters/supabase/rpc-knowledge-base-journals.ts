import { z } from 'zod';
import { DOCUMENT_STATES, type DocumentRecord } from '../../domain/knowledge-base/document.ts';
import type { DocumentJournal, QueryToolJournal } from '../../ports/knowledge-base/knowledge-base-journal.ts';
import { beginSagaAnswers } from './answers.ts';
import type { ServiceClient } from './clients.ts';
import { beginArguments, createAnyJournal, createSagaJournal, parsed } from './rpc-journal.ts';

const documentRow: z.ZodType<DocumentRecord> = z.object({
  id: z.string(),
  name: z.string(),
  contentType: z.string(),
  sizeBytes: z.number(),
  state: z.enum(DOCUMENT_STATES),
  failure: z.string().nullable(),
  createdAt: z.string(),
});
const beginDocumentAnswer = z.discriminatedUnion('outcome', [
  ...beginSagaAnswers(documentRow),
  z.object({ outcome: z.enum(['NO_DOCUMENT', 'NOT_DUE']) }),
  z.object({
    outcome: z.literal('ALLOWANCE_EXCEEDED'),
    of: z.enum(['documents', 'bytes']),
    allowance: z.number(),
    used: z.number(),
  }),
]);
const beginQueryToolAnswer = z.discriminatedUnion('outcome', [
  ...beginSagaAnswers(z.unknown()),
  z.object({ outcome: z.enum(['NOTHING', 'WAITING']) }),
]);

export function createRpcDocumentJournal(supabase: ServiceClient): DocumentJournal {
  return {
    ...createSagaJournal(supabase, documentRow),
    begin: (...given) =>
      parsed(beginDocumentAnswer, supabase.rpc('begin_documents', beginArguments(...given))),
  };
}

export function createRpcQueryToolJournal(supabase: ServiceClient): QueryToolJournal {
  return {
    ...createAnyJournal(supabase),
    begin: (...given) =>
      parsed(beginQueryToolAnswer, supabase.rpc('begin_query_tool', beginArguments(...given))),
  };
}

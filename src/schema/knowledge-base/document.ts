import type { AppContext } from '../../context.ts';
import type { DocumentRecord, DocumentState } from '../../domain/knowledge-base/document.ts';
import type { ConnectionArgs } from '../../services/reads/connection.ts';
import { listDocuments } from '../../services/reads/lists.ts';
import { builder, orBadInput, tenantOf } from '../builder.ts';
import { READ_COST } from '../cost.ts';
import { OrganizationRef } from '../organizations/organization.ts';

const DocumentStateRef = builder.enumType('KnowledgeBaseDocumentState', {
  values: {
    UPLOADING: { description: 'Its file is on its way to Vapi.' },
    PROCESSING: { description: 'Vapi reads it.' },
    READY: { description: 'Agents with `useKnowledgeBase` answer from it.' },
    FAILED: { description: '`failure` says why. Nothing of it is in Vapi.' },
    REMOVING: { description: 'It is being removed from the agents and from Vapi.' },
    REMOVED: {},
    MISSING: { description: 'Somebody deleted its file in Vapi. It is uploaded again.' },
  } satisfies Record<DocumentState, object>,
});

export const DocumentRef = builder.objectRef<DocumentRecord>('KnowledgeBaseDocument').implement({
  fields: (t) => ({
    id: t.exposeID('id'),
    name: t.exposeString('name'),
    contentType: t.exposeString('contentType', { description: 'For example `application/pdf`.' }),
    sizeBytes: t.exposeInt('sizeBytes'),
    state: t.expose('state', { type: DocumentStateRef }),
    failure: t.exposeString('failure', {
      nullable: true,
      description: 'Why it FAILED, or why it is still in its state.',
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime' }),
  }),
});

const DocumentFilterInput = builder.inputType('KnowledgeBaseDocumentFilter', {
  fields: (t) => ({ states: t.field({ type: [DocumentStateRef], description: 'Any of these.' }) }),
});

const DocumentOrderRef = builder.enumType('KnowledgeBaseDocumentOrder', {
  values: ['NEWEST_FIRST', 'OLDEST_FIRST'] as const,
});

const DocumentConnection = builder.connectionObject({
  type: DocumentRef,
  name: 'KnowledgeBaseDocumentConnection',
});

const documents = {
  type: DocumentRef,
  args: builder.args((t) => ({
    filter: t.field({ type: DocumentFilterInput }),
    order: t.field({ type: DocumentOrderRef, required: true, defaultValue: 'NEWEST_FIRST' }),
  })),
  resolve: (
    _parent: unknown,
    args: ConnectionArgs & {
      filter?: { states?: DocumentState[] | null | undefined } | null | undefined;
      order: typeof DocumentOrderRef.$inferType;
    },
    context: AppContext,
  ) => orBadInput(listDocuments(tenantOf(context).reads, args, args.filter ?? {}, args.order)),
};
builder.queryField('knowledgeBaseDocuments', (t) => t.connection(documents, DocumentConnection));
builder.objectField(OrganizationRef, 'knowledgeBaseDocuments', (t) =>
  t.connection(documents, DocumentConnection),
);

builder.queryField('knowledgeBaseDocument', (t) =>
  t.field({
    type: DocumentRef,
    nullable: true,
    complexity: READ_COST,
    args: { id: t.arg.id({ required: true }) },
    resolve: (_root, { id }, context) => tenantOf(context).loaders.document(id),
  }),
);

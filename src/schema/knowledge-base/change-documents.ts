import { GraphQLError } from 'graphql';
import { AllowanceExceededError } from '../../services/errors.ts';
import {
  type DocumentAnswer,
  removeDocument,
  type UploadedFile,
  uploadDocument,
} from '../../services/knowledge-base/answer.ts';
import { builder, tenantOf } from '../builder.ts';
import { SAVE_COST } from '../cost.ts';
import { OPERATION_ERRORS } from '../errors.ts';
import { OperationRef } from '../operations/operation.ts';
import { DocumentRef } from './document.ts';

builder.scalarType('File', {
  description:
    'A file of a multipart request (https://github.com/jaydenseric/graphql-multipart-request-spec). In a JSON request there is none.',
  serialize: () => {
    throw new GraphQLError('A file is never answered.');
  },
  parseValue: (value) => {
    if (isFile(value)) return value;
    throw new GraphQLError('Send the file as a part of a multipart request, and name its variable in "map".');
  },
});

function isFile(value: unknown): value is UploadedFile {
  const file = value as Partial<UploadedFile> | null;
  return (
    typeof file?.arrayBuffer === 'function' && typeof file.name === 'string' && typeof file.size === 'number'
  );
}

const DocumentSuccess = builder.objectRef<DocumentAnswer>('KnowledgeBaseDocumentSuccess').implement({
  fields: (t) => ({
    document: t.expose('document', { type: DocumentRef }),
    operation: t.expose('operation', { type: OperationRef }),
  }),
});

const IDEMPOTENCY_KEY = 'The same key and the same input give the same operation and the same answer.';

const UploadInput = builder.inputType('UploadKnowledgeBaseDocumentInput', {
  fields: (t) => ({
    file: t.field({
      type: 'File',
      required: true,
      description: 'TXT, MD, CSV, JSON, PDF or DOCX, up to 5 MB. Its content must be what its name says.',
    }),
    name: t.string({ description: "Default: the file's name." }),
    idempotencyKey: t.string({ description: IDEMPOTENCY_KEY }),
  }),
});

const RemoveInput = builder.inputType('RemoveKnowledgeBaseDocumentInput', {
  fields: (t) => ({
    id: t.id({ required: true }),
    idempotencyKey: t.string({ description: IDEMPOTENCY_KEY }),
  }),
});

builder.mutationField('uploadKnowledgeBaseDocument', (t) =>
  t.field({
    type: DocumentSuccess,
    complexity: SAVE_COST,
    description:
      'Stores a document and uploads it to Vapi. It is PROCESSING then; as soon as it is READY, agents with `useKnowledgeBase` answer ' +
      'from it. The content of a document that the organization has already is answered with that document.',
    args: { input: t.arg({ type: UploadInput, required: true }) },
    errors: {
      types: [...OPERATION_ERRORS, AllowanceExceededError],
      union: { name: 'UploadKnowledgeBaseDocumentResult' },
    },
    resolve: (_root, { input }, context) => {
      const { orgId, userId } = tenantOf(context);
      return uploadDocument(context.knowledgeBase, { orgId, userId }, input);
    },
  }),
);

builder.mutationField('removeKnowledgeBaseDocument', (t) =>
  t.field({
    type: DocumentSuccess,
    complexity: SAVE_COST,
    description:
      'Removes a document. It is REMOVING until no agent can find it any more and its file is deleted in Vapi; then it is REMOVED.',
    args: { input: t.arg({ type: RemoveInput, required: true }) },
    errors: {
      types: OPERATION_ERRORS,
      union: { name: 'RemoveKnowledgeBaseDocumentResult' },
    },
    resolve: (_root, { input }, context) => {
      const { orgId, userId } = tenantOf(context);
      return removeDocument(context.knowledgeBase, { orgId, userId }, input);
    },
  }),
);

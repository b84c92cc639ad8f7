import type { DocumentRecord } from '../../domain/knowledge-base/document.ts';
import type { OperationRecord } from '../../domain/saga.ts';
import { isUuid } from '../../domain/uuid.ts';
import { AllowanceExceededError, ValidationError } from '../errors.ts';
import { operationAnswer } from '../saga/answer.ts';
import { parseIdempotencyKey } from '../valid-input.ts';
import { ACCEPTED, contentTypeOf, MAX_DOCUMENT_BYTES } from './content.ts';
import type { DocumentOutcome, KnowledgeBase } from './execute.ts';

/** What a caller of the API uploads. */
export interface UploadedFile {
  readonly name: string;
  readonly size: number;
  arrayBuffer(): Promise<ArrayBuffer>;
}

export interface DocumentAnswer {
  document: DocumentRecord;
  operation: OperationRecord;
}

type Uploads = Pick<KnowledgeBase<unknown>, 'upload' | 'remove'>;
interface Caller {
  orgId: string;
  userId: string;
}

const MAX_NAME_CHARS = 200;

/** Throws the `DomainError` that says why the document was not stored. */
export async function uploadDocument(
  knowledgeBase: Uploads,
  caller: Caller,
  input: { file: UploadedFile; name?: string | null | undefined; idempotencyKey?: string | null | undefined },
): Promise<DocumentAnswer> {
  const idempotencyKey = parseIdempotencyKey(input.idempotencyKey);
  const { file } = input;
  const name = (input.name ?? file.name).trim().toWellFormed().replaceAll('\0', '');
  if (name.length < 1 || name.length > MAX_NAME_CHARS) {
    throw invalid('input.name', `must have 1 to ${MAX_NAME_CHARS} characters`);
  }
  if (file.size > MAX_DOCUMENT_BYTES) {
    throw invalid('input.file', `must have at most ${MAX_DOCUMENT_BYTES / 2 ** 20} MB (${ACCEPTED})`);
  }
  const content = new Uint8Array(await file.arrayBuffer());
  const checked = contentTypeOf(file.name, content);
  if ('problem' in checked) throw invalid('input.file', checked.problem);
  const { contentType } = checked;
  return answerOf(await knowledgeBase.upload({ ...caller, idempotencyKey }, { name, contentType, content }));
}

/** As `uploadDocument`. */
export async function removeDocument(
  knowledgeBase: Uploads,
  caller: Caller,
  input: { id: string; idempotencyKey?: string | null | undefined },
): Promise<DocumentAnswer> {
  const idempotencyKey = parseIdempotencyKey(input.idempotencyKey);
  if (!isUuid(input.id)) throw notFound();
  return answerOf(await knowledgeBase.remove({ ...caller, idempotencyKey }, input.id));
}

function answerOf(outcome: DocumentOutcome): DocumentAnswer {
  const { operation, rows } = operationAnswer(outcome, (refusal) => {
    if (refusal.outcome !== 'ALLOWANCE_EXCEEDED') return notFound();
    const { of, allowance, used } = refusal;
    return new AllowanceExceededError(of === 'bytes' ? 'bytes of documents' : 'documents', allowance, used);
  });
  const [document] = rows;
  if (document === undefined) throw new Error(`operation ${operation.id} was committed without a document`);
  return { document, operation };
}

function invalid(path: string, message: string): ValidationError {
  return new ValidationError([{ path, message }]);
}

function notFound(): ValidationError {
  return invalid('input.id', 'your organization has no document with this id');
}

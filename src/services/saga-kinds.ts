import { AGENT_SAGA } from './agents/participant.ts';
import { type ContentSource, DOCUMENTS, documentDefinition } from './knowledge-base/file.ts';
import { QUERY_TOOL_SAGA } from './knowledge-base/query-tool.ts';
import { PHONE_NUMBER_SAGA } from './phone-numbers/participant.ts';
import type { SagaDefinition } from './saga/participant.ts';

const noContent: ContentSource = () => {
  throw new Error('whoever settles a saga uploads nothing');
};

/** The kinds of sagas that this build knows: what an operator can settle. */
export const SAGA_KINDS: readonly SagaDefinition[] = [
  AGENT_SAGA,
  PHONE_NUMBER_SAGA,
  documentDefinition(noContent),
  QUERY_TOOL_SAGA,
];

/** The same kinds for recovery, which may have to upload the content of a document. */
export function recoverableKinds(contents: ContentSource): readonly SagaDefinition[] {
  return SAGA_KINDS.map((kind) => (kind.name === DOCUMENTS ? documentDefinition(contents) : kind));
}

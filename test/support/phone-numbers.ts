/** The operations on phone numbers, as a client sends them. */
import { gql } from 'graphql-request';
import type { Caller } from './app.ts';

const NUMBER = `id number state label failure provider agent { id role }`;
const ANSWER = `
  __typename
  ... on PhoneNumberSuccess { phoneNumber { ${NUMBER} } operation { id status } }
  ... on Error { message }
  ... on ValidationError { issues { path message } }
  ... on OperationInProgressError { operationId retryAfterMs }
  ... on OperationFailedError { operation { id status } retryable }
  ... on OperationPendingError { operation { id status } retryAfterMs }`;

export interface ShownNumber {
  id: string;
  number: string | null;
  state: string;
  label: string | null;
  failure: string | null;
  provider: string;
  agent: { id: string; role: string } | null;
}
export interface NumberAnswer {
  __typename: string;
  message?: string;
  phoneNumber?: ShownNumber;
  operation?: { id: string; status: string };
  operationId?: string;
  retryable?: boolean;
  retryAfterMs?: number | null;
  issues?: { path: string; message: string }[];
  suggestions?: string[];
  allowance?: number;
  used?: number;
}

const operation = (name: string, more = '') => gql`
  mutation ($input: ${name[0]?.toUpperCase()}${name.slice(1)}Input!) {
    answer: ${name}(input: $input) { ${ANSWER} ${more} }
  }`;
const ALLOWANCE = '... on AllowanceExceededError { allowance used }';
const DOCUMENTS = {
  buyPhoneNumber: operation('buyPhoneNumber', `${ALLOWANCE} ... on AreaCodeUnavailableError { suggestions }`),
  importPhoneNumber: operation('importPhoneNumber', ALLOWANCE),
  updatePhoneNumber: operation('updatePhoneNumber'),
  releasePhoneNumber: operation('releasePhoneNumber'),
};

export async function changeNumber(
  { client }: Pick<Caller, 'client'>,
  name: keyof typeof DOCUMENTS,
  input: object,
): Promise<NumberAnswer> {
  const { answer } = await client.request<{ answer: NumberAnswer }>(DOCUMENTS[name], { input });
  return answer;
}

export async function numbersOf({ client }: Pick<Caller, 'client'>): Promise<ShownNumber[]> {
  const { phoneNumbers } = await client.request<{ phoneNumbers: { nodes: ShownNumber[] } }>(
    `{ phoneNumbers { nodes { ${NUMBER} } } }`,
  );
  return phoneNumbers.nodes;
}

export async function numberOf({ client }: Pick<Caller, 'client'>, id: string): Promise<ShownNumber | null> {
  const { phoneNumber } = await client.request<{ phoneNumber: ShownNumber | null }>(
    `query ($id: ID!) { phoneNumber(id: $id) { ${NUMBER} } }`,
    { id },
  );
  return phoneNumber;
}

/** The API's operations as a client of it writes them, with types. */
import { type GraphQLClient, gql } from 'graphql-request';

type AgentRole = 'INBOUND' | 'OUTBOUND';
export type SaveStatus = 'APPLYING' | 'COMMITTED' | 'ROLLING_BACK' | 'ROLLED_BACK' | 'NEEDS_ATTENTION';

export interface Agent {
  id: string;
  role: AgentRole;
  name: string;
  systemPrompt: string;
  firstMessage: string | null;
  voice: {
    provider: string;
    voiceId: string;
    stability: number | null;
    similarityBoost: number | null;
  };
  model: { provider: string; name: string; temperature: number | null; maxTokens: number | null };
  language: string;
  maxDurationSeconds: number;
  transferTo: { number: string; description: string; message: string | null }[];
  endCall: boolean;
  voicemailMessage: string | null;
  useKnowledgeBase: boolean;
  bookAppointments: boolean;
  operatorToolIds: string[];
  vapiAssistantId: string | null;
  revision: number;
  lastSyncedAt: string | null;
  sync: {
    status: 'NEVER_SYNCED' | 'IN_SYNC' | 'SAVING' | 'DRIFTED' | 'MISSING' | 'NEEDS_ATTENTION';
    checkedAt: string | null;
    drift: { path: string; ours: unknown; theirs: unknown }[];
  };
}

/** What one save left of an agent. */
export interface AgentRevision extends Omit<Agent, 'id' | 'lastSyncedAt' | 'sync'> {
  agentId: string;
  savedAt: string | null;
}

export interface TransactionResult {
  role: AgentRole;
  agentId: string;
  success: boolean;
  vapiSynced: boolean | null;
  dbUpdated: boolean | null;
  assistantId: string | null;
  error: string | null;
}

export interface AgentSave {
  id: string;
  status: SaveStatus;
  startedAt: string;
  finishedAt: string | null;
  results: TransactionResult[];
}

/** What `updateAgents` may answer: contract.graphql's union. */
export type SaveAnswer =
  | { __typename: 'UpdateAgentsSuccess'; save: AgentSave; agents: Agent[]; revisions: AgentRevision[] }
  | { __typename: 'ValidationError'; message: string; issues: { path: string; message: string }[] }
  | { __typename: 'RevisionConflictError'; message: string; agents: Agent[] }
  | {
      __typename: 'SaveInProgressError';
      message: string;
      saveId: string;
      status: SaveStatus;
      retryAfterMs: number | null;
    }
  | { __typename: 'IdempotencyConflictError'; message: string; saveId: string }
  | {
      __typename: 'SaveFailedError';
      message: string;
      save: AgentSave;
      reason:
        | 'VAPI_REJECTED'
        | 'VAPI_ANSWER_DIFFERED'
        | 'VAPI_UNAVAILABLE'
        | 'VAPI_RATE_LIMITED'
        | 'VAPI_UNAUTHORIZED'
        | 'ASSISTANT_MISSING';
      retryable: boolean;
      issues: { path: string; message: string }[];
    }
  | { __typename: 'SavePendingError'; message: string; save: AgentSave; retryAfterMs: number | null }
  | { __typename: 'RateLimitedError'; message: string; retryAfterMs: number | null }
  | { __typename: 'UnavailableError'; message: string; retryAfterMs: number | null }
  | { __typename: 'VoiceProviderNotConfiguredError'; message: string };

/** Null where the API refuses it as well, so that tests can try. */
export interface AgentInput {
  name?: string | null;
  systemPrompt?: string | null;
  firstMessage?: string | null;
  voice?: {
    provider: string;
    voiceId: string;
    stability?: number | null;
    similarityBoost?: number | null;
  } | null;
  model?: {
    provider: string;
    name: string;
    temperature?: number | null;
    maxTokens?: number | null;
  } | null;
  language?: string | null;
  maxDurationSeconds?: number | null;
  transferTo?: { number: string; description: string; message?: string | null }[] | null;
  endCall?: boolean | null;
  voicemailMessage?: string | null;
  useKnowledgeBase?: boolean | null;
  bookAppointments?: boolean | null;
  expectedRevision?: number | null;
  recreateIfMissing?: boolean | null;
}

export interface SaveInput {
  inbound?: AgentInput | null;
  outbound?: AgentInput | null;
  idempotencyKey?: string | null;
}

const SAVE_FIELDS = gql`
  fragment SaveFields on AgentSave {
    id status startedAt finishedAt
    results { role agentId success vapiSynced dbUpdated assistantId error }
  }
`;

const AGENT_FIELDS = gql`
  fragment AgentFields on Agent {
    id role name systemPrompt firstMessage language maxDurationSeconds
    voice { provider voiceId stability similarityBoost }
    model { provider name temperature maxTokens }
    transferTo { number description message } endCall voicemailMessage useKnowledgeBase bookAppointments operatorToolIds
    vapiAssistantId revision lastSyncedAt
    sync { status checkedAt drift { path ours theirs } }
  }
`;

const REVISION_FIELDS = gql`
  fragment RevisionFields on AgentRevision {
    agentId role name systemPrompt firstMessage language maxDurationSeconds
    voice { provider voiceId stability similarityBoost }
    model { provider name temperature maxTokens }
    transferTo { number description message } endCall voicemailMessage useKnowledgeBase bookAppointments operatorToolIds
    vapiAssistantId revision savedAt
  }
`;

/** Selects every field of every possible answer (a test holds that). */
export const SAVE = gql`
  mutation Save($input: UpdateAgentsInput!) {
    updateAgents(input: $input) {
      __typename
      ... on Error { message }
      ... on UpdateAgentsSuccess { save { ...SaveFields } agents { ...AgentFields } revisions { ...RevisionFields } }
      ... on ValidationError { issues { path message } }
      ... on RevisionConflictError { agents { ...AgentFields } }
      ... on SaveInProgressError { saveId status retryAfterMs }
      ... on IdempotencyConflictError { saveId }
      ... on SaveFailedError { save { ...SaveFields } reason retryable issues { path message } }
      ... on SavePendingError { save { ...SaveFields } retryAfterMs }
      ... on RateLimitedError { retryAfterMs }
      ... on UnavailableError { retryAfterMs }
    }
  }
  ${SAVE_FIELDS}
  ${AGENT_FIELDS}
  ${REVISION_FIELDS}
`;

const AGENTS = gql`
  query Agents { agents { ...AgentFields } }
  ${AGENT_FIELDS}
`;

const AGENT_SAVE = gql`
  query AgentSave($id: ID!) { agentSave(id: $id) { ...SaveFields } }
  ${SAVE_FIELDS}
`;

/** Throws graphql-request's `ClientError` where the answer has errors. */
export async function save(client: GraphQLClient, input: SaveInput): Promise<SaveAnswer> {
  const { updateAgents } = await client.request<{ updateAgents: SaveAnswer }>(SAVE, { input });
  return updateAgents;
}

/** The answer as this type. Throws, showing the answer, where it is another. */
export function expectAnswer<T extends SaveAnswer['__typename']>(
  answer: SaveAnswer,
  type: T,
): Extract<SaveAnswer, { __typename: T }> {
  if (answer.__typename !== type) throw new Error(`not ${type}, but ${JSON.stringify(answer, null, 2)}`);
  return answer as Extract<SaveAnswer, { __typename: T }>;
}

/** By role. */
export async function readAgents(client: GraphQLClient): Promise<Partial<Record<AgentRole, Agent>>> {
  const { agents } = await client.request<{ agents: Agent[] }>(AGENTS);
  return Object.fromEntries(agents.map((agent) => [agent.role, agent]));
}

export async function readSave(client: GraphQLClient, id: string): Promise<AgentSave | null> {
  const { agentSave } = await client.request<{ agentSave: AgentSave | null }>(AGENT_SAVE, { id });
  return agentSave;
}

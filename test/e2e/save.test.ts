import { gql } from 'graphql-request';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createTestApp, type TestApp } from '../support/app.ts';

const SAVE = gql`
  mutation ($input: UpdateAgentsInput!) {
    updateAgents(input: $input) {
      __typename
      ... on UpdateAgentsSuccess { save { id status results { role success vapiSynced dbUpdated assistantId error } } agents { id role name systemPrompt revision vapiAssistantId sync { status } } }
      ... on Error { message }
      ... on SaveFailedError { reason retryable save { id status results { role success vapiSynced dbUpdated assistantId error } } }
      ... on SavePendingError { save { id status results { role success vapiSynced dbUpdated error } } }
    }
  }
`;

describe('a save of both agents', () => {
  let lockstep: TestApp;
  beforeAll(async () => {
    lockstep = await createTestApp();
  });
  afterAll(() => lockstep.stop());
  beforeEach(() => lockstep.vapi.reset());

  test('costs two database calls and one Vapi call an agent, and nothing else', async () => {
    const caller = await lockstep.newCaller();
    lockstep.supabase.requests.reset();
    const answer: any = await caller.client.request(SAVE, { input: { inbound: { systemPrompt: 'In' }, outbound: { systemPrompt: 'Out' } } });
    console.log(JSON.stringify(answer, null, 1));
    expect(lockstep.supabase.requests.all.map((r) => r.path)).toEqual(['/rest/v1/rpc/save_begin', '/rest/v1/rpc/save_commit']);
    expect(lockstep.vapi.requests.map((r) => r.method)).toEqual(['POST', 'POST']);
  });
  test('rejected outbound', async () => {
    const caller = await lockstep.newCaller();
    await caller.client.request(SAVE, { input: { inbound: { systemPrompt: 'In' }, outbound: { systemPrompt: 'Out' } } });
    lockstep.vapi.faults.add({ match: { method: 'PATCH', bodyIncludes: 'Out2' }, kind: 'reject', messages: ['nope'] } as any);
    const answer: any = await caller.client.request(SAVE, { input: { inbound: { systemPrompt: 'In2' }, outbound: { systemPrompt: 'Out2' } } });
    console.log(JSON.stringify(answer, null, 1), lockstep.log.slice(-5));
    console.log(lockstep.vapi.requests.map((r) => r.method), lockstep.supabase.requests.all.map((r) => r.path).slice(-4));
  });
});

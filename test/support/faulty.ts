/** One organization among several on one stand-in: what it saves, and the requests that carry it. */
import type { GraphQLClient } from 'graphql-request';
import { vi } from 'vitest';
import type { FaultInput } from '../../src/local/vapi/faults.ts';
import type { VapiStandIn } from '../../src/local/vapi/server.ts';
import {
  type AgentSave,
  expectAnswer,
  readSave,
  type SaveAnswer,
  type SaveInput,
  type SaveStatus,
  save,
} from './operations.ts';

export type Side = 'Inbound' | 'Outbound';

/** A prompt that no other organization and no other save has: a fault that matches it strikes this write alone. */
export function prompt(orgId: string, side: Side, what: string): string {
  return `${side} of ${orgId}: ${what}.`;
}

/** The change of both agents. */
export function both(orgId: string, what: string): SaveInput & Required<Pick<SaveInput, 'inbound'>> {
  return {
    inbound: { systemPrompt: prompt(orgId, 'Inbound', what) },
    outbound: { systemPrompt: prompt(orgId, 'Outbound', what) },
  };
}

/**
 * Makes both agents, and waits until nothing stands in the way of their next save. A slow machine may let a request come to its
 * deadline: then it takes more than one try, and a fence.
 */
export async function makeBoth({ client }: { client: GraphQLClient }, input: SaveInput): Promise<void> {
  const first = Object.fromEntries(
    Object.entries(input).map(([side, agent]) => [side, { ...(agent as object), expectedRevision: 0 }]),
  );
  await vi.waitFor(
    async () => {
      const answer = await save(client, first);
      // Neither open nor fenced, and the agents are there.
      if (answer.__typename !== 'RevisionConflictError') throw new Error(`it is ${answer.__typename}`);
    },
    { timeout: 60_000, interval: 100 },
  );
}

/** Strikes the requests that put this content into Vapi; an undo puts another there. */
export function strike(
  vapi: VapiStandIn,
  fault: FaultInput,
  ...[orgId, side, what]: Parameters<typeof prompt>
): number {
  return vapi.faults.add({ ...fault, match: { ...fault.match, bodyIncludes: prompt(orgId, side, what) } });
}

/** The requests that carried this content, oldest first. */
export function writes(vapi: VapiStandIn, ...[orgId, side, what]: Parameters<typeof prompt>) {
  const text = JSON.stringify(prompt(orgId, side, what)).slice(1, -1);
  return vapi.requests.filter(({ body }) => JSON.stringify(body ?? null).includes(text));
}

/** The save as soon as it is over, or waits for a person. */
export async function ended(
  { client }: { client: GraphQLClient },
  saveId: string,
  timeout = 60_000,
): Promise<AgentSave> {
  const over: SaveStatus[] = ['COMMITTED', 'ROLLED_BACK', 'NEEDS_ATTENTION'];
  return vi.waitFor(
    async () => {
      const found = await readSave(client, saveId);
      if (found === null || !over.includes(found.status)) throw new Error(`${saveId} is ${found?.status}`);
      return found;
    },
    { timeout, interval: 50 },
  );
}

/** Saves as soon as nothing stands in the way: no open save, no fence. */
export async function saveWhenFree(
  { client }: { client: GraphQLClient },
  input: SaveInput,
  timeout = 60_000,
): Promise<Extract<SaveAnswer, { __typename: 'UpdateAgentsSuccess' }>> {
  return vi.waitFor(
    async () => {
      const answer = await save(client, input);
      // Anything else than being told to wait is not to be tried again.
      if (answer.__typename === 'SaveInProgressError') throw new Error('in progress');
      return expectAnswer(answer, 'UpdateAgentsSuccess');
    },
    { timeout, interval: 50 },
  );
}

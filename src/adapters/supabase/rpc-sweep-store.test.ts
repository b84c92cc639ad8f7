import { expect, test } from 'vitest';
import type { SweepNote } from '../../ports/agents/sweep-store.ts';
import type { ServiceClient } from './clients.ts';
import { createRpcSweepStore } from './rpc-sweep-store.ts';

/** A database that notes everything, and what it was called with. */
function start() {
  const calls: { name: string; args: Record<string, unknown> }[] = [];
  const client = {
    rpc: async (name: string, args: Record<string, unknown>) => {
      calls.push({ name, args });
      const notes = args['p_notes'] as SweepNote[] | undefined;
      return { data: notes?.map(({ agentId }) => agentId) ?? [], error: null, status: 200 };
    },
  } as unknown as ServiceClient;
  return { store: createRpcSweepStore(client), calls };
}

test('every note reaches the database once, at most twenty in one transaction', async () => {
  const { store, calls } = start();
  const notes = Array.from(
    { length: 45 },
    (_, nth): SweepNote => ({
      ...{ orgId: 'org', agentId: `agent ${nth}`, revision: 1, saveId: 'save', state: 'SAME' },
    }),
  );
  expect(await store.note(notes)).toEqual(notes.map(({ agentId }) => agentId));
  expect(calls.map(({ args }) => (args['p_notes'] as unknown[]).length)).toEqual([20, 20, 5]);
  expect(calls.flatMap(({ args }) => args['p_notes'])).toEqual(notes);
});

test('nothing to note and nothing to look up is no call', async () => {
  const { store, calls } = start();
  expect([await store.note([]), await store.lookup([])]).toEqual([[], []]);
  expect(calls).toEqual([]);
});

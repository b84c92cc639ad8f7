import { execute, parse } from 'graphql';
import { expect, test } from 'vitest';
import { defaultConfig } from '../domain/agents/agent-config.ts';
import type { AgentRecord } from '../domain/agents/save.ts';
import { schema } from './index.ts';

const AGENT: AgentRecord = {
  ...{ id: '00000000-0000-4000-8000-000000000001', role: 'INBOUND', assistantId: 'a', revision: 1 },
  config: { ...defaultConfig('INBOUND'), systemPrompt: 'You answer calls.' },
  ...{ lastSyncedAt: null, checkedAt: null, drift: [], missing: false, adoptable: null },
};

/** Runs the document, and tells which reads began before the agents were there. */
async function readsBesideAgents(document: string, openSave: () => Promise<unknown> = async () => null) {
  const begun: string[] = [];
  const agents = Promise.withResolvers<AgentRecord[]>();
  const reads = {
    openSave: () => {
      begun.push('openSave');
      return openSave();
    },
  };
  const loaders = {
    agents: () => {
      begun.push('agents');
      return agents.promise;
    },
  };
  const caller = { userId: 'u', orgId: 'o', reads, loaders };
  const result = execute({ schema, document: parse(document), contextValue: { caller } });
  await new Promise((done) => setImmediate(done));
  const beside = begun.toSorted();
  agents.resolve([AGENT]);
  return { beside, result: await result };
}

test.each([
  ['{ agents { sync { status } } }'],
  ['{ agent(role: INBOUND) { ... on Agent { sync { status } } } }'],
  ['{ agents { ...A } } fragment A on Agent { name ...B } fragment B on Agent { sync { status } }'],
])('reads the open save beside the agents, not after them: %s', async (document) => {
  const { beside, result } = await readsBesideAgents(document);
  expect(beside).toEqual(['agents', 'openSave']);
  expect(result.errors).toBeUndefined();
});

test('does not read the open save if no status is asked for', async () => {
  expect((await readsBesideAgents('{ agents { name } }')).beside).toEqual(['agents']);
});

test('reports a failure of the second read at the status', async () => {
  const { result } = await readsBesideAgents('{ agents { sync { status } } }', () =>
    Promise.reject(new Error('away')),
  );
  expect(result.errors?.map(({ path }) => path?.join('.'))).toEqual(['agents.0.sync.status']);
});

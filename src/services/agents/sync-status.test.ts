import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AGENT_ROLES, defaultConfig } from '../../domain/agents/agent-config.ts';
import type { AgentRecord, SaveStatus } from '../../domain/agents/save.ts';
import { type AgentSyncStatus, syncStatus } from './sync-status.ts';

const statuses: SaveStatus[] = ['APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION'];

const agents = fc.record({
  role: fc.constantFrom(...AGENT_ROLES),
  missing: fc.boolean(),
  drifted: fc.boolean(),
  synced: fc.boolean(),
});
const openSaves = fc.option(
  fc.record({ status: fc.constantFrom(...statuses), roles: fc.subarray([...AGENT_ROLES]) }),
);

test('the first that is true of NEEDS_ATTENTION, SAVING, MISSING, DRIFTED, NEVER_SYNCED, IN_SYNC', () => {
  fc.assert(
    fc.property(agents, openSaves, ({ role, missing, drifted, synced }, open) => {
      const record: AgentRecord = {
        ...{ id: 'a', role, assistantId: 'x', revision: 1, checkedAt: null, adoptable: null, missing },
        config: { ...defaultConfig(role), systemPrompt: 'p' },
        lastSyncedAt: synced ? '2026-01-01T00:00:00Z' : null,
        drift: drifted ? [{ path: 'name', ours: 'a', theirs: 'b' }] : [],
      };
      const named = open?.roles.includes(role) ?? false;
      const order: [AgentSyncStatus, boolean][] = [
        ['NEEDS_ATTENTION', named && open?.status === 'NEEDS_ATTENTION'],
        ['SAVING', named],
        ['MISSING', missing],
        ['DRIFTED', drifted],
        ['NEVER_SYNCED', !synced],
        ['IN_SYNC', true],
      ];
      expect(syncStatus(record, open)).toBe(order.find(([, holds]) => holds)?.[0]);
    }),
    { numRuns: 300 },
  );
});

/** What settleDrift saves, by what the caller wishes and what Vapi holds now. The whole way is in test/e2e/sweep.test.ts. */
import { describe, expect, test } from 'vitest';
import { type AgentConfigPatch, defaultConfig } from '../../../domain/agents/agent-config.ts';
import type { AgentRecord } from '../../../domain/agents/save.ts';
import type { SweepAgent } from '../../../ports/agents/sweep-store.ts';
import { RateLimitedError, UnavailableError, ValidationError } from '../../errors.ts';
import type { TransactionalAgentUpdate } from '../build.ts';
import type { SaveOptions, SaveOutcome } from '../execute.ts';
import type { Verdict } from './look.ts';
import { type DriftWish, settleDrift } from './settle-drift.ts';

const CONFIG = { ...defaultConfig('INBOUND'), systemPrompt: 'P' };
const agent = (role: 'INBOUND' | 'OUTBOUND', over: Partial<AgentRecord> = {}): AgentRecord => ({
  ...{ id: `agent ${role}`, role, config: CONFIG, assistantId: `assistant ${role}`, revision: 5 },
  ...{ lastSyncedAt: null, checkedAt: null, drift: [], missing: false, adoptable: null, ...over },
});
const swept = (revision: number): SweepAgent => ({
  ...{ orgId: 'org', agentId: 'agent INBOUND', role: 'INBOUND', assistantId: 'assistant INBOUND', revision },
  ...{ saveId: 'save', config: CONFIG, observed: {}, missing: false, policy: 'REPORT', busy: false },
  ...{ mappingVersion: 1, context: {} },
});
const DRIFT = [{ path: 'name', ours: 'a', theirs: 'b' }];
const drifted = (adoptable: AgentConfigPatch | null = { name: 'b' }, revision = 5): Verdict => ({
  ...{ kind: 'drifted', agent: swept(revision), drift: DRIFT, adoptable },
});

async function ask(
  wish: Partial<DriftWish>,
  verdict: Verdict | null,
  {
    agents = [agent('INBOUND'), agent('OUTBOUND', { revision: 9 })],
    answer = { kind: 'revision_conflict', agents: [] } as SaveOutcome,
  } = {},
) {
  const saves: { update: TransactionalAgentUpdate; options: SaveOptions }[] = [];
  const looked: string[] = [];
  const ports = {
    look: async (_orgId: string, assistantId: string) => {
      looked.push(assistantId);
      return verdict;
    },
    save: async (update: TransactionalAgentUpdate, options: SaveOptions) => {
      saves.push({ update, options });
      return answer;
    },
  };
  const outcome = await settleDrift(ports, 'org', agents, {
    ...{ role: 'INBOUND', resolution: 'ADOPT', ...wish },
  }).catch((error: unknown) => error);
  return { outcome, saves, looked };
}

describe('REVERT', () => {
  const resolution = 'REVERT' as const;

  test('writes what the database says, at the revision of the look', async () => {
    const { saves, looked } = await ask({ resolution }, drifted(null, 6));
    expect(looked).toEqual(['assistant INBOUND']);
    expect(saves).toMatchObject([
      {
        update: {
          ...{ orgId: 'org', agentId: 'agent INBOUND', role: 'INBOUND', payload: {} },
          ...{ expectedRevision: 6, recreateIfMissing: false },
        },
        options: { kind: 'REVERT', idempotencyKey: null },
      },
    ]);
  });

  test('expects the revision that the caller names', async () => {
    const { saves } = await ask({ resolution, expectedRevision: 3 }, drifted());
    expect(saves).toMatchObject([{ update: { expectedRevision: 3 } }]);
  });

  test('needs no look: the write is verified', async () => {
    const { saves } = await ask({ resolution }, null);
    expect(saves).toMatchObject([{ update: { payload: {}, expectedRevision: 5 } }]);
  });
});

describe('ADOPT', () => {
  test('saves exactly what the look saw, under the key of the caller', async () => {
    const { saves } = await ask({ idempotencyKey: 'k', expectedRevision: 5 }, drifted());
    expect(saves).toMatchObject([
      {
        update: { payload: { name: 'b' }, expectedRevision: 5, recreateIfMissing: false },
        options: {
          ...{ kind: 'ADOPT', idempotencyKey: 'k' },
          request: { settleDrift: { role: 'INBOUND', resolution: 'ADOPT', expectedRevision: 5 } },
        },
      },
    ]);
  });

  test('works at the revision that the look saw', async () => {
    const { saves } = await ask({}, drifted({ name: 'b' }, 6));
    expect(saves).toMatchObject([{ update: { payload: { name: 'b' }, expectedRevision: 6 } }]);
  });

  test('adopts nothing at another revision than the caller expected', async () => {
    const { saves, outcome } = await ask({ expectedRevision: 4 }, drifted());
    expect(saves).toMatchObject([{ update: { payload: {}, expectedRevision: 0 } }]);
    expect(outcome).toMatchObject({ kind: 'revision_conflict' });
  });

  test('adopts nothing that an earlier sweep saw and the look does not', async () => {
    const agents = [agent('INBOUND', { adoptable: { name: 'earlier' }, drift: DRIFT })];
    const { saves, outcome } = await ask({}, { kind: 'same' }, { agents });
    expect(saves.map(({ update }) => update.payload)).toEqual([{}]);
    expect(outcome).toBeInstanceOf(ValidationError);
  });

  test('returns the answer of an earlier request with the same key, whatever Vapi holds now', async () => {
    const answer: SaveOutcome = { kind: 'committed', save: {} as never, agents: [] };
    for (const verdict of [{ kind: 'same' }, { kind: 'saving' }, { kind: 'missing' }, null] as const) {
      const { outcome, saves } = await ask({ idempotencyKey: 'k' }, verdict, { answer });
      expect(outcome).toBe(answer);
      expect(saves).toMatchObject([{ options: { kind: 'ADOPT', idempotencyKey: 'k' } }]);
    }
  });

  test.each<[string, Verdict, string]>([
    ['Vapi holds what the agent says', { kind: 'same' }, 'nothing to adopt'],
    ['no field can hold the edit', drifted(null), 'no field for the edit'],
    ['the assistant was deleted', { kind: 'missing' }, 'recreateIfMissing'],
    [
      'a late write is there',
      { kind: 'stale', agent: swept(5), stamp: null, drift: [] },
      'not an edit of the current revision',
    ],
  ])('is refused if %s', async (_what, verdict, message) => {
    const { outcome } = await ask({}, verdict);
    expect(outcome).toBeInstanceOf(ValidationError);
    expect((outcome as ValidationError).issues[0]?.message).toContain(message);
  });

  test('is refused as unavailable or rate limited if Vapi cannot be read', async () => {
    const unreadable = (reply: Extract<Verdict, { kind: 'unreadable' }>['reply']): Verdict => ({
      ...{ kind: 'unreadable', reply },
    });
    const away = await ask({}, unreadable({ kind: 'unknown', code: 'HTTP_500' }));
    expect(away.outcome).toBeInstanceOf(UnavailableError);
    const limited = await ask({}, unreadable({ kind: 'rate_limited', retryAfterMs: 7_000 }));
    expect(limited.outcome).toBeInstanceOf(RateLimitedError);
    expect(limited.outcome).toMatchObject({ retryAfterMs: 7_000 });
  });

  test('is answered as in progress while a save runs', async () => {
    const answer: SaveOutcome = { kind: 'in_progress', saveId: 's', status: 'APPLYING', retryAfterMs: 1 };
    expect((await ask({}, { kind: 'saving' }, { answer })).outcome).toBe(answer);
  });
});

test('changes only the agent of the role that the caller names', async () => {
  const { looked, saves } = await ask({ role: 'OUTBOUND', resolution: 'REVERT' }, { kind: 'same' });
  expect(looked).toEqual(['assistant OUTBOUND']);
  expect(saves).toMatchObject([
    { update: { agentId: 'agent OUTBOUND', role: 'OUTBOUND', expectedRevision: 9 } },
  ]);
  const { outcome } = await ask({ role: 'OUTBOUND' }, { kind: 'same' }, { agents: [agent('INBOUND')] });
  expect(outcome).toBeInstanceOf(ValidationError);
});

/**
 * A user saves while a sweep is at work: before each of the sweep's calls, and with the save finished or still under way when the call
 * takes effect. Whatever the sweep does about an edit in the dashboard, what the user was told stays true, in both systems.
 */
import { describe, expect, test } from 'vitest';
import type { AgentConfigPatch } from '../../src/domain/agents/agent-config.ts';
import { ANY_AGENTS, buildTransactionalUpdates } from '../../src/services/agents/build.ts';
import { type Call, type FaultSource, type Planted, type Strike, World } from './world.ts';

const SETTINGS = {
  ...{ leaseMs: 17_000, deadlineMs: 120_000, answerMs: 12_000, lateMs: 22_000, requestTimeoutMs: 10_000 },
};
/** Longer than the user's save, which takes no time but this. */
const HALF_MS = 500;

interface Race {
  policy: 'REVERT' | 'ADOPT' | 'REPORT';
  edit: 'name' | 'tools' | 'deletion';
  /** The user's save is over when the sweep's call takes effect, or has written and not committed. */
  save: 'done' | 'half';
}

/** The sweep's calls, in order; at the one that is chosen, a user saves. */
class Points implements FaultSource {
  readonly ops: string[] = [];
  world: World | null = null;
  isOn = false;
  readonly #at: number;
  readonly #save: Race['save'];

  constructor(at: number, save: Race['save']) {
    this.#at = at;
    this.#save = save;
  }

  strike({ replica, op }: Call): Strike | null {
    if (!this.isOn) return null;
    // The user's write takes so long that the sweep's call comes in between.
    if (replica === 'r2')
      return this.#save === 'half' && op === 'commit' ? { what: 'latency', ms: HALF_MS } : null;
    this.ops.push(op);
    if (this.ops.length - 1 !== this.#at) return null;
    void userSaves(this.world as World, 'r2', { name: 'By the user' });
    return { what: 'latency', ms: HALF_MS / 2 };
  }
}

async function userSaves(world: World, replica: string, config: AgentConfigPatch): Promise<string> {
  const [orgId = ''] = world.orgIds;
  const payload = { config, expectedRevision: null, recreateIfMissing: true };
  const updates = buildTransactionalUpdates(orgId, ANY_AGENTS, payload, null);
  const outcome = await world.save(replica, updates, { actor: 'somebody' });
  return outcome?.kind ?? 'nothing';
}

async function race(at: number, { policy, edit, save }: Race, planted?: Planted) {
  const points = new Points(at, save);
  const world = new World({
    ...{ seed: 7, settings: SETTINGS, replicas: 2, organizations: 1, latency: false, bounded: true },
    // Nothing but what the test begins.
    ...{ recoveryIntervalMs: 0, reconcileIntervalMs: 0, faults: points, keepLog: true },
    ...(planted === undefined ? {} : { planted }),
  });
  points.world = world;
  const [orgId = ''] = world.orgIds;
  const first = userSaves(world, 'r1', { systemPrompt: 'As it was', name: 'As it was' });
  await world.runUntil(1_000);
  expect(await first).toBe('committed');
  world.model.setDriftPolicy(orgId, policy);
  const id = world.assistantOf(orgId, 'INBOUND') ?? '';
  if (edit === 'deletion') world.remove(id);
  else world.edit(id, edit === 'name' ? { name: 'By hand' } : { model: { toolIds: ['tool'] } as never });
  points.isOn = true;
  void world.sweep('r1');
  await world.runUntil(60_000);
  points.isOn = false;
  // Recovery, and another sweep, of what is left.
  for (const ms of [120_000, 180_000, 240_000]) {
    void world.recover('r2');
    await world.runUntil(ms);
    void world.sweep('r2');
    await world.runUntil(ms + 30_000);
  }
  const [agent] = world.model.agentsOf(orgId);
  world.checks.restOf(orgId, true);
  const assistant = world.store.all().find((one) => one.id === agent?.assistantId);
  return { world, points, agent, assistant };
}

const RACES = (['REVERT', 'ADOPT', 'REPORT'] as const).flatMap((policy) =>
  (['name', 'tools', 'deletion'] as const).flatMap((edit) =>
    (['done', 'half'] as const).map((save): Race => ({ policy, edit, save })),
  ),
);

describe('a user saves between the look of a sweep and its repair', () => {
  test.each(RACES)('policy $policy, edit of $edit, the save is $save', async (one) => {
    const { points: calls } = await race(-1, one);
    // It takes its lease, lists, looks up, looks again; and repairs unless there is nothing to repair by itself.
    expect(calls.ops.length).toBeGreaterThan(4);
    for (let at = 0; at < calls.ops.length; at += 1) {
      const { world, points, agent, assistant } = await race(at, one);
      const place = `before call ${at}, ${points.ops[at]}\n${world.log.join('\n')}`;
      expect(world.violation, place).toBeNull();
      expect(world.model.openSaves, place).toEqual([]);
      // The user was told that it is in both systems, or that another save was under way.
      const told = world.log.some((line) => /r2 told committed/.test(line));
      if (!told) continue;
      expect(agent?.config.name, place).toBe('By the user');
      // With REPORT, what the user's save did not overwrite is shown; here it overwrites everything.
      expect(assistant?.['name'], place).toBe('By the user');
    }
  });

  test('a repair that does not say which save it has seen takes the save of a user back', async () => {
    const blind: Planted = {
      journal: (journal) => ({
        ...journal,
        begin: (orgId, saveId, owner, request) =>
          journal.begin(orgId, saveId, owner, {
            ...request,
            updates: request.updates.map((update) => ({
              ...update,
              expectedRevision: null,
              expectedSaveId: undefined,
            })),
          }),
      }),
    };
    const adopt: Race = { policy: 'ADOPT', edit: 'name', save: 'done' };
    const { points: calls } = await race(-1, adopt);
    const names: (string | undefined)[] = [];
    for (let at = 0; at < calls.ops.length; at += 1) {
      const { agent } = await race(at, adopt, blind);
      names.push(agent?.config.name);
    }
    expect(names).toContain('By hand');
  });
});

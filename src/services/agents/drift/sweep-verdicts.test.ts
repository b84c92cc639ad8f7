/** What a sweep decides about one assistant, and which assistants it calls missing, against a store and a voice in memory. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { defaultConfig } from '../../../domain/agents/agent-config.ts';
import { jsonbText } from '../../../domain/json.ts';
import type { ListedAgent, SweepAgent, SweepNote, SweepPageRow } from '../../../ports/agents/sweep-store.ts';
import type { Log } from '../../../ports/system.ts';
import type { ProviderAssistant, ProviderReply } from '../../../ports/voice-provider.ts';
import type { TransactionalAgentUpdate } from '../build.ts';
import { observedForm } from '../compare.ts';
import { MAPPING_VERSION, renderAssistant } from '../render.ts';
import { type SweepReport, sweep } from './sweep.ts';

const uuid = (digit: number) => `00000000-0000-4000-8000-00000000000${digit}`;
const CONFIG = { ...defaultConfig('INBOUND'), systemPrompt: 'You answer calls.' };
const STAMP = {
  ...{ deployment: uuid(1), orgId: uuid(2), agentId: uuid(3), role: 'INBOUND' as const },
  ...{ saveId: uuid(4), revision: 7 },
};
const ID = 'assistant-1';
const written = (stamp = STAMP): ProviderAssistant => ({
  ...renderAssistant(MAPPING_VERSION, CONFIG, stamp, {}),
  id: ID,
});
const AGENT: SweepAgent = {
  ...{ orgId: STAMP.orgId, agentId: STAMP.agentId, role: 'INBOUND', assistantId: ID, revision: 7 },
  ...{
    saveId: STAMP.saveId,
    config: CONFIG,
    observed: observedForm(MAPPING_VERSION, {}, written()),
    missing: false,
  },
  ...{ policy: 'REVERT', busy: false, mappingVersion: MAPPING_VERSION, context: {} },
};
const row = (nth: number): SweepPageRow => ({
  ...{ orgId: STAMP.orgId, agentId: `agent-${String(nth).padStart(5, '0')}` },
  ...{ assistantId: `other-${nth}`, revision: 1, saveId: uuid(5), missing: false },
});

const listedOf = ({
  orgId,
  agentId,
  assistantId,
  revision,
  saveId,
  mappingVersion,
  context,
  observed,
  missing,
  busy,
}: SweepAgent): ListedAgent => ({
  ...{ orgId, agentId, assistantId, revision, saveId, mappingVersion, context, news: missing, busy },
  hash: createHash('sha256')
    .update(jsonbText(observed ?? {}))
    .digest('hex'),
});

interface Scene {
  listed?: ProviderAssistant[];
  /** What the second look at an assistant shows. */
  found?: (id: string) => ProviderReply<ProviderAssistant>;
  /** What the first look-up answers, and the ones after it. */
  agents?: [SweepAgent[], SweepAgent[]];
  rows?: SweepPageRow[];
}

async function run({ listed = [], found = () => ({ kind: 'gone' }), agents = [[], []], rows = [] }: Scene) {
  const pages: ProviderAssistant[][] = [];
  let paused = 0;
  const saves: { update: TransactionalAgentUpdate; kind: string }[] = [];
  const notes: SweepNote[] = [];
  const unused = () => Promise.reject(new Error('not part of this test'));
  const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const report: SweepReport = await sweep({
    store: {
      takeLease: async () => 0,
      listed: async (ids) => agents[0].filter(({ assistantId }) => ids.includes(assistantId)).map(listedOf),
      lookup: async (ids) => agents[1].filter(({ assistantId }) => ids.includes(assistantId)),
      done: async () => 'the time of the walk',
      page: async (after, limit) =>
        rows.filter(({ agentId }) => after === null || agentId > after).slice(0, limit),
      note: async (some) => {
        notes.push(...some);
        return some.map(({ agentId }) => agentId);
      },
      orphans: async () => [],
      ...{ releaseLease: unused, cleanup: unused, setDriftPolicy: unused },
    },
    voice: {
      timeoutMs: 1,
      listAssistants: async ({ limit, createdAtLe }) => {
        const value = listed
          .filter(({ createdAt }) => createdAtLe === undefined || String(createdAt) <= createdAtLe)
          .slice(0, limit);
        pages.push(value);
        return { kind: 'ok', value };
      },
      getAssistant: async (id) => found(id),
      ...{ createAssistant: unused, updateAssistant: unused, deleteAssistant: unused },
    },
    clock: { now: () => 0, monotonic: () => 0, sleep: unused },
    pause: async () => {
      paused += 1;
    },
    ...{ meter: { count() {} }, log, owner: 'this process', leaseMs: 60_000, orphanAgeMs: 0 },
    save: async (update, kind) => {
      saves.push({ update, kind });
      return { kind: 'no_organization' };
    },
  });
  return { report, saves, notes, pages, paused };
}

const one = (agent: SweepAgent, assistant: ProviderAssistant, later = agent) =>
  run({
    listed: [assistant],
    found: () => ({ kind: 'ok', value: assistant }),
    agents: [[agent], [later]],
  });

describe('an assistant of an agent', () => {
  test('is in step if it holds the last write with the stamp of its save', async () => {
    const { report, saves, notes } = await one(AGENT, written());
    expect({ same: report.same, saves, notes }).toEqual({ same: 1, saves: [], notes: [] });
    expect(report.walkedAt).toBe('the time of the walk');
  });

  test('is written as in step only if its row says something else', async () => {
    const { notes } = await one({ ...AGENT, missing: true }, written());
    expect(notes).toMatchObject([{ state: 'SAME', revision: 7, saveId: STAMP.saveId }]);
  });

  test.each([
    ['a save is in progress', { ...AGENT, busy: true }, written()],
    ['its repair did not work', AGENT, written({ ...STAMP, saveId: uuid(9) })],
    ['a newer build has written it', { ...AGENT, mappingVersion: MAPPING_VERSION + 1 }, written()],
  ])('is noted as not confirmed by this sweep if %s', async (_what, agent, assistant) => {
    const { notes, report } = await one(agent, assistant);
    expect(notes).toMatchObject([{ state: 'UNCONFIRMED', saveId: STAMP.saveId }]);
    expect(report.walkedAt).not.toBeNull();
  });

  test.each(['REVERT', 'ADOPT'] as const)(
    'is repaired by a save that expects the revision at which the edit was found, where the policy is %s',
    async (policy) => {
      const { saves } = await one({ ...AGENT, policy }, { ...written(), name: 'Edited' });
      expect(saves).toMatchObject([
        {
          kind: policy,
          update: {
            ...{ agentId: AGENT.agentId, expectedRevision: 7, recreateIfMissing: false },
            payload: policy === 'ADOPT' ? { name: 'Edited' } : {},
          },
        },
      ]);
    },
  );

  test.each([
    ['another save', { ...STAMP, saveId: uuid(9) }],
    ['another agent', { ...STAMP, agentId: uuid(9) }],
  ])('is written anew and not adopted if its stamp names %s', async (_what, stamp) => {
    const { saves, report } = await one({ ...AGENT, policy: 'ADOPT' }, written(stamp));
    expect(report).toMatchObject({ same: 0, drifted: 0 });
    expect(saves).toMatchObject([{ kind: 'REVERT', update: { payload: {}, expectedRevision: 7 } }]);
  });

  test.each([
    ['a save ended between the two looks', { ...AGENT, saveId: uuid(8), revision: 8 }],
    ['a save began between the two looks', { ...AGENT, busy: true }],
    ['a newer build saved it between the two looks', { ...AGENT, mappingVersion: 99 }],
  ])('is left alone if %s', async (_what, later) => {
    const { saves, notes } = await one(AGENT, { ...written(), name: 'Edited' }, later);
    expect({ saves, notes }).toMatchObject({ saves: [], notes: [{ state: 'UNCONFIRMED' }] });
  });

  test('is left to a newer build that saved it with a mapping version that this one does not know', async () => {
    const { saves, notes } = await one({ ...AGENT, mappingVersion: 99 }, { ...written(), name: 'Edited' });
    expect({ saves, notes }).toMatchObject({ saves: [], notes: [{ state: 'UNCONFIRMED' }] });
  });
});

describe('a thousand agents with prompts of a hundred thousand characters', () => {
  const config = { ...CONFIG, systemPrompt: 'a long prompt '.repeat(7_143).slice(0, 100_000) };
  const all = Array.from({ length: 1_000 }, (_, nth) => {
    const stamp = { ...STAMP, agentId: `00000000-0000-4000-8000-${String(nth).padStart(12, '0')}` };
    const assistant: ProviderAssistant = {
      ...renderAssistant(MAPPING_VERSION, config, stamp, {}),
      ...{ id: `long-${nth}`, createdAt: new Date(1_800_000_000_000 - nth).toISOString() },
    };
    const agent: SweepAgent = {
      ...{ ...AGENT, config, agentId: stamp.agentId, assistantId: assistant.id },
      observed: observedForm(MAPPING_VERSION, {}, assistant),
    };
    return { assistant, agent };
  });
  const listed = all.map(({ assistant }) => assistant);
  const agents = all.map(({ agent }) => agent);

  test('are all compared, in pages of bounded size, with pauses for other work', async () => {
    const { report, pages, paused, notes } = await run({ listed, agents: [agents, []] });
    expect(report).toMatchObject({ stopped: null, same: 1_000, missing: 0 });
    expect(notes).toEqual([]);
    // Of the first page the size is not known; it holds a hundred at most.
    const sizes = pages.map((page) => JSON.stringify(page).length);
    expect(Math.max(...sizes.slice(1))).toBeLessThanOrEqual(4_500_000);
    expect(sizes[0]).toBeLessThanOrEqual(11_000_000);
    // About a hundred million characters, of which half a million and the assistant that exceeds them fit into one turn.
    expect(paused).toBeGreaterThanOrEqual(160);
  });

  test('the edited agents among them are found', async () => {
    const edited = listed.map((assistant, nth) =>
      nth === 500 ? { ...assistant, name: 'Edited' } : assistant,
    );
    const { report, saves } = await run({
      listed: edited,
      agents: [agents, agents],
      found: (id) => ({ kind: 'ok', value: edited.find((assistant) => assistant.id === id) ?? { id } }),
    });
    expect(report).toMatchObject({ same: 999, drifted: 1 });
    expect(saves).toMatchObject([{ kind: 'REVERT', update: { agentId: agents[500]?.agentId } }]);
  });
});

test('reads all assistants of one millisecond, even if a page cannot hold them', async () => {
  const createdAt = new Date(1_800_000_000_000).toISOString();
  const listed = Array.from({ length: 900 }, (_, nth) => ({ id: `stranger-${nth}`, createdAt }));
  const long = { id: 'long', createdAt, note: 'x'.repeat(5_000_000) };
  const { report } = await run({ listed: [long, ...listed] });
  expect(report).toMatchObject({ stopped: null, unreferenced: 901 });
});

describe('assistants that are not in the list', () => {
  const gone = (rows: SweepPageRow[], missing: number) => ({
    rows,
    listed: rows.slice(missing).map(({ assistantId }) => ({ id: assistantId })),
    agents: [[], []] as [SweepAgent[], SweepAgent[]],
  });

  test('are found on every page of agents', async () => {
    const rows = Array.from({ length: 1_500 }, (_, nth) => row(nth));
    const { report, notes } = await run({
      rows,
      listed: rows.slice(0, 1_499).map(({ assistantId }, nth) => ({
        id: assistantId,
        createdAt: new Date(1_800_000_000_000 - nth).toISOString(),
      })),
    });
    expect(report).toMatchObject({ stopped: null, missing: 1 });
    expect(notes.at(-1)).toMatchObject({ agentId: row(1_499).agentId, state: 'MISSING' });
  });

  test.each([
    [20, 4, null],
    [20, 5, 'TOO_MANY_MISSING'],
    [5, 3, null],
    [5, 4, 'TOO_MANY_MISSING'],
  ])('of %i agents, %i at once: the sweep stops with %s', async (all, missing, stopped) => {
    const { report } = await run(
      gone(
        Array.from({ length: all }, (_, nth) => row(nth)),
        missing,
      ),
    );
    expect(report).toMatchObject({ stopped, missing: stopped === null ? missing : 0 });
  });

  test('stop the sweep if Vapi refuses the key for the second look', async () => {
    const { report, notes } = await run({
      ...gone([row(1), row(2)], 1),
      found: () => ({ kind: 'unauthorized', status: 401 }),
    });
    expect(report).toMatchObject({ stopped: 'VAPI_UNAUTHORIZED', missing: 0 });
    expect(notes).toEqual([]);
  });
});

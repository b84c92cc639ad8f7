/** When an operator may end a save that needs attention: what Vapi must show of each agent. The whole way is in test/e2e. */
import { describe, expect, test } from 'vitest';
import { defaultConfig } from '../../domain/agents/agent-config.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { PartImage, SagaRecord, SagaStatus } from '../../domain/saga.ts';
import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import type { Assistants, ProviderAssistant, ProviderReply } from '../../ports/voice-provider.ts';
import { lateTimeMs } from '../saga/settings.ts';
import { settleSaga } from '../saga/settle.ts';
import { AGENT_SAGA } from './participant.ts';
import { renderAssistant } from './render.ts';

const uuid = (nth: number) => `00000000-0000-4000-8000-${String(nth).padStart(12, '0')}`;
const [DEPLOYMENT, ORG, SAVE, EARLIER, ACCOUNT] = [uuid(1), uuid(2), uuid(3), uuid(4), uuid(5)];
const AGENTS = { INBOUND: uuid(6), OUTBOUND: uuid(7) } as const;
type Role = keyof typeof AGENTS;
const SETTINGS = {
  ...{ leaseMs: 30_000, deadlineMs: 120_000, answerMs: 12_000, lateMs: 22_000, requestTimeoutMs: 10_000 },
};
const config = (systemPrompt: string) => ({ ...defaultConfig('INBOUND'), systemPrompt });

const content = (systemPrompt: string) => config(systemPrompt) as unknown as JsonObject;
const image = (role: Role, remoteId: string | null): PartImage => ({
  ...{ key: role, resource: 'agent', resourceId: AGENTS[role], remoteId, recreate: false },
  before:
    remoteId === null
      ? null
      : { content: content('old'), revision: 3, sagaId: EARLIER, mappingVersion: 1, context: {} },
  after: { content: content('new'), revision: 4, context: {} },
});
const holding = (id: string, prompt: 'old' | 'new', over: JsonObject = {}): ProviderAssistant => ({
  ...renderAssistant(
    1,
    config(prompt),
    {
      ...{ deployment: DEPLOYMENT, orgId: ORG, agentId: AGENTS.INBOUND, role: 'INBOUND' as const },
      ...(prompt === 'old' ? { saveId: EARLIER, revision: 3 } : { saveId: SAVE, revision: 4 }),
    },
    {},
  ),
  ...{ id, orgId: ACCOUNT, ...over },
});

interface World {
  images?: PartImage[];
  /** The assistants that the save knows of, by role. */
  made?: Partial<Record<Role, string>>;
  assistants?: ProviderAssistant[];
  status?: SagaStatus;
  mappingVersion?: number;
  account?: string | null;
  notBeforeMs?: number | null;
  leaseMs?: number;
  /** Another owner takes the save over first. */
  isTaken?: boolean;
  reply?: (id: string) => ProviderReply<never> | undefined;
}

async function settle(to: 'COMMITTED' | 'ROLLED_BACK', world: World) {
  const { images = [image('INBOUND', 'a')], status = 'NEEDS_ATTENTION', account = ACCOUNT } = world;
  const settled: { status: string; request: Parameters<SaveJournal['settle']>[2] }[] = [];
  const looked: string[] = [];
  const halted: object[] = [];
  const saga: SagaRecord = {
    ...{ id: SAVE, status, epoch: 1, kind: 'agents', cause: 'USER', ambiguous: false },
    ...{ failure: null, finishedAt: null },
    ...{ mappingVersion: world.mappingVersion ?? 1, startedAt: '2026-01-01T00:00:00.000Z' },
    results: images.map(({ key, resourceId, remoteId }) => ({
      ...{ key, resourceId, success: false, vapiSynced: null, dbUpdated: null, error: 'no', revision: null },
      remoteId: world.made?.[key as Role] ?? remoteId,
    })),
  };
  const journal = {
    inspect: async () => ({
      ...{ outcome: 'FOUND', saga, images, deployment: DEPLOYMENT, notBeforeMs: world.notBeforeMs ?? 0 },
      leaseMs: world.leaseMs ?? null,
    }),
    takeover: async () =>
      world.isTaken === true
        ? { outcome: 'BUSY' }
        : {
            ...{ outcome: 'TAKEN', saga: { ...saga, epoch: 2 }, images, deployment: DEPLOYMENT },
            ...{ once: true, quarantined: false, pastDeadline: false },
          },
    needsAttention: async (
      { epoch }: { epoch: number },
      { ambiguous, lateMs }: Parameters<SaveJournal['needsAttention']>[1],
    ) => {
      halted.push({ epoch, ambiguous, lateMs });
      return { outcome: 'NEEDS_ATTENTION', saga: { ...saga, epoch, status: 'NEEDS_ATTENTION' } };
    },
    settle: async (_ref: unknown, to: SagaStatus, request: Parameters<SaveJournal['settle']>[2]) => {
      settled.push({ status: to, request });
      return { outcome: to, saga: { ...saga, status: to } };
    },
  } as unknown as SaveJournal;
  const voice = {
    listAssistants: async () => {
      looked.push('list');
      return { kind: 'ok', value: [holding('any', 'old')] };
    },
    getAssistant: async (id: string): Promise<ProviderReply<ProviderAssistant>> => {
      looked.push(id);
      const value = world.assistants?.find((one) => one.id === id);
      return world.reply?.(id) ?? (value === undefined ? { kind: 'gone' } : { kind: 'ok', value });
    },
  } as unknown as Assistants;
  const ports = { journal, voice, kinds: [AGENT_SAGA], settings: SETTINGS, account: async () => account };
  const settlement = await settleSaga(ports, ORG, SAVE, to);
  return { settlement, settled, looked, halted };
}

const refusal = (reason: string) => ({
  settlement: { outcome: 'NOT_SETTLED', reasons: [expect.stringContaining(reason)] },
  settled: [],
});

describe('committed', () => {
  test('if Vapi holds the new content of every agent', async () => {
    const { settlement, settled } = await settle('COMMITTED', { assistants: [holding('a', 'new')] });
    expect(settlement).toMatchObject({ outcome: 'COMMITTED' });
    expect(settled).toMatchObject([
      { status: 'COMMITTED', request: { parts: [{ key: 'INBOUND', remoteId: 'a' }], missing: [] } },
    ]);
    expect(settled[0]?.request.lateMs).toBe(lateTimeMs(SETTINGS));
  });

  test.each<[string, ProviderAssistant[], string]>([
    ['the old content', [holding('a', 'old')], 'model.messages'],
    ['no assistant', [], 'does not exist'],
  ])('not if Vapi holds %s', async (_what, assistants, reason) => {
    expect(await settle('COMMITTED', { assistants })).toMatchObject(refusal(reason));
  });

  test('not if one of two agents differs', async () => {
    const images = [image('INBOUND', 'a'), image('OUTBOUND', 'b')];
    for (const [a, b] of [
      ['new', 'old'],
      ['old', 'new'],
    ] as const) {
      const assistants = [holding('a', a), holding('b', b)];
      expect(await settle('COMMITTED', { images, assistants })).toMatchObject(refusal('model.messages'));
    }
  });

  test('compares with the new content as the build of the save rendered it', async () => {
    const assistants = [holding('a', 'new')];
    await expect(settle('COMMITTED', { assistants, mappingVersion: 99 })).rejects.toThrow(
      'mapping version 99',
    );
  });

  test('with the assistant that the save made in place of one that was deleted', async () => {
    const { settled } = await settle('COMMITTED', {
      made: { INBOUND: 'b' },
      assistants: [holding('b', 'new')],
    });
    // What it replaces is missing.
    expect(settled).toMatchObject([{ request: { parts: [{ remoteId: 'b' }], missing: ['INBOUND'] } }]);
  });
});

describe('rolled back', () => {
  test('if Vapi holds the old content of every agent, whatever stamp it has', async () => {
    const { settled } = await settle('ROLLED_BACK', {
      assistants: [holding('a', 'old', { metadata: { lockstep: 'destroyed' } })],
    });
    expect(settled).toMatchObject([
      {
        status: 'ROLLED_BACK',
        request: { missing: [], results: [{ vapiSynced: false, dbUpdated: false }] },
      },
    ]);
  });

  test.each<[string, JsonObject, string]>([
    ['other content', { name: 'Edited' }, 'name'],
    ['no foreign metadata where there was some', { metadata: { lockstep: {} } }, 'metadata.crm'],
  ])('not if Vapi holds %s', async (_what, over, path) => {
    const [one] = [image('INBOUND', 'a')];
    if (one?.before == null) throw new Error('no image');
    const before = { ...one.before, content: { ...one.before.content, extraMetadata: { crm: 'x' } } };
    expect(
      await settle('ROLLED_BACK', {
        images: [{ ...one, before }],
        assistants: [{ ...holding('a', 'old', { metadata: { crm: 'x', lockstep: {} } }), ...over }],
      }),
    ).toMatchObject(refusal(path));
  });

  test('marks an agent as missing whose assistant somebody deleted', async () => {
    const { settled } = await settle('ROLLED_BACK', {});
    expect(settled).toMatchObject([{ request: { missing: ['INBOUND'], parts: [] } }]);
  });

  test('marks an agent as missing whose new assistant was deleted again', async () => {
    const { settled, looked } = await settle('ROLLED_BACK', { made: { INBOUND: 'b' } });
    expect(settled).toMatchObject([{ request: { missing: ['INBOUND'] } }]);
    expect(looked).toContain('b');
  });

  test('not while the assistant exists that the save made in place of a deleted one', async () => {
    expect(
      await settle('ROLLED_BACK', { made: { INBOUND: 'b' }, assistants: [holding('b', 'new')] }),
    ).toMatchObject(refusal('still exists'));
  });

  test('not while the assistant exists that the save made', async () => {
    const images = [image('INBOUND', null)];
    expect(
      await settle('ROLLED_BACK', { images, made: { INBOUND: 'b' }, assistants: [holding('b', 'new')] }),
    ).toMatchObject(refusal('still exists'));
    expect((await settle('ROLLED_BACK', { images })).settled).toMatchObject([{ request: { missing: [] } }]);
  });
});

describe('nothing is settled', () => {
  test.each(['APPLYING', 'ROLLING_BACK'] as const)(
    'of a save that is %s, which is first taken over and then waits until its requests must be dead',
    async (status) => {
      const { settlement, settled, halted } = await settle('ROLLED_BACK', {
        ...{ status, assistants: [holding('a', 'old')] },
      });
      expect(settled).toEqual([]);
      expect(halted).toEqual([{ epoch: 2, ambiguous: true, lateMs: lateTimeMs(SETTINGS) }]);
      expect(settlement).toMatchObject({ outcome: 'NOT_SETTLED', retryAfterMs: lateTimeMs(SETTINGS) });
    },
  );

  test('of a save that a server works on, or that another server takes over meanwhile', async () => {
    const working = await settle('ROLLED_BACK', { status: 'APPLYING', leaseMs: 4_500 });
    expect(working).toMatchObject({ settlement: { retryAfterMs: 4_500 }, looked: [], halted: [] });
    const taken = await settle('ROLLED_BACK', { status: 'APPLYING', isTaken: true });
    expect(taken).toMatchObject({ settlement: { outcome: 'NOT_SETTLED', retryAfterMs: 1_000 }, halted: [] });
  });

  test.each(['COMMITTED', 'ROLLED_BACK'] as const)('of a save that is %s', async (status) => {
    const { settled, looked } = await settle('ROLLED_BACK', { status, assistants: [holding('a', 'old')] });
    expect({ settled, looked }).toEqual({ settled: [], looked: [] });
  });

  test('while a request of the save may still be applied, and Vapi is not asked', async () => {
    const answer = await settle('ROLLED_BACK', { notBeforeMs: 1_500, assistants: [holding('a', 'old')] });
    expect(answer).toMatchObject({ ...refusal('try again in 2 s'), looked: [] });
  });

  test('if Vapi cannot be asked about one of the agents', async () => {
    const images = [image('INBOUND', 'a'), image('OUTBOUND', 'b')];
    const assistants = [holding('a', 'old'), holding('b', 'old')];
    for (const unread of ['a', 'b']) {
      const reply = (id: string): ProviderReply<never> | undefined =>
        id === unread ? { kind: 'unknown', code: 'HTTP_500' } : undefined;
      expect(await settle('ROLLED_BACK', { images, assistants, reply })).toMatchObject(
        refusal('could not be asked'),
      );
    }
  });

  test.each([
    ['another Vapi account', uuid(9)],
    ['no account that is known', null],
  ])('by a key of %s', async (_what, account) => {
    const { settled } = await settle('ROLLED_BACK', { account, assistants: [holding('a', 'old')] });
    expect(settled).toEqual([]);
  });
});

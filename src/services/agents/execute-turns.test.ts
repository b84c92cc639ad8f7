/** What a save asks the journal for, and what becomes of its turns, however it ends. In virtual time. */
import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { defaultConfig } from '../../domain/agents/agent-config.ts';
import type { SagaRecord, SagaStatus } from '../../domain/saga.ts';
import { Secret } from '../../domain/secret.ts';
import type { Admitted, Refused } from '../../ports/admission.ts';
import {
  type BeginOutcome,
  type BeginRequest,
  DatabaseError,
  type SaveJournal,
} from '../../ports/agents/save-journal.ts';
import type { Log } from '../../ports/system.ts';
import type { Assistants, ProviderAssistant, ProviderReply } from '../../ports/voice-provider.ts';
import type { TransactionalAgentUpdate } from './build.ts';
import { type ExecutorPorts, executeTransactionalAgentUpdate, type SaveOptions } from './execute.ts';

const SETTINGS = {
  ...{ leaseMs: 30_000, deadlineMs: 120_000, answerMs: 12_000, lateMs: 22_000, requestTimeoutMs: 10_000 },
};
const ORG = '00000000-0000-4000-8000-00000000000a';
const CONFIG = { ...defaultConfig('INBOUND'), systemPrompt: 'P' };
const record = (id: string, status: SagaStatus): SagaRecord => ({
  ...{ id, status, epoch: 1, kind: 'agents', cause: 'USER', ambiguous: false, mappingVersion: 1 },
  ...{ results: [], failure: null },
  startedAt: '2026-01-01T00:00:00.000Z',
  finishedAt: status === 'COMMITTED' || status === 'ROLLED_BACK' ? '2026-01-01T00:00:01.000Z' : null,
});

interface World {
  admit?: Refused;
  /** When the turn comes. */
  admitAt?: number;
  begin?: (nth: number, id: string) => BeginOutcome | Promise<BeginOutcome> | undefined;
  reply?: (nth: number) => ProviderReply<never> | undefined;
  replyMs?: number;
  roles?: ('INBOUND' | 'OUTBOUND')[];
  options?: SaveOptions;
  update?: Partial<TransactionalAgentUpdate>;
  withoutAdmission?: boolean;
}

function start(world: World) {
  const clock = new VirtualClock();
  const events: string[] = [];
  const begins: { request: BeginRequest; at: number }[] = [];
  const tracked: Promise<unknown>[] = [];
  const { roles = ['INBOUND'], replyMs = 100 } = world;
  let requests = 0;
  const journal = {
    begin: async (_orgId: string, id: string, _owner: string, request: BeginRequest) => {
      begins.push({ request, at: clock.monotonic() });
      const scripted = await world.begin?.(begins.length - 1, id);
      if (scripted !== undefined) return scripted;
      return {
        ...{ outcome: 'BEGUN', saga: record(id, 'APPLYING'), deployment: 'd' },
        images: roles.map((role) => ({
          ...{
            key: role,
            resource: 'agent',
            resourceId: role,
            remoteId: `assistant ${role}`,
            recreate: false,
          },
          before: { content: CONFIG, revision: 1, sagaId: 'x', mappingVersion: 1, context: {} },
          after: { content: CONFIG, revision: 1, context: {} },
        })),
      };
    },
    commit: async ({ sagaId }: { sagaId: string }) => ({
      ...{ outcome: 'COMMITTED', saga: record(sagaId, 'COMMITTED'), rows: [] },
    }),
    abort: async ({ sagaId }: { sagaId: string }) => ({
      ...{ outcome: 'ROLLING_BACK', saga: record(sagaId, 'ROLLING_BACK') },
    }),
    rolledBack: async ({ sagaId }: { sagaId: string }) => ({
      ...{ outcome: 'ROLLED_BACK', saga: record(sagaId, 'ROLLED_BACK') },
    }),
    hold: async ({ sagaId }: { sagaId: string }) => {
      events.push('hold');
      return { outcome: 'HELD', saga: record(sagaId, 'ROLLING_BACK') };
    },
  } as unknown as SaveJournal;
  const voice = {
    timeoutMs: SETTINGS.requestTimeoutMs,
    updateAssistant: async (id: string, document: object): Promise<ProviderReply<ProviderAssistant>> => {
      const nth = requests;
      requests += 1;
      events.push(`PATCH ${id}`);
      await clock.sleep(replyMs);
      return world.reply?.(nth) ?? { kind: 'ok', value: { ...document, id } };
    },
  } as unknown as Assistants;
  const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  let ids = 0;
  const ports: ExecutorPorts<null> = {
    openJournal: () => journal,
    openVoiceProvider: () => voice,
    admission: world.withoutAdmission
      ? undefined
      : {
          savesPerMinute: 77,
          admit: async () => {
            if (world.admitAt !== undefined) await clock.sleep(world.admitAt - clock.monotonic());
            const admitted: Admitted = {
              ...{ admitted: true, unused: () => events.push('unused'), done: () => events.push('done') },
            };
            return world.admit ?? admitted;
          },
          turn: async () => true,
        },
    clock,
    ids: {
      uuid: () => {
        ids += 1;
        return `id ${ids}`;
      },
    },
    random: { next: () => 0.5 },
    log,
    meter: { count() {} },
    settings: SETTINGS,
    owner: 'this process',
    track: (work) => void tracked.push(work.catch(() => {})),
  };
  const updates = roles.map(
    (role): TransactionalAgentUpdate => ({
      ...{ orgId: ORG, agentId: null, role, expectedRevision: null, recreateIfMissing: false },
      ...{ payload: { systemPrompt: 'P' }, ...world.update },
    }),
  );
  const answered: { outcome: unknown; at: number }[] = [];
  const key = new Secret('canary-key');
  void executeTransactionalAgentUpdate(null, updates, key, { ...world.options, ports }).then(
    (outcome) => answered.push({ outcome, at: clock.monotonic() }),
    (error: unknown) => answered.push({ outcome: error, at: clock.monotonic() }),
  );
  return { clock, events, begins, tracked, answered };
}

const away = (sent: boolean) => () => {
  throw new DatabaseError('AWAY', sent);
};

describe('the request of a save', () => {
  const requestOf = async (world: World) => {
    const { clock, begins } = start(world);
    await clock.until(1_000);
    return begins[0]?.request;
  };

  test('contains what its caller asked for', async () => {
    expect(
      await requestOf({
        options: { idempotencyKey: 'k', kind: 'ADOPT', actor: 'somebody' },
        update: { agentId: 'agent', expectedRevision: 3, expectedSaveId: 'save', recreateIfMissing: true },
      }),
    ).toMatchObject({
      ...{ idempotencyKey: 'k', cause: 'ADOPT', actor: 'somebody' },
      ...{ leaseMs: SETTINGS.leaseMs, deadlineMs: SETTINGS.deadlineMs },
      updates: [
        {
          ...{ role: 'INBOUND', agentId: 'agent', patch: { systemPrompt: 'P' } },
          ...{ expectedRevision: 3, expectedSaveId: 'save', recreateIfMissing: true },
          defaults: defaultConfig('INBOUND'),
        },
      ],
    });
    expect(await requestOf({})).toMatchObject({ idempotencyKey: null, cause: 'USER', actor: null });
  });

  test('limits the saves per minute of users, and not the repairs of the sweep', async () => {
    const limit = { saves: 77, perMs: 60_000 };
    expect((await requestOf({ options: { actor: 'somebody' } }))?.limit).toEqual(limit);
    expect((await requestOf({ options: { actor: null, kind: 'REVERT' } }))?.limit).toBeUndefined();
    expect((await requestOf({ options: { kind: 'REVERT' } }))?.limit).toBeUndefined();
    const unlimited = await requestOf({ options: { actor: 'somebody' }, withoutAdmission: true });
    expect(unlimited?.limit).toBeUndefined();
  });
});

describe('the permits of a save', () => {
  test('are used, and are returned at the end of the save', async () => {
    const { clock, events, answered } = start({});
    await clock.until(1_000);
    expect(answered).toMatchObject([{ outcome: { kind: 'committed' } }]);
    expect(events).toEqual(['PATCH assistant INBOUND', 'done']);
  });

  test.each<[string, World['begin'], string]>([
    [
      'another save is in progress',
      () => ({ outcome: 'IN_PROGRESS', sagaId: 's', status: 'APPLYING', retryAfterMs: 1 }),
      'in_progress',
    ],
    [
      'it is known',
      (_nth, id) => ({ outcome: 'REPLAY', saga: record(id, 'COMMITTED'), rows: [] }),
      'committed',
    ],
    ['the database is away', away(false), 'unavailable'],
    ['it is not known whether it began', away(true), 'pending'],
  ])('are given back if %s', async (_what, begin, kind) => {
    const { clock, events, answered } = start({ ...(begin === undefined ? {} : { begin }) });
    await clock.until(1_000);
    expect(answered).toMatchObject([{ outcome: { kind } }]);
    expect(events).toEqual(['unused', 'done']);
  });

  test('are returned if the begin fails', async () => {
    const { clock, events, answered } = start({
      begin: () => {
        throw new TypeError('a defect');
      },
    });
    await clock.until(1_000);
    expect(answered).toMatchObject([{ outcome: expect.any(TypeError) }]);
    expect(events).toEqual(['unused', 'done']);
  });

  test('are returned if they come after the caller was refused', async () => {
    const { clock, events, answered } = start({ admitAt: SETTINGS.answerMs + 500 });
    await clock.until(SETTINGS.answerMs + 1_000);
    expect(answered).toMatchObject([{ outcome: { kind: 'rate_limited' }, at: SETTINGS.answerMs }]);
    expect(events).toEqual(['unused', 'done']);
  });

  test('are kept while a save goes on after its caller was answered', async () => {
    const { clock, events, answered, tracked } = start({ replyMs: SETTINGS.answerMs + 1_000 });
    await clock.until(SETTINGS.answerMs);
    expect(answered).toMatchObject([{ outcome: { kind: 'pending' }, at: SETTINGS.answerMs }]);
    expect(events).not.toContain('done');
    expect(tracked).toHaveLength(1);
    await clock.until(SETTINGS.answerMs + 2_000);
    expect(events.at(-1)).toBe('done');
  });

  test.each([
    [{ admitted: false, retryAfterMs: 5 } as const, 'rate_limited'],
    [{ admitted: false, retryAfterMs: 5, unreachable: true } as const, 'unavailable'],
  ])('are refused: %j', async (admit, kind) => {
    const { clock, answered, begins } = start({ admit });
    await clock.until(1);
    expect(answered).toMatchObject([{ outcome: { kind, retryAfterMs: 5 } }]);
    expect(begins).toEqual([]);
  });
});

describe('a begin without an answer', () => {
  test('is repeated twice', async () => {
    const { clock, begins } = start({ begin: away(true) });
    await clock.until(60_000);
    expect(begins).toHaveLength(3);
  });

  test('is not repeated after its caller was answered', async () => {
    const { clock, begins } = start({
      begin: async () => {
        await slow();
        throw new DatabaseError('AWAY', true);
      },
    });
    const slow = () => clock.sleep(SETTINGS.answerMs);
    await clock.until(60_000);
    expect(begins).toHaveLength(1);
  });

  test('may have begun the save, whatever later attempts answer', async () => {
    const { clock, answered } = start({ begin: (nth) => away(nth === 0)() });
    await clock.until(60_000);
    expect(answered).toMatchObject([{ outcome: { kind: 'pending' } }]);
  });
});

describe('a repetition', () => {
  test('of a closed save is answered at once', async () => {
    const { clock, begins, answered } = start({
      begin: (_nth, id) => ({ outcome: 'REPLAY', saga: record(id, 'ROLLED_BACK'), rows: [] }),
    });
    await clock.until(50);
    expect(answered).toMatchObject([{ outcome: { kind: 'failed' }, at: 0 }]);
    expect(begins).toHaveLength(1);
  });

  test('of a save that needs attention has no retry time', async () => {
    const { clock, answered } = start({
      begin: (_nth, id) => ({ outcome: 'REPLAY', saga: record(id, 'NEEDS_ATTENTION'), rows: [] }),
    });
    await clock.until(60_000);
    expect(answered).toMatchObject([{ outcome: { kind: 'pending', retryAfterMs: null } }]);
  });
});

test('an undo has a lease of its own, so that a late refusal is undone at once', async () => {
  const { clock, events, answered } = start({
    ...{ roles: ['INBOUND', 'OUTBOUND'], replyMs: 19_500 },
    reply: (nth) => (nth === 1 ? { kind: 'refused', status: 400, messages: ['no'] } : undefined),
  });
  // The first request of the undo is sent when the lease of the save would leave no room for it any more.
  await clock.until(60_000);
  expect(events.filter((event) => event.startsWith('PATCH'))).toEqual([
    ...['PATCH assistant INBOUND', 'PATCH assistant OUTBOUND', 'PATCH assistant INBOUND'],
  ]);
  expect(events).not.toContain('hold');
  expect(answered).toMatchObject([{ outcome: { kind: 'pending' } }]);
});

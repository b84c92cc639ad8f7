import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { AGENT_ROLES, type AgentRole, defaultConfig } from '../../src/domain/agents/agent-config.ts';
import type { SaveKind } from '../../src/domain/agents/save.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import type { PartRecord, PartResult, SagaStatus } from '../../src/domain/saga.ts';
import { DatabaseError, type SaveJournal } from '../../src/ports/agents/save-journal.ts';
import type { DriftPolicy, SweepNote, SweepStore } from '../../src/ports/agents/sweep-store.ts';

/**
 * What every journal must do, as commands that are given to several journals at once: whatever one answers, and whatever its
 * tables then hold, the others must answer and hold too.
 *
 * Real clocks run meanwhile, so times are chosen that no test can outrun: 0 is over at once, FAR never comes. Compared is
 * whether a time is absent, past or ahead.
 */

export const FAR = 1_000_000_000;

export interface JournalUnderTest {
  name: string;
  journal: SaveJournal;
  sweepStore: SweepStore;
  createOrganization(id: string): Promise<void>;
  setDriftPolicy(orgId: string, policy: DriftPolicy): Promise<boolean>;
  /** Moves everything that happened to these organizations into the past. */
  age(orgIds: string[], ms: number): Promise<void>;
  /** All rows of these organizations, each time as `past`, `ahead` or null. */
  tables(orgIds: string[]): Promise<Tables>;
}

export type Time = 'past' | 'ahead' | null;

export interface Tables {
  agents: Row[];
  saves: (Row & { id: string; status: SagaStatus })[];
  revisions: Row[];
  images: Row[];
  observed: Row[];
  locks: Row[];
  keys: Row[];
  fences: Row[];
}
type Row = Record<string, unknown>;

/** Ids of one sequence: nothing in one sequence can meet anything of another. */
export interface Cast {
  orgIds: [string, string];
  /** Not an organization. */
  nobody: string;
  saves: string[];
  agents: string[];
  assistants: string[];
}

export function newCast(): Cast {
  const some = (count: number) => Array.from({ length: count }, () => randomUUID());
  return {
    orgIds: [randomUUID(), randomUUID()],
    nobody: randomUUID(),
    saves: some(4),
    agents: some(8),
    assistants: some(4),
  };
}

type Soon = 0 | typeof FAR;

interface UpdateChoice {
  role: AgentRole;
  agent: 'any' | 'current' | 'wrong';
  patch: { name?: string; systemPrompt?: string };
  expectedRevision: number | null;
  recreateIfMissing: boolean;
}
interface Target {
  org: 0 | 1 | 'nobody';
  save: number;
  /** Added to the epoch that the save has. */
  epoch: -1 | 0 | 1;
}

/** One call, in terms of the cast. */
export type Command =
  | {
      op: 'begin';
      on: Target;
      owner: 'one' | 'two';
      key: 'a' | 'b' | null;
      hash: 'x' | 'y';
      kind: SaveKind;
      actor: 'somebody' | null;
      limit: { saves: number; perMs: Soon } | null;
      /** The caller has given up. Absent: it waits without end. */
      late?: boolean | undefined;
      lease: Soon;
      deadline: Soon;
      mapping: 1 | 2;
      updates: UpdateChoice[];
    }
  | { op: 'commit'; on: Target; assistants: number[]; roles: AgentRole[]; ambiguous: boolean; late: Soon }
  | {
      op: 'abort';
      on: Target;
      missing: AgentRole[];
      ambiguous: boolean;
      late: Soon;
      lease: Soon;
      nothingApplied: boolean;
      handsOver?: boolean;
    }
  | { op: 'rolledBack'; on: Target; missing: AgentRole[]; ambiguous: boolean; late: Soon }
  | { op: 'needsAttention'; on: Target; ambiguous: boolean; late: Soon }
  | {
      op: 'hold';
      on: Target;
      ambiguous: boolean;
      quarantine: Soon;
      look: Soon;
      keepsLease?: boolean;
      pivotSent?: boolean;
      handsOver?: boolean;
    }
  | { op: 'takeover'; on: Target; owner: 'one' | 'two'; lease: Soon }
  | {
      op: 'settle';
      on: Target;
      to: 'COMMITTED' | 'ROLLED_BACK';
      assistants: number[];
      missing: AgentRole[];
      late: Soon;
    }
  | { op: 'inspect'; on: Target }
  | { op: 'due' }
  | { op: 'lookup' }
  | { op: 'listed' }
  | { op: 'page' }
  | { op: 'note'; org: 0 | 1; agent: number; revision: 0 | 1; state: SweepNote['state'] }
  | { op: 'orphans'; on: Target; assistant: number; age: Soon }
  | { op: 'policy'; org: 0 | 1 | 'nobody'; policy: DriftPolicy };

const soon = fc.constantFrom<Soon>(0, FAR);
const missing = fc.constantFrom<AgentRole[]>([], [], ['INBOUND'], ['OUTBOUND', 'INBOUND']);
const mostly = <T>(usual: T, ...others: T[]) =>
  fc.oneof(
    { weight: 8, arbitrary: fc.constant(usual) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );
const target: fc.Arbitrary<Target> = fc.record({
  org: mostly<Target['org']>(0, 1, 'nobody'),
  save: mostly(0, 1, 2, 3),
  epoch: mostly<Target['epoch']>(0, 1, -1),
});
const assistants = fc.constantFrom([0, 1], [0, 1], [1, 0], [2, 3], [2, 2]);
const update = (role: AgentRole): fc.Arbitrary<UpdateChoice> =>
  fc.record({
    role: fc.constant(role),
    agent: mostly<UpdateChoice['agent']>('any', 'current', 'wrong'),
    patch: fc.constantFrom<UpdateChoice['patch']>(
      { systemPrompt: 'P' },
      { systemPrompt: 'Q', name: 'N' },
      {},
    ),
    expectedRevision: mostly<number | null>(null, 0, 1, 2),
    recreateIfMissing: fc.boolean(),
  });

export const command = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('begin' as const),
      on: target,
      owner: mostly<'one' | 'two'>('one', 'two'),
      key: mostly<'a' | 'b' | null>(null, 'a', 'b'),
      hash: mostly<'x' | 'y'>('x', 'y'),
      kind: fc.constantFrom<SaveKind>('USER', 'REVERT', 'ADOPT'),
      actor: fc.constantFrom<'somebody' | null>('somebody', null),
      limit: mostly<{ saves: number; perMs: Soon } | null>(
        null,
        { saves: 1, perMs: FAR },
        { saves: 2, perMs: FAR },
        { saves: 1, perMs: 0 },
      ),
      late: mostly<boolean | undefined>(undefined, false, true),
      lease: soon,
      deadline: soon,
      mapping: mostly<1 | 2>(1, 2),
      updates: fc.oneof(
        fc.tuple(update('INBOUND'), update('OUTBOUND')),
        fc.tuple(update('OUTBOUND')),
        fc.tuple(update('OUTBOUND'), update('INBOUND')),
      ) as fc.Arbitrary<UpdateChoice[]>,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('commit' as const),
      on: target,
      assistants,
      roles: mostly<AgentRole[]>(['INBOUND', 'OUTBOUND'], ['INBOUND'], []),
      ambiguous: fc.boolean(),
      late: soon,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('abort' as const),
      on: target,
      missing,
      ambiguous: fc.boolean(),
      late: soon,
      lease: soon,
      nothingApplied: fc.boolean(),
      handsOver: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('rolledBack' as const),
      on: target,
      missing,
      ambiguous: fc.boolean(),
      late: mostly<Soon>(0, FAR),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('needsAttention' as const),
      on: target,
      ambiguous: fc.boolean(),
      late: mostly<Soon>(0, FAR),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('hold' as const),
      on: target,
      ambiguous: fc.boolean(),
      quarantine: soon,
      look: mostly<Soon>(0, FAR),
      keepsLease: fc.boolean(),
      pivotSent: mostly<boolean>(false, true),
      handsOver: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('takeover' as const),
      on: target,
      owner: fc.constantFrom<'one' | 'two'>('one', 'two'),
      lease: soon,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('settle' as const),
      on: target,
      to: fc.constantFrom<'COMMITTED' | 'ROLLED_BACK'>('COMMITTED', 'ROLLED_BACK'),
      assistants,
      missing,
      late: mostly<Soon>(0, FAR),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('inspect' as const), on: target }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Command>({ op: 'due' }, { op: 'lookup' }, { op: 'listed' }, { op: 'page' }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('note' as const),
      org: mostly<0 | 1>(0, 1),
      agent: fc.constantFrom(0, 1),
      revision: mostly<0 | 1>(0, 1),
      state: fc.constantFrom<SweepNote['state']>('SAME', 'DRIFTED', 'MISSING', 'UNCONFIRMED'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('orphans' as const),
      on: target,
      assistant: fc.constantFrom(0, 1, 2, 3),
      age: soon,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('policy' as const),
      org: fc.constantFrom<0 | 1 | 'nobody'>(0, 1, 'nobody'),
      policy: fc.constantFrom<DriftPolicy>('REVERT', 'ADOPT'),
    }),
  },
) as fc.Arbitrary<Command>;

const HANDED_OVER: Record<string, PartRecord> = {
  INBOUND: {
    ...{ action: 'replace', gone: false, remoteId: 'a', applied: true, undone: null },
    ...{ touched: true, ambiguous: false },
  },
};

/** Carries one command out. Answers what the journal answered, comparable between journals. `before`: its tables until now. */
export async function carryOut(
  { journal, sweepStore, setDriftPolicy }: JournalUnderTest,
  cast: Cast,
  one: Command,
  before: Tables,
): Promise<unknown> {
  const org = (which: 0 | 1 | 'nobody') => (which === 'nobody' ? cast.nobody : cast.orgIds[which]);
  const at = (list: string[], index: number) => list[index] ?? 'none';
  const ref = (on: Target) => {
    const sagaId = at(cast.saves, on.save);
    const epoch = Number(before.saves.find((save) => save.id === sagaId)?.['epoch'] ?? 1);
    return { orgId: org(on.org), sagaId, epoch: epoch + on.epoch };
  };
  const agentOf = (orgId: string, index: number) =>
    before.agents.filter((row) => row['orgId'] === orgId)[index] ?? null;
  try {
    switch (one.op) {
      case 'begin': {
        const { orgId, sagaId } = ref(one.on);
        return comparable(
          await journal.begin(orgId, sagaId, one.owner, {
            idempotencyKey: one.key,
            requestHash: one.hash,
            cause: one.kind,
            actor: one.actor,
            limit: one.limit ?? undefined,
            notAfter:
              one.late === undefined ? undefined : one.late ? '2020-01-01T00:00:00Z' : '2999-01-01T00:00:00Z',
            leaseMs: one.lease,
            deadlineMs: one.deadline,
            mappingVersion: one.mapping,
            updates: one.updates.map((wish) => ({
              role: wish.role,
              agentId:
                wish.agent === 'any'
                  ? null
                  : wish.agent === 'wrong'
                    ? cast.nobody
                    : ((before.agents.find((row) => row['orgId'] === orgId && row['role'] === wish.role)?.[
                        'id'
                      ] as string | undefined) ?? null),
              newAgentId: at(cast.agents, 2 * one.on.save + AGENT_ROLES.indexOf(wish.role)),
              patch: wish.patch,
              defaults: defaultConfig(wish.role),
              expectedRevision: wish.expectedRevision,
              recreateIfMissing: wish.recreateIfMissing,
            })),
          }),
        );
      }
      case 'commit':
        return comparable(
          await journal.commit(ref(one.on), {
            parts: one.roles.map((role) => seen(role, one.assistants)),
            ambiguous: one.ambiguous,
            lateMs: one.late,
          }),
        );
      case 'abort':
        return comparable(
          await journal.abort(ref(one.on), {
            failure: { reason: 'VAPI_REJECTED', message: 'no', retryable: false },
            results: results(ref(one.on).sagaId),
            missing: one.missing,
            ambiguous: one.ambiguous,
            lateMs: one.late,
            leaseMs: one.lease,
            nothingApplied: one.nothingApplied,
            handedOver: one.handsOver === true ? HANDED_OVER : undefined,
          }),
        );
      case 'rolledBack':
        return comparable(
          await journal.rolledBack(ref(one.on), {
            results: results(ref(one.on).sagaId),
            missing: one.missing,
            ambiguous: one.ambiguous,
            lateMs: one.late,
          }),
        );
      case 'needsAttention':
        return comparable(
          await journal.needsAttention(ref(one.on), {
            results: results(ref(one.on).sagaId),
            failure: { reason: 'VAPI_REJECTED', message: 'stuck', retryable: false },
            ambiguous: one.ambiguous,
            lateMs: one.late,
          }),
        );
      case 'hold':
        return comparable(
          await journal.hold(ref(one.on), {
            results: results(ref(one.on).sagaId),
            ambiguous: one.ambiguous,
            quarantineMs: one.quarantine,
            lookAfterMs: one.look,
            keepsLease: one.keepsLease ?? false,
            pivotSent: one.pivotSent ?? false,
            handedOver: one.handsOver === true ? HANDED_OVER : undefined,
          }),
        );
      case 'takeover': {
        const { orgId, sagaId } = ref(one.on);
        return comparable(await journal.takeover(orgId, sagaId, one.owner, one.lease));
      }
      case 'settle':
        return comparable(
          await journal.settle(ref(one.on), one.to, {
            parts: AGENT_ROLES.map((role) => seen(role, one.assistants)),
            results: results(ref(one.on).sagaId),
            missing: one.missing,
            lateMs: one.late,
          }),
        );
      case 'inspect': {
        const { orgId, sagaId } = ref(one.on);
        return comparable(await journal.inspect(orgId, sagaId));
      }
      case 'due':
        return (await journal.due(100_000))
          .filter(({ orgId }) => cast.orgIds.includes(orgId))
          .map(({ sagaId }) => sagaId)
          .sort();
      case 'lookup':
        return comparable(
          (await sweepStore.lookup(cast.assistants)).sort((a, b) => (a.agentId < b.agentId ? -1 : 1)),
        );
      case 'listed':
        return comparable(
          (await sweepStore.listed(cast.assistants)).sort((a, b) => (a.agentId < b.agentId ? -1 : 1)),
        );
      case 'page':
        return comparable(
          (await sweepStore.page(null, 100_000)).filter(({ orgId }) => cast.orgIds.includes(orgId)),
        );
      case 'note': {
        const orgId = org(one.org);
        const agent = agentOf(orgId, one.agent);
        return await sweepStore.note([
          {
            orgId,
            agentId: String(agent?.['id'] ?? cast.nobody),
            revision: Number(agent?.['revision'] ?? 0) + one.revision,
            saveId: String(agent?.['lastSaveId'] ?? cast.nobody),
            state: one.state,
            ...(one.state === 'DRIFTED'
              ? { drift: [{ path: 'name', ours: 'a', theirs: 'b' }], adoptable: { name: 'b' } }
              : {}),
          },
        ]);
      }
      case 'orphans': {
        const { orgId, sagaId } = ref(one.on);
        const image = before.images.find((row) => row['sagaId'] === sagaId);
        return await sweepStore.orphans(
          [
            {
              deployment: DEPLOYMENT_OF.get(journal) ?? '',
              orgId,
              saveId: sagaId,
              agentId: String(image?.['resourceId'] ?? cast.nobody),
              role: (image?.['key'] ?? 'INBOUND') as AgentRole,
              revision: 1,
              assistantId: at(cast.assistants, one.assistant),
            },
          ],
          one.age,
        );
      }
      case 'policy':
        return await setDriftPolicy(org(one.org), one.policy);
    }
  } catch (error) {
    // A refusal by a constraint, not by the network: the same for every journal.
    if (error instanceof DatabaseError && error.code !== 'SUP') throw error;
    return 'refused';
  }

  function seen(role: AgentRole, which: number[]) {
    const index = AGENT_ROLES.indexOf(role);
    return {
      key: role,
      remoteId: at(cast.assistants, which[index] ?? 0),
      observed: { name: `seen ${role}` } satisfies JsonObject,
    };
  }

  function results(sagaId: string): PartResult[] {
    return before.images
      .filter((image) => image['sagaId'] === sagaId)
      .map((image) => ({
        key: String(image['key']),
        resourceId: String(image['resourceId']),
        success: false,
        vapiSynced: null,
        dbUpdated: false,
        remoteId: null,
        error: 'no',
        revision: null,
      }));
  }
}

/** Which deployment a journal stamps with: the only id that a journal chooses itself. */
export const DEPLOYMENT_OF = new WeakMap<SaveJournal, string>();

const TIMES = new Set(['startedAt', 'finishedAt', 'lastSyncedAt', 'checkedAt']);
const WAITS = new Set(['retryAfterMs', 'notBeforeMs', 'leaseMs']);

/** An answer with moments made comparable, keys sorted, and what is not there left out. */
export function comparable(value: unknown, key = ''): unknown {
  if (value === null || value === undefined) return value ?? null;
  if (TIMES.has(key)) return 'a time';
  if (WAITS.has(key)) return Number(value) > FAR / 2 ? 'far' : Number(value) === 0 ? 'over' : 'soon';
  if (key === 'deployment') return 'ours';
  if (Array.isArray(value)) return value.map((member) => comparable(member));
  if (typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, comparable(member, name)]),
  );
}

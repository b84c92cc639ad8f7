import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AGENT_ROLES } from '../../src/domain/agents/agent-config.ts';
import type { SaveStatus } from '../../src/domain/agents/save.ts';
import { TRANSITIONS } from '../../src/services/saga/protocol.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';
import {
  type Cast,
  type Command,
  carryOut,
  command,
  comparable,
  FAR,
  type JournalUnderTest,
  newCast,
} from './journal-conformance.ts';
import { modelJournal, realJournal } from './journals.ts';

/** Sequences of generated commands, and the longest of them. */
const RUNS = Number(process.env['CONFORMANCE_RUNS'] ?? 40);
const LENGTH = 24;

let supabase: TestSupabase;
let real: JournalUnderTest;
let model: JournalUnderTest;
/** Every move of a save that Postgres was seen to make. */
const moves = new Set<string>();

beforeAll(async () => {
  supabase = await createTestSupabase();
  real = await realJournal(supabase);
  const [deployment] = await supabase.sql<{ id: string }[]>`select id from lockstep.deployment`;
  model = modelJournal(deployment?.id ?? '');
});
afterAll(() => supabase.stop());

async function newOrganizations(): Promise<Cast> {
  const cast = newCast();
  for (const orgId of cast.orgIds) {
    await real.createOrganization(orgId);
    await model.createOrganization(orgId);
  }
  return cast;
}

/** Gives both the same commands, and expects the same answer and the same tables after each. Answers what was answered. */
async function both(cast: Cast, commands: Command[]): Promise<string[]> {
  const outcomes: string[] = [];
  let tables = { real: await real.tables(cast.orgIds), model: await model.tables(cast.orgIds) };
  for (const [index, one] of commands.entries()) {
    const answers = {
      real: await carryOut(real, cast, one, tables.real),
      model: await carryOut(model, cast, one, tables.model),
    };
    const label = `${index}: ${JSON.stringify(one)}`;
    expect(answers.model, label).toEqual(answers.real);
    const after = { real: await real.tables(cast.orgIds), model: await model.tables(cast.orgIds) };
    expect(after.model, label).toEqual(after.real);
    for (const save of after.real.saves) {
      const before = tables.real.saves.find(({ id }) => id === save.id);
      if (before !== undefined && before.status !== save.status) moves.add(`${before.status} ${save.status}`);
    }
    tables = after;
    const told =
      one.op === 'orphans'
        ? (answers.real as string[]).length
        : ((answers.real as { outcome?: string }).outcome ?? '');
    outcomes.push(`${one.op} ${told}`.trim());
  }
  return outcomes;
}

const on = { org: 0, save: 0, epoch: 0 } as const;
const next = { ...on, save: 1 } as const;
const save = (choice: Partial<Extract<Command, { op: 'begin' }>> = {}): Command => ({
  op: 'begin',
  on,
  owner: 'one',
  key: null,
  hash: 'x',
  kind: 'USER',
  actor: null,
  limit: null,
  lease: FAR,
  deadline: FAR,
  mapping: 1,
  updates: AGENT_ROLES.map((role) => ({
    role,
    agent: 'any',
    patch: { systemPrompt: 'P' },
    expectedRevision: null,
    recreateIfMissing: false,
  })),
  ...choice,
});
const commit = (choice: Partial<Extract<Command, { op: 'commit' }>> = {}): Command => ({
  op: 'commit',
  on,
  assistants: [0, 1],
  roles: ['INBOUND', 'OUTBOUND'],
  ambiguous: false,
  late: FAR,
  ...choice,
});
const abort = (choice: Partial<Extract<Command, { op: 'abort' }>> = {}): Command => ({
  op: 'abort',
  on,
  missing: [],
  ambiguous: false,
  late: FAR,
  lease: FAR,
  nothingApplied: false,
  ...choice,
});
const rolledBack = (choice: Partial<Extract<Command, { op: 'rolledBack' }>> = {}): Command => ({
  op: 'rolledBack',
  on,
  missing: [],
  ambiguous: false,
  late: FAR,
  ...choice,
});
const needsAttention = (choice: Partial<Extract<Command, { op: 'needsAttention' }>> = {}): Command => ({
  op: 'needsAttention',
  on,
  ambiguous: false,
  late: FAR,
  ...choice,
});
const takeover: Command = { op: 'takeover', on, owner: 'two', lease: FAR };
const settle = (to: 'COMMITTED' | 'ROLLED_BACK'): Command => ({
  op: 'settle',
  on,
  to,
  assistants: [0, 1],
  missing: [],
  late: FAR,
});

describe('the journal model is the SQL', () => {
  const directed: Record<string, { commands: Command[]; outcomes: string[] }> = {
    'a save is begun and committed, and both are repeatable': {
      commands: [
        save(),
        save(),
        save({ owner: 'two' }),
        commit(),
        commit(),
        save(),
        save({ on: next }),
        commit({ on: next }),
        save({ on: next }),
      ],
      outcomes: [
        'begin BEGUN',
        'begin BEGUN',
        'begin REPLAY',
        'commit COMMITTED',
        'commit COMMITTED',
        'begin REPLAY',
        'begin BEGUN',
        'commit COMMITTED',
        'begin REPLAY',
      ],
    },
    'an ambiguous commit raises a fence': {
      commands: [save(), commit({ ambiguous: true }), save({ on: next }), { op: 'lookup' }],
      outcomes: ['begin BEGUN', 'commit COMMITTED', 'begin IN_PROGRESS', 'lookup'],
    },
    'nothing applied closes at once; ambiguity does not': {
      commands: [
        save(),
        abort({ nothingApplied: true }),
        abort({ nothingApplied: true }),
        commit(),
        save({ on: next }),
        abort({ on: next, nothingApplied: true, ambiguous: true }),
        { ...takeover, on: next },
      ],
      outcomes: [
        'begin BEGUN',
        'abort ROLLED_BACK',
        'abort ROLLED_BACK',
        'commit STALE',
        'begin BEGUN',
        'abort ROLLING_BACK',
        'takeover NOT_DUE',
      ],
    },
    'what an owner hands over is told to the next one, once, and that the pivot was sent for good': {
      commands: [
        save({ lease: 0 }),
        { op: 'hold', on, ambiguous: false, quarantine: 0, look: 0, pivotSent: true, handsOver: true },
        { ...takeover, lease: 0 },
        { ...takeover, lease: 0 },
        abort({ ambiguous: true, late: 0, handsOver: true }),
        { ...takeover, lease: 0 },
        rolledBack(),
        save({ on: next }),
      ],
      outcomes: [
        'begin BEGUN',
        'hold HELD',
        'takeover TAKEN',
        'takeover TAKEN',
        'abort ROLLING_BACK',
        'takeover TAKEN',
        'rolledBack ROLLED_BACK',
        'begin IN_PROGRESS',
      ],
    },
    'a quarantine that is over counts once': {
      commands: [
        save(),
        abort({ ambiguous: true, late: 0 }),
        { ...takeover, lease: 0 },
        { ...takeover, lease: 0 },
        rolledBack(),
        save({ on: next }),
      ],
      outcomes: [
        'begin BEGUN',
        'abort ROLLING_BACK',
        'takeover TAKEN',
        'takeover TAKEN',
        'rolledBack ROLLED_BACK',
        'begin IN_PROGRESS',
      ],
    },
    'an old epoch moves nothing': {
      commands: [
        save({ lease: 0 }),
        takeover,
        ...([
          commit({ on: { ...on, epoch: -1 } }),
          abort({ on: { ...on, epoch: -1 } }),
          rolledBack({ on: { ...on, epoch: -1 } }),
          { op: 'hold', on: { ...on, epoch: -1 }, ambiguous: false, quarantine: 0, look: 0 },
          needsAttention({ on: { ...on, epoch: -1 } }),
          save({ lease: 0 }),
          commit(),
        ] satisfies Command[]),
      ],
      outcomes: [
        'begin BEGUN',
        'takeover TAKEN',
        'commit STALE',
        'abort STALE',
        'rolledBack STALE',
        'hold STALE',
        'needsAttention STALE',
        'begin REPLAY',
        'commit COMMITTED',
      ],
    },
    'a person ends what needs attention, either way': {
      commands: [
        save(),
        abort(),
        needsAttention(),
        takeover,
        save({ on: next }),
        { op: 'inspect', on },
        settle('COMMITTED'),
        settle('COMMITTED'),
        settle('ROLLED_BACK'),
      ],
      outcomes: [
        'begin BEGUN',
        'abort ROLLING_BACK',
        'needsAttention NEEDS_ATTENTION',
        'takeover NOT_DUE',
        'begin IN_PROGRESS',
        'inspect FOUND',
        'settle COMMITTED',
        'settle COMMITTED',
        'settle STALE',
      ],
    },
    'an operator takes an abandoned save from its owner, and ends it once nothing can be under way': {
      commands: [
        save({ lease: 0 }),
        takeover,
        needsAttention({ on: { ...on, epoch: -1 }, ambiguous: true, late: 0 }),
        needsAttention({ ambiguous: true, late: 0 }),
        commit(),
        abort(),
        takeover,
        { op: 'inspect', on },
        settle('ROLLED_BACK'),
      ],
      outcomes: [
        'begin BEGUN',
        'takeover TAKEN',
        'needsAttention STALE',
        'needsAttention NEEDS_ATTENTION',
        'commit STALE',
        'abort STALE',
        'takeover NOT_DUE',
        'inspect FOUND',
        'settle ROLLED_BACK',
      ],
    },
    'whether its one owner recorded anything ambiguous is what the next owner is told': {
      commands: [
        save({ lease: 0 }),
        takeover,
        commit(),
        save({ on: next, lease: 0 }),
        { op: 'hold', on: next, ambiguous: true, quarantine: 0, look: 0, keepsLease: true },
        { ...takeover, on: next },
        commit({ on: next }),
      ],
      outcomes: [
        'begin BEGUN',
        'takeover TAKEN',
        'commit COMMITTED',
        'begin BEGUN',
        'hold HELD',
        'takeover TAKEN',
        'commit COMMITTED',
      ],
    },
    'so many saves of users in a time, and no more; what is known already is answered all the same': {
      commands: [
        save({ key: 'a', actor: 'somebody', limit: { saves: 1, perMs: FAR } }),
        commit(),
        save({ on: next, actor: 'somebody', limit: { saves: 1, perMs: FAR } }),
        save({ on: next, key: 'a', actor: 'somebody', limit: { saves: 1, perMs: FAR } }),
        save({ on: next, actor: 'somebody', limit: { saves: 1, perMs: 0 } }),
      ],
      outcomes: ['begin BEGUN', 'commit COMMITTED', 'begin RATE_LIMITED', 'begin REPLAY', 'begin BEGUN'],
    },
    'a begin whose caller has given up begins nothing; a save that has begun is answered at any time': {
      commands: [
        save({ late: true }),
        save({ late: true, key: 'a' }),
        save({ late: false, key: 'a' }),
        save({ late: true }),
        save({ late: true, on: next, key: 'a' }),
        save({ late: true, on: { ...on, save: 2 } }),
        commit(),
        save({ late: true, key: 'a' }),
        save({ late: true, on: next }),
      ],
      outcomes: [
        'begin TOO_LATE',
        'begin TOO_LATE',
        'begin BEGUN',
        'begin BEGUN',
        'begin REPLAY',
        'begin TOO_LATE',
        'commit COMMITTED',
        'begin REPLAY',
        'begin TOO_LATE',
      ],
    },
    'an agent that a sweep could not judge is news until it is seen again': {
      commands: [
        save(),
        commit(),
        { op: 'listed' },
        { op: 'note', org: 0, agent: 0, revision: 0, state: 'UNCONFIRMED' },
        { op: 'note', org: 0, agent: 1, revision: 1, state: 'UNCONFIRMED' },
        { op: 'listed' },
        { op: 'note', org: 0, agent: 0, revision: 0, state: 'SAME' },
        { op: 'listed' },
        save({ on: next }),
        { op: 'note', org: 0, agent: 0, revision: 0, state: 'UNCONFIRMED' },
        { op: 'note', org: 0, agent: 0, revision: 0, state: 'SAME' },
        { op: 'listed' },
        commit({ on: next }),
        { op: 'listed' },
      ],
      outcomes: [
        ...['begin BEGUN', 'commit COMMITTED', 'listed', 'note', 'note', 'listed', 'note', 'listed'],
        ...['begin BEGUN', 'note', 'note', 'listed', 'commit COMMITTED', 'listed'],
      ],
    },
    'nobody settles while a request may still be applied': {
      commands: [
        save(),
        abort(),
        needsAttention({ ambiguous: true }),
        settle('COMMITTED'),
        settle('ROLLED_BACK'),
        { op: 'inspect', on },
      ],
      outcomes: [
        'begin BEGUN',
        'abort ROLLING_BACK',
        'needsAttention NEEDS_ATTENTION',
        'settle TOO_EARLY',
        'settle TOO_EARLY',
        'inspect FOUND',
      ],
    },
    'what a person rolled back leaves a fence': {
      commands: [save(), abort(), needsAttention(), settle('ROLLED_BACK'), save({ on: next })],
      outcomes: [
        'begin BEGUN',
        'abort ROLLING_BACK',
        'needsAttention NEEDS_ATTENTION',
        'settle ROLLED_BACK',
        'begin IN_PROGRESS',
      ],
    },
    'a missing assistant refuses the save before its sibling, unless it may be made anew': {
      commands: [
        save(),
        commit(),
        { op: 'note', org: 0, agent: 0, revision: 0, state: 'MISSING' },
        save({ on: next }),
        save({
          on: { ...on, save: 2 },
          updates: [
            { role: 'INBOUND', agent: 'current', patch: {}, expectedRevision: 1, recreateIfMissing: true },
          ],
        }),
        commit({ on: { ...on, save: 2 }, assistants: [2, 1], ambiguous: true, late: 0 }),
        { op: 'orphans', on: { ...on, save: 2 }, assistant: 3, age: 0 },
        { op: 'orphans', on: { ...on, save: 2 }, assistant: 2, age: 0 },
        { op: 'orphans', on: { ...on, save: 2 }, assistant: 0, age: 0 },
      ],
      outcomes: [
        'begin BEGUN',
        'commit COMMITTED',
        'note',
        'begin REFUSED',
        'begin BEGUN',
        'commit COMMITTED',
        'orphans 1',
        'orphans 0',
        'orphans 0',
      ],
    },
    'a save that committed with every request answered left nothing behind': {
      commands: [save(), commit(), { op: 'orphans', on, assistant: 3, age: 0 }],
      outcomes: ['begin BEGUN', 'commit COMMITTED', 'orphans 0'],
    },
    'what a save that was rolled back made is nobody’s': {
      commands: [save(), abort(), rolledBack(), { op: 'orphans', on, assistant: 3, age: 0 }],
      outcomes: ['begin BEGUN', 'abort ROLLING_BACK', 'rolledBack ROLLED_BACK', 'orphans 1'],
    },
    'the same key gives the same save, another input is a conflict': {
      commands: [
        save({ key: 'a' }),
        save({ on: next, key: 'a' }),
        commit(),
        save({ on: next, key: 'a' }),
        save({ on: next, key: 'a', hash: 'y' }),
        save({ on: { ...next, org: 1 }, key: 'a', hash: 'y' }),
      ],
      outcomes: [
        'begin BEGUN',
        'begin REPLAY',
        'commit COMMITTED',
        'begin REPLAY',
        'begin IDEMPOTENCY_CONFLICT',
        'begin BEGUN',
      ],
    },
    "another organization's save is no save, and its id cannot be taken": {
      commands: [
        save({ lease: 0 }),
        commit({ on: { ...on, org: 1 } }),
        { ...takeover, on: { ...on, org: 1 } },
        { ...takeover, on: { ...on, org: 'nobody' } },
        save({ on: { ...on, org: 1 } }),
        save({ on: { ...on, org: 'nobody' } }),
        { op: 'inspect', on: { ...on, org: 1 } },
      ],
      outcomes: [
        'begin BEGUN',
        'commit NO_SAGA',
        'takeover NOT_DUE',
        'takeover BUSY',
        'begin',
        'begin NO_ORGANIZATION',
        'inspect NO_SAGA',
      ],
    },
    'a commit shows an answer for every agent, of an assistant that is nobody else’s': {
      commands: [save(), commit({ roles: ['INBOUND'] }), commit({ assistants: [2, 2] }), commit()],
      outcomes: ['begin BEGUN', 'commit', 'commit', 'commit COMMITTED'],
    },
  };

  for (const [name, { commands, outcomes }] of Object.entries(directed)) {
    test(name, async () => {
      expect(await both(await newOrganizations(), commands)).toEqual(outcomes);
    });
  }

  test('one replica has the sweep’s lease until it lapses or is released', async () => {
    for (const { sweepStore } of [real, model]) {
      expect(await sweepStore.takeLease('one', FAR)).toBe(0);
      expect(await sweepStore.takeLease('one', FAR)).toBe(0);
      const waitMs = await sweepStore.takeLease('two', FAR);
      expect(waitMs).toBeGreaterThan(0);
      expect(waitMs).toBeLessThanOrEqual(FAR);
      await sweepStore.releaseLease('two');
      expect(await sweepStore.takeLease('two', FAR)).toBeGreaterThan(0);
      await sweepStore.releaseLease('one');
      expect(await sweepStore.takeLease('two', FAR)).toBe(0);
      expect(await sweepStore.takeLease('two', 0)).toBe(0);
      expect(await sweepStore.takeLease('one', 0)).toBe(0);
    }
  });

  test('keys and images are forgotten after 72 hours, and only then', async () => {
    const cast = await newOrganizations();
    const hours = 3_600_000;
    await both(cast, [save({ key: 'a' }), commit({ ambiguous: true, late: 0 })]);
    for (const [ms, cleared] of [
      [71 * hours, [0, 0]],
      [2 * hours, [1, 1]],
    ] as const) {
      for (const journal of [real, model]) await journal.age(cast.orgIds, ms);
      expect([await real.sweepStore.cleanup(10, 90), await model.sweepStore.cleanup(10, 90)]).toEqual(
        cleared,
      );
      expect(await model.tables(cast.orgIds)).toEqual(await real.tables(cast.orgIds));
    }
    // The key is free again; what the save made can still be told.
    const outcomes = await both(cast, [
      { op: 'inspect', on },
      save({ on: next, key: 'a', hash: 'y' }),
      { op: 'orphans', on, assistant: 2, age: 0 },
    ]);
    expect(outcomes).toEqual(['inspect FOUND', 'begin BEGUN', 'orphans 1']);
  });

  test('saves that closed long ago are deleted, except those that made a revision', async () => {
    const cast = await newOrganizations();
    const days = 86_400_000;
    const third = { ...on, save: 2 };
    await both(cast, [
      save(),
      commit(),
      // Keeps the revision.
      save({
        on: next,
        updates: [
          { role: 'INBOUND', agent: 'any', patch: {}, expectedRevision: null, recreateIfMissing: false },
        ],
      }),
      commit({ on: next, roles: ['INBOUND'] }),
      save({ on: third }),
      abort({ on: third, nothingApplied: true }),
      save({ on: { ...on, save: 3 } }),
    ]);
    for (const [ms, cleared] of [
      [4 * days, [3, 0]],
      [85 * days, [0, 0]],
      [2 * days, [2, 0]],
    ] as const) {
      for (const journal of [real, model]) await journal.age(cast.orgIds, ms);
      for (const expected of cleared)
        expect([await real.sweepStore.cleanup(10, 90), await model.sweepStore.cleanup(10, 90)]).toEqual([
          expected,
          expected,
        ]);
      expect(await model.tables(cast.orgIds)).toEqual(await real.tables(cast.orgIds));
    }
    const left = (await real.tables(cast.orgIds)).saves.map(({ status }) => status).sort();
    expect(left).toEqual(['APPLYING', 'COMMITTED']);
    // The organization goes on, and the save that is gone is not answered again.
    const outcomes = await both(cast, [{ op: 'inspect', on: next }, commit({ on: { ...on, save: 3 } })]);
    expect(outcomes).toEqual(['inspect NO_SAGA', 'commit COMMITTED']);
  });

  test(`${RUNS} generated sequences of up to ${LENGTH} commands give the same answers and the same tables`, async () => {
    const outcomes = new Map<string, number>();
    let given = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: LENGTH / 2, maxLength: LENGTH }), async (commands) => {
        for (const outcome of await both(await newOrganizations(), commands))
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        given += commands.length;
      }),
      { numRuns: RUNS, seed: Number(process.env['CONFORMANCE_SEED'] ?? 20_261_123) },
    );
    console.log(
      `conformance: ${given} commands in ${RUNS} sequences, ${outcomes.size} different outcomes, no difference between model and Postgres`,
    );
    // Sequences that only ever begin would compare nothing.
    for (const outcome of [
      'commit COMMITTED',
      'abort ROLLING_BACK',
      'rolledBack ROLLED_BACK',
      'takeover TAKEN',
      'commit STALE',
    ])
      expect(outcomes.get(outcome) ?? 0, outcome).toBeGreaterThan(0);
  }, 600_000);

  test('Postgres makes exactly the moves of the protocol’s table', () => {
    const statuses = Object.keys(TRANSITIONS) as SaveStatus[];
    const table = statuses.flatMap((from) => TRANSITIONS[from].map((to) => `${from} ${to}`));
    expect([...moves].sort()).toEqual(table.sort());
  });

  test('what is compared is told apart', () => {
    expect(comparable({ notBeforeMs: FAR, startedAt: 'x', gone: undefined })).toEqual({
      notBeforeMs: 'far',
      startedAt: 'a time',
    });
  });
});

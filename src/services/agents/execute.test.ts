/**
 * What needs a clock that jumps, a database that answers to order, or code that breaks: small fakes stand in for the ports.
 * Everything else about saves is tested against the real ones, in test/e2e.
 */
import { setImmediate as drained } from 'node:timers/promises';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { type AgentConfig, defaultConfig } from '../../domain/agents/agent-config.ts';
import { type AgentRecord, saveOf } from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { PartImage, SagaRecord, SagaStatus } from '../../domain/saga.ts';
import { Secret } from '../../domain/secret.ts';
import {
  type BeginOutcome,
  type BeginRequest,
  DatabaseError,
  type SaveJournal,
  ValueRefusedError,
} from '../../ports/agents/save-journal.ts';
import type { TransitionOutcome } from '../../ports/saga-journal.ts';
import type { Clock, Log } from '../../ports/system.ts';
import type { Counted, SaveMeter } from '../../ports/telemetry.ts';
import type { Assistants, ProviderAssistant, ProviderReply } from '../../ports/voice-provider.ts';
import { GUARD_MARGIN_MS, lateTimeMs, type SagaSettings } from '../saga/settings.ts';
import type { TransactionalAgentUpdate } from './build.ts';
import { type ExecutorPorts, executeTransactionalAgentUpdate, type SaveOptions } from './execute.ts';

const SETTINGS: SagaSettings = {
  leaseMs: 30_000,
  deadlineMs: 120_000,
  answerMs: 12_000,
  lateMs: 22_000,
  requestTimeoutMs: 10_000,
};
const ORG = '00000000-0000-4000-8000-00000000000a';
const START = Date.parse('2026-01-01T00:00:00.000Z');
const CONFIG: AgentConfig = { ...defaultConfig('INBOUND'), systemPrompt: 'You answer calls.' };

/** Time moves only when everybody sleeps, and then to the next who wakes. Tests may also move either clock by hand. */
class ManualClock implements Clock {
  wall = START;
  mono = 5_000;
  #sleepers: { at: number; wake: () => void }[] = [];

  now = () => this.wall;
  monotonic = () => this.mono;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const sleeper = { at: this.mono + ms, wake: resolve };
      this.#sleepers.push(sleeper);
      signal?.addEventListener('abort', () => {
        this.#sleepers = this.#sleepers.filter((one) => one !== sleeper);
        resolve();
      });
    });
  }

  /** Whoever sleeps wakes now, as if its time had come. */
  wakeAll(): void {
    for (const { wake } of this.#sleepers.splice(0)) wake();
  }

  advance(ms: number): void {
    this.wall += ms;
    this.mono += ms;
  }

  /** Lets time pass until the work is done; false where everybody waits for something that is no clock. */
  async runUntil(work: Promise<unknown>): Promise<boolean> {
    let done = false;
    const settled = () => {
      done = true;
    };
    work.then(settled, settled);
    for (;;) {
      await drained();
      if (done) return true;
      const next = this.#sleepers.toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined) return false;
      this.#sleepers = this.#sleepers.filter((one) => one !== next);
      this.advance(Math.max(0, next.at - this.mono));
      next.wake();
    }
  }
}

type Role = 'INBOUND' | 'OUTBOUND';
const agentId = (role: Role) => `00000000-0000-4000-8000-0000000000${role === 'INBOUND' ? 'a1' : 'a2'}`;
const assistantId = (role: Role) => `assistant-${role}`;

const contentOf = (config: AgentConfig) => config as unknown as JsonObject;

function image(role: Role, exists: boolean): PartImage {
  const before = {
    content: contentOf(CONFIG),
    revision: 3,
    sagaId: '00000000-0000-4000-8000-0000000000e0',
    mappingVersion: 1,
    context: {},
  };
  return {
    key: role,
    resource: 'agent',
    resourceId: agentId(role),
    remoteId: exists ? assistantId(role) : null,
    recreate: false,
    before: exists ? before : null,
    after: {
      ...{ content: contentOf({ ...CONFIG, systemPrompt: `${role}, anew` }), revision: exists ? 4 : 1 },
      context: {},
    },
  };
}

function record(id: string, status: SagaStatus, over: Partial<SagaRecord> = {}): SagaRecord {
  const open = ['APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION'].includes(status);
  return {
    ...{
      id,
      status,
      epoch: 1,
      kind: 'agents',
      cause: 'USER',
      ambiguous: false,
      mappingVersion: 1,
      results: [],
      failure: null,
    },
    startedAt: new Date(START).toISOString(),
    finishedAt: open ? null : new Date(START).toISOString(),
    ...over,
  };
}

const AGENT: AgentRecord = {
  ...{
    id: agentId('INBOUND'),
    role: 'INBOUND',
    config: CONFIG,
    assistantId: 'x',
    revision: 4,
    missing: false,
  },
  ...{ lastSyncedAt: null, checkedAt: null, drift: [], adoptable: null },
};

interface JournalCall {
  name: string;
  request: unknown;
  at: number;
}

type Scripted<T> = (nth: number, clock: ManualClock) => T | Promise<T>;

interface World {
  roles: Role[];
  /** The agents exist already: their assistants are changed, not made. */
  exists: boolean;
  settings: Partial<SagaSettings>;
  /** What Vapi says, and how long it takes to. Default: what was sent, after 200 ms. */
  reply: (role: Role, nth: number, document: JsonObject) => ProviderReply<ProviderAssistant>;
  replyMs: number;
  /** What the database says in place of its usual answer; thrown errors included. */
  begin: Scripted<BeginOutcome | undefined>;
  commit: Scripted<TransitionOutcome<AgentRecord> | undefined>;
  abort: Scripted<TransitionOutcome<AgentRecord> | undefined>;
  hold: Scripted<TransitionOutcome<AgentRecord> | undefined>;
  rolledBack: Scripted<TransitionOutcome<AgentRecord> | undefined>;
  needsAttention: Scripted<TransitionOutcome<AgentRecord> | undefined>;
  openVoiceProvider: (() => never) | undefined;
  options: SaveOptions;
  /** Waits for a turn so long. */
  admitMs: number;
  update: Partial<TransactionalAgentUpdate>;
  /** Default: the database's clock is that of the process. */
  databaseTime: (() => number | null) | undefined;
}

const ok = (role: Role, document: JsonObject): ProviderReply<ProviderAssistant> => ({
  kind: 'ok',
  value: { ...document, id: assistantId(role) },
});

/** One save in a world made to order, and everything that it did. */
function start(world: Partial<World>) {
  const clock = new ManualClock();
  const { roles = ['INBOUND'], exists = true, replyMs = 200 } = world;
  const settings = { ...SETTINGS, ...world.settings };
  const calls: JournalCall[] = [];
  const requests: { method: string; role: Role; at: number; document: JsonObject | null }[] = [];
  const logged: { level: string; fields: object; message: string }[] = [];
  const counted: Counted[] = [];
  const measured: Parameters<SaveMeter['ended']>[0][] = [];
  const tracked: Promise<unknown>[] = [];
  let inFlight = 0;
  let mostInFlight = 0;
  let saveId = '';
  const turns = { taken: 0, givenBack: 0 };

  async function journaled(
    name: 'commit' | 'abort' | 'hold' | 'rolledBack' | 'needsAttention',
    request: unknown,
    status: SagaStatus | 'HELD',
  ): Promise<TransitionOutcome<AgentRecord>> {
    const nth = calls.filter((call) => call.name === name).length;
    calls.push({ name, request, at: clock.mono });
    const scripted = await world[name]?.(nth, clock);
    if (scripted !== undefined) return scripted;
    const saga = record(saveId, status === 'HELD' ? 'APPLYING' : status);
    return { outcome: status, saga, rows: status === 'COMMITTED' ? [AGENT] : [] };
  }

  const unused = () => Promise.reject(new Error('not part of this test'));
  const journal: SaveJournal = {
    begin: async (_orgId, id, _owner, request) => {
      saveId ||= id;
      const nth = calls.filter((call) => call.name === 'begin').length;
      calls.push({ name: 'begin', request, at: clock.mono });
      const scripted = await world.begin?.(nth, clock);
      if (scripted !== undefined) return scripted;
      const images = roles.map((role) => image(role, exists));
      return { outcome: 'BEGUN', saga: record(id, 'APPLYING'), images, deployment: 'd' };
    },
    commit: (_ref, request) => journaled('commit', request, 'COMMITTED'),
    abort: (_ref, request) =>
      journaled('abort', request, request.nothingApplied ? 'ROLLED_BACK' : 'ROLLING_BACK'),
    rolledBack: (_ref, request) => journaled('rolledBack', request, 'ROLLED_BACK'),
    hold: (_ref, request) => journaled('hold', request, 'HELD'),
    needsAttention: (_ref, request) => journaled('needsAttention', request, 'NEEDS_ATTENTION'),
    ...{ due: unused, takeover: unused, settle: unused, inspect: unused },
  };

  async function ask(method: string, role: Role, document: JsonObject | null) {
    const nth = requests.filter((request) => request.role === role).length;
    requests.push({ method, role, at: clock.mono, document });
    inFlight += 1;
    mostInFlight = Math.max(mostInFlight, inFlight);
    await clock.sleep(replyMs);
    inFlight -= 1;
    return world.reply?.(role, nth, document ?? {}) ?? ok(role, document ?? {});
  }
  const roleOf = (id: string): Role => (id === assistantId('OUTBOUND') ? 'OUTBOUND' : 'INBOUND');
  const voice: Assistants = {
    timeoutMs: settings.requestTimeoutMs,
    createAssistant: (document) => {
      const stamp = (document['metadata'] as { lockstep: { role: Role } }).lockstep;
      return ask('POST', stamp.role, document);
    },
    updateAssistant: (id, document) => ask('PATCH', roleOf(id), document),
    deleteAssistant: (id) => ask('DELETE', roleOf(id), null),
    ...{ getAssistant: unused, listAssistants: unused },
  };

  const log: Log = {
    debug: (fields, message) => void logged.push({ level: 'debug', fields, message }),
    info: (fields, message) => void logged.push({ level: 'info', fields, message }),
    warn: (fields, message) => void logged.push({ level: 'warn', fields, message }),
    error: (fields, message) => void logged.push({ level: 'error', fields, message }),
    child: () => log,
  };
  let ids = 0;
  const ports: ExecutorPorts<null> = {
    openJournal: () => journal,
    openVoiceProvider: () => world.openVoiceProvider?.() ?? voice,
    admission: {
      savesPerMinute: 1_000,
      admit: async () => {
        if (world.admitMs !== undefined) await clock.sleep(world.admitMs);
        turns.taken += 1;
        const unused = () => {
          turns.givenBack += 1;
        };
        return { admitted: true, unused, done: () => {} };
      },
      turn: async () => true,
    },
    databaseTime: world.databaseTime ?? clock.now,
    clock,
    ids: {
      uuid: () => {
        ids += 1;
        return `00000000-0000-4000-8000-${String(ids).padStart(12, '0')}`;
      },
    },
    random: { next: () => 0.5 },
    log,
    meter: { count: (event) => void counted.push(event) },
    saves: { ended: (save) => void measured.push(save) },
    settings,
    owner: 'this process',
    track: (work) => void tracked.push(work.catch(() => undefined)),
  };
  const updates = roles.map(
    (role): TransactionalAgentUpdate => ({
      ...{ orgId: ORG, agentId: null, role, expectedRevision: null, recreateIfMissing: false },
      payload: { systemPrompt: `${role}, anew` },
      ...world.update,
    }),
  );
  const answer = executeTransactionalAgentUpdate(null, updates, new Secret('canary-key'), {
    ...world.options,
    ports,
  });
  const answered = answer.then(
    (outcome) => ({ outcome, at: clock.mono, journaled: calls.map(({ name }) => name) }),
    (error: unknown) => ({ error, at: clock.mono, journaled: calls.map(({ name }) => name) }),
  );
  return {
    ...{ clock, calls, requests, logged, measured, counted, ports, settings },
    /** The lines about how the save ended. */
    reported: () =>
      logged
        .filter(({ fields }) => /^save\.(ended|pending|refused)$/.test(String(Reflect.get(fields, 'event'))))
        .map(({ level, fields }) => ({ level, ...fields })),
    mostInFlight: () => mostInFlight,
    saveId: () => saveId,
    turns: () => turns,
    /** What the caller is told, with everything that had happened by then. */
    answer: async () => {
      if (!(await clock.runUntil(answered))) throw new Error('it waits for ever');
      const told = await answered;
      if ('error' in told) throw told.error;
      return told;
    },
    /** Lets everything come to its end; false where something waits for ever. */
    end: () => clock.runUntil(Promise.all(tracked)),
    names: () => calls.map(({ name }) => name),
  };
}

const unknown: ProviderReply<never> = { kind: 'unknown', code: 'ECONNRESET' };
const refused: ProviderReply<never> = { kind: 'refused', status: 400, messages: ['name is wrong'] };
const away = (sent: boolean) => new DatabaseError('LOCKSTEP_NO_ANSWER', sent);

describe('a save that succeeds', () => {
  test('makes two calls of the journal, and one request for each agent at the same time', async () => {
    const save = start({ roles: ['INBOUND', 'OUTBOUND'] });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'committed', agents: [AGENT] });
    expect(save.names()).toEqual(['begin', 'commit']);
    expect(save.requests.map(({ method, role }) => `${method} ${role}`)).toEqual([
      'PATCH INBOUND',
      'PATCH OUTBOUND',
    ]);
    expect(save.mostInFlight()).toBe(2);
    expect(await save.end()).toBe(true);
  });
});

describe('a lease that leaves no room', () => {
  /** What must be left of the lease for one more request: its timeout and the margin. */
  const room = SETTINGS.requestTimeoutMs + GUARD_MARGIN_MS;

  const jumps: [string, (clock: ManualClock, ms: number) => void][] = [
    ['both clocks', (clock, ms) => clock.advance(ms)],
    [
      'the wall clock alone',
      (clock, ms) => {
        clock.wall += ms;
      },
    ],
    [
      'the monotonic clock alone (the wall clock was set back meanwhile)',
      (clock, ms) => {
        clock.mono += ms;
        clock.wall -= 3_600_000;
      },
    ],
  ];

  test.each(jumps)('%s passed while the save began', async (_name, jump) => {
    for (const [passed, sent] of [
      [SETTINGS.leaseMs - room, 0],
      [SETTINGS.leaseMs - room - 1, 1],
      [10 * SETTINGS.leaseMs, 0],
    ] as const) {
      const save = start({
        settings: { answerMs: 1_000_000 },
        begin: (_nth, clock) => {
          jump(clock, passed);
          return undefined;
        },
      });
      const { outcome } = await save.answer();
      expect(save.requests).toHaveLength(sent);
      if (sent === 1) continue;
      // Nothing was touched: closed at once, and told so.
      const error = 'Vapi could not be reached in time.';
      expect(save.calls.at(-1)).toMatchObject({
        name: 'abort',
        request: { nothingApplied: true, results: [{ error }] },
      });
      expect(outcome).toMatchObject({ kind: 'failed', save: { status: 'ROLLED_BACK' } });
    }
  });

  test.each(jumps)('%s passed while the first attempt was out: it is not repeated', async (_name, jump) => {
    const save = start({
      reply: () => {
        jump(save.clock, SETTINGS.leaseMs);
        return unknown;
      },
    });
    const { outcome } = await save.answer();
    expect(save.requests).toHaveLength(1);
    expect(save.calls.at(-1)).toMatchObject({
      name: 'hold',
      request: { ambiguous: true, quarantineMs: 0, lookAfterMs: 0 },
    });
    expect(outcome).toMatchObject({ kind: 'pending' });
  });

  test('counts from the first attempt to begin, because its answer may be lost', async () => {
    const save = start({
      settings: { answerMs: 1_000_000 },
      begin: (nth, clock) => {
        if (nth > 0) return undefined;
        clock.advance(SETTINGS.leaseMs - room - 50);
        throw away(true);
      },
    });
    await save.answer();
    expect(save.names()).toEqual(['begin', 'begin', 'abort']);
    expect(save.requests).toEqual([]);
  });

  test('an undo has a lease of its own, counted from before the call that began it', async () => {
    const save = start({
      roles: ['INBOUND', 'OUTBOUND'],
      settings: { answerMs: 1_000_000 },
      reply: (role, _nth, document) => (role === 'OUTBOUND' ? refused : ok(role, document)),
      abort: (_nth, clock) => {
        clock.advance(SETTINGS.leaseMs - room);
        return undefined;
      },
    });
    const { outcome } = await save.answer();
    expect(save.requests).toHaveLength(2);
    expect(save.names()).toEqual(['begin', 'abort', 'hold']);
    expect(outcome).toMatchObject({ kind: 'pending', save: { status: 'ROLLING_BACK' } });
  });
});

describe('a save that needs attention', () => {
  /** Vapi takes the change with another name, and the undo too. */
  const otherwise = (world: Partial<World> = {}) =>
    start({
      reply: (role, _nth, document) => ok(role, { ...document, name: 'another' }),
      ...world,
    });
  const told = (save: ReturnType<typeof start>) => [
    ...save.counted.filter((event) => event === 'save.needs_attention'),
    ...save.logged.filter(({ level }) => level === 'error').map(({ message }) => message),
  ];

  test('reports where the answer of the undo has other content', async () => {
    const save = otherwise();
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'pending', save: { status: 'NEEDS_ATTENTION' } });
    expect(save.names()).toEqual(['begin', 'abort', 'needsAttention']);
    expect(save.calls.at(-1)).toMatchObject({
      request: {
        results: [{ error: 'Vapi answered the previous configuration with other content at name.' }],
      },
    });
    expect(told(save)).toEqual(['save.needs_attention', 'a save cannot be ended and needs a person']);
  });

  test.each<[string, Scripted<TransitionOutcome<AgentRecord> | undefined>]>([
    [
      'another owner has it',
      () => ({ outcome: 'STALE', saga: record('00000000-0000-4000-8000-000000000001', 'ROLLING_BACK') }),
    ],
    [
      'the database is away',
      (nth) => {
        throw away(nth % 2 === 0);
      },
    ],
  ])('%s: it is not called one before it is', async (_name, needsAttention) => {
    const save = otherwise({ needsAttention });
    await save.answer();
    expect(await save.end()).toBe(true);
    expect(save.names()).toContain('needsAttention');
    expect(told(save)).toEqual([]);
  });
});

describe('waiting for Vapi', () => {
  test('honours Retry-After while the lease allows it', async () => {
    const save = start({
      reply: (role, nth, document) =>
        nth < 2 ? { kind: 'rate_limited', retryAfterMs: 3_000 } : ok(role, document),
    });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'committed' });
    const waits = save.requests.slice(1).map(({ at }, index) => at - (save.requests[index]?.at ?? 0));
    expect(waits).toEqual([3_200, 3_200]);
  });

  test('does not wait for a Retry-After that does not fit the lease', async () => {
    const save = start({ reply: () => ({ kind: 'rate_limited', retryAfterMs: SETTINGS.leaseMs }) });
    const { outcome, at } = await save.answer();
    expect(save.requests).toHaveLength(1);
    expect(at).toBe(5_200);
    expect(outcome).toMatchObject({ kind: 'failed', save: { status: 'ROLLED_BACK' } });
    expect(save.calls.at(-1)?.request).toMatchObject({
      failure: { reason: 'VAPI_RATE_LIMITED', retryable: true },
    });
  });

  test.each([0, 1])('"again in %i ms" is no leave to storm', async (retryAfterMs) => {
    const save = start({ reply: () => ({ kind: 'rate_limited', retryAfterMs }) });
    await save.answer();
    await save.end();
    const waits = save.requests.slice(1).map(({ at }, index) => at - (save.requests[index]?.at ?? 0));
    expect(waits.length).toBeGreaterThan(1);
    // At least half of what the back-off would be, from 250 ms up.
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(200 + 125);
    expect(save.requests.length).toBeLessThan(20);
  });

  test('without Retry-After, waits longer each time, beginning with two seconds', async () => {
    const save = start({ reply: () => ({ kind: 'rate_limited', retryAfterMs: null }) });
    await save.answer();
    await save.end();
    const waits = save.requests.slice(1).map(({ at }, index) => at - (save.requests[index]?.at ?? 0) - 200);
    expect(waits).toEqual([1_500, 3_000, 6_000]);
  });

  test('sends the same bytes in each attempt', async () => {
    const save = start({ reply: (role, nth, document) => (nth < 3 ? unknown : ok(role, document)) });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'committed' });
    expect(new Set(save.requests.map(({ document }) => JSON.stringify(document))).size).toBe(1);
    // One of them may still arrive: the commit raises a fence.
    expect(save.calls.at(-1)).toMatchObject({ name: 'commit', request: { ambiguous: true } });
  });

  test('records once that a request got no answer, before the same bytes are sent again', async () => {
    const recordedAt: number[] = [];
    const save = start({
      reply: (role, nth, document) => (nth < 3 ? unknown : ok(role, document)),
      hold: (_nth, clock) => {
        recordedAt.push(clock.mono);
        // As slow as a database may be: the repetition waits for it.
        clock.advance(1_000);
        return undefined;
      },
    });
    await save.answer();
    expect(save.calls.filter(({ name }) => name === 'hold')).toMatchObject([
      { request: { ambiguous: true, quarantineMs: 0, lookAfterMs: 0, keepsLease: true } },
    ]);
    expect(save.requests[0]?.at).toBeLessThan(recordedAt[0] ?? 0);
    expect(save.requests[1]?.at).toBeGreaterThanOrEqual((recordedAt[0] ?? 0) + 1_000);
  });

  test('repeats nothing after another owner has taken the save', async () => {
    const save = start({
      reply: () => unknown,
      hold: () => ({ outcome: 'STALE', saga: record('x', 'APPLYING', { epoch: 2 }) }),
    });
    await save.answer();
    expect(save.requests).toHaveLength(1);
    expect(save.names()).toEqual(['begin', 'hold']);
  });

  test('a 429 after an unknown outcome does not resolve it: the save is handed over, not undone', async () => {
    const save = start({
      reply: (_role, nth) => (nth === 0 ? unknown : { kind: 'rate_limited', retryAfterMs: null }),
    });
    await save.answer();
    await save.end();
    expect(save.names()).toEqual(['begin', 'hold', 'hold']);
  });

  test('a POST without an answer is never repeated: the save waits for its quarantine', async () => {
    const save = start({ exists: false, reply: () => unknown });
    const { outcome } = await save.answer();
    expect(save.requests.map(({ method }) => method)).toEqual(['POST']);
    expect(save.calls.at(-1)).toMatchObject({
      name: 'hold',
      request: { ambiguous: true, quarantineMs: lateTimeMs(SETTINGS) },
    });
    expect(outcome).toMatchObject({ kind: 'pending', save: { id: save.saveId(), status: 'APPLYING' } });
  });

  test('a refusal after an unknown outcome records the direction, and undoes nothing under this lease', async () => {
    const save = start({
      roles: ['INBOUND', 'OUTBOUND'],
      reply: (role, nth, document) => {
        if (role === 'OUTBOUND') return ok(role, document);
        return nth === 0 ? unknown : refused;
      },
    });
    const { outcome } = await save.answer();
    expect(save.names()).toEqual(['begin', 'hold', 'abort']);
    expect(save.calls.at(-1)?.request).toMatchObject({ ambiguous: true, nothingApplied: false });
    expect(save.requests).toHaveLength(3);
    expect(outcome).toMatchObject({ kind: 'pending', save: { status: 'ROLLING_BACK' } });
  });
});

describe('the database', () => {
  test('repeats the same commit until it is answered', async () => {
    const save = start({
      commit: (nth) => {
        if (nth < 4) throw away(nth % 2 === 0);
        return undefined;
      },
    });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'committed', agents: [AGENT] });
    expect(save.names()).toEqual(['begin', 'commit', 'commit', 'commit', 'commit', 'commit']);
    const commits = save.calls.filter(({ name }) => name === 'commit');
    expect(new Set(commits.map(({ request }) => JSON.stringify(request))).size).toBe(1);
    expect(new Set(commits.map(({ at }) => at)).size).toBe(5);
  });

  test('leaves the save to recovery if the database is away for a whole lease', async () => {
    const save = start({
      settings: { answerMs: 1_000_000 },
      commit: () => {
        throw away(true);
      },
    });
    const { outcome, at } = await save.answer();
    expect(outcome).toMatchObject({
      kind: 'pending',
      save: { status: 'APPLYING', results: [{ vapiSynced: true, dbUpdated: null }] },
    });
    expect(at).toBeGreaterThan(SETTINGS.leaseMs);
    expect(new Set(save.names())).toEqual(new Set(['begin', 'commit']));
    expect(save.requests).toHaveLength(1);
  });

  const taken = (status: SagaStatus): TransitionOutcome<AgentRecord> => ({
    outcome: 'STALE',
    saga: record('00000000-0000-4000-8000-000000000001', status, { epoch: 2 }),
    rows: status === 'COMMITTED' ? [AGENT] : [],
  });

  test('answers what another owner has committed', async () => {
    const save = start({ commit: () => taken('COMMITTED') });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'committed', save: { epoch: 2 }, agents: [AGENT] });
    expect(save.names()).toEqual(['begin', 'commit']);
  });

  test.each(['APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION'] as const)(
    'another owner has it, %s: undecided, and hands off',
    async (status) => {
      const save = start({ commit: () => taken(status) });
      const { outcome } = await save.answer();
      expect(outcome).toMatchObject({
        kind: 'pending',
        save: { status },
        retryAfterMs: status === 'NEEDS_ATTENTION' ? null : 1_000,
      });
      expect(save.names()).toEqual(['begin', 'commit']);
      expect(save.requests).toHaveLength(1);
    },
  );

  test('undoes nothing twice if another owner rolled the save back first', async () => {
    const save = start({
      roles: ['INBOUND', 'OUTBOUND'],
      reply: (role, _nth, document) => (role === 'INBOUND' ? ok(role, document) : refused),
      abort: () => taken('ROLLED_BACK'),
    });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'failed' });
    expect(save.requests).toHaveLength(2);
    expect(save.names()).toEqual(['begin', 'abort']);
  });

  test.each([
    ['certainly not reached', [false, false, false], 'unavailable'],
    ['perhaps reached, once', [false, true, false], 'pending'],
  ])('%s when it should begin: %j → %s', async (_name, sent, kind) => {
    const save = start({
      begin: (nth) => {
        throw away(sent[nth] ?? false);
      },
    });
    const { outcome } = await save.answer();
    expect(outcome.kind).toBe(kind);
    if (outcome.kind === 'pending')
      expect(outcome.save).toMatchObject({ id: save.saveId(), status: 'APPLYING' });
    expect(save.names()).toEqual(['begin', 'begin', 'begin']);
    expect(save.requests).toEqual([]);
  });
});

describe('an answer within SAVE_ANSWER_MS', () => {
  test('is pending if the save is undecided; the save goes on', async () => {
    const save = start({
      roles: ['INBOUND', 'OUTBOUND'],
      replyMs: 9_000,
      reply: (role, nth, document) => (role === 'OUTBOUND' && nth === 0 ? unknown : ok(role, document)),
    });
    const { outcome, at, journaled } = await save.answer();
    expect(at).toBe(5_000 + SETTINGS.answerMs);
    expect(journaled).toEqual(['begin', 'hold']);
    expect(outcome).toMatchObject({
      kind: 'pending',
      retryAfterMs: 1_000,
      save: {
        id: save.saveId(),
        status: 'APPLYING',
        results: [
          { role: 'INBOUND', vapiSynced: true, dbUpdated: false },
          { role: 'OUTBOUND', vapiSynced: null, dbUpdated: false },
        ],
      },
    });
    expect(await save.end()).toBe(true);
    expect(save.names()).toEqual(['begin', 'hold', 'commit']);
  });

  test('is never pending for a save that has just ended', async () => {
    // The commit is answered at the very moment at which the caller must be.
    const save = start({
      commit: async (_nth, clock) => {
        clock.advance(SETTINGS.answerMs);
        return undefined;
      },
    });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'committed', save: { status: 'COMMITTED' } });
  });

  test('counts from the call, including a slow begin; the save goes on', async () => {
    const save = start({
      begin: async (nth, clock) => {
        await clock.sleep(9_000);
        if (nth === 0) throw away(true);
        return undefined;
      },
    });
    const { outcome, at } = await save.answer();
    expect(at).toBe(5_000 + SETTINGS.answerMs);
    expect(outcome).toMatchObject({ kind: 'pending', save: { id: save.saveId(), status: 'APPLYING' } });
    expect(await save.end()).toBe(true);
    // Eighteen seconds of its lease were gone; eleven must be left for a request.
    expect(save.names()).toEqual(['begin', 'begin', 'commit']);
  });

  test('returns a decision at once', async () => {
    const save = start({});
    expect((await save.answer()).at).toBe(5_200);
  });

  test('returns the end of the same request that is already running', async () => {
    const replay = (status: SagaStatus): BeginOutcome => ({
      outcome: 'REPLAY',
      saga: record('00000000-0000-4000-8000-0000000000ff', status),
      rows: status === 'COMMITTED' ? [AGENT] : [],
    });
    const save = start({ begin: (nth) => replay(nth < 3 ? 'APPLYING' : 'COMMITTED') });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'committed', agents: [AGENT] });
    expect(save.requests).toEqual([]);

    const endless = start({ begin: () => replay('APPLYING') });
    const told = await endless.answer();
    expect(told.at).toBeLessThanOrEqual(5_000 + SETTINGS.answerMs);
    expect(told.outcome).toMatchObject({
      kind: 'pending',
      save: { id: '00000000-0000-4000-8000-0000000000ff' },
    });
    expect(await endless.end()).toBe(true);
  });

  test('the same request is running already and is not over in time: its caller is told what was found last', async () => {
    const running = (status: SagaStatus): BeginOutcome => ({
      outcome: 'REPLAY',
      saga: record('00000000-0000-4000-8000-0000000000ff', status),
      rows: [],
    });
    const save = start({
      begin: (nth) =>
        nth < 2 ? running(nth === 0 ? 'APPLYING' : 'ROLLING_BACK') : new Promise<undefined>(() => {}),
    });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'pending', save: { status: 'ROLLING_BACK' } });
  });
});

/** The id that the first save of a world has. */
const FIRST_ID = '00000000-0000-4000-8000-000000000001';

describe('a defect', () => {
  const defect = () => {
    throw new TypeError('a defect');
  };

  test.each<[string, Partial<World>]>([
    ['in the voice provider', { reply: defect }],
    ['in the journal, at the commit', { commit: defect }],
    ['in the journal, at the hold', { exists: false, reply: () => unknown, hold: defect }],
    [
      'a transition that the protocol does not know',
      {
        reply: () => ({ kind: 'refused', status: 400, messages: ['no'] }),
        abort: () => ({ outcome: 'ROLLING_BACK', saga: record(FIRST_ID, 'ROLLING_BACK') }),
        rolledBack: () => ({ outcome: 'COMMITTED', saga: record(FIRST_ID, 'COMMITTED') }),
      },
    ],
    ['a save that the journal does not know', { commit: () => ({ outcome: 'NO_SAGA' }) }],
    [
      'a mapping version of a newer build',
      {
        begin: () => ({
          outcome: 'BEGUN',
          saga: record(FIRST_ID, 'APPLYING', { mappingVersion: 99 }),
          images: [image('INBOUND', true)],
          deployment: 'd',
        }),
      },
    ],
  ])(
    '%s, after the save began: undecided, not an error; it is logged, and tracked to its end',
    async (name, world) => {
      const save = start(world);
      const { outcome } = await save.answer();
      expect(outcome).toMatchObject({
        kind: 'pending',
        save: { id: save.saveId(), status: name.includes('transition') ? 'ROLLING_BACK' : 'APPLYING' },
        retryAfterMs: 1_000,
      });
      expect(save.logged).toContainEqual(
        expect.objectContaining({
          level: 'error',
          fields: { saveId: save.saveId(), err: expect.any(Error) as Error },
        }),
      );
      expect(await save.end()).toBe(true);
    },
  );

  test('before the begin is an error, and nothing begins', async () => {
    const save = start({ openVoiceProvider: defect });
    await expect(save.answer()).rejects.toThrow('a defect');
    expect(save.calls).toEqual([]);
  });

  test('in the database function is an error: nothing began, and the permits are returned', async () => {
    const save = start({ begin: defect });
    await expect(save.answer()).rejects.toThrow('a defect');
    expect(save.requests).toEqual([]);
    expect(save.turns()).toEqual({ taken: 1, givenBack: 1 });
  });

  test('after an attempt without an answer leaves the save pending, because that attempt may have begun it', async () => {
    const save = start({
      begin: (nth) => {
        throw nth === 0 ? away(true) : new TypeError('a defect');
      },
    });
    const { outcome } = await save.answer();
    expect(outcome).toMatchObject({ kind: 'pending', save: { id: save.saveId() } });
    expect(save.logged).toContainEqual(expect.objectContaining({ level: 'error' }));
    expect(save.turns()).toEqual({ taken: 1, givenBack: 1 });
  });

  test('while another request of the same key is awaited leaves that save pending, as it was last seen', async () => {
    const running = record('00000000-0000-4000-8000-0000000000ff', 'APPLYING');
    const save = start({
      begin: (nth) => {
        if (nth > 0) throw new TypeError('a defect');
        return { outcome: 'REPLAY', saga: running, rows: [] };
      },
    });
    const { outcome } = await save.answer();
    expect(outcome).toEqual({ kind: 'pending', save: saveOf(running), retryAfterMs: 1_000 });
  });
});

describe('the deadline of a begin', () => {
  const notAfters = (save: ReturnType<typeof start>) =>
    save.calls.map(({ request }) => (request as BeginRequest).notAfter);
  const deadline = new Date(START + 4_000).toISOString();
  const hangs = async (clock: ManualClock) => {
    await clock.sleep(5_000);
    throw away(true);
  };

  test('is sent with the call; after it, one more call asks what became of the save, and begins nothing', async () => {
    const save = start({ begin: (nth, clock) => (nth === 0 ? hangs(clock) : { outcome: 'TOO_LATE' }) });
    const { outcome } = await save.answer();
    expect(outcome).toEqual({ kind: 'unavailable', retryAfterMs: 2_000 });
    expect(notAfters(save)).toEqual([deadline, deadline]);
    expect(save.requests).toEqual([]);
    expect(save.turns()).toEqual({ taken: 1, givenBack: 1 });
  });

  test('that call finds a save whose begin was answered too late, and the save goes on', async () => {
    const save = start({ begin: (nth, clock) => (nth === 0 ? hangs(clock) : undefined) });
    expect((await save.answer()).outcome).toMatchObject({ kind: 'committed' });
    expect(save.names()).toEqual(['begin', 'begin', 'commit']);
  });

  test('while the database hangs, exactly two calls are made', async () => {
    const save = start({ begin: (_nth, clock) => hangs(clock) });
    expect((await save.answer()).outcome).toMatchObject({ kind: 'pending', save: { id: save.saveId() } });
    expect(await save.end()).toBe(true);
    expect(notAfters(save)).toEqual([deadline, deadline]);
  });

  test('is not repeated once its caller was answered, however soon that was', async () => {
    const save = start({
      settings: { answerMs: 2_000 },
      begin: async (_nth, clock) => {
        await clock.sleep(3_000);
        throw away(true);
      },
    });
    expect((await save.answer()).outcome).toMatchObject({ kind: 'pending' });
    expect(await save.end()).toBe(true);
    expect(save.names()).toEqual(['begin']);
  });

  test('before it, a call that failed at once is made up to three times', async () => {
    const save = start({
      begin: () => {
        throw away(false);
      },
    });
    expect((await save.answer()).outcome).toMatchObject({ kind: 'unavailable' });
    expect(notAfters(save)).toEqual([deadline, deadline, deadline]);
  });

  test('if the time of the database is not known, a call that failed after it is not repeated', async () => {
    const save = start({ databaseTime: () => null, begin: (_nth, clock) => hangs(clock) });
    expect((await save.answer()).outcome).toMatchObject({ kind: 'pending' });
    expect(await save.end()).toBe(true);
    expect(notAfters(save)).toEqual([undefined]);
  });
});

describe('the request', () => {
  const { ports } = start({});
  const update: TransactionalAgentUpdate = {
    ...{ orgId: ORG, agentId: null, role: 'INBOUND', expectedRevision: null, recreateIfMissing: false },
    payload: { name: 'A' },
  };

  test('rejects an empty save, and agents of two organizations', async () => {
    const key = new Secret('canary-key');
    await expect(executeTransactionalAgentUpdate(null, [], key, { ports })).rejects.toThrow(
      'at least one agent',
    );
    const other = { ...update, orgId: '00000000-0000-4000-8000-00000000000b' };
    await expect(executeTransactionalAgentUpdate(null, [update, other], key, { ports })).rejects.toThrow(
      'one organization',
    );
  });

  test('opens neither journal nor provider without a key', async () => {
    const closed = { ...ports, openJournal: () => expect.fail('opened') };
    expect(await executeTransactionalAgentUpdate(null, [update], null, { ports: closed })).toEqual({
      kind: 'not_configured',
    });
  });

  test('the key appears in no record, log line or answer', async () => {
    const save = start({ reply: () => unknown });
    const { outcome } = await save.answer();
    await save.end();
    expect(inspect([outcome, save.calls, save.logged], { depth: null, showHidden: true })).not.toContain(
      'canary-key',
    );
  });

  test('the request hash is equal for equal changes only; an absent field is not null', async () => {
    const hash = async (update: Partial<TransactionalAgentUpdate>) => {
      const save = start({ update });
      await save.answer();
      return (save.calls[0]?.request as { requestHash: string } | undefined)?.requestHash;
    };
    const voice = { provider: 'azure', voiceId: 'v', stability: null, similarityBoost: null };
    const reordered = Object.fromEntries(Object.entries(voice).reverse()) as typeof voice;
    expect(await hash({ payload: { name: 'A', voice } })).toBe(
      await hash({ payload: { voice: reordered, name: 'A' } }),
    );
    const hashes = [
      await hash({}),
      await hash({ payload: {} }),
      await hash({ payload: { firstMessage: null } }),
      await hash({ payload: { name: 'B' } }),
      await hash({ role: 'OUTBOUND' }),
      await hash({ expectedRevision: 0 }),
      await hash({ recreateIfMissing: true }),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });
});

describe('waiting for permits', () => {
  test('counts toward the time in which a save is answered', async () => {
    const save = start({ admitMs: SETTINGS.answerMs - 100, replyMs: 1_000 });
    expect(await save.answer()).toMatchObject({
      outcome: { kind: 'pending' },
      at: 5_000 + SETTINGS.answerMs,
    });
  });

  test('ends with a refusal after that time, and permits that come later begin nothing', async () => {
    const save = start({ admitMs: SETTINGS.answerMs + 100 });
    const told = await save.answer();
    expect(told).toMatchObject({ outcome: { kind: 'rate_limited' }, at: 5_000 + SETTINGS.answerMs });
    await save.clock.runUntil(new Promise(() => {}));
    expect(save.names()).toEqual([]);
    expect(save.turns()).toEqual({ taken: 1, givenBack: 1 });
  });
});

describe('a transition whose text the database refuses', () => {
  const BAD = 'bad \ud83d text';
  const REFUSED: ProviderReply<ProviderAssistant> = { kind: 'refused', status: 400, messages: [BAD] };
  const refusedText = () => {
    throw new ValueRefusedError('the database refused a value with 22P02');
  };
  const once = (nth: number) => (nth === 0 ? refusedText() : undefined);

  test.each([
    ['abort', { roles: ['INBOUND'] as Role[], abort: once }],
    ['hold', { replyMs: 25_000, reply: () => unknown, hold: once }],
    [
      'rolledBack',
      {
        roles: ['INBOUND', 'OUTBOUND'] as Role[],
        rolledBack: once,
        reply: (role: Role, _nth: number, document: JsonObject) =>
          role === 'OUTBOUND' ? REFUSED : ok(role, document),
      },
    ],
    [
      'needsAttention',
      {
        roles: ['INBOUND', 'OUTBOUND'] as Role[],
        needsAttention: once,
        reply: (role: Role, nth: number, document: JsonObject) =>
          role === 'OUTBOUND' || nth > 0 ? REFUSED : ok(role, document),
      },
    ],
  ])('is repeated without it: %s', async (name, world: Partial<World>) => {
    const save = start({ reply: () => REFUSED, ...world });
    await save.answer();
    await save.end();
    const requests = save.calls.filter((call) => call.name === name).map(({ request }) => request);
    expect(requests).toHaveLength(2);
    expect(JSON.stringify(requests[1])).not.toContain('bad ');
    expect(save.logged.filter(({ level }) => level === 'error')[0]?.fields).toMatchObject({
      event: 'save.words_refused',
      transition: name === 'rolledBack' ? 'close' : name === 'needsAttention' ? 'attention' : name,
    });
  });
});

describe('what a save leaves in the log and in the metrics', () => {
  test('one line with its ids, its outcome, its revisions and the time of each phase', async () => {
    const results = [
      {
        ...{ key: 'INBOUND', resourceId: agentId('INBOUND'), success: true, vapiSynced: true },
        ...{ dbUpdated: true, remoteId: 'x', error: null, revision: 4 },
      },
    ];
    const run = start({
      admitMs: 50,
      begin: (_nth, clock) => void clock.advance(30),
      commit: (_nth, clock) => {
        clock.advance(20);
        return {
          outcome: 'COMMITTED',
          saga: record(run.saveId(), 'COMMITTED', { results }),
          rows: [AGENT],
        };
      },
    });
    await run.answer();
    expect(run.reported()).toEqual([
      {
        ...{ level: 'info', event: 'save.ended', saga: 'agents', by: 'request', outcome: 'committed' },
        ...{ saveId: run.saveId(), orgId: ORG, roles: ['INBOUND'], kind: 'USER' },
        ...{ status: 'COMMITTED', epoch: 1, ambiguous: false, revisions: { INBOUND: 4 }, openMs: 0 },
        ms: { waiting: 50, begin: 30, vapi: 200, commit: 20, total: 300 },
      },
    ]);
    expect(run.measured).toEqual([
      {
        ...{ saga: 'agents', by: 'request', ending: 'committed', totalMs: 300 },
        phases: new Map([
          ['waiting', 50],
          ['begin', 30],
          ['vapi', 200],
          ['commit', 20],
        ]),
      },
    ]);
  });

  test('concurrent requests count once: the time of Vapi is that of the slowest request', async () => {
    const run = start({ roles: ['INBOUND', 'OUTBOUND'] });
    await run.answer();
    expect(run.reported()).toMatchObject([{ roles: ['INBOUND', 'OUTBOUND'], ms: { vapi: 200, total: 200 } }]);
  });

  test('a failed save leaves a warning with the reason, and nothing that Vapi wrote', async () => {
    const run = start({
      reply: () => ({ kind: 'refused', status: 400, messages: ['the secret prompt is bad'] }),
      abort: () => ({
        outcome: 'ROLLED_BACK',
        saga: record(run.saveId(), 'ROLLED_BACK', {
          failure: { reason: 'VAPI_REJECTED', message: 'the secret prompt is bad', retryable: false },
        }),
      }),
    });
    await run.answer();
    expect(run.reported()).toMatchObject([
      { level: 'warn', event: 'save.ended', outcome: 'failed', reason: 'VAPI_REJECTED' },
    ]);
    expect(JSON.stringify(run.logged)).not.toContain('secret prompt');
  });

  test('a pending save leaves one line when it is answered, and one when it ends', async () => {
    const run = start({ settings: { answerMs: 100 } });
    await run.answer();
    expect(run.reported()).toMatchObject([
      { level: 'warn', event: 'save.pending', by: 'request', outcome: 'pending', saveId: run.saveId() },
    ]);
    await run.end();
    expect(run.reported().slice(1)).toMatchObject([
      { level: 'info', event: 'save.ended', by: 'background', outcome: 'committed', saveId: run.saveId() },
    ]);
    expect(run.measured.map(({ by, ending }) => [by, ending])).toEqual([
      ['request', 'pending'],
      ['background', 'committed'],
    ]);
  });

  test.each<[BeginOutcome, string, string]>([
    [
      { outcome: 'IN_PROGRESS', sagaId: 'other', status: 'APPLYING', retryAfterMs: 7 },
      'save.refused',
      'in_progress',
    ],
    [{ outcome: 'RATE_LIMITED', retryAfterMs: 7 }, 'save.refused', 'rate_limited'],
    [{ outcome: 'REPLAY', saga: record('other', 'COMMITTED'), rows: [] }, 'save.ended', 'replayed'],
  ])('%o: one line, with the time that it took to learn so', async (begun, event, outcome) => {
    const run = start({
      begin: (_nth, clock) => {
        clock.advance(30);
        return begun;
      },
    });
    await run.answer();
    expect(run.reported()).toMatchObject([{ event, outcome, orgId: ORG, ms: { begin: 30, total: 30 } }]);
    expect(run.measured).toHaveLength(1);
  });

  test('a closed save is never answered as pending, at any moment', async () => {
    for (let microtasks = 0; microtasks < 30; microtasks += 1) {
      const run = start({
        commit: (_nth, clock) => {
          let left = microtasks;
          const step = () => {
            if (left === 0) return clock.wakeAll();
            left -= 1;
            queueMicrotask(step);
          };
          step();
          return undefined;
        },
      });
      const { outcome } = await run.answer();
      if (outcome.kind === 'pending') expect(outcome.save.status).toBe('APPLYING');
      else expect(outcome.kind).toBe('committed');
    }
  });
});

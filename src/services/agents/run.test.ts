/** A save that another process began: what its new owner finds in Vapi, sends, deletes and puts back. A Vapi in memory. */
import { describe, expect, test } from 'vitest';
import { defaultConfig } from '../../domain/agents/agent-config.ts';
import type { AgentRecord } from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { PartImage, SagaRecord, SagaStatus } from '../../domain/saga.ts';
import type { TransitionOutcome } from '../../ports/saga-journal.ts';
import type { Log } from '../../ports/system.ts';
import type { Assistants, ListQuery, ProviderAssistant, ProviderReply } from '../../ports/voice-provider.ts';
import { type HeldSaga, type RunPorts, SagaRun } from '../saga/run.ts';
import { lateTimeMs } from '../saga/settings.ts';
import { AGENT_SAGA } from './participant.ts';
import { renderAssistant } from './render.ts';

const uuid = (nth: number) => `00000000-0000-4000-8000-${String(nth).padStart(12, '0')}`;
const [DEPLOYMENT, ORG, SAVE, EARLIER] = [uuid(1), uuid(2), uuid(3), uuid(4)];
const AGENTS = { INBOUND: uuid(5), OUTBOUND: uuid(6) } as const;
const START = Date.parse('2026-01-01T12:00:00.000Z');
const SETTINGS = {
  ...{ leaseMs: 30_000, deadlineMs: 120_000, answerMs: 12_000, lateMs: 22_000, requestTimeoutMs: 10_000 },
};
type Role = keyof typeof AGENTS;
const config = (systemPrompt: string) => ({ ...defaultConfig('INBOUND'), systemPrompt });
const content = (systemPrompt: string) => config(systemPrompt) as unknown as JsonObject;

/** An image of an agent that this save makes, or of one that exists under this id. */
function image(role: Role, remoteId: string | null = null): PartImage {
  const before = { content: content('old'), revision: 3, sagaId: EARLIER, mappingVersion: 1, context: {} };
  return {
    ...{ key: role, resource: 'agent', resourceId: AGENTS[role], remoteId, recreate: false },
    before: remoteId === null ? null : before,
    after: { content: content('new'), revision: remoteId === null ? 1 : 4, context: {} },
  };
}

/** What an earlier owner has made for an agent. */
const made = (
  id: string,
  minutes: number,
  stamp: { saveId?: string; agentId?: string; revision?: number } = {},
): ProviderAssistant => ({
  ...renderAssistant(
    1,
    config('new'),
    {
      ...{ deployment: DEPLOYMENT, orgId: ORG, agentId: AGENTS.INBOUND, role: 'INBOUND' as const },
      ...{ saveId: SAVE, revision: 1, ...stamp },
    },
    {},
  ),
  ...{ id, createdAt: new Date(START + minutes * 60_000).toISOString() },
});

interface World {
  images?: PartImage[];
  assistants?: ProviderAssistant[];
  status?: SagaStatus;
  held?: Partial<HeldSaga>;
  /** In place of Vapi's usual answer; undefined: that one. */
  reply?: (method: string, id: string, nth: number) => ProviderReply<never> | undefined;
  /** How long a request waits for its turn. */
  turnMs?: number;
}

async function run(world: World) {
  const { images = [image('INBOUND')], status = 'APPLYING', turnMs = 0 } = world;
  const vapi = new Map((world.assistants ?? []).map((one) => [one.id, one]));
  const requests: { method: string; id: string; document?: JsonObject }[] = [];
  const calls: { name: string; request: object }[] = [];
  const turns: number[] = [];
  const sleeps: number[] = [];
  let now = 1_000;
  let made = 0;

  const asked = (method: string, id: string, document?: JsonObject) => {
    const nth = requests.filter((one) => one.method === method).length;
    requests.push({ method, id, ...(document === undefined ? {} : { document }) });
    return world.reply?.(method, id, nth);
  };
  const put = (id: string, document: JsonObject): ProviderReply<ProviderAssistant> => {
    const one: ProviderAssistant = { createdAt: new Date(START).toISOString(), ...document, id };
    vapi.set(id, one);
    return { kind: 'ok', value: one };
  };
  const found = (id: string): ProviderReply<ProviderAssistant> => {
    const value = vapi.get(id);
    return value === undefined ? { kind: 'gone' } : { kind: 'ok', value };
  };
  const record = (of: SagaStatus): SagaRecord => ({
    ...{ id: SAVE, status: of, epoch: 2, kind: 'agents', cause: 'USER', ambiguous: true },
    ...{
      mappingVersion: 1,
      results: [],
      failure: null,
      startedAt: new Date(START).toISOString(),
      finishedAt: null,
    },
  });
  const transition =
    (name: string, outcome: SagaStatus | 'HELD') => async (_ref: unknown, request: object) => {
      calls.push({ name, request });
      const answer: TransitionOutcome<AgentRecord> = {
        ...{ outcome, saga: record(outcome === 'HELD' ? status : outcome) },
      };
      return answer;
    };
  const unused = () => Promise.reject(new Error('not part of this test'));
  const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const journal = {
    commit: transition('commit', 'COMMITTED'),
    abort: transition('abort', 'ROLLING_BACK'),
    rolledBack: transition('rolledBack', 'ROLLED_BACK'),
    needsAttention: transition('needsAttention', 'NEEDS_ATTENTION'),
    hold: transition('hold', 'HELD'),
  };
  const voice: Assistants = {
    timeoutMs: SETTINGS.requestTimeoutMs,
    createAssistant: async (document) => {
      made += 1;
      return asked('POST', '', document) ?? put(`made-${made}`, document);
    },
    updateAssistant: async (id, document) =>
      asked('PATCH', id, document) ??
      (vapi.has(id) ? put(id, { ...vapi.get(id), ...document }) : { kind: 'gone' }),
    getAssistant: async (id) => asked('GET', id) ?? found(id),
    deleteAssistant: async (id) => {
      const answer = asked('DELETE', id) ?? found(id);
      if (answer.kind === 'ok') vapi.delete(id);
      return answer;
    },
    listAssistants: async ({ limit = 100, createdAtGe = '', createdAtLe = '~' }: ListQuery) => {
      const answer = asked('LIST', '');
      if (answer !== undefined) return answer;
      const all = [...vapi.values()]
        .filter(({ createdAt }) => String(createdAt) >= createdAtGe && String(createdAt) <= createdAtLe)
        .sort((a, b) => (String(a['createdAt']) < String(b['createdAt']) ? 1 : -1));
      return { kind: 'ok', value: all.slice(0, limit) };
    },
  };
  const ports: RunPorts<AgentRecord> = {
    journal,
    admission: {
      savesPerMinute: 1,
      admit: unused,
      turn: async (withinMs) => {
        turns.push(withinMs);
        now += turnMs;
        return true;
      },
    },
    clock: {
      now: () => now,
      monotonic: () => now,
      sleep: async (ms) => {
        sleeps.push(ms);
        now += ms;
      },
    },
    random: { next: () => 0.5 },
    meter: { count() {} },
    log,
    settings: SETTINGS,
  };
  const save = new SagaRun(ports, AGENT_SAGA.open(voice), {
    ...{ orgId: ORG, saga: record(status), images, deployment: DEPLOYMENT },
    ...{
      leaseFrom: { wall: now, monotonic: now },
      leaseMs: 37_000,
      taken: true,
      once: false,
      quarantined: true,
    },
    ...{ pastDeadline: false, ...world.held },
  });
  const end = await save.run();
  const sent = requests.filter(({ method }) => method !== 'LIST' && method !== 'GET');
  return {
    ...{ end, calls, requests, turns, sleeps, left: [...vapi.keys()] },
    /** What changed Vapi, in order: `PATCH id`. */
    sent: sent.map(({ method, id }) => `${method} ${id}`.trim()),
    documents: sent.map(({ document }) => document),
    last: calls.at(-1),
    names: calls.map(({ name }) => name),
  };
}

const refused: ProviderReply<never> = { kind: 'refused', status: 400, messages: ['no'] };
const unknown: ProviderReply<never> = { kind: 'unknown', code: 'ECONNRESET' };

describe('a creation that was taken over', () => {
  test('fills the assistant that the last owner made', async () => {
    const { sent, last } = await run({ assistants: [made('theirs', 1)] });
    expect(sent).toEqual(['PATCH theirs']);
    expect(last).toMatchObject({
      name: 'commit',
      request: { ambiguous: true, parts: [{ remoteId: 'theirs' }], lateMs: lateTimeMs(SETTINGS) },
    });
  });

  test('makes an assistant if there is none', async () => {
    const { sent, last } = await run({});
    expect(sent).toEqual(['POST']);
    expect(last).toMatchObject({ name: 'commit', request: { parts: [{ remoteId: 'made-1' }] } });
  });

  test('keeps the oldest of several, and deletes the others first', async () => {
    const { sent, left } = await run({ assistants: [made('b', 2), made('a', 1), made('c', 3)] });
    expect(sent.slice(0, -1).sort()).toEqual(['DELETE b', 'DELETE c']);
    expect(sent.at(-1)).toBe('PATCH a');
    expect(left).toEqual(['a']);
  });

  test('writes nothing while one of several cannot be deleted', async () => {
    const { sent, names } = await run({
      assistants: [made('a', 1), made('b', 2)],
      reply: (method) => (method === 'DELETE' ? unknown : undefined),
    });
    expect(sent).toEqual(['DELETE b']);
    expect(names).toEqual(['hold']);
  });

  test('creates nothing while Vapi cannot be asked whether there is one', async () => {
    const { sent, names } = await run({
      reply: (method) => (method === 'LIST' ? { kind: 'unknown', code: 'HTTP_500' } : undefined),
    });
    expect(sent).toEqual([]);
    expect(names).toEqual(['hold']);
  });

  test.each([
    ['of another save', { saveId: EARLIER }],
    ['of another agent', { agentId: AGENTS.OUTBOUND }],
  ])('leaves an assistant %s alone', async (_what, stamp) => {
    const { sent } = await run({ assistants: [made('other', 1, stamp)] });
    expect(sent).toEqual(['POST']);
  });

  test('finds what was made although the clock of Vapi is nine minutes slow', async () => {
    expect((await run({ assistants: [made('theirs', -9)] })).sent).toEqual(['PATCH theirs']);
  });

  test('finds what was made behind thousands of newer assistants', async () => {
    const newer = Array.from({ length: 2_500 }, (_, nth) => ({
      ...{ id: `newer-${nth}`, createdAt: new Date(START + 600_000 + nth * 1_000).toISOString() },
    }));
    expect((await run({ assistants: [...newer, made('theirs', 1)] })).sent).toEqual(['PATCH theirs']);
  });

  test('waits for its quarantine before it looks', async () => {
    const { requests, last } = await run({ held: { quarantined: false } });
    expect(requests).toEqual([]);
    expect(last).toMatchObject({ name: 'hold', request: { quarantineMs: lateTimeMs(SETTINGS) } });
  });

  test('is looked at again when Vapi no longer limits our requests, but not after more than a minute', async () => {
    const limited = (retryAfterMs: number) =>
      run({
        reply: (method) => (method === 'POST' ? { kind: 'rate_limited', retryAfterMs } : undefined),
      }).then(({ last }) => last);
    const hold = { ambiguous: true, quarantineMs: 0 };
    expect(await limited(40_000)).toMatchObject({ name: 'hold', request: { ...hold, lookAfterMs: 40_000 } });
    expect(await limited(3_600_000)).toMatchObject({
      ...{ name: 'hold', request: { ...hold, lookAfterMs: 60_000 } },
    });
  });

  test('without an answer waits for a quarantine, and is ambiguous', async () => {
    const { sent, last } = await run({ reply: (method) => (method === 'POST' ? unknown : undefined) });
    expect(sent).toEqual(['POST']);
    expect(last).toMatchObject({
      name: 'hold',
      request: {
        ...{ ambiguous: true, quarantineMs: lateTimeMs(SETTINGS) },
        results: [{ vapiSynced: null, dbUpdated: false }],
      },
    });
  });
});

describe('a change that was taken over', () => {
  const images = [image('INBOUND', 'a')];
  const assistants = [made('a', -60, { saveId: EARLIER })];

  test('sends the same bytes, and commits', async () => {
    const { sent, documents, last } = await run({ images, assistants });
    expect(sent).toEqual(['PATCH a']);
    expect(documents[0]).toMatchObject({
      metadata: { lockstep: { deployment: DEPLOYMENT, orgId: ORG, saveId: SAVE, revision: 4 } },
    });
    expect(last).toMatchObject({ name: 'commit', request: { ambiguous: true } });
  });

  test('takes a turn for each request, within what the lease leaves for it', async () => {
    const { turns } = await run({ images, assistants });
    expect(turns).toEqual([37_000 - SETTINGS.requestTimeoutMs]);
  });

  test('sends nothing if its turn comes when the lease leaves no room', async () => {
    const { sent, names } = await run({ images, assistants, turnMs: 27_000 });
    expect(sent).toEqual([]);
    expect(names).toEqual(['hold']);
  });

  test('is repeated more slowly each time while it gets no answer', async () => {
    const { sleeps, sent } = await run({ images, assistants, reply: () => unknown });
    expect(sent.length).toBeGreaterThan(3);
    expect(sleeps).toEqual([...sleeps].sort((a, b) => a - b));
    expect(sleeps.at(-1)).toBeGreaterThan(4 * (sleeps[0] ?? 0));
  });

  test('is rolled back after its deadline, if its outcome is still unknown', async () => {
    const { calls } = await run({ images, assistants, reply: () => unknown, held: { pastDeadline: true } });
    expect(calls).toMatchObject([
      {
        name: 'abort',
        request: { ambiguous: true, failure: { reason: 'VAPI_UNAVAILABLE', retryable: true } },
      },
    ]);
  });

  test('is not reported as retryable', async () => {
    const { calls } = await run({ images, assistants, reply: () => refused });
    expect(calls).toMatchObject([
      { name: 'abort', request: { failure: { reason: 'VAPI_REJECTED', retryable: false } } },
    ]);
  });

  test('of a deleted assistant creates a new one, if that is allowed, after a quarantine', async () => {
    const leave = [{ ...image('INBOUND', 'a'), recreate: true }];
    const early = await run({ images: leave, held: { quarantined: false } });
    expect(early.sent).toEqual(['PATCH a']);
    expect(early.last).toMatchObject({ name: 'hold', request: { quarantineMs: lateTimeMs(SETTINGS) } });
    const late = await run({ images: leave });
    expect(late.sent).toEqual(['PATCH a', 'POST']);
    expect(late.last).toMatchObject({ name: 'commit', request: { parts: [{ remoteId: 'made-1' }] } });
  });
});

describe('a save that was taken over from its first owner, which sent at most one request for each agent', () => {
  const first = { held: { once: true, quarantined: false } };
  const images = [image('INBOUND', 'a')];

  test('is committed without a request and without a fence if Vapi shows its stamp and its content', async () => {
    const { sent, last } = await run({ ...first, images, assistants: [made('a', -60, { revision: 4 })] });
    expect(sent).toEqual([]);
    expect(last).toMatchObject({
      ...{ name: 'commit', request: { ambiguous: false, parts: [{ remoteId: 'a' }] } },
    });
  });

  test('is sent again if Vapi shows the stamp of an earlier save, and leaves a fence', async () => {
    const { sent, last } = await run({ ...first, images, assistants: [made('a', -60, { saveId: EARLIER })] });
    expect(sent).toEqual(['PATCH a']);
    expect(last).toMatchObject({ name: 'commit', request: { ambiguous: true } });
  });

  test('is sent again if somebody has changed the content under its stamp', async () => {
    const { sent, last } = await run({
      ...{ ...first, images, assistants: [{ ...made('a', -60, { revision: 4 }), name: 'edited' }] },
    });
    expect(sent).toEqual(['PATCH a']);
    expect(last).toMatchObject({ name: 'commit', request: { ambiguous: false } });
  });

  test('commits the assistant that the first owner created', async () => {
    const { sent, last } = await run({ ...first, assistants: [made('theirs', 1)] });
    expect(sent).toEqual([]);
    expect(last).toMatchObject({
      ...{ name: 'commit', request: { ambiguous: false, parts: [{ remoteId: 'theirs' }] } },
    });
  });

  test('waits for a quarantine if Vapi shows no assistant with its stamp', async () => {
    const { sent, last } = await run(first);
    expect(sent).toEqual([]);
    expect(last).toMatchObject({ name: 'hold', request: { quarantineMs: lateTimeMs(SETTINGS) } });
  });
});

describe('an undo that was taken over', () => {
  const back = { status: 'ROLLING_BACK' as const };
  const images = [image('INBOUND', 'a')];
  const assistants = [made('a', -60)];

  test('restores the old content with the stamp of its own save', async () => {
    const { documents, last } = await run({ ...back, images, assistants });
    expect(documents).toMatchObject([
      {
        model: { messages: [{ content: 'old' }] },
        metadata: { lockstep: { saveId: EARLIER, revision: 3, deployment: DEPLOYMENT, orgId: ORG } },
      },
    ]);
    expect(last).toMatchObject({ name: 'rolledBack', request: { ambiguous: true, missing: [] } });
  });

  test('renders the old content as the build did that saved it', async () => {
    const [one] = images;
    if (one?.before == null) throw new Error('no image');
    const unknownVersion = [{ ...one, before: { ...one.before, mappingVersion: 99 } }];
    await expect(run({ ...back, images: unknownVersion, assistants })).rejects.toThrow('mapping version 99');
  });

  test('needs attention if Vapi keeps other content', async () => {
    const other = { ...made('a', -60), model: { messages: [] } };
    const { last } = await run({
      ...{ ...back, images, assistants },
      reply: (method) => (method === 'PATCH' ? ({ kind: 'ok', value: other } as never) : undefined),
    });
    expect(last).toMatchObject({ name: 'needsAttention' });
  });

  test('marks the agent as missing if its assistant is gone', async () => {
    expect((await run({ ...back, images })).last).toMatchObject({
      ...{ name: 'rolledBack', request: { missing: ['INBOUND'] } },
    });
  });

  test('waits while the key is refused', async () => {
    const { names } = await run({
      ...{ ...back, images, assistants },
      reply: () => ({ kind: 'unauthorized', status: 401 }),
    });
    expect(names).toEqual(['hold']);
  });

  test('of a creation deletes everything that the save created', async () => {
    const { left, last } = await run({
      ...back,
      assistants: [made('a', 1), made('b', 2), made('other', 3, { saveId: EARLIER })],
    });
    expect(left).toEqual(['other']);
    expect(last).toMatchObject({ name: 'rolledBack', request: { results: [{ remoteId: null }] } });
  });

  test('of a creation deletes all assistants with its stamp also when the first deletion must be repeated', async () => {
    const { left, names } = await run({
      ...{ ...back, assistants: [made('a', 1), made('b', 2)] },
      reply: (method, _id, nth) =>
        method === 'DELETE' && nth === 0 ? { kind: 'rate_limited', retryAfterMs: 1 } : undefined,
    });
    expect(left).toEqual([]);
    expect(names).toEqual(['rolledBack']);
  });

  test('of a creation needs attention if Vapi refuses to delete it', async () => {
    const { last } = await run({
      ...{ ...back, assistants: [made('a', 1)] },
      reply: (method) => (method === 'DELETE' ? refused : undefined),
    });
    expect(last).toMatchObject({
      name: 'needsAttention',
      request: { results: [{ remoteId: 'a', vapiSynced: null }] },
    });
  });

  test('of a creation waits while Vapi cannot be asked what was created', async () => {
    const { sent, names } = await run({
      ...{ ...back, assistants: [made('a', 1)] },
      reply: (method) => (method === 'LIST' ? unknown : undefined),
    });
    expect(sent).toEqual([]);
    expect(names).toEqual(['hold']);
  });
});

describe('a creation of the first owner, rolled back', () => {
  const images = [image('INBOUND'), image('OUTBOUND', 'sibling')];
  const first = { held: { taken: false, quarantined: false, leaseMs: SETTINGS.leaseMs }, images };
  const rejectSibling = (method: string, id: string) =>
    method === 'PATCH' && id === 'sibling' ? refused : undefined;

  test('deletes the one assistant that it made, without a look for others', async () => {
    const { sent, requests, left } = await run({ ...first, reply: rejectSibling });
    expect(sent.at(-1)).toBe('DELETE made-1');
    expect(requests.filter(({ method }) => method === 'LIST')).toEqual([]);
    expect(left).toEqual([]);
  });

  test('does not delete the assistant that an answer named, if that shows another stamp', async () => {
    const theirs = made('theirs', 0, { saveId: EARLIER });
    const { sent, left } = await run({
      ...{ ...first, assistants: [theirs] },
      reply: (method, id) =>
        method === 'POST'
          ? ({ kind: 'ok', value: { ...theirs, name: 'wrong' } } as never)
          : rejectSibling(method, id),
    });
    expect(sent).not.toContain('DELETE theirs');
    expect(left).toEqual(['theirs']);
  });

  test('takes a turn for everything but its first requests', async () => {
    const { turns, requests } = await run({ ...first, reply: rejectSibling });
    expect(turns).toHaveLength(requests.length - 2);
  });

  test('that is repeated takes a turn for the repetition', async () => {
    const { turns, sent } = await run({
      ...{ ...first, images: [image('OUTBOUND', 'sibling')], assistants: [made('sibling', 0)] },
      reply: (_method, _id, nth) => (nth === 0 ? unknown : undefined),
    });
    expect(sent).toEqual(['PATCH sibling', 'PATCH sibling']);
    expect(turns).toHaveLength(1);
  });
});

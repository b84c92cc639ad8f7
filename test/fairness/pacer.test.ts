/** Sharing one account, in virtual time: the rate, the turns, the reserve, 429s, and replicas that come and go. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ReplicaRegistry } from '../../src/ports/admission.ts';
import { Pacer, type PaceSettings } from '../../src/services/admission/pacer.ts';
import { BEAT_MS, REPLICA_TTL_MS, takeShare } from '../../src/services/admission/replicas.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const SETTINGS: PaceSettings = {
  // These tests are about turns; most never say that a save is done.
  inProgress: Number.POSITIVE_INFINITY,
  requestsPerSecond: 20,
  burst: 40,
  reserve: 4,
  recoveryMs: 60_000,
  waitMs: 60_000,
  savesPerMinute: 1_000,
};
/** A save of both agents. */
const SAVE = 2;
/** What such a save takes at the full rate, milliseconds. */
const TURN_MS = (SAVE * 1_000) / SETTINGS.requestsPerSecond;

/** The same runs each time; another seed is another set of them. */
const SEED = 20_261_123;

interface Sent {
  at: number;
  requests: number;
}

function start(
  settings: Partial<PaceSettings> = {},
  clock = new VirtualClock(),
  renew?: () => Promise<boolean>,
) {
  const counted = new Map<string, number>();
  const meter = { count: (event: string, by = 1) => void counted.set(event, (counted.get(event) ?? 0) + by) };
  const pacer = new Pacer({ ...SETTINGS, ...settings }, { clock, meter, renew });
  const sent: Sent[] = [];
  /** Resolves with how long it waited, or undefined where it was refused. */
  const save = async (orgId: string, requests = SAVE): Promise<number | undefined> => {
    const from = clock.monotonic();
    const answer = await pacer.admit(orgId, requests);
    if (!answer.admitted) return undefined;
    answer.done();
    sent.push({ at: clock.monotonic(), requests });
    return clock.monotonic() - from;
  };
  const finish = async (): Promise<number | undefined> => {
    const from = clock.monotonic();
    if (!(await pacer.turn(600_000))) return undefined;
    sent.push({ at: clock.monotonic(), requests: 1 });
    return clock.monotonic() - from;
  };
  return { clock, pacer, sent, save, finish, counted };
}

/** The most by which any stretch of time held more requests than `most + perSecond × its length`; at most 0 is right. */
function excess(sent: Sent[], most: number, perSecond: number): number {
  let worst = Number.NEGATIVE_INFINITY;
  for (let first = 0; first < sent.length; first += 1) {
    let requests = 0;
    for (let last = first; last < sent.length; last += 1) {
      requests += sent[last]?.requests ?? 0;
      const ms = (sent[last]?.at ?? 0) - (sent[first]?.at ?? 0);
      worst = Math.max(worst, requests - most - (perSecond * ms) / 1_000);
    }
  }
  return worst;
}

/** Somebody who asks without end: as soon as one save is admitted or refused, the next; so many at a time. */
function flood(
  save: (orgId: string) => Promise<unknown>,
  orgId: string,
  atOnce: number,
  over: () => boolean,
) {
  for (let index = 0; index < atOnce; index += 1) {
    void (async () => {
      while (!over()) await save(orgId);
    })();
  }
}

describe('the rate', () => {
  test('no interval contains more requests than burst, reserve and rate allow, whatever is asked', async () => {
    let requests = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            at: fc.integer({ min: 0, max: 20_000 }),
            org: fc.constantFrom('a', 'b', 'c', 'd'),
            what: fc.constantFrom('both', 'one', 'finish', 'limited', 'unused'),
          }),
          { minLength: 50, maxLength: 250 },
        ),
        async (events) => {
          const { clock, pacer, sent, save, finish } = start({ waitMs: 5_000 });
          for (const { at, org, what } of events.toSorted((a, b) => a.at - b.at)) {
            await clock.until(at);
            if (what === 'both') void save(org);
            if (what === 'one') void save(org, 1);
            if (what === 'finish') void finish();
            if (what === 'limited') pacer.limited(null);
            // Refused by the database, say: nothing was sent.
            if (what === 'unused')
              void pacer.admit(org, SAVE).then((answer) => answer.admitted && answer.unused());
          }
          await clock.until(120_000);
          requests += sent.length;
          expect(
            excess(sent, SETTINGS.burst + SETTINGS.reserve, SETTINGS.requestsPerSecond),
          ).toBeLessThanOrEqual(1e-6);
          expect(pacer.state.waiting).toBe(0);
        },
      ),
      { numRuns: 40, seed: SEED },
    );
    expect(requests).toBeGreaterThan(500);
  });

  test('uses the whole rate if there is enough demand', async () => {
    const { clock, sent, save } = start();
    let over = false;
    flood(save, 'only', 4, () => over);
    await clock.until(60_000);
    over = true;
    const requests = sent.reduce((sum, one) => sum + one.requests, 0);
    expect(requests).toBeGreaterThanOrEqual(60 * SETTINGS.requestsPerSecond - SAVE);
  });
});

const ORGANIZATIONS = Array.from({ length: 20 }, (_, index) => `org ${index}`);
/** A save in so many milliseconds is what each has, of twenty and one that floods. */
const SHARE_MS = TURN_MS * (ORGANIZATIONS.length + 1);

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    // mulberry32: https://gist.github.com/tommyettinger/46a874533244883189143505d203312c
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), 1 | state);
    word = (word + Math.imul(word ^ (word >>> 7), 61 | word)) ^ word;
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The same saves of well-behaved organizations, alone and beside one that floods: how long each waited. */
async function waits(
  arrivals: { at: number; org: string }[],
  times: number,
): Promise<{ waited: number[]; floods: number }> {
  const { clock, save } = start();
  let over = false;
  let floods = 0;
  if (times > 0) {
    void (async () => {
      while (!over) {
        void save('flood').then((ms) => {
          if (ms !== undefined) floods += 1;
        });
        await clock.sleep(SHARE_MS / times);
      }
    })();
  }
  const waited: Promise<number | undefined>[] = [];
  for (const { at, org } of arrivals) {
    await clock.until(at);
    waited.push(save(org));
  }
  await clock.until(arrivals.at(-1)?.at ?? 0);
  await clock.until(clock.now() + 10_000);
  over = true;
  return {
    waited: (await Promise.all(waited)).map((ms) => ms ?? Number.POSITIVE_INFINITY),
    floods,
  };
}

describe('turns', () => {
  test('an organization at a hundred times its share delays the saves of others by at most one permit', async () => {
    let saves = 0;
    let longest = 0;
    let floods = 0;
    await fc.assert(
      fc.asyncProperty(
        // Each saves about as often as its share allows, or half as often; at its own moment, or all at once.
        fc.integer({ min: SHARE_MS, max: 2 * SHARE_MS }),
        fc.record({ atOnce: fc.boolean(), seed: fc.integer() }),
        async (period, { atOnce, seed }) => {
          const random = seeded(seed);
          const arrivals = ORGANIZATIONS.flatMap((org) => {
            const offset = atOnce ? 0 : random() * period;
            return Array.from({ length: 15 }, (_, round) => ({
              org,
              at: 5_000 + offset + round * period + random() * (period - SHARE_MS),
            }));
          }).sort((a, b) => a.at - b.at);
          const alone = await waits(arrivals, 0);
          const beside = await waits(arrivals, 100);
          for (const [index, ms] of beside.waited.entries()) {
            saves += 1;
            longest = Math.max(longest, ms - (alone.waited[index] ?? 0));
          }
          // And whoever floods gets what the others leave.
          floods += beside.floods;
        },
      ),
      { numRuns: 30, seed: SEED },
    );
    expect(saves).toBeGreaterThan(400);
    expect(floods).toBeGreaterThan(1_000);
    expect(longest).toBeLessThanOrEqual(TURN_MS + 1);
    console.log(
      `fairness: ${saves} saves of others beside an organization at 100 times its share; the longest delay that it caused ` +
        `is ${longest.toFixed(0)} ms, one turn is ${TURN_MS} ms`,
    );
  });

  test('gives every organization the same number of permits if all want more than there is', async () => {
    const { clock, save } = start();
    const turns = new Map<string, number>();
    let over = false;
    for (const [org, atOnce] of [
      ['a', 1],
      ['b', 2],
      ['c', 8],
      ['d', 8],
    ] as const) {
      const counted = async (orgId: string) => {
        if ((await save(orgId)) !== undefined) turns.set(orgId, (turns.get(orgId) ?? 0) + 1);
        else await clock.sleep(10);
      };
      flood(counted, org, atOnce, () => over);
    }
    await clock.until(120_000);
    over = true;
    const counts = [...turns.values()];
    expect(counts).toHaveLength(4);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
  });

  test('refuses an organization with too many waiting saves at once, with a retry time', async () => {
    const { clock, pacer, save } = start();
    for (let index = 0; index < 30; index += 1) void save('flood');
    await clock.until(0);
    const from = clock.monotonic();
    const answer = await pacer.admit('flood', SAVE);
    expect(clock.monotonic()).toBe(from);
    expect(answer).toEqual({ admitted: false, retryAfterMs: expect.any(Number) });
    expect(answer.admitted || answer.retryAfterMs).toBeGreaterThanOrEqual(1_000);
  });

  test('refuses a save that gets no permit in time, and removes it from the queue', async () => {
    const { clock, pacer, save, counted } = start({ requestsPerSecond: 1, burst: 2, waitMs: 1_500 });
    expect(await save('a')).toBe(0);
    const refused = save('b');
    const later = pacer.admit('c', SAVE, 60_000);
    await clock.until(1_499);
    expect(pacer.state.waiting).toBe(2);
    await clock.until(1_500);
    expect(await refused).toBeUndefined();
    expect(pacer.state.waiting).toBe(1);
    // The turn that it left goes to who is next.
    await clock.until(2_000);
    expect(pacer.state.waiting).toBe(0);
    expect((await later).admitted).toBe(true);
    expect(counted.get('admission.refused')).toBe(1);
  });

  test('returns permits that were not used, and no more than were granted', async () => {
    const { clock, pacer, sent, save } = start({ waitMs: 0 });
    for (let index = 0; index < 100; index += 1) {
      const answer = await pacer.admit('a', SAVE);
      if (!answer.admitted) expect.fail(`the turns of ${index} saves are gone`);
      answer.unused();
      // Full again, so that it need not wait for what it just had.
      expect(clock.now()).toBe(0);
    }
    for (let index = 0; index < 100; index += 1) void save(`org ${index}`);
    await clock.until(1);
    expect(sent).toHaveLength(SETTINGS.burst / SAVE);
  });
});

describe('a refusal', () => {
  test('names a retry time at which the caller is admitted at once, unless others came first', async () => {
    let refusals = 0;
    let longest = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          requestsPerSecond: fc.integer({ min: 1, max: 50 }),
          burst: fc.integer({ min: 2, max: 60 }),
          reserve: fc.integer({ min: 0, max: 6 }),
        }),
        fc.constantFrom(1, 1 / 2, 1 / 3),
        fc.boolean(),
        fc.array(
          fc.record({
            after: fc.integer({ min: 0, max: 500 }),
            org: fc.constantFrom('a', 'b', 'c', 'd'),
            what: fc.constantFrom('save', 'save', 'save', 'finish', 'limited', 'paused'),
          }),
          { minLength: 5, maxLength: 60 },
        ),
        async (settings, share, hadTurn, events) => {
          const { clock, pacer, finish } = start({ ...settings, waitMs: 600_000 });
          pacer.share(share);
          let at = 0;
          if (hadTurn) await pacer.admit('me', SAVE);
          for (const { after, org, what } of events) {
            at += after;
            await clock.until(at);
            if (what === 'save') void pacer.admit(org, SAVE);
            if (what === 'finish') void finish();
            if (what === 'limited') pacer.limited(null);
            if (what === 'paused') pacer.limited(1_500);
          }
          // Whoever waits has begun to; now somebody who will not.
          const ask = async () => {
            const asked = pacer.admit('me', SAVE, 0);
            await clock.until(clock.now());
            return asked;
          };
          const answer = await ask();
          if (answer.admitted) return;
          refusals += 1;
          longest = Math.max(longest, answer.retryAfterMs);
          if (answer.retryAfterMs >= 60_000) return;
          await clock.until(at + answer.retryAfterMs);
          expect(await ask()).toMatchObject({ admitted: true });
        },
      ),
      { numRuns: 200, seed: SEED },
    );
    expect(refusals).toBeGreaterThan(50);
    expect(longest).toBeGreaterThan(10_000);
  });

  test('of a replica without a share names the time at which it will have one', async () => {
    const { clock, pacer } = start();
    pacer.share(0);
    const answer = pacer.admit('a', SAVE, 0);
    await clock.until(0);
    expect(await answer).toEqual({ admitted: false, retryAfterMs: 2_000 });
  });
});

describe('finishing and undoing', () => {
  test('never wait behind saves: no longer than if the reserve existed for them alone', async () => {
    let finished = 0;
    let waited = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1_000, max: 20_000 }), { minLength: 5, maxLength: 40 }),
        fc.boolean(),
        async (moments, atOnce) => {
          const { clock, save, finish } = start();
          let over = false;
          // Ever other organizations, twice as many as there is room for: what they leave in the bucket is the reserve.
          void (async () => {
            for (let org = 0; !over; org += 1) {
              void save(`org ${org}`);
              await clock.sleep(TURN_MS / 2);
            }
          })();
          const reserve = start({ burst: 0 });
          const waits = {
            beside: [] as Promise<number | undefined>[],
            alone: [] as Promise<number | undefined>[],
          };
          for (const at of moments.map((ms) => (atOnce ? 5_000 : ms)).toSorted((a, b) => a - b)) {
            await clock.until(at);
            await reserve.clock.until(at);
            waits.beside.push(finish());
            waits.alone.push(reserve.finish());
          }
          await clock.until(60_000);
          await reserve.clock.until(60_000);
          over = true;
          const [beside, alone] = await Promise.all([Promise.all(waits.beside), Promise.all(waits.alone)]);
          finished += beside.length;
          for (const [index, ms] of beside.entries()) {
            waited += Math.sign(ms ?? 0);
            // A timer rounds up to the millisecond.
            expect(ms).toBeLessThanOrEqual((alone[index] ?? Number.NaN) + 1);
          }
        },
      ),
      { numRuns: 20, seed: SEED },
    );
    expect(finished).toBeGreaterThan(200);
    expect(waited).toBeGreaterThan(20);
    console.log(
      `fairness: ${finished} undos beside a flood; none waited longer than the reserve alone explains`,
    );
  });

  test('get permits even if the replica’s share of the burst is less than one request', async () => {
    const { clock, pacer, save, finish } = start({ burst: 2, reserve: 0, requestsPerSecond: 10 });
    pacer.share(1 / 5);
    let over = false;
    flood(save, 'a', 3, () => over);
    await clock.until(10_000);
    const undo = finish();
    await clock.until(12_000);
    over = true;
    // After the save that had its turn just before: two requests, and this one, at two a second.
    expect(await undo).toBeLessThanOrEqual(1_500);
  });

  test('use the reserve while a hundred organizations save at once', async () => {
    const { clock, save, finish } = start();
    await clock.until(30_000);
    for (let index = 0; index < 100; index += 1) void save(`org ${index}`);
    const waited = Array.from({ length: SETTINGS.reserve }, finish);
    await clock.until(30_000);
    expect(await Promise.all(waited)).toEqual(Array(SETTINGS.reserve).fill(0));
    // And the next one: before any save.
    const next = finish();
    await clock.until(31_000);
    expect(await next).toBeLessThanOrEqual(1_000 / SETTINGS.requestsPerSecond + 1);
  });

  test('are refused at once if no permit comes in time', async () => {
    const { clock, pacer } = start();
    pacer.limited(30_000);
    expect(await pacer.turn(29_999)).toBe(false);
    expect(await pacer.turn(0)).toBe(false);
    expect(clock.monotonic()).toBe(0);
    const waiting = pacer.turn(30_001);
    await clock.until(30_000);
    expect(await waiting).toBe(true);
  });
});

describe('429', () => {
  test('with Retry-After stops all requests until that time', async () => {
    const { clock, pacer, sent, save, finish } = start({ waitMs: 2_000 });
    await clock.until(1_000);
    pacer.limited(10_000);
    const refused = await pacer.admit('other', SAVE);
    expect(refused.admitted || refused.retryAfterMs).toBeGreaterThanOrEqual(10_000);
    const undo = finish();
    await clock.until(9_500);
    void save('other');
    await clock.until(10_999);
    expect(sent).toEqual([]);
    await clock.until(11_500);
    expect(await undo).toBe(10_000);
    expect(sent.map(({ at }) => at)).toEqual([11_000, 11_000]);
  });

  test('halves the rate at once for each burst of refusals, and lets it recover slowly', async () => {
    const { clock, pacer } = start();
    const rate = () => Math.round(pacer.state.requestsPerSecond * 10) / 10;
    expect(rate()).toBe(20);
    await clock.until(1_000);
    // Five answers to requests that went out together.
    for (let index = 0; index < 5; index += 1) pacer.limited(null);
    expect(rate()).toBe(10);
    await clock.until(2_000);
    pacer.limited(null);
    expect(rate()).toBeLessThan(5.3);
    // A quarter of it in a quarter of the time.
    await clock.until(2_000 + SETTINGS.recoveryMs / 4);
    expect(rate()).toBeGreaterThan(9);
    expect(rate()).toBeLessThan(11);
    await clock.until(2_000 + SETTINGS.recoveryMs);
    expect(rate()).toBe(20);
  });

  test('does not send the saved burst at the old rate', async () => {
    const { clock, pacer, sent, save, finish } = start();
    await clock.until(30_000);
    pacer.limited(null);
    // What has begun goes on, from the reserve.
    expect(await finish()).toBe(0);
    sent.length = 0;
    for (let index = 0; index < 100; index += 1) void save(`org ${index}`);
    await clock.until(32_000);
    const requests = sent.reduce((sum, one) => sum + one.requests, 0);
    expect(requests).toBeGreaterThan(10);
    // Half the burst, and two seconds at a little more than half the rate.
    expect(requests).toBeLessThanOrEqual(SETTINGS.burst / 2 + SETTINGS.requestsPerSecond + 2);
  });

  test('never lowers the rate to zero', async () => {
    const { clock, pacer, save } = start();
    for (let second = 1; second <= 60; second += 1) {
      await clock.until(second * 1_000);
      pacer.limited(null);
    }
    expect(pacer.state.requestsPerSecond).toBeGreaterThan(0.3);
    const waited = save('a');
    await clock.until(120_000);
    expect(await waited).toBeDefined();
  });

  test('finds the rate that the provider allows: refused above it, the rate settles near it', async () => {
    const allowed = 8;
    const { clock, pacer, save } = start();
    let over = false;
    let taken = 0;
    let refused = 0;
    // A provider with a bucket of its own.
    let bucket = 10;
    let filledAt = 0;
    const request = async (orgId: string) => {
      if ((await save(orgId, 1)) === undefined) return clock.sleep(100);
      bucket = Math.min(10, bucket + ((clock.now() - filledAt) * allowed) / 1_000);
      filledAt = clock.now();
      if (bucket >= 1) {
        bucket -= 1;
        taken += 1;
      } else {
        refused += 1;
        pacer.limited(null);
      }
    };
    for (const org of ['a', 'b', 'c', 'd']) flood(request, org, 2, () => over);
    await clock.until(300_000);
    over = true;
    expect(taken / 300).toBeGreaterThan(allowed * 0.7);
    expect(refused).toBeLessThan(taken / 5);
  });
});

/** The replicas' table as supabase/migrations has it (test/fairness/database.test.ts holds that). */
function registry(clock: VirtualClock): ReplicaRegistry {
  const replicas = new Map<string, { joined: number; seen: number; order: number }>();
  let order = 0;
  return {
    beat: async (replica, ttlMs) => {
      const now = clock.now();
      order += 1;
      for (const [id, { seen }] of replicas) if (seen < now - ttlMs) replicas.delete(id);
      const me = replicas.get(replica) ?? { joined: order, seen: now, order };
      replicas.set(replica, { ...me, seen: now, order });
      const known = [...replicas.values()].every((other) => other.order >= me.joined);
      return { replicas: replicas.size, known, now, sweptAt: null };
    },
  };
}

describe('replicas', () => {
  test('together keep to one limit while replicas join, die, or lose the database and return', async () => {
    let requests = 0;
    let most = 0;
    let back = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            from: fc.integer({ min: 0, max: 30_000 }),
            lives: fc.integer({ min: 500, max: 30_000 }),
            cutFrom: fc.integer({ min: 0, max: 30_000 }),
            cutFor: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 15_000 })),
          }),
          { minLength: 2, maxLength: 6 },
        ),
        async (lives) => {
          const clock = new VirtualClock();
          const shared = registry(clock);
          const sent: Sent[] = [];
          const run = async ({ from, lives: ms, cutFrom, cutFor }: (typeof lives)[number], index: number) => {
            await clock.sleep(from);
            const isCut = () => clock.now() >= from + cutFrom && clock.now() < from + cutFrom + cutFor;
            const beat = async () => {
              if (isCut()) return false;
              await takeShare(shared, (...share) => pacer.share(...share), clock, String(index));
              return true;
            };
            const { pacer } = start({}, clock, beat);
            pacer.share(0);
            let dead = false;
            const save = async (org: string) => {
              const answer = await pacer.admit(org, SAVE);
              // Cut off, it is refused at once, and its caller comes back after a moment.
              if (!answer.admitted) return clock.sleep(20);
              if (dead || isCut()) {
                // The database does not answer: nothing begins, and its caller is told so.
                answer.unused();
                await clock.sleep(20);
              } else {
                if (cutFor > 0 && clock.now() > from + cutFrom) back += 1;
                sent.push({ at: clock.monotonic(), requests: SAVE });
              }
            };
            void (async () => {
              while (!dead) {
                await beat();
                await clock.sleep(BEAT_MS);
              }
            })();
            // Quiet at first, so that its bucket fills, then all at once, then without end.
            await clock.sleep(ms / 2);
            for (let org = 0; org < 30; org += 1) void save(`org ${org}`);
            flood(save, 'a', 3, () => dead);
            await clock.sleep(ms / 2);
            // Killed: it sends nothing more, and says nothing.
            dead = true;
          };
          const all = Promise.all(lives.map(run));
          await clock.until(70_000);
          await all;
          requests += sent.length;
          most = Math.max(most, lives.length);
          expect(
            excess(sent, SETTINGS.burst + SETTINGS.reserve, SETTINGS.requestsPerSecond),
          ).toBeLessThanOrEqual(1e-6);
        },
      ),
      { numRuns: 25, seed: SEED },
    );
    expect(most).toBeGreaterThan(3);
    expect(requests).toBeGreaterThan(1_000);
    expect(back).toBeGreaterThan(100);
  });

  test('a single replica has the whole rate; a second one has half within two heartbeats; a dead one gives its share back', async () => {
    const clock = new VirtualClock();
    const shared = registry(clock);
    const shares: number[] = [1, 1];
    const beat = async (index: number) =>
      takeShare(
        shared,
        (part, until) => {
          expect(until).toBe(clock.monotonic() + REPLICA_TTL_MS);
          shares[index] = part;
        },
        clock,
        String(index),
      );
    await beat(0);
    expect(shares[0]).toBe(1);
    await beat(1);
    expect(shares).toEqual([1, 0]);
    await beat(0);
    expect(shares).toEqual([0.5, 0]);
    await beat(1);
    expect(shares).toEqual([0.5, 0.5]);
    await clock.until(REPLICA_TTL_MS + 1);
    await beat(1);
    expect(shares[1]).toBe(1);
  });

  test('without the database, granted permits stay valid, and an expired share must be renewed before new ones', async () => {
    const clock = new VirtualClock();
    const shared = registry(clock);
    const away: ReplicaRegistry = { beat: () => Promise.reject(new Error('away')) };
    let reachable = true;
    let asked = 0;
    const { pacer } = start({}, clock, async () => {
      asked += 1;
      if (reachable) await takeShare(shared, (...share) => pacer.share(...share), clock, 'a');
      return reachable;
    });
    const save = async () => (await pacer.admit('org', SAVE)).admitted;
    await takeShare(shared, (...share) => pacer.share(...share), clock, 'a');
    await expect(takeShare(away, (...share) => pacer.share(...share), clock, 'a')).rejects.toThrow('away');
    await clock.until(REPLICA_TTL_MS - 1);
    expect(await save()).toBe(true);
    expect(asked).toBe(0);

    // Gone for too long: no save is granted, and each is told that the database is away; undoing goes on.
    reachable = false;
    await clock.until(REPLICA_TTL_MS);
    const refused = { admitted: false, retryAfterMs: 2_000, unreachable: true };
    const all = await Promise.all(Array.from({ length: 500 }, (_, org) => pacer.admit(String(org), SAVE)));
    expect(all).toEqual(all.map(() => refused));
    expect(asked).toBe(1);
    expect(await pacer.turn(1_000)).toBe(true);
    expect(asked).toBe(1);

    // Meanwhile another one has taken everything: nothing until it has heard of this one.
    await clock.until(10_000);
    await takeShare(shared, () => {}, clock, 'b');
    reachable = true;
    const waiting = save();
    await clock.until(11_000);
    expect(pacer.state).toEqual({ requestsPerSecond: 0, waiting: 1 });
    await takeShare(shared, () => {}, clock, 'b');
    await takeShare(shared, (...share) => pacer.share(...share), clock, 'a');
    await clock.until(12_000);
    expect(await waiting).toBe(true);
  });
});

describe('while the database is away', () => {
  const unreachable = { admitted: false, retryAfterMs: 2_000, unreachable: true };

  test('refuses a save that waits behind saves in progress as unreachable, not as rate limited', async () => {
    const clock = new VirtualClock();
    const { pacer } = start({ inProgress: 1, waitMs: 5_000 }, clock, async () => false);
    pacer.share(1, REPLICA_TTL_MS);
    expect((await pacer.admit('a', 1)).admitted).toBe(true);
    const waiting = Array.from({ length: 8 }, () => pacer.admit('b', 1));
    await clock.until(5_000);
    expect(await Promise.all(waiting)).toEqual(waiting.map(() => unreachable));
  });

  test('refuses a save whose organization has a full queue as unreachable', async () => {
    const clock = new VirtualClock();
    const { pacer } = start({ inProgress: 0, waitMs: 60_000 }, clock, async () => false);
    pacer.share(1, REPLICA_TTL_MS);
    for (let save = 0; save < 8; save += 1) void pacer.admit('b', 1);
    await clock.until(REPLICA_TTL_MS);
    expect(await pacer.admit('b', 1)).toEqual(unreachable);
  });
});

describe('a share that has lapsed while the database is slow', () => {
  /** `answerMs`: how long the database takes to give the share again. */
  function lapsed(answerMs: number) {
    const clock = new VirtualClock();
    const { pacer } = start({ waitMs: 5_000 }, clock, async () => {
      await clock.sleep(answerMs);
      pacer.share(1, clock.monotonic() + REPLICA_TTL_MS);
      return true;
    });
    pacer.share(1, 0);
    return { clock, pacer };
  }

  test('admits a waiting save as soon as the share is renewed', async () => {
    const { clock, pacer } = lapsed(4_000);
    let admittedAt: number | undefined;
    void pacer.admit('a', SAVE).then(({ admitted }) => {
      if (admitted) admittedAt = clock.monotonic();
    });
    await clock.until(3_999);
    expect([admittedAt, pacer.state.waiting]).toEqual([undefined, 1]);
    await clock.until(4_000);
    expect(admittedAt).toBe(4_000);
  });

  test('refuses a save whose waiting time ends before that as unavailable, not as rate limited', async () => {
    const { clock, pacer } = lapsed(6_000);
    const waiting = pacer.admit('a', SAVE);
    const hurried = pacer.admit('b', SAVE, 1_000);
    await clock.until(1_000);
    expect(await hurried).toMatchObject({ admitted: false, unreachable: true });
    await clock.until(5_000);
    expect(await waiting).toMatchObject({ admitted: false, unreachable: true });
    await clock.until(6_000);
    expect((await pacer.admit('a', SAVE)).admitted).toBe(true);
  });
});

describe('saves in progress', () => {
  test('never exceed the setting; further saves wait, and the next one begins when one ends', async () => {
    const { clock, pacer } = start({ inProgress: 2, burst: 1_000, waitMs: 5_000 });
    const [first] = await Promise.all([pacer.admit('a', 1), pacer.admit('b', 1)]);
    const waiting = pacer.admit('c', 1);
    const late = pacer.admit('d', 1);
    await clock.until(1_000);
    expect(pacer.state.waiting).toBe(2);
    expect(await pacer.turn(1_000)).toBe(true);
    if (!first?.admitted) throw new Error('refused');
    first.done();
    first.done();
    expect((await waiting).admitted).toBe(true);
    await clock.until(5_000);
    expect((await late).admitted).toBe(false);
  });
});

import { expect, test } from 'vitest';
import { ReadsLimitedError, type TenantReads } from '../../ports/tenant-reads.ts';
import { ReadGate, shareReads } from './share-reads.ts';

const LIMITS = { perOrganization: 2, total: 3, waiting: 4, waitMs: 1_000 };

function setUp() {
  let now = 0;
  const gate = new ReadGate(LIMITS, { monotonic: () => now });
  const started: string[] = [];
  const ends = new Map<string, () => void>();
  const read = (orgId: string, name: string) =>
    gate.run(orgId, () => {
      started.push(name);
      const { promise, resolve } = Promise.withResolvers<string>();
      ends.set(name, () => resolve(name));
      return promise;
    });
  const end = async (name: string) => {
    ends.get(name)?.();
    await new Promise((done) => setImmediate(done));
  };
  return {
    read,
    end,
    started,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

test('starts a read of another organization while the first organization has used up its share', async () => {
  const { read, started, end } = setUp();
  for (const name of ['a1', 'a2', 'a3', 'a4', 'a5', 'a6']) void read('a', name);
  void read('b', 'b1');
  expect(started).toEqual(['a1', 'a2', 'b1']);
  // Organizations that wait take turns, however many reads the first one has waiting.
  void read('c', 'c1');
  await end('b1');
  expect(started).toEqual(['a1', 'a2', 'b1', 'c1']);
  void read('b', 'b2');
  await end('a1');
  await end('a2');
  expect(started.slice(4)).toEqual(['a3', 'b2']);
});

test('refuses a read with a retry time when too many of its organization wait, and no one else’s', async () => {
  const { read, started } = setUp();
  for (const name of ['a1', 'a2', 'a3', 'a4', 'a5', 'a6']) void read('a', name);
  const refused = await read('a', 'a7').catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(ReadsLimitedError);
  expect(refused).toMatchObject({ retryAfterMs: 1_000 });
  void read('b', 'b1');
  expect(started).toEqual(['a1', 'a2', 'b1']);
});

test('refuses a read that waited too long, and starts the next one', async () => {
  const { read, started, end, pass } = setUp();
  void read('a', 'a1');
  void read('a', 'a2');
  const late = read('a', 'a3').catch((error: unknown) => error);
  pass(1_001);
  void read('a', 'a4');
  await end('a1');
  expect(await late).toBeInstanceOf(ReadsLimitedError);
  expect(started).toEqual(['a1', 'a2', 'a4']);
});

test('frees the place of a read that failed', async () => {
  const gate = new ReadGate({ ...LIMITS, perOrganization: 1 }, { monotonic: () => 0 });
  await expect(gate.run('a', () => Promise.reject(new Error('lost')))).rejects.toThrow('lost');
  expect(await gate.run('a', () => Promise.resolve('read'))).toBe('read');
});

/** Reads that count how often they were opened, admitted and made. */
function counted() {
  const counts = { opened: 0, admitted: 0, agents: 0, calls: 0 };
  const reads = shareReads(
    () => {
      counts.opened += 1;
      const agents = async () => {
        counts.agents += 1;
        return [];
      };
      const callsById = async () => {
        counts.calls += 1;
        return [];
      };
      return { agents, callsById } as unknown as TenantReads;
    },
    (read) => {
      counts.admitted += 1;
      return read();
    },
  );
  return { reads, counts };
}

test('opens one client for all reads of a request, and none before the first', async () => {
  const { reads, counts } = counted();
  expect(counts.opened).toBe(0);
  await reads.agents();
  await reads.callsById(['a']);
  expect(counts.opened).toBe(1);
});

test('sends the same read once, and each other one through the gate', async () => {
  const { reads, counts } = counted();
  await Promise.all([reads.agents(), reads.agents(), reads.callsById(['a']), reads.callsById(['b'])]);
  expect(counts).toEqual({ opened: 1, admitted: 3, agents: 1, calls: 2 });
});

test('reads again after it was told to forget, because a mutation may have changed the rows', async () => {
  const { reads, counts } = counted();
  await reads.agents();
  reads.forget();
  await reads.agents();
  expect(counts).toMatchObject({ opened: 1, agents: 2 });
});

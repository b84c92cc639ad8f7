import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { leasePool } from './lease-pool.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

type Open = Parameters<typeof leasePool>[1];
type Sql = ReturnType<Open>;

/** A client whose statements are answered by `answer`, and the ways to close its connections. */
function fakeClients(answer: () => Promise<unknown>) {
  const closes: (() => void)[] = [];
  const open: Open = (onclose) => {
    closes.push(onclose);
    return { unsafe: answer, end: async () => {} } as unknown as Sql;
  };
  return { open, closes };
}

test('an open connection holds no row of a statement that is over', async () => {
  const rows: WeakRef<object>[] = [];
  const { open } = fakeClients(async () => {
    const row = { text: 'x' };
    rows.push(new WeakRef(row));
    return [row];
  });
  const pool = leasePool(1, open);
  for (let n = 0; n < 200; n += 1) {
    const lease = await pool.lease();
    await lease.unsafe('select', []);
    lease.release();
  }
  // A WeakRef holds its object until the end of the turn in which it was made or read.
  await turn();
  collect();
  const held = rows.filter((row) => row.deref() !== undefined).length;
  // The last few may still be on a stack; a leak holds all of them.
  expect(held).toBeLessThan(10);
});

test('a lost connection rejects the statement that runs on it and every later one of the same lease', async () => {
  const { open, closes } = fakeClients(() => new Promise(() => {}));
  const pool = leasePool(1, open);
  const lease = await pool.lease();
  const statement = lease.unsafe('select', []);
  closes[0]?.();
  await expect(statement).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
  await expect(lease.unsafe('select', [])).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
});

test('the next lease gets a new connection after one was lost', async () => {
  const { open, closes } = fakeClients(async () => ['a row']);
  const pool = leasePool(1, open);
  const lost = await pool.lease();
  closes[0]?.();
  lost.release();
  const lease = await pool.lease();
  expect(closes).toHaveLength(2);
  expect(await lease.unsafe('select', [])).toEqual(['a row']);
});

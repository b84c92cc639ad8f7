import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { leasePool } from './lease-pool.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

type Open = Parameters<typeof leasePool>[1];
type Sql = ReturnType<Open>;

/** A client whose statements `answer` answers, and functions that close its connections. */
function fakeClients(answer: () => Promise<unknown>) {
  const closes: (() => void)[] = [];
  const open: Open = (onclose) => {
    closes.push(onclose);
    return { unsafe: answer, end: async () => {} } as unknown as Sql;
  };
  return { open, closes };
}

test('an open connection keeps no row of a completed statement', async () => {
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
  // A WeakRef keeps its object until the end of the event-loop turn that created or read it.
  await turn();
  collect();
  const held = rows.filter((row) => row.deref() !== undefined).length;
  // The last few rows may still be on a stack. A leak keeps all of them.
  expect(held).toBeLessThan(10);
});

test('a lost connection rejects its running statement and all later statements of the same lease', async () => {
  const { open, closes } = fakeClients(() => new Promise(() => {}));
  const pool = leasePool(1, open);
  const lease = await pool.lease();
  const statement = lease.unsafe('select', []);
  closes[0]?.();
  await expect(statement).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
  await expect(lease.unsafe('select', [])).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
});

test('the lease after a lost connection receives a new connection', async () => {
  const { open, closes } = fakeClients(async () => ['a row']);
  const pool = leasePool(1, open);
  const lost = await pool.lease();
  closes[0]?.();
  lost.release();
  const lease = await pool.lease();
  expect(closes).toHaveLength(2);
  expect(await lease.unsafe('select', [])).toEqual(['a row']);
});

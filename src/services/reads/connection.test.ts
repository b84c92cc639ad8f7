import { expect, test } from 'vitest';
import { isInstant, type Listing, readConnection } from './connection.ts';

interface Row {
  at: string;
  id: string;
}
const rows: Row[] = [1, 2, 3].map((n) => ({
  at: `2026-01-0${n}T00:00:00+00:00`,
  id: `00000000-0000-4000-8000-00000000000${n}`,
}));
const listing = (descending: boolean): Listing<Row> => ({
  ...{ name: 'calls', descending, isValue: isInstant },
  positionOf: ({ at, id }) => ({ value: at, id }),
});

test('rejects a cursor of the same list in the other order, before anything is read', async () => {
  for (const descending of [true, false]) {
    const page = await readConnection(listing(descending), { first: 2 }, async () => rows);
    const cursor = page.pageInfo.endCursor;
    for (const args of [{ after: cursor }, { before: cursor }]) {
      const read = () => Promise.reject(new Error('read all the same'));
      await expect(readConnection(listing(!descending), args, read)).rejects.toThrow(
        'no cursor of this list',
      );
      const same = await readConnection(listing(descending), args, async () => rows.slice(2));
      expect(same.edges).toHaveLength(1);
    }
  }
});

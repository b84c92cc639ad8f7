import { z } from 'zod';
import { isUuid } from '../../domain/uuid.ts';
import type { Position, Window } from '../../ports/tenant-reads.ts';

/**
 * Lists by keyset: a cursor is the place of a row (its value in the list's order, and its id), so that rows that come and go
 * meanwhile neither repeat nor hide others. A cursor carries no right: what it is applied to is what the caller may see.
 */

export const DEFAULT_PAGE_SIZE = 20;
export const MAX_PAGE_SIZE = 100;

/** A list that can be paged through. */
export interface Listing<T> {
  /** Part of its cursors, so that those of another list, or of another order, are refused. */
  name: string;
  descending: boolean;
  isValue(value: string): boolean;
  positionOf(row: T): Position;
}

export interface ConnectionArgs {
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
}

export interface Connection<T> {
  edges: { cursor: string; node: T }[];
  pageInfo: {
    hasNextPage: boolean;
    hasPreviousPage: boolean;
    startCursor: string | null;
    endCursor: string | null;
  };
}

/** An argument of a list that is wrong, with a message for the caller. */
export class BadPageError extends Error {}

/** Reads one page. Throws `BadPageError` before anything is read. */
export async function readConnection<T>(
  listing: Listing<T>,
  args: ConnectionArgs,
  read: (window: Window) => Promise<T[]>,
): Promise<Connection<T>> {
  const window = windowOf(listing, args);
  const size = window.limit - 1;
  const rows = await read(window);
  const more = rows.length > size;
  const page = rows.slice(0, size);
  if (window.fromEnd) page.reverse();
  const edges = page.map((node) => ({ node, cursor: encodeCursor(listing, listing.positionOf(node)) }));
  return {
    edges,
    pageInfo: {
      hasNextPage: window.fromEnd ? window.before !== null : more,
      hasPreviousPage: window.fromEnd ? more : window.after !== null,
      startCursor: edges.at(0)?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

/** One row more than the page holds, which tells whether there is another page. */
function windowOf<T>(listing: Listing<T>, args: ConnectionArgs): Window {
  const first = args.first ?? null;
  const last = args.last ?? null;
  if (first !== null && last !== null) throw new BadPageError('Give first or last, not both.');
  for (const [name, value] of [
    ['first', first],
    ['last', last],
  ] as const) {
    if (value !== null && (value < 1 || value > MAX_PAGE_SIZE)) {
      throw new BadPageError(`${name} must be from 1 to ${MAX_PAGE_SIZE}; it was ${value}.`);
    }
  }
  const after = args.after == null ? null : decodeCursor(listing, args.after, 'after');
  const before = args.before == null ? null : decodeCursor(listing, args.before, 'before');
  return {
    descending: listing.descending,
    after,
    before,
    limit: (first ?? last ?? DEFAULT_PAGE_SIZE) + 1,
    fromEnd: last !== null || (first === null && after === null && before !== null),
  };
}

const cursorShape = z.tuple([z.string(), z.string().max(100), z.string()]);

function encodeCursor<T>(listing: Listing<T>, { value, id }: Position): string {
  return Buffer.from(JSON.stringify([tagOf(listing), value, id])).toString('base64url');
}

function decodeCursor<T>(listing: Listing<T>, cursor: string, argument: string): Position {
  const parsed = cursorShape.safeParse(jsonOrNull(Buffer.from(cursor, 'base64url').toString('utf8')));
  const [tag, value, id] = parsed.data ?? ['', '', ''];
  // Exactly what we would have made of it: another spelling of the same bytes is none of ours.
  const ours =
    tag === tagOf(listing) &&
    isUuid(id) &&
    listing.isValue(value) &&
    encodeCursor(listing, { value, id }) === cursor;
  if (!ours) {
    throw new BadPageError(
      `${argument} is no cursor of this list; use one that the same list gave in the same order.`,
    );
  }
  return { value, id };
}

function tagOf<T>({ name, descending }: Listing<T>): string {
  return `${name}:${descending ? 'desc' : 'asc'}`;
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** As the database writes a moment: to the microsecond, in the time zone of its sessions. */
export function isInstant(value: string): boolean {
  const [, local] =
    /^((?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,6})?[+-](?:0\d|1[0-5]):[0-5]\d$/.exec(value) ?? [];
  if (local === undefined) return false;
  const time = Date.parse(`${local}Z`);
  // Date.parse takes the 30th of February for the 2nd of March.
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(local);
}

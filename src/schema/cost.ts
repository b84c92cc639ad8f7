import { DEFAULT_PAGE_SIZE } from '../services/reads/connection.ts';

/** What fields cost. The server refuses an operation that costs too much before anything of it runs (src/server/edge.ts). */

/** A save: it takes turns at Vapi, a lock, and rows in the journal. Dear, so that few fit into one operation. */
export const SAVE_COST = 6_000;

/** A field that may send a request to the database. */
export const READ_COST = 100;

/** A prompt: as long as a hundred other fields, and it may be asked for with every row of a page. */
export const PROMPT_COST = 100;
/** What was said in a call, or what spoke: read for all calls of a page together. */
export const CONTENT_COST = 20;
/** A value of either side that differs: it may be a prompt, but not in each of the ten that a list counts as. */
export const DRIFT_COST = 10;
/** Agents of an organization: one per role. */
export const AGENTS_COST = { field: 1, multiplier: 2 };

/** Everything else: a page is one read, any other field 1, and what is asked of each row times the rows of the page. Plain lists count as ten. */
export function fieldCost(
  args: Record<string, unknown>,
  _context: unknown,
  field: { name: string; args: readonly { name: string }[] },
): number | { field: number; multiplier: number } {
  if (field.args.some(({ name }) => name === 'first')) {
    const rows = args['first'] ?? args['last'] ?? DEFAULT_PAGE_SIZE;
    return { field: READ_COST, multiplier: typeof rows === 'number' ? rows : DEFAULT_PAGE_SIZE };
  }
  // The page has been counted at its connection.
  return field.name === 'edges' || field.name === 'nodes' ? { field: 1, multiplier: 1 } : 1;
}

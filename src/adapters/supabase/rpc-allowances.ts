import { z } from 'zod';
import type { ServiceClient } from './clients.ts';
import { parsed } from './rpc-journal.ts';

/** What an organization may have. */
interface Allowance {
  numbers: number;
  documents: number;
  bytes: number;
}

const answer = z.object({ numbers: z.number(), documents: z.number(), bytes: z.number() }).nullable();

/**
 * `set_allowance` of supabase/migrations: what is absent stays as it is. Returns what the organization may have now; null: there is no
 * such organization. Throws `DatabaseError`.
 */
export function setAllowance(
  supabase: ServiceClient,
  orgId: string,
  { numbers, documents, bytes }: { [Name in keyof Allowance]?: number | undefined },
): Promise<Allowance | null> {
  // The generated type knows no null for an argument; the function does.
  const value = (given: number | undefined) => (given ?? null) as number;
  return parsed(
    answer,
    supabase.rpc('set_allowance', {
      ...{ p_org_id: orgId, p_numbers: value(numbers) },
      ...{ p_documents: value(documents), p_bytes: value(bytes) },
    }),
  );
}

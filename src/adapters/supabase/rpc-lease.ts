import { z } from 'zod';
import type { Lease } from '../../ports/lease.ts';
import type { ServiceClient } from './clients.ts';
import { parsed } from './rpc-journal.ts';

/** The lease of this name: two functions of supabase/migrations, one `rpc` each. */
export function leaseOf(supabase: ServiceClient, name: string): Lease {
  return {
    takeLease: (owner, ms) =>
      parsed(z.number(), supabase.rpc('lease_take', { p_name: name, p_owner: owner, p_ms: ms })),
    releaseLease: async (owner) => {
      await parsed(z.unknown(), supabase.rpc('lease_release', { p_name: name, p_owner: owner }));
    },
  };
}

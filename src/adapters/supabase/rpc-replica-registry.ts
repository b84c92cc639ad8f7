import { z } from 'zod';
import type { ReplicaRegistry } from '../../ports/admission.ts';
import { DatabaseError } from '../../ports/agents/save-journal.ts';
import type { ServiceClient } from './clients.ts';
import { databaseError } from './rpc-journal.ts';

const beat = z.object({
  replicas: z.number(),
  known: z.boolean(),
  now: z.number(),
  sweptAt: z.string().nullable(),
});

/** `replica_beat` of supabase/migrations over supabase-js. */
export function createRpcReplicaRegistry(supabase: ServiceClient): ReplicaRegistry {
  return {
    beat: async (replica, ttlMs) => {
      const { data, error, status } = await supabase.rpc('replica_beat', {
        p_replica: replica,
        p_ttl_ms: ttlMs,
      });
      if (error !== null) throw databaseError(error, status);
      const parsed = beat.safeParse(data);
      if (!parsed.success) throw new DatabaseError('UNREADABLE_ANSWER', true);
      return parsed.data;
    },
  };
}

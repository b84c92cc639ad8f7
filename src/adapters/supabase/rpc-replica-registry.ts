import type { Beat, ReplicaRegistry } from '../../ports/admission.ts';
import type { ServiceClient } from './clients.ts';
import { databaseError } from './rpc-journal.ts';

/** `replica_beat` of supabase/migrations over supabase-js. */
export function createRpcReplicaRegistry(supabase: ServiceClient): ReplicaRegistry {
  return {
    beat: async (replica, ttlMs) => {
      const { data, error, status } = await supabase.rpc('replica_beat', {
        p_replica: replica,
        p_ttl_ms: ttlMs,
      });
      if (error !== null) throw databaseError(error, status);
      return data as unknown as Beat;
    },
  };
}

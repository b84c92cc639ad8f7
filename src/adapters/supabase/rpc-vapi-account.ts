import { DatabaseError } from '../../ports/agents/save-journal.ts';
import type { ServiceClient } from './clients.ts';
import { databaseError } from './rpc-journal.ts';

/**
 * `vapi_account` of supabase/migrations over supabase-js: the Vapi organization that this database belongs to, which is the one that
 * was seen first. Null: the database does not answer.
 */
export function createRpcVapiAccount(supabase: ServiceClient): (seen: string) => Promise<string | null> {
  return async (seen) => {
    const { data, error, status } = await supabase.rpc('vapi_account', { p_seen: seen });
    if (error === null) return data;
    const failure = databaseError(error, status);
    if (failure instanceof DatabaseError) return null;
    throw failure;
  };
}

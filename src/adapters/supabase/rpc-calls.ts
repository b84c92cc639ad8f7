import { z } from 'zod';
import { CALL_WALKS, type CallStore, type CallWalkStore } from '../../ports/calls/call-store.ts';
import type { ServiceClient } from './clients.ts';
import type { Json } from './database.types.ts';
import { inBatches, parsed } from './rpc-journal.ts';
import { leaseOf } from './rpc-lease.ts';

const observed = z.array(
  z.discriminatedUnion('state', [
    z.object({
      state: z.literal('SHOWN'),
      isNew: z.boolean(),
      orgId: z.string(),
      callId: z.string(),
      customerNumber: z.string().nullable(),
    }),
    z.object({ state: z.enum(['HELD', 'FOREIGN', 'WITHDRAWN']), isNew: z.boolean() }),
    z.object({ state: z.literal('REFUSED'), error: z.string() }),
  ]),
);
const taken = z.object({ due: z.array(z.string()), alone: z.array(z.string()), quarantined: z.number() });
const count = z.number();
const ends = z.partialRecord(
  z.enum(['SHOWN', 'HELD', 'FOREIGN', 'WITHDRAWN', 'FAILED', 'QUARANTINED']),
  count,
);
const quarantined = z.array(
  z.object({
    id: z.string(),
    receivedAt: z.string(),
    kind: z.string(),
    vapiCallId: z.string(),
    attempts: count,
    error: z.string().nullable(),
  }),
);
const waiting = z.object({
  pending: count,
  oldestMs: count,
  quarantined: count,
  held: count,
  heldOldestMs: count,
});

const time = z.string().nullable();
const walks = z.record(z.enum(CALL_WALKS), z.object({ walkedAt: time, completeThrough: time }));
const ledger = z.object({ completeThrough: time, expected: count, stored: count });

/** What Vapi reports about calls: the functions of supabase/migrations, one `rpc` each. */
export function createCallStore(supabase: ServiceClient): CallStore {
  return {
    storeEvent: async (kind, { vapiCallId, facts, content }) => {
      const event = {
        p_kind: kind,
        p_vapi_call_id: vapiCallId,
        p_facts: facts as unknown as Json,
        p_content: content,
      };
      await parsed(z.unknown(), supabase.rpc('call_event_store', event));
    },
    takeEvents: (limit) => parsed(taken, supabase.rpc('call_events_take', { p_limit: limit })),
    applyEvents: (ids) => parsed(ends, supabase.rpc('call_events_apply', { p_ids: [...ids] })),
    observe: (observations) =>
      inBatches(observations, (some) =>
        parsed(observed, supabase.rpc('observe_calls', { p_observations: some as unknown as Json })),
      ),
    claim: (limit) => parsed(count, supabase.rpc('calls_claim', { p_limit: limit })),
    giveUp: (limit) => parsed(count, supabase.rpc('calls_give_up', { p_limit: limit })),
    quarantined: (limit) => parsed(quarantined, supabase.rpc('call_events_quarantined', { p_limit: limit })),
    // The generated type knows no null for an argument; the function does.
    retryQuarantined: (ids) =>
      parsed(
        count,
        supabase.rpc('call_events_retry', { p_ids: (ids === null ? null : [...ids]) as string[] }),
      ),
    waiting: () => parsed(waiting, supabase.rpc('calls_waiting')),
    ledger: (orgId, from, to) =>
      parsed(
        ledger,
        supabase.rpc('call_ledger', { p_org_id: orgId, p_from: from as string, p_to: to as string }),
      ),
  };
}

/** What the walks over Vapi's list of calls ask and note, one `rpc` each. */
export function createCallWalkStore(supabase: ServiceClient): CallWalkStore {
  return {
    ...leaseOf(supabase, 'walk calls'),
    observe: createCallStore(supabase).observe,
    walks: () => parsed(walks, supabase.rpc('call_walks_state')),
    walkDone: (name, previous, walkedAt, lagMs) =>
      parsed(
        time,
        supabase.rpc('call_walk_done', {
          ...{ p_name: name, p_previous: previous as string, p_walked_at: walkedAt, p_lag_ms: lagMs },
        }),
      ),
    walkBack: async (changedAt) => {
      await parsed(z.unknown(), supabase.rpc('call_walk_back', { p_changed_at: changedAt }));
    },
  };
}

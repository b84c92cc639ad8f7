import { z } from 'zod';
import type { JsonObject } from '../../domain/json.ts';
import type { RenderStore } from '../../ports/agents/render-store.ts';
import type { SweepStore } from '../../ports/agents/sweep-store.ts';
import {
  ids,
  object,
  staleAgentsAnswer,
  sweepListedAnswer,
  sweepLookupAnswer,
  sweepPageAnswer,
} from './answers.ts';
import type { ServiceClient } from './clients.ts';
import type { Json } from './database.types.ts';
import { inBatches, parsed } from './rpc-journal.ts';
import { leaseOf } from './rpc-lease.ts';

/** The sweep's functions of supabase/migrations over supabase-js: one `rpc` each, no logic. */
export function createRpcSweepStore(supabase: ServiceClient): SweepStore {
  return {
    ...leaseOf(supabase, 'sweep'),
    lookup: async (assistantIds) =>
      assistantIds.length === 0
        ? []
        : parsed(sweepLookupAnswer, supabase.rpc('sweep_lookup', { p_assistant_ids: assistantIds })),
    listed: async (assistantIds) =>
      assistantIds.length === 0
        ? []
        : parsed(sweepListedAnswer, supabase.rpc('sweep_listed', { p_assistant_ids: assistantIds })),
    page: async (after, limit) => {
      // The generated type knows no null for an argument; the function does.
      const rows = await parsed(
        sweepPageAnswer,
        supabase.rpc('sweep_page', { p_after: after as string, p_limit: limit }),
      );
      return rows.map((row) => ({
        orgId: row.org_id,
        agentId: row.agent_id,
        assistantId: row.assistant_id,
        revision: row.revision,
        saveId: row.save_id,
        missing: row.missing,
      }));
    },
    note: (notes) => inBatches(notes, (some) => parsed(ids, supabase.rpc('sweep_note', { p_notes: some }))),
    done: (agoMs) => parsed(z.string(), supabase.rpc('sweep_done', { p_ago_ms: Math.ceil(agoMs) })),
    orphans: (candidates, ageMs) =>
      parsed(
        ids,
        supabase.rpc('sweep_orphans', { p_candidates: candidates as unknown as Json, p_age_ms: ageMs }),
      ),
    setDriftPolicy: (orgId, policy) =>
      parsed(z.boolean(), supabase.rpc('set_drift_policy', { p_org_id: orgId, p_policy: policy })),
    cleanup: (limit, keepDays) =>
      parsed(z.number(), supabase.rpc('saga_cleanup', { p_limit: limit, p_keep_days: keepDays })),
  };
}

/** The functions that find agents to be rendered anew. */
export function createRpcRenderStore(supabase: ServiceClient): RenderStore {
  return {
    ...leaseOf(supabase, 'render'),
    setEventServer: (server) =>
      parsed(
        z.boolean(),
        supabase.rpc('set_event_server', {
          // The generated type knows no null for an argument; the function does.
          p_url: (server?.url ?? null) as string,
          p_credential_id: (server?.credentialId ?? null) as string,
        }),
      ),
    eventContext: () => parsed(object<JsonObject>(), supabase.rpc('event_context')),
    stale: (mappingVersion, after, limit) =>
      parsed(
        staleAgentsAnswer,
        supabase.rpc('agents_stale', {
          p_mapping_version: mappingVersion,
          p_after: after as string,
          p_limit: limit,
        }),
      ),
  };
}

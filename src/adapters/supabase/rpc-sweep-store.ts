import { z } from 'zod';
import type { RenderStore } from '../../ports/agents/render-store.ts';
import type { SweepStore } from '../../ports/agents/sweep-store.ts';
import { ids, staleAgentsAnswer, sweepListedAnswer, sweepLookupAnswer, sweepPageAnswer } from './answers.ts';
import type { ServiceClient } from './clients.ts';
import type { Json } from './database.types.ts';
import { parsed } from './rpc-journal.ts';

/** A call locks the organizations of its notes until it commits, and their saves wait that long. */
const NOTES_AT_ONCE = 20;

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
    note: async (notes) => {
      const noted: string[] = [];
      for (let from = 0; from < notes.length; from += NOTES_AT_ONCE) {
        const some = notes.slice(from, from + NOTES_AT_ONCE);
        noted.push(...(await parsed(ids, supabase.rpc('sweep_note', { p_notes: some as unknown as Json }))));
      }
      return noted;
    },
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

/** A lease by its name. */
export function leaseOf(
  supabase: ServiceClient,
  name: string,
): Pick<SweepStore, 'takeLease' | 'releaseLease'> {
  return {
    takeLease: (owner, ms) =>
      parsed(z.number(), supabase.rpc('lease_take', { p_name: name, p_owner: owner, p_ms: ms })),
    releaseLease: async (owner) => {
      await parsed(z.unknown(), supabase.rpc('lease_release', { p_name: name, p_owner: owner }));
    },
  };
}

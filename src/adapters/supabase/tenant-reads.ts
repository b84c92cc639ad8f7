import type { AgentConfig, AgentConfigPatch, AgentRole } from '../../domain/agent-config.ts';
import type {
  AgentRecord,
  FieldDrift,
  SaveFailure,
  SaveKind,
  SaveRecord,
  SaveStatus,
  TransactionResult,
} from '../../domain/save.ts';
import type { TenantReads } from '../../ports/tenant-reads.ts';
import type { CallerClient } from './clients.ts';
import type { Database } from './database.types.ts';
import { databaseError } from './rpc-journal.ts';

type Rows = Database['public']['Tables'];

const OPEN: SaveStatus[] = ['APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION'];

/** Reads through the caller's own client. No filter by organization stands here: row-level security alone decides. */
export function createTenantReads(supabase: CallerClient): TenantReads {
  return {
    organization: async () => {
      const { data, error, status } = await supabase.from('organizations').select('id, name').maybeSingle();
      if (error !== null) throw databaseError(error, status);
      return data;
    },
    agents: async () => {
      const { data, error, status } = await supabase.from('agents').select().order('role');
      if (error !== null) throw databaseError(error, status);
      return data.map(agentOf);
    },
    save: async (id) => {
      const { data, error, status } = await supabase.from('agent_saves').select().eq('id', id).maybeSingle();
      if (error !== null) throw databaseError(error, status);
      return data === null ? null : saveOf(data);
    },
    openSave: async () => {
      const { data, error, status } = await supabase
        .from('agent_saves')
        .select()
        .in('status', OPEN)
        .maybeSingle();
      if (error !== null) throw databaseError(error, status);
      if (data === null) return null;
      const save = saveOf(data);
      return { save, roles: save.results.map((result) => result.role) };
    },
  };
}

/** The database's checks hold what these casts say. */
function agentOf(row: Rows['agents']['Row']): AgentRecord {
  return {
    id: row.id,
    role: row.role as AgentRole,
    config: row.config as unknown as AgentConfig,
    assistantId: row.vapi_assistant_id,
    revision: row.revision,
    lastSyncedAt: row.last_synced_at,
    checkedAt: row.checked_at,
    drift: row.drift as unknown as FieldDrift[],
    missing: row.missing_since !== null,
    adoptable: row.adoptable as AgentConfigPatch | null,
  };
}

function saveOf(row: Rows['agent_saves']['Row']): SaveRecord {
  return {
    id: row.id,
    status: row.status as SaveStatus,
    epoch: row.epoch,
    kind: row.kind as SaveKind,
    ambiguous: row.ambiguous,
    mappingVersion: row.mapping_version,
    results: row.results as unknown as TransactionResult[],
    failure: row.failure as unknown as SaveFailure | null,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
  };
}

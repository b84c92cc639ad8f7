import type { PostgrestError } from '@supabase/supabase-js';
import { type AgentConfigPatch, type AgentRole, upcast } from '../../domain/agents/agent-config.ts';
import {
  AGENTS,
  type AgentRecord,
  type FieldDrift,
  type SaveFailure,
  type SaveKind,
  type SaveRecord,
  type SaveStatus,
  type TransactionResult,
} from '../../domain/agents/save.ts';
import type { AppointmentRecord, AppointmentStatus } from '../../domain/appointments/appointment.ts';
import type {
  CallChannel,
  CallContent,
  CallDirection,
  CallOutcome,
  CallProgress,
  CallRecord,
  CallUsage,
} from '../../domain/calls/call.ts';
import type { DocumentRecord, DocumentState } from '../../domain/knowledge-base/document.ts';
import type { PhoneNumberRecord, PhoneNumberState } from '../../domain/phone-numbers/phone-number.ts';
import type { DriftPolicy } from '../../ports/agents/sweep-store.ts';
import { RefusedTokenError } from '../../ports/auth.ts';
import type { TenantReads, Window } from '../../ports/tenant-reads.ts';
import type { CallerClient } from './clients.ts';
import type { Database, Json } from './database.types.ts';
import { databaseError } from './rpc-journal.ts';

type Rows = Database['public']['Tables'];
/** Of the view agent_saves. The generator takes every column of a view for one that may be null. */
type SaveRow = Pick<
  Rows['sagas']['Row'],
  | 'id'
  | 'status'
  | 'epoch'
  | 'kind'
  | 'ambiguous'
  | 'mapping_version'
  | 'results'
  | 'failure'
  | 'started_at'
  | 'finished_at'
>;

const OPEN: SaveStatus[] = ['APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION'];

/** Reads through the caller's own client. No filter by organization stands here: row-level security alone decides. */
export function createTenantReads(
  supabase: CallerClient,
  /** When the last complete sweep began; null: there was none. */
  sweptAt: () => string | null = () => null,
): TenantReads {
  /** `list_page` of supabase/migrations, which runs with the caller's rights. */
  async function list<Name extends keyof Rows>(
    name: Name,
    filter: object,
    { descending, after, before, limit, fromEnd }: Window,
  ): Promise<Rows[Name]['Row'][]> {
    const [above, below] = descending ? [before, after] : [after, before];
    const page = { ascending: descending === fromEnd, limit, above, below };
    const request = supabase.rpc('list_page', {
      p_list: name as string,
      p_filter: filter as Json,
      p_window: page as unknown as Json,
    });
    return (await rowsOf(request)) as unknown as Rows[Name]['Row'][];
  }

  return {
    organization: async () => {
      const { data, error, status } = await supabase
        .from('organizations')
        .select('id, name, drift_policy')
        .maybeSingle();
      if (error !== null) throw readError(error, status);
      if (data === null) return null;
      return { id: data.id, name: data.name, driftPolicy: data.drift_policy as DriftPolicy };
    },
    agents: async () => {
      const { data, error, status } = await supabase.from('agents').select().order('role');
      if (error !== null) throw readError(error, status);
      return data.map((row) => agentOf(row, sweptAt()));
    },
    save: async (id) => {
      const { data, error, status } = await supabase.from('agent_saves').select().eq('id', id).maybeSingle();
      if (error !== null) throw readError(error, status);
      return data === null ? null : saveOf(data as SaveRow);
    },
    operation: async (id) => {
      const { data, error, status } = await supabase
        .from('sagas')
        .select('id, kind, status, started_at, finished_at')
        .eq('id', id)
        .maybeSingle();
      if (error !== null) throw readError(error, status);
      if (data === null) return null;
      return {
        operation: {
          id: data.id,
          status: data.status as SaveStatus,
          startedAt: data.started_at,
          finishedAt: data.finished_at,
        },
        isSave: data.kind === AGENTS,
      };
    },
    openSave: async () => {
      const { data, error, status } = await supabase
        .from('agent_saves')
        .select()
        .in('status', OPEN)
        .maybeSingle();
      if (error !== null) throw readError(error, status);
      if (data === null) return null;
      const save = saveOf(data as SaveRow);
      return { save, roles: save.results.map((result) => result.role) };
    },
    phoneNumbers: async ({ agentId, attached, states }, window) => {
      const filter = { agentId, attached, values: states };
      return (await list<'phone_numbers'>('phone_numbers', filter, window)).map(phoneNumberOf);
    },
    documents: async ({ states }, window) =>
      (await list<'knowledge_base_documents'>('knowledge_base_documents', { values: states }, window)).map(
        documentOf,
      ),
    calls: async ({ agentId, phoneNumberId, direction, outcomes, startedFrom, startedBefore }, window) => {
      const bounds = { from: startedFrom, before: startedBefore };
      const filter = { agentId, phoneNumberId, direction, values: outcomes, ...bounds };
      return (await list<'call_logs'>('call_logs', filter, window)).map(callOf);
    },
    appointments: async ({ callId, statuses, startsFrom, startsBefore }, window) => {
      const filter = { callId, values: statuses, from: startsFrom, before: startsBefore };
      return (await list<'appointments'>('appointments', filter, window)).map(appointmentOf);
    },
    callUsage: async (from, to, by, zone) => {
      const { data, error, status } = await supabase.rpc('call_usage', {
        ...{ p_from: from, p_to: to, p_by: by, p_zone: zone },
      });
      if (error !== null) throw readError(error, status);
      return (data as unknown as CallUsage[]).map((usage) => ({ ...usage, costUsd: Number(usage.costUsd) }));
    },
    phoneNumbersById: async (ids) =>
      (await rowsOf(supabase.from('phone_numbers').select().in('id', ids))).map(phoneNumberOf),
    documentsById: async (ids) =>
      (await rowsOf(supabase.from('knowledge_base_documents').select().in('id', ids))).map(documentOf),
    callsById: async (ids) => (await rowsOf(supabase.from('call_logs').select().in('id', ids))).map(callOf),
    callContentsById: async (ids) =>
      (await rowsOf(supabase.from('call_contents').select().in('call_id', ids))).map((row) => ({
        id: row.call_id,
        transcript: row.transcript as unknown as CallContent['transcript'],
        analysis: row.analysis as unknown as CallContent['analysis'],
      })),
    savesById: async (ids) =>
      (await rowsOf(supabase.from('agent_saves').select().in('id', ids))).map((row) =>
        saveOf(row as SaveRow),
      ),
    appointmentsById: async (ids) =>
      (await rowsOf(supabase.from('appointments').select().in('id', ids))).map(appointmentOf),
  };
}

/** PostgREST's words for a token that it does not take; it has been checked here, so most likely it has expired since. */
const TOKEN_REFUSED = new Set(['PGRST301', 'PGRST303']);

function readError(error: PostgrestError, status: number): Error {
  return status === 401 && TOKEN_REFUSED.has(error.code)
    ? new RefusedTokenError(false)
    : databaseError(error, status, 'SUPABASE_PUBLISHABLE_KEY');
}

interface Answer<Row> {
  data: Row[] | null;
  error: PostgrestError | null;
  status: number;
}

async function rowsOf<Row>(request: PromiseLike<Answer<Row>>): Promise<Row[]> {
  const { data, error, status } = await request;
  if (error !== null) throw readError(error, status);
  return data ?? [];
}

/** The database's checks hold what these casts say. */
function agentOf(row: Rows['agents']['Row'], sweptAt: string | null): AgentRecord {
  const role = row.role as AgentRole;
  return {
    id: row.id,
    role,
    config: upcast(role, row.config as object),
    assistantId: row.vapi_assistant_id,
    revision: row.revision,
    lastSyncedAt: row.last_synced_at,
    checkedAt: checkedAt(row, sweptAt),
    drift: row.drift as unknown as FieldDrift[],
    missing: row.missing_since !== null,
    adoptable: row.adoptable as AgentConfigPatch | null,
  };
}

/** A sweep writes only to agents of which it has news; for all others its own time counts. */
function checkedAt(row: Rows['agents']['Row'], sweptAt: string | null): string {
  if (sweptAt === null || row.unconfirmed) return row.checked_at;
  return Date.parse(sweptAt) > Date.parse(row.checked_at) ? sweptAt : row.checked_at;
}

function saveOf(row: SaveRow): SaveRecord {
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

function phoneNumberOf(row: Rows['phone_numbers']['Row']): PhoneNumberRecord {
  return {
    id: row.id,
    number: row.number,
    label: row.label,
    provider: row.provider,
    state: row.state as PhoneNumberState,
    failure: row.failure,
    agentId: row.agent_id,
    createdAt: row.created_at,
  };
}

function documentOf(row: Rows['knowledge_base_documents']['Row']): DocumentRecord {
  return {
    id: row.id,
    name: row.name,
    contentType: row.content_type,
    sizeBytes: row.size_bytes,
    state: row.state as DocumentState,
    failure: row.failure,
    createdAt: row.created_at,
  };
}

function callOf(row: Rows['call_logs']['Row']): CallRecord {
  return {
    id: row.id,
    vapiCallId: row.vapi_call_id,
    agentId: row.agent_id,
    phoneNumberId: row.phone_number_id,
    direction: row.direction as CallDirection,
    channel: row.channel as CallChannel,
    progress: row.progress as CallProgress,
    customerNumber: row.customer_number,
    customerName: row.customer_name,
    createdAt: row.created_at,
    startedAt: row.started_at,
    listedAt: row.listed_at,
    endedAt: row.ended_at,
    outcome: row.outcome as CallOutcome | null,
    endedReason: row.ended_reason,
    summary: row.summary,
    // The embedded Supabase writes numeric as text.
    costUsd: row.cost_usd === null ? null : Number(row.cost_usd),
    costParts: (row.cost_parts ?? {}) as Record<string, number>,
    agentSaveId: row.agent_save_id,
    stampedRevision: row.stamped_revision,
    contentRemovedAt: row.content_removed_at,
  };
}

function appointmentOf(row: Rows['appointments']['Row']): AppointmentRecord {
  return {
    id: row.id,
    callId: row.call_id,
    customerName: row.customer_name,
    customerNumber: row.customer_number,
    startsAt: row.starts_at,
    endsAt: row.ends_at,
    status: row.status as AppointmentStatus,
    notes: row.notes,
    createdAt: row.created_at,
  };
}

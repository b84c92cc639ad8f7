import type { PostgrestError } from '@supabase/supabase-js';
import type { AgentConfig, AgentConfigPatch, AgentRole } from '../../domain/agents/agent-config.ts';
import type {
  AgentRecord,
  FieldDrift,
  SaveFailure,
  SaveKind,
  SaveRecord,
  SaveStatus,
  TransactionResult,
} from '../../domain/agents/save.ts';
import type { AppointmentRecord, AppointmentStatus } from '../../domain/appointments/appointment.ts';
import type { CallDirection, CallOutcome, CallRecord } from '../../domain/calls/call.ts';
import type { DocumentRecord, DocumentState } from '../../domain/knowledge-base/document.ts';
import type { PhoneNumberRecord } from '../../domain/phone-numbers/phone-number.ts';
import type { DriftPolicy } from '../../ports/agents/sweep-store.ts';
import { RefusedTokenError } from '../../ports/auth.ts';
import type { Position, TenantReads, Window } from '../../ports/tenant-reads.ts';
import type { CallerClient } from './clients.ts';
import type { Database } from './database.types.ts';
import { databaseError } from './rpc-journal.ts';

type Rows = Database['public']['Tables'];

const OPEN: SaveStatus[] = ['APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION'];

/** Reads through the caller's own client. No filter by organization stands here: row-level security alone decides. */
export function createTenantReads(supabase: CallerClient): TenantReads {
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
      return data.map(agentOf);
    },
    save: async (id) => {
      const { data, error, status } = await supabase.from('agent_saves').select().eq('id', id).maybeSingle();
      if (error !== null) throw readError(error, status);
      return data === null ? null : saveOf(data);
    },
    openSave: async () => {
      const { data, error, status } = await supabase
        .from('agent_saves')
        .select()
        .in('status', OPEN)
        .maybeSingle();
      if (error !== null) throw readError(error, status);
      if (data === null) return null;
      const save = saveOf(data);
      return { save, roles: save.results.map((result) => result.role) };
    },
    phoneNumbers: async (filter, window) => {
      let query = supabase.from('phone_numbers').select();
      if (filter.agentId != null) query = query.eq('agent_id', filter.agentId);
      if (filter.attached != null) {
        query = filter.attached ? query.not('agent_id', 'is', null) : query.is('agent_id', null);
      }
      return (await rowsOf(within(query, 'number', window))).map(phoneNumberOf);
    },
    documents: async (filter, window) => {
      let query = supabase.from('knowledge_base_documents').select();
      if (filter.states != null) query = query.in('state', filter.states);
      return (await rowsOf(within(query, 'created_at', window))).map(documentOf);
    },
    calls: async (filter, window) => {
      let query = supabase.from('call_logs').select();
      if (filter.agentId != null) query = query.eq('agent_id', filter.agentId);
      if (filter.phoneNumberId != null) query = query.eq('phone_number_id', filter.phoneNumberId);
      if (filter.direction != null) query = query.eq('direction', filter.direction);
      if (filter.outcomes != null) query = query.in('outcome', filter.outcomes);
      if (filter.startedFrom != null) query = query.gte('started_at', filter.startedFrom);
      if (filter.startedBefore != null) query = query.lt('started_at', filter.startedBefore);
      return (await rowsOf(within(query, 'started_at', window))).map(callOf);
    },
    appointments: async (filter, window) => {
      let query = supabase.from('appointments').select();
      if (filter.callId != null) query = query.eq('call_id', filter.callId);
      if (filter.statuses != null) query = query.in('status', filter.statuses);
      if (filter.startsFrom != null) query = query.gte('starts_at', filter.startsFrom);
      if (filter.startsBefore != null) query = query.lt('starts_at', filter.startsBefore);
      return (await rowsOf(within(query, 'starts_at', window))).map(appointmentOf);
    },
    phoneNumbersById: async (ids) =>
      (await rowsOf(supabase.from('phone_numbers').select().in('id', ids))).map(phoneNumberOf),
    documentsById: async (ids) =>
      (await rowsOf(supabase.from('knowledge_base_documents').select().in('id', ids))).map(documentOf),
    callsById: async (ids) => (await rowsOf(supabase.from('call_logs').select().in('id', ids))).map(callOf),
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

interface Ordered {
  or(filters: string): this;
  order(column: string, options: { ascending: boolean }): this;
  limit(count: number): this;
}

/** Keyset paging by `column` and id. */
function within<Query extends Ordered>(query: Query, column: string, window: Window): Query {
  const { descending, after, before, limit, fromEnd } = window;
  const bounds = [
    ...(after === null ? [] : [beyond(column, after, descending ? 'lt' : 'gt')]),
    ...(before === null ? [] : [beyond(column, before, descending ? 'gt' : 'lt')]),
  ];
  // In one parameter: the embedded Supabase heeds only one `or`.
  const bounded = bounds.length === 0 ? query : query.or(`and(${bounds.join(',')})`);
  const ascending = descending === fromEnd;
  return bounded.order(column, { ascending }).order('id', { ascending }).limit(limit);
}

/** PostgREST has no row comparison. The first condition says nothing new, but gives the index a range to begin in. */
function beyond(column: string, { value, id }: Position, side: 'lt' | 'gt'): string {
  const at = `"${value}"`;
  return `${column}.${side}e.${at},or(${column}.${side}.${at},and(${column}.eq.${at},id.${side}.${id}))`;
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

function phoneNumberOf(row: Rows['phone_numbers']['Row']): PhoneNumberRecord {
  return {
    id: row.id,
    number: row.number,
    label: row.label,
    provider: row.provider,
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
    agentId: row.agent_id,
    phoneNumberId: row.phone_number_id,
    direction: row.direction as CallDirection,
    customerNumber: row.customer_number,
    customerName: row.customer_name,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    outcome: row.outcome as CallOutcome | null,
    endedReason: row.ended_reason,
    summary: row.summary,
    // The embedded Supabase writes numeric as text.
    costUsd: row.cost_usd === null ? null : Number(row.cost_usd),
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

// Generated from the live schema by `npm run types`; do not edit.
export type Json =
  | string
  | number
  | boolean
  | null
  | { [key: string]: Json | undefined }
  | Json[]

export type Database = {
  public: {
    Tables: {
      agent_revisions: {
        Row: {
          agent_id: string
          config: NonNullable<Json>
          created_at: string
          org_id: string
          revision: number
          role: string
          save_id: string
          vapi_assistant_id: string
        }
        Insert: {
          agent_id: string
          config: NonNullable<Json>
          created_at: string
          org_id: string
          revision: number
          role: string
          save_id: string
          vapi_assistant_id: string
        }
        Update: {
          agent_id?: string
          config?: NonNullable<Json>
          created_at?: string
          org_id?: string
          revision?: number
          role?: string
          save_id?: string
          vapi_assistant_id?: string
        }
        Relationships: [
          {
            foreignKeyName: "agent_revisions_agent_id_fkey"
            columns: ["agent_id"]
            referencedRelation: "agents"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "agent_revisions_org_id_fkey"
            columns: ["org_id"]
            referencedRelation: "organizations"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "agent_revisions_save_id_fkey"
            columns: ["save_id"]
            referencedRelation: "agent_saves"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "agent_revisions_save_id_fkey"
            columns: ["save_id"]
            referencedRelation: "sagas"
            referencedColumns: ["id"]
          },
        ]
      }
      agents: {
        Row: {
          adoptable: Json | null
          checked_at: string
          config: NonNullable<Json>
          context: NonNullable<Json>
          created_at: string
          drift: NonNullable<Json>
          id: string
          last_save_id: string
          last_synced_at: string
          mapping_version: number
          missing_since: string | null
          org_id: string
          revision: number
          role: string
          unconfirmed: boolean
          vapi_assistant_id: string
        }
        Insert: {
          adoptable?: Json | null
          checked_at: string
          config: NonNullable<Json>
          context?: NonNullable<Json>
          created_at?: string
          drift?: NonNullable<Json>
          id: string
          last_save_id: string
          last_synced_at: string
          mapping_version: number
          missing_since?: string | null
          org_id: string
          revision: number
          role: string
          unconfirmed?: boolean
          vapi_assistant_id: string
        }
        Update: {
          adoptable?: Json | null
          checked_at?: string
          config?: NonNullable<Json>
          context?: NonNullable<Json>
          created_at?: string
          drift?: NonNullable<Json>
          id?: string
          last_save_id?: string
          last_synced_at?: string
          mapping_version?: number
          missing_since?: string | null
          org_id?: string
          revision?: number
          role?: string
          unconfirmed?: boolean
          vapi_assistant_id?: string
        }
        Relationships: [
          {
            foreignKeyName: "agents_org_id_fkey"
            columns: ["org_id"]
            referencedRelation: "organizations"
            referencedColumns: ["id"]
          },
        ]
      }
      appointments: {
        Row: {
          blocked_until: string | null
          call_id: string | null
          created_at: string
          customer_name: string
          customer_number: string | null
          ends_at: string
          id: string
          lane: number
          notes: string | null
          org_id: string
          starts_at: string
          status: string
        }
        Insert: {
          blocked_until?: string | null
          call_id?: string | null
          created_at?: string
          customer_name: string
          customer_number?: string | null
          ends_at: string
          id?: string
          lane?: number
          notes?: string | null
          org_id: string
          starts_at: string
          status: string
        }
        Update: {
          blocked_until?: string | null
          call_id?: string | null
          created_at?: string
          customer_name?: string
          customer_number?: string | null
          ends_at?: string
          id?: string
          lane?: number
          notes?: string | null
          org_id?: string
          starts_at?: string
          status?: string
        }
        Relationships: [
          {
            foreignKeyName: "appointments_org_id_call_id_fkey"
            columns: ["org_id", "call_id"]
            referencedRelation: "call_logs"
            referencedColumns: ["org_id", "id"]
          },
          {
            foreignKeyName: "appointments_org_id_fkey"
            columns: ["org_id"]
            referencedRelation: "organizations"
            referencedColumns: ["id"]
          },
        ]
      }
      call_contents: {
        Row: {
          analysis: Json | null
          call_id: string
          org_id: string
          transcript: Json | null
        }
        Insert: {
          analysis?: Json | null
          call_id: string
          org_id: string
          transcript?: Json | null
        }
        Update: {
          analysis?: Json | null
          call_id?: string
          org_id?: string
          transcript?: Json | null
        }
        Relationships: [
          {
            foreignKeyName: "call_contents_org_id_call_id_fkey"
            columns: ["org_id", "call_id"]
            referencedRelation: "call_logs"
            referencedColumns: ["org_id", "id"]
          },
          {
            foreignKeyName: "call_contents_org_id_fkey"
            columns: ["org_id"]
            referencedRelation: "organizations"
            referencedColumns: ["id"]
          },
        ]
      }
      call_logs: {
        Row: {
          agent_id: string | null
          agent_save_id: string | null
          channel: string
          content_removed_at: string | null
          cost_parts: Json | null
          cost_usd: number | null
          created_at: string
          customer_name: string | null
          customer_number: string | null
          direction: string
          ended_at: string | null
          ended_reason: string | null
          has_recording: boolean
          id: string
          listed_at: string
          org_id: string
          outcome: string | null
          phone_number_id: string | null
          progress: string
          stamped_revision: number | null
          started_at: string | null
          summary: string | null
          vapi_call_id: string | null
        }
        Insert: {
          agent_id?: string | null
          agent_save_id?: string | null
          channel?: string
          content_removed_at?: string | null
          cost_parts?: Json | null
          cost_usd?: number | null
          created_at?: string
          customer_name?: string | null
          customer_number?: string | null
          direction: string
          ended_at?: string | null
          ended_reason?: string | null
          has_recording?: boolean
          id?: string
          listed_at?: never
          org_id: string
          outcome?: string | null
          phone_number_id?: string | null
          progress?: string
          stamped_revision?: number | null
          started_at?: string | null
          summary?: string | null
          vapi_call_id?: string | null
        }
        Update: {
          agent_id?: string | null
          agent_save_id?: string | null
          channel?: string
          content_removed_at?: string | null
          cost_parts?: Json | null
          cost_usd?: number | null
          created_at?: string
          customer_name?: string | null
          customer_number?: string | null
          direction?: string
          ended_at?: string | null
          ended_reason?: string | null
          has_recording?: boolean
          id?: string
          listed_at?: never
          org_id?: string
          outcome?: string | null
          phone_number_id?: string | null
          progress?: string
          stamped_revision?: number | null
          started_at?: string | null
          summary?: string | null
          vapi_call_id?: string | null
        }
        Relationships: [
          {
            foreignKeyName: "call_logs_org_id_agent_id_fkey"
            columns: ["org_id", "agent_id"]
            referencedRelation: "agents"
            referencedColumns: ["org_id", "id"]
          },
          {
            foreignKeyName: "call_logs_org_id_fkey"
            columns: ["org_id"]
            referencedRelation: "organizations"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "call_logs_org_id_phone_number_id_fkey"
            columns: ["org_id", "phone_number_id"]
            referencedRelation: "phone_numbers"
            referencedColumns: ["org_id", "id"]
          },
        ]
      }
      knowledge_base_documents: {
        Row: {
          attempts: number
          check_at: string | null
          content_type: string
          created_at: string
          failure: string | null
          id: string
          last_saga_id: string | null
          name: string
          org_id: string
          processing_since: string | null
          size_bytes: number
          state: string
          vapi_file_id: string | null
          was_ready: boolean
        }
        Insert: {
          attempts?: number
          check_at?: string | null
          content_type: string
          created_at?: string
          failure?: string | null
          id?: string
          last_saga_id?: string | null
          name: string
          org_id: string
          processing_since?: string | null
          size_bytes: number
          state: string
          vapi_file_id?: string | null
          was_ready?: boolean
        }
        Update: {
          attempts?: number
          check_at?: string | null
          content_type?: string
          created_at?: string
          failure?: string | null
          id?: string
          last_saga_id?: string | null
          name?: string
          org_id?: string
          processing_since?: string | null
          size_bytes?: number
          state?: string
          vapi_file_id?: string | null
          was_ready?: boolean
        }
        Relationships: [
          {
            foreignKeyName: "knowledge_base_documents_org_id_fkey"
            columns: ["org_id"]
            referencedRelation: "organizations"
            referencedColumns: ["id"]
          },
        ]
      }
      organizations: {
        Row: {
          call_content: string
          created_at: string
          drift_policy: string
          id: string
          name: string
        }
        Insert: {
          call_content?: string
          created_at?: string
          drift_policy?: string
          id?: string
          name: string
        }
        Update: {
          call_content?: string
          created_at?: string
          drift_policy?: string
          id?: string
          name?: string
        }
        Relationships: []
      }
      phone_numbers: {
        Row: {
          agent_id: string | null
          area_code: string | null
          attached_assistant_id: string | null
          checked_at: string | null
          created_at: string
          failure: string | null
          id: string
          label: string | null
          last_saga_id: string | null
          list_order: string
          mapping_version: number
          number: string | null
          org_id: string
          provider: string
          released_at: string | null
          repoint: boolean
          requested_number: string | null
          state: string
          vapi_phone_number_id: string | null
          wanted_role: string | null
        }
        Insert: {
          agent_id?: string | null
          area_code?: string | null
          attached_assistant_id?: string | null
          checked_at?: string | null
          created_at?: string
          failure?: string | null
          id?: string
          label?: string | null
          last_saga_id?: string | null
          list_order?: never
          mapping_version?: number
          number?: string | null
          org_id: string
          provider: string
          released_at?: string | null
          repoint?: boolean
          requested_number?: string | null
          state: string
          vapi_phone_number_id?: string | null
          wanted_role?: string | null
        }
        Update: {
          agent_id?: string | null
          area_code?: string | null
          attached_assistant_id?: string | null
          checked_at?: string | null
          created_at?: string
          failure?: string | null
          id?: string
          label?: string | null
          last_saga_id?: string | null
          list_order?: never
          mapping_version?: number
          number?: string | null
          org_id?: string
          provider?: string
          released_at?: string | null
          repoint?: boolean
          requested_number?: string | null
          state?: string
          vapi_phone_number_id?: string | null
          wanted_role?: string | null
        }
        Relationships: [
          {
            foreignKeyName: "phone_numbers_org_id_agent_id_fkey"
            columns: ["org_id", "agent_id"]
            referencedRelation: "agents"
            referencedColumns: ["org_id", "id"]
          },
          {
            foreignKeyName: "phone_numbers_org_id_fkey"
            columns: ["org_id"]
            referencedRelation: "organizations"
            referencedColumns: ["id"]
          },
        ]
      }
      sagas: {
        Row: {
          actor: string | null
          ambiguous: boolean
          cause: string
          deadline_at: string
          epoch: number
          failure: Json | null
          finished_at: string | null
          forgotten: boolean
          handed_over: Json | null
          id: string
          idempotency_key: string | null
          in_history: boolean
          kind: string
          lease_until: string | null
          look_at: string | null
          mapping_version: number
          org_id: string
          owner: string | null
          pivot_sent: boolean
          quarantine_until: string | null
          request_hash: string
          results: NonNullable<Json>
          started_at: string
          status: string
        }
        Insert: {
          actor?: string | null
          ambiguous?: boolean
          cause: string
          deadline_at: string
          epoch: number
          failure?: Json | null
          finished_at?: string | null
          forgotten?: boolean
          handed_over?: Json | null
          id: string
          idempotency_key?: string | null
          in_history?: boolean
          kind: string
          lease_until?: string | null
          look_at?: string | null
          mapping_version: number
          org_id: string
          owner?: string | null
          pivot_sent?: boolean
          quarantine_until?: string | null
          request_hash: string
          results: NonNullable<Json>
          started_at: string
          status: string
        }
        Update: {
          actor?: string | null
          ambiguous?: boolean
          cause?: string
          deadline_at?: string
          epoch?: number
          failure?: Json | null
          finished_at?: string | null
          forgotten?: boolean
          handed_over?: Json | null
          id?: string
          idempotency_key?: string | null
          in_history?: boolean
          kind?: string
          lease_until?: string | null
          look_at?: string | null
          mapping_version?: number
          org_id?: string
          owner?: string | null
          pivot_sent?: boolean
          quarantine_until?: string | null
          request_hash?: string
          results?: NonNullable<Json>
          started_at?: string
          status?: string
        }
        Relationships: [
          {
            foreignKeyName: "sagas_org_id_fkey"
            columns: ["org_id"]
            referencedRelation: "organizations"
            referencedColumns: ["id"]
          },
        ]
      }
    }
    Views: {
      agent_saves: {
        Row: {
          actor: string | null
          ambiguous: boolean | null
          deadline_at: string | null
          epoch: number | null
          failure: Json | null
          finished_at: string | null
          id: string | null
          idempotency_key: string | null
          kind: string | null
          lease_until: string | null
          mapping_version: number | null
          not_before: string | null
          org_id: string | null
          owner: string | null
          request_hash: string | null
          results: Json | null
          started_at: string | null
          status: string | null
        }
        Insert: {
          actor?: string | null
          ambiguous?: boolean | null
          deadline_at?: string | null
          epoch?: number | null
          failure?: never
          finished_at?: string | null
          id?: string | null
          idempotency_key?: string | null
          kind?: string | null
          lease_until?: string | null
          mapping_version?: number | null
          not_before?: never
          org_id?: string | null
          owner?: string | null
          request_hash?: string | null
          results?: never
          started_at?: string | null
          status?: string | null
        }
        Update: {
          actor?: string | null
          ambiguous?: boolean | null
          deadline_at?: string | null
          epoch?: number | null
          failure?: never
          finished_at?: string | null
          id?: string | null
          idempotency_key?: string | null
          kind?: string | null
          lease_until?: string | null
          mapping_version?: number | null
          not_before?: never
          org_id?: string | null
          owner?: string | null
          request_hash?: string | null
          results?: never
          started_at?: string | null
          status?: string | null
        }
        Relationships: [
          {
            foreignKeyName: "sagas_org_id_fkey"
            columns: ["org_id"]
            referencedRelation: "organizations"
            referencedColumns: ["id"]
          },
        ]
      }
    }
    Functions: {
      agents_stale: {
        Args: { p_after: string; p_limit: number; p_mapping_version: number }
        Returns: Json
      }
      answer_tool_call: {
        Args: { p_call_id: string; p_org_id: string; p_request: Json }
        Returns: Json
      }
      begin_agents: {
        Args: {
          p_org_id: string
          p_owner: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      begin_appointments: {
        Args: {
          p_org_id: string
          p_owner: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      begin_documents: {
        Args: {
          p_org_id: string
          p_owner: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      begin_phone_numbers: {
        Args: {
          p_org_id: string
          p_owner: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      begin_query_tool: {
        Args: {
          p_org_id: string
          p_owner: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      booking_rules: { Args: { p_org_id: string }; Returns: Json }
      call_event_store: {
        Args: {
          p_content: Json
          p_facts: Json
          p_kind: string
          p_vapi_call_id: string
        }
        Returns: undefined
      }
      call_events_apply: { Args: { p_ids: string[] }; Returns: Json }
      call_events_quarantined: { Args: { p_limit: number }; Returns: Json }
      call_events_retry: { Args: { p_ids: string[] }; Returns: number }
      call_events_take: { Args: { p_limit: number }; Returns: Json }
      call_ledger: {
        Args: { p_from: string; p_org_id: string; p_to: string }
        Returns: Json
      }
      call_usage: {
        Args: { p_by: string; p_from: string; p_to: string; p_zone: string }
        Returns: Json
      }
      call_walk_back: { Args: { p_changed_at: string }; Returns: undefined }
      call_walk_done: {
        Args: {
          p_lag_ms: number
          p_name: string
          p_previous: string
          p_walked_at: string
        }
        Returns: string
      }
      call_walks_state: { Args: Record<PropertyKey, never>; Returns: Json }
      calls_claim: { Args: { p_limit: number }; Returns: number }
      calls_give_up: { Args: { p_limit: number }; Returns: number }
      calls_waiting: { Args: Record<PropertyKey, never>; Returns: Json }
      document_content: {
        Args: { p_document_id: string; p_org_id: string }
        Returns: string
      }
      event_context: { Args: Record<PropertyKey, never>; Returns: Json }
      file_orphans: {
        Args: { p_age_ms: number; p_candidates: Json }
        Returns: Json
      }
      free_slots: { Args: { p_org_id: string; p_request: Json }; Returns: Json }
      knowledge_base_due: { Args: { p_limit: number }; Returns: Json }
      knowledge_base_note: { Args: { p_notes: Json }; Returns: Json }
      knowledge_base_page: {
        Args: { p_after: string; p_limit: number }
        Returns: {
          busy: boolean
          document_id: string
          file_id: string
          org_id: string
          wanted: boolean
        }[]
      }
      lease_release: {
        Args: { p_name: string; p_owner: string }
        Returns: undefined
      }
      lease_take: {
        Args: { p_ms: number; p_name: string; p_owner: string }
        Returns: number
      }
      list_page: {
        Args: { p_filter: Json; p_list: string; p_window: Json }
        Returns: Json[]
      }
      observe_calls: { Args: { p_observations: Json }; Returns: Json }
      phone_number_activation_due: { Args: { p_limit: number }; Returns: Json }
      phone_number_attachment_due: { Args: { p_limit: number }; Returns: Json }
      phone_number_listed: { Args: { p_remote_ids: string[] }; Returns: Json }
      phone_number_note: { Args: { p_notes: Json }; Returns: Json }
      phone_number_page: {
        Args: { p_after: string; p_limit: number }
        Returns: Json
      }
      phone_number_stamps: { Args: { p_saga_ids: string[] }; Returns: Json }
      query_tool_orphans: {
        Args: { p_age_ms: number; p_candidates: Json }
        Returns: Json
      }
      query_tool_repair: {
        Args: { p_org_id: string; p_saga_id: string }
        Returns: boolean
      }
      query_tools_page: {
        Args: { p_after: string; p_limit: number }
        Returns: {
          busy: boolean
          file_ids: string[]
          mapping_version: number
          org_id: string
          saga_id: string
          tool_id: string
        }[]
      }
      replica_beat: {
        Args: { p_replica: string; p_ttl_ms: number }
        Returns: Json
      }
      saga_abort: {
        Args: {
          p_epoch: number
          p_org_id: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      saga_cleanup: {
        Args: { p_keep_days: number; p_limit: number }
        Returns: number
      }
      saga_commit: {
        Args: {
          p_epoch: number
          p_org_id: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      saga_due: {
        Args: { p_limit: number }
        Returns: {
          org_id: string
          saga_id: string
        }[]
      }
      saga_hold: {
        Args: {
          p_epoch: number
          p_org_id: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      saga_inspect: {
        Args: { p_org_id: string; p_saga_id: string }
        Returns: Json
      }
      saga_needs_attention: {
        Args: {
          p_epoch: number
          p_org_id: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      saga_rolled_back: {
        Args: {
          p_epoch: number
          p_org_id: string
          p_request: Json
          p_saga_id: string
        }
        Returns: Json
      }
      saga_settle: {
        Args: {
          p_epoch: number
          p_org_id: string
          p_request: Json
          p_saga_id: string
          p_status: string
        }
        Returns: Json
      }
      saga_takeover: {
        Args: {
          p_lease_ms: number
          p_org_id: string
          p_owner: string
          p_saga_id: string
        }
        Returns: Json
      }
      set_allowance: {
        Args: {
          p_bytes: number
          p_documents: number
          p_numbers: number
          p_org_id: string
        }
        Returns: Json
      }
      set_booking_rules: {
        Args: { p_org_id: string; p_request: Json }
        Returns: Json
      }
      set_drift_policy: {
        Args: { p_org_id: string; p_policy: string }
        Returns: boolean
      }
      set_event_server: {
        Args: { p_credential_id: string; p_url: string }
        Returns: boolean
      }
      sweep_done: { Args: { p_ago_ms: number }; Returns: string }
      sweep_listed: { Args: { p_assistant_ids: string[] }; Returns: Json }
      sweep_lookup: { Args: { p_assistant_ids: string[] }; Returns: Json }
      sweep_note: { Args: { p_notes: Json }; Returns: Json }
      sweep_orphans: {
        Args: { p_age_ms: number; p_candidates: Json }
        Returns: Json
      }
      sweep_page: {
        Args: { p_after: string; p_limit: number }
        Returns: {
          agent_id: string
          assistant_id: string
          missing: boolean
          org_id: string
          revision: number
          save_id: string
        }[]
      }
      tool_call_context: {
        Args: { p_call_id: string; p_org_id: string; p_request: Json }
        Returns: Json
      }
      vapi_account: { Args: { p_seen: string }; Returns: string }
    }
    Enums: {
      [_ in never]: never
    }
    CompositeTypes: {
      [_ in never]: never
    }
  }
}

type DatabaseWithoutInternals = Omit<Database, "__InternalSupabase">

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "public">]

export type Tables<
  DefaultSchemaTableNameOrOptions extends
    | keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends (DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
        DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])
    : never) = never,
> = DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
      DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])[TableName] extends {
      Row: infer R
    }
    ? R
    : never
  : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] &
        DefaultSchema["Views"])
    ? (DefaultSchema["Tables"] &
        DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
        Row: infer R
      }
      ? R
      : never
    : never

export type TablesInsert<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends (DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never) = never,
> = DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Insert: infer I
    }
    ? I
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
        Insert: infer I
      }
      ? I
      : never
    : never

export type TablesUpdate<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends (DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never) = never,
> = DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Update: infer U
    }
    ? U
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
        Update: infer U
      }
      ? U
      : never
    : never

export type Enums<
  DefaultSchemaEnumNameOrOptions extends
    | keyof DefaultSchema["Enums"]
    | { schema: keyof DatabaseWithoutInternals },
  EnumName extends (DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
    : never) = never,
> = DefaultSchemaEnumNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
  : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
    ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
    : never

export type CompositeTypes<
  PublicCompositeTypeNameOrOptions extends
    | keyof DefaultSchema["CompositeTypes"]
    | { schema: keyof DatabaseWithoutInternals },
  CompositeTypeName extends (PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
    : never) = never,
> = PublicCompositeTypeNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
  : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
    ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
    : never

export const Constants = {
  public: {
    Enums: {},
  },
} as const

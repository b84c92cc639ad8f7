-- Agents: what they are, their history, and what a save of agents does in the database (see the functions of sagas).

create table public.agents (
  id uuid primary key,
  org_id uuid not null references public.organizations (id) on delete restrict,
  role text not null check (role in ('INBOUND', 'OUTBOUND')),
  -- The configuration as src/domain/agents/agent-config.ts defines it.
  config jsonb not null check (jsonb_typeof(config) = 'object'),
  vapi_assistant_id text not null check (vapi_assistant_id <> ''),
  revision integer not null check (revision > 0),
  -- The saga that wrote the agent last, also where it kept the revision: the only one whose stamp in Vapi is current.
  last_save_id uuid not null,
  -- How its document in Vapi was rendered: the version of the mapping, and what went into the document besides the configuration.
  mapping_version integer not null check (mapping_version > 0),
  context jsonb not null default '{}' check (jsonb_typeof(context) = 'object'),
  last_synced_at timestamptz not null,
  -- When Vapi was last seen to hold exactly this revision, or to differ (then drift or missing_since say how).
  checked_at timestamptz not null,
  drift jsonb not null default '[]' check (jsonb_typeof(drift) = 'array'),
  missing_since timestamptz,
  -- The last complete sweep did not judge this agent, so the time of that sweep says nothing about it.
  unconfirmed boolean not null default false,
  -- The change that would make a dashboard's edit ours; null where there is none, or where it cannot be said in a config.
  adoptable jsonb,
  created_at timestamptz not null default now(),
  -- One agent per role: two concurrent first saves cannot make two.
  unique (org_id, role),
  -- No two agents may drive the same assistant, whatever organization they belong to.
  unique (vapi_assistant_id)
);

-- What agents_stale looks for: agents of an older mapping version, and those whose document may depend on something else.
create index agents_by_mapping on public.agents (mapping_version, id);
create index agents_with_tool on public.agents (id) where context ? 'toolId' or config @> '{"useKnowledgeBase": true}';
create index agents_by_event_server on public.agents (coalesce((context -> 'server')::text, ''), id);

create table public.agent_revisions (
  agent_id uuid not null references public.agents (id) on delete cascade,
  revision integer not null check (revision > 0),
  org_id uuid not null references public.organizations (id) on delete restrict,
  role text not null,
  config jsonb not null,
  vapi_assistant_id text not null,
  save_id uuid not null references public.sagas (id) on delete restrict,
  created_at timestamptz not null,
  primary key (agent_id, revision)
);
create index agent_revisions_by_org on public.agent_revisions (org_id, created_at desc);
create index agent_revisions_by_save on public.agent_revisions (save_id);
-- The sweep asks whether an assistant ever belonged to an agent, before it deletes the assistant as an orphan.
create index agent_revisions_by_assistant on public.agent_revisions (org_id, vapi_assistant_id);

-- The sagas of agents, in the words of their clients: a part is an agent, its key is the role.
create view public.agent_saves with (security_invoker = true) as
  select s.id, s.org_id, s.idempotency_key, s.request_hash, s.cause as kind, s.actor, s.status, s.epoch, s.owner, s.lease_until,
    s.deadline_at, greatest(s.quarantine_until, s.look_at) as not_before, s.ambiguous, s.mapping_version,
    (select coalesce(jsonb_agg(jsonb_build_object('role', r -> 'key', 'agentId', r -> 'resourceId', 'success', r -> 'success',
        'vapiSynced', r -> 'vapiSynced', 'dbUpdated', r -> 'dbUpdated', 'assistantId', r -> 'remoteId', 'error', r -> 'error',
        'revision', r -> 'revision') order by n), '[]')
      from jsonb_array_elements(s.results) with ordinality as x (r, n)) as results,
    case when s.failure ->> 'reason' = 'RESOURCE_MISSING' then s.failure || '{"reason": "ASSISTANT_MISSING"}'
      else s.failure end as failure,
    s.started_at, s.finished_at
  from public.sagas s where s.kind = 'agents';

-- The SHA-256 of a document as Postgres writes it. src/domain/json.ts (jsonbText) writes the same text. Immutable although
-- convert_to is only stable: the name of the encoding is fixed.
create function lockstep.digest(p_document jsonb) returns text
language sql immutable set search_path = '' as $$
  select encode(sha256(convert_to(p_document::text, 'UTF8')), 'hex');
$$;

-- The normal form of what Vapi answered to the last committed write of an agent, without the stamp.
create table lockstep.observed (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  org_id uuid not null references public.organizations (id) on delete restrict,
  document jsonb not null,
  -- The sweep compares hashes, so that a prompt which did not change is never moved.
  hash text generated always as (lockstep.digest(document)) stored
);
create index observed_by_org on lockstep.observed (org_id);

-- Where Vapi sends the events of all agents. No row: never anywhere, and agents do not name a server.
create table lockstep.event_server (
  only_one boolean primary key default true check (only_one),
  -- { url, credentialId }. JSON null: nowhere any more, and agents that named one must say so explicitly.
  document jsonb not null check (jsonb_typeof(document) in ('object', 'null'))
);

select lockstep.protect_tables('public.agents', 'public.agent_revisions', 'lockstep.observed', 'lockstep.event_server');
select lockstep.let_users_read('public.agents', 'public.agent_revisions');
select lockstep.let_saves('select, insert, update', 'public.agents', 'lockstep.observed');
select lockstep.let_saves('select, insert', 'public.agent_revisions');
revoke all on public.agent_saves from public, anon, authenticated, service_role;
grant select on public.agent_saves to authenticated, service_role;

create function lockstep.agent_json(a public.agents) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object(
    'id', a.id, 'role', a.role, 'config', a.config, 'assistantId', a.vapi_assistant_id, 'revision', a.revision,
    'lastSyncedAt', a.last_synced_at, 'checkedAt', a.checked_at, 'drift', a.drift, 'missing', a.missing_since is not null,
    'adoptable', a.adoptable);
$$;

-- Knows what the one Vapi account has to do with this deployment, and nothing of any organization.
select lockstep.make_role('lockstep_account');
grant usage on schema lockstep to lockstep_account;
grant select, insert, update on lockstep.event_server to lockstep_account;
create policy event_server_account on lockstep.event_server to lockstep_account using (only_one) with check (only_one);

-- Sets where Vapi sends the events of agents, null: nowhere. Agents that say something else are stale then (see agents_stale).
-- Returns whether that changed anything.
create function lockstep.set_event_server(p_url text, p_credential_id text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  if p_url is null then
    update lockstep.event_server set document = 'null' where document <> 'null';
  else
    insert into lockstep.event_server as e (document)
      values (jsonb_build_object('url', p_url, 'credentialId', p_credential_id))
      on conflict (only_one) do update set document = excluded.document where e.document <> excluded.document;
  end if;
  return found;
end
$$;

-- What every agent's context says of it: { server? }.
create function lockstep.event_context() returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce((select jsonb_build_object('server', e.document) from lockstep.event_server e), '{}');
$$;

-- What goes into the document of an agent with this configuration besides the configuration, at this moment: { server?, toolId? }. A
-- feature that adds something replaces this function; what it reads must be readable by lockstep_saves, for the one organization, and
-- by lockstep_sweep, for all. agents_stale must find the agents for which it changes by an index.
create function lockstep.agent_context(p_org_id uuid, p_config jsonb) returns jsonb
language sql stable set search_path = '' as $$
  select lockstep.event_context();
$$;

-- Begins a save of an organization's agents (see lockstep.may_begin).
-- p_request: what may_begin reads, and
--   updates: [{ role, agentId?, newAgentId, patch, defaults, expectedRevision?, expectedSaveId?, recreateIfMissing, adopt? }]
-- adopt { assistantId, content }: the new agent takes over an assistant that Lockstep did not create. content is what Vapi answered of
-- the managed fields; an undo puts exactly that back (mapping version 0, see src/services/agents/participant.ts).
-- expectedSaveId: as expectedRevision, for whoever must also notice a save that kept the revision (the sweep's repairs).
-- outcome: as may_begin and begin_saga | NO_AGENT { role } | REVISION_CONFLICT { agents } | INCOMPLETE { missing }
create function lockstep.begin_agents(p_org_id uuid, p_saga_id uuid, p_owner text, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_keys constant text[] := '{agents}';
  v_answer jsonb;
  v_update jsonb;
  v_agent public.agents;
  v_part lockstep.saga_parts;
  v_parts lockstep.saga_parts[] := '{}';
  v_current jsonb := '[]';
  v_stored jsonb;
  v_stale boolean := false;
  v_incomplete jsonb := '[]';
  v_missing text[] := '{}';
  v_refused jsonb;
begin
  <<body>> begin
    v_answer := lockstep.may_begin(p_org_id, p_saga_id, p_owner, 'agents', v_keys, p_request);
    exit body when v_answer is not null;

    for v_update in select u from jsonb_array_elements(p_request -> 'updates') as u order by u ->> 'role' loop
      select * into v_agent from public.agents where org_id = p_org_id and role = v_update ->> 'role';
      if v_update ->> 'agentId' is not null and (v_agent.id is null or v_agent.id <> (v_update ->> 'agentId')::uuid) then
        v_answer := jsonb_build_object('outcome', 'NO_AGENT', 'role', v_update ->> 'role');
        exit body;
      end if;
      if v_agent.id is not null then
        v_current := v_current || lockstep.agent_json(v_agent);
      end if;
      if (v_update ->> 'expectedRevision')::integer <> coalesce(v_agent.revision, 0)
        or (v_update ->> 'expectedSaveId')::uuid is distinct from v_agent.last_save_id and v_update ->> 'expectedSaveId' is not null
      then
        v_stale := true;
      end if;
      v_part.saga_id := p_saga_id;
      v_part.org_id := p_org_id;
      v_part.key := v_update ->> 'role';
      v_part.resource := 'agent';
      v_part.resource_id := coalesce(v_agent.id, (v_update ->> 'newAgentId')::uuid);
      v_part.remote_id := case when v_agent.missing_since is null then v_agent.vapi_assistant_id end;
      v_part.recreate := (v_update ->> 'recreateIfMissing')::boolean;
      v_part.before_content := v_agent.config;
      v_part.before_revision := coalesce(v_agent.revision, 0);
      v_part.before_saga_id := v_agent.last_save_id;
      v_part.before_mapping_version := v_agent.mapping_version;
      -- Defaults also under a stored configuration: it may be older than one of the fields.
      v_stored := (v_update -> 'defaults') || coalesce(v_agent.config, '{}');
      v_part.after_content := v_stored || (v_update -> 'patch');
      -- The next revision if the configuration changes, the same one if it does not. A default that it lacked is no change.
      v_part.after_revision := v_part.before_revision
        + (v_agent.id is null or v_part.after_content <> v_stored)::integer;
      if v_agent.id is null and v_update -> 'adopt' is not null then
        v_part.remote_id := v_update -> 'adopt' ->> 'assistantId';
        v_part.before_content := v_update -> 'adopt' -> 'content';
        v_part.before_mapping_version := 0;
        -- No saga wrote it.
        v_part.before_saga_id := '00000000-0000-0000-0000-000000000000';
      end if;
      v_part.before_context := coalesce(v_agent.context, '{}');
      v_part.after_context := lockstep.agent_context(p_org_id, v_part.after_content);
      v_parts := v_parts || v_part;
      if v_part.after_content ->> 'systemPrompt' is null then
        v_incomplete := v_incomplete || jsonb_build_object('role', v_part.key, 'field', 'systemPrompt');
      end if;
      if v_agent.missing_since is not null and not v_part.recreate then
        v_missing := v_missing || v_part.key;
      end if;
    end loop;

    if v_stale then
      v_answer := jsonb_build_object('outcome', 'REVISION_CONFLICT', 'agents', v_current);
      exit body;
    end if;
    if v_incomplete <> '[]' then
      v_answer := jsonb_build_object('outcome', 'INCOMPLETE', 'missing', v_incomplete);
      exit body;
    end if;
    if v_missing <> '{}' then
      -- Refused before its sibling is touched.
      select jsonb_build_object(
          'failure', jsonb_build_object('reason', 'RESOURCE_MISSING', 'retryable', false,
            'message', 'An assistant was deleted in Vapi; nothing was changed.'),
          'errors', jsonb_object_agg(p.key, case when p.key = any (v_missing)
            then 'The assistant was deleted in Vapi; save with recreateIfMissing: true to make a new one.'
            else 'Not attempted: the other agent''s assistant was deleted in Vapi.' end))
        into v_refused from unnest(v_parts) as p;
    end if;
    v_answer := lockstep.begin_saga(p_org_id, p_saga_id, p_owner, 'agents', v_keys, p_request, v_parts, v_refused);
  end body;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Writes what a save committed to its agents. One whose configuration changes gets a new revision. p_parts: see commit_saga.
create function lockstep.apply_agents(s public.sagas, p_parts jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_part lockstep.saga_parts;
  v_seen jsonb;
  v_agent public.agents;
  v_agents jsonb := '[]';
begin
  for v_part in select * from lockstep.saga_parts where saga_id = s.id order by key loop
    select a into v_seen from jsonb_array_elements(p_parts) as a where a ->> 'key' = v_part.key;
    insert into public.agents as a (id, org_id, role, config, vapi_assistant_id, revision, last_save_id, mapping_version,
        context, last_synced_at, checked_at)
      values (v_part.resource_id, s.org_id, v_part.key, v_part.after_content, v_seen ->> 'remoteId', v_part.after_revision, s.id,
        s.mapping_version, v_part.after_context, s.finished_at, s.finished_at)
      on conflict (id) do update set config = excluded.config, vapi_assistant_id = excluded.vapi_assistant_id,
        revision = excluded.revision, last_save_id = excluded.last_save_id, mapping_version = excluded.mapping_version,
        context = excluded.context, last_synced_at = excluded.last_synced_at, checked_at = excluded.checked_at, drift = '[]', missing_since = null, adoptable = null,
        unconfirmed = false
        where a.revision = v_part.before_revision and a.last_save_id = v_part.before_saga_id
      returning * into v_agent;
    if not found then
      raise exception 'saga %: % is no longer at revision %', s.id, v_part.key, v_part.before_revision;
    end if;
    if v_agent.revision > v_part.before_revision then
      insert into public.agent_revisions (agent_id, revision, org_id, role, config, vapi_assistant_id, save_id, created_at)
        values (v_agent.id, v_agent.revision, s.org_id, v_agent.role, v_agent.config, v_agent.vapi_assistant_id, s.id,
          s.finished_at);
    end if;
    insert into lockstep.observed (agent_id, org_id, document) values (v_agent.id, s.org_id, v_seen -> 'observed')
      on conflict (agent_id) do update set document = excluded.document;
    if v_part.before_revision > 0 and v_agent.vapi_assistant_id is distinct from v_part.remote_id then
      -- A saga of each number follows. Here, nothing waits for it.
      update public.phone_numbers set repoint = true where org_id = s.org_id and agent_id = v_agent.id;
    end if;
    v_agents := v_agents || lockstep.agent_json(v_agent);
  end loop;
  return v_agents;
end
$$;

-- These agents of a save have no assistant any more. Known of the assistant that the save named, not of a later one. A save that needs
-- attention names none, and leaves the agents as they are.
create function lockstep.close_agents(s public.sagas, p_missing jsonb) returns void
language sql volatile set search_path = '' as $$
  update public.agents a set missing_since = coalesce(a.missing_since, clock_timestamp()), checked_at = clock_timestamp()
    from lockstep.saga_parts p
   where p.saga_id = s.id and a.id = p.resource_id and a.vapi_assistant_id = p.remote_id and p_missing ? p.key;
$$;

-- The agents exactly as this save left them, whatever came later: what its first caller was told. A save that kept the revision
-- has no revision row of its own, so its times and the assistant come from the save and its results.
create function lockstep.rows_agents(s public.sagas) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
      'id', r.agent_id, 'role', r.role, 'config', r.config, 'assistantId', x ->> 'remoteId', 'revision', r.revision,
      'lastSyncedAt', s.finished_at, 'checkedAt', s.finished_at, 'drift', '[]'::jsonb, 'missing', false,
      'adoptable', null) order by r.role), '[]')
  from jsonb_array_elements(s.results) as x
  join public.agent_revisions r
    on r.agent_id = (x ->> 'resourceId')::uuid and r.revision = (x ->> 'revision')::integer;
$$;

revoke execute on function lockstep.event_context() from public, anon, authenticated, service_role;
grant execute on function lockstep.event_context() to lockstep_saves;
select lockstep.own_functions('lockstep_account', exposed => '{set_event_server,event_context}');
select lockstep.own_functions('lockstep_saves', exposed => '{begin_agents}',
  internal => '{digest,agent_context,agent_json,apply_agents,close_agents,rows_agents}');

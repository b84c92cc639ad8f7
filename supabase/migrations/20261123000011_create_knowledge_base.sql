-- The knowledge base: documents, their content, and the one query tool of an organization that lists their files.
-- The recipe of the phone numbers' for references and lists.
--
-- What is wished stands on a row, and a saga changes one remote resource. Jobs begin a saga while a row and Vapi differ, so that a
-- crash forgets nothing: see public.knowledge_base_due.

create table public.knowledge_base_documents (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete restrict,
  name text not null check (length(btrim(name)) between 1 and 200),
  content_type text not null check (content_type <> ''),
  size_bytes integer not null check (size_bytes >= 0),
  state text not null check (state in ('UPLOADING', 'PROCESSING', 'READY', 'FAILED', 'REMOVING', 'REMOVED', 'MISSING')),
  -- For a person: why it failed, or why it is still in this state.
  failure text check (failure is not null or state <> 'FAILED'),
  vapi_file_id text unique check (vapi_file_id <> ''),
  -- The last saga that committed a file for it, or its removal.
  last_saga_id uuid,
  -- Vapi has read this content before, so that a file that is made again will be READY too.
  was_ready boolean not null default false,
  processing_since timestamptz,
  -- When a job has to look at it next, and how often one has since its state changed. Null: no job has to.
  check_at timestamptz,
  attempts integer not null default 0,
  created_at timestamptz not null default now(),
  unique (org_id, id)
);
create index knowledge_base_documents_by_time on public.knowledge_base_documents (org_id, created_at desc, id desc);
create index knowledge_base_documents_by_state on public.knowledge_base_documents (org_id, state, created_at desc, id desc);
create index knowledge_base_documents_due on public.knowledge_base_documents (check_at) where check_at is not null;
-- What the sweep walks through.
create index knowledge_base_documents_in_vapi on public.knowledge_base_documents (id) where vapi_file_id is not null;

-- The bytes of each document that is wanted, to make its file again. They never leave through the REST API or to a client.
create table lockstep.document_contents (
  org_id uuid not null,
  document_id uuid not null,
  sha256 text not null,
  content bytea not null check (octet_length(content) between 1 and 5242880),
  primary key (org_id, document_id),
  -- The same content is one document of an organization.
  unique (org_id, sha256),
  foreign key (org_id, document_id) references public.knowledge_base_documents (org_id, id) on delete cascade
);
-- PDF and DOCX are compressed already.
alter table lockstep.document_contents alter column content set storage external;

-- The query tool of an organization.
create table lockstep.query_tools (
  org_id uuid primary key references public.organizations (id) on delete cascade,
  -- Null: there is none in Vapi.
  tool_id text unique check (tool_id <> ''),
  -- The files that the tool lists, as the last committed saga left it.
  file_ids text[] not null default '{}',
  revision integer not null default 0,
  last_saga_id uuid,
  mapping_version integer,
  -- The list may have changed since.
  dirty boolean not null default false,
  -- The tool in Vapi is not what the last committed saga left: write it again, although the list is the same.
  repair boolean not null default false,
  -- A saga that removes it is open, so that no agent may be given it.
  removing boolean not null default false,
  check_at timestamptz,
  attempts integer not null default 0
);
create index query_tools_due on lockstep.query_tools (check_at) where dirty;

select lockstep.protect_tables('public.knowledge_base_documents', 'lockstep.document_contents', 'lockstep.query_tools');
select lockstep.let_users_read('public.knowledge_base_documents');
select lockstep.let_saves('select, insert, update', 'public.knowledge_base_documents', 'lockstep.query_tools');
select lockstep.let_saves('select, insert, delete', 'lockstep.document_contents');
-- The sweep and the jobs look across organizations, and never at a content.
grant select (id, org_id, state, vapi_file_id, was_ready, check_at) on public.knowledge_base_documents to lockstep_sweep;
grant select on lockstep.query_tools to lockstep_sweep;
grant select (id, org_id, kind, status, ambiguous, finished_at) on public.sagas to lockstep_sweep;

create policy knowledge_base_documents_sweep on public.knowledge_base_documents for select to lockstep_sweep
  using (org_id is not null);
create policy query_tools_sweep on lockstep.query_tools for select to lockstep_sweep using (org_id is not null);
-- The stamp of a tool names its saga and no organization.
create policy sagas_of_query_tools on public.sagas for select to lockstep_sweep using (kind = 'query_tool');

create function lockstep.document_json(d public.knowledge_base_documents) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object('id', d.id, 'name', d.name, 'contentType', d.content_type, 'sizeBytes', d.size_bytes, 'state', d.state,
    'failure', d.failure, 'createdAt', d.created_at);
$$;

-- How long a job leaves alone what it has tried so often without success.
create function lockstep.retry_in(p_attempts integer) returns interval
language sql immutable set search_path = '' as $$
  select least(600, 2 * 2 ^ least(p_attempts, 10)) * interval '1 second';
$$;

-- The files that an organization's tool should list.
create function lockstep.ready_files(p_org_id uuid) returns text[]
language sql stable set search_path = '' as $$
  select coalesce(array_agg(d.vapi_file_id order by d.created_at, d.id), '{}') from public.knowledge_base_documents d
   where d.org_id = p_org_id and d.state = 'READY' and d.vapi_file_id is not null;
$$;

-- Whether an organization has content that its tool lists, or will list again once its file is made again.
create function lockstep.tool_wanted(p_org_id uuid) returns boolean
language sql stable set search_path = '' as $$
  select exists (select from public.knowledge_base_documents d
    where d.org_id = p_org_id and d.state in ('UPLOADING', 'PROCESSING', 'READY', 'MISSING') and d.was_ready);
$$;

-- The list of an organization's tool may have changed: a job compares it with the published one.
create function lockstep.list_changed(p_org_id uuid) returns void
language sql volatile set search_path = '' as $$
  insert into lockstep.query_tools as t (org_id, dirty, check_at) values (p_org_id, true, clock_timestamp())
    on conflict (org_id) do update set dirty = true, check_at = excluded.check_at, attempts = 0;
$$;

-- What is rendered into an agent besides its configuration: where its events go, and the tool of its organization, if it uses it.
create or replace function lockstep.agent_context(p_org_id uuid, p_config jsonb) returns jsonb
language sql stable set search_path = '' as $$
  select lockstep.event_context() || coalesce(
    (select jsonb_build_object('toolId', t.tool_id) from lockstep.query_tools t
      where t.org_id = p_org_id and t.tool_id is not null and not t.removing and lockstep.tool_wanted(p_org_id)
        and (p_config ->> 'useKnowledgeBase')::boolean),
    '{}');
$$;

-- A part of a saga, made of its columns.
create function lockstep.part(p_org_id uuid, p_saga_id uuid, p_columns jsonb) returns lockstep.saga_parts
language sql stable set search_path = '' as $$
  select jsonb_populate_record(null::lockstep.saga_parts, jsonb_build_object('saga_id', p_saga_id, 'org_id', p_org_id,
    'recreate', false, 'before_revision', 0, 'after_revision', 1, 'before_context', '{}'::jsonb, 'after_context', '{}'::jsonb)
    || p_columns);
$$;

-- A saga that changes nothing in Vapi: it is begun and committed in one step, so that the answer can be asked for again.
-- outcome: REPLAY { saga, rows }
create function lockstep.done_saga(p_org_id uuid, p_saga_id uuid, p_owner text, p_kind text, p_request jsonb,
  p_part lockstep.saga_parts) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_saga public.sagas;
begin
  insert into public.sagas (id, org_id, idempotency_key, request_hash, kind, cause, actor, status, epoch, owner, deadline_at,
      mapping_version, results, started_at, finished_at)
    values (p_saga_id, p_org_id, p_request ->> 'idempotencyKey', p_request ->> 'requestHash', p_kind, p_request ->> 'cause',
      p_request ->> 'actor', 'COMMITTED', 1, p_owner, v_now, (p_request ->> 'mappingVersion')::integer,
      jsonb_build_array(jsonb_build_object('key', p_part.key, 'resourceId', p_part.resource_id, 'remoteId', p_part.remote_id,
        'success', true, 'vapiSynced', true, 'dbUpdated', true, 'error', null, 'revision', p_part.after_revision)),
      v_now, v_now)
    returning * into v_saga;
  insert into lockstep.saga_parts select p_part.*;
  return jsonb_build_object('outcome', 'REPLAY', 'saga', lockstep.saga_json(v_saga), 'rows', lockstep.saga_rows(v_saga));
end
$$;

-- Begins a saga of one document (see lockstep.may_begin). p_request: what may_begin reads, and documentId, action:
--   UPLOAD { name, contentType, content (base64) }: a new document. The same content answers the document that has it (REPLAY).
--   REMOVE: the wish of a user; a job removes the file once no published list names it (REPLAY).
--   REMAKE: makes the file of a MISSING document again from our bytes. A job asks for it, and for:
--   DELETE: deletes the file of a document that is REMOVING or FAILED.
-- outcome: as may_begin and begin_saga | NO_DOCUMENT | ALLOWANCE_EXCEEDED { of: documents | bytes, allowance, used } | NOT_DUE
create function lockstep.begin_documents(p_org_id uuid, p_saga_id uuid, p_owner text, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_id constant uuid := p_request ->> 'documentId';
  v_keys constant text[] := array['document:' || v_id];
  v_action constant text := p_request ->> 'action';
  v_content bytea;
  v_sha256 text;
  v_allowance record;
  v_documents bigint;
  v_bytes bigint;
  v_document public.knowledge_base_documents;
  v_state text;
  v_answer jsonb;
begin
  <<body>> begin
    v_answer := lockstep.may_begin(p_org_id, p_saga_id, p_owner, 'documents', v_keys, p_request);
    exit body when v_answer is not null;

    if v_action = 'UPLOAD' then
      v_content := decode(p_request ->> 'content', 'base64');
      v_sha256 := encode(sha256(v_content), 'hex');
      select d.* into v_document from lockstep.document_contents c join public.knowledge_base_documents d on d.id = c.document_id
        where c.org_id = p_org_id and c.sha256 = v_sha256;
      if found then
        v_answer := lockstep.done_saga(p_org_id, p_saga_id, p_owner, 'documents', p_request, lockstep.part(p_org_id, p_saga_id,
          jsonb_build_object('key', 'document', 'resource', 'file', 'resource_id', v_document.id,
            'remote_id', v_document.vapi_file_id,
            'after_content', jsonb_build_object('action', 'FOUND', 'state', v_document.state))));
        exit body;
      end if;
      -- Whatever Vapi still has counts, wanted or not.
      select count(*), coalesce(sum(size_bytes), 0) into v_documents, v_bytes from public.knowledge_base_documents d
        where d.org_id = p_org_id and (d.state not in ('FAILED', 'REMOVED') or d.vapi_file_id is not null);
      select a.documents, a.bytes into v_allowance from lockstep.allowance_of(p_org_id) as a;
      if v_documents >= v_allowance.documents then
        v_answer := jsonb_build_object('outcome', 'ALLOWANCE_EXCEEDED', 'of', 'documents', 'allowance', v_allowance.documents,
          'used', v_documents);
        exit body;
      end if;
      if v_bytes + octet_length(v_content) > v_allowance.bytes then
        v_answer := jsonb_build_object('outcome', 'ALLOWANCE_EXCEEDED', 'of', 'bytes', 'allowance', v_allowance.bytes,
          'used', v_bytes);
        exit body;
      end if;
      insert into public.knowledge_base_documents (id, org_id, name, content_type, size_bytes, state)
        values (v_id, p_org_id, p_request ->> 'name', p_request ->> 'contentType', octet_length(v_content), 'UPLOADING')
        returning * into v_document;
      insert into lockstep.document_contents (org_id, document_id, sha256, content) values (p_org_id, v_id, v_sha256, v_content);
    else
      select * into v_document from public.knowledge_base_documents where id = v_id and org_id = p_org_id;
      if not found then
        v_answer := jsonb_build_object('outcome', 'NO_DOCUMENT');
        exit body;
      end if;
    end if;

    if v_action = 'REMOVE' then
      if v_document.state <> 'REMOVED' then
        update public.knowledge_base_documents set state = case when vapi_file_id is null then 'REMOVED' else 'REMOVING' end,
            failure = null, attempts = 0, check_at = case when vapi_file_id is not null then clock_timestamp() end
          where id = v_id returning * into v_document;
        delete from lockstep.document_contents where org_id = p_org_id and document_id = v_id;
        perform lockstep.list_changed(p_org_id);
      end if;
      v_answer := lockstep.done_saga(p_org_id, p_saga_id, p_owner, 'documents', p_request, lockstep.part(p_org_id, p_saga_id,
        jsonb_build_object('key', 'document', 'resource', 'file', 'resource_id', v_id, 'remote_id', v_document.vapi_file_id,
          'after_content', jsonb_build_object('action', 'REMOVE', 'state', v_document.state))));
      exit body;
    end if;

    if v_action = 'REMAKE' and v_document.state = 'MISSING' then
      update public.knowledge_base_documents set state = 'UPLOADING', failure = null, check_at = null, attempts = attempts + 1
        where id = v_id;
    elsif v_action = 'DELETE' and lockstep.may_delete(v_document) then
      update public.knowledge_base_documents set check_at = clock_timestamp() + lockstep.retry_in(attempts), attempts = attempts + 1
        where id = v_id;
    elsif v_action <> 'UPLOAD' then
      v_answer := jsonb_build_object('outcome', 'NOT_DUE');
      exit body;
    end if;
    v_state := case when v_action <> 'DELETE' then 'PROCESSING' when v_document.state = 'REMOVING' then 'REMOVED' else 'FAILED' end;
    v_answer := lockstep.begin_saga(p_org_id, p_saga_id, p_owner, 'documents', v_keys, p_request, array[lockstep.part(p_org_id,
      p_saga_id, jsonb_build_object('key', 'document', 'resource', 'file', 'resource_id', v_id, 'remote_id', v_document.vapi_file_id,
        'after_content', jsonb_build_object('action', v_action, 'state', v_state, 'contentType', v_document.content_type,
          'sizeBytes', v_document.size_bytes)))], null);
  end body;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Whether the file of a document may be deleted: nobody wants it, no published list names it, and no saga that is open or fenced
-- may still publish such a list.
create function lockstep.may_delete(d public.knowledge_base_documents) returns boolean
language sql stable set search_path = '' as $$
  select d.state in ('REMOVING', 'FAILED') and d.vapi_file_id is not null
    and not exists (select from lockstep.query_tools t where t.org_id = d.org_id and d.vapi_file_id = any (t.file_ids))
    and not lockstep.is_busy(d.org_id, 'tool');
$$;

-- Writes what a saga committed to its document. p_parts: see commit_saga.
create function lockstep.apply_documents(s public.sagas, p_parts jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_part lockstep.saga_parts;
begin
  select * into strict v_part from lockstep.saga_parts where saga_id = s.id;
  if v_part.after_content ->> 'action' = 'DELETE' then
    update public.knowledge_base_documents set state = v_part.after_content ->> 'state', vapi_file_id = null, last_saga_id = s.id,
        failure = case when state = 'FAILED' then failure end, check_at = null, attempts = 0
      where id = v_part.resource_id and vapi_file_id = v_part.remote_id and state in ('REMOVING', 'FAILED');
  else
    update public.knowledge_base_documents set state = 'PROCESSING', vapi_file_id = p_parts -> 0 ->> 'remoteId',
        last_saga_id = s.id, failure = null, processing_since = s.finished_at, check_at = s.finished_at, attempts = 0
      where id = v_part.resource_id and state = 'UPLOADING';
  end if;
  if not found then
    raise exception 'saga %: document % is not what the saga began with', s.id, v_part.resource_id;
  end if;
  return lockstep.rows_documents(s);
end
$$;

-- A document says why its saga did not make it. One that was to be made again is tried again; a new one has failed.
create function lockstep.close_documents(s public.sagas, p_missing jsonb) returns void
language plpgsql volatile set search_path = '' as $$
declare
  v_part lockstep.saga_parts;
  v_action text;
  v_over boolean := s.status = 'ROLLED_BACK';
begin
  select * into strict v_part from lockstep.saga_parts where saga_id = s.id;
  v_action := v_part.after_content ->> 'action';
  update public.knowledge_base_documents set
      failure = case when v_action = 'DELETE' and state = 'FAILED' then failure else s.failure ->> 'message' end,
      state = case when not v_over or v_action = 'DELETE' then state when v_action = 'REMAKE' then 'MISSING' else 'FAILED' end,
      -- Nothing is tried while a person has to end the saga.
      check_at = case when v_over and v_action <> 'UPLOAD' then clock_timestamp() + lockstep.retry_in(attempts) end
    where id = v_part.resource_id;
  if v_over and v_action = 'UPLOAD' then
    delete from lockstep.document_contents where org_id = s.org_id and document_id = v_part.resource_id;
  end if;
end
$$;

-- The document as a committed saga left it, whatever came later: nothing but its state changes.
create function lockstep.rows_documents(s public.sagas) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(lockstep.document_json(d) || jsonb_build_object(
      'state', coalesce(p.after_content ->> 'state', d.state),
      'failure', case when p.after_content ->> 'state' = 'FAILED' then d.failure end)), '[]')
  from lockstep.saga_parts p join public.knowledge_base_documents d on d.id = p.resource_id
  where p.saga_id = s.id and s.status = 'COMMITTED';
$$;

-- The bytes of a document, for the server that uploads them: base64. Null: they are not wanted any more.
create function lockstep.document_content(p_org_id uuid, p_document_id uuid) returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_content bytea;
begin
  perform set_config('lockstep.org_id', p_org_id::text, true);
  select content into v_content from lockstep.document_contents where org_id = p_org_id and document_id = p_document_id;
  perform lockstep.leave();
  return replace(encode(v_content, 'base64'), E'\n', '');
end
$$;

-- Begins a saga that publishes the list of an organization's READY documents in its tool, or removes the tool if there is none. The
-- list is computed here, under the lock. The saga is asked for by a job. p_request: what may_begin reads.
-- A tool that is removed must not be named by any agent, so that saga takes the agents' key too.
-- outcome: as may_begin and begin_saga | NOTHING: the tool is as it should be | WAITING: for agents that still name the tool, or for a
-- document that is being made again
create function lockstep.begin_query_tool(p_org_id uuid, p_saga_id uuid, p_owner text, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_tool lockstep.query_tools;
  v_files text[];
  v_removes boolean;
  v_keys text[];
  v_answer jsonb;
begin
  <<body>> begin
    if not lockstep.enter(p_org_id) then
      v_answer := jsonb_build_object('outcome', 'NO_ORGANIZATION');
      exit body;
    end if;
    select * into v_tool from lockstep.query_tools where org_id = p_org_id;
    v_files := lockstep.ready_files(p_org_id);
    v_removes := v_files = '{}';
    v_keys := case when v_removes then '{tool,agents}'::text[] else '{tool}'::text[] end;
    -- A begin whose answer was lost is asked for again, whatever the list has become.
    v_answer := lockstep.may_begin(p_org_id, p_saga_id, p_owner, 'query_tool', v_keys, p_request);
    exit body when v_answer is not null;

    -- Without a tool, nothing is listed.
    if v_files = coalesce(v_tool.file_ids, '{}') and not (coalesce(v_tool.repair, false) and v_tool.tool_id is not null) then
      update lockstep.query_tools set dirty = false, repair = false, check_at = null, attempts = 0 where org_id = p_org_id;
      v_answer := jsonb_build_object('outcome', 'NOTHING');
      exit body;
    end if;
    if v_removes and (lockstep.tool_wanted(p_org_id)
      or exists (select from public.agents a where a.org_id = p_org_id and a.context ->> 'toolId' = v_tool.tool_id))
    then
      update lockstep.query_tools set check_at = clock_timestamp() + lockstep.retry_in(0), attempts = 0 where org_id = p_org_id;
      v_answer := jsonb_build_object('outcome', 'WAITING');
      exit body;
    end if;
    update lockstep.query_tools set check_at = clock_timestamp() + lockstep.retry_in(attempts), attempts = attempts + 1,
        removing = v_removes
      where org_id = p_org_id;
    v_answer := lockstep.begin_saga(p_org_id, p_saga_id, p_owner, 'query_tool', v_keys, p_request, array[lockstep.part(p_org_id,
      p_saga_id, jsonb_build_object('key', 'tool', 'resource', 'query_tool', 'resource_id', p_org_id, 'remote_id', v_tool.tool_id,
        -- A tool that somebody has deleted is made again, and the agents follow.
        'recreate', not v_removes,
        'before_content', case when v_tool.tool_id is not null then jsonb_build_object('fileIds', v_tool.file_ids) end,
        'before_revision', v_tool.revision, 'before_saga_id', v_tool.last_saga_id, 'before_mapping_version', v_tool.mapping_version,
        'after_content', jsonb_build_object('fileIds', v_files, 'removed', v_removes), 'after_revision', v_tool.revision + 1))], null);
  end body;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Writes what a saga committed to the organization's tool. The list may have changed while the saga was under way.
create function lockstep.apply_query_tool(s public.sagas, p_parts jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_part lockstep.saga_parts;
  v_removes boolean;
  v_files text[];
begin
  select * into strict v_part from lockstep.saga_parts where saga_id = s.id;
  v_removes := (v_part.after_content ->> 'removed')::boolean;
  v_files := array(select jsonb_array_elements_text(v_part.after_content -> 'fileIds'));
  update lockstep.query_tools set tool_id = case when not v_removes then p_parts -> 0 ->> 'remoteId' end, file_ids = v_files,
      revision = v_part.after_revision, last_saga_id = s.id, mapping_version = s.mapping_version, repair = false, removing = false,
      dirty = lockstep.ready_files(s.org_id) <> v_files, check_at = s.finished_at, attempts = 0
    where org_id = s.org_id and revision = v_part.before_revision;
  if not found then
    raise exception 'saga %: the tool is no longer at revision %', s.id, v_part.before_revision;
  end if;
  return lockstep.rows_query_tool(s);
end
$$;

-- The list stays dirty, so that a job tries again. While a person has to end the saga, its keys keep the job away.
create function lockstep.close_query_tool(s public.sagas, p_missing jsonb) returns void
language sql volatile set search_path = '' as $$
  update lockstep.query_tools set removing = removing and s.status = 'NEEDS_ATTENTION', dirty = true where org_id = s.org_id;
$$;

create function lockstep.rows_query_tool(s public.sagas) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('fileIds', p.after_content -> 'fileIds')), '[]')
  from lockstep.saga_parts p where p.saga_id = s.id and s.status = 'COMMITTED';
$$;

-- What the jobs have to do now, of all organizations, the longest due first:
--   documents: [{ orgId, documentId, fileId, state }]: PROCESSING is asked for in Vapi, MISSING is made again, REMOVING and FAILED lose
--     their file; tools: [orgId] whose list is to be published.
create function lockstep.knowledge_base_due(p_limit integer) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'documents', (select coalesce(jsonb_agg(jsonb_build_object('orgId', d.org_id, 'documentId', d.id, 'fileId', d.vapi_file_id,
        'state', d.state) order by d.check_at), '[]') from (
      select d.id, d.org_id, d.vapi_file_id, d.state, d.check_at from public.knowledge_base_documents d
       where d.check_at <= now() and not lockstep.is_busy(d.org_id, 'document:' || d.id)
         and (d.state in ('PROCESSING', 'MISSING') or d.state in ('REMOVING', 'FAILED') and not lockstep.is_busy(d.org_id, 'tool')
           and not exists (select from lockstep.query_tools t where t.org_id = d.org_id and d.vapi_file_id = any (t.file_ids)))
       order by d.check_at limit p_limit) as d),
    'tools', (select coalesce(jsonb_agg(t.org_id order by t.check_at), '[]') from (
      select t.org_id, t.check_at from lockstep.query_tools t
       where t.dirty and t.check_at <= now() and not lockstep.is_busy(t.org_id, 'tool')
       order by t.check_at limit p_limit) as t));
$$;

-- Notes what was seen of files: p_notes: [{ orgId, documentId, fileId, seen }], seen: READY | FAILED | PROCESSING | MISSING.
-- A note counts only if the document still has that file and no saga of it is open or fenced. Answers the ids of the documents whose
-- state changed, with their new state.
create function lockstep.knowledge_base_note(p_notes jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_note jsonb;
  v_org uuid;
  v_document public.knowledge_base_documents;
  v_state text;
  v_changed jsonb := '[]';
begin
  -- In the order of organizations: two replicas can then not wait for each other.
  for v_note in select n from jsonb_array_elements(p_notes) as n order by n ->> 'orgId' loop
    v_org := (v_note ->> 'orgId')::uuid;
    continue when not lockstep.enter(v_org);
    select * into v_document from public.knowledge_base_documents
      where id = (v_note ->> 'documentId')::uuid and org_id = v_org and vapi_file_id = v_note ->> 'fileId'
        and (state = 'PROCESSING' or state = 'READY' and v_note ->> 'seen' = 'MISSING')
        and not lockstep.is_busy(v_org, 'document:' || id);
    continue when not found;
    v_state := v_note ->> 'seen';
    -- Nobody knows why Vapi needs so long, and it gives no reason.
    if v_state = 'PROCESSING' and v_document.processing_since < clock_timestamp() - interval '24 hours' then
      v_state := 'FAILED';
    end if;
    update public.knowledge_base_documents set
        state = v_state,
        failure = case when v_state = 'FAILED' then case when v_note ->> 'seen' = 'FAILED'
          then 'The text of this file cannot be read. Check that the file opens and contains text, and upload it again.'
          else 'The text of this file was not read within a day. Upload it again.' end end,
        vapi_file_id = case when v_state <> 'MISSING' then vapi_file_id end,
        was_ready = was_ready or v_state = 'READY',
        -- A file that failed is deleted, and a missing one is made again.
        check_at = case v_state when 'READY' then null
          when 'PROCESSING' then clock_timestamp() + least(lockstep.retry_in(attempts), interval '30 seconds')
          else clock_timestamp() end,
        attempts = case when v_state = 'PROCESSING' then attempts + 1 else 0 end
      where id = v_document.id;
    if v_state = 'FAILED' then
      delete from lockstep.document_contents where org_id = v_org and document_id = v_document.id;
    end if;
    if v_state <> v_document.state then
      perform lockstep.list_changed(v_org);
      v_changed := v_changed || jsonb_build_object('documentId', v_document.id, 'state', v_state);
    end if;
  end loop;
  perform lockstep.leave();
  return v_changed;
end
$$;

-- The tool of an organization is not in Vapi as the saga p_saga_id left it: a job writes it again. False: another saga has written it
-- since, or may be about to.
create function lockstep.query_tool_repair(p_org_id uuid, p_saga_id uuid) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_noted boolean := false;
begin
  if lockstep.enter(p_org_id) and not lockstep.is_busy(p_org_id, 'tool') then
    update lockstep.query_tools set repair = true, dirty = true, check_at = clock_timestamp(), attempts = 0
      where org_id = p_org_id and last_saga_id = p_saga_id and tool_id is not null;
    v_noted := found;
  end if;
  perform lockstep.leave();
  return v_noted;
end
$$;

-- Which files there should be in Vapi, in pages by document. busy: a difference proves nothing now.
create function lockstep.knowledge_base_page(p_after uuid, p_limit integer)
  returns table (org_id uuid, document_id uuid, file_id text, wanted boolean, busy boolean)
language sql stable security definer set search_path = '' as $$
  select d.org_id, d.id, d.vapi_file_id, d.state in ('PROCESSING', 'READY'), lockstep.is_busy(d.org_id, 'document:' || d.id)
  from public.knowledge_base_documents d
  where d.vapi_file_id is not null and d.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
  order by d.id limit p_limit;
$$;

-- Which tools there should be in Vapi, in pages by organization.
create function lockstep.query_tools_page(p_after uuid, p_limit integer)
  returns table (org_id uuid, tool_id text, file_ids text[], saga_id uuid, mapping_version integer, busy boolean)
language sql stable security definer set search_path = '' as $$
  select t.org_id, t.tool_id, t.file_ids, t.last_saga_id, t.mapping_version, t.repair or lockstep.is_busy(t.org_id, 'tool')
  from lockstep.query_tools t
  where t.tool_id is not null and t.org_id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
  order by t.org_id limit p_limit;
$$;

-- Of files that no document has: those that the journal positively shows to have been made by a closed saga of this deployment that
-- did not keep them. p_candidates: [{ deployment, orgId, documentId, sagaId, fileId }] from the stamps. See sweep_orphans.
create function lockstep.file_orphans(p_candidates jsonb, p_age_ms bigint) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_one jsonb;
  v_org uuid;
  v_orphans jsonb := '[]';
begin
  for v_one in select c from jsonb_array_elements(p_candidates) as c loop
    v_org := (v_one ->> 'orgId')::uuid;
    perform set_config('lockstep.org_id', v_org::text, true);
    if exists (select from lockstep.deployment d where d.id::text = v_one ->> 'deployment')
      and exists (
        select from public.sagas s join lockstep.saga_parts p on p.saga_id = s.id
        where s.id = (v_one ->> 'sagaId')::uuid and s.finished_at < clock_timestamp() - lockstep.ms(p_age_ms)
          and (s.status = 'ROLLED_BACK' or s.ambiguous)
          and p.resource = 'file' and p.resource_id = (v_one ->> 'documentId')::uuid and p.remote_id is null)
      and not exists (select from public.knowledge_base_documents d where d.org_id = v_org and d.vapi_file_id = v_one ->> 'fileId')
    then
      v_orphans := v_orphans || (v_one -> 'fileId');
    end if;
  end loop;
  perform lockstep.leave();
  return v_orphans;
end
$$;

-- As file_orphans, of tools. p_candidates: [{ sagaId, toolId }]; the id of a saga is one of this deployment or of none here.
create function lockstep.query_tool_orphans(p_candidates jsonb, p_age_ms bigint) returns jsonb
language sql volatile security definer set search_path = '' as $$
  select coalesce(jsonb_agg(c ->> 'toolId'), '[]') from jsonb_array_elements(p_candidates) as c
  where exists (select from public.sagas s where s.id = (c ->> 'sagaId')::uuid and s.kind = 'query_tool'
      and s.finished_at < clock_timestamp() - lockstep.ms(p_age_ms) and (s.status = 'ROLLED_BACK' or s.ambiguous))
    and not exists (select from lockstep.query_tools t where t.tool_id = c ->> 'toolId');
$$;

select lockstep.own_functions('lockstep_saves',
  exposed => '{begin_documents,begin_query_tool,document_content,knowledge_base_note,query_tool_repair,file_orphans}',
  internal => '{document_json,retry_in,ready_files,tool_wanted,list_changed,agent_context,part,done_saga,may_delete,apply_documents,
    close_documents,rows_documents,apply_query_tool,close_query_tool,rows_query_tool}');
-- Agents of all organizations are compared with what should be rendered into them.
grant execute on function lockstep.agent_context(uuid, jsonb), lockstep.tool_wanted(uuid), lockstep.ms(bigint) to lockstep_sweep;
select lockstep.own_functions('lockstep_sweep',
  exposed => '{knowledge_base_due,knowledge_base_page,query_tools_page,query_tool_orphans}');

-- The one door: every transition of a save is one function here, guarded by id, epoch and expected status.
--
-- They are `security definer` and owned by lockstep_saves, which has no login and does not bypass row-level security: its
-- policies compare org_id with the setting `lockstep.org_id`, which each function sets from its first argument for its own
-- transaction and clears before it returns. Code that passes another organization's save or agent finds no row.
-- Expected refusals are values (`outcome`), never exceptions: a REST layer may not carry an unknown SQLSTATE.
-- test/sim/journal-model.ts is the same machine in TypeScript; one conformance suite holds the two equal.

-- Enters an organization for this transaction and takes its lock. False: there is no such organization.
create function lockstep.enter(p_org_id uuid) returns boolean
language plpgsql volatile set search_path = '' as $$
begin
  perform set_config('lockstep.org_id', p_org_id::text, true);
  if not exists (select from public.organizations where id = p_org_id) then
    return false;
  end if;
  insert into lockstep.organization_locks (org_id) values (p_org_id) on conflict do nothing;
  perform from lockstep.organization_locks where org_id = p_org_id for update;
  return true;
end
$$;

create function lockstep.leave() returns void
language sql volatile set search_path = '' as $$
  select set_config('lockstep.org_id', '', true);
$$;

create function lockstep.ms(p_ms bigint) returns interval
language sql immutable set search_path = '' as $$
  select p_ms * interval '1 millisecond';
$$;

-- Whole milliseconds from now until then, rounded up, never negative.
create function lockstep.ms_until(p_then timestamptz) returns bigint
language sql volatile set search_path = '' as $$
  select greatest(0, ceil(extract(epoch from p_then - clock_timestamp()) * 1000))::bigint;
$$;

-- When a caller who meets this open save should try again. Held back by recovery: once it may go on. Otherwise what is likely: a
-- save that has lasted for a while will last about half as long again, and no longer than recovery's lease on it. Null: never.
create function lockstep.retry_after_ms(s public.agent_saves, p_now timestamptz) returns bigint
language sql volatile set search_path = '' as $$
  select case
    when s.status = 'NEEDS_ATTENTION' then null
    when s.not_before > p_now then lockstep.ms_until(s.not_before)
    else greatest(250, least(5000, floor(extract(epoch from p_now - s.started_at) * 500)::bigint,
      case when s.epoch > 1 then lockstep.ms_until(s.lease_until) end))
  end;
$$;

create function lockstep.save_json(s public.agent_saves) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object(
    'id', s.id, 'status', s.status, 'epoch', s.epoch, 'kind', s.kind, 'ambiguous', s.ambiguous,
    'mappingVersion', s.mapping_version, 'results', s.results, 'failure', s.failure,
    'startedAt', s.started_at, 'finishedAt', s.finished_at);
$$;

create function lockstep.agent_json(a public.agents) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object(
    'id', a.id, 'role', a.role, 'config', a.config, 'assistantId', a.vapi_assistant_id, 'revision', a.revision,
    'lastSyncedAt', a.last_synced_at, 'checkedAt', a.checked_at, 'drift', a.drift, 'missing', a.missing_since is not null,
    'adoptable', a.adoptable);
$$;

-- The agents exactly as this save left them, whatever came later: what its first caller was told. A save that kept the revision
-- has no revision row of its own, so its times and the assistant come from the save and its results.
create function lockstep.save_agents(s public.agent_saves) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
      'id', r.agent_id, 'role', r.role, 'config', r.config, 'assistantId', x ->> 'assistantId', 'revision', r.revision,
      'lastSyncedAt', s.finished_at, 'checkedAt', s.finished_at, 'drift', '[]'::jsonb, 'missing', false,
      'adoptable', null) order by r.role), '[]')
  from jsonb_array_elements(s.results) as x
  join public.agent_revisions r
    on r.agent_id = (x ->> 'agentId')::uuid and r.revision = (x ->> 'revision')::integer;
$$;

-- The revision that a save makes: the next one where the configuration changes, the same one where it does not.
create function lockstep.after_revision(i lockstep.save_images) returns integer
language sql immutable set search_path = '' as $$
  select i.before_revision + (i.before_config is distinct from i.after_config)::integer;
$$;

create function lockstep.images_json(p_save_id uuid) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
      'role', i.role, 'agentId', i.agent_id, 'assistantId', i.assistant_id, 'recreate', i.recreate,
      'before', case when i.before_config is null then null else jsonb_build_object(
        'config', i.before_config, 'revision', i.before_revision, 'saveId', i.before_save_id,
        'mappingVersion', i.before_mapping_version) end,
      'after', jsonb_build_object('config', i.after_config, 'revision', lockstep.after_revision(i))) order by i.role), '[]')
  from lockstep.save_images i where i.save_id = p_save_id;
$$;

-- Until then a request of this closed save may still reach Vapi: the organization's next save waits.
create function lockstep.raise_fence(p_org_id uuid, p_save_id uuid, p_late_ms bigint) returns void
language sql volatile set search_path = '' as $$
  update lockstep.organization_locks
     set fence_until = greatest(fence_until, clock_timestamp() + lockstep.ms(p_late_ms)), fence_save_id = p_save_id
   where org_id = p_org_id;
$$;

-- These agents of a save have no assistant any more. Known of the assistant that the save named, not of a later one.
create function lockstep.note_missing(p_save_id uuid, p_roles jsonb) returns void
language sql volatile set search_path = '' as $$
  update public.agents a set missing_since = coalesce(a.missing_since, clock_timestamp()), checked_at = clock_timestamp()
    from lockstep.save_images i
   where i.save_id = p_save_id and a.id = i.agent_id and a.vapi_assistant_id = i.assistant_id and p_roles ? i.role;
$$;

-- Records what a save intends, before anything is sent. Repeatable by (id, owner), because its answer can be lost.
-- p_request: idempotencyKey?, requestHash, kind, actor?, notAfter?, leaseMs, deadlineMs, mappingVersion,
--   updates: [{ role, agentId?, newAgentId, patch, defaults, expectedRevision?, expectedSaveId?, recreateIfMissing }]
-- expectedSaveId: as expectedRevision, for whoever must also notice a save that kept the revision (the sweep's repairs).
-- notAfter: a moment on this database's clock after which nothing begins, because the caller has given up. A call may wait for a
-- connection and for the lock long after that, and nothing cancels it: PostgREST lets a call run on when its client is gone.
-- A save that has begun is answered at any time.
-- outcome: BEGUN | REPLAY | TOO_LATE | REFUSED_MISSING | NO_ORGANIZATION | IDEMPOTENCY_CONFLICT | IN_PROGRESS | NO_AGENT
--   | REVISION_CONFLICT | INCOMPLETE
create function public.save_begin(p_org_id uuid, p_save_id uuid, p_owner text, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_answer jsonb;
  v_now timestamptz;
  v_save public.agent_saves;
  v_lock lockstep.organization_locks;
  v_update jsonb;
  v_agent public.agents;
  v_after jsonb;
  v_images lockstep.save_images[] := '{}';
  v_image lockstep.save_images;
  v_current jsonb := '[]';
  v_stale boolean := false;
  v_incomplete jsonb := '[]';
  v_missing text[] := '{}';
  v_results jsonb := '[]';
begin
  <<body>> begin
    if not lockstep.enter(p_org_id) then
      v_answer := jsonb_build_object('outcome', 'NO_ORGANIZATION');
      exit body;
    end if;
    -- After the lock: time spent waiting for it is not part of the lease.
    v_now := clock_timestamp();

    select * into v_save from public.agent_saves where id = p_save_id;
    if not found and p_request ->> 'idempotencyKey' is not null then
      select * into v_save from public.agent_saves
        where org_id = p_org_id and idempotency_key = p_request ->> 'idempotencyKey';
      if found and v_save.request_hash <> p_request ->> 'requestHash' then
        v_answer := jsonb_build_object('outcome', 'IDEMPOTENCY_CONFLICT', 'saveId', v_save.id);
        exit body;
      end if;
    end if;
    if v_save.id is not null then
      if v_save.id = p_save_id and v_save.owner = p_owner and v_save.epoch = 1 and v_save.status = 'APPLYING' then
        v_answer := jsonb_build_object('outcome', 'BEGUN', 'save', lockstep.save_json(v_save),
          'images', lockstep.images_json(v_save.id), 'deployment', (select id from lockstep.deployment));
      else
        v_answer := jsonb_build_object('outcome', 'REPLAY', 'save', lockstep.save_json(v_save),
          'agents', lockstep.save_agents(v_save));
      end if;
      exit body;
    end if;
    if v_now > (p_request ->> 'notAfter')::timestamptz then
      v_answer := jsonb_build_object('outcome', 'TOO_LATE');
      exit body;
    end if;

    select * into v_save from public.agent_saves
      where org_id = p_org_id and status in ('APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION');
    if found then
      v_answer := jsonb_build_object('outcome', 'IN_PROGRESS', 'saveId', v_save.id, 'status', v_save.status,
        'retryAfterMs', lockstep.retry_after_ms(v_save, v_now));
      exit body;
    end if;
    select * into v_lock from lockstep.organization_locks where org_id = p_org_id;
    if v_lock.fence_until > v_now then
      select * into v_save from public.agent_saves where id = v_lock.fence_save_id;
      v_answer := jsonb_build_object('outcome', 'IN_PROGRESS', 'saveId', v_save.id, 'status', v_save.status,
        'retryAfterMs', lockstep.ms_until(v_lock.fence_until));
      exit body;
    end if;

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
      -- Defaults also under a stored configuration: it may be older than one of the fields.
      v_after := (v_update -> 'defaults') || coalesce(v_agent.config, '{}') || (v_update -> 'patch');
      if v_after ->> 'systemPrompt' is null then
        v_incomplete := v_incomplete || jsonb_build_object('role', v_update ->> 'role', 'field', 'systemPrompt');
      end if;
      if v_agent.missing_since is not null and not (v_update ->> 'recreateIfMissing')::boolean then
        v_missing := v_missing || (v_update ->> 'role');
      end if;
      v_image := row(p_save_id, p_org_id, v_update ->> 'role',
        coalesce(v_agent.id, (v_update ->> 'newAgentId')::uuid),
        case when v_agent.missing_since is null then v_agent.vapi_assistant_id end,
        v_agent.config, coalesce(v_agent.revision, 0), v_agent.last_save_id, v_agent.mapping_version, v_after,
        (v_update ->> 'recreateIfMissing')::boolean);
      v_images := v_images || v_image;
      v_results := v_results || jsonb_build_object('role', v_image.role, 'agentId', v_image.agent_id, 'success', false,
        'vapiSynced', null, 'dbUpdated', false, 'assistantId', v_image.assistant_id, 'error', null, 'revision', null);
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
      -- Refused before its sibling is touched: begun and closed in one step, so that the answer can be asked for again.
      select jsonb_agg(r || jsonb_build_object('vapiSynced', false, 'error', case when r ->> 'role' = any (v_missing)
          then 'The assistant was deleted in Vapi; save with recreateIfMissing: true to make a new one.'
          else 'Not attempted: the other agent''s assistant was deleted in Vapi.' end))
        into v_results from jsonb_array_elements(v_results) as r;
    end if;

    insert into public.agent_saves (id, org_id, idempotency_key, request_hash, kind, actor, status, epoch, owner, lease_until,
        deadline_at, mapping_version, results, failure, started_at, finished_at)
      values (p_save_id, p_org_id, p_request ->> 'idempotencyKey', p_request ->> 'requestHash', p_request ->> 'kind',
        p_request ->> 'actor',
        case when v_missing <> '{}' then 'ROLLED_BACK' else 'APPLYING' end,
        1, p_owner,
        case when v_missing = '{}' then v_now + lockstep.ms((p_request ->> 'leaseMs')::bigint) end,
        v_now + lockstep.ms((p_request ->> 'deadlineMs')::bigint), (p_request ->> 'mappingVersion')::integer, v_results,
        case when v_missing <> '{}' then jsonb_build_object('reason', 'ASSISTANT_MISSING', 'retryable', false,
          'message', 'An assistant was deleted in Vapi; nothing was changed.') end,
        v_now, case when v_missing <> '{}' then v_now end)
      returning * into v_save;

    if v_missing <> '{}' then
      v_answer := jsonb_build_object('outcome', 'REFUSED_MISSING', 'save', lockstep.save_json(v_save), 'agents', '[]'::jsonb);
    else
      insert into lockstep.save_images select (unnest(v_images)).*;
      v_answer := jsonb_build_object('outcome', 'BEGUN', 'save', lockstep.save_json(v_save),
        'images', lockstep.images_json(v_save.id), 'deployment', (select id from lockstep.deployment));
    end if;
  end body;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Writes a save's content to its agents: all or none. An agent whose configuration changes gets a new revision.
-- p_agents: [{ role, assistantId, observed }], one for every agent that the save names.
create function lockstep.apply_commit(s public.agent_saves, p_agents jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_image lockstep.save_images;
  v_seen jsonb;
  v_agent public.agents;
  v_agents jsonb := '[]';
  v_results jsonb := '[]';
begin
  for v_image in select * from lockstep.save_images where save_id = s.id order by role loop
    select a into v_seen from jsonb_array_elements(p_agents) as a where a ->> 'role' = v_image.role;
    -- A commit that does not show what Vapi answered for every agent is a defect of the caller, not a refusal.
    if coalesce(v_seen ->> 'assistantId', '') = '' or jsonb_typeof(v_seen -> 'observed') is distinct from 'object' then
      raise exception 'save %: no matching answer for %', s.id, v_image.role;
    end if;
    insert into public.agents as a (id, org_id, role, config, vapi_assistant_id, revision, last_save_id, mapping_version,
        last_synced_at, checked_at)
      values (v_image.agent_id, s.org_id, v_image.role, v_image.after_config, v_seen ->> 'assistantId',
        lockstep.after_revision(v_image), s.id, s.mapping_version, v_now, v_now)
      on conflict (id) do update set config = excluded.config, vapi_assistant_id = excluded.vapi_assistant_id,
        revision = excluded.revision, last_save_id = excluded.last_save_id, mapping_version = excluded.mapping_version,
        last_synced_at = excluded.last_synced_at, checked_at = excluded.checked_at, drift = '[]', missing_since = null, adoptable = null,
        unconfirmed = false
        where a.revision = v_image.before_revision and a.last_save_id = v_image.before_save_id
      returning * into v_agent;
    if not found then
      raise exception 'save %: % is no longer at revision %', s.id, v_image.role, v_image.before_revision;
    end if;
    if v_agent.revision > v_image.before_revision then
      insert into public.agent_revisions (agent_id, revision, org_id, role, config, vapi_assistant_id, save_id, created_at)
        values (v_agent.id, v_agent.revision, s.org_id, v_agent.role, v_agent.config, v_agent.vapi_assistant_id, s.id, v_now);
    end if;
    insert into lockstep.observed (agent_id, org_id, document) values (v_agent.id, s.org_id, v_seen -> 'observed')
      on conflict (agent_id) do update set document = excluded.document;
    v_agents := v_agents || lockstep.agent_json(v_agent);
    v_results := v_results || jsonb_build_object('role', v_image.role, 'agentId', v_agent.id, 'success', true,
      'vapiSynced', true, 'dbUpdated', true, 'assistantId', v_agent.vapi_assistant_id, 'error', null,
      'revision', v_agent.revision);
  end loop;
  update public.agent_saves set status = 'COMMITTED', results = v_results, failure = null, lease_until = null,
      not_before = null, finished_at = v_now
    where id = s.id returning * into s;
  return jsonb_build_object('outcome', 'COMMITTED', 'save', lockstep.save_json(s), 'agents', v_agents);
end
$$;

-- Finds a save of an organization for a transition at this epoch. The answer is null where it may proceed from one of
-- p_from; otherwise what to answer: REPEATED (it is already in p_to, by this epoch) or STALE.
create function lockstep.may(s public.agent_saves, p_epoch integer, p_from text[], p_to text) returns jsonb
language sql stable set search_path = '' as $$
  select case
    when s.id is null then jsonb_build_object('outcome', 'NO_SAVE')
    when s.epoch = p_epoch and s.status = any (p_from) then null
    when s.epoch = p_epoch and s.status = p_to then
      jsonb_build_object('outcome', p_to, 'save', lockstep.save_json(s), 'agents', lockstep.save_agents(s),
        'notBeforeMs', case when s.not_before is null then null else lockstep.ms_until(s.not_before) end)
    else jsonb_build_object('outcome', 'STALE', 'save', lockstep.save_json(s), 'agents', lockstep.save_agents(s))
  end;
$$;

-- Both systems hold the save: makes it true in the database. p_request: agents (see apply_commit), ambiguous, lateMs.
-- outcome: COMMITTED | STALE | NO_SAVE
create function public.save_commit(p_org_id uuid, p_save_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_save public.agent_saves;
  v_answer jsonb;
begin
  if lockstep.enter(p_org_id) then
    select * into v_save from public.agent_saves where id = p_save_id for update;
  end if;
  v_answer := lockstep.may(v_save, p_epoch, '{APPLYING}', 'COMMITTED');
  if v_answer is null then
    if (p_request ->> 'ambiguous')::boolean and not v_save.ambiguous then
      update public.agent_saves set ambiguous = true where id = v_save.id returning * into v_save;
    end if;
    v_answer := lockstep.apply_commit(v_save, p_request -> 'agents');
    if v_save.ambiguous then
      perform lockstep.raise_fence(p_org_id, p_save_id, (p_request ->> 'lateMs')::bigint);
    end if;
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Turns a save round, before anything is undone. The direction changes once, one way.
-- p_request: failure { reason, message, retryable }, results, missing [role], ambiguous, lateMs, leaseMs, nothingApplied
-- Ambiguous: the quarantine is stored and the lease given up; recovery undoes it later. nothingApplied: closed at once.
-- outcome: ROLLING_BACK | ROLLED_BACK | STALE | NO_SAVE
create function public.save_abort(p_org_id uuid, p_save_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_save public.agent_saves;
  v_answer jsonb;
  v_now timestamptz;
  v_ambiguous boolean;
  v_at_once boolean;
begin
  if lockstep.enter(p_org_id) then
    select * into v_save from public.agent_saves where id = p_save_id for update;
  end if;
  v_now := clock_timestamp();
  v_ambiguous := coalesce(v_save.ambiguous, false) or (p_request ->> 'ambiguous')::boolean;
  v_at_once := (p_request ->> 'nothingApplied')::boolean and not v_ambiguous;
  v_answer := lockstep.may(v_save, p_epoch, '{APPLYING}', case when v_at_once then 'ROLLED_BACK' else 'ROLLING_BACK' end);
  if v_answer is null then
    update public.agent_saves set
        status = case when v_at_once then 'ROLLED_BACK' else 'ROLLING_BACK' end,
        results = p_request -> 'results',
        failure = p_request -> 'failure',
        ambiguous = v_ambiguous,
        not_before = case when v_ambiguous then v_now + lockstep.ms((p_request ->> 'lateMs')::bigint) end,
        lease_until = case when v_at_once then null when v_ambiguous then v_now
          else v_now + lockstep.ms((p_request ->> 'leaseMs')::bigint) end,
        finished_at = case when v_at_once then v_now end
      where id = p_save_id returning * into v_save;
    if v_at_once then
      perform lockstep.note_missing(p_save_id, p_request -> 'missing');
    end if;
    v_answer := jsonb_build_object('outcome', v_save.status, 'save', lockstep.save_json(v_save), 'agents', '[]'::jsonb,
      'notBeforeMs', case when v_ambiguous then lockstep.ms_until(v_save.not_before) end);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Everything is undone: closes the save. p_request: results, missing [role], ambiguous, lateMs
-- outcome: ROLLED_BACK | STALE | NO_SAVE
create function public.save_rolled_back(p_org_id uuid, p_save_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_save public.agent_saves;
  v_answer jsonb;
begin
  if lockstep.enter(p_org_id) then
    select * into v_save from public.agent_saves where id = p_save_id for update;
  end if;
  v_answer := lockstep.may(v_save, p_epoch, '{ROLLING_BACK}', 'ROLLED_BACK');
  if v_answer is null then
    update public.agent_saves set status = 'ROLLED_BACK', results = p_request -> 'results', lease_until = null,
        not_before = null, ambiguous = ambiguous or (p_request ->> 'ambiguous')::boolean, finished_at = clock_timestamp()
      where id = p_save_id returning * into v_save;
    perform lockstep.note_missing(p_save_id, p_request -> 'missing');
    if v_save.ambiguous then
      perform lockstep.raise_fence(p_org_id, p_save_id, (p_request ->> 'lateMs')::bigint);
    end if;
    v_answer := jsonb_build_object('outcome', 'ROLLED_BACK', 'save', lockstep.save_json(v_save), 'agents', '[]'::jsonb);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Vapi refuses the undo, what became of a request that cannot be undone is unknown, or an operator has taken the save over to end it:
-- only a person can end this save now, and the organization's saves stay locked.
-- Ambiguous: not before its requests are applied or dead, because until then Vapi may still change under that person's hands.
-- p_request: results, failure, ambiguous, lateMs. outcome: NEEDS_ATTENTION | STALE | NO_SAVE
create function public.save_needs_attention(p_org_id uuid, p_save_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_save public.agent_saves;
  v_answer jsonb;
begin
  if lockstep.enter(p_org_id) then
    select * into v_save from public.agent_saves where id = p_save_id for update;
  end if;
  v_answer := lockstep.may(v_save, p_epoch, '{APPLYING,ROLLING_BACK}', 'NEEDS_ATTENTION');
  if v_answer is null then
    update public.agent_saves set status = 'NEEDS_ATTENTION', results = p_request -> 'results',
        failure = p_request -> 'failure', lease_until = null,
        ambiguous = ambiguous or (p_request ->> 'ambiguous')::boolean,
        not_before = case when ambiguous or (p_request ->> 'ambiguous')::boolean
          then clock_timestamp() + lockstep.ms((p_request ->> 'lateMs')::bigint) end
      where id = p_save_id returning * into v_save;
    v_answer := jsonb_build_object('outcome', 'NEEDS_ATTENTION', 'save', lockstep.save_json(v_save), 'agents', '[]'::jsonb);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Gives the lease up without a decision: recovery goes on, not before p_request.notBeforeMs from now. keepsLease: only records, so
-- that whoever may take the save over later knows that something of it is ambiguous.
-- p_request: results, ambiguous, notBeforeMs, keepsLease?. outcome: HELD | STALE | NO_SAVE
create function public.save_hold(p_org_id uuid, p_save_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_save public.agent_saves;
  v_answer jsonb;
begin
  if lockstep.enter(p_org_id) then
    select * into v_save from public.agent_saves where id = p_save_id for update;
  end if;
  v_answer := lockstep.may(v_save, p_epoch, '{APPLYING,ROLLING_BACK}', '');
  if v_answer is null then
    -- The lease ends now, which also puts the save behind the others that are due.
    update public.agent_saves set results = p_request -> 'results',
        lease_until = case when coalesce((p_request ->> 'keepsLease')::boolean, false) then lease_until
          else clock_timestamp() end,
        ambiguous = ambiguous or (p_request ->> 'ambiguous')::boolean,
        not_before = case when (p_request ->> 'notBeforeMs')::bigint > 0
          then clock_timestamp() + lockstep.ms((p_request ->> 'notBeforeMs')::bigint) end
      where id = p_save_id returning * into v_save;
    v_answer := jsonb_build_object('outcome', 'HELD', 'save', lockstep.save_json(v_save), 'agents', '[]'::jsonb);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Abandoned saves of all organizations, the longest untouched first: which they are, and nothing else.
create function public.save_due(p_limit integer) returns table (org_id uuid, save_id uuid)
language sql stable security definer set search_path = '' as $$
  select s.org_id, s.id from public.agent_saves s
   where s.status in ('APPLYING', 'ROLLING_BACK') and s.lease_until <= now() and (s.not_before is null or s.not_before <= now())
   order by s.lease_until limit p_limit;
$$;

-- Takes an abandoned save: a new epoch, a fresh lease; whatever its last owner sent may still arrive, so it is ambiguous.
-- once: it had one owner until now, which recorded nothing ambiguous, so that it sent one request at most for an agent. Then the
-- taker finds out, and says at its end, whether the save is ambiguous.
-- quarantined: a stored quarantine is over. It counts once: the next taker must be told again by whoever held the save.
-- outcome: TAKEN | BUSY (another replica is at it) | NOT_DUE
create function public.save_takeover(p_org_id uuid, p_save_id uuid, p_owner text, p_lease_ms bigint) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_save public.agent_saves;
  v_quarantined boolean;
  v_once boolean;
  v_answer jsonb := jsonb_build_object('outcome', 'NOT_DUE');
begin
  perform set_config('lockstep.org_id', p_org_id::text, true);
  perform from lockstep.organization_locks where org_id = p_org_id for update skip locked;
  if not found then
    v_answer := jsonb_build_object('outcome', 'BUSY');
  else
    select * into v_save from public.agent_saves
      where id = p_save_id and status in ('APPLYING', 'ROLLING_BACK')
        and coalesce(lease_until, '-infinity') <= clock_timestamp()
        and coalesce(not_before, '-infinity') <= clock_timestamp()
      for update;
    if found then
      v_quarantined := v_save.not_before is not null;
      v_once := v_save.epoch = 1 and not v_save.ambiguous;
      update public.agent_saves set epoch = epoch + 1, owner = p_owner, ambiguous = not v_once, not_before = null,
          lease_until = clock_timestamp() + lockstep.ms(p_lease_ms)
        where id = p_save_id returning * into v_save;
      v_answer := jsonb_build_object('outcome', 'TAKEN', 'save', lockstep.save_json(v_save),
        'images', lockstep.images_json(v_save.id), 'deployment', (select id from lockstep.deployment),
        'once', v_once, 'quarantined', v_quarantined, 'pastDeadline', v_save.deadline_at <= clock_timestamp());
    end if;
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- An operator ends a save that needs attention, after looking at Vapi. p_status: COMMITTED or ROLLED_BACK.
-- p_request: agents (COMMITTED, see apply_commit), results and missing [role] (ROLLED_BACK), lateMs.
-- outcome: p_status | TOO_EARLY { notBeforeMs } | STALE | NO_SAVE
create function public.save_settle(p_org_id uuid, p_save_id uuid, p_epoch integer, p_status text, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_save public.agent_saves;
  v_answer jsonb;
begin
  if p_status not in ('COMMITTED', 'ROLLED_BACK') then
    raise exception 'save_settle: % is no end', p_status;
  end if;
  if lockstep.enter(p_org_id) then
    select * into v_save from public.agent_saves where id = p_save_id for update;
  end if;
  v_answer := lockstep.may(v_save, p_epoch, '{NEEDS_ATTENTION}', p_status);
  if v_answer is null and v_save.not_before > clock_timestamp() then
    v_answer := jsonb_build_object('outcome', 'TOO_EARLY', 'save', lockstep.save_json(v_save), 'agents', '[]'::jsonb,
      'notBeforeMs', lockstep.ms_until(v_save.not_before));
  elsif v_answer is null then
    if p_status = 'COMMITTED' then
      v_answer := lockstep.apply_commit(v_save, p_request -> 'agents');
    else
      update public.agent_saves set status = 'ROLLED_BACK', results = p_request -> 'results', not_before = null,
          finished_at = clock_timestamp()
        where id = p_save_id returning * into v_save;
      perform lockstep.note_missing(p_save_id, p_request -> 'missing');
      v_answer := jsonb_build_object('outcome', 'ROLLED_BACK', 'save', lockstep.save_json(v_save), 'agents', '[]'::jsonb);
    end if;
    perform lockstep.raise_fence(p_org_id, p_save_id, (p_request ->> 'lateMs')::bigint);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Ownership last, in the order that a role without superuser can do: revoke while we still own the functions (revoking from
-- public alone leaves what a project's default privileges gave to anon and authenticated), then hand them over. The new
-- owner needs CREATE on the schema for that moment.
grant create on schema public to lockstep_saves, lockstep_recovery;
grant create on schema lockstep to lockstep_saves;
do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
     where p.pronamespace = 'lockstep'::regnamespace
        or (p.pronamespace = 'public'::regnamespace and p.proname in ('save_begin', 'save_commit', 'save_abort',
          'save_rolled_back', 'save_needs_attention', 'save_hold', 'save_due', 'save_takeover', 'save_settle'))
  loop
    execute format('revoke execute on function %s from public, anon, authenticated, service_role', v_function);
    if v_function::text not like 'lockstep.%' then
      execute format('grant execute on function %s to service_role', v_function);
    end if;
    execute format('alter function %s owner to %I', v_function,
      case when v_function = 'public.save_due(integer)'::regprocedure then 'lockstep_recovery' else 'lockstep_saves' end);
  end loop;
end
$$;
revoke create on schema public from lockstep_saves, lockstep_recovery;
revoke create on schema lockstep from lockstep_saves;

-- The one door: every transition of a saga is one function here, guarded by id, epoch and expected status. Clients call it as
-- public.<name> (see lockstep.own_functions).
--
-- They are `security definer` and owned by lockstep_saves, which has no login and does not bypass row-level security: its
-- policies compare org_id with the setting `lockstep.org_id`, which each function sets from its first argument for its own
-- transaction and clears before it returns. Code that passes another organization's saga finds no row.
-- Expected refusals are values (`outcome`), never exceptions: a REST layer may not carry an unknown SQLSTATE.
-- test/sim/journal-model.ts is the same machine in TypeScript; one conformance suite holds the two equal.
--
-- What a saga changes in the database is known to the functions of its kind, which the migration of a feature creates:
--   lockstep.begin_<kind>(p_org_id, p_saga_id, p_owner, p_request), exposed, validates, and answers what begin_saga answers
--   lockstep.apply_<kind>(saga, parts) writes what was committed, and returns it as rows: all, or an exception
--   lockstep.close_<kind>(saga, missing) notes, of a saga that was rolled back, which remote resources are gone; it is also called,
--     with nothing missing, when a saga goes to NEEDS_ATTENTION, so that no visible row remains in a state that its saga has left
--   lockstep.rows_<kind>(saga) returns the rows as a committed saga left them, whatever came later
-- A new kind adds these functions and changes nothing here.

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

-- When a caller who meets this open saga should try again. Held back by recovery: once it may go on. Otherwise what is likely: a
-- saga that has lasted for a while will last about half as long again, and no longer than recovery's lease on it. Null: never.
create function lockstep.retry_after_ms(s public.sagas, p_now timestamptz) returns bigint
language sql volatile set search_path = '' as $$
  select case
    when s.status = 'NEEDS_ATTENTION' then null
    when greatest(s.quarantine_until, s.look_at) > p_now then lockstep.ms_until(greatest(s.quarantine_until, s.look_at))
    else greatest(250, least(5000, floor(extract(epoch from p_now - s.started_at) * 500)::bigint,
      case when s.epoch > 1 then lockstep.ms_until(s.lease_until) end))
  end;
$$;

create function lockstep.saga_json(s public.sagas) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object(
    'id', s.id, 'status', s.status, 'epoch', s.epoch, 'kind', s.kind, 'cause', s.cause, 'ambiguous', s.ambiguous,
    'mappingVersion', s.mapping_version, 'results', s.results, 'failure', s.failure,
    'startedAt', s.started_at, 'finishedAt', s.finished_at);
$$;

create function lockstep.images_json(p_saga_id uuid) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
      'key', p.key, 'resource', p.resource, 'resourceId', p.resource_id, 'remoteId', p.remote_id, 'recreate', p.recreate,
      'before', case when p.before_content is null then null else jsonb_build_object(
        'content', p.before_content, 'revision', p.before_revision, 'sagaId', p.before_saga_id,
        'mappingVersion', p.before_mapping_version, 'context', p.before_context) end,
      'after', jsonb_build_object('content', p.after_content, 'revision', p.after_revision, 'context', p.after_context))
      order by p.key), '[]')
  from lockstep.saga_parts p where p.saga_id = p_saga_id;
$$;

-- Writes what a saga has come to into the tables of its kind. p_parts: see commit_saga. Returns the rows.
create function lockstep.apply_saga(s public.sagas, p_parts jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_rows jsonb;
begin
  execute format('select lockstep.%I($1, $2)', 'apply_' || s.kind) into v_rows using s, p_parts;
  return v_rows;
end
$$;

-- Tells the kind of a saga that it was rolled back, or that it needs attention (the status says which). p_missing: the keys of the
-- parts that have no remote resource any more.
create function lockstep.close_saga(s public.sagas, p_missing jsonb) returns void
language plpgsql volatile set search_path = '' as $$
begin
  execute format('select lockstep.%I($1, $2)', 'close_' || s.kind) using s, p_missing;
end
$$;

-- The rows as a saga left them; none unless it was committed.
create function lockstep.saga_rows(s public.sagas) returns jsonb
language plpgsql stable set search_path = '' as $$
declare
  v_rows jsonb;
begin
  execute format('select lockstep.%I($1)', 'rows_' || s.kind) into v_rows using s;
  return v_rows;
end
$$;

-- A closed saga gives its keys back. p_fence_ms: for so long a request of it may still be applied, so that no saga takes the keys
-- until then; null: none may.
create function lockstep.release_keys(p_saga_id uuid, p_fence_ms bigint) returns void
language plpgsql volatile set search_path = '' as $$
begin
  if p_fence_ms is not null then
    insert into lockstep.fences as f (org_id, key, until, saga_id)
      select k.org_id, k.key, clock_timestamp() + lockstep.ms(p_fence_ms), k.saga_id
        from lockstep.saga_keys k where k.saga_id = p_saga_id
      on conflict (org_id, key) do update set until = greatest(f.until, excluded.until), saga_id = excluded.saga_id;
  end if;
  delete from lockstep.saga_keys where saga_id = p_saga_id;
end
$$;

-- What whoever has begun a saga needs to carry it out.
create function lockstep.begun_json(s public.sagas) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object('outcome', 'BEGUN', 'saga', lockstep.saga_json(s), 'images', lockstep.images_json(s.id),
    'deployment', (select d.id from lockstep.deployment d));
$$;

-- Whether a saga may begin: null, or the answer. First of all in the begin function of a kind: it enters the organization and takes
-- its lock, under which the kind then validates, and in the end calls begin_saga. Repeatable by (id, owner), because the answer of
-- a begin can be lost.
-- p_keys: what the saga changes; no other open saga may have one of these keys, and no fence may be up on one of them.
-- p_request: idempotencyKey?, requestHash, cause, actor?, notAfter?, limit?, leaseMs, deadlineMs, mappingVersion
-- notAfter: a moment on this database's clock after which nothing begins, because the caller has given up. A call may wait for a
-- connection and for the lock long after that, and nothing cancels it: PostgREST lets a call run on when its client is gone.
-- A saga that has begun is answered at any time.
-- limit { saves, perMs }: at most so many sagas that users asked for may begin in any such time. A saga that is known already is
-- answered as always. A log, and not a counter: exact, for all replicas, and it needs no table of its own.
-- outcome: BEGUN | REPLAY | TOO_LATE | NO_ORGANIZATION | IDEMPOTENCY_CONFLICT | IN_PROGRESS | RATE_LIMITED { retryAfterMs }
create function lockstep.may_begin(p_org_id uuid, p_saga_id uuid, p_owner text, p_kind text, p_keys text[], p_request jsonb)
  returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_now timestamptz;
  v_saga public.sagas;
  v_fence lockstep.fences;
  v_window interval := lockstep.ms((p_request -> 'limit' ->> 'perMs')::bigint);
  v_since timestamptz;
  v_oldest timestamptz;
begin
  if not lockstep.enter(p_org_id) then
    return jsonb_build_object('outcome', 'NO_ORGANIZATION');
  end if;
  -- After the lock: the caller may have given up while it waited.
  v_now := clock_timestamp();

  select * into v_saga from public.sagas where id = p_saga_id;
  if not found and p_request ->> 'idempotencyKey' is not null then
    select * into v_saga from public.sagas
      where org_id = p_org_id and idempotency_key = p_request ->> 'idempotencyKey';
  end if;
  if v_saga.id is not null then
    if v_saga.kind <> p_kind or v_saga.id <> p_saga_id and v_saga.request_hash <> p_request ->> 'requestHash' then
      return jsonb_build_object('outcome', 'IDEMPOTENCY_CONFLICT', 'sagaId', v_saga.id);
    end if;
    if v_saga.id = p_saga_id and v_saga.owner = p_owner and v_saga.epoch = 1 and v_saga.status = 'APPLYING' then
      return lockstep.begun_json(v_saga);
    end if;
    return jsonb_build_object('outcome', 'REPLAY', 'saga', lockstep.saga_json(v_saga), 'rows', lockstep.saga_rows(v_saga));
  end if;

  if v_window is not null then
    -- Read once: a volatile function is no index condition, and the whole history would be filtered under the lock.
    v_since := clock_timestamp() - v_window;
    select s.started_at into v_oldest from public.sagas s
      where s.org_id = p_org_id and s.actor is not null and s.started_at > v_since
      order by s.started_at desc
      offset (p_request -> 'limit' ->> 'saves')::integer - 1 limit 1;
    if found then
      return jsonb_build_object('outcome', 'RATE_LIMITED', 'retryAfterMs', lockstep.ms_until(v_oldest + v_window));
    end if;
  end if;
  if v_now > (p_request ->> 'notAfter')::timestamptz then
    return jsonb_build_object('outcome', 'TOO_LATE');
  end if;

  select s.* into v_saga from lockstep.saga_keys k join public.sagas s on s.id = k.saga_id
    where k.org_id = p_org_id and k.key = any (p_keys) order by k.key limit 1;
  if found then
    return jsonb_build_object('outcome', 'IN_PROGRESS', 'sagaId', v_saga.id, 'status', v_saga.status,
      'retryAfterMs', lockstep.retry_after_ms(v_saga, v_now));
  end if;
  select * into v_fence from lockstep.fences f
    where f.org_id = p_org_id and f.key = any (p_keys) and f.until > v_now order by f.until desc limit 1;
  if found then
    select * into v_saga from public.sagas where id = v_fence.saga_id;
    return jsonb_build_object('outcome', 'IN_PROGRESS', 'sagaId', v_saga.id, 'status', v_saga.status,
      'retryAfterMs', lockstep.ms_until(v_fence.until));
  end if;
  return null;
end
$$;

-- Records what a saga intends, before anything is sent, and takes its keys. Call it after may_begin, in the same transaction.
-- p_refused { failure, errors { <key>: text } }: the saga is begun and closed in one step, so that the answer can be asked for again.
-- outcome: BEGUN | REFUSED
create function lockstep.begin_saga(p_org_id uuid, p_saga_id uuid, p_owner text, p_kind text, p_keys text[], p_request jsonb,
  p_parts lockstep.saga_parts[], p_refused jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_refused boolean := p_refused is not null;
  v_results jsonb;
  v_saga public.sagas;
begin
  select jsonb_agg(jsonb_build_object('key', p.key, 'resourceId', p.resource_id, 'remoteId', p.remote_id, 'success', false,
      'vapiSynced', case when v_refused then false end, 'dbUpdated', false, 'error', p_refused -> 'errors' -> p.key,
      'revision', null) order by p.key)
    into v_results from unnest(p_parts) as p;
  insert into public.sagas (id, org_id, idempotency_key, request_hash, kind, cause, actor, status, epoch, owner, lease_until,
      deadline_at, mapping_version, results, failure, started_at, finished_at)
    values (p_saga_id, p_org_id, p_request ->> 'idempotencyKey', p_request ->> 'requestHash', p_kind, p_request ->> 'cause',
      p_request ->> 'actor', case when v_refused then 'ROLLED_BACK' else 'APPLYING' end, 1, p_owner,
      case when not v_refused then v_now + lockstep.ms((p_request ->> 'leaseMs')::bigint) end,
      v_now + lockstep.ms((p_request ->> 'deadlineMs')::bigint), (p_request ->> 'mappingVersion')::integer, v_results,
      p_refused -> 'failure', v_now, case when v_refused then v_now end)
    returning * into v_saga;
  if v_refused then
    return jsonb_build_object('outcome', 'REFUSED', 'saga', lockstep.saga_json(v_saga), 'rows', '[]'::jsonb);
  end if;
  insert into lockstep.saga_parts select p.* from unnest(p_parts) as p;
  -- A key that another open saga has is refused here at the latest.
  insert into lockstep.saga_keys (org_id, key, saga_id) select p_org_id, k, p_saga_id from unnest(p_keys) as k;
  return lockstep.begun_json(v_saga);
end
$$;

-- Makes a saga true in the database: all of it or nothing.
-- p_parts: [{ key, remoteId, observed }], one for every part. p_fence_ms: see release_keys.
create function lockstep.commit_saga(s public.sagas, p_parts jsonb, p_fence_ms bigint) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_part lockstep.saga_parts;
  v_seen jsonb;
  v_results jsonb := '[]';
  v_rows jsonb;
begin
  for v_part in select * from lockstep.saga_parts where saga_id = s.id order by key loop
    select a into v_seen from jsonb_array_elements(p_parts) as a where a ->> 'key' = v_part.key;
    -- A commit that does not show what Vapi answered for every part is a defect of the caller, not a refusal.
    if coalesce(v_seen ->> 'remoteId', '') = '' or jsonb_typeof(v_seen -> 'observed') is distinct from 'object' then
      raise exception 'saga %: no matching answer for %', s.id, v_part.key;
    end if;
    v_results := v_results || jsonb_build_object('key', v_part.key, 'resourceId', v_part.resource_id,
      'remoteId', v_seen -> 'remoteId', 'success', true, 'vapiSynced', true, 'dbUpdated', true, 'error', null,
      'revision', v_part.after_revision);
  end loop;
  update public.sagas set status = 'COMMITTED', results = v_results, failure = null, lease_until = null,
      finished_at = clock_timestamp()
    where id = s.id returning * into s;
  v_rows := lockstep.apply_saga(s, p_parts);
  perform lockstep.release_keys(s.id, p_fence_ms);
  return jsonb_build_object('outcome', 'COMMITTED', 'saga', lockstep.saga_json(s), 'rows', v_rows);
end
$$;

-- Enters an organization and locks one of its sagas for a transition. Null: the organization has no such saga.
create function lockstep.enter_saga(p_org_id uuid, p_saga_id uuid) returns public.sagas
language plpgsql volatile set search_path = '' as $$
declare
  v_saga public.sagas;
begin
  if lockstep.enter(p_org_id) then
    select * into v_saga from public.sagas where id = p_saga_id for update;
  end if;
  return v_saga;
end
$$;

-- Whether a saga may make a transition at this epoch. The answer is null where it may proceed from one of p_from; otherwise what to
-- answer: p_to again (this epoch has made the transition already), STALE or NO_SAGA.
create function lockstep.may(s public.sagas, p_epoch integer, p_from text[], p_to text) returns jsonb
language sql stable set search_path = '' as $$
  select case
    when s.id is null then jsonb_build_object('outcome', 'NO_SAGA')
    when s.epoch = p_epoch and s.status = any (p_from) then null
    when s.epoch = p_epoch and s.status = p_to then
      jsonb_build_object('outcome', p_to, 'saga', lockstep.saga_json(s), 'rows', lockstep.saga_rows(s))
    else jsonb_build_object('outcome', 'STALE', 'saga', lockstep.saga_json(s), 'rows', lockstep.saga_rows(s))
  end;
$$;

-- Both systems have what the saga wants: makes it true in the database. p_request: parts (see commit_saga), ambiguous, lateMs.
-- outcome: COMMITTED | STALE | NO_SAGA
create function lockstep.saga_commit(p_org_id uuid, p_saga_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_saga public.sagas;
  v_answer jsonb;
begin
  v_saga := lockstep.enter_saga(p_org_id, p_saga_id);
  v_answer := lockstep.may(v_saga, p_epoch, '{APPLYING}', 'COMMITTED');
  if v_answer is null then
    if (p_request ->> 'ambiguous')::boolean and not v_saga.ambiguous then
      update public.sagas set ambiguous = true where id = v_saga.id returning * into v_saga;
    end if;
    v_answer := lockstep.commit_saga(v_saga, p_request -> 'parts',
      case when v_saga.ambiguous then (p_request ->> 'lateMs')::bigint end);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Turns a saga round, before anything is undone. The direction changes once, one way.
-- p_request: failure { reason, message, retryable }, results, missing [key], ambiguous, lateMs, leaseMs, nothingApplied, handedOver?
-- Ambiguous: the quarantine is stored and the lease given up; recovery undoes it later, and is told what was handed over. nothingApplied: closed at once.
-- outcome: ROLLING_BACK | ROLLED_BACK | STALE | NO_SAGA
create function lockstep.saga_abort(p_org_id uuid, p_saga_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_saga public.sagas;
  v_answer jsonb;
  v_now timestamptz;
  v_ambiguous boolean;
  v_at_once boolean;
begin
  v_saga := lockstep.enter_saga(p_org_id, p_saga_id);
  v_now := clock_timestamp();
  v_ambiguous := coalesce(v_saga.ambiguous, false) or (p_request ->> 'ambiguous')::boolean;
  v_at_once := (p_request ->> 'nothingApplied')::boolean and not v_ambiguous;
  v_answer := lockstep.may(v_saga, p_epoch, '{APPLYING}', case when v_at_once then 'ROLLED_BACK' else 'ROLLING_BACK' end);
  if v_answer is null then
    update public.sagas set
        status = case when v_at_once then 'ROLLED_BACK' else 'ROLLING_BACK' end,
        results = p_request -> 'results',
        failure = p_request -> 'failure',
        ambiguous = v_ambiguous,
        handed_over = case when v_ambiguous then p_request -> 'handedOver' end,
        quarantine_until = greatest(quarantine_until,
          case when v_ambiguous then v_now + lockstep.ms((p_request ->> 'lateMs')::bigint) end),
        lease_until = case when v_at_once then null when v_ambiguous then v_now
          else v_now + lockstep.ms((p_request ->> 'leaseMs')::bigint) end,
        finished_at = case when v_at_once then v_now end
      where id = p_saga_id returning * into v_saga;
    if v_at_once then
      perform lockstep.close_saga(v_saga, p_request -> 'missing');
      perform lockstep.release_keys(p_saga_id, null);
    end if;
    v_answer := jsonb_build_object('outcome', v_saga.status, 'saga', lockstep.saga_json(v_saga), 'rows', '[]'::jsonb);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Everything is undone: closes the saga. p_request: results, missing [key], ambiguous, lateMs
-- outcome: ROLLED_BACK | STALE | NO_SAGA
create function lockstep.saga_rolled_back(p_org_id uuid, p_saga_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_saga public.sagas;
  v_answer jsonb;
begin
  v_saga := lockstep.enter_saga(p_org_id, p_saga_id);
  v_answer := lockstep.may(v_saga, p_epoch, '{ROLLING_BACK}', 'ROLLED_BACK');
  if v_answer is null then
    update public.sagas set status = 'ROLLED_BACK', results = p_request -> 'results', lease_until = null,
        ambiguous = ambiguous or (p_request ->> 'ambiguous')::boolean, finished_at = clock_timestamp()
      where id = p_saga_id returning * into v_saga;
    perform lockstep.close_saga(v_saga, p_request -> 'missing');
    perform lockstep.release_keys(p_saga_id, case when v_saga.ambiguous then (p_request ->> 'lateMs')::bigint end);
    v_answer := jsonb_build_object('outcome', 'ROLLED_BACK', 'saga', lockstep.saga_json(v_saga), 'rows', '[]'::jsonb);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Vapi refuses the undo, what became of a request that cannot be undone is unknown, or an operator has taken the saga over to end it:
-- only a person can end this saga now, and its keys stay taken.
-- Ambiguous: not before its requests are applied or dead, because until then Vapi may still change under that person's hands.
-- p_request: results, failure, ambiguous, lateMs. outcome: NEEDS_ATTENTION | STALE | NO_SAGA
create function lockstep.saga_needs_attention(p_org_id uuid, p_saga_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_saga public.sagas;
  v_answer jsonb;
begin
  v_saga := lockstep.enter_saga(p_org_id, p_saga_id);
  v_answer := lockstep.may(v_saga, p_epoch, '{APPLYING,ROLLING_BACK}', 'NEEDS_ATTENTION');
  if v_answer is null then
    update public.sagas set status = 'NEEDS_ATTENTION', results = p_request -> 'results',
        failure = p_request -> 'failure', lease_until = null,
        ambiguous = ambiguous or (p_request ->> 'ambiguous')::boolean,
        quarantine_until = greatest(quarantine_until, case when ambiguous or (p_request ->> 'ambiguous')::boolean
          then clock_timestamp() + lockstep.ms((p_request ->> 'lateMs')::bigint) end)
      where id = p_saga_id returning * into v_saga;
    perform lockstep.close_saga(v_saga, '[]');
    v_answer := jsonb_build_object('outcome', 'NEEDS_ATTENTION', 'saga', lockstep.saga_json(v_saga), 'rows', '[]'::jsonb);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Gives the lease up without a decision: recovery goes on. quarantineMs: not before a request that was sent is applied or dead, which
-- the next owner may then rely on; 0: no quarantine. lookAfterMs: not before it makes sense to try again. keepsLease: only records,
-- so that whoever may take the saga over later knows that something of it is ambiguous, or that the pivot may have been sent.
-- handedOver: what the next owner may rely on; only of an owner that sends nothing any more.
-- p_request: results, ambiguous, quarantineMs, lookAfterMs, keepsLease?, pivotSent?, handedOver?. outcome: HELD | STALE | NO_SAGA
create function lockstep.saga_hold(p_org_id uuid, p_saga_id uuid, p_epoch integer, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_saga public.sagas;
  v_answer jsonb;
  v_now timestamptz;
begin
  v_saga := lockstep.enter_saga(p_org_id, p_saga_id);
  -- One moment for all: a quarantine that begins when the lease ends does not end before it.
  v_now := clock_timestamp();
  v_answer := lockstep.may(v_saga, p_epoch, '{APPLYING,ROLLING_BACK}', '');
  if v_answer is null then
    -- The lease ends now, which also puts the saga behind the others that are due.
    update public.sagas set results = p_request -> 'results',
        lease_until = case when coalesce((p_request ->> 'keepsLease')::boolean, false) then lease_until else v_now end,
        ambiguous = ambiguous or (p_request ->> 'ambiguous')::boolean,
        quarantine_until = greatest(quarantine_until, case when (p_request ->> 'quarantineMs')::bigint > 0
          then v_now + lockstep.ms((p_request ->> 'quarantineMs')::bigint) end),
        pivot_sent = pivot_sent or coalesce((p_request ->> 'pivotSent')::boolean, false),
        handed_over = p_request -> 'handedOver',
        look_at = v_now + lockstep.ms((p_request ->> 'lookAfterMs')::bigint)
      where id = p_saga_id returning * into v_saga;
    v_answer := jsonb_build_object('outcome', 'HELD', 'saga', lockstep.saga_json(v_saga), 'rows', '[]'::jsonb);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Abandoned sagas of all organizations, the longest untouched first: which they are, and nothing else.
create function lockstep.saga_due(p_limit integer) returns table (org_id uuid, saga_id uuid)
language sql stable security definer set search_path = '' as $$
  select s.org_id, s.id from public.sagas s
   where s.status in ('APPLYING', 'ROLLING_BACK') and s.lease_until <= now()
     and coalesce(greatest(s.quarantine_until, s.look_at) <= now(), true)
   order by s.lease_until limit p_limit;
$$;

-- Takes an abandoned saga: a new epoch, a fresh lease; whatever its last owner sent may still arrive, so it is ambiguous.
-- once: it had one owner until now, which recorded nothing ambiguous, so that it sent one request at most for a part. Then the
-- taker finds out, and says at its end, whether the saga is ambiguous.
-- quarantined: the last owner recorded a quarantine, and it is over. One that its predecessor recorded was over before this owner began,
-- and says nothing of what this owner has sent: it lies before the end of this owner's lease.
-- handedOver: what the last owner recorded when it gave the saga up. Whoever takes the saga may send more, so it is told once.
-- outcome: TAKEN | BUSY (another replica is at it) | NOT_DUE
create function lockstep.saga_takeover(p_org_id uuid, p_saga_id uuid, p_owner text, p_lease_ms bigint) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_saga public.sagas;
  v_quarantined boolean;
  v_once boolean;
  v_handed_over jsonb;
  v_answer jsonb := jsonb_build_object('outcome', 'NOT_DUE');
begin
  perform set_config('lockstep.org_id', p_org_id::text, true);
  perform from lockstep.organization_locks where org_id = p_org_id for update skip locked;
  if not found then
    v_answer := jsonb_build_object('outcome', 'BUSY');
  else
    select * into v_saga from public.sagas
      where id = p_saga_id and status in ('APPLYING', 'ROLLING_BACK')
        and coalesce(lease_until, '-infinity') <= clock_timestamp()
        and coalesce(greatest(quarantine_until, look_at), '-infinity') <= clock_timestamp()
      for update;
    if found then
      v_quarantined := coalesce(v_saga.quarantine_until >= v_saga.lease_until, false);
      v_once := v_saga.epoch = 1 and not v_saga.ambiguous;
      v_handed_over := v_saga.handed_over;
      update public.sagas set epoch = epoch + 1, owner = p_owner, ambiguous = not v_once, handed_over = null,
          lease_until = clock_timestamp() + lockstep.ms(p_lease_ms)
        where id = p_saga_id returning * into v_saga;
      v_answer := jsonb_build_object('outcome', 'TAKEN', 'saga', lockstep.saga_json(v_saga),
        'images', lockstep.images_json(v_saga.id), 'deployment', (select id from lockstep.deployment),
        'once', v_once, 'quarantined', v_quarantined, 'handedOver', v_handed_over, 'pivotSent', v_saga.pivot_sent, 'pastDeadline', v_saga.deadline_at <= clock_timestamp());
    end if;
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- An operator ends a saga that needs attention, after looking at Vapi. p_status: COMMITTED or ROLLED_BACK.
-- p_request: parts (COMMITTED, see commit_saga), results and missing [key] (ROLLED_BACK), lateMs.
-- outcome: p_status | TOO_EARLY { notBeforeMs } | STALE | NO_SAGA
create function lockstep.saga_settle(p_org_id uuid, p_saga_id uuid, p_epoch integer, p_status text, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_saga public.sagas;
  v_answer jsonb;
begin
  if p_status not in ('COMMITTED', 'ROLLED_BACK') then
    raise exception 'saga_settle: % is no end', p_status;
  end if;
  v_saga := lockstep.enter_saga(p_org_id, p_saga_id);
  v_answer := lockstep.may(v_saga, p_epoch, '{NEEDS_ATTENTION}', p_status);
  if v_answer is null and v_saga.quarantine_until > clock_timestamp() then
    v_answer := jsonb_build_object('outcome', 'TOO_EARLY', 'saga', lockstep.saga_json(v_saga), 'rows', '[]'::jsonb,
      'notBeforeMs', lockstep.ms_until(v_saga.quarantine_until));
  elsif v_answer is null then
    if p_status = 'COMMITTED' then
      v_answer := lockstep.commit_saga(v_saga, p_request -> 'parts', (p_request ->> 'lateMs')::bigint);
    else
      update public.sagas set status = 'ROLLED_BACK', results = p_request -> 'results', finished_at = clock_timestamp()
        where id = p_saga_id returning * into v_saga;
      perform lockstep.close_saga(v_saga, p_request -> 'missing');
      perform lockstep.release_keys(p_saga_id, (p_request ->> 'lateMs')::bigint);
      v_answer := jsonb_build_object('outcome', 'ROLLED_BACK', 'saga', lockstep.saga_json(v_saga), 'rows', '[]'::jsonb);
    end if;
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- A saga's images, for an operator who settles it. Before notBeforeMs are over, what Vapi shows proves nothing; before leaseMs
-- are over, the saga has an owner that may still end it.
-- outcome: FOUND | NO_SAGA
create function lockstep.saga_inspect(p_org_id uuid, p_saga_id uuid) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_saga public.sagas;
  v_answer jsonb := jsonb_build_object('outcome', 'NO_SAGA');
begin
  if lockstep.enter(p_org_id) then
    select * into v_saga from public.sagas where id = p_saga_id;
    if found then
      v_answer := jsonb_build_object('outcome', 'FOUND', 'saga', lockstep.saga_json(v_saga),
        'images', lockstep.images_json(v_saga.id), 'deployment', (select id from lockstep.deployment),
        'notBeforeMs', lockstep.ms_until(v_saga.quarantine_until),
        'leaseMs', case when v_saga.lease_until is null then null else lockstep.ms_until(v_saga.lease_until) end);
    end if;
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

select lockstep.own_functions('lockstep_recovery', exposed => '{saga_due}');
select lockstep.own_functions('lockstep_saves',
  exposed => '{saga_commit,saga_abort,saga_rolled_back,saga_needs_attention,saga_hold,saga_takeover,saga_settle,saga_inspect}',
  internal => '{enter,leave,ms,ms_until,retry_after_ms,saga_json,images_json,apply_saga,close_saga,saga_rows,release_keys,
    begun_json,may_begin,begin_saga,commit_saga,enter_saga,may}');

-- Calls: what Vapi reports about them, what is known about each, and the log of each organization.
--
-- Vapi reports a call in events, which come repeated, out of order or not at all, and in its list of calls. Each report is an
-- observation. What is known of a call is the merge of its observations (merge_facts), whatever their order; the organization's log is a
-- projection of that (project_call). The recipe of the phone numbers' for references and lists.

-- Owner of the functions of calls: reads and merges what Vapi reports, for all organizations; writes the log of one at a time.
select lockstep.make_role('lockstep_calls');

-- Which content of calls is kept: everything; the summary and the analysis, but no transcript; or nothing.
alter table public.organizations add column call_content text not null default 'FULL' check (call_content in ('FULL', 'SUMMARY', 'NONE'));

create table public.call_logs (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete restrict,
  -- Null: it was asked for here, and Vapi has not shown it yet.
  vapi_call_id text unique check (vapi_call_id <> ''),
  -- Null: from before the agent was saved here, or the agent is gone.
  agent_id uuid,
  phone_number_id uuid,
  -- A call in a browser is an inbound one.
  direction text not null check (direction in ('INBOUND', 'OUTBOUND')),
  channel text not null default 'PHONE' check (channel in ('PHONE', 'WEB')),
  customer_number text check (length(customer_number) between 3 and 40),
  customer_name text check (length(customer_name) between 1 and 200),
  created_at timestamptz not null default now(),
  -- Null: it never connected, or has not yet.
  started_at timestamptz,
  -- Its place in lists.
  listed_at timestamptz not null generated always as (coalesce(started_at, created_at)) stored,
  ended_at timestamptz,
  -- Its last state before the end. The end itself is an outcome.
  progress text not null default 'IN_PROGRESS' check (progress in ('REQUESTED', 'UNKNOWN', 'QUEUED', 'RINGING', 'IN_PROGRESS', 'FORWARDING')),
  -- Null: the call is not over.
  outcome text check (outcome in ('COMPLETED', 'TRANSFERRED', 'VOICEMAIL', 'NO_ANSWER', 'BUSY', 'FAILED')),
  -- Vapi's own word for it, of an open and growing set.
  ended_reason text check (length(ended_reason) between 1 and 200),
  summary text,
  -- Exactly as Vapi says it: what is rounded cannot be added up.
  cost_usd numeric check (cost_usd >= 0),
  cost_parts jsonb check (jsonb_typeof(cost_parts) = 'object'),
  -- What the stamp of the assistant said: the save that rendered what spoke, and its revision. The save may not have been committed.
  agent_save_id uuid,
  stamped_revision integer check (stamped_revision > 0),
  has_recording boolean not null default false,
  -- Its content was deleted, here or in Vapi, and never comes back.
  content_removed_at timestamptz,
  unique (org_id, id),
  foreign key (org_id, agent_id) references public.agents (org_id, id) on delete set null (agent_id),
  foreign key (org_id, phone_number_id) references public.phone_numbers (org_id, id) on delete set null (phone_number_id)
);
create index call_logs_by_time on public.call_logs (org_id, listed_at desc, id desc);
-- Every combination of filters has an index that ends in the order of the list: list_page names a direction and an outcome for each
-- of its ranges, so these two need no index without them. OPEN stands for null: only an equality
-- keeps the order of what follows (and Postgres does not know that coalesce leaks nothing, so that row-level security kept it away).
create index call_logs_by_outcome on public.call_logs (org_id, direction, (case when outcome is null then 'OPEN' else outcome end), listed_at desc, id desc);
create index call_logs_by_agent on public.call_logs (org_id, agent_id, direction, (case when outcome is null then 'OPEN' else outcome end), listed_at desc, id desc);
create index call_logs_by_phone_number on public.call_logs
  (org_id, phone_number_id, direction, (case when outcome is null then 'OPEN' else outcome end), listed_at desc, id desc);
create index call_logs_by_agent_and_phone_number on public.call_logs
  (org_id, agent_id, phone_number_id, direction, (case when outcome is null then 'OPEN' else outcome end), listed_at desc, id desc);

-- What was said, apart from the log, so that no list moves it.
create table public.call_contents (
  call_id uuid primary key,
  org_id uuid not null references public.organizations (id) on delete restrict,
  -- [{ role, text, secondsFromStart }]
  transcript jsonb check (jsonb_typeof(transcript) = 'array'),
  analysis jsonb check (jsonb_typeof(analysis) = 'object'),
  foreign key (org_id, call_id) references public.call_logs (org_id, id) on delete cascade
);
create index call_contents_by_org on public.call_contents (org_id, call_id);

-- The organization of every remote id that the journal of sagas has ever recorded. Never deleted: a call of a deleted assistant may be
-- reported at any time.
create table lockstep.remote_ids (
  resource text not null check (resource in ('assistant', 'number')),
  remote_id text not null check (remote_id <> ''),
  org_id uuid not null,
  -- Our id of the agent or the phone number.
  resource_id uuid not null,
  recorded_at timestamptz not null default clock_timestamp(),
  -- The calls that were held for it have been looked at.
  claimed boolean not null default false,
  primary key (resource, remote_id)
);
create index remote_ids_unclaimed on lockstep.remote_ids (recorded_at) where not claimed;
create index remote_ids_by_org on lockstep.remote_ids (org_id);

-- What is known about each call that Vapi has reported, of every organization and of none.
create table lockstep.call_facts (
  vapi_call_id text primary key check (length(vapi_call_id) between 1 and 100),
  -- { <name>: [rank..., value] }: see merge_facts. assistant:<id> and number:<id>: the call was seen with this resource.
  facts jsonb not null default '{}' check (jsonb_typeof(facts) = 'object'),
  -- { summary?, transcript?, analysis? } of a call that is not in a log yet: what the facts name by its hash.
  content jsonb,
  -- SHOWN: it is in the log of org_id. HELD: an id that it needs is not recorded yet. FOREIGN: it was held for a day and carries no stamp
  -- of ours; it is still shown if its id is recorded later. WITHDRAWN: its ids belong to several organizations.
  state text not null default 'HELD' check (state in ('SHOWN', 'HELD', 'FOREIGN', 'WITHDRAWN')),
  org_id uuid,
  -- Its id in the log; kept, so that a call that comes back is the same one.
  call_id uuid not null default gen_random_uuid() unique,
  first_seen_at timestamptz not null default clock_timestamp(),
  -- As Vapi says; until it has, when it was first seen.
  created_at timestamptz not null default clock_timestamp(),
  check ((state = 'SHOWN') = (org_id is not null)),
  check (state in ('HELD', 'SHOWN') or content is null)
);
-- Which calls wait for an id.
create index call_facts_unshown on lockstep.call_facts using gin (facts) where state <> 'SHOWN';
create index call_facts_held on lockstep.call_facts (first_seen_at) where state = 'HELD';
create index call_facts_by_org on lockstep.call_facts (org_id, created_at);

-- The inbox: events that Vapi was told are received, and that are not applied yet. An applied one is deleted.
create table lockstep.call_events (
  id uuid primary key default gen_random_uuid(),
  received_at timestamptz not null default clock_timestamp(),
  kind text not null,
  vapi_call_id text not null check (length(vapi_call_id) between 1 and 100),
  facts jsonb not null check (jsonb_typeof(facts) = 'object'),
  content jsonb not null check (jsonb_typeof(content) = 'object'),
  -- Counted before each attempt, in a transaction of its own: an event that kills whoever applies it ends in quarantine as well.
  attempts integer not null default 0,
  next_at timestamptz not null default clock_timestamp(),
  quarantined boolean not null default false,
  -- Why the last attempt failed.
  error text
);
create index call_events_due on lockstep.call_events (next_at) where not quarantined;
create index call_events_quarantined on lockstep.call_events (received_at) where quarantined;

-- The walks over Vapi's list of calls: one by the last change, and one a day by creation, which reads a week again. Times are Vapi's.
create table lockstep.call_walks (
  name text primary key check (name in ('CHANGED', 'CREATED')),
  -- When the last whole walk began.
  walked_at timestamptz,
  -- Every call that Vapi had listed until then is stored. It may go back: a call was found that should have been.
  complete_through timestamptz,
  -- How long Vapi was seen to take until it lists a change.
  lag interval not null default '0'
);
insert into lockstep.call_walks (name) values ('CHANGED'), ('CREATED');

select lockstep.protect_tables('public.call_logs', 'public.call_contents', 'lockstep.remote_ids', 'lockstep.call_facts',
  'lockstep.call_events', 'lockstep.call_walks');
select lockstep.let_users_read('public.call_logs', 'public.call_contents');

-- Remembers each remote id that a saga records. The organization is the one that the running function has entered.
select lockstep.let_saves('select, insert', 'lockstep.remote_ids');
create function lockstep.remember_remote_ids() returns trigger
language plpgsql volatile set search_path = '' as $$
begin
  if new.kind in ('agents', 'phone_numbers') then
    insert into lockstep.remote_ids (resource, remote_id, org_id, resource_id)
      select case new.kind when 'agents' then 'assistant' else 'number' end, seen.remote_id, new.org_id, p.resource_id
        from (
          select r ->> 'key', r ->> 'remoteId' from jsonb_array_elements(new.results) as r
          union all
          -- What an owner has made and not yet brought to an end.
          select h.key, h.value ->> 'remoteId' from jsonb_each(new.handed_over) as h
        ) as seen (key, remote_id)
        join lockstep.saga_parts p on p.saga_id = new.id and p.key = seen.key
        where seen.remote_id <> ''
    on conflict do nothing;
  end if;
  return null;
end
$$;
create trigger remember_remote_ids after update of results, handed_over on public.sagas
  for each row execute function lockstep.remember_remote_ids();

grant usage on schema lockstep to lockstep_calls;
grant select, update (claimed) on lockstep.remote_ids to lockstep_calls;
grant select, insert, update on lockstep.call_facts to lockstep_calls;
grant select, insert, update, delete on lockstep.call_events to lockstep_calls;
grant select, update on lockstep.call_walks to lockstep_calls;
grant select (id, call_content) on public.organizations to lockstep_calls;
grant select (id, org_id) on public.agents, public.phone_numbers to lockstep_calls;
grant select, insert, update, delete on public.call_logs, public.call_contents to lockstep_calls;
grant select (id) on lockstep.deployment to lockstep_calls;
create policy remote_ids_calls on lockstep.remote_ids to lockstep_calls using (remote_id <> '') with check (remote_id <> '');
create policy call_facts_calls on lockstep.call_facts to lockstep_calls using (vapi_call_id <> '') with check (vapi_call_id <> '');
create policy call_walks_calls on lockstep.call_walks to lockstep_calls using (name <> '') with check (name <> '');
create policy call_events_calls on lockstep.call_events to lockstep_calls using (id is not null) with check (id is not null);
create policy deployment_calls on lockstep.deployment for select to lockstep_calls using (only_one);
create policy organizations_calls on public.organizations for select to lockstep_calls using (id is not null);
do $$
declare
  v_table regclass;
  v_entered constant text := '(select current_setting(''lockstep.org_id'', true))';
begin
  -- Whatever an event says, its organization is the one that project_call has found and entered.
  foreach v_table in array '{public.agents,public.phone_numbers}'::regclass[] loop
    execute format('create policy %I on %s for select to lockstep_calls using (%s)',
      (select relname from pg_catalog.pg_class where oid = v_table) || '_calls', v_table, lockstep.rows_of(v_table, v_entered));
  end loop;
  foreach v_table in array '{public.call_logs,public.call_contents}'::regclass[] loop
    execute format('create policy %1$I on %2$s to lockstep_calls using (%3$s) with check (%3$s)',
      (select relname from pg_catalog.pg_class where oid = v_table) || '_calls', v_table, lockstep.rows_of(v_table, v_entered));
  end loop;
end
$$;

-- The merge of two observations of one call: of each fact the greater one. A fact is an array whose first members say how much it is worth
-- and whose last is its value, and jsonb is ordered; so the merge is commutative, associative and idempotent, whatever is in it.
-- src/domain/calls/observation.ts says which ranks there are.
create function lockstep.merge_facts(p_one jsonb, p_other jsonb) returns jsonb
language sql immutable set search_path = '' as $$
  select coalesce(jsonb_object_agg(k, greatest(p_one -> k, p_other -> k)), '{}') from jsonb_object_keys(p_one || p_other) as k;
$$;

-- The value of a fact; null: it is not known.
create function lockstep.fact(p_facts jsonb, p_name text) returns jsonb
language sql immutable set search_path = '' as $$
  select p_facts -> p_name -> -1;
$$;

-- The organization of a call, from all that is known about it.
-- state: SHOWN { orgId } | HELD | WITHDRAWN. A phone call needs its number, a browser call its assistant; every other id that is known must
-- agree. What the call says of itself decides nothing: in a browser, its client chose it.
create function lockstep.call_owner(p_facts jsonb) returns jsonb
language sql stable set search_path = '' as $$
  select case
    when count(distinct r.org_id) > 1 then jsonb_build_object('state', 'WITHDRAWN')
    when count(r.org_id) > 0 and coalesce(bool_and(r.org_id is not null) filter (where i.needed), true)
      then jsonb_build_object('state', 'SHOWN', 'orgId', min(r.org_id::text),
        'agentId', min(r.resource_id::text) filter (where i.resource = 'assistant'),
        'phoneNumberId', min(r.resource_id::text) filter (where i.resource = 'number'))
    else jsonb_build_object('state', 'HELD') end
  from (
    select split_part(k, ':', 1) as resource, substr(k, strpos(k, ':') + 1) as remote_id,
      split_part(k, ':', 1) = case when lockstep.fact(p_facts, 'channel') = '"WEB"' then 'assistant' else 'number' end as needed
    from jsonb_object_keys(p_facts) as k where k like 'assistant:%' or k like 'number:%'
  ) as i
  left join lockstep.remote_ids r on r.resource = i.resource and r.remote_id = i.remote_id;
$$;

-- What of a call's content an organization keeps.
create function lockstep.kept_content(p_content jsonb, p_setting text) returns jsonb
language sql immutable set search_path = '' as $$
  select case p_setting when 'FULL' then p_content when 'SUMMARY' then p_content - 'transcript' else '{}' end;
$$;

-- Writes the log entry of a call, from all that is known about it. p_content: content of which the facts name the hash; what is absent stays.
-- Returns { state, orgId?, callId?, customerNumber? }.
create function lockstep.project_call(p_vapi_call_id text, p_content jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_call lockstep.call_facts;
  v_owner jsonb;
  v_org_id uuid;
  v_content jsonb;
  v_log public.call_logs;
  f jsonb;
begin
  select * into strict v_call from lockstep.call_facts where vapi_call_id = p_vapi_call_id for update;
  f := v_call.facts;
  v_owner := lockstep.call_owner(f);
  v_org_id := v_owner ->> 'orgId';
  v_content := coalesce(v_call.content, '{}') || p_content;
  if v_call.org_id is distinct from v_org_id and v_call.org_id is not null then
    perform set_config('lockstep.org_id', v_call.org_id::text, true);
    delete from public.call_logs where id = v_call.call_id;
    perform set_config('lockstep.org_id', '', true);
  end if;
  if v_org_id is null then
    update lockstep.call_facts set org_id = null,
        state = case when state = 'FOREIGN' and v_owner ->> 'state' = 'HELD' then 'FOREIGN' else v_owner ->> 'state' end,
        content = case when state <> 'FOREIGN' and v_owner ->> 'state' = 'HELD' then v_content end
      where vapi_call_id = p_vapi_call_id returning * into v_call;
    return jsonb_build_object('state', v_call.state);
  end if;

  update lockstep.call_facts set org_id = v_org_id, state = 'SHOWN', content = null where vapi_call_id = p_vapi_call_id;
  perform set_config('lockstep.org_id', v_org_id::text, true);
  v_content := lockstep.kept_content(v_content, (select call_content from public.organizations where id = v_org_id));
  insert into public.call_logs as l (id, org_id, vapi_call_id, agent_id, phone_number_id, direction, channel, customer_number,
      customer_name, created_at, started_at, ended_at, progress, outcome, ended_reason, summary, cost_usd, cost_parts, agent_save_id,
      stamped_revision, has_recording, content_removed_at)
    values (v_call.call_id, v_org_id, p_vapi_call_id,
      (select a.id from public.agents a where a.id = (v_owner ->> 'agentId')::uuid),
      (select n.id from public.phone_numbers n where n.id = (v_owner ->> 'phoneNumberId')::uuid),
      coalesce(lockstep.fact(f, 'direction') #>> '{}', 'INBOUND'), coalesce(lockstep.fact(f, 'channel') #>> '{}', 'PHONE'),
      lockstep.fact(f, 'customerNumber') #>> '{}', lockstep.fact(f, 'customerName') #>> '{}',
      coalesce((lockstep.fact(f, 'createdAt') #>> '{}')::timestamptz, v_call.first_seen_at),
      (lockstep.fact(f, 'startedAt') #>> '{}')::timestamptz, (lockstep.fact(f, 'endedAt') #>> '{}')::timestamptz,
      coalesce(lockstep.fact(f, 'progress') #>> '{}', 'UNKNOWN'),
      -- An end without a reason is a failure until the reason comes.
      case when f ? 'ended' then coalesce(lockstep.fact(f, 'endedReason') ->> 'outcome', 'FAILED') end,
      lockstep.fact(f, 'endedReason') ->> 'reason', v_content ->> 'summary',
      (lockstep.fact(f, 'cost') #>> '{}')::numeric, lockstep.fact(f, 'costParts'),
      (lockstep.fact(f, 'stamp') ->> 'saveId')::uuid, (lockstep.fact(f, 'stamp') ->> 'revision')::integer,
      f ? 'recording', case when f ? 'deleted' then clock_timestamp() end)
    on conflict (id) do update set agent_id = excluded.agent_id, phone_number_id = excluded.phone_number_id,
      direction = excluded.direction, channel = excluded.channel, customer_number = excluded.customer_number,
      customer_name = excluded.customer_name, created_at = excluded.created_at, started_at = excluded.started_at,
      ended_at = excluded.ended_at, progress = excluded.progress, outcome = excluded.outcome, ended_reason = excluded.ended_reason,
      summary = case when coalesce(l.content_removed_at, excluded.content_removed_at) is null then coalesce(excluded.summary, l.summary) end,
      cost_usd = excluded.cost_usd, cost_parts = excluded.cost_parts, agent_save_id = excluded.agent_save_id,
      stamped_revision = excluded.stamped_revision, has_recording = excluded.has_recording,
      content_removed_at = coalesce(l.content_removed_at, excluded.content_removed_at)
    returning * into v_log;
  if v_log.content_removed_at is not null then
    delete from public.call_contents where call_id = v_log.id;
  elsif v_content ?| '{transcript,analysis}' then
    insert into public.call_contents as c (call_id, org_id, transcript, analysis)
      values (v_log.id, v_org_id, v_content -> 'transcript', v_content -> 'analysis')
      on conflict (call_id) do update set transcript = coalesce(excluded.transcript, c.transcript),
        analysis = coalesce(excluded.analysis, c.analysis);
  end if;
  perform set_config('lockstep.org_id', '', true);
  return v_owner || jsonb_build_object('callId', v_log.id, 'customerNumber', v_log.customer_number);
end
$$;

-- Takes in one observation of a call. p_content: { summary?, transcript?, analysis? }, whose hashes p_facts names.
-- Returns { state, isNew, orgId?, callId?, customerNumber? }; isNew: nothing was known about this call.
create function lockstep.take_in_call(p_vapi_call_id text, p_facts jsonb, p_content jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_facts jsonb;
  v_new boolean;
  v_content jsonb;
begin
  insert into lockstep.call_facts (vapi_call_id) values (p_vapi_call_id) on conflict do nothing;
  v_new := found;
  select lockstep.merge_facts(c.facts, p_facts) into v_facts from lockstep.call_facts c where c.vapi_call_id = p_vapi_call_id for update;
  -- Only content whose fact has won.
  select coalesce(jsonb_object_agg(k, v), '{}') into v_content
    from jsonb_each(p_content) as c (k, v) where v_facts -> k = p_facts -> k;
  update lockstep.call_facts set facts = v_facts,
      created_at = coalesce((lockstep.fact(v_facts, 'createdAt') #>> '{}')::timestamptz, created_at)
    where vapi_call_id = p_vapi_call_id;
  return lockstep.project_call(p_vapi_call_id, v_content) || jsonb_build_object('isNew', v_new);
end
$$;

-- Takes in observations: [{ vapiCallId, facts, content }]. Answers each in the same order (see take_in_call); one that the database
-- refuses is answered with { state: REFUSED, error } and takes nothing with it. They are applied in the order of their ids, so that two
-- callers do not wait for each other.
create function lockstep.observe_calls(p_observations jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_answers jsonb[] := array_fill('{}'::jsonb, array[jsonb_array_length(p_observations)]);
  o record;
begin
  for o in select value as v, ordinality as n from jsonb_array_elements(p_observations) with ordinality order by value ->> 'vapiCallId', 2 loop
    begin
      v_answers[o.n] := lockstep.take_in_call(o.v ->> 'vapiCallId', o.v -> 'facts', o.v -> 'content');
    exception when data_exception or integrity_constraint_violation then
      perform set_config('lockstep.org_id', '', true);
      v_answers[o.n] := jsonb_build_object('state', 'REFUSED', 'error', left(sqlerrm, 500));
    end;
  end loop;
  return to_jsonb(v_answers);
end
$$;

-- Stores an event. When this has returned, the event is not lost. Content that its organization does not keep is left out here already,
-- where the organization is known.
create function lockstep.call_event_store(p_kind text, p_vapi_call_id text, p_facts jsonb, p_content jsonb) returns void
language sql volatile security definer set search_path = '' as $$
  insert into lockstep.call_events (kind, vapi_call_id, facts, content)
    values (p_kind, p_vapi_call_id, p_facts, lockstep.kept_content(p_content,
      coalesce((select o.call_content from public.organizations o where o.id = (lockstep.call_owner(p_facts) ->> 'orgId')::uuid), 'FULL')));
$$;

-- Takes events that are due, and counts the attempt. Whoever takes them applies them within 30 seconds; then somebody else may. An event
-- whose last attempt was the fifth goes into quarantine. Returns { due: [id], alone: [id], quarantined }; alone: they have failed
-- before, perhaps together with another event, and must be applied one at a time.
create function lockstep.call_events_take(p_limit integer) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_due uuid[];
  v_alone uuid[];
  v_quarantined integer;
begin
  with due as (
    select e.id from lockstep.call_events e where not e.quarantined and e.next_at <= now()
      order by e.next_at limit p_limit for update skip locked
  ), taken as (
    update lockstep.call_events e set attempts = case when e.attempts >= 5 then e.attempts else e.attempts + 1 end,
        quarantined = e.attempts >= 5, next_at = clock_timestamp() + interval '30 seconds',
        error = case when e.attempts >= 5 then coalesce(e.error, 'Whoever applied it did not come back.') end
      from due where e.id = due.id returning e.id, e.attempts, e.quarantined
  )
  select array_agg(t.id) filter (where not t.quarantined and t.attempts = 1),
      array_agg(t.id) filter (where not t.quarantined and t.attempts > 1), count(*) filter (where t.quarantined)
    into v_due, v_alone, v_quarantined from taken as t;
  return jsonb_build_object('due', coalesce(to_jsonb(v_due), '[]'), 'alone', coalesce(to_jsonb(v_alone), '[]'),
    'quarantined', v_quarantined);
end
$$;

-- Applies events that were taken, and deletes them. One that cannot be applied stays, to be tried again later, or goes into quarantine
-- after its fifth attempt. Returns { <state>: count }, and the number of those that went into quarantine.
create function lockstep.call_events_apply(p_ids uuid[]) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  e lockstep.call_events;
  v_state text;
  v_counts jsonb := '{}';
begin
  for e in select * from lockstep.call_events where id = any (p_ids) and not quarantined order by vapi_call_id, received_at for update loop
    begin
      v_state := lockstep.take_in_call(e.vapi_call_id, e.facts, e.content) ->> 'state';
      delete from lockstep.call_events where id = e.id;
    exception when data_exception or integrity_constraint_violation or raise_exception then
      perform set_config('lockstep.org_id', '', true);
      v_state := case when e.attempts >= 5 then 'QUARANTINED' else 'FAILED' end;
      update lockstep.call_events set error = left(sqlerrm, 500), quarantined = e.attempts >= 5,
          next_at = clock_timestamp() + power(2, e.attempts) * interval '1 second'
        where id = e.id;
    end;
    v_counts := v_counts || jsonb_build_object(v_state, coalesce((v_counts ->> v_state)::integer, 0) + 1);
  end loop;
  return v_counts;
end
$$;

-- Shows the calls that were held for ids that have been recorded since. An id is looked at again for a minute: an event that does not see
-- it yet may not be committed yet either. Returns how many calls are shown now.
create function lockstep.calls_claim(p_limit integer) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  i lockstep.remote_ids;
  v_id text;
  v_count integer := 0;
begin
  for i in select * from lockstep.remote_ids where not claimed order by recorded_at limit p_limit for update skip locked loop
    for v_id in select c.vapi_call_id from lockstep.call_facts c
      where c.state <> 'SHOWN' and c.facts ? (i.resource || ':' || i.remote_id) order by c.vapi_call_id
    loop
      v_count := v_count + (lockstep.project_call(v_id, '{}') ->> 'state' = 'SHOWN')::integer;
    end loop;
    update lockstep.remote_ids set claimed = true
      where resource = i.resource and remote_id = i.remote_id and recorded_at < clock_timestamp() - interval '1 minute';
  end loop;
  return v_count;
end
$$;

-- Marks held calls without our stamp as foreign after a day, and deletes their content. Deletes the content of events that have been in
-- quarantine for seven days. Returns how many.
create function lockstep.calls_give_up(p_limit integer) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_foreign integer;
  v_old integer;
begin
  update lockstep.call_facts set state = 'FOREIGN', content = null where vapi_call_id in (
    select c.vapi_call_id from lockstep.call_facts c
    where c.state = 'HELD' and c.first_seen_at < now() - interval '24 hours'
      and lockstep.fact(c.facts, 'stamp') ->> 'deployment' is distinct from (select d.id::text from lockstep.deployment d)
    order by c.first_seen_at limit p_limit for update skip locked);
  get diagnostics v_foreign = row_count;
  update lockstep.call_events set content = '{}'
    where received_at < now() - interval '7 days' and quarantined and content <> '{}';
  get diagnostics v_old = row_count;
  return v_foreign + v_old;
end
$$;

-- The events in quarantine, oldest first, for an operator: what they are, and why they cannot be applied; nothing that was said.
create function lockstep.call_events_quarantined(p_limit integer) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'receivedAt', e.received_at, 'kind', e.kind, 'vapiCallId', e.vapi_call_id,
      'attempts', e.attempts, 'error', e.error)), '[]')
  from (select * from lockstep.call_events where quarantined order by received_at limit p_limit) as e;
$$;

-- Takes events out of quarantine, to be applied again; null: all of them. Returns how many.
create function lockstep.call_events_retry(p_ids uuid[]) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_count integer;
begin
  update lockstep.call_events set quarantined = false, attempts = 0, next_at = clock_timestamp()
    where quarantined and (p_ids is null or id = any (p_ids));
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

-- What waits: { pending, oldestMs, quarantined, held, heldOldestMs }; each count stops at 1,000.
create function lockstep.calls_waiting() returns jsonb
language sql volatile security definer set search_path = '' as $$
  select jsonb_build_object(
    'pending', (select count(*) from (select from lockstep.call_events where not quarantined limit 1000) as x),
    'oldestMs', coalesce((select extract(epoch from clock_timestamp() - min(received_at)) * 1000
      from (select received_at from lockstep.call_events where not quarantined order by next_at limit 1000) as x), 0)::bigint,
    'quarantined', (select count(*) from (select from lockstep.call_events where quarantined limit 1000) as x),
    'held', (select count(*) from (select from lockstep.call_facts where state = 'HELD' limit 1000) as x),
    'heldOldestMs', coalesce((select extract(epoch from clock_timestamp() - min(first_seen_at)) * 1000
      from lockstep.call_facts where state = 'HELD'), 0)::bigint);
$$;

-- The walks: { <name>: { walkedAt, completeThrough } }.
create function lockstep.call_walks_state() returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_object_agg(w.name, jsonb_build_object('walkedAt', w.walked_at, 'completeThrough', w.complete_through))
    from lockstep.call_walks w;
$$;

-- A walk is over, and has read every page. p_previous: the walked_at that it began with; another walk may have ended since.
-- p_lag_ms: how long Vapi is assumed to take until it lists a change. Returns the new complete_through, or null: this walk came too late.
-- A held call, and an event that waits, may belong to anybody, so that nothing is complete beyond them.
create function lockstep.call_walk_done(p_name text, p_previous timestamptz, p_walked_at timestamptz, p_lag_ms bigint) returns timestamptz
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_through timestamptz;
begin
  update lockstep.call_walks w set walked_at = p_walked_at,
      complete_through = least(p_walked_at - greatest(w.lag, p_lag_ms * interval '1 millisecond'),
        (select min(c.created_at) from lockstep.call_facts c where c.state = 'HELD'),
        (select min(e.received_at) from lockstep.call_events e where e.quarantined))
    where w.name = p_name and w.walked_at is not distinct from p_previous returning w.complete_through into v_through;
  return v_through;
end
$$;

-- A walk has found a call, changed at this time, that an earlier one should have found: nothing is complete beyond it, and Vapi takes at
-- least so long until it lists a change.
create function lockstep.call_walk_back(p_changed_at timestamptz) returns void
language sql volatile security definer set search_path = '' as $$
  update lockstep.call_walks set complete_through = least(complete_through, p_changed_at),
      lag = greatest(lag, walked_at - p_changed_at)
    where name = 'CHANGED' and complete_through > p_changed_at;
$$;

-- What an organization may rely on of the calls that were created in a period: { completeThrough, expected, stored }. expected: those that
-- Vapi has reported and that name one of its assistants or numbers; stored: those in its log. Null times: the 24 hours before
-- completeThrough.
create function lockstep.call_ledger(p_org_id uuid, p_from timestamptz, p_to timestamptz) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  v_through timestamptz := (select w.complete_through from lockstep.call_walks w where w.name = 'CHANGED');
  v_to timestamptz := coalesce(p_to, v_through, now());
  v_from timestamptz := coalesce(p_from, v_to - interval '24 hours');
  v_stored integer;
  v_held integer;
begin
  select count(*) into v_stored from lockstep.call_facts c
    where c.org_id = p_org_id and c.created_at >= v_from and c.created_at < v_to;
  select count(distinct c.vapi_call_id) into v_held from lockstep.remote_ids i
    join lockstep.call_facts c on c.state <> 'SHOWN' and c.facts ? (i.resource || ':' || i.remote_id)
    where i.org_id = p_org_id and c.created_at >= v_from and c.created_at < v_to;
  return jsonb_build_object('completeThrough', v_through, 'expected', v_stored + v_held, 'stored', v_stored);
end
$$;

select lockstep.own_functions('lockstep_saves', internal => '{remember_remote_ids}');
select lockstep.own_functions('lockstep_calls',
  exposed => '{observe_calls,call_event_store,call_events_take,call_events_apply,calls_claim,calls_give_up,call_events_quarantined,call_events_retry,calls_waiting,
    call_walks_state,call_walk_done,call_walk_back,call_ledger}',
  internal => '{merge_facts,fact,call_owner,kept_content,project_call,take_in_call}');

-- What an organization owns besides its agents: phone numbers, knowledge base documents, calls, appointments.
--
-- The recipe of the first migration: forced row-level security, everything revoked first, then only SELECT granted back.
-- Every reference from one of these tables to another carries the organization, so that the database itself refuses a row of
-- one organization that points at a row of another. Lists are read by (organization, order, id): each order that the API
-- offers has its index, and so has each foreign key.

alter table public.agents add constraint agents_org_id_id_key unique (org_id, id);

create table public.phone_numbers (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete restrict,
  -- E.164.
  number text not null check (number ~ '^\+[1-9][0-9]{1,14}$'),
  label text check (length(label) between 1 and 200),
  provider text not null check (provider in ('vapi', 'twilio', 'vonage', 'telnyx', 'byo-phone-number')),
  vapi_phone_number_id text check (vapi_phone_number_id <> ''),
  -- The agent that answers calls to it, or dials from it; null: none.
  agent_id uuid,
  created_at timestamptz not null default now(),
  -- A number rings in one place, whatever organization claims it.
  unique (number),
  unique (vapi_phone_number_id),
  unique (org_id, id),
  foreign key (org_id, agent_id) references public.agents (org_id, id) on delete set null (agent_id)
);
create index phone_numbers_by_number on public.phone_numbers (org_id, number, id);
-- Those that belong to an agent; those that do not are a range of the next one.
create index phone_numbers_attached on public.phone_numbers (org_id, number, id) where agent_id is not null;
create index phone_numbers_by_agent on public.phone_numbers (org_id, agent_id, number, id);

create table public.knowledge_base_documents (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete restrict,
  name text not null check (length(btrim(name)) between 1 and 200),
  content_type text not null check (content_type <> ''),
  size_bytes integer not null check (size_bytes >= 0),
  state text not null check (state in ('PENDING', 'PROCESSING', 'READY', 'FAILED')),
  -- Why it failed, for a person.
  failure text check ((failure is not null) = (state = 'FAILED')),
  vapi_file_id text unique check (vapi_file_id <> ''),
  created_at timestamptz not null default now()
);
create index knowledge_base_documents_by_time on public.knowledge_base_documents (org_id, created_at desc, id desc);
create index knowledge_base_documents_by_state on public.knowledge_base_documents (org_id, state, created_at desc, id desc);

create table public.call_logs (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete restrict,
  vapi_call_id text unique check (vapi_call_id <> ''),
  -- Null: from before the agent was saved here, or the agent is gone.
  agent_id uuid,
  phone_number_id uuid,
  direction text not null check (direction in ('INBOUND', 'OUTBOUND')),
  customer_number text check (length(customer_number) between 3 and 40),
  customer_name text check (length(customer_name) between 1 and 200),
  started_at timestamptz not null,
  -- Null: the call is not over.
  ended_at timestamptz check (ended_at >= started_at),
  outcome text check (outcome in ('COMPLETED', 'TRANSFERRED', 'VOICEMAIL', 'NO_ANSWER', 'BUSY', 'FAILED')),
  -- Vapi's own word for it, of an open and growing set.
  ended_reason text,
  summary text,
  cost_usd numeric(12, 6) check (cost_usd >= 0),
  check ((ended_at is null) = (outcome is null)),
  unique (org_id, id),
  foreign key (org_id, agent_id) references public.agents (org_id, id) on delete set null (agent_id),
  foreign key (org_id, phone_number_id) references public.phone_numbers (org_id, id) on delete set null (phone_number_id)
);
create index call_logs_by_time on public.call_logs (org_id, started_at desc, id desc);
-- Every combination of filters has an index that ends in the order of the list: list_page names a direction and an outcome for each
-- of its ranges, so these two need no index without them. OPEN stands for null: only an equality
-- keeps the order of what follows (and Postgres does not know that coalesce leaks nothing, so that row-level security kept it away).
create index call_logs_by_outcome on public.call_logs (org_id, direction, (case when outcome is null then 'OPEN' else outcome end), started_at desc, id desc);
create index call_logs_by_agent on public.call_logs (org_id, agent_id, direction, (case when outcome is null then 'OPEN' else outcome end), started_at desc, id desc);
create index call_logs_by_phone_number on public.call_logs
  (org_id, phone_number_id, direction, (case when outcome is null then 'OPEN' else outcome end), started_at desc, id desc);
create index call_logs_by_agent_and_phone_number on public.call_logs
  (org_id, agent_id, phone_number_id, direction, (case when outcome is null then 'OPEN' else outcome end), started_at desc, id desc);

create table public.appointments (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete restrict,
  -- The call in which it was booked; null: by other means.
  call_id uuid,
  customer_name text not null check (length(btrim(customer_name)) between 1 and 200),
  customer_number text check (length(customer_number) between 3 and 40),
  starts_at timestamptz not null,
  ends_at timestamptz not null check (ends_at > starts_at),
  status text not null check (status in ('SCHEDULED', 'CONFIRMED', 'COMPLETED', 'CANCELLED', 'NO_SHOW')),
  notes text check (length(notes) between 1 and 4000),
  created_at timestamptz not null default now(),
  foreign key (org_id, call_id) references public.call_logs (org_id, id) on delete set null (call_id)
);
create index appointments_by_time on public.appointments (org_id, starts_at, id);
create index appointments_by_status on public.appointments (org_id, status, starts_at, id);
create index appointments_by_call on public.appointments (org_id, call_id, starts_at, id);

alter table public.phone_numbers enable row level security;
alter table public.phone_numbers force row level security;
alter table public.knowledge_base_documents enable row level security;
alter table public.knowledge_base_documents force row level security;
alter table public.call_logs enable row level security;
alter table public.call_logs force row level security;
alter table public.appointments enable row level security;
alter table public.appointments force row level security;

revoke all on public.phone_numbers, public.knowledge_base_documents, public.call_logs, public.appointments
  from public, anon, authenticated, service_role;
grant select on public.phone_numbers, public.knowledge_base_documents, public.call_logs, public.appointments
  to authenticated, service_role;

create policy phone_numbers_own on public.phone_numbers for select to authenticated
  using (org_id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));
create policy knowledge_base_documents_own on public.knowledge_base_documents for select to authenticated
  using (org_id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));
create policy call_logs_own on public.call_logs for select to authenticated
  using (org_id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));
create policy appointments_own on public.appointments for select to authenticated
  using (org_id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));

-- Which agent a number belongs to decides who answers it and who dials from it, so it goes through the one door as well.
grant select, update (agent_id) on public.phone_numbers to lockstep_saves;
create policy phone_numbers_saves_select on public.phone_numbers for select to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy phone_numbers_saves_update on public.phone_numbers for update to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));

-- Records which agent of an organization one of its own phone numbers belongs to; p_role null: none any more.
-- outcome: ATTACHED | DETACHED | NO_ORGANIZATION | NO_PHONE_NUMBER | NO_AGENT
create function public.attach_phone_number(p_org_id uuid, p_phone_number_id uuid, p_role text) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_agent_id uuid;
  v_answer jsonb;
begin
  <<body>> begin
    if not lockstep.enter(p_org_id) then
      v_answer := jsonb_build_object('outcome', 'NO_ORGANIZATION');
      exit body;
    end if;
    if p_role is not null then
      select id into v_agent_id from public.agents where org_id = p_org_id and role = p_role;
      if not found then
        v_answer := jsonb_build_object('outcome', 'NO_AGENT');
        exit body;
      end if;
    end if;
    update public.phone_numbers set agent_id = v_agent_id where id = p_phone_number_id;
    v_answer := jsonb_build_object('outcome', case
      when not found then 'NO_PHONE_NUMBER' when p_role is null then 'DETACHED' else 'ATTACHED' end);
  end body;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- The order that a role without superuser can do, as for the save functions.
grant create on schema public to lockstep_saves;
revoke execute on function public.attach_phone_number(uuid, uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.attach_phone_number(uuid, uuid, text) to service_role;
alter function public.attach_phone_number(uuid, uuid, text) owner to lockstep_saves;
revoke create on schema public from lockstep_saves;

-- A page of calls, appointments, documents or phone numbers in the order of their list, as jsonb rows. It runs with the caller's rights: row-level
-- security alone decides what is in it. A choice among several values is a range of an index for each value, merged: one scan for
-- all of them would read everything that an organization has, to find no row of these values.
-- p_filter: { agentId?, attached?, phoneNumberId?, callId?, direction?, values?, from?, before? }; values: outcomes, statuses or
-- states.
-- p_window: { ascending, limit, above?: { value, id }, below?: { value, id } }: rows beyond these places of the order.
create function public.list_page(p_list text, p_filter jsonb, p_window jsonb) returns setof jsonb
language plpgsql stable security invoker set search_path = ''
-- Only the order of an index bounds what a page reads; without statistics the planner cannot know it.
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  -- Null, and so an error, for everything else.
  v_key text := case p_list when 'call_logs' then 'started_at' when 'appointments' then 'starts_at'
    when 'knowledge_base_documents' then 'created_at' when 'phone_numbers' then 'number' end;
  v_column text := case p_list when 'appointments' then 'status' when 'knowledge_base_documents' then 'state' end;
  v_order text := format(' order by %1$I %2$s, id %2$s limit %3$s', v_key,
    case when (p_window ->> 'ascending')::boolean then 'asc' else 'desc' end, (p_window ->> 'limit')::integer);
  v_values text[] := case when jsonb_typeof(p_filter -> 'values') = 'array' then
    array(select jsonb_array_elements_text(p_filter -> 'values')) end;
  v_where text;
  v_ranges text[];
begin
  -- What is absent is null, and concat leaves nulls out.
  v_where := concat(
    ' and agent_id = ' || quote_literal(p_filter ->> 'agentId'),
    case (p_filter ->> 'attached')::boolean when true then ' and agent_id is not null' when false then ' and agent_id is null' end,
    ' and phone_number_id = ' || quote_literal(p_filter ->> 'phoneNumberId'),
    ' and call_id = ' || quote_literal(p_filter ->> 'callId'),
    format(' and %I >= ', v_key) || quote_literal(p_filter ->> 'from'),
    format(' and %I < ', v_key) || quote_literal(p_filter ->> 'before'),
    format(' and (%I, id) > (', v_key) || quote_literal(p_window -> 'above' ->> 'value') || ', '
      || quote_literal(p_window -> 'above' ->> 'id') || ')',
    format(' and (%I, id) < (', v_key) || quote_literal(p_window -> 'below' ->> 'value') || ', '
      || quote_literal(p_window -> 'below' ->> 'id') || ')');
  if p_list = 'call_logs' and num_nonnulls(p_filter ->> 'agentId', p_filter ->> 'phoneNumberId', p_filter ->> 'direction',
    p_filter ->> 'values') > 0
  then
    select array_agg(distinct format(' and direction = %L and case when outcome is null then ''OPEN'' else outcome end = %L', d, o)) into v_ranges
      from unnest(case when p_filter ->> 'direction' is null then '{INBOUND,OUTBOUND}' else array[p_filter ->> 'direction'] end) as d
      cross join unnest(coalesce(v_values,
        '{COMPLETED,TRANSFERRED,VOICEMAIL,NO_ANSWER,BUSY,FAILED,OPEN}'::text[])) as o;
  elsif v_values is not null then
    select array_agg(distinct format(' and %I = %L', v_column, v)) into v_ranges from unnest(v_values) as v;
  else
    v_ranges := array[''];
  end if;
  return query execute 'select to_jsonb(p) from (select * from ('
    || (select string_agg(format('(select * from public.%I where true', p_list) || v_where || r || v_order || ')', ' union all ')
      from unnest(v_ranges) as r)
    || ') as r' || v_order || ') as p';
end
$$;
revoke execute on function public.list_page(text, jsonb, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.list_page(text, jsonb, jsonb) to authenticated;

-- Phone numbers: what they are, and what the sagas of kind `phone_numbers` do in the database (see the functions of sagas).
--
-- Every reference from one table of an organization to another carries the organization, so that the database itself refuses a row
-- of one organization that points at a row of another. Lists are read by (organization, order, id): each order that the API
-- offers has its index, and so has each foreign key.

alter table public.agents add constraint agents_org_id_id_key unique (org_id, id);

-- What an organization may have, where the operator has set it; lockstep.allowance_of knows the defaults.
create table lockstep.allowances (
  org_id uuid primary key references public.organizations (id) on delete cascade,
  numbers integer check (numbers >= 0),
  documents integer check (documents >= 0),
  bytes bigint check (bytes >= 0)
);

create table public.phone_numbers (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete restrict,
  -- E.164. Null until Vapi has shown it. Vapi may show it masked later, so a masked one is never stored.
  number text check (number ~ '^\+[1-9][0-9]{1,14}$'),
  label text check (length(label) between 1 and 200),
  provider text not null check (provider in ('vapi', 'twilio', 'vonage', 'telnyx', 'byo-phone-number')),
  -- UNKNOWN: nobody can find out whether Vapi made it. MISSING: somebody deleted it in Vapi.
  state text not null check (state in ('PROVISIONING', 'ACTIVATING', 'ACTIVE', 'BLOCKED', 'RELEASING', 'RELEASED', 'MISSING', 'FAILED', 'UNKNOWN')),
  -- In words, for the organization.
  failure text check (length(failure) between 1 and 2000),
  vapi_phone_number_id text check (vapi_phone_number_id <> ''),
  -- The agent that answers calls to it, or dials from it; null: none.
  agent_id uuid,
  -- The role that was asked for with the purchase or the import: attached by a saga of its own as soon as the number is active.
  wanted_role text check (wanted_role in ('INBOUND', 'OUTBOUND')),
  -- What the last committed saga has put into Vapi. It differs from the agent's assistant while the number waits to be re-pointed.
  attached_assistant_id text check (attached_assistant_id <> ''),
  -- The agent has a new assistant since: a save has created it, and a saga of the number has yet to follow.
  repoint boolean not null default false,
  -- What was asked for: of a purchase the area code, of an import the number.
  area_code text check (area_code ~ '^[2-9][0-9]{2}$'),
  requested_number text check (requested_number ~ '^\+[1-9][0-9]{1,14}$'),
  -- The saga that wrote the number last: its stamp is the name of the number in Vapi. Null: none of ours has.
  last_saga_id uuid,
  mapping_version integer not null default 1 check (mapping_version > 0),
  -- When Vapi was last asked about it, or a saga of it last ended.
  checked_at timestamptz,
  created_at timestamptz not null default now(),
  released_at timestamptz,
  -- Numbers that Vapi has not shown come first.
  list_order text not null generated always as (coalesce(number, '+')) stored,
  check (number is not null or state <> 'ACTIVE'),
  check (failure is not null or state not in ('FAILED', 'UNKNOWN')),
  check ((released_at is not null) = (state = 'RELEASED')),
  unique (vapi_phone_number_id),
  unique (org_id, id),
  foreign key (org_id, agent_id) references public.agents (org_id, id) on delete set null (agent_id)
);
-- A number rings in one place. Who only asks for a number, or has lost it, keeps nobody else from it.
create unique index phone_numbers_number_key on public.phone_numbers (number)
  where state in ('ACTIVATING', 'ACTIVE', 'BLOCKED', 'RELEASING');
-- Every combination of filters has an index that ends in the order of the list; list_page names a state for each of its ranges.
create index phone_numbers_by_order on public.phone_numbers (org_id, list_order, id);
create index phone_numbers_by_state on public.phone_numbers (org_id, state, list_order, id);
-- Those that belong to an agent; those that do not are a range of the next two.
create index phone_numbers_attached on public.phone_numbers (org_id, list_order, id) where agent_id is not null;
create index phone_numbers_attached_by_state on public.phone_numbers (org_id, state, list_order, id) where agent_id is not null;
create index phone_numbers_by_agent on public.phone_numbers (org_id, agent_id, list_order, id);
create index phone_numbers_by_agent_and_state on public.phone_numbers (org_id, agent_id, state, list_order, id);
-- What the jobs look for.
create index phone_numbers_activating on public.phone_numbers (checked_at nulls first) where state = 'ACTIVATING';
create index phone_numbers_to_attach on public.phone_numbers (checked_at nulls first)
  where state = 'ACTIVE' and (wanted_role is not null or repoint);
create index phone_numbers_in_vapi on public.phone_numbers (id)
  where vapi_phone_number_id is not null and state in ('ACTIVATING', 'ACTIVE', 'BLOCKED');
create index phone_numbers_by_saga on public.phone_numbers (last_saga_id);

select lockstep.protect_tables('public.phone_numbers', 'lockstep.allowances');
select lockstep.let_users_read('public.phone_numbers');
select lockstep.let_saves('select, insert, update', 'public.phone_numbers', 'lockstep.allowances');

-- The jobs look across organizations at which numbers there are, and can change nothing.
grant select (id, org_id, number, provider, state, failure, vapi_phone_number_id, agent_id, wanted_role, attached_assistant_id,
    repoint, requested_number, last_saga_id, checked_at, created_at)
  on public.phone_numbers to lockstep_sweep;
create policy phone_numbers_sweep on public.phone_numbers for select to lockstep_sweep using (org_id is not null);

-- What an organization may have. Call it under the organization's lock.
create function lockstep.allowance_of(p_org_id uuid) returns lockstep.allowances
language sql stable set search_path = '' as $$
  select p_org_id, coalesce(max(a.numbers), 5), coalesce(max(a.documents), 50), coalesce(max(a.bytes), 52428800)
    from lockstep.allowances a where a.org_id = p_org_id;
$$;

-- Sets what an organization may have; what is null stays as it is. Returns what it may have now, or null: there is no such organization.
create function lockstep.set_allowance(p_org_id uuid, p_numbers integer, p_documents integer, p_bytes bigint) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_allowance lockstep.allowances;
  v_answer jsonb;
begin
  if lockstep.enter(p_org_id) then
    insert into lockstep.allowances as a (org_id, numbers, documents, bytes) values (p_org_id, p_numbers, p_documents, p_bytes)
      on conflict (org_id) do update set numbers = coalesce(excluded.numbers, a.numbers),
        documents = coalesce(excluded.documents, a.documents), bytes = coalesce(excluded.bytes, a.bytes);
    v_allowance := lockstep.allowance_of(p_org_id);
    v_answer := jsonb_build_object('numbers', v_allowance.numbers, 'documents', v_allowance.documents, 'bytes', v_allowance.bytes);
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

create function lockstep.phone_number_json(n public.phone_numbers) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object('id', n.id, 'number', n.number, 'label', n.label, 'provider', n.provider, 'state', n.state,
    'failure', n.failure, 'agentId', n.agent_id, 'createdAt', n.created_at);
$$;

-- Begins a change of one phone number (see lockstep.may_begin).
-- p_request: what may_begin reads, and action, phoneNumberId, and
--   BUY: areaCode, label, role?          IMPORT: provider, number, label, role?
--   UPDATE: label?, role? (null: none any more); or, of a job, purpose: WISH (attach it to the role that was asked for) or
--     REPOINT (put into Vapi once more what belongs there)
-- A purchase has a key of its own, so that an organization makes one at a time. A change of the attachment takes the key of the agents
-- too, so that the assistant cannot be replaced meanwhile.
-- outcome: as may_begin and begin_saga | ALLOWANCE_EXCEEDED { allowance, used } | NO_PHONE_NUMBER | NOT_POSSIBLE { state }
--   | NO_AGENT { role } | AGENT_MISSING { role } | NOTHING_TO_DO
create function lockstep.begin_phone_numbers(p_org_id uuid, p_saga_id uuid, p_owner text, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_action text := p_request ->> 'action';
  v_purpose text := p_request ->> 'purpose';
  v_id uuid := p_request ->> 'phoneNumberId';
  v_role text := p_request ->> 'role';
  v_keys text[] := array['number:' || v_id]
    || case when v_action = 'BUY' then '{purchase}'::text[] when p_request ? 'role' and v_action = 'UPDATE' or v_purpose is not null
      then '{agents}'::text[] else '{}'::text[] end;
  v_number public.phone_numbers;
  v_agent public.agents;
  v_part lockstep.saga_parts;
  v_allowance integer;
  v_used integer;
  v_answer jsonb;
begin
  if v_id is null or v_action is null or v_action not in ('BUY', 'IMPORT', 'UPDATE', 'RELEASE') then
    raise exception 'begin_phone_numbers: % of % is no change of a phone number', v_action, v_id;
  end if;
  <<body>> begin
    v_answer := lockstep.may_begin(p_org_id, p_saga_id, p_owner, 'phone_numbers', v_keys, p_request);
    exit body when v_answer is not null;

    v_part.saga_id := p_saga_id;
    v_part.org_id := p_org_id;
    v_part.key := 'number';
    v_part.resource := 'phone_number';
    v_part.resource_id := v_id;
    v_part.recreate := false;
    v_part.before_context := '{}';
    v_part.after_context := '{}';
    v_part.after_revision := 1;

    if v_action in ('BUY', 'IMPORT') then
      select numbers into v_allowance from lockstep.allowance_of(p_org_id);
      -- Also those that are missing or unknown: they may cost, or come back.
      select count(*) into v_used from public.phone_numbers where org_id = p_org_id and state not in ('RELEASED', 'FAILED');
      if v_used >= v_allowance then
        v_answer := jsonb_build_object('outcome', 'ALLOWANCE_EXCEEDED', 'allowance', v_allowance, 'used', v_used);
        exit body;
      end if;
      insert into public.phone_numbers (id, org_id, label, provider, state, wanted_role, area_code, requested_number, last_saga_id,
          mapping_version)
        values (v_id, p_org_id, p_request ->> 'label', case when v_action = 'BUY' then 'vapi' else p_request ->> 'provider' end,
          'PROVISIONING', v_role, p_request ->> 'areaCode', p_request ->> 'number', p_saga_id,
          (p_request ->> 'mappingVersion')::integer);
      v_part.before_revision := 0;
      v_part.after_content := jsonb_build_object('action', v_action, 'assistantId', null)
        || case when v_action = 'BUY' then jsonb_build_object('provider', 'vapi', 'areaCode', p_request -> 'areaCode')
          else jsonb_build_object('provider', p_request -> 'provider', 'number', p_request -> 'number') end;
      v_answer := lockstep.begin_saga(p_org_id, p_saga_id, p_owner, 'phone_numbers', v_keys, p_request, array[v_part], null);
      exit body;
    end if;

    select * into v_number from public.phone_numbers where id = v_id and org_id = p_org_id;
    if not found then
      v_answer := jsonb_build_object('outcome', 'NO_PHONE_NUMBER');
      exit body;
    end if;
    -- One that Vapi does not have any more can still be released: that closes it.
    if v_number.vapi_phone_number_id is null or not v_number.state = any (case v_action
      when 'UPDATE' then '{ACTIVATING,ACTIVE,BLOCKED}'::text[] when 'RELEASE' then '{ACTIVATING,ACTIVE,BLOCKED,MISSING}'::text[] end)
    then
      v_answer := jsonb_build_object('outcome', 'NOT_POSSIBLE', 'state', v_number.state);
      exit body;
    end if;
    v_part.remote_id := v_number.vapi_phone_number_id;
    v_part.before_content := jsonb_build_object('assistantId', v_number.attached_assistant_id, 'agentId', v_number.agent_id,
      'state', v_number.state, 'failure', v_number.failure);
    v_part.before_revision := 1;
    -- One that no saga of ours has written has no stamp to go back to: an undo gives it this one.
    v_part.before_saga_id := coalesce(v_number.last_saga_id, p_saga_id);
    v_part.before_mapping_version := v_number.mapping_version;

    if v_action = 'RELEASE' then
      -- A missing one stays missing until then: its digits may be another row's by now.
      update public.phone_numbers set state = 'RELEASING', failure = null where id = v_id and state <> 'MISSING';
      v_part.after_content := jsonb_build_object('action', 'RELEASE', 'provider', v_number.provider);
      v_answer := lockstep.begin_saga(p_org_id, p_saga_id, p_owner, 'phone_numbers', v_keys, p_request, array[v_part], null);
      exit body;
    end if;

    if v_purpose = 'WISH' then
      v_role := v_number.wanted_role;
      if v_role is null or v_number.state <> 'ACTIVE' then
        v_answer := jsonb_build_object('outcome', 'NOTHING_TO_DO');
        exit body;
      end if;
    end if;
    if v_role is not null then
      select * into v_agent from public.agents where org_id = p_org_id and role = v_role;
      if not found then
        v_answer := jsonb_build_object('outcome', 'NO_AGENT', 'role', v_role);
        exit body;
      end if;
    elsif not p_request ? 'role' and v_number.agent_id is not null then
      select * into v_agent from public.agents where org_id = p_org_id and id = v_number.agent_id;
    end if;
    -- A number that points at nothing answers with an error; the previous assistant is no better, but a saga would not help.
    if v_agent.missing_since is not null and (v_role is not null or v_purpose is not null) then
      v_answer := jsonb_build_object('outcome', 'AGENT_MISSING', 'role', v_agent.role);
      exit body;
    end if;
    v_part.after_content := jsonb_build_object('action', 'UPDATE', 'purpose', v_purpose, 'provider', v_number.provider, 'agentId', v_agent.id,
      'label', case when p_request ? 'label' then p_request -> 'label' else to_jsonb(v_number.label) end,
      -- Only the label changes: without the key of the agents, the attachment stays what it is.
      'assistantId', case when 'agents' = any (v_keys) then v_agent.vapi_assistant_id else v_number.attached_assistant_id end);
    v_answer := lockstep.begin_saga(p_org_id, p_saga_id, p_owner, 'phone_numbers', v_keys, p_request, array[v_part], null);
  end body;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Takes in what Vapi shows of a number: its status (active, activating or blocked) and its digits, null where it shows none or masks them.
-- It is ready once it is active and its digits are known. Digits that another row still has are not taken until that one has lost
-- them: somebody deleted that number in Vapi, and the sweep has not noticed yet.
create function lockstep.see_phone_number(p_id uuid, p_status text, p_digits text) returns public.phone_numbers
language plpgsql volatile set search_path = '' as $$
declare
  v_number public.phone_numbers;
begin
  begin
    update public.phone_numbers n set number = coalesce(p_digits, n.number), checked_at = clock_timestamp(),
        state = case when p_status = 'blocked' then 'BLOCKED'
          when p_status = 'active' and coalesce(p_digits, n.number) is not null then 'ACTIVE' else 'ACTIVATING' end,
        failure = case when n.state in ('ACTIVE', 'BLOCKED') then n.failure end
      where n.id = p_id returning * into v_number;
  exception when unique_violation then
    update public.phone_numbers n set number = null, checked_at = clock_timestamp(), state = 'ACTIVATING',
        failure = 'Another number of this installation still has the digits that Vapi shows. This is checked again by itself.'
      where n.id = p_id returning * into v_number;
  end;
  return v_number;
end
$$;

-- Writes what a saga committed to its number. p_parts: see commit_saga; observed has the status and the digits that Vapi showed.
create function lockstep.apply_phone_numbers(s public.sagas, p_parts jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_part lockstep.saga_parts;
  v_after jsonb;
  v_seen jsonb;
  v_number public.phone_numbers;
begin
  select * into v_part from lockstep.saga_parts where saga_id = s.id;
  v_after := v_part.after_content;
  v_seen := p_parts -> 0;
  case v_after ->> 'action'
    when 'RELEASE' then
      update public.phone_numbers set state = 'RELEASED', released_at = s.finished_at, failure = null, agent_id = null, wanted_role = null,
          attached_assistant_id = null, repoint = false, checked_at = s.finished_at
        where id = v_part.resource_id and state in ('RELEASING', 'MISSING') returning * into v_number;
    when 'UPDATE' then
      update public.phone_numbers n set label = v_after ->> 'label', agent_id = (v_after ->> 'agentId')::uuid,
          attached_assistant_id = v_after ->> 'assistantId', last_saga_id = s.id, mapping_version = s.mapping_version,
          failure = null, checked_at = s.finished_at,
          repoint = n.repoint and not exists (select from lockstep.saga_keys k where k.saga_id = s.id and k.key = 'agents'),
          -- An attachment answers the wish, or replaces it. A new label does neither.
          wanted_role = case when exists (select from lockstep.saga_keys k where k.saga_id = s.id and k.key = 'agents')
            and v_after ->> 'purpose' is distinct from 'REPOINT' then null else n.wanted_role end
        where n.id = v_part.resource_id and coalesce(n.last_saga_id, s.id) = v_part.before_saga_id
        returning * into v_number;
    else
      update public.phone_numbers set vapi_phone_number_id = v_seen ->> 'remoteId', last_saga_id = s.id, checked_at = s.finished_at,
          state = 'ACTIVATING', failure = null
        where id = v_part.resource_id and state in ('PROVISIONING', 'UNKNOWN') returning * into v_number;
      if found then
        -- Vapi has accepted the very number of an import, however it shows it.
        v_number := lockstep.see_phone_number(v_number.id, v_seen -> 'observed' ->> 'status',
          coalesce(v_seen -> 'observed' ->> 'digits', v_number.requested_number));
      end if;
  end case;
  if v_number.id is null then
    raise exception 'saga %: the phone number is no longer as the saga found it', s.id;
  end if;
  return jsonb_build_array(lockstep.phone_number_json(v_number));
end
$$;

-- A saga of a number was rolled back, or needs attention: the row says so, in the words of the saga. p_missing names the part if Vapi
-- does not have the number any more.
create function lockstep.close_phone_numbers(s public.sagas, p_missing jsonb) returns void
language plpgsql volatile set search_path = '' as $$
declare
  v_part lockstep.saga_parts;
  v_action text;
  v_words text := left(coalesce(s.failure ->> 'message', 'The change was not made.'), 2000);
  v_now timestamptz := clock_timestamp();
begin
  select * into v_part from lockstep.saga_parts where saga_id = s.id;
  v_action := v_part.after_content ->> 'action';
  update public.phone_numbers n set checked_at = v_now,
      state = case
        when s.status = 'NEEDS_ATTENTION' then case when v_action in ('BUY', 'IMPORT') then 'UNKNOWN' else n.state end
        when v_action in ('BUY', 'IMPORT') then 'FAILED'
        when p_missing ? v_part.key then 'MISSING'
        when v_action = 'RELEASE' then v_part.before_content ->> 'state'
        else n.state end,
      failure = case
        when n.state = 'UNKNOWN' and s.status = 'ROLLED_BACK' then 'It has turned out that Vapi did not make this number.'
        when s.status = 'NEEDS_ATTENTION' or v_action in ('BUY', 'IMPORT') then v_words
        when p_missing ? v_part.key then 'The number was deleted in Vapi. Release it here, too.'
        -- Nobody was told what became of a change that a job has made.
        when v_part.after_content ->> 'purpose' is not null then v_words
        else v_part.before_content ->> 'failure' end,
      -- What Vapi refuses for good is not tried again.
      wanted_role = case when v_part.after_content ->> 'purpose' = 'WISH' and s.status = 'ROLLED_BACK'
        and s.failure ->> 'reason' in ('VAPI_REJECTED', 'RESOURCE_MISSING') then null else n.wanted_role end
    where n.id = v_part.resource_id and n.state not in ('RELEASED', 'FAILED');
end
$$;

-- The number of a committed saga as it is now.
create function lockstep.rows_phone_numbers(s public.sagas) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(lockstep.phone_number_json(n)), '[]')
  from jsonb_array_elements(s.results) as x join public.phone_numbers n on n.id = (x ->> 'resourceId')::uuid
  where s.status = 'COMMITTED';
$$;

-- Numbers that Vapi has not activated yet: often at first, and every five minutes later.
create function lockstep.phone_number_activation_due(p_limit integer) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('orgId', d.org_id, 'id', d.id, 'remoteId', d.vapi_phone_number_id,
      'ageMs', floor(extract(epoch from now() - d.created_at) * 1000))), '[]')
  from (
    select n.org_id, n.id, n.vapi_phone_number_id, n.created_at from public.phone_numbers n
     where n.state = 'ACTIVATING' and n.vapi_phone_number_id is not null
       and (n.created_at > now() - interval '10 minutes' or n.checked_at is null or n.checked_at < now() - interval '5 minutes')
     order by n.checked_at nulls first limit p_limit) as d;
$$;

-- Numbers whose attachment is not what it should be: a role was asked for and its agent exists, or the agent has a new assistant.
-- Not those whose last attempt failed a short time ago, and none that a saga would have to wait for.
create function lockstep.phone_number_attachment_due(p_limit integer) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('orgId', d.org_id, 'id', d.id, 'purpose', d.purpose)), '[]')
  from (
    select n.org_id, n.id, case when n.wanted_role is null then 'REPOINT' else 'WISH' end as purpose
      from public.phone_numbers n
     where n.state = 'ACTIVE' and (n.wanted_role is not null or n.repoint) and n.vapi_phone_number_id is not null
       and (n.failure is null or n.checked_at < now() - interval '10 minutes')
       -- With a limit: the planner cannot read all agents for it.
       and coalesce((select true from public.agents a where a.org_id = n.org_id and a.missing_since is null
         and (a.role = n.wanted_role or n.wanted_role is null and a.id = n.agent_id) limit 1), false)
       and not lockstep.is_busy(n.org_id, 'agents') and not lockstep.is_busy(n.org_id, 'number:' || n.id)
     order by n.checked_at nulls first limit p_limit) as d;
$$;

-- Notes what was seen of numbers in Vapi: p_notes: [{ orgId, id, remoteId, seen: SHOWN | GONE, status?, digits?, failure? }].
-- A note counts only if the number is still that one and is not being released; GONE only if no saga of it is open or fenced.
-- failure: words for a number that is not active yet. Returns the states of the numbers that were noted: [{ id, state }].
create function lockstep.phone_number_note(p_notes jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_note jsonb;
  v_org uuid;
  v_number public.phone_numbers;
  v_noted jsonb := '[]';
begin
  -- In the order of organizations: two replicas can then not wait for each other.
  for v_note in select n from jsonb_array_elements(p_notes) as n order by n ->> 'orgId' loop
    v_org := (v_note ->> 'orgId')::uuid;
    continue when not lockstep.enter(v_org);
    select * into v_number from public.phone_numbers
      where id = (v_note ->> 'id')::uuid and org_id = v_org and vapi_phone_number_id = v_note ->> 'remoteId'
        and state in ('ACTIVATING', 'ACTIVE', 'BLOCKED', 'MISSING');
    continue when not found;
    if v_note ->> 'seen' = 'SHOWN' then
      v_number := lockstep.see_phone_number(v_number.id, v_note ->> 'status', v_note ->> 'digits');
      if v_number.state = 'ACTIVATING' and v_number.failure is null and v_note ->> 'failure' is not null then
        update public.phone_numbers set failure = v_note ->> 'failure' where id = v_number.id;
      end if;
    elsif v_number.state <> 'MISSING' and not lockstep.is_busy(v_org, 'number:' || v_number.id) then
      update public.phone_numbers set state = 'MISSING', checked_at = clock_timestamp(),
          failure = 'The number was deleted in Vapi. Release it here, too.'
        where id = v_number.id returning * into v_number;
    else
      continue;
    end if;
    v_noted := v_noted || jsonb_build_object('id', v_number.id, 'state', v_number.state);
  end loop;
  perform lockstep.leave();
  return v_noted;
end
$$;

-- Of numbers that Vapi lists: the rows that have them, of all organizations.
create function lockstep.phone_number_listed(p_remote_ids text[]) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('orgId', n.org_id, 'id', n.id, 'remoteId', n.vapi_phone_number_id, 'state', n.state,
      'number', n.number, 'assistantId', n.attached_assistant_id, 'sagaId', n.last_saga_id,
      'wantedAssistantId', (select a.vapi_assistant_id from public.agents a
        where a.id = n.agent_id and a.org_id = n.org_id and a.missing_since is null limit 1),
      'busy', lockstep.is_busy(n.org_id, 'number:' || n.id) or lockstep.is_busy(n.org_id, 'agents'))), '[]')
  from public.phone_numbers n where n.vapi_phone_number_id = any (p_remote_ids);
$$;

-- Which numbers there should be in Vapi, in pages.
create function lockstep.phone_number_page(p_after uuid, p_limit integer) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('orgId', d.org_id, 'id', d.id, 'remoteId', d.vapi_phone_number_id) order by d.id), '[]')
  from (
    select n.org_id, n.id, n.vapi_phone_number_id from public.phone_numbers n
     where n.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000') and n.vapi_phone_number_id is not null
       and n.state in ('ACTIVATING', 'ACTIVE', 'BLOCKED')
     order by n.id limit p_limit) as d;
$$;

-- Of numbers that carry our stamp and that no row has: the attempts that made them, which have ended without them.
-- verdict: SETTLE (nobody could find out what became of it: here it is), ORPHAN (an import that was closed as failed; only this one
-- may be deleted), LATE (a purchase that was closed as failed: only a person may decide). Others are not in the answer.
create function lockstep.phone_number_stamps(p_saga_ids text[]) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('orgId', n.org_id, 'id', n.id, 'sagaId', n.last_saga_id, 'provider', n.provider,
      'requestedNumber', n.requested_number,
      'verdict', case when n.state = 'UNKNOWN' then 'SETTLE' when n.provider = 'vapi' then 'LATE' else 'ORPHAN' end)), '[]')
  from public.phone_numbers n
  where n.last_saga_id = any (p_saga_ids::uuid[]) and n.vapi_phone_number_id is null
    and (n.state = 'UNKNOWN' or n.state = 'FAILED' and not lockstep.is_busy(n.org_id, 'number:' || n.id));
$$;

select lockstep.own_functions('lockstep_saves',
  exposed => '{begin_phone_numbers,phone_number_note,set_allowance}',
  internal => '{allowance_of,phone_number_json,see_phone_number,apply_phone_numbers,close_phone_numbers,rows_phone_numbers}');
select lockstep.own_functions('lockstep_sweep', exposed => '{phone_number_activation_due,phone_number_attachment_due,phone_number_listed,
  phone_number_page,phone_number_stamps}');

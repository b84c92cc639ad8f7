-- Appointments, the rules by which an organization takes them, and what callers have booked by the tools of an agent.
--
-- No time is given away twice: a booking takes a lane, 1 to the capacity of the organization, and the exclusion constraint of the table
-- refuses two bookings that overlap in one lane. The functions take a lock of the organization's appointments first, because concurrent
-- inserts under an exclusion constraint can deadlock, and because they count lanes.

-- For the comparison of ids and numbers within the exclusion constraint. Postgres and hosted projects have it.
do $$
begin
  if not exists (select from pg_catalog.pg_extension where extname = 'btree_gist') then
    create extension btree_gist with schema extensions;
  end if;
exception when insufficient_privilege then
  raise exception 'The extension btree_gist is missing, and the role % may not create it. Nothing was changed.', current_user
    using errcode = 'insufficient_privilege', hint = 'As an administrator: create extension btree_gist with schema extensions.';
end
$$;

create table public.appointments (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete restrict,
  -- The call in which it was booked; null: by other means.
  call_id uuid,
  customer_name text not null check (length(btrim(customer_name)) between 1 and 200),
  customer_number text check (length(customer_number) between 3 and 40),
  starts_at timestamptz not null,
  ends_at timestamptz not null check (ends_at > starts_at),
  -- The end of the time that must stay free after it. Null: it ends with the appointment.
  blocked_until timestamptz check (blocked_until >= ends_at),
  -- 1 to the capacity of the organization.
  lane integer not null default 1 check (lane > 0),
  status text not null check (status in ('SCHEDULED', 'CONFIRMED', 'COMPLETED', 'CANCELLED', 'NO_SHOW')),
  notes text check (length(notes) between 1 and 4000),
  created_at timestamptz not null default now(),
  unique (org_id, id),
  -- lockstep.taken_lanes relies on this length. See the limits of lockstep.booking_rules.
  check (coalesce(blocked_until, ends_at) <= starts_at + interval '48 hours'),
  constraint appointments_not_twice exclude using gist
    (org_id with =, lane with =, tstzrange(starts_at, coalesce(blocked_until, ends_at)) with &&)
    where (status in ('SCHEDULED', 'CONFIRMED')),
  foreign key (org_id, call_id) references public.call_logs (org_id, id) on delete set null (call_id)
);
create index appointments_by_time on public.appointments (org_id, starts_at, id);
create index appointments_by_status on public.appointments (org_id, status, starts_at, id);
create index appointments_by_call on public.appointments (org_id, call_id, starts_at, id);
-- What a caller has booked before.
create index appointments_by_customer on public.appointments (org_id, customer_number, starts_at) where customer_number is not null;

-- The column defaults are the rules of an organization that has not set any.
create table lockstep.booking_rules (
  org_id uuid primary key references public.organizations (id) on delete cascade,
  -- An IANA name. Only the server computes with it.
  time_zone text not null default 'UTC' check (length(time_zone) between 1 and 64),
  slot_minutes integer not null default 30 check (slot_minutes between 5 and 1440),
  capacity integer not null default 1 check (capacity between 1 and 100),
  lead_minutes integer not null default 60 check (lead_minutes between 0 and 43200),
  buffer_minutes integer not null default 0 check (buffer_minutes between 0 and 1440),
  -- [{ weekday, opens, closes }]: weekday 1 (Monday) to 7, times of day as HH:MM.
  hours jsonb not null default '[{"weekday": 1, "opens": "09:00", "closes": "17:00"}, {"weekday": 2, "opens": "09:00", "closes": "17:00"},
    {"weekday": 3, "opens": "09:00", "closes": "17:00"}, {"weekday": 4, "opens": "09:00", "closes": "17:00"},
    {"weekday": 5, "opens": "09:00", "closes": "17:00"}]' check (jsonb_typeof(hours) = 'array'),
  -- A booking that was computed from another revision is refused, and computed again.
  revision integer not null default 1
);

-- What was answered to the tool calls of a call, so that the same tool call is answered the same and has no second effect.
create table lockstep.tool_calls (
  org_id uuid not null references public.organizations (id) on delete cascade,
  call_id uuid not null,
  -- A digest of the tool call's id, the function and the arguments.
  key text not null,
  function text not null,
  answer jsonb not null,
  answered_at timestamptz not null,
  primary key (org_id, call_id, key),
  foreign key (org_id, call_id) references public.call_logs (org_id, id) on delete cascade
);
create index tool_calls_by_time on lockstep.tool_calls (org_id, answered_at);

select lockstep.protect_tables('public.appointments', 'lockstep.booking_rules', 'lockstep.tool_calls');
select lockstep.let_users_read('public.appointments');
select lockstep.let_saves('select, insert, update', 'public.appointments', 'lockstep.booking_rules');
select lockstep.let_saves('select, insert, delete', 'lockstep.tool_calls');

create function lockstep.appointment_json(a public.appointments) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object('id', a.id, 'callId', a.call_id, 'customerName', a.customer_name, 'customerNumber', a.customer_number,
    'startsAt', a.starts_at, 'endsAt', a.ends_at, 'status', a.status, 'notes', a.notes, 'createdAt', a.created_at);
$$;

-- The rules, and the time at which they are read: { now, rules }. Null: there are none, because there is no such organization.
create function lockstep.rules_now(r lockstep.booking_rules) returns jsonb
language sql volatile set search_path = '' as $$
  select case when r.org_id is not null then jsonb_build_object('now', clock_timestamp(), 'rules', jsonb_build_object(
    'timeZone', r.time_zone, 'slotMinutes', r.slot_minutes, 'capacity', r.capacity, 'leadMinutes', r.lead_minutes,
    'bufferMinutes', r.buffer_minutes, 'hours', r.hours, 'revision', r.revision)) end;
$$;

-- Enters an organization and returns its rules. Null: there is no such organization. p_lock: takes the lock of its appointments until
-- the end of the transaction. It is not the lock of lockstep.enter, so that bookings do not hold up saves.
create function lockstep.enter_appointments(p_org_id uuid, p_lock boolean) returns lockstep.booking_rules
language plpgsql volatile set search_path = '' as $$
declare
  v_rules lockstep.booking_rules;
begin
  perform set_config('lockstep.org_id', p_org_id::text, true);
  if p_org_id is null or not exists (select from public.organizations where id = p_org_id) then
    return null;
  end if;
  if p_lock then
    perform pg_advisory_xact_lock(hashtextextended('lockstep.appointments ' || p_org_id, 0));
  end if;
  select * into v_rules from lockstep.booking_rules where org_id = p_org_id;
  if not found then
    insert into lockstep.booking_rules (org_id) values (p_org_id) on conflict do nothing;
    select * into v_rules from lockstep.booking_rules where org_id = p_org_id;
  end if;
  return v_rules;
end
$$;

-- The lanes in which something is booked between these times.
create function lockstep.taken_lanes(p_org_id uuid, p_from timestamptz, p_until timestamptz, p_except uuid) returns integer[]
language sql stable set search_path = '' as $$
  select array(select distinct a.lane from public.appointments a
    where a.org_id = p_org_id and a.status in ('SCHEDULED', 'CONFIRMED') and a.id is distinct from p_except
      and a.starts_at < p_until and a.starts_at > p_from - interval '48 hours' and coalesce(a.blocked_until, a.ends_at) > p_from);
$$;

-- The lane in which an appointment that starts then can be booked. Null: there is none. Whoever asks what is free, and whoever books,
-- asks this. p_except: an appointment that is to be moved, and so is not in its own way.
-- Lanes above the capacity count too: the capacity may have been lowered since they were booked.
create function lockstep.free_lane(r lockstep.booking_rules, p_starts_at timestamptz, p_except uuid) returns integer
language sql stable set search_path = '' as $$
  select case when cardinality(t.lanes) < r.capacity
    then (select min(n) from generate_series(1, r.capacity) as n where n <> all (t.lanes)) end
  from (select lockstep.taken_lanes(r.org_id, p_starts_at, p_starts_at + (r.slot_minutes + r.buffer_minutes) * interval '1 minute',
    p_except) as lanes) as t;
$$;

-- The first of these starts that are free: [timestamp].
create function lockstep.first_free(r lockstep.booking_rules, p_starts jsonb, p_limit integer, p_except uuid) returns jsonb
language plpgsql stable set search_path = '' as $$
declare
  v_start timestamptz;
  v_free jsonb := '[]';
begin
  for v_start in select s::timestamptz from jsonb_array_elements_text(p_starts) with ordinality as e (s, n) order by n loop
    exit when jsonb_array_length(v_free) >= p_limit;
    if lockstep.free_lane(r, v_start, p_except) is not null then
      v_free := v_free || to_jsonb(v_start);
    end if;
  end loop;
  return v_free;
end
$$;

-- The rules of an organization. Null: there is no such organization.
-- { now, rules { timeZone, slotMinutes, capacity, leadMinutes, bufferMinutes, hours, revision } }
create function lockstep.booking_rules(p_org_id uuid) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_rules lockstep.booking_rules;
begin
  v_rules := lockstep.enter_appointments(p_org_id, false);
  perform lockstep.leave();
  return lockstep.rules_now(v_rules);
end
$$;

-- Changes the rules; what is absent or null stays. Bookings that exist stay as they are. Returns what booking_rules returns.
create function lockstep.set_booking_rules(p_org_id uuid, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_rules lockstep.booking_rules;
begin
  v_rules := lockstep.enter_appointments(p_org_id, true);
  if v_rules.org_id is not null then
    update lockstep.booking_rules set
        time_zone = coalesce(p_request ->> 'timeZone', time_zone),
        slot_minutes = coalesce((p_request ->> 'slotMinutes')::integer, slot_minutes),
        capacity = coalesce((p_request ->> 'capacity')::integer, capacity),
        lead_minutes = coalesce((p_request ->> 'leadMinutes')::integer, lead_minutes),
        buffer_minutes = coalesce((p_request ->> 'bufferMinutes')::integer, buffer_minutes),
        hours = coalesce(p_request -> 'hours', hours),
        revision = revision + 1
      where org_id = p_org_id returning * into v_rules;
  end if;
  perform lockstep.leave();
  return lockstep.rules_now(v_rules);
end
$$;

-- Of these starts, those at which an appointment can be booked: p_request { starts [timestamp], limit }.
create function lockstep.free_slots(p_org_id uuid, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_rules lockstep.booking_rules;
  v_free jsonb := '[]';
begin
  v_rules := lockstep.enter_appointments(p_org_id, false);
  if v_rules.org_id is not null then
    v_free := lockstep.first_free(v_rules, p_request -> 'starts', (p_request ->> 'limit')::integer, null);
  end if;
  perform lockstep.leave();
  return v_free;
end
$$;

-- Makes one change under the lock of enter_appointments. p_request: action, and
--   BOOK: appointmentId (new), startsAt, customerName, customerNumber?, notes?
--   RESCHEDULE: appointmentId, startsAt, expectedStartsAt?
--   CANCEL: appointmentId
--   of BOOK and RESCHEDULE also: rulesRevision, from which startsAt was computed; problem?: why nothing can be booked then, such as CLOSED;
--     alternatives [timestamp]: what to offer instead, the best first; of these the first three that are free are returned
-- p_call_id: the change is asked for in this call, so that it concerns only what was booked in it, or for p_request.callerNumber, and is
-- not over.
-- outcome: DONE { appointment, before? } | UNAVAILABLE { problem, alternatives } | RULES_CHANGED | NO_APPOINTMENT | NOT_ACTIVE { status }
--   | MOVED { appointment }: it is not at expectedStartsAt
create function lockstep.change_appointment(r lockstep.booking_rules, p_call_id uuid, p_request jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  v_action constant text := p_request ->> 'action';
  v_id constant uuid := p_request ->> 'appointmentId';
  v_starts_at constant timestamptz := p_request ->> 'startsAt';
  v_ends_at constant timestamptz := v_starts_at + r.slot_minutes * interval '1 minute';
  v_lane integer;
  v_appointment public.appointments;
  v_before timestamptz;
begin
  if v_action <> 'BOOK' then
    select * into v_appointment from public.appointments a
      where a.org_id = r.org_id and a.id = v_id
        and (p_call_id is null
          or (a.call_id = p_call_id or a.customer_number = p_request ->> 'callerNumber') and a.ends_at > clock_timestamp());
    if not found then
      return jsonb_build_object('outcome', 'NO_APPOINTMENT');
    end if;
    v_before := v_appointment.starts_at;
    -- Done already: a request that is repeated succeeds.
    if v_action = 'CANCEL' and v_appointment.status = 'CANCELLED'
      or v_action = 'RESCHEDULE' and v_appointment.status in ('SCHEDULED', 'CONFIRMED') and v_before = v_starts_at
    then
      return jsonb_build_object('outcome', 'DONE', 'appointment', lockstep.appointment_json(v_appointment));
    end if;
    if v_appointment.status not in ('SCHEDULED', 'CONFIRMED') then
      return jsonb_build_object('outcome', 'NOT_ACTIVE', 'status', v_appointment.status);
    end if;
    if v_before <> (p_request ->> 'expectedStartsAt')::timestamptz then
      return jsonb_build_object('outcome', 'MOVED', 'appointment', lockstep.appointment_json(v_appointment));
    end if;
    if v_action = 'CANCEL' then
      update public.appointments set status = 'CANCELLED' where id = v_id returning * into v_appointment;
      return jsonb_build_object('outcome', 'DONE', 'appointment', lockstep.appointment_json(v_appointment));
    end if;
  end if;

  if (p_request ->> 'rulesRevision')::integer is distinct from r.revision then
    return jsonb_build_object('outcome', 'RULES_CHANGED');
  end if;
  if p_request ->> 'problem' is null then
    v_lane := lockstep.free_lane(r, v_starts_at, case when v_action = 'RESCHEDULE' then v_id end);
  end if;
  if v_lane is null then
    return jsonb_build_object('outcome', 'UNAVAILABLE', 'problem', coalesce(p_request ->> 'problem', 'TAKEN'), 'alternatives',
      lockstep.first_free(r, p_request -> 'alternatives', 3, case when v_action = 'RESCHEDULE' then v_id end));
  end if;
  if v_action = 'BOOK' then
    insert into public.appointments (id, org_id, call_id, customer_name, customer_number, starts_at, ends_at, blocked_until, lane,
        status, notes)
      values (v_id, r.org_id, p_call_id, p_request ->> 'customerName', p_request ->> 'customerNumber', v_starts_at, v_ends_at,
        v_ends_at + r.buffer_minutes * interval '1 minute', v_lane, 'SCHEDULED', p_request ->> 'notes')
      returning * into v_appointment;
  else
    -- One statement: no moment in which another one could take the old time or the new one.
    update public.appointments set starts_at = v_starts_at, ends_at = v_ends_at,
        blocked_until = v_ends_at + r.buffer_minutes * interval '1 minute', lane = v_lane
      where id = v_id returning * into v_appointment;
  end if;
  return jsonb_build_object('outcome', 'DONE', 'appointment', lockstep.appointment_json(v_appointment))
    || case when v_before is not null then jsonb_build_object('before', v_before) else '{}' end;
end
$$;

-- The change of a user: a saga that changes nothing in Vapi, so that its answer can be asked for again (see lockstep.done_saga).
-- p_request: what may_begin reads, and what change_appointment reads.
-- outcome: as may_begin | REPLAY { saga, rows } also when it was made now | as change_appointment, except DONE
create function lockstep.begin_appointments(p_org_id uuid, p_saga_id uuid, p_owner text, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_answer jsonb;
begin
  v_answer := lockstep.may_begin(p_org_id, p_saga_id, p_owner, 'appointments', '{}', p_request);
  if v_answer is null then
    v_answer := lockstep.change_appointment(lockstep.enter_appointments(p_org_id, true), null, p_request);
    if v_answer ->> 'outcome' = 'DONE' then
      v_answer := lockstep.done_saga(p_org_id, p_saga_id, p_owner, 'appointments', p_request, lockstep.part(p_org_id, p_saga_id,
        jsonb_build_object('key', 'appointment', 'resource', 'appointment', 'resource_id', v_answer -> 'appointment' ->> 'id',
          'after_content', v_answer - 'outcome')));
    end if;
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- The appointment as the saga left it. What is forgotten after three days is not returned.
create function lockstep.rows_appointments(s public.sagas) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(p.after_content -> 'appointment') filter (where p.after_content ? 'appointment'), '[]')
  from lockstep.saga_parts p where p.saga_id = s.id;
$$;

-- What is known before a tool call of a call is answered. p_request: key, callerNumber?
--   now, rules: see booking_rules; answer: what the same tool call was answered before, or null
--   appointments: what the caller may change, the first 50 that are not over: booked in this call or for that number
--   made: [{ function, answer }]: what this call has changed, the last first
-- Null: there is no such organization.
create function lockstep.tool_call_context(p_org_id uuid, p_call_id uuid, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_rules lockstep.booking_rules;
  v_answer jsonb;
begin
  v_rules := lockstep.enter_appointments(p_org_id, false);
  if v_rules.org_id is not null then
    v_answer := lockstep.rules_now(v_rules) || jsonb_build_object('answer', (select t.answer from lockstep.tool_calls t
        where t.org_id = p_org_id and t.call_id = p_call_id and t.key = p_request ->> 'key'),
      'appointments', (select coalesce(jsonb_agg(lockstep.appointment_json(a) order by a.starts_at, a.id), '[]') from (
        select * from public.appointments a
         where a.org_id = p_org_id and (a.call_id = p_call_id or a.customer_number = p_request ->> 'callerNumber')
           and a.status in ('SCHEDULED', 'CONFIRMED') and a.ends_at > clock_timestamp()
         order by a.starts_at, a.id limit 50) as a),
      'made', (select coalesce(jsonb_agg(jsonb_build_object('function', t.function, 'answer', t.answer) order by t.answered_at desc), '[]')
        from lockstep.tool_calls t
        where t.org_id = p_org_id and t.call_id = p_call_id and t.answer ->> 'outcome' = 'DONE'));
  end if;
  perform lockstep.leave();
  return v_answer;
end
$$;

-- Answers a tool call of a call, once: what the same tool call was answered before is answered again, and nothing happens.
-- p_request: key, function, callerNumber?, and what change_appointment reads; or action NOTE, and answer: a refusal that changes
-- nothing. It is kept too: what has been refused must not be done when the same tool call arrives a second time.
-- A booking of the same name at the same time in the same call is the first one again, as long as it is active: the model asks again
-- under a new id if it got no answer.
-- outcome: as change_appointment, or that of the refusal | NO_ORGANIZATION
create function lockstep.answer_tool_call(p_org_id uuid, p_call_id uuid, p_request jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_rules lockstep.booking_rules;
  v_first public.appointments;
  v_answer jsonb;
begin
  <<body>> begin
    v_rules := lockstep.enter_appointments(p_org_id, true);
    if v_rules.org_id is null then
      v_answer := jsonb_build_object('outcome', 'NO_ORGANIZATION');
      exit body;
    end if;
    select t.answer into v_answer from lockstep.tool_calls t
      where t.org_id = p_org_id and t.call_id = p_call_id and t.key = p_request ->> 'key';
    exit body when found;

    if p_request ->> 'action' = 'NOTE' then
      v_answer := p_request -> 'answer';
    elsif p_request ->> 'action' = 'BOOK' then
      select * into v_first from public.appointments a
        where a.org_id = p_org_id and a.call_id = p_call_id and a.starts_at = (p_request ->> 'startsAt')::timestamptz
          and a.status in ('SCHEDULED', 'CONFIRMED')
          and lower(regexp_replace(btrim(a.customer_name), '\s+', ' ', 'g'))
            = lower(regexp_replace(btrim(p_request ->> 'customerName'), '\s+', ' ', 'g'))
        order by a.id limit 1;
      if found then
        v_answer := jsonb_build_object('outcome', 'DONE', 'appointment', lockstep.appointment_json(v_first));
      end if;
    end if;
    if v_answer is null then
      v_answer := lockstep.change_appointment(v_rules, p_call_id, p_request);
    end if;
    -- These are no answers: the server computes the request again.
    exit body when v_answer ->> 'outcome' in ('RULES_CHANGED', 'MOVED');
    insert into lockstep.tool_calls (org_id, call_id, key, function, answer, answered_at)
      values (p_org_id, p_call_id, p_request ->> 'key', p_request ->> 'function', v_answer, clock_timestamp());
    -- No call lasts that long.
    delete from lockstep.tool_calls where org_id = p_org_id and answered_at < clock_timestamp() - interval '7 days';
  end body;
  perform lockstep.leave();
  return v_answer;
end
$$;

select lockstep.own_functions('lockstep_saves',
  exposed => '{booking_rules,set_booking_rules,free_slots,begin_appointments,tool_call_context,answer_tool_call}',
  internal => '{appointment_json,rules_now,enter_appointments,taken_lanes,free_lane,first_free,change_appointment,
    rows_appointments}');

-- Phone numbers.
--
-- Every reference from one table of an organization to another carries the organization, so that the database itself refuses a row
-- of one organization that points at a row of another. Lists are read by (organization, order, id): each order that the API
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

select lockstep.protect_tables('public.phone_numbers');
select lockstep.let_users_read('public.phone_numbers');
-- Which agent a number belongs to decides who answers it and who dials from it, so it goes through the one door as well.
select lockstep.let_saves('select, update (agent_id)', 'public.phone_numbers');

-- Records which agent of an organization one of its own phone numbers belongs to; p_role null: none any more.
-- outcome: ATTACHED | DETACHED | NO_ORGANIZATION | NO_PHONE_NUMBER | NO_AGENT
create function lockstep.attach_phone_number(p_org_id uuid, p_phone_number_id uuid, p_role text) returns jsonb
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

select lockstep.own_functions('lockstep_saves', exposed => '{attach_phone_number}');

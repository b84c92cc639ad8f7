-- Call logs.
-- The recipe of the phone numbers' for references and lists.

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

select lockstep.protect_tables('public.call_logs');
select lockstep.let_users_read('public.call_logs');

-- Appointments.

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

select lockstep.protect_tables('public.appointments');
select lockstep.let_users_read('public.appointments');

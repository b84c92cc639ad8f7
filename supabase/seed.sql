-- Two demo organizations with one user each; the password of both is lockstep-demo (bcrypt, cost 10).
-- Runs on the embedded Supabase, on the Supabase CLI's, and on a hosted project; running it again changes nothing.

insert into public.organizations (id, name) values
  ('00000000-0000-4000-8000-00000000000a', 'North Dental'),
  ('00000000-0000-4000-8000-00000000000b', 'South Realty')
on conflict do nothing;

-- The token columns must be empty strings: GoTrue cannot read a null there.
insert into auth.users (
  id, aud, role, email, encrypted_password, email_confirmed_at, raw_app_meta_data, raw_user_meta_data, created_at, updated_at,
  confirmation_token, recovery_token, email_change, email_change_token_new, email_change_token_current,
  phone_change, phone_change_token, reauthentication_token
)
select
  u.id, 'authenticated', 'authenticated', u.email, '$2a$10$EH2ixHGvD12gFiblLE8rH.PPqXfe1078RUBfcRT22HIrWZgL.Oioe', now(),
  jsonb_build_object('provider', 'email', 'providers', jsonb_build_array('email'), 'org_id', u.org_id),
  jsonb_build_object('sub', u.id, 'email', u.email, 'email_verified', true, 'phone_verified', false), now(), now(),
  '', '', '', '', '', '', '', ''
from (values
  ('00000000-0000-4000-8000-0000000000a1'::uuid, 'owner@north.example', '00000000-0000-4000-8000-00000000000a'),
  ('00000000-0000-4000-8000-0000000000b1'::uuid, 'owner@south.example', '00000000-0000-4000-8000-00000000000b')
) as u (id, email, org_id)
on conflict do nothing;

-- GoTrue looks users up by this column; the embedded Supabase has none.
do $$
begin
  if exists (
    select from information_schema.columns
    where table_schema = 'auth' and table_name = 'users' and column_name = 'instance_id'
  ) then
    execute $sql$
      update auth.users set instance_id = '00000000-0000-0000-0000-000000000000'
      where instance_id is null
        and id in ('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000b1')
    $sql$;
  end if;
end
$$;

insert into auth.identities (id, provider, provider_id, user_id, identity_data, last_sign_in_at, created_at, updated_at)
select
  u.id, 'email', u.id::text, u.id,
  jsonb_build_object('sub', u.id, 'email', u.email, 'email_verified', true, 'phone_verified', false), now(), now(), now()
from auth.users u
where u.id in ('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000b1')
on conflict do nothing;

-- What the demo organizations own: the same rows every time, but for the day on which everything is counted from.
-- Their calls name no agent, because the demo organizations have none before their first save.
insert into public.phone_numbers (id, org_id, number, label, provider, state, created_at)
select n.id::uuid, n.org_id::uuid, n.number, n.label, n.provider, 'ACTIVE', current_date - interval '180 days'
from (values
  ('00000000-0000-4000-8000-0000000a0001', '00000000-0000-4000-8000-00000000000a', '+12065550101', 'Front desk', 'vapi'),
  ('00000000-0000-4000-8000-0000000a0002', '00000000-0000-4000-8000-00000000000a', '+12065550102', 'Recall campaign', 'twilio'),
  ('00000000-0000-4000-8000-0000000b0001', '00000000-0000-4000-8000-00000000000b', '+13055550101', 'Listings', 'vapi'),
  ('00000000-0000-4000-8000-0000000b0002', '00000000-0000-4000-8000-00000000000b', '+13055550102', 'Viewings', 'twilio'),
  ('00000000-0000-4000-8000-0000000b0003', '00000000-0000-4000-8000-00000000000b', '+13055550103', null, 'telnyx')
) as n (id, org_id, number, label, provider)
on conflict do nothing;

insert into public.knowledge_base_documents (id, org_id, name, content_type, size_bytes, state, failure, created_at)
select
  md5(d.org_id || d.name)::uuid, d.org_id::uuid, d.name, d.content_type, d.size_bytes, d.state,
  case d.state when 'FAILED' then 'The file holds no text.' end, current_date - d.days * interval '1 day'
from (values
  ('00000000-0000-4000-8000-00000000000a', 'Opening hours and holidays.md', 'text/markdown', 2480, 'READY', 170),
  ('00000000-0000-4000-8000-00000000000a', 'Treatments and prices.pdf', 'application/pdf', 184320, 'READY', 168),
  ('00000000-0000-4000-8000-00000000000a', 'Insurance plans we accept.csv', 'text/csv', 9216, 'READY', 96),
  ('00000000-0000-4000-8000-00000000000a', 'After-care instructions.docx', 'application/vnd.openxmlformats-officedocument.wordprocessingml.document', 73728, 'READY', 41),
  ('00000000-0000-4000-8000-00000000000a', 'Scanned consent form.pdf', 'application/pdf', 245760, 'FAILED', 12),
  ('00000000-0000-4000-8000-00000000000a', 'New patient checklist.pdf', 'application/pdf', 51200, 'PROCESSING', 0),
  ('00000000-0000-4000-8000-00000000000b', 'Current listings.csv', 'text/csv', 122880, 'READY', 3),
  ('00000000-0000-4000-8000-00000000000b', 'Neighbourhood guide.pdf', 'application/pdf', 225280, 'READY', 120),
  ('00000000-0000-4000-8000-00000000000b', 'Viewing rules.md', 'text/markdown', 3072, 'READY', 88),
  ('00000000-0000-4000-8000-00000000000b', 'Floor plans.pdf', 'application/pdf', 294912, 'FAILED', 30),
  ('00000000-0000-4000-8000-00000000000b', 'Mortgage questions.txt', 'text/plain', 6144, 'UPLOADING', 0)
) as d (org_id, name, content_type, size_bytes, state, days)
on conflict do nothing;

-- 320 calls each over the last 90 days, in office hours, two thirds of them inbound.
insert into public.call_logs (
  id, org_id, phone_number_id, direction, customer_number, customer_name, started_at, ended_at, outcome, ended_reason,
  summary, cost_usd
)
select
  md5(o.id || '/call/' || n)::uuid, o.id::uuid,
  (case when i % 3 < 2 then o.inbound_number else o.outbound_number end)::uuid,
  case when i % 3 < 2 then 'INBOUND' else 'OUTBOUND' end,
  '+1' || o.area || '555' || lpad(((i * 37) % 9000 + 1000)::text, 4, '0'),
  case when i % 5 > 0 then p.first || ' ' || p.last end,
  s.at, s.at + k.seconds * interval '1 second', k.outcome, k.ended_reason,
  case k.outcome when 'COMPLETED' then o.topics[1 + i % 4] when 'TRANSFERRED' then 'Asked for a person and was put through.' end,
  round(0.004 + k.seconds * 0.0018, 6)
from (values
  ('00000000-0000-4000-8000-00000000000a', '206', '00000000-0000-4000-8000-0000000a0001', '00000000-0000-4000-8000-0000000a0002', 0,
    array['Booked a check-up.', 'Asked for the price of a cleaning.', 'Moved an appointment.', 'Asked about opening hours.']),
  ('00000000-0000-4000-8000-00000000000b', '305', '00000000-0000-4000-8000-0000000b0001', '00000000-0000-4000-8000-0000000b0002', 43,
    array['Booked a viewing.', 'Asked whether a flat is still available.', 'Asked for the floor plan.', 'Moved a viewing.'])
) as o (id, area, inbound_number, outbound_number, shift, topics)
cross join generate_series(1, 320) as n
cross join lateral (select n + o.shift as i) as v
cross join lateral (select
  current_date - ((n * 90) / 320 + 1) * interval '1 day' + interval '8 hours' + ((i * 197) % 600) * interval '1 minute' as at) as s
cross join lateral (select
  (array['Ana', 'Ben', 'Chloe', 'Daniel', 'Elena', 'Farid', 'Grace'])[1 + i % 7] as first,
  (array['Ahmed', 'Brooks', 'Costa', 'Diaz', 'Evans'])[1 + i % 5] as last) as p
cross join lateral (select
  case when r < 62 then 'COMPLETED' when r < 72 then 'TRANSFERRED' when r < 84 then 'VOICEMAIL' when r < 93 then 'NO_ANSWER'
    when r < 97 then 'BUSY' else 'FAILED' end as outcome,
  case when r < 62 then 'customer-ended-call' when r < 72 then 'assistant-forwarded-call' when r < 84 then 'voicemail'
    when r < 93 then 'customer-did-not-answer' when r < 97 then 'customer-busy' else 'call.start.error-get-transport' end as ended_reason,
  case when r < 72 then 45 + (i * 53) % 400 when r < 84 then 20 + i % 15 else 0 end as seconds
  from (select (i * 61) % 100 as r) as x) as k
on conflict do nothing;

-- One for every third call that was completed, 2 to 29 days after it; what is past has happened, or not.
insert into public.appointments (
  id, org_id, call_id, customer_name, customer_number, starts_at, ends_at, lane, status, created_at
)
select
  md5(c.id || '/appointment')::uuid, c.org_id, c.id, coalesce(c.customer_name, 'Unknown caller'), c.customer_number,
  a.at, a.at + interval '45 minutes', row_number() over (partition by c.org_id, a.at order by c.id),
  case
    when c.n % 8 = 0 then 'CANCELLED'
    when a.at < current_date then case when c.n % 7 = 0 then 'NO_SHOW' else 'COMPLETED' end
    when c.n % 2 = 0 then 'CONFIRMED'
    else 'SCHEDULED'
  end,
  c.ended_at
from (
  select l.*, row_number() over (partition by l.org_id order by l.started_at, l.id) as n
  from public.call_logs l
  where l.outcome = 'COMPLETED' and l.vapi_call_id is null
    and l.org_id in ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-00000000000b')
) as c
cross join lateral (select
  date_trunc('day', c.started_at) + (2 + c.n % 28) * interval '1 day' + (9 + c.n % 8) * interval '1 hour' as at) as a
where c.n % 3 = 0
on conflict do nothing;

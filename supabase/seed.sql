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

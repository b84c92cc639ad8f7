-- The documents of a knowledge base.
-- The recipe of the first migration, and of the phone numbers' for references and lists.

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

alter table public.knowledge_base_documents enable row level security;
alter table public.knowledge_base_documents force row level security;
revoke all on public.knowledge_base_documents from public, anon, authenticated, service_role;
grant select on public.knowledge_base_documents to authenticated, service_role;
create policy knowledge_base_documents_own on public.knowledge_base_documents for select to authenticated
  using (org_id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));

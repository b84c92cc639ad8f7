-- The documents of a knowledge base.
-- The recipe of the phone numbers' for references and lists.

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

select lockstep.protect_tables('public.knowledge_base_documents');
select lockstep.let_users_read('public.knowledge_base_documents');

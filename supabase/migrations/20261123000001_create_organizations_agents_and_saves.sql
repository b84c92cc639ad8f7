-- Organizations, their agents, and the journal of saves.
--
-- Every table here follows one recipe: forced row-level security, everything revoked first (a hosted project grants all
-- rights on new tables to anon, authenticated and service_role by default), then only SELECT granted back. What takes part in
-- a save is written by the save functions of the next migration and by nothing else, not even by the service role.

-- Refuses a project in which a name that Lockstep uses is taken, before anything is changed.
do $$
declare
  v_taken text;
begin
  select string_agg(format('public.%s', n), ', ' order by n) into v_taken
    from unnest(array['organizations', 'agents', 'agent_saves', 'agent_revisions', 'phone_numbers',
      'knowledge_base_documents', 'call_logs', 'appointments']) as n
   where to_regclass(format('public.%I', n)) is not null;
  if to_regnamespace('lockstep') is not null then
    v_taken := concat_ws(', ', v_taken, 'the schema lockstep');
  end if;
  if v_taken is not null then
    raise exception 'Lockstep cannot be installed in this project: these names are in use already: %. Nothing was changed.', v_taken
      using errcode = 'duplicate_object',
        hint = 'Rename what has these names, or use a project of its own for Lockstep.';
  end if;
end
$$;

-- The private schema: what clients must never read. The REST API does not expose it (supabase/config.toml, api.schemas).
create schema lockstep;
revoke all on schema lockstep from public;

-- Owner of the save functions: no login, no bypass of row-level security. Roles belong to the cluster, so they may exist.
do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'lockstep_saves') then
    create role lockstep_saves nologin;
  end if;
  -- Looks across organizations for abandoned saves, and can see nothing else.
  if not exists (select from pg_catalog.pg_roles where rolname = 'lockstep_recovery') then
    create role lockstep_recovery nologin;
  end if;
end
$$;
-- Kept for later migrations: changing a function needs membership of its owner.
grant lockstep_saves, lockstep_recovery to current_user;

create table public.organizations (
  id uuid primary key default gen_random_uuid(),
  name text not null check (length(btrim(name)) between 1 and 200),
  -- What the sweep does with an edit made in the Vapi dashboard.
  drift_policy text not null default 'REVERT' check (drift_policy in ('REVERT', 'ADOPT', 'REPORT')),
  created_at timestamptz not null default now()
);

create table public.agents (
  id uuid primary key,
  org_id uuid not null references public.organizations (id) on delete restrict,
  role text not null check (role in ('INBOUND', 'OUTBOUND')),
  -- The configuration as src/domain/agents/agent-config.ts defines it.
  config jsonb not null check (jsonb_typeof(config) = 'object'),
  vapi_assistant_id text not null check (vapi_assistant_id <> ''),
  revision integer not null check (revision > 0),
  -- The last committed save, also where it kept the revision: the only one whose stamp in Vapi is current.
  last_save_id uuid not null,
  mapping_version integer not null check (mapping_version > 0),
  last_synced_at timestamptz not null,
  -- When Vapi was last seen to hold exactly this revision, or to differ (then drift or missing_since say how).
  checked_at timestamptz not null,
  drift jsonb not null default '[]' check (jsonb_typeof(drift) = 'array'),
  missing_since timestamptz,
  -- The last complete sweep did not judge this agent, so the time of that sweep says nothing about it.
  unconfirmed boolean not null default false,
  -- The change that would make a dashboard's edit ours; null where there is none, or where it cannot be said in a config.
  adoptable jsonb,
  created_at timestamptz not null default now(),
  -- One agent per role: two concurrent first saves cannot make two.
  unique (org_id, role),
  -- No two agents may drive the same assistant, whatever organization they belong to.
  unique (vapi_assistant_id)
);

create table public.agent_saves (
  id uuid primary key,
  org_id uuid not null references public.organizations (id) on delete restrict,
  idempotency_key text check (length(idempotency_key) between 1 and 200),
  request_hash text not null,
  -- Who or what asked: a user's save, the sweep's revert or adopt.
  kind text not null check (kind in ('USER', 'REVERT', 'ADOPT')),
  actor text,
  status text not null check (status in ('APPLYING', 'COMMITTED', 'ROLLING_BACK', 'ROLLED_BACK', 'NEEDS_ATTENTION')),
  -- Fencing token: rises with every takeover; a transition with an older one is refused.
  epoch integer not null check (epoch > 0),
  owner text,
  lease_until timestamptz,
  deadline_at timestamptz not null,
  -- Quarantine: recovery leaves the save alone until then.
  not_before timestamptz,
  -- Some request of this save may still be applied late.
  ambiguous boolean not null default false,
  mapping_version integer not null check (mapping_version > 0),
  results jsonb not null check (jsonb_typeof(results) = 'array'),
  failure jsonb,
  started_at timestamptz not null,
  finished_at timestamptz,
  unique (org_id, idempotency_key),
  -- Recovery finds an abandoned save by the end of its lease; without one it would never be found.
  check (lease_until is not null or status not in ('APPLYING', 'ROLLING_BACK')),
  check ((finished_at is null) = (status in ('APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION')))
);
-- At most one open save an organization: by the database, not by application code.
create unique index agent_saves_one_open on public.agent_saves (org_id)
  where status in ('APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION');
-- What recovery looks for.
create index agent_saves_due on public.agent_saves (lease_until)
  where status in ('APPLYING', 'ROLLING_BACK');
create index agent_saves_by_time on public.agent_saves (org_id, started_at desc);

create table public.agent_revisions (
  agent_id uuid not null references public.agents (id) on delete cascade,
  revision integer not null check (revision > 0),
  org_id uuid not null references public.organizations (id) on delete restrict,
  role text not null,
  config jsonb not null,
  vapi_assistant_id text not null,
  save_id uuid not null references public.agent_saves (id) on delete restrict,
  created_at timestamptz not null,
  primary key (agent_id, revision)
);
create index agent_revisions_by_org on public.agent_revisions (org_id, created_at desc);
create index agent_revisions_by_save on public.agent_revisions (save_id);
-- The sweep asks whether an assistant ever belonged to an agent, before it deletes the assistant as an orphan.
create index agent_revisions_by_assistant on public.agent_revisions (org_id, vapi_assistant_id);

-- What a save found and what it wants, per agent: enough to finish it or to undo it without asking anybody.
create table lockstep.save_images (
  save_id uuid not null references public.agent_saves (id) on delete cascade,
  org_id uuid not null references public.organizations (id) on delete restrict,
  role text not null,
  agent_id uuid not null,
  -- Null: there was no such agent, or its assistant is to be made anew.
  assistant_id text,
  before_config jsonb,
  before_revision integer not null,
  before_save_id uuid,
  before_mapping_version integer,
  after_config jsonb not null,
  -- Leave to make a new assistant, should the one named here turn out to be gone.
  recreate boolean not null default false,
  primary key (save_id, role)
);
create index save_images_by_org on lockstep.save_images (org_id);

-- The SHA-256 of a document as Postgres writes it. src/domain/json.ts (jsonbText) writes the same text. Immutable although
-- convert_to is only stable: the name of the encoding is fixed.
create function lockstep.digest(p_document jsonb) returns text
language sql immutable set search_path = '' as $$
  select encode(sha256(convert_to(p_document::text, 'UTF8')), 'hex');
$$;

-- The normal form of what Vapi answered to the last committed write of an agent, without the stamp.
create table lockstep.observed (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  org_id uuid not null references public.organizations (id) on delete restrict,
  document jsonb not null,
  -- The sweep compares hashes, so that a prompt which did not change is never moved.
  hash text generated always as (lockstep.digest(document)) stored
);
create index observed_by_org on lockstep.observed (org_id);

-- One row an organization: its lock, and the fence that an ambiguous close leaves behind.
create table lockstep.organization_locks (
  org_id uuid primary key references public.organizations (id) on delete cascade,
  fence_until timestamptz,
  fence_save_id uuid
);

-- The one row that names this deployment in the stamp of an assistant.
create table lockstep.deployment (
  id uuid primary key default gen_random_uuid(),
  only_one boolean not null default true unique check (only_one)
);
insert into lockstep.deployment default values;

alter table public.organizations enable row level security;
alter table public.organizations force row level security;
alter table public.agents enable row level security;
alter table public.agents force row level security;
alter table public.agent_saves enable row level security;
alter table public.agent_saves force row level security;
alter table public.agent_revisions enable row level security;
alter table public.agent_revisions force row level security;
alter table lockstep.save_images enable row level security;
alter table lockstep.save_images force row level security;
alter table lockstep.observed enable row level security;
alter table lockstep.observed force row level security;
alter table lockstep.organization_locks enable row level security;
alter table lockstep.organization_locks force row level security;
alter table lockstep.deployment enable row level security;
alter table lockstep.deployment force row level security;

revoke all on public.organizations, public.agents, public.agent_saves, public.agent_revisions
  from public, anon, authenticated, service_role;
revoke all on all tables in schema lockstep from public, anon, authenticated, service_role;

-- Signed-in users read their own organization's rows and change nothing. The claim look-up stands in a sub-select, so that it
-- is evaluated once a statement and not once a row; in two, because Supabase's advisor knows only the inner form.
grant select on public.organizations, public.agents, public.agent_saves, public.agent_revisions to authenticated;

create policy organizations_own on public.organizations for select to authenticated
  using (id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));
create policy agents_own on public.agents for select to authenticated
  using (org_id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));
create policy agent_saves_own on public.agent_saves for select to authenticated
  using (org_id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));
create policy agent_revisions_own on public.agent_revisions for select to authenticated
  using (org_id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));

-- The service role may look (support, the seed's check), never write.
grant select on public.organizations, public.agents, public.agent_saves, public.agent_revisions to service_role;

-- The save functions' role: only rows of the organization that the running function has named.
grant usage on schema lockstep to lockstep_saves;
grant select on public.organizations to lockstep_saves;
grant select, insert, update on public.agents, public.agent_saves to lockstep_saves;
grant select, insert on public.agent_revisions to lockstep_saves;
grant select, insert on lockstep.save_images to lockstep_saves;
grant select, insert, update on lockstep.observed, lockstep.organization_locks to lockstep_saves;
grant select on lockstep.deployment to lockstep_saves;

create policy organizations_saves on public.organizations for select to lockstep_saves
  using (id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy agents_saves on public.agents to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy agent_saves_saves on public.agent_saves to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy agent_revisions_saves on public.agent_revisions to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy save_images_saves on lockstep.save_images to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy observed_saves on lockstep.observed to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy organization_locks_saves on lockstep.organization_locks to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy deployment_saves on lockstep.deployment for select to lockstep_saves
  using (only_one);

-- Recovery sees of a lapsed save which one it is, and nothing of what it holds.
grant select (id, org_id, status, lease_until, not_before) on public.agent_saves to lockstep_recovery;
create policy agent_saves_lapsed on public.agent_saves for select to lockstep_recovery
  using (
    status in ('APPLYING', 'ROLLING_BACK')
    -- now() and not clock_timestamp(): only a stable function can be an index condition.
    and lease_until <= now()
    and (not_before is null or not_before <= now())
  );

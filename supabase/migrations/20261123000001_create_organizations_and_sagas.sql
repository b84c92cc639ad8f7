-- Organizations and the journal of sagas. A saga is what one change wants to be true in both systems; its parts are the remote
-- resources that it changes. Nothing here knows what kind of resource that is.
--
-- Every table follows one recipe: forced row-level security, everything revoked first (a hosted project grants all
-- rights on new tables to anon, authenticated and service_role by default), then only SELECT granted back. What takes part in
-- a saga is written by the functions of the next migrations and by nothing else, not even by the service role.

-- Refuses a project in which a name that Lockstep uses is taken, before anything is changed.
do $$
declare
  v_taken text;
begin
  select string_agg(format('public.%s', n), ', ' order by n) into v_taken
    from unnest(array['organizations', 'sagas', 'agents', 'agent_saves', 'agent_revisions', 'phone_numbers',
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

-- Owner of the functions that change sagas: no login, no bypass of row-level security. Roles belong to the cluster, so they may exist.
do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'lockstep_saves') then
    create role lockstep_saves nologin;
  end if;
  -- Looks across organizations for abandoned sagas, and can see nothing else.
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

create table public.sagas (
  id uuid primary key,
  org_id uuid not null references public.organizations (id) on delete restrict,
  idempotency_key text check (length(idempotency_key) between 1 and 200),
  request_hash text not null,
  -- Whose functions apply and close it: lockstep.apply_<kind> and so on.
  kind text not null check (kind ~ '^[a-z][a-z_]*$'),
  -- Who or what asked for it: a user, or the sweep, which puts our content back or adopts theirs.
  cause text not null check (cause in ('USER', 'REVERT', 'ADOPT')),
  actor text,
  status text not null check (status in ('APPLYING', 'COMMITTED', 'ROLLING_BACK', 'ROLLED_BACK', 'NEEDS_ATTENTION')),
  -- Fencing token: rises with every takeover; a transition with an older one is refused.
  epoch integer not null check (epoch > 0),
  owner text,
  lease_until timestamptz,
  deadline_at timestamptz not null,
  -- Quarantine: until then a request that an owner has recorded as ambiguous may still be applied, so recovery leaves the saga alone.
  -- It only ever rises.
  quarantine_until timestamptz,
  -- When recovery may look again, because nothing can come of it before, such as while Vapi limits our requests. Says nothing about
  -- what may still be applied.
  look_at timestamptz,
  -- Some owner was about to send the pivot. Recorded before it is sent, so that false proves of a saga of several stages that nobody has.
  pivot_sent boolean not null default false,
  -- What the last owner recorded of each part when it gave the saga up: { <key>: { action, gone, remoteId, applied, undone, touched,
  -- ambiguous } }. Null: it recorded nothing, or somebody has taken the saga over since.
  handed_over jsonb check (jsonb_typeof(handed_over) = 'object'),
  -- Some request of this saga may still be applied late.
  ambiguous boolean not null default false,
  mapping_version integer not null check (mapping_version > 0),
  -- [{ key, resourceId, remoteId, success, vapiSynced, dbUpdated, error, revision }], one for each part.
  results jsonb not null check (jsonb_typeof(results) = 'array'),
  failure jsonb,
  started_at timestamptz not null,
  finished_at timestamptz,
  unique (org_id, idempotency_key),
  -- Recovery finds an abandoned saga by the end of its lease; without one it would never be found.
  check (lease_until is not null or status not in ('APPLYING', 'ROLLING_BACK')),
  check ((finished_at is null) = (status in ('APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION')))
);
-- What recovery looks for.
create index sagas_due on public.sagas (lease_until)
  where status in ('APPLYING', 'ROLLING_BACK');
-- What an organization's users ask for while something is open.
create index sagas_open on public.sagas (org_id)
  where status in ('APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION');
create index sagas_by_time on public.sagas (org_id, started_at desc);

-- What a saga found and what it wants, for each part: enough to finish it or to undo it without asking anybody.
create table lockstep.saga_parts (
  saga_id uuid not null references public.sagas (id) on delete cascade,
  org_id uuid not null references public.organizations (id) on delete restrict,
  -- Names the part within its saga.
  key text not null,
  -- What kind of resource it is, and our id of it.
  resource text not null,
  resource_id uuid not null,
  -- Vapi's id. Null: the remote resource is to be created.
  remote_id text,
  -- Permission to create a new remote resource if the one named here turns out to be gone.
  recreate boolean not null default false,
  -- The committed content and its stamp; null, and revision 0, where there was none.
  before_content jsonb,
  before_revision integer not null,
  before_saga_id uuid,
  before_mapping_version integer,
  after_content jsonb not null,
  after_revision integer not null,
  -- What was rendered, or is to be rendered, into the document besides the content, such as the id of another remote resource.
  before_context jsonb not null default '{}',
  after_context jsonb not null default '{}',
  primary key (saga_id, key)
);
create index saga_parts_by_org on lockstep.saga_parts (org_id);

-- One row an organization: whoever changes something of the organization locks it.
create table lockstep.organization_locks (
  org_id uuid primary key references public.organizations (id) on delete cascade
);

-- What the open sagas change. A saga takes all its keys when it begins and gives them back when it closes, so that the primary key
-- allows one open saga for each key of an organization.
create table lockstep.saga_keys (
  org_id uuid not null references public.organizations (id) on delete cascade,
  key text not null,
  saga_id uuid not null references public.sagas (id) on delete cascade,
  primary key (org_id, key)
);
create index saga_keys_by_saga on lockstep.saga_keys (saga_id);

-- Until then a request of a closed saga may still be applied, so that no other saga may take this key.
create table lockstep.fences (
  org_id uuid not null references public.organizations (id) on delete cascade,
  key text not null,
  until timestamptz not null,
  saga_id uuid not null,
  primary key (org_id, key)
);

-- The one row that names this deployment in the stamp of a remote resource.
create table lockstep.deployment (
  id uuid primary key default gen_random_uuid(),
  only_one boolean not null default true unique check (only_one)
);
insert into lockstep.deployment default values;

do $$
declare
  v_table text;
begin
  foreach v_table in array array['public.organizations', 'public.sagas', 'lockstep.saga_parts', 'lockstep.organization_locks',
    'lockstep.saga_keys', 'lockstep.fences', 'lockstep.deployment']
  loop
    execute format('alter table %s enable row level security', v_table);
    execute format('alter table %s force row level security', v_table);
    execute format('revoke all on %s from public, anon, authenticated, service_role', v_table);
  end loop;
end
$$;

-- Signed-in users read their own organization's rows and change nothing. The claim look-up stands in a sub-select, so that it
-- is evaluated once a statement and not once a row; in two, because Supabase's advisor knows only the inner form.
grant select on public.organizations, public.sagas to authenticated;

create policy organizations_own on public.organizations for select to authenticated
  using (id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));
create policy sagas_own on public.sagas for select to authenticated
  using (org_id = (select nullif((select auth.jwt()) -> 'app_metadata' ->> 'org_id', '')::uuid));

-- The service role may look (support, the seed's check), never write.
grant select on public.organizations, public.sagas to service_role;

-- The functions' role: only rows of the organization that the running function has named.
grant usage on schema lockstep to lockstep_saves;
grant select on public.organizations to lockstep_saves;
grant select, insert, update on public.sagas, lockstep.organization_locks, lockstep.fences to lockstep_saves;
grant select, insert on lockstep.saga_parts to lockstep_saves;
grant select, insert, delete on lockstep.saga_keys to lockstep_saves;
grant select on lockstep.deployment to lockstep_saves;

create policy organizations_saves on public.organizations for select to lockstep_saves
  using (id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy sagas_saves on public.sagas to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy saga_parts_saves on lockstep.saga_parts to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy organization_locks_saves on lockstep.organization_locks to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy saga_keys_saves on lockstep.saga_keys to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy fences_saves on lockstep.fences to lockstep_saves
  using (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid))
  with check (org_id = (select nullif((select current_setting('lockstep.org_id', true)), '')::uuid));
create policy deployment_saves on lockstep.deployment for select to lockstep_saves
  using (only_one);

-- Recovery sees of a lapsed saga which one it is, and nothing of what it contains.
grant select (id, org_id, status, lease_until, quarantine_until, look_at) on public.sagas to lockstep_recovery;
create policy sagas_lapsed on public.sagas for select to lockstep_recovery
  using (
    status in ('APPLYING', 'ROLLING_BACK')
    -- now() and not clock_timestamp(): only a stable function can be an index condition.
    and lease_until <= now()
    and coalesce(greatest(quarantine_until, look_at) <= now(), true)
  );

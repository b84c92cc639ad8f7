-- Organizations and the journal of sagas. A saga is what one change wants to be true in both systems; its parts are the remote
-- resources that it changes. Nothing here knows what kind of resource that is.
--
-- Every table and every function follows one recipe: see the functions after the schema. What takes part in a saga is written by the
-- functions of the next migrations and by nothing else, not even by the service role.

-- Refuses a project in which a name that Lockstep uses is taken, before anything is changed.
do $$
declare
  v_taken text;
begin
  select string_agg(format('public.%s', n), ', ' order by n) into v_taken
    from unnest(array['organizations', 'sagas', 'agents', 'agent_saves', 'agent_revisions', 'phone_numbers',
      'knowledge_base_documents', 'call_logs', 'call_contents', 'appointments']) as n
   where to_regclass(format('public.%I', n)) is not null;
  -- An administrator may have made an empty one for a role that cannot create a schema.
  if exists (select from pg_catalog.pg_namespace n where n.nspname = 'lockstep'
    and (not pg_has_role(n.nspowner, 'USAGE')
      or exists (select from pg_catalog.pg_class where relnamespace = n.oid)
      or exists (select from pg_catalog.pg_proc where pronamespace = n.oid)))
  then
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
do $$
begin
  -- Not "if not exists": that needs the right to create schemas even where there is nothing to create.
  if to_regnamespace('lockstep') is null then
    create schema lockstep;
  end if;
end
$$;
revoke all on schema lockstep from public;

-- The recipes that every migration uses. They run with the rights of the role that applies the migrations, which keeps them. No other
-- role may call them.

-- Creates a role that owns functions: no login, no bypass of row-level security. Roles belong to the cluster, so it may exist.
create function lockstep.make_role(p_name text) returns void
language plpgsql volatile set search_path = '' as $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = p_name) then
    execute format('create role %I nologin', p_name);
  end if;
  -- Changing a function needs membership of its owner, now and in later migrations; since Postgres 16, with the option SET.
  if not pg_has_role(p_name, case when current_setting('server_version_num')::integer < 160000 then 'MEMBER' else 'SET' end) then
    execute format('grant %I to current_user', p_name);
  end if;
exception when insufficient_privilege then
  raise exception 'The role % must be a member of the role %, and may not create it or grant it to itself.', current_user, p_name
    using errcode = 'insufficient_privilege',
      hint = format('As an administrator: create role %1$I nologin (if it does not exist), and grant %1$I to %2$I.', p_name, current_user);
end
$$;

-- Closes tables: forced row-level security, and no right for anybody. (A hosted project grants all rights on new tables to its
-- clients.)
create function lockstep.protect_tables(variadic p_tables regclass[]) returns void
language plpgsql volatile set search_path = '' as $$
declare
  v_table regclass;
begin
  foreach v_table in array p_tables loop
    execute format('alter table %s enable row level security', v_table);
    execute format('alter table %s force row level security', v_table);
    execute format('revoke all on %s from public, anon, authenticated, service_role', v_table);
  end loop;
end
$$;

-- The rows of one organization. p_organization: an expression that returns its id.
create function lockstep.rows_of(p_table regclass, p_organization text) returns text
language sql stable set search_path = '' as $$
  select format('%s = (select nullif(%s, '''')::uuid)',
    case p_table when to_regclass('public.organizations') then 'id' else 'org_id' end, p_organization);
$$;

-- Signed-in users read their own organization's rows, and the service role reads all (support, the seed's check). Neither writes.
-- The claim look-up stands in a sub-select, so that it is evaluated once a statement and not once a row; in two, because Supabase's
-- advisor knows only the inner form.
create function lockstep.let_users_read(variadic p_tables regclass[]) returns void
language plpgsql volatile set search_path = '' as $$
declare
  v_table regclass;
begin
  foreach v_table in array p_tables loop
    execute format('grant select on %s to authenticated, service_role', v_table);
    execute format('create policy %I on %s for select to authenticated using (%s)',
      (select relname from pg_catalog.pg_class where oid = v_table) || '_own', v_table,
      lockstep.rows_of(v_table, '(select auth.jwt()) -> ''app_metadata'' ->> ''org_id'''));
  end loop;
end
$$;

-- The functions of lockstep_saves reach only rows of the organization that the running function has entered. p_rights: what they may do
-- with these rows, such as 'select, insert, update (name)'.
create function lockstep.let_saves(p_rights text, variadic p_tables regclass[]) returns void
language plpgsql volatile set search_path = '' as $$
declare
  v_table regclass;
begin
  foreach v_table in array p_tables loop
    execute format('grant %s on %s to lockstep_saves', p_rights, v_table);
    execute format('create policy %1$I on %2$s to lockstep_saves using (%3$s) with check (%3$s)',
      (select relname from pg_catalog.pg_class where oid = v_table) || '_saves', v_table,
      lockstep.rows_of(v_table, '(select current_setting(''lockstep.org_id'', true))'));
  end loop;
end
$$;

-- Hands functions of the schema lockstep over to their owner. No client may call an internal one. An exposed one is callable by the
-- service role, as public.<name>: a function with the same arguments that runs with the rights of its caller and only calls the other.
-- So no function of another owner stands in the schema public, where that owner would need the right to create.
create function lockstep.own_functions(p_owner regrole, exposed text[] default '{}', internal text[] default '{}')
  returns void
language plpgsql volatile set search_path = '' as $$
declare
  v_name text;
  v_oid oid;
begin
  execute format('grant create on schema lockstep to %s', p_owner);
  foreach v_name in array exposed || internal loop
    for v_oid in select oid from pg_catalog.pg_proc where pronamespace = 'lockstep'::regnamespace and proname = v_name loop
      execute format('revoke all on function %s from public, anon, authenticated, service_role', v_oid::regprocedure);
      if v_name = any (exposed) then
        perform lockstep.expose_function(v_oid);
      end if;
      -- Last: whoever is not the owner may not be able to grant and revoke.
      execute format('alter function %s owner to %s', v_oid::regprocedure, p_owner);
    end loop;
    if not found then
      raise exception 'There is no function lockstep.%. Functions are created in the schema lockstep.', v_name;
    end if;
  end loop;
  execute format('revoke create on schema lockstep from %s', p_owner);
end
$$;

-- See own_functions. The body is stored parsed, so that its caller needs no right on the schema lockstep.
create function lockstep.expose_function(p_oid oid) returns void
language plpgsql volatile set search_path = '' as $$
declare
  v_function pg_catalog.pg_proc;
  v_public text;
begin
  select * into v_function from pg_catalog.pg_proc where oid = p_oid;
  v_public := format('public.%I(%s)', v_function.proname, pg_get_function_identity_arguments(p_oid));
  execute format('create function %s returns %s language sql %s set search_path = '''' begin atomic select * from lockstep.%I(%s); end',
    v_public, pg_get_function_result(p_oid),
    case v_function.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end, v_function.proname,
    (select string_agg('$' || n, ', ' order by n) from generate_series(1, v_function.pronargs) as n));
  execute format('revoke all on function %s from public, anon, authenticated, service_role', v_public);
  execute format('grant execute on function %s, %s to service_role', v_public, p_oid::regprocedure);
end
$$;

revoke all on all functions in schema lockstep from public, anon, authenticated, service_role;

-- Owner of the functions that change sagas.
select lockstep.make_role('lockstep_saves');
-- Looks across organizations for abandoned sagas, and can see nothing else.
select lockstep.make_role('lockstep_recovery');

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
  -- Who or what asked for it: a user; the sweep, which puts our content back or adopts theirs; or nobody (RENDER): the same content is
  -- rendered differently now.
  cause text not null check (cause in ('USER', 'REVERT', 'ADOPT', 'RENDER')),
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

select lockstep.protect_tables('public.organizations', 'public.sagas', 'lockstep.saga_parts', 'lockstep.organization_locks',
  'lockstep.saga_keys', 'lockstep.fences', 'lockstep.deployment');
select lockstep.let_users_read('public.organizations', 'public.sagas');

grant usage on schema lockstep to lockstep_saves;
select lockstep.let_saves('select', 'public.organizations');
select lockstep.let_saves('select, insert, update', 'public.sagas', 'lockstep.organization_locks', 'lockstep.fences');
select lockstep.let_saves('select, insert', 'lockstep.saga_parts');
select lockstep.let_saves('select, insert, delete', 'lockstep.saga_keys');
grant select on lockstep.deployment to lockstep_saves;
create policy deployment_saves on lockstep.deployment for select to lockstep_saves using (only_one);

-- Recovery sees of a lapsed saga which one it is, and nothing of what it contains.
grant select (id, org_id, status, lease_until, quarantine_until, look_at) on public.sagas to lockstep_recovery;
create policy sagas_lapsed on public.sagas for select to lockstep_recovery
  using (
    status in ('APPLYING', 'ROLLING_BACK')
    -- now() and not clock_timestamp(): only a stable function can be an index condition.
    and lease_until <= now()
    and coalesce(greatest(quarantine_until, look_at) <= now(), true)
  );

-- Reconciliation: what the sweep may look at across organizations, what it may note, and what it may throw away.
--
-- Looking is for roles that can only look; noting goes through lockstep_saves, one organization at a time, like a save.

-- Looks across organizations at what should be in Vapi; can change nothing.
select lockstep.make_role('lockstep_sweep');
-- Clears what is past its retention; the policies say what that is.
select lockstep.make_role('lockstep_janitor');

-- Work that one replica does at a time.
create table lockstep.leases (
  name text primary key check (name <> ''),
  owner text not null,
  until timestamptz not null
);
select lockstep.protect_tables('lockstep.leases');
grant select, insert, update on lockstep.leases to lockstep_sweep;
create policy leases_sweep on lockstep.leases to lockstep_sweep using (name <> '') with check (name <> '');

grant usage on schema lockstep to lockstep_sweep, lockstep_janitor;
grant select (id, drift_policy) on public.organizations to lockstep_sweep;
grant select (id, org_id, role, config, vapi_assistant_id, revision, last_save_id, mapping_version, context, missing_since, drift,
    unconfirmed)
  on public.agents to lockstep_sweep;
grant select on lockstep.observed to lockstep_sweep;
grant select (org_id, key) on lockstep.saga_keys to lockstep_sweep;
grant select (org_id, key, until) on lockstep.fences to lockstep_sweep;
create policy organizations_sweep on public.organizations for select to lockstep_sweep using (id is not null);
create policy agents_sweep on public.agents for select to lockstep_sweep using (org_id is not null);
create policy observed_sweep on lockstep.observed for select to lockstep_sweep using (org_id is not null);
create policy saga_keys_sweep on lockstep.saga_keys for select to lockstep_sweep using (org_id is not null);
create policy fences_sweep on lockstep.fences for select to lockstep_sweep using (org_id is not null);

-- When the last complete walk over all assistants began: one row for all agents that it found unchanged, instead of a write for each.
create table lockstep.sweeps (
  walked_at timestamptz not null,
  only_one boolean primary key default true check (only_one)
);
select lockstep.protect_tables('lockstep.sweeps');
grant select, insert, update on lockstep.sweeps to lockstep_sweep;
create policy sweeps_sweep on lockstep.sweeps to lockstep_sweep using (only_one) with check (only_one);

-- Three days, as the interface promises: until then an idempotency key is remembered, whatever the server asks for.
-- Both are set by the cleanup once the key and the images of the saga are forgotten, so that an index finds what is left: sagas to
-- forget, and then sagas to delete. Sagas that made a revision are a part of its agent's history and stay as long as that does.
alter table public.sagas add column forgotten boolean not null default false;
alter table public.sagas add column in_history boolean not null default false;
grant select (id, org_id, finished_at, idempotency_key, forgotten, in_history), update (idempotency_key, forgotten, in_history), delete
  on public.sagas to lockstep_janitor;
grant select (save_id) on public.agent_revisions to lockstep_janitor;
-- now() and not clock_timestamp(): only a stable function can be an index condition.
create policy sagas_expired on public.sagas for select to lockstep_janitor
  using (finished_at < now() - interval '72 hours');
create policy sagas_forget on public.sagas for update to lockstep_janitor
  using (finished_at < now() - interval '72 hours') with check (idempotency_key is null);
create policy sagas_delete on public.sagas for delete to lockstep_janitor
  using (finished_at < now() - interval '72 hours' and forgotten and not in_history);
create policy agent_revisions_janitor on public.agent_revisions for select to lockstep_janitor using (save_id is not null);
grant select (saga_id, before_content, after_content), update (before_content, after_content) on lockstep.saga_parts
  to lockstep_janitor;
create policy saga_parts_expired on lockstep.saga_parts to lockstep_janitor
  using (exists (select from public.sagas s
    where s.id = saga_id and s.finished_at < now() - interval '72 hours'))
  with check (before_content is null and after_content = '{}');
create index sagas_expiring on public.sagas (finished_at) where not forgotten;
create index sagas_deletable on public.sagas (finished_at) where forgotten and not in_history;

grant update (drift_policy) on public.organizations to lockstep_saves;

-- Takes or renews a named lease. Returns 0 if the caller now owns it, otherwise the milliseconds until it lapses.
create function lockstep.lease_take(p_name text, p_owner text, p_ms bigint) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_wait bigint;
begin
  insert into lockstep.leases as l (name, owner, until) values (p_name, p_owner, v_now + p_ms * interval '1 millisecond')
    on conflict (name) do update set owner = excluded.owner, until = excluded.until
      where l.owner = excluded.owner or l.until <= v_now;
  if found then
    return 0;
  end if;
  select ceil(extract(epoch from l.until - v_now) * 1000) into v_wait from lockstep.leases l where l.name = p_name;
  -- Never 0: another owner has it.
  return greatest(1, v_wait);
end
$$;

-- Releases a named lease, so that another owner need not wait until it lapses. Does nothing if this owner does not hold it.
create function lockstep.lease_release(p_name text, p_owner text) returns void
language sql volatile security definer set search_path = '' as $$
  update lockstep.leases set until = clock_timestamp() where name = p_name and owner = p_owner;
$$;

-- Whether a saga of this organization that has this key is open or fenced, so that a difference proves nothing now. Correlated
-- sub-selects with a limit, here and below: the planner cannot replace them by a scan over all organizations.
create function lockstep.is_busy(p_org_id uuid, p_key text) returns boolean
language sql stable set search_path = '' as $$
  select coalesce(
    (select true from lockstep.saga_keys k where k.org_id = p_org_id and k.key = p_key limit 1),
    (select true from lockstep.fences f where f.org_id = p_org_id and f.key = p_key and f.until > clock_timestamp()),
    false);
$$;

-- The agents behind these assistants, of all organizations: what Vapi should hold of each. Moves whole configurations: for few.
create function lockstep.sweep_lookup(p_assistant_ids text[]) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
      'orgId', a.org_id, 'agentId', a.id, 'role', a.role, 'assistantId', a.vapi_assistant_id, 'revision', a.revision,
      'saveId', a.last_save_id, 'config', a.config, 'mappingVersion', a.mapping_version,
      'context', a.context, 'observed', (select o.document from lockstep.observed o where o.agent_id = a.id),
      'missing', a.missing_since is not null,
      'policy', (select g.drift_policy from public.organizations g where g.id = a.org_id),
      'busy', lockstep.is_busy(a.org_id, 'agents'))), '[]')
  from unnest(p_assistant_ids) as i (id)
  cross join lateral (select id, org_id, role, config, vapi_assistant_id, revision, last_save_id, mapping_version, context,
      missing_since
    from public.agents where vapi_assistant_id = i.id limit 1) as a;
$$;

-- As sweep_lookup, but with a hash in place of the documents: enough to see that Vapi holds what it should.
-- news: the agent's row says something else than "in step", so an unchanged assistant is worth a write.
create function lockstep.sweep_listed(p_assistant_ids text[]) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
      'orgId', a.org_id, 'agentId', a.id, 'assistantId', a.vapi_assistant_id, 'revision', a.revision,
      'saveId', a.last_save_id, 'mappingVersion', a.mapping_version, 'context', a.context, 'hash', (select o.hash from lockstep.observed o where o.agent_id = a.id),
      'news', a.missing_since is not null or a.unconfirmed or a.drift <> '[]',
      'busy', lockstep.is_busy(a.org_id, 'agents'))), '[]')
  from unnest(p_assistant_ids) as i (id)
  cross join lateral (select id, org_id, vapi_assistant_id, revision, last_save_id, mapping_version, context, missing_since,
      unconfirmed, drift
    from public.agents where vapi_assistant_id = i.id limit 1) as a;
$$;

-- Which assistants there should be, in pages by agent.
create function lockstep.sweep_page(p_after uuid, p_limit integer)
  returns table (org_id uuid, agent_id uuid, assistant_id text, revision integer, save_id uuid, missing boolean)
language sql stable security definer set search_path = '' as $$
  select a.org_id, a.id, a.vapi_assistant_id, a.revision, a.last_save_id, a.missing_since is not null
  from public.agents a where a.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
  order by a.id limit p_limit;
$$;

-- Agents whose document would be rendered differently now, of all organizations, in pages by agent: their mapping version is older
-- than this one, or their context has changed. Only agents that are in step: a missing one has no document, an edit is resolved first.
create function lockstep.agents_stale(p_mapping_version integer, p_after uuid, p_limit integer) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object('orgId', s.org_id, 'agentId', s.id, 'role', s.role,
      'assistantId', s.vapi_assistant_id, 'revision', s.revision, 'saveId', s.last_save_id) order by s.id), '[]')
  from (
    select f.* from (
      select o.* from generate_series(1, p_mapping_version - 1) as v
      cross join lateral (
        select a.id, a.org_id, a.role, a.vapi_assistant_id, a.revision, a.last_save_id from public.agents a
         where a.mapping_version = v and a.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
           and a.missing_since is null and a.drift = '[]' and not lockstep.is_busy(a.org_id, 'agents')
         order by a.id limit p_limit) as o
      union
      (select a.id, a.org_id, a.role, a.vapi_assistant_id, a.revision, a.last_save_id from public.agents a
        where (a.context ? 'toolId' or a.config @> '{"useKnowledgeBase": true}')
          and a.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
          and a.missing_since is null and a.drift = '[]'
          and a.context is distinct from lockstep.agent_context(a.org_id, a.config)
          and not lockstep.is_busy(a.org_id, 'agents')
        order by a.id limit p_limit)
      union
      -- Two ranges of the index, each in its order, so that no other agent is read.
      (select a.id, a.org_id, a.role, a.vapi_assistant_id, a.revision, a.last_save_id from public.agents a
        where coalesce((a.context -> 'server')::text, '') < (select coalesce((lockstep.event_context() -> 'server')::text, ''))
          and a.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
          and a.missing_since is null and a.drift = '[]' and not lockstep.is_busy(a.org_id, 'agents')
        order by coalesce((a.context -> 'server')::text, ''), a.id limit p_limit)
      union
      (select a.id, a.org_id, a.role, a.vapi_assistant_id, a.revision, a.last_save_id from public.agents a
        where coalesce((a.context -> 'server')::text, '') > (select coalesce((lockstep.event_context() -> 'server')::text, ''))
          and a.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
          and a.missing_since is null and a.drift = '[]' and not lockstep.is_busy(a.org_id, 'agents')
        order by coalesce((a.context -> 'server')::text, ''), a.id limit p_limit)) as f
     order by f.id limit p_limit) as s;
$$;

-- Notes what the sweep saw: p_notes: [{ orgId, agentId, revision, saveId, state, drift?, adoptable? }].
-- state: SAME | DRIFTED | MISSING | UNCONFIRMED (the sweep could not judge the agent). A note counts only if the agent is still at
-- that revision and, unless it is UNCONFIRMED, no save is open or fenced. Answers the noted agents' ids.
create function lockstep.sweep_note(p_notes jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_note jsonb;
  v_state text;
  v_org uuid;
  v_id uuid;
  v_noted jsonb := '[]';
begin
  -- In the order of organizations: two replicas can then not wait for each other.
  for v_note in select n from jsonb_array_elements(p_notes) as n order by n ->> 'orgId' loop
    v_org := (v_note ->> 'orgId')::uuid;
    v_state := v_note ->> 'state';
    continue when not lockstep.enter(v_org);
    if v_state = 'UNCONFIRMED' then
      update public.agents a set unconfirmed = true
        where a.id = (v_note ->> 'agentId')::uuid and a.org_id = v_org
          and a.revision = (v_note ->> 'revision')::integer and a.last_save_id = (v_note ->> 'saveId')::uuid
        returning a.id into v_id;
    else
      update public.agents a set
          checked_at = clock_timestamp(),
          drift = case when v_state = 'DRIFTED' then v_note -> 'drift' else '[]' end,
          adoptable = case when v_state = 'DRIFTED' then nullif(v_note -> 'adoptable', 'null') end,
          missing_since = case when v_state = 'MISSING' then coalesce(a.missing_since, clock_timestamp()) end,
          unconfirmed = false
        where a.id = (v_note ->> 'agentId')::uuid and a.org_id = v_org
          and a.revision = (v_note ->> 'revision')::integer and a.last_save_id = (v_note ->> 'saveId')::uuid
          and not lockstep.is_busy(v_org, 'agents')
        returning a.id into v_id;
    end if;
    if found then
      v_noted := v_noted || to_jsonb(v_id);
    end if;
  end loop;
  perform lockstep.leave();
  return v_noted;
end
$$;

-- A walk that began p_ago_ms ago has come to its end: every agent that is not noted otherwise was in step then. Answers that moment.
create function lockstep.sweep_done(p_ago_ms bigint) returns timestamptz
language sql volatile security definer set search_path = '' as $$
  insert into lockstep.sweeps as w (walked_at) values (clock_timestamp() - p_ago_ms * interval '1 millisecond')
    on conflict (only_one) do update set walked_at = greatest(w.walked_at, excluded.walked_at)
    returning walked_at;
$$;

-- Of assistants that no agent refers to: those that the journal positively shows to have been made by a closed save of this
-- deployment that did not keep them. A save that committed with every request answered kept all that it made: what carries its
-- stamp besides is a copy by somebody's hand. p_candidates: [{ deployment, orgId, saveId, agentId, role, assistantId }] from the stamps.
create function lockstep.sweep_orphans(p_candidates jsonb, p_age_ms bigint) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_one jsonb;
  v_org uuid;
  v_orphans jsonb := '[]';
begin
  for v_one in select c from jsonb_array_elements(p_candidates) as c loop
    v_org := (v_one ->> 'orgId')::uuid;
    perform set_config('lockstep.org_id', v_org::text, true);
    if exists (select from lockstep.deployment d where d.id::text = v_one ->> 'deployment')
      and exists (
        select from public.sagas s join lockstep.saga_parts p on p.saga_id = s.id
        where s.id = (v_one ->> 'saveId')::uuid and s.finished_at < clock_timestamp() - lockstep.ms(p_age_ms)
          and (s.status = 'ROLLED_BACK' or s.ambiguous)
          and p.resource = 'agent' and p.key = v_one ->> 'role' and p.resource_id = (v_one ->> 'agentId')::uuid
          and (p.remote_id is null or p.recreate))
      and not exists (select from public.agents a where a.org_id = v_org and a.vapi_assistant_id = v_one ->> 'assistantId')
      and not exists (select from public.agent_revisions r where r.org_id = v_org
        and r.vapi_assistant_id = v_one ->> 'assistantId')
    then
      v_orphans := v_orphans || (v_one -> 'assistantId');
    end if;
  end loop;
  perform lockstep.leave();
  return v_orphans;
end
$$;

-- Forgets idempotency keys and images of sagas that closed more than 72 hours ago, and deletes sagas that closed more than
-- p_keep_days ago and made no revision; the policies hold the 72 hours. What stays of an image is that its saga created a
-- remote resource. Returns how many sagas it cleared or deleted, p_limit of each at most; it skips what another replica has locked.
-- The bounds are variables because clock_timestamp() is volatile and cannot be an index condition, and the ids are fixed first
-- because a join could run the locking query again.
create function lockstep.saga_cleanup(p_limit integer, p_keep_days integer) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_before timestamptz := v_now - interval '72 hours';
  v_delete_before timestamptz := v_now - p_keep_days * interval '1 day';
  v_ids uuid[];
  v_old uuid[];
begin
  select array_agg(e.id) into v_ids from (
    select s.id from public.sagas s where not s.forgotten and s.finished_at < v_before
     order by s.finished_at limit p_limit for update skip locked) e;
  if v_ids is not null then
    update lockstep.saga_parts set before_content = null, after_content = '{}'
     where saga_id = any (v_ids) and after_content <> '{}';
    update public.sagas s set idempotency_key = null, forgotten = true,
        -- Not exists: the planner could read all revisions for it.
        in_history = coalesce((select true from public.agent_revisions r where r.save_id = s.id limit 1), false)
     where s.id = any (v_ids);
  end if;
  select array_agg(e.id) into v_old from (
    select s.id from public.sagas s where s.forgotten and not s.in_history and s.finished_at < v_delete_before
     order by s.finished_at limit p_limit for update skip locked) e;
  if v_old is not null then
    delete from public.sagas where id = any (v_old);
  end if;
  return coalesce(cardinality(v_ids), 0) + coalesce(cardinality(v_old), 0);
end
$$;

-- What the sweep does with an edit made in the Vapi dashboard. False: there is no such organization.
create function lockstep.set_drift_policy(p_org_id uuid, p_policy text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_found boolean;
begin
  v_found := lockstep.enter(p_org_id);
  update public.organizations set drift_policy = p_policy where id = p_org_id;
  perform lockstep.leave();
  return v_found;
end
$$;

-- Both roles ask; each sees what its own policies show.
revoke execute on function lockstep.is_busy(uuid, text) from public, anon, authenticated, service_role;
grant execute on function lockstep.is_busy(uuid, text) to lockstep_saves, lockstep_sweep;
grant execute on function lockstep.agent_context(uuid, jsonb), lockstep.event_context() to lockstep_sweep;
select lockstep.own_functions('lockstep_sweep',
  exposed => '{lease_take,lease_release,sweep_lookup,sweep_listed,sweep_page,sweep_done,agents_stale}');
select lockstep.own_functions('lockstep_saves', exposed => '{sweep_note,sweep_orphans,set_drift_policy}');
select lockstep.own_functions('lockstep_janitor', exposed => '{saga_cleanup}');

-- How many replicas share the rate of the one Vapi account.

-- Knows which replicas live, and nothing of any organization.
select lockstep.make_role('lockstep_replicas');

create table lockstep.replicas (
  id uuid primary key,
  -- Since when without a break: who has been seen after this has heard of it.
  joined_at timestamptz not null,
  seen_at timestamptz not null
);
select lockstep.protect_tables('lockstep.replicas');
grant usage on schema lockstep to lockstep_replicas;
grant select, insert, update, delete on lockstep.replicas to lockstep_replicas;
grant select on lockstep.sweeps to lockstep_replicas;
create policy sweeps_replicas on lockstep.sweeps for select to lockstep_replicas using (only_one);
create policy replicas_all on lockstep.replicas to lockstep_replicas using (id is not null) with check (id is not null);

-- This replica lives. Answers { replicas, known, now, sweptAt }: how many do, and whether all the others have heard of this one;
-- until they have, they still share the account among themselves. p_ttl_ms: how long a replica that is silent counts.
-- now: this database's clock, in milliseconds since 1970. sweptAt: when the last complete sweep began; null: there was none.
create function lockstep.replica_beat(p_replica uuid, p_ttl_ms bigint) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_now timestamptz;
  v_answer jsonb;
begin
  -- One at a time: who counts must see all who came before.
  perform pg_advisory_xact_lock(hashtextextended('lockstep.replicas', 0));
  v_now := clock_timestamp();
  delete from lockstep.replicas where seen_at < v_now - p_ttl_ms * interval '1 millisecond';
  insert into lockstep.replicas as r (id, joined_at, seen_at) values (p_replica, v_now, v_now)
    on conflict (id) do update set seen_at = excluded.seen_at;
  select jsonb_build_object('replicas', count(*), 'known', bool_and(r.seen_at >= me.joined_at),
      'now', round(extract(epoch from clock_timestamp()) * 1000), 'sweptAt', (select w.walked_at from lockstep.sweeps w))
    into v_answer from lockstep.replicas r, lockstep.replicas me where me.id = p_replica;
  return v_answer;
end
$$;

select lockstep.own_functions('lockstep_replicas', exposed => '{replica_beat}');

-- The Vapi organization that this database's assistants are in: the one whose key was seen first. A key of another one would find
-- every assistant missing, and make new ones there.
alter table lockstep.deployment add column vapi_org_id text;

grant select, update (vapi_org_id) on lockstep.deployment to lockstep_account;
create policy deployment_account_select on lockstep.deployment for select to lockstep_account using (id is not null);
create policy deployment_account_update on lockstep.deployment for update to lockstep_account
  using (vapi_org_id is null) with check (vapi_org_id is not null);

-- Answers the Vapi organization of this database. p_seen: the one that a key was seen to read; it is kept where none is yet.
create function lockstep.vapi_account(p_seen text) returns text
language plpgsql volatile security definer set search_path = '' as $$
begin
  -- Whoever waits for another one's first look sees it kept, and keeps nothing.
  update lockstep.deployment set vapi_org_id = p_seen where vapi_org_id is null and p_seen <> '';
  return (select d.vapi_org_id from lockstep.deployment d);
end
$$;

select lockstep.own_functions('lockstep_account', exposed => '{vapi_account}');

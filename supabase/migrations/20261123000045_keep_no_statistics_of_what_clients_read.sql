-- Postgres keeps no statistics of values that tell of one organization: of what clients read, only times and closed sets of words.
--
-- Statistics are of all organizations' rows together, and whoever may read a table is told what the planner makes of them: a
-- request with `Prefer: count=planned` and a filter for another organization's id was answered with the number of its rows. What
-- an estimate still tells is how large a table is, and how its times and outcomes are spread, over all organizations.
-- It keeps new ones from being made: what was gathered before stays. So a table gets this with its first migration, before its rows.
do $$
declare
  v_table text;
  v_column text;
begin
  for v_table, v_column in
    select a.attrelid::regclass::text, a.attname
      from unnest(array[
        'public.organizations', 'public.sagas', 'public.agents', 'public.agent_revisions',
        'public.phone_numbers', 'public.knowledge_base_documents', 'public.call_logs', 'public.call_contents', 'public.appointments'
      ]::regclass[]) as t (id)
      join pg_catalog.pg_attribute a on a.attrelid = t.id and a.attnum > 0 and not a.attisdropped
      where a.atttypid <> 'timestamptz'::regtype
        and not exists (select from pg_catalog.pg_constraint k where k.conrelid = t.id and k.contype = 'c'
          and k.conkey = array[a.attnum] and pg_catalog.pg_get_constraintdef(k.oid) like '%= ANY (ARRAY[%')
  loop
    execute format('alter table %s alter column %I set statistics 0', v_table, v_column);
  end loop;
end
$$;

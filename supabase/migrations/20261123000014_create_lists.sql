-- Lists, a page at a time.

-- A page of calls, appointments, documents or phone numbers in the order of their list, as jsonb rows. It runs with the caller's rights: row-level
-- security alone decides what is in it. A choice among several values is a range of an index for each value, merged: one scan for
-- all of them would read everything that an organization has, to find no row of these values.
-- p_filter: { agentId?, attached?, phoneNumberId?, callId?, direction?, values?, from?, before? }; values: outcomes, statuses or
-- states.
-- p_window: { ascending, limit, above?: { value, id }, below?: { value, id } }: rows beyond these places of the order.
create function public.list_page(p_list text, p_filter jsonb, p_window jsonb) returns setof jsonb
language plpgsql stable security invoker set search_path = ''
-- Only the order of an index bounds what a page reads; without statistics the planner cannot know it.
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  -- Null, and so an error, for everything else.
  v_key text := case p_list when 'call_logs' then 'listed_at' when 'appointments' then 'starts_at'
    when 'knowledge_base_documents' then 'created_at' when 'phone_numbers' then 'list_order' end;
  v_column text := case p_list when 'appointments' then 'status' when 'knowledge_base_documents' then 'state'
    when 'phone_numbers' then 'state' end;
  v_order text := format(' order by %1$I %2$s, id %2$s limit %3$s', v_key,
    case when (p_window ->> 'ascending')::boolean then 'asc' else 'desc' end, (p_window ->> 'limit')::integer);
  v_values text[] := case when jsonb_typeof(p_filter -> 'values') = 'array' then
    array(select jsonb_array_elements_text(p_filter -> 'values')) end;
  v_where text;
  v_ranges text[];
begin
  -- What is absent is null, and concat leaves nulls out.
  v_where := concat(
    ' and agent_id = ' || quote_literal(p_filter ->> 'agentId'),
    case (p_filter ->> 'attached')::boolean when true then ' and agent_id is not null' when false then ' and agent_id is null' end,
    ' and phone_number_id = ' || quote_literal(p_filter ->> 'phoneNumberId'),
    ' and call_id = ' || quote_literal(p_filter ->> 'callId'),
    format(' and %I >= ', v_key) || quote_literal(p_filter ->> 'from'),
    format(' and %I < ', v_key) || quote_literal(p_filter ->> 'before'),
    format(' and (%I, id) > (', v_key) || quote_literal(p_window -> 'above' ->> 'value') || ', '
      || quote_literal(p_window -> 'above' ->> 'id') || ')',
    format(' and (%I, id) < (', v_key) || quote_literal(p_window -> 'below' ->> 'value') || ', '
      || quote_literal(p_window -> 'below' ->> 'id') || ')');
  if p_list = 'call_logs' and num_nonnulls(p_filter ->> 'agentId', p_filter ->> 'phoneNumberId', p_filter ->> 'direction',
    p_filter ->> 'values') > 0
  then
    select array_agg(distinct format(' and direction = %L and case when outcome is null then ''OPEN'' else outcome end = %L', d, o)) into v_ranges
      from unnest(case when p_filter ->> 'direction' is null then '{INBOUND,OUTBOUND}' else array[p_filter ->> 'direction'] end) as d
      cross join unnest(coalesce(v_values,
        '{COMPLETED,TRANSFERRED,VOICEMAIL,NO_ANSWER,BUSY,FAILED,OPEN}'::text[])) as o;
  elsif v_values is not null then
    select array_agg(distinct format(' and %I = %L', v_column, v)) into v_ranges from unnest(v_values) as v;
  else
    v_ranges := array[''];
  end if;
  return query execute 'select to_jsonb(p) from (select * from ('
    || (select string_agg(format('(select * from public.%I where true', p_list) || v_where || r || v_order || ')', ' union all ')
      from unnest(v_ranges) as r)
    || ') as r' || v_order || ') as p';
end
$$;
revoke execute on function public.list_page(text, jsonb, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.list_page(text, jsonb, jsonb) to authenticated;

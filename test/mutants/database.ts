import { type Mutant, plant } from './plant.ts';

/** Planted bugs of the database: the functions of sagas, of agents and of the sweep, tables and policies. */

const TABLES = 'supabase/migrations/20261123000001_create_organizations_and_sagas.sql';
const SAGA_FUNCTIONS = 'supabase/migrations/20261123000002_create_saga_functions.sql';
const AGENTS = 'supabase/migrations/20261123000003_create_agents.sql';
const RECONCILIATION = 'supabase/migrations/20261123000004_create_reconciliation_functions.sql';
const PHONE_NUMBERS = 'supabase/migrations/20261123000010_create_phone_numbers.sql';
const KNOWLEDGE_BASE = 'supabase/migrations/20261123000011_create_knowledge_base.sql';
const CALLS = 'supabase/migrations/20261123000012_create_calls_and_appointments.sql';
const REPLICAS = 'supabase/migrations/20261123000020_create_replicas.sql';
const BINDING = 'supabase/migrations/20261123000050_bind_to_one_vapi_organization.sql';
const CONFORMANCE = ['test/sim/journal-conformance.test.ts', 'src/adapters/supabase/rpc-journal.test.ts'];
const FUNCTIONS = ['test/database/functions.test.ts'];
const ISOLATION = ['test/isolation/access.test.ts', 'test/isolation/catalogue.test.ts'];
const DEPUTY = ['test/isolation/wrong-service-code.test.ts'];
const FAIRNESS = ['test/fairness/database.test.ts'];

export const DATABASE: readonly Mutant[] = [
  ...plant(
    TABLES,
    ['test/database/probe-saga.test.ts'],
    [
      [
        'two-open-saves',
        'The database allows two open saves of one organization.',
        '  primary key (org_id, key)\n);\ncreate index saga_keys_by_saga',
        '  primary key (org_id, key, saga_id)\n);\ncreate index saga_keys_by_saga',
      ],
    ],
  ),
  ...plant(TABLES, ISOLATION, [
    [
      'policy-users',
      'Every user reads the rows of every organization.',
      "for select to authenticated using (%s)'",
      "for select to authenticated using ((%s) is not null)'",
    ],
    [
      'policy-users-metadata',
      'A user names the organization whose rows are read.',
      "(select auth.jwt()) -> ''app_metadata''",
      "(select auth.jwt()) -> ''user_metadata''",
    ],
    [
      'tables-not-forced',
      'The owner of a table passes over row-level security.',
      "    execute format('alter table %s force row level security', v_table);\n",
      '',
    ],
    [
      'tables-not-revoked',
      'A table is open to the clients of the project.',
      "    execute format('revoke all on %s from public, anon, authenticated, service_role', v_table);\n",
      '',
    ],
    [
      'images-not-protected',
      'The images of saves have no row-level security.',
      "'public.sagas', 'lockstep.saga_parts', 'lockstep.organization_locks',",
      "'public.sagas', 'lockstep.organization_locks',",
    ],
    [
      'clients-write',
      'Clients write the tables of every feature.',
      "'grant select on %s to authenticated, service_role'",
      "'grant select, update on %s to authenticated, service_role'",
    ],
    [
      'service-writes',
      'The service role writes the tables of saves past the one door.',
      "select lockstep.let_users_read('public.organizations', 'public.sagas');",
      "select lockstep.let_users_read('public.organizations', 'public.sagas');\ngrant update on public.sagas to service_role;",
    ],
    [
      'functions-for-clients',
      'Clients may execute the functions that change sagas.',
      "execute format('revoke all on function %s from public, anon, authenticated, service_role', v_oid::regprocedure);",
      "execute format('revoke all on function %s from anon, authenticated, service_role', v_oid::regprocedure);",
    ],
    [
      'exposed-functions-for-clients',
      'Signed-in users call the functions of the service role.',
      "execute format('revoke all on function %s from public, anon, authenticated, service_role', v_public);",
      "execute format('revoke all on function %s from public, anon, service_role', v_public);",
    ],
    [
      'recipes-for-clients',
      'Clients may execute the functions that migrations use.',
      'revoke all on all functions in schema lockstep from public, anon, authenticated, service_role;',
      'revoke all on all functions in schema lockstep from anon, authenticated, service_role;',
    ],
  ]),
  ...plant(
    TABLES,
    [...DEPUTY, 'test/e2e/concurrency.test.ts', ...CONFORMANCE],
    [
      [
        'saves-policy',
        'The functions of sagas reach the rows of another organization.',
        'to lockstep_saves using (%3$s) with check (%3$s)',
        'to lockstep_saves using ((%3$s) is not null) with check (%3$s)',
      ],
      [
        'saves-policy-check',
        'The functions of sagas write rows for another organization.',
        'to lockstep_saves using (%3$s) with check (%3$s)',
        'to lockstep_saves using (%3$s) with check ((%3$s) is not null)',
      ],
      [
        'saves-policy-images',
        'The functions of sagas reach the images of another organization.',
        "select lockstep.let_saves('select, insert', 'lockstep.saga_parts');",
        'grant select, insert on lockstep.saga_parts to lockstep_saves;\ncreate policy saga_parts_saves on lockstep.saga_parts to lockstep_saves using (org_id is not null);',
      ],
      [
        'key-of-two',
        'One idempotency key can have two saves.',
        'unique (org_id, idempotency_key),',
        'check (true),',
      ],
      [
        'finished-unchecked',
        'An open save can have an end.',
        "check ((finished_at is null) = (status in ('APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION')))",
        'check (true)',
      ],
    ],
  ),
  ...plant(SAGA_FUNCTIONS, FUNCTIONS, [
    [
      'commit-without-answer',
      'A commit is taken although it does not show what Vapi answered.',
      " or jsonb_typeof(v_seen -> 'observed') is distinct from 'object'",
      '',
    ],
    [
      'commit-without-fence',
      'The next save begins while a request of an ambiguous one may still be applied.',
      "v_answer := lockstep.commit_saga(v_saga, p_request -> 'parts',\n      case when v_saga.ambiguous then (p_request ->> 'lateMs')::bigint end);",
      "v_answer := lockstep.commit_saga(v_saga, p_request -> 'parts', null);",
    ],
    [
      'commit-forgets-ambiguity',
      'A commit forgets that one of its requests got no answer.',
      "if (p_request ->> 'ambiguous')::boolean and not v_saga.ambiguous then",
      'if false then',
    ],
    [
      'transition-any-epoch',
      'An owner whose save was taken over still changes it.',
      'when s.epoch = p_epoch and s.status = any (p_from) then null',
      'when s.status = any (p_from) then null',
    ],
    [
      'transition-any-status',
      'A save that is going back is committed.',
      "v_answer := lockstep.may(v_saga, p_epoch, '{APPLYING}', 'COMMITTED');",
      "v_answer := lockstep.may(v_saga, p_epoch, '{APPLYING,ROLLING_BACK}', 'COMMITTED');",
    ],
    [
      'transition-not-repeatable',
      'A transition whose answer was lost counts as lost to another owner.',
      'when s.epoch = p_epoch and s.status = p_to then',
      'when false then',
    ],
    [
      'hold-without-quarantine',
      'A creation that was handed over is taken over at once.',
      "not_before = case when (p_request ->> 'notBeforeMs')::bigint > 0",
      "not_before = case when (p_request ->> 'notBeforeMs')::bigint < 0",
    ],
    [
      'hold-closed',
      'A save that needs attention is handed to recovery.',
      "'{APPLYING,ROLLING_BACK}', '')",
      "'{APPLYING,ROLLING_BACK,NEEDS_ATTENTION}', '')",
    ],
    [
      'takeover-keeps-epoch',
      'The last owner of a save can go on after a takeover.',
      'set epoch = epoch + 1, owner = p_owner',
      'set owner = p_owner',
    ],
    [
      'takeover-keeps-owner',
      'The journal names the last owner of a save that was taken over.',
      'set epoch = epoch + 1, owner = p_owner, ambiguous',
      'set epoch = epoch + 1, ambiguous',
    ],
    [
      'takeover-before-quarantine',
      'A save is taken over before its quarantine is over.',
      "and coalesce(lease_until, '-infinity') <= clock_timestamp()\n        and coalesce(not_before, '-infinity') <= clock_timestamp()\n      for update",
      "and coalesce(lease_until, '-infinity') <= clock_timestamp()\n      for update",
    ],
    [
      'takeover-before-lease',
      'A save is taken over while its owner still writes.',
      "and coalesce(lease_until, '-infinity') <= clock_timestamp()\n        and coalesce(not_before, '-infinity') <= clock_timestamp()\n      for update",
      "and coalesce(not_before, '-infinity') <= clock_timestamp()\n      for update",
    ],
    [
      'takeover-waits',
      'Recovery waits for the lock of an organization that is saving.',
      'where org_id = p_org_id for update skip locked;',
      'where org_id = p_org_id for update;',
    ],
    [
      'takeover-quarantined',
      'A creation counts as quarantined although it never waited.',
      'v_quarantined := v_saga.not_before is not null;',
      'v_quarantined := true;',
    ],
    [
      'takeover-deadline',
      'Recovery never hears that a save is past its deadline.',
      "'pastDeadline', v_saga.deadline_at <= clock_timestamp()",
      "'pastDeadline', false",
    ],
    [
      'fence-lowered',
      'A later close with a shorter time lowers the fence.',
      'until = greatest(f.until, excluded.until)',
      'until = excluded.until',
    ],
    [
      'begin-without-lock',
      'Two saves of one organization begin at the same moment.',
      'perform from lockstep.organization_locks where org_id = p_org_id for update;',
      '',
    ],
    [
      'begin-before-lock',
      'Time spent waiting for the lock is part of the lease.',
      'v_now timestamptz := clock_timestamp();\n  v_refused',
      'v_now timestamptz := now();\n  v_refused',
    ],
    [
      'begin-any-hash',
      'An idempotency key answers a different request.',
      "v_saga.id <> p_saga_id and v_saga.request_hash <> p_request ->> 'requestHash'",
      'false',
    ],
    [
      'begin-of-other-owner',
      'A repetition by another process runs the save a second time.',
      'and v_saga.owner = p_owner and',
      'and',
    ],
    [
      'begin-after-takeover',
      'A beginning that is repeated after a takeover runs the save a second time.',
      'v_saga.owner = p_owner and v_saga.epoch = 1 and',
      'v_saga.owner = p_owner and',
    ],
    [
      'begin-again',
      'A beginning that is repeated after the commit runs the save a second time.',
      "v_saga.epoch = 1 and v_saga.status = 'APPLYING' then",
      'v_saga.epoch = 1 then',
    ],
    [
      'begin-beside-attention',
      'A save begins beside one that needs attention.',
      'k.key = any (p_keys) order by k.key',
      "k.key = any (p_keys) and s.status <> 'NEEDS_ATTENTION' order by k.key",
    ],
    [
      'begin-no-fence',
      'A save begins while a request of the last one may still be applied.',
      'f.key = any (p_keys) and f.until > v_now order by',
      'false order by',
    ],
    [
      'begin-without-actor',
      'The journal does not hold who asked for a save.',
      "p_request ->> 'actor', case when v_refused",
      'null, case when v_refused',
    ],
    [
      'begin-deadline-of-lease',
      'Recovery rolls every abandoned save back.',
      "v_now + lockstep.ms((p_request ->> 'deadlineMs')::bigint)",
      "v_now + lockstep.ms((p_request ->> 'leaseMs')::bigint)",
    ],
    [
      'abort-no-quarantine',
      'An undo of an ambiguous save begins at once.',
      'not_before = case when v_ambiguous then v_now',
      'not_before = case when false then v_now',
    ],
    [
      'abort-at-once-ambiguous',
      'An ambiguous save is closed without an undo.',
      "v_at_once := (p_request ->> 'nothingApplied')::boolean and not v_ambiguous;",
      "v_at_once := (p_request ->> 'nothingApplied')::boolean;",
    ],
    [
      'abort-forgets-ambiguity',
      'A rollback forgets that the save was taken over.',
      "v_ambiguous := coalesce(v_saga.ambiguous, false) or (p_request ->> 'ambiguous')::boolean;",
      "v_ambiguous := (p_request ->> 'ambiguous')::boolean;",
    ],
    [
      'abort-keeps-lease',
      'An ambiguous rollback keeps its lease beyond its quarantine.',
      'when v_at_once then null when v_ambiguous then v_now\n',
      'when v_at_once then null\n',
    ],
    [
      'abort-without-missing',
      'An agent that a save finds deleted is not called missing.',
      "      perform lockstep.close_saga(v_saga, p_request -> 'missing');\n      perform lockstep.release_keys(p_saga_id, null);",
      '      perform lockstep.release_keys(p_saga_id, null);',
    ],
    [
      'abort-without-failure',
      'The journal does not say why a save was rolled back.',
      "failure = p_request -> 'failure',\n        ambiguous",
      'ambiguous',
    ],
    [
      'rolled-back-without-fence',
      'The next save begins while a request of a rolled back one may still be applied.',
      "release_keys(p_saga_id, case when v_saga.ambiguous then (p_request ->> 'lateMs')::bigint end);",
      'release_keys(p_saga_id, null);',
    ],
    [
      'rolled-back-unambiguous',
      'A rollback forgets that its undo got no answer.',
      "not_before = null, ambiguous = ambiguous or (p_request ->> 'ambiguous')::boolean, finished_at",
      'not_before = null, finished_at',
    ],
    [
      'rolled-back-without-missing',
      'An agent that a rollback finds deleted is not called missing.',
      "    perform lockstep.close_saga(v_saga, p_request -> 'missing');\n    perform lockstep.release_keys(p_saga_id, case",
      '    perform lockstep.release_keys(p_saga_id, case',
    ],
    [
      'attention-without-quarantine',
      'An operator may settle while a request may still be applied.',
      "not_before = case when ambiguous or (p_request ->> 'ambiguous')::boolean",
      'not_before = case when false',
    ],
    [
      'attention-forgets-takeover',
      'A save that was taken over and needs attention may be settled at once.',
      "not_before = case when ambiguous or (p_request ->> 'ambiguous')::boolean",
      "not_before = case when (p_request ->> 'ambiguous')::boolean",
    ],
    [
      'settle-too-early',
      'An operator settles while a request may still be applied.',
      'if v_answer is null and v_saga.not_before > clock_timestamp() then',
      'if false then',
    ],
    [
      'settle-from-rollback',
      'An operator settles a save that recovery is undoing.',
      "'{NEEDS_ATTENTION}', p_status)",
      "'{NEEDS_ATTENTION,ROLLING_BACK}', p_status)",
    ],
    [
      'settle-without-fence',
      'The next save begins at once after a settlement.',
      "release_keys(p_saga_id, (p_request ->> 'lateMs')::bigint);",
      'release_keys(p_saga_id, null);',
    ],
    [
      'due-in-any-order',
      'Recovery takes the saves that were touched last first.',
      'order by s.lease_until limit p_limit;',
      'order by s.lease_until desc limit p_limit;',
    ],
    [
      'until-negative',
      'A caller is told to come back before now.',
      'select greatest(0, ceil(extract(epoch from p_then - clock_timestamp()) * 1000))::bigint;',
      'select floor(extract(epoch from p_then - clock_timestamp()))::bigint;',
    ],
  ]),
  ...plant(SAGA_FUNCTIONS, DEPUTY, [
    [
      'organization-not-left',
      'A function leaves its organization open for the rest of the transaction.',
      "select set_config('lockstep.org_id', '', true);",
      "select current_setting('lockstep.org_id', true);",
    ],
  ]),
  ...plant(SAGA_FUNCTIONS, FAIRNESS, [
    [
      'limit-of-repairs',
      'The repairs of the sweep use up the saves per minute of the users.',
      'where s.org_id = p_org_id and s.actor is not null and s.started_at > v_since',
      'where s.org_id = p_org_id and s.started_at > v_since',
    ],
    [
      'limit-off-by-one',
      'One save more than the limit may begin.',
      "offset (p_request -> 'limit' ->> 'saves')::integer - 1 limit 1;",
      "offset (p_request -> 'limit' ->> 'saves')::integer limit 1;",
    ],
    [
      'limit-of-known',
      'A repetition of a known save is refused by the limit.',
      "if not found and p_request ->> 'idempotencyKey' is not null then",
      "if not found and p_request ->> 'idempotencyKey' is not null and v_window is null then",
    ],
    [
      'limit-of-own-save',
      'A beginning whose answer was lost is refused by the limit when it is repeated.',
      'if v_saga.id is not null then\n    if v_saga.kind',
      'if v_saga.id is not null and (v_window is null or v_saga.id <> p_saga_id) then\n    if v_saga.kind',
    ],
    [
      'limit-retry-now',
      'A caller that the limit refuses is told to come back too early.',
      'lockstep.ms_until(v_oldest + v_window)',
      'lockstep.ms_until(v_oldest)',
    ],
  ]),
  ...plant(AGENTS, FUNCTIONS, [
    [
      'commit-keeps-adoptable',
      'A commit leaves what could be adopted before it.',
      'missing_since = null, adoptable = null',
      'missing_since = null',
    ],
    [
      'commit-keeps-drift',
      'A commit leaves the drift that it has overwritten.',
      "drift = '[]', missing_since = null,",
      'missing_since = null,',
    ],
    [
      'commit-keeps-missing',
      'An agent that was made anew is still called missing.',
      "drift = '[]', missing_since = null,",
      "drift = '[]',",
    ],
    [
      'commit-any-revision',
      'A commit overwrites a revision that it has not seen.',
      'where a.revision = v_part.before_revision and a.last_save_id',
      'where a.last_save_id',
    ],
    [
      'commit-any-save',
      'A commit overwrites a save that kept the revision and that it has not seen.',
      ' and a.last_save_id = v_part.before_saga_id\n',
      '\n',
    ],
    [
      'commit-keeps-mapping',
      'An agent is compared by the mapping of an earlier save.',
      'last_save_id = excluded.last_save_id, mapping_version = excluded.mapping_version,',
      'last_save_id = excluded.last_save_id,',
    ],
    [
      'commit-keeps-save',
      'The stamp of the last save counts as a late write.',
      'revision = excluded.revision, last_save_id = excluded.last_save_id,',
      'revision = excluded.revision,',
    ],
    [
      'commit-keeps-assistant',
      'An agent that was made anew keeps the id of its deleted assistant.',
      'config = excluded.config, vapi_assistant_id = excluded.vapi_assistant_id,',
      'config = excluded.config,',
    ],
    [
      'commit-keeps-checked',
      'A commit does not say that Vapi was seen to hold it.',
      'checked_at = excluded.checked_at, drift',
      'drift',
    ],
    [
      'commit-keeps-synced',
      'A commit does not say when the agent was last in Vapi.',
      'last_synced_at = excluded.last_synced_at,',
      '',
    ],
    [
      'commit-keeps-observed',
      'The sweep compares with what Vapi answered to an earlier save.',
      'on conflict (agent_id) do update set document = excluded.document;',
      'on conflict (agent_id) do nothing;',
    ],
    [
      'commit-every-revision',
      'A save without changes makes a revision.',
      '+ (v_agent.id is null or v_part.after_content <> v_stored)::integer',
      '+ 1',
    ],
    [
      'missing-of-any-assistant',
      'An agent with a new assistant is called missing because of its old one.',
      'and a.vapi_assistant_id = p.remote_id and p_missing',
      'and p_missing',
    ],
    [
      'missing-of-sibling',
      'The sibling of a missing agent is called missing as well.',
      'and p_missing ? p.key;',
      ';',
    ],
    [
      'missing-anew',
      'An agent counts as missing since the last look and not since the first.',
      'set missing_since = coalesce(a.missing_since, clock_timestamp()), checked_at',
      'set missing_since = clock_timestamp(), checked_at',
    ],
    [
      'begin-any-agent',
      'A save of an agent id that is not the organization’s goes to its own agent.',
      "(v_agent.id is null or v_agent.id <> (v_update ->> 'agentId')::uuid)",
      'v_agent.id is null',
    ],
    [
      'begin-any-expected-revision',
      'expectedRevision is not compared.',
      "if (v_update ->> 'expectedRevision')::integer <> coalesce(v_agent.revision, 0)",
      'if false',
    ],
    [
      'begin-revision-of-none',
      'expectedRevision of an agent that does not exist is not compared.',
      '<> coalesce(v_agent.revision, 0)',
      '<> v_agent.revision',
    ],
    [
      'begin-any-expected-save',
      'A repair overwrites a save that kept the revision.',
      "or (v_update ->> 'expectedSaveId')::uuid is distinct from v_agent.last_save_id and v_update ->> 'expectedSaveId' is not null",
      '',
    ],
    [
      'begin-defaults-last',
      'A save sets every field that it does not name to its default.',
      "(v_update -> 'defaults') || coalesce(v_agent.config, '{}');",
      "coalesce(v_agent.config, '{}') || (v_update -> 'defaults');",
    ],
    [
      'begin-without-defaults',
      'An agent from before a field existed does not get its default.',
      "(v_update -> 'defaults') || coalesce(v_agent.config, '{}')",
      "coalesce(v_agent.config, v_update -> 'defaults')",
    ],
    [
      'begin-incomplete',
      'A new agent is saved without a prompt.',
      "if v_part.after_content ->> 'systemPrompt' is null then",
      'if false then',
    ],
    [
      'begin-missing-anew',
      'A save of a missing agent is refused although it has leave to make it anew.',
      'v_agent.missing_since is not null and not v_part.recreate',
      'v_agent.missing_since is not null',
    ],
    [
      'begin-missing-patched',
      'A missing agent is changed under the id of its deleted assistant.',
      'case when v_agent.missing_since is null then v_agent.vapi_assistant_id end',
      'v_agent.vapi_assistant_id',
    ],
    [
      'begin-without-leave',
      'A save forgets that it may make an assistant anew.',
      "v_part.recreate := (v_update ->> 'recreateIfMissing')::boolean;",
      'v_part.recreate := false;',
    ],
    [
      'replay-of-revision',
      'A replayed answer shows the assistant of the revision and not of the save.',
      "'assistantId', x ->> 'remoteId', 'revision', r.revision,",
      "'assistantId', r.vapi_assistant_id, 'revision', r.revision,",
    ],
  ]),
  ...plant(
    AGENTS,
    [...DEPUTY, 'test/e2e/concurrency.test.ts', ...CONFORMANCE],
    [
      [
        'agents-of-one-role',
        'An organization can get two agents of one role.',
        'unique (org_id, role),',
        'check (true),',
      ],
      [
        'assistant-of-two',
        'Two agents can drive one assistant.',
        'unique (vapi_assistant_id)\n',
        'check (true)\n',
      ],
    ],
  ),
  ...plant(RECONCILIATION, FUNCTIONS, [
    [
      'lease-of-anybody',
      'Two replicas sweep at the same time.',
      'where l.owner = excluded.owner or l.until <= v_now;',
      'where true;',
    ],
    [
      'lease-never-renewed',
      'A replica loses its own lease.',
      'where l.owner = excluded.owner or l.until <= v_now;',
      'where l.until <= v_now;',
    ],
    [
      'lease-for-ever',
      'The lease of a dead replica never lapses.',
      'where l.owner = excluded.owner or l.until <= v_now;',
      'where l.owner = excluded.owner;',
    ],
    [
      'lease-released-by-anybody',
      'A replica that stops releases the lease of another one.',
      'where name = p_name and owner = p_owner;',
      'where name = p_name;',
    ],
    [
      'page-present',
      'The sweep looks for agents again that are called missing.',
      'a.last_save_id, a.missing_since is not null\n',
      'a.last_save_id, false\n',
    ],
    [
      'note-without-lock',
      'A note overtakes a save that has just begun.',
      'continue when not lockstep.enter(v_org);',
      "perform set_config('lockstep.org_id', v_org::text, true);",
    ],
    [
      'note-keeps-adoptable',
      'An edit that is gone can still be adopted.',
      "then nullif(v_note -> 'adoptable', 'null') end,",
      "then nullif(v_note -> 'adoptable', 'null') else a.adoptable end,",
    ],
    [
      'orphan-of-kept',
      'An assistant that a revision refers to is deleted.',
      "and not exists (select from public.agent_revisions r where r.org_id = v_org\n        and r.vapi_assistant_id = v_one ->> 'assistantId')",
      '',
    ],
    [
      'orphan-of-agent',
      'An assistant that an agent refers to is deleted.',
      "and not exists (select from public.agents a where a.org_id = v_org and a.vapi_assistant_id = v_one ->> 'assistantId')",
      '',
    ],
    [
      'orphan-too-young',
      'An assistant is deleted while its save may still be answered late.',
      'and s.finished_at < clock_timestamp() - lockstep.ms(p_age_ms)',
      '',
    ],
    [
      'orphan-of-committed',
      'A copy of an assistant made by hand is deleted.',
      "and (s.status = 'ROLLED_BACK' or s.ambiguous)",
      '',
    ],
    [
      'orphan-of-other-deployment',
      'An assistant of another deployment is deleted.',
      "where d.id::text = v_one ->> 'deployment')",
      'where d.id is not null)',
    ],
    [
      'orphan-of-other-agent',
      'An assistant with the stamp of another agent is deleted.',
      " and p.resource_id = (v_one ->> 'agentId')::uuid",
      '',
    ],
    [
      'orphan-of-other-role',
      'An assistant with the stamp of another role is deleted.',
      "and p.key = v_one ->> 'role' and",
      'and',
    ],
    [
      'orphan-of-changed',
      'A copy of an assistant that its save only changed is deleted.',
      'and (p.remote_id is null or p.recreate))',
      ')',
    ],
    [
      'orphan-not-recreated',
      'An assistant that a save made in place of a deleted one is never deleted.',
      'and (p.remote_id is null or p.recreate))',
      'and i.assistant_id is null)',
    ],
    [
      'cleanup-keeps-images',
      'Prompts of old saves are kept for ever.',
      "where saga_id = any (v_ids) and after_content <> '{}';",
      'where false;',
    ],
    [
      'cleanup-again',
      'The cleanup finds the same saves for ever.',
      'where not s.forgotten and s.finished_at < v_before',
      'where s.finished_at < v_before',
    ],
    [
      'policy-of-none',
      'A policy is set for an organization that does not exist.',
      'v_found := lockstep.enter(p_org_id);',
      'v_found := lockstep.enter(p_org_id) or true;',
    ],
    [
      'policy-unset',
      'The drift policy is not stored.',
      'set drift_policy = p_policy where',
      'set drift_policy = drift_policy where',
    ],
  ]),
  ...plant(PHONE_NUMBERS, DEPUTY, [
    [
      'attach-any-role',
      'A number is attached to the agent of another role.',
      'where org_id = p_org_id and role = p_role;',
      'where org_id = p_org_id limit 1;',
    ],
    ['number-of-two', 'One number rings in two organizations.', 'unique (number),', 'check (true),'],
  ]),
  ...plant(KNOWLEDGE_BASE, ISOLATION, [
    [
      'documents-not-protected',
      'The documents have no row-level security.',
      "select lockstep.protect_tables('public.knowledge_base_documents');",
      '',
    ],
  ]),
  ...plant(CALLS, ISOLATION, [
    [
      'calls-not-protected',
      'The calls have no row-level security.',
      "select lockstep.protect_tables('public.call_logs', 'public.appointments');",
      "select lockstep.protect_tables('public.appointments');",
    ],
    [
      'policy-appointments',
      'Every user reads the appointments of every organization.',
      "select lockstep.let_users_read('public.call_logs', 'public.appointments');",
      "select lockstep.let_users_read('public.call_logs');\ngrant select on public.appointments to authenticated;\ncreate policy appointments_own on public.appointments for select to authenticated using (org_id is not null);",
    ],
  ]),
  ...plant(CALLS, DEPUTY, [
    [
      'call-of-other-agent',
      'A call of one organization can name an agent of another.',
      'foreign key (org_id, agent_id) references public.agents (org_id, id) on delete set null (agent_id),\n  foreign key (org_id, phone_number_id)',
      'foreign key (agent_id) references public.agents (id) on delete set null,\n  foreign key (org_id, phone_number_id)',
    ],
  ]),
  ...plant(REPLICAS, FAIRNESS, [
    [
      'replica-never-dies',
      'A dead replica keeps its share of the account.',
      "delete from lockstep.replicas where seen_at < v_now - p_ttl_ms * interval '1 millisecond';",
      '',
    ],
    [
      'replica-known-at-once',
      'A replica takes its share before the others have given it up.',
      'bool_and(r.seen_at >= me.joined_at)',
      'bool_or(r.seen_at >= me.joined_at)',
    ],
    [
      'replica-joins-again',
      'A replica joins anew with each beat.',
      'on conflict (id) do update set seen_at = excluded.seen_at;',
      'on conflict (id) do update set seen_at = excluded.seen_at, joined_at = excluded.joined_at;',
    ],
  ]),
  ...plant(BINDING, FUNCTIONS, [
    [
      'binding-empty',
      'A look without an account binds the database to no account.',
      "where vapi_org_id is null and p_seen <> '';",
      'where vapi_org_id is null;',
    ],
    [
      'binding-seen',
      'Every key is told that the database belongs to its account.',
      'return (select d.vapi_org_id from lockstep.deployment d);',
      'return p_seen;',
    ],
  ]),
];

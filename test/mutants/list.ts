/**
 * Planted bugs. Each is one change of one file that a test must see; `npm run mutants` tries them (scripts/mutants.ts). Each
 * text must stand exactly once in its file, so a change of that place has to change its planted bug too.
 */
export interface Mutant {
  id: string;
  file: string;
  /** What goes wrong, in one sentence. */
  breaks: string;
  find: string;
  replace: string;
  /** The tests that must fail. */
  tests: readonly string[];
}

type Planted = readonly [id: string, breaks: string, find: string, replace: string];

function plant(file: string, tests: readonly string[], planted: readonly Planted[]): Mutant[] {
  return planted.map(([id, breaks, find, replace]) => ({ id, file, breaks, find, replace, tests }));
}

const SAVES = 'supabase/migrations/20261123000002_create_save_functions.sql';
const RECONCILIATION = 'supabase/migrations/20261123000003_create_reconciliation_functions.sql';
const CONFORMANCE = ['test/sim/journal-conformance.test.ts', 'src/adapters/supabase/rpc-journal.test.ts'];

export const MUTANTS: readonly Mutant[] = [
  ...plant(SAVES, CONFORMANCE, [
    [
      'commit-keeps-adoptable',
      'A commit leaves what could be adopted before it.',
      "drift = '[]', missing_since = null, adoptable = null",
      "drift = '[]', missing_since = null",
    ],
    [
      'commit-keeps-drift',
      'A commit leaves the drift that it has overwritten.',
      "drift = '[]', missing_since = null, adoptable = null",
      'missing_since = null, adoptable = null',
    ],
    [
      'commit-keeps-missing',
      'An agent that was made anew is still called missing.',
      "drift = '[]', missing_since = null, adoptable = null",
      "drift = '[]', adoptable = null",
    ],
    [
      'commit-any-revision',
      'A commit overwrites a revision that it has not seen.',
      'where a.revision = v_image.before_revision and a.last_save_id = v_image.before_save_id\n      returning * into v_agent;',
      'returning * into v_agent;',
    ],
    [
      'transition-any-epoch',
      'An owner whose save was taken over still changes it.',
      'when s.epoch = p_epoch and s.status = any (p_from) then null',
      'when s.status = any (p_from) then null',
    ],
    [
      'hold-keeps-lease',
      'A save that was handed over is not due until its lease lapses.',
      "results = p_request -> 'results', lease_until = clock_timestamp(),",
      "results = p_request -> 'results',",
    ],
    [
      'takeover-keeps-epoch',
      'The last owner of a save can go on after a takeover.',
      'set epoch = epoch + 1, owner = p_owner',
      'set owner = p_owner',
    ],
    [
      'takeover-not-ambiguous',
      'What the last owner sent counts as answered.',
      'owner = p_owner, ambiguous = true, not_before = null',
      'owner = p_owner, not_before = null',
    ],
    [
      'fence-lowered',
      'A later close with a shorter time lowers the fence.',
      'set fence_until = greatest(fence_until, clock_timestamp() + lockstep.ms(p_late_ms))',
      'set fence_until = clock_timestamp() + lockstep.ms(p_late_ms)',
    ],
    [
      'missing-of-any-assistant',
      'An agent with a new assistant is called missing because of its old one.',
      'a.id = i.agent_id and a.vapi_assistant_id = i.assistant_id and p_roles',
      'a.id = i.agent_id and p_roles',
    ],
    [
      'begin-any-hash',
      'An idempotency key answers a different request.',
      "if found and v_save.request_hash <> p_request ->> 'requestHash' then",
      'if false then',
    ],
    [
      'begin-no-fence',
      'A save begins while a request of the last one may still be applied.',
      'if v_lock.fence_until > v_now then',
      'if false then',
    ],
    [
      'begin-any-expected-revision',
      'expectedRevision is not compared.',
      "if (v_update ->> 'expectedRevision')::integer <> coalesce(v_agent.revision, 0)",
      'if false',
    ],
    [
      'abort-no-quarantine',
      'An undo of an ambiguous save begins at once.',
      "not_before = case when v_ambiguous then v_now + lockstep.ms((p_request ->> 'lateMs')::bigint) end,\n        lease_until",
      'not_before = null,\n        lease_until',
    ],
    [
      'settle-too-early',
      'An operator settles while a request may still be applied.',
      'if v_answer is null and v_save.not_before > clock_timestamp() then',
      'if false then',
    ],
    [
      'takeover-before-quarantine',
      'A save is taken over before its quarantine is over.',
      "where id = p_save_id and status in ('APPLYING', 'ROLLING_BACK')\n        and coalesce(lease_until, '-infinity') <= clock_timestamp()\n        and coalesce(not_before, '-infinity') <= clock_timestamp()",
      "where id = p_save_id and status in ('APPLYING', 'ROLLING_BACK')\n        and coalesce(lease_until, '-infinity') <= clock_timestamp()",
    ],
  ]),
  ...plant(
    RECONCILIATION,
    ['test/e2e/sweep.test.ts'],
    [
      [
        'orphan-of-kept',
        'An assistant that a revision refers to is deleted.',
        "and not exists (select from public.agent_revisions r where r.org_id = v_org\n        and r.vapi_assistant_id = v_one ->> 'assistantId')",
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
    ],
  ),
  ...plant(
    'src/services/agents/drift/sweep.ts',
    ['src/services/agents/drift/sweep-verdicts.test.ts'],
    [
      [
        'repair-any-revision',
        'An adoption or a revert overwrites what a user saved meanwhile.',
        'expectedRevision: agent.revision,',
        'expectedRevision: null,',
      ],
      [
        'missing-first-page-only',
        'Missing assistants are looked for among the first thousand agents only.',
        'if (page.length < PAGE || last === undefined) break;',
        'break;',
      ],
      [
        'missing-half',
        'Half of all assistants may be gone before the key is doubted.',
        'unseen.length > total / 5)',
        'unseen.length > total / 2)',
      ],
      [
        'missing-unreadable',
        'A look that Vapi refuses is passed over.',
        `      readable(found);
      ports.unjudged.push(agent);
`,
        `      ports.unjudged.push(agent);
`,
      ],
      [
        'revert-under-adopt',
        'An edit is reverted where the organization wants it adopted.',
        "repair(ports, agent, adoptable, 'ADOPT')",
        "repair(ports, agent, {}, 'ADOPT')",
      ],
      [
        'repair-recreates',
        'The sweep makes an assistant anew that somebody deleted.',
        'recreateIfMissing: false,',
        'recreateIfMissing: true,',
      ],
    ],
  ),
  ...plant(
    'src/services/agents/drift/look.ts',
    ['src/services/agents/drift/sweep-verdicts.test.ts'],
    [
      [
        'look-any-save',
        'A save that ended between the two looks is taken for an edit.',
        'agent.busy || agent.saveId !== seen.saveId) return',
        'agent.busy) return',
      ],
      [
        'look-busy',
        'An assistant is judged while a save is open.',
        'agent === undefined || agent.busy || agent.saveId',
        'agent === undefined || agent.saveId',
      ],
      [
        'stamp-any-save',
        'A late write of an earlier save counts as current.',
        'stamp.saveId === agent.saveId && ',
        '',
      ],
      [
        'stamp-any-agent',
        'A stamp of another agent counts as current.',
        ' && stamp.agentId === agent.agentId',
        '',
      ],
    ],
  ),
  ...plant(
    'src/services/admission/pacer.ts',
    ['test/fairness/pacer-turns.test.ts', 'test/fairness/pacer.test.ts'],
    [
      [
        'waiting-off-by-one',
        'One save more than the bound may wait.',
        'queue.length >= MOST_WAITING',
        'queue.length > MOST_WAITING',
      ],
      [
        'place-kept',
        'A save that was refused keeps its place in the queue.',
        'queue.splice(queue.indexOf(waiting), 1);',
        '',
      ],
    ],
  ),
  ...plant(
    SAVES,
    ['test/sim/journal-conformance.test.ts'],
    [
      [
        'begin-never-too-late',
        'A begin whose caller has given up begins a save.',
        "if v_now > (p_request ->> 'notAfter')::timestamptz then",
        'if false then',
      ],
    ],
  ),
  ...plant(
    RECONCILIATION,
    ['test/sim/journal-conformance.test.ts'],
    [
      [
        'cleanup-forgets-history',
        'The cleanup takes saves that made a revision for deletable.',
        'in_history = coalesce((select true',
        'in_history = false and coalesce((select true',
      ],
    ],
  ),
  ...plant(
    RECONCILIATION,
    ['test/fairness/plans.test.ts'],
    [
      [
        'cleanup-scans-revisions',
        'The cleanup reads all revisions.',
        'coalesce((select true from public.agent_revisions r where r.save_id = s.id limit 1), false)',
        'exists (select from public.agent_revisions r where r.save_id = s.id)',
      ],
      [
        'sweep-page-from-the-start',
        'Each page of agents reads all pages before it.',
        "a.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')",
        'p_after is null or a.id > p_after',
      ],
      [
        'sweep-listed-scans',
        'The look-up of a page of assistants reads the open saves of all organizations.',
        `(select true from public.agent_saves s where s.org_id = p_org_id
       and s.status in ('APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION') limit 1)`,
        `(select true from public.agent_saves s where s.org_id::text = p_org_id::text
       and s.status in ('APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION') limit 1)`,
      ],
    ],
  ),
  ...plant(
    'supabase/migrations/20261123000010_create_phone_numbers_documents_appointments_and_calls.sql',
    ['test/fairness/plans.test.ts'],
    [
      [
        'list-page-sorts',
        'A page may read everything that an organization has, and sort it.',
        'set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off',
        '',
      ],
      [
        'calls-without-index-of-agent-and-number',
        'Calls of an agent and a number are searched among all of the agent or of the number.',
        'call_logs\n  (org_id, agent_id, phone_number_id, direction, (case',
        'call_logs\n  (org_id, agent_id, id, phone_number_id, direction, (case',
      ],
    ],
  ),
  ...plant(
    'src/services/agents/execute.ts',
    ['src/services/agents/execute.test.ts'],
    [
      [
        'begin-asks-again-and-again',
        'A beginning is repeated three times after its deadline.',
        ' || onlyAsks',
        '',
      ],
      [
        'begin-without-deadline',
        'The database does not hear when the caller gives up.',
        'notAfter: deadlineOf(ports.databaseTime?.() ?? null)',
        'notAfter: deadlineOf(null)',
      ],
    ],
  ),
  ...plant(
    'src/services/admission/replicas.ts',
    ['src/services/admission/replicas.test.ts'],
    [
      [
        'database-clock-believes-slow-answers',
        'A slow answer sets the clock of the database back.',
        'old === null || time - at > old.ahead ||',
        'old === null || time - at < old.ahead ||',
      ],
    ],
  ),
  ...plant(
    'src/services/agents/drift/sweep.ts',
    ['src/services/agents/drift/sweep-verdicts.test.ts'],
    [
      [
        'sweep-pages-of-any-size',
        'A page of the sweep is a thousand assistants, however large they are.',
        'limit = Math.floor((PAGE_CHARACTERS / characters) * fresh.length);',
        'limit = PAGE;',
      ],
      ['sweep-never-pauses', 'A page is compared in one turn of the event loop.', 'await ports.pause();', ''],
      [
        'sweep-writes-unchanged-agents',
        'The sweep writes to every agent that is in step.',
        'if (agent.news) news.push',
        'news.push',
      ],
      [
        'sweep-forgets-busy-agents',
        'The time of a sweep counts for agents that it skipped.',
        'else if (agent.busy) ports.unjudged.push(agent);',
        'else if (agent.busy) continue;',
      ],
      [
        'sweep-ends-within-a-millisecond',
        'The walk ends where more assistants than a page holds were made in one millisecond.',
        'limit *= 4;',
        'return seen;',
      ],
    ],
  ),
  ...plant(
    'src/services/reads/connection.ts',
    ['src/services/reads/connection.test.ts'],
    [
      [
        'cursor-without-order',
        'A cursor of one order is taken for one of the other order.',
        "descending ? 'desc' : 'asc'",
        "'either'",
      ],
    ],
  ),
  ...plant(
    'src/schema/cost.ts',
    ['src/schema/cost.test.ts'],
    [
      [
        'cost-without-last',
        'The last rows of a list cost nothing.',
        "args['first'] ?? args['last'] ??",
        "args['first'] ??",
      ],
    ],
  ),
];

import { plant } from './plant.ts';

const SAGA_FUNCTIONS = 'supabase/migrations/20261123000002_create_saga_functions.sql';
const RECONCILIATION = 'supabase/migrations/20261123000004_create_reconciliation_functions.sql';

/** What makes a cost grow with what is stored instead of with what is returned. */
export const COSTS = [
  ...plant(
    SAGA_FUNCTIONS,
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
        "from public.agents a where a.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')",
        'from public.agents a where p_after is null or a.id > p_after',
      ],
      [
        'sweep-listed-scans',
        'The look-up of a page of assistants reads the open saves of all organizations.',
        '(select true from lockstep.saga_keys k where k.org_id = p_org_id and',
        '(select true from lockstep.saga_keys k where k.org_id::text = p_org_id::text and',
      ],
    ],
  ),
  ...plant(
    'supabase/migrations/20261123000014_create_lists.sql',
    ['test/fairness/plans.test.ts'],
    [
      [
        'list-page-sorts',
        'A page may read everything that an organization has, and sort it.',
        'set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off',
        '',
      ],
    ],
  ),
  ...plant(
    'supabase/migrations/20261123000012_create_calls.sql',
    ['test/fairness/plans.test.ts'],
    [
      [
        'calls-without-index-of-agent-and-number',
        'Calls of an agent and a number are searched among all of the agent or of the number.',
        'call_logs\n  (org_id, agent_id, phone_number_id, direction, (case',
        'call_logs\n  (org_id, agent_id, id, phone_number_id, direction, (case',
      ],
    ],
  ),
  ...plant(
    'src/services/saga/execute.ts',
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
  ...plant('src/schema/cost.ts', ['src/schema/cost.test.ts'], []),
];

import { type Mutant, plant } from './plant.ts';

/** Planted bugs of appointments. */

const SQL = 'supabase/migrations/20261123000013_create_appointments.sql';
const SLOTS = 'src/domain/appointments/slots.ts';
const ANSWER = 'src/services/appointments/answer-tool-call.ts';
const DATABASE = ['test/database/appointments.test.ts'];
const AT_ONCE = ['test/database/appointments-at-once.test.ts'];
const UNIT = ['src/domain/appointments/slots.test.ts'];
const E2E = ['test/e2e/appointments.test.ts'];

export const APPOINTMENTS: readonly Mutant[] = [
  ...plant(SQL, AT_ONCE, [
    [
      'appointment-no-lock',
      'Bookings of one organization do not wait for each other.',
      "    perform pg_advisory_xact_lock(hashtextextended('lockstep.appointments ' || p_org_id, 0));\n",
      '    null;\n',
    ],
  ]),
  ...plant(SQL, DATABASE, [
    [
      'appointment-no-exclusion',
      'The table accepts two bookings that overlap in one lane.',
      '    (org_id with =, lane with =, tstzrange',
      '    (id with =, org_id with =, lane with =, tstzrange',
    ],
    [
      'appointment-lowered-capacity',
      'Lanes above a capacity that was lowered do not count.',
      'select case when cardinality(t.lanes) < r.capacity',
      'select case when true',
    ],
    [
      'appointment-buffer-not-asked',
      'A booking may reach with its buffer into the next appointment.',
      'p_starts_at + (r.slot_minutes + r.buffer_minutes) *',
      'p_starts_at + r.slot_minutes *',
    ],
    [
      'appointment-buffer-not-kept',
      'The time after an appointment does not stay free.',
      "v_ends_at + r.buffer_minutes * interval '1 minute', v_lane, 'SCHEDULED'",
      "v_ends_at, v_lane, 'SCHEDULED'",
    ],
    [
      'appointment-of-others-changed',
      'A call can change the appointment of another caller.',
      "(a.call_id = p_call_id or a.customer_number = p_request ->> 'callerNumber') and a.ends_at > clock_timestamp()",
      'a.ends_at > clock_timestamp()',
    ],
    [
      'appointment-of-others-shown',
      'A call is told the appointments of other callers.',
      "and (a.call_id = p_call_id or a.customer_number = p_request ->> 'callerNumber')\n",
      '\n',
    ],
    [
      'appointment-refusal-forgotten',
      'A tool call that was refused books when it arrives a second time.',
      "in ('RULES_CHANGED', 'MOVED');",
      "in ('RULES_CHANGED', 'MOVED', 'UNAVAILABLE');",
    ],
    [
      'appointment-family',
      'The second member of a family gets the booking of the first.',
      "          and lower(regexp_replace(btrim(a.customer_name), '\\s+', ' ', 'g'))\n            = ",
      "          and '' <> ",
    ],
    [
      'appointment-cancelled-again',
      'A cancelled booking is taken for the one that is made again.',
      "(p_request ->> 'startsAt')::timestamptz\n          and a.status in ('SCHEDULED', 'CONFIRMED')\n",
      "(p_request ->> 'startsAt')::timestamptz\n",
    ],
    [
      'appointment-move-not-repeatable',
      'A reschedule that was made is refused when it is asked for again.',
      "      or v_action = 'RESCHEDULE' and v_appointment.status in ('SCHEDULED', 'CONFIRMED') and v_before = v_starts_at\n",
      '',
    ],
    [
      'appointment-in-its-own-way',
      'An appointment cannot move to a time that overlaps its present one.',
      "v_lane := lockstep.free_lane(r, v_starts_at, case when v_action = 'RESCHEDULE' then v_id end);",
      'v_lane := lockstep.free_lane(r, v_starts_at, null);',
    ],
    [
      'appointment-old-rules',
      'A booking that was computed from older rules is made.',
      "(p_request ->> 'rulesRevision')::integer is distinct from r.revision",
      'false',
    ],
  ]),
  ...plant(SQL, E2E, [
    [
      'appointment-moved-meanwhile',
      'A user moves an appointment that somebody else has moved meanwhile.',
      "if v_before <> (p_request ->> 'expectedStartsAt')::timestamptz then",
      'if false then',
    ],
  ]),
  ...plant(ANSWER, DATABASE, [
    [
      'tool-call-swallowed',
      'A tool call with the id of another one is not carried out.',
      'canonicalJson([id, name, given])',
      'canonicalJson([id, name])',
    ],
    [
      'tool-call-id-ignored',
      'The same wish under a new tool call id gets the old answer, whatever has happened since.',
      'canonicalJson([id, name, given])',
      'canonicalJson([name, given])',
    ],
    [
      'tool-call-cancels-next',
      'A cancellation that is asked for again cancels another appointment.',
      '        if (isUnspecific) {',
      '        if (isUnspecific && others.length > 1) {',
    ],
    [
      'tool-call-twice-not-asked',
      'A time that exists twice is booked without a question.',
      'wish.occurrence === undefined && canBe.length > 0',
      'wish.occurrence === undefined && canBe.length > 2',
    ],
  ]),
  ...plant('src/domain/appointments/tool-arguments.ts', DATABASE, [
    [
      'tool-call-hidden-number',
      'All callers who hide their number are one caller.',
      'isE164(number) && !HIDDEN.has(number)',
      'isE164(number)',
    ],
  ]),
  ...plant(SLOTS, UNIT, [
    [
      'slot-in-skipped-hour',
      'A time that summer time skips is taken for another one.',
      '  if (!earlier.toPlainDateTime().equals(local)) return [];\n',
      '',
    ],
    [
      'slot-past-closing',
      'The last appointment of a day ends after closing time.',
      'start + step <= closes',
      'start < closes',
    ],
    [
      'slot-too-soon',
      'An appointment can be booked at the last moment.',
      'return start < now + rules.leadMinutes * MINUTE',
      'return start < now',
    ],
    [
      'slot-openings-overlap',
      'In the night to summer time two openings overlap.',
      "before.getTimeZoneTransition('next')?.epochMilliseconds ?? before.epochMilliseconds",
      "local.toZonedDateTime(timeZone, { disambiguation: 'later' }).epochMilliseconds",
    ],
  ]),
];

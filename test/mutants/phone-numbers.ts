import { type Mutant, plant } from './plant.ts';

/** Planted bugs of phone numbers. */

const SQL = 'supabase/migrations/20261123000010_create_phone_numbers.sql';
const PARTICIPANT = 'src/services/phone-numbers/participant.ts';
const JOBS = 'src/services/phone-numbers/jobs.ts';
const DATABASE = ['test/database/phone-numbers.test.ts'];
const CRASHES = ['test/database/phone-number-crashes.test.ts'];
const E2E = ['test/e2e/phone-numbers.test.ts'];

export const PHONE_NUMBERS: readonly Mutant[] = [
  ...plant('src/services/saga/settle.ts', E2E, [
    [
      'number-settles-with-agents-only',
      'A purchase that nobody could find out about is never settled while no agent exists.',
      'if (seen === undefined && voice.phoneNumbers !== undefined) {',
      'if (seen === null && voice.phoneNumbers !== undefined) {',
    ],
  ]),
  ...plant('src/app.ts', E2E, [
    [
      'number-shows-no-account',
      'A purchase is never settled before an assistant has shown the account.',
      'account: () => seen(vapiOrgId),',
      "account: () => seen(vapiOrgId && ''),",
    ],
  ]),
  ...plant(SQL, DATABASE, [
    [
      'number-two-purchases',
      'An organization makes two purchases at the same time.',
      "when v_action = 'BUY' then '{purchase}'::text[]",
      "when v_action = 'BUY' then '{}'::text[]",
    ],
    [
      'number-attached-without-agents',
      'A save replaces the assistant while a number is attached to it.',
      "      then '{agents}'::text[]",
      "      then '{}'::text[]",
    ],
    [
      'number-allowance-one-more',
      'An organization gets one number more than it may have.',
      'if v_used >= v_allowance then',
      'if v_used > v_allowance then',
    ],
    [
      'number-allowance-unknown-free',
      'A number whose purchase is unknown does not count.',
      "org_id = p_org_id and state not in ('RELEASED', 'FAILED')",
      "org_id = p_org_id and state not in ('RELEASED', 'FAILED', 'UNKNOWN')",
    ],
    [
      'number-ready-without-digits',
      'A number without digits is taken for active.',
      "when p_status = 'active' and coalesce(p_digits, n.number) is not null then 'ACTIVE'",
      "when p_status = 'active' then 'ACTIVE'",
    ],
    [
      'number-digits-lost',
      'Digits that Vapi masks are forgotten.',
      'set number = coalesce(p_digits, n.number),',
      'set number = p_digits,',
    ],
    [
      'number-unknown-is-failed',
      'A purchase that nobody can find out about is called failed.',
      "then 'UNKNOWN' else n.state end",
      "then 'FAILED' else n.state end",
    ],
    [
      'number-gone-while-busy',
      'A number is called missing while a saga of it is open.',
      "elsif v_number.state <> 'MISSING' and not lockstep.is_busy(v_org, 'number:' || v_number.id) then",
      "elsif v_number.state <> 'MISSING' then",
    ],
    [
      'number-wish-forever',
      'An attachment that Vapi refuses is tried for ever.',
      "in ('VAPI_REJECTED', 'RESOURCE_MISSING') then null",
      "in ('RESOURCE_MISSING') then null",
    ],
  ]),
  ...plant(PARTICIPANT, CRASHES, [
    [
      'number-bought-twice',
      'A later owner sends a purchase again.',
      "this.lookOnly = content.action === 'BUY' || content.action === 'IMPORT';",
      "this.lookOnly = content.action === 'IMPORT';",
    ],
    [
      'number-purchase-undone',
      'A purchase whose outcome is unknown is closed as failed.',
      "this.pivot = content.action === 'BUY' || content.action === 'RELEASE';",
      "this.pivot = content.action === 'RELEASE';",
    ],
  ]),
  ...plant(PARTICIPANT, E2E, [
    [
      'number-taken-names-owner',
      "The answer names another organization's number.",
      "messages: ['The number is already in use at Vapi.']",
      'messages: reply.messages',
    ],
  ]),
  ...plant(JOBS, E2E, [
    [
      'number-late-purchase-deleted',
      'The sweep deletes a number that was bought.',
      "if (verdict === 'LATE') {",
      "if (verdict === 'LATE' && requestedNumber !== null) {",
    ],
    [
      'number-orphan-any-digits',
      'The sweep deletes a number with other digits than the import.',
      '(digits !== null && digits !== requestedNumber)',
      'false',
    ],
    [
      'number-drift-ignored',
      'A number that points elsewhere stays so.',
      'isRenamed ||\n    assistantId !== row.assistantId ||',
      'isRenamed ||',
    ],
  ]),
];

import { z } from 'zod';
import { AGENT_ROLES } from '../../domain/agents/agent-config.ts';
import { PHONE_NUMBER_STATES } from '../../domain/phone-numbers/phone-number.ts';
import type { PhoneNumberJournal } from '../../ports/phone-numbers/phone-number-journal.ts';
import type { PhoneNumberStore } from '../../ports/phone-numbers/phone-number-store.ts';
import { beginSagaAnswers } from './answers.ts';
import type { ServiceClient } from './clients.ts';
import { beginArguments, createSagaJournal, inBatches, parsed } from './rpc-journal.ts';
import { leaseOf } from './rpc-lease.ts';

const state = z.enum(PHONE_NUMBER_STATES);
const role = z.enum(AGENT_ROLES);
const phoneNumberRow = z.object({
  id: z.string(),
  number: z.string().nullable(),
  label: z.string().nullable(),
  provider: z.string(),
  state,
  failure: z.string().nullable(),
  agentId: z.string().nullable(),
  createdAt: z.string(),
});

const beginAnswer = z.discriminatedUnion('outcome', [
  ...beginSagaAnswers(phoneNumberRow),
  z.object({ outcome: z.literal('ALLOWANCE_EXCEEDED'), allowance: z.number(), used: z.number() }),
  z.object({ outcome: z.literal('NO_PHONE_NUMBER') }),
  z.object({ outcome: z.literal('NOT_POSSIBLE'), state }),
  z.object({ outcome: z.literal('NO_AGENT'), role }),
  z.object({ outcome: z.literal('AGENT_MISSING'), role }),
  z.object({ outcome: z.literal('NOTHING_TO_DO') }),
]);

/** The journal of sagas of phone numbers: the functions of supabase/migrations, one `rpc` each. */
export function createPhoneNumberJournal(supabase: ServiceClient): PhoneNumberJournal {
  return {
    ...createSagaJournal(supabase, phoneNumberRow),
    begin: (...given) => parsed(beginAnswer, supabase.rpc('begin_phone_numbers', beginArguments(...given))),
  };
}

const ref = { orgId: z.string(), id: z.string(), remoteId: z.string() };
const activating = z.array(z.object({ ...ref, ageMs: z.number() }));
const toAttach = z.array(
  z.object({ orgId: z.string(), id: z.string(), purpose: z.enum(['WISH', 'REPOINT']) }),
);
const listed = z.array(
  z.object({
    ...ref,
    state,
    number: z.string().nullable(),
    assistantId: z.string().nullable(),
    wantedAssistantId: z.string().nullable(),
    sagaId: z.string().nullable(),
    busy: z.boolean(),
  }),
);
const page = z.array(z.object(ref));
const stamps = z.array(
  z.object({
    orgId: z.string(),
    id: z.string(),
    sagaId: z.string(),
    provider: z.string(),
    requestedNumber: z.string().nullable(),
    verdict: z.enum(['SETTLE', 'ORPHAN', 'LATE']),
  }),
);
const noted = z.array(z.object({ id: z.string(), state }));

/** What the jobs of phone numbers ask and note, one `rpc` each. */
export function createPhoneNumberStore(supabase: ServiceClient): PhoneNumberStore {
  return {
    ...leaseOf(supabase, 'sweep phone numbers'),
    activationDue: (limit) =>
      parsed(activating, supabase.rpc('phone_number_activation_due', { p_limit: limit })),
    attachmentDue: (limit) =>
      parsed(toAttach, supabase.rpc('phone_number_attachment_due', { p_limit: limit })),
    listed: async (remoteIds) =>
      remoteIds.length === 0
        ? []
        : parsed(listed, supabase.rpc('phone_number_listed', { p_remote_ids: [...remoteIds] })),
    // The generated type knows no null for an argument; the function does.
    page: (after, limit) =>
      parsed(page, supabase.rpc('phone_number_page', { p_after: after as string, p_limit: limit })),
    stamps: async (sagaIds) =>
      sagaIds.length === 0
        ? []
        : parsed(stamps, supabase.rpc('phone_number_stamps', { p_saga_ids: [...sagaIds] })),
    note: (notes) =>
      inBatches(notes, (some) => parsed(noted, supabase.rpc('phone_number_note', { p_notes: some }))),
  };
}

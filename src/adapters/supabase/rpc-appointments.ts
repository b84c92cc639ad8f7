import { z } from 'zod';
import { APPOINTMENT_STATUSES } from '../../domain/appointments/appointment.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { AppointmentStore } from '../../ports/appointments/appointment-store.ts';
import { beginSagaAnswers, object } from './answers.ts';
import type { ServiceClient } from './clients.ts';
import type { Json } from './database.types.ts';
import { beginArguments, parsed } from './rpc-journal.ts';

const appointmentRow = z.object({
  id: z.string(),
  callId: z.string().nullable(),
  customerName: z.string(),
  customerNumber: z.string().nullable(),
  startsAt: z.string(),
  endsAt: z.string(),
  status: z.enum(APPOINTMENT_STATUSES),
  notes: z.string().nullable(),
  createdAt: z.string(),
});
const rules = z.object({
  timeZone: z.string(),
  slotMinutes: z.number(),
  capacity: z.number(),
  leadMinutes: z.number(),
  bufferMinutes: z.number(),
  hours: z.array(z.object({ weekday: z.number(), opens: z.string(), closes: z.string() })),
  revision: z.number(),
});
const rulesNow = z.object({ now: z.string(), rules });
const storedAnswer = object<JsonObject>();
const times = z.array(z.string());

const beginAnswer = z.discriminatedUnion('outcome', [
  ...beginSagaAnswers(appointmentRow),
  z.object({ outcome: z.literal('UNAVAILABLE'), problem: z.string(), alternatives: times }),
  z.object({ outcome: z.literal('NOT_ACTIVE'), status: z.enum(APPOINTMENT_STATUSES) }),
  z.object({ outcome: z.literal('MOVED'), appointment: appointmentRow }),
  z.object({ outcome: z.enum(['RULES_CHANGED', 'NO_APPOINTMENT']) }),
]);

const context = rulesNow.extend({
  answer: storedAnswer.nullable(),
  appointments: z.array(appointmentRow),
  made: z.array(
    z
      .object({
        function: z.string(),
        answer: z.object({ appointment: appointmentRow, before: z.string().optional() }),
      })
      .transform(({ answer, ...made }) => ({
        ...made,
        appointment: answer.appointment,
        before: answer.before ?? null,
      })),
  ),
});

/** The functions of appointments in supabase/migrations over supabase-js: one `rpc` each, no logic. */
export function createRpcAppointments(supabase: ServiceClient): AppointmentStore {
  return {
    rules: (orgId) => parsed(rulesNow.nullable(), supabase.rpc('booking_rules', { p_org_id: orgId })),
    setRules: (orgId, update) =>
      parsed(
        rulesNow.nullable(),
        supabase.rpc('set_booking_rules', { p_org_id: orgId, p_request: update as Json }),
      ),
    freeSlots: async (orgId, starts, limit) =>
      starts.length === 0
        ? []
        : parsed(times, supabase.rpc('free_slots', { p_org_id: orgId, p_request: { starts, limit } })),
    begin: (...given) => parsed(beginAnswer, supabase.rpc('begin_appointments', beginArguments(...given))),
    context: ({ orgId, callId, key, callerNumber }) =>
      parsed(
        context.nullable(),
        supabase.rpc('tool_call_context', {
          ...{ p_org_id: orgId, p_call_id: callId, p_request: { key, callerNumber } },
        }),
      ),
    answer: ({ orgId, callId, ...ref }, request) =>
      parsed(
        storedAnswer,
        supabase.rpc('answer_tool_call', {
          ...{ p_org_id: orgId, p_call_id: callId, p_request: { ...ref, ...request } as Json },
        }),
      ),
  };
}

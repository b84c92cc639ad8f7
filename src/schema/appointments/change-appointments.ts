import type { AppointmentRecord } from '../../domain/appointments/appointment.ts';
import { APPOINTMENT_LIMITS } from '../../domain/appointments/input.ts';
import {
  IdempotencyConflictError,
  OperationPendingError,
  RateLimitedError,
  SlotUnavailableError,
  UnavailableError,
  ValidationError,
} from '../../services/errors.ts';
import { builder, tenantOf } from '../builder.ts';
import { SAVE_COST } from '../cost.ts';
import { ErrorRef } from '../errors.ts';
import { AppointmentRef } from './appointment.ts';
import { SlotRef } from './booking-rules.ts';

builder.objectType(SlotUnavailableError, {
  name: 'SlotUnavailableError',
  interfaces: [ErrorRef],
  description: 'Nothing can be booked at this time. Nothing was changed.',
  fields: (t) => ({
    alternatives: t.expose('alternatives', {
      type: [SlotRef],
      description: 'Up to three slots near it that are free, the closest first.',
    }),
  }),
});

const AppointmentSuccess = builder
  .objectRef<{ appointment: AppointmentRecord }>('AppointmentSuccess')
  .implement({
    fields: (t) => ({
      appointment: t.expose('appointment', {
        type: AppointmentRef,
        description: 'As the mutation left it, also if the answer repeats the one of an earlier request.',
      }),
    }),
  });

const KEY =
  'The same key and the same input give the same answer, and nothing happens twice. The same key with another input is an error. Only a ' +
  'change that was made uses its key up.';

const CreateAppointmentInput = builder.inputType('CreateAppointmentInput', {
  fields: (t) => ({
    startsAt: t.field({ type: 'DateTime', required: true, description: 'The start of a slot.' }),
    customerName: t.string({
      required: true,
      description: `At most ${APPOINTMENT_LIMITS.name} characters.`,
    }),
    customerNumber: t.string({
      description:
        'E.164, for example `+12065550101`. A caller with this number can move and cancel the appointment.',
    }),
    notes: t.string({ description: `At most ${APPOINTMENT_LIMITS.notes} characters.` }),
    idempotencyKey: t.string({ description: KEY }),
  }),
});

const RescheduleAppointmentInput = builder.inputType('RescheduleAppointmentInput', {
  fields: (t) => ({
    id: t.id({ required: true }),
    startsAt: t.field({ type: 'DateTime', required: true, description: 'The start of a slot.' }),
    expectedStartsAt: t.field({
      type: 'DateTime',
      description: 'Refuses the change if the appointment has been moved since.',
    }),
    idempotencyKey: t.string({ description: KEY }),
  }),
});

const CancelAppointmentInput = builder.inputType('CancelAppointmentInput', {
  fields: (t) => ({ id: t.id({ required: true }), idempotencyKey: t.string({ description: KEY }) }),
});

const ERRORS = [
  ValidationError,
  IdempotencyConflictError,
  OperationPendingError,
  RateLimitedError,
  UnavailableError,
];

builder.mutationField('createAppointment', (t) =>
  t.field({
    type: AppointmentSuccess,
    complexity: SAVE_COST,
    description: 'Books an appointment by the booking rules. No slot is booked more often than its capacity.',
    args: { input: t.arg({ type: CreateAppointmentInput, required: true }) },
    errors: { types: [...ERRORS, SlotUnavailableError], union: { name: 'CreateAppointmentResult' } },
    resolve: async (_root, { input }, context) => {
      tenantOf(context).reads.forget();
      return { appointment: await context.appointments.create(tenantOf(context), input) };
    },
  }),
);

builder.mutationField('rescheduleAppointment', (t) =>
  t.field({
    type: AppointmentSuccess,
    complexity: SAVE_COST,
    description: 'Moves an appointment to another slot. It keeps its old time if the new one cannot be had.',
    args: { input: t.arg({ type: RescheduleAppointmentInput, required: true }) },
    errors: { types: [...ERRORS, SlotUnavailableError], union: { name: 'RescheduleAppointmentResult' } },
    resolve: async (_root, { input }, context) => {
      tenantOf(context).reads.forget();
      return { appointment: await context.appointments.reschedule(tenantOf(context), input) };
    },
  }),
);

builder.mutationField('cancelAppointment', (t) =>
  t.field({
    type: AppointmentSuccess,
    complexity: SAVE_COST,
    description: 'Cancels an appointment. Its time is free again. One that is cancelled already stays so.',
    args: { input: t.arg({ type: CancelAppointmentInput, required: true }) },
    errors: { types: ERRORS, union: { name: 'CancelAppointmentResult' } },
    resolve: async (_root, { input }, context) => {
      tenantOf(context).reads.forget();
      return { appointment: await context.appointments.cancel(tenantOf(context), input) };
    },
  }),
);

import type { AppContext } from '../../context.ts';
import { APPOINTMENT_STATUSES, type AppointmentRecord } from '../../domain/appointments/appointment.ts';
import type { ConnectionArgs } from '../../services/reads/connection.ts';
import { listAppointments } from '../../services/reads/lists.ts';
import { builder, orBadInput, tenantOf } from '../builder.ts';
import { CallRef } from '../calls/call.ts';
import { READ_COST } from '../cost.ts';
import { OrganizationRef } from '../organizations/organization.ts';

const AppointmentStatusRef = builder.enumType('AppointmentStatus', { values: APPOINTMENT_STATUSES });

export const AppointmentRef = builder.objectRef<AppointmentRecord>('Appointment').implement({
  fields: (t) => ({
    id: t.exposeID('id'),
    status: t.expose('status', { type: AppointmentStatusRef }),
    startsAt: t.expose('startsAt', { type: 'DateTime' }),
    endsAt: t.expose('endsAt', { type: 'DateTime' }),
    customerName: t.exposeString('customerName'),
    customerNumber: t.exposeString('customerNumber', { nullable: true }),
    notes: t.exposeString('notes', { nullable: true }),
    call: t.field({
      type: CallRef,
      nullable: true,
      description: 'The call in which it was booked; null: by other means.',
      resolve: ({ callId }, _args, context) =>
        callId === null ? null : tenantOf(context).loaders.call(callId),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime' }),
  }),
});

const AppointmentFilterInput = builder.inputType('AppointmentFilter', {
  fields: (t) => ({
    callId: t.id(),
    statuses: t.field({ type: [AppointmentStatusRef], description: 'Any of these.' }),
    startsFrom: t.field({ type: 'DateTime', description: 'Then or later.' }),
    startsBefore: t.field({ type: 'DateTime', description: 'Earlier than that.' }),
  }),
});

const AppointmentOrderRef = builder.enumType('AppointmentOrder', {
  values: ['EARLIEST_FIRST', 'LATEST_FIRST'] as const,
});

const AppointmentConnection = builder.connectionObject({
  type: AppointmentRef,
  name: 'AppointmentConnection',
});

const appointments = {
  type: AppointmentRef,
  args: builder.args((t) => ({
    filter: t.field({ type: AppointmentFilterInput }),
    order: t.field({ type: AppointmentOrderRef, required: true, defaultValue: 'EARLIEST_FIRST' }),
  })),
  resolve: (
    _parent: unknown,
    args: ConnectionArgs & {
      filter?: typeof AppointmentFilterInput.$inferInput | null | undefined;
      order: typeof AppointmentOrderRef.$inferType;
    },
    context: AppContext,
  ) => orBadInput(listAppointments(tenantOf(context).reads, args, args.filter ?? {}, args.order)),
};
builder.queryField('appointments', (t) => t.connection(appointments, AppointmentConnection));
builder.objectField(OrganizationRef, 'appointments', (t) =>
  t.connection(appointments, AppointmentConnection),
);

builder.queryField('appointment', (t) =>
  t.field({
    type: AppointmentRef,
    nullable: true,
    complexity: READ_COST,
    args: { id: t.arg.id({ required: true }) },
    resolve: (_root, { id }, context) => tenantOf(context).loaders.appointment(id),
  }),
);

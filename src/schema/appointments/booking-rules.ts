import type { BookingRules, OpeningHours } from '../../domain/appointments/booking-rules.ts';
import { MAX_AVAILABILITY_DAYS } from '../../services/appointments/change.ts';
import { type SlotTimes, UnavailableError, ValidationError } from '../../services/errors.ts';
import { builder, orBadInput, tenantOf } from '../builder.ts';
import { READ_COST, SAVE_COST } from '../cost.ts';

const OpeningHoursRef = builder.objectRef<OpeningHours>('OpeningHours').implement({
  description: "Times of day in the organization's time zone, as HH:MM.",
  fields: (t) => ({
    weekday: t.exposeInt('weekday', { description: '1 (Monday) to 7.' }),
    opens: t.exposeString('opens'),
    closes: t.exposeString('closes', { description: 'At most 24:00.' }),
  }),
});

const BookingRulesRef = builder.objectRef<BookingRules>('BookingRules').implement({
  description:
    'When the organization takes appointments. Slots begin every `slotMinutes` from each opening, as long as they end before it closes.',
  fields: (t) => ({
    timeZone: t.exposeString('timeZone', { description: 'An IANA name, for example `Europe/Berlin`.' }),
    slotMinutes: t.exposeInt('slotMinutes', { description: 'How long an appointment lasts.' }),
    capacity: t.exposeInt('capacity', { description: 'Appointments at the same time.' }),
    leadMinutes: t.exposeInt('leadMinutes', {
      description: 'An appointment can be booked until so long before its start.',
    }),
    bufferMinutes: t.exposeInt('bufferMinutes', { description: 'Stays free after each appointment.' }),
    hours: t.expose('hours', { type: [OpeningHoursRef] }),
  }),
});

builder.queryField('bookingRules', (t) =>
  t.field({
    type: BookingRulesRef,
    complexity: READ_COST,
    resolve: (_root, _args, context) => {
      const { orgId, inTurn } = tenantOf(context);
      return inTurn(() => context.appointments.rules(orgId));
    },
  }),
);

export const SlotRef = builder.objectRef<SlotTimes>('Slot').implement({
  fields: (t) => ({
    startsAt: t.expose('startsAt', { type: 'DateTime' }),
    endsAt: t.expose('endsAt', { type: 'DateTime' }),
  }),
});

/** As many slots as an ordinary organization has in a month. */
const AVAILABILITY_COST = { field: 10 * READ_COST, multiplier: 500 };

builder.queryField('availability', (t) =>
  t.field({
    type: [SlotRef],
    complexity: AVAILABILITY_COST,
    description:
      'The slots that can be booked now and begin from `from` on and before `to`. A slot that is listed may be taken by somebody else ' +
      'before it is booked.',
    args: {
      from: t.arg({ type: 'DateTime', required: true }),
      to: t.arg({
        type: 'DateTime',
        required: true,
        description: `At most ${MAX_AVAILABILITY_DAYS} days after \`from\`.`,
      }),
    },
    resolve: (_root, { from, to }, context) => {
      const { orgId, inTurn } = tenantOf(context);
      return orBadInput(inTurn(() => context.appointments.availability(orgId, from, to)));
    },
  }),
);

const OpeningHoursInput = builder.inputType('OpeningHoursInput', {
  fields: (t) => ({
    weekday: t.int({ required: true, description: '1 (Monday) to 7.' }),
    opens: t.string({ required: true, description: 'HH:MM.' }),
    closes: t.string({ required: true, description: 'HH:MM, later than `opens`, at most 24:00.' }),
  }),
});

const UpdateBookingRulesInput = builder.inputType('UpdateBookingRulesInput', {
  description: 'A field that is left out stays as it is.',
  fields: (t) => ({
    timeZone: t.string({ description: 'An IANA name, for example `Europe/Berlin`.' }),
    slotMinutes: t.int({ description: '5 to 1440.' }),
    capacity: t.int({ description: '1 to 100.' }),
    leadMinutes: t.int({ description: '0 to 43200.' }),
    bufferMinutes: t.int({ description: '0 to 1440.' }),
    hours: t.field({ type: [OpeningHoursInput], description: 'Replaces all hours.' }),
  }),
});

const BookingRulesSuccess = builder
  .objectRef<{ bookingRules: BookingRules }>('BookingRulesSuccess')
  .implement({ fields: (t) => ({ bookingRules: t.expose('bookingRules', { type: BookingRulesRef }) }) });

builder.mutationField('updateBookingRules', (t) =>
  t.field({
    type: BookingRulesSuccess,
    complexity: SAVE_COST,
    description:
      'Changes when the organization takes appointments. Appointments that exist stay as they are, also outside the new hours.',
    args: { input: t.arg({ type: UpdateBookingRulesInput, required: true }) },
    errors: {
      types: [ValidationError, UnavailableError],
      union: { name: 'UpdateBookingRulesResult' },
    },
    resolve: async (_root, { input }, context) => {
      const bookingRules = await context.appointments.updateRules(tenantOf(context), input);
      return { bookingRules };
    },
  }),
);

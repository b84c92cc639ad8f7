import { CALL_USAGE_GROUPINGS, type CallUsage } from '../../domain/calls/call.ts';
import type { CallLedger } from '../../ports/calls/call-store.ts';
import { BadPageError } from '../../services/reads/connection.ts';
import { builder, orBadInput, tenantOf } from '../builder.ts';
import { READ_COST } from '../cost.ts';

const DAY_MS = 24 * 60 * 60 * 1_000;
const MOST_DAYS = 400;

const CallLedgerRef = builder.objectRef<CallLedger>('CallLedger').implement({
  description: 'How complete the log of calls is.',
  fields: (t) => ({
    completeThrough: t.expose('completeThrough', {
      type: 'DateTime',
      nullable: true,
      description: 'Every call that Vapi had listed until then is stored. Null: that is not known yet.',
    }),
    expected: t.exposeInt('expected', { description: 'Calls that name an assistant or a number of yours.' }),
    stored: t.exposeInt('stored', { description: 'How many of them are in your log.' }),
  }),
});

builder.queryField('callLedger', (t) =>
  t.field({
    type: CallLedgerRef,
    complexity: READ_COST,
    description:
      'By the creation of calls. Without times: the 24 hours before completeThrough. From is inclusive, to is not.',
    args: { from: t.arg({ type: 'DateTime' }), to: t.arg({ type: 'DateTime' }) },
    resolve: (_root, { from, to }, context) => {
      const { orgId, inTurn } = tenantOf(context);
      return inTurn(() => context.callLedger(orgId, from?.toISOString() ?? null, to?.toISOString() ?? null));
    },
  }),
);

const CallUsageGroupingRef = builder.enumType('CallUsageGrouping', { values: CALL_USAGE_GROUPINGS });

const CallUsageRef = builder.objectRef<CallUsage>('CallUsage').implement({
  fields: (t) => ({
    key: t.exposeString('key', {
      description: 'The day, or the id of the agent or the number; "-" for calls that have none.',
    }),
    calls: t.exposeInt('calls'),
    seconds: t.exposeInt('seconds', { description: 'From the start to the end.' }),
    costUsd: t.exposeFloat('costUsd'),
  }),
});

builder.queryField('callUsage', (t) =>
  t.field({
    type: [CallUsageRef],
    complexity: READ_COST,
    description: `What your calls cost. From is inclusive, to is not; at most ${MOST_DAYS} days. By key. Days are those of the time zone of your booking rules.`,
    args: {
      from: t.arg({ type: 'DateTime', required: true }),
      to: t.arg({ type: 'DateTime', required: true }),
      by: t.arg({ type: CallUsageGroupingRef, required: true }),
    },
    resolve: (_root, { from, to, by }, context) =>
      orBadInput(
        (async () => {
          if (to.getTime() - from.getTime() > MOST_DAYS * DAY_MS) {
            throw new BadPageError(`from and to may be at most ${MOST_DAYS} days apart`);
          }
          const { orgId, reads, inTurn } = tenantOf(context);
          const { timeZone } = await inTurn(() => context.appointments.rules(orgId));
          return reads.callUsage(from.toISOString(), to.toISOString(), by, timeZone);
        })(),
      ),
  }),
);

import type { AppContext } from '../../context.ts';
import { CALL_DIRECTIONS, CALL_OUTCOMES, type CallRecord } from '../../domain/calls/call.ts';
import type { ConnectionArgs } from '../../services/reads/connection.ts';
import { listCalls } from '../../services/reads/lists.ts';
import { AgentRef } from '../agents/agent.ts';
import { builder, orBadInput, tenantOf } from '../builder.ts';
import { READ_COST } from '../cost.ts';
import { OrganizationRef } from '../organizations/organization.ts';
import { PhoneNumberRef } from '../phone-numbers/phone-number.ts';

const CallDirectionRef = builder.enumType('CallDirection', { values: CALL_DIRECTIONS });
const CallOutcomeRef = builder.enumType('CallOutcome', { values: CALL_OUTCOMES });

export const CallRef = builder.objectRef<CallRecord>('Call').implement({
  fields: (t) => ({
    id: t.exposeID('id'),
    direction: t.expose('direction', { type: CallDirectionRef }),
    agent: t.field({
      type: AgentRef,
      nullable: true,
      description: 'Null: the call is from before the agent was saved here.',
      resolve: ({ agentId }, _args, context) =>
        agentId === null ? null : tenantOf(context).loaders.agent(agentId),
    }),
    phoneNumber: t.field({
      type: PhoneNumberRef,
      nullable: true,
      description: "The organization's own number.",
      resolve: ({ phoneNumberId }, _args, context) =>
        phoneNumberId === null ? null : tenantOf(context).loaders.phoneNumber(phoneNumberId),
    }),
    customerNumber: t.exposeString('customerNumber', { nullable: true }),
    customerName: t.exposeString('customerName', { nullable: true }),
    startedAt: t.expose('startedAt', { type: 'DateTime' }),
    endedAt: t.expose('endedAt', { type: 'DateTime', nullable: true, description: 'Null: it is not over.' }),
    durationSeconds: t.int({
      nullable: true,
      resolve: ({ startedAt, endedAt }) =>
        endedAt === null ? null : Math.round((Date.parse(endedAt) - Date.parse(startedAt)) / 1_000),
    }),
    outcome: t.expose('outcome', {
      type: CallOutcomeRef,
      nullable: true,
      description: 'Null: it is not over.',
    }),
    endedReason: t.exposeString('endedReason', {
      nullable: true,
      description: "Vapi's own word for it, of an open set.",
    }),
    summary: t.exposeString('summary', { nullable: true }),
    costUsd: t.exposeFloat('costUsd', { nullable: true }),
  }),
});

const CallFilterInput = builder.inputType('CallFilter', {
  fields: (t) => ({
    agentId: t.id(),
    phoneNumberId: t.id(),
    direction: t.field({ type: CallDirectionRef }),
    outcomes: t.field({ type: [CallOutcomeRef], description: 'Any of these.' }),
    startedFrom: t.field({ type: 'DateTime', description: 'Then or later.' }),
    startedBefore: t.field({ type: 'DateTime', description: 'Earlier than that.' }),
  }),
});

const CallOrderRef = builder.enumType('CallOrder', { values: ['NEWEST_FIRST', 'OLDEST_FIRST'] as const });

const CallConnection = builder.connectionObject({ type: CallRef, name: 'CallConnection' });

const calls = {
  type: CallRef,
  args: builder.args((t) => ({
    filter: t.field({ type: CallFilterInput }),
    order: t.field({ type: CallOrderRef, required: true, defaultValue: 'NEWEST_FIRST' }),
  })),
  resolve: (
    _parent: unknown,
    args: ConnectionArgs & {
      filter?: typeof CallFilterInput.$inferInput | null | undefined;
      order: typeof CallOrderRef.$inferType;
    },
    context: AppContext,
  ) => orBadInput(listCalls(tenantOf(context).reads, args, args.filter ?? {}, args.order)),
};
builder.queryField('calls', (t) => t.connection(calls, CallConnection));
builder.objectField(OrganizationRef, 'calls', (t) => t.connection(calls, CallConnection));

builder.queryField('call', (t) =>
  t.field({
    type: CallRef,
    nullable: true,
    complexity: READ_COST,
    args: { id: t.arg.id({ required: true }) },
    resolve: (_root, { id }, context) => tenantOf(context).loaders.call(id),
  }),
);

import type { AppContext } from '../../context.ts';
import {
  CALL_CHANNELS,
  CALL_DIRECTIONS,
  CALL_OUTCOMES,
  CALL_STATUSES,
  type CallContent,
  type CallRecord,
} from '../../domain/calls/call.ts';
import type { ConnectionArgs } from '../../services/reads/connection.ts';
import { listCalls } from '../../services/reads/lists.ts';
import { AgentRef } from '../agents/agent.ts';
import { AgentSaveRef } from '../agents/save.ts';
import { builder, orBadInput, tenantOf } from '../builder.ts';
import { CONTENT_COST, READ_COST } from '../cost.ts';
import { OrganizationRef } from '../organizations/organization.ts';
import { PhoneNumberRef } from '../phone-numbers/phone-number.ts';

const CallDirectionRef = builder.enumType('CallDirection', { values: CALL_DIRECTIONS });
const CallOutcomeRef = builder.enumType('CallOutcome', { values: CALL_OUTCOMES });
const CallChannelRef = builder.enumType('CallChannel', { values: CALL_CHANNELS });
const CallStatusRef = builder.enumType('CallStatus', { values: CALL_STATUSES });

const CallCostPartRef = builder.objectRef<{ name: string; usd: number }>('CallCostPart').implement({
  fields: (t) => ({ name: t.exposeString('name'), usd: t.exposeFloat('usd') }),
});

const CallMessageRef = builder
  .objectRef<NonNullable<CallContent['transcript']>[number]>('CallMessage')
  .implement({
    fields: (t) => ({
      role: t.exposeString('role', { description: 'assistant or customer.' }),
      text: t.exposeString('text'),
      secondsFromStart: t.exposeFloat('secondsFromStart', { nullable: true }),
    }),
  });

const CallAnalysisRef = builder.objectRef<NonNullable<CallContent['analysis']>>('CallAnalysis').implement({
  fields: (t) => ({
    successEvaluation: t.exposeString('successEvaluation', { nullable: true }),
    structuredData: t.field({
      type: 'JSON',
      nullable: true,
      resolve: ({ structuredData }) => structuredData ?? null,
    }),
  }),
});

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
    vapiCallId: t.exposeString('vapiCallId', {
      nullable: true,
      description: 'Null: Vapi has not shown it yet.',
    }),
    channel: t.expose('channel', { type: CallChannelRef }),
    status: t.field({
      type: CallStatusRef,
      resolve: ({ outcome, progress }) => (outcome === null ? progress : 'ENDED'),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime' }),
    startedAt: t.expose('startedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'Null: it never connected, or has not yet.',
    }),
    endedAt: t.expose('endedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'Null: it is not over, or Vapi has not said when it ended.',
    }),
    durationSeconds: t.int({
      nullable: true,
      resolve: ({ startedAt, endedAt }) =>
        startedAt === null || endedAt === null
          ? null
          : Math.max(0, Math.round((Date.parse(endedAt) - Date.parse(startedAt)) / 1_000)),
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
    costUsd: t.exposeFloat('costUsd', { nullable: true, description: 'Null: not known yet.' }),
    costParts: t.field({
      type: [CallCostPartRef],
      description: 'What Vapi says of the cost, in parts of an open set. They need not add up to it.',
      resolve: ({ costParts }) => Object.entries(costParts).map(([name, usd]) => ({ name, usd })),
    }),
    transcript: t.field({
      type: [CallMessageRef],
      nullable: true,
      description: 'Null: there is none, it is not kept, or it was deleted.',
      complexity: CONTENT_COST,
      resolve: async ({ id }, _args, context) =>
        (await tenantOf(context).loaders.callContent(id))?.transcript ?? null,
    }),
    analysis: t.field({
      type: CallAnalysisRef,
      nullable: true,
      complexity: CONTENT_COST,
      resolve: async ({ id }, _args, context) =>
        (await tenantOf(context).loaders.callContent(id))?.analysis ?? null,
    }),
    contentRemovedAt: t.expose('contentRemovedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When what was said was deleted.',
    }),
    agentSave: t.field({
      type: AgentSaveRef,
      nullable: true,
      description:
        'The save that rendered the assistant that spoke. Its status says whether it was committed; the call may have come while it was undecided. Null: the call does not tell.',
      complexity: CONTENT_COST,
      resolve: ({ agentSaveId }, _args, context) =>
        agentSaveId === null ? null : tenantOf(context).loaders.save(agentSaveId),
    }),
    agentRevision: t.int({
      nullable: true,
      description: "The revision of the agent's configuration that spoke. Null: it cannot be told.",
      complexity: CONTENT_COST,
      resolve: async ({ agentSaveId, stampedRevision }, _args, context) => {
        if (agentSaveId === null) return null;
        const save = await tenantOf(context).loaders.save(agentSaveId);
        return save?.status === 'COMMITTED' ? stampedRevision : null;
      },
    }),
  }),
});

const CallFilterInput = builder.inputType('CallFilter', {
  fields: (t) => ({
    agentId: t.id(),
    phoneNumberId: t.id(),
    direction: t.field({ type: CallDirectionRef }),
    outcomes: t.field({ type: [CallOutcomeRef], description: 'Any of these.' }),
    startedFrom: t.field({
      type: 'DateTime',
      description: 'Then or later. A call that never connected counts from its creation.',
    }),
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

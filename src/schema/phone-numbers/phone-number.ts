import type { AppContext } from '../../context.ts';
import type { PhoneNumberRecord } from '../../domain/phone-numbers/phone-number.ts';
import type { PhoneNumberFilter } from '../../ports/tenant-reads.ts';
import type { ConnectionArgs } from '../../services/reads/connection.ts';
import { listPhoneNumbers } from '../../services/reads/lists.ts';
import { AgentRef } from '../agents/agent.ts';
import { builder, orBadInput, tenantOf } from '../builder.ts';
import { READ_COST } from '../cost.ts';
import { OrganizationRef } from '../organizations/organization.ts';

export const PhoneNumberRef = builder.objectRef<PhoneNumberRecord>('PhoneNumber').implement({
  fields: (t) => ({
    id: t.exposeID('id'),
    number: t.exposeString('number', { description: 'E.164, for example `+12065550101`.' }),
    label: t.exposeString('label', { nullable: true }),
    provider: t.exposeString('provider', { description: 'As Vapi names it, for example `vapi`, `twilio`.' }),
    agent: t.field({
      type: AgentRef,
      nullable: true,
      description: 'Who answers calls to it, or dials from it; null: nobody.',
      resolve: ({ agentId }, _args, context) =>
        agentId === null ? null : tenantOf(context).loaders.agent(agentId),
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime' }),
  }),
});

const PhoneNumberFilterInput = builder.inputType('PhoneNumberFilter', {
  fields: (t) => ({
    agentId: t.id(),
    attached: t.boolean({ description: 'True: belongs to an agent. False: to none.' }),
  }),
});

const PhoneNumberConnection = builder.connectionObject({
  type: PhoneNumberRef,
  name: 'PhoneNumberConnection',
});

const phoneNumbers = {
  type: PhoneNumberRef,
  description: 'By number.',
  args: builder.args((t) => ({ filter: t.field({ type: PhoneNumberFilterInput }) })),
  resolve: (
    _parent: unknown,
    args: ConnectionArgs & { filter?: PhoneNumberFilter | null | undefined },
    context: AppContext,
  ) => orBadInput(listPhoneNumbers(tenantOf(context).reads, args, args.filter ?? {})),
};
builder.queryField('phoneNumbers', (t) => t.connection(phoneNumbers, PhoneNumberConnection));
builder.objectField(OrganizationRef, 'phoneNumbers', (t) =>
  t.connection(phoneNumbers, PhoneNumberConnection),
);

builder.queryField('phoneNumber', (t) =>
  t.field({
    type: PhoneNumberRef,
    nullable: true,
    complexity: READ_COST,
    args: { id: t.arg.id({ required: true }) },
    resolve: (_root, { id }, context) => tenantOf(context).loaders.phoneNumber(id),
  }),
);

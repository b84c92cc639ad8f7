import type { AppContext } from '../../context.ts';
import type { PhoneNumberRecord, PhoneNumberState } from '../../domain/phone-numbers/phone-number.ts';
import type { PhoneNumberFilter } from '../../ports/tenant-reads.ts';
import type { ConnectionArgs } from '../../services/reads/connection.ts';
import { listPhoneNumbers } from '../../services/reads/lists.ts';
import { AgentRef } from '../agents/agent.ts';
import { builder, orBadInput, tenantOf } from '../builder.ts';
import { READ_COST } from '../cost.ts';
import { OrganizationRef } from '../organizations/organization.ts';

const PhoneNumberStateRef = builder.enumType('PhoneNumberState', {
  values: {
    PROVISIONING: { description: 'Asked for; Vapi has not answered yet.' },
    ACTIVATING: { description: 'Vapi has it, and it cannot be called yet.' },
    ACTIVE: {},
    BLOCKED: { description: 'Vapi has blocked it.' },
    RELEASING: { description: 'Is being deleted in Vapi.' },
    RELEASED: { description: 'Given back. The row stays, for the call log.' },
    MISSING: { description: 'Somebody deleted it in Vapi. Release it, too.' },
    FAILED: { description: 'Was not bought or imported; `failure` says why.' },
    UNKNOWN: {
      description:
        'Whether Vapi made it cannot be found out; an operator must settle it, or it shows up by itself.',
    },
  } satisfies Record<PhoneNumberState, object>,
});

export const PhoneNumberRef = builder.objectRef<PhoneNumberRecord>('PhoneNumber').implement({
  fields: (t) => ({
    id: t.exposeID('id'),
    number: t.exposeString('number', {
      nullable: true,
      description: 'E.164, for example `+12065550101`. Null until Vapi has said it.',
    }),
    state: t.expose('state', { type: PhoneNumberStateRef }),
    failure: t.exposeString('failure', {
      nullable: true,
      description: 'Why it is not what it should be, in words.',
    }),
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
    states: t.field({ type: [PhoneNumberStateRef], description: 'Any of these.' }),
  }),
});

const PhoneNumberConnection = builder.connectionObject({
  type: PhoneNumberRef,
  name: 'PhoneNumberConnection',
});

const phoneNumbers = {
  type: PhoneNumberRef,
  description: 'By number; those whose number is not known yet come first.',
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

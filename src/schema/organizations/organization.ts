import type { OrganizationRecord } from '../../ports/tenant-reads.ts';
import { builder, forbidden, tenantOf } from '../builder.ts';
import { READ_COST } from '../cost.ts';

export const DriftPolicyRef = builder.enumType('DriftPolicy', {
  description: 'What Lockstep does with an edit that somebody makes in the Vapi dashboard.',
  values: {
    REVERT: { description: 'Put back what the database says. The default.' },
    ADOPT: {
      description: "Make the edit the agent's configuration, if it has a field for it; otherwise show it.",
    },
    REPORT: { description: 'Show the edit in `Agent.sync` and change nothing.' },
  },
});

export const OrganizationRef = builder.objectRef<OrganizationRecord>('Organization').implement({
  fields: (t) => ({
    id: t.exposeID('id'),
    name: t.exposeString('name'),
    driftPolicy: t.expose('driftPolicy', { type: DriftPolicyRef }),
  }),
});

builder.queryField('organization', (t) =>
  t.field({
    type: OrganizationRef,
    complexity: READ_COST,
    resolve: async (_root, _args, context) => {
      const organization = await tenantOf(context).reads.organization();
      if (organization === null) throw forbidden('Your organization does not exist here.');
      return organization;
    },
  }),
);

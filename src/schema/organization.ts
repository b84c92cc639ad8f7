import type { OrganizationRecord } from '../ports/tenant-reads.ts';
import { builder, forbidden, tenantOf } from './builder.ts';
import { READ_COST } from './cost.ts';

export const OrganizationRef = builder.objectRef<OrganizationRecord>('Organization').implement({
  fields: (t) => ({
    id: t.exposeID('id'),
    name: t.exposeString('name'),
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

import { DatabaseError } from '../../ports/agents/save-journal.ts';
import type { DriftPolicy } from '../../ports/agents/sweep-store.ts';
import { UnavailableError } from '../../services/errors.ts';
import { builder, forbidden, tenantOf } from '../builder.ts';
import { SAVE_COST } from '../cost.ts';
import { DriftPolicyRef } from '../organizations/organization.ts';

const RETRY_MS = 2_000;

const SetDriftPolicySuccess = builder
  .objectRef<{ policy: DriftPolicy }>('SetDriftPolicySuccess')
  .implement({ fields: (t) => ({ policy: t.expose('policy', { type: DriftPolicyRef }) }) });

builder.mutationField('setDriftPolicy', (t) =>
  t.field({
    type: SetDriftPolicySuccess,
    complexity: SAVE_COST,
    description: 'Decides what happens to edits made in the Vapi dashboard, from the next sweep on.',
    args: { policy: t.arg({ type: DriftPolicyRef, required: true }) },
    errors: { types: [UnavailableError], union: { name: 'SetDriftPolicyResult' } },
    resolve: async (_root, { policy }, context) => {
      const { orgId } = tenantOf(context);
      try {
        const found = await context.reconciliation.setDriftPolicy(orgId, policy);
        if (!found) throw forbidden('Your organization does not exist here.');
        return { policy };
      } catch (error) {
        throw error instanceof DatabaseError ? new UnavailableError(RETRY_MS) : error;
      }
    },
  }),
);

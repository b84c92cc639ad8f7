import { answerOf } from '../../services/agents/answer.ts';
import { type SettleDriftPorts, settleDrift } from '../../services/agents/drift/settle-drift.ts';
import { executeTransactionalAgentUpdate } from '../../services/agents/execute.ts';
import { parseIdempotencyKey } from '../../services/valid-input.ts';
import { builder, tenantOf } from '../builder.ts';
import { SAVE_COST } from '../cost.ts';
import { SAVE_ERRORS } from '../errors.ts';
import { AgentRoleRef } from './agent.ts';
import { UpdateAgentsSuccess } from './update-agents.ts';

const DriftResolutionRef = builder.enumType('DriftResolution', {
  values: {
    REVERT: { description: 'Put back into Vapi what the database says.' },
    ADOPT: { description: "Make the dashboard's edit the agent's configuration." },
  },
});

const SettleDriftInput = builder.inputType('SettleDriftInput', {
  fields: (t) => ({
    role: t.field({ type: AgentRoleRef, required: true }),
    resolution: t.field({ type: DriftResolutionRef, required: true }),
    expectedRevision: t.int({ description: 'Refuse unless the agent is at this revision.' }),
    idempotencyKey: t.string({
      description:
        'As in `UpdateAgentsInput`: the same key and the same input give the same save and the same answer.',
    }),
  }),
});

builder.mutationField('settleDrift', (t) =>
  t.field({
    type: UpdateAgentsSuccess,
    complexity: SAVE_COST,
    description:
      'Looks at the assistant in Vapi now, and reverts or adopts what somebody changed there. An ordinary save: it makes a revision, and may fail as `updateAgents` may.',
    args: { input: t.arg({ type: SettleDriftInput, required: true }) },
    errors: { types: SAVE_ERRORS, union: { name: 'SettleDriftResult' } },
    resolve: async (_root, { input }, context) => {
      const { orgId, userId, reads } = tenantOf(context);
      reads.forget();
      const wish = { ...input, idempotencyKey: parseIdempotencyKey(input.idempotencyKey) };
      const ports: SettleDriftPorts = {
        look: context.reconciliation.look,
        save: (update, options) =>
          executeTransactionalAgentUpdate(context.serviceClient, [update], context.vapiApiKey, {
            ...options,
            actor: userId,
            ports: context.executorPorts,
          }),
      };
      return answerOf(await settleDrift(ports, orgId, await reads.agents(), wish));
    },
  }),
);

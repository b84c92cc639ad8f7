import { SAVE_FAILURE_REASONS, type SaveRecord, type TransactionResult } from '../../domain/agents/save.ts';
import { isUuid } from '../../domain/uuid.ts';
import { builder, tenantOf } from '../builder.ts';
import { READ_COST } from '../cost.ts';
import { OperationRef } from '../operations/operation.ts';
import { AgentRoleRef } from './agent.ts';

export const SaveFailureReasonRef = builder.enumType('SaveFailureReason', { values: SAVE_FAILURE_REASONS });

const TransactionResultRef = builder.objectRef<TransactionResult>('TransactionResult').implement({
  fields: (t) => ({
    role: t.expose('role', { type: AgentRoleRef }),
    agentId: t.exposeID('agentId'),
    success: t.exposeBoolean('success'),
    vapiSynced: t.exposeBoolean('vapiSynced', {
      nullable: true,
      description: "Is this save's content in Vapi now? null = not known yet.",
    }),
    dbUpdated: t.exposeBoolean('dbUpdated', {
      nullable: true,
      description: "Is this save's content in the database now? null = not known yet.",
    }),
    assistantId: t.exposeString('assistantId', { nullable: true }),
    error: t.exposeString('error', { nullable: true }),
  }),
});

export const AgentSaveRef = builder.objectRef<SaveRecord>('AgentSave').implement({
  interfaces: [OperationRef],
  fields: (t) => ({
    results: t.expose('results', { type: [TransactionResultRef] }),
  }),
});

builder.queryField('agentSave', (t) =>
  t.field({
    type: AgentSaveRef,
    nullable: true,
    description:
      'How a save ended, or how far it is. Null: there is no such save; one that was told as pending has not begun, and as long as this is null nothing has changed.',
    complexity: READ_COST,
    args: { id: t.arg.id({ required: true }) },
    // What is no UUID is the id of no save: the same answer as for a save that does not exist.
    resolve: (_root, { id }, context) => {
      const { reads } = tenantOf(context);
      return isUuid(id) ? reads.save(id) : null;
    },
  }),
);

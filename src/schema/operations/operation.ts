import type { SaveRecord } from '../../domain/agents/save.ts';
import type { OperationRecord } from '../../domain/saga.ts';
import { isUuid } from '../../domain/uuid.ts';
import { builder, tenantOf } from '../builder.ts';
import { READ_COST } from '../cost.ts';

export const SaveStatusRef = builder.enumType('SaveStatus', {
  values: ['APPLYING', 'COMMITTED', 'ROLLING_BACK', 'ROLLED_BACK', 'NEEDS_ATTENTION'] as const,
});

export const OperationRef = builder.interfaceRef<OperationRecord | SaveRecord>('Operation').implement({
  description: 'What one mutation wants to be true in both systems.',
  fields: (t) => ({
    id: t.exposeID('id'),
    status: t.expose('status', { type: SaveStatusRef }),
    startedAt: t.expose('startedAt', { type: 'DateTime' }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', nullable: true }),
  }),
  resolveType: (operation) =>
    'results' in operation && 'role' in (operation.results[0] ?? {}) ? 'AgentSave' : 'ResourceOperation',
});

builder.objectRef<OperationRecord>('ResourceOperation').implement({
  description: 'An operation on a phone number, on a document or on an appointment.',
  interfaces: [OperationRef],
});

builder.queryField('operation', (t) =>
  t.field({
    type: OperationRef,
    nullable: true,
    description:
      'How an operation ended, or how far it is. Null: there is no such operation; one that was reported as pending has not begun.',
    complexity: 2 * READ_COST,
    args: { id: t.arg.id({ required: true }) },
    resolve: async (_root, { id }, context) => {
      const { reads } = tenantOf(context);
      const found = isUuid(id) ? await reads.operation(id) : null;
      return found?.isSave === true ? reads.save(id) : (found?.operation ?? null);
    },
  }),
);

import { z } from 'zod';
import { AGENT_ROLES, type AgentConfigPatch, upcast } from '../../domain/agents/agent-config.ts';
import type { FieldDrift } from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import { SAGA_FAILURE_REASONS } from '../../domain/saga.ts';
import { DRIFT_POLICIES } from '../../ports/agents/sweep-store.ts';

/**
 * What the functions of the database answer. Parsed and not cast: another version of the schema, or something between us and the
 * database, may answer anything. What a part contains is only known to be an object: each kind of saga has its own content, it was
 * validated when it was written, and a field that a newer build has added must not stop recovery.
 */

export const object = <T extends object>() =>
  z.custom<T>((value) => typeof value === 'object' && value !== null && !Array.isArray(value));
const role = z.enum(AGENT_ROLES);
const status = z.enum(['APPLYING', 'COMMITTED', 'ROLLING_BACK', 'ROLLED_BACK', 'NEEDS_ATTENTION']);
const waitMs = z.number().nullable();

const result = z.object({
  key: z.string(),
  resourceId: z.string(),
  success: z.boolean(),
  vapiSynced: z.boolean().nullable(),
  dbUpdated: z.boolean().nullable(),
  remoteId: z.string().nullable(),
  error: z.string().nullable(),
  revision: z.number().nullable(),
});
const saga = z.object({
  id: z.string(),
  status,
  epoch: z.number(),
  kind: z.string(),
  cause: z.string(),
  ambiguous: z.boolean(),
  mappingVersion: z.number(),
  results: z.array(result),
  failure: z
    .object({ reason: z.enum(SAGA_FAILURE_REASONS), message: z.string(), retryable: z.boolean() })
    .nullable(),
  startedAt: z.string(),
  finishedAt: z.string().nullable(),
});
const image = z.object({
  key: z.string(),
  resource: z.string(),
  resourceId: z.string(),
  remoteId: z.string().nullable(),
  recreate: z.boolean(),
  before: z
    .object({
      content: object<JsonObject>(),
      revision: z.number(),
      sagaId: z.string(),
      mappingVersion: z.number(),
      context: object<JsonObject>(),
    })
    .nullable(),
  after: z.object({ content: object<JsonObject>(), revision: z.number(), context: object<JsonObject>() }),
});
const partRecord = z.object({
  action: z.enum(['create', 'replace', 'remove']),
  gone: z.boolean(),
  remoteId: z.string().nullable(),
  applied: z.boolean(),
  undone: z.enum(['done', 'missing']).nullable(),
  touched: z.boolean(),
  ambiguous: z.boolean(),
});
const open = { saga, images: z.array(image), deployment: z.string() };

/** An agent as a row of a committed save. */
export const agentRow = z
  .object({
    id: z.string(),
    role,
    config: object(),
    assistantId: z.string().nullable(),
    revision: z.number(),
    lastSyncedAt: z.string().nullable(),
    checkedAt: z.string().nullable(),
    drift: z.array(object<FieldDrift>()),
    missing: z.boolean(),
    adoptable: object<AgentConfigPatch>().nullable(),
  })
  .transform((agent) => ({ ...agent, config: upcast(agent.role, agent.config) }));
const agents = z.array(agentRow);

/** What the begin of any kind of saga can answer. `row`: what a saga of the kind commits. */
export function beginSagaAnswers<Row extends z.ZodType>(row: Row) {
  return [
    z.object({ outcome: z.literal('BEGUN'), ...open }),
    z.object({ outcome: z.enum(['REPLAY', 'REFUSED']), saga, rows: z.array(row) }),
    z.object({ outcome: z.enum(['NO_ORGANIZATION', 'TOO_LATE']) }),
    z.object({ outcome: z.literal('IDEMPOTENCY_CONFLICT'), sagaId: z.string() }),
    z.object({ outcome: z.literal('IN_PROGRESS'), sagaId: z.string(), status, retryAfterMs: waitMs }),
    z.object({ outcome: z.literal('RATE_LIMITED'), retryAfterMs: z.number() }),
  ] as const;
}

export const beginAgentsAnswer = z.discriminatedUnion('outcome', [
  ...beginSagaAnswers(agentRow),
  z.object({ outcome: z.literal('NO_AGENT'), role }),
  z.object({ outcome: z.literal('REVISION_CONFLICT'), agents }),
  z.object({
    outcome: z.literal('INCOMPLETE'),
    missing: z.array(z.object({ role, field: z.string() })),
  }),
]);

/** `row`: what a saga of the caller's kind commits. */
export function transitionAnswer<Row extends z.ZodType>(row: Row) {
  return z.discriminatedUnion('outcome', [
    z.object({ outcome: z.literal('NO_SAGA') }),
    z.object({
      outcome: z.enum([...status.options, 'HELD', 'STALE', 'TOO_EARLY']),
      saga,
      rows: z.array(row).optional(),
      notBeforeMs: z.number().optional(),
    }),
  ]);
}

export const takeoverAnswer = z.discriminatedUnion('outcome', [
  z.object({
    outcome: z.literal('TAKEN'),
    ...open,
    once: z.boolean(),
    quarantined: z.boolean(),
    pastDeadline: z.boolean(),
    handedOver: z.record(z.string(), partRecord).nullable(),
    pivotSent: z.boolean(),
  }),
  z.object({ outcome: z.enum(['BUSY', 'NOT_DUE']) }),
]);

export const inspectAnswer = z.discriminatedUnion('outcome', [
  z.object({ outcome: z.literal('FOUND'), ...open, notBeforeMs: z.number(), leaseMs: waitMs }),
  z.object({ outcome: z.literal('NO_SAGA') }),
]);

export const dueAnswer = z.array(z.object({ org_id: z.string(), saga_id: z.string() }));

export const sweepLookupAnswer = z.array(
  z
    .object({
      orgId: z.string(),
      agentId: z.string(),
      role,
      assistantId: z.string(),
      revision: z.number(),
      saveId: z.string(),
      config: object(),
      mappingVersion: z.number(),
      context: object<JsonObject>(),
      observed: object<JsonObject>().nullable(),
      missing: z.boolean(),
      policy: z.enum(DRIFT_POLICIES),
      busy: z.boolean(),
    })
    .transform((agent) => ({ ...agent, config: upcast(agent.role, agent.config) })),
);

export const staleAgentsAnswer = z.array(
  z.object({
    orgId: z.string(),
    agentId: z.string(),
    role,
    assistantId: z.string(),
    revision: z.number(),
    saveId: z.string(),
  }),
);

export const sweepListedAnswer = z.array(
  z.object({
    orgId: z.string(),
    agentId: z.string(),
    assistantId: z.string(),
    revision: z.number(),
    saveId: z.string(),
    mappingVersion: z.number(),
    context: object<JsonObject>(),
    hash: z.string().nullable(),
    news: z.boolean(),
    busy: z.boolean(),
  }),
);

export const sweepPageAnswer = z.array(
  z.object({
    org_id: z.string(),
    agent_id: z.string(),
    assistant_id: z.string(),
    revision: z.number(),
    save_id: z.string(),
    missing: z.boolean(),
  }),
);

export const ids = z.array(z.string());

import type { PostgrestError } from '@supabase/supabase-js';
import { z } from 'zod';
import type { AgentRecord } from '../../domain/agents/save.ts';
import type { SaveJournal } from '../../ports/agents/save-journal.ts';
import { DatabaseError, KeyRefusedError, ValueRefusedError } from '../../ports/database.ts';
import type { SagaJournal, SagaRef, TransitionOutcome } from '../../ports/saga-journal.ts';
import {
  agentRow,
  beginAgentsAnswer,
  dueAnswer,
  inspectAnswer,
  takeoverAnswer,
  transitionAnswer,
} from './answers.ts';
import { NO_ANSWER, NOT_SENT, type ServiceClient } from './clients.ts';
import type { Json } from './database.types.ts';

/** PostgREST's own: no connection to the database, so no statement ran. https://docs.postgrest.org/en/stable/references/errors.html */
const NO_CONNECTION = new Set(['PGRST000', 'PGRST001', 'PGRST002', 'PGRST003']);
/** SQLSTATE classes in which Postgres turned the transaction back because of the moment, not because of the statement. */
const TRANSIENT_SQLSTATE = /^(40|53|55P03|57P0[1-4]|57014)/;

/** SQLSTATE class 22, and the REST layer's word for a body that it cannot parse. */
const DATA_EXCEPTION = /^(22|PGRST102$)/;

/**
 * The functions of sagas in supabase/migrations over supabase-js: one `rpc` each, no logic. `row` is the form of the rows that a saga
 * of the caller's kind commits.
 */
export function createSagaJournal<Row>(supabase: ServiceClient, row: z.ZodType<Row>): SagaJournal<Row> {
  const answer = transitionAnswer(row);
  const transition = (request: PromiseLike<RpcAnswer>): Promise<TransitionOutcome<Row>> =>
    parsed(answer, request);
  const at = ({ orgId, sagaId, epoch }: SagaRef) => ({ p_org_id: orgId, p_saga_id: sagaId, p_epoch: epoch });
  return {
    commit: (ref, request) =>
      transition(supabase.rpc('saga_commit', { ...at(ref), p_request: asJson(request) })),
    abort: (ref, request) =>
      transition(supabase.rpc('saga_abort', { ...at(ref), p_request: asJson(request) })),
    rolledBack: (ref, request) =>
      transition(supabase.rpc('saga_rolled_back', { ...at(ref), p_request: asJson(request) })),
    needsAttention: (ref, request) =>
      transition(supabase.rpc('saga_needs_attention', { ...at(ref), p_request: asJson(request) })),
    hold: (ref, request) => transition(supabase.rpc('saga_hold', { ...at(ref), p_request: asJson(request) })),
    settle: (ref, status, request) =>
      transition(supabase.rpc('saga_settle', { ...at(ref), p_status: status, p_request: asJson(request) })),
    inspect: (orgId, sagaId) =>
      parsed(inspectAnswer, supabase.rpc('saga_inspect', { p_org_id: orgId, p_saga_id: sagaId })),
    takeover: (orgId, sagaId, owner, leaseMs) =>
      parsed(
        takeoverAnswer,
        supabase.rpc('saga_takeover', {
          p_org_id: orgId,
          p_saga_id: sagaId,
          p_owner: owner,
          p_lease_ms: leaseMs,
        }),
      ),
    due: async (limit) => {
      const rows = await parsed(dueAnswer, supabase.rpc('saga_due', { p_limit: limit }));
      return rows.map((due) => ({ orgId: due.org_id, sagaId: due.saga_id }));
    },
  };
}

/** The journal of sagas of every kind, for whoever does not read the rows that they commit: recovery and operators. */
export function createAnyJournal(supabase: ServiceClient): SagaJournal {
  return createSagaJournal(supabase, z.unknown());
}

/** The journal of saves of agents. */
export function createRpcJournal(supabase: ServiceClient): SaveJournal {
  return {
    ...createSagaJournal<AgentRecord>(supabase, agentRow),
    begin: (...given) => parsed(beginAgentsAnswer, supabase.rpc('begin_agents', beginArguments(...given))),
  };
}

/** What the begin function of every kind of saga takes. */
export function beginArguments(orgId: string, sagaId: string, owner: string, request: object) {
  return { p_org_id: orgId, p_saga_id: sagaId, p_owner: owner, p_request: asJson(request) };
}

/** A call locks the organizations of its notes until it commits, and their sagas wait that long. */
const NOTES_AT_ONCE = 20;

/** Notes some at a time. Returns all answers. */
export async function inBatches<T>(
  notes: readonly object[],
  note: (some: Json) => Promise<T[]>,
): Promise<T[]> {
  const answers: T[] = [];
  for (let from = 0; from < notes.length; from += NOTES_AT_ONCE) {
    answers.push(...(await note(asJson(notes.slice(from, from + NOTES_AT_ONCE)))));
  }
  return answers;
}

export interface RpcAnswer {
  data: unknown;
  error: PostgrestError | null;
  status: number;
}

/** The answer of a call. One that is not of the expected form says nothing of what happened. */
export async function parsed<T extends z.ZodType>(
  expected: T,
  request: PromiseLike<RpcAnswer>,
): Promise<z.output<T>> {
  const { data, error, status } = await request;
  if (error !== null) throw databaseError(error, status);
  const answer = expected.safeParse(data);
  // What was wrong with it stays out of the error: it may be anything that an organization wrote.
  if (!answer.success) throw new DatabaseError('UNREADABLE_ANSWER', true);
  return answer.data;
}

/**
 * What a failed call means. A DatabaseError says that the database, or the way to it, is away now, or that it refuses the key in
 * `variable`. A refusal that will be the same next time (no such function, a broken invariant) is a defect, and throws as such.
 */
export function databaseError(
  error: { code: string; message: string },
  status: number,
  variable: 'SUPABASE_SECRET_KEY' | 'SUPABASE_PUBLISHABLE_KEY' = 'SUPABASE_SECRET_KEY',
): Error {
  const { code } = error;
  // 403 without a code is the gateway's; with one it is a privilege that Postgres denies, which is a defect.
  if (status === 401 || (status === 403 && !code)) return new KeyRefusedError(variable);
  if (code === NOT_SENT || NO_CONNECTION.has(code)) return new DatabaseError(code, false);
  if (code === NO_ANSWER || status === 0) return new DatabaseError(code || NO_ANSWER, true);
  // supabase-js calls it an error where a success has a body that is no JSON.
  if (status < 300) return new DatabaseError('UNREADABLE_ANSWER', true);
  if (TRANSIENT_SQLSTATE.test(code)) return new DatabaseError(code, code.startsWith('57P'));
  // Of the gateway before the REST layer: 429 has let nothing through.
  if (status === 429) return new DatabaseError(`HTTP_${status}`, false);
  if (status === 408 || status >= 500) return new DatabaseError(code || `HTTP_${status}`, true);
  // Of a value that does not fit, Postgres quotes it; and it may be anything that an organization wrote.
  if (DATA_EXCEPTION.test(code)) return new ValueRefusedError(`the database refused a value with ${code}`);
  return new Error(`the database refused a call with ${code || status}: ${error.message}`);
}

function asJson(value: object): Json {
  return value as Json;
}

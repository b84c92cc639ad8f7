import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { AgentRecord, SaveRecord } from '../../domain/agents/save.ts';
import type { ValidationIssue } from '../../domain/input.ts';
import {
  IdempotencyConflictError,
  RevisionConflictError,
  SaveFailedError,
  SaveInProgressError,
  SavePendingError,
  ValidationError,
} from '../errors.ts';
import { notBegun } from '../saga/answer.ts';
import { REFUSED } from '../saga/told.ts';
import type { TransactionalAgentUpdate } from './build.ts';
import type { SaveOutcome } from './execute.ts';

/** What a caller learns of a save that was made. */
export interface SaveAnswer {
  save: SaveRecord;
  /** The agents as this save left them. */
  revisions: AgentRecord[];
  /** An earlier request made the save: the agents may have changed since. */
  replay: boolean;
}

/**
 * From the executor's outcome to the caller's answer. Throws the `DomainError` that the outcome stands for. `updates` are what
 * the caller asked for: the message of a revision conflict depends on the revision that they expected.
 */
export function answerOf(
  outcome: SaveOutcome,
  updates: readonly Pick<TransactionalAgentUpdate, 'role' | 'expectedRevision'>[] = [],
): SaveAnswer {
  switch (outcome.kind) {
    case 'committed':
      return { save: outcome.save, revisions: outcome.agents, replay: outcome.replay === true };
    case 'failed':
      throw new SaveFailedError(outcome.save, outcome.failure, issuesOf(outcome.save));
    case 'pending':
      throw new SavePendingError(outcome.save, outcome.retryAfterMs);
    case 'revision_conflict':
      throw new RevisionConflictError(
        outcome.agents,
        updates.filter((update) => update.expectedRevision === 0).map((update) => update.role),
      );
    case 'in_progress':
      throw new SaveInProgressError(outcome.saveId, outcome.status, outcome.retryAfterMs);
    case 'idempotency_conflict':
      throw new IdempotencyConflictError(outcome.saveId);
    case 'incomplete':
      throw new ValidationError(
        outcome.missing.map(({ role, field }) => ({
          path: `input.${inputFieldOf(role)}.${field}`,
          message: `the first save of an agent needs ${field}`,
        })),
      );
    case 'no_agent':
      throw new ValidationError([
        {
          path: `input.${inputFieldOf(outcome.role)}`,
          message: 'there is no such agent in your organization',
        },
      ]);
    default:
      throw notBegun(outcome);
  }
}

function inputFieldOf(role: AgentRole): 'inbound' | 'outbound' {
  return role === 'INBOUND' ? 'inbound' : 'outbound';
}

/** Vapi's field (as `render.ts` sends it) and the input field that it comes from. The first match counts. */
const INPUT_FIELDS: readonly [vapi: RegExp, input: string][] = [
  [/^model\.messages(\W|$)/, 'systemPrompt'],
  [/^model\.model$/, 'model.name'],
  [/^model(\.(provider|temperature|maxTokens))?$/, 'model$1'],
  [/^voice(\.(provider|voiceId|stability|similarityBoost))?$/, 'voice$1'],
  [/^(transcriber|voice)\.language$/, 'language'],
  [/^model\.tools(\[\d+\]|\.\d+)\.function(\W|$)/, 'bookAppointments'],
  [/^model\.tools(\W|$)/, 'transferTo'],
  [/^model\.toolIds(\W|$)/, 'useKnowledgeBase'],
  [/^voicemailDetection(\W|$)/, 'voicemailMessage'],
  [/^(name|firstMessage|maxDurationSeconds|voicemailMessage)$/, '$1'],
];

/** What Vapi refused, field by field. Its messages begin with the path of the field: `voice.provider must be one of …`. */
function issuesOf(save: SaveRecord): ValidationIssue[] {
  return save.results.flatMap(({ role, error }) => {
    if (!error?.startsWith(REFUSED)) return [];
    return error
      .slice(REFUSED.length)
      .split('; ')
      .flatMap((message) => {
        const path = /^[A-Za-z]\S*(?= )/.exec(message)?.[0] ?? '';
        const known = INPUT_FIELDS.find(([vapi]) => vapi.test(path));
        if (known === undefined) return [];
        const [vapi, input] = known;
        const field = input.includes('$') ? path.replace(vapi, input) : input;
        return [{ path: `input.${inputFieldOf(role)}.${field}`, message }];
      });
  });
}

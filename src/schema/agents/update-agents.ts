import type { AppContext } from '../../context.ts';
import { checkSaveInput, LIMITS, type SaveInput } from '../../domain/agents/agent-config.ts';
import type { AgentRecord } from '../../domain/agents/save.ts';
import { answerOf, type SaveAnswer } from '../../services/agents/answer.ts';
import { ANY_AGENTS, buildTransactionalUpdates } from '../../services/agents/build.ts';
import { executeTransactionalAgentUpdate } from '../../services/agents/execute.ts';
import { ValidationError } from '../../services/errors.ts';
import { SagaReport } from '../../services/saga/report.ts';
import { validInput } from '../../services/valid-input.ts';
import { builder, tenantOf } from '../builder.ts';
import { AGENTS_COST, SAVE_COST } from '../cost.ts';
import { SAVE_ERRORS } from '../errors.ts';
import { AgentRef, AgentRevisionRef, type AgentView, settled } from './agent.ts';
import { AgentSaveRef } from './save.ts';

const VoiceInput = builder.inputType('VoiceInput', {
  description: 'Replaced whole. `stability` and `similarityBoost` (0 to 1) belong to provider `11labs` only.',
  fields: (t) => ({
    provider: t.string({
      required: true,
      description: 'As Vapi names it, for example `vapi`, `11labs`, `azure`.',
    }),
    voiceId: t.string({ required: true }),
    stability: t.float(),
    similarityBoost: t.float(),
  }),
});

const ModelInput = builder.inputType('ModelInput', {
  description: 'Replaced whole.',
  fields: (t) => ({
    provider: t.string({
      required: true,
      description: 'As Vapi names it, for example `openai`, `anthropic`.',
    }),
    name: t.string({
      required: true,
      description: "The model's name at its provider, for example `gpt-4.1`.",
    }),
    temperature: t.float({ description: '0 to 2.' }),
    maxTokens: t.int({ description: '50 to 10000.' }),
  }),
});

const TransferDestinationInput = builder.inputType('TransferDestinationInput', {
  description: 'A number to which the agent may transfer a call.',
  fields: (t) => ({
    number: t.string({ required: true, description: 'In E.164 form, such as `+14155550123`.' }),
    description: t.string({
      required: true,
      description: `When to transfer there; the model reads it. At most ${LIMITS.transferDescription} characters.`,
    }),
    message: t.string({
      description: `What the caller hears before the transfer. At most ${LIMITS.transferMessage} characters; null: Vapi's own words.`,
    }),
  }),
});

const AgentConfigInput = builder.inputType('AgentConfigInput', {
  description:
    'Fields left out stay as they are; null clears a field that may be empty.\n' +
    'The first save of a role needs systemPrompt; everything else then has a documented default.',
  fields: (t) => ({
    name: t.string({
      description: `At most ${LIMITS.name} characters. Default: "Inbound agent" or "Outbound agent".`,
    }),
    systemPrompt: t.string({ description: `At most ${LIMITS.systemPrompt} characters.` }),
    firstMessage: t.string({
      description: `At most ${LIMITS.firstMessage} characters; null: the agent waits for the caller to speak. Default: null.`,
    }),
    voice: t.field({ type: VoiceInput, description: 'Default: provider `vapi`, voice `Elliot`.' }),
    model: t.field({ type: ModelInput, description: 'Default: provider `openai`, model `gpt-4.1`.' }),
    language: t.string({ description: 'A BCP 47 tag such as `en` or `pt-BR`, or `multi`. Default: `en`.' }),
    maxDurationSeconds: t.int({
      description: `${LIMITS.minDurationSeconds} to ${LIMITS.maxDurationSeconds}. Default: 600.`,
    }),
    transferTo: t.field({
      type: [TransferDestinationInput],
      description: `Where the agent may transfer a call; replaced whole. At most ${LIMITS.transferTo} destinations, each number once. Default: none.`,
    }),
    endCall: t.boolean({ description: 'The agent may end the call. Default: false.' }),
    voicemailMessage: t.string({
      description: `What the agent says to an answering machine. At most ${LIMITS.voicemailMessage} characters; null: voicemail is not detected. Default: null.`,
    }),
    useKnowledgeBase: t.boolean({
      description:
        "The agent may search the organization's documents, as soon as one is READY. Default: false.",
    }),
    bookAppointments: t.boolean({
      description:
        'The agent may look for free times, and book, move and cancel appointments. Refused if this server receives no events from ' +
        'Vapi (`PUBLIC_URL`). Default: false.',
    }),
    expectedRevision: t.int({
      description: 'Refuse the save unless the agent is at this revision; 0 = it must not exist yet.',
    }),
    recreateIfMissing: t.boolean({
      defaultValue: false,
      description: 'If the assistant has been deleted in Vapi, make a new one.',
    }),
  }),
});

const UpdateAgentsInput = builder.inputType('UpdateAgentsInput', {
  fields: (t) => ({
    inbound: t.field({ type: AgentConfigInput }),
    outbound: t.field({ type: AgentConfigInput }),
    idempotencyKey: t.string({
      description:
        'The same key and the same input give the same save and the same answer, also after a failure; only `agents` are always ' +
        'the present ones. The same key with another input is an error. Only a save that began uses its key up: refusals before that do not.',
    }),
  }),
});

/**
 * The agents of a repeated answer. They must not be shown as the save left them: a client's cache, which knows an agent by its
 * id, would go back in time.
 */
async function presentAgents(context: AppContext, revisions: AgentRecord[]): Promise<AgentView[]> {
  const ids = new Set(revisions.map(({ id }) => id));
  return (await tenantOf(context).reads.agents()).filter(({ id }) => ids.has(id));
}

export const UpdateAgentsSuccess = builder.objectRef<SaveAnswer>('UpdateAgentsSuccess').implement({
  fields: (t) => ({
    save: t.expose('save', { type: AgentSaveRef }),
    agents: t.field({
      type: [AgentRef],
      complexity: AGENTS_COST,
      description:
        'The agents that the save named, as they are now. If the answer repeats the answer of an earlier save, a later ' +
        'save may have changed them: `revisions` has what this save left.',
      resolve: ({ revisions, replay }, _args, context) =>
        replay ? presentAgents(context, revisions) : settled(revisions),
    }),
    revisions: t.field({
      type: [AgentRevisionRef],
      complexity: AGENTS_COST,
      description: 'What this save left, agent by agent. It is the same in every answer about this save.',
      resolve: ({ revisions }) => revisions,
    }),
  }),
});

/** Throws `ValidationError`. The log and the metrics have one entry for each save that is refused, for this reason too. */
function parsed({ executorPorts, receivesEvents }: AppContext, orgId: string, input: unknown): SaveInput {
  try {
    return validInput(checkSaveInput(input, { receivesEvents }));
  } catch (error) {
    if (error instanceof ValidationError) {
      new SagaReport(executorPorts, { orgId, saga: 'agents', roles: [], kind: 'USER' }).ended('request', {
        kind: 'invalid',
      });
    }
    throw error;
  }
}

builder.mutationField('updateAgents', (t) =>
  t.field({
    type: UpdateAgentsSuccess,
    complexity: SAVE_COST,
    description: 'Saves one or both agents in Vapi and in the database: all of it, or nothing.',
    args: { input: t.arg({ type: UpdateAgentsInput, required: true }) },
    errors: { types: SAVE_ERRORS, union: { name: 'UpdateAgentsResult' } },
    resolve: async (_root, args, context) => {
      const { orgId, userId, reads } = tenantOf(context);
      reads.forget();
      const { inbound, outbound, idempotencyKey } = parsed(context, orgId, args.input);
      const updates = buildTransactionalUpdates(orgId, ANY_AGENTS, inbound, outbound);
      const outcome = await executeTransactionalAgentUpdate(
        context.serviceClient,
        updates,
        context.vapiApiKey,
        {
          idempotencyKey,
          actor: userId,
          ports: context.executorPorts,
        },
      );
      return answerOf(outcome, updates);
    },
  }),
);

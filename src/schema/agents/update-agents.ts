import { LIMITS } from '../../domain/agents/agent-config.ts';
import { answerOf, type SaveAnswer } from '../../services/agents/answer.ts';
import { ANY_AGENTS, buildTransactionalUpdates } from '../../services/agents/build.ts';
import { executeTransactionalAgentUpdate } from '../../services/agents/execute.ts';
import { parseSaveInput } from '../../services/agents/parse-save-input.ts';
import { builder, tenantOf } from '../builder.ts';
import { AGENTS_COST, SAVE_COST } from '../cost.ts';
import { SAVE_ERRORS } from '../errors.ts';
import { AgentRef, settled } from './agent.ts';
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
        'The same key and the same input give the same save and the same answer, also after a failure; the same key with ' +
        'another input is an error. Only a save that began uses its key up: refusals before that do not.',
    }),
  }),
});

export const UpdateAgentsSuccess = builder.objectRef<SaveAnswer>('UpdateAgentsSuccess').implement({
  fields: (t) => ({
    save: t.expose('save', { type: AgentSaveRef }),
    agents: t.field({
      type: [AgentRef],
      complexity: AGENTS_COST,
      description: 'The agents that were named, as this save left them.',
      resolve: ({ agents }) => settled(agents),
    }),
  }),
});

builder.mutationField('updateAgents', (t) =>
  t.field({
    type: UpdateAgentsSuccess,
    complexity: SAVE_COST,
    description: 'Saves one or both agents in Vapi and in the database: all of it, or nothing.',
    args: { input: t.arg({ type: UpdateAgentsInput, required: true }) },
    errors: { types: SAVE_ERRORS, union: { name: 'UpdateAgentsResult' } },
    resolve: async (_root, args, context) => {
      const { orgId, userId } = tenantOf(context);
      const { inbound, outbound, idempotencyKey } = parseSaveInput(args.input);
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

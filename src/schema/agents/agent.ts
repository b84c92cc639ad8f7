import { type FragmentDefinitionNode, type GraphQLResolveInfo, Kind, type SelectionSetNode } from 'graphql';
import type { AppContext } from '../../context.ts';
import {
  AGENT_ROLES,
  type Model,
  type TransferDestination,
  type Voice,
} from '../../domain/agents/agent-config.ts';
import type { AgentRecord, FieldDrift } from '../../domain/agents/save.ts';
import { AGENT_SYNC_STATUSES, syncStatus } from '../../services/agents/sync-status.ts';
import { builder, tenantOf } from '../builder.ts';
import { AGENTS_COST, DRIFT_COST, PROMPT_COST, READ_COST } from '../cost.ts';

export const AgentRoleRef = builder.enumType('AgentRole', { values: AGENT_ROLES });

const AgentSyncStatusRef = builder.enumType('AgentSyncStatus', {
  values: AGENT_SYNC_STATUSES,
  description:
    'Where several are true, the first of: NEEDS_ATTENTION, SAVING, MISSING, DRIFTED, NEVER_SYNCED, IN_SYNC.',
});

const VoiceRef = builder.objectRef<Voice>('Voice').implement({
  fields: (t) => ({
    provider: t.exposeString('provider'),
    voiceId: t.exposeString('voiceId'),
    stability: t.exposeFloat('stability', { nullable: true }),
    similarityBoost: t.exposeFloat('similarityBoost', { nullable: true }),
  }),
});

const ModelRef = builder.objectRef<Model>('Model').implement({
  description: 'The language model behind an agent.',
  fields: (t) => ({
    provider: t.exposeString('provider'),
    name: t.exposeString('name'),
    temperature: t.exposeFloat('temperature', { nullable: true }),
    maxTokens: t.exposeInt('maxTokens', { nullable: true }),
  }),
});

const FieldDriftRef = builder.objectRef<FieldDrift>('FieldDrift').implement({
  description: 'Secrets are redacted on both sides.',
  fields: (t) => ({
    path: t.exposeString('path'),
    ours: t.expose('ours', { type: 'JSON', nullable: true, complexity: DRIFT_COST }),
    theirs: t.expose('theirs', { type: 'JSON', nullable: true, complexity: DRIFT_COST }),
  }),
});

const TransferDestinationRef = builder.objectRef<TransferDestination>('TransferDestination').implement({
  description: 'A number to which the agent may transfer a call.',
  fields: (t) => ({
    number: t.exposeString('number', { description: 'In E.164 form.' }),
    description: t.exposeString('description', {
      description: 'When to transfer there; the model reads it.',
    }),
    message: t.exposeString('message', {
      nullable: true,
      description: 'What the caller hears before the transfer.',
    }),
  }),
});

/** An agent to be shown. `settled`: it comes from the save functions, which saw under their lock that no save was open. */
export type AgentView = AgentRecord & { settled?: true };

type Types = typeof builder extends PothosSchemaTypes.SchemaBuilder<infer T> ? T : never;

/** The configuration, as an agent and a revision of it both have it. */
function configFields<Agent extends AgentRecord>(t: PothosSchemaTypes.ObjectFieldBuilder<Types, Agent>) {
  return {
    name: t.string({ resolve: ({ config }) => config.name }),
    systemPrompt: t.string({ complexity: PROMPT_COST, resolve: ({ config }) => config.systemPrompt }),
    firstMessage: t.string({
      nullable: true,
      description: 'Null: the agent waits for the caller to speak.',
      resolve: ({ config }) => config.firstMessage,
    }),
    voice: t.field({ type: VoiceRef, resolve: ({ config }) => config.voice }),
    model: t.field({ type: ModelRef, resolve: ({ config }) => config.model }),
    language: t.string({ resolve: ({ config }) => config.language }),
    maxDurationSeconds: t.int({ resolve: ({ config }) => config.maxDurationSeconds }),
    transferTo: t.field({
      type: [TransferDestinationRef],
      description: 'Where the agent may transfer a call.',
      resolve: ({ config }) => config.transferTo,
    }),
    endCall: t.boolean({
      description: 'The agent may end the call.',
      resolve: ({ config }) => config.endCall,
    }),
    voicemailMessage: t.string({
      nullable: true,
      description: 'What the agent says to an answering machine. Null: voicemail is not detected.',
      resolve: ({ config }) => config.voicemailMessage,
    }),
    useKnowledgeBase: t.boolean({
      description: "The agent may search the organization's documents.",
      resolve: ({ config }) => config.useKnowledgeBase,
    }),
    bookAppointments: t.boolean({
      description: 'The agent may look for free times, and book, move and cancel appointments.',
      resolve: ({ config }) => config.bookAppointments,
    }),
    operatorToolIds: t.stringList({
      description:
        'Ids of tools in Vapi that the operator of this server gave to the agent. A save keeps them.',
      resolve: ({ config }) => config.operatorToolIds ?? [],
    }),
  };
}

/** Agents that a save function answered: what they are in needs no further read. */
export function settled(agents: AgentRecord[]): AgentView[] {
  return agents.map((agent) => ({ ...agent, settled: true }));
}

const AgentSyncRef = builder.objectRef<AgentView>('AgentSync').implement({
  fields: (t) => ({
    status: t.field({
      type: AgentSyncStatusRef,
      resolve: async (agent, _args, context) => {
        const open = agent.settled ? null : await tenantOf(context).reads.openSave();
        return syncStatus(agent, open && { status: open.save.status, roles: open.roles });
      },
    }),
    checkedAt: t.expose('checkedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When Vapi was last seen to hold what the status says.',
    }),
    drift: t.expose('drift', { type: [FieldDriftRef] }),
  }),
});

/** The revision of an agent that a save left. It has no id of its own, so that no cache takes it for the agent. */
export const AgentRevisionRef = builder.objectRef<AgentRecord>('AgentRevision').implement({
  description: 'An agent as one save left it. It never changes.',
  fields: (t) => ({
    agentId: t.exposeID('id'),
    role: t.expose('role', { type: AgentRoleRef }),
    revision: t.exposeInt('revision'),
    ...configFields(t),
    vapiAssistantId: t.exposeString('assistantId', { nullable: true }),
    savedAt: t.expose('lastSyncedAt', { type: 'DateTime', nullable: true }),
  }),
});

export const AgentRef = builder.objectRef<AgentView>('Agent').implement({
  fields: (t) => ({
    id: t.exposeID('id'),
    role: t.expose('role', { type: AgentRoleRef }),
    ...configFields(t),
    vapiAssistantId: t.exposeString('assistantId', {
      nullable: true,
      description: "The assistant's id in Vapi.",
    }),
    revision: t.exposeInt('revision', {
      description:
        '1 after the first save; rises by one with every committed save that changes the configuration.',
    }),
    lastSyncedAt: t.expose('lastSyncedAt', { type: 'DateTime', nullable: true }),
    sync: t.field({ type: AgentSyncRef, resolve: (agent) => agent }),
  }),
});

/** Starts the second read that `sync` needs beside the first one. The status finds it under way, or its error. */
function readAgents(
  context: AppContext,
  { fieldNodes, fragments }: GraphQLResolveInfo,
): Promise<AgentRecord[]> {
  const { reads, loaders } = tenantOf(context);
  if (fieldNodes.some(({ selectionSet }) => selects(selectionSet, 'sync', fragments)))
    reads.openSave().catch(() => {});
  return loaders.agents();
}

function selects(
  set: SelectionSetNode | undefined,
  field: string,
  fragments: Record<string, FragmentDefinitionNode>,
): boolean {
  return (set?.selections ?? []).some((one) => {
    if (one.kind === Kind.FIELD) return one.name.value === field;
    const fragment = one.kind === Kind.INLINE_FRAGMENT ? one : fragments[one.name.value];
    return selects(fragment?.selectionSet, field, fragments);
  });
}

builder.queryFields((t) => ({
  agents: t.field({
    type: [AgentRef],
    complexity: { ...AGENTS_COST, field: READ_COST },
    description: 'At most one per role.',
    resolve: (_root, _args, context, info) => readAgents(context, info),
  }),
  agent: t.field({
    type: AgentRef,
    nullable: true,
    complexity: READ_COST,
    args: { role: t.arg({ type: AgentRoleRef, required: true }) },
    resolve: async (_root, { role }, context, info) =>
      (await readAgents(context, info)).find((agent) => agent.role === role) ?? null,
  }),
}));

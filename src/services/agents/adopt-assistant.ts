import {
  type AgentConfig,
  type AgentRole,
  checkSaveInput,
  defaultConfig,
} from '../../domain/agents/agent-config.ts';
import type { FieldDrift } from '../../domain/agents/save.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { SweepStore } from '../../ports/agents/sweep-store.ts';
import type { Assistants, ProviderAssistant } from '../../ports/voice-provider.ts';
import type { TransactionalAgentUpdate } from './build.ts';
import { observedForm, stampOf } from './compare.ts';
import { configOf } from './drift/adopt.ts';
import { fieldDrift, holdsSecret } from './drift/drift.ts';
import type { SaveOptions, SaveOutcome } from './execute.ts';
import { MAPPING_VERSION, managedFields, renderAssistant } from './render.ts';

/**
 * Takes an assistant that exists already into an organization, as its inbound or outbound agent. Only an operator may ask for that:
 * an assistant of the account may hold whatever its maker put into it.
 */

export interface AdoptPorts {
  voice: Pick<Assistants, 'getAssistant'>;
  store: Pick<SweepStore, 'lookup'>;
  /** The Vapi organization that the database belongs to; null: not known. */
  account(): Promise<string | null>;
  /** What is rendered into every agent besides its configuration now. */
  eventContext(): Promise<JsonObject>;
  hasAgent(orgId: string, role: AgentRole): Promise<boolean>;
  /** False: another command is adopting this assistant. */
  claim(assistantId: string): Promise<boolean>;
  save(update: TransactionalAgentUpdate, adopt: NonNullable<SaveOptions['adopt']>): Promise<SaveOutcome>;
}

export interface AdoptWish {
  orgId: string;
  role: AgentRole;
  assistantId: string;
  /** Only says what would happen. */
  dryRun: boolean;
}

export interface AdoptionPlan {
  /** What the agent would say: everything of the assistant that a configuration has a field for. */
  config: AgentConfig;
  /** What would be different in Vapi afterwards. `theirs` is what the assistant holds now. Secrets are redacted. */
  lost: FieldDrift[];
  /** Fields that Lockstep does not manage: they stay as they are. */
  untouched: string[];
}

export type Adoption =
  | { outcome: 'REFUSED'; reason: string }
  | ({ outcome: 'PLANNED' } & AdoptionPlan)
  | ({ outcome: 'ADOPTED'; saveId: string } & AdoptionPlan)
  | ({ outcome: 'NOT_ADOPTED'; saved: SaveOutcome } & AdoptionPlan);

/** Throws `DatabaseError`. */
export async function adoptAssistant(ports: AdoptPorts, wish: AdoptWish): Promise<Adoption> {
  const { orgId, role, assistantId, dryRun } = wish;
  const refused = (reason: string): Adoption => ({ outcome: 'REFUSED', reason });
  const reply = await ports.voice.getAssistant(assistantId);
  if (reply.kind === 'gone') return refused('Vapi has no such assistant');
  if (reply.kind !== 'ok') return refused(`Vapi could not be asked (${reply.kind})`);
  const assistant = reply.value;
  const account = await ports.account();
  if (account === null || assistant['orgId'] !== account) {
    return refused('the key is of another Vapi account than the one of this database');
  }
  if ((await ports.store.lookup([assistantId])).length > 0) {
    return refused('it is the assistant of an agent already');
  }
  const stamp = stampOf(assistant);
  if (stamp !== null)
    return refused(`it carries the stamp of the agent ${stamp.agentId}, of this or another deployment`);
  if (await ports.hasAgent(orgId, role)) return refused('the organization has an agent of this role already');

  const planned = planOf(role, assistant, await ports.eventContext());
  if ('reason' in planned) return refused(planned.reason);
  if (dryRun) return { outcome: 'PLANNED', ...planned };
  if (!(await ports.claim(assistantId))) return refused('another command is adopting this assistant');
  const saved = await ports.save(
    {
      ...{ orgId, agentId: null, role, payload: planned.config, recreateIfMissing: false },
      // No agent of this role may have been made meanwhile.
      expectedRevision: 0,
    },
    { assistantId, content: managedContent(assistant) },
  );
  return saved.kind === 'committed'
    ? { outcome: 'ADOPTED', saveId: saved.save.id, ...planned }
    : { outcome: 'NOT_ADOPTED', saved, ...planned };
}

/** Exactly what Vapi answered of the fields that the save can write, whatever its context: what an undo puts back. */
function managedContent(assistant: ProviderAssistant): JsonObject {
  return Object.fromEntries(
    managedFields(MAPPING_VERSION, { server: null }).flatMap((field) => {
      const value = assistant[field];
      return value === undefined ? [] : [[field, value]];
    }),
  );
}

function planOf(
  role: AgentRole,
  assistant: ProviderAssistant,
  context: JsonObject,
): AdoptionPlan | { reason: string } {
  const held = observedForm(MAPPING_VERSION, context, assistant);
  const defaults = { ...defaultConfig(role), systemPrompt: '' };
  const { extraMetadata = {}, ...read } = configOf(defaults, held, context);
  const wrong = wrongFields(read);
  if (wrong.has('systemPrompt')) return { reason: 'it has no system prompt that an agent can have' };
  const config: AgentConfig = {
    ...read,
    ...Object.fromEntries([...wrong].map((field) => [field, defaults[field as keyof typeof defaults]])),
    // Everybody of the organization reads the configuration.
    ...(Object.keys(extraMetadata).length > 0 && !holdsSecret(extraMetadata) ? { extraMetadata } : {}),
  };
  const noStamp = { deployment: '', orgId: '', agentId: '', role, saveId: '', revision: 1 };
  const sent = renderAssistant(MAPPING_VERSION, config, noStamp, context);
  const rendered = observedForm(MAPPING_VERSION, context, sent);
  const managed = managedFields(MAPPING_VERSION, context);
  return {
    config,
    lost: fieldDrift(rendered, held),
    untouched: Object.keys(assistant)
      .filter((field) => !managed.includes(field) && !READ_ONLY.includes(field) && assistant[field] !== null)
      .sort(),
  };
}

const READ_ONLY = ['id', 'orgId', 'createdAt', 'updatedAt', 'latestVersion', 'isServerUrlSecretSet'];

/** Fields whose value no caller could save. They get their default, and what was there is reported as lost. */
function wrongFields(config: AgentConfig): Set<string> {
  const checked = checkSaveInput({ inbound: config });
  if ('input' in checked) return new Set();
  return new Set(checked.issues.flatMap(({ path }) => path.split('.')[2] ?? []));
}

import { z } from 'zod';
import { type Checked, checked, idempotencyKey, words } from '../input.ts';
import type { JsonObject } from '../json.ts';

/**
 * An agent's configuration: its fields, their limits and their defaults, in one place. A save carries a *partial change* of
 * it, which is checked here as a whole before anything else happens; no rule spans two fields, so a change can be checked
 * before it is merged into what is stored.
 */

export const AGENT_ROLES = ['INBOUND', 'OUTBOUND'] as const;
export type AgentRole = (typeof AGENT_ROLES)[number];

/** Limits in characters (UTF-16 code units) unless said otherwise. Vapi's own where it states one, ours elsewhere. */
export const LIMITS = {
  /** Vapi: at most 40. */
  name: 40,
  /** Ours: Vapi states none. */
  systemPrompt: 100_000,
  firstMessage: 4_000,
  voiceId: 200,
  provider: 64,
  modelName: 200,
  language: 35,
  /** Ours: a model chooses badly among many. */
  transferTo: 20,
  transferDescription: 1_000,
  transferMessage: 1_000,
  /** Vapi: at most 1000. */
  voicemailMessage: 1_000,
  /** Vapi: seconds. */
  minDurationSeconds: 10,
  maxDurationSeconds: 43_200,
} as const;

export interface Voice {
  provider: string;
  voiceId: string;
  stability: number | null;
  similarityBoost: number | null;
}

export interface Model {
  provider: string;
  name: string;
  temperature: number | null;
  maxTokens: number | null;
}

/** A number to which the agent may transfer a call. */
export interface TransferDestination {
  /** E.164. */
  number: string;
  /** When to transfer there; the model reads it. */
  description: string;
  /** What the caller hears before the transfer; null: Vapi's own words. */
  message: string | null;
}

export interface AgentConfig {
  name: string;
  systemPrompt: string;
  firstMessage: string | null;
  voice: Voice;
  model: Model;
  /** BCP 47, or `multi` where the transcriber detects it. */
  language: string;
  maxDurationSeconds: number;
  transferTo: TransferDestination[];
  /** The agent may end the call. */
  endCall: boolean;
  /** What the agent says to an answering machine; null: voicemail is not detected. */
  voicemailMessage: string | null;
  /** The agent may search the organization's documents. */
  useKnowledgeBase: boolean;
  /** The agent may look for free times, and book, move and cancel appointments. Needs a server that receives events. */
  bookAppointments: boolean;
  /** Other people's `metadata` on the assistant, where the organization adopted a dashboard's edit. Never asked for by a caller. */
  extraMetadata?: JsonObject;
  /** Ids of tools in Vapi that an operator gave to the agent. Never asked for by a caller. */
  operatorToolIds?: string[];
}

export type AgentConfigPatch = Partial<AgentConfig>;

/** What a new agent has where its first save says nothing. `systemPrompt` has no default: the first save must name it. */
export function defaultConfig(role: AgentRole): Omit<AgentConfig, 'systemPrompt'> {
  return {
    name: role === 'INBOUND' ? 'Inbound agent' : 'Outbound agent',
    firstMessage: null,
    voice: { provider: 'vapi', voiceId: 'Elliot', stability: null, similarityBoost: null },
    model: { provider: 'openai', name: 'gpt-4.1', temperature: null, maxTokens: null },
    language: 'en',
    maxDurationSeconds: 600,
    transferTo: [],
    endCall: false,
    voicemailMessage: null,
    useKnowledgeBase: false,
    bookAppointments: false,
  };
}

/**
 * A stored configuration as this build knows it: a field that did not exist when the configuration was saved has its default. Every
 * configuration that is read out of the database goes through here.
 */
export function upcast(role: AgentRole, stored: object): AgentConfig {
  // `systemPrompt` has no default, and every configuration that was ever saved has one.
  return { ...defaultConfig(role), ...(stored as AgentConfig) };
}

/** The change of one agent, as its caller sent it: the configuration's fields and the save's conditions. */
export interface AgentPayload {
  config: AgentConfigPatch;
  /** Refuse the save unless the agent is at this revision; 0 = it must not exist yet. */
  expectedRevision: number | null;
  recreateIfMissing: boolean;
}

/** A whole change: at least one of the two agents. */
export interface SaveInput {
  inbound: AgentPayload | null;
  outbound: AgentPayload | null;
  idempotencyKey: string | null;
}

const number = (what: string, min: number, max: number, unit = '') =>
  z
    .number({
      error: (issue) =>
        issue.input === null
          ? `${what} cannot be null; leave it out to keep it as it is`
          : `${what} must be a number`,
    })
    .min(min, { error: `${what} must be from ${min} to ${max}${unit}` })
    .max(max, { error: `${what} must be from ${min} to ${max}${unit}` });

const integer = (what: string, min: number, max: number, unit = '') =>
  number(what, min, max, unit).refine((value) => Number.isInteger(value), {
    error: `${what} must be a whole number`,
  });

/** Providers that people write and Vapi does not know by that name. */
const MISNAMED: ReadonlyMap<string, string> = new Map([
  ['elevenlabs', '11labs'],
  ['eleven-labs', '11labs'],
  ['eleven_labs', '11labs'],
]);

/** Only this provider's voices have stability and similarityBoost. */
const PROVIDER_WITH_STABILITY = '11labs';

const voice = z
  .object(
    {
      provider: words(LIMITS.provider, 'voice.provider'),
      voiceId: words(LIMITS.voiceId, 'voice.voiceId'),
      stability: number('voice.stability', 0, 1).nullish(),
      similarityBoost: number('voice.similarityBoost', 0, 1).nullish(),
    },
    { error: 'voice cannot be null; leave it out to keep it as it is' },
  )
  .check((context) => {
    const { provider } = context.value;
    const refuse = (field: string, message: string) =>
      context.issues.push({ code: 'custom', input: context.value, path: [field], message });
    const rightName = MISNAMED.get(provider.toLowerCase());
    if (rightName !== undefined) {
      refuse('provider', `voice.provider is called "${rightName}" at Vapi`);
    } else if (provider === 'custom-voice') {
      refuse('provider', 'voice.provider "custom-voice" needs a server of your own and is not supported');
    } else if (provider !== PROVIDER_WITH_STABILITY) {
      for (const field of ['stability', 'similarityBoost'] as const) {
        if (context.value[field] != null) {
          refuse(
            field,
            `voices of provider "${provider}" have no ${field}; leave it out, or use "${PROVIDER_WITH_STABILITY}"`,
          );
        }
      }
    }
  })
  .transform(
    (value): Voice => ({
      provider: value.provider,
      voiceId: value.voiceId,
      stability: value.stability ?? null,
      similarityBoost: value.similarityBoost ?? null,
    }),
  );

const model = z
  .object(
    {
      provider: words(LIMITS.provider, 'model.provider').refine((value) => value !== 'custom-llm', {
        error: 'model.provider "custom-llm" needs a server of your own and is not supported',
      }),
      name: words(LIMITS.modelName, 'model.name'),
      temperature: number('model.temperature', 0, 2).nullish(),
      maxTokens: integer('model.maxTokens', 50, 10_000).nullish(),
    },
    { error: 'model cannot be null; leave it out to keep it as it is' },
  )
  .check((context) => {
    // Official OpenAPI, VapiModel: the only model without it; an unknown property is a 400.
    if (context.value.provider === 'vapi' && context.value.maxTokens != null) {
      context.issues.push({
        code: 'custom',
        input: context.value,
        path: ['maxTokens'],
        message: 'models of provider "vapi" have no maxTokens; leave it out',
      });
    }
  })
  .transform(
    (value): Model => ({
      provider: value.provider,
      name: value.name,
      temperature: value.temperature ?? null,
      maxTokens: value.maxTokens ?? null,
    }),
  );

/** True or false; null is refused, because it says neither. */
const flag = (what: string) =>
  z.boolean({
    error: (issue) =>
      issue.input === null
        ? `${what} cannot be null; leave it out to keep it as it is`
        : `${what} must be true or false`,
  });

const transferDestination = z
  .object(
    {
      number: words(40, 'transferTo.number').refine((value) => /^\+[1-9]\d{6,14}$/.test(value), {
        error: 'transferTo.number must be a phone number in E.164 form, such as +14155550123',
      }),
      description: words(LIMITS.transferDescription, 'transferTo.description'),
      message: words(LIMITS.transferMessage, 'transferTo.message').nullish(),
    },
    { error: 'transferTo must hold destinations, each with a number and a description' },
  )
  .transform(
    ({ number, description, message }): TransferDestination => ({
      number,
      description,
      message: message ?? null,
    }),
  );

const transferTo = z
  .array(transferDestination, {
    error: (issue) =>
      issue.input === null
        ? 'transferTo cannot be null; an empty list removes all destinations'
        : 'transferTo must be a list',
  })
  .check((context) => {
    const { value: destinations, issues } = context;
    const refuse = (path: (string | number)[], message: string) =>
      issues.push({ code: 'custom', input: destinations, path, message });
    if (destinations.length > LIMITS.transferTo) {
      refuse(
        [],
        `transferTo has ${destinations.length} destinations; at most ${LIMITS.transferTo} are allowed`,
      );
    }
    const seen = new Set<string>();
    for (const [index, { number }] of destinations.entries()) {
      // The model names a destination by its number.
      if (seen.has(number)) refuse([index, 'number'], `transferTo.number ${number} is in the list twice`);
      seen.add(number);
    }
  });

const agent = z
  .object({
    name: words(LIMITS.name, 'name').optional(),
    systemPrompt: words(LIMITS.systemPrompt, 'systemPrompt').optional(),
    // Null clears it: the agent then waits for the caller to speak.
    firstMessage: words(LIMITS.firstMessage, 'firstMessage').nullish(),
    voice: voice.optional(),
    model: model.optional(),
    language: words(LIMITS.language, 'language')
      .refine((value) => /^([a-z]{2,3}(-[A-Za-z0-9]{2,8})*|multi)$/.test(value), {
        error: 'language must be a BCP 47 tag such as "en" or "pt-BR", or "multi"',
      })
      .optional(),
    maxDurationSeconds: integer(
      'maxDurationSeconds',
      LIMITS.minDurationSeconds,
      LIMITS.maxDurationSeconds,
      ' seconds',
    ).optional(),
    transferTo: transferTo.optional(),
    endCall: flag('endCall').optional(),
    // Null clears it: voicemail is then not detected.
    voicemailMessage: words(LIMITS.voicemailMessage, 'voicemailMessage').nullish(),
    useKnowledgeBase: flag('useKnowledgeBase').optional(),
    bookAppointments: flag('bookAppointments').optional(),
    expectedRevision: integer('expectedRevision', 0, 2_147_483_647).optional(),
    recreateIfMissing: z.boolean().nullish(),
  })
  .transform(
    ({ expectedRevision, recreateIfMissing, ...config }): AgentPayload => ({
      // `undefined` is a field left out: it must not reach the merge.
      config: Object.fromEntries(
        Object.entries(config).filter(([, value]) => value !== undefined),
      ) as AgentConfigPatch,
      expectedRevision: expectedRevision ?? null,
      recreateIfMissing: recreateIfMissing ?? false,
    }),
  );

const saveInput = z
  .object({
    inbound: agent.nullish(),
    outbound: agent.nullish(),
    idempotencyKey: idempotencyKey.nullish(),
  })
  .check((context) => {
    if (context.value.inbound == null && context.value.outbound == null) {
      context.issues.push({
        code: 'custom',
        input: context.value,
        path: [],
        message: 'name at least one agent: inbound, outbound or both',
      });
    }
  })
  .transform(
    (value): SaveInput => ({
      inbound: value.inbound ?? null,
      outbound: value.outbound ?? null,
      idempotencyKey: value.idempotencyKey ?? null,
    }),
  );

/** Does this configuration keep every rule that a caller's change must keep? For one that was read out of Vapi. */
export function isValidConfig(config: AgentConfig): boolean {
  const { extraMetadata: _extra, operatorToolIds: _tools, ...named } = config;
  return agent.safeParse(named).success;
}

/**
 * Checks a whole change. All problems come back at once, each with its path; on none, the canonical change. `receivesEvents`: Vapi can
 * ask this server for what the model wants to know during a call.
 */
export function checkSaveInput(
  input: unknown,
  { receivesEvents = true }: { receivesEvents?: boolean } = {},
): Checked<SaveInput> {
  const found = checked(saveInput, input);
  const cannotBook = receivesEvents
    ? []
    : (['inbound', 'outbound'] as const).filter((agent) => asksToBook(input, agent));
  if (cannotBook.length === 0) return found;
  const issues = cannotBook.map((agent) => ({
    path: `input.${agent}.bookAppointments`,
    message:
      'bookAppointments needs a server that Vapi can reach during a call; the operator of this server has not set one (PUBLIC_URL)',
  }));
  return { issues: [...('issues' in found ? found.issues : []), ...issues] };
}

function asksToBook(input: unknown, agent: 'inbound' | 'outbound'): boolean {
  return z.object({ [agent]: z.object({ bookAppointments: z.literal(true) }) }).safeParse(input).success;
}

/** What both systems hold of an organization, and the promise about it. */
import { expect } from 'vitest';
import type { Assistant } from '../../src/local/vapi/assistant-store.ts';
import type { TestApp } from './app.ts';
import type { TestSupabase } from './supabase.ts';

interface AgentRow {
  id: string;
  org_id: string;
  role: 'INBOUND' | 'OUTBOUND';
  config: {
    name: string;
    systemPrompt: string;
    firstMessage: string | null;
    voice: { provider: string; voiceId: string; stability: number | null; similarityBoost: number | null };
    model: { provider: string; name: string; temperature: number | null; maxTokens: number | null };
    language: string;
    maxDurationSeconds: number;
    /** These are absent from a configuration that was saved before they existed. */
    transferTo?: { number: string; description: string; message: string | null }[];
    endCall?: boolean;
    voicemailMessage?: string | null;
    bookAppointments?: boolean;
    operatorToolIds?: string[];
  };
  mapping_version: number;
  context: { toolId?: string; server?: { url: string; credentialId: string } | null };
  vapi_assistant_id: string;
  revision: number;
  last_save_id: string;
}

type Row = Record<string, unknown>;

/** Where both of them are. */
export interface Where {
  supabase: Pick<TestSupabase, 'sql'>;
  vapi: Pick<TestApp['vapi'], 'store'>;
}

export interface Systems {
  /** In Vapi, as GET shows them, by id; without `updatedAt`, which is Vapi's and moves with every write, undo included. */
  assistants: Row[];
  agents: AgentRow[];
  /** The history, oldest first. */
  revisions: Row[];
  /** What Vapi answered, as the database keeps it. */
  observed: Row[];
}

/** Everything of one organization in both systems: whole assistants, whole rows. */
export async function systemsOf({ supabase, vapi }: Where, orgId: string): Promise<Systems> {
  const { sql } = supabase;
  return {
    assistants: assistantsOf(vapi.store.all(), orgId)
      .map(({ updatedAt: _updatedAt, ...rest }) => rest)
      .sort((a, b) => (String(a['id']) < String(b['id']) ? -1 : 1)),
    agents: (
      await sql<{ row: AgentRow }[]>`
        select to_jsonb(a) - 'unconfirmed' as row from public.agents a where org_id = ${orgId} order by role`
    ).map(({ row }) => row),
    revisions: (
      await sql<{ row: Row }[]>`
        select to_jsonb(r) as row from public.agent_revisions r where org_id = ${orgId} order by role, revision`
    ).map(({ row }) => row),
    observed: (
      await sql<{ row: Row }[]>`
        select to_jsonb(o) as row from lockstep.observed o where org_id = ${orgId} order by agent_id`
    ).map(({ row }) => row),
  };
}

/** By their stamp, as a support engineer would look for them. */
function assistantsOf(all: Assistant[], orgId: string): Assistant[] {
  return all.filter(
    ({ metadata }) => (metadata as { lockstep?: { orgId?: string } } | undefined)?.lockstep?.orgId === orgId,
  );
}

/**
 * The promise: every agent's assistant holds what its row says, under the stamp of the save that wrote the row; no other
 * assistant of the organization lives; the history ends in the row; no save is open. Written out here by hand, so that
 * a mistake in the product's own mapping or comparison cannot hide itself.
 */
export async function expectLockstep(lockstep: Where, orgId: string): Promise<Systems> {
  const systems = await systemsOf(lockstep, orgId);
  const { agents, assistants, revisions, observed } = systems;
  const open = await lockstep.supabase.sql`
    select id, status from public.agent_saves
    where org_id = ${orgId} and status not in ('COMMITTED', 'ROLLED_BACK')`;
  expect([...open], 'open saves').toEqual([]);
  expect(assistants.map(({ id }) => id).sort()).toEqual(
    agents.map((agent) => agent.vapi_assistant_id).sort(),
  );
  for (const agent of agents) {
    const { config } = agent;
    const assistant = assistants.find(({ id }) => id === agent.vapi_assistant_id);
    expect(assistant).toMatchObject({
      name: config.name,
      maxDurationSeconds: config.maxDurationSeconds,
      firstMessageMode: config.firstMessage === null ? 'assistant-waits-for-user' : 'assistant-speaks-first',
    });
    expect(assistant?.['firstMessage'] ?? null).toBe(config.firstMessage);
    const search = agent.context.toolId === undefined ? [] : [agent.context.toolId];
    const toolIds = [...search, ...(config.operatorToolIds ?? [])];
    const books = config.bookAppointments === true && (agent.context.server ?? null) !== null;
    const booking = books
      ? ['check_availability', 'book_appointment', 'reschedule_appointment', 'cancel_appointment']
      : [];
    const tools = agent.mapping_version === 1 ? [] : [...toolsOf(config), ...booking.map(functionOf)];
    expect(assistant?.['model']).toEqual({
      provider: config.model.provider,
      model: config.model.name,
      messages: [
        { role: 'system', content: config.systemPrompt },
        ...search.map(() => ({
          role: 'system',
          content: expect.stringContaining('search_knowledge_base') as string,
        })),
        ...booking.slice(0, 1).map((name) => ({
          role: 'system',
          content: expect.stringContaining(name) as string,
        })),
      ],
      ...(tools.length === 0 ? {} : { tools }),
      ...(toolIds.length === 0 ? {} : { toolIds }),
      ...(config.model.temperature === null ? {} : { temperature: config.model.temperature }),
      ...(config.model.maxTokens === null ? {} : { maxTokens: config.model.maxTokens }),
    });
    if (agent.mapping_version > 1)
      expect(assistant?.['voicemailMessage'] ?? null).toBe(config.voicemailMessage ?? null);
    if (agent.mapping_version > 1 && agent.context.server !== undefined) {
      const { server } = agent.context;
      expect(assistant?.['server'] ?? null).toEqual(
        server === null ? null : expect.objectContaining({ ...server, timeoutSeconds: 20 }),
      );
      expect(assistant?.['serverMessages'] ?? null).toEqual(
        server === null ? null : ['status-update', 'end-of-call-report', 'tool-calls'],
      );
    }
    expect(assistant?.['voice']).toMatchObject({
      provider: config.voice.provider,
      voiceId: config.voice.voiceId,
      ...(config.voice.stability === null ? {} : { stability: config.voice.stability }),
      ...(config.voice.similarityBoost === null ? {} : { similarityBoost: config.voice.similarityBoost }),
    });
    expect(assistant?.['transcriber']).toMatchObject({ language: config.language });
    expect(assistant?.['metadata']).toMatchObject({
      lockstep: {
        orgId,
        agentId: agent.id,
        role: agent.role,
        saveId: agent.last_save_id,
        revision: agent.revision,
      },
    });
    const history = revisions.filter((revision) => revision['agent_id'] === agent.id);
    expect(history.map((revision) => revision['revision'])).toEqual(
      Array.from({ length: agent.revision }, (_, index) => index + 1),
    );
    // The save and the assistant of a revision are those that made it; a later save may have kept the revision.
    // It may have been written before a field existed.
    expect(config).toMatchObject(history.at(-1)?.['config'] as Row);
    expect(observed.find((seen) => seen['agent_id'] === agent.id)).toMatchObject({
      document: {
        name: config.name,
        model: {
          messages: [
            { content: config.systemPrompt },
            ...search.map(() => expect.anything()),
            ...booking.slice(0, 1).map(() => expect.anything()),
          ],
        },
      },
    });
  }
  return systems;
}

function functionOf(name: string): Row {
  return { type: 'function', function: expect.objectContaining({ name }) };
}

function toolsOf({ transferTo = [], endCall = false }: AgentRow['config']): Row[] {
  const destinations = transferTo.map(({ number, description, message }) => ({
    ...{ type: 'number', number, description },
    ...(message === null ? {} : { message }),
  }));
  return [
    ...(destinations.length === 0 ? [] : [{ type: 'transferCall', destinations }]),
    ...(endCall ? [{ type: 'endCall' }] : []),
  ];
}

/** The calls in which background jobs look for work. */
const LOOKS =
  /rpc\/(saga_due|lease_take|lease_release|agents_stale|set_event_server|phone_number_(activation|attachment)_due|knowledge_base_due)$/;

/** The REST calls so far, without those of background jobs that found nothing to do. */
export function databaseCalls({ supabase }: TestApp): string[] {
  return supabase.requests.all
    .map(({ method, path }) => `${method} ${path.replace('/rest/v1/', '')}`)
    .filter((call) => !LOOKS.test(call));
}

/** From here on `databaseCalls` and `vapiCalls` count anew. */
export async function forgetRequests({ supabase, vapi }: TestApp): Promise<void> {
  supabase.requests.reset();
  await fetch(`${vapi.url}/__stand-in/requests`, { method: 'DELETE' });
}

/** Methods and paths of the requests to Vapi so far. */
export function vapiCalls({ vapi }: TestApp): string[] {
  return vapi.requests.map(({ method, path }) => `${method} ${path}`);
}

/** The text of every row of every table that belongs to the project. */
export async function dumpDatabase({ supabase }: TestApp): Promise<Map<string, string[]>> {
  const { sql } = supabase;
  const tables = await sql<{ schema: string; name: string }[]>`
    select n.nspname as schema, c.relname as name from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'lockstep') and c.relkind in ('r', 'p')
      -- The jobs of a running server renew them at any moment.
      and c.relname <> 'leases' order by 1, 2`;
  const dump = new Map<string, string[]>();
  for (const { schema, name } of tables) {
    const rows = await sql<{ text: string }[]>`
      select t::text as text from ${sql(schema)}.${sql(name)} t order by 1`;
    dump.set(
      `${schema}.${name}`,
      rows.map(({ text }) => text),
    );
  }
  return dump;
}

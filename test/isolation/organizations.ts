/** Two organizations that own rows in every table, for tests that neither sees rows of the other. */
import { randomUUID } from 'node:crypto';
import { gql } from 'graphql-request';
import postgres from 'postgres';
import type { Caller, TestApp } from '../support/app.ts';
import type { TestSupabase } from '../support/supabase.ts';

/** An organization, its user, and the ids of what it owns. */
export interface Owner extends Caller {
  email: string;
  password: string;
  agents: { INBOUND: string; OUTBOUND: string };
  assistants: string[];
  save: string;
  idempotencyKey: string;
  phoneNumbers: string[];
  documents: string[];
  calls: string[];
  appointments: string[];
}

const SAVE = gql`
  mutation ($input: UpdateAgentsInput!) {
    updateAgents(input: $input) {
      __typename
      ... on UpdateAgentsSuccess { save { id } agents { id role vapiAssistantId } }
    }
  }
`;

interface Saved {
  updateAgents: {
    __typename: string;
    save: { id: string };
    agents: { id: string; role: 'INBOUND' | 'OUTBOUND'; vapiAssistantId: string }[];
  };
}

/** Saves both agents through the API, and fills the tables that the API only reads. */
export async function createOwner(app: TestApp, name: string): Promise<Owner> {
  const { sql, ...supabase } = app.supabase;
  const minute = String(name.codePointAt(0) ?? 0)
    .slice(-1)
    .padStart(2, '1');
  const orgId = await supabase.createOrganization(name);
  const user = await supabase.createUser({ orgId });
  const { accessToken: token } = await supabase.signIn(user.email, user.password);
  const client = app.clientFor(token);
  const idempotencyKey = `key of ${name}`;
  const { updateAgents } = await client.request<Saved>(SAVE, {
    input: {
      idempotencyKey,
      inbound: { systemPrompt: `Secret of ${name}, inbound` },
      outbound: { systemPrompt: `Secret of ${name}, outbound` },
    },
  });
  if (updateAgents.__typename !== 'UpdateAgentsSuccess') throw new Error(updateAgents.__typename);
  const idOf = (role: 'INBOUND' | 'OUTBOUND') =>
    updateAgents.agents.find((agent) => agent.role === role)?.id ?? '';
  const agents = { INBOUND: idOf('INBOUND'), OUTBOUND: idOf('OUTBOUND') };

  const phoneNumbers = ids(2);
  const documents = ids(4);
  const calls = ids(6);
  const appointments = ids(5);
  const digits = () => String(Math.floor(Math.random() * 1e9)).padStart(9, '0');
  await sql`insert into public.phone_numbers ${sql(
    phoneNumbers.map((id, i) => ({
      id,
      org_id: orgId,
      number: `+49${digits()}`,
      provider: 'vapi',
      state: 'ACTIVE',
      label: `Number ${i} of ${name}`,
      agent_id: i === 0 ? agents.INBOUND : null,
    })),
  )}`;
  await sql`insert into public.knowledge_base_documents ${sql(
    documents.map((id, i) => ({
      id,
      org_id: orgId,
      name: `Document ${i} of ${name}`,
      content_type: 'text/plain',
      size_bytes: 1_000 + i,
      state: (['UPLOADING', 'PROCESSING', 'READY', 'FAILED'] as const)[i] ?? 'READY',
      failure: i === 3 ? 'The file holds no text.' : null,
      created_at: `2026-03-0${i + 1}T10:${minute}:00Z`,
    })),
  )}`;
  await sql`
    insert into lockstep.document_contents (org_id, document_id, sha256, content)
    values (${orgId}, ${documents[2] ?? null}, ${'0'.repeat(64)}, ${Buffer.from(`Secret of ${name}`)})`;
  await sql`insert into lockstep.query_tools (org_id, tool_id) values (${orgId}, ${`tool of ${name}`})`;
  await sql`insert into public.call_logs ${sql(
    calls.map((id, i) => ({
      id,
      org_id: orgId,
      agent_id: i % 2 === 0 ? agents.INBOUND : agents.OUTBOUND,
      phone_number_id: phoneNumbers[i % 2] ?? null,
      direction: i % 2 === 0 ? 'INBOUND' : 'OUTBOUND',
      customer_name: `Customer ${i} of ${name}`,
      started_at: `2026-03-0${i + 1}T11:${minute}:00Z`,
      ended_at: `2026-03-0${i + 1}T12:00:00Z`,
      outcome: i % 3 === 0 ? 'VOICEMAIL' : 'COMPLETED',
      summary: `Summary ${i} of ${name}`,
    })),
  )}`;
  await sql`insert into public.call_contents ${sql(
    calls.slice(1).map((id) => ({
      call_id: id,
      org_id: orgId,
      transcript: sql.json([{ role: 'customer', text: `Words of ${name}` }]),
    })),
  )}`;
  await sql`insert into public.appointments ${sql(
    appointments.map((id, i) => ({
      id,
      org_id: orgId,
      call_id: calls[i] ?? null,
      customer_name: `Customer ${i} of ${name}`,
      starts_at: `2026-04-0${i + 1}T08:${minute}:00Z`,
      ends_at: `2026-04-0${i + 1}T09:30:00Z`,
      status: (['SCHEDULED', 'CONFIRMED', 'COMPLETED', 'CANCELLED', 'NO_SHOW'] as const)[i] ?? 'SCHEDULED',
    })),
  )}`;
  await sql`insert into lockstep.booking_rules (org_id, time_zone) values (${orgId}, 'Europe/Berlin')`;
  await sql`
    insert into lockstep.tool_calls (org_id, call_id, key, function, answer, answered_at)
    values (${orgId}, ${calls[0] ?? null}, 'key', 'book_appointment',
      ${sql.json({ outcome: 'DONE', appointment: { id: appointments[0] ?? '', customerName: `Secret of ${name}` } })}, now())`;
  return {
    orgId,
    userId: user.id,
    token,
    client,
    email: user.email,
    password: user.password,
    agents,
    assistants: updateAgents.agents.map((agent) => agent.vapiAssistantId),
    save: updateAgents.save.id,
    idempotencyKey,
    phoneNumbers,
    documents,
    calls,
    appointments,
  };
}

function ids(count: number): string[] {
  return Array.from({ length: count }, () => randomUUID());
}

/** A digest of all rows of all our tables. Two equal digests mean that nothing changed in between. */
export async function digestOf(sql: postgres.Sql): Promise<Record<string, string>> {
  const tables = await sql<{ name: string }[]>`
    select c.oid::regclass::text as name from pg_class c
    where c.relnamespace in ('public'::regnamespace, 'lockstep'::regnamespace) and c.relkind in ('r', 'p') order by 1`;
  const digests: Record<string, string> = {};
  for (const { name } of tables) {
    const [row] = await sql.unsafe<{ digest: string }[]>(
      `select count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' order by t::text)), '') as digest from ${name} t`,
    );
    digests[name] = row?.digest ?? '';
  }
  return digests;
}

/** The roles of a request. On a hosted project, PostgREST connects as `authenticator` and switches to one of them. */
export const ROLES = ['anonymous', 'user of A', 'user of B', 'service'] as const;
export type Role = (typeof ROLES)[number];

/** A connection as the login role of PostgREST. */
export function asAuthenticator(supabase: TestSupabase): postgres.Sql {
  const url = new URL(supabase.databaseUrl);
  url.username = 'authenticator';
  return postgres(url.href, { max: 1, onnotice: () => {} });
}

/** Sets role and claims as PostgREST does before the statement of a request. */
export async function become(
  tx: postgres.TransactionSql,
  role: 'anon' | 'authenticated' | 'service_role',
  claims: object,
): Promise<void> {
  await tx`select set_config('role', ${role}, true), set_config('request.jwt.claims', ${JSON.stringify(claims)}, true)`;
}

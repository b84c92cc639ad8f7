/**
 * The server alone: canned answers in the place of Supabase's REST layer and database, the Vapi stand-in in the place of Vapi.
 * A local REST layer would be what is measured otherwise.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { GraphQLClient, gql } from 'graphql-request';
import { SignJWT } from 'jose';
import type { Database } from '../src/adapters/supabase/database.types.ts';
import { type AgentConfig, type AgentRole, defaultConfig } from '../src/domain/agents/agent-config.ts';
import type { AgentRecord } from '../src/domain/agents/save.ts';
import type { JsonObject } from '../src/domain/json.ts';
import type { SagaRecord } from '../src/domain/saga.ts';
import { startVapiStandIn, type VapiStandIn } from '../src/local/vapi/server.ts';
import type { BeginOutcome, BeginRequest } from '../src/ports/agents/save-journal.ts';
import type { TransitionOutcome } from '../src/ports/saga-journal.ts';
import { MAPPING_VERSION } from '../src/services/agents/render.ts';
import { distribution, PROMPT_CHARACTERS, prompt, report, timed } from './figure.ts';
import { assertSaved, SAVE, type SaveAnswer, saveInput } from './local.ts';
import { BARE, cpuMs, type ServerProcess, startServer } from './process.ts';

type AgentRow = Database['public']['Tables']['agents']['Row'];

export const JWT_SECRET = 'benchmark-secret-of-at-least-32-characters';
export const VAPI_KEY = 'benchmark-master-key';
const CALLERS = 16;
/** How often a measurement changes between the server and the bare libraries. */
const TURNS = 5;
const READ = gql`{ agents { role name systemPrompt revision voice { provider voiceId } sync { status checkedAt } } }`;
const CALLS = gql`{
  calls(first: 50) {
    nodes { startedAt durationSeconds customerName summary direction outcome }
    pageInfo { hasNextPage endCursor }
  }
}`;

const now = new Date().toISOString();
const idOf: Record<AgentRole, string> = { INBOUND: randomUUID(), OUTBOUND: randomUUID() };

export async function benchServer(folder: string, requests: number): Promise<void> {
  const vapi = await startVapiStandIn({ key: VAPI_KEY });
  const assistants = await makeAssistants(vapi);
  const rest = await startCannedRest(assistants);
  const supabaseUrl = `http://127.0.0.1:${(rest.address() as AddressInfo).port}`;
  const variables = {
    SUPABASE_URL: supabaseUrl,
    SUPABASE_PUBLISHABLE_KEY: 'sb_publishable_benchmark',
    SUPABASE_SECRET_KEY: 'sb_secret_benchmark',
    SUPABASE_JWT_SECRET: JWT_SECRET,
    VAPI_BASE_URL: vapi.url,
    VAPI_PRIVATE_KEY: VAPI_KEY,
    RECONCILE_INTERVAL_MS: '0',
  };
  const [server, bare] = await Promise.all([
    startServer(folder, variables),
    startServer(folder, variables, { entry: BARE }),
  ]);
  try {
    // A caller, an organization: in one organization, one save waits for the other.
    const tokens = await Promise.all(
      Array.from({ length: CALLERS }, () => tokenFor(randomUUID(), `${supabaseUrl}/auth/v1`)),
    );
    const clientsOf = ({ origin }: ServerProcess) =>
      tokens.map(
        (token) => new GraphQLClient(`${origin}/graphql`, { headers: { authorization: `Bearer ${token}` } }),
      );
    const clients = clientsOf(server);
    const bareClients = clientsOf(bare);
    const canned =
      `${CALLERS} callers at once; canned answers in the place of Supabase, the Vapi stand-in in the place of Vapi; ` +
      'callers and both of these share one other process of the same machine';
    const save = async (client: GraphQLClient, number: number) =>
      assertSaved(await client.request<SaveAnswer>(SAVE, saveInput(number)));
    const read = async (client: GraphQLClient) => {
      const { agents } = await client.request<{ agents: unknown[] }>(READ);
      if (agents.length !== 2) throw new Error('a read of the benchmark was not answered with both agents');
    };
    const list = async (client: GraphQLClient) => {
      const { calls } = await client.request<{ calls: { nodes: unknown[] } }>(CALLS);
      if (calls.nodes.length !== 50)
        throw new Error('a read of the benchmark was not answered with a full page');
    };
    for (const [name, work] of [
      ['save', save],
      ['read', read],
      ['list', list],
    ] as const) {
      // In turns, so that whatever else the machine does meanwhile falls on both.
      const samples: number[] = [];
      const cpu = { server: 0, bare: 0 };
      let ms = 0;
      await load(clients, Math.min(requests, 400), work);
      await load(bareClients, Math.min(requests, 400), work);
      const inTurn = Math.ceil(requests / TURNS);
      for (let turn = 0; turn < TURNS; turn += 1) {
        const serverBefore = await cpuMs(server.pid);
        const [tookMs, some] = await timed(() => load(clients, inTurn, work));
        cpu.server += ((await cpuMs(server.pid)) ?? Number.NaN) - (serverBefore ?? 0);
        ms += tookMs;
        samples.push(...some);
        const bareBefore = await cpuMs(bare.pid);
        await load(bareClients, inTurn, work);
        cpu.bare += ((await cpuMs(bare.pid)) ?? Number.NaN) - (bareBefore ?? 0);
      }
      const done = inTurn * TURNS;
      report({
        name: `server.${name}.throughput`,
        value: (done * 1_000) / ms,
        unit: `${name}s/s`,
        n: done,
        note: canned,
      });
      report({ name: `server.${name}.latency`, ...distribution(samples), unit: 'ms', note: canned });
      if (Number.isNaN(cpu.server)) continue;
      report({
        name: `server.${name}.cpu`,
        value: cpu.server / done,
        unit: 'ms',
        n: done,
        note: `CPU time of the server's process for one ${name}: what a core can do at most is 1000 / this`,
      });
      report({
        name: `server.${name}.cpu_ratio`,
        value: cpu.server / Math.max(1, cpu.bare),
        unit: 'times',
        n: done,
        note: 'that CPU time divided by that of the bare libraries (bench/bare.ts), measured in turns',
      });
    }
  } finally {
    await Promise.all([server.stop(), bare.stop()]);
    await vapi.stop();
    rest.closeAllConnections();
    rest.close();
  }
}

/** This many requests in all, each caller one after the other; milliseconds of each. */
async function load(
  clients: readonly GraphQLClient[],
  requests: number,
  work: (client: GraphQLClient, number: number) => Promise<void>,
): Promise<number[]> {
  const samples: number[] = [];
  let started = 0;
  await Promise.all(
    clients.map(async (client) => {
      while (started < requests) {
        started += 1;
        const number = started;
        const [ms] = await timed(() => work(client, number));
        samples.push(ms);
      }
    }),
  );
  return samples;
}

export function tokenFor(orgId: string, issuer: string, secret = JWT_SECRET): Promise<string> {
  return new SignJWT({ role: 'authenticated', app_metadata: { org_id: orgId } })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(randomUUID())
    .setIssuer(issuer)
    .setAudience('authenticated')
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(secret));
}

export async function makeAssistants(vapi: VapiStandIn): Promise<Record<AgentRole, string>> {
  const make = async () => {
    const response = await fetch(`${vapi.url}/assistant`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${VAPI_KEY}`,
        'content-type': 'application/json',
        'user-agent': 'benchmark',
      },
      body: JSON.stringify({ name: 'Benchmark' }),
    });
    const { id } = (await response.json()) as { id: string };
    return id;
  };
  return { INBOUND: await make(), OUTBOUND: await make() };
}

/** Answers each call of the server as a database would that holds two agents and accepts everything. */
export async function startCannedRest(assistants: Record<AgentRole, string>): Promise<Server> {
  const config = (role: AgentRole): AgentConfig => ({
    ...defaultConfig(role),
    systemPrompt: prompt(PROMPT_CHARACTERS, 0),
  });
  const rows = (['INBOUND', 'OUTBOUND'] as const).map(
    (role) =>
      ({
        id: idOf[role],
        role,
        config: config(role) as unknown as AgentRow['config'],
        vapi_assistant_id: assistants[role],
        revision: 1,
        last_synced_at: now,
        checked_at: now,
        drift: [],
        missing_since: null,
      }) satisfies Partial<AgentRow>,
  );
  const calls = Array.from(
    { length: 51 },
    (_, number) =>
      ({
        id: randomUUID(),
        org_id: randomUUID(),
        agent_id: idOf.INBOUND,
        phone_number_id: randomUUID(),
        direction: 'INBOUND',
        customer_number: '+15550100',
        customer_name: 'Robin Example',
        started_at: `2026-01-01T00:${10 + (number % 50)}:00.000001+00:00`,
        ended_at: `2026-01-01T00:${10 + (number % 50)}:42.000001+00:00`,
        outcome: 'COMPLETED',
        ended_reason: 'customer-ended-call',
        summary: 'The caller moved an appointment to Tuesday at ten. '.repeat(4),
        cost_usd: 0.12,
      }) satisfies Partial<Database['public']['Tables']['call_logs']['Row']>,
  );
  const sagaOf = (id: string, status: SagaRecord['status']): SagaRecord => ({
    id,
    status,
    epoch: 1,
    kind: 'agents',
    cause: 'USER',
    ambiguous: false,
    mappingVersion: MAPPING_VERSION,
    results: [],
    failure: null,
    startedAt: now,
    finishedAt: status === 'COMMITTED' ? now : null,
  });
  const begin = (id: string, request: BeginRequest): BeginOutcome => ({
    outcome: 'BEGUN',
    saga: sagaOf(id, 'APPLYING'),
    deployment: '11111111-1111-4111-8111-111111111111',
    images: request.updates.map(({ role, patch, defaults }) => ({
      key: role,
      resource: 'agent',
      resourceId: idOf[role],
      remoteId: assistants[role],
      recreate: false,
      before: {
        content: config(role) as unknown as JsonObject,
        revision: 1,
        sagaId: id,
        mappingVersion: MAPPING_VERSION,
        context: {},
      },
      after: {
        content: { ...config(role), ...defaults, ...patch } as unknown as JsonObject,
        revision: 2,
        context: {},
      },
    })),
  });
  const commit = (id: string): TransitionOutcome<AgentRecord> => ({
    outcome: 'COMMITTED',
    saga: sagaOf(id, 'COMMITTED'),
    rows: (['INBOUND', 'OUTBOUND'] as const).map(
      (role): AgentRecord => ({
        id: idOf[role],
        role,
        config: config(role),
        assistantId: assistants[role],
        revision: 2,
        lastSyncedAt: now,
        checkedAt: now,
        drift: [],
        missing: false,
        adoptable: null,
      }),
    ),
  });
  const answer = async (request: IncomingMessage): Promise<unknown> => {
    const path = request.url?.split('?', 1)[0];
    if (path === '/rest/v1/agents') return rows;
    if (path === '/rest/v1/rpc/list_page') return calls;
    const body = JSON.parse(await text(request)) as {
      p_saga_id: string;
      p_request: BeginRequest;
      p_seen: string;
    };
    if (path === '/rest/v1/rpc/begin_agents') return begin(body.p_saga_id, body.p_request);
    if (path === '/rest/v1/rpc/saga_commit') return commit(body.p_saga_id);
    if (path === '/rest/v1/rpc/replica_beat')
      return { replicas: 1, known: true, now: Date.now(), sweptAt: null };
    if (path === '/rest/v1/rpc/vapi_account') return body.p_seen;
    return [];
  };
  const server = createServer((request, response) => {
    void (
      request.method === 'GET' && request.url?.startsWith('/rest/v1/agent_saves')
        ? Promise.resolve([])
        : answer(request)
    )
      .then((body) =>
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
      )
      .catch((error: unknown) => response.writeHead(500).end(String(error)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function text(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString() || '{}';
}

/**
 * The lower bound of a request's cost: the same answers with the same libraries, and nothing of Lockstep. It checks the token,
 * makes the same calls to Supabase and Vapi, and answers by Yoga. No validation of values, limits, journal logic or logs.
 */
import { createServer } from 'node:http';
import { createClient } from '@supabase/supabase-js';
import got from 'got';
import { createSchema, createYoga } from 'graphql-yoga';
import { jwtVerify } from 'jose';

const variable = (name: string) => process.env[name] ?? '';
const url = variable('SUPABASE_URL');
const jwtKey = new TextEncoder().encode(variable('SUPABASE_JWT_SECRET'));
const service = createClient(url, variable('SUPABASE_SECRET_KEY'));
const vapi = got.extend({
  prefixUrl: variable('VAPI_BASE_URL'),
  headers: { authorization: `Bearer ${variable('VAPI_PRIVATE_KEY')}`, 'user-agent': 'benchmark' },
  retry: { limit: 0 },
  timeout: { request: 10_000 },
});

interface Agent {
  role: string;
  revision: number;
  assistantId: string;
  config: { name: string; systemPrompt: string; voice: object };
}
interface Image {
  key: string;
  remoteId: string;
  after: { content: { name: string; systemPrompt: string; voice: object } };
}

const typeDefs = /* GraphQL */ `
  scalar DateTime
  type Voice { provider: String! voiceId: String! }
  type Sync { status: String! checkedAt: DateTime }
  type Agent {
    role: String! name: String! systemPrompt: String! revision: Int! vapiAssistantId: String
    voice: Voice! sync: Sync!
  }
  type Call { startedAt: DateTime! durationSeconds: Int customerName: String summary: String direction: String! outcome: String }
  type PageInfo { hasNextPage: Boolean! endCursor: String }
  type Calls { nodes: [Call!]! pageInfo: PageInfo! }
  type UpdateAgentsSuccess { agents: [Agent!]! }
  type Failed implements Error { message: String! }
  interface Error { message: String! }
  union UpdateAgentsResult = UpdateAgentsSuccess | Failed
  input AgentInput { systemPrompt: String }
  input UpdateAgentsInput { inbound: AgentInput outbound: AgentInput }
  type Query { agents: [Agent!]! calls(first: Int): Calls! }
  type Mutation { updateAgents(input: UpdateAgentsInput!): UpdateAgentsResult! }
`;

type Row = Record<'started_at' | 'ended_at' | 'customer_name' | 'summary' | 'direction' | 'outcome', string>;

interface Context {
  token: string;
  orgId: string;
}

function callerClient({ token }: Context) {
  return createClient(url, variable('SUPABASE_PUBLISHABLE_KEY'), {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    global: { headers: { Authorization: `Bearer ${token}` } },
  });
}

const shown = (agent: Agent) => ({
  ...agent,
  ...agent.config,
  vapiAssistantId: agent.assistantId,
  sync: { status: 'IN_SYNC', checkedAt: null },
});

const resolvers = {
  Query: {
    agents: async (_root: unknown, _args: unknown, context: Context) => {
      const { data, error } = await callerClient(context).from('agents').select().order('role');
      if (error !== null) throw error;
      return data.map(shown);
    },
    calls: async (_root: unknown, { first }: { first: number }, context: Context) => {
      const { data, error } = await callerClient(context).rpc('list_page', {
        ...{ p_list: 'call_logs', p_filter: {}, p_window: { ascending: false, limit: first + 1 } },
      });
      if (error !== null) throw error;
      const nodes = data.slice(0, first).map((row: Row) => ({
        startedAt: row.started_at,
        durationSeconds: Math.round((Date.parse(row.ended_at) - Date.parse(row.started_at)) / 1_000),
        customerName: row.customer_name,
        summary: row.summary,
        direction: row.direction,
        outcome: row.outcome,
      }));
      return { nodes, pageInfo: { hasNextPage: data.length > first, endCursor: nodes.at(-1)?.startedAt } };
    },
  },
  Mutation: {
    updateAgents: async (_root: unknown, { input }: { input: object }, { orgId }: Context) => {
      const saveId = crypto.randomUUID();
      const updates = Object.entries(input).map(([role, patch]) => ({
        role: role.toUpperCase(),
        patch: patch as object,
        defaults: {},
      }));
      const begun = await service.rpc('begin_agents', {
        p_org_id: orgId,
        p_saga_id: saveId,
        p_owner: 'bare',
        p_request: { updates },
      });
      if (begun.error !== null) throw begun.error;
      const parts = await Promise.all(
        (begun.data as { images: Image[] }).images.map(
          async ({ key, remoteId, after: { content: config } }) => {
            const json = {
              name: config.name,
              model: {
                provider: 'openai',
                model: 'gpt-4o',
                messages: [{ role: 'system', content: config.systemPrompt }],
              },
            };
            await vapi.patch(`assistant/${remoteId}`, { json }).json();
            return { key, remoteId, observed: json };
          },
        ),
      );
      const committed = await service.rpc('saga_commit', {
        p_org_id: orgId,
        p_saga_id: saveId,
        p_epoch: 1,
        p_request: { parts },
      });
      if (committed.error !== null) throw committed.error;
      return {
        __typename: 'UpdateAgentsSuccess',
        agents: (committed.data as { rows: Agent[] }).rows.map(shown),
      };
    },
  },
};

const yoga = createYoga({
  schema: createSchema<Context>({ typeDefs, resolvers }),
  logging: false,
  context: async ({ request }): Promise<Context> => {
    const token = /^Bearer (.+)$/.exec(request.headers.get('authorization') ?? '')?.[1] ?? '';
    const { payload } = await jwtVerify(token, jwtKey, {
      algorithms: ['HS256'],
      audience: 'authenticated',
      issuer: `${url}/auth/v1`,
    });
    return { token, orgId: (payload['app_metadata'] as { org_id: string }).org_id };
  },
});

const server = createServer((request, response) => {
  if (request.url === '/ready') response.end('{}');
  else void yoga(request, response);
});
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  console.log(JSON.stringify({ url: `http://127.0.0.1:${port}` }));
});
process.on('SIGTERM', () => process.exit(0));

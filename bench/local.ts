/** `npm start` as a newcomer has it: how long it takes, what it needs, and a save through all of it. */
import { GraphQLClient, gql } from 'graphql-request';
import { distribution, PROMPT_CHARACTERS, prompt, report, timed } from './figure.ts';
import { memoryMb, startServer } from './process.ts';

export const SAVE = gql`
  mutation Save($input: UpdateAgentsInput!) {
    updateAgents(input: $input) {
      __typename
      ... on UpdateAgentsSuccess { agents { role revision vapiAssistantId sync { status } } }
      ... on Error { message }
    }
  }
`;

export interface SaveAnswer {
  updateAgents: { __typename: string; message?: string };
}

/** Both agents, with prompts of their own for each number. */
export function saveInput(number: number) {
  const agent = { systemPrompt: prompt(PROMPT_CHARACTERS, number) };
  return { input: { inbound: agent, outbound: agent } };
}

/** Throws unless it was saved: a refusal is quick, and would be a fine figure. */
export function assertSaved({ updateAgents }: SaveAnswer): void {
  if (updateAgents.__typename !== 'UpdateAgentsSuccess') {
    throw new Error(
      `a save of the benchmark was answered ${updateAgents.__typename}: ${updateAgents.message}`,
    );
  }
}

export async function benchLocal(folder: string, saves: number): Promise<void> {
  const [firstMs, first] = await timed(() => startServer(folder));
  report({
    name: 'start.first',
    value: firstMs,
    unit: 'ms',
    note: 'src/main.ts in an empty folder, until /ready: makes the database, applies migrations and seed',
  });
  await first.stop();
  const [againMs, server] = await timed(() => startServer(folder));
  try {
    report({
      name: 'start.again',
      value: againMs,
      unit: 'ms',
      note: 'the same, with the data of the first start',
    });
    const { token } = await signIn(server.output());
    const client = new GraphQLClient(`${server.origin}/graphql`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const samples: number[] = [];
    const warm = Math.min(10, saves);
    for (let number = 0; number < saves + warm; number += 1) {
      const [ms, answer] = await timed(() => client.request<SaveAnswer>(SAVE, saveInput(number)));
      assertSaved(answer);
      if (number >= warm) samples.push(ms);
    }
    report({
      name: 'local.save',
      ...distribution(samples),
      unit: 'ms',
      note:
        'one caller, one save of both agents after the other, by HTTP; server, REST layer and Vapi stand-in share one process, ' +
        'so this says little about production',
    });
    const memory = await memoryMb(server.pid);
    if (memory === null) {
      console.error('No /proc here: no figures of memory and CPU.');
      return;
    }
    const note = `after ${saves + warm} saves; pages shared between processes count by their share`;
    report({
      name: 'start.memory',
      value: memory.itself,
      unit: 'MB',
      note: `server, REST layer and Vapi stand-in; ${note}`,
    });
    report({
      name: 'start.memory.postgres',
      value: memory.children,
      unit: 'MB',
      note: `the embedded Postgres; ${note}`,
    });
  } finally {
    await server.stop();
  }
}

/** As the start-up message says. */
async function signIn(output: string): Promise<{ token: string }> {
  const [, url = '', key = ''] = /Supabase +(\S+) +publishable key (\S+)/.exec(output) ?? [];
  const response = await fetch(`${url}/auth/v1/token?grant_type=password`, {
    method: 'POST',
    headers: { apikey: key, 'content-type': 'application/json' },
    body: JSON.stringify({ email: 'owner@north.example', password: 'lockstep-demo' }),
  });
  const { access_token: token } = (await response.json()) as { access_token: string };
  return { token };
}

/**
 * Plays a call against the Vapi stand-in that `npm start` runs, and prints the conversation.
 * `npm run demo:call -- [--url URL] [--assistant ID] [--name NAME] [--number E164] [--pace MS]`
 * Without `--assistant`: the first agent that takes appointments, else the first one. `--name` and `--number` are the caller's, `--pace` is
 * the time of a line. Exit codes: 0 played; 1 not played, and why; 64 wrong use.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { bookingSteps } from '../src/local/vapi/call-generator.ts';
import type { CallScriptInput } from '../src/local/vapi/call-script.ts';

const EX_USAGE = 64;
const POLL_MS = 150;
const USAGE =
  'usage: npm run demo:call -- [--url URL] [--assistant ID] [--name NAME] [--number E164] [--pace MS]';

interface Callee {
  assistantId: string;
  name: string | null;
  tools: string[];
  numbers: string[];
}
interface Said {
  role: string;
  message?: string;
  toolCalls?: { function: { name: string; arguments: string } }[];
  name?: string;
  result?: string;
}
interface Followed {
  call: {
    status: string;
    endedReason?: string;
    cost: number;
    startedAt?: string;
    endedAt?: string;
    analysis?: { summary?: string };
  };
  messages: Said[];
}

/** Why nothing could be played, in words for a person. */
class Unplayable extends Error {}

const options = readOptions();
try {
  await play();
} catch (problem) {
  if (!(problem instanceof Unplayable)) throw problem;
  console.error(problem.message);
  process.exitCode = 1;
}

function readOptions() {
  try {
    const text = { type: 'string' } as const;
    const { values } = parseArgs({
      options: { url: text, assistant: text, name: text, number: text, pace: text },
    });
    const pace = Number(values.pace ?? 1_200);
    if (!(pace >= 0 && pace <= 60_000)) throw new Error('--pace must be 0 to 60000 milliseconds');
    const { url = 'http://127.0.0.1:4010', name = 'Ana Ruiz', number = '+14155550187' } = values;
    if (!URL.canParse(url)) throw new Error('--url must be the address of the stand-in');
    return { url: url.replace(/\/$/, ''), name, number, pace, assistant: values.assistant };
  } catch (problem) {
    console.error(`${problem instanceof Error ? problem.message : problem}\n${USAGE}`);
    process.exit(EX_USAGE);
  }
}

async function play(): Promise<void> {
  const callee = chosen(await control<Callee[]>('GET', 'callees'));
  const books = callee.tools.includes('book_appointment');
  const script: CallScriptInput & { wait: boolean } = {
    ...{ assistantId: callee.assistantId, customer: { number: options.number } },
    ...{ ringMs: options.pace, stepMs: options.pace, reportMs: Math.min(1_000, options.pace), wait: false },
    ...(books ? { steps: bookingSteps(options.name) } : {}),
  };
  const { id } = await control<{ id: string }>('POST', 'calls', script);
  const [number] = callee.numbers;
  const [caller, way] =
    number === undefined
      ? [options.name, 'from a browser, because it has no phone number']
      : [`${options.name} (${options.number})`, `on ${number}`];
  console.log(`${caller} calls ${callee.name ?? callee.assistantId} ${way}.\n`);
  if (!books) {
    console.log(
      'This agent takes no appointments: set bookAppointments in its configuration to hear it book one.\n',
    );
  }
  const call = await follow(id);
  console.log(ending(id, call, books));
}

function chosen(callees: Callee[]): Callee {
  const { assistant } = options;
  const callee =
    assistant === undefined
      ? (callees.find(({ tools }) => tools.includes('book_appointment')) ?? callees[0])
      : callees.find(({ assistantId }) => assistantId === assistant);
  if (callee) return callee;
  throw new Unplayable(
    assistant === undefined
      ? 'There is no agent to call yet. Save one first: run an example in GraphiQL, or the command that npm start prints.'
      : `The stand-in has no assistant ${assistant}. Leave --assistant out to call the first agent.`,
  );
}

/** Prints what is said until the report has been made. */
async function follow(id: string): Promise<Followed['call']> {
  let printed = 0;
  for (let last = ''; ; ) {
    const { call, messages } = await control<Followed>('GET', `calls/${id}`);
    if (call.status === 'ringing' && last === '') console.log('  (rings)');
    last = call.status;
    for (const said of messages.slice(printed)) for (const line of linesOf(said)) console.log(line);
    printed = messages.length;
    if (call.status === 'ended' && call.analysis !== undefined) return call;
    await sleep(POLL_MS);
  }
}

function linesOf({ role, message = '', toolCalls = [], name = '', result = '' }: Said): string[] {
  switch (role) {
    case 'bot':
      return [`  Agent   ${message}`];
    case 'user':
      return [`  Caller  ${message}`];
    case 'tool_calls':
      return toolCalls.map((one) => `  (the agent asks ${one.function.name} ${one.function.arguments})`);
    case 'tool_call_result':
      return [`  (${name} answers: ${result})`];
    default:
      return [];
  }
}

function ending(id: string, call: Followed['call'], books: boolean): string {
  const { startedAt, endedAt, endedReason, cost, analysis } = call;
  const seconds = startedAt && endedAt ? (Date.parse(endedAt) - Date.parse(startedAt)) / 1_000 : 0;
  return `
The call ${id} is over: ${endedReason}, ${seconds.toFixed(0)} s, $${cost.toFixed(4)}.
${analysis?.summary ?? ''}

Look at it in GraphiQL, at the address that npm start prints, as a user of the organization that was called:

  query { calls(first: 1) { nodes { startedAt outcome durationSeconds costUsd summary customerNumber } } }
${books ? '  query { appointments(first: 5) { nodes { startsAt customerName status } } }\n' : ''}
Stop the server during another call (kill -9 as well), start it again, and look again: that call will be complete.`;
}

async function control<T>(method: string, path: string, body?: object): Promise<T> {
  const response = await fetch(`${options.url}/__stand-in/${path}`, {
    ...{ method, body: body ? JSON.stringify(body) : null },
  }).catch(() => {
    throw new Unplayable(
      path.startsWith('calls/')
        ? 'The server was stopped during the call. Start it again with npm start: the call goes on and will be complete.'
        : `Nothing answers at ${options.url}. Start Lockstep with npm start, and pass the address of its Vapi stand-in as --url if it is another one.`,
    );
  });
  const answer = (await response.json().catch(() => undefined)) as (T & { message?: unknown }) | undefined;
  if (response.ok && answer !== undefined) return answer;
  throw new Unplayable(
    `What answers at ${options.url} is not the Vapi stand-in, or refuses the call: ${answer?.message ?? response.status}`,
  );
}

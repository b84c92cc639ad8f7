import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { buildSchema, parse, validate } from 'graphql';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DEFAULT_VAPI_ORG_ID, startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts';

const SCRIPT = 'scripts/demo-call.ts';

let standIn: VapiStandIn;
let receiver: WebhookReceiver;
beforeEach(async () => {
  receiver = await startWebhookReceiver();
  receiver.answer = ({ type, toolCallList }) => {
    if (type !== 'tool-calls') return {};
    const [{ id, function: called }] = toolCallList;
    const result =
      called.name === 'check_availability'
        ? 'Today is Thursday 2026-11-26, it is 08:00 (UTC). Free times: Monday 2026-11-30 at 14:30; Monday 2026-11-30 at 15:00.'
        : `Booked for ${JSON.parse(called.arguments).name}.`;
    return { body: { results: [{ toolCallId: id, result }] } };
  };
  standIn = await startVapiStandIn();
});
afterEach(async () => {
  await standIn.stop();
  receiver.stop();
});

const createAgent = (name: string, tools: string[]) =>
  standIn.store.create(DEFAULT_VAPI_ORG_ID, {
    ...{ name, firstMessage: 'North Dental, how can I help?' },
    server: { url: receiver.url },
    model: {
      ...{ provider: 'openai', model: 'gpt-4.1-mini' },
      tools: tools.map((tool) => ({ type: 'function', function: { name: tool } })),
    },
  });

function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const url = args.includes('--url') ? [] : ['--url', standIn.url];
  return new Promise((resolve) => {
    execFile(process.execPath, [SCRIPT, ...url, '--pace', '0', ...args], (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}

test('books a free time with the first agent that takes appointments, and prints the conversation', async () => {
  createAgent('Outbound', []);
  createAgent('Inbound', ['check_availability', 'book_appointment']);
  const { code, out, err } = await run('--name', 'Bo Chen');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  const lines = out.split('\n').map((line) => line.trim());
  expect(lines).toEqual(
    expect.arrayContaining([
      'Bo Chen calls Inbound from a browser, because it has no phone number.',
      'Agent   North Dental, how can I help?',
      '(the agent asks check_availability {})',
      'Agent   I can offer you 2026-11-30 at 14:30. Does that suit you?',
      'Caller  Yes, please. My name is Bo Chen.',
      '(the agent asks book_appointment {"date":"2026-11-30","time":"14:30","name":"Bo Chen"})',
      'Agent   Booked for Bo Chen.',
    ]),
  );
  expect(lines).toContainEqual(
    expect.stringMatching(/^The call .+ is over: customer-ended-call, \d+ s, \$0\./),
  );
  expect(standIn.calls.all()).toMatchObject([{ status: 'ended' }]);
});

test('prints queries that the schema of Lockstep accepts', async () => {
  createAgent('Inbound', ['check_availability', 'book_appointment']);
  const { out } = await run();
  const queries = out.split('\n').filter((line) => line.trim().startsWith('query {'));
  expect(queries).toHaveLength(2);
  const schema = buildSchema(await readFile('schema.graphql', 'utf8'));
  for (const query of queries) expect(validate(schema, parse(query))).toEqual([]);
});

test('plays a plain call with an agent that takes no appointments, and says why', async () => {
  createAgent('Inbound', []);
  const { code, out } = await run();
  expect(code).toBe(0);
  expect(out).toContain('takes no appointments');
});

test('says what to do if there is no agent, nothing runs, or something else answers', async () => {
  const none = await run();
  expect(none).toMatchObject({ code: 1, err: expect.stringContaining('There is no agent to call yet') });
  const nobody = await run('--assistant', 'nobody');
  expect(nobody).toMatchObject({ code: 1, err: expect.stringContaining('has no assistant nobody') });
  const other = await run('--url', receiver.url);
  expect(other).toMatchObject({ code: 1, err: expect.stringContaining('is not the Vapi stand-in') });
  await standIn.stop();
  const stopped = await run();
  expect(stopped).toMatchObject({ code: 1, err: expect.stringContaining('Start Lockstep with npm start') });
  expect(await run('--pace', 'fast')).toMatchObject({ code: 64, err: expect.stringContaining('usage:') });
});

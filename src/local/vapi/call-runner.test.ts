import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type Message,
  startWebhookReceiver,
  type WebhookReceiver,
} from '../../../test/support/webhook-receiver.ts';
import type { CallScriptInput } from './call-script.ts';
import type { JsonObject } from './json.ts';
import { startVapiStandIn, type VapiStandIn } from './server.ts';

const KEY = 'key-for-tests';
const KINDS = ['status-update', 'end-of-call-report', 'tool-calls'];
const SECRET = 'test-only-carrier-token';
const TWILIO = {
  ...{ provider: 'twilio', number: '+14155550142' },
  ...{ twilioAccountSid: 'ACTESTONLY00000000000000000000000', twilioAuthToken: SECRET },
};
const TOOL = (name: string) => ({
  ...{ type: 'function', async: false },
  function: { name, description: 'A tool.', parameters: { type: 'object', properties: {} } },
});
const BOOKING: CallScriptInput['steps'] = [
  { bot: '{firstMessage}' },
  { user: 'I need a cleaning.' },
  { tool: 'check_availability' },
  { bot: 'I have this: {answer}' },
  {
    tool: 'book_appointment',
    arguments: {
      date: { $answer: String.raw`\d{4}-\d\d-\d\d` },
      time: { $answer: 'at ([0-9:]+)' },
      name: 'Ana',
    },
  },
  { user: 'Thank you.' },
];

let standIn: VapiStandIn;
let receiver: WebhookReceiver;
let assistantId: string;
let phoneNumberId: string;
beforeEach(async () => {
  receiver = await startWebhookReceiver();
  receiver.answer = (message) =>
    message.type === 'tool-calls' ? { body: { results: message.toolCallList.map(answerTo) } } : { body: {} };
  standIn = await startVapiStandIn({
    key: KEY,
    credentials: [{ id: 'credential', secret: 'test-only-secret', scheme: 'hmac' }],
    settings: { outboundDelayMs: 0 },
  });
  assistantId = await createAssistant();
  phoneNumberId = (await api('POST', '/phone-number', { ...TWILIO, assistantId })).id;
});
afterEach(async () => {
  await standIn.stop();
  receiver.stop();
});

function answerTo({ id, name, function: called }: Message): JsonObject {
  const result = (called?.name ?? name) === 'check_availability' ? 'Free: 2026-11-26 at 10:00' : 'Booked.';
  return { toolCallId: id, name: called?.name ?? name, result };
}

async function createAssistant(fields: JsonObject = {}): Promise<string> {
  const assistant = await api('POST', '/assistant', {
    ...{ name: 'inbound', firstMessage: 'North Dental, how can I help?', serverMessages: KINDS },
    server: { url: receiver.url, credentialId: 'credential' },
    metadata: { lockstep: { revision: 7 } },
    model: {
      ...{ provider: 'openai', model: 'gpt-4.1-mini' },
      messages: [{ role: 'system', content: 'You answer calls.' }],
      tools: [TOOL('check_availability'), TOOL('book_appointment')],
    },
    ...fields,
  });
  return assistant.id;
}

async function api(method: string, path: string, body?: JsonObject): Promise<Message> {
  const response = await fetch(standIn.url + path, {
    method,
    headers: { authorization: `Bearer ${KEY}` },
    body: body ? JSON.stringify(body) : null,
  });
  return response.json();
}
async function control(method: string, path: string, body?: JsonObject): Promise<Message> {
  const response = await fetch(`${standIn.url}/__stand-in/${path}`, {
    ...{ method, body: body ? JSON.stringify(body) : null },
  });
  return { status: response.status, body: await response.json() };
}
const play = (script: CallScriptInput = {}) => standIn.playCall({ phoneNumberId, ...script });
const messages = () => receiver.received.map(({ message }) => message);
/** `status-update:ringing`, `tool-calls` and so on, in order of arrival. */
const events = () =>
  messages().map(({ type, status }: Message) => (type === 'status-update' ? `${type}:${status}` : type));
const only = (type: string): Message => messages().filter((message: Message) => message.type === type);
const dial = (fields: JsonObject = {}) =>
  api('POST', '/call', { assistantId, phoneNumberId, customer: { number: '+14155550123' }, ...fields });

describe('an inbound call', () => {
  test('rings, is answered, asks the tools, ends and is reported, in this order', async () => {
    const { call, toolCalls } = await play({ steps: BOOKING });
    expect(events()).toEqual([
      ...['status-update:ringing', 'status-update:in-progress', 'tool-calls', 'tool-calls'],
      ...['status-update:ended', 'end-of-call-report'],
    ]);
    expect(toolCalls).toMatchObject([
      { name: 'check_availability', arguments: {}, answer: 'Free: 2026-11-26 at 10:00' },
      {
        name: 'book_appointment',
        arguments: { date: '2026-11-26', time: '10:00', name: 'Ana' },
        answer: 'Booked.',
      },
    ]);
    expect(await api('GET', `/call/${call['id']}`)).toMatchObject({
      ...{ type: 'inboundPhoneCall', status: 'ended', endedReason: 'customer-ended-call' },
      ...{ assistantId, phoneNumberId, customer: { number: '+14155550187' } },
      analysis: { summary: expect.any(String), successEvaluation: 'true' },
      artifact: { transcript: expect.stringContaining('AI: I have this: Free: 2026-11-26 at 10:00\nUser:') },
    });
    expect(call).not.toHaveProperty('$play');
  });

  test('carries call, assistant, customer and the number with the secrets of its carrier, signed', async () => {
    await play({ steps: BOOKING });
    for (const { headers, message } of receiver.received) {
      expect(headers).toHaveProperty('x-signature');
      expect(message).toMatchObject({
        timestamp: expect.any(Number),
        call: { phoneNumberId, assistantId, transport: { accountSid: TWILIO.twilioAccountSid } },
        assistant: { id: assistantId, metadata: { lockstep: { revision: 7 } } },
        phoneNumber: { number: TWILIO.number, twilioAuthToken: SECRET },
        customer: { number: '+14155550187' },
      });
      expect(JSON.stringify(message)).not.toContain('$play');
    }
    const [ringing, started] = only('status-update');
    expect(ringing.call).not.toHaveProperty('startedAt');
    expect(started.call.startedAt).toEqual(expect.any(String));
  });

  test('asks a tool in the shape of the specification, with the whole tool beside it', async () => {
    await play({ steps: BOOKING });
    const [, booking] = only('tool-calls');
    const [toolCall] = booking.toolCallList;
    expect(toolCall).toEqual({
      id: expect.stringMatching(/^call_/),
      type: 'function',
      function: {
        name: 'book_appointment',
        arguments: '{"date":"2026-11-26","time":"10:00","name":"Ana"}',
      },
    });
    expect(booking.toolWithToolCallList).toEqual([{ ...TOOL('book_appointment'), toolCall }]);
    expect(booking.artifact.messages.at(-1)).toMatchObject({ role: 'tool_calls' });
  });

  test('is reported with cost and its parts, which add up, analysis, transcript and messages', async () => {
    await play({ steps: BOOKING, cost: 0.2147 });
    const [report] = only('end-of-call-report');
    expect(report).toMatchObject({
      ...{ endedReason: 'customer-ended-call', cost: 0.2147, durationSeconds: expect.any(Number) },
      analysis: { summary: expect.stringContaining('I need a cleaning.') },
      artifact: {
        transcript: expect.stringMatching(/^AI: North Dental, how can I help\?\nUser: I need a cleaning\.\n/),
        recordingUrl: expect.any(String),
        presignedMonoUrl: expect.any(String),
      },
      call: { status: 'ended', endedReason: 'customer-ended-call' },
    });
    expect(report.artifact.messages.map(({ role }: Message) => role)).toEqual([
      ...['system', 'bot', 'user', 'tool_calls', 'tool_call_result', 'bot', 'tool_calls', 'tool_call_result'],
      'user',
    ]);
    const { total, analysisCostBreakdown, ...parts } = report.costBreakdown;
    const sum = ['transport', 'stt', 'llm', 'tts', 'vapi'].reduce((all, name) => all + parts[name], 0);
    expect(sum + analysisCostBreakdown.summary).toBeCloseTo(0.2147, 8);
    expect(total).toBe(0.2147);
    expect(report.costs.reduce((all: number, { cost }: Message) => all + cost, 0)).toBeCloseTo(0.2147, 8);
  });

  test('of an assistant comes in over its number, and from a browser if it has none', async () => {
    const over = await standIn.playCall({ assistantId });
    expect(over.call).toMatchObject({ type: 'inboundPhoneCall', phoneNumberId });
    const browser = await standIn.playCall({ assistantId: await createAssistant() });
    expect(browser.call).toMatchObject({ type: 'webCall' });
    for (const name of ['phoneNumberId', 'customer']) expect(browser.call).not.toHaveProperty(name);
    expect(() => standIn.startCall({ phoneNumberId: assistantId })).toThrow('has no number');
    expect(() => standIn.startCall({})).toThrow('needs the id');
  });

  test('has recordings, to which the API redirects with a new link each time', async () => {
    const { call } = await play();
    const link = async (path: string) => {
      const response = await fetch(`${standIn.url}/call/${call['id']}/${path}`, {
        ...{ headers: { authorization: `Bearer ${KEY}` }, redirect: 'manual' },
      });
      return [response.status, response.headers.get('location')];
    };
    const [status, first] = await link('mono-recording');
    expect(status).toBe(302);
    expect(first).toMatch(/^https:\/\/storage\.example\.test\/rec\/.+\.wav\?sig=/);
    expect(await link('mono-recording')).not.toEqual([status, first]);
    expect((await link('stereo-recording'))[1]).toContain('-stereo.wav');
    standIn.configure({ zeroDataRetention: true });
    expect(await link('mono-recording')).toEqual([404, null]);
  });

  test('has its content in the report alone, without data retention', async () => {
    standIn.configure({ zeroDataRetention: true });
    const { call } = await play();
    const [report] = only('end-of-call-report');
    expect(report).toMatchObject({
      artifact: { transcript: expect.any(String) },
      analysis: { summary: expect.any(String) },
    });
    for (const name of ['artifact', 'analysis', 'messages']) expect(call).not.toHaveProperty(name);
  });

  test('of an anonymous caller has no customer', async () => {
    const { call } = await play({ customer: null });
    expect(call).not.toHaveProperty('customer');
    for (const message of messages()) expect(message).not.toHaveProperty('customer');
  });

  test('speaks with the configuration of its beginning, also if the assistant is changed or deleted meanwhile', async () => {
    receiver.answer = async (message) => {
      if (message.type === 'tool-calls') {
        await api('PATCH', `/assistant/${assistantId}`, { metadata: { lockstep: { revision: 8 } } });
        await api('DELETE', `/assistant/${assistantId}`);
      }
      return {};
    };
    await play({ steps: [{ tool: 'check_availability', again: 'never' }] });
    expect(only('end-of-call-report')[0].assistant.metadata.lockstep.revision).toBe(7);
  });

  test('ends without a start if its assistant does not exist', async () => {
    await api('DELETE', `/assistant/${assistantId}`);
    const { call } = await play();
    expect(call).toMatchObject({ status: 'ended', endedReason: 'assistant-not-found', cost: 0 });
    expect(call).not.toHaveProperty('startedAt');
    expect(receiver.received).toEqual([]);
  });

  test('is played to its end if nobody receives its messages', async () => {
    await api('PATCH', `/assistant/${assistantId}`, { server: null });
    const { call, toolCalls } = await play({ steps: BOOKING });
    expect(call['status']).toBe('ended');
    // Nothing was answered: the model asks again, and cannot fill in what no answer gave.
    expect(toolCalls.map(({ name, answer }) => [name, answer])).toEqual([
      ['check_availability', null],
      ['check_availability', null],
    ]);
  });

  test('sends only the kinds that the assistant lists', async () => {
    await api('PATCH', `/assistant/${assistantId}`, { serverMessages: ['end-of-call-report'] });
    const { toolCalls } = await play({ steps: BOOKING });
    expect(events()).toEqual(['end-of-call-report']);
    expect(toolCalls[0]?.answer).toBeNull();
    await api('PATCH', `/assistant/${assistantId}`, { serverMessages: ['conversation-update'] });
    await play();
    expect(only('conversation-update')).toHaveLength(3);
  });

  test('ends when it is deleted', async () => {
    receiver.answer = async ({ type, call }) => {
      if (type === 'tool-calls') await api('DELETE', `/call/${call.id}`);
      return {};
    };
    await expect(play({ steps: BOOKING })).rejects.toThrow('was deleted');
    expect(events()).toEqual(['status-update:ringing', 'status-update:in-progress', 'tool-calls']);
  });
});

describe('the answer to a tool call', () => {
  const ask = async (again: 'never' | 'if-unanswered' | 'always' = 'never') =>
    (await play({ steps: [{ tool: 'check_availability', again }] })).toolCalls.map(({ answer }) => answer);
  const answers = (body: (toolCallId: string) => unknown, status = 200) => {
    receiver.answer = ({ type, toolCallList }) =>
      type === 'tool-calls' ? { status, body: body(toolCallList[0].id) } : {};
  };

  test('is its result or its error', async () => {
    answers((toolCallId) => ({ results: [{ toolCallId, result: 'Free.' }] }));
    expect(await ask()).toEqual(['Free.']);
    answers((toolCallId) => ({ results: [{ toolCallId, error: 'Closed.' }] }));
    expect(await ask()).toEqual(['Closed.']);
  });

  test.each<[string, (id: string) => unknown, number?]>([
    ['another status', (toolCallId) => ({ results: [{ toolCallId, result: 'a' }] }), 201],
    ['no results', () => ({})],
    ['another id', () => ({ results: [{ toolCallId: 'b', result: 'a' }] })],
    ['a result that is not a text', (toolCallId) => ({ results: [{ toolCallId, result: {} }] })],
    ['two lines', (toolCallId) => ({ results: [{ toolCallId, result: 'a\nb' }] })],
    ['no JSON', () => 'a'],
  ])('does not count with %s', async (_name, body, status) => {
    answers(body, status);
    expect(await ask()).toEqual([null]);
    expect(only('end-of-call-report')[0].artifact.messages.at(-1).result).toBe('No result returned');
  });

  test('is asked for again with another id if there was none, or in any case if the script says so', async () => {
    receiver.answer = ({ type, toolCallList }) =>
      type === 'tool-calls' && only('tool-calls').length > 1
        ? { body: { results: toolCallList.map(answerTo) } }
        : {};
    expect(await ask('if-unanswered')).toEqual([null, 'Free: 2026-11-26 at 10:00']);
    expect(await ask('if-unanswered')).toHaveLength(1);
    expect(await ask('always')).toHaveLength(2);
    const ids = only('tool-calls').map(({ toolCallList }: Message) => toolCallList[0].id);
    expect(new Set(ids).size).toBe(5);
  });

  test('comes for each of several tools of one message', async () => {
    const tools = [{ tool: 'book_appointment', id: 'call_own' }, { tool: 'check_availability' }];
    const { toolCalls } = await play({ steps: [{ tools }] });
    expect(toolCalls.map(({ answer }) => answer)).toEqual(['Booked.', 'Free: 2026-11-26 at 10:00']);
    expect(toolCalls[0]?.id).toBe('call_own');
    expect(only('tool-calls')).toHaveLength(1);
  });

  test('is not asked for if the assistant does not have the tool; a stored tool counts', async () => {
    const steps = [{ tool: 'cancel_appointment', again: 'never' as const }];
    expect((await play({ steps })).toolCalls).toEqual([]);
    const { id } = await api('POST', '/tool', TOOL('cancel_appointment'));
    await api('PATCH', `/assistant/${assistantId}`, {
      model: { provider: 'openai', model: 'gpt-4o', toolIds: [id] },
    });
    expect((await play({ steps })).toolCalls).toMatchObject([{ name: 'cancel_appointment' }]);
  });
});

describe('faults', () => {
  test('lose, repeat and delay messages', async () => {
    await play({
      faults: [
        { kind: 'lost', event: 'status-update:ringing' },
        { kind: 'duplicated', event: 'end-of-call-report', copies: 3 },
        { kind: 'late', event: 'status-update:in-progress', ms: 30 },
      ],
    });
    await standIn.callsIdle();
    expect(events().toSorted()).toEqual([
      ...['end-of-call-report', 'end-of-call-report', 'end-of-call-report'],
      ...['status-update:ended', 'status-update:in-progress'],
    ]);
    const links = only('end-of-call-report').map(({ artifact }: Message) => artifact.presignedMonoUrl);
    expect(new Set(links).size).toBe(3);
  });

  test('send a tool call twice with one id, or not at all', async () => {
    const steps = [{ tool: 'check_availability', again: 'never' as const }];
    const twice = await play({ steps, faults: [{ kind: 'duplicated', event: 'tool-calls' }] });
    await standIn.callsIdle();
    expect(twice.toolCalls).toHaveLength(1);
    expect(only('tool-calls').map(({ toolCallList }: Message) => toolCallList[0].id)).toEqual([
      twice.toolCalls[0]?.id,
      twice.toolCalls[0]?.id,
    ]);
    const lost = await play({ steps, faults: [{ kind: 'lost', event: 'tool-calls' }] });
    expect(lost.toolCalls).toMatchObject([{ answer: null }]);
    expect(only('tool-calls')).toHaveLength(2);
  });

  test('change the order', async () => {
    await play({ faults: [{ kind: 'order', order: 'report-first' }] });
    expect(events().slice(-2)).toEqual(['end-of-call-report', 'status-update:ended']);
    receiver.received.length = 0;
    await play({ faults: [{ kind: 'order', order: 'reversed' }] });
    expect(events()).toEqual([
      ...['end-of-call-report', 'status-update:ended'],
      ...['status-update:in-progress', 'status-update:ringing'],
    ]);
    // Each says what was so at its time.
    expect(messages().map(({ call }: Message) => call.status)).toEqual([
      ...['ended', 'ended', 'in-progress', 'ringing'],
    ]);
  });

  test('add messages of an unknown kind and about an unknown call', async () => {
    await play({ faults: [{ kind: 'unknown-kind' }, { kind: 'unknown-call', callId: 'nobody' }] });
    expect(only('assistant.mood-changed')).toHaveLength(1);
    expect(messages().filter(({ call }: Message) => call.id === 'nobody')).toHaveLength(1);
  });

  test('make a report of 5 MB', async () => {
    await play({ faults: [{ kind: 'large' }] });
    expect(receiver.received.at(-1)?.body.length).toBeGreaterThan(5_000_000);
  });

  test.each([
    ['object-arguments', { type: 'function', function: { name: 'book_appointment', arguments: { a: 1 } } }],
    ['flat', { name: 'book_appointment', arguments: { a: 1 } }],
    ['flat-parameters', { name: 'book_appointment', parameters: { a: 1 } }],
  ] as const)('ask a tool in the shape %s', async (shape, expected) => {
    const { toolCalls } = await play({
      steps: [{ tool: 'book_appointment', arguments: { a: 1 } }],
      faults: [{ kind: 'tool-call-shape', shape }],
    });
    const [{ toolCallList, toolWithToolCallList }] = only('tool-calls');
    expect(toolCallList).toEqual([{ id: toolCalls[0]?.id, ...expected }]);
    expect(toolWithToolCallList[0].toolCall).toEqual(toolCallList[0]);
    expect(toolCalls[0]?.answer).toBe('Booked.');
  });

  test('put the reason of the end at one level only', async () => {
    const ended = async (at: 'message' | 'call') => {
      receiver.received.length = 0;
      await play({ faults: [{ kind: 'ended-reason', at }] });
      return messages()
        .slice(-2)
        .map(({ endedReason, call }: Message) => [endedReason, call.endedReason]);
    };
    const reason = 'customer-ended-call';
    expect(await ended('message')).toEqual([
      [reason, undefined],
      [reason, undefined],
    ]);
    expect(await ended('call')).toEqual([
      [undefined, reason],
      [undefined, reason],
    ]);
  });

  test('leave fields out of the report that GET /call has', async () => {
    const fields = ['startedAt', 'analysis', 'cost', 'customer'] as const;
    const { call } = await play({ faults: [{ kind: 'missing', fields: [...fields] }] });
    const [report] = only('end-of-call-report');
    const stored = await api('GET', `/call/${call['id']}`);
    for (const name of fields) {
      expect(report).not.toHaveProperty(name);
      expect(report.call).not.toHaveProperty(name);
      expect(stored).toHaveProperty(name);
    }
    expect(report).not.toHaveProperty('costBreakdown');
    expect(report).not.toHaveProperty('summary');
  });

  test('let the analysis come later, in GET /call only, with or without a new updatedAt', async () => {
    const faults: CallScriptInput['faults'] = [{ kind: 'late-fields', fields: ['analysis'], ms: 0 }];
    for (const setting of ['move-updatedAt', 'keep-updatedAt'] as const) {
      standIn.configure({ lateCallFields: setting });
      const { call } = await play({ faults });
      expect(call).not.toHaveProperty('analysis');
      expect(call).toHaveProperty('cost');
      await standIn.callsIdle();
      const stored = await api('GET', `/call/${call['id']}`);
      expect(stored.analysis).toHaveProperty('summary');
      expect(stored.updatedAt > String(call['updatedAt'])).toBe(setting === 'move-updatedAt');
    }
    for (const report of only('end-of-call-report')) expect(report).not.toHaveProperty('analysis');
  });

  test('send a second report that knows more', async () => {
    await play({ faults: [{ kind: 'second-report' }] });
    await standIn.callsIdle();
    const [first, second] = only('end-of-call-report');
    expect(first).not.toHaveProperty('analysis');
    expect(first).not.toHaveProperty('cost');
    expect(second).toMatchObject({ analysis: { summary: expect.any(String) }, cost: expect.any(Number) });
  });
});

describe('an outbound call', () => {
  const finished = async (id: string) => {
    await standIn.callsIdle();
    return api('GET', `/call/${id}`);
  };

  test('is played by itself', async () => {
    const { id } = await dial({ name: 'ls1.k0Yx9uQmT7mB2c8eRr4Wdw' });
    expect(await finished(id)).toMatchObject({ status: 'ended', endedReason: 'customer-ended-call' });
    expect(events()).toEqual([
      ...['status-update:ringing', 'status-update:in-progress', 'status-update:ended', 'end-of-call-report'],
    ]);
    expect(messages()[0].call).toMatchObject({ id, name: 'ls1.k0Yx9uQmT7mB2c8eRr4Wdw' });
  });

  test.each([
    ['not-answered', 'customer-did-not-answer', false],
    ['busy', 'customer-busy', false],
    ['failed', 'twilio-failed-to-connect-call', false],
    ['voicemail', 'voicemail', true],
  ] as const)('can be %s', async (outboundOutcome, endedReason, isStarted) => {
    standIn.configure({ outboundOutcome });
    const { id } = await dial();
    const call = await finished(id);
    expect(call).toMatchObject({ status: 'ended', endedReason });
    expect('startedAt' in call).toBe(isStarted);
    expect('startedAt' in only('end-of-call-report')[0]).toBe(isStarted);
    if (!isStarted) expect(call).toMatchObject({ cost: 0, costBreakdown: { total: 0 }, analysis: {} });
  });

  test('rings before its POST is answered, and also if it never is', async () => {
    standIn.faults.add({ kind: 'hang-after', match: { method: 'POST', path: /^\/call$/ } });
    const ended = Promise.withResolvers<void>();
    receiver.answer = ({ type }) => {
      if (type === 'end-of-call-report') ended.resolve();
      return {};
    };
    const gaveUp = new AbortController();
    const unanswered = fetch(`${standIn.url}/call`, {
      ...{ method: 'POST', headers: { authorization: `Bearer ${KEY}` }, signal: gaveUp.signal },
      body: JSON.stringify({
        assistantId,
        phoneNumberId,
        customer: { number: '+14155550123' },
        name: 'ls1.a',
      }),
    });
    await ended.promise;
    gaveUp.abort();
    await expect(unanswered).rejects.toThrow();
    expect(messages()[0]).toMatchObject({ status: 'ringing', call: { name: 'ls1.a' } });
    expect(await api('GET', '/call')).toMatchObject([{ name: 'ls1.a', status: 'ended' }]);
  });

  test('has the fields that were overridden, and its overrides', async () => {
    const assistantOverrides = { metadata: { lockstep: { saveId: 'a' } }, variableValues: { name: 'Ana' } };
    const { id } = await dial({ assistantOverrides });
    await finished(id);
    const [{ assistant, call }] = messages();
    expect(assistant.metadata).toEqual({ lockstep: { saveId: 'a' } });
    expect(call.assistantOverrides).toEqual(assistantOverrides);
  });

  test('waits for a line', async () => {
    standIn.configure({ concurrencyLimit: 1, outboundCalls: 'held' });
    const first = await dial();
    standIn.configure({ outboundCalls: 'played' });
    const second = await dial();
    expect(second.subscriptionLimits.concurrencyBlocked).toBe(true);
    await standIn.callsIdle();
    expect((await api('GET', `/call/${second.id}`)).status).toBe('queued');
    await standIn.playCall({ callId: first.id, outcome: 'busy' });
    expect(await finished(second.id)).toMatchObject({ status: 'ended', endedReason: 'customer-ended-call' });
    expect(() => standIn.startCall({ callId: first.id })).toThrow('cannot be played again');
  });

  test('fails without a line, if the settings say so', async () => {
    standIn.configure({ concurrencyLimit: 0, overConcurrency: 'fails' });
    const { id } = await dial();
    expect(await finished(id)).toMatchObject({
      endedReason: 'call.start.error-subscription-concurrency-limit-reached',
    });
  });

  test('with a plan is dialled when its time has come', async () => {
    const { id } = await dial({ schedulePlan: { earliestAt: new Date(Date.now() - 1).toISOString() } });
    expect(await finished(id)).toMatchObject({ status: 'ended' });
  });

  test('from a browser is played when somebody joins', async () => {
    const { id } = await api('POST', '/call/web', { assistantId });
    await standIn.callsIdle();
    expect(receiver.received).toEqual([]);
    await standIn.playCall({ callId: id });
    expect(events()[0]).toBe('status-update:in-progress');
  });
});

describe('a number without an assistant', () => {
  let unattached: string;
  beforeEach(async () => {
    const server = { url: receiver.url, credentialId: 'credential' };
    const number = { ...TWILIO, number: '+14155550143', server };
    unattached = (await api('POST', '/phone-number', number)).id;
  });
  const ask = async (body: unknown, status = 200) => {
    receiver.answer = ({ type }) => (type === 'assistant-request' ? { status, body } : {});
    return (await play({ phoneNumberId: unattached })).call;
  };

  test('asks its server for one', async () => {
    expect(await ask({ assistantId })).toMatchObject({ assistantId, endedReason: 'customer-ended-call' });
    const [request] = messages();
    expect(request).toMatchObject({
      ...{ type: 'assistant-request', assistantVersion: null },
      call: { status: 'ringing', phoneNumberId: unattached },
      phoneNumber: { twilioAuthToken: SECRET },
      customer: { number: '+14155550187' },
    });
    for (const name of ['assistant', 'artifact']) expect(request).not.toHaveProperty(name);
    expect(await ask({ assistant: { firstMessage: 'Hi!' } })).toMatchObject({
      artifact: { transcript: expect.stringMatching(/^AI: Hi!/) },
    });
  });

  test.each<[unknown, number, string]>([
    [{ error: 'We are closed.' }, 200, 'assistant-request-returned-error'],
    [
      { assistantId: '00000000-0000-4000-8000-000000000001' },
      200,
      'assistant-request-returned-invalid-assistant',
    ],
    [{}, 200, 'assistant-request-returned-no-assistant'],
    [{ destination: { type: 'number' } }, 200, 'assistant-request-returned-forwarding-phone-number'],
    ['junk', 200, 'assistant-request-failed'],
    [{}, 500, 'assistant-request-failed'],
  ])('ends the call after the answer %j with status %i', async (body, status, endedReason) => {
    expect(await ask(body, status)).toMatchObject({ status: 'ended', endedReason });
  });

  test('forwards the call to its fallback, and ends it without a server', async () => {
    const fallbackDestination = { type: 'number', number: '+14155550199' };
    await api('PATCH', `/phone-number/${unattached}`, { fallbackDestination });
    expect(await ask({}, 500)).toMatchObject({
      ...{ endedReason: 'assistant-forwarded-call', destination: fallbackDestination },
    });
    await api('PATCH', `/phone-number/${unattached}`, { server: null });
    expect(await ask({})).toMatchObject({ endedReason: 'call-start-error-neither-assistant-nor-server-set' });
  });
});

describe('over HTTP', () => {
  test('a call is played and answered at its end', async () => {
    const { status, body } = await control('POST', 'calls', {
      phoneNumberId,
      steps: BOOKING as JsonObject[],
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      call: { status: 'ended' },
      toolCalls: [{ answer: expect.any(String) }, {}],
    });
  });

  test('a call can be followed while it is played', async () => {
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    receiver.answer = async ({ type, toolCallList }) => {
      if (type !== 'tool-calls') return {};
      asked.resolve();
      await answer.promise;
      return { body: { results: toolCallList.map(answerTo) } };
    };
    const { status, body } = await control('POST', 'calls', {
      ...{ phoneNumberId, wait: false },
      steps: [{ user: 'Hello' }, { tool: 'check_availability' }],
    });
    expect(status).toBe(201);
    await asked.promise;
    const during = (await control('GET', `calls/${body.id}`)).body;
    expect(during.call).toMatchObject({ status: 'in-progress' });
    expect(during.messages.map(({ role }: Message) => role)).toEqual(['system', 'user', 'tool_calls']);
    answer.resolve();
    await standIn.callFinished(body.id);
    const after = (await control('GET', `calls/${body.id}`)).body;
    expect(after.call.status).toBe('ended');
    expect(after.messages.at(-1)).toMatchObject({ role: 'tool_call_result' });
  });

  test('a script that cannot be played is refused', async () => {
    expect(await control('POST', 'calls', { phoneNumberId, what: 1 })).toMatchObject({ status: 400 });
    expect(await control('GET', 'calls/nobody')).toMatchObject({ status: 400 });
  });
});

test('a call goes on after a restart: what was said stays, and the open tool call is asked again with a new id', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vapi-stand-in-'));
  await standIn.stop();
  const start = (url: string) =>
    startVapiStandIn({
      ...{ key: KEY, dataFile: join(folder, 'vapi.jsonl'), settings: { resumeCallsAfterMs: 0 } },
      port: Number(new URL(url).port),
    });
  try {
    standIn = await start(standIn.url);
    assistantId = await createAssistant();
    const asked = Promise.withResolvers<void>();
    receiver.answer = ({ type }) => {
      if (type !== 'tool-calls') return {};
      asked.resolve();
      return 'hang';
    };
    const id = standIn.startCall({
      assistantId,
      steps: [{ user: 'Hello' }, { tool: 'check_availability' }, { bot: '{answer}' }],
    });
    await asked.promise;
    const before = await api('GET', `/call/${id}`);
    await api('PATCH', `/assistant/${assistantId}`, { metadata: { lockstep: { revision: 8 } } });
    await standIn.stop();
    const ended = Promise.withResolvers<void>();
    receiver.answer = ({ type, toolCallList }) => {
      if (type === 'end-of-call-report') ended.resolve();
      return type === 'tool-calls' ? { body: { results: toolCallList.map(answerTo) } } : {};
    };
    standIn = await start(standIn.url);
    await ended.promise;
    await standIn.callsIdle();
    expect(await api('GET', `/call/${id}`)).toMatchObject({
      ...{ status: 'ended', startedAt: before.startedAt },
      artifact: { transcript: 'User: Hello\nAI: Free: 2026-11-26 at 10:00\n' },
    });
    const ids = only('tool-calls').map(({ toolCallList }: Message) => toolCallList[0].id);
    expect(new Set(ids).size).toBe(2);
    // The call goes on with the configuration of its beginning.
    expect(only('end-of-call-report')[0].assistant.metadata.lockstep.revision).toBe(7);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

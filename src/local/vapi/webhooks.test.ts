import { createHmac } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type ReceivedWebhook,
  startWebhookReceiver,
  type WebhookReceiver,
} from '../../../test/support/webhook-receiver.ts';
import type { JsonObject } from './json.ts';
import { startVapiStandIn, type VapiStandIn } from './server.ts';
import { chosenServer } from './webhooks.ts';

const NOW = Date.UTC(2026, 10, 24, 16, 2, 11, 418);
const MESSAGE = { type: 'status-update', status: 'ringing', call: { id: 'c1' } };

let standIn: VapiStandIn;
let receiver: WebhookReceiver;
let url: string;
let received: readonly ReceivedWebhook[];
/** What the receiver answers, in this order; 'hang': nothing. After the last: 200. */
let answers: (number | 'hang')[];
beforeEach(async () => {
  receiver = await startWebhookReceiver();
  ({ url, received } = receiver);
  answers = [];
  receiver.answer = () => {
    const status = answers.shift() ?? 200;
    return status === 'hang' ? status : { status, body: { a: 1 } };
  };
  standIn = await startVapiStandIn({
    clock: () => NOW,
    credentials: [
      { id: 'hmac', secret: 'test-only-secret', scheme: 'hmac' },
      {
        ...{ id: 'hmac-of-its-own', secret: 'test-only-secret', scheme: 'hmac', timestampUnit: 'ms' },
        ...{ signatureHeader: 'X-Own-Signature', timestampHeader: 'X-Own-Time' },
      },
      { id: 'bearer', secret: 'test-only-secret', scheme: 'bearer' },
      { id: 'header', secret: 'test-only-secret', scheme: 'secret-header' },
    ],
  });
});
afterEach(async () => {
  await standIn.stop();
  receiver.stop();
});

const deliver = (server: JsonObject = {}, message: JsonObject = MESSAGE) =>
  standIn.deliver({ url, ...server }, message);
const signed = (timestamp: string, body: string) =>
  createHmac('sha256', 'test-only-secret').update(`${timestamp}.${body}`).digest('hex');
const statuses = () => standIn.deliveries.map(({ attempt, status }) => [attempt, status]);
const PLAN = { type: 'fixed', maxRetries: 2, baseDelaySeconds: 0 };

describe('the signature', () => {
  test('is the HMAC of the timestamp and the exact body, with a timestamp in seconds', async () => {
    expect(await deliver({ credentialId: 'hmac' })).toMatchObject({ status: 200, body: { a: 1 } });
    const [{ headers, body }] = received as [ReceivedWebhook];
    expect(JSON.parse(body)).toEqual({ message: MESSAGE });
    const timestamp = String(Math.floor(NOW / 1000));
    expect(headers).toMatchObject({ 'x-timestamp': timestamp, 'x-signature': signed(timestamp, body) });
  });

  test('has the headers and the unit that the credential says', async () => {
    await deliver({ credentialId: 'hmac-of-its-own' });
    const [{ headers, body }] = received as [ReceivedWebhook];
    expect(headers).toMatchObject({
      'x-own-time': String(NOW),
      'x-own-signature': signed(String(NOW), body),
    });
    expect(headers).not.toHaveProperty('x-signature');
  });

  test('is a bearer token, or the secret in X-Vapi-Secret, for the other schemes and for `server.secret`', async () => {
    await deliver({ credentialId: 'bearer' });
    await deliver({ credentialId: 'header' });
    await deliver({ secret: 'test-only-older-secret' });
    await deliver({ credentialId: 'nobody' });
    expect(received.map(({ headers }) => [headers.authorization, headers['x-vapi-secret']])).toEqual([
      ['Bearer test-only-secret', undefined],
      [undefined, 'test-only-secret'],
      [undefined, 'test-only-older-secret'],
      [undefined, undefined],
    ]);
  });

  test('yields to a static Authorization header', async () => {
    await deliver({ credentialId: 'bearer', headers: { Authorization: 'Basic abc', 'X-Deployment': 'one' } });
    expect(received[0]?.headers).toMatchObject({ authorization: 'Basic abc', 'x-deployment': 'one' });
  });

  test('is that of the replaced credentials after a rotation', async () => {
    const response = await fetch(`${standIn.url}/__stand-in/credentials`, {
      ...{
        method: 'PUT',
        body: JSON.stringify([{ id: 'bearer', secret: 'test-only-new', scheme: 'bearer' }]),
      },
    });
    expect(response.status).toBe(200);
    await deliver({ credentialId: 'bearer' });
    expect(received[0]?.headers.authorization).toBe('Bearer test-only-new');
    expect(() => standIn.setCredentials([{ id: '', secret: '', scheme: 'hmac' }])).toThrow();
  });
});

describe('a failed delivery', () => {
  test('is not repeated without a plan', async () => {
    answers = [500];
    expect(await deliver()).toMatchObject({ status: 500 });
    expect(statuses()).toEqual([[1, 500]]);
  });

  test('is repeated as often as the plan says, and after a success no more', async () => {
    answers = [500, 404, 503, 500, 200];
    expect(await deliver({ backoffPlan: PLAN })).toMatchObject({ status: 503 });
    expect(await deliver({ backoffPlan: PLAN })).toMatchObject({ status: 200 });
    const all = [...[1, 2, 3], ...[1, 2]];
    expect(statuses().map(([attempt]) => attempt)).toEqual(all);
    expect(new Set(received.map(({ body }) => body)).size).toBe(1);
  });

  test('is not repeated after an excluded status', async () => {
    answers = [503, 401];
    await deliver({ backoffPlan: { ...PLAN, excludedStatusCodes: [400, 401] } });
    expect(statuses()).toEqual([
      [1, 503],
      [2, 401],
    ]);
  });

  test('includes a redirect, which is not followed', async () => {
    answers = [307];
    expect(await deliver()).toMatchObject({ status: 307 });
    expect(received).toHaveLength(1);
  });

  test('is repeated after a timeout and after a refused connection, if the settings do not say otherwise', async () => {
    answers = ['hang', 200];
    expect(await deliver({ timeoutSeconds: 0.05, backoffPlan: PLAN })).toMatchObject({ status: 200 });
    expect(statuses()).toEqual([
      [1, null],
      [2, 200],
    ]);
    standIn.configure({ webhookRetryAfterTimeout: 'never' });
    answers = ['hang'];
    expect(await deliver({ timeoutSeconds: 0.05, backoffPlan: PLAN })).toMatchObject({ status: null });
    expect(await deliver({ url: 'http://127.0.0.1:1', backoffPlan: PLAN })).toMatchObject({ status: null });
    expect(standIn.deliveries.slice(2).map(({ attempt }) => attempt)).toEqual([1, 1, 2, 3]);
  });

  test('of a tool call is repeated only if the settings allow it', async () => {
    answers = [500, 200];
    await deliver({ backoffPlan: PLAN }, { type: 'tool-calls' });
    expect(statuses()).toHaveLength(2);
    standIn.configure({ toolCallRetries: 'never' });
    answers = [500];
    await deliver({ backoffPlan: PLAN }, { type: 'tool-calls' });
    expect(statuses()).toHaveLength(3);
  });
});

describe('the chosen server', () => {
  const owner = (name: string, fields: JsonObject = {}) => ({
    server: { url: `https://${name}.example` },
    ...fields,
  });

  test('is that of the tool, else of the assistant, else of the number', () => {
    const [tool, assistant, phoneNumber] = [owner('tool'), owner('assistant'), owner('number')];
    const all = { tool, assistant, phoneNumber };
    expect(chosenServer('tool-calls', all)).toEqual({ url: 'https://tool.example' });
    expect(chosenServer('tool-calls', { ...all, tool: {} })).toEqual({ url: 'https://assistant.example' });
    expect(chosenServer('status-update', { assistant: {}, phoneNumber })).toEqual({
      url: 'https://number.example',
    });
    expect(chosenServer('status-update', { assistant: {}, phoneNumber: {} })).toBeUndefined();
    expect(chosenServer('status-update', { assistant: { serverUrl: 'https://a.example' } })).toEqual({
      url: 'https://a.example',
    });
  });

  test('receives only the kinds that the assistant lists, or the documented default', () => {
    const listed = owner('assistant', { serverMessages: ['end-of-call-report'] });
    expect(chosenServer('end-of-call-report', { assistant: listed })).toBeDefined();
    expect(chosenServer('status-update', { assistant: listed })).toBeUndefined();
    expect(chosenServer('tool-calls', { assistant: listed, tool: owner('tool') })).toBeUndefined();
    expect(chosenServer('tool-calls', { assistant: owner('assistant') })).toBeDefined();
    expect(chosenServer('transcript', { assistant: owner('assistant') })).toBeUndefined();
    expect(chosenServer('assistant-request', { phoneNumber: owner('number') })).toBeDefined();
  });
});

test('a signed event can be sent over HTTP, and its deliveries are listed', async () => {
  const control = (method: string, path: string, body?: JsonObject) =>
    fetch(`${standIn.url}/__stand-in/${path}`, { method, body: body ? JSON.stringify(body) : null });
  const sent = await control('POST', 'events', { server: { url, credentialId: 'hmac' }, message: MESSAGE });
  expect(await sent.json()).toEqual({ status: 200, body: { a: 1 } });
  expect(received[0]?.headers).toHaveProperty('x-signature');
  const listed = await (await control('GET', 'deliveries')).json();
  expect(listed).toEqual([
    { type: 'status-update', callId: 'c1', url, attempt: 1, status: 200, bytes: 74, at: NOW },
  ]);
  await control('DELETE', 'deliveries');
  expect(standIn.deliveries).toEqual([]);
});

/** A Vapi whose answers mix up organizations. They must not make Lockstep read, write or delete anything of another organization. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { Secret } from '../../src/domain/secret.ts';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import { CANARY_KEY, type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { save } from '../support/operations.ts';
import { expectLockstep, systemsOf } from '../support/systems.ts';
import { createOwner, type Owner } from './organizations.ts';

/** Changes an answer; undefined leaves it as it is. */
type Lie = (request: { method: string; path: string }, answer: Record<string, unknown>) => unknown;

let vapi: VapiStandIn;
let between: Server;
let lie: Lie;
/** Answers a request instead of Vapi; undefined leaves it to Vapi. */
let refusal: (method: string, sent: string) => unknown;
const none = () => undefined;
const honest: Lie = () => undefined;
let lockstep: TestApp;
let a: Owner;

beforeAll(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  vapi = await startVapiStandIn({ key: CANARY_KEY });
  between = createServer((incoming, response) => {
    const pass = async () => {
      const { method = 'GET', url: path = '/', headers } = incoming;
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
      const refused = refusal(method, Buffer.concat(chunks).toString());
      if (refused !== undefined) {
        response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify(refused));
        return;
      }
      const answer = await fetch(`${vapi.url}${path}`, {
        method,
        headers: {
          authorization: headers.authorization ?? '',
          'user-agent': headers['user-agent'] ?? '',
          'content-type': 'application/json',
        },
        ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
      });
      const said = (await answer.json()) as Record<string, unknown>;
      response
        .writeHead(answer.status, { 'content-type': 'application/json' })
        .end(JSON.stringify(lie({ method, path }, said) ?? said));
    };
    pass().catch(() => incoming.socket.resetAndDestroy());
  });
  await new Promise<void>((listening) => between.listen(0, '127.0.0.1', listening));
  lie = honest;
  refusal = none;
  lockstep = await createTestApp({
    vapi,
    recoveryIntervalMs: 50,
    config: {
      vapi: {
        baseUrl: `http://127.0.0.1:${(between.address() as AddressInfo).port}`,
        key: new Secret(CANARY_KEY),
      },
    },
  });
  a = await createOwner(lockstep, 'A');
});
afterEach(() => {
  lie = honest;
  refusal = none;
  vapi.faults.clear();
});
afterAll(async () => {
  vi.restoreAllMocks();
  await lockstep?.stop();
  between?.close();
  between?.closeAllConnections();
  await vapi?.stop();
});

/** Tells B that its new assistant has the id of A's assistant. */
const namesAnother: Lie = ({ method }, answer) =>
  method === 'POST' ? { ...answer, id: a.assistants[0] } : undefined;

async function ended(caller: Caller): Promise<string> {
  return vi.waitFor(
    async () => {
      const [row] = await lockstep.supabase.sql<{ status: string }[]>`
        select status from public.agent_saves where org_id = ${caller.orgId} and finished_at is not null`;
      if (row === undefined) throw new Error('not over yet');
      return row.status;
    },
    { timeout: 120_000, interval: 50 },
  );
}

test("if Vapi answers a create with the id of A's assistant, the database refuses it and recovery finds the real one", async () => {
  const b = await lockstep.newCaller('B');
  const before = await systemsOf(lockstep, a.orgId);
  const reached = vapi.requests.length;
  lie = namesAnother;
  const answer = await save(b.client, { inbound: { systemPrompt: 'of B' } });
  expect(answer.__typename).toBe('SavePendingError');
  expect(await ended(b)).toBe('COMMITTED');
  await expectLockstep(lockstep, b.orgId);
  expect(await systemsOf(lockstep, a.orgId)).toEqual(before);
  expect(vapi.requests.slice(reached).filter(({ path }) => path.includes(a.assistants[0] ?? ''))).toEqual([]);
});

test("if the sibling is rejected as well, the undo deletes only the assistant with the save's own stamp", async () => {
  const b = await lockstep.newCaller('B');
  const before = await systemsOf(lockstep, a.orgId);
  lie = namesAnother;
  vapi.faults.add({ kind: 'reject', match: { method: 'POST', bodyIncludes: 'refused' }, messages: ['no'] });
  await save(b.client, { inbound: { systemPrompt: 'of B' }, outbound: { systemPrompt: 'refused' } });
  expect(await ended(b)).toBe('ROLLED_BACK');
  expect(await systemsOf(lockstep, a.orgId)).toEqual(before);
  // B does not even learn its name.
  const [row] = await lockstep.supabase
    .sql`select results::text from public.agent_saves where org_id = ${b.orgId}`;
  expect(row?.['results']).not.toContain(a.assistants[0]);
  expect(vapi.store.all().filter((assistant) => JSON.stringify(assistant).includes(b.orgId))).toEqual([]);
});

/** Any text at all: also NUL, control characters, halves of surrogate pairs, and text that is longer than what is stored. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.string({
    unit: fc.constantFrom('\0', '\ud83d', '\udc00', 'é', '漢', '😀', '"', '\\', '\u200b'),
    maxLength: 400,
  }),
  fc.integer({ min: 280, max: 700 }).map((length) => `${'x'.repeat(length)}😀\ud83d`),
);
const PLACES = ['one message', 'many messages', 'error', 'field name', 'value', 'nested', 'id'] as const;

test('whatever text Vapi answers, in any place, every save ends, and the systems agree unless Vapi lied about an id', async () => {
  const ends = new Map<string, number>();
  const saveWith = async (place: (typeof PLACES)[number], text: string) => {
    const caller = await lockstep.newCaller();
    const systemPrompt = `of ${caller.orgId}`;
    let lies = 0;
    // Every time, so that no later answer helps. A wrong id only once: nobody could find the assistant otherwise.
    const isOurs = (value: unknown) =>
      (place !== 'id' || lies === 0) && JSON.stringify(value).includes(caller.orgId);
    const refused = { statusCode: 400, message: text, error: 'Bad Request' };
    const [message, extra]: [unknown, object | undefined] = {
      'one message': [refused, undefined],
      'many messages': [{ ...refused, message: [text, `voice.${text} is wrong`, text] }, undefined],
      error: [{ statusCode: 400, error: text, [text]: text }, undefined],
      'field name': [undefined, { [`x${text}`]: 1 }],
      value: [undefined, { name: text }],
      nested: [undefined, { model: { [text]: [{ [text]: text }] }, metadata: text }],
      id: [undefined, { id: text }],
    }[place] as [unknown, object | undefined];
    refusal = (method, sent) => {
      if (message === undefined || method === 'GET' || !isOurs(sent)) return undefined;
      lies += 1;
      return message;
    };
    lie = ({ method }, answer) => {
      if (extra === undefined || method === 'GET' || !isOurs(answer)) return undefined;
      lies += 1;
      return { ...answer, ...extra };
    };
    await save(caller.client, { inbound: { systemPrompt }, outbound: { systemPrompt } });
    const end = await ended(caller);
    ends.set(end, (ends.get(end) ?? 0) + 1);
    expect(lies, `${place} was answered`).toBeGreaterThan(0);
    // An answer that matches in everything but the id cannot be seen through: the next sweep reports that agent as missing.
    if (place === 'id') return;
    if (end === 'COMMITTED') await expectLockstep(lockstep, caller.orgId);
    else expect(vapi.store.all().filter((one) => JSON.stringify(one).includes(caller.orgId))).toEqual([]);
  };
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...PLACES), anyText, (place, text) => saveWith(place, text)),
    { numRuns: 60, endOnFailure: true },
  );
  console.log('hostile Vapi: saves that ended, whatever the text:', Object.fromEntries(ends));
});

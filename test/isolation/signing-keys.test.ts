/**
 * A current project signs with ES256, and its REST layer verifies with the published keys. The embedded REST layer supports only HS256.
 * So this test puts a gateway before it, which publishes the key set, accepts tokens signed by one of its keys,
 * and signs the same claims again with HS256.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type CryptoKey,
  createLocalJWKSet,
  exportJWK,
  generateKeyPair,
  type JWK,
  jwtVerify,
  SignJWT,
} from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestApp, supabaseConfig, type TestApp } from '../support/app.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';
import { createOwner, type Owner } from './organizations.ts';

const KID = 'signing-key-1';

let supabase: TestSupabase;
let gateway: { url: string; server: Server; keySetsRead: number };
let lockstep: TestApp;
let privateKey: CryptoKey;
let a: Owner;
let b: Owner;

beforeAll(async () => {
  supabase = await createTestSupabase();
  const pair = await generateKeyPair('ES256', { extractable: true });
  privateKey = pair.privateKey;
  gateway = await startGateway(supabase, {
    ...(await exportJWK(pair.publicKey)),
    kid: KID,
    alg: 'ES256',
    use: 'sig',
  });
  const { url } = gateway;
  lockstep = await createTestApp({
    supabase,
    config: {
      supabase: {
        ...supabaseConfig(supabase),
        url,
        jwtSecret: null,
        jwks: new URL(`${url}/auth/v1/.well-known/jwks.json`),
        // The gateway doubles the time of every read, and the machine may be busy.
        timeoutMs: 30_000,
      },
    },
  });
  // A server in HS256 mode creates the two organizations, on the same database and the same account.
  const legacy = await createTestApp({ supabase, vapi: lockstep.vapi });
  [a, b] = await Promise.all([createOwner(legacy, 'A'), createOwner(legacy, 'B')]);
  await legacy.stop();
});
afterAll(async () => {
  await lockstep?.stop();
  gateway?.server.close();
  gateway?.server.closeAllConnections();
  await supabase?.stop();
});

async function startGateway(behind: TestSupabase, jwk: JWK): Promise<typeof gateway> {
  const keys = createLocalJWKSet({ keys: [jwk] });
  const legacy = new TextEncoder().encode(behind.jwtSecret);
  const state = { keySetsRead: 0 };
  const server = createServer((incoming, response) => {
    const pass = async (): Promise<unknown> => {
      const { method = 'GET', url = '/', headers } = incoming;
      const json = (status: number, body: object) =>
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      if (url === '/auth/v1/.well-known/jwks.json') {
        state.keySetsRead += 1;
        return json(200, { keys: [jwk] });
      }
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
      const passing = new Headers();
      for (const name of [
        'apikey',
        'content-type',
        'prefer',
        'accept',
        'accept-profile',
        'content-profile',
      ]) {
        const value = headers[name];
        if (typeof value === 'string') passing.set(name, value);
      }
      const token = /^Bearer (.+\..+\..+)$/.exec(headers.authorization ?? '')?.[1];
      if (token !== undefined) {
        const verified = await jwtVerify(token, keys, { algorithms: ['ES256'] }).catch(() => null);
        if (verified === null) return json(401, { code: 'PGRST301', message: 'No suitable key was found' });
        const again = new SignJWT(verified.payload).setProtectedHeader({ alg: 'HS256' });
        passing.set('authorization', `Bearer ${await again.sign(legacy)}`);
      }
      const answer = await fetch(`${behind.url}${url}`, {
        method,
        headers: passing,
        ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
      });
      return response
        .writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' })
        .end(Buffer.from(await answer.arrayBuffer()));
    };
    pass().catch(() => incoming.socket.resetAndDestroy());
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return Object.assign(state, { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

function tokenOf(owner: Owner, key = privateKey, kid = KID): Promise<string> {
  return new SignJWT({ role: 'authenticated', app_metadata: { provider: 'email', org_id: owner.orgId } })
    .setProtectedHeader({ alg: 'ES256', typ: 'JWT', kid })
    .setIssuer(`${gateway.url}/auth/v1`)
    .setAudience('authenticated')
    .setSubject(owner.userId)
    .setIssuedAt()
    .setExpirationTime('10m')
    .sign(key);
}

const READ = `{
  organization { id name calls(first: 100) { nodes { id } } }
  agents { id systemPrompt sync { status } }
  appointments { nodes { id call { id } } }
  phoneNumbers { nodes { id agent { id } } }
  knowledgeBaseDocuments { nodes { id } }
}`;

test('each organization reads all of its own rows and none of the other', async () => {
  const answers = await Promise.all(
    [a, b].map(async (owner) => lockstep.clientFor(await tokenOf(owner)).request<object>(READ)),
  );
  for (const [own, other, answer] of [
    [a, b, answers[0]],
    [b, a, answers[1]],
  ] as const) {
    const text = JSON.stringify(answer);
    for (const id of [
      own.orgId,
      ...Object.values(own.agents),
      ...own.calls,
      ...own.appointments,
      ...own.phoneNumbers,
      ...own.documents,
    ])
      expect(text).toContain(id);
    for (const id of [
      other.orgId,
      ...Object.values(other.agents),
      ...other.calls,
      ...other.appointments,
      ...other.phoneNumbers,
      ...other.documents,
    ])
      expect(text).not.toContain(id);
  }
  expect(gateway.keySetsRead).toBe(1);
});

test('saves, and reads the save back', async () => {
  const client = lockstep.clientFor(await tokenOf(b));
  const { updateAgents } = await client.request<{
    updateAgents: { __typename: string; save: { id: string } };
  }>(
    `mutation { updateAgents(input: { inbound: { name: "Signed with ES256" } }) {
      __typename ... on UpdateAgentsSuccess { save { id } } ... on Error { message } } }`,
  );
  expect(updateAgents).toMatchObject({ __typename: 'UpdateAgentsSuccess' });
  expect(
    await client.request(
      `{ agent(role: INBOUND) { name } agentSave(id: "${updateAgents.save.id}") { status } }`,
    ),
  ).toEqual({ agent: { name: 'Signed with ES256' }, agentSave: { status: 'COMMITTED' } });
  const [save] =
    await supabase.sql`select org_id, actor from public.agent_saves where id = ${updateAgents.save.id}`;
  expect(save).toEqual({ org_id: b.orgId, actor: b.userId });
  // Another organization's save is not found.
  expect(
    await lockstep
      .clientFor(await tokenOf(a))
      .request(`{ agentSave(id: "${updateAgents.save.id}") { status } }`),
  ).toEqual({ agentSave: null });
});

test.each([
  ['another key under the real kid', KID],
  ['a key that is in no set', 'signing-key-2'],
])('refuses %s, and nothing reaches the database', async (_what, kid) => {
  const { privateKey: stranger } = await generateKeyPair('ES256');
  supabase.requests.reset();
  const answer = await lockstep
    .clientFor(await tokenOf(a, stranger, kid))
    .request('{ organization { id } }')
    .catch((error: unknown) => String(error));
  expect(answer).toContain('UNAUTHENTICATED');
  expect(supabase.requests.all).toEqual([]);
});

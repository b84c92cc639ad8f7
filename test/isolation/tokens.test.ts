/**
 * Tokens end to end: the whole server over HTTP, once with the shared secret of a legacy project (HS256) and once with a key set
 * (ES256). Every invalid token is refused as documented, and never counts as an anonymous caller.
 */
import { randomUUID } from 'node:crypto';
import {
  base64url,
  type CryptoKey,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  type JWK,
  type JWTHeaderParameters,
  SignJWT,
} from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CANARY_KEY, createTestApp, supabaseConfig, type TestApp } from '../support/app.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

const KID = 'key-1';

/** How a server in this mode verifies tokens, and how to sign a valid one. */
interface Mode {
  name: string;
  app: TestApp;
  key: CryptoKey | Uint8Array;
  header: JWTHeaderParameters;
}

interface Answer {
  status: number;
  code: string | undefined;
  data: unknown;
  text: string;
}

let supabase: TestSupabase;
let org: string;
let other: string;
let userId: string;
let es256: { privateKey: CryptoKey; publicKey: CryptoKey; jwk: JWK };
let strangers: { privateKey: CryptoKey; publicKey: CryptoKey; jwk: JWK };
let rsa: { privateKey: CryptoKey };
const modes: Mode[] = [];
let tried = 0;

async function keyPair() {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  return {
    privateKey,
    publicKey,
    jwk: { ...(await exportJWK(publicKey)), kid: KID, alg: 'ES256', use: 'sig' },
  };
}

beforeAll(async () => {
  supabase = await createTestSupabase();
  org = await supabase.createOrganization('Ours');
  other = await supabase.createOrganization('Theirs');
  userId = (await supabase.createUser({ orgId: org })).id;
  [es256, strangers, rsa] = await Promise.all([keyPair(), keyPair(), generateKeyPair('RS256')]);
  modes.push({
    name: 'HS256',
    app: await createTestApp({ supabase }),
    key: new TextEncoder().encode(supabase.jwtSecret),
    header: { alg: 'HS256', typ: 'JWT' },
  });
  modes.push({
    name: 'JWKS',
    app: await createTestApp({
      supabase,
      config: { supabase: { ...supabaseConfig(supabase), jwtSecret: null, jwks: { keys: [es256.jwk] } } },
    }),
    key: es256.privateKey,
    header: { alg: 'ES256', typ: 'JWT', kid: KID },
  });
});
afterAll(async () => {
  console.log(`isolation: ${tried} requests with bad or absent tokens, none answered as anybody`);
  for (const { app } of modes) await app.stop();
  await supabase?.stop();
});

const now = () => Math.floor(Date.now() / 1_000);

/** The claims of a token that Supabase Auth would issue. */
function claims(): Record<string, unknown> {
  return {
    iss: `${supabase.url}/auth/v1`,
    aud: 'authenticated',
    sub: userId,
    role: 'authenticated',
    iat: now(),
    exp: now() + 600,
    app_metadata: { provider: 'email', org_id: org },
    user_metadata: {},
  };
}

function sign(
  payload: Record<string, unknown>,
  header: JWTHeaderParameters,
  key: CryptoKey | Uint8Array,
): Promise<string> {
  return new SignJWT(payload).setProtectedHeader(header).sign(key);
}

/** Signs with the key of this mode, also headers and payloads that the library refuses to sign. */
async function signAnything(mode: Mode, header: object, payload: object): Promise<string> {
  const text = unsigned(header, payload).slice(0, -1);
  const algorithm = mode.key instanceof Uint8Array ? 'HMAC' : 'ECDSA';
  const key =
    mode.key instanceof Uint8Array
      ? await crypto.subtle.importKey(
          'raw',
          Buffer.from(mode.key),
          { name: 'HMAC', hash: 'SHA-256' },
          false,
          ['sign'],
        )
      : mode.key;
  const signature = await crypto.subtle.sign({ name: algorithm, hash: 'SHA-256' }, key, Buffer.from(text));
  return `${text}.${base64url.encode(new Uint8Array(signature))}`;
}

/** A token signed by another key, with these values in its header. */
function byStranger(mode: Mode, header: object): Promise<string> {
  const key = mode.name === 'JWKS' ? strangers.privateKey : new Uint8Array(64).fill(7);
  return signAnything({ ...mode, key }, { alg: mode.header.alg, ...header }, claims());
}

/** An unsigned token of these parts. */
function unsigned(header: object, payload: object, signature = ''): string {
  return `${base64url.encode(JSON.stringify(header))}.${base64url.encode(JSON.stringify(payload))}.${signature}`;
}

async function ask(app: TestApp, query: string, authorization?: string): Promise<Answer> {
  const response = await fetch(app.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      ...(authorization === undefined ? {} : { authorization }),
    },
    body: JSON.stringify({ query }),
  });
  const text = await response.text();
  const body = JSON.parse(text) as { data?: unknown; errors?: { extensions?: { code?: string } }[] };
  return { status: response.status, code: body.errors?.[0]?.extensions?.code, data: body.data, text };
}

function messageOf({ text }: Answer): unknown {
  return (JSON.parse(text) as { errors?: { message: string }[] }).errors?.[0]?.message;
}

const SAVE = 'mutation { updateAgents(input: { inbound: { systemPrompt: "x" } }) { __typename } }';

/** Sends three requests: one that needs an organization, one that needs nothing, and one that would write. */
async function refusals(app: TestApp, authorization?: string): Promise<Answer[]> {
  app.supabase.requests.reset();
  app.vapi.reset();
  const answers = [
    await ask(app, '{ organization { id } }', authorization),
    await ask(app, SAVE, authorization),
    await ask(app, '{ __typename }', authorization),
  ];
  tried += answers.length;
  expect(app.supabase.requests.all, 'nothing may reach the database').toEqual([]);
  expect(app.vapi.requests, 'nothing may reach Vapi').toEqual([]);
  return answers;
}

/** Asserts that all three are refused, including the one that a caller without a token may send. */
async function expectRefused(app: TestApp, authorization: string): Promise<void> {
  for (const answer of await refusals(app, authorization)) {
    expect(answer).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
    expect(answer.data ?? null).toBeNull();
    expect(answer.text).not.toMatch(/jose|JWS|JWT|signature|at .*\.(ts|js)/);
  }
}

/** Invalid tokens by their defect. */
const BAD: Record<string, (mode: Mode) => string | Promise<string>> = {
  'is garbage': () => 'garbage',
  'is three parts of garbage': () => 'a.b.c',
  'is JSON': () => JSON.stringify({ role: 'authenticated' }).replaceAll(' ', ''),
  'has four parts': async (mode) => `${await sign(claims(), mode.header, mode.key)}.x`,
  'is cut short': async (mode) => (await sign(claims(), mode.header, mode.key)).slice(0, -3),
  'has a payload that was changed after signing': async (mode) => {
    const [header, , signature] = (await sign(claims(), mode.header, mode.key)).split('.');
    const payload = base64url.encode(JSON.stringify({ ...claims(), app_metadata: { org_id: other } }));
    return `${header}.${payload}.${signature}`;
  },
  'has expired': (mode) => sign({ ...claims(), exp: now() - 60 }, mode.header, mode.key),
  'never expires': (mode) => {
    const { exp: _exp, ...rest } = claims();
    return sign(rest, mode.header, mode.key);
  },
  'has a string as its expiry': (mode) =>
    signAnything(mode, mode.header, { ...claims(), exp: String(now() + 600) }),
  'is not valid yet': (mode) => sign({ ...claims(), nbf: now() + 600 }, mode.header, mode.key),
  'has another issuer': (mode) =>
    sign({ ...claims(), iss: 'https://other.supabase.co/auth/v1' }, mode.header, mode.key),
  'has an issuer that begins like ours': (mode) =>
    sign({ ...claims(), iss: `${supabase.url}/auth/v1.evil.example` }, mode.header, mode.key),
  'has no issuer': (mode) => {
    const { iss: _iss, ...rest } = claims();
    return sign(rest, mode.header, mode.key);
  },
  'is for another audience': (mode) => sign({ ...claims(), aud: 'anon' }, mode.header, mode.key),
  'has no audience': (mode) => {
    const { aud: _aud, ...rest } = claims();
    return sign(rest, mode.header, mode.key);
  },
  'has no subject': (mode) => {
    const { sub: _sub, ...rest } = claims();
    return sign(rest, mode.header, mode.key);
  },
  'is of role anon': (mode) => sign({ ...claims(), role: 'anon' }, mode.header, mode.key),
  'is of role service_role': (mode) => sign({ ...claims(), role: 'service_role' }, mode.header, mode.key),
  'has no role': (mode) => {
    const { role: _role, ...rest } = claims();
    return sign(rest, mode.header, mode.key);
  },
  'is signed by another key under the real kid': (mode) =>
    mode.name === 'JWKS'
      ? sign(claims(), mode.header, strangers.privateKey)
      : sign(claims(), { ...mode.header, kid: KID }, new TextEncoder().encode('x'.repeat(64))),
  'has an unknown kid': (mode) =>
    sign(
      claims(),
      { ...mode.header, kid: 'no-such-key' },
      mode.name === 'JWKS' ? strangers.privateKey : new Uint8Array(64),
    ),
  'has its own key in its header': () =>
    sign(
      claims(),
      { alg: 'ES256', kid: KID, jwk: strangers.jwk } as JWTHeaderParameters,
      strangers.privateKey,
    ),
  'has the address of its key in its header': () =>
    sign(
      claims(),
      { alg: 'ES256', kid: KID, jku: 'http://127.0.0.1:9/jwks.json' } as JWTHeaderParameters,
      strangers.privateKey,
    ),
  'has no kid and is signed by another key': (mode) =>
    sign(
      claims(),
      { alg: mode.header.alg },
      mode.name === 'JWKS' ? strangers.privateKey : new Uint8Array(64),
    ),
  'names a file as its kid': (mode) => byStranger(mode, { kid: '../../../../../../dev/null' }),
  'names an address as its kid': (mode) => byStranger(mode, { kid: 'http://127.0.0.1:9/key.json' }),
  'has SQL in its kid': (mode) => byStranger(mode, { kid: `' or true; --` }),
  'has a property of every object as its kid': (mode) => byStranger(mode, { kid: '__proto__' }),
  'has a kid that is not a string': (mode) => byStranger(mode, { kid: [KID] as unknown as string }),
  'has a certificate in its header': (mode) => byStranger(mode, { x5c: ['MIIB'], kid: KID }),
  'has the address of its certificate in its header': (mode) =>
    byStranger(mode, { x5u: 'http://127.0.0.1:9/certificate.pem', kid: KID }),
  'has no signature': async (mode) => (await sign(claims(), mode.header, mode.key)).replace(/[^.]+$/, ''),
  'has a signature of zeros': (mode) =>
    unsigned(mode.header, claims(), base64url.encode(new Uint8Array(mode.name === 'JWKS' ? 64 : 32))),
  'is encrypted': () => `${base64url.encode('{"alg":"dir","enc":"A256GCM"}')}..AAAA.AAAA.AAAA`,
  'has an unencoded payload': (mode) =>
    signAnything(mode, { ...mode.header, crit: ['b64'], b64: false }, claims()),
  'has several audiences without ours': (mode) =>
    sign({ ...claims(), aud: ['anon', 'authenticated.example'] }, mode.header, mode.key),
  'has an audience that is an object': (mode) =>
    signAnything(mode, mode.header, { ...claims(), aud: { authenticated: true } }),
  'has several issuers': (mode) =>
    signAnything(mode, mode.header, { ...claims(), iss: [claims()['iss'], 'https://other.example'] }),
  'has a string as its nbf': (mode) => signAnything(mode, mode.header, { ...claims(), nbf: 'now' }),
  'has a subject that is not a string': (mode) =>
    signAnything(mode, mode.header, { ...claims(), sub: { id: userId } }),
  'has several roles': (mode) =>
    sign({ ...claims(), role: ['authenticated', 'service_role'] }, mode.header, mode.key),
  'is of role authenticator': (mode) => sign({ ...claims(), role: 'authenticator' }, mode.header, mode.key),
  'has our role in capitals': (mode) => sign({ ...claims(), role: 'AUTHENTICATED' }, mode.header, mode.key),
  'has a list as its payload': (mode) => signAnything(mode, mode.header, [claims()]),
  'has alg none': () => unsigned({ alg: 'none', typ: 'JWT' }, claims()),
  'has alg None and the real kid': () => unsigned({ alg: 'None', typ: 'JWT', kid: KID }, claims()),
  'has alg none and a signature': async (mode) =>
    unsigned({ alg: 'none' }, claims(), (await sign(claims(), mode.header, mode.key)).split('.')[2]),
  'is HS256, signed with the public key as PEM': async () =>
    sign(claims(), { alg: 'HS256', kid: KID }, new TextEncoder().encode(await exportSPKI(es256.publicKey))),
  'is HS256, signed with the public key as JWK': () =>
    sign(claims(), { alg: 'HS256', kid: KID }, new TextEncoder().encode(JSON.stringify(es256.jwk))),
  'is HS256, signed with an empty-looking key': () => sign(claims(), { alg: 'HS256' }, new Uint8Array(32)),
  'is RS256, signed by another key under the real kid': () =>
    sign(claims(), { alg: 'RS256', kid: KID }, rsa.privateKey),
  'is valid for a server in the other mode': (mode) => {
    const there = modes.find((candidate) => candidate !== mode);
    if (there === undefined) throw new Error('no other mode');
    return sign(claims(), there.header, there.key);
  },
  'requires an unknown extension': (mode) =>
    signAnything(mode, { ...mode.header, crit: ['lockstep'], lockstep: true }, claims()),
  'is the publishable key': () => supabase.publishableKey,
  'is the secret key': () => supabase.secretKey,
  'is the master key': () => CANARY_KEY,
  'is as long as a header may be': () => 'x'.repeat(12_000),
};

describe.each(['HS256', 'JWKS'])('%s', (name) => {
  let mode: Mode;
  beforeAll(() => {
    const found = modes.find((candidate) => candidate.name === name);
    if (found === undefined) throw new Error(`no mode ${name}`);
    mode = found;
  });

  test('a valid token gives access to its organization', async () => {
    const token = await sign(claims(), mode.header, mode.key);
    const saved = await ask(mode.app, SAVE, `Bearer ${token}`);
    expect(saved).toMatchObject({ status: 200, data: { updateAgents: { __typename: expect.any(String) } } });
    const [journal] = await supabase.sql`
      select org_id, actor from public.agent_saves order by started_at desc limit 1`;
    expect(journal).toEqual({ org_id: org, actor: userId });
  });

  test.each<[string, (mode: Mode) => Promise<string>]>([
    [
      'has several audiences including ours',
      (at) => sign({ ...claims(), aud: ['x', 'authenticated'] }, at.header, at.key),
    ],
    [
      'has its organization in capitals',
      (at) => sign({ ...claims(), app_metadata: { org_id: org.toUpperCase() } }, at.header, at.key),
    ],
    // The server ignores keys in a header, and fetches nothing.
    [
      'names other keys in its header',
      (at) =>
        signAnything(
          at,
          { ...at.header, jku: 'http://127.0.0.1:9/', x5u: 'http://127.0.0.1:9/', jwk: strangers.jwk },
          claims(),
        ),
    ],
  ])('a valid token that %s gives access to its organization', async (_what, make) => {
    await ask(mode.app, SAVE, `Bearer ${await make(mode)}`);
    const [journal] = await supabase.sql`
      select org_id, actor from public.agent_saves order by started_at desc limit 1`;
    expect(journal).toEqual({ org_id: org, actor: userId });
    await supabase.sql`update public.sagas set actor = 'told' where org_id = ${org}`;
  });

  test('a hand-signed token without a defect is accepted', async () => {
    const token = await signAnything(mode, mode.header, claims());
    expect((await ask(mode.app, '{ __typename }', `Bearer ${token}`)).status).toBe(200);
  });

  test('without a token, only requests that need an organization are refused (UNAUTHENTICATED)', async () => {
    const [read, write, neither] = await refusals(mode.app);
    expect(read).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
    expect(write).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
    expect(neither).toMatchObject({ status: 200, data: { __typename: 'Query' } });
  });

  test.each(Object.entries(BAD))('a token that %s is refused', async (_what, make) => {
    await expectRefused(mode.app, `Bearer ${await make(mode)}`);
  });

  test.each([
    ['no scheme', (token: string) => token],
    ['the scheme Basic', (token: string) => `Basic ${token}`],
    ['a scheme and no token', () => 'Bearer'],
    ['two tokens', (token: string) => `Bearer ${token} ${token}`],
    ['two tokens with a comma', (token: string) => `Bearer ${token}, Bearer ${token}`],
    ['nothing at all', () => ''],
  ])('a valid token with %s is refused', async (_what, header) => {
    await expectRefused(mode.app, header(await sign(claims(), mode.header, mode.key)));
  });

  test.each<[string, () => Record<string, unknown>]>([
    ['no app_metadata', () => ({ app_metadata: undefined })],
    ['an app_metadata that is null', () => ({ app_metadata: null })],
    ['an app_metadata that is a string', () => ({ app_metadata: 'org_id' })],
    ['no organization', () => ({ app_metadata: { provider: 'email' } })],
    ['an organization that is null', () => ({ app_metadata: { org_id: null } })],
    ['an organization that is empty', () => ({ app_metadata: { org_id: '' } })],
    ['an organization that is not a UUID', () => ({ app_metadata: { org_id: 'north-dental' } })],
    ['an organization with something after it', () => ({ app_metadata: { org_id: `${org} ` } })],
    ['a list of organizations', () => ({ app_metadata: { org_id: [org] } })],
    ['an organization that is an object', () => ({ app_metadata: { org_id: { id: org } } })],
    ['an organization that is a number', () => ({ app_metadata: { org_id: 1 } })],
    ['an organization that is true', () => ({ app_metadata: { org_id: true } })],
    ['an organization without its hyphens', () => ({ app_metadata: { org_id: org.replaceAll('-', '') } })],
    ['an organization in braces', () => ({ app_metadata: { org_id: `{${org}}` } })],
    ['two organizations', () => ({ app_metadata: { org_id: `${org},${other}` } })],
    ['an app_metadata that is a list', () => ({ app_metadata: [{ org_id: org }] })],
    ['an app_metadata within app_metadata', () => ({ app_metadata: { app_metadata: { org_id: org } } })],
    ["a name of another claim's kind", () => ({ app_metadata: { orgId: org, ORG_ID: org, 'org_id ': org } })],
    ['an organization at the top', () => ({ app_metadata: {}, org_id: org })],
    ["someone's organization in user_metadata", () => ({ app_metadata: {}, user_metadata: { org_id: org } })],
    [
      "someone's organization in user_metadata.app_metadata",
      () => ({ app_metadata: {}, user_metadata: { app_metadata: { org_id: org } } }),
    ],
  ])('a valid token with %s is FORBIDDEN', async (_what, change) => {
    const token = await sign({ ...claims(), ...change() }, mode.header, mode.key);
    const [read, write, neither] = await refusals(mode.app, `Bearer ${token}`);
    expect(read).toMatchObject({ status: 403, code: 'FORBIDDEN' });
    expect(write).toMatchObject({ status: 403, code: 'FORBIDDEN' });
    expect(neither).toMatchObject({ status: 200, data: { __typename: 'Query' } });
  });

  test('user_metadata does not affect the organization', async () => {
    const token = await sign(
      { ...claims(), user_metadata: { org_id: other, app_metadata: { org_id: other } }, org_id: other },
      mode.header,
      mode.key,
    );
    await ask(mode.app, SAVE, `Bearer ${token}`);
    const rows = await supabase.sql`select from public.agent_saves where org_id = ${other}`;
    expect(rows.length).toBe(0);
  });

  test('an organization that does not exist is FORBIDDEN, and nothing is created', async () => {
    const token = await sign({ ...claims(), app_metadata: { org_id: randomUUID() } }, mode.header, mode.key);
    mode.app.vapi.reset();
    const saved = await ask(mode.app, SAVE, `Bearer ${token}`);
    expect(saved).toMatchObject({ status: 403, code: 'FORBIDDEN' });
    expect(mode.app.vapi.requests).toEqual([]);
  });
});

test('after a move to another organization, the old token keeps the old organization until it expires; the next token has the new one', async () => {
  const app = modes[0]?.app;
  if (app === undefined) throw new Error('no server');
  const user = await supabase.createUser({ orgId: org });
  const { accessToken, client } = await supabase.signIn(user.email, user.password);
  const organizationOf = async (token: string) =>
    (await ask(app, '{ organization { id } }', `Bearer ${token}`)).data;
  expect(await organizationOf(accessToken)).toEqual({ organization: { id: org } });

  await supabase.sql`
    update auth.users set raw_app_meta_data = raw_app_meta_data || ${supabase.sql.json({ org_id: other })}
    where id = ${user.id}`;
  expect(await organizationOf(accessToken)).toEqual({ organization: { id: org } });
  const { data } = await client.auth.refreshSession();
  expect(await organizationOf(data.session?.access_token ?? '')).toEqual({ organization: { id: other } });

  await supabase.sql`
    update auth.users set raw_app_meta_data = raw_app_meta_data - 'org_id' where id = ${user.id}`;
  const removed = await client.auth.refreshSession();
  const answer = await ask(app, '{ organization { id } }', `Bearer ${removed.data.session?.access_token}`);
  expect(answer).toMatchObject({ status: 403, code: 'FORBIDDEN' });
});

test('the token of a deleted user stays valid until it expires and cannot be refreshed', async () => {
  const app = modes[0]?.app;
  if (app === undefined) throw new Error('no server');
  const user = await supabase.createUser({ orgId: org });
  const { accessToken, client } = await supabase.signIn(user.email, user.password);
  await supabase.sql`delete from auth.users where id = ${user.id}`;
  const answer = await ask(app, '{ organization { id } }', `Bearer ${accessToken}`);
  expect(answer.data).toEqual({ organization: { id: org } });
  expect((await client.auth.refreshSession()).error).not.toBeNull();
  await expect(supabase.signIn(user.email, user.password)).rejects.toMatchObject({
    code: 'invalid_credentials',
  });
});

test('the tokens of a deleted organization are FORBIDDEN and find nothing', async () => {
  const app = modes[0]?.app;
  if (app === undefined) throw new Error('no server');
  const gone = await supabase.createOrganization('Gone');
  const user = await supabase.createUser({ orgId: gone });
  const { accessToken } = await supabase.signIn(user.email, user.password);
  await supabase.sql`delete from public.organizations where id = ${gone}`;
  app.vapi.reset();
  for (const query of ['{ organization { id } }', SAVE]) {
    expect(await ask(app, query, `Bearer ${accessToken}`)).toMatchObject({ status: 403, code: 'FORBIDDEN' });
  }
  const lists = '{ agents { id } calls { nodes { id } } phoneNumbers { nodes { id } } }';
  expect((await ask(app, lists, `Bearer ${accessToken}`)).data).toEqual({
    agents: [],
    calls: { nodes: [] },
    phoneNumbers: { nodes: [] },
  });
  expect(app.vapi.requests).toEqual([]);
});

describe('a token that expires between the check of the server and the read of the database', () => {
  let patient: TestApp;
  let token: string;
  beforeAll(async () => {
    patient = await createTestApp({
      supabase,
      config: { supabase: { ...supabaseConfig(supabase), timeoutMs: 20_000 } },
    });
    token = await sign(claims(), { alg: 'HS256' }, new TextEncoder().encode(supabase.jwtSecret));
  });
  afterAll(() => patient?.stop());

  test('receives the same refusal as an expired token', async () => {
    const late = await sign({ ...claims(), exp: now() - 60 }, { alg: 'HS256' }, modes[0]?.key as Uint8Array);
    const expected = await ask(patient, '{ organization { id } }', `Bearer ${late}`);
    expect(expected).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
    for (let seconds = 2; ; seconds *= 2) {
      const exp = now() + seconds;
      const short = await sign({ ...claims(), exp }, { alg: 'HS256' }, modes[0]?.key as Uint8Array);
      supabase.requests.reset();
      supabase.faults.next('/rest/v1/organizations', { delayMs: exp * 1_000 - Date.now() + 50 });
      const answer = await ask(patient, '{ organization { id } }', `Bearer ${short}`);
      supabase.faults.clear();
      expect(answer).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
      // On a slow machine, our own check may already have refused it.
      if (supabase.requests.all.length === 0) continue;
      expect(messageOf(answer)).toBe(messageOf(expected));
      break;
    }
  });

  test.each([
    ['PostgREST 12', { code: 'PGRST301', message: 'JWT expired', details: null, hint: null }],
    ['PostgREST 14', { code: 'PGRST303', message: 'JWT expired', details: null, hint: null }],
  ])(
    'answers UNAUTHENTICATED if %s reports it, also for a nullable field, and logs it',
    async (_version, body) => {
      supabase.faults.next('/rest/v1/agents', { status: 401, body });
      const lines = patient.log.length;
      const answer = await ask(patient, '{ agent(role: INBOUND) { id } }', `Bearer ${token}`);
      expect(answer).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
      expect(answer.text).not.toMatch(/PGRST|JWT/);
      expect(patient.log.slice(lines).join('')).toContain('the database refused a token');
    },
  );

  test('a publishable key that the gateway refuses is not reported as a fault of the caller', async () => {
    supabase.faults.next('/rest/v1/agents', { status: 401, body: { message: 'Invalid API key' } });
    const answer = await ask(patient, '{ agents { id } }', `Bearer ${token}`);
    expect(answer).toMatchObject({ code: 'UNAVAILABLE' });
  });
});

test('answers UNAVAILABLE if the keys cannot be fetched, and does not treat the caller as anonymous', async () => {
  const app = await createTestApp({
    supabase,
    config: {
      supabase: {
        ...supabaseConfig(supabase),
        jwtSecret: null,
        jwks: new URL('http://127.0.0.1:9/jwks.json'),
      },
    },
  });
  try {
    const token = await sign(claims(), { alg: 'ES256', kid: KID }, es256.privateKey);
    for (const answer of await refusals(app, `Bearer ${token}`)) {
      expect(answer).toMatchObject({ status: 503, code: 'UNAVAILABLE' });
      expect(answer.data ?? null).toBeNull();
    }
  } finally {
    await app.stop();
  }
});

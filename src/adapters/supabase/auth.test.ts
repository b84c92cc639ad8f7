import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { closedPort } from '../../../test/support/network.ts';
import { Secret } from '../../domain/secret.ts';
import type { TokenVerifier } from '../../ports/auth.ts';
import { createTokenVerifier } from './auth.ts';
import type { SupabaseConfig } from './clients.ts';

const URL_OF_PROJECT = 'https://project.supabase.example';
const ORG = '00000000-0000-4000-8000-00000000000a';
const USER = '00000000-0000-4000-8000-0000000000a1';
const SHARED = 'a shared secret of a legacy project, long enough';

type SigningKey = Parameters<SignJWT['sign']>[0];
interface Signer {
  alg: string;
  kid: string | undefined;
  key: SigningKey;
}

const now = () => Math.floor(Date.now() / 1_000);

/** What Supabase Auth puts into the token of a signed-in user. */
const claims = (over: Record<string, unknown> = {}): JWTPayload => ({
  ...{ iss: `${URL_OF_PROJECT}/auth/v1`, aud: 'authenticated', role: 'authenticated', sub: USER },
  ...{ iat: now() - 10, exp: now() + 3_600, email: 'owner@north.example', is_anonymous: false },
  app_metadata: { provider: 'email', providers: ['email'], org_id: ORG },
  user_metadata: {},
  ...over,
});

function sign(signer: Signer, payload: JWTPayload = claims()): Promise<string> {
  const { alg, kid, key } = signer;
  return new SignJWT(payload)
    .setProtectedHeader({ alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }) })
    .sign(key);
}

async function keyPair(alg: 'ES256' | 'RS256', kid: string) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' };
  return { signer: { alg, kid, key: privateKey } satisfies Signer, jwk, pem: await exportSPKI(publicKey) };
}

function verifier(keys: Partial<SupabaseConfig>, mostKept?: number): TokenVerifier {
  const config = {
    ...{ url: URL_OF_PROJECT, publishableKey: 'p', secretKey: new Secret('s'), timeoutMs: 1_000 },
    ...{ jwks: null, jwtSecret: null, ...keys },
  };
  return createTokenVerifier(config, mostKept);
}

/** Counts the signatures that are checked. */
function countChecks(): () => number {
  const check = vi.spyOn(crypto.subtle, 'verify');
  onTestFinished(() => check.mockRestore());
  return () => check.mock.calls.length;
}

let es: Awaited<ReturnType<typeof keyPair>>;
let rs: Awaited<ReturnType<typeof keyPair>>;
let stranger: Awaited<ReturnType<typeof keyPair>>;
beforeAll(async () => {
  [es, rs, stranger] = await Promise.all([
    keyPair('ES256', 'es-key'),
    keyPair('RS256', 'rs-key'),
    keyPair('ES256', 'es-key'),
  ]);
});
afterEach(() => {
  vi.useRealTimers();
});

const legacy: Signer = { alg: 'HS256', kid: undefined, key: new TextEncoder().encode(SHARED) };
const bad = { problem: 'bad_token' };
const unavailable = { problem: 'unavailable' };
const accepted = { userId: USER, orgId: ORG };

/** Three parts that are JSON, the first of them more or less a header. */
const parts = fc.oneof(
  fc.jsonValue(),
  fc.record(
    {
      alg: fc.oneof(fc.constantFrom('ES256', 'RS256', 'HS256', 'none'), fc.jsonValue()),
      kid: fc.oneof(fc.constantFrom('es-key', 'rs-key'), fc.jsonValue()),
      crit: fc.jsonValue(),
      b64: fc.jsonValue(),
    },
    { requiredKeys: [] },
  ),
);
const shaped = fc
  .tuple(parts, fc.jsonValue(), fc.string())
  .map((three) => three.map((one) => Buffer.from(JSON.stringify(one)).toString('base64url')).join('.'));

/** One project of each kind, and who signs for it. Made when asked for: the keys exist only then. */
const PROJECTS: [string, () => { verify: TokenVerifier['verify']; signer: Signer }][] = [
  ['ES256', () => ({ ...verifier({ jwks: { keys: [rs.jwk, es.jwk] } }), signer: es.signer })],
  ['RS256', () => ({ ...verifier({ jwks: { keys: [rs.jwk, es.jwk] } }), signer: rs.signer })],
  ['legacy HS256', () => ({ ...verifier({ jwtSecret: new Secret(SHARED) }), signer: legacy })],
];

describe.each(PROJECTS)('a project that signs %s', (_name, project) => {
  test('its user is accepted: subject and organization, from the token alone', async () => {
    const { verify, signer } = project();
    expect(await verify(await sign(signer))).toEqual(accepted);
  });

  test('an organization in capitals is the same organization', async () => {
    const { verify, signer } = project();
    const token = await sign(signer, claims({ app_metadata: { org_id: ORG.toUpperCase() } }));
    expect(await verify(token)).toEqual(accepted);
  });

  test.each<[string, Record<string, unknown>]>([
    ['expired', { exp: now() - 60 }],
    ['without an expiry', { exp: undefined }],
    ['whose expiry is a text', { exp: String(now() + 3_600) }],
    ['not valid yet', { nbf: now() + 3_600 }],
    ['of another project', { iss: 'https://other.supabase.example/auth/v1' }],
    ['of an issuer that begins like ours', { iss: `${URL_OF_PROJECT}/auth/v1/other` }],
    ['of an issuer with a slash at the end', { iss: `${URL_OF_PROJECT}/auth/v1/` }],
    ['without an issuer', { iss: undefined }],
    ['whose issuer is a list', { iss: [`${URL_OF_PROJECT}/auth/v1`] }],
    ['for another audience', { aud: 'storage' }],
    ['without an audience', { aud: undefined }],
    ['whose audience is a number', { aud: 7 }],
    ['without a subject', { sub: undefined }],
    ['with an empty subject', { sub: '' }],
    ['whose subject is a number', { sub: 7 }],
    ['whose subject is a list', { sub: [USER] }],
    ['of the service role', { role: 'service_role' }],
    ['of nobody (anon)', { role: 'anon' }],
    ['without a role', { role: undefined }],
    ['whose role is a list', { role: ['authenticated'] }],
  ])('a token %s is refused', async (_what, over) => {
    const { verify, signer } = project();
    expect(await verify(await sign(signer, claims(over)))).toEqual(bad);
  });

  test.each<[string, Record<string, unknown>]>([
    ['no organization', { app_metadata: { provider: 'email' } }],
    ['no app_metadata', { app_metadata: undefined }],
    ['null for app_metadata', { app_metadata: null }],
    ['a list for app_metadata', { app_metadata: [{ org_id: ORG }] }],
    ['a text for app_metadata', { app_metadata: JSON.stringify({ org_id: ORG }) }],
    ['an organization in user_metadata only', { app_metadata: {}, user_metadata: { org_id: ORG } }],
    ['an organization at the top level only', { app_metadata: {}, org_id: ORG }],
    ['an organization that is no UUID', { app_metadata: { org_id: 'north' } }],
    ['an organization in braces', { app_metadata: { org_id: `{${ORG}}` } }],
    ['an organization and a line break', { app_metadata: { org_id: `${ORG}\n` } }],
    ['an empty organization', { app_metadata: { org_id: '' } }],
    ['null for an organization', { app_metadata: { org_id: null } }],
    ['a number for an organization', { app_metadata: { org_id: 10 } }],
    ['a list for an organization', { app_metadata: { org_id: [ORG] } }],
    ['an object for an organization', { app_metadata: { org_id: { id: ORG } } }],
    [
      'an organization by inheritance',
      { app_metadata: JSON.parse(`{"__proto__":{"org_id":"${ORG}"}}`) as object },
    ],
  ])('a good token with %s belongs to none', async (_what, over) => {
    const { verify, signer } = project();
    expect(await verify(await sign(signer, claims(over)))).toEqual({ problem: 'no_organization' });
  });

  test('another organization in user_metadata changes nothing', async () => {
    const { verify, signer } = project();
    const user_metadata = { org_id: '00000000-0000-4000-8000-00000000000b' };
    expect(await verify(await sign(signer, claims({ user_metadata })))).toEqual(accepted);
  });

  test('checks the signature of an accepted token once', async () => {
    const { verify, signer } = project();
    const checks = countChecks();
    const [token, other] = [await sign(signer), await sign(signer, claims({ sub: ORG }))];
    for (let n = 0; n < 3; n += 1) expect(await verify(token)).toEqual(accepted);
    expect(checks()).toBe(1);
    for (let n = 0; n < 2; n += 1) expect(await verify(other)).toEqual({ ...accepted, userId: ORG });
    expect(checks()).toBe(2);
  });

  test('rejects a token that was accepted before as soon as it expires', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const { verify, signer } = project();
    const token = await sign(signer, claims({ exp: now() + 60 }));
    const noOrganization = await sign(signer, claims({ exp: now() + 60, app_metadata: {} }));
    for (const afterMs of [0, 30_000, 29_000]) {
      vi.setSystemTime(Date.now() + afterMs);
      expect(await verify(token)).toEqual(accepted);
      expect(await verify(noOrganization)).toEqual({ problem: 'no_organization' });
    }
    vi.setSystemTime(Date.now() + 1_000);
    for (let n = 0; n < 2; n += 1) {
      expect(await verify(token)).toEqual(bad);
      expect(await verify(noOrganization)).toEqual(bad);
    }
  });

  test('rejects a token that was accepted before if the clock goes back to before it is valid', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const { verify, signer } = project();
    const token = await sign(signer, claims({ nbf: now() }));
    expect(await verify(token)).toEqual(accepted);
    vi.setSystemTime(Date.now() - 5_000);
    expect(await verify(token)).toEqual(bad);
    vi.setSystemTime(Date.now() + 5_000);
    expect(await verify(token)).toEqual(accepted);
  });

  test('rejects an accepted token with any one character changed, added or removed', async () => {
    const { verify, signer } = project();
    const token = await sign(signer);
    expect(await verify(token)).toEqual(accepted);
    // The last character of a signature holds bits that no byte has.
    for (let at = 0; at < token.length - 1; at += 1) {
      const changed = token[at] === 'A' ? 'B' : 'A';
      expect(await verify(`${token.slice(0, at)}${changed}${token.slice(at + 1)}`)).toEqual(bad);
    }
    for (const altered of [`${token}A`, token.slice(0, -1), ` ${token}`, `${token}.`, token.toUpperCase()])
      expect(await verify(altered)).toEqual(bad);
  });

  test('checks a rejected token every time', async () => {
    const { verify, signer } = project();
    const other: Signer =
      signer.alg === 'HS256' ? { ...legacy, key: new TextEncoder().encode(`${SHARED}!`) } : stranger.signer;
    const token = await sign({ ...other, kid: signer.kid });
    expect(await verify(token)).toEqual(bad);
    const checks = countChecks();
    for (let n = 0; n < 2; n += 1) expect(await verify(token)).toEqual(bad);
    // A key of another family does not get as far as a signature.
    expect(checks()).toBe(other.alg === signer.alg ? 2 : 0);
  });

  test('signed by another key under the same name', async () => {
    const { verify, signer } = project();
    const other: Signer =
      signer.alg === 'HS256' ? { ...legacy, key: new TextEncoder().encode(`${SHARED}!`) } : stranger.signer;
    expect(await verify(await sign({ ...other, kid: signer.kid }))).toEqual(bad);
  });

  test('changed after it was signed', async () => {
    const { verify, signer } = project();
    const [header, , signature] = (await sign(signer)).split('.');
    const app_metadata = { org_id: '00000000-0000-4000-8000-00000000000b' };
    const payload = Buffer.from(JSON.stringify(claims({ app_metadata }))).toString('base64url');
    expect(await verify(`${header}.${payload}.${signature}`)).toEqual(bad);
  });

  test.each(['none', 'None', 'NONE', ''])('not signed at all (alg %j)', async (alg) => {
    const { verify, signer } = project();
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const unsigned = `${part({ alg, typ: 'JWT', kid: signer.kid })}.${part(claims())}.`;
    expect(await verify(unsigned)).toEqual(bad);
    const [, , signature] = (await sign(signer)).split('.');
    expect(await verify(unsigned + signature)).toEqual(bad);
  });

  test('HS256, signed with the public key, in every form in which that is known', async () => {
    const { verify } = project();
    for (const { jwk, pem } of [es, rs]) {
      for (const secret of [pem, pem.trim(), JSON.stringify(jwk), jwk.x ?? '', jwk.n ?? '']) {
        const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
        const text = `${part({ alg: 'HS256', typ: 'JWT', kid: jwk.kid })}.${part(claims())}`;
        const token = `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
        expect(await verify(token)).toEqual(bad);
      }
    }
  });

  test('a key that the token brings along', async () => {
    const { verify, signer } = project();
    const token = await new SignJWT(claims())
      .setProtectedHeader({
        ...{ alg: 'ES256', typ: 'JWT', kid: signer.kid ?? 'es-key', jwk: stranger.jwk },
        ...{ jku: 'https://attacker.example/jwks.json', x5u: 'https://attacker.example/cert.pem' },
      })
      .sign(stranger.signer.key);
    expect(await verify(token)).toEqual(bad);
  });

  test('the signer of another kind of project', async () => {
    const { verify, signer } = project();
    const other = signer.alg === 'HS256' ? es.signer : { ...legacy, kid: signer.kid };
    expect(await verify(await sign(other))).toEqual(bad);
  });

  test.each([
    ...['', ' ', '.', '..', '...', 'a.b.c', 'null', '{}', 'sb_secret_abc', 'sb_publishable_abc', '🔑.🔑.🔑'],
    ...['eyJhbGciOiJFUzI1NiJ9', 'e30.e30.e30', 'bnVsbA.bnVsbA.bnVsbA', 'W10.W10.W10', 'x'.repeat(100_000)],
  ])('garbage: %.40s', async (token) => {
    expect(await project().verify(token)).toEqual(bad);
  });

  test('any text at all, and any header over any payload: refused, never thrown', async () => {
    const { verify } = project();
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), shaped), async (token) => {
        expect(await verify(token)).toEqual(bad);
      }),
    );
  });
});

test.each(['HS384', 'HS512'])('rejects a token that the shared secret signed by %s', async (alg) => {
  const { verify } = verifier({ jwtSecret: new Secret(SHARED) });
  expect(await verify(await sign({ ...legacy, alg }))).toEqual(bad);
});

test('keeps the verdicts of a bounded number of tokens, those that were used last', async () => {
  const { verify } = verifier({ jwtSecret: new Secret(SHARED) }, 2);
  const [a, b, c] = await Promise.all([1, 2, 3].map((n) => sign(legacy, claims({ session: n }))));
  for (const token of [a, b, a, c]) expect(await verify(token ?? '')).toEqual(accepted);
  const checks = countChecks();
  for (const token of [a, c]) expect(await verify(token ?? '')).toEqual(accepted);
  expect(checks()).toBe(0);
  expect(await verify(b ?? '')).toEqual(accepted);
  expect(checks()).toBe(1);
});

test('a token without the name of its key is refused where there are several keys', async () => {
  const { verify } = verifier({ jwks: { keys: [es.jwk, rs.jwk] } });
  expect(await verify(await sign({ ...es.signer, kid: undefined }))).toEqual(bad);
});

describe('keys over HTTP', () => {
  /** A JWKS endpoint that answers as it is told at the moment. */
  async function endpoint(answer: (response: ServerResponse) => void) {
    let requests = 0;
    const state = { answer };
    const server = createServer((request, response) => {
      requests += 1;
      request.resume().on('end', () => state.answer(response));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const jwks = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`);
    return { state, requests: () => requests, verify: verifier({ jwks }).verify };
  }

  const serving =
    (...keys: object[]) =>
    (response: ServerResponse) =>
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys }));

  test('are fetched once, and used for every token', async () => {
    const { verify, requests } = await endpoint(serving(es.jwk, rs.jwk));
    expect(await verify(await sign(es.signer))).toEqual(accepted);
    expect(await verify(await sign(rs.signer))).toEqual(accepted);
    expect(await verify(await sign(stranger.signer))).toEqual(bad);
    expect(requests()).toBe(1);
  });

  test.each<[string, Record<string, unknown>]>([
    ['another project', { iss: 'https://other.supabase.example/auth/v1' }],
    ['another audience', { aud: 'service' }],
  ])('reject a token for %s', async (_name, over) => {
    const { verify } = await endpoint(serving(es.jwk));
    expect(await verify(await sign(es.signer, claims(over)))).toEqual(bad);
  });

  test('rotation: a new key is found as soon as it may be asked for again, and the old one ends', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const { verify, state, requests } = await endpoint(serving(es.jwk));
    const next = await keyPair('ES256', 'next-key');
    const oldToken = await sign(es.signer);
    const newToken = await sign(next.signer);
    expect(await verify(oldToken)).toEqual(accepted);
    state.answer = serving(next.jwk);
    // Tokens with names of keys that nobody knows must not become requests: jose waits half a minute.
    for (let n = 0; n < 20; n += 1) expect(await verify(newToken)).toEqual(bad);
    expect(requests()).toBe(1);
    vi.setSystemTime(Date.now() + 31_000);
    expect(await verify(newToken)).toEqual(accepted);
    expect(await verify(oldToken)).toEqual(bad);
    expect(requests()).toBe(2);
  });

  test('rejects an accepted token of a removed key once the key set is ten minutes old', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const { verify, state, requests } = await endpoint(serving(es.jwk, rs.jwk));
    const removed = await sign(es.signer);
    const staying = await sign(rs.signer);
    const bothAccepted = async () => {
      expect(await verify(removed)).toEqual(accepted);
      expect(await verify(staying)).toEqual(accepted);
    };
    await bothAccepted();
    state.answer = serving(rs.jwk);
    // Accepted again just before the set is due: that does not make it last any longer.
    vi.setSystemTime(Date.now() + 599_000);
    await bothAccepted();
    expect(requests()).toBe(1);
    vi.setSystemTime(Date.now() + 1_000);
    expect(await verify(removed)).toEqual(bad);
    expect(await verify(staying)).toEqual(accepted);
    expect(requests()).toBe(2);
  });

  test('rejects an accepted token when its key is replaced by another one of the same name', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const { verify, state } = await endpoint(serving(es.jwk));
    const token = await sign(es.signer);
    for (let n = 0; n < 3; n += 1) expect(await verify(token)).toEqual(accepted);
    state.answer = serving(stranger.jwk);
    vi.setSystemTime(Date.now() + 600_000);
    expect(await verify(token)).toEqual(bad);
    expect(await verify(await sign(stranger.signer))).toEqual(accepted);
  });

  test('does not accept a kept token on keys that are too old while the endpoint is away', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const { verify, state } = await endpoint(serving(es.jwk));
    const token = await sign(es.signer);
    for (let n = 0; n < 3; n += 1) expect(await verify(token)).toEqual(accepted);
    state.answer = (response) => response.writeHead(500).end();
    vi.setSystemTime(Date.now() + 600_000);
    expect(await verify(token)).toEqual(unavailable);
    state.answer = serving(es.jwk);
    expect(await verify(token)).toEqual(accepted);
  });

  test.each<[string, (response: ServerResponse) => void]>([
    ['answers 500', (response) => response.writeHead(500).end()],
    ['answers 404', (response) => response.writeHead(404).end()],
    ['answers HTML', (response) => response.end('<html>')],
    ['answers something else', (response) => response.end('{"jwks":[]}')],
    ['hangs up', (response) => response.socket?.resetAndDestroy()],
  ])('while the endpoint %s nobody can be told: not a bad token; then it is back', async (_what, answer) => {
    const { verify, state } = await endpoint(answer);
    expect(await verify(await sign(es.signer))).toEqual(unavailable);
    state.answer = serving(es.jwk);
    expect(await verify(await sign(es.signer))).toEqual(accepted);
  });

  test('while nobody listens', async () => {
    const { verify } = verifier({ jwks: new URL(`http://127.0.0.1:${await closedPort()}/jwks.json`) });
    expect(await verify(await sign(es.signer))).toEqual(unavailable);
  });

  test('that were fetched serve on while the endpoint is away', async () => {
    const { verify, state } = await endpoint(serving(es.jwk));
    expect(await verify(await sign(es.signer))).toEqual(accepted);
    state.answer = (response) => response.writeHead(500).end();
    expect(await verify(await sign(es.signer))).toEqual(accepted);
  });

  test('what is no token at all is told as such, whatever the endpoint does', async () => {
    const { verify } = await endpoint((response) => response.writeHead(500).end());
    for (const token of ['', 'garbage', 'a.b.c', 'sb_secret_abc']) expect(await verify(token)).toEqual(bad);
  });

  test('no header makes it look as if the endpoint were away', async () => {
    const { verify } = await endpoint(serving(es.jwk, rs.jwk));
    await fc.assert(
      fc.asyncProperty(shaped, async (token) => {
        expect(await verify(token)).toEqual(bad);
      }),
    );
  });

  test('a key set without keys refuses every token', async () => {
    const { verify } = await endpoint(serving());
    expect(await verify(await sign(es.signer))).toEqual(bad);
  });
});

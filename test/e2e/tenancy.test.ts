/** Whose organization it is: the verified token says it, and nothing else can. */
import { createClient } from '@supabase/supabase-js';
import { jwtVerify, SignJWT, UnsecuredJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Caller, createTestApp, PATIENT_SETTINGS, type TestApp } from '../support/app.ts';
import { gate } from '../support/gate.ts';
import { expectAnswer, readAgents, readSave, SAVE, type SaveInput, save } from '../support/operations.ts';
import {
  databaseCalls,
  dumpDatabase,
  expectLockstep,
  forgetRequests,
  systemsOf,
  vapiCalls,
} from '../support/systems.ts';

let lockstep: TestApp;
let alice: Caller;
let victim: Caller;
beforeAll(async () => {
  lockstep = await createTestApp({ settings: PATIENT_SETTINGS });
  alice = await lockstep.newCaller('Alice');
  victim = await lockstep.newCaller('Victim');
  expectAnswer(await save(alice.client, both('of Alice')), 'UpdateAgentsSuccess');
  expectAnswer(await save(victim.client, both('of the victim')), 'UpdateAgentsSuccess');
});
afterAll(() => lockstep.stop());
beforeEach(() => forgetRequests(lockstep));

const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});

interface Claims {
  app_metadata?: Record<string, unknown>;
  [claim: string]: unknown;
}

describe('[2.19] a token is verified, not decoded', () => {
  const secretOf = (text: string) => new TextEncoder().encode(text);
  const signed = (claims: Claims, secret = lockstep.supabase.jwtSecret, alg = 'HS256') =>
    new SignJWT(claims).setProtectedHeader({ alg, typ: 'JWT' }).sign(secretOf(secret));
  /** Alice's own claims, pointed at the victim's organization: what a forger would write. */
  const forged = async (): Promise<Claims> => {
    const { payload } = await jwtVerify(alice.token, secretOf(lockstep.supabase.jwtSecret));
    return { ...payload, app_metadata: { ...(payload['app_metadata'] as object), org_id: victim.orgId } };
  };
  const refused: [string, () => Promise<string>][] = [
    [
      'signed with another secret',
      async () => signed(await forged(), 'another-secret-of-at-least-32-characters'),
    ],
    ['not signed', async () => new UnsecuredJWT(await forged()).encode()],
    [
      'with other claims under the old signature',
      async () => {
        const [header, , signature] = alice.token.split('.');
        const claims = Buffer.from(JSON.stringify(await forged())).toString('base64url');
        return `${header}.${claims}.${signature}`;
      },
    ],
    ['expired', async () => signed({ ...(await forged()), exp: Math.floor(Date.now() / 1000) - 60 })],
    ['without an expiry', async () => signed({ ...(await forged()), exp: undefined })],
    ['not valid yet', async () => signed({ ...(await forged()), nbf: Math.floor(Date.now() / 1000) + 600 })],
    [
      'of another issuer',
      async () => signed({ ...(await forged()), iss: 'https://elsewhere.example/auth/v1' }),
    ],
    ['for another audience', async () => signed({ ...(await forged()), aud: 'elsewhere' })],
    ['of another role', async () => signed({ ...(await forged()), role: 'service_role' })],
    ['of another algorithm', async () => signed(await forged(), lockstep.supabase.jwtSecret, 'HS512')],
    ['the publishable key', async () => lockstep.supabase.publishableKey],
    ['the secret key', async () => lockstep.supabase.secretKey],
    ['garbage', async () => 'garbage'],
  ];
  test.each(refused)(
    '%s: is refused, and does not count as no token; nothing is sent',
    async (_what, make) => {
      const client = lockstep.clientFor(await make());
      for (const attempt of [() => save(client, both('forged')), () => readAgents(client)]) {
        await expect(attempt()).rejects.toMatchObject({
          response: { status: 401, errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] },
        });
      }
      expect(databaseCalls(lockstep)).toEqual([]);
      expect(vapiCalls(lockstep)).toEqual([]);
    },
  );

  test('answers UNAUTHENTICATED without a token and with another scheme', async () => {
    for (const headers of [{}, { authorization: 'Basic YTpi' }, { authorization: 'Bearer' }]) {
      const response = await fetch(lockstep.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers } as Record<string, string>,
        body: JSON.stringify({ query: SAVE, variables: { input: both('nobody') } }),
      });
      expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] });
      expect(response.status).toBe(401);
    }
    expect(databaseCalls(lockstep)).toEqual([]);
  });

  test.each<[string, Claims]>([
    ['without an organization', { app_metadata: {} }],
    ['with one that is no UUID', { app_metadata: { org_id: 'north' } }],
    [
      'with one in user_metadata, which users write themselves',
      { app_metadata: {}, user_metadata: { org_id: '' } },
    ],
  ])('%s: FORBIDDEN', async (_what, claims) => {
    if (claims['user_metadata'] !== undefined) claims['user_metadata'] = { org_id: victim.orgId };
    const client = lockstep.clientFor(await signed({ ...(await forged()), ...claims }));
    for (const attempt of [() => save(client, both('homeless')), () => readAgents(client)]) {
      await expect(attempt()).rejects.toMatchObject({
        response: { status: 403, errors: [{ extensions: { code: 'FORBIDDEN' } }] },
      });
    }
    expect(databaseCalls(lockstep)).toEqual([]);
  });

  test('answers FORBIDDEN for an organization that does not exist, and writes nothing', async () => {
    const claims = await forged();
    const orgId = '99999999-9999-4999-8999-999999999999';
    const client = lockstep.clientFor(await signed({ ...claims, app_metadata: { org_id: orgId } }));
    await expect(save(client, both('nowhere'))).rejects.toMatchObject({
      response: { status: 403, errors: [{ extensions: { code: 'FORBIDDEN' } }] },
    });
    expect(vapiCalls(lockstep)).toEqual([]);
    expect(await systemsOf(lockstep, orgId)).toMatchObject({ agents: [], assistants: [] });
  });

  test('the control: such a token, correctly signed for its own organization, is accepted', async () => {
    const claims = await forged();
    const own = { ...claims, app_metadata: { org_id: alice.orgId.toUpperCase() } };
    expect((await readAgents(lockstep.clientFor(await signed(own)))).INBOUND?.systemPrompt).toBe(
      'Inbound, of Alice',
    );
  });
});

describe('[2.20] an id gives no access to another organization', () => {
  test('another organization’s save looks like one that does not exist', async () => {
    const input = { inbound: { systemPrompt: 'Mine' }, idempotencyKey: 'k' };
    const { save: made } = expectAnswer(await save(victim.client, input), 'UpdateAgentsSuccess');
    expect(await readSave(victim.client, made.id)).not.toBeNull();
    expect(await readSave(alice.client, made.id)).toBeNull();
    expect(await readSave(alice.client, 'no-uuid')).toBeNull();
    expect((await readAgents(alice.client)).INBOUND?.systemPrompt).toBe('Inbound, of Alice');
  });

  test('wrong code that passes another organization’s id to a save function finds no row', async () => {
    const before = await systemsOf(lockstep, victim.orgId);
    const service = createClient(lockstep.supabase.url, lockstep.supabase.secretKey);
    const { data: refused } = await service.rpc('begin_agents', {
      p_org_id: alice.orgId,
      p_saga_id: crypto.randomUUID(),
      p_owner: 'wrong code',
      p_request: {
        idempotencyKey: null,
        requestHash: 'x',
        cause: 'USER',
        actor: null,
        leaseMs: 1_000,
        deadlineMs: 1_000,
        mappingVersion: 1,
        updates: [
          {
            role: 'INBOUND',
            agentId: before.agents[0]?.id,
            newAgentId: crypto.randomUUID(),
            patch: { systemPrompt: 'stolen' },
            defaults: {},
            expectedRevision: null,
            recreateIfMissing: false,
          },
        ],
      },
    });
    expect(refused).toMatchObject({ outcome: 'NO_AGENT' });

    const middle = gate();
    lockstep.vapi.faults.add({ kind: 'hold', until: middle.until });
    const running = save(victim.client, { inbound: { systemPrompt: 'Running' } });
    await middle.reached;
    const [open] = await lockstep.supabase.sql<{ id: string }[]>`
      select id from public.agent_saves where org_id = ${victim.orgId} and finished_at is null`;
    const at = { p_org_id: alice.orgId, p_saga_id: open?.id, p_epoch: 1 };
    const parts = [{ key: 'INBOUND', remoteId: 'stolen', observed: {} }];
    const request = {
      parts,
      results: [],
      missing: [],
      ambiguous: false,
      lateMs: 0,
      leaseMs: 0,
      quarantineMs: 0,
      lookAfterMs: 0,
    };
    for (const name of [
      'saga_commit',
      'saga_abort',
      'saga_rolled_back',
      'saga_needs_attention',
      'saga_hold',
    ]) {
      const { data } = await service.rpc(name, {
        ...at,
        p_request: { ...request, nothingApplied: true, failure: null },
      });
      expect({ name, data }).toEqual({ name, data: { outcome: 'NO_SAGA' } });
    }
    middle.open();
    expectAnswer(await running, 'UpdateAgentsSuccess');
    expect((await expectLockstep(lockstep, victim.orgId)).agents[0]).toMatchObject({
      config: { systemPrompt: 'Running' },
    });
  });
});

describe('[2.21] the REST API lets no client write what takes part in a save', () => {
  const keys = {
    anonymous: () => lockstep.supabase.publishableKey,
    user: () => alice.token,
    service: () => lockstep.supabase.secretKey,
  };
  test.each(Object.keys(keys) as (keyof typeof keys)[])('as %s', async (who) => {
    const before = await dumpDatabase(lockstep);
    const [victims] = (await systemsOf(lockstep, victim.orgId)).agents;
    const rest = (method: string, path: string, body?: unknown) =>
      fetch(`${lockstep.supabase.url}/rest/v1/${path}`, {
        method,
        headers: {
          apikey: who === 'service' ? lockstep.supabase.secretKey : lockstep.supabase.publishableKey,
          authorization: `Bearer ${keys[who]()}`,
          'content-type': 'application/json',
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    // A victim's assistant planted in one's own organization: the server would PATCH it with the master key.
    const plant = { ...victims, id: crypto.randomUUID(), org_id: alice.orgId };
    const tries: [string, Response][] = [['plant', await rest('POST', 'agents', plant)]];
    for (const table of ['organizations', 'agents', 'agent_saves', 'agent_revisions']) {
      const column = table === 'organizations' ? 'id' : 'org_id';
      tries.push([`insert ${table}`, await rest('POST', table, { [column]: alice.orgId })]);
      tries.push([`delete ${table}`, await rest('DELETE', `${table}?${column}=eq.${alice.orgId}`)]);
    }
    tries.push([
      'point elsewhere',
      await rest('PATCH', `agents?org_id=eq.${alice.orgId}`, {
        vapi_assistant_id: victims?.vapi_assistant_id,
      }),
    ]);
    if (who !== 'service') {
      for (const name of ['begin_agents', 'saga_commit', 'saga_abort', 'saga_due', 'saga_takeover']) {
        const args = { p_org_id: alice.orgId, p_saga_id: crypto.randomUUID(), p_epoch: 1, p_request: {} };
        tries.push([name, await rest('POST', `rpc/${name}`, args)]);
      }
    }
    for (const [what, { status }] of tries) {
      expect(status, what).toBeGreaterThanOrEqual(400);
      expect(status, what).toBeLessThan(500);
    }
    expect(await dumpDatabase(lockstep)).toEqual(before);
  });

  test('the control: the same requests read the own rows, and no others', async () => {
    const response = await fetch(`${lockstep.supabase.url}/rest/v1/agents?select=org_id,role&order=role`, {
      headers: { apikey: lockstep.supabase.publishableKey, authorization: `Bearer ${alice.token}` },
    });
    expect(await response.json()).toEqual([
      { org_id: alice.orgId, role: 'INBOUND' },
      { org_id: alice.orgId, role: 'OUTBOUND' },
    ]);
  });
});

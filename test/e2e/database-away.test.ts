/** The database is away, at each step of a save and of a reading; and there is no key at all. */
import { ClientError } from 'graphql-request';
import { jwtVerify, SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type Caller,
  createTestApp,
  PATIENT_SETTINGS,
  supabaseConfig,
  type TestApp,
} from '../support/app.ts';
import { closedPort } from '../support/network.ts';
import { expectAnswer, readAgents, readSave, type SaveInput, save } from '../support/operations.ts';
import {
  databaseCalls,
  dumpDatabase,
  expectLockstep,
  forgetRequests,
  systemsOf,
  vapiCalls,
} from '../support/systems.ts';

let lockstep: TestApp;
let caller: Caller;
beforeAll(async () => {
  // A short lease, so that recovery need not wait long; three seconds of it are left for the first request.
  lockstep = await createTestApp({
    recoveryIntervalMs: 100,
    settings: { leaseMs: 5_000, requestTimeoutMs: 1_000, lateMs: 100 },
  });
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.supabase.outage.end();
  lockstep.supabase.faults.clear();
  lockstep.vapi.reset();
  caller = await lockstep.newCaller();
  await forgetRequests(lockstep);
});

const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});
const savedBefore = async () => {
  expectAnswer(await save(caller.client, both('before')), 'UpdateAgentsSuccess');
  await forgetRequests(lockstep);
  return systemsOf(lockstep, caller.orgId);
};
const ended = async (id: string) => {
  await expect
    .poll(async () => (await readSave(caller.client, id))?.finishedAt ?? null, { timeout: 120_000 })
    .not.toBeNull();
  return readSave(caller.client, id);
};
const errorOf = async (reading: Promise<unknown>) => {
  const thrown = await reading.then(
    (value) => value,
    (error: unknown) => error,
  );
  if (!(thrown instanceof ClientError)) throw new Error(`no error, but ${JSON.stringify(thrown)}`);
  return { status: thrown.response.status, ...thrown.response.errors?.[0] };
};

describe('away before the save began', () => {
  test('answers UnavailableError if certainly nothing began', async () => {
    const before = await savedBefore();
    lockstep.supabase.outage.begin('503');
    const answer = expectAnswer(await save(caller.client, both('after')), 'UnavailableError');
    lockstep.supabase.outage.end();
    expect(answer.retryAfterMs).toBeGreaterThan(0);
    expect(vapiCalls(lockstep)).toEqual([]);
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
    expectAnswer(await save(caller.client, both('after')), 'UpdateAgentsSuccess');
  });

  test('answers UnavailableError if nothing listens at the address', async () => {
    const url = `http://127.0.0.1:${await closedPort()}`;
    const nowhere = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      config: { supabase: { ...supabaseConfig(lockstep.supabase), url } },
    });
    try {
      const secret = new TextEncoder().encode(lockstep.supabase.jwtSecret);
      const { payload } = await jwtVerify(caller.token, secret);
      // The project's address is its tokens' issuer.
      const token = await new SignJWT({ ...payload, iss: `${url}/auth/v1` })
        .setProtectedHeader({ alg: 'HS256' })
        .sign(secret);
      expectAnswer(await save(nowhere.clientFor(token), both('after')), 'UnavailableError');
      expect(vapiCalls(lockstep)).toEqual([]);
      expect((await fetch(`${nowhere.origin}/ready`)).status).toBe(503);
    } finally {
      await nowhere.stop();
    }
  });

  test.each(['reset-before', 'reset-after'] as const)(
    'answers SavePendingError if it is unknown whether the save began (%s), and later reports how it ended',
    async (fault) => {
      await savedBefore();
      for (let attempt = 1; attempt <= 3; attempt += 1) lockstep.supabase.faults.next('begin_agents', fault);
      const { save: pending } = expectAnswer(await save(caller.client, both('after')), 'SavePendingError');
      expect(pending).toMatchObject({
        status: 'APPLYING',
        finishedAt: null,
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      });
      expect(vapiCalls(lockstep)).toEqual([]);
      if (fault === 'reset-before') {
        // It never began: nobody knows it.
        expect(await readSave(caller.client, pending.id)).toBeNull();
        expectAnswer(await save(caller.client, both('after')), 'UpdateAgentsSuccess');
      } else {
        expect(await ended(pending.id)).toMatchObject({ status: 'COMMITTED' });
      }
      expect((await expectLockstep(lockstep, caller.orgId)).agents).toMatchObject([
        { revision: 2, config: { systemPrompt: 'Inbound, after' } },
        { revision: 2, config: { systemPrompt: 'Outbound, after' } },
      ]);
    },
  );

  test('answers SavePendingError in time if the database hangs', async () => {
    await savedBefore();
    const config = { ...supabaseConfig(lockstep.supabase), timeoutMs: 3_600_000 };
    const patient = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      settings: { answerMs: 500 },
      config: { supabase: config },
    });
    try {
      lockstep.supabase.outage.begin('hang');
      const answer = await save(patient.clientFor(caller.token), both('after'));
      const { save: pending } = expectAnswer(answer, 'SavePendingError');
      lockstep.supabase.outage.end();
      // It goes on all the same.
      expect(await ended(pending.id)).toMatchObject({ status: 'COMMITTED' });
      await expectLockstep(lockstep, caller.orgId);
    } finally {
      await patient.stop();
    }
  });

  test('asks again if the answer of the begin is lost, and makes one save', async () => {
    await savedBefore();
    lockstep.supabase.faults.next('begin_agents', 'reset-after');
    const { agents } = expectAnswer(await save(caller.client, both('after')), 'UpdateAgentsSuccess');
    expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
    expect(vapiCalls(lockstep)).toHaveLength(2);
    await expectLockstep(lockstep, caller.orgId);
  });
});

describe('[2.2] away after Vapi has taken the change', () => {
  test.each(['reset-before', 'reset-after', { status: 503, body: { code: 'PGRST001' } }] as const)(
    'for a moment (%j): commits once and reports it',
    async (fault) => {
      await savedBefore();
      lockstep.supabase.faults.next('saga_commit', fault);
      lockstep.supabase.faults.next('saga_commit', fault);
      const { agents } = expectAnswer(await save(caller.client, both('after')), 'UpdateAgentsSuccess');
      expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
      expect(vapiCalls(lockstep)).toHaveLength(2);
      expect(databaseCalls(lockstep).filter((call) => call.endsWith('saga_commit'))).toHaveLength(3);
      await expectLockstep(lockstep, caller.orgId);
    },
  );

  test('for longer than the lease: answers SavePendingError, and recovery commits', async () => {
    await savedBefore();
    const impatient = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      // Answered when it is given up, however late that is.
      settings: { leaseMs: 5_000, requestTimeoutMs: 1_000, lateMs: 100, answerMs: 60_000 },
    });
    try {
      // Away from the moment at which Vapi has both changes.
      lockstep.supabase.faults.next(({ path }) => {
        if (!path.endsWith('saga_commit')) return false;
        lockstep.supabase.outage.begin('reset');
        return true;
      }, 'reset-before');
      const answer = await save(impatient.clientFor(caller.token), both('after'));
      const { save: pending } = expectAnswer(answer, 'SavePendingError');
      // Vapi has it; of the database it cannot be said.
      expect(pending.results).toMatchObject([
        { success: false, vapiSynced: true, dbUpdated: null },
        { success: false, vapiSynced: true, dbUpdated: null },
      ]);
      await impatient.stop();
      lockstep.supabase.outage.end();
      expect(await ended(pending.id)).toMatchObject({
        status: 'COMMITTED',
        results: [
          { success: true, dbUpdated: true },
          { success: true, dbUpdated: true },
        ],
      });
      expect((await expectLockstep(lockstep, caller.orgId)).agents).toMatchObject([
        { revision: 2, config: { systemPrompt: 'Inbound, after' } },
        { revision: 2 },
      ]);
    } finally {
      await impatient.stop();
    }
  });
});

describe('away while a save is rolled back', () => {
  test.each(['saga_abort', 'saga_rolled_back'])('at %s: is rolled back all the same', async (step) => {
    const before = await savedBefore();
    lockstep.vapi.faults.add({
      kind: 'reject',
      match: { bodyIncludes: 'Outbound, after' },
      messages: ['no'],
    });
    lockstep.supabase.faults.next(step, 'reset-after');
    lockstep.supabase.faults.next(step, 'reset-before');
    expectAnswer(await save(caller.client, both('after')), 'SaveFailedError');
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
    await expectLockstep(lockstep, caller.orgId);
  });
});

describe('the secret key is refused while the server runs', () => {
  const PACE = {
    ...{ requestsPerSecond: 50, burst: 100, reserve: 4, recoveryMs: 60_000 },
    ...{ savesPerMinute: 300, inProgress: 32 },
  };
  const readiness = async () => (await fetch(`${lockstep.origin}/ready`)).status;
  const eventsSince = (from: number) =>
    lockstep.log
      .slice(from)
      .map((line) => JSON.parse(line) as { event?: string; variable?: string; msg: string })
      .filter(({ event }) => event?.startsWith('database.'));

  test('callers get UnavailableError, /ready is 503 with a reason in the log, and both recover', async () => {
    const before = await savedBefore();
    await expect.poll(readiness, { timeout: 120_000 }).toBe(200);
    const from = lockstep.log.length;
    lockstep.supabase.outage.begin('key-refused');
    const answer = expectAnswer(await save(caller.client, both('after')), 'UnavailableError');
    expect(answer.message).toMatch(/nothing began/);
    expect(vapiCalls(lockstep)).toEqual([]);
    expect(await systemsOf(lockstep, caller.orgId)).toEqual(before);
    await expect.poll(readiness, { timeout: 120_000 }).toBe(503);
    expect(eventsSince(from)).toEqual([
      expect.objectContaining({
        event: 'database.key_refused',
        variable: 'SUPABASE_SECRET_KEY',
        msg: expect.stringContaining('SUPABASE_SECRET_KEY'),
      }),
    ]);
    const metrics = await (await fetch(`${lockstep.origin}/metrics`)).text();
    expect(metrics).toMatch(/lockstep_events_total\{event="database.key_refused"\} [1-9]/);

    lockstep.supabase.outage.end();
    await expect.poll(readiness, { timeout: 120_000 }).toBe(200);
    expect(eventsSince(from).map(({ event }) => event)).toEqual([
      'database.key_refused',
      'database.reachable',
    ]);
    expectAnswer(await save(caller.client, both('after')), 'UpdateAgentsSuccess');
  });

  test('a save that has begun continues, and commits when the key works again', async () => {
    await savedBefore();
    const refused = { status: 401, body: { message: 'Invalid API key' } };
    lockstep.supabase.faults.next('saga_commit', refused);
    lockstep.supabase.faults.next('saga_commit', refused);
    const { agents } = expectAnswer(await save(caller.client, both('after')), 'UpdateAgentsSuccess');
    expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
    await expectLockstep(lockstep, caller.orgId);
  });

  test.each(['key-refused', '503', 'hang'] as const)(
    'a server with limits that starts meanwhile (%s) never reports too many saves',
    async (kind) => {
      await savedBefore();
      lockstep.supabase.outage.begin(kind);
      const limited = await createTestApp({
        supabase: lockstep.supabase,
        vapi: lockstep.vapi,
        recoveryIntervalMs: 3_600_000,
        settings: PATIENT_SETTINGS,
        config: {
          pace: { ...PACE, waitMs: 300 },
          // Until the key's account is known, nothing is sent: asked again soon.
          breaker: { failures: 1_000, openMs: 0, keyRefusals: 1_000, keyRetryMs: 100 },
        },
      });
      try {
        const client = limited.clientFor(caller.token);
        const answers = await Promise.all(['a', 'b', 'c'].map((what) => save(client, both(what))));
        for (const answer of answers) expectAnswer(answer, 'UnavailableError');
        lockstep.supabase.outage.end();
        await expect
          .poll(async () => (await save(client, both('after'))).__typename, { timeout: 120_000 })
          .toBe('UpdateAgentsSuccess');
      } finally {
        lockstep.supabase.outage.end();
        await limited.stop();
      }
    },
  );

  test('a read whose publishable key is refused is UNAVAILABLE, and the log names the variable', async () => {
    const from = lockstep.log.length;
    lockstep.supabase.faults.next(/v1\/agents$/, { status: 401, body: { message: 'Invalid API key' } });
    expect(await errorOf(readAgents(caller.client))).toMatchObject({
      status: 503,
      extensions: { code: 'UNAVAILABLE' },
    });
    expect(lockstep.log.slice(from).join()).toContain('SUPABASE_PUBLISHABLE_KEY');
  });
});

describe('reading', () => {
  test.each(['reset', '503', 'hang'] as const)(
    'away (%s): answers UNAVAILABLE without internal details',
    async (kind) => {
      await savedBefore();
      lockstep.supabase.outage.begin(kind);
      const error = await errorOf(readAgents(caller.client));
      lockstep.supabase.outage.end();
      expect(error).toMatchObject({ status: 503, extensions: { code: 'UNAVAILABLE' } });
      expect(JSON.stringify(error)).not.toMatch(/rest\/v1|PGRST|127\.0\.0\.1|ECONN/);
      expect(await readAgents(caller.client)).toHaveProperty('INBOUND');
    },
  );

  test('[2.17] a read is one request, which no layer repeats', async () => {
    await savedBefore();
    const down = { status: 503, body: { code: 'PGRST001', message: 'down' } };
    lockstep.supabase.faults.next(/v1\/agents$/, down);
    expect(await errorOf(readAgents(caller.client))).toMatchObject({ extensions: { code: 'UNAVAILABLE' } });
    expect(databaseCalls(lockstep).filter((call) => call === 'GET agents')).toHaveLength(1);
  });

  test('/ready reports the outage and its end; /health reports only the process', async () => {
    const status = async (path: string) => (await fetch(`${lockstep.origin}${path}`)).status;
    await expect.poll(() => status('/ready')).toBe(200);
    lockstep.supabase.outage.begin('503');
    await expect.poll(() => status('/ready')).toBe(503);
    expect(await status('/health')).toBe(200);
    lockstep.supabase.outage.end();
    await expect.poll(() => status('/ready')).toBe(200);
  });
});

test('masks an unexpected error: the caller receives an id, the log the rest', async () => {
  await savedBefore();
  lockstep.supabase.faults.next(/v1\/agents$/, {
    status: 400,
    body: { code: '42703', message: 'column agents.secret_sauce does not exist', details: null, hint: null },
  });
  const { message, extensions } = await errorOf(readAgents(caller.client));
  expect(message).toBe('Unexpected error.');
  const { code, correlationId } = extensions as { code: string; correlationId: string };
  expect(code).toBe('INTERNAL_SERVER_ERROR');
  expect(lockstep.log.filter((line) => line.includes(correlationId)).join()).toContain('secret_sauce');
});

describe('[2.13] no key for the voice provider', () => {
  test('a save is refused and changes nothing; reads work', async () => {
    const { agents } = await savedBefore();
    const keyless = await createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi, vapiKey: null });
    try {
      const client = keyless.clientFor(caller.token);
      const before = await dumpDatabase(lockstep);
      expectAnswer(await save(client, both('after')), 'VoiceProviderNotConfiguredError');
      expect(databaseCalls(lockstep)).toEqual([]);
      expect(vapiCalls(lockstep)).toEqual([]);
      expect(await dumpDatabase(lockstep)).toEqual(before);
      expect((await readAgents(client)).INBOUND).toMatchObject({
        id: agents[0]?.id,
        sync: { status: 'IN_SYNC' },
      });
      // Wrong values are told even so.
      expectAnswer(await save(client, { inbound: { name: '' } }), 'ValidationError');
      expect((await fetch(`${keyless.origin}/ready`)).status).toBe(200);
    } finally {
      await keyless.stop();
    }
  });
});

/** A save, once begun, does not depend on its caller. */
import type { Socket } from 'node:net';
import { jwtVerify, SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Caller, createTestApp, PATIENT_SETTINGS, type TestApp } from '../support/app.ts';
import { gate } from '../support/gate.ts';
import { expectAnswer, readSave, SAVE, type SaveInput, save } from '../support/operations.ts';
import { expectLockstep } from '../support/systems.ts';

let lockstep: TestApp;
let caller: Caller;
const departed = new Set<Socket>();
beforeAll(async () => {
  // Long enough for a save to wait in its middle until a token has expired.
  lockstep = await createTestApp({ settings: PATIENT_SETTINGS });
  lockstep.app.server.on('connection', (socket) => {
    // A caller who leaves ends its side; ours stays open for an answer.
    for (const event of ['end', 'close']) socket.on(event, () => departed.add(socket));
  });
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  caller = await lockstep.newCaller();
});

const both = (what: string): SaveInput => ({
  inbound: { systemPrompt: `Inbound, ${what}` },
  outbound: { systemPrompt: `Outbound, ${what}` },
});

test.each(['commits', 'is rolled back'])(
  'a save still %s if its caller disconnects in the middle',
  async (end) => {
    expectAnswer(await save(caller.client, both('before')), 'UpdateAgentsSuccess');
    const middle = gate();
    lockstep.vapi.faults.add({
      kind: 'hold',
      match: { bodyIncludes: 'after' },
      times: 2,
      until: middle.until,
    });
    if (end === 'is rolled back') {
      lockstep.vapi.faults.add({
        kind: 'reject',
        match: { bodyIncludes: 'Outbound, after' },
        messages: ['no'],
      });
    }
    const leaving = new AbortController();
    const gone = fetch(lockstep.url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${caller.token}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ query: SAVE, variables: { input: both('after') } }),
      signal: leaving.signal,
    });
    await middle.reached;
    const [open] = await lockstep.supabase.sql<{ id: string }[]>`
    select id from public.agent_saves where org_id = ${caller.orgId} and finished_at is null`;
    const before = departed.size;
    leaving.abort();
    await expect(gone).rejects.toThrow('abort');
    // The server has seen the caller leave.
    await expect.poll(() => departed.size).toBeGreaterThan(before);
    middle.open();
    await expect
      .poll(async () => (await readSave(caller.client, open?.id ?? ''))?.status)
      .toBe(end === 'commits' ? 'COMMITTED' : 'ROLLED_BACK');
    const what = end === 'commits' ? 'after' : 'before';
    expect((await expectLockstep(lockstep, caller.orgId)).agents).toMatchObject([
      { config: { systemPrompt: `Inbound, ${what}` } },
      { config: { systemPrompt: `Outbound, ${what}` } },
    ]);
  },
);

test('a save still ends and is answered if its caller’s token expires in the middle', async () => {
  const secret = new TextEncoder().encode(lockstep.supabase.jwtSecret);
  const { payload } = await jwtVerify(caller.token, secret);
  const expiresAt = Math.floor(Date.now() / 1000) + 5;
  const shortLived = await new SignJWT({ ...payload, exp: expiresAt })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .sign(secret);
  const client = lockstep.clientFor(shortLived);
  const middle = gate();
  lockstep.vapi.faults.add({ kind: 'hold', times: 2, until: middle.until });
  const running = save(client, both('after'));
  await middle.reached;
  await expect.poll(() => Math.floor(Date.now() / 1000)).toBeGreaterThan(expiresAt);
  middle.open();
  const { agents } = expectAnswer(await running, 'UpdateAgentsSuccess');
  expect(agents).toMatchObject([{ systemPrompt: 'Inbound, after' }, { systemPrompt: 'Outbound, after' }]);
  await expectLockstep(lockstep, caller.orgId);
  // It had expired indeed.
  await expect(readSave(client, agents[0]?.id ?? '')).rejects.toThrow('UNAUTHENTICATED');
});

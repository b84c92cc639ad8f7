/** What was not finished: taken up by whoever is there, carried on or undone, and never twice. */
import { randomUUID } from 'node:crypto';
import { SignJWT } from 'jose';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { DEFAULT_VAPI_ORG_ID } from '../../src/local/vapi/server.ts';
import { lateTimeMs, type SaveSettings } from '../../src/services/saves/settings.ts';
import { type Caller, createTestApp, supabaseConfig, type TestApp } from '../support/app.ts';
import { both, ended, prompt, saveWhenFree, strike, writes } from '../support/faulty.ts';
import { gate } from '../support/gate.ts';
import { type AgentSave, expectAnswer, readAgents, readSave, save } from '../support/operations.ts';
import { type Proxy, rpc, startProxy } from '../support/proxy.ts';
import type { Fault } from '../support/supabase.ts';
import { expectLockstep, systemsOf } from '../support/systems.ts';

const SETTINGS: SaveSettings = {
  requestTimeoutMs: 500,
  lateMs: 200,
  leaseMs: 2_000,
  deadlineMs: 5_000,
  answerMs: 4_000,
  confirmMs: 0,
};
const LATE_MS = lateTimeMs(SETTINGS);
const REJECT = { kind: 'reject', messages: ['no'] } as const;

let lockstep: TestApp;
let caller: Caller;
let orgId: string;
beforeAll(async () => {
  lockstep = await createTestApp({ settings: SETTINGS });
});
afterAll(() => lockstep.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  caller = await lockstep.newCaller();
  orgId = caller.orgId;
});
afterEach(() => lockstep.supabase.faults.clear());

async function savedBefore(): Promise<void> {
  expectAnswer(await save(caller.client, both(orgId, 'before')), 'UpdateAgentsSuccess');
}

/** Rounds of recovery, until the save is over or waits for a person. */
async function recovered(saveId: string, by: TestApp = lockstep): Promise<AgentSave> {
  return vi.waitFor(
    async () => {
      await by.app.recover();
      const found = await readSave(caller.client, saveId);
      if (found === null || ['APPLYING', 'ROLLING_BACK'].includes(found.status)) {
        throw new Error(`${saveId} is ${found?.status}`);
      }
      return found;
    },
    { timeout: 15_000, interval: 50 },
  );
}

const prompts = async () =>
  (await expectLockstep(lockstep, orgId)).agents.map(({ config }) => config.systemPrompt);
const promptsOf = (what: string) => [prompt(orgId, 'Inbound', what), prompt(orgId, 'Outbound', what)];
const metric = async (event: string) => {
  const text = await (await fetch(`${lockstep.origin}/metrics`)).text();
  return Number(new RegExp(`event="${event}"} (\\d+)`).exec(text)?.[1] ?? 0);
};

describe('a request that takes effect late', () => {
  test('inside the fence: the next save has waited, so it is overtaken by nothing', async () => {
    await savedBefore();
    const late = gate();
    strike(lockstep.vapi, { kind: 'hold', until: late.until }, orgId, 'Inbound', 'one');
    // The second attempt succeeds; the first is still on its way.
    expectAnswer(await save(caller.client, both(orgId, 'one')), 'UpdateAgentsSuccess');
    const refused = expectAnswer(await save(caller.client, both(orgId, 'two')), 'SaveInProgressError');
    expect(refused).toMatchObject({ status: 'COMMITTED' });
    late.open();
    await expect.poll(() => writes(lockstep.vapi, orgId, 'Inbound', 'one')[0]?.appliedAt).not.toBeNull();
    expect(await prompts()).toEqual(promptsOf('one'));
    await saveWhenFree(caller, both(orgId, 'two'));
    expect(await prompts()).toEqual(promptsOf('two'));
  });

  test('inside the quarantine: the undo has waited, so it comes last', async () => {
    await savedBefore();
    const late = gate();
    strike(lockstep.vapi, { kind: 'hold', until: late.until, times: Infinity }, orgId, 'Inbound', 'one');
    strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'one');
    const told = expectAnswer(await save(caller.client, both(orgId, 'one')), 'SavePendingError');
    expect(told.save).toMatchObject({
      status: 'ROLLING_BACK',
      results: [{ vapiSynced: null }, { vapiSynced: false }],
    });
    expect(await lockstep.app.recover()).toEqual({ taken: 0, finished: 0 });
    expect(writes(lockstep.vapi, orgId, 'Inbound', 'before')).toHaveLength(1);
    late.open();
    expect(await recovered(told.save.id)).toMatchObject({ status: 'ROLLED_BACK' });
    expect(writes(lockstep.vapi, orgId, 'Inbound', 'one')[0]?.appliedAt).not.toBeNull();
    expect(await prompts()).toEqual(promptsOf('before'));
    // The fence: an undo may be late as well.
    expectAnswer(await save(caller.client, both(orgId, 'two')), 'SaveInProgressError');
    await saveWhenFree(caller, both(orgId, 'two'));
    expect(await prompts()).toEqual(promptsOf('two'));
  });

  test.for(['committed', 'rolled back'])(
    'later than every bound, its save %s: the next sweep repairs it, and counts it',
    async (how) => {
      await savedBefore();
      const lateWrites = await metric('vapi.late_write');
      strike(lockstep.vapi, { kind: 'late', ms: 600_000, answer: 'reset' }, orgId, 'Inbound', 'one');
      if (how === 'committed') {
        expectAnswer(await save(caller.client, both(orgId, 'one')), 'UpdateAgentsSuccess');
      } else {
        strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'one');
        const told = expectAnswer(await save(caller.client, both(orgId, 'one')), 'SavePendingError');
        expect(await recovered(told.save.id)).toMatchObject({ status: 'ROLLED_BACK' });
      }
      const { agents } = await saveWhenFree(caller, both(orgId, 'two'));
      expect(lockstep.vapi.applyLate()).toBe(1);
      const assistant = lockstep.vapi.store.get(DEFAULT_VAPI_ORG_ID, agents[0]?.vapiAssistantId ?? '');
      expect(JSON.stringify(assistant)).toContain(prompt(orgId, 'Inbound', 'one'));

      expect(await lockstep.app.sweep()).toMatchObject({ repaired: 1, drifted: 0, adopted: 0 });
      expect(await prompts()).toEqual(promptsOf('two'));
      expect(await metric('vapi.late_write')).toBe(lateWrites + 1);
    },
  );

  test.for(['committed', 'rolled back'])(
    'a creation later than every bound, its save %s: the sweep deletes what nobody keeps',
    async (how) => {
      strike(lockstep.vapi, { kind: 'late', ms: 600_000, answer: 'reset' }, orgId, 'Inbound', 'one');
      if (how === 'rolled back') strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'one');
      const told = expectAnswer(await save(caller.client, both(orgId, 'one')), 'SavePendingError');
      expect((await recovered(told.save.id)).status).toBe(how === 'committed' ? 'COMMITTED' : 'ROLLED_BACK');
      expect(lockstep.vapi.applyLate()).toBe(1);
      const kept = how === 'committed' ? 2 : 0;
      expect((await systemsOf(lockstep, orgId)).assistants).toHaveLength(kept + 1);
      // Left alone until the save has been closed for longer than any late request of its own.
      expect(await lockstep.app.sweep()).toMatchObject({ orphansDeleted: 0 });
      await expect
        .poll(async () => (await lockstep.app.sweep())?.orphansDeleted, { timeout: 4 * LATE_MS })
        .toBe(1);
      expect((await expectLockstep(lockstep, orgId)).assistants).toHaveLength(kept);
    },
  );
});

describe('creating', () => {
  test('of two assistants with the stamp, the oldest is kept and the other deleted', async () => {
    strike(lockstep.vapi, { kind: 'late', ms: 600_000, answer: 'reset' }, orgId, 'Inbound', 'one');
    const told = expectAnswer(await save(caller.client, both(orgId, 'one')), 'SavePendingError');
    // Recovery does not find it, makes it again, and that answer is lost as well.
    strike(lockstep.vapi, { kind: 'reset-after' }, orgId, 'Inbound', 'one');
    await expect
      .poll(
        async () => {
          await lockstep.app.recover();
          return (await systemsOf(lockstep, orgId)).assistants.length;
        },
        { timeout: 10_000 },
      )
      .toBe(2);
    const oldest = writes(lockstep.vapi, orgId, 'Inbound', 'one').map(({ method }) => method);
    expect(oldest).toEqual(['POST', 'POST']);
    const [second] = (await systemsOf(lockstep, orgId)).assistants
      .filter((assistant) => JSON.stringify(assistant).includes(prompt(orgId, 'Inbound', 'one')))
      .map(({ id }) => id);
    expect(lockstep.vapi.applyLate()).toBe(1);
    expect((await systemsOf(lockstep, orgId)).assistants).toHaveLength(3);

    expect(await recovered(told.save.id)).toMatchObject({ status: 'COMMITTED' });
    const { agents } = await expectLockstep(lockstep, orgId);
    expect(agents[0]?.vapi_assistant_id).toBe(second);
  });

  test('anew, of an agent whose assistant was deleted: adopted; rolled back, it is as missing as before', async () => {
    await savedBefore();
    const [agent] = (await systemsOf(lockstep, orgId)).agents;
    const missing = agent?.vapi_assistant_id ?? '';
    lockstep.vapi.dashboardDelete(missing);
    await lockstep.app.sweep();
    const anew = (what: string) => {
      const input = both(orgId, what);
      return { ...input, inbound: { ...input.inbound, recreateIfMissing: true } };
    };

    strike(lockstep.vapi, { kind: 'reset-after' }, orgId, 'Inbound', 'one');
    strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'one');
    const undone = expectAnswer(await save(caller.client, anew('one')), 'SavePendingError');
    expect(await recovered(undone.save.id)).toMatchObject({ status: 'ROLLED_BACK' });
    expect((await systemsOf(lockstep, orgId)).assistants).toHaveLength(1);
    expect((await readAgents(caller.client)).INBOUND).toMatchObject({
      vapiAssistantId: missing,
      revision: 1,
      sync: { status: 'MISSING' },
    });

    strike(lockstep.vapi, { kind: 'reset-after' }, orgId, 'Inbound', 'two');
    await vi.waitFor(
      async () => {
        const told = expectAnswer(await save(caller.client, anew('two')), 'SavePendingError');
        expect(await recovered(told.save.id)).toMatchObject({ status: 'COMMITTED' });
      },
      { timeout: 10_000 },
    );
    const { agents } = await expectLockstep(lockstep, orgId);
    expect(agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
    expect(agents[0]?.vapi_assistant_id).not.toBe(missing);
  });
});

describe('the database does not answer once, at each step: as if nothing had been', () => {
  const FAULTS: [string, Fault][] = [
    ['lost before it was done', 'reset-before'],
    ['lost after it was done', 'reset-after'],
    ['503 in place of it', { status: 503, body: { code: 'PGRST001', message: 'no connection' } }],
    ['answered after the deadline', { answerAfterMs: 2_200 }],
  ];
  /** What leads to the step, and what its caller is told. */
  const STEPS: [string, () => Promise<unknown>, string][] = [
    ['save_begin', savedBefore, 'UpdateAgentsSuccess'],
    ['save_commit', savedBefore, 'UpdateAgentsSuccess'],
    [
      'save_abort',
      async () => {
        await savedBefore();
        strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'after');
      },
      'SaveFailedError',
    ],
    [
      'save_rolled_back',
      async () => {
        await savedBefore();
        strike(lockstep.vapi, REJECT, orgId, 'Outbound', 'after');
      },
      'SaveFailedError',
    ],
    [
      'save_hold',
      async () => strike(lockstep.vapi, { kind: 'reset-after' }, orgId, 'Inbound', 'after'),
      'SavePendingError',
    ],
  ];

  test.for(STEPS.flatMap((step) => FAULTS.map((fault) => [...step, ...fault] as const)))(
    '%s %s',
    async ([step, prepare, answered, _what, fault]) => {
      await prepare();
      const before = await systemsOf(lockstep, orgId);
      lockstep.supabase.faults.next(`rpc/${step}`, fault);
      const answer = await save(caller.client, both(orgId, 'after'));
      expect(answer.__typename).toBe(answered);
      if (answer.__typename === 'SavePendingError') {
        expect(await recovered(answer.save.id)).toMatchObject({ status: 'COMMITTED' });
        expect(await prompts()).toEqual(promptsOf('after'));
      } else if (answer.__typename === 'UpdateAgentsSuccess') {
        expect(answer.agents).toMatchObject([{ revision: 2 }, { revision: 2 }]);
        expect(await prompts()).toEqual(promptsOf('after'));
      } else {
        expect(await systemsOf(lockstep, orgId)).toEqual(before);
        await expectLockstep(lockstep, orgId);
      }
    },
  );

  test.for(['save_due', 'save_takeover'].flatMap((step) => FAULTS.map((fault) => [step, ...fault] as const)))(
    'in recovery: %s %s',
    async ([step, _what, fault]) => {
      strike(lockstep.vapi, { kind: 'reset-after' }, orgId, 'Inbound', 'after');
      const { save: pending } = expectAnswer(
        await save(caller.client, both(orgId, 'after')),
        'SavePendingError',
      );
      lockstep.supabase.faults.next(`rpc/${step}`, fault);
      await vi.waitFor(
        async () => {
          // A round without its list is no round: the next one has it.
          await lockstep.app.recover().catch(() => undefined);
          expect((await readSave(caller.client, pending.id))?.status).toBe('COMMITTED');
        },
        { timeout: 15_000, interval: 50 },
      );
      expect(await prompts()).toEqual(promptsOf('after'));
    },
  );
});

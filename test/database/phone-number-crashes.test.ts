/**
 * The first owner of every saga of a phone number dies at each of its requests and transitions, before it takes effect, after it, or
 * with the request still under way. Recovery then runs on a real Postgres. At rest the row and Vapi agree, or the row says in words
 * that a person must decide. No number is ever bought twice.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createAnyJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { createPhoneNumberJournal } from '../../src/adapters/supabase/rpc-phone-numbers.ts';
import { systemClock } from '../../src/adapters/system/system.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { stampedName } from '../../src/domain/phone-numbers/stamp.ts';
import { Secret } from '../../src/domain/secret.ts';
import type {
  PhoneNumberChange,
  PhoneNumberJournal,
} from '../../src/ports/phone-numbers/phone-number-journal.ts';
import type { SagaJournal } from '../../src/ports/saga-journal.ts';
import type { Log } from '../../src/ports/system.ts';
import type { ProviderReply, RemoteResource, RemoteResources } from '../../src/ports/voice-provider.ts';
import {
  type Numbers,
  PHONE_NUMBER_SAGA,
  phoneNumberSaga,
} from '../../src/services/phone-numbers/participant.ts';
import type { SagaDefinition } from '../../src/services/saga/participant.ts';
import { recoverAbandonedSagas } from '../../src/services/saga/recovery.ts';
import { instant, type RunPorts, SagaRun } from '../../src/services/saga/run.ts';
import { supabaseConfig } from '../support/app.ts';
import { Life } from '../support/life.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

const FAR = 3_600_000;
const SETTINGS = {
  ...{ leaseMs: FAR, deadlineMs: 2 * FAR, answerMs: FAR, lateMs: FAR, requestTimeoutMs: 10_000 },
};
const CARRIER = { accountSid: 'ACx', token: new Secret('carrier-token') };

let supabase: TestSupabase;
let journal: PhoneNumberJournal;
let sagas: SagaJournal;
beforeAll(async () => {
  supabase = await createTestSupabase();
  const client = createServiceClient(supabaseConfig(supabase));
  journal = createPhoneNumberJournal(client);
  sagas = createAnyJournal(client);
});
afterAll(() => supabase?.stop());

/** The numbers of the Vapi account. */
class Vapi {
  /** No two numbers of this file have the same digits. */
  static last = 0;
  readonly numbers = new Map<string, RemoteResource>();
  readonly bodies: JsonObject[] = [];
  /** Refuses this kind of request for good. */
  refuses: string | null = null;

  write(method: 'POST' | 'PATCH' | 'DELETE', id: string, body: JsonObject): ProviderReply<RemoteResource> {
    this.bodies.push({ method, ...body });
    if (this.refuses === method) return { kind: 'refused', status: 400, messages: ['no'] };
    const before = this.numbers.get(id);
    if (method !== 'POST' && before === undefined) return { kind: 'gone' };
    if (method === 'DELETE') this.numbers.delete(id);
    else {
      Vapi.last += 1;
      const { numberDesiredAreaCode: _area, twilioAuthToken: _token, ...fields } = body;
      const created = {
        id,
        createdAt: new Date().toISOString(),
        status: 'active',
        number: `+1206666${1000 + Vapi.last}`,
      };
      this.numbers.set(id, { ...(before ?? created), ...fields, id });
    }
    return { kind: 'ok', value: this.numbers.get(id) ?? before ?? { id } };
  }
}

function voiceOf(vapi: Vapi, life: Life): Numbers {
  const phoneNumbers: RemoteResources = {
    timeoutMs: SETTINGS.requestTimeoutMs,
    create: (body) => life.do('POST', () => vapi.write('POST', randomUUID(), body)),
    update: (id, body) => life.do('PATCH', () => vapi.write('PATCH', id, body)),
    remove: (id) => life.do('DELETE', () => vapi.write('DELETE', id, {})),
    get: async (id) => {
      const value = vapi.numbers.get(id);
      return value === undefined ? { kind: 'gone' } : { kind: 'ok', value };
    },
    list: async () => ({ kind: 'ok', value: [...vapi.numbers.values()] }),
  };
  return { phoneNumbers };
}

const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const ports: Omit<RunPorts<unknown>, 'journal'> = {
  ...{ clock: systemClock, log, settings: SETTINGS },
  ...{ random: { next: () => 0.5 }, meter: { count() {} } },
};
const BEGIN = {
  ...{ idempotencyKey: null, requestHash: 'h', cause: 'USER', actor: null, mappingVersion: 1 },
  ...{ leaseMs: FAR, deadlineMs: 2 * FAR },
};

async function firstOwner(
  orgId: string,
  sagaId: string,
  wish: PhoneNumberChange,
  vapi: Vapi,
  life: Life,
): Promise<void> {
  const work = async () => {
    const leaseFrom = instant(systemClock);
    const begun = await life.do('begin', () => journal.begin(orgId, sagaId, 'one', { ...BEGIN, ...wish }));
    if (begun.outcome !== 'BEGUN') throw new Error(begun.outcome);
    const kind = phoneNumberSaga(CARRIER).open(voiceOf(vapi, life));
    const run = new SagaRun({ ...ports, journal: life.journal(journal) }, kind, {
      ...{ orgId, saga: begun.saga, images: begun.images, deployment: begun.deployment },
      ...{ leaseFrom, leaseMs: FAR, taken: false, once: false, quarantined: false, pastDeadline: false },
    });
    await run.run();
  };
  await Promise.race([work(), life.died]);
}

async function statusOf(sagaId: string): Promise<string | null> {
  const [row] = await supabase.sql<
    { status: string }[]
  >`select status from public.sagas where id = ${sagaId}`;
  return row?.status ?? null;
}

/** Every lease and quarantine ends, and recovery looks; until the saga is over. */
async function recover(
  sagaId: string,
  vapi: Vapi,
  dead: Life,
  definition: SagaDefinition<Numbers> = PHONE_NUMBER_SAGA,
  landsInTime = true,
): Promise<void> {
  for (let round = 0; round < 6; round += 1) {
    const status = await statusOf(sagaId);
    if (status !== 'APPLYING' && status !== 'ROLLING_BACK') break;
    await supabase.sql`
      update public.sagas set lease_until = now(), look_at = null,
        quarantine_until = case when quarantine_until > now() then now() else quarantine_until end
      where id = ${sagaId}`;
    await recoverAbandonedSagas<unknown>(
      sagas,
      () => ({ kind: definition.open(voiceOf(vapi, new Life())), journal: sagas, ended: () => {} }),
      { ...ports, owner: `after ${round}` },
    );
    if (round === 0 && landsInTime) dead.land();
  }
  dead.land();
}

interface Row {
  state: string;
  failure: string | null;
  vapi_phone_number_id: string | null;
  attached_assistant_id: string | null;
  last_saga_id: string;
  number: string | null;
  provider: string;
}
async function rowOf(id: string): Promise<Row | undefined> {
  const [row] = await supabase.sql<Row[]>`select * from public.phone_numbers where id = ${id}`;
  return row;
}

/** The row and Vapi say the same of this number, or the row says that a person must decide. */
async function expectAgreement(id: string, sagaId: string, vapi: Vapi): Promise<void> {
  const row = await rowOf(id);
  const status = await statusOf(sagaId);
  const [left] = await supabase.sql<{ keys: number }[]>`
    select count(*)::integer as keys from lockstep.saga_keys where saga_id = ${sagaId}`;
  if (status === 'NEEDS_ATTENTION') {
    expect(row?.failure).toMatch(/An operator must/);
    expect(left?.keys).toBeGreaterThan(0);
    return;
  }
  expect(['COMMITTED', 'ROLLED_BACK', null]).toContain(status);
  expect(left?.keys).toBe(0);
  const held = [...vapi.numbers.values()].map((number) => ({
    ...{ id: number.id, name: number['name'], assistantId: number['assistantId'] ?? null },
  }));
  const isHeld = row !== undefined && !['FAILED', 'RELEASED', 'MISSING'].includes(row.state);
  expect(held).toEqual(
    isHeld
      ? [
          {
            ...{ id: row.vapi_phone_number_id, name: stampedName(row.last_saga_id) },
            assistantId: row.attached_assistant_id,
          },
        ]
      : [],
  );
  if (isHeld) expect(row).toMatchObject({ state: 'ACTIVE', failure: null });
}

/** An organization with an agent, and with a number unless the saga makes one. */
async function organization(action: string, vapi: Vapi): Promise<{ orgId: string; id: string }> {
  const orgId = await supabase.createOrganization();
  const id = randomUUID();
  await supabase.sql`
    insert into public.agents (id, org_id, role, config, vapi_assistant_id, revision, last_save_id, mapping_version, last_synced_at, checked_at)
    values (${randomUUID()}, ${orgId}, 'INBOUND', '{}', ${`assistant of ${orgId}`}, 1, ${randomUUID()}, 1, now(), now())`;
  if (action === 'UPDATE' || action === 'RELEASE') {
    await firstOwner(
      orgId,
      randomUUID(),
      { action: 'BUY', phoneNumberId: id, areaCode: '206', label: 'x' },
      vapi,
      new Life(),
    );
  }
  return { orgId, id };
}

let digits = 0;
function wishOf(action: string, phoneNumberId: string): PhoneNumberChange {
  if (action === 'BUY') return { action, phoneNumberId, areaCode: '206', label: 'x' };
  if (action === 'UPDATE') return { action, phoneNumberId, role: 'INBOUND', label: 'y' };
  if (action === 'RELEASE') return { action, phoneNumberId };
  digits += 1;
  return {
    action: 'IMPORT',
    phoneNumberId,
    provider: 'twilio',
    number: `+1415666${1000 + digits}`,
    label: 'x',
  };
}

const SAGAS = [
  { action: 'BUY', refuses: null, steps: ['begin', 'POST', 'commit'], status: 'COMMITTED' },
  { action: 'BUY', refuses: 'POST', steps: ['begin', 'POST', 'abort'], status: 'ROLLED_BACK' },
  { action: 'IMPORT', refuses: null, steps: ['begin', 'POST', 'commit'], status: 'COMMITTED' },
  { action: 'IMPORT', refuses: 'POST', steps: ['begin', 'POST', 'abort'], status: 'ROLLED_BACK' },
  { action: 'UPDATE', refuses: null, steps: ['begin', 'PATCH', 'commit'], status: 'COMMITTED' },
  { action: 'UPDATE', refuses: 'PATCH', steps: ['begin', 'PATCH', 'abort'], status: 'ROLLED_BACK' },
  { action: 'RELEASE', refuses: null, steps: ['begin', 'DELETE', 'commit'], status: 'COMMITTED' },
  { action: 'RELEASE', refuses: 'DELETE', steps: ['begin', 'DELETE', 'abort'], status: 'ROLLED_BACK' },
] as const;

describe.each(SAGAS)('$action, where Vapi refuses $refuses', ({ action, refuses, steps, status }) => {
  test('ends on both sides', async () => {
    const vapi = new Vapi();
    const { orgId, id } = await organization(action, vapi);
    vapi.refuses = refuses;
    const [life, sagaId] = [new Life(), randomUUID()];
    await firstOwner(orgId, sagaId, wishOf(action, id), vapi, life);
    expect(life.steps).toEqual(steps);
    expect(await statusOf(sagaId)).toBe(status);
    await expectAgreement(id, sagaId, vapi);
  });

  const points = steps.flatMap((step, nth) =>
    (['before', 'after', 'late'] as const)
      .filter((when) => when !== 'late' || /^[A-Z]/.test(step))
      .map((when) => ({ step, nth, when })),
  );
  test.each(points)('whose owner dies at $step, $when it takes effect', async ({ step, nth, when }) => {
    const vapi = new Vapi();
    const { orgId, id } = await organization(action, vapi);
    vapi.bodies.length = 0;
    vapi.refuses = refuses;
    const [life, sagaId] = [new Life({ nth, when }), randomUUID()];
    await firstOwner(orgId, sagaId, wishOf(action, id), vapi, life);
    expect(life.steps.at(-1)).toBe(step);
    await recover(sagaId, vapi, life);
    await expectAgreement(id, sagaId, vapi);
    const created = vapi.bodies.filter(({ method }) => method === 'POST');
    expect(created.length).toBeLessThanOrEqual(1);
    // A number that was bought is never deleted by itself.
    if (action === 'BUY') expect(vapi.bodies.filter(({ method }) => method === 'DELETE')).toEqual([]);
    // Whoever recovers an import has no token, and sends none.
    expect(JSON.stringify(vapi.bodies.slice(1))).not.toContain('carrier-token');
  });
});

describe('a purchase that arrives later than anybody waits for it', () => {
  async function numbersBought(
    definition: SagaDefinition<Numbers>,
  ): Promise<{ vapi: Vapi; row: Row | undefined }> {
    const vapi = new Vapi();
    const { orgId, id } = await organization('BUY', vapi);
    const [life, sagaId] = [new Life({ nth: 1, when: 'late' }), randomUUID()];
    await firstOwner(orgId, sagaId, wishOf('BUY', id), vapi, life);
    await recover(sagaId, vapi, life, definition, false);
    return { vapi, row: await rowOf(id) };
  }

  test('is made once, and a person is asked', async () => {
    const { vapi, row } = await numbersBought(PHONE_NUMBER_SAGA);
    expect(vapi.numbers.size).toBe(1);
    expect(row).toMatchObject({ state: 'UNKNOWN', failure: expect.stringContaining('An operator must') });
  });

  test('would be made twice if a later owner sent it again', async () => {
    const { vapi } = await numbersBought({
      name: 'phone_numbers',
      open: (voice) => {
        const kind = PHONE_NUMBER_SAGA.open(voice);
        const open: typeof kind.open = (saga, image) => {
          const part = kind.open(saga, image);
          return new Proxy(part, {
            get: (target, name) => {
              if (name === 'lookOnly') return false;
              const member = Reflect.get(target, name, target) as unknown;
              return typeof member === 'function' ? member.bind(target) : member;
            },
          });
        };
        return { words: kind.words, open };
      },
    });
    expect(vapi.numbers.size).toBe(2);
  });
});

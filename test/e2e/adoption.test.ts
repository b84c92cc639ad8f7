/** An operator takes an existing assistant of the account into an organization (`npm run lockstep -- agent adopt`). */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { adoptPorts } from '../../scripts/lockstep/agent-adopt.ts';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createLogger } from '../../src/adapters/system/logger.ts';
import { createVoiceProvider } from '../../src/adapters/vapi/got-voice-provider.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { Secret } from '../../src/domain/secret.ts';
import { DEFAULT_VAPI_ORG_ID } from '../../src/local/vapi/server.ts';
import { type AdoptWish, adoptAssistant } from '../../src/services/agents/adopt-assistant.ts';
import {
  CANARY_KEY,
  type Caller,
  createTestApp,
  supabaseConfig,
  TEST_SETTINGS,
  type TestApp,
} from '../support/app.ts';
import { expectAnswer, readAgents, save } from '../support/operations.ts';
import { expectLockstep, systemsOf, vapiCalls } from '../support/systems.ts';

let lockstep: TestApp;
let caller: Caller;
let id: string;
beforeAll(async () => {
  lockstep = await createTestApp();
  caller = await lockstep.newCaller();
  expectAnswer(await save(caller.client, { inbound: { systemPrompt: 'P' } }), 'UpdateAgentsSuccess');
  await lockstep.app.checkKey();
});
afterAll(() => lockstep?.stop());
beforeEach(async () => {
  lockstep.vapi.reset();
  caller = await lockstep.newCaller();
  id = String(lockstep.vapi.store.create(DEFAULT_VAPI_ORG_ID, FOUND)['id']);
});

/** As somebody made it in the dashboard. */
const FOUND: JsonObject = {
  name: 'Old desk',
  firstMessage: 'Hello.',
  model: {
    provider: 'openai',
    model: 'gpt-4o',
    messages: [{ role: 'system', content: 'You answer for North Dental.' }],
    tools: [
      { type: 'endCall' },
      {
        type: 'function',
        function: { name: 'crm' },
        server: { url: 'https://crm.example', secret: 'hunter2-hunter2' },
      },
    ],
    toolIds: ['44444444-4444-4444-8444-444444444444'],
  },
  voice: { provider: 'azure', voiceId: 'andrew', speed: 1.2 },
  transcriber: { provider: 'deepgram', model: 'nova-3', language: 'en' },
  endCallMessage: 'Goodbye.',
  server: { url: 'https://theirs.example', secret: 'hunter2-hunter2' },
  metadata: { crm: 'A-17' },
};

function adopt(over: Partial<AdoptWish> = {}) {
  const log = createLogger('silent', []);
  const key = new Secret(CANARY_KEY);
  return adoptAssistant(
    adoptPorts({
      ...{ log, settings: TEST_SETTINGS },
      client: createServiceClient(supabaseConfig(lockstep.supabase)),
      vapi: {
        key,
        voice: createVoiceProvider(key, { baseUrl: lockstep.vapi.url, timeoutMs: 1_500, log }),
      },
    }),
    { orgId: caller.orgId, role: 'INBOUND', assistantId: id, dryRun: false, ...over },
  );
}
const stored = (): JsonObject => {
  const { updatedAt: _updatedAt, ...rest } = lockstep.vapi.store.get(DEFAULT_VAPI_ORG_ID, id) as JsonObject;
  return rest;
};

describe('agent adopt', () => {
  test('a dry run shows what a configuration can say and what would be lost, and changes nothing', async () => {
    const before = stored();
    const plan = await adopt({ dryRun: true });
    expect(plan).toMatchObject({
      outcome: 'PLANNED',
      config: {
        ...{ name: 'Old desk', firstMessage: 'Hello.', systemPrompt: 'You answer for North Dental.' },
        ...{ endCall: true, transferTo: [], extraMetadata: { crm: 'A-17' } },
        voice: { provider: 'azure', voiceId: 'andrew' },
      },
      untouched: ['endCallMessage', 'server'],
    });
    const lost = 'lost' in plan ? plan.lost.map(({ path }) => path) : [];
    expect(lost).toEqual(expect.arrayContaining(['model.toolIds', 'model.tools', 'voice.speed']));
    expect(JSON.stringify(plan)).not.toContain('hunter2');
    expect(stored()).toEqual(before);
    expect(vapiCalls(lockstep).filter((call) => !call.startsWith('GET'))).toEqual([]);
    expect(await readAgents(caller.client)).toEqual({});
  });

  test('takes the assistant over, with its id and everything that a configuration can say', async () => {
    expect(await adopt()).toMatchObject({ outcome: 'ADOPTED' });
    const { agents } = await expectLockstep(lockstep, caller.orgId);
    expect(agents).toMatchObject([{ vapi_assistant_id: id, revision: 1 }]);
    expect(stored()).toMatchObject({
      name: 'Old desk',
      endCallMessage: 'Goodbye.',
      metadata: { crm: 'A-17' },
    });
    expect(await lockstep.app.sweep()).toMatchObject({ drifted: 0, repaired: 0, orphansDeleted: 0 });
    expect(await adopt({ role: 'OUTBOUND' })).toMatchObject({ outcome: 'REFUSED' });
    const stranger = await lockstep.newCaller();
    expect(await adopt({ orgId: stranger.orgId })).toMatchObject({ outcome: 'REFUSED' });
  });

  test('puts the assistant back exactly as it was if the save cannot be made', async () => {
    const before = stored();
    // The answer to the change differs from what was sent, so that the change is undone.
    lockstep.vapi.faults.add({ kind: 'wrong-body', path: 'name', value: 'x', match: { method: 'PATCH' } });
    const adoption = await adopt();
    expect(adoption).toMatchObject({ outcome: 'NOT_ADOPTED' });
    expect(await systemsOf(lockstep, caller.orgId)).toMatchObject({ agents: [], assistants: [] });
    const after = stored();
    for (const [field, value] of Object.entries(before)) expect(after[field] ?? null, field).toEqual(value);
    expect(after['voicemailMessage'] ?? null).toBeNull();
    // Vapi does not show the secret, so it must not be written back without it.
    expect(after['isServerUrlSecretSet']).toBe(true);
  });

  test('says so if the server for events would replace one that the assistant has, and puts that back with an undo', async () => {
    const { sql } = lockstep.supabase;
    await sql`select public.set_event_server('https://lockstep.example.com/vapi/events', '3f7d1b9a-5c2e-4806-9d4f-a1b2c3d4e5f6')`;
    try {
      const plan = await adopt({ dryRun: true });
      expect(plan).toMatchObject({ outcome: 'PLANNED', untouched: ['endCallMessage'] });
      expect('lost' in plan && plan.lost.find(({ path }) => path === 'server.url')).toEqual({
        path: 'server.url',
        ours: 'https://lockstep.example.com/vapi/events',
        theirs: 'https://theirs.example',
      });
      lockstep.vapi.faults.add({ kind: 'wrong-body', path: 'name', value: 'x', match: { method: 'PATCH' } });
      expect(await adopt()).toMatchObject({ outcome: 'NOT_ADOPTED' });
      expect(stored()).toMatchObject({ server: { url: 'https://theirs.example' } });
    } finally {
      await sql`delete from lockstep.event_server`;
    }
  });

  test.each<[string, () => Partial<AdoptWish>]>([
    ['an assistant that does not exist', () => ({ assistantId: '99999999-9999-4999-8999-999999999999' })],
  ])('refuses %s', async (_what, wish) => {
    expect(await adopt(wish())).toMatchObject({ outcome: 'REFUSED' });
  });

  test('refuses a role that has an agent, and changes nothing', async () => {
    expectAnswer(await save(caller.client, { inbound: { systemPrompt: 'P' } }), 'UpdateAgentsSuccess');
    const before = stored();
    expect(await adopt()).toMatchObject({ outcome: 'REFUSED' });
    expect(stored()).toEqual(before);
  });
});

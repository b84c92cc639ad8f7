/** Whom the job that renders agents anew gives way to, against a store in memory. test/e2e/mapping.test.ts has the whole job. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { defaultConfig } from '../../domain/agents/agent-config.ts';
import { jsonbText } from '../../domain/json.ts';
import type { StaleAgent } from '../../ports/agents/render-store.ts';
import type { SweepAgent, SweepStore } from '../../ports/agents/sweep-store.ts';
import type { Log } from '../../ports/system.ts';
import type { Assistants } from '../../ports/voice-provider.ts';
import type { TransactionalAgentUpdate } from './build.ts';
import { observedForm } from './compare.ts';
import { MAPPING_VERSION, renderAssistant } from './render.ts';
import { RenderJob } from './render-job.ts';

const uuid = (digit: number) => `00000000-0000-4000-8000-00000000000${digit}`;
const CONFIG = { ...defaultConfig('INBOUND'), systemPrompt: 'You answer calls.' };
const SEEN: StaleAgent = {
  ...{ orgId: uuid(2), agentId: uuid(3), role: 'INBOUND', assistantId: 'assistant-1' },
  ...{ revision: 7, saveId: uuid(4) },
};
const stamp = { ...SEEN, deployment: uuid(1) };
const assistant = { ...renderAssistant(MAPPING_VERSION, CONFIG, stamp, {}), id: SEEN.assistantId };
const observed = observedForm(MAPPING_VERSION, {}, assistant);
const AGENT: SweepAgent = {
  ...{ ...SEEN, config: CONFIG, observed, missing: false, policy: 'REVERT', busy: false },
  ...{ mappingVersion: MAPPING_VERSION, context: {} },
};
const unused = () => Promise.reject(new Error('not part of this test'));

function job(waitMs: number) {
  const saves: TransactionalAgentUpdate[] = [];
  const listed: unknown[] = [];
  const hash = createHash('sha256').update(jsonbText(observed)).digest('hex');
  const store = { lookup: async () => [{ ...AGENT, hash }], note: async () => [] } as Partial<SweepStore>;
  const voice = { getAssistant: async () => ({ kind: 'ok', value: assistant }) } as Partial<Assistants>;
  const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const rendering = new RenderJob(
    {
      ...{ store: store as SweepStore, voice: () => voice as Assistants, admission: undefined },
      renders: {
        takeLease: async () => waitMs,
        stale: async (...given) => {
          listed.push(given);
          return [SEEN];
        },
        releaseLease: unused,
        setEventServer: async () => false,
        eventContext: async () => ({}),
      },
      save: async (update) => {
        saves.push(update);
        return { kind: 'no_organization' };
      },
      ...{ clock: { monotonic: () => 0 }, log, meter: { count() {} }, owner: 'this process' },
      eventServer: () => null,
    },
    1_000,
  );
  return { rendering, saves, listed };
}

test('saves an agent only as it has seen it: a save by a user in between wins', async () => {
  const { rendering, saves } = job(0);
  await rendering.round(new AbortController().signal);
  expect(saves).toMatchObject([{ expectedRevision: 7, expectedSaveId: SEEN.saveId, payload: {} }]);
});

test('asks for no agents while another replica renders', async () => {
  const { rendering, saves, listed } = job(5_000);
  expect(await rendering.round(new AbortController().signal)).toMatchObject({ leaseExpiresInMs: 5_000 });
  expect({ saves, listed }).toEqual({ saves: [], listed: [] });
});

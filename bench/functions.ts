/** The pure functions of a save's path, in this process. */
import { type AgentConfig, checkSaveInput, defaultConfig } from '../src/domain/agents/agent-config.ts';
import type { Stamp } from '../src/domain/agents/stamp.ts';
import { canonicalJson, type JsonObject } from '../src/domain/json.ts';
import { differences, observedForm } from '../src/services/agents/compare.ts';
import { MAPPING_VERSION, renderAssistant } from '../src/services/agents/render.ts';
import { distribution, PROMPT_CHARACTERS, prompt, report } from './figure.ts';

const BATCH = 200;

export function benchFunctions(batches: number): void {
  const config: AgentConfig = { ...defaultConfig('INBOUND'), systemPrompt: prompt(PROMPT_CHARACTERS, 1) };
  const stamp: Stamp = {
    deployment: '11111111-1111-4111-8111-111111111111',
    orgId: '22222222-2222-4222-8222-222222222222',
    agentId: '33333333-3333-4333-8333-333333333333',
    role: 'INBOUND',
    saveId: '44444444-4444-4444-8444-444444444444',
    revision: 7,
  };
  const sent = renderAssistant(MAPPING_VERSION, config, stamp, {});
  // As Vapi answers: what was sent, and what it adds.
  const answered = {
    ...(JSON.parse(JSON.stringify(sent)) as JsonObject),
    id: '55555555-5555-4555-8555-555555555555',
    orgId: '66666666-6666-4666-8666-666666666666',
    createdAt: '2026-01-01T00:00:00.000Z',
    updatedAt: '2026-01-01T00:00:00.000Z',
    isServerUrlSecretSet: false,
  };
  const input = {
    inbound: { systemPrompt: prompt(PROMPT_CHARACTERS, 1), firstMessage: 'Hello' },
    outbound: { systemPrompt: prompt(PROMPT_CHARACTERS, 2), maxDurationSeconds: 300 },
    idempotencyKey: 'benchmark',
  };
  const functions: Record<string, () => unknown> = {
    validate: () => checkSaveInput(input),
    canonical_json: () => canonicalJson(input),
    render: () => renderAssistant(MAPPING_VERSION, config, stamp, {}),
    compare: () => differences(sent, answered),
    observed_form: () => observedForm(MAPPING_VERSION, {}, answered),
  };
  for (const [name, work] of Object.entries(functions)) {
    for (let warm = 0; warm < BATCH; warm += 1) work();
    const samples = Array.from({ length: batches }, () => {
      const start = performance.now();
      for (let index = 0; index < BATCH; index += 1) work();
      return ((performance.now() - start) * 1_000) / BATCH;
    });
    report({
      name: `function.${name}`,
      ...distribution(samples),
      unit: 'µs',
      note: `one call, from batches of ${BATCH}; ${name === 'validate' || name === 'canonical_json' ? 'both agents' : 'one agent'}, prompts of ${PROMPT_CHARACTERS} characters`,
    });
  }
}

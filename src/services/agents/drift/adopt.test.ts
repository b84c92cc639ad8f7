import { describe, expect, test } from 'vitest';
import { type AgentConfig, defaultConfig } from '../../../domain/agents/agent-config.ts';
import type { Stamp } from '../../../domain/agents/stamp.ts';
import type { JsonObject } from '../../../domain/json.ts';
import { MAPPING_VERSION, renderAssistant } from '../render.ts';
import { adoptablePatch } from './adopt.ts';

const uuid = (digit: number) => `00000000-0000-4000-8000-00000000000${digit}`;
const stamp: Stamp = {
  ...{ deployment: uuid(1), orgId: uuid(2), agentId: uuid(3), role: 'INBOUND' as const },
  ...{ saveId: uuid(4), revision: 1 },
};
const config: AgentConfig = { ...defaultConfig('INBOUND'), systemPrompt: 'You answer calls.' };
const ours = () => renderAssistant(MAPPING_VERSION, config, stamp);
const edited = (fields: JsonObject): JsonObject => ({ ...ours(), ...fields });

describe('adoptablePatch', () => {
  test('returns the change whose rendering is what Vapi holds', () => {
    expect(adoptablePatch(config, edited({ name: 'New' }), stamp)).toEqual({ name: 'New' });
    expect(
      adoptablePatch(
        config,
        edited({
          firstMessage: 'Hi',
          firstMessageMode: 'assistant-speaks-first',
          voice: { provider: '11labs', voiceId: 'v', stability: 0.5 },
          model: {
            provider: 'anthropic',
            model: 'm',
            messages: [{ role: 'system', content: 'P' }],
            maxTokens: 100,
          },
          transcriber: { provider: 'deepgram', model: 'nova-3', language: 'de' },
          maxDurationSeconds: 60,
        }),
        stamp,
      ),
    ).toEqual({
      firstMessage: 'Hi',
      voice: { provider: '11labs', voiceId: 'v', stability: 0.5, similarityBoost: null },
      model: { provider: 'anthropic', name: 'm', temperature: null, maxTokens: 100 },
      systemPrompt: 'P',
      language: 'de',
      maxDurationSeconds: 60,
    });
  });

  test('adopts foreign metadata, and its removal', () => {
    const foreign = { ...(ours()['metadata'] as JsonObject), crm: 7 };
    expect(adoptablePatch(config, edited({ metadata: foreign }), stamp)).toEqual({
      extraMetadata: { crm: 7 },
    });
    expect(adoptablePatch({ ...config, extraMetadata: { crm: 7 } }, ours(), stamp)).toEqual({
      extraMetadata: {},
    });
  });

  test.each<[string, JsonObject]>([
    ['tools', { model: { ...(ours()['model'] as JsonObject), toolIds: ['t'] } }],
    [
      'a second message',
      {
        model: {
          ...(ours()['model'] as JsonObject),
          messages: [
            { role: 'system', content: 'a' },
            { role: 'user', content: 'b' },
          ],
        },
      },
    ],
    [
      'another role of the message',
      { model: { ...(ours()['model'] as JsonObject), messages: [{ role: 'user', content: 'a' }] } },
    ],
    ['no prompt', { model: { provider: 'openai', model: 'gpt-4.1' } }],
    [
      'a member of the voice that we do not have',
      { voice: { provider: 'vapi', voiceId: 'Elliot', speed: 2 } },
    ],
    ['another transcriber', { transcriber: { provider: 'gladia', language: 'en' } }],
    [
      'a mode that contradicts the message',
      { firstMessageMode: 'assistant-speaks-first-with-model-generated-message' },
    ],
    ['a value that no caller may send', { maxDurationSeconds: 5 }],
    ['a field that was removed', { voice: null }],
  ])('refuses what a configuration cannot say: %s', (_what, fields) => {
    expect(adoptablePatch(config, edited(fields), stamp)).toBeNull();
  });

  test('returns no change if nothing was edited', () => {
    expect(adoptablePatch(config, ours(), stamp)).toBeNull();
  });
});

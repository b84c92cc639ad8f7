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
const ours = () => renderAssistant(MAPPING_VERSION, config, stamp, {});
const edited = (fields: JsonObject): JsonObject => ({ ...ours(), ...fields });

describe('adoptablePatch', () => {
  test('returns the change whose rendering is what Vapi holds', () => {
    expect(adoptablePatch(config, edited({ name: 'New' }), stamp, {})).toEqual({ name: 'New' });
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
        {},
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
    expect(adoptablePatch(config, edited({ metadata: foreign }), stamp, {})).toEqual({
      extraMetadata: { crm: 7 },
    });
    expect(adoptablePatch({ ...config, extraMetadata: { crm: 7 } }, ours(), stamp, {})).toEqual({
      extraMetadata: {},
    });
  });

  test.each<[string, JsonObject]>([
    [
      'a secret in foreign metadata, which the history would keep',
      { metadata: { ...(ours()['metadata'] as JsonObject), apiKey: 'k-123' } },
    ],
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
    expect(adoptablePatch(config, edited(fields), stamp, {})).toBeNull();
  });

  describe('of tools', () => {
    const TOOL_ID = uuid(9);
    const current: AgentConfig = {
      ...config,
      transferTo: [{ number: '+14155550142', description: 'Desk', message: null }],
      useKnowledgeBase: true,
      operatorToolIds: [uuid(8)],
    };
    const context = { toolId: TOOL_ID };
    const held = renderAssistant(MAPPING_VERSION, current, stamp, context);
    const model = held['model'] as JsonObject;
    const adopted = (change: JsonObject) =>
      adoptablePatch(current, { ...held, model: { ...model, ...change } }, stamp, context);
    const destination = { type: 'number', number: '+14155550187', description: 'Billing', message: 'Wait.' };

    test('adopts destinations, the end of the call and voicemail', () => {
      const tools = [{ type: 'transferCall', destinations: [destination], id: 'x' }, { type: 'endCall' }];
      expect(adopted({ tools })).toEqual({
        transferTo: [{ number: '+14155550187', description: 'Billing', message: 'Wait.' }],
        endCall: true,
      });
      expect(adopted({ tools: [] })).toEqual({ transferTo: [] });
      const voicemail = { voicemailMessage: 'V', voicemailDetection: { provider: 'vapi' } };
      expect(adoptablePatch(current, { ...held, ...voicemail }, stamp, context)).toEqual({
        voicemailMessage: 'V',
      });
    });

    test('adopts that the tools for appointments were taken away or put back, if the agent names a server for events', () => {
      const events = {
        ...context,
        server: { url: 'https://lockstep.example.com/vapi/events', credentialId: uuid(7) },
      };
      const patch = (now: boolean, dashboard: boolean, ctx: JsonObject) => {
        const edit = renderAssistant(
          MAPPING_VERSION,
          { ...current, bookAppointments: dashboard },
          stamp,
          ctx,
        );
        return adoptablePatch(
          { ...current, bookAppointments: now },
          { ...edit, name: 'By hand' },
          stamp,
          ctx,
        );
      };
      expect(patch(true, false, events)).toEqual({ bookAppointments: false, name: 'By hand' });
      expect(patch(false, true, events)).toEqual({ bookAppointments: true, name: 'By hand' });
      // Without a server for events, no agent has the tools, so that their absence is no edit.
      for (const ctx of [context, { ...context, server: null }])
        expect(patch(true, true, ctx)).toEqual({ name: 'By hand' });
    });

    test('never adopts which tools from elsewhere an agent has, or a change of its tool of the knowledge base', () => {
      expect(adopted({ temperature: 1 })).toMatchObject({ model: { temperature: 1 } });
      for (const toolIds of [[], [TOOL_ID], [uuid(8)], [TOOL_ID, uuid(8), uuid(7)], [uuid(8), TOOL_ID]]) {
        expect(adopted({ toolIds })).toBeNull();
      }
      expect(adopted({ toolRefs: [{ toolId: uuid(7), version: 'v1' }] })).toBeNull();
      expect(adoptablePatch(current, held, stamp, {})).toBeNull();
    });

    test.each<[string, JsonObject[]]>([
      ['a function', [{ type: 'function', function: { name: 'f' } }]],
      ['two tools that transfer', [1, 2].map(() => ({ type: 'transferCall', destinations: [destination] }))],
      ['a transfer to nowhere', [{ type: 'transferCall', destinations: [] }]],
      ['a SIP address', [{ type: 'transferCall', destinations: [{ type: 'sip', sipUri: 'sip:a@b' }] }]],
      [
        'no description',
        [{ type: 'transferCall', destinations: [{ type: 'number', number: '+14155550187' }] }],
      ],
      ['an extension', [{ type: 'transferCall', destinations: [{ ...destination, extension: '7' }] }]],
      ['words of a tool', [{ type: 'endCall', messages: [{ type: 'request-start', content: 'Bye' }] }]],
      ['another order', [{ type: 'endCall' }, { type: 'transferCall', destinations: [destination] }]],
    ])('refuses what a configuration cannot say: %s', (_what, tools) => {
      expect(adopted({ tools })).toBeNull();
    });

    test.each(['off', { provider: 'google' }])(
      'refuses voicemail detection of another kind: %j',
      (voicemailDetection) => {
        const edit = { voicemailMessage: 'V', voicemailDetection };
        expect(adoptablePatch(current, { ...held, ...edit }, stamp, context)).toBeNull();
      },
    );
  });

  test('returns no change if nothing was edited', () => {
    expect(adoptablePatch(config, ours(), stamp, {})).toBeNull();
  });
});

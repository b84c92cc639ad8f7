import { describe, expect, test } from 'vitest';
import { fieldDrift } from './drift.ts';

describe('fieldDrift', () => {
  test('tells every difference at the deepest path that says it, both ways', () => {
    expect(
      fieldDrift(
        {
          name: 'A',
          voice: { provider: 'vapi', voiceId: 'Elliot' },
          model: { messages: [{ content: 'x' }], temperature: 1 },
        },
        {
          name: 'A',
          voice: { provider: 'vapi', voiceId: 'Clara', speed: 2 },
          model: { messages: [{ content: 'y' }] },
        },
      ),
    ).toEqual([
      { path: 'voice.voiceId', ours: 'Elliot', theirs: 'Clara' },
      { path: 'voice.speed', ours: null, theirs: 2 },
      { path: 'model.messages[0].content', ours: 'x', theirs: 'y' },
      { path: 'model.temperature', ours: 1, theirs: null },
    ]);
  });

  test('arrays of another length are told whole, equal documents not at all', () => {
    expect(fieldDrift({ a: [1] }, { a: [1, 2] })).toEqual([{ path: 'a', ours: [1], theirs: [1, 2] }]);
    expect(fieldDrift({ a: { b: 1, c: 2 } }, { a: { c: 2, b: 1 } })).toEqual([]);
  });

  test('hides secrets on both sides, wherever they stand', () => {
    const secret = 'hunter2';
    const places = [
      [{ server: { secret } }, { server: { secret: `${secret}!` } }],
      [{}, { model: { tools: [{ server: { secret, url: 'u' } }] } }],
      [{}, { model: { tools: [{ server: { headers: { 'x-anything': secret } } }] } }],
      [{ server: { headers: { a: secret } } }, { server: { headers: { a: 'b' } } }],
      [{}, { credentials: [{ apiKey: secret }] }],
      [{ metadata: { access_token: [secret] } }, { metadata: { access_token: [] } }],
      [{ twilioAuthToken: secret }, {}],
    ] as const;
    for (const [ours, theirs] of places) {
      const told = JSON.stringify(
        fieldDrift(structuredClone(ours) as never, structuredClone(theirs) as never),
      );
      expect(told).toContain('[redacted]');
      expect(told).not.toContain(secret);
    }
  });
});

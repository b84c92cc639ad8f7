import { describe, expect, test } from 'vitest';
import { fieldDrift, holdsSecret } from './drift.ts';

describe('fieldDrift', () => {
  test('reports each difference at its deepest path, with both values', () => {
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

  test('reports arrays of different length as a whole, and nothing for equal documents', () => {
    expect(fieldDrift({ a: [1] }, { a: [1, 2] })).toEqual([{ path: 'a', ours: [1], theirs: [1, 2] }]);
    expect(fieldDrift({ a: { b: 1, c: 2 } }, { a: { c: 2, b: 1 } })).toEqual([]);
  });

  test('hides secrets in both values, at any depth', () => {
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

  test('hides text that looks like a secret under any name, and keeps the text around it', () => {
    const theirs = {
      url: 'https://user:hunter2-hunter2@x.example/hook?agent=7&token=hunter2-hunter2#top',
      note: 'call with Authorization: Bearer hunter2-hunter2, then wait',
      stripe: 'sk_live_hunter2hunter2',
      jwt: `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2-hunter2`,
      requestHeaders: { 'x-anything': 'hunter2-hunter2' },
      list: ['fine', 'whsec_hunter2hunter2'],
    };
    const told = fieldDrift({}, theirs);
    expect(JSON.stringify(told)).not.toMatch(/hunter2|eyJ/);
    expect(told).toMatchObject([
      { path: 'url', theirs: 'https://user:[redacted]@x.example/hook?agent=7&token=[redacted]#top' },
      { path: 'note', theirs: 'call with Authorization: Bearer [redacted], then wait' },
      { path: 'stripe', theirs: '[redacted]' },
      { path: 'jwt', theirs: '[redacted]' },
      { path: 'requestHeaders' },
      { path: 'list', theirs: ['fine', '[redacted]'] },
    ]);
    for (const one of Object.entries(theirs)) expect(holdsSecret(Object.fromEntries([one]))).toBe(true);
  });

  test.each([
    'You are a bearer of good news. Ask: what is your secret?',
    'https://x.example:8080/hook?agent=7',
    'Call us at sales@x.example: we answer.',
    'The basic plan costs 10, the risk-free one 20.',
  ])('leaves an ordinary text alone: %s', (text) => {
    expect(fieldDrift({}, { text })).toEqual([{ path: 'text', ours: null, theirs: text }]);
    expect(holdsSecret({ text })).toBe(false);
  });
});

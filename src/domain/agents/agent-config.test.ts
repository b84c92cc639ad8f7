import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { agentChanges, storableText } from '../../../test/support/arbitraries.ts';
import { AGENT_ROLES, checkSaveInput, defaultConfig, isValidConfig, LIMITS, upcast } from './agent-config.ts';

/** The problems of one agent's change; [] = it is taken. Paths are told from `input.inbound` on. */
function problems(inbound: Record<string, unknown>): { path: string; message: string }[] {
  const checked = checkSaveInput({ inbound });
  if ('input' in checked) return [];
  return checked.issues.map(({ path, message }) => ({
    path: path.replace(/^input\.inbound\.?/, ''),
    message,
  }));
}

const paths = (inbound: Record<string, unknown>) => problems(inbound).map(({ path }) => path);

function accepted(input: unknown) {
  const checked = checkSaveInput(input);
  if ('issues' in checked) throw new Error(JSON.stringify(checked.issues));
  return checked.input;
}

const elevenLabs = { provider: '11labs', voiceId: 'sarah' };
const openai = { provider: 'openai', name: 'gpt-4.1' };

describe('limits', () => {
  test.each([
    ['name', LIMITS.name],
    ['systemPrompt', LIMITS.systemPrompt],
    ['firstMessage', LIMITS.firstMessage],
  ])('%s has at most %i characters, counted in UTF-16 code units', (field, max) => {
    expect(paths({ [field]: 'x'.repeat(max) })).toEqual([]);
    expect(problems({ [field]: 'x'.repeat(max + 1) })).toEqual([
      { path: field, message: `${field} has ${max + 1} characters; at most ${max} are allowed` },
    ]);
    expect(paths({ [field]: '😀'.repeat(max / 2) })).toEqual([]);
    expect(paths({ [field]: '😀'.repeat(max / 2 + 1) })).toEqual([field]);
  });

  test("the name's limit is Vapi's", () => {
    expect(LIMITS.name).toBe(40);
  });

  test.each([
    ['voice.provider', LIMITS.provider, (text: string) => ({ voice: { provider: text, voiceId: 'v' } })],
    ['voice.voiceId', LIMITS.voiceId, (text: string) => ({ voice: { provider: 'azure', voiceId: text } })],
    ['model.provider', LIMITS.provider, (text: string) => ({ model: { provider: text, name: 'm' } })],
    ['model.name', LIMITS.modelName, (text: string) => ({ model: { provider: 'openai', name: text } })],
  ])('%s has at most %i characters', (path, max, change) => {
    expect(paths(change('x'.repeat(max)))).toEqual([]);
    expect(paths(change('x'.repeat(max + 1)))).toEqual([path]);
    expect(paths(change(''))).toEqual([path]);
  });

  test('the idempotency key has 1 to 200 characters', () => {
    const inbound = { name: 'A' };
    expect(accepted({ inbound, idempotencyKey: 'k'.repeat(200) }).idempotencyKey).toHaveLength(200);
    for (const idempotencyKey of ['k'.repeat(201), '', '  ']) {
      expect(checkSaveInput({ inbound, idempotencyKey })).toMatchObject({
        issues: [{ path: 'input.idempotencyKey' }],
      });
    }
  });

  test.each([
    ['maxDurationSeconds', 10, 43_200, (value: number) => ({ maxDurationSeconds: value })],
    ['expectedRevision', 0, 2_147_483_647, (value: number) => ({ expectedRevision: value })],
    ['model.maxTokens', 50, 10_000, (value: number) => ({ model: { ...openai, maxTokens: value } })],
  ])('%s is a whole number from %i to %i', (path, min, max, change) => {
    expect([min, max].flatMap((value) => paths(change(value)))).toEqual([]);
    expect([min - 1, max + 1].map((value) => paths(change(value)))).toEqual([[path], [path]]);
    expect(problems(change(min + 0.5))).toEqual([
      { path, message: expect.stringContaining('whole number') as string },
    ]);
  });

  test.each([
    ['voice.stability', 1, (value: number) => ({ voice: { ...elevenLabs, stability: value } })],
    ['voice.similarityBoost', 1, (value: number) => ({ voice: { ...elevenLabs, similarityBoost: value } })],
    ['model.temperature', 2, (value: number) => ({ model: { ...openai, temperature: value } })],
  ])('%s is a number from 0 to %i', (path, max, change) => {
    expect([0, max / 3, max].flatMap((value) => paths(change(value)))).toEqual([]);
    expect([-0.001, max + 0.001, Number.NaN, Number.POSITIVE_INFINITY].map((v) => paths(change(v)))).toEqual(
      Array(4).fill([path]),
    );
  });

  test.each(['', ' \n\t'])('text that says nothing is refused: %j', (blank) => {
    expect(paths({ name: blank, systemPrompt: blank, firstMessage: blank, language: blank })).toEqual(
      expect.arrayContaining(['name', 'systemPrompt', 'firstMessage', 'language']),
    );
  });

  test.each(['a\0b', 'half \ud800', '\udc00 half'])(
    'text that Postgres cannot hold is refused: %j',
    (text) => {
      expect(problems({ systemPrompt: text })).toEqual([
        { path: 'systemPrompt', message: expect.stringContaining('cannot be stored') as string },
      ]);
    },
  );

  test.each(['en', 'pt-BR', 'zh-Hant-TW', 'es-419', 'yue', 'multi'])('language %s', (language) => {
    expect(paths({ language })).toEqual([]);
  });

  test.each(['english', 'EN', 'e', 'en_US', 'en-', 'en\n', 'multi-en', '*'])(
    'no language: %j',
    (language) => {
      expect(problems({ language })).toEqual([
        { path: 'language', message: expect.stringContaining('BCP 47') as string },
      ]);
    },
  );
});

describe('rules of providers', () => {
  test('only 11labs voices have stability and similarityBoost; each that is set is named', () => {
    const voice = { provider: 'openai', voiceId: 'alloy', stability: 0.5, similarityBoost: 0 };
    expect(problems({ voice })).toEqual([
      { path: 'voice.stability', message: expect.stringContaining('have no stability') as string },
      {
        path: 'voice.similarityBoost',
        message: expect.stringContaining('have no similarityBoost') as string,
      },
    ]);
    expect(paths({ voice: { ...voice, stability: null, similarityBoost: null } })).toEqual([]);
    expect(paths({ voice: { ...elevenLabs, stability: 0, similarityBoost: 1 } })).toEqual([]);
  });

  test.each(['elevenlabs', 'ElevenLabs', 'eleven-labs', 'ELEVEN_LABS'])(
    'the voice provider %s is told its name at Vapi',
    (provider) => {
      expect(problems({ voice: { provider, voiceId: 'sarah', stability: 0.5 } })).toEqual([
        { path: 'voice.provider', message: 'voice.provider is called "11labs" at Vapi' },
      ]);
    },
  );

  test.each(['constructor', '__proto__', 'toString', 'hasOwnProperty'])(
    "a provider called like a property of every object is nobody's other name: %s",
    (provider) => {
      expect(problems({ voice: { provider, voiceId: 'v' } })).toEqual([]);
    },
  );

  test('providers that need a server of their own are refused by name', () => {
    const change = {
      voice: { provider: 'custom-voice', voiceId: 'v' },
      model: { provider: 'custom-llm', name: 'm' },
    };
    expect(problems(change)).toEqual([
      { path: 'voice.provider', message: expect.stringContaining('custom-voice') as string },
      { path: 'model.provider', message: expect.stringContaining('custom-llm') as string },
    ]);
  });

  test('models of provider vapi have no maxTokens (an unknown property is a 400 at Vapi)', () => {
    const model = { provider: 'vapi', name: 'm', maxTokens: 250 };
    expect(problems({ model })).toEqual([
      { path: 'model.maxTokens', message: expect.stringContaining('have no maxTokens') as string },
    ]);
    expect(paths({ model: { ...model, maxTokens: null } })).toEqual([]);
    expect(paths({ model: { ...model, provider: 'openai' } })).toEqual([]);
  });
});

describe('all problems at once', () => {
  test('every wrong value of both agents and of the save, each with its path', () => {
    const checked = checkSaveInput({
      inbound: {
        name: 'x'.repeat(41),
        systemPrompt: '',
        firstMessage: 'x'.repeat(4_001),
        voice: { provider: 'openai', voiceId: '', stability: 7, similarityBoost: 0.5 },
        model: { provider: 'custom-llm', name: ' ', temperature: 3, maxTokens: 49 },
        language: 'english',
        maxDurationSeconds: 9,
        expectedRevision: -1,
      },
      outbound: { name: 'y'.repeat(50), maxDurationSeconds: 50_000.5 },
      idempotencyKey: 'k'.repeat(201),
    });
    const found = 'issues' in checked ? new Set(checked.issues.map(({ path }) => path)) : new Set();
    expect([...found].sort()).toEqual(
      [
        ...[
          'name',
          'systemPrompt',
          'firstMessage',
          'voice.voiceId',
          'voice.stability',
          'voice.similarityBoost',
        ],
        ...['model.provider', 'model.name', 'model.temperature', 'model.maxTokens', 'language'],
        ...['maxDurationSeconds', 'expectedRevision'],
      ]
        .map((path) => `input.inbound.${path}`)
        .concat('input.outbound.name', 'input.outbound.maxDurationSeconds', 'input.idempotencyKey')
        .sort(),
    );
  });

  test.each([{}, { inbound: null, outbound: null }, { idempotencyKey: 'k' }])(
    'a change that names no agent: %j',
    (input) => {
      expect(checkSaveInput(input)).toEqual({
        issues: [{ path: 'input', message: 'name at least one agent: inbound, outbound or both' }],
      });
    },
  );

  test('a message never repeats the value', () => {
    const canary = 'canary '.repeat(20_000);
    const checked = checkSaveInput({ inbound: { systemPrompt: canary, name: canary, firstMessage: canary } });
    expect(JSON.stringify(checked)).not.toContain('canary');
  });
});

describe('null', () => {
  test.each(['name', 'systemPrompt', 'voice', 'model', 'language', 'maxDurationSeconds', 'expectedRevision'])(
    '%s cannot be null, and the refusal names it',
    (field) => {
      expect(problems({ [field]: null })).toEqual([
        { path: field, message: expect.stringMatching(new RegExp(`^${field} cannot be null`)) as string },
      ]);
    },
  );

  test('firstMessage is cleared by null, and left alone by its absence', () => {
    expect(accepted({ inbound: { firstMessage: null } }).inbound?.config).toEqual({ firstMessage: null });
    expect(accepted({ inbound: { firstMessage: undefined } }).inbound?.config).toStrictEqual({});
  });

  test('the parts of a voice and of a model that may be empty are null where they are left out', () => {
    const { inbound } = accepted({ inbound: { voice: elevenLabs, model: openai } });
    expect(inbound?.config).toEqual({
      voice: { ...elevenLabs, stability: null, similarityBoost: null },
      model: { ...openai, temperature: null, maxTokens: null },
    });
  });

  test('null of an agent, of the key and of a condition is their absence', () => {
    expect(
      accepted({ inbound: { name: 'A', recreateIfMissing: null }, outbound: null, idempotencyKey: null }),
    ).toEqual({
      inbound: { config: { name: 'A' }, expectedRevision: null, recreateIfMissing: false },
      outbound: null,
      idempotencyKey: null,
    });
  });
});

describe('defaults', () => {
  test.each(AGENT_ROLES)('of %s are themselves a valid configuration, but for the prompt', (role) => {
    const defaults = defaultConfig(role);
    expect(paths({ ...defaults })).toEqual([]);
    expect(defaults).not.toHaveProperty('systemPrompt');
    expect(isValidConfig({ ...defaults, systemPrompt: 'Answer.' })).toBe(true);
  });

  test('the two roles differ in their name alone', () => {
    const { name: inbound, ...one } = defaultConfig('INBOUND');
    const { name: outbound, ...other } = defaultConfig('OUTBOUND');
    expect(one).toEqual(other);
    expect([inbound, outbound]).toEqual(['Inbound agent', 'Outbound agent']);
  });
});

describe('generated changes', () => {
  test('a valid change is taken as it is: every field said, and no other', () => {
    fc.assert(
      fc.property(agentChanges, fc.option(agentChanges), (inbound, outbound) => {
        const { expectedRevision, recreateIfMissing, ...config } = inbound;
        const input = accepted({ inbound, outbound });
        expect(input.inbound).toEqual({
          config,
          expectedRevision: expectedRevision ?? null,
          recreateIfMissing: recreateIfMissing ?? false,
        });
        expect(input.outbound === null).toBe(outbound === null);
        // Canonical: checked again, it is the same.
        expect(accepted({ inbound: input.inbound?.config }).inbound?.config).toEqual(config);
      }),
    );
  });

  test('one character too many is one problem, whatever else is said', () => {
    fc.assert(
      fc.property(
        agentChanges,
        fc.constantFrom('name', 'firstMessage', 'systemPrompt'),
        storableText(40),
        (change, field, tail) => {
          const tooLong = 'x'.repeat(LIMITS[field as 'name' | 'firstMessage' | 'systemPrompt']) + tail;
          expect(paths({ ...change, [field]: tooLong })).toEqual([field]);
        },
      ),
    );
  });

  test('anything at all is either taken or refused with paths and words, and never throws', () => {
    const anything = fc.anything({ withNullPrototype: true, withBigInt: true });
    const agent = fc.record(
      {
        ...{ name: anything, systemPrompt: anything, firstMessage: anything, language: anything },
        voice: fc.oneof(anything, fc.record({ provider: anything, voiceId: anything, stability: anything })),
        model: fc.oneof(anything, fc.record({ provider: anything, name: anything, maxTokens: anything })),
        maxDurationSeconds: anything,
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(anything, fc.record({ inbound: fc.oneof(anything, agent), outbound: agent })),
        (input) => {
          const checked = checkSaveInput(input);
          if ('input' in checked) {
            expect(checked.input.inbound ?? checked.input.outbound).not.toBeNull();
          } else {
            expect(checked.issues.length).toBeGreaterThan(0);
            for (const { path, message } of checked.issues) {
              expect(path).toMatch(/^input(\.|$)/);
              expect(message).not.toBe('');
            }
          }
        },
      ),
    );
  });
});

describe('upcast', () => {
  const {
    transferTo: _t,
    endCall: _e,
    voicemailMessage: _v,
    useKnowledgeBase: _k,
    bookAppointments: _b,
    ...old
  } = {
    ...defaultConfig('OUTBOUND'),
    systemPrompt: 'P',
  };

  test('gives a configuration that was saved before a field existed its default', () => {
    expect(upcast('OUTBOUND', old)).toEqual({ ...defaultConfig('OUTBOUND'), systemPrompt: 'P' });
    expect(upcast('OUTBOUND', { ...old, maxDurationSeconds: 10 })).toMatchObject({
      maxDurationSeconds: 10,
      transferTo: [],
      endCall: false,
      voicemailMessage: null,
      useKnowledgeBase: false,
      bookAppointments: false,
    });
  });

  test('keeps what is stored, null and what this build does not know included', () => {
    const stored = { ...old, firstMessage: null, endCall: true, extraMetadata: { crm: 1 }, later: 7 };
    expect(upcast('OUTBOUND', stored)).toMatchObject(stored);
  });
});

describe('bookAppointments', () => {
  const MESSAGE = expect.stringMatching(
    /^bookAppointments needs a server that Vapi can reach .*PUBLIC_URL/,
  ) as string;

  test('is refused if this server receives no events, by the agent that asks for it, beside every other problem', () => {
    const input = { inbound: { bookAppointments: true, name: '' }, outbound: { bookAppointments: true } };
    const refused = checkSaveInput(input, { receivesEvents: false });
    expect(refused).toEqual({
      issues: [
        { path: 'input.inbound.name', message: expect.any(String) as string },
        { path: 'input.inbound.bookAppointments', message: MESSAGE },
        { path: 'input.outbound.bookAppointments', message: MESSAGE },
      ],
    });
    expect(checkSaveInput({ inbound: { bookAppointments: true } }, { receivesEvents: true })).toHaveProperty(
      'input',
    );
  });

  test('can be turned off, or left as it is, on a server that receives no events', () => {
    for (const inbound of [{ bookAppointments: false }, { name: 'A' }])
      expect(checkSaveInput({ inbound }, { receivesEvents: false })).toHaveProperty('input');
  });
});

describe('transferTo', () => {
  const desk = { number: '+14155550142', description: 'Desk' };
  test.each(['+14155550142', '+4930123456', '+6834123', '+123456789012345'])('takes %s', (number) => {
    expect(accepted({ inbound: { transferTo: [{ ...desk, number }] } }).inbound?.config).toEqual({
      transferTo: [{ ...desk, number, message: null }],
    });
  });

  test.each([
    '',
    '911',
    '+0123456789',
    '+1 415 555 0142',
    '4155550142',
    '+1415555014x',
    '+1234567890123456',
    'sip:a@b',
  ])('refuses %j, which is not E.164', (number) => {
    expect(paths({ transferTo: [desk, { ...desk, number }] })).toContain('transferTo.1.number');
  });

  test(`has at most ${LIMITS.transferTo} destinations, each number once`, () => {
    const many = (count: number) =>
      Array.from({ length: count }, (_, n) => ({ ...desk, number: `+1415555${1000 + n}` }));
    expect(paths({ transferTo: many(LIMITS.transferTo) })).toEqual([]);
    expect(paths({ transferTo: many(LIMITS.transferTo + 1) })).toEqual(['transferTo']);
    expect(problems({ transferTo: [desk, ...many(1), desk] })).toEqual([
      { path: 'transferTo.2.number', message: 'transferTo.number +14155550142 is in the list twice' },
    ]);
  });
});

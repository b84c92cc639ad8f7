import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { agentConfigs, stamps } from '../../../test/support/arbitraries.ts';
import { canonicalJson, isJsonObject, type Json, type JsonObject } from '../../domain/json.ts';
import { AssistantStore } from '../../local/vapi/assistant-store.ts';
import { differences, observedForm, stampOf } from './compare.ts';
import { MAPPING_VERSION, renderAssistant } from './render.ts';

const documents = fc
  .tuple(agentConfigs(), stamps)
  .map(([config, stamp]) => renderAssistant(MAPPING_VERSION, config, stamp, {}));

/** As Vapi answers it: with its own fields, and keys in an order of its own. */
function answered(document: JsonObject): JsonObject {
  return structuredClone(new AssistantStore().create('vapi-org', document)) as JsonObject;
}

const SENT: JsonObject = {
  name: 'Front desk',
  firstMessage: null,
  firstMessageMode: 'assistant-speaks-first',
  model: {
    provider: 'openai',
    model: 'gpt-4.1',
    messages: [{ role: 'system', content: 'You answer calls.' }],
    temperature: 0,
  },
  voice: { provider: 'vapi', voiceId: 'Elliot' },
  transcriber: { provider: 'deepgram', model: 'nova-3', language: 'en' },
  maxDurationSeconds: 600,
  metadata: { lockstep: { saveId: 's', revision: 1 } },
};

/** What the comparator finds where the answer is what was sent, changed like this. */
function differencesAfter(change: (answer: JsonObject) => void, sent: JsonObject = SENT) {
  const answer = structuredClone(sent);
  change(answer);
  return differences(sent, answer);
}

const object = (value: Json | undefined): JsonObject => {
  if (value === undefined || !isJsonObject(value)) throw new Error('not an object');
  return value;
};

/** The paths of all leaves, as the comparator words them. */
function leaves(value: Json, path: string): string[] {
  if (Array.isArray(value)) return value.flatMap((member, index) => leaves(member, `${path}[${index}]`));
  if (!isJsonObject(value)) return [path];
  return Object.entries(value).flatMap(([key, member]) =>
    leaves(member, path === '' ? key : `${path}.${key}`),
  );
}

/** A copy with another value at a leaf. */
function withOther(document: JsonObject, path: string): JsonObject {
  const copy = structuredClone(document);
  const steps = path.split(/[.[\]]+/).filter((step) => step !== '');
  const last = steps.pop() ?? '';
  let target: unknown = copy;
  for (const step of steps) target = (target as Record<string, unknown>)[step];
  const leaf = target as Record<string, unknown>;
  leaf[last] = typeof leaf[last] === 'number' ? leaf[last] + 1 : `${String(leaf[last])} (edited)`;
  return copy;
}

/** The same value in another order of keys, and with `null` under keys that nobody named. */
function disguised(value: Json): Json {
  if (Array.isArray(value)) return value.map(disguised);
  if (!isJsonObject(value)) return value;
  const entries = Object.entries(value).map(([key, member]) => [key, disguised(member)] as const);
  return Object.fromEntries([...entries.reverse(), ['nobodyNamedThis', null]]);
}

describe('differences', () => {
  test('there is none where Vapi holds what was sent, however it orders keys and whatever it adds', () => {
    fc.assert(
      fc.property(documents, (document) => {
        expect(differences(document, answered(document))).toEqual([]);
        expect(differences(document, disguised(answered(document)) as JsonObject)).toEqual([]);
      }),
    );
  });

  test('every leaf counts: another value at any one of them is found there, with both sides', () => {
    fc.assert(
      fc.property(documents, fc.nat(), (document, at) => {
        const paths = leaves(document, '');
        const path = paths[at % paths.length] ?? '';
        const found = differences(document, withOther(answered(document), path));
        expect(found.map((entry) => entry.path)).toEqual([path]);
        expect(found[0]?.ours).not.toEqual(found[0]?.theirs);
      }),
    );
  });

  test('a leaf that is gone is found, unless it was sent as null or as a documented default', () => {
    const gone = (field: string) =>
      differencesAfter((answer) => {
        delete answer[field];
      }).map(({ path }) => path);
    expect(gone('name')).toEqual(['name']);
    expect(gone('voice')).toEqual(['voice']);
    expect(gone('firstMessage')).toEqual([]);
    expect(gone('maxDurationSeconds')).toEqual([]);
    expect(gone('firstMessageMode')).toEqual([]);
    const temperature = differencesAfter((answer) => {
      delete object(answer['model'])['temperature'];
    });
    expect(temperature).toEqual([{ path: 'model.temperature', ours: 0, theirs: null }]);
  });

  test('null at Vapi is absence: the default again, or a difference', () => {
    const nulled = (field: string) =>
      differencesAfter((answer) => {
        answer[field] = null;
      });
    expect(nulled('maxDurationSeconds')).toEqual([]);
    expect(nulled('firstMessageMode')).toEqual([]);
    expect(nulled('model')).toEqual([{ path: 'model', ours: SENT['model'], theirs: null }]);
  });

  test('a default counts for its own field alone: 600 of anything else is not 600', () => {
    const sent = { ...SENT, maxDurationSeconds: 900 };
    const found = differencesAfter((answer) => {
      delete answer['maxDurationSeconds'];
    }, sent);
    expect(found).toEqual([{ path: 'maxDurationSeconds', ours: 900, theirs: 600 }]);
  });

  test('firstMessage that was cleared and is still there', () => {
    const found = differencesAfter((answer) => {
      answer['firstMessage'] = 'Hello!';
    });
    expect(found).toEqual([{ path: 'firstMessage', ours: null, theirs: 'Hello!' }]);
  });

  test('arrays count whole: one member more, one less, another order', () => {
    const system = { role: 'system', content: 'You answer calls.' };
    const extra = { role: 'user', content: 'Hi' };
    const sent = { ...SENT, model: { ...object(SENT['model']), messages: [system, extra] } };
    const found = (messages: Json[]) =>
      differencesAfter((answer) => {
        object(answer['model'])['messages'] = messages;
      }, sent).map(({ path }) => path);
    expect(found([system, extra, extra])).toEqual(['model.messages']);
    expect(found([system])).toEqual(['model.messages']);
    expect(found([])).toEqual(['model.messages']);
    expect(found([extra, system])).toEqual([
      'model.messages[0].role',
      'model.messages[0].content',
      'model.messages[1].role',
      'model.messages[1].content',
    ]);
    expect(found([{ ...system, id: 'added by Vapi' }, extra])).toEqual([]);
  });

  test.each([
    ['an object for a text', { name: {} }, 'name'],
    ['an array for an object', { voice: [] }, 'voice'],
    ['a text for an object', { model: 'gpt' }, 'model'],
    ['an object for an array', { model: { ...object(SENT['model']), messages: {} } }, 'model.messages'],
    ['a number written as text', { maxDurationSeconds: '600' }, 'maxDurationSeconds'],
    ['false for null', { firstMessage: false }, 'firstMessage'],
    ['an empty text for null', { firstMessage: '' }, 'firstMessage'],
  ])('%s is something else', (_name, change, path) => {
    expect(differences(SENT, { ...SENT, ...change }).map((entry) => entry.path)).toEqual([path]);
  });

  test.each(['toolIds', 'tools', 'toolRefs', 'knowledgeBase'])(
    'model.%s is erased by not being sent, so finding it is a difference; empty is erased',
    (key) => {
      const found = (value: Json) =>
        differencesAfter((answer) => {
          object(answer['model'])[key] = value;
        });
      const left = key === 'knowledgeBase' ? { provider: 'custom-knowledge-base' } : ['something'];
      expect(found(left)).toEqual([{ path: `model.${key}`, ours: null, theirs: left }]);
      expect([found([]), found(null)]).toEqual([[], []]);
    },
  );

  test('asymmetric: what Vapi adds is no difference, what it lacks is', () => {
    const more = {
      ...SENT,
      id: 'x',
      backgroundSound: 'office',
      voice: { ...object(SENT['voice']), speed: 1 },
    };
    expect(differences(SENT, more)).toEqual([]);
    expect(differences(more, SENT).map(({ path }) => path)).toEqual(
      expect.arrayContaining(['id', 'backgroundSound', 'voice.speed']),
    );
  });

  test('nothing is changed by comparing', () => {
    const [sent, answer] = [structuredClone(SENT), { ...structuredClone(SENT), name: 'Other' }];
    differences(sent, answer);
    expect([sent, answer]).toEqual([SENT, { ...SENT, name: 'Other' }]);
  });
});

describe('observedForm', () => {
  test('does not depend on the order of keys, on nulls, or on what Vapi adds', () => {
    fc.assert(
      fc.property(documents, (document) => {
        const form = canonicalJson(observedForm(MAPPING_VERSION, {}, document));
        expect(canonicalJson(observedForm(MAPPING_VERSION, {}, answered(document)))).toBe(form);
        expect(
          canonicalJson(observedForm(MAPPING_VERSION, {}, disguised(answered(document)) as JsonObject)),
        ).toBe(form);
      }),
    );
  });

  test('of itself is itself', () => {
    fc.assert(
      fc.property(documents, (document) => {
        const form = observedForm(MAPPING_VERSION, {}, document);
        expect(observedForm(MAPPING_VERSION, {}, form)).toEqual(form);
      }),
    );
  });

  test('holds the managed fields and none of our stamp; what others keep in metadata stays', () => {
    const form = observedForm(
      MAPPING_VERSION,
      {},
      {
        ...answered(SENT),
        backgroundSound: 'office',
        metadata: { lockstep: { saveId: 's' }, crm: { id: 7, note: null } },
      },
    );
    const { firstMessage: _null, metadata: _ours, ...rest } = SENT;
    expect(form).toEqual({ ...rest, metadata: { crm: { id: 7 } } });
    expect(observedForm(MAPPING_VERSION, {}, SENT)).not.toHaveProperty('metadata');
  });

  test('members of arrays keep their places: null among them is not left out', () => {
    const model = { messages: [null, { role: 'system', content: null }] };
    expect(observedForm(MAPPING_VERSION, {}, { model })).toEqual({
      model: { messages: [null, { role: 'system' }] },
    });
  });

  test('belongs to a mapping version and a context: a field that they do not manage is not in it', () => {
    const document = { name: 'A', voicemailMessage: 'Call back.', backgroundSound: 'office' };
    expect(observedForm(1, {}, document)).toEqual({ name: 'A' });
    expect(observedForm(2, {}, document)).toEqual({ name: 'A', voicemailMessage: 'Call back.' });
    const server = { url: 'https://lockstep.example.com/vapi/events' };
    const named = { ...document, server, serverMessages: ['tool-calls'] };
    expect(observedForm(2, {}, named)).toEqual(observedForm(2, {}, document));
    expect(observedForm(1, { server }, named)).toEqual({ name: 'A' });
    for (const context of [{ server }, { server: null }])
      expect(observedForm(2, context, named)).toMatchObject({ server, serverMessages: ['tool-calls'] });
    expect(() => observedForm(3, {}, document)).toThrow('unknown mapping version 3');
  });

  describe('of inline tools', () => {
    const transfer = {
      type: 'transferCall',
      destinations: [{ type: 'number', number: '+14155550142', description: 'D' }],
    };
    const form = (...tools: Json[]) => canonicalJson(observedForm(2, {}, { model: { tools } }));

    test.each<[string, JsonObject]>([
      ['an id', { id: '1' }],
      ['the account', { orgId: '1' }],
      ['times', { createdAt: '2026-01-01T00:00:00.000Z', updatedAt: '2026-01-02T00:00:00.000Z' }],
      ['a version', { latestVersion: 'v1' }],
      ['documented defaults', { async: false, messages: [] }],
      ['nulls', { rejectionPlan: null }],
    ])('does not hold %s', (_what, added) => {
      expect(form({ ...transfer, ...added })).toBe(form(transfer));
      expect(form({ type: 'endCall', ...added })).toBe(form({ type: 'endCall' }));
    });

    test('does not hold the defaults of a destination', () => {
      const [destination] = transfer.destinations;
      const defaults = { numberE164CheckEnabled: true, transferPlan: { mode: 'blind-transfer' } };
      expect(form({ ...transfer, destinations: [{ ...destination, ...defaults }] })).toBe(form(transfer));
    });

    test.each<[string, JsonObject]>([
      ['asynchronous work', { async: true }],
      ['words', { messages: [{ type: 'request-start', content: 'Hm.' }] }],
      ['conditions', { rejectionPlan: { conditions: [] } }],
      ['another type', { type: 'dtmf' }],
      ['no destinations', { destinations: [] }],
      [
        'an unchecked number',
        { destinations: [{ ...transfer.destinations[0], numberE164CheckEnabled: false }] },
      ],
      [
        'a plan',
        {
          destinations: [
            { ...transfer.destinations[0], transferPlan: { mode: 'warm-transfer-say-message' } },
          ],
        },
      ],
      ['what is not known here', { somethingNew: true }],
    ])('holds %s', (_what, edit) => {
      expect(form({ ...transfer, ...edit })).not.toBe(form(transfer));
    });

    test('holds the number of tools and their order', () => {
      const endCall = { type: 'endCall' };
      const forms = [form(), form(transfer), form(transfer, endCall), form(endCall, transfer)];
      expect(new Set(forms).size).toBe(4);
      expect(form(null, 'x')).toBe('{"model":{"tools":[null,"x"]}}');
    });
  });

  test.each([null, 'text', 7, ['lockstep']])('metadata that is no object: %j', (metadata) => {
    expect(observedForm(MAPPING_VERSION, {}, { name: 'A', metadata })).toEqual({ name: 'A' });
  });

  test('two forms differ wherever the comparator finds a difference', () => {
    fc.assert(
      fc.property(documents, fc.nat(), (document, at) => {
        const paths = leaves(document, '').filter((path) => !path.startsWith('metadata'));
        const edited = withOther(answered(document), paths[at % paths.length] ?? '');
        expect(canonicalJson(observedForm(MAPPING_VERSION, {}, edited))).not.toBe(
          canonicalJson(observedForm(MAPPING_VERSION, {}, document)),
        );
      }),
    );
  });
});

describe('stampOf', () => {
  test('reads what was rendered, from the answer', () => {
    fc.assert(
      fc.property(agentConfigs(), stamps, (config, stamp) => {
        expect(stampOf(answered(renderAssistant(MAPPING_VERSION, config, stamp, {})))).toEqual(stamp);
      }),
    );
  });

  const uuid = (digit: number) => `00000000-0000-4000-8000-00000000000${digit}`;
  const stamp = {
    ...{ deployment: uuid(1), orgId: uuid(2), agentId: uuid(3), role: 'INBOUND' },
    ...{ saveId: uuid(4), revision: 1 },
  };
  test('what else stands in it is not ours', () => {
    expect(stampOf({ metadata: { lockstep: { ...stamp, more: 1 }, other: 1 } })).toEqual(stamp);
  });

  test.each<[string, Json]>([
    ['none', null],
    ['no object', 'lockstep'],
    ['an array', [{ lockstep: stamp }]],
    ['another product', { other: stamp }],
    ['a text for a stamp', { lockstep: JSON.stringify(stamp) }],
    ...Object.keys(stamp).flatMap((key): [string, Json][] => [
      [`without ${key}`, { lockstep: Object.fromEntries(Object.entries(stamp).filter(([k]) => k !== key)) }],
      [`with an object for ${key}`, { lockstep: { ...stamp, [key]: {} } }],
    ]),
    ['of a role that does not exist', { lockstep: { ...stamp, role: 'inbound' } }],
    ['with a revision in words', { lockstep: { ...stamp, revision: '1' } }],
  ])('%s is no stamp', (_name, metadata) => {
    expect(stampOf({ metadata })).toBeNull();
  });
});

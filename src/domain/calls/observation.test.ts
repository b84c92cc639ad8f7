import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../json.ts';
import { type Observation, observeCall, observeEvent } from './observation.ts';

const ID = '019e3b7a-52c4-7d19-9f0e-3ab1c8d24e57';
/** Names that every object has: a look-up by a word from outside must not find them. */
const INHERITED = Object.getOwnPropertyNames(Object.prototype);

const word = fc.oneof(fc.constantFrom(...INHERITED, 'ended', 'in-progress', 'user', 'bot'), fc.string());
const anything = fc.oneof(word, fc.jsonValue() as fc.Arbitrary<never>);
const objectOf = (...names: string[]) =>
  fc.record(Object.fromEntries(names.map((name) => [name, anything])), { requiredKeys: [] });
const call = fc.record(
  {
    ...{ id: fc.oneof(fc.constant(ID), anything), type: anything, status: word, name: anything },
    ...{ assistantId: anything, phoneNumberId: anything, endedReason: anything, cost: anything },
    ...{ createdAt: anything, updatedAt: anything, startedAt: anything, endedAt: anything },
    customer: fc.oneof(anything, objectOf('number', 'sipUri', 'name')),
    costBreakdown: fc.oneof(anything, objectOf('total', 'vapi', '__proto__')),
    analysis: fc.oneof(anything, objectOf('summary', 'successEvaluation', 'structuredData')),
    artifact: fc.oneof(
      anything,
      fc.record({ messages: fc.array(objectOf('role', 'message', 'content', 'secondsFromStart')) }),
    ),
  },
  { requiredKeys: [] },
);
const message = fc.record(
  {
    type: fc.oneof(fc.constantFrom('status-update', 'end-of-call-report', 'call.deleted'), anything),
    ...{ call: fc.oneof(call, anything), status: word, endedReason: anything, summary: anything },
    ...{ analysis: anything, artifact: anything, customer: anything, cost: anything },
    assistant: fc.oneof(anything, objectOf('id', 'metadata')),
    phoneNumber: fc.oneof(anything, objectOf('id')),
  },
  { requiredKeys: [] },
);

/** What the database can merge: arrays of numbers, and a value of JSON at the end. */
function expectMergeable(observation: Observation | null): void {
  if (observation === null) return;
  expect(JSON.parse(JSON.stringify(observation))).toEqual(observation);
  for (const fact of Object.values(observation.facts)) {
    expect(fact.length).toBeGreaterThan(0);
    for (const rank of fact.slice(0, -1)) expect(rank).toSatisfy(Number.isSafeInteger);
  }
}

describe('an observation', () => {
  test('can be made of every message and of every record of a call, whatever is in it', () => {
    fc.assert(fc.property(message, (given) => expectMergeable(observeEvent(given as JsonObject))));
    fc.assert(
      fc.property(call, (given) =>
        expectMergeable(observeCall(given as JsonObject, { from: 'LIST', atMs: 1 })),
      ),
    );
  });

  test.each(INHERITED)('knows no status and no speaker that is called %s', (name) => {
    const record = { id: ID, status: name, artifact: { messages: [{ role: name, message: 'x' }] } };
    expect(observeCall(record, { from: 'LIST', atMs: 1 })).toEqual({
      vapiCallId: ID,
      facts: {},
      content: {},
    });
  });

  test.each([
    ['customer-did-not-answer', 'NO_ANSWER'],
    ['customer-busy', 'BUSY'],
    ['voicemail', 'VOICEMAIL'],
    ['assistant-forwarded-call', 'TRANSFERRED'],
    ['customer-ended-call-after-warm-transfer-attempt', 'COMPLETED'],
    ['silence-timed-out', 'COMPLETED'],
    ['call.start.error-get-transport', 'FAILED'],
    ['a-reason-of-tomorrow', 'FAILED'],
  ])('of a call that ended with %s has the outcome %s', (reason, outcome) => {
    const observation = observeCall(
      { id: ID, status: 'ended', endedReason: reason },
      { from: 'LIST', atMs: 1 },
    );
    expect(observation?.facts['endedReason']?.at(-1)).toEqual({ reason, outcome });
  });
});

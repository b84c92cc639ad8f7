import { describe, expect, test } from 'vitest';
import type { SagaStatus } from '../../domain/saga.ts';
import {
  type Answer,
  afterSend,
  afterUndo,
  type Decision,
  decide,
  type Forward,
  isClosed,
  type PartProgress,
  type SagaProgress,
  TRANSITIONS,
  type Undo,
} from './protocol.ts';

/** `decide` is asked about every state that there is, for one part and for two; nothing is sampled. */

const FORWARD: Forward[] = [
  ...(['pending', 'applied', 'differed', 'rejected', 'missing'] as const),
  ...(['unauthorized', 'rate_limited', 'unreachable', 'unknown'] as const),
];
const UNDO: Undo[] = ['pending', 'done', 'missing', 'refused', 'blocked', 'unknown'];
const BOTH = [false, true];
const STATUSES = Object.keys(TRANSITIONS) as SagaStatus[];

function parts(key: string, undos: Undo[]): PartProgress[] {
  const all: PartProgress[] = [];
  const plan = { key, stage: 0, pivot: false, lookOnly: false };
  for (const action of ['create', 'replace'] as const)
    for (const touched of BOTH)
      for (const ambiguous of BOTH)
        for (const forward of FORWARD)
          for (const undo of undos) all.push({ ...plan, action, forward, undo, touched, ambiguous });
  return all;
}

/** Every progress in a status. Going forward nothing has been undone yet, so `undo` varies only on the way back. */
function* progress(status: SagaStatus): Generator<SagaProgress> {
  const undos: Undo[] = status === 'ROLLING_BACK' ? UNDO : ['pending'];
  const [first, second] = [parts('first', undos), parts('second', undos)];
  for (const taken of BOTH)
    for (const quarantined of BOTH)
      for (const pastDeadline of BOTH) {
        const save = { status, taken, quarantined, pastDeadline, released: false };
        for (const one of first) {
          yield { ...save, parts: [one] };
          for (const other of second) yield { ...save, parts: [one, other] };
        }
      }
}

/** States in which something does not hold; the first few are shown. `checked` guards against an empty loop. */
function violations(
  status: SagaStatus,
  holds: (decision: Decision, save: SagaProgress) => boolean,
): { checked: number; violations: [Decision, SagaProgress][] } {
  const found: [Decision, SagaProgress][] = [];
  let checked = 0;
  for (const save of progress(status)) {
    checked += 1;
    const decision = decide(save);
    if (!holds(decision, save) && found.length < 3) found.push([decision, structuredClone(save)]);
  }
  return { checked, violations: found };
}

const FORWARD_STATES = 8 * (72 + 72 ** 2);
const BACKWARD_STATES = 8 * (432 + 432 ** 2);
const none = (checked: number) => ({ checked, violations: [] });

const some = (save: SagaProgress, test: (part: PartProgress) => boolean) => save.parts.some(test);
const every = (save: SagaProgress, test: (part: PartProgress) => boolean) => save.parts.every(test);
const keys = (save: SagaProgress, test: (part: PartProgress) => boolean) =>
  save.parts
    .filter(test)
    .map(({ key }) => key)
    .join();

const DEFINITE: Forward[] = ['differed', 'rejected', 'missing'];
const TRANSIENT: Forward[] = ['unauthorized', 'rate_limited', 'unreachable'];

/** Every part, before an answer comes. */
const SENDERS = parts('first', UNDO);

describe('what one answer means for a request that goes forward', () => {
  type After = ReturnType<typeof afterSend>;
  const CASES: [Answer, 'POST' | 'PATCH', Forward, Pick<After, 'again'>][] = [
    ['matches', 'PATCH', 'applied', { again: false }],
    ['matches', 'POST', 'applied', { again: false }],
    ['differs', 'PATCH', 'differed', { again: false }],
    ['differs', 'POST', 'differed', { again: false }],
    ['refused', 'PATCH', 'rejected', { again: false }],
    ['refused', 'POST', 'rejected', { again: false }],
    ['gone', 'PATCH', 'missing', { again: false }],
    ['gone', 'POST', 'missing', { again: false }],
    ['unauthorized', 'PATCH', 'unauthorized', { again: false }],
    ['unauthorized', 'POST', 'unauthorized', { again: false }],
    ['rate_limited', 'PATCH', 'rate_limited', { again: true }],
    ['rate_limited', 'POST', 'rate_limited', { again: true }],
    ['not_sent', 'PATCH', 'unreachable', { again: true }],
    ['not_sent', 'POST', 'unreachable', { again: true }],
    ['unknown', 'PATCH', 'unknown', { again: true }],
    // A second POST could make a second resource.
    ['unknown', 'POST', 'unknown', { again: false }],
  ];

  test.each(CASES)('%s to a %s: %s, %o', (answer, request, forward, again) => {
    for (const part of SENDERS) {
      const after = afterSend(part, answer, request);
      // Not done this time; what an earlier attempt did is as unknown as before.
      const stillUnknown = part.ambiguous && (answer === 'rate_limited' || answer === 'not_sent');
      expect(after).toEqual({
        forward: stillUnknown ? 'unknown' : forward,
        touched: part.touched || ['matches', 'differs', 'unknown'].includes(answer),
        ambiguous: part.ambiguous || answer === 'unknown',
        ...again,
      });
    }
  });
});

describe('what one answer means for a request that undoes', () => {
  const CASES: [Answer, 'PATCH' | 'DELETE', Undo | 'as before', boolean][] = [
    ['matches', 'PATCH', 'done', false],
    ['matches', 'DELETE', 'done', false],
    ['gone', 'PATCH', 'missing', false],
    ['gone', 'DELETE', 'done', false],
    ['differs', 'PATCH', 'refused', false],
    ['refused', 'PATCH', 'refused', false],
    ['refused', 'DELETE', 'refused', false],
    ['unauthorized', 'PATCH', 'as before', false],
    ['unauthorized', 'DELETE', 'as before', false],
    ['rate_limited', 'PATCH', 'as before', true],
    ['rate_limited', 'DELETE', 'as before', true],
    ['not_sent', 'PATCH', 'as before', true],
    ['not_sent', 'DELETE', 'as before', true],
    ['unknown', 'PATCH', 'unknown', true],
    ['unknown', 'DELETE', 'unknown', true],
  ];

  test.each(CASES)('%s to a %s: %s; again: %s', (answer, request, undo, again) => {
    for (const part of SENDERS) {
      expect(afterUndo(part, answer, request)).toEqual({
        undo: undo === 'as before' ? part.undo : undo,
        ambiguous: part.ambiguous || answer === 'unknown',
        again,
      });
    }
  });
});

describe('going forward', () => {
  test('every state has exactly one decision', () => {
    expect(
      violations('APPLYING', ({ do: what }) => ['send', 'commit', 'abort', 'hand_over'].includes(what)),
    ).toEqual(none(FORWARD_STATES));
  });

  test('commits only if Vapi answered every part with what was sent', () => {
    expect(
      violations(
        'APPLYING',
        (decision, save) => decision.do !== 'commit' || every(save, ({ forward }) => forward === 'applied'),
      ),
    ).toEqual(none(FORWARD_STATES));
  });

  test('commits whenever it may, unless an earlier POST of a creation may still be under way', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const mayStillArrive =
          save.taken && !save.quarantined && some(save, ({ action }) => action === 'create');
        const applied = every(save, ({ forward }) => forward === 'applied');
        return !applied || decision.do === (mayStillArrive ? 'hand_over' : 'commit');
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('sends exactly the parts that were not tried, unless the saga cannot be kept', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const hopeless = some(save, ({ forward }) => ['rejected', 'differed', 'missing'].includes(forward));
        if (hopeless) return decision.do !== 'send';
        const untried = keys(save, ({ forward }) => forward === 'pending');
        if (decision.do === 'send') return decision.keys.join() === untried && untried !== '';
        return untried === '' || (decision.do === 'hand_over' && decision.quarantine);
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('aborts only for a definite failure, a transient failure of the first owner, or the deadline', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        if (decision.do !== 'abort') return true;
        const definite = some(save, ({ forward }) => DEFINITE.includes(forward));
        const transient = some(save, ({ forward }) => TRANSIENT.includes(forward));
        return definite || (!save.taken && transient) || (save.taken && save.pastDeadline);
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('a definite failure always aborts once every part was tried', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const tried = every(save, ({ forward }) => forward !== 'pending');
        const definite = some(save, ({ forward }) => DEFINITE.includes(forward));
        const waits = save.taken && !save.quarantined && some(save, ({ action }) => action === 'create');
        return !tried || !definite || waits || decision.do === 'abort';
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('an unknown outcome without a failure never aborts before the deadline', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const unknownOnly =
          some(save, ({ forward }) => forward === 'unknown') &&
          every(save, ({ forward }) => forward === 'unknown' || forward === 'applied');
        return !unknownOnly || (save.taken && save.pastDeadline) || decision.do === 'hand_over';
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('the reason is that of a failed part; a definite failure comes before a transient one', () => {
    const reason: Partial<Record<Forward, string>> = {
      rejected: 'VAPI_REJECTED',
      differed: 'VAPI_ANSWER_DIFFERED',
      missing: 'RESOURCE_MISSING',
      unauthorized: 'VAPI_UNAUTHORIZED',
      rate_limited: 'VAPI_RATE_LIMITED',
      unreachable: 'VAPI_UNAVAILABLE',
    };
    expect(
      violations('APPLYING', (decision, save) => {
        if (decision.do !== 'abort') return true;
        const failed =
          save.parts.find(({ forward }) => DEFINITE.includes(forward)) ??
          save.parts.find(({ forward }) => TRANSIENT.includes(forward));
        return decision.reason === (failed === undefined ? 'VAPI_UNAVAILABLE' : reason[failed.forward]);
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('reports "nothing applied" only if no owner can have applied anything', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        if (decision.do !== 'abort') return true;
        const untouched = !save.taken && every(save, ({ touched, ambiguous }) => !touched && !ambiguous);
        return decision.nothingApplied === untouched;
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('every recorded decision says whether a request may still be applied', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const ambiguous = save.taken || some(save, (part) => part.ambiguous);
        return !('ambiguous' in decision) || decision.ambiguous === ambiguous;
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('reports as missing exactly the parts that Vapi does not know', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const missing = keys(save, ({ forward, undo }) => forward === 'missing' || undo === 'missing');
        return decision.do !== 'abort' || decision.missing.join() === missing;
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('only a creation causes a quarantine', () => {
    expect(
      violations(
        'APPLYING',
        (decision, save) =>
          decision.do !== 'hand_over' ||
          !decision.quarantine ||
          some(save, ({ action }) => action === 'create'),
      ),
    ).toEqual(none(FORWARD_STATES));
  });

  test('after a takeover of a creation, nothing is sent before the quarantine ends', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const mayStillArrive =
          save.taken && !save.quarantined && some(save, ({ action }) => action === 'create');
        return !mayStillArrive || (decision.do === 'hand_over' && decision.quarantine);
      }),
    ).toEqual(none(FORWARD_STATES));
  });
});

describe('going back', () => {
  test('every state has exactly one decision, and none goes forward again', () => {
    expect(
      violations('ROLLING_BACK', ({ do: what }) =>
        ['undo', 'hand_over', 'attention', 'close'].includes(what),
      ),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('undoes exactly the parts that were touched and not yet undone, before it decides', () => {
    expect(
      violations('ROLLING_BACK', (decision, save) => {
        const untried = keys(save, ({ touched, undo }) => touched && undo === 'pending');
        return decision.do === 'undo' ? decision.keys.join() === untried : untried === '';
      }),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('closes exactly when every touched part is undone or missing', () => {
    expect(
      violations('ROLLING_BACK', (decision, save) => {
        const back = every(save, ({ touched, undo }) => !touched || undo === 'done' || undo === 'missing');
        return (decision.do === 'close') === back;
      }),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('needs attention exactly when Vapi refused an undo and nothing is left to try', () => {
    expect(
      violations('ROLLING_BACK', (decision, save) => {
        const touched = save.parts.filter((part) => part.touched);
        const refused = touched.some(({ undo }) => undo === 'refused');
        const open = touched.some(({ undo }) => ['pending', 'unknown', 'blocked'].includes(undo));
        return (decision.do === 'attention') === (refused && !open);
      }),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('hands over an undo without a new quarantine, because the same bytes are sent again', () => {
    expect(
      violations(
        'ROLLING_BACK',
        (decision) => decision.do !== 'hand_over' || (!decision.quarantine && decision.ambiguous),
      ),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('a close leaves a fence if a request may still be applied', () => {
    expect(
      violations('ROLLING_BACK', (decision, save) => {
        const ambiguous = save.taken || some(save, (part) => part.ambiguous);
        return decision.do !== 'close' || decision.ambiguous === ambiguous;
      }),
    ).toEqual(none(BACKWARD_STATES));
  });
});

/** Three parts: two in stage 0 and one in stage 1, in every combination of what they may have come to. */
function* staged(
  status: 'APPLYING' | 'ROLLING_BACK',
  last: Partial<PartProgress> = {},
): Generator<SagaProgress> {
  const forwards: Forward[] = [...FORWARD, 'lost'];
  const undos: Undo[] = status === 'ROLLING_BACK' ? UNDO : ['pending'];
  const part = (
    key: string,
    stage: number,
    forward: Forward,
    undo: Undo,
    touched: boolean,
  ): PartProgress => ({
    ...{ key, stage, pivot: false, lookOnly: false, action: 'replace', forward, undo, touched },
    ambiguous: forward === 'unknown',
  });
  for (const taken of BOTH)
    for (const pastDeadline of BOTH)
      for (const one of forwards)
        for (const two of forwards)
          for (const undoOne of undos)
            for (const undoTwo of undos)
              for (const touched of BOTH)
                yield {
                  ...{ status, taken, quarantined: true, pastDeadline, released: false },
                  parts: [
                    part('tool', 0, one, undoOne, true),
                    { ...part('agent', 1, two, undoTwo, touched), ...last },
                  ],
                };
}

describe('stages', () => {
  test('a stage is sent only once every part of the stages before it is applied', () => {
    for (const saga of staged('APPLYING')) {
      const decision = decide(saga);
      if (decision.do !== 'send' || !decision.keys.includes('agent')) continue;
      expect(saga.parts[0]?.forward).toBe('applied');
      expect(decision.keys).toEqual(['agent']);
    }
  });

  test('the next stage is sent as soon as the stages before it are applied', () => {
    let checked = 0;
    for (const saga of staged('APPLYING')) {
      const [tool, part] = saga.parts;
      if (tool?.forward !== 'applied' || part?.forward !== 'pending') continue;
      expect(decide(saga)).toEqual({ do: 'send', keys: ['agent'] });
      checked += 1;
    }
    expect(checked).toBe(8);
  });

  test('a stage is undone only once every touched part of the stages after it is undone', () => {
    for (const saga of staged('ROLLING_BACK')) {
      const decision = decide(saga);
      if (decision.do !== 'undo' || !decision.keys.includes('tool')) continue;
      const part = saga.parts[1] as PartProgress;
      expect(part.touched ? ['done', 'missing'] : ['done', 'missing', part.undo]).toContain(part.undo);
      expect(decision.keys).toEqual(['tool']);
    }
  });

  test('a refused undo leaves the stages before it as they are', () => {
    let checked = 0;
    for (const saga of staged('ROLLING_BACK')) {
      const [tool, part] = saga.parts;
      if (!part?.touched || part.undo !== 'refused' || tool?.undo !== 'pending') continue;
      expect(decide(saga).do).toBe('attention');
      checked += 1;
    }
    expect(checked).toBeGreaterThan(0);
  });
});

describe('pivots', () => {
  const PIVOT = { pivot: true, action: 'remove' } as const;

  test('nothing is undone once a pivot may have been sent', () => {
    for (const saga of staged('APPLYING', { ...PIVOT, touched: true })) {
      expect(decide(saga).do).not.toBe('abort');
    }
  });

  test('a pivot that was refused before anything reached Vapi can be turned back', () => {
    let checked = 0;
    for (const saga of staged('APPLYING', { ...PIVOT, touched: false, forward: 'rejected' })) {
      const [tool] = saga.parts;
      if (tool?.forward !== 'applied') continue;
      expect(decide(saga).do).toBe('abort');
      checked += 1;
    }
    expect(checked).toBeGreaterThan(0);
  });

  test('a person is needed where Vapi refuses a pivot that may have been sent, and never for less', () => {
    for (const saga of staged('APPLYING', { ...PIVOT, touched: true })) {
      const isRefused = saga.parts.some(({ forward }) => [...DEFINITE, 'lost'].includes(forward));
      expect(decide(saga).do === 'attention').toBe(isRefused);
    }
  });

  test('a removal of a missing resource is applied', () => {
    const [part] = [...staged('APPLYING', PIVOT)][0]?.parts.slice(1) ?? [];
    expect(afterSend(part as PartProgress, 'gone', 'DELETE')).toMatchObject({
      forward: 'applied',
      again: false,
    });
    expect(afterSend(part as PartProgress, 'unknown', 'DELETE')).toMatchObject({
      forward: 'unknown',
      again: true,
    });
  });
});

describe('a creation that only its first owner may send', () => {
  const PURCHASE = { action: 'create', lookOnly: true } as const;

  test('is not sent again after a takeover; once the quarantine is over, its owner looks for it', () => {
    for (const saga of staged('APPLYING', PURCHASE)) {
      if (!saga.taken) continue;
      expect(decide({ ...saga, quarantined: false })).toMatchObject({ do: 'hand_over', quarantine: true });
    }
  });

  test('that is not found aborts its saga, or needs attention if it is a pivot', () => {
    for (const saga of staged('APPLYING', { ...PURCHASE, forward: 'lost', touched: true })) {
      if (saga.parts[0]?.forward !== 'applied') continue;
      expect(decide(saga)).toMatchObject({ do: 'abort', reason: 'OUTCOME_UNKNOWN' });
      const purchase = saga.parts.map((part) => ({ ...part, pivot: part.stage === 1 }));
      expect(decide({ ...saga, parts: purchase })).toMatchObject({
        ...{ do: 'attention', reason: 'OUTCOME_UNKNOWN' },
      });
    }
  });
});

describe('stopping', () => {
  test('always stops after the lease was given up', () => {
    for (const status of STATUSES) {
      for (const save of progress(status === 'ROLLING_BACK' ? 'APPLYING' : status)) {
        if (decide({ ...save, status, released: true }).do !== 'stop') {
          expect.fail(JSON.stringify({ ...save, status }));
        }
      }
    }
  });

  test('always stops if the saga is closed or needs attention', () => {
    for (const status of ['COMMITTED', 'ROLLED_BACK', 'NEEDS_ATTENTION'] as const) {
      expect(violations(status, (decision) => decision.do === 'stop')).toEqual(none(FORWARD_STATES));
    }
  });
});

describe('the table of transitions', () => {
  /** Where each decision may lead. A send, an undo and a hand-over leave the status as it is. */
  const LEADS_TO: Readonly<Record<Decision['do'], readonly SagaStatus[]>> = {
    commit: ['COMMITTED'],
    abort: ['ROLLING_BACK', 'ROLLED_BACK'],
    attention: ['NEEDS_ATTENTION'],
    close: ['ROLLED_BACK'],
    ...{ look: [], announce: [], send: [], undo: [], hand_over: [], stop: [] },
  };

  test.each(['APPLYING', 'ROLLING_BACK'] as const)(
    'of %s is what its decisions can cause, no more',
    (status) => {
      const caused = new Set<SagaStatus>();
      for (const save of progress(status)) for (const next of LEADS_TO[decide(save).do]) caused.add(next);
      const pivots = staged(status, { pivot: true, touched: true });
      for (const save of pivots) for (const next of LEADS_TO[decide(save).do]) caused.add(next);
      expect([...caused].sort()).toEqual([...TRANSITIONS[status]].sort());
    },
  );

  test('only an operator ends NEEDS_ATTENTION, and a closed saga never changes', () => {
    expect([...TRANSITIONS.NEEDS_ATTENTION].sort()).toEqual(['COMMITTED', 'ROLLED_BACK']);
    expect(STATUSES.filter(isClosed)).toEqual(['COMMITTED', 'ROLLED_BACK']);
  });

  test('no transition leads back to APPLYING, or from ROLLING_BACK to COMMITTED', () => {
    expect(Object.values(TRANSITIONS).flat()).not.toContain('APPLYING');
    expect(TRANSITIONS.ROLLING_BACK).not.toContain('COMMITTED');
  });
});

test('a decision changes no state and is always the same for the same state', () => {
  const save: SagaProgress = Object.freeze({
    status: 'APPLYING',
    parts: Object.freeze(
      parts('first', ['pending']).slice(0, 2).map(Object.freeze),
    ) as unknown as PartProgress[],
    ...{ taken: false, quarantined: false, pastDeadline: false, released: false },
  });
  expect(decide(save)).toEqual(decide(save));
});

test('a creation that is answered with 404 is missing, also with recreateIfMissing, and is not sent again', () => {
  const creation: PartProgress = {
    ...{ key: 'a', stage: 0, pivot: false, lookOnly: false, action: 'create', recreate: true, gone: true },
    ...{ forward: 'pending', undo: 'pending', touched: false, ambiguous: false },
  };
  expect(afterSend(creation, 'gone', 'POST')).toMatchObject({ forward: 'missing', again: false });
});

test('a saga that was taken over is rolled back after its deadline, even if every outcome is unknown', () => {
  for (const forward of ['unknown', 'unreachable', 'rate_limited', 'unauthorized'] as const) {
    const save: SagaProgress = {
      ...{ status: 'APPLYING', taken: true, quarantined: false, pastDeadline: true, released: false },
      parts: [
        {
          ...{
            key: 'a',
            stage: 0,
            pivot: false,
            lookOnly: false,
            action: 'replace',
            recreate: false,
            forward,
            undo: 'pending',
            touched: true,
            ambiguous: true,
          },
        },
      ],
    };
    expect(decide(save)).toMatchObject({ do: 'abort', ambiguous: true, nothingApplied: false });
    expect(decide({ ...save, pastDeadline: false })).toMatchObject({ do: 'hand_over' });
  }
});

describe('what a rollback reports as missing', () => {
  const part = (key: string, over: Partial<PartProgress>): PartProgress => ({
    ...{ key, stage: 0, pivot: false, lookOnly: false, action: 'replace' },
    ...{ forward: 'applied', undo: 'pending', touched: false, ambiguous: false },
    ...over,
  });
  const owner = { taken: false, quarantined: false, pastDeadline: false, released: false };

  test('reports the part that was not found, and the part that was deleted and could not be created again', () => {
    const parts = [
      part('unfound', { forward: 'missing' }),
      part('deleted', { action: 'create', gone: true, forward: 'rejected' }),
      part('other', { forward: 'rejected' }),
    ];
    expect(decide({ status: 'APPLYING', parts, ...owner })).toMatchObject({
      ...{ do: 'abort', missing: ['unfound', 'deleted'] },
    });
  });

  test('reports the part whose resource the undo found deleted', () => {
    const parts = [
      part('deleted', { touched: true, undo: 'missing' }),
      part('restored', { touched: true, undo: 'done' }),
    ];
    expect(decide({ status: 'ROLLING_BACK', parts, ...owner })).toMatchObject({
      ...{ do: 'close', missing: ['deleted'] },
    });
  });
});

test('releases a creation without an answer to a quarantine, because a look before that could miss it', () => {
  const creation: PartProgress = {
    ...{ key: 'a', stage: 0, pivot: false, lookOnly: false, action: 'create' },
    ...{ forward: 'unknown', undo: 'pending', touched: true, ambiguous: true },
  };
  const owner = { taken: false, quarantined: false, pastDeadline: false, released: false };
  expect(decide({ status: 'APPLYING', parts: [creation], ...owner })).toEqual({
    ...{ do: 'hand_over', ambiguous: true, quarantine: true },
  });
});

import { describe, expect, test } from 'vitest';
import type { SaveStatus } from '../../domain/agents/save.ts';
import {
  type AgentProgress,
  type Answer,
  afterSend,
  afterUndo,
  type Decision,
  decide,
  type Forward,
  isClosed,
  type SaveProgress,
  TRANSITIONS,
  type Undo,
} from './protocol.ts';

/** `decide` is asked about every state that there is, for one agent and for two; nothing is sampled. */

const FORWARD: Forward[] = [
  ...(['pending', 'applied', 'differed', 'rejected', 'missing'] as const),
  ...(['unauthorized', 'rate_limited', 'unreachable', 'unknown'] as const),
];
const UNDO: Undo[] = ['pending', 'done', 'missing', 'refused', 'blocked', 'unknown'];
const BOTH = [false, true];
const STATUSES = Object.keys(TRANSITIONS) as SaveStatus[];

function agents(role: 'INBOUND' | 'OUTBOUND', undos: Undo[]): AgentProgress[] {
  const all: AgentProgress[] = [];
  for (const creates of BOTH)
    for (const touched of BOTH)
      for (const ambiguous of BOTH)
        for (const forward of FORWARD)
          for (const undo of undos) all.push({ role, creates, forward, undo, touched, ambiguous });
  return all;
}

/** Every progress in a status. Going forward nothing has been undone yet, so `undo` varies only on the way back. */
function* progress(status: SaveStatus): Generator<SaveProgress> {
  const undos: Undo[] = status === 'ROLLING_BACK' ? UNDO : ['pending'];
  const [inbound, outbound] = [agents('INBOUND', undos), agents('OUTBOUND', undos)];
  for (const taken of BOTH)
    for (const quarantined of BOTH)
      for (const pastDeadline of BOTH) {
        const save = { status, taken, quarantined, pastDeadline, released: false };
        for (const one of inbound) {
          yield { ...save, agents: [one] };
          for (const other of outbound) yield { ...save, agents: [one, other] };
        }
      }
}

/** States in which something does not hold; the first few are shown. `checked` guards against an empty loop. */
function violations(
  status: SaveStatus,
  holds: (decision: Decision, save: SaveProgress) => boolean,
): { checked: number; violations: [Decision, SaveProgress][] } {
  const found: [Decision, SaveProgress][] = [];
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

const some = (save: SaveProgress, test: (agent: AgentProgress) => boolean) => save.agents.some(test);
const every = (save: SaveProgress, test: (agent: AgentProgress) => boolean) => save.agents.every(test);
const roles = (save: SaveProgress, test: (agent: AgentProgress) => boolean) =>
  save.agents
    .filter(test)
    .map(({ role }) => role)
    .join();

const DEFINITE: Forward[] = ['differed', 'rejected', 'missing'];
const TRANSIENT: Forward[] = ['unauthorized', 'rate_limited', 'unreachable'];

/** Every agent, before an answer comes. */
const SENDERS = agents('INBOUND', UNDO);

describe('what one answer means, going forward', () => {
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
    // A second POST could make a second assistant.
    ['unknown', 'POST', 'unknown', { again: false }],
  ];

  test.each(CASES)('%s to a %s: %s, %o', (answer, request, forward, again) => {
    for (const agent of SENDERS) {
      const after = afterSend(agent, answer, request);
      // Not done this time; what an earlier attempt did is as unknown as before.
      const stillUnknown = agent.ambiguous && (answer === 'rate_limited' || answer === 'not_sent');
      expect(after).toEqual({
        forward: stillUnknown ? 'unknown' : forward,
        touched: agent.touched || ['matches', 'differs', 'unknown'].includes(answer),
        ambiguous: agent.ambiguous || answer === 'unknown',
        ...again,
      });
    }
  });
});

describe('what one answer means, undoing', () => {
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
    for (const agent of SENDERS) {
      expect(afterUndo(agent, answer, request)).toEqual({
        undo: undo === 'as before' ? agent.undo : undo,
        ambiguous: agent.ambiguous || answer === 'unknown',
        again,
      });
    }
  });
});

describe('going forward', () => {
  test('one of four things, always', () => {
    expect(
      violations('APPLYING', ({ do: what }) => ['send', 'commit', 'abort', 'hand_over'].includes(what)),
    ).toEqual(none(FORWARD_STATES));
  });

  test('commits only where Vapi answered every agent with what was sent', () => {
    expect(
      violations(
        'APPLYING',
        (decision, save) => decision.do !== 'commit' || every(save, ({ forward }) => forward === 'applied'),
      ),
    ).toEqual(none(FORWARD_STATES));
  });

  test('commits wherever it may, but for a creation whose earlier POST may still be on its way', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const mayStillArrive = save.taken && !save.quarantined && some(save, ({ creates }) => creates);
        const applied = every(save, ({ forward }) => forward === 'applied');
        return !applied || decision.do === (mayStillArrive ? 'hand_over' : 'commit');
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('sends to exactly those that were not tried, before any verdict but a hopeless one', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const hopeless = some(save, ({ forward }) => ['rejected', 'differed', 'missing'].includes(forward));
        if (hopeless) return decision.do !== 'send';
        const untried = roles(save, ({ forward }) => forward === 'pending');
        if (decision.do === 'send') return decision.roles.join() === untried && untried !== '';
        return untried === '' || (decision.do === 'hand_over' && decision.quarantine);
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('aborts only for a reason: a definite failure, a transient one of the first owner, or the deadline', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        if (decision.do !== 'abort') return true;
        const definite = some(save, ({ forward }) => DEFINITE.includes(forward));
        const transient = some(save, ({ forward }) => TRANSIENT.includes(forward));
        return definite || (!save.taken && transient) || (save.taken && save.pastDeadline);
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('a definite failure always aborts once everybody was tried', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const tried = every(save, ({ forward }) => forward !== 'pending');
        const definite = some(save, ({ forward }) => DEFINITE.includes(forward));
        const waits = save.taken && !save.quarantined && some(save, ({ creates }) => creates);
        return !tried || !definite || waits || decision.do === 'abort';
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('an unknown outcome without any failure never aborts before the deadline', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const unknownOnly =
          some(save, ({ forward }) => forward === 'unknown') &&
          every(save, ({ forward }) => forward === 'unknown' || forward === 'applied');
        return !unknownOnly || (save.taken && save.pastDeadline) || decision.do === 'hand_over';
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test("the reason is a failed agent's own, a definite one before a transient one", () => {
    const reason: Partial<Record<Forward, string>> = {
      rejected: 'VAPI_REJECTED',
      differed: 'VAPI_ANSWER_DIFFERED',
      missing: 'ASSISTANT_MISSING',
      unauthorized: 'VAPI_UNAUTHORIZED',
      rate_limited: 'VAPI_RATE_LIMITED',
      unreachable: 'VAPI_UNAVAILABLE',
    };
    expect(
      violations('APPLYING', (decision, save) => {
        if (decision.do !== 'abort') return true;
        const failed =
          save.agents.find(({ forward }) => DEFINITE.includes(forward)) ??
          save.agents.find(({ forward }) => TRANSIENT.includes(forward));
        return decision.reason === (failed === undefined ? 'VAPI_UNAVAILABLE' : reason[failed.forward]);
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('"nothing applied" is said only where nothing can have been, by anybody', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        if (decision.do !== 'abort') return true;
        const untouched = !save.taken && every(save, ({ touched, ambiguous }) => !touched && !ambiguous);
        return decision.nothingApplied === untouched;
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('every decision that is recorded says whether something may still arrive', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const ambiguous = save.taken || some(save, (agent) => agent.ambiguous);
        return !('ambiguous' in decision) || decision.ambiguous === ambiguous;
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('names as missing exactly the agents that Vapi does not know', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const missing = roles(save, ({ forward, undo }) => forward === 'missing' || undo === 'missing');
        return decision.do !== 'abort' || decision.missing.join() === missing;
      }),
    ).toEqual(none(FORWARD_STATES));
  });

  test('a quarantine is for creations alone', () => {
    expect(
      violations(
        'APPLYING',
        (decision, save) =>
          decision.do !== 'hand_over' || !decision.quarantine || some(save, ({ creates }) => creates),
      ),
    ).toEqual(none(FORWARD_STATES));
  });

  test('whoever takes a creation over waits for its quarantine before anything is sent', () => {
    expect(
      violations('APPLYING', (decision, save) => {
        const mayStillArrive = save.taken && !save.quarantined && some(save, ({ creates }) => creates);
        return !mayStillArrive || (decision.do === 'hand_over' && decision.quarantine);
      }),
    ).toEqual(none(FORWARD_STATES));
  });
});

describe('going back', () => {
  test('one of four things, and never forward again', () => {
    expect(
      violations('ROLLING_BACK', ({ do: what }) =>
        ['undo', 'hand_over', 'attention', 'close'].includes(what),
      ),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('undoes exactly what was touched and not yet tried, before any verdict', () => {
    expect(
      violations('ROLLING_BACK', (decision, save) => {
        const untried = roles(save, ({ touched, undo }) => touched && undo === 'pending');
        return decision.do === 'undo' ? decision.roles.join() === untried : untried === '';
      }),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('closes exactly where everything that was touched is back, or gone', () => {
    expect(
      violations('ROLLING_BACK', (decision, save) => {
        const back = every(save, ({ touched, undo }) => !touched || undo === 'done' || undo === 'missing');
        return (decision.do === 'close') === back;
      }),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('calls a person exactly where Vapi refused, and nothing is left to try', () => {
    expect(
      violations('ROLLING_BACK', (decision, save) => {
        const touched = save.agents.filter((agent) => agent.touched);
        const refused = touched.some(({ undo }) => undo === 'refused');
        const open = touched.some(({ undo }) => ['pending', 'unknown', 'blocked'].includes(undo));
        return (decision.do === 'attention') === (refused && !open);
      }),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('hands over without a quarantine of its own: an undo is the same bytes again', () => {
    expect(
      violations(
        'ROLLING_BACK',
        (decision) => decision.do !== 'hand_over' || (!decision.quarantine && decision.ambiguous),
      ),
    ).toEqual(none(BACKWARD_STATES));
  });

  test('a close after anything that may still arrive leaves a fence', () => {
    expect(
      violations('ROLLING_BACK', (decision, save) => {
        const ambiguous = save.taken || some(save, (agent) => agent.ambiguous);
        return decision.do !== 'close' || decision.ambiguous === ambiguous;
      }),
    ).toEqual(none(BACKWARD_STATES));
  });
});

describe('stopping', () => {
  test('always where the lease is given up, whatever else is known', () => {
    for (const status of STATUSES) {
      for (const save of progress(status === 'ROLLING_BACK' ? 'APPLYING' : status)) {
        if (decide({ ...save, status, released: true }).do !== 'stop') {
          expect.fail(JSON.stringify({ ...save, status }));
        }
      }
    }
  });

  test('always where the save is over, or in the hands of a person', () => {
    for (const status of ['COMMITTED', 'ROLLED_BACK', 'NEEDS_ATTENTION'] as const) {
      expect(violations(status, (decision) => decision.do === 'stop')).toEqual(none(FORWARD_STATES));
    }
  });
});

describe('the table of transitions', () => {
  /** Where each decision may lead. A send, an undo and a hand-over leave the status as it is. */
  const LEADS_TO: Readonly<Record<Decision['do'], readonly SaveStatus[]>> = {
    commit: ['COMMITTED'],
    abort: ['ROLLING_BACK', 'ROLLED_BACK'],
    attention: ['NEEDS_ATTENTION'],
    close: ['ROLLED_BACK'],
    ...{ look: [], send: [], undo: [], hand_over: [], stop: [] },
  };

  test.each([
    ['APPLYING', ['NEEDS_ATTENTION']],
    ['ROLLING_BACK', []],
  ] as [SaveStatus, SaveStatus[]][])(
    'of %s is what its decisions can cause, and what only an operator does: %o',
    (status, byOperator) => {
      const caused = new Set<SaveStatus>();
      for (const save of progress(status)) for (const next of LEADS_TO[decide(save).do]) caused.add(next);
      expect([...caused, ...byOperator].sort()).toEqual([...TRANSITIONS[status]].sort());
    },
  );

  test('a person alone ends NEEDS_ATTENTION; what is closed stays closed', () => {
    expect([...TRANSITIONS.NEEDS_ATTENTION].sort()).toEqual(['COMMITTED', 'ROLLED_BACK']);
    expect(STATUSES.filter(isClosed)).toEqual(['COMMITTED', 'ROLLED_BACK']);
  });

  test('the direction changes once: nothing leads back to APPLYING, nor from going back to COMMITTED', () => {
    expect(Object.values(TRANSITIONS).flat()).not.toContain('APPLYING');
    expect(TRANSITIONS.ROLLING_BACK).not.toContain('COMMITTED');
  });
});

test('deciding changes nothing: the same state, frozen, gets the same answer', () => {
  const save: SaveProgress = Object.freeze({
    status: 'APPLYING',
    agents: Object.freeze(
      agents('INBOUND', ['pending']).slice(0, 2).map(Object.freeze),
    ) as unknown as AgentProgress[],
    ...{ taken: false, quarantined: false, pastDeadline: false, released: false },
  });
  expect(decide(save)).toEqual(decide(save));
});

/** Scripts of calls from a seed, for simulations: the same seed gives the same calls. */
import type { CallScriptInput } from './call-script.ts';

type Fault = NonNullable<CallScriptInput['faults']>[number];
type Step = NonNullable<CallScriptInput['steps']>[number];

export interface GeneratorOptions {
  /** In [0, 1), from a seed. */
  readonly random: () => number;
  /** What can be called: numbers, or assistants without one. */
  readonly callees: readonly { readonly phoneNumberId?: string; readonly assistantId?: string }[];
  /** How many callers there are. They have numbers of the exchange that is never assigned. */
  readonly callers?: number;
  /** The probability of each fault, 0 to 1. All kinds can strike at once. */
  readonly faults?: number;
  /** The longest delay of a message. */
  readonly lateMs?: number;
  /** How long a line takes. */
  readonly stepMs?: number;
}

const NAMES = ['Ana Ruiz', 'Bo Chen', 'Cleo Adams', 'Dov Levy', 'Eve Okoro'];
const EVENTS = [
  ...(['status-update:ringing', 'status-update:in-progress', 'status-update:ended'] as const),
  'end-of-call-report' as const,
];
/** A free time in the answer of `check_availability`. */
const DATE = String.raw`(\d{4}-\d\d-\d\d) at \d\d:\d\d`;
const TIME = String.raw`\d{4}-\d\d-\d\d at (\d\d:\d\d)`;

/** The arguments of a tool that make it take the nth of the free times that an answer named. */
function freeTime(nth = 0): { date: Found; time: Found } {
  return { date: { $answer: DATE, nth }, time: { $answer: TIME, nth } };
}
type Found = { $answer: string; nth: number };

/** A call that asks for free times and books one of them. */
export function bookingSteps(name: string, nth = 0): Step[] {
  return [
    { bot: '{firstMessage}' },
    { user: 'Hello, I would like to make an appointment. When do you have time?' },
    { tool: 'check_availability' },
    {
      bot: 'I can offer you {date} at {time}. Does that suit you?',
      fill: freeTime(nth),
      otherwise: 'I am sorry, I cannot find a free time at the moment.',
    },
    { user: `Yes, please. My name is ${name}.`, fill: freeTime(nth), otherwise: 'Then I will call again.' },
    { tool: 'book_appointment', arguments: { ...freeTime(nth), name } },
    { bot: '{answer}' },
    { user: 'Thank you. Goodbye.' },
  ];
}

/** The next script. Call it again and again with the same `random`. */
export function randomCallScript(options: GeneratorOptions): CallScriptInput {
  const { random, callees, callers = 20, faults = 0.1, lateMs = 600_000, stepMs = 2_000 } = options;
  const chance = (probability: number) => random() < probability;
  const int = (min: number, max: number) => min + Math.floor(random() * (max - min + 1));
  const pick = <T>(values: readonly T[]): T => {
    const value = values[int(0, values.length - 1)];
    if (value === undefined) throw new Error('nothing to choose from');
    return value;
  };
  const name = pick(NAMES);
  const nth = int(0, 5);
  const again = () => pick(['never', 'if-unanswered', 'always'] as const);
  const change: Step[] = [
    { tool: 'reschedule_appointment', arguments: renamed(freeTime(int(0, 5))), again: again() },
    { bot: '{answer}' },
  ];
  const cancel: Step[] = [{ tool: 'cancel_appointment', arguments: {}, again: again() }, { bot: '{answer}' }];
  const steps: Step[] = chance(0.6)
    ? [...bookingSteps(name, nth), ...(chance(0.3) ? change : []), ...(chance(0.2) ? cancel : [])]
    : [
        { bot: '{firstMessage}' },
        ...(chance(0.9) ? [{ user: `This is ${name}.` }, { bot: 'Goodbye.' }] : []),
      ];

  const struck: Fault[] = [];
  const may = (make: () => Fault) => {
    if (chance(faults)) struck.push(make());
  };
  may(() => ({ kind: 'lost', event: pick([...EVENTS, 'tool-calls', '*'] as const) }));
  may(() => ({ kind: 'duplicated', event: pick(EVENTS), copies: int(2, 4), apartMs: int(0, lateMs) }));
  may(() => ({ kind: 'duplicated', event: 'tool-calls', copies: int(2, 3) }));
  may(() => ({ kind: 'late', event: pick([...EVENTS, '*'] as const), ms: int(1, lateMs) }));
  may(() => ({ kind: 'order', order: pick(['report-first', 'reversed'] as const) }));
  may(() => ({ kind: 'unknown-kind' }));
  may(() => ({ kind: 'unknown-call', callId: uuid(random) }));
  may(() => ({ kind: 'large', bytes: int(1, 5) * 1_000_000 }));
  may(() => ({
    kind: 'tool-call-shape',
    shape: pick(['object-arguments', 'flat', 'flat-parameters'] as const),
  }));
  may(() => ({ kind: 'ended-reason', at: pick(['message', 'call'] as const) }));
  may(() => ({ kind: 'missing', fields: [pick(['startedAt', 'analysis', 'cost', 'customer'] as const)] }));
  may(() =>
    chance(0.5)
      ? { kind: 'late-fields', fields: [pick(['analysis', 'cost'] as const)], ms: int(0, lateMs) }
      : { kind: 'second-report', ms: int(0, lateMs) },
  );

  const caller = `+1415555${String(100 + int(0, callers - 1)).padStart(4, '0')}`;
  return {
    ...pick(callees),
    customer: chance(0.05) ? null : { number: caller, ...(chance(0.5) ? { name } : {}) },
    steps,
    outcome: chance(0.9) ? 'answered' : pick(['not-answered', 'busy', 'failed'] as const),
    ...(chance(0.2)
      ? { endedReason: pick(['assistant-ended-call', 'silence-timed-out', 'a-reason-of-tomorrow']) }
      : {}),
    ...(chance(0.3) ? { cost: int(0, 20_000) / 10_000 } : {}),
    ...(chance(0.1) ? { analysis: null } : {}),
    ...{ ringMs: int(0, 20) * 1_000, stepMs, reportMs: int(0, 30) * 1_000 },
    faults: struck,
  };
}

const renamed = ({ date, time }: ReturnType<typeof freeTime>) => ({ new_date: date, new_time: time });

function uuid(random: () => number): string {
  const hex = Array.from({ length: 32 }, () => Math.floor(random() * 16).toString(16)).join('');
  const [a, b, c, d] = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(13, 16), hex.slice(17, 20)];
  return `${a}-${b}-4${c}-8${d}-${hex.slice(20)}`;
}

import { createHash } from 'node:crypto';
import type { AppointmentRecord } from '../../domain/appointments/appointment.ts';
import type { BookingRules } from '../../domain/appointments/booking-rules.ts';
import { APPOINTMENT_LIMITS } from '../../domain/appointments/input.ts';
import {
  bookableNear,
  bookableOf,
  dayOf,
  firstAt,
  instantsOf,
  problemOf,
  timeOf,
} from '../../domain/appointments/slots.ts';
import {
  identifyingNumber,
  readArguments,
  readDay,
  readText,
  readTime,
} from '../../domain/appointments/tool-arguments.ts';
import { APPOINTMENT_TOOLS } from '../../domain/appointments/tools.ts';
import { canonicalJson, type JsonObject } from '../../domain/json.ts';
import type {
  AppointmentChange,
  AppointmentStore,
  ToolCallContext,
  ToolCallRef,
  WantedStart,
} from '../../ports/appointments/appointment-store.ts';
import { DatabaseError } from '../../ports/database.ts';
import type { Clock, Ids, Log } from '../../ports/system.ts';
import type { Counted, Meter } from '../../ports/telemetry.ts';
import { type BookingBasis, basisOf, isoOf, wanted } from './wanted.ts';
import { listed, matches, type Named, named, pick, saidNamed, type Which } from './which.ts';
import { oneLine, said, saidAll, saidDay, saidProblem, saidTime } from './words.ts';

export interface ToolCallPorts {
  store: AppointmentStore;
  clock: Clock;
  ids: Ids;
  log: Log;
  meter: Meter;
}

/** The call in which a tool is called, from the event that Vapi has signed. Nothing of it comes from the model. */
export interface CallerOfTool {
  orgId: string;
  /** Our id. */
  callId: string;
  callerNumber: string | null;
}

export interface ToolCall {
  id: string;
  name: string;
  /** As the model wrote them: an object, or JSON text, or anything. */
  arguments: unknown;
}

const MAX_NOTES = 1_000;
const ATTEMPTS = 3;
/** Vapi waits 20 seconds. A request to the database takes 5 at most, and a tool call needs two. */
const REPEAT_WITHIN_MS = 5_000;
const FREE_TIMES = 6;
const FREE_TIMES_OF_DAY = 24;

const NOTHING_DONE = 'Nothing was changed.';

/** What became of a tool call, for the log and the metrics. */
interface Ended {
  outcome: string;
  counted: Counted;
  text: string;
}

/**
 * Answers a tool call of an agent that takes appointments. Never throws for anything that a model can send, nor for a database that
 * does not answer. What the answer says is committed before it is returned.
 */
export async function answerToolCall(
  ports: ToolCallPorts,
  call: CallerOfTool,
  toolCall: ToolCall,
): Promise<string> {
  const { clock, log, meter } = ports;
  const from = clock.monotonic();
  const tool = APPOINTMENT_TOOLS.find(({ name }) => name === toolCall.name)?.name ?? 'unknown';
  const about = { orgId: call.orgId, callId: call.callId, tool };
  let ended: Ended;
  try {
    ended = await answered(ports, call, toolCall, from);
  } catch (error) {
    // The same tool call, and also the same wish under another id, finds what was booked.
    const text =
      'The calendar did not answer, so it is not certain what happened. Call the tool again with the same arguments.';
    ended = { outcome: 'error', counted: 'appointment.failed', text };
    if (error instanceof DatabaseError)
      log.warn({ ...about, code: error.code }, 'a tool call met a database that did not answer');
    else log.error({ ...about, err: error }, 'a tool call failed');
  }
  meter.count(ended.counted);
  const ms = Math.round(clock.monotonic() - from);
  log.info(
    { event: ended.counted, door: 'call', ...about, outcome: ended.outcome, ms },
    'tool call answered',
  );
  return oneLine(ended.text);
}

function answered(
  ports: ToolCallPorts,
  call: CallerOfTool,
  { id, name, arguments: raw }: ToolCall,
  from: number,
): Promise<Ended> | Ended {
  const ask = ANSWERS.get(name);
  if (ask === undefined) return malformed('There is no such tool.');
  const given = readArguments(raw);
  if (given === null) return malformed('The arguments must be an object.');
  return ask(new ToolCallAnswer(ports, call, { id, name, given }, from));
}

function malformed(text: string): Ended {
  return { outcome: 'malformed', counted: 'appointment.refused', text: `${NOTHING_DONE} ${text}` };
}

/** The time that is asked for. */
interface Wish {
  day: string;
  time: string;
  occurrence: 'first' | 'second' | undefined;
}

type Request = AppointmentChange | { action: 'NOTE'; answer: JsonObject };

class ToolCallAnswer {
  readonly name: string;
  readonly #ports: ToolCallPorts;
  readonly #ref: ToolCallRef;
  readonly #given: JsonObject;
  readonly #from: number;

  constructor(
    ports: ToolCallPorts,
    { orgId, callId, callerNumber }: CallerOfTool,
    { id, name, given }: { id: string; name: string; given: JsonObject },
    from: number,
  ) {
    this.name = name;
    this.#ports = ports;
    this.#from = from;
    this.#given = given;
    this.#ref = {
      ...{ orgId, callId, function: name, callerNumber: identifyingNumber(callerNumber) },
      key: createHash('sha256')
        .update(canonicalJson([id, name, given]))
        .digest('hex'),
    };
  }

  async check(): Promise<Ended> {
    const day = readDay(this.#given['date']);
    const time = readTime(this.#given['time']);
    if (day === null) return malformed(DATE);
    if (time === null) return malformed(TIME);
    const stored = await this.#again(() => this.#ports.store.rules(this.#ref.orgId));
    if (stored === null) throw new Error('the organization of a call does not exist');
    const { rules, now } = basisOf(stored);
    const { timeZone } = rules;
    const today = dayOf(now, timeZone);
    const free = async (starts: number[], limit: number) => {
      const found = await this.#again(() =>
        this.#ports.store.freeSlots(this.#ref.orgId, starts.map(isoOf), limit),
      );
      return found.map((one) => Date.parse(one));
    };
    const asked = (text: string): Ended => ({
      ...{ outcome: 'asked', counted: 'appointment.asked' },
      text: `Today is ${saidDay(today)}, it is ${timeOf(now, timeZone)} (${timeZone}). ${text}`,
    });
    if (day !== undefined && day < today) return asked(`${day} is over. Ask for another day.`);
    if (day !== undefined && time === undefined) {
      const starts = await free(bookableOf(rules, day, now), FREE_TIMES_OF_DAY);
      if (starts.length > 0) {
        return asked(`Free on ${saidDay(day)}: ${starts.map((one) => saidTime(one, timeZone)).join(', ')}.`);
      }
    }
    const wish =
      day === undefined && time === undefined ? now : firstAt(day ?? today, time ?? '00:00', timeZone);
    const starts = await free(bookableNear(rules, wish, now), FREE_TIMES);
    const none = day !== undefined && time === undefined ? `Nothing is free on ${saidDay(day)}. ` : '';
    return asked(
      starts.length > 0
        ? `${none}Free times${day === undefined ? '' : ' near it'}: ${saidAll(starts, timeZone)}.`
        : `${none}Nothing is free in the next weeks.`,
    );
  }

  book(): Promise<Ended> | Ended {
    const given = this.#given;
    const wish = wishOf(given, 'date', 'time');
    if ('problem' in wish) return malformed(wish.problem);
    const customerName = readText(given['name'], APPOINTMENT_LIMITS.name);
    if (!customerName) return malformed("Ask for the customer's name, and pass it as name.");
    const notes = readText(given['notes'], MAX_NOTES) ?? null;
    const appointmentId = this.#ports.ids.uuid();
    const { callerNumber } = this.#ref;
    return this.#make(wish, (context) =>
      this.#at(context, wish, (start) => ({
        ...{ action: 'BOOK', appointmentId, customerName, customerNumber: callerNumber, notes, ...start },
      })),
    );
  }

  reschedule(): Promise<Ended> | Ended {
    const given = this.#given;
    const wish = wishOf(given, 'new_date', 'new_time');
    if ('problem' in wish) return malformed(wish.problem);
    const which = whichOf(given);
    if ('problem' in which) return malformed(which.problem);
    return this.#make(wish, (context) => {
      const { timeZone } = context.rules;
      const target = instantsOf(wish.day, wish.time, timeZone);
      // Moved there already in this call: the model asks again if it got no answer.
      const moved = this.#madeBefore(context).find(
        ({ appointment, before }) =>
          target.includes(Date.parse(appointment.startsAt)) &&
          context.appointments.some(
            ({ id, startsAt }) => id === appointment.id && startsAt === appointment.startsAt,
          ) &&
          (matches(appointment, which, timeZone) ||
            (before !== null && matches({ ...appointment, startsAt: before }, which, timeZone))),
      );
      const found = moved?.appointment ?? pick(context.appointments, which, timeZone);
      if ('refusal' in found) return { action: 'NOTE', answer: found.refusal };
      const { id: appointmentId, startsAt: expectedStartsAt } = found;
      return this.#at(context, wish, (start) => ({
        ...{ action: 'RESCHEDULE', appointmentId, expectedStartsAt, ...start },
      }));
    });
  }

  cancel(): Promise<Ended> | Ended {
    const which = whichOf(this.#given);
    if ('problem' in which) return malformed(which.problem);
    return this.#make(null, (context) => {
      const { timeZone } = context.rules;
      const cancelled = this.#madeBefore(context).find(({ appointment }) =>
        matches(appointment, which, timeZone),
      );
      const isUnspecific = Object.values(which).every((one) => one === undefined);
      const found = pick(context.appointments, which, timeZone);
      if (cancelled !== undefined) {
        // The model asks again if it got no answer. That must not cancel another appointment.
        const others = context.appointments.filter((one) => matches(one, which, timeZone));
        if (others.length === 0) return { action: 'CANCEL', appointmentId: cancelled.appointment.id };
        if (isUnspecific) {
          const [done] = named([cancelled.appointment]);
          return {
            action: 'NOTE',
            answer: { outcome: 'WHICH', appointments: named(others), done: done ?? null },
          };
        }
      }
      if ('refusal' in found) return { action: 'NOTE', answer: found.refusal };
      return { action: 'CANCEL', appointmentId: found.id };
    });
  }

  #madeBefore(context: ToolCallContext): ToolCallContext['made'] {
    return context.made.filter((made) => made.function === this.name);
  }

  /** The request for the time of a wish. */
  #at(context: ToolCallContext, wish: Wish, request: (start: WantedStart) => Request): Request {
    const basis: BookingBasis = basisOf(context);
    const { rules, now } = basis;
    const instants = instantsOf(wish.day, wish.time, rules.timeZone);
    const [first, second] = instants;
    if (first === undefined) {
      const near = bookableNear(rules, firstAt(wish.day, wish.time, rules.timeZone), now);
      return request({
        ...{ startsAt: null, rulesRevision: rules.revision, problem: 'SKIPPED' },
        alternatives: near.map(isoOf),
      });
    }
    const canBe = instants.filter((one) => problemOf(rules, one, now) === null);
    if (second !== undefined && wish.occurrence === undefined && canBe.length > 0) {
      return { action: 'NOTE', answer: { outcome: 'TWICE' } };
    }
    return request(wanted(basis, second !== undefined && wish.occurrence === 'second' ? second : first));
  }

  async #make(wish: Wish | null, requestBy: (context: ToolCallContext) => Request): Promise<Ended> {
    const { store } = this.#ports;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const context = await this.#again(() => store.context(this.#ref));
      if (context === null) throw new Error('the organization of a call does not exist');
      const answer = context.answer ?? (await this.#again(() => store.answer(this.#ref, requestBy(context))));
      // Something has changed since: compute it again.
      if (answer['outcome'] === 'RULES_CHANGED' || answer['outcome'] === 'MOVED') continue;
      return { ...this.#said(answer, wish, context), outcome: String(answer['outcome']).toLowerCase() };
    }
    throw new DatabaseError('CHANGES_MEANWHILE', false);
  }

  /** Once more if the database did not answer and there is time: every request here may be repeated. */
  async #again<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      const elapsed = this.#ports.clock.monotonic() - this.#from;
      if (!(error instanceof DatabaseError) || elapsed > REPEAT_WITHIN_MS) throw error;
      await this.#ports.clock.sleep(100);
      return ask();
    }
  }

  #said(answer: JsonObject, wish: Wish | null, { rules }: ToolCallContext): Omit<Ended, 'outcome'> {
    const { timeZone } = rules;
    const asked = wish === null ? '' : `${saidDay(wish.day)} at ${wish.time}`;
    const refused = (text: string) => ({
      counted: 'appointment.refused' as const,
      text: `${NOTHING_DONE} ${text}`,
    });
    switch (answer['outcome']) {
      case 'DONE':
        return this.#done(answer, rules);
      case 'UNAVAILABLE': {
        const free = (answer['alternatives'] as string[]).map((one) => Date.parse(one));
        return refused(
          `${asked} ${saidProblem(String(answer['problem']), rules)}. ` +
            (free.length > 0
              ? `Offer one of these free times: ${saidAll(free, timeZone)}.`
              : 'No time near it is free.'),
        );
      }
      case 'TWICE':
        return refused(
          `${asked} exists twice, because the clocks go back in that night. Ask which one is meant, and call the tool again with which set to first or second.`,
        );
      case 'WHICH': {
        const done = answer['done'] as unknown as Named | null | undefined;
        return refused(
          `${done ? `${saidNamed(done, timeZone)} is cancelled already. ` : ''}The caller has these appointments: ${listed(answer, timeZone)}. ` +
            'Ask which one is meant, and call the tool again with its date, time and name.',
        );
      }
      case 'NONE': {
        const others = listed(answer, timeZone);
        return refused(
          'No such appointment was found. ' +
            (others === ''
              ? 'Only what was booked in this call or from the number that is calling can be changed.'
              : `The caller has: ${others}.`),
        );
      }
      case 'NO_APPOINTMENT':
      case 'NOT_ACTIVE':
        return refused('The appointment cannot be changed any more.');
      default:
        throw new Error(`a tool call cannot be answered with ${String(answer['outcome'])}`);
    }
  }

  #done(answer: JsonObject, { timeZone }: BookingRules): Omit<Ended, 'outcome'> {
    const { customerName, startsAt, endsAt } = answer['appointment'] as unknown as AppointmentRecord;
    const start = Date.parse(startsAt);
    const what = `${customerName}, ${said(start, timeZone)}, until ${saidTime(Date.parse(endsAt), timeZone)} (${timeZone})`;
    switch (this.name) {
      case 'book_appointment':
        return { counted: 'appointment.booked', text: `Booked: ${what}.` };
      case 'reschedule_appointment':
        return { counted: 'appointment.rescheduled', text: `Moved: ${what}.` };
      default:
        return { counted: 'appointment.cancelled', text: `Cancelled: ${what}.` };
    }
  }
}

const ANSWERS: ReadonlyMap<string, (answer: ToolCallAnswer) => Promise<Ended> | Ended> = new Map([
  ['check_availability', (answer: ToolCallAnswer) => answer.check()],
  ['book_appointment', (answer) => answer.book()],
  ['reschedule_appointment', (answer) => answer.reschedule()],
  ['cancel_appointment', (answer) => answer.cancel()],
]);

const DATE = 'Give the date as YYYY-MM-DD.';
const TIME = 'Give the time as HH:MM on the 24-hour clock.';

function wishOf(given: JsonObject, dateName: string, timeName: string): Wish | { problem: string } {
  const day = readDay(given[dateName]);
  const time = readTime(given[timeName]);
  if (!day) return { problem: `${DATE} It belongs into ${dateName}.` };
  if (!time) return { problem: `${TIME} It belongs into ${timeName}.` };
  const which = given['which'];
  return { day, time, occurrence: which === 'first' || which === 'second' ? which : undefined };
}

function whichOf(given: JsonObject): Which | { problem: string } {
  const day = readDay(given['date']);
  const time = readTime(given['time']);
  const name = readText(given['name'], APPOINTMENT_LIMITS.name);
  if (day === null) return { problem: `${DATE} It says which appointment is meant.` };
  if (time === null) return { problem: `${TIME} It says which appointment is meant.` };
  if (name === null) return { problem: 'Give the name as text. It says which appointment is meant.' };
  return { day, time, name };
}

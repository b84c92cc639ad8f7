import type { AppointmentRecord } from '../../domain/appointments/appointment.ts';
import {
  type BookingRules,
  type BookingRulesUpdate,
  checkBookingRules,
  type StoredRules,
} from '../../domain/appointments/booking-rules.ts';
import { checkCancel, checkCreate, checkReschedule } from '../../domain/appointments/input.ts';
import { bookableBetween, MAX_DAYS_AHEAD, type SlotProblem } from '../../domain/appointments/slots.ts';
import type {
  AppointmentChange,
  AppointmentStore,
  ChangeRefusal,
  RulesNow,
} from '../../ports/appointments/appointment-store.ts';
import { DatabaseError } from '../../ports/database.ts';
import type { BeginSaga, BeginSagaOutcome } from '../../ports/saga-journal.ts';
import type { Counted } from '../../ports/telemetry.ts';
import {
  IdempotencyConflictError,
  NoOrganizationError,
  OperationPendingError,
  RateLimitedError,
  type SlotTimes,
  SlotUnavailableError,
  UnavailableError,
  ValidationError,
} from '../errors.ts';
import { BadPageError } from '../reads/connection.ts';
import { deadlineOf, limitOf, requestHash, type SagaPorts } from '../saga/execute.ts';
import { validInput } from '../valid-input.ts';
import { type BookingBasis, basisOf, isoOf, wanted } from './wanted.ts';

export interface AppointmentPorts
  extends Pick<SagaPorts, 'admission' | 'clock' | 'databaseTime' | 'ids' | 'log' | 'meter' | 'owner'> {
  store: AppointmentStore;
}

/** A user of an organization. */
interface Caller {
  orgId: string;
  userId: string;
}

const ATTEMPTS = 3;
const RETRY_MS = 2_000;
const PENDING_RETRY_MS = 1_000;
const REPEAT_WITHIN_MS = 4_000;
const MINUTE = 60_000;
const DAY = 86_400_000;
/** The longest period of `availability`, in days. */
export const MAX_AVAILABILITY_DAYS = 31;

const EVENTS = {
  BOOK: 'appointment.booked',
  RESCHEDULE: 'appointment.rescheduled',
  CANCEL: 'appointment.cancelled',
} as const;

/** Appointments as users change them. Every method that changes something throws the `DomainError` that says why it did not. */
export class Appointments {
  readonly #ports: AppointmentPorts;

  constructor(ports: AppointmentPorts) {
    this.#ports = ports;
  }

  /** Throws `DatabaseError`. */
  async rules(orgId: string): Promise<BookingRules> {
    return found(await this.#ports.store.rules(orgId)).rules;
  }

  /** What can be booked from `from` on and before `to`. Throws `DatabaseError`, and `BadPageError` for a period that is too long. */
  async availability(orgId: string, from: Date, to: Date): Promise<SlotTimes[]> {
    if (to.getTime() - from.getTime() > MAX_AVAILABILITY_DAYS * DAY) {
      throw new BadPageError(
        `The period from \`from\` to \`to\` can have at most ${MAX_AVAILABILITY_DAYS} days.`,
      );
    }
    const { store } = this.#ports;
    const { rules, now } = basisOf(found(await store.rules(orgId)));
    const starts = bookableBetween(rules, from.getTime(), to.getTime(), now).map(isoOf);
    return slotsAt(rules, await store.freeSlots(orgId, starts, starts.length));
  }

  async updateRules({ orgId, userId }: Caller, input: unknown): Promise<BookingRules> {
    const { log, meter, store } = this.#ports;
    const update: BookingRulesUpdate = validInput(checkBookingRules(input));
    const { rules } = found(await orUnavailable(store.setRules(orgId, update)));
    meter.count('appointment.rules_changed');
    log.info(
      { event: 'appointment.rules_changed', orgId, actor: userId, rules: Object.keys(update) },
      'booking rules changed',
    );
    return rules;
  }

  create(caller: Caller, input: unknown): Promise<AppointmentRecord> {
    const { idempotencyKey, startsAt, ...given } = validInput(checkCreate(input));
    const details = {
      customerName: given.customerName.trim(),
      customerNumber: given.customerNumber ?? null,
      notes: given.notes ?? null,
    };
    const appointmentId = this.#ports.ids.uuid();
    return this.#make(caller, idempotencyKey, { action: 'BOOK', startsAt, ...details }, (basis) => ({
      ...{ action: 'BOOK', appointmentId, ...details, ...wanted(basis, startsAt.getTime()) },
    }));
  }

  reschedule(caller: Caller, input: unknown): Promise<AppointmentRecord> {
    const { idempotencyKey, id, startsAt, expectedStartsAt } = validInput(checkReschedule(input));
    const change = { action: 'RESCHEDULE', appointmentId: id } as const;
    const expected = expectedStartsAt?.toISOString() ?? null;
    return this.#make(
      caller,
      idempotencyKey,
      { ...change, startsAt, expectedStartsAt: expected },
      (basis) => ({
        ...{ ...change, expectedStartsAt: expected, ...wanted(basis, startsAt.getTime()) },
      }),
    );
  }

  cancel(caller: Caller, input: unknown): Promise<AppointmentRecord> {
    const { idempotencyKey, id } = validInput(checkCancel(input));
    const change = { action: 'CANCEL', appointmentId: id } as const;
    return this.#make(caller, idempotencyKey, change, () => change);
  }

  /** `identity`: what identifies a repetition under the same key. */
  async #make(
    { orgId, userId }: Caller,
    key: string | null | undefined,
    identity: { action: AppointmentChange['action']; [name: string]: unknown },
    changeBy: (basis: BookingBasis) => AppointmentChange,
  ): Promise<AppointmentRecord> {
    const { admission, clock, databaseTime, ids, log, meter } = this.#ports;
    const from = clock.monotonic();
    const sagaId = ids.uuid();
    const report = (outcome: string, event: Counted) => {
      meter.count(event);
      const ms = Math.round(clock.monotonic() - from);
      const fields = { event, orgId, operationId: sagaId, door: 'api', action: identity.action, outcome, ms };
      log.info(fields, 'appointment change answered');
    };
    let outcome = 'not_begun';
    try {
      for (let attempt = 1; ; attempt += 1) {
        const basis = basisOf(found(await orUnavailable(this.#ports.store.rules(orgId))));
        const begun = await this.#begin(orgId, sagaId, {
          idempotencyKey: key ?? null,
          requestHash: requestHash({ kind: 'appointments', ...identity }),
          ...{ cause: 'USER', actor: userId, limit: limitOf(admission, userId) },
          notAfter: deadlineOf(databaseTime?.() ?? null),
          // It is over as soon as it begins.
          ...{ leaseMs: 0, deadlineMs: 0, mappingVersion: 1 },
          ...changeBy(basis),
        });
        if (begun.outcome === 'RULES_CHANGED' && attempt < ATTEMPTS) continue;
        outcome = begun.outcome.toLowerCase();
        const appointment = madeOf(begun, basis.rules);
        report('done', EVENTS[identity.action]);
        return appointment;
      }
    } catch (error) {
      const refused = error instanceof SlotUnavailableError || error instanceof ValidationError;
      report(outcome, refused ? 'appointment.refused' : 'appointment.failed');
      throw error;
    }
  }

  /** Asks again if the answer was lost: the database knows the change by the saga's id. */
  async #begin(
    orgId: string,
    sagaId: string,
    request: BeginSaga & AppointmentChange,
  ): Promise<BeginSagaOutcome<AppointmentRecord> | ChangeRefusal> {
    const { clock, log, owner, store } = this.#ports;
    const startedAt = new Date(clock.now()).toISOString();
    const from = clock.monotonic();
    let sent = false;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await store.begin(orgId, sagaId, owner, request);
      } catch (error) {
        if (!(error instanceof DatabaseError)) throw error;
        sent ||= error.sent;
        log.warn({ operationId: sagaId, code: error.code, attempt }, 'the database did not answer');
        // Without a deadline in the call, a late repeat could book for a caller who has given up.
        const inTime = request.notAfter !== undefined || clock.monotonic() - from < REPEAT_WITHIN_MS;
        if (attempt < ATTEMPTS && inTime) {
          await clock.sleep(100 * attempt);
          continue;
        }
        if (!sent) throw new UnavailableError(RETRY_MS);
        const operation = { id: sagaId, status: 'APPLYING' as const, startedAt, finishedAt: null };
        throw new OperationPendingError(operation, PENDING_RETRY_MS);
      }
    }
  }
}

function found(rules: RulesNow | null): RulesNow {
  if (rules === null) throw new NoOrganizationError();
  return rules;
}

async function orUnavailable<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw error instanceof DatabaseError ? new UnavailableError(RETRY_MS) : error;
  }
}

/** The appointment as the change left it. Throws the `DomainError` that the outcome stands for. */
function madeOf(
  begun: BeginSagaOutcome<AppointmentRecord> | ChangeRefusal,
  rules: StoredRules,
): AppointmentRecord {
  switch (begun.outcome) {
    case 'REPLAY': {
      const [appointment] = begun.rows;
      if (appointment === undefined) throw new Error(`operation ${begun.saga.id} has no appointment`);
      return appointment;
    }
    case 'UNAVAILABLE':
      throw new SlotUnavailableError(
        PROBLEMS[begun.problem] ?? PROBLEMS.TAKEN,
        slotsAt(rules, begun.alternatives),
      );
    case 'NO_APPOINTMENT':
      throw invalid('input.id', 'your organization has no appointment with this id');
    case 'NOT_ACTIVE':
      throw invalid(
        'input.id',
        `this appointment is ${begun.status}; only one that is SCHEDULED or CONFIRMED can be changed`,
      );
    case 'MOVED': {
      const startsAt = isoOf(Date.parse(begun.appointment.startsAt));
      throw invalid('input.expectedStartsAt', `this appointment starts at ${startsAt} now`);
    }
    case 'IDEMPOTENCY_CONFLICT':
      throw new IdempotencyConflictError(begun.sagaId);
    case 'RATE_LIMITED':
      throw new RateLimitedError(begun.retryAfterMs);
    case 'NO_ORGANIZATION':
      throw new NoOrganizationError();
    case 'TOO_LATE':
    case 'RULES_CHANGED':
      throw new UnavailableError(RETRY_MS);
    default:
      throw new Error(`an appointment cannot be ${begun.outcome}`);
  }
}

const PROBLEMS: Record<string, string> & Record<SlotProblem | 'TAKEN', string> = {
  TAKEN: 'This time is taken',
  PAST: 'This time is over',
  TOO_SOON: 'This time is sooner than the booking rules allow (`leadMinutes`)',
  TOO_FAR: `This time is more than ${MAX_DAYS_AHEAD} days ahead`,
  CLOSED: 'This time is outside the opening hours',
  NOT_A_START: 'No slot begins at this time',
};

function slotsAt({ slotMinutes }: BookingRules, starts: readonly string[]): SlotTimes[] {
  return starts.map((start) => {
    const at = Date.parse(start);
    return { startsAt: isoOf(at), endsAt: isoOf(at + slotMinutes * MINUTE) };
  });
}

function invalid(path: string, message: string): ValidationError {
  return new ValidationError([{ path, message }]);
}

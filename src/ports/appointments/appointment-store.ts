import type { AppointmentRecord, AppointmentStatus } from '../../domain/appointments/appointment.ts';
import type { BookingRulesUpdate, StoredRules } from '../../domain/appointments/booking-rules.ts';
import type { JsonObject } from '../../domain/json.ts';
import type { BeginSaga, BeginSagaOutcome } from '../saga-journal.ts';

/** Appointments as the database books them: one function each. All methods may throw `DatabaseError`. */

/** The rules, and the database's clock. Times are ISO-8601. */
export interface RulesNow {
  now: string;
  rules: StoredRules;
}

/** One change. Times are ISO-8601. */
export type AppointmentChange =
  | ({
      action: 'BOOK';
      /** Of the new row. */
      appointmentId: string;
      customerName: string;
      customerNumber: string | null;
      notes: string | null;
    } & WantedStart)
  | ({ action: 'RESCHEDULE'; appointmentId: string; expectedStartsAt: string | null } & WantedStart)
  | { action: 'CANCEL'; appointmentId: string };

export interface WantedStart {
  /** Null: clocks never show the time that is asked for, which is a `problem`. */
  startsAt: string | null;
  /** The revision of the rules from which the rest was computed. */
  rulesRevision: number;
  /** Why nothing can be booked then, whatever is free. Null: nothing speaks against it. */
  problem: string | null;
  /** What to offer instead, the best first. */
  alternatives: string[];
}

/** Why a change was not made. */
export type ChangeRefusal =
  | { outcome: 'UNAVAILABLE'; problem: string; alternatives: string[] }
  /** The request was computed from older rules. */
  | { outcome: 'RULES_CHANGED' }
  | { outcome: 'NO_APPOINTMENT' }
  | { outcome: 'NOT_ACTIVE'; status: AppointmentStatus }
  /** It is not at `expectedStartsAt`. */
  | { outcome: 'MOVED'; appointment: AppointmentRecord };

/** What is known before a tool call is answered. */
export interface ToolCallContext extends RulesNow {
  /** What the same tool call was answered before. */
  answer: JsonObject | null;
  /** What the caller may change: what was booked in this call or for this number, is active and is not over. */
  appointments: AppointmentRecord[];
  /** What this call has changed, the last first. */
  made: { function: string; appointment: AppointmentRecord; before: string | null }[];
}

/** Which tool call it is. */
export interface ToolCallRef {
  orgId: string;
  callId: string;
  /** Stands for the tool call's id, the function and the arguments. */
  key: string;
  function: string;
  /** E.164; null: it identifies nobody. */
  callerNumber: string | null;
}

export interface AppointmentStore {
  /** Null: there is no such organization. */
  rules(orgId: string): Promise<RulesNow | null>;
  setRules(orgId: string, update: BookingRulesUpdate): Promise<RulesNow | null>;
  /** Of these starts, the first that are free; at most `limit`. */
  freeSlots(orgId: string, starts: string[], limit: number): Promise<string[]>;
  /** A user's change. Idempotent by the saga's id. What was made is a REPLAY, also the first time. */
  begin(
    orgId: string,
    sagaId: string,
    owner: string,
    request: BeginSaga & AppointmentChange,
  ): Promise<BeginSagaOutcome<AppointmentRecord> | ChangeRefusal>;
  /** Null: there is no such organization. */
  context(ref: ToolCallRef): Promise<ToolCallContext | null>;
  /** Makes a change, or keeps the refusal `answer`; once for each key. Returns what is to be answered. */
  answer(
    ref: ToolCallRef,
    request: AppointmentChange | { action: 'NOTE'; answer: JsonObject },
  ): Promise<JsonObject>;
}

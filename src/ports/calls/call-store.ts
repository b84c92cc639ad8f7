import type { Observation } from '../../domain/calls/observation.ts';
import type { Lease } from '../lease.ts';

/**
 * SHOWN: the call is in the log of an organization. HELD: its organization is not known yet. FOREIGN: it most likely belongs to
 * something else on the same Vapi account. WITHDRAWN: its ids belong to several organizations. REFUSED: the database refused the
 * observation.
 */
export const CALL_STATES = ['SHOWN', 'HELD', 'FOREIGN', 'WITHDRAWN', 'REFUSED'] as const;
export type CallState = (typeof CALL_STATES)[number];

/** What an observation came to. */
export type Observed =
  | { state: 'SHOWN'; isNew: boolean; orgId: string; callId: string; customerNumber: string | null }
  | { state: 'HELD' | 'FOREIGN' | 'WITHDRAWN'; isNew: boolean }
  | { state: 'REFUSED'; error: string };

export interface TakenEvents {
  due: string[];
  /** Events that failed before, perhaps because of another event in the same batch: to be applied one at a time. */
  alone: string[];
  /** How many were put into quarantine instead, because whoever applied them five times did not come back. */
  quarantined: number;
}

/** What became of events that were applied, and how many: a state of their call, or a failure. */
export type EventEnds = Partial<Record<Exclude<CallState, 'REFUSED'> | 'FAILED' | 'QUARANTINED', number>>;

export interface QuarantinedEvent {
  id: string;
  receivedAt: string;
  kind: string;
  vapiCallId: string;
  attempts: number;
  error: string | null;
}

/** Each count stops at 1,000. Times in milliseconds. */
export interface CallsWaiting {
  pending: number;
  oldestMs: number;
  quarantined: number;
  held: number;
  heldOldestMs: number;
}

/** What Vapi reports about calls. All methods may throw `DatabaseError`. */
export interface CallStore {
  /** When it returns, the event is not lost. Throws `ValueRefusedError` if the database cannot hold it. */
  storeEvent(kind: string, observation: Observation): Promise<void>;
  /** Takes events that are due, for 30 seconds, and counts an attempt of each. */
  takeEvents(limit: number): Promise<TakenEvents>;
  applyEvents(ids: readonly string[]): Promise<EventEnds>;
  /** In the order of the observations. */
  observe(observations: readonly Observation[]): Promise<Observed[]>;
  /** Shows calls that were held for ids that have been recorded since. Returns how many. */
  claim(limit: number): Promise<number>;
  /** Marks calls as foreign that were held for a day, and deletes content past its time. Returns how many calls and events. */
  giveUp(limit: number): Promise<number>;
  quarantined(limit: number): Promise<QuarantinedEvent[]>;
  /** Null: all of them. Returns how many. */
  retryQuarantined(ids: readonly string[] | null): Promise<number>;
  waiting(): Promise<CallsWaiting>;
  /** Null: the 24 hours before completeThrough. */
  ledger(orgId: string, from: string | null, to: string | null): Promise<CallLedger>;
}

/** CHANGED: by the last change. CREATED: by creation. */
export const CALL_WALKS = ['CHANGED', 'CREATED'] as const;
export type CallWalkName = (typeof CALL_WALKS)[number];

/** Times are Vapi's, ISO-8601; null: no walk has ended yet. */
export interface CallWalkState {
  walkedAt: string | null;
  completeThrough: string | null;
}

/** The walks over Vapi's list of calls. All methods may throw `DatabaseError`. */
export interface CallWalkStore extends Lease, Pick<CallStore, 'observe'> {
  walks(): Promise<Record<CallWalkName, CallWalkState>>;
  /** `previous`: the walkedAt that the walk began with. Returns the new completeThrough; null: another walk has ended since. */
  walkDone(
    name: CallWalkName,
    previous: string | null,
    walkedAt: string,
    lagMs: number,
  ): Promise<string | null>;
  /** Notes that an earlier walk should have found a call that changed at this time: completeThrough goes back to it. */
  walkBack(changedAt: string): Promise<void>;
}

/** What an organization may rely on, of the calls that were created in a period. */
export interface CallLedger {
  /** Every call that Vapi had listed until then is stored. Null: no walk has ended yet. */
  completeThrough: string | null;
  expected: number;
  stored: number;
}

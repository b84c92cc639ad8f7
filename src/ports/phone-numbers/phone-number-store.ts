import type { PhoneNumberState } from '../../domain/phone-numbers/phone-number.ts';
import type { Lease } from '../lease.ts';

/** A number of Vapi and the row that has it. */
export interface NumberRef {
  orgId: string;
  id: string;
  /** Vapi's id. */
  remoteId: string;
}

export interface ActivatingNumber extends NumberRef {
  /** Since the number was asked for. */
  ageMs: number;
}

export interface NumberToAttach {
  orgId: string;
  id: string;
  purpose: 'WISH' | 'REPOINT';
}

export interface ListedNumber extends NumberRef {
  state: PhoneNumberState;
  number: string | null;
  /** What the last committed saga put into Vapi; null: nothing. */
  assistantId: string | null;
  /** What belongs there now. */
  wantedAssistantId: string | null;
  /** The saga whose stamp the number should carry; null: none of ours has written it. */
  sagaId: string | null;
  /** A saga is open or fenced, so that a difference proves nothing. */
  busy: boolean;
}

/** An attempt whose stamp a number of Vapi carries, and which ended without that number. */
export interface StampedAttempt {
  orgId: string;
  id: string;
  sagaId: string;
  provider: string;
  /** Of an import. */
  requestedNumber: string | null;
  /**
   * SETTLE: nobody could find out what became of the attempt. ORPHAN: an import that was closed as failed; the number may be deleted.
   * LATE: a purchase that was closed as failed; only a person may decide.
   */
  verdict: 'SETTLE' | 'ORPHAN' | 'LATE';
}

export type NumberNote = NumberRef &
  (
    | { seen: 'GONE' }
    | {
        seen: 'SHOWN';
        status: string;
        /** Null: Vapi shows none, or masks them. */
        digits: string | null;
        /** Why the number is not active yet, if it is not. */
        failure?: string | undefined;
      }
  );

/** What the jobs ask and note about the numbers of all organizations. Every method may throw `DatabaseError`. */
export interface PhoneNumberStore extends Lease {
  activationDue(limit: number): Promise<ActivatingNumber[]>;
  attachmentDue(limit: number): Promise<NumberToAttach[]>;
  listed(remoteIds: readonly string[]): Promise<ListedNumber[]>;
  /** Numbers that there should be in Vapi, in the order of their ids. */
  page(after: string | null, limit: number): Promise<NumberRef[]>;
  stamps(sagaIds: readonly string[]): Promise<StampedAttempt[]>;
  /** Returns the numbers that were noted. A note about a number that has changed meanwhile has no effect. */
  note(notes: readonly NumberNote[]): Promise<{ id: string; state: PhoneNumberState }[]>;
}

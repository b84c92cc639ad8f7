import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { PhoneNumberRecord, PhoneNumberState } from '../../domain/phone-numbers/phone-number.ts';
import type { BeginSaga, BeginSagaOutcome, SagaJournal } from '../saga-journal.ts';

/** What one saga of a phone number is to do. An absent field stays as it is. */
export type PhoneNumberChange =
  | {
      action: 'BUY';
      /** Of the new row. */
      phoneNumberId: string;
      areaCode: string;
      label: string;
      role?: AgentRole | undefined;
    }
  | {
      action: 'IMPORT';
      phoneNumberId: string;
      provider: 'twilio';
      number: string;
      label: string;
      role?: AgentRole | undefined;
    }
  | {
      action: 'UPDATE';
      phoneNumberId: string;
      label?: string | null | undefined;
      /** Null: no agent any more. */
      role?: AgentRole | null | undefined;
    }
  /** Of a job: attaches the role that was asked for before, or puts into Vapi once more what belongs there. */
  | { action: 'UPDATE'; phoneNumberId: string; purpose: 'WISH' | 'REPOINT' }
  | { action: 'RELEASE'; phoneNumberId: string };

/** Why a saga of a phone number did not begin, where no other kind of saga has this reason. */
export type PhoneNumberRefusal =
  | { outcome: 'ALLOWANCE_EXCEEDED'; allowance: number; used: number }
  | { outcome: 'NO_PHONE_NUMBER' }
  /** In this state, or because it was never in Vapi. */
  | { outcome: 'NOT_POSSIBLE'; state: PhoneNumberState }
  | { outcome: 'NO_AGENT'; role: AgentRole }
  /** The agent's assistant was deleted in Vapi. */
  | { outcome: 'AGENT_MISSING'; role: AgentRole }
  | { outcome: 'NOTHING_TO_DO' };

export interface PhoneNumberJournal extends SagaJournal<PhoneNumberRecord> {
  begin(
    orgId: string,
    sagaId: string,
    owner: string,
    request: BeginSaga & PhoneNumberChange,
  ): Promise<BeginSagaOutcome<PhoneNumberRecord> | PhoneNumberRefusal>;
}

import type { PhoneNumberRecord, PhoneNumberState } from '../../domain/phone-numbers/phone-number.ts';
import type { SagaRecord } from '../../domain/saga.ts';
import type {
  PhoneNumberChange,
  PhoneNumberRefusal,
} from '../../ports/phone-numbers/phone-number-journal.ts';
import {
  AllowanceExceededError,
  AreaCodeUnavailableError,
  NumberTakenError,
  OperationFailedError,
  ValidationError,
} from '../errors.ts';
import { operationAnswer } from '../saga/answer.ts';
import type { PhoneNumberOutcome } from './change.ts';
import { TAKEN } from './document.ts';

/** What a caller learns of a change that was made. */
export interface PhoneNumberAnswer {
  phoneNumber: PhoneNumberRecord;
  operation: SagaRecord;
}

/**
 * From the outcome of a change to the caller's answer. Throws the `DomainError` that the outcome stands for. What Vapi refused is read
 * out of the stored failure, so that a repeated request gets the same answer.
 */
export function phoneNumberAnswer(
  outcome: PhoneNumberOutcome,
  action: PhoneNumberChange['action'],
): PhoneNumberAnswer {
  if (outcome.kind === 'failed') {
    const { message, reason } = outcome.failure;
    if (reason === 'VAPI_REJECTED' && action === 'BUY' && /area code is .*not available/i.test(message)) {
      throw new AreaCodeUnavailableError(suggestionsIn(message));
    }
    if (reason === 'VAPI_REJECTED' && action === 'IMPORT' && TAKEN.test(message))
      throw new NumberTakenError();
    if (reason === 'OUTCOME_UNKNOWN' && action === 'IMPORT') {
      throw new OperationFailedError(outcome.saga, {
        message: `${message} Import it again, with the token and a new idempotency key.`,
        retryable: true,
      });
    }
  }
  const { rows, operation } = operationAnswer(outcome, refused);
  const [phoneNumber] = rows;
  if (phoneNumber === undefined) throw new Error(`saga ${operation.id} was committed without a row`);
  return { phoneNumber, operation };
}

/** The area codes that Vapi suggests (docs/vapi.md#area-code-refusal). */
function suggestionsIn(message: string): string[] {
  const [, hint = ''] = /hint:(.*)/is.exec(message) ?? [];
  return [...new Set(hint.match(/\b[2-9]\d{2}\b/g))];
}

function refused(refusal: PhoneNumberRefusal): Error {
  switch (refusal.outcome) {
    case 'ALLOWANCE_EXCEEDED':
      return new AllowanceExceededError('phone numbers', refusal.allowance, refusal.used);
    case 'NO_PHONE_NUMBER':
      return wrong('id', 'there is no such phone number in your organization');
    case 'NOT_POSSIBLE':
      return wrong('id', NOT_POSSIBLE[refusal.state]);
    case 'NO_AGENT':
      return wrong('role', `there is no ${refusal.role} agent yet; save it first`);
    case 'AGENT_MISSING':
      return wrong(
        'role',
        `the assistant of the ${refusal.role} agent was deleted in Vapi; save the agent with recreateIfMissing: true first`,
      );
    case 'NOTHING_TO_DO':
      return new Error('only a job can have nothing to do');
  }
}

const NOT_POSSIBLE: Readonly<Record<PhoneNumberState, string>> = {
  PROVISIONING: 'the number is still being bought or imported',
  ACTIVATING: 'the number is not in Vapi',
  ACTIVE: 'the number is not in Vapi, so that it cannot be changed there',
  BLOCKED: 'the number is not in Vapi',
  RELEASING: 'the number is being released',
  RELEASED: 'the number was released',
  MISSING: 'the number was deleted in Vapi; it can only be released',
  FAILED: 'the number was never bought or imported',
  UNKNOWN: 'it is not certain whether Vapi made the number; an operator must find out',
};

function wrong(field: string, message: string): ValidationError {
  return new ValidationError([{ path: `input.${field}`, message }]);
}

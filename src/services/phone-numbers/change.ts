import type { PhoneNumberRecord } from '../../domain/phone-numbers/phone-number.ts';
import type { Secret } from '../../domain/secret.ts';
import type {
  PhoneNumberChange,
  PhoneNumberJournal,
  PhoneNumberRefusal,
} from '../../ports/phone-numbers/phone-number-journal.ts';
import { executeSaga, type SagaExecutorPorts, type SagaOutcome } from '../saga/execute.ts';
import { NUMBER_MAPPING_VERSION } from './document.ts';
import { type Carrier, type Numbers, phoneNumberSaga } from './participant.ts';

export type PhoneNumberOutcome = SagaOutcome<PhoneNumberRecord, PhoneNumberRefusal>;
export type PhoneNumberPorts<Db> = SagaExecutorPorts<Db, PhoneNumberJournal, Numbers>;

/** How one change is to be made; the key is not among it. */
export interface ChangeOptions {
  idempotencyKey: string | null;
  /** Who asked, for the journal: the user's id. Null: a job. */
  actor: string | null;
  /** Default: USER. */
  cause?: 'USER' | 'REVERT';
  /** Of an import. */
  carrier?: Carrier;
}

/** One change of a phone number, with the active key. */
export type ChangePhoneNumber = (
  orgId: string,
  change: PhoneNumberChange,
  options: ChangeOptions,
) => Promise<PhoneNumberOutcome>;

/** Makes one change of a phone number in both systems, or in neither (see `executeSaga`); a purchase and a release are not undone. */
export function changePhoneNumber<Db>(
  supabase: Db,
  orgId: string,
  change: PhoneNumberChange,
  vapiApiKey: Secret | null,
  { ports, ...options }: ChangeOptions & { ports: PhoneNumberPorts<Db> },
): Promise<PhoneNumberOutcome> {
  return executeSaga(
    supabase,
    {
      ...{ orgId, definition: phoneNumberSaga(options.carrier ?? null), cause: options.cause ?? 'USER' },
      about: { action: change.action, phoneNumberId: change.phoneNumberId },
      requests: 1,
      mappingVersion: NUMBER_MAPPING_VERSION,
      idempotencyKey: options.idempotencyKey,
      request: asked(change, options.carrier),
      actor: options.actor,
      begin: (journal: PhoneNumberJournal, sagaId, owner, request) =>
        journal.begin(orgId, sagaId, owner, { ...request, ...change }),
    },
    vapiApiKey,
    ports,
  );
}

/** What identifies a repetition: not the id of a row that is new with each attempt, and never the carrier's token. */
function asked(change: PhoneNumberChange, carrier: Carrier | undefined): object {
  if (change.action !== 'BUY' && change.action !== 'IMPORT') return change;
  const { phoneNumberId: _new, ...wish } = change;
  return carrier === undefined ? wish : { ...wish, accountSid: carrier.accountSid };
}

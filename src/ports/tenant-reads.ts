import type { AgentRole } from '../domain/agents/agent-config.ts';
import type { AgentRecord, SaveRecord } from '../domain/agents/save.ts';
import type { AppointmentRecord, AppointmentStatus } from '../domain/appointments/appointment.ts';
import type { CallContent, CallDirection, CallOutcome, CallRecord } from '../domain/calls/call.ts';
import type { DocumentRecord, DocumentState } from '../domain/knowledge-base/document.ts';
import type { PhoneNumberRecord, PhoneNumberState } from '../domain/phone-numbers/phone-number.ts';
import type { OperationRecord } from '../domain/saga.ts';
import type { DriftPolicy } from './agents/sweep-store.ts';

/** Too many reads of one organization at the same time. Nothing was read. */
export class ReadsLimitedError extends Error {
  readonly retryAfterMs: number;
  constructor(retryAfterMs: number) {
    super('Your organization sends too many reads at the same time. Try again shortly.');
    this.retryAfterMs = retryAfterMs;
  }
}

export interface OrganizationRecord {
  id: string;
  name: string;
  driftPolicy: DriftPolicy;
}

/** A row's place in a list: the value that the list is ordered by, and the row's id, which decides between equals. */
export interface Position {
  value: string;
  id: string;
}

/** A stretch of a list, in the list's own direction. */
export interface Window {
  descending: boolean;
  /** Both exclusive; null = from the beginning, to the end. */
  after: Position | null;
  before: Position | null;
  /** Rows at most. */
  limit: number;
  /** The last rows of the stretch, last one first, instead of the first. */
  fromEnd: boolean;
}

/** A filter field that is null or absent admits every row. */
export interface CallFilter {
  agentId?: string | null | undefined;
  phoneNumberId?: string | null | undefined;
  direction?: CallDirection | null | undefined;
  outcomes?: readonly CallOutcome[] | null | undefined;
  /** ISO-8601, inclusive. */
  startedFrom?: string | null | undefined;
  /** ISO-8601, exclusive. */
  startedBefore?: string | null | undefined;
}

export interface AppointmentFilter {
  callId?: string | null | undefined;
  statuses?: readonly AppointmentStatus[] | null | undefined;
  /** ISO-8601, inclusive. */
  startsFrom?: string | null | undefined;
  /** ISO-8601, exclusive. */
  startsBefore?: string | null | undefined;
}

export interface PhoneNumberFilter {
  agentId?: string | null | undefined;
  attached?: boolean | null | undefined;
  states?: readonly PhoneNumberState[] | null | undefined;
}

export interface DocumentFilter {
  states?: readonly DocumentState[] | null | undefined;
}

/**
 * What a caller may see of their own organization. There is no organization in any argument: the database decides by the
 * caller's token. Ids are UUIDs; one that is not the organization's own finds nothing. All methods may throw `DatabaseError`,
 * and `RefusedTokenError` where the token has expired since it was checked.
 */
export interface TenantReads {
  organization(): Promise<OrganizationRecord | null>;
  agents(): Promise<AgentRecord[]>;
  save(id: string): Promise<SaveRecord | null>;
  /** A saga of any kind, and whether it is one of agents. */
  operation(id: string): Promise<{ operation: OperationRecord; isSave: boolean } | null>;
  /** The save that is open now, and the roles that it names. */
  openSave(): Promise<{ save: SaveRecord; roles: AgentRole[] } | null>;
  /** By number; those without one first. */
  phoneNumbers(filter: PhoneNumberFilter, window: Window): Promise<PhoneNumberRecord[]>;
  /** By time of creation. */
  documents(filter: DocumentFilter, window: Window): Promise<DocumentRecord[]>;
  /** By start. */
  calls(filter: CallFilter, window: Window): Promise<CallRecord[]>;
  /** By start. */
  appointments(filter: AppointmentFilter, window: Window): Promise<AppointmentRecord[]>;
  /** At most 100 ids each; what is not found is left out, and the order is the database's. */
  phoneNumbersById(ids: readonly string[]): Promise<PhoneNumberRecord[]>;
  documentsById(ids: readonly string[]): Promise<DocumentRecord[]>;
  callsById(ids: readonly string[]): Promise<CallRecord[]>;
  callContentsById(callIds: readonly string[]): Promise<CallContent[]>;
  savesById(ids: readonly string[]): Promise<SaveRecord[]>;
  appointmentsById(ids: readonly string[]): Promise<AppointmentRecord[]>;
}

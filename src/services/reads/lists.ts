import type {
  AppointmentRecord,
  CallRecord,
  DocumentRecord,
  PhoneNumberRecord,
} from '../../domain/organization-records.ts';
import { isUuid } from '../../domain/uuid.ts';
import type {
  AppointmentFilter,
  CallFilter,
  DocumentFilter,
  PhoneNumberFilter,
  TenantReads,
} from '../../ports/tenant-reads.ts';
import {
  type Connection,
  type ConnectionArgs,
  isE164,
  isInstant,
  type Listing,
  readConnection,
} from './connection.ts';

/** The lists of an organization, page by page. All of them may throw `BadPageError` and `DatabaseError`. */

/** Times as GraphQL hands them over. */
type Dated<Filter, Time extends keyof Filter> = Omit<Filter, Time> & {
  [Key in Time]?: Date | null | undefined;
};

export function listCalls(
  reads: TenantReads,
  args: ConnectionArgs,
  filter: Dated<CallFilter, 'startedFrom' | 'startedBefore'>,
  order: 'NEWEST_FIRST' | 'OLDEST_FIRST',
): Promise<Connection<CallRecord>> {
  const listing: Listing<CallRecord> = {
    name: 'calls',
    descending: order === 'NEWEST_FIRST',
    isValue: isInstant,
    positionOf: ({ startedAt, id }) => ({ value: startedAt, id }),
  };
  return readConnection(listing, args, (window) =>
    admitsNothing([filter.agentId, filter.phoneNumberId], filter.outcomes)
      ? none()
      : reads.calls(
          {
            ...filter,
            startedFrom: instantOf(filter.startedFrom),
            startedBefore: instantOf(filter.startedBefore),
          },
          window,
        ),
  );
}

export function listAppointments(
  reads: TenantReads,
  args: ConnectionArgs,
  filter: Dated<AppointmentFilter, 'startsFrom' | 'startsBefore'>,
  order: 'EARLIEST_FIRST' | 'LATEST_FIRST',
): Promise<Connection<AppointmentRecord>> {
  const listing: Listing<AppointmentRecord> = {
    name: 'appointments',
    descending: order === 'LATEST_FIRST',
    isValue: isInstant,
    positionOf: ({ startsAt, id }) => ({ value: startsAt, id }),
  };
  return readConnection(listing, args, (window) =>
    admitsNothing([filter.callId], filter.statuses)
      ? none()
      : reads.appointments(
          {
            ...filter,
            startsFrom: instantOf(filter.startsFrom),
            startsBefore: instantOf(filter.startsBefore),
          },
          window,
        ),
  );
}

export function listPhoneNumbers(
  reads: TenantReads,
  args: ConnectionArgs,
  filter: PhoneNumberFilter,
): Promise<Connection<PhoneNumberRecord>> {
  const listing: Listing<PhoneNumberRecord> = {
    name: 'phoneNumbers',
    descending: false,
    isValue: isE164,
    positionOf: ({ number, id }) => ({ value: number, id }),
  };
  return readConnection(listing, args, (window) =>
    admitsNothing([filter.agentId]) ? none() : reads.phoneNumbers(filter, window),
  );
}

export function listDocuments(
  reads: TenantReads,
  args: ConnectionArgs,
  filter: DocumentFilter,
  order: 'NEWEST_FIRST' | 'OLDEST_FIRST',
): Promise<Connection<DocumentRecord>> {
  const listing: Listing<DocumentRecord> = {
    name: 'knowledgeBaseDocuments',
    descending: order === 'NEWEST_FIRST',
    isValue: isInstant,
    positionOf: ({ createdAt, id }) => ({ value: createdAt, id }),
  };
  return readConnection(listing, args, (window) =>
    admitsNothing([], filter.states) ? none() : reads.documents(filter, window),
  );
}

/** An id that is no UUID, or a choice among no values: what that finds needs no database. */
function admitsNothing(
  ids: (string | null | undefined)[],
  choice?: readonly string[] | null | undefined,
): boolean {
  return choice?.length === 0 || ids.some((id) => id != null && !isUuid(id));
}

function none<T>(): Promise<T[]> {
  return Promise.resolve([]);
}

/** The year 0 of RFC 3339 is none of Postgres's; no row is that old either way. */
function instantOf(time: Date | null | undefined): string | null {
  return time == null ? null : time.toISOString().replace(/^0000-.*/, '0001-01-01T00:00:00.000Z');
}

import type { AppointmentRecord } from '../../domain/appointments/appointment.ts';
import type { CallRecord } from '../../domain/calls/call.ts';
import { isE164 } from '../../domain/input.ts';
import type { DocumentRecord } from '../../domain/knowledge-base/document.ts';
import type { PhoneNumberRecord } from '../../domain/phone-numbers/phone-number.ts';
import { isUuid } from '../../domain/uuid.ts';
import type {
  AppointmentFilter,
  CallFilter,
  DocumentFilter,
  PhoneNumberFilter,
  TenantReads,
} from '../../ports/tenant-reads.ts';
import {
  BadPageError,
  type Connection,
  type ConnectionArgs,
  isInstant,
  type Listing,
  readConnection,
} from './connection.ts';

/** The lists of an organization, page by page. All of them may throw `BadPageError` and `DatabaseError`. */

/** Times as GraphQL hands them over. */
type Dated<Filter, Time extends keyof Filter> = Omit<Filter, Time> & {
  [Key in Time]?: Date | null | undefined;
};

export async function listCalls(
  reads: TenantReads,
  args: ConnectionArgs,
  filter: Dated<CallFilter, 'startedFrom' | 'startedBefore'>,
  order: 'NEWEST_FIRST' | 'OLDEST_FIRST',
): Promise<Connection<CallRecord>> {
  requireUuids({ agentId: filter.agentId, phoneNumberId: filter.phoneNumberId });
  const listing: Listing<CallRecord> = {
    name: 'calls',
    descending: order === 'NEWEST_FIRST',
    isValue: isInstant,
    positionOf: ({ listedAt, id }) => ({ value: listedAt, id }),
  };
  return readConnection(listing, args, (window) =>
    filter.outcomes?.length === 0
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

export async function listAppointments(
  reads: TenantReads,
  args: ConnectionArgs,
  filter: Dated<AppointmentFilter, 'startsFrom' | 'startsBefore'>,
  order: 'EARLIEST_FIRST' | 'LATEST_FIRST',
): Promise<Connection<AppointmentRecord>> {
  requireUuids({ callId: filter.callId });
  const listing: Listing<AppointmentRecord> = {
    name: 'appointments',
    descending: order === 'LATEST_FIRST',
    isValue: isInstant,
    positionOf: ({ startsAt, id }) => ({ value: startsAt, id }),
  };
  return readConnection(listing, args, (window) =>
    filter.statuses?.length === 0
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

export async function listPhoneNumbers(
  reads: TenantReads,
  args: ConnectionArgs,
  filter: PhoneNumberFilter,
): Promise<Connection<PhoneNumberRecord>> {
  requireUuids({ agentId: filter.agentId });
  const listing: Listing<PhoneNumberRecord> = {
    name: 'phoneNumbers',
    descending: false,
    // Those that Vapi has not shown yet come first, as `list_order` of the table says.
    isValue: (value) => value === '+' || isE164(value),
    positionOf: ({ number, id }) => ({ value: number ?? '+', id }),
  };
  return readConnection(listing, args, (window) =>
    filter.states?.length === 0 ? none() : reads.phoneNumbers(filter, window),
  );
}

export async function listDocuments(
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
    filter.states?.length === 0 ? none() : reads.documents(filter, window),
  );
}

/** Throws `BadPageError`. An empty page would hide the mistake: it looks like an organization without such rows. */
function requireUuids(ids: Record<string, string | null | undefined>): void {
  for (const [field, id] of Object.entries(ids)) {
    if (id != null && !isUuid(id)) throw new BadPageError(`filter.${field} must be a UUID.`);
  }
}

/** A choice among no values finds nothing, so it needs no database. */
function none<T>(): Promise<T[]> {
  return Promise.resolve([]);
}

/** The year 0 of RFC 3339 is none of Postgres's; no row is that old either way. */
function instantOf(time: Date | null | undefined): string | null {
  return time == null ? null : time.toISOString().replace(/^0000-.*/, '0001-01-01T00:00:00.000Z');
}

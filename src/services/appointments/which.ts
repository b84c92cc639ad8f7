import type { AppointmentRecord } from '../../domain/appointments/appointment.ts';
import { dayOf, timeOf } from '../../domain/appointments/slots.ts';
import type { JsonObject } from '../../domain/json.ts';
import { said } from './words.ts';

/** Which of the caller's appointments is meant; what is absent says nothing. */
export interface Which {
  day: string | undefined;
  time: string | undefined;
  name: string | undefined;
}

const NAMED_APPOINTMENTS = 5;

/** Whether an appointment can be the one that is meant. Part of a name is enough. */
export function matches(
  { startsAt, customerName }: Pick<AppointmentRecord, 'startsAt' | 'customerName'>,
  { day, time, name }: Which,
  timeZone: string,
): boolean {
  const start = Date.parse(startsAt);
  return (
    (day === undefined || dayOf(start, timeZone) === day) &&
    (time === undefined || timeOf(start, timeZone) === time) &&
    (name === undefined ||
      plain(customerName).includes(plain(name)) ||
      plain(name).includes(plain(customerName)))
  );
}

const plain = (name: string): string => name.normalize('NFKC').toLowerCase().replace(/\s+/g, ' ').trim();

/** The one appointment that is meant, or why it cannot be told. */
export function pick(
  appointments: readonly AppointmentRecord[],
  which: Which,
  timeZone: string,
): AppointmentRecord | { refusal: JsonObject } {
  const found = appointments.filter((one) => matches(one, which, timeZone));
  const [only] = found;
  if (only === undefined) return { refusal: { outcome: 'NONE', appointments: named(appointments) } };
  if (found.length > 1) return { refusal: { outcome: 'WHICH', appointments: named(found) } };
  return only;
}

/** What of an appointment is said to its caller. */
export type Named = { startsAt: string; customerName: string };

export function named(appointments: readonly AppointmentRecord[]): Named[] {
  return appointments
    .slice(0, NAMED_APPOINTMENTS)
    .map(({ startsAt, customerName }) => ({ startsAt, customerName }));
}

export function saidNamed({ startsAt, customerName }: Named, timeZone: string): string {
  return `${customerName}, ${said(Date.parse(startsAt), timeZone)}`;
}

export function listed(answer: JsonObject, timeZone: string): string {
  return (answer['appointments'] as unknown as Named[]).map((one) => saidNamed(one, timeZone)).join('; ');
}

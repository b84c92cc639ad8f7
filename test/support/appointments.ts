/** Appointments for tests: an organization that is always open, and its callers. */
import { randomUUID } from 'node:crypto';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createRpcAppointments } from '../../src/adapters/supabase/rpc-appointments.ts';
import { systemClock, systemIds } from '../../src/adapters/system/system.ts';
import type { BookingRulesUpdate } from '../../src/domain/appointments/booking-rules.ts';
import { addDays, dayOf } from '../../src/domain/appointments/slots.ts';
import type { AppointmentStore } from '../../src/ports/appointments/appointment-store.ts';
import type { Log } from '../../src/ports/system.ts';
import { answerToolCall, type CallerOfTool } from '../../src/services/appointments/answer-tool-call.ts';
import { supabaseConfig } from './app.ts';
import type { TestSupabase } from './supabase.ts';

const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };

const OPEN = { opens: '00:00', closes: '24:00' };
/** Half an hour at any time, in UTC. */
export const ALWAYS_OPEN: BookingRulesUpdate = {
  ...{ timeZone: 'UTC', slotMinutes: 30, capacity: 1, leadMinutes: 0, bufferMinutes: 0 },
  hours: [1, 2, 3, 4, 5, 6, 7].map((weekday) => ({ weekday, ...OPEN })),
};

/** So many days from now. */
export const day = (days: number): string => addDays(dayOf(Date.now(), 'UTC'), days);

export interface Booked {
  id: string;
  callId: string | null;
  name: string;
  number: string | null;
  startsAt: string;
  status: string;
  lane: number;
}

export class Calendar {
  readonly store: AppointmentStore;
  readonly #supabase: TestSupabase;

  /** `timeoutMs`: of a request to the database. */
  constructor(supabase: TestSupabase, timeoutMs = 120_000) {
    this.#supabase = supabase;
    this.store = createRpcAppointments(createServiceClient({ ...supabaseConfig(supabase), timeoutMs }));
  }

  /** An organization with these rules. */
  async organization(rules: BookingRulesUpdate = {}): Promise<string> {
    const orgId = await this.#supabase.createOrganization();
    await this.store.setRules(orgId, { ...ALWAYS_OPEN, ...rules });
    return orgId;
  }

  async call(orgId: string, callerNumber: string | null = null): Promise<ToolCaller> {
    const callId = randomUUID();
    await this.#supabase.sql`
      insert into public.call_logs (id, org_id, direction, started_at) values (${callId}, ${orgId}, 'INBOUND', now())`;
    return new ToolCaller(this.store, { orgId, callId, callerNumber });
  }

  async booked(orgId: string): Promise<Booked[]> {
    const rows = await this.#supabase.sql<(Omit<Booked, 'startsAt'> & { startsAt: Date })[]>`
      select id, call_id as "callId", customer_name as name, customer_number as number, starts_at as "startsAt", status, lane
      from public.appointments where org_id = ${orgId} order by starts_at, lane, created_at`;
    return rows.map((row) => ({ ...row, startsAt: row.startsAt.toISOString() }));
  }

  /** Those that take a place. */
  async active(orgId: string): Promise<Booked[]> {
    return (await this.booked(orgId)).filter(({ status }) => status === 'SCHEDULED');
  }
}

/** The model of an agent in one call. */
export class ToolCaller {
  readonly call: CallerOfTool;
  readonly counted: string[] = [];
  readonly #store: AppointmentStore;

  constructor(store: AppointmentStore, call: CallerOfTool) {
    this.call = call;
    this.#store = store;
  }

  /** `id`: of the tool call; a new one by default. */
  ask(name: string, given: unknown, id: string = randomUUID()): Promise<string> {
    const meter = { count: (event: string) => void this.counted.push(event) };
    return answerToolCall({ store: this.#store, clock: systemClock, ids: systemIds, log, meter }, this.call, {
      id,
      name,
      arguments: given,
    });
  }

  book(date: string, time: string, name: string, id?: string): Promise<string> {
    return this.ask('book_appointment', { date, time, name }, id);
  }

  move(to: { date: string; time: string }, which: object = {}, id?: string): Promise<string> {
    return this.ask('reschedule_appointment', { new_date: to.date, new_time: to.time, ...which }, id);
  }

  cancel(which: object = {}, id?: string): Promise<string> {
    return this.ask('cancel_appointment', which, id);
  }

  check(given: object = {}): Promise<string> {
    return this.ask('check_availability', given);
  }
}

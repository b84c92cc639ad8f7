import DataLoader from 'dataloader';
import type { AgentRecord, SaveRecord } from '../../domain/agents/save.ts';
import type { AppointmentRecord } from '../../domain/appointments/appointment.ts';
import type { CallContent, CallRecord } from '../../domain/calls/call.ts';
import type { DocumentRecord } from '../../domain/knowledge-base/document.ts';
import type { PhoneNumberRecord } from '../../domain/phone-numbers/phone-number.ts';
import { isUuid } from '../../domain/uuid.ts';
import type { TenantReads } from '../../ports/tenant-reads.ts';

/** Rows by id, for one request: each row is read once, and all that are asked for together in one database call. */
export interface Loaders {
  /** An organization has at most two, so they are read together. */
  agents(): Promise<AgentRecord[]>;
  agent(id: string): Promise<AgentRecord | null>;
  phoneNumber(id: string): Promise<PhoneNumberRecord | null>;
  document(id: string): Promise<DocumentRecord | null>;
  call(id: string): Promise<CallRecord | null>;
  /** What was said in a call. */
  callContent(callId: string): Promise<CallContent | null>;
  save(id: string): Promise<SaveRecord | null>;
  appointment(id: string): Promise<AppointmentRecord | null>;
}

/** `TenantReads` promises to take so many. */
const MAX_BATCH = 100;

export function createLoaders(reads: TenantReads): Loaders {
  let agents: Promise<AgentRecord[]> | undefined;
  const readAgents = () => {
    agents ??= reads.agents();
    return agents;
  };
  return {
    agents: readAgents,
    agent: async (id) => (await readAgents()).find((agent) => agent.id === id) ?? null,
    phoneNumber: byId((ids) => reads.phoneNumbersById(ids)),
    document: byId((ids) => reads.documentsById(ids)),
    call: byId((ids) => reads.callsById(ids)),
    callContent: byId((ids) => reads.callContentsById(ids)),
    save: byId((ids) => reads.savesById(ids)),
    appointment: byId((ids) => reads.appointmentsById(ids)),
  };
}

function byId<T extends { id: string }>(
  read: (ids: readonly string[]) => Promise<T[]>,
): (id: string) => Promise<T | null> {
  const loader = new DataLoader<string, T | null>(
    async (ids) => {
      const rows = new Map((await read(ids)).map((row) => [row.id, row]));
      return ids.map((id) => rows.get(id) ?? null);
    },
    { maxBatchSize: MAX_BATCH },
  );
  // Postgres writes UUIDs in lower case.
  return async (id) => (isUuid(id) ? loader.load(id.toLowerCase()) : null);
}

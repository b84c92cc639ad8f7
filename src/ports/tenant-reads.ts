import type { AgentRole } from '../domain/agent-config.ts';
import type { AgentRecord, SaveRecord } from '../domain/save.ts';

export interface OrganizationRecord {
  id: string;
  name: string;
}

/**
 * What a caller may see of their own organization. There is no organization in any argument: the database decides by the
 * caller's token. All methods may throw `DatabaseError`.
 */
export interface TenantReads {
  organization(): Promise<OrganizationRecord | null>;
  agents(): Promise<AgentRecord[]>;
  save(id: string): Promise<SaveRecord | null>;
  /** The save that is open now, and the roles that it names. */
  openSave(): Promise<{ save: SaveRecord; roles: AgentRole[] } | null>;
}

/** A lease in the database, under which one process at a time does some work. Both methods may throw `DatabaseError`. */
export interface Lease {
  /** Takes or renews it. Returns 0, or for how long another owner still has it, milliseconds. */
  takeLease(owner: string, ms: number): Promise<number>;
  /** Releases it if this owner holds it. */
  releaseLease(owner: string): Promise<void>;
}

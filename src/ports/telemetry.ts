/** What the services count, for operators. No name holds an id or an organization. */
export const COUNTED = [
  'save.taken_over',
  'save.needs_attention',
  'save.stuck',
  'vapi.late_write',
  'vapi.unauthorized',
  'vapi.rate_limited',
  'vapi.circuit_opened',
  'vapi.key_refused',
  'vapi.key_rotated',
  'vapi.key_not_rotated',
  'vapi.key_foreign',
  'admission.refused',
  'sweep.done',
  'sweep.stopped',
  'sweep.drifted',
  'sweep.repaired',
  'sweep.adopted',
  'sweep.missing',
  'sweep.orphan_deleted',
  'sweep.unreferenced',
  'database.key_refused',
  'database.unreachable',
] as const;
export type Counted = (typeof COUNTED)[number];

export interface Meter {
  count(event: Counted, by?: number): void;
}

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
  'agent.rendered',
  'sweep.done',
  'sweep.stopped',
  'sweep.drifted',
  'sweep.repaired',
  'sweep.adopted',
  'sweep.missing',
  'sweep.orphan_deleted',
  'sweep.unreferenced',
  'knowledge.ready',
  'knowledge.failed',
  'knowledge.missing',
  'knowledge.remade',
  'knowledge.deleted',
  'knowledge.published',
  'knowledge.not_published',
  'knowledge.tool_repaired',
  'knowledge.orphan_deleted',
  'knowledge.sweep_done',
  'knowledge.sweep_stopped',
  'number.activated',
  'number.attached',
  'number.not_attached',
  'number.drifted',
  'number.missing',
  'number.settled',
  'number.late_purchase',
  'number.orphan_deleted',
  'number.sweep_done',
  'number.sweep_stopped',
  'call.event_stored',
  'call.event_applied',
  'call.event_held',
  'call.event_ignored',
  'call.event_refused',
  'call.event_failed',
  'call.event_quarantined',
  'call.withdrawn',
  'call.found',
  'call.not_storable',
  'call.walk_done',
  'call.walk_late',
  'call.walk_stopped',
  'call.tool_answered',
  'appointment.booked',
  'appointment.rescheduled',
  'appointment.cancelled',
  'appointment.refused',
  'appointment.asked',
  'appointment.failed',
  'appointment.rules_changed',
  'database.key_refused',
  'database.unreachable',
] as const;
export type Counted = (typeof COUNTED)[number];

export interface Meter {
  count(event: Counted, by?: number): void;
}

export const SAVE_PHASES = ['waiting', 'begin', 'vapi', 'commit'] as const;
/** What a save spends its time on: waiting for permits, the call that begins it, requests to Vapi, the calls that record its end. */
export type SavePhase = (typeof SAVE_PHASES)[number];

/** Who saw the end: the request, the process that made the save after the request was answered as pending, or recovery. */
export const SAVE_ENDED_BY = ['request', 'background', 'recovery'] as const;
export type SaveEndedBy = (typeof SAVE_ENDED_BY)[number];

/** How a save ended, or why it did not begin. */
export const SAVE_ENDINGS = [
  ...(['committed', 'replayed', 'failed', 'pending', 'needs_attention', 'defect'] as const),
  ...(['refused', 'invalid', 'incomplete', 'no_agent', 'no_organization', 'revision_conflict'] as const),
  ...(['idempotency_conflict', 'in_progress', 'rate_limited', 'unavailable', 'not_configured'] as const),
] as const;
export type SaveEnding = (typeof SAVE_ENDINGS)[number];

export interface SaveMeter {
  ended(save: {
    /** The kind of saga. */
    saga: string;
    by: SaveEndedBy;
    ending: SaveEnding;
    totalMs: number;
    phases: ReadonlyMap<SavePhase, number>;
  }): void;
}

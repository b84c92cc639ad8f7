import type { SagaStatus } from '../../src/domain/saga.ts';
import { TRANSITIONS } from '../../src/services/saga/protocol.ts';

/**
 * What the functions of sagas in the database decide by: status, epoch, lease, quarantine and fence, and nothing of a saga's
 * content. Pure, so that the journal model and the explorer share it; the conformance suite holds it to the SQL.
 *
 * Times are numbers on whatever scale `now` is on. "Until" is over once it is not later than now.
 */
export interface SaveControl {
  status: SagaStatus;
  epoch: number;
  leaseUntil: number | null;
  /** Until then a request that an owner has recorded may still be applied. It only ever rises. */
  quarantineUntil: number | null;
  /** When to look again. */
  lookAt: number | null;
  ambiguous: boolean;
  pivotSent: boolean;
  deadlineAt: number;
}

/** A transition that took place (`control` is new; `fenceMs`: the organization's fence rises), repeats, or is refused. */
export type Step =
  | { kind: 'moved'; control: SaveControl; fenceMs: number | null }
  | { kind: 'repeated' }
  | { kind: 'stale' }
  | { kind: 'too early' };

export interface LateRequest {
  ambiguous: boolean;
  lateMs: number;
}

export function beginControl(now: number, request: { leaseMs: number; deadlineMs: number }): SaveControl {
  return {
    status: 'APPLYING',
    epoch: 1,
    leaseUntil: now + request.leaseMs,
    quarantineUntil: null,
    lookAt: null,
    ambiguous: false,
    pivotSent: false,
    deadlineAt: now + request.deadlineMs,
  };
}

/** Where the table of the protocol knows no such move, this throws: a defect of whoever asked. */
function moved(control: SaveControl, to: SagaStatus, change: Partial<SaveControl>): SaveControl {
  if (!TRANSITIONS[control.status].includes(to)) {
    throw new Error(`${control.status} to ${to} is no transition of the protocol`);
  }
  return { ...control, ...change, status: to };
}

export function commitStep(control: SaveControl, epoch: number, request: LateRequest): Step {
  return guarded(control, epoch, ['APPLYING'], 'COMMITTED', () => {
    const ambiguous = control.ambiguous || request.ambiguous;
    return {
      kind: 'moved',
      control: moved(control, 'COMMITTED', { ambiguous, leaseUntil: null }),
      fenceMs: ambiguous ? request.lateMs : null,
    };
  });
}

export function abortStep(
  control: SaveControl,
  epoch: number,
  request: LateRequest & { leaseMs: number; nothingApplied: boolean },
  now: number,
): Step {
  const ambiguous = control.ambiguous || request.ambiguous;
  const atOnce = request.nothingApplied && !ambiguous;
  const to = atOnce ? 'ROLLED_BACK' : 'ROLLING_BACK';
  return guarded(control, epoch, ['APPLYING'], to, () => ({
    kind: 'moved',
    control: moved(control, to, {
      ambiguous,
      quarantineUntil: raised(control, ambiguous ? now + request.lateMs : null),
      leaseUntil: atOnce ? null : ambiguous ? now : now + request.leaseMs,
    }),
    fenceMs: null,
  }));
}

export function rolledBackStep(control: SaveControl, epoch: number, request: LateRequest): Step {
  return guarded(control, epoch, ['ROLLING_BACK'], 'ROLLED_BACK', () => {
    const ambiguous = control.ambiguous || request.ambiguous;
    return {
      kind: 'moved',
      control: moved(control, 'ROLLED_BACK', { ambiguous, leaseUntil: null }),
      fenceMs: ambiguous ? request.lateMs : null,
    };
  });
}

export function needsAttentionStep(
  control: SaveControl,
  epoch: number,
  request: LateRequest,
  now: number,
): Step {
  return guarded(control, epoch, ['APPLYING', 'ROLLING_BACK'], 'NEEDS_ATTENTION', () => {
    const ambiguous = control.ambiguous || request.ambiguous;
    const quarantineUntil = raised(control, ambiguous ? now + request.lateMs : null);
    return {
      kind: 'moved',
      control: moved(control, 'NEEDS_ATTENTION', { ambiguous, leaseUntil: null, quarantineUntil }),
      fenceMs: null,
    };
  });
}

/** The lease ends now, unless it is kept; the status stays. */
export function holdStep(
  control: SaveControl,
  epoch: number,
  request: {
    ambiguous: boolean;
    quarantineMs: number;
    lookAfterMs: number;
    keepsLease?: boolean;
    pivotSent?: boolean;
  },
  now: number,
): Step {
  return guarded(control, epoch, ['APPLYING', 'ROLLING_BACK'], null, () => ({
    kind: 'moved',
    control: {
      ...control,
      leaseUntil: request.keepsLease === true ? control.leaseUntil : now,
      ambiguous: control.ambiguous || request.ambiguous,
      pivotSent: control.pivotSent || request.pivotSent === true,
      quarantineUntil: raised(control, request.quarantineMs > 0 ? now + request.quarantineMs : null),
      lookAt: now + request.lookAfterMs,
    },
    fenceMs: null,
  }));
}

export function settleStep(
  control: SaveControl,
  epoch: number,
  to: 'COMMITTED' | 'ROLLED_BACK',
  lateMs: number,
  now: number,
): Step {
  return guarded(control, epoch, ['NEEDS_ATTENTION'], to, () => {
    if (control.quarantineUntil !== null && control.quarantineUntil > now) return { kind: 'too early' };
    return {
      kind: 'moved',
      control: moved(control, to, { leaseUntil: null }),
      fenceMs: lateMs,
    };
  });
}

/** May somebody else take this save now? */
export function isDue(control: SaveControl, now: number): boolean {
  return (
    (control.status === 'APPLYING' || control.status === 'ROLLING_BACK') &&
    (control.leaseUntil ?? Number.NEGATIVE_INFINITY) <= now &&
    (control.quarantineUntil ?? Number.NEGATIVE_INFINITY) <= now &&
    (control.lookAt ?? Number.NEGATIVE_INFINITY) <= now
  );
}

/** The quarantine, once this one is recorded too. */
function raised({ quarantineUntil }: SaveControl, until: number | null): number | null {
  return quarantineUntil === null || until === null
    ? (quarantineUntil ?? until)
    : Math.max(quarantineUntil, until);
}

/**
 * Null: it is not due. `quarantined`: the last owner recorded a quarantine, and it is over; one that lies before the end of its lease
 * is of an earlier owner. `once`: its one owner until now recorded nothing ambiguous.
 */
export function takeoverStep(
  control: SaveControl,
  leaseMs: number,
  now: number,
): { control: SaveControl; once: boolean; quarantined: boolean; pastDeadline: boolean } | null {
  if (!isDue(control, now)) return null;
  const once = control.epoch === 1 && !control.ambiguous;
  return {
    control: {
      ...control,
      epoch: control.epoch + 1,
      ambiguous: !once,
      leaseUntil: now + leaseMs,
    },
    once,
    quarantined:
      control.quarantineUntil !== null &&
      control.leaseUntil !== null &&
      control.quarantineUntil >= control.leaseUntil,
    pastDeadline: control.deadlineAt <= now,
  };
}

function guarded(
  control: SaveControl,
  epoch: number,
  from: readonly SagaStatus[],
  to: SagaStatus | null,
  move: () => Step,
): Step {
  if (control.epoch === epoch && from.includes(control.status)) return move();
  if (control.epoch === epoch && control.status === to) return { kind: 'repeated' };
  return { kind: 'stale' };
}

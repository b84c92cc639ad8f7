import type { PartAction, PartRecord, SagaFailureReason, SagaStatus } from '../../domain/saga.ts';

/**
 * The decisions of the protocol, as pure functions: from what is known of a saga to the one thing to do next. The runner (run.ts)
 * carries them out against the ports; the explorer walks through everything that they allow.
 */

/** What going forward came to for one part. All but `applied`, `differed` and `unknown` mean: this attempt changed nothing. */
export type Forward =
  | 'pending'
  | 'applied'
  | 'differed'
  | 'rejected'
  | 'missing'
  | 'unauthorized'
  | 'rate_limited'
  | 'unreachable'
  | 'unknown'
  /** Not found after the quarantine, and not to be sent a second time. */
  | 'lost';

/** What undoing came to for one part. */
export type Undo = 'pending' | 'done' | 'missing' | 'refused' | 'blocked' | 'unknown';

/** What is fixed about a part before the saga begins. */
export interface PartPlan {
  /** Names the part within its saga. */
  key: string;
  /** A stage is sent when every part of the stages before it is applied, and undone before them. */
  stage: number;
  /** Cannot be undone, such as a purchase or a removal. A pivot is alone in the last stage of its saga. */
  pivot: boolean;
  /**
   * Only the first owner may send this creation, because it costs money or needs a secret that is not stored. Every later owner
   * only looks for what was created.
   */
  lookOnly: boolean;
}

export interface PartProgress extends PartPlan {
  /** Changes from `replace` to `create` where the resource is gone and may be created anew. */
  action: PartAction;
  forward: Forward;
  undo: Undo;
  /** Some request of this saga may have changed the resource. */
  touched: boolean;
  /** Some request of this saga got no answer, and may still be applied. */
  ambiguous: boolean;
  /** Permission to create a new resource if the one that is to be replaced turns out to be gone. */
  recreate?: boolean | undefined;
  /** The resource that was to be replaced is gone; where there is permission, the saga creates a new one from then on. */
  gone?: boolean | undefined;
  /**
   * Of a saga that was taken over: whether the resource shows the stamp of this saga. If it does, and `SagaProgress.once` holds, then
   * the only request that the first owner may have sent for this part was applied, and none is under way. Undefined: nobody has looked.
   */
  seen?: boolean | undefined;
  /** Of a saga that was taken over: `touched` and `ambiguous` say all that any owner may have sent for this part. */
  known?: boolean | undefined;
  /** A hand-over recorded that the resource has the new content. A look confirms it, and then nothing is sent again. */
  handedOver?: boolean | undefined;
  /** Of a pivot: the journal says that it may have been sent. */
  announced?: boolean | undefined;
}

/** What one request came to: the port's kinds, with a 2xx told apart by whether its body is what was sent. */
export type Answer =
  | 'matches'
  | 'differs'
  | 'refused'
  | 'gone'
  | 'unauthorized'
  | 'rate_limited'
  | 'not_sent'
  | 'unknown';

export type Request = 'POST' | 'PATCH' | 'DELETE';

/**
 * One part after a request that goes forward was answered. `again`: the same bytes may be sent once more without harm; a POST
 * without an answer may not, because a second one could create a second resource.
 */
export function afterSend(
  part: Readonly<PartProgress>,
  answer: Answer,
  request: Request,
): Partial<Pick<PartProgress, 'action' | 'gone'>> &
  Pick<PartProgress, 'forward' | 'touched' | 'ambiguous'> & { again: boolean } {
  const { touched, ambiguous } = part;
  switch (answer) {
    case 'matches':
      return { forward: 'applied', touched: true, ambiguous, again: false };
    case 'differs':
      return { forward: 'differed', touched: true, ambiguous, again: false };
    case 'refused':
      return { forward: 'rejected', touched, ambiguous, again: false };
    case 'gone':
      // Nobody has it any more, which is what a removal wants.
      if (request === 'DELETE') return { forward: 'applied', touched: true, ambiguous, again: false };
      // With permission the part has yet to be sent, as a creation: what that needs first, the next decision says.
      if (part.recreate === true && part.action === 'replace') {
        return { forward: 'pending', action: 'create', gone: true, touched, ambiguous, again: false };
      }
      return { forward: 'missing', touched, ambiguous, again: false };
    case 'unauthorized':
      return { forward: 'unauthorized', touched, ambiguous, again: false };
    // This attempt changed nothing, but an earlier one may have.
    case 'rate_limited':
      return { forward: ambiguous ? 'unknown' : 'rate_limited', touched, ambiguous, again: true };
    case 'not_sent':
      return { forward: ambiguous ? 'unknown' : 'unreachable', touched, ambiguous, again: true };
    case 'unknown':
      return { forward: 'unknown', touched: true, ambiguous: true, again: request !== 'POST' };
  }
}

/** One part after a request that undoes was answered. The same bytes again never harm here: a DELETE is of one id, for good. */
export function afterUndo(
  part: Readonly<PartProgress>,
  answer: Answer,
  request: 'PATCH' | 'DELETE',
): Partial<Pick<PartProgress, 'action' | 'gone'>> &
  Pick<PartProgress, 'undo' | 'ambiguous'> & { again: boolean } {
  const { undo, ambiguous } = part;
  switch (answer) {
    case 'matches':
      return { undo: 'done', ambiguous, again: false };
    case 'gone':
      // An earlier owner may have used its permission: what it created is undone as a creation.
      if (request === 'PATCH' && part.recreate === true) {
        return { undo: 'pending', action: 'create', gone: true, ambiguous, again: false };
      }
      return { undo: request === 'DELETE' ? 'done' : 'missing', ambiguous, again: false };
    case 'differs':
    case 'refused':
      return { undo: 'refused', ambiguous, again: false };
    // The key will not come back within this lease: recovery holds on, and tries again.
    case 'unauthorized':
      return { undo, ambiguous, again: false };
    case 'rate_limited':
    case 'not_sent':
      return { undo, ambiguous, again: true };
    case 'unknown':
      return { undo: 'unknown', ambiguous: true, again: true };
  }
}

export interface SagaProgress {
  status: SagaStatus;
  parts: PartProgress[];
  /** Taken over from another owner: nobody knows what that one sent. */
  taken: boolean;
  /** Taken over from its first owner, which recorded no second request for any part: it sent at most one for each. */
  once?: boolean | undefined;
  /** A stored quarantine is over: what an earlier owner sent is applied or dead. */
  quarantined: boolean;
  pastDeadline: boolean;
  /** The lease is given up: another owner goes on. */
  released: boolean;
}

export type Decision =
  | { do: 'look'; keys: string[] }
  | { do: 'announce'; keys: string[] }
  | { do: 'send'; keys: string[] }
  | { do: 'commit'; ambiguous: boolean }
  | {
      do: 'abort';
      reason: SagaFailureReason;
      ambiguous: boolean;
      nothingApplied: boolean;
      missing: string[];
    }
  | { do: 'hand_over'; ambiguous: boolean; quarantine: boolean }
  | { do: 'undo'; keys: string[] }
  | { do: 'attention'; reason: SagaFailureReason; ambiguous: boolean }
  | { do: 'close'; missing: string[]; ambiguous: boolean }
  | { do: 'stop' };

const REASON: Readonly<Partial<Record<Forward, SagaFailureReason>>> = {
  rejected: 'VAPI_REJECTED',
  differed: 'VAPI_ANSWER_DIFFERED',
  missing: 'RESOURCE_MISSING',
  lost: 'OUTCOME_UNKNOWN',
  unauthorized: 'VAPI_UNAUTHORIZED',
  rate_limited: 'VAPI_RATE_LIMITED',
  unreachable: 'VAPI_UNAVAILABLE',
};

/** Ends a saga whoever meets it. The others end it only for its first owner: recovery can wait for better times. */
const DEFINITE: ReadonlySet<Forward> = new Set(['rejected', 'differed', 'missing', 'lost']);
const TRANSIENT: ReadonlySet<Forward> = new Set(['unauthorized', 'rate_limited', 'unreachable']);

/** Before this part is sent, the journal must say so: what comes before it may yet be refused, and must then be undone. */
function isAnnounced(part: PartPlan, parts: readonly PartPlan[]): boolean {
  return part.pivot && parts.some(({ stage }) => stage < part.stage);
}

/**
 * What is known of one part when an owner begins. Of a saga that was taken over, that is what the last owner handed over. If it died,
 * any part may have been sent, except a pivot that nobody announced.
 */
export function startOf(
  part: PartPlan & Pick<PartProgress, 'action'>,
  parts: readonly PartPlan[],
  held: { taken: boolean; record?: Omit<PartRecord, 'remoteId'> | undefined; pivotSent: boolean },
): Omit<PartProgress, keyof PartPlan | 'recreate'> {
  const { taken, record, pivotSent } = held;
  const start = { action: part.action, forward: 'pending', undo: 'pending', announced: pivotSent } as const;
  if (record === undefined) {
    const isUntouched = !taken || (isAnnounced(part, parts) && !pivotSent);
    return { ...start, touched: !isUntouched, ambiguous: false, known: isUntouched };
  }
  const { action, gone, applied, undone, touched, ambiguous } = record;
  return {
    ...{ ...start, action, gone, touched, ambiguous, known: true },
    // Nothing is left to look at, and nobody brings it back.
    forward: applied && action === 'remove' ? 'applied' : 'pending',
    handedOver: applied && action !== 'remove',
    undo: undone ?? 'pending',
  };
}

/**
 * What an owner that sends nothing more records of a part. Null: nothing is recorded. In a saga of one stage no decision needs it, and
 * a look would cost as much as sending the same bytes again.
 */
export function recordOf(saga: SagaProgress, part: PartProgress): Omit<PartRecord, 'remoteId'> | null {
  if (new Set(saga.parts.map(({ stage }) => stage)).size < 2) return null;
  const { action, gone = false, forward, undo, touched } = part;
  return {
    ...{ action, gone, touched, applied: forward === 'applied', ambiguous: isInDoubt(saga, part) },
    undone: undo === 'done' || undo === 'missing' ? undo : null,
  };
}

/** What to do next. Total: every state has exactly one answer. */
export function decide(saga: SagaProgress): Decision {
  if (saga.released) return { do: 'stop' };
  if (saga.status === 'APPLYING') return forward(saga);
  if (saga.status === 'ROLLING_BACK') return backward(saga);
  return { do: 'stop' };
}

/** Some request for this part may still be applied. */
function isInDoubt(saga: SagaProgress, part: PartProgress): boolean {
  const isKnown = part.known === true || (saga.once === true && part.seen === true);
  return part.ambiguous || (saga.taken && !isKnown);
}

function forward(saga: SagaProgress): Decision {
  const { parts, taken } = saga;
  const unlooked = parts.filter(
    (part) =>
      part.seen === undefined && (part.handedOver === true || (saga.once === true && part.known !== true)),
  );
  if (taken && unlooked.length > 0) return { do: 'look', keys: keysOf(unlooked) };
  const ambiguous = parts.some((part) => isInDoubt(saga, part));
  // A POST of the last owner may still be on its way: a second one would create a second resource, and a look would miss it.
  const inDoubt = (part: PartProgress) => part.action === 'create' && isInDoubt(saga, part);
  if (taken && !saga.quarantined && parts.some(inDoubt)) {
    return { do: 'hand_over', ambiguous, quarantine: true };
  }
  // Nothing more is sent for a saga that cannot be kept.
  const definite = parts.find((part) => DEFINITE.has(part.forward));
  const next = definite === undefined ? nextToSend(parts) : [];
  const unannounced = next.filter((part) => part.announced !== true && isAnnounced(part, parts));
  if (unannounced.length > 0) return { do: 'announce', keys: keysOf(unannounced) };
  if (next.length > 0) return { do: 'send', keys: keysOf(next) };
  if (parts.every((part) => part.forward === 'applied')) return { do: 'commit', ambiguous };

  // Once a pivot may have been sent there is no way back. What Vapi refuses then, only a person can end.
  if (parts.some((part) => part.pivot && part.touched)) {
    if (definite !== undefined) {
      return { do: 'attention', reason: reasonOf(definite), ambiguous };
    }
    return handOver(parts, ambiguous);
  }

  const patience = taken && !saga.pastDeadline;
  const failed = definite ?? (patience ? undefined : parts.find((part) => TRANSIENT.has(part.forward)));
  if (failed !== undefined || (taken && saga.pastDeadline)) {
    return {
      do: 'abort',
      reason: reasonOf(failed),
      ambiguous,
      nothingApplied: !ambiguous && parts.every((part) => !part.touched),
      missing: missingParts(parts),
    };
  }
  // The outcome is unknown and the lease leaves no room for another attempt.
  return handOver(parts, ambiguous);
}

/** The untried parts of the first stage that is not complete. */
function nextToSend(parts: PartProgress[]): PartProgress[] {
  const open = parts.filter((part) => part.forward !== 'applied');
  const stage = Math.min(...open.map((part) => part.stage));
  return open.filter((part) => part.stage === stage && part.forward === 'pending');
}

function handOver(parts: PartProgress[], ambiguous: boolean): Decision {
  const quarantine = parts.some((part) => part.action === 'create' && part.forward === 'unknown');
  return { do: 'hand_over', ambiguous, quarantine };
}

function backward(saga: SagaProgress): Decision {
  const { parts } = saga;
  const touched = parts.filter((part) => part.touched);
  const open = touched.filter((part) => part.undo !== 'done' && part.undo !== 'missing');
  const stage = Math.max(...open.map((part) => part.stage));
  const current = open.filter((part) => part.stage === stage);
  const untried = current.filter((part) => part.undo === 'pending');
  if (untried.length > 0) return { do: 'undo', keys: keysOf(untried) };
  if (current.some((part) => part.undo === 'unknown' || part.undo === 'blocked')) {
    return { do: 'hand_over', ambiguous: true, quarantine: false };
  }
  const ambiguous = parts.some((part) => isInDoubt(saga, part));
  // The stages before stay as they are, because what could not be undone may need them.
  if (current.length > 0) return { do: 'attention', reason: 'VAPI_REJECTED', ambiguous };
  return { do: 'close', missing: missingParts(parts), ambiguous };
}

function reasonOf(failed: PartProgress | undefined): SagaFailureReason {
  return REASON[failed?.forward ?? 'unreachable'] ?? 'VAPI_UNAVAILABLE';
}

function missingParts(parts: PartProgress[]): string[] {
  return keysOf(
    parts.filter((part) => part.forward === 'missing' || part.undo === 'missing' || part.gone === true),
  );
}

function keysOf(parts: PartProgress[]): string[] {
  return parts.map((part) => part.key);
}

/** The statuses that each status can change to. The database functions hold the same table, and a test compares the two. */
export const TRANSITIONS: Readonly<Record<SagaStatus, readonly SagaStatus[]>> = {
  APPLYING: ['COMMITTED', 'ROLLING_BACK', 'ROLLED_BACK', 'NEEDS_ATTENTION'],
  ROLLING_BACK: ['ROLLED_BACK', 'NEEDS_ATTENTION'],
  NEEDS_ATTENTION: ['COMMITTED', 'ROLLED_BACK'],
  COMMITTED: [],
  ROLLED_BACK: [],
};

/** A saga that is over: it never changes again. */
export function isClosed(status: SagaStatus): boolean {
  return TRANSITIONS[status].length === 0;
}

import type { AgentRole } from '../../domain/agents/agent-config.ts';
import type { SaveFailureReason, SaveStatus } from '../../domain/agents/save.ts';

/**
 * The protocol's decisions, pure: from what is known of a save to the one thing to do next. The runner (run.ts) carries them
 * out against the ports; the explorer walks through everything that they allow.
 */

/** What going forward came to for one agent. All but `applied`, `differed` and `unknown` mean: this attempt changed nothing. */
export type Forward =
  | 'pending'
  | 'applied'
  | 'differed'
  | 'rejected'
  | 'missing'
  | 'unauthorized'
  | 'rate_limited'
  | 'unreachable'
  | 'unknown';

/** What undoing came to for one agent. */
export type Undo = 'pending' | 'done' | 'missing' | 'refused' | 'blocked' | 'unknown';

export interface AgentProgress {
  role: AgentRole;
  /** This save makes the assistant (POST, undone by DELETE) instead of changing one (PATCH, undone by PATCH). */
  creates: boolean;
  forward: Forward;
  undo: Undo;
  /** Some request of this save may have changed the assistant. */
  touched: boolean;
  /** Some request of this save got no answer, and may still be applied. */
  ambiguous: boolean;
  /** Leave to make a new assistant, should the one that is to be changed turn out to be gone. */
  recreate?: boolean | undefined;
  /** The assistant that was to be changed is gone; where there is leave, the save makes a new one from then on. */
  gone?: boolean | undefined;
  /**
   * Of a save that was taken over: its stamp was seen on the assistant. With `SaveProgress.once`, the one request that the last
   * owner may have sent for this agent has then been applied, and nothing is under way. Undefined: nobody has looked.
   */
  seen?: boolean | undefined;
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

/**
 * One agent after a request that goes forward was answered. `again`: the same bytes may be sent once more without harm; a POST
 * without an answer may not, because a second one could make a second assistant.
 */
export function afterSend(
  agent: Readonly<AgentProgress>,
  answer: Answer,
  request: 'POST' | 'PATCH',
): Partial<Pick<AgentProgress, 'creates' | 'gone'>> &
  Pick<AgentProgress, 'forward' | 'touched' | 'ambiguous'> & { again: boolean } {
  const { touched, ambiguous } = agent;
  switch (answer) {
    case 'matches':
      return { forward: 'applied', touched: true, ambiguous, again: false };
    case 'differs':
      return { forward: 'differed', touched: true, ambiguous, again: false };
    case 'refused':
      return { forward: 'rejected', touched, ambiguous, again: false };
    case 'gone':
      // With leave the agent has yet to be sent, as a creation: what that needs first, the next decision says.
      if (agent.recreate === true && !agent.creates) {
        return { forward: 'pending', creates: true, gone: true, touched, ambiguous, again: false };
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
      return { forward: 'unknown', touched: true, ambiguous: true, again: request === 'PATCH' };
  }
}

/** One agent after a request that undoes was answered. The same bytes again never harm here: a DELETE is of one id, for good. */
export function afterUndo(
  agent: Readonly<AgentProgress>,
  answer: Answer,
  request: 'PATCH' | 'DELETE',
): Partial<Pick<AgentProgress, 'creates' | 'gone'>> &
  Pick<AgentProgress, 'undo' | 'ambiguous'> & { again: boolean } {
  const { undo, ambiguous } = agent;
  switch (answer) {
    case 'matches':
      return { undo: 'done', ambiguous, again: false };
    case 'gone':
      // An earlier owner may have used its leave: what it made is undone as a creation.
      if (request === 'PATCH' && agent.recreate === true) {
        return { undo: 'pending', creates: true, gone: true, ambiguous, again: false };
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

export interface SaveProgress {
  status: SaveStatus;
  agents: AgentProgress[];
  /** Taken over from another owner: nobody knows what that one sent. */
  taken: boolean;
  /** Taken over from its first owner, which recorded no second request for an agent: it sent one at most. */
  once?: boolean | undefined;
  /** A stored quarantine is over: what an earlier owner sent is applied or dead. */
  quarantined: boolean;
  pastDeadline: boolean;
  /** The lease is given up: another owner goes on. */
  released: boolean;
}

export type Decision =
  | { do: 'look'; roles: AgentRole[] }
  | { do: 'send'; roles: AgentRole[] }
  | { do: 'commit'; ambiguous: boolean }
  | {
      do: 'abort';
      reason: SaveFailureReason;
      ambiguous: boolean;
      nothingApplied: boolean;
      missing: AgentRole[];
    }
  | { do: 'hand_over'; ambiguous: boolean; quarantine: boolean }
  | { do: 'undo'; roles: AgentRole[] }
  | { do: 'attention'; ambiguous: boolean }
  | { do: 'close'; missing: AgentRole[]; ambiguous: boolean }
  | { do: 'stop' };

const REASON: Readonly<Partial<Record<Forward, SaveFailureReason>>> = {
  rejected: 'VAPI_REJECTED',
  differed: 'VAPI_ANSWER_DIFFERED',
  missing: 'ASSISTANT_MISSING',
  unauthorized: 'VAPI_UNAUTHORIZED',
  rate_limited: 'VAPI_RATE_LIMITED',
  unreachable: 'VAPI_UNAVAILABLE',
};

/** Ends a save whoever meets it. The others end it only for its first owner: recovery can wait for better times. */
const DEFINITE: ReadonlySet<Forward> = new Set(['rejected', 'differed', 'missing']);
const TRANSIENT: ReadonlySet<Forward> = new Set(['unauthorized', 'rate_limited', 'unreachable']);

/** What to do next. Total: every state has exactly one answer. */
export function decide(save: SaveProgress): Decision {
  if (save.released) return { do: 'stop' };
  if (save.status === 'APPLYING') return forward(save);
  if (save.status === 'ROLLING_BACK') return backward(save);
  return { do: 'stop' };
}

/** Some request for this agent may still be applied. */
function isInDoubt(save: SaveProgress, agent: AgentProgress): boolean {
  const isKnown = save.once === true && agent.seen === true;
  return agent.ambiguous || (save.taken && !isKnown);
}

function forward(save: SaveProgress): Decision {
  const { agents, taken } = save;
  if (taken && save.once === true) {
    const unlooked = agents.filter((agent) => agent.seen === undefined);
    if (unlooked.length > 0) return { do: 'look', roles: unlooked.map((agent) => agent.role) };
  }
  const ambiguous = agents.some((agent) => isInDoubt(save, agent));
  // A POST of the last owner may still be on its way, and a second one would make a second assistant.
  if (taken && !save.quarantined && agents.some((agent) => agent.creates && isInDoubt(save, agent))) {
    return { do: 'hand_over', ambiguous, quarantine: true };
  }
  const untried = agents.filter((agent) => agent.forward === 'pending');
  // Nothing is made for a save that cannot be kept any more.
  const hopeless = agents.some((agent) => DEFINITE.has(agent.forward));
  if (untried.length > 0 && !hopeless) return { do: 'send', roles: untried.map((agent) => agent.role) };
  if (agents.every((agent) => agent.forward === 'applied')) return { do: 'commit', ambiguous };

  const patience = taken && !save.pastDeadline;
  const failed =
    agents.find((agent) => DEFINITE.has(agent.forward)) ??
    (patience ? undefined : agents.find((agent) => TRANSIENT.has(agent.forward)));
  if (failed !== undefined || (taken && save.pastDeadline)) {
    return {
      do: 'abort',
      reason: REASON[failed?.forward ?? 'unreachable'] ?? 'VAPI_UNAVAILABLE',
      ambiguous,
      nothingApplied: !ambiguous && agents.every((agent) => !agent.touched),
      missing: missingAgents(agents),
    };
  }
  // The outcome is unknown and the lease leaves no room for another attempt.
  return {
    do: 'hand_over',
    ambiguous,
    quarantine: agents.some((agent) => agent.creates && agent.forward === 'unknown'),
  };
}

function backward(save: SaveProgress): Decision {
  const { agents } = save;
  const touched = agents.filter((agent) => agent.touched);
  const untried = touched.filter((agent) => agent.undo === 'pending');
  if (untried.length > 0) return { do: 'undo', roles: untried.map((agent) => agent.role) };
  if (touched.some((agent) => agent.undo === 'unknown' || agent.undo === 'blocked')) {
    return { do: 'hand_over', ambiguous: true, quarantine: false };
  }
  const ambiguous = agents.some((agent) => isInDoubt(save, agent));
  if (touched.some((agent) => agent.undo === 'refused')) return { do: 'attention', ambiguous };
  return { do: 'close', missing: missingAgents(agents), ambiguous };
}

function missingAgents(agents: AgentProgress[]): AgentRole[] {
  return agents
    .filter((agent) => agent.forward === 'missing' || agent.undo === 'missing' || agent.gone === true)
    .map((agent) => agent.role);
}

/**
 * Where a save may go from where it is. The functions of the database hold the same table (and a test holds them to it). From
 * APPLYING to NEEDS_ATTENTION only an operator moves a save, who ends it by hand (settle.ts).
 */
export const TRANSITIONS: Readonly<Record<SaveStatus, readonly SaveStatus[]>> = {
  APPLYING: ['COMMITTED', 'ROLLING_BACK', 'ROLLED_BACK', 'NEEDS_ATTENTION'],
  ROLLING_BACK: ['ROLLED_BACK', 'NEEDS_ATTENTION'],
  NEEDS_ATTENTION: ['COMMITTED', 'ROLLED_BACK'],
  COMMITTED: [],
  ROLLED_BACK: [],
};

/** A save that is over: it never changes again. */
export function isClosed(status: SaveStatus): boolean {
  return TRANSITIONS[status].length === 0;
}

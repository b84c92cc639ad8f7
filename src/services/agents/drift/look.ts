import type { AgentConfigPatch } from '../../../domain/agents/agent-config.ts';
import type { FieldDrift } from '../../../domain/agents/save.ts';
import type { Stamp } from '../../../domain/agents/stamp.ts';
import { jsonEqual } from '../../../domain/json.ts';
import type { SweepAgent, SweepNote, SweepStore } from '../../../ports/agents/sweep-store.ts';
import type { Assistants, ProviderAssistant, ProviderReply } from '../../../ports/voice-provider.ts';
import { observedForm, stampOf } from '../compare.ts';
import { isKnownMapping } from '../render.ts';
import { adoptablePatch } from './adopt.ts';
import { fieldDrift } from './drift.ts';

/** One look at one assistant: reads it from Vapi, compares it with its agent, and notes what it found. */

/** Identifies an agent at the revision that the caller knows of. */
export type SeenAgent = Omit<SweepNote, 'state' | 'drift' | 'adoptable'> & { assistantId: string };

export type Verdict =
  | { kind: 'same' }
  /** Somebody edited it. `adoptable` is null if the configuration has no field for the edit. */
  | { kind: 'drifted'; agent: SweepAgent; drift: FieldDrift[]; adoptable: AgentConfigPatch | null }
  /** Not an edit: a write of Lockstep that arrived late, or an assistant whose stamp was destroyed. */
  | { kind: 'stale'; agent: SweepAgent; stamp: Stamp | null; drift: FieldDrift[] }
  | { kind: 'missing' }
  /**
   * A save is open or fenced, or ended after `seen`: what Vapi shows may be older than what the database says. Also an agent that a
   * newer build saved, which this one cannot judge.
   */
  | { kind: 'saving' }
  | { kind: 'unreadable'; reply: Exclude<ProviderReply<ProviderAssistant>, { kind: 'ok' | 'gone' }> };

/** Throws `DatabaseError`. A verdict other than `saving` and `unreadable` has been noted, except that of a stale stamp. */
export async function look(
  { store, voice }: { store: SweepStore; voice: Assistants },
  seen: SeenAgent,
): Promise<Verdict> {
  const found = await voice.getAssistant(seen.assistantId);
  const [agent] = await store.lookup([seen.assistantId]);
  if (found.kind === 'gone') {
    const noted = await store.note([{ ...noteOf(seen), state: 'MISSING' }]);
    return { kind: noted.length === 0 ? 'saving' : 'missing' };
  }
  if (found.kind !== 'ok') return { kind: 'unreadable', reply: found };
  if (agent === undefined || agent.busy || agent.saveId !== seen.saveId) return { kind: 'saving' };
  if (!isKnownMapping(agent.mappingVersion)) return { kind: 'saving' };
  const assistant = found.value;
  if (isSame(agent, assistant)) {
    await store.note([{ ...noteOf(agent), state: 'SAME' }]);
    return { kind: 'same' };
  }

  const stamp = stampOf(assistant);
  const drift = fieldDrift(
    agent.observed ?? {},
    observedForm(agent.mappingVersion, agent.context, assistant),
  );
  if (!isCurrent(agent, stamp)) {
    // Clear the missing mark: a save would refuse an agent that is marked missing. A REPORT organization is shown the edit.
    if (agent.missing || (agent.policy === 'REPORT' && stamp === null)) {
      await store.note([{ ...noteOf(agent), state: 'DRIFTED', drift, adoptable: null }]);
    }
    return { kind: 'stale', agent, stamp, drift };
  }
  const adoptable = stamp === null ? null : adoptablePatch(agent.config, assistant, stamp, agent.context);
  const noted = await store.note([{ ...noteOf(agent), state: 'DRIFTED', drift, adoptable }]);
  return noted.length === 0 ? { kind: 'saving' } : { kind: 'drifted', agent, drift, adoptable };
}

/** Vapi holds what we last wrote, with the stamp of the save that wrote it. */
function isSame(agent: SweepAgent, assistant: ProviderAssistant): boolean {
  if (!isCurrent(agent, stampOf(assistant))) return false;
  return jsonEqual(observedForm(agent.mappingVersion, agent.context, assistant), agent.observed);
}

/** A stamp is current only if its save is the agent's last committed one, however high its revision. */
export function isCurrent(agent: Pick<SweepAgent, 'saveId' | 'agentId'>, stamp: Stamp | null): boolean {
  return stamp !== null && stamp.saveId === agent.saveId && stamp.agentId === agent.agentId;
}

export function noteOf({ orgId, agentId, revision, saveId }: Omit<SweepNote, 'state'>) {
  return { orgId, agentId, revision, saveId };
}

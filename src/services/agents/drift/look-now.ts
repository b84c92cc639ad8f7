import type { Admission } from '../../../ports/admission.ts';
import type { SweepStore } from '../../../ports/agents/sweep-store.ts';
import type { Assistants } from '../../../ports/voice-provider.ts';
import { takingTurns } from '../../admission/taking-turns.ts';
import { look, type Verdict } from './look.ts';

interface LookPorts {
  store: SweepStore;
  /** The provider of the active key. Null: there is no key. */
  voice(): Assistants | null;
  /** The rate limiter, and how long a look may wait for a permit, milliseconds. Absent: the rate is not limited. */
  limit: { admission: Admission; waitMs: number } | undefined;
}

/**
 * Reads one assistant now, for a caller who waits; the request takes a permit of the caller's organization. Null: there is no
 * key. `saving`: the assistant belongs to no agent of this organization. Throws `DatabaseError`.
 */
export async function lookNow(
  { store, voice: open, limit }: LookPorts,
  orgId: string,
  assistantId: string,
): Promise<Verdict | null> {
  const voice = open();
  if (voice === null) return null;
  const [agent] = await store.lookup([assistantId]);
  if (agent?.orgId !== orgId) return { kind: 'saving' };
  const limited = limit === undefined ? voice : takingTurns(voice, limit.admission, orgId, limit.waitMs);
  return look({ store, voice: limited }, agent);
}

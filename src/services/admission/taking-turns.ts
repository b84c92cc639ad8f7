import type { Admission } from '../../ports/admission.ts';
import { around } from '../../ports/voice-provider.ts';

/**
 * A provider each of whose requests takes a turn first, as those of an organization of that name would: for work in the
 * background, which nobody waits for and which holds no lease.
 */
export function takingTurns<Api extends object>(
  voice: Api,
  admission: Admission,
  name: string,
  withinMs: number,
): Api {
  return around(voice, async (request) => {
    const admitted = await admission.admit(name, 1, withinMs);
    if (!admitted.admitted) return { kind: 'rate_limited', retryAfterMs: admitted.retryAfterMs };
    return request().finally(admitted.done);
  });
}

import type { Admission } from '../../ports/admission.ts';
import type { ProviderReply, VoiceProvider } from '../../ports/voice-provider.ts';

/**
 * A provider each of whose requests takes a turn first, as those of an organization of that name would: for work in the
 * background, which nobody waits for and which holds no lease.
 */
export function takingTurns(
  voice: VoiceProvider,
  admission: Admission,
  name: string,
  withinMs: number,
): VoiceProvider {
  async function inTurn<T>(call: () => Promise<ProviderReply<T>>): Promise<ProviderReply<T>> {
    const admitted = await admission.admit(name, 1, withinMs);
    return admitted.admitted ? call() : { kind: 'rate_limited', retryAfterMs: admitted.retryAfterMs };
  }
  return {
    timeoutMs: voice.timeoutMs,
    createAssistant: (document) => inTurn(() => voice.createAssistant(document)),
    updateAssistant: (id, document) => inTurn(() => voice.updateAssistant(id, document)),
    getAssistant: (id) => inTurn(() => voice.getAssistant(id)),
    deleteAssistant: (id) => inTurn(() => voice.deleteAssistant(id)),
    listAssistants: (query) => inTurn(() => voice.listAssistants(query)),
  };
}

import type { ProviderAssistant, ProviderReply, VoiceProvider } from '../../ports/voice-provider.ts';
import { stampOf } from './compare.ts';

const PAGE = 1_000;
/** Vapi's clock and the database's may differ by minutes. */
const CLOCK_DIFFERENCE_MS = 10 * 60_000;

/** Does the assistant carry the stamp of this save for this agent? */
export function isStamped(assistant: ProviderAssistant, saveId: string, agentId: string): boolean {
  const stamp = stampOf(assistant);
  return stamp?.saveId === saveId && stamp.agentId === agentId;
}

/**
 * Finds the assistants that a save has stamped for an agent since it started, oldest first. `mayAsk` is called before each
 * request; false ends the search.
 */
export async function stampedAssistants(
  voice: VoiceProvider,
  { saveId, agentId, startedAt }: { saveId: string; agentId: string; startedAt: string },
  mayAsk: () => Promise<boolean> = async () => true,
): Promise<ProviderReply<ProviderAssistant[]>> {
  const since = new Date(Date.parse(startedAt) - CLOCK_DIFFERENCE_MS).toISOString();
  const found = new Map<string, ProviderAssistant>();
  let before: string | undefined;
  for (;;) {
    if (!(await mayAsk())) return { kind: 'not_sent', code: 'LEASE' };
    const page = await voice.listAssistants({
      limit: PAGE,
      createdAtGe: since,
      ...(before === undefined ? {} : { createdAtLe: before }),
    });
    if (page.kind !== 'ok') return page;
    const times = page.value.map((assistant) => String(assistant['createdAt'])).sort();
    for (const assistant of page.value) {
      if (isStamped(assistant, saveId, agentId)) found.set(assistant.id, assistant);
    }
    if (page.value.length < PAGE || times[0] === before) break;
    before = times[0];
  }
  // Every process that searches must find the same one to be the oldest.
  const age = (assistant: ProviderAssistant) => `${assistant['createdAt']} ${assistant.id}`;
  return { kind: 'ok', value: [...found.values()].sort((a, b) => (age(a) < age(b) ? -1 : 1)) };
}

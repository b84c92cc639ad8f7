import type { ProviderReply } from '../../ports/voice-provider.ts';
import type { Found, Part } from './participant.ts';

const PAGE_SIZE = 1_000;
/** How far the clocks of Vapi and of the database may differ, milliseconds. */
const CLOCK_DIFFERENCE_MS = 10 * 60_000;

/**
 * Returns the resources that the saga of this part has stamped for it since the saga started, oldest first. `mayAsk` is called before
 * each request; false ends the search.
 */
export async function stampedResources(
  part: Part,
  startedAt: string,
  mayAsk: () => Promise<boolean> = async () => true,
): Promise<ProviderReply<Found[]>> {
  const since = new Date(Date.parse(startedAt) - CLOCK_DIFFERENCE_MS).toISOString();
  const found = new Map<string, Found>();
  let before: string | undefined;
  for (;;) {
    if (!(await mayAsk())) return { kind: 'not_sent', code: 'LEASE' };
    const page = await part.list({
      limit: PAGE_SIZE,
      createdAtGe: since,
      ...(before === undefined ? {} : { createdAtLe: before }),
    });
    if (page.kind !== 'ok') return page;
    const times = page.value.map(({ createdAt }) => createdAt).sort();
    for (const one of page.value) if (one.stamped) found.set(one.remoteId, one);
    if (page.value.length < PAGE_SIZE || times[0] === before) break;
    before = times[0];
  }
  // Every process that searches must find the same one to be the oldest.
  const age = ({ createdAt, remoteId }: Found) => `${createdAt} ${remoteId}`;
  return { kind: 'ok', value: [...found.values()].sort((a, b) => (age(a) < age(b) ? -1 : 1)) };
}

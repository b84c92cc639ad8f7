import type { ProviderReply } from '../../ports/voice-provider.ts';
import type { Answer } from './protocol.ts';

/** How long to wait before the same request is sent again, milliseconds. `random` is from 0 to 1. */

export function backoffMs(attempt: number, baseMs: number, mostMs: number, random: number): number {
  const full = Math.min(mostMs, baseMs * 2 ** Math.min(attempt, 16));
  return Math.round(full / 2 + (full / 2) * random);
}

/** After a request that goes forward. */
export function sendRetryMs(reply: ProviderReply<unknown>, attempt: number, random: number): number {
  if (reply.kind !== 'rate_limited') return backoffMs(attempt, 250, 5_000, random);
  // As Vapi says, but never at once; slower each time if it says nothing.
  return reply.retryAfterMs === null
    ? backoffMs(attempt, 2_000, 60_000, random)
    : Math.max(reply.retryAfterMs, backoffMs(attempt, 250, 5_000, random));
}

/** After a request that undoes, or after the look before it. Where nothing was sent, it is less urgent. */
export function undoRetryMs(
  reply: ProviderReply<unknown>,
  answer: Answer,
  attempt: number,
  random: number,
): number {
  return answer === 'not_sent' && reply.kind !== 'rate_limited'
    ? backoffMs(attempt, 500, 10_000, random)
    : sendRetryMs(reply, attempt, random);
}

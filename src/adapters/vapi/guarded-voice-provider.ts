import {
  BrokenCircuitError,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhenResult,
} from 'cockatiel';
import type { Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import {
  around,
  type ProviderAssistant,
  type ProviderReply,
  type VoiceProvider,
} from '../../ports/voice-provider.ts';
import type { KeyHooks } from './key-ring.ts';

/** When Vapi is left alone for a while. */
export interface BreakerSettings {
  /** Requests in a row that Vapi did not answer, or answered with 5xx, before nothing more is sent. */
  failures: number;
  /** How long nothing is sent then; after that, one request tries. Milliseconds. */
  openMs: number;
  /** Requests in a row for which Vapi refused the key, before a read decides whether nothing more is sent with it. */
  keyRefusals: number;
  /** How often a refused key is tried again, with a read. Milliseconds. */
  keyRetryMs: number;
}

/** One for the process, whatever the key: it is about Vapi, and not about what we send. */
export interface Circuit {
  /** The reply, or null where nothing was sent. */
  run<T>(call: () => Promise<ProviderReply<T>>): Promise<ProviderReply<T> | null>;
}

interface Reports {
  meter: Meter;
  log: Log;
}

/** `onOpen` is told for how long. */
export function createCircuit(
  { failures, openMs }: BreakerSettings,
  { meter, log }: Reports,
  onOpen: (ms: number) => void,
): Circuit {
  const policy = circuitBreaker(
    handleWhenResult((reply) => isTrouble(reply as ProviderReply<unknown>)),
    { halfOpenAfter: openMs, breaker: new ConsecutiveBreaker(failures) },
  );
  policy.onBreak(() => {
    meter.count('vapi.circuit_opened');
    const fields = { event: 'vapi.circuit_opened', ms: openMs };
    log.error(fields, 'Vapi does not answer; nothing is sent for a while');
    onOpen(openMs);
  });
  policy.onReset(() => log.info({ event: 'vapi.circuit_closed' }, 'Vapi answers again'));
  return {
    run: async (call) => {
      // While one request tries, the library would let the others wait for it; but a write must not wait after its guard.
      if (policy.state === CircuitState.HalfOpen) return null;
      try {
        return await policy.execute(call);
      } catch (error) {
        if (error instanceof BrokenCircuitError) return null;
        throw error;
      }
    },
  };
}

/** 5xx, timeouts and connections that broke: not what Vapi refuses, which one tenant's content could bring about. */
function isTrouble(reply: ProviderReply<unknown>): boolean {
  if (reply.kind === 'unknown') return !/^(UNREADABLE_BODY|HTTP_3)/.test(reply.code);
  return reply.kind === 'not_sent' && reply.code.startsWith('TIMEOUT');
}

export interface GuardOptions extends Reports, KeyHooks {
  circuit: Circuit;
  breaker: BreakerSettings;
  /** Names the key in the log. */
  fingerprint: string;
  /** Vapi said that it was too much. */
  onLimited(retryAfterMs: number | null): void;
  /** A turn for one read that nobody waits for. False: not now. */
  turn(): Promise<boolean>;
}

/**
 * A provider that is not asked again and again while it is down or refuses our key: then it answers at once, as Vapi did, with
 * nothing sent. It never waits.
 */
export function guardVoiceProvider(voice: VoiceProvider, options: GuardOptions): VoiceProvider {
  const { circuit, breaker, meter, log } = options;
  const key = options.fingerprint;
  let refusals = 0;
  let refused = false;
  let looking = false;

  async function through<T>(call: () => Promise<ProviderReply<T>>): Promise<ProviderReply<T>> {
    if (refused) return { kind: 'unauthorized', status: 401 };
    const reply = await circuit.run(call);
    if (reply === null) return { kind: 'not_sent', code: 'CIRCUIT_OPEN' };
    if (reply.kind === 'rate_limited') {
      meter.count('vapi.rate_limited');
      options.onLimited(reply.retryAfterMs);
    } else if (reply.kind === 'unauthorized') {
      refusals += 1;
      if (refusals >= breaker.keyRefusals) void suspect();
    } else if (reply.kind === 'ok' || reply.kind === 'refused' || reply.kind === 'gone') {
      refusals = 0;
    }
    if (reply.kind === 'ok') {
      const [assistant] = [reply.value as ProviderAssistant | ProviderAssistant[]].flat();
      if (typeof assistant?.['orgId'] === 'string') options.onAccount(assistant['orgId']);
    }
    return reply;
  }

  /** With a read, and not with somebody's save: half of one could be sent before the other half is refused. */
  async function look(): Promise<ProviderReply<unknown> | null> {
    return (await options.turn()) ? circuit.run(() => voice.listAssistants({ limit: 1 })) : null;
  }

  /** It may be the key; but Vapi's edge refuses requests for what is in them, too (facts 3.7), and that is one tenant's alone. */
  async function suspect(): Promise<void> {
    if (looking || refused) return;
    looking = true;
    const reply = await look().catch(() => null);
    looking = false;
    if (reply?.kind === 'ok') refusals = 0;
    if (reply?.kind !== 'unauthorized') return;
    refused = true;
    meter.count('vapi.key_refused');
    log.error({ event: 'vapi.key_refused', key }, 'Vapi refuses the key; saves fail until it takes it again');
    tryLater();
  }

  function tryLater(): void {
    setTimeout(async () => {
      // Nothing begins with a key that has been replaced.
      const reply = options.isActive() ? await look().catch(() => null) : null;
      if (reply?.kind !== 'ok') return tryLater();
      refused = false;
      refusals = 0;
      log.info({ event: 'vapi.key_accepted', key }, 'Vapi takes the key again');
    }, breaker.keyRetryMs).unref();
  }

  return around(voice, through);
}

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

/** When the provider stops sending requests to Vapi for a while. */
export interface BreakerSettings {
  /** Consecutive requests without an answer, or with 5xx, that open the circuit. */
  failures: number;
  /** How long the circuit stays open, in milliseconds. Then one probe request is sent. */
  openMs: number;
  /** Consecutive requests for which Vapi refused the key, before a read decides whether the key is used any further. */
  keyRefusals: number;
  /** Interval at which a read tries a refused key again, milliseconds. */
  keyRetryMs: number;
}

/** One circuit for the process and all keys, because it concerns Vapi and not our requests. */
export interface Circuit {
  /** The reply, or null if nothing was sent. */
  run<T>(call: () => Promise<ProviderReply<T>>): Promise<ProviderReply<T> | null>;
}

interface Reports {
  meter: Meter;
  log: Log;
}

/** Calls `onOpen` with the time for which the circuit stays open. */
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
      // While a probe request runs, the library would let the others wait for it. But a write must not wait after its send guard.
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

/** 5xx, timeouts and lost connections. Not rejections, which the content of one tenant could cause. */
function isTrouble(reply: ProviderReply<unknown>): boolean {
  if (reply.kind === 'unknown') return !/^(UNREADABLE_BODY|HTTP_3)/.test(reply.code);
  return reply.kind === 'not_sent' && reply.code.startsWith('TIMEOUT');
}

export interface GuardOptions extends Reports, KeyHooks {
  circuit: Circuit;
  breaker: BreakerSettings;
  /** Names the key in the log. */
  fingerprint: string;
  /** Vapi answered 429. */
  onLimited(retryAfterMs: number | null): void;
  /** Requests a permit for one background read. False: no permit now. */
  turn(): Promise<boolean>;
}

/**
 * Sends no more requests while Vapi is down or refuses our key. It then returns the last kind of answer at once. It never waits.
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

  /** Tries the key with a read and not with a save: half of a save could be sent before the other half is refused. */
  async function look(): Promise<ProviderReply<unknown> | null> {
    return (await options.turn()) ? circuit.run(() => voice.listAssistants({ limit: 1 })) : null;
  }

  /** The cause may be the key. But Vapi's edge also refuses requests because of their content, which concerns only one tenant. */
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
      // No request begins with a replaced key.
      const reply = options.isActive() ? await look().catch(() => null) : null;
      if (reply?.kind !== 'ok') return tryLater();
      refused = false;
      refusals = 0;
      log.info({ event: 'vapi.key_accepted', key }, 'Vapi takes the key again');
    }, breaker.keyRetryMs).unref();
  }

  return around(voice, through);
}

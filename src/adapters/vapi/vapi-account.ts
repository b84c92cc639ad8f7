import type { Secret } from '../../domain/secret.ts';
import type { Job } from '../../ports/jobs.ts';
import type { Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { type BreakerSettings, createCircuit, guardVoiceProvider } from './guarded-voice-provider.ts';
import { KeyRing, type Rotation } from './key-ring.ts';

interface Ports {
  log: Log;
  meter: Meter;
  /** Opens the API of Vapi with this key. Nothing is sent yet. */
  connect(key: Secret): VoiceProvider;
  /** The rate limiter. Absent: the rate is not limited. */
  pacer:
    | {
        turn(withinMs: number): Promise<boolean>;
        pause(ms: number): void;
        limited(retryAfterMs: number | null): void;
      }
    | undefined;
  /** The Vapi organization of the database: the first one that it saw. Null: the database cannot be read now. */
  account(seen: string): Promise<string | null>;
}

interface Keys {
  key: Secret | null;
  /** Becomes the active key as soon as it is seen to read the same Vapi organization. */
  nextKey: Secret | null;
}

/** The one Vapi account: its keys, and one circuit breaker for all requests to Vapi, whatever their key. */
export class VapiAccount {
  readonly #keys: KeyRing;
  readonly #keyRetryMs: number;
  #nextKey: Secret | null;

  constructor({ key, nextKey }: Keys, breaker: BreakerSettings, { connect, account, ...ports }: Ports) {
    const { log, meter, pacer } = ports;
    const circuit = createCircuit(breaker, { meter, log }, (ms) => pacer?.pause(ms));
    const turn = async () => (await pacer?.turn(breaker.keyRetryMs)) ?? true;
    this.#nextKey = nextKey;
    this.#keyRetryMs = breaker.keyRetryMs;
    this.#keys = new KeyRing(
      key,
      (opened, hooks) =>
        guardVoiceProvider(connect(opened), {
          ...{ circuit, breaker, meter, log, turn },
          ...hooks,
          fingerprint: opened.fingerprint(),
          onLimited: (retryAfterMs) => pacer?.limited(retryAfterMs),
        }),
      { log, meter, turn, account },
    );
  }

  /** The key with which saves begin now. Null: there is none. */
  get active(): Secret | null {
    return this.#keys.active;
  }

  /** The provider of the active key. Null: there is no key. */
  get voice(): VoiceProvider | null {
    return this.#keys.voice;
  }

  voiceOf(key: Secret): VoiceProvider {
    return this.#keys.voiceOf(key);
  }

  /** Discards the first key if it reads another Vapi organization than the database's; as soon as Vapi can be asked. */
  check(): Promise<void> {
    return this.#keys.check();
  }

  /** Makes this the active key, now or in a later run of the job. Replaces a key that still waits to become active. */
  rotateTo(next: Secret): Promise<Rotation> {
    this.#nextKey = next;
    return this.#rotate();
  }

  /** Checks the first key, and tries the next one until it is active or refused. */
  get job(): Job {
    return {
      name: 'key',
      intervalMs: this.#keyRetryMs,
      run: async () => {
        await this.check();
        await this.#rotate();
        return { kind: 'ran' };
      },
    };
  }

  async #rotate(): Promise<Rotation> {
    const candidate = this.#nextKey;
    if (candidate === null) return 'ACTIVE';
    const rotation = await this.#keys.rotate(candidate);
    // A newer key may have replaced the candidate meanwhile. That one is still to be tried.
    if (rotation !== 'UNDECIDED' && this.#nextKey === candidate) this.#nextKey = null;
    return rotation;
  }
}

import type { Secret } from '../../domain/secret.ts';
import type { Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';

/** What became of a key that was to be the next one. */
export type Rotation =
  /** It is the active key now, or was already. */
  | 'ACTIVE'
  /** It reads another Vapi organization, or none: never used. */
  | 'REFUSED'
  /** One of the two keys could not be asked, or there is no assistant yet to tell the account by: not used, worth another try. */
  | 'UNDECIDED';

/**
 * The master key, and the next one. A save keeps the key that it began with, so calls in flight end on the old one; what begins
 * after a rotation uses the new one.
 */
export class KeyRing {
  readonly #open: (key: Secret) => VoiceProvider;
  readonly #reports: { log: Log; meter: Meter };
  readonly #voices = new WeakMap<Secret, VoiceProvider>();
  #active: Secret | null;
  /** The Vapi organization that the active key was last seen to read: still known when that key is revoked. */
  #account: string | null = null;

  constructor(
    active: Secret | null,
    open: (key: Secret) => VoiceProvider,
    reports: { log: Log; meter: Meter },
  ) {
    this.#active = active;
    this.#open = open;
    this.#reports = reports;
  }

  get active(): Secret | null {
    return this.#active;
  }

  /** The active key's provider; null: there is no key. */
  get voice(): VoiceProvider | null {
    return this.#active === null ? null : this.voiceOf(this.#active);
  }

  /** One provider a key, so that connections and what is known of the key are shared. */
  voiceOf(key: Secret): VoiceProvider {
    let voice = this.#voices.get(key);
    if (voice === undefined) {
      voice = this.#open(key);
      this.#voices.set(key, voice);
    }
    return voice;
  }

  /** Looks up which Vapi organization the active key reads, where that is not known yet. */
  async learnAccount(): Promise<string | null> {
    if (this.#account === null && this.voice !== null) {
      const found = await accountOf(this.voice);
      if (found.kind === 'account') this.#account = found.id;
    }
    return this.#account;
  }

  /** Makes this the active key, if it reads the Vapi organization that the active key reads. */
  async rotate(next: Secret): Promise<Rotation> {
    if (this.#active?.equals(next)) return 'ACTIVE';
    const account = await this.learnAccount();
    const found = await accountOf(this.voiceOf(next));
    const rotation = judge(account, found);
    const { log, meter } = this.#reports;
    const fields = {
      active: this.#active?.fingerprint() ?? null,
      next: next.fingerprint(),
      found: found.kind,
    };
    if (rotation === 'ACTIVE') {
      this.#active = next;
      meter.count('vapi.key_rotated');
      log.info({ event: 'vapi.key_rotated', ...fields }, 'the next Vapi key is the active one now');
    } else {
      meter.count('vapi.key_not_rotated');
      const why =
        rotation === 'REFUSED'
          ? 'the next Vapi key is not used: it does not read the Vapi organization of the active one'
          : 'the next Vapi key is not used yet: it cannot be told now whether it reads the same Vapi organization';
      log.error({ event: 'vapi.key_not_rotated', rotation, ...fields }, why);
    }
    return rotation;
  }
}

type Account = { kind: 'account'; id: string } | { kind: 'empty' | 'unauthorized' | 'away' };

function judge(active: string | null, next: Account): Rotation {
  if (next.kind === 'unauthorized') return 'REFUSED';
  if (next.kind !== 'account' || active === null) return 'UNDECIDED';
  return next.id === active ? 'ACTIVE' : 'REFUSED';
}

/** The organization whose assistants a key reads; `empty`: there are none to tell it by. */
async function accountOf(voice: VoiceProvider): Promise<Account> {
  const reply = await voice.listAssistants({ limit: 1 });
  if (reply.kind === 'unauthorized') return { kind: 'unauthorized' };
  if (reply.kind !== 'ok') return { kind: 'away' };
  const id = reply.value[0]?.['orgId'];
  return typeof id === 'string' ? { kind: 'account', id } : { kind: 'empty' };
}

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
  readonly #open: (key: Secret, onAccount: (orgId: string) => void) => VoiceProvider;
  readonly #reports: { log: Log; meter: Meter };
  readonly #voices = new WeakMap<Secret, VoiceProvider>();
  /** The Vapi organization that a key was last seen to read: still known of the active one when that is revoked. */
  readonly #accounts = new WeakMap<Secret, string>();
  #active: Secret | null;

  /** `open` makes a key's provider, which tells whose assistants Vapi answers with. */
  constructor(
    active: Secret | null,
    open: (key: Secret, onAccount: (orgId: string) => void) => VoiceProvider,
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
      voice = this.#open(key, (orgId) => this.#accounts.set(key, orgId));
      this.#voices.set(key, voice);
    }
    return voice;
  }

  /** Makes this the active key, if it reads the Vapi organization that the active key reads. */
  async rotate(next: Secret): Promise<Rotation> {
    if (this.#active === null) return 'UNDECIDED';
    if (this.#active.equals(next)) return 'ACTIVE';
    const { log, meter } = this.#reports;
    const keys = { active: this.#active.fingerprint(), next: next.fingerprint() };
    if (!this.#accounts.has(this.#active)) await this.voiceOf(this.#active).listAssistants({ limit: 1 });
    const reply = await this.voiceOf(next).listAssistants({ limit: 1 });
    const [ours, theirs] = [this.#accounts.get(this.#active), this.#accounts.get(next)];
    if (reply.kind === 'ok' && ours !== undefined && ours === theirs) {
      this.#active = next;
      meter.count('vapi.key_rotated');
      log.info({ event: 'vapi.key_rotated', ...keys }, 'the next Vapi key is the active one now');
      return 'ACTIVE';
    }
    const refused = reply.kind === 'unauthorized' || (ours !== undefined && theirs !== undefined);
    meter.count('vapi.key_not_rotated');
    log.error(
      { event: 'vapi.key_not_rotated', ...keys, reply: reply.kind },
      refused
        ? 'the next Vapi key is not used: it does not read the Vapi organization of the active one'
        : 'the next Vapi key is not used yet: it cannot be told whether it reads the same Vapi organization',
    );
    return refused ? 'REFUSED' : 'UNDECIDED';
  }
}

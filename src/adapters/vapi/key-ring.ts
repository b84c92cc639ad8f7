import type { Secret } from '../../domain/secret.ts';
import type { Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import { around, type VoiceProvider } from '../../ports/voice-provider.ts';

/** What became of a key that was to be the next one. */
export type Rotation =
  /** It is the active key now, or was already. */
  | 'ACTIVE'
  /** It reads another Vapi organization, or none: never used. */
  | 'REFUSED'
  /** One of the two keys could not be asked, or there is no assistant yet to tell the account by: not used, worth another try. */
  | 'UNDECIDED';

/** What a key's provider tells of it, and asks about it. */
export interface KeyHooks {
  /** Whose assistants Vapi answers with. */
  onAccount(orgId: string): void;
  /** Whether saves begin with this key. */
  isActive(): boolean;
}

interface Ports {
  log: Log;
  meter: Meter;
  /** A turn for one read that nobody waits for. False: not now. */
  turn(): Promise<boolean>;
  /** The Vapi organization that the database belongs to: the first that was ever seen. Null: it cannot be told now. */
  account(seen: string): Promise<string | null>;
}

/**
 * The master key, and the next one. A save keeps the key that it began with, so calls in flight end on the old one; what begins
 * after a rotation uses the new one. A key of a Vapi organization to which the database does not belong is no key.
 */
export class KeyRing {
  readonly #open: (key: Secret, hooks: KeyHooks) => VoiceProvider;
  readonly #ports: Ports;
  /** What is given out for a key, and what stands behind it. */
  readonly #voices = new WeakMap<Secret, { given: VoiceProvider; behind: VoiceProvider }>();
  /** The Vapi organization that a key was last seen to read: still known of the active one when that is revoked. */
  readonly #accounts = new WeakMap<Secret, string>();
  #active: Secret | null;
  /** The first key, until it has been compared with the database. */
  #unchecked: Secret | null;
  /** A key with which nothing is sent, because it may be of another account, or is. */
  #shut: Secret | null = null;
  #asked = false;
  /** The first key was seen to read no assistant at all. */
  #empty = false;
  /** The Vapi organization that the database belongs to, once known. */
  #account: string | null = null;
  /** One change of the active key at a time. */
  #changing: Promise<unknown> = Promise.resolve();
  /** The last verdict that was told: one that stays is told once. */
  #told: string | undefined;

  constructor(active: Secret | null, open: (key: Secret, hooks: KeyHooks) => VoiceProvider, ports: Ports) {
    this.#active = active;
    this.#unchecked = active;
    this.#open = open;
    this.#ports = ports;
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
    return this.#voicesOf(key).given;
  }

  #voicesOf(key: Secret) {
    let voices = this.#voices.get(key);
    if (voices === undefined) {
      const behind = this.#open(key, {
        onAccount: (orgId) => this.#accounts.set(key, orgId),
        isActive: () => this.#active === key,
      });
      const given = around(behind, async (request) =>
        this.#shut === key ? { kind: 'not_sent', code: 'KEY_UNCHECKED' } : request(),
      );
      voices = { given, behind };
      this.#voices.set(key, voices);
    }
    return voices;
  }

  /**
   * Compares the first key with the database, as soon as there is an assistant to tell its account by; nothing is sent with it
   * meanwhile. A key of another account is given up. Costs nothing once that is done.
   */
  check(): Promise<void> {
    if (!this.#asked) this.#shut = this.#unchecked;
    this.#asked = true;
    return this.#inTurn(() => this.#check());
  }

  /** Makes this the active key, if it reads the Vapi organization that the active key reads. The last one asked for stays. */
  rotate(next: Secret): Promise<Rotation> {
    return this.#inTurn(() => this.#rotate(next));
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const changed = this.#changing.then(change);
    this.#changing = changed.catch(() => {});
    return changed;
  }

  async #check(): Promise<void> {
    const key = this.#unchecked;
    if (key === null) return;
    // Once is enough: what an empty account gets later shows whose it is, too.
    if (!this.#accounts.has(key) && !this.#empty) {
      const reply = await this.#look(key);
      this.#empty = reply === 'ok' && !this.#accounts.has(key);
      // A key that Vapi refuses can do no harm, and saves are to say so.
      if (this.#empty || reply === 'unauthorized') this.#shut = null;
    }
    const seen = this.#accounts.get(key);
    if (seen === undefined) return;
    this.#account = await this.#ports.account(seen);
    if (this.#account === null) return;
    this.#unchecked = null;
    if (seen === this.#account) {
      this.#shut = null;
      return;
    }
    this.#shut = key;
    this.#active = null;
    this.#ports.meter.count('vapi.key_foreign');
    this.#ports.log.error(
      { event: 'vapi.key_foreign', key: key.fingerprint() },
      'the Vapi key is not used: it reads another Vapi organization than the one in which the assistants of this database are',
    );
  }

  async #rotate(next: Secret): Promise<Rotation> {
    if (this.#active?.equals(next)) return 'ACTIVE';
    this.#empty = false;
    await this.#check();
    const active = this.#active;
    if (active === null && this.#account === null) return 'UNDECIDED';
    const seen = await this.#look(next);
    const theirs = this.#accounts.get(next);
    const ours = this.#account ?? (active === null ? undefined : this.#accounts.get(active));
    const keys = { active: active?.fingerprint() ?? 'none', next: next.fingerprint() };
    const { log, meter } = this.#ports;
    if (seen === 'ok' && ours !== undefined && ours === theirs) {
      this.#active = next;
      this.#told = undefined;
      meter.count('vapi.key_rotated');
      log.info({ event: 'vapi.key_rotated', ...keys }, 'the next Vapi key is the active one now');
      return 'ACTIVE';
    }
    const refused = seen === 'unauthorized' || (ours !== undefined && theirs !== undefined);
    const rotation = refused ? 'REFUSED' : 'UNDECIDED';
    const verdict = [rotation, seen, keys.next].join();
    if (verdict !== this.#told) {
      this.#told = verdict;
      meter.count('vapi.key_not_rotated');
      log.error(
        { event: 'vapi.key_not_rotated', ...keys, reply: seen },
        refused
          ? 'the next Vapi key is not used: it does not read the Vapi organization of the active one'
          : 'the next Vapi key is not used yet: it cannot be told whether it reads the same Vapi organization',
      );
    }
    return rotation;
  }

  /** What came of a read, by which the provider tells the account. */
  async #look(key: Secret): Promise<string> {
    return (await this.#ports.turn())
      ? (await this.#voicesOf(key).behind.listAssistants({ limit: 1 })).kind
      : 'no_turn';
  }
}

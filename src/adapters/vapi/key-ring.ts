import type { Secret } from '../../domain/secret.ts';
import type { Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import { around, type VoiceProvider } from '../../ports/voice-provider.ts';

/** The result of an attempt to activate a key. */
export type Rotation =
  /** It is the active key now, or already was. */
  | 'ACTIVE'
  /** It reads another Vapi organization, or none. It is never used. */
  | 'REFUSED'
  /** Vapi could not be read with one of the two keys, or no assistant exists yet that identifies the account. Not used; try again later. */
  | 'UNDECIDED';

/** What the provider of a key reports about it, and what it needs to know. */
export interface KeyHooks {
  /** The Vapi organization whose assistants the key reads. */
  onAccount(orgId: string): void;
  /** True if saves may begin with this key. */
  isActive(): boolean;
}

interface Ports {
  log: Log;
  meter: Meter;
  /** Requests a permit for one background read. False: no permit now. */
  turn(): Promise<boolean>;
  /** The Vapi organization of the database: the first one that it saw. Null: the database cannot be read now. */
  account(seen: string): Promise<string | null>;
}

/**
 * The master key and the next one. A save keeps the key that it began with, so requests in flight end with the old key, and saves that
 * begin after a rotation use the new one. A key of another Vapi organization than the database's counts as no key.
 */
export class KeyRing {
  readonly #open: (key: Secret, hooks: KeyHooks) => VoiceProvider;
  readonly #ports: Ports;
  /** The provider that callers receive for a key, and the provider behind it. */
  readonly #voices = new WeakMap<Secret, { given: VoiceProvider; behind: VoiceProvider }>();
  /** The Vapi organization that each key last read. It stays known for the active key after that key is revoked. */
  readonly #accounts = new WeakMap<Secret, string>();
  #active: Secret | null;
  /** The first key, until it is compared with the database. */
  #unchecked: Secret | null;
  /** A key that is not used, because it belongs, or may belong, to another account. */
  #shut: Secret | null = null;
  #asked = false;
  /** The first key read no assistant at all. */
  #empty = false;
  /** The Vapi organization of the database, once known. */
  #account: string | null = null;
  /** One change of the active key at a time. */
  #changing: Promise<unknown> = Promise.resolve();
  /** The last logged verdict. An unchanged verdict is logged once. */
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

  /** The provider of the active key. Null: there is no key. */
  get voice(): VoiceProvider | null {
    return this.#active === null ? null : this.voiceOf(this.#active);
  }

  /** One provider per key, so that its connections and its state are shared. */
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
   * Compares the first key with the database as soon as an assistant identifies its account. Until then, nothing is sent with the
   * key. Discards a key of another account. Does nothing after that.
   */
  check(): Promise<void> {
    if (!this.#asked) this.#shut = this.#unchecked;
    this.#asked = true;
    return this.#inTurn(() => this.#check());
  }

  /** Activates this key if it reads the same Vapi organization as the active key. The last requested key stays. */
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
    // Once is enough: the first assistant of an empty account also identifies it.
    if (!this.#accounts.has(key) && !this.#empty) {
      const reply = await this.#look(key);
      this.#empty = reply === 'ok' && !this.#accounts.has(key);
      // A refused key cannot do harm, and saves must report the refusal.
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

  /** The result of a read that identifies the account. */
  async #look(key: Secret): Promise<string> {
    return (await this.#ports.turn())
      ? (await this.#voicesOf(key).behind.listAssistants({ limit: 1 })).kind
      : 'no_turn';
  }
}

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

/** What is known of the first key. A key of another account than the database's counts as no key. */
type FirstKey =
  /** Vapi has not been asked about it yet. */
  | { state: 'unasked'; key: Secret }
  /** It is being compared with the database. Nothing is sent with it, because it may belong to another account. */
  | { state: 'withheld'; key: Secret }
  /** It is used although it could not be compared: Vapi refuses it, or (`isEmpty`) it reads no assistant at all. */
  | { state: 'uncompared'; key: Secret; isEmpty: boolean }
  /** It belongs to another account. It is never used. */
  | { state: 'foreign'; key: Secret }
  /** There is none, or it belongs to the account of the database. */
  | { state: 'decided' };

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
 * begin after a rotation use the new one.
 */
export class KeyRing {
  readonly #open: (key: Secret, hooks: KeyHooks) => VoiceProvider;
  readonly #ports: Ports;
  /** The provider that callers receive for a key, and the provider behind it. */
  readonly #voices = new WeakMap<Secret, { given: VoiceProvider; behind: VoiceProvider }>();
  /** The Vapi organization that each key last read. It stays known for the active key after that key is revoked. */
  readonly #accounts = new WeakMap<Secret, string>();
  #active: Secret | null;
  #first: FirstKey;
  /** The Vapi organization of the database, once known. */
  #account: string | null = null;
  /** One change of the active key at a time. */
  #changing: Promise<unknown> = Promise.resolve();
  /** The last logged verdict. An unchanged verdict is logged once. */
  #told: string | undefined;

  constructor(active: Secret | null, open: (key: Secret, hooks: KeyHooks) => VoiceProvider, ports: Ports) {
    this.#active = active;
    this.#first = active === null ? { state: 'decided' } : { state: 'unasked', key: active };
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
        this.#isWithheld(key) ? { kind: 'not_sent', code: 'KEY_UNCHECKED' } : request(),
      );
      voices = { given, behind };
      this.#voices.set(key, voices);
    }
    return voices;
  }

  #isWithheld(key: Secret): boolean {
    const first = this.#first;
    return (first.state === 'withheld' || first.state === 'foreign') && first.key === key;
  }

  /**
   * Compares the first key with the database as soon as an assistant identifies its account. Until then, nothing is sent with the
   * key. Discards a key of another account. Does nothing after that.
   */
  check(): Promise<void> {
    if (this.#first.state === 'unasked') this.#first = { state: 'withheld', key: this.#first.key };
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
    const first = this.#first;
    if (first.state === 'decided' || first.state === 'foreign') return;
    const { key } = first;
    // Once is enough: the first assistant of an empty account also identifies it.
    const isKnownEmpty = first.state === 'uncompared' && first.isEmpty;
    if (!this.#accounts.has(key) && !isKnownEmpty) {
      const reply = await this.#look(key);
      const isEmpty = reply === 'ok' && !this.#accounts.has(key);
      // A refused key cannot do harm, and saves must report the refusal.
      if (isEmpty || reply === 'unauthorized') this.#first = { state: 'uncompared', key, isEmpty };
    }
    const seen = this.#accounts.get(key);
    if (seen === undefined) return;
    this.#account = await this.#ports.account(seen);
    if (this.#account === null) return;
    if (seen === this.#account) {
      this.#first = { state: 'decided' };
      return;
    }
    this.#first = { state: 'foreign', key };
    this.#active = null;
    this.#ports.meter.count('vapi.key_foreign');
    this.#ports.log.error(
      { event: 'vapi.key_foreign', key: key.fingerprint() },
      'the Vapi key is not used: it reads another Vapi organization than the one in which the assistants of this database are',
    );
  }

  async #rotate(next: Secret): Promise<Rotation> {
    if (this.#active?.equals(next)) return 'ACTIVE';
    // An assistant may have been made since.
    if (this.#first.state === 'uncompared') this.#first = { ...this.#first, isEmpty: false };
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

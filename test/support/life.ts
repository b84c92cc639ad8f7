import type { RunJournal } from '../../src/services/saga/run.ts';

/** When a process dies: before its step takes effect, after it, or with the step still under way (see `Life.land`). */
type When = 'before' | 'after' | 'late';

/** One owner of a saga, which dies at one of its requests and transitions: nothing that it asked for is answered from then on. */
export class Life {
  /** What it has done, by name. */
  readonly steps: string[] = [];
  readonly died: Promise<'died'>;
  /** Applies what was still under way. */
  land = () => {};
  readonly #at: { nth: number; when: When } | null;
  #die: (value: 'died') => void = () => {};
  #isDead = false;

  constructor(at: { nth: number; when: When } | null = null) {
    this.#at = at;
    this.died = new Promise((resolve) => {
      this.#die = resolve;
    });
  }

  async do<T>(name: string, effect: () => T | Promise<T>): Promise<T> {
    if (this.#isDead) return new Promise<never>(() => {});
    const at = this.#at?.nth === this.steps.length ? this.#at : null;
    this.steps.push(name);
    if (at === null) return effect();
    this.#isDead = true;
    if (at.when === 'after') await effect();
    if (at.when === 'late') {
      this.land = () => {
        this.land = () => {};
        void effect();
      };
    }
    this.#die('died');
    return new Promise<never>(() => {});
  }

  journal<Row>(of: RunJournal<Row>): RunJournal<Row> {
    return {
      commit: (...args) => this.do('commit', () => of.commit(...args)),
      abort: (...args) => this.do('abort', () => of.abort(...args)),
      rolledBack: (...args) => this.do('rolledBack', () => of.rolledBack(...args)),
      needsAttention: (...args) => this.do('needsAttention', () => of.needsAttention(...args)),
      hold: (...args) => this.do('hold', () => of.hold(...args)),
    };
  }
}

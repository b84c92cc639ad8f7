import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';

const CHILD = join(import.meta.dirname, 'mutants-child.ts');
/** A bug that makes its tests hang is caught too: when they take so many times as long as without it, and this besides. */
const MOST_TIMES = 8;
const MOST_MS = 20_000;

/** Runs tests in a copy of the repository, in a process that keeps Vitest and Postgres from one planted bug to the next. */
export class Runner {
  readonly #copy: string;
  /** How long tests take without a planted bug, in milliseconds. */
  readonly #proven = new Map<string, number>();
  #child: ChildProcess | undefined;

  constructor(copy: string) {
    this.#copy = copy;
  }

  /** Throws if these tests fail without a planted bug: they would catch every bug. */
  async prove(tests: readonly string[]): Promise<void> {
    const key = tests.join();
    if (this.#proven.has(key)) return;
    const began = performance.now();
    if (await this.fails(tests)) throw new Error(`these tests fail without a planted bug: ${key}`);
    this.#proven.set(key, performance.now() - began);
  }

  async fails(tests: readonly string[], changed?: string): Promise<boolean> {
    if (changed !== undefined) await this.changed(changed);
    this.#child ??= spawn(process.execPath, [CHILD, this.#copy], {
      cwd: this.#copy,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      detached: true,
    });
    const child = this.#child;
    const mostMs = MOST_MS + MOST_TIMES * (this.#proven.get(tests.join()) ?? 600_000);
    return new Promise((done, failed) => {
      const end = (act: () => void) => {
        clearTimeout(late);
        child.removeAllListeners();
        act();
      };
      const late = setTimeout(() => {
        end(() => {
          this.stop();
          done(true);
        });
      }, mostMs);
      child.on('message', ({ failed: red }: { failed: boolean }) => end(() => done(red)));
      child.on('exit', () => {
        this.#child = undefined;
        end(() => failed(new Error('the process that runs the tests ended')));
      });
      child.send({ tests, changed });
    });
  }

  /** Migrations are applied when Postgres starts, so another one starts with the next tests. */
  async changed(file: string): Promise<void> {
    if (file.endsWith('.sql')) this.stop();
    else this.#child?.send({ changed: file });
  }

  stop(): void {
    const child = this.#child;
    this.#child = undefined;
    child?.removeAllListeners();
    // The group: also what the tests have started. Postgres has a guard of its own (test/support/global-setup.ts).
    if (child?.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';

const CHILD = join(import.meta.dirname, 'mutants-child.ts');
/** Longer than any of the named tests takes. A bug that makes its test hang is caught too. */
const MOST_MS = 180_000;

/** Runs tests in a copy of the repository, in a process that keeps Vitest and Postgres from one planted bug to the next. */
export class Runner {
  readonly #copy: string;
  readonly #proven = new Set<string>();
  #child: ChildProcess | undefined;

  constructor(copy: string) {
    this.#copy = copy;
  }

  /** Throws if these tests fail without a planted bug: they would catch every bug. */
  async prove(tests: readonly string[]): Promise<void> {
    const key = tests.join();
    if (this.#proven.has(key)) return;
    if (await this.fails(tests)) throw new Error(`these tests fail without a planted bug: ${key}`);
    this.#proven.add(key);
  }

  async fails(tests: readonly string[], changed?: string): Promise<boolean> {
    if (changed !== undefined) await this.changed(changed);
    this.#child ??= spawn(process.execPath, [CHILD, this.#copy], {
      cwd: this.#copy,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      detached: true,
    });
    const child = this.#child;
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
      }, MOST_MS);
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

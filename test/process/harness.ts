/**
 * The product as it runs: servers as processes of their own, a real Postgres under the embedded Supabase as another, and a
 * Vapi stand-in. Everything that a server sends passes a proxy, where it can be held while its sender is killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import postgres from 'postgres';
import { vi } from 'vitest';
import { startVapiStandIn, type VapiStandIn } from '../../src/local/vapi/server.ts';
import { CANARY_KEY } from '../support/app.ts';
import { formsOf, rowsHolding } from '../support/canary.ts';
import { type HttpProxy, startProxy } from '../support/proxy.ts';

const REPOSITORY = resolve(import.meta.dirname, '..', '..');

/** The times of the servers, milliseconds, as environment variables. */
export const TIMES = {
  VAPI_TIMEOUT_MS: 1_500,
  VAPI_LATE_MS: 300,
  // The guard leaves 3 seconds for tries.
  SAVE_LEASE_MS: 5_500,
  // Never reached: recovery would go back where these tests expect it to go on.
  SAVE_DEADLINE_MS: 600_000,
  SAVE_ANSWER_MS: 3_000,
  RECOVERY_INTERVAL_MS: 100,
  RECONCILE_INTERVAL_MS: 0,
};
/** How long anything is waited for that must happen: far longer than it takes on a busy machine. */
export const PATIENCE_MS = 150_000;

export interface SupabaseProcess {
  readonly url: string;
  readonly publishableKey: string;
  readonly secretKey: string;
  readonly jwtSecret: string;
  readonly databaseUrl: string;
}

/** A child of this process, from start to exit. */
export class Child {
  readonly process: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  out = '';
  err = '';

  constructor(args: string[], env: Record<string, string>) {
    this.process = spawn(process.execPath, args, {
      cwd: REPOSITORY,
      env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'], ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.process.stdout?.on('data', (chunk: Buffer) => {
      this.out += chunk.toString();
    });
    this.process.stderr?.on('data', (chunk: Buffer) => {
      this.err += chunk.toString();
    });
    this.exited = new Promise((done) => {
      this.process.once('error', () => done({ code: null, signal: null }));
      this.process.once('exit', (code, signal) => done({ code, signal }));
    });
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  signal(name: NodeJS.Signals): void {
    this.process.kill(name);
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.exited;
  }

  /** The first match in what it prints. Throws where it ends before. */
  async prints(pattern: RegExp): Promise<RegExpExecArray> {
    return vi.waitFor(
      () => {
        const found = pattern.exec(this.out);
        if (found) return found;
        if (!this.isRunning) {
          const { exitCode, signalCode } = this.process;
          const end = `it ended (${exitCode ?? signalCode}) before it printed ${pattern}`;
          throw new Error(`${end}: ${this.out}${this.err}`);
        }
        throw new Error(`it did not print ${pattern}: ${this.out.slice(-2_000)}${this.err.slice(-2_000)}`);
      },
      { timeout: PATIENCE_MS, interval: 20 },
    );
  }
}

/** One server: its process, which may die and be started again, and its two ways out, which stay. */
export class Replica {
  readonly name: string;
  readonly rest: HttpProxy;
  readonly vapi: HttpProxy;
  readonly #world: World;
  #child: Child | undefined;
  #url = '';

  constructor(name: string, world: World, rest: HttpProxy, vapi: HttpProxy) {
    this.name = name;
    this.#world = world;
    this.rest = rest;
    this.vapi = vapi;
  }

  get child(): Child {
    if (this.#child === undefined) throw new Error(`${this.name} was never started`);
    return this.#child;
  }

  /** Where its last process listened. */
  get origin(): string {
    return this.#url;
  }

  /** What an operator's commands need as well. */
  get environment(): Record<string, string> {
    const { supabase } = this.#world;
    return {
      ...Object.fromEntries(Object.entries(TIMES).map(([name, ms]) => [name, String(ms)])),
      SUPABASE_URL: this.rest.url,
      SUPABASE_PUBLISHABLE_KEY: supabase.publishableKey,
      SUPABASE_SECRET_KEY: supabase.secretKey,
      SUPABASE_JWT_SECRET: supabase.jwtSecret,
      VAPI_BASE_URL: this.vapi.url,
      VAPI_PRIVATE_KEY: CANARY_KEY,
    };
  }

  async start(env: Record<string, string> = {}): Promise<void> {
    const child = this.#world.spawn(['src/main.ts'], {
      ...this.environment,
      PORT: '0',
      LOG_LEVEL: 'trace',
      // Faults are what these tests are about: nothing is held back because of them.
      VAPI_REQUESTS_PER_SECOND: '10000',
      VAPI_BURST: '10000',
      VAPI_BREAKER_FAILURES: '10000',
      // One save is held at each of some sixty points at once.
      SAVES_IN_PROGRESS: '1000',
      ORG_SAVES_PER_MINUTE: '100000',
      ...env,
    });
    this.#child = child;
    const [, url = ''] = await child.prints(/"url":"(http:[^"]+)".*"msg":"listening"/);
    this.#url = url;
  }

  /** As it is between two tests: running, and nothing held on its ways. */
  async restore(): Promise<void> {
    this.rest.clear();
    this.vapi.clear();
    if (this.child.isRunning) this.child.signal('SIGCONT');
    else await this.start();
  }

  /** Ends at once, wherever it is. */
  kill(): Promise<void> {
    return this.child.kill();
  }

  /** The status that a probe gets; 0 where nobody answers. */
  async probe(path: '/ready' | '/health'): Promise<number> {
    try {
      const signal = AbortSignal.timeout(7_000);
      return (await fetch(`${this.origin}${path}`, { signal, headers: { connection: 'close' } })).status;
    } catch {
      return 0;
    }
  }
}

/** One database, one Vapi account, and two servers on them. */
export class World {
  readonly vapi: VapiStandIn;
  readonly #dir: string;
  readonly #children = new Set<Child>();
  /** Those that ended, too. */
  readonly #everybody: Child[] = [];
  readonly #guard: Guard;
  readonly #replicas: Replica[] = [];
  #supabase: SupabaseProcess | undefined;
  #sql: postgres.Sql | undefined;
  #database: Child | undefined;

  private constructor(dir: string, vapi: VapiStandIn) {
    this.#dir = dir;
    this.vapi = vapi;
    this.#guard = new Guard(dir);
  }

  static async start(): Promise<World> {
    const dir = await mkdtemp(join(tmpdir(), 'lockstep-processes-'));
    // As root, Postgres runs as another user, who has to reach its data.
    await chmod(dir, 0o711);
    const world = new World(dir, await startVapiStandIn({ key: CANARY_KEY }));
    try {
      await world.startDatabase();
      for (const name of ['A', 'B']) {
        const [rest, vapi] = await Promise.all([startProxy(world.supabase.url), startProxy(world.vapi.url)]);
        world.#replicas.push(new Replica(name, world, rest, vapi));
      }
      await Promise.all(world.#replicas.map((replica) => replica.start()));
      return world;
    } catch (error) {
      await world.stop();
      throw error;
    }
  }

  get replicas(): readonly [Replica, Replica] {
    const [a, b] = this.#replicas;
    if (a === undefined || b === undefined) throw new Error('there are no replicas');
    return [a, b];
  }

  get supabase(): SupabaseProcess & { sql: postgres.Sql } {
    if (this.#supabase === undefined || this.#sql === undefined) throw new Error('there is no database');
    return { ...this.#supabase, sql: this.#sql };
  }

  spawn(args: string[], env: Record<string, string>): Child {
    const child = new Child(args, env);
    this.#children.add(child);
    this.#everybody.push(child);
    const tell = () => this.#guard.watch([...this.#children].map(({ pid }) => pid));
    void child.exited.then(() => {
      this.#children.delete(child);
      tell();
    });
    tell();
    return child;
  }

  /** On the port that it had before, as an operator would. */
  async startDatabase(): Promise<void> {
    const port = this.#supabase === undefined ? '0' : new URL(this.#supabase.url).port;
    const cli = ['src/local/supabase/cli.ts', '--port', port, '--data', join(this.#dir, 'data')];
    const child = this.spawn(cli, {});
    const [, line = ''] = await child.prints(/^(\{.*\})\n/);
    this.#database = child;
    this.#supabase = JSON.parse(line) as SupabaseProcess;
    await this.#sql?.end({ timeout: 0 });
    // Waiting for a connection is not for ever, and an idle one does not outlive its server unnoticed.
    this.#sql = postgres(this.#supabase.databaseUrl, { max: 2, connect_timeout: 60, onnotice: () => {} });
  }

  /** The postmaster, with everything that hangs on it. */
  async killPostgres(): Promise<void> {
    const pid = postmasterOf(join(this.#dir, 'data'));
    if (pid === undefined) throw new Error('Postgres does not run');
    process.kill(pid, 'SIGKILL');
    // Its owner ends with it, for somebody to start it again.
    await this.#database?.exited;
  }

  /** Throws where the master key was in a row, or in what a process printed. */
  async stop(): Promise<void> {
    const forms = formsOf(CANARY_KEY);
    const rows =
      this.#sql === undefined || this.#database?.isRunning !== true
        ? []
        : await rowsHolding(this.#sql, forms);
    // Those that are stopped in the other sense take no SIGTERM.
    await Promise.all(
      [...this.#children].filter((child) => child !== this.#database).map((child) => child.kill()),
    );
    await this.#sql?.end({ timeout: 1 });
    this.#database?.signal('SIGTERM');
    await this.#database?.exited;
    await Promise.all(this.#replicas.flatMap(({ rest, vapi }) => [rest.stop(), vapi.stop()]));
    await this.vapi.stop();
    for (const path of new Set([this.#dir, homeOf(join(this.#dir, 'data'))])) {
      await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    }
    this.#guard.dismiss();
    const leaks = [
      ...rows.filter(({ holding }) => holding > 0).map(({ table }) => table),
      ...this.#everybody
        .filter(({ out, err }) => forms.some((form) => out.includes(form) || err.includes(form)))
        .map(({ pid }) => `the output of process ${pid}`),
    ];
    if (leaks.length > 0) throw new Error(`the master key was found in ${leaks.join(', ')}`);
  }
}

/** Where a data directory's cluster really lies (src/local/supabase/postgres.ts, LOCATION). */
function homeOf(dataDir: string): string {
  const note = join(dataDir, 'LOCATION');
  return existsSync(note) ? (readFileSync(note, 'utf8').split('\n')[0] ?? dataDir) : dataDir;
}

function postmasterOf(dataDir: string): number | undefined {
  const file = join(homeOf(dataDir), 'cluster', 'postmaster.pid');
  return existsSync(file) ? Number(readFileSync(file, 'utf8').split('\n')[0]) : undefined;
}

/** Ends the children and removes the files if this process goes without doing it itself (kill -9). */
class Guard {
  readonly #child: ChildProcess;

  constructor(dir: string) {
    // Each line is the whole list of those that live.
    const script = `
      while read -r line; do pids=$line; done
      for pid in $pids; do kill -KILL "$pid"; done
      for data in "$0/data" "$(head -n 1 "$0/data/LOCATION")"; do
        kill -QUIT "$(head -n 1 "$data/cluster/postmaster.pid")" && sleep 1
        [ -z "$data" ] || rm -rf "$data"
      done
      rm -rf "$0"`;
    this.#child = spawn('sh', ['-c', script, dir], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    this.#child.unref();
    (this.#child.stdin as unknown as { unref?: () => void }).unref?.();
  }

  watch(pids: number[]): void {
    this.#child.stdin?.write(`${pids.join(' ')}\n`);
  }

  dismiss(): void {
    this.#child.kill('SIGKILL');
  }
}

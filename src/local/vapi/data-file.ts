/** The stand-in's data file: one change of a store per line, appended and synced before an answer goes out. */
import { type FileHandle, mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { type AccountChange, KEPT, type VapiAccount } from './account.ts';

export interface DataFile {
  /** Reserves the place of the change in the file at once. `flushed` resolves when it is on disk. */
  append(change: AccountChange): void;
  /** Resolves when everything appended so far is on disk, and rejects if it could not be written. */
  flushed(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Fills the stores from the file, then rewrites the file with only the resources that still exist.
 * Drops an incomplete last line, which `kill -9` leaves and which was never answered. Throws on any other line that it cannot read.
 * A file belongs to the process that opened it last; appends of an earlier process are rejected.
 */
export async function openDataFile(file: string, account: VapiAccount): Promise<DataFile> {
  await mkdir(dirname(file), { recursive: true });
  for (const change of await readChanges(file)) account.replay(change);
  await compact(file, account);
  return appendTo(file, await open(file, 'a'));
}

const of = { of: z.enum(KEPT) };
const changeLine = z.discriminatedUnion('op', [
  z.object({ ...of, op: z.literal('put'), resource: z.looseObject({ id: z.string() }) }),
  z.object({ ...of, op: z.literal('delete'), id: z.string() }),
  z.object({ ...of, op: z.literal('clear') }),
]);

async function readChanges(file: string): Promise<AccountChange[]> {
  const text = await readFile(file, 'utf8').catch((problem: NodeJS.ErrnoException) => {
    if (problem.code === 'ENOENT') return '';
    throw problem;
  });
  const lines = text.split('\n');
  // The text after the last newline is empty or incomplete.
  lines.pop();
  return lines.map((line, index): AccountChange => {
    try {
      return changeLine.parse(JSON.parse(line)) as AccountChange;
    } catch {
      throw new Error(
        `${file}:${index + 1} is not a line of a stand-in's data file; delete the file to begin with an empty Vapi account`,
      );
    }
  });
}

async function compact(file: string, account: VapiAccount): Promise<void> {
  const handle = await open(`${file}.new`, 'w', 0o600);
  try {
    for (const change of account.content()) await handle.write(line(change));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
  const folder = await open(dirname(file), 'r');
  // The rename must be on disk before anything is appended to the new file.
  await folder.sync().finally(() => folder.close());
}

function appendTo(file: string, handle: FileHandle): DataFile {
  let waiting: string[] = [];
  let writing: Promise<void> | undefined;

  // One write and one sync for everything that was appended meanwhile.
  async function write(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting.join('');
      waiting = [];
      await handle.appendFile(batch);
      await handle.datasync();
      // Another stand-in that opened the file has replaced it. Fail instead of writing to the removed file.
      if ((await stat(file)).ino !== (await handle.stat()).ino)
        throw new Error(`another stand-in opened ${file}`);
    }
    writing = undefined;
  }
  return {
    append: (change) => void waiting.push(line(change)),
    flushed: () => {
      writing ??= waiting.length > 0 ? write() : undefined;
      return writing ?? Promise.resolve();
    },
    close: async () => {
      await (writing ?? write()).finally(() => handle.close());
    },
  };
}

const line = (change: AccountChange) => `${JSON.stringify(change)}\n`;

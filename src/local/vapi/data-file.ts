/** The stand-in's data file: one change of the store per line, appended and synced before an answer goes out. */
import { type FileHandle, mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { AssistantStore, StoreChange } from './assistant-store.ts';

export interface DataFile {
  /** Reserves the place of the change in the file at once. `flushed` resolves when it is on disk. */
  append(change: StoreChange): void;
  /** Resolves when everything appended so far is on disk, and rejects if it could not be written. */
  flushed(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Fills the store from the file, then rewrites the file with only the assistants that still exist.
 * Drops an incomplete last line, which `kill -9` leaves and which was never answered. Throws on any other line that it cannot read.
 * A file belongs to the process that opened it last; appends of an earlier process are rejected.
 */
export async function openDataFile(file: string, store: AssistantStore): Promise<DataFile> {
  await mkdir(dirname(file), { recursive: true });
  for (const change of await readChanges(file)) store.replay(change);
  await compact(file, store);
  return appendTo(file, await open(file, 'a'));
}

async function readChanges(file: string): Promise<StoreChange[]> {
  const text = await readFile(file, 'utf8').catch((problem: NodeJS.ErrnoException) => {
    if (problem.code === 'ENOENT') return '';
    throw problem;
  });
  const lines = text.split('\n');
  // The text after the last newline is empty or incomplete.
  lines.pop();
  return lines.map((line, index): StoreChange => {
    try {
      return JSON.parse(line);
    } catch {
      throw new Error(`${file}:${index + 1} is not a line of a stand-in's data file`);
    }
  });
}

async function compact(file: string, store: AssistantStore): Promise<void> {
  const handle = await open(`${file}.new`, 'w', 0o600);
  try {
    for (const assistant of store.all()) await handle.write(line({ op: 'put', assistant }));
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

const line = (change: StoreChange) => `${JSON.stringify(change)}\n`;

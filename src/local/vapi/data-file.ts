/** The stand-in's data file: one change of the store per line, appended and synced before an answer goes out. */
import { type FileHandle, mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { AssistantStore, StoreChange } from './assistant-store.ts';

export interface Journal {
  /** Takes its place in the file at once; `flushed` tells when it is safe. */
  append(change: StoreChange): void;
  /** Resolves when everything appended so far is on disk; rejects when it could not be written. */
  flushed(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Fills the store from the file, then writes the file anew with nothing but what still exists.
 * A last line that broke off is what `kill -9` leaves behind, and was never answered: it is dropped.
 * Any other line that cannot be read throws. A file belongs to one process at a time: the last to open it has it,
 * and whatever the one before appends is rejected.
 */
export async function openJournal(file: string, store: AssistantStore): Promise<Journal> {
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
  // What follows the last newline is empty, or torn.
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
  // The rename itself must be on disk before anything is appended to the new file.
  await folder.sync().finally(() => folder.close());
}

function appendTo(file: string, handle: FileHandle): Journal {
  let waiting: string[] = [];
  let writing: Promise<void> | undefined;

  // One write and one sync for all that gathered meanwhile.
  async function write(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting.join('');
      waiting = [];
      await handle.appendFile(batch);
      await handle.datasync();
      // Another stand-in that opened the file has put a new one in its place: better to fail than to write to nowhere.
      if ((await stat(file)).ino !== (await handle.stat()).ino) throw new Error(`${file} was taken over`);
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

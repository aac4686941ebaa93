import { createHash } from 'node:crypto';
import { watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemClock, type Timer } from './clock.ts';

/** An editor writes in steps: a file is read when it has stood still for this long, in milliseconds. */
const STILL_MS = 150;
/** Some file systems report no changes: the file is read this often all the same, in milliseconds. */
const POLL_MS = 10_000;

export interface FileWatch {
  close(): void;
}

/**
 * Calls `take` with the content of a file, soon after the start and after every change of it; with an error for a file
 * that cannot be read. It keeps no process alive. @throws the error of the file system where its folder is not there.
 */
export function watchFile(path: string, take: (text: string | Error) => void): FileWatch {
  let seen: string | undefined;
  let isClosed = false;
  let waiting: Timer | undefined;

  const look = async () => {
    waiting = undefined;
    const text = await read(path);
    const hash = text instanceof Error ? text.message : createHash('sha256').update(text).digest('hex');
    if (isClosed || hash === seen) return again(POLL_MS);
    // Once more after a while: what is the same then is whole.
    await new Promise<void>((resolve) => void systemClock.after(STILL_MS, resolve));
    const later = await read(path);
    if (isClosed) return;
    if (String(later) !== String(text)) return again(STILL_MS);
    seen = hash;
    take(text);
    again(POLL_MS);
  };
  const again = (ms: number) => {
    if (isClosed) return;
    waiting?.cancel();
    waiting = systemClock.after(ms, () => void look());
  };

  // The folder and not the file: editors, and deployments that swap links, put another file in its place.
  const watcher = watch(dirname(path), { persistent: false }, () => again(STILL_MS));
  watcher.on('error', () => again(POLL_MS));
  // At once too: the file may have changed since it was first read.
  again(1);

  return {
    close: () => {
      isClosed = true;
      waiting?.cancel();
      watcher.close();
    },
  };
}

async function read(path: string): Promise<string | Error> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

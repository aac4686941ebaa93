import { createHash } from 'node:crypto';
import { watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemClock, type Timer } from './clock.ts';
import { readConfig } from './config/load.ts';
import { parseConfig } from './config/parse.ts';
import type { ConfigInput } from './config/schema.ts';
import { internalsOf } from './governor.ts';
import type { Governor } from './types.ts';

/** An editor writes in steps: a file is read when it has stood still for this long, in milliseconds. */
const STILL_MS = 150;
/** Some file systems tell nothing: the file is looked at this often all the same. */
const POLL_MS = 10_000;

export interface ConfigWatch {
  /** Stops watching. Closing the governor does it too. */
  close(): void;
}

/**
 * Takes a configuration file over whenever its content changes, whole or not at all. A file that is empty, broken or
 * gone is told of (log, `headgate.config.reloads`, `snapshot().config.problem`) and the rules stay as they are.
 */
export function watchConfig(path: string, governor: Governor): ConfigWatch {
  const { currentConfig, reloadFailed, onClose } = internalsOf(governor);
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
  const take = (text: string | Error) => {
    let config: ConfigInput;
    try {
      if (text instanceof Error) throw text;
      config = readConfig(text, path);
    } catch (error) {
      reloadFailed(error);
      return;
    }
    // The file as it was at start, or with other comments, is no news.
    if (JSON.stringify(parseConfig(config)) !== JSON.stringify(currentConfig())) governor.update(config);
  };
  const again = (ms: number) => {
    if (isClosed) return;
    waiting?.cancel();
    waiting = systemClock.after(ms, () => void look());
  };

  // The folder and not the file: editors, and deployments that swap links, put another file in its place.
  const watcher = watch(dirname(path), { persistent: false }, () => again(STILL_MS));
  watcher.on('error', () => again(POLL_MS));
  // At once too: the file may have changed since the governor was made of it.
  again(1);

  const close = () => {
    isClosed = true;
    waiting?.cancel();
    watcher.close();
  };
  onClose(close);
  return { close };
}

async function read(path: string): Promise<string | Error> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

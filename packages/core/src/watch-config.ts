import { readConfig } from './config/load.ts';
import { parseConfig } from './config/parse.ts';
import type { ConfigInput } from './config/schema.ts';
import { internalsOf } from './internals.ts';
import type { Governor } from './types.ts';
import { watchFile } from './watch-file.ts';

export interface ConfigWatch {
  /** Stops watching. Closing the governor does it too. */
  close(): void;
}

/**
 * Takes a configuration file over whenever its content changes, whole or not at all. A file that is empty, broken or
 * gone is told of (log, `headgate.config.reloads`, `snapshot().config.problem`) and the rules stay as they are.
 */
export function watchConfig(path: string, governor: Governor): ConfigWatch {
  const { currentConfig, reloadFailed, reloadMended, onClose } = internalsOf(governor);
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
    if (JSON.stringify(parseConfig(config)) === JSON.stringify(currentConfig())) return reloadMended();
    // What could not be taken over has been told by `update` itself.
    try {
      governor.update(config);
    } catch {}
  };
  const watch = watchFile(path, take);
  onClose(watch.close);
  return watch;
}
